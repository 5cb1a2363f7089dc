"""A matrix P that brings the Hessian to the identity, short enough for exact products.

H is scaled to a diagonal near 1 and factorized with a shift; ``P = inv(L).T`` turns an eigenvalue
lam into ``lam / (lam + shift)``. A second pass works on ``P.T @ H @ P``, recomputed in twice the
precision, and leaves ``lam / (lam + shift**2)``: near 1 for everything above the rank tolerance
(shift is ``max(n, d) * eps``), near 0 for exact dependences. P itself may be rounded: it only has
to bring H near the identity (Rump, JSIAM Letters 1, 1 (2009), inverts matrices likewise).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import scipy.linalg as sl
from scipy.linalg.lapack import dpotrf

from ..prior import Prior
from ..rows import EPS, Array
from ..triangular import scaled_condition
from .pairs import PAIR_EPS, Pair, Short, two_product, two_sum

_PASSES = 2
_SMALLEST_SHIFT = 64
# Good enough: the factor of the preconditioned matrix loses this much of the precision at most.
_CONDITION = 30.0
# Eigenvalues of the preconditioned matrix below this belong to dependences.
_NULL_BELOW = 0.1


@dataclass(frozen=True)
class RowMap:
    """Shifted and scaled coordinates of gradients: ``[f, (x - f * shift) * scale]``."""

    shift: Array
    scale: Array
    has_intercept: bool
    unit: float = 1.0

    def balanced(self, scale: Array) -> RowMap:
        """Return the map with another scale behind it, the intercept's first where it exists."""
        first = int(self.has_intercept)
        unit = float(scale[0]) if first else 1.0
        return replace(self, scale=self.scale * scale[first:], unit=unit)

    def of(self, block: Array, flags: Array) -> Pair:
        """Map feature rows with intercept derivatives, without rounding error."""
        pair = Pair(block, np.zeros_like(block))
        if self.has_intercept and flags.any():
            taken, error = two_product(flags[:, None], self.shift)
            high, low = two_sum(block, -taken)
            pair = Pair(*two_sum(high, low - error))
        pair = pair.scaled(self.scale)
        if not self.has_intercept:
            return pair
        first = flags * self.unit
        return Pair(
            np.column_stack([first, pair.high]), np.column_stack([np.zeros(len(block)), pair.low])
        )

    def add_prior(self, moments: Pair, prior: Prior) -> Pair:
        """Return the Gram matrix with ``alpha * Gamma`` added."""
        if prior.alpha == 0:
            return moments
        d, first = len(self.scale), int(self.has_intercept)
        gamma = np.ones(d) if prior.gamma is None else prior.gamma
        high, low = two_product(prior.alpha, gamma)
        if gamma.ndim == 1:
            high, low = np.diag(high), np.diag(low)
        scales = self.scale * self.scale[:, None]
        added = [np.pad(part * scales, ((first, 0), (first, 0))) for part in (high, low)]
        return moments.plus(*added)


class Preconditioned:
    """P with ``P.T @ S @ H @ S @ P = M`` near the identity, S being powers of two.

    Attributes
    ----------
    scale : ndarray of shape (p,)
        S.
    short : Short
        P of shape (p, rank): upper triangular, or orthogonal to `null` where H is singular.
    root : ndarray of shape (rank, rank)
        Upper triangular factor of M.
    condition : float
        Estimated condition of M.
    null : ndarray of shape (p, p - rank)
        Orthonormal basis of the null space of ``S @ H @ S``.
    """

    def __init__(self, hessian: Pair, shift: float, n_rows: int) -> None:
        self.n_rows = n_rows
        diagonal = hessian.high.diagonal()
        positive = np.where(diagonal > 0, diagonal, 1.0)
        self.scale = np.exp2(-np.round(np.log2(positive) / 2))
        self.null = np.zeros((len(self.scale), 0))
        self._balanced = hessian.scaled(self.scale).scaled(self.scale[:, None])
        self.short = Short(np.eye(len(self.scale)))
        matrix = self._factorize(self._balanced.rounded)
        for _ in range(_PASSES):
            if self.condition <= _CONDITION:
                break
            lower = np.asfortranarray(_shifted_factor(matrix, shift).T)
            inverse = sl.solve_triangular(
                lower, self.short.matrix.T, lower=True, check_finite=False
            )
            matrix = self._set(np.ascontiguousarray(inverse.T))
        if self.condition > _CONDITION:
            self._leave_out_null(matrix)
        del self._balanced

    def _set(self, matrix: Array) -> Array:
        self.short = Short(matrix)
        return self._factorize(self.short.conjugate(self._balanced))

    def _factorize(self, matrix: Array) -> Array:
        root, failed = dpotrf(matrix, lower=0, clean=1)
        self.root = root
        self.condition = np.inf if failed else scaled_condition(root) ** 2
        return matrix

    def _leave_out_null(self, matrix: Array) -> None:
        values, vectors = np.linalg.eigh(matrix)
        null = values < _NULL_BELOW
        if not null.any():
            return
        whole = self.short.matrix
        self.null = np.linalg.qr(_normalized(whole @ vectors[:, null]))[0]
        kept = whole @ (vectors[:, ~null] / np.sqrt(values[~null]))
        for _ in range(2):
            kept -= self.null @ (self.null.T @ kept)
        self._set(kept)

    @property
    def error(self) -> float:
        """Estimated relative error that the rounding of H to two doubles causes."""
        if len(self.root) == 0:  # SciPy 1.11 solves no empty systems
            return 0.0
        inverse = sl.solve_triangular(self.root, self.short.matrix.T, trans="T", check_finite=False)
        return PAIR_EPS * float(np.linalg.norm(inverse)) ** 2

    def rows(self) -> Array:
        """Return rows whose Gram matrix is H, dependences left out."""
        matrix = self.short.matrix
        if matrix.shape[1] == 0:
            return np.empty((0, len(self.scale)))
        if self.null.shape[1] == 0:
            out = sl.solve_triangular(matrix, self.root.T, trans="T", check_finite=False)
        else:
            q, triangle = np.linalg.qr(matrix)
            out = q @ sl.solve_triangular(triangle, self.root.T, trans="T", check_finite=False)
        return out.T / self.scale

    def hessian_condition(self) -> float:
        """Estimate the condition of ``S @ H @ S``."""
        rows = self.rows() * self.scale
        if self.null.shape[1]:
            rows = np.asarray(np.linalg.qr(rows.T, mode="r"))
        return scaled_condition(rows) ** 2


def precondition(hessian: Pair, *, n_rows: int) -> Preconditioned:
    """Precondition H of `n_rows` rows (they set the rank tolerance)."""
    shift = max(_SMALLEST_SHIFT, n_rows, len(hessian.high)) * EPS
    return Preconditioned(hessian, shift, n_rows)


def _shifted_factor(matrix: Array, shift: float) -> Array:
    while True:
        shifted = matrix.copy(order="F")
        shifted[np.diag_indices_from(shifted)] += shift
        root, failed = dpotrf(shifted, lower=0, clean=1, overwrite_a=1)
        if not failed:
            return root
        shift *= 16


def _normalized(columns: Array) -> Array:
    return columns / np.linalg.norm(columns, axis=0)
