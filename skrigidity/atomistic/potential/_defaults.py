"""The descriptor of a potential that is given none."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from skrigidity.atomistic._ace import ACEDescriptor
from skrigidity.atomistic._neighbors import find_neighbors
from skrigidity.frames import Atoms, require

# Of so many frames at most the distances are measured.
_FRAMES = 50
# Within this many times the sum of covalent radii, and this far at least, in Å.
_REACH, _LEAST = 2.0, 2.0
_CUTOFF = 2.05
# With more species there are more products: one step down for each, and on to so many columns.
_DEGREES = [(20, 16, 12), (16, 12, 8), (12, 9, 6), (10, 8, 5), (8, 6, 4), (6, 4, 3), (6, 4), (4,)]
_COLUMNS = 2000


def default_descriptor(frames: list[Atoms], species: NDArray[np.int64]) -> ACEDescriptor:
    """Return a self-interacting ACE descriptor with the distances of the frames.

    Its ``r0`` is the median distance of atoms from their nearest neighbor, for each pair of
    species; its cutoff is 2.05 times the largest of these.

    Parameters
    ----------
    frames : list of ase.Atoms
        The frames.
    species : ndarray of int
        Atomic numbers.

    Returns
    -------
    ACEDescriptor
        The descriptor, not fitted.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from skrigidity.atomistic import default_descriptor
    >>> descriptor = default_descriptor([bulk("Si")], [14])
    >>> descriptor.r0, descriptor.cutoff
    (2.351, 4.82)
    """
    distances = nearest_distances(frames, species)
    r0: Any = float(distances[0, 0]) if len(species) == 1 else distances.tolist()
    for degrees in _DEGREES[min(len(species), len(_DEGREES)) - 1 :]:
        descriptor = ACEDescriptor(
            cutoff=float(np.round(_CUTOFF * distances.max(), 2)),
            max_degree=degrees,
            kind="self-interacting",
            angular_weight=1.0,
            r0=r0,
        )
        # The frames may lack some of the species.
        complete = clone(descriptor).set_params(species=species)
        if complete.fit(frames[:1]).n_features_out_ <= _COLUMNS:
            break
    return descriptor


def nearest_distances(frames: list[Atoms], species: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return medians of the distance to the nearest neighbor of each species.

    Parameters
    ----------
    frames : list of ase.Atoms
        The frames.
    species : ndarray of int

    Returns
    -------
    ndarray of shape (n_species, n_species)
        Symmetric; sums of covalent radii where no two atoms are near each other.
    """
    radii = require("ase.data").covalent_radii[species]
    usual = radii[:, None] + radii
    reach = np.maximum(_REACH * usual, _LEAST)
    found: dict[tuple[int, int], list[NDArray[np.float64]]] = {}
    for i in range(0, len(frames), -(-len(frames) // _FRAMES)):
        frame = frames[i]
        neighbors = find_neighbors(frame, float(reach.max()), f"X[{i}]")
        kind = np.searchsorted(species, frame.numbers)
        center = np.repeat(np.arange(len(frame)), neighbors.counts)
        r = np.linalg.norm(neighbors.vectors, axis=1)
        for a, b in np.ndindex(usual.shape):
            pairs = (kind[center] == a) & (kind[neighbors.atoms] == b) & (r < reach[a, b])
            nearest = np.full(len(frame), np.inf)
            np.minimum.at(nearest, center[pairs], r[pairs])
            found.setdefault((min(a, b), max(a, b)), []).append(nearest[np.isfinite(nearest)])
    out = usual.copy()
    for (a, b), parts in found.items():
        distances = np.concatenate(parts)
        if len(distances):
            out[a, b] = out[b, a] = np.round(np.median(distances), 3)
    return np.asarray(out)
