"""Posterior of a linear model: pool and targets in coordinates that make the Hessian identity.

With rows z of whitened gradients, covariances are products ``z . z'``. Adding the pick p to the
data maps every row by ``W = I - (1 - sqrt(s2 / (s2 + b))) e e.T`` with ``e = z_p / |z_p|``. The
product of these maps is kept in compact form (as for Householder reflections: Schreiber, Van Loan,
SIAM J. Sci. Stat. Comput. 10, 53 (1989)), so that a pick costs one product with the pool as it was
whitened last.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import scipy.sparse as sp

from ..hessian import EPS, Rows, TSQRAccumulator, UnpinnedError, block_rows
from ._candidates import Candidates
from ._members import Members, rows_of
from ._state import Posterior, State, Step

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

    def current(self, z: np.ndarray, back: bool = False) -> np.ndarray:
        """Return rows ``z @ Q``, or `back` from there, ``z @ Q.T``."""
        E, T = self.E[: self.length], self.T[: self.length, : self.length]
        return z - ((z @ E.T) @ (T.T if back else T)) @ E

    def rows_of(self, z: np.ndarray, step: Step) -> tuple[np.ndarray, np.ndarray]:
        """Return rows ``z @ Q`` of a pick, orthogonal to each other, and their noise."""
        now = self.current(z)
        if len(now) == 1:
            return now, step.noise
        _, s, vt = np.linalg.svd(now, full_matrices=False)
        return s[:, None] * vt, np.ones(len(s))

    def add(self, z: np.ndarray, noise: float) -> None:
        """Add the map of a row of a pick that is now z."""
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
    """Posterior of a model with feature rows.

    Parameters
    ----------
    candidates : Candidates
        Their rows, and the model.
    storage : dtype or None
        How the whitened pool is kept. None: not at all, the pool is read again for every pick.
    *arguments : tuple
        As of `Posterior`.
    """

    def __init__(self, candidates: Candidates, storage: Any, *arguments: Any) -> None:
        super().__init__(State(candidates.noise, candidates.members), *arguments)
        self.candidates = candidates
        self._storage = storage

    # --- from scratch ------------------------------------------------------------------------

    def refresh(self) -> None:
        """Factorize the Hessian with all picks, and whiten pool and targets."""
        model = self.candidates.model
        self._factor = model.factor(self.candidates.added(self.picks) if self.picks else None)
        self._rotation: np.ndarray | None = None
        try:
            with np.errstate(over="ignore", invalid="ignore"):  # told of in the end
                self._whiten_targets()
                self._whiten_pool()
        except UnpinnedError:
            raise ValueError(
                "alpha must be positive, or X_train large enough to pin the predictions: with "
                f"alpha={model.alpha} some candidates or targets have rigidity 0"
            ) from None
        state = self.state
        if self._zt is None:
            state.v = state.b
        self._combined: np.ndarray | None = None
        self.fresh = True
        self._chain = Chain(self._width)
        self._known_chain = Chain(self._width - self._rank)
        state.start()

    def _whiten_targets(self) -> None:
        self._zt: np.ndarray | None = None
        self._rank = 0
        targets = self._targets
        if targets is None and (self._kind == "targets" or self.state.members is not None):
            targets = self.candidates.predictions()
        if targets is None:
            return
        zt = np.concatenate([self._factor.whiten(rows) for rows in targets])
        v = np.einsum("ij,ij->i", zt, zt)
        self._keep(v)
        if not self.kept.all():
            zt, v = zt[self.kept], v[self.kept]
        self._set_weight()
        if self._kind == "information" and len(zt):
            self._rotation, self._rank = _span_first(zt)
            zt = zt @ self._rotation
        self._zt, self.state.v = zt, v

    def _whiten_pool(self) -> None:
        state, kind, zt = self.state, self._kind, self._zt
        n = len(state.noise)
        state.b, state.eps = np.empty(n), EPS
        self._stored: np.ndarray | None = None
        state.second = None
        for piece, z in self._whitened_blocks():
            if state.second is None:
                self._allocate(n, z.shape[1])
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
        if state.members is not None:
            self._set_within(state.members)
        self._set_precision()

    def _allocate(self, n: int, width: int) -> None:
        self._width = width
        shape = (n, len(self._zt)) if self._kind == "targets" and self._zt is not None else (n,)
        self.state.second = np.empty(shape)
        if self._kind == "information" and self._zt is None:
            self._rank = width  # the pool as its own target: nothing else is left
        if self._storage is not None:
            self._stored = np.empty((n, width), dtype=self._storage)

    def _set_within(self, members: Members) -> None:
        """Compute covariances within candidates, and what else the scores need of these."""
        assert self._stored is not None
        sizes = [rows.shape for _, rows in members.each]
        self.state.gram = [np.empty((m, k, k)) for m, k in sizes]
        known = self._kind == "information"
        if known:
            self.state.second = [np.empty((m, k, k)) for m, k in sizes]
        for i, some in members.parts(self._width):
            z = self._stored[members.each[i][1][some]]
            self.state.gram[i][some] = z @ z.transpose(0, 2, 1)
            if known:
                z = z[:, :, self._rank :]
                self.state.second[i][some] = z @ z.transpose(0, 2, 1)

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
        if self._zt is not None:
            weighted: Any = [self._zt * np.sqrt(self.weight)[:, None]]
        else:
            blocks = self._whitened_blocks()
            weighted = (z * np.sqrt(self.weight[piece, None]) for piece, z in blocks)
        self._root = _triangle(weighted, self._width)
        for piece, z in self._whitened_blocks():
            a = z @ self._root.T
            self.state.second[piece] = np.einsum("ij,ij->i", a, a)

    def _whitened_blocks(self) -> Iterator[tuple[slice, np.ndarray]]:
        """Iterate over the whitened pool; a block lives until the next one is made."""
        scratch = np.empty((0, 0))
        for start, rows in self._parts():
            n = len(rows)
            if len(scratch) < n:
                scratch = np.empty((n, rows.n_features))
            scratch[:n] = rows.dense()
            white = self._factor.whiten_block(scratch[:n], rows.intercept)
            yield slice(start, start + n), self._rotated(white)

    def _parts(self) -> Iterator[tuple[int, Rows]]:
        """Iterate over the rows of the pool, in blocks that stay in the cache."""
        for piece, rows in self.candidates.blocks():
            start = piece.start
            for part in rows.blocks(_BLOCK_ENTRIES):
                yield start, part
                start += len(part)

    def _rotated(self, z: np.ndarray) -> np.ndarray:
        return z if self._rotation is None else z @ self._rotation

    # --- pick by pick ------------------------------------------------------------------------

    def step(self, p: int) -> Step:
        """Add candidate p to the data; return what that does to everything before."""
        rows = rows_of(self.state.members, p)
        own = p if self.state.members is None else None
        return self.step_of(self._white(p, rows), self.state.noise[rows], own)

    def step_of(self, z: np.ndarray, noise: np.ndarray, own: int | None) -> Step:
        """Add whitened rows, and their noise, to the data; `own` is their number if they are here.

        Returns
        -------
        Step
        """
        step = Step(own, noise, np.empty(0), np.empty(0))
        now, step.noise = self._chain.rows_of(z, step)
        y = self._chain.current(now, back=True)
        # Of the pick itself, vectors know more digits than what has been updated since.
        step.b = np.einsum("ij,ij->i", now, now)
        more = y[:0]
        if self._kind == "trace":
            a = y @ self._root.T
            step.extra_b = a @ a.T
            more = self._chain.current(self._chain.current(a @ self._root), back=True)
        elif self._kind == "information":
            more = self._known(z[:, self._rank :], step)
        if self._zt is not None:
            step.targets = y @ self._zt.T
        for row, s2 in zip(now, step.noise, strict=True):
            self._chain.add(row, float(s2))
        self.fresh, self.state.eps = False, self._precision
        products = self._product(np.concatenate([y, more]))
        step.u, step.extra = products[: len(y)], products[len(y) :]
        if own is not None:
            step.u[0, own] = self.state.b[own] = step.b[0]
        return step

    def _known(self, z: np.ndarray, step: Step) -> np.ndarray:
        """Return vectors of what is left of rows where the targets are known."""
        known, noise = self._known_chain.rows_of(z, step)
        step.extra_b = np.einsum("ij,ij->i", known, known)
        back = self._known_chain.current(known, back=True)
        for row, s2 in zip(known, noise, strict=True):
            self._known_chain.add(row, float(s2))
        return np.hstack([np.zeros((len(known), self._rank)), back])

    def _white(self, p: int, rows: Any) -> np.ndarray:
        """Return the rows of a candidate as they were whitened last."""
        if self._stored is not None and self._stored.dtype == np.float64:
            return self._stored[rows]
        return self.whitened(self.candidates.taken(p))

    def whitened(self, rows: Rows) -> np.ndarray:
        """Return any rows as the pool was whitened last."""
        return self._rotated(self._factor.whiten(rows))

    def _product(self, vectors: np.ndarray) -> np.ndarray:
        """Return the products of the pool, as it was whitened last, with some vectors."""
        stored = self._stored
        if stored is None:
            return np.ascontiguousarray(self._product_read_again(vectors.T).T)
        if len(vectors) > 2:
            return vectors @ stored.T
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
            flags = np.zeros(factor.n_features + 1)
            flags[-1] = factor.has_intercept
            unit = Rows(np.vstack([np.eye(factor.n_features), mean]), intercept=flags)
            self._combined = self._rotated(factor.whiten(unit))
        combined = self._combined @ vectors
        slopes, constant = combined[:-1], combined[-1]
        out = np.empty((len(self.state.noise), vectors.shape[1]))
        for start, rows in self._parts():
            out[start : start + len(rows)] = _affine(rows, slopes, mean, constant)
        return out


def _triangle(blocks: Iterable[np.ndarray], width: int) -> np.ndarray:
    """Return at most `width` rows whose products in every direction are those of all rows."""
    stream = TSQRAccumulator(width)
    for rows in blocks:
        stream.add(rows.copy())
    return stream.rows()[0]


def _span_first(zt: np.ndarray) -> tuple[np.ndarray, int]:
    """Return an orthogonal matrix whose first columns span the rows, and their number."""
    n, width = zt.shape
    _, s, vt = np.linalg.svd(_triangle([zt], width), full_matrices=True)
    rank = int((s > max(n, width) * EPS * s[0]).sum())
    return np.ascontiguousarray(vt.T), rank


def _affine(rows: Rows, slopes: np.ndarray, mean: np.ndarray, constant: np.ndarray) -> np.ndarray:
    if sp.issparse(rows.matrix):
        return rows.matrix @ slopes + np.outer(rows.intercept, constant - mean @ slopes)
    features = rows.dense()
    if rows.intercept.any():
        features = features - np.outer(rows.intercept, mean)
    return features @ slopes + np.outer(rows.intercept, constant)
