"""Last-layer rigidities of CHGNet on sets of frames."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skrigidity.atomistic import FoundationStudy, foundation_study
from skrigidity.cli._common import InputError
from skrigidity.cli._output import STUDY_FILES, replaced_together
from skrigidity.cli._structures import one_line, read_frames

_SHIPPED = ("0.3.0", "0.2.0", "r2scan")


@dataclass(frozen=True)
class StudyJob:
    """What is asked for.

    Attributes
    ----------
    sets, foreign : list of Path
        Labelled frames, a set in each file, and frames that should stand out.
    output : Path
        The folder to write to.
    weights : str
        Which of the weights that CHGNet's package ships.
    options : dict
        Those of `foundation_study` that remain.
    """

    sets: list[Path]
    foreign: list[Path]
    output: Path
    weights: str
    options: dict[str, Any]


def run_study(
    job: StudyJob, *, on_progress: Callable[[float], None]
) -> tuple[FoundationStudy, list[Path]]:
    """Do the job; return the study and the files that were written."""
    sets, foreign = _read(job.sets), _read(job.foreign)
    if job.weights not in _SHIPPED:
        raise InputError(f"--weights: expected one of {', '.join(_SHIPPED)}, got {job.weights}")
    try:
        study = foundation_study(
            sets,
            foreign=foreign or None,
            model=job.weights,
            on_progress=lambda share, _: on_progress(share),
            **job.options,
        )
    except ValueError as error:
        raise InputError(one_line(error)) from error
    with replaced_together(job.output, STUDY_FILES) as staged:
        for name in ("energies", "foreign", "forces", "controls"):
            getattr(study, name).to_csv(staged / f"{name}.csv", index=False)
        (staged / "summary.txt").write_text(f"{study}\n", "utf-8")
    return study, [job.output / name for name in STUDY_FILES]


def summary_of(study: FoundationStudy) -> dict[str, Any]:
    """Return headline numbers, controls and settings."""
    return {
        "settings": study.settings,
        "summary": study.summary().to_dict("records"),
        "controls": study.controls.to_dict("records"),
    }


def _read(paths: Iterable[Path]) -> dict[str, list[Any]]:
    """Return the frames of every file by its name without endings."""
    out: dict[str, list[Any]] = {}
    for path in paths:
        name = path.name.split(".")[0]
        if name in out:
            raise InputError(f"{path}: another file is called {name}, too; sets need other names")
        out[name] = list(read_frames(path))
    return out
