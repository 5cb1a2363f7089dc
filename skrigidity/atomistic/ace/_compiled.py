"""The loops of derivatives, compiled by numba; imported only where numba is installed.

Inner loops run over whole rows of arrays without calls or slices in between: that is what LLVM
makes fast code of.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[np.float64]
Ints = NDArray[np.intp]


# Sums may be reordered, which lets them use wide registers.
_FASTMATH = {"reassoc", "contract"}


def _compile(function: Callable[..., Any]) -> Callable[..., Any]:
    try:
        return njit(function, cache=True, nogil=True, fastmath=_FASTMATH)
    except RuntimeError:  # no place for files that may be written to
        return njit(function, nogil=True, fastmath=_FASTMATH)


@_compile
def add_rows(
    rows: Any, entries: Any, batch: Any, jacobian: Array, columns: Ints, totals: Array
) -> None:
    """Add derivatives of the functions: see `skrigidity.atomistic.ace._gradients.add_rows`."""
    ends, which = entries.ends, entries.rows
    for i in range(len(batch.centers)):
        if batch.first[i] == batch.last[i]:
            continue
        table, targets = _derivatives(rows, batch, i), _targets(batch, i, totals.shape[1] - 6)
        width = table.shape[1]
        weights, sums = np.empty(len(which)), np.empty(width)
        for e in range(len(which)):
            weights[e] = jacobian[entries.entries[e], i]
        for f in range(columns.shape[1]):
            e, last = ends[f], ends[f + 1]
            if e == last:
                continue
            for q in range(width):
                sums[q] = 0.0
            while e + 4 <= last:
                w0, w1, w2, w3 = weights[e], weights[e + 1], weights[e + 2], weights[e + 3]
                t0, t1 = table[which[e]], table[which[e + 1]]
                t2, t3 = table[which[e + 2]], table[which[e + 3]]
                for q in range(width):
                    sums[q] += w0 * t0[q] + w1 * t1[q] + w2 * t2[q] + w3 * t3[q]
                e += 4
            while e < last:
                w0, t0 = weights[e], table[which[e]]
                for q in range(width):
                    sums[q] += w0 * t0[q]
                e += 1
            total = totals[columns[i, f]]
            for q in range(width):
                if targets[q] >= 0:
                    total[targets[q]] += sums[q]


@_compile
def _targets(batch: Any, i: int, strain: int) -> Ints:
    """Return where each column of the table of derivatives goes; -1 for nowhere."""
    first, n = batch.first[i], batch.last[i] - batch.first[i]
    targets = np.full(3 * n + 9, -1)
    for c in range(3):
        targets[3 * n + c] = 3 * batch.centers[i] + c
        for j in range(n):
            # An atom's own images move with it.
            if batch.atoms[first + j] != batch.centers[i]:
                targets[c * n + j] = 3 * batch.atoms[first + j] + c
    for s in range(6):
        targets[3 * n + 3 + s] = strain + s
    return targets


@_compile
def _derivatives(rows: Any, batch: Any, i: int) -> Array:
    """Differentiate the densities of an environment by neighbors, its center and strain."""
    first, n = batch.first[i], batch.last[i] - batch.first[i]
    radial = _radial(rows, batch, i)
    values, slopes = np.empty((2, radial.shape[1], 3 * n))
    harmonics, gradients = np.empty((2, batch.harmonics.shape[1], 3 * n))
    fixed = np.zeros((9, 3 * n))
    for j in range(n):
        pair = first + j
        vector = batch.vectors[pair]
        r = np.sqrt(vector[0] ** 2 + vector[1] ** 2 + vector[2] ** 2)
        for c in range(3):
            q = c * n + j
            for p in range(len(slopes)):
                values[p, q] = radial[0, p, j]
                slopes[p, q] = radial[1, p, j] * vector[c] / r
            for h in range(len(harmonics)):
                harmonics[h, q] = batch.harmonics[pair, h]
                gradients[h, q] = batch.gradients[pair, c, h]
            if batch.atoms[pair] != batch.centers[i]:
                fixed[c, q] = -1.0
            fixed[3 + c, q] = vector[c]
            for b in range(3):
                if b != c:  # yz, xz, xy: 6, 7, 8
                    fixed[9 - b - c, q] = vector[b] / 2
    table = np.empty((len(rows.radial), 3 * n + 9))
    w0, w1, w2, w3, w4, w5, w6, w7, w8 = fixed
    for v in range(len(rows.radial)):
        slope, value = slopes[rows.radial[v]], values[rows.radial[v]]
        harmonic, gradient = harmonics[rows.harmonic[v]], gradients[rows.harmonic[v]]
        row = table[v]
        for q in range(3 * n):
            row[q] = slope[q] * harmonic[q] + value[q] * gradient[q]
        s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = s8 = 0.0
        for q in range(3 * n):
            s0 += row[q] * w0[q]
            s1 += row[q] * w1[q]
            s2 += row[q] * w2[q]
            s3 += row[q] * w3[q]
            s4 += row[q] * w4[q]
            s5 += row[q] * w5[q]
            s6 += row[q] * w6[q]
            s7 += row[q] * w7[q]
            s8 += row[q] * w8[q]
        row[3 * n], row[3 * n + 1], row[3 * n + 2] = s0, s1, s2
        row[3 * n + 3], row[3 * n + 4], row[3 * n + 5] = s3, s4, s5
        row[3 * n + 6], row[3 * n + 7], row[3 * n + 8] = s6, s7, s8
    return table


@_compile
def _radial(rows: Any, batch: Any, i: int) -> Array:
    """Return radial functions of an environment, products too, and their slopes."""
    pairs, first = slice(batch.first[i], batch.last[i]), len(batch.radial)
    # Copies, as rows that are a power of 2 apart would push each other out of the cache.
    out = np.empty((2, first + len(rows.products), batch.last[i] - batch.first[i]))
    out[0, :first], out[1, :first] = batch.radial[:, pairs], batch.slopes[:, pairs]
    values, slopes = out
    for p in range(len(rows.products)):
        value, slope = values[rows.products[p, 0]], slopes[rows.products[p, 0]]
        factor, factor_slope = values[rows.products[p, 1]], slopes[rows.products[p, 1]]
        product, product_slope = values[first + p], slopes[first + p]
        for j in range(len(value)):
            product[j] = value[j] * factor[j]
            product_slope[j] = slope[j] * factor[j] + value[j] * factor_slope[j]
    return out


@_compile
def add_sums(rows: Any, batch: Any, densities: Array) -> None:
    """Write the densities (n_densities, n_environments) of one neighbor species."""
    for i in range(len(batch.centers)):
        pairs = slice(batch.first[i], batch.last[i])
        radial, harmonics = _radial(rows, batch, i)[0], batch.harmonics[pairs].T.copy()
        for v in range(len(rows.rows)):
            value, harmonic = radial[rows.radial[v]], harmonics[rows.harmonic[v]]
            total = 0.0
            for j in range(len(value)):
                total += value[j] * harmonic[j]
            densities[rows.rows[v], i] = total


@_compile
def add_adjoint(
    monomials: Ints, coefficients: Array, densities: Array, values: Array, adjoint: Array
) -> None:
    """Add a polynomial and derivatives: see `skrigidity.atomistic.ace._gradients.add_adjoint`."""
    degree, n = monomials.shape[1], len(values)
    # Products of the coefficient with the factors before each one, and of all factors behind it.
    before, behind = np.empty((degree + 1, n)), np.empty(n)
    for m in range(len(monomials)):
        for e in range(n):
            before[0, e] = coefficients[m]
            behind[e] = 1.0
        for k in range(degree):
            factor, product, longer = densities[monomials[m, k]], before[k], before[k + 1]
            for e in range(n):
                longer[e] = product[e] * factor[e]
        product = before[degree]
        for e in range(n):
            values[e] += product[e]
        for k in range(degree - 1, -1, -1):
            factor, product = densities[monomials[m, k]], before[k]
            total = adjoint[monomials[m, k]]
            for e in range(n):
                total[e] += product[e] * behind[e]
                behind[e] *= factor[e]


@_compile
def add_forces(rows: Any, batch: Any, adjoint: Array, totals: Array) -> None:
    """Add derivatives of linear functions: see `skrigidity.atomistic.ace._gradients.add_forces`."""
    n_harmonics = batch.harmonics.shape[1]
    strain = totals.shape[1] - 6
    for i in range(len(batch.centers)):
        first, n = batch.first[i], batch.last[i] - batch.first[i]
        radial, slopes = _radial(rows, batch, i)
        for k in range(adjoint.shape[0]):
            along, across = np.zeros((2, n_harmonics, n))
            for v in range(len(rows.radial)):
                w = adjoint[k, rows.rows[v], i]
                value, slope = radial[rows.radial[v]], slopes[rows.radial[v]]
                a, b = along[rows.harmonic[v]], across[rows.harmonic[v]]
                for j in range(n):
                    a[j] += w * slope[j]
                    b[j] += w * value[j]
            total = totals[k]
            for j in range(n):
                pair = first + j
                x, y, z = batch.vectors[pair]
                r = np.sqrt(x * x + y * y + z * z)
                s = fx = fy = fz = 0.0
                for h in range(n_harmonics):
                    s += along[h, j] * batch.harmonics[pair, h]
                    fx += across[h, j] * batch.gradients[pair, 0, h]
                    fy += across[h, j] * batch.gradients[pair, 1, h]
                    fz += across[h, j] * batch.gradients[pair, 2, h]
                fx, fy, fz = fx + s * x / r, fy + s * y / r, fz + s * z / r
                atom, center = 3 * batch.atoms[pair], 3 * batch.centers[i]
                if atom != center:
                    total[atom] += fx
                    total[atom + 1] += fy
                    total[atom + 2] += fz
                    total[center] -= fx
                    total[center + 1] -= fy
                    total[center + 2] -= fz
                total[strain] += fx * x
                total[strain + 1] += fy * y
                total[strain + 2] += fz * z
                total[strain + 3] += (fy * z + fz * y) / 2
                total[strain + 4] += (fx * z + fz * x) / 2
                total[strain + 5] += (fx * y + fy * x) / 2
