"""What a greedy selection knows of candidates and targets at any moment."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import numpy as np

from ..hessian._factor import EPS

# Variances lose digits as they fall: when rounding may have brought in this relative error, they
# are computed anew. Of less precise products with the pool, less can be asked in between.
_TOLERATED, _TOLERATED_COARSE = 1e-10, 1e-4
# Errors of a few roundings, in units of eps and of the variances before.
ROUNDINGS = 16.0
# Where rounding errors come this near to the noise, what a pick leaves of a target may cancel.
_CANCELS = 2e-12


@dataclass
class State:
    """Posterior (co)variances in units of the noise variance of unit weight.

    Attributes
    ----------
    noise : ndarray of shape (n_candidates,)
        One over the weight of every candidate, inf for weight 0.
    b : ndarray of shape (n_candidates,)
        Variances of the candidates.
    v : ndarray of shape (n_targets,)
        Variances of the targets.
    second : ndarray
        What the scores need besides: covariances with the targets, or sums over these.
    b_start, v_start : ndarray
        Variances when they were last computed from scratch.
    eps : float
        Relative rounding error, in units of these, of what has happened since.
    """

    noise: np.ndarray
    b: np.ndarray = field(default_factory=lambda: np.empty(0))
    v: np.ndarray = field(default_factory=lambda: np.empty(0))
    second: np.ndarray = field(default_factory=lambda: np.empty(0))
    b_start: np.ndarray = field(default_factory=lambda: np.empty(0))
    v_start: np.ndarray = field(default_factory=lambda: np.empty(0))
    eps: float = EPS
    _largest: float = 0.0

    def start(self) -> None:
        """Take the present variances as those computed from scratch."""
        self.b_start, self.v_start = self.b.copy(), self.v.copy()
        self._largest = float((self.b / self.noise).max())

    def follow(self, p: int, u: np.ndarray) -> None:
        """Take off the variances of the candidates what candidate p, with covariances u, does."""
        noise, b = self.noise[p], self.b[p]
        self.b -= u * (u / (noise + b))
        np.maximum(self.b, 0.0, out=self.b)
        self.b[p] = noise * (b / (noise + b))

    @property
    def cancels(self) -> bool:
        """Whether what a pick leaves of a target may have lost digits."""
        return self._largest * self.eps > _CANCELS

    @property
    def error(self) -> float:
        """Bound of the relative errors that rounding has brought into what any pick leaves."""
        least = np.maximum(self.v, EPS**2 * self.v_start + np.finfo(float).tiny)
        fallen = float((self.v_start / least).max())
        return 4 * ROUNDINGS * self.eps * fallen * (1 + self._largest)

    @property
    def _used_up(self) -> float:
        return max(EPS / _TOLERATED, self.eps / _TOLERATED_COARSE)

    def dropped(self) -> bool:
        """Tell whether any variance has fallen so far that its digits are used up."""
        return bool((self._used_up * self.v_start > 2 * self.v).any())

    def stale(self, p: int) -> bool:
        """Tell whether rounding since the start counts against the variance of a candidate."""
        return bool(self._used_up * self.b_start[p] > self.noise[p] + self.b[p])


class Posterior(ABC):
    """Covariances under the training data and all picks.

    Attributes
    ----------
    state : State
        Present variances.
    picks : list of int
        Candidates chosen so far.
    kept : ndarray of bool of shape (n_targets,)
        Targets whose prediction can move, known after the first `refresh`.
    weight : ndarray
        Weights that go with ``state.v``, which add up to 1.
    """

    state: State
    picks: list[int]
    kept: np.ndarray
    weight: np.ndarray

    @abstractmethod
    def refresh(self) -> None:
        """Compute all variances from scratch."""

    @abstractmethod
    def condition(self, p: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Add candidate p to the data.

        Returns
        -------
        u : ndarray of shape (n_candidates,)
            Its covariances with all candidates before.
        extra : ndarray of shape (n_candidates,) or None
            What else the scores need to follow.
        """

    @property
    @abstractmethod
    def fresh(self) -> bool:
        """Whether nothing has happened since the last computation from scratch."""

    def vectors(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        """Return some candidates and all targets as vectors whose products are covariances.

        The squares of the targets add up to the variances that ``state.second`` is about. None
        where there are no such vectors.
        """
        return None
