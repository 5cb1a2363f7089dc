"""Huber's regression, whose scale is fitted along with the coefficients."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.linear_model import HuberRegressor

from ..gradients import ClippedLoss, CurvedGradients, append_column
from ..hessian import Rows
from .registry import Curvature, curvature_of


class HuberGradients(CurvedGradients):
    r"""Half the Hessian of :math:`\sum_i s_i(\sigma + \sigma h(r_i/\sigma)) + \alpha w^T w`.

    An inlier's row is :math:`[x, r/\sigma]` for the parameters :math:`(w, \sigma)`, of weight
    :math:`s/\sigma`. An outlier's loss is linear in all parameters, sigma among them: it has no
    row. Predictions do not depend on sigma, yet it may give way when one is pulled.
    """

    def __init__(self, estimator: HuberRegressor) -> None:
        self.sigma = float(estimator.scale_)
        super().__init__(estimator, ClippedLoss(float(estimator.epsilon) * self.sigma))
        self.coef = np.vstack([self.coef, [[0.0]]])
        self.unit = 1 / self.sigma

    def lifted(self, features: Any, flag: float) -> Any:
        """Return the features and the derivative by sigma, 0."""
        return append_column(features, 0.0)

    def training_rows(self, X: Any, y: np.ndarray, sample_weight: np.ndarray) -> Rows:
        """Return the rows of inliers; the others have weight zero."""
        rows = super().training_rows(X, y, sample_weight)
        scaled = append_column(self.features(X), (y - self._linear(X)) / self.sigma)
        return Rows(scaled, weight=rows.weight, intercept=self.fit_intercept, rhs=rows.rhs)


@curvature_of.register(HuberRegressor)
def _(estimator: HuberRegressor) -> Curvature:
    gamma = np.append(np.ones(len(estimator.coef_)), 0.0)
    return Curvature(HuberGradients(estimator), estimator.alpha, gamma=gamma, loss_factor=2.0)
