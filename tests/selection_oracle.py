"""Greedy selection by brute force: every candidate is added in turn, everything computed anew.

Independent of the package: nothing of it is imported. A candidate is judged by a QR of all rows
with it and the regularizer's rows; those between which its rounding errors may have decided are
judged again by exact arithmetic (`oracle`). Kernel models are dense Gaussian-process formulas.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import mpmath
import numpy as np
from oracle import exact_quad

Array = np.ndarray

_EPS = float(np.finfo(float).eps)
# Weight of targets whose predictions are known exactly.
_KNOWN = 1e60


def objective_of(name: str, v: Array, weight: Array) -> Array:
    """The objective from variances along the last axis; larger is better."""
    with np.errstate(divide="ignore"):
        if name == "mean":
            return (1 / v) @ weight
        if name == "log_mean":
            return -np.log(v) @ weight
        if name == "min":
            return 1 / v.max(axis=-1)
        assert name == "variance"
        return -(v @ weight)


@dataclass
class Task(ABC):
    """What both kinds of model share: weights, and how to compare candidates.

    `values` gives the objective (of information: the gain) after every candidate in double
    precision with an estimate of its error, `exact_values` those of some candidates.
    """

    objective: str
    n_pool: int
    target_weight: Array
    train_weight: Array
    pool_weight: Array
    unpinned: bool

    @property
    def allowed(self) -> Array:
        """Candidates of positive weight."""
        return self.pool_weight > 0

    @abstractmethod
    def values(self, picks: list[int]) -> tuple[Array, float]: ...

    @abstractmethod
    def exact_values(self, picks: list[int], candidates: list[int]) -> Array: ...

    @abstractmethod
    def exact_value(self, picks: list[int]) -> float:
        """The objective with these picks; of information, 0."""


@dataclass
class LinearTask(Task):
    """Gradients of everything, the last entry of each being that of the intercept."""

    pool: Array
    targets: Array
    train: Array
    alpha: float
    gamma: Array
    members: list[Array]  # rows of every candidate

    @property
    def allowed(self) -> Array:
        """Candidates of positive weight."""
        return np.array([self.pool_weight[rows].any() for rows in self.members])

    def _data(self, picks: list[int]) -> tuple[Array, Array]:
        added = np.concatenate([np.empty(0, dtype=int), *(self.members[p] for p in picks)])
        rows = np.vstack([self.train, self.pool[added]])
        return rows, np.append(self.train_weight, self.pool_weight[added])

    def _added(self, weight: Array) -> Array:
        """Weighted rows of every candidate, filled up with zeros."""
        out = np.zeros((self.n_pool, max(map(len, self.members)), self.pool.shape[1]))
        for block, rows in zip(out, self.members, strict=True):
            block[: len(rows)] = np.sqrt(weight[rows])[:, None] * self.pool[rows]
        return out

    # --- double precision ------------------------------------------------------------------

    @cached_property
    def _prior(self) -> Array:
        values, vectors = np.linalg.eigh(self.gamma)
        rows = np.zeros((len(values), len(values) + 1))
        rows[:, :-1] = np.sqrt(self.alpha * values.clip(min=0))[:, None] * vectors.T
        return rows

    def _triangles(self, picks: list[int], added: Array) -> Array:
        """R of all weighted rows and the regularizer's, with each of the rows `added`."""
        rows, weight = self._data(picks)
        fixed = np.vstack([np.sqrt(weight)[:, None] * rows, self._prior])
        stack = np.concatenate([added, np.broadcast_to(fixed, (len(added), *fixed.shape))], axis=1)
        used = slice(None) if self.pool[:, -1].any() else slice(-1)
        return np.linalg.qr(stack[:, :, used], mode="r")

    def values(self, picks: list[int]) -> tuple[Array, float]:
        """The objective after every candidate, and its error, in double precision."""
        if self.objective == "information":
            return self._information(picks)
        # What is not pinned without a weight is not pinned by a candidate of weight 0.
        weight = np.where(self.pool_weight > 0, self.pool_weight, 1.0)
        R = self._triangles(picks, self._added(weight))
        v = (_white(R, self.targets) ** 2).sum(axis=-1)
        values = objective_of(self.objective, v, self.target_weight)
        size = 1.0 if self.objective == "log_mean" else np.abs(values).max()
        return values, 100 * _EPS * float(np.linalg.cond(R).max() * size)

    def _information(self, picks: list[int]) -> tuple[Array, float]:
        """Mutual information of every candidate with the targets."""
        if self.unpinned and not picks:
            return np.zeros(self.n_pool), np.inf
        R = self._triangles(picks, np.zeros((1, 1, self.pool.shape[1])))
        z = np.sqrt(self.pool_weight)[:, None] * _white(R, self.pool)[0]
        u, s, _ = np.linalg.svd(_white(R, self.targets)[0].T, full_matrices=False)
        basis = u[:, s > 1e-10 * s[0]]
        rest = z - (z @ basis) @ basis.T
        rest -= (rest @ basis) @ basis.T
        logs = [
            [np.linalg.slogdet(np.eye(len(rows)) + a[rows] @ a[rows].T)[1] for a in (z, rest)]
            for rows in self.members
        ]
        gain = 0.5 * np.subtract(*np.transpose(logs))
        return gain, 1e3 * _EPS * float(np.linalg.cond(R).max() * s[0] / s[s > 1e-10 * s[0]][-1])

    # --- extended precision ----------------------------------------------------------------

    def exact_values(self, picks: list[int], candidates: list[int]) -> Array:
        """The objective after some candidates."""
        if self.objective != "information":
            return np.array([self.exact_value([*picks, c]) for c in candidates])
        rows, weight = self._data(picks)
        known = np.vstack([rows, self.targets])
        known_weight = np.append(weight, np.full(len(self.targets), _KNOWN))
        whole, finite = self._logs(rows, weight, candidates)
        left, finite_left = self._logs(known, known_weight, candidates)
        if not np.isinf(whole).any():
            return 0.5 * (whole - left)
        # The intercept is unknown before. That is infinite alike for all that pin it.
        gain = 0.5 * (finite - (left if np.isfinite(left).all() else finite_left))
        return np.where(np.isinf(whole), gain, -np.inf)

    def _logs(self, fixed: Array, s: Array, candidates: list[int]) -> tuple[Array, Array]:
        """Logarithms of the determinants of candidates' covariances, and their finite parts."""
        first = np.array([self.members[c][0] for c in candidates])
        q = self._quad(fixed, s, self.pool[first])
        whole, finite = _logs(self.pool_weight[first], q)
        for j, c in enumerate(candidates):
            rows, weight, before = fixed, s, first[j]
            for i in self.members[c][1:]:  # one after the other
                rows = np.vstack([rows, self.pool[[before]]])
                weight = np.append(weight, self.pool_weight[before])
                more = _logs(self.pool_weight[[i]], self._quad(rows, weight, self.pool[[i]]))
                whole[j], finite[j] = whole[j] + more[0][0], finite[j] + more[1][0]
                before = i
        return whole, finite

    def exact_value(self, picks: list[int]) -> float:
        """The objective with these picks; of information, 0."""
        if self.objective == "information":
            return 0.0
        v = self.exact_variances(picks)
        return float(objective_of(self.objective, v, self.target_weight))

    def exact_variances(self, picks: list[int]) -> Array:
        """The variances of all targets with these picks."""
        return self._quad(*self._data(picks), self.targets)

    def _quad(self, rows: Array, weight: Array, of: Array) -> Array:
        # A row of weight 0 says whether there is an intercept.
        rows, weight = np.vstack([rows, np.abs(self.pool[:1])]), np.append(weight, 0.0)
        return exact_quad(
            rows[:, :-1],
            of[:, :-1],
            alpha=self.alpha,
            gamma=self.gamma,
            weight=weight,
            intercept=rows[:, -1],
            g_intercept=of[:, -1],
        )


def linear_task(
    pool: Array,
    targets: Array,
    train: Array,
    *,
    alpha: float,
    gamma: Array | None = None,
    objective: str = "mean",
    target_weight: Array | None = None,
    train_weight: Array | None = None,
    pool_weight: Array | None = None,
    members: list[Array] | None = None,
) -> LinearTask:
    """A task of rows that have the derivative by the intercept as their last entry.

    `members` are the rows of every candidate, each its own by default; weights are those of rows.
    """
    members = [np.array([i]) for i in range(len(pool))] if members is None else members
    moves = targets.any(axis=1)
    weight = _ones(targets, target_weight)[moves]
    return LinearTask(
        objective,
        len(members),
        weight / weight.sum(),
        _ones(train, train_weight),
        _ones(pool, pool_weight),
        bool(pool[:, -1].any() and not train[:, -1].any()),
        pool,
        targets[moves],
        train,
        alpha,
        np.eye(pool.shape[1] - 1) if gamma is None else gamma,
        members,
    )


def _logs(weight: Array, q: Array) -> tuple[Array, Array]:
    """Logarithms of 1 + weight q; an intercept of variance t adds log(s t) where it is met."""
    whole = np.where(weight > 0, np.log1p(np.maximum(weight, 1e-300) * q), 0.0)
    with np.errstate(divide="ignore"):
        return whole, np.where(np.isinf(whole), np.log(weight), whole)


def _white(R: Array, rows: Array) -> Array:
    """Solutions of ``R.T z = row`` for a stack of triangles, by forward substitution."""
    z = np.zeros((len(R), len(rows), R.shape[-1]))
    for j in range(R.shape[-1]):
        known = np.einsum("cmi,ci->cm", z[:, :, :j], R[:, :j, j])
        z[:, :, j] = (rows[:, j] - known) / R[:, j, j, None]
    return z


@dataclass
class KernelTask(Task):
    """Kernels of everything with everything: training rows, then the pool, then the targets."""

    kernel: Array
    alpha: float

    def values(self, picks: list[int]) -> tuple[Array, float]:
        """The objective after every candidate, and its error, in double precision."""
        before = self._value(self._covariance(picks)) if self.objective == "information" else 0.0
        everyone = list(range(self.n_pool))
        values = np.array([self._value(self._covariance([*picks, c])) - before for c in everyone])
        _, noisy, _, S = self._parts(everyone)
        if self.objective == "information":
            return values, 100 * _EPS * float(np.linalg.cond(noisy) * np.linalg.cond(S))
        size = 1.0 if self.objective == "log_mean" else np.abs(values).max()
        fallen = np.diag(S).max() / np.diag(self._covariance(everyone)).min()
        return values, 100 * _EPS * float(np.linalg.cond(noisy) * fallen * size)

    def _parts(self, picks: list[int]) -> tuple[Array, Array, Array, Array]:
        n = len(self.train_weight)
        data = [*range(n), *(n + p for p in picks)]
        targets = range(n + self.n_pool, len(self.kernel))
        pool_weight = np.where(self.pool_weight > 0, self.pool_weight, 1.0)  # never chosen
        noise = self.alpha / np.append(self.train_weight, pool_weight[picks])
        noisy = self.kernel[np.ix_(data, data)] + np.diag(noise)
        C, S = (self.kernel[np.ix_(of, targets)] for of in (data, targets))
        return noise, noisy, C, S

    def _covariance(self, picks: list[int]) -> Array:
        """Posterior covariances of the targets."""
        noise, noisy, C, S = self._parts(picks)
        return (S - C.T @ np.linalg.solve(noisy, C) if len(noise) else S) / self.alpha

    def _value(self, S: Array) -> float:
        if self.objective == "information":
            return -0.5 * float(np.linalg.slogdet(S)[1])
        return float(objective_of(self.objective, np.diag(S), self.target_weight))

    def exact_values(self, picks: list[int], candidates: list[int]) -> Array:
        """The objective after some candidates, from the same kernels."""
        before = self._exact(picks) if self.objective == "information" else 0
        return np.array([float(self._exact([*picks, c]) - before) for c in candidates])

    def exact_value(self, picks: list[int]) -> float:
        """The objective with these picks; of information, 0."""
        return 0.0 if self.objective == "information" else float(self._exact(picks))

    def exact_variances(self, picks: list[int]) -> Array:
        """The variances of all targets with these picks."""
        with mpmath.workdps(60):
            S = self._exact_covariance(picks)
            return np.array([float(S[i, i]) for i in range(S.rows)])

    def _exact_covariance(self, picks: list[int]) -> Any:
        noise, _, C, S = self._parts(picks)
        n = len(self.train_weight)
        data = [*range(n), *(n + p for p in picks)]
        S = mpmath.matrix(S.tolist())
        if data:
            # The noise is added here, so that nothing of a small one is rounded away.
            noisy = mpmath.matrix(self.kernel[np.ix_(data, data)].tolist())
            noisy += mpmath.mpf(self.alpha) * mpmath.diag((noise / self.alpha).tolist())
            L, C = mpmath.cholesky(noisy), mpmath.matrix(C.tolist())
            for k in range(C.cols):
                for i in range(C.rows):
                    C[i, k] = (C[i, k] - sum(L[i, j] * C[j, k] for j in range(i))) / L[i, i]
            S -= C.T * C
        return S / mpmath.mpf(self.alpha)

    def _exact(self, picks: list[int]) -> Any:
        with mpmath.workdps(60):
            S = self._exact_covariance(picks)
            if self.objective == "information":
                return -mpmath.log(mpmath.det(S)) / 2
            v = np.array([S[i, i] for i in range(S.rows)], dtype=object)
            if self.objective == "log_mean":
                return -sum(w * mpmath.log(x) for w, x in zip(self.target_weight, v, strict=True))
            return objective_of(self.objective, v, self.target_weight)


def kernel_task(
    kernel: Array,
    n_train: int,
    n_pool: int,
    *,
    alpha: float,
    objective: str = "mean",
    target_weight: Array | None = None,
    train_weight: Array | None = None,
    pool_weight: Array | None = None,
) -> KernelTask:
    """A task of prior covariances: training rows, then the pool, then the targets."""
    weight = _ones(kernel[n_train + n_pool :], target_weight)
    return KernelTask(
        objective,
        n_pool,
        weight / weight.sum(),
        _ones(kernel[:n_train], train_weight),
        _ones(kernel[:n_pool], pool_weight),
        False,
        kernel,
        alpha,
    )


def _ones(rows: Array, weight: Array | None) -> Array:
    return np.ones(len(rows)) if weight is None else np.asarray(weight, float)


def assert_greedy(
    task: Task,
    picks: Any,
    *,
    cost: Array | None = None,
    replace: bool = False,
    tie: float = 1e-10,
) -> list[float]:
    """Assert that every pick is the best there is after those before it; return the objectives.

    Where another candidate is better, the objectives must agree to a relative `tie`, or to
    rounding of the objective before, which may have been larger by many orders. The objective
    "information" is what the picks so far have brought; larger is better for all.
    """
    picks = [int(p) for p in picks]
    cost = np.ones(task.n_pool) if cost is None else cost
    path = [task.exact_value([])]
    for k, p in enumerate(picks):
        earlier = picks[:k]
        allowed = task.allowed.copy()
        if not replace:
            allowed[earlier] = False
        assert allowed[p], f"pick {k}, candidate {p}, may not be chosen"
        before = 0.0 if task.objective == "information" else path[-1]
        endless = np.isinf(before) or (task.objective == "information" and task.unpinned and not k)
        before, price = (0.0, np.ones_like(cost)) if endless else (before, cost)

        values, error = task.values(earlier)
        ranks, error = np.where(allowed, (values - before) / price, -np.inf), 2 * error / price
        near = allowed.copy()
        if np.isfinite(error).all():
            near &= ranks + error >= np.max(ranks - error)
        near = np.union1d(np.flatnonzero(near), [p])
        exact = task.exact_values(earlier, near.tolist())
        mine = exact[near == p][0]
        lost = ((exact - before) / price[near]).max() - (mine - before) / price[p]
        size = np.abs(exact).max()
        if task.objective in ("log_mean", "information"):
            size = max(size, 1.0)
        assert lost * price[p] <= tie * size + 100 * _EPS * abs(before), (
            f"pick {k} is {p}; another one of {near} is better by {lost * price[p] / size:.1e} of "
            "the objective"
        )
        path.append(mine + path[-1] if task.objective == "information" and not endless else mine)
        if task.objective == "information" and endless:
            path[-1] = 0.0
    return path
