"""Networks of skorch: with a likelihood in WithRigidity, and by LastLayerRigidity."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skrigidity import WithRigidity, metrics

torch = pytest.importorskip("torch", reason='pip install "skrigidity[torch]"')
skorch = pytest.importorskip("skorch", reason='pip install "skrigidity[skorch]"')

from skorch import NeuralNet, NeuralNetClassifier, NeuralNetRegressor  # noqa: E402
from skorch.classifier import NeuralNetBinaryClassifier  # noqa: E402

from skrigidity.last_layer import LastLayerRigidity, SkorchAdapter, adapter_of  # noqa: E402

WIDTH = 6


class Network(torch.nn.Module):
    """Its readout is defined first: layers are called in another order than that of names."""

    def __init__(self, n_outputs=1, final=None, bias=True, squeeze=False):
        super().__init__()
        self.readout = torch.nn.Linear(WIDTH, n_outputs, bias=bias)
        self.hidden = torch.nn.Linear(3, WIDTH)
        self.dropout = torch.nn.Dropout(0.5)
        self.final, self.squeeze = final, squeeze

    def forward(self, x):
        y = self.readout(self.dropout(torch.tanh(self.hidden(x))))
        if self.final is not None:
            y = self.final(y)
        return y[:, 0] if self.squeeze else y


class Twice(torch.nn.Module):
    """The output is no linear layer's."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(3, 1)

    def forward(self, x):
        return torch.exp(self.layer(x))


def softmax(y):
    return torch.softmax(y, dim=-1)


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((90, 3)).astype(np.float32)
    return X, np.sin(X).sum(axis=1).astype(np.float32)


def settings(**module):
    torch.manual_seed(0)
    known = {"verbose": 0, "max_epochs": 3, "train_split": None, "lr": 0.05}
    return known | {f"module__{name}": value for name, value in module.items()}


def regressor(**module):
    return NeuralNetRegressor(Network, **settings(**module))


def hidden(net, X, bias=True):
    with torch.no_grad():
        phi = torch.tanh(net.module_.hidden(torch.as_tensor(X))).double().numpy()
    return np.column_stack([phi, np.ones(len(phi))]) if bias else phi


def weights(net):
    readout = net.module_.readout
    return torch.cat([readout.weight, readout.bias[:, None]], dim=1).detach().double().numpy()


def quad(H, g):
    """H from the data, with its relative regularizer."""
    H = H + 1e-4 * np.trace(H) / len(H) * np.eye(len(H))
    return np.einsum("ij,jk,ik->i", g, np.linalg.inv(H), g)


# -- WithRigidity ----------------------------------------------------------------------------------


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("n_outputs", "squeeze", "shape"), [(1, True, ()), (1, False, (1,)), (2, False, (2,))]
)
def test_regressor(data, n_outputs, squeeze, shape, bias):
    X, y = data
    y = y if squeeze else np.column_stack([y, y**2])[:, :n_outputs]
    net = regressor(n_outputs=n_outputs, squeeze=squeeze, bias=bias)
    model = WithRigidity(net).fit(X[:60], y[:60])
    G = hidden(model.estimator_, X, bias)
    q = quad(G[:60].T @ G[:60], G)
    assert_allclose(model.prediction_rigidity(X), 1 / q, rtol=1e-6)
    assert not hasattr(model, "probability_std")
    with pytest.raises(ValueError, match="calibrate"):
        model.predict(X, return_std=True)
    model.calibrate(X[60:], y[60:])
    mean, std = model.predict(X, return_std=True)
    assert mean.shape == std.shape == (90, *shape)
    assert_allclose(mean, model.estimator_.predict(X), atol=1e-5)
    assert_allclose(std.reshape(90, -1)[:, 0] ** 2, np.ravel(model.scale_)[0] * q, rtol=1e-5)
    assert model.sample_y(X[:5], 3, random_state=0).shape == (5, *shape, 3)
    assert (model.rigidity_with(X, X[:5]) >= model.prediction_rigidity(X)).all()
    with pytest.raises(TypeError, match="layers before"):
        model.leave_one_out(X[:60], y[:60])
    with pytest.raises(TypeError, match="environments"):
        model.local_rigidity(X)


@pytest.mark.parametrize("loss", [torch.nn.NLLLoss, torch.nn.CrossEntropyLoss])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_classifier(data, loss, n_classes):
    X, y = data
    labels = np.digitize(y, [-0.3, 0.3][: n_classes - 1]).astype(np.int64)
    final = softmax if loss is torch.nn.NLLLoss else None
    module = settings(n_outputs=n_classes, final=final)
    model = WithRigidity(NeuralNetClassifier(Network, criterion=loss, **module)).fit(X, labels)
    net = model.estimator_
    G, p = hidden(net, X), model.predict_proba(X).astype(float)
    H = sum(np.kron(np.diag(q) - np.outer(q, q), np.outer(g, g)) for q, g in zip(p, G, strict=True))
    # The common logit is not pinned by the data, and not counted.
    H = H + 1e-4 * np.trace(H) / len(H) * n_classes / (n_classes - 1) * np.eye(len(H))
    R, std = model.prediction_rigidity(X), model.probability_std(X)
    assert R.shape == std.shape == (90, n_classes)
    for k in range(n_classes):
        e = np.eye(n_classes)[k]
        centred = np.array([np.kron(e - 1 / n_classes, g) for g in G])
        slopes = np.array([np.kron(e - q, g) * q[k] for q, g in zip(p, G, strict=True)])
        for rows, q in ((centred, 1 / R[:, k]), (slopes, std[:, k] ** 2)):
            expected = np.einsum("ij,ij->i", rows, np.linalg.solve(H, rows.T).T)
            assert_allclose(q, expected, rtol=1e-5)
    with pytest.raises(ValueError, match="probability_std"):
        model.predict(X, return_std=True)


@pytest.mark.parametrize("squeeze", [True, False])
@pytest.mark.parametrize("loss", [torch.nn.BCEWithLogitsLoss, torch.nn.BCELoss])
def test_binary_classifier(data, loss, squeeze):
    X, y = data
    labels = (y > 0).astype(np.float32)
    final = torch.sigmoid if loss is torch.nn.BCELoss else None
    module = settings(final=final, squeeze=squeeze)
    net = NeuralNetBinaryClassifier(Network, criterion=loss, **module)
    model = WithRigidity(net).fit(X, labels)
    G = hidden(model.estimator_, X)
    p = 1 / (1 + np.exp(-G @ weights(model.estimator_)[0]))
    q = quad((G.T * p * (1 - p)) @ G, G)
    assert_allclose(model.prediction_rigidity(X), 1 / q, rtol=1e-5)
    assert_allclose(model.probability_std(X)[:, 1], p * (1 - p) * np.sqrt(q), rtol=1e-5)


def test_weights_of_classes(data):
    X, y = data
    labels = np.digitize(y, [-0.3, 0.3]).astype(np.int64)
    module = settings(n_outputs=3)
    of_class = torch.tensor([1.0, 5.0, 0.5])
    net = NeuralNetClassifier(
        Network, criterion=torch.nn.CrossEntropyLoss, criterion__weight=of_class, **module
    )
    weighted = WithRigidity(net).fit(X, labels)
    gradients = weighted.gradients_
    assert_allclose(gradients.weights(labels, np.ones(90)), of_class.numpy()[labels])
    binary = NeuralNetBinaryClassifier(
        Network, criterion__pos_weight=torch.tensor(3.0), **settings()
    )
    gradients = WithRigidity(binary).fit(X, (y > 0).astype(np.float32)).gradients_
    assert_allclose(gradients.weights(np.array([0, 1]), np.ones(2)), [1.0, 3.0])


def test_frozen_pickled_cloned(data):
    X, y = data
    model = WithRigidity(regressor(squeeze=True)).fit(X, y)
    R = model.prediction_rigidity(X)
    frozen = WithRigidity(FrozenEstimator(model.estimator_)).fit(X, y)
    assert frozen.estimator_.estimator is model.estimator_
    for same in (frozen, pickle.loads(pickle.dumps(model))):
        assert_allclose(same.prediction_rigidity(X), R, rtol=1e-6)
    assert not hasattr(clone(model), "estimator_")
    # Batches and networks in double precision.
    small = WithRigidity(FrozenEstimator(model.estimator_.set_params(batch_size=-1))).fit(X, y)
    assert_allclose(small.prediction_rigidity(X), R, rtol=1e-6)
    model.estimator_.module_.double()
    double = WithRigidity(FrozenEstimator(model.estimator_)).fit(X.astype(float), y.astype(float))
    assert_allclose(double.prediction_rigidity(X.astype(float)), R, rtol=1e-4)


def test_in_pipelines_and_searches(data):
    X, y = data
    pipe = make_pipeline(StandardScaler(), WithRigidity(regressor(squeeze=True))).fit(X, y)
    assert metrics.prediction_rigidity(pipe, X).shape == (90,)
    search = GridSearchCV(WithRigidity(regressor(squeeze=True)), {"estimator__lr": [0.01, 0.1]})
    assert search.fit(X, y).best_estimator_.prediction_rigidity(X).shape == (90,)


@pytest.mark.parametrize(
    ("net", "error", "message"),
    [
        (lambda: NeuralNetRegressor(Network, criterion=torch.nn.L1Loss), ValueError, "L1Loss"),
        (lambda: NeuralNetRegressor(Twice), ValueError, "not that of a linear layer"),
        (lambda: NeuralNet(Network, criterion=torch.nn.MSELoss), TypeError, "NeuralNet"),
    ],
    ids=["loss", "readout", "neither regressor nor classifier"],
)
def test_refused(data, net, error, message):
    X, y = data
    net = net().set_params(verbose=0, max_epochs=1, train_split=None)
    with pytest.raises(error, match=message):
        WithRigidity(net).fit(X, y[:, None])


# -- LastLayerRigidity ----------------------------------------------------------------------------


@pytest.mark.parametrize("squeeze", [True, False])
def test_last_layer(data, squeeze):
    X, y = data
    y = y if squeeze else y[:, None]
    net = regressor(squeeze=squeeze).fit(X[:60], y[:60])
    model = LastLayerRigidity(net).fit(X[:60])
    assert isinstance(model.adapter_, SkorchAdapter)
    assert model.adapter_.layers == ("readout",)
    own = WithRigidity(FrozenEstimator(net)).fit(X[:60], y[:60])
    assert_allclose(model.prediction_rigidity(X), own.prediction_rigidity(X), rtol=1e-6)
    assert_allclose(model.predict(X), net.predict(X).ravel(), atol=1e-5)
    _, std = model.calibrate(X[60:], y[60:].ravel()).predict(X, return_std=True)
    _, same = own.calibrate(X[60:], y[60:]).predict(X, return_std=True)
    assert_allclose(std, same.ravel(), rtol=1e-5)


def test_last_layer_refit(data):
    X, y = data
    net = regressor(squeeze=True).fit(X, y)
    model = LastLayerRigidity(net, refit=True, readout=["readout", "hidden"]).fit(X, y)
    assert model.n_features_in_ == WIDTH + 3
    assert np.mean((model.predict(X) - y) ** 2) < np.mean((net.predict(X) - y) ** 2)


def test_data_of_skorch(data):
    X, y = data

    class Named(Network):
        def forward(self, x, shift):
            return super().forward(x) + 0 * shift

    net = NeuralNetRegressor(Named, **settings()).fit(
        {"x": X, "shift": np.zeros((90, 1), np.float32)}, y[:, None]
    )
    inputs = {"x": X, "shift": np.zeros((90, 1), np.float32)}
    model = LastLayerRigidity(net).fit(inputs)
    assert_allclose(model.predict(inputs), net.predict(inputs)[:, 0], atol=1e-5)
    with pytest.raises(ValueError, match="labels are needed"):
        LastLayerRigidity(net, refit=True).fit(inputs)
    labelled = net.get_dataset(inputs, y[:, None])
    refitted = LastLayerRigidity(net, refit=True).fit(labelled)
    same = LastLayerRigidity(net, refit=True).fit(inputs, y)
    assert_allclose(refitted.predict(inputs), same.predict(inputs))


def test_what_the_last_layer_refuses(data):
    X, y = data
    with pytest.raises(ValueError, match="fit it first"):
        adapter_of(regressor())
    labels = (y > 0).astype(np.int64)
    net = NeuralNetClassifier(Network, **settings(n_outputs=2, final=softmax)).fit(X, labels)
    with pytest.raises(TypeError, match="WithRigidity"):
        LastLayerRigidity(net).fit(X)
    with pytest.raises(ValueError, match="'readout'"):
        LastLayerRigidity(regressor().fit(X, y[:, None]), readout="other").fit(X)
