"""From the arguments of a selection to its result."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, Self

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import _get_feature_names, _num_samples

from ..environments import Environments
from ..hessian import UnpinnedError
from ..linear_model import RigidRidge
from ._blocks import BlockInformationScores, BlockTargetScores
from ._candidates import make_candidates, noise
from ._first import FirstPick
from ._greedy import SelectionPath, StoppingRules, select
from ._kernel import KernelModel, KernelPosterior
from ._model import make_model
from ._objectives import OBJECTIVES
from ._pool import ArrayPool, ObjectPool, Pool, checked, on_disk, positive, unfrozen, weights
from ._scores import InformationScores, Scores, TargetScores, TraceScores
from ._state import Posterior
from ._whitened import WhitenedPosterior

# Rigidities that are computed again differ by less than this, relatively, unless the task does.
_SAME = 1e-3


class Selection:
    """One run of a `PRSelector`.

    Parameters
    ----------
    selector : PRSelector
        What to do.
    pool : Pool
        Samples.
    sample : array-like of shape (1, n_features)
        One of them, with the names of the features where there are any.
    data : dict
        What `PRSelector.fit` was given besides, by name; groups are numbers of candidates.
    earlier : PRSelector or None
        Whose picks to continue after.

    Attributes
    ----------
    path : SelectionPath
        How it went.
    target_rigidity : ndarray of shape (2, n_targets) or (2, n_targets, n_components)
        Before and after.
    n_candidates, n_unmovable : int
        Number of candidates, and of targets that cannot move.
    cost : ndarray of shape (n_candidates,)
        What each candidate costs.
    """

    target_rigidity: np.ndarray
    n_unmovable: int

    def __init__(
        self, selector: Any, pool: Pool, sample: Any, data: dict[str, Any], earlier: Any
    ) -> None:
        self.selector, self.pool, self.sample, self.data = selector, pool, sample, data
        self.earlier, groups = earlier, data["groups"]
        n = self.n_candidates = len(pool) if groups is None else int(groups.max()) + 1
        self.cost = positive(data["cost"], n, "cost")
        self.candidate_weight = weights(data["candidate_weight"], n, "candidate_weight")
        self.model = self._model()
        self.targets, self.shape = self._targets()
        self.weight = self._target_weight()
        self.candidates: Any = self._make_candidates(groups)
        self.path = SelectionPath()
        if earlier is not None:
            self.path.picks = earlier.selected_idx_.tolist()
            self.path.objective = earlier.objective_path_.tolist()
            self.path.gains = earlier.gains_.tolist()
        self.rules = self._rules()

    def run(self, tick: Callable[[], object]) -> Self:
        """Pick until a rule says stop."""
        before = None
        if self._unpinned and not self.path.picks:
            before = self._first_pick()
            tick()
        posterior = self._posterior()
        posterior.refresh()
        if before is None:
            before = posterior.state.v.copy()
        scores = self._scores(posterior)
        scores.started()
        if len(self.path.objective) == len(self.path.picks):
            self.path.objective.append(scores.value())
        if self.earlier is not None:
            self._check_continues(posterior, scores)
        reached = select(posterior, scores, self.rules, self.path, tick)
        self._warn_unless(reached)
        first, last = (self._rigidity(v, posterior.kept) for v in (before, posterior.state.v))
        if self.earlier is not None:
            first = self.earlier.target_rigidity_[0]
        self.target_rigidity = np.stack([first, last])
        self.n_unmovable = int((~posterior.kept).sum())
        return self

    @property
    def _unpinned(self) -> bool:
        """Whether nothing yet determines the intercept."""
        if self.candidates is None or self.model.base is not None:
            return False
        return bool(next(self.candidates.blocks())[1].has_intercept)

    def _warn_unless(self, reached: bool) -> None:
        if self.selector.threshold is not None and not reached:
            warnings.warn(
                f"threshold={self.selector.threshold} is not reached with the "
                f"{len(self.path.picks)} candidates that n_to_select, budget and the pool allow",
                ConvergenceWarning,
                stacklevel=5,  # who called fit
            )

    # --- parts of the problem ----------------------------------------------------------------

    def _model(self) -> Any:
        alpha, estimator, d = self.selector.alpha, self.selector.estimator, self.pool.n_features
        if alpha is not None and estimator is not None:
            raise ValueError(
                f"alpha={alpha} and estimator={estimator!r}: give one of them, the estimator has "
                "an alpha of its own"
            )
        if estimator is None:
            estimator = RigidRidge(1.0 if alpha is None else alpha)
        X_train, weight = self.data["X_train"], self.data["train_weight"]
        if X_train is not None:
            X = self._checked(X_train, "X_train", unfrozen(estimator))
            X_train = X_train if hasattr(X_train, "columns") else X
            if weight is not None:
                weight = weights(weight, _num_samples(X), "train_weight")
                if not weight.any():
                    raise ValueError("train_weight must not be zero throughout")
        elif weight is not None:
            raise ValueError("train_weight must be None where there is no X_train")
        sample = self.pool.X if isinstance(self.pool, ObjectPool) else self.sample
        model = make_model(estimator, sample, X_train, weight)
        if self.selector.properties is not None:
            if not hasattr(model.gradients, "restricted"):
                raise ValueError(
                    "properties must be None where estimator is fitted to one property, got "
                    f"{self.selector.properties!r}"
                )
            model.gradients = model.gradients.restricted(self.selector.properties)
        if d is not None and model.n_features != d:
            raise ValueError(
                f"estimator was fitted on {model.n_features} features, the pool has {d}"
            )
        self._same_columns(estimator, "estimator")
        return model

    def _make_candidates(self, groups: Any) -> Any:
        if not isinstance(self.model, KernelModel):
            return make_candidates(self.pool, self.model, self.candidate_weight, groups)
        if groups is not None:
            raise ValueError("groups must be None where estimator is a kernel model")
        return None

    def _checked(self, X: Any, name: str, estimator: Any) -> Any:
        if isinstance(self.pool, ObjectPool):
            return estimator._validated(X, name=name)
        self._same_columns(X, name)
        return checked(X, name, self.pool.n_features)

    def _same_columns(self, source: Any, name: str) -> None:
        expected = getattr(self.selector, "feature_names_in_", None)
        if expected is None:
            return
        names = getattr(source, "feature_names_in_", None)
        names = _get_feature_names(source) if names is None else names
        if names is None or len(names) != len(expected):
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
        level, components = self.selector.level, self.selector.components
        X = self.data["X_target"]
        if components is not None and level != "component":
            raise ValueError(f"components must be None where level={level!r}")
        if X is None:
            if level == "global":
                return None, (len(self.pool),)
            if not isinstance(self.pool, ArrayPool):
                raise ValueError(
                    f"X_target must be given where level={level!r} and X is a function"
                )
            X = self.pool.X
        else:
            X = self._checked(X, "X_target", getattr(self.model, "estimator", None))
        gradients = self.model.gradients
        if level != "component":
            rows = gradients.rows(X, level)
            return [rows], (len(rows),)
        parts = gradients.resolve(components).values()
        targets = [gradients.rows(X, "global", part) for part in parts]
        return targets, (len(targets), len(targets[0]))

    def _target_weight(self) -> np.ndarray:
        shape, given = self.shape, self.data["target_weight"]
        if given is not None and self.targets is None:
            raise ValueError("target_weight must be None where there is no X_target")
        if given is not None and self.selector.objective == "information":
            raise ValueError("target_weight must be None where objective='information'")
        weight = positive(given, shape[-1], "target_weight")
        return np.tile(weight, shape[0]) if len(shape) == 2 else weight

    def _rules(self) -> StoppingRules:
        selector = self.selector
        eligible = self.candidate_weight > 0
        budget = np.inf if selector.budget is None else float(selector.budget)
        if not eligible.any():
            raise ValueError("candidate_weight must not be zero throughout")
        if not self.path.picks and self.cost[eligible].min() > budget:
            raise ValueError(
                f"budget={budget} is less than what any candidate costs, "
                f"{self.cost[eligible].min()}"
            )
        n_max = self._n_max(int(eligible.sum()))
        rules = StoppingRules(eligible, n_max, self.cost, budget, selector.replace, self._reached)
        for p in self.path.picks:
            rules.spend(p)
        return rules

    def _n_max(self, n_eligible: int) -> int:
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
            n_max = max(1, int(n_max * self.n_candidates))
            n_max = n_max if selector.replace else min(n_max, n_eligible)
        if n_max > n_eligible and not selector.replace:
            raise ValueError(
                f"n_to_select={n_max} exceeds the number of candidates (of positive weight), "
                f"{n_eligible}, and replace=False"
            )
        if n_max < len(self.path.picks):
            raise ValueError(
                f"n_to_select={n_max} is less than the {len(self.path.picks)} candidates that "
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
            first = FirstPick(self.candidates, self.targets, self.weight)
            p, gain = first.choose(objective, self.rules)
        except UnpinnedError:
            raise ValueError(
                "alpha must be positive, and regularizer definite, where there is no X_train: "
                f"with alpha={self.model.alpha} some candidates or targets have rigidity 0"
            ) from None
        before = -np.inf if objective is None else objective.value(first.before, first.weight)
        self.path.objective.append(float(before))
        self.path.gains.append(gain)
        self.path.picks.append(p)
        self.rules.spend(p)
        return first.before

    def _check_continues(self, posterior: Posterior, scores: Scores) -> None:
        """Tell a path that goes on from one that would be pieced together."""
        earlier, objective = self.earlier, self.selector.objective
        last = earlier.target_rigidity_[1]
        now = self._rigidity(posterior.state.v, posterior.kept)
        same = objective == earlier._objective and now.shape == last.shape
        if same:
            same = np.allclose(now, last, rtol=_SAME, atol=0.0) and np.isclose(
                scores.value(), self.path.objective[-1], rtol=_SAME, atol=_SAME
            )
        if not same:
            raise ValueError(
                "warm_start=True continues the last fit: X_target, X_train, their weights, "
                "objective and model must be the same; set warm_start=False to start over"
            )

    def _kind(self) -> str:
        if self.selector.objective == "information":
            return "information"
        single = self.candidates is not None and self.candidates.members is None
        if self.selector.objective != "variance" or not single:
            return "targets"
        many = self.targets is None or int(np.prod(self.shape)) > 2 * self.model.n_features
        return "trace" if many else "targets"

    def _posterior(self) -> Posterior:
        arguments = self.targets, self.weight, self._kind(), self.path.picks
        if self.candidates is not None:
            storage = np.float64 if self.candidates.members else self._storage()
            return WhitenedPosterior(self.candidates, storage, *arguments)
        if not isinstance(self.pool, ArrayPool):
            raise ValueError(
                "X: kernel models need the whole pool at hand, not a function that returns blocks"
            )
        return KernelPosterior(self.pool.X, self.model, noise(self.candidate_weight), *arguments)

    def _storage(self) -> Any:
        storage = self.selector.storage
        if storage != "auto":
            return None if storage is None else np.dtype(storage)
        X = getattr(self.pool, "X", None)
        at_hand = isinstance(X, Environments | list) or type(X) is np.ndarray
        return np.float64 if at_hand and not on_disk(X) else None

    def _scores(self, posterior: Posterior) -> Scores:
        kind, state, weight = self._kind(), posterior.state, posterior.weight
        if kind == "information":
            path = self.path.objective
            # -inf stands for an intercept that nothing determined before the first pick.
            start = path[-1] if path and np.isfinite(path[-1]) else 0.0
            return (BlockInformationScores if state.members else InformationScores)(state, start)
        several = BlockTargetScores if state.members else TargetScores
        scores = TraceScores if kind == "trace" else several
        return scores(state, OBJECTIVES[self.selector.objective], weight)

    def _rigidity(self, v: np.ndarray, kept: np.ndarray) -> np.ndarray:
        full = np.zeros(len(kept))
        full[kept] = v
        with np.errstate(divide="ignore"):
            R = 1 / np.maximum(full, 0.0)
        return R.reshape(self.shape).T if len(self.shape) == 2 else R
