"""Vectors from atoms to their neighbors, periodic images included."""

from __future__ import annotations

from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from skrigidity.atomistic._frames import as_system
from skrigidity.frames import Atoms

_TOO_CLOSE = 1e-6  # Å: an atom twice, not two atoms


class Neighbors(NamedTuple):
    """Neighbors of every atom of a frame.

    Attributes
    ----------
    counts : ndarray of int of shape (n_atoms,)
    atoms : ndarray of int of shape (counts.sum(),)
        Which atom each neighbor is, or is an image of.
    vectors : ndarray of shape (counts.sum(), 3)
        From the atom to its neighbors, atom after atom.
    """

    counts: NDArray[np.intp]
    atoms: NDArray[np.intp]
    vectors: NDArray[np.float64]


def find_neighbors(frame: Atoms, cutoff: float, where: str = "frame") -> Neighbors:
    """Find all neighbors within the cutoff; images of an atom itself are neighbors too.

    ASE's own list takes longer than all of ACE on small periodic cells.

    Parameters
    ----------
    frame : ase.Atoms
        Periodic in any directions or none.
    cutoff : float
    where : str, default="frame"
        What messages call the frame.

    Returns
    -------
    Neighbors

    Raises
    ------
    ValueError
        If the periodic cell has no volume, or two atoms are at the same place.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from skrigidity.atomistic._neighbors import find_neighbors
    >>> find_neighbors(bulk("Si"), 4.0).counts
    array([16, 16])
    """
    system = as_system(frame, cutoff, where)
    centers = system.positions
    images, parents = centers, np.arange(len(centers))
    if system.pbc.any():
        centers, images, parents = _with_images(centers, system.cell.array, cutoff)
    pairs = cKDTree(centers).sparse_distance_matrix(cKDTree(images), cutoff, output_type="ndarray")
    # The atoms themselves are the first images.
    pairs = pairs[(pairs["i"] != pairs["j"]) & (pairs["v"] < cutoff)]
    pairs = pairs[np.lexsort((pairs["j"], pairs["i"]))]
    i, j = pairs["i"], pairs["j"]
    if (close := np.flatnonzero(pairs["v"] < _TOO_CLOSE)).size:
        first, second = int(i[close[0]]), int(parents[j[close[0]]])
        raise ValueError(f"{where}: atoms {first} and {second} are at the same place")
    return Neighbors(np.bincount(i, minlength=len(centers)), parents[j], images[j] - centers[i])


def _with_images(
    positions: NDArray[np.float64], cell: NDArray[np.float64], cutoff: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.intp]]:
    """Return atoms inside the cell, and those with all images that may be their neighbors."""
    inverse = np.linalg.inv(cell)
    fractions = positions @ inverse
    inside = (fractions - np.floor(fractions)) @ cell
    # Cell heights are the inverse lengths of the reciprocal vectors.
    reach = np.ceil(cutoff * np.linalg.norm(inverse, axis=0)).astype(int)
    shifts = sorted(product(*(range(-n, n + 1) for n in reach)), key=any)
    images = (inside + (np.array(shifts) @ cell)[:, None]).reshape(-1, 3)
    parents = np.tile(np.arange(len(inside)), len(shifts))
    low, high = inside.min(axis=0) - cutoff, inside.max(axis=0) + cutoff
    near = ((images >= low) & (images <= high)).all(axis=1)
    return inside, images[near], parents[near]
