"""How well error bars of energies rank and describe errors, split by split."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...last_layer import LastLayerRigidity
from ._features import NetworkFeatures
from ._scores import (
    by_set,
    gaussian_limit,
    likelihood,
    partial_correlation,
    rank_correlation,
)
from ._splits import Division

STD, FORCE, NORM, SHUFFLED = "std", "|F|", "|J|", "shuffled"


def energy_rows(
    known: NetworkFeatures, division: Division, alphas: dict[str, float], split: int
) -> list[dict[str, Any]]:
    """Return the rows of the table of energies for one split."""
    rng = np.random.default_rng((split, 1))
    rows = []
    for variant, (error, std, norm) in _variants(known, division, alphas).items():
        parts = {STD: std, FORCE: known.force_norms, NORM: norm}
        parts[SHUFFLED] = rng.permutation(std)
        limit = gaussian_limit(std[division.test], rng)
        for score, values in parts.items():
            rows.append(
                {"variant": variant, "score": score, "split": split}
                | _scored(known, division, error, values)
                | {"limit": limit if score == STD else np.nan}
            )
    return rows


def _variants(
    known: NetworkFeatures, division: Division, alphas: dict[str, float]
) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Return errors of energies per atom, and estimates of them, of all frames by all means."""
    out = {}
    for kind in known.kinds:
        latent = known.latent(kind)
        model = fitted(known, kind, division.train, alphas[kind])
        mean, std = model.predict(latent, return_std=True)
        norm = np.linalg.norm(mean_features(known, kind), axis=1)
        out[f"{kind}, refit"] = (known.energies - mean, std, norm)
    # The network itself, but for a shift of every set: its energies are of another reference.
    error = known.energies - known.own_energies
    for name in known.names:
        train = division.train[known.sets[division.train] == name]
        error[known.sets == name] -= error[train].mean()
    out["own, pretrained"] = (error, std, norm)
    return out


def fitted(known: NetworkFeatures, kind: str, train: np.ndarray, alpha: float) -> LastLayerRigidity:
    """Return a readout of some layers, fitted to some frames; C = 1."""
    return known.model(kind, alpha).fit(known.latent(kind)[train], known.energies[train])


def mean_features(known: NetworkFeatures, kind: str) -> np.ndarray:
    """Return the features of all frames, averaged over their atoms, and the bias."""
    return np.concatenate([b.summed("per_atom", True) for b in known.latent(kind).blocks()])


def _scored(
    known: NetworkFeatures, division: Division, error: np.ndarray, values: np.ndarray
) -> dict[str, float]:
    calibration, test = division.calibration, division.test
    sets, size, estimate = known.sets[test], np.abs(error[test]), values[test]
    force = known.force_norms[test]
    held_out = (error[calibration], values[calibration] ** 2)
    return {
        "mae_meV": 1000 * size.mean(),
        "spearman": rank_correlation(size, estimate),
        "within": by_set(rank_correlation, sets, size, estimate),
        "partial": by_set(partial_correlation, sets, size, estimate, force),
        **likelihood(error[test], estimate**2, held_out),
    }
