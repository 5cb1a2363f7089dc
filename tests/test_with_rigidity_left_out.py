"""WithRigidity.leave_one_out: refits where the loss is squared, one Newton step elsewhere."""

import numpy as np
import objectives as obj
import pytest
from numpy.testing import assert_allclose
from sklearn.base import clone
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, WhiteKernel
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import (
    ARDRegression,
    BayesianRidge,
    ElasticNet,
    GammaRegressor,
    HuberRegressor,
    LinearRegression,
    LogisticRegression,
    PoissonRegressor,
    Ridge,
    RidgeClassifier,
    SGDRegressor,
)

from skrigidity import WithRigidity

N = 24


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def sample(rng, n_targets=None):
    X = rng.standard_normal((N, 3)) + 0.5
    shape = (3,) if n_targets is None else (3, n_targets)
    y = X @ rng.standard_normal(shape)
    return X, y + 0.5 * rng.standard_normal(y.shape), rng.uniform(0.3, 2.0, N)


def without(fit, X, y, s, groups=None):
    """Predictions and rigidities of models that are fitted again without each group."""
    groups = np.arange(len(X)) if groups is None else groups
    prediction, rigidity = np.full(y.shape, np.nan), [None] * len(X)
    for label in np.unique(groups):
        out = groups == label
        model = fit(X[~out], y[~out], s[~out])
        prediction[out] = model.predict(X[out])
        for i, R in zip(np.flatnonzero(out), model.prediction_rigidity(X[out]), strict=True):
            rigidity[i] = R
    return prediction, np.array(rigidity)


WEIGHTED = {
    "LinearRegression": LinearRegression(),
    "Ridge": Ridge(0.7),
    "no intercept": Ridge(0.7, fit_intercept=False),
    "KernelRidge": KernelRidge(0.3, kernel="rbf", gamma=0.5),
}


@pytest.mark.parametrize("name", WEIGHTED)
@pytest.mark.parametrize("n_targets", [None, 2])
@pytest.mark.parametrize("grouped", [False, True])
def test_squared_losses_are_left_exactly(rng, name, n_targets, grouped):
    X, y, s = sample(rng, n_targets)
    groups = rng.integers(0, 6, N) if grouped else None
    s[2] = 0.0
    model = WithRigidity(WEIGHTED[name]).fit(X, y, sample_weight=s)
    left = model.leave_one_out(X, y, sample_weight=s, groups=groups)

    def fit(X, y, s):
        return WithRigidity(WEIGHTED[name]).fit(X, y, sample_weight=s)

    prediction, R = without(fit, X, y, s, groups)
    assert_allclose(left.prediction, prediction, rtol=1e-8, atol=1e-10)
    assert_allclose(left.residual, y - prediction, rtol=1e-7, atol=1e-10)
    assert_allclose(left.rigidity, R, rtol=1e-7)
    assert left.n_excluded == 0


@pytest.mark.parametrize("estimator", [Ridge, KernelRidge])
def test_one_alpha_per_target(rng, estimator):
    X, y, s = sample(rng, 2)
    model = WithRigidity(estimator(np.array([0.2, 3.0]))).fit(X, y, sample_weight=s)
    left = model.leave_one_out(X, y, sample_weight=s)
    for t, alpha in enumerate([0.2, 3.0]):
        alone = WithRigidity(estimator(alpha)).fit(X, y[:, t], sample_weight=s)
        one = alone.leave_one_out(X, y[:, t], sample_weight=s)
        assert_allclose(left.prediction[:, t], one.prediction, rtol=1e-9, atol=1e-12)
        assert_allclose(left.rigidity[:, t], one.rigidity, rtol=1e-9)


def hyper_fixed(model):
    """The estimator of the same penalty, for training sets that lack samples."""
    inner = model.estimator_
    if isinstance(inner, BayesianRidge):
        return lambda X, y, w: WithRigidity(Ridge(inner.lambda_ / inner.alpha_)).fit(X, y)
    fixed = clone(inner).set_params(optimizer=None, kernel=inner.kernel_)

    def refitted(X, y, w):
        process = clone(fixed)
        if np.ndim(inner.alpha):  # noise variances, passed along as weights
            process.set_params(alpha=w)
        return WithRigidity(process).fit(X, y)

    return refitted


@pytest.mark.parametrize(
    "estimator",
    [
        BayesianRidge(),
        GaussianProcessRegressor(RBF(1.5), alpha=0.2),
        GaussianProcessRegressor(RBF(1.5) + WhiteKernel(0.1), alpha=1e-6),
        GaussianProcessRegressor(RBF(1.5), alpha=np.linspace(0.1, 0.5, N), optimizer=None),
    ],
    ids=["BayesianRidge", "process", "white noise", "noise by sample"],
)
def test_hyperparameters_stay(rng, estimator):
    X, y, _ = sample(rng)
    model = WithRigidity(estimator).fit(X, y)
    left = model.leave_one_out(X, y)
    weight = np.linspace(0.1, 0.5, N)
    prediction, R = without(hyper_fixed(model), X, y, weight)
    assert_allclose(left.prediction, prediction, rtol=1e-6, atol=1e-7)
    assert_allclose(left.rigidity, R, rtol=1e-6)


def test_the_penalty_of_a_mean_of_losses_stays(rng):
    X, y, s = sample(rng)
    estimator = ElasticNet(0.1, l1_ratio=0.0, tol=1e-14, max_iter=100_000)
    model = WithRigidity(estimator).fit(X, y, sample_weight=s)
    left = model.leave_one_out(X, y, sample_weight=s)

    def fit(X, y, w):
        return WithRigidity(Ridge(0.1 * s.sum())).fit(X, y, sample_weight=w)

    prediction, R = without(fit, X, y, s)
    assert_allclose(left.prediction, prediction, rtol=1e-5)
    assert_allclose(left.rigidity, R, rtol=1e-6)


def test_normalized_targets_keep_their_mean_and_scale(rng):
    X, y, _ = sample(rng)
    process = GaussianProcessRegressor(RBF(1.5), alpha=0.2, optimizer=None)
    plain = WithRigidity(process).fit(X, (y - y.mean()) / y.std())
    model = WithRigidity(clone(process).set_params(normalize_y=True)).fit(X, y)
    left, standard = model.leave_one_out(X, y), plain.leave_one_out(X, (y - y.mean()) / y.std())
    assert_allclose(left.prediction, y.mean() + y.std() * standard.prediction, rtol=1e-9)
    assert_allclose(left.rigidity, standard.rigidity, rtol=1e-9)


def test_ard_is_left_with_what_it_kept(rng):
    X, y, _ = sample(rng)
    X = np.column_stack([X, rng.standard_normal((N, 3))])
    model = WithRigidity(ARDRegression(threshold_lambda=30.0)).fit(X, y)
    kept = model.estimator_.lambda_ < 30.0
    assert 0 < kept.sum() < 6
    # Ridge on scaled columns has a strength for every feature.
    scale = np.sqrt(model.estimator_.alpha_ / model.estimator_.lambda_[kept])

    def fit(X, y, s):
        ridge = WithRigidity(Ridge(1.0)).fit(X[:, kept] * scale, y)
        ridge_predict, ridge_rigidity = ridge.predict, ridge.prediction_rigidity
        ridge.predict = lambda X: ridge_predict(X[:, kept] * scale)
        ridge.prediction_rigidity = lambda X: ridge_rigidity(X[:, kept] * scale)
        return ridge

    left = model.leave_one_out(X, y)
    prediction, R = without(fit, X, y, np.ones(N))
    assert_allclose(left.prediction, prediction, rtol=1e-5)
    assert_allclose(left.rigidity, R, rtol=1e-7)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_ridge_classifiers_are_left_with_decisions(rng, n_classes):
    X, y, s = sample(rng)
    labels = np.digitize(y, np.quantile(y, np.arange(1, n_classes) / n_classes))
    names = np.array(["a", "b", "c"])[labels]
    model = WithRigidity(RidgeClassifier(0.5)).fit(X, names, sample_weight=s)
    left = model.leave_one_out(X, names, sample_weight=s)
    signs = np.where(labels[:, None] == np.arange(n_classes), 1.0, -1.0)
    signs = signs[:, 1] if n_classes == 2 else signs
    ridge = WithRigidity(Ridge(0.5)).fit(X, signs, sample_weight=s)
    expected = ridge.leave_one_out(X, signs, sample_weight=s)
    for name in ("prediction", "residual", "rigidity"):
        assert_allclose(left[name], expected[name], rtol=1e-9, atol=1e-12)


# -- one Newton step --------------------------------------------------------------------------

TIGHT = {"tol": 1e-12, "max_iter": 10_000, "solver": "newton-cholesky"}


def newton(objective, theta, basis):
    """The step of the objective's own derivatives, and the Hessian's inverse in a basis."""
    H = basis.T @ obj.hessian(objective, theta) @ basis
    step = -basis @ np.linalg.solve(H, basis.T @ obj.gradient(objective, theta))
    return theta + step, basis @ np.linalg.solve(H, basis.T)


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("name", ["poisson", "gamma", "two classes", "three classes"])
def test_one_newton_step_from_the_optimum(rng, name, grouped):
    X, eta, s = sample(rng)
    groups = np.arange(N) // 3 if grouped else np.arange(N)
    basis, K = np.eye(4), {"two classes": 2, "three classes": 3}.get(name, 0)
    if name == "poisson":
        y, estimator = rng.poisson(np.exp(eta)).astype(float), PoissonRegressor(alpha=0.1, **TIGHT)
    elif name == "gamma":
        y, estimator = rng.gamma(2.0, np.exp(eta) / 2), GammaRegressor(alpha=0.1, **TIGHT)
    else:
        y = np.digitize(eta + rng.standard_normal(N), np.quantile(eta, np.arange(1, K) / K))
        estimator = LogisticRegression(C=2.0, **TIGHT)
    if K == 3:
        contrasts = np.linalg.qr(np.column_stack([np.ones(3), np.eye(3)[:, :2]]))[0][:, 1:]
        basis = np.kron(contrasts, np.eye(4))

    def objective(keep):
        data = X[keep], y[keep], s[keep]
        if K:
            return obj.logistic(*data, 2.0) if K == 2 else obj.multinomial(*data, 2.0, 3)
        build = obj.poisson if name == "poisson" else obj.gamma
        return build(*data, 0.1 * s.sum() / s[keep].sum())

    model = WithRigidity(estimator).fit(X, y, sample_weight=s)
    left = model.leave_one_out(X, y, sample_weight=s, groups=groups if grouped else None)
    inner = model.estimator_
    theta = np.column_stack([np.atleast_2d(inner.coef_), np.ravel(inner.intercept_)]).ravel()
    x = np.column_stack([X, np.ones(N)])
    for label in np.unique(groups):
        keep = groups != label
        stepped, inverse = newton(objective(keep), theta, basis)
        for i in np.flatnonzero(~keep):
            if name == "three classes":
                eta = stepped.reshape(3, 4) @ x[i]
                expected = np.exp(eta) / np.exp(eta).sum()
                g = np.array([np.kron(e - 1 / 3, x[i]) for e in np.eye(3)])
                target = np.eye(3)[y[i]]
            else:
                eta, g, target = stepped @ x[i], x[i][None], y[i]
                expected = 1 / (1 + np.exp(-eta)) if name == "two classes" else np.exp(eta)
            assert_allclose(left.prediction[i], expected, rtol=1e-5)
            assert_allclose(left.residual[i], target - expected, rtol=1e-4, atol=1e-6)
            R = 1 / np.einsum("ij,jk,ik->i", g, inverse, g)
            assert_allclose(left.rigidity[i], R if len(R) > 1 else R[0], rtol=1e-5)


@pytest.mark.parametrize("n_classes", [None, 2, 3])
def test_the_step_is_close_to_a_refit(rng, n_classes):
    n = 60
    X = rng.standard_normal((n, 2))
    eta = X @ [1.0, -0.5] + rng.standard_normal(n)
    if n_classes is None:
        y, estimator = rng.poisson(np.exp(eta)).astype(float), PoissonRegressor(alpha=0.0, **TIGHT)
    else:
        y = np.digitize(eta, np.quantile(eta, np.arange(1, n_classes) / n_classes))
        estimator = LogisticRegression(C=1.0, **TIGHT)

    def predictions(model, X):
        if n_classes is None:
            return model.predict(X)
        p = model.predict_proba(X)
        return p[:, 1] if n_classes == 2 else p

    model = WithRigidity(estimator).fit(X, y)
    left = model.leave_one_out(X, y)
    refitted = np.array(
        [
            predictions(clone(estimator).fit(np.delete(X, i, 0), np.delete(y, i)), X[[i]])[0]
            for i in range(n)
        ]
    )
    moved = np.abs(predictions(model, X) - refitted)
    missed = np.abs(left.prediction - refitted)
    assert np.sqrt((missed**2).mean()) < 0.2 * np.sqrt((moved**2).mean())


def test_separable_classes_without_a_penalty(rng):
    """A sample that pins a direction alone leaves its logits without any rigidity."""
    X = np.array([[0.0], [0.0], [0.0], [1.0]])
    model = WithRigidity(LogisticRegression(C=np.inf, fit_intercept=False))
    y = np.array([0, 1, 2, 1])
    model.fit(X, y)
    left = model.leave_one_out(X, y)
    assert (left.rigidity[3] == 0).all()
    assert left.n_excluded == 1
    assert np.isfinite(left.prediction).all()


@pytest.mark.parametrize(
    "estimator", [HuberRegressor(), SGDRegressor(loss="huber", random_state=0)], ids=str
)
def test_outliers_have_no_curvature(rng, estimator):
    X, y, _ = sample(rng)
    model = WithRigidity(estimator).fit(X, y)
    with pytest.raises(TypeError, match=r"leave_one_out .* linear for outliers"):
        model.leave_one_out(X, y)


def test_labels_are_part_of_the_training_set(rng):
    X, eta, s = sample(rng)
    for K in (2, 3):
        y = np.digitize(eta, np.quantile(eta, np.arange(1, K) / K))
        model = WithRigidity(LogisticRegression()).fit(X, y, sample_weight=s)
        centre = model.gradients_.coef.copy()
        for other in ((X, np.roll(y, 1), s), (X + 1.0, y, s), (X, y, s[::-1])):
            with pytest.raises(ValueError, match="training set"):
                model.leave_one_out(other[0], other[1], sample_weight=other[2])
        assert_allclose(model.gradients_.coef, centre, rtol=0)
