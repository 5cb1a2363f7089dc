"""Factor in twice the working precision: ``H = inv(P).T @ M @ inv(P)`` with M near the identity.

``g P`` is computed to a relative eps whatever the condition of H, so that
``q = g P @ inv(M) @ (g P).T`` loses digits to the condition of M only.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy.linalg as sl

from ._accuracy import extended_accuracy
from ._centre import Centre, RunningCentre
from ._extended import EPS, Pair
from ._factor import _UNPINNED, Factor, FactorInfo, UnpinnedError
from ._preconditioner import Preconditioned, RowMap
from ._prior import Prior
from ._rows import Rows, as_rows
from ._triangular import add_rows, scaled_condition

# Beyond this estimate alpha is too small for a sum with the Gram matrix even in two doubles.
_TRUSTED = 1e-6

# Many passes over a block that should stay in the cache.
_BLOCK_ENTRIES = 2**16


class ExtendedFactor(Factor):
    """Preconditioned Hessian, made by `ExtendedGramAccumulator`.

    Rows are outside of what the data determine (q = inf) when their part along a dependence
    exceeds ``100 * max(n, d) * eps`` of the row, both in units of the norms of the columns.

    Parameters
    ----------
    preconditioned : Preconditioned
        H with its preconditioner.
    rows : RowMap
        Coordinates of gradients in which H was preconditioned.
    centre : Centre
        Mean of the training rows.
    prior : Prior
        The regularizer that H contains.
    reason : str
        Why this factorization was chosen.
    source : Accumulator, default=None
        The rows without the regularizer, for another alpha or more rows.
    root : ndarray, default=None
        Triangular factor after an update, in the preconditioned coordinates.

    Examples
    --------
    >>> import numpy as np
    >>> from skrigidity.hessian import Prior, choose
    >>> factor = choose(np.vander(np.arange(5.0), 5), Prior(0.0), method="extended")
    >>> factor.quad(np.vander(np.arange(5.0), 5)).round(12)
    array([1., 1., 1., 1., 1.])
    """

    def __init__(
        self,
        preconditioned: Preconditioned,
        rows: RowMap,
        centre: Centre,
        prior: Prior,
        *,
        reason: str,
        source: Any = None,
        root: np.ndarray | None = None,
    ) -> None:
        self.preconditioned = preconditioned
        self.row_map = rows
        self.centre = centre
        self.prior = prior
        self.source = source
        self.n_features = len(rows.scale)
        self.has_intercept = rows.has_intercept
        self.root = preconditioned.root if root is None else root
        self.singular = preconditioned.null.shape[1] > 0
        if self.singular:
            self._set_null()
        condition = preconditioned.condition
        if root is not None:
            condition += scaled_condition(root)
        self.info = FactorInfo(
            method="extended",
            condition=preconditioned.hessian_condition(),
            rank=len(self.root),
            accuracy=extended_accuracy(condition, preconditioned.error),
            reason=reason,
        )

    def _set_null(self) -> None:
        null = self.row_map.scale[:, None] * self.preconditioned.null[int(self.has_intercept) :]
        self.null_basis = np.linalg.qr(null / np.linalg.norm(null, axis=0))[0]
        n = 0 if self.source is None else self.source.n_rows
        self._tolerance = 100 * max(n, self.n_features) * EPS

    @property
    def trusted(self) -> bool:
        """Whether H was sharp enough in two doubles, and only what is unpenalized is missing."""
        if self.preconditioned.error > _TRUSTED:
            return False
        if not self.singular or self.prior.alpha == 0:
            return True
        penalty = self.prior.root(self.n_features) / np.sqrt(self.prior.alpha)
        unseen = np.linalg.norm(penalty @ self.null_basis)
        return bool(unseen <= 1e-8 * np.linalg.norm(penalty))

    def _pieces(self, rows: Rows) -> Iterator[slice]:
        return rows.blocks(_BLOCK_ENTRIES)

    def _coordinates(self, mapped: Pair) -> np.ndarray:
        return self.preconditioned.short.after(mapped, 2).rounded

    def _half(self, z: np.ndarray) -> np.ndarray:
        """Return rows in coordinates in which H is the identity."""
        if len(self.root) == 0:
            return z
        return sl.solve_triangular(self.root, z.T, trans="T", check_finite=False).T

    def _lost(self, mapped: Pair) -> np.ndarray:
        if not self.singular:
            return np.zeros(len(mapped.high), dtype=bool)
        rows = mapped.rounded
        part = np.linalg.norm(rows @ self.preconditioned.null, axis=1)
        return part > self._tolerance * np.linalg.norm(rows, axis=1)

    def _quad_rows(self, block: np.ndarray, flags: np.ndarray) -> np.ndarray:
        mapped = self.row_map.of(block, flags)
        half = self._half(self._coordinates(mapped))
        out = np.einsum("ij,ij->i", half, half)
        out[self._lost(mapped)] = np.inf
        return out

    def _whiten_rows(self, block: np.ndarray, flags: np.ndarray) -> np.ndarray:
        mapped = self.row_map.of(block, flags)
        if self._lost(mapped).any():
            raise UnpinnedError(_UNPINNED)
        return self._half(self._coordinates(mapped))

    def _full_solve(self, z: np.ndarray) -> np.ndarray:
        """Return ``P @ inv(M) @ z`` for columns z = P.T b."""
        u = sl.cho_solve((self.root, False), z, check_finite=False)
        return self.preconditioned.short.matrix @ u

    def parameters(self, cross: Pair) -> np.ndarray:
        """Return the (smallest) parameters for right-hand sides ``X.T @ S @ y``, as stored."""
        pre, first = self.preconditioned, int(self.has_intercept)
        z = pre.short.after(cross.scaled(pre.scale[:, None]).mT, 2).rounded.T
        u = pre.scale[:, None] * self._full_solve(z)
        if self.singular:
            scale = (self.row_map.scale / pre.scale[first:])[:, None]
            least = self._smallest(scale * u[first:]) / scale
            if first:
                # The same predictions on average: the intercept takes up what was taken away.
                mean = (self.centre.mean - self.row_map.shift) * scale[:, 0]
                u[0] += mean @ (u[first:] - least)
            u[first:] = least
        return u

    def _smallest(self, w: np.ndarray) -> np.ndarray:
        if not self.singular:
            return w
        return w - self.null_basis @ (self.null_basis.T @ w)

    def solve(self, b: np.ndarray) -> np.ndarray:
        """Return ``inv(H) @ b``; the last entry belongs to the intercept where there is one."""
        b = np.asarray(b, dtype=np.float64)
        flat = b.reshape(len(b), -1)
        block, flags = np.array(flat[: self.n_features].T), np.zeros(flat.shape[1])
        if self.has_intercept:
            flags = flat[-1]
        if self.singular:
            centred = block.copy()
            self.centre.subtract(centred, flags)
            block -= (centred @ self.null_basis) @ self.null_basis.T
        z = self._coordinates(self.row_map.of(block, flags)).T
        w, offset = self.row_map.back(self._full_solve(z))
        if not self.has_intercept:
            return self._smallest(w).reshape(b.shape)
        mean = self.centre.mean if self.centre.low is None else self.centre.mean + self.centre.low
        least = self._smallest(w)
        offset = offset - self.row_map.shift @ w - mean @ (least - w)
        return np.vstack([least, offset]).reshape(b.shape)

    def logdet(self) -> float:
        """Return ``log(det(H))``, -inf if H is singular."""
        if self.singular:
            return -np.inf
        scale = np.append(self.row_map.scale, self.row_map.unit)
        value = np.log(np.abs(self.root.diagonal())).sum() - np.log(scale).sum()
        return 2.0 * float(value - np.log(self.preconditioned.short.matrix.diagonal()).sum())

    def _prior_half(self) -> np.ndarray:
        rows = self.prior.root(self.n_features) * self.row_map.scale
        return self._half(rows @ self.preconditioned.short.matrix[int(self.has_intercept) :])

    def penalty_trace(self) -> float:
        """Return ``alpha * trace(inv(H) @ Gamma)``, the squared norm of ``L @ P @ inv(R)``."""
        half = self._prior_half()
        return float(np.einsum("ij,ij->", half, half))

    def residual_dof(self, n: float) -> float:
        """Return n minus the effective degrees of freedom."""
        rank, first = self.info.rank, int(self.has_intercept)
        if self.source is None or rank - first <= self.source.max_rank:
            return float(n - rank) + self.penalty_trace()
        # Directions that no row sees count 1 each: leave them out instead of subtracting them.
        stream = self.source.features_only().to_tsqr()
        return stream.spectral(self.prior, "few rows").residual_dof(n)

    def update(self, rows: Any) -> Factor:
        """Return the factor after adding weighted rows: a rank-k update by QR, O(k d^2)."""
        rows = self._as_rows(as_rows(rows, intercept=self.has_intercept)).seen()
        if self.singular:
            stream = self.source.features_only()
            added = Rows(rows.matrix, weight=rows.weight, intercept=rows.intercept)
            return stream.add(added).finish(self.prior)
        root, running = self.root.copy(order="F"), RunningCentre.resume(self.centre)
        for piece in self._pieces(rows):
            running.block(rows, piece)
            z = self._coordinates(self.row_map.of(*self._block(rows, piece)))
            if rows.weight is not None:
                z *= np.sqrt(rows.weight[piece])[:, None]
            root = add_rows(root, z)
        return ExtendedFactor(
            self.preconditioned,
            self.row_map,
            running.finish(np.zeros(self.n_features)),
            self.prior,
            root=np.triu(root),
            reason=f"{self.info.method} factor updated by {len(rows)} rows",
        )
