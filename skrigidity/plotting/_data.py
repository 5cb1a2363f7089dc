"""What displays are given: checked, flattened, and taken from estimators."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from sklearn.utils import check_array
from sklearn.utils.validation import check_consistent_length

from ..metrics import component_rigidity, local_rigidity, prediction_rigidity

LABELS = {
    "global": "prediction rigidity",
    "local": "local prediction rigidity",
    "component": "component prediction rigidity",
}


def predictions(
    y_true: Any, y_pred: Any, y_std: Any, target: int | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Check targets, predictions and standard deviations, and take those of the target."""
    given = {"y_true": y_true, "y_pred": y_pred, "y_std": y_std}
    y, mean, std = (one_target(values, target, name) for name, values in given.items())
    if not y.shape == mean.shape == std.shape:
        raise ValueError(
            "y_true, y_pred and y_std must have the same shape, got "
            f"{y.shape}, {mean.shape} and {std.shape}"
        )
    for values, name in ((y, "y_true"), (mean, "y_pred")):
        check_array(values, ensure_2d=False, input_name=name)
    return y, mean, not_negative(std, "y_std")


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


def labels_of(groups: Any, R: Any) -> np.ndarray | None:
    """Return a label for every rigidity, from labels of structures or of environments."""
    if groups is None:
        return None
    if is_ragged(groups):
        groups = [label for part in groups for label in part]
    labels = np.asarray(groups)
    if labels.ndim != 1:
        raise ValueError(f"groups must be one-dimensional, got shape {labels.shape}")
    if not is_ragged(R):
        check_consistent_length(R, labels)
        return labels
    sizes = [len(part) for part in R]
    if len(labels) == len(sizes):
        return np.repeat(labels, sizes)
    if len(labels) != sum(sizes):
        raise ValueError(
            f"groups must have a label for each of {len(sizes)} structures or of {sum(sizes)} "
            f"environments, got {len(labels)}"
        )
    return labels


def one_of(name: str, value: Any, allowed: Iterable[Any]) -> None:
    """Refuse a value that is none of those allowed."""
    if value not in (allowed := tuple(allowed)):
        raise ValueError(f"{name} must be one of {allowed}, got {value!r}")


def rigidity_of(estimator: Any, X: Any, level: str) -> Any:
    """Return rigidities of samples or environments under a possibly composite estimator."""
    one_of("level", level, ("global", "local"))
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
    R = np.asarray(R)
    if names is None:
        names = _component_names(estimator, components, R.shape[1])
    columns = [one_target(R[:, i], target, "rigidity") for i in range(R.shape[1])]
    return np.stack(columns, axis=1), [str(name) for name in names]


def _component_names(estimator: Any, components: Any, n: int) -> Iterable[Any]:
    """Return the names of the components that were asked for; None asks for the model's own."""
    if components is None:
        named = inside(estimator, "component_names_")
        return numbered(n) if named is None else named.component_names_
    components = getattr(components, "components_", components)  # of a descriptor
    if isinstance(components, Mapping) or all(isinstance(name, str) for name in components):
        return components
    return numbered(n)


def numbered(n: int) -> list[str]:
    """Return names of components that have none."""
    return [f"component {i}" for i in range(n)]


def inside(estimator: Any, attribute: str) -> Any:
    """Return what has an attribute: an estimator, or what it holds (None where nothing has).

    Looks into pipelines, searches, `SubsetRegressor` and transforms of the target.
    """
    if hasattr(estimator, attribute):
        return estimator
    held = [getattr(estimator, name, None) for name in _HELD]
    held += [step for _, step in getattr(estimator, "steps", [])[-1:]]
    found = (inside(part, attribute) for part in held if part is not None)
    return next((part for part in found if part is not None), None)


# Where composite estimators keep what they have fitted.
_HELD = ("best_estimator_", "regressor_", "estimator_", "selector_")


def steps(values: Any, n: int, name: str = "steps") -> np.ndarray:
    """Return n finite, increasing numbers."""
    array = check_array(values, dtype=np.float64, ensure_2d=False, input_name=name)
    if array.shape != (n,):
        raise ValueError(f"{name} must have shape ({n},), got {array.shape}")
    if not (np.diff(array) > 0).all():
        raise ValueError(f"{name} must increase")
    return array
