"""Descriptors as options name them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from skrigidity.cli._common import InputError

if TYPE_CHECKING:
    from ase import Atoms

KINDS = ("self-interacting", "purified")


@dataclass(frozen=True)
class DescriptorOptions:
    """What a user has said of the descriptor; None where nothing.

    Attributes
    ----------
    name : {"ace", "soap"} or None
    cutoff : float or None
        In Å.
    degree : list of float or None
        Largest total degrees of ACE; radial and angular index of SOAP.
    kind : {"self-interacting", "purified"} or None
    """

    name: str | None = None
    cutoff: float | None = None
    degree: list[float] | None = None
    kind: str | None = None

    @classmethod
    def parse(
        cls, name: str | None, cutoff: float | None, degree: str | None, kind: str | None
    ) -> DescriptorOptions:
        """Check the options, or raise InputError."""
        if name not in ("ace", "soap", None):
            raise InputError(f"--descriptor: expected ace or soap, got {name}")
        if kind is not None and kind not in KINDS:
            raise InputError(f"--kind: expected {' or '.join(KINDS)}, got {kind}")
        if kind is not None and name == "soap":
            raise InputError("--kind: SOAP has none")
        if cutoff is not None and not cutoff > 0:
            raise InputError(f"--cutoff: expected a positive number, got {cutoff}")
        try:
            degrees = None if degree is None else [float(n) for n in degree.split(",")]
        except ValueError:
            raise InputError(f"--degree: expected numbers as in 20,16,12, got {degree}") from None
        if name == "soap" and degrees is not None and len(degrees) != 2:
            raise InputError(f"--degree: expected two numbers for SOAP, as in 8,6, got {degree}")
        return cls(name, cutoff, degrees, kind)

    @property
    def given(self) -> bool:
        """Whether anything was said."""
        return self != DescriptorOptions()

    def make(self, frames: list[Atoms], species: NDArray[np.int64]) -> Any:
        """Return a descriptor of species: but for what was said the usual one for some frames."""
        from skrigidity.atomistic import FeatomicDescriptor, default_descriptor

        usual = default_descriptor(frames, species)
        if self.name != "soap":
            given = {"cutoff": self.cutoff, "max_degree": self.degree, "kind": self.kind}
            return usual.set_params(**{name: value for name, value in given.items() if value})
        radial, angular = map(int, self.degree or (8, 6))
        return FeatomicDescriptor(
            cutoff=self.cutoff or usual.cutoff,
            max_radial=radial,
            max_angular=angular,
            center_types="blocks",
        )
