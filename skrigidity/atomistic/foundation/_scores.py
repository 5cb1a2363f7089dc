"""Scores of estimates of errors: ranks, what is left of them given another one, likelihoods."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.stats import rankdata
from sklearn.metrics import roc_auc_score

from ...calibration import gaussian_nll, scale_from_quad

WORST = 0.1  # the share of errors that are to be found
# Squared estimates below this share of the usual one are those of symmetry: forces that vanish.
_STILL = 1e-2
_FEWEST = 5
_N_DRAWS = 20


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's correlation; NaN where one of the two is constant."""
    if len(a) < _FEWEST or a.min() == a.max() or b.min() == b.max():
        return np.nan
    return float(np.corrcoef(rankdata(a), rankdata(b))[0, 1])


def partial_correlation(a: np.ndarray, b: np.ndarray, given: np.ndarray) -> float:
    """Spearman's correlation of what `given` leaves unexplained of the ranks of two quantities."""
    ab, ac, bc = rank_correlation(a, b), rank_correlation(a, given), rank_correlation(b, given)
    left = (1 - ac**2) * (1 - bc**2)
    return float((ab - ac * bc) / np.sqrt(left)) if left > 1e-12 else np.nan


def auc(positive: np.ndarray, score: np.ndarray) -> float:
    """Probability that a positive one has the higher score; NaN where all are of one kind."""
    if positive.all() or not positive.any():
        return np.nan
    return float(roc_auc_score(positive, score))


def auc_of_worst(error: np.ndarray, score: np.ndarray) -> float:
    """AUC of the tenth of the largest errors."""
    return auc(error >= np.quantile(error, 1 - WORST), score)


def by_set(function: Callable[..., float], sets: np.ndarray, *arrays: np.ndarray) -> float:
    """Return the mean over sets of a score within each."""
    found = [function(*(array[sets == name] for array in arrays)) for name in np.unique(sets)]
    known = [value for value in found if not np.isnan(value)]
    return float(np.mean(known)) if known else np.nan


def likelihood(
    error: np.ndarray, q: np.ndarray, held_out: tuple[np.ndarray, np.ndarray]
) -> dict[str, float]:
    """Return how well errors are described by variances in proportion to q.

    Parameters
    ----------
    error, q : ndarray
        Errors, and squared estimates of them.
    held_out : tuple of ndarray
        Others, which tell the factor of proportion, and the variance that `dnll` compares with.

    Returns
    -------
    dict
        ``dnll``: mean negative log-likelihood less that of a constant variance; ``coverage_1`` and
        ``coverage_2``: shares of errors within one and two standard deviations. NaN where q is 0
        for most of the others.
    """
    known, known_q = held_out
    floor = _STILL * np.median(known_q)
    if not floor > 0:
        return dict.fromkeys(("dnll", "coverage_1", "coverage_2"), np.nan)
    q, known_q = (np.maximum(values, floor) for values in (q, known_q))
    scale = scale_from_quad(known, known_q, None, method="squared_residuals", noise=False)
    variance = float(scale.variance) * q
    constant = np.full_like(q, np.mean(known**2))
    z = np.abs(error) / np.sqrt(variance)
    return {
        "dnll": float(np.mean(gaussian_nll(error, variance) - gaussian_nll(error, constant))),
        "coverage_1": float(np.mean(z < 1)),
        "coverage_2": float(np.mean(z < 2)),
    }


def gaussian_limit(std: np.ndarray, rng: np.random.Generator) -> float:
    """Rank correlation of exactly Gaussian errors with their standard deviations."""
    draws = np.abs(std * rng.standard_normal((_N_DRAWS, len(std))))
    return float(np.mean([rank_correlation(draw, std) for draw in draws]))
