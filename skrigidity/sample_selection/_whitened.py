"""Posterior of a linear model: pool and targets in coordinates that make the Hessian identity.

With rows z of whitened gradients, covariances are products ``z . z'``. Adding the pick p to the
data maps every row by ``W = I - (1 - sqrt(s2 / (s2 + b))) e e.T`` with ``e = z_p / |z_p|``. The
product of these maps is kept in compact form (as for Householder reflections: Schreiber, Van Loan,
SIAM J. Sci. Stat. Comput. 10, 53 (1989)), so that a pick costs one product with the pool as it was
whitened last.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy.linalg as sl
import scipy.sparse as sp

from ..hessian import Rows, UnpinnedError
from ..hessian._factor import EPS
from ..hessian._rows import block_rows
from ._linear import LinearModel
from ._pool import Pool
from ._state import Posterior, State

# Blocks of 512 KB stay in the cache while they are whitened and multiplied.
_BLOCK_ENTRIES = 2**16
# Largest rounding error of a stored candidate's variance, in units of its noise.
_COARSE = 1e-3


class Chain:
    """The product ``Q = W_1 ... W_k = I - E.T @ T @ E`` of the maps of all picks."""

    def __init__(self, width: int) -> None:
        self.length = 0
        self.E = np.empty((8, width))
        self.T = np.zeros((8, 8))

    def current(self, z: np.ndarray) -> np.ndarray:
        """Return rows ``z @ Q``."""
        E, T = self.E[: self.length], self.T[: self.length, : self.length]
        return z - ((z @ E.T) @ T) @ E

    def back(self, z: np.ndarray) -> np.ndarray:
        """Return rows ``z @ Q.T``."""
        E, T = self.E[: self.length], self.T[: self.length, : self.length]
        return z - ((z @ E.T) @ T.T) @ E

    def add(self, z: np.ndarray, noise: float) -> None:
        """Add the map of a pick whose row is now z."""
        b = z @ z
        if b == 0:
            return
        k = self.length
        if k == len(self.E):
            self.E = np.concatenate([self.E, np.empty_like(self.E)])
            self.T = np.pad(self.T, (0, k))
        e = z / np.sqrt(b)
        c = (b / (noise + b)) / (1 + np.sqrt(noise / (noise + b)))
        self.T[:k, k] = -c * (self.T[:k, :k] @ (self.E[:k] @ e))
        self.T[k, k] = c
        self.E[k] = e
        self.length = k + 1


class WhitenedPosterior(Posterior):
    """Posterior of a linear model.

    Parameters
    ----------
    pool : Pool
        Candidates.
    model : LinearModel
        Training data and regularizer.
    targets : list of Rows or None
        Predictions to be pinned; None for the pool itself.
    noise : ndarray of shape (n_candidates,)
        One over the weights of the candidates.
    target_weight : ndarray of shape (n_targets,)
        Weights of the targets.
    kind : {"targets", "trace", "information"}
        Which ``state.second`` is wanted.
    storage : dtype or None
        How the whitened pool is kept. None: not at all, the pool is read again for every pick.
    picks : list of int
        Candidates chosen before.
    """

    def __init__(
        self,
        pool: Pool,
        model: LinearModel,
        targets: list[Rows] | None,
        noise: np.ndarray,
        target_weight: np.ndarray,
        *,
        kind: str,
        storage: Any,
        picks: list[int],
    ) -> None:
        self.pool = pool
        self.model = model
        self.state = State(noise)
        self.picks = list(picks)
        self._targets = targets
        self._kind = kind
        self._storage = storage
        self._target_weight = target_weight
        self._known_kept = False

    # --- from scratch ------------------------------------------------------------------------

    def refresh(self) -> None:
        """Factorize the Hessian with all picks, and whiten pool and targets."""
        self._factor = self.model.factor(*self._picked())
        self._rotation: np.ndarray | None = None
        try:
            self._whiten_targets()
            self._whiten_pool()
        except UnpinnedError:
            raise ValueError(
                "alpha must be positive, or X_train large enough to pin the predictions: with "
                f"alpha={self.model.alpha} some candidates or targets have rigidity 0"
            ) from None
        state = self.state
        if self._zt is None:
            state.v = state.b
        self._combined: np.ndarray | None = None
        self._reduced: np.ndarray | None = None
        self._chain = Chain(self._width)
        self._known_chain = Chain(self._width - self._rank)
        state.start()

    def _picked(self) -> tuple[Any, np.ndarray | None]:
        if not self.picks:
            return None, None
        return self.pool.take(self.picks), 1 / self.state.noise[self.picks]

    def _whiten_targets(self) -> None:
        self._zt: np.ndarray | None = None
        self._rank = 0
        targets = self._targets
        if targets is None and self._kind == "targets":
            targets = [self.model.rows(block) for _, block in self.pool.blocks()]
        if targets is None:
            return
        zt = np.concatenate([self._factor.whiten(rows) for rows in targets])
        v = np.einsum("ij,ij->i", zt, zt)
        self._keep(v)
        if not self.kept.all():
            zt, v = zt[self.kept], v[self.kept]
        self.weight = self._target_weight[self.kept] / self._target_weight[self.kept].sum()
        if self._kind == "information" and len(zt):
            self._rotation, self._rank = _span_first(zt)
            zt = zt @ self._rotation
        self._zt, self.state.v = zt, v

    def _keep(self, v: np.ndarray) -> None:
        """Leave out targets that cannot move: they have R = inf, whatever is added."""
        if not self._known_kept:
            self.kept, self._known_kept = v > 0, True

    def _whiten_pool(self) -> None:
        n = len(self.pool)
        state, kind, zt = self.state, self._kind, self._zt
        state.b, state.eps = np.empty(n), EPS
        self._stored: np.ndarray | None = None
        first = True
        for piece, z in self._whitened_blocks():
            if first:
                self._width = z.shape[1]
                self._allocate(n)
                first = False
            state.b[piece] = np.einsum("ij,ij->i", z, z)
            if kind == "targets" and zt is not None:
                np.matmul(z, zt.T, out=state.second[piece])
            elif kind == "information":
                known = z[:, self._rank :]
                state.second[piece] = np.einsum("ij,ij->i", known, known)
            if self._stored is not None:
                self._stored[piece] = z
        if zt is None:
            self._keep(state.b)
            self.weight = self.kept / max(int(self.kept.sum()), 1)
        if kind == "trace":
            self._set_trace()
        self._set_precision()

    def _allocate(self, n: int) -> None:
        shape = (n, len(self._zt)) if self._kind == "targets" and self._zt is not None else (n,)
        self.state.second = np.empty(shape)
        if self._kind == "information" and self._zt is None:
            self._rank = self._width  # the pool as its own target: nothing else is left
        if self._storage is not None:
            self._stored = np.empty((n, self._width), dtype=self._storage)

    def _set_precision(self) -> None:
        """Note how precise products with the pool are; read it again if that is not enough."""
        stored = self._stored
        if stored is not None:
            self._precision = float(np.finfo(stored.dtype).eps)
            coarse = self._precision * float((self.state.b / self.state.noise).max()) > _COARSE
            if stored.dtype == np.float64 or not coarse:
                return
        # Whitening from the other side turns as many digits into noise as the rows have lost.
        self._stored = None
        self._precision = EPS * min(float(np.sqrt(self._factor.info.condition)), 1e10)

    def _set_trace(self) -> None:
        """Sum squared covariances with the targets over these, in a second pass."""
        M = np.zeros((self._width, self._width))
        if self._zt is not None:
            M += (self._zt * self.weight[:, None]).T @ self._zt
        else:
            for piece, z in self._whitened_blocks():
                M += (z * self.weight[piece, None]).T @ z
        for piece, z in self._whitened_blocks():
            self.state.second[piece] = np.einsum("ij,ij->i", z @ M, z)
        self._moment = M

    def _whitened_blocks(self) -> Iterator[tuple[slice, np.ndarray]]:
        """Iterate over the whitened pool; a block lives until the next one is made."""
        scratch = np.empty((self._part_size, self.pool.n_features))
        for piece, features in self._parts():
            rows, n = self.model.rows(features), piece.stop - piece.start
            rows.fill(scratch[:n], slice(0, n))
            yield piece, self._rotated(self._factor._whiten_rows(scratch[:n], rows.intercept))

    @property
    def _part_size(self) -> int:
        return min(len(self.pool), block_rows(self.pool.n_features, _BLOCK_ENTRIES))

    def _parts(self) -> Iterator[tuple[slice, Any]]:
        """Iterate over the features of the pool, in blocks that stay in the cache."""
        step = self._part_size
        for piece, block in self.pool.blocks():
            for start in range(0, piece.stop - piece.start, step):
                part = block[start : start + step]
                first = piece.start + start
                yield slice(first, first + part.shape[0]), part

    def _white(self, features: Any) -> np.ndarray:
        return self._rotated(self._factor.whiten(self.model.rows(features)))

    def _rotated(self, z: np.ndarray) -> np.ndarray:
        return z if self._rotation is None else z @ self._rotation

    # --- pick by pick ------------------------------------------------------------------------

    def condition(self, p: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Add candidate p to the data."""
        state, noise = self.state, float(self.state.noise[p])
        z = self._rows(np.array([p]))[0]
        now = self._chain.current(z)
        y = self._chain.back(now)
        # Of the pick itself, vectors know more digits than what has been updated since.
        state.b[p] = now @ now
        vectors = [y]
        if self._kind == "trace":
            moment = self._moment @ y
            state.second[p] = y @ moment
            vectors.append(self._chain.back(self._chain.current(moment)))
        elif self._kind == "information":
            known = self._known_chain.current(z[self._rank :])
            state.second[p] = known @ known
            vectors.append(np.concatenate([np.zeros(self._rank), self._known_chain.back(known)]))
            self._known_chain.add(known, noise)
        if self._zt is not None:
            row = self._zt @ y
            if self._kind == "targets":
                state.second[p] = row
            else:
                state.v = np.maximum(state.v - row**2 / (noise + state.b[p]), 0.0)
        self._chain.add(now, noise)
        state.eps = self._precision
        products = self._product(vectors)
        products[0, p] = state.b[p]
        if len(vectors) == 1:
            return products[0], None
        products[1, p] = state.second[p]
        return products[0], products[1]

    def _rows(self, indices: np.ndarray) -> np.ndarray:
        """Return candidates as they were whitened last."""
        if self._stored is not None and self._stored.dtype == np.float64:
            return self._stored[indices]
        return self._white(self.pool.take(indices))

    def _product(self, vectors: list[np.ndarray]) -> np.ndarray:
        """Return the products of the pool, as it was whitened last, with some vectors."""
        stored = self._stored
        if stored is None:
            return self._product_read_again(np.stack(vectors, axis=1)).T
        out = np.empty((len(vectors), len(stored)))
        whole = stored.dtype == np.float64 and len(vectors) == 1
        step = len(stored) if whole else block_rows(self._width, _BLOCK_ENTRIES)
        for start in range(0, len(stored), step):
            piece = slice(start, start + step)
            rows = stored[piece].astype(np.float64, copy=False)
            for y, products in zip(vectors, out, strict=True):
                np.dot(rows, y, out=products[piece])
        return out

    def _product_read_again(self, vectors: np.ndarray) -> np.ndarray:
        """Whiten the vectors from the other side instead of the pool."""
        factor = self._factor
        mean = factor.centre.mean if factor.has_intercept else np.zeros(factor.n_features)
        if self._combined is None:
            unit = Rows(np.vstack([np.eye(factor.n_features), mean]))
            flags = np.zeros(factor.n_features + 1)
            flags[-1] = factor.has_intercept
            white = factor.whiten(Rows(unit.matrix, intercept=flags))
            self._combined = self._rotated(white)
        combined = self._combined @ vectors
        slopes, constant = combined[:-1], combined[-1]
        out = np.empty((len(self.pool), vectors.shape[1]))
        for piece, features in self._parts():
            out[piece] = _affine(self.model.rows(features), slopes, mean, constant)
        return out

    @property
    def fresh(self) -> bool:
        """Whether nothing has been picked since the last whitening."""
        return self._chain.length == 0

    def vectors(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        """Return some candidates and all targets, whitened with all picks."""
        if self._kind == "information":
            return None
        targets = self._zt if self._kind == "targets" else self._reduced_targets()
        assert targets is not None
        return self._chain.current(self._rows(indices)), self._chain.current(targets)

    def _reduced_targets(self) -> np.ndarray:
        """Return as few rows as have the same weighted squares and products as the targets."""
        if self._reduced is None:
            weighted = (
                (z * np.sqrt(self.weight[piece, None]) for piece, z in self._whitened_blocks())
                if self._zt is None
                else [self._zt * np.sqrt(self.weight[:, None])]
            )
            out = np.empty((0, self._width))
            for rows in weighted:
                out = sl.qr(np.vstack([out, rows]), mode="r", check_finite=False)[0][: self._width]
            self._reduced = out
        return self._reduced


def _span_first(zt: np.ndarray) -> tuple[np.ndarray, int]:
    """Return an orthogonal matrix whose first columns span the rows, and their number."""
    n, width = zt.shape
    rows = sl.qr(zt, mode="r", check_finite=False)[0][:width] if n > width else zt
    _, s, vt = np.linalg.svd(rows, full_matrices=True)
    rank = int((s > max(n, width) * EPS * s[0]).sum())
    return np.ascontiguousarray(vt.T), rank


def _affine(rows: Rows, slopes: np.ndarray, mean: np.ndarray, constant: np.ndarray) -> np.ndarray:
    if sp.issparse(rows.matrix):
        return rows.matrix @ slopes + np.outer(rows.intercept, constant - mean @ slopes)
    features = rows.dense(slice(0, len(rows)))
    if rows.intercept.any():
        features = features - np.outer(rows.intercept, mean)
    return features @ slopes + np.outer(rows.intercept, constant)
