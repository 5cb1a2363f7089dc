"""Rigidity of the targets along a selection, strategy by strategy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self

import numpy as np

from . import _data as data
from ._display import Display, log_axis, mark, merged, next_styles, with_unit

if TYPE_CHECKING:
    import pandas as pd

_SPREADS = ("range", "std", None)
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


class SelectionPathDisplay(Display):
    """What a selection has achieved after every pick, for several strategies and seeds.

    Make one with `from_selector` or `from_frame`; the constructor stores and does not check.

    Parameters
    ----------
    paths : dict of str to Path
        Every strategy's path.
    xlabel : str, default="structures added"
        What is picked.
    label : str, default="mean rigidity of the targets"
        What is drawn.
    unit : str, default=None
        Its unit.
    name : str, default=None
        Put before the strategies' names in the legend.

    Attributes
    ----------
    ax_, figure_ : matplotlib axes and figure
        After `plot`.
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

    def __init__(
        self,
        *,
        paths: dict[str, Path],
        xlabel: str = "structures added",
        label: str = _OBJECTIVES["mean"],
        unit: str | None = None,
        name: str | None = None,
    ) -> None:
        self.paths = paths
        self.xlabel = xlabel
        self.label = label
        self.unit = unit
        self.name = name

    @classmethod
    def from_selector(
        cls,
        selector: Any,
        *,
        xlabel: str = "structures added",
        label: str | None = None,
        unit: str | None = None,
        name: str | None = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> Self:
        """Draw the objectives of fitted selectors.

        Parameters
        ----------
        selector : PRSelector, or dict of str to (list of) PRSelector
            Fitted selectors, of the same objective: anything with `objective_path_`. A list has
            one for each seed.
        xlabel : str, default="structures added"
            What is picked.
        label : str, default=None
            What is drawn; None names the selectors' objective.
        unit : str, default=None
            Its unit.
        name : str, default=None
            Put before the strategies' names in the legend.
        ax : matplotlib axes, default=None
            Where to draw; None makes a figure.
        **kwargs : dict
            Further keywords of `plot`.

        Returns
        -------
        SelectionPathDisplay

        Raises
        ------
        ValueError
            If selectors of different objectives are mixed.
        """
        if not isinstance(selector, Mapping):
            selector = {type(selector).__name__: selector}
        several = {
            str(strategy): list(s) if isinstance(s, Sequence) else [s]
            for strategy, s in selector.items()
        }
        objectives = {getattr(s, "objective", None) for seeds in several.values() for s in seeds}
        if len(objectives) > 1:
            raise ValueError(
                f"selector: all must have the same objective, got {sorted(map(str, objectives))}"
            )
        if label is None:
            label = _OBJECTIVES.get(next(iter(objectives), None) or "", "objective")
        paths = {
            strategy: _stacked([np.asarray(s.objective_path_) for s in seeds])
            for strategy, seeds in several.items()
        }
        display = cls(paths=_checked(paths), xlabel=xlabel, label=label, unit=unit, name=name)
        return display.plot(ax, **kwargs)

    @classmethod
    def from_frame(
        cls,
        frame: pd.DataFrame,
        *,
        value: str = "target_rigidity",
        strategy: str = "strategy",
        seed: str = "seed",
        pick: str = "n_picks",
        xlabel: str = "structures added",
        label: str | None = None,
        unit: str | None = None,
        name: str | None = None,
        ax: Any = None,
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
        xlabel : str, default="structures added"
            What is picked.
        label : str, default=None
            What is drawn; None is the column's name, in words where it is known.
        unit : str, default=None
            Its unit.
        name : str, default=None
            Put before the strategies' names in the legend.
        ax : matplotlib axes, default=None
            Where to draw; None makes a figure.
        **kwargs : dict
            Further keywords of `plot`.

        Returns
        -------
        SelectionPathDisplay

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
        label = _COLUMNS.get(value, value) if label is None else label
        display = cls(paths=_checked(paths), xlabel=xlabel, label=label, unit=unit, name=name)
        return display.plot(ax, **kwargs)

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
        self : object
            The display.

        Raises
        ------
        ValueError
            If `spread` or `yscale` is unknown.
        """
        if spread not in _SPREADS:
            raise ValueError(f"spread must be one of {_SPREADS}, got {spread!r}")
        if yscale not in ("auto", "log", "linear"):
            raise ValueError(f"yscale must be 'auto', 'log' or 'linear', got {yscale!r}")
        ax = self._begin(ax)
        every = np.concatenate([path.values.ravel() for path in self.paths.values()])
        logarithmic = yscale == "log" or (yscale == "auto" and not (every < 0).any())
        bad = {"value ≤ 0": logarithmic & (every <= 0), "value infinite": np.isinf(every)}
        self.lines_: list[Any] = []
        for look, (strategy, path) in zip(
            next_styles(ax, len(self.paths)), self.paths.items(), strict=True
        ):
            mean, low, high = _summary(path.values, spread, logarithmic)
            label = f"{self.name}, {strategy}" if self.name else strategy
            default = {**look.line, "marker": look.marker, "markersize": 4, "label": label}
            default["markevery"] = max(1, len(path.picks) // 12)
            keywords = merged(default, line_kwargs, "line")
            (line,) = ax.plot(path.picks, mean, **keywords)
            mark(line)
            self.lines_.append(line)
            options = {"color": keywords["color"], "alpha": 0.15, "linewidth": 0}
            ax.fill_between(path.picks, low, high, **options)
        ax.set(xlabel=self.xlabel, ylabel=with_unit(self.label, self.unit))
        if logarithmic:
            log_axis(ax.yaxis)
        self._end({reason: int(mask.sum()) for reason, mask in bad.items()})
        return self


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


def _stacked(paths: list[np.ndarray]) -> Path:
    lengths = {len(path) for path in paths}
    if len(lengths) != 1:
        raise ValueError(f"selector: seeds differ in their numbers of picks, {sorted(lengths)}")
    return Path(np.arange(float(lengths.pop())), np.stack(paths))


def _checked(paths: dict[str, Path]) -> dict[str, Path]:
    if not paths:
        raise ValueError("there is no strategy to draw")
    for strategy, path in paths.items():
        if np.isnan(path.values).any():
            raise ValueError(f"the path of {strategy!r} contains NaN")
        data.steps(path.picks, len(path.picks), f"picks of {strategy!r}")
    return paths
