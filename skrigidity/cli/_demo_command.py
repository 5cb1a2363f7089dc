"""The command ``skrigidity demo``."""

from pathlib import Path
from typing import Annotated, Any

import typer

from skrigidity.cli import _options as opt
from skrigidity.cli._common import Talk, errors_in_one_line, require
from skrigidity.cli._output import DEMO_FILES, check_output

_SHORT_HELP = "Fit dense bulk carbon; report on other bulk and on surfaces."
_HELP = f"""{_SHORT_HELP}

Trains SOAP features and a ridge on bundled amorphous carbon above 2.4 g/cm³, with a grid search \
and error bars calibrated on left-out trajectories. Shows errors (meV/atom), rigidities and the \
coverage of the error bars on held-out bulk and on surfaces, and the atoms that the data pin least.

Rigidity: high is firm. A prediction with R = 1 is pinned, by data and regularizer together, as \
firmly as by one direct measurement of unit weight; with R = 100 as firmly as by a hundred.

Writes structures.csv (a row per structure), rigidity.png and structures.extxyz (with the local \
rigidity of every atom). Structures and atoms are counted from 0. Takes less than a minute."""


def add_to(app: typer.Typer) -> None:
    """Add the command to the application."""

    def not_zero(jobs: int) -> int:
        if jobs == 0:
            raise typer.BadParameter("expected a number of threads, or -1")
        return jobs

    @app.command(short_help=_SHORT_HELP, help=_HELP)
    def demo(
        output: Annotated[
            Path, typer.Option("--output", "-o", help="Folder for the results.")
        ] = Path("skrigidity-demo"),
        targets: Annotated[
            opt.MaybePath,
            typer.Option(
                help="Also predict these structures of carbon, in any format that ASE reads: "
                "which of them, and which of their atoms, does the model not know?",
                metavar="FILE",
            ),
        ] = None,
        seed: Annotated[
            int, typer.Option(min=0, max=2**32 - 1, help="Decides which bulk is held out.")
        ] = 0,
        jobs: Annotated[
            int,
            typer.Option(help="Threads for descriptors; -1: as many as cores.", callback=not_zero),
        ] = -1,
        plot: opt.Plot = True,
        force: opt.Force = False,
        quiet: opt.Quiet = False,
        as_json: opt.Json = False,
    ) -> None:
        # Refusals first: what follows takes seconds to import and more to run.
        with errors_in_one_line():
            require("ase", "featomic", *["matplotlib"] * plot)
            check_output(output, DEMO_FILES, force=force)
            _run(output, targets, Talk(quiet, as_json), seed=seed, plot=plot, n_jobs=jobs)


def _run(output: Path, targets: Path | None, talk: Talk, *, plot: bool, **options: Any) -> None:
    from skrigidity.cli._demo import read_structures, run_demo, summary, summary_text, write

    frames = read_structures(targets) if targets else None
    with talk.progress("fit and predict") as on_progress:
        result = run_demo(targets=frames, on_progress=on_progress, **options)
    written = write(result, output, plot=plot)
    talk.report(summary_text(result), summary(result), written)
