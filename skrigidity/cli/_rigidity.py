"""Rigidities and error bars of many frames, one at a time."""

from __future__ import annotations

import csv
import io
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from skrigidity._extras import import_extra
from skrigidity.cli._common import InputError
from skrigidity.cli._output import replaced_together, structures_names
from skrigidity.cli._partial import PartialOutput, fingerprint
from skrigidity.cli._potential import load_potential
from skrigidity.cli._structures import frame_numbers, inspect_frames, read_frames
from skrigidity.plotting import RigidityDistributionDisplay, write_rigidity

if TYPE_CHECKING:
    from ase import Atoms

COLUMNS = (
    "frame",
    "n_atoms",
    "energy_eV",
    "energy_std_eV",
    "min_local_rigidity",
    "least_rigid_atom",
    "max_energies_std_eV",
    "min_support",
    "rms_forces_std_eV_per_A",
    "max_forces_std_eV_per_A",
)


@dataclass(frozen=True)
class RigidityJob:
    """What is asked for.

    Attributes
    ----------
    model, frames, output : Path
        The potential, the structures, and the structures to write.
    forces : bool
        Whether forces get error bars, which is most of the work.
    stress : bool
        Whether the stress of periodic frames gets them.
    plot : bool
        Whether to draw a picture.
    n_shown : int
        How many frames, those of the least rigid atoms, go into a page for chemiscope; 0: no page.
    """

    model: Path
    frames: Path
    output: Path
    forces: bool = True
    stress: bool = False
    plot: bool = True
    n_shown: int = 0

    @property
    def uncertainty(self) -> tuple[str, ...]:
        """The properties that get error bars."""
        asked = {"energy": True, "local": True, "forces": self.forces, "stress": self.stress}
        return tuple(name for name, wanted in asked.items() if wanted)

    def partial(self) -> PartialOutput:
        """Return what has been written so far, and how far that is."""
        made_from = {
            "model": fingerprint(self.model),
            "structures": fingerprint(self.frames),
            "options": list(self.uncertainty),
        }
        return PartialOutput(self.output, _csv_row(COLUMNS), made_from)


def run_rigidity(
    job: RigidityJob, *, resume: bool, force: bool, on_progress: Callable[[float], None]
) -> tuple[pd.DataFrame, list[Path]]:
    """Do the job; return the table of frames and the files that were written."""
    potential = load_potential(job.model)
    n_frames = inspect_frames(job.frames, potential.species_)
    partial = job.partial()
    partial.start(resume=resume, force=force)
    try:
        for frame, row in _computed(job, potential, partial.n_done):
            partial.add(_extxyz(frame), _csv_row(row))
            on_progress(partial.n_done / n_frames)
    except InputError:
        partial.remove()  # no later run could do better
        raise
    table = pd.read_csv(partial.rows)
    return table, _finish(job, partial, table)


def _computed(
    job: RigidityJob, potential: Any, start: int
) -> Iterator[tuple[Atoms, Sequence[object]]]:
    for number, frame in enumerate(read_frames(job.frames, start), start):
        with frame_numbers(job.frames, [number]):
            results = potential.single_point(frame, uncertainty=job.uncertainty)
        _annotate(frame, results)
        local = np.asarray(results["local_rigidity"])
        row: list[object] = [number, len(frame), results["energy"], results["energy_std"]]
        row += [local.min(), int(local.argmin()), np.max(results["energies_std"])]
        row += [np.min(results["support"])]
        if job.forces:
            squares = np.square(results["forces_std"])
            row += [np.sqrt(squares.mean()), np.sqrt(squares.max())]
        yield frame, row


def _annotate(frame: Atoms, results: dict[str, Any]) -> None:
    """Store results under names that ASE does not take for those of a calculator."""
    renamed = {"energy", "energies", "forces", "stress"}
    for name, value in results.items():
        if name == "free_energy":
            continue
        key = f"{name}_predicted" if name in renamed else name
        # Six components belong to the frame, also where it has six atoms.
        of_frame = name.startswith(("energy", "stress"))
        (frame.info if of_frame else frame.arrays)[key] = value


def _extxyz(frame: Atoms) -> bytes:
    text = io.StringIO()
    ase_io: Any = import_extra("ase.io", extra="atomistic", needed_by="skrigidity rigidity")
    ase_io.write(text, frame, format="extxyz")
    return text.getvalue().encode("utf-8")


def _csv_row(values: Sequence[object]) -> bytes:
    text = io.StringIO()
    shown = [f"{value:.8g}" if isinstance(value, float) else value for value in values]
    csv.writer(text, lineterminator="\n").writerow(shown + [""] * (len(COLUMNS) - len(shown)))
    return text.getvalue().encode("utf-8")


def _finish(job: RigidityJob, partial: PartialOutput, table: pd.DataFrame) -> list[Path]:
    names, folder = structures_names(job.output), job.output.parent
    structures, rows, picture, page = names
    with replaced_together(folder, names) as staged:
        if job.plot:
            draw(table).savefig(staged / picture, dpi=150)
        if job.n_shown:
            _write_page(staged / page, partial.frames, table, job.n_shown)
        os.replace(partial.rows, staged / rows)
        os.replace(partial.frames, staged / structures)
    partial.remove()
    return [folder / name for name in names if (folder / name).exists()]


def _write_page(path: Path, frames: Path, table: pd.DataFrame, n_shown: int) -> None:
    least = table.nsmallest(n_shown, "min_local_rigidity")["frame"]
    chosen = set(least.tolist())
    shown = [frame for i, frame in enumerate(read_frames(frames)) if i in chosen]
    numbers = [float(i) for i in sorted(chosen)]
    properties = {"frame": {"target": "structure", "values": numbers}}
    local = [frame.arrays["local_rigidity"] for frame in shown]
    if not any(((values > 0) & np.isfinite(values)).any() for values in local):
        warnings.warn("no page: no atom has a rigidity between 0 and inf", UserWarning, 2)
        return
    write_rigidity(path, shown, local, properties=properties)


def draw(table: pd.DataFrame) -> Any:
    """Draw distributions of the least rigidities and of the error bars of frames.

    Parameters
    ----------
    table : DataFrame
        A row per frame.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure_class = import_extra("matplotlib.figure", extra="plot", needed_by="a picture").Figure
    figure = figure_class(figsize=(12, 4.2), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    RigidityDistributionDisplay.from_rigidities(
        table["min_local_rigidity"],
        label="local rigidity",
        unit="reference calculations",
        ax=left,
    )
    left.set(ylabel="frames (%)", title="Least rigid atom of each frame (high is firm)")
    for axes, column, label in (
        (middle, "energy_std_eV", "std of the energy (meV/atom)"),
        (right, "max_forces_std_eV_per_A", "largest std of a force component (eV/Å)"),
    ):
        values = table[column] * (1000 / table["n_atoms"] if axes is middle else 1)
        axes.plot(table["frame"], values, ".", markersize=3)
        axes.set(xlabel="frame", ylabel=label, yscale="log" if (values > 0).any() else "linear")
    return figure


def summary_of(table: pd.DataFrame) -> dict[str, Any]:
    """Return what is worth saying of a table of frames, by name; names end in their units."""
    std = 1000 * table["energy_std_eV"] / table["n_atoms"]
    return {
        "n_frames": len(table),
        "n_atoms": int(table["n_atoms"].sum()),
        "median_energy_std_meV_per_atom": std.median(),
        "max_energy_std_meV_per_atom": std.max(),
        "median_max_forces_std_eV_per_A": table["max_forces_std_eV_per_A"].median(),
        "max_forces_std_eV_per_A": table["max_forces_std_eV_per_A"].max(),
        "min_local_rigidity": table["min_local_rigidity"].min(),
        "least_rigid": table.nsmallest(5, "min_local_rigidity")[
            ["frame", "least_rigid_atom", "min_local_rigidity"]
        ].to_dict("records"),
    }


def summary_text(summary: dict[str, Any], table: pd.DataFrame) -> str:
    """Say how large error bars are, and which atoms are the least rigid ones."""
    lines = [
        f"{summary['n_frames']} frames, {summary['n_atoms']} atoms",
        "Error bars (std): energy "
        f"{summary['median_energy_std_meV_per_atom']:.3g} meV/atom (median), "
        f"{summary['max_energy_std_meV_per_atom']:.3g} (largest)",
    ]
    if table["max_forces_std_eV_per_A"].notna().any():
        lines.append(
            "  largest force component of a frame "
            f"{summary['median_max_forces_std_eV_per_A']:.3g} eV/Å (median), "
            f"{summary['max_forces_std_eV_per_A']:.3g} (largest)"
        )
    lines += ["Least rigid atoms, one per frame (both counted from 0):"]
    lines += [
        f"  frame {row['frame']}, atom {row['least_rigid_atom']}: {row['min_local_rigidity']:.2g}"
        for row in summary["least_rigid"]
    ]
    lines.append("Rigidity: as many reference calculations would pin the atom as firmly.")
    return "\n".join(lines)
