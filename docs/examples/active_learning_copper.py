"""Copper that melts: a potential that asks for the labels it needs, and stops asking.

The potential knows 12 cold crystals. Dynamics heat one to 2500 K; where error bars of forces leave
those of the training set behind, the frame is labelled (here by effective-medium theory, which
takes milliseconds) and added. Killed, the same command goes on where it was.

    python docs/examples/active_learning_copper.py FOLDER
"""

import sys
from pathlib import Path

import numpy as np
from ase import units
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.md.langevin import Langevin

from skrigidity.active_learning import ActiveLearner
from skrigidity.atomistic import ACEDescriptor, RigidPotential

LANGEVIN = {
    "timestep": 3 * units.fs,
    "temperature_K": 2500,
    "friction": 0.01 / units.fs,
    "fixcm": False,
}


def labelled(frame):
    frame = frame.copy()
    frame.calc = EMT()
    results = {"energy": frame.get_potential_energy(), "forces": frame.get_forces()}
    frame.calc = SinglePointCalculator(frame, **results)
    return frame


def crystal():
    return bulk("Cu", cubic=True) * (2, 2, 2)


def cold_crystals(n=12):
    frames = []
    for seed in range(n):
        frame = crystal()
        frame.rattle(0.06, seed=seed)
        frames.append(labelled(frame))
    return frames


def hot_copper(n=20):
    """Frames of a trajectory under the reference itself."""
    atoms, frames = crystal(), []
    atoms.calc = EMT()
    dynamics = Langevin(atoms, rng=np.random.default_rng(1), **LANGEVIN)
    for _ in range(n):
        dynamics.run(15)
        frames.append(labelled(atoms))
    return frames


def potential():
    ace = ACEDescriptor(cutoff=4.5, max_degree=(10, 8), kind="self-interacting", r0=2.5)
    return RigidPotential(ace)


def learned(folder, max_time=900.0):
    """Run the loop, or go on with it."""
    learner = ActiveLearner(
        potential(),
        EMT,  # makes calculators for labels
        folder,
        dynamics=Langevin,
        dynamics_options=LANGEVIN,
        thresholds={"force_std": "100%"},  # more uncertain than anything in the training set
        quiet_time=300.0,
        max_time=max_time,
    )
    return learner.run(cold_crystals(), crystal())


def error_of_forces(model, frames):
    true, predicted, _ = model.compared(frames, name="forces")
    return float(np.sqrt(np.mean((true - predicted) ** 2)))


def main(arguments=None):
    folder = Path((arguments or sys.argv[1:] or ["learned-copper"])[0])
    learner, hot = learned(folder), hot_copper()
    before = error_of_forces(potential().fit(cold_crystals()), hot)
    after = error_of_forces(learner.potential_, hot)
    print(
        f"{learner.n_events_} events and {len(learner.labelled_)} labels in "
        f"{learner.time_ / 1000:.2f} ps; it ended: {learner.reason_}"
    )
    print(f"RMSE of forces at 2500 K: {before:.3f} eV/Å before, {after:.3f} eV/Å after")
    print(f"see {folder / 'rigidity.png'} and {folder / 'log.jsonl'}")
    return {"learner": learner, "before": before, "after": after}


if __name__ == "__main__":
    main()
