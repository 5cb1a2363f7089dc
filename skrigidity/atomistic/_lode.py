"""Radial integrals of a smeared power law in the monomial basis, tabulated for featomic.

featomic's ``SoapSpliner`` integrates densities other than Gaussians adaptively, one integral at a
time, which takes minutes. Here all integrals share one Gauss-Legendre rule: a fraction of a second,
and as accurate.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from skrigidity.atomistic._frames import require

# A cubic Hermite spline with spacing h errs by (k h)^4 / 384 relative to a wave of wave number k:
# 1e-10 at this phase per step.
_PHASE_STEP = 0.014
_NODES = 64


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


def _quadrature(
    start: float, stop: float, n: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    x, weights = np.polynomial.legendre.leggauss(n)
    half = (stop - start) / 2
    return start + (x + 1) * half, weights * half


def _basis(
    r: NDArray[Any], weights: NDArray[Any], cutoff: float, max_radial: int, angular: int
) -> NDArray[np.float64]:
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
    k: NDArray[np.float64], r: NDArray[np.float64], weighted: list[NDArray[np.float64]]
) -> tuple[list[NDArray[np.float64]], list[NDArray[np.float64]]]:
    """Integrate r^2 R(r) j_l(k r), for every l, and its slope in k."""
    values, slopes = [], []
    for angular, functions in enumerate(weighted):
        waves = special.spherical_jn(angular, k[:, None] * r)
        wave_slopes = special.spherical_jn(angular, k[:, None] * r, derivative=True) * r
        values.append(waves @ functions)
        slopes.append(wave_slopes @ functions)
    return values, slopes


def _density_integrals(
    d: NDArray[np.float64],
    r: NDArray[np.float64],
    weighted: list[NDArray[np.float64]],
    density: Any,
) -> tuple[list[NDArray[np.float64]], list[NDArray[np.float64]]]:
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


def _explicit(
    points: NDArray[np.float64],
    values: list[NDArray[np.float64]],
    slopes: list[NDArray[np.float64]],
) -> dict[str, Any]:
    tables = {}
    for angular, (v, s) in enumerate(zip(values, slopes, strict=True)):
        rows = zip(points.tolist(), v.tolist(), s.tolist(), strict=True)
        table = [{"position": p, "values": a, "derivatives": b} for p, a, b in rows]
        tables[angular] = {"type": "Tabulated", "points": table}
    return {"type": "Explicit", "by_angular": tables, "spline_accuracy": None}
