"""The command ``skrigidity``; what it runs is imported when it is asked for."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, NoReturn, Optional

from skrigidity import __version__
from skrigidity._extras import import_extra

_EXTRAS = "atomistic,plot,cli"
_BAD_INPUT = 2
_SHORT_HELP = "Fit dense bulk carbon; report on other bulk and on surfaces."
_HELP = f"""{_SHORT_HELP}

Trains SOAP features and a ridge on bundled amorphous carbon above 2.4 g/cm³, with a grid search \
and error bars calibrated on left-out trajectories. Shows errors, rigidities and the coverage of \
the error bars on held-out bulk and on surfaces, and the atoms that the data pin least.

Writes structures.csv (a row per structure), rigidity.png and structures.extxyz (with the local \
rigidity of every atom). Takes less than a minute."""


def main() -> None:
    """Run the command line and exit: 2 for bad input or a missing extra."""
    try:
        app = _make_app()
    except ImportError as error:
        _fail(error)
    app()


def _fail(error: Exception) -> NoReturn:
    print(f"skrigidity: {error}", file=sys.stderr)
    raise SystemExit(_BAD_INPUT)


def _require(*modules: str) -> None:
    for name in modules:
        import_extra(name, extra=_EXTRAS, needed_by="this command")


def _make_app() -> Any:
    _require("typer", "rich")
    typer = import_module("typer")
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

    def not_zero(jobs: int) -> int:
        if jobs == 0:
            raise typer.BadParameter("expected a number of threads, or -1")
        return jobs

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

    @app.command(short_help=_SHORT_HELP, help=_HELP)
    def demo(
        output: Annotated[
            Path, typer.Option("--output", "-o", help="Folder for the results.")
        ] = Path("skrigidity-demo"),
        targets: Annotated[
            Optional[Path],  # noqa: UP045, typer 0.12 does not know `|`
            typer.Option(
                help="Also predict these structures of carbon, in any format that ASE reads: "
                "which of them, and which of their atoms, does the model not know?",
                metavar="FILE",
            ),
        ] = None,
        seed: Annotated[
            int, typer.Option(min=0, max=2**32 - 1, help="Decides which bulk is held out.")
        ] = 0,
        force: Annotated[
            bool, typer.Option("--force", help="Replace the results of an earlier run.")
        ] = False,
        plot: Annotated[bool, typer.Option("--plot/--no-plot", help="Draw the picture.")] = True,
        jobs: Annotated[
            int,
            typer.Option(help="Threads for descriptors; -1: as many as cores.", callback=not_zero),
        ] = -1,
    ) -> None:
        _demo(output, targets, seed, force=force, plot=plot, jobs=jobs)

    return app


def _demo(
    output: Path, targets: Path | None, seed: int, *, force: bool, plot: bool, jobs: int
) -> None:
    try:
        _require("ase", "featomic", *(["matplotlib"] if plot else []))
    except ImportError as error:
        _fail(error)
    from skrigidity._demo import (
        InputError,
        check_output,
        read_structures,
        run_demo,
        summary_text,
        write,
    )

    try:
        check_output(output, force=force)
        frames = read_structures(targets) if targets else None
        with _progress_bar() as on_progress:
            result = run_demo(seed=seed, targets=frames, n_jobs=jobs, on_progress=on_progress)
        paths = write(result, output, plot=plot)
    except (InputError, OSError) as error:
        _fail(error)
    print(summary_text(result, paths))


@contextmanager
def _progress_bar() -> Iterator[Callable[[float], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda share: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("fit and predict", total=1.0)
        yield lambda share: progress.update(task, completed=share)
