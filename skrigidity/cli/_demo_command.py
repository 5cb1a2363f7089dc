"""The command ``skrigidity demo``."""

from pathlib import Path
from typing import Annotated, Any

import typer

from skrigidity.cli import _options as opt
from skrigidity.cli._common import Talk, errors_in_one_line, require
from skrigidity.cli._output import DEMO_FILES, check_output

_SHORT_HELP = "All commands on bundled carbon, explained: a potential and what it does not know."
_HELP = f"""{_SHORT_HELP}

Fits a potential with error bars to amorphous carbon above 2.4 g/cm³ (as `fit` does); gives other \
bulk and surfaces error bars of energies (eV), forces (eV/Å) and single atoms, and compares these \
with the errors (as `rigidity` does); chooses what to compute next (as `select` does); and heats \
bulk until its error bars leave those of the training set behind.

Rigidity: high is firm. A prediction with R = 1 is pinned, by data and regularizer together, as \
firmly as by one reference calculation; with R = 100 as firmly as by a hundred.

Writes what it is made from (train.extxyz, new.extxyz), what the commands write (potential.npz, \
errors.csv, errors.png; structures.extxyz, .csv, .png; next.extxyz, .csv, .png), dynamics.csv and \
rigidity.png. Frames and atoms are counted from 0. Takes less than 90 seconds."""


def add_to(app: typer.Typer) -> None:
    """Add the command to the application."""

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
        plot: opt.Plot = True,
        force: opt.Force = False,
        quiet: opt.Quiet = False,
        as_json: opt.Json = False,
    ) -> None:
        # Refusals first: what follows takes seconds to import and more to run.
        with errors_in_one_line():
            require("ase", "sphericart", *["matplotlib"] * plot)
            check_output(output, DEMO_FILES, force=force)
            _run(output, targets, Talk(quiet, as_json), seed=seed, plot=plot)


def _run(output: Path, targets: Path | None, talk: Talk, **options: Any) -> None:
    from skrigidity.cli._demo import read_structures, run_demo, summary, summary_text

    frames = read_structures(targets) if targets else None
    with talk.progress("fit and predict") as on_progress:
        result = run_demo(output, targets=frames, on_progress=on_progress, **options)
    talk.report(summary_text(result), summary(result), result.written)
