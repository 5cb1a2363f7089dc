"""Error bars of models that are too simple for their data, where there is no noise.

Models of few parameters are fitted to many energies that have no noise: pairs of atoms in silicon
clusters, in copper crystals with vacancies and in amorphous carbon; molecules of water without
their surroundings; and polynomials of degree 4 on the authors' oscillating function. What errs is
the form of the model. Run it for tables:

    python docs/examples/misspecification.py --splits 9
"""

import argparse
import warnings
from functools import cache

import numpy as np
import pandas as pd
from ase.build import bulk
from ase.calculators.emt import EMT
from out_of_distribution import COLUMNS, ErrorBars, report, score
from structures_to_predict import ACE

from skrigidity import RigidRidge, RigidRidgeCV, TotalVarianceScaler
from skrigidity.atomistic import ACEDescriptor
from skrigidity.calibration import MisspecifiedRegressor
from skrigidity.datasets import load_carbon, load_silicon, load_water

ALPHAS = np.logspace(-12, 0, 13)
N_COPPER = 600


# --- data ----------------------------------------------------------------------------------------


def polynomial():
    """A function of the authors of POPS, and powers up to 4."""
    x = np.random.default_rng(0).uniform(-10, 10, 1000)
    return np.vander(x / 10, 5), (x**3 + 0.01 * x**4) * 0.1 + np.sin(x) * x * 10.0


def _energies(loaded, shift, **ace):
    X = ACEDescriptor(**ace, **ACE).fit_transform(loaded.frames)
    return np.asarray(X), 1000 * (loaded.target - shift)


def silicon(max_degree):
    """Clusters of two to five atoms, without the curve of dimers."""
    loaded = load_silicon(return_frames=True)
    X, y = _energies(loaded, loaded.atom_energy, cutoff=6.0, r0=2.4, max_degree=max_degree)
    return X[loaded.kind != "dimer_curve"], y[loaded.kind != "dimer_curve"]


def water():
    """Molecules that do not see each other."""
    loaded = load_water(return_frames=True)
    return _energies(loaded, loaded.monomer_energy / 3, cutoff=2.0, r0=1.0, max_degree=(4, 4))


def carbon():
    """Neighbours of carbon atoms, by pairs."""
    loaded = load_carbon(return_frames=True)
    return _energies(loaded, loaded.atom_energy, cutoff=3.0, r0=1.42, max_degree=(6,))


def copper(max_degree):
    """Strained and shaken crystals under effective-medium theory, half of them with a vacancy."""
    rng, frames, y = np.random.default_rng(0), [], []
    for i in range(N_COPPER):
        atoms = bulk("Cu", cubic=True) * (2, 2, 2)
        atoms.set_cell(atoms.cell * (1 + 0.04 * rng.standard_normal()), scale_atoms=True)
        atoms.positions += rng.uniform(0.02, 0.35) * rng.standard_normal(atoms.positions.shape)
        if i % 2:
            del atoms[rng.integers(len(atoms))]
        atoms.calc = EMT()
        frames.append(atoms)
        y.append(1000 * atoms.get_potential_energy() / len(atoms))
    ace = ACEDescriptor(cutoff=4.0, r0=2.5, max_degree=max_degree, **ACE)
    return np.asarray(ace.fit_transform(frames)), np.array(y)


CASES = {
    "polynomial": cache(polynomial),
    "silicon: pairs": cache(lambda: silicon((8,))),
    "silicon: triples": cache(lambda: silicon((8, 6))),
    "copper: pairs": cache(lambda: copper((6,))),
    "copper: triples": cache(lambda: copper((8, 6))),
    "water: molecules": cache(water),
    "carbon: pairs": cache(carbon),
}


# --- methods -------------------------------------------------------------------------------------


def rigidity(calibration):
    def method(alpha, X, y, X_test):
        model = RigidRidge(alpha, calibration=calibration).fit(X, y)
        return model.predict(X_test, return_std=True)

    return method


def constant(alpha, X, y, X_test):
    model = RigidRidge(alpha).fit(X, y)
    std = np.sqrt(np.mean(model.leave_one_out(X, y).residual ** 2))
    return model.predict(X_test), np.full(len(X_test), std)


def spread(method, calibration):
    def bars(alpha, X, y, X_test):
        model = MisspecifiedRegressor(RigidRidge(alpha), method=method, calibration=calibration)
        mean, std = model.fit(X, y).predict(X_test, return_std=True)
        if calibration is None:  # the authors' variance has that of the Bayesian ridge as well
            q = 1 / model.prediction_rigidity(X_test)
            std = np.sqrt(std**2 + model.estimator_.scale_ * q)
        return mean, std

    return bars


METHODS = {
    "constant": constant,
    "rigidity, bayesian": rigidity("bayesian"),
    "rigidity, loo": rigidity("loo"),
    "rigidity, loo_noise": rigidity("loo_noise"),
    "POPS ensemble": spread("ensemble", None),
    "POPS hypercube": spread("hypercube", None),
    "POPS hypercube, loo_noise": spread("hypercube", "loo_noise"),
    "jackknife, loo_noise": spread("jackknife", "loo_noise"),
}


def bounds(method, alpha, X, y, X_test, y_test):
    """Return the share of targets inside the bounds of POPS, and how wide these are."""
    model = MisspecifiedRegressor(RigidRidge(alpha), method=method).fit(X, y)
    mean, low, high = model.predict(X_test, return_bounds=True)
    error = np.sqrt(np.mean((y_test - mean) ** 2))
    return np.mean((low <= y_test) & (y_test <= high)), np.median(high - low) / error


# --- study ---------------------------------------------------------------------------------------


def study(cases=None, methods=None, *, n_splits=5):
    """Return scores of error bars, and of bounds, one row per case, split and method.

    Parameters
    ----------
    cases, methods : list of str, default=None
        Some of `CASES` and `METHODS`; None is all of them.
    n_splits : int, default=5
        Random divisions into two thirds to learn from and a third to predict.

    Returns
    -------
    tuple of DataFrame
        Scores as those of `out_of_distribution.study`, and of bounds: columns scenario, method,
        seed, inside, width (in units of the root mean square error).
    """
    scores, limits = [], []
    for case in cases or CASES:
        X, y = CASES[case]()
        for seed in range(n_splits):
            rows = np.random.default_rng(seed).permutation(len(y))
            train, test = np.split(rows, [2 * len(y) // 3])
            scaler = TotalVarianceScaler().fit(X[train])
            data = scaler.transform(X[train]), y[train], scaler.transform(X[test])
            alpha = RigidRidgeCV(ALPHAS, calibration=None).fit(*data[:2]).alpha_
            reference = ErrorBars.gaussian(*constant(alpha, *data))
            about = {"scenario": case, "seed": seed}
            for method in methods or METHODS:
                bars = ErrorBars.gaussian(*METHODS[method](alpha, *data))
                scores.append({**about, "method": method, **score(bars, y[test], reference)})
            for method in ("ensemble", "hypercube"):
                inside, width = bounds(method, alpha, *data, y[test])
                limits.append({**about, "method": method, "inside": inside, "width": width})
    return pd.DataFrame(scores), pd.DataFrame(limits)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--splits", type=int, default=9, help="random splits of each case")
    parser.add_argument("--cases", nargs="+", choices=list(CASES), metavar="NAME")
    options = parser.parse_args(arguments)
    warnings.filterwarnings("ignore", message="the best alpha", category=UserWarning)
    scores, limits = study(options.cases, n_splits=options.splits)
    report(scores, {name: title for name, title in COLUMNS.items() if name in scores})
    titles = {
        "inside": "Share of targets inside the bounds of POPS",
        "width": "Width of these bounds, in root mean square errors",
    }
    report(limits, titles)


if __name__ == "__main__":
    main()
