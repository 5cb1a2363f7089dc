"""Inputs that gave a wrong number or an obscure error once."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from oracle import exact_loo, exact_quad
from scipy.linalg import LinAlgWarning
from sklearn.base import clone

from skrigidity.hessian import (
    METHODS,
    AlphaPath,
    DualFactor,
    KernelRows,
    Prior,
    Rows,
    accumulator,
    choose,
    leave_out,
    loo_rows,
)
from skrigidity.hessian.gram import CholeskyAttempt
from skrigidity.linear_model import ComponentRidge, RigidRidge, RigidRidgeCV

FIXED = [method for method in METHODS if method != "auto"]


# -- right-hand sides at every alpha ------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shape", [(30, 8), (8, 30)])
def test_a_factor_at_another_alpha_carries_its_solution(method, shape):
    rng = np.random.default_rng(0)
    rows = Rows(rng.normal(size=shape), intercept=True, rhs=rng.normal(size=(shape[0], 3)))
    moved = choose(rows, Prior(1.0), method=method).at(10.0)
    again = choose(rows, Prior(10.0), method=method)
    assert_allclose(moved.solution.coef, again.solution.coef, atol=1e-12)
    assert_allclose(moved.solution.intercept, again.solution.intercept, atol=1e-12)


def test_alphas_per_target_of_few_rows():
    rng = np.random.default_rng(1)
    X, y = rng.normal(size=(100, 400)), rng.normal(size=(100, 3))
    model = RigidRidge([1.0, 2.0, 10.0]).fit(X, y)
    for t, alpha in enumerate([1.0, 2.0, 10.0]):
        assert_allclose(model.coef_[t], RigidRidge(alpha).fit(X, y[:, t]).coef_, atol=1e-12)
    RigidRidgeCV([1.0, 10.0], alpha_per_target=True).fit(X, y)


# -- leave-one-out ------------------------------------------------------------------------------


@pytest.mark.parametrize("intercept", [True, False])
def test_predictions_of_rows_that_nearly_determine_a_direction(intercept):
    X, y = np.array([[1e4], [-1e4], [1e4]]), np.array([1.23, 0.63, -0.66])
    rows = Rows(X, intercept=intercept, rhs=y)
    residual, rigidity = exact_loo(X, y, alpha=1e-11, intercept=intercept)
    left = leave_out(rows, Prior(1e-11))
    assert_allclose(left.residual[:, 0], np.ravel(residual), rtol=1e-9)
    assert_allclose(left.quad, 1 / rigidity, rtol=1e-9)
    alphas = np.array([1e-11, 1.0])
    on_path = loo_rows(AlphaPath(rows, None, 1e-11), alphas, units=True)
    assert_allclose(on_path.residual[:, 0, 0], np.ravel(residual), rtol=1e-9)
    search = RigidRidgeCV(alphas, fit_intercept=intercept).fit(X, y)
    assert_allclose(search.scores_[0], -np.mean(np.ravel(residual) ** 2), rtol=1e-8)


@pytest.mark.parametrize("n", [4, 40])
def test_one_heavy_row_among_many(n):
    rng = np.random.default_rng(2)
    X, y = rng.normal(size=(n, 3)), rng.normal(size=n)
    X[1] *= 1e9
    residual, _ = exact_loo(X, y, alpha=1e-9, intercept=True)
    left = leave_out(Rows(X, intercept=True, rhs=y), Prior(1e-9))
    assert_allclose(left.residual[:, 0], np.ravel(residual), rtol=1e-6)


@pytest.mark.parametrize("shape", [(20, 4), (5, 12)])
@pytest.mark.parametrize("grouped", [False, True])
def test_a_zero_row_cannot_move(shape, grouped):
    rng = np.random.default_rng(3)
    X, y = rng.normal(size=shape), rng.normal(size=shape[0])
    X[2] = 0.0
    groups = np.arange(shape[0]) // 2 if grouped else None
    left = leave_out(Rows(X, rhs=y), Prior(0.1), groups)
    assert left.quad[2] == 0.0
    assert_allclose(left.residual[2, 0], y[2], rtol=1e-14)
    with_intercept = RigidRidge(0.1).fit(X, y).leave_one_out(X, y)
    others = RigidRidge(0.1).fit(np.delete(X, 2, 0), np.delete(y, 2))
    assert_allclose(with_intercept.prediction[2], others.intercept_, rtol=1e-9)
    assert_allclose(with_intercept.rigidity[2], others.prediction_rigidity(X[[2]])[0], rtol=1e-9)
    without = RigidRidge(0.1, fit_intercept=False).fit(X, y).leave_one_out(X, y)
    assert without.rigidity[2] == np.inf


def test_groups_must_not_be_nan():
    rows = Rows(np.eye(3), rhs=np.ones(3))
    with pytest.raises(ValueError, match="groups"):
        leave_out(rows, Prior(1.0), np.array([0.0, np.nan, 1.0]))


@pytest.mark.parametrize("calculate", ["leave_out", "path"])
def test_few_rows_form_nothing_of_the_size_of_the_features(calculate):
    rng = np.random.default_rng(4)
    n, d = 30, 3000
    rows = Rows(rng.normal(size=(n, d)), intercept=True, rhs=rng.normal(size=n))
    tracemalloc.start()
    if calculate == "leave_out":
        leave_out(rows, Prior(1.0))
    else:
        loo_rows(AlphaPath(rows, None, 1e-3), np.logspace(-3, 3, 7), units=True)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16 * 8 * n * d


def test_unpenalized_columns_of_few_rows_form_nothing_of_the_size_of_the_features():
    rng = np.random.default_rng(4)
    n, d = 30, 3000
    gamma = np.ones(d)
    gamma[:3] = 0.0
    tracemalloc.start()
    choose(Rows(rng.normal(size=(n, d))), Prior(1.0, gamma)).quad(rng.normal(size=(5, d)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16 * 8 * n * d


def test_many_rows_are_left_out_in_bounded_memory():
    n, d = 200_000, 100
    rng = np.random.default_rng(5)
    X = rng.normal(size=(n, d))
    rows = Rows(X, rhs=X[:, 0])
    factor = choose(rows, Prior(1.0))
    tracemalloc.start()
    leave_out(rows, Prior(1.0), factor=factor)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * 8 * 2**21  # eight blocks


def test_the_factor_of_the_fit_is_used(monkeypatch):
    rng = np.random.default_rng(6)
    rows = Rows(rng.normal(size=(30, 4)), intercept=True, rhs=rng.normal(size=30))
    factor, expected = choose(rows, Prior(0.1)), leave_out(rows, Prior(0.1))
    from skrigidity.hessian.leave_out import groups as module

    monkeypatch.setattr(module, "choose", None)
    left = leave_out(rows, Prior(0.1), factor=factor)
    assert_array_equal(left.quad, expected.quad)


@pytest.mark.parametrize("groups", [None, np.arange(60) // 2])
@pytest.mark.parametrize(
    "model",
    [
        RigidRidge(0.1),
        RigidRidge([0.1, 1.0]),
        ComponentRidge({"a": [0, 1], "b": [2, 3]}, alpha=0.1),
        RigidRidgeCV([0.1, 1.0, 10.0]),
    ],
)
@pytest.mark.filterwarnings("ignore:the best alpha")
def test_calibration_by_leaving_out_factorizes_once(model, groups, monkeypatch):
    rng = np.random.default_rng(6)
    X, counts = rng.normal(size=(60, 4)), []
    y = X[:, :2] + 0.1 * rng.normal(size=(60, 2))
    made = CholeskyAttempt.__init__

    def count(self, *args):
        counts[-1] += 1
        made(self, *args)

    monkeypatch.setattr(CholeskyAttempt, "__init__", count)
    for calibration in ("bayesian", "loo"):
        counts.append(0)
        cv = isinstance(model, RigidRidgeCV) or calibration == "loo"
        labels = {"groups": groups} if groups is not None and cv else {}
        fitted = clone(model).set_params(calibration=calibration).fit(X, y, **labels)
    assert counts[0] == counts[1] > 0
    assert np.isfinite(fitted.scale_).all()


# -- rank ---------------------------------------------------------------------------------------


@pytest.mark.slow
def test_an_exact_duplicate_among_many_columns():
    rng = np.random.default_rng(7)
    X = rng.integers(-4, 5, (1650, 1600)).astype(float)
    X[:, 7] = X[:, 3]
    factor = choose(X, Prior(0.0))
    assert factor.info.rank == 1599
    difference = np.zeros((1, 1600))
    difference[0, [3, 7]] = 1.0, -1.0
    assert factor.quad(difference)[0] == np.inf


def test_an_exact_duplicate_without_twice_the_precision(monkeypatch):
    monkeypatch.setattr(sys.modules[choose.__module__], "_EXTENDED_FEATURES", 0)
    X = np.random.default_rng(7).integers(-4, 5, (60, 20)).astype(float)
    X[:, 7] = X[:, 3]
    factor = choose(X, Prior(0.0))
    assert factor.info.rank == 19
    difference = np.zeros((1, 20))
    difference[0, [3, 7]] = 1.0, -1.0
    assert factor.quad(difference)[0] == np.inf


@pytest.mark.parametrize("method", ["auto", "qr", "spectral", "extended"])
@pytest.mark.parametrize("shape", [(7, 2), (2, 2), (3, 5)])
def test_a_penalized_column_collinear_with_a_free_one(method, shape):
    rng = np.random.default_rng(8)
    X = rng.integers(-3, 4, shape).astype(float)
    X[:, 1] = 3 * X[:, 0]
    gamma = np.ones(shape[1])
    gamma[0] = 0.0
    factor = choose(X, Prior(0.0, gamma), method=method)
    q = factor.quad(X)
    assert_allclose(q, exact_quad(X, X, alpha=0.0, gamma=gamma), rtol=1e-9)
    assert np.isfinite(q).all()


# -- refused ------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(20, 4), (4, 20)])
@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("scale", [1e155, 1e200, 1e300])
@pytest.mark.parametrize("method", ["auto", "cholesky", "qr", "spectral"])
def test_squares_that_overflow(shape, intercept, scale, method):
    """The error that names them is all that is said."""
    X = np.random.default_rng(9).normal(size=shape)
    for name, rows in (
        ("X", Rows(scale * X, intercept=intercept)),
        ("y", Rows(X, intercept=intercept, rhs=scale * X[:, 0])),
    ):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(ValueError, match=f"{name} holds values"):
                choose(rows, Prior(1.0), method=method)
            stream = accumulator(shape[1], rows.n_rhs, method=method)
            with pytest.raises(ValueError, match=f"{name} holds values"):
                stream.add(rows).add(rows).finish(Prior(1.0))


@pytest.mark.parametrize("shape", [(20, 4), (4, 20)])
@pytest.mark.parametrize("intercept", [True, False])
def test_twice_the_precision_takes_any_size(shape, intercept):
    X = np.random.default_rng(9).normal(size=shape)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        small = choose(Rows(X, intercept=intercept), Prior(0.0), method="extended")
        rows = Rows(1e200 * X, intercept=intercept, rhs=1e200 * X[:, 0])
        large = choose(rows, Prior(0.0), method="extended")
    assert_allclose(large.quad(rows), small.quad(Rows(X, intercept=intercept)), rtol=1e-12)
    assert_allclose(rows.times(*large.solution[:2]) / 1e200, rows.rhs / 1e200, atol=1e-12)


@pytest.mark.parametrize("shape", [(20, 4), (4, 20)])
def test_squares_that_vanish(shape):
    """Nothing is pinned by what is as good as nothing, and nothing is nan."""
    X = 1e-200 * np.random.default_rng(9).normal(size=shape)
    assert_allclose(choose(X, Prior(1.0)).quad(np.ones((1, shape[1]))), shape[1])
    if shape[0] < shape[1]:
        with pytest.raises(ValueError, match="1e-150"):
            choose(X, Prior(0.0))
    else:
        q = choose(X, Prior(0.0)).quad(X)
        assert_allclose(q, exact_quad(X * 1e200, X * 1e200, alpha=0.0), rtol=1e-8)


@pytest.mark.parametrize(
    "gamma", [np.array([1.0, np.nan]), np.array([1.0, 1j]), np.array([[1.0, 1j], [-1j, 1.0]])]
)
def test_regularizers_that_are_not_real_and_finite(gamma):
    with pytest.raises(ValueError, match="regularizer"):
        Prior(1.0, gamma)


@pytest.mark.parametrize("weight", [np.nan, np.inf, -1.0])
def test_weights_that_are_not_finite(weight):
    with pytest.raises(ValueError, match="weight"):
        Rows(np.eye(2), weight=[1.0, weight])


# -- kernels ------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:a difference of kernels")
def test_a_query_whose_kernel_cancels_is_not_certain():
    """A cosine kernel: ``k - k inv(A) k`` is nothing but rounding, but R is not infinite."""
    X = np.random.default_rng(10).normal(size=(40, 3))
    X /= np.linalg.norm(X, axis=1)[:, None]
    q = DualFactor(X @ X.T, 1e-15).quad(KernelRows(X @ X.T, np.ones(40)))
    assert (q > 0).all()


def test_no_false_alarm_of_a_gaussian_process():
    """Nothing cancels in a prediction far from the training rows, nor where noise is large."""
    n = 10
    with warnings.catch_warnings():
        warnings.simplefilter("error", LinAlgWarning)
        far = DualFactor(1e5 * np.eye(n), 1e-10).quad(KernelRows(np.zeros((3, n)), np.full(3, 1e5)))
        weak = DualFactor(1e-5 * np.eye(n), 1e5)
        near = weak.quad(KernelRows(1e-5 * np.eye(n), np.full(n, 1e-5)))
    assert_allclose(far, 1e15, rtol=1e-15)
    assert_allclose(near, 1e-10, rtol=1e-9)
    assert weak.info.accuracy < 1e-12
    with pytest.warns(LinAlgWarning, match="Try a larger alpha"):
        DualFactor(np.eye(n), 1e-12).quad(KernelRows(np.eye(n), np.ones(n)))


# -- an optional part ---------------------------------------------------------------------------


def test_without_twice_the_precision():
    """The package works, less accurately, where the folder extended/ is missing."""
    code = """
import sys
import numpy as np
class Without:
    def find_spec(self, name, path=None, target=None):
        if name.startswith("skrigidity.hessian.extended"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Without())
from skrigidity.hessian import Prior, Rows, accumulator, choose, leave_out
X = np.vander(np.linspace(0, 1, 30), 12)
rows = Rows(X, intercept=True, rhs=X[:, 1])
assert choose(rows, Prior(1e-18)).info.method in ("qr", "spectral")
assert accumulator(12, 1).add(rows).finish(Prior(1e-18)).info.method in ("qr", "spectral")
assert np.isfinite(leave_out(rows, Prior(1e-18)).residual).all()
try:
    choose(rows, Prior(1.0), method="extended")
except ValueError as error:
    print("refused:", error)
"""
    command = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("refused: method must be one of")


def test_predictions_of_nearly_dependent_repeated_rows():
    """The mean of repeated rows is their prediction: Cholesky QR alone was off by 1e-4."""
    X = [[-0.75, 0.75], [-0.75, 0.75], [-0.5, 0.0], [-0.75, 0.75], [0.25, 0.0]]
    weight, y = np.array([0.0, 4.0, 0.5, 1.5, 0.0]), np.array([-3.0, 4.0, -5.0, -2.0, -3.0])
    model = RigidRidge(alpha=2.0**-48, regularizer=[3.0, 2.0]).fit(X, y, sample_weight=weight)
    assert_allclose(model.predict(X[:3]), [26 / 11, 26 / 11, -5], rtol=1e-12)
    assert_allclose(model.predict(X[4:]), -6.52351097, rtol=1e-8)
