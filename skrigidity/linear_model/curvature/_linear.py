"""Models with one linear predictor per target."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import scipy.sparse as sp

from ...hessian import Prior, Rows, choose
from .._calibrated import per_target
from .._per_target import PerTargetHessian
from ._base import RegressionCurvature
from ._losses import Loss, SquaredLoss, check_convex

Times = Literal["one", "weight", "samples"]


class LinearCurvature(RegressionCurvature):
    """Curvature of a loss of ``X @ coef_ + intercept_`` with a quadratic penalty.

    ``H = sum_i s_i l''(eta_i) g_i g_i.T + alpha * Gamma`` with ``g = [x, 1]``, the intercept not
    penalized (Chong et al., Faraday Discuss. 256, 322 (2025), appendix A).

    Parameters
    ----------
    estimator : object
        Fitted, with `coef_`, `intercept_` and `fit_intercept`.
    loss : Loss, default=SquaredLoss()
        Loss of one sample.
    alpha : float or ndarray of shape (n_targets,), default=0.0
        Strength of the penalty ``alpha * w.T @ Gamma @ w``, halved where the loss is.
    times : {"one", "weight", "samples"}, default="one"
        What to multiply alpha with: the sum of the sample weights or the number of samples,
        for objectives that are means of losses.
    gamma : ndarray of shape (n_features,), default=None
        Diagonal of Gamma, None is the identity.
    loss_factor : float, default=1.0
        2 where the objective is twice what `loss` and `alpha` describe.
    noise_variance : float, default=None
        The estimator's own estimate of it.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import Ridge
    >>> from skrigidity.linear_model.curvature import LinearCurvature
    >>> X, y = np.array([[0.0], [1.0], [2.0]]), np.array([0.0, 1.0, 3.0])
    >>> curvature = LinearCurvature(Ridge(2.0).fit(X, y), alpha=2.0)
    >>> hessian = curvature.factorize(X, y, np.ones(3))
    >>> 1 / curvature.quad(hessian, X)
    array([1.71428571, 3.        , 1.71428571])
    """

    def __init__(
        self,
        estimator: Any,
        loss: Loss | None = None,
        *,
        alpha: Any = 0.0,
        times: Times = "one",
        gamma: Any = None,
        loss_factor: float = 1.0,
        noise_variance: float | None = None,
    ) -> None:
        self.coef = np.asarray(estimator.coef_, dtype=np.float64)
        self.intercept = np.asarray(estimator.intercept_, dtype=np.float64)
        self.fit_intercept = bool(estimator.fit_intercept)
        self.loss = SquaredLoss() if loss is None else loss
        self.alpha = alpha
        self.times = times
        self.gamma = gamma
        self.loss_factor = loss_factor
        self.noise_variance = noise_variance

    # --- what a family may replace ---------------------------------------------------------

    def lift(self, X: Any, intercept: Any = True) -> Any:
        """Return the derivatives of predictions by the parameters of H but the intercept."""
        return X

    def prepared(self, y: Any, sample_weight: np.ndarray) -> tuple[Any, np.ndarray]:
        """Return the targets as the loss takes them, and the weights of their rows."""
        return y, sample_weight

    def training_rows(self, X: Any, y: Any, sample_weight: np.ndarray) -> Rows:
        """Return the rows whose weighted sum is the data's part of H."""
        eta = self.linear_predictor(X)
        curvature = self.loss.curvature(eta, np.reshape(y, eta.shape))
        check_convex(curvature, self.loss)
        return self._weighted(X, sample_weight * curvature)

    # --- the protocol ----------------------------------------------------------------------

    def linear_predictor(self, X: Any) -> np.ndarray:
        """Return ``X @ coef_ + intercept_``."""
        return X @ self.coef.T + self.intercept

    def factorize(self, X: Any, y: Any, sample_weight: np.ndarray) -> Any:
        """Return the factorized Hessian, one factor for every alpha."""
        y, sample_weight = self.prepared(y, sample_weight)
        rows = self.training_rows(X, y, sample_weight)
        if rows.weight is not None and not rows.weight.any():
            raise ValueError(
                f"{type(self.loss).__name__} has no curvature in any training row (n_samples = "
                f"{len(rows)}): all of them are outliers, and pin nothing"
            )
        factors = {"one": 1.0, "weight": sample_weight.sum(), "samples": len(sample_weight)}
        alphas = np.asarray(self.alpha, dtype=np.float64) * factors[self.times]
        factor = choose(rows, Prior(alphas.min(), self.gamma))
        return PerTargetHessian(factor, alphas.ravel()) if alphas.size > 1 else factor

    def rows(self, X: Any, intercept: Any = True) -> Rows:
        """Return the gradients of predictions, `intercept` their derivative by it."""
        flags = intercept if self.fit_intercept else False
        return Rows(self.lift(X, intercept), intercept=flags)

    def quad(self, hessian: Any, X: Any, intercept: bool = True) -> np.ndarray:
        """Return ``1 / R`` per sample."""
        return hessian.quad(self.rows(X, intercept))

    def quad_of_sums(self, hessian: Any, X: Any, weights: np.ndarray) -> np.ndarray:
        """Return ``1 / R`` of weighted sums of predictions."""
        return hessian.quad(self.rows(weights @ X, weights.sum(axis=1)))

    def quad_with(self, hessian: Any, X: Any, added: Any, sample_weight: np.ndarray) -> np.ndarray:
        """Return ``1 / R`` after adding samples."""
        curvature = self.loss.expected_curvature(self.linear_predictor(added))
        rows = self._weighted(added, sample_weight * curvature)
        return self.quad(hessian.update(rows), X)

    def mean(self, X: Any) -> np.ndarray:
        """Return the predictions, in units of the target."""
        return self.loss.mean(self.linear_predictor(X))

    def slope(self, X: Any) -> np.ndarray | None:
        """Return the derivative of the inverse link."""
        return None if self.loss.identity_link else self.loss.slope(self.linear_predictor(X))

    def covariance(self, hessian: Any, X: Any) -> np.ndarray:
        """Return ``G @ inv(H) @ G.T``."""
        rows = self.rows(X)
        if isinstance(hessian, PerTargetHessian):
            return hessian.per_target(lambda factor: factor.cross(rows, rows))
        return hessian.cross(rows, rows)

    def halves(self, hessian: Any, X: Any, n_targets: int) -> list[np.ndarray]:
        """Return the whitened rows, per target."""
        rows = self.rows(X)
        if isinstance(hessian, PerTargetHessian):
            return [hessian.at(alpha).whiten(rows) for alpha in hessian.alphas]
        return [hessian.whiten(rows)] * n_targets

    def dispersion(
        self, hessian: Any, X: Any, y: Any, sample_weight: np.ndarray
    ) -> tuple[Any, Any]:
        """Return C**2 = mean square of the score / mean curvature, and sigma**2.

        By the information equality that is 1 for a likelihood that fits; for least squares it is
        the residual variance, for a gamma loss Pearson's estimate of the dispersion.
        """
        y, s = self.prepared(y, sample_weight)
        eta = self.linear_predictor(X)
        shape = eta.shape[1:]
        if self.noise_variance is not None:
            return (per_target(np.full(shape, self.noise_variance), shape),) * 2
        y = np.reshape(y, eta.shape)
        squares = np.tensordot(s, self.loss.score(eta, y) ** 2, axes=1)
        n = float(s.sum())
        curvature = float(s @ self.loss.curvature(eta, y)) / n
        left = np.asarray(hessian.residual_dof(n)) * curvature
        variance = np.where(left > 0, squares / np.where(left > 0, left, 1.0), np.inf)
        noise = variance if self.loss.constant_noise else np.zeros_like(variance)
        return per_target(variance, shape), per_target(noise, shape)

    def _weighted(self, X: Any, weight: np.ndarray) -> Rows:
        plain = (weight == 1).all()
        return Rows(self.lift(X), weight=None if plain else weight, intercept=self.fit_intercept)


def append_column(X: Any, column: Any) -> Any:
    """Return `X` with one more column (a number or one value per row)."""
    column = np.broadcast_to(np.asarray(column, dtype=np.float64), (X.shape[0],))
    if sp.issparse(X):
        return sp.hstack([X, sp.csr_matrix(column[:, None])], format="csr")
    return np.column_stack([X, column])
