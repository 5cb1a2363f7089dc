"""Models whose energies are linear in features: rows of energies, forces and stress."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import numpy as np

from ..environments import Environments
from ..hessian import LazyRows, Rows
from .base import Gradients, Level
from .components import resolve_components
from .features import are_names

ENERGY, FORCES, STRESS = PROPERTIES = ("energy", "forces", "stress")
# Of so many frames the features of all atoms are in memory at once.
_FRAMES = 64


class DifferentiableFeatures(Protocol):
    """What makes the columns of such a model: features of atoms and their derivatives."""

    n_features: int

    def features(self, frames: Any) -> Environments:
        """Return the features of all atoms."""

    def derivatives(self, frame: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return features (n_atoms, d), and the derivatives of their sum over atoms.

        By positions, of shape (n_atoms, 3, d), and by strain, of shape (6, d).
        """

    def local(self, features: np.ndarray) -> np.ndarray:
        """Return the gradients of atoms' energies for their features."""


class FrameRows(dict[str, np.ndarray]):
    """Rows of one frame by property, and the features of its atoms.

    Energies and strain derivatives are those per atom, forces have a row per component.
    """

    features: np.ndarray


class DerivativeGradients(Gradients):
    """Rows of energies per atom, of force components, and of strain derivatives per atom.

    Every row is divided by the error of its property, so that ``1 / (g.T @ inv(H) @ g)`` counts
    reference calculations of that property. A sample is a frame: its rows are joined by `groups`.

    Parameters
    ----------
    source : DifferentiableFeatures
        Makes the columns.
    errors : dict of str to float
        The error of a reference calculation, by property: "energy", "forces", "stress".
    fitted : sequence of str
        The properties that the model is fitted to.
    components : dict of str to ndarray of int, default=None
        The model's own components.

    Examples
    --------
    >>> import numpy as np
    >>> from skrigidity.environments import Environments
    >>> from skrigidity.gradients import DerivativeGradients
    >>> class Harmonic:
    ...     n_features = 1
    ...
    ...     def features(self, frames):
    ...         return Environments.from_arrays([(r**2).sum(axis=1)[:, None] for r in frames])
    ...
    ...     def derivatives(self, r):
    ...         return self.features([r]).values, 2 * r[:, :, None], np.zeros((6, 1))
    ...
    ...     def local(self, features):
    ...         return features
    >>> errors = {"energy": 0.1, "forces": 1.0, "stress": 1.0}
    >>> g = DerivativeGradients(Harmonic(), errors=errors, fitted=("energy", "forces"))
    >>> r = np.array([[0.0, 0.0, 2.0], [0.0, 0.0, 0.0]])
    >>> g.rows([r]).matrix, g.of_frame(r, ("forces",))["forces"][:3].ravel()
    (array([[20.]]), array([-0., -0., -4.]))
    """

    def __init__(
        self,
        source: DifferentiableFeatures,
        *,
        errors: Mapping[str, float],
        fitted: Any,
        components: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        self.source = source
        self.errors = dict(errors)
        self.fitted = tuple(fitted)
        self.components = {} if components is None else components

    @property
    def n_features(self) -> int:
        """Number of columns."""
        return self.source.n_features

    def rows(self, X: Any, level: Level = "global", component: Any = None) -> Rows:
        """Return the rows of energies per atom, or of the energies of atoms.

        Parameters
        ----------
        X : list of ase.Atoms
            Frames.
        level : {"global", "local"}, default="global"
            Rows of samples, or of their environments.
        component : object, default=None
            What `resolve` gives for one component; None is the whole model.

        Returns
        -------
        Rows
            A row per prediction.
        """
        if level == "local":
            values = self.source.local(self.source.features(X).values)
        else:  # the features of all atoms need not be in memory at once
            parts = [X[start : start + _FRAMES] for start in range(0, len(X), _FRAMES)]
            values = np.vstack([self.source.features(p).aggregate("mean") for p in parts])
        return Rows(values / self.errors[ENERGY], columns=component)

    def resolve(self, components: Any) -> dict[str, np.ndarray]:
        """Return the columns of every component.

        Parameters
        ----------
        components : object
            Components, in any of the ways of `resolve_components`.

        Returns
        -------
        dict of str to ndarray of int
            Columns by the names of the components.
        """
        if components is None:
            return dict(self.components)
        if are_names(components, self.components):
            return {str(name): self.components[str(name)] for name in components}
        return resolve_components(components, self.n_features, None)

    def joined(self, X: Any, sample_weight: np.ndarray | None) -> tuple[Rows, Gradients]:
        """Return frames as weighted rows of all properties that the model is fitted to.

        Parameters
        ----------
        X : list of ase.Atoms
            Frames.
        sample_weight : ndarray of shape (n_samples,) or None
            Weights of the samples; None is 1 for each.

        Returns
        -------
        tuple of Rows and Gradients
            The rows, and the gradients of a model that knows them.
        """
        if self.fitted == (ENERGY,):
            rows = self.rows(X)
            return rows if sample_weight is None else rows.replaced(weight=sample_weight), self
        has = [[p for p in self.fitted if p != STRESS or has_stress(frame)] for frame in X]
        sizes = [sum(n_rows(p, len(f)) for p in ps) for f, ps in zip(X, has, strict=True)]
        weight = np.ones(len(X)) if sample_weight is None else sample_weight

        def blocks() -> Iterator[Rows]:
            for i, (frame, properties) in enumerate(zip(X, has, strict=True)):
                made = self.of_frame(frame, properties)
                scaled = [made[p] / self.errors[p] for p in properties]
                matrix = np.vstack(scaled) if scaled else np.zeros((0, self.n_features))
                groups = np.full(len(matrix), i)
                yield Rows(matrix, weight=weight[i], groups=groups)

        return LazyRows(blocks, sum(sizes), self.n_features), self

    def restricted(self, properties: Any) -> DerivativeGradients:
        """Return the same gradients where frames tell no more than some properties.

        Parameters
        ----------
        properties : str or sequence of str
            Among those that the model is fitted to.

        Returns
        -------
        DerivativeGradients
            The restricted gradients.
        """
        names = (properties,) if isinstance(properties, str) else tuple(properties)
        if not names or set(names) - set(self.fitted):
            raise ValueError(
                f"properties must be among what estimator is fitted to, {self.fitted}, got "
                f"{properties!r}"
            )
        fitted = [name for name in self.fitted if name in names]
        return DerivativeGradients(
            self.source, errors=self.errors, fitted=fitted, components=self.components
        )

    def of_frame(self, frame: Any, properties: Any) -> FrameRows:
        """Return the rows of some properties of one frame, in units of the properties.

        Parameters
        ----------
        frame : ase.Atoms
            The frame.
        properties : sequence of {"energy", "forces", "stress"}
            Which rows to make.

        Returns
        -------
        FrameRows
            The rows.
        """
        out = FrameRows()
        if not {FORCES, STRESS} & set(properties):
            features = self.source.features([frame]).values
        else:
            features, positions, strain = self.source.derivatives(frame)
            out[FORCES] = -positions.reshape(-1, self.n_features)
            out[STRESS] = strain / len(frame)
        out[ENERGY] = features.mean(axis=0, keepdims=True)
        out.features = features
        return out


def n_rows(name: str, n_atoms: int) -> int:
    """Return how many rows a property of a frame has."""
    return {ENERGY: 1, FORCES: 3 * n_atoms, STRESS: 6}[name]


def has_stress(frame: Any) -> bool:
    """Whether a frame has a stress: it is periodic, and its cell has a volume."""
    return bool(np.any(frame.pbc)) and frame.cell.rank == 3
