"""Leave-one-out and leave-group-out of a kernel model, with rows of weight zero and centring."""

from __future__ import annotations

import numpy as np

from ..hessian import DualFactor, KernelRows, LeftOut


def leave_out(
    kernel: np.ndarray, y: np.ndarray, weight: np.ndarray, labels: np.ndarray, alpha: float
) -> LeftOut:
    """Leave out every group of training rows in turn; nothing is centred.

    Parameters
    ----------
    kernel : ndarray of shape (n, n)
        Kernel of all rows.
    y : ndarray of shape (n, n_targets)
        Targets.
    weight : ndarray of shape (n,)
        Weights; rows of weight zero are predicted like all others.
    labels : ndarray of int of shape (n,)
        Group of every row.
    alpha : float
        Regularization strength.

    Returns
    -------
    LeftOut
    """
    seen = weight > 0
    if seen.all():
        return DualFactor(kernel, alpha, weight).leave_out(y, labels)
    residual, quad = np.empty(y.shape), np.empty(len(y))
    inside = np.flatnonzero(seen)
    whole = DualFactor(kernel[np.ix_(inside, inside)], alpha, weight[inside])
    residual[inside], quad[inside] = _both(whole.leave_out(y[inside], labels[inside]))
    unseen = ~seen
    # A group without any weight is predicted by all that has some.
    alone = unseen & ~np.isin(labels, labels[seen])
    tasks = [(np.flatnonzero(alone), inside, whole)] if alone.any() else []
    for label in np.unique(labels[unseen & ~alone]):
        others = np.flatnonzero(seen & (labels != label))
        factor = DualFactor(kernel[np.ix_(others, others)], alpha, weight[others])
        tasks.append((np.flatnonzero(unseen & (labels == label)), others, factor))
    for members, others, factor in tasks:
        rows = KernelRows(kernel[np.ix_(members, others)], kernel[members, members])
        residual[members] = y[members] - rows.train @ factor.solve(y[others])
        quad[members] = factor.quad(rows)
    return LeftOut(residual, quad)


def leave_out_centred(
    kernel: np.ndarray, y: np.ndarray, weight: np.ndarray, labels: np.ndarray, alpha: float
) -> LeftOut:
    """Leave out every group in turn; the others' weighted mean of y is subtracted and added back.

    Residuals are linear in the targets, so those of the mean come from a column of ones.
    """
    whole = np.average(y, axis=0, weights=weight)
    y = y - whole
    left = leave_out(kernel, np.column_stack([y, np.ones(len(y))]), weight, labels, alpha)
    groups = np.unique(labels, return_inverse=True)[1]
    sums = np.zeros((groups.max() + 1, y.shape[1]))
    np.add.at(sums, groups, weight[:, None] * y)
    rest = weight.sum() - np.bincount(groups, weights=weight)
    # The targets sum up to zero, so what is left sums up to minus what is left out.
    mean = np.where(rest > 0, -sums.T / np.where(rest > 0, rest, 1.0), -whole[:, None]).T
    return LeftOut(left.residual[:, :-1] - mean[groups] * left.residual[:, -1:], left.quad)


def _both(left: LeftOut) -> tuple[np.ndarray, np.ndarray]:
    return left.residual, left.quad
