"""Potentials in files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from skrigidity._extras import import_extra
from skrigidity.cli._common import InputError
from skrigidity.cli._structures import one_line

if TYPE_CHECKING:
    from skrigidity.atomistic import RigidPotential

_QUANTILES = (0.5, 0.9, 0.99, 1.0)
# What is said of the training set: property, result, unit.
_RESULTS = (("energy", "energies_std", "eV"), ("forces", "forces_std", "eV/Å"))
# Of errors, and of what error bars are calibrated in.
UNITS = {"energy": "eV/atom", "forces": "eV/Å", "stress": "eV/atom"}


def load_potential(path: Path) -> RigidPotential:
    """Read a potential from its file.

    Raises
    ------
    InputError
        If there is no such file, or it is incomplete, of another version or no potential at all.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    from skrigidity.atomistic import RigidPotential

    try:
        return RigidPotential.load(path)
    except ImportError:
        raise
    except Exception as error:  # whatever reading a damaged archive happens to raise
        raise InputError(f"{path}: cannot read this model: {one_line(error)}") from error


def scales_of(potential: RigidPotential) -> dict[str, dict[str, Any]]:
    """Return C and σ of every property that was fitted, with the unit of σ."""
    return {
        name: {
            "C": float(np.sqrt(potential.scale_[name])),
            "σ": float(np.sqrt(potential.noise_variance_[name])),
            "unit": UNITS[name],
        }
        for name in potential.gradients_.fitted
    }


def facts_of(potential: RigidPotential) -> dict[str, Any]:
    """Return what a potential is, by name; names end in their units."""
    descriptor, info = potential.descriptor_, potential.hessian_.info
    symbols = import_extra("ase.data", extra="atomistic").chemical_symbols
    fitted = potential.gradients_.fitted
    facts = {
        "species": [symbols[number] for number in potential.species_],
        "descriptor": " ".join(repr(descriptor).split()),
        "cutoff_A": getattr(descriptor, "cutoff", None),
        "n_features": int(descriptor.n_features_out_),
        "baseline": potential.baseline,
        "core": potential.core,
        "keys": dict(potential.keys_),
        "training_set": dict(potential.n_training_),
        "errors": {f"{name} ({UNITS[name]})": potential.errors_[name] for name in fitted},
        "alpha": float(potential.alpha_),
        "hessian": {name: getattr(info, name) for name in ("method", "condition", "rank")},
        "calibration": scales_of(potential),
    }
    facts["training_quantiles"] = {
        f"{key} ({unit})": {
            f"{100 * q:g} %": potential.training_quantile(key, q) for q in _QUANTILES
        }
        for name, key, unit in _RESULTS
        if name in fitted and potential.calibration and np.isfinite(potential.scale_[name])
    }
    return facts


def format_of(path: Path) -> str:
    """Return the name and the version of the format that a potential's file is in."""
    with np.load(path, allow_pickle=False) as file:
        content = json.loads(file["json"].tobytes())
    return f"{content['format']}, version {content['version']}"
