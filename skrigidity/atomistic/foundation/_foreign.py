"""Whether frames of what a readout has not seen stand out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ...last_layer import LastLayerRigidity
from ._energies import FORCE, NORM, SHUFFLED, STD, fitted
from ._features import NetworkFeatures
from ._scores import auc, partial_correlation
from ._splits import Division


def foreign_rows(
    known: NetworkFeatures,
    foreign: NetworkFeatures | None,
    division: Division,
    alphas: dict[str, float],
) -> list[dict[str, Any]]:
    """Return the rows of the table of foreign frames: by kind of features, set and level."""
    rows = []
    rng = np.random.default_rng(2)
    for kind in known.kinds:
        for name, train, usual, other, which in _questions(known, foreign, division):
            model = fitted(known, kind, train, alphas[kind])
            for level in ("frame", "atom"):
                inside = _estimates(model, known, kind, usual, level)
                outside = _estimates(model, other, kind, which, level)
                values = {key: np.append(inside[key], outside[key]) for key in inside}
                values[SHUFFLED] = rng.permutation(values[STD])
                is_foreign = np.arange(len(values[STD])) >= len(inside[STD])
                for score, estimate in values.items():
                    rows.append(
                        {"variant": kind, "foreign": name, "level": level, "score": score}
                        | {"n": int(is_foreign.sum()), "auc": auc(is_foreign, estimate)}
                        | {"partial": partial_correlation(is_foreign, estimate, values[FORCE])}
                    )
    return rows


def _questions(
    known: NetworkFeatures, foreign: NetworkFeatures | None, division: Division
) -> Iterator[tuple[str, np.ndarray, np.ndarray, NetworkFeatures, np.ndarray]]:
    """Iterate over name, training frames, usual frames, and the foreign ones of every set."""
    for name in foreign.names if foreign is not None else ():
        assert foreign is not None
        yield name, division.train, division.test, foreign, np.flatnonzero(foreign.sets == name)
    if len(known.names) == 1:
        return
    for name in known.names:
        rest = [part[known.sets[part] != name] for part in (division.train, division.test)]
        yield f"{name} (left out)", *rest, known, np.flatnonzero(known.sets == name)


def _estimates(
    model: LastLayerRigidity, known: NetworkFeatures, kind: str, which: np.ndarray, level: str
) -> dict[str, np.ndarray]:
    """Return what might tell foreign frames, or atoms, from others."""
    latent = known.latent(kind)[which]
    if level == "frame":
        rows = model.gradients_.rows(latent).matrix
        R, force = model.prediction_rigidity(latent), known.force_norms[which]
    else:
        rows = model.gradients_.rows(latent, "local").matrix
        R = np.concatenate(model.local_rigidity(latent))
        force = np.linalg.norm(np.concatenate([known.own_forces[i] for i in which]), axis=1)
    # Ranks of 1 / sqrt(R), and finite where R = 0.
    return {STD: -R, FORCE: force, NORM: np.linalg.norm(rows, axis=1)}
