"""ASE frames: what is one, its species, its fingerprint."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .._extras import import_extra

if TYPE_CHECKING:
    from ase import Atoms as Atoms
else:
    Atoms = Any  # ASE is imported only where frames are


def require(module: str, needed_by: str = "skrigidity.atomistic") -> Any:
    """Import a module of the extra ``atomistic``."""
    return import_extra(module, extra="atomistic", needed_by=needed_by)


def check_frames(X: Any, name: str = "X") -> list[Atoms]:
    """Return the frames as a list, or say which of them is no good, and why.

    Parameters
    ----------
    X : sequence of ase.Atoms
        What may be frames.
    name : str, default="X"
        What error messages call it.

    Returns
    -------
    list of ase.Atoms
        The frames.

    Raises
    ------
    TypeError
        If `X` is no sequence of frames.
    ValueError
        If there are no frames, or one is empty or not finite.

    Examples
    --------
    >>> from ase import Atoms
    >>> from skrigidity.frames import check_frames
    >>> check_frames((Atoms("H"),), "frames")
    [Atoms(symbols='H', pbc=False)]
    """
    atoms_class = require("ase").Atoms
    if isinstance(X, atoms_class):
        raise TypeError(f"{name}: expected a list of ase.Atoms, got a single one; pass [atoms]")
    if isinstance(X, (str, bytes, dict)) or not hasattr(X, "__len__"):
        raise TypeError(f"{name}: expected a list of ase.Atoms, got {type(X).__name__}")
    frames = list(X)
    if not frames:
        raise ValueError(f"{name}: expected at least one frame, got an empty list")
    for i, frame in enumerate(frames):
        if not isinstance(frame, atoms_class):
            raise TypeError(f"{name}[{i}]: expected ase.Atoms, got {type(frame).__name__}")
        if len(frame) == 0:
            raise ValueError(f"{name}[{i}]: the frame has no atoms")
        if not (np.isfinite(frame.positions).all() and np.isfinite(frame.cell.array).all()):
            raise ValueError(f"{name}[{i}]: the positions or the cell contain NaN or infinity")
    return frames


def parse_species(species: Iterable[str | int]) -> NDArray[np.int64]:
    """Turn symbols and atomic numbers into sorted atomic numbers."""
    data = require("ase.data")
    numbers = set()
    for entry in species:
        number = data.atomic_numbers.get(entry) if isinstance(entry, str) else int(entry)
        if number is None or not 0 <= number < len(data.chemical_symbols):
            raise ValueError(f"species: {entry!r} is neither a chemical symbol nor its number")
        numbers.add(number)
    if not numbers:
        raise ValueError("species: expected at least one, got none")
    return np.array(sorted(numbers), dtype=np.int64)


def symbol(number: int) -> str:
    """Return the chemical symbol of an atomic number."""
    return str(require("ase.data").chemical_symbols[number])


def reject_unknown_species(frames: list[Atoms], known: NDArray[np.int64], name: str = "X") -> None:
    """Raise a ValueError naming the first frame with an element that is not known."""
    for i, frame in enumerate(frames):
        unknown = np.setdiff1d(frame.numbers, known)
        if unknown.size:
            raise ValueError(
                f"{name}[{i}]: contains {', '.join(map(symbol, unknown))}; this descriptor knows "
                f"{', '.join(map(symbol, known))} (parameter species)"
            )


def digest(frame: Atoms) -> bytes:
    """Fingerprint all that a descriptor of the frame can depend on."""
    arrays = (frame.numbers, frame.positions, frame.cell.array, frame.pbc)
    return hashlib.blake2b(b"".join(a.tobytes() for a in arrays), digest_size=16).digest()
