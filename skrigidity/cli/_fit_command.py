"""The command ``skrigidity fit``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from skrigidity.cli import _options as opt
from skrigidity.cli._common import Talk, errors_in_one_line, require
from skrigidity.cli._descriptor import DescriptorOptions
from skrigidity.cli._output import FIT_FILES, check_output

_SHORT_HELP = "Fit a potential with error bars to energies, forces and stress."
_HELP = f"""{_SHORT_HELP}

Energies (eV) and forces (eV/Å) are found where their names say what they are (energy, \
energy_dft, forces_ref, ...), or named; stress (eV/Å³, ASE's sign and order) or virial (eV) only \
if named. Frames that lack one are used for what they have.

Writes potential.npz, for the other commands and for RigidPotential.load; errors.csv, errors and \
error bars of energies and forces by set; errors.png, errors against error bars. Errors are those \
of the validation frames; where there are none, of the training frames, each predicted by a \
potential that has not seen it (with --group, nothing of its group)."""


def add_to(app: typer.Typer) -> None:
    """Add the command to the application."""

    @app.command(short_help=_SHORT_HELP, help=_HELP)
    def fit(
        frames: opt.Frames,
        output: Annotated[
            Path, typer.Option("--output", "-o", help="Folder for the results.")
        ] = Path("skrigidity-fit"),
        energy_key: Annotated[
            str, typer.Option(help="Where total energies (eV) are; none: not fitted.")
        ] = "auto",
        forces_key: Annotated[
            str, typer.Option(help="Where forces (eV/Å) are; none: not fitted.")
        ] = "auto",
        stress_key: Annotated[
            opt.MaybeText, typer.Option(help="Where the stress (eV/Å³) is.")
        ] = None,
        virial_key: Annotated[
            opt.MaybeText,
            typer.Option(help="Where the virial (eV), minus volume times stress, is."),
        ] = None,
        weight_key: Annotated[
            opt.MaybeText, typer.Option(help="Where the weight of a frame is; 1 without.")
        ] = None,
        validation: Annotated[
            opt.MaybeText,
            typer.Option(
                metavar="SHARE|FILE|KEY=VALUE",
                help="Frames to test on: a share of all (0.1), those of another file, or those "
                "that have this value under this key (split=test).",
            ),
        ] = None,
        group: Annotated[
            opt.MaybeText,
            typer.Option(
                metavar="KEY",
                help="Frames with the same value under this key are left out together, for "
                "validation and for calibration.",
            ),
        ] = None,
        by: Annotated[
            opt.MaybeText,
            typer.Option(metavar="KEY", help="Break the table of errors down by this key."),
        ] = None,
        energy_error: Annotated[
            float, typer.Option(help="Expected error of energies in eV/atom: smaller counts more.")
        ] = 0.002,
        force_error: Annotated[
            float, typer.Option(help="Expected error of forces in eV/Å: smaller counts more.")
        ] = 0.1,
        virial_error: Annotated[
            opt.MaybeNumber,
            typer.Option(help="Expected error of virials in eV/atom; needed to fit them."),
        ] = None,
        kind: opt.Kind = None,
        cutoff: opt.Cutoff = None,
        degree: opt.Degree = None,
        ace_kind: opt.AceKind = None,
        baseline: Annotated[
            str,
            typer.Option(
                metavar="composition|none|EL=EV,...",
                help="Energies of free atoms: fitted, zero, or given in eV (Si=-0.8,O=-1.9).",
            ),
        ] = "composition",
        core: Annotated[
            str, typer.Option(metavar="none|zbl", help="Repulsion of bare nuclei, kept fixed.")
        ] = "none",
        alpha: Annotated[
            opt.MaybeText,
            typer.Option(
                metavar="NUMBER|loo",
                help="Regularization relative to the mean diagonal of the Hessian; loo chooses.",
            ),
        ] = None,
        calibration: Annotated[
            str,
            typer.Option(
                metavar="loo_noise|loo|none",
                help="How error bars are calibrated: by leaving out, with or without a noise.",
            ),
        ] = "loo_noise",
        seed: opt.Seed = 0,
        plot: opt.Plot = True,
        force: opt.Force = False,
        quiet: opt.Quiet = False,
        as_json: opt.Json = False,
    ) -> None:
        with errors_in_one_line():
            described_by = "featomic" if kind == "soap" else "sphericart"
            require("ase", described_by, *["matplotlib"] * plot)
            check_output(output, FIT_FILES, force=force)
            arguments = {
                "energy_key": None if energy_key == "none" else energy_key,
                "forces_key": None if forces_key == "none" else forces_key,
                "stress_key": stress_key,
                "virial_key": virial_key,
                "weight_key": weight_key,
                "energy_error": energy_error,
                "force_error": force_error,
                "virial_error": virial_error,
                "baseline": opt.parse_baseline(baseline),
                "core": None if core == "none" else core,
                "calibration": None if calibration == "none" else calibration,
            }
            if alpha is not None:
                arguments["alpha"] = opt.parse_alpha(alpha)
            options = DescriptorOptions.parse(kind, cutoff, degree, ace_kind)
            division = {"validation": validation, "group": group, "by": by, "seed": seed}
            job = {"frames": frames, "output": output, "plot": plot, **division}
            _run(job, arguments, options, Talk(quiet, as_json))


def _run(
    job: dict[str, Any], arguments: dict[str, Any], options: DescriptorOptions, talk: Talk
) -> None:
    from skrigidity.cli._fit import FitJob, run_fit, summary_text

    with talk.progress("fit"):
        facts, errors, written = run_fit(FitJob(**job), arguments, options)
    summary = {**facts, "errors_of": errors.of, "table": errors.table.to_dict("records")}
    talk.report(summary_text(facts, errors), summary, written)
