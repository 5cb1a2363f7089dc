"""RigidityCalibrator, and how the estimators are calibrated: by held-out data, by groups."""

import pickle

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from radial import radial_features
from sklearn import config_context
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import PoissonRegressor, Ridge
from sklearn.model_selection import GroupShuffleSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skrigidity import (
    ComponentRidge,
    Environments,
    RigidKernelRidge,
    RigidRidge,
    RigidRidgeCV,
    WithRigidity,
)
from skrigidity.calibration import METHODS, RigidityCalibrator, fit_scale, gaussian_nll
from skrigidity.datasets import load_carbon


@pytest.fixture
def pairs():
    """Residuals of three groups with C = 3, 1 and 0.2 and a little noise."""
    rng = np.random.default_rng(0)
    rigidity = 10.0 ** rng.uniform(-1, 3, 600)
    groups = rng.choice(["C", "H", "O"], 600, p=[0.5, 0.4, 0.1])
    factor = np.select([groups == "C", groups == "H"], [3.0, 1.0], 0.2)
    residual = rng.standard_normal(600) * np.sqrt(factor**2 / rigidity + 0.01)
    return residual, rigidity, groups


# -- one scale for all ------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("noise", [False, True])
def test_is_fit_scale(pairs, method, noise):
    residual, rigidity, _ = pairs
    weight = np.random.default_rng(1).uniform(0, 2, 600)
    expected = fit_scale(residual, rigidity, weight, method=method, noise=noise)
    model = RigidityCalibrator(method, noise=noise).fit(residual, rigidity, weight)
    assert_allclose(model.scale_, expected.variance, rtol=1e-6)
    assert_allclose(model.noise_variance_, expected.noise, rtol=1e-6)
    assert isinstance(model.scale_, float)
    assert (model.n_samples_, model.n_excluded_, model.groups_) == (600, 0, None)
    variance = model.predict_variance([0.0, 4.0, np.inf])
    noise = model.noise_variance_
    assert_allclose(variance, [np.inf, model.scale_ / 4 + noise, noise])
    assert_allclose(model.predict_std([4.0]) ** 2, variance[1])


def test_several_targets(pairs):
    residual, rigidity, groups = pairs
    both = np.column_stack([residual, 2 * residual[::-1]])
    model = RigidityCalibrator().fit(both, rigidity)
    columns = [RigidityCalibrator().fit(e, rigidity) for e in both.T]
    assert_allclose(model.scale_, [column.scale_ for column in columns])
    std = model.predict_std(rigidity)
    assert_allclose(std, np.column_stack([c.predict_std(rigidity) for c in columns]))
    # A rigidity per target, as where each has its own regularization.
    R = np.column_stack([rigidity, rigidity[::-1]])
    model = RigidityCalibrator(min_samples=20).fit(both, R, groups=groups)
    assert model.scale_.shape == (3, 2)
    assert model.pooled_scale_.shape == (2,)
    for t in range(2):
        column = RigidityCalibrator(min_samples=20).fit(both[:, t], R[:, t], groups=groups)
        assert_allclose(model.scale_[:, t], column.scale_)
        expected = column.predict_variance(R[:9, t], groups[:9])
        assert_allclose(model.predict_variance(R[:9], groups[:9])[:, t], expected)


def test_rows_without_a_scale_are_left_out_and_counted(pairs):
    residual, rigidity, groups = pairs
    clean = RigidityCalibrator().fit(residual, rigidity, groups=groups)
    rigidity = np.concatenate([[0.0, np.inf, 0.0], rigidity])
    residual = np.concatenate([[1e9, 1e9, np.nan], residual])
    model = RigidityCalibrator().fit(residual, rigidity, groups=["C", "C", "H", *groups])
    assert model.n_excluded_ == 3
    assert_array_equal(model.scale_, clean.scale_)
    assert_array_equal(model.n_samples_, clean.n_samples_)
    # With a map as well, which has a value for R = inf.
    model = RigidityCalibrator(isotonic=True).fit(residual, rigidity)
    assert model.n_samples_ == 600
    assert model.n_excluded_ == 3


# -- groups -----------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["absolute_residuals", "crps"])
@pytest.mark.parametrize("noise", [False, True])
def test_groups_have_scales_of_their_own(pairs, method, noise):
    residual, rigidity, groups = pairs
    model = RigidityCalibrator(method, noise=noise, min_samples=20)
    model.fit(residual, rigidity, groups=pd.Series(groups, index=np.arange(600)[::-1]))
    assert_array_equal(model.groups_, ["C", "H", "O"])
    assert_array_equal(model.n_samples_, [np.sum(groups == g) for g in "CHO"])
    for g, scale, sigma2 in zip("CHO", model.scale_, model.noise_variance_, strict=True):
        members = groups == g
        expected = fit_scale(residual[members], rigidity[members], method=method, noise=noise)
        assert_allclose([scale, sigma2], expected[:2], rtol=1e-6)
        assert_allclose(
            model.predict_variance([2.0, 7.0], [g, g]), scale / np.array([2.0, 7.0]) + sigma2
        )
    if noise:
        assert_allclose(np.sqrt(model.scale_), [3.0, 1.0, 0.2], rtol=0.35)


def test_small_groups_share_the_pooled_scale(pairs):
    residual, rigidity, groups = pairs
    n_oxygen = np.sum(groups == "O")
    own = RigidityCalibrator(min_samples=int(n_oxygen)).fit(residual, rigidity, groups=groups)
    shared = RigidityCalibrator(min_samples=int(n_oxygen) + 1)
    shared.fit(residual, rigidity, groups=groups)
    pooled = fit_scale(residual, rigidity).variance
    assert_allclose([own.pooled_scale_, shared.pooled_scale_, shared.scale_[2]], pooled)
    assert_array_equal(own.scale_[:2], shared.scale_[:2])
    assert own.scale_[2] < 0.2 * pooled
    # Rows that have no scale do not count.
    rigidity = np.where((groups == "O") & (np.cumsum(groups == "O") == 1), 0.0, rigidity)
    left = RigidityCalibrator(min_samples=int(n_oxygen)).fit(residual, rigidity, groups=groups)
    assert left.n_samples_[2] == n_oxygen - 1
    assert left.scale_[2] == left.pooled_scale_


def test_unknown_groups(pairs):
    residual, rigidity, groups = pairs
    model = RigidityCalibrator().fit(residual, rigidity, groups=groups)
    with pytest.raises(ValueError, match=r"groups has 'N', which is not among .*'C', 'H', 'O'"):
        model.predict_std([1.0, 1.0], ["C", "N"])
    model.set_params(handle_unknown="pooled").fit(residual, rigidity, groups=groups)
    variance = model.predict_variance([1.0, 1.0], ["C", "N"])
    assert_allclose(variance, [model.scale_[0], model.pooled_scale_])
    with pytest.raises(ValueError, match="groups must be given: fitted with 'C', 'H', 'O'"):
        model.predict_std([1.0])
    with pytest.raises(ValueError, match="groups must be None"):
        RigidityCalibrator().fit(residual, rigidity).predict_std([1.0], ["C"])


def test_numbers_are_labels_too(pairs):
    residual, rigidity, groups = pairs
    number = np.select([groups == "C", groups == "H"], [6, 1], 8)
    by_name = RigidityCalibrator().fit(residual, rigidity, groups=groups)
    model = RigidityCalibrator().fit(residual, rigidity, groups=number)
    assert_array_equal(model.groups_, [1, 6, 8])
    assert_array_equal(model.scale_, by_name.scale_[[1, 0, 2]])
    assert_allclose(model.predict_variance([1.0], [6.0]), model.scale_[1])


# -- a monotone map ---------------------------------------------------------------------------


def law(q):
    return 0.05 + 0.3 * np.sqrt(q)


@pytest.fixture
def bent():
    """Residuals whose variance is not proportional to 1 / R."""
    rng = np.random.default_rng(2)
    q = 10.0 ** rng.uniform(-3, 2, 4000)
    return rng.standard_normal(4000) * np.sqrt(law(q)), 1 / q


@pytest.mark.parametrize("method", METHODS)
def test_isotonic_map_follows_the_law(bent, method):
    residual, rigidity = (v[:2000] for v in bent)
    model = RigidityCalibrator(method, isotonic=True, min_samples=100).fit(residual, rigidity)
    q = np.logspace(-3, 2, 200)
    variance = model.predict_variance(1 / q)
    assert (np.diff(variance) >= 0).all()
    assert np.abs(np.log(variance / law(q))).mean() < 0.15
    # On data of its own it beats the line, with and without noise.
    residual, rigidity = (v[2000:] for v in bent)
    nll = gaussian_nll(residual, model.predict_variance(rigidity)).mean()
    for noise in (False, True):
        line = RigidityCalibrator(method, noise=noise).fit(*(v[:2000] for v in bent))
        assert nll < gaussian_nll(residual, line.predict_variance(rigidity)).mean() - 0.02


def test_isotonic_map_keeps_the_mean_of_squares(bent):
    residual, rigidity = bent
    weight = np.random.default_rng(3).uniform(0.5, 2, 4000)
    model = RigidityCalibrator(isotonic=True).fit(residual, rigidity, weight)
    share = residual**2 / model.predict_variance(rigidity)
    assert_allclose(np.average(share, weights=weight), 1, rtol=1e-10)


def test_isotonic_map_beyond_its_ends(bent):
    residual, rigidity = bent
    model = RigidityCalibrator(isotonic=True).fit(residual, rigidity)
    (f,) = model.isotonic_
    low, high = 1 / f.quad[0], 1 / f.quad[-1]
    last = model.predict_variance([high])[0]
    assert_allclose(model.predict_variance([high / 10, high / 1e6, 0.0]) / last, [10, 1e6, np.inf])
    floor = model.predict_variance([low, 100 * low, np.inf])
    assert_allclose(floor, floor[0])
    assert floor[0] > 0


def test_isotonic_map_is_shared_by_groups(bent):
    residual, rigidity = bent
    groups = np.arange(4000) % 2
    residual = residual * np.where(groups == 1, 5.0, 1.0)
    model = RigidityCalibrator(isotonic=True, min_samples=100)
    model.fit(residual, rigidity, groups=groups)
    assert_allclose(model.scale_[1] / model.scale_[0], 25, rtol=0.15)
    q = np.logspace(-3, 2, 50)
    for g, factor in ((0, 1), (1, 25)):
        variance = model.predict_variance(1 / q, np.full(50, g))
        assert np.abs(np.log(variance / factor / law(q))).mean() < 0.15


def test_isotonic_map_of_proportional_errors_is_a_line():
    rng = np.random.default_rng(4)
    q = 10.0 ** rng.uniform(-3, 2, 4000)
    residual = rng.standard_normal(4000) * np.sqrt(2 * q)
    model = RigidityCalibrator(isotonic=True, min_samples=200).fit(residual, 1 / q)
    inner = np.logspace(-2.5, 1.5, 30)
    assert_allclose(model.predict_variance(1 / inner), 2 * inner, rtol=0.3)


def test_isotonic_map_of_equal_rigidities_and_of_exact_predictions():
    model = RigidityCalibrator(isotonic=True, min_samples=5)
    model.fit(np.full(20, 2.0), np.full(20, 4.0))
    assert_allclose(model.predict_variance([4.0, 8.0, 2.0]), [4.0, 4.0, 8.0])
    exact = model.fit(np.zeros(20), np.arange(1.0, 21.0))
    assert_array_equal(exact.predict_variance([4.0, np.inf, 0.0]), [0, 0, np.inf])
    residual = np.append(np.zeros(15), np.ones(5))
    partly = model.fit(residual, np.arange(20.0, 0.0, -1.0))
    assert np.isfinite(partly.predict_variance(np.arange(1.0, 30.0))).all()


# -- conventions ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "arguments", "message"),
    [
        ({"method": "mse"}, {}, "The 'method' parameter"),
        ({"noise": "yes"}, {}, "The 'noise' parameter"),
        ({"min_samples": 0}, {}, "The 'min_samples' parameter"),
        ({"handle_unknown": "ignore"}, {}, "The 'handle_unknown' parameter"),
        ({"noise": True, "isotonic": True}, {}, "noise must be False"),
        ({"isotonic": True, "min_samples": 4}, {}, r"at least 2 \* min_samples = 8 rows .* got 6"),
        ({}, {"rigidity": np.ones(5)}, "inconsistent numbers of samples"),
        ({}, {"rigidity": np.ones((6, 2))}, "rigidity must have one column or one per target"),
        ({}, {"rigidity": [-1.0] * 6}, "rigidity must have no negative"),
        ({}, {"rigidity": [np.nan] * 6}, "rigidity must have no negative"),
        ({}, {"rigidity": np.zeros(6)}, "rigidity must be positive and finite"),
        ({}, {"residual": [np.nan] * 6}, "residual must be finite"),
        ({}, {"residual": 1j * np.ones(6)}, "[Cc]omplex"),
        ({}, {"sample_weight": [-1.0] * 6}, "[Nn]egative"),
        ({}, {"sample_weight": [np.nan] * 6}, "sample_weight"),
        ({}, {"sample_weight": [np.inf] * 6}, "sample_weight"),
        ({}, {"sample_weight": np.ones(5)}, "sample_weight"),
        ({}, {"groups": ["a"] * 5}, r"groups must have one label per row, shape \(6,\)"),
        ({}, {"groups": [["a"]] * 6}, "groups must have one label per row"),
        ({}, {"groups": ["a", None] * 3}, "no missing label"),
        ({}, {"groups": [1.0, np.nan] * 3}, "no missing label"),
        ({}, {"groups": np.array(["a", 1] * 3, dtype=object)}, "labels of one type"),
    ],
)
def test_bad_input(parameters, arguments, message):
    arguments = {"residual": np.ones(6), "rigidity": np.arange(1.0, 7.0), **arguments}
    with pytest.raises(ValueError, match=message):
        RigidityCalibrator(**parameters).fit(**arguments)


def test_scikit_learn_conventions(pairs):
    residual, rigidity, groups = pairs
    model = RigidityCalibrator("crps", noise=True)
    with pytest.raises(NotFittedError):
        model.predict_std([1.0])
    before = model.get_params()
    model.fit(residual, rigidity, groups=groups)
    assert model.get_params() == before
    assert repr(model) == "RigidityCalibrator(method='crps', noise=True)"
    again = pickle.loads(pickle.dumps(model))
    assert_array_equal(again.predict_std(rigidity, groups), model.predict_std(rigidity, groups))
    assert not hasattr(clone(model), "scale_")
    # Refitting forgets.
    model.fit(residual, rigidity)
    assert model.groups_ is None
    with config_context(enable_metadata_routing=True):
        requests = model.get_metadata_routing().fit.requests
    assert requests == {"sample_weight": None, "groups": None}


@pytest.mark.parametrize("rigidity", [[-1.0], [np.nan], np.ones((2, 3))])
def test_bad_rigidities_to_predict_for(pairs, rigidity):
    with pytest.raises(ValueError, match="rigidity must have"):
        RigidityCalibrator().fit(*pairs[:2]).predict_std(rigidity)


# -- estimators -------------------------------------------------------------------------------

ESTIMATORS = {
    "ridge": RigidRidge(0.5),
    "cv": RigidRidgeCV([0.1, 1.0]),
    "components": ComponentRidge([2, 2], alpha={"component0": 0.1, "component1": 1.0}),
    "kernel": RigidKernelRidge(0.1, kernel="rbf", gamma=0.1),
    "wrapped": WithRigidity(Ridge()),
}


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(5)
    X = rng.standard_normal((240, 4))
    y = X @ [1.0, -1.0, 0.5, 0.0] + 0.3 * rng.standard_normal(240)
    return X[:120], y[:120], X[120:], y[120:]


@pytest.mark.parametrize("name", list(ESTIMATORS))
@pytest.mark.parametrize(("method", "noise"), [("squared_residuals", False), ("crps", True)])
def test_calibrate_is_that_of_pairs(data, name, method, noise):
    X, y, X_val, y_val = data
    model = clone(ESTIMATORS[name]).fit(X, y)
    weight = np.random.default_rng(6).uniform(0, 2, 120)
    assert model.calibrate(X_val, y_val, weight, method=method, noise=noise) is model
    pairs = RigidityCalibrator(method, noise=noise)
    R = model.prediction_rigidity(X_val)
    pairs.fit(y_val - model.predict(X_val), R, weight)
    assert_allclose(model.scale_, pairs.scale_, rtol=1e-5)
    assert_allclose(model.noise_variance_, pairs.noise_variance_, rtol=1e-5, atol=1e-12)
    assert_allclose(model.predict(X_val, return_std=True)[1], pairs.predict_std(R), rtol=1e-5)


def test_calibrate_a_nonlinear_link(data):
    """There R is that of the linear predictor: error bars scale with the slope of the link."""
    X, y, X_val, y_val = data
    model = WithRigidity(PoissonRegressor()).fit(X, np.round(np.exp(y)))
    mean = model.predict(X_val)
    model.calibrate(X_val, np.round(np.exp(y_val)))
    effective = model.prediction_rigidity(X_val) / mean**2
    expected = np.mean((np.round(np.exp(y_val)) - mean) ** 2 * effective)
    assert_allclose(model.scale_, expected, rtol=1e-10)


# -- leave-one-group-out ----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ridge", "cv", "components", "kernel"])
@pytest.mark.parametrize("weighted", [False, True])
def test_loo_calibration_by_groups(data, name, weighted):
    X, y, *_ = data
    groups = np.arange(120) // 6
    weight = np.arange(120) % 4 / 2 if weighted else None
    model = clone(ESTIMATORS[name]).set_params(calibration="loo")
    model.fit(X, y, weight, groups=groups)
    left = model.leave_one_out(X, y, weight, groups=groups)
    expected = np.average(left.residual**2 * left.rigidity, weights=weight)
    assert isinstance(model.scale_, float)
    assert_allclose(model.scale_, expected, rtol=1e-8)
    assert model.noise_variance_ == 0
    assert model.scale_ != clone(model).fit(X, y, weight).scale_


def test_loo_calibration_by_groups_equals_refits(data):
    X, y, *_ = data
    groups = np.arange(120) // 6
    model = RigidRidge(0.5, calibration="loo").fit(X, y, groups=groups)
    total = 0.0
    for g in range(20):
        inside = groups == g
        rest = RigidRidge(0.5).fit(X[~inside], y[~inside])
        error = y[inside] - rest.predict(X[inside])
        total += np.sum(error**2 * rest.prediction_rigidity(X[inside]))
    assert_allclose(model.scale_, total / 120, rtol=1e-9)


def test_groups_matter_where_samples_repeat():
    """Frames of one trajectory: alike, errors included. Leaving out one frame leaves the rest."""
    rng = np.random.default_rng(7)
    X = np.repeat(rng.standard_normal((20, 8)), 5, axis=0)
    X += 1e-2 * rng.standard_normal(X.shape)
    y = X.sum(axis=1) + np.repeat(rng.standard_normal(20), 5)
    groups = np.repeat(np.arange(20), 5)
    X_new = rng.standard_normal((500, 8))
    y_new = X_new.sum(axis=1) + rng.standard_normal(500)
    honest = RigidRidge(1e-2, calibration="loo").fit(X, y, groups=groups)
    naive = RigidRidge(1e-2, calibration="loo").fit(X, y)
    right = clone(honest).fit(X, y).calibrate(X_new, y_new)
    assert naive.scale_ < 0.5 * right.scale_
    assert 0.5 < honest.scale_ / right.scale_ < 2


def test_no_validation_set_is_needed():
    """C of left-out trajectories is that of new ones, on halves of the bundled carbon."""
    carbon = load_carbon()
    X, y, groups = radial_features(carbon, 10, 0.35), carbon.target, carbon.trajectory
    kernel = RigidKernelRidge(1e-3, kernel="rbf", gamma=1e-2, center_y=True)
    for model, data in ((RigidRidge(0.1), Environments.from_arrays(X)), (kernel, X.mean(axis=1))):
        ratios = []
        for train, test in GroupShuffleSplit(6, test_size=0.5, random_state=0).split(
            y, None, groups
        ):
            model = clone(model).set_params(calibration="loo")
            model.fit(data[train], y[train], groups=groups[train])
            ratios.append(model.scale_ / model.calibrate(data[test], y[test]).scale_)
        assert 0.8 < np.median(ratios) < 1.25
        assert 0.55 < min(ratios) < max(ratios) < 1.7


@pytest.mark.parametrize("name", ["ridge", "components", "kernel"])
def test_groups_without_a_use(data, name):
    X, y, *_ = data
    for calibration in ("bayesian", None):
        model = clone(ESTIMATORS[name]).set_params(calibration=calibration)
        with pytest.raises(ValueError, match="groups are left out together by calibration='loo'"):
            model.fit(X, y, groups=np.arange(120))
    model.set_params(calibration="loo")
    with pytest.raises(ValueError, match="inconsistent"):
        model.fit(X, y, groups=np.arange(119))


def test_one_group_of_all_leaves_nothing_to_tell_by(data):
    X, y, *_ = data
    model = RigidRidge(0.0, calibration="loo").fit(X, y, groups=np.zeros(120))
    assert model.scale_ == np.inf
    with pytest.raises(ValueError, match="calibration='loo' cannot tell the scale"):
        model.predict(X, return_std=True)


def test_groups_through_a_pipeline(data):
    X, y, *_ = data
    groups = np.arange(120) // 6
    ridge = RigidRidge(0.5, calibration="loo")
    expected = clone(ridge).fit(StandardScaler().fit_transform(X), y, groups=groups).scale_
    pipeline = make_pipeline(StandardScaler(), clone(ridge))
    pipeline.fit(X, y, rigidridge__groups=groups)
    assert_allclose(pipeline[-1].scale_, expected)
    with config_context(enable_metadata_routing=True):
        routed = make_pipeline(StandardScaler(), clone(ridge).set_fit_request(groups=True))
        routed.fit(X, y, groups=groups)
    assert_allclose(routed[-1].scale_, expected)


def test_several_targets_by_groups(data):
    X, y, *_ = data
    groups = np.arange(120) // 6
    Y = np.column_stack([y, y[::-1] ** 2])
    for alpha in (0.5, [0.5, 2.0]):
        model = RigidRidge(alpha, calibration="loo").fit(X, Y, groups=groups)
        alone = [
            RigidRidge(a, calibration="loo").fit(X, Y[:, t], groups=groups).scale_
            for t, a in enumerate(np.broadcast_to(alpha, 2))
        ]
        assert_allclose(model.scale_, alone, rtol=1e-9)
