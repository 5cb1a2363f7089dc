"""Which structures shall join a training set that is to predict surfaces? (Fig. 4 of the paper)

Chong et al., Faraday Discuss. 256, 322 (2025), on bundled amorphous carbon. A ridge model of dense
bulk predicts energies of slabs; structures are picked from less dense bulk, one after the other:

- PR-guided: what raises the mean rigidity of the slabs most (`PRSelector`), from features alone;
- low density: random among candidates below 2 g/cm³, which somebody would do who knows that atoms
  at surfaces have few neighbors;
- random: any candidate;
- farthest point: farthest, in feature space, from all structures that there are.

A single split says little. Every replicate draws 30 of the 67 trajectories, whose bulk structures
are the training set and the candidates; the targets are slabs of all other trajectories.

    python docs/examples/surfaces_study.py                  24 replicates: two minutes
    python docs/examples/surfaces_study.py --replicates 10
"""

import argparse
import warnings
from typing import NamedTuple

import numpy as np
import pandas as pd

from skrigidity import PRSelector, RigidRidge, RigidRidgeCV
from skrigidity.atomistic import FeatomicDescriptor
from skrigidity.datasets import load_carbon
from skrigidity.sample_selection import augmentation_study

GUIDED = "PR-guided"
STRATEGIES = (GUIDED, "low density", "random", "farthest point")
OBJECTIVES = ("log_mean", "min", "variance", "information")
# Two power spectra in the basis of Laplacian eigenstates. Trained on dense carbon, the first, of a
# long cutoff and smooth densities, extrapolates badly to surfaces; the second, of a short cutoff,
# sharp densities and finer radial functions, extrapolates well.
SMOOTH, SHARP = "4.5 Å, Gaussian density", "3.7 Å, delta density"
DESCRIPTORS = {
    SMOOTH: {"cutoff": 4.5},
    SHARP: {"cutoff": 3.7, "density_width": 0.0, "max_radial": 7},
}
# With some 30 structures the choice would often run to the edge of a wider grid.
ALPHAS = 10.0 ** np.arange(-4, -0.9, 0.5)
N_TRAJECTORIES = 30
PICKS = (0, 1, 3, 5, 10)


class Carbon(NamedTuple):
    """Structures, by what they are for."""

    energy: np.ndarray  # meV/atom
    trajectory: np.ndarray
    density: np.ndarray
    temperature: np.ndarray
    bulk: np.ndarray
    features: dict[str, np.ndarray]

    @property
    def parts(self):
        """Masks of what the model may know, what may be picked, and what it predicts."""
        dense, dilute = self.density > 3, self.density < 2
        return {
            "training": self.bulk & dense,
            "candidates": self.bulk & ~dense,
            "low density": self.bulk & dilute,
            "slabs": ~self.bulk,
        }


def carbon():
    """The bundled data, with structure features of both descriptors."""
    data = load_carbon(return_frames=True)
    kinds = {"radial_basis": "laplacian_eigenstate", "output": "mean"}
    features = {
        name: FeatomicDescriptor(**options, **kinds).fit_transform(data.frames)
        for name, options in DESCRIPTORS.items()
    }
    return Carbon(
        energy=1000 * data.target,
        trajectory=data.trajectory,
        density=data.density,
        temperature=data.temperature,
        bulk=data.kind == "bulk",
        features=features,
    )


def replicate(data, name, seed, *, n_picks=10, n_random=20, objectives=()):
    """Return the paths of all strategies, for one draw of trajectories.

    The regularization strength is chosen by leaving out whole trajectories of the training set, and
    kept when structures join it: rigidities of different strengths do not compare.
    """
    trajectories = np.unique(data.trajectory)
    drawn = np.random.default_rng(seed).choice(trajectories, N_TRAJECTORIES, replace=False)
    inside, parts = np.isin(data.trajectory, drawn), data.parts
    train, pool = inside & parts["training"], inside & parts["candidates"]
    target = ~inside & parts["slabs"]
    X, y = data.features[name], data.energy
    X = X / np.sqrt(X[train].var(axis=0).sum())  # one scale for all columns
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "the best alpha")  # the grid is narrow on purpose
        search = RigidRidgeCV(ALPHAS).fit(X[train], y[train], groups=data.trajectory[train])
    guided = {GUIDED: PRSelector()}
    guided |= {f"{GUIDED}: {o}": PRSelector(objective=o) for o in objectives}
    dilute = parts["low density"][pool]
    others = {"low density": dilute, "random": "random", "farthest point": "farthest"}
    paths = augmentation_study(
        X[train],
        y[train],
        X[pool],
        y[pool],
        X[target],
        y[target],
        n_picks=n_picks,
        strategies=guided | others,
        estimator=RigidRidge(search.alpha_),
        n_random=n_random,
        random_state=seed,
    )
    picked = paths["index"].dropna().astype(int)
    about = {"density": data.density[pool], "temperature": data.temperature[pool]}
    return paths.assign(**{k: pd.Series(v[picked], picked.index) for k, v in about.items()})


def study(data, n_replicates=24, names=(SMOOTH, SHARP), **options):
    """Return all paths, and their means over random seeds.

    The means have the index features, strategy, replicate, n_picks, and, beside rigidity and root
    mean squared error of the slabs, `rigidity_gain`: relative to that before the first pick.
    """
    found = {
        (name, seed): replicate(data, name, seed, **options)
        for name in names
        for seed in range(n_replicates)
    }
    paths = pd.concat(found, names=["features", "replicate"])
    paths = paths.reset_index(["features", "replicate"])
    keys = ["features", "strategy", "replicate"]
    means = paths.groupby([*keys, "n_picks"])[["target_rigidity", "target_rmse"]].mean()
    before = means["target_rigidity"].groupby(keys).transform("first")
    return paths, means.assign(rigidity_gain=means["target_rigidity"] / before)


def medians(means, quantity, strategies=STRATEGIES):
    """Return medians over replicates, a row for each descriptor and strategy."""
    table = means[quantity].groupby(["features", "strategy", "n_picks"]).median().unstack()
    names = means.index.get_level_values("features").unique()
    rows = [(name, strategy) for name in names for strategy in strategies]
    return table.loc[rows, [k for k in PICKS if k in table]]


def shares(means):
    """Return the shares of replicates in which the guided error is below those of others."""
    errors = means["target_rmse"].unstack("strategy")
    guided = errors[GUIDED]
    below = {
        "random and low density": guided < errors[["random", "low density"]].min(axis=1),
        "farthest point": guided < errors["farthest point"],
    }
    below = pd.concat(below, names=["guided error below"])
    below = below.groupby(["features", "guided error below", "n_picks"]).mean().unstack()
    return below.loc[:, [k for k in PICKS if k and k in below]]


def picked(paths):
    """Return the shares of dilute and of very hot structures in first picks and in all of them."""
    chosen = paths[paths["n_picks"] > 0]
    kind = {"below 2 g/cm³": chosen["density"] < 2, "at 8000 K": chosen["temperature"] == 8000}
    kind = pd.DataFrame(kind).groupby([chosen["strategy"], chosen["n_picks"]]).mean()
    parts = {
        "first pick": kind.xs(1, level="n_picks"),
        "all picks": kind.groupby("strategy").mean(),
    }
    return pd.concat(parts, axis=1).loc[list(STRATEGIES)]


def main(arguments=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--replicates", type=int, default=24)
    parser.add_argument("--random", type=int, default=20, help="random orders for each replicate")
    given = parser.parse_args(arguments)
    options = {"n_random": given.random, "objectives": OBJECTIVES}
    paths, means = study(carbon(), given.replicates, **options)
    tables = {
        "Error of the slabs (meV/atom), medians": medians(means, "target_rmse").round(),
        "Their rigidity, relative to that before": medians(means, "rigidity_gain").round(1),
        "Share of replicates": shares(means).round(2),
        f"What is picked, {SMOOTH}": picked(paths[paths["features"] == SMOOTH]).round(2),
        "Error of the slabs by objective": medians(
            means, "target_rmse", [GUIDED, *(f"{GUIDED}: {o}" for o in OBJECTIVES)]
        ).round(),
    }
    for title, table in tables.items():
        print(f"\n{title}\n{table.to_string()}")


if __name__ == "__main__":
    main()
