"""The application: every command is a module that adds itself."""

from typing import Annotated

import typer

from skrigidity import __version__
from skrigidity.cli import (
    _calibrate_command,
    _demo_command,
    _fit_command,
    _info_command,
    _learn_command,
    _rigidity_command,
    _select_command,
    _study_command,
)

_COMMANDS = (
    _fit_command,
    _rigidity_command,
    _select_command,
    _calibrate_command,
    _learn_command,
    _info_command,
    _study_command,
    _demo_command,
)


def make_app() -> typer.Typer:
    """Make the application with all commands."""
    app = typer.Typer(
        help="Prediction rigidities: how firmly the data pin each prediction.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )

    def show_version(wanted: bool) -> None:
        if wanted:
            typer.echo(f"skrigidity {__version__}")
            raise typer.Exit

    @app.callback()
    def common(
        version: Annotated[
            bool,
            typer.Option(
                "--version", callback=show_version, is_eager=True, help="Show it and exit."
            ),
        ] = False,
    ) -> None:
        pass

    for command in _COMMANDS:
        command.add_to(app)
    return app
