"""The gain of every candidate, in blocks that stay in the cache."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy.linalg.blas import dger

from ..hessian._factor import EPS
from ._objectives import Objective
from ._state import ROUNDINGS, Posterior, State

_BLOCK_ENTRIES = 2**15
_TINY = float(np.finfo(float).tiny)
# Stands for an infinite noise where products with it are wanted.
_LARGE = 1e150


class Scores(ABC):
    """Gains of candidates, kept up to date from pick to pick.

    Attributes
    ----------
    state : State
        Present variances.
    sign : float
        1 if the objective is to rise, -1 if it is to fall.
    least : float
        Least size of the objective that its errors are compared to.
    """

    sign = 1.0
    least = 0.0

    def __init__(self, state: State) -> None:
        self.state = state

    @abstractmethod
    def gains(self) -> np.ndarray:
        """Return what every candidate would add to the objective."""

    @abstractmethod
    def value(self) -> float:
        """Return the objective."""

    @abstractmethod
    def error(self, indices: np.ndarray) -> np.ndarray:
        """Estimate the rounding errors of some gains."""

    @abstractmethod
    def picked(self, p: int, u: np.ndarray, extra: np.ndarray | None) -> None:
        """Follow a pick, before the variances of the candidates do."""

    def started(self) -> None:  # noqa: B027  (most keep nothing)
        """Follow a computation from scratch."""

    def exact_values(self, indices: np.ndarray, posterior: Posterior) -> np.ndarray | None:
        """Return the objective after some candidates.

        None where that has no more digits than the gains.
        """
        return None

    def size(self, value: float) -> float:
        """Return what errors of the objective are compared to."""
        return max(abs(value), self.least, _TINY)


class ObjectiveScores(Scores):
    """Scores of a function of the targets' variances.

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
        self.sign, self.least = objective.sign, objective.least

    def value(self) -> float:
        """Return the objective."""
        return float(self.objective.value(self.state.v, self.weight))


class TargetScores(ObjectiveScores):
    """Gains from the covariances of every candidate with every target, ``state.second``."""

    def __init__(self, state: State, objective: Objective, weight: np.ndarray) -> None:
        super().__init__(state, objective, weight)
        self._pending: tuple[np.ndarray, np.ndarray] | None = None
        self._scratch = np.empty((2, 0, 0))

    def started(self) -> None:
        """Follow a computation from scratch."""
        self._pending = None

    def gains(self) -> np.ndarray:
        """Return all gains: one sweep, which also brings the covariances up to date."""
        state = self.state
        out = np.empty(len(state.b))
        total = np.minimum(state.noise + state.b, _LARGE)
        floor = self._floor() if state.cancels and not self.objective.linear else None
        for piece in self._blocks():
            A = state.second[piece]
            self._follow(piece, A)
            x, rest = self._scratch[:, : len(A)]
            np.multiply(A, A, out=x)
            if not self.objective.linear:
                np.negative(x, out=rest)
                dger(1.0, state.v, total[piece], a=rest.T, overwrite_a=1)
            if floor is not None:
                np.maximum(rest, x * floor[piece, None], out=rest)
                np.maximum(rest, np.outer(total[piece], EPS**2 * state.v), out=rest)
            out[piece] = self.objective.gain(x, rest, total[piece], state.v, self.weight)
        self._pending = None
        return np.maximum(out, 0.0, out=out)

    def _floor(self) -> np.ndarray:
        """Return what is left at least, in units of what goes: exact for what is aligned."""
        b, noise = self.state.b, self.state.noise
        out = np.zeros(len(b))
        np.divide(noise, b, out=out, where=(b > 0) & np.isfinite(noise))
        return out

    def _follow(self, piece: slice, A: np.ndarray) -> None:
        if self._pending is not None:
            step, row = self._pending
            dger(-1.0, row, step[piece], a=A.T, overwrite_a=1)

    def _blocks(self) -> Iterator[slice]:
        n, n_targets = self.state.second.shape
        step = min(n, max(1, _BLOCK_ENTRIES // max(n_targets, 1)))
        if self._scratch.shape[1:] != (step, n_targets):
            self._scratch = np.empty((2, step, n_targets))
        for start in range(0, n, step):
            yield slice(start, min(start + step, n))

    def error(self, indices: np.ndarray) -> np.ndarray:
        """Estimate the rounding errors of some gains."""
        state = self.state
        A, b_start = np.abs(state.second[indices]), state.b_start[indices, None]
        total = (state.noise + state.b)[indices, None]
        x = A**2 / total
        error = 2 * A * np.sqrt(b_start * state.v_start) / total
        error += x * (b_start / total + state.v_start / state.v)
        error *= ROUNDINGS * state.eps
        # Where nothing is certain, as little may be left as is possible at all.
        rest = np.maximum(state.v - x - error, x * self._floor()[indices, None])
        rest = np.maximum(rest, EPS**2 * state.v)
        return (self.objective.slope(rest, self.weight) * error).sum(axis=1)

    def picked(self, p: int, u: np.ndarray, extra: np.ndarray | None) -> None:
        """Follow a pick."""
        state = self.state
        row, b, noise = state.second[p].copy(), state.b[p], state.noise[p]
        total = noise + b
        x = row**2 / total
        # The lower bound is exact for targets that are multiples of the pick.
        state.v = np.maximum(state.v - x, x * (noise / b) if b else 0.0)
        step = u / total
        # What is left of its own covariances is a share, not a difference.
        state.second[p] = row * (noise / total)
        step[p] = 0.0
        self._pending = (step, row)

    def exact_values(self, indices: np.ndarray, posterior: Posterior) -> np.ndarray | None:
        """Return the objective after some candidates."""
        vectors = posterior.vectors(indices)
        if vectors is None:
            return None
        left = _left_over(*vectors, self.state.noise[indices])
        return self.objective.value(left, self.weight)


class TraceScores(ObjectiveScores):
    """Gains in mean variance from ``second = sum_t w_t a_t**2``, without the covariances."""

    def gains(self) -> np.ndarray:
        """Return all gains."""
        return np.maximum(self.state.second, 0.0) / (self.state.noise + self.state.b)

    def error(self, indices: np.ndarray) -> np.ndarray:
        """Estimate the rounding errors of some gains."""
        state = self.state
        b, b_start, noise = (x[indices] for x in (state.b, state.b_start, state.noise))
        updated = b_start / (noise + b_start)
        return ROUNDINGS * state.eps * updated * self.start[indices] / (noise + b)

    def started(self) -> None:
        """Follow a computation from scratch."""
        self.start = self.state.second.copy()

    def picked(self, p: int, u: np.ndarray, extra: np.ndarray | None) -> None:
        """Follow a pick; `extra` is ``sum_t w_t a_t a_t[p]``."""
        assert extra is not None
        second, step = self.state.second, u / (self.state.noise[p] + self.state.b[p])
        left = self.state.noise[p] / (self.state.noise[p] + self.state.b[p])
        own = second[p]
        second -= step * (2 * extra - step * own)
        second[p] = own * left**2

    def exact_values(self, indices: np.ndarray, posterior: Posterior) -> np.ndarray | None:
        """Return the objective after some candidates."""
        vectors = posterior.vectors(indices)
        if vectors is None:
            return None
        return _left_over(*vectors, self.state.noise[indices]).sum(axis=1)


class InformationScores(Scores):
    """Mutual information of candidate and targets, in nats.

    Half the logarithm of ``(noise + b) / (noise + second)``, `second` being the variance of a
    candidate for whom the targets are known exactly (MacKay, Neural Comput. 4, 590 (1992)).
    """

    least = 1.0

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

    def error(self, indices: np.ndarray) -> np.ndarray:
        """Estimate the rounding errors of some gains."""
        state = self.state
        error = ROUNDINGS * state.eps * state.b_start[indices]
        known = np.maximum(state.second[indices] - error, 0.0)
        return error / (state.noise[indices] + known)

    def picked(self, p: int, u: np.ndarray, extra: np.ndarray | None) -> None:
        """Follow a pick; `extra` are covariances for known targets."""
        assert extra is not None
        second, noise, b = self.state.second, self.state.noise[p], self.state.b[p]
        own = second[p]
        self.total += float(self._gain(b, own, noise))
        second -= extra**2 / (noise + own)
        np.maximum(second, 0.0, out=second)
        second[p] = noise * own / (noise + own)


def _left_over(candidates: np.ndarray, targets: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Return the variances of targets after each candidate, as sums of squares.

    What is orthogonal to the candidate stays, ``noise / (noise + b)`` of the rest is left.
    """
    out = np.empty((len(candidates), len(targets)))
    for z, s2, left in zip(candidates, noise, out, strict=True):
        b = z @ z
        along = targets @ z / (b or 1.0)
        apart = targets - np.outer(along, z)
        left[:] = np.einsum("ij,ij->i", apart, apart) + along**2 * b * (s2 / (s2 + b))
    return out
