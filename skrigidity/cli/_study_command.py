"""The command ``skrigidity study``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from skrigidity.cli import _options as opt
from skrigidity.cli._common import InputError, Talk, errors_in_one_line, require
from skrigidity.cli._output import STUDY_FILES, check_output

_SHORT_HELP = "What last-layer rigidities of CHGNet tell on data of your own, and what not."
_HELP = f"""{_SHORT_HELP}

Every file is a set of labelled frames (of an element, a phase), five at least. A linear readout \
of several of the network's layers is fitted to 60 % of them; its error bars are calibrated on \
20 % and tested on 20 %. The network itself, with its own last layer, is tested beside. Frames of \
--foreign should stand out; they need no labels.

Writes tables of the scores (energies.csv, foreign.csv, forces.csv), those of the size of forces, \
of gradients without a Hessian and of chance beside them (controls.csv), and what follows in words \
(summary.txt)."""


def add_to(app: typer.Typer) -> None:
    """Add the command to the application."""

    @app.command(short_help=_SHORT_HELP, help=_HELP)
    def study(
        sets: Annotated[
            list[Path],
            typer.Argument(metavar="FRAMES", help="Labelled structures, a set in each file."),
        ],
        foreign: Annotated[
            opt.MaybePaths,
            typer.Option(metavar="FILE", help="Structures that should stand out; repeatable."),
        ] = None,
        output: Annotated[
            Path, typer.Option("--output", "-o", metavar="FOLDER", help="Where to write tables.")
        ] = Path("study"),
        weights: Annotated[
            str,
            typer.Option(metavar="0.3.0|0.2.0|r2scan", help="Which of the weights of CHGNet."),
        ] = "0.3.0",
        splits: Annotated[int, typer.Option(min=1, help="Random divisions for energies.")] = 12,
        split_key: Annotated[
            opt.MaybeText,
            typer.Option(
                metavar="NAME",
                help="Name in the frames' info that says which are for the test; without it, they "
                "are divided at random.",
            ),
        ] = None,
        force_frames: Annotated[
            int,
            typer.Option(min=0, help="Test frames of every set whose forces are looked at."),
        ] = 12,
        draws: Annotated[int, typer.Option(min=1, help="Draws for error bars of forces.")] = 10,
        alpha: Annotated[
            float,
            typer.Option(help="Regularization of the readout, relative to the mean eigenvalue."),
        ] = 1e-10,
        energy_key: Annotated[
            str, typer.Option(metavar="NAME", help="Name of energies (eV); auto finds it.")
        ] = "auto",
        forces_key: Annotated[
            str, typer.Option(metavar="NAME", help="Name of forces (eV/Å); auto finds it.")
        ] = "auto",
        seed: opt.Seed = 0,
        force: opt.Force = False,
        quiet: opt.Quiet = False,
        as_json: opt.Json = False,
    ) -> None:
        with errors_in_one_line():
            require("ase")
            if not alpha > 0:
                raise InputError(f"--alpha: expected a positive number, got {alpha}")
            check_output(output, STUDY_FILES, force=force)
            job = {"sets": sets, "foreign": foreign or [], "output": output, "weights": weights}
            job["options"] = {
                "n_splits": splits,
                "split_key": split_key,
                "n_force_frames": force_frames,
                "n_draws": draws,
                "alpha": alpha,
                "energy_key": energy_key,
                "forces_key": forces_key,
                "random_state": seed,
            }
            _run(job, Talk(quiet, as_json))


def _run(job: dict[str, Any], talk: Talk) -> None:
    from skrigidity.cli._study import StudyJob, run_study, summary_of

    with talk.progress("study") as on_progress:
        found, written = run_study(StudyJob(**job), on_progress=on_progress)
    talk.report(str(found), summary_of(found), written)
