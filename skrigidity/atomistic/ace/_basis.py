"""The ACE basis: one- to many-body invariants of the neighbors of an atom."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from functools import cached_property
from math import pi, sqrt
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skrigidity.atomistic._neighbors import Neighbors
from skrigidity.atomistic.ace import _loops
from skrigidity.atomistic.ace._densities import (
    bounds,
    harmonics_with_gradients,
    spherical_harmonics,
)
from skrigidity.atomistic.ace._enumerate import Family, Product, enumerate_families, without
from skrigidity.atomistic.ace._gradients import (
    Batch,
    Entries,
    Rows,
    add_adjoint,
    add_forces,
    add_rows,
    entries_of,
    rows_of,
)
from skrigidity.atomistic.ace._polynomial import Polynomials
from skrigidity.atomistic.ace._radial import many_body_functions, pair_functions
from skrigidity.environments import consecutive

Array = NDArray[np.float64]
Ints = NDArray[np.intp]
# Environments, neighbors and bytes of monomials at a time: what fits into the cache.
_BATCH, _BATCH_NEIGHBORS, _BATCH_BYTES = 64, 2048, 1 << 25


class Function(NamedTuple):
    """Indices of one function of the basis."""

    order: int
    species: tuple[int, ...]  # of the neighbor in each factor, by number
    radial: tuple[int, ...]  # n of each factor, from 1 on
    degrees: tuple[int, ...]  # l of each factor; empty for the pair basis
    coupling: int | None  # which of several invariants; None where there is only one


class ACEBasis:
    """Invariants of atomic environments, given as vectors to neighbors.

    Parameters
    ----------
    n_species : int
        Number of neighbor species, called 0, 1, ... here.
    cutoff : float
        Radius of an environment.
    max_degree : sequence of float
        Largest sum of n + angular_weight * l for products of 1, 2, ... functions; 0 leaves an
        order out.
    purified : bool
        Whether the factors of a product belong to distinct neighbors.
    r0 : array-like of shape (n_species, n_species)
        Nearest-neighbor distances, of center (row) and neighbor (column).
    angular_weight : float, default=1.5
        What a degree l counts in that sum.
    agnesi : (p, q), default=(2, 4)
        Exponents of the distance transform.
    pair_basis : bool, default=True
        Whether order 1 begins with functions of pairs alone, repulsive at short distances.
    pair_agnesi : (p, q), default=(1, 3)
        Exponents of the distance transform in the pair basis.
    drop : collection of tuples of (n, l), default=()
        Products to leave out.

    Attributes
    ----------
    functions : list of Function
        What each feature is, order by order.
    settings : tuple
        All that the features depend on.

    Raises
    ------
    ValueError
        If nothing is within the degrees, or what is to be dropped is not there.

    Examples
    --------
    >>> import numpy as np
    >>> from skrigidity.atomistic.ace import ACEBasis
    >>> basis = ACEBasis(1, 5.5, (24, 20, 16, 12), True, r0=[[2.4]])
    >>> np.bincount([function.order for function in basis.functions])[1:].tolist()
    [48, 274, 505, 127]
    >>> neighbors = np.array([[2.4, 0.0, 0.0], [0.0, 2.4, 0.0]])
    >>> features = basis.evaluate([2], neighbors, species=[0, 0], centers=[0])
    >>> features.shape, bool(features[:, 48:322].any()), bool(features[:, 322:].any())
    ((1, 954), True, False)
    """

    def __init__(
        self,
        n_species: int,
        cutoff: float,
        max_degree: Iterable[float],
        purified: bool,
        *,
        r0: ArrayLike,
        angular_weight: float = 1.5,
        agnesi: tuple[float, float] = (2, 4),
        pair_basis: bool = True,
        pair_agnesi: tuple[float, float] = (1, 3),
        drop: Collection[Product] = (),
    ) -> None:
        self.cutoff, self.purified = cutoff, purified
        self.r0 = np.asarray(r0, dtype=np.float64)
        self.agnesi, self.pair_agnesi = agnesi, pair_agnesi
        degrees = list(max_degree)
        settings = n_species, cutoff, degrees, purified, self.r0.tolist(), angular_weight, agnesi
        self.settings = (*settings, pair_basis, pair_agnesi, sorted(map(sorted, drop)))
        self.n_pair = int(degrees[0]) if pair_basis and degrees else 0
        pairs = [
            Function(1, (z,), (n,), (), None)
            for z in range(n_species)
            for n in range(1, self.n_pair + 1)
        ]
        families = []
        for order, bound in enumerate(degrees, start=1):
            found = enumerate_families(order, bound, angular_weight, n_species)
            if bound and not found:
                raise ValueError(
                    f"max_degree: no product of {order} functions has a degree of at most {bound}; "
                    "0 leaves an order out"
                )
            families += found
        families = without(families, drop)
        self.functions = [*pairs, *_functions(families)]
        if not self.functions:
            raise ValueError(f"max_degree: expected an order of at least 1, got {degrees}")
        self._needed = _needed_neighbors(self.functions, n_species)
        self._polynomials = Polynomials(families, purified, self.n_pair, n_species)

    def evaluate(
        self, counts: ArrayLike, vectors: Array, species: ArrayLike, centers: ArrayLike
    ) -> Array:
        """Compute the features of environments.

        Parameters
        ----------
        counts : array-like of int of shape (n_environments,)
            Number of neighbors of each environment.
        vectors : ndarray of shape (n_neighbors, 3)
            From the center to each neighbor, environment after environment: not zero, and not
            longer than the cutoff.
        species : array-like of int of shape (n_neighbors,)
            Numbers of the neighbors' species.
        centers : array-like of int of shape (n_environments,)
            Numbers of the centers' species.

        Returns
        -------
        ndarray of shape (n_environments, n_functions)
            The features.
        """
        counts, species, centers = (
            np.asarray(a, dtype=np.intp) for a in (counts, species, centers)
        )
        ends = np.concatenate([[0], np.cumsum(counts)])
        out = np.empty((len(counts), len(self.functions)))
        table = self._polynomials.table
        for start, stop in self._batches(ends, _BATCH):
            environment = np.repeat(np.arange(stop - start), counts[start:stop])
            order = self._order(environment, species[ends[start] : ends[stop]])
            pairs = order + ends[start]
            kinds, around = species[pairs], vectors[pairs]
            numbers = self._numbers(environment, kinds, stop - start)
            r0 = self.r0[centers[start:stop][environment], kinds]
            radial = table.with_products(self._radial(np.linalg.norm(around, axis=1), r0)[None])
            harmonics = spherical_harmonics(around, table.max_degree)
            sums = table.sums(radial[0], harmonics, numbers)
            features = self._polynomials(sums)
            features[self._missing(numbers)] = 0.0
            out[start:stop] = features.T
        return out

    def _batches(self, ends: Ints, size: int) -> Iterator[tuple[int, int]]:
        size = min(size, _BATCH_BYTES // (8 * max(self._polynomials.n_monomials, 1)))
        return consecutive(ends, _BATCH_NEIGHBORS, max(size, 1))

    def _radial(self, r: Array, r0: Array, *, slopes: bool = False) -> Array:
        table, cutoff = self._polynomials.table, self.cutoff
        pair = pair_functions(r, r0, cutoff, self.n_pair, self.pair_agnesi, slopes=slopes)
        many = many_body_functions(r, r0, cutoff, table.n_radial, self.agnesi, slopes=slopes)
        pair *= sqrt(4 * pi)  # of degree 0, but for the constant Y_00
        return np.concatenate([pair, many], axis=-2)

    def _order(self, environment: Ints, species: Ints) -> Ints:
        return np.argsort(environment * len(self.r0) + species, kind="stable")

    def _numbers(self, environment: Ints, species: Ints, n_environments: int) -> Ints:
        """Count the neighbors of each species (first axis) of each environment."""
        shape = len(self.r0), n_environments
        flat = np.bincount(species * n_environments + environment, minlength=shape[0] * shape[1])
        return flat.reshape(shape)

    def _missing(self, numbers: Ints) -> NDArray[np.bool_]:
        """Return which functions are exactly 0, not up to rounding: too few neighbors."""
        if not self.purified:
            return np.zeros((len(self.functions), numbers.shape[1]), dtype=bool)
        patterns, which = self._needed
        return np.any(patterns[:, :, None] > numbers, axis=1)[which]

    def derivatives(
        self, neighbors: Neighbors, species: Ints, columns: Ints, n_columns: int
    ) -> tuple[Array, Array, Array]:
        """Differentiate the functions, summed over the atoms of a frame.

        Parameters
        ----------
        neighbors : Neighbors
            Of all atoms of a frame.
        species : ndarray of int of shape (n_atoms,)
            Numbers of the species of the atoms.
        columns : ndarray of int of shape (n_species, n_functions)
            Where the functions go, by the species of the center.
        n_columns : int
            Number of columns of the result.

        Returns
        -------
        features : ndarray of shape (n_atoms, n_functions)
            Features of every atom.
        positions : ndarray of shape (n_atoms, 3, n_columns)
            Derivatives of the sums by the positions of the atoms.
        strain : ndarray of shape (6, n_columns)
            Derivatives of the sums by the strain.
        """
        features = np.empty((len(species), len(self.functions)))
        totals = np.zeros((n_columns, 3 * len(species) + 6))
        jacobian = self._polynomials.jacobian
        # The entries of a Jacobian are more than the densities.
        for batches, numbers, densities in self._summed(neighbors, species, _BATCH // 4):
            centers, missing = batches[0].centers, self._missing(numbers)
            values, entries = self._polynomials(densities), jacobian(densities)
            values[missing] = 0.0
            entries[missing[jacobian.functions]] = 0.0
            features[centers] = values.T
            for rows, which, batch in zip(self._rows, self._entries, batches, strict=True):
                add_rows(rows, which, batch, entries, columns[species[centers]], totals)
        return features, *_split(totals)

    def backward(
        self, neighbors: Neighbors, species: Ints, weights: Array
    ) -> tuple[Array, Array, Array]:
        """Evaluate and differentiate linear functions of the features.

        Parameters
        ----------
        neighbors : Neighbors
            Of all atoms of a frame.
        species : ndarray of int of shape (n_atoms,)
            Numbers of the species of the atoms.
        weights : ndarray of shape (n_species, n_functions, n_outputs)
            By the species of the center.

        Returns
        -------
        local : ndarray of shape (n_atoms, n_outputs)
            Values of the functions of every atom.
        positions : ndarray of shape (n_atoms, 3, n_outputs)
            Derivatives of their sums by the positions of the atoms.
        strain : ndarray of shape (6, n_outputs)
            Derivatives of their sums by the strain.
        """
        n_outputs = weights.shape[2]
        local = np.zeros((n_outputs, len(species)))
        totals = np.zeros((n_outputs, 3 * len(species) + 6))
        polynomials: dict[tuple[int, ...], list[tuple[Ints, Array]]] = {}
        # With more neighbors than that no function is missing.
        enough = self._needed[0].max(axis=0)[:, None] if self.purified else 0
        for batches, numbers, densities in self._summed(neighbors, species, _BATCH):
            centers = batches[0].centers
            adjoint = np.zeros((n_outputs, *densities.shape))
            kinds = np.column_stack([species[centers], np.minimum(numbers, enough).T])
            for kind in set(map(tuple, kinds.tolist())):
                if kind not in polynomials:
                    missing = self._missing(np.array(kind[1:])[:, None])
                    remaining = np.where(missing, 0.0, weights[kind[0]])
                    polynomials[kind] = self._polynomials.contracted(remaining)
                which = (kinds == kind).all(axis=1)
                alone = bool(which.all())  # then no copies are needed
                chosen = densities if alone else densities[:, which]
                for k in range(n_outputs):
                    gradient = adjoint[k] if alone else np.zeros(chosen.shape)
                    value = np.zeros(chosen.shape[1])
                    for monomials, coefficients in polynomials[kind]:
                        add_adjoint(monomials, coefficients[k], chosen, value, gradient)
                    local[k, centers[which]] = value
                    if not alone:
                        adjoint[k][:, which] = gradient
            for rows, batch in zip(self._rows, batches, strict=True):
                add_forces(rows, batch, adjoint, totals)
        return local.T, *_split(totals)

    @cached_property
    def _rows(self) -> list[Rows]:
        """By the species of the neighbor."""
        return [rows_of(z, self._polynomials.table) for z in range(len(self.r0))]

    @cached_property
    def _entries(self) -> list[Entries]:
        """By the species of the neighbor."""
        jacobian, n_functions = self._polynomials.jacobian, len(self.functions)
        return [entries_of(rows, jacobian, n_functions) for rows in self._rows]

    def _summed(
        self, neighbors: Neighbors, species: Ints, size: int
    ) -> Iterator[tuple[list[Batch], Ints, Array]]:
        """Yield environments by the species of neighbors, numbers of these, and densities."""
        table, loops = self._polynomials.table, _loops.compiled()
        centers = np.repeat(np.arange(len(species)), neighbors.counts)
        order = self._order(centers, species[neighbors.atoms])
        ends = np.concatenate([[0], np.cumsum(neighbors.counts)])
        for start, stop in self._batches(ends, size):
            pairs = order[ends[start] : ends[stop]]
            vectors, atoms = neighbors.vectors[pairs], neighbors.atoms[pairs]
            kinds = species[atoms]
            numbers = self._numbers(centers[pairs] - start, kinds, stop - start)
            r0 = self.r0[species[centers[pairs]], kinds]
            radial = self._radial(np.linalg.norm(vectors, axis=1), r0, slopes=True)
            if loops is None:
                radial = table.with_products(radial)
            values, slopes = radial
            harmonics, gradients = harmonics_with_gradients(vectors, table.max_degree)
            parts = atoms, vectors, values, slopes, harmonics, gradients
            batches = [
                Batch(np.arange(start, stop), first, last, *parts)
                for first, last in zip(*bounds(numbers), strict=True)
            ]
            if loops is None:
                densities = table.sums(values, harmonics, numbers)
            else:
                densities = np.zeros((table.n_rows, stop - start))
                for rows, batch in zip(self._rows, batches, strict=True):
                    loops.add_sums(rows, batch, densities)
            yield batches, numbers, densities


def _split(totals: Array) -> tuple[Array, Array]:
    """Return derivatives by positions (n_atoms, 3, ...) and by strain (6, ...)."""
    rows = np.ascontiguousarray(totals.T)
    return rows[:-6].reshape(-1, 3, rows.shape[1]), rows[-6:]


def _functions(families: list[Family]) -> Iterator[Function]:
    for family in families:
        for radial in family.radial:
            for coupling in range(family.n_couplings):
                index = coupling if family.n_couplings > 1 else None
                yield Function(len(radial), family.species, radial, family.degrees, index)


def _needed_neighbors(functions: list[Function], n_species: int) -> tuple[Ints, Ints]:
    """Return the different numbers of neighbors of each species needed, and by whom."""
    needed = [[f.species.count(z) for z in range(n_species)] for f in functions]
    patterns, which = np.unique(needed, axis=0, return_inverse=True)
    return patterns, which.ravel()  # NumPy 2.0 has a second axis there
