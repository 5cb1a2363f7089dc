"""Huber's regression, whose scale is fitted along with the coefficients."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.linear_model import HuberRegressor

from ...hessian import Rows
from ._linear import LinearCurvature, append_column
from ._losses import ClippedLoss
from ._registry import curvature_of


class HuberCurvature(LinearCurvature):
    r"""Half the Hessian of :math:`\sum_i s_i(\sigma + \sigma h(r_i/\sigma)) + \alpha w^T w`.

    An inlier's row is :math:`[x, r/\sigma]` for the parameters :math:`(w, \sigma)`, of weight
    :math:`s/\sigma`. An outlier's loss is linear in all parameters, sigma among them: it has no
    row. Predictions do not depend on sigma, yet it may give way when one is pulled.
    """

    def __init__(self, estimator: HuberRegressor) -> None:
        self.sigma = float(estimator.scale_)
        loss = ClippedLoss(float(estimator.epsilon) * self.sigma)
        gamma = np.append(np.ones(len(estimator.coef_)), 0.0)
        super().__init__(estimator, loss, alpha=estimator.alpha, gamma=gamma, loss_factor=2.0)

    def lift(self, X: Any, intercept: Any = True) -> Any:
        """Return the features and the derivative by sigma, 0."""
        return append_column(X, 0.0)

    def training_rows(self, X: Any, y: Any, sample_weight: np.ndarray) -> Rows:
        """Return the rows of inliers; the others have weight zero."""
        eta = self.linear_predictor(X)
        y = np.reshape(y, eta.shape)
        weight = sample_weight * self.loss.curvature(eta, y) / self.sigma
        scaled = append_column(X, (y - eta) / self.sigma)
        return Rows(scaled, weight=weight, intercept=self.fit_intercept)

    def quad_with(self, hessian: Any, X: Any, added: Any, sample_weight: np.ndarray) -> np.ndarray:
        """Return ``1 / R`` after adding samples, taken for inliers on the line."""
        return super().quad_with(hessian, X, added, sample_weight / self.sigma)

    def dispersion(
        self, hessian: Any, X: Any, y: Any, sample_weight: np.ndarray
    ) -> tuple[Any, Any]:
        """Return C**2 in the units of a loss of curvature 1 / sigma, and no sigma**2."""
        variance, noise = super().dispersion(hessian, X, y, sample_weight)
        return variance / self.sigma, noise


@curvature_of.register(HuberRegressor)
def _(estimator: HuberRegressor) -> HuberCurvature:
    return HuberCurvature(estimator)
