"""Recognizing and validating structures made of environments."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import DTypeLike, NDArray

from skrigidity.environments._container import Environments, block_rows, stack, trusted


def is_environments(X: Any) -> bool:
    """Tell whether ``X`` is made of structures of environments rather than of plain rows.

    Parameters
    ----------
    X : object

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
