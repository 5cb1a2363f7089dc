"""Local rigidities against the variance of a committee."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from scipy.stats import spearmanr

from ..metrics import local_rigidity
from . import _data as data
from ._display import (
    GUIDE,
    Display,
    Style,
    log_axis,
    mark,
    merged,
    next_styles,
    ordered,
    showable,
    with_unit,
)

_FEWEST_IN_BIN, _MOST_BINS = 20, 12


class CommitteeDisplay(Display):
    """Variance of a committee's local predictions against local prediction rigidity, by class.

    A model fitted to other data predicts something else for an environment: the less so, the
    more rigid its prediction. Elements, or coordination numbers, differ in both, which gives a
    correlation by itself: look at one class at a time.

    Make one with `from_estimator` or `from_predictions`; the constructor stores and does not
    check.

    Parameters
    ----------
    rigidity, variance : ndarray of shape (n_environments,)
        Local rigidity and variance over the committee.
    groups : ndarray of shape (n_environments,), default=None
        Class of each environment.
    unit : str, default=None
        Unit of the predictions, for the axes.
    name : str, default=None
        Name of the model, for the legend.

    Attributes
    ----------
    spearman : dict of str to float
        Rank correlation within each class (None is the name of a single one); -1 is perfect,
        nan where one of the two is constant.
    ax_, figure_ : matplotlib axes and figure
        After `plot`.
    scatters_ : list of PathCollection
        The points, class by class.
    medians_ : list of Line2D
        Medians of bins of equal numbers of environments.
    guide_ : Line2D
        Variance proportional to 1/LPR.
    dropped_ : dict of str to int
        How many environments logarithmic axes cannot show, by reason.

    See Also
    --------
    skrigidity.metrics.committee_variance : Fits a committee.

    References
    ----------
    Chong et al., Faraday Discuss. 256, 322 (2025), Fig. 2.

    Examples
    --------
    >>> import numpy as np
    >>> from skrigidity.plotting import CommitteeDisplay
    >>> rng = np.random.default_rng(0)
    >>> rigidity = 10 ** rng.uniform(0, 2, 300)
    >>> variance = rng.chisquare(7, 300) / rigidity
    >>> element = np.repeat(["H", "C"], 150)
    >>> display = CommitteeDisplay.from_predictions(rigidity, variance, groups=element)
    >>> {name: round(float(r), 2) for name, r in display.spearman.items()}
    {'H': -0.94, 'C': -0.93}
    """

    def __init__(
        self,
        *,
        rigidity: Any,
        variance: Any,
        groups: Any = None,
        unit: str | None = None,
        name: str | None = None,
    ) -> None:
        self.rigidity = rigidity
        self.variance = variance
        self.groups = groups
        self.unit = unit
        self.name = name

    @property
    def spearman(self) -> dict[str | None, float]:
        """Rank correlation of rigidity and variance within each class."""
        classes = ordered(self.groups, len(self.rigidity))
        return {
            label: _rank_correlation(self.rigidity[mask], self.variance[mask])
            for label, mask in classes
        }

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        committee: Any,
        *,
        groups: Any = None,
        target: int | None = None,
        unit: str | None = None,
        name: str | None = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> Self:
        """Draw the rigidities of an estimator against the variances of a committee.

        Parameters
        ----------
        estimator : object
            Estimator with local rigidities, fitted to all of the data.
        X : structures, or whatever the estimator predicts from
            Samples made of environments.
        committee : Bunch
            What `skrigidity.metrics.committee_variance` returned with ``X_test=X``.
        groups : array-like, default=None
            Class of each environment, or of each structure.
        target : int, default=None
            Which target; needed where there are several.
        unit : str, default=None
            Unit of the predictions.
        name : str, default=None
            Name for the legend.
        ax : matplotlib axes, default=None
            Where to draw; None makes a figure.
        **kwargs : dict
            Further keywords of `plot`.

        Returns
        -------
        CommitteeDisplay

        Raises
        ------
        ValueError
            If the committee has no local predictions, or is not about X.
        """
        variance = committee.local_variance
        if variance is None:
            raise ValueError("committee has no local variances: its members have no predict_local")
        labels = {"groups": groups, "target": target, "unit": unit, "name": name}
        return cls.from_predictions(
            local_rigidity(estimator, X), variance, ax=ax, **labels, **kwargs
        )

    @classmethod
    def from_predictions(
        cls,
        rigidity: Any,
        variance: Any,
        *,
        groups: Any = None,
        target: int | None = None,
        unit: str | None = None,
        name: str | None = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> Self:
        """Draw rigidities and variances.

        Parameters
        ----------
        rigidity : array-like of shape (n_environments,), or list of such
            Local rigidities; a list of one array per structure is joined.
        variance : array-like of shape (n_environments,) or (n_environments, n_targets), or list
            Variances over a committee, or any other ones.
        groups : array-like, default=None
            Class of each environment, or of each structure.
        target : int, default=None
            Which target; needed where there are several.
        unit : str, default=None
            Unit of the predictions.
        name : str, default=None
            Name for the legend.
        ax : matplotlib axes, default=None
            Where to draw; None makes a figure.
        **kwargs : dict
            Further keywords of `plot`.

        Returns
        -------
        CommitteeDisplay

        Raises
        ------
        ValueError
            If lengths differ, or a value is negative or NaN.
        """
        labels = data.labels_of(groups, rigidity)
        V = data.rigidities(variance, "variance", target)
        several = np.ndim(rigidity[0] if data.is_ragged(rigidity) else rigidity) > 1
        R = data.rigidities(rigidity, target=target if several else None)
        if len(R) != len(V):
            raise ValueError(
                f"rigidity and variance must have the same length, got {len(R)} and {len(V)}"
            )
        return cls(rigidity=R, variance=V, groups=labels, unit=unit, name=name).plot(ax, **kwargs)

    def plot(
        self,
        ax: Any = None,
        *,
        scatter_kwargs: dict | None = None,
        line_kwargs: dict | None = None,
    ) -> Self:
        """Draw.

        Parameters
        ----------
        ax : matplotlib axes, default=None
            Where to draw; None makes a figure.
        scatter_kwargs, line_kwargs : dict, default=None
            Keywords of the points and of the lines of medians.

        Returns
        -------
        self : object
            The display.
        """
        ax = self._begin(ax)
        kept, dropped = showable({"R": self.rigidity, "variance": self.variance})
        classes = ordered(self.groups, len(kept))
        correlations = self.spearman
        size = float(np.clip(4000 / max(kept.sum(), 1), 1.5, 16))
        self.scatters_, self.medians_ = [], []
        for look, (label, mask) in zip(next_styles(ax, len(classes)), classes, strict=True):
            x, y = self.rigidity[mask & kept], self.variance[mask & kept]
            default = {
                "color": look.color,
                "marker": look.marker,
                "s": size,
                "alpha": 0.35,
                "linewidths": 0,
            }
            scatter = ax.scatter(x, y, **merged(default, scatter_kwargs, "scatter"))
            mark(scatter)
            self.scatters_.append(scatter)
            shown = ", ".join(part for part in (self.name, label) if part)
            correlation = f"rank correlation {correlations[label]:.2f}".replace("-", "−")
            text = f"{shown} ({mask.sum()}): {correlation}" if shown else correlation
            self.medians_.append(self._medians(x, y, look, text, line_kwargs))
        ax.set_xlabel("local prediction rigidity")
        ax.set_ylabel(with_unit("committee variance", self.unit, 2))
        self._guide(self.rigidity[kept], self.variance[kept])
        log_axis(ax.xaxis)
        log_axis(ax.yaxis)
        self._end(dropped)
        return self

    def _medians(
        self, x: np.ndarray, y: np.ndarray, look: Style, label: str, kwargs: dict | None
    ) -> Any:
        bins = int(np.clip(len(x) // _FEWEST_IN_BIN, 1, _MOST_BINS))
        parts = np.array_split(np.argsort(x, kind="stable"), bins) if len(x) else []
        points = [[np.median(v[part]) for part in parts] for v in (x, y)]
        default = {
            **look.line,
            "marker": look.marker,
            "markersize": 6,
            "markeredgecolor": "white",
            "label": label,
        }
        return self.ax_.plot(*points, **merged(default, kwargs, "line"))[0]

    def _guide(self, x: np.ndarray, y: np.ndarray) -> None:
        ends = np.array([x.min(), x.max()]) if len(x) else np.array([1.0, 1.0])
        scale = np.median(x * y) if len(x) else np.nan
        style = {**GUIDE, "linestyle": (0, (1, 2)), "label": "proportional to 1/LPR"}
        (self.guide_,) = self.ax_.plot(ends, scale / ends, **style)


def _rank_correlation(x: np.ndarray, y: np.ndarray) -> float:
    if len(x) < 2 or (x == x[0]).all() or (y == y[0]).all():
        return float("nan")
    return float(spearmanr(x, y)[0])
