"""Normal equations, accumulated block by block."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from scipy.linalg.blas import dgemm, dsyr, dsyrk, dtrsm

from ._accumulator import Accumulator, CentredAccumulator
from ._cholesky import CholeskyAttempt, cholesky_factor
from ._factor import Factor, warn_if_inaccurate
from ._prior import Prior
from ._rows import Rows
from ._tsqr import TSQRAccumulator

# Squared means up to this multiple of the variance may be subtracted from the moments.
_LARGE_MEAN = 100.0


class GramAccumulator(CentredAccumulator):
    """Normal equations ``X.T @ S @ X``: fastest, and as accurate as their condition allows.

    Parameters
    ----------
    n_features : int
        Number of feature columns.
    n_rhs : int, default=0
        Number of right-hand sides that come with the rows.
    precondition : ndarray of shape (n_features, n_features), default=None
        Upper triangular P: rows are stored as ``x @ inv(P)``. With P near the triangular factor
        of the rows the Gram matrix is near the identity, and its factor times P is as accurate
        as a QR decomposition (shifted Cholesky QR; Fukaya et al., SIAM J. Sci. Comput. 42,
        A477 (2020)).

    Examples
    --------
    >>> import numpy as np
    >>> from skrigidity.hessian import GramAccumulator, Prior
    >>> stream = GramAccumulator(n_features=2)
    >>> for block in (np.eye(2), np.ones((3, 2))):
    ...     stream = stream.add(block)
    >>> stream.finish(Prior(1.0)).quad(np.eye(2)).round(2)
    array([0.31, 0.31])
    """

    def __init__(
        self, n_features: int, n_rhs: int = 0, *, precondition: np.ndarray | None = None
    ) -> None:
        super().__init__(n_features, n_rhs)
        self.precondition = precondition
        self.gram = np.zeros((n_features, n_features), order="F")  # upper triangle only
        self.cross = np.zeros((n_features, n_rhs))
        self.square = np.zeros(n_rhs)
        self.loss = 1.0  # factor by which centring has magnified the rounding of the moments

    def _add_block(self, block: np.ndarray) -> None:
        features = block
        if self.n_rhs:
            features = np.ascontiguousarray(block[:, : self.n_features])
            targets = block[:, self.n_features :]
        if self.precondition is not None:
            features = dtrsm(1.0, self.precondition, features.T, trans_a=1, overwrite_b=1).T
        self.gram = dsyrk(1.0, features.T, beta=1.0, c=self.gram, overwrite_c=1)
        if self.n_rhs:
            # SciPy's BLAS throughout, see `_blas`.
            self.cross += dgemm(1.0, features.T, targets.T, trans_b=1)
            self.square += np.einsum("ij,ij->j", targets, targets)

    def add_whole(self, rows: Rows) -> None:
        """Add a dense matrix in one product, centring its moments instead of its rows.

        Saves several passes over the rows, and loses digits where the means are large against
        the spread: `loss` is the factor. Only for an empty accumulator.
        """
        n, matrix = len(rows), rows.matrix
        rhs = np.zeros((n, 0)) if rows.rhs is None else rows.rhs
        self.gram = dsyrk(1.0, matrix.T)
        self.n_rows, self.total_weight = n, float(n)
        self.has_intercept = bool(rows.intercept.any())
        if self.has_intercept:
            rhs_mean = rhs.mean(axis=0)
            rhs = rhs - rhs_mean
            ones = np.column_stack([np.ones(n), rhs])
            products = dgemm(1.0, matrix.T, ones.T, trans_b=1)
            mean, products = products[:, 0] / n, products[:, 1:]
            dsyr(-n, mean, a=self.gram, overwrite_a=1)
            square = np.maximum(np.diag(self.gram), np.finfo(float).tiny)
            self.loss = 1.0 + float(np.max(n * mean**2 / square))
            self.running.shift = np.append(mean, rhs_mean)
            self.running.weight = float(n)
        else:
            products = dgemm(1.0, matrix.T, rhs.T, trans_b=1)
        self.cross = products
        self.square = np.einsum("ij,ij->j", rhs, rhs)

    def _merge_centred(self, other: Any) -> None:
        if not np.array_equal(self._preconditioner(), other._preconditioner()):
            raise ValueError("cannot merge accumulators with different preconditioners")
        self.loss = max(self.loss, other.loss)
        self.gram += other.gram
        self.cross += other.cross
        self.square += other.square

    def _preconditioner(self) -> np.ndarray:
        return np.eye(self.n_features) if self.precondition is None else self.precondition

    def attempt(self, prior: Prior) -> CholeskyAttempt:
        """Try a Cholesky factorization; say how accurate it would be."""
        prior.check(self.n_features)
        return CholeskyAttempt(self, prior)

    def finish(self, prior: Prior) -> Factor:
        """Return the Cholesky factor, or the spectral one where that does not exist."""
        attempt = self.attempt(prior)
        if attempt.root is not None:
            return warn_if_inaccurate(cholesky_factor(attempt, "normal equations as asked for"))
        return self.to_tsqr().finish(prior)

    def to_tsqr(self) -> TSQRAccumulator:
        """Return a TSQR accumulator that has seen the same rows, to the accuracy of this one."""
        out = TSQRAccumulator(self.n_features, self.n_rhs)
        values, vectors = np.linalg.eigh(self.full_gram())
        keep = values > len(values) * np.finfo(float).eps * max(values[-1], 0.0)
        values, vectors = values[keep], vectors[:, keep]
        features = np.sqrt(values)[:, None] * vectors.T
        targets = (vectors.T @ self.cross) / np.sqrt(values)[:, None]
        if self.precondition is not None:
            features = features @ self.precondition
        rest = np.maximum(self.square - np.einsum("ij,ij->j", targets, targets), 0.0)
        tail = np.hstack([np.zeros((self.n_rhs, self.n_features)), np.diag(np.sqrt(rest))])
        out._add_block(np.vstack([np.hstack([features, targets]), tail]))
        out.running = copy.deepcopy(self.running)
        out.n_rows, out.total_weight = self.n_rows, self.total_weight
        out.has_intercept = self.has_intercept
        return out

    def streaming(self) -> Accumulator:
        """Return an accumulator that goes on from here without further loss of accuracy."""
        return self.to_tsqr()

    def full_gram(self) -> np.ndarray:
        """Return the Gram matrix with both triangles filled."""
        return np.triu(self.gram) + np.triu(self.gram, 1).T


def gram_of(rows: Rows) -> GramAccumulator:
    """Return the moments of all rows, in one product where that loses few digits."""
    stream = GramAccumulator(rows.n_features, rows.n_rhs)
    if _is_plain(rows):
        stream.add_whole(rows)
        if stream.loss <= _LARGE_MEAN:
            return stream
        stream = GramAccumulator(rows.n_features, rows.n_rhs)
    return stream.add(rows)


def _is_plain(rows: Rows) -> bool:
    """Whether one product gives the moments of the rows, their means being not too large."""
    matrix, flags = rows.matrix, rows.intercept
    if not isinstance(matrix, np.ndarray) or matrix.dtype != np.float64:
        return False
    if not matrix.flags.c_contiguous or rows.columns is not None or rows.weight is not None:
        return False
    if not flags.any():
        return True
    sample = matrix[:: max(1, len(matrix) // 64)]
    large = sample.mean(axis=0) ** 2 > _LARGE_MEAN * sample.var(axis=0)
    return bool(flags.all() and not large.any())
