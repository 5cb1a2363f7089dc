"""Fitting a potential to the frames of a file, and saying how good it is."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import compress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from skrigidity._extras import import_extra
from skrigidity.atomistic import RigidPotential
from skrigidity.cli._descriptor import DescriptorOptions
from skrigidity.cli._division import FrameSet, divide
from skrigidity.cli._output import FIT_FILES, replaced_together
from skrigidity.cli._potential import facts_of
from skrigidity.plotting import ErrorUncertaintyDisplay

if TYPE_CHECKING:
    from ase import Atoms
    from matplotlib.figure import Figure

Array = NDArray[np.float64]
_MOST_POINTS = 20_000
# What is drawn, and in which unit: name, factor, unit.
_DRAWN = {
    "energy": (1000.0, "meV/atom"),
    "forces": (1.0, "eV/Å"),
    "stress": (1000.0, "meV/atom"),
}


@dataclass(frozen=True)
class FitJob:
    """What is asked for.

    Attributes
    ----------
    frames, output : Path
        The structures, and the folder for the results.
    validation : str or None
        Which of them, or which others, are for validation; as `divide` takes it.
    group, by : str or None
        Keys of what stays together, and of what the table is broken down by.
    seed : int
    plot : bool
        Whether to draw a picture.
    """

    frames: Path
    output: Path
    validation: str | None = None
    group: str | None = None
    by: str | None = None
    seed: int = 0
    plot: bool = True


class Errors(NamedTuple):
    """Errors of frames that the model has not seen, and their error bars.

    Attributes
    ----------
    of : str
        Which frames they are of.
    table : DataFrame
        A row per set, group and property, with errors in eV/atom and eV/Å.
    residual, std : dict of str to ndarray
        By property: energies and strain derivatives per atom in eV, force components in eV/Å.
    """

    of: str
    table: pd.DataFrame
    residual: dict[str, Array]
    std: dict[str, Array]


def run_fit(
    job: FitJob, arguments: dict[str, Any], descriptor: DescriptorOptions
) -> tuple[dict[str, Any], Errors, list[Path]]:
    """Do the job; return facts of the potential, its errors, and the files that were written."""
    every = FrameSet.read(job.frames)
    groups = None if job.group is None else every.labels(job.group)
    training, validation = divide(every, job.validation, groups, job.seed)
    for part in (training, validation):
        if job.by is not None and part is not None:
            part.labels(job.by)
    labels = None if job.group is None else training.labels(job.group)
    with training.where():
        made = descriptor.make(training.frames, _species(training)) if descriptor.given else None
        potential = RigidPotential(made, **arguments)
        potential.fit(training.frames, groups=labels)
    if validation is None:
        with training.where():
            errors = _left_out(potential, training, labels, job.by)
    else:
        with validation.where():
            errors = _of_others(potential, validation, job.by)
    facts = {"n_training": len(training), "n_validation": len(validation or ())}
    return facts | facts_of(potential), errors, _write(job, potential, errors)


def _species(training: FrameSet) -> NDArray[np.int64]:
    return np.unique(np.concatenate([frame.numbers for frame in training.frames]))


def _of_others(potential: Any, validation: FrameSet, by: str | None) -> Errors:
    table = potential.error_table(validation.frames, by=by).reset_index()
    fitted = [name for name in ("energy", "forces") if name in potential.keys_]
    found = {}
    if fitted:
        found = potential.predict(validation.frames, return_std=True, properties=fitted)
    residual: dict[str, list[Array]] = {name: [] for name in fitted}
    std: dict[str, list[Array]] = {name: [] for name in fitted}
    for i, frame in enumerate(validation.frames):
        for name in fitted:
            reference = _reference(frame, potential.keys_[name])
            if reference is not None:
                unit = len(frame) if name == "energy" else 1
                residual[name].append(np.ravel((reference - found[name][i]) / unit))
                std[name].append(np.ravel(found[f"{name}_std"][i] / unit))
    table.insert(0, "set", "validation")
    return Errors("validation frames", table, _joined(residual), _joined(std))


def _left_out(potential: Any, training: FrameSet, labels: Any, by: str | None) -> Errors:
    found = potential.leave_one_out(training.frames, groups=labels)
    n_atoms = np.array([len(frame) for frame in training.frames])
    volumes = np.array([frame.cell.volume for frame in training.frames]) / n_atoms
    left = {
        "energy": (list(found.residual / n_atoms), list(found.rigidity)),
        "forces": (found.forces_residual, found.forces_rigidity),
        "stress": (found.stress_residual * volumes[:, None], found.stress_rigidity),
    }
    residual: dict[str, list[Array]] = {}
    std: dict[str, list[Array]] = {}
    for name in potential.gradients_.fitted:
        error, rigidity = left[name]
        residual[name] = [np.ravel(part) for part in error]
        std[name] = [_std(potential, name, part) for part in rigidity]
    parts = {"all": np.ones(len(training), dtype=bool)}
    if by is not None:
        values = training.labels(by)
        parts |= {str(value): values == value for value in np.unique(values)}
    rows: list[dict[str, Any]] = []
    for group, chosen in parts.items():
        for name in residual:
            own = np.concatenate(list(compress(residual[name], chosen)))
            bars = np.concatenate(list(compress(std[name], chosen)))
            row = {"set": "training, left out", "group": group, "property": name}
            rows.append(row | _scores(own, bars))
    return Errors("training frames left out", pd.DataFrame(rows), _joined(residual), _joined(std))


def _std(potential: Any, name: str, rigidity: Any) -> Array:
    quad = potential.errors_[name] ** 2 / np.ravel(rigidity)
    return np.asarray(np.sqrt(potential.scale_[name] * quad + potential.noise_variance_[name]))


def _scores(residual: Array, std: Array) -> dict[str, Any]:
    known = np.isfinite(residual) & np.isfinite(std)
    error, std = np.abs(residual[known]), std[known]
    if not len(error):
        return {"n": 0}
    scores = {"n": len(error), "mae": error.mean(), "rmse": np.sqrt(np.mean(error**2))}
    return scores | {f"coverage_{k}": np.mean(error <= k * std) for k in (1, 2, 3)}


def _joined(parts: dict[str, list[Array]]) -> dict[str, Array]:
    return {name: np.concatenate(values) for name, values in parts.items() if values}


def _reference(frame: Atoms, key: str) -> Any:
    """Return what a frame, or the calculation stored with it, has under a key."""
    results = getattr(frame.calc, "results", {})
    for place in (frame.info, frame.arrays, results):
        if place.get(key) is not None:
            return place[key]
    return None


def _write(job: FitJob, potential: Any, errors: Errors) -> list[Path]:
    model, table, picture = FIT_FILES
    drawn = job.plot and len(errors.std) > 0
    with replaced_together(job.output, FIT_FILES) as staged:
        potential.save(staged / model)
        errors.table.to_csv(staged / table, index=False, float_format="%.6g")
        if drawn:
            draw(errors).savefig(staged / picture, dpi=150)
    return [job.output / name for name in FIT_FILES if drawn or name != picture]


def draw(errors: Errors) -> Figure:
    """Draw errors against error bars, a panel for each property.

    Parameters
    ----------
    errors : Errors

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure_class = import_extra("matplotlib.figure", extra="plot", needed_by="a picture").Figure
    figure = figure_class(figsize=(5.5 * len(errors.std), 4.6), layout="constrained")
    panels = np.atleast_1d(figure.subplots(1, len(errors.std)))
    for axes, (name, std) in zip(panels, errors.std.items(), strict=True):
        factor, unit = _DRAWN[name]
        residual = factor * errors.residual[name]
        shown = np.flatnonzero(np.isfinite(residual) & np.isfinite(std))
        if len(shown) > _MOST_POINTS:
            shown = np.random.default_rng(0).choice(shown, _MOST_POINTS, replace=False)
        ErrorUncertaintyDisplay.from_predictions(
            residual[shown], np.zeros(len(shown)), factor * std[shown], unit=unit, ax=axes
        )
        axes.set_title(f"{name}: {errors.of}", loc="left")
    return figure


def summary_text(facts: dict[str, Any], errors: Errors) -> str:
    """Say what was fitted and how good it is."""
    shown = errors.table.copy()
    energy = shown["property"] == "energy"
    for name in ("mae", "rmse"):
        values = shown[name] * np.where(energy, 1000.0, 1.0)
        shown[name] = [f"{v:.1f}" if e else f"{v:.3f}" for v, e in zip(values, energy, strict=True)]
    units = {"energy": "meV/atom", "forces": "eV/Å", "stress": "eV/atom"}
    shown.insert(3, "unit", shown["property"].map(units))
    columns = ["group", "property", "unit", "n", "mae", "rmse"]
    columns += [f"coverage_{k}" for k in (1, 2, 3) if f"coverage_{k}" in shown]
    return "\n".join(
        [
            f"Fitted to {facts['n_training']} frames: {facts['n_features']} features of "
            f"{', '.join(facts['species'])}, cutoff {facts['cutoff_A']} Å",
            f"Errors of {errors.of}; coverage: share within 1, 2, 3 std (of Gaussian\n"
            "errors 0.68, 0.95, 1.00)",
            shown[columns].to_string(index=False, float_format="{:.2f}".format),
        ]
    )
