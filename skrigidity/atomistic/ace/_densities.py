"""Sums over the neighbors of an environment: products of radial functions times Y_lm."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from skrigidity._extras import import_extra

Array = NDArray[np.float64]


class Density(NamedTuple):
    """The sum over neighbors of one species of R_n1(r) ... R_nk(r) Y_lm, for all m."""

    species: int
    degree: int
    radial: tuple[int, ...]  # n1, ..., nk from 1 on, sorted


class DensityTable:
    """Densities in rows of their own, evaluated for many environments at once.

    Parameters
    ----------
    densities : iterable of Density
    n_pair : int, default=0
        Number of functions of pairs alone; their sums over the neighbors of each species are the
        first rows.
    n_species : int, default=1

    Attributes
    ----------
    start : dict of Density to int
        Row of m = -l.
    n_rows : int
    species, radial, harmonic : ndarrays of int of shape (n_rows,)
        The neighbor species of each row, and the radial function and the spherical harmonic whose
        products it is the sum of.
    products : ndarray of int of shape (n_products, 2)
        Radial functions that are products of two before them: the last ones, behind the functions
        of pairs and the many-body ones.

    Examples
    --------
    >>> from skrigidity.atomistic.ace._densities import Density, DensityTable
    >>> table = DensityTable([Density(0, 1, (1, 2)), Density(0, 0, (1,))])
    >>> table.start
    {Density(species=0, degree=0, radial=(1,)): 0, Density(species=0, degree=1, radial=(1, 2)): 1}
    """

    def __init__(self, densities: Iterable[Density], n_pair: int = 0, n_species: int = 1) -> None:
        ordered = sorted(set(densities), key=lambda d: (d.species, d.degree, len(d.radial), d))
        self.n_pair, n_first = n_pair, n_pair * n_species
        starts = n_first + np.cumsum([0, *(2 * density.degree + 1 for density in ordered)])
        self.start = dict(zip(ordered, starts.tolist(), strict=False))
        self.n_rows = int(starts[-1])
        self.max_degree = max((density.degree for density in ordered), default=0)
        self.n_radial = max((d.radial[-1] for d in ordered), default=0)
        longer = {d.radial[:k] for d in ordered for k in range(2, len(d.radial) + 1)}
        made = sorted(longer, key=lambda radial: (len(radial), radial))
        singles = [(n,) for n in range(1, self.n_radial + 1)]
        where = {radial: n_pair + i for i, radial in enumerate([*singles, *made])}
        pairs = [(where[radial[:-1]], where[radial[-1:]]) for radial in made]
        self.products = np.array(pairs, dtype=np.intp).reshape(-1, 2)
        # Those of one length can be made at a time.
        self._steps = np.flatnonzero(np.diff([len(radial) for radial in made])) + 1
        # Groups of rows (species, degree, first row, radial functions); m runs fastest in each.
        self._groups = [
            (z, 0, z * n_pair, np.arange(n_pair)) for z in range(n_species if n_pair else 0)
        ]
        for (z, degree), group in groupby(ordered, key=lambda d: (d.species, d.degree)):
            members = list(group)
            radial = np.array([where[d.radial] for d in members])
            self._groups.append((z, degree, self.start[members[0]], radial))
        self.species, self.radial, self.harmonic = np.empty((3, self.n_rows), dtype=np.intp)
        for z, degree, start, radial in self._groups:
            width = 2 * degree + 1
            rows = slice(start, start + width * len(radial))
            self.species[rows] = z
            self.radial[rows] = np.repeat(radial, width)
            self.harmonic[rows] = degree**2 + np.tile(np.arange(width), len(radial))

    def with_products(self, radial: Array) -> Array:
        """Append the products of radial functions.

        Parameters
        ----------
        radial : ndarray of shape (n_pair + n_radial, n_neighbors)
            Or with their slopes: (2, n_pair + n_radial, n_neighbors).

        Returns
        -------
        ndarray of shape (n_pair + n_radial + n_products, n_neighbors)
            Or with their slopes, like `radial`.
        """
        n, n_neighbors = radial.shape[-2:]
        out = np.empty((*radial.shape[:-2], n + len(self.products), n_neighbors))
        out[..., :n, :] = radial
        for products in np.split(self.products, self._steps):
            new = slice(n, n + len(products))
            first, second = (out[..., factors, :] for factors in products.T)
            if radial.ndim == 2:
                np.multiply(first, second, out=out[new])
            else:
                out[0, new] = first[0] * second[0]
                out[1, new] = first[1] * second[0] + first[0] * second[1]
            n += len(products)
        return out

    def sums(
        self, radial: Array, harmonics: Array, species: NDArray[np.intp], counts: NDArray[np.intp]
    ) -> Array:
        """Sum over the neighbors of each environment.

        Parameters
        ----------
        radial : ndarray of shape (n_pair + n_radial + n_products, n_neighbors)
            Radial functions of the neighbors, environment after environment.
        harmonics : ndarray of shape (n_neighbors, (l_max + 1)²)
        species : ndarray of int of shape (n_neighbors,)
        counts : ndarray of int of shape (n_species, n_environments)
            Number of neighbors of each species.

        Returns
        -------
        ndarray of shape (n_rows, n_environments)
        """
        out = np.zeros((self.n_rows, counts.shape[1]))
        for z, members in groupby(self._groups, key=itemgetter(0)):
            chosen, groups = np.flatnonzero(species == z), list(members)
            for environments, neighbors in equal_counts(counts[z]):
                products = radial.take(chosen[neighbors], axis=1).transpose(1, 0, 2)
                y = harmonics[chosen[neighbors]]
                for _, degree, start, functions in groups:
                    sums = products[:, functions] @ y[:, :, degree**2 : (degree + 1) ** 2]
                    flat = sums.reshape(len(environments), -1).T
                    out[start : start + len(flat), environments] = flat
        return out


def equal_counts(counts: NDArray[np.intp]) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Group environments that have equally many neighbors.

    Parameters
    ----------
    counts : ndarray of int of shape (n_environments,)

    Returns
    -------
    list of (environments, neighbors)
        Indices of shapes (n,) and (n, count); environments without neighbors are left out.

    Examples
    --------
    >>> import numpy as np
    >>> from skrigidity.atomistic.ace._densities import equal_counts
    >>> for environments, neighbors in equal_counts(np.array([2, 0, 1, 2])):
    ...     print(environments, neighbors.tolist())
    [2] [[2]]
    [0 3] [[0, 1], [3, 4]]
    """
    first = np.cumsum(counts) - counts
    groups = []
    for count in np.unique(counts[counts > 0]):
        environments = np.flatnonzero(counts == count)
        groups.append((environments, first[environments, None] + np.arange(count)))
    return groups


def spherical_harmonics(vectors: Array, max_degree: int) -> Array:
    """Evaluate real spherical harmonics of the vectors' directions.

    Parameters
    ----------
    vectors : ndarray of shape (n, 3)
    max_degree : int

    Returns
    -------
    ndarray of shape (n, (max_degree + 1)²)

    Examples
    --------
    >>> import numpy as np
    >>> from skrigidity.atomistic.ace._densities import spherical_harmonics
    >>> spherical_harmonics(np.array([[0.0, 0.0, 2.0]]), 1).round(3)
    array([[0.282, 0.   , 0.489, 0.   ]])
    """
    return np.asarray(_calculator(max_degree).compute(np.ascontiguousarray(vectors)))


def harmonics_with_gradients(vectors: Array, max_degree: int) -> tuple[Array, Array]:
    """Evaluate `spherical_harmonics` and their gradients by the vectors.

    Parameters
    ----------
    vectors : ndarray of shape (n, 3)
    max_degree : int

    Returns
    -------
    values : ndarray of shape (n, (max_degree + 1)²)
    gradients : ndarray of shape (n, 3, (max_degree + 1)²)

    Examples
    --------
    >>> import numpy as np
    >>> from skrigidity.atomistic.ace._densities import harmonics_with_gradients
    >>> harmonics_with_gradients(np.array([[0.0, 0.0, 2.0]]), 1)[1].shape
    (1, 3, 4)
    """
    values, gradients = _calculator(max_degree).compute_with_gradients(
        np.ascontiguousarray(vectors)
    )
    return np.asarray(values), np.asarray(gradients)


def _calculator(max_degree: int) -> Any:
    # One of its own for each call: it has buffers that threads must not share.
    sphericart = import_extra("sphericart", extra="atomistic", needed_by="ACEDescriptor")
    return sphericart.SphericalHarmonics(max_degree)
