"""Leave-one-out errors and evidence at many regularization strengths, from one decomposition."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..gram import GramAccumulator, gram_of
from ..prior import Prior
from ..rows import EPS, Array, Rows, row_squares
from ..spectral import spectrum_of_gram
from ..tsqr import TSQRAccumulator
from .groups import DOUBTFUL, affordable, few_rows, fit_without, predicted
from .hat import LeftBasis, coordinates, shrinkage, times

# Eigenvalues of the normal equations, and what they say of the data, are good to this.
_PROMISED = 2e-8
_CLOSE_TO_ONE, _NEXT_TO_NOTHING = 0.9, 1e-8
# Residual sums of squares below this share of the total have lost their digits in moments.
_FIRM = 1e-9


@dataclass(frozen=True)
class LooRows:
    """What every row looks like to a model that has not seen it, or not one unit of it.

    Attributes
    ----------
    members : ndarray of int of shape (n_rows,)
        Which rows.
    residual : ndarray of shape (n_rows, n_alphas, n_rhs)
        Right-hand side minus its prediction; of no meaning where `quad` is infinite.
    quad : ndarray of shape (n_rows, n_alphas)
        ``g.T @ inv(H) @ g``, H without the row; inf where nothing else pins it.
    out : ndarray of shape (n_rows, 1)
        The weight that is left out: all of a row's, or at most one unit.
    h, remainder : ndarray of shape (n_rows, n_alphas)
        Leverages and, without cancellation, what they leave of 1.
    remains : ndarray of shape (n_rows, n_alphas)
        The same without what is left out: 1 minus its share of the leverage.
    """

    members: Array
    residual: Array
    quad: Array
    out: Array
    h: Array
    remainder: Array
    remains: Array


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
    >>> (left,) = path.left_out(np.array([1.0, 10.0]), units=True)
    >>> (left.residual[:, :, 0] ** 2).sum(axis=0).round(2)
    array([2.87, 2.58])
    """

    def __init__(self, rows: Rows, gamma: Any, lowest: float) -> None:
        self.rows = rows
        self.prior = Prior(1.0)
        self.prior.gamma = gamma
        self.weight = np.ones(len(rows)) if rows.weight is None else rows.weight
        self.stream: GramAccumulator | None = None
        self.basis: LeftBasis | None = None
        rhs = rows.rhs
        self.size = np.abs(rhs - rhs.mean(axis=0)).max(axis=0, initial=0.0)
        if few_rows(rows):
            self.basis = LeftBasis(rows[:], self.prior, lowest)
            self.total = self.basis.total
        else:
            self._decompose(lowest)
        of = self.spectrum if self.basis is None else self.basis
        self.s, self.rotated, self.tolerance = of.s, of.rotated, of.tolerance
        self.left_over, self.n_free = of.left_over, of.form.n_free

    def _decompose(self, lowest: float) -> None:
        rows = self.rows
        stream = gram_of(rows)
        if self.prior.gamma is None:
            found = spectrum_of_gram(stream.gram, stream.cross, stream.square, len(rows))
            squares = found.s**2 + lowest
            firm = (found.left_over >= _FIRM * stream.square).all()
            if firm and EPS * stream.loss * squares.max() <= _PROMISED * squares.min():
                self.stream, self.spectrum = stream, found
        if self.stream is None:
            exact = TSQRAccumulator(rows.n_features, rows.n_rhs).add(rows)
            self.spectrum = exact.spectrum(self.prior)
        self.total = stream.running.weight
        self.centre = stream.running.finish(stream.spread())
        if self.stream is not None:
            self.mean_coordinates = times(self.centre.mean[None], self.spectrum.vectors)
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

    def left_out(self, alphas: Array, *, units: bool) -> Iterator[LooRows]:
        """Iterate over blocks of rows, every row left out, or one unit of its weight."""
        negligible = (10 * max(len(self.rows), self.rows.n_features) * EPS) ** 2
        if self.basis is None:
            of_all = self._many(alphas)
        else:
            of_all = iter([(np.arange(len(self.rows)), *self.basis.fitted(alphas))])
        for members, h, remainder, residual, error in of_all:
            weight = self.weight[members, None]
            out = np.minimum(weight, 1.0) if units else weight
            remains = remainder + h * (1 - out / weight)
            lost = remains <= negligible
            remains = np.where(lost, 1.0, remains)
            divisor = (remains * np.sqrt(weight))[:, :, None]
            residual = residual / divisor
            quad = np.where(lost, np.inf, h / weight / remains)
            with np.errstate(invalid="ignore"):
                large = DOUBTFUL * np.maximum(np.abs(residual), self.size)
                doubtful = (error / divisor > large).any(axis=2)
            if self.basis is None:
                doubtful |= remains < _NEXT_TO_NOTHING
            again = np.argwhere(doubtful & ~lost)
            for i, a in again if affordable(self.rows, len(again)) else ():
                # Next to nothing is left of the row: predicted by a fit without it.
                prior, own = self.prior.with_alpha(alphas[a]), self.rows[members[[i]]]
                factor = fit_without(self.rows, prior, members[[i]], 1.0 if units else np.inf)
                residual[i, a], quad[i, a] = (part[0] for part in predicted(factor, own))
            yield LooRows(members, residual, quad, out, h, remainder, remains)

    def shrink(self, alphas: Array) -> Array:
        """Return ``alpha / (s_k^2 + alpha)``; 1 for what the data do not determine at alpha 0."""
        return shrinkage(self.s, self.tolerance, alphas)

    def _many(self, alphas: Array) -> Iterator[tuple[Array, ...]]:
        """Yield members and what `LeftBasis.fitted` returns of them, rows of high leverage last."""
        inverse = 1 / self.spectrum.denominators(alphas)
        filtered = self.s[:, None, None] * inverse[:, :, None] * self.rotated[:, None, :]
        norms = np.linalg.norm(filtered, axis=0)
        flat = filtered.reshape(len(self.s), norms.size)
        high: list[tuple[Any, ...]] = []
        room = np.empty((0, 0))
        for piece, rows in self.rows.numbered():
            room = np.empty((len(rows), len(self.s))) if len(rows) > len(room) else room
            z, fixed = self.coordinates(rows, room)
            rhs = rows.rhs - rows.intercept[:, None] * self.rhs_mean
            weight, members = self.weight[piece], np.arange(piece.start, piece.stop)
            predicted = times(z, flat).reshape(len(z), *norms.shape)
            if self.n_free:
                predicted += (fixed[:, : self.n_free] @ self.spectrum.free_rhs)[:, None]
            residual = (rhs[:, None, :] - predicted) * np.sqrt(weight)[:, None, None]
            h = times(np.square(z, out=z), inverse) + row_squares(fixed)[:, None]
            h *= weight[:, None]
            near = (h > _CLOSE_TO_ONE).any(axis=1)
            if near.any():
                high.append((members[near], h[near], residual[near]))
            yield members[~near], h[~near], 1 - h[~near], residual[~near], 0 * norms
        if high:
            members, h, residual = map(np.concatenate, zip(*high, strict=True))
            remainder, largest = self._from_squares(members, h, inverse, self.shrink(alphas))
            yield members, h, remainder, residual, 4 * EPS * np.sqrt(largest) * norms

    def coordinates(self, rows: Rows, room: Array | None = None) -> tuple[Array, Array]:
        """Return unweighted rows in spectral coordinates, and their unpenalized part.

        `room` is memory for the former, which need not be asked for again in every block.
        """
        if self.stream is None or self.stream.loss == 1:
            return coordinates(rows, self.spectrum, self.centre)
        # Means that were subtracted from the moments may be so from the products as well.
        z = np.empty((len(rows), len(self.s))) if room is None else room[: len(rows)]
        z[...] = -self.mean_coordinates
        fixed = (rows.intercept / np.sqrt(self.total))[:, None]
        return times(rows.dense(), self.spectrum.vectors, z), fixed

    def _from_squares(
        self, members: Array, h: Array, inverse: Array, shrink: Array
    ) -> tuple[Array, float]:
        """Return 1 - h from ``h (1 - h) = sum_{j != i} P_ij**2 + regularizer``.

        And the largest square of a weighted row.
        """
        weight, (z, fixed) = self.weight[members], self.coordinates(self.rows[members])
        total, largest = ((z**2) @ (inverse * shrink)) * weight[:, None], 0.0
        for piece, block in self.rows.numbered():
            others, others_fixed = self.coordinates(block)
            largest = max(largest, float(np.max(self.weight[piece] * row_squares(others))))
            scale = np.sqrt(np.outer(weight, self.weight[piece]))
            itself = members[:, None] == np.arange(piece.start, piece.stop)
            shared = fixed @ others_fixed.T
            for a in range(inverse.shape[1]):
                hat = (shared + (z * inverse[:, a]) @ others.T) * scale
                hat[itself] = 0.0
                total[:, a] += np.einsum("ij,ij->i", hat, hat)
        return total / h, largest
