"""What the rest of the package may ask of a Hessian: factors, and accumulators that make them.

And what all of them share: the intercept is eliminated by centring the rows.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from scipy.linalg import LinAlgWarning

from .prior import Prior
from .rows import Array, Rows, as_rows, row_squares

_ACCURACY_WARNING = 1e-6
# What a factorization must promise for a rigidity, to be used when there is a more accurate one.
PROMISED = 1e-8
UNPINNED = (
    "some predictions are not pinned by the data (rigidity 0, infinite variance), so their "
    "covariances are not defined: use alpha > 0, or leave these rows out"
)


class FactorInfo(NamedTuple):
    """What is known of a factorization.

    Parameters
    ----------
    method : str
        "cholesky", "qr", "spectral", "extended" (normal equations in twice the working
        precision) or "dual".
    condition : float
        Estimated condition number of the Hessian (its columns scaled to equal norm where the
        factorization does not depend on their scale).
    rank : int
        Number of parameters that the data and the regularizer determine, intercept included.
    accuracy : float
        Estimated largest relative error of a rigidity.
    reason : str
        Why this factorization was chosen.

    Examples
    --------
    >>> import numpy as np
    >>> from skrigidity.hessian import Prior, Rows, choose
    >>> choose(Rows(np.eye(2)), Prior(1.0)).info.method
    'cholesky'
    """

    method: str
    condition: float
    rank: int
    accuracy: float
    reason: str


class Solution(NamedTuple):
    """Least-squares solution for the right-hand sides that came with the rows.

    Parameters
    ----------
    coef : ndarray of shape (n_features, n_rhs)
        Coefficients; where the Hessian is singular, the smallest ones.
    intercept : ndarray of shape (n_rhs,)
        Intercepts.
    rss : ndarray of shape (n_rhs,)
        Weighted residual sums of squares.

    Examples
    --------
    >>> import numpy as np
    >>> from skrigidity.hessian import Prior, Rows, choose
    >>> choose(Rows(np.eye(2), rhs=np.array([[2.0], [4.0]])), Prior(1.0)).solution.coef.ravel()
    array([1., 2.])
    """

    coef: Array
    intercept: Array
    rss: Array


class UnpinnedError(ValueError):
    """A covariance was asked for with a prediction that nothing pins (R = 0).

    Examples
    --------
    >>> import numpy as np
    >>> from skrigidity.hessian import Prior, Rows, UnpinnedError, choose
    >>> factor = choose(Rows(np.array([[1.0, 0.0]])), Prior(0.0))
    >>> try:
    ...     factor.whiten(np.eye(2))
    ... except UnpinnedError:
    ...     print("nothing pins the second")
    nothing pins the second
    """


class Centre(NamedTuple):
    """Weighted mean of the training rows that have an intercept, and their total weight.

    The mean is kept as an unevaluated sum ``mean + low``: where it is large against the spread
    of the rows, rounding it to one double would cost the digits that the rows still have. `rhs` is
    the mean of the right-hand sides.
    """

    mean: Array
    low: Array
    weight: float
    rhs: Array

    def intercept(self, coef: Array) -> Array:
        """Return the intercepts that go with coefficients of shape (n_features, n_rhs)."""
        return (self.rhs - self.mean @ coef) - self.low @ coef

    def subtract(self, block: Array, intercept: Array) -> None:
        """Replace rows ``x`` by ``x - f * mean`` in place, f being their intercept derivative."""
        factor = 1.0 if (intercept == 1).all() else intercept[:, None]
        for part in (self.mean, self.low):
            if part.any() and intercept.any():
                block -= factor * part


@dataclass
class RunningCentre:
    """Centring of rows and right-hand sides that arrive in blocks (Chan, Golub, LeVeque, 1983).

    Every block is centred at its own mean. What the centring at the common mean would have
    added is one more row per merge, ``sqrt(W1 W2 / (W1 + W2)) (m2 - m1)``, so that any
    factorization of the rows centres exactly and without a second pass. Means are kept
    relative to a fixed shift near the data.
    """

    shift: Array
    mean: Array
    weight: float = 0.0

    def centred(self, rows: Rows) -> Array:
        """Return the weighted, centred rows in float64, right-hand sides behind the features."""
        n, d, width = len(rows), rows.n_features, len(self.mean)
        out, step = np.empty((n + 1, width)), None
        out[:n, :d], out[:n, d:] = rows.dense(), rows.rhs[:, : width - d]
        own = slice(n) if rows.intercept.all() else np.flatnonzero(rows.intercept)
        share = rows.intercept if rows.weight is None else rows.intercept * rows.weight
        total = float(share.sum())
        if total > 0:
            if self.weight == 0:
                self.shift = _shift(out[own], np.einsum("i,ij->j", share, out[:n]) / total)
            out[own] -= self.shift
            mean = np.einsum("i,ij->j", share, out[:n]) / total
            out[own] -= mean
            step = self.merge(self.shift, mean, total)
        if rows.weight is not None:
            out[:n] *= np.sqrt(rows.weight)[:, None]
        if step is None:
            return out[:n]
        out[n] = step
        return out

    def merge(self, shift: Array, mean: Array, weight: float) -> Array | None:
        """Take in the mean of other rows, ``shift + mean``; return the row that this adds."""
        if weight == 0:
            return None
        if self.weight == 0:
            self.shift = shift
        before, self.weight = self.weight, self.weight + weight
        step = mean + (shift - self.shift) - self.mean
        self.mean = self.mean + step * (weight / self.weight)
        return np.sqrt(before * (weight / self.weight)) * step if before else None

    def finish(self, squares: Array) -> Centre:
        """Return the mean; `squares` are the sums of squares of the centred features."""
        d, high = len(squares), self.shift + self.mean
        back = high - self.shift
        low = ((self.shift - (high - back)) + (self.mean - back))[:d]
        negligible = low**2 * self.weight <= 1e-30 * squares
        low = np.zeros(d) if negligible.all() else low
        return Centre(high[:d], low, self.weight, high[d:])


class Factor:
    """A factorized Hessian ``H = sum_i s_i g_i g_i.T + alpha * Gamma``.

    `centre` is the weighted mean of the training rows that have an intercept. Centred rows make H
    block diagonal: ``q = (x - f m).T H_c^-1 (x - f m) + f**2 / W`` for a row with intercept
    derivative f, m and W being that mean and the total weight.

    Examples
    --------
    >>> import numpy as np
    >>> from skrigidity.hessian import Factor, Prior, choose
    >>> factor = choose(np.eye(2), Prior(1.0))
    >>> isinstance(factor, Factor), factor.at(3.0).quad(np.eye(2))
    (True, array([0.25, 0.25]))
    """

    info: FactorInfo
    centre: Centre
    prior: Prior
    n_features: int
    solution: Solution | None = None
    source: Any = None
    block_entries = 2**21
    # What a subclass has: whitened rows for centred ones, and n minus the effective degrees of
    # freedom, without subtracting them.
    _whiten: Callable[[Array], Array]
    residual_dof: Callable[[float], float]

    @property
    def has_intercept(self) -> bool:
        """Whether any training row has the intercept."""
        return self.centre.weight > 0

    def quad(self, rows: Any) -> Array:
        """Return ``g.T @ inv(H) @ g`` per row: inf where nothing pins the prediction.

        Parameters
        ----------
        rows : Rows
            Rows of predictions.

        Returns
        -------
        ndarray of shape (n_rows,)
            Reciprocals of the rigidities.

        Examples
        --------
        >>> import numpy as np
        >>> from skrigidity.hessian import Prior, Rows, choose
        >>> factor = choose(Rows(np.eye(2)), Prior(1.0))
        >>> factor.quad(np.eye(2))
        array([0.5, 0.5])
        """
        return self._over(self._quad_rows, rows, np.empty(0))

    def whiten(self, rows: Any) -> Array:
        """Return Z with ``Z @ Z.T = G @ inv(H) @ G.T``.

        Parameters
        ----------
        rows : Rows
            Rows of predictions.

        Returns
        -------
        ndarray of shape (n_rows, k)
            Z.

        Raises
        ------
        UnpinnedError
            If a row has R = 0: its covariances are not defined.
        """
        return self._over(self.whiten_block, rows, np.empty((0, self.n_features)))

    def _over(self, function: Callable[..., Array], rows: Any, empty: Array) -> Array:
        blocks = self._as_rows(rows).blocks(self.block_entries)
        parts = [function(block.dense(copy=True), block.intercept) for block in blocks]
        return np.concatenate(parts or [empty])

    def cross(self, a: Any, b: Any) -> Array:
        """Return ``A @ inv(H) @ B.T`` for the rows of `a` and `b`.

        Parameters
        ----------
        a : Rows
            Rows of some predictions.
        b : Rows
            Rows of others.

        Returns
        -------
        ndarray of shape (n_a, n_b)
            Covariances.
        """
        return self.whiten(a) @ self.whiten(b).T

    def at(self, alpha: float) -> Factor:
        """Return the factor of the same rows at another regularization strength.

        Parameters
        ----------
        alpha : float
            The new strength.

        Returns
        -------
        Factor
            The factor at this strength.
        """
        if self.source is None:
            raise ValueError("this factor does not hold its rows: factorize them again")
        return self.source.finish(self.prior.with_alpha(alpha))

    def update(self, rows: Any) -> Factor:
        """Return the factor after adding weighted rows, without a solution.

        Parameters
        ----------
        rows : Rows
            Rows to add, with their weights.

        Returns
        -------
        Factor
            The new factor.
        """
        source = self.source.copy()
        for block in self._as_rows(rows).blocks():
            source.add(block.replaced(rhs=np.zeros((len(block), source.n_rhs))))
        factor: Factor = source.finish(self.prior)
        factor.solution = None
        return factor

    def whiten_block(self, block: Array, flags: Array) -> Array:
        """Return whitened rows of features and intercept derivatives; may overwrite the rows.

        Parameters
        ----------
        block : ndarray of shape (n_rows, n_features)
            Feature rows.
        flags : ndarray of shape (n_rows,)
            Derivatives by the intercept.

        Returns
        -------
        ndarray of shape (n_rows, k)
            Whitened rows.
        """
        self.centre.subtract(block, flags)
        z, weight = self._whiten(block), self.centre.weight
        return np.column_stack([z, flags / np.sqrt(weight)]) if weight else z

    def _quad_rows(self, block: Array, flags: Array) -> Array:
        """Return q of feature rows and their intercept derivatives; may overwrite the rows."""
        self.centre.subtract(block, flags)
        return self._quad(block) + (flags**2 / self.centre.weight if self.has_intercept else 0.0)

    def _quad(self, block: Array) -> Array:
        return row_squares(self._whiten(block))

    def _as_rows(self, rows: Any) -> Rows:
        rows = as_rows(rows, intercept=self.has_intercept)
        found, expected = rows.n_features, self.n_features
        if found != expected:
            raise ValueError(f"rows have {found} features, the factor has {expected}")
        if not self.has_intercept and rows.has_intercept:
            raise ValueError("rows have an intercept derivative, the factor has no intercept")
        return rows


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
    >>> from skrigidity.hessian import AutoAccumulator
    >>> other = AutoAccumulator(2).add(np.ones((3, 2)))
    >>> AutoAccumulator(2).add(np.eye(2)).merge(other).n_rows
    5
    """

    n_features: int
    n_rhs: int = 0
    n_rows: int = field(init=False, default=0)
    has_intercept: bool = field(init=False, default=False)
    block_entries = 2**21
    # What a subclass has: the factor without a warning and its source, and its sums.
    factor: ClassVar[Callable[..., Factor]]
    _add_rows: ClassVar[Callable[..., None]]
    _merge: ClassVar[Callable[..., None]]

    def add(self, rows: Any) -> Self:
        """Add rows (`Rows`, lazy or not, or a matrix of rows without intercept).

        Parameters
        ----------
        rows : Rows or array-like of shape (n_rows, n_features)
            Rows to add; a matrix has no intercept and weights of 1.

        Returns
        -------
        Accumulator
            This accumulator.
        """
        rows = as_rows(rows)
        if rows.n_features != self.n_features or rows.n_rhs != self.n_rhs:
            raise ValueError(
                f"rows must have {self.n_features} features and {self.n_rhs} right-hand sides, "
                f"got {rows.n_features} and {rows.n_rhs}"
            )
        if hasattr(rows, "reduced"):  # rows in other memories, to which accumulators are sent
            return self.merge(rows.reduced(self))
        for batch in rows.blocks(self.block_entries):
            self._add_rows(self._counted(batch.seen()))
        return self

    def _counted(self, rows: Rows) -> Rows:
        flags = rows.intercept
        if not ((flags == 0) | (flags == 1)).all():
            raise ValueError("intercept of training rows must be 0 or 1")
        self.n_rows += len(rows)
        self.has_intercept |= bool(flags.any())
        return rows

    def merge(self, other: Any) -> Self:
        """Add everything that another accumulator of the same kind has seen.

        Parameters
        ----------
        other : Accumulator
            One of the same kind, which has seen other rows.

        Returns
        -------
        Accumulator
            This accumulator.
        """
        widths = (self.n_features, self.n_rhs)
        if type(other) is not type(self) or (other.n_features, other.n_rhs) != widths:
            raise ValueError(f"cannot merge {other!r} into {self!r}")
        self._merge(other)
        return self.counting(other)

    def counting(self, other: Accumulator) -> Self:
        """Return this accumulator, counting as well what another one has seen.

        Parameters
        ----------
        other : Accumulator
            One that has seen other rows.

        Returns
        -------
        Accumulator
            This accumulator.
        """
        self.n_rows += other.n_rows
        self.has_intercept |= other.has_intercept
        return self

    def copy(self) -> Self:
        """Return an independent copy.

        Returns
        -------
        Accumulator
            The copy.
        """
        return copy.deepcopy(self)

    @property
    def max_rank(self) -> int:
        """Largest rank that the centred rows can have."""
        return max(0, self.n_rows - int(self.has_intercept))

    def finish(self, prior: Prior) -> Factor:
        """Return the factor of all rows so far, with the regularizer added.

        Parameters
        ----------
        prior : Prior
            The regularizer.

        Returns
        -------
        Factor
            The factor, with a solution where there were right-hand sides.
        """
        prior.check(self.n_features)
        return self.sourced(self.factor(prior))

    def sourced(self, factor: Factor) -> Factor:
        """Return a factor of these rows; warn where it may be inaccurate.

        Parameters
        ----------
        factor : Factor
            A factor of the rows that this accumulator has seen.

        Returns
        -------
        Factor
            The factor.
        """
        factor.source, info = self, factor.info
        cause = f"ill-conditioned Hessian (condition {info.condition:.1e}, method {info.method!r})"
        warn_of_error(cause, info.accuracy, stacklevel=4)
        return factor


class CentredAccumulator(Accumulator):
    """Accumulator of rows that are centred as they arrive, right-hand sides as further columns."""

    add_centred: Callable[[Array], None]

    def __init__(self, n_features: int, n_rhs: int = 0) -> None:
        super().__init__(n_features, n_rhs)
        self.running = RunningCentre(*np.zeros((2, n_features + n_rhs)))

    def _add_rows(self, rows: Rows) -> None:
        self.add_centred(self.running.centred(rows))

    def _merge(self, other: Any) -> None:
        step = self.running.merge(other.running.shift, other.running.mean, other.running.weight)
        if step is not None:
            self.add_centred(step[None])


def warn_of_error(cause: str, error: float, *, stacklevel: int) -> None:
    """Warn where a relative error of rigidities may be large."""
    if error > _ACCURACY_WARNING:
        message = f"{cause}: rigidities may be off by a relative {error:.0e}. Try a larger alpha."
        warnings.warn(message, LinAlgWarning, stacklevel=stacklevel)


def _shift(part: Array, mean: Array) -> Array:
    """Return the mean, for constant columns their very value: what is centred is then zero."""
    columns = np.flatnonzero(part[0] == part[-1])
    constant = columns[(part[:, columns] == part[0, columns]).all(axis=0)]
    mean[constant] = part[0, constant]
    return mean
