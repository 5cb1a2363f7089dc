"""Radial integrals of the Laplacian eigenstates and of LODE, tabulated for featomic.

featomic tabulates any basis and density itself (``SoapSpliner``), by adaptive quadrature of one
integral at a time, which takes up to minutes. Here all integrals share one Gauss-Legendre rule: a
fraction of a second, and as accurate.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from skrigidity.frames import require

Array = NDArray[np.float64]

# A cubic Hermite spline with spacing h errs by (k h)^4 / 384 relative to a wave of wave number k.
# That is below 1e-8 with so many points per half wave, 1e-10 with LODE's phase per step.
_POINTS_PER_HALF_WAVE = 72
_PHASE_STEP = 0.014
_NODES = 64


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
            scale = _normalization(radial, *_quadrature(0.0, cutoff, 2 * (max_radial + 1) + 64))
            values = scale * _functions(radial, points, derivative=False)
            slopes = scale * _functions(radial, points, derivative=True)
        tables[int(angular)] = _tabulated(points, values, slopes)
    return tables


def _functions(radial: Any, r: Array, *, derivative: bool) -> Array:
    return np.stack(
        [radial.compute_primitive(r, n, derivative=derivative) for n in range(radial.size)], axis=1
    )


def _normalization(radial: Any, r: Array, weights: Array) -> Array:
    # The eigenstates of one angular channel are orthogonal already.
    functions = _functions(radial, r, derivative=False)
    return 1 / np.sqrt((weights * r**2) @ functions**2)


def _gaussian_integrals(
    radial: Any, angular: int, points: Array, width: float
) -> tuple[Array, Array]:
    # I(d) = c exp(-d^2 / 2 s^2) int r^2 R(r) exp(-r^2 / 2 s^2) i_l(r d / s^2) dr, and its slope
    # with i_l' = i_{l+1} + (l / z) i_l; both with exp(-z) i_l(z), which cannot overflow.
    r, weights = _quadrature(0.0, radial.radius, max(64, int(np.ceil(6 * radial.radius / width))))
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


def _scaled_bessel(order: int, z: Array) -> Array:
    """Return exp(-z) times the modified spherical Bessel function of the first kind."""
    result = np.full_like(z, 1.0 if order == 0 else 0.0)
    inside = z > 0
    result[inside] = np.sqrt(np.pi / (2 * z[inside])) * special.ive(order + 0.5, z[inside])
    return result


@lru_cache(maxsize=16)
def lode_hypers(
    cutoff: float,
    smearing: float,
    exponent: int,
    k_cutoff: float,
    max_radial: int,
    max_angular: int,
) -> tuple[str, str]:
    """Return hyperparameters (JSON) of the density's expansion in reciprocal and in real space.

    Both have the basis functions ``r^(l + 2n)`` inside the cutoff, orthonormalized in each channel
    l, so that what ``SphericalExpansion`` makes of the atoms inside can be subtracted from what
    ``LodeSphericalExpansion`` makes of all atoms.
    """
    density = require("featomic.density").SmearedPowerLaw(smearing=smearing, exponent=exponent)
    n_nodes = max(_NODES, int(np.ceil(8 * cutoff / smearing)))
    r, weights = _quadrature(0.0, cutoff, n_nodes)
    functions = [
        _basis(r, weights, cutoff, max_radial, angular) for angular in range(max_angular + 1)
    ]
    weighted = [(weights * r**2)[:, None] * f for f in functions]

    k = np.linspace(0.0, k_cutoff, 1 + int(np.ceil(k_cutoff * cutoff / _PHASE_STEP)))
    k_space = _explicit(k, *_plane_wave_integrals(k, r, weighted))
    # Only a center_atom_weight other than 1 would need the center's own part.
    k_space["by_angular"][0]["center_contribution"] = [0.0] * (max_radial + 1)

    d = np.linspace(0.0, cutoff, 1 + int(np.ceil(cutoff / smearing / _PHASE_STEP)))
    real_space = _explicit(d, *_density_integrals(d, r, weighted, density))
    center = {"center_atom_weight": 1.0}
    power_law = {"type": "SmearedPowerLaw", "smearing": smearing, "exponent": exponent}
    reciprocal = {"k_cutoff": k_cutoff, "density": power_law | center, "basis": k_space}
    inside = {
        "cutoff": {"radius": cutoff, "smoothing": {"type": "Step"}},
        "density": {"type": "DiracDelta"} | center,  # the tables contain the density already
        "basis": real_space,
    }
    return json.dumps(reciprocal), json.dumps(inside)


def _quadrature(start: float, stop: float, n: int) -> tuple[Array, Array]:
    x, weights = np.polynomial.legendre.leggauss(n)
    half = (stop - start) / 2
    return start + (x + 1) * half, weights * half


def _basis(r: Array, weights: Array, cutoff: float, max_radial: int, angular: int) -> Array:
    """Return the monomials, symmetrically orthonormalized: one column for each n."""
    powers = angular + 2 * np.arange(max_radial + 1)
    functions = (r[:, None] / cutoff) ** powers
    functions /= np.sqrt((weights * r**2) @ functions**2)
    overlap = functions.T @ ((weights * r**2)[:, None] * functions)
    values, vectors = np.linalg.eigh(overlap)
    if values[0] < 1e-12:
        raise ValueError(
            f"max_radial: the {max_radial + 1} monomials of l = {angular} depend linearly on each "
            "other, in floating-point numbers; expected fewer"
        )
    return np.asarray(functions @ (vectors / np.sqrt(values)) @ vectors.T)


def _plane_wave_integrals(
    k: Array, r: Array, weighted: list[Array]
) -> tuple[list[Array], list[Array]]:
    """Integrate r^2 R(r) j_l(k r), for every l, and its slope in k."""
    values, slopes = [], []
    for angular, functions in enumerate(weighted):
        waves = special.spherical_jn(angular, k[:, None] * r)
        wave_slopes = special.spherical_jn(angular, k[:, None] * r, derivative=True) * r
        values.append(waves @ functions)
        slopes.append(wave_slopes @ functions)
    return values, slopes


def _density_integrals(
    d: Array, r: Array, weighted: list[Array], density: Any
) -> tuple[list[Array], list[Array]]:
    """Integrate 2 pi r^2 R(r) P_l(u) g(s) over r and u, s^2 = r^2 + d^2 - 2 r d u; and slopes."""
    u, u_weights = _quadrature(-1.0, 1.0, len(r))
    orders = range(len(weighted))
    legendre = [2 * np.pi * u_weights * special.eval_legendre(angular, u) for angular in orders]
    values = [np.empty((len(d), f.shape[1])) for f in weighted]
    slopes = [np.empty((len(d), f.shape[1])) for f in weighted]
    for i, distance in enumerate(d):
        # One distance at a time: little memory, whatever the number of nodes.
        s = np.sqrt(np.maximum(r[:, None] ** 2 + distance**2 - 2 * distance * r[:, None] * u, 0.0))
        g = density.compute(s, derivative=False)
        slope = density.compute(s, derivative=True)
        slope *= np.divide(distance - r[:, None] * u, s, out=np.zeros_like(s), where=s > 0)
        for angular, functions in enumerate(weighted):
            values[angular][i] = (g @ legendre[angular]) @ functions
            slopes[angular][i] = (slope @ legendre[angular]) @ functions
    return values, slopes


def _explicit(points: Array, values: list[Array], slopes: list[Array]) -> dict[str, Any]:
    tables = {i: _tabulated(points, *v) for i, v in enumerate(zip(values, slopes, strict=True))}
    return {"type": "Explicit", "by_angular": tables, "spline_accuracy": None}


def _tabulated(points: Array, values: Array, slopes: Array) -> dict[str, Any]:
    rows = zip(points.tolist(), values.tolist(), slopes.tolist(), strict=True)
    table = [{"position": p, "values": v, "derivatives": d} for p, v, d in rows]
    return {"type": "Tabulated", "points": table}
