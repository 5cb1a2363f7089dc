"""The factor protocol: what the rest of the package may ask of a Hessian.

And what all factors share: the intercept is eliminated by centring the rows.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from scipy.linalg import LinAlgWarning

from .prior import Prior
from .rows import Array, Rows, as_rows, row_squares

_ACCURACY_WARNING = 1e-6
UNPINNED = (
    "some predictions are not pinned by the data (rigidity 0, infinite variance), so their "
    "covariances are not defined: use alpha > 0, or leave these rows out"
)


class FactorInfo(NamedTuple):
    """What is known of a factorization.

    Attributes
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
    """

    method: str
    condition: float
    rank: int
    accuracy: float
    reason: str


class Solution(NamedTuple):
    """Least-squares solution for the right-hand sides that came with the rows.

    Attributes
    ----------
    coef : ndarray of shape (n_features, n_rhs)
        Coefficients; where the Hessian is singular, the smallest ones.
    intercept : ndarray of shape (n_rhs,)
        Intercepts.
    rss : ndarray of shape (n_rhs,)
        Weighted residual sums of squares.
    """

    coef: Array
    intercept: Array
    rss: Array


class UnpinnedError(ValueError):
    """A covariance was asked for with a prediction that nothing pins (R = 0)."""

    def __init__(self, message: str = UNPINNED) -> None:
        super().__init__(message)


class Centre(NamedTuple):
    """Weighted mean of the training rows that have an intercept, and their total weight.

    The mean is kept as an unevaluated sum ``mean + low``: where it is large against the spread
    of the rows, rounding it to one double would cost the digits that the rows still have.
    """

    mean: Array
    low: Array
    weight: float

    def intercept(self, rhs_mean: Array, coef: Array) -> Array:
        """Return the intercepts that go with coefficients of shape (n_features, n_rhs)."""
        return (rhs_mean - self.mean @ coef) - self.low @ coef

    def subtract(self, block: Array, intercept: Array) -> None:
        """Replace rows ``x`` by ``x - f * mean`` in place, f being their intercept derivative."""
        if self.weight == 0 or not intercept.any():
            return
        factor = None if (intercept == 1).all() else intercept[:, None]
        for part in (self.mean, self.low):
            if part.any():
                block -= part if factor is None else factor * part


class RunningCentre:
    """Centring of rows that arrive in blocks (Chan, Golub, LeVeque, 1983).

    Every block is centred at its own mean. What the centring at the common mean would have
    added is one more row per merge, ``sqrt(W1 W2 / (W1 + W2)) (m2 - m1)``, so that any
    factorization of the rows centres exactly and without a second pass. Means are kept
    relative to a fixed shift near the data.
    """

    def __init__(self, n_columns: int) -> None:
        self.shift = np.zeros(n_columns)
        self.mean = np.zeros(n_columns)
        self.weight = 0.0

    def centred(self, rows: Rows, values: Array | None = None) -> Array:
        """Return the weighted, centred rows in float64, or `values` that go with them."""
        n, weight, whole = len(rows), rows.weight, bool(rows.intercept.all())
        out = np.empty((n + 1, len(self.mean)))
        out[:n] = rows.dense() if values is None else values
        own = slice(n) if whole else np.flatnonzero(rows.intercept)
        part = out[own]
        merged = self._centre(part, None if weight is None else weight[own])
        if not whole:
            out[own] = part
        if weight is not None:
            out[:n] *= np.sqrt(weight)[:, None]
        if merged is None:
            return out[:n]
        out[n] = merged
        return out

    def _centre(self, part: Array, weight: Array | None) -> Array | None:
        total = float(len(part)) if weight is None else float(weight.sum())
        if total == 0:
            return None
        if self.weight == 0:
            self.shift = _shift(part, _mean(part, weight, total))
        part -= self.shift
        mean = _mean(part, weight, total)
        part -= mean
        return self._merge(mean, total)

    def _merge(self, mean: Array, weight: float) -> Array | None:
        before, self.weight = self.weight, self.weight + weight
        step = mean - self.mean
        self.mean = self.mean + step * (weight / self.weight)
        return np.sqrt(before * (weight / self.weight)) * step if before else None

    def merge(self, other: RunningCentre) -> Array | None:
        """Take in the mean of another stream; return the row that this adds, if any."""
        if other.weight == 0:
            return None
        if self.weight == 0:
            self.shift = other.shift
        return self._merge(other.mean + (other.shift - self.shift), other.weight)

    def finish(self, spread: Array) -> Centre:
        """Return the mean; `spread` is the root of the sum of squares of each centred column."""
        high = self.rounded()
        back = high - self.shift
        low = (self.shift - (high - back)) + (self.mean - back)
        negligible = np.abs(low) * np.sqrt(self.weight) <= 1e-15 * spread
        return Centre(high, np.zeros_like(low) if negligible.all() else low, self.weight)

    def rounded(self) -> Array:
        """Return the mean in one double."""
        return self.shift + self.mean


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
        """Return ``A @ inv(H) @ B.T`` for the rows of `a` and `b`."""
        return self.whiten(a) @ self.whiten(b).T

    def at(self, alpha: float) -> Factor:
        """Return the factor of the same rows at another regularization strength."""
        if self.source is None:
            raise ValueError("this factor does not hold its rows: factorize them again")
        return self.source.finish(self.prior.with_alpha(alpha))

    def update(self, rows: Any) -> Factor:
        """Return the factor after adding weighted rows, without a solution."""
        source = self.source.copy()
        for block in self._as_rows(rows).blocks():
            source.add(block.replaced(rhs=np.zeros((len(block), source.n_rhs))))
        factor: Factor = source.finish(self.prior)
        factor.solution = None
        return factor

    def whiten_block(self, block: Array, flags: Array) -> Array:
        """Return whitened rows of features and intercept derivatives; may overwrite the rows."""
        self.centre.subtract(block, flags)
        z = self._whiten(block)
        own = flags / np.sqrt(self.centre.weight) if self.has_intercept else None
        return z if own is None else np.column_stack([z, own])

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


def warn_if_inaccurate(factor: Factor) -> Factor:
    """Warn where the estimated accuracy of the rigidities is poor; return the factor."""
    info = factor.info
    cause = f"ill-conditioned Hessian (condition {info.condition:.1e}, method {info.method!r})"
    warn_of_error(cause, info.accuracy, stacklevel=4)
    return factor


def warn_of_error(cause: str, error: float, *, stacklevel: int) -> None:
    """Warn where a relative error of rigidities may be large."""
    if error > _ACCURACY_WARNING:
        message = f"{cause}: rigidities may be off by a relative {error:.0e}. Try a larger alpha."
        warnings.warn(message, LinAlgWarning, stacklevel=stacklevel)


def _mean(part: Array, weight: Array | None, total: float) -> Array:
    return part.mean(axis=0) if weight is None else np.einsum("i,ij->j", weight, part) / total


def _shift(part: Array, mean: Array) -> Array:
    """Return the mean, for constant columns their very value: what is centred is then zero."""
    columns = np.flatnonzero(part[0] == part[-1])
    constant = columns[(part[:, columns] == part[0, columns]).all(axis=0)]
    mean[constant] = part[0, constant]
    return mean
