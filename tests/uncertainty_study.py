"""Do rigidities tell how large errors are? The statistics, on QM7 and on the bundled carbon.

Errors of held-out predictions are set against ``std = C / sqrt(R)``, with C from leave-one-out
(leave-one-trajectory-out) of the training set or from validation data. The control has the same
predictions with shuffled rigidities, its C determined in the same way from shuffled left-out
rigidities; "ideal" has Gaussian errors of exactly the stated standard deviations, and says how far
each score can come with error bars that differ no more than these do. Run it for a table of all:

    python tests/uncertainty_study.py --seeds 24
"""

import argparse
import io
import lzma
import warnings
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GroupShuffleSplit
from sklearn.neural_network import MLPRegressor

from skrigidity import RigidKernelRidge, RigidRidgeCV, WithRigidity
from skrigidity.calibration import fit_scale
from skrigidity.datasets import load_carbon
from skrigidity.metrics import (
    binned_calibration,
    error_uncertainty_correlation,
    neg_log_likelihood,
)

QM7 = Path(__file__).resolve().parents[2] / "shared" / "data" / "qm7.extxyz.xz"
N_FEATURES = 800
SIZES = {"full": (4000, 1000, 2000), "small": (1000, 300, 1000)}
BIN_SIZE = 50
# Trajectories that one split of the carbon set trains on and is validated on, out of 67; all
# predictions of this many splits are pooled, for one is too small to tell anything.
N_TRAIN, N_VALIDATION, N_SPLITS = 27, 13, 8


class Scores(NamedTuple):
    """How error bars compare with errors."""

    mae: float
    spearman: float  # of absolute errors and standard deviations
    slope: float  # of binned log squared errors against log variances
    mald: float  # mean absolute difference of these two logarithms
    dnll: float  # negative log-likelihood, minus that of one standard deviation for all
    inside_1: float  # share of errors within 1 standard deviation
    inside_2: float
    inside_3: float
    z2: float  # mean square of error / standard deviation


class Outcome(NamedTuple):
    """Scores of one model on one or several splits."""

    loo: Scores
    held_out: Scores
    control: Scores
    ideal: Scores
    ratio: float  # of C**2 from leave-one-out to that from validation data


class NetworkOutcome(NamedTuple):
    """Scores of a network, C from validation data: there is no leave-one-out."""

    held_out: Scores
    control: Scores
    untrained: Scores  # the same errors, with the rigidities of the network before training
    ideal: Scores


class Predictions(NamedTuple):
    """Errors of test predictions, and standard deviations that are claimed for them."""

    error: np.ndarray
    loo: np.ndarray
    held_out: np.ndarray
    control: np.ndarray
    constant: np.ndarray  # root mean square of the left-out errors
    constant_held_out: np.ndarray  # of those on validation data
    log_ratio: np.ndarray


# --- models --------------------------------------------------------------------------------------


def fit_ridge(X: np.ndarray, y: np.ndarray, groups: Any = None) -> RigidRidgeCV:
    """Choose alpha by the squared error of leaving out one sample, or one group."""
    alphas = None if groups is None else np.logspace(-8, -3, 6)
    return RigidRidgeCV(alphas, calibration="loo").fit(X, y, groups=groups)


def fit_rbf(X: np.ndarray, y: np.ndarray, groups: Any = None) -> RigidKernelRidge:
    """Fit a Gaussian kernel."""
    return _best_alpha({"kernel": "rbf", "gamma": 0.003}, np.logspace(-7, -4, 4), X, y, groups)


def fit_linear_rbf(X: np.ndarray, y: np.ndarray, groups: Any = None) -> RigidKernelRidge:
    """Fit the sum of a linear and a Gaussian kernel."""
    kernel = {"kernel": {"linear": "linear", "rbf": "rbf"}, "gamma": {"rbf": 0.01}}
    return _best_alpha(kernel, np.logspace(-6, -3, 4), X, y, groups)


MODELS: dict[str, Callable] = {"ridge": fit_ridge, "rbf": fit_rbf, "linear + rbf": fit_linear_rbf}


def _best_alpha(
    kernel: dict, alphas: Iterable[float], X: np.ndarray, y: np.ndarray, groups: Any
) -> RigidKernelRidge:
    models = [
        RigidKernelRidge(alpha, center_y=True, calibration="loo", **kernel).fit(X, y, groups=groups)
        for alpha in alphas
    ]
    return min(models, key=lambda m: np.mean(m.leave_one_out(X, y, groups=groups).residual ** 2))


# --- data ----------------------------------------------------------------------------------------


@cache
def load_qm7() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return SOAP features summed over atoms, numbers of atoms by element, energies (kcal/mol)."""
    import ase.io

    from skrigidity.atomistic import CompositionDescriptor, FeatomicDescriptor

    # Not ase.io.read(QM7): it seeks back for every frame, which xz can only do from the start.
    with lzma.open(QM7, "rt") as file:
        frames = ase.io.read(io.StringIO(file.read()), ":", format="extxyz")
    soap = FeatomicDescriptor(
        cutoff=4.0, density_width=0.3, max_radial=3, max_angular=4, output="sum", cache_size=0
    )
    composition = CompositionDescriptor(output="sum")
    y = np.array([frame.info["atomization_energy_kcal_mol"] for frame in frames])
    return soap.fit_transform(frames), composition.fit_transform(frames), y


@cache
def load_carbon_features() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return SOAP features averaged over atoms, energies per atom (eV), trajectories."""
    from skrigidity.atomistic import FeatomicDescriptor

    carbon = load_carbon(return_frames=True)
    soap = FeatomicDescriptor(cutoff=3.7, output="mean", cache_size=0)
    return soap.fit_transform(carbon.frames), carbon.target, carbon.trajectory


def farthest_columns(X: np.ndarray, n: int) -> np.ndarray:
    """Return columns by farthest point sampling, the one of largest norm first."""
    gram = X.T @ X
    square = np.diag(gram)
    chosen = [int(square.argmax())]
    distance = np.full(len(gram), np.inf)
    while len(chosen) < n:
        last = chosen[-1]
        distance = np.minimum(distance, square + square[last] - 2 * gram[last])
        chosen.append(int(distance.argmax()))
    return np.array(chosen)


# --- studies -------------------------------------------------------------------------------------


def study_qm7(model: str, size: str, seed: int) -> Outcome:
    """Fit to a random part of QM7, after subtracting energies of free atoms."""
    X, counts, y = load_qm7()
    rng = np.random.default_rng(seed)
    train, validation, test = _parts(rng.permutation(len(y)), *SIZES[size])
    y = y - counts @ np.linalg.lstsq(counts[train], y[train], rcond=None)[0]
    X = X[:, farthest_columns(X[train], N_FEATURES)]
    return _outcome([_predict(model, X, y, (train, validation, test), rng)], rng)


def study_network(seed: int) -> NetworkOutcome:
    """Train a multi-layer perceptron on the full part of QM7; rigidities of its last layer."""
    X, counts, y = load_qm7()
    rng = np.random.default_rng(seed)
    train, validation, test = _parts(rng.permutation(len(y)), *SIZES["full"])
    y = y - counts @ np.linalg.lstsq(counts[train], y[train], rcond=None)[0]
    unit = y[train].std()
    # One scale for all features: those that vary little are noise. Small inputs: tanh is smooth.
    X = (X - X[train].mean(axis=0)) / (4 * np.sqrt(X[train].var(axis=0).mean()))
    settings = {"hidden_layer_sizes": (100, 100), "activation": "tanh", "alpha": 1e-2}
    settings |= {"random_state": seed, "tol": 0.0, "n_iter_no_change": 1000}
    epochs = {"max_iter": 150}, {"max_iter": 1, "learning_rate_init": 1e-12}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        network, untrained = (
            WithRigidity(MLPRegressor(**settings, **how)).fit(X[train], y[train] / unit)
            for how in epochs
        )
    residual, error = (y[part] - unit * network.predict(X[part]) for part in (validation, test))

    def scores(known: np.ndarray, asked: np.ndarray) -> Scores:
        """Error bars from rigidities of the validation and of the test set."""
        scale = fit_scale(residual, known).variance
        constant = np.full(len(test), np.sqrt(np.mean(residual**2)))
        return score(error, np.sqrt(scale / asked), constant)

    R = [network.prediction_rigidity(X[part]) for part in (validation, test)]
    std = np.sqrt(fit_scale(residual, R[0]).variance / R[1])
    rms = np.full(len(test), np.sqrt(np.mean(std**2)))
    ideal = [score(e, std, rms) for e in std * rng.standard_normal((10, len(std)))]
    return NetworkOutcome(
        held_out=scores(*R),
        control=scores(*(rng.permutation(part) for part in R)),
        untrained=scores(*(untrained.prediction_rigidity(X[p]) for p in (validation, test))),
        ideal=Scores(*np.mean(ideal, axis=0)),
    )


def study_carbon(model: str, seed: int) -> Outcome:
    """Fit to some trajectories of the carbon set, predict others; pooled over splits."""
    X, y, groups = load_carbon_features()
    rng = np.random.default_rng(seed)
    splits = GroupShuffleSplit(N_SPLITS, train_size=N_TRAIN + N_VALIDATION, random_state=seed)
    predictions = []
    for rest, test in splits.split(X, groups=groups):
        trajectories = rng.permutation(np.unique(groups[rest]))
        training = np.isin(groups[rest], trajectories[:N_TRAIN])
        parts = rest[training], rest[~training], test
        predictions.append(_predict(model, X, y, parts, rng, groups))
    return _outcome(predictions, rng)


def score(error: np.ndarray, std: np.ndarray, constant: np.ndarray) -> Scores:
    """Compare errors with standard deviations, and these with constant ones."""
    z = np.abs(error / std)
    zero = np.zeros_like(error)
    bins = binned_calibration(error, zero, std, bin_size=BIN_SIZE)
    return Scores(
        mae=np.abs(error).mean(),
        spearman=error_uncertainty_correlation(error, zero, std),
        slope=bins.slope,
        mald=bins.mean_log_deviation,
        dnll=neg_log_likelihood(error, zero, std) - neg_log_likelihood(error, zero, constant),
        inside_1=np.mean(z < 1),
        inside_2=np.mean(z < 2),
        inside_3=np.mean(z < 3),
        z2=np.mean(z**2),
    )


def _parts(order: np.ndarray, *sizes: int) -> list[np.ndarray]:
    return np.split(order[: sum(sizes)], np.cumsum(sizes)[:-1])


def _predict(
    model: str,
    X: np.ndarray,
    y: np.ndarray,
    parts: Iterable[np.ndarray],
    rng: np.random.Generator,
    groups: np.ndarray | None = None,
) -> Predictions:
    train, validation, test = parts
    X = X / np.sqrt(X[train].var(axis=0).sum())  # kernels see a unit variance
    known = None if groups is None else groups[train]
    fitted = MODELS[model](X[train], y[train], groups=known)
    mean, std = fitted.predict(X[test], return_std=True)
    left_out = fitted.leave_one_out(X[train], y[train], groups=known)
    shuffled = fit_scale(left_out.residual, rng.permutation(left_out.rigidity)).variance
    R = fitted.prediction_rigidity(X[test])
    from_loo = fitted.scale_
    fitted.calibrate(X[validation], y[validation])
    rms = np.sqrt(np.mean((y[validation] - fitted.predict(X[validation])) ** 2))
    return Predictions(
        error=y[test] - mean,
        loo=std,
        held_out=fitted.predict(X[test], return_std=True)[1],
        control=np.sqrt(shuffled / rng.permutation(R)),
        constant=np.full(len(test), np.sqrt(np.mean(left_out.residual**2))),
        constant_held_out=np.full(len(test), rms),
        log_ratio=np.array([np.log(from_loo / fitted.scale_)]),
    )


def _outcome(predictions: list[Predictions], rng: np.random.Generator) -> Outcome:
    p = Predictions(*map(np.concatenate, zip(*predictions, strict=True)))
    draws = p.loo * rng.standard_normal((10, len(p.loo)))
    rms = np.full(len(p.loo), np.sqrt(np.mean(p.loo**2)))
    ideal = np.mean([score(error, p.loo, rms) for error in draws], axis=0)
    return Outcome(
        loo=score(p.error, p.loo, p.constant),
        held_out=score(p.error, p.held_out, p.constant_held_out),
        control=score(p.error, p.control, p.constant),
        ideal=Scores(*ideal),
        ratio=float(np.exp(p.log_ratio.mean())),
    )


# --- table ---------------------------------------------------------------------------------------


def studies(
    kernel_full: bool = False,
) -> Iterator[tuple[str, Callable[[int], Outcome | NetworkOutcome]]]:
    """Name every study, with a function of the seed; those of QM7 only where it is."""
    if QM7.exists():
        for model in MODELS:
            for size in SIZES:
                if model == "ridge" or size == "small" or kernel_full:
                    yield (
                        f"QM7, {size}, {model}",
                        lambda seed, m=model, s=size: study_qm7(m, s, seed),
                    )
        yield "QM7, full, network", study_network
    for model in MODELS:
        yield f"carbon, {model}", lambda seed, m=model: study_carbon(m, seed)


def main() -> None:
    """Print medians over seeds, and what they range between."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3, help="how many (default: 3)")
    parser.add_argument("--first", type=int, default=0, help="the first of them (default: 0)")
    parser.add_argument("--only", default="", help="studies whose names have this in them")
    parser.add_argument(
        "--kernel-full", action="store_true", help="kernel models of 4000 molecules as well"
    )
    args = parser.parse_args()
    seeds = range(args.first, args.first + args.seeds)
    for name, study in studies(args.kernel_full):
        if args.only not in name:
            continue
        outcomes = [study(seed) for seed in seeds]
        print(f"{name}: median [min, max] of {args.seeds} seeds")
        for kind in outcomes[0]._fields:
            if kind != "ratio":
                print(f"  {kind:9}", _row([getattr(outcome, kind) for outcome in outcomes]))
        if isinstance(outcomes[0], Outcome):
            print(f"  C2(loo) / C2(held out) {_range([o.ratio for o in outcomes])}", flush=True)


def _row(scores: list[Scores]) -> str:
    columns = zip(*scores, strict=True)
    return "  ".join(f"{n} {_range(c)}" for n, c in zip(Scores._fields, columns, strict=True))


def _range(values: Iterable[float]) -> str:
    values = np.array(list(values))
    return f"{np.median(values):.3f} [{values.min():.3f}, {values.max():.3f}]"


if __name__ == "__main__":
    main()
