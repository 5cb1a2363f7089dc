"""The picture of a run: how rigid the least rigid atom was along time."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd


def draw(watch: Path, path: Path) -> bool:
    """Draw the table of looks; return whether there is matplotlib to do it.

    Parameters
    ----------
    watch : Path
        The table.
    path : Path
        The picture.
    """
    if find_spec("matplotlib") is None or not watch.exists():
        return False
    from matplotlib.figure import Figure

    table = pd.read_csv(watch)
    if table.empty:
        return False
    figure: Any = Figure(figsize=(7, 4.5), layout="constrained")
    time, tripped = table["time_fs"] / 1000, table["tripped"].notna()
    above, below = figure.subplots(2, 1, sharex=True)
    panels = (
        (above, "min_rigidity", "least local rigidity"),
        (below, "force_std_eV_per_A", "largest std of a force\n(eV/Å)"),
    )
    for axes, name, label in panels:
        values = pd.to_numeric(table[name], errors="coerce")
        axes.plot(time, values, lw=0.8, color="C0")
        axes.plot(time[tripped], values[tripped], "o", ms=3, color="C3", label="tripped")
        axes.set_ylabel(label)
        if (values > 0).any():
            axes.set_yscale("log")
    above.legend(loc="best", frameon=False)
    below.set_xlabel("simulated time (ps)")
    temporary = path.with_name(f"{path.stem}.part{path.suffix}")
    figure.savefig(temporary, dpi=150)
    temporary.replace(path)
    return True
