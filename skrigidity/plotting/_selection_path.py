"""Rigidity of the targets along a selection, strategy by strategy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self

import numpy as np

from . import _data as data
from ._display import Display, joined, next_styles, with_unit

if TYPE_CHECKING:
    import pandas as pd

_OBJECTIVES = {
    "mean": "mean rigidity of the targets",
    "log_mean": "mean log rigidity of the targets",
    "min": "least rigidity of the targets",
    "variance": "mean 1/R of the targets",
    "information": "information about the targets (nats)",
}
_COLUMNS = {"target_rigidity": _OBJECTIVES["mean"], "target_rmse": "RMSE of the targets"}


class Path(NamedTuple):
    """One strategy: numbers of picks, and a value after each of them for every seed.

    Attributes
    ----------
    picks : ndarray of shape (n_picks,)
        Numbers of samples added so far.
    values : ndarray of shape (n_seeds, n_picks)
        What is drawn.
    """

    picks: np.ndarray
    values: np.ndarray


@dataclass(kw_only=True, eq=False, repr=False)
class SelectionPathDisplay(Display):
    """What a selection has achieved after every pick, for several strategies and seeds.

    Make one with `from_selector` or `from_frame`; the constructor stores and does not check.

    Parameters
    ----------
    name : str, default=None
        Put before the strategies' names in the legend.
    paths : dict of str to Path
        Every strategy's path.
    xlabel : str, default="structures added"
        What is picked.
    label : str, default="mean rigidity of the targets"
        What is drawn.
    unit : str, default=None
        Its unit.

    Attributes
    ----------
    ax_, figure_ : matplotlib axes and figure
        Where it was drawn.
    lines_ : list of Line2D
        Means over seeds, strategy by strategy.
    dropped_ : dict of str to int
        How many values a logarithmic axis cannot show: 0 and infinite ones.

    References
    ----------
    Chong et al., Faraday Discuss. 256, 322 (2025), Fig. 4.

    Examples
    --------
    >>> import numpy as np
    >>> from skrigidity.plotting import SelectionPathDisplay
    >>> from skrigidity.sample_selection import PRSelector
    >>> X = np.random.default_rng(0).standard_normal((100, 5))
    >>> selectors = {
    ...     objective: PRSelector(10, objective=objective).fit(X[20:], X_target=X[:20])
    ...     for objective in ("mean", "variance")
    ... }
    >>> display = SelectionPathDisplay.from_selector({"greedy": selectors["mean"]})
    >>> display.paths["greedy"].values.shape
    (1, 11)
    >>> display.ax_.get_ylabel()
    'mean rigidity of the targets'
    """

    paths: dict[str, Path]
    xlabel: str = "structures added"
    label: str = _OBJECTIVES["mean"]
    unit: str | None = None

    @classmethod
    def from_selector(cls, selector: Any, **kwargs: Any) -> Self:
        """Draw the objectives of fitted selectors.

        Parameters
        ----------
        selector : PRSelector, or dict of str to (list of) PRSelector
            Fitted selectors, of the same objective: anything with `objective_path_`, also inside
            of a `SubsetRegressor` or at the end of a pipeline. A list has one for each seed.
        **kwargs : dict
            Labels (`xlabel`, `unit`, `name`, and `label`, by default the selectors' objective)
            and keywords of `plot`, such as `ax`.

        Returns
        -------
        SelectionPathDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            If selectors of different objectives are mixed.
        TypeError
            If a selector has no `objective_path_`.
        """
        if not isinstance(selector, Mapping):
            selector = {type(selector).__name__: selector}
        several = {
            str(strategy): [_with_path(one) for one in (s if isinstance(s, Sequence) else [s])]
            for strategy, s in selector.items()
        }
        objectives = {getattr(s, "objective", None) for seeds in several.values() for s in seeds}
        if len(objectives) > 1:
            found = sorted(map(str, objectives))
            raise ValueError(f"selector: all must have the same objective, got {found}")
        paths = {strategy: _stacked(seeds) for strategy, seeds in several.items()}
        label = _OBJECTIVES.get(next(iter(objectives), None) or "", "objective")
        return cls._of_paths(paths, label, kwargs)

    @classmethod
    def from_frame(
        cls,
        frame: pd.DataFrame,
        *,
        value: str = "target_rigidity",
        strategy: str = "strategy",
        seed: str = "seed",
        pick: str = "n_picks",
        **kwargs: Any,
    ) -> Self:
        """Draw a tidy table, a row for every pick of every seed of every strategy.

        Parameters
        ----------
        frame : pandas.DataFrame
            Such as `skrigidity.sample_selection.augmentation_study` returns; the defaults are
            its columns.
        value : str, default="target_rigidity"
            Column that is drawn: a rigidity, an error, ...
        strategy, seed, pick : str
            Columns of the strategy, the seed, and the number of samples added. Every seed of a
            strategy must have the same picks.
        **kwargs : dict
            Labels (`xlabel`, `unit`, `name`, and `label`, by default the column in words) and
            keywords of `plot`, such as `ax`.

        Returns
        -------
        SelectionPathDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            If a column is missing, a value is NaN, or seeds differ in their picks.
        """
        missing = [column for column in (strategy, seed, pick, value) if column not in frame]
        if missing:
            raise ValueError(f"frame has no column {missing[0]!r}; it has {list(frame.columns)}")
        paths = {}
        for key, rows in frame.groupby(strategy, sort=False, observed=True):
            table = rows.pivot(index=seed, columns=pick, values=value).sort_index(axis=1)
            if table.isna().to_numpy().any():
                raise ValueError(f"frame: the seeds of {key!r} differ in their picks, or have NaN")
            paths[str(key)] = Path(table.columns.to_numpy(float), table.to_numpy(float))
        return cls._of_paths(paths, _COLUMNS.get(value, value), kwargs)

    @classmethod
    def _of_paths(cls, paths: dict[str, Path], label: str, options: dict[str, Any]) -> Self:
        """Check and draw paths, with this label where the options have none."""
        if not paths:
            raise ValueError("there is no strategy to draw")
        for strategy, path in paths.items():
            if np.isnan(path.values).any():
                raise ValueError(f"the path of {strategy!r} contains NaN")
            data.steps(path.picks, len(path.picks), f"picks of {strategy!r}")
        options = {**options, "label": label if options.get("label") is None else options["label"]}
        return cls._drawn(options, paths=paths)

    def plot(
        self,
        ax: Any = None,
        *,
        spread: Literal["range", "std"] | None = "range",
        yscale: Literal["auto", "log", "linear"] = "auto",
        line_kwargs: dict | None = None,
    ) -> Self:
        """Draw.

        Parameters
        ----------
        ax : matplotlib axes, default=None
            Where to draw; None makes a figure.
        spread : {"range", "std"} or None, default="range"
            Band over seeds: from the least to the largest, or one standard deviation.
        yscale : {"auto", "log", "linear"}, default="auto"
            "auto" is logarithmic unless a value is negative.
        line_kwargs : dict, default=None
            Keywords of the lines.

        Returns
        -------
        object
            The display.

        Raises
        ------
        ValueError
            If `spread` or `yscale` is unknown.
        """
        data.one_of("spread", spread, ("range", "std", None))
        data.one_of("yscale", yscale, ("auto", "log", "linear"))
        ax = self._begin(ax)
        every = np.concatenate([path.values.ravel() for path in self.paths.values()])
        logarithmic = yscale == "log" or (yscale == "auto" and not (every < 0).any())
        self.lines_ = []
        looks = next_styles(ax, len(self.paths))
        for look, (strategy, path) in zip(looks, self.paths.items(), strict=True):
            mean, low, high = _summary(path.values, spread, logarithmic)
            points = {"markersize": 4, "markevery": max(1, len(path.picks) // 12), **look.points}
            label = joined(self.name, strategy)
            line = self._line(path.picks, mean, look, line_kwargs, label=label, **points)
            self._band(line, low, high)
            self.lines_.append(line)
        not_positive = (logarithmic & (every <= 0)).sum()
        dropped = {"value ≤ 0": not_positive, "value infinite": np.isinf(every).sum()}
        y_label, log = with_unit(self.label, self.unit), "y" if logarithmic else ""
        return self._end(dropped, x=self.xlabel, y=y_label, log=log)


def _summary(
    values: np.ndarray, spread: str | None, logarithmic: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return mean and band over seeds; nan where a value cannot be shown."""
    bad = np.isinf(values) | (logarithmic & (values <= 0))
    values = np.where(bad, np.nan, values)
    mean = values.mean(axis=0)
    if spread == "std":
        # One seed has no spread.
        std = values.std(axis=0, ddof=min(1, len(values) - 1))
        low = mean - std
        return mean, np.where(logarithmic & (low <= 0), np.nan, low), mean + std
    if spread == "range":
        return mean, values.min(axis=0), values.max(axis=0)
    return mean, mean, mean


def _with_path(selector: Any) -> Any:
    found = data.inside(selector, "objective_path_")
    if found is None:
        raise TypeError(f"selector must have objective_path_, {type(selector).__name__} has not")
    return found


def _stacked(seeds: list[Any]) -> Path:
    paths = [np.asarray(seed.objective_path_) for seed in seeds]
    lengths = {len(path) for path in paths}
    if len(lengths) != 1:
        raise ValueError(f"selector: seeds differ in their numbers of picks, {sorted(lengths)}")
    return Path(np.arange(float(lengths.pop())), np.stack(paths))
