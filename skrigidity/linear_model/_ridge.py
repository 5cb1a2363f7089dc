"""Ridge regression that knows how firmly it is pinned."""

from __future__ import annotations

from numbers import Real
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin, _fit_context
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.metaestimators import available_if

from ..distributed import chunked_rows
from ..environments import DISPATCHES, array_namespace, is_chunked, namespace
from ..gradients import (
    FeatureGradients,
    RigidityMixin,
    check_targets,
    check_weights,
    rows_of,
)
from ..hessian import METHODS, AutoAccumulator, Prior, Rows, choose
from ..hessian.array_api import ArrayRows, factorize


def _takes_batches(estimator: Any) -> bool:
    estimator._check_batches()
    return True


class RigidRidgeBase(RigidityMixin, MultiOutputMixin, RegressorMixin, BaseEstimator):
    """What `RigidRidge` and `RigidRidgeCV` share: from validated rows to fitted attributes."""

    gradients_: FeatureGradients
    _on_devices = True  # whether it takes arrays that are not NumPy's

    def _parameters(self) -> tuple[np.ndarray, np.ndarray, tuple[int, ...]]:
        coef, shape = self.coef_, tuple(self.coef_.shape[:-1])
        several, intercept = (coef, self.intercept_) if shape else (coef[None, :], self.intercept_)
        return several.T, intercept if shape else namespace(coef).reshape(intercept, (1,)), shape

    def _make_gradients(self, X: Any, sample_weight: Any) -> FeatureGradients:
        return FeatureGradients(
            self.n_features_in_,
            fit_intercept=self.fit_intercept,
            aggregate=self.aggregate,
            feature_names=getattr(self, "feature_names_in_", None),
        )

    def _training_rows(
        self, X: Any, y: Any, sample_weight: Any, *, reset: bool
    ) -> tuple[Any, tuple[int, ...]]:
        if is_chunked(X):
            return chunked_rows(self, X, y, sample_weight, reset=reset)
        X = self._validated(X, reset=reset)
        y = check_targets(self, X, y)
        weight = check_weights(sample_weight, X.shape[0], X=X)
        if reset:
            self._check_regularizer(X.shape[1])
            self.gradients_ = self._make_gradients(X, weight)
        features = self.gradients_.features(X)
        rows = rows_of(features, weight=weight, intercept=self.fit_intercept, rhs=y)
        return rows, tuple(y.shape[1:])

    def _check_regularizer(self, n_features: int) -> None:
        Prior(1.0, self.regularizer).check(n_features)

    def _alphas(self, n_targets: int) -> np.ndarray:
        alphas = np.asarray(self._alpha, dtype=np.float64)
        if not (np.isfinite(alphas).all() and (alphas >= 0).all()):
            raise ValueError(f"alpha must be finite and not negative, got {self._alpha!r}")
        if alphas.ndim > 1 or (alphas.ndim == 1 and len(alphas) != n_targets):
            raise ValueError(
                f"alpha must be a number or have one entry per target ({n_targets}), "
                f"got shape {alphas.shape}"
            )
        return alphas

    def _adopt(
        self,
        factor: Any,
        rows: Rows,
        alphas: np.ndarray,
        shape: tuple[int, ...],
        groups: Any = None,
    ) -> None:
        """Take over a factorization of all training rows, and what follows from it."""
        self._set_hessians(factor, alphas)
        self._set_solution(shape, rows)
        self._remember(rows)
        self._set_counted_scale()
        self._set_left_out_scale(rows, groups, shape)

    def _set_solution(self, shape: tuple[int, ...], rows: Rows | None = None) -> None:
        each = [factor.solution for factor in self._hessians]
        solution = each[0]
        if self._one_hessian:
            coef, intercept, rss = solution.coef, solution.intercept, weighted_rss(rows, solution)
        else:
            stack = namespace(solution.coef).stack
            coef = stack([s.coef[:, t] for t, s in enumerate(each)], axis=1)
            intercept = stack([s.intercept[t] for t, s in enumerate(each)])
            rss = stack([weighted_rss(rows, s)[t] for t, s in enumerate(each)])
        self.coef_ = 1.0 * (coef.T if shape else coef[:, 0])  # a copy, of any kind of array
        intercept = intercept if self.fit_intercept else 0.0 * intercept
        self.intercept_ = intercept if shape else intercept[0]
        self._rss = rss

    def _set_counted_scale(self) -> None:
        """Set what depends on the number of samples, in the sense of `weight_type`."""
        n_rows, weight = float(self._fitted_to[0]), float(self._fitted_to[1])
        self._n_samples = int(n_rows)
        left = self._set_dof(weight if self.weight_type == "frequency" else n_rows)
        self._set_initial_scale(self._rss, left, self.coef_.shape[:-1])

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.array_api_support = self._on_devices and DISPATCHES
        return tags


class RigidRidge(RigidRidgeBase):
    r"""Ridge regression with prediction rigidities and calibrated uncertainties.

    Minimizes :math:`\sum_i s_i (y_i - w^T x_i - b)^2 + \alpha w^T \Gamma w` and keeps the
    factorized Hessian :math:`H = \sum_i s_i g_i g_i^T + \alpha \Gamma`, from which the rigidity
    of any prediction with gradient g follows as :math:`R = 1 / (g^T H^{-1} g)`. The targets may
    be those of samples (a row of features each) or of structures made of environments, whose
    features are averaged or summed.

    Parameters
    ----------
    alpha : float or array-like of shape (n_targets,), default=1.0
        Regularization strength, not negative. 0 is allowed, also for singular problems: what
        the data do not determine has rigidity 0.
    regularizer : array-like of shape (n_features,) or (n_features, n_features), default=None
        The matrix Gamma, or its diagonal; None is the identity. Zero entries leave their
        column unpenalized. The intercept is never penalized.
    fit_intercept : bool, default=True
        Whether to fit an intercept.
    aggregate : {"mean", "sum"}, default="mean"
        How the environments of a structure make up its features.
    solver : {"auto", "cholesky", "qr", "spectral"}, default="auto"
        Factorization of the Hessian. "auto" takes the fastest that promises a relative
        accuracy of 1e-8; ``hessian_.info`` says which and why.
    calibration : {"bayesian", "loo"} or None, default="bayesian"
        Scale of the error bars, ``var = C**2 / R + sigma**2``: "bayesian" takes both from the
        training residuals and the effective degrees of freedom, "loo" takes C from leave-one-out
        residuals and rigidities (of `groups`, if `fit` is given any) and sigma = 0, None means
        C = 1 and sigma = 0. `calibrate` replaces it by held-out data.
    weight_type : {"frequency", "precision"}, default="frequency"
        Whether a sample weight counts repetitions of a sample, or is its inverse variance.

    Attributes
    ----------
    coef_ : ndarray of shape (n_features,) or (n_targets, n_features)
        Coefficients.
    intercept_ : float or ndarray of shape (n_targets,)
        Intercept.
    hessian_ : skrigidity.hessian.Factor
        Factorized Hessian; with an array `alpha`, ``hessian_.at(alpha)`` is the one for one
        alpha.
    scale_ : float or ndarray of shape (n_targets,)
        C**2.
    noise_variance_ : float or ndarray of shape (n_targets,)
        sigma**2; inf where there are as many effective parameters as samples.
    effective_dof_ : float or ndarray of shape (n_targets,)
        Effective number of parameters, intercept included.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the features, where the model was fitted on a DataFrame.

    See Also
    --------
    RigidRidgeCV : The same with alpha chosen by closed-form cross-validation.

    References
    ----------
    Chong, Bigi, Grasselli, Loche, Kellner, Ceriotti, Faraday Discuss. 256, 322 (2025).

    Examples
    --------
    >>> import numpy as np
    >>> from skrigidity.linear_model import RigidRidge
    >>> X = np.array([[0.0], [1.0], [2.0], [3.0]])
    >>> model = RigidRidge(alpha=0.0).fit(X, [0.0, 1.1, 1.9, 3.0])
    >>> model.prediction_rigidity([[1.5], [10.0]]).round(3)
    array([4.   , 0.068])
    >>> y, std = model.predict([[1.5], [10.0]], return_std=True)
    >>> std.round(2)
    array([0.11, 0.38])
    """

    _parameter_constraints: dict = {
        "alpha": [Interval(Real, 0, None, closed="left"), "array-like"],
        "regularizer": ["array-like", None],
        "fit_intercept": ["boolean"],
        "aggregate": [StrOptions({"mean", "sum"})],
        "solver": [StrOptions(set(METHODS))],
        "calibration": [StrOptions({"bayesian", "loo", "loo_noise"}), None],
        "weight_type": [StrOptions({"frequency", "precision"})],
    }

    def __init__(
        self,
        alpha: Any = 1.0,
        *,
        regularizer: Any = None,
        fit_intercept: bool = True,
        aggregate: str = "mean",
        solver: str = "auto",
        calibration: str | None = "bayesian",
        weight_type: str = "frequency",
    ) -> None:
        self.alpha = alpha
        self.regularizer = regularizer
        self.fit_intercept = fit_intercept
        self.aggregate = aggregate
        self.solver = solver
        self.calibration = calibration
        self.weight_type = weight_type

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any, sample_weight: Any = None, groups: Any = None) -> Self:
        """Fit the model and factorize its Hessian.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or structures of environments
            A row per sample (dense or CSR), or a sequence of 2-D arrays, one per structure, a
            row per environment.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Targets.
        sample_weight : array-like of shape (n_samples,), default=None
            Sample weights.
        groups : array-like of shape (n_samples,), default=None
            With ``calibration="loo"``: samples of one group (frames of one trajectory) are left
            out together, so that the scale of the error bars is that of a new group.

        Returns
        -------
        object
            Fitted estimator.

        Raises
        ------
        ValueError
            If input is not finite, lengths differ, `alpha` or `regularizer` do not fit it, or
            there are groups without ``calibration="loo"``.

        Examples
        --------
        >>> import numpy as np
        >>> from skrigidity import ComponentRidge
        >>> X = np.random.default_rng(0).standard_normal((20, 3))
        >>> ComponentRidge({"a": [0, 1], "b": [2]}).fit(X, X[:, 0]).prediction_rigidity(X).shape
        (20,)
        """
        rows, shape = self._training_rows(X, y, sample_weight, reset=True)
        labels = self._check_groups(groups, len(rows))
        alphas = self._alphas(rows.n_rhs)
        prior = Prior(alphas.min(), self.regularizer)
        function = factorize if isinstance(rows, ArrayRows) else choose
        self._adopt(function(rows, prior, method=self.solver), rows, alphas, shape, labels)
        return self

    @available_if(_takes_batches)
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Add a batch of samples; the result does not depend on order and batching.

        Continues after `fit` as well. What has been added stays in memory as one
        (n_features, n_features) matrix, whatever the number of samples.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or structures of environments
            Samples of the batch.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Their targets.
        sample_weight : array-like of shape (n_samples,), default=None
            Their weights.

        Returns
        -------
        object
            Fitted estimator.

        Raises
        ------
        ValueError
            If ``calibration="loo"``, which needs all samples at once.
        """
        if array_namespace(X) is not None:
            raise ValueError("partial_fit takes NumPy arrays; fit takes arrays on a device")
        first = not hasattr(self, "hessian_")
        rows, shape = self._training_rows(X, y, sample_weight, reset=first)
        if first:
            stream = AutoAccumulator(rows.n_features, rows.n_rhs, method=self.solver)
            self._fitted_to = 0.0
        elif self.coef_.shape[:-1] != shape:
            raise ValueError(
                f"y must have targets of the same shape as in earlier batches, got {rows.n_rhs} "
                "column(s)"
            )
        else:
            stream = self.hessian_.source.copy()
        stream.add(rows)
        alphas = self._alphas(rows.n_rhs)
        self._set_hessians(stream.finish(Prior(alphas.min(), self.regularizer)), alphas)
        self._set_solution(shape)
        self._remember(rows, before=self._fitted_to)
        self._set_counted_scale()
        return self

    def _check_batches(self) -> None:
        """Raise AttributeError where one batch after the other will not do."""
        if self.calibration in ("loo", "loo_noise"):
            raise AttributeError(
                f"calibration={self.calibration!r} needs all samples at once: use fit, or another "
                "calibration"
            )

    @property
    def _alpha(self) -> Any:
        return self.alpha


def weighted_rss(rows: Rows | None, solution: Any) -> np.ndarray:
    """Return the residual sums of squares of a solution, from the rows where it lacks them."""
    if solution.rss is not None:
        return solution.rss
    assert rows is not None
    return rows.rss(solution.coef, solution.intercept)
