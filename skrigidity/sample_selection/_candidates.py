"""The rows that candidates would add to the data: one each, or several."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy.linalg as sl

from ..gradients import check_groups
from ..hessian import Rows
from ._members import Members
from ._model import FeatureModel
from ._pool import ArrayPool, ObjectPool, Pool, stacked

# Stands for the infinite noise of a candidate of weight zero, which is never chosen.
_NO_WEIGHT = 1e-150
# Bytes of rows of candidates that are kept, and how many are whitened at once.
_KEPT, _ROWS_AT_ONCE = 2**28, 1000


class Candidates:
    """Samples of a pool, a row each.

    Parameters
    ----------
    pool : Pool
        Samples.
    model : FeatureModel
        Makes rows of them.
    weight : ndarray of shape (n_candidates,)
        Weights of the candidates.

    Attributes
    ----------
    noise : ndarray of shape (n_rows,)
        One over the weights of the rows.
    members : Members or None
        Which rows belong together, where candidates have several.
    """

    members: Members | None = None

    def __init__(self, pool: Pool, model: FeatureModel, weight: np.ndarray) -> None:
        self.pool = pool
        self.model = model
        self.weight = weight
        self.noise = noise(weight)

    def blocks(self) -> Iterator[tuple[slice, Rows]]:
        """Iterate over all rows, of unit noise where candidates have several."""
        for piece, block in self.pool.blocks():
            yield piece, self.model.rows(block)

    def predictions(self) -> list[Rows]:
        """Return the predictions of all samples, to be pinned."""
        return [self.model.gradients.rows(block) for _, block in self.pool.blocks()]

    def added(self, picks: list[int]) -> Rows:
        """Return the rows that picks add to the data, weighted."""
        return self.model.rows(self.pool.take(picks), self.weight[picks])

    def taken(self, p: int) -> Rows:
        """Return the rows of a candidate, as `blocks` does."""
        return self.model.rows(self.pool.take([p]))


class RowsOfObjects(Candidates):
    """Objects of a row each, such as frames with energies alone: rows are made once and kept."""

    def __init__(self, pool: ObjectPool, model: FeatureModel, weight: np.ndarray) -> None:
        super().__init__(pool, model, weight)
        self.rows = Rows.joined([model.rows(block) for _, block in pool.blocks()])

    def blocks(self) -> Iterator[tuple[slice, Rows]]:
        """Iterate over all rows."""
        yield slice(0, len(self.rows)), self.rows

    def added(self, picks: list[int]) -> Rows:
        """Return the rows that picks add to the data, weighted."""
        return self.rows[picks].replaced(weight=self.weight[picks])

    def taken(self, p: int) -> Rows:
        """Return the row of a candidate."""
        return self.rows[[p]]


class BlockCandidates(Candidates):
    """Candidates of several rows, each compressed to as many rows as it has parameters.

    They are made candidate by candidate, and again for every factorization where all together
    take more than 256 MB.

    Parameters
    ----------
    pool, model, weight
        As in `Candidates`.
    candidate : ndarray of int of shape (n_samples,)
        Which candidate a sample of the pool belongs to.
    """

    def __init__(
        self, pool: Pool, model: FeatureModel, weight: np.ndarray, candidate: np.ndarray
    ) -> None:
        if not isinstance(pool, ArrayPool):
            pool = ArrayPool(stacked([block for _, block in pool.blocks()]))
        super().__init__(pool, model, weight)
        order = np.argsort(candidate, kind="stable")
        self.samples = np.split(order, np.cumsum(np.bincount(candidate))[:-1])
        sizes = [self._size(p) for p in range(len(weight))]
        self._keeps = 8 * sum(sizes) * model.n_parameters <= _KEPT
        self._kept: dict[int, Rows] = {}
        self.members = Members(np.append(0, np.cumsum(sizes)))
        self.noise = np.ones(sum(sizes))

    def _size(self, p: int) -> int:
        rows = self.model.rows(self.pool.take(self.samples[p]))
        return min(len(rows), rows.n_features + rows.has_intercept)

    def _own(self, p: int) -> Rows:
        """Return the rows of a candidate as they are, weighted."""
        lazy = self.model.rows(self.pool.take(self.samples[p]))
        rows = Rows.joined(lazy.blocks(), lazy.n_features)
        own = 1.0 if rows.weight is None else rows.weight
        return rows.replaced(weight=np.full(len(rows), self.weight[p]) * own, groups=None)

    def blocks(self) -> Iterator[tuple[slice, Rows]]:
        """Iterate over all rows, of unit noise."""
        assert self.members is not None
        some: list[Rows] = []
        start = stop = 0
        for p in range(len(self.members)):
            some.append(self.taken(p))
            stop += len(some[-1])
            if stop - start >= _ROWS_AT_ONCE or p + 1 == len(self.members):
                yield slice(start, stop), Rows.joined(some)
                some, start = [], stop

    def added(self, picks: list[int]) -> Rows:
        """Return the rows that picks add to the data, weighted."""
        return Rows.joined([self._own(p) for p in picks])

    def taken(self, p: int) -> Rows:
        """Return the rows of a candidate, as `blocks` does."""
        if p in self._kept:
            return self._kept[p]
        rows = _compressed(self._own(p))
        if self._keeps:
            self._kept[p] = rows
        return rows


def _compressed(rows: Rows) -> Rows:
    """Return rows of unit noise, no more than there are parameters."""
    assert rows.weight is not None
    dense = np.column_stack([rows.dense(), rows.intercept]) * np.sqrt(rows.weight)[:, None]
    width = rows.n_features + rows.has_intercept
    if len(dense) > width:
        dense = sl.qr(dense, mode="r", check_finite=False)[0][:width].copy()
    return Rows(dense[:, :-1], intercept=dense[:, -1])


def make_candidates(
    pool: Pool, model: FeatureModel, weight: np.ndarray, groups: np.ndarray | None
) -> Candidates:
    """Return candidates of one row each where they are so, which is faster."""
    if groups is None:
        sample = model.rows(next(pool.blocks())[1][:1])
        if sample.groups is None and sample.weight is None:
            if isinstance(pool, ObjectPool):
                return RowsOfObjects(pool, model, weight)
            return Candidates(pool, model, weight)
        groups = np.arange(len(pool))
    return BlockCandidates(pool, model, weight, groups)


def numbered(groups: Any, n: int) -> np.ndarray | None:
    """Return the candidate that every sample belongs to, in order of first appearance."""
    codes = check_groups(groups, n)
    if codes is None:
        return None
    _, first = np.unique(codes, return_index=True)
    return np.argsort(np.argsort(first))[codes]


def noise(weight: np.ndarray) -> np.ndarray:
    """Return one over the weights of candidates."""
    return 1 / np.maximum(weight, _NO_WEIGHT)
