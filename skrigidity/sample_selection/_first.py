"""The first pick of a linear model whose intercept nothing has determined yet.

With one sample c the centred data vanish: the slopes stay at the prior, and the intercept makes
``v_t = (x_t - f_t x_c).T inv(alpha Gamma) (x_t - f_t x_c) + f_t**2 noise_c``, f_t being the
derivative of prediction t by the intercept. Before it, v_t is infinite where f_t is not 0.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..hessian import Factor, Rows, choose
from ._greedy import _CONTENDERS, Rules, lowest_of_best
from ._linear import LinearModel
from ._objectives import Objective
from ._pool import Pool


class FirstPick:
    """Scores of candidates for the first place.

    Parameters
    ----------
    pool : Pool
        Candidates.
    model : LinearModel
        Without training data.
    targets : list of Rows or None
        Predictions to be pinned; None for the pool itself.
    noise : ndarray of shape (n_candidates,)
        One over the weights of the candidates.
    weight : ndarray of shape (n_targets,)
        Weights of the targets.
    """

    def __init__(
        self,
        pool: Pool,
        model: LinearModel,
        targets: list[Rows] | None,
        noise: np.ndarray,
        weight: np.ndarray,
    ) -> None:
        self.pool, self.model, self.noise = pool, model, noise
        self.factor: Factor = choose(Rows(np.empty((0, model.n_features))), model.prior)
        if targets is None:
            targets = [model.rows(block) for _, block in pool.blocks()]
        z = np.concatenate([self._white(rows) for rows in targets])
        f = np.concatenate([rows.intercept for rows in targets])
        kept = (np.einsum("ij,ij->i", z, z) > 0) | (f != 0)
        self.f, self.kept = f[kept], kept
        self.weight = weight[kept] / weight[kept].sum()
        # Distances lose fewer digits near the origin.
        self.mean = self.f @ z[kept] / max(self.f.sum(), 1.0)
        self.z = z[kept] - np.outer(self.f, self.mean)
        self.v = np.einsum("ij,ij->i", self.z, self.z)

    def _white(self, rows: Rows) -> np.ndarray:
        return self.factor.whiten(Rows(rows.matrix, columns=rows.columns))

    @property
    def before(self) -> np.ndarray:
        """Variances before the first pick."""
        return np.where(self.f != 0, np.inf, self.v)

    def choose(self, objective: Objective | None, rules: Rules) -> tuple[int, float]:
        """Return the first pick and its gain; without an objective, that of most information."""
        allowed = rules.eligible & (rules.cost <= rules.budget)
        if objective is None:
            return self._most_informative(allowed), np.inf
        before = objective.value(self.before, self.weight)
        sign = objective.sign
        values = np.empty(len(self.noise))
        for piece, block in self.pool.blocks():
            c = self._white(self.model.rows(block)) - self.mean
            values[piece] = objective.value(self._rest(c, self.noise[piece]), self.weight)

        def ranking(values: np.ndarray, cost: np.ndarray) -> np.ndarray:
            # Costs cannot decide between gains that are all infinite.
            return (values - before) * sign / cost if np.isfinite(before) else sign * values

        rank = np.where(allowed, ranking(values, rules.cost), -np.inf)
        near = np.sort(np.argsort(-rank, kind="stable")[:_CONTENDERS])
        near = near[np.isfinite(rank[near])]
        exact = np.array([objective.value(v, self.weight) for v in self._exact(near)])
        best = lowest_of_best(ranking(exact, rules.cost[near]))
        return int(near[best]), float(sign * (exact[best] - before))

    def _rest(self, c: np.ndarray, noise: np.ndarray) -> np.ndarray:
        b = np.einsum("ij,ij->i", c, c)
        rest = self.v - 2 * (c @ self.z.T) * self.f + b[:, None] * self.f**2
        np.maximum(rest, 0.0, out=rest)
        # Noise may be infinite, and then counts only where the intercept does.
        rest[:, self.f != 0] += np.outer(noise, self.f[self.f != 0] ** 2)
        return rest

    def _exact(self, candidates: np.ndarray) -> Iterator[np.ndarray]:
        rows = self._white(self.model.rows(self.pool.take(candidates))) - self.mean
        for c, noise in zip(rows, self.noise[candidates], strict=True):
            apart = self.z - self.f[:, None] * c
            yield np.einsum("ij,ij->i", apart, apart) + self.f**2 * noise

    def _most_informative(self, allowed: np.ndarray) -> int:
        """Return the candidate that the targets, were they known, would leave least uncertain.

        All candidates are equally uncertain in their infinite part.
        """
        if not self.f.any():
            return int(np.argmax(allowed))
        # Of what the targets tell, the mean pins the intercept, differences pin the slopes.
        apart = self.z[self.f != 0] / self.f[self.f != 0, None]
        apart = np.vstack([apart - apart.mean(axis=0), self.z[self.f == 0]])
        _, s, vt = np.linalg.svd(apart, full_matrices=False)
        basis = vt[s > max(apart.shape) * np.finfo(float).eps * max(s[0], 1e-300)]
        left = np.empty(len(self.noise))
        for piece, block in self.pool.blocks():
            c = self._white(self.model.rows(block)) - self.mean
            c -= (c @ basis.T) @ basis
            left[piece] = np.einsum("ij,ij->i", c, c)
        return lowest_of_best(np.where(allowed, -(self.noise + left), -np.inf))
