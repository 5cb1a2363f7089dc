"""From data to latent features in memory, by way of a network."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Lock
from typing import Any

import numpy as np

from ..gradients import LatentBlock
from ._adapter import Adapter, Latent

# Hooks of two threads on one network would get in each other's way.
_ONE_AT_A_TIME = Lock()
# How well a layer's inputs times its weights have to give the predictions, in units of the sum of
# the magnitudes of their terms.
_SAME = {8: 1e-10, 4: 1e-5, 2: 1e-2}


def blocks_of(adapter: Adapter, data: Any, size: int, biases: Any = 0.0) -> Iterator[LatentBlock]:
    """Iterate over latent features of data, `size` samples at a time."""
    for batch in adapter.batches(data, size):
        with _ONE_AT_A_TIME:
            latent = adapter.latent(batch)
        yield block_of(latent, biases)


def block_of(latent: Latent, biases: Any = 0.0) -> LatentBlock:
    """Return latent features in memory.

    `biases` are what every unit adds to predictions beside its features; they are offsets.

    Raises
    ------
    ValueError
        If some are not finite.
    """
    check_finite(latent)
    features, output = in_memory(latent.features), in_memory(latent.output)
    offset = np.zeros(output.shape)
    if latent.offset is not None:
        offset += in_memory(latent.offset)
    species = None if latent.species is None else in_memory(latent.species)
    sample = in_memory(latent.sample)
    offset += np.bincount(sample, minlength=len(output))[:, None] * biases
    return LatentBlock(features, sample, len(output), offset, species)


def check_finite(latent: Latent) -> None:
    """Raise ValueError where features or predictions are not finite."""
    for tensor in (latent.features, latent.output):
        if not bool(tensor.isfinite().all()):
            raise ValueError(
                "latent features or predictions are not finite: the network overflows in "
                f"{tensor.dtype}, or its input is not finite. Use it in float64: model.double()"
            )


def in_memory(tensor: Any) -> np.ndarray:
    """Return a tensor as an array."""
    return np.asarray(tensor.detach().cpu().numpy())


def checked_weights(adapter: Adapter, latent: Latent) -> tuple[np.ndarray, np.ndarray]:
    """Return the weights and biases of the readout, if they reproduce the predictions.

    Raises
    ------
    ValueError
        If the layers have none, or others than those of the predictions.
    """
    found = adapter.weights()
    layers = ", ".join(repr(name) for name in adapter.layers)
    if found is None:
        raise ValueError(
            f"readout: predictions are not linear in the inputs of {layers} with weights that the "
            "network has: use refit=True, which fits them to labelled data"
        )
    weights, biases = (np.asarray(part, dtype=np.float64) for part in found)
    block, output = block_of(latent), in_memory(latent.output)
    expected = (block.features.shape[1], output.shape[1])
    if weights.shape != expected:
        raise ValueError(f"readout: weights of {layers} have shape {weights.shape}, not {expected}")
    rows = block.summed("sum", True)
    terms = np.vstack([weights, biases])
    missed = np.abs(rows @ terms + block.offset - output)
    features = LatentBlock(np.abs(block.features), block.sample, block.n_samples, block.offset)
    size = features.summed("sum", True) @ np.abs(terms) + np.abs(block.offset) + np.abs(output)
    if (missed > _SAME[block.features.dtype.itemsize] * size.max()).any():
        raise ValueError(
            f"readout: the inputs of {layers} times its weights do not reproduce the predictions "
            f"(off by up to {missed.max():.1e} of {np.abs(output).max():.1e}). Name the layer "
            "that gives them, or use refit=True"
        )
    return weights, biases
