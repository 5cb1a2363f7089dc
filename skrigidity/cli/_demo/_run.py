"""The commands, one after another, on bundled carbon."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from skrigidity.cli._demo._data import write_carbon
from skrigidity.cli._demo._dynamics import heat
from skrigidity.cli._demo._figure import draw
from skrigidity.cli._demo._result import DemoResult
from skrigidity.cli._descriptor import DescriptorOptions
from skrigidity.cli._fit import FitJob, run_fit
from skrigidity.cli._output import DEMO_FILES, replaced_together
from skrigidity.cli._potential import load_potential
from skrigidity.cli._rigidity import RigidityJob, run_rigidity
from skrigidity.cli._select import SelectJob, run_select
from skrigidity.cli._structures import read_frames

if TYPE_CHECKING:
    from ase import Atoms

CUTOFF = 3.7  # Å: up to the third shell of diamond
KEYS = {"energy_key": "energy_gfn1", "forces_key": "forces_gfn1"}
N_NEXT = 6
# When fit, error bars and selection are done; dynamics are the rest.
_SHARES = (0.5, 0.8, 0.85)


def run_demo(
    output: Path,
    *,
    seed: int = 0,
    targets: list[Atoms] | None = None,
    degree: list[float] | None = None,
    plot: bool = True,
    on_progress: Callable[[float], None] = lambda share: None,
) -> DemoResult:
    """Fit dense bulk carbon; look at other bulk, at surfaces and at the user's structures.

    Parameters
    ----------
    output : Path
        Folder for the files. If anything fails all is as it was.
    seed : int, default=0
        Decides which trajectories are held out.
    targets : list of ase.Atoms, default=None
        More structures of carbon to look at; their energies are not used.
    degree : list of float, default=None
        Largest total degrees of ACE; the usual ones without.
    plot : bool, default=True
        Whether to draw pictures.
    on_progress : callable, default does nothing
        Called with the share of the work that is done, in [0, 1].

    Returns
    -------
    DemoResult
    """

    def within(start: float, end: float) -> Callable[[float], None]:
        def part(share: float) -> None:
            on_progress(start + share * (end - start))

        return part

    fitted, described, chosen = _SHARES
    descriptor = DescriptorOptions(cutoff=CUTOFF, degree=degree)
    with replaced_together(output, DEMO_FILES) as folder:
        training, new, structures, following = (
            folder / f"{name}.extxyz" for name in ("train", "new", "structures", "next")
        )
        known = write_carbon(training, new, seed, targets or [])
        job = FitJob(training, folder, str(new), group="trajectory", by="kind", plot=plot)
        facts, errors, _ = run_fit(job, dict(KEYS), descriptor)
        on_progress(fitted)
        model = folder / "potential.npz"
        rows, _ = run_rigidity(
            RigidityJob(model, new, structures, plot=plot),
            resume=False,
            force=False,
            on_progress=within(fitted, described),
        )
        path, _ = run_select(
            SelectJob(new, following, N_NEXT, descriptor, train=training, plot=plot),
            on_progress=within(described, chosen),
        )
        potential, frames = load_potential(model), list(read_frames(structures))
        table = _with_what_is_known(rows, known)
        table["rigidity"] = potential.prediction_rigidity(frames)
        start = table.query("kind == 'bulk' and temperature_K <= 300").index[0]
        result = DemoResult(
            potential,
            facts,
            errors,
            table,
            _atoms(frames),
            path.assign(kind=known["kind"].iloc[path["frame"]].to_numpy()),
            heat(potential, frames[start], within(chosen, 1.0)),
            [output / name for name in DEMO_FILES if plot or not name.endswith(".png")],
        )
        table.to_csv(structures.with_suffix(".csv"), index=False, float_format="%.8g")
        result.chosen.to_csv(following.with_suffix(".csv"), index=False, float_format="%.8g")
        result.dynamics.to_csv(folder / "dynamics.csv", index=False, float_format="%.8g")
        if plot:
            draw(result).savefig(folder / "rigidity.png", dpi=150)
    return result


def _with_what_is_known(rows: pd.DataFrame, known: pd.DataFrame) -> pd.DataFrame:
    error = (rows["energy_eV"] - known["energy_gfn1_eV"]) / rows["n_atoms"]
    return pd.concat([rows, known], axis=1).assign(error_meV_per_atom=1000 * error)


def _atoms(frames: list[Atoms]) -> pd.DataFrame:
    names = ("coordination", "local_rigidity", "energies_std")
    tables = [
        pd.DataFrame(
            {"kind": frame.info["kind"], "frame": i, "atom": range(len(frame))}
            | {name: frame.arrays[name] for name in names}
        )
        for i, frame in enumerate(frames)
    ]
    return pd.concat(tables, ignore_index=True)
