"""Power spectra of spherical expansions, and the columns that they fill."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from skrigidity.frames import symbol


class SpectrumColumns:
    """Columns of the products of two expansion coefficients of equal l, summed over m.

    Pairs of neighbor species come first, then l, then the pairs of radial indices.

    Parameters
    ----------
    species : array of int
        Atomic numbers, sorted.
    max_radial, max_angular : int
    shared : bool
        Whether atoms of all kinds share columns.
    merge : bool
        Whether of two products that differ in the order of their factors one is kept, times the
        square root of 2.
    """

    def __init__(
        self,
        species: NDArray[np.int64],
        max_radial: int,
        max_angular: int,
        *,
        shared: bool,
        merge: bool,
    ) -> None:
        self.species, self.shared, self.merge = species, shared, merge
        self.shape = (max_angular + 1, len(species), max_radial + 1)
        grid = np.indices((len(species), len(species), *self.shape[:1], *(self.shape[2:] * 2)))
        first, second, angular, n1, n2 = grid.reshape(5, -1)
        i, j = first * self.shape[2] + n1, second * self.shape[2] + n2
        kept = i <= j if merge else np.ones(len(i), dtype=bool)
        self._labels = grid.reshape(5, -1).T[kept]
        self._source = (angular[kept], i[kept], j[kept])
        self._scale = np.where(merge & (i < j), np.sqrt(2), 1.0)[kept]
        self.per_center = len(self._scale)
        self.n_columns = self.per_center * (1 if shared else len(species))

    def names(self) -> list[str]:
        """Return one name per column, such as ``"O:H-O l=1 n=0,2"``."""
        symbols = [symbol(number) for number in self.species]
        tails = [
            f"{symbols[a]}-{symbols[b]} l={angular} n={n1},{n2}"
            for a, b, angular, n1, n2 in self._labels.tolist()
        ]
        if self.shared:
            return tails
        return [f"{center}:{tail}" for center in symbols for tail in tails]

    def dense(self, tensors: list[Any], numbers: list[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
        """Return one row per atom.

        Parameters
        ----------
        tensors : list of TensorMap
            An expansion from featomic, and one to be subtracted if there are two. Species that a
            center does not see may be absent.
        numbers : list of arrays of int
            The atomic numbers of each frame.
        dtype : dtype
        """
        offsets, centers = np.cumsum([0, *map(len, numbers)]), np.concatenate(numbers)
        rows = np.empty((len(centers), self.per_center))
        for angular, c in enumerate(self._expansion(tensors, offsets)):
            chosen = np.flatnonzero(self._source[0] == angular)
            products = np.einsum("ami,amj->aij", c, c, optimize=True)
            scale = self._scale[chosen] / np.sqrt(2 * angular + 1)
            rows[:, chosen] = products[:, self._source[1][chosen], self._source[2][chosen]] * scale
        if self.shared:
            return rows.astype(dtype)
        out = np.zeros((len(rows), len(self.species), self.per_center), dtype=dtype)
        out[np.arange(len(rows)), np.searchsorted(self.species, centers)] = rows
        return out.reshape(len(rows), self.n_columns)

    def _expansion(self, tensors: list[Any], offsets: NDArray[np.int64]) -> list[NDArray[Any]]:
        """Return dense coefficients (n_atoms, 2 l + 1, n_species * n_radial) for every l."""
        n_angular, n_species, n_radial = self.shape
        out = [np.zeros((offsets[-1], 2 * i + 1, n_species * n_radial)) for i in range(n_angular)]
        for tensor, sign in zip(tensors, (1.0, -1.0), strict=False):
            for key, block in tensor.items():
                rows = offsets[block.samples.column("system")] + block.samples.column("atom")
                start = int(np.searchsorted(self.species, int(key["neighbor_type"]))) * n_radial
                coefficients = out[int(key["o3_lambda"])]
                coefficients[rows, :, start : start + n_radial] += sign * block.values
        return out
