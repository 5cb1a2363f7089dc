"""Make the bundled coarse-grained water (see ``descr/coarse_water.rst`` for what it is).

Run it where the package is installed together with OpenMM, which is not a dependency of it::

    pip install openmm

    python docs/recipes/make_coarse_water.py --work coarse-water-work --output coarse_water.npz
    python docs/recipes/make_coarse_water.py --frames 10000 --output coarse_water_10000.npz
    python docs/recipes/make_coarse_water.py --describe

The first command runs the molecular dynamics, one work file per block of frames. It takes about
20 minutes on one core; when it is stopped, the same command goes on where it was. The second makes
as many frames as the paper had. The third prints the numbers quoted in the description from the
bundled file and needs only the package.

Every block of the trajectory has its own seed, so that an interrupted run gives the same frames;
another build of OpenMM gives other frames of the same distribution.
"""

from __future__ import annotations

import argparse
import time
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from skrigidity.datasets._arrays import write_arrays

N_MOLECULES = 128
SIDE = 15.66  # angstrom: 0.997 g/cm3
OH_BOND, ANGLE = 1.0, 109.47  # SPC/E, angstrom and degrees
MASSES = np.array([15.99943, 1.007947, 1.007947])  # O, H, H
TEMPERATURE = 300.0  # K
FRICTION = 1.0  # 1/ps
TIME_STEP = 0.002  # ps
CUTOFF = 7.5  # angstrom, of the direct sum and of Lennard-Jones

EQUILIBRATION = 50.0  # ps
FRAMES_PER_BLOCK = 50
GAP_FRAMES = 20  # between training and test
TEST_FRAMES = 200
EV_PER_KJ_PER_MOL = 0.010364269656262175

# Fixed point: the steps are far below what the dynamics moves in a time step, and what a model
# of beads cannot explain of the forces (0.15 eV/angstrom).
POSITIONS_PER_ANGSTROM = 1000
FORCES_PER_EV_PER_ANGSTROM = 1000


def starting_positions(rng: np.random.Generator) -> np.ndarray:
    """Molecules of random orientation (angstrom) on some of the points of a 6 x 6 x 6 grid."""
    grid = np.stack(np.meshgrid(*[np.arange(6)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    centres = (rng.permutation(grid)[:N_MOLECULES] + 0.5) * SIDE / 6
    half = np.deg2rad(ANGLE) / 2
    arms = OH_BOND * np.array([[np.cos(half), np.sin(half), 0], [np.cos(half), -np.sin(half), 0]])
    molecule = np.vstack([np.zeros(3), arms])
    turned = [molecule @ Rotation.random(random_state=rng).as_matrix().T for _ in centres]
    return (centres[:, None] + np.array(turned)).reshape(-1, 3)


class Dynamics:
    """Langevin dynamics of rigid SPC/E water in a periodic cube."""

    def __init__(self) -> None:
        self.openmm, self.unit = import_module("openmm"), import_module("openmm.unit")
        app = import_module("openmm.app")
        topology = app.Topology()
        chain = topology.addChain()
        elements = [app.Element.getBySymbol(symbol) for symbol in "OHH"]
        for _ in range(N_MOLECULES):
            residue = topology.addResidue("HOH", chain)
            atoms = [
                topology.addAtom(name, element, residue)
                for name, element in zip(("O", "H1", "H2"), elements, strict=True)
            ]
            topology.addBond(atoms[0], atoms[1])
            topology.addBond(atoms[0], atoms[2])
        topology.setPeriodicBoxVectors(np.eye(3) * SIDE / 10)
        self.system = app.ForceField("spce.xml").createSystem(
            topology,
            nonbondedMethod=app.PME,
            nonbondedCutoff=CUTOFF / 10,
            constraints=app.HBonds,
            rigidWater=True,
        )

    def context(self, seed: int) -> Any:
        """Return a new context, whose thermostat has the seed."""
        integrator = self.openmm.LangevinMiddleIntegrator(TEMPERATURE, FRICTION, TIME_STEP)
        integrator.setRandomNumberSeed(seed)
        platform = self.openmm.Platform.getPlatformByName("CPU")
        options = {"Threads": "1", "DeterministicForces": "true"}
        return self.openmm.Context(self.system, integrator, platform, options)

    def state(self, context: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Positions (angstrom), velocities (nm/ps) and forces (eV/angstrom) of the atoms.

        The forces are those of the force field: neither constraints nor thermostat are in them.
        """
        state = context.getState(getPositions=True, getVelocities=True, getForces=True)
        forces = np.array(state.getForces(asNumpy=True)) * EV_PER_KJ_PER_MOL / 10
        velocities = np.array(state.getVelocities(asNumpy=True))
        return np.array(state.getPositions(asNumpy=True)) * 10, velocities, forces


def seed_of(*key: int) -> int:
    """Return a seed that OpenMM takes."""
    return int(np.random.SeedSequence(key).generate_state(1)[0] % (2**31 - 1)) + 1


def to_beads(positions: np.ndarray, forces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Centres of mass, wrapped into the cell, and sums of the forces, both in fixed point."""
    molecules = positions.reshape(N_MOLECULES, 3, 3)
    centres = np.einsum("mak,a->mk", molecules, MASSES / MASSES.sum()) % SIDE
    beads = np.rint(centres * POSITIONS_PER_ANGSTROM).astype(np.int16)
    sums = forces.reshape(N_MOLECULES, 3, 3).sum(axis=1)
    return beads, np.rint(sums * FORCES_PER_EV_PER_ANGSTROM).astype(np.int16)


def make_block(dynamics: Dynamics, index: int, seed: int, spacing: float, work: Path) -> None:
    """Run one block of the trajectory; the first one equilibrates before it."""
    context = dynamics.context(seed_of(seed, index))
    begin = time.perf_counter()
    if index == 0:
        context.setPositions(starting_positions(np.random.default_rng(seed)) / 10)
        context.applyConstraints(1e-6)
        dynamics.openmm.LocalEnergyMinimizer.minimize(context, maxIterations=500)
        context.setVelocitiesToTemperature(TEMPERATURE, seed_of(seed, index, 1))
        context.getIntegrator().step(round(EQUILIBRATION / TIME_STEP))
    else:
        with np.load(work / f"block-{index - 1:04d}.npz") as file:
            context.setPositions(file["atoms"] / 10)
            context.setVelocities(file["velocities"])
    beads, forces = [], []
    for _ in range(FRAMES_PER_BLOCK):
        context.getIntegrator().step(round(spacing / TIME_STEP))
        atoms, velocities, force = dynamics.state(context)
        for part, value in zip((beads, forces), to_beads(atoms, force), strict=True):
            part.append(value)
    write_arrays(
        work / f"block-{index:04d}.npz",
        positions=np.array(beads),
        forces=np.array(forces),
        atoms=atoms,
        velocities=velocities,
        spacing=np.array(spacing),
    )
    print(f"block {index}: {time.perf_counter() - begin:.0f} s", flush=True)


def generate(work: Path, n_frames: int, seed: int, spacing: float) -> list[Path]:
    """Make the blocks that are not there yet, and enough of them for the gap."""
    work.mkdir(parents=True, exist_ok=True)
    dynamics = None
    n_blocks = -(-(n_frames + GAP_FRAMES) // FRAMES_PER_BLOCK)
    paths = [work / f"block-{index:04d}.npz" for index in range(n_blocks)]
    for index, path in enumerate(paths):
        if not path.exists():
            dynamics = dynamics or Dynamics()
            make_block(dynamics, index, seed, spacing, work)
    return paths


def assemble(paths: list[Path], n_frames: int, output: Path) -> None:
    """Join the blocks: training frames, a gap that is left out, test frames."""
    parts: dict[str, list[np.ndarray]] = {"positions": [], "forces": []}
    for path in paths:
        with np.load(path) as file:
            spacing = file["spacing"]
            for name, part in parts.items():
                part.append(file[name])
    n_training = n_frames - TEST_FRAMES
    kept = np.r_[:n_training, n_training + GAP_FRAMES : n_frames + GAP_FRAMES]
    write_arrays(
        output,
        **{name: np.concatenate(part)[kept] for name, part in parts.items()},
        time=(kept + 1) * float(spacing),
        test=kept >= n_training,
        side=np.array(SIDE),
        positions_per_angstrom=np.array(POSITIONS_PER_ANGSTROM),
        forces_per_ev_per_angstrom=np.array(FORCES_PER_EV_PER_ANGSTROM),
    )
    print(f"{n_frames} frames, {output.stat().st_size} bytes: {output}")


# --------------------------------------------------------------------------------------------------
# The numbers of the description


def distances(positions: np.ndarray, side: float) -> np.ndarray:
    """Minimum-image distances (angstrom) between all pairs of beads of a frame."""
    first, second = np.triu_indices(len(positions), 1)
    vectors = positions[first] - positions[second]
    vectors -= np.round(vectors / side) * side
    return np.linalg.norm(vectors, axis=-1)


def describe(data: Any) -> str:
    """Numbers quoted in the description, as text; ``data`` is what `load_coarse_water` returns."""
    side, n_beads = data.cells[0, 0], len(data.numbers)
    pairs = np.array([distances(positions, side) for positions in data.positions])
    counts, edges = np.histogram(pairs, bins=np.arange(2.0, side / 2, 0.05))
    shells = 4 / 3 * np.pi * np.diff(edges**3)
    g = counts / (len(pairs) * n_beads * (n_beads - 1) / 2 * shells / side**3)
    middles = (edges[1:] + edges[:-1]) / 2
    peak = int(np.argmax(g))
    low = peak + int(np.argmin(g[peak : np.searchsorted(middles, 4.5)]))
    training = data.split == "train"
    forces = data.forces[training]
    moved = np.diff(data.positions[training], axis=0)
    moved -= np.round(moved / side) * side
    correlation = np.mean(forces[1:] * forces[:-1]) / np.mean(forces**2)
    net = data.forces.sum(axis=1)
    lines = [
        f"{len(training)} frames of {n_beads} beads, {training.sum()} for training from "
        f"{data.time[0]:.0f} to {data.time[training][-1]:.0f} ps, {(~training).sum()} for testing "
        f"from {data.time[~training][0]:.0f} to {data.time[-1]:.0f} ps",
        f"force components: rms {forces.std():.3f}, largest {np.abs(data.forces).max():.2f} "
        f"eV/angstrom; net force of a frame: rms {net.std():.4f} eV/angstrom",
        f"correlation of force components one frame apart {correlation:.3f}, "
        f"displacement rms {np.sqrt(np.mean((moved**2).sum(axis=-1))):.2f} angstrom",
        f"g(r): peak {g[peak]:.2f} at {middles[peak]:.2f}, minimum {g[low]:.2f} at "
        f"{middles[low]:.2f} angstrom; {2 * np.mean(pairs < 3.5) * pairs.shape[1] / n_beads:.2f} "
        "neighbours within 3.5 angstrom",
        f"shortest distance {pairs.min():.2f} angstrom; "
        f"{np.sum(pairs < 2.5)} of {(pairs < 3.5).sum()} neighbours closer than 2.5 angstrom",
    ]
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> None:
    """Command line: see ``--help``."""
    parser = argparse.ArgumentParser(description="Make the bundled coarse-grained water.")
    add = parser.add_argument
    add("--work", type=Path, default=Path("coarse-water-work"), help="folder of the work files")
    add("--output", type=Path, default=Path("coarse_water.npz"), help="file to write")
    add("--frames", type=int, default=900, help="how many, the 200 test frames among them")
    add("--spacing", type=float, default=1.0, help="time between frames in ps")
    add("--seed", type=int, default=0)
    add("--describe", action="store_true", help="print the numbers of the bundled file and stop")
    arguments = parser.parse_args(argv)
    if arguments.describe:
        from skrigidity.datasets import load_coarse_water

        print(describe(load_coarse_water()))
        return
    if arguments.frames <= TEST_FRAMES:
        parser.error(f"--frames must be more than the {TEST_FRAMES} test frames")
    paths = generate(arguments.work, arguments.frames, arguments.seed, arguments.spacing)
    assemble(paths, arguments.frames, arguments.output)


if __name__ == "__main__":
    main()
