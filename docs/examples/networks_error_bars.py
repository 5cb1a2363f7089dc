"""Do last-layer rigidities tell how large the errors of networks are? (Fig. 1 of the paper)

Chong et al., Faraday Discuss. 256, 322 (2025). A network is trained, its error bars C / sqrt(R) are
calibrated on validation data, and errors on test data are set against them: rank correlation, slope
and distance in bins of 50, likelihood against one error bar for all, coverage. Two controls have
the same predictions: rigidities that are shuffled, and those of the network before it was trained,
each with a C of its own. "ideal" is what Gaussian errors of exactly these error bars would score.

Networks: `species` (like SOAP-BPNN, see species_network.py), `mlp` (scikit-learn's, on sums of SOAP
features over atoms), `painn` (SchNetPack) and `mace`, where these packages are installed. The last
two are small here, and see 1000 molecules.

    SKRIGIDITY_SMALL=1 python docs/examples/networks_error_bars.py         under a minute
    python docs/examples/networks_error_bars.py --networks species painn --seeds 0 1 2
    python docs/examples/networks_error_bars.py --figures FOLDER           figures in files
"""

import argparse
import importlib.util
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from network_recipes import NETWORKS, Effort, available, sized
from networks_data import load_structures

from skrigidity.calibration import fit_scale
from skrigidity.metrics import (
    binned_calibration,
    error_uncertainty_correlation,
    neg_log_likelihood,
)


class Scores(NamedTuple):
    """How error bars compare with errors."""

    spearman: float  # of absolute errors and standard deviations
    slope: float  # of log squared errors against log variances, in bins
    mald: float  # mean absolute difference of these two logarithms
    dnll: float  # negative log-likelihood, less that of one standard deviation for all
    inside_1: float  # share of errors within one standard deviation
    inside_2: float


class ErrorBars(NamedTuple):
    """Errors on the test set, and three kinds of standard deviations of them."""

    error: np.ndarray
    std: np.ndarray
    shuffled: np.ndarray
    untrained: np.ndarray
    constant: float  # root mean square error on the validation set


def error_bars(trained, untrained, held_out, seed=0):
    """Calibrate a fitted model, and its controls, on the validation set; compare on the test set.

    Parameters
    ----------
    trained, untrained : fitted estimators with rigidities
        The network after and before its training, H being that of the training set.
    held_out : pair of (inputs, labels)
        The validation set and the test set.
    """
    rng = np.random.default_rng(seed)
    (validation, y_validation), (test, y_test) = held_out
    residual = y_validation - trained.predict(validation)
    R_validation = trained.prediction_rigidity(validation)
    trained.calibrate(validation, y_validation)
    mean, std = trained.predict(test, return_std=True)
    R = trained.prediction_rigidity(test)
    shuffled = fit_scale(residual, rng.permutation(R_validation)).variance
    before = fit_scale(residual, untrained.prediction_rigidity(validation)).variance
    return ErrorBars(
        error=y_test - mean,
        std=std,
        shuffled=np.sqrt(shuffled / rng.permutation(R)),
        untrained=np.sqrt(before / untrained.prediction_rigidity(test)),
        constant=float(np.sqrt(np.mean(residual**2))),
    )


def scores(error, std, constant):
    """Compare errors with standard deviations, and these with one for all."""
    zero, one_for_all = np.zeros_like(error), np.full(len(error), constant)
    bins = binned_calibration(error, zero, std)
    z = np.abs(error / std)
    return Scores(
        spearman=error_uncertainty_correlation(error, zero, std),
        slope=bins.slope,
        mald=bins.mean_log_deviation,
        dnll=neg_log_likelihood(error, zero, std) - neg_log_likelihood(error, zero, one_for_all),
        inside_1=np.mean(z < 1),
        inside_2=np.mean(z < 2),
    )


def study(name, structures, seed=0, effort=None):
    """Train one kind of network; return what became of its error bars."""
    parts = structures.split(seed)
    trained, untrained, held_out = NETWORKS[name](structures, parts, seed, effort or Effort())
    return error_bars(trained, untrained, held_out, seed)


def table_of(found, seed=0):
    """Return the scores of several studies, {(name, seed): ErrorBars}, and of their controls.

    "ideal" are errors drawn from Gaussians of exactly these standard deviations.
    """
    rng, rows = np.random.default_rng(seed), {}
    for which, bars in found.items():
        drawn = bars.std * rng.standard_normal(len(bars.std))
        kinds = {
            "trained": (bars.error, bars.std, bars.constant),
            "shuffled": (bars.error, bars.shuffled, bars.constant),
            "untrained": (bars.error, bars.untrained, bars.constant),
            "ideal": (drawn, bars.std, np.sqrt(np.mean(bars.std**2))),
        }
        for kind, given in kinds.items():
            rows[*which, kind] = {"mae": np.abs(given[0]).mean(), **scores(*given)._asdict()}
    table = pd.DataFrame.from_dict(rows, orient="index")
    table.index = pd.MultiIndex.from_tuples(table.index, names=["network", "seed", "rigidities"])
    return table


def draw(found, unit):
    """Draw errors against error bars, one by one and in bins; returns the figures."""
    import matplotlib.pyplot as plt

    from skrigidity.plotting import BinnedErrorDisplay, ErrorUncertaintyDisplay

    figures = {}
    for (name, seed), bars in found.items():
        figure, axes = plt.subplots(1, 2, figsize=(10, 4.5), layout="constrained")
        errors = np.zeros_like(bars.error), bars.error, bars.std
        for display, ax in zip((ErrorUncertaintyDisplay, BinnedErrorDisplay), axes, strict=True):
            display.from_predictions(*errors, unit=unit, ax=ax)
        figures[f"error-bars-{name}-{seed}"] = figure
    return figures


def main(arguments=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, help="default: all there are")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--figures", type=Path, help="folder for figures")
    parser.add_argument("--full", action="store_true", help="no fewer molecules for painn and mace")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    structures = load_structures()
    found = {}
    for name in given.networks or available():
        for seed in given.seeds:
            given_to = structures if given.full else sized(name, structures)
            found[name, seed] = study(name, given_to, seed)
            print(table_of({(name, seed): found[name, seed]}).round(3).to_string(), flush=True)
    if given.figures is not None and importlib.util.find_spec("matplotlib") is not None:
        given.figures.mkdir(parents=True, exist_ok=True)
        for name, figure in draw(found, structures.unit).items():
            figure.savefig(given.figures / f"{structures.name}-{name}.png", dpi=150)


if __name__ == "__main__":
    main()
