"""What ``skrigidity learn`` does."""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from skrigidity._extras import import_extra
from skrigidity.active_learning import ActiveLearner, SerialExecutor
from skrigidity.cli._common import InputError
from skrigidity.cli._potential import load_potential
from skrigidity.cli._structures import one_line, read_frames

_TBLITE = {"gfn1-xtb": "GFN1-xTB", "gfn2-xtb": "GFN2-xTB", "ipea1-xtb": "IPEA1-xTB"}
_FILES = ("potential.npz", "labelled.extxyz", "log.jsonl", "watch.csv", "rigidity.png")


@dataclass(frozen=True)
class LearnJob:
    """What to learn, from what and where.

    Attributes
    ----------
    model, training, start : Path
    label : str
        The reference.
    output : Path
    thresholds : dict of str to str
    langevin : tuple of float
        Time step (fs), temperature (K), friction (1/fs).
    workers : int
        Processes for labels.
    """

    model: Path
    training: Path
    start: Path
    label: str
    output: Path
    thresholds: dict[str, str]
    langevin: tuple[float, float, float]
    workers: int = 0


def run_learn(
    job: LearnJob, options: dict[str, Any], *, progress: bool = True
) -> tuple[dict[str, Any], list[Path]]:
    """Learn; return a summary and the files that were written.

    Raises
    ------
    InputError
        If a file, the reference or a threshold cannot be used.
    """
    units: Any = import_extra("ase.units", extra="atomistic")
    md: Any = import_extra("ase.md.langevin", extra="atomistic")
    step, kelvin, friction = job.langevin
    langevin = {"timestep": step * units.fs, "temperature_K": kelvin, "fixcm": False}
    langevin["friction"] = friction / units.fs
    thresholds = {name: _threshold(text) for name, text in job.thresholds.items()}
    options = {**options, "thresholds": thresholds} if thresholds else dict(options)
    labeller, potential = labeller_of(job.label), load_potential(job.model)
    training, starts = list(read_frames(job.training)), list(read_frames(job.start))
    pool: Any = ProcessPoolExecutor(job.workers) if job.workers else nullcontext(SerialExecutor())
    try:
        with pool as executor:
            learner = ActiveLearner(
                potential,
                labeller,
                job.output,
                dynamics=md.Langevin,
                dynamics_options=langevin,
                executor=executor,
                progress=progress and sys.stderr.isatty(),
                **options,
            ).run(training, starts)
    except (ValueError, TypeError) as error:
        raise InputError(one_line(error)) from error
    summary = {
        "reason": learner.reason_,
        "simulated_time_fs": learner.time_,
        "events": learner.n_events_,
        "labels": len(learner.labelled_),
        "failed_labels": learner.n_failed_,
        "n_training": learner.potential_.n_training_["frames"],
    }
    return summary, [path for name in _FILES if (path := job.output / name).exists()]


def labeller_of(name: str) -> Callable[[], Any]:
    """Return what makes calculators for labels, or raise InputError."""
    if ":" in name:
        module, _, attribute = name.partition(":")
        try:
            sys.path.insert(0, str(Path.cwd()))
            return getattr(import_module(module), attribute)
        except (ImportError, AttributeError) as error:
            raise InputError(f"--label: {one_line(error)}") from None
        finally:
            sys.path.pop(0)
    if name.lower() in _TBLITE:
        tblite = import_extra("tblite.ase", extra="learn", needed_by=f"--label {name}")
        return partial(tblite.TBLite, method=_TBLITE[name.lower()], verbosity=0)
    calculators: Any = import_extra("ase.calculators.calculator", extra="atomistic")
    if name.lower() not in calculators.names:
        known = ", ".join(_TBLITE)
        raise InputError(
            f"--label: {name} is no calculator of ASE; besides these there are {known}, and "
            "module:factory"
        )
    return calculators.get_calculator_class(name.lower())


def summary_text(summary: dict[str, Any]) -> str:
    """Return in words what has happened."""
    return (
        f"{summary['events']} events in {summary['simulated_time_fs'] / 1000:g} ps, "
        f"{summary['labels']} labels ({summary['failed_labels']} failed): now "
        f"{summary['n_training']} training frames. Ended: {summary['reason']}."
    )


def _threshold(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text
