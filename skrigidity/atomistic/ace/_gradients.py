"""Derivatives of ACE functions by positions and strain: environments of a frame, in batches."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from skrigidity.atomistic._frames import voigt
from skrigidity.atomistic.ace._densities import DensityTable
from skrigidity.atomistic.ace._polynomial import Polynomials

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


def add_rows(
    polynomials: Polynomials, batch: Batch, columns: Ints, positions: Array, strain: Array
) -> None:
    """Add the derivatives of the functions, summed over environments.

    Parameters
    ----------
    polynomials : Polynomials
    batch : Batch
    columns : ndarray of int of shape (n_environments, n_functions)
        Where the functions of each environment go.
    positions : ndarray of shape (n_atoms, 3, n_columns)
    strain : ndarray of shape (6, n_columns)
    """
    jacobian = polynomials.jacobian
    for i, center in enumerate(batch.centers):
        atoms, by_atom, by_strain = _pair_gradients(polynomials.table, batch, i)
        both = np.concatenate([by_atom.reshape(len(by_atom), -1), by_strain], axis=1)
        shape = columns.shape[1], len(both)
        entries = batch.jacobian[:, i], (jacobian.functions, jacobian.densities)
        rows = sparse.csr_matrix(entries, shape=shape) @ both
        gradients = rows[:, :-6].reshape(len(rows), 3, len(atoms))
        where = columns[i]
        positions[atoms[:, None], :, where] += gradients.transpose(2, 0, 1)
        positions[center, :, where] -= gradients.sum(axis=2)
        strain[:, where] += rows[:, -6:].T


def add_forces(
    polynomials: Polynomials, batch: Batch, adjoint: Array, positions: Array, strain: Array
) -> None:
    """Add the derivatives of linear functions: the transpose of `add_rows`.

    Parameters
    ----------
    polynomials : Polynomials
    batch : Batch
    adjoint : ndarray of shape (n_environments, n_densities, n_outputs)
        Derivatives of the outputs by the densities.
    positions : ndarray of shape (n_atoms, 3, n_outputs)
    strain : ndarray of shape (6, n_outputs)
    """
    for i, center in enumerate(batch.centers):
        atoms, by_atom, by_strain = _pair_gradients(polynomials.table, batch, i)
        gradients = np.tensordot(by_atom, adjoint[i], axes=(0, 0))
        positions[atoms] += gradients.transpose(1, 0, 2)
        positions[center] -= gradients.sum(axis=1)
        strain += by_strain.T @ adjoint[i]


def _pair_gradients(table: DensityTable, batch: Batch, i: int) -> tuple[Ints, Array, Array]:
    """Differentiate the densities of one environment by other atoms and by strain.

    Returns
    -------
    atoms : ndarray of int of shape (n,)
        Different from each other and from the center.
    by_atom : ndarray of shape (n_densities, 3, n)
    by_strain : ndarray of shape (n_densities, 6)
    """
    pairs = slice(batch.ends[i], batch.ends[i + 1])
    vectors, atoms = batch.vectors[pairs], batch.atoms[pairs]
    directions = vectors / np.linalg.norm(vectors, axis=1)[:, None]
    slopes = batch.slopes[:, None, pairs] * directions.T
    gradients = batch.gradients[pairs].transpose(2, 1, 0)
    values = slopes[table.radial] * batch.harmonics[pairs].T[table.harmonic, None]
    values += batch.radial[table.radial, None, pairs] * gradients[table.harmonic]
    values *= (table.species[:, None] == batch.species[pairs])[:, None]
    by_strain = voigt((values @ vectors).transpose(1, 2, 0)).T
    # An atom's own images move with it.
    other = atoms != batch.centers[i]
    values, atoms = values[:, :, other], atoms[other]
    if not len(atoms):
        return atoms, values, by_strain
    first = np.flatnonzero(np.diff(atoms, prepend=-1))
    return atoms[first], np.add.reduceat(values, first, axis=2), by_strain
