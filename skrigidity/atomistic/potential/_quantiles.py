"""What a training set says of itself: quantiles of its own error bars and rigidities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from skrigidity.atomistic.potential._calibration import Scales
from skrigidity.atomistic.potential._leave_out import LeftRows
from skrigidity.atomistic.potential._rows import TrainingRows
from skrigidity.gradients import ENERGY, PROPERTIES, STRESS, inverse

Array = NDArray[np.float64]
_SHARES = np.linspace(0, 1, 1001)
LOCAL, SUPPORT = "local", "support"
# Results, and what they are made from.
_SOURCES = {
    "energy_std": ENERGY,
    "forces_std": "forces",
    "stress_std": STRESS,
    "energies_std": LOCAL,
    "local_rigidity": LOCAL,
    SUPPORT: SUPPORT,
}


@dataclass(frozen=True)
class TrainingQuantiles:
    """Quantiles from which those of results follow, also after another calibration.

    Attributes
    ----------
    of : dict of str to ndarray
        1001 quantiles of ``g.T @ inv(H) @ g`` of each property and of atoms ("local"), and of
        "support". Of stress, whose unit depends on the frame, all components, and beside them the
        number of atoms per volume.
    """

    of: dict[str, Array]

    @classmethod
    def of_rows(
        cls, left: LeftRows, rows: TrainingRows | None, local: Array, support: Array
    ) -> Self:
        """Take them of the rows of a training set and of its atoms; no stress without frames."""
        values = {name: left.own[left.kind == k] for k, name in enumerate(PROPERTIES)}
        stress = values.pop(STRESS)
        values |= {LOCAL: local, SUPPORT: support}
        found = {name: np.quantile(v, _SHARES) for name, v in values.items() if len(v)}
        if len(stress) and rows is not None:
            frames = [rows.frames[i] for i in left.frame[left.kind == PROPERTIES.index(STRESS)]]
            density = [len(frame) / frame.get_volume() for frame in frames]
            found[STRESS] = np.array([stress, density])
        return cls(found)

    def result(self, name: str, q: float, scales: Scales, energy_error: float) -> float:
        """Return a quantile of a result: see `RigidPotential.training_quantile`."""
        if name not in _SOURCES or not 0 <= q <= 1:
            known = ", ".join(_SOURCES)
            raise ValueError(f"expected one of {known} and a share, got {name!r} and {q!r}")
        source = _SOURCES[name]
        if source not in self.of:
            raise ValueError(f"{name}: not known of this training set; see training_quantile")
        if source == STRESS:
            (quad, density), (scale, noise) = self.of[STRESS], scales.known(STRESS)
            return float(np.quantile(density * np.sqrt(scale * quad + noise), q))
        # Rigidities fall where the quadratic form grows.
        share = 1 - q if name == "local_rigidity" else q
        value = float(np.interp(share, _SHARES, self.of[source]))
        if source == SUPPORT:
            return value
        if name == "local_rigidity":
            return float(energy_error**2 * inverse(np.array(value)))
        scale, noise = scales.known(ENERGY if source == LOCAL else source)
        return float(np.sqrt(scale * value + (0.0 if source == LOCAL else noise)))
