"""What `WithRigidity` asks of a family of estimators."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np


class Curvature(ABC):
    """Hessian of one fitted estimator's loss, and the gradients of its predictions.

    The prediction is the one that is linear in the parameters (the linear predictor of a
    generalized linear model, the logits of a classifier). `X` is a validated matrix, dense or
    CSR, a row per sample.

    Attributes
    ----------
    loss_factor : float
        2 where H is half the Hessian of the estimator's objective (least squares, the
        pseudo-Hessian of the paper), else 1: pulling one prediction by eps and refitting raises
        the objective by ``loss_factor * R * eps**2 / 2``.
    additive : bool
        Whether the prediction is linear in the features, so that environments and blocks of
        columns have predictions of their own.
    """

    loss_factor: float = 1.0
    additive: bool = True

    @abstractmethod
    def factorize(self, X: Any, y: Any, sample_weight: np.ndarray) -> Any:
        """Return the factorized Hessian of the training set."""

    @abstractmethod
    def quad(self, hessian: Any, X: Any, intercept: bool = True) -> np.ndarray:
        """Return ``1 / R`` per sample; `intercept`: whether the predictions include it."""

    @abstractmethod
    def quad_of_sums(self, hessian: Any, X: Any, weights: np.ndarray) -> np.ndarray:
        """Return ``1 / R`` of weighted sums of predictions, one per row of `weights`."""

    @abstractmethod
    def quad_with(self, hessian: Any, X: Any, added: Any, sample_weight: np.ndarray) -> np.ndarray:
        """Return ``1 / R`` after adding samples, at their expected curvature: no labels."""


class RegressionCurvature(Curvature):
    """What error bars need besides: means, covariances and the scale of the errors."""

    @abstractmethod
    def mean(self, X: Any) -> np.ndarray:
        """Return the predictions, in units of the target."""

    def slope(self, X: Any) -> np.ndarray | None:
        """Return the derivative of `mean` by the linear predictor; None where they are one."""
        return None

    @abstractmethod
    def covariance(self, hessian: Any, X: Any) -> np.ndarray:
        """Return ``G @ inv(H) @ G.T``, a last axis over targets where it depends on them."""

    @abstractmethod
    def halves(self, hessian: Any, X: Any, n_targets: int) -> list[np.ndarray]:
        """Return for every target a matrix Z with ``Z @ Z.T`` its covariance."""

    @abstractmethod
    def dispersion(
        self, hessian: Any, X: Any, y: Any, sample_weight: np.ndarray
    ) -> tuple[Any, Any]:
        """Return C**2 and sigma**2 of ``var = C**2 / R + sigma**2``, by the training set."""
