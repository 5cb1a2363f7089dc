"""Rigidities for scikit-learn's own estimators."""

from __future__ import annotations

import warnings
from typing import Any, Self

import numpy as np
import scipy.sparse as sp
from sklearn.base import (
    BaseEstimator,
    MetaEstimatorMixin,
    _fit_context,
    clone,
    is_classifier,
    is_regressor,
)
from sklearn.utils import check_array, column_or_1d, get_tags
from sklearn.utils._param_validation import HasMethods, StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import _check_n_features, check_consistent_length

from ..environments import as_environments, is_environments
from ..gradients import RigidityMixin, check_targets, check_weights, per_target
from ..hessian import KernelRows
from .delegating import DelegatingMixin, estimator_has
from .registry import check_known, curvature_of, unfrozen
from .skorch import looked_at

# Squares of what is larger or smaller leave the range of numbers.
_LARGEST, _SMALLEST = 1e150, 1e-150


def _check_magnitude(name: str, values: Any) -> None:
    values = values.data if sp.issparse(values) else values
    size = max(float(values.max()), -float(values.min())) if values.size else 0.0
    if size > _LARGEST or 0 < size < _SMALLEST:
        raise ValueError(
            f"{name} has values up to {size:.0e} in magnitude, whose squares overflow or vanish: "
            f"scale it to between {_SMALLEST} and {_LARGEST}"
        )


def _regresses(self: Any) -> bool:
    if not is_regressor(self.estimator):
        raise AttributeError(f"{type(self.estimator).__name__} is not a regressor")
    return True


def _has_probabilities(self: Any) -> bool:
    if is_regressor(self.estimator):
        raise AttributeError(f"{type(self.estimator).__name__} is a regressor")
    return estimator_has("predict_proba")(self)


def _draws(self: Any) -> bool:
    if hasattr(self, "gradients_") and self.gradients_.slope(np.zeros(1)) is not None:
        raise AttributeError("sample_y needs predictions that are linear in the parameters")
    return _regresses(self)


class WithRigidity(RigidityMixin, DelegatingMixin, MetaEstimatorMixin, BaseEstimator):
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
    curvature_ : Curvature
        What is known of the objective: its gradients, its penalty, the factor f of the table.
    hessian_ : object
        The factorized Hessian; ``hessian_.info`` says how, and how accurately. One factor per
        alpha where targets differ in it: ``hessian_.at(alpha)``.
    scale_ : float or ndarray of shape (n_targets,)
        C**2 of the error bars ``var = C**2 / R + sigma**2``.
    noise_variance_ : float or ndarray of shape (n_targets,)
        sigma**2.
    effective_dof_ : float or ndarray of shape (n_targets,)
        Effective number of parameters, intercept included.
    classes_ : ndarray of shape (n_classes,)
        Classes; only for classifiers.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the features, where the model was fitted on a DataFrame.

    See Also
    --------
    RigidRidge : Ridge regression with rigidities from the start, environments included.
    skrigidity.with_rigidity.curvature_of : Where other estimators are registered.

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
    BayesianRidge                     Σ s r² + (λ/α)‖w‖², fitted λ and α             2    y
    ARDRegression                     Σ s r² + Σ_j (λ_j/α) w_j², fitted λ and α      2    y
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
    MLPRegressor, last layer          Σ s r²/2 + ε‖w‖²/2 (Poisson: Σ s d/2 + …)      1    y, log(y)
    MLPClassifier, last layer         Σ s ℓ + ε‖w‖²/2                                1    logits
    skorch's networks, last layer     the same: MSELoss; cross-entropies             1    y, logits
    ================================  =============================================  ===  =======

    Class weights multiply s. Huber's σ is a parameter of H that predictions do not depend on;
    outliers, whose loss is linear, add nothing. Features that ARD has pruned are fixed at zero.
    The rigidity of a Gaussian process is α over its posterior variance, noise of a `WhiteKernel`
    included. Losses that are concave at a training row (some powers and links of Tweedie) raise
    a ValueError. LIBLINEAR's penalty on the intercept is taken into account.

    **Networks** are linear models of what enters their last layer (the activations of the last
    hidden one, and a 1 for the bias, which is penalized like the rest), all layers before it kept
    as they are: `skrigidity.last_layer.LastLayerRigidity` does the same for networks in torch.
    Those of skorch are run on data to find the layer; it has to give predictions, or the logits
    of predicted probabilities.
    Their own alpha is not that of H: ε is 1e-4 times the mean eigenvalue of the rest of H, for
    units that are never active leave it singular. Their training residuals say nothing of their
    errors: rigidities are there at once, error bars after `calibrate`, and no `leave_one_out`.

    **Error bars of regressors** are those of the error, ``var = C**2 / R + sigma**2``, wherever the
    noise is a number: the residual variance for least squares, Huber's loss and kernel ridge, or
    what the estimator itself knows (BayesianRidge, ARD, alpha of Gaussian processes). Where the
    noise depends on the mean (Poisson, gamma and other Tweedie deviances) or differs by sample (an
    array alpha), sigma is 0, the bars are those of the predicted mean, and `predict` says so in a
    warning until `calibrate` has fitted C (and sigma) to held-out data. C**2 is the mean square of
    the scores over the mean curvature, per degree of freedom left. With another link than the
    identity the first term is multiplied by the square of the slope of its inverse.

    **Leaving out** (`leave_one_out`) keeps the penalty, class weights and hyperparameters as they
    are, also where the estimator chooses them by the data. Classifiers are left with predicted
    probabilities, ridge classifiers with values of the decision function.

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
    >>> from skrigidity import WithRigidity
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

    aggregate: Any
    gradients_: Any
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
        object
            Fitted estimator.

        Raises
        ------
        TypeError
            If the curvature of the estimator's loss is not known or there is none.
        ValueError
            If its parameters leave no curvature, or that is negative.

        Examples
        --------
        >>> import numpy as np
        >>> from sklearn.linear_model import Ridge
        >>> from skrigidity import WithRigidity
        >>> X = np.random.default_rng(0).standard_normal((20, 3))
        >>> WithRigidity(Ridge()).fit(X, X[:, 0]).prediction_rigidity(X).shape
        (20,)
        """
        check_known(self.estimator)
        routed = self._routed("fit", fit_params)
        aggregated = self._aggregated(X)
        X = self._validated(X, reset=True)
        weight = check_weights(routed.get("sample_weight"), X.shape[0])
        _check_magnitude("X", self._aggregated(X))
        if is_regressor(self.estimator):
            _check_magnitude("y", check_targets(self, X, y))
        self.estimator_ = clone(self.estimator).fit(aggregated, y, **routed)
        inner = unfrozen(self.estimator_)
        _check_n_features(inner, X, reset=False)  # a frozen one may have been fitted elsewhere
        self.curvature_ = curvature_of(looked_at(inner, aggregated))
        self.gradients_ = gradients = self.curvature_.gradients
        gradients.aggregate = self.aggregate
        gradients.feature_names = getattr(self, "feature_names_in_", None)
        y, weight = self._targets_and_weights(X, y, weight)
        gradients.bind(X, weight)
        rows = gradients.training_rows(X, y, weight)
        alphas = self.curvature_.alphas(weight, rows)
        factor = gradients.factorize(rows, float(alphas.min()), self.curvature_.gamma)
        self._set_hessians(factor, alphas)
        left = self._set_dof(float(weight.sum()))
        self._remember(rows)
        self._n_samples = len(y)
        scale, noise, self._of_mean = 1.0, 0.0, False
        if not is_classifier(inner):
            scale, noise = gradients.dispersion(X, y, weight, left)
            self._of_mean = noise is None
        self.scale_ = per_target(scale, np.shape(scale))
        self.noise_variance_ = per_target(0.0 * scale if noise is None else noise, np.shape(scale))
        return self

    @available_if(_has_probabilities)
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
        checked, _ = self._checked(X)
        if self.gradients_.n_outputs > 1:
            return np.sqrt(self._quad(self.gradients_.probability_rows(checked)))
        _, q = self._mean_and_quad(X)
        return np.sqrt(np.column_stack([q, q]))

    calibrate = available_if(_regresses)(RigidityMixin.calibrate)
    sample_y = available_if(_draws)(RigidityMixin.sample_y)

    def __sklearn_tags__(self) -> Any:
        tags = get_tags(self.estimator)
        tags.array_api_support = False
        if is_classifier(self.estimator) and hasattr(self.estimator, "hidden_layer_sizes"):
            # Several labels of a network would have a Hessian each.
            tags.classifier_tags.multi_label = tags.target_tags.multi_output = False
        return tags

    # --- what the mixin asks for -------------------------------------------------------------

    def _parameters(self) -> tuple[np.ndarray, np.ndarray, tuple[int, ...]]:
        return self.gradients_.coef, self.gradients_.intercept, self.gradients_.shape

    def _training_rows(
        self, X: Any, y: Any, sample_weight: Any, *, reset: bool
    ) -> tuple[Any, tuple[int, ...]]:
        X = self._validated(X, reset=reset)
        weight = check_weights(sample_weight, X.shape[0])
        y, weight = self._targets_and_weights(X, y, weight)
        return self.gradients_.training_rows(X, y, weight), self.gradients_.shape

    def _observed(self, y: Any, rows: Any, shape: tuple[int, ...]) -> np.ndarray:
        return self.gradients_.targets(self._checked_targets(y, y))

    def _leave_out_of(self, rows: Any, groups: Any, factor: Any) -> Any:
        own = getattr(self.gradients_, "leave_out", super()._leave_out_of)
        return own(rows, groups, factor)

    def _predict(self, X: Any) -> np.ndarray:
        return self.estimator_.predict(self._aggregated(X))

    def _validated(self, X: Any, *, reset: bool = False, name: str = "X") -> Any:
        if isinstance(X, KernelRows) and not reset:
            return X
        return super()._validated(X, reset=reset, name=name)

    def _check_has(self, what: str) -> None:
        if is_classifier(self.estimator_):
            raise ValueError(f"predicted classes have no {what}: see probability_std")
        if what == "error bars" and self._of_mean:
            warnings.warn(
                f"the error bars of {type(unfrozen(self.estimator_)).__name__} are those of the "
                "predicted mean: its noise is not one number. calibrate() makes them those of "
                "the error, by held-out data",
                UserWarning,
                stacklevel=4,
            )

    def _set_scale(self, *args: Any, **kwargs: Any) -> None:
        super()._set_scale(*args, **kwargs)
        self._of_mean = False

    def _known_scale(self) -> tuple[Any, Any]:
        if not (np.isfinite(self.scale_).all() and np.isfinite(self.noise_variance_).all()):
            raise ValueError(
                f"the scale of the errors is not known: {self.gradients_.no_scale}. Call "
                "calibrate() with held-out data"
            )
        return self.scale_, self.noise_variance_

    # --- internals -------------------------------------------------------------------------

    def _aggregated(self, X: Any) -> Any:
        if isinstance(X, KernelRows):
            return X.train
        return as_environments(X).aggregate(self.aggregate) if is_environments(X) else X

    def _targets_and_weights(
        self, X: Any, y: Any, sample_weight: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return checked targets, and weights with those of the classes."""
        y = self._checked_targets(X, y)
        weight = np.ones(len(y)) if sample_weight is None else sample_weight
        # What has no weight is given none by that of its class, be it infinite.
        seen = weight > 0
        weight = weight.copy()
        weight[seen] = self.gradients_.weights(y, weight)[seen]
        return y, weight

    def _checked_targets(self, X: Any, y: Any) -> np.ndarray:
        if not is_classifier(self.estimator_):
            return check_targets(self, X, y)
        self.classes_ = self.estimator_.classes_
        y = check_array(y, ensure_2d=False, dtype=None, input_name="y")
        y = column_or_1d(y) if y.ndim == 2 and y.shape[1] == 1 else y
        check_consistent_length(X, y)
        if y.ndim == 1 and not np.isin(y, self.classes_).all():
            raise ValueError(f"y has labels that are not among {self.classes_.tolist()}")
        return y
