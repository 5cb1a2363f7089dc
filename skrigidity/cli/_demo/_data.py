"""What the demo learns from and what it predicts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.model_selection import GroupShuffleSplit

from skrigidity._extras import import_extra
from skrigidity.atomistic import ACEDescriptor
from skrigidity.cli._structures import frame_numbers, inspect_frames, read_frames
from skrigidity.datasets import load_carbon

if TYPE_CHECKING:
    from ase import Atoms

# g/cm³: about half of the bulk trajectories are denser. What is less dense, and every surface,
# then has environments that the training set lacks.
DENSE = 2.4
_HELD_OUT = 0.3
# Å: a little beyond the first minimum of carbon's pair distribution, as in the data's description.
BOND = 1.85


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

    Raises
    ------
    InputError
        If the file is missing, unreadable, incomplete or empty, or a structure is not made of
        carbon only, not finite, or periodic without a cell.
    """
    path = Path(path)
    inspect_frames(path, species=[6])
    frames = list(read_frames(path))
    with frame_numbers(path, range(len(frames))):
        # What the model could not describe later on.
        ACEDescriptor(species=["C"], cutoff=2.0, max_degree=(2,)).fit_transform(frames)
    return frames


def write_carbon(training: Path, new: Path, seed: int, targets: list[Atoms]) -> pd.DataFrame:
    """Write training set and new structures; return what is known of the latter.

    Parameters
    ----------
    training, new : Path
        The files: extended XYZ with energies (eV) and forces (eV/Å) as far as there are any, and
        the coordination number of every atom.
    seed : int
        Decides which bulk is held out.
    targets : list of ase.Atoms
        More new structures.

    Returns
    -------
    DataFrame
        A row for each new structure: its place in its source, and what the source says of it.
    """
    carbon = load_carbon(return_frames=True)
    split = split_carbon(carbon, seed)
    places = np.concatenate([split.bulk, split.slab])
    forces = [carbon.frames[i].arrays["forces_gfn1"] for i in places]
    known = pd.DataFrame(
        {
            "kind": carbon.kind[places],
            "structure": places,
            "trajectory": pd.array(carbon.trajectory[places], dtype="Int64"),
            "density_g_per_cm3": carbon.density[places],
            "temperature_K": carbon.temperature[places],
            "energy_gfn1_eV": carbon.energies[places],
            "rms_forces_gfn1_eV_per_A": [np.sqrt(np.mean(each**2)) for each in forces],
        }
    )
    if targets:
        more = pd.DataFrame({"kind": "target", "structure": range(len(targets))})
        known = pd.concat([known, more], ignore_index=True)
    frames = [carbon.frames[i].copy() for i in places] + [bare(frame) for frame in targets]
    for frame, row in zip(frames, known.itertuples(), strict=True):
        frame.info |= {"kind": row.kind, "structure": int(row.structure)}
        frame.arrays["coordination"] = coordination(frame)
    io = import_extra("ase.io", extra="atomistic", needed_by="skrigidity demo")
    io.write(training, [carbon.frames[i] for i in split.training], format="extxyz")
    io.write(new, frames, format="extxyz")
    return known


def bare(frame: Atoms) -> Atoms:
    """Return elements, positions, cell and periodicity of a structure, and nothing else."""
    return type(frame)(frame.numbers, frame.positions, cell=frame.cell, pbc=frame.pbc)


def coordination(frame: Atoms) -> NDArray[np.int64]:
    """Count the neighbors of each atom within the length of a bond."""
    neighborlist = import_extra("ase.neighborlist", extra="atomistic", needed_by="skrigidity demo")
    return np.bincount(neighborlist.neighbor_list("i", frame, BOND), minlength=len(frame))
