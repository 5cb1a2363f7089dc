"""The hat matrices of many rows, from coordinates in which they are products."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from scipy.linalg.blas import dgemm

from ..factor import Centre, Factor, Solution
from ..rows import EPS, Array, Rows, row_squares
from ..spectral import Spectrum
from .hat import Block, Hat, LeftBatch

# An eigenvalue of P_GG above this is subtracted from 1 by way of squares.
_CLOSE_TO_ONE = 0.9
# Whitened rows of up to so many entries are kept, more are made again for every use.
_KEPT_ENTRIES = 2**24
# Leave-out residuals whose estimated errors are larger than this, relatively, are doubtful.
DOUBTFUL, _NEXT_TO_NOTHING = 1e-9, 1e-8


class ProductHat(Hat):
    """Weighted rows Z with ``P = Z @ diag(inverse) @ Z.T``, at every alpha.

    And P - P^2 from squares of products with other rows and with the regularizer, where P is close
    to 1.
    """

    inverse: Array  # (width, n_alphas)
    error: Array
    # A subclass has these: Z in blocks and in parts; weighted residuals that go with some of it;
    # and what the regularizer has of directions of shape (m, width, j), at an alpha each.
    blocks: Callable[[], Iterator[tuple[slice, Array]]]
    some: Callable[[Array], Array]
    residual: Callable[[Array, Any], Array]
    regularized: Callable[[Array, Array], Array]

    def rows_alone(self) -> Iterator[Block]:
        """Iterate over all rows as groups of one, those of high leverage last."""
        high = []
        for piece, z in self.blocks():
            residual, h = self.residual(z, piece), self.leverages(z)
            near = (h > _CLOSE_TO_ONE).any(axis=1)
            members = np.arange(piece.start, piece.stop)
            high.append(members[near])
            low = ~near if near.any() else slice(None)
            members, h, residual = members[low], h[low], residual[low]
            yield Block.of_rows(members, h, 1 - h, residual)
        yield from self.batches(np.concatenate(high)[:, None])

    def leverages(self, z: Array) -> Array:
        """Return the diagonal of P for some rows, which are no longer needed."""
        return times(np.square(z, out=z), self.inverse)

    def block(self, members: Array) -> Block:
        """Return the blocks of some groups of equal size."""
        z = self.some(members.ravel())
        residual = self.residual(z, members.ravel()).reshape(*members.shape, *self.error.shape)
        own = z.reshape(len(members), 1, members.shape[1], -1) * np.sqrt(self.inverse.T)[:, None]
        vectors, s, vt = np.linalg.svd(own, full_matrices=own.shape[2] > own.shape[3])
        p = np.zeros(vectors.shape[:-1])
        p[..., : s.shape[-1]] = s**2
        remainder = 1 - p
        # Eigenvalues that agree to the last digit may differ in what they leave of 1: the squares
        # of what stays behind tell their directions apart. Those close to 1 come first.
        n_close = (p > _CLOSE_TO_ONE).sum(axis=-1)
        cases = [(j, *np.nonzero(n_close == j)) for j in np.unique(n_close[n_close > 0])]
        inside = [vt[g, a, :j].swapaxes(1, 2) for j, g, a in cases]
        for (j, g, a), triangle in zip(cases, self._behind(inside, cases, members), strict=True):
            _, left, turn = np.linalg.svd(triangle)
            remainder[g, a, :j] = left**2
            p[g, a, :j] = 1 - left**2
            vectors[g, a, :, :j] = vectors[g, a, :, :j] @ turn.swapaxes(1, 2)
        turned = vectors.swapaxes(2, 3) @ residual.swapaxes(1, 2)
        still = ~z.any(axis=1).reshape(members.shape)
        return Block(members, p, vectors, remainder, turned, still, self.error)

    def _behind(self, inside: list[Array], cases: list[Any], members: Array) -> list[Array]:
        """Return triangular factors of what other rows and the regularizer have of directions."""
        found, flat = [], []
        for part, (_, _, a) in zip(inside, cases, strict=True):
            found.append(self.regularized(part, a))
            scaled = part * np.sqrt(self.inverse.T)[a][:, :, None]
            flat.append(np.hstack(list(scaled)))
        for piece, z in self.blocks() if cases else ():
            for i, (j, g, _) in enumerate(cases):
                part = times(z, flat[i]).reshape(len(z), len(g), j).swapaxes(0, 1)
                own = members[g]
                group, place = np.nonzero((own >= piece.start) & (own < piece.stop))
                part[group, own[group, place] - piece.start] = 0.0
                found[i] = np.linalg.qr(np.concatenate([found[i], part], axis=1), mode="r")
        return found


class FactorHat(ProductHat):
    """The whitened rows of a factor: one alpha."""

    def __init__(self, rows: Rows, factor: Factor) -> None:
        self.rows, self.factor = rows, factor
        self.weight = np.ones(len(rows)) if rows.weight is None else rows.weight
        self.root_weight = np.sqrt(self.weight)
        self._residual, self.error = np.zeros((len(rows), 0)), np.zeros((1, rows.n_rhs))
        if factor.solution is not None:
            self._residual = residuals(rows, factor.solution) * self.root_weight[:, None]
            self.size = np.abs(self._residual).max(axis=0, initial=0.0)
        if self.error.size and rows.n_features:
            norms = np.concatenate([row_squares(block.dense()) for block in rows.blocks()])
            size = float((np.sqrt(norms) * self.root_weight).max(initial=0.0))
            self.error[0] = 4 * EPS * size * np.linalg.norm(factor.solution.coef, axis=0)
        self._root = factor.whiten(Rows(factor.prior.root(rows.n_features)))
        self.width, self.inverse = rows.n_features + 1, np.ones((1, 1))
        self.negligible = (10 * len(rows) * EPS) ** 2
        self.doubtful_below = (factor.info.accuracy / DOUBTFUL) ** 2
        kept = len(rows) * rows.n_features <= _KEPT_ENTRIES
        self._z = np.concatenate([z for _, z in self._made()]) if kept else None

    def _made(self) -> Iterator[tuple[slice, Array]]:
        for piece, block in self.rows.numbered():
            yield piece, self.factor.whiten(block) * self.root_weight[piece, None]

    def blocks(self) -> Iterator[tuple[slice, Array]]:
        """Iterate over the whitened, weighted rows."""
        return self._made() if self._z is None else iter([(slice(0, len(self._z)), self._z)])

    def some(self, members: Array) -> Array:
        """Return some of the whitened, weighted rows."""
        if self._z is not None:
            return self._z[members]
        z = self.factor.whiten(self.rows[members])
        return np.asarray(z * self.root_weight[members, None])

    def leverages(self, z: Array) -> Array:
        """Return the diagonal of P for some rows."""
        return row_squares(z)[:, None]

    def residual(self, z: Array, where: Any) -> Array:
        """Return weighted residuals of some rows."""
        return self._residual[where][:, None]

    def regularized(self, inside: Array, a: Array) -> Array:
        """Return what the regularizer has of directions."""
        return self._root @ inside if len(self._root) else inside[:, :0]


class SpectralHat(ProductHat):
    """Rows along singular vectors: many alphas.

    Parameters
    ----------
    rows : Rows
        Training rows.
    coordinates : Coordinates
        What they are along singular vectors and unpenalized directions.
    alphas : ndarray of shape (n_alphas,)
        Regularization strengths.
    """

    doubtful_below = _NEXT_TO_NOTHING

    def __init__(self, rows: Rows, coordinates: Coordinates, alphas: Array) -> None:
        self.rows, self.coordinates = rows, coordinates
        self.weight = np.ones(len(rows)) if rows.weight is None else rows.weight
        self.root_weight = np.sqrt(self.weight)
        self.shrink, self.inverse = coordinates.shrinkage(alphas)
        rhs = coordinates.s[:, None] * coordinates.rotated
        filtered = self.inverse[:, :, None] * rhs[:, None]
        self._filtered = filtered.reshape(len(filtered), -1)
        moved = np.abs(rows.rhs - coordinates.rhs_mean) * self.root_weight[:, None]
        self.size = moved.max(axis=0, initial=0.0)
        self.error = 4 * EPS * coordinates.s.max(initial=0.0) * np.linalg.norm(filtered, axis=0)
        self.width = len(filtered) * len(alphas)
        self.negligible = (10 * max(len(rows), rows.n_features) * EPS) ** 2

    def blocks(self) -> Iterator[tuple[slice, Array]]:
        """Iterate over the weighted rows in these coordinates, in memory that is used again."""
        room = np.empty((0, 0))
        for piece, rows in self.rows.numbered():
            room = np.empty((len(rows), len(self.inverse))) if len(rows) > len(room) else room
            yield piece, self._weighted(self.coordinates(rows, room), piece)

    def some(self, members: Array) -> Array:
        """Return some of the weighted rows in these coordinates."""
        return self._weighted(self.coordinates(self.rows[members]), members)

    def _weighted(self, z: Array, where: Any) -> Array:
        if self.rows.weight is not None:
            z *= self.root_weight[where, None]
        return z

    def residual(self, z: Array, where: Any) -> Array:
        """Return weighted residuals of some rows."""
        rhs = self.rows.rhs[where] - self.rows.intercept[where, None] * self.coordinates.rhs_mean
        rhs *= self.root_weight[where, None]
        return rhs[:, None] - times(z, self._filtered).reshape(len(z), *self.error.shape)

    def regularized(self, inside: Array, a: Array) -> Array:
        """Return what the regularizer has of directions."""
        return np.asarray(np.sqrt(self.shrink.T)[a][:, :, None] * inside)

    def others(self, left: LeftBatch, moved: Array) -> tuple[Array, Array]:
        """Return the diagonal of ``V.T (M @ M)_GG V`` and ``|M (y - E_G tau)|**2``.

        `moved` is tau. Of many rows, one does not make up the sum of squares: there both come from
        products, as ``M - M @ M = P - P @ P = Z @ diag(inverse * shrink) @ Z.T``.
        """
        form = self.inverse * self.shrink
        rss = np.zeros((len(moved), *moved.shape[2:]))
        if len(moved) == len(self.rows):
            image, twice = np.empty_like(left.remainder[..., 0]), np.empty_like(rss)
            filtered = self._filtered * np.repeat(self.shrink, moved.shape[3], axis=1)
            whole = np.zeros(self.error.shape)
            for piece, z in self.blocks():
                residual = self.residual(z, piece)
                whole += np.einsum("iat,iat->at", residual, residual)
                twice[piece] = residual - times(z, filtered).reshape(residual.shape)
                image[piece] = times(np.square(z, out=z), form)
            square, moved = left.remainder - image[..., None], moved[:, 0]
            rss = whole - 2 * moved * twice + moved**2 * square
            return square, np.maximum(rss, 0.0)
        own = self.some(left.members.ravel()).reshape(*left.members.shape, -1)
        image = np.einsum("makj,mkc->majc", left.vectors, own)
        square = left.remainder - np.einsum("majc,ca->maj", image**2, form)
        pull = np.einsum("mkc,mkat->cmat", own, moved, optimize=True)
        pull *= self.inverse[:, None, :, None]
        for piece, z in self.blocks():
            rest = self.residual(z, piece)[:, None]
            rest = rest + times(z, pull.reshape(len(pull), -1)).reshape(len(z), *rss.shape)
            group, place = np.nonzero((left.members >= piece.start) & (left.members < piece.stop))
            rest[left.members[group, place] - piece.start, group] = 0.0
            rss += np.einsum("imat,imat->mat", rest, rest)
        return square, rss


class Coordinates:
    """Unweighted rows along singular vectors, and along what is not penalized.

    Parameters
    ----------
    spectrum : Spectrum
        Singular values and vectors.
    centre : Centre
        Mean of the training rows.
    rhs_mean : ndarray of shape (n_rhs,)
        Mean of their right-hand sides.
    small_mean : bool
        Whether the mean may be subtracted from products instead of from rows.
    """

    def __init__(
        self, spectrum: Spectrum, centre: Centre, rhs_mean: Array, *, small_mean: bool = False
    ) -> None:
        self.spectrum, self.centre, self.rhs_mean = spectrum, centre, rhs_mean
        self.small_mean, self.total, self.left_over = small_mean, centre.weight, spectrum.left_over
        self.n_free, self.rank = spectrum.form.n_free, len(spectrum.s)
        self.n_fixed = self.n_free + int(self.total > 0)
        # With room for what is not penalized.
        self.s = np.append(spectrum.s, np.ones(self.n_fixed))
        self.rotated = np.zeros((len(self.s), spectrum.rotated.shape[1]))
        self.rotated[: self.rank + self.n_free] = np.vstack([spectrum.rotated, spectrum.free_rhs])
        empty = np.zeros((len(spectrum.vectors), self.n_fixed))
        self._vectors = np.hstack([spectrum.vectors, empty])
        self._start = -times(centre.mean[None], self._vectors) if small_mean else empty

    def shrinkage(self, alphas: Array) -> tuple[Array, Array]:
        """Return ``alpha / (s_k^2 + alpha)`` and ``1 / (s_k^2 + alpha)``.

        1 and 0 where alpha = 0 sees nothing, 0 and 1 for what is not penalized.
        """
        whole = self.spectrum.denominators(alphas)
        shrink = np.where(np.isinf(whole), 1.0, alphas / whole)
        fixed = np.ones((self.n_fixed, len(alphas)))
        return np.vstack([shrink, 0 * fixed]), np.vstack([1 / whole, fixed])

    def __call__(self, rows: Rows, room: Array | None = None) -> Array:
        """Return coordinates of rows, in `room` where that is enough."""
        if self.small_mean:
            z = np.empty((len(rows), len(self.s))) if room is None else room[: len(rows)]
            z[...] = self._start
            z = times(rows.dense(), self._vectors, z)
        else:
            form, block = self.spectrum.form, rows.dense(copy=True)
            self.centre.subtract(block, rows.intercept)
            z = times(form.apply(block), self._vectors)
            z[:, self.rank : self.rank + self.n_free] = block @ form.free
        if self.total > 0:
            z[:, -1] = rows.intercept / np.sqrt(self.total)
        return z


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


def times(a: Array, b: Array, out: Array | None = None) -> Array:
    """Return ``a @ b``, or that added to `out`, for C-contiguous matrices.

    By the library that factorizes as well: where calls of two libraries alternate, the idle threads
    of one get in the way of the other.
    """
    if 0 in (*a.shape, *b.shape):
        return np.zeros((a.shape[0], b.shape[1])) if out is None else out
    if out is None:
        return np.asarray(dgemm(1.0, b.T, a.T).T)
    return np.asarray(dgemm(1.0, b.T, a.T, beta=1.0, c=out.T, overwrite_c=1).T)
