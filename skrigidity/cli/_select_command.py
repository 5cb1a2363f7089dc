"""The command ``skrigidity select``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from skrigidity.cli import _options as opt
from skrigidity.cli._common import InputError, Talk, errors_in_one_line, require
from skrigidity.cli._descriptor import DescriptorOptions
from skrigidity.cli._output import check_output, structures_names

_OBJECTIVES = ("variance", "mean", "log_mean", "min", "information")
_SHORT_HELP = "Choose the frames of a pool that are worth a calculation; no labels needed."
_HELP = f"""{_SHORT_HELP}

One after another, the frame is chosen whose energy (with --forces: energy and all forces) would \
pin the energies of the targets most firmly, given the training frames and those chosen before.

Writes the chosen structures in the order of their choice as extended XYZ, each with its number in \
the pool (frame_of_pool, counted from 0); beside it the path of the selection (.csv) and a picture \
(.png)."""


def add_to(app: typer.Typer) -> None:
    """Add the command to the application."""

    @app.command(short_help=_SHORT_HELP, help=_HELP)
    def select(
        pool: Annotated[
            Path, typer.Argument(metavar="POOL", help="Structures to choose from, as ASE reads.")
        ],
        n: Annotated[int, typer.Option("-n", min=1, help="How many to choose.")],
        train: Annotated[
            opt.MaybePath,
            typer.Option(metavar="FILE", help="Structures that have been labelled already."),
        ] = None,
        targets: Annotated[
            opt.MaybePath,
            typer.Option(
                metavar="FILE",
                help="Structures whose energies shall be predicted firmly; the pool without.",
            ),
        ] = None,
        output: Annotated[
            Path, typer.Option("--output", "-o", help="Structures to write, extended XYZ.")
        ] = Path("selected.extxyz"),
        objective: Annotated[
            str,
            typer.Option(
                metavar="|".join(_OBJECTIVES),
                help="What to improve over all targets: mean 1/R (variance), mean R (for few "
                "targets), mean log R, least R, or the information about them.",
            ),
        ] = "variance",
        forces: Annotated[
            bool,
            typer.Option(
                "--forces/--no-forces",
                help="A label is an energy with all forces; needs memory for "
                "all their derivatives.",
            ),
        ] = False,
        energy_error: Annotated[
            float, typer.Option(help="Error of a label's energy in eV/atom.")
        ] = 0.002,
        force_error: Annotated[
            float, typer.Option(help="Error of a label's forces in eV/Å.")
        ] = 0.1,
        kind: opt.Kind = None,
        cutoff: opt.Cutoff = None,
        degree: opt.Degree = None,
        ace_kind: opt.AceKind = None,
        alpha: Annotated[
            float,
            typer.Option(
                help="Regularization, relative to the mean diagonal of the pool's Hessian."
            ),
        ] = 1e-6,
        plot: opt.Plot = True,
        force: opt.Force = False,
        quiet: opt.Quiet = False,
        as_json: opt.Json = False,
    ) -> None:
        with errors_in_one_line():
            described_by = "featomic" if kind == "soap" else "sphericart"
            require("ase", described_by, *["matplotlib"] * plot)
            if objective not in _OBJECTIVES:
                expected = ", ".join(_OBJECTIVES)
                raise InputError(f"--objective: expected one of {expected}, got {objective}")
            for name, value in (
                ("--energy-error", energy_error),
                ("--force-error", force_error),
                ("--alpha", alpha),
            ):
                if not value > 0:
                    raise InputError(f"{name}: expected a positive number, got {value}")
            check_output(output.parent, structures_names(output)[:3], force=force)
            job = {
                "pool": pool,
                "train": train,
                "targets": targets,
                "output": output,
                "n": n,
                "descriptor": DescriptorOptions.parse(kind, cutoff, degree, ace_kind),
                "objective": objective,
                "alpha": alpha,
                "forces": forces,
                "energy_error": energy_error,
                "force_error": force_error,
                "plot": plot,
            }
            _run(job, Talk(quiet, as_json))


def _run(job: dict[str, Any], talk: Talk) -> None:
    from skrigidity.cli._select import SelectJob, run_select, summary_of, summary_text

    with talk.progress("select") as on_progress:
        table, written = run_select(SelectJob(**job), on_progress=on_progress)
    summary = summary_of(table, job["objective"])
    talk.report(summary_text(summary, job["pool"]), summary, written)
