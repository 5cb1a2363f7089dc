"""Error bars of models that are too simple for their data: spreads of parameters in closed form."""

from __future__ import annotations

from numbers import Real
from typing import Any, NamedTuple, Self

import numpy as np
from scipy.linalg import eigh
from sklearn.base import BaseEstimator, MetaEstimatorMixin, RegressorMixin, _fit_context, clone
from sklearn.utils import _safe_indexing, get_tags
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from ._scale import scale_from_quad

# Directions with less than this share of the largest spread are not among the box's (as in the
# package of the authors).
_FLAT = 1e-8


class _Steps(NamedTuple):
    """Steps of the parameters, in coordinates in which H is the identity, of one target."""

    vector: np.ndarray  # (n_steps, rank)
    share: np.ndarray  # (n_steps,), of the steps in the second moments
    group: np.ndarray  # (n_steps,), whose step it is


class _Box(NamedTuple):
    """The box about steps, of one target."""

    axes: np.ndarray  # (rank, n_axes)
    low: np.ndarray  # (n_axes,)
    high: np.ndarray


class MisspecifiedRegressor(MetaEstimatorMixin, RegressorMixin, BaseEstimator):
    r"""Error bars where the form of the model, and not noise, makes the errors.

    Few parameters fitted to many targets without noise are pinned firmly, and the model errs all
    the same. What tells where it does is how far the parameters move when single targets are
    heeded less or more: the second moment :math:`\Sigma` of such steps takes the place of
    :math:`H^{-1}` in

    .. math:: \mathrm{var} = C^2 \, g^T \Sigma \, g + \sigma^2 .

    Parameters
    ----------
    estimator : estimator
        A regressor of this package that is linear in its parameters and has one Hessian:
        `RigidRidge`, `RigidRidgeCV`, `ComponentRidge`.
    method : {"jackknife", "ensemble", "hypercube"}, default="jackknife"
        Which steps are taken:

        - "jackknife": those to the fits that leave out one sample, or one group. Their second
          moment is the sandwich estimator HC3, by groups where there are groups.
        - "ensemble": those to the fits that agree with one target, at the smallest increase of
          the loss (pointwise optimal parameter sets, POPS).
        - "hypercube": the box about the latter along their principal axes, filled evenly.
    calibration : {"loo_noise", "loo"} or None, default="loo_noise"
        C and sigma: both by the likelihood of leave-one-out residuals; C alone, sigma = 0; or
        C = 1 and sigma = 0, as the authors of POPS have it (who add the variance
        :math:`C^2 / R` of the Bayesian ridge regression).
    leverage_quantile : float, default=0.5
        POPS takes the steps of training samples above this quantile of leverages; the others ask
        for large steps and have little to say. Not for the jackknife.

    Attributes
    ----------
    estimator_ : estimator
        The fitted estimator.
    scale_, noise_variance_ : float or ndarray of shape (n_targets,)
        C**2 and sigma**2.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Their names, where the estimator was fitted on a DataFrame.

    See Also
    --------
    RigidityCalibrator : The scale of error bars by held-out errors, also group by group.

    Notes
    -----
    With the residual r, the gradient g and :math:`q = g^T H^{-1} g`, POPS steps are
    :math:`H^{-1} g_i \, r_i / q_i` and those of the jackknife :math:`H^{-1} g_i \, s_i e_i`,
    with left-out residuals e and weights s (a sample is left out as a whole; POPS averages with
    the weights). So all come with one whitening of the training rows. For C and sigma, a
    sample's own step (its group's) is taken out of its variance, but not out of the box.

    The authors' package samples the box; its moments and extremes are exact here. It finds the
    axes in the units of the parameters, here H sets them, so that it does not matter in which
    units features are given.

    Measured on models of few parameters and many samples, the jackknife with a scale says more
    of errors than rigidities do, and POPS without a scale is too narrow; with more parameters
    than samples neither is better than rigidities. See the page on misspecification in the
    documentation.

    References
    ----------
    Swinburne, Perez, Mach. Learn.: Sci. Technol. 6, 015008 (2025); MacKinnon, White, J. Econom.
    29, 305 (1985).

    Examples
    --------
    >>> import numpy as np
    >>> from skrigidity import RigidRidge
    >>> from skrigidity.calibration import MisspecifiedRegressor
    >>> x = np.linspace(-1, 1, 200)
    >>> X, y = np.vander(x, 6), np.sin(6 * x)  # no noise, but no polynomial of degree 5 either
    >>> model = MisspecifiedRegressor(RigidRidge(1e-6)).fit(X, y)
    >>> mean, std = model.predict(X, return_std=True)
    >>> round(float(np.mean(np.abs(y - mean) <= 2 * std)), 2)
    1.0
    >>> model = MisspecifiedRegressor(RigidRidge(1e-6), method="hypercube").fit(X, y)
    >>> mean, low, high = model.predict(X, return_bounds=True)
    >>> round(float(np.mean((low <= y) & (y <= high))), 2)
    0.91
    """

    _parameter_constraints: dict = {
        "estimator": [HasMethods(["fit", "predict", "prediction_rigidity", "leave_one_out"])],
        "method": [StrOptions({"jackknife", "ensemble", "hypercube"})],
        "calibration": [StrOptions({"loo_noise", "loo"}), None],
        "leverage_quantile": [Interval(Real, 0, 1, closed="left")],
    }

    def __init__(
        self,
        estimator: Any,
        *,
        method: str = "jackknife",
        calibration: str | None = "loo_noise",
        leverage_quantile: float = 0.5,
    ) -> None:
        self.estimator = estimator
        self.method = method
        self.calibration = calibration
        self.leverage_quantile = leverage_quantile

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: Any, y: Any, sample_weight: Any = None, groups: Any = None) -> Self:
        """Fit the estimator and find the spread of its parameters.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or structures of environments
            Training samples, as the estimator takes them.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Targets.
        sample_weight : array-like of shape (n_samples,), default=None
            Sample weights.
        groups : array-like of shape (n_samples,), default=None
            Samples of one group (frames of one trajectory) are left out together.

        Returns
        -------
        object
            Fitted estimator.

        Raises
        ------
        ValueError
            If the estimator raises it, has a Hessian for every target, or is not linear in its
            parameters.
        """
        self.estimator_ = clone(self.estimator).fit(X, y, sample_weight=sample_weight)
        _check_linear(self.estimator_, X)
        for name in ("n_features_in_", "feature_names_in_"):
            if hasattr(self.estimator_, name):
                setattr(self, name, getattr(self.estimator_, name))
        left = self.estimator_.leave_one_out(X, y, sample_weight, groups=groups)
        n = len(left.residual)
        weight = np.ones(n) if sample_weight is None else np.asarray(sample_weight, dtype=float)
        group = np.arange(n) if groups is None else np.unique(groups, return_inverse=True)[1]
        z, _ = self._whitened(X)
        residual = np.asarray(y).reshape(left.residual.shape) - self.estimator_.predict(X)
        self._steps = [
            _left_out_steps(z, weight * e, group)
            if self.method == "jackknife"
            else _pointwise_steps(z, r, weight, group, self.leverage_quantile)
            for e, r in zip(_columns(left.residual), _columns(residual), strict=True)
        ]
        self._boxes = [_box(steps) for steps in self._steps] if self.method == "hypercube" else []
        # Of second moments M, what has M = L.T @ L.
        self._roots = [_box_root(b) for b in self._boxes] or [_root(s) for s in self._steps]
        self._set_scale(z, left, weight, group)
        return self

    def predict(self, X: Any, return_std: bool = False, return_bounds: bool = False) -> Any:
        """Predict, with the standard deviation of the error or with bounds if asked for.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or structures of environments
            Samples.
        return_std : bool, default=False
            Return ``sqrt(C**2 * g.T @ Sigma @ g + sigma**2)`` as well.
        return_bounds : bool, default=False
            Return the lowest and the highest predictions among the steps of POPS, or in the box
            about them, as well. They are not scaled with C.

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_targets)
            Predictions of the estimator.
        y_std : ndarray of the shape of y
            Only with `return_std`; infinite where nothing pins the prediction.
        y_low, y_high : ndarray of the shape of y
            Only with `return_bounds`.

        Raises
        ------
        ValueError
            If bounds are asked for and ``method="jackknife"``.
        """
        check_is_fitted(self)
        mean = self.estimator_.predict(X)
        if not (return_std or return_bounds):
            return mean
        if return_bounds and self.method == "jackknife":
            raise ValueError('bounds are those of method="ensemble" and method="hypercube"')
        z, pinned = self._whitened(X)
        found = []
        if return_std:
            if not np.isfinite(self.scale_).all():
                raise ValueError(
                    f"calibration={self.calibration!r} cannot tell the scale of the errors: no "
                    "sample is pinned by the others. Use calibration=None"
                )
            variance = np.full(mean.shape, np.inf)
            spread = self._spread(z).reshape(mean[pinned].shape)
            variance[pinned] = self.scale_ * spread + self.noise_variance_
            found.append(np.sqrt(variance))
        if return_bounds:
            parts = self._boxes or self._steps
            pairs = [_extremes(z, part) for part in parts]
            for sign, ends in zip((-1, 1), zip(*pairs, strict=True), strict=True):
                bound = np.full(mean.shape, sign * np.inf)
                bound[pinned] = mean[pinned] + np.stack(ends, axis=-1).reshape(mean[pinned].shape)
                found.append(bound)
        return (mean, *found)

    def prediction_rigidity(self, X: Any) -> np.ndarray:
        """Return the prediction rigidities of the estimator, which do not know of residuals.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or structures of environments
            Samples.

        Returns
        -------
        ndarray of shape (n_samples,)
            Rigidities.
        """
        check_is_fitted(self)
        return self.estimator_.prediction_rigidity(X)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        inner = get_tags(self.estimator)
        tags.input_tags, tags.target_tags = inner.input_tags, inner.target_tags
        return tags

    # --- internals -------------------------------------------------------------------------

    def _whitened(self, X: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return whitened rows of predictions that something pins, and which these are."""
        pinned = self.estimator_.prediction_rigidity(X) > 0
        if not pinned.any():
            return np.empty((0, self._roots[0].shape[1])), pinned
        if not pinned.all():
            X = _safe_indexing(X, np.flatnonzero(pinned))
        rows, _ = self.estimator_._asked(X)
        return self.estimator_.hessian_.whiten(rows), pinned

    def _spread(self, z: np.ndarray) -> np.ndarray:
        return np.stack([((z @ root.T) ** 2).sum(axis=1) for root in self._roots], axis=-1)

    def _set_scale(self, z: np.ndarray, left: Any, weight: np.ndarray, group: np.ndarray) -> None:
        """Set C**2 and sigma**2 from left-out residuals and variances without the own step."""
        shape = left.residual.shape
        if self.calibration is None:
            one = np.ones(shape[1:])
            self.scale_, self.noise_variance_ = one[()], 0 * one[()]
            return
        spread = self._spread(z)
        if not self._boxes:
            own = [_own(z, steps, group) for steps in self._steps]
            spread = np.maximum(spread - np.stack(own, axis=-1), 0.0)
        # Without the sample, its gradient is longer in units of H: by 1 / (1 - h), as q is.
        q = (z**2).sum(axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            longer = 1 / (left.rigidity * q)[:, None]
            spread = np.where(spread > 0, spread * longer**2, 0.0)
        if not (np.isfinite(spread) & (spread > 0)).any(axis=0).all():
            unknown = np.full(shape[1:], np.inf if left.residual.any() else 0.0)
            self.scale_, self.noise_variance_ = unknown[()], 0 * np.ones(shape[1:])[()]
            return
        noise = self.calibration == "loo_noise"
        method = "nll" if noise else "squared_residuals"
        fit = scale_from_quad(
            left.residual, spread.reshape(shape), weight, method=method, noise=noise
        )
        self.scale_, self.noise_variance_ = fit.variance, fit.noise


def _check_linear(model: Any, X: Any) -> None:
    known = hasattr(model, "_asked") and hasattr(model, "coef_")
    if not known or model.gradients_.slope(np.zeros(1)) is not None:
        raise ValueError(
            "estimator must have one coefficient per feature, as RigidRidge has, but not "
            f"{type(model).__name__}"
        )
    if model.prediction_rigidity(X).ndim > 1:
        raise ValueError("estimator must have one Hessian, that is, one alpha for all targets")


def _columns(values: np.ndarray) -> np.ndarray:
    return values.reshape(len(values), -1).T


def _left_out_steps(z: np.ndarray, weighted: np.ndarray, group: np.ndarray) -> _Steps:
    """Return the steps from the fits without each group to that with all."""
    n_groups = int(group.max()) + 1
    total = np.zeros((n_groups, z.shape[1]))
    np.add.at(total, group, weighted[:, None] * z)
    return _Steps(total, np.ones(n_groups), np.arange(n_groups))


def _pointwise_steps(
    z: np.ndarray, residual: np.ndarray, weight: np.ndarray, group: np.ndarray, quantile: float
) -> _Steps:
    """Return the steps to the fits that agree with one target, of high leverages."""
    q = (z**2).sum(axis=1)
    order = np.argsort(-q, kind="stable")
    above = np.cumsum(weight[order]) - weight[order]
    # The last bits of a sum of weights must not decide.
    first = order[above < (1 - quantile) * weight.sum() * (1 - 1e-12)]
    used = (q >= q[first].min()) & (q > 0) & (weight > 0)
    share = weight[used] / weight[used].sum()
    return _Steps(z[used] * (residual[used] / q[used])[:, None], share, group[used])


def _own(z: np.ndarray, steps: _Steps, group: np.ndarray) -> np.ndarray:
    """Return what the steps of each row's own group add to its variance."""
    own = np.zeros(len(z))
    rows, owners = (np.argsort(labels, kind="stable") for labels in (group, steps.group))
    ends = np.arange(int(group.max()) + 2)
    of_rows = np.searchsorted(group[rows], ends)
    of_steps = np.searchsorted(steps.group[owners], ends)
    for label in ends[:-1]:
        mine = rows[of_rows[label] : of_rows[label + 1]]
        some = owners[of_steps[label] : of_steps[label + 1]]
        own[mine] = (z[mine] @ steps.vector[some].T) ** 2 @ steps.share[some]
    return own


def _root(steps: _Steps) -> np.ndarray:
    """Return L, with no more rows than columns, of the second moments ``L.T @ L`` of steps."""
    return np.asarray(np.linalg.qr(np.sqrt(steps.share)[:, None] * steps.vector, mode="r"))


def _box(steps: _Steps) -> _Box:
    root = _root(steps)
    values, axes = eigh(root.T @ root)
    axes = axes[:, values > _FLAT * values[-1]]
    along = steps.vector @ axes
    return _Box(axes, along.min(axis=0), along.max(axis=0))


def _box_root(box: _Box) -> np.ndarray:
    """Return the same of a box that is filled evenly, about the fit."""
    middle = box.axes @ (box.low + box.high) / 2
    return np.vstack([(box.axes * (box.high - box.low)).T / np.sqrt(12), middle])


def _extremes(z: np.ndarray, spread: _Steps | _Box) -> tuple[np.ndarray, np.ndarray]:
    """Return the lowest and highest change of predictions."""
    if isinstance(spread, _Steps):
        change = z @ spread.vector.T
        return change.min(axis=1), change.max(axis=1)
    along = z @ spread.axes
    ends = along * spread.low, along * spread.high
    return np.minimum(*ends).sum(axis=1), np.maximum(*ends).sum(axis=1)
