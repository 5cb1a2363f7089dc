"""Queries: predictions to be made, seen through their kernel with the training points."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

import numpy as np
from sklearn.utils import check_array

from ..hessian import KernelRows
from ..hessian._rows import block_rows
from ._kernels import KernelSum
from ._points import Points


class Query(ABC):
    """Predictions of a kernel model, in blocks of bounded size where sums over them suffice."""

    n_train: int

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def train(self, piece: slice) -> np.ndarray:
        """Return the kernel of some predictions with the training points."""

    @abstractmethod
    def diagonal(self, piece: slice) -> np.ndarray:
        """Return the kernel of some predictions with themselves."""

    @abstractmethod
    def among(self, piece: slice) -> np.ndarray:
        """Return the kernel of some predictions with all."""

    def pieces(self) -> Iterator[slice]:
        """Iterate over slices that together cover all predictions."""
        step = block_rows(self.n_train)
        for start in range(0, len(self), step):
            yield slice(start, min(start + step, len(self)))

    def rows(self, piece: slice) -> KernelRows:
        """Return some predictions as rows for a factor."""
        return KernelRows(self.train(piece), self.diagonal(piece))

    def joint(self, weight: Any = None) -> KernelRows:
        """Return all predictions, their kernel among themselves included."""
        everything = slice(0, len(self))
        among = self.among(everything)
        return KernelRows(self.train(everything), np.diag(among), among, weight)

    def combined(self, weights: np.ndarray) -> KernelRows:
        """Return linear combinations of the predictions, one per row of `weights`."""
        train = np.zeros((len(weights), self.n_train))
        diagonal = np.zeros(len(weights))
        for piece in self.pieces():
            train += weights[:, piece] @ self.train(piece)
            diagonal += ((weights[:, piece] @ self.among(piece)) * weights).sum(axis=1)
        return KernelRows(train, diagonal)


class KernelQuery(Query):
    """Predictions at points whose kernel can be evaluated.

    Parameters
    ----------
    kernel : KernelSum
        The kernel.
    points : Points
        Where to predict.
    training : Points
        Where the model was trained.
    """

    def __init__(self, kernel: KernelSum, points: Points, training: Points) -> None:
        self.kernel = kernel
        self.points = points
        self.training = training
        self.n_train = len(training)

    def __len__(self) -> int:
        return len(self.points)

    def train(self, piece: slice) -> np.ndarray:
        """Return the kernel of some predictions with the training points."""
        return self.kernel.cross(self.points[piece], self.training)

    def diagonal(self, piece: slice) -> np.ndarray:
        """Return the kernel of some predictions with themselves."""
        return self.kernel.diagonal(self.points[piece])

    def among(self, piece: slice) -> np.ndarray:
        """Return the kernel of some predictions with all."""
        if piece == slice(0, len(self)):
            return self.kernel.gram(self.points)
        return self.kernel.cross(self.points[piece], self.points)

    def only(self, name: str) -> KernelQuery:
        """Return the contributions of one component to the same predictions."""
        return KernelQuery(self.kernel.only(name), self.points, self.training)


class PrecomputedQuery(Query):
    """Predictions whose kernel the user has evaluated.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_train) or KernelRows
        Kernel with the training samples; `KernelRows` has that with the samples as well.
    n_train : int
        Expected number of columns.
    name : str
        What error messages call X.
    """

    def __init__(self, X: Any, n_train: int, name: str = "X") -> None:
        rows = X if isinstance(X, KernelRows) else None
        matrix = X if rows is None else rows.train
        self.matrix = check_array(matrix, dtype=np.float64, input_name=name)
        self.n_train = n_train
        if self.matrix.shape[1] != n_train:
            raise ValueError(
                f"{name} has {self.matrix.shape[1]} features, but RigidKernelRidge is expecting "
                f"{n_train} features as input: the kernel with every training sample"
            )
        self.name = name
        self._diagonal = None if rows is None else rows.diagonal
        self._among = None if rows is None else rows.among
        for part in (self._diagonal, self._among):
            if part is not None:
                check_array(np.atleast_2d(part), dtype=np.float64, input_name=name)
        n = len(self.matrix)
        if self._among is not None and self._among.shape != (n, n):
            raise ValueError(f"{name}.among must have shape ({n}, {n}), got {self._among.shape}")

    def __len__(self) -> int:
        return len(self.matrix)

    def train(self, piece: slice) -> np.ndarray:
        """Return the kernel of some predictions with the training points."""
        return self.matrix[piece]

    def diagonal(self, piece: slice) -> np.ndarray:
        """Return the kernel of some predictions with themselves."""
        if self._diagonal is None:
            raise ValueError(
                f"kernel='precomputed': rigidities need the kernel of every sample with itself. "
                f"Pass KernelRows({self.name}, diagonal) instead of {self.name}"
            )
        return self._diagonal[piece]

    def among(self, piece: slice) -> np.ndarray:
        """Return the kernel of some predictions with all."""
        if self._among is None:
            raise ValueError(
                f"kernel='precomputed': covariances need the kernel of all samples with each "
                f"other. Pass KernelRows({self.name}, diagonal, among) instead of {self.name}"
            )
        return self._among[piece]

    def without(self, columns: np.ndarray) -> PrecomputedQuery:
        """Return the same predictions for the training samples of these columns only."""
        return self._sharing(self.matrix[:, columns])

    def split(self, n_train: int) -> tuple[PrecomputedQuery, np.ndarray]:
        """Return the query for the first columns, and the others."""
        return self._sharing(self.matrix[:, :n_train]), self.matrix[:, n_train:]

    def _sharing(self, matrix: np.ndarray) -> PrecomputedQuery:
        new = object.__new__(PrecomputedQuery)
        new.matrix, new.n_train, new.name = matrix, matrix.shape[1], self.name
        new._diagonal, new._among = self._diagonal, self._among
        return new
