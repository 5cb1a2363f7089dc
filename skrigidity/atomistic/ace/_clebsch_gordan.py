"""Clebsch-Gordan coefficients of real spherical harmonics."""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from math import factorial, pi, prod, sqrt

import numpy as np
from numpy.typing import NDArray


@cache
def real_clebsch_gordan(l1: int, l2: int, l3: int) -> NDArray[np.float64]:
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
    >>> from skrigidity.atomistic.ace._clebsch_gordan import real_clebsch_gordan
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
def gaunt(l1: int, l2: int, l3: int) -> NDArray[np.float64]:
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
    >>> from skrigidity.atomistic.ace._clebsch_gordan import gaunt
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


def _complex_coefficients(l1: int, l2: int, l3: int) -> NDArray[np.float64]:
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
