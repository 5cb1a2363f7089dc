"""RigidRidge: scikit-learn's conventions, reductions to scikit-learn's own models, rigidities."""

import pickle

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from oracle import exact_coef, exact_group_loo, exact_loo, exact_quad
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, DotProduct
from sklearn.linear_model import BayesianRidge, LinearRegression, Ridge
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from skrigidity import Environments, PerEnvironment, RigidRidge, RigidRidgeCV

SOLVERS = ("auto", "cholesky", "qr", "spectral")


@parametrize_with_checks([RigidRidge(), RigidRidgeCV()])
def test_check_estimator(estimator, check):
    check(estimator)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def data(rng):
    X = rng.standard_normal((40, 6)) + 2.0
    y = X @ rng.standard_normal((6, 3)) + 0.3 * rng.standard_normal((40, 3))
    return X, y


@pytest.fixture
def structures(rng):
    X = [rng.standard_normal((rng.integers(1, 6), 4)) for _ in range(30)]
    y = np.array([x.mean(axis=0) @ [1.0, -2.0, 0.5, 0.0] for x in X])
    return X, y + 0.05 * rng.standard_normal(30)


# -- reductions -------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("shape", [(60, 7), (9, 20)])
def test_coefficients_equal_ridge(rng, solver, fit_intercept, shape):
    X = rng.standard_normal(shape) + 1.0
    y = rng.standard_normal((shape[0], 2))
    weight = rng.uniform(0.1, 3.0, shape[0])
    ours = RigidRidge(0.3, solver=solver, fit_intercept=fit_intercept).fit(X, y, weight)
    for theirs in ("svd", "cholesky", "lsqr", "sparse_cg"):
        ridge = Ridge(
            0.3, solver=theirs, fit_intercept=fit_intercept, tol=1e-13, max_iter=100_000
        ).fit(X, y, weight)
        assert_allclose(ours.coef_, ridge.coef_, rtol=1e-6, atol=1e-8)
        assert_allclose(ours.intercept_, ridge.intercept_, rtol=1e-6, atol=1e-8)
        assert_allclose(ours.predict(X), ridge.predict(X), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("solver", SOLVERS)
def test_no_regularizer_is_ordinary_least_squares(data, solver):
    X, y = data
    ours = RigidRidge(0.0, solver=solver).fit(X, y)
    assert_allclose(ours.coef_, LinearRegression().fit(X, y).coef_, rtol=1e-10)
    Xc = np.column_stack([X, np.ones(len(X))])
    expected = 1 / np.einsum("ij,jk,ik->i", Xc, np.linalg.inv(Xc.T @ Xc), Xc)
    assert_allclose(ours.prediction_rigidity(X), expected, rtol=1e-9)


def test_rigidity_equals_gaussian_process_with_dot_product_kernel(data):
    X, y = data
    alpha = 0.7
    kernel = ConstantKernel(1.0, "fixed") * DotProduct(0.0, "fixed")
    gp = GaussianProcessRegressor(kernel, alpha=alpha, optimizer=None).fit(X[:25], y[:25, 0])
    ours = RigidRidge(alpha, fit_intercept=False, calibration=None).fit(X[:25], y[:25, 0])
    mean, std = gp.predict(X, return_std=True)
    assert_allclose(ours.predict(X), mean, rtol=1e-8)
    assert_allclose(alpha / ours.prediction_rigidity(X), std**2, rtol=1e-8)


def test_bayesian_calibration_equals_bayesian_ridge_where_that_centres(rng):
    X = rng.standard_normal((50, 4))
    X -= X.mean(axis=0)
    y = X @ rng.standard_normal(4) + 0.1 * rng.standard_normal(50)
    theirs = BayesianRidge(tol=1e-12, max_iter=10_000).fit(X, y)
    alpha = theirs.lambda_ / theirs.alpha_
    ours = RigidRidge(alpha).fit(X, y)
    _, std = ours.predict(X, return_std=True)
    q = 1 / ours.prediction_rigidity(X)
    # At the fixed point both have noise = RSS / (n - dof), up to the intercept's degree of
    # freedom and its own variance, which BayesianRidge leaves out.
    noise = 1 / theirs.alpha_
    assert_allclose(ours.noise_variance_, noise, rtol=0.05)
    _, their_std = theirs.predict(X, return_std=True)
    assert_allclose(their_std**2, noise * (1 + q - 1 / 50), rtol=1e-6)
    assert_allclose(std**2, ours.noise_variance_ * (1 + q), rtol=1e-12)


# -- rigidities -------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("weighted", [False, True])
def test_rigidity_against_the_oracle(data, rng, solver, weighted):
    X, y = data
    weight = rng.uniform(0.0, 2.0, len(X)) if weighted else None
    gamma = rng.uniform(0.5, 2.0, 6)
    gamma[2] = 0.0
    model = RigidRidge(0.5, regularizer=gamma, solver=solver).fit(X, y, weight)
    q = exact_quad(X, X[:9], alpha=0.5, gamma=gamma, weight=weight, intercept=True)
    assert_allclose(model.prediction_rigidity(X[:9]), 1 / q, rtol=1e-10)
    coef, intercept = exact_coef(X, y, alpha=0.5, gamma=gamma, weight=weight, intercept=True)
    assert_allclose(model.coef_, np.reshape(coef, (6, 3)).T, rtol=1e-8, atol=1e-12)
    assert_allclose(model.intercept_, intercept, rtol=1e-8, atol=1e-10)


def test_shift_of_X(data, structures):
    """A shift changes no global rigidity, nor a local one under means; sums it does change."""
    X, y = data
    shift = 50.0
    a, b = RigidRidge(0.1).fit(X, y), RigidRidge(0.1).fit(X + shift, y)
    assert_allclose(a.prediction_rigidity(X), b.prediction_rigidity(X + shift), rtol=1e-9)
    assert_allclose(a.predict(X, return_std=True)[1], b.predict(X + shift, return_std=True)[1])

    X, y = structures
    moved = [x + shift for x in X]
    for aggregate, same in (("mean", True), ("sum", False)):
        a = RigidRidge(0.1, aggregate=aggregate).fit(X, y)
        b = RigidRidge(0.1, aggregate=aggregate).fit(moved, y)
        local = zip(a.local_rigidity(X), b.local_rigidity(moved), strict=True)
        assert all(np.allclose(p, q, rtol=1e-8) for p, q in local) == same
        columns = [2, 2]
        moved_components = b.component_rigidity(moved, columns)
        assert not np.allclose(a.component_rigidity(X, columns), moved_components, rtol=1e-3)


def test_unseen_directions():
    X = np.diag([1.0, 2.0, 0.0])
    y = np.arange(3.0)
    unseen = np.array([[0.0, 0.0, 3.0]])
    model = RigidRidge(1e-3, fit_intercept=False).fit(X, y)
    assert_allclose(model.prediction_rigidity(unseen), 1e-3 / 9, rtol=1e-12)
    free = RigidRidge(0.0, fit_intercept=False).fit(X, y)
    assert_array_equal(
        free.prediction_rigidity([[0, 0, 3.0], [0, 0, 0], [1.0, 0, 0]])[:2], [0, np.inf]
    )
    assert_allclose(free.prediction_rigidity([[1.0, 0, 0]]), 1.0)
    assert_allclose(free.coef_, [0.0, 0.5, 0.0], atol=1e-15)
    # With the intercept: 1/R = |x - mean|^2 / alpha + 1 / sum of weights.
    column = np.zeros((5, 1))
    model = RigidRidge(0.5).fit(column, np.arange(5.0))
    assert_allclose(1 / model.prediction_rigidity([[2.0]]), 4 / 0.5 + 1 / 5)


def test_infinite_uncertainty_where_nothing_pins():
    model = RigidRidge(0.0, fit_intercept=False).fit(np.eye(3)[[0, 0, 1]], [1.0, 1.1, 2.0])
    std = model.predict(np.eye(3), return_std=True)[1]
    assert_array_equal(np.isinf(std), [False, False, True])
    with pytest.raises(ValueError, match="not pinned"):
        model.predict(np.eye(3), return_cov=True)
    with pytest.raises(ValueError, match="not pinned"):
        model.sample_y(np.eye(3))
    assert np.isfinite(model.sample_y(np.eye(3)[:2], random_state=0)).all()


def test_environments(structures):
    X, y = structures
    features = {"mean": np.array([x.mean(0) for x in X]), "sum": np.array([x.sum(0) for x in X])}
    for aggregate, F in features.items():
        model = RigidRidge(0.2, aggregate=aggregate).fit(X, y)
        flat = RigidRidge(0.2).fit(F, y)
        assert_allclose(model.predict(X), flat.predict(F))
        assert_allclose(model.prediction_rigidity(X), flat.prediction_rigidity(F))
        local = model.predict_local(X)
        whole = [v.mean() if aggregate == "mean" else v.sum() + model.intercept_ for v in local]
        assert_allclose(whole, model.predict(X))
        q = exact_quad(
            F, X[3], alpha=0.2, intercept=True, g_intercept=np.full(len(X[3]), aggregate == "mean")
        )
        assert_allclose(model.local_rigidity(X)[3], 1 / q, rtol=1e-10)
        assert [len(R) for R in model.local_rigidity(X)] == [len(x) for x in X]
        assert_allclose(model.local_rigidity(X[3]), 1 / q, rtol=1e-10)  # a row per environment


@pytest.mark.parametrize("kind", ["list", "container", "array"])
def test_forms_of_structures(rng, kind):
    stack = rng.standard_normal((12, 3, 4))
    X = {"list": list(stack), "container": Environments.from_arrays(stack), "array": stack}[kind]
    y = stack.mean(axis=1) @ np.ones(4)
    model = RigidRidge(1e-6).fit(X, y)
    assert_allclose(model.predict(X), y, atol=1e-5)
    assert len(model.local_rigidity(X)) == 12


def test_components(structures, data):
    X, y = structures
    model = RigidRidge(0.2).fit(X, y)
    F = np.array([x.mean(0) for x in X])
    parts = model.predict_components(X, [1, 3])
    assert parts.shape == (30, 2)
    assert_allclose(parts.sum(axis=1) + model.intercept_, model.predict(X))
    masked = F.copy()
    masked[:, 1:] = 0.0
    q = exact_quad(F, masked[:5], alpha=0.2, intercept=True, g_intercept=np.zeros(5))
    R = model.component_rigidity(X, {"first": slice(0, 1), "rest": [1, 2, 3]})
    assert_allclose(R[:5, 0], 1 / q, rtol=1e-10)
    local = model.component_rigidity(X, [1, 3], level="local")
    assert [r.shape for r in local] == [(len(x), 2) for x in X]
    assert [p.shape for p in model.predict_components(X, [1, 3], level="local")] == [
        (len(x), 2) for x in X
    ]
    X, y = data
    several = RigidRidge([0.1, 1.0, 2.0]).fit(X, y)
    assert several.predict_components(X, [2, 4]).shape == (40, 2, 3)
    assert several.component_rigidity(X, [2, 4]).shape == (40, 2, 3)
    zero = X.copy()
    zero[:, :2] = 0.0
    assert np.isinf(several.component_rigidity(zero, [2, 4])[:, 0]).all()


@pytest.mark.parametrize(
    ("components", "message"),
    [
        ([2, 3], "add up to 5, expected 4"),
        ({"a": [0, 1], "b": [1, 2]}, "column 1 is in 'a' and 'b'"),
        ({"a": ["nope"]}, "column names"),
        ({"a": [7]}, r"columns \[7\], expected 0 to 3"),
        (None, "components must be given"),
        ("ab", "components must be"),
    ],
)
def test_bad_components(structures, components, message):
    X, y = structures
    model = RigidRidge().fit(X, y)
    with pytest.raises(ValueError, match=message):
        model.component_rigidity(X, components)


def test_components_by_column_name(data):
    pd = pytest.importorskip("pandas")
    X, y = data
    frame = pd.DataFrame(X, columns=list("abcdef"))
    model = RigidRidge().fit(frame, y)
    R = model.component_rigidity(frame, {"left": ["a", "b"], "right": ["f"]})
    by_number = RigidRidge().fit(X, y).component_rigidity(X, {"left": [0, 1], "right": [5]})
    assert_allclose(R, by_number)
    with pytest.raises(ValueError, match=r"unknown columns \['g'\]"):
        model.component_rigidity(frame, {"left": ["g"]})


def test_combination_rigidity(data):
    X, y = data
    model = RigidRidge(0.3).fit(X, y)
    weights = np.zeros((2, 40))
    weights[0, :2] = 1.0, -1.0
    weights[1, 4] = 2.0
    difference = exact_quad(X, X[:1] - X[1:2], alpha=0.3, intercept=True, g_intercept=np.zeros(1))
    R = model.combination_rigidity(X, weights)
    assert_allclose(R[0], 1 / difference[0], rtol=1e-9)
    assert_allclose(R[1], model.prediction_rigidity(X[4:5])[0] / 4)
    assert_allclose(model.combination_rigidity(X, weights[0]), R[0])
    with pytest.raises(ValueError, match="weights must have one entry per sample"):
        model.combination_rigidity(X, np.ones(3))


@pytest.mark.parametrize("alpha", [0.3, [0.1, 1.0, 10.0]])
def test_rigidity_with(data, alpha):
    X, y = data
    weight = np.linspace(0.5, 2, 15)
    model = RigidRidge(alpha).fit(X[:25], y[:25])
    refit = RigidRidge(alpha).fit(X, y, np.concatenate([np.ones(25), weight]))
    after = model.rigidity_with(X, X[25:], weight)
    assert_allclose(after, refit.prediction_rigidity(X), rtol=1e-9)
    assert (after >= model.prediction_rigidity(X) * (1 - 1e-12)).all()


# -- uncertainty ------------------------------------------------------------------------------


def test_return_cov_and_sample_y(data):
    X, y = data
    model = RigidRidge(0.3).fit(X, y[:, 0])
    mean, std = model.predict(X[:5], return_std=True)
    cov = model.predict(X[:5], return_cov=True)[1]
    assert_allclose(np.diag(cov), std**2)
    draws = model.sample_y(X[:5], 200_000, random_state=0, noise=True)
    assert draws.shape == (5, 200_000)
    assert_allclose(draws.mean(axis=1), mean, atol=5 * std.max() / np.sqrt(200_000))
    assert_allclose(np.cov(draws), cov, atol=0.02 * cov.max())
    # The spread of a difference is that of its own rigidity: correlations are right.
    weights = np.array([1.0, -1.0, 0, 0, 0])
    spread = np.var(weights @ model.sample_y(X[:5], 200_000, random_state=1))
    expected = model.scale_ / model.combination_rigidity(X[:5], weights)
    assert_allclose(spread, expected, rtol=0.02)
    several = RigidRidge([0.1, 1.0, 3.0]).fit(X, y)
    assert several.sample_y(X[:5], 7, random_state=0).shape == (5, 3, 7)
    assert several.predict(X[:5], return_cov=True)[1].shape == (5, 5, 3)
    again = [several.sample_y(X[:5], 2, random_state=3) for _ in range(2)]
    assert_array_equal(*again)


def test_calibration_none_and_loo(data):
    X, y = data
    plain = RigidRidge(0.3, calibration=None).fit(X, y[:, 0])
    assert (plain.scale_, plain.noise_variance_) == (1.0, 0.0)
    assert_allclose(
        plain.predict(X, return_std=True)[1] ** -2, plain.prediction_rigidity(X), rtol=1e-12
    )
    loo = RigidRidge(0.3, calibration="loo").fit(X, y[:, 0])
    left = loo.leave_one_out(X, y[:, 0])
    assert_allclose(loo.scale_, np.mean(left.residual**2 * left.rigidity))
    assert loo.noise_variance_ == 0


@pytest.mark.parametrize("method", ["squared_residuals", "absolute_residuals", "crps", "nll"])
@pytest.mark.parametrize("noise", [False, True])
def test_calibrate(rng, method, noise):
    """On Gaussian errors of the assumed form every method finds the scale."""
    X = rng.standard_normal((6000, 5)) * np.geomspace(1, 30, 6000)[:, None]
    model = RigidRidge(1.0).fit(X[:50], X[:50] @ np.ones(5))
    variance = 4.0 / model.prediction_rigidity(X) + (0.5 if noise else 0.0)
    y = model.predict(X) + rng.standard_normal(6000) * np.sqrt(variance)
    assert model.calibrate(X, y, method=method, noise=noise) is model
    assert_allclose(model.scale_, 4.0, rtol=0.15)
    assert_allclose(model.noise_variance_, 0.5 if noise else 0.0, atol=0.1)
    z = (y - model.predict(X)) / model.predict(X, return_std=True)[1]
    assert_allclose(np.mean(np.abs(z) < 1), 0.683, atol=0.02)
    assert model.n_excluded_ == 0


def test_calibrate_excludes_and_counts():
    model = RigidRidge(0.0, fit_intercept=False).fit(np.eye(3)[[0, 0, 1]], [1.0, 1.1, 2.0])
    model.calibrate(np.eye(3)[[0, 1, 2]], [1.0, 2.5, 3.0])
    assert model.n_excluded_ == 1
    assert_allclose(model.scale_, np.mean([0.05**2 * 2, 0.5**2]))
    with pytest.raises(ValueError, match="rigidity must be positive"):
        model.calibrate(np.eye(3)[2:], [3.0])
    with pytest.raises(ValueError, match="method must be one of"):
        model.calibrate(np.eye(3), np.ones(3), method="mse")


def test_coverage_of_bayesian_intervals():
    """95 % intervals cover 95 %: over draws of the data, weights included."""
    rng = np.random.default_rng(1)
    inside = []
    for _ in range(60):
        w = rng.standard_normal(8)
        X = rng.standard_normal((60, 8)) + 3
        weight = rng.uniform(0.3, 3, 60)
        noise = 0.5 / np.sqrt(weight)
        y = X @ w + 4.0 + noise * rng.standard_normal(60)
        model = RigidRidge(0.25, weight_type="precision").fit(X, y, weight)
        new = 2 * rng.standard_normal((50, 8)) + 3
        mean, std = model.predict(new, return_std=True)
        truth = new @ w + 4.0 + 0.5 * rng.standard_normal(50)
        inside.append(np.mean(np.abs(truth - mean) < 1.96 * std))
    assert_allclose(np.mean(inside), 0.95, atol=0.02)


def test_unknown_scale_raises_only_when_asked_for():
    X = np.eye(3)
    model = RigidRidge(0.0, fit_intercept=False).fit(X, [1.0, 2.0, 3.0])
    assert model.noise_variance_ == np.inf
    assert_allclose(model.predict(X), [1, 2, 3])
    with pytest.raises(ValueError, match="calibration"):
        model.predict(X, return_std=True)
    model.calibrate(X, [1.1, 2.1, 3.1])
    assert_allclose(model.predict(X, return_std=True)[1], 0.1)


def test_residual_dof_of_an_interpolating_model(rng):
    """n - dof is summed, not subtracted: here it is 1e-11 of n."""
    X, y = rng.standard_normal((10, 40)), rng.standard_normal(10)
    model = RigidRidge(1e-11).fit(X, y)
    s = np.linalg.svd(X - X.mean(0), compute_uv=False)[:9]
    c = np.linalg.svd(X - X.mean(0))[0][:, :9].T @ (y - y.mean())
    rss = np.sum((1e-11 / (s**2 + 1e-11) * c) ** 2)
    assert_allclose(model.noise_variance_, rss / np.sum(1e-11 / (s**2 + 1e-11)), rtol=1e-6)


# -- leave one out ----------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(50, 5), (12, 9), (8, 20), (14, 14)])
@pytest.mark.parametrize("alpha", [1e-11, 0.3])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_leave_one_out(rng, shape, alpha, fit_intercept):
    n = shape[0]
    X, y = rng.standard_normal(shape) + 1, rng.standard_normal(n)
    weight = rng.uniform(0.5, 2, n)
    model = RigidRidge(alpha, fit_intercept=fit_intercept).fit(X, y, weight)
    left = model.leave_one_out(X, y, weight)
    residual, rigidity = exact_loo(X, y, alpha=alpha, weight=weight, intercept=fit_intercept)
    assert_allclose(left.rigidity, rigidity, rtol=1e-8)
    assert_allclose(left.residual, np.ravel(residual), rtol=1e-7, atol=1e-10)
    assert_allclose(left.prediction + left.residual, y)
    assert left.n_excluded == 0
    groups = rng.integers(0, 4, n)
    left = model.leave_one_out(X, y, weight, groups=groups)
    residual, rigidity = exact_group_loo(
        X, y, groups, alpha=alpha, weight=weight, intercept=fit_intercept
    )
    assert_allclose(left.rigidity, rigidity, rtol=1e-7)
    assert_allclose(left.residual, np.ravel(residual), rtol=1e-6, atol=1e-9)


def test_leverage_of_one(rng):
    """A row that alone sees a column: excluded, counted, no NaN."""
    X = rng.standard_normal((20, 4))
    X[:, 3] = 0.0
    X[7, 3] = 1.0
    y = rng.standard_normal(20)
    for solver in ("auto", "qr", "spectral"):
        model = RigidRidge(0.0, calibration="loo", solver=solver).fit(X, y)
        left = model.leave_one_out(X, y)
        assert left.rigidity[7] == 0
        assert left.n_excluded == model.n_excluded_ == 1
        assert np.isfinite(left.prediction).all()
        others = np.arange(20) != 7
        refit = RigidRidge(0.0).fit(X[others], y[others])
        assert_allclose(left.prediction[7], refit.predict(X[7:8])[0])
    some = others.astype(float)
    weighted = RigidRidge(1.0).fit(X, y, some).leave_one_out(X, y, sample_weight=some)
    assert_allclose(
        weighted.prediction[7], RigidRidge(1.0).fit(X[others], y[others]).predict(X[7:8])[0]
    )


# -- streaming --------------------------------------------------------------------------------


@pytest.mark.parametrize("alpha", [0.3, [0.1, 1.0, 10.0]])
@pytest.mark.parametrize("start", ["partial_fit", "fit"])
def test_partial_fit(data, rng, alpha, start):
    X, y = data
    weight = rng.uniform(0.5, 2, 40)
    whole = RigidRidge(alpha).fit(X, y, weight)
    stream = RigidRidge(alpha)
    getattr(stream, start)(X[:7], y[:7], weight[:7])
    for piece in (slice(7, 8), slice(8, 30), slice(30, 40)):
        stream.partial_fit(X[piece], y[piece], weight[piece])
    for name in ("coef_", "intercept_", "noise_variance_", "effective_dof_", "scale_"):
        assert_allclose(getattr(stream, name), getattr(whole, name), rtol=1e-9)
    assert_allclose(stream.prediction_rigidity(X), whole.prediction_rigidity(X), rtol=1e-10)


@pytest.mark.parametrize("solver", [*SOLVERS, "extended"])
@pytest.mark.parametrize("start", ["partial_fit", "fit"])
def test_partial_fit_by_every_solver(data, solver, start):
    X, y = data[:2]
    whole = RigidRidge(0.1, solver=solver).fit(X, y)
    stream = RigidRidge(0.1, solver=solver)
    getattr(stream, start)(X[:10], y[:10]).partial_fit(X[10:], y[10:])
    assert stream.hessian_.info.method == whole.hessian_.info.method
    assert solver in ("auto", stream.hessian_.info.method)
    assert stream.hessian_.source.method == solver
    assert_allclose(stream.coef_, whole.coef_, atol=1e-9)


def test_partial_fit_structures_and_errors(structures):
    X, y = structures
    stream = RigidRidge(0.1).partial_fit(X[:10], y[:10]).partial_fit(X[10:], y[10:])
    assert_allclose(stream.coef_, RigidRidge(0.1).fit(X, y).coef_, rtol=1e-9)
    with pytest.raises(ValueError, match="targets of the same shape"):
        stream.partial_fit(X, np.column_stack([y, y]))
    with pytest.raises(AttributeError, match="partial_fit") as caught:
        RigidRidge(calibration="loo").partial_fit(X, y)
    assert "calibration='loo' needs all samples at once" in str(caught.value.__cause__)


# -- weights, targets, input ------------------------------------------------------------------


def test_weight_types(data):
    X, y = data
    counts = np.arange(40) % 3
    repeated = RigidRidge(0.3).fit(np.repeat(X, counts, axis=0), np.repeat(y, counts, axis=0))
    weighted = RigidRidge(0.3).fit(X, y, counts)
    precision = RigidRidge(0.3, weight_type="precision").fit(X, y, counts)
    for name in ("coef_", "noise_variance_", "effective_dof_"):
        assert_allclose(getattr(weighted, name), getattr(repeated, name), rtol=1e-9)
    assert_allclose(precision.coef_, weighted.coef_)
    n = np.sum(counts > 0)
    ratio = (counts.sum() - weighted.effective_dof_) / (n - precision.effective_dof_)
    assert_allclose(precision.noise_variance_, weighted.noise_variance_ * ratio)
    # Scaling all precisions, alpha along, changes nothing but the unit of the noise.
    scaled = RigidRidge(3.0, weight_type="precision").fit(X, y, 10.0 * counts)
    assert_allclose(scaled.noise_variance_, 10 * precision.noise_variance_)
    assert_allclose(scaled.prediction_rigidity(X), 10 * precision.prediction_rigidity(X))


def test_alpha_per_target(data):
    X, y = data
    alphas = [0.1, 5.0, 0.1]
    model = RigidRidge(alphas).fit(X, y)
    for t, alpha in enumerate(alphas):
        single = RigidRidge(alpha).fit(X, y[:, t])
        assert_allclose(model.coef_[t], single.coef_)
        assert_allclose(model.intercept_[t], single.intercept_)
        assert_allclose(model.prediction_rigidity(X)[:, t], single.prediction_rigidity(X))
        assert_allclose(model.noise_variance_[t], single.noise_variance_)
        assert_allclose(model.effective_dof_[t], single.effective_dof_)
        assert_allclose(model.predict(X, True)[1][:, t], single.predict(X, True)[1])
        assert_allclose(model.hessian_.at(alpha).quad(X), 1 / single.prediction_rigidity(X))
        left, one = model.leave_one_out(X, y), single.leave_one_out(X, y[:, t])
        assert_allclose(left.residual[:, t], one.residual)
        assert_allclose(left.rigidity[:, t], one.rigidity)
    assert RigidRidge(0.1).fit(X, y).prediction_rigidity(X).shape == (40,)


def test_sparse_and_float32(data):
    X, y = data
    X = np.where(np.abs(X) > 2, X, 0.0)
    dense = RigidRidge(0.3).fit(X, y)
    sparse = RigidRidge(0.3).fit(sp.csr_matrix(X), y)
    assert_allclose(sparse.coef_, dense.coef_, rtol=1e-10)
    for method in ("predict", "prediction_rigidity"):
        assert_allclose(getattr(sparse, method)(sp.csr_array(X)), getattr(dense, method)(X))
    single = RigidRidge(0.3).fit(X.astype(np.float32), y)
    double = RigidRidge(0.3).fit(X.astype(np.float32).astype(float), y)
    assert_allclose(single.coef_, double.coef_, rtol=1e-12)
    assert single.coef_.dtype == np.float64


def test_unpenalized_columns(data):
    """An unpenalized column of ones is an intercept."""
    X, y = data
    ones = np.column_stack([X, np.ones(40)])
    gamma = np.append(np.ones(6), 0.0)
    for regularizer in (gamma, np.diag(gamma)):
        for solver in SOLVERS:
            model = RigidRidge(
                0.3, regularizer=regularizer, fit_intercept=False, solver=solver
            ).fit(ones, y)
            usual = RigidRidge(0.3).fit(X, y)
            assert_allclose(model.coef_[:, :6], usual.coef_, rtol=1e-8)
            assert_allclose(model.coef_[:, 6], usual.intercept_, rtol=1e-8)
            assert_allclose(
                model.prediction_rigidity(ones), usual.prediction_rigidity(X), rtol=1e-8
            )
            assert_allclose(model.effective_dof_, usual.effective_dof_)


def test_in_scikit_learns_tools(structures):
    X, y = structures
    groups = np.arange(30) // 5
    for data in (X, Environments.from_arrays(X)):
        model = make_pipeline(PerEnvironment(StandardScaler()), RigidRidge())
        assert cross_val_score(model, data, y, groups=groups, cv=GroupKFold(3)).min() > 0.5
        search = GridSearchCV(model, {"rigidridge__alpha": [1e-6, 1e-2, 1e3]}, cv=3).fit(data, y)
        assert search.best_params_["rigidridge__alpha"] < 1
        train, test, y_train, y_test = train_test_split(data, y, random_state=0)
        assert RigidRidge(1e-2).fit(train, y_train).score(test, y_test) > 0.8


def test_clone_and_pickle(data):
    X, y = data
    model = RigidRidge([0.1, 0.2, 0.3], regularizer=np.arange(6.0)).fit(X, y)
    copy = pickle.loads(pickle.dumps(model))
    assert_array_equal(copy.prediction_rigidity(X), model.prediction_rigidity(X))
    assert clone(model).get_params()["alpha"] == [0.1, 0.2, 0.3]
    assert_allclose(
        copy.partial_fit(X, y).coef_,
        RigidRidge([0.1, 0.2, 0.3], regularizer=np.arange(6.0))
        .fit(np.vstack([X, X]), np.vstack([y, y]))
        .coef_,
    )


@pytest.mark.parametrize(
    ("parameters", "X", "y", "weight", "message"),
    [
        ({"alpha": -1.0}, None, None, None, "alpha"),
        ({"alpha": [1.0, 2.0]}, None, None, None, "alpha must be a number or have one entry"),
        ({"alpha": np.nan}, None, None, None, "alpha"),
        ({"regularizer": np.ones(4)}, None, None, None, "regularizer must have 6 entries"),
        ({"regularizer": -np.ones(6)}, None, None, None, "regularizer must have no negative"),
        ({"regularizer": np.diag([1, 1, 1, 1, 1, -1.0])}, None, None, None, "semi-definite"),
        ({"solver": "svd"}, None, None, None, "solver"),
        ({"aggregate": "max"}, None, None, None, "aggregate"),
        ({"calibration": "yes"}, None, None, None, "calibration"),
        ({}, np.full((4, 2), np.nan), np.ones(4), None, "NaN"),
        ({}, np.full((4, 2), np.inf), np.ones(4), None, "infinity"),
        ({}, np.ones((4, 2), dtype=complex), np.ones(4), None, "[Cc]omplex"),
        ({}, np.ones((0, 2)), np.ones(0), None, "0 sample"),
        ({}, np.ones(4), np.ones(4), None, "2D array"),
        ({}, np.ones((4, 2)), np.ones(3), None, "inconsistent numbers of samples"),
        ({}, np.ones((4, 2)), [1, 2, np.nan, 3], None, "NaN"),
        ({}, np.ones((4, 2)), np.ones(4), -np.ones(4), "[Nn]egative"),
        ({}, np.ones((4, 2)), np.ones(4), np.zeros(4), "non-zero|not be zero"),
        ({}, np.ones((4, 2)), np.ones(4), np.ones(3), "sample_weight"),
        ({}, [np.ones((2, 3)), np.ones((2, 4))], np.ones(2), None, r"X.*1"),
        ({}, [np.ones((2, 3)), np.ones((0, 3))], np.ones(2), None, r"X.*1"),
    ],
)
def test_bad_input(data, parameters, X, y, weight, message):
    if X is None:
        X, y = data
    with pytest.raises(ValueError, match=message):
        RigidRidge(**parameters).fit(X, y, weight)


def test_wrong_use_after_fit(data, structures):
    X, y = data
    with pytest.raises(NotFittedError):
        RigidRidge().prediction_rigidity(X)
    model = RigidRidge().fit(X, y)
    with pytest.raises(ValueError, match="6 features"):
        model.prediction_rigidity(X[:, :3])
    with pytest.raises(ValueError, match="6 features"):
        model.local_rigidity(structures[0])
    with pytest.raises(ValueError, match="at most one"):
        model.predict(X, return_std=True, return_cov=True)
    with pytest.raises(ValueError, match="level"):
        model.component_rigidity(X, [2, 4], level="atomic")
    with pytest.raises(TypeError):
        RigidRidge().fit(np.array([[object()], [object()]]), [1.0, 2.0])


# -- what is refused, and what is said ----------------------------------------------------------


def test_missing_targets_are_refused(data):
    """None among targets became a model of NaN."""
    X, _ = data
    with pytest.raises(ValueError, match="y must have a finite target"):
        RigidRidge().fit(X[:3], [1.0, None, 2.0])


def test_one_target_per_environment_is_refused(structures):
    X, _ = structures
    per_atom = np.zeros(sum(map(len, X)))
    with pytest.raises(ValueError, match="per structure"):
        RigidRidge().fit(X, per_atom)


def test_frames_are_refused():
    ase = pytest.importorskip("ase", reason='needs ase: pip install "skrigidity[atomistic]"')
    frames = [ase.Atoms("H2", positions=[[0, 0, 0], [0, 0, 0.7]])] * 3
    with pytest.raises(TypeError, match="descriptor"):
        RigidRidge().fit(frames, [0.0, 1.0, 2.0])


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -1.0])
def test_weights_that_are_no_weights(data, wrong):
    X, y = data
    weight = np.ones(len(X))
    weight[3] = wrong
    with pytest.raises(ValueError, match=r"[wW]eight"):
        RigidRidge().fit(X, y, weight)
    with pytest.raises(ValueError, match=r"[wW]eight"):
        RigidRidge().fit(X, y).calibrate(X, y, weight)


def test_intercept_is_a_numpy_scalar(data):
    X, y = data
    for fit_intercept in (True, False):
        ours = RigidRidge(fit_intercept=fit_intercept).fit(X, y[:, 0])
        assert isinstance(ours.intercept_, np.floating)


def test_sums_and_single_environments(structures):
    """Under sums, environments as a plain matrix are samples unless ``level="local"`` says not."""
    X, y = structures
    model = RigidRidge(0.1, aggregate="sum").fit(X, y)
    atoms = np.concatenate(X[:4])
    before = model.local_rigidity(atoms)
    same = model.rigidity_with(atoms, X[:1], [1e-12], level="local")
    assert_allclose(same, before, rtol=1e-6)
    assert not np.allclose(model.rigidity_with(atoms, X[:1], [1e-12]), before, rtol=1e-3)
    in_lists = model.rigidity_with(X[:4], X[:1], [1e-12], level="local")
    assert_allclose(np.concatenate(in_lists), before, rtol=1e-6)


def test_batches_need_a_calibration_in_one_pass():
    assert hasattr(RigidRidge(), "partial_fit")
    for calibration in ("loo", "loo_noise"):
        assert not hasattr(RigidRidge(calibration=calibration), "partial_fit")


def test_what_to_do_where_the_scale_is_unknown(rng):
    """Under leave-one-out nobody is told to use leave-one-out."""
    X = np.eye(3)
    model = RigidRidge(0.0, fit_intercept=False, calibration="loo").fit(X, [1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="no sample is pinned by the others") as caught:
        model.predict(X, return_std=True)
    assert "use calibration=None" in str(caught.value)


def test_scale_and_noise_by_leave_one_out(rng):
    X = rng.standard_normal((300, 4))
    y = X @ np.ones(4) + 0.5 * rng.standard_normal(300)
    model = RigidRidge(calibration="loo_noise").fit(X, y)
    assert 0.4 < np.sqrt(model.noise_variance_) < 0.6
    left = model.leave_one_out(X, y)
    again = RigidRidge().fit(X, y)
    again._set_scale(left.residual, 1 / left.rigidity, None, "nll", True)
    assert_allclose(model.noise_variance_, again.noise_variance_, rtol=1e-6)


def test_alphas_per_target_where_features_are_many(rng):
    """A reshape error on the thin spectral route."""
    X, y = rng.standard_normal((100, 400)), rng.standard_normal((100, 3))
    together = RigidRidge([1.0, 2.0, 10.0]).fit(X, y)
    for t, alpha in enumerate((1.0, 2.0, 10.0)):
        alone = RigidRidge(alpha).fit(X, y[:, t])
        assert_allclose(together.coef_[t], alone.coef_, rtol=1e-9, atol=1e-12)
        assert_allclose(together.prediction_rigidity(X[:5])[:, t], alone.prediction_rigidity(X[:5]))
        assert_allclose(together.noise_variance_[t], alone.noise_variance_, rtol=1e-9)
    chosen = RigidRidgeCV([0.1, 1.0, 10.0], alpha_per_target=True).fit(X, y)
    assert chosen.alpha_.shape == (3,)


def test_gradient_zero_is_told(rng):
    """R = inf is exact; an error bar of 0 comes with what cures it."""
    X = rng.standard_normal((20, 3))
    model = RigidRidge(fit_intercept=False, calibration="loo").fit(X, X @ np.ones(3))
    assert model.prediction_rigidity(np.zeros((1, 3)))[0] == np.inf
    with pytest.warns(UserWarning, match="composition column or an intercept"):
        model.predict(np.zeros((1, 3)), return_std=True)
