"""Scenarios of `out_of_distribution.py`: bundled structures to learn from and to predict."""

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np
from sklearn.datasets import load_diabetes

from skrigidity import TotalVarianceScaler
from skrigidity.atomistic import ACEDescriptor
from skrigidity.datasets import load_carbon, load_silicon, load_water

ACE = {"kind": "self-interacting", "output": "mean"}
N_LABELLED = 12


class Data(NamedTuple):
    """Structures: features, energies (meV per atom), what is left out together, what they are."""

    X: np.ndarray
    y: np.ndarray
    groups: np.ndarray
    about: dict

    def take(self, rows):
        about = {name: values[rows] for name, values in self.about.items()}
        return Data(self.X[rows], self.y[rows], self.groups[rows], about)


def _data(descriptor, loaded, shift, groups, **about):
    X = descriptor.fit_transform(loaded.frames)
    return Data(np.asarray(X), 1000 * (loaded.target - shift), groups, about)


@cache
def carbon():
    """Amorphous carbon, with the groups of its trajectories."""
    loaded = load_carbon(return_frames=True)
    ace = ACEDescriptor(cutoff=3.7, r0=1.42, max_degree=(14, 12, 10), **ACE)
    about = {"density": loaded.density, "temperature": loaded.temperature, "kind": loaded.kind}
    return _data(ace, loaded, loaded.atom_energy, loaded.trajectory, **about)


@cache
def silicon():
    """Clusters of two to five silicon atoms."""
    loaded = load_silicon(return_frames=True)
    ace = ACEDescriptor(cutoff=6.0, r0=2.4, max_degree=(14, 12, 10), **ACE)
    return _data(ace, loaded, loaded.atom_energy, np.arange(len(loaded.kind)), kind=loaded.kind)


@cache
def water():
    """Pairs of water molecules and single ones (at an infinite distance)."""
    loaded = load_water(return_frames=True)
    ace = ACEDescriptor(cutoff=6.0, r0=1.0, max_degree=(12, 8), **ACE)
    distance = np.where(loaded.kind == "dimer", loaded.distance, 1e9)
    shift = loaded.monomer_energy / 3
    return _data(ace, loaded, shift, np.arange(len(distance)), distance=distance)


@cache
def diabetes():
    """scikit-learn's table, in its own units: much noise, and more samples than features."""
    X, y = load_diabetes(return_X_y=True)
    return Data(X, y, np.arange(len(y)), {"bmi": X[:, 2]})


class Scenario(NamedTuple):
    """What is learned from, what is predicted, and the share of groups that go into training."""

    data: Callable
    known: Callable
    new: Callable
    share: float = 0.5


def _bulk(about):
    return about["kind"] == "bulk"


def _dense(about):
    return _bulk(about) & (about["density"] > 2.4)


def _small(about):
    return np.isin(about["kind"], ["Si2", "Si3", "Si4"])


def _dimers(low, high):
    def chosen(about):
        return (about["distance"] > low) & (about["distance"] < high)

    return chosen


def _all(about):
    return np.isfinite(about["bmi"])


def _slabs(about):
    return about["kind"] == "slab"


SCENARIOS = {
    "carbon: control": Scenario(carbon, _bulk, _bulk),
    "carbon: surfaces": Scenario(
        carbon, lambda about: _bulk(about) & (about["temperature"] < 400), _slabs
    ),
    "carbon: low density": Scenario(
        carbon, _dense, lambda about: _bulk(about) & (about["density"] < 1.9), 0.8
    ),
    "carbon: hot": Scenario(
        carbon,
        lambda about: _bulk(about) & (about["temperature"] < 5000),
        lambda about: _bulk(about) & (about["temperature"] > 5000),
    ),
    "silicon: control": Scenario(silicon, _small, _small),
    "silicon: larger": Scenario(silicon, _small, lambda about: about["kind"] == "Si5"),
    "water: control": Scenario(water, _dimers(0, 20), _dimers(0, 20)),
    "water: far": Scenario(water, _dimers(0, 5.5), _dimers(6.5, 20), 0.9),
    "water: near": Scenario(water, _dimers(4.5, np.inf), _dimers(0, 4.5), 0.9),
}

# Not structures, for comparison.
TABLES = {"diabetes: control": Scenario(diabetes, _all, _all)}


def split(scenario, seed, n_labelled=N_LABELLED):
    """Divide structures at random, by groups.

    Returns
    -------
    list of Data
        What is learned from; what is labelled of the new kind; what is predicted of it; and what is
        left of the known kind (the same in a control). Features in units of their total variance.
    """
    data = scenario.data()
    rng = np.random.default_rng(seed)
    known, new = scenario.known(data.about), scenario.new(data.about)
    groups = rng.permutation(np.unique(data.groups[known]))
    taken = np.isin(data.groups, groups[: int(scenario.share * len(groups))])
    labelled = np.zeros(len(data.y), dtype=bool)
    for group in rng.permutation(np.unique(data.groups[new & ~taken])):
        if labelled.sum() < n_labelled:
            labelled |= new & (data.groups == group)
    masks = (known & taken, labelled, new & ~taken & ~labelled, known & ~taken & ~labelled)
    parts = [data.take(np.flatnonzero(mask)) for mask in masks]
    scaler = TotalVarianceScaler().fit(parts[0].X)
    return [part._replace(X=scaler.transform(part.X)) for part in parts]
