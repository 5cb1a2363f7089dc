"""Radial functions of ACE: orthonormal polynomials in a transformed distance."""

from __future__ import annotations

from math import gamma, pi, sqrt

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


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
    out = np.empty((n, len(x)))
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
    r: Array,
    r0: Array | float,
    cutoff: float,
    n: int,
    exponents: tuple[float, float],
    *,
    slopes: bool = False,
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
    slopes : bool, default=False
        Whether to return derivatives by r too.

    Returns
    -------
    ndarray of shape (n, n_pairs), or with slopes (2, n, n_pairs)
        Orthonormal functions of the transformed distance x, with the envelope (1 - x²)².

    Examples
    --------
    >>> import numpy as np
    >>> from skrigidity.atomistic.ace._radial import many_body_functions
    >>> many_body_functions(np.array([2.4, 4.0]), 2.4, 5.5, 2, (2, 4)).round(3)
    array([[ 0.941,  0.485],
           [-0.876,  0.936]])
    """
    x, x_slope = _transformed(r, r0, cutoff, exponents)
    root = 1 - x**2
    return _enveloped(root**2, -4 * x * x_slope * root, x, x_slope, n, 4, slopes)


def pair_functions(
    r: Array,
    r0: Array | float,
    cutoff: float,
    n: int,
    exponents: tuple[float, float],
    *,
    slopes: bool = False,
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
    slopes : bool, default=False
        Whether to return derivatives by r too.

    Returns
    -------
    ndarray of shape (n, n_pairs), or with slopes (2, n, n_pairs)
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
    x, x_slope = _transformed(r, r0, cutoff, exponents)
    s, s_cut = r / r0, cutoff / r0
    envelope = s**-2.0 - s_cut**-2.0 + 2 * s_cut**-3.0 * (s - s_cut)
    slope = (s_cut**-3.0 - s**-3.0) / r0
    return _enveloped(envelope / 2, slope, x, x_slope, n, 0, slopes)


def _transformed(
    r: Array, r0: Array | float, cutoff: float, exponents: tuple[float, float]
) -> tuple[Array, Array]:
    """Return x from -1 at distance 0 to 1 at the cutoff, and its derivative by the distance."""
    p, q = exponents
    value, at_cutoff = agnesi(r / r0, exponents), agnesi(np.asarray(cutoff / r0), exponents)
    scale = 2 / (1 - at_cutoff)
    # y = 1 / (1 + u) has the slope -y (1 - y) u' / u.
    slope = value * (1 - value) * (p + (q - p) / (1 + (r / r0) ** (q - p))) / r
    return 1 - scale * (value - at_cutoff), scale * slope


def _enveloped(
    envelope: Array, slope: Array, x: Array, x_slope: Array, n: int, power: int, slopes: bool
) -> Array:
    """Return an envelope times polynomials of x, and on demand the derivatives by r of these."""
    polynomials = orthonormal_polynomials(x, n, power)
    if not slopes:
        return envelope * polynomials
    out = np.stack([polynomials * envelope, polynomials * slope])
    # The derivatives are polynomials that are orthogonal with the weight's next power.
    k = np.arange(1, n)[:, None]
    factors = np.sqrt(k * (k + 2 * power + 1)) * (envelope * x_slope)
    out[1, 1:] += factors * orthonormal_polynomials(x, max(n - 1, 0), power + 1)
    return out
