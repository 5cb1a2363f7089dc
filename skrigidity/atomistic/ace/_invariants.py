"""Clebsch-Gordan coefficients of real spherical harmonics, and invariants coupled with them."""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from itertools import permutations, product
from math import factorial, pi, prod, sqrt

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@cache
def real_clebsch_gordan(l1: int, l2: int, l3: int) -> Array:
    """Couple two real spherical tensors of degrees l1, l2 to one of degree l3.

    Parameters
    ----------
    l1, l2, l3 : int
        Degrees that obey the triangle inequality.

    Returns
    -------
    ndarray of shape (2 l1 + 1, 2 l2 + 1, 2 l3 + 1)
        Orthonormal: ``einsum("abc,abd", C, C)`` is the identity. Where l1 + l2 + l3 is odd the
        coefficients of real harmonics are imaginary, and divided by i here. Read-only.

    Examples
    --------
    >>> from skrigidity.atomistic.ace._invariants import real_clebsch_gordan
    >>> abs(real_clebsch_gordan(1, 1, 0)[:, :, 0]).round(4)
    array([[0.5774, 0.    , 0.    ],
           [0.    , 0.5774, 0.    ],
           [0.    , 0.    , 0.5774]])
    """
    u1, u2, u3 = map(_real_from_complex, (l1, l2, l3))
    coefficients = np.einsum(
        "ai,bj,ck,ijk->abc", u1, u2, u3.conj(), _complex_coefficients(l1, l2, l3), optimize=True
    )
    real = np.ascontiguousarray(coefficients.imag if (l1 + l2 + l3) % 2 else coefficients.real)
    real.flags.writeable = False
    return real


@cache
def gaunt(l1: int, l2: int, l3: int) -> Array:
    """Expand the product of two real spherical harmonics of the same direction.

    Parameters
    ----------
    l1, l2, l3 : int
        Degrees that obey the triangle inequality.

    Returns
    -------
    ndarray of shape (2 l1 + 1, 2 l2 + 1, 2 l3 + 1)
        Coefficients of Y of degree l3 in ``Y_l1m1 Y_l2m2``; 0 where l1 + l2 + l3 is odd.
        Read-only.

    Examples
    --------
    >>> import numpy as np
    >>> from skrigidity.atomistic.ace._invariants import gaunt
    >>> np.allclose(gaunt(2, 0, 2)[:, 0], np.eye(5) / np.sqrt(4 * np.pi))
    True
    """
    scale = sqrt((2 * l1 + 1) * (2 * l2 + 1) / (4 * pi * (2 * l3 + 1)))
    result = scale * _coefficient(l1, 0, l2, 0, l3, 0) * real_clebsch_gordan(l1, l2, l3)
    result.flags.writeable = False
    return result


def _real_from_complex(degree: int) -> NDArray[np.complex128]:
    """Return real harmonics (rows: m = -l..l) in terms of complex ones, Condon-Shortley phase."""
    u = np.zeros((2 * degree + 1, 2 * degree + 1), dtype=complex)
    u[degree, degree] = 1.0
    for m in range(1, degree + 1):
        sign = (-1) ** m
        u[degree + m, [degree + m, degree - m]] = np.array([sign, 1]) / sqrt(2)
        u[degree - m, [degree + m, degree - m]] = np.array([sign, -1]) / (1j * sqrt(2))
    return u


def _complex_coefficients(l1: int, l2: int, l3: int) -> Array:
    out = np.zeros((2 * l1 + 1, 2 * l2 + 1, 2 * l3 + 1))
    for m1 in range(-l1, l1 + 1):
        for m2 in range(max(-l2, -l3 - m1), min(l2, l3 - m1) + 1):
            out[l1 + m1, l2 + m2, l3 + m1 + m2] = _coefficient(l1, m1, l2, m2, l3, m1 + m2)
    return out


def _coefficient(l1: int, m1: int, l2: int, m2: int, l3: int, m3: int) -> float:
    """Racah's formula in exact integers: only the last square root and division round."""
    first, last = max(0, l2 - l3 - m1, l1 - l3 + m2), min(l1 + l2 - l3, l1 - m1, l2 + m2)
    total = Fraction(0)
    for k in range(first, last + 1):
        first_half = (k, l1 + l2 - l3 - k, l1 - m1 - k)
        second_half = (l2 + m2 - k, l3 - l2 + m1 + k, l3 - l1 - m2 + k)
        total += Fraction((-1) ** k, prod(map(factorial, first_half + second_half)))
    triangle = (l1 + l2 - l3, l1 - l2 + l3, l2 - l1 + l3)
    projections = (l1 + m1, l1 - m1, l2 + m2, l2 - m2, l3 + m3, l3 - m3)
    square = Fraction(
        (2 * l3 + 1) * prod(map(factorial, triangle)) * prod(map(factorial, projections)),
        factorial(l1 + l2 + l3 + 1),
    )
    return (1 if total >= 0 else -1) * sqrt(square * total**2)


@cache
def invariant_tensors(degrees: tuple[int, ...]) -> Array:
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
    paths: dict[tuple[int, ...], Array] = {(degrees[0],): np.eye(2 * degrees[0] + 1)}
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
def symmetric_invariants(degrees: tuple[int, ...], labels: tuple[int, ...]) -> Array:
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


def _independent_rows(projector: Array, rank: int) -> Array:
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
def harmonic_product(degrees: tuple[int, ...]) -> dict[int, Array]:
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
    parts: dict[int, Array] = {degrees[0]: np.eye(2 * degrees[0] + 1)}
    for degree in degrees[1:]:
        longer: dict[int, Array] = {}
        for before, array in parts.items():
            for after in range(abs(before - degree), before + degree + 1, 2):
                term = np.tensordot(array, gaunt(before, degree, after), axes=1)
                longer[after] = longer[after] + term if after in longer else term
        parts = longer
    return dict(sorted(parts.items()))


def coupled_densities(
    tensors: Array, degrees: tuple[int, ...], blocks: tuple[tuple[int, ...], ...]
) -> list[tuple[tuple[int, ...], Array]]:
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
