"""All that an atom's features depend on, and what they are."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from skrigidity.atomistic._base import FrameTransformer
from skrigidity.atomistic._frames import as_system
from skrigidity.frames import Atoms, check_frames, digest, require

Array = NDArray[np.float64]
# Features must not change by more than this, relative to the largest of them.
TOLERANCE = 1e-12
# Å, beside the cutoff: whether an atom is inside must not depend on rounding.
MARGIN = 1e-6


@dataclass(frozen=True)
class Environment:
    """An atom of a frame, and all atoms within a radius that are to be held as they are.

    Attributes
    ----------
    descriptor : descriptor
        Makes features of rows of atoms.
    radius : float
        Everything within it is held.
    numbers : ndarray of int of shape (n_held,)
        Atomic numbers; those of the atom itself come first.
    vectors : ndarray of shape (n_held, 3)
        From the atom to each.
    index : ndarray of int of shape (n_held,)
        Which atom of the frame each is, or is an image of.
    features : ndarray of shape (n_features,)
        Features of the atom in its frame.
    frame, atom : ase.Atoms and int
        Where it comes from.
    """

    descriptor: Any
    radius: float
    numbers: NDArray[np.int64]
    vectors: Array
    index: NDArray[np.intp]
    features: Array
    frame: Atoms
    atom: int

    @classmethod
    def of(cls, model: Any, frame: Any, atom: int, radius: float | None) -> Self:
        """Take an atom's environment from a frame.

        Parameters
        ----------
        model : fitted estimator or descriptor
        frame : ase.Atoms
        atom : int
        radius : float or None
            None: as far as the features see.

        Raises
        ------
        ValueError
            If the features have no finite receptive field, or the radius is less.
        """
        (frame,) = check_frames([frame], "frame")
        if not 0 <= atom < len(frame):
            raise ValueError(f"atom must be one of 0 to {len(frame) - 1}, got {atom}")
        descriptor = descriptor_of(model)
        field = _receptive_field(descriptor)
        radius = field if radius is None else float(radius)
        if radius < field:
            raise ValueError(f"radius must be at least the receptive field, {field:g} Å")
        index, vectors = surroundings(frame, atom, radius + MARGIN)
        # Twice as far, so that more is in it than what is held; the frame itself may be large.
        wide, around = surroundings(frame, atom, 2 * field)
        before = require("ase").Atoms(frame.numbers[wide], around)
        features = descriptor.transform([before]).values[0]
        numbers = frame.numbers[index]
        return cls(descriptor, radius, numbers, vectors, index, features, frame, int(atom))

    def check(self, embedded: Atoms) -> None:
        """Raise a RuntimeError if the features of the first atom are not what they were."""
        features = self.descriptor.transform([embedded]).values[0]
        allowed = max(TOLERANCE, 4 * float(np.finfo(features.dtype).eps))
        error = np.abs(features - self.features).max() / max(np.abs(self.features).max(), 1e-300)
        if error > allowed:
            raise RuntimeError(
                f"features of atom {self.atom} have changed by {error:.1e} of the largest: "
                "they depend on more than its surroundings inside the receptive field"
            )

    def provenance(self) -> dict[str, Any]:
        """Say which atom of which frame this is."""
        return {
            "source_atom": self.atom,
            "source_n_atoms": len(self.frame),
            "source_digest": digest(self.frame).hex(),
        }


def surroundings(frame: Atoms, atom: int, reach: float) -> tuple[NDArray[np.intp], Array]:
    """Return all atoms and images within a distance of an atom, from near to far.

    Returns
    -------
    index : ndarray of int of shape (n,)
        Which atom each is; the atom itself comes first.
    vectors : ndarray of shape (n, 3)
        From the atom to each.
    """
    system = as_system(frame, reach, "frame")
    vectors = system.positions - system.positions[atom]
    shifts = np.zeros((1, 3))
    if system.pbc.any():
        cell = system.cell.array
        inverse = np.linalg.inv(cell)
        vectors = vectors - np.round(vectors @ inverse) @ cell
        # Cell heights are the inverse lengths of the reciprocal vectors.
        most = np.floor(reach * np.linalg.norm(inverse, axis=0) + 0.5).astype(int)
        shifts = np.array(list(product(*(range(-n, n + 1) for n in most)))) @ cell
    found = []
    for shift in shifts:
        moved = vectors + shift
        near = np.flatnonzero(np.einsum("ij,ij->i", moved, moved) <= reach**2)
        found.append((near, moved[near]))
    index = np.concatenate([near for near, _ in found])
    every = np.concatenate([moved for _, moved in found])
    order = np.argsort(np.linalg.norm(every, axis=1), kind="stable")
    return index[order], every[order]


def descriptor_of(model: Any) -> Any:
    """Return the fitted descriptor that a model, or a pipeline, begins with."""
    name = type(model).__name__
    if hasattr(model, "adapter_"):
        raise ValueError(_network_message(model))
    while not isinstance(model, FrameTransformer):
        if isinstance(model, Pipeline):
            model = model.steps[0][1]
        elif isinstance(model, FrozenEstimator):
            model = model.estimator
        else:
            names = ("descriptor_", "best_estimator_", "regressor_", "estimator_")
            inner = [getattr(model, name) for name in names if hasattr(model, name)]
            if not inner:
                raise TypeError(
                    "model must be a fitted potential, a pipeline that begins with a descriptor "
                    f"of this package, or such a descriptor, got {name}"
                )
            model = inner[0]
    check_is_fitted(model, "components_")
    if getattr(model, "output", None) in ("mean", "sum"):
        raise ValueError("the descriptor must have output='environments', a row for each atom")
    return model


def _receptive_field(descriptor: Any) -> float:
    field = float(descriptor.receptive_field_)
    name = type(descriptor).__name__
    if not np.isfinite(field):
        raise ValueError(
            f"the receptive field of {name} is infinite (long-range features such as LODE, or a "
            "calculator without cutoffs): an environment can be held only where features are "
            "strictly local"
        )
    if field == 0:
        raise ValueError(f"the receptive field of {name} is 0: there is nothing to be held")
    return field


def _network_message(model: Any) -> str:
    network = getattr(model, "model", model)
    cutoff, layers = getattr(network, "r_max", None), getattr(network, "num_interactions", None)
    field = "its cutoff times the number of its layers"
    if cutoff is not None and layers is not None:
        field = f"{int(layers)} layers of {float(cutoff):g} Å, {int(layers) * float(cutoff):g} Å"
    return (
        f"the receptive field of a network that passes messages is {field}: what it knows of an "
        "atom is not held by a small structure; embed under a strictly local descriptor"
    )
