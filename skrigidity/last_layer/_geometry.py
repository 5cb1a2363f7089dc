"""What adapters need of the geometry of frames: pairs of neighbours, and strain."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._extras import import_extra
from ._hooks import require_torch


def neighbor_pairs(frames: list[Any], cutoff: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return both atoms of all pairs, numbered through all frames, and shifts of the second one.

    Parameters
    ----------
    frames : list of ase.Atoms
    cutoff : float
        Largest distance, in Å.

    Returns
    -------
    first, second : ndarray of int of shape (n_pairs,)
        Every pair is there in both directions.
    shifts : ndarray of shape (n_pairs, 3)
        Lattice vectors, in Å: the second atom is at its position plus this.
    """
    lists = import_extra("ase.neighborlist", extra="atomistic", needed_by="LastLayerRigidity")
    sizes = [len(atoms) for atoms in frames]
    found = []
    for atoms, start in zip(frames, np.cumsum(sizes) - sizes, strict=True):
        first, second, images = lists.neighbor_list("ijS", atoms, cutoff)
        found.append((first + start, second + start, images @ atoms.cell.array))
    first, second, shifts = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return first, second, shifts


def strained(positions: Any, cells: Any, sample: Any) -> tuple[Any, Any, Any, Any, Any]:
    """Return leaves for positions and strain, and what they make of positions and cells.

    Parameters
    ----------
    positions : Tensor of shape (n_units, 3)
    cells : Tensor of shape (n_samples, 3, 3)
    sample : Tensor of int of shape (n_units,)

    Returns
    -------
    positions : Tensor of shape (n_units, 3)
        The same, as a leaf.
    strain : Tensor of shape (n_samples, 3, 3)
        Zeros, as a leaf.
    moved, cells : Tensor of the shapes of positions and cells
        Strained.
    factor : Tensor of shape (n_samples, 3, 3)
        One plus the symmetric part of the strain: what multiplies vectors from the right.
    """
    torch = require_torch()
    positions = positions.detach().requires_grad_()
    strain = torch.zeros_like(cells).requires_grad_()
    factor = torch.eye(3).to(strain) + (strain + strain.transpose(1, 2)) / 2
    moved = (positions[:, None] @ factor[sample])[:, 0]
    return positions, strain, moved, cells @ factor, factor
