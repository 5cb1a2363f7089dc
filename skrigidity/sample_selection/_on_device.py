"""Selection on the device of a pool that is not NumPy's.

The same algorithm as on the host: pool and targets are whitened once, every pick is a rank-one
downdate of all variances, and where these have lost digits everything is whitened anew. What the
picks do is kept as one matrix M, with which covariances are ``z @ M @ z'``. The host reads one
number per pick for the choice, and the objective.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from ..environments import array_namespace
from ..gradients import FeatureGradients, check_same_namespace, follow, same_kind
from ..hessian import Prior, block_rows
from ..hessian.array_api import ArrayFactor, ArrayRows, SingularError, factorize
from ..linear_model import RigidRidge
from ._device_pool import DevicePool
from ._device_variances import ENTRIES, DeviceVariances
from ._greedy import ROUNDING, TIE, SelectionPath
from ._pool import unfrozen
from ._problem import Selection
from ._state import USED_UP

# Of the best first picks, those that are looked at with all digits.
_CONTENDERS = 256


class DeviceModel:
    """Gradients of a ridge regression, and Hessians with more and more data on the device."""

    def __init__(self, selector: Any, pool: DevicePool, X_train: Any, train_weight: Any) -> None:
        estimator, alpha = unfrozen(selector.estimator), selector.alpha
        if estimator is not None and alpha is not None:
            raise ValueError("alpha and estimator: give one of them")
        if estimator is None:
            estimator = RigidRidge(1.0 if alpha is None else alpha)
        fitted = getattr(estimator, "hessian_", None)
        known = isinstance(fitted, ArrayFactor) or (
            fitted is None and type(estimator) is RigidRidge
        )
        if not known or np.ndim(estimator.alpha):
            raise ValueError(
                "estimator must be a RigidRidge with one alpha, not fitted or fitted to arrays on "
                f"the device, where the pool is on a device: got {estimator!r}"
            )
        self.prior = (
            Prior(estimator.alpha, estimator.regularizer) if fitted is None else fitted.prior
        )
        self.estimator, self.base, self.X = estimator, fitted, pool.X
        self.intercept, self.solver = estimator.fit_intercept, estimator.solver
        self.gradients = FeatureGradients(
            pool.n_features, fit_intercept=self.intercept, aggregate=estimator.aggregate
        )
        if X_train is not None:
            self.base = self.factor(self.rows(X_train, train_weight))

    def rows(self, X: Any, weight: Any = None) -> ArrayRows:
        """Return samples as rows to add to the Hessian."""
        xp = array_namespace(X)
        return ArrayRows(X, xp=xp, weight=weight, intercept=self.intercept)

    def factor(self, added: ArrayRows | None = None) -> ArrayFactor:
        """Return the Hessian with some rows added to the training data."""
        if self.base is not None:
            return self.base if added is None else self.base.update(added)
        if added is None:
            added = ArrayRows(self.X[:0, :], xp=array_namespace(self.X))
        return factorize(added, self.prior, method=self.solver)


class DeviceSelection(DeviceVariances, Selection):
    """One run of a `PRSelector` on a device: the same attributes as `Selection`."""

    pool: Any

    def __init__(self, selector: Any, pool: DevicePool, data: dict[str, Any]) -> None:
        self._refuse(selector, data)
        xp = self.xp = array_namespace(pool.X)
        self.selector, self.pool = selector, pool
        n = self.n_candidates = len(pool)
        self.path, self._kept = SelectionPath(), False
        self.cost = self._given(data["cost"], n, "cost", positive=True)
        weight = self._given(data["candidate_weight"], n, "candidate_weight")
        self.eligible = weight > 0
        self.candidate_weight = xp.where(self.eligible, weight, 1.0)
        self.noise = 1 / self.candidate_weight
        train, own = data["X_train"], data["train_weight"]
        if train is None and own is not None:
            raise ValueError("train_weight must be None where there is no X_train")
        train = self._checked(train, "X_train", None)
        own = None if own is None else self._given(own, train.shape[0], "train_weight")
        self.model = DeviceModel(selector, pool, train, own)
        self.candidates = self.model.rows(pool.X, self.candidate_weight)
        self.targets, self.shape = self._device_targets(data)
        n_targets = int(np.prod(self.shape))
        weight = self._given(data["target_weight"], self.shape[-1], "target_weight", positive=True)
        self.weight = xp.concat([weight] * (n_targets // self.shape[-1]))

    def _refuse(self, selector: Any, data: dict[str, Any]) -> None:
        wrong = {
            "groups": data["groups"] is not None,
            "warm_start": selector.warm_start,
            "properties": selector.properties is not None,
            "storage": selector.storage not in ("auto", "float64"),
        }
        for name, asked in wrong.items():
            if asked:
                raise ValueError(f"{name}: this is for NumPy arrays, not for a pool on a device")
        if data["target_weight"] is not None and data["X_target"] is None:
            raise ValueError("target_weight must be None where there is no X_target")

    def _given(self, values: Any, n: int, name: str, *, positive: bool = False) -> Any:
        xp, X = self.xp, self.pool.X
        if values is None:
            return xp.ones(n, dtype=xp.float64, device=X.device)
        values = follow(values, X, name)
        if values.shape != (n,):
            raise ValueError(f"{name} must have shape ({n},), got {tuple(values.shape)}")
        least = float(xp.min(values))
        if not bool(xp.all(xp.isfinite(values))) or least < 0 or (positive and least == 0):
            raise ValueError(f"{name} must be finite and {'positive' if positive else '>= 0'}")
        return values

    def _checked(self, X: Any, name: str, estimator: Any) -> Any:
        if X is None:
            return None
        check_same_namespace(self.selector, X, self.pool.X, "fit")
        if X.ndim != 2 or X.shape[1] != self.pool.n_features:
            raise ValueError(f"{name} must be a matrix with as many features as the pool")
        if not bool(self.xp.all(self.xp.isfinite(X))):
            raise ValueError(f"{name} contains NaN or infinity")
        return X

    def _device_targets(self, data: dict[str, Any]) -> tuple[list[ArrayRows], tuple[int, ...]]:
        level, components = self.selector.level, self.selector.components
        if components is not None and level != "component":
            raise ValueError(f"components must be None where level={level!r}")
        X, gradients = self._checked(data["X_target"], "X_target", None), self.model.gradients
        X = self.pool.X if X is None else X
        if level != "component":
            return [gradients.rows(X, level)], (int(X.shape[0]),)
        parts = gradients.resolve(components).values()
        return [gradients.rows(X, "global", part) for part in parts], (len(parts), int(X.shape[0]))

    # --- the run -----------------------------------------------------------------------------

    def run(self, tick: Callable[[], object]) -> DeviceSelection:
        """Pick until a rule says stop."""
        xp, selector = self.xp, self.selector
        n_max = self._rule()
        before = None
        try:
            if self.model.base is None and self.model.intercept:
                before = self._first_pick()
                tick()
            self._refresh(self._added(self.path.picks))
        except SingularError:
            raise ValueError(
                "alpha must be positive, or X_train large enough to pin the predictions: with "
                f"alpha={self.model.prior.alpha} some candidates or targets have rigidity 0"
            ) from None
        before = self.v if before is None else before
        if len(self.path.objective) == len(self.path.picks):
            self.path.objective.append(self._value(self.v))
        reached = self._is_reached()
        while not reached and len(self.path.picks) < n_max and bool(xp.any(self._allowed())):
            self._pick()
            tick()
            reached = self._is_reached()
        if selector.threshold is not None and not reached:
            warnings.warn(
                f"threshold={selector.threshold} is not reached with the "
                f"{len(self.path.picks)} candidates that n_to_select, budget and the pool allow",
                ConvergenceWarning,
                stacklevel=4,
            )
        self.target_rigidity = xp.stack([self._rigidity_of(v) for v in (before, self.v)])
        self.n_unmovable = int(xp.count_nonzero(self.v == 0))
        return self

    def _rule(self) -> int:
        xp, selector = self.xp, self.selector
        self.budget = np.inf if selector.budget is None else float(selector.budget)
        if not bool(xp.any(self.eligible)):
            raise ValueError("candidate_weight must not be zero throughout")
        if not bool(xp.any(self._allowed())):
            raise ValueError(f"budget={self.budget} is less than what any candidate costs")
        return self._n_max(int(xp.count_nonzero(self.eligible)))

    def _allowed(self) -> Any:
        return self.eligible & (self.cost <= self.budget)

    def _spend(self, p: int) -> None:
        self.budget -= float(self.cost[p])
        if not self.selector.replace:
            numbers = self.xp.arange(self.n_candidates, device=self.cost.device)
            self.eligible = self.eligible & (numbers != p)

    def _is_reached(self) -> bool:
        threshold, value = self.selector.threshold, self.path.objective[-1]
        if threshold is None:
            return False
        if self.selector.threshold_on == "targets":
            return bool(threshold <= 0 or float(self.xp.max(self.v)) <= 1 / threshold)
        return value <= threshold if self.selector.objective == "variance" else value >= threshold

    def _rigidity_of(self, v: Any) -> Any:
        xp = self.xp
        R = xp.where(v > 0, 1 / xp.where(v > 0, v, 1.0), xp.inf)
        return xp.reshape(R, self.shape).T if len(self.shape) == 2 else R

    # --- pick by pick ------------------------------------------------------------------------

    def _added(self, picks: list[int]) -> ArrayRows | None:
        if not picks:
            return None
        some = self.xp.asarray(picks, device=self.cost.device)
        weight = self.xp.take(self.candidate_weight, some)
        return self.model.rows(self.pool.take(some), weight)

    def _best(self) -> tuple[int, float]:
        xp = self.xp
        while True:
            gains = self._gains()
            ranking = xp.where(self._allowed(), gains / self.cost, -xp.inf)
            left = np.inf
            if self.selector.objective == "variance":
                best = int(xp.argmax(ranking))
                left = abs(self._value(self.v) - float(gains[best])) / float(self.cost[best])
            p = self._lowest_of_best(ranking, left)
            stale = USED_UP * float(self.b_start[p]) > float(self.noise[p] + self.b[p])
            if self.fresh or not stale:
                return p, float(gains[p])
            self._refresh(self._added(self.path.picks))

    def _pick(self) -> None:
        """Add the best candidate, and take off all variances what that does."""
        kind, before = self.selector.objective, self.path.objective[-1]
        p, gain = self._best()
        self._follow(p, float(self.noise[p]))
        if bool(self.xp.any(USED_UP * self.v_start > 2 * self.v)):
            self._refresh(self._added([*self.path.picks, p]))
        value = before + gain if kind == "information" else self._value(self.v)
        self.path.add(p, value, gain, -1 if kind == "variance" else 1)
        self._spend(p)

    # --- an intercept that nothing has determined ----------------------------------------------

    def _first_pick(self) -> Any:
        """Choose the first candidate as `FirstPick` does; return the variances before."""
        xp, kind = self.xp, self.selector.objective
        if kind == "information":
            raise ValueError(
                "objective='information' on a device needs X_train, or an estimator with "
                "fit_intercept=False: nothing determines the intercept yet"
            )
        factor = self.model.factor()
        z, flags = [], []
        for rows in self.targets:
            z.append(factor.whiten(rows))
            flags.append(rows.intercept * xp.ones_like(z[-1][:, 0]))
        z, t = xp.concat(z, axis=0), xp.concat(flags)
        mean = (t @ z) / max(float(xp.sum(t)), 1.0)
        z, c = z - t[:, None] * mean, factor.whiten(self.candidates) - mean
        v = xp.sum(z**2, axis=1)
        moving = (v > 0) | (t != 0)
        kept = xp.where(moving, self.weight, 0.0)
        self.share = kept / xp.sum(kept)
        before = xp.where(t != 0, xp.inf, v)
        start, sign = self._value(before), -1 if kind == "variance" else 1

        def ranking(values: Any, allowed: Any, cost: Any) -> Any:
            values = (values - start) / cost if np.isfinite(start) else values
            return xp.where(allowed, sign * values, -xp.inf)

        screened = self._screened(z, t, v, c)
        rank = ranking(screened, self._allowed(), self.cost)
        near = xp.argsort(rank, descending=True, stable=True)[: min(_CONTENDERS, len(self.pool))]
        near = xp.sort(near)
        values = [
            self._value(self._after(z, t, c, int(near[i]))) for i in range(int(near.shape[0]))
        ]
        exact = same_kind(np.array(values), z)
        take = xp.take
        rank = ranking(exact, take(self._allowed(), near), take(self.cost, near))
        largest = float(xp.max(rank))
        least = largest - (TIE + ROUNDING) * abs(largest)
        best = int(xp.argmax(xp.astype(rank >= least, xp.int64)))
        self.path.objective.append(start)
        self.path.add(int(near[best]), values[best], sign * (values[best] - start), sign)
        self._spend(int(near[best]))
        return before

    def _after(self, z: Any, t: Any, c: Any, p: int) -> Any:
        """Return the variances of the targets after the first candidate p."""
        apart = z - t[:, None] * c[p, :]
        return self.xp.sum(apart**2, axis=1) + t**2 * self.noise[p]

    def _screened(self, z: Any, t: Any, v: Any, c: Any) -> Any:
        """Return the objective after every candidate, with some digits lost."""
        xp, kind, n, parts = self.xp, self.selector.objective, self.n_candidates, []
        step = block_rows(int(t.shape[0]), ENTRIES)
        for start in range(0, n, step):
            some = slice(start, min(start + step, n))
            rows = c[some, :]
            rest = v + xp.sum(rows**2, axis=1)[:, None] * t**2 - 2 * t * (rows @ z.T)
            rest = xp.where(rest > 0, rest, 0.0) + self.noise[some][:, None] * t**2
            safe = xp.where(rest > 0, rest, 1.0)
            if kind == "min":
                parts.append(1 / xp.max(rest, axis=1))
            else:
                values = {"mean": 1 / safe, "log_mean": -xp.log(safe)}.get(kind, rest)
                parts.append(values @ self.share)
        return xp.concat(parts)


def set_chosen(selector: Any, run: DeviceSelection) -> None:
    """Set what a selector knows after a run, as arrays on the device of the pool."""
    xp, X = run.xp, run.pool.X
    chosen = xp.asarray(run.path.picks, dtype=xp.int64, device=X.device)
    selector.n_samples_ = selector.n_candidates_ = run.n_candidates
    selector.selected_idx_ = selector.sample_indices_ = chosen
    selector.objective_path_ = same_kind(np.array(run.path.objective), X)
    selector.gains_ = same_kind(np.array(run.path.gains), X)
    selector.target_rigidity_ = run.target_rigidity
    selector.n_unmovable_targets_ = run.n_unmovable
    selector.total_cost_ = float(xp.sum(xp.take(run.cost, chosen)))
    selector._objective = selector.objective
    selector._fingerprints = run.pool.take(chosen)
