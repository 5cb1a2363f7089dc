"""The repulsion of atomic cores at short range (Ziegler, Biersack, Littmark)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from skrigidity.atomistic._neighbors import find_neighbors
from skrigidity.frames import Atoms, require

Array = NDArray[np.float64]

_COULOMB = 14.3996454784255  # e² / (4 pi epsilon_0) in eV Å
_BOHR = 0.529177210903  # Å
# The universal screening function, a sum of exponentials.
_SHARES = np.array([0.18175, 0.50986, 0.28022, 0.028171])
_DECAYS = np.array([3.19980, 0.94229, 0.40290, 0.20162])
# Switched off between these multiples of the sum of covalent radii.
_INNER, _OUTER = 0.5, 0.9
_VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))


def core_repulsion(frame: Atoms) -> tuple[Array, Array, Array]:
    """Return the repulsion of cores: energies of atoms, forces, and strain derivative.

    The screened Coulomb repulsion between nuclei, switched off smoothly (twice differentiable)
    between 0.5 and 0.9 times the sum of the covalent radii of a pair: at distances that no
    reference data have, it keeps atoms apart; where there are bonds it is zero.

    Parameters
    ----------
    frame : ase.Atoms

    Returns
    -------
    energies : ndarray of shape (n_atoms,)
        Half of the energies of an atom's pairs, in eV.
    forces : ndarray of shape (n_atoms, 3)
        In eV/Å.
    strain : ndarray of shape (6,)
        In eV, Voigt order.

    References
    ----------
    Ziegler, Biersack, Littmark, The Stopping and Range of Ions in Solids (Pergamon, 1985).

    Examples
    --------
    >>> from ase import Atoms
    >>> from skrigidity.atomistic.potential._core import core_repulsion
    >>> energies, forces, _ = core_repulsion(Atoms("Si2", [[0, 0, 0], [0, 0, 1.0]]))
    >>> energies.round(2), bool(forces[0, 2] < 0)
    (array([25.49, 25.49]), True)
    """
    radii = require("ase.data").covalent_radii
    reach = 2 * _OUTER * float(radii[frame.numbers].max())
    found = find_neighbors(frame, reach)
    i, j = np.repeat(np.arange(len(frame)), found.counts), found.atoms
    r = np.linalg.norm(found.vectors, axis=1)
    outer = _OUTER * (radii[frame.numbers[i]] + radii[frame.numbers[j]])
    near = r < outer
    i, j, r, vectors, outer = i[near], j[near], r[near], found.vectors[near], outer[near]
    energy, slope = _pair(r, frame.numbers[i], frame.numbers[j], outer)
    # Every pair comes twice, with a half of its energy each time.
    energies, forces = np.zeros(len(frame)), np.zeros((len(frame), 3))
    np.add.at(energies, i, energy / 2)
    pull = (slope / r)[:, None] * vectors
    np.add.at(forces, i, pull)
    strain = np.array([pull[:, a] @ vectors[:, b] / 2 for a, b in _VOIGT])
    return energies, forces, strain


def _pair(
    r: Array, z_i: NDArray[np.int64], z_j: NDArray[np.int64], outer: Array
) -> tuple[Array, Array]:
    """Return the energies of pairs and their derivatives by distance."""
    length = 0.88534 * _BOHR / (z_i**0.23 + z_j**0.23)
    terms = _SHARES * np.exp(-_DECAYS * (r / length)[:, None])
    screening = terms.sum(axis=1)
    bare = _COULOMB * z_i * z_j / r
    energy = bare * screening
    slope = -energy / r - bare * (terms @ _DECAYS) / length
    width = outer * (1 - _INNER / _OUTER)
    t = np.clip((r - outer) / width + 1, 0.0, 1.0)
    switch = 1 - t**3 * (10 - 15 * t + 6 * t**2)
    by_r = -30 * t**2 * (1 - t) ** 2 / width
    return energy * switch, slope * switch + energy * by_r
