"""Sums over the neighbors of an environment: products of radial functions times Y_lm."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from typing import NamedTuple

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

    Attributes
    ----------
    start : dict of Density to int
        Row of m = -l.
    n_rows : int

    Examples
    --------
    >>> from skrigidity.atomistic.ace._densities import Density, DensityTable
    >>> table = DensityTable([Density(0, 1, (1, 2)), Density(0, 0, (1,))])
    >>> table.start
    {Density(species=0, degree=0, radial=(1,)): 0, Density(species=0, degree=1, radial=(1, 2)): 1}
    """

    def __init__(self, densities: Iterable[Density]) -> None:
        ordered = sorted(set(densities), key=lambda d: (d.species, d.degree, len(d.radial), d))
        widths = [2 * density.degree + 1 for density in ordered]
        starts = np.cumsum([0, *widths])
        self.start = dict(zip(ordered, starts.tolist(), strict=False))
        self.n_rows = int(starts[-1])
        self.max_degree = max((density.degree for density in ordered), default=0)
        self.n_radial = max((d.radial[-1] for d in ordered), default=0)
        self._products = {
            z: _RadialProducts(d.radial for d in ordered if d.species == z)
            for z in {d.species for d in ordered}
        }
        self._groups: dict[int, list[tuple[int, int, NDArray[np.intp]]]] = {}
        for (z, degree), group in groupby(ordered, key=lambda d: (d.species, d.degree)):
            members = list(group)
            rows = self._products[z].rows(d.radial for d in members)
            self._groups.setdefault(z, []).append((degree, self.start[members[0]], rows))

    def add(
        self, out: Array, species: int, radial: Array, harmonics: Array, counts: NDArray[np.intp]
    ) -> None:
        """Fill in the densities of one neighbor species.

        Parameters
        ----------
        out : ndarray of shape (n_rows, n_environments)
        species : int
        radial : ndarray of shape (n_radial, n_neighbors)
            Radial functions of the neighbors of this species, environment after environment.
        harmonics : ndarray of shape (n_neighbors, (l_max + 1)²)
        counts : ndarray of int of shape (n_environments,)
            Number of neighbors of each environment.
        """
        if species not in self._products:
            return
        for environments, neighbors in equal_counts(counts):
            shape = (-1, *neighbors.shape)
            products = self._products[species](radial[:, neighbors.ravel()]).reshape(shape)
            products = products.transpose(1, 0, 2)
            y = harmonics[neighbors]
            for degree, start, chosen in self._groups[species]:
                sums = products[:, chosen] @ y[:, :, degree**2 : (degree + 1) ** 2]
                flat = sums.reshape(len(environments), -1).T
                out[start : start + len(flat), environments] = flat


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
        for length in range(2, len(ordered[-1]) + 1):
            chosen = [radial for radial in ordered if len(radial) == length]
            shorter = np.array([self._row[radial[:-1]] for radial in chosen])
            self._steps.append((shorter, np.array([radial[-1] - 1 for radial in chosen])))
        self._single = np.array([r[0] - 1 for r in ordered if len(r) == 1])

    def rows(self, radial: Iterable[tuple[int, ...]]) -> NDArray[np.intp]:
        return np.array([self._row[entry] for entry in radial])

    def __call__(self, functions: Array) -> Array:
        out = np.empty((len(self._row), functions.shape[1]))
        end = len(self._single)
        out[:end] = functions[self._single]
        for shorter, last in self._steps:
            np.multiply(out[shorter], functions[last], out=out[end : end + len(last)])
            end += len(last)
        return out


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
    # A calculator of its own for each call: it has buffers that threads must not share.
    sphericart = import_extra("sphericart", extra="atomistic", needed_by="ACEDescriptor")
    calculator = sphericart.SphericalHarmonics(max_degree)
    return np.asarray(calculator.compute(np.ascontiguousarray(vectors)))
