"""What the scripts that make the bundled data sets share: fixed point, work files, bundling."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from skrigidity.datasets._arrays import complete_or_absent, write_arrays

# Fixed point, so that the coordinates in the file are exactly the ones that were computed.
POSITIONS_PER_ANGSTROM = 1_000_000
EV_PER_HARTREE = 27.211386245988
SYMBOLS = {1: "H", 8: "O", 14: "Si"}


def to_fixed_point(positions: np.ndarray) -> np.ndarray:
    """Positions (angstrom) as integers of ``1 / POSITIONS_PER_ANGSTROM``."""
    return np.rint(np.asarray(positions) * POSITIONS_PER_ANGSTROM).astype(np.int32)


@dataclass(frozen=True)
class Molecule:
    """One structure without a cell, before its energy is known."""

    name: str  # also the name of its work file
    numbers: tuple[int, ...]
    positions: np.ndarray  # (n_atoms, 3), in 1 / POSITIONS_PER_ANGSTROM

    def pyscf(self, **settings: Any) -> Any:
        """Build the molecule for PySCF."""
        from pyscf import gto

        atoms = [
            (SYMBOLS[number], tuple(position / POSITIONS_PER_ANGSTROM))
            for number, position in zip(self.numbers, self.positions, strict=True)
        ]
        return gto.M(atom=atoms, unit="Angstrom", verbose=0, **settings)


@dataclass(frozen=True)
class Reference:
    """Outcome of a calculation; ``energy`` is None where it failed, ``attempts`` counts both."""

    energy: float | None  # eV
    attempts: int


def compute_missing(
    molecules: Iterable[Molecule], reference: Callable[[Molecule], Reference], work: Path
) -> None:
    """Compute the molecules that have no work file yet, one file each."""
    work.mkdir(parents=True, exist_ok=True)
    for molecule in molecules:
        path = work / f"{molecule.name}.json"
        if path.exists():
            continue
        begin = time.perf_counter()
        result = reference(molecule)
        record = {
            "positions": molecule.positions.tolist(),
            **vars(result),
            "seconds": round(time.perf_counter() - begin, 2),
        }
        with complete_or_absent(path) as partial:
            partial.write_text(json.dumps(record), encoding="utf-8")
        print(f"{molecule.name}: {result}, {record['seconds']} s", flush=True)


def read_energies(molecules: Iterable[Molecule], work: Path) -> dict[str, float]:
    """Energies (eV) by name of the molecules that have been computed; failures are printed.

    A work file made for other positions is an error: it belongs to another seed or recipe.
    """
    energies = {}
    for molecule in molecules:
        path = work / f"{molecule.name}.json"
        if not path.exists():
            continue
        record = json.loads(path.read_text(encoding="utf-8"))
        if record["positions"] != molecule.positions.tolist():
            raise SystemExit(f"{path} holds another structure than the recipe gives")
        if record["attempts"] > 1:
            print(f"{molecule.name}: {record['attempts']} attempts")
        if record["energy"] is None:
            print(f"{molecule.name}: left out, did not converge")
        else:
            energies[molecule.name] = record["energy"]
    if not energies:
        raise SystemExit(f"no work files in {work}")
    return energies


def bundle(output: Path, **arrays: Any) -> None:
    """Write one compressed file that numpy alone can read."""
    write_arrays(output, positions_per_angstrom=np.array(POSITIONS_PER_ANGSTROM), **arrays)
    print(f"{len(arrays['energies'])} structures, {output.stat().st_size} bytes: {output}")


def table(widths: str, head: str, rows: Iterable[str]) -> list[str]:
    """Lines of a table of the description; ``widths`` is its rule."""
    return [widths, head, widths, *rows, widths]


def spread(values: np.ndarray, form: str) -> str:
    """Smallest, mean and largest value as three cells of a table."""
    return "  ".join(format(v, form) for v in (values.min(), values.mean(), values.max()))


def parser_for(name: str, what: str) -> argparse.ArgumentParser:
    """Return the parser of the options that all scripts have."""
    parser = argparse.ArgumentParser(
        prog=f"python docs/recipes/make_{name}.py", description=f"Make the bundled {what}."
    )
    add = parser.add_argument
    add("--work", type=Path, default=Path(f"{name}-work"), help="folder of the work files")
    add("--output", type=Path, default=Path(f"{name}.npz"), help="file to write")
    add("--seed", type=int, default=0)
    add("--assemble-only", action="store_true", help="join the work files that are there")
    add("--describe", action="store_true", help="print the numbers of the bundled file and stop")
    return parser


def make_molecular_data(
    name: str,
    what: str,
    argv: list[str] | None,
    *,
    make: Callable[[int], list[Molecule]],
    reference: Callable[[Molecule], Reference],
    arrays: Callable[[list[Molecule]], dict[str, Any]],
    zero: str,
    describe: Callable[[], str],
) -> None:
    """Run the script that makes a data set of molecules.

    The last molecule is the one that energies refer to, stored under the name ``zero``.
    """
    arguments = parser_for(name, what).parse_args(argv)
    if arguments.describe:
        print(describe())
        return
    *molecules, last = make(arguments.seed)
    if not arguments.assemble_only:
        smallest_first = sorted([*molecules, last], key=lambda molecule: len(molecule.numbers))
        compute_missing(smallest_first, reference, arguments.work)
    energies = read_energies([*molecules, last], arguments.work)
    if last.name not in energies:
        raise SystemExit(f"{last.name}, to which energies refer, has not been computed")
    done = [molecule for molecule in molecules if molecule.name in energies]
    stored = {"energies": [energies[molecule.name] for molecule in done], **arrays(done)}
    bundle(arguments.output, **stored, **{zero: np.array(energies[last.name])})
