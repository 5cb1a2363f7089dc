"""The first pick of a model whose intercept nothing has determined yet.

After a candidate with whitened rows B (of unit noise) and derivatives f by the intercept, m being
the mean ``f @ B / f @ f``, a target with row z and derivative t has the variance
``(z - t m).T inv(I + C.T C) (z - t m) + t**2 / f @ f`` with ``C = B - f m``, which is 0 for a
single row. Before it, the variance is infinite where t is not 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..hessian import block_rows
from ._candidates import Candidates
from ._greedy import StoppingRules, lowest_of_best
from ._members import Members, rows_of
from ._objectives import Objective

# So many of the best candidates of one row are looked at again with all digits.
_CONTENDERS = 256
_BLOCK_ENTRIES = 2**21


class FirstPick:
    """Scores of candidates for the first place.

    Parameters
    ----------
    candidates : Candidates
        Without training data.
    targets : list of Rows or None
        Predictions to be pinned; None for the pool itself.
    weight : ndarray of shape (n_targets,)
        Weights of the targets.
    """

    def __init__(self, candidates: Candidates, targets: Any, weight: np.ndarray) -> None:
        self.candidates = candidates
        self.factor = candidates.model.factor()
        if targets is None:
            targets = candidates.predictions()
        z = np.concatenate([self._white(rows) for rows in targets])
        t = np.concatenate([rows.intercept for rows in targets])
        kept = (np.einsum("ij,ij->i", z, z) > 0) | (t != 0)
        self.t, self.kept = t[kept], kept
        self.weight = weight[kept] / weight[kept].sum()
        # Distances lose fewer digits near the origin.
        self.mean = self.t @ z[kept] / max(self.t.sum(), 1.0)
        self.z = z[kept] - np.outer(self.t, self.mean)
        self.v = np.einsum("ij,ij->i", self.z, self.z)

    def _white(self, rows: Any) -> np.ndarray:
        # There is no intercept in the regularizer.
        return np.concatenate([self.factor.whiten(block.dense()) for block in rows.blocks()])

    def _shifted(self, rows: Any) -> tuple[np.ndarray, np.ndarray]:
        return self._white(rows) - np.outer(rows.intercept, self.mean), rows.intercept

    @property
    def before(self) -> np.ndarray:
        """Variances before the first pick."""
        return np.where(self.t != 0, np.inf, self.v)

    def choose(self, objective: Objective | None, rules: StoppingRules) -> tuple[int, float]:
        """Return the first pick and its gain; without an objective, that of most information."""
        allowed = rules.allowed
        if objective is None:
            # Of an infinite gain the finite part decides: ties are absolute, in nats.
            finite = np.where(allowed, self._information(), -np.inf)
            return lowest_of_best(1 + finite - finite.max()), np.inf
        before = objective.value(self.before, self.weight)

        def ranking(some: np.ndarray, values: np.ndarray) -> np.ndarray:
            # Costs cannot decide between gains that are all infinite.
            if np.isfinite(before):
                values = (values - before) / rules.cost[some]
            return np.where(allowed[some], objective.sign * values, -np.inf)

        near = np.arange(len(allowed))
        if self.candidates.members is None and len(near) > _CONTENDERS:
            rank = ranking(near, self._screened(objective))
            near = np.sort(np.argsort(-rank, kind="stable")[:_CONTENDERS])
        values = np.array([objective.value(v, self.weight) for v in self._after(near)])
        best = lowest_of_best(ranking(near, values))
        return int(near[best]), float(objective.sign * (values[best] - before))

    def _screened(self, objective: Objective) -> np.ndarray:
        """Return the objective after every candidate of one row, with some digits lost."""
        values: list[np.ndarray] = []
        noise, start = self.candidates.noise, 0
        for c, _ in self._shifted_blocks(block_rows(len(self.t), _BLOCK_ENTRIES)):
            b = np.einsum("ij,ij->i", c, c)
            rest = c @ self.z.T
            rest *= -2 * self.t
            rest += self.v + b[:, None] * self.t**2
            np.maximum(rest, 0.0, out=rest)
            rest += np.outer(noise[start : start + len(c)], self.t**2)
            values.append(objective.value(rest, self.weight))
            start += len(c)
        return np.concatenate(values)

    def _shifted_blocks(self, step: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for _, rows in self.candidates.blocks():
            for start in range(0, len(rows), step):
                yield self._shifted(rows[start : start + step])

    def _after(self, candidates: np.ndarray) -> Iterator[np.ndarray]:
        """Iterate over the variances of the targets after candidates."""
        for p in candidates:
            B, f = self._shifted(self.candidates.taken(int(p)))
            noise = self.candidates.noise[rows_of(self.candidates.members, int(p))]
            B, f = B / np.sqrt(noise)[:, None], f / np.sqrt(noise)
            total = f @ f
            mean = f @ B / total if total else np.zeros(B.shape[1])
            apart = self.z - np.outer(self.t, mean)
            out = np.einsum("ij,ij->i", apart, apart)
            if len(f) > 1:
                _, s, vt = np.linalg.svd(B - np.outer(f, mean), full_matrices=False)
                along = apart @ vt.T
                apart -= along @ vt
                out = np.einsum("ij,ij->i", apart, apart) + along**2 @ (1 / (1 + s**2))
            own = np.divide(self.t**2, total) if total else np.where(self.t != 0, np.inf, 0.0)
            yield out + own

    def _information(self) -> np.ndarray:
        """Return how much less uncertain a candidate is where the targets are known, in nats.

        All candidates that pin the intercept are equally uncertain in their infinite part.
        """
        # Of what the targets tell, the mean pins the intercept, differences pin the slopes.
        pinned = self.t != 0
        apart = self.z[~pinned]
        if pinned.any():
            per_unit = self.z[pinned] / self.t[pinned, None]
            apart = np.vstack([per_unit - per_unit.mean(axis=0), apart])
        _, s, vt = np.linalg.svd(apart, full_matrices=False)
        basis = vt[s > max(apart.shape) * np.finfo(float).eps * max(s[0], 1e-300)]
        blocks = self._shifted_blocks(block_rows(len(self.mean)))
        c, f = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
        unit = np.sqrt(self.candidates.noise)[:, None]
        c, f = c / unit, f / unit[:, 0]
        left = c - (c @ basis.T) @ basis
        members = self.candidates.members or Members(np.arange(len(f) + 1))
        out = np.empty(len(members))
        for some, rows in members.each:
            flags = f[rows]
            out[some] = _logdet(c[rows], flags) - _logdet(
                left[rows], 0 * flags if pinned.any() else flags
            )
            if pinned.any():
                out[some[~flags.any(axis=1)]] = -np.inf  # all other gains are infinite
        return 0.5 * out


def _logdet(rows: np.ndarray, flags: np.ndarray) -> np.ndarray:
    """Return logarithms of determinants of ``I + rows @ rows.T + t flags @ flags.T``, t infinite.

    The logarithm of t is left out where there are flags.
    """
    K = rows @ rows.transpose(0, 2, 1) + np.eye(rows.shape[1])
    along = np.einsum("mi,mi->m", flags, np.linalg.solve(K, flags[..., None])[..., 0])
    return np.linalg.slogdet(K)[1] + np.log(np.where(along > 0, along, 1.0))
