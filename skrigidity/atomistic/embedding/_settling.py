"""Relaxation and dynamics of a buffer, around atoms that do not move."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skrigidity.atomistic.embedding._environment import MARGIN
from skrigidity.atomistic.embedding._placing import Contacts, wrapped
from skrigidity.frames import Atoms, require

Array = NDArray[np.float64]
_FORCE = 0.1  # eV/Å, at which a relaxation ends
_FRICTION = 0.02  # per fs


@dataclass(frozen=True)
class Settling:
    """How the buffer settles.

    Attributes
    ----------
    calculator : ASE calculator or None
        None: it stays where it was placed.
    temperature : float or None
        In K; None: it is relaxed.
    steps : int
        At most, of a relaxation.
    time_step : float
        In fs.
    """

    calculator: Any = None
    temperature: float | None = None
    steps: int = 100
    time_step: float = 0.5

    def settle(self, atoms: Atoms, radius: float, contacts: Contacts, rng: Any) -> None:
        """Move the buffer of an embedding, in place."""
        if self.calculator is None or self.steps == 0 or atoms.arrays["held"].all():
            return
        held = require("ase.constraints").FixAtoms(mask=atoms.arrays["held"])
        atoms.set_constraint([held, Barrier(atoms, radius, contacts)])
        atoms.calc = self.calculator
        if self.temperature is None:
            fire = require("ase.optimize").FIRE(atoms, logfile=None)
            fire.run(fmax=_FORCE, steps=self.steps)
        else:
            self._sample(atoms, self.temperature, rng)
        atoms.calc = None
        atoms.set_constraint()
        atoms.arrays.pop("momenta", None)

    def _sample(self, atoms: Atoms, temperature: float, rng: Any) -> None:
        units = require("ase.units")
        fs, thermal = units.fs, np.sqrt(units.kB * temperature * atoms.get_masses())
        atoms.set_momenta(thermal[:, None] * rng.standard_normal((len(atoms), 3)))
        dynamics = require("ase.md.langevin").Langevin(
            atoms,
            self.time_step * fs,
            temperature_K=temperature,
            friction=_FRICTION / fs,
            fixcm=False,
            rng=rng,
        )
        dynamics.run(self.steps)


class Barrier:
    """A constraint of ASE: moves that lead inside the environment or too close do not happen.

    Parameters
    ----------
    atoms : ase.Atoms
        An embedding, whose first atom is the center.
    radius : float
        Around the center.
    contacts : Contacts
    """

    def __init__(self, atoms: Atoms, radius: float, contacts: Contacts) -> None:
        self.held = np.asarray(atoms.arrays["held"])
        self.radius = radius
        self.cell = atoms.cell.array if atoms.pbc.any() else None
        self.limits = contacts.between(atoms.numbers, atoms.numbers)
        # Held atoms are as close to each other as they were.
        self.limits[np.ix_(self.held, self.held)] = 0.0
        np.fill_diagonal(self.limits, 0.0)

    def adjust_positions(self, atoms: Atoms, new: Array) -> None:
        """Take back the moves of atoms that would come too close, until none does."""
        back = np.linalg.norm(wrapped(new - new[0], self.cell)[0], axis=-1) <= self.radius + MARGIN
        back &= ~self.held
        while True:
            new[back] = atoms.positions[back]
            vectors, _ = wrapped(new[:, None] - new, self.cell)
            close = (np.linalg.norm(vectors, axis=-1) < self.limits).any(axis=1) & ~self.held
            if not (close & ~back).any():
                return
            back |= close

    def adjust_forces(self, atoms: Atoms, forces: Array) -> None:
        """Leave forces as they are."""

    def adjust_momenta(self, atoms: Atoms, momenta: Array) -> None:
        """Leave momenta as they are."""

    def get_removed_dof(self, atoms: Atoms) -> int:
        """Return that no degree of freedom is lost."""
        return 0

    def copy(self) -> Barrier:
        """Return itself, which does not change."""
        return self
