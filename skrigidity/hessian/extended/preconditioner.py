"""A matrix P that brings the Hessian to the identity, short enough for exact products.

H is scaled to a diagonal near 1 and factorized with a shift; ``P = inv(L).T`` turns an eigenvalue
lam into ``lam / (lam + shift)``. A second pass works on ``P.T @ H @ P``, recomputed in twice the
precision, and leaves ``lam / (lam + shift**2)``: near 1 for everything above the rank tolerance
(shift is ``max(n, d) * eps``), near 0 for exact dependences. P itself may be rounded: it only has
to bring H near the identity (Rump, JSIAM Letters 1, 1 (2009), inverts matrices likewise).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.linalg as sl
from scipy.linalg.lapack import dpotrf

from ..gram import equilibrate, shifted_cholesky
from ..prior import Prior
from ..rows import EPS, Array
from ..triangular import scaled_condition
from .pairs import PAIR_EPS, Pair, SlicedMatrix, exact, two_product

_PASSES = 2
_SMALLEST_SHIFT = 64
# Good enough: the factor of the preconditioned matrix loses this much of the precision at most.
_CONDITION = 30.0
# Eigenvalues of the preconditioned matrix below this belong to dependences.
_NULL_BELOW = 0.1


@dataclass(frozen=True)
class RowMap:
    """Shifted and scaled coordinates of gradients: ``[f, x - f * shift] * scale``.

    The first of them exists where `has_intercept`.
    """

    shift: Array
    scale: Array
    has_intercept: bool

    @property
    def feature_scale(self) -> Array:
        """The scale of the features alone."""
        return self.scale[int(self.has_intercept) :]

    def of(self, block: Array, flags: Array) -> Pair:
        """Map feature rows with intercept derivatives, without rounding error."""
        pair = exact(np.column_stack([flags, block]) if self.has_intercept else block)
        if self.has_intercept and flags.any():
            pair = pair.plus(*two_product(-flags[:, None], np.append(0.0, self.shift)))
        return pair.scaled(self.scale)

    def add_prior(self, moments: Pair, prior: Prior) -> Pair:
        """Return the Gram matrix with ``alpha * Gamma`` added."""
        if prior.alpha == 0:
            return moments
        first, scale = int(self.has_intercept), self.feature_scale
        gamma = np.ones(len(scale)) if prior.gamma is None else prior.gamma
        gamma = np.diag(gamma) if gamma.ndim == 1 else gamma
        added = two_product(prior.alpha, gamma).scaled(scale * scale[:, None])
        return moments.plus(*(np.pad(part, ((first, 0), (first, 0))) for part in added))


class Preconditioned:
    """P with ``P.T @ S @ H @ S @ P = M`` near the identity, S being powers of two.

    Attributes
    ----------
    scale : ndarray of shape (p,)
        S.
    sliced : SlicedMatrix
        P of shape (p, rank): upper triangular, or orthogonal to `null` where H is singular.
    root : ndarray of shape (rank, rank)
        Upper triangular factor of M.
    condition : float
        Estimated condition of M.
    null : ndarray of shape (p, p - rank)
        Orthonormal basis of the null space of ``S @ H @ S``.
    """

    def __init__(self, hessian: Pair, n_rows: int) -> None:
        self.n_rows = n_rows  # sets the rank tolerance
        shift = max(_SMALLEST_SHIFT, n_rows, len(hessian.high)) * EPS
        self.scale = equilibrate(hessian.high.diagonal())
        self.null = np.zeros((len(self.scale), 0))
        balanced = hessian.scaled(self.scale).scaled(self.scale[:, None])
        self.sliced = SlicedMatrix(np.eye(len(self.scale)))
        matrix = self._factorize(balanced.rounded)
        for _ in range(_PASSES):
            if self.condition <= _CONDITION:
                return
            lower = shifted_cholesky(matrix, shift).T
            inverse = sl.solve_triangular(
                lower, self.sliced.matrix.T, lower=True, check_finite=False
            )
            matrix = self._conjugate(balanced, np.ascontiguousarray(inverse.T))
        if self.condition > _CONDITION:
            self._leave_out_null(balanced, matrix)

    def _conjugate(self, balanced: Pair, matrix: Array) -> Array:
        self.sliced = SlicedMatrix(matrix)
        return self._factorize(self.sliced.conjugate(balanced))

    def _factorize(self, matrix: Array) -> Array:
        self.root, failed = dpotrf(matrix, lower=0, clean=1)
        self.condition = np.inf if failed else scaled_condition(self.root) ** 2
        return matrix

    def _leave_out_null(self, balanced: Pair, matrix: Array) -> None:
        values, vectors = np.linalg.eigh(matrix)
        null = values < _NULL_BELOW
        if not null.any():
            return
        whole = self.sliced.matrix
        columns = whole @ vectors[:, null]
        self.null = np.linalg.qr(columns / np.linalg.norm(columns, axis=0))[0]
        kept = whole @ (vectors[:, ~null] / np.sqrt(values[~null]))
        for _ in range(2):
            kept -= self.null @ (self.null.T @ kept)
        self._conjugate(balanced, kept)

    @property
    def error(self) -> float:
        """Estimated relative error that the rounding of H to two doubles causes."""
        if len(self.root) == 0:  # SciPy 1.11 solves no empty systems
            return 0.0
        inverse = sl.solve_triangular(
            self.root, self.sliced.matrix.T, trans="T", check_finite=False
        )
        return PAIR_EPS * float(np.linalg.norm(inverse)) ** 2

    def rows(self) -> Array:
        """Return rows whose Gram matrix is H, dependences left out."""
        q, triangle = None, self.sliced.matrix
        if triangle.shape[1] == 0:
            return np.empty((0, len(self.scale)))
        if self.null.shape[1]:
            q, triangle = np.linalg.qr(triangle)
        out = sl.solve_triangular(triangle, self.root.T, trans="T", check_finite=False)
        return (out if q is None else q @ out).T / self.scale

    def hessian_condition(self) -> float:
        """Estimate the condition of ``S @ H @ S``."""
        rows = self.rows() * self.scale
        if self.null.shape[1]:
            rows = np.asarray(np.linalg.qr(rows.T, mode="r"))
        return scaled_condition(rows) ** 2
