"""Ways to choose candidates that a study compares: selectors, chance, distance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from scipy.spatial.distance import cdist
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import pairwise_distances_argmin_min
from sklearn.utils.validation import has_fit_parameter

from ..environments import Environments, as_environments, is_environments
from ._any_selector import fit_selector, selection_method


@dataclass
class Task:
    """What there is to choose from, as features that enter the model itself.

    Attributes
    ----------
    model : estimator
        Fitted to the training data; no pipeline around it.
    X_train, X_pool, X_target : array-like or structures
        Training data, candidates and targets.
    n_picks : int
        How many candidates to choose.
    """

    model: Any
    X_train: Any
    X_pool: Any
    X_target: Any
    n_picks: int


# Chooses candidates, one sequence of picks for every generator.
Strategy = Callable[[Task, list[np.random.RandomState]], list[Any]]


def as_strategy(name: str, given: Any, n_pool: int, n_picks: int) -> Strategy:
    """Turn what the user may give as a strategy into a function.

    Raises
    ------
    TypeError
        If it is nothing that could be one.
    ValueError
        If it is an unknown word, or a mask of the wrong length or with too few candidates.
    """
    if isinstance(given, str):
        if given not in ("random", "farthest"):
            raise ValueError(
                f"strategies[{name!r}] must be 'random', 'farthest', a mask of candidates, a "
                f"selector or a function, got {given!r}"
            )
        return _farthest if given == "farthest" else _random(np.arange(n_pool))
    if hasattr(given, "fit") or hasattr(given, "fit_resample"):
        return lambda task, generators: [_selected(given, task)]
    if callable(given):
        return lambda task, generators: [given(task.X_pool, task.n_picks, g) for g in generators]
    mask = np.asarray(given)
    if mask.dtype != bool or mask.ndim != 1:
        raise TypeError(
            f"strategies[{name!r}] must be 'random', 'farthest', a boolean mask of candidates, a "
            f"selector or a function, got {type(given).__name__}"
        )
    if len(mask) != n_pool or mask.sum() < n_picks:
        raise ValueError(
            f"strategies[{name!r}] must be a mask of the {n_pool} candidates with at least "
            f"n_picks={n_picks} of them, got {mask.sum()} of {len(mask)}"
        )
    return _random(np.flatnonzero(mask))


def _random(among: np.ndarray) -> Strategy:
    return lambda task, generators: [
        g.choice(among, task.n_picks, replace=False) for g in generators
    ]


def _selected(given: Any, task: Task) -> np.ndarray:
    """Return what a selector selects."""
    selector = clone(given)
    own = selector.get_params(deep=False)
    if "n_to_select" in own:
        selector.set_params(n_to_select=task.n_picks)
    brings_data = isinstance(own.get("estimator"), FrozenEstimator)
    if "estimator" in own and own["estimator"] is None and own.get("alpha") is None:
        selector.set_params(estimator=FrozenEstimator(task.model))
        brings_data = True
    known = {"X_target": task.X_target, "X_train": None if brings_data else task.X_train}
    params = {
        name: X
        for name, X in known.items()
        if X is not None
        and own.get(name) is None
        and selection_method(selector) == "fit"
        and has_fit_parameter(selector, name)
    }
    return fit_selector(selector, task.X_pool, None, params)[1][: task.n_picks]


def _farthest(task: Task, generators: list[np.random.RandomState]) -> list[Any]:
    """Choose the candidate farthest from the training set and all picks, again and again."""
    pool = _structures(task.X_pool, task.model)
    distance = pairwise_distances_argmin_min(pool, _structures(task.X_train, task.model))[1]
    picks = []
    for _ in range(task.n_picks):
        picks.append(int(np.argmax(distance)))
        distance = np.minimum(distance, cdist(pool, pool[picks[-1:]])[:, 0])
        distance[picks] = -1.0  # a duplicate of a pick has distance 0 too
    return [picks]


def _structures(X: Any, model: Any) -> np.ndarray:
    if is_environments(X):
        environments: Environments = as_environments(X)
        return environments.aggregate(getattr(model, "aggregate", "mean"))
    return X.toarray() if sp.issparse(X) else np.asarray(X, dtype=np.float64)
