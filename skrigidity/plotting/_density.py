"""Density of a cloud of points, on a grid."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter

_CELLS, _MARGIN = 96, 3.0
_FEWEST_POINTS = 20


class Density(NamedTuple):
    """Density on a grid, and the levels that enclose shares of all points."""

    x: np.ndarray
    y: np.ndarray
    values: np.ndarray

    def levels(self, shares: tuple[float, ...] = (0.9, 0.7, 0.5, 0.3, 0.1)) -> np.ndarray:
        """Return the densities whose contours enclose these shares, in increasing order."""
        heights = np.sort(self.values.ravel())[::-1]
        enclosed = np.cumsum(heights) / heights.sum()
        return np.unique(heights[np.searchsorted(enclosed, sorted(shares, reverse=True))])


def density(x: np.ndarray, y: np.ndarray) -> Density | None:
    """Estimate a density with a Gaussian kernel of Scott's width, from a fine histogram.

    Parameters
    ----------
    x, y : ndarray of shape (n_samples,)
        Points.

    Returns
    -------
    Density or None
        None for fewer than 20 points, or where all lie on one line along an axis.
    """
    if len(x) < _FEWEST_POINTS:
        return None
    widths = np.array([x.std(), y.std()]) * len(x) ** (-1 / 6)
    if not (widths > 0).all():
        return None
    edges = [
        np.linspace(v.min() - _MARGIN * w, v.max() + _MARGIN * w, _CELLS + 1)
        for v, w in zip((x, y), widths, strict=True)
    ]
    counts, *_ = np.histogram2d(x, y, bins=edges)
    cells = np.array([edge[1] - edge[0] for edge in edges])
    smooth = gaussian_filter(counts, widths / cells, mode="constant")
    x_centres, y_centres = ((edge[1:] + edge[:-1]) / 2 for edge in edges)
    return Density(x_centres, y_centres, smooth / (smooth.sum() * cells.prod()))
