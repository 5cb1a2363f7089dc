"""Structures colored by their local rigidities, for chemiscope."""

from __future__ import annotations

import gzip
import json
import os
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .._extras import import_extra
from . import _data as data

if TYPE_CHECKING:
    from ase import Atoms

_LPR, _STRUCTURE, _LEAST = "log10 LPR", "structure", "least log10 LPR"
_SUFFIXES = (".json", ".json.gz", ".html")


def show_rigidity(
    frames: list[Atoms],
    rigidity: Any,
    *,
    properties: dict[str, Any] | None = None,
    cutoff: float = 3.5,
    name: str = "local prediction rigidity",
) -> Any:
    """Show structures with their atoms colored by local rigidity, in a notebook.

    The least rigid environment of all is selected at first. Colors mean the same in every
    structure. Atoms whose prediction nothing pins (R = 0), or that cannot move (R = inf), have
    no logarithm: they are gray, are missing in the map, and are counted in the description.

    Parameters
    ----------
    frames : list of ase.Atoms
        Structures.
    rigidity : list of ndarray of shape (n_atoms,), or ndarray of shape (n_atoms_of_all,)
        Local rigidities, such as `skrigidity.metrics.local_rigidity` returns.
    properties : dict, default=None
        Further properties by name, as chemiscope takes them: an array with a value for every
        structure or for every atom, such as a coordination number.
    cutoff : float, default=3.5
        Radius in Å of the environment that is emphasized.
    name : str, default="local prediction rigidity"
        Title.

    Returns
    -------
    chemiscope widget
        Displayed by being the last expression of a cell.

    Raises
    ------
    ValueError
        If there is not one rigidity for every atom, one is negative or NaN, or all are 0 or
        infinite.

    See Also
    --------
    write_rigidity : The same in a file.

    Examples
    --------
    >>> from ase.build import molecule
    >>> from skrigidity.plotting import show_rigidity
    >>> frames = [molecule("H2O"), molecule("NH3")]
    >>> widget = show_rigidity(frames, [[5.0, 1.0, 2.0], [9.0, 4.0, 4.0, 3.0]])  # doctest: +SKIP
    """
    frames, content = _content(frames, rigidity, properties, cutoff, name)
    return _chemiscope().show(frames, **content)


def write_rigidity(
    path: str | os.PathLike,
    frames: list[Atoms],
    rigidity: Any,
    *,
    properties: dict[str, Any] | None = None,
    cutoff: float = 3.5,
    name: str = "local prediction rigidity",
) -> None:
    """Write structures with their atoms colored by local rigidity to a file.

    Either a dataset that chemiscope reads (``.json``, ``.json.gz``), or a page with the viewer
    in it (``.html``, about 3 MB) that any browser opens without a connection.

    Parameters
    ----------
    path : str or path
        File ending with ``.json``, ``.json.gz`` or ``.html``. It is complete or not written at
        all; an older one is replaced.
    frames : list of ase.Atoms
        Structures.
    rigidity : list of ndarray of shape (n_atoms,), or ndarray of shape (n_atoms_of_all,)
        Local rigidities, such as `skrigidity.metrics.local_rigidity` returns.
    properties : dict, default=None
        Further properties by name, as chemiscope takes them: an array with a value for every
        structure or for every atom, such as a coordination number.
    cutoff : float, default=3.5
        Radius in Å of the environment that is emphasized.
    name : str, default="local prediction rigidity"
        Title.

    Raises
    ------
    ValueError
        If the file has another ending, there is not one rigidity for every atom, one is
        negative or NaN, or all are 0 or infinite.
    ImportError
        If chemiscope is missing, or too old (before 0.9) to be put into a page.

    See Also
    --------
    show_rigidity : The same in a notebook.

    Examples
    --------
    >>> from ase.build import molecule
    >>> from skrigidity.plotting import write_rigidity
    >>> frames = [molecule("H2O"), molecule("NH3")]
    >>> write_rigidity("molecules.json", frames, [[5.0, 1.0, 2.0], [9.0, 4.0, 4.0, 3.0]])
    """
    path = Path(path)
    if not path.name.endswith(_SUFFIXES):
        raise ValueError(f"path must end with {', '.join(_SUFFIXES)}, got {path.name!r}")
    frames, content = _content(frames, rigidity, properties, cutoff, name)
    text = json.dumps(_chemiscope().create_input(frames, **content))
    if path.suffix == ".html":
        text = _page(text, name)
    payload = text.encode("utf-8")
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(gzip.compress(payload) if path.suffix == ".gz" else payload)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _content(
    frames: Any, rigidity: Any, properties: dict[str, Any] | None, cutoff: float, name: str
) -> tuple[list[Atoms], dict[str, Any]]:
    """Return checked frames, and what chemiscope is told about them."""
    from ..atomistic import check_frames  # ASE is not needed before

    frames = check_frames(frames, "frames")
    R = _matched(rigidity, frames)
    movable = (R > 0) & np.isfinite(R)
    if not movable.any():
        raise ValueError("rigidity must have an entry that is neither 0 nor infinite")
    log = np.log10(R, out=np.full(len(R), np.nan), where=movable)
    sizes = [len(frame) for frame in frames]
    index = np.repeat(np.arange(len(frames)), sizes)
    least = np.fmin.reduceat(log, np.cumsum([0, *sizes[:-1]]))
    known: dict[str, Any] = {
        _LPR: {"target": "atom", "values": log, "description": "local prediction rigidity"},
        _STRUCTURE: {"target": "atom", "values": index.astype(float)},
        _LEAST: {"target": "structure", "values": least},
    }
    chemiscope = _chemiscope()
    # Renamed in version 1.0.
    accepted = signature(chemiscope.create_input).parameters
    meta = "metadata" if "metadata" in accepted else "meta"
    return frames, {
        meta: {"name": name, "description": _description(R)},
        "properties": {**known, **(properties or {})},
        "environments": chemiscope.all_atomic_environments(frames, cutoff),
        "settings": _settings(log, any(frame.pbc.any() for frame in frames), cutoff),
    }


def _matched(rigidity: Any, frames: list[Atoms]) -> np.ndarray:
    """Return the rigidity of every atom, or say where there is not one for each."""
    sizes = [len(frame) for frame in frames]
    if data.is_ragged(rigidity):
        if len(rigidity) != len(frames):
            raise ValueError(
                f"rigidity must have an array for each of {len(frames)} frames, got {len(rigidity)}"
            )
        for i, (part, size) in enumerate(zip(rigidity, sizes, strict=True)):
            if np.shape(part) != (size,):
                raise ValueError(
                    f"rigidity[{i}] must have shape ({size},), a value for every atom, got "
                    f"{np.shape(part)}"
                )
    R = data.rigidities(rigidity)
    if len(R) != sum(sizes):
        raise ValueError(f"rigidity must have a value for each of {sum(sizes)} atoms, got {len(R)}")
    return R


def _settings(log: np.ndarray, periodic: bool, cutoff: float) -> dict[str, Any]:
    """Select the least rigid environment; color map and structures alike."""
    low, high = float(np.nanmin(log)), float(np.nanmax(log))
    # A scale without a width has no colors.
    low, high = (low, high) if high > low else (low - 0.5, high + 0.5)
    # Colors from dark (least rigid) to light, the same for everybody.
    color = {"property": _LPR, "min": low, "max": high, "palette": "viridis"}
    surroundings: dict[str, Any] = {"activated": True, "center": False, "cutoff": cutoff}
    surroundings |= {"bgColor": "property", "bgStyle": "ball-stick"}
    return {
        "target": "atom",
        "pinned": [int(np.nanargmin(log))],
        "map": {"x": {"property": _STRUCTURE}, "y": {"property": _LPR}, "color": color},
        "structure": [{"color": color, "unitCell": bool(periodic), "environments": surroundings}],
    }


def _description(R: np.ndarray) -> str:
    text = f"{len(R)} atoms colored by the logarithm of their local prediction rigidity (LPR)"
    for what, n in (("R = 0", (R == 0).sum()), ("R = ∞", np.isinf(R).sum())):
        text += f"; {n} with {what} are gray" if n else ""
    return text


def _chemiscope() -> Any:
    return import_extra("chemiscope", extra="atomistic", needed_by="structures by rigidity")


def _page(dataset: str, name: str) -> str:
    """Put the dataset and chemiscope's own viewer into a page."""
    chemiscope = _chemiscope()
    library = Path(chemiscope.__file__).parent / "sphinx" / "static" / "chemiscope.min.js"
    # The viewer of 0.8 does not work without what surrounds it in Sphinx.
    if chemiscope.__version__.startswith("0.8.") or not library.exists():
        raise ImportError("a page needs chemiscope 0.9 or later; write a .json file instead")
    viewer = library.read_text("utf-8").replace("</script", "<\\/script")
    # NaN is no JSON, but, like all JSON, JavaScript.
    dataset = dataset.replace("</", "<\\/")
    title = name.replace("&", "&amp;").replace("<", "&lt;")
    template = (Path(__file__).parent / "_chemiscope.html").read_text("utf-8")
    parts = {"TITLE": title, "VIEWER": viewer, "DATASET": dataset}
    before, *rest = template.split("@@")
    return before + "".join(parts.get(key, key) for key in rest)
