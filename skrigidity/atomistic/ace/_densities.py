"""Sums over the neighbors of an environment: products of radial functions times Y_lm."""

from __future__ import annotations

from collections.abc import Iterable
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
        rows = [(z, n, 0) for z in range(n_species) for n in range(n_pair)]
        for d in ordered:
            rows += [(d.species, where[d.radial], d.degree**2 + m) for m in range(2 * d.degree + 1)]
        columns = np.array(rows, dtype=np.intp).reshape(-1, 3).T
        self.species, self.radial, self.harmonic = np.ascontiguousarray(columns)

    def with_products(self, radial: Array) -> Array:
        """Append the products of radial functions.

        Parameters
        ----------
        radial : ndarray of shape (1 or 2, n_pair + n_radial, n_neighbors)
            Values, and slopes if there is a second one.

        Returns
        -------
        ndarray of shape (1 or 2, n_pair + n_radial + n_products, n_neighbors)
        """
        n_parts, n, n_neighbors = radial.shape
        out = np.empty((n_parts, n + len(self.products), n_neighbors))
        out[:, :n] = radial
        for products in np.split(self.products, self._steps):
            first, second = out[:, products[:, 0]], out[:, products[:, 1]]
            new = out[:, n : n + len(products)]
            np.multiply(first, second[0], out=new)
            new[1:] += first[0] * second[1:]
            n += len(products)
        return out

    def sums(self, radial: Array, harmonics: Array, numbers: NDArray[np.intp]) -> Array:
        """Sum over the neighbors of each environment.

        Parameters
        ----------
        radial : ndarray of shape (n_pair + n_radial + n_products, n_neighbors)
            Radial functions of the neighbors, sorted by environment, then by species.
        harmonics : ndarray of shape (n_neighbors, (l_max + 1)²)
        numbers : ndarray of int of shape (n_species, n_environments)
            Number of neighbors of each species.

        Returns
        -------
        ndarray of shape (n_rows, n_environments)
        """
        out = np.zeros((self.n_rows, numbers.shape[1]))
        for z, (first, last) in enumerate(zip(*bounds(numbers), strict=True)):
            rows = np.flatnonzero(self.species == z)
            which = self.radial[rows], self.harmonic[rows]
            for i in np.flatnonzero(numbers[z]):
                pairs = slice(first[i], last[i])
                out[rows, i] = (radial[:, pairs] @ harmonics[pairs])[which]
        return out


def bounds(numbers: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return where the neighbors of a species (first axis) in an environment begin and end.

    Examples
    --------
    >>> import numpy as np
    >>> from skrigidity.atomistic.ace._densities import bounds
    >>> bounds(np.array([[1, 2], [0, 3]]))[1]
    array([[1, 3],
           [1, 6]])
    """
    last = np.cumsum(numbers.T).reshape(numbers.T.shape).T
    return last - numbers, last


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
