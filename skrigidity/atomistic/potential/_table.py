"""Errors and scores of error bars, by group of frames."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import spearmanr

from skrigidity.atomistic.potential._calibration import Scales, moving
from skrigidity.atomistic.potential._leave_out import LeftRows
from skrigidity.calibration import gaussian_nll
from skrigidity.gradients import FORCES, PROPERTIES

Array = NDArray[np.float64]
_FEWEST = 5  # atoms of a frame for a correlation within it


def table_of_errors(rows: LeftRows, predicted: Array, scales: Scales, labels: Any) -> pd.DataFrame:
    """Return a table of errors: see `RigidPotential.error_table`.

    Parameters
    ----------
    rows : LeftRows
        Of frames that the model has not been fitted to.
    predicted : ndarray of shape (n_rows,)
        What is predicted for the rows.
    scales : Scales
    labels : sequence of shape (n_frames,), or None
        Groups of frames.

    Returns
    -------
    pandas.DataFrame
    """
    found: dict[tuple[str, str], dict[str, float]] = {}
    for k, name in enumerate(PROPERTIES):
        here = rows.kind == k
        if not here.any():
            continue
        # What is usual is the same for all groups.
        moves = np.zeros(len(here), dtype=bool)
        moves[here] = moving(rows.quad[here])
        parts = {"all": here}
        if labels is not None:
            label = np.asarray(labels)[rows.frame]
            parts |= {str(g): here & (label == g) for g in np.unique(np.asarray(labels))}
        for group, chosen in parts.items():
            if chosen.any():
                found[group, name] = _scores(rows, predicted, scales, name, chosen, moves)
    index = pd.MultiIndex.from_tuples(found, names=["group", "property"])
    order = sorted(range(len(found)), key=lambda i: (index[i][0] != "all", index[i][0]))
    return pd.DataFrame(list(found.values()), index=index).iloc[order]


def _scores(
    rows: LeftRows,
    predicted: Array,
    scales: Scales,
    name: str,
    chosen: NDArray[np.bool_],
    moves: NDArray[np.bool_],
) -> dict[str, float]:
    error = np.abs(rows.residual[chosen])
    out = {"n": len(error), "mae": error.mean(), "rmse": np.sqrt(np.mean(error**2))}
    out["n_still"] = int((chosen & ~moves).sum())
    kept = chosen & moves
    if not kept.any():
        return out
    error, quad = np.abs(rows.residual[kept]), rows.quad[kept]
    out["mae_moving"] = error.mean()
    variance = scales.variance[name] * quad + scales.noise[name]
    std = np.sqrt(variance)
    for k in (1, 2, 3):
        out[f"coverage_{k}"] = np.mean(error <= k * std)
    if not (np.isfinite(variance) & (variance > 0)).all():
        return out
    constant = gaussian_nll(error, np.full(len(error), np.mean(error**2))).mean()
    shuffled = np.random.default_rng(0).permutation(variance)
    out["dnll"] = gaussian_nll(error, variance).mean() - constant
    out["dnll_shuffled"] = gaussian_nll(error, shuffled).mean() - constant
    if name != FORCES:
        out["spearman"] = _spearman(error, std)
        return out
    return out | _of_atoms(error, std, predicted[kept], rows.frame[kept], _atoms(rows, kept))


def _atoms(rows: LeftRows, kept: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Return a number for every atom that rows of forces belong to."""
    forces = rows.kind == PROPERTIES.index(FORCES)
    number = np.cumsum(forces) - 1
    return np.asarray(number[kept] // 3)


def _of_atoms(
    error: Array, std: Array, predicted: Array, frame: NDArray[np.intp], atom: NDArray[np.intp]
) -> dict[str, float]:
    """Return how the error bars of atoms rank their errors, and how the size of forces does."""
    _, first, place = np.unique(atom, return_index=True, return_inverse=True)
    size, bar, force = (np.sqrt(np.bincount(place, v**2)) for v in (error, std, predicted))
    frame = frame[first]
    frames = [np.flatnonzero(frame == f) for f in np.unique(frame)]
    large = [members for members in frames if len(members) >= _FEWEST]
    out = {}
    for which, guide in (("spearman", bar), ("spearman_of_force", force)):
        out[which] = _spearman(size, guide)
        within = [_spearman(size[m], guide[m]) for m in large]
        out[which + "_within"] = float(np.nanmean(within)) if within else np.nan
    return out


def _spearman(a: Array, b: Array) -> float:
    if len(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return np.nan
    return float(spearmanr(a, b).statistic)
