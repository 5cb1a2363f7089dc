"""A monotone map of 1 / R to the variance of the error, where that is not proportional to it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class IsotonicMap(NamedTuple):
    """A non-decreasing function of q = 1 / R, linear in logarithms between its knots.

    Below the first knot it is constant: what remains of the error where the data pin a prediction
    is not known to vanish. Above the last one it grows in proportion to q, as the theory has it,
    for a constant would be overconfident where the data say least.

    Attributes
    ----------
    quad : ndarray of shape (n_knots,)
        Increasing values of q.
    variance : ndarray of shape (n_knots,)
        Value at each of them.
    """

    quad: np.ndarray
    variance: np.ndarray

    def __call__(self, q: np.ndarray) -> np.ndarray:
        """Return the value at every q, infinite where q is."""
        with np.errstate(divide="ignore"):
            inside = np.interp(np.log(q), np.log(self.quad), np.log(self.variance))
        return np.exp(inside) * np.maximum(q / self.quad[-1], 1.0)


def fit_isotonic(
    square: np.ndarray, q: np.ndarray, weight: np.ndarray, min_samples: int
) -> IsotonicMap:
    """Regress squared residuals on q, non-decreasing, with steps of at least `min_samples` rows.

    The isotonic regression of squares is the maximum-likelihood variance of a Gaussian among all
    non-decreasing functions (Barlow, Brunk, 1972). Averages over bins come first: a last step
    made of one large residual would rule all predictions that are pinned still less.
    """
    # Imported here: nothing else needs it, and the package should load fast.
    from sklearn.isotonic import isotonic_regression

    n_bins = len(q) // min_samples
    if n_bins < 2:
        raise ValueError(
            f"isotonic=True needs at least 2 * min_samples = {2 * min_samples} rows with a "
            f"positive, finite rigidity, got {len(q)}"
        )
    bins = np.empty(len(q), dtype=int)
    for label, members in enumerate(np.array_split(np.argsort(q, kind="stable"), n_bins)):
        bins[members] = label
    share = np.bincount(bins, weights=weight)
    knots = np.exp(np.bincount(bins, weights=weight * np.log(q)) / share)
    # Bins of equal q are one bin.
    knots, same = np.unique(knots, return_inverse=True)
    total = np.bincount(same, weights=np.bincount(bins, weights=weight * square))
    share = np.bincount(same, weights=share)
    values = isotonic_regression(total / share, sample_weight=share)
    if not values.any():
        return IsotonicMap(knots, np.ones_like(knots))
    return IsotonicMap(knots, np.maximum(values, values[values > 0].min()))
