"""What the choice of additional training data does to the predictions of a target."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
from sklearn.base import clone
from sklearn.utils import _safe_indexing, check_random_state
from sklearn.utils._param_validation import HasMethods, Interval, validate_params
from sklearn.utils.validation import _num_samples

from ..environments import Environments, as_environments, is_environments
from ..linear_model import RigidRidge, RigidRidgeCV
from ..metrics import prediction_rigidity, unwrap
from ._pool import named_check
from ._selector import PRSelector
from ._strategies import Task, as_strategy


@validate_params(
    {
        "n_picks": [Interval(Integral, 1, None, closed="left")],
        "strategies": [dict, None],
        "estimator": [HasMethods(["fit", "predict"]), None],
        "n_random": [Interval(Integral, 1, None, closed="left")],
        "random_state": ["random_state"],
    },
    prefer_skip_nested_validation=True,
)
def augmentation_study(
    X_train: Any,
    y_train: Any,
    X_pool: Any,
    y_pool: Any,
    X_target: Any,
    y_target: Any,
    *,
    n_picks: int = 10,
    strategies: dict[str, Any] | None = None,
    estimator: Any = None,
    n_random: int = 10,
    random_state: Any = None,
) -> pd.DataFrame:
    """Compare ways to choose the samples that are to join a training set.

    Every strategy picks candidates one after the other. After every pick the estimator is fitted
    anew to the training set and the picks so far, and asked how firmly it predicts the targets,
    and how well. Labels of candidates are used in these fits and not in the choice, labels of
    targets in their errors alone.

    Parameters
    ----------
    X_train : array-like of shape (n_train, n_features), structures, or what `estimator` takes
        The training set that there is.
    y_train : array-like of shape (n_train,) or (n_train, n_outputs)
        Its labels.
    X_pool : array-like of shape (n_pool, n_features), structures, or what `estimator` takes
        Candidates, in the same container as the training set.
    y_pool : array-like of shape (n_pool,) or (n_pool, n_outputs)
        Their labels.
    X_target : array-like of shape (n_target, n_features), structures, or what `estimator` takes
        What the model is to predict.
    y_target : array-like of shape (n_target,) or (n_target, n_outputs)
        Its labels.
    n_picks : int, default=10
        Number of candidates to choose.
    strategies : dict, default=None
        What to compare, by the names that it has in the result:

        - a selector of samples, such as a `PRSelector` or those of scikit-matter. It is cloned;
          `n_to_select` is set to `n_picks`, and `X_target` and `X_train` are given to a `fit`
          that takes them. A `PRSelector` without an estimator selects under the one of the study;
        - ``"random"``, or a boolean mask of shape (n_pool,) for chance within a part of the pool;
        - ``"farthest"``: the candidate farthest from the training set and all picks so far;
        - a function ``f(X_pool, n_picks, random_state)`` that returns indices.

        Selectors and distances see the features that enter the last step of `estimator`, as
        fitted to the training set. None is ``{"rigidity": PRSelector(), "random": "random",
        "farthest": "farthest"}``.
    estimator : estimator with prediction rigidities, default=None
        Or a pipeline or search that ends in one. It is fitted as it is after every pick: a
        `RigidRidge` keeps its alpha, a `RigidRidgeCV` or a search chooses it anew, and rigidities
        for different alphas do not compare. None is a `RigidRidge` with the alpha that
        `RigidRidgeCV` chooses for the training set.
    n_random : int, default=10
        How often chance and functions choose.
    random_state : int, RandomState instance or None, default=None
        Seed of these choices. What a strategy picks does not depend on the other ones.

    Returns
    -------
    DataFrame
        A row for every strategy, seed and number of picks, from 0 to `n_picks`:

        strategy : str
            Name in `strategies`.
        seed : int
            From 0 to ``n_random - 1``; 0 for selectors and distances.
        n_picks : int
            Number of candidates added.
        index : Int64
            The last one of them, as a position in the pool; missing where there are none.
        target_rigidity : float
            Mean rigidity of those predictions of targets that can move (R < inf).
        target_rmse : float
            Root mean squared error of the targets in units of `y_target`, over all outputs.

    Raises
    ------
    TypeError
        If the estimator has no rigidities, or something in `strategies` is not a strategy.
    ValueError
        If lengths or numbers of features differ, labels of targets are not finite, or the pool or
        a part of it is too small.

    See Also
    --------
    PRSelector : The selection guided by rigidity.

    Notes
    -----
    A single study says little: which candidates are close to the targets, and which of them the
    seeds happen to find, differs from split to split. Compare medians over many random splits.

    References
    ----------
    Chong, Bigi, Grasselli, Loche, Kellner, Ceriotti, Faraday Discuss. 256, 322 (2025), section
    4.1, figure 4.

    Examples
    --------
    >>> import numpy as np
    >>> from skrigidity import PRSelector, RigidRidge
    >>> from skrigidity.sample_selection import augmentation_study
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((120, 8)) * [1, 1, 1, 1, 1, 1, 3, 3]
    >>> y = X @ np.arange(8.0) + 0.1 * rng.standard_normal(120)
    >>> dense = np.abs(X[:, 6:]).max(axis=1) < 1
    >>> target = ~dense & (X[:, 6] > 3)
    >>> pool = ~dense & ~target
    >>> paths = augmentation_study(
    ...     X[dense],
    ...     y[dense],
    ...     X[pool],
    ...     y[pool],
    ...     X[target],
    ...     y[target],
    ...     n_picks=2,
    ...     strategies={"guided": PRSelector(), "random": "random", "low": X[pool, 7] < 0},
    ...     estimator=RigidRidge(alpha=0.1),
    ...     random_state=0,
    ... )
    >>> medians = paths.groupby(["strategy", "n_picks"])[["target_rigidity", "target_rmse"]]
    >>> medians.median().round(3)
                      target_rigidity  target_rmse
    strategy n_picks
    guided   0                  0.009       26.098
             1                  0.057        4.352
             2                  0.114        1.642
    low      0                  0.009       26.098
             1                  0.016        7.948
             2                  0.023        6.625
    random   0                  0.009       26.098
             1                  0.020        5.250
             2                  0.032        4.242
    """
    n_pool = _checked_sizes(X_train, y_train, X_pool, y_pool, X_target, y_target)
    if n_picks > n_pool:
        raise ValueError(f"n_picks={n_picks} exceeds the number of candidates, {n_pool}")
    if strategies is None:
        strategies = {"rigidity": PRSelector(), "random": "random", "farthest": "farthest"}
    made = {name: as_strategy(name, given, n_pool, n_picks) for name, given in strategies.items()}
    if estimator is None:
        estimator = RigidRidge(RigidRidgeCV().fit(X_train, y_train).alpha_)
    y = np.concatenate([np.asarray(y_train), np.asarray(y_pool)])
    refits = _Refits(estimator, _joined(X_train, X_pool), y, n_pool, X_target, y_target)
    seen = [refits.features(X) for X in (X_train, X_pool, X_target)]
    task = Task(refits.model, seen[0], seen[1], seen[2], n_picks)
    seeds = check_random_state(random_state).randint(np.iinfo(np.int32).max, size=n_random)
    rows: list[tuple] = []
    for name, strategy in made.items():
        for seed, picks in enumerate(strategy(task, [np.random.RandomState(s) for s in seeds])):
            path = refits.path(_checked_picks(name, picks, n_pool))
            rows += [(name, seed, *step) for step in path]
    columns = ["strategy", "seed", "n_picks", "index", "target_rigidity", "target_rmse"]
    return pd.DataFrame(rows, columns=columns).astype({"index": "Int64"})


class _Refits:
    """Models fitted to the training set and some picks, and what becomes of the targets.

    Parameters
    ----------
    estimator : estimator
        Cloned for every fit.
    X, y : array-like
        Training data, and after them the pool.
    n_pool : int
        Number of candidates.
    X_target, y_target : array-like
        Targets.
    """

    def __init__(
        self, estimator: Any, X: Any, y: Any, n_pool: int, X_target: Any, y_target: Any
    ) -> None:
        self.estimator, self.X, self.y = estimator, X, y
        self.n_train = _num_samples(X) - n_pool
        self.X_target = X_target
        self.y_target = named_check(y_target, "y_target", ensure_2d=False, dtype=np.float64)
        self._known: dict[tuple[int, ...], tuple[float, float]] = {}
        self._first = self._fitted([])
        self.model = unwrap(self._first, X_target, method="prediction_rigidity")[0]

    def features(self, X: Any) -> Any:
        """Return what enters the last step of the estimator as fitted to the training set."""
        return unwrap(self._first, X, method="prediction_rigidity")[1]

    def path(self, picks: list[int]) -> list[tuple[int, int | None, float, float]]:
        """Return number of picks, last pick, mean rigidity and error, with more and more picks."""
        return [
            (k, picks[k - 1] if k else None, *self._result(picks[:k]))
            for k in range(len(picks) + 1)
        ]

    def _fitted(self, picks: list[int]) -> Any:
        rows = np.concatenate([np.arange(self.n_train), self.n_train + np.array(picks, dtype=int)])
        return clone(self.estimator).fit(_safe_indexing(self.X, rows), _safe_indexing(self.y, rows))

    def _result(self, picks: list[int]) -> tuple[float, float]:
        key = tuple(picks)  # strategies begin alike, and may go on alike
        if key not in self._known:
            model = self._fitted(picks) if picks else self._first
            R = np.asarray(prediction_rigidity(model, self.X_target))
            movable = R[np.isfinite(R)]
            predicted = np.asarray(model.predict(self.X_target))
            if predicted.shape != self.y_target.shape:
                raise ValueError(
                    f"y_target must have the shape of the predictions, {predicted.shape}, got "
                    f"{self.y_target.shape}"
                )
            error = predicted - self.y_target
            self._known[key] = (
                float(movable.mean()) if movable.size else np.inf,
                float(np.sqrt(np.mean(error**2))),
            )
        return self._known[key]


def _checked_sizes(*data: Any) -> int:
    """Compare lengths and widths of X and y of all three parts; return the size of the pool."""
    parts = zip(("train", "pool", "target"), data[::2], data[1::2], strict=True)
    width = _width(data[0])
    for name, X, y in parts:
        if _num_samples(X) != _num_samples(y):
            raise ValueError(
                f"y_{name} must have one entry per sample of X_{name}, {_num_samples(X)}, got "
                f"{_num_samples(y)}"
            )
        if _width(X) != width:
            raise ValueError(
                f"X_{name} must have as many features as X_train, {width}, got {_width(X)}"
            )
    return int(_num_samples(data[2]))


def _width(X: Any) -> int | None:
    """Return the number of features, None where they are yet to be computed."""
    if is_environments(X):
        return int(as_environments(X).shape[1])
    return int(X.shape[1]) if getattr(X, "ndim", 0) == 2 else None


def _checked_picks(name: str, picks: Any, n_pool: int) -> list[int]:
    picks = np.asarray(picks)
    if picks.ndim != 1 or picks.dtype.kind not in "iu":
        raise TypeError(
            f"strategies[{name!r}] must return integer indices of candidates, got an array of "
            f"shape {picks.shape} of {picks.dtype}"
        )
    if not len(picks) or not 0 <= picks.min() <= picks.max() < n_pool:
        raise ValueError(
            f"strategies[{name!r}] must choose among the {n_pool} candidates, got {picks}"
        )
    return [int(p) for p in picks]


def _joined(train: Any, pool: Any) -> Any:
    if is_environments(train) and is_environments(pool):
        parts = as_environments(train, name="X_train"), as_environments(pool, name="X_pool")
        return Environments.from_arrays([*parts[0], *parts[1]])
    if _container(train) != _container(pool):
        raise TypeError(
            f"X_pool must be the same kind of container as X_train, {type(train).__name__}, got "
            f"{type(pool).__name__}"
        )
    if isinstance(train, list | tuple):
        return [*train, *pool]
    if sp.issparse(train):
        return sp.vstack([train, pool], format="csr")
    if hasattr(train, "iloc"):
        return pd.concat([train, pool], ignore_index=True)
    return np.concatenate([np.asarray(train), np.asarray(pool)])


def _container(X: Any) -> tuple[bool, bool, bool]:
    return isinstance(X, list | tuple), sp.issparse(X), hasattr(X, "iloc")
