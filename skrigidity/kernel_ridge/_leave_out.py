"""Leave-one-out and leave-group-out of a kernel model whose targets are centred."""

from __future__ import annotations

import numpy as np

from ..gradients import leave_out_kernel
from ..hessian import DualFactor, LeftOut


def leave_out_centred(
    kernel: np.ndarray, y: np.ndarray, weight: np.ndarray, labels: np.ndarray, whole: DualFactor
) -> LeftOut:
    """Leave out every group in turn; the others' weighted mean of y is subtracted and added back.

    Residuals are linear in the targets, so those of the mean come from a column of ones.
    """
    everywhere = np.average(y, axis=0, weights=weight)
    y = y - everywhere
    left = leave_out_kernel(kernel, np.column_stack([y, np.ones(len(y))]), weight, labels, whole)
    groups = np.unique(labels, return_inverse=True)[1]
    sums = np.zeros((groups.max() + 1, y.shape[1]))
    np.add.at(sums, groups, weight[:, None] * y)
    rest = weight.sum() - np.bincount(groups, weights=weight)
    # The targets sum up to zero, so what is left sums up to minus what is left out.
    mean = np.where(rest > 0, -sums.T / np.where(rest > 0, rest, 1.0), -everywhere[:, None]).T
    return LeftOut(left.residual[:, :-1] - mean[groups] * left.residual[:, -1:], left.quad)
