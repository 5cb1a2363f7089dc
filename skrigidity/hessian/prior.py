"""The regularizer: ``alpha * Gamma`` over the feature parameters, never over the intercept.

Any regularizer can be turned into the identity: `standard_form`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import scipy.linalg as sl

from .rows import EPS, Array, row_squares


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
        """Return the same regularizer at another strength.

        Parameters
        ----------
        alpha : float
            The new strength.

        Returns
        -------
        Prior
            The regularizer at this strength.
        """
        prior = Prior(alpha)
        prior.gamma = self.gamma
        return prior

    def check(self, n_features: int) -> None:
        """Raise ValueError unless the regularizer fits `n_features` columns.

        Parameters
        ----------
        n_features : int
            Number of feature columns.
        """
        if self.gamma is not None and len(self.gamma) != n_features:
            wanted = f"{n_features} entries or rows, one per feature"
            raise ValueError(f"regularizer must have {wanted}, got shape {self.gamma.shape}")

    def add_to(self, hessian: Array) -> None:
        """Add ``alpha * Gamma`` to a matrix in place.

        Parameters
        ----------
        hessian : ndarray of shape (n_features, n_features)
            The matrix.
        """
        if self.gamma is not None and self.gamma.ndim == 2:
            hessian += self.alpha * self.gamma
        else:
            hessian[np.diag_indices_from(hessian)] += self.alpha * self._diagonal(len(hessian))

    def root(self, n_features: int) -> Array:
        """Return rows L with ``L.T @ L = alpha * Gamma``; unpenalized directions have none.

        Parameters
        ----------
        n_features : int
            Number of feature columns.

        Returns
        -------
        ndarray of shape (k, n_features)
            The rows L.
        """
        if self.alpha == 0:
            return np.zeros((0, n_features))
        if self.gamma is not None and self.gamma.ndim == 2:
            values, vectors, _ = _eigenpairs(self.gamma)
            return np.sqrt(self.alpha) * (np.sqrt(values)[:, None] * vectors.T)
        diagonal = self._diagonal(n_features)
        return np.sqrt(self.alpha) * np.diag(np.sqrt(diagonal))[diagonal > 0]

    def _diagonal(self, n_features: int) -> Array:
        return np.ones(n_features) if self.gamma is None else self.gamma


class StandardForm(NamedTuple):
    """Coordinates in which the regularizer is ``alpha * I`` (Elden, BIT 17, 134 (1977)).

    With N the directions that the regularizer leaves free and B a basis with ``B.T @ Gamma @ B``
    the identity, the free directions are projected out of the rows, as centring does for the
    intercept: ``q = |x F|^2 + (x T).T @ inv(S^2 + alpha) @ (x T)`` with ``T = B - F @ coupling``.

    Attributes
    ----------
    basis : None or ndarray of shape (d,) or (d, n_penalized)
        B: the identity, a scale of columns (0 for free ones), or any matrix.
    n_penalized : int
        Number of penalized directions.
    free : ndarray of shape (d, n_free)
        F, the whitened basis of the unpenalized directions that the rows have seen.
    coupling : ndarray of shape (n_free, n_penalized)
        What the free directions take from the penalized rows.
    unseen : ndarray of shape (d, n_unseen)
        Unpenalized directions that no row has seen: no prediction that has any is pinned.
    scale : float
        Largest column norm of the rows before the projection.
    error : float
        Relative error of the regularizer in these coordinates.
    """

    basis: Array | None
    n_penalized: int
    free: Array
    coupling: Array
    unseen: Array
    scale: float = 0.0
    error: float = 0.0

    def before(self, block: Array) -> Array:
        """Return ``block @ B``."""
        if self.basis is None:
            return block
        return block * self.basis if self.basis.ndim == 1 else block @ self.basis

    def apply(self, block: Array) -> Array:
        """Return ``block @ T``."""
        out = self.before(block)
        return out - (block @ self.free) @ self.coupling if self.free.size else out

    def back(self, w: Array) -> Array:
        """Return ``T @ w``."""
        matrix = self.basis is not None and self.basis.ndim == 2
        out = self.basis @ w if matrix else self.before(w.T).T
        return out - self.free @ (self.coupling @ w) if self.free.size else out

    def outside(self, block: Array) -> Array:
        """Return which rows have a part along an unseen, unpenalized direction."""
        if not self.unseen.shape[1]:
            return np.zeros(len(block), dtype=bool)
        part, size = np.sqrt(row_squares(block @ self.unseen)), np.sqrt(row_squares(block))
        return np.asarray(part > 100 * max(self.unseen.shape) * EPS * size)


def standard_form(
    rows: Array, rhs: Array, prior: Prior
) -> tuple[StandardForm, Array, Array, Array]:
    """Transform centred, weighted rows (k, d) and right-hand sides (k, t).

    Returns
    -------
    form : StandardForm
    rows, rhs : ndarray
        The penalized rows and the right-hand sides, free directions projected out.
    projected : ndarray of shape (n_free, t)
        The right-hand sides along the free directions.
    """
    basis, null, error = _penalized_and_free(prior.gamma, rows.shape[1])
    n_penalized, none = rows.shape[1] - null.shape[1], null[:, :0]
    form = StandardForm(basis, n_penalized, none, np.zeros((0, n_penalized)), none, error=error)
    penalized = form.before(rows)
    if not null.shape[1]:
        return form, penalized, rhs, rhs[:0]
    # In units of their own: what is free has no scale.
    free_rows = rows @ null
    norms = np.linalg.norm(free_rows, axis=0)
    units = np.where(norms > 0, norms, 1.0)
    u, s, vt = np.linalg.svd(free_rows / units, full_matrices=False)
    seen = s > max(rows.shape) * EPS * s.max(initial=0.0)
    u, v, null = u[:, seen], vt[seen].T, null / units
    coupling, projected = u.T @ penalized, u.T @ rhs
    rest = np.linalg.qr(v, mode="complete")[0][:, v.shape[1] :]
    unseen = np.linalg.qr(null @ rest)[0] if rest.shape[1] else none
    scale = float(np.linalg.norm(penalized, axis=0).max(initial=0.0))
    error += EPS * float(s.max(initial=0.0) / s[seen].min(initial=np.inf))
    form = StandardForm(basis, n_penalized, null @ (v / s[seen]), coupling, unseen, scale, error)
    penalized = penalized - u @ coupling
    penalized -= u @ (u.T @ penalized)
    return form, penalized, rhs - u @ projected, projected


def _eigenpairs(gamma: Array) -> tuple[Array, Array, Array]:
    """Return eigenvalues that are not numerically zero, their vectors, and all other vectors."""
    values, vectors = sl.eigh(gamma)
    keep = values > len(values) * EPS * max(values[-1], 0.0)
    return values[keep], vectors[:, keep], vectors[:, ~keep]


def _penalized_and_free(gamma: Array | None, d: int) -> tuple[Array | None, Array, float]:
    """Return B of `StandardForm`, a basis of the free directions, and the error of B."""
    if gamma is None:
        return None, np.zeros((d, 0)), 0.0
    if gamma.ndim == 1:
        free = np.flatnonzero(gamma == 0)
        null = np.equal.outer(np.arange(d), free).astype(float)
        return np.where(gamma > 0, 1 / np.sqrt(np.where(gamma > 0, gamma, 1.0)), 0.0), null, 0.0
    values, vectors, null = _eigenpairs(gamma)
    error = EPS * float(values[-1] / values[0]) if len(values) else 0.0
    return vectors / np.sqrt(values), null, error


def _checked_gamma(gamma: Any) -> Array:
    gamma = np.asarray(gamma)
    if gamma.dtype.kind not in "fiubO":
        raise ValueError(f"regularizer must hold real numbers, got dtype {gamma.dtype}")
    gamma = gamma.astype(np.float64)
    if gamma.ndim not in (1, 2) or gamma.shape != gamma.shape[::-1]:
        shapes = "None, a vector (diagonal) or a square matrix"
        raise ValueError(f"regularizer must be {shapes}, got shape {gamma.shape}")
    if not np.isfinite(gamma).all():
        raise ValueError("regularizer must be finite")
    if not np.allclose(gamma, gamma.T, rtol=1e-12, atol=0.0):
        raise ValueError("regularizer must be a symmetric matrix")
    gamma = gamma / 2 + gamma.T / 2
    values = gamma if gamma.ndim == 1 else sl.eigvalsh(gamma)
    rounding = 0.0 if gamma.ndim == 1 else len(gamma) * 1e-14 * abs(values[-1])
    if (values < -rounding).any():
        raise ValueError(
            "regularizer must have no negative entry or, as a matrix, be positive semi-definite: "
            f"the lowest entry or eigenvalue is {values.min():.3g}"
        )
    return gamma
