"""What a potential knows of its own training set: counts, and quantiles as thresholds."""

import numpy as np
import pytest
from ase import units
from ase.md import VelocityVerlet
from pairs import PairDescriptor, frames_with_references

from skrigidity.atomistic import ACEDescriptor, RigidPotential
from skrigidity.calculators import RigidityObserver

NAMES = ("energy_std", "forces_std", "stress_std", "energies_std", "local_rigidity", "support")


def potential(descriptor=None, **changes):
    parameters = {"energy_error": 0.01, "virial_error": 0.05, "stress_key": "stress", "alpha": 1e-6}
    return RigidPotential(descriptor or PairDescriptor(), **(parameters | changes))


@pytest.fixture(scope="module")
def frames():
    return frames_with_references(14)


@pytest.fixture(scope="module")
def model(frames):
    return potential().fit(frames)


def values_of_training_set(model, frames, name):
    """What `single_point` says of the frames that were fitted to."""
    values = []
    for frame in frames:
        found = model.single_point(frame, ("energy", "forces", "stress", "local"))
        scale = len(frame) if name == "energy_std" else 1
        values.append(np.ravel(found[name]) / scale)
    return np.concatenate(values)


@pytest.mark.parametrize("name", NAMES)
def test_quantiles_are_those_of_single_points(model, frames, name):
    values = values_of_training_set(model, frames, name)
    for q in (0.0, 1.0):
        assert model.training_quantile(name, q) == pytest.approx(np.quantile(values, q), rel=1e-6)
    for q in (0.1, 0.5, 0.9):
        low, high = np.quantile(values, [q - 0.01, q + 0.01])
        tolerance = 1e-6 * abs(high)
        assert low - tolerance <= model.training_quantile(name, q) <= high + tolerance


def test_rows_that_are_not_kept_say_the_same(model, frames):
    other = potential(cache_size=0).fit(frames)
    for name in NAMES:
        assert other.training_quantile(name, 0.9) == pytest.approx(
            model.training_quantile(name, 0.9), rel=1e-9
        )


def test_another_calibration_changes_them(frames):
    model = potential(calibration="loo").fit(frames)
    rigidity, std = (model.training_quantile(n, 0.3) for n in ("local_rigidity", "forces_std"))
    scale = model.scale_["forces"]
    model.calibrate(frames_with_references(6, seed=9), noise=False)
    assert model.training_quantile("local_rigidity", 0.3) == rigidity
    ratio = np.sqrt(model.scale_["forces"] / scale)
    assert ratio != pytest.approx(1, rel=1e-3)
    assert model.training_quantile("forces_std", 0.3) == pytest.approx(ratio * std)


def test_what_is_not_known(model, frames):
    with pytest.raises(ValueError, match=r"expected one of energy_std, .*'forces' and 0\.5"):
        model.training_quantile("forces", 0.5)
    with pytest.raises(ValueError, match=r"'forces_std' and 1\.5"):
        model.training_quantile("forces_std", 1.5)
    energies = potential(forces_key=None, stress_key=None, virial_error=None).fit(frames)
    assert energies.training_quantile("energy_std", 0.5) > 0
    for name in ("forces_std", "stress_std"):
        with pytest.raises(ValueError, match=f"{name}: not known of this training set"):
            energies.training_quantile(name, 0.5)
    with pytest.raises(ValueError, match="energy_std: not known of this training set"):
        potential(calibration=None).fit(frames).training_quantile("energy_std", 0.5)


def test_numbers_of_the_training_set(model, frames):
    n_atoms = sum(map(len, frames))
    expected = {"frames": 14, "atoms": n_atoms, "energy": 14, "forces": 14, "stress": 14}
    assert model.n_training_ == expected
    weight = np.ones(14)
    weight[3] = 0
    fewer = potential(stress_key=None, virial_error=None).fit(frames, sample_weight=weight)
    expected = {"frames": 13, "atoms": n_atoms - len(frames[3]), "energy": 13, "forces": 13}
    assert fewer.n_training_ == expected | {"stress": 0}


def test_files_have_counts_and_quantiles(frames, tmp_path):
    descriptor = ACEDescriptor(cutoff=4.0, max_degree=(4,), kind="self-interacting", r0=2.0)
    model = potential(descriptor).fit(frames)
    model.save(tmp_path / "model.npz")
    loaded = RigidPotential.load(tmp_path / "model.npz")
    assert loaded.n_training_ == model.n_training_
    for name in NAMES:
        assert loaded.training_quantile(name, 0.3) == model.training_quantile(name, 0.3)


@pytest.mark.parametrize(
    ("threshold", "key"),
    [
        ("energy_std", "energy_std"),
        ("force_std", "forces_std"),
        ("local_std", "energies_std"),
        ("min_rigidity", "local_rigidity"),
        ("min_support", "support"),
        ("stress_std", "stress_std"),
    ],
)
def test_thresholds_of_dynamics(model, frames, threshold, key):
    atoms = frames[0].copy()
    atoms.calc = model.calculator(uncertainty=())
    dynamics = VelocityVerlet(atoms, timestep=1.0 * units.fs)
    observer = RigidityObserver(dynamics, **{threshold: "99%"})
    scale = len(atoms) if threshold == "energy_std" else 1
    assert observer.thresholds[threshold] == scale * model.training_quantile(key, 0.99)
    # The frame is one of the training set: nothing of it is beyond all of that.
    beyond = "0%" if threshold.startswith("min") else "100%"
    slack = RigidityObserver(dynamics, **{threshold: beyond}).thresholds[threshold]
    slack *= 1 - 1e-6 if threshold.startswith("min") else 1 + 1e-6
    if slack > 0:
        assert not RigidityObserver(dynamics, **{threshold: slack})()
