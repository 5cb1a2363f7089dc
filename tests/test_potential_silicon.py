"""`RigidPotential()` on silicon: accuracy, and what its error bars are worth.

Nothing here is chosen on the test frames; thresholds were fixed beforehand.
"""

import numpy as np
import pytest
from mlearn import silicon
from scipy.stats import spearmanr

from skrigidity.atomistic import RigidPotential

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def training_and_test():
    pytest.importorskip("sphericart")
    return silicon()


@pytest.fixture(scope="module")
def model(training_and_test):
    return RigidPotential().fit(training_and_test[0])


@pytest.fixture(scope="module")
def table(training_and_test, model):
    found = model.error_table(training_and_test[1], by="group")
    print("\n", found.T.to_string())
    return found


def test_accuracy(table):
    """GAP 2.91 meV/atom and .07 eV/Å, MTP 2.21 and .06 on the same frames."""
    assert table.loc[("all", "energy"), "mae"] <= 0.0035
    assert table.loc[("all", "forces"), "mae"] <= 0.080


def test_error_bars_of_forces(table):
    forces = table.loc[("all", "forces")]
    assert 0.64 <= forces["coverage_1"] <= 0.75
    assert 0.92 <= forces["coverage_2"] <= 0.97
    assert forces["coverage_3"] >= 0.98
    assert forces["dnll"] <= -0.05
    assert forces["dnll_shuffled"] > 0.05  # the control
    assert forces["spearman"] >= 0.40
    assert forces["spearman"] > forces["spearman_of_force"]
    assert forces["spearman_within"] > 0


def test_forces_matter(training_and_test, table):
    training, test = training_and_test
    energies = RigidPotential(forces_key=None, calibration=None).fit(training)
    energies.keys_["forces"] = "forces_dft"
    errors = energies.error_table(test)
    assert errors.loc[("all", "forces"), "mae"] >= 2.5 * table.loc[("all", "forces"), "mae"]


def test_within_a_frame_error_bars_differ_too_little_to_rank(training_and_test, model):
    """Even errors that are Gaussian with exactly these error bars would hardly be ranked."""
    frames = [f for f in training_and_test[1] if f.info["group"] in ("AIMD-NVT", "Vacancy")]
    forces, std = model.predict(frames, return_std=True, properties="forces")
    rng, found, attainable = np.random.default_rng(0), [], []
    for frame, predicted, bars in zip(frames, forces, std, strict=True):
        size = np.linalg.norm(bars, axis=1)
        error = predicted - frame.arrays["forces_dft"]
        found.append(spearmanr(np.linalg.norm(error, axis=1), size).statistic)
        for _ in range(20):
            drawn = bars * rng.standard_normal(bars.shape)
            attainable.append(spearmanr(np.linalg.norm(drawn, axis=1), size).statistic)
    print(f"\nSpearman within frames: {np.mean(found):.2f}, attainable {np.mean(attainable):.2f}")
    assert 0.05 < np.mean(found) < np.mean(attainable) < 0.4


def test_left_out_frames_tell_what_test_frames_will_show(training_and_test, model, table):
    """Errors of left-out frames, from one fit, are about those of the test set."""
    training, _ = training_and_test
    left = model.leave_one_out(training)
    sizes = np.array([len(frame) for frame in training])
    assert left.n_excluded == 0
    energy = np.abs(left.residual / sizes).mean()
    forces = np.abs(np.concatenate(left.forces_residual)).mean()
    assert 0.5 < energy / table.loc[("all", "energy"), "mae"] < 2
    assert 0.5 < forces / table.loc[("all", "forces"), "mae"] < 2
