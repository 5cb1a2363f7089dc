"""What displays are given: checked, flattened, and taken from estimators."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from sklearn.utils import check_array
from sklearn.utils.validation import check_consistent_length

from ..metrics import component_rigidity, local_rigidity, prediction_rigidity, prediction_std

LEVELS = ("global", "local", "component")
LABELS = {
    "global": "prediction rigidity",
    "local": "local prediction rigidity",
    "component": "component prediction rigidity",
}


class Predictions(NamedTuple):
    """Targets, predictions and standard deviations of one target, each of shape (n_samples,)."""

    y_true: np.ndarray
    y_pred: np.ndarray
    y_std: np.ndarray


def predictions(y_true: Any, y_pred: Any, y_std: Any, target: int | None) -> Predictions:
    """Check predictions with error bars, and choose the target."""
    y, mean, std = (
        one_target(values, target, name)
        for values, name in ((y_true, "y_true"), (y_pred, "y_pred"), (y_std, "y_std"))
    )
    if not y.shape == mean.shape == std.shape:
        raise ValueError(
            "y_true, y_pred and y_std must have the same shape, got "
            f"{y.shape}, {mean.shape} and {std.shape}"
        )
    for values, name in ((y, "y_true"), (mean, "y_pred")):
        check_array(values, ensure_2d=False, input_name=name)
    return Predictions(y, mean, not_negative(std, "y_std"))


def predictions_of(estimator: Any, X: Any) -> tuple[Any, Any]:
    """Return predictions and standard deviations of a possibly composite estimator."""
    return estimator.predict(X), prediction_std(estimator, X)


def one_target(values: Any, target: int | None, name: str) -> np.ndarray:
    """Return the column of a target; what has one column needs no `target`."""
    array = check_array(
        values, dtype=np.float64, ensure_2d=False, ensure_all_finite=False, input_name=name
    )
    if array.ndim > 2:
        raise ValueError(f"{name} must be of shape (n_samples,) or (n_samples, n_targets)")
    columns = array.reshape(len(array), -1)
    n = columns.shape[1]
    if target is None and n > 1:
        raise ValueError(f"{name} has {n} targets: target must say which, from 0 to {n - 1}")
    if target is not None and not -n <= target < n:
        raise ValueError(f"target must be at most {n - 1}, the last of {name}; got {target}")
    return columns[:, target or 0]


def not_negative(values: np.ndarray, name: str) -> np.ndarray:
    """Refuse NaN and negative numbers; 0 and infinity have a meaning."""
    if not (values >= 0).all():
        what = "NaN" if np.isnan(values).any() else f"{values.min():g}"
        raise ValueError(f"{name} must have no negative entry and no NaN, got {what}")
    return values


def rigidities(R: Any, name: str = "rigidity", target: int | None = None) -> np.ndarray:
    """Return rigidities as an array of shape (n,): those of all structures after each other."""
    if is_ragged(R):
        R = np.concatenate([np.asarray(part, dtype=np.float64) for part in R])
    return not_negative(one_target(R, target, name), name)


def is_ragged(R: Any) -> bool:
    """Tell whether this is one array of environments for every structure."""
    return isinstance(R, (list, tuple)) and len(R) > 0 and np.ndim(R[0]) >= 1


def labels_of(groups: Any, R: Any, name: str = "groups") -> np.ndarray | None:
    """Return a label for every rigidity, from labels of structures or of environments."""
    if groups is None:
        return None
    if is_ragged(groups):
        groups = [label for part in groups for label in part]
    labels = np.asarray(groups)
    if labels.ndim != 1:
        raise ValueError(f"{name} must be one-dimensional, got shape {labels.shape}")
    if is_ragged(R):
        sizes = [len(part) for part in R]
        if len(labels) == len(sizes):
            return np.repeat(labels, sizes)
        if len(labels) != sum(sizes):
            raise ValueError(
                f"{name} must have a label for each of {len(sizes)} structures or of "
                f"{sum(sizes)} environments, got {len(labels)}"
            )
        return labels
    check_consistent_length(R, labels)
    return labels


def check_level(level: str, allowed: Sequence[str] = LEVELS) -> str:
    """Refuse levels that there are not."""
    if level not in allowed:
        raise ValueError(f"level must be one of {tuple(allowed)}, got {level!r}")
    return level


def rigidity_of(estimator: Any, X: Any, level: str) -> Any:
    """Return rigidities of samples or environments under a possibly composite estimator."""
    check_level(level, ("global", "local"))
    return (prediction_rigidity if level == "global" else local_rigidity)(estimator, X)


def component_rigidity_of(
    estimator: Any, X: Any, components: Any, level: str = "global", target: int | None = None
) -> tuple[np.ndarray, list[str]]:
    """Return rigidities of shape (n, n_components), and the components' names.

    Environments of all structures follow each other.
    """
    R = component_rigidity(estimator, X, components, level=level)
    if isinstance(R, list):
        R = np.concatenate(R)
    names = getattr(R, "columns", None)
    if names is None and isinstance(components, dict):
        names = components
    if names is None:
        names = getattr(_innermost(estimator), "component_names_", None)
    if names is None:
        names = [f"component {i}" for i in range(np.shape(R)[1])]
    R = np.asarray(R)
    columns = [one_target(R[:, i], target, "rigidity") for i in range(R.shape[1])]
    return np.stack(columns, axis=1), [str(name) for name in names]


def _innermost(estimator: Any) -> Any:
    """Look inside searches, pipelines, frozen estimators and transforms of the target."""
    while True:
        if hasattr(estimator, "best_estimator_"):
            estimator = estimator.best_estimator_
        elif hasattr(estimator, "steps"):
            estimator = estimator.steps[-1][1]
        elif hasattr(estimator, "regressor_"):
            estimator = estimator.regressor_
        elif type(estimator).__name__ == "FrozenEstimator":
            estimator = estimator.estimator
        else:
            return estimator


def steps(values: Any, n: int, name: str = "steps") -> np.ndarray:
    """Return n finite, increasing numbers."""
    array = check_array(values, dtype=np.float64, ensure_2d=False, input_name=name)
    if array.shape != (n,):
        raise ValueError(f"{name} must have shape ({n},), got {array.shape}")
    if not (np.diff(array) > 0).all():
        raise ValueError(f"{name} must increase")
    return array
