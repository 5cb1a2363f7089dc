"""What a greedy selection knows of candidates and targets at any moment."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..hessian import EPS
from ._members import Members

# Variances lose digits as they fall: when rounding may have brought in this relative error, they
# are computed anew. Of less precise products with the pool, less can be asked in between.
_TOLERATED, _TOLERATED_COARSE = 1e-10, 1e-4
# Share of a variance at which its digits are used up.
USED_UP = EPS / _TOLERATED
# Squares of variances up to this are finite.
_LARGEST = 1e150
# Where rounding errors come this near to the noise, what a pick leaves of a target may cancel.
_CANCELS = 2e-12


@dataclass
class Step:
    """What adding one candidate to the data does, one of its rows after the other.

    Attributes
    ----------
    own : int or None
        Number of the row in the pool, where the candidate is one row of it.
    noise, b : ndarray of shape (k,)
        Noise and variance of every row, given those before.
    u : ndarray of shape (k, n_rows)
        Covariances with all rows of the pool, given those before.
    targets : ndarray of shape (k, n_targets) or None
        Covariances with the targets.
    extra : ndarray of shape (m, n_rows) or None
        What else the scores need to follow, see there.
    extra_b : ndarray or None
        The same of the rows themselves, (k, k) or (m,).
    """

    own: int | None
    noise: np.ndarray
    b: np.ndarray
    u: np.ndarray
    targets: np.ndarray | None = None
    extra: np.ndarray | None = None
    extra_b: Any = None

    @property
    def total(self) -> np.ndarray:
        """Variances of the observed values."""
        return self.noise + self.b


@dataclass
class State:
    """Posterior (co)variances in units of the noise variance of unit weight.

    Attributes
    ----------
    noise : ndarray of shape (n_rows,)
        One over the weight of every row of the pool.
    members : Members or None
        Which rows belong together, where candidates have several.
    b : ndarray of shape (n_rows,)
        Variances of the rows of the pool.
    v : ndarray of shape (n_targets,)
        Variances of the targets.
    second : ndarray, or list of ndarray
        What the scores need besides: covariances with the targets, or sums over these.
    gram : list of ndarray of shape (m, k, k)
        Covariances within candidates of several rows, those of k rows together.
    b_start, v_start : ndarray
        Variances when they were last computed from scratch.
    eps : float
        Relative rounding error, in units of these, of what has happened since.
    """

    noise: np.ndarray
    members: Members | None = None
    b: np.ndarray = field(default_factory=lambda: np.empty(0))
    v: np.ndarray = field(default_factory=lambda: np.empty(0))
    second: Any = None
    gram: list[np.ndarray] = field(default_factory=list)
    b_start: np.ndarray = field(default_factory=lambda: np.empty(0))
    v_start: np.ndarray = field(default_factory=lambda: np.empty(0))
    eps: float = EPS

    def start(self) -> None:
        """Take the present variances as those computed from scratch.

        Raises
        ------
        ValueError
            If they are so large or small that their products are no numbers.
        """
        least = self.v.min(initial=1.0, where=self.v > 0)
        largest = max(self.b.max(initial=0.0), self.v.max(initial=0.0), 1 / least)
        if not largest < _LARGEST:
            raise ValueError(
                "X and X_target must have variances under the model between 1e-150 and 1e150, the "
                "noise being 1: scale their features"
            )
        self.b_start, self.v_start = self.b.copy(), self.v.copy()
        self._largest = float((self.b / self.noise).max())

    def follow(self, step: Step) -> None:
        """Take off all variances what a step does."""
        if step.targets is not None:
            for row, b, noise in zip(step.targets, step.b, step.noise, strict=True):
                x = row**2 / (noise + b)
                # The lower bound is exact for targets that are multiples of the row.
                self.v = np.maximum(self.v - x, x * (noise / b) if b * _LARGEST > noise else 0.0)
        for u, total in zip(step.u, step.total, strict=True):
            self.b -= u * (u / total)
        np.maximum(self.b, 0.0, out=self.b)
        if step.own is not None:
            self.b[step.own] = step.noise[0] * (step.b[0] / step.total[0])

    @property
    def cancels(self) -> bool:
        """Whether what a pick leaves of a target may have lost digits."""
        return self._largest * self.eps > _CANCELS

    @property
    def used_up(self) -> float:
        """Share of a variance at which its digits are used up."""
        return max(USED_UP, self.eps / _TOLERATED_COARSE)

    def dropped(self) -> bool:
        """Tell whether any target's variance has fallen so far that its digits are used up."""
        return bool((self.used_up * self.v_start > 2 * self.v).any())


class Posterior:
    """Covariances under the training data and all picks.

    Parameters
    ----------
    state : State
        Present variances, yet to be computed.
    targets : list or None
        Predictions to be pinned, as the model gives them; None for the pool itself.
    target_weight : ndarray of shape (n_targets,)
        Weights of the targets.
    kind : {"targets", "trace", "information"}
        Which ``state.second`` is wanted.
    picks : list of int
        Candidates chosen so far.

    Attributes
    ----------
    kept : ndarray of bool of shape (n_targets,)
        Targets whose prediction can move, known after the first `refresh`.
    weight : ndarray
        Weights that go with ``state.v``, which add up to 1.
    """

    kept: np.ndarray
    weight: np.ndarray
    # What a subclass has: all variances from scratch; a candidate added to the data, and what
    # that does to everything before; whether nothing is gained by a computation from scratch.
    refresh: Callable[[], None]
    step: Callable[[int], Step]
    fresh: bool

    def __init__(
        self, state: State, targets: Any, target_weight: np.ndarray, kind: str, picks: list[int]
    ) -> None:
        self.state = state
        self.picks = list(picks)
        self._targets = targets
        self._target_weight = target_weight
        self._kind = kind

    def _keep(self, v: np.ndarray) -> None:
        """Leave out targets that cannot move: they have R = inf, whatever is added."""
        if not hasattr(self, "kept"):
            self.kept = v > 0
        if not self.kept.any():
            raise ValueError("X_target has no prediction that can move: all have R = inf")

    def _set_weight(self) -> None:
        kept = self._target_weight[self.kept]
        self.weight = kept / kept.sum()
