"""What the examples of networks are about: QM7 where it is at hand, else bundled silicon.

QM7 (7101 organic molecules of H, C, N, O, S) is `qm7.extxyz.xz` in the folder that the environment
variable SKRIGIDITY_TEST_DATA names. With SKRIGIDITY_SMALL=1 fewer structures are used.
"""

import io
import lzma
import os
from dataclasses import dataclass
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms
from ase.data import chemical_symbols

from skrigidity.datasets import load_silicon

QM7_KEY = "atomization_energy_kcal_mol"
# Training, validation and test set.
QM7_FULL, QM7_SMALL = (4000, 1000, 2000), (1000, 300, 1000)


@dataclass
class Structures:
    """Structures with energies, and what one needs to know of them."""

    name: str
    frames: list[Atoms]
    key: str  # of the energy
    unit: str
    sizes: tuple[int, int, int]  # of training, validation and test set

    def split(self, seed):
        """Return training, validation and test frames."""
        order = np.random.default_rng(seed).permutation(len(self.frames))[: sum(self.sizes)]
        parts = np.split(order, np.cumsum(self.sizes)[:-1])
        return [[self.frames[i] for i in part] for part in parts]

    def energies(self, frames):
        """Return the energies of frames."""
        return np.array([frame.info[self.key] for frame in frames])


def is_small():
    """Whether a quick look is asked for."""
    return os.environ.get("SKRIGIDITY_SMALL", "0") not in ("", "0")


def qm7_path():
    """The file of QM7, or None where it is not at hand."""
    folder = os.environ.get("SKRIGIDITY_TEST_DATA")
    path = None if folder is None else Path(folder) / "qm7.extxyz.xz"
    return path if path is not None and path.exists() else None


def load_structures(path=None, small=None):
    """Return QM7 from a file, given or found by `qm7_path`; else bundled silicon.

    `small` is `is_small` where it is not given.
    """
    path = qm7_path() if path is None else Path(path)
    small = is_small() if small is None else small
    if path is None:
        return silicon()
    # Decompressed first: ASE seeks back for every frame, which xz can only do from the start.
    content = path.read_bytes()
    content = lzma.decompress(content) if path.suffix == ".xz" else content
    frames = ase.io.read(io.StringIO(content.decode()), ":", format="extxyz")
    return Structures("QM7", frames, QM7_KEY, "kcal/mol", QM7_SMALL if small else QM7_FULL)


def silicon():
    """Return clusters of two to five silicon atoms."""
    data = load_silicon(return_frames=True)
    chosen = np.flatnonzero(data.kind != "dimer_curve")
    frames = [data.frames[i] for i in chosen]
    return Structures("silicon", frames, "energy_pbe", "eV", (450, 200, 250))


def symbols(frames):
    """Return the element of every atom of all frames."""
    return np.array(chemical_symbols)[np.concatenate([frame.numbers for frame in frames])]
