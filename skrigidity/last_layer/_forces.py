"""Derivatives of latent features by positions and strain: forces, stress, and their rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..gradients import FORCES, STRESS
from ._adapter import Adapter
from ._blocks import block_of, in_memory
from ._hooks import require_torch

_VOIGT = ([0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1])


class Derivatives:
    """One frame's pass through a network, with the graph to positions and strain.

    Parameters
    ----------
    adapter : Adapter
    frame : ase.Atoms
    """

    def __init__(self, adapter: Adapter, frame: Any) -> None:
        (batch,) = adapter.batches([frame], 1, derivatives=True)
        self.latent = latent = adapter.latent(batch, derivatives=True)
        self.volume = float(frame.get_volume()) if frame.cell.rank == 3 else 0.0
        if latent.positions is None:
            raise ValueError(f"{type(adapter).__name__} has no derivatives by positions")
        self._leaves = [latent.positions]
        if latent.strain is not None and self.volume:
            self._leaves.append(latent.strain)
        self.block = block_of(latent)

    def of(self, scalar: Any) -> dict[str, np.ndarray]:
        """Return minus the gradient of an energy by positions, and that by strain per volume.

        Parameters
        ----------
        scalar : Tensor
            Made of `latent`.

        Returns
        -------
        dict
            "forces" (n_atoms, 3) in eV/Å, and where there is a volume "stress" (6,) in eV/Å³.
        """
        found: list[Any] = [None] * len(self._leaves)
        if scalar.requires_grad:
            found = require_torch().autograd.grad(
                scalar, self._leaves, retain_graph=True, allow_unused=True
            )
        arrays = [
            np.zeros(leaf.shape) if g is None else in_memory(g).astype(np.float64)
            for g, leaf in zip(found, self._leaves, strict=True)
        ]
        out = {FORCES: -arrays[0]}
        if len(arrays) > 1:
            strain = arrays[1].reshape(3, 3)
            out[STRESS] = ((strain + strain.T) / 2)[_VOIGT] / self.volume
        return out

    def by_weights(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Return the same of ``sum(features @ w)`` for every row w, stacked along a first axis.

        Weights of a bias, which comes last, move nothing.
        """
        features = self.latent.features
        like = {"dtype": features.dtype, "device": features.device}
        each = require_torch().as_tensor(weights[:, : features.shape[1]], **like)
        parts = [self.of((features @ w).sum()) for w in each]
        return {name: np.stack([part[name] for part in parts]) for name in parts[0]}

    def offset(self) -> dict[str, np.ndarray]:
        """Return the same of what predictions have beside the last layer."""
        offset = self.latent.offset
        zero = self.latent.features.sum() * 0
        return self.of(zero if offset is None else offset.sum() + zero)

    def rows(self, n_parameters: int) -> dict[str, np.ndarray]:
        """Return derivatives by every parameter: (3 n_atoms, n_parameters), (6, n_parameters)."""
        n_features = self.latent.features.shape[1]
        found = self.by_weights(np.eye(n_features))
        out = {}
        for name, values in found.items():
            rows = values.reshape(n_features, -1).T
            out[name] = np.pad(rows, ((0, 0), (0, n_parameters - n_features)))
        return out
