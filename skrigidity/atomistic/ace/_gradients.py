"""Derivatives of ACE functions by positions and strain: environments of a frame, in batches."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from skrigidity.atomistic._frames import voigt
from skrigidity.atomistic.ace import _loops
from skrigidity.atomistic.ace._densities import DensityTable
from skrigidity.atomistic.ace._polynomial import Jacobian

Array = NDArray[np.float64]
Ints = NDArray[np.intp]


class Rows(NamedTuple):
    """Densities of one neighbor species: attributes of `DensityTable`, and which rows they are."""

    rows: Ints
    radial: Ints
    harmonic: Ints
    products: Ints


class Entries(NamedTuple):
    """Entries of the Jacobian by the densities of one neighbor species.

    Attributes
    ----------
    entries : ndarray of int of shape (n_entries,)
        Among all of the Jacobian.
    ends : ndarray of int of shape (n_functions + 1,)
        Where the entries of each function begin and end.
    rows : ndarray of int of shape (n_entries,)
        The density, among those of the species, that an entry is the derivative by.
    """

    entries: Ints
    ends: Ints
    rows: Ints


class Batch(NamedTuple):
    """Environments of some atoms of a frame, with their neighbors of one species.

    Attributes
    ----------
    centers : ndarray of int of shape (n_environments,)
        The atoms in the middle.
    first, last : ndarrays of int of shape (n_environments,)
        Where the pairs of each environment begin and end.
    atoms : ndarray of int of shape (n_pairs,)
        Neighbors, or whose images they are.
    vectors : ndarray of shape (n_pairs, 3)
    radial, slopes : ndarrays of shape (n_radial, n_pairs)
        Without their products where loops are compiled: those make them as they go.
    harmonics : ndarray of shape (n_pairs, n_harmonics)
    gradients : ndarray of shape (n_pairs, 3, n_harmonics)
    """

    centers: Ints
    first: Ints
    last: Ints
    atoms: Ints
    vectors: Array
    radial: Array
    slopes: Array
    harmonics: Array
    gradients: Array


def rows_of(species: int, table: DensityTable) -> Rows:
    """Gather the densities of the neighbors of one species."""
    rows = np.flatnonzero(table.species == species)
    return Rows(rows, table.radial[rows], table.harmonic[rows], table.products)


def entries_of(rows: Rows, jacobian: Jacobian, n_functions: int) -> Entries:
    """Gather the entries of the Jacobian by the densities of the neighbors of one species."""
    entries = np.flatnonzero(np.isin(jacobian.densities, rows.rows))
    ends = np.searchsorted(jacobian.functions[entries], np.arange(n_functions + 1))
    return Entries(entries, ends, np.searchsorted(rows.rows, jacobian.densities[entries]))


def add_rows(
    rows: Rows, entries: Entries, batch: Batch, jacobian: Array, columns: Ints, totals: Array
) -> None:
    """Add the derivatives of the functions, summed over environments.

    Parameters
    ----------
    rows : Rows
    entries : Entries
    batch : Batch
    jacobian : ndarray of shape (n_entries, n_environments)
    columns : ndarray of int of shape (n_environments, n_functions)
        Where the functions of each environment go.
    totals : ndarray of shape (n_columns, 3 * n_atoms + 6)
        Derivatives by positions and by strain.
    """
    if (loops := _loops.compiled()) is not None:
        loops.add_rows(rows, entries, batch, jacobian, columns, totals)
        return
    n_functions = len(entries.ends) - 1
    positions = totals[:, :-6].reshape(len(totals), -1, 3)
    for i, center in enumerate(batch.centers):
        atoms, by_atom, by_strain = _pair_gradients(rows, batch, i)
        parts = jacobian[entries.entries, i], entries.rows, entries.ends
        matrix = sparse.csr_matrix(parts, (n_functions, len(by_atom)))
        gradients = (matrix @ by_atom.reshape(len(by_atom), -1)).reshape(n_functions, -1, 3)
        positions[columns[i, :, None], atoms] += gradients
        positions[columns[i], center] -= gradients.sum(axis=1)
        totals[columns[i], -6:] += matrix @ by_strain


def add_adjoint(
    monomials: Ints, coefficients: Array, densities: Array, values: Array, adjoint: Array
) -> None:
    """Add a polynomial and its derivatives by the densities.

    Parameters
    ----------
    monomials : ndarray of int of shape (n_monomials, degree)
    coefficients : ndarray of shape (n_monomials,)
    densities : ndarray of shape (n_densities, n_environments)
    values : ndarray of shape (n_environments,)
    adjoint : ndarray of shape (n_densities, n_environments)
    """
    if (loops := _loops.compiled()) is not None:
        loops.add_adjoint(monomials, coefficients, densities, values, adjoint)
        return
    # Products of the coefficient with the factors before each one, and of all factors behind it.
    before = [np.tile(coefficients[:, None], len(values))]
    for factor in monomials.T:
        before.append(before[-1] * densities[factor])
    values += before.pop().sum(axis=0)
    behind = np.ones_like(before[0])
    for factor in monomials.T[::-1]:
        which = factor, np.arange(len(factor))
        into = sparse.csr_matrix((np.ones(len(factor)), which), (len(adjoint), len(factor)))
        adjoint += into @ (before.pop() * behind)
        behind *= densities[factor]


def add_forces(rows: Rows, batch: Batch, adjoint: Array, totals: Array) -> None:
    """Add the derivatives of linear functions of the features, summed over environments.

    Parameters
    ----------
    rows : Rows
    batch : Batch
    adjoint : ndarray of shape (n_outputs, n_densities, n_environments)
        Derivatives of the outputs by the densities.
    totals : ndarray of shape (n_outputs, 3 * n_atoms + 6)
        Derivatives by positions and by strain.
    """
    if (loops := _loops.compiled()) is not None:
        loops.add_forces(rows, batch, adjoint, totals)
        return
    positions = totals[:, :-6].reshape(len(totals), -1, 3)
    for i, center in enumerate(batch.centers):
        atoms, by_atom, by_strain = _pair_gradients(rows, batch, i)
        weights = adjoint[:, rows.rows, i]
        gradients = np.tensordot(weights, by_atom, axes=1)
        positions[:, atoms] += gradients
        positions[:, center] -= gradients.sum(axis=1)
        totals[:, -6:] += weights @ by_strain


def _pair_gradients(rows: Rows, batch: Batch, i: int) -> tuple[Ints, Array, Array]:
    """Differentiate the densities of one environment by other atoms and by strain.

    Returns
    -------
    atoms : ndarray of int of shape (n,)
        Different from each other and from the center.
    by_atom : ndarray of shape (n_rows, n, 3)
    by_strain : ndarray of shape (n_rows, 6)
    """
    pairs = slice(batch.first[i], batch.last[i])
    vectors, atoms = batch.vectors[pairs], batch.atoms[pairs]
    directions = vectors / np.linalg.norm(vectors, axis=1)[:, None]
    slopes = batch.slopes[:, None, pairs] * directions.T
    gradients = batch.gradients[pairs].transpose(2, 1, 0)
    values = slopes[rows.radial] * batch.harmonics[pairs].T[rows.harmonic, None]
    values += batch.radial[rows.radial, None, pairs] * gradients[rows.harmonic]
    by_strain = voigt((values @ vectors).transpose(1, 2, 0)).T
    others, which = np.unique(atoms, return_inverse=True)
    # An atom's own images move with it.
    kept = others != batch.centers[i]
    sums = np.equal.outer(which, np.flatnonzero(kept)).astype(np.float64)
    return others[kept], (values @ sums).transpose(0, 2, 1), by_strain
