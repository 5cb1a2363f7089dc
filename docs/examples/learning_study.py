"""How many labels learning on the fly saves: against frames of the same runs taken otherwise.

From 20 frames of one kind, dynamics go to what these do not have. Held-out frames are from
trajectories under the reference itself, or from others' data. The error of forces on them, after
the loop has ended, is compared with that of potentials that have learned from frames of the same
dynamics: at random, and at regular times.

    python docs/examples/learning_study.py copper
    python docs/examples/learning_study.py carbon      # needs tblite, an hour

Copper's reference is effective-medium theory, carbon's is periodic GFN1-xTB.
"""

import argparse
import copy
import json
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
from ase import units
from ase.build import bulk, fcc111
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.md.langevin import Langevin

from skrigidity.active_learning import ActiveLearner
from skrigidity.atomistic import ACEDescriptor, RigidPotential

INTERVAL = 10


class System:
    """What is simulated: a potential, a labeller, frames to begin with and to be judged by."""

    time_step, trajectory_time = 4.0, 1200.0

    def __init__(self, seed, degrees=(12, 10)):
        self.rng, self.degrees = np.random.default_rng(seed), tuple(degrees)

    def potential(self):
        kind = {"kind": "self-interacting", "angular_weight": 1.0, "max_degree": self.degrees}
        return RigidPotential(ACEDescriptor(cutoff=self.cutoff, r0=self.r0, **kind), core=self.core)

    def labelled(self, frame):
        frame = frame.copy()
        frame.calc = self.labeller()
        results = {"energy": frame.get_potential_energy(), "forces": frame.get_forces()}
        frame.calc = SinglePointCalculator(frame, **results)
        return frame

    def dynamics(self, atoms, rng, frames=None):
        """Langevin dynamics at the temperature that comes with the frame."""
        options = {"temperature_K": atoms.info["temperature"], "friction": 0.01 / units.fs}
        made = Langevin(atoms, self.time_step * units.fs, fixcm=False, rng=rng, **options)
        if frames is not None:
            made.attach(lambda: frames.append(atoms.copy()), interval=INTERVAL)
        return made

    def thermal(self, frame, temperature):
        frame = frame.copy()
        frame.info["temperature"] = temperature
        # Half of it goes into potential energy.
        sigma = np.sqrt(2 * units.kB * temperature / frame.get_masses())
        frame.set_velocities(sigma[:, None] * self.rng.standard_normal((len(frame), 3)))
        return frame


class Copper(System):
    """Crystals at 300 K; then hot ones, one that lacks atoms, a surface, and a liquid."""

    labeller = EMT
    cutoff, r0, core = 5.0, 2.5, None

    def starts(self):
        crystal = bulk("Cu", cubic=True) * (2, 2, 2)
        open_ = crystal.copy()
        del open_[[3, 17]]
        liquid = crystal.copy()
        liquid.set_cell(liquid.cell * 1.04, scale_atoms=True)
        slab = fcc111("Cu", (2, 2, 5), vacuum=6.0, orthogonal=True, periodic=True)
        return [
            self.thermal(frame, kelvin)
            for frame, kelvin in ((crystal, 900), (open_, 1200), (slab, 800), (liquid, 3000))
        ]

    def training(self, n=20):
        frames = []
        for _ in range(n):
            frame = bulk("Cu", cubic=True) * (2, 2, 2)
            strain = 0.01 * self.rng.uniform(-1, 1, (3, 3))
            frame.set_cell(frame.cell.array @ (np.eye(3) + strain), scale_atoms=True)
            frame.positions += 0.06 * self.rng.standard_normal(frame.positions.shape)
            frames.append(self.labelled(frame))
        return frames

    def held_out(self):
        """Frames of trajectories under the reference."""
        frames = []
        for start in self.starts():
            start.calc = EMT()
            dynamics = self.dynamics(start, self.rng)
            for _ in range(10):
                dynamics.run(30)
                frames.append(self.labelled(start))
        return frames


class Carbon(System):
    """Sixteen atoms: from diamond at 300 K to hot, thin, and molten carbon."""

    time_step, trajectory_time = 0.75, 225.0
    cutoff, r0, core = 3.7, 1.5, "zbl"

    def labeller(self):
        from tblite.ase import TBLite

        return TBLite(method="GFN1-xTB", verbosity=0)

    @staticmethod
    def cell(density):
        frame = bulk("C", "diamond", a=3.567, cubic=True) * (2, 1, 1)
        frame.set_cell(frame.cell * (3.51 / density) ** (1 / 3), scale_atoms=True)
        return frame

    def starts(self):
        conditions = ((3.5, 2000), (3.2, 5000), (2.6, 4000), (2.2, 6000))
        return [self.thermal(self.cell(density), kelvin) for density, kelvin in conditions]

    def training(self, n=20):
        frames = []
        for _ in range(n):
            frame = self.cell(self.rng.uniform(3.2, 3.7))
            frame.positions += 0.06 * self.rng.standard_normal(frame.positions.shape)
            frames.append(self.labelled(frame))
        return frames

    def held_out(self):
        frames = []
        for start in self.starts():
            start.calc = self.labeller()
            dynamics = self.dynamics(start, self.rng)
            for _ in range(8):
                dynamics.run(20)
                frames.append(self.labelled(start))
        return frames


def errors_of(model, frames):
    """Errors of force components, in eV/Å: root mean square, and the largest of each frame."""
    true, predicted, sizes = model.compared(frames, name="forces")
    ends = np.cumsum(sizes)[:-1]
    largest = [np.abs(part).max() for part in np.split(true - predicted, ends)]
    return float(np.sqrt(np.mean((true - predicted) ** 2))), float(np.mean(largest))


def error_of(model, frames):
    return errors_of(model, frames)[0]


def updated(model, frames):
    return copy.deepcopy(model).update(frames) if frames else model


def study_one(system, held_out, folder, threshold, max_labels):
    """One run, and what its frames would have taught otherwise."""
    training, starts = system.training(), system.starts()
    looks = []
    learner = ActiveLearner(
        system.potential(),
        system.labeller,
        folder,
        dynamics=partial(system.dynamics, frames=looks),
        thresholds={"force_std": threshold},
        interval=INTERVAL,
        trajectory_time=system.trajectory_time,
        max_time=len(starts) * system.trajectory_time,
        quiet_time=1e6,
        max_labels=max_labels,
        progress=False,
    )
    learner.run(training, starts)
    n = len(learner.labelled_)
    initial = system.potential().fit(training)
    loop, loop_largest = errors_of(updated(initial, learner.labelled_), held_out)
    finite = [f for f in looks if np.isfinite(f.positions).all()]
    pool = _Pool(system, finite)
    counts = sorted({m for m in (*np.linspace(0.5, 3.0, 11) * n,) if 1 <= m <= len(pool)})
    curves = {"random": [], "regular": []}
    orders = [system.rng.permutation(len(pool)) for _ in range(3)]
    for count in map(round, counts):
        chosen = [pool.first(order, count) for order in orders]
        errors = [error_of(updated(initial, frames), held_out) for frames in chosen]
        curves["random"].append((count, float(np.median(errors))))
        regular = np.linspace(0, len(pool) - 1, count).round().astype(int)
        frames = pool.first([*regular, *np.setdiff1d(orders[0], regular)], count)
        curves["regular"].append((count, error_of(updated(initial, frames), held_out)))
    found = {"labels": n, "looks": len(pool), "reason": learner.reason_}
    found |= {"before": error_of(initial, held_out), "loop": loop}
    same = [errors_of(updated(initial, pool.first(order, n)), held_out)[1] for order in orders]
    found["largest"] = loop_largest / float(np.median(same))
    for name, curve in curves.items():
        found[f"{name}_at_same"] = float(np.exp(np.interp(n, *zip(*_logs(curve), strict=True))))
        found[f"{name}_needed"] = needed(curve, loop)
        found[f"{name}_ratio"] = n / found[f"{name}_needed"]
    return found | {"curves": curves}


def _logs(curve):
    return [(count, np.log(error)) for count, error in curve]


def needed(curve, error):
    """Return how many labels bring a curve to an error for good; all, where it never gets there."""
    counts, errors = np.array(curve).T
    best = np.maximum.accumulate(errors[::-1])[::-1]  # what is not left again
    below = np.flatnonzero(best <= error)
    if not len(below):
        return float(counts[-1])
    k = below[0]
    if k == 0:
        return float(counts[0])
    share = np.log(best[k - 1] / error) / np.log(best[k - 1] / best[k])
    return float(counts[k - 1] + share * (counts[k] - counts[k - 1]))


class _Pool:
    """Frames that are labelled when they are first needed."""

    def __init__(self, system, frames):
        self.system, self.frames, self.known = system, frames, {}

    def __len__(self):
        return len(self.frames)

    def first(self, order, count):
        """Return the first frames of an order, those that cannot be labelled left out."""
        out = []
        for i in order:
            if len(out) == count:
                break
            if i not in self.known:
                self.known[i] = self._label(self.frames[i])
            if self.known[i] is not None:
                out.append(self.known[i])
        return out

    def _label(self, frame):
        """The same rule as in the loop: no failed label, and none with huge forces."""
        try:
            labelled = self.system.labelled(frame)
        except Exception as error:
            print("no label:", error, flush=True)
            return None
        largest = np.linalg.norm(labelled.get_forces(), axis=1).max()
        return labelled if largest <= 100 else None


def study(kind, seeds, threshold="100%", max_labels=None):
    """All seeds, judged by the same held-out frames; prints a line for each."""
    rows, held_out = [], kind(12345).held_out()
    for seed in seeds:
        begin = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            row = study_one(kind(seed), held_out, Path(folder), threshold, max_labels)
        row["seconds"] = time.monotonic() - begin
        rows.append(row)
        facts = {k: v for k, v in row.items() if k != "curves"}
        print(json.dumps({"seed": seed} | facts), flush=True)
    return rows


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("system", choices=["copper", "carbon"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--threshold", default="100%")
    parser.add_argument("--max-labels", type=int, default=None)
    parser.add_argument("--degrees", type=int, nargs="+", default=[12, 10])
    options = parser.parse_args(arguments)
    system = {"copper": Copper, "carbon": Carbon}[options.system]
    kind = partial(system, degrees=options.degrees)
    rows = study(kind, options.seeds, options.threshold, options.max_labels)
    for name in ("random", "regular"):
        ratios = np.array([row[f"{name}_ratio"] for row in rows])
        error = np.array([row["loop"] / row[f"{name}_at_same"] for row in rows])
        print(
            f"{name}: labels of the loop / labels needed {np.median(ratios):.2f} "
            f"({ratios.min():.2f} to {ratios.max():.2f}); error of the loop / error with as many "
            f"{np.median(error):.2f} ({error.min():.2f} to {error.max():.2f})"
        )
    largest = np.array([row["largest"] for row in rows])
    print(
        f"largest error of a frame, loop / random with as many labels: {np.median(largest):.2f} "
        f"({largest.min():.2f} to {largest.max():.2f})"
    )
    return rows


if __name__ == "__main__":
    main()
