"""What a selection makes large: functions of the variances ``v = 1 / R`` of the targets.

A candidate c with noise ``s2`` (one over its weight), variance ``b`` and covariances ``a_t`` takes
``x_t = a_t**2 / (s2 + b)`` off the variances (paper, appendix B: adding a row). Gains are written
in terms of x, of what remains, ``v - x``, and of v, so that small ones keep their digits. Both
come multiplied by ``total = s2 + b``, which spares divisions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Array = np.ndarray
Gain = Callable[[Array, Array, Array, Array, Array], Array]


@dataclass(frozen=True)
class Objective:
    """A function of the targets' variances, with weights that add up to 1.

    Attributes
    ----------
    value : callable
        The objective from variances along the last axis, and weights.
    gain : callable
        Its improvement per row of reductions, from reductions and what remains, both times the
        third argument, from variances and weights; may overwrite the first two.
    sign : float
        1 if it is to rise, -1 if it is to fall.
    linear : bool
        Whether gains need nothing but the reductions.
    """

    value: Callable[[Array, Array], Array]
    gain: Gain
    sign: float = 1.0
    linear: bool = False


def _mean_gain(x: Array, rest: Array, total: Array, v: Array, weight: Array) -> Array:
    x /= rest
    return x @ (weight / v)


def _log_mean_gain(x: Array, rest: Array, total: Array, v: Array, weight: Array) -> Array:
    x /= rest
    return np.log1p(x, out=x) @ weight


def _min_gain(x: Array, rest: Array, total: Array, v: Array, weight: Array) -> Array:
    return total / rest.max(axis=-1) - 1 / v.max()


def _variance_gain(x: Array, rest: Array, total: Array, v: Array, weight: Array) -> Array:
    return (x @ weight) / total


OBJECTIVES: dict[str, Objective] = {
    # The objective of the paper (section 4.1).
    "mean": Objective(lambda v, weight: (1 / v) @ weight, _mean_gain),
    "log_mean": Objective(lambda v, weight: -np.log(v) @ weight, _log_mean_gain),
    "min": Objective(lambda v, weight: 1 / v.max(axis=-1), _min_gain),
    # A-optimal on the targets.
    "variance": Objective(lambda v, weight: v @ weight, _variance_gain, -1.0, True),
}
