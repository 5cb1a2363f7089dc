"""Sequential QR of rows that arrive in blocks."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import scipy.linalg as sl

from .factor import Centre, Factor, Solution
from .gram import CentredAccumulator, GramAccumulator
from .prior import Prior
from .rows import EPS, Array, check_squares, row_squares
from .spectral import SpectralFactor, Spectrum, spectrum_of
from .triangular import TriangularFactor, add_rows, scaled_condition

# Beyond this condition of the augmented rows the singular values decide, alpha added exactly.
_SINGULAR_BEYOND = 1e9


class TSQRAccumulator(CentredAccumulator):
    """Sequential QR of the rows: accurate to the first power of their condition.

    Fewer rows than columns are kept as they are, more are reduced to one triangle, the
    right-hand sides as extra columns. The regularizer is added at `finish`.

    Parameters
    ----------
    n_features, n_rhs : int
        Numbers of columns, as in `Accumulator`.

    Examples
    --------
    >>> import numpy as np
    >>> from skrigidity.hessian import Prior, TSQRAccumulator
    >>> stream = TSQRAccumulator(n_features=2)
    >>> for block in (np.eye(2), np.ones((3, 2))):
    ...     stream = stream.add(block)
    >>> stream.finish(Prior(1.0)).quad(np.eye(2)).round(2)
    array([0.31, 0.31])
    """

    def __init__(self, n_features: int, n_rhs: int = 0) -> None:
        super().__init__(n_features, n_rhs)
        self._rows = np.zeros((0, n_features + n_rhs))
        self.reduced = False  # to a triangle
        self.inherited = 0.0  # relative error of what the rows were when they came

    @classmethod
    def of(cls, stream: GramAccumulator) -> TSQRAccumulator:
        """Return an accumulator that has seen the same rows, to the accuracy of their moments."""
        out = cls(stream.n_features, stream.n_rhs).counting(stream)
        scale = np.sqrt(np.maximum(np.diag(stream.gram), np.finfo(float).tiny))
        values, vectors = np.linalg.eigh(stream.full_gram() / scale / scale[:, None])
        largest = float(values.max(initial=0.0))
        keep = values > len(values) * EPS * largest
        roots, vectors = np.sqrt(values[keep])[:, None], vectors[:, keep]
        rows = roots * vectors.T * scale
        rhs = (vectors.T @ (stream.cross / scale[:, None])) / roots
        if stream.precondition is not None:
            rows = rows @ stream.precondition
        rest = np.maximum(stream.square - row_squares(rhs.T), 0.0)
        out._add_block(rows, rhs)
        out._add_block(np.zeros((stream.n_rhs, stream.n_features)), np.diag(np.sqrt(rest)))
        out.running, out.running_rhs = map(copy.copy, (stream.running, stream.running_rhs))
        least = float(values[keep].min(initial=1.0)) / max(largest, 1.0)
        out.inherited = EPS * stream.loss / max(least, EPS)
        return out

    def to_tsqr(self) -> TSQRAccumulator:
        """Return this accumulator."""
        return self

    def _add_block(self, block: Array, rhs: Array) -> None:
        block, width = np.hstack([block, rhs]), self.n_features + self.n_rhs
        if not self.reduced:
            block = np.vstack([self._rows, block])
            self.reduced = len(block) > width
            self._rows = np.zeros((width, width), order="F") if self.reduced else block
        if self.reduced:
            self._rows = add_rows(self._rows, block)

    def _merge_centred(self, other: Any) -> None:
        self.inherited = max(self.inherited, other.inherited)
        self._add_block(*other.rows())

    def rows(self) -> tuple[Array, Array]:
        """Return the reduced rows: features (k, n_features) and right-hand sides (k, n_rhs)."""
        return self._rows[:, : self.n_features], self._rows[:, self.n_features :]

    def spectrum(self, prior: Prior) -> Spectrum:
        """Return the singular values and vectors of the rows, in standard form."""
        rows, rhs = self.rows()
        max_rank = min(self.max_rank, len(rows))
        return spectrum_of(rows, rhs, prior, n_rows=self.n_rows, max_rank=max_rank)

    def factor(self, prior: Prior) -> Factor:
        """Return the QR factor, or the spectral one for few rows or a singular Hessian."""
        d, (data, rhs) = self.n_features, self.rows()
        check_squares(row_squares(data.T))
        check_squares(row_squares(rhs.T), "y")
        triangle = self._augmented(prior) if self.reduced else np.zeros((d, d))
        root = np.triu(triangle[:d, :d])
        if not scaled_condition(root) < _SINGULAR_BEYOND:
            few = self.max_rank < d
            return self.spectral(prior, "fewer rows than features" if few else "singular rows")
        centre, solution = self._centre(data), None
        if self.n_rhs:
            coef = sl.solve_triangular(root, triangle[:d, d:], check_finite=False)
            rss = row_squares((rhs - data @ coef).T)
            solution = Solution(coef, centre.intercept(self.running_rhs.rounded(), coef), rss)
        return TriangularFactor(
            root,
            centre,
            prior,
            method="qr",
            reason="QR of the rows",
            gram_accuracy=self.inherited,
            solution=solution,
        )

    def _augmented(self, prior: Prior) -> Array:
        """Return the triangular factor of rows, right-hand sides behind them, and regularizer."""
        below = prior.root(self.n_features)
        block = np.hstack([below, np.zeros((len(below), self.n_rhs))])
        upper = len(below) == self.n_features and not np.tril(below, -1).any()
        return add_rows(self._rows.copy(order="F"), block, len(block) if upper else 0)

    def _centre(self, rows: Array) -> Centre:
        return self.running.finish(np.sqrt(row_squares(rows.T)))

    def rounding(self, prior: Prior) -> float:
        """Estimate what reducing the rows has cost in relative accuracy, inf if H is singular."""
        if not self.reduced:
            return self.inherited
        root = self._augmented(prior)[: self.n_features, : self.n_features]
        return self.inherited + EPS * scaled_condition(np.triu(root))

    def spectral(self, prior: Prior, reason: str) -> SpectralFactor:
        """Return the spectral factor."""
        return SpectralFactor(
            self.spectrum(prior),
            self._centre(self.rows()[0]),
            self.running_rhs.rounded(),
            prior,
            reason=reason,
            rounding=self.rounding,
        )
