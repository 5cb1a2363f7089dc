"""Tables of what a fitted model says of structures and of their atoms."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline

from skrigidity._extras import import_extra

if TYPE_CHECKING:
    from ase import Atoms

# Å: a little beyond the first minimum of carbon's pair distribution, as in the data's description.
BOND = 1.85
# The words of the tables, and what they mean.
LABELS = {"bulk": "bulk (held out)", "slab": "slab (surface)", "target": "target (yours)"}


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
    tables = []
    for frame, values, row in zip(frames, lpr, structures.to_dict("records"), strict=True):
        own = {"coordination": coordination(frame), "local_rigidity": values}
        frame.arrays.update(own)
        # Not "energy": ASE moves that into a calculator when it reads the file.
        frame.info.update(
            kind=row["kind"],
            structure=int(row["structure"]),
            energy_predicted=float(len(frame) * row["predicted_eV_per_atom"]),
            energy_std=float(len(frame) * row["std_meV_per_atom"] / 1000),
            rigidity=float(row["rigidity"]),
        )
        place = {"kind": row["kind"], "structure": row["structure"], "atom": range(len(frame))}
        tables.append(pd.DataFrame(place | own))
    return pd.concat(tables, ignore_index=True)


def coordination(frame: Atoms) -> NDArray[np.int64]:
    """Count the neighbors of each atom within the length of a bond."""
    neighborlist = import_extra("ase.neighborlist", extra="atomistic", needed_by="skrigidity demo")
    return np.bincount(neighborlist.neighbor_list("i", frame, BOND), minlength=len(frame))


def summarize(structures: pd.DataFrame) -> pd.DataFrame:
    """Errors, rigidities and coverage for each kind of structure; NaN where no energy is known."""
    error, std = structures["error_meV_per_atom"].abs(), structures["std_meV_per_atom"]
    inside = {f"within_{n}_std": (error < n * std).where(error.notna()) for n in (1, 2)}
    by_kind = structures.assign(error=error, square=error**2, **inside).groupby("kind", sort=False)
    return pd.DataFrame(
        {
            "n_structures": by_kind.size(),
            "mae_meV_per_atom": by_kind["error"].mean(),
            "rmse_meV_per_atom": np.sqrt(by_kind["square"].mean()),
            "median_std_meV_per_atom": by_kind["std_meV_per_atom"].median(),
            "median_rigidity": by_kind["rigidity"].median(),
            **{name: by_kind[name].agg(lambda v: v.astype(float).mean()) for name in inside},
        }
    )


def least_rigid(structures: pd.DataFrame, atoms: pd.DataFrame, n: int) -> pd.DataFrame:
    """List the least rigid atoms of each kind, from ``n`` structures: their least rigid atom."""
    firsts = np.cumsum(structures["n_atoms"]) - structures["n_atoms"]
    rows = (firsts + structures["least_rigid_atom"]).to_numpy()
    ordered = atoms.iloc[rows].sort_values("local_rigidity", kind="stable")
    listed = ordered.groupby("kind", sort=False).head(n)
    return listed.sort_values("kind", key=lambda kind: kind.map(list(LABELS).index), kind="stable")
