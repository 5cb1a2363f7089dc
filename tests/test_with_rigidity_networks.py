"""WithRigidity around multi-layer perceptrons, against derivatives of their predictions."""

import pickle

import numpy as np
import objectives as obj
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose
from scipy.special import expit, softmax
from scipy.stats import spearmanr
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_iris
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import train_test_split
from sklearn.multioutput import MultiOutputClassifier
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks
from sklearn.utils.validation import has_fit_parameter

from skrigidity import Environments, WithRigidity, metrics
from skrigidity.with_rigidity import Curvature, curvature_of

WEIGHTED = has_fit_parameter(MLPRegressor(), "sample_weight")  # scikit-learn 1.7
POISSON = "loss" in MLPRegressor().get_params()  # the same
SMALL = {"hidden_layer_sizes": (7, 5), "solver": "lbfgs", "max_iter": 60, "random_state": 0}
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@parametrize_with_checks(
    [WithRigidity(network(random_state=0)) for network in (MLPRegressor, MLPClassifier)]
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore::UserWarning")
def test_check_estimator(estimator, check):
    check(estimator)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def data(rng):
    X = rng.standard_normal((80, 3))
    return X, np.sin(X[:, 0]) + X[:, 1] * X[:, 2] + 0.1 * rng.standard_normal(80)


def weighted(s):
    return {"sample_weight": s} if WEIGHTED else {}


def jacobian(network, X, output):
    """Derivatives of what enters the output's activation, by weights and biases of the last layer.

    By changing them: the network is run, not looked into.
    """
    network = pickle.loads(pickle.dumps(network))
    network.out_activation_ = "identity"
    weights, biases = network.coefs_[-1], network.intercepts_[-1]
    # Linear in these parameters: a difference of any size is the derivative.
    run = network._forward_pass_fast
    columns = []
    start = run(X)[:, output].copy()
    for parameter in [weights[i : i + 1, output] for i in range(len(weights))]:
        parameter += 1.0
        columns.append(run(X)[:, output] - start)
        parameter -= 1.0
    biases[output] += 1.0
    columns.append(run(X)[:, output] - start)
    biases[output] -= 1.0
    return np.column_stack(columns)


def expected_rigidity(H, g):
    """H from the data, with its relative regularizer."""
    alpha = 1e-4 * np.trace(H) / len(H)
    return 1 / np.einsum("ij,jk,ik->i", g, np.linalg.inv(H + alpha * np.eye(len(H))), g)


# -- rigidities are those of the last layer -----------------------------------------------------


@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
@pytest.mark.parametrize("n_outputs", [1, 3])
def test_regressor(data, rng, activation, n_outputs):
    X, y = data
    y = y if n_outputs == 1 else np.column_stack([y, y**2, X[:, 0]])
    s = rng.uniform(0.0, 2.0, 80) if WEIGHTED else np.ones(80)
    model = WithRigidity(MLPRegressor(activation=activation, **SMALL)).fit(X, y, **weighted(s))
    new = rng.standard_normal((20, 3))
    for output in range(n_outputs):
        G, g = (jacobian(model.estimator_, x, output) for x in (X, new))
        R = expected_rigidity((s[:, None] * G).T @ G, g)
        assert model.prediction_rigidity(new).shape == (20,)
        assert_allclose(model.prediction_rigidity(new), R, rtol=1e-6)
    # The rows give the predictions.
    assert_allclose(model._mean_and_quad(new)[0], model.predict(new), rtol=1e-10, atol=1e-12)


@pytest.mark.skipif(not POISSON, reason="scikit-learn < 1.7 knows the squared error alone")
def test_poisson(data, rng):
    X, y = data
    counts = rng.poisson(np.exp(y)).astype(float)
    model = WithRigidity(MLPRegressor(loss="poisson", **SMALL)).fit(X, counts)
    G = jacobian(model.estimator_, X, 0)
    mean = model.predict(X)
    R = expected_rigidity((mean[:, None] * G).T @ G, G)
    assert_allclose(model.prediction_rigidity(X), R, rtol=1e-6)
    model.calibrate(X, counts)
    _, std = model.predict(X, return_std=True)
    assert_allclose(std, mean * np.sqrt(model.scale_ / R), rtol=1e-6)
    with pytest.raises(ValueError, match="2 outputs"):
        WithRigidity(MLPRegressor(loss="poisson", **SMALL)).fit(X, np.column_stack([counts] * 2))


def test_binary_classifier(data, rng):
    X, y = data
    labels = np.where(y > 0, "yes", "no")
    s = rng.uniform(0.2, 2.0, 80) if WEIGHTED else np.ones(80)
    inner = MLPClassifier(alpha=1.0, **SMALL)
    model = WithRigidity(inner).fit(X, labels, **weighted(s))
    G = jacobian(model.estimator_, X, 0)
    network = model.estimator_
    theta = np.append(network.coefs_[-1][:, 0], network.intercepts_[-1])
    # The curvature of the likelihood by the last layer, without penalty.
    objective = obj.logistic(G[:, :-1], (labels == "yes").astype(float), s, np.inf)
    H = obj.hessian(objective, theta)
    R = expected_rigidity(H, G)
    assert model.prediction_rigidity(X).shape == (80,)
    assert_allclose(model.prediction_rigidity(X), R, rtol=1e-5)
    p = expit(G @ theta)
    assert_allclose(model.predict_proba(X)[:, 1], p, rtol=1e-8)
    std = p * (1 - p) / np.sqrt(R)
    assert_allclose(model.probability_std(X), np.column_stack([std, std]), rtol=1e-5)


def test_classifier_of_three(data, rng):
    X, y = data
    labels = np.digitize(y, [-0.5, 0.5])
    model = WithRigidity(MLPClassifier(alpha=1.0, **SMALL)).fit(X, labels)
    network = model.estimator_
    G = jacobian(network, X, 0)  # the same for all logits, of their own parameters
    W = np.vstack([network.coefs_[-1], network.intercepts_[-1]]).T
    p = softmax(G @ W.T, axis=1)
    assert_allclose(model.predict_proba(X), p, rtol=1e-8)
    full = obj.hessian(
        obj.multinomial(G, np.zeros(80, int), np.ones(80), np.inf, 3, False), W.ravel()
    )
    # The mean over classes is not pinned by the data: the others have two thirds of dimensions.
    alpha = 1e-4 * np.trace(full) / (2 * G.shape[1])
    inverse = np.linalg.inv(full + alpha * np.eye(len(full)))
    R, std = model.prediction_rigidity(X), model.probability_std(X)
    assert R.shape == std.shape == (80, 3)
    for k in range(3):
        e = np.eye(3)[k]
        centred = np.array([np.kron(e - 1 / 3, g) for g in G])
        assert_allclose(1 / R[:, k], np.einsum("ij,jk,ik->i", centred, inverse, centred), rtol=1e-5)
        slopes = np.array([np.kron(e - q, g) * q[k] for q, g in zip(p, G, strict=True)])
        assert_allclose(
            std[:, k] ** 2, np.einsum("ij,jk,ik->i", slopes, inverse, slopes), rtol=1e-5
        )


def test_without_hidden_layers_it_is_linear(data):
    X, y = data
    model = WithRigidity(MLPRegressor(**SMALL | {"hidden_layer_sizes": ()})).fit(X, y)
    G = np.column_stack([X, np.ones(80)])
    assert_allclose(model.prediction_rigidity(X), expected_rigidity(G.T @ G, G), rtol=1e-8)
    sparse = WithRigidity(FrozenEstimator(model.estimator_)).fit(sp.csr_matrix(X), y)
    assert_allclose(sparse.prediction_rigidity(sp.csr_matrix(X)), model.prediction_rigidity(X))


def test_strength_of_the_penalty(data):
    """Another one by registering a subclass; the estimator's own alpha is not that of H."""
    X, y = data

    class Firm(MLPRegressor):
        pass

    @curvature_of.register
    def _(estimator: Firm):
        known = curvature_of.dispatch(MLPRegressor)(estimator)
        return Curvature(known.gradients, 1e-2, "eigenvalue")

    usual = WithRigidity(MLPRegressor(alpha=10.0, **SMALL)).fit(X, y)
    firm = WithRigidity(Firm(alpha=10.0, **SMALL)).fit(X, y)
    G = jacobian(usual.estimator_, X, 0)
    unit = np.trace(G.T @ G) / G.shape[1]
    assert_allclose(usual.hessian_.prior.alpha, 1e-4 * unit)
    assert_allclose(firm.hessian_.prior.alpha, 1e-2 * unit)
    assert (firm.prediction_rigidity(X) > usual.prediction_rigidity(X)).all()


# -- how it is used ------------------------------------------------------------------------------


def test_error_bars_need_calibration(data, rng):
    X, y = data
    model = WithRigidity(MLPRegressor(**SMALL)).fit(X[:40], y[:40])
    assert (model.prediction_rigidity(X) > 0).all()
    for ask in (
        lambda: model.predict(X, return_std=True),
        lambda: model.predict(X, return_cov=True),
        lambda: model.sample_y(X),
    ):
        with pytest.raises(ValueError, match=r"residuals of a network say nothing.*calibrate\(\)"):
            ask()
    model.calibrate(X[40:], y[40:])
    R = model.prediction_rigidity(X)
    mean, std = model.predict(X, return_std=True)
    assert_allclose(mean, model.predict(X))
    scale = np.mean((y[40:] - mean[40:]) ** 2 * R[40:])
    assert_allclose(std, np.sqrt(scale / R), rtol=1e-8)
    draws = model.sample_y(X[:3], 5000, random_state=0)
    assert_allclose(draws.std(axis=1), std[:3], rtol=0.05)
    # Fitting again forgets the scale.
    with pytest.raises(ValueError, match="calibrate"):
        model.fit(X[:40], y[:40]).predict(X, return_std=True)


def test_several_targets_have_a_scale_each(data):
    X, y = data
    y = np.column_stack([y, 100 * y + X[:, 0]])
    model = WithRigidity(MLPRegressor(**SMALL)).fit(X[:50], y[:50]).calibrate(X[50:], y[50:])
    mean, std = model.predict(X, return_std=True)
    assert mean.shape == std.shape == (80, 2)
    assert model.scale_.shape == (2,)
    assert model.sample_y(X, 3, random_state=0).shape == (80, 2, 3)


def test_what_has_no_closed_form(data):
    X, y = data
    model = WithRigidity(MLPRegressor(**SMALL)).fit(X, y)
    with pytest.raises(TypeError, match="layers before, which were fitted"):
        model.leave_one_out(X, y)
    for ask in (
        lambda: model.local_rigidity(X),
        lambda: model.predict_local(X),
        lambda: model.rigidity_with(X, X, level="local"),
        lambda: model.component_rigidity(X, [1, 2]),
        lambda: model.predict_components(X, [1, 2]),
    ):
        with pytest.raises(TypeError, match=r"MLPRegressor is not linear.*LastLayerRigidity"):
            ask()
    with pytest.raises(NotFittedError):
        WithRigidity(MLPRegressor()).prediction_rigidity(X)


@pytest.mark.parametrize("aggregate", ["mean", "sum"])
def test_structures_are_rows_of_their_aggregates(rng, aggregate):
    X = [rng.standard_normal((rng.integers(1, 4), 3)) for _ in range(60)]
    rows = Environments.from_arrays(X).aggregate(aggregate)
    y = np.tanh(rows).sum(axis=1)
    model = WithRigidity(MLPRegressor(**SMALL), aggregate=aggregate).fit(X, y)
    plain = WithRigidity(MLPRegressor(**SMALL)).fit(rows, y)
    assert_allclose(model.predict(X), plain.predict(rows))
    assert_allclose(model.prediction_rigidity(X), plain.prediction_rigidity(rows))
    with pytest.raises(TypeError, match="environments"):
        model.local_rigidity(X)


def test_several_labels_are_refused(data):
    X, y = data
    labels = np.column_stack([y > 0, y > 0.5]).astype(int)
    with pytest.raises(ValueError, match="MultiOutputClassifier"):
        WithRigidity(MLPClassifier(**SMALL)).fit(X, labels)
    each = MultiOutputClassifier(WithRigidity(MLPClassifier(**SMALL))).fit(X, labels)
    assert all((model.prediction_rigidity(X) > 0).all() for model in each.estimators_)


def test_output_that_is_not_known(data):
    X, y = data
    network = MLPRegressor(**SMALL).fit(X, y)
    network.out_activation_ = "tanh"
    with pytest.raises(ValueError, match="'tanh'"):
        WithRigidity(FrozenEstimator(network)).fit(X, y)


@pytest.mark.parametrize("network", [MLPRegressor(**SMALL), MLPClassifier(**SMALL)])
def test_frozen_pickled_cloned_sparse(data, network):
    X, y = data
    y = y if isinstance(network, MLPRegressor) else (y > 0).astype(int)
    model = WithRigidity(network).fit(X, y)
    R = model.prediction_rigidity(X)
    frozen = WithRigidity(FrozenEstimator(model.estimator_)).fit(X, y)
    assert frozen.estimator_.estimator is model.estimator_
    for same in (frozen, pickle.loads(pickle.dumps(model)), clone(model).fit(X, y)):
        assert_allclose(same.prediction_rigidity(X), R, rtol=1e-10)
    assert_allclose(frozen.fit(sp.csr_matrix(X), y).prediction_rigidity(sp.csr_array(X)), R)
    single = WithRigidity(clone(network)).fit(X.astype(np.float32), y)
    assert single.prediction_rigidity(X.astype(np.float32)).dtype == np.float64


def test_units_that_are_never_active(data):
    X, y = data
    network = MLPRegressor(**SMALL).fit(X, y)
    network.coefs_[1][:, :3] = 0.0
    network.intercepts_[1][:3] = -1.0
    model = WithRigidity(FrozenEstimator(network)).fit(X, y)
    R = model.prediction_rigidity(X)
    assert np.isfinite(R).all()
    assert (R > 0).all()


# -- bundled data --------------------------------------------------------------------------------


def test_errors_of_a_regressor():
    """What is far from the data is pinned less."""
    X, y = load_diabetes(return_X_y=True)
    far = np.abs(StandardScaler().fit_transform(X)).max(axis=1) > 2.2
    X_fit, X_new, y_fit, y_new = train_test_split(X[~far], y[~far], random_state=0)
    network = MLPRegressor(
        hidden_layer_sizes=(30,), alpha=1.0, solver="lbfgs", max_iter=300, random_state=0
    )
    model = make_pipeline(StandardScaler(), WithRigidity(network)).fit(X_fit, y_fit)
    R = metrics.prediction_rigidity(model, X_new)
    assert np.median(metrics.prediction_rigidity(model, X[far])) < np.median(R) / 2
    scaled = model[:-1].transform(X_new)
    model[-1].calibrate(scaled, y_new)
    std = metrics.prediction_std(model, X[far])
    assert np.median(std) > np.median(metrics.prediction_std(model, X_new))


def test_probabilities_of_a_classifier():
    """Networks of bootstrapped data disagree where the last layer says that they may."""
    X, y = load_iris(return_X_y=True)
    X_fit, X_new, y_fit, _ = train_test_split(X, y, random_state=0, test_size=0.4)
    inner = MLPClassifier(
        hidden_layer_sizes=(10,), alpha=0.1, solver="lbfgs", max_iter=300, random_state=0
    )
    model = make_pipeline(StandardScaler(), WithRigidity(inner)).fit(X_fit, y_fit)
    std = metrics.probability_std(model, X_new)
    assert std.shape == (60, 3)
    bootstrap = []
    for seed in range(10):
        draw = np.random.default_rng(seed).integers(0, len(X_fit), len(X_fit))
        other = make_pipeline(StandardScaler(), clone(inner).set_params(random_state=seed))
        bootstrap.append(other.fit(X_fit[draw], y_fit[draw]).predict_proba(X_new))
    spread = np.std(bootstrap, axis=0)
    assert spearmanr(spread.ravel(), std.ravel())[0] > 0.5
