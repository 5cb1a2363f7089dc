"""Pools of candidates: arrays, memory maps, sparse matrices, structures, or blocks of these."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn.frozen import FrozenEstimator
from sklearn.utils import check_array, get_tags

from ..distributed import check_chunks
from ..environments import Environments, as_environments, is_environments
from ..hessian import block_rows

# Of so many frames the features of all atoms are in memory at once.
_OBJECTS = 64


class ArrayPool:
    """A pool that is one object: an array, perhaps a memory map, a CSR matrix, `Environments`."""

    n_features: int | None

    def __init__(self, X: Any) -> None:
        self.X = X
        self.n_features = int(X.shape[1])

    def __len__(self) -> int:
        return int(self.X.shape[0])

    def blocks(self) -> Iterator[tuple[slice, Any]]:
        """Iterate over the pool: positions and features (dense, CSR or `Environments`)."""
        step = block_rows(self.n_features or 1)
        for start in range(0, len(self), step):
            piece = slice(start, min(start + step, len(self)))
            yield piece, self.X[piece]

    def take(self, indices: Any) -> Any:
        """Return the features of some candidates, in the order of `indices`."""
        return self.X[np.asarray(indices, dtype=np.intp)]


class ObjectPool(ArrayPool):
    """A pool of objects that only its model knows how to read, such as frames."""

    def __init__(self, X: list[Any]) -> None:
        self.X = X
        self.n_features = None

    def __len__(self) -> int:
        return len(self.X)

    def blocks(self) -> Iterator[tuple[slice, Any]]:
        """Iterate over the pool, a few objects at a time."""
        for start in range(0, len(self), _OBJECTS):
            piece = slice(start, min(start + _OBJECTS, len(self)))
            yield piece, self.X[piece]

    def take(self, indices: Any) -> Any:
        """Return some of the objects."""
        return [self.X[i] for i in indices]


class BlockPool:
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
        for block in checked_blocks(blocks):
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


class ChunkPool:
    """A pool that stays in the chunks of a Dask collection.

    Parameters
    ----------
    X : dask.array.Array or dask.dataframe.DataFrame
        A row per candidate; partitions of a data frame are counted.
    """

    # No chunk is brought here: whoever asks for blocks needs the pool in memory.
    blocks: Callable[[], Iterator[tuple[slice, Any]]]

    def __init__(self, X: Any) -> None:
        check_chunks(X, "X")
        self.X = X.to_dask_array(lengths=True) if hasattr(X, "columns") else X
        self.n_features, self.sample = int(self.X.shape[1]), np.ones((1, self.X.shape[1]))

    def __len__(self) -> int:
        return int(self.X.shape[0])

    def parts(self) -> Iterator[tuple[slice, Any]]:
        """Iterate over positions and delayed chunks, without those that are empty."""
        start = 0
        for size, part in zip(self.X.chunks[0], self.X.to_delayed().ravel(), strict=True):
            if size:
                yield slice(start, start + size), part
            start += size

    def take(self, indices: Any) -> Any:
        """Return some candidates, which alone leave their chunks."""
        numbers, place = np.unique(np.asarray(indices, dtype=np.intp), return_inverse=True)
        return self.X[numbers].compute()[place]


Pool = ArrayPool | BlockPool | ChunkPool


def checked_blocks(blocks: Any) -> Iterator[Any]:
    """Check block after block; their numbers of features must be the same."""
    width = None
    for number, block in enumerate(blocks):
        block = checked(block, f"block {number} of X", width)
        width = int(block.shape[1])
        yield block


def collected(blocks: Iterator[Any]) -> Any:
    """Return the blocks of an iterator, which can be gone through once only, as one object."""
    made = list(checked_blocks(blocks))
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
    elif not (type(X) is np.ndarray and X.dtype == float and X.ndim == 2 and X.size and _plain(X)):
        X = named_check(X, name, accept_sparse="csr", dtype=[np.float64, np.float32])
    if n_features is not None and X.shape[1] != n_features:
        raise ValueError(f"{name} has {X.shape[1]} features, expected {n_features} as in the pool")
    if not _plain(X.values if isinstance(X, Environments) else X.data if sp.issparse(X) else X):
        raise ValueError(f"{name} must have entries up to 1e150: scale its features")
    return X


def _plain(numbers: np.ndarray) -> bool:
    """Whether there are numbers, all finite and with finite squares."""
    return not numbers.size or -1e150 <= float(numbers.min()) <= float(numbers.max()) <= 1e150


def named_check(values: Any, name: str, **options: Any) -> Any:
    """Return what `check_array` does, with the name of the argument in all of its messages."""
    try:
        return check_array(values, input_name=name, **options)
    except (TypeError, ValueError) as error:
        if name in str(error):
            raise
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"{name}: {error}") from None


def fingerprints(X: Any) -> list[str]:
    """Return a hash of every sample, the same for equal numbers in whatever container."""
    if isinstance(X, list):
        rows = [_numbers_of(each) for each in X]
    else:
        rows = X.toarray() if sp.issparse(X) else X
    # Adding 0 makes -0 what it equals.
    data = ((np.ascontiguousarray(row, dtype=np.float64) + 0.0).tobytes() for row in rows)
    return [hashlib.blake2b(each, digest_size=8).hexdigest() for each in data]


def _numbers_of(frame: Any) -> np.ndarray:
    """Return the numbers that make a frame what it is: none of an object of another kind."""
    names = ("numbers", "positions", "cell", "pbc")
    parts = [np.ravel(getattr(frame, name)) for name in names if hasattr(frame, name)]
    return np.concatenate([np.empty(0), *parts])


def weights(values: Any, n: int, name: str) -> np.ndarray:
    """Return weights that are not negative, one per sample; 1 where there are none."""
    if values is None:
        return np.ones(n)
    values = named_check(values, name, ensure_2d=False, dtype=np.float64)
    if values.shape != (n,):
        raise ValueError(f"{name} must have shape ({n},), got {values.shape}")
    if (values < 0).any():
        raise ValueError(f"{name} must have no negative entry")
    return values


def positive(values: Any, n: int, name: str) -> np.ndarray:
    """Return weights that are positive throughout; 1 where there are none."""
    values = weights(values, n, name)
    if not values.all():
        raise ValueError(f"{name} must be positive throughout")
    return values


def on_disk(X: Any) -> bool:
    """Tell whether an array, or what it is a view of, is a memory map."""
    while X is not None:
        if isinstance(X, np.memmap):
            return True
        X = getattr(X, "values", getattr(X, "base", None))
    return False


def unfrozen(estimator: Any) -> Any:
    """Return the estimator that a `FrozenEstimator` holds, or itself."""
    return estimator.estimator if isinstance(estimator, FrozenEstimator) else estimator


def takes_objects(estimator: Any) -> bool:
    """Tell whether an estimator takes what is no matrix, such as frames."""
    estimator = unfrozen(estimator)
    return hasattr(estimator, "fit") and not get_tags(estimator).input_tags.two_d_array
