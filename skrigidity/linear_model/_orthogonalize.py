"""Sequential orthogonalization of blocks of columns: what the earlier blocks cannot predict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg as sl

from ..hessian import Rows, TSQRAccumulator

EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class Moments:
    """Second moments of weighted rows, about their mean where they have an intercept.

    Attributes
    ----------
    root : ndarray of shape (k, n_features)
        Triangular factor: ``root.T @ root`` is the weighted Gram matrix of the (centred) rows.
    mean : ndarray of shape (n_features,)
        What was subtracted, 0 without intercept.
    norm : ndarray of shape (n_features,)
        Weighted 2-norm of every column, nothing subtracted.
    tolerance : float
        Relative size of rounding errors, ``max(n_rows, n_features) * eps``.
    """

    root: np.ndarray
    mean: np.ndarray
    norm: np.ndarray
    tolerance: float

    @classmethod
    def of(cls, rows: Rows) -> Moments:
        """Reduce rows to a triangle, block by block; all or none of them have an intercept.

        Examples
        --------
        >>> import numpy as np
        >>> from skrigidity.hessian import Rows
        >>> from skrigidity.linear_model._orthogonalize import Moments
        >>> Moments.of(Rows(np.array([[1.0], [3.0]]), intercept=True)).mean
        array([2.])
        """
        n, d = len(rows), rows.n_features
        stream = TSQRAccumulator(d, rows.n_rhs).add(rows)
        running, root = stream.running, stream.rows()[0]
        mean = (running.shift + running.mean)[:d]
        norm = np.sqrt(np.square(root).sum(axis=0) + running.weight * mean**2)
        return cls(root, mean, norm, max(n, d) * EPS)

    def block(self, columns: np.ndarray) -> np.ndarray:
        """Return columns of unit norm; those that do not vary beyond rounding are zero."""
        block = self.root[:, columns]
        norm = np.linalg.norm(block, axis=0)
        varies = norm > self.tolerance * self.norm[columns]
        return np.where(varies, block / np.where(varies, norm, 1.0), 0.0)

    def basis(self, columns: np.ndarray) -> np.ndarray:
        """Return an orthonormal basis of the space that the columns span."""
        if not (len(columns) and len(self.root)):
            return np.zeros((len(self.root), 0))
        u, s, _ = np.linalg.svd(self.block(columns), full_matrices=False)
        return u[:, s > self.tolerance * max(s[0], EPS)]


@dataclass(frozen=True)
class Residualizer:
    """The map ``x -> x @ projection - offset`` to residualized columns.

    Attributes
    ----------
    projection : ndarray of shape (n_features, n_features)
        Unit diagonal; invertible, for it is triangular with the blocks in their order.
    offset : ndarray of shape (n_features,)
        What the intercepts of the regressions explain.
    blocks : list of pairs of ndarray of int
        Columns of every block, and those of the blocks before it.
    tolerance : float
        Relative size of rounding errors.
    """

    projection: np.ndarray
    offset: np.ndarray
    blocks: list[tuple[np.ndarray, np.ndarray]]
    tolerance: float

    def apply(self, features: Any) -> np.ndarray:
        """Return residualized features, dense and in float64.

        What is left of a column within the rounding errors of the subtraction is exactly 0, so
        that a block that repeats the earlier ones vanishes.
        """
        out = np.empty(features.shape)
        stop = 0
        for block in (rows.dense() for rows in Rows(features).blocks()):
            piece = slice(stop, stop + len(block))
            stop = piece.stop
            out[piece] = block
            for columns, earlier in self.blocks:
                weights = -self.projection[np.ix_(earlier, columns)]
                predicted = block[:, earlier] @ weights + self.offset[columns]
                size = np.abs(block[:, columns]) + np.abs(self.offset[columns])
                size += np.abs(block[:, earlier]) @ np.abs(weights)
                left = block[:, columns] - predicted
                left[np.abs(left) <= 100 * self.tolerance * size] = 0.0
                out[piece, columns] = left
        return out


def sequential(rows: Rows, blocks: list[np.ndarray], *, offset: bool) -> Residualizer:
    """Regress every block of columns on all blocks before it: least squares, of minimum norm.

    Parameters
    ----------
    rows : Rows
        Training rows; weights count, and where rows have an intercept so have the regressions.
    blocks : list of ndarray of int
        Columns of the blocks, first come first; the first is left as it is.
    offset : bool
        Whether the map subtracts the intercepts of the regressions.

    Returns
    -------
    Residualizer

    Examples
    --------
    >>> import numpy as np
    >>> from skrigidity.hessian import Rows
    >>> from skrigidity.linear_model._orthogonalize import sequential
    >>> X = np.array([[1.0, 1.0], [2.0, 2.0], [3.0, 4.0]])
    >>> map = sequential(Rows(X), [np.array([0]), np.array([1])], offset=False)
    >>> (X[:, 0] @ map.apply(X)[:, 1]).round(12) + 0.0
    np.float64(0.0)
    """
    moments = Moments.of(rows.seen())
    projection, offsets = np.eye(rows.n_features), np.zeros(rows.n_features)
    steps = []
    earlier = np.zeros(0, dtype=np.intp)
    for columns in blocks:
        if len(columns) and len(earlier):
            weights = _regress(moments, earlier, columns)
            projection[np.ix_(earlier, columns)] = -weights
            if offset:
                offsets[columns] = moments.mean[columns] - moments.mean[earlier] @ weights
            steps.append((columns, earlier))
        earlier = np.concatenate([earlier, columns])
    return Residualizer(projection, offsets, steps, moments.tolerance)


def _regress(moments: Moments, on: np.ndarray, columns: np.ndarray) -> np.ndarray:
    # Columns of unit norm make the rank, and so the result, independent of units.
    target = np.linalg.norm(moments.root[:, columns], axis=0)
    source = np.linalg.norm(moments.root[:, on], axis=0)
    solution = sl.lstsq(
        moments.block(on), moments.block(columns), cond=moments.tolerance, check_finite=False
    )[0]
    return solution * target / np.where(source > 0, source, 1.0)[:, None]
