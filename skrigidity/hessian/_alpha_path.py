"""Leave-one-out errors and evidence at many regularization strengths, from one decomposition."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ._accumulate import GramAccumulator, TSQRAccumulator
from ._blas import times
from ._factor import EPS
from ._gram import gram_of
from ._leave_out import LeftBasis, few_rows
from ._prior import Prior
from ._rows import Rows
from ._spectral import Spectrum

# Eigenvalues of the normal equations, and what they say of the data, are good to this.
_PROMISED = 2e-8
_CLOSE_TO_ONE = 0.9


@dataclass
class LooSums:
    """Weighted sums over left-out rows, per alpha (first axis) and right-hand side.

    Attributes
    ----------
    squares : ndarray of shape (n_alphas, n_rhs)
        ``sum s e**2`` with the leave-one-out residuals e.
    scaled_squares : ndarray of shape (n_alphas, n_rhs)
        ``sum s e**2 / (v + q)``, v being the noise of a row in units of sigma**2.
    log_variance : ndarray of shape (n_alphas,)
        ``sum s log(v + q)``.
    weight : ndarray of shape (n_alphas,)
        ``sum s`` over the rows that count.
    n_excluded : ndarray of shape (n_alphas,)
        Number of rows whose leverage is 1.
    """

    squares: np.ndarray
    scaled_squares: np.ndarray
    log_variance: np.ndarray
    weight: np.ndarray
    n_excluded: np.ndarray


class LooBlock(NamedTuple):
    """Some rows of the fit to all rows, at every alpha.

    Attributes
    ----------
    members : ndarray of int of shape (n_members,)
        Which rows.
    h, rest : ndarray of shape (n_members, n_alphas)
        Leverages and, without cancellation, what they leave of 1.
    residual : ndarray of shape (n_members, n_alphas, n_rhs)
        Residuals, unweighted.
    weight : ndarray of shape (n_members,)
        Weights.
    """

    members: np.ndarray
    h: np.ndarray
    rest: np.ndarray
    residual: np.ndarray
    weight: np.ndarray


class AlphaPath:
    """One decomposition of the rows for every alpha.

    Parameters
    ----------
    rows : Rows
        Training rows with right-hand sides, none of weight zero.
    gamma : ndarray, default=None
        The regularizer's matrix or diagonal.
    lowest : float
        The smallest alpha that will be asked for.

    Examples
    --------
    >>> import numpy as np
    >>> from skrigidity.hessian import AlphaPath, Rows
    >>> rows = Rows(np.arange(6.0)[:, None], intercept=True, rhs=np.arange(6.0) % 2)
    >>> path = AlphaPath(rows, None, lowest=1.0)
    >>> path.leave_one_out(np.array([1.0, 10.0]), units=True).squares.round(2).ravel()
    array([2.87, 2.58])
    """

    def __init__(self, rows: Rows, gamma: Any, lowest: float) -> None:
        self.rows = rows
        self.prior = Prior(1.0)
        self.prior.gamma = gamma
        self.weight = np.ones(len(rows)) if rows.weight is None else rows.weight
        self.stream: GramAccumulator | None = None
        if few_rows(rows):
            self.basis: LeftBasis | None = LeftBasis(rows, self.prior)
            self.s, self.rotated = self.basis.s, self.basis.rotated
            self.left_over = np.einsum("ij,ij->j", self.basis.rest_rhs, self.basis.rest_rhs)
            self.n_free, self.total = self.basis.n_free, self.basis.total
        else:
            self.basis = None
            self._decompose(lowest)
            self.s, self.rotated = self.spectrum.s, self.spectrum.rotated
            self.left_over, self.n_free = self.spectrum.left_over, self.spectrum.form.n_free

    def _decompose(self, lowest: float) -> None:
        rows = self.rows
        stream = gram_of(rows)
        spectrum = None
        if self.prior.gamma is None:
            spectrum = Spectrum.from_gram(
                stream.full_gram(), stream.cross, stream.square, len(rows)
            )
            squares = spectrum.s**2 + lowest
            if EPS * stream.loss * squares.max() > _PROMISED * squares.min():
                spectrum = None
        if spectrum is None:
            exact = TSQRAccumulator(rows.n_features, rows.n_rhs).add(rows)
            spectrum = exact.spectrum(self.prior)
        else:
            self.stream = stream
        self.spectrum = spectrum
        # Means that may be subtracted from the moments may be so from the products as well.
        self.centre_late = self.stream is not None and stream.loss > 1
        spread = np.sqrt(np.append(np.diag(stream.gram), stream.square))
        self.total = stream.running.weight
        self.centre, self.rhs_mean = stream.running.finish(spread).split(rows.n_features)
        if self.centre_late:
            self.mean_coordinates = self.centre.mean @ spectrum.vectors

    def evidence(self, alphas: np.ndarray, n: float, log_weights: float) -> np.ndarray:
        """Return the log marginal likelihood, intercept integrated out, noise at its optimum.

        Parameters
        ----------
        alphas : ndarray of shape (n_alphas,)
            Positive strengths.
        n : float
            Number of samples.
        log_weights : float
            Sum of the logarithms of the weights, where these are inverse variances.
        """
        shrink = self.shrink(alphas)
        fixed = self.n_free + int(self.total > 0)
        loss = np.einsum("ka,kt->at", shrink, self.rotated**2) + self.left_over
        # Fewer samples than unpenalized parameters tell as little as exactly as many.
        left = max(n - fixed, 0.0)
        logs = np.zeros_like(loss)
        if left > 0:
            with np.errstate(divide="ignore"):
                logs = left * (np.log(2 * np.pi * loss / left) + 1)
        determinant = -np.log(shrink).sum(axis=0)
        if self.total > 0:
            determinant = determinant + np.log(self.total)
        return -0.5 * (logs + (determinant - log_weights)[:, None])

    def leave_one_out(self, alphas: np.ndarray, *, units: bool) -> LooSums:
        """Sum over leave-one-out residuals; `units`: leave out one unit of weight, not a row."""
        n_alphas, n_rhs = len(alphas), self.rotated.shape[1]
        sums = LooSums(
            np.zeros((n_alphas, n_rhs)),
            np.zeros((n_alphas, n_rhs)),
            np.zeros(n_alphas),
            np.zeros(n_alphas),
            np.zeros(n_alphas, dtype=int),
        )
        for block in self.blocks(alphas):
            self._add(sums, block, units)
        return sums

    def blocks(self, alphas: np.ndarray) -> Iterator[LooBlock]:
        """Return an iterator over blocks of rows, in an order of its own."""
        shrink = self.shrink(alphas)
        return self._few_blocks(shrink) if self.basis is not None else self._many(alphas, shrink)

    def after(self, block: LooBlock, units: bool) -> tuple[np.ndarray, np.ndarray]:
        """Return what stays of 1 minus the leverage without a row or a unit, and where nothing."""
        share = np.maximum(block.weight, 1.0)[:, None] if units else 1.0
        # What stays of a row of weight s when one unit is taken out of it.
        left = block.rest + block.h * (1 - 1 / share)
        lost = left <= (10 * max(len(self.rows), self.rows.n_features) * EPS) ** 2
        return np.where(lost, 1.0, left), lost

    def shrink(self, alphas: np.ndarray) -> np.ndarray:
        """Return ``alpha / (s_k^2 + alpha)``; 1 for what the data do not determine at alpha 0."""
        limit = max(len(self.rows), self.rows.n_features) * EPS * self.s.max(initial=0.0)
        unseen = (self.s <= limit)[:, None] & (alphas == 0)
        square = np.where(unseen, 1.0, self.s[:, None] ** 2)
        return np.where(unseen, 1.0, alphas / (square + alphas))

    def _few_blocks(self, shrink: np.ndarray) -> Iterator[LooBlock]:
        basis = self.basis
        assert basis is not None
        squares = basis.left**2
        outside = np.einsum("ij,ij->i", basis.rest, basis.rest)[:, None]
        rest = squares @ shrink + outside
        fixed = np.einsum("ij,ij->i", basis.fixed, basis.fixed)[:, None]
        h = squares @ (1 - shrink) + fixed
        residual = np.einsum("ik,ka,kt->iat", basis.left, shrink, basis.rotated, optimize=True)
        residual += (basis.rest @ basis.rest_rhs)[:, None, :]
        residual /= np.sqrt(self.weight)[:, None, None]
        yield LooBlock(np.arange(len(h)), h, rest, residual, self.weight)

    def _many(self, alphas: np.ndarray, shrink: np.ndarray) -> Iterator[LooBlock]:
        """Yield leverages and residuals block by block; high leverages need a second pass."""
        inverse = 1 / self.spectrum.denominators(alphas)
        filtered = (self.s[:, None, None] * inverse[:, :, None] * self.rotated[:, None, :]).reshape(
            len(self.s), -1
        )
        high: list[tuple[Any, ...]] = []
        squares = np.empty((0, 0))
        for piece in self.rows.blocks():
            z, fixed, rhs = self.coordinates(piece)
            weight = self.weight[piece]
            if squares.shape != z.shape:
                squares = np.empty(z.shape)
            h = (
                times(np.multiply(z, z, out=squares), inverse)
                + np.einsum("ij,ij->i", fixed, fixed)[:, None]
            )
            h *= weight[:, None]
            predicted = times(z, filtered).reshape(len(z), len(alphas), -1)
            if self.n_free:
                predicted += (fixed[:, : self.n_free] @ self.spectrum.free_rhs)[:, None]
            residual = rhs[:, None, :] - predicted
            near = (h > _CLOSE_TO_ONE).any(axis=1)
            members = np.arange(piece.start, piece.stop)
            if near.any():
                part = (z, fixed, members, h, residual, weight)
                high.append(tuple(values[near] for values in part))
            yield LooBlock(members[~near], h[~near], 1 - h[~near], residual[~near], weight[~near])
        if high:
            z, fixed, members, h, residual, weight = (
                np.concatenate(part) for part in zip(*high, strict=True)
            )
            rest = self._from_squares(members, z, fixed, h, inverse, shrink)
            yield LooBlock(members, h, rest, residual, weight)

    def coordinates(self, piece: slice) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return unweighted rows in spectral coordinates, their unpenalized part, centred rhs."""
        rows, vectors = self.rows, self.spectrum.vectors
        flags = rows.intercept[piece]
        if self.centre_late:
            z = times(rows.dense(piece), vectors)
            z -= self.mean_coordinates
            fixed = (flags / np.sqrt(self.total))[:, None]
            assert rows.rhs is not None
            return z, fixed, rows.rhs[piece] - self.rhs_mean
        block = np.empty((piece.stop - piece.start, rows.n_features))
        rows.fill(block, piece)
        self.centre.subtract(block, flags)
        form = self.spectrum.form
        parts = [] if form.free is None else [block @ form.free]
        if self.total > 0:
            parts.append((flags / np.sqrt(self.total))[:, None])
        fixed = np.hstack(parts) if parts else np.zeros((len(block), 0))
        assert rows.rhs is not None
        rhs = rows.rhs[piece] - flags[:, None] * self.rhs_mean
        return form.apply(block) @ vectors, fixed, rhs

    def _from_squares(
        self,
        members: np.ndarray,
        z: np.ndarray,
        fixed: np.ndarray,
        h: np.ndarray,
        inverse: np.ndarray,
        shrink: np.ndarray,
    ) -> np.ndarray:
        """Return 1 - h from ``h (1 - h) = sum_{j != i} P_ij**2 + regularizer``."""
        weight = self.weight[members]
        total = ((z**2) @ (inverse * shrink)) * weight[:, None]
        for piece in self.rows.blocks():
            others, others_fixed, _ = self.coordinates(piece)
            scale = np.sqrt(np.outer(weight, self.weight[piece]))
            itself = members[:, None] == np.arange(piece.start, piece.stop)
            shared = fixed @ others_fixed.T
            for a in range(inverse.shape[1]):
                hat = (shared + (z * inverse[:, a]) @ others.T) * scale
                hat[itself] = 0.0
                total[:, a] += np.einsum("ij,ij->i", hat, hat)
        return total / h

    def _add(self, sums: LooSums, block: LooBlock, units: bool) -> None:
        left, lost = self.after(block, units)
        weight = block.weight
        noise = np.ones(len(weight)) if units else 1 / weight
        q = block.h / weight[:, None] / left
        counted = np.where(lost, 0.0, weight[:, None])
        squares = (block.residual / left[:, :, None]) ** 2
        variance = noise[:, None] + q
        sums.squares += np.einsum("ia,iat->at", counted, squares)
        sums.scaled_squares += np.einsum("ia,iat->at", counted / variance, squares)
        sums.log_variance += (counted * np.log(variance)).sum(axis=0)
        sums.weight += counted.sum(axis=0)
        sums.n_excluded += lost.sum(axis=0)
