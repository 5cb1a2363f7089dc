"""Training sets that grow, and how rigidities grow with them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.utils import _safe_indexing, check_random_state
from sklearn.utils.validation import check_consistent_length

SIZES = (0.1, 0.2, 0.4, 0.7, 1.0)


def nested_sizes(train_sizes: Any, n: int) -> np.ndarray:
    """Turn shares or numbers of samples into increasing numbers."""
    sizes = np.asarray(train_sizes)
    if sizes.ndim != 1 or not len(sizes) or sizes.dtype.kind not in "iuf":
        raise ValueError(f"train_sizes must be a sequence of numbers, got {train_sizes!r}")
    if sizes.dtype.kind == "f":
        if not ((sizes > 0) & (sizes <= 1)).all():
            raise ValueError(f"train_sizes must be shares in (0, 1], or integers, got {sizes}")
        sizes = np.maximum((sizes * n).astype(int), 1)
    if not ((sizes > 0) & (sizes <= n)).all():
        raise ValueError(f"train_sizes must be between 1 and {n}, the number of samples")
    return np.unique(sizes)


def grow(
    estimator: Any,
    X: Any,
    y: Any,
    rigidity: Callable[[Any], Any],
    *,
    train_sizes: Sequence[float] | np.ndarray,
    shuffle: bool,
    random_state: Any,
) -> tuple[np.ndarray, list[Any]]:
    """Fit clones to growing, nested parts of the data; return sizes and rigidities."""
    check_consistent_length(X, y)
    n = len(y)
    sizes = nested_sizes(train_sizes, n)
    order = check_random_state(random_state).permutation(n) if shuffle else np.arange(n)
    parts = [order[:size] for size in sizes]
    return sizes, [
        rigidity(clone(estimator).fit(_safe_indexing(X, part), _safe_indexing(y, part)))
        for part in parts
    ]
