"""The command ``skrigidity info``."""

from __future__ import annotations

import typer

from skrigidity.cli import _options as opt
from skrigidity.cli._common import Talk, errors_in_one_line, require

_SHORT_HELP = "What a potential is: descriptor, training set, errors, calibration."


def add_to(app: typer.Typer) -> None:
    """Add the command to the application."""

    @app.command(short_help=_SHORT_HELP, help=_SHORT_HELP)
    def info(model: opt.Model, quiet: opt.Quiet = False, as_json: opt.Json = False) -> None:
        with errors_in_one_line():
            require("ase")
            from skrigidity.cli._info import description
            from skrigidity.cli._potential import facts_of, format_of, load_potential

            potential = load_potential(model)
            facts = {"format": format_of(model), **facts_of(potential)}
            Talk(quiet, as_json).report(description(facts), facts)
