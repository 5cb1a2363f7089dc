"""A small loop on copper, in this process or in one that can be killed.

python tests/learning_copper.py FOLDER [EXECUTOR]
"""

import sys
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from ase import units
from ase.build import bulk
from ase.calculators.calculator import all_changes
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.md.langevin import Langevin

from skrigidity.active_learning import ActiveLearner
from skrigidity.atomistic import ACEDescriptor, RigidPotential
from skrigidity.frames import digest

LANGEVIN = {"timestep": 4 * units.fs, "temperature_K": 900, "friction": 0.02, "fixcm": False}


def potential(**changes):
    ace = ACEDescriptor(cutoff=4.0, max_degree=(6, 4), kind="self-interacting", r0=2.5)
    return RigidPotential(ace, **changes)


def labelled(frame):
    frame = frame.copy()
    frame.calc = EMT()
    results = {"energy": frame.get_potential_energy(), "forces": frame.get_forces()}
    frame.calc = SinglePointCalculator(frame, **results)
    return frame


def rattled(seed, scale=0.05):
    frame = bulk("Cu", cubic=True)
    frame.rattle(scale, seed=seed)
    return frame


def training(n=6):
    return [labelled(rattled(seed)) for seed in range(n)]


def start():
    return bulk("Cu", cubic=True)


class CountedEMT(EMT):
    """Slow, and noting in a file what is computed, and whether that was there already."""

    folder = None

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        path = self.folder / "labels" / f"{digest(atoms).hex()}.extxyz"
        if "positions" in system_changes:
            with (self.folder / "calls").open("a") as file:
                file.write(f"{path.stem} {path.exists()}\n")
            time.sleep(0.02)
        super().calculate(atoms, properties, system_changes)


def learner(folder, labeller=EMT, model=None, **options):
    defaults = {"dynamics": Langevin, "dynamics_options": LANGEVIN, "interval": 5}
    defaults |= {"max_time": 400.0, "quiet_time": 300.0, "progress": False}
    defaults |= {"thresholds": {"force_std": "80%"}}
    model = potential() if model is None else model
    return ActiveLearner(model, labeller, folder, **(defaults | options))


def counted(folder):
    made = CountedEMT()
    made.folder = Path(folder)
    return made


def rattle(frame, atom, rng):
    """Structures to label at the same time."""
    made = [frame.copy() for _ in range(4)]
    for one in made:
        one.positions += 0.1 * rng.standard_normal(one.positions.shape)
    return made


def executor_of(kind, stack):
    """Return two workers, which end with the stack."""
    if kind == "processes":
        return stack.enter_context(ProcessPoolExecutor(max_workers=2))
    from dask.distributed import Client, LocalCluster

    cluster = LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None)
    client = stack.enter_context(Client(stack.enter_context(cluster)))
    return client.get_executor() if kind == "dask executor" else client


def main(folder, kind="serial"):
    options = {}
    with ExitStack() as stack:
        if kind != "serial":
            options = {"embed": rattle, "n_labels": 3, "executor": executor_of(kind, stack)}
        found = learner(folder, partial(counted, folder), **options).run(training(), start())
    print(found.reason_, found.n_events_)


if __name__ == "__main__":
    main(*sys.argv[1:])
