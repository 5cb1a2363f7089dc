"""Selection from a pool in chunks, each of which keeps its own covariances.

What travels are targets and the Hessian at the start, and for every pick one row to all chunks and
the best row of every chunk back.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any, NamedTuple, Self

import numpy as np

from ..hessian import Rows
from ._candidates import Candidates
from ._greedy import StoppingRules, lowest_of_best
from ._kernel import KernelModel
from ._pool import ArrayPool, ChunkPool, checked
from ._problem import Selection


class Pick(NamedTuple):
    """A candidate that is chosen, or the best of a chunk.

    Attributes
    ----------
    number : int
        In the whole pool.
    rows : Rows
        Its row.
    noise, cost : float
        One over its weight, and what it costs.
    ranking, gain : float
        What it adds to the objective, per cost and as it is; -inf where none may be chosen.
    stale : bool
        Whether rounding counts against its gain, so that all should be computed from scratch.
    """

    number: int
    rows: Rows
    noise: float
    cost: float
    ranking: float
    gain: float
    stale: bool


class ChunkCandidates(Candidates):
    """Candidates of one chunk, and the picks of all chunks."""

    picked: Rows | None = None

    def added(self, picks: list[int]) -> Rows:
        """Return the rows that picks add to the data, weighted."""
        assert self.picked is not None
        return self.picked


@dataclass
class PoolChunk:
    """A chunk of the pool with its covariances; whatever changes them returns another one.

    Attributes
    ----------
    selection : ChunkedSelection
        The problem, without its pool.
    start : int
        Number of its first candidate in the whole pool.
    candidates : ChunkCandidates
        Its rows.
    rules : StoppingRules
        Which of them may be chosen.
    best : Pick
        The best of them.
    """

    selection: Any
    start: int
    candidates: ChunkCandidates
    rules: StoppingRules
    posterior: Any = None
    scores: Any = None
    best: Any = None

    @classmethod
    def of(cls, X: Any, start: int, cost: Any, weight: Any, selection: Any) -> PoolChunk:
        """Return a chunk, nothing computed yet."""
        pool = ArrayPool(checked(X, "X", selection.model.n_features))
        rules = replace(selection.rules, eligible=weight > 0, cost=cost)
        return cls(selection, start, ChunkCandidates(pool, selection.model, weight), rules)

    def refreshed(self, picks: list[Pick]) -> PoolChunk:
        """Return the chunk with everything computed from scratch, with some picks in the data."""
        out = self._copied()
        if picks:
            weight = np.array([1 / pick.noise for pick in picks])
            joined = Rows.joined([pick.rows for pick in picks])
            out.candidates.picked = joined.replaced(weight=weight)
        selection = copy.copy(out.selection)
        selection.candidates, selection.pool = out.candidates, out.candidates.pool
        if out.posterior is None:
            out.posterior = selection._posterior()
        out.posterior.picks = [pick.number for pick in picks]
        out.posterior.refresh()
        if out.scores is None:
            out.scores = selection._scores(out.posterior)
        out.scores.started()
        return out._judged()

    def with_pick(self, pick: Pick) -> PoolChunk:
        """Return the chunk after a pick of this chunk or another."""
        out = self._copied()
        own = out._spend(pick)
        z = out.posterior.whitened(pick.rows)
        step = out.posterior.step_of(z, np.array([pick.noise]), own)
        out.scores.picked(step)
        out.posterior.state.follow(step)
        out.posterior.picks.append(pick.number)
        return out._judged()

    def _spend(self, pick: Pick) -> int | None:
        """Take a pick out of budget and pool; return its number in this chunk, if it is here."""
        own = pick.number - self.start
        if 0 <= own < len(self.rules.cost):
            self.rules.spend(own)
            return own
        self.rules.budget -= pick.cost
        return None

    def _copied(self) -> PoolChunk:
        """Return a copy that shares what does not change from pick to pick."""
        posterior = self.posterior
        shared = [self.selection, self.candidates.pool, self.candidates.model]
        if posterior is not None:
            shared += [posterior._targets, posterior._stored, posterior._factor, posterior._zt]
            shared += [posterior._combined, posterior._rotation, self.candidates.picked]
        return copy.deepcopy(self, {id(part): part for part in shared})

    def _judged(self) -> PoolChunk:
        scores, rules = self.scores, self.rules
        gains = scores.gains()
        ranking = np.where(rules.allowed, gains / rules.cost, -np.inf)
        best = int(np.argmax(ranking))
        left = abs(scores.value() - gains[best]) if scores.sign < 0 else np.inf
        p = lowest_of_best(ranking, left / rules.cost[best])
        stale = not self.posterior.fresh and scores.stale(p)
        self.best = self._pick(p, float(ranking[p]), float(gains[p]), stale=stale)
        return self

    def _pick(self, p: int, ranking: float, gain: float, *, stale: bool) -> Pick:
        rows, noise = self.candidates.taken(p), float(self.candidates.noise[p])
        rows = Rows(rows.dense(), intercept=rows.intercept)
        cost = float(self.rules.cost[p])
        return Pick(p + self.start, rows, noise, cost, ranking, gain, stale)


class Report(NamedTuple):
    """What every chunk knows of the targets: variances, which can move, and the objective."""

    v: np.ndarray
    kept: np.ndarray
    value: float
    sign: float
    dropped: bool


class ChunkedSelection(Selection):
    """One run of a `PRSelector` over a pool in chunks; parameters as of `Selection`."""

    pool: ChunkPool

    def __init__(
        self, selector: Any, pool: ChunkPool, sample: Any, data: dict[str, Any], earlier: Any
    ) -> None:
        given = {"groups": data["groups"] is not None, "warm_start": earlier is not None}
        for name in (name for name, is_given in given.items() if is_given):
            raise ValueError(f"{name} cannot be used where X is a Dask collection")
        if data["X_target"] is None:
            raise ValueError("X_target must be given where X is a Dask collection")
        super().__init__(selector, pool, sample, data, earlier)
        if self._unpinned:
            raise ValueError(
                "nothing determines the intercept before the first pick: where X is a Dask "
                "collection, give X_train, a fitted estimator, or one with fit_intercept=False"
            )

    @property
    def _unpinned(self) -> bool:
        return self.model.base is None and self.model.rows(self.pool.sample).has_intercept

    def _make_candidates(self, groups: Any) -> Candidates:
        if isinstance(self.model, KernelModel):
            raise ValueError("estimator must not be a kernel model where X is a Dask collection")
        return ChunkCandidates(self.pool, self.model, self.candidate_weight)

    def run(self, tick: Callable[[], object]) -> Self:
        """Pick until a rule says stop."""
        picks: list[Pick] = []
        self._chunks = self._all(PoolChunk.refreshed, self._started(), [])
        report, best = self._news()
        before = report
        self.path.objective.append(report.value)
        while not (reached := self._is_reached(report)) and len(picks) < self.rules.n_max:
            if best.ranking == -np.inf:
                break
            if best.stale:
                self._chunks = self._all(PoolChunk.refreshed, self._chunks, list(picks))
                report, best = self._news()
                continue
            picks.append(best)
            gain = best.gain
            self._chunks = self._all(PoolChunk.with_pick, self._chunks, best)
            report, best = self._news()
            if report.dropped:
                self._chunks = self._all(PoolChunk.refreshed, self._chunks, list(picks))
                report, best = self._news()
            self.path.add(picks[-1].number, report.value, gain, report.sign)
            tick()
        self._warn_unless(reached)
        both = (self._rigidity(each.v, each.kept) for each in (before, report))
        self.target_rigidity = np.stack(list(both))
        self.n_unmovable = int((~report.kept).sum())
        return self

    def _started(self) -> list[Any]:
        """Return the chunks of the pool, delayed."""
        from dask.delayed import delayed

        problem = copy.copy(self)
        rules = replace(self.rules, eligible=np.empty(0, bool), cost=np.empty(0), reached=_never)
        for name in ("pool", "data", "cost", "candidate_weight", "candidates"):
            setattr(problem, name, None)
        problem.rules, problem.selector = rules, self._settings()
        shared, make = delayed(problem, pure=False, traverse=False), delayed(PoolChunk.of)
        weight = self.candidate_weight
        return [
            make(part, piece.start, self.cost[piece], weight[piece], shared)
            for piece, part in self.pool.parts()
        ]

    def _settings(self) -> Any:
        """Return the selector without the data that it may hold."""
        held = ("estimator", "X_target", "X_train", "target_weight", "train_weight")
        out = copy.copy(self.selector)
        for name in held:
            setattr(out, name, None)
        return out

    def _all(self, method: Callable[..., PoolChunk], chunks: list[Any], what: Any) -> list[Any]:
        """Call a method of all chunks, and keep what it returns where they are."""
        from dask.base import persist
        from dask.delayed import delayed

        call, sent = delayed(method, pure=False), delayed(what, pure=False, traverse=False)
        return list(persist(*(call(chunk, sent) for chunk in chunks)))

    def _news(self) -> tuple[Report, Pick]:
        """Return what there is to know of the targets, and the best of all candidates."""
        from dask.base import compute
        from dask.delayed import delayed

        best = delayed(_best, pure=False)
        asked = [delayed(_report, pure=False)(self._chunks[0]), *map(best, self._chunks)]
        report, *picks = compute(*asked)
        ranking = np.array([pick.ranking for pick in picks])
        top = picks[int(np.argmax(ranking))]
        left = abs(report.value - top.gain) / top.cost if report.sign < 0 else np.inf
        return report, picks[lowest_of_best(ranking, left)]

    def _is_reached(self, report: Report) -> bool:
        posterior: Any = SimpleNamespace(state=SimpleNamespace(v=report.v))
        return self._reached(posterior, report.value)


def _never(posterior: Any, value: float) -> bool:
    return False


def _best(chunk: PoolChunk) -> Pick:
    return chunk.best


def _report(chunk: PoolChunk) -> Report:
    state, scores = chunk.posterior.state, chunk.scores
    kept = chunk.posterior.kept
    return Report(state.v, kept, scores.value(), scores.sign, state.dropped())
