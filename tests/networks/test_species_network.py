"""The example of an adapter of one's own: a network for each species, like SOAP-BPNN."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("featomic", reason='needs featomic: pip install "skrigidity[atomistic]"')

from ase.build import molecule  # noqa: E402
from species_network import (  # noqa: E402
    SpeciesNetwork,
    SpeciesNetworkAdapter,
    train_species_network,
    with_soap,
)

from skrigidity.last_layer import LastLayerRigidity, adapter_of  # noqa: E402

ENERGIES = np.array([-5.0, -9.0, -14.0, -30.0, -26.0])


@pytest.fixture(scope="module")
def frames():
    names = ("H2O", "CH4", "C2H6", "CH3CH2OH", "HCOOH")
    return with_soap([molecule(name) for name in names])


@pytest.fixture(scope="module")
def network(frames):
    untrained = SpeciesNetwork(frames, ENERGIES, width=6)
    return train_species_network(untrained, frames, ENERGIES, epochs=3)


def test_features_times_weights_are_the_energy(frames, network):
    network = SpeciesNetwork(frames, ENERGIES, width=6).double()
    adapter = adapter_of(network)
    assert isinstance(adapter, SpeciesNetworkAdapter)
    batch = adapter.batch(frames)
    batch.features = batch.features.double()
    latent = adapter.latent(batch)
    weights, bias = adapter.weights()
    each = latent.features.numpy() @ weights[:, 0] + bias
    total = np.bincount(latent.sample.numpy(), each) + latent.offset.numpy()[:, 0]
    np.testing.assert_allclose(total, latent.output[:, 0], rtol=1e-12)


def test_each_species_has_a_block(frames, network):
    """The gradient is that by the weights, which automatic differentiation gives as well."""
    adapter = SpeciesNetworkAdapter(network)
    latent = adapter.latent(adapter.batch(frames))
    blocks = latent.features.numpy().reshape(-1, 3, 6)
    numbers = np.concatenate([frame.numbers for frame in frames])
    np.testing.assert_array_equal(latent.species, numbers)
    filled = np.abs(blocks).max(axis=2) > 0
    np.testing.assert_array_equal(filled, numbers[:, None] == [1, 6, 8])

    model = LastLayerRigidity(network, bias=False).fit(frames)
    for i, row in enumerate(model.gradients_.rows(frames).matrix):
        network.zero_grad()
        network(adapter.batch([frames[i]])).sum().backward()
        gradient = network.readout.weight.grad[0].numpy()
        np.testing.assert_allclose(row, gradient, rtol=1e-5, atol=1e-5)


def test_model_around_it(frames, network):
    model = LastLayerRigidity(network, bias=False, batch_size=2).fit(frames)
    with torch.no_grad():
        batch = SpeciesNetworkAdapter(network).batch(frames)
        expected = network.unit * network(batch) + network.baseline(batch)
    np.testing.assert_allclose(model.predict(frames), expected, rtol=1e-6)
    assert [len(local) for local in model.local_rigidity(frames)] == [3, 5, 8, 9, 5]
    assert model.component_rigidity(frames, ["H", "O"]).shape == (5, 2)


def test_unknown_species(frames, network):
    with pytest.raises(ValueError, match=r"species \[1, 6, 8\] alone"):
        LastLayerRigidity(network, bias=False).fit(with_soap([molecule("NH3")]))


def test_no_forces(frames, network):
    model = LastLayerRigidity(network, bias=False).fit(frames)
    with pytest.raises(NotImplementedError, match="no derivatives"):
        model.predict(frames, properties="forces")


def test_training_is_seen_from_the_beginning(frames):
    losses = []

    def look(epoch, network):
        batch = SpeciesNetworkAdapter(network).batch(frames)
        target = (torch.as_tensor(ENERGIES) - network.baseline(batch)) / network.unit
        losses.append((epoch, float((network(batch) - target).detach().square().mean())))

    untrained = SpeciesNetwork(frames, ENERGIES, width=6)
    train_species_network(untrained, frames, ENERGIES, epochs=5, each_epoch=look)
    assert [epoch for epoch, _ in losses] == [0, 1, 2, 3, 4, 5]
    assert losses[-1][1] < losses[0][1]
