"""Fits without some rows, where the closed form has lost too many digits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from ..choose import choose
from ..factor import Factor
from ..prior import Prior
from ..rows import Array, Rows
from .hat import Block, Hat, LeftBatch
from .products import DOUBTFUL, residuals

# Such fits are made as long as all of them together cost no more operations than this.
_WORK = 2e10


class Refit(NamedTuple):
    """A fit with `out` less of the weight of some rows, at an alpha by its number."""

    members: Array
    out: Array
    a: int


def refitted(rows: Rows, prior: Prior, alphas: Array, asked: list[Refit]) -> Iterator[Factor]:
    """Iterate over fits, none if they cost too much."""
    n, d = len(rows), rows.n_features
    if len(asked) * n * d * min(n, d) <= _WORK:
        for fit in asked:
            alpha = prior.with_alpha(alphas[fit.a])
            yield fit_without(rows, alpha, fit.members, fit.out)


def fit_without(
    rows: Rows, prior: Prior, members: Array, out: Array | float, *, method: str = "auto"
) -> Factor:
    """Fit again with `out` less of the weight of some rows, a mask or their numbers."""
    weight = np.ones(len(rows)) if rows.weight is None else np.array(rows.weight)
    weight[members] -= np.minimum(weight[members], out)
    if not weight[members].any():
        return choose(rows.kept(weight > 0), prior, method=method)
    remaining = rows[np.flatnonzero(weight)]
    return choose(remaining.replaced(weight=weight[weight > 0]), prior, method=method)


def predicted(factor: Factor, rows: Rows) -> tuple[Array, Array]:
    """Return residuals and forms of rows that a factor has not seen."""
    return residuals(rows, factor.solution), form_of(factor, rows)


def form_of(factor: Factor, rows: Rows) -> Array:
    """Return quadratic forms of rows, inf where no row of the factor has their intercept."""
    unknown = (rows.intercept != 0) & (not factor.has_intercept)
    quad = factor.quad(Rows(rows.dense(), intercept=np.where(unknown, 0.0, rows.intercept)))
    return np.where(unknown, np.inf, quad)


def left_out(
    hat: Hat, groups: list[Array], out: Array, rows: Rows, prior: Prior, alphas: Array
) -> Iterator[LeftBatch]:
    """Iterate over batches of groups that are left out, or of single rows a weight `out`.

    What is doubtful is predicted by a fit without it.
    """
    for block in hat.blocks_of(groups):
        left = hat.left(block, out)
        # What a group alone determines is lost to any fit.
        pairs = np.argwhere(_doubtful(hat, block, left) & (left.inverse > 0).all(axis=2))
        asked = [Refit(left.members[g], left.out[g], a) for g, a in pairs]
        for (g, a), factor in zip(pairs, refitted(rows, prior, alphas, asked), strict=False):
            left.residual[g, :, a], left.quad[g, :, a] = predicted(factor, rows[left.members[g]])
        yield left


def _doubtful(hat: Hat, block: Block, left: LeftBatch) -> Array:
    """Return which groups had better be predicted by a fit without them, at which alpha."""
    grown = np.where(left.inverse > 0, left.inverse, 1.0).max(axis=2)
    doubtful = grown * hat.doubtful_below > 1
    if np.any(block.error):
        found = np.abs(left.residual) * np.sqrt(hat.weight)[left.members][:, :, None, None]
        size = np.maximum(found.max(axis=(0, 1), initial=0.0), hat.size)
        error = block.error * grown[:, None, :, None]
        doubtful |= (error > DOUBTFUL * np.maximum(found, size)).any(axis=(1, 3))
    return np.asarray(doubtful)
