"""Test problems of every kind the numerical standard covers, at a chosen conditioning.

``Case.kappa`` is the actual κ₂(H), the squared condition number of the augmented rows
``[√s x, √s f]`` over ``[√(αΓ), 0]``: the intercept is one more column, nothing is centred and no
column is scaled. Where H is singular, the smallest *nonzero* eigenvalue counts.

Singular problems are singular exactly, in floats: integers, zero or duplicate columns. Rounding the
rows turns their space by about ``eps * sqrt(kappa)``; a row of G that is unpinned exactly, but
within 100 max(n, d) times that of the space, has no right answer in doubles, and is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from oracle import condition, exact_outside, exact_rank

Array = np.ndarray


@dataclass(frozen=True)
class Case:
    """One problem: rows, prior, rows to evaluate, targets.

    ``intercept`` and ``g_intercept`` are 0/1 arrays (``intercept`` None: the model has none).
    ``g_kind`` says what each row of G is; ``family`` groups cases in reports.
    """

    name: str
    family: str
    X: Array
    weight: Array | None
    intercept: Array | None
    alpha: float
    gamma: Array | None
    G: Array
    g_intercept: Array | None
    g_kind: tuple[str, ...]
    y: Array
    kappa: float
    options: dict[str, Any] = field(default_factory=dict, compare=False)

    @property
    def problem(self) -> dict[str, Any]:
        """Keyword arguments of the oracle's functions, without G."""
        return {
            "alpha": self.alpha,
            "gamma": self.gamma,
            "weight": self.weight,
            "intercept": self.intercept,
        }

    def __repr__(self) -> str:
        return self.name


def make_case(
    seed: int,
    *,
    shape: str = "tall",
    d: int = 10,
    kappa: float = 1e8,
    n: int | None = None,
    spectrum: str = "geometric",
    intercept: bool | str = False,
    prior: str = "scalar",
    alpha: float | None = None,
    weights: str | None = None,
    columns: str | None = None,
    mean_shift: float = 0.0,
    deficient: str | None = None,
    family: str | None = None,
) -> Case:
    """Build a problem whose κ(H) is as close to ``kappa`` as the other choices allow.

    Parameters
    ----------
    seed : int
        Seed of everything random.
    shape : {"tall", "wide", "square"}
        n = 2d + 10, max(2, d // 2) or d rows, unless ``n`` says otherwise.
    d, n : int
        Features and rows.
    kappa : float
        Wanted κ(H). Reached through the decay of the spectrum of X; where rows do not fill the
        space, through alpha, or through the scale of X if alpha is given.
    spectrum : {"geometric", "one_small", "clustered", "step"}
        Shape of the singular values of X, before weights and column scales.
    intercept : {False, True, "mixed"}
        Whether all rows or a random half of them are flagged.
    prior : {"scalar", "diagonal", "matrix", "zero_entries"}
        Γ: identity, diagonal over four decades, full matrix, diagonal with zeros.
    alpha : None or float
        None follows from ``kappa``; 0 with fewer rows than features needs ``deficient``.
    weights : {None, "spread", "zeros"}
        Weights over 1e12 in random order, or a fifth of them zero.
    columns : {None, "graded"}
        Scales of the columns from 1e-8 to 1, in random order.
    mean_shift : float
        Length of a random vector added to every row.
    deficient : {None, "integers", "zero_columns", "duplicate_columns"}
        Exact rank deficiency; integers times powers of two reach κ(X) of about 1e9.
    family : None or str
        Name in reports; None composes it from the choices.
    """
    options = dict(locals())
    rng = np.random.default_rng(seed)
    if n is None:
        n = {"tall": 2 * d + 10, "wide": max(2, d // 2), "square": d}[shape]
    flags = _flags(rng, n, intercept)
    weight = _weights(rng, n, weights)
    gamma = _gamma(rng, d, prior)
    build, in_space = _builder(rng, n, d, spectrum, columns, mean_shift, deficient, flags)
    X, alpha = _tune(build, kappa, alpha, n, gamma, weight, flags, deficient)

    G, g_flags, kinds = _evaluation_rows(rng, X, weight, flags, in_space)
    problem = {"alpha": alpha, "gamma": gamma, "weight": weight, "intercept": flags}
    actual = condition(X, **problem)
    keep = ~_ambiguous(X, G, g_flags, problem, actual)
    noise = 1e-3 * rng.normal(size=n)
    y = X @ rng.normal(size=d) / max(np.abs(X).max(), 1e-300) + noise
    parts = [shape, f"d{d}", f"k{np.log10(kappa):.0f}", spectrum]
    parts += [f"{intercept}_intercept"] if intercept else []
    parts += [prior] if prior != "scalar" else []
    parts += [v for v in (weights and f"weights_{weights}", columns, deficient) if v]
    parts += [f"shift{mean_shift:g}"] if mean_shift else []
    parts += ["alpha0"] if alpha == 0 else []
    name = "-".join(parts)
    return Case(
        name=f"{name}-s{seed}",
        family=family or "-".join(p for p in parts if p[0] != "k" and p != f"d{d}"),
        X=X,
        weight=weight,
        intercept=flags,
        alpha=alpha,
        gamma=gamma,
        G=G[keep],
        g_intercept=None if flags is None else g_flags[keep],
        g_kind=tuple(np.array(kinds)[keep].tolist()),
        y=y + (0 if flags is None else flags),
        kappa=actual,
        options=options,
    )


def _flags(rng: np.random.Generator, n: int, intercept: bool | str) -> Array | None:
    if intercept == "mixed":
        return rng.permutation(np.arange(n) % 2).astype(float)
    return np.ones(n) if intercept else None


def _weights(rng: np.random.Generator, n: int, weights: str | None) -> Array | None:
    if weights == "spread":
        return 10.0 ** rng.permutation(np.linspace(-6, 6, n))
    if weights == "zeros":
        return np.where(rng.permutation(n) % 5 == 0, 0.0, rng.uniform(0.5, 2, n))
    return None


def _gamma(rng: np.random.Generator, d: int, prior: str) -> Array | None:
    if prior == "diagonal":
        return 10.0 ** rng.uniform(-2, 2, d)
    if prior == "zero_entries":
        return np.where(rng.permutation(d) < max(1, d // 4), 0.0, 10.0 ** rng.uniform(-1, 1, d))
    if prior == "matrix":
        Q, _ = np.linalg.qr(rng.normal(size=(d, d)))
        gamma = (Q * np.logspace(-2, 2, d)) @ Q.T
        return (gamma + gamma.T) / 2
    return None


def _decay(spectrum: str, r: int, decades: float) -> Array:
    """r singular values from 1 down to 10**-decades."""
    if spectrum == "one_small":
        exponents = np.append(np.zeros(r - 1), 1.0) if r > 1 else np.zeros(1)
    elif spectrum == "clustered":
        exponents = np.where(np.arange(r) < (r + 1) // 2, 0.0, 1.0)
    elif spectrum == "step":
        exponents = np.minimum(np.arange(r) * 3 // r, 2) / 2
    else:
        exponents = np.linspace(0, 1, r)
    return 10.0 ** (-decades * exponents)


def _orthonormal(rng: np.random.Generator, n: int, r: int) -> Array:
    return np.linalg.qr(rng.normal(size=(n, r)))[0]


def _builder(
    rng: np.random.Generator,
    n: int,
    d: int,
    spectrum: str,
    columns: str | None,
    mean_shift: float,
    deficient: str | None,
    flags: Array | None,
) -> tuple[Callable[[float], Array], Callable[[Array], Array]]:
    """X as a function of the decades of its spectrum, and a map from numbers to its row space."""
    if deficient == "integers":
        # Powers of two keep every sum exact: X and rows of its space are exact to the last bit.
        rank = min(max(1, (2 * d) // 3), n - (flags is not None) if n > 1 else 1)
        Z, E = rng.integers(-5, 6, (n, rank)), rng.integers(-2, 3, (rank, d))
        E[:, :rank] += 4 * np.eye(rank, dtype=int)
        scale = np.ones(rank)

        def build(decades: float) -> Array:
            scale[:] = 2.0 ** np.round(np.log2(_decay(spectrum, rank, min(decades, 10))))
            return (Z * scale) @ E

        def in_space(c: Array) -> Array:
            return (np.round(4 * c[:rank]) * scale) @ E

        return build, in_space

    take = np.arange(d)
    if deficient == "duplicate_columns":
        take[rng.permutation(d)[: max(1, d // 4)]] = 0
    alive = np.ones(d)
    if deficient == "zero_columns":
        alive[rng.permutation(d)[: max(1, d // 4)]] = 0
    take, alive = np.sort(take), alive[np.sort(take)]
    used = np.unique(take[alive > 0])
    r = min(n, len(used))
    U, V = _orthonormal(rng, n, r), _orthonormal(rng, len(used), r)
    scales = np.ones(len(used))
    if columns == "graded":
        scales = 10.0 ** rng.permutation(np.linspace(-8, 0, len(used)))
    shift = rng.normal(size=len(used)) * mean_shift / np.sqrt(len(used))

    def spread(Z: Array) -> Array:
        out = np.zeros((*Z.shape[:-1], d))
        columns_of = np.searchsorted(used, take).clip(max=len(used) - 1)
        live = (alive > 0) & np.isin(take, used)
        out[..., live] = Z[..., columns_of[live]]
        return out

    def build(decades: float) -> Array:
        Z = (U * _decay(spectrum, r, decades)) @ V.T * np.sqrt(n)
        return spread((Z + shift) * scales)

    def in_space(c: Array) -> Array:
        return spread(c[: len(used)] * scales)

    return build, in_space


def _tune(
    build: Callable[[float], Array],
    kappa: float,
    alpha: float | None,
    n: int,
    gamma: Array | None,
    weight: Array | None,
    flags: Array | None,
    deficient: str | None,
) -> tuple[Array, float]:
    """X and alpha that bring κ(H) to the wanted value, or near it."""
    decades = 0.5 * np.log10(kappa)
    X = build(0.0)
    # Neither the decay nor the value of a nonzero alpha changes the rank.
    rank = exact_rank(
        X, alpha=1.0 if alpha is None else alpha, gamma=gamma, weight=weight, intercept=flags
    )

    def measured(X: Array, alpha: float) -> float:
        return condition(X, alpha=alpha, gamma=gamma, weight=weight, intercept=flags, rank=rank)

    penalized_space = n < X.shape[1] or deficient is not None
    if alpha == 0:
        return build(_bisect(lambda t: measured(build(t), 0.0), 0, 2 * decades, kappa)), 0.0
    if alpha is None and not penalized_space:
        alpha = float(np.linalg.norm(X, 2) ** 2 / kappa / 100)
    if not penalized_space:
        t = _bisect(lambda t: measured(build(t), alpha), 0, 2 * decades, kappa)
        X = build(t)
        if measured(X, alpha) > kappa / 3 or t == 0:
            return X, alpha
        X = build(decades)
    else:
        X = build(max(decades - 0.5, 0.0))
    if alpha is None:
        top = np.linalg.norm(X, 2) ** 2
        log = _bisect(lambda a: measured(X, top * 10.0**-a), -6, 40, kappa)
        return X, float(top * 10.0**-log)
    scale = _bisect(lambda a: measured(X * 2.0 ** np.round(a), alpha), -60, 60, kappa)
    return X * 2.0 ** np.round(scale), alpha


def _bisect(function: Callable[[float], float], low: float, high: float, target: float) -> float:
    """Argument at which an increasing function passes the target; the end nearest otherwise."""
    if function(low) >= target:
        return low
    if function(high) <= target:
        return high
    for _ in range(12):
        middle = (low + high) / 2
        low, high = (middle, high) if function(middle) < target else (low, middle)
    return (low + high) / 2


def _evaluation_rows(
    rng: np.random.Generator,
    X: Array,
    weight: Array | None,
    flags: Array | None,
    in_space: Callable[[Array], Array],
) -> tuple[Array, Array, list[str]]:
    n, d = X.shape
    f = np.zeros(n) if flags is None else flags
    s = np.ones(n) if weight is None else weight
    has = float(flags is not None)
    mean = (s * f) @ X / max(s @ f, 1e-300)
    _, sigma, Vt = np.linalg.svd(np.sqrt(s)[:, None] * (X - np.outer(f, mean)))
    rank = max(1, int(np.sum(sigma > max(n, d) * np.finfo(float).eps * sigma[0])))
    size = max(np.linalg.norm(X, axis=1).max(), 1e-300)
    inside = in_space(rng.normal(size=d))
    last = Vt[-1] if rank == d else Vt[rank:].T @ rng.normal(size=d - rank)
    last = last / np.linalg.norm(last)
    rows: list[tuple[str, Array, float]] = []
    heavy, light = int(np.argmax(s)), int(np.argmin(np.where(s > 0, s, np.inf)))
    for i in dict.fromkeys([0, n // 2, n - 1, heavy, light]):
        rows.append(("training", X[i], f[i]))
    for kind, v in (("first", Vt[0]), ("last", Vt[rank - 1]), ("beyond", Vt[-1])):
        rows.append((f"{kind}_singular", v, 0.0))
        if has:
            rows.append((f"{kind}_singular_mean", mean + size * v, 1.0))
    rows.append(("in_space", inside, 0.0))
    rows.append(("in_space", in_space(rng.normal(size=d)), has))
    rows.append(("random", rng.normal(size=d), has))
    rows.append(("random", size * rng.normal(size=d), has))
    length = max(float(np.linalg.norm(inside)), 1e-300)
    for k in (3, 5, 7, 8, 10):
        rows.append(("near_space", inside + 10.0**-k * length * last, 0.0))
    rows.append(("near_space", X[0] + 1e-6 * np.linalg.norm(X[0]) * last, f[0]))
    rows.append(("zero", np.zeros(d), 0.0))
    half = np.arange(d) < (d + 1) // 2
    rows.append(("masked", np.where(half, X[0], 0), 0.0))
    rows.append(("masked", np.where(half, 0, X[n // 2]), 0.0))
    rows.append(("mean", mean, has))
    rows.append(("mean_shifted", X[0] + 10 * size * np.ones(d), has))
    return (
        np.array([row for _, row, _ in rows]),
        np.array([flag for _, _, flag in rows]),
        [kind for kind, _, _ in rows],
    )


def _ambiguous(X: Array, G: Array, g_flags: Array, problem: dict[str, Any], kappa: float) -> Array:
    """Rows exactly outside of the range, yet by less than a tolerance in doubles can resolve."""
    has = problem["intercept"] is not None
    outside = exact_outside(X, G, g_intercept=g_flags if has else None, **problem)
    if not outside.any():
        return outside
    n, d = X.shape
    rows = np.column_stack([X, problem["intercept"]]) if has else X
    rows = rows if problem["weight"] is None else rows[problem["weight"] > 0]
    if problem["alpha"] > 0 and problem["gamma"] is not None:
        gamma = problem["gamma"] if problem["gamma"].ndim == 2 else np.diag(problem["gamma"])
        rows = np.vstack([rows, np.pad(gamma, ((0, 0), (0, int(has))))])
    g = np.column_stack([G, g_flags]) if has else G
    eps = np.finfo(float).eps
    _, sigma, Vt = np.linalg.svd(rows, full_matrices=False)
    keep = sigma > max(rows.shape) * eps * sigma[0]
    Vt, turn = Vt[keep], max(n, d) * eps * max(np.sqrt(kappa), 10)
    away = np.linalg.norm(g - (g @ Vt.T) @ Vt, axis=1)
    return outside & (away < 100 * turn * np.linalg.norm(g, axis=1))


# Each family is a problem class of its own; the numbers of the report are by this name. A shift
# counts twice in kappa: it makes the rows longer, and the intercept column nearly one of theirs.
FAMILIES: dict[str, dict[str, Any]] = {
    "tall": {},
    "tall one_small": {"spectrum": "one_small"},
    "tall clustered": {"spectrum": "clustered"},
    "tall step, intercept": {"spectrum": "step", "intercept": True},
    "tall tiny alpha": {"alpha": 1e-20, "intercept": True},
    "tall alpha=0": {"alpha": 0.0, "intercept": True},
    "square": {"shape": "square"},
    "square alpha=0": {"shape": "square", "alpha": 0.0},
    "wide": {"shape": "wide"},
    "wide, intercept": {"shape": "wide", "intercept": True},
    "wide tiny alpha": {"shape": "wide", "alpha": 1e-20},
    "wide tiny alpha, intercept": {"shape": "wide", "alpha": 1e-18, "intercept": True},
    "wide, diagonal prior": {"shape": "wide", "prior": "diagonal", "intercept": True},
    "wide, matrix prior": {"shape": "wide", "prior": "matrix", "intercept": "mixed"},
    "wide, zero entries": {"shape": "wide", "prior": "zero_entries", "intercept": True},
    "mixed intercept": {"intercept": "mixed"},
    "mixed intercept, shifted": {"intercept": "mixed", "mean_shift": 30.0},
    "diagonal prior": {"prior": "diagonal", "intercept": True},
    "matrix prior": {"prior": "matrix", "intercept": "mixed"},
    "zero entries": {"prior": "zero_entries", "intercept": True},
    "weights spread": {"weights": "spread", "intercept": True},
    "weights spread, no intercept": {"weights": "spread"},
    "weights spread, wide": {"weights": "spread", "shape": "wide", "intercept": True},
    "weights zeros": {"weights": "zeros", "intercept": True},
    "graded columns": {"columns": "graded", "intercept": True},
    "graded columns, wide": {"columns": "graded", "shape": "wide"},
    "graded, weights spread": {"columns": "graded", "weights": "spread", "intercept": "mixed"},
    "shift 1e3": {"intercept": True, "mean_shift": 1e3},
    "shift 2e4": {"intercept": True, "mean_shift": 2e4},
    "shift 2e4, wide": {"intercept": True, "mean_shift": 2e4, "shape": "wide"},
    "deficient tall alpha=1e-20": {"deficient": "duplicate_columns", "alpha": 1e-20},
    "deficient tall": {"deficient": "integers", "intercept": True},
    "integers alpha=0": {"deficient": "integers", "alpha": 0.0},
    "integers wide alpha=0": {
        "deficient": "integers",
        "alpha": 0.0,
        "shape": "wide",
        "intercept": True,
    },
    "zero columns alpha=0": {"deficient": "zero_columns", "alpha": 0.0, "intercept": True},
    "duplicates alpha=0": {"deficient": "duplicate_columns", "alpha": 0.0, "intercept": "mixed"},
    "unpenalized zero columns": {
        "deficient": "zero_columns",
        "prior": "zero_entries",
        "intercept": True,
    },
}


def all_cases(
    size: str = "quick",
    *,
    seeds: int | None = None,
    dimensions: tuple[int, ...] | None = None,
    kappas: tuple[float, ...] = (1e4, 1e8, 1e12, 1e16, 1e20),
    families: tuple[str, ...] | None = None,
) -> Iterator[Case]:
    """Cases of every family.

    ``"quick"``: one per family and κ with d up to 20 (seconds). ``"large"``: 50 seeds, family by
    family in turn, with d up to 100. Generated one by one: a list of the large set is big.
    """
    quick = size == "quick"
    seeds = seeds or (1 if quick else 50)
    dimensions = dimensions or ((5, 20, 10) if quick else (10, 30, 100, 20, 60))
    names = families or tuple(FAMILIES)
    for seed in range(seeds):
        for i, family in enumerate(names):
            # A large sweep takes one κ per seed and family; seeds walk over κ and d together.
            chosen = kappas if quick else (kappas[(seed + i) % len(kappas)],)
            for k, kappa in enumerate(chosen):
                d = dimensions[(seed // len(kappas) + i + k) % len(dimensions)]
                yield make_case(
                    1000 * seed + 10 * i + k, d=d, kappa=kappa, family=family, **FAMILIES[family]
                )


def quick_cases() -> list[Case]:
    """The quick set as a list, for ``pytest.mark.parametrize`` (``ids=repr``)."""
    return list(all_cases("quick"))
