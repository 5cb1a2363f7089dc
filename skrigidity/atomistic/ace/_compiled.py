"""The loops of `_gradients`, compiled by numba; imported only where numba is installed."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[np.float64]
Ints = NDArray[np.intp]
# Sums may be reordered, which lets them use wide registers.
_compile = njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})


@_compile
def add_rows(rows: Any, batch: Any, columns: Ints, totals: Array) -> None:
    """Add derivatives of the functions: see `skrigidity.atomistic.ace._gradients.add_rows`."""
    longest = np.max(batch.ends[1:] - batch.ends[:-1])
    table = np.empty((len(rows.species), 3 * longest + 9))
    buffer = np.empty(3 * longest + 9)
    for i in range(len(batch.centers)):
        n = batch.ends[i + 1] - batch.ends[i]
        starts = _starts(rows, batch, i)
        targets = _targets(starts, batch, i, totals.shape[1] - 6)
        _fill(table, starts, rows, batch, i)
        for f in range(columns.shape[1]):
            first, last = rows.entry_ends[f], rows.entry_ends[f + 1]
            used = buffer[: 3 * n + 9]
            used[:] = 0.0
            _multiply(used, table, starts, rows, batch.jacobian[:, i], first, last)
            total = totals[columns[i, f]]
            for q in range(len(used)):
                total[targets[q]] += used[q]


@_compile
def _starts(rows: Any, batch: Any, i: int) -> Ints:
    """Return where the neighbors of each species begin, among those of an environment."""
    species = batch.species[batch.ends[i] : batch.ends[i + 1]]
    return np.searchsorted(species, np.arange(rows.n_species + 1))


@_compile
def _targets(starts: Ints, batch: Any, i: int, strain: int) -> Ints:
    """Return where the columns of a table go: x, y, z of the neighbors of a species in turn."""
    first, n = batch.ends[i], starts[-1]
    targets = np.empty(3 * n + 9, dtype=np.intp)
    for z in range(len(starts) - 1):
        size = starts[z + 1] - starts[z]
        for j in range(size):
            for c in range(3):
                where = 3 * starts[z] + c * size + j
                targets[where] = 3 * batch.atoms[first + starts[z] + j] + c
    for c in range(3):
        targets[3 * n + c] = 3 * batch.centers[i] + c
    for s in range(6):
        targets[3 * n + 3 + s] = strain + s
    return targets


@_compile
def _fill(table: Array, starts: Ints, rows: Any, batch: Any, i: int) -> None:
    """Differentiate the densities of an environment by neighbors, its center and strain."""
    first, n = batch.ends[i], starts[-1]
    vectors, pairs = batch.vectors[first : first + n].T.copy(), slice(first, first + n)
    directions = vectors / np.sqrt((vectors**2).sum(axis=0))
    harmonics = batch.harmonics[pairs].T.copy()
    gradients = batch.gradients[pairs].transpose(2, 1, 0).copy()
    others = np.empty(n)
    for j in range(n):
        # An atom's own images move with it.
        others[j] = batch.atoms[first + j] != batch.centers[i]
    alone = others.min() == 0.0 if n else False
    for v in range(len(rows.species)):
        z, p, h = rows.species[v], rows.radial[v], rows.harmonic[v]
        a, size = starts[z], starts[z + 1] - starts[z]
        values, slopes = batch.radial[p, first + a :][:size], batch.slopes[p, first + a :][:size]
        y, r = harmonics[h, a : a + size], vectors[:, a : a + size]
        fixed = table[v, 3 * n :]
        sums = np.zeros((3, 3))
        for c in range(3):
            out = table[v, 3 * a + c * size :][:size]
            u, dy = directions[c, a : a + size], gradients[h, c, a : a + size]
            for j in range(size):
                out[j] = slopes[j] * u[j] * y[j] + values[j] * dy[j]
            for b in range(3):
                product = 0.0
                for j in range(size):
                    product += out[j] * r[b, j]
                sums[c, b] = product
            if alone:
                for j in range(size):
                    out[j] *= others[a + j]
            fixed[c] = -out.sum()
        fixed[3], fixed[4], fixed[5] = sums[0, 0], sums[1, 1], sums[2, 2]
        fixed[6] = (sums[1, 2] + sums[2, 1]) / 2
        fixed[7] = (sums[0, 2] + sums[2, 0]) / 2
        fixed[8] = (sums[0, 1] + sums[1, 0]) / 2


@_compile
def _multiply(
    out: Array, table: Array, starts: Ints, rows: Any, entries: Array, first: int, last: int
) -> None:
    """Add rows of the table, times entries: four at a time where their neighbors are the same."""
    n = starts[-1]
    e = first
    while e < last:
        z = rows.species[rows.entry_rows[e]]
        a, b = 3 * starts[z], 3 * starts[z + 1]
        if e + 4 <= last and rows.species[rows.entry_rows[e + 3]] == z:
            w0, w1, w2, w3 = entries[e], entries[e + 1], entries[e + 2], entries[e + 3]
            t0, t1 = table[rows.entry_rows[e]], table[rows.entry_rows[e + 1]]
            t2, t3 = table[rows.entry_rows[e + 2]], table[rows.entry_rows[e + 3]]
            for q in range(a, b):
                out[q] += w0 * t0[q] + w1 * t1[q] + w2 * t2[q] + w3 * t3[q]
            for q in range(3 * n, 3 * n + 9):
                out[q] += w0 * t0[q] + w1 * t1[q] + w2 * t2[q] + w3 * t3[q]
            e += 4
        else:
            w0, t0 = entries[e], table[rows.entry_rows[e]]
            for q in range(a, b):
                out[q] += w0 * t0[q]
            for q in range(3 * n, 3 * n + 9):
                out[q] += w0 * t0[q]
            e += 1


@_compile
def add_forces(rows: Any, batch: Any, adjoint: Array, totals: Array) -> None:
    """Add derivatives of linear functions: see `skrigidity.atomistic.ace._gradients.add_forces`."""
    n_harmonics = batch.harmonics.shape[1]
    strain = totals.shape[1] - 6
    longest = np.max(batch.ends[1:] - batch.ends[:-1])
    by_radial = np.empty((2, n_harmonics, longest))
    for i in range(len(batch.centers)):
        first, n = batch.ends[i], batch.ends[i + 1] - batch.ends[i]
        starts = _starts(rows, batch, i)
        for k in range(adjoint.shape[0]):
            by_radial[:, :, :n] = 0.0
            for v in range(len(rows.species)):
                z, p, h, w = rows.species[v], rows.radial[v], rows.harmonic[v], adjoint[k, i, v]
                a, b = starts[z], starts[z + 1]
                values, slopes = batch.radial[p, first + a :], batch.slopes[p, first + a :]
                along, across = by_radial[0, h, a:b], by_radial[1, h, a:b]
                for j in range(b - a):
                    along[j] += w * slopes[j]
                    across[j] += w * values[j]
            total = totals[k]
            for j in range(n):
                pair = first + j
                x, y, z = batch.vectors[pair]
                r = np.sqrt(x * x + y * y + z * z)
                s = fx = fy = fz = 0.0
                for h in range(n_harmonics):
                    s += by_radial[0, h, j] * batch.harmonics[pair, h]
                    fx += by_radial[1, h, j] * batch.gradients[pair, 0, h]
                    fy += by_radial[1, h, j] * batch.gradients[pair, 1, h]
                    fz += by_radial[1, h, j] * batch.gradients[pair, 2, h]
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
