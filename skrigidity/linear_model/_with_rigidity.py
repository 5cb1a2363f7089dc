"""Rigidities for scikit-learn's own estimators."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn.base import (
    BaseEstimator,
    MetaEstimatorMixin,
    _fit_context,
    clone,
    is_classifier,
)
from sklearn.utils import check_array, get_tags
from sklearn.utils._param_validation import HasMethods, StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import (
    _check_sample_weight,
    check_consistent_length,
    check_is_fitted,
)

from ._curved import CurvedRigidityMixin
from ._delegating import DelegatingMixin, draws, has_probabilities, regresses
from .curvature import curvature_of
from .curvature._registry import check_known, unfrozen


class WithRigidity(CurvedRigidityMixin, DelegatingMixin, MetaEstimatorMixin, BaseEstimator):
    r"""Add rigidities to one of scikit-learn's estimators.

    Fits a clone of the estimator and factorizes the Hessian of its objective at the optimum,

    .. math:: H = \sum_i s_i\, \ell''(\eta_i)\, g_i g_i^T + \alpha \Gamma,
        \qquad R(g) = 1 / (g^T H^{-1} g),

    for predictions :math:`\eta = g^T w` that are linear in the parameters: generalized
    Gauss-Newton, exact for these models (reference [1]_, appendix A). A prediction of rigidity R
    that is pulled by a small :math:`\epsilon` raises the objective of the table, everything
    else refitted, by :math:`f R \epsilon^2 / 2` (reference [1]_, equation 1).

    Parameters
    ----------
    estimator : estimator
        One of the table, or a `FrozenEstimator` around a fitted one: then `fit` only builds the
        Hessian.
    aggregate : {"mean", "sum"}, default="mean"
        How the environments of a structure make up its features, where X is made of
        structures.

    Attributes
    ----------
    estimator_ : estimator
        The fitted clone.
    curvature_ : skrigidity.linear_model.curvature.Curvature
        What is known of the loss.
    hessian_ : object
        The factorized Hessian; ``hessian_.info`` says how, and how accurately. One factor per
        alpha where targets differ in it: ``hessian_.at(alpha)``.
    scale_ : float or ndarray of shape (n_targets,)
        C**2 of the error bars ``var = C**2 / R + sigma**2``.
    noise_variance_ : float or ndarray of shape (n_targets,)
        sigma**2.
    classes_ : ndarray of shape (n_classes,)
        Classes; only for classifiers.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, where the model was fitted on a DataFrame.

    See Also
    --------
    RigidRidge : Ridge regression with rigidities from the start, environments included.
    skrigidity.linear_model.curvature.curvature_of : Where other estimators are registered.

    Notes
    -----
    H is the Hessian of the estimator's own objective, rescaled so that the loss of a row has the
    weight :math:`s_i`; least squares leave out the factor 2 (f = 2). The intercept is a
    parameter without penalty, except where the estimator penalizes it.

    ================================  =============================================  ===  =======
    estimator                         objective after rescaling                      f    η is
    ================================  =============================================  ===  =======
    LinearRegression                  Σ s r²                                         2    y
    Ridge, RidgeCV                    Σ s r² + α‖w‖²                                 2    y
    BayesianRidge                     Σ s r² + (lambda_/alpha_)‖w‖²                  2    y
    ARDRegression                     Σ s r² + Σ_j (lambda_j/alpha_) w_j²            2    y
    ElasticNet(l1_ratio=0)            Σ s r²/2 + α Σs ‖w‖²/2                         1    y
    HuberRegressor                    Σ s (σ + σ h(r/σ)) + α‖w‖²                     2    y
    SGDRegressor                      Σ s ℓ + α n ‖w‖²/2 (squared_error, huber)      1    y
    PoissonRegressor                  Σ s d/2 + α Σs ‖w‖²/2, d the unit deviance     1    log(y)
    GammaRegressor                    Σ s d/2 + α Σs ‖w‖²/2, d the unit deviance     1    log(y)
    TweedieRegressor                  Σ s d/2 + α Σs ‖w‖²/2, d the unit deviance     1    link(y)
    LogisticRegression(CV)            Σ s ℓ + ‖w‖²/(2C)                              1    logits
    RidgeClassifier(CV)               Σ s r² + α‖w‖², targets ±1                     2    decision
    KernelRidge                       Σ s r² + α‖f‖²                                 2    y
    GaussianProcessRegressor          Σ r² + α‖f‖² (α an array: Σ r²/α_i + ‖f‖²)     2    y
    ================================  =============================================  ===  =======

    Class weights multiply s. Huber's σ is a parameter of H that predictions do not depend on;
    outliers, whose loss is linear, add nothing. Features that ARD has pruned are fixed at zero.
    The rigidity of a Gaussian process is α over its posterior variance, noise of a `WhiteKernel`
    included. Losses that are concave at a training row (some powers and links of Tweedie) raise
    a ValueError. LIBLINEAR's penalty on the intercept is taken into account.

    **Error bars of regressors** are those of the predicted mean, by the delta method for other
    links than the identity: ``var = C**2 slope**2 / R + sigma**2`` with the slope of the inverse
    link. `fit` sets C² to the mean square of the scores over the mean curvature, per degree of
    freedom left (the residual variance for least squares), or to what the estimator itself knows
    (BayesianRidge, ARD, Gaussian processes), and sigma² to the noise where that is constant,
    else to 0; `calibrate` replaces both by held-out data.

    **Classifiers** have rigidities of logits, from which `probability_std` follows. With more
    than two classes raw logits can all move together without any change in probabilities
    (nothing pins an intercept common to all), so that R is given of the centred logits
    :math:`\eta_k - \bar\eta`.

    References
    ----------
    .. [1] Chong, Bigi, Grasselli, Loche, Kellner, Ceriotti, Faraday Discuss. 256, 322 (2025).

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression, PoissonRegressor
    >>> from skrigidity.linear_model import WithRigidity
    >>> X = np.array([[0.0], [1.0], [2.0], [3.0], [4.0]])
    >>> model = WithRigidity(PoissonRegressor(alpha=0.0, solver="newton-cholesky"))
    >>> model.fit(X, [1, 1, 3, 6, 13]).prediction_rigidity([[4.0], [6.0]]).round(1)
    array([15.3,  3. ])
    >>> y, std = model.predict([[4.0], [6.0]], return_std=True)
    >>> y.round(1), std.round(1)
    (array([12.8, 55.7]), array([0.5, 4.9]))

    A classifier, far from the boundary and near it:

    >>> model = WithRigidity(LogisticRegression()).fit(X, [0, 0, 1, 0, 1])
    >>> model.prediction_rigidity([[-4.0], [2.0]]).round(2)
    array([0.07, 0.99])
    >>> model.probability_std([[-4.0], [2.0]])[:, 1].round(2)
    array([0.05, 0.24])
    """

    _parameter_constraints: dict = {
        "estimator": [HasMethods(["fit", "predict"])],
        "aggregate": [StrOptions({"mean", "sum"})],
    }

    def __init__(self, estimator: Any, *, aggregate: str = "mean") -> None:
        self.estimator = estimator
        self.aggregate = aggregate

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: Any, y: Any, **fit_params: Any) -> Self:
        """Fit a clone of the estimator and factorize the Hessian of its loss.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or structures of environments
            A row per sample (dense or sparse, as the estimator takes it), or a sequence of 2-D
            arrays, one per structure.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Targets.
        **fit_params : dict
            For the estimator's own `fit`; ``sample_weight`` enters the Hessian as well.

        Returns
        -------
        self : object
            Fitted estimator.

        Raises
        ------
        TypeError
            If the curvature of the estimator's loss is not known or there is none.
        ValueError
            If its parameters leave no curvature, or that is negative.
        """
        check_known(self.estimator)
        if y is None:
            raise ValueError(
                f"This {type(self).__name__} estimator requires y to be passed, but the target y "
                "is None"
            )
        routed = self._routed("fit", fit_params)
        X = self._aggregated(X)
        weight = routed.get("sample_weight")
        if weight is not None:
            weight = _check_sample_weight(weight, X, dtype=np.float64, ensure_non_negative=True)
            if not weight.any():
                raise ValueError("sample_weight must not be zero throughout")
        self.estimator_ = clone(self.estimator).fit(X, y, **routed)
        inner = unfrozen(self.estimator_)
        X = self._global_features(X, reset=True)
        check_consistent_length(X, y)
        self.curvature_ = curvature_of(inner)
        y = self._training_targets(inner, y)
        if weight is None:
            weight = np.ones(X.shape[0])
        self.hessian_ = self.curvature_.factorize(X, y, weight)
        self.scale_, self.noise_variance_ = 1.0, 0.0
        if not is_classifier(inner):
            self.scale_, self.noise_variance_ = self.curvature_.dispersion(
                self.hessian_, X, y, weight
            )
        return self

    def predict(self, X: Any, return_std: bool = False, return_cov: bool = False) -> Any:
        """Predict with the estimator; with the uncertainty of the mean if asked for.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or structures of environments
            Input as in `fit`.
        return_std : bool, default=False
            Return standard deviations ``sqrt(C**2 slope**2 / R + sigma**2)`` as well.
        return_cov : bool, default=False
            Return covariances as well.

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_targets)
            Predictions.
        y_std : ndarray of the shape of y
            Only with `return_std`; infinite where nothing pins the prediction.
        y_cov : ndarray of shape (n_samples, n_samples) or (n_samples, n_samples, n_targets)
            Only with `return_cov`.

        Raises
        ------
        ValueError
            If a classifier is asked for uncertainties, which `probability_std` has, or the
            scale of the errors is unknown.
        """
        check_is_fitted(self)
        if not (return_std or return_cov):
            return self.estimator_.predict(self._aggregated(X))
        if is_classifier(self.estimator_):
            raise ValueError("predicted classes have no standard deviation: see probability_std")
        return super().predict(X, return_std=return_std, return_cov=return_cov)

    @available_if(has_probabilities)
    def probability_std(self, X: Any) -> np.ndarray:
        """Return standard deviations of predicted probabilities, by the delta method.

        ``var(p_k) = g.T @ inv(H) @ g`` with ``g = dp_k/dw = p_k (e_k - p) ⊗ [x, 1]``: the
        Laplace approximation of the posterior. Not to be trusted where it exceeds the distance
        of p to 0 or 1, nor for classes that are separable but for the penalty.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or structures of environments
            Input as in `predict`.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Standard deviations of `predict_proba`.
        """
        check_is_fitted(self)
        features = self._global_features(X)
        return np.sqrt(self.curvature_.probability_quad(self.hessian_, features))

    @available_if(regresses)
    def calibrate(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        method: str = "squared_residuals",
        noise: bool = False,
    ) -> Self:
        """Fit the scale of the error bars to held-out data, in units of the target.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or structures of environments
            Validation samples.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Their targets.
        sample_weight : array-like of shape (n_samples,), default=None
            Their weights.
        method : {"squared_residuals", "absolute_residuals", "crps", "nll"}
            How C is determined, see `skrigidity.calibration.fit_scale`.
        noise : bool, default=False
            Fit sigma as well; otherwise it is set to 0.

        Returns
        -------
        self : object
            The same estimator, `scale_` and `noise_variance_` set.
        """
        return super().calibrate(X, y, sample_weight, method, noise)

    @available_if(draws)
    def sample_y(
        self, X: Any, n_samples: int = 1, random_state: Any = None, noise: bool = False
    ) -> np.ndarray:
        """Draw predictions from the posterior, for identity links.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or structures of environments
            Input as in `predict`.
        n_samples : int, default=1
            Number of draws.
        random_state : int, RandomState instance or None, default=None
            Seed of the draws.
        noise : bool, default=False
            Add sigma, independently to every prediction.

        Returns
        -------
        ndarray of shape (n_samples, n_draws) or (n_samples, n_targets, n_draws)
            Draws of the predictions.
        """
        return super().sample_y(X, n_samples, random_state, noise)

    def __sklearn_tags__(self) -> Any:
        return get_tags(self.estimator)

    def _known_scale(self) -> tuple[Any, Any]:
        if not (np.isfinite(self.scale_).all() and np.isfinite(self.noise_variance_).all()):
            raise ValueError(
                "the training set cannot tell the scale of the errors: as many effective "
                "parameters as samples. Call calibrate() with held-out data"
            )
        return self.scale_, self.noise_variance_

    def _training_targets(self, inner: Any, y: Any) -> np.ndarray:
        """Check the training set against an estimator that may have been fitted to another."""
        if self.n_features_in_ != getattr(inner, "n_features_in_", self.n_features_in_):
            raise ValueError(
                f"X has {self.n_features_in_} features, but the frozen {type(inner).__name__} is "
                f"expecting {inner.n_features_in_} features as input"
            )
        if not is_classifier(inner):
            return check_array(y, ensure_2d=False, dtype=np.float64, input_name="y")
        self.classes_ = inner.classes_
        y = check_array(y, ensure_2d=False, dtype=None, input_name="y")
        if y.ndim == 1 and not np.isin(y, self.classes_).all():
            raise ValueError(f"y has labels that are not among {self.classes_.tolist()}")
        return y
