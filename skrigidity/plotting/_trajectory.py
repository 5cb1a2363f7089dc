"""Rigidity along a trajectory, with that of the training set for reference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np

from . import _data as data
from ._curves import check_quantiles
from ._display import Display, next_styles, showable, with_unit

# The quantile that stands for the environments of a frame, and what it is called.
_STATISTICS = {"min": (0.0, "least "), "median": (0.5, "median ")}


@dataclass(kw_only=True, eq=False, repr=False)
class TrajectoryRigidityDisplay(Display):
    """Rigidity of every frame of a trajectory, and the band of the training set's.

    Frames below the band are pinned less firmly than nearly all that the model was fitted to:
    the trajectory has left what the data know about.

    Make one with `from_estimator` or `from_rigidities`; the constructor stores and does not
    check.

    Parameters
    ----------
    name : str, default=None
        Name of the trajectory, for the legend.
    rigidity : ndarray of shape (n_frames,)
        Rigidity of every frame.
    time : ndarray of shape (n_frames,), default=None
        When; None counts frames.
    reference : ndarray of shape (n_samples,), default=None
        Rigidities of the training set.
    quantiles : tuple of float, default=(0.05, 0.95)
        Ends of the band of the reference.
    label : str, default="prediction rigidity"
        What the rigidities are.
    xlabel : str, default="time"
        What the times are: a temperature or a strain may stand for them.
    time_unit : str, default=None
        Unit of the time.
    unit : str, default=None
        Unit of the rigidities. None for unit weights: they are then pure numbers.

    Attributes
    ----------
    band : tuple of float or None
        Quantiles of the reference.
    below : ndarray of bool of shape (n_frames,)
        Frames below the band; none without a reference.
    ax_, figure_ : matplotlib axes and figure
        Where it was drawn.
    line_ : Line2D
        The rigidities.
    average_ : Line2D or None
        Their running median.
    band_ : artist or None
        The band.
    dropped_ : dict of str to int
        How many frames a logarithmic axis cannot show: R = 0 and R = ∞.

    References
    ----------
    Chong et al., Faraday Discuss. 256, 322 (2025), Fig. 8.

    Examples
    --------
    >>> import numpy as np
    >>> from skrigidity.linear_model import RigidRidge
    >>> from skrigidity.plotting import TrajectoryRigidityDisplay
    >>> X = np.random.default_rng(0).standard_normal((80, 4))
    >>> model = RigidRidge().fit(X, X[:, 0])
    >>> leaving = X[:40] * np.linspace(1, 5, 40)[:, None]
    >>> display = TrajectoryRigidityDisplay.from_estimator(
    ...     model, leaving, X_train=X, time=np.arange(40) / 10, time_unit="ps"
    ... )
    >>> int(display.below.sum()), display.ax_.get_xlabel()
    (31, 'time (ps)')
    """

    rigidity: np.ndarray
    time: np.ndarray | None = None
    reference: np.ndarray | None = None
    quantiles: tuple[float, float] = (0.05, 0.95)
    label: str = data.LABELS["global"]
    xlabel: str = "time"
    time_unit: str | None = None
    unit: str | None = None

    @property
    def band(self) -> tuple[float, float] | None:
        """Quantiles of the reference: values that occur in it."""
        if self.reference is None:
            return None
        low, high = np.quantile(self.reference, self.quantiles, method="lower")
        return float(low), float(high)

    @property
    def below(self) -> np.ndarray:
        """Frames below the band."""
        return np.asarray(self.rigidity < (0.0 if self.band is None else self.band[0]))

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        *,
        X_train: Any = None,
        level: Literal["global", "local"] = "global",
        statistic: Literal["min", "median"] = "min",
        **kwargs: Any,
    ) -> Self:
        """Draw the rigidities of a trajectory's frames.

        Parameters
        ----------
        estimator : object
            Fitted estimator with rigidities, or a pipeline or search with one at its end.
        X : array-like, structures, or whatever the estimator predicts from
            Frames, in the order of time.
        X_train : of the kind of X, default=None
            What gives the band: the training set. Its own rigidities are a little higher than
            those of equal structures that the model was not fitted to.
        level : {"global", "local"}, default="global"
            Rigidities of frames, or `statistic` of those of their environments.
        statistic : {"min", "median"}, default="min"
            What stands for the environments of a frame with ``level="local"``.
        **kwargs : dict
            Further keywords of `from_rigidities`.

        Returns
        -------
        TrajectoryRigidityDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            If `level` or `statistic` is unknown.
        """
        data.one_of("statistic", statistic, _STATISTICS)
        quantile, what = _STATISTICS[statistic]

        def of_frames(frames: Any) -> Any:
            R = data.rigidity_of(estimator, frames, level)
            if level == "global":
                return R
            if not data.is_ragged(R):
                raise ValueError("X: level='local' needs structures made of environments")
            return np.array([np.quantile(part, quantile, axis=0, method="lower") for part in R])

        reference = None if X_train is None else of_frames(X_train)
        label = ("" if level == "global" else what) + data.LABELS[level]
        kwargs = {"label": label, **kwargs}
        return cls.from_rigidities(of_frames(X), reference=reference, **kwargs)

    @classmethod
    def from_rigidities(
        cls,
        rigidity: Any,
        *,
        time: Any = None,
        reference: Any = None,
        quantiles: tuple[float, float] = (0.05, 0.95),
        target: int | None = None,
        **kwargs: Any,
    ) -> Self:
        """Draw rigidities over time.

        Parameters
        ----------
        rigidity : array-like of shape (n_frames,) or (n_frames, n_targets)
            Rigidity of every frame.
        time : array-like of shape (n_frames,), default=None
            When, increasing; None counts frames.
        reference : array-like of shape (n_samples,) or (n_samples, n_targets), default=None
            Rigidities of the training set.
        quantiles : tuple of float, default=(0.05, 0.95)
            Ends of the band of the reference.
        target : int, default=None
            Which target; needed where there are several.
        **kwargs : dict
            Labels (`label`, `xlabel`, `time_unit`, `unit`, `name`) and keywords of `plot`, such
            as `ax`.

        Returns
        -------
        TrajectoryRigidityDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            If a rigidity is negative or NaN, or the times do not fit.
        """
        values = data.rigidities(rigidity, target=target)
        if time is not None:
            time = data.steps(time, len(values), "time")
        if reference is not None:
            reference = data.rigidities(reference, "reference", target)
        ends = check_quantiles(quantiles)
        return cls._drawn(kwargs, rigidity=values, time=time, reference=reference, quantiles=ends)

    def plot(
        self, ax: Any = None, *, window: int | None = None, line_kwargs: dict | None = None
    ) -> Self:
        """Draw.

        Parameters
        ----------
        ax : matplotlib axes, default=None
            Where to draw; None makes a figure.
        window : int, default=None
            Number of frames of the running median; None draws none.
        line_kwargs : dict, default=None
            Keywords of the line of rigidities.

        Returns
        -------
        object
            The display.
        """
        ax = self._begin(ax)
        (look,) = next_styles(ax, 1)
        kept, dropped = showable({"R": self.rigidity})
        time = np.arange(len(kept)) if self.time is None else self.time
        # A gap, not a bridge, where a frame cannot be shown.
        shown = np.where(kept, self.rigidity, np.nan)
        default: dict[str, Any] = {"linewidth": 1.0, "label": self.name or "trajectory"}
        default |= {"alpha": 0.5, "linestyle": "-"} if window else {}
        self.line_ = self._line(time, shown, look, line_kwargs, **default)
        self.average_ = None
        if window:
            median = _running_median(self.rigidity, window)
            median = np.where(np.isfinite(median) & (median > 0), median, np.nan)
            label = f"median of {window} frames"
            (self.average_,) = ax.plot(time, median, linewidth=2, label=label, **look.line)
        self.band_ = self._reference_band()
        x_label = "frame" if self.time is None else with_unit(self.xlabel, self.time_unit)
        return self._end(dropped, x=x_label, y=with_unit(self.label, self.unit), log="y")

    def _reference_band(self) -> Any:
        low, high = self.band or (0.0, np.inf)
        if low == 0 or high == np.inf:
            return None
        share = 100 * (self.quantiles[1] - self.quantiles[0])
        label = f"{share:.0f} % of the training set"
        return self.ax_.axhspan(low, high, color="0.88", linewidth=0, zorder=0, label=label)


def _running_median(values: np.ndarray, window: int) -> np.ndarray:
    """Return medians of windows around every frame, cut off at the ends."""
    if window < 1:
        raise ValueError(f"window must be at least 1, got {window!r}")
    half = window // 2
    spans = [values[max(i - half, 0) : i - half + window] for i in range(len(values))]
    return np.array([np.quantile(span, 0.5, method="lower") for span in spans])
