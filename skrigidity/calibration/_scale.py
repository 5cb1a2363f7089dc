"""The scale of the error bars: ``var = C**2 / R + sigma**2`` from residuals and rigidities."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import brentq, minimize, nnls
from scipy.special import ndtr

METHODS = ("squared_residuals", "absolute_residuals", "crps", "nll")


class Scale(NamedTuple):
    """Scale of an uncertainty model.

    Attributes
    ----------
    variance : float
        C**2, in squared units of the target times units of the rigidity.
    noise : float
        sigma**2, in squared units of the target.
    n_excluded : int
        Number of rows left out because their rigidity is 0 or infinite.
    """

    variance: float
    noise: float
    n_excluded: int


def fit_scale(
    residual: Any,
    rigidity: Any,
    sample_weight: Any = None,
    *,
    method: str = "squared_residuals",
    noise: bool = False,
) -> Scale:
    r"""Fit C and sigma in ``var = C**2 / R + sigma**2``.

    ========================  ==========================================================
    method                    C**2 (without noise)
    ========================  ==========================================================
    ``"squared_residuals"``   weighted mean of :math:`e^2 R`; the Gaussian maximum likelihood
    ``"absolute_residuals"``  :math:`(\sqrt{\pi/2}\,\langle |e| \sqrt R\rangle)^2`
    ``"crps"``                minimizes the mean continuous ranked probability score
    ``"nll"``                 minimizes the mean negative log-likelihood
    ========================  ==========================================================

    Parameters
    ----------
    residual : array-like of shape (n_rows,)
        Target minus prediction on data that the model has not been fitted to.
    rigidity : array-like of shape (n_rows,)
        Rigidities of the same predictions.
    sample_weight : array-like of shape (n_rows,), default=None
        Weights of the rows.
    method : {"squared_residuals", "absolute_residuals", "crps", "nll"}
        See above.
    noise : bool, default=False
        Fit sigma as well; otherwise it is 0.

    Returns
    -------
    Scale

    Raises
    ------
    ValueError
        If `method` is unknown, lengths differ, a weight is negative, a rigidity is negative or
        nan, no row has a finite, positive rigidity, or a residual of such a row is not finite.

    References
    ----------
    Chong et al., Faraday Discuss. 256, 322 (2025), section 3; Bigi et al., Mach. Learn.: Sci.
    Technol. 5, 045018 (2024).

    Examples
    --------
    >>> from skrigidity.calibration import fit_scale
    >>> fit_scale([1.0, -1.0], [4.0, 4.0]).variance
    4.0
    """
    if method not in METHODS:
        raise ValueError(f"method must be one of {METHODS}, got {method!r}")
    e = np.asarray(residual, dtype=np.float64)
    rigidity = np.asarray(rigidity, dtype=np.float64)
    weight = np.ones(len(e)) if sample_weight is None else np.asarray(sample_weight, float)
    if not e.shape == rigidity.shape == weight.shape:
        raise ValueError(
            "residual, rigidity and sample_weight must have the same length, got shapes "
            f"{e.shape}, {rigidity.shape} and {weight.shape}"
        )
    if not (rigidity >= 0).all():
        raise ValueError("rigidity must have no negative entry and no nan")
    if not (np.isfinite(weight) & (weight >= 0)).all():
        raise ValueError("sample_weight must be finite, with no negative entry")
    usable = (rigidity > 0) & np.isfinite(rigidity)
    n_excluded = int((~usable).sum())
    usable &= weight > 0
    if not usable.any():
        raise ValueError("rigidity must be positive and finite in at least one row with weight")
    e, q, weight = e[usable], 1 / rigidity[usable], weight[usable]
    weight = weight / weight.sum()
    if not np.isfinite(e).all():
        raise ValueError("residual must be finite where the rigidity is")
    if not e.any():
        return Scale(0.0, 0.0, n_excluded)
    variance = _scale_only(e, q, weight, method)
    sigma2 = 0.0
    if noise:
        variance, sigma2 = _scale_and_noise(e, q, weight, method, variance)
    return Scale(float(variance), float(sigma2), n_excluded)


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
    z = residual / np.where(std > 0, std, 1.0)
    density = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
    score = std * (z * (2 * ndtr(z) - 1) + 2 * density - 1 / np.sqrt(np.pi))
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
    return 0.5 * (np.log(2 * np.pi * variance) + residual**2 / variance)


def _scale_only(e: np.ndarray, q: np.ndarray, weight: np.ndarray, method: str) -> float:
    squared = float(weight @ (e**2 / q))
    if method == "absolute_residuals":
        return float(np.pi / 2 * (weight @ (np.abs(e) / np.sqrt(q))) ** 2)
    if method != "crps":
        return squared
    return _crps_scale(np.abs(e), np.sqrt(q), weight, np.sqrt(squared)) ** 2


def _crps_scale(e: np.ndarray, root: np.ndarray, weight: np.ndarray, guess: float) -> float:
    """Return the C where the slope of the mean score, convex in C, changes its sign.

    The slope ``2 phi(e / (C root)) - 1 / sqrt(pi)`` of every row starts from ``-1 / sqrt(pi)``,
    or from above 0 where e = 0: with many such rows the optimum is at C = 0.
    """
    share = weight * root

    def slope(z: np.ndarray) -> float:
        return float(share @ (np.sqrt(2 / np.pi) * np.exp(-(z**2) / 2) - 1 / np.sqrt(np.pi)))

    if slope(np.where(e > 0, np.inf, 0.0)) >= 0:
        return 0.0
    z, low, high = e / root, guess, guess
    while slope(z / high) < 0:
        high *= 2
    while slope(z / low) > 0:
        low /= 2
    if low == high:
        return guess
    return float(np.exp(brentq(lambda log: slope(z / np.exp(log)), np.log(low), np.log(high))))


def _scale_and_noise(
    e: np.ndarray, q: np.ndarray, weight: np.ndarray, method: str, variance: float
) -> tuple[float, float]:
    """Minimize over both; each on its own is always among the candidates."""
    if method == "squared_residuals":
        return _moments(e, q, weight)
    constant = _scale_only(e, np.ones_like(q), weight, method)

    def loss(total: np.ndarray) -> float:
        if method == "nll":
            return float(weight @ gaussian_nll(e, total))
        if method == "crps":
            return float(weight @ gaussian_crps(e, np.sqrt(total)))
        # The mean absolute residual is the maximum-likelihood scale of a Laplace distribution.
        return float(weight @ (np.log(total) / 2 + np.sqrt(np.pi / 2 / total) * np.abs(e)))

    mean = float(weight @ e**2)
    start = [(variance or mean / float(weight @ q)) / 2, (constant or mean) / 2]
    best = minimize(
        lambda x: loss(np.exp(x[0]) * q + np.exp(x[1])),
        np.log(start),
        method="Nelder-Mead",
        options={"xatol": 1e-8, "fatol": 1e-12, "maxiter": 4000},
    )
    both = (float(np.exp(best.x[0])), float(np.exp(best.x[1])))
    candidates = [(variance, 0.0), (0.0, constant), both]
    return min(candidates, key=lambda c: loss(c[0] * q + c[1]))


def _moments(e: np.ndarray, q: np.ndarray, weight: np.ndarray) -> tuple[float, float]:
    """Regress the squared residuals on (q, 1), weighted by the variance of a square."""
    unit = float(q.mean())
    design = np.column_stack([q / unit, np.ones_like(q)])
    total = np.full(len(e), float(weight @ e**2))
    for _ in range(50):
        row = np.sqrt(weight) / total
        (scale, sigma2), _ = nnls(design * row[:, None], e**2 * row)
        last, total = total, np.maximum(design @ [scale, sigma2], 1e-12 * total.max())
        if np.allclose(total, last, rtol=1e-10, atol=0.0):
            break
    return float(scale / unit), float(sigma2)
