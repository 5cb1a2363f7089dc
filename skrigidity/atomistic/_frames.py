"""Cells that are periodic in all directions or in none."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from skrigidity.frames import Atoms, require


def voigt(matrices: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the symmetric parts of matrices (3, 3, ...) as rows xx, yy, zz, yz, xz, xy."""
    first, second = [0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]
    return np.asarray((matrices[first, second] + matrices[second, first]) / 2)


def as_system(frame: Atoms, cutoff: float | None, where: str) -> Atoms:
    """Return an equivalent frame that is periodic in all directions or in none.

    Along directions that are not periodic, the cell becomes so long that no atom sees an image.

    Parameters
    ----------
    frame : ase.Atoms
        The frame.
    cutoff : float, or None
        How far atoms see; None where the frame has to be periodic in all directions or in none.
    where : str
        What error messages call the frame.

    Returns
    -------
    ase.Atoms
        A copy with a cell that featomic takes.

    Raises
    ------
    ValueError
        If the periodic cell has no volume, or the frame is partly periodic without a cutoff.

    Examples
    --------
    >>> from ase import Atoms
    >>> from skrigidity.atomistic import as_system
    >>> slab = Atoms("Si", cell=[3.0, 3.0, 0.0], pbc=(True, True, False))
    >>> as_system(slab, 5.0, "slab").cell.lengths().tolist()
    [3.0, 3.0, 6.0]
    """
    atoms_class = require("ase").Atoms
    if not frame.pbc.any():
        return atoms_class(frame.numbers, frame.positions)
    cell = frame.cell.array
    if not frame.pbc.all():
        if cutoff is None:
            raise ValueError(
                f"{where}: periodic in some directions only, which this calculator cannot treat"
            )
        cell = _padded_cell(frame, cutoff, where)
    if abs(np.linalg.det(cell)) < 1e-9:
        raise ValueError(f"{where}: periodic, but its cell has no volume")
    return atoms_class(frame.numbers, frame.positions, cell=cell, pbc=True)


def _padded_cell(frame: Atoms, cutoff: float, where: str) -> NDArray[np.float64]:
    cell = frame.cell.array.copy()
    periodic = cell[frame.pbc]
    if np.linalg.matrix_rank(periodic) < len(periodic):
        raise ValueError(f"{where}: its periodic cell vectors are zero or parallel")
    normals = np.linalg.svd(periodic)[2][len(periodic) :]
    extents = np.ptp(frame.positions @ normals.T, axis=0)
    cell[~frame.pbc] = normals * (extents + cutoff + 1.0)[:, None]
    if np.linalg.det(cell) < 0:
        cell[np.flatnonzero(~frame.pbc)[0]] *= -1
    return np.asarray(cell)
