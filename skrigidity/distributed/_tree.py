"""Reduction in a tree: a node waits for a few others, so that memory stays bounded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

# So many results are merged by one task.
FAN_IN = 8


def merged_in_tree(parts: list[Any], merge: Callable[[list[Any]], Any], name: str) -> Any:
    """Compute delayed parts and merge them, in an order that does not depend on the workers.

    Parameters
    ----------
    parts : list of dask.delayed.Delayed
        Tasks.
    merge : callable
        Merges a list of their results, none of which it may change: where a worker is lost, they
        are needed again.
    name : str
        What the dashboard calls the tasks that merge.

    Returns
    -------
    object
        What the last of them returns, in memory.

    Examples
    --------
    >>> from dask.delayed import delayed
    >>> from skrigidity.distributed import merged_in_tree
    >>> merged_in_tree([delayed(i) for i in range(100)], sum, "sum")
    4950
    """
    from dask.base import tokenize
    from dask.delayed import delayed

    token = tokenize(name, [part.key for part in parts])
    node, level = delayed(merge, pure=False, traverse=False), 0
    while len(parts) > 1 or level == 0:
        groups = [parts[start : start + FAN_IN] for start in range(0, len(parts), FAN_IN)]
        parts = [
            node(group, dask_key_name=f"{name}-{token}-{level}-{i}")
            for i, group in enumerate(groups)
        ]
        level += 1
    return parts[0].compute()
