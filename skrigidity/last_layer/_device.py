"""Sums over units and the triangle of the rows, on the device where a network is."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..hessian import Rows
from ._adapter import Adapter
from ._blocks import check_finite, in_memory
from ._hooks import place_of, require_torch


def on_device(adapter: Adapter) -> bool:
    """Whether a network is on a device that is worth staying on: one with float64."""
    model = adapter.model
    return hasattr(model, "parameters") and place_of(model)[0].type in ("cuda", "xpu")


def reduced_rows(
    adapter: Adapter,
    data: Any,
    size: int,
    *,
    bias: bool,
    reduce: str,
    weight: np.ndarray | None = None,
) -> Rows:
    """Return the triangle R of all rows, ``R.T @ R = sum_i s_i g_i g_i.T``, by QR in float64.

    Parameters
    ----------
    adapter : Adapter
    data : object
        Checked data.
    size : int
        Samples per batch.
    bias : bool
        Whether a bias is appended, 1 for every unit.
    reduce : {"sum", "per_atom"}
        Sums over units, or means.
    weight : ndarray of shape (n_samples,), default=None
        Weights of samples.
    """
    torch = require_torch()
    root, start = None, 0
    for batch in adapter.batches(data, size):
        latent = adapter.latent(batch)
        check_finite(latent)
        units = latent.features.detach().double()
        if bias:
            units = torch.cat([units, units.new_ones(len(units), 1)], dim=1)
        n = len(latent.output)
        rows = units.new_zeros(n, units.shape[1]).index_add_(0, latent.sample, units)
        if reduce == "per_atom":
            rows /= torch.bincount(latent.sample, minlength=n)[:, None]
        if weight is not None:
            rows *= torch.as_tensor(weight[start : start + n], device=rows.device).sqrt()[:, None]
        start += n
        rows = rows if root is None else torch.cat([root, rows])
        root = torch.linalg.qr(rows, mode="r")[1] if len(rows) > rows.shape[1] else rows
    return Rows(in_memory(root))
