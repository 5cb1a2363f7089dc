"""The picture of the demo: three panels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from skrigidity._extras import import_extra
from skrigidity.cli._demo._data import BOND
from skrigidity.plotting import RigidityDistributionDisplay

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from skrigidity.cli._demo._result import DemoResult

# The colors of the first groups of a display.
COLORS = ("#0072B2", "#D55E00", "#009E73")
_FEWEST_ATOMS = 5


def draw(result: DemoResult) -> Figure:
    """Draw rigidities of structures, those of atoms, and error bars of dynamics.

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
    RigidityDistributionDisplay.from_rigidities(
        result.structures["rigidity"],
        groups=result.structures["kind"],
        label="rigidity of a structure",
        unit="reference calculations; high is firm",
        ax=left,
    )
    left.set(
        ylim=(0, 1.25 * left.get_ylim()[1]),  # below the legend
        ylabel="structures (%)",
        title="Rigidity of structures\n(vertical lines: medians)",
    )
    _coordination(middle, result.atoms)
    _heated(right, result)
    return figure


def _coordination(axes: Any, atoms: pd.DataFrame) -> None:
    kinds = [rows for _, rows in atoms.groupby("kind", sort=False)]
    width = 0.8 / len(kinds)
    drawn = set()
    for i, (color, rows) in enumerate(zip(COLORS, kinds, strict=False)):
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
            boxprops={"facecolor": color, "alpha": 0.7},
        )
    axes.set(
        yscale="log",
        xticks=sorted(drawn),
        xlabel=f"coordination number (neighbors within {BOND} Å)",
        ylabel="local rigidity of an atom (reference calculations)",
        title="Rigidity of atoms\n(boxes: quartiles, whiskers: 5 to 95 %)",
    )


def _heated(axes: Any, result: DemoResult) -> None:
    rows = result.dynamics
    axes.plot(rows["temperature_K"], rows["max_forces_std_eV_per_A"], "o", color=COLORS[0])
    limit = result.potential.training_quantile("forces_std", 1.0)
    axes.axhline(limit, color="black", linestyle="--", label="largest in the training set")
    axes.legend()
    axes.set(
        yscale="log",
        xlabel="temperature (K)",
        ylabel="largest forces_std (eV/Å)",
        title="Dynamics of heated bulk\n(error bars of forces)",
    )
