"""Points: arguments of a kernel, each one row or the mean or sum of several."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from ..environments import Environments


class Piece(NamedTuple):
    """Consecutive rows, the points that they belong to, and how they add up to them."""

    rows: Any
    points: slice
    adder: Any  # (n_points, n_rows), None where rows are points

    def add_up(self, values: np.ndarray) -> np.ndarray:
        """Return one row of `values` per point, from one per row."""
        return values if self.adder is None else self.adder @ values


class Points:
    """What a kernel is evaluated at: rows, or structures, which average or sum over their rows.

    Parameters
    ----------
    X : ndarray, CSR matrix or Environments
        A row per point, or structures of environments.
    aggregate : {"mean", "sum"}
        How environments make up a structure.

    Examples
    --------
    >>> import numpy as np
    >>> from skrigidity import Environments
    >>> from skrigidity.gradients import Points
    >>> X = Environments.from_arrays([np.eye(2), np.ones((1, 2))])
    >>> Points(X, "mean").aggregated.values
    array([[0.5, 0.5],
           [1. , 1. ]])
    """

    def __init__(self, X: Any, aggregate: str) -> None:
        self.X = X
        self.aggregate = aggregate

    def __len__(self) -> int:
        return int(self.X.shape[0])

    def __getitem__(self, key: slice) -> Points:
        return Points(self.X[key], self.aggregate)

    @property
    def structured(self) -> bool:
        """Whether a point may be made of several rows."""
        return isinstance(self.X, Environments)

    @property
    def values(self) -> Any:
        """The rows of all points."""
        return self.X.values if self.structured else self.X

    @cached_property
    def aggregated(self) -> Points:
        """The same points, one row of mean or summed features each."""
        return Points(self.X.aggregate(self.aggregate), self.aggregate) if self.structured else self

    def pieces(self, max_rows: int) -> Iterator[Piece]:
        """Iterate over the rows, at most `max_rows` at a time, whatever point they belong to.

        Parameters
        ----------
        max_rows : int
            Number of rows at a time.

        Yields
        ------
        Piece
            The next rows.
        """
        n = self.values.shape[0]
        if self.structured:
            owner = np.repeat(np.arange(len(self)), self.X.sizes)
            share = 1.0 / self.X.sizes if self.aggregate == "mean" else np.ones(len(self))
        for start in range(0, n, max_rows):
            stop = min(start + max_rows, n)
            rows = as_float64(self.values[start:stop])
            if not self.structured:
                yield Piece(rows, slice(start, stop), None)
                continue
            mine = owner[start:stop]
            first, end = int(mine[0]), int(mine[-1]) + 1
            entries = (share[mine], (mine - first, np.arange(stop - start)))
            adder = sp.csr_array(entries, shape=(end - first, stop - start))
            yield Piece(rows, slice(first, end), adder)

    def spans(self, max_rows: int) -> Iterator[slice]:
        """Iterate over slices of whole points, of about `max_rows` rows where points have fewer.

        Parameters
        ----------
        max_rows : int
            Number of rows at a time.

        Yields
        ------
        slice
            The next points.
        """
        if not self.structured:
            for start in range(0, len(self), max_rows):
                yield slice(start, min(start + max_rows, len(self)))
            return
        start = 0
        for block in self.X.blocks(max_rows):
            yield slice(start, start + len(block))
            start += len(block)


def as_float64(rows: Any) -> Any:
    """Return rows in float64, a copy only where they are not."""
    return rows.astype(np.float64, copy=False)
