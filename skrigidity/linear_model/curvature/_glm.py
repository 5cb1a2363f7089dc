"""Generalized linear models: half the deviance, averaged, and ``alpha / 2 * w.T @ w``."""

from __future__ import annotations

from sklearn.linear_model import GammaRegressor, PoissonRegressor, TweedieRegressor

from ._linear import LinearCurvature
from ._losses import TweedieLoss
from ._registry import curvature_of


@curvature_of.register(PoissonRegressor)
def _(estimator: PoissonRegressor) -> LinearCurvature:
    loss = TweedieLoss(1, "log")
    return LinearCurvature(estimator, loss, alpha=estimator.alpha, times="weight")


@curvature_of.register(GammaRegressor)
def _(estimator: GammaRegressor) -> LinearCurvature:
    loss = TweedieLoss(2, "log")
    return LinearCurvature(estimator, loss, alpha=estimator.alpha, times="weight")


@curvature_of.register(TweedieRegressor)
def _(estimator: TweedieRegressor) -> LinearCurvature:
    link = estimator.link
    if link == "auto":
        link = "identity" if estimator.power <= 0 else "log"
    loss = TweedieLoss(estimator.power, link)
    return LinearCurvature(estimator, loss, alpha=estimator.alpha, times="weight")
