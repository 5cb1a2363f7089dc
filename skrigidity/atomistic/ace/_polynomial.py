"""ACE functions as polynomials in densities: monomials times a sparse matrix."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from math import factorial, prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from skrigidity.atomistic.ace._densities import Density, DensityTable
from skrigidity.atomistic.ace._enumerate import Family
from skrigidity.atomistic.ace._invariants import coupled_densities, symmetric_invariants

Array = NDArray[np.float64]
Ints = NDArray[np.intp]
Partition = tuple[tuple[int, ...], ...]


class _Terms(NamedTuple):
    """Coefficients of one family's products of k densities."""

    densities: list[tuple[Density, ...]]  # of each member
    orders: NDArray[np.intp]  # m + l of each density, (n_terms, k)
    couplings: NDArray[np.intp]  # (n_terms,)
    coefficients: Array  # (n_terms,)
    first: int  # the family's first function
    n_couplings: int


class Jacobian:
    """Derivatives of polynomials by their variables, those that are not always 0.

    Attributes
    ----------
    functions, densities : ndarrays of int of shape (n_entries,)
        Which function is differentiated by which density, function after function.
    """

    def __init__(
        self, functions: Ints, densities: Ints, monomials: list[Ints], coefficients: Any
    ) -> None:
        self.functions, self.densities = functions, densities
        self._monomials, self._coefficients = monomials, coefficients

    def __call__(self, densities: Array) -> Array:
        """Evaluate the entries.

        Parameters
        ----------
        densities : ndarray of shape (n_rows, n_environments)

        Returns
        -------
        ndarray of shape (n_entries, n_environments)
        """
        values = [_evaluate(monomials, densities) for monomials in self._monomials]
        return np.asarray(self._coefficients @ np.concatenate(values))


class Polynomials:
    """Functions of the densities of an environment.

    Parameters
    ----------
    families : list of Family
    purified : bool
        Whether factors are taken from distinct neighbors only.
    n_pair : int, default=0
        Number of functions of pairs alone, whose sums over the neighbors of each species are the
        first functions.
    n_species : int, default=1

    Attributes
    ----------
    table : DensityTable
        The densities that the monomials are made of.
    n_functions : int

    Notes
    -----
    The sum over distinct neighbors is one over set partitions of the factors. Factors of one
    block belong to the same neighbor: their product is again radial functions times spherical
    harmonics, of higher degree, so that every term is a product of densities, coupled to a
    number like those of the self-interacting functions, but of fewer of them.

    References
    ----------
    Ho, Gutleb, Ortner, J. Comput. Phys. 515, 113267 (2024): purification by expanding products
    of one-particle functions.

    Examples
    --------
    >>> from skrigidity.atomistic.ace._enumerate import enumerate_families
    >>> from skrigidity.atomistic.ace._polynomial import Polynomials
    >>> families = enumerate_families(2, 5, 1.5, 1)
    >>> [Polynomials(families, purified).n_monomials for purified in (False, True)]
    [9, 15]
    """

    def __init__(
        self, families: list[Family], purified: bool, n_pair: int = 0, n_species: int = 1
    ) -> None:
        sizes = [len(family.radial) * family.n_couplings for family in families]
        n_first = n_pair * n_species
        first = n_first + np.concatenate([[0], np.cumsum(sizes)]).astype(np.intp)
        self.n_functions = int(first[-1])
        terms = [
            entry
            for family, start in zip(families, first.tolist(), strict=False)
            for entry in _terms(family, purified, start)
        ]
        densities = (d for entry in terms for row in entry.densities for d in row)
        self.table = DensityTable(densities, n_pair, n_species)
        alone = np.arange(n_first)[:, None], sparse.eye(self.n_functions, n_first, format="csr")
        self._parts = [alone] if n_first else []
        self._parts += [
            self._collect([entry for entry in terms if entry.orders.shape[1] == k])
            for k in sorted({entry.orders.shape[1] for entry in terms})
        ]

    @property
    def n_monomials(self) -> int:
        """Number of different products of densities."""
        return sum(len(monomials) for monomials, _ in self._parts)

    @cached_property
    def jacobian(self) -> Jacobian:
        """The derivatives of the functions by the densities."""
        return _differentiate(self._parts, self.table.n_rows)

    def __call__(self, densities: Array) -> Array:
        """Evaluate the functions.

        Parameters
        ----------
        densities : ndarray of shape (table.n_rows, n_environments)

        Returns
        -------
        ndarray of shape (n_functions, n_environments)
        """
        out = np.zeros((self.n_functions, densities.shape[1]))
        for monomials, coefficients in self._parts:
            out += coefficients @ _evaluate(monomials, densities)
        return out

    def contracted(self, weights: Array) -> list[tuple[Ints, Array]]:
        """Return linear functions of the functions as polynomials.

        Parameters
        ----------
        weights : ndarray of shape (n_functions, n_outputs)

        Returns
        -------
        list of (monomials, coefficients)
            Of shapes (n_monomials, degree), densities, and (n_outputs, n_monomials).
        """
        return [
            (monomials, np.ascontiguousarray((matrix.T @ weights).T))
            for monomials, matrix in self._parts
        ]

    def _collect(self, terms: list[_Terms]) -> tuple[NDArray[np.intp], sparse.csr_matrix]:
        """Number the different monomials of one degree, and gather their coefficients."""
        monomials, functions, coefficients = [], [], []
        for entry in terms:
            starts = [[self.table.start[d] for d in row] for row in entry.densities]
            rows = np.array(starts)[:, None] + entry.orders
            members = entry.first + entry.n_couplings * np.arange(len(starts))
            monomials.append(np.sort(rows.reshape(-1, rows.shape[2]), axis=1))
            functions.append((members[:, None] + entry.couplings).ravel())
            coefficients.append(np.tile(entry.coefficients, len(starts)))
        unique, where = _unique_rows(np.concatenate(monomials))
        matrix = sparse.csr_matrix(
            (np.concatenate(coefficients), (np.concatenate(functions), where)),
            shape=(self.n_functions, len(unique)),
        )
        return unique, matrix


def _evaluate(monomials: Ints, densities: Array) -> Array:
    """Multiply the densities in each row of `monomials`; nothing is 1."""
    if not monomials.shape[1]:
        return np.ones((len(monomials), densities.shape[1]))
    values = densities[monomials[:, 0]]
    for factor in monomials.T[1:]:
        values *= densities[factor]
    return values


def _differentiate(parts: list[tuple[Ints, sparse.csr_matrix]], n_rows: int) -> Jacobian:
    """Leave each factor of each monomial out, and number what remains."""
    keys, rests, indices, coefficients = [], [], [], []
    n_rests = 0
    for monomials, matrix in parts:
        terms = matrix.tocoo()
        factors = monomials[terms.col]
        keys += [terms.row.astype(np.intp) * n_rows + factor for factor in factors.T]
        rest = np.concatenate([np.delete(factors, k, axis=1) for k in range(factors.shape[1])])
        unique, where = _unique_rows(rest)
        rests.append(unique)
        indices.append(n_rests + where)
        n_rests += len(unique)
        coefficients.append(np.tile(terms.data, factors.shape[1]))
    entries, which = np.unique(np.concatenate(keys), return_inverse=True)
    matrix = sparse.csr_matrix(
        (np.concatenate(coefficients), (which.ravel(), np.concatenate(indices))),
        shape=(len(entries), n_rests),
    )
    return Jacobian(entries // n_rows, entries % n_rows, rests, matrix)


def _terms(family: Family, purified: bool, first: int) -> Iterator[_Terms]:
    tensors = symmetric_invariants(family.degrees, family.labels)
    for partition in set_partitions(len(family.degrees)):
        if not _allowed(partition, family.species, purified):
            continue
        weight = distinct_weight(partition)
        for degrees, array in coupled_densities(tensors, family.degrees, partition):
            couplings, *indices = np.nonzero(abs(array) > 1e-12)
            densities = [
                tuple(
                    Density(family.species[block[0]], degree, tuple(sorted(n[i] for i in block)))
                    for degree, block in zip(degrees, partition, strict=True)
                )
                for n in family.radial
            ]
            coefficients = weight * array[couplings, *indices]
            orders = np.stack(indices, axis=1)
            yield _Terms(densities, orders, couplings, coefficients, first, len(tensors))


def _allowed(partition: Partition, species: tuple[int, ...], purified: bool) -> bool:
    if not purified:
        return all(len(block) == 1 for block in partition)
    # One neighbor is of one species.
    return all(len({species[i] for i in block}) == 1 for block in partition)


def _unique_rows(rows: Ints) -> tuple[Ints, Ints]:
    if not rows.shape[1]:
        return rows[:1], np.zeros(len(rows), dtype=np.intp)
    order = np.lexsort(rows.T[::-1])
    ordered = rows[order]
    new = np.concatenate([[True], (ordered[1:] != ordered[:-1]).any(axis=1)])
    where = np.empty(len(rows), dtype=np.intp)
    where[order] = np.cumsum(new) - 1
    return ordered[new], where


def set_partitions(n: int) -> Iterator[Partition]:
    """Iterate over the partitions of 0, ..., n - 1 into blocks.

    Parameters
    ----------
    n : int

    Yields
    ------
    tuple of tuples of int
        First the partition into single elements.

    Examples
    --------
    >>> from skrigidity.atomistic.ace._polynomial import set_partitions
    >>> list(set_partitions(3))
    [((0,), (1,), (2,)), ((0, 2), (1,)), ((0,), (1, 2)), ((0, 1), (2,)), ((0, 1, 2),)]
    """
    if n == 0:
        yield ()
        return
    for smaller in set_partitions(n - 1):
        yield (*smaller, (n - 1,))
        for i, block in enumerate(smaller):
            yield (*smaller[:i], (*block, n - 1), *smaller[i + 1 :])


def distinct_weight(partition: Partition) -> int:
    r"""Return the weight of a partition in the sum over distinct indices.

    The sum of :math:`\prod_i f_i(j_i)` over distinct j is the sum over all set partitions of
    :math:`\prod_B (-1)^{|B| - 1} (|B| - 1)!\ \sum_j \prod_{i \in B} f_i(j)`: Möbius inversion on
    the lattice of partitions.

    Parameters
    ----------
    partition : tuple of tuples of int

    Returns
    -------
    int

    Examples
    --------
    >>> from skrigidity.atomistic.ace._polynomial import distinct_weight
    >>> distinct_weight(((0, 1, 2), (3,)))
    2
    """
    return prod((-1) ** (len(block) - 1) * factorial(len(block) - 1) for block in partition)
