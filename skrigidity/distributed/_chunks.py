"""Chunks of Dask arrays and partitions of Dask data frames, checked against each other."""

from __future__ import annotations

import sys
from collections.abc import Callable
from numbers import Number
from typing import Any, NamedTuple

import numpy as np

from ..environments import is_chunked


def is_frame(X: Any) -> bool:
    """Tell whether X is a Dask data frame or series."""
    frames = sys.modules.get("dask.dataframe")
    return frames is not None and isinstance(X, frames.DataFrame | frames.Series)


def is_array(X: Any) -> bool:
    """Tell whether X is a Dask array."""
    arrays = sys.modules.get("dask.array")
    return arrays is not None and isinstance(X, arrays.Array)


class Chunks(NamedTuple):
    """Features with all that goes with their rows, divided alike.

    Attributes
    ----------
    X : dask.array.Array or dask.dataframe.DataFrame
        Features.
    y, weight : Dask array, series or data frame, number or None
        Targets and sample weights.
    """

    X: Any
    y: Any = None
    weight: Any = None

    @classmethod
    def aligned(cls, X: Any, y: Any, weight: Any) -> Chunks:
        """Return checked collections, what is in memory divided as X is.

        Raises
        ------
        ValueError
            If X is divided along its features, chunk sizes are unknown, or those of `y` or
            `sample_weight` are others than those of X.
        """
        check_chunks(X, "X")
        return cls(X, _beside(X, y, "y"), _beside(X, weight, "sample_weight"))

    @property
    def n_rows(self) -> int | None:
        """Number of rows, None where partitions of data frames have not been counted."""
        return None if is_frame(self.X) else int(self.X.shape[0])

    def sample(self) -> tuple[Any, Any]:
        """Return one row of X and y with the names and types of all others, in memory."""
        return example(self.X), None if self.y is None else example(self.y)

    def tasks(self, function: Callable[..., Any], name: str, **constants: Any) -> list[Any]:
        """Return ``function(x, y, weight, **constants)`` of every chunk, each a `Delayed`.

        One task does it together with whatever makes the chunk, as far as Dask fuses these.
        `constants` are arguments in memory or delayed, the same for all chunks.
        """
        if is_frame(self.X):
            from dask.dataframe import map_partitions

            made = map_partitions(
                function,
                self.X,
                self.y,
                self.weight,
                meta=(None, object),
                enforce_metadata=False,
                align_dataframes=False,
                **constants,
            )
            return list(made.to_delayed())
        from dask.array import blockwise
        from dask.base import tokenize

        pairs: list[Any] = []
        for part, letters in zip(self, ("ij", "ik", "i"), strict=True):
            divided = is_chunked(part)
            pairs += [part, letters[: part.ndim] if divided else None]
        made = blockwise(
            function,
            "i",
            *pairs,
            name=f"{name}-{tokenize(*pairs, constants)}",
            dtype=object,
            meta=np.empty(0, dtype=object),
            concatenate=True,
            align_arrays=False,
            **constants,
        )
        return list(made.to_delayed().ravel())


def check_chunks(X: Any, name: str) -> None:
    """Raise ValueError unless every chunk has whole rows, and their number is known.

    Parameters
    ----------
    X : dask.array.Array or dask.dataframe.DataFrame
        Features.
    name : str
        What messages call it.

    Examples
    --------
    >>> import dask.array as da
    >>> from skrigidity.distributed import check_chunks
    >>> check_chunks(da.ones((6, 2), chunks=(3, 2)), "X")
    """
    if not (is_array(X) or is_frame(X)):
        kind = type(X).__name__
        raise TypeError(f"{name} must be a Dask array or a Dask data frame, got a {kind}")
    if X.ndim != 2:
        raise ValueError(f"{name} must be 2-D, got a {X.ndim}-D Dask collection")
    if is_frame(X):
        return
    _check_sizes(X, name)
    if X.numblocks[1] > 1:
        raise ValueError(
            f"{name} is divided along its features, in chunks of {X.chunks[1]}: every chunk must "
            f"have whole rows, {name} = {name}.rechunk({{1: -1}})"
        )


def example(part: Any) -> Any:
    """Return one row of a collection with the names and types of all others, in memory.

    Parameters
    ----------
    part : Dask collection
        Features, targets or weights.

    Returns
    -------
    ndarray or DataFrame
        One row.

    Examples
    --------
    >>> import dask.array as da
    >>> from skrigidity.distributed import example
    >>> example(da.ones((6, 2), chunks=(3, 2)))
    array([[1., 1.]])
    """
    if is_frame(part):
        return part._meta_nonempty.iloc[:1]
    return np.ones((1, *(int(size) for size in part.shape[1:])), dtype=part.dtype)


def _beside(X: Any, part: Any, name: str) -> Any:
    """Return what goes with the rows of X: targets or weights."""
    if part is None or isinstance(part, Number):
        return part
    if is_frame(X):
        return _beside_frame(X, part, name)
    if is_frame(part):
        part = part.to_dask_array(lengths=True)
    if not is_chunked(part):
        part = _divided(X, np.asarray(part), name)
    _check_sizes(part, name)
    if part.ndim > 2 or part.ndim == 0:
        raise ValueError(f"{name} must be 1-D or 2-D, got a {part.ndim}-D array")
    if part.chunks[0] != X.chunks[0]:
        sizes = _few(part.chunks[0]), _few(X.chunks[0])
        if part.shape[0] != X.shape[0]:
            raise ValueError(
                f"X and {name} have inconsistent numbers of samples: {X.shape[0]} and "
                f"{part.shape[0]}"
            )
        raise ValueError(
            f"{name} is divided in other chunks than X, {sizes[0]} against {sizes[1]}: "
            f"{name} = {name}.rechunk({{0: X.chunks[0]}})"
        )
    return part.rechunk({1: -1}) if part.ndim == 2 else part


def _divided(X: Any, part: Any, name: str) -> Any:
    from dask.array import from_array

    if part.ndim == 0 or len(part) != X.shape[0]:
        raise ValueError(
            f"X and {name} have inconsistent numbers of samples: {X.shape[0]} and "
            f"{len(part) if part.ndim else 1}"
        )
    return from_array(part, chunks=(X.chunks[0], *part.shape[1:]))


def _beside_frame(X: Any, part: Any, name: str) -> Any:
    if not is_chunked(part):
        raise ValueError(
            f"{name} must be a Dask collection of as many partitions as the data frame X, got "
            f"{type(part).__name__}"
        )
    if not is_frame(part):
        part = part.to_dask_dataframe()
    if part.npartitions != X.npartitions:
        raise ValueError(
            f"{name} must have as many partitions as X, {X.npartitions}, got {part.npartitions}"
        )
    return part


def _check_sizes(part: Any, name: str) -> None:
    if np.isnan(part.shape).any():
        raise ValueError(
            f"{name} has chunks of unknown sizes: let Dask find them, {name}.compute_chunk_sizes()"
        )


def _few(sizes: tuple[int, ...]) -> str:
    return str(sizes if len(sizes) <= 5 else (*sizes[:4], ...)).replace("Ellipsis", "...")
