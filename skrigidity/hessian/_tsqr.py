"""Sequential QR of rows that arrive in blocks."""

from __future__ import annotations

from typing import Any

import numpy as np

from ._accumulator import CentredAccumulator
from ._factor import EPS, Factor, warn_if_inaccurate
from ._prior import Prior
from ._qr import augmented_triangle, qr_factor
from ._spectral import SpectralFactor, Spectrum, spectral_solution
from ._triangular import add_rows, scaled_condition


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
        self._triangle: np.ndarray | None = None
        self._pending: list[np.ndarray] = []

    @property
    def width(self) -> int:
        """Number of columns, right-hand sides included."""
        return self.n_features + self.n_rhs

    def _add_block(self, block: np.ndarray) -> None:
        if self._triangle is not None:
            self._triangle = add_rows(self._triangle, block)
            return
        self._pending.append(block)
        if sum(map(len, self._pending)) > self.width:
            self._triangle = np.zeros((self.width, self.width), order="F")
            for pending in self._pending:
                self._triangle = add_rows(self._triangle, pending)
            self._pending = []

    def _merge_centred(self, other: Any) -> None:
        for block in other.state():
            self._add_block(block)

    def state(self) -> list[np.ndarray]:
        """Return blocks with the Gram matrix of all rows so far."""
        return self._pending if self._triangle is None else [np.ascontiguousarray(self._triangle)]

    def rows(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the reduced rows: features (k, n_features) and right-hand sides (k, n_rhs)."""
        if self._triangle is None and self._pending:
            rows = self._pending[0] if len(self._pending) == 1 else np.vstack(self._pending)
        elif self._triangle is None:
            rows = np.zeros((0, self.width))
        else:
            rows = self._triangle
        return rows[:, : self.n_features], rows[:, self.n_features :]

    def features_only(self) -> TSQRAccumulator:
        """Return a copy that has forgotten the right-hand sides."""
        out = TSQRAccumulator(self.n_features)
        out._add_block(np.array(self.rows()[0]))
        out.running = self.running.first(self.n_features)
        out.n_rows, out.total_weight = self.n_rows, self.total_weight
        out.has_intercept = self.has_intercept
        return out

    def spread(self) -> np.ndarray:
        """Return the norm of each centred column."""
        return np.sqrt(
            sum(np.einsum("ij,ij->j", b, b) for b in self.state()) + np.zeros(self.width)
        )

    def spectrum(self, prior: Prior) -> Spectrum:
        """Return the singular values and vectors of the rows, in standard form."""
        prior.check(self.n_features)
        features, targets = self.rows()
        return Spectrum(
            features, targets, prior, n_rows=self.n_rows, max_rank=min(self.max_rank, len(features))
        )

    def finish(self, prior: Prior) -> Factor:
        """Return the QR factor, or the spectral one for few rows or a singular Hessian."""
        return warn_if_inaccurate(self.factor(prior))

    def factor(self, prior: Prior) -> Factor:
        """Return the factor without a warning."""
        prior.check(self.n_features)
        factor = qr_factor(self, prior) if self._triangle is not None else None
        if factor is None:
            few = self.max_rank < self.n_features
            return self.spectral(prior, "fewer rows than features" if few else "singular rows")
        return factor

    def rounding(self, prior: Prior) -> float:
        """Estimate what reducing the rows has cost in relative accuracy, inf if H is singular."""
        if self._triangle is None:
            return 0.0
        root = augmented_triangle(self, prior)[: self.n_features, : self.n_features]
        return EPS * scaled_condition(np.triu(root))

    def spectral(self, prior: Prior, reason: str) -> SpectralFactor:
        """Return the spectral factor."""
        spectrum = self.spectrum(prior)
        centre, rhs_mean = self.running.finish(self.spread()).split(self.n_features)
        factor = SpectralFactor(
            spectrum,
            centre,
            prior,
            n_features=self.n_features,
            has_intercept=self.has_intercept,
            reason=reason,
            source=self,
        )
        if self.n_rhs:
            alphas = np.full(self.n_rhs, prior.alpha)
            factor.solution = spectral_solution(spectrum, centre, rhs_mean, alphas)
        return factor
