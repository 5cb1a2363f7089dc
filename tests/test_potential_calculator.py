"""RigidPotential as a calculator of ASE."""

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

pytest.importorskip("ase", reason='needs ASE: pip install "skrigidity[atomistic]"')
pytest.importorskip("sphericart", reason='needs sphericart: pip install "skrigidity[atomistic]"')

from ase import Atoms, units
from ase.build import bulk
from ase.calculators.calculator import PropertyNotImplementedError
from ase.calculators.emt import EMT
from ase.calculators.fd import calculate_numerical_forces, calculate_numerical_stress
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read, write
from ase.md import VelocityVerlet

from skrigidity.atomistic import ACEDescriptor, RigidPotential
from skrigidity.calculators import RigidityCalculator, RigidityObserver, SinglePoint

ALL = ("energy", "forces", "stress", "local")


def rattled(seed, scale=0.12):
    frame = bulk("Cu", cubic=True) * (2, 1, 1)
    rng = np.random.default_rng(seed)
    frame.set_cell(frame.cell.array @ (np.eye(3) + 0.02 * rng.standard_normal((3, 3))), True)
    frame.positions += scale * rng.standard_normal(frame.positions.shape)
    return frame


@pytest.fixture(scope="module")
def potential():
    frames = []
    for seed in range(12):
        frame = rattled(seed)
        frame.calc = EMT()
        results = {"energy": frame.get_potential_energy(), "forces": frame.get_forces()}
        frame.calc = SinglePointCalculator(frame, **results)
        frames.append(frame)
    descriptor = ACEDescriptor(cutoff=4.0, max_degree=(6, 4), kind="self-interacting", r0=2.5)
    return RigidPotential(descriptor).fit(frames)


def test_results_are_predictions(potential):
    assert isinstance(potential, SinglePoint)
    frame = rattled(20)
    atoms = frame.copy()
    atoms.calc = potential.calculator()
    atoms.get_potential_energy()
    results = atoms.calc.results
    names = ("energy", "forces", "stress")
    expected = potential.predict([frame], return_std=True, properties=names)
    for key in (*names, "energy_std", "forces_std", "stress_std"):
        np.testing.assert_allclose(results[key], expected[key][0], rtol=1e-9, atol=1e-12)
    local, local_std = potential.predict_local([frame], return_std=True)
    np.testing.assert_allclose(results["energies"], np.ravel(local[0]), rtol=1e-9)
    np.testing.assert_allclose(results["energies_std"], np.ravel(local_std[0]), rtol=1e-9)
    rigidity = np.ravel(potential.local_rigidity([frame])[0])
    np.testing.assert_allclose(results["local_rigidity"], rigidity, rtol=1e-9)
    assert results["support"].shape == (len(frame),)


def test_forces_and_stress_are_derivatives(potential):
    atoms = rattled(21)
    atoms.calc = potential.calculator(uncertainty=())
    forces, stress = atoms.get_forces(), atoms.get_stress()
    assert np.abs(calculate_numerical_forces(atoms, eps=1e-4) - forces).max() < 1e-6
    assert np.abs(calculate_numerical_stress(atoms, eps=1e-5) - stress).max() < 1e-7


def test_cluster(potential):
    atoms = Atoms("Cu3", [[0, 0, 0], [2.5, 0, 0], [1.2, 2.2, 0.3]])
    atoms.calc = potential.calculator()
    assert np.isfinite(atoms.get_potential_energy())
    with pytest.raises(PropertyNotImplementedError, match="no volume"):
        atoms.get_stress()
    assert "stress_std" not in atoms.calc.uncertainty(atoms)
    atoms.numbers[0] = 13
    with pytest.raises(ValueError, match="Al"):
        atoms.get_potential_energy()


def test_copies_and_files(potential, tmp_path):
    atoms = rattled(22)
    atoms.calc = potential.calculator()
    forces = atoms.get_forces()
    for calc in (copy.deepcopy(atoms.calc), pickle.loads(pickle.dumps(atoms.calc))):
        calc.reset()
        twin = atoms.copy()
        twin.calc = calc
        np.testing.assert_allclose(twin.get_forces(), forces, rtol=1e-12, atol=1e-14)
    write(tmp_path / "frame.extxyz", atoms.calc.snapshot(atoms))
    back = read(tmp_path / "frame.extxyz")
    np.testing.assert_allclose(back.get_forces(), forces, atol=1e-7)

    forces_std = atoms.calc.results["forces_std"]
    np.testing.assert_allclose(back.arrays["forces_std"], forces_std, atol=1e-7)


def test_threads(potential):
    def run(seed):
        atoms = rattled(seed)
        atoms.calc = RigidityCalculator(potential, uncertainty=ALL)
        found = []
        for _ in range(5):
            atoms.positions += 0.01
            atoms.get_forces()
            found.append((atoms.calc.results["forces"], atoms.calc.results["forces_std"]))
        return found

    alone = [run(30), run(31)]
    with ThreadPoolExecutor(2) as pool:
        np.testing.assert_array_equal(list(pool.map(run, (30, 31))), alone)


def test_dynamics_conserve_energy(potential):
    atoms = rattled(23, scale=0.03)
    atoms.calc = potential.calculator(uncertainty=())
    dynamics = VelocityVerlet(atoms, timestep=1.0 * units.fs)
    observer = RigidityObserver(dynamics, force_std=10.0, action="stop")
    dynamics.attach(observer, interval=50)
    energies = []
    dynamics.attach(lambda: energies.append(1000 * atoms.get_total_energy() / len(atoms)))
    dynamics.run(100)
    assert not observer.stopped
    assert np.ptp(energies) < 0.5
    assert atoms.get_temperature() > 10


@pytest.mark.parametrize("bias", [0.3, 2.0])
def test_biased_forces_and_stress_are_derivatives(potential, bias):
    atoms = rattled(23, scale=0.3)
    atoms.calc = potential.calculator(uncertainty=(), bias=bias)
    forces, stress, energy = atoms.get_forces(), atoms.get_stress(), atoms.get_potential_energy()
    assert np.abs(calculate_numerical_forces(atoms, eps=1e-4) - forces).max() < 1e-6
    assert np.abs(calculate_numerical_stress(atoms, eps=1e-5) - stress).max() < 1e-7
    plain = potential.single_point(atoms, ("energy",))
    assert energy == pytest.approx(plain["energy"] - bias * plain["energy_std"], abs=1e-9)
    assert np.abs(forces - plain["forces"]).max() > 1e-3  # it does something


def test_gradient_of_error_bar(potential):
    frame = rattled(24, scale=0.25)
    found, h = potential.energy_std_gradient(frame), 1e-5
    assert found.std == pytest.approx(potential.single_point(frame, ["energy"])["energy_std"])
    rng = np.random.default_rng(0)
    for _ in range(4):
        move, ends = rng.standard_normal((len(frame), 3)), []
        for sign in (1, -1):
            moved = frame.copy()
            moved.positions += sign * h * move
            ends.append(potential.energy_std_gradient(moved).std)
        assert np.sum(found.positions * move) == pytest.approx(
            (ends[0] - ends[1]) / 2 / h, abs=1e-6
        )


def test_bias_after_an_update(potential):
    """What is kept of a Hessian is not used with another one."""
    model, frame = copy.deepcopy(potential), rattled(25, scale=0.3)
    before = model.energy_std_gradient(frame)
    new = frame.copy()
    new.calc = EMT()
    results = {"energy": new.get_potential_energy(), "forces": new.get_forces()}
    new.calc = SinglePointCalculator(new, **results)
    after = model.update([new]).energy_std_gradient(frame)
    assert after.std < 0.9 * before.std
    assert after.std == pytest.approx(model.single_point(frame, ["energy"])["energy_std"])
    atoms = frame.copy()
    atoms.calc = model.calculator(uncertainty=(), bias=1.0)
    forces = calculate_numerical_forces(atoms, eps=1e-4)
    assert np.abs(forces - atoms.get_forces()).max() < 1e-6


def test_biased_dynamics_find_less_rigid_structures(potential):
    least = {}
    for bias in (0.0, 30.0):
        atoms = rattled(26, scale=0.05)
        atoms.set_velocities(0.02 * np.random.default_rng(0).standard_normal((len(atoms), 3)))
        atoms.calc = potential.calculator(uncertainty=(), bias=bias)
        dynamics = VelocityVerlet(atoms, timestep=2 * units.fs)
        observer = RigidityObserver(dynamics, properties=("energy",))
        dynamics.attach(observer, interval=30)
        total = atoms.get_total_energy()
        dynamics.run(30)
        assert atoms.get_total_energy() == pytest.approx(total, abs=0.002)
        least[bias] = observer.latest["energy_std"]
    assert least[30.0] > 1.3 * least[0.0]


def test_bias_in_snapshots_and_parameters(potential):
    atoms = rattled(27)
    calculator = potential.calculator(bias=0.5)
    atoms.calc = calculator
    energy = atoms.get_potential_energy()
    snapshot = calculator.snapshot()
    expected = -0.5 * calculator.results["energy_std"]
    assert snapshot.info["bias_energy"] == pytest.approx(expected)
    # Asking for more does not add the bias again.
    calculator.set(bias=0.5, uncertainty=())
    atoms.get_potential_energy()
    calculator.uncertainty(atoms)
    assert calculator.results["energy"] == pytest.approx(energy, abs=1e-12)
    calculator.set(bias=0.0)
    assert atoms.get_potential_energy() == pytest.approx(energy - expected)
    assert "bias_energy" not in calculator.results
    for wrong in (-1.0, np.nan, np.inf):
        with pytest.raises(ValueError, match="bias"):
            calculator.set(bias=wrong)

    class Free:
        def single_point(self, frame, uncertainty=()):
            return {"energy": 0.0, "free_energy": 0.0, "forces": 0 * frame.positions}

    with pytest.raises(TypeError, match="no energy_std_gradient"):
        RigidityCalculator(Free(), bias=0.1)
