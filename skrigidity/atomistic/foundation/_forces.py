"""How well error bars of forces rank and describe errors of atoms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ._energies import FORCE, NORM, SHUFFLED
from ._features import NetworkFeatures
from ._scores import auc_of_worst, likelihood, partial_correlation, rank_correlation
from ._splits import Division

DRAWS, LOCAL = "draws", "local R"
# Of a Hessian that the prior alone fills: every weight is as uncertain as any other.
_NO_HESSIAN = 1e12
_TINY = np.finfo(float).tiny


def force_rows(
    known: NetworkFeatures,
    division: Division,
    alphas: dict[str, float],
    n_frames: int,
    n_draws: int,
    on_progress: Callable[[float], None],
) -> list[dict[str, Any]]:
    """Return the rows of the table of forces: by whose errors they are, set and score."""
    chosen = _chosen(known, division, n_frames)
    if not len(chosen):
        return []
    reference = [known.forces[i] for i in chosen]
    atoms = np.repeat(known.sets[chosen], [len(known.frames[i]) for i in chosen])
    rows = []
    for step, kind in enumerate(known.kinds):
        forces, parts = _drawn(known, kind, division.train, alphas[kind], chosen, n_draws)
        rows += _scored(f"{kind}, refit", atoms, forces, reference, parts)
        on_progress((step + 1) / len(known.kinds))
    own_forces = [known.own_forces[i] for i in chosen]
    return rows + _scored("own, pretrained", atoms, own_forces, reference, parts)


def _chosen(known: NetworkFeatures, division: Division, n_frames: int) -> np.ndarray:
    """Return some test frames of every set, those that have forces."""
    rng = np.random.default_rng(3)
    out = []
    for name in known.names:
        usable = [i for i in division.test if known.sets[i] == name and known.forces[i] is not None]
        out.append(np.array(rng.permutation(usable)[:n_frames], dtype=int))
    return np.concatenate(out)


def _drawn(
    known: NetworkFeatures,
    kind: str,
    train: np.ndarray,
    alpha: float,
    chosen: np.ndarray,
    n_draws: int,
) -> tuple[list[np.ndarray], dict[str, list[np.ndarray]]]:
    """Return forces of a refitted readout, and what may tell their errors."""
    latent, energies = known.latent(kind)[train], known.energies[train]
    frames = [known.frames[i] for i in chosen]
    isotropic = known.model(kind, _NO_HESSIAN, n_draws=n_draws).fit(latent, energies)
    model = known.model(kind, alpha, n_draws=n_draws).fit(latent, energies)
    _, norm = isotropic.predict(frames, return_std=True, properties="forces")
    forces, std = model.predict(frames, return_std=True, properties="forces")
    R = model.local_rigidity(known.latent(kind)[chosen])
    local = [np.repeat(1 / np.sqrt(np.maximum(r, _TINY))[:, None], 3, axis=1) for r in R]
    return forces, {DRAWS: std, LOCAL: local, NORM: norm}


def _scored(
    variant: str,
    sets: np.ndarray,
    forces: list[np.ndarray],
    reference: list[Any],
    parts: dict[str, list[np.ndarray]],
) -> list[dict[str, Any]]:
    """Return a row per set and score; likelihoods are those of all sets with one C."""
    predicted, error = np.concatenate(forces), np.concatenate(reference) - np.concatenate(forces)
    size = np.linalg.norm(predicted, axis=1)
    rng = np.random.default_rng(4)
    estimates = {name: np.concatenate(part) for name, part in parts.items()}
    estimates[FORCE] = np.repeat(size[:, None] / np.sqrt(3), 3, axis=1)
    estimates[SHUFFLED] = rng.permutation(estimates[DRAWS])
    every_other = np.arange(len(forces)) % 2 == 0
    first = np.repeat(every_other, [len(F) for F in forces])
    rows = []
    for score, std in estimates.items():
        described = _crossed(error, std, first)
        for name in dict.fromkeys(sets.tolist()):
            own = sets == name
            distance, estimate = (np.linalg.norm(x[own], axis=1) for x in (error, std))
            rows.append(
                {"variant": variant, "score": score, "set": name, "n_atoms": int(own.sum())}
                | {"mae": float(np.abs(error[own]).mean())}
                | {"spearman": rank_correlation(distance, estimate)}
                | {"auc": auc_of_worst(distance, estimate)}
                | {"partial": partial_correlation(distance, estimate, size[own])}
                | described
            )
    return rows


def _crossed(error: np.ndarray, std: np.ndarray, first: np.ndarray) -> dict[str, float]:
    """Return likelihoods of every half of the frames, with the C that the other half tells."""
    if first.all():
        return dict.fromkeys(("dnll", "coverage_1", "coverage_2"), np.nan)
    halves = [(error[own].ravel(), std[own].ravel() ** 2) for own in (first, ~first)]
    found = [likelihood(*halves[i], halves[1 - i]) for i in (0, 1)]
    return {key: float(np.mean([one[key] for one in found])) for key in found[0]}
