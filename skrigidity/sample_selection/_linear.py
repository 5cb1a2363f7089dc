"""The linear model under which candidates are selected: its rows, prior and training data."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.utils.validation import _is_fitted

from ..environments import Environments
from ..hessian import Factor, Prior, Rows, choose
from ..linear_model import RigidRidge
from ..linear_model._base import RigidRidgeBase
from ..linear_model._per_target import PerTargetHessian


class LinearModel:
    """Gradients of predictions, and Hessians with more and more data.

    Parameters
    ----------
    estimator : RigidRidgeBase
        Knows its features (not necessarily fitted): aggregation, intercept, components.
    base : Factor or None
        Hessian to start from; None: of `train` and `prior`.
    train : Rows or None
        Training rows that `base` does not contain.
    prior : Prior or None
        Regularizer, where there is no `base`.
    """

    def __init__(
        self, estimator: Any, base: Factor | None, train: Rows | None, prior: Prior | None
    ) -> None:
        self.estimator = estimator
        self.base = base
        self.train = train
        self.prior = prior

    @property
    def alpha(self) -> float:
        """Regularization strength."""
        prior = self.prior if self.base is None else self.base.prior
        assert prior is not None
        return prior.alpha

    @property
    def n_features(self) -> int:
        """Number of features."""
        return int(self.estimator.n_features_in_)

    @property
    def unpinned(self) -> bool:
        """Whether nothing yet determines the intercept."""
        return bool(self.estimator.fit_intercept and self.base is None and self.train is None)

    def rows(self, X: Any) -> Rows:
        """Return the gradients of the predictions of structures."""
        return Rows(self._features(X, aggregate=True), intercept=self.estimator.fit_intercept)

    def targets(self, X: Any, level: str, components: Any) -> list[Rows]:
        """Return the gradients of what is to be pinned.

        Per structure, per environment, or per component and structure: a set of rows per
        component.
        """
        if level == "global":
            return [self.rows(X)]
        if level == "local":
            flat = X.values if isinstance(X, Environments) else X
            return [Rows(self._features(flat), intercept=self.estimator._local_intercept)]
        features = self._features(X, aggregate=True)
        columns = self.estimator._component_columns(components)
        return [Rows(features).masked(c) for c in columns.values()]

    def factor(self, features: Any = None, weight: np.ndarray | None = None) -> Factor:
        """Return the Hessian with some candidates added to the training data."""
        added = None
        if features is not None:
            rows = self.rows(features)
            added = Rows(rows.matrix, weight=weight, intercept=rows.intercept)
        data = [rows for rows in (self.train, added) if rows is not None]
        if self.base is not None:
            return self.base.update(joined(data)) if data else self.base
        if not data:
            # Nothing but the regularizer: exact, and no work at all.
            return choose(Rows(np.empty((0, self.n_features))), self.prior, method="spectral")
        return choose(joined(data), self.prior, method=self.estimator.solver)

    def _features(self, X: Any, aggregate: bool = False) -> Any:
        if aggregate and isinstance(X, Environments):
            X = X.aggregate(self.estimator.aggregate)
        residualized = getattr(self.estimator, "_residualized", None)
        return X if residualized is None else residualized(X)


def linear_model(
    estimator: RigidRidgeBase, sample: Any, X_train: Any, train_weight: np.ndarray | None
) -> LinearModel:
    """Take the model from an estimator: its Hessian if it is fitted, else its parameters.

    Parameters
    ----------
    estimator : RigidRidgeBase
        Fitted or not.
    sample : array-like of shape (1, n_features)
        Something with the features of the pool.
    X_train : array-like, structures of environments or None
        Training data, besides what a fitted estimator has seen.
    train_weight : ndarray of shape (n_train,) or None
        Its weights.

    Raises
    ------
    ValueError
        If the estimator has one alpha per target, or parameters that need data.
    """
    if _is_fitted(estimator):
        return _fitted_model(estimator, X_train, train_weight)
    if not isinstance(estimator, RigidRidge):
        raise ValueError(
            f"estimator must be fitted where it is a {type(estimator).__name__}: its "
            "regularization depends on targets"
        )
    estimator = clone(estimator)
    train = None
    if X_train is not None:
        made, _ = estimator._training_rows(
            X_train, np.zeros(len(X_train)), train_weight, reset=True
        )
        train = Rows(made.matrix, weight=made.weight, intercept=made.intercept)
    else:
        if getattr(estimator, "orthogonalize", None) is not None:
            raise ValueError("X_train must be given where estimator has orthogonalize='sequential'")
        estimator._validated(sample, reset=True)
    if np.ndim(estimator._alpha):
        raise ValueError(_ONE_ALPHA)
    prior = Prior(float(estimator._alphas(1)), estimator.regularizer)
    prior.check(estimator.n_features_in_)
    return LinearModel(estimator, None, train, prior)


def _fitted_model(estimator: Any, X_train: Any, train_weight: np.ndarray | None) -> LinearModel:
    if isinstance(estimator.hessian_, PerTargetHessian):
        raise ValueError(_ONE_ALPHA)
    model = LinearModel(estimator, estimator.hessian_, None, None)
    if X_train is not None:
        rows = model.rows(X_train)
        model.train = Rows(rows.matrix, weight=train_weight, intercept=rows.intercept)
    return model


def unfrozen(estimator: Any) -> Any:
    """Return the estimator inside a `FrozenEstimator`."""
    return estimator.estimator if isinstance(estimator, FrozenEstimator) else estimator


def joined(parts: list[Rows]) -> Rows:
    """Return several sets of rows as one."""
    if len(parts) == 1:
        return parts[0]
    dense = [rows.dense(slice(0, len(rows))) for rows in parts]
    weights = [np.ones(len(rows)) if rows.weight is None else rows.weight for rows in parts]
    flags = [rows.intercept for rows in parts]
    return Rows(
        np.concatenate(dense), weight=np.concatenate(weights), intercept=np.concatenate(flags)
    )


_ONE_ALPHA = (
    "estimator has one alpha per target, and so one set of rigidities per target: select under an "
    "estimator with one alpha"
)
