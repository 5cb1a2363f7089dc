"""Other packages beside this one: how far both agree, how accurate each is, how fast.

    python tests/benchmarks/comparison.py [PACKAGE ...] [--install] [--folder FOLDER] [--write]

Every package has a virtual environment of its own in FOLDER (default: .venv-peers in the checkout),
made with --install, this package's checkout in it as well; both run there in one process, on one
core, in turn. Rows are printed as cells of a table in Markdown; --write puts those that were
measured into docs/comparison, where the documentation takes them from. What is not there or does
not run is named, and its rows stay. Problems are in `_comparisons.py`; those of potentials are
compared by `potential_peers.py`.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

from _environments import CHECKOUT, FOLDER, interpreter
from _options import Options

HERE = Path(__file__).resolve().parent
ROWS = CHECKOUT / "docs" / "comparison"
# Any other build of torch may bring gigabytes of GPU libraries.
TORCH = "torch==2.13.0"
# The package by the name under which it is installed, and what else its environment needs.
PACKAGES = {
    "scikit-matter": ["skmatter", "gmpy2", "mpmath"],
    "laplace-torch": [TORCH, "laplace-torch", "gmpy2", "mpmath"],
    "metatrain": [TORCH, "metatrain[soap-bpnn]>=2026.4.1", "ase", "gmpy2", "mpmath", "pytest"],
    "activeft": [TORCH, "activeft", "faiss-cpu"],
    "bmdal-reg": [TORCH, "bmdal-reg"],
    "popsregression": ["popsregression"],
}
# Its import fails beside a torch for CPUs.
WITHOUT = {"laplace-torch": ["torchvision"]}
THREADS = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL")}
HEADER = ("compared", "agreement", "theirs", "ours", "time, theirs / ours")
PATIENCE = 1800  # seconds for each


def run(options: Options) -> bool:
    """Print the rows of each package whose environment is there."""
    compare(list(PACKAGES), FOLDER, quick=options.quick)
    return True


def compare(packages, folder, *, quick=False, install=False, write=False) -> None:
    """Print a table for each package, and write it where the documentation looks."""
    for package in packages:
        found = measured(package, folder, quick, install)
        if "failed" in found:
            print(f"{package}: did not run: {found['failed']}\n", flush=True)
            continue
        table = [HEADER, ("---",) * len(HEADER), *found["rows"]]
        text = "\n".join(f"| {' | '.join(row)} |" for row in table) + "\n"
        print(f"{package} {found['version']}\n{text}", flush=True)
        if write:
            ROWS.mkdir(exist_ok=True)
            text = f"{package} {found['version']}, skrigidity {found['ours']}:\n\n{text}"
            (ROWS / f"{package}.md").write_text(text, encoding="utf-8")


def measured(package, folder, quick, install):
    """Return the rows of one package as its environment gives them, or why it did not run."""
    try:
        packages, without = [*PACKAGES[package], "-e", str(CHECKOUT)], WITHOUT.get(package, ())
        python = interpreter(package, packages, folder, install, without)
        command = [python, HERE / "_comparisons.py", package, *["--quick"] * quick]
        environment = os.environ | THREADS
        environment.pop("PYTHONPATH", None)
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=PATIENCE
        )
    except (OSError, RuntimeError, subprocess.TimeoutExpired) as error:
        return {"failed": str(error)}
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:]
        return {"failed": ": ".join([f"exit status {done.returncode}", *last])}
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("packages", nargs="*", metavar="PACKAGE", help=", ".join(PACKAGES))
    parser.add_argument("--install", action="store_true", help="make environments not there yet")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="folder of environments")
    parser.add_argument("--write", action="store_true", help=f"rows into {ROWS.name}/")
    parser.add_argument("--quick", action="store_true", help="small problems")
    args = parser.parse_args()
    if unknown := set(args.packages) - set(PACKAGES):
        parser.error(f"{', '.join(sorted(unknown))}: not among {', '.join(PACKAGES)}")
    if args.write and args.quick:
        parser.error("--write is for the full sizes")
    compare(
        args.packages or list(PACKAGES),
        args.folder.resolve(),
        quick=args.quick,
        install=args.install,
        write=args.write,
    )
    sys.exit(0)
