"""Greedy selection: the candidate that gains most, again and again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from ..hessian import EPS
from ._scores import Scores
from ._state import Posterior

# Gains that agree to this share of the largest are ties: the lowest index wins. Where the objective
# falls, to this share of what is left of it, as far as rounding allows.
TIE, ROUNDING = 1e-10, 64 * EPS
# A gain that is at least this share of the objective is the difference of two objectives.
_LARGE = 1e-3


@dataclass
class StoppingRules:
    """What may be chosen, and when to stop.

    Attributes
    ----------
    eligible : ndarray of bool of shape (n_candidates,)
        Candidates that may be chosen.
    n_max : int
        Largest number of picks.
    cost : ndarray of shape (n_candidates,)
        Gains are compared per cost.
    budget : float
        Largest total cost.
    replace : bool
        Whether a candidate may be chosen again.
    reached : callable
        Tells from the posterior and the objective whether to stop.
    """

    eligible: np.ndarray
    n_max: int
    cost: np.ndarray
    budget: float
    replace: bool
    reached: Callable[[Posterior, float], bool]

    @property
    def allowed(self) -> np.ndarray:
        """Candidates that may be chosen next."""
        return self.eligible & (self.cost <= self.budget)

    def spend(self, p: int) -> None:
        """Take a pick out of the budget, and out of the pool."""
        self.budget -= float(self.cost[p])
        if not self.replace:
            self.eligible[p] = False


@dataclass
class SelectionPath:
    """How a selection went.

    Attributes
    ----------
    picks : list of int
        Candidates in the order of their choice.
    objective : list of float
        The objective before and after every pick.
    gains : list of float
        What every pick added to it.
    """

    picks: list[int] = field(default_factory=list)
    objective: list[float] = field(default_factory=list)
    gains: list[float] = field(default_factory=list)

    def add(self, p: int, value: float, gain: float, sign: float) -> None:
        """Append a pick, the objective after it, and what it gains: `gain` where digits cancel."""
        before = self.objective[-1]
        difference = sign * (value - before)
        self.picks.append(p)
        self.objective.append(value)
        self.gains.append(difference if abs(difference) > _LARGE * abs(before) else gain)


def select(
    posterior: Posterior,
    scores: Scores,
    rules: StoppingRules,
    path: SelectionPath,
    tick: Callable[[], object],
) -> bool:
    """Pick candidates until a rule says stop; tell whether `rules.reached` did.

    Parameters
    ----------
    posterior : Posterior
        Covariances, computed from scratch; it follows the picks.
    scores : Scores
        Gains of the candidates under it.
    rules : StoppingRules
        When to stop; what is chosen is taken out of its `eligible` and `budget`.
    path : SelectionPath
        Picks are appended to it.
    tick : callable
        Called after every pick.
    """
    while not rules.reached(posterior, path.objective[-1]):
        allowed = rules.allowed
        if len(path.picks) >= rules.n_max or not allowed.any():
            return False
        p, gain = _best(posterior, scores, rules.cost, allowed)
        _take(p, posterior, scores)
        if posterior.state.dropped():
            posterior.refresh()
            scores.started()
        rules.spend(p)
        path.add(p, scores.value(), gain, scores.sign)
        tick()
    return True


def _take(p: int, posterior: Posterior, scores: Scores) -> None:
    """Add a candidate; what that takes of memory does not outlast it."""
    step = posterior.step(p)
    scores.picked(step)
    posterior.state.follow(step)
    posterior.picks.append(p)


def lowest_of_best(ranking: np.ndarray, left: float = np.inf) -> int:
    """Return the lowest index whose ranking is, but for rounding, the largest.

    Parameters
    ----------
    ranking : ndarray of shape (n_candidates,)
        Gains per cost; -inf for what may not be chosen.
    left : float
        What the best one leaves of an objective that is to fall, per cost.
    """
    largest = ranking.max()
    if not np.isfinite(largest):
        return int(np.argmax(ranking))
    size = abs(largest)
    return int(np.argmax(ranking >= largest - (TIE * min(size, left) + ROUNDING * size)))


def _best(
    posterior: Posterior, scores: Scores, cost: np.ndarray, allowed: np.ndarray
) -> tuple[int, float]:
    while True:
        gains = scores.gains()
        ranking = np.where(allowed, gains / cost, -np.inf)
        best = int(np.argmax(ranking))
        left = abs(scores.value() - gains[best]) if scores.sign < 0 else np.inf
        p = lowest_of_best(ranking, left / cost[best])
        if posterior.fresh or not scores.stale(p):
            return p, float(gains[p])
        posterior.refresh()
        scores.started()
