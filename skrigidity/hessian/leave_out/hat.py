"""What leaving out groups of rows does to their own predictions.

With the hat matrix P of the weighted rows, leaving out the rows of a group G turns their
residuals into ``(I - P_GG)^-1 e_G`` and the quadratic forms of their own predictions into
``P_GG (I - P_GG)^-1``. Where a group determines a direction nearly alone, I - P_GG nearly
vanishes: it is summed from squares, never subtracted. Groups of equal size make one batch; a row
is a group of one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from copy import copy
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

import numpy as np

from ..choose import choose
from ..factor import Factor, Solution
from ..prior import Prior
from ..rows import EPS, Array, Rows

# Entries of an array of a batch, and groups in it.
ENTRIES, _GROUPS = 2**21, 512
# Leave-out residuals whose estimated errors are larger than this, relatively, are doubtful.
DOUBTFUL = 1e-9
# An eigenvalue of P_GG above this is subtracted from 1 by way of squares.
CLOSE_TO_ONE = 0.9
# Groups are predicted by fits without them as long as these cost no more operations than this.
_WORK = 2e10


class LeftBatch(NamedTuple):
    """Groups of k rows that are left out, or one unit of the weight of single rows.

    Parameters
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
        Eigenvectors of P_GG, and 1 minus its eigenvalues, without cancellation.
    inverse : ndarray of shape (m, n_alphas, k)
        One over what remains of 1 without what is left out, 0 where that is nothing.

    Examples
    --------
    >>> import numpy as np
    >>> from skrigidity.hessian import AlphaPath, Rows
    >>> rows = Rows(np.ones((3, 1)), rhs=np.array([0.0, 3.0, 6.0]))
    >>> (batch,) = AlphaPath(rows, None, 0.0).leave_out(np.zeros(1), units=True).batches
    >>> batch.members.ravel()
    array([0, 1, 2])
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

    Parameters
    ----------
    residual : ndarray of shape (n_rows, n_rhs)
        Right-hand side minus its prediction.
    quad : ndarray of shape (n_rows,)
        ``g.T @ inv(H) @ g``, H without the row (or its group); inf where nothing else pins it.
        On a path of alphas both have a second axis for these.
    batches : list of LeftBatch
        The same by groups of equal size, where this is known.

    Examples
    --------
    >>> import numpy as np
    >>> from skrigidity.hessian import Prior, Rows, leave_out
    >>> leave_out(Rows(np.ones((3, 1)), rhs=np.array([[0.0], [3.0], [6.0]])), Prior(0.0)).quad
    array([0.5, 0.5, 0.5])
    """

    residual: Array
    quad: Array
    batches: list[LeftBatch] = field(default_factory=list)


class Hat:
    """Hat matrices of weighted rows, one per alpha."""

    # Without its group, a row of which less remains is better predicted by another fit.
    doubtful_below = 0.0
    # Errors of residuals count relative to this at least.
    size: Any = 0.0
    width: int  # entries per row that a batch of groups takes
    error: Array  # what to expect in weighted residuals, (n_alphas, n_rhs)
    shrink: Array  # alpha / (s_k^2 + alpha) on a path, (n_coordinates, n_alphas)

    rotated: Array  # right-hand sides along as many coordinates, and squares of what is left
    left_over: Any

    # A subclass has these: batches of all rows one by one, in any order; and the batch of some
    # groups of equal size.
    rows_alone: Callable[[], Iterable[LeftBatch]]
    batch: Callable[[Array], LeftBatch]
    # And on a path of alphas, what depends on them.
    filter: Callable[[Array], None]

    def __init__(self, rows: Rows, prior: Prior) -> None:
        self.rows, self.prior = rows, prior
        self.weight = np.ones(len(rows)) if rows.weight is None else rows.weight
        # The weight of each row that is left out.
        self.alphas, self.out = np.array([prior.alpha]), self.weight
        self.negligible = (10 * max(len(rows), rows.n_features) * EPS) ** 2

    def leave_out(self, labels: Array | None) -> LeftOut:
        """Leave out every group of rows of the same label, a number from 0; None: every row."""
        batches = list(self.left_out(labels))
        residual = np.empty((len(self.weight), *batches[0].residual.shape[2:]))
        quad = np.empty(residual.shape[:2])
        for batch in batches:
            residual[batch.members], quad[batch.members] = batch.residual, batch.quad
        return LeftOut(residual, quad, batches)

    def left_out(self, labels: Array | None) -> Iterator[LeftBatch]:
        """Iterate over all groups, those of one size together."""
        labels = np.arange(len(self.weight)) if labels is None else labels
        sizes = np.bincount(labels)
        if (sizes == 1).all():
            yield from self.rows_alone()
            return
        groups = np.split(np.argsort(labels, kind="stable"), np.cumsum(sizes)[:-1])
        for k in np.unique(sizes):
            yield from self.batches(np.array([group for group in groups if len(group) == k]))

    def batches(self, members: Array) -> Iterator[LeftBatch]:
        """Iterate over groups of equal size, of shape (n_groups, k)."""
        step = min(_GROUPS, max(1, ENTRIES // max(1, members.shape[1] * self.width)))
        for start in range(0, len(members), step):
            yield self.batch(members[start : start + step])

    def rows_left(self, members: Array, h: Array, remainder: Array, residual: Array) -> LeftBatch:
        """Leave out single rows of leverages h, what these leave of 1, and weighted residuals."""
        one, still = np.ones((len(members), 1, 1, 1)), (h == 0).all(axis=1)[:, None]
        h, remainder, residual = h[:, :, None], remainder[:, :, None], residual[:, :, None]
        return self.left(members[:, None], h, one, remainder, residual, still)

    def left(
        self, members: Array, p: Array, vectors: Array, remainder: Array, turned: Array, still: Any
    ) -> LeftBatch:
        """Leave out groups.

        Parameters
        ----------
        members, vectors, remainder : ndarray
            As in `LeftBatch`.
        p : ndarray of shape (m, n_alphas, k)
            Eigenvalues of P_GG.
        turned : ndarray of shape (m, n_alphas, k, n_rhs)
            Weighted residuals along the eigenvectors.
        still : ndarray of bool of shape (m, k)
            Rows that cannot move, not by rounding either.
        """
        weight, out = self.weight[members], self.out[members]
        remains = remainder + p * (1 - out / weight)[:, None]
        lost = remains <= self.negligible
        inverse = np.where(lost, 0.0, 1 / np.where(lost, 1.0, remains))
        residual, squares = inverse[..., None] * turned, vectors**2
        residual = vectors * residual if members.shape[1] == 1 else vectors @ residual
        quad = np.einsum("maij,maj->mai", squares, np.maximum(p, 0.0) * inverse)
        touched = np.einsum("maij,maj->mai", squares, lost) > self.negligible
        grown = inverse.max(axis=2)
        doubtful = grown * self.doubtful_below > 1
        near = grown > 1 / (1 - CLOSE_TO_ONE)
        if near.any():
            found = np.abs(residual)
            size = np.maximum(found.max(axis=(0, 2)), self.size)
            limit = DOUBTFUL * np.maximum(found, size[:, None])
            error = self.error[:, None] * grown[:, :, None, None]
            doubtful |= near & (error > limit).any(axis=(2, 3))
        quad = np.where(touched, np.inf, quad).swapaxes(1, 2) / weight[..., None]
        quad[still] = 0.0
        residual = residual.swapaxes(1, 2) / np.sqrt(weight)[..., None, None]
        # What a group alone determines is lost to any fit.
        pairs = np.argwhere(doubtful & ~lost.any(axis=2))
        fits = self.fitted_without([(members[g], out[g], a) for g, a in pairs])
        for (g, a), factor in zip(pairs, fits, strict=False):
            residual[g, :, a], quad[g, :, a] = predicted(factor, self.rows[members[g]])
        return LeftBatch(members, out, residual, quad, vectors, remainder, inverse)

    @property
    def loss(self) -> Array:
        """What is minimized, at every alpha of a path."""
        return np.einsum("ka,kt->at", self.shrink, self.rotated**2) + self.left_over

    def at(self, alphas: Array, *, units: bool = False) -> Self:
        """Return this at some alphas, leaving out one unit of the weight of each row, or all."""
        hat = copy(self)
        hat.alphas, hat.out = alphas, np.minimum(self.weight, 1.0) if units else self.weight
        hat.filter(alphas)
        return hat

    def fitted_without(self, asked: list[tuple[Array, Array, int]]) -> Iterator[Factor]:
        """Iterate over fits with less of the weight of some rows, at an alpha by its number.

        If they cost too much there are none.
        """
        n, d = len(self.rows), self.rows.n_features
        if len(asked) * n * d * min(n, d) <= _WORK:
            for members, out, a in asked:
                prior = self.prior.with_alpha(self.alphas[a])
                yield fit_without(self.rows, prior, members, out)


def fit_without(rows: Rows, prior: Prior, members: Array, out: Array | float) -> Factor:
    """Fit again with `out` less of the weight of some rows, a mask or their numbers."""
    weight = np.ones(len(rows)) if rows.weight is None else np.array(rows.weight)
    weight[members] -= np.minimum(weight[members], out)
    if not weight[members].any():
        return choose(rows.kept(weight > 0), prior)
    remaining = rows[np.flatnonzero(weight)]
    return choose(remaining.replaced(weight=weight[weight > 0]), prior)


def predicted(factor: Factor, rows: Rows) -> tuple[Array, Array]:
    """Return residuals and forms of rows that a factor has not seen."""
    return residuals(rows, factor.solution), form_of(factor, rows)


def form_of(factor: Factor, rows: Rows) -> Array:
    """Return quadratic forms of rows, inf where no row of the factor has their intercept."""
    unknown = (rows.intercept != 0) & (not factor.has_intercept)
    quad = factor.quad(Rows(rows.dense(), intercept=np.where(unknown, 0.0, rows.intercept)))
    return np.where(unknown, np.inf, quad)


def residuals(rows: Rows, solution: Solution | None) -> Array:
    """Return right-hand sides minus the predictions of a solution, unweighted.

    Parameters
    ----------
    rows : Rows
        Rows with right-hand sides.
    solution : Solution
        What they are predicted with.

    Returns
    -------
    ndarray of shape (n_rows, n_rhs)
        Residuals.

    Examples
    --------
    >>> import numpy as np
    >>> from skrigidity.hessian import Prior, Rows, choose, residuals
    >>> rows = Rows(np.ones((2, 1)), rhs=np.array([1.0, 3.0]))
    >>> residuals(rows, choose(rows, Prior(0.0)).solution).ravel()
    array([-1.,  1.])
    """
    assert solution is not None
    return np.asarray(rows.rhs - rows.times(solution.coef, solution.intercept))
