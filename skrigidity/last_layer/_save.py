"""Last layers in files, beside the networks that they belong to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from .. import _store
from ..gradients import LatentGradients, Species
from ..hessian import AutoAccumulator, Prior, Rows
from ._blocks import in_memory

_WHAT = "skrigidity last layer"
# What `fit` and `calibrate` leave, as it is.
_NUMBERS = ("alpha_", "relative_alpha_", "scale_", "noise_variance_", "force_scale_")
_STATE = ("n_features_in_", "_coef", "_unfitted_bias", "_n_samples", "_unit", "_alpha_from")


def save(model: Any, path: str | Path) -> None:
    """Write a fitted last layer, without its network."""
    params = {k: v for k, v in model.get_params(deep=False).items() if k != "model"}
    if isinstance(params["random_state"], np.random.RandomState):
        params["random_state"] = None
    data, rhs = model.hessian_.source.stream.rows()
    gradients = model.gradients_
    _store.write_file(
        path,
        {
            "params": params,
            "network": fingerprint(model.adapter_.model),
            "rows": data,
            "rhs": rhs,
            "n_rows": model.hessian_.source.n_rows,
            "shape": list(model._shape),
            "components": {k: list(v.numbers) for k, v in gradients.components.items()},
            "numbers": {name: getattr(model, name) for name in _NUMBERS},
            "state": {name: getattr(model, name) for name in _STATE},
            "fitted_to": getattr(model, "_fitted_to", None),
        },
        _WHAT,
    )


def load(cls: Any, path: str | Path, network: Any) -> Any:
    """Read a last layer, and put it on its network."""
    state = _store.read_file(path, _WHAT)
    model = cls(network, **state["params"])
    model.adapter_ = model._make_adapter()
    found, expected = fingerprint(model.adapter_.model), state["network"]
    if len(found) != len(expected) or not np.allclose(found, expected, rtol=1e-5):
        raise ValueError(f"model: the last layer in {path} belongs to a network of other weights")
    for name, value in (state["state"] | state["numbers"]).items():
        setattr(model, name, value)
    if state["fitted_to"] is not None:
        model._fitted_to = state["fitted_to"]
    model._shape = tuple(state["shape"])
    n_outputs = model._coef.shape[1]
    model.gradients_ = LatentGradients(
        model._source,
        model.n_features_in_,
        bias=model.bias,
        reduce=model.reduce,
        n_targets=n_outputs,
        components={k: Species(tuple(v)) for k, v in state["components"].items()},
        training_rows=model._more_rows,
    )
    stream = AutoAccumulator(state["rows"].shape[1], state["rhs"].shape[1], method="qr")
    stream.add(Rows(state["rows"], rhs=state["rhs"]))
    # The triangle stands for more rows than it has.
    stream.n_rows = stream.stream.n_rows = state["n_rows"]
    model._adopt(stream.finish(Prior(model.alpha_)))
    model._set_dof(float(model._n_samples))
    return model


def fingerprint(network: Any) -> np.ndarray:
    """Return the number of a network's weights, and sums over them that depend on their order."""
    sums = np.zeros(3)
    for weight in (*network.parameters(), *network.buffers()):
        if weight.is_floating_point():
            values = in_memory(weight).astype(np.float64).ravel()
            order = 1 + np.arange(values.size) % 7
            sums += np.array([values.size, np.abs(values).sum(), values @ order])
    return sums
