"""A run of active learning: what happens between two states that are on disk."""

from __future__ import annotations

import inspect
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import clone

from skrigidity.active_learning._choice import as_written, candidates, diverse
from skrigidity.active_learning._folder import COLUMNS, RunFolder
from skrigidity.active_learning._labels import Label, LabelStore
from skrigidity.active_learning._options import Options
from skrigidity.active_learning._picture import draw
from skrigidity.active_learning._progress import Progress
from skrigidity.calculators import RigidityObserver
from skrigidity.frames import VIRIAL, Atoms, digest, require
from skrigidity.gradients import ENERGY, FORCES, STRESS

RUNNING, LABELLING = "running", "labelling"
# Starts in a row that brought no label.
_IN_VAIN = 20
_UNITS = {"energy_eV": "energy", "energy_std_eV": "energy_std", "local_std_eV": "local_std"}
_UNITS |= {"force_std_eV_per_A": "force_std"}


class LearningRun:
    """A potential, dynamics, and a folder that has all of their past.

    Parameters
    ----------
    potential : RigidPotential
    labeller : callable
    folder : Path
    options : Options
    """

    def __init__(self, potential: Any, labeller: Any, folder: Path, options: Options) -> None:
        self.potential, self.labeller, self.options = potential, labeller, options
        self.folder = RunFolder(folder)
        self.state: dict[str, Any] = {}
        self.training: list[Atoms] = []
        self.labelled: list[Atoms] = []
        self.model: Any = None
        self.dynamics: Any = None

    def go(self, training: list[Atoms], starts: list[Atoms]) -> str:
        """Go on to the end; return why it is one."""
        self.starts = starts
        self._open(training)
        o = self.options
        self.labels = LabelStore(
            self.folder.labels,
            self.labeller,
            self.model.gradients_.fitted,
            o.executor,
            o.label_timeout,
        )
        with Progress(o.progress, o.max_time) as progress:
            while not (reason := self._reason()):
                if self.state["phase"] == LABELLING:
                    self._learn()
                else:
                    self._advance()
                progress.show(self.state)
        if self.state["reason"] != reason:
            self.folder.record("end", reason=reason, **self._where())
            draw(self.folder.watch, self.folder.picture)
            self._save(reason=reason)
        return reason

    def _reason(self) -> str:
        """Return why to end, nothing if there is no reason to."""
        o, state = self.options, self.state
        if state["finished"]:
            return "finished"
        if state["in_vain"] >= _IN_VAIN:
            return "in vain"
        if state["phase"] == LABELLING:
            return ""
        if o.max_labels is not None and state["n_labels"] >= o.max_labels:
            return "max_labels"
        if state["quiet_fs"] >= o.quiet_time:
            return "quiet"
        return "max_time" if o.max_time is not None and state["time_fs"] >= o.max_time else ""

    # --- beginning --------------------------------------------------------------------------

    def _open(self, training: list[Atoms]) -> None:
        """Begin, or read where it was."""
        inputs = _fingerprint(training + self.starts)
        state = self.folder.load_state()
        self.rng = np.random.default_rng(self.options.random_state)
        if state is None:
            self._begin(as_written(training), inputs)
            return
        if state["inputs"] != inputs:
            raise ValueError(
                f"{self.folder.path} has a run from another training set or start: take another "
                "folder, or remove it"
            )
        self.state = state
        self.rng.bit_generator.state = state["rng"]
        self.training = self.folder.read_frames(self.folder.training)
        every = self.folder.read_frames(self.folder.labelled)
        self.labelled = [f for f in every if f.info["event"] < state["n_events"]]
        self.model = type(self.potential).load(self.folder.potential)
        self.folder.record("resume", **self._where())

    def _begin(self, training: list[Atoms], inputs: bytes) -> None:
        self.training = training
        self.model = clone(self.potential).fit(training)
        self.folder.write_frames(self.folder.training, training)
        self.folder.write_frames(self.folder.labelled, [])
        self.model.save(self.folder.potential)
        for path in (self.folder.log, self.folder.watch):
            path.unlink(missing_ok=True)
        self.state = {
            "inputs": inputs,
            "n_initial": self.model.n_training_["frames"],
            **dict.fromkeys(("n_events", "n_labels", "n_failed", "in_vain", "trajectory"), 0),
            **dict.fromkeys(("time_fs", "quiet_fs"), 0.0),
            "reason": "",
            "finished": False,
            "seen": {},
        }
        self._start(0)
        self.folder.record("start", n_training=len(training), n_starts=len(self.starts))
        self._save(phase=RUNNING)

    def _start(self, trajectory: int) -> None:
        """Go to where a trajectory begins."""
        frame = self.starts[trajectory % len(self.starts)]
        self.state |= {"trajectory": trajectory, "step": 0, "trajectory_fs": 0.0}
        self.state["atoms"] = _moving(frame)
        self.dynamics = None

    def _save(self, **changes: Any) -> None:
        self.state |= changes
        self.state["rng"] = self.rng.bit_generator.state
        self.folder.save_state(self.state)

    def _where(self) -> dict[str, Any]:
        names = ("trajectory", "step", "time_fs", "n_events", "n_labels", "n_failed")
        return {name: self.state[name] for name in names}

    # --- dynamics ---------------------------------------------------------------------------

    def _build(self) -> None:
        """Make dynamics from the state."""
        atoms = self.starts[self.state["trajectory"] % len(self.starts)].copy()
        moving = self.state["atoms"]
        atoms.set_cell(moving["cell"])
        atoms.arrays["positions"][:] = moving["positions"]
        atoms.set_momenta(moving["momenta"], apply_constraint=False)
        atoms.calc = self.model.calculator(uncertainty=(), bias=self.options.bias)
        options = dict(self.options.dynamics_options)
        if "rng" in inspect.signature(self.options.dynamics).parameters:
            options.setdefault("rng", self.rng)
        self.atoms, self.dynamics = atoms, self.options.dynamics(atoms, **options)
        self._watch()

    def _watch(self) -> None:
        """Look with the thresholds that the training set has now."""
        thresholds: dict[str, Any] = dict(self.options.thresholds)
        calculator = self.atoms.calc
        self.observer = RigidityObserver(
            self.dynamics, calculator=calculator, properties=("local",), **thresholds
        )

    def _advance(self) -> None:
        """Take some steps, and look."""
        if self.state["trajectory_fs"] >= (self.options.trajectory_time or np.inf):
            self._start(self.state["trajectory"] + 1)
        if self.dynamics is None:
            self._build()
        dynamics, interval = self.dynamics, self.options.interval
        before, clock = dynamics.nsteps, _clock(dynamics)
        try:
            dynamics.run(steps=interval)
            self.observer()
        except (ValueError, ArithmeticError):
            if np.isfinite(self.atoms.positions).all():
                raise
            self._restart("diverged")
            return
        steps = dynamics.nsteps - before
        later = _clock(dynamics)
        passed = steps if clock is None or later is None else later - clock
        for name in ("time_fs", "trajectory_fs", "quiet_fs"):
            self.state[name] = round(self.state[name] + passed, 6)
        self.state["step"] += steps
        self.state["atoms"] = _moving(self.atoms)
        seen = dict(self.observer.latest)
        row = {name: seen.get(_UNITS.get(name, name)) for name in COLUMNS}
        self.folder.look(row | {name: self.state[name] for name in COLUMNS[:3]})
        self.state["seen"] = seen
        if seen["tripped"]:
            self._choose(seen)
        else:
            if steps < interval:
                self._finish_trajectory()
            self._save()

    def _finish_trajectory(self) -> None:
        following = self.state["trajectory"] + 1
        if following >= len(self.starts) and self.options.trajectory_time is None:
            self.state["finished"] = True
        else:
            self._start(following)

    def _choose(self, seen: dict[str, Any]) -> None:
        """Choose what to label, and keep it."""
        self.state["quiet_fs"] = 0.0
        facts = {name: seen[name] for name in ("tripped", "min_rigidity", "force_std")}
        self.folder.record("trip", **self._where(), **facts)
        # What is drawn is the same after an interruption.
        rng = np.random.default_rng([self.options.random_state, self.state["n_events"]])
        try:
            pool = candidates(self.atoms, seen, self.options.embed, rng)
        except (ValueError, RuntimeError) as error:
            self.folder.record("no embedding", reason=str(error))
            self._restart("no embedding")
            return
        known = {digest(frame) for frame in self.training + self.labelled}
        new = [frame for frame in pool if digest(frame) not in known]
        if not new:
            self._save()
            return
        most = (self.options.max_labels or np.inf) - self.state["n_labels"]
        n = int(min(self.options.n_labels, most))
        frames = diverse(self.model, new, self.atoms, n)
        source = "frame" if self.options.embed is None else "embedding"
        for frame in frames:
            frame.info |= {"event": self.state["n_events"], "source": source, **_place(self.state)}
        self.folder.write_frames(self.folder.pending, frames)
        self._save(phase=LABELLING)

    def _restart(self, why: str) -> None:
        """Begin the next trajectory, this one having come to nothing."""
        self.folder.record("restart", reason=why, **self._where())
        self.state["in_vain"] += 1
        self._start(self.state["trajectory"] + 1)
        self._save(phase=RUNNING)

    # --- labels -----------------------------------------------------------------------------

    def _learn(self) -> None:
        """Label what was chosen, and update the potential."""
        pending = self.folder.read_frames(self.folder.pending)
        new = []
        for frame, label in zip(pending, self.labels.compute(pending), strict=True):
            failure = label.failure or self._diverging(label)
            facts = {"label": digest(frame).hex(), "seconds": round(label.seconds, 3)}
            if failure:
                self.folder.record("failed label", **facts, reason=failure)
                self.state["n_failed"] += 1
            else:
                self.folder.record("label", **facts)
                new.append(self._labelled(frame, label))
        if new:
            self._update(as_written(new))
        self.state["n_events"] += 1
        self.state["n_labels"] += len(new)
        if not new:
            self._restart("no label")
            return
        draw(self.folder.watch, self.folder.picture)
        self._save(phase=RUNNING, in_vain=0)

    def _update(self, new: list[Atoms]) -> None:
        before = self.state["n_initial"] + len(self.labelled)
        self.labelled = [*self.labelled, *new]
        self.folder.write_frames(self.folder.labelled, self.labelled)
        # Where a run was killed behind this point, the file has the potential after it.
        if self.model.n_training_["frames"] == before:
            self.model.update(new)
            if self.model.calibration is not None:
                events = [len(self.training) + frame.info["event"] for frame in self.labelled]
                groups = [*range(len(self.training)), *events]
                self.model.recalibrate(self.training + self.labelled, groups=groups)
            self.model.save(self.folder.potential)
        scales = {name: float(np.sqrt(value)) for name, value in self.model.scale_.items()}
        self.folder.record("update", n_training=before + len(new), C=scales)
        if self.dynamics is not None:
            self.atoms.calc.reset()
            self._watch()

    def _diverging(self, label: Label) -> str:
        forces = label.frame.calc.results.get(FORCES) if label.frame is not None else None
        largest = 0.0 if forces is None else float(np.linalg.norm(forces, axis=1).max())
        if largest > self.options.max_force:
            return f"a force of {largest:.4g} eV/Å"
        return ""

    def _labelled(self, frame: Atoms, label: Label) -> Atoms:
        """Return a frame with its label under the names that the potential reads."""
        assert label.frame is not None
        results, keys = dict(label.frame.calc.results), self.model.keys_
        frame.info["label_seconds"] = label.seconds
        if keys.get(VIRIAL) and STRESS in results:
            frame.info[keys[VIRIAL]] = -frame.get_volume() * results.pop(STRESS)
        for name in (ENERGY, FORCES, STRESS):
            if keys.get(name, name) != name and name in results:
                place = frame.arrays if name == FORCES else frame.info
                place[keys[name]] = results.pop(name)
        static = require("ase.calculators.singlepoint").SinglePointCalculator
        frame.calc = static(frame, **results) if results else None
        return frame


def _moving(atoms: Atoms) -> dict[str, Any]:
    return {
        "positions": atoms.positions.copy(),
        "momenta": atoms.get_momenta().copy(),
        "cell": atoms.cell.array.copy(),
    }


def _place(state: dict[str, Any]) -> dict[str, Any]:
    place = {name: state[name] for name in ("trajectory", "step", "time_fs")}
    return place | {"tripped": state["seen"]["tripped"]}


def _clock(dynamics: Any) -> float | None:
    if not hasattr(dynamics, "get_time"):
        return None
    return float(dynamics.get_time() / require("ase.units").fs)


def _fingerprint(frames: list[Atoms]) -> bytes:
    found = blake2b(digest_size=16)
    for frame in frames:
        found.update(digest(frame) + frame.get_momenta().tobytes())
    return found.digest()
