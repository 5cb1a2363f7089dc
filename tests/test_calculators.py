"""The ASE calculator: what it gives, remembers and writes, and what ASE does with it."""

import copy
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

pytest.importorskip("ase", reason='needs ASE: pip install "skrigidity[atomistic]"')

from ase import Atoms, units
from ase.calculators.calculator import PropertyNotImplementedError
from ase.calculators.fd import calculate_numerical_forces, calculate_numerical_stress
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms
from ase.eos import EquationOfState
from ase.filters import FrechetCellFilter, UnitCellFilter
from ase.io import Trajectory, read, write
from ase.md import VelocityVerlet
from ase.optimize import BFGS, FIRE
from ase.phonons import Phonons
from pair_potential import PairPotential, crystal

from skrigidity.calculators import RigidityCalculator, SinglePoint

ALL = ("energy", "forces", "stress", "local")
PER_ATOM = ("forces_std", "energies_std", "local_rigidity", "support")
EXTRAS = {"energy_std", "stress_std", *PER_ATOM}
NO_VOLUME = Atoms("Cu3", [[0, 0, 0], [2.5, 0, 0], [1.2, 2.2, 0.3]])


@pytest.fixture
def model():
    return PairPotential()


@pytest.fixture
def atoms():
    return crystal(rattle=0.05, seed=9, strain=0.03)


def watched(atoms, model, uncertainty=()):
    atoms = atoms.copy()
    atoms.calc = RigidityCalculator(model, uncertainty=uncertainty)
    return atoms


# -- numbers --------------------------------------------------------------------------------------


def test_forces_and_stress_are_derivatives(model, atoms):
    atoms = watched(atoms, model)
    forces, stress = atoms.get_forces(), atoms.get_stress()
    assert np.abs(calculate_numerical_forces(atoms, eps=1e-4) - forces).max() < 1e-6
    assert np.abs(calculate_numerical_stress(atoms, eps=1e-5) - stress).max() < 1e-8
    assert atoms.get_potential_energies().sum() == pytest.approx(atoms.get_potential_energy())
    assert atoms.get_potential_energy(force_consistent=True) == atoms.get_potential_energy()


def test_results_are_those_of_the_model(model, atoms):
    atoms = watched(atoms, model, ALL)
    atoms.get_potential_energy()
    expected = model.single_point(atoms.copy(), ALL)
    assert atoms.calc.results.keys() == expected.keys()
    for key, value in expected.items():
        np.testing.assert_array_equal(atoms.calc.results[key], value, err_msg=key)
    assert atoms.calc.results.keys() > EXTRAS
    # ASE would look for names that it does not know.
    assert EXTRAS.isdisjoint(atoms.calc.implemented_properties)


def test_constraints(model, atoms):
    atoms = watched(atoms, model)
    raw = atoms.get_forces()
    atoms.set_constraint(FixAtoms([0]))
    assert np.all(atoms.get_forces()[0] == 0)
    np.testing.assert_array_equal(atoms.get_forces(apply_constraint=False), raw)


# -- what is calculated, and when -----------------------------------------------------------------


def test_no_uncertainty_is_asked_for_unless_wanted(model, atoms):
    atoms = watched(atoms, model)
    atoms.get_potential_energy()
    assert model.calls == [()]
    assert EXTRAS.isdisjoint(atoms.calc.results)
    watched(atoms, model, ("energy", "local")).get_forces()
    assert model.calls[1:] == [("energy", "local")]


def test_nothing_is_calculated_twice(model, atoms):
    atoms = watched(atoms, model, ALL)
    for _ in range(2):
        atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress()
        atoms.get_potential_energies()
        atoms.calc.uncertainty(atoms)
        atoms.calc.snapshot(atoms)
    assert len(model.calls) == 1
    atoms.positions[0, 0] += 1e-6
    atoms.get_forces()
    assert len(model.calls) == 2


def test_uncertainty_on_demand(model, atoms):
    expected = model.single_point(atoms.copy(), ALL)
    atoms = watched(atoms, model)
    atoms.get_forces()
    calc, model.calls[:] = atoms.calc, []
    assert calc.uncertainty(atoms, "energy") == {"energy_std": expected["energy_std"]}
    assert calc.uncertainty(properties=["local", "energy"]).keys() == {
        "energies_std",
        "local_rigidity",
        "support",
        "energy_std",
    }
    assert model.calls == [("energy",), ("local",)]
    everything = calc.uncertainty(atoms)
    assert model.calls[2:] == [("forces", "stress")]
    assert everything.keys() == EXTRAS
    for key in EXTRAS:
        np.testing.assert_array_equal(everything[key], expected[key])
    everything["forces_std"][:] = -1
    assert np.all(calc.results["forces_std"] >= 0)
    atoms.get_stress()
    assert len(model.calls) == 3


def test_asking_changes_nothing(model, atoms):
    """Not by rounding either: dynamics under watch stay what they are."""
    atoms = watched(atoms, model)
    before = atoms.get_forces()
    single_point = model.single_point

    def rounded_otherwise(frame, uncertainty=()):
        found = single_point(frame, uncertainty)
        return {**found, "forces": found["forces"] * (1 + 1e-15)}

    model.single_point = rounded_otherwise
    atoms.calc.uncertainty(atoms)
    np.testing.assert_array_equal(atoms.get_forces(), before)


def test_uncertainty_of_other_atoms(model, atoms):
    """They become those of the last calculation, with all that calculations bring along."""
    calc = watched(atoms, model, ["local"]).calc
    other = crystal(rattle=0.1, seed=3)
    got = calc.uncertainty(other, ["energy"])
    assert got == {"energy_std": model.single_point(other, ["energy"])["energy_std"]}
    assert model.calls[0] == ("energy", "local")
    assert "local_rigidity" in calc.results
    calc.get_forces(other)
    assert len(model.calls) == 2
    assert calc.get_potential_energy(atoms) != calc.get_potential_energy(other)


def test_set(model, atoms):
    atoms = watched(atoms, model)
    atoms.get_forces()
    assert atoms.calc.set(uncertainty=["energy"]) == {"uncertainty": ("energy",)}
    atoms.get_forces()
    assert model.calls == [(), ("energy",)]
    assert atoms.calc.set(uncertainty=["energy"]) == {}
    assert atoms.calc.results
    assert atoms.calc.todict() == {"uncertainty": ("energy",)}


# -- what cannot be answered ----------------------------------------------------------------------


def test_no_stress_without_a_volume(model):
    atoms = watched(NO_VOLUME, model, ALL)
    energy = atoms.get_potential_energy()
    with pytest.raises(PropertyNotImplementedError, match="no volume"):
        atoms.get_stress()
    assert atoms.get_potential_energy() == energy
    assert model.calls == [("energy", "forces", "local")]
    assert atoms.calc.uncertainty(atoms).keys() == EXTRAS - {"stress_std"}
    with pytest.raises(PropertyNotImplementedError, match="no volume"):
        atoms.calc.uncertainty(atoms, ["energy", "stress"])
    assert len(model.calls) == 1


def test_no_results_of_earlier_atoms(model, atoms):
    atoms = watched(atoms, model)
    atoms.get_stress()
    atoms.cell[2] = 0
    atoms.pbc = False
    with pytest.raises(PropertyNotImplementedError, match="no volume"):
        atoms.get_stress()
    expected = model.single_point(atoms.copy())["energy"]
    assert atoms.get_potential_energy() == expected


def test_failed_calculation_leaves_nothing(model, atoms):
    atoms = watched(atoms, model)
    atoms.get_forces()

    def fail(frame, uncertainty=()):
        raise ValueError("unknown species")

    model.single_point = fail
    atoms.numbers[0] = 3
    for _ in range(2):
        with pytest.raises(ValueError, match="unknown species"):
            atoms.get_forces()


@pytest.mark.parametrize("names", ["force", ["energy", "force"]])
def test_unknown_uncertainty(model, atoms, names):
    with pytest.raises(ValueError, match="expected some of energy, forces, stress, local; got 'f"):
        RigidityCalculator(model, uncertainty=names)
    with pytest.raises(ValueError, match="got 'force'"):
        RigidityCalculator(model).uncertainty(atoms, names)


def test_no_atoms_yet(model):
    for method in ("uncertainty", "snapshot"):
        with pytest.raises(ValueError, match="no atoms"):
            getattr(RigidityCalculator(model), method)()


class Network:
    """What a wrapper of a network gives as a rule: no energies of atoms, one uncertainty."""

    def single_point(self, frame, uncertainty=()):
        found = {"energy": -1.0, "free_energy": -1.0, "forces": np.zeros((len(frame), 3))}
        return {**found, "energy_std": 0.1} if "energy" in uncertainty else found


def test_other_models(atoms):
    network = Network()
    assert isinstance(network, SinglePoint)
    assert not isinstance(object(), SinglePoint)
    atoms = watched(atoms, network, ALL)
    assert atoms.get_potential_energy() == -1.0
    assert atoms.calc.uncertainty(atoms, "energy") == {"energy_std": 0.1}
    assert atoms.calc.uncertainty(atoms) == {"energy_std": 0.1}
    with pytest.raises(
        PropertyNotImplementedError, match=r"Network has no uncertainty of .*'local'"
    ):
        atoms.calc.uncertainty(atoms, "local")
    for method in (atoms.get_stress, atoms.get_potential_energies):
        with pytest.raises(PropertyNotImplementedError):
            method()


def test_needs_ase():
    code = "import sys; sys.modules['ase'] = None; import skrigidity.calculators"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "RigidityCalculator needs ase" in done.stderr
    assert 'pip install "skrigidity[atomistic]"' in done.stderr


# -- files and copies -----------------------------------------------------------------------------


def test_snapshot(model, atoms, tmp_path):
    atoms = watched(atoms, model, ALL)
    atoms.info["name"] = "a crystal"
    atoms.set_momenta(np.ones((len(atoms), 3)))
    frame = atoms.calc.snapshot(atoms)
    assert isinstance(frame.calc, SinglePointCalculator)
    assert EXTRAS.isdisjoint({*atoms.info, *atoms.arrays})
    write(tmp_path / "frame.extxyz", frame)
    back = read(tmp_path / "frame.extxyz")
    for thing in (frame, back):
        assert thing.info["name"] == "a crystal"
        np.testing.assert_allclose(thing.get_momenta(), 1.0)
        for name in atoms.calc.implemented_properties:
            got = thing.calc.get_property(name, thing)
            np.testing.assert_allclose(got, atoms.calc.results[name], atol=1e-8, err_msg=name)
        for key in EXTRAS:
            got = thing.arrays[key] if key in PER_ATOM else thing.info[key]
            np.testing.assert_allclose(got, atoms.calc.results[key], atol=1e-8, err_msg=key)


def test_lone_atom_keeps_its_infinite_rigidity(model, tmp_path):
    atoms = watched(Atoms("Cu"), model, ALL)
    write(tmp_path / "lone.extxyz", atoms.calc.snapshot(atoms))
    back = read(tmp_path / "lone.extxyz")
    assert back.arrays["local_rigidity"] == [np.inf]
    assert back.arrays["forces_std"].shape == (1, 3)
    assert back.get_potential_energy() == 0


@pytest.mark.parametrize("name", ["atoms.extxyz", "atoms.traj", "atoms.json"])
def test_files_of_ase(model, atoms, tmp_path, name):
    atoms = watched(atoms, model, ALL)
    atoms.get_stress()
    write(tmp_path / name, atoms)
    back = read(tmp_path / name)
    np.testing.assert_allclose(back.get_forces(), atoms.get_forces(), atol=1e-8)
    np.testing.assert_allclose(back.get_stress(), atoms.get_stress(), atol=1e-8)
    assert back.get_potential_energy() == pytest.approx(atoms.get_potential_energy(), abs=1e-8)


def test_trajectory_of_a_molecule(model, tmp_path):
    atoms = watched(NO_VOLUME, model, ALL)
    with Trajectory(tmp_path / "molecule.traj", "w", atoms) as trajectory:
        atoms.get_forces()
        trajectory.write()
    np.testing.assert_allclose(read(tmp_path / "molecule.traj").get_forces(), atoms.get_forces())


def test_export_properties(model, atoms):
    atoms = watched(atoms, model, ALL)
    atoms.get_forces()
    exported = atoms.calc.export_properties()
    assert set(atoms.calc.implemented_properties) < set(exported)
    assert EXTRAS.isdisjoint(exported)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda c: pickle.loads(pickle.dumps(c))])
@pytest.mark.parametrize("used", [True, False])
def test_copies(model, atoms, duplicate, used):
    atoms = watched(atoms, model, ALL)
    if used:
        atoms.get_forces()
    twin = atoms.copy()
    twin.calc = duplicate(atoms.calc)
    calls = len(twin.calc.model.calls)
    np.testing.assert_array_equal(twin.get_forces(), atoms.get_forces())
    assert len(twin.calc.model.calls) == calls + (not used)
    np.testing.assert_array_equal(
        twin.calc.uncertainty()["forces_std"], atoms.calc.results["forces_std"]
    )
    before = atoms.get_potential_energy()
    twin.positions[0, 0] += 0.1
    assert twin.get_potential_energy() != before
    assert atoms.get_potential_energy() == before


def test_threads_share_a_model(model):
    frames = [crystal(rattle=0.08, seed=seed) for seed in range(2)]
    expected = [model.single_point(frame, ALL) for frame in frames]

    def run(frame):
        frame = watched(frame, model, ALL)
        found = []
        for step in range(15):
            frame.positions += 0.01 * (-1) ** step
            frame.get_forces()
            found.append(frame.calc.uncertainty(frame, ["forces"])["forces_std"])
        return found

    with ThreadPoolExecutor(2) as pool:
        for found, single in zip(pool.map(run, frames), expected, strict=True):
            for forces_std in found:
                np.testing.assert_allclose(forces_std, single["forces_std"], rtol=1e-6)


# -- what people do with calculators --------------------------------------------------------------


def test_energy_is_conserved(model):
    atoms = watched(crystal(), model)
    velocities = np.random.default_rng(0).standard_normal((len(atoms), 3))
    velocities -= velocities.mean(axis=0)
    atoms.set_velocities(velocities * np.sqrt(units.kB * 300 / atoms.get_masses()[0]))
    dynamics = VelocityVerlet(atoms, timestep=1.0 * units.fs)
    energies = []
    dynamics.attach(lambda: energies.append(atoms.get_total_energy()))
    dynamics.run(300)
    energies = 1000 * np.array(energies) / len(atoms)  # meV per atom
    slope = np.polyfit(np.arange(len(energies)) / 1000, energies, 1)[0]
    assert abs(slope) < 0.005
    assert np.std(energies) < 0.01
    assert atoms.get_kinetic_energy() > 0


@pytest.mark.parametrize("optimizer", [BFGS, FIRE])
@pytest.mark.parametrize("cell_filter", [FrechetCellFilter, UnitCellFilter])
def test_relaxation(model, atoms, optimizer, cell_filter):
    atoms = watched(atoms, model)
    with optimizer(cell_filter(atoms), logfile=None) as run:
        assert run.run(fmax=1e-3, steps=400)
    assert np.abs(atoms.get_forces()).max() < 2e-3
    assert np.abs(atoms.get_stress()).max() < 1e-4
    assert atoms.get_potential_energy() < watched(crystal(), model).get_potential_energy()


def test_equation_of_state(model):
    volumes, energies, pressures = [], [], []
    for scale in np.linspace(0.95, 1.02, 8):
        atoms = watched(crystal(repeat=1), model)
        atoms.set_cell(scale * atoms.cell, scale_atoms=True)
        volumes.append(atoms.get_volume())
        energies.append(atoms.get_potential_energy())
        pressures.append(-atoms.get_stress()[:3].mean())
    volume, _, modulus = EquationOfState(volumes, energies, eos="birchmurnaghan").fit()
    assert volumes[0] < volume < volumes[-1]
    at = np.interp(volume, volumes, pressures)
    assert abs(at) < 0.01 * modulus
    slope = -volume * np.gradient(pressures, volumes)
    assert np.interp(volume, volumes, slope) == pytest.approx(modulus, rel=0.05)


def test_phonons(model, tmp_path):
    atoms = watched(crystal(repeat=1), model)
    with BFGS(FrechetCellFilter(atoms), logfile=None) as run:
        run.run(fmax=1e-5)
    phonons = Phonons(
        atoms,
        watched(atoms, model).calc,
        supercell=(3, 3, 3),
        delta=0.01,
        name=str(tmp_path / "phonons"),
    )
    phonons.run()
    phonons.read(acoustic=True)
    at_rest = phonons.band_structure([[0, 0, 0]])[0]
    inside = phonons.band_structure([[0.5, 0, 0], [0.25, 0.25, 0], [0.1, 0.3, 0.4]])
    assert np.abs(at_rest[:3]).max() < 1e-3  # eV
    assert inside.min() > 1e-3
    assert inside.max() < 0.1
