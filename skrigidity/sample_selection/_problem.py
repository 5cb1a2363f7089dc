"""From the arguments of a selection to its result."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import _get_feature_names

from ..environments import Environments
from ..hessian import UnpinnedError
from ..kernel_ridge import RigidKernelRidge
from ..linear_model import RigidRidge
from ..linear_model._base import RigidRidgeBase
from ._first import FirstPick
from ._greedy import Course, Rules, select, spend
from ._kernel import KernelModel, KernelPosterior, kernel_pool
from ._linear import linear_model, unfrozen
from ._objectives import OBJECTIVES
from ._pool import ArrayPool, Pool, checked
from ._scores import InformationScores, Scores, TargetScores, TraceScores
from ._state import Posterior
from ._weights import noise, positive, weights
from ._whitened import WhitenedPosterior

# Rigidities that are computed again differ by less than this, relatively, unless the task does.
_SAME = 1e-3


@dataclass
class Problem:
    """Pool, targets and training data of one selection, as the user gave them.

    Attributes
    ----------
    pool : Pool
        Candidates.
    sample : array-like of shape (1, n_features)
        One of them, with the names of the features where there are any.
    X_target, target_weight, X_train, train_weight, cost, candidate_weight :
        As in `PRSelector.fit`.
    earlier : PRSelector or None
        Whose picks to continue after.
    """

    pool: Pool
    sample: Any
    X_target: Any
    target_weight: Any
    X_train: Any
    train_weight: Any
    cost: Any
    candidate_weight: Any
    earlier: Any


@dataclass
class Result:
    """What a selection found."""

    course: Course
    rigidity: np.ndarray
    n_unmovable: int
    cost: float


class Selection:
    """One run of a `PRSelector`.

    Parameters
    ----------
    selector : PRSelector
        What to do.
    problem : Problem
        With which data.
    """

    def __init__(self, selector: Any, problem: Problem) -> None:
        self.selector = selector
        self.problem = problem
        n = len(problem.pool)
        self.cost = positive(problem.cost, n, "cost")
        self.noise = noise(problem.candidate_weight, n)
        self.model = self._model()
        self.targets, self.shape = self._targets()
        self.weight = self._target_weight()
        self.course = Course()
        if problem.earlier is not None:
            self.course.picks = problem.earlier.selected_idx_.tolist()
            self.course.path = problem.earlier.objective_path_.tolist()
            self.course.gains = problem.earlier.gains_.tolist()
        self.rules = self._rules()

    def run(self, tick: Callable[[], object]) -> Result:
        """Pick until a rule says stop."""
        before = None
        if self.model.unpinned and not self.course.picks:
            before = self._first_pick()
            tick()
        posterior = self._posterior()
        posterior.refresh()
        if not posterior.kept.any():
            raise ValueError("X_target has no prediction that can move: all have R = inf")
        if before is None:
            before = posterior.state.v.copy()
        scores = self._scores(posterior)
        scores.started()
        if len(self.course.path) == len(self.course.picks):
            self.course.path.append(scores.value())
        if self.problem.earlier is not None:
            self._check_continues(posterior, scores)
        reached = select(posterior, scores, self.rules, self.course, tick)
        self._warn(reached)
        first, last = (self._rigidity(v, posterior.kept) for v in (before, posterior.state.v))
        if self.problem.earlier is not None:
            first = self.problem.earlier.target_rigidity_[0]
        return Result(
            self.course,
            np.stack([first, last]),
            int((~posterior.kept).sum()),
            float(self.cost[self.course.picks].sum()),
        )

    # --- parts of the problem ----------------------------------------------------------------

    def _model(self) -> Any:
        selector, problem = self.selector, self.problem
        estimator = unfrozen(selector.estimator)
        if estimator is None:
            estimator = RigidRidge(
                selector.alpha,
                regularizer=selector.regularizer,
                fit_intercept=selector.fit_intercept,
                aggregate=selector.aggregate,
            )
        d = problem.pool.n_features
        X_train, weight = problem.X_train, None
        if X_train is not None:
            checked_train = self._checked(X_train, "X_train")
            X_train = X_train if hasattr(X_train, "columns") else checked_train
            if problem.train_weight is not None:
                weight = weights(problem.train_weight, checked_train.shape[0], "train_weight")
                if not weight.any():
                    raise ValueError("train_weight must not be zero throughout")
        elif problem.train_weight is not None:
            raise ValueError("train_weight must be None where there is no X_train")
        if isinstance(estimator, RigidKernelRidge):
            model: Any = KernelModel(estimator, problem.sample, X_train, weight)
        elif isinstance(estimator, RigidRidgeBase):
            model = linear_model(estimator, problem.sample, X_train, weight)
        else:
            raise TypeError(
                "estimator must be a RigidRidge, RigidRidgeCV, ComponentRidge or "
                f"RigidKernelRidge, got {type(estimator).__name__}"
            )
        if model.n_features != d:
            raise ValueError(
                f"estimator was fitted on {model.n_features} features, the pool has {d}"
            )
        self._same_columns(getattr(estimator, "feature_names_in_", None), "estimator")
        return model

    def _checked(self, X: Any, name: str) -> Any:
        self._same_columns(_get_feature_names(X), name)
        return checked(X, name, self.problem.pool.n_features)

    def _same_columns(self, names: Any, name: str) -> None:
        expected = getattr(self.selector, "feature_names_in_", None)
        if names is None or expected is None or len(names) != len(expected):
            return
        differ = np.flatnonzero(np.asarray(names) != expected)
        if len(differ):
            i = differ[0]
            raise ValueError(
                f"{name} must have the columns of X in the same order: its column {i} is "
                f"{names[i]!r}, that of X {expected[i]!r}"
            )

    def _targets(self) -> tuple[Any, tuple[int, ...]]:
        """Return the predictions to be pinned, and the shape of their rigidities."""
        selector, problem = self.selector, self.problem
        level, components = selector.level, selector.components
        if components is not None and level != "component":
            raise ValueError(f"components must be None where level={level!r}")
        if problem.X_target is None:
            if level == "global":
                return None, (len(problem.pool),)
            if not isinstance(problem.pool, ArrayPool):
                raise ValueError(
                    f"X_target must be given where level={level!r} and X is a function"
                )
            X = problem.pool.X
        else:
            X = self._checked(problem.X_target, "X_target")
        parts = self.model.targets(X, level, components)
        if level == "component":
            return parts, (len(parts), X.shape[0])
        return parts, (X.n_environments if _flat(X, level) else X.shape[0],)

    def _target_weight(self) -> np.ndarray:
        shape, given = self.shape, self.problem.target_weight
        if given is not None and self.targets is None:
            raise ValueError("target_weight must be None where there is no X_target")
        if given is not None and self.selector.objective == "information":
            raise ValueError("target_weight must be None where objective='information'")
        weight = positive(given, shape[-1], "target_weight")
        return np.tile(weight, shape[0]) if len(shape) == 2 else weight

    def _rules(self) -> Rules:
        selector, n = self.selector, len(self.problem.pool)
        eligible = np.isfinite(self.noise)
        budget = np.inf if selector.budget is None else float(selector.budget)
        if not eligible.any():
            raise ValueError("candidate_weight must not be zero throughout")
        if not self.course.picks and self.cost[eligible].min() > budget:
            raise ValueError(
                f"budget={budget} is less than what any candidate costs, "
                f"{self.cost[eligible].min()}"
            )
        n_max = self._n_max(n, int(eligible.sum()))
        rules = Rules(eligible, n_max, self.cost, budget, selector.replace, self._reached)
        for p in self.course.picks:
            spend(rules, p)
        return rules

    def _n_max(self, n: int, n_eligible: int) -> int:
        selector, n_max = self.selector, self.selector.n_to_select
        if n_max is None and selector.budget is not None and selector.replace:
            return int(np.iinfo(np.int64).max)
        if n_max is None and selector.threshold is not None and selector.replace:
            raise ValueError(
                "n_to_select or budget must be given where replace=True: repetitions may approach "
                f"threshold={selector.threshold} for ever"
            )
        if n_max is None:
            free = selector.threshold is not None or selector.budget is not None
            n_max = n_eligible if free else 0.5
        if not isinstance(n_max, int | np.integer):
            n_max = max(1, int(n_max * n))
            n_max = n_max if selector.replace else min(n_max, n_eligible)
        if n_max > n_eligible and not selector.replace:
            raise ValueError(
                f"n_to_select={n_max} exceeds the number of candidates (of positive weight), "
                f"{n_eligible}, and replace=False"
            )
        if n_max < len(self.course.picks):
            raise ValueError(
                f"n_to_select={n_max} is less than the {len(self.course.picks)} candidates that "
                "warm_start=True continues after"
            )
        return int(n_max)

    def _reached(self, posterior: Posterior, value: float) -> bool:
        threshold = self.selector.threshold
        if threshold is None:
            return False
        if self.selector.threshold_on == "targets":
            v = posterior.state.v
            return bool(threshold <= 0 or v.max() <= 1 / threshold)
        return value <= threshold if self.selector.objective == "variance" else value >= threshold

    # --- the run -----------------------------------------------------------------------------

    def _first_pick(self) -> np.ndarray:
        objective = OBJECTIVES.get(self.selector.objective)
        try:
            first = FirstPick(self.problem.pool, self.model, self.targets, self.noise, self.weight)
            p, gain = first.choose(objective, self.rules)
        except UnpinnedError:
            raise ValueError(
                "alpha must be positive, and regularizer definite, where there is no X_train: "
                f"with alpha={self.model.alpha} some candidates or targets have rigidity 0"
            ) from None
        before = -np.inf if objective is None else objective.value(first.before, first.weight)
        self.course.path.append(float(before))
        self.course.gains.append(gain)
        self.course.picks.append(p)
        spend(self.rules, p)
        return first.before

    def _check_continues(self, posterior: Posterior, scores: Scores) -> None:
        """Tell a path that goes on from one that would be pieced together."""
        earlier, objective = self.problem.earlier, self.selector.objective
        last = earlier.target_rigidity_[1]
        now = self._rigidity(posterior.state.v, posterior.kept)
        same = objective == earlier._objective and now.shape == last.shape
        if same:
            same = np.allclose(now, last, rtol=_SAME, atol=0.0) and np.isclose(
                scores.value(), self.course.path[-1], rtol=_SAME, atol=_SAME
            )
        if not same:
            raise ValueError(
                "warm_start=True continues the last fit: X_target, X_train, their weights, "
                "objective and model must be the same; set warm_start=False to start over"
            )

    def _kind(self) -> str:
        if self.selector.objective == "information":
            return "information"
        if self.selector.objective != "variance" or isinstance(self.model, KernelModel):
            return "targets"
        n_targets = int(np.prod(self.shape))
        return (
            "trace" if self.targets is None or n_targets > 2 * self.model.n_features else "targets"
        )

    def _posterior(self) -> Posterior:
        pool, kind, picks = self.problem.pool, self._kind(), self.course.picks
        if isinstance(self.model, KernelModel):
            return KernelPosterior(
                kernel_pool(pool),
                self.model,
                self.targets,
                self.noise,
                self.weight,
                kind=kind,
                picks=picks,
            )
        return WhitenedPosterior(
            pool,
            self.model,
            self.targets,
            self.noise,
            self.weight,
            kind=kind,
            storage=self._storage(),
            picks=picks,
        )

    def _storage(self) -> Any:
        storage, pool = self.selector.storage, self.problem.pool
        if storage == "auto":
            at_hand = isinstance(pool, ArrayPool) and (
                isinstance(pool.X, Environments) or type(pool.X) is np.ndarray
            )
            return np.float64 if at_hand and not _on_disk(pool.X) else None  # type: ignore[attr-defined]
        return None if storage is None else np.dtype(storage)

    def _scores(self, posterior: Posterior) -> Scores:
        kind = self._kind()
        if kind == "information":
            path = self.course.path
            # -inf stands for an intercept that nothing determined before the first pick.
            start = path[-1] if path and np.isfinite(path[-1]) else 0.0
            return InformationScores(posterior.state, start)
        scores = TraceScores if kind == "trace" else TargetScores
        return scores(posterior.state, OBJECTIVES[self.selector.objective], posterior.weight)

    def _rigidity(self, v: np.ndarray, kept: np.ndarray) -> np.ndarray:
        full = v
        if len(v) != len(kept):
            full = np.zeros(len(kept))
            full[kept] = v
        R = np.full(len(full), np.inf)
        np.divide(1.0, full, out=R, where=full > 0)
        return R.reshape(self.shape).T if len(self.shape) == 2 else R

    def _warn(self, reached: bool) -> None:
        if self.selector.threshold is not None and not reached:
            warnings.warn(
                f"threshold={self.selector.threshold} is not reached with the "
                f"{len(self.course.picks)} candidates that n_to_select, budget and the pool allow",
                ConvergenceWarning,
                stacklevel=5,  # who called fit
            )


def _flat(X: Any, level: str) -> bool:
    return level == "local" and isinstance(X, Environments)


def _on_disk(X: Any) -> bool:
    """Tell whether an array, or what it is a view of, is a memory map."""
    while X is not None:
        if isinstance(X, np.memmap):
            return True
        X = getattr(X, "values", getattr(X, "base", None))
    return False
