"""What every model with a Hessian has inside: checked input, its Hessians, the scale of errors."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn.utils.validation import (
    _check_sample_weight,
    _check_y,
    check_consistent_length,
    check_is_fitted,
    validate_data,
)

from ..calibration import scale_from_quad
from ..distributed import ChunkedRows, by_chunks
from ..environments import (
    Environments,
    array_namespace,
    as_environments,
    check_features,
    is_chunked,
    is_environments,
    namespace,
)
from ..environments import check_targets as check_per_structure
from ..hessian import leave_out
from ..hessian.array_api import ArrayRows
from .arrays import (
    check_same_namespace,
    device_leave_out,
    device_matrix,
    device_scale,
    device_targets,
    device_weights,
    expand,
    follow,
    same_kind,
)
from .base import Gradients, Level
from .groups import check_groups

# Sums over the data that a model was fitted to, and over data said to be the same, differ by less.
_SAME = 1e-8


class HessianModel:
    """Checked input, factors and scales; `RigidityMixin` adds everything public.

    Attributes
    ----------
    gradients_ : Gradients
        Rows of whatever the model predicts.
    hessian_ : Factor
        The factorized Hessian, that of the smallest alpha where there are several.
    scale_, noise_variance_ : float or ndarray of shape (n_targets,)
        C**2 and sigma**2.
    """

    calibration: str | None
    gradients_: Gradients
    hessian_: Any
    scale_: Any
    noise_variance_: Any
    n_features_in_: int
    _hessians: list[Any]  # one, or one per target
    _one_hessian: bool

    # --- what a family defines -------------------------------------------------------------

    def _parameters(self) -> tuple[np.ndarray, np.ndarray, tuple[int, ...]]:
        """Return coefficients (n_features, n_targets), intercepts, and the shape of a target."""
        raise NotImplementedError

    def _training_rows(
        self, X: Any, y: Any, sample_weight: Any, *, reset: bool
    ) -> tuple[Any, tuple[int, ...]]:
        """Return the rows whose weighted sum is H, with right-hand sides; the target's shape."""
        raise NotImplementedError

    def _check_has(self, what: str) -> None:
        """Raise where this model cannot have error bars or draws."""

    def _named(self, values: Any, X: Any, names: list[str]) -> Any:
        """Give values by component their names, where the model has a container for that."""
        return values

    def _observed(self, y: Any, rows: Any, shape: tuple[int, ...]) -> np.ndarray:
        """Return the targets, as numbers that predictions are subtracted from."""
        return reshaped(rows.rhs, shape)

    # --- input -----------------------------------------------------------------------------

    def _validated(self, X: Any, *, reset: bool = False, name: str = "X") -> Any:
        """Return a matrix (dense or CSR) or Environments, checked against the fitted ones."""
        xp = array_namespace(X)
        if not reset and (xp is not None or not isinstance(self._fitted_array, np.ndarray)):
            check_same_namespace(self, X, self._fitted_array, "predict")
        if xp is not None:
            return device_matrix(self, X, xp, reset=reset)
        if is_chunked(X):
            raise ValueError(
                f"{name} must be in memory here, not a Dask collection: those are what predict, "
                "prediction_rigidity, local_rigidity and methods by component take"
            )
        check_features(X, name)
        if not is_environments(X):
            X = validate_data(
                self, X, reset=reset, accept_sparse="csr", dtype=[np.float64, np.float32]
            )
            return X.astype(np.float64) if sp.issparse(X) and X.dtype == np.float32 else X
        X = as_environments(X, name=name)
        if reset:
            self.n_features_in_ = X.shape[1]
            if hasattr(self, "feature_names_in_"):
                del self.feature_names_in_
        elif X.shape[1] != self.n_features_in_:
            raise ValueError(
                f"{name} has {X.shape[1]} features, but {type(self).__name__} is expecting "
                f"{self.n_features_in_} features as input"
            )
        return X

    @property
    def _fitted_array(self) -> Any:
        """An array of the kind, and on the device, that the model was fitted to."""
        return getattr(getattr(self, "hessian_", None), "root", np.empty(0))

    def _checked(
        self, X: Any, level: Level = "global", name: str = "X"
    ) -> tuple[Any, Callable[[Any], Any]]:
        """Return validated input, and what splits values at a level by structure."""
        check_is_fitted(self)
        if level not in ("global", "local"):
            raise ValueError(f"level must be 'global' or 'local', got {level!r}")
        X = self._validated(X, name=name)
        return X, X.split if level == "local" and isinstance(X, Environments) else _as_it_is

    def _asked(self, X: Any, level: Level = "global") -> tuple[Any, Callable[[Any], Any]]:
        """Return the rows of predictions, and what splits their values by structure."""
        X, split = self._checked(X, level)
        return self.gradients_.rows(X, level), split

    def _by_component(
        self, given: Any, components: Any, level: Level, function: Callable[[Any], np.ndarray]
    ) -> Any:
        X, split = self._checked(given, level)
        parts = self.gradients_.resolve(components)
        values = [function(self.gradients_.rows(X, level, part)) for part in parts.values()]
        stacked = namespace(values[0]).stack(values, axis=1)
        return self._named(split(stacked), given, list(parts))

    # --- predictions and quadratic forms ---------------------------------------------------

    def _predict(self, X: Any) -> np.ndarray:
        rows = self.gradients_.rows(self._validated(X))
        return self.gradients_.mean(self._times(rows))

    def _times(self, rows: Any) -> np.ndarray:
        """Return ``g.T @ w``."""
        coef, intercept, shape = self._parameters()
        return reshaped(rows.times(coef, intercept), shape)

    def _per_hessian(self, function: Callable[[Any], np.ndarray]) -> np.ndarray:
        """Evaluate once per Hessian; several stack along a last axis, over targets."""
        if self._one_hessian:
            return function(self._hessians[0])
        values = {id(factor): function(factor) for factor in self._hessians}
        each = [values[id(factor)] for factor in self._hessians]
        return namespace(each[0]).stack(each, axis=-1)

    def _quad(self, rows: Any, updated: dict[int, Any] | None = None) -> np.ndarray:
        """Return ``1 / R``, of Hessians or of what they were `updated` to."""
        factors = {} if updated is None else updated
        q = self._per_hessian(lambda factor: factors.get(id(factor), factor).quad(rows))
        n_outputs = self.gradients_.n_outputs
        return q if n_outputs == 1 else q.reshape(-1, n_outputs)

    def _mean_and_quad(self, X: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return predictions and their ``1 / R``, by the delta method where there is a link."""
        rows = self.gradients_.rows(self._validated(X))
        pairs = [(self._times(block), self._quad(block)) for block in rows.blocks()]
        linear, q = pairs[0] if len(pairs) == 1 else map(np.concatenate, zip(*pairs, strict=True))
        slope = self.gradients_.slope(linear)
        if slope is not None:
            # 0 where the slope is, whatever q.
            q = np.where(slope == 0, 0.0, slope**2 * np.where(slope == 0, 0.0, q))
        return self.gradients_.mean(linear), q

    # --- what fit sets ---------------------------------------------------------------------

    def _set_hessians(self, weakest: Any, alphas: np.ndarray) -> None:
        """Keep the factor for the smallest alpha, and one per target if there are several."""
        self.hessian_, self._one_hessian = weakest, alphas.ndim == 0
        if self._one_hessian:
            self._hessians = [weakest]
            return
        # What is accurate enough for the weakest regularizer is so for all.
        least = alphas.min()
        factors = {a: weakest if a == least else weakest.at(a) for a in np.unique(alphas)}
        self._hessians = [factors[a] for a in alphas]

    def _set_dof(self, n: float) -> np.ndarray:
        """Set the effective degrees of freedom; return what they leave of n."""
        left = self._per_hessian(lambda factor: np.asarray(factor.residual_dof(n)))
        dof = n - left
        array = self._fitted_array
        if dof.ndim and not isinstance(array, np.ndarray):
            left, dof = same_kind(left, array), same_kind(dof, array)
        self.effective_dof_ = float(dof) if dof.ndim == 0 else dof
        return left

    def _set_initial_scale(self, rss: np.ndarray, residual_dof: Any, shape: tuple) -> None:
        """Set C**2 and sigma**2 from a weighted residual sum of squares, as `calibration` says."""
        variance = ratio(rss, residual_dof)
        if self.calibration == "bayesian":
            self.scale_ = self.noise_variance_ = per_target(variance, shape)
        else:
            xp = namespace(variance)
            self.scale_ = per_target(xp.ones_like(variance), shape)
            self.noise_variance_ = per_target(xp.zeros_like(variance), shape)

    def _set_scale(
        self,
        residual: np.ndarray,
        q: np.ndarray,
        sample_weight: Any,
        method: str = "squared_residuals",
        noise: bool = False,
    ) -> None:
        function = scale_from_quad if array_namespace(residual) is None else device_scale
        fit = function(residual, q, sample_weight, method=method, noise=noise)
        self.scale_, self.noise_variance_ = fit.variance, fit.noise
        self.n_excluded_ = fit.n_excluded

    def _set_left_out_scale(self, rows: Any, groups: Any, shape: tuple[int, ...]) -> None:
        """Set the scale from leave-one-out: inf where nothing is pinned by the other samples."""
        if self.calibration not in ("loo", "loo_noise"):
            return
        residual, q = self._leave_out(rows, groups)
        weight = rows.weight
        xp = namespace(q)
        pinned = xp.isfinite(q) & (q > 0)
        if weight is not None:
            pinned = pinned & expand(weight > 0, q.ndim)
        if not bool(xp.all(xp.any(pinned, axis=0))):
            self.scale_ = per_target(xp.full_like(residual[0, :], np.inf), shape)
            return
        noise = self.calibration == "loo_noise"
        method = "nll" if noise else "squared_residuals"
        self._set_scale(reshaped(residual, shape), q, weight, method, noise)

    def _known_scale(self) -> tuple[Any, Any]:
        xp = namespace(self.scale_)
        scales = (self.scale_, self.noise_variance_)
        if not all(bool(xp.all(xp.isfinite(xp.asarray(each)))) for each in scales):
            why, others = "as many effective parameters as samples", "'loo' or None"
            if self.calibration in ("loo", "loo_noise"):
                why, others = "no sample is pinned by the others", "None"
            raise ValueError(
                f"calibration={self.calibration!r} cannot tell the scale of the errors: {why}. "
                f"Call calibrate() with held-out data, or use calibration={others}"
            )
        return self.scale_, self.noise_variance_

    # --- leaving out -----------------------------------------------------------------------

    def _leave_out(self, rows: Any, groups: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return residuals (n_rows, n_targets) and ``1 / R`` without each row or its group."""
        if isinstance(rows, ChunkedRows):
            raise ValueError("X must be in memory where samples are left out, not with Dask")
        left = {id(f): self._leave_out_of(rows, groups, f) for f in self._hessians}
        if self._one_hessian:
            (only,) = left.values()
            return only.residual, only.quad
        each = [left[id(factor)] for factor in self._hessians]
        residual = [part.residual[:, t] for t, part in enumerate(each)]
        stack = namespace(residual[0]).stack
        return stack(residual, axis=1), stack([part.quad for part in each], axis=1)

    def _leave_out_of(self, rows: Any, groups: Any, factor: Any) -> Any:
        """Return residuals and quadratic forms, as `skrigidity.hessian.leave_out`, of one H."""
        if isinstance(rows, ArrayRows):
            return device_leave_out(rows, factor.prior, groups)
        return leave_out(rows, factor.prior, groups, factor=factor)

    def _remember(self, rows: Any, before: Any = 0.0) -> None:
        """Keep sums over the training rows, by which the same data are known again."""
        self._fitted_to = before + self._sums(rows)

    def _check_same_data(self, rows: Any) -> None:
        given, size = self._sums(rows), self._sums(rows, size=True)
        if given.shape == self._fitted_to.shape:
            xp = namespace(given)
            if not bool(xp.any(xp.abs(given - self._fitted_to) > _SAME * size)):
                return
        raise ValueError(
            "X, y and sample_weight must be the training set: other data than this "
            f"{type(self).__name__} was fitted to cannot be left out of it"
        )

    def _sums(self, rows: Any, *, size: bool = False) -> np.ndarray:
        """Return weighted sums over rows and right-hand sides, or of their absolute values."""
        if hasattr(rows, "sums"):
            return rows.sums(size=size)
        rhs, total = np.abs(rows.rhs) if size else rows.rhs, np.zeros(rows.n_features)
        for block in rows.blocks():
            matrix = np.abs(block.dense()) if size else block.dense()
            total += matrix.sum(axis=0) if block.weight is None else block.weight @ matrix
        s = np.ones(len(rhs)) if rows.weight is None else rows.weight
        return np.concatenate([[np.count_nonzero(s), s.sum()], s @ rhs, total])

    def _check_groups(self, groups: Any, n: int) -> np.ndarray | None:
        """Raise where groups do not match the samples, or would do nothing."""
        if groups is not None and self.calibration not in ("loo", "loo_noise"):
            raise ValueError(
                "groups are left out together by calibration='loo'; they change nothing with "
                f"calibration={self.calibration!r}"
            )
        return None if groups is None else check_groups(groups, n)


def chunkwise(method: Callable[..., Any]) -> Callable[..., Any]:
    """Let a method that answers row by row take Dask collections: it returns lazy arrays."""

    @wraps(method)
    def answer(self: Any, X: Any, *args: Any, **kwargs: Any) -> Any:
        if is_chunked(X):
            return by_chunks(self, method.__name__, X, *args, **kwargs)
        return method(self, X, *args, **kwargs)

    return answer


def check_targets(estimator: Any, X: Any, y: Any) -> np.ndarray:
    """Return numeric, finite targets, of shape (n_samples,) or (n_samples, n_targets)."""
    if y is None:
        raise ValueError(
            f"This {type(estimator).__name__} estimator requires y to be passed, but the target y "
            "is None"
        )
    xp = array_namespace(X)
    if xp is not None:
        return device_targets(X, y, xp)
    if array_namespace(y) is not None:
        y = follow(y, X, "y")
    check_per_structure(y, X)
    y = _check_y(y, multi_output=True, y_numeric=True, estimator=estimator)
    if not np.isfinite(y).all():  # None among objects becomes NaN
        raise ValueError("y must have a finite target for every sample, some are missing")
    check_consistent_length(X, y)
    return y


def check_weights(
    sample_weight: Any, n: int, name: str = "sample_weight", X: Any = None
) -> np.ndarray | None:
    """Return finite weights, none of them negative and not all zero; None where there are none.

    They follow `X` to where it is.
    """
    if sample_weight is None:
        return None
    xp = array_namespace(X)
    if xp is not None:
        return device_weights(sample_weight, X, xp, name)
    if array_namespace(sample_weight) is not None:
        sample_weight = follow(sample_weight, np.empty(0) if X is None else X, name)
    weight = _check_sample_weight(
        sample_weight, np.empty(n), dtype=np.float64, ensure_non_negative=True
    )
    if not weight.any():
        raise ValueError(f"{name} must not be zero throughout")
    return weight


def inverse(q: np.ndarray) -> np.ndarray:
    """Return 1 / q: inf for a prediction that cannot move, 0 for one that nothing pins."""
    with np.errstate(divide="ignore"):
        return 1.0 / q


def ratio(squares: Any, left: Any) -> Any:
    """Return ``squares / left``: inf where no degrees of freedom are left."""
    xp = namespace(squares)
    left = np.asarray(left) if xp is np else same_kind(left, squares)
    some = left > 0
    return xp.where(some, squares / xp.where(some, left, xp.ones_like(left)), np.inf)


def per_target(values: Any, shape: tuple[int, ...]) -> Any:
    """Return one number for a single target (`shape` is empty), else an array."""
    if array_namespace(values) is None:
        values = np.asarray(values, dtype=np.float64)
        return values.reshape(shape) if shape else float(values.ravel()[0])
    return namespace(values).reshape(values, shape) if shape else float(values[0])


def reshaped(values: Any, shape: tuple[int, ...]) -> Any:
    """Return columns of the last axis as targets of a shape."""
    return namespace(values).reshape(values, (-1, *shape))


def _as_it_is(values: Any) -> Any:
    return values
