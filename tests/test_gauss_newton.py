"""Rigidities by all parameters of a network: exact, by conjugate gradients, and by hand."""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.stats import spearmanr
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError

torch = pytest.importorskip("torch", reason='pip install "skrigidity[torch]"')

from skrigidity.last_layer import (  # noqa: E402
    GaussNewtonRigidity,
    LastLayerRigidity,
    TorchAdapter,
)


def mlp(n_outputs=1, width=5, seed=0, dtype=torch.float64):
    torch.manual_seed(seed)
    layers = [torch.nn.Linear(3, width), torch.nn.Tanh(), torch.nn.Linear(width, width)]
    layers += [torch.nn.SiLU(), torch.nn.Linear(width, n_outputs)]
    return torch.nn.Sequential(*layers).to(dtype)


class Atoms(torch.nn.Module):
    """Sums over atoms, some of which are padding; dropout, and a buffer that is no parameter."""

    def __init__(self):
        super().__init__()
        self.per_atom = mlp(seed=1)
        self.dropout = torch.nn.Dropout(0.5)
        self.register_buffer("factor", torch.tensor(2.0))

    def forward(self, x, mask):
        return (self.factor * self.dropout(self.per_atom(x)[..., 0]) * mask).sum(dim=1)


class Among(torch.nn.Module):
    """Samples that see each other: the mean over the batch is taken off."""

    def __init__(self):
        super().__init__()
        self.inside = mlp(seed=2)

    def forward(self, x):
        h = self.inside(x)
        return h - h.mean(dim=0)


class Ragged(TorchAdapter):
    """A batch is all atoms of some molecules, one below the other, and whose they are."""

    @staticmethod
    def takes(model):
        return False

    def check(self, data, name="X"):
        return list(data)

    def batches(self, data, size, *, derivatives=False):
        for start in range(0, len(data), size):
            part = data[start : start + size]
            owner = np.repeat(np.arange(len(part)), [len(x) for x in part])
            yield torch.tensor(np.concatenate(part)), torch.tensor(owner), len(part)

    def call(self, batch):
        x, owner, n = batch
        return torch.zeros(n, dtype=x.dtype).index_add(0, owner, self.model(x)[:, 0])


def by_hand(network, call, data):
    """Derivatives of all outputs, by one backward pass each and a loop over parameters."""
    network.eval()
    parameters = [p for p in network.parameters() if p.requires_grad]
    rows = []
    for value in call(data).reshape(-1):
        for p in parameters:
            p.grad = None
        value.backward(retain_graph=True)
        slopes = [p.grad if p.grad is not None else torch.zeros_like(p) for p in parameters]
        rows.append(torch.cat([g.reshape(-1) for g in slopes]).numpy().copy())
    return np.array(rows)


def expected(G, g, weight=None, relative=1e-4):
    """q, and alpha."""
    weight = np.ones(len(G)) if weight is None else weight
    H = (G.T * weight) @ G
    alpha = relative * np.trace(H) / len(H)
    return np.einsum("ij,ij->i", g, np.linalg.solve(H + alpha * np.eye(len(H)), g.T).T), alpha


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    return rng.standard_normal((100, 3)), rng.standard_normal((20, 3))


def tensor(X):
    return torch.tensor(X)


# -- against derivatives by hand -----------------------------------------------------------------


@pytest.mark.parametrize("solver", ["exact", "cg"])
@pytest.mark.parametrize("n", [100, 20], ids=["more samples", "more parameters"])
@pytest.mark.parametrize("n_outputs", [1, 2])
def test_rows_by_hand(data, n, n_outputs, solver):
    X, new = data[0][:n], data[1]
    network = mlp(n_outputs)
    G, g = (by_hand(network, network, tensor(x)) for x in (X, new))
    size = 7 if solver == "exact" else 60
    model = GaussNewtonRigidity(network, solver=solver, batch_size=size).fit(X)
    q, alpha = expected(G, g)
    assert model.n_parameters_ == G.shape[1] == 56 + 6 * (n_outputs - 1)
    assert_allclose(model.alpha_, alpha, rtol=1e-10)
    R = model.prediction_rigidity(new)
    assert R.shape == ((20,) if n_outputs == 1 else (20, 2))
    assert_allclose(R.ravel(), 1 / q, rtol=1e-8 if solver == "exact" else 1e-6)
    assert model.info_.vectorized
    if solver == "exact" and n_outputs == 1:
        # Fewer rows than parameters: nothing of the size of H is formed.
        assert (model.hessian_.info.method == "spectral") == (n == 20)
        assert_allclose(model.effective_dof_, expected(G, G)[0].sum(), rtol=1e-7)


@pytest.mark.parametrize("alpha", [1e-6, 1e-2])
def test_conjugate_gradients_are_exact(data, alpha):
    X, new = data
    s = np.random.default_rng(1).uniform(0.0, 2.0, 100)
    models = [
        GaussNewtonRigidity(mlp(), alpha=alpha, solver=solver, tol=1e-7).fit(X, sample_weight=s)
        for solver in ("exact", "cg")
    ]
    exact, cg = (model.prediction_rigidity(new) for model in models)
    assert_allclose(cg, exact, rtol=1e-6)
    assert (cg >= exact * (1 - 1e-9)).all()
    assert models[1].hessian_.n_iter > 5
    W = np.random.default_rng(2).standard_normal((3, 20))
    exact, cg = (model.combination_rigidity(new, W) for model in models)
    assert_allclose(cg, exact, rtol=1e-6)
    exact, cg = (model.rigidity_with(new, X[:3] + 1, [1.0, 2.0, 0.0]) for model in models)
    assert_allclose(cg, exact, rtol=1e-6)
    assert (exact > models[0].prediction_rigidity(new)).all()
    calibrated = [model.calibrate(new, np.ones(20)) for model in models]
    exact, cg = (model.predict(new[:4], return_cov=True)[1] for model in calibrated)
    assert_allclose(cg, exact, rtol=1e-5, atol=1e-6 * np.abs(exact).max())


def test_weights(data):
    X, new = data
    s = np.random.default_rng(1).integers(0, 3, 100)
    weighted = GaussNewtonRigidity(mlp(2), batch_size=9).fit(X, sample_weight=s)
    repeated = GaussNewtonRigidity(mlp(2)).fit(np.repeat(X, s, axis=0))
    assert_allclose(weighted.prediction_rigidity(new), repeated.prediction_rigidity(new), rtol=1e-8)


@pytest.mark.parametrize("solver", ["exact", "cg"])
def test_sums_over_atoms(solver):
    rng = np.random.default_rng(0)
    x, mask = rng.standard_normal((30, 4, 3)), (rng.random((30, 4)) < 0.7).astype(float)
    network = Atoms()
    dataset = torch.utils.data.TensorDataset(tensor(x), tensor(mask), torch.zeros(30))
    loader = torch.utils.data.DataLoader(dataset, batch_size=3, shuffle=True)
    model = GaussNewtonRigidity(network, solver=solver, batch_size=20).fit(loader)
    assert network.training
    G = by_hand(network, lambda both: network(*both), (tensor(x), tensor(mask)))
    q, _ = expected(G, G)
    assert_allclose(model.prediction_rigidity(dataset), 1 / q, rtol=1e-6)
    assert_allclose(model.predict(dataset), network(tensor(x), tensor(mask)).detach())


@pytest.mark.parametrize("solver", ["exact", "cg"])
def test_batches_that_are_not_rows(solver):
    """Then samples are not taken apart."""
    rng = np.random.default_rng(0)
    molecules = [rng.standard_normal((rng.integers(1, 5), 3)) for _ in range(25)]
    network = mlp(seed=3)
    model = GaussNewtonRigidity(Ragged(network), solver=solver, batch_size=15).fit(molecules)

    def energies(all_):
        return torch.stack([network(tensor(x)).sum() for x in all_])

    G = by_hand(network, energies, molecules)
    assert_allclose(model.prediction_rigidity(molecules), 1 / expected(G, G)[0], rtol=1e-6)
    if solver == "exact":
        assert not model.info_.vectorized


def test_samples_that_see_each_other(data):
    X = data[0][:30]
    network = Among()
    model = GaussNewtonRigidity(network, batch_size=30).fit(X)
    assert not model.info_.vectorized
    G = by_hand(network, network, tensor(X))
    assert_allclose(model.prediction_rigidity(X), 1 / expected(G, G)[0], rtol=1e-6)


def test_single_precision(data):
    X, new = data
    single = GaussNewtonRigidity(mlp(dtype=torch.float32)).fit(X)
    double = GaussNewtonRigidity(mlp(dtype=torch.float32).double()).fit(X)
    R = double.prediction_rigidity(new)
    assert_allclose(single.prediction_rigidity(new), R, rtol=1e-2)
    cg = GaussNewtonRigidity(mlp(dtype=torch.float32), solver="cg", tol=1e-4).fit(X)
    assert_allclose(cg.prediction_rigidity(new), R, rtol=1e-2)


# -- the last layer --------------------------------------------------------------------------------


@pytest.mark.parametrize("n_outputs", [1, 3])
def test_frozen_hidden_layers_leave_the_last(data, n_outputs):
    X, new = data
    network = mlp(n_outputs)
    last = LastLayerRigidity(network).fit(X)
    for layer in network[:-1]:
        layer.requires_grad_(False)
    for solver in ("exact", "cg"):
        full = GaussNewtonRigidity(network, solver=solver, tol=1e-8).fit(X)
        R = full.prediction_rigidity(new).reshape(20, n_outputs)
        # Every output has weights of its own, of one Hessian.
        assert_allclose(R, np.tile(last.prediction_rigidity(new)[:, None], n_outputs), rtol=1e-7)
    assert all(not p.requires_grad for layer in network[:-1] for p in layer.parameters())


def test_all_parameters_pin_less_than_the_last_layer(data):
    """With the same absolute alpha: more can give way."""
    X, new = data
    network = mlp()
    full = GaussNewtonRigidity(network, alpha=1e-3).fit(X)
    last = LastLayerRigidity(network).fit(X)
    unit = last.alpha_ / last.relative_alpha_
    last = LastLayerRigidity(network, alpha=full.alpha_ / unit).fit(X)
    assert_allclose(last.alpha_, full.alpha_)
    assert (full.prediction_rigidity(new) < last.prediction_rigidity(new)).all()


@pytest.mark.parametrize("seed", [0, 1])
def test_the_last_layer_ranks_as_all_parameters_do(seed):
    """Trained networks; eight of widths 16 and 32 gave .95 to .98 and .69 to .82."""
    torch.manual_seed(seed)
    layers = [torch.nn.Linear(3, 16), torch.nn.Tanh(), torch.nn.Linear(16, 16), torch.nn.SiLU()]
    network = torch.nn.Sequential(*layers, torch.nn.Linear(16, 1)).double()

    def truth(x):
        return torch.sin(x).sum(dim=1, keepdim=True) + x[:, :1] * x[:, 1:2]

    X, new = torch.randn(300, 3).double(), 1.5 * torch.randn(300, 3).double()
    y = truth(X) + 0.05 * torch.randn(300, 1).double()
    optimizer = torch.optim.Adam(network.parameters(), 0.01)
    for _ in range(500):
        optimizer.zero_grad()
        torch.nn.functional.mse_loss(network(X), y).backward()
        optimizer.step()
    error = (network(new) - truth(new)).abs().detach().numpy()[:, 0]
    full, last = (
        kind(network).fit(X).prediction_rigidity(new)
        for kind in (GaussNewtonRigidity, LastLayerRigidity)
    )
    assert spearmanr(full, last)[0] > 0.9
    for R in (full, last):
        assert spearmanr(-R, error)[0] > 0.55


# -- how it is used -------------------------------------------------------------------------------


def test_error_bars(data):
    X, new = data
    y = np.sin(new).sum(axis=1)
    model = GaussNewtonRigidity(mlp()).fit(X)
    with pytest.raises(ValueError, match="calibrate"):
        model.predict(new, return_std=True)
    with pytest.raises(ValueError, match="calibrate"):
        model.sample_y(new)
    mean, std = model.calibrate(new, y).predict(new, return_std=True)
    R = model.prediction_rigidity(new)
    assert_allclose(std, np.sqrt(np.mean((y - mean) ** 2 * R) / R))
    _, cov = model.predict(new, return_cov=True)
    assert_allclose(np.sqrt(np.diag(cov)), std)
    draws = model.sample_y(new[:3], 4000, random_state=0)
    assert_allclose(np.cov(draws), cov[:3, :3], atol=0.1 * cov[:3, :3].max())
    assert_allclose(model.combination_rigidity(new, np.eye(20)), R)


def test_several_outputs(data):
    X, new = data
    model = GaussNewtonRigidity(mlp(2)).fit(X)
    y = np.column_stack([new[:, 0], 100 * new[:, 1]])
    mean, std = model.calibrate(new, y).predict(new, return_std=True)
    assert mean.shape == std.shape == (20, 2)
    assert_allclose(std, np.sqrt(model.scale_ / model.prediction_rigidity(new)))
    assert_allclose(
        model.combination_rigidity(new, np.eye(20)[3]), model.prediction_rigidity(new)[3]
    )
    with pytest.raises(TypeError, match="several outputs"):
        model.sample_y(new)
    with pytest.raises(TypeError, match="one output"):
        model.predict(new, return_cov=True)


def test_nothing_is_changed(data):
    network = mlp()
    before = {name: p.clone() for name, p in network.state_dict().items()}
    for solver in ("exact", "cg"):
        model = GaussNewtonRigidity(network, solver=solver)
        assert clone(model).model is network
        model.fit(data[0]).prediction_rigidity(data[1])
    assert all(torch.equal(p, before[name]) for name, p in network.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in network.parameters())


def test_what_is_refused(data):
    X, _ = data
    network = mlp()
    with pytest.raises(NotFittedError):
        GaussNewtonRigidity(network).prediction_rigidity(X)
    with pytest.raises(ValueError, match="at least one sample"):
        GaussNewtonRigidity(network).fit(X[:0])
    with pytest.raises(ValueError, match="solver"):
        GaussNewtonRigidity(network, solver="newton").fit(X)
    with pytest.raises(ValueError, match="not finite"):
        GaussNewtonRigidity(network).fit(np.full((3, 3), np.inf))
    model = GaussNewtonRigidity(network).fit(X)
    for ask in (model.local_rigidity, model.predict_local, model.component_rigidity):
        with pytest.raises(TypeError, match=r"no parts|no sums"):
            ask(X)
    with pytest.raises(TypeError, match="held-out"):
        model.leave_one_out(X, X[:, 0])
    with pytest.raises(TypeError, match="solver='exact'"):
        GaussNewtonRigidity(network, solver="cg").fit(X).calibrate(X, X[:, 0]).sample_y(X)
    with pytest.raises(ValueError, match="frozen"):
        GaussNewtonRigidity(mlp().requires_grad_(False)).fit(X)
    with pytest.raises(TypeError, match="adapter"):
        GaussNewtonRigidity("network").fit(X)


def test_too_few_iterations(data):
    X, new = data
    model = GaussNewtonRigidity(mlp(), solver="cg", max_iter=2).fit(X)
    with pytest.warns(ConvergenceWarning, match="max_iter"):
        R = model.prediction_rigidity(new)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        exact = GaussNewtonRigidity(mlp(), solver="cg").fit(X).prediction_rigidity(new)
    assert (exact < R).all()
