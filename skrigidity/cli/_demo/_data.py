"""What the demo learns from and what it predicts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import GroupShuffleSplit

from skrigidity._extras import import_extra
from skrigidity.atomistic import FeatomicDescriptor
from skrigidity.cli._common import InputError

if TYPE_CHECKING:
    from ase import Atoms

# g/cm³: about half of the bulk trajectories are denser. What is less dense, and every surface,
# then has environments that the training set lacks.
DENSE = 2.4
_HELD_OUT = 0.3


class Split(NamedTuple):
    """Indices into the bundled carbon structures."""

    training: NDArray[np.intp]
    bulk: NDArray[np.intp]
    slab: NDArray[np.intp]


def split_carbon(carbon: Any, seed: int) -> Split:
    """Divide dense bulk by trajectory, and take the surfaces that the training set did not make.

    A slab is cut from the last frame of its bulk trajectory, so that those of training
    trajectories would not be new.
    """
    dense = np.flatnonzero((carbon.kind == "bulk") & (carbon.density > DENSE))
    divide = GroupShuffleSplit(1, test_size=_HELD_OUT, random_state=seed)
    training, bulk = (dense[i] for i in next(divide.split(dense, groups=carbon.trajectory[dense])))
    seen = np.isin(carbon.trajectory, carbon.trajectory[training])
    return Split(training, bulk, np.flatnonzero((carbon.kind == "slab") & ~seen))


def read_structures(path: str | Path) -> list[Atoms]:
    """Read all structures of a file, or say in one line why they cannot be used.

    Parameters
    ----------
    path : str or Path
        A file in any format that ASE reads.

    Returns
    -------
    list of ase.Atoms
        Bare copies: elements, positions, cell and periodicity.

    Raises
    ------
    InputError
        If the file is missing, unreadable, incomplete or empty, or a structure is not made of
        carbon only, not finite, or periodic without a cell.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    io = import_extra("ase.io", extra="atomistic", needed_by="reading structures")
    try:
        frames = io.read(path, index=":", do_not_split_by_at_sign=True)
        # ASE accepts an XYZ file that was cut within its last number.
        if path.suffix in (".xyz", ".extxyz") and not path.read_bytes().endswith(b"\n"):
            raise ValueError("the last line does not end: incomplete?")
    except Exception as error:  # ASE's readers raise whatever their parsing happens to raise.
        reason = " ".join(str(error).split()).removeprefix("ase.io.extxyz: ")
        raise InputError(f"{path}: cannot read it: {reason or type(error).__name__}") from error
    return _checked(frames, path)


def _checked(frames: list[Atoms], path: Path) -> list[Atoms]:
    for i, frame in enumerate(frames):
        other = sorted(set(frame.get_chemical_symbols()) - {"C"})
        if other:
            raise InputError(f"{path}[{i}]: contains {', '.join(other)}; expected carbon only")
    frames = [type(f)(f.numbers, f.positions, cell=f.cell, pbc=f.pbc) for f in frames]
    try:
        # What the model could not describe later on.
        FeatomicDescriptor(species=["C"], cutoff=2.0).fit_transform(frames)
    except ValueError as error:
        raise InputError(str(error).replace("X", str(path), 1)) from error
    return frames
