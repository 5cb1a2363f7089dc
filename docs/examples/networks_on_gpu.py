"""Figs. 1 to 3 of the paper at the size of a GPU: all of QM7, larger networks, longer training.

Chong et al., Faraday Discuss. 256, 322 (2025). The same studies as in networks_error_bars.py,
networks_committee.py and networks_training.py, with everything that takes time to be chosen. Tables
are printed and written into a folder as they are finished; what is there already is not done again.

    python docs/examples/networks_on_gpu.py --data qm7.extxyz.xz --out results
    python docs/examples/networks_on_gpu.py --data qm7.extxyz.xz --out results --networks mace \\
        --epochs 200 --width 64 --seeds 0 1 2 --figures 1
    python docs/examples/networks_on_gpu.py --device cpu --epochs 1 --width 8 --sizes 80 40 60 \\
        --members 2 --out results                     a look at whether it runs
"""

import argparse
from dataclasses import replace
from itertools import product
from pathlib import Path

import networks_committee
import networks_error_bars
import networks_training
import torch
from network_recipes import ATOMIC, NETWORKS, Effort, available
from networks_data import load_structures


def studies(given, structures):
    """Iterate over the names of tables, and functions that make them."""
    effort = Effort(epochs=given.epochs, device=given.device, width=given.width)
    names = given.networks or available()
    sizes = {"width": given.width, "device": given.device}

    def error_bars(name, seed):
        found = networks_error_bars.study(name, structures, seed, effort)
        return networks_error_bars.table_of({(name, seed): found})

    def committee(name, seed):
        found = networks_committee.study(
            structures, seed, network=name, n_members=given.members, epochs=given.epochs, **sizes
        )
        return networks_committee.table_of({(name, seed): found})

    def training(name, seed):
        parts = (0, 0.025, 0.125, 0.25, 0.5, 0.75, 1)
        epochs = sorted({round(given.epochs * part) for part in parts})
        return networks_training.tables_of(
            networks_training.study(structures, seed, network=name, epochs=tuple(epochs), **sizes)
        )

    # Figs. 2 and 3 are about single atoms, of which `mlp` knows nothing.
    atomic = [name for name in names if name in ATOMIC]
    figures = {
        1: ("error-bars", error_bars, names),
        2: ("committee", committee, atomic),
        3: ("training", training, atomic),
    }
    for seed, number in product(given.seeds, given.figures):
        figure, make, known = figures[number]
        for name in known:
            yield f"{figure}-{name}-{seed}", make, (name, seed)


def main(arguments=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="qm7.extxyz or qm7.extxyz.xz")
    parser.add_argument("--out", type=Path, required=True, help="folder for tables")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--epochs", type=int, default=300)
    parser.add_argument("--width", type=int, default=128, help="of hidden layers, or channels")
    parser.add_argument("--members", type=int, default=32, help="of the committee")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, help="default: all there are")
    parser.add_argument("--figures", nargs="+", type=int, choices=(1, 2, 3), default=[1, 2, 3])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--sizes", nargs=3, type=int, help="of training, validation and test set")
    given = parser.parse_args(arguments)
    if given.device.startswith("cuda") and not torch.cuda.is_available():
        parser.error("there is no GPU that torch can use: --device cpu, with small numbers")
    structures = load_structures(given.data, small=False)
    if given.sizes is not None:
        structures = replace(structures, sizes=tuple(given.sizes))
    given.out.mkdir(parents=True, exist_ok=True)
    for name, make, which in studies(given, structures):
        path = given.out / f"{structures.name}-{name}.txt"
        if not path.exists():
            tables = make(*which)
            tables = tables if isinstance(tables, tuple) else (tables,)
            text = "\n\n".join(table.round(4).to_string() for table in tables)
            unfinished = path.with_suffix(".part")
            unfinished.write_text(text + "\n")
            unfinished.replace(path)
        print(f"{path.name}\n{path.read_text()}", flush=True)


if __name__ == "__main__":
    main()
