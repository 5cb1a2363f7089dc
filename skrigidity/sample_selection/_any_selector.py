"""What any selector of samples has chosen: ours, scikit-matter's, imbalanced-learn's."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import _num_samples


def fit_selector(selector: Any, X: Any, y: Any, params: dict[str, Any]) -> tuple[Any, np.ndarray]:
    """Fit a clone of a selector.

    Parameters
    ----------
    selector : selector, sampler, or a pipeline that ends in one
        An object with `sample_indices_`, `selected_idx_` or ``get_support(indices=True)`` once
        it is fitted.
    X : array-like or structures
        Candidates.
    y : array-like or None
        Their labels.
    params : dict
        For the method of the selector that `selection_method` tells.

    Returns
    -------
    selector : object
        The fitted clone.
    indices : ndarray of int
        What it chose, in the order of its choice, repetitions included.

    Raises
    ------
    TypeError
        If it does not tell which samples it chose.
    ValueError
        If it chose among something else than the samples, or nothing.
    """
    _check_steps(selector)
    selector = clone(selector)
    getattr(selector, selection_method(selector))(X, y, **params)
    return selector, _chosen(selector, _num_samples(X))


def selection_method(selector: Any) -> str:
    """Return in which method a selector chooses.

    Samplers do so in `fit_resample`; their `fit` checks its arguments and no more.
    """
    chooses = hasattr(selector, "get_support") or isinstance(selector, FrozenEstimator)
    return "fit_resample" if hasattr(selector, "fit_resample") and not chooses else "fit"


def _check_steps(selector: Any) -> None:
    if not isinstance(selector, Pipeline):
        return
    for name, step in selector.steps[:-1]:
        if hasattr(step, "fit_resample"):
            raise ValueError(
                f"selector must choose in its last step alone, but step {name!r} of the pipeline "
                "chooses as well: positions in what it leaves are not positions in X"
            )
    if hasattr(selector.steps[-1][1], "steps"):
        _check_steps(selector.steps[-1][1])


def _last_step(selector: Any) -> Any:
    while True:
        if isinstance(selector, FrozenEstimator):
            selector = selector.estimator
        elif isinstance(selector, Pipeline):
            selector = selector.steps[-1][1]
        else:
            return selector


def _chosen(selector: Any, n: int) -> np.ndarray:
    selector = _last_step(selector)
    name = type(selector).__name__
    support = selector.get_support() if hasattr(selector, "get_support") else None
    if support is not None and (_selects_features(selector, support) or len(support) != n):
        raise ValueError(
            f"selector must choose among the {n} samples of X, but {name} has chosen among "
            f"{len(support)} {'features' if _selects_features(selector, support) else 'others'}"
        )
    if hasattr(selector, "sample_indices_"):
        indices = selector.sample_indices_
    elif hasattr(selector, "selected_idx_"):
        indices = selector.selected_idx_
    elif support is not None:
        indices = selector.get_support(indices=True)
    else:
        raise TypeError(
            "selector must tell which samples it has chosen, by sample_indices_, selected_idx_ or "
            f"get_support(indices=True), which {name} does not"
        )
    indices = np.asarray(indices)
    if len(indices) == 0:
        raise ValueError(f"selector must choose at least one sample, but {name} has chosen none")
    if not 0 <= indices.min() <= indices.max() < n:
        raise ValueError(f"selector: {name} has chosen samples beyond the {n} of X")
    return indices.astype(np.intp)


def _selects_features(selector: Any, support: np.ndarray) -> bool:
    from sklearn.feature_selection import SelectorMixin  # takes a tenth of the package's import

    kind = getattr(selector, "selection_type", None)  # scikit-matter's
    if kind is not None:
        return bool(kind == "feature")
    if not isinstance(selector, SelectorMixin) or hasattr(selector, "selected_idx_"):
        return False
    return bool(len(support) == getattr(selector, "n_features_in_", None))
