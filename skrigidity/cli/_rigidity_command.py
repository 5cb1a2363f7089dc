"""The command ``skrigidity rigidity``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from skrigidity.cli import _options as opt
from skrigidity.cli._common import Talk, errors_in_one_line, require
from skrigidity.cli._output import check_output, structures_names

_SHORT_HELP = "Error bars and rigidities of frames and of their atoms."
_HELP = f"""{_SHORT_HELP}

Writes the structures as extended XYZ, with local_rigidity (in reference calculations; high is \
firm), energies_std (eV), forces_std (eV/Å, three columns) and support of every atom, the \
predicted energy, forces and stress, and energy_std (eV) of every frame; beside it a table (.csv), \
a picture (.png) and, if asked for, a page for chemiscope (.html). Frames and atoms are counted \
from 0.

One frame after another is read, computed and written: files may be of any size. What a killed run \
leaves behind, OUT.partial.extxyz and two files beside it, is continued by --resume."""


def add_to(app: typer.Typer) -> None:
    """Add the command to the application."""

    @app.command(short_help=_SHORT_HELP, help=_HELP)
    def rigidity(
        model: opt.Model,
        frames: opt.Frames,
        output: Annotated[
            Path, typer.Option("--output", "-o", help="Structures to write, extended XYZ.")
        ] = Path("rigidity.extxyz"),
        forces: Annotated[
            bool,
            typer.Option(
                "--forces/--no-forces", help="Error bars of forces, which are most of the work."
            ),
        ] = True,
        stress: Annotated[
            bool,
            typer.Option(
                "--stress/--no-stress", help="Error bars of the stress (eV/Å³) of periodic frames."
            ),
        ] = False,
        chemiscope: Annotated[
            int,
            typer.Option(
                min=0,
                max=1000,
                metavar="FRAMES",
                help="Also write a page that shows this many frames, those of the least rigid "
                "atoms, in any browser.",
            ),
        ] = 0,
        resume: Annotated[
            bool, typer.Option("--resume", help="Continue a run that was stopped, if there is one.")
        ] = False,
        plot: opt.Plot = True,
        force: opt.Force = False,
        quiet: opt.Quiet = False,
        as_json: opt.Json = False,
    ) -> None:
        with errors_in_one_line():
            require("ase", *["matplotlib"] * plot, *["chemiscope"] * (chemiscope > 0))
            check_output(output.parent, structures_names(output), force=force)
            _run(
                {"model": model, "frames": frames, "output": output, "forces": forces}
                | {"stress": stress, "plot": plot, "n_shown": chemiscope},
                Talk(quiet, as_json),
                resume=resume,
                force=force,
            )


def _run(options: dict[str, Any], talk: Talk, *, resume: bool, force: bool) -> None:
    from skrigidity.cli._rigidity import RigidityJob, run_rigidity, summary_of, summary_text

    try:
        with talk.progress("rigidities") as on_progress:
            table, written = run_rigidity(
                RigidityJob(**options), resume=resume, force=force, on_progress=on_progress
            )
    except KeyboardInterrupt:
        print("skrigidity: stopped; --resume continues from here", file=sys.stderr)
        raise
    summary = summary_of(table)
    talk.report(summary_text(summary, table), summary, written)
