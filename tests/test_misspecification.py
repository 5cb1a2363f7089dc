"""MisspecifiedRegressor: steps of parameters against refits, and against the authors' package."""

import importlib.util

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.linear_model import BayesianRidge, PoissonRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from skrigidity import ComponentRidge, RigidKernelRidge, RigidRidge, WithRigidity
from skrigidity.calibration import MisspecifiedRegressor
from skrigidity.metrics import neg_log_likelihood, prediction_rigidity, prediction_std

METHODS = ("jackknife", "ensemble", "hypercube")

if importlib.util.find_spec("popsregression") is not None:
    from popsregression import POPSRegression


@parametrize_with_checks([MisspecifiedRegressor(RigidRidge())])
def test_check_estimator(estimator, check):
    check(estimator)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def oscillation(x):
    """A target of the authors' that no polynomial of degree 4 follows."""
    return (x**3 + 0.01 * x**4) * 0.1 + np.sin(x) * x * 10.0


def polynomial(x, n_features=5):
    return np.vander(x / 10, n_features)


def sample(rng, n=40):
    X = rng.standard_normal((n, 3))
    return X, X @ [1.0, -2.0, 0.5] + np.abs(X[:, 0]) + 1.0


# --- definitions ---------------------------------------------------------------------------------


@pytest.mark.parametrize("grouped", [False, True])
def test_jackknife_is_the_spread_of_refits(rng, grouped):
    X, y = sample(rng)
    groups = np.repeat(np.arange(10), 4) if grouped else None
    labels = np.arange(40) if groups is None else groups
    ridge = RigidRidge(0.3)
    model = MisspecifiedRegressor(ridge, calibration=None).fit(X, y, groups=groups)
    X_test = rng.standard_normal((7, 3))
    whole = ridge.fit(X, y).predict(X_test)
    change = [
        RigidRidge(0.3).fit(X[labels != g], y[labels != g]).predict(X_test) - whole
        for g in np.unique(labels)
    ]
    _, std = model.predict(X_test, return_std=True)
    assert_allclose(std, np.sqrt(np.sum(np.square(change), axis=0)), rtol=1e-8)


def test_steps_of_pops_agree_with_one_target_each(rng):
    X, y = sample(rng)
    ridge = RigidRidge(0.3).fit(X, y)
    model = MisspecifiedRegressor(ridge, method="ensemble", calibration=None, leverage_quantile=0)
    model.fit(X, y)
    # A target that weighs very much is agreed with; the rest changes the loss as little as it can.
    X_test, change = rng.standard_normal((7, 3)), []
    for i in range(len(X)):
        weight = np.ones(len(X))
        weight[i] = 1e9
        change.append(RigidRidge(0.3).fit(X, y, weight).predict(X_test) - ridge.predict(X_test))
    _, std, low, high = model.predict(X_test, return_std=True, return_bounds=True)
    assert_allclose(std, np.sqrt(np.mean(np.square(change), axis=0)), rtol=1e-6)
    assert_allclose(low, ridge.predict(X_test) + np.min(change, axis=0), rtol=1e-6)
    assert_allclose(high, ridge.predict(X_test) + np.max(change, axis=0), rtol=1e-6)


def test_moments_of_a_box_are_those_of_draws(rng):
    X, y = sample(rng)
    model = MisspecifiedRegressor(RigidRidge(0.3), method="hypercube", calibration=None).fit(X, y)
    (box,) = model._boxes
    draws = box.axes @ rng.uniform(box.low[:, None], box.high[:, None], (len(box.low), 200_000))
    (root,) = model._roots
    assert_allclose(root.T @ root, draws @ draws.T / draws.shape[1], rtol=0.02, atol=0.01)
    mean, low, high = model.predict(X, return_bounds=True)
    z = model.estimator_.hessian_.whiten(X)
    assert np.all(low - 1e-12 <= mean + (z @ draws).min(axis=1))
    assert np.all(high + 1e-12 >= mean + (z @ draws).max(axis=1))


def test_scale_is_by_variances_without_the_own_step(rng):
    """As if every sample's variance were that of a model fitted without it."""
    X, y = sample(rng, 12)
    model = MisspecifiedRegressor(RigidRidge(0.3), calibration="loo").fit(X, y)
    ratio = []
    for i in range(12):
        rest = np.arange(12) != i
        inner = RigidRidge(0.3).fit(X[rest], y[rest])
        # The steps stay those of the whole set; the gradient is in units of the Hessian without i.
        z = model.estimator_.hessian_.whiten(X)
        left_out = model.estimator_.leave_one_out(X, y).residual
        growth = inner.prediction_rigidity(X[i : i + 1]) * (z[i] @ z[i])
        steps = z[rest] * left_out[rest, None]
        ratio.append(left_out[i] ** 2 * growth**2 / np.sum((steps @ z[i]) ** 2))
    assert_allclose(model.scale_, np.mean(ratio), rtol=1e-8)
    assert model.noise_variance_ == 0


@pytest.mark.parametrize("method", METHODS)
def test_units_and_rotations_of_features_do_not_matter(rng, method):
    X, y = sample(rng)
    mix = rng.standard_normal((3, 3))
    plain = MisspecifiedRegressor(RigidRidge(0.0), method=method).fit(X, y)
    mixed = MisspecifiedRegressor(RigidRidge(0.0), method=method).fit(X @ mix, y)
    expected = plain.predict(X, return_std=True)[1]
    assert_allclose(mixed.predict(X @ mix, return_std=True)[1], expected, rtol=1e-6)


@pytest.mark.parametrize("method", ["ensemble", "hypercube"])
def test_weight_is_repetition(rng, method):
    X, y = sample(rng, 20)
    weight = rng.integers(1, 4, 20)
    model = MisspecifiedRegressor(RigidRidge(0.3), method=method, calibration=None)
    weighted = model.fit(X, y, sample_weight=weight).predict(X, return_std=True)[1]
    repeated = model.fit(np.repeat(X, weight, axis=0), np.repeat(y, weight))
    assert_allclose(repeated.predict(X, return_std=True)[1], weighted, rtol=1e-8)


@pytest.mark.parametrize("method", METHODS)
def test_families_agree(rng, method):
    X, y = sample(rng)
    X, y = X - X.mean(axis=0), y - y.mean()
    X_test = rng.standard_normal((6, 3))
    expected = None
    for family in (
        RigidRidge(0.5, fit_intercept=False),
        RigidRidge(0.5, fit_intercept=False, solver="spectral"),
        ComponentRidge([1, 2], 0.5, fit_intercept=False),
    ):
        model = MisspecifiedRegressor(family, method=method).fit(X, y)
        std = model.predict(X_test, return_std=True)[1]
        expected = std if expected is None else expected
        assert_allclose(std, expected, rtol=1e-5)


def test_several_targets_are_single_ones(rng):
    X, y = sample(rng)
    y = np.column_stack([y, y**2])
    for method in METHODS:
        model = MisspecifiedRegressor(RigidRidge(), method=method)
        mean, std = model.fit(X, y).predict(X, return_std=True)
        assert std.shape == mean.shape == y.shape
        for t in (0, 1):
            single = model.fit(X, y[:, t]).predict(X, return_std=True)[1]
            assert_allclose(std[:, t], single, rtol=1e-6)


def test_structures_and_pipelines(rng):
    X = [rng.standard_normal((n, 3)) for n in (2, 5, 3, 4, 6, 1, 2, 3)]
    y = np.arange(8.0) ** 2
    model = MisspecifiedRegressor(RigidRidge()).fit(X, y)
    assert model.predict(X, return_std=True)[1].shape == (8,)
    X, y = sample(rng)
    pipeline = make_pipeline(StandardScaler(), MisspecifiedRegressor(RigidRidge())).fit(X, y)
    inner = pipeline[-1]
    assert_allclose(
        prediction_std(pipeline, X), inner.predict(pipeline[0].transform(X), return_std=True)[1]
    )
    assert prediction_rigidity(pipeline, X).shape == (40,)


def test_what_nothing_pins_has_no_bounds(rng):
    X = np.column_stack([rng.standard_normal((20, 2)), np.zeros(20)])
    y = X[:, 0] ** 2
    for method in METHODS:
        model = MisspecifiedRegressor(RigidRidge(0.0), method=method).fit(X, y)
        _, std = model.predict([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]], return_std=True)
        assert np.isfinite(std[0])
        assert std[1] == np.inf
    _, low, high = model.predict([[0.0, 0.0, 1.0]], return_bounds=True)
    assert (low[0], high[0]) == (-np.inf, np.inf)


def test_exact_targets_and_lone_groups(rng):
    X = rng.standard_normal((10, 2))
    _, std = MisspecifiedRegressor(RigidRidge()).fit(X, np.zeros(10)).predict(X, return_std=True)
    assert not std.any()
    model = MisspecifiedRegressor(RigidRidge()).fit(X, X[:, 0] ** 2, groups=np.zeros(10))
    assert model.predict(X).shape == (10,)
    with pytest.raises(ValueError, match="calibration='loo_noise' cannot tell the scale"):
        model.predict(X, return_std=True)


def test_refused(rng):
    X, y = sample(rng)
    with pytest.raises(ValueError, match="one Hessian"):
        MisspecifiedRegressor(RigidRidge([1.0, 2.0])).fit(X, np.column_stack([y, y]))
    for estimator in (WithRigidity(PoissonRegressor()), RigidKernelRidge()):
        with pytest.raises(ValueError, match="one coefficient per feature"):
            MisspecifiedRegressor(estimator).fit(X, np.abs(y))
    with pytest.raises(ValueError, match="bounds are those of"):
        MisspecifiedRegressor(RigidRidge()).fit(X, y).predict(X, return_bounds=True)


# --- the package of the authors ------------------------------------------------------------------


def peer_and_ours(X, y, method):
    peer = POPSRegression(posterior=method, resample_density=200.0).fit(X, y)
    ridge = RigidRidge(peer.lambda_ / peer.alpha_, fit_intercept=False)
    ours = MisspecifiedRegressor(ridge, method=method, calibration=None).fit(X, y)
    assert_allclose(ours.estimator_.coef_, peer.coef_, rtol=1e-8)
    return peer, ours


@pytest.mark.peers("popsregression")
@pytest.mark.parametrize("n", [10, 31, 500])
def test_ensemble_is_that_of_the_authors(rng, n):
    X = polynomial(rng.uniform(-10, 10, n))
    peer, ours = peer_and_ours(X, oscillation(10 * X[:, -2]), "ensemble")
    X_test = polynomial(np.linspace(-11, 11, 50))
    _, std, low, high = ours.predict(X_test, return_std=True, return_bounds=True)
    spread = np.sqrt(np.einsum("ij,jk,ik->i", X_test, peer.misspecification_sigma_, X_test))
    assert_allclose(std, spread, rtol=1e-8)
    _, total, upper, lower = peer.predict(X_test, return_std=True, return_bounds=True)
    scale = ours.estimator_.scale_ / ours.estimator_.prediction_rigidity(X_test)
    assert_allclose(total, np.sqrt(std**2 + scale), rtol=1e-3)  # their noise has a hyperprior
    assert_allclose(np.column_stack([low, high]), np.column_stack([lower, upper]), rtol=1e-8)


@pytest.mark.peers("popsregression")
def test_hypercube_is_that_of_the_authors_where_units_agree(rng):
    """With orthogonal columns of one length H is a multiple of the identity."""
    x = rng.uniform(-10, 10, 200)
    X = np.linalg.qr(polynomial(x))[0]
    np.random.seed(0)  # noqa: NPY002  (they draw from the global generator)
    peer, ours = peer_and_ours(X, oscillation(x), "hypercube")
    _, std, low, high = ours.predict(X, return_std=True, return_bounds=True)
    spread = np.sqrt(np.einsum("ij,jk,ik->i", X, peer.misspecification_sigma_, X))
    assert_allclose(std, spread, rtol=0.03)  # 40 000 draws
    _, upper, lower = peer.predict(X, return_bounds=True)
    assert np.all((low <= lower + 1e-9) & (upper <= high + 1e-9))
    assert_allclose(high - low, upper - lower, rtol=0.15)  # draws do not reach the corners


@pytest.mark.peers("popsregression")
def test_calibrated_jackknife_is_better_on_their_target(rng):
    x, x_test = rng.uniform(-10, 10, 500), np.linspace(-10, 10, 400)
    y_test = oscillation(x_test)
    peer = POPSRegression().fit(polynomial(x), oscillation(x))
    ridge = RigidRidge(peer.lambda_ / peer.alpha_, fit_intercept=False)
    ours = MisspecifiedRegressor(ridge).fit(polynomial(x), oscillation(x))
    scores, inside = [], []
    for model in (ours, peer, BayesianRidge().fit(polynomial(x), oscillation(x))):
        mean, std = model.predict(polynomial(x_test), return_std=True)
        scores.append(neg_log_likelihood(y_test, mean, std))
        inside.append(np.mean(np.abs(y_test - mean) <= std))
    assert scores[0] < scores[1] - 0.3
    assert abs(inside[0] - 0.68) < abs(inside[1] - 0.68)
    assert inside[1] < 0.4
