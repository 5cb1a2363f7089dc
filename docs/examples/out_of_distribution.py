"""Error bars away from the training set: what rigidities say there, and what others do.

Models learn from one kind of structures and predict others: carbon surfaces, low densities and hot
liquids from dense bulk; silicon clusters of five atoms from smaller ones; water dimers that are
far apart from close ones. For each a control predicts what it has learned from. Run it for a
table:

    python docs/examples/out_of_distribution.py --splits 9
    python docs/examples/out_of_distribution.py --labelled 4 8 16 32     # own C of the new kind

All error bars of a split are about the predictions of one ridge regression (those of the committee
and of the Gaussian process about their own), and all scales are from the training set alone, by
leaving out a trajectory (carbon) or a structure at a time; but "own C" is from a few labelled
structures of the new kind, which no method is scored on.
"""

import warnings
from functools import cache
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.spatial.distance import cdist
from scipy.stats import norm, spearmanr
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
from sklearn.metrics import roc_auc_score

from skrigidity import RigidRidge, RigidRidgeCV, TotalVarianceScaler
from skrigidity.atomistic import ACEDescriptor
from skrigidity.calibration import MisspecifiedRegressor, RigidityCalibrator
from skrigidity.datasets import load_carbon, load_silicon, load_water
from skrigidity.metrics import neg_log_likelihood

_ACE = {"kind": "self-interacting", "output": "mean"}
N_LABELLED, N_MEMBERS = 12, 16
ALPHAS = np.logspace(-9, 1, 11)


class Data(NamedTuple):
    """Structures: features, energies (meV per atom), what is left out together, what they are."""

    X: np.ndarray
    y: np.ndarray
    groups: np.ndarray
    about: dict

    def take(self, rows):
        about = {name: values[rows] for name, values in self.about.items()}
        return Data(self.X[rows], self.y[rows], self.groups[rows], about)


class ErrorBars(NamedTuple):
    """Predictions, and half widths of intervals that should hold .683 and .954 of the errors."""

    mean: np.ndarray
    one: np.ndarray
    two: np.ndarray

    @classmethod
    def gaussian(cls, mean, std):
        std = np.broadcast_to(std, mean.shape)
        return cls(mean, std, 2 * std)


# --- data ----------------------------------------------------------------------------------------


def _data(descriptor, loaded, shift, groups, **about):
    X = descriptor.fit_transform(loaded.frames)
    return Data(np.asarray(X), 1000 * (loaded.target - shift), groups, about)


@cache
def carbon():
    """Amorphous carbon, with the groups of its trajectories."""
    loaded = load_carbon(return_frames=True)
    ace = ACEDescriptor(cutoff=3.7, r0=1.42, max_degree=(14, 12, 10), **_ACE)
    about = {"density": loaded.density, "temperature": loaded.temperature, "kind": loaded.kind}
    return _data(ace, loaded, loaded.atom_energy, loaded.trajectory, **about)


@cache
def silicon():
    """Clusters of two to five silicon atoms."""
    loaded = load_silicon(return_frames=True)
    ace = ACEDescriptor(cutoff=6.0, r0=2.4, max_degree=(14, 12, 10), **_ACE)
    return _data(ace, loaded, loaded.atom_energy, np.arange(len(loaded.kind)), kind=loaded.kind)


@cache
def water():
    """Pairs of water molecules and single ones (at an infinite distance)."""
    loaded = load_water(return_frames=True)
    ace = ACEDescriptor(cutoff=6.0, r0=1.0, max_degree=(12, 8), **_ACE)
    distance = np.where(loaded.kind == "dimer", loaded.distance, np.inf)
    shift = loaded.monomer_energy / 3
    return _data(ace, loaded, shift, np.arange(len(distance)), distance=distance)


class Scenario(NamedTuple):
    """What is learned from, what is predicted, and the share of groups that go into training."""

    data: object
    known: object
    new: object
    share: float = 0.5


def _bulk(about):
    return about["kind"] == "bulk"


def _dense(about):
    return _bulk(about) & (about["density"] > 2.4)


def _small(about):
    return np.isin(about["kind"], ["Si2", "Si3", "Si4"])


SCENARIOS = {
    "carbon: control": Scenario(carbon, _bulk, _bulk),
    "carbon: surfaces": Scenario(carbon, _bulk, lambda a: a["kind"] == "slab"),
    "carbon: surfaces from dense": Scenario(carbon, _dense, lambda a: a["kind"] == "slab", 0.8),
    "carbon: low density": Scenario(carbon, _dense, lambda a: _bulk(a) & (a["density"] < 1.9), 0.8),
    "carbon: hot": Scenario(
        carbon,
        lambda a: _bulk(a) & (a["temperature"] < 5000),
        lambda a: _bulk(a) & (a["temperature"] > 5000),
    ),
    "silicon: control": Scenario(silicon, _small, _small),
    "silicon: larger": Scenario(silicon, _small, lambda a: a["kind"] == "Si5"),
    "water: control": Scenario(water, lambda a: a["distance"] < 20, lambda a: a["distance"] < 20),
    "water: far from near": Scenario(
        water,
        lambda a: a["distance"] < 5.5,
        lambda a: (a["distance"] > 6.5) & (a["distance"] < 20),
        0.9,
    ),
    "water: near from far": Scenario(
        water, lambda a: a["distance"] > 4.5, lambda a: a["distance"] < 4.5, 0.9
    ),
}


def split(scenario, seed, n_labelled=N_LABELLED):
    """Return what is learned from, what is labelled of the new kind, what is predicted."""
    data = scenario.data()
    rng = np.random.default_rng(seed)
    groups = rng.permutation(np.unique(data.groups[scenario.known(data.about)]))
    taken = np.isin(data.groups, groups[: int(scenario.share * len(groups))])
    train = np.flatnonzero(taken & scenario.known(data.about))
    new = np.flatnonzero(~taken & scenario.new(data.about))
    labelled = np.zeros(len(data.y), dtype=bool)
    for group in rng.permutation(np.unique(data.groups[new])):
        if labelled.sum() < n_labelled:
            labelled[new[data.groups[new] == group]] = True
    parts = [data.take(rows) for rows in (train, labelled, new[~labelled[new]])]
    scaler = TotalVarianceScaler().fit(parts[0].X)
    return [part._replace(X=scaler.transform(part.X)) for part in parts]


# --- methods -------------------------------------------------------------------------------------


class Ridge:
    """The ridge regression that most methods are about, and what it leaves out."""

    def __init__(self, train):
        self.train = train
        search = RigidRidgeCV(ALPHAS, calibration=None).fit(train.X, train.y, groups=train.groups)
        self.alpha = search.alpha_
        self.left_out = search.leave_one_out(train.X, train.y, groups=train.groups)

    def model(self, calibration=None):
        """Return the model with a scale of its own."""
        groups = self.train.groups if calibration in ("loo", "loo_noise") else None
        model = RigidRidge(self.alpha, calibration=calibration)
        return model.fit(self.train.X, self.train.y, groups=groups)


def constant(ridge, labelled, X):
    std = np.sqrt(np.mean(ridge.left_out.residual**2))
    return ErrorBars.gaussian(ridge.model().predict(X), std)


def constant_of_new(ridge, labelled, X):
    model = ridge.model()
    std = np.sqrt(np.mean((labelled.y - model.predict(labelled.X)) ** 2))
    return ErrorBars.gaussian(model.predict(X), std)


def rigidity(calibration):
    def method(ridge, labelled, X):
        return ErrorBars.gaussian(*ridge.model(calibration).predict(X, return_std=True))

    return method


def rigidity_by_sample(ridge, labelled, X):
    model = RigidRidge(ridge.alpha, calibration="loo").fit(ridge.train.X, ridge.train.y)
    return ErrorBars.gaussian(*model.predict(X, return_std=True))


def own_scale(ridge, labelled, X):
    """One C for the training set, by leaving out, and one for the new kind, by what is labelled."""
    model, left_out = ridge.model(), ridge.left_out
    residual = np.concatenate([left_out.residual, labelled.y - model.predict(labelled.X)])
    rigidity = np.concatenate([left_out.rigidity, model.prediction_rigidity(labelled.X)])
    kind = np.repeat(["known", "new"], [len(left_out.residual), len(labelled.y)])
    calibrator = RigidityCalibrator(min_samples=len(labelled.y)).fit(
        residual, rigidity, groups=kind
    )
    std = calibrator.predict_std(model.prediction_rigidity(X), groups=["new"] * len(X))
    return ErrorBars.gaussian(model.predict(X), std)


def learned(ridge, labelled, X):
    """Learn from the labelled structures as well, C by leaving out."""
    train = ridge.train
    groups = np.concatenate([train.groups, labelled.groups])
    more = RigidRidge(ridge.alpha, calibration="loo")
    more.fit(np.vstack([train.X, labelled.X]), np.concatenate([train.y, labelled.y]), groups=groups)
    return ErrorBars.gaussian(*more.predict(X, return_std=True))


def conformal(ridge, labelled, X):
    """Quantiles of left-out errors in units of 1 / sqrt(R)."""
    model = ridge.model()
    score = np.abs(ridge.left_out.residual) * np.sqrt(ridge.left_out.rigidity)
    width = 1 / np.sqrt(model.prediction_rigidity(X))
    levels = norm.cdf([1, 2]) - norm.cdf([-1, -2])
    n = len(score)
    quantiles = np.quantile(score, np.minimum(1, levels * (n + 1) / n), method="higher")
    return ErrorBars(model.predict(X), quantiles[0] * width, quantiles[1] * width)


def nearest(ridge, labelled, X):
    """C times the distance to the nearest training structure (of another group, for C)."""
    train = ridge.train
    among = cdist(train.X, train.X)
    among[train.groups[:, None] == train.groups] = np.inf
    scale = np.mean((ridge.left_out.residual / among.min(axis=1)) ** 2)
    std = np.sqrt(scale) * cdist(X, train.X).min(axis=1)
    return ErrorBars.gaussian(ridge.model().predict(X), std)


def committee(ridge, labelled, X):
    """Fits to draws of the groups with replacement; C by what they leave out."""
    train, rng = ridge.train, np.random.default_rng(0)
    names, group = np.unique(train.groups, return_inverse=True)
    weights = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), N_MEMBERS)[:, group]
    members = [
        RigidRidge(ridge.alpha, calibration=None).fit(train.X, train.y, sample_weight=w)
        for w in weights
    ]
    at = np.array([member.predict(train.X) for member in members])
    at = np.where(weights == 0, at, np.nan)
    enough = (weights == 0).sum(axis=0) >= 4
    mean, variance = np.nanmean(at[:, enough], axis=0), np.nanvar(at[:, enough], axis=0, ddof=1)
    scale = np.mean((train.y[enough] - mean) ** 2 / variance)
    new = np.array([member.predict(X) for member in members])
    return ErrorBars.gaussian(new.mean(axis=0), np.sqrt(scale) * new.std(axis=0, ddof=1))


def gaussian_process(ridge, labelled, X):
    """scikit-learn's, an RBF kernel and noise by the marginal likelihood."""
    train = ridge.train
    kernel = ConstantKernel(10.0, (1e-3, 1e6)) * RBF(3.0, (1e-2, 1e3))
    kernel += WhiteKernel(1e-3, (1e-9, 1e1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = GaussianProcessRegressor(kernel, normalize_y=True).fit(train.X, train.y)
    return ErrorBars.gaussian(*model.predict(X, return_std=True))


def misspecified(method):
    def bars(ridge, labelled, X):
        model = MisspecifiedRegressor(RigidRidge(ridge.alpha), method=method)
        model.fit(
            ridge.train.X,
            ridge.train.y,
            **({"groups": ridge.train.groups} if method == "jackknife" else {}),
        )
        return ErrorBars.gaussian(*model.predict(X, return_std=True))

    return bars


METHODS = {
    "constant": constant,
    "rigidity, bayesian": rigidity("bayesian"),
    "rigidity, loo ungrouped": rigidity_by_sample,
    "rigidity, loo": rigidity("loo"),
    "rigidity, loo_noise": rigidity("loo_noise"),
    "conformal": conformal,
    "committee": committee,
    "nearest neighbour": nearest,
    "Gaussian process": gaussian_process,
    "POPS ensemble": misspecified("ensemble"),
    "POPS hypercube": misspecified("hypercube"),
    "jackknife": misspecified("jackknife"),
    "rigidity, own C": own_scale,
    "constant, own": constant_of_new,
    "learned, loo": learned,
}


# --- scores --------------------------------------------------------------------------------------


def score(bars, y, reference):
    """Return scores of error bars; `reference` is a constant that they are compared with."""
    error = np.abs(y - bars.mean)
    varies = np.ptp(bars.one) > 1e-9 * bars.one.max()
    worst = error >= np.quantile(error, 0.9)
    nll = neg_log_likelihood(y, bars.mean, bars.one)
    return {
        "rmse": np.sqrt(np.mean(error**2)),
        "spearman": spearmanr(error, bars.one)[0] if varies else np.nan,
        "auc": roc_auc_score(worst, bars.one) if varies else np.nan,
        "dnll": nll - neg_log_likelihood(y, reference.mean, reference.one),
        "inside_1": np.mean(error <= bars.one),
        "inside_2": np.mean(error <= bars.two),
    }


def study(scenarios=None, methods=None, *, n_splits=5, n_labelled=N_LABELLED):
    """Return scores, one row per scenario, split and method.

    Parameters
    ----------
    scenarios, methods : list of str, default=None
        Some of `SCENARIOS` and `METHODS`; None is all of them.
    n_splits : int, default=5
        Random divisions into training and test structures.
    n_labelled : int, default=12
        Structures of the new kind that have a label; no method is scored on them.

    Returns
    -------
    DataFrame
        Columns scenario, method, seed, and those of `score`.
    """
    rows = []
    for name in scenarios or SCENARIOS:
        for seed in range(n_splits):
            train, labelled, test = split(SCENARIOS[name], seed, n_labelled)
            ridge = Ridge(train)
            reference = constant(ridge, labelled, test.X)
            for method in methods or METHODS:
                bars = METHODS[method](ridge, labelled, test.X)
                found = score(bars, test.y, reference)
                rows.append({"scenario": name, "method": method, "seed": seed, **found})
    return pd.DataFrame(rows)
