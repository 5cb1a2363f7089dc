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
from ._pool import Pool

# Stands for the infinite noise of a candidate of weight zero, which is never chosen.
_NO_WEIGHT = 1e-150


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


class BlockCandidates(Candidates):
    """Candidates of several rows, each compressed to as many rows as it has parameters.

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
        super().__init__(pool, model, weight)
        parts, owners = [], []
        for piece, block in pool.blocks():
            rows = model.rows(block)
            own = np.arange(len(rows)) if rows.groups is None else rows.groups
            owners.append(candidate[piece.start + own])
            parts.append(rows)
        owner, rows = np.concatenate(owners), Rows.joined(parts)
        order = np.argsort(owner, kind="stable")
        own_weight = weight[owner] * (1.0 if rows.weight is None else rows.weight)
        dense, flags = rows.dense()[order], rows.intercept[order]
        # Row by row as they are, candidate after candidate.
        self.all = Rows(dense, weight=own_weight[order], intercept=flags)
        self.first = np.searchsorted(owner[order], np.arange(len(weight) + 1))
        made = [self._compressed(self._own(p)) for p in range(len(weight))]
        self.members = Members(np.append(0, np.cumsum([len(block) for block in made])))
        self.made = np.concatenate(made)
        self.noise = np.ones(len(self.made))

    def _own(self, p: int) -> Rows:
        return self.all[self.first[p] : self.first[p + 1]]

    @staticmethod
    def _compressed(rows: Rows) -> np.ndarray:
        """Return rows of unit noise, with the derivative by the intercept as last entry."""
        assert rows.weight is not None
        dense = np.column_stack([rows.dense(), rows.intercept]) * np.sqrt(rows.weight)[:, None]
        if len(dense) > dense.shape[1]:
            dense = sl.qr(dense, mode="r", check_finite=False)[0][: dense.shape[1]]
        return dense

    def _made(self, rows: slice) -> Rows:
        return Rows(self.made[rows, :-1], intercept=self.made[rows, -1])

    def blocks(self) -> Iterator[tuple[slice, Rows]]:
        """Iterate over all rows, of unit noise."""
        every = slice(0, len(self.made))
        yield every, self._made(every)

    def added(self, picks: list[int]) -> Rows:
        """Return the rows that picks add to the data, weighted."""
        return Rows.joined([self._own(p) for p in picks])

    def taken(self, p: int) -> Rows:
        """Return the rows of a candidate, as `blocks` does."""
        assert self.members is not None
        return self._made(self.members.of(p))


def make_candidates(
    pool: Pool, model: FeatureModel, weight: np.ndarray, groups: np.ndarray | None
) -> Candidates:
    """Return candidates of one row each where they are so, which is faster."""
    if groups is None:
        sample = model.rows(next(pool.blocks())[1][:1])
        if sample.groups is None and sample.weight is None:
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
