"""Potentials in files: arrays and JSON, no pickle."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skrigidity.atomistic._ace import ACEDescriptor
from skrigidity.atomistic._composition import CompositionDescriptor
from skrigidity.atomistic._featomic import FeatomicDescriptor
from skrigidity.atomistic._range_separated import RangeSeparatedDescriptor
from skrigidity.atomistic._union import DescriptorUnion
from skrigidity.frames import require

_FORMAT, _VERSION = "skrigidity potential", 1
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

Arrays = dict[str, NDArray[Any]]


def write_file(path: str | Path, state: dict[str, Any]) -> None:
    """Write nested dicts of numbers, texts, arrays and descriptors; all of it or nothing.

    Parameters
    ----------
    path : str or Path
    state : dict of str to object

    Raises
    ------
    ValueError
        If something in it is of another kind.
    """
    arrays: Arrays = {}
    text = json.dumps({"format": _FORMAT, "version": _VERSION, "state": _encoded(state, arrays)})
    arrays["json"] = np.frombuffer(text.encode(), dtype=np.uint8)
    temporary = Path(f"{path}.{os.getpid()}.part")
    try:
        with temporary.open("wb") as file:
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def read_file(path: str | Path) -> dict[str, Any]:
    """Read what `write_file` has written.

    Parameters
    ----------
    path : str or Path

    Returns
    -------
    dict of str to object

    Raises
    ------
    ValueError
        If it is another file, or one of a later version.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
        content = json.loads(arrays.pop("json").tobytes())
        known = content["format"] == _FORMAT
    except FileNotFoundError:
        raise
    except Exception as error:  # whatever NumPy, zipfile and json make of other files
        raise ValueError(f"{path} is not a saved potential: {error}") from None
    if not known or content["version"] > _VERSION:
        raise ValueError(
            f"{path} is a {content['format']!r} of version {content['version']}; this skrigidity "
            f"reads {_FORMAT!r} up to version {_VERSION}"
        )
    return dict(_decoded(content["state"], arrays))


def refitted(descriptor: Any, species: NDArray[np.int64]) -> Any:
    """Return a descriptor fitted to species, without the frames that it was fitted to."""
    spread = 50.0 * np.arange(len(species))[:, None] * [1.0, 0.0, 0.0]
    probe = require("ase").Atoms(species, spread, cell=[50.0 * len(species), 50, 50], pbc=True)
    return descriptor.fit([probe])


def _encoded(value: Any, arrays: Arrays) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, np.ndarray) and value.dtype.kind in "fiub":
        name = f"array_{len(arrays)}"
        arrays[name] = value
        return {"array": name}
    if isinstance(value, bytes):
        return {"bytes": value.hex()}
    if isinstance(value, (list, tuple)):
        return {type(value).__name__: [_encoded(item, arrays) for item in value]}
    if isinstance(value, dict):
        return {"dict": [[_encoded(k, arrays), _encoded(v, arrays)] for k, v in value.items()]}
    if _DESCRIPTORS.get(type(value).__name__) is type(value):
        params = {**value.get_params(deep=False)}
        params |= {"memory": None} if "memory" in params else {}  # of this machine
        return {"descriptor": type(value).__name__, "params": _encoded(params, arrays)}
    raise ValueError(f"a {type(value).__name__} cannot be saved without pickle")


def _decoded(value: Any, arrays: Arrays) -> Any:
    if not isinstance(value, dict):
        return value
    if "descriptor" in value:
        return _DESCRIPTORS[value["descriptor"]](**_decoded(value["params"], arrays))
    ((kind, content),) = value.items()
    if kind == "array":
        return arrays[content]
    if kind == "bytes":
        return bytes.fromhex(content)
    if kind == "dict":
        return {_decoded(k, arrays): _decoded(v, arrays) for k, v in content}
    items = [_decoded(item, arrays) for item in content]
    return tuple(items) if kind == "tuple" else items
