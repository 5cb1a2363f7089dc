"""Dynamics under watch: the log, what is collected, where runs end."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("ase", reason='needs ASE: pip install "skrigidity[atomistic]"')

from ase import Atoms, units
from ase.calculators.emt import EMT
from ase.filters import FrechetCellFilter
from ase.io import read
from ase.md import Langevin, VelocityVerlet
from ase.md.switch_langevin import SwitchLangevin
from ase.optimize import BFGS
from ase.optimize.sciopt import SciPyFminCG
from pair_potential import PairPotential, crystal

from skrigidity.calculators import RigidityCalculator, RigidityObserver, SimulationStopped

ALL = ("energy", "forces", "stress", "local")


@pytest.fixture
def model():
    return PairPotential()


@pytest.fixture
def atoms(model):
    atoms = crystal(rattle=0.05, seed=5)
    atoms.calc = RigidityCalculator(model, uncertainty=())
    return atoms


def verlet(atoms, **options):
    dynamics = VelocityVerlet(atoms, timestep=2.0 * units.fs)
    observer = RigidityObserver(dynamics, **options)
    return dynamics, observer


# -- the log --------------------------------------------------------------------------------------


def test_log(model, atoms, tmp_path):
    dynamics, observer = verlet(atoms, logfile=tmp_path / "log.csv", properties=ALL)
    dynamics.attach(observer, interval=5)
    frames = []
    dynamics.attach(lambda: frames.append(atoms.copy()), interval=5)
    dynamics.run(10)
    table = pd.read_csv(tmp_path / "log.csv")
    assert table["step"].tolist() == [0, 5, 10]
    np.testing.assert_allclose(table["time"], [0.0, 10.0, 20.0])
    assert table["tripped"].isna().all()
    for row, frame in zip(table.to_dict("records"), frames, strict=True):
        found = model.single_point(frame, ALL)
        assert row["energy"] == pytest.approx(found["energy"])
        assert row["energy_std"] == pytest.approx(found["energy_std"])
        assert row["stress_std"] == pytest.approx(found["stress_std"].max())
        largest = found["forces_std"].max(axis=1)
        assert row["force_std"] == pytest.approx(largest.max())
        assert row["force_std_atom"] == largest.argmax()
        assert row["local_std"] == pytest.approx(found["energies_std"].max())
        assert row["local_std_atom"] == found["energies_std"].argmax()
        assert row["min_rigidity"] == pytest.approx(found["local_rigidity"].min())
        assert row["min_rigidity_atom"] == found["local_rigidity"].argmin()
        assert row["min_support"] == found["support"].min()
    assert observer.latest["step"] == 10
    assert observer.frames == []
    assert not observer.stopped


def test_steps_between_ask_for_nothing(model, atoms):
    dynamics, observer = verlet(atoms)
    dynamics.attach(observer, interval=5)
    dynamics.run(10)
    asked = [step for step, names in enumerate(model.calls) if names]
    assert len(model.calls) == 11 + 3
    assert len(asked) == 3


def test_only_what_is_asked_for(model, atoms, tmp_path):
    dynamics, observer = verlet(
        atoms, properties=(), min_rigidity=1e-3, logfile=tmp_path / "log.csv"
    )
    dynamics.attach(observer)
    dynamics.run(1)
    assert {names for names in model.calls if names} == {("local",)}
    table = pd.read_csv(tmp_path / "log.csv")
    assert table[["energy_std", "force_std", "stress_std"]].isna().all(axis=None)
    assert table["min_rigidity"].notna().all()


def test_log_goes_on(atoms, tmp_path):
    log = tmp_path / "log.csv"
    for _ in range(2):
        dynamics, observer = verlet(atoms, logfile=log)
        dynamics.attach(observer)
        dynamics.run(2)
    assert pd.read_csv(log)["step"].tolist() == [0, 1, 2, 0, 1, 2]
    # A disk that was full has cut the last line short.
    log.write_bytes(log.read_bytes()[:-30])
    verlet(atoms, logfile=log)[1]()
    assert pd.read_csv(log)["step"].tolist() == [0, 1, 2, 0, 1, 2, 0]
    log.write_text("step,energy\n1,2\n")
    with pytest.raises(ValueError, match=r"log\.csv: is no log of these columns: step, time"):
        verlet(atoms, logfile=log)
    assert log.read_text() == "step,energy\n1,2\n"


KILLED = """
import sys
sys.path.insert(0, {tests!r})
from ase import units
from ase.md import VelocityVerlet
from pair_potential import PairPotential, crystal
from skrigidity.calculators import RigidityCalculator, RigidityObserver
atoms = crystal(rattle=0.05, repeat=1)
atoms.calc = RigidityCalculator(PairPotential(), uncertainty=())
dynamics = VelocityVerlet(atoms, timestep=units.fs)
observer = RigidityObserver(dynamics, force_std=1e-9, action="collect", logfile="log.csv",
                            trajectory="frames.extxyz")
dynamics.attach(observer)
dynamics.run(10**9)
"""


def test_killed_run_leaves_whole_records(tmp_path):
    code = KILLED.format(tests=str(Path(__file__).parent))
    run = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path)
    log, frames = tmp_path / "log.csv", tmp_path / "frames.extxyz"
    try:
        for _ in range(600):
            if frames.exists() and log.read_text().count("\n") > 20:
                break
            assert run.poll() is None
            time.sleep(0.1)
        os.kill(run.pid, signal.SIGKILL)
    finally:
        run.kill()
        run.wait()
    assert log.read_text().endswith("\n")
    table = pd.read_csv(log)
    assert table["step"].tolist() == list(range(len(table)))
    assert table["tripped"].eq("force_std").all()
    steps = [frame.info["step"] for frame in read(frames, index=":")]
    assert len(table) - len(steps) in (0, 1)
    assert steps == list(range(len(steps)))


# -- collecting -----------------------------------------------------------------------------------


def test_collects(model, atoms):
    dynamics, observer = verlet(atoms, force_std=1e-9, local_std=1e-9, action="collect")
    dynamics.attach(observer, interval=2)
    dynamics.run(4)
    assert [frame.info["step"] for frame in observer.frames] == [0, 2, 4]
    last = observer.frames[-1]
    assert last.info["tripped"] == "force_std local_std"
    assert last.info["time"] == pytest.approx(8.0)
    np.testing.assert_array_equal(last.positions, atoms.positions)
    np.testing.assert_array_equal(last.get_forces(), atoms.get_forces())
    np.testing.assert_array_equal(last.get_momenta(), atoms.get_momenta())
    found = model.single_point(atoms.copy(), ("forces", "local"))
    for key in ("forces_std", "energies_std", "local_rigidity", "support"):
        np.testing.assert_array_equal(last.arrays[key], found[key])
    assert not observer.stopped


def test_collects_to_a_file(atoms, tmp_path):
    path = tmp_path / "frames.extxyz"
    dynamics, observer = verlet(atoms, energy_std=1e-9, action="collect", trajectory=path)
    dynamics.attach(observer)
    dynamics.run(2)
    frames = read(path, index=":")
    assert observer.frames == []
    assert [frame.info["step"] for frame in frames] == [0, 1, 2]
    assert [frame.info["tripped"] for frame in frames] == ["energy_std"] * 3
    assert frames[2].info["energy_std"] == pytest.approx(observer.latest["energy_std"])
    np.testing.assert_allclose(frames[2].get_forces(), atoms.get_forces(), atol=1e-7)
    np.testing.assert_allclose(
        frames[2].arrays["local_rigidity"], atoms.calc.results["local_rigidity"], rtol=1e-6
    )


# -- thresholds -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["energy_std", "force_std", "local_std", "stress_std", "min_rigidity", "min_support"]
)
def test_each_threshold(atoms, name):
    look = RigidityObserver(atoms, properties=ALL)
    look()
    value = look.latest[name]
    beyond = 1.001 if name.startswith("min") else 0.999
    within = RigidityObserver(atoms, **{name: value})
    assert not within()
    assert within.latest["tripped"] == ""
    passed = RigidityObserver(atoms, **{name: beyond * value})
    assert passed()
    assert passed.latest["tripped"] == name


@pytest.mark.parametrize("name", ["energy_std", "force_std", "local_std", "min_rigidity"])
def test_quantiles_of_the_training_set(model, atoms, name):
    observer = RigidityObserver(atoms, **{name: "90%"})
    key = {
        "energy_std": "energy_std",
        "force_std": "forces_std",
        "local_std": "energies_std",
        "min_rigidity": "local_rigidity",
    }[name]
    scale = len(atoms) if name == "energy_std" else 1
    assert observer.thresholds == {name: scale * model.training_quantile(key, 0.9)}


def test_what_is_no_number_trips(model, atoms):
    single_point = model.single_point

    def broken(frame, uncertainty=()):
        found = single_point(frame, uncertainty)
        for key in ("forces_std", "local_rigidity"):
            if key in found:
                found[key] = found[key].copy()
                found[key][7] = np.nan
        return found

    model.single_point = broken
    observer = RigidityObserver(atoms, force_std=1e9, min_rigidity=1e-9)
    assert observer()
    assert observer.latest["tripped"] == "force_std min_rigidity"
    assert observer.latest["force_std_atom"] == observer.latest["min_rigidity_atom"] == 7


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"force_std": -1.0}, "force_std: expected a positive number, got -1.0"),
        ({"force_std": np.nan}, "force_std: expected a positive number, got nan"),
        ({"local_std": "much"}, 'local_std: expected a number or a quantile such as "99%"'),
        ({"local_std": "0.99"}, "local_std: expected a number or a quantile"),
        ({"local_std": "101%"}, "local_std: expected a number or a quantile"),
        ({"action": "warn"}, 'action: expected "log", "collect" or "stop", got \'warn\''),
        ({"action": "stop"}, 'action="stop" needs a threshold'),
        ({"consecutive": 0}, "consecutive: expected a positive integer, got 0"),
        ({"properties": ["force"]}, "uncertainty: expected some of energy"),
    ],
)
def test_bad_options(atoms, options, message):
    with pytest.raises(ValueError, match=message):
        RigidityObserver(atoms, **options)


def test_threshold_for_what_the_model_lacks(model, atoms):
    single_point = model.single_point

    def unsupported(frame, uncertainty=()):
        found = single_point(frame, uncertainty)
        return {key: value for key, value in found.items() if key != "support"}

    model.single_point = unsupported
    with pytest.raises(ValueError, match="min_support: the model gives no support"):
        RigidityObserver(atoms, min_support=0.1)()
    observer = RigidityObserver(atoms)
    observer()
    assert observer.latest["min_support"] is None


def test_bad_subjects(atoms):
    with pytest.raises(TypeError, match="expected dynamics or an optimizer of ASE"):
        RigidityObserver(object())
    atoms.calc = None
    with pytest.raises(TypeError, match="expected a RigidityCalculator, got NoneType"):
        RigidityObserver(atoms)

    class Bare:
        def single_point(self, frame, uncertainty=()):
            return {}

    atoms.calc = RigidityCalculator(Bare())
    with pytest.raises(ValueError, match="the model has no training_quantile; give a number"):
        RigidityObserver(atoms, force_std="99%")


# -- stopping -------------------------------------------------------------------------------------


def rising(model, first):
    """Make the model's force error bars pass 1 eV/Å from one question for them on."""
    single_point, asked = model.single_point, []

    def changed(frame, uncertainty=()):
        found = single_point(frame, uncertainty)
        if "forces" in uncertainty:
            asked.append(True)
            found["forces_std"] = np.full((len(frame), 3), 0.5 if len(asked) <= first else 2.0)
        return found

    model.single_point = changed


def langevin(atoms):
    rng = np.random.default_rng(0)
    return Langevin(atoms, units.fs, temperature_K=300, friction=0.01, fixcm=False, rng=rng)


@pytest.mark.parametrize("make", [langevin, lambda atoms: BFGS(atoms, logfile=None)])
@pytest.mark.parametrize(("interval", "first", "last"), [(1, 0, 0), (1, 3, 3), (2, 2, 4)])
def test_stops(model, atoms, make, interval, first, last):
    rising(model, first)
    dynamics = make(atoms)
    observer = RigidityObserver(dynamics, force_std=1.0, action="stop")
    dynamics.attach(observer, interval=interval)
    seen = []
    dynamics.attach(lambda: seen.append(dynamics.nsteps))
    dynamics.run(steps=50)
    assert dynamics.nsteps == last
    assert seen == list(range(last + 1))
    assert observer.stopped
    assert [frame.info["step"] for frame in observer.frames] == [last]


def test_stops_a_relaxation_of_the_cell(model, atoms):
    rising(model, 2)
    with BFGS(FrechetCellFilter(atoms), logfile=None) as run:
        observer = RigidityObserver(run, force_std=1.0, action="stop")
        run.attach(observer)
        assert not run.run(fmax=1e-4, steps=50)
    assert run.nsteps == 2
    assert observer.latest["time"] is None
    assert "time" not in observer.frames[0].info


@pytest.mark.parametrize("steps", [1, 5])
def test_runs_on_when_asked_to(model, atoms, steps):
    rising(model, 2)
    dynamics, observer = verlet(atoms, force_std=1.0, action="stop")
    dynamics.attach(observer)
    dynamics.run(10)
    assert dynamics.nsteps == 2
    dynamics.run(steps)
    assert dynamics.nsteps == 3
    observer.action = "log"
    dynamics.run(5)
    assert dynamics.nsteps == 8
    assert not observer.stopped


def test_consecutive(model, atoms):
    rising(model, 2)
    dynamics, observer = verlet(atoms, force_std=1.0, action="stop", consecutive=3)
    dynamics.attach(observer)
    for last in (4, 7):
        dynamics.run(50)
        assert dynamics.nsteps == last
    assert len(observer.frames) == 2


def test_interrupted_row_of_trips(atoms, tmp_path):
    observer = RigidityObserver(atoms, force_std=1.0, action="collect", consecutive=2)
    values = iter([2.0, 0.5, 2.0, 2.0, 2.0])
    atoms.calc.model.single_point = lambda frame, uncertainty=(): {
        "energy": 0.0,
        "free_energy": 0.0,
        "energy_std": 0.0,
        "energies_std": np.zeros(len(frame)),
        "forces_std": np.full((len(frame), 3), next(values)),
    }
    taken = []
    for _ in range(5):
        atoms.positions += 0.01
        taken.append(observer())
    assert taken == [False, False, False, True, True]
    assert [frame.info["step"] for frame in observer.frames] == [3, 4]


@pytest.mark.parametrize("kind", ["switch", "scipy"])
def test_dynamics_that_do_not_look(model, atoms, kind):
    """Loops that ignore max_steps end at the call that follows."""
    rising(model, 2)
    if kind == "switch":
        other = atoms.copy()
        other.calc = EMT()
        dynamics = SwitchLangevin(
            atoms,
            atoms.calc,
            other.calc,
            units.fs,
            temperature_K=300,
            friction=0.01,
            n_eq=20,
            n_switch=20,
        )
        options = {"calculator": RigidityCalculator(model, uncertainty=())}
    else:
        dynamics, options = SciPyFminCG(atoms, logfile=None), {}
    observer = RigidityObserver(dynamics, force_std=1.0, action="stop", **options)
    dynamics.attach(observer)
    with pytest.raises(SimulationStopped, match=r"stopped at step \d+: force_std passed"):
        dynamics.run()
    assert len(observer.frames) == 1


def test_loop_of_ones_own(model, atoms):
    rising(model, 2)
    observer = RigidityObserver(atoms, force_std=1.0, action="stop")
    while not observer():
        atoms.positions += 0.01
    assert observer.latest["step"] == 2
    with pytest.raises(SimulationStopped, match="stopped at step 2"):
        observer()


def test_watches_what_another_calculator_drives(model):
    atoms = crystal(rattle=0.05)
    atoms.calc = EMT()
    dynamics = VelocityVerlet(atoms, timestep=units.fs)
    watcher = RigidityCalculator(model, uncertainty=())
    observer = RigidityObserver(dynamics, calculator=watcher, force_std=1e-9, action="collect")
    dynamics.attach(observer, interval=2)
    dynamics.run(4)
    assert len(observer.frames) == 3
    assert observer.latest["energy"] == model.single_point(atoms.copy())["energy"]
    assert observer.latest["energy"] != atoms.get_potential_energy()


def test_cluster(model):
    """No volume, hence no stress; the defaults do not ask for it."""
    atoms = Atoms("Cu3", [[0, 0, 0], [2.5, 0, 0], [1.2, 2.2, 0.3]])
    atoms.calc = RigidityCalculator(model, uncertainty=())
    dynamics, observer = verlet(atoms, min_rigidity=1e-9)
    dynamics.attach(observer)
    dynamics.run(2)
    assert observer.latest["stress_std"] is None
    assert observer.latest["force_std"] > 0


def test_dynamics_take_the_same_steps(model):
    ends = []
    for attached in (False, True):
        atoms = crystal(rattle=0.05, seed=5)
        atoms.calc = RigidityCalculator(model, uncertainty=())
        dynamics, observer = verlet(atoms)
        if attached:
            dynamics.attach(observer)
        dynamics.run(5)
        ends.append(atoms.positions)
    np.testing.assert_array_equal(*ends)
