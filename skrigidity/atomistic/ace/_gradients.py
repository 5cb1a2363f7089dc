"""Derivatives of ACE functions by positions and strain: environments of a frame, in batches."""

from __future__ import annotations

from functools import cache
from types import ModuleType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from skrigidity.atomistic._frames import voigt
from skrigidity.atomistic.ace._densities import DensityTable
from skrigidity.atomistic.ace._polynomial import Jacobian

Array = NDArray[np.float64]
Ints = NDArray[np.intp]


class Rows(NamedTuple):
    """Densities of one neighbor species, and the entries of the Jacobian that are by them.

    Attributes
    ----------
    rows, radial, harmonic : ndarrays of int of shape (n_rows,)
        Of the `DensityTable`.
    entries : ndarray of int of shape (n_entries,)
        Among all of the Jacobian.
    entry_ends : ndarray of int of shape (n_functions + 1,)
        Where the entries of each function begin and end.
    entry_rows : ndarray of int of shape (n_entries,)
        The density, among `rows`, that an entry is the derivative by.
    """

    rows: Ints
    radial: Ints
    harmonic: Ints
    entries: Ints
    entry_ends: Ints
    entry_rows: Ints


class Batch(NamedTuple):
    """Environments of some atoms of a frame: their neighbors of one species, sorted by atom.

    Attributes
    ----------
    centers : ndarray of int of shape (n_environments,)
        The atoms in the middle.
    ends : ndarray of int of shape (n_environments + 1,)
        Where the pairs of each environment begin and end.
    atoms : ndarray of int of shape (n_pairs,)
        Neighbors, or whose images they are.
    vectors : ndarray of shape (n_pairs, 3)
    radial, slopes : ndarrays of shape (n_radial, n_pairs)
    harmonics : ndarray of shape (n_pairs, n_harmonics)
    gradients : ndarray of shape (n_pairs, 3, n_harmonics)
    """

    centers: Ints
    ends: Ints
    atoms: Ints
    vectors: Array
    radial: Array
    slopes: Array
    harmonics: Array
    gradients: Array

    def chosen(self, pairs: NDArray[np.bool_]) -> Batch:
        """Return the same environments with some of their neighbors only."""
        if pairs.all():
            return self
        ends = np.concatenate([[0], np.cumsum(pairs)])[self.ends]
        radial, slopes = (np.ascontiguousarray(a[:, pairs]) for a in (self.radial, self.slopes))
        rest = self.harmonics[pairs], self.gradients[pairs]
        parts = self.atoms[pairs], self.vectors[pairs], radial, slopes, *rest
        return Batch(self.centers, ends, *parts)


def rows_of(species: int, table: DensityTable, jacobian: Jacobian, n_functions: int) -> Rows:
    """Gather what belongs to the neighbors of one species."""
    rows = np.flatnonzero(table.species == species)
    entries = np.flatnonzero(table.species[jacobian.densities] == species)
    return Rows(
        rows,
        table.radial[rows],
        table.harmonic[rows],
        entries,
        np.searchsorted(jacobian.functions[entries], np.arange(n_functions + 1)),
        np.searchsorted(rows, jacobian.densities[entries]),
    )


def add_rows(rows: Rows, batch: Batch, jacobian: Array, columns: Ints, totals: Array) -> None:
    """Add the derivatives of the functions, summed over environments.

    Parameters
    ----------
    rows : Rows
    batch : Batch
    jacobian : ndarray of shape (n_environments, n_entries)
    columns : ndarray of int of shape (n_environments, n_functions)
        Where the functions of each environment go.
    totals : ndarray of shape (n_columns, 3 * n_atoms + 6)
        Derivatives by positions and by strain.
    """
    if (compiled := loops()) is not None:
        compiled.add_rows(rows, batch, jacobian, columns, totals)
        return
    n_functions = len(rows.entry_ends) - 1
    positions = totals[:, :-6].reshape(len(totals), -1, 3)
    for i, center in enumerate(batch.centers):
        atoms, by_atom, by_strain = _pair_gradients(rows, batch, i)
        matrix = sparse.csr_matrix(
            (jacobian[i], rows.entry_rows, rows.entry_ends), (n_functions, len(by_atom))
        )
        gradients = (matrix @ by_atom.reshape(len(by_atom), -1)).reshape(n_functions, -1, 3)
        positions[columns[i, :, None], atoms] += gradients
        positions[columns[i], center] -= gradients.sum(axis=1)
        totals[columns[i], -6:] += matrix @ by_strain


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
    by_strain = voigt((values @ vectors).transpose(1, 2, 0)).T
    # An atom's own images move with it.
    other = atoms != batch.centers[i]
    values, atoms = values[:, :, other], atoms[other]
    if not len(atoms):
        return atoms, values.transpose(0, 2, 1), by_strain
    first = np.flatnonzero(np.diff(atoms, prepend=-1))
    by_atom = np.add.reduceat(values, first, axis=2).transpose(0, 2, 1)
    return atoms[first], by_atom, by_strain
