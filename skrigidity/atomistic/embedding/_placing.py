"""Atoms around an environment: displaced one by one, never too close to each other."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from skrigidity.atomistic.embedding._environment import MARGIN
from skrigidity.frames import require

Array = NDArray[np.float64]
# Shortest distance, relative to the sum of covalent radii.
_COVALENT = 0.7
# Displacements that are tried before an atom is given up, a few at first.
_TRIES = (4, 60)


class Contacts:
    """Shortest distances that are allowed between atoms.

    Parameters
    ----------
    minimum : float or None
        In Å; None: 0.7 times the sum of the covalent radii.
    """

    def __init__(self, minimum: float | None) -> None:
        radii = require("ase.data").covalent_radii
        self._half = _COVALENT * radii if minimum is None else np.full(len(radii), minimum / 2)

    def between(self, first: NDArray[Any], second: NDArray[Any]) -> Array:
        """Return the shortest distances of all atoms from all others, by atomic numbers."""
        return np.asarray(self._half[first][:, None] + self._half[second])


def wrapped(vectors: Array, cell: Array | None) -> tuple[Array, Array]:
    """Return vectors to nearest images, and by how many cells these are away.

    Exact where these are shorter than half the least height of the cell.
    """
    if cell is None:
        return vectors, np.zeros_like(vectors)
    shifts = np.asarray(-np.round(vectors @ np.linalg.inv(cell)), dtype=np.float64)
    return vectors + shifts @ cell, shifts


def closest(
    numbers: NDArray[Any], positions: Array, n_held: int, cell: Array | None, contacts: Contacts
) -> tuple[float, float]:
    """Return the shortest distance, and by how much any exceeds what is allowed.

    Distances of held atoms (the first ones) from each other are not counted: they are what they
    were. Those from each other's images are.
    """
    vectors, shifts = wrapped(positions[:, None] - positions, cell)
    distances = np.linalg.norm(vectors, axis=-1)
    direct: NDArray[np.bool_] = np.asarray(~shifts.any(axis=-1))
    direct[n_held:], direct[:, n_held:] = False, False
    np.fill_diagonal(direct, True)
    distances[direct] = np.inf
    excess = distances - contacts.between(numbers, numbers)
    return float(distances.min()), float(excess.min())


def displaced(
    held: tuple[NDArray[Any], Array],
    buffer: tuple[NDArray[Any], Array],
    cell: Array | None,
    radius: float,
    sigma: float,
    contacts: Contacts,
    rng: Any,
) -> tuple[NDArray[np.intp], Array]:
    """Displace the atoms of a buffer, one by one in random order.

    A displacement is drawn again where it leads inside the radius or too close to atoms that have
    been placed. An atom that finds no place is left out.

    Parameters
    ----------
    held, buffer : (numbers, positions)
        Around the origin.
    cell : ndarray of shape (3, 3) or None
    radius : float
        Around the origin, where nothing but held atoms may be.
    sigma : float
        Standard deviation of each component.
    contacts : Contacts
    rng : numpy.random.RandomState

    Returns
    -------
    kept : ndarray of int
        Which atoms of the buffer are left, in their order.
    positions : ndarray of shape (len(kept), 3)
    """
    n, (numbers, start) = len(held[0]), buffer
    taken = np.concatenate([held[1], np.empty_like(start)])
    limits = contacts.between(numbers, np.concatenate([held[0], numbers]))
    kept: list[int] = []
    of = np.concatenate([np.arange(n), np.empty(len(start), dtype=int)])  # columns of limits
    for i in rng.permutation(len(start)).tolist():
        count = n + len(kept)
        for size in _TRIES if sigma > 0 else (1,):
            tries = start[i] + sigma * rng.standard_normal((size, 3))
            near, _ = wrapped(tries[:, None] - taken[:count], cell)
            free = (np.linalg.norm(near, axis=-1) >= limits[i, of[:count]]).all(axis=1)
            free &= np.linalg.norm(wrapped(tries, cell)[0], axis=-1) > radius + MARGIN
            if free.any():
                taken[count], of[count] = tries[free.argmax()], n + i
                kept.append(i)
                break
    order = np.argsort(kept)
    return np.array(kept, dtype=int)[order], taken[n : n + len(kept)][order]
