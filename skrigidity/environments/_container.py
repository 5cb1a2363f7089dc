"""The flat container for structures made of environments."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from skrigidity._html import table
from skrigidity.environments._arithmetic import Components, EnvironmentArithmetic

# Rows of this many bytes at a time stay in the cache while they are summed, checked or cast.
_BLOCK_BYTES = 1 << 20


class Environments(EnvironmentArithmetic):
    """Structures made of environments, stored flat.

    scikit-learn's splitters, searches and pipelines see an array of shape
    ``(n_structures, n_features)`` whose rows are structures; they index it and never convert it.
    What does convert it, such as a plain ``StandardScaler`` or a ``FeatureUnion``, gets a
    TypeError that names what to use instead.

    Operators apply to the features of all environments, with numbers, arrays of shape
    ``(n_features,)`` or ``(n_environments, n_features)``, and other Environments with the same
    structures: ``(X - mean) / scale``.

    Parameters
    ----------
    values : array of shape (n_environments, n_features)
        One row per environment, structure after structure. Not copied; a memory map stays one.
    offsets : array of int of shape (n_structures + 1,)
        Structure ``i`` owns the rows ``offsets[i]:offsets[i + 1]``.
    components : dict of str to slice or array of int, default=None
        Named groups of columns, as descriptors give them, for
        ``ComponentRidge(components="auto")``. Selected structures keep them, selected or replaced
        columns do not.

    Raises
    ------
    ValueError
        If the shapes do not fit together or a structure is empty.

    Examples
    --------
    >>> import numpy as np
    >>> from skrigidity.environments import Environments
    >>> X = Environments.from_arrays([np.ones((3, 2)), np.zeros((1, 2))])
    >>> X
    Environments(2 structures, 4 environments, 2 features, float64)
    >>> X.shape, X.sizes
    ((2, 2), array([3, 1]))
    >>> X.aggregate("sum")
    array([[3., 3.],
           [0., 0.]])
    >>> (2 * X - [1.0, 0.0])[0]
    array([[1., 2.],
           [1., 2.],
           [1., 2.]])
    """

    ndim = 2  # as any X of samples and features

    def __init__(
        self, values: ArrayLike, offsets: ArrayLike, components: Components | None = None
    ) -> None:
        self.components = None if components is None else dict(components)
        self.values = values if isinstance(values, np.ndarray) else np.asarray(values)
        if self.values.ndim != 2:
            raise ValueError(f"values: expected a 2-D array, got {self.values.ndim}-D")
        bounds = np.asarray(offsets)
        if bounds.ndim != 1 or bounds.size == 0 or bounds.dtype.kind not in "iu":
            raise ValueError(
                f"offsets: expected a 1-D array of n_structures + 1 integers, got shape "
                f"{bounds.shape} of {bounds.dtype}"
            )
        self.offsets = bounds.astype(np.int64, copy=False)
        if self.offsets[0] != 0 or self.offsets[-1] != len(self.values):
            raise ValueError(
                f"offsets: expected to run from 0 to len(values) = {len(self.values)}, "
                f"got {self.offsets[0]} to {self.offsets[-1]}"
            )
        reject_empty_structures(np.diff(self.offsets), "offsets")

    @classmethod
    def from_arrays(cls, arrays: Sequence[ArrayLike] | NDArray[Any]) -> Environments:
        """Stack one array per structure, each of shape (n_environments_i, n_features).

        Parameters
        ----------
        arrays : sequence of 2-D arrays, or 3-D array
            A 3-D array is viewed, not copied, where it is contiguous.

        Returns
        -------
        Environments
            Values keep their dtype; see :func:`as_environments` for validation.

        Raises
        ------
        ValueError
            Naming the first structure that is not 2-D, is empty or has another width.

        Examples
        --------
        >>> import numpy as np
        >>> from skrigidity import Environments
        >>> X = Environments.from_arrays([np.eye(2), np.ones((1, 2))])
        >>> X.shape
        (2, 2)
        """
        return stack(arrays, "arrays")

    @property
    def shape(self) -> tuple[int, int]:
        """``(n_structures, n_features)``."""
        return len(self), self.values.shape[1]

    @property
    def dtype(self) -> np.dtype[Any]:
        """Data type of the values."""
        return self.values.dtype

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Number of environments of each structure, shape (n_structures,)."""
        return np.diff(self.offsets)

    @property
    def n_environments(self) -> int:
        """Number of environments of all structures together."""
        return len(self.values)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __iter__(self) -> Iterator[NDArray[Any]]:
        return iter(self.split(self.values))

    def __repr__(self) -> str:
        n, d = self.shape
        return (
            f"Environments({n} structures, {self.n_environments} environments, {d} features, "
            f"{self.dtype})"
        )

    def _repr_html_(self) -> str:
        least, most = (self.sizes.min(), self.sizes.max()) if len(self) else (0, 0)
        lines = {
            "structures": len(self),
            "environments": f"{self.n_environments} ({least} to {most} per structure)",
            "features": f"{self.shape[1]}, {self.dtype}",
        }
        if self.components:
            lines["components"] = ", ".join(map(str, self.components))
        return table("Environments", lines)

    def __getitem__(self, key: Any) -> Any:
        """Select structures: an int gives one array, anything else an :class:`Environments`.

        Slices of step 1 are views. A tuple ``(structures, features)``, as scikit-learn's own
        indexing makes, may select columns too; ``...`` keeps them all.
        """
        if isinstance(key, tuple):
            return self._getitem_columns(key)
        if isinstance(key, (int, np.integer)):
            i = range(len(self))[key]
            return self.values[self.offsets[i] : self.offsets[i + 1]]
        if isinstance(key, slice):
            start, stop, step = key.indices(len(self))
            if step == 1:
                return self._span(start, max(start, stop))
            return self._take(np.arange(start, stop, step))
        index = np.asarray(key)
        if index.ndim != 1:
            raise IndexError(f"expected a 1-D index of structures, got {index.ndim}-D")
        return self._take(np.arange(len(self))[index if index.size else index.astype(int)])

    def _getitem_columns(self, key: tuple[Any, ...]) -> Any:
        rows, *rest = key
        rest = [k for k in rest if k is not Ellipsis]
        chosen = self if rows is Ellipsis else self[rows]
        if not rest:
            return chosen
        columns = rest[0]
        if len(rest) > 1 or isinstance(columns, (int, np.integer)):
            raise IndexError("expected [structures, features] with features a slice or a list")
        if isinstance(chosen, Environments):
            return chosen.with_values(chosen.values[:, columns])
        return chosen[:, columns]

    def _span(self, start: int, stop: int) -> Environments:
        bounds = self.offsets[start : stop + 1]
        return trusted(self.values[bounds[0] : bounds[-1]], bounds - bounds[0], self.components)

    def _take(self, indices: NDArray[np.int64]) -> Environments:
        sizes = self.sizes[indices]
        offsets = offsets_of(sizes)
        rows = np.repeat(self.offsets[indices] - offsets[:-1], sizes) + np.arange(offsets[-1])
        return trusted(self.values[rows], offsets, self.components)

    def with_values(
        self, values: NDArray[Any], components: Components | None = None
    ) -> Environments:
        """Return the same structures with other features.

        Parameters
        ----------
        values : array of shape (n_environments, n_features_new)
            The other features.
        components : dict of str to slice or array of int, default=None
            Named groups of the new columns; pass ``X.components`` where they mean the same.

        Returns
        -------
        Environments
            The new container.

        Examples
        --------
        >>> import numpy as np
        >>> from skrigidity import Environments
        >>> X = Environments.from_arrays([np.eye(2), np.ones((1, 2))])
        >>> X.with_values(np.zeros((3, 5))).shape
        (2, 5)
        """
        return Environments(values, self.offsets, components)

    def split(self, flat: NDArray[Any]) -> list[NDArray[Any]]:
        """Split an array with one entry per environment into one view per structure.

        Parameters
        ----------
        flat : array of shape (n_environments, ...)
            Values of all environments.

        Returns
        -------
        list of n_structures arrays of shape (n_environments_i, ...)
            Values by structure.

        Raises
        ------
        ValueError
            If the first axis is not ``n_environments`` long.

        Examples
        --------
        >>> import numpy as np
        >>> from skrigidity import Environments
        >>> X = Environments.from_arrays([np.eye(2), np.ones((1, 2))])
        >>> X.split(np.arange(3))
        [array([0, 1]), array([2])]
        """
        if len(flat) != self.n_environments:
            raise ValueError(f"flat: expected {self.n_environments} entries, got {len(flat)}")
        bounds = self.offsets.tolist()
        return [flat[a:b] for a, b in pairwise(bounds)]

    def blocks(self, max_rows: int) -> Iterator[Environments]:
        """Iterate over consecutive pieces of at most about ``max_rows`` environments.

        Structures are never split: one that is larger makes a piece of its own. The pieces are
        views.

        Parameters
        ----------
        max_rows : int
            Largest number of rows of a block.

        Yields
        ------
        Environments

        Examples
        --------
        >>> import numpy as np
        >>> from skrigidity import Environments
        >>> X = Environments.from_arrays([np.eye(2), np.ones((1, 2))])
        >>> [len(block) for block in X.blocks(2)]
        [1, 1]
        """
        for start, stop in consecutive(self.offsets, max_rows):
            yield self._span(start, stop)

    def aggregate(self, how: Literal["mean", "sum"] = "mean") -> NDArray[np.float64]:
        """Sum or average the environments of each structure.

        Parameters
        ----------
        how : {"mean", "sum"}, default="mean"
            How environments make a structure.

        Returns
        -------
        ndarray of float64 of shape (n_structures, n_features)
            Values of float32 are accumulated in float64, a block at a time.

        Raises
        ------
        ValueError
            If ``how`` is neither.

        Examples
        --------
        >>> import numpy as np
        >>> from skrigidity import Environments
        >>> X = Environments.from_arrays([np.eye(2), np.ones((1, 2))])
        >>> X.aggregate("sum")
        array([[1., 1.],
               [1., 1.]])
        """
        if how not in ("mean", "sum"):
            raise ValueError(f'how: expected "mean" or "sum", got {how!r}')
        sizes = self.sizes
        if len(self) and (sizes == sizes[0]).all() and self.values.flags.c_contiguous:
            # einsum casts in small buffers; it beat reshape().sum() and matmul with ones.
            cube = self.values.reshape(len(self), sizes[0], self.shape[1])
            total = np.einsum("ijk->ik", cube, dtype=np.float64)
        else:
            total = self._sum_ragged()
        return total / sizes[:, None] if how == "mean" else total

    def _sum_ragged(self) -> NDArray[np.float64]:
        # A sparse matrix of ones times the values is 2 to 10 times faster than add.reduceat.
        total = np.empty(self.shape)
        start = 0
        for block in self.blocks(block_rows(self.shape[1])):
            n = block.n_environments
            ones = sparse.csr_array(
                (np.ones(n), np.arange(n), block.offsets), shape=(len(block), n)
            )
            total[start : start + len(block)] = ones @ np.asarray(block.values, dtype=np.float64)
            start += len(block)
        return total


def trusted(
    values: NDArray[Any], offsets: NDArray[np.int64], components: Components | None = None
) -> Environments:
    made = Environments.__new__(Environments)
    made.values, made.offsets, made.components = values, offsets, components
    return made


def offsets_of(sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    offsets = np.zeros(len(sizes) + 1, dtype=np.int64)
    np.cumsum(sizes, out=offsets[1:])
    return offsets


def consecutive(
    offsets: NDArray[np.integer], max_rows: int, max_structures: int | None = None
) -> Iterator[tuple[int, int]]:
    """Divide structures into spans of at most so many rows, or of a single larger structure.

    Parameters
    ----------
    offsets : ndarray of int of shape (n_structures + 1,)
        Where each structure begins, and the end of the last.
    max_rows : int
        Largest number of rows of a block.
    max_structures : int, default=None
        Most structures of a span; None for no limit.

    Yields
    ------
    (start, stop) : tuple of int
        Where the next block begins and ends.

    Examples
    --------
    >>> import numpy as np
    >>> from skrigidity.environments import consecutive
    >>> list(consecutive(np.array([0, 2, 4, 9]), 4))
    [(0, 2), (2, 3)]
    """
    start, n = 0, len(offsets) - 1
    while start < n:
        stop = int(np.searchsorted(offsets, offsets[start] + max_rows, side="right")) - 1
        stop = max(min(stop, start + (max_structures or n)), start + 1)
        yield start, stop
        start = stop


def block_rows(n_features: int) -> int:
    return max(1, _BLOCK_BYTES // (8 * max(1, n_features)))


def reject_empty_structures(sizes: NDArray[np.int64], name: str) -> None:
    if (sizes <= 0).any():
        first = int(np.argmax(sizes <= 0))
        what = "has no environments" if sizes[first] == 0 else "ends before it begins"
        raise ValueError(f"{name}: structure {first} {what}")


def stack(arrays: Any, name: str) -> Environments:
    if isinstance(arrays, np.ndarray) and arrays.ndim == 3:
        n, m, d = arrays.shape
        reject_empty_structures(np.full(n, m), name)
        return trusted(arrays.reshape(n * m, d), np.arange(n + 1, dtype=np.int64) * m)
    if len(arrays) == 0:
        raise ValueError(f"{name}: expected at least one structure, got an empty sequence")
    members = [_as_member(a, i, name) for i, a in enumerate(arrays)]
    sizes = np.array([len(a) for a in members], dtype=np.int64)
    reject_empty_structures(sizes, name)
    widths = np.array([a.shape[1] for a in members])
    if (widths != widths[0]).any():
        first = int(np.argmax(widths != widths[0]))
        raise ValueError(
            f"{name}: structure {first} has {widths[first]} features, expected {widths[0]} as in "
            f"structure 0"
        )
    return trusted(np.concatenate(members), offsets_of(sizes))


def _as_member(member: Any, i: int, name: str) -> NDArray[Any]:
    if sparse.issparse(member):
        raise TypeError(f"{name}: structure {i} is a sparse matrix, expected a dense 2-D array")
    try:
        array = np.asarray(member)
    except ValueError as error:
        raise ValueError(f"{name}: structure {i} is not a rectangular array: {error}") from None
    if array.ndim != 2:
        raise ValueError(
            f"{name}: expected a 2-D array (n_environments, n_features) per structure, "
            f"got a {array.ndim}-D one for structure {i}"
        )
    return array
