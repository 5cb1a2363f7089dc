"""The command ``skrigidity learn``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from skrigidity.cli import _options as opt
from skrigidity.cli._common import Talk, errors_in_one_line, require

_SHORT_HELP = "Learn on the fly: simulate, label what is not known, update, go on."
_HELP = f"""{_SHORT_HELP}

Langevin dynamics under the potential, watched by its error bars. Where one of them passes a \
threshold, the frame is labelled by a reference calculation and added to the potential, without a \
refit, and dynamics go on; until nothing trips for --quiet-time.

The potential is made as `skrigidity fit` has made MODEL, and fitted to TRAINING. Thresholds are \
numbers, quantiles of the training set (99%), or multiples of its most uncertain (1.5x).

Writes to --output: potential.npz, for the other commands; labelled.extxyz, with where each frame \
comes from; labels, log.jsonl, watch.csv, rigidity.png. It may be killed at any moment: the same \
command goes on where it was, and computes no label twice."""


def add_to(app: typer.Typer) -> None:
    """Add the command to the application."""

    @app.command(short_help=_SHORT_HELP, help=_HELP)
    def learn(
        model: opt.Model,
        training: Annotated[
            Path, typer.Argument(metavar="TRAINING", help="Structures with references to fit to.")
        ],
        start: Annotated[
            Path,
            typer.Argument(metavar="START", help="Structures where trajectories begin, in turn."),
        ],
        label: Annotated[
            str,
            typer.Option(
                metavar="NAME|MODULE:FACTORY",
                help="The reference: a calculator of ASE by its name (emt), gfn1-xtb or gfn2-xtb "
                "(tblite), or a function without arguments that returns a calculator.",
            ),
        ],
        output: Annotated[
            Path, typer.Option("--output", "-o", help="Folder for everything.")
        ] = Path("skrigidity-learn"),
        temperature: Annotated[float, typer.Option(help="Of the thermostat, in K.")] = 300.0,
        time_step: Annotated[float, typer.Option(help="In fs.")] = 1.0,
        friction: Annotated[float, typer.Option(help="In 1/fs.")] = 0.01,
        interval: Annotated[int, typer.Option(min=1, help="Steps between looks.")] = 10,
        force_std: Annotated[
            opt.MaybeText, typer.Option(metavar="EV/Å|99%|1.5x", help="Of a force component.")
        ] = None,
        local_std: Annotated[
            opt.MaybeText, typer.Option(metavar="EV|99%|1.5x", help="Of an atom's energy.")
        ] = None,
        energy_std: Annotated[
            opt.MaybeText, typer.Option(metavar="EV|99%|1.5x", help="Of the energy.")
        ] = None,
        min_rigidity: Annotated[
            opt.MaybeText,
            typer.Option(metavar="NUMBER|1%|1.5x", help="Least local rigidity; trips below."),
        ] = None,
        quiet_time: Annotated[
            float, typer.Option(help="Ends where nothing trips for so long, in fs.")
        ] = 1000.0,
        max_time: Annotated[
            opt.MaybeNumber, typer.Option(help="Ends after so long, in fs of simulation.")
        ] = None,
        trajectory_time: Annotated[
            opt.MaybeNumber, typer.Option(help="How long each start is followed, in fs.")
        ] = None,
        max_labels: Annotated[
            opt.MaybeNumber, typer.Option(help="Ends after so many labels.")
        ] = None,
        max_force: Annotated[
            float, typer.Option(help="Labels with larger forces are skipped, in eV/Å.")
        ] = 100.0,
        bias: Annotated[
            float, typer.Option(min=0.0, help="Towards the unknown, in std of the energy.")
        ] = 0.0,
        workers: Annotated[
            int, typer.Option(min=0, help="Processes that compute labels; 0: this one.")
        ] = 0,
        seed: opt.Seed = 0,
        quiet: opt.Quiet = False,
        as_json: opt.Json = False,
    ) -> None:
        with errors_in_one_line():
            require("ase")
            thresholds = {
                "force_std": force_std,
                "local_std": local_std,
                "energy_std": energy_std,
                "min_rigidity": min_rigidity,
            }
            job = {
                "model": model,
                "training": training,
                "start": start,
                "label": label,
                "output": output,
                "thresholds": {k: v for k, v in thresholds.items() if v is not None},
                "langevin": (time_step, temperature, friction),
                "workers": workers,
            }
            options = {
                "interval": interval,
                "quiet_time": quiet_time,
                "max_time": max_time,
                "trajectory_time": trajectory_time,
                "max_labels": max_labels,
                "max_force": max_force,
                "bias": bias,
                "random_state": seed,
            }
            _run(job, options, Talk(quiet, as_json))


def _run(job: dict[str, Any], options: dict[str, Any], talk: Talk) -> None:
    from skrigidity.cli._learn import LearnJob, run_learn, summary_text

    summary, written = run_learn(LearnJob(**job), options, progress=not talk.quiet)
    talk.report(summary_text(summary), summary, written)
