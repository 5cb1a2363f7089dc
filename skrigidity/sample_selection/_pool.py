"""Pools of candidates: arrays, memory maps, sparse matrices, structures, or blocks of these."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn.utils import check_array

from ..environments import Environments, as_environments, is_environments
from ..hessian._rows import block_rows


class Pool(ABC):
    """Candidates that can be gone through in blocks, as often as wanted."""

    n_features: int

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def blocks(self) -> Iterator[tuple[slice, Any]]:
        """Iterate over the pool: positions and features (dense, CSR or `Environments`)."""

    @abstractmethod
    def take(self, indices: Any) -> Any:
        """Return the features of some candidates, in the order of `indices`."""


class ArrayPool(Pool):
    """A pool that is one object: an array, perhaps a memory map, a CSR matrix, `Environments`."""

    def __init__(self, X: Any) -> None:
        self.X = X
        self.n_features = int(X.shape[1])

    def __len__(self) -> int:
        return int(self.X.shape[0])

    def blocks(self) -> Iterator[tuple[slice, Any]]:
        """Iterate over slices of the object."""
        step = block_rows(self.n_features)
        for start in range(0, len(self), step):
            piece = slice(start, min(start + step, len(self)))
            yield piece, self.X[piece]

    def take(self, indices: Any) -> Any:
        """Return rows of the object."""
        return self.X[np.asarray(indices, dtype=np.intp)]


class BlockPool(Pool):
    """A pool that comes in blocks, from a function that starts over whenever it is called.

    Parameters
    ----------
    source : callable
        Returns an iterable of blocks, the same every time.
    """

    def __init__(self, source: Callable[[], Any]) -> None:
        self.source = source
        self.n: int | None = None
        self.n_features = 0
        self.n = sum(piece.stop - piece.start for piece, _ in self.blocks())
        if self.n == 0:
            raise ValueError("X: the function returned no block with candidates")

    def __len__(self) -> int:
        assert self.n is not None
        return self.n

    def blocks(self) -> Iterator[tuple[slice, Any]]:
        """Iterate over the blocks, checking each of them."""
        start = 0
        blocks = self.source()
        if not isinstance(blocks, Iterable):
            raise TypeError(
                f"X: the function must return an iterable of blocks, got {type(blocks).__name__}"
            )
        for number, block in enumerate(blocks):
            block = checked(block, f"block {number} of X", self.n_features or None)
            self.n_features = int(block.shape[1])
            stop = start + int(block.shape[0])
            if self.n is not None and stop > self.n:
                break
            yield slice(start, stop), block
            start = stop
        if self.n is not None and start != self.n:
            raise ValueError(
                f"X: the function returned {start} or more candidates where it had returned "
                f"{self.n} before: it must start over at every call"
            )

    def take(self, indices: Any) -> Any:
        """Return some candidates, going through the blocks once, no further than needed."""
        indices = np.asarray(indices, dtype=np.intp)
        last = indices.max(initial=0)
        where: list[np.ndarray] = []
        found: list[Any] = []
        for piece, block in self.blocks():
            here = np.flatnonzero((indices >= piece.start) & (indices < piece.stop))
            if len(here) or not found:
                where.append(here)
                found.append(block[indices[here] - piece.start])
            if last < piece.stop:
                break
        return stacked(found)[np.argsort(np.concatenate(where), kind="stable")]


def collected(blocks: Iterator[Any]) -> Any:
    """Return the blocks of an iterator, which can be gone through once only, as one object."""
    made: list[Any] = []
    for number, block in enumerate(blocks):
        width = int(made[0].shape[1]) if made else None
        made.append(checked(block, f"block {number} of X", width))
    if not made:
        raise ValueError("X: the iterator returned no block")
    return stacked(made)


def stacked(blocks: list[Any]) -> Any:
    """Return blocks of one kind, one below the other."""
    if len(blocks) == 1:
        return blocks[0]
    if isinstance(blocks[0], Environments):
        return Environments.from_arrays([member for block in blocks for member in block])
    if any(sp.issparse(block) for block in blocks):
        return sp.vstack(blocks, format="csr")
    return np.concatenate(blocks)


def checked(X: Any, name: str, n_features: int | None = None) -> Any:
    """Return candidates, targets or training samples: finite numbers of the right width.

    Parameters
    ----------
    X : array-like, sparse matrix or structures of environments
        Samples.
    name : str
        What error messages call them.
    n_features : int, default=None
        Expected number of features.

    Returns
    -------
    ndarray, CSR matrix or Environments
    """
    if is_environments(X):
        X = as_environments(X, name=name)
    else:
        X = named_check(X, name, accept_sparse="csr", dtype=[np.float64, np.float32])
    if n_features is not None and X.shape[1] != n_features:
        raise ValueError(f"{name} has {X.shape[1]} features, expected {n_features} as in the pool")
    return X


def named_check(values: Any, name: str, **options: Any) -> Any:
    """Return what `check_array` does, with the name of the argument in all of its messages."""
    try:
        return check_array(values, input_name=name, **options)
    except (TypeError, ValueError) as error:
        if name in str(error):
            raise
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"{name}: {error}") from None


def fingerprints(X: Any) -> np.ndarray:
    """Return a hash of every sample, the same for equal numbers in whatever container."""
    if isinstance(X, Environments):
        rows: Any = X
    else:
        rows = X.toarray() if sp.issparse(X) else np.asarray(X)
    out = np.empty(len(rows), dtype="S16")
    for i, row in enumerate(rows):
        # Adding 0 makes -0 what it equals.
        data = np.ascontiguousarray(row, dtype=np.float64) + 0.0
        out[i] = hashlib.blake2b(data.tobytes(), digest_size=8).hexdigest().encode()
    return out
