"""Streaming accumulators: rows arrive in blocks, from one stream or several."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from typing import Any, Self

import numpy as np

from ._centre import RunningCentre
from ._factor import Factor
from ._prior import Prior
from ._rows import Rows, as_rows


class Accumulator(ABC):
    """Sums up weighted rows; `finish` adds the regularizer and factorizes.

    Order, batching and distribution over several accumulators (`merge`) do not matter.

    Parameters
    ----------
    n_features : int
        Number of feature columns.
    n_rhs : int, default=0
        Number of right-hand sides that come with the rows.
    """

    def __init__(self, n_features: int, n_rhs: int = 0) -> None:
        self.n_features = n_features
        self.n_rhs = n_rhs
        self.n_rows = 0
        self.total_weight = 0.0
        self.has_intercept = False

    def add(self, rows: Any) -> Self:
        """Add a block of rows (`Rows`, or a matrix of rows without intercept)."""
        rows = as_rows(rows).seen()
        if rows.n_features != self.n_features or rows.n_rhs != self.n_rhs:
            raise ValueError(
                f"rows must have {self.n_features} features and {self.n_rhs} right-hand sides, "
                f"got {rows.n_features} and {rows.n_rhs}"
            )
        rows.check_training_intercept()
        for piece in rows.blocks():
            self._add_rows(rows, piece)
        self.n_rows += len(rows)
        self.total_weight += float(len(rows) if rows.weight is None else rows.weight.sum())
        self.has_intercept |= bool(rows.intercept.any())
        return self

    def merge(self, other: Any) -> Self:
        """Add everything that another accumulator of the same kind has seen."""
        if type(other) is not type(self) or (other.n_features, other.n_rhs) != (
            self.n_features,
            self.n_rhs,
        ):
            raise ValueError(f"cannot merge {other!r} into {self!r}")
        self._merge(other)
        self.n_rows += other.n_rows
        self.total_weight += other.total_weight
        self.has_intercept |= other.has_intercept
        return self

    def copy(self) -> Self:
        """Return an independent copy."""
        return copy.deepcopy(self)

    def streaming(self) -> Accumulator:
        """Return an accumulator that goes on from here (a copy)."""
        return self.copy()

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(n_features={self.n_features}, n_rhs={self.n_rhs}, "
            f"n_rows={self.n_rows})"
        )

    @property
    def max_rank(self) -> int:
        """Largest rank that the centred rows can have."""
        return max(0, self.n_rows - int(self.has_intercept))

    @abstractmethod
    def finish(self, prior: Prior) -> Factor:
        """Return the factor of all rows so far, with the regularizer added."""

    @abstractmethod
    def _add_rows(self, rows: Rows, piece: slice) -> None: ...

    @abstractmethod
    def _merge(self, other: Any) -> None: ...


class CentredAccumulator(Accumulator):
    """Accumulator of rows that are centred as they arrive (`RunningCentre`)."""

    def __init__(self, n_features: int, n_rhs: int = 0) -> None:
        super().__init__(n_features, n_rhs)
        self.running = RunningCentre(n_features + n_rhs)

    def _add_rows(self, rows: Rows, piece: slice) -> None:
        self._add_block(self.running.block(rows, piece))

    def _merge(self, other: Any) -> None:
        row = self.running.merge(other.running)
        if row is not None:
            self._add_block(row[None])
        self._merge_centred(other)

    @abstractmethod
    def _add_block(self, block: np.ndarray) -> None: ...

    @abstractmethod
    def _merge_centred(self, other: Any) -> None: ...
