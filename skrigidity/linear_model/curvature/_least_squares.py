"""Least squares with a quadratic penalty, classifiers by least squares among them."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.linear_model import (
    ARDRegression,
    BayesianRidge,
    ElasticNet,
    LinearRegression,
    Ridge,
    RidgeClassifier,
    RidgeClassifierCV,
    RidgeCV,
)
from sklearn.utils.class_weight import compute_sample_weight

from ...hessian import Rows
from ._linear import LinearCurvature
from ._registry import curvature_of, reject_l1, reject_positive


class KeptColumns(LinearCurvature):
    """ARD: a feature whose precision passed the threshold is fixed at zero, not a parameter."""

    def __init__(self, estimator: ARDRegression) -> None:
        self.kept = np.flatnonzero(estimator.lambda_ < estimator.threshold_lambda)
        precision = estimator.lambda_[self.kept] if len(self.kept) else np.ones(1)
        super().__init__(
            estimator,
            alpha=1 / float(estimator.alpha_),
            gamma=precision,
            loss_factor=2.0,
            noise_variance=1 / float(estimator.alpha_),
        )

    def lift(self, X: Any, intercept: Any = True) -> Any:
        """Return the columns that are not pruned, one that vanishes if all are."""
        return X[:, self.kept] if len(self.kept) else np.zeros((X.shape[0], 1))


class TargetsOfClasses(LinearCurvature):
    """Ridge classifiers: least squares on targets of +1 and -1, one Hessian for all classes."""

    def __init__(self, estimator: Any, alpha: Any) -> None:
        super().__init__(estimator, alpha=alpha, loss_factor=2.0)
        self.class_weight = estimator.class_weight

    def prepared(self, y: Any, sample_weight: np.ndarray) -> tuple[Any, np.ndarray]:
        """Return the weights with those of the classes."""
        if self.class_weight is not None:
            sample_weight = sample_weight * compute_sample_weight(self.class_weight, y)
        return y, sample_weight

    def training_rows(self, X: Any, y: Any, sample_weight: np.ndarray) -> Rows:
        """Return the rows, which do not depend on the labels."""
        return self._weighted(X, sample_weight)


@curvature_of.register(LinearRegression)
def _(estimator: LinearRegression) -> LinearCurvature:
    reject_positive(estimator)
    return LinearCurvature(estimator, loss_factor=2.0)


@curvature_of.register(Ridge)
def _(estimator: Ridge) -> LinearCurvature:
    reject_positive(estimator)
    return LinearCurvature(estimator, alpha=estimator.alpha, loss_factor=2.0)


@curvature_of.register(RidgeCV)
def _(estimator: RidgeCV) -> LinearCurvature:
    return LinearCurvature(estimator, alpha=estimator.alpha_, loss_factor=2.0)


@curvature_of.register(RidgeClassifier)
def _(estimator: RidgeClassifier) -> LinearCurvature:
    reject_positive(estimator)
    return TargetsOfClasses(estimator, estimator.alpha)


@curvature_of.register(RidgeClassifierCV)
def _(estimator: RidgeClassifierCV) -> LinearCurvature:
    return TargetsOfClasses(estimator, estimator.alpha_)


@curvature_of.register(BayesianRidge)
def _(estimator: BayesianRidge) -> LinearCurvature:
    noise = 1 / float(estimator.alpha_)
    return LinearCurvature(
        estimator, alpha=estimator.lambda_ * noise, loss_factor=2.0, noise_variance=noise
    )


@curvature_of.register(ARDRegression)
def _(estimator: ARDRegression) -> LinearCurvature:
    return KeptColumns(estimator)


@curvature_of.register(ElasticNet)
def _(estimator: ElasticNet) -> LinearCurvature:
    reject_l1(estimator, estimator.l1_ratio)
    reject_positive(estimator)
    return LinearCurvature(estimator, alpha=estimator.alpha, times="weight")
