"""Which structure to compute next when one atom of 13 824 is uncertain: Fig. 5 of the paper.

A model of carbon is trained on 100 structures of 64 atoms, and looks at a large liquid. The local
prediction rigidity (LPR) says which of its atoms the model knows least. The liquid itself is far
too large for a reference calculation; what is computed instead of it? Its LPR grows with

- original: the whole liquid, as if it could be computed, again and again;
- carved: the atom's environment, in vacuum;
- periodic: the environment in a small periodic cell, the rest of it displaced at random;
- high-symmetry: the environment in diamond, the rest displaced; diamond is the first structure.

No label is needed to know by how much: rigidities depend on structures alone. In the end
`PRSelector` chooses among many embeddings, which is better than to take them as they come.

The liquid is that of Chong et al., Faraday Discuss. 256, 322 (2025), from its data repository:
`liquid_carbon_13824.extxyz.xz` in the folder that the environment variable SKRIGIDITY_TEST_DATA
names, or any file with `--liquid`. Without it, bundled liquid carbon of 64 atoms takes its place.

    python docs/examples/embedding.py                   12 atoms, up to 20 structures: a minute
    python docs/examples/embedding.py --full            up to 50 structures
    python docs/examples/embedding.py --figures FOLDER  the figure in a file
"""

import argparse
import importlib.util
import io
import lzma
import os
from pathlib import Path

import ase.io
import numpy as np
import pandas as pd
from ase.build import bulk
from sklearn.pipeline import make_pipeline

from skrigidity import PRSelector, RigidRidge
from skrigidity.atomistic import (
    FeatomicDescriptor,
    carve_cluster,
    embed_high_symmetry,
    embed_periodic,
    least_rigid,
)
from skrigidity.datasets import load_carbon
from skrigidity.environments import TotalVarianceScaler, vstack

KINDS = ("original", "carved", "periodic", "high-symmetry")
CUTOFF, TRAINED_ON = 3.7, 100
DIAMOND = bulk("C", a=3.561, cubic=True)


def read_liquid(path):
    """The liquid, as one large frame."""
    content = Path(path).read_bytes()
    if Path(path).suffix == ".xz":
        content = lzma.decompress(content)
    return [ase.io.read(io.StringIO(content.decode()), format="extxyz")]


def carbon(path=None):
    """Bulk carbon to train on, with energies per atom, and the liquid to look at.

    Without a file, the hottest snapshots of trajectories that no structure to train on is from.
    """
    data = load_carbon(kind="bulk", return_frames=True)
    chosen, held_out = np.ones(len(data.frames), dtype=bool), data.trajectory % 4 == 0
    if path is not None:
        liquid = read_liquid(path)
    else:
        chosen = ~held_out
        hot = held_out & (data.temperature == 8000)
        liquid = [data.frames[i] for i in np.flatnonzero(hot)]
    return [data.frames[i] for i in np.flatnonzero(chosen)], data.target[chosen], liquid


def trained(descriptor, frames, target, alpha, seed):
    """A model of some of the structures."""
    some = np.random.default_rng(seed).choice(len(frames), TRAINED_ON, replace=False)
    model = make_pipeline(descriptor, TotalVarianceScaler(), RigidRidge(alpha=alpha))
    return model.fit([frames[i] for i in some], target[some])


def structures(kind, model, frame, atom, n, seed=0):
    """What is computed in place of the frame."""
    if kind == "original":
        return [frame]
    if kind == "carved":
        return carve_cluster(model, frame, atom)
    if kind == "periodic":
        return embed_periodic(model, frame, atom, n, random_state=seed)
    return embed_high_symmetry(model, frame, atom, DIAMOND, max(n - 1, 1), random_state=seed)[:n]


def enhancement(model, frames, found, counts, kinds=KINDS):
    """By how many per cent structures raise the LPR of an atom, by kind and number.

    Parameters
    ----------
    model : Pipeline
        From frames to a ridge regression.
    frames : list of ase.Atoms
        What is looked at.
    found : RankedAtom
        Which atom of which frame.
    counts : sequence of int
        Numbers of structures.

    Returns
    -------
    DataFrame
        A row for each kind, a column for each number.
    """
    features, ridge = model[:-1], model[-1]
    frame = frames[found.frame]
    target = features.transform([frame])[0][[found.atom]]
    table = pd.DataFrame(index=list(kinds), columns=list(counts), dtype=float)
    for kind in kinds:
        added = features.transform(structures(kind, model, frame, found.atom, max(counts)))
        for n in counts:
            # The original and the carved one can only be repeated.
            index = np.arange(n) % len(added)
            after = ridge.rigidity_with([target], added[index], level="local")[0][0]
            table.loc[kind, n] = 100 * (after / found.rigidity - 1)
    return table


def choice(model, frames, found, n, pool=4):
    """By how many per cent embeddings raise the LPR: the first n, and n that are chosen.

    The candidates are `pool` times as many periodic and as many high-symmetry ones.
    """
    features, ridge = model[:-1], model[-1]
    frame, size = frames[found.frame], pool * n
    target = features.transform([frame])[0][[found.atom]]
    parts = [structures(k, model, frame, found.atom, size, seed=1) for k in KINDS[2:]]
    candidates = vstack([features.transform(part) for part in parts])
    selector = PRSelector(n, estimator=ridge, level="local", X_target=target).fit(candidates)
    before, after = selector.target_rigidity_[:, 0]
    taken = {"periodic": np.arange(n), "high-symmetry": size + np.arange(n)}
    rigidity = {
        name: ridge.rigidity_with([target], candidates[index], level="local")[0][0]
        for name, index in taken.items()
    }
    return {name: 100 * (R / before - 1) for name, R in (rigidity | {"chosen": after}).items()}


def study(path=None, *, alpha=1e-7, counts=(1, 2, 5, 10, 20), n_sets=4, n_atoms=3, n_chosen=10):
    """Fig. 5: enhancement of the LPR of the least rigid atoms under models of several sets.

    Returns
    -------
    dict
        "cases", a table of every case; "medians" over the cases; "choice", medians of the
        embeddings that come first and of those that are chosen; "atoms", the atoms.
    """
    frames, target, liquid = carbon(path)
    descriptor = FeatomicDescriptor(
        cutoff=CUTOFF, radial_basis="laplacian_eigenstate", density_width=0.0, max_radial=6
    ).fit(frames[:1])
    cases, chosen, atoms = [], [], []
    for seed in range(n_sets):
        model = trained(descriptor, frames, target, alpha, seed)
        for found in least_rigid(model, liquid, n_atoms, apart=2 * CUTOFF):
            table = enhancement(model, liquid, found, counts)
            cases.append(table.stack().rename((seed, found.atom)))
            chosen.append(choice(model, liquid, found, n_chosen))
            atoms.append(found)
    cases = pd.DataFrame(cases)
    return {
        "n_features": descriptor.n_features_out_,
        "n_liquid": len(liquid[0]),
        "cases": cases,
        "medians": cases.median().unstack().loc[list(KINDS)],
        "choice": pd.DataFrame(chosen).median(),
        "atoms": atoms,
        "n_chosen": n_chosen,
    }


def report(found):
    """Print the numbers."""
    n = len(found["cases"])
    print(
        f"{n} atoms of liquid carbon ({found['n_liquid']} atoms a frame), "
        f"{found['n_features']} features, {TRAINED_ON} training structures"
    )
    print("\nLPR enhancement (%) by added structures, median over the atoms")
    print(found["medians"].round(2).to_string())
    cases, counts = found["cases"], found["medians"].columns
    n = 10 if 10 in counts else counts[-1]
    for kind in KINDS[2:]:
        ahead = (cases[(kind, n)] > 3 * cases[("carved", n)]).mean()
        print(
            f"{n} {kind} ones raise it 3 times as much as carved ones in {ahead:.0%} of the cases"
        )
    print(f"\n{found['n_chosen']} embeddings: the first ones, and those that PRSelector chooses")
    print(found["choice"].round(1).to_string())


def draw(found):
    """Draw the figure; returns it."""
    import matplotlib.pyplot as plt

    figure, ax = plt.subplots(layout="constrained")
    for kind in KINDS:
        cases = found["cases"][kind].clip(lower=1e-3)
        line = ax.plot(cases.columns, cases.median(), marker="o", label=kind)[0]
        low, high = cases.quantile(0.25), cases.quantile(0.75)
        ax.fill_between(cases.columns, low, high, color=line.get_color(), alpha=0.2, lw=0)
    ax.set(xscale="log", yscale="log")
    ax.set(xlabel="number of added structures", ylabel="LPR enhancement (%)")
    ax.legend(title="median and quartiles")
    return figure


def main(arguments=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--liquid", type=Path, help="file with the liquid")
    parser.add_argument("--full", action="store_true", help="up to 50 structures")
    parser.add_argument("--quick", action="store_true", help="two atoms, up to 5 structures")
    parser.add_argument("--alpha", type=float, default=1e-7, help="regularization (1e-7)")
    parser.add_argument("--figures", type=Path, help="folder for the figure; shown if not given")
    given = parser.parse_args(arguments)
    path, folder = given.liquid, os.environ.get("SKRIGIDITY_TEST_DATA")
    if path is None and folder is not None:
        path = Path(folder) / "liquid_carbon_13824.extxyz.xz"
        path = path if path.exists() else None
    options = {"alpha": given.alpha}
    if given.full:
        options["counts"] = (1, 2, 5, 10, 20, 50)
    if given.quick:
        options |= {"counts": (1, 2, 5), "n_sets": 1, "n_atoms": 2, "n_chosen": 3}
    found = study(path, **options)
    report(found)
    if importlib.util.find_spec("matplotlib") is None:
        return
    figure = draw(found)
    if given.figures is not None:
        given.figures.mkdir(parents=True, exist_ok=True)
        figure.savefig(given.figures / "embedding.png", dpi=150)
    else:
        import matplotlib.pyplot as plt

        plt.show()


if __name__ == "__main__":
    main()
