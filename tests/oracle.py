"""Extended-precision reference for the quadratic form and everything that follows from it.

Every float converts exactly, so the results are those of the exact rational problem, rounded once.
Two ideas keep it short:

* The *rank* of H, and whether a row lies in its range, are decided by exact elimination modulo two
  large primes (dyadic numbers are residues as well), never by a tolerance.
* The *values* come from a diagonally pivoted L D Lᵀ of H itself, in as many digits as the pivots
  say that it needs. Pivots are compared relative to their diagonal, so that scales of columns do
  not matter. Stopped after ``rank`` pivots it is exact for singular H too: if g = H u, then u can
  be chosen to live on the pivots alone.

Independent of the package: nothing of it is imported. Arithmetic is gmpy2's mpfr where it is
installed, mpmath's mpf otherwise (``backend=``); both round to the same result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import mpmath
import numpy as np

try:
    import gmpy2
except ImportError:
    gmpy2 = None

Array = np.ndarray

# Not 2**31 - 1: powers of two repeat after 31 steps there, and graded columns would look alike.
_PRIMES = (2147483629, 2147483587)
_FIRST_DPS = 80
# Minimum-norm coefficients square the condition once more: hence twice the digits lost.
_KEEP_DIGITS = 30


def exact_quad(
    X: Array,
    G: Array,
    *,
    alpha: float,
    gamma: Array | None = None,
    weight: Array | None = None,
    intercept: Array | bool | None = None,
    g_intercept: Array | bool | None = None,
    dps: int | None = None,
    backend: str | None = None,
) -> Array:
    """Variance-like quadratic form q = gᵀ H⁻¹ g of every row of G, correctly rounded.

    Parameters
    ----------
    X : array of shape (n, d)
        Feature rows of H.
    G : array of shape (m, d)
        Feature rows to evaluate.
    alpha : float
        Strength of the prior.
    gamma : None, array of shape (d,) or (d, d)
        The prior is ``alpha * gamma``: identity, diagonal or full matrix, possibly singular.
    weight : None or array of shape (n,)
        Row weights s ≥ 0.
    intercept : None, bool or array of shape (n,)
        Entry of each row of X for the unpenalized intercept, 0 or 1.
    g_intercept : None, bool or array of shape (m,)
        The same for G; None stands for 1 if any row of X has an intercept.
    dps : None or int
        Decimal digits; None chooses them from the conditioning.
    backend : {None, "gmpy2", "mpmath"}
        Arithmetic; None takes gmpy2 where it is installed.

    Returns
    -------
    array of shape (m,)
        q, ``inf`` for rows outside of the range of H, 0 for zero rows.
    """
    system = _System(X, alpha, gamma, weight, intercept)
    rows = system.gradients(G, g_intercept)
    with _solved(system, dps, backend) as (mp, ldl):
        return _finite(ldl.quad(mp(rows)), system.outside(rows))


def exact_cross(
    X: Array,
    A: Array,
    B: Array,
    *,
    alpha: float,
    gamma: Array | None = None,
    weight: Array | None = None,
    intercept: Array | bool | None = None,
    a_intercept: Array | bool | None = None,
    b_intercept: Array | bool | None = None,
    dps: int | None = None,
    backend: str | None = None,
) -> Array:
    """A H⁻¹ Bᵀ, shape (n_a, n_b); ``nan`` where either row is outside of the range of H."""
    system = _System(X, alpha, gamma, weight, intercept)
    a, b = system.gradients(A, a_intercept), system.gradients(B, b_intercept)
    with _solved(system, dps, backend) as (mp, ldl):
        cross = (ldl.forward(mp(a)) / ldl.pivots) @ ldl.forward(mp(b)).T
        unpinned = system.outside(a)[:, None] | system.outside(b)
        return np.where(unpinned, np.nan, cross.astype(float))


def exact_coef(
    X: Array,
    y: Array,
    *,
    alpha: float,
    gamma: Array | None = None,
    weight: Array | None = None,
    intercept: Array | bool | None = None,
    dps: int | None = None,
    backend: str | None = None,
) -> tuple[Array, Array | float]:
    """Coefficients and intercept of the penalized least-squares fit.

    Where H is singular, the coefficients of smallest 2-norm (the intercept follows from them and
    does not count). ``y`` of shape (n,) gives (d,) and a float; (n, t) gives (d, t) and (t,).
    """
    system = _System(X, alpha, gamma, weight, intercept)
    with _solved(system, dps, backend) as (mp, _):
        coef, offset = system.coef(mp, np.asarray(y, float))
        return coef.astype(float), float(offset) if np.ndim(y) == 1 else offset.astype(float)


def exact_logdet(
    X: Array,
    *,
    alpha: float,
    gamma: Array | None = None,
    weight: Array | None = None,
    intercept: Array | bool | None = None,
    pseudo: bool = False,
    dps: int | None = None,
    backend: str | None = None,
) -> float:
    """log det H, the intercept included; for singular H ``-inf``, or with ``pseudo`` the log of
    the product of its nonzero eigenvalues."""
    system = _System(X, alpha, gamma, weight, intercept)
    if not pseudo and system.rank < system.size:
        return -np.inf
    with _solved(system, dps, backend) as (_, ldl):
        logdet = _log_product(ldl.pivots)
        if system.rank < system.size:
            # H = B H_PP⁻¹ Bᵀ with B its pivot columns: pdet H = det(BᵀB) / det(H_PP).
            B = ldl.columns
            logdet = _log_product(_LDL(B.T @ B, system.rank).pivots) - logdet
        return float(logdet)


def exact_loo(
    X: Array,
    y: Array,
    *,
    alpha: float,
    gamma: Array | None = None,
    weight: Array | None = None,
    intercept: Array | bool | None = None,
    dps: int | None = None,
    backend: str | None = None,
) -> tuple[Array, Array]:
    """Residuals and rigidities of each row from the fit without it (whole rows, whatever s).

    Returns
    -------
    residual : array of the shape of y
        y minus prediction; ``nan`` where the row alone pins its own prediction (leverage 1).
    rigidity : array of shape (n,)
        0 where nothing else pins the prediction, ``inf`` for zero rows.
    """
    system = _System(X, alpha, gamma, weight, intercept)
    y = np.asarray(y, float)
    with _solved(system, dps, backend) as (mp, ldl):
        rows, s = mp(system.rows), mp(system.weight)
        outside = system.outside(system.rows)
        q = ldl.quad(rows)
        spare = 1 - s * q
        spare[outside] = mp(np.float64(1))
        coef, offset = system.coef(mp, y)
        params = np.concatenate([coef, np.atleast_1d(offset).reshape((-1, *y.shape[1:]))])
        error = mp(y) - rows @ params[: system.size]
        residual, rigidity = np.full(y.shape, np.nan), np.zeros(len(y))
        for i in range(len(y)):
            # A leverage of exactly 1 means that the row carries a direction of its own.
            if spare[i] < 1e-35 and system.without(i).outside(system.rows[i : i + 1])[0]:
                continue
            residual[i] = np.asarray(error[i] / spare[i], dtype=float)
            if not outside[i]:
                rigidity[i] = np.inf if q[i] == 0 else float(spare[i] / q[i])
        return residual, rigidity


def exact_group_loo(
    X: Array,
    y: Array,
    groups: Array,
    *,
    alpha: float,
    gamma: Array | None = None,
    weight: Array | None = None,
    intercept: Array | bool | None = None,
    dps: int | None = None,
    backend: str | None = None,
) -> tuple[Array, Array]:
    """As :func:`exact_loo`, each row from the fit without any row of its group, by refitting."""
    system = _System(X, alpha, gamma, weight, intercept)
    y, groups = np.asarray(y, float), np.asarray(groups)
    residual, rigidity = np.full(y.shape, np.nan), np.zeros(len(y))
    for group in np.unique(groups):
        members = np.flatnonzero(groups == group)
        rest = system.without(members)
        rows = system.rows[members]
        with _solved(rest, dps, backend) as (mp, ldl):
            pinned = ~rest.outside(rows)
            q = ldl.quad(mp(rows))
            coef, offset = rest.coef(mp, y)
            params = np.concatenate([coef, np.atleast_1d(offset).reshape((-1, *y.shape[1:]))])
            error = (mp(y[members]) - mp(rows) @ params[: rest.size]).astype(float)
            residual[members[pinned]] = error[pinned]
            for i in np.flatnonzero(pinned):
                rigidity[members[i]] = np.inf if q[i] == 0 else float(1 / q[i])
    return residual, rigidity


def condition(
    X: Array,
    *,
    alpha: float,
    gamma: Array | None = None,
    weight: Array | None = None,
    intercept: Array | bool | None = None,
    rank: int | None = None,
) -> float:
    """κ₂(H): the squared condition number of the augmented rows, in double precision.

    The augmented rows are ``[√s x, √s f]`` and ``[√(αΓ), 0]``, so that the intercept is a column
    like any other and nothing is centred: a mean far from zero counts as ill-conditioning. The
    largest eigenvalue is divided by the smallest one that is not exactly zero. Relative accuracy
    about ``eps * sqrt(kappa)``. ``rank`` saves finding the exact rank, where it is known.
    """
    system = _System(X, alpha, gamma, weight, intercept)
    sigma = np.linalg.svd(system.augmented(), compute_uv=False)
    return float((sigma[0] / sigma[(rank or system.rank) - 1]) ** 2)


def exact_rank(
    X: Array,
    *,
    alpha: float,
    gamma: Array | None = None,
    weight: Array | None = None,
    intercept: Array | bool | None = None,
) -> int:
    """Rank of H, exactly (the intercept counts)."""
    return _System(X, alpha, gamma, weight, intercept).rank


def exact_outside(
    X: Array,
    G: Array,
    *,
    alpha: float,
    gamma: Array | None = None,
    weight: Array | None = None,
    intercept: Array | bool | None = None,
    g_intercept: Array | bool | None = None,
) -> Array:
    """Whether each row of G lies outside of the range of H, exactly (bool, shape (m,))."""
    system = _System(X, alpha, gamma, weight, intercept)
    return system.outside(system.gradients(G, g_intercept))


class _System:
    """The rows and the prior of H, in floats; its rank and range, exactly."""

    def __init__(
        self,
        X: Array,
        alpha: float,
        gamma: Array | None,
        weight: Array | None,
        intercept: Array | bool | None,
    ) -> None:
        X = np.asarray(X, float)
        n, d = X.shape
        flags = np.zeros(n) if intercept is None else np.broadcast_to(intercept, n).astype(float)
        self.has_intercept = bool(flags.any())
        self.rows = np.column_stack([X, flags]) if self.has_intercept else X
        self.weight = np.ones(n) if weight is None else np.asarray(weight, float)
        self.alpha = float(alpha)
        gamma = np.ones(d) if gamma is None else np.asarray(gamma, float)
        self.gamma = np.diag(gamma) if gamma.ndim == 1 else gamma
        self.n_features, self.size = d, self.rows.shape[1]
        self._echelons: list[tuple[int, list[tuple[int, Array]]]] | None = None

    def gradients(self, G: Array, flags: Array | bool | None) -> Array:
        """Rows of G with their intercept entries, as wide as H."""
        G = np.asarray(G, float)
        if flags is None:
            flags = self.has_intercept
        flags = np.broadcast_to(flags, len(G)).astype(float)
        if self.has_intercept:
            return np.column_stack([G, flags])
        if flags.any():
            raise ValueError("g_intercept is set, but no row of X has an intercept.")
        return G

    def without(self, members: Any) -> _System:
        """The same problem, with weight zero for some rows."""
        weight = self.weight.copy()
        weight[members] = 0
        flags = self.rows[:, -1] if self.has_intercept else None
        X = self.rows[:, : self.n_features]
        return _System(X, self.alpha, self.gamma, weight, flags)

    def augmented(self) -> Array:
        """Float rows whose Gram matrix is H."""
        if np.count_nonzero(self.gamma - np.diag(np.diagonal(self.gamma))) == 0:
            root = np.diag(np.sqrt(np.diagonal(self.gamma)))
        else:
            values, vectors = np.linalg.eigh(self.gamma)
            root = (vectors * np.sqrt(values.clip(min=0))).T
        prior = np.zeros((self.n_features, self.size))
        prior[:, : self.n_features] = np.sqrt(self.alpha) * root
        return np.vstack([np.sqrt(self.weight)[:, None] * self.rows, prior])

    @property
    def rank(self) -> int:
        """Exact rank of H (the prior being positive semidefinite)."""
        return max(len(echelon) for _, echelon in self._eliminated())

    def outside(self, rows: Array) -> Array:
        """Whether each row lies outside of the range of H."""
        outside = np.zeros(len(rows), bool)
        if self.rank < self.size:
            for prime, echelon in self._eliminated():
                if len(echelon) == self.rank:
                    outside |= _reduce(_residues(rows, prime), echelon, prime).any(axis=1)
        return outside

    def _eliminated(self) -> list[tuple[int, list[tuple[int, Array]]]]:
        if self._echelons is None:
            prior = np.zeros((self.n_features, self.size))
            prior[:, : self.n_features] = self.gamma * (self.alpha > 0)
            spanning = np.vstack([prior, self.rows[self.weight > 0]])
            self._echelons = [(p, _echelon(_residues(spanning, p), p)) for p in _PRIMES]
        return self._echelons

    def hessian(self, mp: Callable[[Array], Array]) -> Array:
        """H in extended precision."""
        rows = mp(self.rows[self.weight > 0])
        weighted = mp(self.weight[self.weight > 0])[:, None] * rows
        H = np.empty((self.size, self.size), object)
        H[...] = mp(np.float64(0))
        for j in range(self.size if len(rows) else 0):
            H[j, j:] = H[j:, j] = weighted[:, j] @ rows[:, j:]
        d = self.n_features
        if self.alpha > 0:
            H[:d, :d] += mp(np.float64(self.alpha)) * mp(self.gamma)
        return H

    def coef(self, mp: Callable[[Array], Array], y: Array) -> tuple[Array, Any]:
        """Minimum-norm coefficients and the intercept, in extended precision."""
        H = self.hessian(mp)
        used = self.weight > 0
        rhs = (mp(self.rows[used]).T * mp(self.weight[used])) @ mp(y[used])
        d, rank = self.n_features, self.rank
        seen = self.has_intercept and bool(H[d, d] > 0)
        if seen:
            # Profiling the intercept out leaves a problem in the coefficients alone.
            slope = H[:d, d] / H[d, d]
            A = H[:d, :d] - np.multiply.outer(slope, H[d, :d])
            b = rhs[:d] - np.multiply.outer(slope, rhs[d])
            rank -= 1
        else:
            A, b = H[:d, :d], rhs[:d]
        ldl = _LDL(A, rank)
        if rank == d:
            w = ldl.solve(b)
        else:
            # w in the range of A, spanned by its pivot columns B; BᵀB z = b on the pivots.
            B = ldl.columns
            w = B @ _LDL(B.T @ B, rank).solve(b[ldl.order]) if rank else 0 * b
        zero = mp(np.zeros(y.shape[1:])) if y.ndim > 1 else mp(np.float64(0))
        return w, (rhs[d] - H[d, :d] @ w) / H[d, d] if seen else zero


class _LDL:
    """Diagonally pivoted L D Lᵀ of a positive semidefinite matrix of known rank."""

    def __init__(self, H: Array, rank: int) -> None:
        S, diagonal = H.copy(), np.diagonal(H).copy()
        left = list(range(len(H)))
        self._steps: list[tuple[int, Array, Array]] = []
        pivots, ratios = [], [1.0]
        for _ in range(rank):
            j = max(left, key=lambda i: S[i, i] / diagonal[i] if diagonal[i] > 0 else -1)
            pivot = S[j, j]
            if not pivot > 0:
                raise ValueError("H is not positive semidefinite, or has lost all its digits.")
            left.remove(j)
            rest = np.array(left, int)
            column = S[rest, j] / pivot
            S[np.ix_(rest, rest)] -= np.multiply.outer(column, S[rest, j])
            self._steps.append((j, rest, column))
            pivots.append(pivot)
            ratios.append(float(pivot / diagonal[j]))
        self.pivots = np.array(pivots, object)
        self.order = [j for j, _, _ in self._steps]
        self.columns = H[:, self.order]
        self.digits_lost = -np.log10(min(ratios))

    def forward(self, rows: Array) -> Array:
        """L⁻¹ g for every row, shape (m, rank)."""
        rest_of = rows.copy()
        out = np.empty((len(rows), len(self._steps)), object)
        for k, (j, rest, column) in enumerate(self._steps):
            out[:, k] = rest_of[:, j]
            rest_of[:, rest] -= np.multiply.outer(out[:, k], column)
        return out

    def quad(self, rows: Array) -> Array:
        """gᵀ H⁻¹ g of rows in the range."""
        z = self.forward(rows)
        return (z * z / self.pivots).sum(axis=1) if len(self.pivots) else 0 * rows[:, 0]

    def solve(self, b: Array) -> Array:
        """H⁻¹ b for b in the range, zero off the pivots; columns of b one by one."""
        u = 0 * b
        z = self.forward(b.reshape(len(b), -1).T) / self.pivots
        for (j, rest, column), values in zip(self._steps[::-1], z.T[::-1], strict=True):
            u[j] = (values if b.ndim > 1 else values[0]) - (column @ u[rest] if len(rest) else 0)
        return u


class _Solved(NamedTuple):
    mp: Callable[[Array], Array]
    ldl: _LDL


@contextmanager
def _solved(system: _System, dps: int | None, backend: str | None) -> Iterator[_Solved]:
    """H factorized with digits to spare (``_KEEP_DIGITS``), and the arithmetic it lives in."""
    digits = dps or _FIRST_DPS
    while True:
        with _arithmetic(digits, backend) as mp:
            try:
                ldl = _LDL(system.hessian(mp), system.rank)
                enough = digits - 2 * ldl.digits_lost >= _KEEP_DIGITS
            except ValueError:
                if dps or digits > 1000:
                    raise
                enough = False
            if enough or dps:
                yield _Solved(mp, ldl)
                return
        digits *= 2


@contextmanager
def _arithmetic(dps: int, backend: str | None) -> Iterator[Callable[[Array], Array]]:
    """Set the working precision; the value converts float arrays exactly to extended numbers."""
    if backend is None:
        backend = "mpmath" if gmpy2 is None else "gmpy2"
    if backend == "gmpy2":
        with gmpy2.context(precision=int(dps * np.log2(10)) + 8):
            yield np.frompyfunc(gmpy2.mpfr, 1, 1)
    else:
        with mpmath.workdps(dps):
            yield np.frompyfunc(mpmath.mpf, 1, 1)


def _finite(q: Array, outside: Array) -> Array:
    return np.where(outside, np.inf, q.astype(float))


def _log_product(values: Array) -> Any:
    log = mpmath.log if len(values) and isinstance(values[0], mpmath.mpf) else gmpy2.log
    return sum((log(v) for v in values), start=values[0] * 0) if len(values) else 0.0


def _residues(a: Array, prime: int) -> Array:
    """Dyadic numbers modulo a prime, exactly: m 2^e maps to m (2 mod p)^e."""
    mantissa, exponent = np.frexp(a)
    powers = np.array([pow(2, e - 53, prime) for e in range(-1100, 1100)])
    return (mantissa * 2.0**53).astype(np.int64) % prime * powers[exponent + 1100] % prime


def _echelon(M: Array, prime: int) -> list[tuple[int, Array]]:
    """Pivot columns and rows of the row echelon form modulo a prime."""
    pivots = []
    for c in range(M.shape[1]):
        nonzero = np.flatnonzero(M[:, c])
        if len(nonzero) == 0:
            continue
        row = M[nonzero[0]] * pow(int(M[nonzero[0], c]), -1, prime) % prime
        pivots.append((c, row))
        M = np.delete(M, nonzero[0], axis=0)
        M = _reduce(M, pivots[-1:], prime)
    return pivots


def _reduce(M: Array, pivots: list[tuple[int, Array]], prime: int) -> Array:
    """Remainder of rows after elimination by the pivot rows."""
    for c, row in pivots:
        M = (M - M[:, c : c + 1] * row) % prime
    return M
