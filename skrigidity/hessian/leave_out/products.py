"""The hat matrices of many rows, from coordinates in which they are products."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from scipy.linalg.blas import dgemm

from ..factor import Factor
from ..rows import EPS, Array, Rows, row_squares
from ..spectral import SpectralFactor
from .hat import CLOSE_TO_ONE, DOUBTFUL, Hat, LeftBatch, residuals


class ProductHat(Hat):
    """Weighted rows Z with ``P = Z @ diag(inverse) @ Z.T``, at every alpha.

    And P - P^2 from squares of products with other rows and with the regularizer, where P is close
    to 1.
    """

    inverse: Array  # (n_coordinates, n_alphas)
    # A subclass has these: unweighted rows in these coordinates; weighted residuals that go with
    # some of Z; and what the regularizer has of directions of shape (m, n_coordinates, j), at an
    # alpha each.
    coordinates: Callable[[Rows], Array]
    residual: Callable[[Array, Any], Array]
    regularized: Callable[[Array, Array], Array]

    def weighted(self, rows: Rows) -> Array:
        """Return rows of Z."""
        z = self.coordinates(rows)
        if rows.weight is not None:
            z *= np.sqrt(rows.weight)[:, None]
        return z

    def some(self, members: Array) -> Array:
        """Return some rows of Z."""
        return self.weighted(self.rows[members])

    def rows_alone(self) -> Iterator[LeftBatch]:
        """Leave out all rows one by one, those of high leverage last."""
        high = []
        for piece, rows in self.rows.numbered():
            z = self.weighted(rows)
            residual, h = self.residual(z, piece), times(np.square(z, out=z), self.inverse)
            near = (h > CLOSE_TO_ONE).any(axis=1)
            members = np.arange(piece.start, piece.stop)
            if near.any():
                high.append(members[near])
                members, h, residual = members[~near], h[~near], residual[~near]
            yield self.rows_left(members, h, 1 - h, residual)
        if high:
            yield from self.batches(np.concatenate(high)[:, None])

    def batch(self, members: Array) -> LeftBatch:
        """Leave out some groups of equal size."""
        z = self.some(members.ravel())
        residual = self.residual(z, members.ravel()).reshape(*members.shape, *self.error.shape)
        own = z.reshape(len(members), 1, members.shape[1], -1) * np.sqrt(self.inverse.T)[:, None]
        vectors, s, vt = np.linalg.svd(own, full_matrices=own.shape[2] > own.shape[3])
        p = np.zeros(vectors.shape[:-1])
        p[..., : s.shape[-1]] = s**2
        remainder = 1 - p
        # Eigenvalues that agree to the last digit may differ in what they leave of 1: the squares
        # of what stays behind tell their directions apart. Those close to 1 come first.
        n_close = (p > CLOSE_TO_ONE).sum(axis=2)
        for j in np.unique(n_close[n_close > 0]):
            g, a = np.nonzero(n_close == j)
            triangle = self._behind(vt[g, a, :j].swapaxes(1, 2), members[g], a)
            _, left, turn = np.linalg.svd(triangle)
            remainder[g, a, :j] = left**2
            p[g, a, :j] = 1 - left**2
            vectors[g, a, :, :j] = vectors[g, a, :, :j] @ turn.swapaxes(1, 2)
        turned = vectors.swapaxes(2, 3) @ residual.swapaxes(1, 2)
        still = (z == 0).all(axis=1).reshape(members.shape)
        return self.left(members, p, vectors, remainder, turned, still)

    def _behind(self, inside: Array, members: Array, a: Array) -> Array:
        """Return triangular factors of what other rows and the regularizer have of directions."""
        triangle = self.regularized(inside, a)
        flat = np.hstack(list(inside * np.sqrt(self.inverse.T)[a][:, :, None]))
        for piece, rows in self.rows.numbered():
            z = self.weighted(rows)
            part = times(z, flat).reshape(len(z), len(members), -1).swapaxes(0, 1)
            group, place = np.nonzero((members >= piece.start) & (members < piece.stop))
            part[group, members[group, place] - piece.start] = 0.0
            triangle = np.asarray(np.linalg.qr(np.concatenate([triangle, part], axis=1), mode="r"))
        return triangle


class FactorHat(ProductHat):
    """The whitened rows of a factor: one alpha."""

    def __init__(self, rows: Rows, factor: Factor) -> None:
        super().__init__(rows, factor.prior)
        self.coordinates = factor.whiten
        self.doubtful_below = (factor.info.accuracy / DOUBTFUL) ** 2
        # And a row of zeros, of which there always is one.
        root = np.vstack([factor.prior.root(rows.n_features), np.zeros(rows.n_features)])
        self._prior_rows = factor.whiten(Rows(root))
        self.width = self._prior_rows.shape[1]
        self.inverse = np.ones((self.width, 1))
        self._residual, self.error = np.zeros((len(rows), 0)), np.zeros((1, rows.n_rhs))
        if factor.solution is not None:
            root = np.sqrt(self.weight)
            self._residual = residuals(rows, factor.solution) * root[:, None]
            self.size = np.abs(self._residual).max(axis=0, initial=0.0)
            norms = np.concatenate([row_squares(block.dense()) for block in rows.blocks()])
            size = float((np.sqrt(norms) * root).max(initial=0.0))
            self.error[0] = 4 * EPS * size * np.linalg.norm(factor.solution.coef, axis=0)

    def residual(self, z: Array, where: Any) -> Array:
        """Return weighted residuals of some rows."""
        return self._residual[where][:, None]

    def regularized(self, inside: Array, a: Array) -> Array:
        """Return what the regularizer has of directions."""
        return self._prior_rows @ inside


class SpectralHat(ProductHat):
    """Rows along singular vectors and along what is not penalized: many alphas.

    Parameters
    ----------
    rows : Rows
        Training rows.
    factor : SpectralFactor
        Their factor at any alpha.
    small_mean : bool
        Whether the mean may be subtracted from products instead of from rows.
    """

    doubtful_below = 1e-8

    def __init__(self, rows: Rows, factor: SpectralFactor, *, small_mean: bool = False) -> None:
        super().__init__(rows, factor.prior)
        spectrum, centre = factor.spectrum, factor.centre
        self.spectrum, self.centre, self.total = spectrum, centre, centre.weight
        self.left_over, n_free = spectrum.left_over, len(spectrum.free_rhs)
        self.n_fixed, rank = n_free + int(self.total > 0), len(spectrum.s)
        self.n_beyond, self.free = len(rows) - rank - self.n_fixed, slice(rank, rank + n_free)
        # With room for what is not penalized.
        self.s = np.append(spectrum.s, np.ones(self.n_fixed))
        self.rotated = np.zeros((len(self.s), rows.n_rhs))
        self.rotated[: rank + n_free] = np.vstack([spectrum.rotated, spectrum.free_rhs])
        empty = np.zeros((len(spectrum.vectors), self.n_fixed))
        self._vectors = np.hstack([spectrum.vectors, empty])
        self._start = -times(centre.mean[None], self._vectors) if small_mean else None
        self._rhs = rows.rhs - rows.intercept[:, None] * centre.rhs
        self._rhs *= np.sqrt(self.weight)[:, None]
        self.size = np.abs(self._rhs).max(axis=0, initial=0.0)

    def filter(self, alphas: Array) -> None:
        """Set what depends on the alphas."""
        self.width = len(self.s) * len(alphas)
        whole = self.spectrum.denominators(alphas)
        shrink = np.where(np.isinf(whole), 1.0, alphas / whole)
        fixed = np.ones((self.n_fixed, len(alphas)))
        self.inverse, self.shrink = np.vstack([1 / whole, fixed]), np.vstack([shrink, 0 * fixed])
        self.filtered = self.inverse[:, :, None] * (self.s[:, None] * self.rotated)[:, None]
        norms = np.linalg.norm(self.filtered[: len(whole)], axis=0)
        self.error = 4 * EPS * self.spectrum.s.max(initial=0.0) * norms

    def coordinates(self, rows: Rows) -> Array:
        """Return unweighted rows along singular vectors and along what is not penalized."""
        if self._start is not None:
            z = times(rows.dense(), self._vectors)
            z += self._start
        else:
            form, block = self.spectrum.form, rows.dense(copy=True)
            self.centre.subtract(block, rows.intercept)
            z = times(form.apply(block), self._vectors)
            z[:, self.free] = block @ form.free
        if self.total > 0:
            z[:, -1] = rows.intercept / np.sqrt(self.total)
        return z

    def residual(self, z: Array, where: Any) -> Array:
        """Return weighted residuals of some rows."""
        fitted = times(z, self.filtered.reshape(z.shape[1], -1))
        return self._rhs[where][:, None] - fitted.reshape(len(z), *self.error.shape)

    def regularized(self, inside: Array, a: Array) -> Array:
        """Return what the regularizer has of directions."""
        return np.asarray(np.sqrt(self.shrink.T)[a][:, :, None] * inside)

    def others(self, left: LeftBatch, share: Array) -> tuple[Array, Array]:
        """Return the diagonal of ``V.T (M @ M)_GG V``, and sums of squares of what stays.

        `share` of the weight is left out. Of many rows, a group does not make up the sum of
        squares: there both come from sums over all rows, as ``M - M @ M = Z @ diag(inverse *
        shrink) @ Z.T``.
        """
        members, form = left.members, self.inverse * self.shrink
        z, own = self.some(members.ravel()), left.residual * 1.0
        own *= np.sqrt(self.weight[members])[..., None, None]
        moved, rhs = own * share[..., None, None], self.s[:, None] * self.rotated
        if members.shape[1] == 1:
            pull = times(z, (form[:, :, None] * rhs[:, None]).reshape(len(rhs), -1))
            image = times(np.square(z, out=z), form)[:, :, None]
            moved = moved[:, 0]
            penalty = form.T @ rhs**2 - 2 * moved * pull.reshape(moved.shape) + moved**2 * image
        else:
            z = z.reshape(*members.shape, -1)
            turned = left.vectors.swapaxes(2, 3) @ z[:, None]
            image = np.einsum("majc,ca->maj", turned**2, form)
            rest = rhs.T - np.einsum("mkc,mkat->matc", z, moved, optimize=True)
            penalty = np.einsum("matc,ca->mat", rest**2, form)
        # The minimum of what is minimized drops by the product of what moves with its residuals.
        own = left.vectors.swapaxes(2, 3) @ own.swapaxes(1, 2)
        inverse, part = left.inverse, share[:, None]
        remains = np.where(inverse > 0, 1 / np.where(inverse > 0, inverse, 1.0), 0.0)
        drop = part * (2 * remains - part * left.remainder)
        rss = self.loss - np.einsum("maj,majt->mat", drop, own**2) - penalty
        return left.remainder - image, np.maximum(rss, 0.0)


def times(a: Array, b: Array) -> Array:
    """Return ``a @ b`` for C-contiguous matrices.

    By the library that factorizes as well: where calls of two libraries alternate, the idle threads
    of one get in the way of the other.
    """
    if 0 in (*a.shape, *b.shape):
        return np.zeros((a.shape[0], b.shape[1]))
    return np.asarray(dgemm(1.0, b.T, a.T).T)
