"""Scorers in RigidRidgeCV: in closed form what refits without every sample or group give."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.metrics import make_scorer, mean_absolute_error, mean_pinball_loss
from sklearn.model_selection import GridSearchCV, LeaveOneOut
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from skrigidity import Environments, RigidRidge, RigidRidgeCV
from skrigidity.hessian import AlphaPath, Rows
from skrigidity.metrics import (
    crps,
    error_uncertainty_correlation,
    get_scorers,
    make_rigidity_scorer,
    miscalibration_area,
    neg_log_likelihood,
    sharpness,
)

# More than twice as many rows as features, and fewer, go different ways.
SHAPES = [(14, 4), (9, 5), (6, 9)]
ALPHAS = [1e-3, 0.5, 20.0]
SCORES = {
    "mean_log_likelihood": (neg_log_likelihood, -1),
    "neg_crps": (crps, -1),
    "neg_miscalibration_area": (miscalibration_area, -1),
    "error_uncertainty_correlation": (error_uncertainty_correlation, 1),
    "neg_sharpness": (sharpness, -1),
}
COMPONENTS = {"a": [0, 2], "b": [1, 3]}


def make(shape, seed=0, structures=False):
    rng = np.random.default_rng(seed)
    n, d = shape
    X = [rng.standard_normal((rng.integers(1, 5), d)) + 1.0 for _ in range(n)]
    F = np.array([x.mean(axis=0) for x in X])
    y = F @ rng.standard_normal(d) + 0.3 * rng.standard_normal(n) + 2.0
    return (Environments.from_arrays(X) if structures else F), y


def weights(n, kind):
    rng = np.random.default_rng(1)
    return {
        "none": None,
        "zeros": rng.integers(0, 3, n).astype(float),
        "real": rng.uniform(0.2, 3.0, n),
    }[kind]


class Refits:
    """Every sample or group left out by fitting again."""

    def __init__(self, X, y, alpha, calibration, weight=None, groups=None, **parameters):
        n = len(y)
        whole = np.ones(n) if weight is None else weight
        units = parameters.get("weight_type", "frequency") == "frequency" and groups is None
        self.kept = np.flatnonzero(whole)
        self.y, self.weight = y[self.kept], None if weight is None else weight[self.kept]
        mean, std, R, self.local, self.parts = [], [], [], [], []
        own = np.minimum(whole, 1.0) if units else whole
        for i in self.kept:
            left = whole.copy()
            if groups is None:
                left[i] -= own[i]
            else:
                left[groups == groups[i]] = 0.0
            model = RigidRidge(
                alpha, calibration=None if calibration == "loo" else calibration, **parameters
            ).fit(X, y, left)
            one = X[[i]]
            forecast = model.predict(one, return_std=True)
            mean.append(forecast[0][0])
            std.append(forecast[1][0])
            R.append(model.prediction_rigidity(one)[0])
            self.local.append(np.ravel(model.local_rigidity(one)[0]))
            self.parts.append(model.component_rigidity(one, COMPONENTS)[0])
        self.mean, self.std, self.R = map(np.array, (mean, std, R))
        if calibration == "loo":
            share = whole[self.kept]
            square = (self.y - self.mean) ** 2 * self.R
            same = np.eye(len(self.kept), dtype=bool)
            taken = own[self.kept]
            if groups is not None:
                same = np.equal.outer(groups[self.kept], groups[self.kept])
                taken = share
            # Weights of the others, and what stays of one's own.
            matrix = np.where(same, share - taken, share)
            self.std = np.sqrt(matrix @ square / matrix.sum(axis=1) / self.R)

    def scores(self):
        w = np.ones(len(self.y)) if self.weight is None else self.weight
        out = {
            name: sign * function(self.y, self.mean, self.std, sample_weight=self.weight)
            for name, (function, sign) in SCORES.items()
        }
        local = np.concatenate(self.local)
        w_local = np.repeat(w, [len(R) for R in self.local])
        out["rigidity_log_mean"] = np.average(np.log(self.R), weights=w)
        out["rigidity_min"] = self.R.min()
        out["local_rigidity_mean"] = np.average(local, weights=w_local)
        out["local_rigidity_min"] = local.min()
        out["parts"] = np.average(np.mean(self.parts, axis=1), weights=w)
        middle = np.average(self.y, weights=w)
        error = np.average((self.y - self.mean) ** 2, weights=w)
        out["r2"] = 1 - error / np.average((self.y - middle) ** 2, weights=w)
        return out


def all_scorers():
    names = [*SCORES, "rigidity_log_mean", "rigidity_min", "local_rigidity_mean"]
    scorers = get_scorers([*names, "local_rigidity_min", "r2"])
    return {**scorers, "parts": make_rigidity_scorer("component", "mean", components=COMPONENTS)}


def compare(X, y, calibration, weight=None, groups=None, alphas=(1e-3, 5.0), **parameters):
    model = RigidRidgeCV(
        alphas, scoring=all_scorers(), refit="r2", calibration=calibration, **parameters
    ).fit(X, y, weight, groups=groups)
    for a, alpha in enumerate(alphas):
        expected = Refits(X, y, alpha, calibration, weight, groups, **parameters).scores()
        found = {name: model.cv_results_[f"mean_test_{name}"][a] for name in expected}
        assert_allclose([*found.values()], [*expected.values()], rtol=1e-8, err_msg=str(found))


# -- equal to refits --------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("calibration", "kind"),
    [(c, k) for c in ("bayesian", "loo") for k in ("none", "zeros", "real")] + [(None, "zeros")],
)
@pytest.mark.parametrize("weight_type", ["frequency", "precision"])
def test_equals_refits(shape, calibration, kind, weight_type):
    X, y = make(shape)
    compare(X, y, calibration, weights(shape[0], kind), weight_type=weight_type)


@pytest.mark.parametrize("shape", SHAPES[::2])
@pytest.mark.parametrize("calibration", ["bayesian", "loo"])
@pytest.mark.parametrize("kind", ["none", "real"])
def test_equals_refits_with_structures(shape, calibration, kind):
    X, y = make(shape, structures=True)
    compare(X, y, calibration, weights(shape[0], kind), aggregate="sum")


@pytest.mark.parametrize("shape", SHAPES[::2])
@pytest.mark.parametrize("calibration", ["bayesian", "loo"])
@pytest.mark.parametrize("kind", ["none", "zeros"])
@pytest.mark.parametrize("weight_type", ["frequency", "precision"])
def test_equals_refits_without_groups(shape, calibration, kind, weight_type):
    X, y = make(shape, structures=True)
    groups = np.arange(shape[0])[::-1] // 2
    weight = weights(shape[0], kind)
    compare(X, y, calibration, weight, groups, weight_type=weight_type)


@pytest.mark.parametrize("shape", SHAPES[::2])
@pytest.mark.parametrize("calibration", ["bayesian", "loo"])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_equals_refits_with_a_regularizer(shape, calibration, fit_intercept):
    X, y = make(shape)
    gamma = np.append(0.0, np.linspace(0.5, 2.0, shape[1] - 1))
    compare(X, y, calibration, regularizer=gamma, fit_intercept=fit_intercept)


@pytest.mark.parametrize("calibration", ["bayesian", "loo"])
def test_equals_refits_without_regularization(calibration):
    X, y = make((30, 4))
    X = np.hstack([X, X[:, :2]])  # no unique solution: the refits are of minimum norm
    model = RigidRidgeCV([0.0, 1.0], scoring="mean_log_likelihood", calibration=calibration)
    expected = Refits(X, y, 0.0, calibration).scores()["mean_log_likelihood"]
    assert_allclose(model.fit(X, y).scores_[0], expected, rtol=1e-7)


@pytest.mark.parametrize("n", [20, 9])
def test_high_leverages(n):
    X, y = make((n, 5))
    X[0] *= 300.0
    X[1, 2] = 1e4
    for calibration in ("bayesian", "loo"):
        names = ["mean_log_likelihood", "neg_crps", "rigidity_log_mean"]
        model = RigidRidgeCV([1e-3, 0.1], scoring=names, refit="neg_crps", calibration=calibration)
        model.fit(X, y)
        for a, alpha in enumerate(model.alphas_):
            expected = Refits(X, y, alpha, calibration).scores()
            for name in names:
                found = model.cv_results_[f"mean_test_{name}"][a]
                assert_allclose(found, expected[name], rtol=1e-7)


@pytest.mark.parametrize("calibration", ["bayesian", None])
def test_equals_scikit_learns_search(calibration):
    """With these calibrations a refit is all that leave-one-out is, to the last detail."""
    X, y = make((25, 4), structures=True)
    names = ["mean_log_likelihood", "neg_crps", "rigidity_mean", "local_rigidity_log_mean"]
    search = GridSearchCV(
        RigidRidge(calibration=calibration),
        {"alpha": ALPHAS},
        scoring=get_scorers(names),
        refit="neg_crps",
        cv=LeaveOneOut(),
    ).fit(X, y)
    model = RigidRidgeCV(ALPHAS, scoring=names, refit="neg_crps", calibration=calibration).fit(X, y)
    for name in names[:3]:
        expected = search.cv_results_[f"mean_test_{name}"]
        assert_allclose(model.cv_results_[f"mean_test_{name}"], expected, rtol=1e-9)
        ranks = search.cv_results_[f"rank_test_{name}"]
        assert_array_equal(model.cv_results_[f"rank_test_{name}"], ranks)
    assert model.alpha_ == search.best_params_["alpha"]
    assert_allclose(model.best_score_, search.best_score_)
    assert model.cv_results_["params"] == search.cv_results_["params"]
    assert_allclose(model.coef_, search.best_estimator_.coef_, rtol=1e-8)
    # Environments are pooled, not averaged structure by structure.
    pooled = model.cv_results_["mean_test_local_rigidity_log_mean"]
    assert_allclose(pooled, search.cv_results_["mean_test_local_rigidity_log_mean"], rtol=0.5)


@pytest.mark.parametrize("shape", [(24, 5), (11, 5), (9, 9), (5, 9)])
def test_closed_form_of_the_residual_variance(shape):
    """Sums of squares and degrees of freedom of every refit, also where alpha is tiny."""
    X, y = make(shape)
    y = np.column_stack([y, y**2])
    alphas = np.array([1e-9, 0.1])
    weight = weights(shape[0], "real")
    path = AlphaPath(Rows(X, weight=weight, intercept=True, rhs=y), None, alphas.min())
    for units, weight_type in ((True, "frequency"), (False, "precision")):
        left = path.leave_out(alphas, units=units)
        rss, dof = path.variance(alphas, left, units=units)
        for a, alpha in enumerate(alphas):
            for i in range(shape[0]):
                rest = weight.copy()
                rest[i] -= min(rest[i], 1.0) if units else rest[i]
                model = RigidRidge(alpha, solver="qr", weight_type=weight_type).fit(X, y, rest)
                # With these, the scale is one over the other.
                expected = model.noise_variance_
                if np.isfinite(expected).all():
                    assert_allclose(rss[i, a] / dof[i, a], expected, rtol=1e-8)


# -- what can be asked for --------------------------------------------------------------------


def test_several_targets():
    X, y = make((30, 4))
    Y = np.column_stack([y, np.random.default_rng(3).standard_normal(30)])
    names = ["neg_crps", "neg_mean_squared_error", "log_likelihood", "r2"]
    parameters = {"scoring": names, "refit": "neg_crps"}
    model = RigidRidgeCV(ALPHAS, **parameters).fit(X, Y)
    alone = [RigidRidgeCV(ALPHAS, **parameters).fit(X, Y[:, t]) for t in range(2)]
    assert_allclose(model.scores_, np.column_stack([m.scores_ for m in alone]), rtol=1e-9)
    for name in names:
        columns = [m.cv_results_[f"mean_test_{name}"] for m in alone]
        assert_allclose(model.cv_results_[f"mean_test_{name}"], np.mean(columns, axis=0))
    assert model.alpha_ == ALPHAS[model.scores_.mean(axis=1).argmax()]
    each = RigidRidgeCV(ALPHAS, alpha_per_target=True, **parameters).fit(X, Y)
    assert_array_equal(each.alpha_, [m.alpha_ for m in alone])
    assert len(set(each.alpha_)) == 2
    assert_allclose(each.best_score_, [m.best_score_ for m in alone])


def test_forms_of_scoring():
    X, y = make((30, 4))
    scorer = get_scorers("neg_crps")["neg_crps"]
    by_name = RigidRidgeCV(ALPHAS, scoring="neg_crps").fit(X, y)
    assert list(by_name.cv_results_) == [
        "params",
        "param_alpha",
        "mean_test_score",
        "rank_test_score",
    ]
    assert_array_equal(by_name.cv_results_["mean_test_score"], by_name.scores_)
    mixed = {"a": scorer, "b": "neg_crps", "c": "evidence", "d": "r2", "e": "log_likelihood"}
    model = RigidRidgeCV(ALPHAS, scoring=mixed, refit="c").fit(X, y)
    table = pd.DataFrame(model.cv_results_)
    assert_array_equal(table["mean_test_a"], by_name.scores_)
    assert_array_equal(table["mean_test_b"], by_name.scores_)
    for name, single in (("c", "evidence"), ("e", "log_likelihood")):
        expected = RigidRidgeCV(ALPHAS, scoring=single).fit(X, y).scores_
        assert_array_equal(table[f"mean_test_{name}"], expected)
    assert model.alpha_ == ALPHAS[table["mean_test_c"].argmax()]
    assert_array_equal(RigidRidgeCV(ALPHAS, scoring=scorer).fit(X, y).scores_, by_name.scores_)
    again = clone(model).fit(X, y)
    assert_array_equal(again.cv_results_["mean_test_a"], by_name.scores_)


def test_scikit_learns_scorers():
    X, y = make((30, 4))
    weight = weights(30, "real")
    pinball = make_scorer(mean_pinball_loss, alpha=0.8, greater_is_better=False)

    def largest(estimator, X, y):  # takes no weights
        return -np.abs(y - estimator.predict(X)).max()

    scoring = {"mae": "neg_mean_absolute_error", "pinball": pinball, "largest": largest}
    model = RigidRidgeCV(
        ALPHAS, scoring={**scoring, "mse": "neg_mean_squared_error"}, refit="mae"
    ).fit(X, y, weight)
    for a, alpha in enumerate(ALPHAS):
        left = Refits(X, y, alpha, None, weight)
        found = [model.cv_results_[f"mean_test_{name}"][a] for name in scoring]
        expected = [
            -mean_absolute_error(y, left.mean, sample_weight=weight),
            -mean_pinball_loss(y, left.mean, sample_weight=weight, alpha=0.8),
            -np.abs(y - left.mean).max(),
        ]
        assert_allclose(found, expected, rtol=1e-9)


@pytest.mark.parametrize("n", [40, 8])
def test_samples_that_alone_determine_a_direction(n):
    X, y = make((n, 4))
    X[:, 3] = 0.0
    X[1, 3] = 2.0
    names = ["neg_crps", "rigidity_min", "r2"]
    parameters = {"scoring": names, "refit": "neg_crps", "calibration": None}
    model = RigidRidgeCV([0.0, 0.1], **parameters).fit(X, y)
    assert_array_equal(model.n_excluded_per_alpha_, [1, 0])
    without = RigidRidgeCV([0.0], **parameters).fit(np.delete(X, 1, 0), np.delete(y, 1))
    for name in names:
        ours, theirs = (m.cv_results_[f"mean_test_{name}"][0] for m in (model, without))
        assert_allclose(ours, theirs, rtol=1e-8)
    # All of them do: nothing is left to score.
    X, y = make((5, 9))
    model = RigidRidgeCV([0.0, 0.1], scoring="neg_crps").fit(X, y)
    assert model.scores_[0] == -np.inf
    assert_array_equal(model.n_excluded_per_alpha_, [5, 0])
    assert model.alpha_ == 0.1
    everything = RigidRidgeCV([0.5], scoring="neg_crps").fit(X, y, groups=np.zeros(5))
    assert np.isinf(everything.scores_[0])


def test_as_many_parameters_as_samples_are_infinitely_uncertain():
    X, y = make((6, 4))
    # Five samples and an intercept: without one of them nothing is left to tell the scale by.
    model = RigidRidgeCV([0.0, 0.1], scoring="neg_crps").fit(X, y)
    assert model.scores_[0] == -np.inf
    assert np.isfinite(model.scores_[1])
    for scoring in ("neg_crps", "mean_log_likelihood", "neg_miscalibration_area"):
        for calibration in ("bayesian", "loo", None):
            few = RigidRidgeCV([1.0], scoring=scoring, calibration=calibration)
            assert not np.isnan(few.fit([[1.0, 2.0], [2.0, 1.0]], [3.0, 1.0]).scores_).any()
            assert not np.isnan(few.fit([[1.0, 2.0]], [3.0]).scores_).any()
            assert not np.isnan(few.fit(np.zeros((6, 2)), y).scores_).any()


def test_input_of_all_kinds():
    X, y = make((30, 4))
    X = np.where(X > 1, X, 0.0)
    weight = weights(30, "zeros")
    names = ["neg_crps", "rigidity_min", "local_rigidity_min", "r2"]
    model = RigidRidgeCV(ALPHAS, scoring=names, refit="neg_crps")
    expected = pd.DataFrame(clone(model).fit(X, y, weight).cv_results_).drop(columns="params")
    frame = pd.DataFrame(X, columns=list("abcd"), index=np.arange(30)[::-1])
    for data in (sp.csr_matrix(X), sp.csr_array(X), frame, X.tolist(), X.astype(np.float32)):
        found = pd.DataFrame(model.fit(data, y, weight).cv_results_).drop(columns="params")
        assert_allclose(found, expected, rtol=1e-5)
    arrays = [X[i : i + 1] for i in range(30)]
    found = pd.DataFrame(model.fit(arrays, y, weight).cv_results_).drop(columns="params")
    assert_allclose(found, expected, rtol=1e-9)


def test_alphas_in_pieces(monkeypatch):
    X, y = make((30, 4), structures=True)
    parameters = {"scoring": all_scorers(), "refit": "r2"}
    whole = RigidRidgeCV(ALPHAS, **parameters).fit(X, y)
    monkeypatch.setattr("skrigidity.linear_model._cv_scoring._AT_A_TIME", 30)
    pieces = RigidRidgeCV(ALPHAS, **parameters).fit(X, y)
    for name, values in whole.cv_results_.items():
        if name.startswith("mean_test"):
            assert_allclose(pieces.cv_results_[name], values, rtol=1e-10)


def test_many_blocks_of_rows():
    rng = np.random.default_rng(6)
    X = rng.standard_normal((30_000, 3))
    y = X @ np.ones(3) + rng.standard_normal(30_000)
    X[[0, 15_000, 29_999]] = 1e4 * np.eye(3)
    alphas = np.array([1e-2, 1e3])
    path = AlphaPath(Rows(X, intercept=True, rhs=y), None, alphas.min())
    left = path.leave_out(alphas, units=True)
    rss, dof = path.variance(alphas, left, units=True)
    for i in (0, 7, 15_000, 29_999):
        for a, alpha in enumerate(alphas):
            rest = RigidRidge(alpha).fit(np.delete(X, i, 0), np.delete(y, i))
            assert_allclose(left.residual[i, a], y[i] - rest.predict(X[[i]]), rtol=1e-7)
            assert_allclose(left.quad[i, a], 1 / rest.prediction_rigidity(X[[i]])[0], rtol=1e-7)
            assert_allclose(rss[i, a] / dof[i, a], rest.noise_variance_, rtol=1e-9)


@parametrize_with_checks(
    [RigidRidgeCV(scoring=["neg_crps", "local_rigidity_mean", "r2"], refit="neg_crps")]
)
def test_check_estimator(estimator, check):
    check(estimator)


def test_inside_a_search():
    X, y = make((60, 4))
    pipeline = make_pipeline(StandardScaler(), RigidRidgeCV(ALPHAS, scoring="neg_crps"))
    grid = {"rigidridgecv__scoring": ["neg_crps", "r2", "evidence"]}
    search = GridSearchCV(pipeline, grid, scoring=get_scorers("neg_crps")["neg_crps"], cv=3)
    assert np.isfinite(search.fit(X, y).cv_results_["mean_test_score"]).all()


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"scoring": "crps"}, "did you mean 'neg_crps'.*neg_mean_squared_error"),
        ({"scoring": ["r2", "neg_crps"]}, "refit must name the score that chooses alpha"),
        ({"scoring": ["r2"], "refit": "neg_crps"}, r"one of \['r2'\], got 'neg_crps'"),
        ({"scoring": "r2", "refit": "r2"}, "refit must be None"),
        ({"scoring": []}, "refit must name"),
        ({"scoring": [make_rigidity_scorer()], "refit": "a"}, "scoring must be a list of names"),
        ({"scoring": {"a": 3}, "refit": "a"}, "names and callables, got 3"),
        ({"scoring": 3}, "The 'scoring' parameter"),
        ({"scoring": ["r2"], "refit": True}, "The 'refit' parameter"),
        (
            {"scoring": ["r2", "evidence"], "refit": "r2", "alphas": [0.0]},
            "alphas must be positive",
        ),
    ],
)
def test_bad_scoring(parameters, message):
    X, y = make((12, 5))
    with pytest.raises(ValueError, match=message):
        RigidRidgeCV(**parameters).fit(X, y)


def test_no_evidence_of_groups():
    X, y = make((12, 5))
    model = RigidRidgeCV(scoring=["r2", "evidence"], refit="r2")
    with pytest.raises(ValueError, match="groups cannot be left out with scoring='evidence'"):
        model.fit(X, y, groups=np.arange(12))
