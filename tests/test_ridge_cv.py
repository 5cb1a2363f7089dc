"""RigidRidgeCV: scores in closed form are those of explicit refits; alpha is where they peak."""

import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import minimize_scalar
from scipy.stats import multivariate_normal
from sklearn.base import clone
from sklearn.linear_model import BayesianRidge, RidgeCV
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skrigidity import Environments, RigidRidge, RigidRidgeCV

SCORINGS = ("neg_mean_squared_error", "log_likelihood", "evidence")
LOO = SCORINGS[:2]
ALPHAS = [1e-3, 0.1, 2.0, 50.0]
# More than twice as many rows as features, and fewer, go different ways.
SHAPES = [(24, 4), (11, 5), (5, 9)]


def make(shape, n_targets=None, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal(shape) + 1.0
    w = rng.standard_normal((shape[1], n_targets or 1))
    y = X @ w + 0.5 * rng.standard_normal((shape[0], n_targets or 1)) + 2.0
    return X, (y if n_targets else y[:, 0])


def brute_scores(X, y, alpha, weight=None, *, scoring, precision=False, groups=None, **parameters):
    """Score of one alpha by refitting without every unit of weight, row or group in turn."""
    n = len(X)
    weight = np.ones(n) if weight is None else weight
    y = y.reshape(n, -1)
    error, variance, count = [], [], []
    for i in np.flatnonzero(weight):
        left = weight.copy()
        if groups is not None:
            left[groups == groups[i]] = 0.0
        else:
            left[i] = 0.0 if precision else max(left[i] - 1, 0.0)
        model = RigidRidge(alpha, calibration=None, solver="qr", **parameters).fit(X, y, left)
        error.append((y[i : i + 1] - model.predict(X[i : i + 1])).ravel())
        noise = 1 / weight[i] if precision else 1.0
        variance.append(noise + 1 / model.prediction_rigidity(X[i : i + 1])[0])
        count.append(weight[i])
    error, variance, count = map(np.array, (error, variance, count))
    share = count / count.sum()
    if scoring == "neg_mean_squared_error":
        return -(share @ error**2)
    # sigma at its optimum, searched for rather than derived
    scores = []
    for e in error.T:

        def loss(log_sigma2, e=e):
            total = np.exp(log_sigma2) * variance
            return 0.5 * share @ (np.log(2 * np.pi * total) + e**2 / total)

        scores.append(-minimize_scalar(loss, bracket=(-3, 1), tol=1e-12).fun)
    return np.array(scores)


def marginal_likelihood(X, y, alpha, weight=None, gamma=None, intercept=True):
    """Log evidence from its definition, by explicit normal distributions.

    ``y = X w + b + noise`` with ``w ~ N(0, sigma^2 inv(alpha Gamma))``, noise of variance
    ``sigma^2 / s`` and a flat prior on b: integrated out, the likelihood is that of a Gaussian
    in all differences of the targets, at the sigma that maximizes it.
    """
    n = len(X)
    weight = np.ones(n) if weight is None else weight
    gamma = np.eye(X.shape[1]) if gamma is None else gamma
    C = np.diag(1 / weight) + X @ np.linalg.solve(alpha * gamma, X.T)
    if not intercept:

        def log_density(log_sigma2):
            return multivariate_normal(np.zeros(n), np.exp(log_sigma2) * C).logpdf(y)

    else:
        # An orthonormal basis of the contrasts; integrating b over the line costs log sqrt(n).
        Q = np.linalg.svd(np.ones((n, 1)))[0][:, 1:]

        def log_density(log_sigma2):
            cov = np.exp(log_sigma2) * Q.T @ C @ Q
            return multivariate_normal(np.zeros(n - 1), cov).logpdf(Q.T @ y) - 0.5 * np.log(n)

    best = minimize_scalar(lambda s: -log_density(s), bracket=(-3, 1), tol=1e-12)
    return -best.fun


def rows_weights(n, kind):
    rng = np.random.default_rng(1)
    return {
        "none": None,
        "counts": rng.integers(1, 4, n).astype(float),
        "zeros": rng.integers(0, 3, n).astype(float),
        "real": rng.uniform(0.2, 3.0, n),
    }[kind]


# -- leave one out ----------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("scoring", LOO)
@pytest.mark.parametrize("weights", ["none", "counts", "zeros", "real"])
@pytest.mark.parametrize("weight_type", ["frequency", "precision"])
def test_scores_equal_refits(shape, scoring, weights, weight_type):
    X, y = make(shape, 2)
    weight = rows_weights(shape[0], weights)
    alphas = [0.1, 2.0]
    model = RigidRidgeCV(alphas, scoring=scoring, weight_type=weight_type).fit(X, y, weight)
    precision = weight_type == "precision"
    for alpha, score in zip(alphas, model.scores_, strict=True):
        expected = brute_scores(X, y, alpha, weight, scoring=scoring, precision=precision)
        assert_allclose(score, expected, rtol=1e-7)
    assert_array_equal(model.n_excluded_per_alpha_, 0)
    assert_allclose(model.best_score_, model.scores_.mean(axis=1).max())


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("scoring", SCORINGS)
def test_frequency_weights_repeat_rows(shape, scoring):
    X, y = make(shape)
    counts = rows_weights(shape[0], "zeros").astype(int)
    weighted = RigidRidgeCV(scoring=scoring).fit(X, y, counts)
    repeated = RigidRidgeCV(scoring=scoring).fit(np.repeat(X, counts, 0), np.repeat(y, counts))
    assert_allclose(weighted.alphas_, repeated.alphas_)
    assert_allclose(weighted.scores_, repeated.scores_, rtol=1e-6)
    for name in ("alpha_", "best_score_", "coef_", "noise_variance_", "effective_dof_"):
        ours, theirs = getattr(weighted, name), getattr(repeated, name)
        assert_allclose(ours, theirs, rtol=1e-6, atol=1e-20)


def test_frequency_weights_by_their_formula():
    """Design 2: ``sum_i s_i e_i^2 / (1 - h_i / s_i)^2``, rows with s_i < 1 left out whole."""
    X, y = make((25, 3))
    weight = rows_weights(25, "real")
    model = RigidRidgeCV([0.7]).fit(X, y, weight)
    h = weight / model.prediction_rigidity(X)
    left = 1 - h / np.maximum(weight, 1.0)
    expected = -np.average(((y - model.predict(X)) / left) ** 2, weights=weight)
    assert_allclose(model.scores_, [expected], rtol=1e-10)


def test_scale_of_precisions_changes_only_units():
    X, y = make((20, 4))
    weight = rows_weights(20, "real")
    alphas = np.array(ALPHAS)
    for scoring in SCORINGS:
        one = RigidRidgeCV(alphas, scoring=scoring, weight_type="precision").fit(X, y, weight)
        ten = RigidRidgeCV(10 * alphas, scoring=scoring, weight_type="precision").fit(
            X, y, 10 * weight
        )
        assert_allclose(ten.alpha_, 10 * one.alpha_)
        assert_allclose(ten.scores_, one.scores_, rtol=1e-9)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_equals_scikit_learns_ridge_cv(shape, fit_intercept):
    X, y = make(shape)
    alphas = np.logspace(-3, 3, 13)
    theirs = RidgeCV(alphas, fit_intercept=fit_intercept, store_cv_results=True).fit(X, y)
    ours = RigidRidgeCV(alphas, fit_intercept=fit_intercept).fit(X, y)
    assert ours.alpha_ == theirs.alpha_
    assert_allclose(ours.best_score_, theirs.best_score_, rtol=1e-8)
    assert_allclose(-ours.scores_, theirs.cv_results_.mean(axis=0), rtol=1e-8)
    assert_allclose(ours.coef_, theirs.coef_, rtol=1e-7)
    assert_allclose(ours.intercept_, theirs.intercept_, rtol=1e-7, atol=1e-12)


def test_equals_scikit_learns_ridge_cv_per_target():
    X, y = make((30, 6), 4)
    y[:, 0] = np.random.default_rng(3).standard_normal(30)
    theirs = RidgeCV(np.logspace(-3, 3, 13), alpha_per_target=True).fit(X, y)
    ours = RigidRidgeCV(np.logspace(-3, 3, 13), alpha_per_target=True).fit(X, y)
    assert len(np.unique(theirs.alpha_)) > 1
    assert_array_equal(ours.alpha_, theirs.alpha_)
    assert_allclose(ours.best_score_, theirs.best_score_, rtol=1e-8)
    assert_allclose(ours.coef_, theirs.coef_, rtol=1e-7)


# -- high leverages ---------------------------------------------------------------------------


@pytest.mark.parametrize("n", [24, 9])
@pytest.mark.parametrize("scoring", LOO)
@pytest.mark.parametrize("weight_type", ["frequency", "precision"])
def test_high_leverages(n, scoring, weight_type):
    X, y = make((n, 5), 2)
    X[0] *= 300.0
    X[1, 2] = 1e4
    weight = rows_weights(n, "real")
    weight[2] = 1e5
    alphas = [1e-3, 0.1]
    model = RigidRidgeCV(alphas, scoring=scoring, weight_type=weight_type).fit(X, y, weight)
    assert np.sum(weight / RigidRidge(0.1).fit(X, y, weight).prediction_rigidity(X) > 0.9) >= 3
    for alpha, score in zip(alphas, model.scores_, strict=True):
        expected = brute_scores(
            X, y, alpha, weight, scoring=scoring, precision=weight_type == "precision"
        )
        assert_allclose(score, expected, rtol=1e-6)


@pytest.mark.parametrize("n", [40, 8])
@pytest.mark.parametrize("scoring", LOO)
def test_a_row_of_leverage_one_is_excluded_and_counted(n, scoring):
    X, y = make((n, 4))
    X[:, 3] = 0.0
    X[1, 3] = 2.0
    model = RigidRidgeCV([0.0, 0.1], scoring=scoring).fit(X, y)
    assert_array_equal(model.n_excluded_per_alpha_, [1, 0])
    without = RigidRidgeCV([0.0], scoring=scoring).fit(np.delete(X, 1, 0), np.delete(y, 1))
    assert_allclose(model.scores_[0], without.scores_[0], rtol=1e-8)
    # Twice the row is not lost: one unit of its weight stays.
    twice = RigidRidgeCV([0.0], scoring=scoring).fit(X, y, np.where(np.arange(n) == 1, 2, 1))
    assert_array_equal(twice.n_excluded_per_alpha_, [0])
    free = RigidRidgeCV([0.1], scoring=scoring, regularizer=[1, 1, 1, 0]).fit(X, y)
    assert_array_equal(free.n_excluded_per_alpha_, [1])


@pytest.mark.parametrize("scoring", LOO)
def test_no_regularizer_among_the_alphas(scoring):
    X, y = make((30, 4))
    model = RigidRidgeCV([0.0, 1e-3], scoring=scoring).fit(X, y)
    assert_allclose(model.scores_[0], brute_scores(X, y, 0.0, scoring=scoring), rtol=1e-8)
    # Duplicate columns: the refits are of minimum norm.
    X = np.hstack([X, X[:, :2]])
    for rows in (slice(None), slice(11)):
        model = RigidRidgeCV([0.0, 1e-3], scoring=scoring).fit(X[rows], y[rows])
        expected = brute_scores(X[rows], y[rows], 0.0, scoring=scoring)
        assert_allclose(model.scores_[0], expected, rtol=1e-7)
    # An interpolating fit leaves nothing to score.
    X, y = make((5, 9))
    model = RigidRidgeCV([0.0, 1e-3], scoring=scoring).fit(X, y)
    assert model.scores_[0] == -np.inf
    assert_array_equal(model.n_excluded_per_alpha_, [5, 0])
    assert model.alpha_ == 1e-3


@pytest.mark.parametrize("shape", SHAPES)
def test_tiny_alphas_with_few_rows(shape):
    """Where ``1 - h`` by subtraction has no digit left."""
    X, y = make(shape)
    alphas = [1e-14, 1e-11]
    model = RigidRidgeCV(alphas).fit(X, y)
    for alpha, score in zip(alphas, model.scores_, strict=True):
        left = RigidRidge(alpha).fit(X, y).leave_one_out(X, y)
        assert_allclose(score, -np.mean(left.residual**2), rtol=1e-9)


# -- evidence ---------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("prior", ["none", "diagonal", "matrix"])
def test_evidence_is_the_marginal_likelihood(shape, fit_intercept, weighted, prior):
    X, y = make(shape)
    rng = np.random.default_rng(2)
    A = rng.standard_normal((shape[1], shape[1]))
    gamma = {"none": None, "diagonal": rng.uniform(0.5, 3, shape[1]), "matrix": A @ A.T}[prior]
    weight = rows_weights(shape[0], "real") if weighted else None
    model = RigidRidgeCV(
        ALPHAS,
        scoring="evidence",
        regularizer=gamma,
        fit_intercept=fit_intercept,
        weight_type="precision",
    ).fit(X, y, weight)
    explicit = np.diag(gamma) if prior == "diagonal" else gamma
    expected = [
        marginal_likelihood(X, y, a, weight, explicit, intercept=fit_intercept) for a in ALPHAS
    ]
    assert_allclose(model.scores_, expected, rtol=1e-8)
    assert model.alpha_ == ALPHAS[int(np.argmax(expected))]


def test_evidence_with_frequency_weights():
    X, y = make((12, 4))
    counts = np.arange(1, 13) % 4
    model = RigidRidgeCV(ALPHAS, scoring="evidence").fit(X, y, counts)
    X, y = np.repeat(X, counts, 0), np.repeat(y, counts)
    assert_allclose(model.scores_, [marginal_likelihood(X, y, a) for a in ALPHAS], rtol=1e-8)


@pytest.mark.parametrize("shape", [(40, 5), (11, 5)])
def test_evidence_with_an_unpenalized_column(shape):
    """A flat prior on a column: right up to a constant, which no alpha changes."""
    X, y = make(shape)
    model = RigidRidgeCV(ALPHAS, scoring="evidence", regularizer=[1, 1, 0, 1, 1]).fit(X, y)
    # By hand: contrasts that neither the intercept nor the column reaches.
    Q = np.linalg.svd(np.column_stack([np.ones(len(X)), X[:, 2]]))[0][:, 2:]
    penalized = Q.T @ X[:, [0, 1, 3, 4]]
    expected = [marginal_likelihood(penalized, Q.T @ y, a, intercept=False) for a in ALPHAS]
    assert_allclose(np.diff(model.scores_), np.diff(expected), rtol=1e-7)
    # A column of ones that is not penalized is an intercept.
    ones = np.column_stack([X, np.ones(len(X))])
    free = RigidRidgeCV(
        ALPHAS, scoring="evidence", regularizer=[1.0] * 5 + [0.0], fit_intercept=False
    ).fit(ones, y)
    usual = RigidRidgeCV(ALPHAS, scoring="evidence").fit(X, y)
    assert_allclose(np.diff(free.scores_), np.diff(usual.scores_), rtol=1e-8)


@pytest.mark.parametrize("shape", [(60, 5), (12, 7)])
def test_evidence_peaks_where_bayesian_ridge_does(shape):
    X, y = make(shape)
    X, y = X - X.mean(axis=0), y - y.mean()
    flat = {f"{a}_{k}": 0.0 for a in ("alpha", "lambda") for k in (1, 2)}
    theirs = BayesianRidge(
        fit_intercept=False, tol=1e-14, max_iter=100_000, compute_score=True, **flat
    ).fit(X, y)
    ratio = theirs.lambda_ / theirs.alpha_
    alphas = ratio * np.array([0.2, 0.99, 1.0, 1.01, 5.0])
    ours = RigidRidgeCV(alphas, scoring="evidence", fit_intercept=False).fit(X, y)
    assert_allclose(ours.alpha_, ratio, rtol=1e-12)
    assert_allclose(ours.best_score_, theirs.scores_[-1], rtol=1e-8)
    assert_allclose(ours.coef_, theirs.coef_, rtol=1e-6)
    # With an intercept: one degree of freedom, and n, as if its column were integrated out.
    with_intercept = RigidRidgeCV(alphas, scoring="evidence").fit(X, y)
    expected = [marginal_likelihood(X, y, a) for a in alphas]
    assert_allclose(with_intercept.scores_, expected, rtol=1e-8)


@pytest.mark.parametrize("scoring", SCORINGS)
def test_hardly_any_samples(scoring):
    """Nothing to choose by: the largest alpha, and no warning within a decade."""
    one = RigidRidgeCV([1.0, 2.0], scoring=scoring).fit([[1.0, 2.0]], [3.0])
    assert one.alpha_ == 2.0
    assert_allclose(one.predict([[5.0, 5.0]]), 3.0)
    X, y = make((6, 2))
    light = RigidRidgeCV([1.0, 2.0], scoring=scoring).fit(X, y, np.full(6, 0.01))
    assert not np.isnan(light.scores_).any()
    constant = RigidRidgeCV([1.0, 2.0], scoring=scoring).fit(X, np.ones(6))
    assert not np.isnan(constant.scores_).any()
    assert_allclose(constant.coef_, 0, atol=1e-14)


# -- groups -----------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("scoring", LOO)
@pytest.mark.parametrize("weights", ["none", "zeros", "real"])
@pytest.mark.parametrize("weight_type", ["frequency", "precision"])
def test_groups_equal_refits(shape, scoring, weights, weight_type):
    X, y = make(shape, 2)
    weight = rows_weights(shape[0], weights)
    groups = np.arange(shape[0]) // 2
    alphas = [0.1, 2.0]
    model = RigidRidgeCV(alphas, scoring=scoring, weight_type=weight_type)
    model.fit(X, y, weight, groups=groups)
    for alpha, score in zip(alphas, model.scores_, strict=True):
        expected = brute_scores(
            X,
            y,
            alpha,
            weight,
            scoring=scoring,
            precision=weight_type == "precision",
            groups=groups,
        )
        assert_allclose(score, expected, rtol=1e-7)
    assert_array_equal(model.n_excluded_per_alpha_, 0)


@pytest.mark.parametrize("scoring", LOO)
def test_groups_of_one_are_rows_and_lost_groups_are_counted(scoring):
    X, y = make((30, 4))
    by_group = RigidRidgeCV(ALPHAS, scoring=scoring).fit(X, y, groups=np.arange(30))
    assert_allclose(by_group.scores_, RigidRidgeCV(ALPHAS, scoring=scoring).fit(X, y).scores_)
    X[:, 3] = 0.0
    X[[4, 5], 3] = 1.0, 2.0
    groups = np.arange(30) // 2
    weight = np.where(np.arange(30) == 4, 0.0, 1.0)
    model = RigidRidgeCV([0.0, 0.1], scoring=scoring).fit(X, y, groups=groups)
    assert_array_equal(model.n_excluded_per_alpha_, [2, 0])
    assert np.isfinite(model.scores_).all()
    model = RigidRidgeCV([0.0, 0.1], scoring=scoring).fit(X, y, weight, groups=groups)
    assert_array_equal(model.n_excluded_per_alpha_, [1, 0])
    everything = RigidRidgeCV([0.5], scoring=scoring).fit(X, y, groups=np.zeros(30))
    assert everything.scores_[0] == -np.inf


# -- regularizers, input, the rest -------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("scoring", LOO)
@pytest.mark.parametrize("kind", ["diagonal", "zeros", "matrix", "singular"])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_regularizers(shape, scoring, kind, fit_intercept):
    X, y = make(shape)
    d = shape[1]
    rng = np.random.default_rng(4)
    A = rng.standard_normal((d, d))
    gamma = {
        "diagonal": rng.uniform(0.1, 3, d),
        "zeros": np.append(0.0, rng.uniform(0.1, 3, d - 1)),
        "matrix": A @ A.T,
        "singular": A[:, 1:] @ A[:, 1:].T,
    }[kind]
    parameters = {"regularizer": gamma, "fit_intercept": fit_intercept}
    alphas = [0.1, 2.0]
    model = RigidRidgeCV(alphas, scoring=scoring, **parameters).fit(X, y)
    for alpha, score in zip(alphas, model.scores_, strict=True):
        assert_allclose(
            score, brute_scores(X, y, alpha, scoring=scoring, **parameters)[0], rtol=1e-6
        )


@pytest.mark.parametrize("scoring", SCORINGS)
@pytest.mark.parametrize("aggregate", ["mean", "sum"])
def test_environments(scoring, aggregate):
    rng = np.random.default_rng(5)
    X = [rng.standard_normal((rng.integers(1, 6), 3)) for _ in range(25)]
    F = np.array([getattr(x, aggregate)(axis=0) for x in X])
    y = F @ np.ones(3) + 0.2 * rng.standard_normal(25)
    flat = RigidRidgeCV(scoring=scoring).fit(F, y)
    for data in (X, Environments.from_arrays(X)):
        model = RigidRidgeCV(scoring=scoring, aggregate=aggregate).fit(data, y)
        assert_allclose(model.alphas_, flat.alphas_)
        assert_allclose(model.scores_, flat.scores_, rtol=1e-8)
        assert_allclose(model.coef_, flat.coef_, rtol=1e-8)
        assert [len(R) for R in model.local_rigidity(data)] == [len(x) for x in X]
    if scoring != "evidence":
        model.fit(X, y, groups=np.arange(25) % 5)
        flat.fit(F, y, groups=np.arange(25) % 5)
        assert_allclose(model.scores_, flat.scores_, rtol=1e-8)


@pytest.mark.parametrize("scoring", SCORINGS)
@pytest.mark.parametrize("shape", [(40, 5), (9, 5)])
def test_sparse(scoring, shape):
    X, y = make(shape)
    X = np.where(X > 1, X, 0.0)
    dense, sparse = (RigidRidgeCV(ALPHAS, scoring=scoring).fit(A, y) for A in (X, sp.csr_matrix(X)))
    assert_allclose(sparse.scores_, dense.scores_, rtol=1e-10)
    assert_allclose(sparse.coef_, dense.coef_, rtol=1e-10)
    assert_allclose(
        RigidRidgeCV().fit(sp.csr_array(X), y).alphas_, RigidRidgeCV().fit(X, y).alphas_
    )


def test_many_blocks_of_rows():
    """More rows than one block holds, some of them of high leverage in any of them."""
    rng = np.random.default_rng(6)
    X = rng.standard_normal((30_000, 3))
    y = X @ np.ones(3) + rng.standard_normal(30_000)
    X[[0, 15_000, 29_999]] = 1e4 * np.eye(3)
    model = RigidRidgeCV([1e-2, 1e3]).fit(X, y)
    for alpha, score in zip(model.alphas_, model.scores_, strict=True):
        left = RigidRidge(alpha).fit(X, y).leave_one_out(X, y)
        assert_allclose(score, -np.mean(left.residual**2), rtol=1e-8)


def test_default_alphas():
    X, y = make((20, 3))
    model = RigidRidgeCV().fit(X, y)
    assert_allclose(model.alphas_, np.logspace(-10, 10, 21) * np.mean(X.var(axis=0)))
    scaled = RigidRidgeCV().fit(1e3 * X, y)
    assert_allclose(scaled.alpha_, 1e6 * model.alpha_)
    assert_allclose(scaled.scores_, model.scores_, rtol=1e-6)
    assert_allclose(RigidRidgeCV().fit(np.zeros((4, 2)), y[:4]).alphas_, np.logspace(-10, 10, 21))


@pytest.mark.parametrize("scoring", SCORINGS)
@pytest.mark.parametrize("per_target", [False, True])
@pytest.mark.parametrize("n_targets", [None, 1, 3])
@pytest.mark.parametrize("shape", [(40, 5), (9, 5)])
def test_is_rigid_ridge_at_the_chosen_alpha(scoring, per_target, n_targets, shape):
    X, y = make(shape, n_targets)
    weight = rows_weights(shape[0], "counts")
    cv = RigidRidgeCV(ALPHAS, scoring=scoring, alpha_per_target=per_target).fit(X, y, weight)
    model = RigidRidge(cv.alpha_).fit(X, y, weight)
    separate = per_target and n_targets is not None
    assert np.shape(cv.alpha_) == ((n_targets,) if separate else ())
    assert np.shape(cv.best_score_) == np.shape(cv.alpha_)
    assert cv.scores_.shape == ((4,) if n_targets is None else (4, n_targets))
    assert_array_equal(cv.alphas_, ALPHAS)
    assert cv.n_features_in_ == 5
    for name in ("coef_", "intercept_", "scale_", "noise_variance_", "effective_dof_"):
        ours, theirs = getattr(cv, name), getattr(model, name)
        assert np.shape(ours) == np.shape(theirs)
        assert_allclose(ours, theirs, rtol=1e-8)
    assert_allclose(cv.prediction_rigidity(X), model.prediction_rigidity(X), rtol=1e-8)
    for ours, theirs in zip(
        cv.predict(X, return_std=True), model.predict(X, return_std=True), strict=True
    ):
        assert_allclose(ours, theirs, rtol=1e-8)
    left, same = cv.leave_one_out(X, y, weight), model.leave_one_out(X, y, weight)
    assert_allclose(left.rigidity, same.rigidity, rtol=1e-8)
    if separate:
        for t, alpha in enumerate(cv.alpha_):
            alone = RigidRidgeCV(ALPHAS, scoring=scoring).fit(X, y[:, t], weight)
            assert alone.alpha_ == alpha
            assert_allclose(alone.scores_, cv.scores_[:, t], rtol=1e-9)


@pytest.mark.parametrize("solver", ["auto", "cholesky", "qr", "spectral"])
def test_solver_and_calibration_are_those_of_the_final_fit(solver):
    X, y = make((40, 5))
    model = RigidRidgeCV(ALPHAS, solver=solver, calibration="loo").fit(X, y)
    if solver != "auto":
        assert model.hessian_.info.method == ("qr" if solver == "qr" else solver)
    left = model.leave_one_out(X, y)
    assert_allclose(model.scale_, np.mean(left.residual**2 * left.rigidity), rtol=1e-8)
    assert model.noise_variance_ == 0
    plain = RigidRidgeCV(ALPHAS, calibration=None).fit(X, y)
    assert plain.scale_ == 1


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"alphas": []}, "alphas must be a non-empty"),
        ({"alphas": [-1.0, 1.0]}, "alphas must be a non-empty"),
        ({"alphas": [np.nan]}, "alphas must be a non-empty"),
        ({"alphas": [np.inf, 1.0]}, "alphas must be a non-empty"),
        ({"alphas": 1.0}, "alphas"),
        ({"alphas": [0.0, 1.0], "scoring": "evidence"}, "alphas must be positive"),
        ({"scoring": "no_such_score"}, "scoring"),
        ({"alpha_per_target": "yes"}, "alpha_per_target"),
        ({"regularizer": np.ones(3)}, "regularizer must have 5 entries"),
    ],
)
def test_bad_parameters(parameters, message):
    X, y = make((12, 5))
    with pytest.raises(ValueError, match=message):
        RigidRidgeCV(**parameters).fit(X, y)


def test_bad_groups():
    X, y = make((12, 5))
    with pytest.raises(ValueError, match="groups cannot be left out with scoring='evidence'"):
        RigidRidgeCV(scoring="evidence").fit(X, y, groups=np.arange(12))
    with pytest.raises(ValueError, match="inconsistent"):
        RigidRidgeCV().fit(X, y, groups=np.arange(11))


def test_in_scikit_learns_tools():
    X, y = make((60, 4))
    pipeline = make_pipeline(StandardScaler(), RigidRidgeCV(ALPHAS))
    search = GridSearchCV(pipeline, {"rigidridgecv__scoring": list(SCORINGS)}, cv=3).fit(X, y)
    assert set(search.cv_results_["param_rigidridgecv__scoring"]) == set(SCORINGS)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    best = search.best_estimator_[-1]
    assert best.alpha_ in ALPHAS
    assert search.score(X, y) > 0.5
    assert clone(best).get_params()["alphas"] == ALPHAS


# -- grids, ties, and scores that must not choose -----------------------------------------------


def test_default_grid_does_not_move_with_the_features():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((30, 3))
    y = X @ np.ones(3) + rng.standard_normal(30)
    a, b = RigidRidgeCV().fit(X, y), RigidRidgeCV().fit(X + 100.0, y)
    assert_allclose(b.alphas_, a.alphas_, rtol=1e-10)
    assert_allclose(b.prediction_rigidity(X + 100.0), a.prediction_rigidity(X), rtol=1e-8)


@pytest.mark.parametrize("alphas", [[10.0, 100.0, 1000.0], [10.0, 100.0], [100.0, 10.0]])
def test_edge_of_the_grid_is_told(alphas):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((30, 3))
    with pytest.warns(UserWarning, match="edge of the grid"):
        RigidRidgeCV(alphas).fit(X, X @ np.ones(3))


@pytest.mark.parametrize("alphas", [[10.0], [10.0, 10.0]])
def test_one_alpha_is_no_grid(alphas):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((30, 3))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert RigidRidgeCV(alphas).fit(X, X @ np.ones(3)).alpha_ == 10.0


def test_ties_go_to_the_larger_alpha():
    X = np.ones((6, 1))  # nothing but the intercept explains anything
    y = np.array([1.0, 2.0, 0.0, 1.0, 3.0, -1.0])
    with pytest.warns(UserWarning, match="do not tell"):
        model = RigidRidgeCV([1e-3, 1.0, 1e3]).fit(X, y)
    assert model.alpha_ == 1e3
