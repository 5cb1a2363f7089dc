"""Coarse-grained water: can a simulation with a fitted potential be trusted? (Figs. 8 and 9)

Potentials of beads, each of which is a water molecule, are fitted to forces alone (force matching)
with 10 to 700 frames, and drive molecular dynamics at 300 K. Radial distribution functions and
averaged Steinhardt parameters q4 tell how good these are, and prediction rigidities (PR) of the
forces along them, relative to those of test frames, tell it without a reference.

    python docs/examples/coarse_grained_water.py                   a minute: 10 and 100 frames, 5 ps
    python docs/examples/coarse_grained_water.py --full --folder RUNS
                                                                   20 runs of 50 ps, about an hour

Runs are kept in the folder as they are done; the same command goes on where it was stopped, and
prints its tables again when nothing is left to do. q4 needs freud (extra `learn`), and numba (extra
`fast`) makes everything several times faster.
"""

import argparse
import importlib.util
import json
import tempfile
import time
from collections import deque
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from ase import Atoms, units
from ase.md.langevin import Langevin

from skrigidity.atomistic import ACEDescriptor, RigidPotential
from skrigidity.datasets import load_coarse_water

TEMPERATURE = 300.0  # K
TIME_STEP = 4.0  # fs
FRICTION = 0.001  # 1/fs
FRAME_STEPS = 25  # a frame of the trajectory every 0.1 ps
CHECK_STEPS = 5  # whether it has blown up is looked at every 0.02 ps
LAST = 25  # so many of these, half a picosecond, are kept of the end
TOO_HOT = 900.0  # K: such a run has blown up, and is stopped
NEIGHBOURS = 3.6  # angstrom, of Steinhardt parameters
CONTACT = 2.5  # angstrom: hardly any molecules come closer in the reference
HAS_FREUD = importlib.util.find_spec("freud") is not None
RDF_EDGES = np.arange(2.0, 7.51, 0.05)
Q4_EDGES = np.linspace(0.0, 0.25, 51)


@dataclass(frozen=True)
class Setting:
    """What a study runs; `duration` in ps."""

    sizes: tuple[int, ...] = (10, 20, 50, 200, 700)
    repeats: int = 4
    duration: float = 50.0


SMALL = Setting(sizes=(10, 100), repeats=1, duration=5.0)


# ------------------------------------------------------------------------------ the potential


def make_potential():
    """Linear ACE potential of beads with 810 features, for forces alone."""
    descriptor = ACEDescriptor(
        cutoff=6.0, max_degree=(20, 17, 14), kind="self-interacting", r0=2.8, angular_weight=1.0
    )
    return RigidPotential(descriptor, force_error=0.15, alpha=1e-9, calibration=None)


def training_frames(frames, size, repeat):
    """Choose frames to fit to: others in each repeat as long as there are enough of them."""
    order = np.random.default_rng(0).permutation(len(frames))
    return [frames[i] for i in order[(repeat * size + np.arange(size)) % len(frames)]]


def force_rmse(potential, frames):
    """Root mean square error of force components in eV/Å."""
    predicted = potential.predict(frames, properties="forces")
    errors = [p - f.arrays["reference_forces"] for p, f in zip(predicted, frames, strict=True)]
    return float(np.sqrt(np.mean(np.square(errors))))


def bead_rigidities(potential, frame):
    """One over the mean of 1/PR over the three force components of every bead."""
    return 1 / np.mean(1 / potential.force_rigidity([frame])[0], axis=1)


def force_rigidity(potential, frame):
    """One over the mean of 1/PR over all force components of a frame."""
    return float(1 / np.mean(1 / bead_rigidities(potential, frame)))


# ------------------------------------------------------------------------------- the dynamics


@dataclass
class Trajectory:
    """Molecular dynamics.

    `frames` are 0.1 ps apart, and end with the last one before a run blew up; `temperature` (K) has
    one entry for each. `last` are the last ones, 0.02 ps apart.
    """

    frames: list[Atoms]
    temperature: np.ndarray
    last: list[Atoms]
    stable: bool
    duration: float  # ps


def simulate(potential, start, duration, seed):
    """Langevin dynamics of the beads, stopped where they blow up."""
    atoms, rng = start.copy(), np.random.default_rng(seed)
    atoms.calc = potential.calculator(uncertainty=())
    width = np.sqrt(atoms.get_masses() * units.kB * TEMPERATURE)
    atoms.set_momenta(rng.standard_normal((len(atoms), 3)) * width[:, None])
    dynamics = Langevin(
        atoms,
        TIME_STEP * units.fs,
        temperature_K=TEMPERATURE,
        friction=FRICTION / units.fs,
        fixcm=False,
        rng=rng,
    )
    kept, last, stable = [], deque([_plain(atoms, dynamics)], maxlen=LAST), True
    n_steps = round(1000 * duration / TIME_STEP)
    while stable and dynamics.nsteps < n_steps:
        stable = _intact_after(dynamics, atoms)
        if stable:
            last.append(_plain(atoms, dynamics))
            if dynamics.nsteps % FRAME_STEPS == 0:
                kept.append(last[-1])
    if not kept or kept[-1] is not last[-1]:
        kept.append(last[-1])
    hot = np.array([frame.info["temperature"] for frame in kept])
    return Trajectory(kept, hot, list(last), stable, duration=last[-1].info["time"])


def _intact_after(dynamics, atoms):
    """Make some steps; return whether the beads are still where beads can be."""
    try:
        with np.errstate(all="ignore"):
            dynamics.run(CHECK_STEPS)
    except (ValueError, FloatingPointError):  # beads at the same place, or nowhere
        return False
    return bool(np.isfinite(atoms.positions).all() and atoms.get_temperature() < TOO_HOT)


def _plain(atoms, dynamics):
    frame = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=True)
    frame.wrap()
    frame.info["time"] = dynamics.nsteps * TIME_STEP / 1000
    frame.info["temperature"] = atoms.get_temperature()
    return frame


# ------------------------------------------------------------------------------ the structure


def pair_distances(frame):
    """Minimum-image distances between the beads of a cubic cell, infinite on the diagonal."""
    side = frame.cell.lengths()
    vectors = frame.positions[:, None] - frame.positions
    vectors -= np.round(vectors / side) * side
    lengths = np.linalg.norm(vectors, axis=-1)
    np.fill_diagonal(lengths, np.inf)
    return lengths


def radial_distribution(frames):
    """g(r) in bins of RDF_EDGES."""
    counts = sum(np.histogram(pair_distances(frame), RDF_EDGES)[0] for frame in frames)
    shells = 4 / 3 * np.pi * np.diff(RDF_EDGES**3)
    n = len(frames[0])
    return counts / (len(frames) * n * (n - 1) / frames[0].get_volume() * shells)


def steinhardt(frames):
    """Averaged q4 of all beads, with freud."""
    import freud

    order = freud.order.Steinhardt(l=4, average=True)
    found = []
    for frame in frames:
        box = freud.box.Box.cube(frame.cell.lengths()[0])
        points = box.wrap(frame.positions - frame.cell.lengths() / 2)
        order.compute((box, points), neighbors={"r_max": NEIGHBOURS})
        found.append(order.particle_order.copy())
    return np.concatenate(found)


def q4_density(frames):
    """Density of averaged q4 in bins of Q4_EDGES, NaN without freud."""
    if not HAS_FREUD:
        return np.full(len(Q4_EDGES) - 1, np.nan)
    # Beads without neighbours have none; whatever lies above the last bin counts in it.
    q4 = np.clip(np.nan_to_num(steinhardt(frames)), Q4_EDGES[0], Q4_EDGES[-1])
    return np.histogram(q4, Q4_EDGES, density=True)[0]


def structure(frames):
    """g(r) and the density of q4."""
    return {"g": radial_distribution(frames), "q4": q4_density(frames)}


def structural_distances(found, reference):
    """Mean of the absolute difference of g(r), and half the integral of that of q4's density."""
    return {
        "g_distance": float(np.mean(np.abs(found["g"] - reference["g"]))),
        "q4_distance": float(
            np.sum(np.abs(found["q4"] - reference["q4"])) * np.diff(Q4_EDGES)[0] / 2
        ),
    }


# ------------------------------------------------------------------------------------ a run


def run(size, repeat, duration, training, test, reference):
    """Fit, simulate, compare; return a line of the table, and arrays along the trajectory."""
    begin = time.perf_counter()
    fitted_to = training_frames(training, size, repeat)
    potential = make_potential().fit(fitted_to)
    fitted = time.perf_counter()
    trajectory = simulate(potential, test[(repeat * 50) % len(test)], duration, seed=[size, repeat])
    simulated = time.perf_counter()
    watched = trajectory.frames[:: max(1, len(trajectory.frames) // 50)]
    known = test[:: len(test) // 20]
    rigidity = np.array([force_rigidity(potential, frame) for frame in watched])
    usual = np.array([force_rigidity(potential, frame) for frame in known])
    found = structure(trajectory.frames)
    line = {
        "size": size,
        "repeat": repeat,
        "d": potential.gradients_.n_features,
        "rmse": force_rmse(potential, test),
        "stable": trajectory.stable,
        "duration": trajectory.duration,
        "relative_pr": float(rigidity.mean() / usual.mean()),
        "lowest_pr": float(rigidity.min() / usual.mean()),
        **structural_distances(found, reference),
        "contacts": float(np.mean([contacts(frame).mean() for frame in watched])),
        "seconds_fit": fitted - begin,
        "seconds_md": simulated - fitted,
    }
    arrays = {
        "positions": [frame.positions for frame in watched],
        "time": [frame.info["time"] for frame in watched],
        "temperature": trajectory.temperature,
        "rigidity": rigidity,
        "test_rigidity": usual,
        **found,
    }
    return line, {key: np.asarray(values, np.float32) for key, values in arrays.items()}


def contacts(frame):
    """Which beads have another one closer than CONTACT."""
    return pair_distances(frame).min(axis=1) < CONTACT


def study(setting, folder):
    """Make the runs that are not in the folder yet; return the table of all, and all frames."""
    data = load_coarse_water(return_frames=True)
    training = [frame for frame in data.frames if frame.info["split"] == "train"]
    test = [frame for frame in data.frames if frame.info["split"] == "test"]
    reference = structure(data.frames)
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for repeat in range(setting.repeats):
        for size in setting.sizes:
            path = folder / f"run-{size:04d}-{repeat}-{setting.duration:g}ps.json"
            if not path.exists():
                line, arrays = run(size, repeat, setting.duration, training, test, reference)
                np.savez_compressed(path.with_suffix(".npz"), **arrays)
                path.write_text(json.dumps(line, indent=1), encoding="utf-8")
                print(json.dumps(line), flush=True)
            lines.append(json.loads(path.read_text(encoding="utf-8")))
    table = pd.DataFrame(lines)
    shown = table.drop(columns=["seconds_fit", "seconds_md"], errors="ignore")
    shown.to_csv(folder / "table.csv", index=False, float_format="%.5g")
    return table, data.frames


# ------------------------------------------------------------------------------- the tables


def noise_of(frames, n, reference):
    """Distances of n frames in a row from the reference: those of runs without any error."""
    parts = [structure(frames[i : i + n]) for i in range(0, len(frames) - n + 1, n)]
    return pd.DataFrame([structural_distances(part, reference) for part in parts])


def read_frames(path):
    """Frames of a file that make_coarse_water.py has written."""
    with np.load(path) as file:
        positions = file["positions"] / file["positions_per_angstrom"]
        cell = [float(file["side"])] * 3
    return [Atoms(f"O{len(beads)}", beads, cell=cell, pbc=True) for beads in positions]


def summary(table):
    """Medians over repeats, and lowest and highest values, for each size of the training set."""
    shown = table.assign(pr_distance=(table["relative_pr"] - 1).abs())
    columns = ["rmse", "duration", "relative_pr", "pr_distance", "g_distance", "q4_distance"]
    rows = {}
    for size, part in shown.groupby("size"):
        rows[size] = {"stable": f"{part['stable'].sum()} of {len(part)}"}
        for name in columns:
            low, middle, high = np.quantile(part[name], [0, 0.5, 1])
            rows[size][name] = f"{middle:.3f} ({low:.3f} to {high:.3f})"
    return pd.DataFrame(rows).T.rename_axis("size")


def falls(table, name):
    """Whether a distance falls from the smallest to the largest set, and lies beyond the spread."""
    parts = [part[name].to_numpy() for _, part in table.groupby("size")]
    first, last = parts[0], parts[-1]
    return bool(np.median(last) < np.median(first)), bool(last.max() < first.min())


DISTANCES = ("pr_distance", "g_distance", "q4_distance")


def verdicts(table):
    """Whether distances fall with the number of frames, over all sizes and those of whole runs."""
    table = table.assign(pr_distance=(table["relative_pr"] - 1).abs())
    whole = table.groupby("size").filter(lambda part: part["stable"].all())
    lines = []
    for part in (table, whole):
        if part["size"].nunique() < 2:
            continue
        for name in DISTANCES:
            down, beyond = falls(part, name)
            lines.append(
                f"{part['size'].min()} to {part['size'].max()} frames: median {name} "
                f"{'falls' if down else 'does not fall'}, {'beyond' if beyond else 'within'} "
                "the spread"
            )
    return lines


def report(table, frames, fine=()):
    """Tables and verdicts, as text; `fine` are frames of the reference, 0.1 ps apart."""
    reference = structure(frames)
    lines = [summary(table).to_string(), "", *verdicts(table)]
    noise = {"1 frame": noise_of(frames, 1, reference)}
    if fine:
        noise["20 ps"] = noise_of(fine, 200, reference)
    for title, parts in noise.items():
        lines.append(
            f"{title} of the reference itself, mean: "
            + ", ".join(f"{name} {value:.3f}" for name, value in parts.mean().items())
        )
    return "\n".join(lines)


def main(argv=None):
    """Command line: see ``--help``."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--full", action="store_true", help="sizes and repeats of the figure")
    parser.add_argument("--duration", type=float, help="length of runs in ps")
    parser.add_argument("--folder", type=Path, help="where runs are kept; forgotten without it")
    parser.add_argument(
        "--fine", type=Path, help="what make_coarse_water.py --spacing 0.1 made, for the noise"
    )
    arguments = parser.parse_args(argv)
    setting = Setting() if arguments.full else SMALL
    if arguments.duration is not None:
        setting = replace(setting, duration=arguments.duration)
    with tempfile.TemporaryDirectory() as scratch:
        table, frames = study(setting, arguments.folder or Path(scratch))
        fine = read_frames(arguments.fine) if arguments.fine else ()
        print(report(table, frames, fine))


if __name__ == "__main__":
    main()
