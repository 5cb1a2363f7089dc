"""Rigidities of composite estimators: through pipelines, searches and target transforms."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from sklearn.compose import TransformedTargetRegressor
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import FixedThresholdClassifier, TunedThresholdClassifierCV
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
    model, X = unwrap(estimator, X, method="prediction_rigidity")
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
    model, X = unwrap(estimator, X, method="local_rigidity")
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
    model, X = unwrap(estimator, X, method="component_rigidity")
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


def probability_std(estimator: Any, X: Any) -> np.ndarray:
    """Standard deviation of predicted probabilities under a possibly composite classifier.

    Parameters
    ----------
    estimator : object
        Fitted estimator that is, or contains, a `WithRigidity` classifier.
    X : array-like, structures, or whatever the estimator predicts from
        Samples.

    Returns
    -------
    ndarray of shape (n_samples, n_classes)
        Standard deviations of ``predict_proba``, by the delta method.

    Raises
    ------
    TypeError
        If the estimator has no such deviations.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skrigidity import WithRigidity
    >>> from skrigidity.metrics import probability_std
    >>> X, y = np.arange(6.0)[:, None], np.array([0, 0, 1, 0, 1, 1])
    >>> model = make_pipeline(StandardScaler(), WithRigidity(LogisticRegression())).fit(X, y)
    >>> probability_std(model, X).shape
    (6, 2)
    """
    model, X = unwrap(estimator, X, method="probability_std")
    return model.probability_std(X)


def rigidity_with(
    estimator: Any, X: Any, X_added: Any, sample_weight: Any = None, *, level: str = "global"
) -> Any:
    """Return rigidities after adding samples to the training set of a composite estimator.

    Parameters
    ----------
    estimator : object
        Fitted estimator that is, or contains, one with rigidities.
    X : array-like, structures, or whatever the estimator predicts from
        Whose rigidity is asked for.
    X_added : array-like, structures, or whatever the estimator predicts from
        What is added; no labels are needed.
    sample_weight : array-like of shape (n_added,), default=None
        Weights of the added samples.
    level : {"global", "local"}, default="global"
        Rigidities of samples, or of environments.

    Returns
    -------
    ndarray or list of ndarray, as of `prediction_rigidity` or `local_rigidity`
        Rigidities, never below those before.

    Raises
    ------
    TypeError
        If the estimator has no rigidities.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skrigidity import RigidRidge
    >>> from skrigidity.metrics import prediction_rigidity, rigidity_with
    >>> X = np.arange(8.0).reshape(4, 2) ** 2
    >>> model = make_pipeline(StandardScaler(), RigidRidge()).fit(X, X[:, 0])
    >>> (rigidity_with(model, X[:1], X[:1]) - prediction_rigidity(model, X[:1])).round(6)
    array([1.])
    """
    model, X, X_added = unwrap(estimator, X, X_added, method="rigidity_with")
    return model.rigidity_with(X, X_added, sample_weight, level=level)


def unwrap(
    estimator: Any, *inputs: Any, method: str | None = None, through_targets: bool = True
) -> tuple[Any, ...]:
    """Return the innermost fitted estimator, and input as it reaches that.

    Sees through `Pipeline`, `GridSearchCV` and its relatives, `TransformedTargetRegressor`,
    `FrozenEstimator`, threshold classifiers and `SubsetRegressor`.

    Parameters
    ----------
    estimator : object
        Fitted, possibly composite estimator.
    *inputs : array-like, structures, or whatever the estimator predicts from
        Transformed on the way.
    method : str, default=None
        What the innermost estimator must have.
    through_targets : bool, default=True
        Whether to look into a `TransformedTargetRegressor`, whose regressor predicts in other
        units.

    Returns
    -------
    tuple
        The estimator, and the inputs.

    Raises
    ------
    TypeError
        If it lacks the method; if `estimator` is a class, or averages several models.
    NotFittedError
        If something on the way is not fitted.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skrigidity import RigidRidge
    >>> from skrigidity.metrics import unwrap
    >>> X = np.array([[0.0], [2.0]])
    >>> unwrap(make_pipeline(StandardScaler(), RigidRidge()).fit(X, [0, 1]), X)
    (RigidRidge(), array([[-1.],
           [ 1.]]))
    """
    model, *found = _descend(estimator, *inputs)
    while through_targets and isinstance(model, TransformedTargetRegressor):
        check_is_fitted(model)
        model, *found = _descend(model.regressor_, *found)
    if method is not None and not hasattr(model, method):
        raise TypeError(_none_message(estimator, model, method))
    return (model, *found)


def _mean_and_std(estimator: Any, X: Any, outer: Any = None) -> tuple[np.ndarray, np.ndarray]:
    model, X = _descend(estimator, X)
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


def _descend(estimator: Any, *inputs: Any) -> tuple[Any, ...]:
    """Go through searches, pipelines and wrappers, transforming the inputs on the way."""
    if isinstance(estimator, type):
        raise TypeError(
            f"estimator must be a fitted instance, got the class {estimator.__name__}: "
            f"call {estimator.__name__}(...).fit(X, y) first"
        )
    while True:
        if hasattr(estimator, "best_estimator_"):
            estimator = estimator.best_estimator_
        elif isinstance(estimator, FrozenEstimator):
            estimator = estimator.estimator
        elif isinstance(estimator, Pipeline):
            check_is_fitted(estimator)
            if len(estimator.steps) > 1:
                inputs = tuple(estimator[:-1].transform(X) for X in inputs)
            estimator = estimator.steps[-1][1]
        elif _wraps_one(estimator):
            check_is_fitted(estimator, "estimator_")
            estimator = estimator.estimator_
        elif hasattr(estimator, "refit") and hasattr(estimator, "estimator"):
            check_is_fitted(estimator, "best_estimator_")
        else:
            return (estimator, *inputs)


def _wraps_one(estimator: Any) -> bool:
    """Whether predictions are those of one `estimator_`: chosen data, or another threshold."""
    if not hasattr(estimator, "estimator"):
        return False
    threshold = isinstance(estimator, FixedThresholdClassifier | TunedThresholdClassifierCV)
    return threshold or hasattr(estimator, "selector")


def _none_message(estimator: Any, model: Any, what: str) -> str:
    inner, outer = type(model).__name__, type(estimator).__name__
    where = inner if inner == outer else f"{inner} (inside {outer})"
    several = any(hasattr(model, name) for name in _SEVERAL)
    if several:
        cure = "it combines several models: ask each of them, or wrap one of them by itself"
    elif inner in _KNOWN_TO_WITH_RIGIDITY or hasattr(model, "coef_"):
        cure = f"WithRigidity({inner}(...)) may, RigidRidge does"
    else:
        cure = "RigidRidge does, for example"
    return f"estimator must have {what}, which {where} has not; {cure}"


_SEVERAL = ("estimators_", "estimators", "calibrated_classifiers_")
# Without coefficients, and with a Hessian all the same.
_KNOWN_TO_WITH_RIGIDITY = ("KernelRidge", "GaussianProcessRegressor")
