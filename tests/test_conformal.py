"""Conformal intervals through MAPIE: the coverage that is guaranteed, on real structures."""

import importlib.util

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from radial import radial_features
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skrigidity import Environments, PerEnvironment, RigidRidge
from skrigidity.datasets import load_carbon

pytestmark = pytest.mark.peers("mapie")

if importlib.util.find_spec("mapie") is not None:
    from mapie.regression import SplitConformalRegressor

    from skrigidity.metrics.conformal import RigidityConformityScore


class Known(RegressorMixin, BaseEstimator):
    """Predicts 0, with standard deviations that are the first column of X."""

    def __init__(self):
        self.fitted_ = True

    def fit(self, X, y):
        return self

    def predict(self, X, return_std=False):
        mean = np.zeros(len(X))
        return (mean, np.asarray(X)[:, 0]) if return_std else mean

    def prediction_rigidity(self, X):
        return np.asarray(X)[:, 0] ** -2.0


def intervals(model, X_seen, y_seen, X, levels, **parameters):
    score = RigidityConformityScore(model, **parameters)
    conformal = SplitConformalRegressor(model, confidence_level=levels, conformity_score=score)
    return conformal.conformalize(X_seen, y_seen).predict_interval(X)


@pytest.fixture(scope="module")
def carbon():
    data = load_carbon()
    return radial_features(data, n_bins=7, width=0.5), data.target


def test_scores_are_residuals_over_standard_deviations(carbon):
    X, y = Environments.from_arrays(carbon[0]), carbon[1]
    model = make_pipeline(PerEnvironment(StandardScaler()), RigidRidge(0.1)).fit(X[:100], y[:100])
    mean, std = model.predict(X[100:], return_std=True)
    score = RigidityConformityScore(model)
    expected = (y[100:] - mean) / std
    found = score.get_signed_conformity_scores(y[100:], mean, X=X[100:])
    assert_allclose(found, expected, rtol=1e-12)
    back = score.get_estimation_distribution(mean[:, None], found[:, None], X=X[100:])
    assert_allclose(back[:, 0], y[100:], rtol=1e-12)
    # Structures of environments, through MAPIE.
    point, interval = intervals(model, X[100:200], y[100:200], X[200:], [0.8])
    assert_allclose(point, model.predict(X[200:]))
    k = int(np.ceil(0.8 * 101))
    width = np.sort(np.abs(expected[:100]))[k - 1] * std[100:]
    assert_allclose(interval[:, 1, 0] - point, width, rtol=1e-9)
    assert_allclose(point - interval[:, 0, 0], width, rtol=1e-9)
    with pytest.raises(ValueError, match="X must be given"):
        score.get_signed_conformity_scores(y[100:], mean)


def test_coverage_on_200_random_splits(carbon):
    """The expected coverage is k / (n + 1), k being the rank of the quantile, exactly."""
    X, y = carbon[0].mean(axis=1), carbon[1]
    levels = np.array([0.5, 0.8, 0.9])
    n_seen, n_new = 100, 136
    covered, by_rigidity = np.empty((200, 3)), np.empty((200, 2))
    for split in range(200):
        order = np.random.default_rng(split).permutation(len(y))
        train, seen, new = np.split(order, [100, 100 + n_seen])
        model = RigidRidge(1e-2).fit(X[train], y[train])
        _, interval = intervals(model, X[seen], y[seen], X[new], levels)
        inside = (interval[:, 0] <= y[new, None]) & (y[new, None] <= interval[:, 1])
        covered[split] = inside.mean(axis=0)
        order = np.argsort(model.prediction_rigidity(X[new]))
        by_rigidity[split] = [inside[q, 2].mean() for q in np.split(order, 4)[::3]]
    expected = np.ceil(levels * (n_seen + 1)) / (n_seen + 1)
    # The variance of one split's coverage: that of its quantile and of the samples it is used on.
    std = np.sqrt(expected * (1 - expected) * (1 / n_new + 1 / (n_seen + 2)) / 200)
    assert (np.abs(covered.mean(axis=0) - expected) < 4 * std).all()
    # What nothing guarantees: the quarters that are pinned least and most are covered as often.
    assert_allclose(by_rigidity.mean(axis=0), 0.9, atol=0.03)


def test_coverage_with_useless_error_bars():
    """The guarantee needs none; the width pays for them."""
    rng = np.random.default_rng(0)
    covered = []
    for _ in range(200):
        X = np.abs(rng.standard_normal((200, 1)))
        y = rng.standard_t(2, 200)
        _, interval = intervals(Known(), X[:100], y[:100], X[100:], [0.9])
        covered.append(np.mean((interval[:, 0, 0] <= y[100:]) & (y[100:] <= interval[:, 1, 0])))
    assert abs(np.mean(covered) - 91 / 101) < 4 * np.sqrt(0.09 * (1 / 100 + 1 / 102) / 200)


def test_error_bars_of_zero_and_of_infinity():
    X = np.array([[1.0], [1.0], [2.0], [np.inf], [0.0], [0.0]])
    y = np.array([0.5, -1.0, 4.0, 100.0, 0.0, -3.0])
    score = RigidityConformityScore(Known())
    found = score.get_signed_conformity_scores(y, np.zeros(6), X=X)
    assert_array_equal(found, [0.5, -1, 2, 0, 0, -np.inf])
    assert_array_equal(score.get_conformity_scores(y, np.zeros(6), X=X), np.abs(found))
    # A finite quantile; then one that includes the certain, wrong prediction.
    new = np.array([[1.0], [0.0], [np.inf]])
    ones = np.ones(19)
    X, y = np.append(ones, 0.0)[:, None], np.append(ones, 1.0)
    _, interval = intervals(Known(), X, y, new, [0.5])
    assert_array_equal(interval[:, 1, 0], [1.0, 0.0, np.inf])
    assert_array_equal(interval[:, 0, 0], [-1.0, 0.0, -np.inf])
    _, interval = intervals(Known(), X, y, new, [0.95])
    assert_array_equal(interval[:, 1, 0], [np.inf] * 3)
    assert_array_equal(interval[:, 0, 0], [-np.inf] * 3)
    # A quantile of zero: everything was predicted exactly.
    _, interval = intervals(Known(), np.ones((20, 1)), np.zeros(20), new, [0.5])
    assert_array_equal(interval[:, :, 0], [[0, 0], [0, 0], [-np.inf, np.inf]])


def test_intervals_that_are_not_symmetric():
    rng = np.random.default_rng(1)
    X = rng.uniform(0.5, 2, (400, 1))
    y = X[:, 0] * rng.exponential(size=400)
    _, interval = intervals(Known(), X[:200], y[:200], X[200:], [0.9], sym=False)
    assert (interval[:, 0, 0] > -0.1).all()
    inside = (interval[:, 0, 0] <= y[200:]) & (y[200:] <= interval[:, 1, 0])
    assert 0.8 < inside.mean() < 0.98
