"""The results of the demo in a few lines of text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from skrigidity.cli._demo._data import DENSE
from skrigidity.cli._demo._tables import BOND, LABELS, least_rigid

if TYPE_CHECKING:
    from skrigidity.cli._demo._run import DemoResult

_N_LISTED = 4


def summary(result: DemoResult) -> dict[str, Any]:
    """Return what was fitted and how good it is, by name; names end in their units."""
    return {
        "n_training": result.n_training,
        "n_trajectories": result.n_trajectories,
        "cutoff_A": result.fit.cutoff,
        "alpha": result.fit.alpha,
        "cv_rmse_meV_per_atom": 1000 * result.fit.cv_rmse,
        "baseline_rmse_meV_per_atom": result.baseline_rmse,
        "structures": result.summary.to_dict("index"),
        "least_rigid": least_rigid(result.structures, result.atoms, _N_LISTED).to_dict("records"),
    }


def summary_text(result: DemoResult) -> str:
    """Say what was fitted, how good it is, what it does not know, and what can be done next.

    Parameters
    ----------
    result : DemoResult

    Returns
    -------
    str
        Several lines of at most 80 characters.
    """
    fit = result.fit
    blocks = [
        f"Trained on {result.n_training} bulk structures of amorphous carbon above {DENSE} g/cm³, "
        f"from {result.n_trajectories}\ntrajectories; tested on other trajectories.\n"
        f"Grid search: cutoff {fit.cutoff} Å, alpha {fit.alpha:.2g}; "
        f"cross-validation RMSE {1000 * fit.cv_rmse:.0f} meV/atom.",
        _EXPLANATION.format(1000 * np.sqrt(fit.model["ridge"].scale_)),
        f"Structures: errors (predicted minus GFN1-xTB energy) and rigidities\n"
        f"{_errors(result.summary)}\n"
        f"Predicting the mean of the training set: RMSE {result.baseline_rmse:.0f} meV/atom on "
        "the bulk.",
        f"Median local rigidity of atoms, by coordination (neighbors within {BOND} Å)\n"
        f"{_local(result)}",
        "Least rigid atoms, one per structure at most (both counted from 0)\n"
        f"{_least_rigid(result)}",
    ]
    blocks.append(_NEXT)
    return "\n\n".join(blocks)


_EXPLANATION = """\
Rigidity R: high is firm. A prediction with R = 1 is pinned, by data and
regularizer together, as firmly as by one direct measurement of unit weight
(here: the energy per atom of one structure); with R = 100 as firmly as by a
hundred. Its error bar is std = {:.0f} meV/atom / sqrt(R).
The local rigidity is that of one atom's contribution to the energy. It says
how firmly the contribution is pinned, not that it is right: where a model has
no features for an atom, such as a lone one, R can even be infinite."""


_NEXT = """\
The same with your own data (energies in eV, forces in eV/Å): fit a potential,
ask it for error bars of new structures and of their atoms, and choose which of
these to compute next
  skrigidity fit train.extxyz --validation 0.1 -o fit
  skrigidity rigidity fit/potential.npz new.extxyz -o rigidity.extxyz
  skrigidity select new.extxyz --train train.extxyz -n 20 -o next.extxyz"""


_ROWS = {
    "n_structures": ("number of structures", "{:.0f}"),
    "mae_meV_per_atom": ("error, MAE (meV/atom)", "{:.0f}"),
    "rmse_meV_per_atom": ("error, RMSE (meV/atom)", "{:.0f}"),
    "median_std_meV_per_atom": ("std, median (meV/atom)", "{:.0f}"),
    "median_rigidity": ("rigidity, median", "{:.2g}"),
    "within_1_std": ("within 1 std (Gaussian: 68 %)", "{:.0%}"),
    "within_2_std": ("within 2 std (Gaussian: 95 %)", "{:.0%}"),
}


def _errors(summary: pd.DataFrame) -> str:
    cells = {
        LABELS[str(kind)]: [
            "–" if np.isnan(row[c]) else f.format(row[c]) for c, (_, f) in _ROWS.items()
        ]
        for kind, row in summary.iterrows()
    }
    return _text(pd.DataFrame(cells, index=[label for label, _ in _ROWS.values()]))


def _local(result: DemoResult) -> str:
    medians = result.atoms.pivot_table(
        "local_rigidity", "kind", "coordination", aggfunc="median", sort=False
    )
    medians = medians.sort_index(axis=1).rename(LABELS).rename_axis(index=None, columns=None)
    return _text(medians, float_format="{:.2g}".format)


def _least_rigid(result: DemoResult) -> str:
    listed = least_rigid(result.structures, result.atoms, _N_LISTED)
    columns = ["structure", "atom", "coordination", "local_rigidity"]
    table = listed.set_index("kind")[columns].rename(LABELS).rename_axis(index=None)
    return _text(table.rename(columns=lambda c: c.replace("_", " ")), float_format="{:.2g}".format)


def _text(table: pd.DataFrame, **options: Any) -> str:
    lines = table.to_string(na_rep="–", col_space=8, **options).splitlines()
    return "\n".join(line.rstrip() for line in lines)
