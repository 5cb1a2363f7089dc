"""Rigidities of classifiers: logits, centred logits, probabilities."""

import pickle
import warnings

import numpy as np
import objectives as obj
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose
from scipy.stats import spearmanr
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import (
    LogisticRegression,
    LogisticRegressionCV,
    Ridge,
    RidgeClassifier,
    RidgeClassifierCV,
)
from sklearn.model_selection import TunedThresholdClassifierCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils.estimator_checks import parametrize_with_checks

from skrigidity import WithRigidity, metrics
from skrigidity.gradients import SoftmaxGradients

TIGHT = {"tol": 1e-10, "max_iter": 10_000, "solver": "newton-cholesky"}


@parametrize_with_checks([WithRigidity(LogisticRegression())])
@pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore::UserWarning")
def test_check_estimator(estimator, check):
    check(estimator)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def sample(n_classes, n=90, d=3, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d)) + 0.7
    logits = X @ rng.standard_normal((d, n_classes)) + rng.gumbel(size=(n, n_classes))
    return X, logits.argmax(axis=1), rng.uniform(0.2, 3.0, n)


def quadratic(H, g):
    return np.einsum("ij,jk,ik->i", g, np.linalg.pinv(H, rcond=1e-11), g)


# -- the Hessian is that of the objective -------------------------------------------------------


@pytest.mark.parametrize("class_weight", [None, "balanced", {0: 1.0, 1: 3.0}])
@pytest.mark.parametrize("solver", ["newton-cholesky", "liblinear"])
def test_binary_hessian(solver, class_weight):
    X, y, s = sample(2)
    inner = LogisticRegression(
        C=0.5, class_weight=class_weight, **{**TIGHT, "solver": solver}, intercept_scaling=2.0
    )
    model = WithRigidity(inner).fit(X, y, sample_weight=s)
    inner = model.estimator_
    theta = np.append(inner.coef_, inner.intercept_)
    scaling = 2.0 if solver == "liblinear" else None
    weight = model.gradients_.weights(y, s)
    objective = obj.logistic(X, y, weight, 0.5, scaling)
    # The gradient vanishes: objective and class weights are the estimator's.
    assert_allclose(obj.gradient(objective, theta), 0, atol=1e-3)
    g = np.column_stack([X, np.ones(len(X))])
    q = quadratic(obj.hessian(objective, theta), g)
    assert model.prediction_rigidity(X).shape == (90,)
    assert_allclose(model.prediction_rigidity(X), 1 / q, rtol=1e-6)
    g[:, [0, 3]] = 0.0
    component = model.component_rigidity(X, {"last": [1, 2]})[:, 0]
    assert_allclose(component, 1 / quadratic(obj.hessian(objective, theta), g), rtol=1e-6)


@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("n_classes", [3, 5])
@pytest.mark.parametrize("C", [0.5, 1e3])
def test_multinomial_hessian(n_classes, intercept, C):
    X, y, s = sample(n_classes)
    inner = LogisticRegression(C=C, fit_intercept=intercept, **TIGHT)
    model = WithRigidity(inner).fit(X, y, sample_weight=s)
    inner = model.estimator_
    W = np.column_stack([inner.coef_, inner.intercept_]) if intercept else inner.coef_
    objective = obj.multinomial(X, y, s, C, n_classes, intercept)
    assert_allclose(obj.gradient(objective, W.ravel()), 0, atol=1e-4)
    H = obj.hessian(objective, W.ravel())
    x = np.column_stack([X, np.ones(len(X))]) if intercept else X
    proba = model.predict_proba(X)
    R, std = model.prediction_rigidity(X), model.probability_std(X)
    assert R.shape == std.shape == (90, n_classes)
    for k in range(n_classes):
        e = np.eye(n_classes)[k]
        centred = np.array([np.kron(e - 1 / n_classes, row) for row in x])
        assert_allclose(R[:, k], 1 / quadratic(H, centred), rtol=1e-5)
        slopes = np.array([np.kron(e - p, row) * p[k] for p, row in zip(proba, x, strict=True)])
        assert_allclose(std[:, k] ** 2, quadratic(H, slopes), rtol=1e-5)
    parts = model.component_rigidity(X, [1, 2])
    assert parts.shape == (90, 2, n_classes)
    masked = x * np.array([1.0, 0, 0, 0])[: x.shape[1]]
    centred = np.array([np.kron(np.eye(n_classes)[0] - 1 / n_classes, row) for row in masked])
    assert_allclose(parts[:, 0, 0], 1 / quadratic(H, centred), rtol=1e-5)


def test_two_classes_are_a_special_case_of_softmax():
    """Softmax of two classes is logistic of their difference, twice a centred logit."""
    X, y, s = sample(2)
    binary = WithRigidity(LogisticRegression(C=2.0, **TIGHT)).fit(X, y, sample_weight=s)
    coef, intercept = binary.estimator_.coef_[0], binary.estimator_.intercept_[0]
    # |w|^2 / 2 of the difference is |w_1|^2 + |w_2|^2 in halves: alpha is 1 here.
    softmax = SoftmaxGradients(
        np.array([-coef, coef]) / 2, np.array([-intercept, intercept]) / 2, fit_intercept=True
    )
    softmax.bind(X, s)
    hessian = softmax.factorize(softmax.training_rows(X, y, s), 1.0, None)
    R = 1 / hessian.quad(softmax.rows(X)).reshape(-1, 2)
    assert_allclose(R, np.repeat(4 * binary.prediction_rigidity(X)[:, None], 2, axis=1), rtol=1e-9)
    variances = hessian.quad(softmax.probability_rows(X)).reshape(-1, 2)
    assert_allclose(np.sqrt(variances), binary.probability_std(X), rtol=1e-9)


def test_blocks_of_rows(monkeypatch):
    X, y, s = sample(4)
    whole = WithRigidity(LogisticRegression()).fit(X, y, sample_weight=s)
    rows = whole.gradients_.training_rows(X, y, s)
    together = rows.of(slice(None))
    monkeypatch.setattr("skrigidity.gradients.softmax.block_rows", lambda n: 100)
    pieces = list(whole.gradients_.training_rows(X, y, s).blocks())
    assert len(pieces) == 4
    for name in ("matrix", "weight", "rhs", "groups"):
        stacked = np.concatenate([getattr(piece, name) for piece in pieces])
        assert_allclose(stacked, getattr(together, name))
    again = WithRigidity(LogisticRegression()).fit(X, y, sample_weight=s)
    assert_allclose(again.prediction_rigidity(X), whole.prediction_rigidity(X), rtol=1e-9)
    assert_allclose(again.probability_std(X), whole.probability_std(X), rtol=1e-9)
    assert_allclose(again.rigidity_with(X, X[:3]), whole.rigidity_with(X, X[:3]), rtol=1e-9)


@pytest.mark.parametrize("n_classes", [2, 4])
@pytest.mark.parametrize("inner", [RidgeClassifier(0.3, class_weight="balanced"), "cv"])
def test_ridge_classifier_is_ridge_on_signs(n_classes, inner):
    X, y, s = sample(n_classes)
    inner = RidgeClassifierCV([0.1, 10.0]) if inner == "cv" else inner
    model = WithRigidity(inner).fit(X, y, sample_weight=s)
    balanced = inner.class_weight is not None
    share = len(y) / (n_classes * np.bincount(y)) if balanced else np.ones(n_classes)
    targets = np.where(y[:, None] == np.arange(n_classes), 1.0, -1.0)
    alpha = getattr(model.estimator_, "alpha_", 0.3)
    ridge = WithRigidity(Ridge(alpha)).fit(X, targets, sample_weight=s * share[y])
    if n_classes > 2:
        assert_allclose(model.decision_function(X), ridge.predict(X), rtol=1e-6, atol=1e-8)
    assert_allclose(model.prediction_rigidity(X), ridge.prediction_rigidity(X), rtol=1e-9)
    assert not hasattr(model, "probability_std")
    assert (model.scale_, model.noise_variance_) == (1.0, 0.0)


# -- equation 1 of the paper --------------------------------------------------------------------


@pytest.mark.parametrize("n_classes", [2, 3])
def test_rigidity_is_what_pulling_a_logit_costs(n_classes):
    X, y, s = sample(n_classes)
    model = WithRigidity(LogisticRegression(C=2.0, **TIGHT)).fit(X, y, sample_weight=s)
    inner = model.estimator_
    assert model.curvature_.loss_factor == 1
    for x in (np.zeros(3), np.array([2.0, -3.0, 1.0])):
        row, R = np.append(x, 1.0), model.prediction_rigidity(x[None])[0]
        if n_classes == 2:
            objective, g = obj.logistic(X, y, s, 2.0), row
            theta = np.append(inner.coef_, inner.intercept_)
        else:
            objective, R = obj.multinomial(X, y, s, 2.0, 3), R[1]
            g = np.kron(np.array([-1, 2, -1]) / 3, row)
            theta = np.column_stack([inner.coef_, inner.intercept_]).ravel()
        rise = obj.rise_when_pulled(objective, theta, g, eps=1e-3)
        assert_allclose(rise, R * 1e-6 / 2, rtol=0.01)


# -- rigidity and disagreement ------------------------------------------------------------------


@pytest.mark.parametrize("n_classes", [2, 3])
def test_low_rigidity_is_where_a_bootstrap_disagrees(rng, n_classes):
    X, y, _ = sample(n_classes, n=200, d=2)
    new = rng.uniform(-4, 4, (200, 2))
    model = WithRigidity(LogisticRegression(C=10.0)).fit(X, y)

    def logits(classifier):
        values = classifier.decision_function(new)
        return values if values.ndim == 1 else values - values.mean(axis=1, keepdims=True)

    votes, drawn = [], []
    for _ in range(150):
        rows = rng.integers(0, len(X), len(X))
        again = LogisticRegression(C=10.0).fit(X[rows], y[rows])
        votes.append(logits(again))
        drawn.append(again.predict_proba(new))
    spread = np.var(votes, axis=0).ravel()
    q = 1 / model.prediction_rigidity(new).ravel()
    assert spearmanr(q, spread).statistic > 0.8
    assert abs(spearmanr(rng.permutation(q), spread).statistic) < 0.2
    # Not the order only: the size, too, and that of the probabilities.
    assert 0.5 < np.median(spread / q) < 2.0
    std = model.probability_std(new)
    assert spearmanr(std.ravel(), np.std(drawn, axis=0).ravel()).statistic > 0.8


# -- the rest -----------------------------------------------------------------------------------


def test_no_penalty_needs_no_gauge():
    """C = inf: the rows say nothing of the mean over classes, and nothing needs to."""
    X, y, s = sample(3)
    model = WithRigidity(LogisticRegression(C=np.inf, **TIGHT)).fit(X, y, sample_weight=s)
    R = model.prediction_rigidity(X)
    assert (R > 0).all()
    assert np.isfinite(R).all()
    # A shift of the features changes nothing.
    moved = WithRigidity(LogisticRegression(C=np.inf, **TIGHT)).fit(X + 50.0, y, sample_weight=s)
    assert_allclose(moved.prediction_rigidity(X + 50.0), R, rtol=1e-4)


def test_weights_sparse_input_and_cross_validation():
    X, y, _ = sample(3)
    s = np.random.default_rng(1).integers(0, 4, len(X))
    weighted = WithRigidity(LogisticRegression(**TIGHT)).fit(X, y, sample_weight=s)
    repeated = WithRigidity(LogisticRegression(**TIGHT)).fit(X.repeat(s, axis=0), y.repeat(s))
    R = weighted.prediction_rigidity(X)
    assert_allclose(R, repeated.prediction_rigidity(X), rtol=1e-7)
    sparse = WithRigidity(LogisticRegression(tol=1e-10, max_iter=10_000))
    sparse = sparse.fit(sp.csr_matrix(X), y, sample_weight=s)
    assert_allclose(sparse.prediction_rigidity(sp.csr_matrix(X)), R, rtol=1e-3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        chosen = WithRigidity(LogisticRegressionCV(Cs=[0.1, 1.0], cv=3)).fit(X, y)
    C = float(np.unique(chosen.estimator_.C_)[0])
    expected = WithRigidity(LogisticRegression(C=C)).fit(X, y).prediction_rigidity(X)
    assert_allclose(chosen.prediction_rigidity(X), expected, rtol=1e-2)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("estimator", [LogisticRegression, RidgeClassifier])
@pytest.mark.filterwarnings("ignore:A column-vector y was passed")
def test_labels_in_a_column(n_classes, estimator):
    X, y, s = sample(n_classes)
    inner = estimator(class_weight="balanced")
    model = WithRigidity(inner).fit(X, y[:, None], sample_weight=s)
    flat = WithRigidity(inner).fit(X, y, sample_weight=s)
    assert_allclose(model.prediction_rigidity(X), flat.prediction_rigidity(X), rtol=1e-9)


@pytest.mark.parametrize("estimator", [LogisticRegression, RidgeClassifier])
def test_a_class_without_weight(estimator):
    """It says nothing, be its weight zero in the sample or in the class."""
    X, y, s = sample(3)
    inner = estimator(class_weight={0: 1.0, 1: 2.0, 2: 0.0})
    model = WithRigidity(inner).fit(X, y, sample_weight=s)
    R = model.prediction_rigidity(X)
    assert np.isfinite(R).all()
    other = WithRigidity(inner).fit(X[y < 2], y[y < 2], sample_weight=s[y < 2])
    if estimator is RidgeClassifier:
        assert_allclose(R, other.prediction_rigidity(X), rtol=1e-9)


@pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore:lbfgs failed")
def test_balanced_classes_one_of_which_weighs_nothing():
    X, y, s = sample(3)
    s[y == 2] = 0.0
    model = WithRigidity(LogisticRegression(class_weight="balanced"))
    R = model.fit(X, y, sample_weight=s).prediction_rigidity(X)
    assert (np.isfinite(R) & (R > 0)).all()


def test_multilabel_ridge_classifier(rng):
    X, _, s = sample(2)
    Y = (X @ rng.standard_normal((3, 2)) > 0.5).astype(int)
    model = WithRigidity(RidgeClassifier(0.5)).fit(X, Y, sample_weight=s)
    ridge = WithRigidity(Ridge(0.5)).fit(X, 2.0 * Y - 1, sample_weight=s)
    assert_allclose(model.prediction_rigidity(X), ridge.prediction_rigidity(X), rtol=1e-9)
    left = model.leave_one_out(X, Y, sample_weight=s)
    assert_allclose(left.prediction, ridge.leave_one_out(X, 2.0 * Y - 1, s).prediction, rtol=1e-8)


def test_pickle():
    for n_classes in (2, 3):
        X, y, _ = sample(n_classes)
        model = WithRigidity(LogisticRegression()).fit(X, y)
        again = pickle.loads(pickle.dumps(model))
        assert_allclose(again.prediction_rigidity(X), model.prediction_rigidity(X), rtol=0)
        assert_allclose(again.leave_one_out(X, y).rigidity, model.leave_one_out(X, y).rigidity)


def test_liblinear_under_sums(rng):
    """The intercept belongs to the structure, not to one of its environments."""
    X = [rng.standard_normal((rng.integers(1, 5), 2)) for _ in range(40)]
    y = rng.integers(0, 2, 40)
    model = WithRigidity(LogisticRegression(solver="liblinear"), aggregate="sum").fit(X, y)
    total = np.array([part.sum() for part in model.predict_local(X)])
    assert_allclose(total + model.estimator_.intercept_, model.decision_function(X))
    shifted = [x[:1] * 0.0 for x in X[:3]]
    assert all(np.isinf(R).all() for R in model.local_rigidity(shifted))
    assert np.isfinite(model.prediction_rigidity(shifted)).all()


def test_added_samples_and_combinations(rng):
    for n_classes in (2, 3):
        X, y, _ = sample(n_classes)
        model = WithRigidity(LogisticRegression()).fit(X, y)
        R = model.prediction_rigidity(X)
        assert (model.rigidity_with(X, X[:5]) >= R * (1 - 1e-9)).all()
        assert_allclose(model.combination_rigidity(X, np.eye(len(X))), R, rtol=1e-9)
        assert model.combination_rigidity(X, rng.standard_normal(90)).shape == R.shape[1:]


def test_structures(rng):
    X = [rng.standard_normal((rng.integers(1, 5), 2)) for _ in range(60)]
    means = np.array([x.mean(axis=0) for x in X])
    y = np.digitize(means[:, 0] + 0.3 * rng.standard_normal(60), [-0.3, 0.3])
    model = WithRigidity(LogisticRegression()).fit(X, y)
    flat = WithRigidity(LogisticRegression()).fit(means, y)
    assert_allclose(model.predict_proba(X), flat.predict_proba(means))
    assert_allclose(model.prediction_rigidity(X), flat.prediction_rigidity(means))
    assert [r.shape for r in model.local_rigidity(X)] == [(len(x), 3) for x in X]


def test_frozen_and_labels(rng):
    X, y, _ = sample(3)
    names = np.array(["a", "b", "c"])[y]
    inner = LogisticRegression().fit(X[:60], names[:60])
    model = WithRigidity(FrozenEstimator(inner)).fit(X, names)
    assert list(model.classes_) == ["a", "b", "c"]
    assert_allclose(model.predict_proba(X), inner.predict_proba(X))
    pipe = make_pipeline(StandardScaler(), WithRigidity(LogisticRegression())).fit(X, names)
    assert pipe.score(X, names) > 0.5
    with pytest.raises(ValueError, match="labels"):
        WithRigidity(FrozenEstimator(inner)).fit(X, np.where(y == 0, "z", names))


@pytest.mark.parametrize(
    ("estimator", "error", "message"),
    [
        (DecisionTreeClassifier(), TypeError, "piecewise constant"),
        (SVC(), TypeError, "support vectors"),
        (LinearSVC(), TypeError, "support vectors"),
        (TunedThresholdClassifierCV(LogisticRegression()), TypeError, "threshold .* `estimator_`"),
        (CalibratedClassifierCV(LogisticRegression()), TypeError, "inside of it"),
        (OneVsRestClassifier(LogisticRegression()), TypeError, "several models"),
        (LogisticRegression(penalty="l1", l1_ratio=1, solver="liblinear"), ValueError, "kink"),
        (
            LogisticRegression(penalty="elasticnet", l1_ratio=0.5, solver="saga", max_iter=5000),
            ValueError,
            "kink",
        ),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")
def test_refused(estimator, error, message):
    X, y, _ = sample(2)
    with pytest.raises(error, match=message):
        WithRigidity(estimator).fit(X, y)


def test_thresholds_are_tuned_around_it():
    X, y, _ = sample(2)
    tuned = TunedThresholdClassifierCV(WithRigidity(LogisticRegression())).fit(X, y)
    expected = WithRigidity(LogisticRegression()).fit(X, y).prediction_rigidity(X)
    assert_allclose(tuned.estimator_.prediction_rigidity(X), expected)
    assert_allclose(metrics.prediction_rigidity(tuned, X), expected)
    with pytest.raises(NotFittedError):
        metrics.prediction_rigidity(clone(tuned), X)


def test_bad_calls():
    X, y, _ = sample(2)
    model = WithRigidity(LogisticRegression())
    assert not hasattr(model, "calibrate")
    for method in (model.prediction_rigidity, model.probability_std, model.predict_proba):
        with pytest.raises(NotFittedError):
            method(X)
    model.fit(X, y)
    with pytest.raises(ValueError, match="probability_std"):
        model.predict(X, return_std=True)
    assert not hasattr(WithRigidity(Ridge()), "predict_proba")
