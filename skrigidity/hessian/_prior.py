"""The regularizer: ``alpha * Gamma`` over the feature parameters, never over the intercept."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.linalg as sl


class Prior:
    """Quadratic penalty ``alpha * w.T @ Gamma @ w``.

    Parameters
    ----------
    alpha : float, default=1.0
        Strength, not negative.
    gamma : None, ndarray of shape (n_features,) or (n_features, n_features), default=None
        Identity, diagonal or symmetric positive semi-definite matrix. Zero entries leave
        their column unpenalized.

    Raises
    ------
    ValueError
        If `alpha` is negative or not finite, or `gamma` is not positive semi-definite.

    Examples
    --------
    >>> from skrigidity.hessian import Prior
    >>> Prior(0.5).root(2)
    array([[0.70710678, 0.        ],
           [0.        , 0.70710678]])
    """

    def __init__(self, alpha: float = 1.0, gamma: Any = None) -> None:
        alpha = float(alpha)
        if not (np.isfinite(alpha) and alpha >= 0):
            raise ValueError(f"alpha must be a finite number >= 0, got {alpha}")
        self.alpha = alpha
        self.gamma = None if gamma is None else _checked_gamma(gamma)

    def with_alpha(self, alpha: float) -> Prior:
        """Return the same regularizer at another strength."""
        prior = Prior(alpha)
        prior.gamma = self.gamma
        return prior

    def check(self, n_features: int) -> None:
        """Raise ValueError unless the regularizer fits `n_features` columns."""
        if self.gamma is not None and len(self.gamma) != n_features:
            raise ValueError(
                f"regularizer must have {n_features} entries or rows, one per feature, "
                f"got shape {self.gamma.shape}"
            )

    def add_to(self, hessian: np.ndarray) -> None:
        """Add ``alpha * Gamma`` to a matrix in place."""
        if self.gamma is None:
            hessian[np.diag_indices_from(hessian)] += self.alpha
        elif self.gamma.ndim == 1:
            hessian[np.diag_indices_from(hessian)] += self.alpha * self.gamma
        else:
            hessian += self.alpha * self.gamma

    def root(self, n_features: int) -> np.ndarray:
        """Return rows L with ``L.T @ L = alpha * Gamma``; unpenalized directions have none."""
        if self.alpha == 0:
            return np.zeros((0, n_features))
        scale = np.sqrt(self.alpha)
        if self.gamma is None:
            return scale * np.eye(n_features)
        if self.gamma.ndim == 1:
            return scale * np.diag(np.sqrt(self.gamma))[self.gamma > 0]
        values, vectors = penalized_eigenpairs(self.gamma)
        return scale * (np.sqrt(values)[:, None] * vectors.T)

    def times(self, b: np.ndarray) -> np.ndarray:
        """Return ``Gamma @ b`` (without alpha)."""
        if self.gamma is None:
            return b
        if self.gamma.ndim == 1:
            return self.gamma.reshape((-1,) + (1,) * (b.ndim - 1)) * b
        return self.gamma @ b


def penalized_eigenpairs(gamma: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the eigenpairs of a matrix regularizer that are not numerically zero."""
    values, vectors = sl.eigh(gamma)
    keep = values > len(values) * np.finfo(float).eps * max(values[-1], 0.0)
    return values[keep], vectors[:, keep]


def _checked_gamma(gamma: Any) -> np.ndarray:
    gamma = np.asarray(gamma, dtype=np.float64)
    if gamma.ndim not in (1, 2) or (gamma.ndim == 2 and gamma.shape[0] != gamma.shape[1]):
        raise ValueError(
            "regularizer must be None, a vector (diagonal) or a square matrix, "
            f"got shape {gamma.shape}"
        )
    if not np.isfinite(gamma).all():
        raise ValueError("regularizer must be finite")
    if gamma.ndim == 1:
        if (gamma < 0).any():
            raise ValueError("regularizer must have no negative entry")
        return gamma
    if not np.allclose(gamma, gamma.T, rtol=1e-12, atol=0.0):
        raise ValueError("regularizer must be a symmetric matrix")
    gamma = (gamma + gamma.T) / 2
    lowest, highest = sl.eigvalsh(gamma)[[0, -1]]
    if lowest < -len(gamma) * 1e-14 * abs(highest):
        raise ValueError(
            f"regularizer must be positive semi-definite, its lowest eigenvalue is {lowest:.3g}"
        )
    return gamma
