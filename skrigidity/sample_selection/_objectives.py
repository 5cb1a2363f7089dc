"""What a selection makes large: functions of the variances ``v = 1 / R`` of the targets.

A candidate c with noise ``s2`` (one over its weight), variance ``b`` and covariances ``a_t`` takes
``x_t = a_t**2 / (s2 + b)`` off the variances (paper, appendix B: adding a row). Gains are written
in terms of x, of what remains, ``v - x``, and of v, so that small ones keep their digits. Both
come multiplied by ``total = s2 + b``, which spares divisions.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np


class Objective(ABC):
    """A function of the targets' variances, with weights that add up to 1.

    Attributes
    ----------
    sign : float
        1 if it is to rise, -1 if it is to fall.
    least : float
        Least size to which its errors are compared: logarithms pass through 0.
    linear : bool
        Whether gains need nothing but the reductions.
    """

    sign = 1.0
    least = 0.0
    linear = False

    @abstractmethod
    def value(self, v: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """Return the objective for variances along the last axis."""

    @abstractmethod
    def gain(
        self,
        x: np.ndarray,
        rest: np.ndarray,
        total: np.ndarray,
        v: np.ndarray,
        weight: np.ndarray,
    ) -> np.ndarray:
        """Return its improvement per row of reductions `x`; may overwrite `x` and `rest`."""

    @abstractmethod
    def slope(self, rest: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """Return the size of its derivative by every variance."""


class Mean(Objective):
    """Mean rigidity, the objective of the paper (section 4.1)."""

    def value(self, v: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """Return the mean of 1 / v."""
        return (1 / v) @ weight

    def gain(
        self,
        x: np.ndarray,
        rest: np.ndarray,
        total: np.ndarray,
        v: np.ndarray,
        weight: np.ndarray,
    ) -> np.ndarray:
        """Return the mean of ``1 / rest - 1 / v``."""
        x /= rest
        return x @ (weight / v)

    def slope(self, rest: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """Return weight over the square of the variance."""
        return weight / rest**2


class LogMean(Objective):
    """Mean logarithm of the rigidity."""

    least = 1.0

    def value(self, v: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """Return the mean of ``-log(v)``."""
        return -np.log(v) @ weight

    def gain(
        self,
        x: np.ndarray,
        rest: np.ndarray,
        total: np.ndarray,
        v: np.ndarray,
        weight: np.ndarray,
    ) -> np.ndarray:
        """Return the mean of ``log(v / rest)``."""
        x /= rest
        return np.log1p(x, out=x) @ weight

    def slope(self, rest: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """Return weight over variance."""
        return weight / rest


class Min(Objective):
    """The least rigidity of any target."""

    def value(self, v: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """Return one over the largest variance."""
        return 1 / v.max(axis=-1)

    def gain(
        self,
        x: np.ndarray,
        rest: np.ndarray,
        total: np.ndarray,
        v: np.ndarray,
        weight: np.ndarray,
    ) -> np.ndarray:
        """Return how much it rises."""
        return total / rest.max(axis=-1) - 1 / v.max()

    def slope(self, rest: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """Return 1 / v**2 where v is the largest."""
        largest = rest.max(axis=-1, keepdims=True)
        return np.where(rest == largest, 1 / largest**2, 0.0)


class Variance(Objective):
    """Mean variance, 1 / R: A-optimal on the targets."""

    sign = -1.0
    linear = True

    def value(self, v: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """Return the mean of v."""
        return v @ weight

    def gain(
        self,
        x: np.ndarray,
        rest: np.ndarray,
        total: np.ndarray,
        v: np.ndarray,
        weight: np.ndarray,
    ) -> np.ndarray:
        """Return by how much it falls."""
        return (x @ weight) / total

    def slope(self, rest: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """Return the weights."""
        return np.broadcast_to(weight, rest.shape)


OBJECTIVES: dict[str, Objective] = {
    "mean": Mean(),
    "log_mean": LogMean(),
    "min": Min(),
    "variance": Variance(),
}
