"""The script for a MACE of coarse-grained water runs; its scores are measured, not tested."""

import numpy as np
import pytest

pytest.importorskip("mace")

import networks_coarse_water
import torch

from skrigidity import LastLayerRigidity
from skrigidity.datasets import load_coarse_water


@pytest.fixture(scope="module")
def frames():
    return load_coarse_water(split="train", return_frames=True).frames[:4]


def test_training_matches_forces(frames):
    network = networks_coarse_water.new_network(0.26, width=4)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    trained = networks_coarse_water.train(network, frames, steps=15)
    assert any(not torch.equal(before[name], value) for name, value in trained.state_dict().items())
    model = LastLayerRigidity(
        trained.double(), force_weight=networks_coarse_water.FORCES_ALONE, calibration=None
    ).fit(frames[:2])
    forces, variances = networks_coarse_water.forces_and_variances(model, frames[:2])
    labels = np.array([frame.arrays[networks_coarse_water.LABELS] for frame in frames[:2]])
    assert np.mean((forces - labels) ** 2) < 0.98 * np.mean(labels**2)
    # Frames of H are pinned by themselves: each of their components, at least.
    assert (networks_coarse_water.FORCES_ALONE * variances < 1).all()
    # Energies do not count: what moves no force is not known.
    rigidity = networks_coarse_water.frame_rigidity(variances)
    assert rigidity.shape == (2,)
    assert (rigidity > 10).all()


def test_script(capsys):
    arguments = ["--sizes", "2", "3", "--steps", "4", "--duration", "0.04", "--width", "4"]
    table = networks_coarse_water.main([*arguments, "--look", "4"])
    assert table["size"].tolist() == [2, 3]
    assert table["stable"].all()
    columns = ["rmse", "relative_pr", "lowest_pr", "g_distance", "inside_1", "spearman"]
    assert np.isfinite(table[columns]).all(axis=None)
    assert np.isfinite(table["spearman_excess"][0])
    assert "relative_pr" in capsys.readouterr().out
