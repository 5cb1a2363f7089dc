"""Hat matrices: what the fit makes of its own rows, and what it leaves of them.

With the hat matrix P of the weighted rows, leaving out the rows of a group G turns their
residuals into ``(I - P_GG)^-1 e_G`` and the quadratic forms of their own predictions into
``P_GG (I - P_GG)^-1``. Where a group determines a direction nearly alone, I - P_GG nearly
vanishes: it is summed from squares here, never subtracted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any

import numpy as np
from scipy.linalg.blas import dgemm

from ..factor import Centre, Factor, RunningCentre, Solution
from ..prior import Prior, standard_form
from ..rows import EPS, Array, Rows, row_squares
from ..spectral import Spectrum

# An eigenvalue of P_GG above this is subtracted from 1 by way of squares.
_CLOSE_TO_ONE = 0.9
# Whitened rows of up to so many entries are kept, more are made again for every use.
_KEPT_ENTRIES = 2**24
_AT_A_TIME = 256
# What eigenvalues of a Gram matrix must promise.
_PROMISED = 1e-8


class Hat:
    """Hat matrix of weighted rows: its blocks, and what is left of the identity."""

    root_weight: Array
    residual: Array  # weighted, (n, n_rhs)
    negligible: float
    still: Any = slice(0, 0)  # rows that cannot move, not by rounding either

    # A subclass has these two, where no 1 - p is a difference of larger numbers: the diagonal h of
    # P and 1 - h; of a group, eigenvalues p and vectors of P_GG, 1 - p, and the residuals along the
    # vectors.
    leverages: Callable[[], tuple[Array, Array]]
    block: Callable[[Array], tuple[Array, Array, Array, Array]]

    def solve(self, groups: list[Array]) -> tuple[Array, Array, Array]:
        """Return residuals and forms of all rows without their groups, and least 1 - p of each."""
        n = len(self.residual)
        residual, quad, least = np.empty_like(self.residual), np.empty(n), np.empty(n)
        alone = np.array([g[0] for g in groups if len(g) == 1], dtype=int)
        if len(alone):
            h, remainder = (part[alone] for part in self.leverages())
            safe = np.where(remainder <= self.negligible, np.inf, remainder)
            # A leverage of 1: nothing else pins the row, whoever asks fits again without it.
            residual[alone] = self.residual[alone] / safe[:, None]
            quad[alone] = np.where(remainder <= self.negligible, np.inf, h / safe)
            least[alone] = remainder
        for group in groups:
            if len(group) <= 1:
                continue
            p, vectors, remainder, turned = self.block(group)
            lost = remainder <= self.negligible
            inverse = np.where(lost, 0.0, 1 / np.where(lost, 1.0, remainder))
            residual[group] = vectors @ (inverse[:, None] * turned)
            quad[group] = vectors**2 @ (p * inverse)
            touched = (vectors[:, lost] ** 2).sum(axis=1) > self.negligible
            quad[group[touched]] = np.inf
            least[group] = remainder.min()
        quad[self.still] = 0.0
        return residual / self.root_weight[:, None], quad / self.root_weight**2, least

    def residual_error(self) -> Array:
        """Estimate the absolute error of the weighted residuals, per right-hand side."""
        return np.zeros(self.residual.shape[1])


class LeftBasis:
    """Orthonormal left vectors of weighted rows: of penalized, of free and of no directions.

    Attributes
    ----------
    left, s : ndarray of shape (n, rank) and (rank,)
        Left singular vectors and singular values of the penalized part.
    fixed : ndarray of shape (n, n_fixed)
        Basis of the unpenalized columns and the intercept.
    remainder : ndarray of shape (n, n - rank - n_fixed)
        Basis of everything that the model cannot fit.
    rotated, remainder_rhs : ndarray of shape (rank, n_rhs) and (n - rank - n_fixed, n_rhs)
        The weighted right-hand sides along `left` and `remainder`.
    """

    def __init__(self, rows: Rows, prior: Prior, lowest: float = 0.0) -> None:
        n, d = len(rows), rows.n_features
        running = RunningCentre(d)
        features = running.centred(rows)
        rhs = RunningCentre(rows.n_rhs).centred(rows, rows.rhs)
        form, penalized, _, _ = standard_form(features, rhs, prior)
        parts = [features @ form.free]
        self.total = running.weight
        if running.weight:
            weight = np.ones(n) if rows.weight is None else rows.weight
            constant = np.where(rows.intercept > 0, np.sqrt(weight / running.weight), 0.0)
            parts.append(constant[:, None])
        self.form = form
        self.fixed = np.hstack(parts)
        self.still = ~(features.any(axis=1) | self.fixed.any(axis=1))
        # Inside the complement of `fixed`, so that also vectors of tiny s stay orthogonal to it.
        complement = np.linalg.qr(self.fixed, mode="complete")[0][:, self.fixed.shape[1] :]
        left, self.s = _left_vectors(penalized, complement, form.n_penalized, lowest)
        rank, left = len(self.s), complement @ left
        self.left, self.remainder = left[:, :rank], left[:, rank:]
        self.rotated, self.remainder_rhs = self.left.T @ rhs, self.remainder.T @ rhs
        self.left_over = row_squares(self.remainder_rhs.T)
        self.tolerance = max(n, d) * EPS * float(self.s.max(initial=form.scale))

    def shrink(self, alphas: Array) -> Array:
        """Return ``alpha / (s_k^2 + alpha)``; 1 for what the data do not determine at alpha 0."""
        return shrinkage(self.s, self.tolerance, alphas)

    def fitted(self, alphas: Array) -> tuple[Array, Array, Array, Array]:
        """Return leverages h, 1 - h, weighted residuals and their error, at every alpha.

        Of shapes (n, n_alphas) twice, (n, n_alphas, n_rhs) and (n_alphas, n_rhs).
        """
        shrink, squares = self.shrink(alphas), self.left**2
        h = squares @ self.kept(alphas) + row_squares(self.fixed)[:, None]
        remainder = squares @ shrink + row_squares(self.remainder)[:, None]
        residual = np.einsum("ik,ka,kt->iat", self.left, shrink, self.rotated, optimize=True)
        residual += (self.remainder @ self.remainder_rhs)[:, None, :]
        error = shrink.T @ np.abs(self.rotated) + np.linalg.norm(self.remainder_rhs, axis=0)
        return h, remainder, residual, 4 * EPS * error

    def kept(self, alphas: Array) -> Array:
        """Return ``s_k^2 / (s_k^2 + alpha)``, which is 1 - `shrink`, without cancellation."""
        unseen = (self.s <= self.tolerance)[:, None] & (alphas == 0)
        square = self.s[:, None] ** 2
        return np.asarray(np.where(unseen, 0.0, square / np.where(unseen, 1.0, square + alphas)))


class BasisHat(Hat):
    """An explicit root of I - P, for few rows."""

    def __init__(self, rows: Rows, prior: Prior) -> None:
        weight = np.ones(len(rows)) if rows.weight is None else rows.weight
        self.root_weight = np.sqrt(weight)
        basis, alphas = LeftBasis(rows, prior), np.array([prior.alpha])
        h, remainder, residual, error = basis.fitted(alphas)
        self.h, self.remainder, self.residual, self.error = (
            h[:, 0],
            remainder[:, 0],
            residual[:, 0],
            error[0],
        )
        self.still = basis.still
        shrink = np.sqrt(basis.shrink(alphas)[:, 0])
        self.hat_root = np.hstack([basis.left * np.sqrt(basis.kept(alphas)[:, 0]), basis.fixed])
        self.remainder_root = np.hstack([basis.left * shrink, basis.remainder])
        self.remainder_rhs = np.vstack([shrink[:, None] * basis.rotated, basis.remainder_rhs])
        self.negligible = (10 * max(len(rows), rows.n_features) * EPS) ** 2

    def leverages(self) -> tuple[Array, Array]:
        """Return the diagonal h of P and, without cancellation, 1 - h."""
        return self.h, self.remainder

    def residual_error(self) -> Array:
        """Estimate the absolute error of the weighted residuals, per right-hand side."""
        return self.error

    def block(self, members: Array) -> tuple[Array, Array, Array, Array]:
        """Return eigenvalues p and vectors of P_GG, 1 - p, and the residuals along them."""
        vectors, s, vt = np.linalg.svd(self.remainder_root[members], full_matrices=False)
        vectors = completed(vectors)
        remainder = np.zeros(len(members))
        remainder[: len(s)] = s**2
        turned = np.zeros((len(members), self.remainder_rhs.shape[1]))
        turned[: len(s)] = s[:, None] * (vt @ self.remainder_rhs)
        return row_squares(vectors.T @ self.hat_root[members]), vectors, remainder, turned

    def without(
        self, group: Array, tau: Array, vectors: Array, values: Array
    ) -> tuple[Array, float]:
        """Return residuals and their degrees of freedom without a group.

        From ``M = B @ B.T``, the columns of B being orthogonal. `tau` are the
        group's own residuals then, the others are what `block` returns.
        """
        root, kept = self.remainder_root, values > 0
        norms = np.einsum("ij,ij->j", root, root)
        taken = (vectors.T @ root[group]) ** 2 @ norms
        drop = (taken[kept] / values[kept]).sum()
        return root @ (self.remainder_rhs - root[group].T @ tau), float(norms.sum() - drop)


class FactorHat(Hat):
    """Whitened rows Z, P = Z Z.T, and P - P^2 from squares where P is close to 1."""

    def __init__(self, rows: Rows, factor: Factor) -> None:
        weight = np.ones(len(rows)) if rows.weight is None else rows.weight
        self.rows, self.factor = rows, factor
        self.root_weight = np.sqrt(weight)
        self.residual = np.zeros((len(rows), 0))
        if rows.n_rhs:
            self.residual = residuals(rows, factor.solution) * self.root_weight[:, None]
        root = factor.prior.root(rows.n_features)
        self.prior_z = factor.whiten(Rows(root)) if len(root) else np.zeros((0, 1))
        self.negligible = (10 * len(rows) * EPS) ** 2
        kept = len(rows) * rows.n_features <= _KEPT_ENTRIES
        self._z = np.concatenate([z for _, z in self._made()]) if kept else None
        if self._z is not None:
            self.still = ~self._z.any(axis=1)

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

    def leverages(self) -> tuple[Array, Array]:
        """Return the diagonal h of P and, without cancellation, 1 - h."""
        h = np.concatenate([row_squares(z) for _, z in self.blocks()])
        remainder = 1 - h
        high = np.flatnonzero(h > _CLOSE_TO_ONE)
        for start in range(0, len(high), _AT_A_TIME):
            part = high[start : start + _AT_A_TIME]
            _, squares = self.behind(self.some(part).T, part, alone=True)
            remainder[part] = squares / h[part]
        return h, remainder

    def behind(self, inside: Array, members: Array, *, alone: bool = False) -> tuple[Array, Array]:
        """Return what other rows and the regularizer have of whitened directions.

        As the triangular factor of all such parts, and as their squares; `alone`: every direction
        goes with one row, which is no other row to it only.
        """
        below = self.prior_z @ inside if len(self.prior_z) else np.zeros((0, inside.shape[1]))
        squares, triangle = np.einsum("ij,ij->j", below, below), below
        for piece, z in self.blocks():
            part = z @ inside
            own = np.flatnonzero((members >= piece.start) & (members < piece.stop))
            part[members[own] - piece.start, own if alone else slice(None)] = 0.0
            squares += np.einsum("ij,ij->j", part, part)
            if not alone:
                triangle = np.linalg.qr(np.vstack([triangle, part]), mode="r")
        return triangle, squares

    def block(self, members: Array) -> tuple[Array, Array, Array, Array]:
        """Return eigenvalues p and vectors of P_GG, 1 - p, and the residuals along them."""
        vectors, s, vt = np.linalg.svd(self.some(members), full_matrices=False)
        vectors = completed(vectors)
        p = np.zeros(len(members))
        p[: len(s)] = s**2
        remainder = 1 - p
        close = p > _CLOSE_TO_ONE
        if close.any():
            # Eigenvalues that agree to the last digit may differ in what they leave of 1: the
            # squares of what stays behind tell their directions apart.
            triangle, _ = self.behind(vt[close[: len(s)]].T, members)
            _, left, turn = np.linalg.svd(triangle, full_matrices=False)
            remainder[close] = 0.0
            remainder[np.flatnonzero(close)[: len(left)]] = left**2
            p[close] = 1 - remainder[close]
            vectors[:, close] = vectors[:, close] @ turn.T
        return p, vectors, remainder, vectors.T @ self.residual[members]

    def without(
        self, group: Array, tau: Array, vectors: Array, values: Array
    ) -> tuple[Array, float]:
        """Return the same from ``P = Z @ Z.T``, of which ``P - P @ P = Z @ Q.T @ Q @ Z.T``."""
        own, kept = self.some(group), values > 0
        moved = np.concatenate([z @ (own.T @ tau) for _, z in self.blocks()])
        image = self.prior_z @ (own.T @ vectors[:, kept])
        drop = kept.sum() - (np.einsum("ij,ij->j", image, image) / values[kept]).sum()
        return self.residual + moved, float(len(moved) - self.trace - drop)

    @cached_property
    def trace(self) -> float:
        """The trace of P."""
        return float(sum(np.einsum("ij,ij->", z, z) for _, z in self.blocks()))

    def residual_error(self) -> Array:
        """Estimate the absolute error of the weighted residuals, per right-hand side."""
        if self.factor.solution is None or self.rows.n_features == 0:
            return np.zeros(self.residual.shape[1])
        norms = np.concatenate([row_squares(block.dense()) for block in self.rows.blocks()])
        size = float((np.sqrt(norms) * self.root_weight).max(initial=0.0))
        return 4 * EPS * size * np.linalg.norm(self.factor.solution.coef, axis=0)


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


def shrinkage(s: Array, tolerance: float, alphas: Array) -> Array:
    """Return ``alpha / (s_k^2 + alpha)`` of shape (len(s), n_alphas)."""
    unseen = (s <= tolerance)[:, None] & (alphas == 0)
    square = np.where(unseen, 1.0, s[:, None] ** 2)
    return np.asarray(np.where(unseen, 1.0, alphas / (square + alphas)))


def coordinates(rows: Rows, spectrum: Spectrum, centre: Centre) -> tuple[Array, Array]:
    """Return unweighted rows along the singular vectors, and along what is not penalized."""
    block = rows.dense(copy=True)
    centre.subtract(block, rows.intercept)
    parts = [block @ spectrum.form.free]
    if centre.weight > 0:
        parts.append((rows.intercept / np.sqrt(centre.weight))[:, None])
    return times(spectrum.form.apply(block), spectrum.vectors), np.hstack(parts)


def members_of(labels: Array) -> list[Array]:
    """Return the rows of every group, by its label from 0."""
    order = np.argsort(labels, kind="stable")
    return np.split(order, np.cumsum(np.bincount(labels))[:-1])


def _left_vectors(
    rows: Array, complement: Array, n_penalized: int, lowest: float
) -> tuple[Array, Array]:
    """Return all left singular vectors of ``complement.T @ rows``, and the values that are not 0.

    From the Gram matrix where its rounding is nothing to the lowest regularizer.
    """
    rank = min(complement.shape[1], n_penalized)
    if lowest > 0 and rank:
        values, vectors = np.linalg.eigh(complement.T @ (rows @ rows.T) @ complement)
        values = np.maximum(values[::-1][:rank], 0.0)
        if EPS * values[0] <= _PROMISED * (values[-1] + lowest):
            return vectors[:, ::-1], np.sqrt(values)
    inside = complement.T @ rows
    if len(inside) < inside.shape[1]:
        inside = np.asarray(np.linalg.qr(inside.T, mode="r")).T
    left, s, _ = np.linalg.svd(inside, full_matrices=False)
    return completed(left), s[:rank]


def completed(vectors: Array) -> Array:
    """Return orthonormal columns extended to a basis of the whole space."""
    n, k = vectors.shape
    if k == n:
        return vectors
    return np.hstack([vectors, np.linalg.qr(vectors, mode="complete")[0][:, k:]])


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
