"""Cholesky factorization of the normal equations, plain or preconditioned."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import scipy.linalg as sl
from scipy.linalg.blas import dsymm
from scipy.linalg.lapack import dpotrf

from ._accuracy import gram_accuracy
from ._factor import Solution
from ._prior import Prior
from ._triangular import TriangularFactor, scaled_condition

if TYPE_CHECKING:
    from ._accumulate import GramAccumulator

# In units of the machine precision and of the (scaled) unit diagonal: above the rounding errors
# of the Gram matrix, so that the shifted matrix is positive definite.
_SHIFT = 64.0
# A residual sum of squares down to this share of the total keeps enough digits.
_FIRM = 1e-4


class CholeskyAttempt:
    """Cholesky factor of ``gram + alpha * Gamma`` and what its condition promises.

    `root` is None where the matrix is not numerically positive definite. `accuracy` is the
    relative error of a rigidity that the rounding of the Gram matrix may cause.
    """

    def __init__(self, stream: GramAccumulator, prior: Prior) -> None:
        self.stream = stream
        self.prior = prior
        self.hessian = _with_prior(stream, prior)
        root, info = dpotrf(self.hessian, lower=0, clean=1, overwrite_a=0)
        diagonal = np.diag(root)
        self.root: np.ndarray | None = root if info == 0 and (diagonal > 0).all() else None
        self.condition = np.inf if self.root is None else scaled_condition(root)
        self.accuracy = gram_accuracy(self.condition**2 * stream.loss)

    def preconditioner(self) -> np.ndarray:
        """Return a triangular factor near that of the rows, from the shifted matrix."""
        hessian = self.hessian
        norms = np.sqrt(np.maximum(np.diag(hessian), 0.0))
        scale = np.exp2(-np.round(np.log2(np.where(norms > 0, norms, 1.0))))
        scaled = hessian * scale * scale[:, None]
        shift = _SHIFT * np.finfo(float).eps
        while True:
            shifted = scaled.copy(order="F")
            shifted[np.diag_indices_from(shifted)] += shift
            root, info = dpotrf(shifted, lower=0, clean=1, overwrite_a=1)
            if info == 0:
                break
            shift *= 16
        root = root / scale
        if self.stream.precondition is not None:
            root = root @ self.stream.precondition
        return np.asfortranarray(np.triu(root))


def cholesky_factor(attempt: CholeskyAttempt, reason: str) -> TriangularFactor:
    """Return the factor of a successful attempt, with the solution for its right-hand sides."""
    stream = attempt.stream
    spread = np.sqrt(np.maximum(_column_squares(stream), 0.0))
    centre, rhs_mean = stream.running.finish(spread).split(stream.n_features)
    root, method = attempt.root, "cholesky"
    assert root is not None
    solution = None
    if stream.n_rhs:
        half = sl.solve_triangular(root, stream.cross, trans="T", check_finite=False)
        coef = sl.solve_triangular(root, half, check_finite=False)
        if stream.precondition is not None:
            coef = sl.solve_triangular(stream.precondition, coef, check_finite=False)
        solution = Solution(coef, centre.intercept(rhs_mean, coef), _rss(stream, coef))
    if stream.precondition is not None:
        root, method = np.triu(root) @ stream.precondition, "qr"
    return TriangularFactor(
        root,
        centre,
        attempt.prior,
        method=method,
        reason=reason,
        condition=attempt.condition if stream.precondition is None else None,
        gram_accuracy=attempt.accuracy,
        has_intercept=stream.has_intercept,
        solution=solution,
        source=stream,
    )


def _rss(stream: GramAccumulator, coef: np.ndarray) -> np.ndarray | None:
    """Return residual sums of squares from the moments, None where that would cancel."""
    if stream.precondition is not None:
        return None
    image = dsymm(1.0, stream.gram, coef)
    rss = stream.square + np.einsum("ij,ij->j", coef, image - 2 * stream.cross)
    return rss if (rss > _FIRM * stream.square).all() else None


def _with_prior(stream: GramAccumulator, prior: Prior) -> np.ndarray:
    """Return the upper triangle of the regularized Hessian, in the coordinates of the stream."""
    hessian = stream.gram.copy(order="F")
    if stream.precondition is None:
        prior.add_to(hessian)
    else:
        rows = prior.root(stream.n_features)
        rows = sl.solve_triangular(stream.precondition, rows.T, trans="T", check_finite=False).T
        hessian += rows.T @ rows
    return np.asfortranarray(hessian)


def _column_squares(stream: GramAccumulator) -> np.ndarray:
    diagonal = np.diag(stream.gram)
    if stream.precondition is not None:
        half = np.triu(stream.gram) @ stream.precondition
        full = half + np.triu(stream.gram, 1).T @ stream.precondition
        diagonal = np.einsum("ij,ij->j", stream.precondition, full)
    return np.concatenate([diagonal, stream.square])
