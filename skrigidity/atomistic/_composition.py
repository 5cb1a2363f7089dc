"""How many atoms of each species: the simplest descriptor."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skrigidity.atomistic._base import FrameDerivatives, FrameDescriptor
from skrigidity.frames import Atoms, symbol


class CompositionDescriptor(FrameDescriptor):
    """Turn ASE frames into counts of their chemical species.

    A linear model on these is one energy per free atom. The rows of environments are 1 in the
    column of the atom's own species; frames have their sums (the numbers of atoms) or means (the
    fractions).

    Parameters
    ----------
    species : list of str or int, default=None
        Symbols or atomic numbers. None stands for those seen in ``fit``.
    output : {"environments", "mean", "sum"}, default="environments"
        A row per environment, or one per frame.
    dtype : {"float64", "float32"}, default="float64"
        Data type of the output.

    Attributes
    ----------
    species_ : ndarray of int
        Atomic numbers, sorted.
    n_features_out_ : int
        Number of columns, one for each species.
    components_ : dict of str to slice
        The column of each species, by its symbol.

    See Also
    --------
    ACEDescriptor : ``composition=True`` puts the same columns before all others.

    Examples
    --------
    >>> from ase.build import molecule
    >>> from skrigidity.atomistic import CompositionDescriptor
    >>> descriptor = CompositionDescriptor(output="sum").set_output(transform="pandas")
    >>> descriptor.fit_transform([molecule("H2O"), molecule("CH3CH2OH")])
         H    C    O
    0  2.0  0.0  1.0
    1  6.0  2.0  1.0
    >>> descriptor.components_["O"]
    slice(2, 3, None)
    """

    def __init__(
        self,
        *,
        species: Iterable[str | int] | None = None,
        output: str = "environments",
        dtype: str = "float64",
    ) -> None:
        self.species = species
        self.output = output
        self.dtype = dtype

    def _prepare(self) -> None:
        self.n_features_out_ = len(self.species_)
        self.components_ = {
            str(name): slice(i, i + 1) for i, name in enumerate(map(symbol, self.species_))
        }

    def _rows(self, frames: list[Atoms]) -> Iterator[tuple[int, NDArray[Any]]]:
        for i, frame in enumerate(frames):
            (rows,) = self._of_frames(self._one_hot(frame), [len(frame)])
            yield i, rows

    def _one_hot(self, frame: Atoms) -> NDArray[np.float64]:
        return (frame.numbers[:, None] == self.species_).astype(np.float64)

    @property
    def receptive_field_(self) -> float:
        """How far away atoms can be that change an atom's features: no other atom does."""
        return 0.0

    def _derivatives(self, frame: Atoms) -> FrameDerivatives:
        d = self.n_features_out_
        return FrameDerivatives(
            self._one_hot(frame), np.zeros((len(frame), 3, d)), np.zeros((6, d))
        )

    def _names(self) -> Iterable[str]:
        return self.components_
