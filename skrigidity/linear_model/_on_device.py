"""The search of `RigidRidgeCV` over alphas, on the device of the training set."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..gradients import same_kind
from ..hessian import Prior
from ..hessian.array_api import ArrayPath, ArrayRows, factorize, numbers
from ._cv_scoring import BUILT_IN, results


def fit_on_device(
    owner: Any, rows: ArrayRows, shape: tuple[int, ...], scoring: Any, groups: Any
) -> None:
    """Choose alpha and fit. The scores, one number per alpha and target, are read by the host.

    Raises
    ------
    ValueError
        If groups are to be left out, or a scorer needs models of its own.
    """
    scorers, chosen = scoring
    if groups is not None:
        raise ValueError("groups are left out of NumPy arrays alone, not on a device")
    others = [name for name, scorer in scorers.items() if scorer not in BUILT_IN]
    if others:
        raise ValueError(f"scoring: on a device there are {', '.join(BUILT_IN)}, got {others}")
    alphas = owner.alphas_ = owner._checked_alphas(rows, "evidence" in scorers.values())
    prior = Prior(1.0, owner.regularizer)
    path = ArrayPath(rows, prior.gamma)
    found: dict[str, np.ndarray] = {}
    excluded = np.zeros(len(alphas), dtype=int)
    if set(scorers.values()) - {"evidence"}:
        found, excluded = error_scores(path, alphas, units=owner.weight_type == "frequency")
    if "evidence" in scorers.values():
        found["evidence"] = _evidence(path, alphas, owner.weight_type)
    scores = {name: found[scorer] for name, scorer in scorers.items()}
    owner.cv_results_ = results(scores, alphas)
    owner._pick(scores[chosen], one_target=not shape)
    chosen_alphas = owner._alphas(rows.n_rhs)
    factor = factorize(rows, prior.with_alpha(chosen_alphas.min()), method=owner.solver)
    owner._adopt(factor, rows, chosen_alphas, shape)
    owner.alphas_, owner.scores_ = (same_kind(v, rows.rhs) for v in (alphas, owner.scores_))
    owner.n_excluded_per_alpha_ = rows.xp.asarray(excluded, device=rows.rhs.device)


def error_scores(
    path: ArrayPath, alphas: np.ndarray, *, units: bool
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Score every alpha by samples that were left out, as `_cv_scoring.error_scores`."""
    xp, weight, losses, likelihoods, excluded = path.xp, path.root**2, [], [], []
    for alpha in alphas:
        left = path.leave_out([alpha], units=units)
        residual, quad = left.residual[:, 0, :], left.quad[:, 0]
        lost = ~xp.isfinite(quad)
        counted = xp.where(lost, 0.0, weight)
        variance = (1.0 if units else 1 / weight) + xp.where(lost, 1.0, quad)
        total = float(xp.sum(counted))
        squares = numbers(counted @ residual**2)
        scaled = np.array(numbers((counted / variance) @ residual**2))
        logs = float(xp.sum(counted * xp.log(variance)))
        with np.errstate(divide="ignore", invalid="ignore"):
            losses.append(-np.divide(squares, total))
            spread = np.log(2 * np.pi * scaled / total)
            likelihoods.append(-0.5 * (spread + 1 + np.divide(logs, total)))
        excluded.append(int(xp.count_nonzero(lost)))
    scores = {"neg_mean_squared_error": np.array(losses), "log_likelihood": np.array(likelihoods)}
    return {n: np.where(np.isnan(v), -np.inf, v) for n, v in scores.items()}, np.array(excluded)


def _evidence(path: ArrayPath, alphas: np.ndarray, weight_type: str) -> np.ndarray:
    weight = path.root**2
    if weight_type == "frequency":
        return path.evidence(alphas, float(path.xp.sum(weight)), 0.0)
    logs = float(path.xp.sum(path.xp.log(weight)))
    return path.evidence(alphas, float(len(path.rows)), logs)
