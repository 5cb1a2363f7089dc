"""How strongly a last layer is regularized."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from ..hessian import AlphaPath, Rows

CHOICES = ("auto", "loo", "evidence", "validation")
# In units of the mean eigenvalue of the data's Hessian.
TRAINED = 1e-4
GRID_REFITTED = 10.0 ** np.arange(-10, -1)
# Losses that differ by less are equal.
_EQUAL = 1e-6
GRID_TRAINED = 10.0 ** np.arange(-6, 0)


def best_alpha(how: str, rows: Rows, groups: Any, unit: float) -> float:
    """Return the relative alpha that serves samples left out, or has the largest evidence.

    Parameters
    ----------
    how : {"loo", "evidence"}
        What decides.
    rows : Rows
        Training rows with right-hand sides.
    groups : ndarray of int of shape (n_rows,) or None
        What is left out together.
    unit : float
        The mean eigenvalue.
    """
    rows = rows.seen() if groups is None else rows
    if groups is not None and rows.weight is not None:
        seen = np.flatnonzero(rows.weight)
        rows, groups = rows[seen], np.unique(groups[seen], return_inverse=True)[1]
    alphas = unit * GRID_REFITTED
    path = AlphaPath(rows.replaced(groups=None), None, lowest=alphas.min())
    weight = np.ones(len(rows)) if rows.weight is None else rows.weight
    if how == "evidence":
        logs = 0.0 if rows.weight is None else float(np.log(weight).sum())
        loss = -path.evidence(alphas, float(len(rows)), logs).sum(axis=1)
    else:
        left = path.leave_out(alphas, groups, units=False)
        loss = np.einsum("i,iat->a", weight, left.residual**2)
    return best_of(GRID_REFITTED, loss, how)


def best_of(grid: np.ndarray, loss: np.ndarray, how: str) -> float:
    """Return where a loss is least: the largest one of equals; warn at the edge of the grid."""
    best = int(np.flatnonzero(loss <= loss.min() + _EQUAL * abs(loss.min()))[-1])
    if best in (0, len(grid) - 1):
        warnings.warn(
            f"alpha={how!r} chose {grid[best]:.0e} times the mean eigenvalue, at the edge of what "
            f"was tried ({grid[0]:.0e} to {grid[-1]:.0e}): something better may lie beyond it",
            UserWarning,
            stacklevel=5,
        )
    return float(grid[best])
