"""Pools that are arrays on a device."""

from __future__ import annotations

from typing import Any

from ..environments import array_namespace
from ..gradients import device_matrix


class DevicePool:
    """A pool that is an array on a device."""

    def __init__(self, X: Any) -> None:
        self.X, self.n_features = X, int(X.shape[1])

    def __len__(self) -> int:
        return int(self.X.shape[0])

    def take(self, indices: Any) -> Any:
        """Return some candidates, in the order of `indices`, an array on the device."""
        return array_namespace(self.X).take(self.X, indices, axis=0)


def device_pool(selector: Any, X: Any, *, reset: bool) -> DevicePool:
    """Return a checked pool on a device."""
    return DevicePool(device_matrix(selector, X, array_namespace(X), reset=reset))


def device_support(selector: Any, xp: Any, indices: bool, ordered: bool) -> Any:
    """Return which candidates were chosen, as `PRSelector.get_support`."""
    chosen = selector.sample_indices_
    if indices:
        return xp.asarray(chosen, copy=True) if ordered else xp.unique_values(chosen)
    numbers = xp.arange(selector.n_samples_, device=chosen.device)
    return xp.any(numbers[:, None] == chosen, axis=1)
