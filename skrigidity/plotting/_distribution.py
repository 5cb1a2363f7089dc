"""Distributions of rigidities, by group."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np

from . import _data as data
from ._display import Display, Style, joined, mark, merged, ordered, showable, with_unit


@dataclass(kw_only=True, eq=False, repr=False)
class RigidityDistributionDisplay(Display):
    """Distribution of rigidities on a logarithmic axis, group by group.

    Make one with `from_estimator` or `from_rigidities`; the constructor stores and does not
    check.

    Parameters
    ----------
    name : str, default=None
        Name of the model, for the legend.
    rigidity : ndarray of shape (n,)
        Rigidities.
    groups : ndarray of shape (n,), default=None
        Labels of groups: kinds of structures, elements, coordination numbers, components.
    label : str, default="prediction rigidity"
        What the axis is called.
    unit : str, default=None
        Unit of the rigidities. None for unit weights: they are then pure numbers.

    Attributes
    ----------
    medians : dict of str to float
        Median of each group (None is the name of a single one), infinities included.
    ax_, figure_ : matplotlib axes and figure
        Where it was drawn.
    artists_ : list
        The histograms' or curves' outlines, or the boxes, group by group.
    dropped_ : dict of str to int
        How many rigidities a logarithmic axis cannot show: R = 0 (nothing pins the prediction)
        and R = ∞ (it cannot move).

    Examples
    --------
    >>> import numpy as np
    >>> from skrigidity.linear_model import RigidRidge
    >>> from skrigidity.plotting import RigidityDistributionDisplay
    >>> X = np.random.default_rng(0).standard_normal((60, 4))
    >>> model = RigidRidge().fit(X[:40], X[:40, 0])
    >>> part = np.repeat(["train", "test"], [40, 20])
    >>> display = RigidityDistributionDisplay.from_estimator(model, X, groups=part)
    >>> {group: round(R, 2) for group, R in display.medians.items()}
    {'train': 9.64, 'test': 7.19}
    """

    rigidity: np.ndarray
    groups: np.ndarray | None = None
    label: str = data.LABELS["global"]
    unit: str | None = None

    @property
    def medians(self) -> dict[str | None, float]:
        """Median of each group, infinities included."""
        groups = ordered(self.groups, len(self.rigidity))
        return {label: _median(self.rigidity[mask]) for label, mask in groups}

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        *,
        level: Literal["global", "local", "component"] = "global",
        components: Any = None,
        groups: Any = None,
        target: int | None = None,
        **kwargs: Any,
    ) -> Self:
        """Draw the rigidities of an estimator's predictions.

        Parameters
        ----------
        estimator : object
            Fitted estimator with rigidities, or a pipeline or search with one at its end.
        X : array-like, structures, or whatever the estimator predicts from
            Samples.
        level : {"global", "local", "component"}, default="global"
            Rigidities of samples, of environments, or of the components of samples, which are
            then the groups.
        components : list or dict, default=None
            Components of the features that enter the last step; None where that has its own.
        groups : array-like, default=None
            A label for each sample or, with ``level="local"``, each environment.
        target : int, default=None
            Which target; needed where rigidities depend on it (an alpha for each).
        **kwargs : dict
            Further keywords of `from_rigidities`.

        Returns
        -------
        RigidityDistributionDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            If `level` is unknown, or groups are given for components.
        """
        data.one_of("level", level, data.LABELS)
        if level == "component":
            if groups is not None:
                raise ValueError("groups must be None with level='component'")
            R, names = data.component_rigidity_of(estimator, X, components, target=target)
            groups, R, target = np.tile(names, len(R)), R.ravel(), None
        else:
            R = data.rigidity_of(estimator, X, level)
        kwargs = {"label": data.LABELS[level], **kwargs}
        return cls.from_rigidities(R, groups=groups, target=target, **kwargs)

    @classmethod
    def from_rigidities(
        cls, rigidity: Any, *, groups: Any = None, target: int | None = None, **kwargs: Any
    ) -> Self:
        """Draw rigidities.

        Parameters
        ----------
        rigidity : array-like of shape (n,) or (n, n_targets), or list of such
            Rigidities; a list of one array per structure is joined.
        groups : array-like, default=None
            A label for each rigidity, or for each structure.
        target : int, default=None
            Which target; needed where there are several.
        **kwargs : dict
            Labels (`label`, `unit`, `name`) and keywords of `plot`, such as `ax`.

        Returns
        -------
        RigidityDistributionDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            If a rigidity is negative or NaN, or groups do not match.
        """
        labels = data.labels_of(groups, rigidity)
        values = data.rigidities(rigidity, target=target)
        return cls._drawn(kwargs, rigidity=values, groups=labels)

    def plot(
        self,
        ax: Any = None,
        *,
        kind: Literal["histogram", "cumulative", "box"] = "histogram",
        bins: int = 20,
        line_kwargs: dict | None = None,
    ) -> Self:
        """Draw.

        Parameters
        ----------
        ax : matplotlib axes, default=None
            Where to draw; None makes a figure.
        kind : {"histogram", "cumulative", "box"}, default="histogram"
            Histograms with their medians, cumulative distributions (0 and infinity count in
            their shares), or, for many groups, boxes of quartiles with whiskers from 5 to 95 %.
        bins : int, default=20
            Number of bins of the histograms.
        line_kwargs : dict, default=None
            Keywords of the outlines, the curves or the medians of the boxes.

        Returns
        -------
        object
            The display.

        Raises
        ------
        ValueError
            If `kind` is unknown.
        """
        data.one_of("kind", kind, ("histogram", "cumulative", "box"))
        self._begin(ax)
        kept, dropped = showable({"R": self.rigidity})
        edges = _edges(self.rigidity[kept], bins)
        self.artists_ = []
        titles: list[str] = []
        for look, label, mask in self._groups(self.groups, len(kept)):
            titles.append(f"{joined(self.name, label) or 'all'} ({mask.sum()})")
            default = {**look.line, "linewidth": 1.5, "label": titles[-1]}
            keywords = merged(default, line_kwargs, "line")
            shown = self.rigidity[mask & kept]
            if kind == "histogram":
                artist = self._histogram(shown, int(mask.sum()), edges, keywords)
            elif kind == "cumulative":
                artist = self._cumulative(self.rigidity[mask], keywords)
            else:
                artist = self._box(shown, len(titles) - 1, look, line_kwargs)
            mark(artist)
            self.artists_.append(artist)
        rigidity = with_unit(self.label, self.unit)
        if kind == "box":
            labels = [title.replace(" (", "\n(") for title in titles]
            self.ax_.set_xticks(range(len(labels)), labels)
            x_label = self.ax_.get_xlabel()
            return self._end(dropped, x=x_label, y=rigidity, log="y", legend=False)
        what = {data.LABELS["global"]: "structures", data.LABELS["local"]: "environments"}
        share = what.get(self.label, "values") + (" below" if kind == "cumulative" else "")
        return self._end(dropped, x=rigidity, y=f"{share} (%)", log="x")

    def _histogram(self, values: np.ndarray, n: int, edges: np.ndarray, keywords: dict) -> Any:
        shares = 100 * np.histogram(values, edges)[0] / n
        artist = self.ax_.stairs(shares, edges, **keywords)
        self.ax_.stairs(shares, edges, fill=True, color=keywords["color"], alpha=0.2)
        if len(values):
            self.ax_.axvline(_median(values), **{**keywords, "linewidth": 1.0, "label": None})
        return artist

    def _cumulative(self, values: np.ndarray, keywords: dict) -> Any:
        order = np.sort(values)
        share = 100 * np.arange(1, len(order) + 1) / len(order)
        finite = np.isfinite(order) & (order > 0)
        keywords = {"drawstyle": "steps-post", **keywords}
        return self.ax_.plot(order[finite], share[finite], **keywords)[0]

    def _box(self, values: np.ndarray, i: int, look: Style, line_kwargs: dict | None) -> Any:
        places = {"positions": [i], "widths": 0.6, "whis": (5, 95), "manage_ticks": False}
        parts = self.ax_.boxplot(
            values,
            showfliers=False,
            patch_artist=True,
            medianprops=merged({"color": "black"}, line_kwargs, "line"),
            boxprops={"facecolor": look.line["color"], "alpha": 0.6},
            **places,
        )
        return parts["boxes"][0]


def _edges(values: np.ndarray, bins: int) -> np.ndarray:
    if not len(values):
        return np.array([1.0, 10.0])
    low, high = values.min(), values.max()
    return np.geomspace(low / 1.1, high * 1.1, bins + 1)


def _median(values: np.ndarray) -> float:
    """Return the lower median: no mean of something and infinity."""
    return float(np.quantile(values, 0.5, method="lower"))
