"""Methods that answer row by row, of Dask collections: lazily, chunk by chunk."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from ._chunks import check_chunks, example, is_frame


def by_chunks(model: Any, name: str, X: Any, *args: Any, **kwargs: Any) -> Any:
    """Return what a method of a model says of every row, as lazy Dask arrays.

    Parameters
    ----------
    model : fitted model
        Whose method it is; changes after this call do not matter.
    name : str
        The method. It is asked about one row right away, so that errors come early.
    X : dask.array.Array or dask.dataframe.DataFrame
        A row per sample.
    *args, **kwargs
        What else it takes.

    Returns
    -------
    dask.array.Array or tuple of these
        Of unknown chunk sizes where X is a data frame.

    Examples
    --------
    >>> import dask.array as da
    >>> import numpy as np
    >>> from skrigidity import RigidRidge
    >>> from skrigidity.distributed import by_chunks
    >>> model = RigidRidge().fit(np.eye(3), np.arange(3.0))
    >>> by_chunks(model, "prediction_rigidity", da.ones((4, 3), chunks=(2, 3))).shape
    (4,)
    """
    check_chunks(X, "X")
    asked = (name, args, kwargs)
    one = _answer(example(X), (model, *asked))
    many = isinstance(one, tuple)
    if many and len({np.shape(part) for part in one}) > 1:
        raise ValueError(f"{name} has no answer row by row with these arguments")
    one = np.asarray(one)
    lazy = _lazy(X, (as_shipped(model), *asked), np.moveaxis(one, 0, -1) if many else one)
    return tuple(lazy[..., i] for i in range(len(one))) if many else lazy


def as_shipped(model: Any) -> Any:
    """Return a shallow copy of a model, its Hessians without the rows that made them."""
    out = copy.copy(model)
    if hasattr(model, "_hessians"):
        light = {id(factor): copy.copy(factor) for factor in model._hessians}
        for factor in light.values():
            factor.source = None
        out._hessians = [light[id(factor)] for factor in model._hessians]
        out.hessian_ = light[id(model.hessian_)]
    return out


def _answer(X: Any, call: tuple[Any, ...]) -> Any:
    model, name, args, kwargs = call
    return getattr(model, name)(X, *args, **kwargs)


def _stacked(X: Any, trailing: tuple[int, ...], call: tuple[Any, ...]) -> np.ndarray:
    """Return the answer for one chunk, several arrays along a last axis."""
    if len(X) == 0:
        return np.zeros((0, *trailing))
    answer = _answer(X, call)
    return np.stack(answer, axis=-1) if isinstance(answer, tuple) else np.asarray(answer)


def _lazy(X: Any, call: tuple[Any, ...], like: np.ndarray) -> Any:
    import dask.array as da
    from dask.delayed import delayed

    trailing = like.shape[1:]
    shipped = delayed(call, pure=False, traverse=False)
    if is_frame(X):
        task = delayed(_stacked, pure=False)
        parts = [
            da.from_delayed(task(part, trailing, shipped), (np.nan, *trailing), like.dtype)
            for part in X.to_delayed()
        ]
        return da.concatenate(parts)
    axes = {f"axis{i}": size for i, size in enumerate(trailing)}
    return da.blockwise(
        _stacked,
        ("row", *axes),
        X,
        ("row", "column"),
        new_axes=axes,
        dtype=like.dtype,
        meta=np.empty((0,) * like.ndim, dtype=like.dtype),
        concatenate=True,
        trailing=trailing,
        call=shipped,
    )
