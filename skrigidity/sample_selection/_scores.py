"""The gain of every candidate of one row, in blocks that stay in the cache."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from scipy.linalg.blas import dgemm, dger

from ..hessian import EPS
from ._members import rows_of
from ._objectives import Objective
from ._state import State, Step

_BLOCK_ENTRIES = 2**15


class Scores:
    """Gains of candidates, kept up to date from pick to pick.

    Attributes
    ----------
    state : State
        Present variances.
    sign : float
        1 if the objective is to rise, -1 if it is to fall.
    """

    sign = 1.0
    # What a subclass has: what every candidate would add to the objective, and this; the last one
    # follows a pick, before the variances do.
    gains: Callable[[], np.ndarray]
    value: Callable[[], float]
    picked: Callable[[Step], None]

    def __init__(self, state: State) -> None:
        self.state = state
        self.members: Any = state.members

    def started(self) -> None:
        """Follow a computation from scratch."""

    def stale(self, p: int) -> bool:
        """Tell whether rounding since the start counts against the gain of a candidate."""
        state, rows = self.state, rows_of(self.members, p)
        left = state.noise[rows] + state.b[rows]
        return bool((state.used_up * state.b_start[rows] > left).any())


class TargetScores(Scores):
    """Gains from the covariances of every candidate with every target, ``state.second``.

    Parameters
    ----------
    state : State
        Present variances.
    objective : Objective
        What to improve.
    weight : ndarray of shape (n_targets,)
        Weights of the targets, which add up to 1.
    """

    def __init__(self, state: State, objective: Objective, weight: np.ndarray) -> None:
        super().__init__(state)
        self.objective = objective
        self.weight = weight
        self.sign = objective.sign
        self._pending: tuple[np.ndarray, np.ndarray] | None = None
        self._scratch = np.empty((2, 0, 0))

    def value(self) -> float:
        """Return the objective."""
        return float(self.objective.value(self.state.v, self.weight))

    def started(self) -> None:
        """Follow a computation from scratch."""
        self._pending = None

    def gains(self) -> np.ndarray:
        """Return all gains: one sweep, which also brings the covariances up to date."""
        state = self.state
        total, v = state.noise + state.b, state.v
        out = np.empty(len(total))
        # What is left of targets along a candidate, at least: exact for multiples of it.
        floor = None
        if state.cancels and not self.objective.linear:
            floor = state.noise / np.maximum(state.b, np.finfo(float).tiny)
        for piece in self._blocks():
            A = state.second[piece]
            self._follow(piece, A)
            x, rest = self._scratch[:, : len(A)]
            np.multiply(A, A, out=x)
            if not self.objective.linear:
                np.negative(x, out=rest)
                dger(1.0, v, total[piece], a=rest.T, overwrite_a=1)
            if floor is not None:
                np.maximum(rest, x * floor[piece, None], out=rest)
                np.maximum(rest, np.outer(total[piece], EPS**2 * v), out=rest)
            out[piece] = self.objective.gain(x, rest, total[piece], v, self.weight)
        self._pending = None
        return np.maximum(out, 0.0, out=out)

    def _follow(self, piece: slice, A: np.ndarray) -> None:
        if self._pending is None:
            return
        share, rows = self._pending
        if len(rows) == 1:
            dger(-1.0, rows[0], share[0, piece], a=A.T, overwrite_a=1)
        else:
            dgemm(-1.0, rows.T, share[:, piece], beta=1.0, c=A.T, overwrite_c=1)

    def _blocks(self) -> Iterator[slice]:
        n, n_targets = self.state.second.shape
        step = min(n, max(1, _BLOCK_ENTRIES // max(n_targets, 1)))
        if self._scratch.shape[1:] != (step, n_targets):
            self._scratch = np.empty((2, step, n_targets))
        for start in range(0, n, step):
            yield slice(start, min(start + step, n))

    def picked(self, step: Step) -> None:
        """Follow a pick."""
        assert step.targets is not None
        share = step.u / step.total[:, None]
        if step.own is not None:
            # What is left of its own covariances is a share, not a difference.
            self.state.second[step.own] = step.targets[0] * (step.noise[0] / step.total[0])
            share[0, step.own] = 0.0
        self._pending = (share, step.targets)


class TraceScores(TargetScores):
    """Gains in mean variance from ``second = sum_t w_t a_t**2``, without the covariances.

    A step's `extra` is ``sum_t w_t a_t r_t`` for its rows' covariances r with the targets,
    `extra_b` the same among these.
    """

    def gains(self) -> np.ndarray:
        """Return all gains."""
        return np.maximum(self.state.second, 0.0) / (self.state.noise + self.state.b)

    def started(self) -> None:
        """Follow a computation from scratch."""
        self.start = self.state.second.copy()

    def stale(self, p: int) -> bool:
        """Tell whether rounding since the start counts against the gain of a candidate."""
        return super().stale(p) or self.state.used_up * self.start[p] > self.state.second[p]

    def picked(self, step: Step) -> None:
        """Follow a pick."""
        assert step.extra is not None
        second, share, own = self.state.second, step.u[0] / step.total[0], step.extra_b[0, 0]
        second -= share * (2 * step.extra[0] - share * own)
        if step.own is not None:
            second[step.own] = own * (step.noise[0] / step.total[0]) ** 2


class InformationScores(Scores):
    """Mutual information of candidate and targets, in nats.

    Half the logarithm of ``(noise + b) / (noise + second)``, `second` being the variance of a
    candidate for whom the targets are known exactly (MacKay, Neural Comput. 4, 590 (1992)). A
    step's `extra` and `extra_b` are its rows' covariances and variances in that case.
    """

    def __init__(self, state: State, start: float = 0.0) -> None:
        super().__init__(state)
        self.total = start

    def gains(self) -> np.ndarray:
        """Return all gains."""
        return self._gain(self.state.b, self.state.second, self.state.noise)

    @staticmethod
    def _gain(b: Any, known: Any, noise: Any) -> Any:
        known = np.minimum(known, b)
        return 0.5 * np.log1p((b - known) / (noise + known))

    def value(self) -> float:
        """Return the information that the picks have brought."""
        return self.total

    def picked(self, step: Step) -> None:
        """Follow a pick."""
        assert step.extra is not None
        second, noise, known = self.state.second, step.noise[0], step.extra_b[0]
        self.total += float(self._gain(step.b[0], known, noise))
        second -= step.extra[0] ** 2 / (noise + known)
        np.maximum(second, 0.0, out=second)
        if step.own is not None:
            second[step.own] = noise * known / (noise + known)
