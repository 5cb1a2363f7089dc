"""MACE: features × weights + offset are the energy, derivatives its forces and stress."""

import numpy as np
import pytest
from mace_models import small_mace, torch

from skrigidity import LastLayerRigidity
from skrigidity.last_layer import MACEAdapter, adapter_of
from skrigidity.last_layer._forces import Derivatives

build = pytest.importorskip("ase.build")


@pytest.fixture(scope="module")
def frames():
    """Molecules and a crystal, of several sizes and species."""
    crystal = build.bulk("CO", "zincblende", a=3.6, cubic=True)
    out = [build.molecule("CH3CH2OH"), crystal, build.molecule("H2O"), build.molecule("CO2")]
    for seed, atoms in enumerate(out):
        atoms.rattle(0.1, seed=seed)
    return out


def own(model, adapter, frames, **kwargs):
    return model(dict(adapter.batch(frames)), **kwargs)


KINDS = {
    "scaled": {},
    "plain": {"scaled": False},
    "repulsion": {"pair_repulsion": True},
    "plain with repulsion": {"scaled": False, "pair_repulsion": True},
    "one readout": {"use_last_readout_only": True},
    "one interaction": {"num_interactions": 1},
    "heads": {"heads": ("pbe", "ccsd")},
}


@pytest.mark.parametrize("kind", KINDS)
def test_features_times_weights_are_the_energy(frames, kind):
    model = small_mace(**KINDS[kind])
    frames = [frame.copy() for frame in frames]
    if kind == "heads":
        for i, frame in enumerate(frames):
            frame.info["head"] = ("pbe", "ccsd")[i % 2]
    adapter = adapter_of(model)
    assert isinstance(adapter, MACEAdapter)
    latent = adapter.latent(adapter.batch(frames))
    weights, bias = adapter.weights()
    energy = own(model, adapter, frames, compute_force=False)["energy"].detach().numpy()
    atoms = latent.features.numpy() @ weights + bias
    total = latent.offset.numpy().copy()
    np.add.at(total, latent.sample.numpy(), atoms)
    np.testing.assert_allclose(total[:, 0], energy, rtol=1e-13)
    np.testing.assert_array_equal(latent.species, np.concatenate([x.numbers for x in frames]))
    if "repulsion" not in kind:  # the offset is what the structure does not matter to
        expected = own(model, adapter, frames, compute_force=False)
        free = expected["energy"] - expected.get("interaction_energy", 0)
        if kind in ("scaled", "one readout", "one interaction"):
            sizes = np.array([len(frame) for frame in frames])
            shift = model.scale_shift.shift.numpy().ravel()[0]
            np.testing.assert_allclose(
                latent.offset[:, 0], free.detach().numpy() + shift * sizes, rtol=1e-12
            )
    model = LastLayerRigidity(model).fit(frames)
    np.testing.assert_allclose(model.predict(frames), energy, rtol=1e-12)


def test_heads_have_blocks_of_columns(frames):
    model = small_mace(heads=("pbe", "ccsd"))
    adapter = adapter_of(model)
    one, other = frames[0].copy(), frames[0].copy()
    one.info["head"], other.info["head"] = "pbe", "ccsd"
    latent = adapter.latent(adapter.batch([one, other]))
    first, second = latent.features[: len(one)].numpy(), latent.features[len(one) :].numpy()
    assert first.shape[1] == 2 * 8 + 2 * 6
    assert not ((first != 0) & (second != 0)).any()
    np.testing.assert_allclose(first[:, :8], second[:, 8:16])
    other.info["head"] = "lda"
    with pytest.raises(ValueError, match="has the head 'lda'"):
        adapter.batch([other])
    # What is known of one head says nothing of another.
    fitted = LastLayerRigidity(model).fit([one] * 5)
    R = fitted.prediction_rigidity([one, one.copy()])
    other.info["head"] = "ccsd"
    assert fitted.prediction_rigidity([other])[0] < 0.1 * R[0]


@pytest.mark.parametrize("kind", ["scaled", "repulsion"])
def test_derivatives_are_those_of_the_network(frames, kind):
    model = small_mace(**KINDS[kind])
    fitted = LastLayerRigidity(model).fit(frames)
    for frame in frames[:2]:
        stress = bool(frame.pbc.all())
        expected = own(model, fitted.adapter_, [frame], compute_stress=stress)
        found = fitted.single_point(frame)
        np.testing.assert_allclose(found["forces"], expected["forces"].numpy(), atol=1e-10)
        if stress:
            voigt = expected["stress"][0].numpy()[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
            np.testing.assert_allclose(found["stress"], voigt, atol=1e-12)
        # Rows of forces by every weight, and what does not depend on any.
        derivatives = Derivatives(fitted.adapter_, frame)
        rows = derivatives.rows(len(fitted.coef_))["forces"]
        forces = (rows @ fitted.coef_).reshape(-1, 3) + derivatives.offset()["forces"]
        np.testing.assert_allclose(forces, expected["forces"].numpy(), atol=1e-10)


def test_single_precision(frames):
    model = small_mace(dtype=torch.float32)
    fitted = LastLayerRigidity(model).fit(frames)
    energy = own(model, fitted.adapter_, frames, compute_force=False)["energy"].detach().numpy()
    np.testing.assert_allclose(fitted.predict(frames), energy, rtol=1e-5)
    exact = LastLayerRigidity(small_mace()).fit(frames)
    assert torch.get_default_dtype() == torch.float32
    assert exact.adapter_.batch(frames)["positions"].dtype == torch.float64


def test_several_layers(frames):
    layers = ["readouts.0.linear", "readouts.1.linear_1", "readouts.1.linear_2"]
    energies = np.array([-5.0, -3.0, -1.0, -2.0])
    model = LastLayerRigidity(small_mace(), readout=layers, refit=True, alpha=1e-6)
    model.fit(frames, energies)
    assert model.n_features_in_ == 8 + 8 + 6
    np.testing.assert_allclose(model.predict(frames), energies, atol=0.1)
    with pytest.raises(ValueError, match="use refit=True"):
        LastLayerRigidity(small_mace(), readout=layers).fit(frames)
    with pytest.raises(ValueError, match="no layer 'readouts"):
        LastLayerRigidity(small_mace(), readout="readouts.7").fit(frames)


def test_atoms_that_it_does_not_know(frames):
    with pytest.raises(ValueError, match=r"no atoms of number \[14\]"):
        LastLayerRigidity(small_mace()).fit([*frames, build.bulk("Si")])
