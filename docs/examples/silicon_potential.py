"""A silicon potential: error bars of forces, and dynamics at rising temperature under watch.

The potential is fitted to solid silicon alone. Held-out frames of the solid and of the liquid, with
their reference calculations, tell what its error bars are worth inside and outside of what it was
fitted to; then it drives dynamics that get hotter and hotter, and the local prediction rigidity
(LPR) of the atoms tells when they leave it.

The silicon frames are those of the mlearn repository (Zuo et al., J. Phys. Chem. A 124, 731, 2020):
`mlearn_Si.extxyz.xz`, in the folder that the environment variable SKRIGIDITY_TEST_DATA names, or
anywhere with `--frames`. Without them, bundled amorphous carbon takes their place, on which this
potential is a poor one: the error bars say so as well.

    python docs/examples/silicon_potential.py                   some seconds
    python docs/examples/silicon_potential.py --full            default descriptor, longer runs
    python docs/examples/silicon_potential.py --figures FOLDER  figures in files
"""

import argparse
import importlib.util
import io
import lzma
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import ase.io
import numpy as np
import pandas as pd
from ase import Atoms, units
from ase.build import bulk
from ase.md.langevin import Langevin

from skrigidity.atomistic import ACEDescriptor, RigidPotential
from skrigidity.calculators import RigidityObserver
from skrigidity.datasets import load_carbon

COLUMNS = ["n", "mae", "coverage_1", "coverage_2", "coverage_3", "spearman", "spearman_of_force"]


@dataclass
class Material:
    """What the example needs of a material; `held_out` are the frames of each name."""

    name: str
    training: list[Atoms]
    held_out: dict[str, list[Atoms]]
    keys: dict[str, str]
    groups: str | None
    descriptor: dict[str, float]
    start: Atoms
    temperatures: tuple[int, ...]
    time_step: float


def silicon(path):
    """Solid silicon to fit to; held-out solid frames, and all of the liquid."""
    content = Path(path).read_bytes()
    if Path(path).suffix == ".xz":
        content = lzma.decompress(content)
    frames = ase.io.read(io.StringIO(content.decode()), ":", format="extxyz")
    # The liquid lies .4 eV/atom above everything solid.
    liquid = np.array([frame.info["energy_dft"] / len(frame) > -5.0 for frame in frames])
    test = np.array([frame.info["split"] == "test" for frame in frames])
    return Material(
        name="silicon",
        training=[frames[i] for i in np.flatnonzero(~liquid & ~test)],
        held_out={
            "solid": [frames[i] for i in np.flatnonzero(~liquid & test)],
            "liquid": [frames[i] for i in np.flatnonzero(liquid)],
        },
        keys={"energy_key": "energy_dft", "forces_key": "forces_dft"},
        groups=None,
        descriptor={"cutoff": 4.9, "r0": 2.39},
        start=bulk("Si", a=5.46, cubic=True) * (2, 2, 2),
        temperatures=(300, 600, 1000, 1500, 2000, 3000, 4000),
        time_step=2.0,
    )


def carbon():
    """Quenched carbon to fit to; held-out trajectories, and what is hotter or has surfaces."""
    data = load_carbon(return_frames=True)
    held_out = data.trajectory % 4 == 0
    temperature = np.array([frame.info["temperature"] for frame in data.frames])
    cold = (data.kind == "bulk") & (temperature <= 2500)
    training = [data.frames[i] for i in np.flatnonzero(cold & ~held_out)]
    hot = (data.kind == "bulk") & (temperature == 8000) & held_out
    return Material(
        name="carbon",
        training=training,
        held_out={
            "solid": [data.frames[i] for i in np.flatnonzero(cold & held_out)],
            "liquid": [data.frames[i] for i in np.flatnonzero(hot)],
        },
        keys={"energy_key": "energy_gfn1", "forces_key": "forces_gfn1"},
        groups="trajectory",  # frames of one trajectory are alike
        descriptor={"cutoff": 3.7, "r0": 1.45},
        start=min(training, key=_energy_per_atom).copy(),
        temperatures=(300, 1000, 2500),
        time_step=0.5,
    )


def _energy_per_atom(frame):
    return frame.info["energy_gfn1"] / len(frame)


def fitted(material, full):
    """The potential: with cores that repel each other, since hot atoms come close."""
    degrees = (20, 16, 12) if full else (12, 9, 6)
    descriptor = ACEDescriptor(
        max_degree=degrees, kind="self-interacting", angular_weight=1.0, **material.descriptor
    )
    potential = RigidPotential(descriptor, core="zbl", **material.keys)
    return potential.fit(material.training, groups=material.groups)


def held_out_errors(potential, material):
    """The table of errors by held-out part, with the median LPR of its atoms beside."""
    frames = [frame for part in material.held_out.values() for frame in part]
    parts = np.repeat(list(material.held_out), [len(part) for part in material.held_out.values()])
    table = potential.error_table(frames, by=parts).loc[list(material.held_out)]
    rigidity = {
        name: np.median(np.concatenate(potential.local_rigidity(part)))
        for name, part in material.held_out.items()
    }
    table["median_rigidity"] = table.index.get_level_values("group").map(rigidity)
    return table


def heated(potential, material, steps, seed=0):
    """Dynamics at one temperature after the other: the log, and the observer."""
    atoms, rng = material.start.copy(), np.random.default_rng(seed)
    atoms.calc = potential.calculator(uncertainty=())  # nothing to pay between looks
    temperature = material.temperatures[0]
    velocities = rng.standard_normal((len(atoms), 3))
    scale = np.sqrt(units.kB * temperature / atoms.get_masses())
    atoms.set_velocities((velocities - velocities.mean(axis=0)) * scale[:, None])
    with tempfile.TemporaryDirectory() as folder:
        dynamics = Langevin(
            atoms,
            material.time_step * units.fs,
            temperature_K=temperature,
            friction=0.02 / units.fs,
            fixcm=False,
            rng=rng,
        )
        observer = RigidityObserver(
            dynamics, min_rigidity="1%", action="collect", logfile=f"{folder}/watch.csv"
        )
        dynamics.attach(observer, interval=10)
        for temperature in material.temperatures:
            dynamics.set_temperature(temperature_K=temperature)
            dynamics.run(steps)
        log = pd.read_csv(observer.logfile)
    stage = np.minimum((log["step"] - 1).clip(lower=0) // steps, len(material.temperatures) - 1)
    log["temperature"] = np.array(material.temperatures)[stage]
    return log.drop_duplicates("step", keep="last"), observer


def study(path=None, full=False):
    """Everything that the example computes."""
    material = carbon() if path is None else silicon(path)
    potential = fitted(material, full)
    log, observer = heated(potential, material, steps=500 if full else 100)
    return {
        "material": material,
        "potential": potential,
        "table": held_out_errors(potential, material),
        "log": log,
        "threshold": observer.thresholds["min_rigidity"],
        "collected": observer.frames,
    }


def report(found):
    """Print the numbers."""
    material, potential, log = found["material"], found["potential"], found["log"]
    print(
        f"{material.name}: {len(material.training)} training frames, "
        f"{potential.coef_.size} parameters"
    )
    print("\nHeld-out frames (eV/atom for energies, eV/Å for forces)")
    print(found["table"][[*COLUMNS, "median_rigidity"]].round(4).to_string())
    print("\nDynamics: medians at each temperature (K)")
    columns = ["force_std", "min_rigidity", "min_support"]
    table = log.groupby("temperature")[columns].median()
    table["below_threshold"] = log["tripped"].notna().groupby(log["temperature"]).mean()
    print(table.round(4).to_string())
    print(f"\nThreshold of the LPR: {found['threshold']:.4f}, 1 % quantile of the training atoms;")
    print(f"{len(found['collected'])} structures below it were collected, to be computed next.")


def draw(found):
    """Draw errors against error bars, and the dynamics; returns the figures."""
    import matplotlib.pyplot as plt

    from skrigidity.plotting import ErrorUncertaintyDisplay

    potential, material, log = found["potential"], found["material"], found["log"]
    frames = [frame for part in material.held_out.values() for frame in part]
    forces, std = potential.predict(frames, return_std=True, properties="forces")
    reference = [frame.arrays[material.keys["forces_key"]] for frame in frames]
    parts = [np.full(3 * len(f), name) for name, part in material.held_out.items() for f in part]
    first, ax = plt.subplots(layout="constrained")
    ErrorUncertaintyDisplay.from_predictions(
        *(np.concatenate(each).ravel() for each in (reference, forces, std)),
        groups=np.concatenate(parts),
        unit="eV/Å",
        ax=ax,
    )

    second, axes = plt.subplots(3, sharex=True, layout="constrained")
    time = log["time"] / 1000
    for ax, column, label in zip(
        axes,
        ("temperature", "force_std", "min_rigidity"),
        ("thermostat (K)", "largest error bar\nof a force (eV/Å)", "least LPR of an atom"),
        strict=True,
    ):
        ax.plot(time, log[column])
        ax.set_ylabel(label)
    axes[2].axhline(found["threshold"], color="black", ls="--", label="1 % of training atoms")
    axes[2].set_yscale("log")
    axes[2].legend()
    axes[2].set_xlabel("time (ps)")
    return {"errors": first, "dynamics": second}


def main(arguments=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", type=Path, help="file with the silicon frames")
    parser.add_argument("--full", action="store_true", help="default descriptor, longer runs")
    parser.add_argument("--figures", type=Path, help="folder for figures; shown where not given")
    given = parser.parse_args(arguments)
    path, folder = given.frames, os.environ.get("SKRIGIDITY_TEST_DATA")
    if path is None and folder is not None:
        path = Path(folder) / "mlearn_Si.extxyz.xz"
        path = path if path.exists() else None
    found = study(path, given.full)
    report(found)
    if importlib.util.find_spec("matplotlib") is None:
        return
    for name, figure in draw(found).items():
        if given.figures is not None:
            given.figures.mkdir(parents=True, exist_ok=True)
            figure.savefig(given.figures / f"{found['material'].name}-{name}.png", dpi=150)
    if given.figures is None:
        import matplotlib.pyplot as plt

        plt.show()


if __name__ == "__main__":
    main()
