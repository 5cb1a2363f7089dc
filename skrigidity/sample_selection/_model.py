"""The model under which candidates are selected: its gradients, prior and training data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.utils.validation import _get_feature_names, _is_fitted

from ..gradients import FeatureGradients, Gradients, RigidityMixin
from ..hessian import DualFactor, GramAccumulator, Prior, Rows, choose
from ..kernel_ridge import RigidKernelRidge
from ..linear_model import RigidRidge
from ._kernel import KernelModel
from ._pool import unfrozen

# What normal equations of fewer rows than features must promise to be taken for selection.
_ACCURATE, _FEATURES_PER_ROW = 1e-9, 4
ONE_ALPHA = (
    "estimator has one alpha per target, and so one set of rigidities per target: select under an "
    "estimator with one alpha"
)


@dataclass
class FeatureModel:
    """Gradients of predictions, and Hessians with more and more data.

    Parameters
    ----------
    gradients : Gradients
        What turns samples and predictions into rows.
    base : Factor or None
        Hessian to start from; None: of `prior` alone.
    prior : Prior
        Regularizer.
    solver : str
        How to factorize where there is no `base`.
    n_features, n_parameters : int
        Number of features of the samples, and of parameters but the intercept.
    estimator : estimator or None
        Who checks samples that are no matrix.
    """

    gradients: Gradients
    base: Any
    prior: Prior
    solver: str
    n_features: int
    n_parameters: int
    estimator: Any = None

    @property
    def alpha(self) -> float:
        """Regularization strength."""
        return self.prior.alpha

    def rows(self, X: Any, weight: np.ndarray | None = None) -> Rows:
        """Return the rows that samples add to the Hessian."""
        return self.gradients.joined(X, weight)[0]

    def factor(self, added: Rows | None = None) -> Any:
        """Return the Hessian with some rows added to the training data."""
        if self.base is not None:
            return self.base if added is None else self.base.update(added)
        if added is None:
            # Nothing but the regularizer: exact, and no work at all.
            nothing = Rows(np.empty((0, self.n_parameters)))
            return choose(nothing, self.prior, method="spectral")
        return factorized(added, self.prior, self.solver)


def factorized(rows: Rows, prior: Prior, solver: str) -> Any:
    """Return a Hessian; from few rows by its normal equations, where these are accurate.

    A triangular factor whitens a pool in half the time that singular vectors take.
    """
    if solver == "auto" and rows.n_features / _FEATURES_PER_ROW <= len(rows) < rows.n_features:
        attempt = GramAccumulator(rows.n_features).add(rows.seen()).attempt(prior)
        if attempt.root is not None and attempt.accuracy <= _ACCURATE:
            return attempt.factor("a pool is to be whitened")
    return choose(rows, prior, method=solver)


def make_model(estimator: Any, sample: Any, X_train: Any, train_weight: Any) -> Any:
    """Take the model from an estimator: its Hessian if it is fitted, else its parameters.

    Parameters
    ----------
    estimator : estimator with rigidities
        Fitted or not.
    sample : array-like of shape (1, n_features)
        Something with the features of the pool; all of it where it is no matrix.
    X_train : array-like, structures of environments or None
        Training data, besides what a fitted estimator has seen.
    train_weight : ndarray of shape (n_train,) or None
        Its weights.

    Returns
    -------
    FeatureModel or KernelModel

    Raises
    ------
    TypeError
        If it has no rigidities.
    ValueError
        If it has one alpha per target, or parameters that need data.
    """
    estimator = unfrozen(estimator)
    if not isinstance(estimator, RigidityMixin):
        raise TypeError(
            "estimator must be one with rigidities, such as RigidRidge or RigidKernelRidge, got "
            f"{type(estimator).__name__}"
        )
    if getattr(estimator, "kernel", None) == "precomputed":
        raise ValueError(
            "estimator must not have kernel='precomputed': selection evaluates the kernel "
            "between candidates, give the kernel itself"
        )
    fitted = _is_fitted(estimator)
    if hasattr(estimator, "_without_labels") and not fitted:
        model, base, prior, solver = estimator._without_labels(sample, X_train, train_weight)
        d = model.gradients_.n_features
        return FeatureModel(model.gradients_, base, prior, solver, d, d, model)
    if type(estimator) is RigidRidge and not fitted:
        return _ridge_model(estimator, sample, X_train, train_weight)
    if not fitted:
        estimator = _fitted_without_labels(estimator, sample, X_train, train_weight)
    if not estimator._one_hessian:
        raise ValueError(ONE_ALPHA)
    gradients, hessian = estimator.gradients_, estimator.hessian_
    if gradients.n_outputs > 1:
        raise ValueError("estimator must have one output per sample, not one per class")
    base = hessian if fitted or X_train is not None else None
    samples_are_rows = hasattr(estimator, "n_features_in_")
    d = estimator.n_features_in_ if samples_are_rows else hessian.n_features
    if isinstance(hessian, DualFactor):
        if fitted and X_train is not None:
            raise ValueError("X_train must be None where estimator is a fitted kernel model")
        return KernelModel(gradients, base, hessian.alpha, d)
    solver = getattr(estimator, "solver", "auto")
    model = FeatureModel(gradients, base, hessian.prior, solver, d, hessian.n_features, estimator)
    if fitted and X_train is not None:
        model.base = model.factor(model.rows(X_train, train_weight))
    return model


def _ridge_model(ridge: RigidRidge, sample: Any, X_train: Any, weight: Any) -> FeatureModel:
    """Return the model of a ridge regression that need not be fitted for it."""
    ridge._validate_params()
    if np.ndim(ridge.alpha):
        raise ValueError(ONE_ALPHA)
    n_features = int(sample.shape[1])
    prior = Prior(ridge.alpha, ridge.regularizer)
    prior.check(n_features)
    gradients = FeatureGradients(
        n_features,
        fit_intercept=ridge.fit_intercept,
        aggregate=ridge.aggregate,
        feature_names=_get_feature_names(sample),
    )
    model = FeatureModel(gradients, None, prior, ridge.solver, n_features, n_features)
    if X_train is not None:
        X_train = np.asarray(X_train, np.float64) if hasattr(X_train, "columns") else X_train
        model.base = factorized(model.rows(X_train, weight), prior, ridge.solver)
    return model


def _fitted_without_labels(estimator: Any, sample: Any, X_train: Any, weight: Any) -> Any:
    """Return a clone fitted to the training data, to one sample where there are none."""
    name = type(estimator).__name__
    if not isinstance(estimator, RigidRidge | RigidKernelRidge):
        raise ValueError(
            f"estimator must be fitted where it is a {name}: its regularization or its curvature "
            "depends on targets"
        )
    if X_train is None and getattr(estimator, "orthogonalize", None) is not None:
        raise ValueError("X_train must be given where estimator has orthogonalize='sequential'")
    if np.ndim(estimator.alpha) and type(estimator) is RigidKernelRidge:
        raise ValueError(ONE_ALPHA)
    X = sample if X_train is None else X_train
    estimator = clone(estimator).set_params(calibration=None)
    return estimator.fit(X, np.zeros(X.shape[0] if hasattr(X, "shape") else len(X)), weight)
