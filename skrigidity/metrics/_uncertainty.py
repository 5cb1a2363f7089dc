"""Scores of predicted error bars, for Gaussian errors of the predicted standard deviations."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from scipy.special import erf
from sklearn.utils import check_array
from sklearn.utils.validation import _check_sample_weight

from ..calibration import gaussian_crps

Multioutput = Literal["uniform_average", "raw_values"]


def neg_log_likelihood(
    y_true: Any,
    y_pred: Any,
    y_std: Any,
    *,
    sample_weight: Any = None,
    multioutput: Multioutput = "uniform_average",
) -> Any:
    r"""Mean negative log-likelihood (NLL) of Gaussian errors; smaller is better.

    The mean of :math:`\tfrac12 \ln(2 \pi \sigma^2) + e^2 / (2 \sigma^2)`. A proper score: no
    forecast has a better expectation than the true distribution. Errors of many standard
    deviations weigh heavily.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,) or (n_samples, n_targets)
        Targets.
    y_pred : array-like of the shape of y_true
        Predictions.
    y_std : array-like of the shape of y_true
        Standard deviations of the error: not negative, infinite where nothing is known.
    sample_weight : array-like of shape (n_samples,), default=None
        Sample weights.
    multioutput : {"uniform_average", "raw_values"}, default="uniform_average"
        Average over targets, or one score for each.

    Returns
    -------
    float or ndarray of shape (n_targets,)
        Infinite where a standard deviation is infinite, or zero and the prediction wrong; else -inf
        where one is zero and the prediction exact.

    Raises
    ------
    ValueError
        If shapes differ, values are not finite, or a standard deviation is negative or nan.

    References
    ----------
    Gneiting, Raftery, J. Am. Stat. Assoc. 102, 359 (2007).

    Examples
    --------
    >>> from skrigidity.metrics import neg_log_likelihood
    >>> round(neg_log_likelihood([1.0, 2.0], [1.1, 1.8], [0.1, 0.2]), 3)
    -0.537
    """
    e, std, weight, several = _checked(y_true, y_pred, y_std, sample_weight)
    safe = np.where((std > 0) & np.isfinite(std), std, 1.0)
    with np.errstate(over="ignore"):
        loss = np.log(2 * np.pi) / 2 + np.log(safe) + (e / safe) ** 2 / 2
    loss[std == 0] = np.where(e[std == 0] == 0, -np.inf, np.inf)
    loss[np.isinf(std)] = np.inf
    # One inf decides, whatever -inf there is.
    worst = np.isposinf(loss).any(axis=0)
    loss[:, worst] = np.inf
    return _over_targets(weight @ loss, several, multioutput)


def crps(
    y_true: Any,
    y_pred: Any,
    y_std: Any,
    *,
    sample_weight: Any = None,
    multioutput: Multioutput = "uniform_average",
) -> Any:
    """Mean continuous ranked probability score (CRPS) of Gaussian errors; smaller is better.

    A proper score in units of the target, the mean absolute error of a forecast without a spread.
    Large errors weigh in proportion to their size, not to its square.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,) or (n_samples, n_targets)
        Targets.
    y_pred : array-like of the shape of y_true
        Predictions.
    y_std : array-like of the shape of y_true
        Standard deviations of the error: not negative, infinite where nothing is known.
    sample_weight : array-like of shape (n_samples,), default=None
        Sample weights.
    multioutput : {"uniform_average", "raw_values"}, default="uniform_average"
        Average over targets, or one score for each.

    Returns
    -------
    float or ndarray of shape (n_targets,)
        Infinite where a standard deviation is.

    Raises
    ------
    ValueError
        If shapes differ, values are not finite, or a standard deviation is negative or nan.

    References
    ----------
    Gneiting, Raftery, J. Am. Stat. Assoc. 102, 359 (2007).

    Examples
    --------
    >>> from skrigidity.metrics import crps
    >>> round(crps([1.0, 2.0], [1.1, 1.8], [0.1, 0.2]), 3)
    0.09
    """
    e, std, weight, several = _checked(y_true, y_pred, y_std, sample_weight)
    return _over_targets(weight @ gaussian_crps(e, std), several, multioutput)


def miscalibration_area(
    y_true: Any,
    y_pred: Any,
    y_std: Any,
    *,
    sample_weight: Any = None,
    multioutput: Multioutput = "uniform_average",
) -> Any:
    r"""Area between the calibration curve and its diagonal; smaller is better.

    The calibration curve is the share of samples inside the central interval that should hold a
    share p of them, :math:`|e| \le \sigma\, \Phi^{-1}((1 + p) / 2)`, for p from 0 to 1. The
    integral of its distance from p is exact, not summed over a grid. It says whether error bars
    are right on average, and nothing of whether they are small or tell samples apart.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,) or (n_samples, n_targets)
        Targets.
    y_pred : array-like of the shape of y_true
        Predictions.
    y_std : array-like of the shape of y_true
        Standard deviations of the error: inside every interval where infinite, inside none where
        zero (unless the prediction is exact).
    sample_weight : array-like of shape (n_samples,), default=None
        Sample weights.
    multioutput : {"uniform_average", "raw_values"}, default="uniform_average"
        Average over targets, or one score for each.

    Returns
    -------
    float or ndarray of shape (n_targets,)
        Between 0 and 0.5. Perfect error bars have about ``0.31 / sqrt(n_samples)``.

    Raises
    ------
    ValueError
        If shapes differ, values are not finite, or a standard deviation is negative or nan.

    References
    ----------
    Kuleshov, Fenner, Ermon, ICML (2018); Tran et al., Mach. Learn.: Sci. Technol. 1, 025006
    (2020).

    Examples
    --------
    >>> from skrigidity.metrics import miscalibration_area
    >>> round(miscalibration_area([1.0, 2.0], [1.1, 1.8], [0.1, 0.2]), 3)
    0.283
    """
    e, std, weight, several = _checked(y_true, y_pred, y_std, sample_weight)
    areas = [_area(*column, weight) for column in zip(np.abs(e).T, std.T, strict=True)]
    return _over_targets(np.array(areas), several, multioutput)


def error_uncertainty_correlation(
    y_true: Any,
    y_pred: Any,
    y_std: Any,
    *,
    sample_weight: Any = None,
    multioutput: Multioutput = "uniform_average",
) -> Any:
    """Rank correlation (Spearman) of absolute errors and standard deviations; larger is better.

    Says whether error bars tell good predictions from bad ones; no scale enters. Not even perfect
    error bars come near 1, for an error is a random number: with the spread of those of a ridge
    model on QM7, exactly Gaussian errors give 0.29 to 0.35.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,) or (n_samples, n_targets)
        Targets.
    y_pred : array-like of the shape of y_true
        Predictions.
    y_std : array-like of the shape of y_true
        Standard deviations of the error; infinite ones rank highest.
    sample_weight : array-like of shape (n_samples,), default=None
        Sample weights: ranks and their correlation are those of repeated samples.
    multioutput : {"uniform_average", "raw_values"}, default="uniform_average"
        Average over targets, or one score for each.

    Returns
    -------
    float or ndarray of shape (n_targets,)
        Between -1 and 1; 0 where all errors or all standard deviations are equal.

    Raises
    ------
    ValueError
        If shapes differ, values are not finite, or a standard deviation is negative or nan.

    Examples
    --------
    >>> from skrigidity.metrics import error_uncertainty_correlation
    >>> y_std = [0.1, 0.2, 0.2]
    >>> round(error_uncertainty_correlation([1.0, 2.0, 3.0], [1.1, 1.8, 3.3], y_std), 3)
    0.866
    """
    e, std, weight, several = _checked(y_true, y_pred, y_std, sample_weight)
    ranks = [_rank_correlation(*column, weight) for column in zip(np.abs(e).T, std.T, strict=True)]
    return _over_targets(np.array(ranks), several, multioutput)


def sharpness(
    y_true: Any,
    y_pred: Any,
    y_std: Any,
    *,
    sample_weight: Any = None,
    multioutput: Multioutput = "uniform_average",
) -> Any:
    """Root mean square of the standard deviations; smaller is sharper.

    To be read together with a score of calibration only: overconfident error bars are the
    sharpest.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,) or (n_samples, n_targets)
        Targets, not used.
    y_pred : array-like of the shape of y_true
        Predictions, not used.
    y_std : array-like of the shape of y_true
        Standard deviations of the error.
    sample_weight : array-like of shape (n_samples,), default=None
        Sample weights.
    multioutput : {"uniform_average", "raw_values"}, default="uniform_average"
        Average over targets, or one score for each.

    Returns
    -------
    float or ndarray of shape (n_targets,)
        In units of the target; inf where a standard deviation is.

    Raises
    ------
    ValueError
        If shapes differ, values are not finite, or a standard deviation is negative or nan.

    References
    ----------
    Gneiting, Balabdaoui, Raftery, J. R. Stat. Soc. B 69, 243 (2007).

    Examples
    --------
    >>> from skrigidity.metrics import sharpness
    >>> round(sharpness([1.0, 2.0], [1.1, 1.8], [0.3, 0.4]), 3)
    0.354
    """
    _, std, weight, several = _checked(y_true, y_pred, y_std, sample_weight)
    return _over_targets(np.sqrt(weight @ std**2), several, multioutput)


def checked_weight(sample_weight: Any, n_samples: int) -> np.ndarray:
    """Return a finite weight for every sample, not all of them zero; None stands for ones."""
    weight = _check_sample_weight(
        sample_weight, np.ones(n_samples), dtype=np.float64, ensure_non_negative=True
    )
    if not weight.any():
        raise ValueError("sample_weight must not be zero throughout")
    return weight


def _checked(
    y_true: Any, y_pred: Any, y_std: Any, sample_weight: Any
) -> tuple[np.ndarray, np.ndarray, np.ndarray, bool]:
    """Return errors and standard deviations, a column per target, and weights that sum to 1."""
    y = check_array(y_true, dtype=np.float64, ensure_2d=False, input_name="y_true")
    mean = check_array(y_pred, dtype=np.float64, ensure_2d=False, input_name="y_pred")
    std = check_array(
        y_std, dtype=np.float64, ensure_2d=False, ensure_all_finite=False, input_name="y_std"
    )
    if not y.shape == mean.shape == std.shape:
        raise ValueError(
            f"y_true, y_pred and y_std must have the same shape, got {y.shape}, {mean.shape} and "
            f"{std.shape}"
        )
    if not (std >= 0).all():
        raise ValueError("y_std must have no negative entry and no nan")
    weight = checked_weight(sample_weight, len(y))
    # Nothing of a sample without weight counts, infinities neither.
    kept = weight > 0
    shape = (int(kept.sum()), -1)
    e, std = (y - mean)[kept].reshape(shape), std[kept].reshape(shape)
    return e, std, weight[kept] / weight.sum(), y.ndim > 1


def _over_targets(scores: np.ndarray, several: bool, multioutput: str) -> Any:
    if multioutput not in ("uniform_average", "raw_values"):
        raise ValueError(
            f"multioutput must be 'uniform_average' or 'raw_values', got {multioutput!r}"
        )
    if multioutput == "raw_values" and several:
        return scores
    # Of inf and -inf, the former is what must not happen.
    return float(np.inf if np.isposinf(scores).any() else scores.mean())


def _area(error: np.ndarray, std: np.ndarray, weight: np.ndarray) -> float:
    """Integrate ``|F(p) - p|`` over p, F being the distribution of the smallest p that holds."""
    z = np.divide(error, std, out=np.where(error > 0, np.inf, 0.0), where=std > 0)
    level = erf(z / np.sqrt(2))
    order = np.argsort(level)
    edges = np.concatenate([[0.0], level[order], [1.0]])
    share = np.concatenate([[0.0], np.minimum(np.cumsum(weight[order]), 1.0)])
    low, high = edges[:-1], edges[1:]
    # The diagonal passes the step at `share`, if it does so inside the piece.
    turn = np.clip(share, low, high)
    below = np.abs((turn - low) * (share - (turn + low) / 2))
    above = np.abs((high - turn) * (share - (turn + high) / 2))
    return float((below + above).sum())


def _rank_correlation(a: np.ndarray, b: np.ndarray, weight: np.ndarray) -> float:
    x, y = (_centred_ranks(values, weight) for values in (a, b))
    norm = np.sqrt((weight @ x**2) * (weight @ y**2))
    return float(np.clip(weight @ (x * y) / norm, -1.0, 1.0)) if norm > 0 else 0.0


def _centred_ranks(values: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return mid-ranks in units of the total weight, minus their mean."""
    distinct, place = np.unique(values, return_inverse=True)
    if len(distinct) == 1:
        return np.zeros(len(values))
    share = np.bincount(place, weights=weight)
    return (np.cumsum(share) - share / 2)[place] - 0.5
