"""The loop by which tests and figures train networks learns, and leaves rigidities."""

import numpy as np
import pytest
from metatrain_models import train_soap_bpnn
from network_training import energies_of_atoms
from schnetpack_models import train_painn

from skrigidity.last_layer import LastLayerRigidity

emt = pytest.importorskip("ase.calculators.emt")
build = pytest.importorskip("ase.build")


@pytest.fixture(scope="module")
def data():
    """Distorted crystals of copper and gold of two sizes, energies and forces."""
    frames = []
    for seed in range(48):
        rng = np.random.default_rng(seed)
        atoms = build.bulk("Cu", cubic=True, a=3.6 + 0.3 * rng.random())
        atoms *= (1, 1, 1 + seed % 2)
        atoms.numbers[rng.random(len(atoms)) < 0.5] = 79
        atoms.rattle(0.15, rng=rng)
        atoms.calc = emt.EMT()
        frames.append(atoms)
    return (
        frames,
        np.array([x.get_potential_energy() for x in frames]),
        [x.get_forces() for x in frames],
    )


def test_energies_of_atoms(data):
    frames, _, _ = data
    counts = np.array([[np.sum(x.numbers == z) for z in (29, 79)] for x in frames])
    atoms, unit = energies_of_atoms(frames, counts @ [2.0, -3.0])
    assert atoms == pytest.approx({29: 2.0, 79: -3.0})
    assert unit < 1e-12


@pytest.mark.parametrize("with_forces", [False, True])
@pytest.mark.parametrize("train", [train_painn, train_soap_bpnn])
def test_networks_learn(data, train, with_forces):
    frames, energies, forces = data
    epochs = []
    training = {"epochs": 12, "batch_size": 4, "after_epoch": epochs.append}
    if with_forces:
        training |= {"forces": forces[:32], "epochs": 6}
    network = train(frames[:32], energies[:32], training=training)
    assert epochs == list(range(training["epochs"]))
    sizes = np.array([len(x) for x in frames])
    model = LastLayerRigidity(network).fit(frames[:32])
    error = (model.predict(frames) - energies)[32:] / sizes[32:]
    _, unit = energies_of_atoms(frames[:32], energies[:32])
    assert np.sqrt(np.mean(error**2)) < 0.6 * unit
    rigidity = model.prediction_rigidity(frames)
    assert (rigidity > 0).all()
    foreign = frames[40].copy()
    foreign.set_cell(1.3 * foreign.cell, scale_atoms=True)
    assert model.prediction_rigidity([foreign])[0] < np.median(rigidity[32:])
    if with_forces:
        found = np.concatenate(model.predict(frames[32:], properties="forces"))
        known = np.concatenate(forces[32:])
        assert np.sqrt(np.mean((found - known) ** 2)) < 0.6 * np.sqrt(np.mean(known**2))
