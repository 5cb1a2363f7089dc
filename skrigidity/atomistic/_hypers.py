"""featomic hyperparameters from a descriptor's parameters, and the calculators they make."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from skrigidity.atomistic._radial_tables import laplacian_eigenstates
from skrigidity.frames import require


def native_name(calculator: Any) -> str | None:
    """Return the name of one of featomic's own calculators, None for any other callable."""
    if isinstance(calculator, str):
        name = calculator
    elif getattr(calculator, "__module__", "").startswith("featomic.calc"):
        name = getattr(calculator, "__name__", "")
        if not name:
            raise TypeError(
                "calculator: expected a name, a class or a function that makes a calculator, got "
                f"an instance of {type(calculator).__name__}; pass its class and hypers"
            )
    else:
        return None
    if name in ("NeighborList", "SphericalExpansionByPair"):
        raise ValueError(f"calculator: {name} describes pairs of atoms, not atomic environments")
    if name not in _RECIPES:
        raise ValueError(
            f"calculator: expected one of {', '.join(_RECIPES)} or a callable, got {name!r}"
        )
    return name


def native_hypers(name: str, descriptor: Any) -> dict[str, Any]:
    """Translate a descriptor's parameters, with its ``hypers`` merged over."""
    if descriptor.smoothing_width > descriptor.cutoff:
        raise ValueError(
            f"smoothing_width: expected at most cutoff = {descriptor.cutoff}, "
            f"got {descriptor.smoothing_width}"
        )
    return merged(_RECIPES[name](descriptor), descriptor.hypers or {})


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Merge nested dictionaries; one with another ``"type"`` replaces what was there."""
    result = dict(base)
    for key, value in changes.items():
        if hasattr(value, "_featomic_hypers"):
            value = require("featomic").hypers_to_json({key: value})[key]
        old = result.get(key)
        if isinstance(value, Mapping) and isinstance(old, Mapping):
            same_type = value.get("type", old.get("type")) == old.get("type")
            value = merged(old, value) if same_type else dict(value)
        result[key] = value
    return result


def compute(calculator: Any, systems: list[Any], where: str, **options: Any) -> Any:
    """Return what a calculator makes of frames, or say which ones it does not accept."""
    try:
        return calculator.compute(systems, **options)
    except require("featomic").FeatomicError as error:
        raise ValueError(f"{where}: featomic says: {error}") from error


def make_native(name: str, hypers_json: str) -> Any:
    """Return a featomic calculator that no other thread uses."""
    return _make_native(name, hypers_json, threading.get_ident())


@lru_cache(maxsize=16)
def _make_native(name: str, hypers_json: str, thread: int) -> Any:
    featomic = require("featomic")
    try:
        own = name == "DensityCorrelations"
        factory = DensityCorrelations if own else getattr(featomic, name)
        return factory(**json.loads(hypers_json))
    except (featomic.FeatomicError, TypeError, ValueError) as error:
        raise ValueError(f"hypers: {name} does not accept them: {error}") from error


def _soap(d: Any) -> dict[str, Any]:
    smoothing: dict[str, Any] = {"type": "Step"}
    if d.smoothing_width > 0:
        smoothing = {"type": "ShiftedCosine", "width": float(d.smoothing_width)}
    cutoff = {"radius": float(d.cutoff), "smoothing": smoothing}
    density: dict[str, Any] = {"center_atom_weight": float(d.center_atom_weight)}
    if d.radial_basis == "laplacian_eigenstate":
        # The tables contain the density already.
        density["type"] = "DiracDelta"
        tables = laplacian_eigenstates(
            float(d.cutoff), float(d.density_width), int(d.max_radial), d.max_angular
        )
        basis: dict[str, Any] = {"type": "Explicit", "by_angular": tables, "spline_accuracy": None}
    elif d.density_width > 0:
        density |= {"type": "Gaussian", "width": float(d.density_width)}
        basis = _gto_basis(d, {})
    else:
        raise ValueError(
            'density_width: expected more than 0 with radial_basis="gto"; '
            'delta functions need radial_basis="laplacian_eigenstate"'
        )
    return {"cutoff": cutoff, "density": density, "basis": basis}


def _gto_basis(d: Any, radial: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "TensorProduct",
        "max_angular": 4 if d.max_angular is None else int(d.max_angular),
        "radial": {"type": "Gto", "max_radial": int(d.max_radial), **radial},
    }


def _radial_spectrum(d: Any) -> dict[str, Any]:
    hypers = _soap(d)
    basis = hypers["basis"]
    radial = basis["by_angular"][0] if basis["type"] == "Explicit" else basis["radial"]
    return hypers | {"basis": {"radial": radial}}


def _lode(d: Any) -> dict[str, Any]:
    if d.radial_basis != "gto":
        raise ValueError('radial_basis: LodeSphericalExpansion knows "gto" only; see hypers')
    return {
        "density": {
            "type": "SmearedPowerLaw",
            "smearing": float(d.density_width),
            "exponent": 1,
            "center_atom_weight": float(d.center_atom_weight),
        },
        "basis": _gto_basis(d, {"radius": float(d.cutoff)}),
    }


_RECIPES: dict[str, Callable[[Any], dict[str, Any]]] = {
    "SoapPowerSpectrum": _soap,
    "SoapRadialSpectrum": _radial_spectrum,
    "DensityCorrelations": lambda d: _soap(d) | {"n_correlations": int(d.n_correlations)},
    "SphericalExpansion": _soap,
    "LodeSphericalExpansion": _lode,
    "SortedDistances": lambda d: {
        "cutoff": float(d.cutoff),
        "max_neighbors": 16,
        "separate_neighbor_types": True,
    },
    "AtomicComposition": lambda d: {"per_system": False},
}


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
        blocks = [
            metatensor.TensorBlock(
                block.values[:, 0, :],
                samples=block.samples,
                components=[],
                properties=block.properties,
            )
            for block in products.blocks()
        ]
        names = products.keys.names
        kept = [name for name in names if name not in scalars.names]
        columns = [names.index(name) for name in kept]
        keys = metatensor.Labels(kept, products.keys.values[:, columns])
        order = [name for name in kept if name != "center_type"]
        return metatensor.TensorMap(keys, blocks).keys_to_properties(order)
