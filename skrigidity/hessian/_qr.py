"""QR factorization of the rows with the regularizer's rows below them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import scipy.linalg as sl

from ._factor import Solution
from ._prior import Prior
from ._triangular import TriangularFactor, add_rows, scaled_condition

if TYPE_CHECKING:
    from ._accumulate import TSQRAccumulator

# Beyond this condition of the augmented rows the singular values decide, alpha added exactly.
_SINGULAR_BEYOND = 1e9


def qr_factor(stream: TSQRAccumulator, prior: Prior) -> TriangularFactor | None:
    """Return the QR factor of reduced rows and regularizer, None if that is near singular."""
    d = stream.n_features
    triangle = augmented_triangle(stream, prior)
    root = np.triu(triangle[:d, :d])
    if not scaled_condition(root) < _SINGULAR_BEYOND:
        return None
    data, data_rhs = stream.rows()
    centre, rhs_mean = stream.running.finish(stream.spread()).split(d)
    solution = None
    if stream.n_rhs:
        coef = sl.solve_triangular(root, triangle[:d, d:], check_finite=False)
        residual = data_rhs - data @ coef
        rss = np.einsum("ij,ij->j", residual, residual)
        solution = Solution(coef, centre.intercept(rhs_mean, coef), rss)
    return TriangularFactor(
        root,
        centre,
        prior,
        method="qr",
        reason="QR of the rows",
        has_intercept=stream.has_intercept,
        solution=solution,
        source=stream,
    )


def augmented_triangle(stream: TSQRAccumulator, prior: Prior) -> np.ndarray:
    """Return the triangular factor of rows, right-hand sides behind them, and regularizer."""
    prior_rows = prior.root(stream.n_features)
    block = np.hstack([prior_rows, np.zeros((len(prior_rows), stream.n_rhs))])
    triangle = np.array(np.hstack(stream.rows()), order="F")
    return add_rows(triangle, block, len(block) if _is_upper(prior_rows) else 0)


def _is_upper(rows: np.ndarray) -> bool:
    return len(rows) == rows.shape[1] and not np.tril(rows, -1).any()
