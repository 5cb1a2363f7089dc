"""Leave-one-out errors and evidence at many regularization strengths, from one decomposition."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..gram import GramAccumulator, gram_of
from ..prior import Prior
from ..rows import EPS, Array, Rows, row_squares
from ..spectral import spectrum_of_gram
from ..tsqr import TSQRAccumulator
from .groups import DOUBTFUL, Budget, few_rows, fit_without, form_of
from .hat import LeftBasis, coordinates, residuals, shrinkage, times

# Eigenvalues of the normal equations, and what they say of the data, are good to this.
_PROMISED = 2e-8
_CLOSE_TO_ONE, _NEXT_TO_NOTHING = 0.9, 1e-8
# Residual sums of squares below this share of the total have lost their digits in moments.
_FIRM = 1e-9


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

    squares: Array
    scaled_squares: Array
    log_variance: Array
    weight: Array
    n_excluded: Array


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
    error : ndarray of shape (n_alphas, n_rhs)
        Estimated absolute error of the weighted residuals.
    """

    members: Array
    h: Array
    rest: Array
    residual: Array
    weight: Array
    error: Array


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
        rhs = rows.rhs
        self.size = np.abs(rhs - rhs.mean(axis=0)).max(axis=0, initial=0.0)
        if few_rows(rows):
            self.basis: LeftBasis | None = LeftBasis(rows[:], self.prior, lowest)
            self.s, self.rotated = self.basis.s, self.basis.rotated
            self.tolerance = self.basis.tolerance
            self.left_over = row_squares(self.basis.rest_rhs.T)
            self.n_free, self.total = self.basis.n_free, self.basis.total
        else:
            self.basis = None
            self._decompose(lowest)
            self.s, self.rotated = self.spectrum.s, self.spectrum.rotated
            self.tolerance = self.spectrum.tolerance
            self.left_over, self.n_free = self.spectrum.left_over, self.spectrum.form.n_free

    def _decompose(self, lowest: float) -> None:
        rows = self.rows
        stream = gram_of(rows)
        if self.prior.gamma is None:
            found = spectrum_of_gram(stream.full_gram(), stream.cross, stream.square, len(rows))
            squares = found.s**2 + lowest
            firm = (found.left_over >= _FIRM * stream.square).all()
            if firm and EPS * stream.loss * squares.max() <= _PROMISED * squares.min():
                self.stream, self.spectrum = stream, found
        if self.stream is None:
            exact = TSQRAccumulator(rows.n_features, rows.n_rhs).add(rows)
            self.spectrum = exact.spectrum(self.prior)
        self.total = stream.running.weight
        self.centre = stream.running.finish(stream.spread())
        self.rhs_mean = stream.running_rhs.rounded()

    def evidence(self, alphas: Array, n: float, log_weights: float) -> Array:
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

    def leave_one_out(self, alphas: Array, *, units: bool) -> LooSums:
        """Sum over leave-one-out residuals; `units`: leave out one unit of weight, not a row."""
        shape = (len(alphas), self.rotated.shape[1])
        squares, scaled = np.zeros((2, *shape))
        logs, weight = np.zeros((2, len(alphas)))
        sums = LooSums(squares, scaled, logs, weight, np.zeros(len(alphas), dtype=int))
        for block, _, lost, residual, q in self.left_out(alphas, units=units):
            noise = np.ones(len(q)) if units else 1 / block.weight
            counted = np.where(lost, 0.0, block.weight[:, None])
            squares, variance = residual**2, noise[:, None] + np.where(lost, 1.0, q)
            sums.squares += np.einsum("ia,iat->at", counted, squares)
            sums.scaled_squares += np.einsum("ia,iat->at", counted / variance, squares)
            sums.log_variance += (counted * np.log(variance)).sum(axis=0)
            sums.weight += counted.sum(axis=0)
            sums.n_excluded += lost.sum(axis=0)
        return sums

    def left_out(self, alphas: Array, *, units: bool) -> Iterator[tuple[Any, ...]]:
        """Iterate over blocks of rows, every row left out, or one unit of its weight.

        Yields
        ------
        block : LooBlock
            The rows in the fit to all rows.
        left : ndarray of shape (n_members, n_alphas)
            What stays of 1 minus the leverage; 1 where nothing stays.
        lost : ndarray of bool of shape (n_members, n_alphas)
            Where nothing else pins a row.
        residual : ndarray of shape (n_members, n_alphas, n_rhs)
            Its residuals then.
        quad : ndarray of shape (n_members, n_alphas)
            Its quadratic forms then.
        """
        negligible = (10 * max(len(self.rows), self.rows.n_features) * EPS) ** 2
        for block in self._few(alphas) if self.basis is not None else self._many(alphas):
            share = np.maximum(block.weight, 1.0)[:, None] if units else 1.0
            # What stays of a row of weight s when one unit is taken out of it.
            left = block.rest + block.h * (1 - 1 / share)
            lost = left <= negligible
            left = np.where(lost, 1.0, left)
            residual = block.residual / left[:, :, None]
            quad = np.where(lost, np.inf, block.h / block.weight[:, None] / left)
            with np.errstate(invalid="ignore"):
                error = block.error / (left * np.sqrt(block.weight)[:, None])[:, :, None]
                doubtful = (error > DOUBTFUL * np.maximum(np.abs(residual), self.size)).any(axis=2)
            if self.basis is None:
                doubtful |= left < _NEXT_TO_NOTHING
            self._fit_again(block, np.argwhere(doubtful & ~lost), alphas, residual, quad, units)
            yield block, left, lost, residual, quad

    def _fit_again(
        self, block: LooBlock, where: Array, alphas: Any, residual: Array, quad: Array, units: bool
    ) -> None:
        """Predict the few rows of which next to nothing is left by a fit without them."""
        if not Budget(self.rows).allows(len(where)):
            return
        for i, a in where:
            member, prior = block.members[[i]], self.prior.with_alpha(alphas[a])
            factor = fit_without(self.rows, prior, member, 1.0 if units else np.inf)
            own = self.rows[member]
            residual[i, a] = residuals(own, factor.solution)[0]
            quad[i, a] = form_of(factor, own)[0]

    def shrink(self, alphas: Array) -> Array:
        """Return ``alpha / (s_k^2 + alpha)``; 1 for what the data do not determine at alpha 0."""
        return shrinkage(self.s, self.tolerance, alphas)

    def _few(self, alphas: Array) -> Iterator[LooBlock]:
        basis, shrink = self.basis, self.shrink(alphas)
        assert basis is not None
        squares = basis.left**2
        rest = squares @ shrink + row_squares(basis.rest)[:, None]
        h = squares @ (1 - shrink) + row_squares(basis.fixed)[:, None]
        residual = np.einsum("ik,ka,kt->iat", basis.left, shrink, basis.rotated, optimize=True)
        residual += (basis.rest @ basis.rest_rhs)[:, None, :]
        residual /= np.sqrt(self.weight)[:, None, None]
        error = shrink.T @ np.abs(basis.rotated) + np.linalg.norm(basis.rest_rhs, axis=0)
        yield LooBlock(np.arange(len(h)), h, rest, residual, self.weight, 4 * EPS * error)

    def _many(self, alphas: Array) -> Iterator[LooBlock]:
        """Yield leverages and residuals block by block; high leverages need a second pass."""
        inverse = 1 / self.spectrum.denominators(alphas)
        filtered = self.s[:, None, None] * inverse[:, :, None] * self.rotated[:, None, :]
        norms = np.linalg.norm(filtered, axis=0)
        flat = filtered.reshape(len(self.s), norms.size)
        high: list[tuple[Any, ...]] = []
        largest, squares = 0.0, np.empty((0, 0))
        for piece, rows in self.rows.numbered():
            z, fixed = self.coordinates(rows)
            rhs = rows.rhs - rows.intercept[:, None] * self.rhs_mean
            weight, members = self.weight[piece], np.arange(piece.start, piece.stop)
            if squares.shape != z.shape:
                squares = np.empty(z.shape)
            np.multiply(z, z, out=squares)
            largest = max(largest, float(np.max(weight * row_squares(z), initial=0.0)))
            h = (times(squares, inverse) + row_squares(fixed)[:, None]) * weight[:, None]
            predicted = times(z, flat).reshape(len(z), *norms.shape)
            if self.n_free:
                predicted += (fixed[:, : self.n_free] @ self.spectrum.free_rhs)[:, None]
            residual = rhs[:, None, :] - predicted
            near = (h > _CLOSE_TO_ONE).any(axis=1)
            if near.any():
                part = (z, fixed, members, h, residual, weight)
                high.append(tuple(values[near] for values in part))
            yield LooBlock(
                members[~near], h[~near], 1 - h[~near], residual[~near], weight[~near], 0 * norms
            )
        if high:
            z, fixed, members, h, residual, weight = map(np.concatenate, zip(*high, strict=True))
            rest = self._from_squares(members, z, fixed, h, inverse, self.shrink(alphas))
            error = 4 * EPS * np.sqrt(largest) * norms
            yield LooBlock(members, h, rest, residual, weight, error)

    def coordinates(self, rows: Rows) -> tuple[Array, Array]:
        """Return unweighted rows in spectral coordinates, and their unpenalized part."""
        if self.stream is None or self.stream.loss == 1:
            return coordinates(rows, self.spectrum, self.centre)
        # Means that were subtracted from the moments may be so from the products as well.
        z = times(rows.dense(), self.spectrum.vectors)
        z -= self.centre.mean @ self.spectrum.vectors
        return z, (rows.intercept / np.sqrt(self.total))[:, None]

    def _from_squares(
        self, members: Array, z: Array, fixed: Array, h: Array, inverse: Array, shrink: Array
    ) -> Array:
        """Return 1 - h from ``h (1 - h) = sum_{j != i} P_ij**2 + regularizer``."""
        weight = self.weight[members]
        total = ((z**2) @ (inverse * shrink)) * weight[:, None]
        for piece, block in self.rows.numbered():
            others, others_fixed = self.coordinates(block)
            scale = np.sqrt(np.outer(weight, self.weight[piece]))
            itself = members[:, None] == np.arange(piece.start, piece.stop)
            shared = fixed @ others_fixed.T
            for a in range(inverse.shape[1]):
                hat = (shared + (z * inverse[:, a]) @ others.T) * scale
                hat[itself] = 0.0
                total[:, a] += np.einsum("ij,ij->i", hat, hat)
        return total / h
