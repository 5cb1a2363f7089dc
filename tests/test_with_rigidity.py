"""WithRigidity: every objective against its own finite differences, and what R means."""

import pickle
import warnings

import numpy as np
import objectives as obj
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose
from scipy.linalg import LinAlgWarning
from sklearn import config_context
from sklearn.base import clone
from sklearn.datasets import make_regression
from sklearn.ensemble import BaggingRegressor, VotingRegressor
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import (
    RBF,
    ConstantKernel,
    DotProduct,
    Matern,
    RationalQuadratic,
    WhiteKernel,
)
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import (
    ARDRegression,
    BayesianRidge,
    ElasticNet,
    GammaRegressor,
    HuberRegressor,
    Lasso,
    LinearRegression,
    PoissonRegressor,
    QuantileRegressor,
    RANSACRegressor,
    Ridge,
    RidgeCV,
    SGDRegressor,
    TweedieRegressor,
)
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.multioutput import MultiOutputRegressor, RegressorChain
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVR
from sklearn.tree import DecisionTreeRegressor
from sklearn.utils.estimator_checks import parametrize_with_checks

from skrigidity import RigidRidge, WithRigidity
from skrigidity.gradients import CurvedGradients, TweedieLoss
from skrigidity.hessian import KernelRows, Rows
from skrigidity.with_rigidity import Curvature, curvature_of


@parametrize_with_checks(
    [WithRigidity(estimator) for estimator in (Ridge(), PoissonRegressor(), KernelRidge())]
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore::UserWarning")
def test_check_estimator(estimator, check):
    check(estimator)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def sample(kind, n=60, d=4, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d)) + 0.5
    eta = X @ np.linspace(-0.5, 0.6, d) + 0.3
    if kind == "normal":
        y = eta + 0.3 * rng.standard_normal(n)
    elif kind == "outliers":
        y = eta + 0.3 * rng.standard_t(1.5, n)
    elif kind == "poisson":
        y = rng.poisson(np.exp(eta)).astype(float)
    else:
        y = rng.gamma(2.0, np.exp(eta) / 2.0)
    return X, y, rng.uniform(0.2, 3.0, n)


# -- the Hessian is that of the objective -------------------------------------------------------

# estimator, data, objective(X, y, s, fitted estimator), factor, largest gradient at the optimum
FAMILIES = {
    "LinearRegression": (
        LinearRegression(),
        "normal",
        lambda X, y, s, e: obj.least_squares(X, y, s),
        2,
    ),
    "Ridge": (Ridge(3.0), "normal", lambda X, y, s, e: obj.least_squares(X, y, s, 3.0), 2),
    "RidgeCV": (
        RidgeCV([0.5, 5.0]),
        "normal",
        lambda X, y, s, e: obj.least_squares(X, y, s, e.alpha_),
        2,
    ),
    "BayesianRidge": (
        BayesianRidge(tol=1e-12, max_iter=2000),
        "normal",
        lambda X, y, s, e: obj.least_squares(X, y, s, e.lambda_ / e.alpha_),
        2,
    ),
    "ElasticNet": (
        ElasticNet(0.1, l1_ratio=0.0, tol=1e-14, max_iter=100_000),
        "normal",
        lambda X, y, s, e: lambda t: obj.least_squares(X, y, s, 0.1 * s.sum())(t) / 2,
        1,
    ),
    "Huber": (
        HuberRegressor(epsilon=1.3, alpha=0.2, tol=1e-9, max_iter=10_000),
        "outliers",
        lambda X, y, s, e: obj.huber(X, y, s, 0.2, 1.3),
        2,
    ),
    "Poisson": (
        PoissonRegressor(alpha=0.05, solver="newton-cholesky", tol=1e-10),
        "poisson",
        lambda X, y, s, e: obj.poisson(X, y, s, 0.05),
        1,
    ),
    "Gamma": (
        GammaRegressor(alpha=0.05, solver="newton-cholesky", tol=1e-10),
        "gamma",
        lambda X, y, s, e: obj.gamma(X, y, s, 0.05),
        1,
    ),
    "Tweedie": (
        TweedieRegressor(power=1.5, alpha=0.05, solver="newton-cholesky", tol=1e-10),
        "gamma",
        lambda X, y, s, e: obj.tweedie(X, y, s, 0.05, 1.5, "log"),
        1,
    ),
    "Tweedie, normal": (
        TweedieRegressor(power=0, alpha=0.05, solver="newton-cholesky", tol=1e-10),
        "normal",
        lambda X, y, s, e: obj.tweedie(X, y, s, 0.05, 0, "identity"),
        1,
    ),
    "SGD": (
        SGDRegressor(alpha=0.05, random_state=0, tol=1e-9, max_iter=10_000, eta0=0.005),
        "normal",
        lambda X, y, s, e: (
            lambda t: obj.least_squares(X, y, s)(t) / 2 + 0.05 * len(s) * np.sum(t[:-1] ** 2) / 2
        ),
        1,
    ),
    "SGD, huber": (
        SGDRegressor(
            loss="huber",
            epsilon=0.3,
            alpha=0.02,
            random_state=0,
            tol=1e-9,
            max_iter=10_000,
            eta0=0.005,
        ),
        "outliers",
        lambda X, y, s, e: obj.clipped(X, y, s, 0.02, 0.3),
        1,
    ),
}


def fitted(name):
    """The wrapped estimator, its parameters, its objective and the factor of the table."""
    estimator, kind, objective, factor = FAMILIES[name]
    X, y, s = sample(kind)
    model = WithRigidity(estimator).fit(X, y, sample_weight=s)
    inner = model.estimator_
    theta = np.append(inner.coef_, inner.intercept_)
    if isinstance(inner, HuberRegressor):
        theta = np.append(theta, inner.scale_)
    return model, theta, objective(X, y, s, inner), factor, X


@pytest.mark.parametrize("name", FAMILIES)
def test_hessian_is_that_of_the_objective(name):
    model, theta, objective, factor, X = fitted(name)
    # It is the objective that the estimator has minimized (stochastic descent: nearly).
    gradient, H = obj.gradient(objective, theta), obj.hessian(objective, theta)
    nearly = 0.05 if name.startswith("SGD") else 1e-5
    assert np.sqrt(gradient @ np.linalg.solve(H, gradient)) < nearly * np.sqrt(abs(H).max())
    assert model.curvature_.loss_factor == factor
    g = np.column_stack([X, np.ones(len(X))])
    if name == "Huber":
        assert 0 < model.estimator_.outliers_.sum() < len(X) / 2
        g = np.column_stack([g, np.zeros(len(X))])
    q = np.einsum("ij,jk,ik->i", g, np.linalg.inv(H / factor), g)
    assert_allclose(model.prediction_rigidity(X), 1 / q, rtol=1e-6)
    # Not of predictions only: the whole inverse, in the factor's order of parameters.
    order = [0, 1, 2, 3, 5, 4] if name == "Huber" else slice(None)
    inverse = np.linalg.inv(H / factor)[order][:, order]
    unit = np.eye(len(inverse))
    units = Rows(unit[:, :-1], intercept=unit[:, -1])
    assert_allclose(model.hessian_.cross(units, units), inverse, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("name", ["LinearRegression", "Ridge", "Huber", "Poisson", "SGD"])
def test_without_intercept(name):
    estimator, kind, objective, factor = FAMILIES[name]
    X, y, s = sample(kind)
    model = WithRigidity(clone(estimator).set_params(fit_intercept=False))
    inner = model.fit(X, y, sample_weight=s).estimator_
    theta = np.append(inner.coef_, 0.0)
    parameters = [0, 1, 2, 3]
    g = X
    if name == "Huber":
        theta, parameters = np.append(theta, inner.scale_), [0, 1, 2, 3, 5]
        g = np.column_stack([X, np.zeros(len(X))])
    H = obj.hessian(objective(X, y, s, inner), theta)[parameters][:, parameters] / factor
    q = np.einsum("ij,jk,ik->i", g, np.linalg.inv(H), g)
    assert_allclose(model.prediction_rigidity(X), 1 / q, rtol=1e-6)
    assert_allclose(model.component_rigidity(X, [4])[:, 0], 1 / q, rtol=1e-6)


def test_ard_fixes_pruned_features():
    rng = np.random.default_rng(1)
    X = rng.standard_normal((80, 6)) + 0.5
    y = X[:, :2] @ [1.0, -2.0] + 0.2 * rng.standard_normal(80)
    model = WithRigidity(ARDRegression(threshold_lambda=1e3)).fit(X, y)
    inner = model.estimator_
    kept = inner.lambda_ < 1e3
    assert 2 <= kept.sum() < 6
    objective = obj.least_squares(X[:, kept], y, np.ones(80), inner.lambda_[kept] / inner.alpha_)
    theta = np.append(inner.coef_[kept], inner.intercept_)
    assert_allclose(obj.gradient(objective, theta), 0, atol=1e-8)
    g = np.column_stack([X[:, kept], np.ones(80)])
    q = np.einsum("ij,jk,ik->i", g, np.linalg.inv(obj.hessian(objective, theta) / 2), g)
    assert_allclose(model.prediction_rigidity(X), 1 / q, rtol=1e-7)
    # A pruned feature moves no prediction, and its component cannot move at all.
    moved = X.copy()
    moved[:, ~kept] += 10.0
    assert_allclose(model.prediction_rigidity(moved), model.prediction_rigidity(X))
    R = model.component_rigidity(X, {"pruned": ~kept, "kept": kept})
    assert np.isinf(R[:, 0]).all()
    assert np.isfinite(R[:, 1]).all()
    # Its variances are the estimator's own, which forgets that the intercept has one as well.
    _, std = model.predict(X, return_std=True)
    centred = X[:, kept] - X[:, kept].mean(axis=0)
    own = 1 / inner.alpha_ + np.einsum("ij,jk,ik->i", centred, inner.sigma_, centred)
    assert_allclose(std**2, own + 1 / inner.alpha_ / 80, rtol=1e-8)


def test_ard_that_pruned_everything(rng):
    X = rng.standard_normal((30, 3))
    model = WithRigidity(ARDRegression(threshold_lambda=1e-8)).fit(X, rng.standard_normal(30))
    assert_allclose(model.prediction_rigidity(X), 30.0)


@pytest.mark.parametrize("power", [-1, 0, 1, 1.5, 2, 3])
@pytest.mark.parametrize("link", ["identity", "log"])
def test_tweedie_derivatives(power, link):
    y, mu = np.array([0.4, 1.0, 3.0]), np.array([0.7, 1.2, 2.0])
    eta = np.log(mu) if link == "log" else mu
    loss = TweedieLoss(power, link)
    score = []
    for i in range(3):
        objective = obj.tweedie(np.zeros((1, 1)), y[[i]], np.ones(1), 0, power, link)
        theta = np.array([0.0, eta[i]])
        score.append((obj.gradient(objective, theta)[1], obj.hessian(objective, theta)[1, 1]))
    assert_allclose(loss.score(eta, y), np.array(score)[:, 0], rtol=1e-10)
    assert_allclose(loss.curvature(eta, y), np.array(score)[:, 1], rtol=1e-6, atol=1e-8)
    # The curvature to expect is the one at the mean.
    assert_allclose(loss.expected_curvature(eta), loss.curvature(eta, mu))


# -- equation 1 of the paper --------------------------------------------------------------------


@pytest.mark.parametrize("name", ["LinearRegression", "Ridge", "Huber", "Poisson", "Gamma"])
def test_rigidity_is_what_pulling_a_prediction_costs(name):
    model, theta, objective, factor, _ = fitted(name)
    eps = 1e-3
    for x in (np.zeros(4), np.array([2.0, -1.0, 0.5, 3.0])):
        g = np.append(x, 1.0)
        if name == "Huber":
            g = np.append(g, 0.0)
        rise = obj.rise_when_pulled(objective, theta, g, eps)
        R = model.prediction_rigidity(x[None])[0]
        assert_allclose(rise, factor * R * eps**2 / 2, rtol=0.01)


# -- reductions ---------------------------------------------------------------------------------


@pytest.mark.parametrize("alpha", [0.7, np.array([0.1, 2.0, 5.0])], ids=["one", "per target"])
def test_ridge_is_rigid_ridge(rng, alpha):
    X = rng.standard_normal((40, 5)) + 1.0
    y = X @ rng.standard_normal((5, 3)) + 0.3 * rng.standard_normal((40, 3))
    s = rng.uniform(0.0, 2.0, 40)
    ours = WithRigidity(Ridge(alpha)).fit(X, y, sample_weight=s)
    rigid = RigidRidge(alpha).fit(X, y, s)
    for name in ("prediction_rigidity", "local_rigidity"):
        assert_allclose(getattr(ours, name)(X), getattr(rigid, name)(X), rtol=1e-10)
    assert_allclose(ours.component_rigidity(X, [2, 3]), rigid.component_rigidity(X, [2, 3]))
    W = rng.standard_normal((4, 40))
    assert_allclose(ours.combination_rigidity(X, W), rigid.combination_rigidity(X, W))
    assert_allclose(ours.combination_rigidity(X, W[0]), rigid.combination_rigidity(X, W[0]))
    assert_allclose(
        ours.rigidity_with(X, X[:5], s[:5]), rigid.rigidity_with(X, X[:5], s[:5]), rtol=1e-9
    )
    for kind in ({"return_std": True}, {"return_cov": True}):
        for a, b in zip(ours.predict(X, **kind), rigid.predict(X, **kind), strict=True):
            assert_allclose(a, b, rtol=1e-8, atol=1e-12)
    assert_allclose(ours.sample_y(X, random_state=0), rigid.sample_y(X, random_state=0))
    ours.calibrate(X, y + 0.1, method="crps")
    rigid.calibrate(X, y + 0.1, method="crps")
    assert_allclose(ours.scale_, rigid.scale_, rtol=1e-6)


def test_structures(rng):
    X = [rng.standard_normal((rng.integers(1, 5), 3)) for _ in range(30)]
    y = np.array([x.sum() for x in X]) + 0.1 * rng.standard_normal(30)
    for aggregate in ("mean", "sum"):
        ours = WithRigidity(Ridge(0.5), aggregate=aggregate).fit(X, y)
        rigid = RigidRidge(0.5, aggregate=aggregate).fit(X, y)
        assert_allclose(ours.predict(X), rigid.predict(X))
        assert_allclose(ours.score(X, y), rigid.score(X, y))
        assert_allclose(ours.prediction_rigidity(X), rigid.prediction_rigidity(X))
        for a, b in zip(ours.local_rigidity(X), rigid.local_rigidity(X), strict=True):
            assert_allclose(a, b)
        local = ours.component_rigidity(X, [1, 2], level="local")
        assert [part.shape for part in local] == [(len(x), 2) for x in X]


def test_kernel_ridge_with_the_linear_kernel_is_ridge(rng):
    X, y = rng.standard_normal((30, 4)), rng.standard_normal((30, 2))
    s = rng.uniform(0.0, 2.0, 30)
    s[3] = 0.0
    for alpha in (0.3, np.array([0.3, 2.0])):
        dual = WithRigidity(KernelRidge(alpha)).fit(X, y, sample_weight=s)
        primal = WithRigidity(Ridge(alpha, fit_intercept=False)).fit(X, y, sample_weight=s)
        assert_allclose(dual.prediction_rigidity(X), primal.prediction_rigidity(X), rtol=1e-9)
        W = rng.standard_normal((3, 30))
        assert_allclose(dual.combination_rigidity(X, W), primal.combination_rigidity(X, W))
        assert_allclose(dual.rigidity_with(X, X[:4]), primal.rigidity_with(X, X[:4]), rtol=1e-8)
        for kind in ({"return_std": True}, {"return_cov": True}):
            for a, b in zip(dual.predict(X, **kind), primal.predict(X, **kind), strict=True):
                assert_allclose(a, b, rtol=1e-7, atol=1e-10)
        assert dual.sample_y(X, n_samples=3).shape == (30, 2, 3)


@pytest.mark.parametrize(
    "kernel",
    [
        RBF(1.5),
        ConstantKernel(2.0) * Matern(2.0, nu=1.5),
        RationalQuadratic(),
        DotProduct(0.5) + RBF(),
        RBF() + WhiteKernel(0.3),
    ],
    ids=str,
)
@pytest.mark.parametrize("alpha", [0.1, "array"])
@pytest.mark.filterwarnings("ignore:the error bars of GaussianProcessRegressor")
def test_gaussian_process(rng, kernel, alpha):
    X, new = rng.standard_normal((40, 3)), rng.standard_normal((20, 3))
    y = np.column_stack([np.sin(X).sum(axis=1), 10 * X[:, 0]])
    alpha = rng.uniform(0.05, 0.5, 40) if alpha == "array" else alpha
    gp = GaussianProcessRegressor(kernel, alpha=alpha, optimizer=None)
    model = WithRigidity(gp).fit(X, y)
    _, std = model.estimator_.predict(new, return_std=True)
    strength = 1.0 if np.ndim(alpha) else alpha
    posterior = strength / model.prediction_rigidity(new)
    assert_allclose(posterior, std[:, 0] ** 2, atol=1e-8 * kernel.diag(new).max())
    _, cov = model.estimator_.predict(new, return_cov=True)
    W = rng.standard_normal((5, 20))
    sums = strength / model.combination_rigidity(new, W)
    assert_allclose(sums, np.einsum("ij,jk,ik->i", W, cov[..., 0], W), rtol=1e-6)
    # Added with the weight that a sample of this noise has.
    added, noise = rng.standard_normal((3, 3)), 0.2
    larger = clone(gp).set_params(alpha=np.append(np.broadcast_to(alpha, 40), [noise] * 3))
    _, std = larger.fit(np.vstack([X, added]), np.zeros(43)).predict(new, return_std=True)
    R = model.rigidity_with(new, added, np.full(3, strength / noise))
    assert_allclose(strength / R, std**2, atol=1e-8 * kernel.diag(new).max())
    for options in ({"return_std": True}, {"return_cov": True}):
        normalized = WithRigidity(clone(gp).set_params(normalize_y=True)).fit(X, y)
        mean, theirs = normalized.estimator_.predict(new, **options)
        noise = normalized.noise_variance_ * np.ones((20, 2))
        theirs = np.sqrt(theirs**2 + noise) if "return_std" in options else theirs
        ours = normalized.predict(new, **options)
        if "return_cov" in options:
            theirs = theirs + noise * np.eye(20)[..., None]
        assert_allclose(ours[0], mean, rtol=1e-6, atol=1e-6)
        assert_allclose(ours[1], theirs, rtol=1e-6, atol=1e-6)


def test_white_noise_is_in_combinations_of_many_predictions(rng, monkeypatch):
    X, new, W = rng.standard_normal((20, 2)), rng.standard_normal((40, 2)), np.ones(40)
    gp = GaussianProcessRegressor(RBF() + WhiteKernel(0.3), alpha=0.1, optimizer=None)
    monkeypatch.setattr("skrigidity.gradients.kernel.block_rows", lambda *args: 7)
    model = WithRigidity(gp).fit(X, X[:, 0])
    _, cov = model.estimator_.predict(new, return_cov=True)
    assert_allclose(0.1 / model.combination_rigidity(new, W), W @ cov @ W)
    assert_allclose(0.1 / model.prediction_rigidity(new), np.diag(cov))


def test_no_false_alarm_for_a_gaussian_process():
    """A kernel of condition 1, whose variances are right to the last digits."""
    X = np.arange(0.0, 50.0, 5.0)[:, None]
    new = X + 1.3
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = WithRigidity(GaussianProcessRegressor()).fit(X, np.sin(X[:, 0]))
        R = model.prediction_rigidity(new)
        model.predict(new, return_std=True)
    assert model.hessian_.info.condition < 1.001
    _, std = model.estimator_.predict(new, return_std=True)
    assert_allclose(1e-10 / R, std**2, rtol=1e-14)
    # Where the difference does cancel, at the training samples, it says so.
    with pytest.warns(LinAlgWarning, match="cancels"):
        model.prediction_rigidity(X)


# -- error bars ---------------------------------------------------------------------------------


# How often an error is within one and two standard deviations, by the distribution of errors.
NORMAL = (0.683, 0.954)
SMOOTH = GaussianProcessRegressor(2.0 * RBF(1.0), alpha=0.09, optimizer=None)


@pytest.mark.parametrize(
    "estimator",
    [
        LinearRegression(),
        Ridge(1.0),
        BayesianRidge(),
        ARDRegression(),
        ElasticNet(1e-3, l1_ratio=0.0),
        HuberRegressor(),
        SGDRegressor(random_state=0),
        SGDRegressor(loss="huber", random_state=0),
        TweedieRegressor(power=0, alpha=1e-3),
        TweedieRegressor(power=0, link="log", alpha=0.0, solver="newton-cholesky"),
        KernelRidge(0.05, kernel="rbf", gamma=0.5),
        SMOOTH,
    ],
    ids=str,
)
def test_error_bars_cover_errors_of_constant_noise(rng, estimator):
    X = rng.uniform(-1.5, 1.5, (3000, 3))
    eta = X @ [0.5, -0.3, 0.2] + 0.4
    mean = np.exp(eta + 2) if getattr(estimator, "link", "") == "log" else eta
    y = mean + 0.3 * rng.standard_normal(3000)
    train, test = slice(0, 600), slice(600, 3000)
    model = WithRigidity(estimator).fit(X[train], y[train])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        predicted, std = model.predict(X[test], return_std=True)
    error = np.abs(y[test] - predicted)
    for k, expected in enumerate(NORMAL, start=1):
        assert abs(np.mean(error <= k * std) - expected) < 0.035
    # Without the noise they are those of the mean, and cover next to nothing.
    mean_std = np.sqrt(std**2 - model.noise_variance_)
    assert np.mean(error <= 2 * mean_std) < 0.6


@pytest.mark.parametrize("tails", [3, 30])
def test_error_bars_of_huber_cover_heavy_tails(rng, tails):
    X = rng.standard_normal((2000, 3))
    y = X @ [1.0, -2.0, 0.5] + rng.standard_t(tails, 2000)
    model = WithRigidity(HuberRegressor()).fit(X[:500], y[:500])
    predicted, std = model.predict(X[500:], return_std=True)
    error = np.abs(y[500:] - predicted)
    assert 0.93 < np.mean(error <= 2 * std) < 0.985
    assert np.mean(error <= 2 * np.sqrt(std**2 - model.noise_variance_)) < 0.2


@pytest.mark.parametrize(
    ("estimator", "kind"),
    [
        (PoissonRegressor(alpha=1e-4), "poisson"),
        (GammaRegressor(alpha=1e-4), "gamma"),
        (TweedieRegressor(power=1.5, alpha=1e-4), "gamma"),
        (GaussianProcessRegressor(RBF(2.0), alpha=np.linspace(0.2, 2.0, 200)), "normal"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_error_bars_of_the_mean_say_so_until_they_are_calibrated(estimator, kind):
    X, y, _ = sample(kind, n=600)
    model = WithRigidity(estimator).fit(X[:200], y[:200])
    assert np.all(model.noise_variance_ == 0)
    for options in ({"return_std": True}, {"return_cov": True}):
        with pytest.warns(UserWarning, match=r"are those of the predicted mean.*calibrate") as seen:
            model.predict(X[:5], **options)
        assert len(seen) == 1
        assert seen[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.predict(X[:5])
        model.calibrate(X[200:400], y[200:400], noise=True)
        mean, std = model.predict(X[400:], return_std=True)
    assert 0.85 < np.mean(np.abs(y[400:] - mean) <= 2 * std) < 0.99
    with pytest.warns(UserWarning, match="predicted mean"):
        model.fit(X[:200], y[:200]).predict(X, return_std=True)


NEWTON = {"alpha": 0.0, "solver": "newton-cholesky"}


@pytest.mark.filterwarnings("ignore:the error bars of")
@pytest.mark.parametrize(
    ("estimator", "draw"),
    [
        (LinearRegression(), lambda rng, mu: np.log(mu) + 0.4 * rng.standard_normal(len(mu))),
        (HuberRegressor(alpha=0.0), lambda rng, mu: np.log(mu) + 0.4 * rng.standard_t(3, len(mu))),
        (PoissonRegressor(**NEWTON), lambda rng, mu: rng.poisson(mu).astype(float)),
        (GammaRegressor(**NEWTON), lambda rng, mu: rng.gamma(3.0, mu / 3.0)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_error_bars_are_the_spread_over_repeated_experiments(rng, estimator, draw):
    X = rng.uniform(-1, 1, (150, 2))
    mu = np.exp(X @ [1.0, -0.5] + 1.5)
    new = np.array([[0.0, 0.0], [1.0, 1.0], [1.5, -1.5]])
    means, variances = [], []
    for _ in range(200):
        model = WithRigidity(estimator).fit(X, draw(rng, mu))
        y, std = model.predict(new, return_std=True)
        means.append(y)
        variances.append(std**2 - model.noise_variance_)
    assert_allclose(np.mean(variances, axis=0), np.var(means, axis=0), rtol=0.3)


def test_no_degrees_of_freedom_left(rng):
    X = rng.standard_normal((4, 6))
    model = WithRigidity(LinearRegression()).fit(X, rng.standard_normal(4))
    with pytest.raises(ValueError, match="calibrate"):
        model.predict(X, return_std=True)
    model.calibrate(X[:2], model.predict(X[:2]) + 0.1)
    assert np.isfinite(model.predict(X, return_std=True)[1]).all()
    assert model.prediction_rigidity(rng.standard_normal((1, 6)))[0] == 0.0


def test_no_row_has_a_curvature():
    X, y, _ = sample("normal")
    with pytest.raises(ValueError, match="ClippedLoss has no curvature in any training row"):
        WithRigidity(SGDRegressor(loss="huber", epsilon=1e-9, random_state=0)).fit(X, y)


def test_huber_without_noise(rng):
    X = rng.standard_normal((30, 2))
    model = WithRigidity(HuberRegressor()).fit(X, X @ [1.0, 2.0])
    assert (model.prediction_rigidity(X) > 0).all()


def test_calibrate_is_in_units_of_the_target():
    X, y, _ = sample("poisson", n=400)
    model = WithRigidity(PoissonRegressor(alpha=1e-4)).fit(X[:200], y[:200])
    model.calibrate(X[200:], y[200:], noise=True, method="nll")
    mean, std = model.predict(X[200:], return_std=True)
    assert_allclose(np.mean(((y[200:] - mean) / std) ** 2), 1.0, rtol=0.1)
    assert not hasattr(model, "sample_y")


# -- weights, sparse input, frozen estimators, pipelines ------------------------------------------


# Of the others the estimator itself tells a weight from a repetition (BayesianRidge before 1.7).
@pytest.mark.parametrize(
    "name", [n for n in FAMILIES if not n.startswith(("SGD", "RidgeCV", "BayesianRidge"))]
)
@pytest.mark.filterwarnings("ignore:the error bars of")
def test_integer_weights_repeat_rows(name):
    estimator, kind, *_ = FAMILIES[name]
    X, y, _ = sample(kind)
    s = np.random.default_rng(3).integers(0, 4, len(X))
    weighted = WithRigidity(estimator).fit(X, y, sample_weight=s)
    repeated = WithRigidity(estimator).fit(X.repeat(s, axis=0), y.repeat(s))
    R = repeated.prediction_rigidity(X)
    assert_allclose(weighted.prediction_rigidity(X), R, rtol=1e-4)
    stds = [model.predict(X, return_std=True)[1] for model in (weighted, repeated)]
    assert_allclose(*stds, rtol=1e-4)


@pytest.mark.parametrize("name", ["Ridge", "Poisson", "Huber"])
def test_sparse(name):
    estimator, kind, *_ = FAMILIES[name]
    X, y, s = sample(kind)
    X[X < 0.5] = 0.0
    dense = WithRigidity(estimator).fit(X, y, sample_weight=s)
    for form in (sp.csr_matrix, sp.csr_array, sp.csc_matrix):
        sparse = WithRigidity(estimator).fit(form(X), y, sample_weight=s)
        R = sparse.prediction_rigidity(form(X))
        assert_allclose(R, dense.prediction_rigidity(X), rtol=1e-3)
        assert_allclose(
            sparse.component_rigidity(form(X), [1, 3]),
            dense.component_rigidity(X, [1, 3]),
            rtol=1e-3,
        )
        sums = sparse.combination_rigidity(form(X), np.ones(len(X)))
        assert_allclose(sums, dense.combination_rigidity(X, np.ones(len(X))), rtol=1e-3)


@pytest.mark.parametrize("name", FAMILIES)
def test_added_samples(name):
    """Never less rigid; where the curvature is known, R of the sample itself rises by it."""
    model, *_, X = fitted(name)
    before, after = model.prediction_rigidity(X), model.rigidity_with(X, X[:1])
    assert (after >= before * (1 - 1e-9)).all()
    curvature = {"Poisson": model.predict(X)[0], "Tweedie": model.predict(X)[0] ** 0.5}.get(
        name, 1.0
    )
    if name == "Huber":
        curvature = 1 / model.estimator_.scale_
    assert_allclose(after[0] - before[0], curvature, rtol=1e-7)


def test_frozen_estimator_is_not_refitted():
    X, y, s = sample("poisson")
    inner = PoissonRegressor().fit(X[:30], y[:30])
    coef = inner.coef_.copy()
    model = WithRigidity(FrozenEstimator(inner)).fit(X, y, sample_weight=s)
    assert_allclose(model.predict(X), inner.predict(X), rtol=0)
    assert_allclose(inner.coef_, coef, rtol=0)
    objective = obj.poisson(X, y, s, 1.0)
    H = obj.hessian(objective, np.append(coef, inner.intercept_))
    g = np.column_stack([X, np.ones(len(X))])
    q = np.einsum("ij,jk,ik->i", g, np.linalg.inv(H), g)
    assert_allclose(model.prediction_rigidity(X), 1 / q, rtol=1e-6)
    with pytest.raises(NotFittedError):
        WithRigidity(FrozenEstimator(PoissonRegressor())).fit(X, y)
    with pytest.raises(ValueError, match="features"):
        WithRigidity(FrozenEstimator(inner)).fit(X[:, :2], y)


@pytest.mark.filterwarnings("ignore:The scoring .* does not support sample_weight")
def test_frames_searches_pipelines_routing_and_pickle():
    pd = pytest.importorskip("pandas")
    X, y, s = sample("normal")
    frame = pd.DataFrame(X, columns=list("abcd"))
    model = WithRigidity(Ridge()).fit(frame, y)
    assert model.component_rigidity(frame, {"ab": ["a", "b"]}).shape == (60, 1)
    assert_allclose(model.predict(frame, return_std=True)[0], model.predict(frame))
    with pytest.raises(ValueError, match="feature names"):
        model.prediction_rigidity(frame[["b", "a", "c", "d"]])
    search = GridSearchCV(WithRigidity(Ridge()), {"estimator__alpha": [0.1, 100.0]})
    assert search.fit(X, y, sample_weight=s).best_params_ == {"estimator__alpha": 0.1}
    pipe = make_pipeline(StandardScaler(), WithRigidity(Ridge()))
    assert (cross_val_score(pipe, X, y) > 0.5).all()
    again = pickle.loads(pickle.dumps(model))
    assert_allclose(again.prediction_rigidity(frame), model.prediction_rigidity(frame))
    plain = WithRigidity(Ridge()).fit(X, y, sample_weight=s)
    with config_context(enable_metadata_routing=True):
        routed = WithRigidity(Ridge().set_fit_request(sample_weight=True))
        routed = make_pipeline(routed).fit(X, y, sample_weight=s)[-1]
    assert_allclose(routed.prediction_rigidity(X), plain.prediction_rigidity(X))


# -- what is refused, and why ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("estimator", "error", "message"),
    [
        (DecisionTreeRegressor(), TypeError, "piecewise constant"),
        (SVR(), TypeError, "support vectors"),
        (QuantileRegressor(), TypeError, "pinball"),
        (make_pipeline(StandardScaler(), Ridge()), TypeError, "last step"),
        (GridSearchCV(Ridge(), {}), TypeError, "inside of it"),
        (BaggingRegressor(Ridge()), TypeError, r"BaggingRegressor\(WithRigidity\(estimator\)\)"),
        (VotingRegressor([("a", Ridge())]), TypeError, r"several models .* `estimators_`"),
        (MultiOutputRegressor(Ridge()), TypeError, r"MultiOutputRegressor\(WithRigidity"),
        (RegressorChain(Ridge()), TypeError, r"RegressorChain\(WithRigidity"),
        (RANSACRegressor(Ridge()), TypeError, "inside of it"),
        (Ridge, TypeError, r"got the class Ridge: WithRigidity\(Ridge\(\)\)"),
        (Lasso(), ValueError, "kink"),
        (ElasticNet(l1_ratio=0.5), ValueError, "kink"),
        (Ridge(positive=True), ValueError, "bound"),
        (LinearRegression(positive=True), ValueError, "bound"),
        (SGDRegressor(penalty="l1"), ValueError, "kink"),
        (SGDRegressor(loss="epsilon_insensitive"), ValueError, "flat"),
        (object(), ValueError, "estimator"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_refused(estimator, error, message):
    X, y = make_regression(30, 3, random_state=0)
    with pytest.raises(error, match=message):
        WithRigidity(estimator).fit(X, y)


@pytest.mark.parametrize(
    ("wrapper", "inner"),
    [
        (BaggingRegressor(WithRigidity(Ridge()), n_estimators=2), lambda model: model.estimators_),
        (VotingRegressor([("a", WithRigidity(Ridge()))]), lambda model: model.estimators_),
        (MultiOutputRegressor(WithRigidity(Ridge())), lambda model: model.estimators_),
        (RegressorChain(WithRigidity(Ridge())), lambda model: model.estimators_[:1]),
        (RANSACRegressor(WithRigidity(Ridge()), min_samples=9), lambda model: [model.estimator_]),
        (GridSearchCV(WithRigidity(Ridge()), {}), lambda model: [model.best_estimator_]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_refused_works_the_other_way_round(wrapper, inner):
    X, y, _ = sample("normal")
    many = isinstance(wrapper, MultiOutputRegressor | RegressorChain)
    model = clone(wrapper).fit(X, np.column_stack([y, y]) if many else y)
    for estimator in inner(model):
        assert (estimator.prediction_rigidity(X) > 0).all()


def test_negative_curvature_names_the_loss(rng):
    X = rng.standard_normal((50, 2))
    y = np.exp(rng.standard_normal(50))
    with pytest.raises(ValueError, match=r"TweedieLoss \(power=3, link=log\).*negative curvature"):
        WithRigidity(TweedieRegressor(power=3, alpha=0.1)).fit(X, y)


def test_bad_calls(rng):
    X, y, _ = sample("normal")
    model = WithRigidity(KernelRidge(kernel="rbf")).fit(X, y)
    with pytest.raises(TypeError, match="not linear in the features"):
        model.local_rigidity(X)
    with pytest.raises(TypeError, match="not linear in the features"):
        model.component_rigidity(X, [2, 2])
    precomputed = WithRigidity(KernelRidge(kernel="precomputed")).fit(X @ X.T, y)
    assert precomputed.predict(X @ X.T).shape == (60,)
    with pytest.raises(ValueError, match="precomputed"):
        precomputed.prediction_rigidity(X @ X.T)
    with pytest.raises(NotFittedError):
        WithRigidity(Ridge()).prediction_rigidity(X)
    model = WithRigidity(Ridge()).fit(X, y)
    with pytest.raises(ValueError, match="components must be given"):
        model.component_rigidity(X)
    with pytest.raises(ValueError, match="one entry per sample"):
        model.combination_rigidity(X, np.ones(3))
    with pytest.raises(ValueError, match="at most one"):
        model.predict(X, return_std=True, return_cov=True)
    for weight in (-np.ones(60), np.zeros(60), np.full(60, np.nan), np.full(60, np.inf)):
        with pytest.raises(ValueError, match=r"[Ss]ample.weight"):
            WithRigidity(Ridge()).fit(X, y, sample_weight=weight)


@pytest.mark.parametrize("factor", [1e160, 1e-160])
@pytest.mark.parametrize("estimator", [Ridge(), KernelRidge(), BayesianRidge()], ids=str)
def test_magnitudes(estimator, factor):
    X, y, _ = sample("normal")
    with pytest.raises(ValueError, match=r"^X has values up to .* in magnitude"):
        WithRigidity(estimator).fit(factor * X, y)
    with pytest.raises(ValueError, match=r"^y has values up to .* in magnitude"):
        WithRigidity(estimator).fit(X, factor * y)


def test_kernels_of_the_users(rng):
    """`KernelRows` have what rigidities need besides the kernel with the training set."""
    X, y = rng.standard_normal((30, 3)), rng.standard_normal(30)
    new = rng.standard_normal((5, 3))
    s = rng.uniform(0.5, 2.0, 30)
    s[4] = 0.0
    given = WithRigidity(KernelRidge(0.3, kernel="precomputed"))
    given.fit(X @ X.T, y, sample_weight=s)
    linear = WithRigidity(KernelRidge(0.3)).fit(X, y, sample_weight=s)
    rows = KernelRows(new @ X.T, (new**2).sum(axis=1), new @ new.T)
    assert_allclose(given.prediction_rigidity(rows), linear.prediction_rigidity(new))
    W = rng.standard_normal((2, 5))
    assert_allclose(given.combination_rigidity(rows, W), linear.combination_rigidity(new, W))
    left = given.leave_one_out(X @ X.T, y, sample_weight=s)
    assert_allclose(left.rigidity, linear.leave_one_out(X, y, sample_weight=s).rigidity)
    for X_new in (new @ X.T, rows):
        assert_allclose(given.predict(X_new), linear.predict(new))
    assert_allclose(given.predict(rows, return_std=True), linear.predict(new, return_std=True))
    with pytest.raises(ValueError, match=r"KernelRows\(X, diagonal\)"):
        given.prediction_rigidity(new @ X.T)


def test_kernel_models_are_frozen_to_their_samples(rng):
    X, y = rng.standard_normal((30, 3)), rng.standard_normal(30)
    for inner in (KernelRidge(), GaussianProcessRegressor(alpha=0.1)):
        frozen = FrozenEstimator(inner.fit(X, y))
        model = WithRigidity(frozen).fit(X, y)
        again = WithRigidity(inner).fit(X, y)
        assert_allclose(model.prediction_rigidity(X), again.prediction_rigidity(X))
        with pytest.raises(ValueError, match="fitted to"):
            WithRigidity(frozen).fit(X[:20], y[:20])


def test_effective_degrees_of_freedom_are_a_trace():
    model, theta, objective, *_ = fitted("Poisson")
    H = obj.hessian(objective, theta)
    penalty = 0.05 * sample("poisson")[2].sum()
    expected = 5 - penalty * np.trace(np.linalg.inv(H)[:4, :4])
    assert_allclose(model.effective_dof_, expected, rtol=1e-6)


def test_contributions_add_up_to_the_linear_predictor(rng):
    X = [rng.standard_normal((rng.integers(1, 5), 3)) for _ in range(40)]
    y = rng.poisson(2.0, 40).astype(float)
    for aggregate, combine in (("mean", np.mean), ("sum", np.sum)):
        model = WithRigidity(PoissonRegressor(alpha=0.1), aggregate=aggregate).fit(X, y)
        total = np.array([combine(part) for part in model.predict_local(X)])
        offset = model.estimator_.intercept_ if aggregate == "sum" else 0.0
        assert_allclose(np.log(model.predict(X)), total + offset)
        parts = model.predict_components(X, {"a": [0], "b": [1, 2]})
        rest = model.estimator_.intercept_
        assert_allclose(np.log(model.predict(X)), parts.sum(axis=1) + rest)


def test_a_family_of_ones_own():
    class Half(Ridge):
        """Minimizes half of Ridge's objective."""

    @curvature_of.register
    def _(estimator: Half):
        return Curvature(CurvedGradients(estimator), alpha=estimator.alpha)

    X, y, _ = sample("normal")
    model = WithRigidity(Half(2.0)).fit(X, y)
    assert model.curvature_.loss_factor == 1.0
    expected = WithRigidity(Ridge(2.0)).fit(X, y).prediction_rigidity(X)
    assert_allclose(model.prediction_rigidity(X), expected)


def test_single_precision_fits_in_silence():
    X = np.random.default_rng(0).standard_normal((12, 4)).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        WithRigidity(Ridge()).fit(X, X.sum(axis=1))
