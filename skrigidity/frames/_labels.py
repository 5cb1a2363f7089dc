"""Reference energies, forces and stress of frames: where they are, and whether they can be."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..gradients import ENERGY, FORCES, PROPERTIES, STRESS, has_stress
from ._frames import Atoms, digest, require

VIRIAL = "virial"
# Names that "auto" takes for a reference: of energies and forces with what says whose they are,
# of stress and virial nothing else, since programs differ in its order and sign.
_WHOSE = "ref|reference|dft|qm|scf|target|true|total|tot|potential|pbe|lda|ccsd"
_AUTO = {
    ENERGY: re.compile(rf"((?:{_WHOSE})[ _-]?)*energy([ _-]?(?:{_WHOSE}))*", re.I),
    FORCES: re.compile(rf"((?:{_WHOSE})[ _-]?)*forces?([ _-]?(?:{_WHOSE}))*", re.I),
    STRESS: re.compile("stress"),
    VIRIAL: re.compile("virials?"),
}
_LARGEST_ENERGY = 1e3  # eV per atom
_VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))


class Targets(NamedTuple):
    """Reference values of one frame; None where it has none.

    Parameters
    ----------
    energy : float or None
        Total energy in eV.
    forces : ndarray of shape (n_atoms, 3) or None
        In eV/Å.
    stress : ndarray of shape (6,) or None
        In eV/Å³, ASE's sign and Voigt order.

    Examples
    --------
    >>> from skrigidity.frames import Targets
    >>> Targets(energy=-3.5, forces=None, stress=None).energy
    -3.5
    """

    energy: float | None
    forces: NDArray[np.float64] | None
    stress: NDArray[np.float64] | None


def find_keys(frames: list[Atoms], asked: Mapping[str, str | None]) -> dict[str, str]:
    """Return under which name each property is.

    Parameters
    ----------
    frames : list of ase.Atoms
        The frames.
    asked : dict of str to str or None
        For some of "energy", "forces", "stress" and "virial" a name, "auto", or None: not read.

    Returns
    -------
    dict of str to str
        Without properties that no frame has.

    Raises
    ------
    ValueError
        If a named one is nowhere, or several may be meant.

    Examples
    --------
    >>> from ase import Atoms
    >>> from skrigidity.frames import find_keys
    >>> find_keys([Atoms("H", info={"energy_dft": -13.6})], {"energy": "auto", "forces": "auto"})
    {'energy': 'energy_dft'}
    """
    if asked.get(STRESS) is not None and asked.get(VIRIAL) is not None:
        raise ValueError("stress_key and virial_key: at most one of them can be read")
    seen = {name: None for frame in frames for name in names_of(frame)}
    found: dict[str, str] = {}
    for name, key in asked.items():
        if key is None:
            continue
        if key != "auto":
            if key not in seen:
                raise ValueError(f"{name}_key: no frame has {key!r}; {_listed(seen)}")
            found[name] = key
            continue
        candidates = [k for k in seen if _AUTO[name].fullmatch(k)]
        if len(candidates) > 1:
            raise ValueError(
                f"{name}_key: {' and '.join(map(repr, candidates))} may be meant; name one"
            )
        if candidates:
            found[name] = candidates[0]
    return found


def check_found(targets: list[Targets], frames: list[Atoms], fitted: Iterable[str]) -> None:
    """Raise ValueError where there is nothing to fit."""
    if any(getattr(t, name) is not None for name in fitted for t in targets):
        return
    seen = {name: None for frame in frames for name in names_of(frame)}
    raise ValueError(
        f"no {', '.join(fitted)} found in the frames: name energy_key or forces_key; "
        f"{_listed(seen)}"
    )


def read_targets(
    frames: list[Atoms], keys: Mapping[str, str], energies: Any = None, name: str = "X"
) -> list[Targets]:
    """Return the reference values of all frames.

    Parameters
    ----------
    frames : list of ase.Atoms
        The frames.
    keys : dict of str to str
        As `find_keys` returns them.
    energies : array-like of shape (n_frames,), default=None
        Total energies in eV in place of those in the frames; NaN where there is none.
    name : str, default="X"
        What error messages call the frames.

    Returns
    -------
    list of Targets
        Labels of every frame.

    Examples
    --------
    >>> from ase import Atoms
    >>> from skrigidity.frames import read_targets
    >>> read_targets([Atoms("H", info={"energy_dft": -13.6})], {"energy": "energy_dft"})[0].energy
    -13.6
    """
    given: list[Any] = [_value(frame, keys.get(ENERGY)) for frame in frames]
    if energies is not None:
        array = np.asarray(energies, dtype=np.float64)
        if array.shape != (len(frames),):
            raise ValueError(
                f"y must be total energies of shape ({len(frames)},), got shape {array.shape}"
            )
        if np.isinf(array).any():
            raise ValueError("y must be finite, or NaN where a frame has no energy")
        given = [None if np.isnan(e) else e for e in array]
    out: list[Targets] = []
    shapes: dict[tuple[int, ...], str] = {}
    for i, (frame, energy) in enumerate(zip(frames, given, strict=True)):
        where = f"{name}[{i}]"
        stress, shape = _stress(frame, keys, where)
        if shape is not None:
            shapes.setdefault(shape, where)
        out.append(Targets(_energy(energy, where), _forces(frame, keys, where), stress))
    if len(shapes) > 1:
        listed = ", ".join(f"{shape} in {where}" for shape, where in shapes.items())
        raise ValueError(f"stress and virials must have one shape, got {listed}")
    _check_energies(frames, out, name)
    return out


def warn_of_duplicates(frames: list[Atoms], groups: NDArray[Any], name: str = "X") -> None:
    """Warn where the same frame is in several groups, so that leaving one out proves nothing."""
    seen: dict[bytes, int] = {}
    for i, frame in enumerate(frames):
        first = seen.setdefault(digest(frame), i)
        if groups[first] != groups[i]:
            warnings.warn(
                f"{name}[{first}] and {name}[{i}] are the same frame in different groups: what is "
                "left out has been seen",
                UserWarning,
                stacklevel=3,
            )
            return


def names_of(frame: Atoms) -> list[str]:
    """Return the names of all that a frame brings along."""
    own = ("numbers", "positions")
    return [*_results(frame), *frame.info, *(name for name in frame.arrays if name not in own)]


def _results(frame: Atoms) -> dict[str, Any]:
    """Return what a reference calculation has left; other calculators are not asked."""
    static = require("ase.calculators.singlepoint").SinglePointCalculator
    return frame.calc.results if isinstance(frame.calc, static) else {}


def _value(frame: Atoms, key: str | None) -> Any:
    for place in (frame.info, frame.arrays, _results(frame)):
        if key is not None and place.get(key) is not None:
            return place[key]
    return None


def _listed(seen: Iterable[str]) -> str:
    return f"they have {', '.join(map(repr, seen))}" if seen else "they have none at all"


def _numbers(value: Any, what: str) -> NDArray[np.float64]:
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{what} must be numbers, got {value!r}") from None
    if not np.isfinite(array).all():
        raise ValueError(f"{what} must be finite")
    return array


def _energy(value: Any, where: str) -> float | None:
    if value is None:
        return None
    array = _numbers(value, f"{where}: the energy")
    if array.size != 1:
        raise ValueError(f"{where}: the energy must be one number, got shape {array.shape}")
    return float(array.item())


def _forces(frame: Atoms, keys: Mapping[str, str], where: str) -> NDArray[np.float64] | None:
    value = _value(frame, keys.get(FORCES))
    if value is None:
        return None
    array = _numbers(value, f"{where}: forces")
    if array.shape != (len(frame), 3):
        raise ValueError(
            f"{where}: forces must have shape ({len(frame)}, 3), got shape {array.shape}"
        )
    return array


def _stress(
    frame: Atoms, keys: Mapping[str, str], where: str
) -> tuple[NDArray[np.float64] | None, tuple[int, ...] | None]:
    """Return stress in Voigt order, and the shape in which it was given."""
    name = VIRIAL if VIRIAL in keys else STRESS
    value = _value(frame, keys.get(name))
    if value is None:
        return None, None
    array = _numbers(value, f"{where}: {name}")
    if array.shape not in ((6,), (9,), (3, 3)):
        raise ValueError(
            f"{where}: {name} must have shape (6,), (9,) or (3, 3), got shape {array.shape}"
        )
    if not has_stress(frame):
        raise ValueError(f"{where}: has a {name}, but no periodic cell with a volume")
    shape = array.shape
    if shape != (6,):
        array = array.reshape(3, 3)
        if np.abs(array - array.T).max() > 1e-4 * np.abs(array).max():
            raise ValueError(f"{where}: {name} must be a symmetric matrix")
        array = np.array([(array[i, j] + array[j, i]) / 2 for i, j in _VOIGT])
    return (-array / frame.get_volume() if name == VIRIAL else array), shape


def _check_energies(frames: list[Atoms], targets: list[Targets], name: str) -> None:
    which = [i for i, target in enumerate(targets) if target.energy is not None]
    sizes = np.array([len(frames[i]) for i in which])
    totals = np.array([targets[i].energy for i in which], dtype=np.float64)
    if not which:
        return
    per_atom = totals / sizes
    large = np.abs(per_atom) > _LARGEST_ENERGY
    if large.any():
        i = int(np.flatnonzero(large)[0])
        warnings.warn(
            f"{name}[{which[i]}]: {per_atom[i]:.0f} eV per atom; energies must be in eV",
            UserWarning,
            stacklevel=4,
        )
    # Some like the usual energy of an atom though they should be totals, or the reverse.
    for typical, values, others in ((per_atom, totals, per_atom), (totals, per_atom, totals)):
        usual = np.median(typical)
        if np.median(np.abs(typical - usual)) > 0.1 * abs(usual):
            continue  # nothing is usual
        like = np.abs(values - usual) < 0.2 * abs(usual)
        odd = (sizes > 2) & like & (np.abs(others - usual) > 0.5 * abs(usual))
        if odd.any() and not odd.all():
            i, j = int(np.flatnonzero(odd)[0]), int(np.flatnonzero(~odd)[0])
            raise ValueError(
                f"energies must all be totals: those of {name}[{which[i]}] ({totals[i]:.4g} eV, "
                f"{sizes[i]} atoms) and {name}[{which[j]}] ({totals[j]:.4g} eV, {sizes[j]} atoms) "
                "look like an energy per atom and a total one"
            )


def present(targets: Iterable[Targets]) -> tuple[str, ...]:
    """Return which properties any frame has."""
    targets = list(targets)
    return tuple(p for p in PROPERTIES if any(getattr(t, p) is not None for t in targets))


def named_groups(frames: list[Atoms], groups: Any) -> Any:
    """Return the group of every frame: what is given, or what frames have under a name."""
    if not isinstance(groups, str):
        return groups
    missing = [i for i, frame in enumerate(frames) if groups not in frame.info]
    if missing:
        raise ValueError(f"groups: X[{missing[0]}] has no {groups!r} in its info")
    return [frame.info[groups] for frame in frames]
