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
