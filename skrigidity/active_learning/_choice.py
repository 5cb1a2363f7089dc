"""Which frames to label where a threshold is passed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.frozen import FrozenEstimator

from skrigidity.active_learning._labels import bare, extxyz, from_extxyz
from skrigidity.frames import Atoms, digest
from skrigidity.sample_selection import PRSelector

# The atoms that thresholds speak of.
_ATOMS = {"force_std": "force_std_atom", "local_std": "local_std_atom"}
_ATOMS |= {"min_rigidity": "min_rigidity_atom", "min_support": "min_support_atom"}


def as_written(frames: list[Atoms]) -> list[Atoms]:
    """Return frames with the digits that files keep of them: what is labelled is what is kept."""
    return from_extxyz(extxyz(frames)) if frames else []


def guilty_atom(seen: dict[str, Any]) -> int:
    """Return the atom that a threshold was passed by, or the least rigid one."""
    for name in (*seen["tripped"].split(), "min_rigidity", "local_std", "force_std"):
        column = _ATOMS.get(name)
        if column is not None and seen.get(column) is not None:
            return int(seen[column])
    return 0


def candidates(
    frame: Atoms, seen: dict[str, Any], embed: Callable[..., Any] | None, rng: np.random.Generator
) -> list[Atoms]:
    """Return the frame, or structures that its guilty atom is embedded in."""
    if embed is None:
        return as_written([bare(frame)])
    made = embed(bare(frame), guilty_atom(seen), rng)
    frames = [made] if hasattr(made, "numbers") else list(made)
    out = []
    for one, old in zip(as_written([bare(f) for f in frames]), frames, strict=True):
        kept = (str, int, float, bool)
        one.info |= {k: v for k, v in old.info.items() if isinstance(v, kept)}
        out.append(one)
    return out


def diverse(model: Any, pool: list[Atoms], target: Atoms, n: int) -> list[Atoms]:
    """Return those of a pool that pin the atoms of a frame best together.

    Parameters
    ----------
    model : RigidPotential
        Fitted.
    pool : list of ase.Atoms
    target : ase.Atoms
    n : int
        How many at most.

    Returns
    -------
    list of ase.Atoms
    """
    unique = list({digest(frame): frame for frame in pool}.values())
    if len(unique) <= n:
        return unique
    selector = PRSelector(n, estimator=FrozenEstimator(model), level="local")
    selector.fit(unique, X_target=[target])
    return [unique[i] for i in selector.selected_idx_]
