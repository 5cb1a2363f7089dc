"""Leaving out rows and groups from one factorization, against explicit refits in the oracle."""

import numpy as np
import pytest
from cases import make_case, quick_cases
from numpy.testing import assert_allclose, assert_array_equal
from oracle import exact_coef, exact_group_loo, exact_loo, exact_quad

from skrigidity.hessian import (
    AlphaPath,
    OtherRows,
    Prior,
    Rows,
    choose,
    leave_out,
)

CASES = quick_cases()


def rows_of(case):
    intercept = False if case.intercept is None else case.intercept
    return Rows(case.X, weight=case.weight, intercept=intercept, rhs=case.y[:, None])


def relative_error(q, exact):
    """Largest relative error, infinities matched; nothing finite may be nan."""
    assert not np.isnan(q).any()
    assert_array_equal(np.isinf(q), np.isinf(exact))
    finite = np.isfinite(exact) & (exact > 0)
    assert_array_equal(q[exact == 0], 0.0)
    return np.max(np.abs(q[finite] / exact[finite] - 1), initial=0.0)


def scaled_error(residual, exact, y):
    """Largest error of the residuals that exist, in units of the targets and the residuals."""
    there = ~np.isnan(exact)
    scale = max(np.abs(y).max(), np.abs(exact[there]).max(initial=0.0))
    return np.max(np.abs(residual - exact)[there], initial=0.0) / scale


def inverse(rigidity):
    with np.errstate(divide="ignore"):
        return 1 / rigidity


@pytest.mark.parametrize("case", CASES, ids=repr)
def test_rows_against_the_oracle(case):
    left = leave_out(rows_of(case), Prior(case.alpha, case.gamma))
    residual, rigidity = exact_loo(case.X, case.y, **case.problem)
    bar = 1e-8 if case.kappa < 1.1e16 else 1e-6
    assert relative_error(left.quad, inverse(rigidity)) <= bar
    assert np.isfinite(left.residual).all()
    # Predictions inherit the condition of the coefficients: of the rows, not of their squares.
    assert scaled_error(left.residual[:, 0], residual, case.y) <= 100 * bar


@pytest.mark.parametrize("case", CASES[::7], ids=repr)
def test_groups_against_the_oracle(case):
    groups = np.arange(len(case.X)) % max(2, len(case.X) // 3)
    left = leave_out(rows_of(case), Prior(case.alpha, case.gamma), groups)
    residual, rigidity = exact_group_loo(case.X, case.y, groups, **case.problem)
    bar = 1e-8 if case.kappa < 1.1e16 else 1e-6
    assert relative_error(left.quad, inverse(rigidity)) <= bar
    assert scaled_error(left.residual[:, 0], residual, case.y) <= 100 * bar


@pytest.mark.parametrize("kappa", [1e4, 1e12, 1e16, 1e20])
@pytest.mark.parametrize("weights", [None, "spread"])
@pytest.mark.parametrize("intercept", [False, True])
@pytest.mark.parametrize("more", [1, 3, 9])
def test_slightly_more_rows_than_features(kappa, weights, intercept, more):
    case = make_case(7, d=8, n=8 + more, kappa=kappa, weights=weights, intercept=intercept)
    left = leave_out(rows_of(case), Prior(case.alpha, case.gamma))
    residual, rigidity = exact_loo(case.X, case.y, **case.problem)
    assert relative_error(left.quad, inverse(rigidity)) <= (1e-8 if kappa <= 1e16 else 1e-6)
    assert scaled_error(left.residual[:, 0], residual, case.y) < 1e-5


@pytest.mark.parametrize("alpha", [1e-6, 1e-10, 1e-14, 1e-18])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("intercept", [False, True])
def test_nearly_as_many_rows_as_parameters(alpha, weighted, intercept):
    rng = np.random.default_rng(15)
    X, y = rng.standard_normal((9, 8)), rng.standard_normal(9)
    weight = 10.0 ** rng.permutation(np.linspace(-6, 6, 9)) if weighted else None
    left = leave_out(Rows(X, weight=weight, intercept=intercept, rhs=y[:, None]), Prior(alpha))
    rigidity = exact_loo(X, y, alpha=alpha, weight=weight, intercept=intercept)[1]
    assert_allclose(left.quad, 1 / rigidity, rtol=1e-10)


@pytest.mark.parametrize("n", [12, 30])
@pytest.mark.parametrize("alpha", [1e-6, 1e-11])
def test_groups_that_leave_fewer_rows_than_features(n, alpha):
    """Several directions are left to the prior, each to a different degree."""
    rng = np.random.default_rng(16)
    X, y = rng.standard_normal((n, 9)) * np.geomspace(1, 1e-2, 9), rng.standard_normal(n)
    groups = np.arange(n) // (n - 5)
    left = leave_out(Rows(X, intercept=True, rhs=y[:, None]), Prior(alpha), groups)
    residual, rigidity = exact_group_loo(X, y, groups, alpha=alpha, intercept=True)
    assert_allclose(left.quad, 1 / rigidity, rtol=1e-7)
    assert scaled_error(left.residual[:, 0], residual, y) < 1e-4


@pytest.mark.parametrize("alpha", [1e-2, 1e8, 1e16])
@pytest.mark.parametrize("shape", [(5, 12), (30, 6)])
def test_leverages_that_all_but_vanish(alpha, shape):
    rng = np.random.default_rng(14)
    X, y = rng.standard_normal(shape), rng.standard_normal((shape[0], 1))
    left = leave_out(Rows(X, rhs=y), Prior(alpha))
    rigidity = exact_loo(X, y, alpha=alpha)[1]
    assert_allclose(left.quad, 1 / rigidity, rtol=1e-12)


@pytest.mark.parametrize("method", ["cholesky", "qr", "spectral", "extended"])
@pytest.mark.parametrize("n", [6, 60])
def test_methods_and_many_targets(method, n):
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((n, 8)), rng.standard_normal((n, 3))
    weight = rng.uniform(0.5, 2, n)
    rows, prior = Rows(X, weight=weight, intercept=True, rhs=y), Prior(0.3)
    left = leave_out(rows, prior, factor=choose(rows, prior, method=method))
    residual, rigidity = exact_loo(X, y, alpha=0.3, weight=weight, intercept=True)
    assert_allclose(left.quad, 1 / rigidity, rtol=1e-10)
    assert_allclose(left.residual, residual, rtol=1e-9, atol=1e-12)


# -- few rows, hardly regularized --------------------------------------------------------------


@pytest.mark.parametrize("intercept", [False, True])
def test_what_is_left_of_a_row_is_never_subtracted(intercept):
    """Design, fact 9: direct to 2e-15 where ``1 - h`` has lost all but two digits."""
    rng = np.random.default_rng(3)
    X, y = rng.standard_normal((20, 50)), rng.standard_normal(20)
    rows, prior = Rows(X, intercept=intercept, rhs=y[:, None]), Prior(1e-11)
    residual, rigidity = exact_loo(X, y, alpha=1e-11, intercept=intercept)
    left = leave_out(rows, prior)
    spare = rigidity / (1 + rigidity)  # 1 - h, as R (1 - h) = R_loo (unit weights)
    q = choose(rows, prior).quad(Rows(X, intercept=intercept))
    assert_allclose(left.quad, 1 / rigidity, rtol=2e-14)
    assert_allclose(1 / (1 + left.quad), spare, rtol=2e-14)
    assert_allclose(left.residual[:, 0], residual, rtol=1e-12, atol=1e-12)
    subtracted = np.abs((1 - q) / spare - 1).max()
    assert 1e-4 < subtracted < 1


@pytest.mark.parametrize("shape", ["wide", "square", "tall"])
@pytest.mark.parametrize("alpha", [1e-6, 1e-12, 1e-18])
def test_leverages_close_to_one(shape, alpha):
    case = make_case(7, shape=shape, d=12, n=13 if shape == "square" else None, intercept=True)
    X, y = case.X.copy(), case.y
    X[0] *= 1e4
    residual, rigidity = exact_loo(X, y, alpha=alpha, intercept=True)
    left = leave_out(Rows(X, intercept=True, rhs=y[:, None]), Prior(alpha))
    assert_allclose(left.quad, 1 / rigidity, rtol=1e-8)
    assert scaled_error(left.residual[:, 0], residual, y) < 1e-6


# -- weights ----------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(40, 8), (12, 8), (8, 30)])
@pytest.mark.parametrize("intercept", [False, True])
@pytest.mark.parametrize("grouped", [False, True])
def test_weights_over_twelve_decades(shape, intercept, grouped):
    rng = np.random.default_rng(5)
    X, y = rng.standard_normal(shape), rng.standard_normal(shape[0])
    weight = 10.0 ** rng.permutation(np.linspace(-6, 6, shape[0]))
    problem = {"alpha": 1e-3, "weight": weight, "intercept": intercept}
    rows = Rows(X, weight=weight, intercept=intercept, rhs=y[:, None])
    groups = np.arange(shape[0]) // 2 if grouped else None
    left = leave_out(rows, Prior(1e-3), groups)
    residual, rigidity = (
        exact_group_loo(X, y, groups, **problem) if grouped else exact_loo(X, y, **problem)
    )
    assert_allclose(left.quad, 1 / rigidity, rtol=1e-7 if grouped else 1e-8)
    assert scaled_error(left.residual[:, 0], residual, y) < 1e-7


@pytest.mark.parametrize("shape", [(40, 8), (12, 8), (8, 30)])
@pytest.mark.parametrize("grouped", [False, True])
def test_rows_of_weight_zero_are_predicted_by_all_others(shape, grouped):
    rng = np.random.default_rng(6)
    X, y = rng.standard_normal(shape), rng.standard_normal(shape[0])
    weight = rng.uniform(0.5, 2, shape[0])
    weight[::3] = 0.0
    rows = Rows(X, weight=weight, intercept=True, rhs=y[:, None])
    groups = np.where(weight == 0, -1, np.arange(shape[0]) // 3) if grouped else None
    left = leave_out(rows, Prior(0.2), groups)
    problem = {"alpha": 0.2, "weight": weight, "intercept": True}
    coef, offset = exact_coef(X, y, **problem)
    unseen = weight == 0
    assert_allclose(left.residual[unseen, 0], (y - X @ coef - offset)[unseen], rtol=1e-9)
    assert_allclose(left.quad[unseen], exact_quad(X, X[unseen], **problem), rtol=1e-9)
    if not grouped:
        residual, rigidity = exact_loo(X, y, **problem)
        assert_allclose(left.residual[:, 0], residual, rtol=1e-8)
        assert_allclose(left.quad, 1 / rigidity, rtol=1e-9)
    seen = leave_out(
        rows[np.flatnonzero(~unseen)], Prior(0.2), groups[~unseen] if grouped else None
    )
    assert_allclose(left.quad[~unseen], seen.quad, rtol=1e-10)
    assert_allclose(left.residual[~unseen], seen.residual, rtol=1e-10)


def test_rows_of_weight_zero_do_not_see_their_group():
    rng = np.random.default_rng(7)
    X, y, weight = rng.standard_normal((15, 3)), rng.standard_normal(15), np.ones(15)
    weight[[0, 3, 4, 14]] = 0.0
    groups = np.arange(15) // 3
    rows = Rows(X, weight=weight, intercept=True, rhs=y[:, None])
    left = leave_out(rows, Prior(0.2), groups)
    residual, rigidity = exact_group_loo(X, y, groups, alpha=0.2, weight=weight, intercept=True)
    assert_allclose(left.quad, 1 / rigidity, rtol=1e-9)
    assert_allclose(left.residual[:, 0], residual, rtol=1e-9)
    whole = leave_out(rows, Prior(0.2), np.zeros(15))
    assert np.isinf(whole.quad).all()
    assert_array_equal(whole.residual[:, 0], y)


# -- duplicates and groups --------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(20, 4), (6, 4), (5, 12)])
def test_a_row_and_its_copy_are_one_row_of_twice_the_weight(shape):
    rng = np.random.default_rng(8)
    X, y = rng.standard_normal(shape), rng.standard_normal(shape[0])
    twice = Rows(np.vstack([X, X]), intercept=True, rhs=np.tile(y, 2)[:, None])
    labels = np.tile(np.arange(shape[0]), 2)
    together = leave_out(twice, Prior(0.1), labels)
    heavy = Rows(X, weight=np.full(shape[0], 2.0), intercept=True, rhs=y[:, None])
    once = leave_out(heavy, Prior(0.1))
    assert_allclose(together.quad, np.tile(once.quad, 2), rtol=1e-10)
    assert_allclose(together.residual[:, 0], np.tile(once.residual[:, 0], 2), rtol=1e-9)
    # On its own each copy leaves the other one behind: a leverage of at most 1/2.
    alone = leave_out(twice, Prior(1e-13))
    assert (alone.quad <= 1 + 1e-12).all()
    residual, rigidity = exact_loo(np.vstack([X, X]), np.tile(y, 2), alpha=1e-13, intercept=True)
    assert_allclose(alone.quad, 1 / rigidity, rtol=1e-10)
    assert_allclose(alone.residual[:, 0], residual, atol=1e-10)


def test_labels_of_any_kind():
    rng = np.random.default_rng(9)
    rows = Rows(rng.standard_normal((9, 2)), rhs=rng.standard_normal((9, 1)))
    names = np.array(list("abcabcabc"))
    expected = leave_out(rows, Prior(0.1), np.arange(9) % 3)
    left = leave_out(rows, Prior(0.1), names)
    assert_array_equal(left.quad, expected.quad)
    apart = leave_out(rows, Prior(0.1), np.arange(9) + 100)
    assert_allclose(apart.quad, leave_out(rows, Prior(0.1)).quad)


def test_one_group_of_everything():
    """Only the prior is left: q = |x|^2 / alpha; nothing is left with an intercept."""
    rng = np.random.default_rng(10)
    X, y = rng.standard_normal((7, 2)), rng.standard_normal((7, 1))
    left = leave_out(Rows(X, rhs=y), Prior(0.5), np.zeros(7))
    assert_allclose(left.quad, np.sum(X**2, axis=1) / 0.5, rtol=1e-12)
    assert_allclose(left.residual, y, rtol=1e-12)
    left = leave_out(Rows(X, intercept=True, rhs=y), Prior(0.5), np.zeros(7))
    assert np.isinf(left.quad).all()
    assert_array_equal(left.residual, y)


# -- leverage 1 -------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [7, 40])
@pytest.mark.parametrize("intercept", [False, True])
@pytest.mark.parametrize("free", ["alpha", "column"])
def test_a_row_that_alone_determines_a_direction(n, intercept, free):
    """It has no rigidity without itself; its prediction is that of the minimum-norm refit."""
    rng = np.random.default_rng(11)
    X, y = rng.standard_normal((n, 4)), rng.standard_normal(n)
    X[:, 3] = 0.0
    X[2, 3] = 1.7
    alpha, gamma = (0.0, None) if free == "alpha" else (0.3, np.array([1.0, 1, 1, 0]))
    left = leave_out(Rows(X, intercept=intercept, rhs=y[:, None]), Prior(alpha, gamma))
    residual, rigidity = exact_loo(X, y, alpha=alpha, gamma=gamma, intercept=intercept)
    assert_array_equal(np.flatnonzero(np.isinf(left.quad)), [2])
    others = np.arange(n) != 2
    assert_array_equal(rigidity == 0, ~others)
    assert_allclose(left.quad[others], 1 / rigidity[others], rtol=1e-9)
    assert_allclose(left.residual[others, 0], residual[others], rtol=1e-8)
    coef, offset = exact_coef(X[others], y[others], alpha=alpha, gamma=gamma, intercept=intercept)
    assert_allclose(left.residual[2, 0], y[2] - X[2] @ coef - offset, rtol=1e-9)


@pytest.mark.parametrize("n", [7, 40])
def test_a_group_that_alone_determines_a_direction(n):
    """Only those of its rows that point there are lost."""
    rng = np.random.default_rng(12)
    X, y = rng.standard_normal((n, 4)), rng.standard_normal(n)
    X[:, 3] = 0.0
    X[[1, 2], 3] = 1.0, -1.0
    groups = np.where(np.arange(n) < 4, 0, np.arange(n))
    left = leave_out(Rows(X, rhs=y[:, None]), Prior(0.0), groups)
    residual, rigidity = exact_group_loo(X, y, groups, alpha=0.0)
    assert_array_equal(np.isinf(left.quad), rigidity == 0)
    if n == 40:
        assert_array_equal(np.flatnonzero(np.isinf(left.quad)), [1, 2])
    kept = np.isfinite(left.quad)
    assert_allclose(left.quad[kept], 1 / rigidity[kept], rtol=1e-9)
    assert_allclose(left.residual[kept, 0], residual[kept], rtol=1e-8)
    coef, _ = exact_coef(X[4:], y[4:], alpha=0.0)
    assert_allclose(left.residual[:4, 0], y[:4] - X[:4] @ coef, rtol=1e-8)


def test_interpolation_leaves_nothing():
    rng = np.random.default_rng(13)
    X, y = rng.integers(-9, 9, (5, 8)).astype(float), rng.standard_normal((5, 2))
    left = leave_out(Rows(X, rhs=y), Prior(0.0))
    assert np.isinf(left.quad).all()
    for i in range(5):
        others = np.arange(5) != i
        coef, _ = exact_coef(X[others], y[others], alpha=0.0)
        assert_allclose(left.residual[i], y[i] - X[i] @ coef, rtol=1e-9, atol=1e-12)


def test_rows_without_features():
    """A zero row cannot move: q = 0, whoever is left out."""
    X = np.vstack([np.zeros((2, 3)), np.eye(3)])
    left = leave_out(Rows(X, rhs=np.arange(5.0)[:, None]), Prior(0.1))
    assert_array_equal(left.quad[:2], 0.0)
    assert_allclose(left.residual[:2, 0], [0, 1], atol=1e-15)


@pytest.mark.parametrize("n", [4, 12])
def test_only_rows_of_weight_zero_have_the_intercept(n):
    """Nothing that is left pins it, so nothing pins their predictions."""
    rng = np.random.default_rng(17)
    X, y, flags = rng.standard_normal((n, 3)), rng.standard_normal((n, 1)), np.arange(n) == 1
    rows = Rows(X, weight=np.where(flags, 0.0, 1.0), intercept=flags, rhs=y)
    left = leave_out(rows, Prior(0.1))
    assert_array_equal(np.isinf(left.quad), flags)
    coef, _ = exact_coef(X[~flags], y[~flags], alpha=0.1)
    assert_allclose(left.residual[1], y[1] - X[1] @ coef, rtol=1e-9)


def test_a_group_with_all_intercepts_does_not_unpin_its_other_rows():
    rng = np.random.default_rng(19)
    X, y = rng.standard_normal((7, 6)) * [2e3, 10, 1, 0.01, 10, 0.3], rng.standard_normal((7, 1))
    flags, groups = np.arange(7) % 2, (np.arange(7) > 0).astype(int)
    left = leave_out(Rows(X, intercept=flags, rhs=y, groups=groups), Prior(1e-5))
    assert_array_equal(np.isinf(left.quad), flags == 1)
    q = exact_quad(X[:1], X[2::2], alpha=1e-5)
    assert_allclose(left.quad[2::2], q, rtol=1e-9)


@pytest.mark.parametrize("n", [5, 40])
def test_a_zero_row_of_a_group_is_certain(n):
    rng = np.random.default_rng(18)
    X, y = rng.standard_normal((n, 2)), rng.standard_normal((n, 1))
    X[1] = 0.0
    left = leave_out(Rows(X, rhs=y), Prior(0.1), np.arange(n) // 3)
    assert_array_equal(left.quad == 0, np.arange(n) == 1)


# -- anything, against fits without it --------------------------------------------------------


def random_rows(seed):
    """Rows of any shape and scale: duplicates, heavy rows, weights, intercepts, free columns."""
    rng = np.random.default_rng(seed)
    n, d = int(rng.integers(3, 30)), int(rng.integers(1, 9))
    X = rng.normal(size=(n, d)) * 10.0 ** rng.integers(-3, 4, d)
    if rng.random() < 0.3:
        X = rng.integers(-2, 3, (n, d)).astype(float)
    if rng.random() < 0.2:
        X[1] = X[0]
    if rng.random() < 0.3:
        X[0] *= 1e5
    weight = None if rng.random() < 0.4 else rng.uniform(0.1, 3, n)
    flags = [False, True, np.arange(n) % 2][rng.integers(3)]
    gamma = rng.uniform(0.5, 2, d) * (rng.random(d) > 0.2) if rng.random() < 0.3 else None
    y = rng.normal(size=(n, int(rng.integers(1, 3))))
    groups = rng.integers(0, max(2, n // 3), n)
    return Rows(X, weight=weight, intercept=flags, rhs=y, groups=groups), gamma, rng


def fitted_without(rows, labels, label, prior):
    """The fit without a sample, None where it lacks the intercept."""
    rest = rows.kept(labels != label)
    factor = choose(rest, prior)
    return factor if factor.has_intercept == rows.has_intercept else None


@pytest.mark.parametrize("seed", range(60))
@pytest.mark.filterwarnings("ignore:ill-conditioned")
def test_random_problems_against_fits_without_a_sample(seed):
    rows, gamma, rng = random_rows(seed)
    n, alphas = len(rows), 10.0 ** rng.integers(-6, 3, 2)
    single = Rows(rows.matrix, weight=rows.weight, intercept=rows.intercept, rhs=rows.rhs)
    others = Rows(rng.normal(size=(4, rows.n_features)), intercept=1.0 * rows.has_intercept)
    sample = rng.integers(0, n, 4)
    path = AlphaPath(single, gamma, alphas.min()).leave_out(alphas, units=False)
    elsewhere = OtherRows(single, gamma, alphas).without(path, others, sample)
    for a, alpha in enumerate(alphas):
        prior = Prior(alpha, gamma)
        for kind, labels in ((single, np.arange(n)), (rows, rows.groups)):
            left = leave_out(kind, prior)
            for i in range(n):
                refit = fitted_without(kind, labels, labels[i], prior)
                if refit is None or (labels == labels[i]).all():
                    continue
                own = single[[i]]
                q = refit.quad(Rows(own.matrix, intercept=own.intercept))[0]
                residual = own.rhs - own.times(refit.solution.coef, refit.solution.intercept)
                size = np.abs(np.vstack([rows.rhs, residual])).max()
                assert_allclose(left.quad[i], q, rtol=1e-6, atol=1e-12)
                assert_allclose(left.residual[[i]], residual, atol=1e-6 * size)
                if kind is single:
                    assert_allclose(path.quad[i, a], q, rtol=1e-6, atol=1e-12)
                    if np.isfinite(q):
                        assert_allclose(path.residual[[i], a], residual, atol=1e-6 * size)
                for k in np.flatnonzero(sample == i):
                    q = refit.quad(others[[k]])[0]
                    if kind is single:
                        assert_allclose(elsewhere[k, a], q, rtol=1e-6)


@pytest.mark.parametrize("shape", [(40, 6), (14, 6), (9, 20)])
@pytest.mark.parametrize("heavy", [False, True])
@pytest.mark.parametrize("regularizer", [None, "free"])
def test_groups_of_all_sizes_on_a_path(shape, heavy, regularizer):
    """Against refits: predictions, forms of other rows, and how well the models fit the rest."""
    rng = np.random.default_rng(20)
    n, d = shape
    X, y, weight = rng.normal(size=shape), rng.normal(size=(n, 2)), rng.uniform(0.5, 2, n)
    X[[0, 1, n - 1], [0, 1, 2]] = 1e3 if heavy else 0.0
    groups = np.repeat(np.arange(n), np.arange(1, n + 1))[:n][::-1].copy()
    groups = groups.max() - groups
    gamma = None if regularizer is None else np.append(0.0, np.ones(d - 1))
    rows = Rows(X, weight=weight, intercept=True, rhs=y)
    alphas, asked = np.array([1e-2, 3.0]), rng.normal(size=(n, d))
    path = AlphaPath(rows, gamma, alphas.min())
    left = path.leave_out(alphas, groups, units=False)
    rss, dof = path.variance(alphas, left, units=False)
    others = OtherRows(rows, gamma, alphas).without(left, Rows(asked, intercept=True), np.arange(n))
    for a, alpha in enumerate(alphas):
        for g in range(groups.max() + 1):
            own, rest = groups == g, rows.kept(groups != g)
            factor = choose(rest, Prior(alpha, gamma), method="qr")
            residual = y[own] - X[own] @ factor.solution.coef - factor.solution.intercept
            assert_allclose(left.residual[own, a], residual, rtol=1e-8, atol=1e-9)
            assert_allclose(left.quad[own, a], factor.quad(rows[own].replaced(weight=None)), 1e-9)
            assert_allclose(others[own, a], factor.quad(Rows(asked[own], intercept=True)), 1e-8)
            error = rest.rhs - rest.times(factor.solution.coef, factor.solution.intercept)
            expected = rest.weight @ error**2
            assert_allclose(rss[own, a], np.tile(expected, (own.sum(), 1)), rtol=1e-7)
            assert_allclose(dof[own, a], factor.residual_dof(len(rest)), rtol=1e-7)
