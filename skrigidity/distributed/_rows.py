"""Training rows whose matrix is made of chunks."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from functools import cached_property, reduce
from operator import add
from typing import Any, NamedTuple

import numpy as np

from ..hessian import Accumulator, GramAccumulator, Rows
from ._chunks import Chunks
from ._tree import merged_in_tree


class ChunkedRows(Rows):
    """Rows that are made from chunks where these are: accumulators are sent to them.

    Parameters
    ----------
    chunks : Chunks
        Features, targets and weights.
    make : RowMaker
        Makes the rows of a chunk.
    like : Rows
        Any rows with as many features and right-hand sides, and an intercept or none.

    Examples
    --------
    >>> import dask.array as da
    >>> from skrigidity import RigidRidge
    >>> from skrigidity.distributed import ChunkedRows, chunked_rows
    >>> X = da.ones((6, 2), chunks=(3, 2))
    >>> rows, _ = chunked_rows(RigidRidge(), X, X[:, 0], None, reset=True)
    >>> isinstance(rows, ChunkedRows), len(rows.collected())
    (True, 6)
    """

    matrix: Any = None  # in no one memory
    intercept: Any = None

    def __init__(self, chunks: Chunks, make: RowMaker, like: Rows) -> None:
        self._widths = like.n_features, like.n_rhs, like.has_intercept
        self.chunks, self.make = chunks, make
        self._gram: GramAccumulator | None = None

    n_features = property(lambda self: self._widths[0])
    n_rhs = property(lambda self: self._widths[1])
    has_intercept = property(lambda self: self._widths[2])

    def __len__(self) -> int:
        return self._n_rows

    def seen(self) -> Rows:
        """Return the rows; whoever takes the chunks leaves out those of weight zero.

        Returns
        -------
        Rows
            The rows.
        """
        return self

    @cached_property
    def _n_rows(self) -> int:
        known = self.chunks.n_rows
        return int(self.over_chunks(len, "rigidity-count") if known is None else known)

    @cached_property
    def _sums(self) -> np.ndarray:
        return self.over_chunks(_sums, "rigidity-sums", self.make.estimator)

    def over_chunks(
        self,
        function: Callable[..., Any],
        name: str,
        *arguments: Any,
        merge: Callable[[list[Any]], Any] | None = None,
    ) -> Any:
        """Return ``function(rows, *arguments)`` of the rows of all chunks, merged in a tree.

        Parameters
        ----------
        function : callable
            What is done with the rows of one chunk.
        name : str
            What the dashboard calls it.
        *arguments : tuple
            What it needs besides; sent once, not per chunk.
        merge : callable, default=None
            Merges a list of results; None adds them up.

        Returns
        -------
        object
            Sums over the chunks.
        """
        from dask.delayed import delayed

        call = delayed((function, self.make, arguments), pure=False, traverse=False)
        tasks = self.chunks.tasks(_on_rows, name, call=call)
        return merged_in_tree(tasks, merge or added_up, f"{name}-merge")

    def reduced(self, like: Accumulator) -> Accumulator:
        """Return an accumulator of all rows; sums come with the first.

        Parameters
        ----------
        like : Accumulator
            One of the same kind.

        Returns
        -------
        Accumulator
            One that has seen all rows.
        """
        empty = empty_like(like)
        plain = isinstance(empty, GramAccumulator) and empty.precondition is None
        if not (plain and self._gram):
            name = f"rigidity-{type(empty).__name__.removesuffix('Accumulator').lower()}"
            out = self.over_chunks(_accumulated, name, empty, self.make.estimator, merge=_merged)
            self._sums, self._n_rows = out.sums, out.n_rows
            if not self._sums[1] > 0:
                raise ValueError("sample_weight must not be zero throughout")
            if not plain:
                return out.accumulator
            self._gram = out.accumulator
        assert self._gram is not None
        return self._gram

    def rss(self, coef: np.ndarray, intercept: Any = 0.0) -> np.ndarray:
        """Return weighted residual sums of squares.

        Parameters
        ----------
        coef : ndarray of shape (n_features, n_rhs)
            Coefficients.
        intercept : ndarray of shape (n_rhs,)
            Intercepts.

        Returns
        -------
        ndarray of shape (n_rhs,)
            Weighted sums.
        """
        return np.asarray(self.over_chunks(Rows.rss, "rigidity-residuals", coef, intercept))

    def sums(self, *, size: bool = False) -> np.ndarray:
        """Return weighted sums over rows and right-hand sides, or of their absolute values.

        Parameters
        ----------
        size : bool, default=False
            Whether to add up absolute values.

        Returns
        -------
        ndarray
            The sums.
        """
        if not size:
            return self._sums
        return self.over_chunks(_sums, "rigidity-sums", self.make.estimator, True)

    def collected(self) -> Rows:
        """Return all rows in memory: for rows no more than a Hessian has.

        Returns
        -------
        Rows
            All rows.
        """
        parts = self.over_chunks(_listed, "rigidity-rows")
        return Rows.joined(parts, self.n_features, self.n_rhs)


class Summed(NamedTuple):
    """What one pass over the rows of some chunks leaves."""

    accumulator: Any
    sums: np.ndarray
    n_rows: int


class RowMaker:
    """Makes rows of a chunk as an estimator does of a whole training set.

    Parameters
    ----------
    estimator : estimator
        With `_training_rows`, which has been called for one row of the same kind.
    like : Rows
        What that returned.
    """

    def __init__(self, estimator: Any, like: Rows) -> None:
        self.estimator, self.nothing = estimator, like[:0]

    def __call__(self, X: Any, y: Any, weight: Any) -> Rows:
        """Return the rows of one chunk; none where all have weight zero."""
        if len(X) == 0:
            return self.nothing
        unseen = weight is not None and not np.any(weight)
        rows, _ = self.estimator._training_rows(X, y, None if unseen else weight, reset=False)
        return self.nothing if unseen else rows


def empty_like(accumulator: Any) -> Any:
    """Return an accumulator of the same kind that has seen nothing.

    Parameters
    ----------
    accumulator : Accumulator
        Keeps what it was made with under the names of its parameters.

    Returns
    -------
    Accumulator
        An empty one.

    Examples
    --------
    >>> from skrigidity.distributed import empty_like
    >>> from skrigidity.hessian import GramAccumulator
    >>> empty_like(GramAccumulator(3, 1)).n_features
    3
    """
    names = inspect.signature(type(accumulator)).parameters
    return type(accumulator)(**{name: getattr(accumulator, name) for name in names})


def chunked_rows(
    estimator: Any, X: Any, y: Any, sample_weight: Any, *, reset: bool
) -> tuple[ChunkedRows, tuple[int, ...]]:
    """Return what ``estimator._training_rows`` makes of Dask collections, chunk by chunk.

    Parameters
    ----------
    estimator : estimator
        With `_training_rows`, which is called for one row in memory here, and then for every
        chunk with ``reset=False``, where the chunk is.
    X : dask.array.Array or dask.dataframe.DataFrame
        Features.
    y : Dask array, series or data frame, or array in memory
        Targets.
    sample_weight : the same, number or None
        Weights.
    reset : bool
        Whether the estimator is to be fitted to these data.

    Returns
    -------
    rows : ChunkedRows
        The rows.
    shape : tuple of int
        The shape of one target.

    Examples
    --------
    >>> import dask.array as da
    >>> from skrigidity import RigidRidge
    >>> from skrigidity.distributed import chunked_rows
    >>> X = da.ones((6, 2), chunks=(3, 2))
    >>> rows, shape = chunked_rows(RigidRidge(), X, X[:, 0], None, reset=True)
    >>> len(rows), rows.n_features, shape
    (6, 2, ())
    """
    if reset and estimator.calibration in ("loo", "loo_noise"):
        raise ValueError(
            f"calibration={estimator.calibration!r} needs all samples in one memory: use another "
            "calibration, or calibrate() with held-out data"
        )
    if y is None:
        raise ValueError("y must be given, got None")
    chunks = Chunks.aligned(X, y, sample_weight)
    like, shape = estimator._training_rows(*chunks.sample(), None, reset=reset)
    return ChunkedRows(chunks, RowMaker(without_hessian(estimator), like), like), shape


def without_hessian(estimator: Any) -> Any:
    """Return a shallow copy of an estimator for making rows.

    Parameters
    ----------
    estimator : estimator
        Fitted or not.

    Returns
    -------
    estimator
        The copy, without Hessians.

    Examples
    --------
    >>> from skrigidity import RigidRidge
    >>> from skrigidity.distributed import without_hessian
    >>> without_hessian(RigidRidge(alpha=2.0)).alpha
    2.0
    """
    out = copy.copy(estimator)
    for name in ("_hessians", "hessian_"):
        out.__dict__.pop(name, None)
    return out


def _on_rows(X: Any, y: Any, weight: Any, *, call: tuple[Any, ...]) -> Any:
    function, make, arguments = call
    return function(make(X, y, weight), *arguments)


def _accumulated(rows: Rows, empty: Accumulator, estimator: Any) -> Summed:
    return Summed(empty_like(empty).add(rows), estimator._sums(rows), len(rows))


def _merged(parts: list[Summed]) -> Summed:
    total = parts[0].accumulator.copy()
    for part in parts[1:]:
        total.merge(part.accumulator)
    sums = added_up([part.sums for part in parts])
    return Summed(total, sums, sum(part.n_rows for part in parts))


def _sums(rows: Rows, estimator: Any, size: bool = False) -> np.ndarray:
    return estimator._sums(rows, size=size)


def _listed(rows: Rows) -> list[Rows]:
    return [rows]


def added_up(parts: list[Any]) -> Any:
    """Return the sum of arrays or lists."""
    return reduce(add, parts)
