"""Recognizing and validating structures made of environments."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import DTypeLike, NDArray
from sklearn import get_config
from sklearn.utils import _array_api
from sklearn.utils.fixes import parse_version, sp_version

from skrigidity.environments._container import Environments, block_rows, stack, trusted

# Below, scikit-learn refuses to dispatch.
DISPATCHES = bool(sp_version >= parse_version("1.14"))


def array_namespace(X: Any) -> Any:
    """Return the namespace of an array that is not NumPy's; None for all input of the host.

    Without scikit-learn's ``array_api_dispatch`` all input is that of the host.
    """
    if isinstance(X, np.ndarray) or not get_config()["array_api_dispatch"]:
        return None
    if isinstance(X, list | tuple) and len(X) and array_namespace(X[0]) is not None:
        raise TypeError(
            "X: structures of environments take NumPy arrays; of other arrays, a single matrix"
        )
    if not (hasattr(X, "__dlpack__") or hasattr(X, "__array_namespace__")):
        return None
    xp = _array_api.get_namespace(X)[0]
    return None if "numpy" in xp.__name__ else xp


def namespace(array: Any) -> Any:
    """Return NumPy, or the namespace of an array that is not NumPy's."""
    return array_namespace(array) or np


def is_environments(X: Any) -> bool:
    """Tell whether ``X`` is made of structures of environments rather than of plain rows.

    Parameters
    ----------
    X : object
        What may be samples.

    Returns
    -------
    bool
        True for :class:`Environments`, 3-D arrays, and lists, tuples and 1-D object arrays whose
        first member is a 2-D array. False for all that is 2-D itself, and lists of lists of
        numbers.

    Examples
    --------
    >>> import numpy as np
    >>> from skrigidity.environments import is_environments
    >>> is_environments([np.ones((3, 2)), np.ones((5, 2))])
    True
    >>> is_environments(np.ones((3, 2)))
    False
    """
    if isinstance(X, Environments):
        return True
    if isinstance(X, np.ndarray) and (X.dtype != object or X.ndim != 1):
        return X.ndim == 3
    if isinstance(X, (list, tuple, np.ndarray)) and len(X) > 0:
        return getattr(X[0], "ndim", None) == 2
    return False


def is_chunked(X: Any) -> bool:
    """Tell whether ``X`` is a Dask collection; imports nothing.

    Parameters
    ----------
    X : object
        What may be such a collection.

    Returns
    -------
    bool
        True for Dask collections.

    Examples
    --------
    >>> import numpy as np
    >>> from skrigidity.environments import is_chunked
    >>> is_chunked(np.ones((3, 2)))
    False
    """
    return type(X).__module__.startswith("dask")


def check_features(X: Any, name: str = "X") -> None:
    """Raise an error if ``X`` is something else than features, and say what to do instead.

    Call it before NumPy sees ``X``. It looks at types and lengths only, and copies nothing.

    Parameters
    ----------
    X : object
        What may be samples.
    name : str, default="X"
        What error messages call it.

    Raises
    ------
    TypeError
        If ``X`` is a frame (``ase.Atoms``) or holds frames.
    ValueError
        If ``X`` is a list of rows that differ in length or mixes rows with matrices.

    Examples
    --------
    >>> import numpy as np
    >>> from skrigidity.environments import check_features
    >>> check_features(np.ones((3, 2)))
    >>> check_features([np.ones(3), np.ones(5)])
    Traceback (most recent call last):
        ...
    ValueError: X: row 1 has 5 entries, expected 3 as in row 0; ...
    """
    members = X if _is_sequence(X) else [X]
    if any(hasattr(m, "get_chemical_symbols") and hasattr(m, "positions") for m in members):
        raise TypeError(
            f"{name}: expected features, got ase.Atoms; a descriptor of skrigidity.atomistic turns "
            'frames into features, for example FeatomicDescriptor(output="environments") (a row '
            'per atom; "mean" or "sum": a row per frame) as the first step of a pipeline'
        )
    if members is not X or is_environments(X):
        return
    lengths = [len(row) for row in X if _is_row(row)]
    if lengths and any(getattr(member, "ndim", 0) == 2 for member in X):
        raise ValueError(f"{name}: expected rows or 2-D arrays, one per structure, got both")
    for i, length in enumerate(lengths):
        if length != lengths[0]:
            raise ValueError(
                f"{name}: row {i} has {length} entries, expected {lengths[0]} as in row 0; "
                "structures of environments are 2-D arrays of shape (n_environments, n_features)"
            )


def check_targets(y: Any, X: Any, name: str = "y") -> None:
    """Raise an error if ``X`` has structures and ``y`` not one target for each.

    Parameters
    ----------
    y : array-like, or None
        Targets.
    X : Environments, sequence of 2-D arrays, 3-D array, or matrix
        The samples that they belong to.
    name : str, default="y"
        What error messages call it.

    Raises
    ------
    ValueError
        If ``y`` has one entry per environment, flat or as one array per structure, or another
        number of entries than ``X`` has structures. Matrices are left to scikit-learn's checks.

    Examples
    --------
    >>> import numpy as np
    >>> from skrigidity.environments import check_targets
    >>> check_targets(np.zeros(5), [np.ones((3, 2)), np.ones((2, 2))])
    Traceback (most recent call last):
        ...
    ValueError: y: expected one target per structure, got one per environment (atom); ...
    """
    structured = is_environments(X) and hasattr(y, "__len__")
    n = len(X) if structured else 0
    n_rows = X.n_environments if isinstance(X, Environments) else sum(map(len, X)) if n else 0
    ragged = _is_sequence(y) and len({len(row) for row in y if _is_row(row)}) > 1
    if ragged or (structured and len(y) == n_rows != n):
        raise ValueError(
            f"{name}: expected one target per structure, got one per environment (atom); to learn "
            "targets of environments, fit on their rows, as_environments(X).values"
        )
    if structured and len(y) != n:
        raise ValueError(f"{name}: expected one entry for each of {n} structures, got {len(y)}")


def _is_sequence(X: Any) -> bool:
    objects = getattr(getattr(X, "dtype", None), "kind", "") == "O" and X.ndim == 1
    return objects or isinstance(X, (list, tuple))


def _is_row(member: Any) -> bool:
    return isinstance(member, (list, tuple)) or getattr(member, "ndim", None) == 1


def as_environments(
    X: Any,
    *,
    name: str = "X",
    dtype: Literal["numeric"] | DTypeLike = "numeric",
    ensure_all_finite: bool = True,
) -> Environments:
    """Validate structures made of environments and return them stored flat.

    Parameters
    ----------
    X : Environments, sequence of 2-D arrays (n_environments_i, n_features), or 3-D array
        Structures.
    name : str, default="X"
        What error messages call it.
    dtype : "numeric" or dtype, default="numeric"
        ``"numeric"`` keeps float32 and float64 and turns everything else into float64.
    ensure_all_finite : bool, default=True
        Whether to reject NaN and infinity.

    Returns
    -------
    Environments
        ``X`` itself where nothing had to change.

    Raises
    ------
    ValueError
        If ``X`` is empty, has complex, NaN or infinite entries, or its structures are empty or
        disagree in width; the message names the argument and the first such structure.
    TypeError
        If ``X`` is something else, or its entries are not numbers.

    Examples
    --------
    >>> import numpy as np
    >>> from skrigidity.environments import as_environments
    >>> as_environments([np.ones((3, 2)), np.ones((5, 2))])
    Environments(2 structures, 8 environments, 2 features, float64)
    >>> as_environments([np.ones((3, 2)), np.ones((5, 4))])
    Traceback (most recent call last):
        ...
    ValueError: X: structure 1 has 4 features, expected 2 as in structure 0
    """
    if not isinstance(X, Environments):
        check_features(X, name)
        if not isinstance(X, (list, tuple, np.ndarray)):
            raise TypeError(
                f"{name}: expected Environments, a sequence of 2-D arrays or a 3-D array, "
                f"got {type(X).__name__}"
            )
        X = stack(X, name)
    if len(X) == 0 or X.shape[1] == 0:
        what = "structure" if len(X) == 0 else "feature"
        raise ValueError(f"{name}: expected at least one {what}, got shape {X.shape}")
    values = _as_numeric(X.values, name, dtype)
    made = X if values is X.values else trusted(values, X.offsets, X.components)
    if ensure_all_finite:
        _reject_nonfinite(made, name)
    return made


def _as_numeric(values: NDArray[Any], name: str, dtype: Any) -> NDArray[Any]:
    kind = values.dtype.kind
    if kind == "c":
        raise ValueError(f"{name}: expected real numbers, got complex ones")
    if isinstance(dtype, str) and dtype == "numeric":
        dtype = values.dtype if values.dtype in (np.float32, np.float64) else np.float64
    if kind not in "fiubO":
        raise TypeError(f"{name}: expected numbers, got {values.dtype}")
    try:
        return values.astype(dtype, copy=False)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name}: expected numbers, got objects: {error}") from None


def _reject_nonfinite(X: Environments, name: str) -> None:
    start = 0
    for block in X.blocks(block_rows(X.shape[1])):
        # A finite sum has finite terms, and summing is cheaper than testing each one.
        with np.errstate(over="ignore", invalid="ignore"):
            suspicious = not np.isfinite(block.values.sum())
        if suspicious:
            bad = ~np.isfinite(block.values).all(axis=1)
            if bad.any():
                row = int(np.argmax(bad))
                i = start + int(np.searchsorted(block.offsets, row, side="right")) - 1
                what = "NaN" if np.isnan(block.values[row]).any() else "infinity"
                raise ValueError(f"{name}: expected finite numbers, structure {i} contains {what}")
        start += len(block)
