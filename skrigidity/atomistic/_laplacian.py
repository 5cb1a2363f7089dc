"""Radial integrals of the Laplacian eigenstate basis, tabulated for featomic.

featomic can tabulate any basis itself (``SoapSpliner``), by adaptive quadrature of one integral at
a time. Here all integrals share one Gauss-Legendre rule, which is some ten times faster and as
accurate.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from skrigidity.atomistic._frames import require

# Points per half wave of the fastest basis function: a cubic Hermite spline with spacing h errs by
# (k h)^4 / 384 relative to a wave of wave number k, which is below 1e-8 here.
_POINTS_PER_HALF_WAVE = 72


@lru_cache(maxsize=16)
def laplacian_eigenstates(
    cutoff: float, width: float, max_radial: int, max_angular: int | None
) -> dict[int, dict[str, Any]]:
    """Tabulate the radial integrals of a Gaussian (of a delta function for width 0).

    Returns featomic's ``Tabulated`` hyperparameters for each angular channel. Treat the result as
    read-only: it is cached.
    """
    basis = require("featomic.basis").LaplacianEigenstate(
        radius=cutoff, max_radial=max_radial, max_angular=max_angular
    )
    points = np.linspace(0.0, cutoff, _POINTS_PER_HALF_WAVE * (max_radial + 1))
    tables = {}
    for angular in basis.angular_channels():
        radial = basis.radial_basis(angular)
        if width > 0:
            values, slopes = _gaussian_integrals(radial, angular, points, width)
        else:
            scale = _normalization(radial, *_quadrature(cutoff, 2 * (max_radial + 1) + 64))
            values = scale * _functions(radial, points, derivative=False)
            slopes = scale * _functions(radial, points, derivative=True)
        rows = zip(points.tolist(), values.tolist(), slopes.tolist(), strict=True)
        table = [{"position": p, "values": v, "derivatives": d} for p, v, d in rows]
        tables[int(angular)] = {"type": "Tabulated", "points": table}
    return tables


def _functions(radial: Any, r: NDArray[Any], *, derivative: bool) -> NDArray[np.float64]:
    return np.stack(
        [radial.compute_primitive(r, n, derivative=derivative) for n in range(radial.size)], axis=1
    )


def _quadrature(radius: float, n: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    x, weights = np.polynomial.legendre.leggauss(n)
    return (x + 1) * radius / 2, weights * radius / 2


def _normalization(radial: Any, r: NDArray[Any], weights: NDArray[Any]) -> NDArray[np.float64]:
    # The eigenstates of one angular channel are orthogonal already.
    functions = _functions(radial, r, derivative=False)
    return 1 / np.sqrt((weights * r**2) @ functions**2)


def _gaussian_integrals(
    radial: Any, angular: int, points: NDArray[np.float64], width: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    # I(d) = c exp(-d^2 / 2 s^2) int r^2 R(r) exp(-r^2 / 2 s^2) i_l(r d / s^2) dr, and its slope
    # with i_l' = i_{l+1} + (l / z) i_l; both with exp(-z) i_l(z), which cannot overflow.
    r, weights = _quadrature(radial.radius, max(64, int(np.ceil(6 * radial.radius / width))))
    functions = _functions(radial, r, derivative=False)
    functions *= _normalization(radial, r, weights) * (weights * r**2)[:, None]

    d = points[:, None]
    z = r * d / width**2
    bessel, bessel_next = _scaled_bessel(angular, z), _scaled_bessel(angular + 1, z)
    bessel_over_z = np.full_like(z, 1 / 3 if angular == 1 else 0.0)
    np.divide(bessel, z, out=bessel_over_z, where=z > 0)

    gaussian = np.exp(-0.5 * ((r - d) / width) ** 2)
    gaussian *= 4 * np.pi / (np.pi * width**2) ** 0.75
    values = (gaussian * bessel) @ functions
    slopes = (gaussian * (bessel_next + angular * bessel_over_z) * r) @ functions
    return values, (slopes - d * values) / width**2


def _scaled_bessel(order: int, z: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return exp(-z) times the modified spherical Bessel function of the first kind."""
    result = np.full_like(z, 1.0 if order == 0 else 0.0)
    inside = z > 0
    result[inside] = np.sqrt(np.pi / (2 * z[inside])) * special.ive(order + 0.5, z[inside])
    return result
