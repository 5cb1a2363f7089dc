"""Weights and costs of samples, checked."""

from __future__ import annotations

from typing import Any

import numpy as np

from ._pool import named_check


def weights(values: Any, n: int, name: str) -> np.ndarray:
    """Return weights that are not negative, one per sample."""
    values = named_check(values, name, ensure_2d=False, dtype=np.float64)
    if values.shape != (n,):
        raise ValueError(f"{name} must have shape ({n},), got {values.shape}")
    if (values < 0).any():
        raise ValueError(f"{name} must have no negative entry")
    return values


def positive(values: Any, n: int, name: str) -> np.ndarray:
    """Return weights that are positive throughout, 1 where there are none."""
    if values is None:
        return np.ones(n)
    values = weights(values, n, name)
    if not values.all():
        raise ValueError(f"{name} must be positive throughout")
    return values


def noise(weight: Any, n: int) -> np.ndarray:
    """Return one over the weights of the candidates, inf where they are 0."""
    if weight is None:
        return np.ones(n)
    weight = weights(weight, n, "candidate_weight")
    out = np.full(n, np.inf)
    np.divide(1.0, weight, out=out, where=weight > 0)
    return out
