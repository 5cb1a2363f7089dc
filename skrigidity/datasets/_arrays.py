"""Files of arrays and the structures in them: what all loaders of this package share."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np

from skrigidity._extras import import_extra


def read_bundled(name: str) -> dict[str, np.ndarray]:
    """Arrays of a bundled data set."""
    path = files("skrigidity.datasets").joinpath("data", f"{name}.npz")
    with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
        return {key: archive[key] for key in archive.files}


def read_description(name: str) -> str:
    """Description of a data set, bundled or not."""
    path = files("skrigidity.datasets").joinpath("descr", f"{name}.rst")
    return path.read_text(encoding="utf-8")


@contextmanager
def complete_or_absent(path: Path) -> Iterator[Path]:
    """Name to write a file under, which becomes ``path`` only if the block ends without error.

    Every call has a name of its own: other processes may be writing the same file.
    """
    partial = path.with_name(f".{path.name}.{uuid4().hex}.part")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_arrays(path: Path, *, compressed: bool = True, **arrays: Any) -> None:
    """Write arrays to an ``.npz`` file, which appears only when it is complete."""
    with complete_or_absent(path) as partial, open(partial, "wb") as file:
        (np.savez_compressed if compressed else np.savez)(file, **arrays)


def by_structure(rows: np.ndarray, n_atoms: np.ndarray) -> list[np.ndarray]:
    """Cut rows of all atoms into one array of its own for every structure."""
    return [part.copy() for part in np.split(rows, np.cumsum(n_atoms)[:-1])] if len(n_atoms) else []


def make_frames(
    numbers: Sequence[np.ndarray],
    positions: Sequence[np.ndarray],
    *,
    info: Mapping[str, np.ndarray],
    needed_by: str,
    extra: str = "atomistic",
    arrays: Mapping[str, Sequence[np.ndarray]] | None = None,
    cells: np.ndarray | None = None,
    pbc: Any = False,
) -> list[Any]:
    """ASE frames with one value of every column of ``info``, where it is not NaN."""
    ase = import_extra("ase", extra=extra, needed_by=needed_by)
    periodic = np.broadcast_to(pbc, (len(numbers), 3))
    frames = []
    for i, (kinds, places) in enumerate(zip(numbers, positions, strict=True)):
        cell = None if cells is None else cells[i]
        atoms = ase.Atoms(numbers=kinds, positions=places, cell=cell, pbc=periodic[i])
        for name, values in (arrays or {}).items():
            atoms.arrays[name] = values[i].copy()
        row = {name: column[i].item() for name, column in info.items()}
        atoms.info.update({name: value for name, value in row.items() if value == value})
        frames.append(atoms)
    return frames
