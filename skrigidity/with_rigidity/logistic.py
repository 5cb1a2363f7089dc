"""Logistic regression: ``C * sum(loss) + w.T @ w / 2``, divided by C."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
from sklearn.utils.class_weight import compute_class_weight

from ..gradients import CurvedGradients, LogisticLoss, SoftmaxGradients, append_column
from .registry import Curvature, curvature_of, reject_l1


def class_weighted(estimator: Any, y: np.ndarray, sample_weight: np.ndarray) -> np.ndarray:
    """Return the weights with those of the classes, as this version of scikit-learn does."""
    if estimator.class_weight is None:
        return sample_weight
    known = inspect.signature(compute_class_weight).parameters
    weighted = {"sample_weight": sample_weight} if "sample_weight" in known else {}
    of_class = compute_class_weight(
        estimator.class_weight, classes=estimator.classes_, y=y, **weighted
    )
    return sample_weight * of_class[np.searchsorted(estimator.classes_, y)]


class BinaryLogistic(CurvedGradients):
    """Two classes: one logit."""

    def __init__(self, estimator: Any) -> None:
        super().__init__(estimator, LogisticLoss())
        self.estimator = estimator

    def targets(self, y: np.ndarray) -> np.ndarray:
        """Return 1 for the second class, 0 for the first."""
        return (y == self.estimator.classes_[1]).astype(np.float64)

    def weights(self, y: np.ndarray, sample_weight: np.ndarray) -> np.ndarray:
        """Return the weights with those of the classes."""
        return class_weighted(self.estimator, y, sample_weight)


class PenalizedIntercept(BinaryLogistic):
    """LIBLINEAR penalizes the intercept, as the coefficient of a constant feature."""

    def __init__(self, estimator: Any) -> None:
        super().__init__(estimator)
        self.constant = float(estimator.intercept_scaling)
        self.coef = np.vstack([self.coef, self.intercept / self.constant])
        self.intercept = np.zeros(1)
        self.fit_intercept = False

    def lifted(self, features: Any, flag: float) -> Any:
        """Return the features and the constant one, where predictions include it."""
        return append_column(features, self.constant * flag)


class SoftmaxLogistic(SoftmaxGradients):
    """More than two classes: the multinomial likelihood."""

    def __init__(self, estimator: Any) -> None:
        super().__init__(
            estimator.coef_, estimator.intercept_, fit_intercept=estimator.fit_intercept
        )
        self.estimator = estimator

    def targets(self, y: np.ndarray) -> np.ndarray:
        """Return a column per class, 1 for the label and 0 for the others."""
        return super().targets(np.searchsorted(self.estimator.classes_, y))

    def weights(self, y: np.ndarray, sample_weight: np.ndarray) -> np.ndarray:
        """Return the weights with those of the classes."""
        return class_weighted(self.estimator, y, sample_weight)


def _build(estimator: Any, C: float, l1_share: Any) -> Curvature:
    penalty = getattr(estimator, "penalty", "deprecated")
    if penalty == "l1":
        l1_share = 1.0
    elif penalty in ("l2", None):
        l1_share = 0.0
    reject_l1(estimator, l1_share)
    alpha = 0.0 if penalty is None else 1 / C
    n_classes = len(estimator.classes_)
    multi_class = getattr(estimator, "multi_class", "auto")
    binary_by_softmax = n_classes == 2 and multi_class == "multinomial"
    one_versus_rest = n_classes > 2 and (multi_class == "ovr" or estimator.solver == "liblinear")
    if binary_by_softmax or one_versus_rest:
        raise ValueError(
            f"{type(estimator).__name__} with multi_class={multi_class!r} and {n_classes} classes "
            "has no rigidities: leave multi_class at its default, and use another solver than "
            "'liblinear' for more than two classes"
        )
    if n_classes > 2:
        return Curvature(SoftmaxLogistic(estimator), alpha)
    if estimator.solver == "liblinear" and estimator.fit_intercept:
        return Curvature(PenalizedIntercept(estimator), alpha)
    return Curvature(BinaryLogistic(estimator), alpha)


@curvature_of.register(LogisticRegression)
def _(estimator: LogisticRegression) -> Curvature:
    return _build(estimator, float(estimator.C), estimator.l1_ratio)


@curvature_of.register(LogisticRegressionCV)
def _(estimator: LogisticRegressionCV) -> Curvature:
    strengths = np.unique(estimator.C_)
    if len(strengths) > 1:
        raise ValueError(f"LogisticRegressionCV chose several strengths, C_={estimator.C_}")
    shares = [share for share in np.ravel(estimator.l1_ratio_) if share]
    return _build(estimator, float(strengths[0]), max(shares, default=0.0))
