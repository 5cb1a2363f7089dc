"""Greedy selection: the candidate that gains most, again and again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from ._scores import Scores
from ._state import Posterior

# Gains this close to the best, relatively, are ties: the lowest index wins.
_TIE = 1e-12
# Rounding errors up to this share of the objective decide nothing that counts.
_HARMLESS = 1e-11
# So many of the best candidates are looked at again where rounding may have decided, at most.
_CONTENDERS = 256
# A gain that is at least this share of the objective is the difference of two objectives.
_LARGE = 1e-3


@dataclass
class Rules:
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


@dataclass
class Course:
    """How a selection went.

    Attributes
    ----------
    picks : list of int
        Candidates in the order of their choice.
    path : list of float
        The objective before and after every pick.
    gains : list of float
        What every pick added to it.
    """

    picks: list[int] = field(default_factory=list)
    path: list[float] = field(default_factory=list)
    gains: list[float] = field(default_factory=list)


def select(
    posterior: Posterior, scores: Scores, rules: Rules, course: Course, tick: Callable[[], object]
) -> bool:
    """Pick candidates until a rule says stop; tell whether `rules.reached` did.

    Parameters
    ----------
    posterior : Posterior
        Covariances, computed from scratch; it follows the picks.
    scores : Scores
        Gains of the candidates under it.
    rules : Rules
        When to stop; what is chosen is taken out of its `eligible` and `budget`.
    course : Course
        Picks are appended to it.
    tick : callable
        Called after every pick.
    """
    while not rules.reached(posterior, course.path[-1]):
        allowed = rules.eligible & (rules.cost <= rules.budget)
        if len(course.picks) >= rules.n_max or not allowed.any():
            return False
        before = course.path[-1]
        p, gain = _best(posterior, scores, rules.cost, allowed, before)
        _apply(posterior, scores, p)
        spend(rules, p)
        course.picks.append(p)
        course.path.append(scores.value())
        course.gains.append(_gained(scores.sign * (course.path[-1] - before), gain, before))
        tick()
    return True


def spend(rules: Rules, p: int) -> None:
    """Take a pick out of the budget, and out of the pool."""
    rules.budget -= float(rules.cost[p])
    if not rules.replace:
        rules.eligible[p] = False


def lowest_of_best(ranking: np.ndarray, tie: float = _TIE) -> int:
    """Return the lowest index whose ranking is, but for rounding, the largest."""
    largest = ranking.max()
    if not np.isfinite(largest):
        return int(np.argmax(ranking))
    return int(np.argmax(ranking >= largest - tie * abs(largest)))


def _gained(difference: float, gain: float, before: float) -> float:
    """Return the gain from where it has more digits."""
    return difference if abs(difference) > _LARGE * abs(before) else gain


def _best(
    posterior: Posterior, scores: Scores, cost: np.ndarray, allowed: np.ndarray, value: float
) -> tuple[int, float]:
    while True:
        gains = scores.gains()
        ranking = np.where(allowed, gains / cost, -np.inf)
        best = int(np.argmax(ranking))
        harmless = _HARMLESS * scores.size(value + scores.sign * float(gains[best]))
        tie = min(_TIE * abs(ranking[best]), harmless / cost[best])
        p = int(np.argmax(ranking >= ranking[best] - tie))
        if posterior.fresh or not posterior.state.stale(p):
            break
        posterior.refresh()
        scores.started()
    if posterior.state.error > _HARMLESS:
        rivals = _rivals(scores, cost, ranking, best, harmless)
        if len(rivals):
            p = _settled(posterior, scores, cost, p, rivals)
    return p, float(gains[p])


def _rivals(
    scores: Scores, cost: np.ndarray, ranking: np.ndarray, best: int, harmless: float
) -> np.ndarray:
    """Return the candidates between which rounding errors may decide, lowest index first."""
    none = np.empty(0, dtype=np.intp)
    if scores.error(np.array([best]))[0] <= harmless:
        return none
    n = min(_CONTENDERS, int(np.isfinite(ranking).sum()))
    near = np.argpartition(-ranking, n - 1)[:n]
    error = scores.error(near) / cost[near]
    close = ranking[near] + error >= np.max(ranking[near] - error)
    return np.sort(near[close]) if close.sum() > 1 else none


def _settled(
    posterior: Posterior, scores: Scores, cost: np.ndarray, p: int, rivals: np.ndarray
) -> int:
    """Return the best of some candidates by the objective itself instead of gains."""
    rivals = np.union1d(rivals, [p])
    values = scores.exact_values(rivals, posterior)
    if values is None:
        return p
    mine = values[rivals == p][0]
    gain = scores.sign * (mine - scores.value())
    better = scores.sign * (values - mine) / cost[rivals] + gain * (1 / cost[rivals] - 1 / cost[p])
    tie = _TIE * scores.size(mine) / cost[p]
    return int(rivals[np.argmax(better >= better.max() - tie)])


def _apply(posterior: Posterior, scores: Scores, p: int) -> None:
    state = posterior.state
    u, extra = posterior.condition(p)
    scores.picked(p, u, extra)
    state.follow(p, u)
    posterior.picks.append(p)
    if state.dropped():
        posterior.refresh()
        scores.started()
