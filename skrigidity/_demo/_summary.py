"""The results of the demo in a few lines of text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from skrigidity._demo._data import DENSE
from skrigidity._demo._tables import BOND, LABELS, least_rigid

if TYPE_CHECKING:
    from skrigidity._demo._run import DemoResult

_N_LISTED = 4


def summary_text(result: DemoResult, paths: Sequence[Path] = ()) -> str:
    """Say what was fitted, how good it is, what it does not know, and what was written.

    Parameters
    ----------
    result : DemoResult
    paths : sequence of Path, default=()
        The files written.

    Returns
    -------
    str
        Several lines of at most 80 characters, but for paths.
    """
    fit = result.fit
    blocks = [
        f"Trained on {result.n_training} bulk structures of amorphous carbon, above {DENSE} g/cm³,"
        f"\nfrom {result.n_trajectories} trajectories; tested on other trajectories."
        f"\nGrid search: cutoff {fit.cutoff} Å, alpha {fit.alpha:.2g}; "
        f"cross-validation RMSE {1000 * fit.cv_rmse:.0f} meV/atom.",
        _errors(result),
        _local(result),
        _least_rigid(result),
    ]
    if paths:
        blocks.append("Written:\n" + "\n".join(f"  {path}" for path in paths))
    return "\n\n".join(blocks)


def _errors(result: DemoResult) -> str:
    lines = [
        f"{'':<18}{'':>5}{'error (meV/atom)':>18}{'median':>9}{'median':>12}{'errors within':>17}",
        f"{'':<18}{'n':>5}{'MAE':>10}{'RMSE':>8}{'std':>9}{'rigidity':>12}{'1 std':>9}{'2 std':>8}",
    ]
    for kind, row in result.summary.iterrows():
        numbers = (
            f"{LABELS[str(kind)]:<18}{row['n_structures']:>5.0f}{row['mae_meV_per_atom']:>10.0f}"
            f"{row['rmse_meV_per_atom']:>8.0f}{row['median_std_meV_per_atom']:>9.0f}"
            f"{row['median_rigidity']:>12.3g}"
            f"{100 * row['within_1_std']:>7.0f} %{100 * row['within_2_std']:>6.0f} %"
        )
        lines.append(numbers.replace("nan %", "    –").replace("nan", "  –"))
    lines.append(f"{'Gaussian errors':<18}{68:>51} %{95:>6} %")
    lines.append(
        f"Predicting the mean of the training set: RMSE {result.baseline_rmse:.0f} on the bulk."
    )
    return "\n".join(lines)


def _local(result: DemoResult) -> str:
    medians = result.atoms.pivot_table(
        "local_rigidity", "kind", "coordination", aggfunc="median", sort=False
    ).sort_index(axis=1)
    lines = [
        f"Median local rigidity of atoms, by number of neighbors within {BOND} Å",
        " " * 18 + "".join(f"{number:>9}" for number in medians.columns),
    ]
    for kind, row in medians.iterrows():
        cells = "".join(f"{'–' if np.isnan(value) else f'{value:.2g}':>9}" for value in row)
        lines.append(f"{LABELS[str(kind)]:<18}{cells}")
    return "\n".join(lines)


def _least_rigid(result: DemoResult) -> str:
    lines = [
        "Least rigid atoms, one a structure at most",
        f"{'':<18}{'structure':>9}{'atom':>6}{'neighbors':>11}{'local rigidity':>16}",
    ]
    listed = least_rigid(result.structures, result.atoms, _N_LISTED)
    for row in listed.to_dict("records"):
        lines.append(
            f"{LABELS[row['kind']]:<18}{row['structure']:>9}{row['atom']:>6}"
            f"{row['coordination']:>11}{row['local_rigidity']:>16.2g}"
        )
    return "\n".join(lines)
