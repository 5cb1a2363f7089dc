"""The command ``skrigidity calibrate``."""

from __future__ import annotations

from typing import Annotated

import typer

from skrigidity.cli import _options as opt
from skrigidity.cli._common import Talk, errors_in_one_line, require
from skrigidity.cli._output import check_output

_SHORT_HELP = "Adjust the error bars of a potential to frames that it has not seen."
_HELP = f"""{_SHORT_HELP}

The error bars of every property become std = sqrt(C² q + σ²), with q the variance that the \
training set leaves, and C and σ those that make the errors of these frames most likely. \
Predictions stay as they are."""


def add_to(app: typer.Typer) -> None:
    """Add the command to the application."""

    @app.command(short_help=_SHORT_HELP, help=_HELP)
    def calibrate(
        model: opt.Model,
        frames: opt.Frames,
        group: Annotated[
            opt.MaybeText,
            typer.Option(
                metavar="KEY",
                help="Give all frames with one value under this key together the same weight as "
                "those with another.",
            ),
        ] = None,
        output: Annotated[
            opt.MaybePath,
            typer.Option("--output", "-o", help="Where to write it; in place of MODEL without."),
        ] = None,
        force: opt.Force = False,
        quiet: opt.Quiet = False,
        as_json: opt.Json = False,
    ) -> None:
        with errors_in_one_line():
            require("ase")
            target = model if output is None else output
            in_place = output is None or output.resolve() == model.resolve()
            check_output(target.parent, [target.name], force=force or in_place)
            from skrigidity.cli._calibrate import description, run_calibrate

            summary = run_calibrate(model, frames, target, group=group)
            Talk(quiet, as_json).report(description(summary), summary, [target])
