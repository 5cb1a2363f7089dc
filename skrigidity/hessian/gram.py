"""Normal equations: rows accumulated block by block, Cholesky factors, Cholesky QR."""

from __future__ import annotations

import copy
from typing import Any, Self

import numpy as np
import scipy.linalg as sl
from scipy.linalg.blas import dgemm, dsymm, dsyr, dsyrk, dtrsm
from scipy.linalg.lapack import dpotrf

from .factor import CentredAccumulator, Factor, Solution
from .prior import Prior
from .rows import EPS, Array, Rows, check_squares, row_squares
from .triangular import TriangularFactor, TSQRAccumulator, equilibrate, scaled_condition

# Squared means up to this multiple of the variance may be subtracted from the moments.
_LARGE_MEAN = 100.0
# In units of the machine precision and of the (scaled) unit diagonal: above the rounding errors
# of the Gram matrix, so that the shifted matrix is positive definite.
_SHIFT = 64.0


class GramAccumulator(CentredAccumulator):
    """Normal equations ``X.T @ S @ X``: fastest, and as accurate as their condition allows.

    Parameters
    ----------
    n_features, n_rhs : int
        Numbers of columns, as in `Accumulator`.
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

    def __init__(self, n_features: int, n_rhs: int = 0, *, precondition: Any = None) -> None:
        super().__init__(n_features, n_rhs)
        self.precondition = precondition
        # Of features and right-hand sides, upper triangle only.
        self.moments = np.zeros((n_features + n_rhs,) * 2, order="F")
        self.taken = np.zeros(n_features)  # squares that centring has taken from the diagonal

    @property
    def gram(self) -> Array:
        """The Gram matrix of the features, upper triangle only."""
        return self.moments[: self.n_features, : self.n_features]

    @property
    def cross(self) -> Array:
        """The products of features and right-hand sides."""
        return self.moments[: self.n_features, self.n_features :]

    @property
    def square(self) -> Array:
        """The squares of the right-hand sides."""
        return self.moments.diagonal()[self.n_features :]

    @property
    def loss(self) -> float:
        """Factor by which centring has magnified the rounding of the moments."""
        square = np.maximum(self.gram.diagonal(), np.finfo(float).tiny)
        return 1.0 + float(np.max(self.taken / square, initial=0.0))

    def add_centred(self, block: Array) -> None:
        """Add centred, weighted rows, right-hand sides behind the features.

        Parameters
        ----------
        block : ndarray of shape (n_rows, n_features + n_rhs)
            The rows.
        """
        if self.precondition is not None:
            features = block[:, : self.n_features]
            features[...] = dtrsm(1.0, self.precondition, features.T, trans_a=1).T
        if block.size:
            self.moments = dsyrk(1.0, block.T, beta=1.0, c=self.moments, overwrite_c=1)

    def add_whole(self, rows: Rows) -> Self:
        """Add a dense matrix in one product, centring its moments instead of its rows.

        Saves several passes over the rows, and loses digits where the means are large against
        the spread (`loss`). Only for an empty accumulator.

        Parameters
        ----------
        rows : Rows
            All rows, in memory.

        Returns
        -------
        GramAccumulator
            This accumulator.
        """
        n, d, matrix = len(self._counted(rows)), self.n_features, rows.matrix
        rhs_mean = rows.rhs.mean(axis=0) if self.has_intercept else np.zeros(self.n_rhs)
        rhs = rows.rhs - rhs_mean
        # SciPy's BLAS throughout: the idle threads of two libraries get into each other's way.
        products = dgemm(1.0, matrix.T, np.column_stack([np.ones(n), rhs]).T, trans_b=1)
        gram = dsyrk(1.0, matrix.T)
        if self.has_intercept:
            mean = products[:, 0] / n
            dsyr(-n, mean, a=gram, overwrite_a=1)
            self.taken = n * mean**2
            self.running.shift, self.running.weight = np.append(mean, rhs_mean), float(n)
        self.moments[:d, :d], self.moments[:d, d:] = gram, products[:, 1:]
        self.moments[d:, d:] = dsyrk(1.0, rhs.T) if self.n_rhs else 0.0
        return self

    def _merge(self, other: Any) -> None:
        if not np.array_equal(self.precondition, other.precondition):
            raise ValueError("cannot merge accumulators with different preconditioners")
        super()._merge(other)
        self.moments += other.moments
        self.taken += other.taken

    def to_tsqr(self) -> TSQRAccumulator:
        """Return a sequential QR of the same rows, to the accuracy of their moments.

        Returns
        -------
        TSQRAccumulator
            An accumulator by sequential QR.
        """
        out, d = TSQRAccumulator(self.n_features, self.n_rhs).counting(self), self.n_features
        scale = np.sqrt(np.maximum(self.gram.diagonal(), np.finfo(float).tiny))
        values, vectors = np.linalg.eigh(self.gram / scale / scale[:, None], UPLO="U")
        largest = float(values.max(initial=0.0))
        keep = values > len(values) * EPS * largest
        roots, vectors = np.sqrt(values[keep])[:, None], vectors[:, keep]
        rows = roots * vectors.T * scale
        rhs = (vectors.T @ (self.cross / scale[:, None])) / roots
        if self.precondition is not None:
            rows = rows @ self.precondition
        rest = np.sqrt(np.maximum(self.square - row_squares(rhs.T), 0.0))
        out.add_centred(np.hstack([rows, rhs]))
        out.add_centred(np.diag(np.append(np.zeros(d), rest))[d:])
        out.running = copy.copy(self.running)
        least = float(values[keep].min(initial=1.0)) / max(largest, 1.0)
        out.inherited = EPS * self.loss / max(least, EPS)
        return out

    def attempt(self, prior: Prior) -> CholeskyAttempt:
        """Try a Cholesky factorization; say how accurate it would be.

        Parameters
        ----------
        prior : Prior
            The regularizer.

        Returns
        -------
        CholeskyAttempt
            The factorization, and how accurate it is.
        """
        return CholeskyAttempt(self, prior)

    def factor(self, prior: Prior) -> Factor:
        """Return the Cholesky factor; LinAlgError where the normal equations are singular.

        Parameters
        ----------
        prior : Prior
            The regularizer.

        Returns
        -------
        Factor
            The factor.
        """
        return self.attempt(prior).factor("normal equations as asked for")


class CholeskyAttempt:
    """Cholesky factor of ``gram + alpha * Gamma`` and what its condition promises.

    `accuracy` is the relative error of a rigidity that the rounding of the Gram matrix may
    cause: 1 where the matrix is not numerically positive definite.
    """

    def __init__(self, stream: GramAccumulator, prior: Prior) -> None:
        self.stream, self.prior = stream, prior
        check_squares(stream.moments.diagonal(), stream.n_features)
        self.hessian = stream.gram.copy(order="F")  # upper triangle only
        if stream.precondition is None:
            prior.add_to(self.hessian)
        else:
            rows = prior.root(stream.n_features).T
            rows = sl.solve_triangular(stream.precondition, rows, trans="T", check_finite=False)
            self.hessian += rows @ rows.T
        self.root, failed = dpotrf(self.hessian, lower=0, clean=1)
        self.condition = np.inf if failed else scaled_condition(self.root)
        self.accuracy = min(1.0, EPS * (16 + 2 * self.condition**2 * stream.loss))

    def preconditioner(self) -> Array:
        """Return a triangular factor near that of the rows, from the shifted matrix."""
        scale = equilibrate(np.diag(self.hessian))
        root = shifted_cholesky(self.hessian * scale * scale[:, None], _SHIFT * EPS) / scale
        if self.stream.precondition is not None:
            root = root @ self.stream.precondition
        return np.asfortranarray(root)

    def factor(self, reason: str) -> TriangularFactor:
        """Return the factor, with the solution for the right-hand sides."""
        if np.isinf(self.condition):
            raise np.linalg.LinAlgError("the normal equations are singular: use method='auto'")
        stream, root, prior = self.stream, self.root, self.prior
        method, condition = "cholesky", self.condition
        if stream.precondition is not None:
            root = root @ stream.precondition
            method, condition = "qr", scaled_condition(root)
        centre = stream.running.finish(row_squares(root.T))
        factor = TriangularFactor(root, centre, prior, method, reason, condition, self.accuracy)
        factor.source = stream
        if stream.n_rhs:
            coef, rss = self.solved()
            factor.solution = Solution(coef, centre.intercept(coef), rss)
        return factor

    def solved(self) -> tuple[Array, Array]:
        """Return coefficients and residual sums of squares."""
        stream = self.stream
        coef = sl.cho_solve((self.root, False), stream.cross, check_finite=False)
        residual = np.vstack([-coef, np.eye(stream.n_rhs)])
        image = dsymm(1.0, stream.moments, residual)
        if stream.precondition is not None:
            coef = sl.solve_triangular(stream.precondition, coef, check_finite=False)
        return coef, np.maximum(np.einsum("ij,ij->j", residual, image), 0.0)


@np.errstate(over="ignore", invalid="ignore")  # an attempt names what overflows
def gram_of(
    rows: Rows, precondition: Array | None = None, *, blockwise: bool = False
) -> GramAccumulator:
    """Return the moments of all rows; unless `blockwise`, in one product if that is accurate."""
    if precondition is None and not blockwise and _is_plain(rows):
        stream = GramAccumulator(rows.n_features, rows.n_rhs).add_whole(rows)
        if stream.loss <= _LARGE_MEAN:
            return stream
    return GramAccumulator(rows.n_features, rows.n_rhs, precondition=precondition).add(rows)


def _is_plain(rows: Rows) -> bool:
    """Whether one product gives the moments of the rows, their means being not too large."""
    matrix, flags = getattr(rows, "matrix", None), rows.intercept
    if not isinstance(matrix, Array) or matrix.dtype != np.float64 or not matrix.size:
        return False
    if not matrix.flags.c_contiguous or rows.columns is not None or rows.weight is not None:
        return False
    if not flags.all():
        return not flags.any()
    sample = matrix[:: max(1, len(matrix) // 64)]
    return bool((sample.mean(axis=0) ** 2 <= _LARGE_MEAN * sample.var(axis=0)).all())


def shifted_cholesky(matrix: Array, shift: float) -> Array:
    """Return the upper factor of ``matrix + shift * I``, for the least shift that is enough."""
    while True:
        shifted = matrix.copy(order="F")
        shifted[np.diag_indices_from(shifted)] += shift
        root, failed = dpotrf(shifted, lower=0, clean=1, overwrite_a=1)
        if not failed:
            return root
        shift *= 16
