"""Last layers of any network in torch: H, refits, error bars, files, and what is refused."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from skrigidity import RigidRidge
from skrigidity.gradients import LatentSamples, Species
from skrigidity.hessian import Prior, choose

torch = pytest.importorskip("torch")

from skrigidity.last_layer import (  # noqa: E402
    LastLayerRigidity,
    TorchAdapter,
    _model,
    adapter_of,
)
from skrigidity.last_layer._device import reduced_rows  # noqa: E402

WIDTH = 12


def mlp(n_outputs=1, *, bias=True, dtype=torch.float64, seed=0):
    torch.manual_seed(seed)
    hidden, last = torch.nn.Linear(3, WIDTH), torch.nn.Linear(WIDTH, n_outputs, bias=bias)
    return torch.nn.Sequential(hidden, torch.nn.Tanh(), last).to(dtype)


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((120, 3))
    return X, np.sin(X).sum(axis=1) + 0.05 * rng.standard_normal(120)


def hidden(network, X):
    with torch.no_grad():
        return network[1](network[0](torch.as_tensor(X))).numpy()


def with_bias(phi):
    return np.column_stack([phi, np.ones(len(phi))])


# -- H and rigidities ---------------------------------------------------------------------------


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("batch_size", [7, 1000])
def test_rigidities_are_those_of_the_hidden_features(data, bias, batch_size):
    X, _ = data
    network = mlp()
    model = LastLayerRigidity(network, bias=bias, batch_size=batch_size).fit(X[:80])
    g = with_bias(hidden(network, X)) if bias else hidden(network, X)
    H = g[:80].T @ g[:80]
    alpha = 1e-4 * np.trace(H) / len(H)
    q = np.einsum("ij,jk,ik->i", g, np.linalg.inv(H + alpha * np.eye(len(H))), g)
    np.testing.assert_allclose(model.prediction_rigidity(X), 1 / q, rtol=1e-9)
    np.testing.assert_allclose(model.alpha_, alpha, rtol=1e-12)
    with torch.no_grad():
        np.testing.assert_allclose(model.predict(X), network(torch.tensor(X)).numpy()[:, 0])
    assert "default" in model.info_.alpha


def test_weights_of_samples_repeat_them(data):
    X, _ = data
    weight = np.array([2.0, 0.0, 1.0] * 40)
    repeated = np.repeat(X, weight.astype(int), axis=0)
    given = LastLayerRigidity(mlp()).fit(X, sample_weight=weight)
    np.testing.assert_allclose(
        given.prediction_rigidity(X), LastLayerRigidity(mlp()).fit(repeated).prediction_rigidity(X)
    )


def test_triangle_on_a_device_is_that_of_the_rows(data):
    X, _ = data
    network, weight = mlp(), np.linspace(0.5, 2.0, 120)
    adapter = adapter_of(network)
    for n in (5, 120):
        rows = reduced_rows(
            adapter, adapter.check(X[:n]), 50, bias=True, reduce="sum", weight=weight[:n]
        )
        g = with_bias(hidden(network, X[:n])) * np.sqrt(weight[:n, None])
        assert len(rows) == min(n, WIDTH + 1)
        np.testing.assert_allclose(rows.matrix.T @ rows.matrix, g.T @ g, atol=1e-10)


@pytest.mark.parametrize("n", [5, 120])
@pytest.mark.parametrize("bias", [False, True])
def test_fit_on_a_device_is_that_on_the_host(data, monkeypatch, n, bias):
    X, weight = data[0][:n], np.linspace(0.5, 2.0, n)
    model = LastLayerRigidity(mlp(), bias=bias, alpha=1e-3, batch_size=7)
    expected = model.fit(X, sample_weight=weight).prediction_rigidity(data[0])
    alpha = model.alpha_
    asked = []
    monkeypatch.setattr(_model, "on_device", lambda adapter: asked.append(adapter) or True)
    model.fit(X, sample_weight=weight)
    assert asked == [model.adapter_]
    np.testing.assert_allclose(model.alpha_, alpha, rtol=1e-12)
    np.testing.assert_allclose(model.prediction_rigidity(data[0]), expected, rtol=1e-9)


def test_network_of_float32_has_no_negative_variances(data):
    """Features that differ by orders of magnitude: the Gram matrix in float32 would be singular."""
    X, _ = data
    network = mlp(dtype=torch.float32)
    with torch.no_grad():
        network[0].weight *= torch.logspace(0, -7, WIDTH)[:, None]
        network[0].bias *= torch.logspace(0, -7, WIDTH)
    R = LastLayerRigidity(network, alpha=1e-10).fit(X).prediction_rigidity(X)
    exact = LastLayerRigidity(network.double(), alpha=1e-10).fit(X).prediction_rigidity(X)
    assert (R > 0).all()
    np.testing.assert_allclose(R, exact, rtol=0.05)


def test_several_outputs_share_one_hessian(data):
    X, y = data
    network, Y = mlp(2), np.column_stack([y, y**2])
    model = LastLayerRigidity(network).fit(X).calibrate(X, Y)
    mean, std = model.predict(X, return_std=True)
    assert mean.shape == std.shape == (120, 2)
    assert model.prediction_rigidity(X).shape == (120,)
    np.testing.assert_allclose(
        model.scale_, ((Y - mean) ** 2 * model.prediction_rigidity(X)[:, None]).mean(0)
    )
    assert model.draws(3).shape == (3, WIDTH + 1, 2)
    with torch.no_grad():
        np.testing.assert_allclose(mean, network(torch.tensor(X)).numpy())


# -- sums over units ------------------------------------------------------------------------------


class Sums(torch.nn.Module):
    """A readout per unit, summed; twice as many units as samples have columns."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.hidden, self.last = torch.nn.Linear(1, 5), torch.nn.Linear(5, 1)
        self.double()

    def forward(self, x):
        return self.last(torch.tanh(self.hidden(x[:, :, None]))).sum(dim=(1, 2))


@pytest.mark.parametrize("reduce", ["sum", "per_atom"])
def test_sums_over_units(data, reduce):
    X, _ = data
    network = Sums()
    model = LastLayerRigidity(network, reduce=reduce).fit(X)
    with torch.no_grad():
        units = torch.tanh(network.hidden(torch.tensor(X)[:, :, None])).numpy()
        output = network(torch.tensor(X)).numpy()
    share = 1.0 if reduce == "sum" else 1 / 3
    np.testing.assert_allclose(model.predict(X), share * output, rtol=1e-10)
    g = share * np.column_stack([units.sum(axis=1), np.full(len(X), 3.0)])
    factor = choose(g, Prior(model.alpha_))
    np.testing.assert_allclose(model.prediction_rigidity(X), 1 / factor.quad(g), rtol=1e-9)
    local = model.local_rigidity(X[:2])
    assert [len(part) for part in local] == [3, 3]
    np.testing.assert_allclose(local[1], 1 / factor.quad(with_bias(units[1])), rtol=1e-9)
    total = np.array([part.sum() for part in model.predict_local(X)])
    np.testing.assert_allclose(share * total, model.predict(X), rtol=1e-10)


class TwoKinds(TorchAdapter):
    """Units 0 and 2 are hydrogen, unit 1 is oxygen."""

    def latent(self, batch, *, derivatives=False):
        latent = super().latent(batch)
        latent.species = torch.tensor([1, 8, 1]).repeat(len(latent.output))
        return latent


def test_components_by_species(data):
    X, _ = data
    model = LastLayerRigidity(TwoKinds(Sums())).fit(X)
    assert model.gradients_.components == {"H": Species((1,)), "O": Species((8,))}
    parts = model.predict_components(X)
    np.testing.assert_allclose(parts.sum(axis=1), model.predict(X), rtol=1e-10)
    local = np.array(model.predict_local(X))
    np.testing.assert_allclose(parts[:, 1], local[:, 1], rtol=1e-10)
    R = model.component_rigidity(X, ["O"])
    np.testing.assert_allclose(R[:, 0], np.array(model.local_rigidity(X))[:, 1], rtol=1e-10)
    columns = model.component_rigidity(X, {"bias": [5], "features": range(5)})
    assert columns.shape == (120, 2)


# -- refits ---------------------------------------------------------------------------------------


def test_refit_is_ridge_regression_on_the_features(data):
    X, y = data
    network = mlp()
    model = LastLayerRigidity(network, refit=True, alpha=1e-3).fit(X, y)
    g = with_bias(hidden(network, X))
    ridge = RigidRidge(model.alpha_, fit_intercept=False, calibration="loo").fit(g, y)
    for mine, other in zip(model.predict(X, True), ridge.predict(g, True), strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-8)
    mine, other = model.leave_one_out(X, y), ridge.leave_one_out(g, y)
    np.testing.assert_allclose(mine.residual, other.residual, rtol=1e-7)
    np.testing.assert_allclose(mine.rigidity, other.rigidity, rtol=1e-7)
    np.testing.assert_allclose(model.effective_dof_, ridge.effective_dof_, rtol=1e-9)
    cov = model.predict(X[:3], return_cov=True)[1]
    np.testing.assert_allclose(np.sqrt(np.diag(cov)), model.predict(X[:3], True)[1], rtol=1e-9)


def test_refit_leaves_the_network_as_it_is(data):
    X, y = data
    network = mlp().train()
    before = {k: v.clone() for k, v in network.state_dict().items()}
    LastLayerRigidity(network, refit=True).fit(X, y).predict(X, return_std=True)
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())
    assert all(layer.training for layer in network.modules())
    assert not any(layer._forward_pre_hooks for layer in network.modules())


def test_several_layers_together(data):
    X, y = data
    network = mlp()
    model = LastLayerRigidity(network, readout=["0", "2"], refit=True, alpha=1e-6).fit(X, y)
    g = np.column_stack([X, hidden(network, X), np.ones(len(X))])
    ridge = RigidRidge(model.alpha_, fit_intercept=False).fit(g, y)
    np.testing.assert_allclose(model.predict(X), ridge.predict(g), rtol=1e-7)
    assert model.info_.layers == ("0", "2")


@pytest.mark.parametrize("how", ["loo", "evidence"])
def test_alpha_is_the_best_of_the_grid(data, how):
    X, _ = data
    rng, network = np.random.default_rng(1), mlp()
    y = hidden(network, X) @ rng.standard_normal(WIDTH) + 0.1 * rng.standard_normal(len(X))
    found = LastLayerRigidity(network, refit=True, alpha=how).fit(X, y)
    assert 1e-10 < found.relative_alpha_ < 1e-2
    assert how in found.info_.alpha
    g, n = with_bias(hidden(network, X)), len(X)
    scores = []
    for relative in 10.0 ** np.arange(-10, -1):
        alpha = relative * np.einsum("ij,ij->", g, g) / g.shape[1]
        H = g.T @ g + alpha * np.eye(g.shape[1])
        w = np.linalg.solve(H, g.T @ y)
        if how == "loo":
            leverage = np.einsum("ij,ij->i", g @ np.linalg.inv(H), g)
            scores.append((((y - g @ w) / (1 - leverage)) ** 2).sum())
        else:
            loss = ((y - g @ w) ** 2).sum() + alpha * w @ w
            logs = np.linalg.slogdet(H)[1] - len(w) * np.log(alpha)
            scores.append(n * np.log(loss) + logs)
    best = 10.0 ** (np.argmin(scores) - 10)
    np.testing.assert_allclose(found.relative_alpha_, best, rtol=1e-9)


def test_alpha_by_validation_has_the_best_likelihood(data):
    X, y = data
    given = [LastLayerRigidity(mlp(), alpha=a).fit(X[:60]) for a in (1e-6, 1e-4, 1e-2)]
    model = LastLayerRigidity(mlp(), alpha="validation").fit(X[:60])
    y = mlp()(torch.tensor(X)).detach().numpy()[:, 0]
    y = y + np.random.default_rng(0).standard_normal(120) / np.sqrt(given[1].prediction_rigidity(X))
    model.calibrate(X[60:], y[60:])

    def nll(m):
        mean, std = m.calibrate(X[60:], y[60:]).predict(X[60:], return_std=True)
        return (np.log(std) + 0.5 * ((y[60:] - mean) / std) ** 2).mean()

    assert 1e-6 < model.relative_alpha_ < 1e-1
    assert "validation" in model.info_.alpha
    mean, std = model.predict(X[60:], return_std=True)
    own = (np.log(std) + 0.5 * ((y[60:] - mean) / std) ** 2).mean()
    assert own <= min(map(nll, given)) + 1e-12


def test_groups_are_left_out_together(data):
    X, y = data
    X, y, groups = np.repeat(X[:40], 3, axis=0), np.repeat(y[:40], 3), np.repeat(np.arange(40), 3)
    model = LastLayerRigidity(mlp(), refit=True, alpha=1e-4)
    alone = model.fit(X, y).scale_
    together = model.fit(X, y, groups=groups)
    left = together.leave_one_out(X, y, groups=groups)
    np.testing.assert_allclose(together.scale_, (left.residual**2 * left.rigidity).mean())
    rest = groups != 0
    without = LastLayerRigidity(mlp(), refit=True, alpha=1.0).fit(X[rest], y[rest])
    without._set_alpha(together.alpha_ / without._unit)
    np.testing.assert_allclose(left.prediction[0], without.predict(X[:1])[0], rtol=1e-7)
    assert alone != together.scale_


# -- error bars -----------------------------------------------------------------------------------


def test_error_bars_need_held_out_data(data):
    X, y = data
    model = LastLayerRigidity(mlp()).fit(X[:60])
    for method in (
        lambda: model.predict(X, return_std=True),
        lambda: model.draws(),
        lambda: model.sample_y(X),
    ):
        with pytest.raises(ValueError, match="calibrate"):
            method()
    mean, std = model.calibrate(X[60:], y[60:]).predict(X[60:], return_std=True)
    R = model.prediction_rigidity(X[60:])
    np.testing.assert_allclose(std, np.sqrt(((y[60:] - mean) ** 2 * R).mean() / R))
    known = LastLayerRigidity(mlp(), calibration=None).fit(X)
    np.testing.assert_allclose(known.predict(X, True)[1] ** -2, known.prediction_rigidity(X))


def test_draws_have_the_spread_of_the_error_bars(data):
    X, y = data
    model = LastLayerRigidity(mlp(), refit=True).fit(X, y)
    draws = model.draws(4000, random_state=0)
    spread = (with_bias(hidden(mlp(), X[:5])) @ draws.T).std(axis=1)
    np.testing.assert_allclose(spread, model.predict(X[:5], True)[1], rtol=0.1)
    np.testing.assert_allclose(
        draws.mean(axis=0), model.coef_, atol=0.1 * np.abs(model.coef_).max()
    )


def test_bayesian_scale_of_a_refit(data):
    X, y = data
    model = LastLayerRigidity(mlp(), refit=True, calibration="bayesian", alpha=1e-3).fit(X, y)
    rss = ((y - model.predict(X)) ** 2).sum()
    np.testing.assert_allclose(model.scale_, rss / (len(X) - model.effective_dof_), rtol=1e-6)


# -- data -----------------------------------------------------------------------------------------


def test_data_sets_and_loaders(data):
    X, y = data
    dataset = torch.utils.data.TensorDataset(torch.tensor(X), torch.tensor(y))
    shuffled = torch.utils.data.DataLoader(dataset, batch_size=16, shuffle=True)
    expected = LastLayerRigidity(mlp(), refit=True).fit(X, y).predict(X, return_std=True)
    for given in (dataset, shuffled):
        model = LastLayerRigidity(mlp(), refit=True).fit(given)
        found = model.predict(shuffled, return_std=True)
        np.testing.assert_allclose(found, expected, rtol=1e-7)
        model.calibrate(given)


def test_latent_samples_stand_for_data(data):
    X, y = data
    model = LastLayerRigidity(mlp(), refit=True)
    latent = model.latent(X)
    assert isinstance(latent, LatentSamples)
    model.fit(latent[:80], y[:80])
    direct = LastLayerRigidity(mlp(), refit=True).fit(X[:80], y[:80])
    np.testing.assert_allclose(model.predict(latent[80:], True), direct.predict(X[80:], True))
    np.testing.assert_allclose(model.predict(latent[np.arange(5)]), direct.predict(X[:5]))
    np.testing.assert_allclose(model.predict(X), direct.predict(X))
    with pytest.raises(ValueError, match="refit=True"):
        LastLayerRigidity(mlp()).fit(latent)
    narrow = LatentSamples(latent.features[:, 1:], latent.sizes, latent.offset)
    with pytest.raises(ValueError, match=f"expected {WIDTH}"):
        model.predict(narrow)


def test_clones_share_the_network(data):
    network = mlp()
    model = LastLayerRigidity(network, refit=True, alpha=1e-3).fit(*data)
    copy = clone(model)
    assert copy.model is network
    assert copy.alpha == 1e-3
    with pytest.raises(NotFittedError):
        copy.predict(data[0])


@pytest.mark.parametrize("refit", [True, False])
def test_files(data, tmp_path, refit):
    X, y = data
    network, path = mlp(), tmp_path / "layer.npz"
    model = LastLayerRigidity(network, refit=refit, bias=refit).fit(X[:80], y[:80])
    model.calibrate(X[80:], y[80:]).save(path)
    again = LastLayerRigidity.load(path, network)
    np.testing.assert_allclose(again.predict(X, True), model.predict(X, True), rtol=1e-9)
    np.testing.assert_allclose(again.rigidity_with(X, X[80:]), model.rigidity_with(X, X[80:]))
    np.testing.assert_allclose(again.effective_dof_, model.effective_dof_)
    assert again.get_params(deep=False) == model.get_params(deep=False)
    if refit:
        left = [m.leave_one_out(X[:80], y[:80]).residual for m in (model, again)]
        np.testing.assert_allclose(*left, rtol=1e-7)
    with pytest.raises(ValueError, match="other weights"):
        LastLayerRigidity.load(path, mlp(seed=1))
    (tmp_path / "other.npz").write_text("nothing")
    with pytest.raises(ValueError, match="not a saved last layer"):
        LastLayerRigidity.load(tmp_path / "other.npz", network)


# -- what is refused ------------------------------------------------------------------------------


class Twice(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = torch.nn.Linear(3, 3).double(), torch.nn.Linear(3, 1).double()

    def forward(self, x):
        return self.b(self.a(x)) + self.b(x)


def overflowing():
    network = mlp(dtype=torch.float32)
    network[1] = torch.nn.ReLU()
    with torch.no_grad():
        network[0].weight *= 1e30
        network[2].weight *= 1e30
    return network


@pytest.mark.parametrize(
    ("make", "kwargs", "match"),
    [
        (lambda: torch.nn.Sequential(mlp(), torch.nn.Softplus()), {}, "not that of a linear layer"),
        (lambda: torch.nn.Sequential(torch.nn.Tanh()), {}, "called were none"),
        (mlp, {"readout": "7"}, "no layer '7'; its last linear layers are '0', '2'"),
        (mlp, {"readout": "0"}, r"shape \(3, 12\), not \(3, 1\)"),
        (mlp, {"readout": ["0", "2"]}, "use refit=True"),
        (Twice, {"readout": "b"}, "called more than once"),
        (overflowing, {}, "overflows in torch.float32"),
        (overflowing, {"readout": "2"}, "overflows in torch.float32"),
        (mlp, {"calibration": "loo"}, "needs refit=True"),
        (mlp, {"force_weight": 1.0}, "forces need frames"),
        (mlp, {"refit": True}, "labels are needed"),
    ],
)
def test_networks_that_do_not_serve(data, make, kwargs, match):
    with pytest.raises(ValueError, match=match):
        LastLayerRigidity(make(), **kwargs).fit(data[0])


def test_readout_that_does_not_reproduce_the_output(data):
    class Scaled(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = mlp()

        def forward(self, x):
            return 2 * self.inner(x)

    with pytest.raises(ValueError, match="do not reproduce"):
        LastLayerRigidity(Scaled(), readout="inner.2").fit(data[0])


def test_input_that_does_not_serve(data):
    X, y = data
    with pytest.raises(ValueError, match="at least one sample"):
        LastLayerRigidity(mlp()).fit(X[:0])
    with pytest.raises(TypeError, match="an array, a tensor, a Dataset"):
        LastLayerRigidity(mlp()).fit(iter(X))
    with pytest.raises(TypeError, match="expected a network"):
        LastLayerRigidity(3).fit(X)
    with pytest.raises(ValueError, match="give it to the adapter"):
        LastLayerRigidity(adapter_of(mlp()), readout="2").fit(X)
    model = LastLayerRigidity(mlp()).fit(X)
    with pytest.raises(TypeError, match="needs refit=True"):
        model.leave_one_out(X, y)
    with pytest.raises(ValueError, match="need frames"):
        model.predict(X, properties="forces")
    with pytest.raises(ValueError, match="properties must be among"):
        model.predict(X, properties="dipole")
    with pytest.raises(ValueError, match="training set"):
        LastLayerRigidity(mlp(), refit=True).fit(X, y).leave_one_out(X[:9], y[:9])
    with pytest.raises(NotFittedError):
        LastLayerRigidity(mlp()).predict(X)
