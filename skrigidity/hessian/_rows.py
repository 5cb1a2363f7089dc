"""Rows: the gradients of predictions, and the data rows that make the Hessian."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy.sparse as sp

# 16 MB of float64 a block: large enough for BLAS-3, small enough to stay near the cache.
_BLOCK_ENTRIES = 2**21
_MIN_BLOCK_ROWS = 64


def block_rows(n_columns: int, entries: int = _BLOCK_ENTRIES) -> int:
    """Return how many rows of `n_columns` columns make one block."""
    return max(_MIN_BLOCK_ROWS, entries // max(n_columns, 1))


class Rows:
    """Gradients ``g = [matrix[i], intercept[i]]`` of scalar predictions.

    The same object describes training rows (then `weight` and `rhs` count) and the predictions
    whose rigidity is asked for (then they do not).

    Parameters
    ----------
    matrix : ndarray or CSR matrix of shape (n_rows, n_features)
        Derivatives with respect to the feature parameters. float32 and sparse input is
        converted to dense float64 block by block, never whole.
    weight : float or array-like of shape (n_rows,), default=None
        Sample weight times curvature of the loss; a row enters the Hessian scaled by its root.
    intercept : bool, float or array-like of shape (n_rows,), default=False
        Derivative with respect to the intercept. Training rows take 0 or 1, predictions any
        number (a difference of two energies has 0).
    columns : array-like of int, default=None
        Component mask: all other columns of `matrix` count as zero.
    rhs : ndarray of shape (n_rows, n_rhs), default=None
        Right-hand sides of the least-squares problem, carried along as extra columns.

    Examples
    --------
    >>> import numpy as np
    >>> from skrigidity.hessian import Rows
    >>> len(Rows(np.eye(3), intercept=True))
    3
    """

    def __init__(
        self,
        matrix: Any,
        *,
        weight: Any = None,
        intercept: Any = False,
        columns: Any = None,
        rhs: Any = None,
    ) -> None:
        matrix = matrix.tocsr() if sp.issparse(matrix) else np.asanyarray(matrix)
        if matrix.ndim != 2:
            raise ValueError(f"matrix must be 2-D, got {matrix.ndim}-D")
        if matrix.dtype.kind not in "fiub":
            raise ValueError(f"matrix must hold real numbers, got dtype {matrix.dtype}")
        self.matrix = matrix
        n = matrix.shape[0]
        self.weight = None if weight is None else np.broadcast_to(_real(weight), (n,))
        if self.weight is not None and (self.weight < 0).any():
            raise ValueError("weight must be non-negative")
        self.intercept = np.broadcast_to(_real(intercept), (n,))
        self.columns = None if columns is None else np.asarray(columns)
        self.rhs = None if rhs is None else _columns(_real(rhs))

    def __len__(self) -> int:
        return int(self.matrix.shape[0])

    @property
    def n_features(self) -> int:
        """Number of feature parameters."""
        return int(self.matrix.shape[1])

    @property
    def n_rhs(self) -> int:
        """Number of right-hand sides carried along."""
        return 0 if self.rhs is None else int(self.rhs.shape[1])

    def masked(self, columns: Any, *, intercept: Any = False) -> Rows:
        """Return the rows of one component: every other column set to zero."""
        return Rows(self.matrix, weight=self.weight, intercept=intercept, columns=columns)

    def seen(self) -> Rows:
        """Return the rows without those of weight zero."""
        if self.weight is None or self.weight.all():
            return self
        return self[np.flatnonzero(self.weight)]

    def check_training_intercept(self) -> None:
        """Raise ValueError unless every row has the intercept or does not."""
        if not np.isin(self.intercept, (0.0, 1.0)).all():
            raise ValueError("intercept of training rows must be 0 or 1")

    def __getitem__(self, key: Any) -> Rows:
        return Rows(
            self.matrix[key],
            weight=None if self.weight is None else self.weight[key],
            intercept=self.intercept[key],
            columns=self.columns,
            rhs=None if self.rhs is None else self.rhs[key],
        )

    def fill(self, out: np.ndarray, rows: slice) -> None:
        """Write the rows of a slice into `out`, dense and in float64."""
        piece = self.matrix[rows]
        if self.columns is None:
            out[...] = piece.toarray() if sp.issparse(piece) else piece
        else:
            out[...] = 0.0
            piece = piece[:, self.columns]
            out[:, self.columns] = piece.toarray() if sp.issparse(piece) else piece

    def dense(self, rows: slice) -> np.ndarray:
        """Return the rows of a slice, dense and in float64; a view where they are so already."""
        piece = self.matrix[rows]
        if self.columns is None and isinstance(piece, np.ndarray) and piece.dtype == np.float64:
            return piece
        out = np.empty(piece.shape)
        self.fill(out, rows)
        return out

    def blocks(self, entries: int = _BLOCK_ENTRIES) -> Iterator[slice]:
        """Iterate over slices that together cover all rows, each of a size BLAS likes."""
        step = block_rows(self.n_features, entries)
        for start in range(0, len(self), step):
            yield slice(start, min(start + step, len(self)))


class KernelRows:
    """Predictions of a kernel model, seen through the kernel only.

    Parameters
    ----------
    train : ndarray of shape (n_rows, n_train)
        Kernel of each prediction with the training rows.
    diagonal : ndarray of shape (n_rows,)
        Kernel of each prediction with itself.
    among : ndarray of shape (n_rows, n_rows), default=None
        Kernel of the predictions among themselves; only covariances and updates need it.
    weight : float or array-like of shape (n_rows,), default=None
        Weights, for rows that are added to a Hessian.

    Examples
    --------
    >>> import numpy as np
    >>> from skrigidity.hessian import KernelRows
    >>> len(KernelRows(np.ones((2, 5)), np.ones(2)))
    2
    """

    def __init__(self, train: Any, diagonal: Any, among: Any = None, weight: Any = None) -> None:
        self.train = np.asarray(train, dtype=np.float64)
        self.diagonal = _real(diagonal)
        self.among = None if among is None else _real(among)
        n = len(self.train)
        if self.train.ndim != 2 or self.diagonal.shape != (n,):
            raise ValueError(
                f"train and diagonal must have shapes (n, n_train) and (n,), got "
                f"{self.train.shape} and {self.diagonal.shape}"
            )
        self.weight = None if weight is None else np.broadcast_to(_real(weight), (n,))

    def __len__(self) -> int:
        return len(self.train)


def as_rows(rows: Any, *, intercept: Any = False) -> Rows:
    """Return `rows` as `Rows`; a plain matrix gets the given intercept derivative."""
    return rows if isinstance(rows, Rows) else Rows(rows, intercept=intercept)


def _columns(values: np.ndarray) -> np.ndarray:
    return values[:, None] if values.ndim == 1 else values


def _real(values: Any) -> np.ndarray:
    return np.asarray(values, dtype=np.float64)
