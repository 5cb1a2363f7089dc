"""What the demo learns from and what it predicts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import GroupShuffleSplit

from skrigidity.atomistic import FeatomicDescriptor
from skrigidity.cli._structures import frame_numbers, inspect_frames, read_frames

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
    inspect_frames(path, species=[6])
    frames = [type(f)(f.numbers, f.positions, cell=f.cell, pbc=f.pbc) for f in read_frames(path)]
    with frame_numbers(path, range(len(frames))):
        # What the model could not describe later on.
        FeatomicDescriptor(species=["C"], cutoff=2.0).fit_transform(frames)
    return frames
