"""The command ``skrigidity``; what a command runs is imported when it is asked for."""

from skrigidity.cli._common import errors_in_one_line, require


def main() -> None:
    """Run the command line and exit: 2 for bad input or a missing extra."""
    with errors_in_one_line():
        require("typer", "rich")
    from skrigidity.cli._app import make_app

    make_app()()
