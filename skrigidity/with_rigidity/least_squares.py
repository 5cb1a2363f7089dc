"""Least squares with a quadratic penalty, classifiers by least squares among them."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import is_classifier
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
from sklearn.preprocessing import label_binarize
from sklearn.utils.class_weight import compute_sample_weight

from ..gradients import CurvedGradients
from .registry import Curvature, curvature_of, reject_l1, reject_positive


class KeptColumns(CurvedGradients):
    """ARD: a feature whose precision passed the threshold is fixed at zero, not a parameter."""

    def __init__(self, estimator: ARDRegression) -> None:
        super().__init__(estimator, noise_variance=1 / float(estimator.alpha_))
        self.kept = np.flatnonzero(estimator.lambda_ < estimator.threshold_lambda)
        self.coef = self.coef[self.kept] if len(self.kept) else np.zeros((1, 1))

    def lifted(self, features: Any, flag: float) -> Any:
        """Return the columns that are not pruned, one that vanishes if all are."""
        return features[:, self.kept] if len(self.kept) else np.zeros((features.shape[0], 1))

    def resolve(self, components: Any) -> dict[str, np.ndarray]:
        """Return the places of every component's columns among those that are kept."""
        columns = super().resolve(components)
        return {name: np.flatnonzero(np.isin(self.kept, own)) for name, own in columns.items()}


class SignsOfClasses(CurvedGradients):
    """Ridge classifiers: least squares on targets of +1 and -1, one Hessian for all classes."""

    def __init__(self, estimator: Any) -> None:
        super().__init__(estimator)
        self.classes, self.class_weight = estimator.classes_, estimator.class_weight

    def targets(self, y: np.ndarray) -> np.ndarray:
        """Return 1 for the label and -1 for the others, a column per class if more than two."""
        signs = label_binarize(y, classes=self.classes, neg_label=-1, pos_label=1)
        return np.reshape(signs, (len(y), *self.shape)).astype(np.float64)

    def weights(self, y: np.ndarray, sample_weight: np.ndarray) -> np.ndarray:
        """Return the weights with those of the classes."""
        if self.class_weight is None:
            return sample_weight
        return sample_weight * compute_sample_weight(self.class_weight, y)


@curvature_of.register(LinearRegression)
@curvature_of.register(Ridge)
@curvature_of.register(RidgeCV)
@curvature_of.register(RidgeClassifier)
@curvature_of.register(RidgeClassifierCV)
def _(estimator: Any) -> Curvature:
    reject_positive(estimator)
    gradients = SignsOfClasses if is_classifier(estimator) else CurvedGradients
    alpha = getattr(estimator, "alpha_", getattr(estimator, "alpha", 0.0))
    return Curvature(gradients(estimator), alpha, loss_factor=2.0)


@curvature_of.register(BayesianRidge)
def _(estimator: BayesianRidge) -> Curvature:
    noise = 1 / float(estimator.alpha_)
    gradients = CurvedGradients(estimator, noise_variance=noise)
    return Curvature(gradients, estimator.lambda_ * noise, loss_factor=2.0)


@curvature_of.register(ARDRegression)
def _(estimator: ARDRegression) -> Curvature:
    gradients = KeptColumns(estimator)
    precision = estimator.lambda_[gradients.kept] if len(gradients.kept) else np.ones(1)
    return Curvature(gradients, 1 / float(estimator.alpha_), gamma=precision, loss_factor=2.0)


@curvature_of.register(ElasticNet)
def _(estimator: ElasticNet) -> Curvature:
    reject_l1(estimator, estimator.l1_ratio)
    reject_positive(estimator)
    return Curvature(CurvedGradients(estimator), estimator.alpha, "weight")
