"""What a potential adds to its features: composition columns, isolated atoms, a core."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from skrigidity.atomistic.potential._core import core_repulsion
from skrigidity.environments import Environments
from skrigidity.frames import Atoms, parse_species, symbol

Array = NDArray[np.float64]


class Offset(NamedTuple):
    """What is known of a frame without fitting: energies of atoms, forces, strain derivative.

    Attributes
    ----------
    energies : ndarray of shape (n_atoms,)
        In eV.
    forces : ndarray of shape (n_atoms, 3)
        In eV/Å.
    strain : ndarray of shape (6,)
        Derivative of their sum by strain, in eV.
    """

    energies: Array
    forces: Array
    strain: Array


class FixedPart:
    """Energies of isolated atoms and the repulsion of cores, subtracted before the fit.

    Parameters
    ----------
    baseline : "composition", dict of str or int to float, or None
        Energies of isolated atoms in eV, by species.
    core : None or "zbl"
        The repulsion.
    species : ndarray of int
        Atomic numbers that there are.
    """

    def __init__(self, baseline: Any, core: str | None, species: NDArray[np.int64]) -> None:
        self.core = core
        self.isolated: dict[int, float] = {}
        if isinstance(baseline, Mapping):
            keys = {key: int(parse_species([key])[0]) for key in baseline}
            self.isolated = {keys[key]: float(value) for key, value in baseline.items()}
            if missing := [symbol(z) for z in species if z not in self.isolated]:
                raise ValueError(f"baseline has no energy of {', '.join(missing)}")

    def of(self, frame: Atoms) -> Offset:
        """Return the fixed part of one frame."""
        n = len(frame)
        energies, forces, strain = np.zeros(n), np.zeros((n, 3)), np.zeros(6)
        if self.core is not None:
            energies, forces, strain = core_repulsion(frame)
        if self.isolated:
            energies = energies + [self.isolated[z] for z in frame.numbers.tolist()]
        return Offset(energies, forces, strain)


class PotentialColumns:
    """Features of a descriptor, and behind them a column for each species of atoms.

    Parameters
    ----------
    descriptor : FrameDescriptor
        Fitted, with rows of environments.
    species : ndarray of int
        Atomic numbers of the composition columns; empty where there are none.

    Attributes
    ----------
    known : ndarray of shape (n_species, n_species)
        Projection on what compositions of training frames tell of the energies of species: where
        all have the same, their split among species is a convention that cannot err, and the
        energies of atoms do not count as unknown for it.
    """

    def __init__(self, descriptor: Any, species: NDArray[np.int64]) -> None:
        self.descriptor, self.species = descriptor, species
        self.n_own = int(descriptor.n_features_out_)
        self.n_features = self.n_own + len(species)
        self.known = np.eye(len(species))

    def features(self, frames: list[Atoms]) -> Environments:
        """Return the features of all atoms."""
        X = self.descriptor.transform(frames)
        if not len(self.species):
            return Environments(X.values, X.offsets)
        numbers = np.concatenate([frame.numbers for frame in frames])
        return Environments(np.hstack([X.values, self._composition(numbers)]), X.offsets)

    def set_known(self, frames: list[Atoms]) -> None:
        """Take the compositions of frames with energies for all that is known."""
        self.known = np.zeros_like(self.known)
        self.add_known(frames)

    def add_known(self, frames: list[Atoms]) -> None:
        """Take the compositions of more frames for what is known."""
        self.known = projection(np.vstack([self.known, self.compositions(frames)]))

    def compositions(self, frames: list[Atoms]) -> Array:
        """Return the share of every species in each frame."""
        counts = [self._composition(frame.numbers).mean(axis=0) for frame in frames]
        return np.reshape(counts, (len(frames), len(self.species)))

    def local(self, features: Array) -> Array:
        """Return the gradients of atoms' energies for their features."""
        own, species = features[:, : self.n_own], features[:, self.n_own :]
        return np.hstack([own, species @ self.known])

    def derivatives(self, frame: Atoms) -> tuple[Array, Array, Array]:
        """Return features of atoms, and derivatives of their sum by positions and strain."""
        found = self.descriptor.derivatives(frame)
        if not len(self.species):
            return found.features, found.positions, found.strain
        return (
            np.hstack([found.features, self._composition(frame.numbers)]),
            self._widened(found.positions),
            self._widened(found.strain),
        )

    def backward(self, frame: Atoms, coef: Array) -> tuple[Array, Array, Array]:
        """Return energies of atoms, and derivatives of their sum, without making rows."""
        found = self.descriptor.backward(frame, coef[: self.n_own])
        local = found.local
        if len(self.species):
            local = local + self._composition(frame.numbers) @ coef[self.n_own :]
        return local, found.positions, found.strain

    def _composition(self, numbers: NDArray[Any]) -> Array:
        return (numbers[:, None] == self.species).astype(np.float64)

    def _widened(self, derivatives: Array) -> Array:
        out = np.zeros((*derivatives.shape[:-1], self.n_features))
        out[..., : self.n_own] = derivatives
        return out


def projection(rows: Array) -> Array:
    """Return the projection on what rows span."""
    _, s, vt = np.linalg.svd(rows, full_matrices=False)
    spanned = vt[s > 1e-10 * s.max(initial=0.0)]
    return np.asarray(spanned.T @ spanned)
