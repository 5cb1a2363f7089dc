"""featomic hyperparameters from a descriptor's parameters, and the calculators they make."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from skrigidity.atomistic._correlations import DensityCorrelations
from skrigidity.atomistic._frames import require
from skrigidity.atomistic._laplacian import laplacian_eigenstates

PAIR_CALCULATORS = ("NeighborList", "SphericalExpansionByPair")


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
    if name in PAIR_CALCULATORS:
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


def make_native(name: str, hypers_json: str) -> Any:
    """Return a featomic calculator that no other thread uses."""
    return _make_native(name, hypers_json, threading.get_ident())


@lru_cache(maxsize=16)
def _make_native(name: str, hypers_json: str, thread: int) -> Any:
    featomic = require("featomic")
    try:
        factory = _OWN.get(name) or getattr(featomic, name)
        return factory(**json.loads(hypers_json))
    except (featomic.FeatomicError, TypeError, ValueError) as error:
        raise ValueError(f"hypers: {name} does not accept them: {error}") from error


def _cutoff(d: Any) -> dict[str, Any]:
    smoothing: dict[str, Any] = {"type": "Step"}
    if d.smoothing_width > 0:
        smoothing = {"type": "ShiftedCosine", "width": float(d.smoothing_width)}
    return {"radius": float(d.cutoff), "smoothing": smoothing}


def _soap(d: Any) -> dict[str, Any]:
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
    return {"cutoff": _cutoff(d), "density": density, "basis": basis}


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


def _correlations(d: Any) -> dict[str, Any]:
    return _soap(d) | {"n_correlations": int(d.n_correlations)}


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


def _sorted_distances(d: Any) -> dict[str, Any]:
    return {"cutoff": float(d.cutoff), "max_neighbors": 16, "separate_neighbor_types": True}


def _composition(d: Any) -> dict[str, Any]:
    return {"per_system": False}


_RECIPES: dict[str, Callable[[Any], dict[str, Any]]] = {
    "SoapPowerSpectrum": _soap,
    "SoapRadialSpectrum": _radial_spectrum,
    "DensityCorrelations": _correlations,
    "SphericalExpansion": _soap,
    "LodeSphericalExpansion": _lode,
    "SortedDistances": _sorted_distances,
    "AtomicComposition": _composition,
}

_OWN: dict[str, Callable[..., Any]] = {"DensityCorrelations": DensityCorrelations}
