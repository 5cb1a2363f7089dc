"""What an observer looks at, and how much of it is too much."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Quantity:
    """The extreme value of an uncertainty of a structure.

    ``name`` is that of the column and of the threshold, ``uncertainty`` what to ask a calculator
    for, ``key`` the result.
    """

    name: str
    uncertainty: str
    key: str
    per_atom: bool = True
    least: bool = False

    @property
    def columns(self) -> tuple[str, ...]:
        """Give the columns of the log."""
        return (self.name, f"{self.name}_atom") if self.per_atom else (self.name,)

    def extreme(self, values: Any) -> dict[str, float | int]:
        """Give the largest or least value, and which atom it belongs to; NaN before all."""
        if not self.per_atom:
            return {self.name: float(np.max(values))}
        rows = np.asarray(values, dtype=np.float64).reshape(len(values), -1)
        rows = rows.min(axis=1) if self.least else rows.max(axis=1)
        atom = int(rows.argmin() if self.least else rows.argmax())
        return {self.name: float(rows[atom]), f"{self.name}_atom": atom}


QUANTITIES = (
    Quantity("energy_std", "energy", "energy_std", per_atom=False),
    Quantity("force_std", "forces", "forces_std"),
    Quantity("local_std", "local", "energies_std"),
    Quantity("min_rigidity", "local", "local_rigidity", least=True),
    Quantity("min_support", "local", "support", least=True),
    Quantity("stress_std", "stress", "stress_std", per_atom=False),
)


class Thresholds:
    """Thresholds in their units, from numbers, quantiles of a training set, and multiples."""

    def __init__(
        self, given: Mapping[str, float | str | None], calculator: Any, n_atoms: int
    ) -> None:
        self._quantities = [q for q in QUANTITIES if given.get(q.name) is not None]
        self.uncertainties = [q.uncertainty for q in self._quantities]
        self.limits: dict[str, float] = {}
        for quantity in self._quantities:
            limit = _limit(quantity, given[quantity.name], calculator)
            if isinstance(given[quantity.name], str) and quantity.name == "energy_std":
                limit *= n_atoms
            self.limits[quantity.name] = limit

    def passed(self, row: Mapping[str, Any]) -> list[str]:
        """Give the names of the thresholds that are passed; what is no number passes any."""
        return [q.name for q in self._quantities if not self._within(q, row[q.name])]

    def _within(self, quantity: Quantity, value: float | None) -> bool:
        limit = self.limits[quantity.name]
        if value is None:
            raise ValueError(f"{quantity.name}: the model gives no {quantity.key}")
        return value >= limit if quantity.least else value <= limit


def _limit(quantity: Quantity, given: Any, calculator: Any) -> float:
    if isinstance(given, str):
        training_quantile = getattr(getattr(calculator, "model", None), "training_quantile", None)
        if training_quantile is None:
            raise ValueError(
                f"{quantity.name}={given!r}: the model has no training_quantile; give a number"
            )
        if given.strip().endswith("x"):
            most = float(training_quantile(quantity.key, 0.0 if quantity.least else 1.0))
            times = _times(quantity.name, given)
            return most / times if quantity.least else most * times
        return float(training_quantile(quantity.key, _fraction(quantity.name, given)))
    limit = float(given)
    if not limit > 0.0:
        raise ValueError(f"{quantity.name}: expected a positive number, got {given!r}")
    return limit


def _times(name: str, given: str) -> float:
    try:
        times = float(given.strip().removesuffix("x"))
    except ValueError:
        times = -1.0
    if not 0.0 < times < np.inf:
        raise ValueError(f'{name}: expected so many times the most, such as "1.5x", got {given!r}')
    return times


def _fraction(name: str, given: str) -> float:
    try:
        fraction = float(given.strip().removesuffix("%")) / 100.0
    except ValueError:
        fraction = -1.0
    if not given.strip().endswith("%") or not 0.0 <= fraction <= 1.0:
        raise ValueError(f'{name}: expected a number or a quantile such as "99%", got {given!r}')
    return fraction
