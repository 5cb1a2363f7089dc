"""Invariant correlations of any order of the neighbor density, through featomic."""

from __future__ import annotations

from typing import Any

import numpy as np

from skrigidity.atomistic._frames import require


class DensityCorrelations:
    """Calculator of the invariant products of ``n_correlations + 1`` neighbor densities.

    Parameters
    ----------
    n_correlations : int
        Number of Clebsch-Gordan products: 1 makes the power spectrum, 2 the bispectrum.
    **expansion : dict
        Hyperparameters of featomic's ``SphericalExpansion``.
    """

    def __init__(self, n_correlations: int, **expansion: Any) -> None:
        self._n_factors = n_correlations + 1
        self._expansion = require("featomic").SphericalExpansion(**expansion)
        basis = expansion["basis"]
        angular = basis.get("max_angular") if basis["type"] == "TensorProduct" else None
        largest = max(map(int, basis["by_angular"])) if angular is None else int(angular)
        # Products in between are of all l that can still come back to 0.
        self._angular_cutoff = largest * max(1, self._n_factors // 2)
        self._correlations = require("featomic.clebsch_gordan").DensityCorrelations(
            n_correlations=n_correlations, max_angular=largest * n_correlations
        )

    @property
    def cutoffs(self) -> list[float]:
        """Cutoffs of the expansion."""
        return list(self._expansion.cutoffs)

    def compute(self, systems: Any) -> Any:
        """Return a TensorMap of scalars: a key for the center, all else in the properties."""
        metatensor = require("metatensor")
        density = self._expansion.compute(systems).keys_to_properties("neighbor_type")
        scalars = metatensor.Labels(["o3_lambda", "o3_sigma"], np.array([[0, 1]], dtype=np.int32))
        products = self._correlations.compute(
            density, angular_cutoff=self._angular_cutoff, selected_keys=scalars
        )
        blocks = [_without_components(block, metatensor) for block in products.blocks()]
        names = products.keys.names
        kept = [name for name in names if name not in scalars.names]
        columns = [names.index(name) for name in kept]
        keys = metatensor.Labels(kept, products.keys.values[:, columns])
        order = [name for name in kept if name != "center_type"]
        return metatensor.TensorMap(keys, blocks).keys_to_properties(order)


def _without_components(block: Any, metatensor: Any) -> Any:
    return metatensor.TensorBlock(
        block.values[:, 0, :], samples=block.samples, components=[], properties=block.properties
    )
