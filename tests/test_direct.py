"""The fast factorizations against the direct one, and the direct one in other array libraries."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from oracle import exact_coef, exact_quad

from skrigidity.hessian import Prior, Rows, choose
from skrigidity.hessian.direct import DirectFactor, solve_triangular

METHODS = ("auto", "cholesky", "qr", "spectral", "extended")


def problem(seed=0, n=30, d=6, kind="weights", gamma=None):
    rng = np.random.default_rng(seed)
    flags = {"plain": np.zeros(n), "mixed": np.arange(n) % 3 > 0}.get(kind, np.ones(n))
    return {
        "X": rng.normal(size=(n, d)) + 2,
        "G": rng.normal(size=(9, d)),
        "y": rng.normal(size=(n, 2)),
        "weight": rng.uniform(0.2, 3, n),
        "flags": flags.astype(float),
        "g_flags": (np.arange(9) % 2) * float(flags.any()),
        "prior": Prior(0.3, gamma),
    }


def direct(p, xp=np, convert=np.asarray):
    return DirectFactor(
        convert(p["X"]),
        convert(p["prior"].root(p["X"].shape[1])),
        weight=convert(p["weight"]),
        intercept=convert(p["flags"]),
        rhs=convert(p["y"]),
        xp=xp,
    )


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", ["plain", "weights", "mixed"])
@pytest.mark.parametrize("shape", [(30, 6), (8, 20)])
@pytest.mark.parametrize("gamma", [None, "diagonal", "matrix"])
def test_fast_routes_equal_the_direct_one(method, kind, shape, gamma):
    d = shape[1]
    root = np.random.default_rng(1).normal(size=(d, d))
    gamma = {"diagonal": np.linspace(0.5, 2, d), "matrix": root @ root.T + np.eye(d)}.get(gamma)
    p = problem(2, *shape, kind, gamma)
    slow = direct(p)
    rows = Rows(p["X"], weight=p["weight"], intercept=p["flags"], rhs=p["y"])
    fast = choose(rows, p["prior"], method=method)
    queries = Rows(p["G"], intercept=p["g_flags"])
    q = slow.quad(p["G"], p["g_flags"])
    assert_allclose(fast.quad(queries), q, rtol=1e-10)
    z, other = slow.whiten(p["G"], p["g_flags"]), fast.whiten(queries)
    assert_allclose(other @ other.T, z @ z.T, atol=1e-10 * q.max())
    assert_allclose(fast.solution.coef, slow.coef, atol=1e-10)
    assert_allclose(fast.solution.intercept, slow.intercept, atol=1e-10)
    assert_allclose(fast.residual_dof(30), slow.residual_dof(30), rtol=1e-9)


def test_against_the_oracle():
    p = problem(3, 40, 8, "mixed")
    options = {"alpha": 0.3, "weight": p["weight"], "intercept": p["flags"]}
    factor = direct(p)
    q = exact_quad(p["X"], p["G"], g_intercept=p["g_flags"], **options)
    assert_allclose(factor.quad(p["G"], p["g_flags"]), q, rtol=1e-12)
    coef, offset = exact_coef(p["X"], p["y"], **options)
    assert_allclose(factor.coef, coef, rtol=1e-11)
    assert_allclose(factor.intercept, offset, rtol=1e-11)


@pytest.mark.parametrize("library", ["torch", "array_api_strict"])
def test_other_array_libraries(library):
    xp = pytest.importorskip(library)
    p = problem(4)
    expected, factor = direct(p), direct(p, xp, xp.asarray)
    q = factor.quad(xp.asarray(p["G"]), xp.asarray(p["g_flags"]))
    assert type(q) is type(xp.asarray(p["X"]))
    assert_allclose(np.asarray(q), expected.quad(p["G"], p["g_flags"]), rtol=1e-12)
    assert_allclose(np.asarray(factor.coef), expected.coef, rtol=1e-10)
    assert_allclose(float(factor.residual_dof(30)), expected.residual_dof(30), rtol=1e-12)


@pytest.mark.parametrize("n", [1, 2, 7, 64])
def test_triangular_solves(n):
    rng = np.random.default_rng(n)
    lower = np.tril(rng.normal(size=(n, n))) + 4 * np.eye(n)
    b = rng.normal(size=(n, 3))
    assert_allclose(lower @ solve_triangular(lower, b, np, lower=True), b, atol=1e-10)
    assert_allclose(lower.T @ solve_triangular(lower.T, b, np, lower=False), b, atol=1e-10)
