"""Files of arrays and the structures in them: what all loaders of this package share."""

import os
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
from sklearn.utils import Bunch

from skrigidity._extras import import_extra

# Coordinates and energies hardly compress: what claims to expand more than this is something else.
LARGEST_EXPANSION = 50

# Constraints of the parameters that all loaders share.
OPTIONS: dict[str, Any] = {"return_frames": ["boolean"], "return_X_y": ["boolean"]}


class DamagedFileError(OSError):
    """A file that is not what this package wrote there."""


def read_arrays(path: Any, cure: str) -> dict[str, np.ndarray]:
    """Arrays of an ``.npz`` file.

    Raises
    ------
    DamagedFileError
        It is not one, or it would unpack to far more than its own size, which is found out before
        anything is unpacked. The message has the path, the reason and the cure.
    """
    try:
        with path.open("rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            # Whoever reads a member stops at the size that is declared here.
            declared = sum(member.file_size for member in zipfile.ZipFile(stream).infolist())
            if declared > LARGEST_EXPANSION * size:
                raise ValueError(f"its {size} bytes would unpack to {declared}")
            stream.seek(0)
            with np.load(stream, allow_pickle=False) as archive:
                return {key: archive[key] for key in archive.files}
    except OSError:
        raise
    except Exception as error:  # A damaged file raises whatever the damage leads to.
        raise DamagedFileError(f"{path} is damaged ({error}): {cure}") from error


def read_bundled(name: str) -> dict[str, np.ndarray]:
    """Arrays of a bundled data set."""
    path = files("skrigidity.datasets").joinpath("data", f"{name}.npz")
    return read_arrays(path, "install skrigidity again")


def read_description(name: str) -> str:
    """Text that says what a data set is."""
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


def pick(
    arrays: dict[str, np.ndarray], chosen: np.ndarray, *of_atoms: str
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Take the chosen structures from rows of atoms, a list each, and from all other arrays."""
    sizes = arrays["n_atoms"]
    rows = np.repeat(chosen, sizes)
    parts = {name: by_structure(arrays[name][rows], sizes[chosen]) for name in of_atoms}
    others = {name: a[chosen] for name, a in arrays.items() if name not in of_atoms}
    return parts, others


def finish(
    data: Bunch,
    name: str,
    columns: Sequence[str],
    return_frames: bool,
    return_X_y: bool,
    extra: str = "atomistic",
) -> Any:
    """Return what a loader returns: the data, completed, or the pair that models are fitted to.

    Adds the target, the description of the data set and, where the options ask for them, the
    frames, whose ``info`` has the columns. The first of these is the energy, under the name of
    its reference method, as in ``energy_pbe``.
    """
    data.target = data.energies / data.n_atoms
    data.target_names = ["energy_per_atom"]
    data.DESCR = read_description(name)
    if return_frames or return_X_y:
        option = "return_X_y" if return_X_y else "return_frames"
        verb = "load" if extra == "atomistic" else "fetch"
        ase = import_extra("ase", extra=extra, needed_by=f"{verb}_{name}({option}=True)")
        data.frames = _frames(ase, data, columns)
    return (data.frames, data.target) if return_X_y else data


def _frames(ase: Any, data: Bunch, columns: Sequence[str]) -> list[Any]:
    n = len(data.target)
    numbers = data.numbers if isinstance(data.numbers, list) else [data.numbers] * n
    periodic = np.broadcast_to(data.get("pbc", False), (n, 3))
    cells = data.get("cells", [None] * n)
    energy, *others = columns
    frames = []
    for i in range(n):
        atoms = ase.Atoms(numbers[i], data.positions[i], cell=cells[i], pbc=periodic[i])
        if "forces" in data:
            atoms.arrays[energy.replace("energy", "forces")] = data.forces[i].copy()
        # Not "energy": ASE moves that into a calculator when it reads a file.
        row = {energy: data.energies[i].item()}
        row |= {column: data[column][i].item() for column in others}
        atoms.info.update({name: value for name, value in row.items() if value == value})
        frames.append(atoms)
    return frames
