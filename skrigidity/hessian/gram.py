"""Normal equations: rows accumulated block by block, Cholesky factors, Cholesky QR."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import numpy as np
import scipy.linalg as sl
from scipy.linalg.blas import dgemm, dsymm, dsyr, dsyrk, dtrsm
from scipy.linalg.lapack import dpotrf

from .factor import Factor, RunningCentre, Solution, warn_if_inaccurate
from .prior import Prior
from .rows import EPS, Array, Rows, as_rows, check_squares, row_squares
from .triangular import TriangularFactor, equilibrate, scaled_condition

# Squared means up to this multiple of the variance may be subtracted from the moments.
_LARGE_MEAN = 100.0
# In units of the machine precision and of the (scaled) unit diagonal: above the rounding errors
# of the Gram matrix, so that the shifted matrix is positive definite.
_SHIFT = 64.0


@dataclass(eq=False)
class Accumulator:
    """Sums up weighted rows; `finish` adds the regularizer and factorizes.

    Order, batching and distribution over several accumulators (`merge`) do not matter.

    Parameters
    ----------
    n_features : int
        Number of feature columns.
    n_rhs : int, default=0
        Number of right-hand sides that come with the rows.

    Examples
    --------
    >>> import numpy as np
    >>> from skrigidity.hessian import accumulator
    >>> accumulator(2).add(np.eye(2)).merge(accumulator(2).add(np.ones((3, 2)))).n_rows
    5
    """

    n_features: int
    n_rhs: int = 0
    n_rows: int = field(init=False, default=0)
    has_intercept: bool = field(init=False, default=False)
    # What a subclass has: the factor without a warning and its source, and its sums.
    factor: ClassVar[Callable[..., Factor]]
    _add_rows: ClassVar[Callable[..., None]]
    _merge: ClassVar[Callable[..., None]]

    def add(self, rows: Any) -> Self:
        """Add rows (`Rows`, lazy or not, or a matrix of rows without intercept)."""
        rows = as_rows(rows)
        if rows.n_features != self.n_features or rows.n_rhs != self.n_rhs:
            raise ValueError(
                f"rows must have {self.n_features} features and {self.n_rhs} right-hand sides, "
                f"got {rows.n_features} and {rows.n_rhs}"
            )
        for batch in self._batches(rows):
            self._add_rows(self._counted(batch.seen()))
        return self

    def _batches(self, rows: Rows) -> Iterable[Rows]:
        return rows.blocks()

    def _counted(self, rows: Rows) -> Rows:
        flags = rows.intercept
        if not ((flags == 0) | (flags == 1)).all():
            raise ValueError("intercept of training rows must be 0 or 1")
        self.n_rows += len(rows)
        self.has_intercept |= bool(flags.any())
        return rows

    def merge(self, other: Any) -> Self:
        """Add everything that another accumulator of the same kind has seen."""
        widths = (self.n_features, self.n_rhs)
        if type(other) is not type(self) or (other.n_features, other.n_rhs) != widths:
            raise ValueError(f"cannot merge {other!r} into {self!r}")
        self._merge(other)
        return self.counting(other)

    def counting(self, other: Accumulator) -> Self:
        """Return this accumulator, counting as well what another one has seen."""
        self.n_rows += other.n_rows
        self.has_intercept |= other.has_intercept
        return self

    def copy(self) -> Self:
        """Return an independent copy."""
        return copy.deepcopy(self)

    @property
    def max_rank(self) -> int:
        """Largest rank that the centred rows can have."""
        return max(0, self.n_rows - int(self.has_intercept))

    def finish(self, prior: Prior) -> Factor:
        """Return the factor of all rows so far, with the regularizer added."""
        prior.check(self.n_features)
        factor = self.factor(prior)
        factor.source = self
        return warn_if_inaccurate(factor)


class CentredAccumulator(Accumulator):
    """Accumulator of rows that are centred as they arrive, right-hand sides as further columns."""

    _add_block: Callable[[Array], None]
    _merge_centred: Callable[[Any], None]

    def __init__(self, n_features: int, n_rhs: int = 0) -> None:
        super().__init__(n_features, n_rhs)
        self.running = RunningCentre(n_features + n_rhs)

    def _add_rows(self, rows: Rows) -> None:
        self._add_block(self.running.centred(rows))

    def _merge(self, other: Any) -> None:
        step = self.running.merge(other.running)
        if step is not None:
            self._add_block(step[None])
        self._merge_centred(other)


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

    def _add_block(self, block: Array) -> None:
        if self.precondition is not None:
            features = block[:, : self.n_features]
            features[...] = dtrsm(1.0, self.precondition, features.T, trans_a=1).T
        self.moments = dsyrk(1.0, block.T, beta=1.0, c=self.moments, overwrite_c=1)

    def add_whole(self, rows: Rows) -> Self:
        """Add a dense matrix in one product, centring its moments instead of its rows.

        Saves several passes over the rows, and loses digits where the means are large against
        the spread (`loss`). Only for an empty accumulator.
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
        self.moments[d:, d:] = dsyrk(1.0, rhs.T)
        return self

    def _merge_centred(self, other: Any) -> None:
        if not np.array_equal(self.precondition, other.precondition):
            raise ValueError("cannot merge accumulators with different preconditioners")
        self.moments += other.moments
        self.taken += other.taken

    def attempt(self, prior: Prior) -> CholeskyAttempt:
        """Try a Cholesky factorization; say how accurate it would be."""
        return CholeskyAttempt(self, prior)

    def factor(self, prior: Prior) -> Factor:
        """Return the Cholesky factor; LinAlgError where the normal equations are singular."""
        attempt = self.attempt(prior)
        if np.isinf(attempt.condition):
            raise np.linalg.LinAlgError("the normal equations are singular: use method='auto'")
        return attempt.factor("normal equations as asked for")


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
        stream, root, solution = self.stream, self.root, None
        plain = stream.precondition is None
        if not plain:
            root = root @ stream.precondition
        centre = stream.running.finish(row_squares(root.T))
        if stream.n_rhs:
            coef, rss = self.solved()
            if not plain:
                coef = sl.solve_triangular(stream.precondition, coef, check_finite=False)
            solution = Solution(coef, centre.intercept(coef), rss)
        method, condition = ("cholesky", self.condition) if plain else ("qr", None)
        factor = TriangularFactor(
            root, centre, self.prior, method, reason, condition, self.accuracy, solution
        )
        factor.source = stream
        return factor

    def solved(self) -> tuple[Array, Array]:
        """Return coefficients in the stream's coordinates, and residual sums of squares."""
        stream = self.stream
        coef = sl.cho_solve((self.root, False), stream.cross, check_finite=False)
        residual = np.vstack([-coef, np.eye(stream.n_rhs)])
        image = dsymm(1.0, stream.moments, residual)
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
    if not isinstance(matrix, Array) or matrix.dtype != np.float64 or not len(rows):
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
