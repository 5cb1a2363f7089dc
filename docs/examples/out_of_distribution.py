"""Error bars away from the training set: what rigidities say there, and what others do.

Models learn from one kind of structures and predict another: carbon surfaces from quenched bulk,
low densities from high ones, hot liquids from colder ones; silicon clusters of five atoms from
smaller ones; water dimers that are far apart from close ones, and the reverse. A control for each
predicts what it has learned from. Run it for tables:

    python docs/examples/out_of_distribution.py --splits 15
    python docs/examples/out_of_distribution.py --labelled 4 8 16     # a C of the new kind
    python docs/examples/out_of_distribution.py --defaults     # calibrations in pairs, their cost

Most error bars of a split are about the predictions of one ridge regression (those of the
committee and of the Gaussian process about their own), and all scales are from the training set
alone, by leaving out a trajectory (carbon) or a structure at a time. The last three methods know a
few labelled structures of the new kind, which no method is scored on.
"""

import argparse
import warnings
from functools import partial
from timeit import repeat
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.spatial.distance import cdist
from scipy.stats import norm, spearmanr
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
from sklearn.linear_model import Ridge
from sklearn.metrics import roc_auc_score
from structures_to_predict import N_LABELLED, SCENARIOS, TABLES, split

from skrigidity import RigidRidge, RigidRidgeCV
from skrigidity.calibration import MisspecifiedRegressor, RigidityCalibrator
from skrigidity.metrics import neg_log_likelihood

N_MEMBERS = 16
ALPHAS = np.logspace(-9, 1, 11)


class ErrorBars(NamedTuple):
    """Predictions, and half widths of intervals that should hold .683 and .954 of the errors."""

    mean: np.ndarray
    one: np.ndarray
    two: np.ndarray

    @classmethod
    def gaussian(cls, mean, std):
        std = np.broadcast_to(std, mean.shape)
        return cls(mean, std, 2 * std)


# --- methods -------------------------------------------------------------------------------------


class BestRidge:
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


def jackknife(ridge, labelled, X):
    """Sandwich variance, C and sigma by leaving out."""
    model = MisspecifiedRegressor(RigidRidge(ridge.alpha))
    model.fit(ridge.train.X, ridge.train.y, groups=ridge.train.groups)
    return ErrorBars.gaussian(*model.predict(X, return_std=True))


def hypercube(ridge, labelled, X):
    """POPS as its authors have it: no scale, and the Bayesian variance added."""
    model = MisspecifiedRegressor(RigidRidge(ridge.alpha), method="hypercube", calibration=None)
    mean, std = model.fit(ridge.train.X, ridge.train.y).predict(X, return_std=True)
    posterior = model.estimator_.scale_ / model.prediction_rigidity(X)
    return ErrorBars.gaussian(mean, np.sqrt(std**2 + posterior))


METHODS = {
    "constant": constant,
    "rigidity, bayesian": rigidity("bayesian"),
    "rigidity, loo": rigidity("loo"),
    "rigidity, loo_noise": rigidity("loo_noise"),
    "conformal": conformal,
    "committee": committee,
    "nearest neighbour": nearest,
    "Gaussian process": gaussian_process,
    "jackknife": jackknife,
    "POPS": hypercube,
    "constant of the new": constant_of_new,
    "rigidity, own C": own_scale,
    "learned as well, loo": learned,
}
LABELLED = (constant_of_new, own_scale, learned)
# What `calibration` may be, in pairs with the default.
CALIBRATIONS = ("rigidity, loo", "rigidity, loo_noise", "jackknife")


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


def found_new(new, known):
    """Return the probability that a structure of the new kind has the longer error bar."""
    if np.ptp(new) <= 1e-9 * new.max():
        return np.nan
    return roc_auc_score(np.repeat([1, 0], [len(new), len(known)]), np.concatenate([new, known]))


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
        Columns scenario, method, seed, those of `score`, and `found_new`'s (NaN in controls).
    """
    rows = []
    for name in scenarios or SCENARIOS:
        for seed in range(n_splits):
            scenario = {**SCENARIOS, **TABLES}[name]
            train, labelled, test, rest = split(scenario, seed, n_labelled)
            ridge = BestRidge(train)
            reference = constant(ridge, labelled, test.X)
            for method in methods or METHODS:
                bars = METHODS[method](ridge, labelled, test.X)
                found = score(bars, test.y, reference)
                if "control" not in name:
                    at_rest = METHODS[method](ridge, labelled, rest.X).one
                    found["found"] = found_new(bars.one, at_rest)
                rows.append({"scenario": name, "method": method, "seed": seed, **found})
    return pd.DataFrame(rows)


# --- tables --------------------------------------------------------------------------------------

COLUMNS = {
    "rmse": "Root mean square error, meV per atom",
    "spearman": "Spearman correlation of absolute errors and standard deviations",
    "auc": "AUC of the tenth of largest errors",
    "found": "AUC of structures of the new kind among held-out ones of the known kind",
    "dnll": "Negative log-likelihood in nats, less that of a constant",
    "inside_1": "Share of errors inside one standard deviation (.683)",
    "inside_2": "Share of errors inside two standard deviations (.954)",
}


def cell(values):
    """Return the median, and half the distance of quartiles in units of the last digit."""
    if values.isna().all():
        return "–"
    low, middle, high = np.nanquantile(values, [0.25, 0.5, 0.75])
    digits = 0 if abs(middle) >= 20 else 1 if abs(middle) >= 3 else 2
    return f"{middle:.{digits}f}({(high - low) / 2 * 10**digits:.0f})"


def markdown(table):
    """Return a table of text as markdown."""
    head = ["", *table.columns]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join([name, *row]) + " |" for name, *row in table.itertuples()]
    return "\n".join(lines)


def report(scores, columns=COLUMNS):
    """Print a table per score: its column, and a title. Methods with the same row share it."""
    for column, title in columns.items():
        cells = scores.groupby(["method", "scenario"], sort=False)[column].apply(cell).unstack()
        known = scores.scenario[scores[column].notna()].unique()
        table = cells.reindex(scores.method.unique())[known]
        table = table[(table != "–").any(axis=1)]
        names = pd.Series(table.index, table.index)
        names = names.groupby([*table.to_numpy().T], sort=False).agg("; ".join)
        table = table.drop_duplicates().set_axis(names)
        print(f"\n{title}\n\n{markdown(table)}")


def report_defaults(scores):
    """Print how much better other calibrations are than "bayesian", split by split."""
    table = {}
    for name, part in scores.groupby("scenario", sort=False):
        dnll = part.pivot(index="seed", columns="method", values="dnll")
        change = dnll[list(CALIBRATIONS)].sub(dnll["rigidity, bayesian"], axis=0)
        table[name] = [f"{cell(change[m])}, {np.mean(change[m] < 0):.0%}" for m in CALIBRATIONS]
    table = pd.DataFrame.from_dict(table, orient="index", columns=CALIBRATIONS)
    print(f"\nNegative log-likelihood less that of bayesian (share of splits)\n\n{markdown(table)}")


def report_cost(sizes=((20_000, 1000), (1000, 50), (100, 250))):
    """Print times to fit, in units of those of `Ridge` by Cholesky: the best of some."""
    calibrations, table = ("bayesian", "loo", "loo_noise"), {}
    for n, d in sizes:
        X = np.random.default_rng(0).standard_normal((n, d))
        y = X[:, 0] + np.random.default_rng(1).standard_normal(n)
        models = [Ridge(solver="cholesky"), *(RigidRidge(calibration=c) for c in calibrations)]
        number = max(1, 10**6 // (n * d))
        times = [min(repeat(partial(m.fit, X, y), number=number, repeat=5)) for m in models]
        table[f"{n} × {d}"] = [f"{time / times[0]:.1f}" for time in times[1:]]
    table = pd.DataFrame.from_dict(table, orient="index", columns=calibrations)
    print(f"\nTime to fit, in units of Ridge by Cholesky\n\n{markdown(table)}")


def report_labelled(numbers, n_splits, names=None):
    """Print what a C of the new kind's own is worth, by the number of its labelled structures."""
    names = names or [name for name in SCENARIOS if "control" not in name]
    methods = [
        "rigidity, bayesian",
        "constant of the new",
        "rigidity, own C",
        "learned as well, loo",
    ]
    table = {}
    for n in numbers:
        scores = study(names, methods, n_splits=n_splits, n_labelled=n)
        by = scores.groupby(["method", "scenario"], sort=False)["inside_2"].apply(cell).unstack()
        for method in methods:
            table[f"{method}, {n} labelled"] = by.loc[method, names].tolist()
    table = pd.DataFrame.from_dict(table, orient="index", columns=names)
    print(f"\n{COLUMNS['inside_2']}\n\n{markdown(table)}")


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--splits", type=int, default=15, help="random splits of each scenario")
    parser.add_argument("--scenarios", nargs="+", choices=list(SCENARIOS), metavar="NAME")
    parser.add_argument("--labelled", nargs="+", type=int, metavar="N", help="numbers of labels")
    parser.add_argument("--defaults", action="store_true", help="calibrations in pairs")
    options = parser.parse_args(arguments)
    warnings.filterwarnings("ignore", message="the best alpha", category=UserWarning)
    if options.labelled:
        report_labelled(options.labelled, options.splits, options.scenarios)
    elif options.defaults:
        methods = ["rigidity, bayesian", *CALIBRATIONS]
        scenarios = options.scenarios or [*SCENARIOS, *TABLES]
        report_defaults(study(scenarios, methods, n_splits=options.splits))
        report_cost()
    else:
        report(study(options.scenarios, n_splits=options.splits))


if __name__ == "__main__":
    main()
