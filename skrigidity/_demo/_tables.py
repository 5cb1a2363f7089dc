"""Tables of what a fitted model says of structures and of their atoms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline

from skrigidity._extras import import_extra

if TYPE_CHECKING:
    from ase import Atoms

# Å: a little beyond the first minimum of carbon's pair distribution, as in the data's description.
BOND = 1.85
LABELS = {"bulk": "bulk, held out", "slab": "surfaces", "target": "your structures"}


def structure_table(
    model: Pipeline, frames: list[Atoms], known: pd.DataFrame
) -> tuple[pd.DataFrame, list[NDArray[np.float64]]]:
    """Add predictions and rigidities to what is known of structures.

    Returns the table and the local rigidities of each structure. Errors are prediction minus
    energy.
    """
    # Pipelines pass neither rigidities nor standard deviations on: transform once, ask the ridge.
    features, ridge = model[:-1].transform(frames), model[-1]
    predicted, std = ridge.predict(features, return_std=True)
    lpr = ridge.local_rigidity(features)
    table = known.assign(
        n_atoms=[len(frame) for frame in frames],
        predicted_eV_per_atom=predicted,
        error_meV_per_atom=1000 * (predicted - known["energy_eV_per_atom"]),
        std_meV_per_atom=1000 * std,
        rigidity=ridge.prediction_rigidity(features),
        min_local_rigidity=[values.min() for values in lpr],
        least_rigid_atom=[int(values.argmin()) for values in lpr],
    )
    return table, lpr


def atom_table(
    frames: list[Atoms], structures: pd.DataFrame, lpr: list[NDArray[np.float64]]
) -> pd.DataFrame:
    """Make a row per atom, and store the same numbers in the frames."""
    for frame, values, row in zip(frames, lpr, structures.to_dict("records"), strict=True):
        frame.arrays["lpr"] = values
        frame.arrays["coordination"] = coordination(frame)
        frame.info.update(_frame_info(row))
    sizes = structures["n_atoms"]
    return pd.DataFrame(
        {
            "kind": np.repeat(structures["kind"].to_numpy(), sizes),
            "structure": np.repeat(structures["structure"].to_numpy(), sizes),
            "atom": np.concatenate([np.arange(n) for n in sizes]),
            "coordination": np.concatenate([frame.arrays["coordination"] for frame in frames]),
            "local_rigidity": np.concatenate(lpr),
        }
    )


def _frame_info(row: dict[Any, Any]) -> dict[str, Any]:
    # Not "energy": ASE moves that into a calculator when it reads the file.
    n_atoms = row["n_atoms"]
    return {
        "kind": row["kind"],
        "structure": int(row["structure"]),
        "energy_predicted": float(n_atoms * row["predicted_eV_per_atom"]),
        "energy_std": float(n_atoms * row["std_meV_per_atom"] / 1000),
        "rigidity": float(row["rigidity"]),
    }


def coordination(frame: Atoms) -> NDArray[np.int64]:
    """Count the neighbors of each atom within the length of a bond."""
    neighborlist = import_extra("ase.neighborlist", extra="atomistic", needed_by="skrigidity demo")
    return np.bincount(neighborlist.neighbor_list("i", frame, BOND), minlength=len(frame))


def summarize(structures: pd.DataFrame) -> pd.DataFrame:
    """Errors, rigidities and coverage for each kind of structure; NaN where no energy is known."""
    return pd.DataFrame(
        {kind: _summary(rows) for kind, rows in structures.groupby("kind", sort=False)}
    ).T


def _summary(rows: pd.DataFrame) -> dict[str, float]:
    error, std = rows["error_meV_per_atom"].abs(), rows["std_meV_per_atom"]
    known = error.notna()
    inside = [((error < n * std)[known]).mean() for n in (1, 2)]
    return {
        "n_structures": len(rows),
        "mae_meV_per_atom": error.mean(),
        "rmse_meV_per_atom": np.sqrt((error**2).mean()),
        "median_std_meV_per_atom": std.median(),
        "median_rigidity": rows["rigidity"].median(),
        "within_1_std": inside[0],
        "within_2_std": inside[1],
    }


def least_rigid(structures: pd.DataFrame, atoms: pd.DataFrame, n: int) -> pd.DataFrame:
    """List the least rigid atoms of each kind, from ``n`` structures: their least rigid atom."""
    firsts = np.cumsum(structures["n_atoms"]) - structures["n_atoms"]
    rows = (firsts + structures["least_rigid_atom"]).to_numpy()
    ordered = atoms.iloc[rows].sort_values("local_rigidity", kind="stable")
    listed = ordered.groupby("kind", sort=False).head(n)
    return listed.sort_values("kind", key=lambda kind: kind.map(list(LABELS).index), kind="stable")
