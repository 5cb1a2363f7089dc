"""Components: named groups of feature columns."""

from __future__ import annotations

import re
from collections.abc import Mapping
from fnmatch import fnmatchcase
from itertools import pairwise
from typing import Any

import numpy as np

from ..environments import Environments


def carried_components(X: Any) -> dict[str, Any]:
    """Return the components that training data bring along, for ``components="auto"``.

    Parameters
    ----------
    X : Environments or DataFrame
        Either with the components that a descriptor attached; else a DataFrame whose columns are
        named ``"component__rest"``, as `ColumnTransformer` names them.

    Returns
    -------
    dict of str to slice, ndarray of int or list of column names
        Columns by the names of the components.

    Raises
    ------
    ValueError
        If `X` brings none.

    Examples
    --------
    >>> import pandas as pd
    >>> from skrigidity.gradients import carried_components
    >>> carried_components(pd.DataFrame([[1, 2, 3]], columns=["s__a", "s__b", "l__a"]))
    {'s': ['s__a', 's__b'], 'l': ['l__a']}
    """
    if isinstance(X, Environments) and X.components is not None:
        return dict(X.components)
    columns = getattr(X, "columns", None)
    names = [] if columns is None else list(columns)
    attached = getattr(X, "attrs", {}).get("components", {})
    owner = {column: name for name, members in attached.items() for column in members}
    for name in names:
        if isinstance(name, str) and "__" in name:
            owner.setdefault(name, name.partition("__")[0])
    if not names or any(name not in owner for name in names):
        raise ValueError(
            "components='auto' needs data that know their components: Environments or DataFrames "
            "that a descriptor made (set_output(transform='pandas')), or columns named "
            f"'component__rest'; got {_seen(X, [name for name in names if name not in owner])}: "
            "give components by themselves"
        )
    found: dict[str, Any] = {}
    for name in names:
        found.setdefault(owner[name], []).append(name)
    return found


def _seen(X: Any, strangers: list[Any]) -> str:
    if not strangers:
        return f"{type(X).__name__} without any"
    return f"columns {strangers[:3]}" + (", ..." if len(strangers) > 3 else "")


def resolve_components(
    components: Any,
    n_features: int,
    feature_names: Any = None,
    *,
    cover: bool = False,
    remainder: str | None = None,
) -> dict[str, np.ndarray]:
    """Return the columns of every component.

    Parameters
    ----------
    components : list of int, list of slice or index arrays, dict, or object with ``components_``
        Block sizes that add up to `n_features`; one column specification per component (slice,
        integers, boolean mask, column names or patterns of names); the same by name; or a fitted
        descriptor. A string is a column name or a shell-style pattern (``"soap_*"``), a compiled
        regular expression is searched for in the names.
    n_features : int
        Number of feature columns.
    feature_names : array-like of str, default=None
        Names that a specification may use.
    cover : bool, default=False
        Whether every column must be in a component.
    remainder : str, default=None
        Name of one more component, made of the columns that are in no other.

    Returns
    -------
    dict of str to ndarray of int
        Columns by the names of the components.

    Raises
    ------
    ValueError
        If sizes do not add up, components overlap, name unknown columns or leave some out.

    Examples
    --------
    >>> from skrigidity.gradients import resolve_components
    >>> resolve_components({"soap": "s*"}, 3, ["s1", "s2", "q"], remainder="rest")
    {'soap': array([0, 1]), 'rest': array([2])}
    """
    components = _of_descriptor(components)
    if isinstance(components, Mapping):
        named = {str(name): columns for name, columns in components.items()}
        if len(named) < len(components):
            raise ValueError(f"components must have distinct names, got {list(components)}")
    elif isinstance(components, str) or not hasattr(components, "__len__"):
        raise ValueError(
            "components must be block sizes, column specifications or a dict of them, "
            f"got {components!r}"
        )
    else:
        named = _from_sequence(components, n_features)
    if not named:
        raise ValueError("components must name at least one component")
    out = {name: _columns(name, spec, n_features, feature_names) for name, spec in named.items()}
    _check_disjoint(out)
    left = np.setdiff1d(np.arange(n_features), np.concatenate(list(out.values())))
    if remainder is not None:
        if remainder in out:
            raise ValueError(f"remainder={remainder!r} is the name of another component")
        out[remainder] = left
    elif cover and left.size:
        names = left if feature_names is None else np.asarray(feature_names)[left]
        raise ValueError(
            f"columns {names.tolist()} are in no component of {list(out)}: add them, or name a "
            "component for them with remainder"
        )
    return out


def _of_descriptor(components: Any) -> Any:
    components = getattr(components, "components_", components)
    if hasattr(components, "get_params"):
        raise ValueError(
            f"components: this {type(components).__name__} has no components_, it is not fitted "
            "(clone, and so cross-validation, forgets a fit): pass its components_ instead"
        )
    return components


def _from_sequence(components: Any, n_features: int) -> dict[str, Any]:
    if all(isinstance(c, int | np.integer) for c in components):
        sizes = [int(c) for c in components]
        if min(sizes, default=1) < 0 or sum(sizes) != n_features:
            raise ValueError(
                f"components {sizes} are block sizes that add up to {sum(sizes)}, "
                f"expected {n_features}, the number of features"
            )
        ends = np.cumsum([0, *sizes])
        return {f"component{i}": slice(a, b) for i, (a, b) in enumerate(pairwise(ends))}
    names = [c if isinstance(c, str) else f"component{i}" for i, c in enumerate(components)]
    if len(set(names)) < len(names):
        raise ValueError(f"components overlap: the same column name twice in {names}")
    return dict(zip(names, components, strict=True))


def _columns(name: str, spec: Any, n_features: int, feature_names: Any) -> np.ndarray:
    if isinstance(spec, slice):
        ends = [end for end in (spec.start, spec.stop) if end is not None]
        if max(ends, default=0) > n_features or min(ends, default=0) < -n_features:
            raise ValueError(f"component {name!r} is {spec}, but there are {n_features} columns")
        return np.arange(n_features)[spec]
    if isinstance(spec, str | re.Pattern):
        spec = [spec]
    spec = np.asarray(spec)
    if spec.dtype.kind in "UOT":
        return _by_name(name, spec, feature_names)
    if spec.dtype == bool:
        if spec.shape != (n_features,):
            raise ValueError(
                f"component {name!r}: mask must have {n_features} entries, got {spec.shape}"
            )
        return np.flatnonzero(spec)
    columns = np.atleast_1d(spec)
    if columns.size == 0:
        return columns.astype(np.intp)
    if columns.dtype.kind not in "iu" or columns.ndim != 1:
        raise ValueError(
            f"component {name!r} must be given as a slice, integers, a mask or column names"
        )
    wrong = columns[(columns < -n_features) | (columns >= n_features)]
    if wrong.size:
        raise ValueError(
            f"component {name!r} has columns {wrong.tolist()}, expected 0 to {n_features - 1}"
        )
    return columns % n_features


def _by_name(name: str, spec: np.ndarray, feature_names: Any) -> np.ndarray:
    if feature_names is None:
        raise ValueError(
            f"component {name!r} is given by column names, but the model was fitted without: "
            "fit it on a DataFrame"
        )
    position = {column: i for i, column in enumerate(feature_names)}
    chosen = {entry: _matches(entry, position) for entry in spec.tolist()}
    unknown = [getattr(entry, "pattern", entry) for entry, found in chosen.items() if not found]
    if unknown:
        raise ValueError(
            f"component {name!r} names unknown columns {unknown}; known: {list(position)}"
        )
    # What two patterns of one component both match counts once.
    columns = dict.fromkeys(column for found in chosen.values() for column in found)
    return np.array(list(columns), dtype=np.intp)


def _matches(entry: Any, position: Mapping[str, int]) -> list[int]:
    """Return the columns that a name, a shell-style pattern or a regular expression means."""
    if isinstance(entry, re.Pattern):
        return [i for name, i in position.items() if entry.search(name)]
    if entry in position:
        return [position[entry]]
    if not isinstance(entry, str):
        return []
    return [i for name, i in position.items() if fnmatchcase(name, entry)]


def _check_disjoint(components: dict[str, np.ndarray]) -> None:
    owner: dict[int, str] = {}
    for name, columns in components.items():
        for column in columns.tolist():
            if column in owner:
                raise ValueError(
                    f"components overlap: column {column} is in {owner[column]!r} and {name!r}"
                )
            owner[column] = name
