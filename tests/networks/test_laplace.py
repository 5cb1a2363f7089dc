"""laplace-torch, an independent implementation: its functional variances are 1 / R.

The bias is a parameter like the others, penalized like them, in its convention and in ours.
"""

import numpy as np
import pytest
from numpy.testing import assert_allclose

torch = pytest.importorskip("torch", reason='pip install "skrigidity[torch]"')
laplace = pytest.importorskip("laplace", reason="laplace-torch has an environment of its own")

from skrigidity import WithRigidity  # noqa: E402
from skrigidity.gradients import SoftmaxGradients  # noqa: E402
from skrigidity.hessian import Prior, choose  # noqa: E402
from skrigidity.last_layer import (  # noqa: E402
    GaussNewtonRigidity,
    LastLayerRigidity,
    TorchAdapter,
)


@pytest.fixture(autouse=True)
def double():
    """laplace-torch makes tensors of the default type."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def trained(n_outputs=1, width=8, loss=None):
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Linear(3, width),
        torch.nn.Tanh(),
        torch.nn.Linear(width, width),
        torch.nn.SiLU(),
        torch.nn.Linear(width, n_outputs),
    )
    X = torch.randn(120, 3)
    y = torch.stack([torch.sin(X).sum(dim=1), X[:, 0] * X[:, 1], X[:, 2] ** 2], dim=1)
    y = y[:, :n_outputs] + 0.05 * torch.randn(120, n_outputs)
    if loss is not None:
        y = y.argmax(dim=1)
    optimizer = torch.optim.Adam(network.parameters(), 0.01)
    for _ in range(100):
        optimizer.zero_grad()
        (loss or torch.nn.functional.mse_loss)(network(X), y).backward()
        optimizer.step()
    return network, X, y


def functional_variance(network, X, y, new, subset, precision, structure="full", **kwargs):
    """Their posterior variances of the outputs, (n_samples, n_outputs, n_outputs)."""
    kwargs = {"likelihood": "regression", "sigma_noise": 1.0} | kwargs
    found = laplace.Laplace(
        network,
        subset_of_weights=subset,
        hessian_structure=structure,
        prior_precision=precision,
        **kwargs,
    )
    data = torch.utils.data.TensorDataset(X, y)
    found.fit(torch.utils.data.DataLoader(data, batch_size=50))
    return found._glm_predictive_distribution(new)[1].detach().numpy()


@pytest.mark.parametrize("relative", [1e-6, 1e-4, 1e-1])
@pytest.mark.parametrize("n_outputs", [1, 3])
def test_last_layer(n_outputs, relative):
    network, X, y = trained(n_outputs)
    new = torch.randn(40, 3)
    model = LastLayerRigidity(network, alpha=relative).fit(X)
    variance = functional_variance(network, X, y, new, "last_layer", model.alpha_)
    R = model.prediction_rigidity(new)
    for output in range(n_outputs):
        assert_allclose(variance[:, output, output], 1 / R, rtol=1e-8)
    # Outputs have weights of their own.
    size = variance.max()
    assert_allclose(variance - np.eye(n_outputs) / R[:, None, None], 0, atol=1e-8 * size)


def test_last_layer_without_the_package_around_it():
    """The core and an adapter alone."""
    network, X, y = trained()
    new = torch.randn(40, 3)
    adapter = TorchAdapter(network)
    (train,), (test,) = ([adapter.latent(b) for b in adapter.batches(x, 500)] for x in (X, new))
    g, G = (np.column_stack([x.features.numpy(), np.ones(len(x.features))]) for x in (test, train))
    variance = functional_variance(network, X, y, new, "last_layer", 0.01)
    assert_allclose(choose(G, Prior(0.01)).quad(g), variance[:, 0, 0], rtol=1e-8)


@pytest.mark.parametrize("solver", ["exact", "cg"])
@pytest.mark.parametrize("relative", [1e-4, 1e-2])
@pytest.mark.parametrize("n_outputs", [1, 3])
def test_all_parameters(n_outputs, relative, solver):
    network, X, y = trained(n_outputs, width=5)
    new = torch.randn(40, 3)
    model = GaussNewtonRigidity(network, alpha=relative, solver=solver, tol=1e-7).fit(X)
    variance = functional_variance(network, X, y, new, "all", model.alpha_)
    R = model.prediction_rigidity(new).reshape(40, n_outputs)
    expected = np.diagonal(variance, axis1=1, axis2=2)
    assert_allclose(1 / R, expected, rtol=1e-8 if solver == "exact" else 1e-7)


def test_more_parameters_than_samples():
    network, X, y = trained(width=20)
    X, y, new = X[:30], y[:30], torch.randn(40, 3)
    model = GaussNewtonRigidity(network, alpha=1e-2).fit(X)
    assert model.n_parameters_ > 500
    assert model.hessian_.info.method == "spectral"
    variance = functional_variance(network, X, y, new, "all", model.alpha_)
    assert_allclose(1 / model.prediction_rigidity(new), variance[:, 0, 0], rtol=1e-8)


def test_classifier():
    """Of two logits or more, theirs are not centred: differences of logits are the same."""
    network, X, y = trained(3, loss=torch.nn.functional.cross_entropy)
    new = torch.randn(40, 3)
    alpha = 0.05
    variance = functional_variance(
        network, X, y, new, "last_layer", alpha, likelihood="classification", sigma_noise=1.0
    )
    adapter = TorchAdapter(network)
    (train,), (test,) = ([adapter.latent(b) for b in adapter.batches(x, 500)] for x in (X, new))
    G, g = (np.column_stack([x.features.numpy(), np.ones(len(x.features))]) for x in (train, test))
    weights = np.vstack(adapter.weights()).T
    gradients = SoftmaxGradients(weights, np.zeros(3), fit_intercept=False)
    H = gradients.factorize(gradients.training_rows(G, y.numpy(), np.ones(120)), alpha, None)
    centre = np.eye(3) - 1 / 3
    expected = np.einsum("ab,nbc,ca->na", centre, variance, centre)
    assert_allclose(H.quad(gradients.rows(g)).reshape(40, 3), expected, rtol=1e-8)


def test_multilayer_perceptron_of_sklearn():
    from sklearn.neural_network import MLPRegressor

    rng = np.random.default_rng(0)
    X, new = rng.standard_normal((100, 3)), rng.standard_normal((20, 3))
    y = np.sin(X).sum(axis=1)
    inner = MLPRegressor(hidden_layer_sizes=(6,), activation="tanh", random_state=0, max_iter=50)
    with pytest.warns(match="Maximum iterations"):
        model = WithRigidity(inner).fit(X, y)
    fitted = model.estimator_
    network = torch.nn.Sequential(torch.nn.Linear(3, 6), torch.nn.Tanh(), torch.nn.Linear(6, 1))
    with torch.no_grad():
        for layer, weight, bias in zip(
            network[::2], fitted.coefs_, fitted.intercepts_, strict=True
        ):
            layer.weight.copy_(torch.tensor(weight.T))
            layer.bias.copy_(torch.tensor(bias))
    data = torch.tensor(X), torch.tensor(y)[:, None]
    alpha = model.hessian_.prior.alpha
    variance = functional_variance(network, *data, torch.tensor(new), "last_layer", alpha)
    assert_allclose(1 / model.prediction_rigidity(new), variance[:, 0, 0], rtol=1e-8)
