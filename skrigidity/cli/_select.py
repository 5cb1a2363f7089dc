"""Choosing the frames of a pool to label next."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
import scipy.linalg as sl
from numpy.typing import NDArray

from skrigidity import PRSelector, RigidRidge
from skrigidity._extras import import_extra
from skrigidity.atomistic import CompositionDescriptor
from skrigidity.cli._common import InputError
from skrigidity.cli._descriptor import DescriptorOptions
from skrigidity.cli._output import replaced_together, structures_names
from skrigidity.cli._structures import frame_numbers, inspect_frames, read_frames
from skrigidity.plotting import SelectionPathDisplay

if TYPE_CHECKING:
    from ase import Atoms

_AT_ONCE = 64
_UNITS = {"mean": "reference calculations", "min": "reference calculations"}
# How far, in eV, the energy of a free atom may be from 0: practically not penalized.
_FREE_ATOM = 100.0


@dataclass(frozen=True)
class SelectJob:
    """What is asked for.

    Attributes
    ----------
    pool : Path
        The candidates.
    output : Path
        The structures to write.
    n : int
        How many to choose.
    descriptor : DescriptorOptions
    train, targets : Path or None
        What has been labelled already, and what shall be predicted firmly (None: the pool).
    objective : str
        As in `PRSelector`.
    alpha : float
        Regularization, relative to the mean diagonal of the Hessian of the whole pool.
    forces : bool
        Whether a label is an energy with all forces.
    energy_error, force_error : float
        Errors in eV/atom and in eV/Å, which the rows are divided by.
    plot : bool
        Whether to draw a picture.
    """

    pool: Path
    output: Path
    n: int
    descriptor: DescriptorOptions
    train: Path | None = None
    targets: Path | None = None
    objective: str = "variance"
    alpha: float = 1e-6
    forces: bool = False
    energy_error: float = 0.002
    force_error: float = 0.1
    plot: bool = True

    @property
    def paths(self) -> list[Path]:
        """The files that are read."""
        return [path for path in (self.pool, self.train, self.targets) if path is not None]


class FrameRows(NamedTuple):
    """Rows of frames: features, fractions of species, and which frame each belongs to."""

    features: NDArray[Any]
    composition: NDArray[Any]
    frame: NDArray[Any]

    def matrix(self, free_atom: float) -> NDArray[np.float64]:
        """Return features and fractions beside each other, these multiplied by a number."""
        return np.column_stack([self.features, free_atom * self.composition])


def run_select(
    job: SelectJob, *, on_progress: Callable[[float], None]
) -> tuple[pd.DataFrame, list[Path]]:
    """Do the job; return the path of the selection and the files that were written."""
    sizes = {path: inspect_frames(path) for path in job.paths}
    if job.n > sizes[job.pool]:
        raise InputError(f"{job.pool}: has {sizes[job.pool]} frames, expected at least {job.n}")
    described = _descriptors(job)
    total, done = sum(sizes.values()), 0

    def counted(frames: Iterable[Atoms]) -> Iterator[Atoms]:
        nonlocal done
        for frame in frames:
            yield frame
            done += 1
            on_progress(0.8 * done / total)

    def rows(path: Path | None, *, forces: bool = job.forces) -> FrameRows | None:
        return None if path is None else _rows(job, path, described, counted, forces)

    pool = rows(job.pool)
    assert pool is not None
    selector = _select(job, pool, rows(job.train), rows(job.targets, forces=False))
    table, written = _write(job, selector)
    on_progress(1.0)
    return table, written


def _descriptors(job: SelectJob) -> tuple[Any, CompositionDescriptor]:
    """Return a descriptor and one of composition, both with all species of all files."""
    pool = list(read_frames(job.pool))
    others = [frame for path in job.paths[1:] for frame in read_frames(path)]
    species = np.unique(np.concatenate([frame.numbers for frame in pool + others]))
    with frame_numbers(job.pool, range(len(pool))):
        descriptor = job.descriptor.make(pool, species)
    descriptor.set_params(species=species, output="mean", cache_size=0)
    composition = CompositionDescriptor(species=species, output="mean")
    return descriptor.fit(pool[:1]), composition.fit(pool[:1])


def _rows(
    job: SelectJob,
    path: Path,
    described: tuple[Any, CompositionDescriptor],
    counted: Callable[[Iterable[Atoms]], Iterator[Atoms]],
    forces: bool,
) -> FrameRows:
    descriptor, composition = described
    parts: list[FrameRows] = []
    frames, start = counted(read_frames(path)), 0
    while chunk := list(islice(frames, _AT_ONCE)):
        numbers = range(start, start + len(chunk))
        with frame_numbers(path, numbers):
            features = descriptor.transform(chunk) / job.energy_error
            fractions = composition.transform(chunk) / job.energy_error
        parts.append(FrameRows(features, fractions, np.array(numbers)))
        for number, frame in zip(numbers, chunk, strict=True):
            if forces:
                with frame_numbers(path, [number]):
                    parts.append(_force_rows(job, descriptor, frame, number))
        start += len(chunk)
    return FrameRows(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def _force_rows(job: SelectJob, descriptor: Any, frame: Atoms, number: int) -> FrameRows:
    rows = descriptor.derivatives(frame).positions.reshape(3 * len(frame), -1) / job.force_error
    if len(rows) > rows.shape[1]:
        # As many rows as columns say the same.
        rows = sl.qr(rows, mode="r", check_finite=False)[0][: rows.shape[1]]
    n_species = len(descriptor.species_)
    return FrameRows(rows, np.zeros((len(rows), n_species)), np.full(len(rows), number))


def _select(
    job: SelectJob, pool: FrameRows, train: FrameRows | None, targets: FrameRows | None
) -> PRSelector:
    alpha = job.alpha * float(np.mean(np.einsum("ij,ij->j", pool.features, pool.features)))
    free_atom = _FREE_ATOM * np.sqrt(alpha)
    selector = PRSelector(
        job.n,
        estimator=RigidRidge(alpha=alpha, fit_intercept=False),
        objective=job.objective,
    )
    others = {"X_train": train, "X_target": targets}
    if job.forces and targets is None:
        # Rows of forces are candidates' alone: what is to be firm are energies.
        energies = np.unique(pool.frame, return_index=True)[1]
        others["X_target"] = FrameRows(*(part[energies] for part in pool))
    return selector.fit(
        pool.matrix(free_atom),
        groups=pool.frame if job.forces else None,
        **{name: part.matrix(free_atom) for name, part in others.items() if part is not None},
    )


def _write(job: SelectJob, selector: PRSelector) -> tuple[pd.DataFrame, list[Path]]:
    picks = selector.selected_idx_.tolist()
    found = {i: frame for i, frame in enumerate(read_frames(job.pool)) if i in set(picks)}
    chosen = [found[i] for i in picks]
    for pick, (number, frame) in enumerate(zip(picks, chosen, strict=True)):
        frame.info.update(pick=pick, frame_of_pool=number)
    table = pd.DataFrame(
        {
            "pick": range(len(picks)),
            "frame": picks,
            "n_atoms": [len(frame) for frame in chosen],
            "gain": selector.gains_,
            "objective_before": selector.objective_path_[:-1],
            "objective": selector.objective_path_[1:],
        }
    )
    names, folder = structures_names(job.output)[:3], job.output.parent
    structures, rows, picture = names
    ase_io: Any = import_extra("ase.io", extra="atomistic", needed_by="skrigidity select")
    with replaced_together(folder, names) as staged:
        ase_io.write(staged / structures, chosen, format="extxyz")
        table.to_csv(staged / rows, index=False, float_format="%.8g")
        if job.plot:
            _draw(job, selector).savefig(staged / picture, dpi=150)
    return table, [folder / name for name in names[: 2 + job.plot]]


def _draw(job: SelectJob, selector: PRSelector) -> Any:
    figure_class = import_extra("matplotlib.figure", extra="plot", needed_by="a picture").Figure
    axes = figure_class(figsize=(5.5, 4), layout="constrained").subplots()
    SelectionPathDisplay.from_selector(
        {"greedy": selector}, xlabel="frames chosen", ax=axes, unit=_UNITS.get(job.objective)
    )
    return axes.figure


def summary_of(table: pd.DataFrame, objective: str) -> dict[str, Any]:
    """Return which frames were chosen, and what becomes of the objective."""
    return {
        "frames": table["frame"].tolist(),
        "objective": objective,
        "before": float(table["objective_before"].iloc[0]),
        "path": table["objective"].tolist(),
    }


def summary_text(summary: dict[str, Any], pool: Path) -> str:
    """Say it."""
    frames = summary["frames"]
    shown = ", ".join(map(str, frames[:12])) + (", ..." if len(frames) > 12 else "")
    return (
        f"Chosen {len(frames)} frames of {pool}, counted from 0: {shown}\n"
        f"Objective ({summary['objective']}): {summary['before']:.3g} before, "
        f"{summary['path'][-1]:.3g} after"
    )
