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
from .triangular import TriangularFactor, scaled_condition

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
    """Accumulator of rows that are centred as they arrive (`RunningCentre`)."""

    _add_block: Callable[[Array, Array], None]
    _merge_centred: Callable[[Any], None]

    def __init__(self, n_features: int, n_rhs: int = 0) -> None:
        super().__init__(n_features, n_rhs)
        self.running = RunningCentre(n_features)
        self.running_rhs = RunningCentre(n_rhs)

    def _add_rows(self, rows: Rows) -> None:
        self._add_block(self.running.centred(rows), self.running_rhs.centred(rows, rows.rhs))

    def _merge(self, other: Any) -> None:
        row, rhs = self.running.merge(other.running), self.running_rhs.merge(other.running_rhs)
        if row is not None and rhs is not None:
            self._add_block(row[None], rhs[None])
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

    def __init__(
        self, n_features: int, n_rhs: int = 0, *, precondition: Array | None = None
    ) -> None:
        super().__init__(n_features, n_rhs)
        self.precondition = precondition
        self.gram = np.zeros((n_features, n_features), order="F")  # upper triangle only
        self.cross = np.zeros((n_features, n_rhs))
        self.square = np.zeros(n_rhs)
        self.taken = np.zeros(n_features)  # squares that centring has taken from the diagonal

    @property
    def loss(self) -> float:
        """Factor by which centring has magnified the rounding of the moments."""
        square = np.maximum(np.diag(self.gram), np.finfo(float).tiny)
        return 1.0 + float(np.max(self.taken / square, initial=0.0))

    def _add_block(self, block: Array, rhs: Array) -> None:
        if self.precondition is not None:
            block = dtrsm(1.0, self.precondition, block.T, trans_a=1, overwrite_b=1).T
        self.gram = dsyrk(1.0, block.T, beta=1.0, c=self.gram, overwrite_c=1)
        if self.n_rhs:
            # SciPy's BLAS throughout: the idle threads of two libraries get into each other's way.
            self.cross += dgemm(1.0, block.T, rhs.T, trans_b=1)
            self.square += row_squares(rhs.T)

    def add_whole(self, rows: Rows) -> Self:
        """Add a dense matrix in one product, centring its moments instead of its rows.

        Saves several passes over the rows, and loses digits where the means are large against
        the spread (`loss`). Only for an empty accumulator.
        """
        n, matrix, rhs = len(self._counted(rows)), rows.matrix, rows.rhs
        rhs_mean = rhs.mean(axis=0) if self.has_intercept else np.zeros(self.n_rhs)
        rhs = rhs - rhs_mean
        columns = np.column_stack([np.ones(n), rhs])
        products = dgemm(1.0, matrix.T, columns.T, trans_b=1)
        self.gram, self.cross = dsyrk(1.0, matrix.T), products[:, 1:]
        self.square = row_squares(rhs.T)
        if self.has_intercept:
            mean = products[:, 0] / n
            dsyr(-n, mean, a=self.gram, overwrite_a=1)
            self.taken = n * mean**2
            for running, value in ((self.running, mean), (self.running_rhs, rhs_mean)):
                running.shift, running.weight = value, float(n)
        return self

    def _merge_centred(self, other: Any) -> None:
        if not np.array_equal(self._preconditioner(), other._preconditioner()):
            raise ValueError("cannot merge accumulators with different preconditioners")
        self.gram += other.gram
        self.cross += other.cross
        self.square += other.square
        self.taken += other.taken

    def _preconditioner(self) -> Array:
        return np.empty(0) if self.precondition is None else self.precondition

    def attempt(self, prior: Prior) -> CholeskyAttempt:
        """Try a Cholesky factorization; say how accurate it would be."""
        return CholeskyAttempt(self, prior)

    def factor(self, prior: Prior) -> Factor:
        """Return the Cholesky factor; LinAlgError where the normal equations are singular."""
        attempt = self.attempt(prior)
        if np.isinf(attempt.condition):
            raise np.linalg.LinAlgError("the normal equations are singular: use method='auto'")
        return attempt.factor("normal equations as asked for")

    def full_gram(self) -> Array:
        """Return the Gram matrix with both triangles filled."""
        return np.triu(self.gram) + np.triu(self.gram, 1).T

    def spread(self) -> Array:
        """Return the norm of each centred column, as it is stored."""
        return np.sqrt(np.maximum(np.diag(self.gram), 0.0))


class CholeskyAttempt:
    """Cholesky factor of ``gram + alpha * Gamma`` and what its condition promises.

    `accuracy` is the relative error of a rigidity that the rounding of the Gram matrix may
    cause: 1 where the matrix is not numerically positive definite.
    """

    def __init__(self, stream: GramAccumulator, prior: Prior) -> None:
        self.stream, self.prior = stream, prior
        check_squares(np.diag(stream.gram))
        check_squares(stream.square, "y")
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
        centre = stream.running.finish(np.sqrt(row_squares(root.T)))
        if stream.n_rhs:
            coef, rss = self.solved()
            if not plain:
                coef = sl.solve_triangular(stream.precondition, coef, check_finite=False)
            solution = Solution(coef, centre.intercept(stream.running_rhs.rounded(), coef), rss)
        factor = TriangularFactor(
            root,
            centre,
            self.prior,
            method="cholesky" if plain else "qr",
            reason=reason,
            condition=self.condition if plain else None,
            gram_accuracy=self.accuracy,
            solution=solution,
        )
        factor.source = stream
        return factor

    def solved(self) -> tuple[Array, Array]:
        """Return coefficients in the stream's coordinates, and residual sums of squares."""
        stream = self.stream
        coef = sl.cho_solve((self.root, False), stream.cross, check_finite=False)
        image = dsymm(1.0, stream.gram, coef) - 2 * stream.cross
        return coef, np.maximum(stream.square + np.einsum("ij,ij->j", coef, image), 0.0)


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


def equilibrate(diagonal: Array) -> Array:
    """Return powers of two, exact factors, that scale a symmetric matrix to a diagonal near 1."""
    return np.exp2(-np.round(np.log2(np.where(diagonal > 0, diagonal, 1.0)) / 2))


def shifted_cholesky(matrix: Array, shift: float) -> Array:
    """Return the upper factor of ``matrix + shift * I``, for the least shift that is enough."""
    while True:
        shifted = matrix.copy(order="F")
        shifted[np.diag_indices_from(shifted)] += shift
        root, failed = dpotrf(shifted, lower=0, clean=1, overwrite_a=1)
        if not failed:
            return root
        shift *= 16
