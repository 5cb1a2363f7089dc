"""Radial functions of ACE: orthonormal polynomials in a transformed distance."""

from __future__ import annotations

from collections.abc import Callable
from math import gamma, pi, sqrt

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
# Far smaller than anything that rounds: squares of it vanish beside 1, and do not underflow.
_STEP = 1e-60


def with_slopes(functions: Callable[[Array], Array], r: Array) -> tuple[Array, Array]:
    """Evaluate functions of a distance and their derivatives by it.

    Parameters
    ----------
    functions : callable
        Of an array of distances; analytic, so that it takes complex ones.
    r : ndarray of shape (n_pairs,)

    Returns
    -------
    values, slopes : ndarrays of shape (n, n_pairs)

    Notes
    -----
    The imaginary part of f(r + ih) is h f'(r) without a difference of close numbers: exact to
    rounding (Squire and Trapp, SIAM Rev. 40, 110, 1998).

    Examples
    --------
    >>> import numpy as np
    >>> from skrigidity.atomistic.ace._radial import with_slopes
    >>> with_slopes(lambda r: r**3, np.array([2.0]))
    (array([8.]), array([12.]))
    """
    result = functions(r + 1j * _STEP)  # type: ignore[arg-type]
    return np.ascontiguousarray(result.real), result.imag / _STEP


def agnesi(s: Array, exponents: tuple[float, float]) -> Array:
    """Map distances, in units of the nearest neighbors', from (0, ∞) to (1, 0).

    Parameters
    ----------
    s : ndarray
        Distances divided by r0.
    exponents : (p, q)
        0 < p <= q and 2 p q > p + q. The map goes like 1 - a s^q at 0 and like s^-p / a at
        infinity; a is such that it is steepest at s = 1.

    Returns
    -------
    ndarray

    Examples
    --------
    >>> import numpy as np
    >>> from skrigidity.atomistic.ace._radial import agnesi
    >>> agnesi(np.array([0.5, 1.0, 2.0]), (2, 4)).round(3)
    array([0.963, 0.722, 0.289])
    """
    p, q = exponents
    a = (-2 * q + p * (4 * q - 2)) / (p + p**2 + q + q**2)
    return 1 / (1 + a * s**q / (1 + s ** (q - p)))


def orthonormal_polynomials(x: Array, n: int, power: int) -> Array:
    """Evaluate polynomials that are orthonormal on [-1, 1] with the weight (1 - x²)^power.

    Parameters
    ----------
    x : ndarray of shape (n_points,)
    n : int
        How many: degrees 0 to n - 1.
    power : int

    Returns
    -------
    ndarray of shape (n, n_points)

    Examples
    --------
    >>> import numpy as np
    >>> from skrigidity.atomistic.ace._radial import orthonormal_polynomials
    >>> orthonormal_polynomials(np.array([1.0]), 3, 0).ravel() ** 2
    array([0.5, 1.5, 2.5])
    """
    out = np.empty((n, len(x)), dtype=x.dtype)
    out[:1] = sqrt(gamma(power + 1.5) / (sqrt(pi) * gamma(power + 1)))
    before = 0.0
    for k in range(1, n):
        step = sqrt(k * (k + 2 * power) / ((2 * k + 2 * power) ** 2 - 1))
        out[k] = x * out[k - 1]
        if k > 1:
            out[k] -= before * out[k - 2]
        out[k] /= step
        before = step
    return out


def many_body_functions(
    r: Array, r0: Array | float, cutoff: float, n: int, exponents: tuple[float, float]
) -> Array:
    """Return n radial functions that vanish smoothly at the cutoff and at 0.

    Parameters
    ----------
    r : ndarray of shape (n_pairs,)
        Distances, not above the cutoff.
    r0 : float or ndarray of shape (n_pairs,)
        Nearest-neighbor distance.
    cutoff : float
    n : int
    exponents : (p, q)
        Of the Agnesi transform.

    Returns
    -------
    ndarray of shape (n, n_pairs)
        Orthonormal functions of the transformed distance x, with the envelope (1 - x²)².

    Examples
    --------
    >>> import numpy as np
    >>> from skrigidity.atomistic.ace._radial import many_body_functions
    >>> many_body_functions(np.array([2.4, 4.0]), 2.4, 5.5, 2, (2, 4)).round(3)
    array([[ 0.941,  0.485],
           [-0.876,  0.936]])
    """
    x = _transformed(r, r0, cutoff, exponents)
    return (1 - x**2) ** 2 * orthonormal_polynomials(x, n, 4)


def pair_functions(
    r: Array, r0: Array | float, cutoff: float, n: int, exponents: tuple[float, float]
) -> Array:
    """Return n radial functions of a pair potential, repulsive at short distances.

    Parameters
    ----------
    r : ndarray of shape (n_pairs,)
        Distances, above 0 and not above the cutoff.
    r0 : float or ndarray of shape (n_pairs,)
        Nearest-neighbor distance.
    cutoff : float
    n : int
    exponents : (p, q)
        Of the Agnesi transform.

    Returns
    -------
    ndarray of shape (n, n_pairs)
        Half of orthonormal polynomials, as either atom has its half of a pair, times an envelope
        that goes like 1/r² at 0 and vanishes with its slope at the cutoff.

    Examples
    --------
    >>> import numpy as np
    >>> from skrigidity.atomistic.ace._radial import pair_functions
    >>> pair_functions(np.array([2.4, 4.0]), 2.4, 5.5, 2, (1, 3)).round(3)
    array([[ 0.21 ,  0.023],
           [-0.108,  0.019]])
    """
    x = _transformed(r, r0, cutoff, exponents)
    s, s_cut = r / r0, cutoff / r0
    envelope = s**-2.0 - s_cut**-2.0 + 2 * s_cut**-3.0 * (s - s_cut)
    return envelope / 2 * orthonormal_polynomials(x, n, 0)


def _transformed(
    r: Array, r0: Array | float, cutoff: float, exponents: tuple[float, float]
) -> Array:
    """Return x from -1 at distance 0 to 1 at the cutoff."""
    at_cutoff = agnesi(np.asarray(cutoff / r0), exponents)
    return 1 - 2 * (agnesi(r / r0, exponents) - at_cutoff) / (1 - at_cutoff)
