"""Candidates of several rows: which rows belong together."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

_BLOCK_ENTRIES = 2**21


class Members:
    """Which rows of the pool belong to which candidate.

    Parameters
    ----------
    bounds : ndarray of int of shape (n_candidates + 1,)
        First row of every candidate, and the number of all rows.

    Attributes
    ----------
    each : list of (ndarray of shape (m,), ndarray of shape (m, k))
        Candidates of k rows, and these, for every k that there is.
    """

    def __init__(self, bounds: np.ndarray) -> None:
        self.bounds = bounds
        sizes = np.diff(bounds)
        chosen = [(np.flatnonzero(sizes == k), k) for k in np.unique(sizes)]
        self.each = [(c, bounds[c][:, None] + np.arange(k)) for c, k in chosen]

    def __len__(self) -> int:
        return len(self.bounds) - 1

    def parts(self, width: int) -> Iterator[tuple[int, slice]]:
        """Iterate over pieces of `each`, their rows of `width` entries being a few MB.

        Yields
        ------
        int, slice
            Place in `each`, and which of the candidates there.
        """
        for i, (_, rows) in enumerate(self.each):
            step = max(1, _BLOCK_ENTRIES // (rows.shape[1] * max(width, rows.shape[1])))
            for start in range(0, len(rows), step):
                yield i, slice(start, start + step)

    def of(self, p: int) -> slice:
        """Return the rows of one candidate."""
        return slice(self.bounds[p], self.bounds[p + 1])


def rows_of(members: Members | None, p: int) -> slice:
    """Return the rows of a candidate: without members, the one of its own number."""
    return slice(p, p + 1) if members is None else members.of(p)
