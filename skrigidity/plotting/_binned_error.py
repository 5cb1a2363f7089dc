"""Squared errors in bins of their predicted variance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from scipy.stats import chi2

from ..metrics import logarithmic_slope
from . import _data as data
from ._display import PredictionDisplay, joined, mark, merged, ordered, showable, with_unit


@dataclass(kw_only=True, eq=False, repr=False)
class BinnedErrorDisplay(PredictionDisplay):
    r"""Mean squared error of bins of samples against their mean predicted variance.

    Samples are sorted by their predicted variance :math:`C^2 / R + \sigma^2` and cut into bins
    of equal numbers. Bins of calibrated error bars lie on the line y = x. The bar of a bin is the
    95 % interval of its mean squared error for Gaussian errors; with heavier tails it is wider.

    Make one with `from_estimator` or `from_predictions`; the constructor stores and does not
    check.

    Parameters
    ----------
    name : str, default=None
        Name of the model, for the legend.
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

    Attributes
    ----------
    slope : float
        Slope of the regression of log squared error on log variance over bins; 1 is right.
    mean_log_deviation : float
        Mean of :math:`|\ln(e^2 / \mathrm{var})|` over bins; 0 is right.
    ax_, figure_ : matplotlib axes and figure
        Where it was drawn.
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

    predicted_variance: np.ndarray
    squared_error: np.ndarray
    count: np.ndarray
    interval: np.ndarray
    groups: np.ndarray | None = None
    excluded: dict[str, int] | None = None
    unit: str | None = None

    @property
    def slope(self) -> float:
        """Slope of log squared error on log variance over bins (nan for one bin)."""
        return logarithmic_slope(self.predicted_variance, self.squared_error)[0]

    @property
    def mean_log_deviation(self) -> float:
        """Mean distance of bins from y = x, in natural logarithms."""
        return logarithmic_slope(self.predicted_variance, self.squared_error)[1]

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
        **kwargs : dict
            Labels (`unit`, `name`) and keywords of `plot`, such as `ax`.

        Returns
        -------
        BinnedErrorDisplay
            The display, drawn.

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
        return cls._drawn(
            kwargs,
            predicted_variance=variance,
            squared_error=error,
            count=count,
            interval=np.array([low, high]),
            groups=None if labels is None else np.array(bin_labels),
            excluded=excluded,
        )

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
        object
            The display.
        """
        ax = self._begin(ax)
        self.bars_ = []
        kept, dropped = showable({"mean squared error": self.squared_error})
        for look, label, mask in self._groups(self.groups, len(kept)):
            x, y = (v[mask & kept] for v in (self.predicted_variance, self.squared_error))
            default = {"linestyle": "none", "markersize": 5, "elinewidth": 0.8, **look.points}
            keywords = merged(
                {**default, "label": joined(self.name, label)}, errorbar_kwargs, "line"
            )
            bars = np.abs(self.interval[:, mask & kept] - y)
            container = ax.errorbar(x, y, bars, **keywords)
            mark(container[0])
            self.bars_.append(container)
        ends = np.array([self.predicted_variance.min() / 1.5, self.predicted_variance.max() * 1.5])
        self.diagonal_ = self._guide(ends, ends, line_kwargs)
        labels = ("predicted variance", "mean squared error")
        x_label, y_label = (with_unit(label, self.unit, 2) for label in labels)
        return self._end({**(self.excluded or {}), **dropped}, x=x_label, y=y_label, log="xy")


def _bin(squared: np.ndarray, variance: np.ndarray) -> tuple[float, float, int, float, float]:
    """Return the means, the number of samples, and the interval for Gaussian errors.

    A sum of squares of unequal variances has about as many degrees of freedom as says
    Satterthwaite.
    """
    error = float(squared.mean())
    dof = variance.sum() ** 2 / (variance**2).sum()
    low, high = error * dof / chi2.ppf([0.975, 0.025], dof)
    return float(variance.mean()), error, len(squared), float(low), float(high)
