"""Displays of medians along an axis, such as the size of training sets that grow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from sklearn.base import clone
from sklearn.utils import _safe_indexing, check_random_state
from sklearn.utils.validation import check_consistent_length

from ._display import Display, joined, next_styles

SIZES = (0.1, 0.2, 0.4, 0.7, 1.0)


class Curve(NamedTuple):
    """Median and quantiles at every step."""

    x: np.ndarray
    median: np.ndarray
    low: np.ndarray
    high: np.ndarray


def curve(x: np.ndarray, values: np.ndarray, quantiles: tuple[float, float]) -> Curve:
    """Summarize values of shape (n_steps, n), 0 and infinity included.

    Quantiles are values that occur: there is no mean of something and infinity.
    """
    ends = check_quantiles(quantiles)
    low, median, high = np.quantile(values, [ends[0], 0.5, ends[1]], 1, method="lower")
    return Curve(x, median, low, high)


@dataclass(kw_only=True, eq=False, repr=False)
class CurvesDisplay(Display):
    """A display of one curve a group."""

    def _curves(
        self, labels: Sequence[str | None], curves: Sequence[Curve], line_kwargs: dict | None
    ) -> dict[str, int]:
        """Draw curves and their bands; return how many medians are not shown."""
        self.lines_ = []
        points: dict[str, Any] = {"markersize": 5, "linewidth": 1.6}
        looks = next_styles(self.ax_, len(curves))
        for look, label, c in zip(looks, labels, curves, strict=True):
            shown = np.isfinite(c.median) & (c.median > 0)
            points |= {"marker": look.points["marker"], "label": joined(self.name, label)}
            line = self._line(c.x[shown], c.median[shown], look, line_kwargs, **points)
            # A band that reaches 0 or infinity has no end on a logarithmic axis.
            low = np.where(c.low > 0, c.low, np.nan)[shown]
            high = np.where(np.isfinite(c.high), c.high, np.nan)[shown]
            self._band(line, low, high)
            self.lines_.append(line)
        medians = np.concatenate([c.median for c in curves])
        return {"median R = 0": (medians == 0).sum(), "median R = ∞": np.isinf(medians).sum()}


def check_quantiles(quantiles: Any) -> tuple[float, float]:
    """Refuse what is no pair of increasing quantiles."""
    low, high = quantiles
    if not 0 <= low <= high <= 1:
        raise ValueError(f"quantiles must increase from 0 to 1 at most, got {quantiles!r}")
    return float(low), float(high)


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


def nested_fits(
    estimator: Any, X: Any, y: Any, train_sizes: Any, shuffle: bool, random_state: Any
) -> Iterator[tuple[int, Any]]:
    """Fit clones to parts of the data, each with all of those before; give sizes and clones."""
    check_consistent_length(X, y)
    n = len(y)
    order = check_random_state(random_state).permutation(n) if shuffle else np.arange(n)
    for size in nested_sizes(train_sizes, n):
        part = order[:size]
        yield size, clone(estimator).fit(_safe_indexing(X, part), _safe_indexing(y, part))
