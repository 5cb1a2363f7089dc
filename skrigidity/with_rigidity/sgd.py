"""Stochastic gradient descent: the mean loss and ``alpha / 2 * w.T @ w``."""

from __future__ import annotations

from sklearn.linear_model import SGDRegressor

from ..gradients import ClippedLoss, CurvedGradients, Loss, SquaredLoss
from .registry import Curvature, curvature_of, reject_l1


def _loss(estimator: SGDRegressor) -> Loss:
    if estimator.loss == "squared_error":
        return SquaredLoss()
    if estimator.loss == "huber":
        return ClippedLoss(estimator.epsilon)
    raise ValueError(
        f"SGDRegressor(loss={estimator.loss!r}) has no rigidities: its loss is flat within "
        "epsilon, where most of the data are. Use 'squared_error' or 'huber'"
    )


@curvature_of.register(SGDRegressor)
def _(estimator: SGDRegressor) -> Curvature:
    share = {"l1": 1.0, "elasticnet": estimator.l1_ratio}.get(estimator.penalty, 0.0)
    reject_l1(estimator, share)
    alpha = 0.0 if estimator.penalty is None else estimator.alpha
    return Curvature(CurvedGradients(estimator, _loss(estimator)), alpha, "samples")
