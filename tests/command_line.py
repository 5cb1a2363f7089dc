"""What tests of the command line share: data, runs in this process and in others."""

import subprocess
import sys

import numpy as np


def call(*arguments):
    """Run the command line in this process; return exit code, stdout and stderr."""
    from typer.testing import CliRunner

    from skrigidity.cli._app import make_app

    try:
        runner = CliRunner(mix_stderr=False)
    except TypeError:  # separate anyway, from click 8.2 on
        runner = CliRunner()
    done = runner.invoke(make_app(), list(map(str, arguments)))
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.stdout, done.stderr


def process(*arguments, before="", **options):
    """Start the command line in a process of its own, after some code."""
    code = f"{before}\nfrom skrigidity.cli import main; main()"
    command = [sys.executable, "-c", code, *map(str, arguments)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, text=True, encoding="utf-8", **pipes, **options)


def copper(n, seed=0, symbol="Cu"):
    """Return rattled cells of four atoms with energies, forces and stress of effective medium."""
    from ase.build import bulk
    from ase.calculators.emt import EMT
    from ase.calculators.singlepoint import SinglePointCalculator

    rng = np.random.default_rng(seed)
    frames = []
    for i in range(n):
        frame = bulk(symbol, cubic=True)
        frame.set_cell(frame.cell * rng.uniform(0.97, 1.05), scale_atoms=True)
        frame.rattle(rng.uniform(0.02, 0.2), rng=rng)
        frame.calc = EMT()
        names = ("energy", "forces", "stress")
        found = {name: frame.calc.get_property(name, frame) for name in names}
        frame.calc = SinglePointCalculator(frame, **found)
        frame.info.update(group=f"run {i % 3}", split="test" if i % 5 == 0 else "training")
        frames.append(frame)
    return frames


def write(path, frames):
    """Write frames as extended XYZ and return the path."""
    import ase.io

    ase.io.write(path, frames, format="extxyz")
    return path


def listing(folder):
    """Return the names of all that is below a folder."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}
