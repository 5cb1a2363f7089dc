"""Squared errors in bins of their predicted variance."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from scipy.stats import chi2

from . import _data as data
from ._display import (
    GUIDE,
    Display,
    legend_label,
    log_axis,
    mark,
    merged,
    next_styles,
    ordered,
    showable,
    with_unit,
)


class BinnedErrorDisplay(Display):
    r"""Mean squared error of bins of samples against their mean predicted variance.

    Samples are sorted by their predicted variance :math:`C^2 / R + \sigma^2` and cut into bins
    of equal numbers. Calibrated error bars lie on the line y = x. The bars of a bin are the 95 %
    interval of its mean squared error for Gaussian errors (with heavier tails, it is wider).

    Make one with `from_estimator` or `from_predictions`.

    Parameters
    ----------
    predicted_variance, squared_error : ndarray of shape (n_bins,)
        Means over bins, in squared units of the target.
    count : ndarray of shape (n_bins,)
        Number of samples in each bin.
    interval : ndarray of shape (2, n_bins)
        Lower and upper end of the bars.
    groups : ndarray of shape (n_bins,), default=None
        Label of each bin.
    excluded : dict of str to int, default=None
        How many samples are in no bin, by reason.
    unit : str, default=None
        Unit of the target, for the axes.
    name : str, default=None
        Name of the model, for the legend.

    Attributes
    ----------
    slope : float
        Slope of the regression of log squared error on log variance over bins; 1 is right.
    mean_log_deviation : float
        Mean of :math:`|\ln(e^2 / \mathrm{var})|` over bins; 0 is right.
    ax_, figure_ : matplotlib axes and figure
        After `plot`.
    bars_ : list of ErrorbarContainer
        The bins, group by group.
    diagonal_ : Line2D
        The line y = x.
    dropped_ : dict of str to int
        `excluded`, and how many bins logarithmic axes cannot show.

    References
    ----------
    Chong et al., Faraday Discuss. 256, 322 (2025), Fig. 1, lower row.

    Examples
    --------
    >>> import numpy as np
    >>> from skrigidity.plotting import BinnedErrorDisplay
    >>> rng = np.random.default_rng(0)
    >>> y_std = 10 ** rng.uniform(-1, 0, 1000)
    >>> y_true = np.zeros(1000)
    >>> y_pred = y_std * rng.standard_normal(1000)
    >>> display = BinnedErrorDisplay.from_predictions(y_true, y_pred, y_std, unit="eV")
    >>> display.ax_.get_ylabel(), len(display.squared_error), round(display.slope, 2)
    ('mean squared error (eV²)', 20, 0.98)
    """

    def __init__(
        self,
        *,
        predicted_variance: Any,
        squared_error: Any,
        count: Any,
        interval: Any,
        groups: Any = None,
        excluded: dict[str, int] | None = None,
        unit: str | None = None,
        name: str | None = None,
    ) -> None:
        self.predicted_variance = predicted_variance
        self.squared_error = squared_error
        self.count = count
        self.interval = interval
        self.groups = groups
        self.excluded = excluded
        self.unit = unit
        self.name = name

    @property
    def slope(self) -> float:
        """Slope of log squared error on log variance over bins (nan for one bin)."""
        x, y = self._logarithms()
        x = x - x.mean()
        return float(x @ y / (x @ x)) if x.any() else float("nan")

    @property
    def mean_log_deviation(self) -> float:
        """Mean distance of bins from y = x, in natural logarithms."""
        x, y = self._logarithms()
        return float(np.abs(y - x).mean())

    def _logarithms(self) -> tuple[np.ndarray, np.ndarray]:
        kept = self.squared_error > 0
        return np.log(self.predicted_variance[kept]), np.log(self.squared_error[kept])

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any,
        *,
        bin_size: int = 50,
        target: int | None = None,
        groups: Any = None,
        unit: str | None = None,
        name: str | None = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> Self:
        """Draw the errors of an estimator, best on samples that it was not fitted to.

        Parameters
        ----------
        estimator : object
            Fitted estimator with error bars, or a pipeline or search with one at its end.
        X : array-like, structures, or whatever the estimator predicts from
            Samples.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Their targets.
        bin_size : int, default=50
            Least number of samples in a bin.
        target : int, default=None
            Which target; needed where there are several.
        groups : array-like of shape (n_samples,), default=None
            Labels of samples that get bins of their own.
        unit : str, default=None
            Unit of the target.
        name : str, default=None
            Name for the legend.
        ax : matplotlib axes, default=None
            Where to draw; None makes a figure.
        **kwargs : dict
            Further keywords of `plot`.

        Returns
        -------
        BinnedErrorDisplay
        """
        y_pred, y_std = data.predictions_of(estimator, X)
        labels = {"groups": groups, "unit": unit, "name": name}
        options = {"bin_size": bin_size, "target": target, "ax": ax, **kwargs}
        return cls.from_predictions(y, y_pred, y_std, **labels, **options)

    @classmethod
    def from_predictions(
        cls,
        y_true: Any,
        y_pred: Any,
        y_std: Any,
        *,
        bin_size: int = 50,
        target: int | None = None,
        groups: Any = None,
        unit: str | None = None,
        name: str | None = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> Self:
        """Draw errors, given predictions and their standard deviations.

        Parameters
        ----------
        y_true, y_pred : array-like of shape (n_samples,) or (n_samples, n_targets)
            Targets and predictions.
        y_std : array-like of the same shape
            Standard deviations; infinite (nothing is known) and 0 are left out and counted.
        bin_size : int, default=50
            Least number of samples in a bin.
        target : int, default=None
            Which target; needed where there are several.
        groups : array-like of shape (n_samples,), default=None
            Labels of samples that get bins of their own.
        unit : str, default=None
            Unit of the target.
        name : str, default=None
            Name for the legend.
        ax : matplotlib axes, default=None
            Where to draw; None makes a figure.
        **kwargs : dict
            Further keywords of `plot`.

        Returns
        -------
        BinnedErrorDisplay

        Raises
        ------
        ValueError
            If shapes differ, values are not finite, a standard deviation is negative or NaN,
            `bin_size` is less than 1, or no sample is left.
        """
        if bin_size < 1:
            raise ValueError(f"bin_size must be at least 1, got {bin_size!r}")
        y, mean, std = data.predictions(y_true, y_pred, y_std, target)
        kept, excluded = showable({"uncertainty": std})
        if not kept.any():
            raise ValueError("y_std must have an entry that is neither 0 nor infinite")
        labels = data.labels_of(groups, y)
        parts = []
        for label, mask in ordered(labels, len(y)):
            rows = np.flatnonzero(mask & kept)
            order = rows[np.argsort(std[rows], kind="stable")]
            if len(order):
                bins = np.array_split(order, max(1, len(order) // bin_size))
                parts += [(label, *_bin((y - mean)[b] ** 2, std[b] ** 2)) for b in bins]
        bin_labels, *columns = zip(*parts, strict=True)
        variance, error, count, low, high = map(np.array, columns)
        display = cls(
            predicted_variance=variance,
            squared_error=error,
            count=count,
            interval=np.array([low, high]),
            groups=None if labels is None else np.array(bin_labels),
            excluded=excluded,
            unit=unit,
            name=name,
        )
        return display.plot(ax, **kwargs)

    def plot(
        self,
        ax: Any = None,
        *,
        errorbar_kwargs: dict | None = None,
        line_kwargs: dict | None = None,
    ) -> Self:
        """Draw.

        Parameters
        ----------
        ax : matplotlib axes, default=None
            Where to draw; None makes a figure.
        errorbar_kwargs, line_kwargs : dict, default=None
            Keywords of the bins and of the line y = x.

        Returns
        -------
        self : object
            The display.
        """
        ax = self._begin(ax)
        self.bars_ = []
        kept, dropped = showable({"mean squared error": self.squared_error})
        groups = ordered(self.groups, len(kept))
        for look, (label, mask) in zip(next_styles(ax, len(groups)), groups, strict=True):
            rows = mask & kept
            x, y, ends = self.predicted_variance[rows], self.squared_error[rows], self.interval
            default = {
                "color": look.color,
                "marker": look.marker,
                "markersize": 5,
                "linestyle": "none",
                "elinewidth": 0.8,
                "label": legend_label(self.name, label),
            }
            bars = np.abs(ends[:, rows] - y)
            container = ax.errorbar(x, y, bars, **merged(default, errorbar_kwargs, "line"))
            mark(container[0])
            self.bars_.append(container)
        ax.set_xlabel(with_unit("predicted variance", self.unit, 2))
        ax.set_ylabel(with_unit("mean squared error", self.unit, 2))
        ends = np.array([self.predicted_variance.min() / 1.5, self.predicted_variance.max() * 1.5])
        default = {**GUIDE, "linestyle": "-"}
        (self.diagonal_,) = ax.plot(ends, ends, **merged(default, line_kwargs, "line"))
        log_axis(ax.xaxis)
        log_axis(ax.yaxis)
        self._end({**(self.excluded or {}), **dropped})
        return self


def _bin(squared: np.ndarray, variance: np.ndarray) -> tuple[float, float, int, float, float]:
    """Return the means, the number of samples, and the interval for Gaussian errors.

    A sum of squares of unequal variances has about as many degrees of freedom as says
    Satterthwaite.
    """
    error = float(squared.mean())
    dof = variance.sum() ** 2 / (variance**2).sum()
    low, high = error * dof / chi2.ppf([0.975, 0.025], dof)
    return float(variance.mean()), error, len(squared), float(low), float(high)
