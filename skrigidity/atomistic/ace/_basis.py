"""The ACE basis: one- to many-body invariants of the neighbors of an atom."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skrigidity.atomistic.ace._densities import equal_counts, spherical_harmonics
from skrigidity.atomistic.ace._enumerate import Family, Product, enumerate_families, without
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
        bounds = list(max_degree)
        settings = n_species, cutoff, bounds, purified, self.r0.tolist(), angular_weight, agnesi
        self.settings = (*settings, pair_basis, pair_agnesi, sorted(map(sorted, drop)))
        self.n_pair = int(bounds[0]) if pair_basis and bounds else 0
        pairs = [
            Function(1, (z,), (n,), (), None)
            for z in range(n_species)
            for n in range(1, self.n_pair + 1)
        ]
        families = []
        for order, bound in enumerate(bounds, start=1):
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
            raise ValueError(f"max_degree: expected an order of at least 1, got {bounds}")
        self._needed = _needed_neighbors(self.functions, n_species)
        self._polynomials = Polynomials(families, purified)

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
        """
        counts, species, centers = (
            np.asarray(a, dtype=np.intp) for a in (counts, species, centers)
        )
        ends = np.concatenate([[0], np.cumsum(counts)])
        out = np.empty((len(counts), len(self.functions)))
        size = min(_BATCH, _BATCH_BYTES // (8 * max(self._polynomials.n_monomials, 1)))
        for start, stop in consecutive(ends, _BATCH_NEIGHBORS, max(size, 1)):
            pairs = slice(ends[start], ends[stop])
            batch = np.repeat(np.arange(stop - start), counts[start:stop])
            out[start:stop] = self._evaluate(
                batch, vectors[pairs], species[pairs], centers[start:stop]
            ).T
        return out

    def _evaluate(self, environment: Ints, vectors: Array, species: Ints, centers: Ints) -> Array:
        table, n_species = self._polynomials.table, len(self.r0)
        densities = np.zeros((table.n_rows, len(centers)))
        pairs = np.zeros((n_species, self.n_pair, len(centers)))
        counts = np.zeros((n_species, len(centers)), dtype=np.intp)
        for z in np.unique(species):
            chosen = species == z
            where = environment[chosen]
            counts[z] = np.bincount(where, minlength=len(centers))
            r = np.linalg.norm(vectors[chosen], axis=1)
            scale = r, self.r0[centers[where], z], self.cutoff
            harmonics = spherical_harmonics(vectors[chosen], table.max_degree)
            radial = many_body_functions(*scale, table.n_radial, self.agnesi)
            table.add(densities, int(z), radial, harmonics, counts[z])
            if self.n_pair:
                values = pair_functions(*scale, self.n_pair, self.pair_agnesi)
                for which, neighbors in equal_counts(counts[z]):
                    pairs[z][:, which] = values[:, neighbors].sum(axis=2)
        features = np.concatenate([pairs.reshape(-1, len(centers)), self._polynomials(densities)])
        if self.purified:
            # Exactly 0, not up to rounding, where there are not enough neighbors.
            patterns, which = self._needed
            missing = np.any(patterns[:, :, None] > counts, axis=1)
            features[missing[which]] = 0.0
        return features


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
