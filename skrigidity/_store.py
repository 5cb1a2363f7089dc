"""Files of nested numbers, texts and arrays: NumPy's format and JSON, no pickle."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]
_VERSION = 1


def write_file(
    path: str | Path, state: dict[str, Any], what: str, classes: Mapping[str, Any] | None = None
) -> None:
    """Write nested dicts of numbers, texts, arrays and estimators; all of it or nothing.

    Parameters
    ----------
    path : str or Path
    state : dict of str to object
    what : str
        What the file is: "skrigidity potential".
    classes : dict of str to type, default=None
        Estimators that may be in it, by the names of their classes: parameters alone are kept.

    Raises
    ------
    ValueError
        If something in it is of another kind.
    """
    arrays: Arrays = {}
    content = _encoded(state, arrays, {} if classes is None else classes)
    text = json.dumps({"format": what, "version": _VERSION, "state": content})
    arrays["json"] = np.frombuffer(text.encode(), dtype=np.uint8)
    temporary = Path(f"{path}.{os.getpid()}.part")
    try:
        with temporary.open("wb") as file:
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def read_file(
    path: str | Path, what: str, classes: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Read what `write_file` has written.

    Parameters
    ----------
    path : str or Path
    what : str
        What the file has to be.
    classes : dict of str to type, default=None
        Estimators that may be in it.

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
        known = content["format"] == what
    except FileNotFoundError:
        raise
    except Exception as error:  # whatever NumPy, zipfile and json make of other files
        name = what.removeprefix("skrigidity ")
        raise ValueError(f"{path} is not a saved {name}: {error}") from None
    if not known or content["version"] > _VERSION:
        raise ValueError(
            f"{path} is a {content['format']!r} of version {content['version']}; this skrigidity "
            f"reads {what!r} up to version {_VERSION}"
        )
    return dict(_decoded(content["state"], arrays, {} if classes is None else classes))


def _encoded(value: Any, arrays: Arrays, classes: Mapping[str, Any]) -> Any:
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
        return {type(value).__name__: [_encoded(item, arrays, classes) for item in value]}
    if isinstance(value, dict):
        pairs = value.items()
        return {"dict": [[_encoded(part, arrays, classes) for part in pair] for pair in pairs]}
    if classes.get(type(value).__name__) is type(value):
        params = {**value.get_params(deep=False)}
        params |= {"memory": None} if "memory" in params else {}  # of this machine
        return {"estimator": type(value).__name__, "params": _encoded(params, arrays, classes)}
    raise ValueError(f"a {type(value).__name__} cannot be saved without pickle")


def _decoded(value: Any, arrays: Arrays, classes: Mapping[str, Any]) -> Any:
    if not isinstance(value, dict):
        return value
    # Version 1 of potentials says "descriptor".
    for kind in ("estimator", "descriptor"):
        if kind in value:
            return classes[value[kind]](**_decoded(value["params"], arrays, classes))
    ((kind, content),) = value.items()
    if kind == "array":
        return arrays[content]
    if kind == "bytes":
        return bytes.fromhex(content)
    if kind == "dict":
        return {_decoded(k, arrays, classes): _decoded(v, arrays, classes) for k, v in content}
    items = [_decoded(item, arrays, classes) for item in content]
    return tuple(items) if kind == "tuple" else items
