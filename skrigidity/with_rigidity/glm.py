"""Generalized linear models: half the deviance, averaged, and ``alpha / 2 * w.T @ w``."""

from __future__ import annotations

from sklearn.linear_model import GammaRegressor, PoissonRegressor, TweedieRegressor

from ..gradients import CurvedGradients, TweedieLoss
from .registry import Curvature, curvature_of


@curvature_of.register(PoissonRegressor)
@curvature_of.register(GammaRegressor)
@curvature_of.register(TweedieRegressor)
def _(estimator: PoissonRegressor | GammaRegressor | TweedieRegressor) -> Curvature:
    power, link = 0.0, "log"
    if isinstance(estimator, PoissonRegressor):
        power = 1.0
    elif isinstance(estimator, GammaRegressor):
        power = 2.0
    else:
        power, link = estimator.power, estimator.link
    if link == "auto":
        link = "identity" if power <= 0 else "log"
    gradients = CurvedGradients(estimator, TweedieLoss(power, link))
    return Curvature(gradients, estimator.alpha, "weight")
