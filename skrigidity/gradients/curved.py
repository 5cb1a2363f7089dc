"""Models with one linear predictor per target, and any loss of it that has a curvature."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn.base import is_classifier

from ..hessian import Rows
from .base import Gradients, Level
from .features import FeatureGradients
from .fitted import FittedGradients
from .losses import Loss, SquaredLoss, check_convex
from .model import ratio


class CurvedGradients(FeatureGradients, FittedGradients):
    """Rows of a loss of ``X @ coef_ + intercept_``, weighted by its curvature at the optimum.

    ``H = sum_i s_i l''(eta_i) g_i g_i.T + alpha * Gamma`` with ``g = [x, 1]`` (Chong et al.,
    Faraday Discuss. 256, 322 (2025), appendix A). The right-hand sides of the training rows are
    ``eta - l' / l''``: their weighted least squares take one Newton step from the optimum.

    Parameters
    ----------
    estimator : object
        Fitted, with `coef_`, `intercept_` and `fit_intercept`.
    loss : Loss, default=SquaredLoss()
        Loss of one sample.
    noise_variance : float, default=None
        The estimator's own estimate of it.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import PoissonRegressor
    >>> from skrigidity.gradients import CurvedGradients, TweedieLoss
    >>> X, y = np.array([[0.0], [1.0]]), np.array([2.0, 2.0])
    >>> model = PoissonRegressor(alpha=0.0).fit(X, y)
    >>> rows = CurvedGradients(model, TweedieLoss(1, "log")).training_rows(X, y, np.ones(2))
    >>> rows.weight.round(6)  # the mean
    array([2., 2.])
    """

    # Curvature of a sample's loss in units of that of `loss`.
    unit: float = 1.0

    def __init__(
        self, estimator: Any, loss: Loss | None = None, *, noise_variance: float | None = None
    ) -> None:
        coef = np.asarray(estimator.coef_, dtype=np.float64)
        if is_classifier(estimator) and len(coef) == 1:
            coef = coef[0]
        super().__init__(coef.shape[-1], fit_intercept=estimator.fit_intercept, aggregate="mean")
        self.shape = coef.shape[:-1]
        self.coef = np.atleast_2d(coef).T
        intercept = np.ravel(np.asarray(estimator.intercept_, dtype=np.float64))
        self.intercept = np.broadcast_to(intercept, self.coef.shape[1:])
        self.loss = SquaredLoss() if loss is None else loss
        self.noise_variance = noise_variance

    def lifted(self, features: Any, flag: float) -> Any:
        """Return derivatives by the parameters of H; `flag` is that by the intercept.

        Parameters
        ----------
        features : ndarray or sparse matrix of shape (n_rows, n_features)
            Feature rows.
        flag : float
            Derivative by the intercept.

        Returns
        -------
        ndarray or sparse matrix
            Rows by the parameters of H.
        """
        return features

    def rows(self, X: Any, level: Level = "global", component: Any = None) -> Rows:
        """Return the gradients of all linear predictors.

        Parameters
        ----------
        X : ndarray, sparse matrix or Environments
            Validated samples, or environments by structure.
        level : {"global", "local"}, default="global"
            Rows of samples, or of their environments.
        component : object, default=None
            What `resolve` gives for one component; None is the whole model.

        Returns
        -------
        Rows
            A row per prediction.
        """
        features = self.features(X, level)
        if component is not None:
            return Rows(self.lifted(features, 0.0), columns=component)
        flag = float(level == "global" or self.aggregate == "mean")
        return Rows(self.lifted(features, flag), intercept=flag if self.fit_intercept else 0.0)

    def training_rows(self, X: Any, y: np.ndarray, sample_weight: np.ndarray) -> Rows:
        """Return the rows whose weighted sum is the data's part of H.

        Parameters
        ----------
        X : ndarray, sparse matrix or Environments
            Validated samples, or environments by structure.
        y : ndarray of shape (n_samples,) or (n_samples, n_targets)
            Targets.
        sample_weight : ndarray of shape (n_samples,)
            Weights of the samples.

        Returns
        -------
        Rows
            The rows, with their weights.
        """
        eta, target = self._linear(X), self.targets(y)
        curvature = self.loss.curvature(eta, target)
        check_convex(curvature, self.loss)
        weight = self.unit * sample_weight * curvature
        if not weight.any():
            raise ValueError(
                f"{type(self.loss).__name__} has no curvature in any training row (n_samples = "
                f"{len(eta)}): all of them are outliers, and pin nothing"
            )
        return self._weighted(X, weight, self.loss.response(eta, target))

    def joined(self, X: Any, sample_weight: np.ndarray | None) -> tuple[Rows, Gradients]:
        """Return samples as rows, at the curvature to expect of them: no targets are needed.

        Parameters
        ----------
        X : ndarray, sparse matrix or Environments
            Validated samples, or environments by structure.
        sample_weight : ndarray of shape (n_samples,) or None
            Weights of the samples; None is 1 for each.

        Returns
        -------
        tuple of Rows and Gradients
            The rows, and the gradients of a model that knows them.
        """
        weight = self.unit * self.loss.expected_curvature(self._linear(X))
        if sample_weight is not None:
            weight = weight * sample_weight
        return self._weighted(X, weight), self

    def mean(self, linear: np.ndarray) -> np.ndarray:
        """Return the predictions: the inverse link.

        Parameters
        ----------
        linear : ndarray
            Linear predictors.

        Returns
        -------
        ndarray
            Predictions, an entry per linear predictor.
        """
        return self.loss.mean(linear)

    def slope(self, linear: np.ndarray) -> np.ndarray | None:
        """Return the derivative of the inverse link.

        Parameters
        ----------
        linear : ndarray
            Linear predictors.

        Returns
        -------
        ndarray or None
            Derivatives, None where they are all 1.
        """
        return self.loss.slope(linear)

    def check_leave_out(self) -> None:
        """Raise TypeError where outliers pull on the model without any curvature."""
        if not self.loss.curved:
            raise TypeError(
                "leave_one_out needs a loss that is curved at every sample. Huber's is linear for "
                "outliers (and HuberRegressor fits its scale along), so that no closed form tells "
                "what becomes of the model without one"
            )

    def dispersion(
        self, X: Any, y: np.ndarray, sample_weight: np.ndarray, residual_dof: Any
    ) -> tuple[Any, Any]:
        """Return C**2, the mean square of the score over the mean curvature, and sigma**2.

        By the information equality C**2 is 1 for a likelihood that fits; for least squares it is
        the residual variance, for a gamma loss Pearson's estimate of the dispersion.

        Parameters
        ----------
        X : ndarray, sparse matrix or Environments
            Validated samples, or environments by structure.
        y : ndarray of shape (n_samples,) or (n_samples, n_targets)
            Targets.
        sample_weight : ndarray of shape (n_samples,)
            Weights of the samples.
        residual_dof : float or ndarray of shape (n_targets,)
            Samples minus the effective degrees of freedom.

        Returns
        -------
        tuple of two floats, or two ndarrays of shape (n_targets,)
            C**2 and sigma**2.
        """
        if self.noise_variance is not None:
            return (np.full(self.shape, self.noise_variance),) * 2
        eta, target = self._linear(X), self.targets(y)
        squares = np.tensordot(sample_weight, self.loss.score(eta, target) ** 2, axes=1)
        curvature = sample_weight @ self.loss.curvature(eta, target) / sample_weight.sum()
        scale = self.unit * ratio(squares, residual_dof * curvature)
        if not self.loss.constant_noise:
            return scale, None
        errors = np.tensordot(sample_weight, (target - self.mean(eta)) ** 2, axes=1)
        return scale, ratio(errors, residual_dof)

    def _linear(self, X: Any) -> np.ndarray:
        return self.rows(X).times(self.coef, self.intercept).reshape(-1, *self.shape)

    def _weighted(self, X: Any, weight: np.ndarray, rhs: Any = None) -> Rows:
        features = self.lifted(self.features(X), 1.0)
        plain = None if (weight == 1).all() else weight
        return Rows(features, weight=plain, intercept=self.fit_intercept, rhs=rhs)


def append_column(X: Any, column: Any) -> Any:
    """Return `X` with one more column (a number or one value per row)."""
    column = np.broadcast_to(np.asarray(column, dtype=np.float64), (X.shape[0],))
    if sp.issparse(X):
        return sp.hstack([X, sp.csr_matrix(column[:, None])], format="csr")
    return np.column_stack([X, column])
