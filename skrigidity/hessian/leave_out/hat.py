"""What leaving out groups of rows does to their own predictions.

With the hat matrix P of the weighted rows, leaving out the rows of a group G turns their
residuals into ``(I - P_GG)^-1 e_G`` and the quadratic forms of their own predictions into
``P_GG (I - P_GG)^-1``. Where a group determines a direction nearly alone, I - P_GG nearly
vanishes: it is summed from squares, never subtracted. Groups of equal size make one batch; a row
is a group of one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from ..rows import Array

# Entries of an array of a batch, and groups in it.
_ENTRIES, _GROUPS = 2**21, 256


class Block(NamedTuple):
    """Blocks P_GG of m groups of k rows, at every alpha.

    Attributes
    ----------
    members : ndarray of int of shape (m, k)
        Rows of the groups.
    p, vectors : ndarray of shape (m, n_alphas, k) and (m, n_alphas, k, k)
        Eigenvalues and vectors of P_GG.
    remainder : ndarray of shape (m, n_alphas, k)
        ``1 - p``, without cancellation.
    turned : ndarray of shape (m, n_alphas, k, n_rhs)
        Weighted residuals along the vectors.
    still : ndarray of bool of shape (m, k)
        Rows that cannot move, not by rounding either.
    error : float or ndarray of shape (n_alphas, n_rhs)
        Estimated error of the weighted residuals.
    """

    members: Array
    p: Array
    vectors: Array
    remainder: Array
    turned: Array
    still: Array
    error: Any = 0.0

    @classmethod
    def of_rows(
        cls, members: Array, h: Array, remainder: Array, residual: Array, error: Any = 0.0
    ) -> Block:
        """Return rows as groups of one, of leverages `h` of shape (m, n_alphas)."""
        one, still = np.ones((len(members), 1, 1, 1)), ~h.any(axis=1)[:, None]
        parts = (h[:, :, None], one, remainder[:, :, None], residual[:, :, None], still, error)
        return cls(members[:, None], *parts)


class LeftBatch(NamedTuple):
    """Groups of k rows that are left out, or one unit of the weight of single rows.

    Attributes
    ----------
    members : ndarray of int of shape (m, k)
        Rows of the groups.
    out : ndarray of shape (m, k)
        The weight that is left out.
    residual : ndarray of shape (m, k, n_alphas, n_rhs)
        Right-hand sides minus their predictions; of no meaning where `quad` is infinite.
    quad : ndarray of shape (m, k, n_alphas)
        ``g.T @ inv(H) @ g``, H without the group; inf where nothing else pins it.
    vectors, remainder : ndarray of shape (m, n_alphas, k, k) and (m, n_alphas, k)
        As in `Block`.
    inverse : ndarray of shape (m, n_alphas, k)
        One over what remains of 1 without what is left out, 0 where that is nothing.
    """

    members: Array
    out: Array
    residual: Array
    quad: Array
    vectors: Array
    remainder: Array
    inverse: Array


@dataclass(frozen=True)
class LeftOut:
    """What every row looks like to a model that has not seen it.

    Attributes
    ----------
    residual : ndarray of shape (n_rows, n_rhs)
        Right-hand side minus its prediction.
    quad : ndarray of shape (n_rows,)
        ``g.T @ inv(H) @ g``, H without the row (or its group); inf where nothing else pins it.
        On a path of alphas both have a second axis for these.
    batches : list of LeftBatch
        The same by groups of equal size, where they are known.
    """

    residual: Array
    quad: Array
    batches: list[LeftBatch] = field(default_factory=list)


class Hat:
    """Hat matrices of the same weighted rows, one per alpha."""

    weight: Array
    negligible: float
    # Without its group, a row of which less remains is better predicted by another fit.
    doubtful_below = 0.0
    # Errors of residuals count relative to this at least.
    size: Any = 0.0

    # A subclass has these: rows as groups of one, in any order; the blocks of some groups; and the
    # entries that the latter takes per row.
    rows_alone: Callable[[], Iterable[Block]]
    block: Callable[[Array], Block]
    width: int

    def blocks_of(self, groups: list[Array]) -> Iterator[Block]:
        """Iterate over the blocks of all groups, those of one size together."""
        sizes = np.array([len(group) for group in groups])
        if (sizes == 1).all():
            yield from self.rows_alone()
            return
        for k in np.unique(sizes):
            members = np.array([group for group in groups if len(group) == k])
            yield from self.batches(members)

    def batches(self, members: Array) -> Iterator[Block]:
        """Iterate over the blocks of groups of equal size."""
        step = min(_GROUPS, max(1, _ENTRIES // max(1, members.shape[1] * self.width)))
        for start in range(0, len(members), step):
            yield self.block(members[start : start + step])

    def left(self, block: Block, out: Array) -> LeftBatch:
        """Leave out groups, or of single rows a weight `out`."""
        members, p, vectors, remainder, turned, still, _ = block
        weight, out = self.weight[members], out[members]
        remains = remainder + p * (1 - out / weight)[:, None]
        lost = remains <= self.negligible
        inverse = np.where(lost, 0.0, 1 / np.where(lost, 1.0, remains))
        residual, quad, touched = inverse[..., None] * turned, p * inverse, lost
        if members.shape[1] == 1:
            residual, vectors = vectors * residual, np.ones((len(members), 1, 1, 1))
        else:
            squares = vectors**2
            residual = vectors @ residual
            quad = np.einsum("maij,maj->mai", squares, quad)
            touched = np.einsum("maij,maj->mai", squares, lost) > self.negligible
        quad = np.where(touched, np.inf, quad).swapaxes(1, 2) / weight[..., None]
        quad[still] = 0.0
        residual = residual.swapaxes(1, 2) / np.sqrt(weight)[..., None, None]
        return LeftBatch(members, out, residual, quad, vectors, remainder, inverse)


def collected(batches: Iterable[LeftBatch], n_rows: int) -> LeftOut:
    """Return all rows in order, and groups of equal size as one batch."""
    by_size: dict[int, list[LeftBatch]] = {}
    for batch in batches:
        by_size.setdefault(batch.members.shape[1], []).append(batch)
    whole = []
    for parts in by_size.values():
        order = np.argsort(np.concatenate([part.members[:, 0] for part in parts]))
        whole.append(LeftBatch(*(np.concatenate(part)[order] for part in zip(*parts, strict=True))))
    residual = np.empty((n_rows, *whole[0].residual.shape[2:]))
    quad = np.empty((n_rows, *whole[0].quad.shape[2:]))
    for batch in whole:
        residual[batch.members], quad[batch.members] = batch.residual, batch.quad
    return LeftOut(residual, quad, whole)


def members_of(labels: Array) -> list[Array]:
    """Return the rows of every group, by its label from 0."""
    order = np.argsort(labels, kind="stable")
    return np.split(order, np.cumsum(np.bincount(labels))[:-1])
