"""The scale of the error bars: ``var = C**2 / R + sigma**2`` from residuals and q = 1 / R."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import brentq, minimize, nnls

from ._scores import gaussian_crps, gaussian_nll

METHODS = ("squared_residuals", "absolute_residuals", "crps", "nll")


class Scale(NamedTuple):
    """Scale of an uncertainty model.

    Parameters
    ----------
    variance : float or ndarray of shape (n_targets,)
        The square of C, in squared units of the target times units of the rigidity.
    noise : float or ndarray of shape (n_targets,)
        The square of sigma, in squared units of the target.
    n_excluded : int
        Number of rows left out because their rigidity is 0 or infinite.

    Examples
    --------
    >>> from skrigidity.calibration import fit_scale
    >>> fit_scale([1.0, -1.0], [4.0, 4.0])
    Scale(variance=4.0, noise=0.0, n_excluded=0)
    """

    variance: Any
    noise: Any
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
    residual : array-like of shape (n_rows,) or (n_rows, n_targets)
        Target minus prediction on data that the model has not been fitted to.
    rigidity : array-like of shape (n_rows,) or (n_rows, n_targets)
        Rigidities of the same predictions; one column serves all targets.
    sample_weight : array-like of shape (n_rows,), default=None
        Weights of the rows.
    method : {"squared_residuals", "absolute_residuals", "crps", "nll"}
        See above.
    noise : bool, default=False
        Fit sigma as well; otherwise it is 0.

    Returns
    -------
    Scale
        Squares of C and sigma, and how many rows were left out.

    Raises
    ------
    ValueError
        If `method` is unknown, lengths differ, a weight is negative or not finite, a rigidity is
        negative or nan, no row has a finite, positive rigidity, a residual of such a row is not
        finite, or C**2 or sigma**2 is too large or too small for a floating-point number.

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
    q = quad_of(np.asarray(rigidity, dtype=np.float64))
    return scale_from_quad(residual, q, sample_weight, method=method, noise=noise)


def scale_from_quad(
    residual: Any,
    q: Any,
    sample_weight: Any = None,
    *,
    method: str = "squared_residuals",
    noise: bool = False,
) -> Scale:
    """Fit C and sigma in ``var = C**2 * q + sigma**2``: `fit_scale` for what has q = 1 / R.

    Parameters
    ----------
    residual : array-like of shape (n_rows,) or (n_rows, n_targets)
        Target minus prediction on data that the model has not been fitted to.
    q : array-like of shape (n_rows,) or (n_rows, n_targets)
        Reciprocals of the rigidities: 0 where a prediction cannot move, infinite where nothing
        pins it. Such rows are left out and counted. One column serves all targets.
    sample_weight : array-like of shape (n_rows,), default=None
        Weights of the rows.
    method : {"squared_residuals", "absolute_residuals", "crps", "nll"}
        See `fit_scale`.
    noise : bool, default=False
        Fit sigma as well; otherwise it is 0.

    Returns
    -------
    Scale
        Squares of C and sigma, and how many rows were left out.

    Raises
    ------
    ValueError
        As `fit_scale`.

    Examples
    --------
    >>> from skrigidity.calibration import scale_from_quad
    >>> scale_from_quad([1.0, -1.0, 7.0], [0.25, 0.25, float("inf")])
    Scale(variance=4.0, noise=0.0, n_excluded=1)
    """
    if method not in METHODS:
        raise ValueError(f"method must be one of {METHODS}, got {method!r}")
    e, q = np.asarray(residual, dtype=np.float64), np.asarray(q, dtype=np.float64)
    weight = np.ones(e.shape[:1]) if sample_weight is None else np.asarray(sample_weight, float)
    if e.ndim not in {1, 2} or q.shape[:1] != e.shape[:1] or weight.shape != e.shape[:1]:
        raise ValueError(
            "residual, rigidity and sample_weight must have the same length, got shapes "
            f"{e.shape}, {q.shape} and {weight.shape}"
        )
    if q.ndim != 1 and q.shape not in {e.shape, (*e.shape[:1], 1)}:
        raise ValueError(
            f"rigidity must have one column or one per target of residual, got shape {q.shape} "
            f"for residual of shape {e.shape}"
        )
    if not (q >= 0).all():
        raise ValueError("rigidity must have no negative entry and no nan")
    if not (np.isfinite(weight) & (weight >= 0)).all():
        raise ValueError("sample_weight must be finite, with no negative entry")
    columns = e[:, None] if e.ndim == 1 else e
    q = np.broadcast_to(q[:, None] if q.ndim == 1 else q, columns.shape)
    n_excluded = int(((q == 0) | np.isinf(q)).any(axis=1).sum())
    pairs = zip(columns.T, q.T, strict=True)
    fits = [_fit_column(*pair, weight, method, noise) for pair in pairs]
    variance, sigma2 = np.array(fits).reshape(-1, 2).T
    if e.ndim == 1:
        return Scale(float(variance[0]), float(sigma2[0]), n_excluded)
    return Scale(variance, sigma2, n_excluded)


def quad_of(rigidity: np.ndarray) -> np.ndarray:
    """Return ``1 / R``; raise where there is no such thing."""
    if not (rigidity >= 0).all():
        raise ValueError("rigidity must have no negative entry and no nan")
    # A zero with a sign has an inverse with a sign.
    with np.errstate(divide="ignore", over="ignore"):
        return 1.0 / np.abs(rigidity)


def _fit_column(
    e: np.ndarray, q: np.ndarray, weight: np.ndarray, method: str, noise: bool
) -> tuple[float, float]:
    """Return C**2 and sigma**2 of one target, found in units in which e and q are about 1."""
    usable = (q > 0) & np.isfinite(q) & (weight > 0)
    if not usable.any():
        raise ValueError("rigidity must be positive and finite in at least one row with weight")
    e, root, weight = np.abs(e[usable]), np.sqrt(q[usable]), weight[usable]
    if not np.isfinite(e).all():
        raise ValueError("residual must be finite where the rigidity is")
    if not e.any():
        return 0.0, 0.0
    weight = weight / weight.max()
    weight /= weight.sum()
    e_unit, root_unit = e.max(), root.max()
    e, root = e / e_unit, root / root_unit
    mean = weight @ e
    e, e_unit = e / mean, e_unit * mean
    with np.errstate(over="ignore", invalid="ignore"):
        fit = _scale_only(e, root, weight, method), 0.0
        if noise:
            fit = _scale_and_noise(e, root, weight, method, fit[0])
        # Roots first: the square of a unit may be out of range where the result is not.
        roots = np.sqrt(fit) * [e_unit / root_unit, e_unit]
        variance, sigma2 = roots**2
    lost = max(variance, sigma2) < np.finfo(float).tiny and max(fit) > 0
    if lost or not np.isfinite([variance, sigma2]).all():
        raise ValueError(
            "residual**2 * rigidity is beyond the range of floating-point numbers: residual must "
            "be given in other units"
        )
    return float(variance), float(sigma2)


def _scale_only(e: np.ndarray, root: np.ndarray, weight: np.ndarray, method: str) -> float:
    z = e / root
    if method == "absolute_residuals":
        return float(np.pi / 2 * (weight @ z) ** 2)
    if method == "crps":
        return _crps_scale(z, weight * root) ** 2
    return float(weight @ z**2)


def _crps_scale(z: np.ndarray, share: np.ndarray) -> float:
    """Return the C where the slope of the mean score, convex in C, changes its sign.

    The slope ``2 phi(z / C) - 1 / sqrt(pi)`` of every row rises from ``-1 / sqrt(pi)`` through 0
    at ``z / C = sqrt(log(2))``, or is above 0 throughout where z = 0: with many such rows the
    optimum is at C = 0.
    """

    def slope(z: np.ndarray) -> float:
        return float(share @ (np.sqrt(2) * np.exp(-(z**2) / 2) - 1))

    if slope(np.where(z > 0, np.inf, 0.0)) >= 0:
        return 0.0
    high = low = 1.01 * float(z.max()) / np.sqrt(np.log(2))
    while slope(z / low) > 0:
        low /= 2
    return float(np.exp(brentq(lambda log: slope(z / np.exp(log)), np.log(low), np.log(high))))


def _scale_and_noise(
    e: np.ndarray, root: np.ndarray, weight: np.ndarray, method: str, variance: float
) -> tuple[float, float]:
    """Minimize over both; each on its own is always among the candidates."""
    q = root**2
    if method == "squared_residuals":
        return _moments(e, q, weight)
    constant = _scale_only(e, np.ones_like(q), weight, method)

    def loss(scale: float, sigma2: float) -> float:
        total = scale * q + sigma2
        if method == "nll":
            return float(weight @ gaussian_nll(e, total))
        if method == "crps":
            return float(weight @ gaussian_crps(e, np.sqrt(total)))
        # The mean absolute residual is the maximum-likelihood scale of a Laplace distribution.
        return float(weight @ (np.log(total) / 2 + np.sqrt(np.pi / 2) * e / np.sqrt(total)))

    def slope(log: np.ndarray) -> np.ndarray:
        """Differentiate by the logarithms of both."""
        parts = np.exp(log)[:, None] * [q, np.ones_like(q)]
        total = parts.sum(axis=0)
        std = np.sqrt(total)
        if method == "nll":
            by_log_total = 1 - (e / std) ** 2
        elif method == "crps":
            by_log_total = std * (np.sqrt(2) * np.exp(-((e / std) ** 2) / 2) - 1) / np.sqrt(np.pi)
        else:
            by_log_total = 1 - np.sqrt(np.pi / 2) * e / std
        return parts / total @ (weight * by_log_total / 2)

    square = float(weight @ e**2)
    alone = np.array([variance or square / float(weight @ q), constant or square])
    starts = [alone * [1 - share, share] for share in (0.5, 0.1, 0.9, 0.01, 0.99)]
    best = minimize(
        lambda log: loss(*np.exp(log)),
        np.log(min(starts, key=lambda s: loss(*s))),
        jac=slope,
        method="L-BFGS-B",
        bounds=[(v - 30, v + 5) for v in np.log(alone)],
        options={"ftol": 0.0, "gtol": 1e-10},
    )
    both = (float(np.exp(best.x[0])), float(np.exp(best.x[1])))
    return min([(variance, 0.0), (0.0, constant), both], key=lambda c: loss(*c))


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
