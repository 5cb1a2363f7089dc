"""Derivatives of ACE functions by positions and strain: environments of a frame, in batches."""

from __future__ import annotations

from functools import cache
from types import ModuleType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from skrigidity.atomistic._frames import voigt

Array = NDArray[np.float64]
Ints = NDArray[np.intp]


class Batch(NamedTuple):
    """Environments of adjacent atoms of a frame, their neighbors sorted by species and atom.

    Attributes
    ----------
    centers : ndarray of int of shape (n_environments,)
        The atoms in the middle.
    ends : ndarray of int of shape (n_environments + 1,)
        Where the pairs of each environment begin and end.
    atoms, species : ndarrays of int of shape (n_pairs,)
        Neighbors, or whose images they are.
    vectors : ndarray of shape (n_pairs, 3)
    radial, slopes : ndarrays of shape (n_radial, n_pairs)
    harmonics, gradients : ndarrays of shape (n_pairs, n_harmonics) and (n_pairs, 3, n_harmonics)
    jacobian : ndarray of shape (n_entries, n_environments)
    """

    centers: Ints
    ends: Ints
    atoms: Ints
    species: Ints
    vectors: Array
    radial: Array
    slopes: Array
    harmonics: Array
    gradients: Array
    jacobian: Array


class Rows(NamedTuple):
    """What the densities are sums of, and which of them the functions depend on.

    Attributes
    ----------
    species, radial, harmonic : ndarrays of int of shape (n_rows,)
        Of the `DensityTable`.
    entry_ends : ndarray of int of shape (n_functions + 1,)
        Where the entries of each function in the Jacobian begin and end.
    entry_rows : ndarray of int of shape (n_entries,)
        The density that an entry is the derivative by.
    n_species : int
    """

    species: Ints
    radial: Ints
    harmonic: Ints
    entry_ends: Ints
    entry_rows: Ints
    n_species: int


def add_rows(rows: Rows, batch: Batch, columns: Ints, totals: Array) -> None:
    """Add the derivatives of the functions, summed over environments.

    Parameters
    ----------
    rows : Rows
    batch : Batch
    columns : ndarray of int of shape (n_environments, n_functions)
        Where the functions of each environment go.
    totals : ndarray of shape (n_columns, 3 * n_atoms + 6)
        Derivatives by positions and by strain.
    """
    if (compiled := loops()) is not None:
        compiled.add_rows(rows, batch, columns, totals)
        return
    n_functions = len(rows.entry_ends) - 1
    positions = totals[:, :-6].reshape(len(totals), -1, 3)
    for i, center in enumerate(batch.centers):
        atoms, by_atom, by_strain = _pair_gradients(rows, batch, i)
        jacobian = sparse.csr_matrix(
            (batch.jacobian[:, i], rows.entry_rows, rows.entry_ends), (n_functions, len(by_atom))
        )
        gradients = (jacobian @ by_atom.reshape(len(by_atom), -1)).reshape(n_functions, -1, 3)
        positions[columns[i, :, None], atoms] += gradients
        positions[columns[i], center] -= gradients.sum(axis=1)
        totals[columns[i], -6:] += jacobian @ by_strain


def add_forces(rows: Rows, batch: Batch, adjoint: Array, totals: Array) -> None:
    """Add the derivatives of linear functions of the features, summed over environments.

    Parameters
    ----------
    rows : Rows
    batch : Batch
    adjoint : ndarray of shape (n_outputs, n_environments, n_rows)
        Derivatives of the outputs by the densities.
    totals : ndarray of shape (n_outputs, 3 * n_atoms + 6)
        Derivatives by positions and by strain.
    """
    if (compiled := loops()) is not None:
        compiled.add_forces(rows, batch, adjoint, totals)
        return
    positions = totals[:, :-6].reshape(len(totals), -1, 3)
    for i, center in enumerate(batch.centers):
        atoms, by_atom, by_strain = _pair_gradients(rows, batch, i)
        gradients = np.tensordot(adjoint[:, i], by_atom, axes=1)
        positions[:, atoms] += gradients
        positions[:, center] -= gradients.sum(axis=1)
        totals[:, -6:] += adjoint[:, i] @ by_strain


@cache
def loops() -> ModuleType | None:
    """Return the compiled loops, None where numba is not installed."""
    try:
        from skrigidity.atomistic.ace import _compiled
    except ImportError:
        return None
    return _compiled


def _pair_gradients(rows: Rows, batch: Batch, i: int) -> tuple[Ints, Array, Array]:
    """Differentiate the densities of one environment by other atoms and by strain.

    Returns
    -------
    atoms : ndarray of int of shape (n,)
        Different from each other and from the center.
    by_atom : ndarray of shape (n_rows, n, 3)
    by_strain : ndarray of shape (n_rows, 6)
    """
    pairs = slice(batch.ends[i], batch.ends[i + 1])
    vectors, atoms = batch.vectors[pairs], batch.atoms[pairs]
    directions = vectors / np.linalg.norm(vectors, axis=1)[:, None]
    slopes = batch.slopes[:, None, pairs] * directions.T
    gradients = batch.gradients[pairs].transpose(2, 1, 0)
    values = slopes[rows.radial] * batch.harmonics[pairs].T[rows.harmonic, None]
    values += batch.radial[rows.radial, None, pairs] * gradients[rows.harmonic]
    values *= (rows.species[:, None] == batch.species[pairs])[:, None]
    by_strain = voigt((values @ vectors).transpose(1, 2, 0)).T
    # An atom's own images move with it.
    other = atoms != batch.centers[i]
    values, atoms = values[:, :, other], atoms[other]
    if not len(atoms):
        return atoms, values.transpose(0, 2, 1), by_strain
    first = np.flatnonzero(np.diff(atoms, prepend=-1))
    by_atom = np.add.reduceat(values, first, axis=2).transpose(0, 2, 1)
    return atoms[first], by_atom, by_strain
