"""How firm and how accurate the components of a model become as its training set changes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import clone
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import _num_samples

from ._unwrap import unwrap

if TYPE_CHECKING:
    import pandas as pd


def component_learning_curve(
    estimator: Any,
    X: Any,
    y: Any,
    subsets: Any,
    X_eval: Any,
    y_eval: Any = None,
    *,
    components: Any = None,
) -> pd.DataFrame:
    """Refit a model on subsets of its training set, and judge its components on other samples.

    Shows which data pin which component: what training samples of a kind do for a length scale, a
    body order or another part of a model, and whether the part is any good by itself.

    Parameters
    ----------
    estimator : object
        Estimator with component rigidities, possibly the last step of a Pipeline or inside a
        search. It is cloned.
    X : array-like, structures, or whatever the estimator is fitted on
        Samples to train on.
    y : array-like of shape (n_samples,) or (n_samples, n_targets)
        Their targets.
    subsets : dict of indices by name, or sequence of int or of indices
        Training sets: integer n stands for the first n samples; else indices or a boolean mask.
        In a sequence the number of samples is the name.
    X_eval : array-like, structures, ..., or dict of them by name
        Samples on which to judge.
    y_eval : array-like, or dict of them by name, default=None
        Their targets, where errors are asked for.
    components : list or dict of columns, default=None
        Components of the features that enter the last step; None where that has its own.

    Returns
    -------
    pandas.DataFrame
        A row per subset, evaluation set and component, then one for the ``"total"`` prediction,
        with the columns

        ``subset``, ``n_train``, ``evaluation``, ``component``
            Which it is. ``evaluation`` is ``""`` where `X_eval` is no dict.
        ``rigidity``
            Mean rigidity (CPR) over those samples where it is finite; inf where there are none.
        ``vanishing``
            Share of samples in which the component vanishes (R = inf).
        ``rmse``
            Root mean square error if the component (plus the intercept) were the whole
            prediction; NaN without targets.

    Raises
    ------
    TypeError
        If the estimator has no component rigidities.
    ValueError
        If a subset is empty or has indices that `X` has not, or `y_eval` does not go with
        `X_eval`.

    References
    ----------
    Chong et al., Faraday Discuss. 256, 322 (2025), Figs. 6 and 7.

    Examples
    --------
    >>> import numpy as np
    >>> from skrigidity.linear_model import ComponentRidge
    >>> from skrigidity.metrics import component_learning_curve
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((40, 4))
    >>> y = X @ [1.0, 2.0, 0.1, 0.1]
    >>> model = ComponentRidge({"short": [0, 1], "long": [2, 3]}, alpha=1e-3, fit_intercept=False)
    >>> curve = component_learning_curve(model, X[:30], y[:30], [10, 30], X[30:], y[30:])
    >>> curve.pivot(index="subset", columns="component", values="rmse").round(3)
    component   long  short  total
    subset
    10         2.133  0.161    0.0
    30         2.133  0.161    0.0
    """
    import pandas as pd

    evaluations = _evaluations(X_eval, y_eval)
    records = []
    for name, chosen in _subsets(subsets, _num_samples(X)):
        model = clone(estimator).fit(_safe_indexing(X, chosen), _safe_indexing(y, chosen))
        for where, (Z, target) in evaluations.items():
            for component, rigidity, prediction in _parts(model, Z, components):
                records.append(
                    {
                        "subset": name,
                        "n_train": len(chosen),
                        "evaluation": where,
                        "component": component,
                        "rigidity": _mean_of_finite(rigidity),
                        "vanishing": float(np.isinf(rigidity).mean()),
                        "rmse": _rmse(prediction, target),
                    }
                )
    return pd.DataFrame(records)


def _evaluations(X_eval: Any, y_eval: Any) -> dict[Any, tuple[Any, Any]]:
    if not isinstance(X_eval, Mapping):
        X_eval = {"": X_eval}
        y_eval = {} if y_eval is None else {"": y_eval}
    y_eval = y_eval or {}
    unknown = set(y_eval) - set(X_eval) if isinstance(y_eval, Mapping) else {"no dict"}
    if unknown:
        raise ValueError(
            f"y_eval must have its keys among those of X_eval, {list(X_eval)}, got {unknown}"
        )
    for name, target in y_eval.items():
        if _num_samples(target) != _num_samples(X_eval[name]):
            raise ValueError(
                f"y_eval must have as many entries as X_eval, {_num_samples(X_eval[name])}, "
                f"got {_num_samples(target)}" + (f" for {name!r}" if name else "")
            )
    return {name: (Z, y_eval.get(name)) for name, Z in X_eval.items()}


def _subsets(subsets: Any, n_samples: int) -> Iterator[tuple[Any, np.ndarray]]:
    named = isinstance(subsets, Mapping)
    if not (named or (isinstance(subsets, Sequence | np.ndarray) and not isinstance(subsets, str))):
        raise ValueError(
            f"subsets must be a dict or a sequence of training sets, got {type(subsets).__name__}"
        )
    for name, subset in subsets.items() if named else ((None, s) for s in subsets):
        chosen = _indices(subset, n_samples, name)
        yield (name if named else len(chosen)), chosen


def _indices(subset: Any, n_samples: int, name: Any) -> np.ndarray:
    which = "subsets" if name is None else f"subsets[{name!r}]"
    chosen = np.arange(int(subset)) if isinstance(subset, Integral) else np.asarray(subset)
    if chosen.dtype == bool and chosen.shape == (n_samples,):
        chosen = np.flatnonzero(chosen)
    if chosen.ndim != 1 or chosen.dtype.kind not in "iu" or not len(chosen):
        raise ValueError(
            f"{which} must be a number of samples, indices or a mask of {n_samples}, got {subset!r}"
        )
    if chosen.max() >= n_samples or chosen.min() < -n_samples:
        raise ValueError(f"{which} has samples up to {chosen.max()}, but there are {n_samples}")
    return chosen


def _parts(model: Any, X: Any, components: Any) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Return name, rigidities and predictions of every component, then of the whole."""
    model, X = unwrap(model, X, method="component_rigidity", through_targets=False)
    rigidity = np.asarray(model.component_rigidity(X, components))
    prediction = np.asarray(model.predict_components(X, components))
    whole = np.asarray(model.prediction_rigidity(X)), np.asarray(model.predict(X))
    names = _names(model.component_names_ if components is None else components)
    parts = [
        (name, rigidity[:, i], prediction[:, i] + model.intercept_) for i, name in enumerate(names)
    ]
    return [*parts, ("total", *whole)]


def _names(components: Any) -> list[str]:
    """Return the names of components; those without one are numbered."""
    components = getattr(components, "components_", components)  # of a descriptor
    if isinstance(components, Mapping):
        return [str(name) for name in components]
    return [c if isinstance(c, str) else f"component{i}" for i, c in enumerate(components)]


def _mean_of_finite(rigidity: np.ndarray) -> float:
    finite = rigidity[np.isfinite(rigidity)]
    return float(finite.mean()) if finite.size else np.inf


def _rmse(prediction: np.ndarray, target: Any) -> float:
    if target is None:
        return np.nan
    error = prediction - np.asarray(target).reshape(prediction.shape)
    return float(np.sqrt(np.mean(error**2)))
