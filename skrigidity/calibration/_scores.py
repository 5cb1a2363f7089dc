"""Scores of a Gaussian error bar."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr


def gaussian_crps(residual: np.ndarray, std: np.ndarray) -> np.ndarray:
    """Return the continuous ranked probability score of a Gaussian.

    Parameters
    ----------
    residual : ndarray
        Target minus mean.
    std : ndarray
        Standard deviations; without a spread the score is the absolute residual.

    Returns
    -------
    ndarray
        Scores in units of the residual: smaller is better.

    References
    ----------
    Gneiting, Raftery, J. Am. Stat. Assoc. 102, 359 (2007).

    Examples
    --------
    >>> import numpy as np
    >>> from skrigidity.calibration import gaussian_crps
    >>> gaussian_crps(np.array([0.0]), np.array([1.0])).round(4)
    array([0.2337])
    """
    residual = np.abs(residual)
    with np.errstate(over="ignore"):
        z = residual / np.where(std > 0, std, 1.0)
        density = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
    score = residual * (2 * ndtr(z) - 1) + std * (2 * density - 1 / np.sqrt(np.pi))
    return np.where(std > 0, score, residual)


def gaussian_nll(residual: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """Return the negative log-likelihood of a Gaussian.

    Parameters
    ----------
    residual : ndarray
        Target minus mean.
    variance : ndarray
        Positive variances.

    Returns
    -------
    ndarray
        Natural logarithms: smaller is better.

    Examples
    --------
    >>> import numpy as np
    >>> from skrigidity.calibration import gaussian_nll
    >>> gaussian_nll(np.array([0.0]), np.array([1.0])).round(4)
    array([0.9189])
    """
    return 0.5 * (np.log(2 * np.pi) + np.log(variance) + (residual / np.sqrt(variance)) ** 2)
