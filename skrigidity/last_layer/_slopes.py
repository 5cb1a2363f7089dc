"""Weights of a readout, by how predictions depend on its parameters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ._blocks import in_memory
from ._hooks import require_torch


def weights_by_slopes(
    run: Callable[[], tuple[Any, Any]], model: Any, names: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Return weights and biases with everything folded in that multiplies them later.

    The predictions' derivatives by the weights of a linear readout are a scale times the features,
    which says what the scale is, and whether the features are those of these weights.

    Parameters
    ----------
    run : callable
        Runs the network; returns its predictions (n_samples, n_outputs) and features (n_units,
        n_features), with a graph to the parameters.
    model : torch.nn.Module
        What has the parameters.
    names : sequence of str
        Names of the weights of the readout, each (n_outputs, n_part), in the order of the features.
        Biases of the same layers count where they are added once per unit.

    Returns
    -------
    weights : ndarray of shape (n_features, n_outputs)
    biases : ndarray of shape (n_outputs,)

    Raises
    ------
    ValueError
        If predictions do not depend on the weights in this way, or all features are 0.
    """
    torch = require_torch()
    known = dict(model.named_parameters())
    weights = [known[name] for name in names]
    biases = [name.removesuffix("weight") + "bias" for name in names]
    parameters = [*weights, *(known[name] for name in biases if name in known)]
    before = [x.requires_grad for x in parameters]
    try:
        for x in parameters:
            x.requires_grad_(True)
        output, features = run()
        slopes = [
            # Unused are the layers of species that are not there.
            torch.autograd.grad(y, parameters, retain_graph=True, materialize_grads=True)
            for y in output.sum(dim=0).unbind()
        ]
    finally:
        for x, required in zip(parameters, before, strict=True):
            x.requires_grad_(required)
    n, total = len(features), in_memory(features.double().sum(dim=0))
    if not total.any():
        raise ValueError(
            "readout: all features of the first structures are 0, which says nothing of the "
            "weights; begin with one where atoms have neighbours"
        )
    values = [in_memory(x).astype(float) for x in parameters]
    out = np.zeros((len(total), len(slopes))), np.zeros(len(slopes))
    for t, slope in enumerate(slopes):
        rows = [in_memory(x)[t] for x in slope]
        slope_of_weights = np.concatenate(rows[: len(weights)])
        if slope_of_weights.shape != total.shape:
            raise ValueError(
                f"readout: {len(slope_of_weights)} weights do not belong to {len(total)} features"
            )
        scale = total @ slope_of_weights / (total @ total)
        missed = np.abs(slope_of_weights - scale * total).max()
        if not (scale and missed <= 1e-4 * np.abs(slope_of_weights).max()):
            raise ValueError("readout: predictions are not linear in the last-layer features")
        out[0][:, t] = scale * np.concatenate([x[t] for x in values[: len(weights)]])
        for value, row in zip(values[len(weights) :], rows[len(weights) :], strict=True):
            if abs(row - scale * n) <= 1e-4 * abs(scale * n):
                out[1][t] += scale * value[t]
    return out
