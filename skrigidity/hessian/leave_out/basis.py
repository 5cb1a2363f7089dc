"""The hat matrix of few rows, from an orthonormal basis of all of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Self

import numpy as np

from ..factor import RunningCentre
from ..prior import Prior, standard_form
from ..rows import EPS, Array, Rows, row_squares
from .hat import Hat, LeftBatch

# What eigenvalues of a Gram matrix must promise.
_PROMISED = 1e-8


class BasisHat(Hat):
    """An explicit root of I - P, for few rows: orthonormal left vectors of the weighted rows.

    Attributes
    ----------
    root, s : ndarray of shape (n, n - n_fixed) and (rank,)
        Left singular vectors of the penalized part, completed to a basis, and singular values.
    fixed : ndarray of shape (n, n_fixed)
        Basis of the unpenalized columns and the intercept.
    rotated : ndarray of shape (n - n_fixed, n_rhs)
        The weighted right-hand sides along `root`.
    """

    n_beyond, left_over = 0, 0.0
    kept: Array

    def __init__(self, rows: Rows, prior: Prior, lowest: float = 0.0) -> None:
        super().__init__(rows, prior)
        running = RunningCentre(rows.n_features + rows.n_rhs)
        features, rhs = np.hsplit(running.centred(rows), [rows.n_features])
        form, penalized, _, _ = standard_form(features, rhs, prior)
        self.fixed, self.total = features @ form.free, running.weight
        if self.total:
            constant = np.where(rows.intercept > 0, np.sqrt(self.weight / self.total), 0.0)
            self.fixed = np.column_stack([self.fixed, constant])
        self.still = ~(features.any(axis=1) | self.fixed.any(axis=1))
        self.n_fixed = self.fixed.shape[1]
        # Inside the complement of `fixed`, so that also vectors of tiny s stay orthogonal to it.
        complement = np.linalg.qr(self.fixed, mode="complete")[0][:, self.n_fixed :]
        left, self.s = _left_vectors(penalized, complement, form.n_penalized, lowest)
        self.root = complement @ left
        self.rotated = self.root.T @ rhs
        self.tolerance = max(features.shape) * EPS * float(self.s.max(initial=form.scale))

    def at(self, alphas: Array, out: Array | None = None) -> Self:
        """Return this at some alphas, leaving out a weight of each row, None all of it."""
        hat = super().at(alphas, out)
        hat.width = self.root.shape[1] * len(alphas)
        # s^2 where the rows determine anything.
        square = np.zeros((len(self.rotated), len(alphas)))
        unseen = (self.s <= self.tolerance)[:, None] & (alphas == 0)
        square[: len(self.s)] = np.where(unseen, 0.0, self.s[:, None] ** 2)
        whole = np.where(square > 0, square + alphas, 1.0)
        hat.shrink, hat.kept = np.where(square > 0, alphas / whole, 1.0), square / whole
        hat.error = 4 * EPS * (hat.shrink.T @ np.abs(self.rotated))
        return hat

    def rows_alone(self) -> Iterator[LeftBatch]:
        """Leave out all rows one by one."""
        h = self.root**2 @ self.kept + row_squares(self.fixed)[:, None]
        h[self.still] = 0.0
        remainder = self.root**2 @ self.shrink
        residual = np.einsum("ik,ka,kt->iat", self.root, self.shrink, self.rotated, optimize=True)
        yield self.rows_left(np.arange(len(h)), h, remainder, residual)

    def batch(self, members: Array) -> LeftBatch:
        """Leave out some groups of equal size."""
        own, fixed = self.root[members][:, None], self.fixed[members][:, None]
        shrink = np.sqrt(self.shrink.T)
        wide = members.shape[1] > own.shape[3]
        vectors, s, vt = np.linalg.svd(own * shrink[:, None], full_matrices=wide)
        rank = s.shape[-1]
        remainder = np.zeros(vectors.shape[:-1])
        remainder[..., :rank] = s**2
        turned = np.zeros((*remainder.shape, self.rotated.shape[1]))
        rhs = shrink[..., None] * self.rotated
        turned[..., :rank, :] = s[..., None] * (vt[..., :rank, :] @ rhs)
        back = vectors.swapaxes(2, 3)
        p = np.einsum("majc,ca->maj", (back @ own) ** 2, self.kept)
        p += ((back @ fixed) ** 2).sum(axis=3)
        return self.left(members, p, vectors, remainder, turned, self.still[members])

    def others(self, left: LeftBatch, share: Array) -> tuple[Array, Array]:
        """Return the diagonal of ``V.T (M @ M)_GG V``, and sums of squares of what stays.

        `share` of the weight is left out. With M the products of `root` no digit is lost.
        """
        root, k = self.root[left.members], share.shape[1]
        turned = root[:, None] if k == 1 else left.vectors.swapaxes(2, 3) @ root[:, None]
        square = np.einsum("majc,ca->maj", turned**2, self.shrink**2, optimize=True)
        moved = left.residual * (share * np.sqrt(self.weight[left.members]))[..., None, None]
        rss = np.empty((len(root), *moved.shape[2:]))
        for a, t in np.ndindex(rss.shape[1:]):
            rest = self.rotated[:, t] - np.einsum("mkc,mk->mc", root, moved[:, :, a, t])
            rss[:, a, t] = row_squares(rest * self.shrink[:, a])
        return square, rss


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
    left, s, _ = np.linalg.svd(inside)
    return left, s[:rank]
