"""Training samples of a kernel model: their kernel, and what becomes of them when left out."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..hessian import DualFactor, KernelRows, LeftOut


class TrainingKernel(KernelRows):
    """Training samples, those of weight zero included: their kernel, and their targets.

    Parameters
    ----------
    kernel : ndarray of shape (n, n)
        Kernel of the samples among themselves.
    weight : ndarray of shape (n,)
        Weights.
    rhs : ndarray of shape (n, n_targets)
        Targets.
    samples : ndarray or CSR matrix of shape (n, n_features), default=None
        The samples, by which they are known again: a kernel may not see how far they are shifted.
    """

    weight: np.ndarray

    def __init__(
        self, kernel: np.ndarray, weight: np.ndarray, rhs: np.ndarray, samples: Any = None
    ) -> None:
        super().__init__(kernel, np.diag(kernel), kernel, weight)
        self.rhs = rhs
        self.samples = np.zeros((len(rhs), 0)) if samples is None else samples

    def sums(self, *, size: bool = False) -> np.ndarray:
        """Return what tells training sets apart, or the size of its terms."""
        kernel, rhs, samples, s = self.train, self.rhs, self.samples, self.weight
        if size:
            kernel, rhs, samples = abs(kernel), abs(rhs), abs(samples)
        own = np.diag(kernel)
        numbers = [np.count_nonzero(s), s.sum(), s @ own, s @ kernel @ s]
        products = own @ (s[:, None] * rhs)
        return np.concatenate([numbers, s @ rhs, products, np.ravel(s @ samples)])


def leave_out_kernel(
    kernel: np.ndarray, y: np.ndarray, weight: np.ndarray, labels: np.ndarray, whole: DualFactor
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
    whole : DualFactor
        Factor of all rows that have weight.

    Returns
    -------
    LeftOut
    """
    seen = weight > 0
    own = kernel if seen.all() else kernel[np.ix_(seen, seen)]
    if not (np.array_equal(own, whole.kernel) and np.array_equal(weight[seen], whole.weight)):
        whole = DualFactor(own, whole.alpha, weight[seen])  # another order of the samples
    if seen.all():
        return whole.leave_out(y, labels)
    residual, quad = np.empty(y.shape), np.empty(len(y))
    inside = np.flatnonzero(seen)
    left = whole.leave_out(y[inside], np.unique(labels[inside], return_inverse=True)[1])
    residual[inside], quad[inside] = left.residual, left.quad
    unseen = ~seen
    # A group without any weight is predicted by all that has some.
    alone = unseen & ~np.isin(labels, labels[seen])
    tasks = [(np.flatnonzero(alone), inside, whole)] if alone.any() else []
    for label in np.unique(labels[unseen & ~alone]):
        others = np.flatnonzero(seen & (labels != label))
        factor = DualFactor(kernel[np.ix_(others, others)], whole.alpha, weight[others])
        tasks.append((np.flatnonzero(unseen & (labels == label)), others, factor))
    for members, others, factor in tasks:
        rows = KernelRows(kernel[np.ix_(members, others)], kernel[members, members])
        residual[members] = y[members] - rows.train @ factor.solve(y[others])
        quad[members] = factor.quad(rows)
    return LeftOut(residual, quad)
