"""Sequential QR of rows that arrive in blocks."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import scipy.linalg as sl

from .factor import Centre, Factor, Solution
from .gram import CentredAccumulator, GramAccumulator
from .prior import Prior
from .rows import EPS, Array
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
    n_features : int
        Number of feature columns.
    n_rhs : int, default=0
        Number of right-hand sides that come with the rows.

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
        self._triangle: Array | None = None
        self._pending: list[Array] = []
        self.inherited = 0.0  # relative error of what the rows were when they came

    @classmethod
    def of(cls, stream: GramAccumulator) -> TSQRAccumulator:
        """Return an accumulator that has seen the same rows, to the accuracy of their moments."""
        out = cls(stream.n_features, stream.n_rhs)
        scale = np.sqrt(np.maximum(np.diag(stream.gram), np.finfo(float).tiny))
        values, vectors = np.linalg.eigh(stream.full_gram() / scale / scale[:, None])
        keep = values > len(values) * EPS * max(values.max(initial=0.0), 0.0)
        values, vectors = values[keep], vectors[:, keep]
        rows = np.sqrt(values)[:, None] * vectors.T * scale
        rhs = (vectors.T @ (stream.cross / scale[:, None])) / np.sqrt(values)[:, None]
        if stream.precondition is not None:
            rows = rows @ stream.precondition
        rest = np.maximum(stream.square - np.einsum("ij,ij->j", rhs, rhs), 0.0)
        tail = np.zeros((stream.n_rhs, stream.n_features))
        out._add_block(np.vstack([rows, tail]), np.vstack([rhs, np.diag(np.sqrt(rest))]))
        out.running, out.running_rhs = copy.deepcopy((stream.running, stream.running_rhs))
        kept = values.min(initial=1.0) / max(values.max(initial=1.0), 1.0)
        out.inherited = EPS * stream.loss / max(kept, EPS)
        return out.took(stream)

    def to_tsqr(self) -> TSQRAccumulator:
        """Return this accumulator."""
        return self

    def _add_block(self, block: Array, rhs: Array) -> None:
        self._reduce(np.hstack([block, rhs]))

    def _reduce(self, block: Array) -> None:
        if self._triangle is not None:
            self._triangle = add_rows(self._triangle, block)
            return
        self._pending.append(block)
        width = self.n_features + self.n_rhs
        if sum(map(len, self._pending)) > width:
            self._triangle = np.zeros((width, width), order="F")
            for pending in self._pending:
                self._triangle = add_rows(self._triangle, pending)
            self._pending = []

    def _merge_centred(self, other: Any) -> None:
        self.inherited = max(self.inherited, other.inherited)
        for block in other._pending if other._triangle is None else [other._triangle]:
            self._reduce(block)

    def rows(self) -> tuple[Array, Array]:
        """Return the reduced rows: features (k, n_features) and right-hand sides (k, n_rhs)."""
        empty = np.zeros((0, self.n_features + self.n_rhs))
        rows = np.vstack([empty, *self._pending]) if self._triangle is None else self._triangle
        return rows[:, : self.n_features], rows[:, self.n_features :]

    def spectrum(self, prior: Prior) -> Spectrum:
        """Return the singular values and vectors of the rows, in standard form."""
        rows, rhs = self.rows()
        max_rank = min(self.max_rank, len(rows))
        return spectrum_of(rows, rhs, prior, n_rows=self.n_rows, max_rank=max_rank)

    def factor(self, prior: Prior) -> Factor:
        """Return the QR factor, or the spectral one for few rows or a singular Hessian."""
        factor = self._qr(prior) if self._triangle is not None else None
        if factor is None:
            few = self.max_rank < self.n_features
            return self.spectral(prior, "fewer rows than features" if few else "singular rows")
        return factor

    def _qr(self, prior: Prior) -> TriangularFactor | None:
        """Return the QR factor of reduced rows and regularizer, None if that is near singular."""
        d = self.n_features
        triangle = self._augmented(prior)
        root = np.triu(triangle[:d, :d])
        if not scaled_condition(root) < _SINGULAR_BEYOND:
            return None
        data, rhs = self.rows()
        centre = self._centre(data)
        solution = None
        if self.n_rhs:
            coef = sl.solve_triangular(root, triangle[:d, d:], check_finite=False)
            residual = rhs - data @ coef
            rss = np.einsum("ij,ij->j", residual, residual)
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
        triangle = np.array(np.hstack(self.rows()), order="F")
        return add_rows(triangle, block, len(block) if upper else 0)

    def _centre(self, rows: Array) -> Centre:
        return self.running.finish(np.linalg.norm(rows, axis=0))

    def rounding(self, prior: Prior) -> float:
        """Estimate what reducing the rows has cost in relative accuracy, inf if H is singular."""
        if self._triangle is None:
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
