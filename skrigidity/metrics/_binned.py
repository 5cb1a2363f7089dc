"""Squared errors in bins of predicted variance, in numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils import Bunch, check_array


def binned_calibration(y_true: Any, y_pred: Any, y_std: Any, *, bin_size: int = 50) -> Bunch:
    r"""Compare mean squared errors with mean predicted variances, in bins of similar variance.

    Samples are sorted by their standard deviations and cut into bins of equal numbers. Error bars
    that are right give points on the line y = x; a `slope` of 0 means that they tell nothing, and
    the `mean_log_deviation` is how far bins are from the line. Few samples deviate by chance: bins
    of 50 Gaussian errors by 0.16.

    Parameters
    ----------
    y_true, y_pred : array-like of shape (n_samples,)
        Targets and predictions.
    y_std : array-like of shape (n_samples,)
        Standard deviations; samples where they are infinite or 0 are in no bin.
    bin_size : int, default=50
        Least number of samples in a bin.

    Returns
    -------
    Bunch
        With these entries.

        predicted_variance, squared_error : ndarray of shape (n_bins,)
            Means over bins.
        slope : float
            Slope of the regression of log squared error on log variance; nan for one bin.
        mean_log_deviation : float
            Mean of :math:`|\ln(e^2 / \mathrm{var})|` over bins.

    Raises
    ------
    ValueError
        If shapes differ, values are not finite, a standard deviation is negative or nan,
        `bin_size` is less than 1, or no sample is left.

    See Also
    --------
    skrigidity.plotting.BinnedErrorDisplay : The same as a figure.

    References
    ----------
    Chong et al., Faraday Discuss. 256, 322 (2025), Fig. 1, lower row.

    Examples
    --------
    >>> import numpy as np
    >>> from skrigidity.metrics import binned_calibration
    >>> rng = np.random.default_rng(0)
    >>> y_std = 10 ** rng.uniform(-1, 0, 1000)
    >>> bins = binned_calibration(np.zeros(1000), y_std * rng.standard_normal(1000), y_std)
    >>> len(bins.squared_error), round(bins.slope, 2), round(bins.mean_log_deviation, 2)
    (20, 0.98, 0.13)
    """
    y = check_array(y_true, dtype=np.float64, ensure_2d=False, input_name="y_true")
    mean = check_array(y_pred, dtype=np.float64, ensure_2d=False, input_name="y_pred")
    std = check_array(
        y_std, dtype=np.float64, ensure_2d=False, ensure_all_finite=False, input_name="y_std"
    )
    if y.ndim != 1 or not y.shape == mean.shape == std.shape:
        raise ValueError(
            f"y_true, y_pred and y_std must have the same shape (n_samples,), got {y.shape}, "
            f"{mean.shape} and {std.shape}"
        )
    if not (std >= 0).all():
        raise ValueError("y_std must have no negative entry and no nan")
    if bin_size < 1:
        raise ValueError(f"bin_size must be at least 1, got {bin_size!r}")
    kept = np.flatnonzero((std > 0) & np.isfinite(std))
    if len(kept) == 0:
        raise ValueError("y_std must have an entry that is neither 0 nor infinite")
    order = kept[np.argsort(std[kept], kind="stable")]
    bins = np.array_split(order, max(1, len(order) // bin_size))
    variance = np.array([np.mean(std[b] ** 2) for b in bins])
    squared = np.array([np.mean((y - mean)[b] ** 2) for b in bins])
    slope, deviation = logarithmic_slope(variance, squared)
    return Bunch(
        predicted_variance=variance,
        squared_error=squared,
        slope=slope,
        mean_log_deviation=deviation,
    )


def logarithmic_slope(variance: np.ndarray, squared: np.ndarray) -> tuple[float, float]:
    """Return the slope of log squared errors on log variances, and their mean distance.

    Bins without any error are left out. The slope of bins of one variance is nan, the distance
    of no bins infinite.

    Parameters
    ----------
    variance, squared : ndarray of shape (n_bins,)
        Mean variances and mean squared errors of bins.
    """
    some = squared > 0
    x, y = np.log(variance[some]), np.log(squared[some])
    if not len(x):
        return float("nan"), float("inf")
    centred = x - x.mean()
    slope = float(centred @ y / (centred @ centred)) if centred.any() else float("nan")
    return slope, float(np.abs(y - x).mean())
