"""The picture of the demo: three panels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from skrigidity._demo._tables import BOND, LABELS
from skrigidity._extras import import_extra

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from skrigidity._demo._run import DemoResult


class Style(NamedTuple):
    """How a kind of structure looks: colors of Okabe and Ito, told apart by shape as well."""

    color: str
    marker: str


STYLES = {
    "bulk": Style("#0072B2", "o"),
    "slab": Style("#D55E00", "^"),
    "target": Style("#009E73", "s"),
}
_FEWEST_ATOMS = 5


def draw(result: DemoResult) -> Figure:
    """Draw distributions of rigidities, errors against their bars, and rigidities of atoms.

    Parameters
    ----------
    result : DemoResult

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure_class = import_extra("matplotlib.figure", extra="plot", needed_by="a picture").Figure
    figure = figure_class(figsize=(13, 4.6), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    _rigidities(left, result.structures)
    _errors(middle, result.structures)
    _coordination(right, result.atoms)
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    return figure


def _kinds(table: pd.DataFrame) -> list[tuple[Style, pd.DataFrame]]:
    return [(STYLES[kind], rows) for kind, rows in table.groupby("kind", sort=False)]


def _log_axis(axis: Any) -> None:
    """Label 1, 2, 5, 10, 20, … in plain digits: these axes span a few decades at most."""
    low, high = axis.get_view_interval()
    subs = (1, 2, 5) if high > 15 * low else (1, 1.5, 2, 3, 5, 7)
    ticker = import_extra("matplotlib.ticker", extra="plot", needed_by="a picture")
    axis.set_major_locator(ticker.LogLocator(subs=subs))
    axis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(ticker.NullFormatter())


def _rigidities(axes: Any, structures: pd.DataFrame) -> None:
    logs = np.log10(structures["rigidity"])
    edges = 10 ** np.linspace(logs.min() - 0.05, logs.max() + 0.05, 19)
    for kind, rows in structures.groupby("kind", sort=False):
        style = STYLES[str(kind)]
        share = np.full(len(rows), 100 / len(rows))
        values, color = rows["rigidity"], style.color
        label = f"{LABELS[str(kind)]} ({len(rows)})"
        axes.hist(values, edges, weights=share, histtype="stepfilled", color=color, alpha=0.3)
        axes.hist(values, edges, weights=share, histtype="step", color=color, lw=1.5)
        axes.axvline(values.median(), color=color, ls="--", lw=1.2)
        # For the legend only, one for all panels.
        axes.plot([], color=color, marker=style.marker, ms=9, ls="none", label=label)
    axes.set(
        xscale="log",
        xlabel="prediction rigidity of a structure (unit weights)",
        ylabel="structures (%)",
        title="Rigidity of structures\n(dashed: medians)",
    )
    _log_axis(axes.xaxis)


def _errors(axes: Any, structures: pd.DataFrame) -> None:
    known = structures.dropna(subset="error_meV_per_atom")
    for style, rows in _kinds(known):
        std, error = rows["std_meV_per_atom"], rows["error_meV_per_atom"].abs()
        axes.scatter(std, error, s=20, c=style.color, marker=style.marker, alpha=0.7, lw=0)
    std, error = known["std_meV_per_atom"], known["error_meV_per_atom"].abs()
    x = np.array([std.min() / 1.2, std.max() * 1.2])
    axes.set(
        xscale="log",
        yscale="log",
        xlim=x,
        # Errors near zero would stretch the axis without telling anything.
        ylim=(max(std.min() / 50, error.min() / 1.3), 1.5 * max(error.max(), 3 * x[1])),
        xlabel="estimated uncertainty, std (meV/atom)",
        ylabel="|error| (meV/atom)",
        title="Errors and their estimates\n(lines: Gaussian isolines, share of errors below)",
    )
    for n, percent, dash in ((1, "68", "-"), (2, "95", "--"), (3, "99.7", ":")):
        axes.plot(x, n * x, color="0.35", lw=1, ls=dash, zorder=0)
        axes.text(
            x[1] / 1.03,
            n * x[1] * 1.05,
            f"{n} std ({percent} %)",
            ha="right",
            rotation=np.degrees(np.arctan(n)),
            rotation_mode="anchor",
            transform_rotates_text=True,
            size="small",
            color="0.25",
        )
    _log_axis(axes.xaxis)
    _log_axis(axes.yaxis)


def _coordination(axes: Any, atoms: pd.DataFrame) -> None:
    kinds = _kinds(atoms)
    width = 0.8 / len(kinds)
    drawn = set()
    for i, (style, rows) in enumerate(kinds):
        groups = {n: g for n, g in rows.groupby("coordination") if len(g) >= _FEWEST_ATOMS}
        drawn |= set(groups)
        shift = (i - (len(kinds) - 1) / 2) * width
        axes.boxplot(
            [np.asarray(group["local_rigidity"]) for group in groups.values()],
            positions=[n + shift for n in groups],
            widths=0.85 * width,
            whis=(5, 95),
            showfliers=False,
            patch_artist=True,
            manage_ticks=False,
            medianprops={"color": "black"},
            boxprops={"facecolor": style.color, "alpha": 0.7},
        )
    axes.set(
        yscale="log",
        xticks=sorted(drawn),
        xlabel=f"coordination number (neighbors within {BOND} Å)",
        ylabel="local prediction rigidity (unit weights)",
        title="Rigidity of atoms\n(boxes: quartiles, whiskers: 5 to 95 %)",
    )
    _log_axis(axes.yaxis)
