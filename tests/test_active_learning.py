"""Learning on the fly: what is labelled, what is learned, and that nothing is lost."""

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("ase", reason='needs ASE: pip install "skrigidity[atomistic]"')
pytest.importorskip("sphericart", reason='needs sphericart: pip install "skrigidity[atomistic]"')

import pandas as pd
from ase import units
from ase.calculators.emt import EMT
from ase.io import read
from ase.md import VelocityVerlet
from ase.md.langevin import Langevin
from ase.optimize import BFGS
from learning_copper import LANGEVIN, labelled, learner, potential, rattled, start, training
from numpy.testing import assert_allclose, assert_array_equal

from skrigidity.active_learning import ActiveLearner, SerialExecutor, compute_label
from skrigidity.atomistic import RigidPotential
from skrigidity.calculators import RigidityObserver
from skrigidity.frames import digest


def log(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def events(folder, name):
    return [line for line in log(folder) if line["event"] == name]


def assert_consistent(folder, n_training=6):
    """What the files say of each other."""
    frames = read(folder / "labelled.extxyz", ":")
    model = RigidPotential.load(folder / "potential.npz")
    assert model.n_training_["frames"] == n_training + len(frames)
    assert len(events(folder, "label")) == len(frames)
    own = read(folder / "training.extxyz", ":")
    whole = potential().fit([*own, *frames])
    probe = [rattled(99, 0.2)]
    for name in ("energy", "forces"):
        found, expected = (m.predict(probe, properties=name)[0] for m in (model, whole))
        assert_allclose(found, expected, rtol=1e-8, atol=1e-9)
    assert_allclose(model.prediction_rigidity(probe), whole.prediction_rigidity(probe), rtol=1e-9)
    for frame in frames:
        assert (folder / "labels" / f"{digest(frame).hex()}.extxyz").exists()
        again = labelled(frame)
        assert_allclose(frame.get_forces(), again.get_forces(), atol=1e-7)
    return frames, model


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("learning") / "run"
    return folder, learner(folder).run(training(), start())


def test_loop(finished):
    folder, found = finished
    frames, model = assert_consistent(folder)
    assert found.n_events_ == len(frames) == len(found.labelled_) > 1
    assert found.reason_ in ("quiet", "max_time")
    assert [frame.info["event"] for frame in frames] == list(range(len(frames)))
    looks = pd.read_csv(folder / "watch.csv")
    assert looks["time_fs"].iloc[-1] == found.time_
    assert_array_equal(np.diff(looks["step"]), 5)
    tripped = looks[looks["tripped"].notna()]
    assert_array_equal(tripped["step"], [frame.info["step"] for frame in frames])
    assert {frame.info["tripped"] for frame in frames} == {"force_std"}
    limit = potential().fit(training()).training_quantile("forces_std", 0.8)
    assert events(folder, "trip")[0]["force_std"] > limit
    before = looks["step"] < tripped["step"].iloc[0]
    assert looks["force_std_eV_per_A"][before].max() <= limit * (1 + 1e-6)
    assert (folder / "rigidity.png").stat().st_size > 10_000
    assert events(folder, "end")[0]["reason"] == found.reason_
    assert found.potential_.n_training_ == model.n_training_


def test_it_has_learned(tmp_path):
    """From a cold crystal to a hot one."""
    cold = [labelled(rattled(seed, 0.01)) for seed in range(6)]
    found = learner(tmp_path).run(cold, start())
    atoms, hot = start(), []
    atoms.calc = EMT()
    dynamics = Langevin(atoms, rng=np.random.default_rng(5), **LANGEVIN)
    for _ in range(10):
        dynamics.run(15)
        hot.append(labelled(atoms))
    before, after = (
        model.error_table(hot).loc[("all", "forces"), "rmse"]
        for model in (potential().fit(cold), found.potential_)
    )
    assert after < 0.1 * before


def test_asked_again_nothing_happens(finished):
    folder, found = finished
    before = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    again = learner(folder, labeller=None.__class__).run(training(), start())
    assert (again.reason_, again.n_events_) == (found.reason_, found.n_events_)
    changed = {path.name for path, data in before.items() if path.read_bytes() != data}
    assert changed <= {"log.jsonl"}


def test_a_longer_run_goes_on(finished, tmp_path):
    """In parts, trajectories are the same to the last bit."""
    folder, found = finished
    for until in (60.0, 180.0, 400.0):
        parts = learner(tmp_path, max_time=until).run(training(), start())
    assert parts.n_events_ == found.n_events_
    for one, other in zip(parts.labelled_, found.labelled_, strict=True):
        assert_array_equal(one.positions, other.positions)
    assert (tmp_path / "watch.csv").read_text() == (folder / "watch.csv").read_text()
    assert_array_equal(parts.potential_.coef_, found.potential_.coef_)


def test_another_training_set_or_start(finished):
    folder, _ = finished
    for own, begin in ((training(5), start()), (training(), rattled(3))):
        with pytest.raises(ValueError, match="another training set or start"):
            learner(folder).run(own, begin)


# -- killed ---------------------------------------------------------------------------------------


def killed_again_and_again(folder, moments, *arguments):
    """Run in other processes, kill them at some moments after the first file, let them end."""
    script = Path(__file__).with_name("learning_copper.py")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command, n_killed = [sys.executable, str(script), str(folder), *arguments], 0
    for moment in [*moments, None]:
        size = os.path.getsize(folder / "log.jsonl") if (folder / "log.jsonl").exists() else 0
        options = {"stdout": subprocess.PIPE, "text": True, "start_new_session": True}
        process = subprocess.Popen(command, env=environment, **options)
        if moment is None:
            out, _ = process.communicate(timeout=300)
            assert process.returncode == 0
            return out, n_killed
        while process.poll() is None:  # imports take longer than the run
            if (folder / "log.jsonl").exists() and os.path.getsize(folder / "log.jsonl") > size:
                break
            time.sleep(0.005)
        time.sleep(moment)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)  # with its workers, if it has any
            n_killed += 1
        process.communicate()
    return None


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
@pytest.mark.parametrize("n_kills", [1, pytest.param(10, marks=pytest.mark.slow)])
def test_killed(n_kills, tmp_path):
    rng = np.random.default_rng(n_kills)
    folder = tmp_path / "run"
    out, n_killed = killed_again_and_again(folder, rng.uniform(0.0, 0.8, n_kills))
    assert n_killed >= 0.5 * n_kills
    frames, _ = assert_consistent(folder)
    # Nothing that was there was computed again.
    calls = [line.split() for line in (folder / "calls").read_text().splitlines()]
    assert {there for _, there in calls} == {"False"}
    assert len(events(folder, "resume")) <= n_killed
    # What comes out is what comes out without interruptions, to the last bit.
    whole = tmp_path / "whole"
    undisturbed, _ = killed_again_and_again(whole, [])
    assert out == undisturbed
    others, _ = assert_consistent(whole)
    for one, other in zip(frames, others, strict=True):
        assert_array_equal(one.positions, other.positions)
        assert one.info["step"] == other.info["step"]
    assert (folder / "watch.csv").read_text() == (whole / "watch.csv").read_text()
    extra = len(calls) - len(frames)
    assert extra <= n_killed  # what was being computed when it was killed


@pytest.mark.parametrize("after", ["write_frames", "recalibrate", "save", "save_state"])
def test_killed_between_files(after, finished, tmp_path, monkeypatch):
    """An event is complete or has not been, wherever it was cut off."""
    from skrigidity.active_learning import _folder

    folder, found = finished
    owner = RigidPotential if after in ("recalibrate", "save") else _folder.RunFolder
    original, calls = getattr(owner, after), []

    def cut(self, *arguments, **options):
        result = original(self, *arguments, **options)
        calls.append(arguments)
        if len(calls) in (3, 6):
            raise KeyboardInterrupt
        return result

    monkeypatch.setattr(owner, after, cut)
    stops = 0
    while True:
        try:
            again = learner(tmp_path).run(training(), start())
            break
        except KeyboardInterrupt:
            stops += 1
    assert stops >= 1
    assert_consistent(tmp_path)
    assert (tmp_path / "watch.csv").read_text() == (folder / "watch.csv").read_text()
    assert_allclose(again.potential_.coef_, found.potential_.coef_, rtol=1e-6)


# -- labels ---------------------------------------------------------------------------------------


class Moody(EMT):
    """Fails now and then."""

    n_calls = 0

    def calculate(self, *arguments, **options):
        Moody.n_calls += 1
        if Moody.n_calls % 2:
            raise RuntimeError("SCF did not converge")
        super().calculate(*arguments, **options)


def test_failed_labels_are_skipped(tmp_path, monkeypatch):
    monkeypatch.setattr(Moody, "n_calls", 0)
    found = learner(tmp_path, Moody).run(training(), start())
    failed = events(tmp_path, "failed label")
    assert found.n_failed_ == len(failed) >= 1
    assert failed[0]["reason"] == "RuntimeError: SCF did not converge"
    assert events(tmp_path, "restart")[0]["reason"] == "no label"
    assert found.n_events_ == len(failed) + len(found.labelled_)
    assert_consistent(tmp_path)
    # A failed label is a label: it is not tried again.
    n_calls = Moody.n_calls
    path = str(tmp_path / "labels" / f"{failed[0]['label']}.extxyz")
    assert compute_label(start(), Moody, ["energy"], path) == path
    assert Moody.n_calls == n_calls


def test_diverging_labels_are_skipped(tmp_path):
    found = learner(tmp_path, max_force=1e-3).run(training(), start())
    assert found.labelled_ == []
    assert "eV/Å" in events(tmp_path, "failed label")[0]["reason"]
    assert found.reason_ in ("in vain", "max_time")


def test_hopeless_labels_end_the_run(tmp_path):
    class Broken(EMT):
        def calculate(self, *arguments, **options):
            raise RuntimeError("no licence")

    options = {"max_time": None, "thresholds": {"force_std": 1e-9}}
    found = learner(tmp_path, Broken, **options).run(training(), start())
    assert found.reason_ == "in vain"
    assert found.n_failed_ == 20


class Infinite(EMT):
    def calculate(self, *arguments, **options):
        super().calculate(*arguments, **options)
        self.results["forces"] = np.full((4, 3), np.nan)


def test_labels_that_are_not_finite(tmp_path):
    path = str(tmp_path / "one.extxyz")
    compute_label(start(), Infinite, ["energy", "forces"], path)
    assert "forces is not finite" in Path(f"{path}.failed").read_text()


@pytest.mark.parametrize("kind", [ThreadPoolExecutor, ProcessPoolExecutor])
def test_executors(kind, finished, tmp_path):
    _, found = finished
    with kind(max_workers=1) as executor:
        other = learner(tmp_path, executor=executor).run(training(), start())
    assert_array_equal(other.potential_.coef_, found.potential_.coef_)


def test_labels_that_take_too_long(tmp_path):
    class Slow(EMT):
        def calculate(self, *arguments, **options):
            time.sleep(0.5)
            super().calculate(*arguments, **options)

    with ThreadPoolExecutor(max_workers=1) as executor:
        options = {"executor": executor, "label_timeout": 0.05, "max_time": 60.0}
        learner(tmp_path, Slow, thresholds={"force_std": 1e-9}, **options).run(training(), start())
    assert events(tmp_path, "failed label")[0]["reason"] == "no label within 0.05 s"


def test_executor_elsewhere(tmp_path):
    class Lost(SerialExecutor):
        def submit(self, function, /, *arguments):
            return super().submit(str, "somewhere")

    with pytest.raises(FileNotFoundError, match="workers see the same folder"):
        learner(tmp_path, executor=Lost()).run(training(), start())


# -- what is labelled -----------------------------------------------------------------------------


def test_embedding(tmp_path):
    asked = []

    def embed(frame, atom, rng):
        asked.append((len(frame), atom))
        made = [frame.copy() for _ in range(6)]
        for one in made:
            one.positions += 0.1 * rng.standard_normal(one.positions.shape)
            one.info["embedding"] = "rattled"
        return made

    options = {"embed": embed, "n_labels": 2}
    found = learner(tmp_path, **options).run(training(), start())
    assert len(found.labelled_) == 2 * found.n_events_ == 2 * len(asked)
    frames, _ = assert_consistent(tmp_path)
    assert {frame.info["source"] for frame in frames} == {"embedding"}
    assert {frame.info["embedding"] for frame in frames} == {"rattled"}
    looks = pd.read_csv(tmp_path / "watch.csv")
    assert all(n == 4 and 0 <= atom < 4 for n, atom in asked)
    assert looks["tripped"].notna().sum() == len(asked)
    # Draws of one event are left out together.
    groups = [*range(6), *(6 + frame.info["event"] for frame in frames)]
    own = read(tmp_path / "training.extxyz", ":")
    expected = found.potential_.leave_one_out([*own, *frames], groups=groups)
    assert np.isfinite(expected.residual).all()
    assert found.potential_.scale_ == pytest.approx(
        potential().fit([*own, *frames], groups=groups).scale_, rel=1e-4
    )


def test_embedding_in_a_periodic_cell(tmp_path):
    embedding = pytest.importorskip("skrigidity.atomistic.embedding")
    model = potential().fit(training())

    def embed(frame, atom, rng):
        seed = int(rng.integers(2**31))
        return embedding.embed_periodic(model, frame, atom, n_draws=4, random_state=seed)

    large = start() * (3, 3, 3)
    large.rattle(0.2, seed=1)
    options = {"embed": embed, "n_labels": 2, "max_labels": 3, "max_time": None}
    found = learner(tmp_path, thresholds={"force_std": "10%"}, **options).run(training(), large)
    assert found.reason_ == "max_labels"
    assert len(found.labelled_) == 3
    frames, _ = assert_consistent(tmp_path)
    assert all(len(frame) < len(large) for frame in frames)
    # The atom that tripped is as firm as if its frame had been labelled.
    looks = pd.read_csv(tmp_path / "watch.csv")
    assert looks["min_rigidity"].iloc[-1] > looks["min_rigidity"].iloc[0]


def test_embedding_that_fails(tmp_path):
    def embed(frame, atom, rng):
        raise ValueError("no room")

    options = {"embed": embed, "max_time": None, "thresholds": {"force_std": 1e-9}}
    found = learner(tmp_path, **options).run(training(), start())
    assert found.reason_ == "in vain"
    assert events(tmp_path, "no embedding")[0]["reason"] == "no room"


def test_keys_of_the_training_set(tmp_path):
    frames = []
    for frame in training():
        renamed = frame.copy()
        renamed.info["energy_dft"] = frame.get_potential_energy()
        renamed.arrays["forces_dft"] = frame.get_forces()
        renamed.info["virial"] = -frame.get_volume() * labelled_stress(frame)
        frames.append(renamed)
    model = potential(virial_error=0.02, virial_key="virial")
    found = learner(tmp_path, model=model, max_time=200.0).run(frames, start())
    assert found.labelled_
    for frame in read(tmp_path / "labelled.extxyz", ":"):
        again = labelled(frame)
        assert frame.info["energy_dft"] == pytest.approx(again.get_potential_energy(), abs=1e-7)
        assert_allclose(frame.arrays["forces_dft"], again.get_forces(), atol=1e-7)
        virial = frame.info["virial"][[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
        assert_allclose(virial, -frame.get_volume() * labelled_stress(frame), atol=1e-6)
        assert frame.calc is None


def labelled_stress(frame):
    atoms = frame.copy()
    atoms.calc = EMT()
    return atoms.get_stress()


# -- dynamics -------------------------------------------------------------------------------------


def test_dynamics_of_any_kind(tmp_path):
    moving = rattled(7, 0.1)
    moving.set_velocities(0.02 * np.random.default_rng(0).standard_normal((4, 3)))
    options = {"timestep": 2 * units.fs}
    found = learner(tmp_path / "nve", dynamics=VelocityVerlet, dynamics_options=options)
    assert found.run(training(), moving).time_ > 100.0

    def quenched(atoms):
        return BFGS(atoms, logfile=None)

    found = learner(tmp_path / "bfgs", dynamics=quenched, dynamics_options={}, max_time=None)
    found.run(training(), [rattled(8, 0.1), rattled(9, 0.1)])
    assert found.reason_ == "finished"
    assert pd.read_csv(tmp_path / "bfgs" / "watch.csv")["trajectory"].max() == 1


class Exploding(VelocityVerlet):
    """Nobody knows where atoms are after a while."""

    def step(self, *arguments):
        if self.nsteps == 12:
            self.atoms.positions[:] = np.nan
            return None
        return super().step(*arguments)


def test_dynamics_that_explode(tmp_path):
    options = {"dynamics": Exploding, "dynamics_options": {"timestep": 1 * units.fs}}
    found = learner(tmp_path, thresholds={"force_std": 9.0}, **options).run(training(), start())
    assert found.reason_ == "in vain"
    assert {line["reason"] for line in events(tmp_path, "restart")} == {"diverged"}
    assert np.isfinite(pd.read_csv(tmp_path / "watch.csv")["energy_eV"]).all()


def test_errors_that_are_none_of_ours(tmp_path):
    class Mistaken(VelocityVerlet):
        def step(self, *arguments):
            raise ValueError("a mistake of the user")

    options = {"dynamics": Mistaken, "dynamics_options": {"timestep": 1 * units.fs}}
    with pytest.raises(ValueError, match="a mistake of the user"):
        learner(tmp_path, **options).run(training(), start())


def test_trajectories_take_turns(tmp_path):
    found = learner(tmp_path, trajectory_time=60.0, max_time=200.0, thresholds={"force_std": 9.0})
    found.run(training(), [start(), rattled(4)])
    looks = pd.read_csv(tmp_path / "watch.csv")
    assert looks["trajectory"].value_counts().sort_index().tolist() == [3, 3, 3, 1]


def test_bias(tmp_path):
    """With so small error bars it takes a large one to leave its mark."""
    energies = []
    for bias in (0.0, 10.0):
        folder = tmp_path / str(bias)
        options = {"bias": bias, "thresholds": {"force_std": 9.0}}
        model = potential(calibration=None)
        learner(folder, model=model, **options).run(training(), start())
        energies.append(pd.read_csv(folder / "watch.csv")["energy_eV"].mean())
    assert energies[1] < energies[0] - 0.03


def test_relative_thresholds():
    model = potential().fit(training())
    atoms = start()
    atoms.calc = model.calculator(uncertainty=())
    observer = RigidityObserver(atoms, force_std="2x", min_rigidity="4 x", local_std="50%")
    most, least = (
        model.training_quantile("forces_std", 1),
        model.training_quantile("local_rigidity", 0),
    )
    assert observer.thresholds["force_std"] == pytest.approx(2 * most)
    assert observer.thresholds["min_rigidity"] == pytest.approx(least / 4)
    for wrong in ("x", "-1x", "0x", "nanx"):
        with pytest.raises(ValueError, match="so many times the most"):
            RigidityObserver(atoms, force_std=wrong)


# -- arguments ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"interval": 0}, "interval must be a positive number"),
        ({"quiet_time": None}, "quiet_time must be"),
        ({"max_labels": -1}, "max_labels must be"),
        ({"thresholds": {}}, "thresholds"),
    ],
)
def test_arguments(wrong, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        learner(tmp_path, **wrong)


def test_what_is_no_factory(tmp_path):
    with pytest.raises(TypeError, match="labeller must be a callable"):
        ActiveLearner(potential(), EMT(), tmp_path, dynamics=VelocityVerlet)
    with pytest.raises(TypeError, match="dynamics must be"):
        ActiveLearner(potential(), EMT, tmp_path, dynamics="langevin")


def test_without_tqdm_and_matplotlib(tmp_path, monkeypatch):
    from skrigidity.active_learning import _picture, _progress

    for module in (_picture, _progress):
        monkeypatch.setattr(module, "find_spec", lambda name: None)
    found = learner(tmp_path, progress=True, max_time=100.0).run(training(), start())
    assert found.reason_ == "max_time"
    assert not (tmp_path / "rigidity.png").exists()


def test_bar(tmp_path, capsys):
    pytest.importorskip("tqdm")
    learner(tmp_path, progress=True, max_time=100.0).run(training(), start())
    shown = capsys.readouterr().err
    assert "0.000100 ns" in shown
    assert "events=" in shown
    assert "least_LPR=" in shown
