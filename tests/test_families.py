"""Every model with rigidities has the same methods, with the same arguments and meanings."""

import inspect

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import (
    BayesianRidge,
    HuberRegressor,
    LogisticRegression,
    PoissonRegressor,
    Ridge,
)
from sklearn.neural_network import MLPClassifier, MLPRegressor

from skrigidity import (
    ComponentRidge,
    Environments,
    RigidKernelRidge,
    RigidRidge,
    RigidRidgeCV,
    WithRigidity,
)
from skrigidity.gradients import RigidityMixin

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
NETWORK = {"hidden_layer_sizes": (6,), "solver": "lbfgs", "max_iter": 30, "alpha": 1.0}
NETWORK |= {"activation": "tanh", "random_state": 0}
FAMILIES = {
    "RigidRidge": RigidRidge(0.5),
    "RigidRidge, no intercept": RigidRidge(0.5, fit_intercept=False),
    "RigidRidge, sums": RigidRidge(0.5, aggregate="sum"),
    "RigidRidgeCV": RigidRidgeCV([0.1, 0.5, 2.5]),
    "ComponentRidge": ComponentRidge([2, 3], {"component0": 0.5, "component1": 2.0}),
    "ComponentRidge, orthogonal": ComponentRidge([2, 3], 0.5, orthogonalize="sequential"),
    "RigidKernelRidge": RigidKernelRidge(0.5),
    "RigidKernelRidge, components": RigidKernelRidge(0.5, components=[2, 3]),
    "Ridge": WithRigidity(Ridge(0.5)),
    "BayesianRidge": WithRigidity(BayesianRidge()),
    "PoissonRegressor": WithRigidity(PoissonRegressor(alpha=0.1, tol=1e-10, max_iter=1000)),
    "HuberRegressor": WithRigidity(HuberRegressor(alpha=0.1, max_iter=1000)),
    "binary": WithRigidity(LogisticRegression(tol=1e-10, max_iter=1000)),
    "three classes": WithRigidity(LogisticRegression(tol=1e-10, max_iter=1000)),
    "KernelRidge": WithRigidity(KernelRidge(0.5)),
    "GaussianProcessRegressor": WithRigidity(
        GaussianProcessRegressor(RBF(2.0), alpha=0.1, optimizer=None)
    ),
    "MLPRegressor": WithRigidity(MLPRegressor(**NETWORK)),
    "MLPClassifier, binary": WithRigidity(MLPClassifier(**NETWORK)),
    "MLPClassifier, three classes": WithRigidity(MLPClassifier(**NETWORK)),
}
CLASSES = {
    "binary": 2,
    "three classes": 3,
    "MLPClassifier, binary": 2,
    "MLPClassifier, three classes": 3,
}
# Predictions that are not sums over environments and columns, and losses without a closed form.
NETWORKS = {"MLPRegressor", "MLPClassifier, binary", "MLPClassifier, three classes"}
NOT_ADDITIVE = {"KernelRidge", "GaussianProcessRegressor", *NETWORKS}
NO_PARTS = "RigidKernelRidge|LastLayerRigidity"
NO_LEAVE_OUT = {"HuberRegressor", *NETWORKS}
COMPONENTS = [2, 3]


def targets(name, X, rng):
    eta = X @ np.array([1.0, -1.0, 0.5, 0.0, 0.3])
    if name in CLASSES:
        noisy = eta + rng.standard_normal(len(X))
        return np.digitize(noisy, np.quantile(noisy, np.arange(1, CLASSES[name]) / CLASSES[name]))
    if name == "PoissonRegressor":
        return rng.poisson(np.exp(0.3 * eta)).astype(float)
    return eta + 0.3 * rng.standard_normal(len(X))


@pytest.fixture(params=FAMILIES)
def family(request):
    return request.param


@pytest.fixture
def fitted(family):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((40, 5))
    return FAMILIES[family].fit(X, targets(family, X, rng)), X


@pytest.fixture
def structures(family):
    rng = np.random.default_rng(1)
    X = [rng.standard_normal((rng.integers(1, 4), 5)) for _ in range(40)]
    aggregate = getattr(FAMILIES[family], "aggregate", "mean")
    features = Environments.from_arrays(X).aggregate(aggregate)
    return X, targets(family, features, rng)


def outputs(family, n):
    return (n, 3) if CLASSES.get(family) == 3 else (n,)


PUBLIC = [name for name, _ in inspect.getmembers(RigidityMixin) if not name.startswith("_")]


def test_one_mixin():
    """No family writes a method of the mixin again, but for `predict` of what is inside."""
    assert len(PUBLIC) >= 11
    for model in FAMILIES.values():
        assert isinstance(model, RigidityMixin)
        for name in PUBLIC:
            method = inspect.getattr_static(type(model), name, None)
            if callable(method):
                assert inspect.signature(method) == inspect.signature(getattr(RigidityMixin, name))


def test_rigidities(family, fitted):
    model, X = fitted
    R = model.prediction_rigidity(X[:7])
    assert R.shape == outputs(family, 7)
    assert (R > 0).all()
    # Order and batching do not matter.
    assert_allclose(model.prediction_rigidity(X[6:7]), R[6:7], rtol=1e-9)
    # A combination of one is the prediction itself; twice as much is a quarter as firm.
    one = np.zeros((2, 7))
    one[0, 3], one[1, 3] = 1.0, 2.0
    C = model.combination_rigidity(X[:7], one)
    assert_allclose(C[0], R[3], rtol=1e-8)
    assert_allclose(C[1], R[3] / 4, rtol=1e-8)
    assert_allclose(model.combination_rigidity(X[:7], one[0]), C[0], rtol=1e-12)


def test_adding_samples(family, fitted):
    model, X = fitted
    before = model.prediction_rigidity(X[:5])
    after = model.rigidity_with(X[:5], X[5:9])
    assert after.shape == before.shape
    assert (after >= before * (1 - 1e-9)).all()
    assert_allclose(model.rigidity_with(X[:5], X[5:6], [0.5]).shape, before.shape)
    twice = model.rigidity_with(X[:5], X[[5, 5]])
    assert_allclose(model.rigidity_with(X[:5], X[5:6], [2.0]), twice, rtol=1e-8)
    if family in NOT_ADDITIVE:
        with pytest.raises(TypeError, match=NO_PARTS):
            model.rigidity_with(X[:5], X[5:9], level="local")
        return
    local = model.rigidity_with(X[:5], X[5:9], level="local")
    assert np.shape(local) == before.shape


def test_adding_a_sample_raises_its_rigidity_by_its_weight(family, fitted):
    model, X = fitted
    if family in {"PoissonRegressor", "HuberRegressor", *CLASSES}:
        pytest.skip("the weight is the curvature that is expected of the sample")
    gain = model.rigidity_with(X[:1], X[:1], [0.7]) - model.prediction_rigidity(X[:1])
    assert_allclose(gain, 0.7, rtol=1e-6)


def test_environments(family, structures):
    X, y = structures
    model = FAMILIES[family].fit(X, y)
    if family in NOT_ADDITIVE:
        for method in (model.local_rigidity, model.predict_local):
            with pytest.raises(TypeError, match=NO_PARTS):
                method(X)
        return
    R = model.local_rigidity(X[:3])
    assert [r.shape for r in R] == [outputs(family, len(x)) for x in X[:3]]
    flat = model.local_rigidity(np.concatenate(X[:3]))
    assert_allclose(np.concatenate(R), flat, rtol=1e-9)
    parts = model.predict_local(X[:3])
    assert [p.shape for p in parts] == [r.shape for r in R]
    added = model.rigidity_with(X[:3], X[3:5], level="local")
    assert [a.shape for a in added] == [r.shape for r in R]
    assert all((a >= r * (1 - 1e-9)).all() for a, r in zip(added, R, strict=True))
    # A structure of one environment is that environment, but for the intercept under sums.
    if getattr(model, "aggregate", "mean") == "mean":
        alone = [x[:1] for x in X[:5]]
        R = np.concatenate(model.local_rigidity(alone))
        assert_allclose(R, model.prediction_rigidity(alone), rtol=1e-9)


def test_components(family, fitted):
    model, X = fitted
    if family in NOT_ADDITIVE:
        with pytest.raises(TypeError, match=NO_PARTS):
            model.component_rigidity(X, COMPONENTS)
        return
    for spec in (COMPONENTS, [slice(0, 2), slice(2, 5)], {"a": [0, 1], "b": [2, 3, 4]}):
        for level in ("global", "local"):
            R = np.asarray(model.component_rigidity(X[:4], spec, level=level))
            assert R.shape == (4, 2, *outputs(family, 4)[1:])
            parts = np.asarray(model.predict_components(X[:4], spec, level=level))
            assert parts.shape == R.shape
    with pytest.raises(ValueError, match="components"):
        model.component_rigidity(X, [2, 2])
    if not model.gradients_.components:
        with pytest.raises(ValueError, match="components"):
            model.component_rigidity(X)
        return
    names = list(model.gradients_.components)
    own = np.asarray(model.component_rigidity(X[:4]))
    assert_allclose(np.asarray(model.component_rigidity(X[:4], names[1:])), own[:, 1:], rtol=1e-12)


def test_component_predictions_add_up(family, fitted):
    model, X = fitted
    if family in NOT_ADDITIVE:
        pytest.skip("has no components")
    total = np.asarray(model.predict_components(X, COMPONENTS)).sum(axis=1)
    whole = model.predict_local(X)
    if family == "RigidRidge, sums":
        assert_allclose(total, whole, rtol=1e-9, atol=1e-12)
        return
    rest = whole - total  # the intercept, the same for all
    assert_allclose(rest, np.broadcast_to(rest[:1], rest.shape), rtol=1e-9, atol=1e-9)


def test_error_bars(family, fitted):
    model, X = fitted
    rng = np.random.default_rng(5)
    X_new = rng.standard_normal((60, 5))
    if family in CLASSES:
        with pytest.raises(ValueError, match="probability_std"):
            model.predict(X, return_std=True)
        assert model.probability_std(X[:4]).shape == (4, CLASSES[family])
        return
    y_new = targets(family, X_new, rng)
    model.calibrate(X_new, y_new)
    mean, std = model.predict(X_new, return_std=True)
    assert_allclose(mean, model.predict(X_new), rtol=1e-10)
    _, cov = model.predict(X_new[:6], return_cov=True)
    assert_allclose(np.diag(cov), std[:6] ** 2, rtol=1e-8)
    wider = np.sqrt(2) * std
    model.scale_, model.noise_variance_ = 2 * model.scale_, 2 * model.noise_variance_
    assert_allclose(model.predict(X_new, return_std=True)[1], wider, rtol=1e-12)
    if family not in NOT_ADDITIVE:
        parts, local = model.predict_local(X_new[:6], return_std=True)
        assert parts.shape == local.shape == (6,)
        assert (local >= 0).all()
    with pytest.raises(ValueError, match="at most one"):
        model.predict(X_new, return_std=True, return_cov=True)


def test_draws(family, fitted):
    model, X = fitted
    if family in CLASSES or family == "PoissonRegressor":
        assert not hasattr(model, "sample_y")
        return
    if family in NETWORKS:
        with pytest.raises(ValueError, match="calibrate"):
            model.sample_y(X[:4])
        rng = np.random.default_rng(5)
        new = rng.standard_normal((60, 5))
        model.calibrate(new, targets(family, new, rng))
    draws = model.sample_y(X[:4], 4000, random_state=0)
    assert draws.shape == (4, 4000)
    _, cov = model.predict(X[:4], return_cov=True)
    noise = model.noise_variance_ * np.eye(4)
    assert_allclose(np.cov(draws), cov - noise, atol=0.15 * np.abs(cov).max())
    assert_array_equal(draws, model.sample_y(X[:4], 4000, random_state=0))


def test_leave_one_out(family):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((40, 5))
    y = targets(family, X, rng)
    model = FAMILIES[family].fit(X, y)
    if family in NO_LEAVE_OUT:
        with pytest.raises(TypeError, match="leave"):
            model.leave_one_out(X, y)
        return
    left = model.leave_one_out(X, y)
    assert left.rigidity.shape == outputs(family, 40)
    assert left.n_excluded == 0
    assert (left.rigidity <= model.prediction_rigidity(X) * (1 + 1e-9)).all()
    groups = np.arange(40) // 4
    together = model.leave_one_out(X, y, groups=groups)
    assert (together.rigidity <= left.rigidity * (1 + 1e-8)).all()
    # Missing labels, and other data, are refused.
    with pytest.raises(ValueError, match="groups"):
        model.leave_one_out(X, y, groups=np.where(groups == 3, np.nan, groups))
    with pytest.raises(ValueError, match="training set"):
        model.leave_one_out(X[:39], y[:39])
    with pytest.raises(ValueError, match="training set"):
        model.leave_one_out(X + 1.0, y)
    order = rng.permutation(40)
    again = model.leave_one_out(X[order], y[order])
    assert_allclose(again.rigidity, left.rigidity[order], rtol=1e-7)


def test_effective_degrees_of_freedom(family, fitted):
    """The leverages add up to them, for squared losses: s / R of the training rows."""
    model, X = fitted
    assert 0 < model.effective_dof_ <= 40
    if family in {"PoissonRegressor", "HuberRegressor", *CLASSES, "RigidRidgeCV"}:
        return
    assert_allclose((1 / model.prediction_rigidity(X)).sum(), model.effective_dof_, rtol=1e-7)
