"""Invariant tensors: products of spherical harmonics coupled to a number."""

from __future__ import annotations

from functools import cache
from itertools import permutations, product
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from skrigidity.atomistic.ace._clebsch_gordan import gaunt, real_clebsch_gordan


@cache
def invariant_tensors(degrees: tuple[int, ...]) -> NDArray[np.float64]:
    """Couple spherical harmonics of the given degrees to L = 0, in every independent way.

    Parameters
    ----------
    degrees : tuple of int

    Returns
    -------
    ndarray of shape (n_tensors, 2 l_1 + 1, ..., 2 l_nu + 1)
        Orthonormal, one for each sequence of intermediate degrees, in lexicographic order.
        Read-only.

    Examples
    --------
    >>> from skrigidity.atomistic.ace._invariants import invariant_tensors
    >>> invariant_tensors((1, 1, 1, 1)).shape
    (3, 3, 3, 3, 3)
    """
    paths: dict[tuple[int, ...], NDArray[np.float64]] = {(degrees[0],): np.eye(2 * degrees[0] + 1)}
    for degree in degrees[1:]:
        longer = {}
        for path, tensor in paths.items():
            for coupled in range(abs(path[-1] - degree), path[-1] + degree + 1):
                coefficients = real_clebsch_gordan(path[-1], degree, coupled)
                longer[(*path, coupled)] = np.tensordot(tensor, coefficients, axes=1)
        paths = longer
    found = [tensor[..., 0] for path, tensor in paths.items() if path[-1] == 0]
    result = np.array(found).reshape(len(found), *(2 * degree + 1 for degree in degrees))
    result.flags.writeable = False
    return result


@cache
def symmetric_invariants(degrees: tuple[int, ...], labels: tuple[int, ...]) -> NDArray[np.float64]:
    r"""Return a basis of the invariants that products of equal factors cannot tell apart.

    Permuting equal factors leaves their product as it is: what the average over these
    permutations maps to 0 is no feature, and what it maps to the same is only one.

    Parameters
    ----------
    degrees : tuple of int
        One for each factor.
    labels : tuple of int
        Factors with the same label are equal; they have the same degree.

    Returns
    -------
    ndarray of shape (n_tensors, 2 l_1 + 1, ..., 2 l_nu + 1)
        Orthogonal, of norm :math:`\sqrt{s}` where s permutations keep the labels. Read-only.

    References
    ----------
    Dusson et al., J. Comput. Phys. 454, 110946 (2022), section 4: the dependencies among
    coupled products, and this normalization.

    Examples
    --------
    >>> from skrigidity.atomistic.ace._invariants import symmetric_invariants
    >>> [len(symmetric_invariants((1, 1, 1, 1), labels)) for labels in [(0, 1, 2, 3), (0,) * 4]]
    [3, 1]
    """
    tensors = invariant_tensors(degrees)
    orders = [p for p in permutations(range(len(labels))) if _keeps(p, labels)]
    average = np.mean([tensors.transpose(0, *(i + 1 for i in p)) for p in orders], axis=0)
    axes = range(1, tensors.ndim)
    projector = np.tensordot(average, tensors, axes=(axes, axes))
    chosen = _independent_rows(projector, round(np.trace(projector)))
    result = sqrt(len(orders)) * np.tensordot(chosen, tensors, axes=1)
    result.flags.writeable = False
    return result


def _keeps(order: tuple[int, ...], labels: tuple[int, ...]) -> bool:
    return all(labels[i] == label for i, label in zip(order, labels, strict=True))


def _independent_rows(projector: NDArray[np.float64], rank: int) -> NDArray[np.float64]:
    """Orthonormalize a projector's rows in their order, which any LAPACK does alike."""
    rows = np.zeros((rank, len(projector)))
    found = 0
    for candidate in projector:
        rest = candidate - (rows @ candidate) @ rows
        if found < rank and np.linalg.norm(rest) > 1e-6:
            rest -= (rows @ rest) @ rows
            rows[found] = rest / np.linalg.norm(rest)
            found += 1
    return rows


@cache
def harmonic_product(degrees: tuple[int, ...]) -> dict[int, NDArray[np.float64]]:
    """Expand a product of spherical harmonics of one direction in spherical harmonics.

    Parameters
    ----------
    degrees : tuple of int

    Returns
    -------
    dict of int to ndarray of shape (2 l_1 + 1, ..., 2 l_k + 1, 2 L + 1)
        By the degree L that the product has a part of.

    Examples
    --------
    >>> from skrigidity.atomistic.ace._invariants import harmonic_product
    >>> {degree: array.shape for degree, array in harmonic_product((1, 2)).items()}
    {1: (3, 5, 3), 3: (3, 5, 7)}
    """
    parts: dict[int, NDArray[np.float64]] = {degrees[0]: np.eye(2 * degrees[0] + 1)}
    for degree in degrees[1:]:
        longer: dict[int, NDArray[np.float64]] = {}
        for before, array in parts.items():
            for after in range(abs(before - degree), before + degree + 1, 2):
                term = np.tensordot(array, gaunt(before, degree, after), axes=1)
                longer[after] = longer[after] + term if after in longer else term
        parts = longer
    return dict(sorted(parts.items()))


def coupled_densities(
    tensors: NDArray[np.float64],
    degrees: tuple[int, ...],
    blocks: tuple[tuple[int, ...], ...],
) -> list[tuple[tuple[int, ...], NDArray[np.float64]]]:
    """Rewrite invariants of products in which some factors belong to the same neighbor.

    Parameters
    ----------
    tensors : ndarray of shape (n_tensors, 2 l_1 + 1, ..., 2 l_nu + 1)
    degrees : tuple of int
        l_1, ..., l_nu.
    blocks : tuple of tuples of int
        A set partition of the factors: those of a block belong to one neighbor.

    Returns
    -------
    list of (L, coefficients)
        For all degrees L_1, ..., L_k of the blocks that contribute, the coefficients of shape
        (n_tensors, 2 L_1 + 1, ..., 2 L_k + 1).

    Examples
    --------
    >>> import numpy as np
    >>> from skrigidity.atomistic.ace._invariants import coupled_densities, invariant_tensors
    >>> ((degrees, c),) = coupled_densities(invariant_tensors((3, 3)), (3, 3), ((0, 1),))
    >>> degrees, bool(np.isclose(abs(c[0, 0]), np.sqrt(7 / (4 * np.pi))))
    ((0,), True)
    """
    order = [i for block in blocks for i in block]
    start = tensors.transpose(0, *(i + 1 for i in order))
    expansions = [harmonic_product(tuple(degrees[i] for i in block)) for block in blocks]
    terms = []
    for coupled in product(*expansions):
        array = start
        for expansion, degree, block in zip(expansions, coupled, blocks, strict=True):
            # The axes of the next block always come first after the tensors' own; its coupled
            # axis goes to the end.
            n = len(block)
            array = np.tensordot(array, expansion[degree], axes=(range(1, n + 1), range(n)))
        if abs(array).max(initial=0.0) > 1e-12:
            terms.append((coupled, array))
    return terms
