"""Labels of samples that are left out together."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils.validation import check_consistent_length, column_or_1d


def check_groups(groups: Any, n: int) -> np.ndarray | None:
    """Return the number of each sample's group; None where there are no groups.

    Raises
    ------
    ValueError
        If there is not one label per sample, or a label is missing (NaN, None).
    """
    if groups is None:
        return None
    groups = column_or_1d(groups)
    check_consistent_length(groups, range(n))
    missing = [i for i, label in enumerate(groups.tolist()) if label is None or label != label]
    if missing:
        raise ValueError(f"groups must have a label for every sample, sample {missing[0]} has none")
    return np.unique(groups, return_inverse=True)[1]
