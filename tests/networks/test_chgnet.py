"""CHGNet with the weights that its package ships (`pip install chgnet`)."""

import numpy as np
import pytest

from skrigidity.last_layer import CHGNetAdapter, LastLayerRigidity, adapter_of

torch = pytest.importorskip("torch")
chgnet = pytest.importorskip("chgnet.model")
ase = pytest.importorskip("ase")
build = pytest.importorskip("ase.build")

WIDE = ["mlp.layers.0", "mlp.layers.2", "mlp.layers.4", "mlp.layers.7"]


def shipped():
    torch.set_num_threads(1)
    return chgnet.CHGNet.load(use_device="cpu", verbose=False)


@pytest.fixture(scope="module")
def network():
    return shipped()


@pytest.fixture(scope="module")
def accurate():
    return shipped().double()


def strained(frame, seed=0):
    rng = np.random.default_rng(seed)
    frame.rattle(0.1, rng=rng)
    cell = frame.cell.array @ (np.eye(3) + 0.03 * rng.standard_normal((3, 3)))
    frame.set_cell(cell, scale_atoms=True)
    return frame


@pytest.fixture(scope="module")
def frames():
    return [
        strained(build.bulk("Si", cubic=True)),
        strained(build.bulk("NaCl", "rocksalt", a=5.64)),
        build.molecule("H2O"),
        ase.Atoms("Mo"),
        build.fcc111("Cu", (1, 1, 3), vacuum=5.0),
    ]


def test_is_found(network):
    assert isinstance(adapter_of(network), CHGNetAdapter)
    assert not CHGNetAdapter.takes(torch.nn.Linear(1, 1))


@pytest.mark.parametrize(("of", "tolerance"), [("network", 1e-5), ("accurate", 1e-10)])
def test_features_times_weights_reproduce_energies(of, tolerance, frames, request):
    adapter = CHGNetAdapter(request.getfixturevalue(of))
    latent = adapter.latent(adapter.batch(frames))
    weight, bias = adapter.weights()
    assert latent.features.shape == (sum(map(len, frames)), 64)
    np.testing.assert_array_equal(latent.species, np.concatenate([f.numbers for f in frames]))
    local = latent.features.double().numpy() @ weight + bias
    energy = np.zeros((len(frames), 1))
    np.add.at(energy, latent.sample.numpy(), local)
    np.testing.assert_allclose(energy + latent.offset.numpy(), latent.output, rtol=tolerance)


def test_energies_are_those_of_the_package(network, frames):
    from pymatgen.io.ase import AseAtomsAdaptor

    adapter = CHGNetAdapter(network)
    for frame in frames[:2]:
        given = network.predict_structure(AseAtomsAdaptor.get_structure(frame))
        (batch,) = adapter.batches([frame], 1)
        results = adapter.results(batch)
        np.testing.assert_allclose(results["energy"], given["e"] * len(frame), rtol=1e-6)
        np.testing.assert_allclose(results["forces"], given["f"], atol=1e-5)
        stress = given["s"][[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]] / 160.21766208
        np.testing.assert_allclose(results["stress"], stress, atol=1e-6)
        np.testing.assert_allclose(results["magmoms"], given["m"], atol=1e-5)


def test_surroundings_do_not_matter(accurate):
    adapter = CHGNetAdapter(accurate)
    free = build.molecule("CH4")
    boxed = build.molecule("CH4")
    boxed.cell, boxed.pbc = [25, 20, 30], True
    one, two = (adapter.latent(adapter.batch([frame])).output.item() for frame in (free, boxed))
    assert one == pytest.approx(two, rel=1e-12)
    assert not free.cell.any()  # the frame is as it was


@pytest.mark.parametrize("number", [0, 2])
def test_derivatives_are_those_of_energies(accurate, frames, number):
    adapter = CHGNetAdapter(accurate, WIDE)
    w = torch.as_tensor(np.random.default_rng(1).standard_normal(256))

    def value(atoms):
        latent = adapter.latent(adapter.batch([atoms]))
        return latent.output.item() + (latent.features @ w).sum().item()

    def slope(change):
        h = 1e-4
        ends = []
        for sign in (1, -1):
            moved = frames[number].copy()
            change(moved, sign * h)
            ends.append(value(moved))
        return (ends[0] - ends[1]) / (2 * h)

    # The frame stands between others, so that what belongs to whom is seen.
    latent = adapter.latent(adapter.batch([frames[1], frames[number]]), derivatives=True)
    total = latent.output.sum() + (latent.features @ w).sum()
    positions, strain = torch.autograd.grad(total, [latent.positions, latent.strain])

    def move(atoms, h):
        atoms.positions[1, 2] += h

    expected = slope(move)
    assert positions[len(frames[1]) + 1, 2].item() == pytest.approx(expected, rel=1e-4, abs=1e-6)
    if not frames[number].pbc.all():
        return

    def shear(atoms, h):
        eps = np.zeros((3, 3))
        eps[0, 1] = eps[1, 0] = h
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + eps), scale_atoms=True)

    expected = slope(shear)
    assert 2 * strain[1, 0, 1].item() == pytest.approx(expected, rel=1e-4)


def test_wide_features_end_with_those_of_the_last_layer(network, frames):
    wide, narrow = CHGNetAdapter(network, WIDE), CHGNetAdapter(network)
    batch = narrow.batch(frames)
    own, features = narrow.latent(batch), wide.latent(batch).features
    assert features.shape == (sum(map(len, frames)), 256)
    torch.testing.assert_close(features[:, 192:], own.features)
    assert wide.weights() is None


def test_network_is_left_as_it_was(frames):
    network = shipped().train()
    network.graph_converter.set_isolated_atom_response("warn")
    trainable = [p.requires_grad for p in network.parameters()]
    adapter = CHGNetAdapter(network)
    adapter.results(adapter.batch(frames[:1]))
    assert network.training
    assert network.graph_converter.on_isolated_atoms == "warn"
    assert trainable == [p.requires_grad for p in network.parameters()]
    assert all(p.grad is None for p in network.parameters())


def test_unknown_layer(network, frames):
    adapter = CHGNetAdapter(network, "mlp.layers.1000")
    with pytest.raises(ValueError, match=r"no layer 'mlp\.layers\.1000'.*'mlp\.layers\.7'"):
        adapter.latent(adapter.batch(frames[:1]))


def test_readout_of_sums_over_atoms(frames):
    network = chgnet.CHGNet(mlp_first=False, mlp_hidden_dims=(8,), n_conv=2)
    adapter = CHGNetAdapter(network)
    with pytest.raises(ValueError, match="mlp_first=False"):
        adapter.latent(adapter.batch(frames[:1]))


def test_other_heads(frames):
    network = chgnet.CHGNet(final_mlp="gated", composition_model=None, is_intensive=False, n_conv=2)
    network = network.double()
    adapter = CHGNetAdapter(network)
    latent = adapter.latent(adapter.batch(frames[:1]))
    weight, bias = adapter.weights()
    energy = (latent.features.numpy() @ weight + bias).sum()
    assert adapter.layers == ("mlp.1",)
    assert energy == pytest.approx(latent.output.item(), rel=1e-10)
    assert latent.offset.item() == 0


def test_last_layer_rigidity(network, frames):
    own = LastLayerRigidity(network).fit(frames)
    assert own.coef_.shape == (65,)
    R = own.prediction_rigidity(frames)
    assert np.isfinite(R).all()
    assert (R > 0).all()
    given = [strained(build.bulk("Si", cubic=True), seed) for seed in range(6)]
    energy = np.linspace(-43.0, -40.0, 6) / 8
    refit = LastLayerRigidity(network, readout=WIDE, refit=True, reduce="per_atom", alpha=1e-8)
    refit.fit(given, energy)
    np.testing.assert_allclose(refit.predict(given), energy, atol=0.02)
    forces, std = refit.predict(given[:1], properties="forces", return_std=True)
    assert forces[0].shape == std[0].shape == (8, 3)
    assert (std[0] > 0).all()
