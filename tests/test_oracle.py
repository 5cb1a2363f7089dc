"""The oracle against plain numpy, exact rationals and a second arithmetic; the cases as asked."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from cases import FAMILIES, make_case, quick_cases
from oracle import (
    condition,
    exact_coef,
    exact_cross,
    exact_group_loo,
    exact_logdet,
    exact_loo,
    exact_outside,
    exact_quad,
    exact_rank,
)
from sweep import plain_svd, reference, sweep


def _well_conditioned(seed, n=30, d=6):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d)) + 0.5
    root = rng.normal(size=(d, d))
    problem = {
        "alpha": 0.3,
        "gamma": root @ root.T + np.eye(d),
        "weight": rng.uniform(0.5, 2, n),
        "intercept": rng.integers(0, 2, n).astype(float),
    }
    return rng, X, problem


def _dense(X, *, alpha, gamma=None, weight=None, intercept=None):
    n, d = X.shape
    rows = X if intercept is None else np.column_stack([X, np.broadcast_to(intercept, n)])
    gamma = np.eye(d) if gamma is None else np.diag(gamma) if np.ndim(gamma) == 1 else gamma
    H = (rows.T * (np.ones(n) if weight is None else weight)) @ rows
    H[:d, :d] += alpha * gamma
    return rows, H


@pytest.mark.parametrize("seed", range(3))
def test_everything_equals_numpy_where_numpy_is_accurate(seed):
    rng, X, problem = _well_conditioned(seed)
    rows, H = _dense(X, **problem)
    G = rng.normal(size=(9, X.shape[1]))
    flags = np.arange(9) % 2
    g = np.column_stack([G, flags])
    quad = exact_quad(X, G, g_intercept=flags, **problem)
    np.testing.assert_allclose(quad, np.sum(g * np.linalg.solve(H, g.T).T, axis=1), rtol=1e-11)
    cross = exact_cross(X, G, X, a_intercept=flags, b_intercept=problem["intercept"], **problem)
    np.testing.assert_allclose(cross, g @ np.linalg.solve(H, rows.T), rtol=1e-9, atol=1e-12)
    assert exact_logdet(X, **problem) == pytest.approx(np.linalg.slogdet(H)[1], rel=1e-12)
    assert condition(X, **problem) == pytest.approx(np.linalg.cond(H), rel=1e-9)
    y = rng.normal(size=(len(X), 2))
    params = np.linalg.solve(H, (rows.T * problem["weight"]) @ y)
    coef, offset = exact_coef(X, y, **problem)
    np.testing.assert_allclose(np.vstack([coef, offset]), params, rtol=1e-9)
    one, scalar = exact_coef(X, y[:, 0], **problem)
    np.testing.assert_array_equal(one, coef[:, 0])
    assert scalar == offset[0]


@pytest.mark.parametrize("targets", [(), (2,)])
def test_leave_one_out_equals_refitting(targets):
    rng, X, problem = _well_conditioned(5, n=12)
    y = rng.normal(size=(12, *targets))
    residual, rigidity = exact_loo(X, y, **problem)
    by_group = exact_group_loo(X, y, np.arange(12), **problem)
    np.testing.assert_allclose(residual, by_group[0], rtol=1e-14)
    np.testing.assert_allclose(rigidity, by_group[1], rtol=1e-14)
    for i in range(12):
        keep = np.arange(12) != i
        weight = problem["weight"][keep]
        less = problem | {"weight": weight, "intercept": problem["intercept"][keep]}
        rows, H = _dense(X[keep], **less)
        g = np.append(X[i], problem["intercept"][i])
        prediction = g @ np.linalg.solve(H, (rows.T * weight) @ y[keep])
        np.testing.assert_allclose(residual[i], y[i] - prediction, rtol=1e-9)
        assert rigidity[i] == pytest.approx(1 / (g @ np.linalg.solve(H, g)), rel=1e-9)


def test_group_leave_one_out_without_the_group():
    rng, X, problem = _well_conditioned(6, n=15)
    y, groups = rng.normal(size=15), np.arange(15) % 4
    residual, rigidity = exact_group_loo(X, y, groups, **problem)
    for group in range(4):
        out = groups == group
        weight = np.where(out, 0, problem["weight"])
        coef, offset = exact_coef(X, y, **problem | {"weight": weight})
        flags = problem["intercept"][out]
        expected = y[out] - X[out] @ coef - offset * flags
        np.testing.assert_allclose(residual[out], expected, rtol=1e-10)
        q = exact_quad(X, X[out], g_intercept=flags, **problem | {"weight": weight})
        np.testing.assert_allclose(rigidity[out], 1 / q, rtol=1e-14)


def _rational_quad(rows, weight, prior, g):
    """Gᵀ H⁺ g by Gauss-Jordan in fractions; None where g is not in the range of H."""
    size = len(g)
    H = [
        [
            sum((w * r[i] * r[j] for w, r in zip(weight, rows, strict=True)), prior[i][j])
            for j in range(size)
        ]
        for i in range(size)
    ]
    M = [[*row, value] for row, value in zip(H, g, strict=True)]
    solution, done = [Fraction(0)] * size, []
    for c in range(size):
        pick = next((r for r in range(size) if r not in done and M[r][c] != 0), None)
        if pick is None:
            continue
        done.append(pick)
        solution[c] = pick
        M[pick] = [v / M[pick][c] for v in M[pick]]
        for r in range(size):
            if r != pick:
                factor = M[r][c]
                M[r] = [a - factor * b for a, b in zip(M[r], M[pick], strict=True)]
    if any(M[r][size] != 0 for r in range(size) if r not in done):
        return None
    u = [M[s][size] if not isinstance(s, Fraction) else Fraction(0) for s in solution]
    return sum((a * b for a, b in zip(u, g, strict=True)), Fraction(0))


@pytest.mark.parametrize("seed", range(40))
def test_quad_equals_fractions_on_small_integers(seed):
    rng = np.random.default_rng(seed)
    n, d = rng.integers(1, 6), rng.integers(1, 5)
    X = rng.integers(-2, 3, (n, d)).astype(float)
    flags = rng.integers(0, 2, n) if seed % 3 else np.zeros(n, int)
    weight = rng.integers(0, 4, n) / 4
    alpha = [0.0, 0.0, 0.5, 2.0**-60][seed % 4]
    root = rng.integers(-1, 2, (d, d))
    gamma = [None, rng.integers(0, 3, d).astype(float), (root.T @ root).astype(float)][seed % 3]
    G = np.vstack([X, rng.integers(-2, 3, (6, d)), np.zeros((1, d))]).astype(float)
    g_flags = np.append(flags, np.zeros(7, int))
    if flags.any():
        g_flags[n : n + 3] = 1
    options = {"alpha": alpha, "gamma": gamma, "weight": weight, "intercept": flags}
    found = exact_quad(X, G, g_intercept=g_flags, **options)

    prior = np.zeros((d + 1, d + 1))
    prior[:d, :d] = np.eye(d) if gamma is None else np.diag(gamma) if gamma.ndim == 1 else gamma
    prior = [[Fraction(alpha) * Fraction(v) for v in row] for row in prior]
    rows = [[Fraction(v) for v in row] for row in np.column_stack([X, flags]).tolist()]
    for row, value in zip(np.column_stack([G, g_flags]).tolist(), found, strict=True):
        exact = _rational_quad(rows, [Fraction(w) for w in weight], prior, [*map(Fraction, row)])
        assert value == (np.inf if exact is None else float(exact))


def test_singular_problems():
    X = np.array([[1.0, 1, 0], [2, 2, 0], [0, 0, 0]])
    assert exact_quad(X, [[1.0, 1, 0], [1, 0, 0], [0, 0, 0]], alpha=0).tolist() == [0.2, np.inf, 0]
    assert exact_outside(X, [[0.5, 0.5, 0], [0, 0, 1e-300]], alpha=0).tolist() == [False, True]
    coef, offset = exact_coef(X, [2.0, 4, 0], alpha=0)
    assert (coef.tolist(), offset) == ([1.0, 1.0, 0.0], 0.0)
    assert exact_logdet(X, alpha=0) == -np.inf
    assert exact_logdet(X, alpha=0, pseudo=True) == pytest.approx(np.log(10))
    assert condition(X, alpha=0) == pytest.approx(1)
    # The third column is penalized, the first two are duplicates that only the data see.
    gamma = np.array([0.0, 0, 1])
    assert exact_quad(X, [[1.0, 1, 2]], alpha=1, gamma=gamma).tolist() == [4.2]


def test_minimum_norm_leaves_the_intercept_out():
    rng = np.random.default_rng(0)
    X = rng.integers(-5, 6, (4, 7)).astype(float)
    y = rng.normal(size=4)
    coef, offset = exact_coef(X, y, alpha=0, intercept=True)
    centred = X - X.mean(0)
    expected = np.linalg.lstsq(centred, y - y.mean(), rcond=None)[0]
    np.testing.assert_allclose(coef, expected, rtol=1e-11)
    assert offset == pytest.approx(y.mean() - X.mean(0) @ expected)


def test_leverage_of_exactly_one_has_no_leave_one_out():
    X = np.array([[1.0, 0], [0, 1], [0, 2], [0, 0]])
    residual, rigidity = exact_loo(X, np.ones(4), alpha=0)
    np.testing.assert_array_equal(np.isnan(residual), [True, False, False, False])
    np.testing.assert_array_equal(rigidity, [0, 4, 0.25, np.inf])
    grouped = exact_group_loo(X, np.ones(4), [0, 1, 1, 2], alpha=0)
    np.testing.assert_array_equal(np.isnan(grouped[0]), [True, True, True, False])
    np.testing.assert_array_equal(grouped[1], [0, 0, 0, np.inf])
    tiny = exact_loo(X, np.ones(4), alpha=1e-40)
    assert tiny[1][0] == 1e-40
    assert tiny[0][0] == pytest.approx(1)


def test_an_intercept_no_row_sees_is_refused():
    with pytest.raises(ValueError, match="g_intercept"):
        exact_quad(np.eye(2), np.eye(2), alpha=1, g_intercept=True)


def _hard(seed, n, d):
    rng = np.random.default_rng(seed)
    U, _ = np.linalg.qr(rng.normal(size=(n, d)))
    V, _ = np.linalg.qr(rng.normal(size=(d, d)))
    X = (U * np.logspace(0, -9.5, d)) @ V.T
    options = {"alpha": 1e-20, "weight": 10.0 ** rng.uniform(-3, 3, n), "intercept": True}
    return X, np.vstack([X[:3], V.T[-2:], rng.normal(size=(3, d))]), options


def test_precision_is_enough():
    X, G, options = _hard(0, 30, 15)
    assert condition(X, **options) > 1e18
    found = exact_quad(X, G, **options)
    np.testing.assert_array_equal(found, exact_quad(X, G, dps=250, **options))
    # A direction seen only at the level of rounding: κ(H) = 1e100 raises the precision by itself.
    X[:, 0] = X[:, 1] * (1 + 2.0**-52) * 1e-100
    found = exact_quad(X, G, **options | {"alpha": 0})
    np.testing.assert_array_equal(found, exact_quad(X, G, dps=400, **options | {"alpha": 0}))


def test_gmpy2_and_mpmath_agree():
    pytest.importorskip("gmpy2")
    X, G, options = _hard(1, 20, 8)
    y = X @ np.arange(8.0) + 1
    for call in (
        lambda b: exact_quad(X, G, backend=b, **options),
        lambda b: exact_coef(X, y, backend=b, **options)[0],
        lambda b: exact_logdet(X, backend=b, **options),
        lambda b: exact_loo(X, y, backend=b, **options)[1],
    ):
        np.testing.assert_array_equal(call("gmpy2"), call("mpmath"))


def test_quad_equals_flint_rationals():
    flint = pytest.importorskip("flint")

    def matrix(a):
        cells = [[flint.fmpq(*v.as_integer_ratio()) for v in row] for row in a.tolist()]
        return flint.fmpq_mat(cells)

    X, G, options = _hard(2, 30, 12)
    rows, g = np.column_stack([X, np.ones(30)]), np.column_stack([G, np.ones(len(G))])
    A, B = matrix(rows), matrix(g)
    prior = matrix(np.diag(np.append(np.full(12, options["alpha"]), 0.0)))
    H = A.transpose() * matrix(np.diag(options["weight"])) * A + prior
    exact = (B * H.solve(B.transpose())).table()
    exact = [float(Fraction(int(exact[i][i].p), int(exact[i][i].q))) for i in range(len(G))]
    np.testing.assert_array_equal(exact_quad(X, G, **options), exact)


# Elsewhere the shift, the scales, n / alpha alone or the unpenalized columns decide as well.
REACHED = [
    name
    for name, options in FAMILIES.items()
    if not {"mean_shift", "columns"} & set(options)
    and options.get("alpha") != 1e-18
    and options.get("prior") != "zero_entries"
]


@pytest.mark.parametrize("kappa", [1e12, 1e16, 1e20])
@pytest.mark.parametrize("family", REACHED)
def test_kappa_is_as_requested(family, kappa):
    case = make_case(3, d=12, kappa=kappa, **FAMILIES[family])
    # Integers reach their spectrum in powers of two only.
    assert kappa / 30 < case.kappa < 30 * kappa
    assert condition(case.X, **case.problem) == case.kappa


def test_cases_are_deterministic_and_cover_every_kind_of_row():
    cases = quick_cases()
    again = make_case(
        cases[7].options["seed"], **{k: v for k, v in cases[7].options.items() if k != "seed"}
    )
    np.testing.assert_array_equal(again.X, cases[7].X)
    np.testing.assert_array_equal(again.G, cases[7].G)
    kinds = {kind for case in cases for kind in case.g_kind}
    assert kinds >= {"training", "last_singular", "near_space", "zero", "masked", "mean_shifted"}
    assert len({case.name for case in cases}) == len(cases)
    assert {case.family for case in cases} == set(FAMILIES)
    for case in cases:
        assert len(case.g_kind) == len(case.G)
        assert max(case.options["kappa"], case.kappa) >= 1


def test_deficient_cases_are_deficient_exactly():
    for family in ("integers alpha=0", "zero columns alpha=0", "duplicates alpha=0"):
        case = make_case(1, d=12, kappa=1e16, **FAMILIES[family])
        outside = exact_outside(case.X, case.G, g_intercept=case.g_intercept, **case.problem)
        kinds = np.array(case.g_kind)
        assert exact_rank(case.X, **case.problem) < case.X.shape[1]
        assert not outside[np.isin(kinds, ["training", "in_space", "zero"])].any()
        assert outside[kinds == "random"].all()


def test_sweep_judges_values_and_estimates(tmp_path, monkeypatch):
    monkeypatch.setenv("SKRIGIDITY_ORACLE_CACHE", str(tmp_path))
    cases = [make_case(0, d=5, kappa=1e6, family="a"), make_case(1, d=5, kappa=1e15, family="b")]

    def biased(case):
        if case.family == "b":
            raise ZeroDivisionError
        return reference(case) * (1 + 1e-5), 1e-4, "biased"

    report = sweep(biased, cases)
    assert len(list(tmp_path.iterdir())) == 2
    assert report.worst("a").error == pytest.approx(1e-5)
    assert report.worst("b", "<=1e16").error == np.inf
    assert report.honest == 1
    assert [o.family for o in report.missed()] == ["b", "a"]
    assert "raised ZeroDivisionError" in str(report)
    honest = sweep(lambda case: (reference(case), 0.0, "exact"), cases)
    assert honest.honest == honest.tight == 1
    assert not honest.missed()
    liar = sweep(lambda case: (2 * reference(case), 1e-3, "liar"), cases)
    assert liar.honest == 0
    accurate = sweep(plain_svd, cases)
    assert accurate.worst().error < 1e-7
