"""Structures around an environment, drawn, settled and checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_random_state

from skrigidity.atomistic.embedding._environment import MARGIN, Environment
from skrigidity.atomistic.embedding._placing import Contacts, closest, displaced
from skrigidity.atomistic.embedding._settling import Settling
from skrigidity.frames import Atoms, require

Array = NDArray[np.float64]
_GROWTH = 0.05  # Å, by which a cell grows until held atoms keep their distance from images


@dataclass
class Surroundings:
    """What lies around the held atoms before it is displaced, and the cell of all.

    Attributes
    ----------
    numbers, positions : ndarray of shape (n,) and (n, 3)
        Around the central atom.
    index : ndarray of int of shape (n,)
        Which atom of the source each is, -1 where it is none.
    cell : ndarray of shape (3, 3) or None
        None where there is nothing around them.
    vacuum : float or None
        Where there is no cell: the vacuum of one that is put around in the end.
    """

    numbers: NDArray[Any]
    positions: Array
    index: NDArray[np.intp]
    cell: Array | None
    vacuum: float | None = None


def roomy(
    make: Callable[[float], Array], buffer: float, environment: Environment, contacts: Contacts
) -> Array:
    """Return the smallest cell in which held atoms are far enough from each other's images."""
    width = 2 * (environment.radius + buffer) + 4 * MARGIN
    n = len(environment.numbers)
    while True:
        cell = make(width)
        held = environment.numbers, environment.vectors
        if closest(*held, n, cell, contacts)[1] >= 0:
            return cell
        width += _GROWTH


@dataclass
class Draws:
    """How structures are drawn: the options that all embeddings share."""

    n_draws: int
    sigma: float
    contacts: Contacts
    settling: Settling
    random_state: Any
    info: Mapping[str, Any] | None

    def of(self, kind: str, environment: Environment, around: Surroundings) -> list[Atoms]:
        """Return structures around an environment, each of them checked."""
        rng = check_random_state(self.random_state)
        frames = []
        for draw in range(self.n_draws):
            frame, kept = self._one(environment, around, rng)
            contact, excess = closest(
                frame.numbers,
                frame.positions - frame.positions[0],
                len(environment.numbers),
                around.cell,
                self.contacts,
            )
            if excess < -1e-9:
                raise RuntimeError(f"atoms have come too close to each other: {contact:.3f} Å")
            if around.vacuum is not None:
                frame.center(vacuum=around.vacuum)
                frame.pbc = True
            environment.check(frame)
            frame.info.update(
                embedding=kind,
                embedding_draw=draw,
                embedding_radius=environment.radius,
                embedding_sigma=float(self.sigma),
                embedding_removed=len(around.numbers) - kept,
                **environment.provenance(),
            )
            if np.isfinite(contact):
                frame.info["embedding_contact"] = contact
            frame.info.update(self.info or {})
            frames.append(frame)
        return frames

    def _one(self, environment: Environment, around: Surroundings, rng: Any) -> tuple[Atoms, int]:
        """Return one structure, and how many atoms of the buffer have found a place."""
        held = environment.numbers, environment.vectors
        buffer, radius = (around.numbers, around.positions), environment.radius
        kept, positions = displaced(
            held, buffer, around.cell, radius, self.sigma, self.contacts, rng
        )
        middle = np.zeros(3) if around.cell is None else around.cell.sum(axis=0) / 2
        frame = require("ase").Atoms(
            np.concatenate([held[0], around.numbers[kept]]),
            np.concatenate([held[1], positions]) + middle,
            cell=around.cell,
            pbc=around.cell is not None,
        )
        frame.new_array("held", np.arange(len(frame)) < len(held[0]))
        frame.new_array("source_index", np.concatenate([environment.index, around.index[kept]]))
        self.settling.settle(frame, radius, self.contacts, rng)
        return frame, len(kept)
