"""What all displays share: axes, styles, and a note of what logarithmic axes cannot show."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple

import numpy as np

from .._extras import import_extra

# Okabe and Ito's colors, without yellow (too light on white); shapes tell groups apart as well.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "^", "s", "D", "v", "P", "X", "*")
DASHES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (7, 2, 1, 2, 1, 2)))
GUIDE = {"color": "0.35", "linewidth": 1.0, "zorder": 1.5}
_CURVE, _NOTE = "skrigidity curve", "skrigidity note"


class Style(NamedTuple):
    """How a group looks."""

    color: str
    marker: str
    dash: Any

    @property
    def line(self) -> dict[str, Any]:
        """Keywords of a line."""
        return {"color": self.color, "linestyle": self.dash}


class Display:
    """A display: data in attributes, drawn by ``plot``, which sets the attributes below.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        Where it was drawn.
    figure_ : matplotlib.figure.Figure
        The figure of these axes.
    dropped_ : dict of str to int
        How many values the axes cannot show, by reason.
    """

    ax_: Any
    figure_: Any
    dropped_: dict[str, int]
    name: str | None

    def _begin(self, ax: Any) -> Any:
        """Take the axes, or make some."""
        plt = import_extra("matplotlib.pyplot", extra="plot", needed_by=type(self).__name__)
        if ax is None:
            _, ax = plt.subplots(layout="constrained")
        self.ax_, self.figure_ = ax, ax.figure
        return ax

    def _end(self, dropped: Mapping[str, int], *, legend: bool = True) -> None:
        """Say what is not shown, and what everything means."""
        self.dropped_ = {reason: n for reason, n in dropped.items() if n}
        note(self.ax_, self.dropped_, self.name)
        if legend and self.ax_.get_legend_handles_labels()[1]:
            self.ax_.legend(fontsize="small")


def style(i: int) -> Style:
    """Return the style of the i-th group: no two of the first 56 are equal."""
    return Style(COLORS[i % len(COLORS)], MARKERS[i % len(MARKERS)], DASHES[i % len(DASHES)])


def next_styles(ax: Any, n: int) -> list[Style]:
    """Return styles that no earlier display on these axes has."""
    used = sum(artist.get_gid() == _CURVE for artist in ax.get_children())
    return [style(used + i) for i in range(n)]


def mark(artist: Any) -> None:
    """Count an artist as the one of a group that `next_styles` must not repeat."""
    artist.set_gid(_CURVE)


def merged(default: Mapping[str, Any], given: Mapping[str, Any] | None, kind: str) -> dict:
    """Let given keywords replace the default ones, also by matplotlib's short names."""
    cbook = import_extra("matplotlib.cbook", extra="plot")
    lines, collections = (import_extra(f"matplotlib.{m}", extra="plot") for m in _KINDS)
    artist = lines.Line2D if kind == "line" else collections.PathCollection
    own = cbook.normalize_kwargs(dict(given or {}), artist)
    # Of scatter's two names for colors only one may be there.
    return {**{key: v for key, v in default.items() if key != "color" or "c" not in own}, **own}


_KINDS = ("lines", "collections")


def with_unit(text: str, unit: str | None, power: Literal[1, 2] = 1) -> str:
    """Label an axis."""
    if unit is None:
        return text
    if power == 1:
        return f"{text} ({unit})"
    return f"{text} ({unit}²)" if unit.isalpha() else f"{text}, ({unit})²"


def legend_label(name: str | None, label: str | None) -> str | None:
    """Join the name of a display and the label of a group."""
    return ", ".join(part for part in (name, label) if part) or None


def showable(values: Mapping[str, Any]) -> tuple[np.ndarray, dict[str, int]]:
    """Tell which samples logarithmic axes can show, and how many not, by reason.

    A sample is counted once, under the first reason.
    """
    arrays = {label: np.asarray(v) for label, v in values.items()}
    kept = np.ones(next(iter(arrays.values())).shape, dtype=bool)
    dropped = {}
    for label, array in arrays.items():
        for what, bad in (("= 0", array == 0), ("= ∞", np.isinf(array))):
            dropped[f"{label} {what}"] = int((kept & bad).sum())
            kept &= ~bad
    return kept, dropped


def note(ax: Any, dropped: Mapping[str, int], name: str | None = None) -> None:
    """Write above the axes what they do not show, below what earlier displays wrote."""
    if not dropped:
        return
    text = "not shown: " + ", ".join(f"{n} with {reason}" for reason, n in dropped.items())
    text = f"{name}: {text}" if name else text
    for old in ax.texts:
        if old.get_gid() == _NOTE:
            old.set_text(f"{old.get_text()}\n{text}")
            return
    place = {"xycoords": "axes fraction", "textcoords": "offset points"}
    new = ax.annotate(text, (1, 1), (0, 2), ha="right", va="bottom", size="x-small", **place)
    new.set_gid(_NOTE)


def log_axis(axis: Any) -> None:
    """Make an axis logarithmic, with plain digits for ticks where it spans few decades."""
    ticker = import_extra("matplotlib.ticker", extra="plot")
    axis.axes.set(**{f"{axis.axis_name}scale": "log"})
    low, high = axis.get_view_interval()
    if not 0 < low < high < 1e3 * low:
        return
    subs = (1, 2, 5) if high > 15 * low else (1, 1.5, 2, 3, 5, 7)
    axis.set_major_locator(ticker.LogLocator(subs=subs))
    axis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(ticker.NullFormatter())


def ordered(groups: Iterable[Any] | None, n: int) -> list[tuple[str | None, np.ndarray]]:
    """Split samples by group: numbers in their order, all else as it first appears."""
    if groups is None:
        return [(None, np.ones(n, dtype=bool))]
    labels = np.asarray(groups)
    if labels.dtype.kind in "biuf":
        distinct = np.unique(labels).tolist()
    else:
        distinct = list(dict.fromkeys(labels.tolist()))
    return [(str(label), labels == label) for label in distinct]
