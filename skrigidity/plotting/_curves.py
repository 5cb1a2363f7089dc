"""Medians along an axis, with bands of quantiles."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ._display import Style, mark


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
    low, median, high = np.quantile(values, [quantiles[0], 0.5, quantiles[1]], 1, method="lower")
    return Curve(x, median, low, high)


def draw(ax: Any, summary: Curve, look: Style, keywords: dict) -> tuple[Any, dict[str, int]]:
    """Draw a curve and its band; return the line, and how many points are not shown."""
    shown = np.isfinite(summary.median) & (summary.median > 0)
    line = ax.plot(summary.x[shown], summary.median[shown], **keywords)[0]
    mark(line)
    # A band that reaches 0 or infinity has no end on a logarithmic axis.
    low = np.where(summary.low > 0, summary.low, np.nan)[shown]
    high = np.where(np.isfinite(summary.high), summary.high, np.nan)[shown]
    options = {"color": keywords.get("color", look.color), "alpha": 0.15, "linewidth": 0}
    ax.fill_between(summary.x[shown], low, high, **options)
    dropped = {
        "median R = 0": int((summary.median == 0).sum()),
        "median R = ∞": int(np.isinf(summary.median).sum()),
    }
    return line, dropped


def check_quantiles(quantiles: Any) -> tuple[float, float]:
    """Refuse what is no pair of increasing quantiles."""
    low, high = quantiles
    if not 0 <= low <= high <= 1:
        raise ValueError(f"quantiles must increase from 0 to 1 at most, got {quantiles!r}")
    return float(low), float(high)


def add(totals: dict[str, int], more: dict[str, int]) -> dict[str, int]:
    """Add up counts by reason."""
    return {key: totals.get(key, 0) + more.get(key, 0) for key in {**totals, **more}}


def line_style(look: Style, label: str | None) -> dict[str, Any]:
    """Keywords of a curve with its points."""
    return {**look.line, "marker": look.marker, "markersize": 5, "linewidth": 1.6, "label": label}
