"""What all displays share: construction, axes, styles, and a note of what axes cannot show."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, NamedTuple, Self

import numpy as np

from .._extras import import_extra
from ..metrics import prediction_std

# Okabe and Ito's colors, without yellow (too light on white); shapes tell groups apart as well.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "^", "s", "D", "v", "P", "X", "*")
DASHES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (7, 2, 1, 2, 1, 2)))
GUIDE = {"color": "0.35", "linestyle": "-", "linewidth": 1.0, "zorder": 1.5}
_CURVE, _NOTE = "skrigidity curve", "skrigidity note"


class Style(NamedTuple):
    """How a group looks: keywords of its line and of its points."""

    line: dict[str, Any]
    points: dict[str, Any]


@dataclass(kw_only=True, eq=False, repr=False)
class Display:
    """A display: its fields are data and labels, `plot` draws them and sets the attributes below.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        Where it was drawn.
    figure_ : matplotlib.figure.Figure
        The figure of these axes.
    dropped_ : dict of str to int
        How many values the axes cannot show, by reason.
    """

    name: str | None = None

    def plot(self, *args: Any, **kwargs: Any) -> Self:
        """Draw the display."""
        raise NotImplementedError

    @classmethod
    def _drawn(cls, options: Mapping[str, Any], **data: Any) -> Self:
        """Make a display of data and of the options that are fields; draw it with the others."""
        labels = {field.name for field in fields(cls)} & options.keys()
        display = cls(**data, **{key: options[key] for key in labels})
        return display.plot(**{key: options[key] for key in options.keys() - labels})

    def _begin(self, ax: Any) -> Any:
        """Take the axes, or make some."""
        plt = import_extra("matplotlib.pyplot", extra="plot", needed_by=type(self).__name__)
        if ax is None:
            _, ax = plt.subplots(layout="constrained")
        self.ax_, self.figure_ = ax, ax.figure
        return ax

    def _groups(self, groups: Any, n: int) -> list[tuple[Style, str | None, np.ndarray]]:
        """Return a new style, the label and the mask of every group of n samples."""
        parts = ordered(groups, n)
        styles = next_styles(self.ax_, len(parts))
        return [(look, *part) for look, part in zip(styles, parts, strict=True)]

    def _line(self, x: Any, y: Any, look: Style, given: dict | None, **default: Any) -> Any:
        """Draw the line of a group, in its style unless given keywords say otherwise."""
        (line,) = self.ax_.plot(x, y, **merged({**look.line, **default}, given, "line"))
        mark(line)
        return line

    def _scatter(self, x: Any, y: Any, look: Style, given: dict | None, **default: Any) -> Any:
        """Draw the points of a group, in its style unless given keywords say otherwise."""
        keywords = merged({**look.points, "linewidths": 0, **default}, given, "scatter")
        points = self.ax_.scatter(x, y, **keywords)
        mark(points)
        return points

    def _guide(self, x: Any, y: Any, given: dict | None = None, **default: Any) -> Any:
        """Draw a line that is no data."""
        (line,) = self.ax_.plot(x, y, **merged({**GUIDE, **default}, given, "line"))
        return line

    def _band(self, line: Any, low: Any, high: Any, **options: Any) -> None:
        """Shade the surroundings of a line, in its color."""
        options = {"color": line.get_color(), "alpha": 0.15, "linewidth": 0, **options}
        self.ax_.fill_between(line.get_xdata(), low, high, **options)

    def _end(
        self, dropped: Mapping[str, int], *, x: str, y: str, log: str = "", legend: bool = True
    ) -> Self:
        """Label the axes, make some of them logarithmic, and say what is not shown."""
        self.ax_.set(xlabel=x, ylabel=y)
        for axis in log:
            log_axis(getattr(self.ax_, f"{axis}axis"))
        self.dropped_ = {reason: int(n) for reason, n in dropped.items() if n}
        note(self.ax_, self.dropped_, self.name)
        if legend and self.ax_.get_legend_handles_labels()[1]:
            self.ax_.legend(fontsize="small")
        return self


@dataclass(kw_only=True, eq=False, repr=False)
class PredictionDisplay(Display):
    """A display of targets, predictions and their error bars."""

    @classmethod
    def from_estimator(cls, estimator: Any, X: Any, y: Any, **kwargs: Any) -> Self:
        """Draw the predictions of an estimator, best on samples that it was not fitted to.

        Parameters
        ----------
        estimator : object
            Fitted estimator with error bars, or a pipeline or search with one at its end.
        X : array-like, structures, or whatever the estimator predicts from
            Samples.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Their targets.
        **kwargs : dict
            Further keywords of `from_predictions`.

        Returns
        -------
        object
            The display, drawn.
        """
        return cls.from_predictions(y, estimator.predict(X), prediction_std(estimator, X), **kwargs)

    @classmethod
    def from_predictions(cls, y_true: Any, y_pred: Any, y_std: Any, **kwargs: Any) -> Self:
        """Draw predictions and their standard deviations."""
        raise NotImplementedError


def next_styles(ax: Any, n: int) -> list[Style]:
    """Return n styles that no earlier display on these axes has: the first 56 all differ."""
    used = sum(artist.get_gid() == _CURVE for artist in ax.get_children())
    styles = []
    for i in range(used, used + n):
        color = {"color": COLORS[i % len(COLORS)]}
        line = {**color, "linestyle": DASHES[i % len(DASHES)]}
        styles.append(Style(line, {**color, "marker": MARKERS[i % len(MARKERS)]}))
    return styles


def mark(artist: Any) -> None:
    """Count an artist as the one of a group, whose style `next_styles` must not repeat."""
    artist.set_gid(_CURVE)


def merged(
    default: Mapping[str, Any], given: Mapping[str, Any] | None, kind: Literal["line", "scatter"]
) -> dict[str, Any]:
    """Let given keywords replace the default ones, also by matplotlib's short names."""
    from matplotlib.cbook import normalize_kwargs
    from matplotlib.collections import PathCollection
    from matplotlib.lines import Line2D

    artist: Any = {"line": Line2D, "scatter": PathCollection}[kind]
    own = normalize_kwargs(dict(given or {}), artist)
    # Of scatter's two names for colors only one may be there.
    return {**{key: v for key, v in default.items() if key != "color" or "c" not in own}, **own}


def with_unit(text: str, unit: str | None, power: Literal[1, 2] = 1) -> str:
    """Label an axis."""
    if unit is None:
        return text
    if power == 1:
        return f"{text} ({unit})"
    return f"{text} ({unit}²)" if unit.isalpha() else f"{text}, ({unit})²"


def joined(*parts: str | None) -> str | None:
    """Join the parts of a label that there are."""
    return ", ".join(part for part in parts if part) or None


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
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    axis.axes.set(**{f"{axis.axis_name}scale": "log"})
    low, high = axis.get_view_interval()
    if not 0 < low < high < 1e3 * low:
        return
    subs = (1, 2, 5) if high > 15 * low else (1, 1.5, 2, 3, 5, 7)
    axis.set_major_locator(LogLocator(subs=subs))
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_formatter(NullFormatter())


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
