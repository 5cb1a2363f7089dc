"""Rigidities of composite estimators: through pipelines, searches and target transforms."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from sklearn.compose import TransformedTargetRegressor
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

# Decades of steps, in units of the prediction or its deviation, and when their slopes agree.
_LARGEST_STEP, _SMALLEST_STEP, _AGREED = 3, -14, 1e-7


def prediction_rigidity(estimator: Any, X: Any) -> Any:
    """Prediction rigidity of every sample under a fitted, possibly composite estimator.

    Sees through `Pipeline`, `GridSearchCV` and its relatives, `TransformedTargetRegressor` and
    `FrozenEstimator`. A rigidity does not change with the units of the target.

    Parameters
    ----------
    estimator : object
        Fitted estimator that is, or contains, one with rigidities.
    X : array-like, structures, or whatever the estimator predicts from
        Samples.

    Returns
    -------
    ndarray of shape (n_samples,) or (n_samples, n_targets)
        Rigidities.

    Raises
    ------
    TypeError
        If the estimator has no rigidities.
    NotFittedError
        If it is not fitted.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skrigidity.linear_model import RigidRidge
    >>> from skrigidity.metrics import prediction_rigidity
    >>> X = np.arange(8.0).reshape(4, 2) ** 2
    >>> model = make_pipeline(StandardScaler(), RigidRidge()).fit(X, X[:, 0])
    >>> prediction_rigidity(model, X).round(2)
    array([2.01, 2.81, 3.85, 1.27])
    """
    model, X = _innermost(estimator, X, "prediction_rigidity")
    return model.prediction_rigidity(X)


def local_rigidity(estimator: Any, X: Any) -> Any:
    """Local prediction rigidity of every environment under a possibly composite estimator.

    Parameters
    ----------
    estimator : object
        Fitted estimator that is, or contains, one with local rigidities.
    X : structures, or whatever the estimator predicts from
        Samples made of environments.

    Returns
    -------
    list of ndarray of shape (n_environments,)
        One array per structure.

    Raises
    ------
    TypeError
        If the estimator has no local rigidities.

    Examples
    --------
    >>> import numpy as np
    >>> from skrigidity.linear_model import RigidRidge
    >>> from skrigidity.metrics import local_rigidity
    >>> X = [np.eye(2), np.ones((3, 2)), np.zeros((1, 2))]
    >>> model = RigidRidge().fit(X, [0.0, 1.0, 2.0])
    >>> [R.shape for R in local_rigidity(model, X)]
    [(2,), (3,), (1,)]
    """
    model, X = _innermost(estimator, X, "local_rigidity")
    return model.local_rigidity(X)


def component_rigidity(
    estimator: Any, X: Any, components: Any = None, *, level: str = "global"
) -> Any:
    """Component-wise prediction rigidity under a possibly composite estimator.

    Parameters
    ----------
    estimator : object
        Fitted estimator that is, or contains, one with component rigidities.
    X : array-like, structures, or whatever the estimator predicts from
        Samples.
    components : list of int, list of slice, or dict of columns, default=None
        Components of the features that enter the last step; None where that has its own.
    level : {"global", "local"}, default="global"
        Per sample, or per environment.

    Returns
    -------
    ndarray of shape (n_samples, n_components)
        A list of such arrays, one per structure, for structures and ``level="local"``.

    Raises
    ------
    TypeError
        If the estimator has no component rigidities.

    Examples
    --------
    >>> import numpy as np
    >>> from skrigidity.linear_model import RigidRidge
    >>> from skrigidity.metrics import component_rigidity
    >>> X = np.arange(12.0).reshape(4, 3) ** 2
    >>> model = RigidRidge().fit(X, X[:, 0])
    >>> component_rigidity(model, X, components=[1, 2]).shape
    (4, 2)
    """
    model, X = _innermost(estimator, X, "component_rigidity")
    return model.component_rigidity(X, components, level=level)


def prediction_std(estimator: Any, X: Any) -> np.ndarray:
    """Calibrated standard deviation of the error under a possibly composite estimator.

    `GridSearchCV` and `TransformedTargetRegressor` do not pass ``return_std`` on; this does.
    An affine transform of the target scales the deviation, any other one is linearized at the
    prediction (delta method).

    Parameters
    ----------
    estimator : object
        Fitted estimator that is, or contains, one whose ``predict`` has ``return_std``.
    X : array-like, structures, or whatever the estimator predicts from
        Samples.

    Returns
    -------
    ndarray of the shape of the predictions
        Standard deviations, in units of the target.

    Raises
    ------
    TypeError
        If the estimator has no standard deviations.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.model_selection import GridSearchCV
    >>> from skrigidity.linear_model import RigidRidge
    >>> from skrigidity.metrics import prediction_std
    >>> X = np.arange(20.0).reshape(10, 2) ** 2
    >>> search = GridSearchCV(RigidRidge(), {"alpha": [0.1, 1.0]}).fit(X, X[:, 0])
    >>> prediction_std(search, X).shape
    (10,)
    """
    return _mean_and_std(estimator, X)[1]


def _mean_and_std(estimator: Any, X: Any, outer: Any = None) -> tuple[np.ndarray, np.ndarray]:
    model, X = _unwrap(estimator, X)
    if isinstance(model, TransformedTargetRegressor):
        check_is_fitted(model)
        mean, std = _mean_and_std(model.regressor_, X, outer or estimator)
        return _transformed(model, mean, std)
    if not hasattr(model, "prediction_rigidity"):
        raise TypeError(_none_message(outer or estimator, model, "standard deviations"))
    return model.predict(X, return_std=True)


def _transformed(
    model: TransformedTargetRegressor, mean: np.ndarray, std: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    def back(y: np.ndarray) -> np.ndarray:
        flat = y.reshape(-1, 1) if y.ndim == 1 else y
        out = np.asarray(model.transformer_.inverse_transform(flat))
        return out.reshape(y.shape) if out.size == y.size else out

    return back(mean), np.abs(_slope(back, mean, std)) * std


def _slope(back: Any, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    """Differentiate `back`: central differences, steps shrinking until two of them agree.

    Large steps first, for affine maps lose nothing there, however large their offset.
    """
    scale = np.maximum(np.abs(mean), np.where(np.isfinite(std), std, 0.0))
    scale = np.where(scale > 0, scale, 1.0)
    slope, change = np.zeros_like(mean), np.full(mean.shape, np.inf)
    last = np.full(mean.shape, np.nan)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore", RuntimeWarning)  # outside of the domain of `back`
        for exponent in range(_LARGEST_STEP, _SMALLEST_STEP, -1):
            step = scale * 10.0**exponent
            here = (back(mean + step) - back(mean - step)) / (2 * step)
            differs = np.abs(here - last) / np.maximum(np.abs(here), np.abs(last))
            better = (change > _AGREED) & (differs < change)
            slope, change = np.where(better, here, slope), np.where(better, differs, change)
            last = here
    return slope


def _innermost(estimator: Any, X: Any, method: str) -> tuple[Any, Any]:
    model, X = _unwrap(estimator, X)
    while isinstance(model, TransformedTargetRegressor):
        check_is_fitted(model)
        model, X = _unwrap(model.regressor_, X)
    if not hasattr(model, method):
        raise TypeError(_none_message(estimator, model, method))
    return model, X


def _unwrap(estimator: Any, X: Any) -> tuple[Any, Any]:
    """Descend through searches, pipelines and frozen estimators, transforming X on the way."""
    while True:
        if hasattr(estimator, "best_estimator_"):
            estimator = estimator.best_estimator_
        elif isinstance(estimator, FrozenEstimator):
            estimator = estimator.estimator
        elif isinstance(estimator, Pipeline):
            check_is_fitted(estimator)
            if len(estimator.steps) > 1:
                X = estimator[:-1].transform(X)
            estimator = estimator.steps[-1][1]
        elif hasattr(estimator, "refit") and hasattr(estimator, "estimator"):
            check_is_fitted(estimator, "best_estimator_")
        elif hasattr(estimator, "selector") and hasattr(estimator, "estimator"):
            check_is_fitted(estimator, "estimator_")  # a SubsetRegressor
            estimator = estimator.estimator_
        else:
            return estimator, X


def _none_message(estimator: Any, model: Any, what: str) -> str:
    inner = type(model).__name__
    outer = type(estimator).__name__
    where = inner if inner == outer else f"{inner} (inside {outer})"
    return f"estimator must have {what}, which {where} has not; RigidRidge does, for example"
