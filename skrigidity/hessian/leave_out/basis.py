"""The hat matrix of few rows, from an orthonormal basis of all of them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..factor import RunningCentre
from ..prior import Prior, standard_form
from ..rows import EPS, Array, Rows, row_squares
from .hat import Block, Hat, LeftBatch

# What eigenvalues of a Gram matrix must promise.
_PROMISED = 1e-8


class LeftBasis:
    """Orthonormal left vectors of weighted rows: of free directions, and of all others.

    Attributes
    ----------
    root, s : ndarray of shape (n, n - n_fixed) and (rank,)
        Left singular vectors of the penalized part, completed to a basis, and singular values.
    fixed : ndarray of shape (n, n_fixed)
        Basis of the unpenalized columns and the intercept.
    rotated : ndarray of shape (n - n_fixed, n_rhs)
        The weighted right-hand sides along `root`.
    """

    left_over = 0.0

    def __init__(self, rows: Rows, prior: Prior, lowest: float = 0.0) -> None:
        n, d = len(rows), rows.n_features
        running = RunningCentre(d)
        features = running.centred(rows)
        rhs = RunningCentre(rows.n_rhs).centred(rows, rows.rhs)
        self.form, penalized, _, _ = standard_form(features, rhs, prior)
        parts = [features @ self.form.free]
        self.total = running.weight
        weight = np.ones(n) if rows.weight is None else rows.weight
        if running.weight:
            constant = np.where(rows.intercept > 0, np.sqrt(weight / running.weight), 0.0)
            parts.append(constant[:, None])
        self.fixed = np.hstack(parts)
        self.n_fixed = self.fixed.shape[1]
        self.weight = weight
        self.still = ~(features.any(axis=1) | self.fixed.any(axis=1))
        # Inside the complement of `fixed`, so that also vectors of tiny s stay orthogonal to it.
        complement = np.linalg.qr(self.fixed, mode="complete")[0][:, self.n_fixed :]
        left, self.s = _left_vectors(penalized, complement, self.form.n_penalized, lowest)
        self.root = complement @ left
        self.rotated = self.root.T @ rhs
        self.tolerance = max(n, d) * EPS * float(self.s.max(initial=self.form.scale))
        self.negligible = (10 * max(n, d) * EPS) ** 2

    def shrinkage(self, alphas: Array) -> tuple[Array, Array]:
        """Return ``alpha / (s_k^2 + alpha)`` and 1 minus that, without cancellation.

        Of shape (n - n_fixed, n_alphas); s = 0 for what the rows do not determine.
        """
        square = np.zeros((len(self.rotated), len(alphas)))
        square[: len(self.s)] = self.s[:, None] ** 2
        square[: len(self.s)][(self.s <= self.tolerance)[:, None] & (alphas == 0)] = 0.0
        seen = square > 0
        whole = np.where(seen, square + alphas, 1.0)
        return np.where(seen, alphas / whole, 1.0), square / whole


class BasisHat(Hat):
    """An explicit root of I - P, for few rows."""

    def __init__(self, basis: LeftBasis, alphas: Array) -> None:
        self.basis = basis
        self.shrink, self.kept = basis.shrinkage(alphas)
        self.weight = basis.weight
        self.negligible, self.width = basis.negligible, basis.root.shape[1] * len(alphas)
        self.error = 4 * EPS * (self.shrink.T @ np.abs(basis.rotated))

    def rows_alone(self) -> Iterator[Block]:
        """Yield all rows as groups of one."""
        root, rotated, fixed = self.basis.root, self.basis.rotated, self.basis.fixed
        h = root**2 @ self.kept + row_squares(fixed)[:, None]
        residual = np.einsum("ik,ka,kt->iat", root, self.shrink, rotated, optimize=True)
        yield Block.of_rows(np.arange(len(root)), h, root**2 @ self.shrink, residual, self.error)

    def block(self, members: Array) -> Block:
        """Return the blocks of some groups of equal size."""
        own, fixed = self.basis.root[members][:, None], self.basis.fixed[members][:, None]
        shrink = np.sqrt(self.shrink.T)
        k = members.shape[1]
        scaled = own * shrink[:, None]
        vectors, s, vt = np.linalg.svd(scaled, full_matrices=k > own.shape[-1])
        rank = s.shape[-1]
        remainder = np.zeros(vectors.shape[:-1])
        remainder[..., :rank] = s**2
        turned = np.zeros((*remainder.shape, self.basis.rotated.shape[1]))
        rhs = shrink[..., None] * self.basis.rotated
        turned[..., :rank, :] = s[..., None] * (vt[..., :rank, :] @ rhs)
        back = vectors.swapaxes(2, 3)
        p = np.einsum("majc,ca->maj", (back @ own) ** 2, self.kept)
        p += ((back @ fixed) ** 2).sum(axis=-1)
        still = self.basis.still[members]
        return Block(members, p, vectors, remainder, turned, still, self.error)

    def others(self, left: LeftBatch, moved: Array) -> tuple[Array, Array]:
        """Return the diagonal of ``V.T (M @ M)_GG V`` and ``|M (y - E_G tau)|**2``.

        `moved` is tau. With M the columns of `root` times their shrinkage no digit is lost.
        """
        root = self.basis.root[left.members]
        if root.shape[1] == 1:
            square = (root[:, 0] ** 2 @ self.shrink**2)[..., None]
        else:
            turned = left.vectors.swapaxes(2, 3) @ root[:, None]
            square = np.einsum("majc,ca->maj", turned**2, self.shrink**2)
        rss = np.empty((len(root), *moved.shape[2:]))
        for a, t in np.ndindex(rss.shape[1:]):
            rest = self.basis.rotated[:, t] - np.einsum("mkc,mk->mc", root, moved[:, :, a, t])
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
