"""Features side by side, and structures one after another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skrigidity.environments._arithmetic import Components
from skrigidity.environments._container import Environments, stack
from skrigidity.environments._validation import as_environments


def hstack(parts: Sequence[Any], names: Sequence[str] | None = None) -> Environments:
    """Put features of the same structures side by side, environment by environment.

    Parameters
    ----------
    parts : sequence of Environments, lists of 2-D arrays, or 3-D arrays
        With the same number of environments in each structure.
    names : sequence of str, default=None
        One for each part: its components become ``"name__component"``, and a part without
        components is one component. Without names, components are kept where every part has
        some, of different names.

    Returns
    -------
    Environments
        With the columns of all parts.

    Raises
    ------
    ValueError
        If there are no parts, or they have other structures.

    Examples
    --------
    >>> import numpy as np
    >>> from skrigidity.environments import Environments, hstack
    >>> X = Environments.from_arrays([np.ones((3, 2)), np.zeros((1, 2))])
    >>> both = hstack([X, 2 * X[:, :1]], names=["first", "second"])
    >>> both
    Environments(2 structures, 4 environments, 3 features, float64)
    >>> both.components
    {'first': slice(0, 2, None), 'second': slice(2, 3, None)}
    """
    made = _all_environments(parts)
    for i, part in enumerate(made):
        if not np.array_equal(part.offsets, made[0].offsets):
            raise ValueError(f"parts[{i}]: expected the structures and sizes of parts[0]")
    components = join_components(
        [part.components for part in made], [part.shape[1] for part in made], names
    )
    return Environments(np.hstack([part.values for part in made]), made[0].offsets, components)


def vstack(parts: Sequence[Any]) -> Environments:
    """Put structures one after another.

    Parameters
    ----------
    parts : sequence of Environments, lists of 2-D arrays, or 3-D arrays
        With the same features.

    Returns
    -------
    Environments
        With the components of the first part.

    Raises
    ------
    ValueError
        If there are no parts, or they have different numbers of features.

    Examples
    --------
    >>> import numpy as np
    >>> from skrigidity.environments import Environments, vstack
    >>> X = Environments.from_arrays([np.ones((3, 2)), np.zeros((1, 2))])
    >>> vstack([X, X[:1]]).sizes
    array([3, 1, 3])
    """
    made = _all_environments(parts)
    joined = stack([structure for part in made for structure in part], "parts")
    return joined.with_values(joined.values, made[0].components)


def _all_environments(parts: Sequence[Any]) -> list[Environments]:
    if not len(parts):
        raise ValueError("parts: expected at least one, got none")
    return [
        as_environments(part, name=f"parts[{i}]", ensure_all_finite=False)
        for i, part in enumerate(parts)
    ]


def join_components(
    parts: Sequence[Components | None], widths: Sequence[int], names: Sequence[str] | None = None
) -> dict[str, slice | NDArray[np.intp]] | None:
    """Return the components of features side by side.

    Parameters
    ----------
    parts : sequence of dict of str to slice or ndarray of int, or None
        The components of each part.
    widths : sequence of int
        The number of columns of each part.
    names : sequence of str, default=None
        As in :func:`hstack`.

    Returns
    -------
    dict of str to slice or ndarray of int, or None
        None where there are no names, and a part has no components or two have the same ones.

    Examples
    --------
    >>> from skrigidity.environments import join_components
    >>> join_components([{"H": slice(0, 1), "O": slice(1, 2)}, None], [2, 5], ["count", "soap"])
    {'count__H': slice(0, 1, None), 'count__O': slice(1, 2, None), 'soap': slice(2, 7, None)}
    """
    if names is None and not all(parts):
        return None
    found: list[tuple[str, slice | NDArray[np.intp]]] = []
    start = 0
    for i, (part, width) in enumerate(zip(parts, widths, strict=True)):
        named: Components = part or {"all": slice(0, width)}
        for component, columns in named.items():
            if names is None:
                name = component
            else:
                name = names[i] if list(named) == ["all"] else f"{names[i]}__{component}"
            found.append((name, _shifted(columns, start, width)))
        start += width
    joined = dict(found)
    return joined if len(joined) == len(found) else None


def _shifted(columns: Any, start: int, width: int) -> slice | NDArray[np.intp]:
    if isinstance(columns, slice) and columns.step in (None, 1):
        first, last, _ = columns.indices(width)
        return slice(start + first, start + last)
    return start + np.arange(width)[columns]
