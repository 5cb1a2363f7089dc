"""Sums over the neighbors of an environment: products of radial functions times Y_lm."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from math import pi, sqrt
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
        self._products = _RadialProducts(d.radial for d in ordered)
        # Groups of rows (species, degree, first row, radial functions); m runs fastest in each.
        self._groups = [
            (z, 0, z * n_pair, np.arange(n_pair)) for z in range(n_species if n_pair else 0)
        ]
        for (z, degree), group in groupby(ordered, key=lambda d: (d.species, d.degree)):
            members = list(group)
            radial = n_pair + self._products.rows(d.radial for d in members)
            self._groups.append((z, degree, self.start[members[0]], radial))
        self.species, self.radial, self.harmonic = np.empty((3, self.n_rows), dtype=np.intp)
        for z, degree, start, radial in self._groups:
            width = 2 * degree + 1
            rows = slice(start, start + width * len(radial))
            self.species[rows] = z
            self.radial[rows] = np.repeat(radial, width)
            self.harmonic[rows] = degree**2 + np.tile(np.arange(width), len(radial))

    def radial_functions(self, pair: Array, many_body: Array) -> Array:
        """Return all radial functions that the densities are made of.

        Parameters
        ----------
        pair : ndarray of shape (n_pair, n_neighbors)
        many_body : ndarray of shape (n_radial, n_neighbors)
            Both with their slopes: (2, n, n_neighbors).

        Returns
        -------
        ndarray of shape (n_pair + n_products, n_neighbors)
            With their slopes: (2, n_pair + n_products, n_neighbors).
        """
        out = np.empty((*pair.shape[:-2], self.n_pair + len(self._products), pair.shape[-1]))
        # Functions of pairs are of degree 0, but for the constant Y_00.
        np.multiply(pair, sqrt(4 * pi), out=out[..., : self.n_pair, :])
        self._products.evaluate(many_body, out[..., self.n_pair :, :])
        return out

    def sums(
        self, radial: Array, harmonics: Array, species: NDArray[np.intp], counts: NDArray[np.intp]
    ) -> Array:
        """Sum over the neighbors of each environment.

        Parameters
        ----------
        radial : ndarray of shape (n_pair + n_products, n_neighbors)
            The `radial_functions` of the neighbors, environment after environment.
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


class _RadialProducts:
    """Products of radial functions, each made of a shorter one and one more function."""

    def __init__(self, wanted: Iterable[tuple[int, ...]]) -> None:
        prefixes = {radial[:k] for radial in wanted for k in range(1, len(radial) + 1)}
        ordered = sorted(prefixes, key=lambda radial: (len(radial), radial))
        self._row = {radial: i for i, radial in enumerate(ordered)}
        self._steps = []
        for length in range(2, max(map(len, ordered), default=1) + 1):
            chosen = [radial for radial in ordered if len(radial) == length]
            shorter = np.array([self._row[radial[:-1]] for radial in chosen])
            self._steps.append((shorter, np.array([radial[-1] - 1 for radial in chosen])))
        self._single = np.array([r[0] - 1 for r in ordered if len(r) == 1], dtype=np.intp)

    def rows(self, radial: Iterable[tuple[int, ...]]) -> NDArray[np.intp]:
        return np.array([self._row[entry] for entry in radial], dtype=np.intp)

    def __len__(self) -> int:
        return len(self._row)

    def evaluate(self, functions: Array, out: Array) -> None:
        """Write products; and from functions with slopes, (2, n, n_neighbors), their slopes too."""
        end = len(self._single)
        out[..., :end, :] = functions[..., self._single, :]
        for shorter, last in self._steps:
            new = slice(end, end + len(last))
            if functions.ndim == 2:
                np.multiply(out[shorter], functions[last], out=out[new])
            else:
                (values, slopes), (factors, factor_slopes) = out[:, shorter], functions[:, last]
                np.multiply(values, factors, out=out[0, new])
                np.multiply(slopes, factors, out=out[1, new])
                out[1, new] += values * factor_slopes
            end += len(last)


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
