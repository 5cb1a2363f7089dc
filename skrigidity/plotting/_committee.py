"""Local rigidities against the variance of a committee."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from scipy.stats import spearmanr

from ..metrics import local_rigidity
from . import _data as data
from ._display import Display, Style, joined, merged, ordered, showable, with_unit

_FEWEST_IN_BIN, _MOST_BINS = 20, 12


@dataclass(kw_only=True, eq=False, repr=False)
class CommitteeDisplay(Display):
    """Variance of a committee's local predictions against local prediction rigidity, by class.

    Models fitted to different data predict different values for an environment. The more rigid
    the prediction is, the less these values differ. Elements or coordination numbers differ in
    both quantities, which makes them correlate by itself, so look at one class at a time.

    Make one with `from_estimator` or `from_predictions`; the constructor stores and does not
    check.

    Parameters
    ----------
    name : str, default=None
        Name of the model, for the legend.
    rigidity, variance : ndarray of shape (n_environments,)
        Local rigidity and variance over the committee.
    groups : ndarray of shape (n_environments,), default=None
        Class of each environment.
    unit : str, default=None
        Unit of the predictions, for the axes.

    Attributes
    ----------
    spearman : dict of str to float
        Rank correlation within each class (None is the name of a single one); -1 is perfect,
        nan where one of the two is constant.
    ax_, figure_ : matplotlib axes and figure
        Where it was drawn.
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

    rigidity: np.ndarray
    variance: np.ndarray
    groups: np.ndarray | None = None
    unit: str | None = None

    @property
    def spearman(self) -> dict[str | None, float]:
        """Rank correlation of rigidity and variance within each class."""
        R, V = self.rigidity, self.variance
        groups = ordered(self.groups, len(R))
        return {label: _rank_correlation(R[mask], V[mask]) for label, mask in groups}

    @classmethod
    def from_estimator(cls, estimator: Any, X: Any, committee: Any, **kwargs: Any) -> Self:
        """Draw the rigidities of an estimator against the variances of a committee.

        Parameters
        ----------
        estimator : object
            Estimator with local rigidities, fitted to all of the data.
        X : structures, or whatever the estimator predicts from
            Samples made of environments.
        committee : Bunch
            What `skrigidity.metrics.committee_variance` returned with ``X_test=X``.
        **kwargs : dict
            Further keywords of `from_predictions`.

        Returns
        -------
        CommitteeDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            If the committee has no local predictions, or is not about X.
        """
        variance = committee.local_variance
        if variance is None:
            raise ValueError("committee has no local variances: its members have no predict_local")
        return cls.from_predictions(local_rigidity(estimator, X), variance, **kwargs)

    @classmethod
    def from_predictions(
        cls,
        rigidity: Any,
        variance: Any,
        *,
        groups: Any = None,
        target: int | None = None,
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
        **kwargs : dict
            Labels (`unit` of the predictions, `name`) and keywords of `plot`, such as `ax`.

        Returns
        -------
        CommitteeDisplay
            The display, drawn.

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
        return cls._drawn(kwargs, rigidity=R, variance=V, groups=labels)

    def plot(
        self, ax: Any = None, *, scatter_kwargs: dict | None = None, line_kwargs: dict | None = None
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
        object
            The display.
        """
        self._begin(ax)
        kept, dropped = showable({"R": self.rigidity, "variance": self.variance})
        correlations = self.spearman
        size = float(np.clip(4000 / max(kept.sum(), 1), 1.5, 16))
        self.scatters_, self.medians_ = [], []
        for look, label, mask in self._groups(self.groups, len(kept)):
            x, y = self.rigidity[mask & kept], self.variance[mask & kept]
            self.scatters_.append(self._scatter(x, y, look, scatter_kwargs, s=size, alpha=0.35))
            shown = joined(self.name, label)
            correlation = f"rank correlation {correlations[label]:.2f}".replace("-", "−")
            text = f"{shown} ({mask.sum()}): {correlation}" if shown else correlation
            self.medians_.append(self._medians(x, y, look, text, line_kwargs))
        x, y = self.rigidity[kept], self.variance[kept]
        ends = np.array([x.min(), x.max()]) if len(x) else np.ones(2)
        scale = np.median(x * y) if len(x) else np.nan
        dots: dict[str, Any] = {"linestyle": (0, (1, 2)), "label": "proportional to 1/LPR"}
        self.guide_ = self._guide(ends, scale / ends, **dots)
        y_label = with_unit("committee variance", self.unit, 2)
        return self._end(dropped, x=data.LABELS["local"], y=y_label, log="xy")

    def _medians(
        self, x: np.ndarray, y: np.ndarray, look: Style, label: str, kwargs: dict | None
    ) -> Any:
        bins = int(np.clip(len(x) // _FEWEST_IN_BIN, 1, _MOST_BINS))
        parts = np.array_split(np.argsort(x, kind="stable"), bins) if len(x) else []
        points = [[np.median(v[part]) for part in parts] for v in (x, y)]
        default = {**look.line, **look.points, "markersize": 6, "markeredgecolor": "white"}
        keywords = merged({**default, "label": label}, kwargs, "line")
        return self.ax_.plot(*points, **keywords)[0]


def _rank_correlation(x: np.ndarray, y: np.ndarray) -> float:
    if len(x) < 2 or (x == x[0]).all() or (y == y[0]).all():
        return float("nan")
    return float(spearmanr(x, y)[0])
