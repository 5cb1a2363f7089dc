"""Factor in twice the working precision: ``H = inv(P).T @ M @ inv(P)`` with M near the identity.

``g P`` is computed to a relative eps whatever the condition of H, so that
``q = g P @ inv(M) @ (g P).T`` loses digits to the condition of M only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg as sl

from ..factor import UNPINNED, Centre, Factor, FactorInfo, UnpinnedError
from ..prior import Prior
from ..rows import EPS, Array, row_squares
from .pairs import Pair
from .preconditioner import Preconditioned, RowMap

# Beyond this estimate alpha is too small for a sum with the Gram matrix even in two doubles.
_TRUSTED = 1e-6


@dataclass(eq=False)
class ExtendedFactor(Factor):
    """Preconditioned Hessian, made by `ExtendedGramAccumulator`.

    Rows are outside of what the data determine (q = inf) when their part along a dependence
    exceeds ``100 * max(n, d) * eps`` of the row, both in units of the norms of the columns.

    Parameters
    ----------
    preconditioned : Preconditioned
        H with its preconditioner.
    row_map : RowMap
        Coordinates of gradients in which H was preconditioned.
    centre : Centre
        Mean of the training rows.
    prior : Prior
        The regularizer that H contains.
    reason : str
        Why this factorization was chosen.
    stream : ExtendedGramAccumulator
        The moments of the training rows.

    Examples
    --------
    >>> import numpy as np
    >>> from skrigidity.hessian import Prior, choose
    >>> factor = choose(np.vander(np.arange(5.0), 5), Prior(0.0), method="extended")
    >>> factor.quad(np.vander(np.arange(5.0), 5)).round(12)
    array([1., 1., 1., 1., 1.])
    """

    preconditioned: Preconditioned
    row_map: RowMap
    centre: Centre
    prior: Prior
    reason: str
    stream: Any
    # Many passes over a block that should stay in the cache.
    block_entries = 2**16

    def __post_init__(self) -> None:
        pre = self.preconditioned
        self.n_features = len(self.row_map.shift)
        self.root = pre.root
        null = self.row_map.feature_scale[:, None] * pre.null[int(self.has_intercept) :]
        self.null_basis = np.linalg.qr(null / np.abs(null).max(axis=0, initial=0.0))[0]
        accuracy = min(1.0, EPS * (16 + pre.condition) + pre.error)
        condition, rank = pre.hessian_condition(), len(self.root)
        self.info = FactorInfo("extended", condition, rank, accuracy, self.reason)

    @property
    def trusted(self) -> bool:
        """Whether H was sharp enough in two doubles, and only what is unpenalized is missing."""
        sharp = self.preconditioned.error <= _TRUSTED
        if not self.null_basis.shape[1] or self.prior.alpha == 0:
            return sharp
        penalty = self.prior.root(self.n_features) / np.sqrt(self.prior.alpha)
        unseen = np.linalg.norm(penalty @ self.null_basis)
        return sharp and bool(unseen <= 1e-8 * np.linalg.norm(penalty))

    def _half(self, z: Array) -> Array:
        """Return rows in coordinates in which H is the identity."""
        if len(self.root) == 0:
            return z
        return sl.solve_triangular(self.root, z.T, trans="T", check_finite=False).T

    def _whitened(self, block: Array, flags: Array) -> tuple[Array, Array]:
        """Return whitened rows, and which of them have a part along a dependence."""
        mapped, pre = self.row_map.of(block, flags), self.preconditioned
        rows, tolerance = mapped.rounded, 100 * max(pre.n_rows, self.n_features) * EPS
        lost = row_squares(rows @ pre.null) > tolerance**2 * row_squares(rows)
        return self._half(pre.sliced.after(mapped, 2).rounded), lost

    def _quad_rows(self, block: Array, flags: Array) -> Array:
        z, lost = self._whitened(block, flags)
        return np.where(lost, np.inf, row_squares(z))

    def whiten_block(self, block: Array, flags: Array) -> Array:
        """Return whitened rows; may overwrite the rows.

        Parameters
        ----------
        block : ndarray of shape (n_rows, n_features)
            Feature rows.
        flags : ndarray of shape (n_rows,)
            Derivatives by the intercept.

        Returns
        -------
        ndarray of shape (n_rows, k)
            Whitened rows.
        """
        z, lost = self._whitened(block, flags)
        if lost.any():
            raise UnpinnedError(UNPINNED)
        return z

    def parameters(self, cross: Pair) -> Array:
        """Return the (smallest) parameters for right-hand sides ``X.T @ S @ y``, as stored.

        Parameters
        ----------
        cross : Pair
            Right-hand sides, in twice the working precision.

        Returns
        -------
        ndarray of shape (n_parameters, n_rhs)
            The parameters.
        """
        pre, first = self.preconditioned, int(self.has_intercept)
        z = pre.sliced.after(cross.scaled(pre.scale[:, None]).mT, 2).rounded.T
        u = sl.cho_solve((self.root, False), z, check_finite=False)
        u = pre.scale[:, None] * (pre.sliced.matrix @ u)
        scale = (self.row_map.feature_scale / pre.scale[first:])[:, None]
        coef = scale * u[first:]
        least = (coef - self.null_basis @ (self.null_basis.T @ coef)) / scale
        if first:
            # The same predictions on average: the intercept takes up what was taken away.
            mean = (self.centre.mean - self.row_map.shift) * scale[:, 0]
            u[0] += mean @ (u[first:] - least)
        u[first:] = least
        return u

    def residual_dof(self, n: float) -> float:
        """Return n minus the effective degrees of freedom.

        Parameters
        ----------
        n : float
            Number of samples, or the sum of their weights.

        Returns
        -------
        float
            What is left of n.
        """
        rank, first = self.info.rank, int(self.has_intercept)
        if rank - first <= self.stream.max_rank:
            # alpha trace(inv(H) Gamma) is the squared norm of L P inv(R).
            rows = self.prior.root(self.n_features) * self.row_map.feature_scale
            half = self._half(rows @ self.preconditioned.sliced.matrix[first:])
            return float(n - rank + np.einsum("ij,ij->", half, half))
        # Directions that no row sees count 1 each: leave them out instead of subtracting them.
        return float(self.stream.to_tsqr().spectral(self.prior, "few rows").residual_dof(n))
