"""Potentials in files: arrays and JSON, no pickle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skrigidity import _store
from skrigidity.atomistic._ace import ACEDescriptor
from skrigidity.atomistic._composition import CompositionDescriptor
from skrigidity.atomistic._featomic import FeatomicDescriptor
from skrigidity.atomistic._range_separated import RangeSeparatedDescriptor
from skrigidity.atomistic._union import DescriptorUnion
from skrigidity.frames import require

_WHAT = "skrigidity potential"
_DESCRIPTORS: dict[str, Any] = {
    c.__name__: c
    for c in (
        ACEDescriptor,
        CompositionDescriptor,
        DescriptorUnion,
        FeatomicDescriptor,
        RangeSeparatedDescriptor,
    )
}


def write_file(path: str | Path, state: dict[str, Any]) -> None:
    """Write the state of a potential, as `skrigidity._store.write_file`."""
    _store.write_file(path, state, _WHAT, _DESCRIPTORS)


def read_file(path: str | Path) -> dict[str, Any]:
    """Read the state of a potential, as `skrigidity._store.read_file`."""
    return _store.read_file(path, _WHAT, _DESCRIPTORS)


def refitted(descriptor: Any, species: NDArray[np.int64]) -> Any:
    """Return a descriptor fitted to species, without the frames that it was fitted to."""
    spread = 50.0 * np.arange(len(species))[:, None] * [1.0, 0.0, 0.0]
    probe = require("ase").Atoms(species, spread, cell=[50.0 * len(species), 50, 50], pbc=True)
    return descriptor.fit([probe])
