"""From validated training samples to a fitted kernel model."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.utils import Bunch, check_array
from sklearn.utils.validation import (
    _check_sample_weight,
    _check_y,
    check_consistent_length,
    check_is_fitted,
    validate_data,
)

from ..environments import is_environments
from ..linear_model._calibrated import inverse
from ._leave_out import leave_out, leave_out_centred
from ._parameters import ComponentParametersMixin
from ._rigidity import KernelRigidityMixin


class TrainingSet(NamedTuple):
    """Validated training samples."""

    X: Any  # a matrix, Environments, or the kernel where it is precomputed
    y: np.ndarray  # (n_samples, n_targets)
    weight: np.ndarray
    one_target: bool


class RigidKernelRidgeBase(
    ComponentParametersMixin,
    KernelRigidityMixin,
    MultiOutputMixin,
    RegressorMixin,
    BaseEstimator,
):
    """What `RigidKernelRidge` is made of, but for its parameters and its fit."""

    alpha: Any
    center_y: bool
    weight_type: str

    def leave_one_out(self, X: Any, y: Any, sample_weight: Any = None, groups: Any = None) -> Bunch:
        """Leave out every sample, or every group, of a training set: exact, without refitting.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or structures of environments
            The training set.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Its targets.
        sample_weight : array-like of shape (n_samples,), default=None
            Its weights; a sample is left out as a whole, whatever its weight.
        groups : array-like of shape (n_samples,), default=None
            Samples of one group are left out together (frames of one trajectory).

        Returns
        -------
        Bunch
            ``prediction`` and ``residual`` (target minus prediction) of the shape of `y`,
            ``rigidity`` of shape (n_samples,) or (n_samples, n_targets), all of a model that
            has not seen the sample, and ``n_excluded``, the number of samples whose rigidity
            is then 0: none here, since `alpha` is positive.
        """
        check_is_fitted(self)
        data = self._training_set(X, y, sample_weight, reset=False)
        labels = self._labels(data.y, groups)
        kernel = data.X if self._precomputed else self._kernel.gram(self._points(data.X))
        alphas = self._alphas(data.y.shape[1])
        residual, q = self._leave_out(kernel, data.y, data.weight, labels, alphas)
        residual, y = (v[:, 0] if data.one_target else v for v in (residual, data.y))
        return Bunch(prediction=y - residual, residual=residual, rigidity=inverse(q), n_excluded=0)

    # --- internals -------------------------------------------------------------------------

    def _training_set(self, X: Any, y: Any, sample_weight: Any, *, reset: bool) -> TrainingSet:
        if y is None:
            raise ValueError(
                f"This {type(self).__name__} estimator requires y to be passed, but the target y "
                "is None"
            )
        X = self._square(X, reset) if self._precomputed else self._validated(X, reset=reset)
        y = _check_y(y, multi_output=True, y_numeric=True, estimator=self)
        check_consistent_length(X, y)
        weight = np.ones(len(y))
        if sample_weight is not None:
            weight = _check_sample_weight(
                sample_weight, weight, dtype=np.float64, ensure_non_negative=True
            )
            if not weight.any():
                raise ValueError("sample_weight must not be zero throughout")
        return TrainingSet(X, y.reshape(len(y), -1).astype(np.float64), weight, y.ndim == 1)

    def _square(self, X: Any, reset: bool) -> np.ndarray:
        if isinstance(self.kernel, str) and self.components is not None:
            raise ValueError("components must be None where kernel='precomputed'")
        if is_environments(X):
            raise ValueError(
                "X: kernel='precomputed' takes the kernel between structures, a matrix"
            )
        if reset:
            X = validate_data(self, X, dtype=np.float64)
        else:
            X = check_array(X, dtype=np.float64, input_name="X")
        if X.shape[0] != X.shape[1]:
            raise ValueError(
                "X must be a square matrix where kernel='precomputed', the kernel of the samples "
                f"among themselves, got shape {X.shape}"
            )
        if not np.allclose(X, X.T, atol=1e-8 * np.abs(np.diag(X)).max()):
            raise ValueError("X must be symmetric where kernel='precomputed'")
        return X

    def _alphas(self, n_targets: int) -> np.ndarray:
        alphas = np.asarray(self.alpha, dtype=np.float64)
        if not (np.isfinite(alphas).all() and (alphas > 0).all()):
            raise ValueError(
                f"alpha must be finite and positive, got {self.alpha!r}: without regularization, "
                "a kernel leaves nothing to determine by rigidities (RigidRidge takes alpha=0)"
            )
        if alphas.ndim > 1 or (alphas.ndim == 1 and len(alphas) != n_targets):
            raise ValueError(
                f"alpha must be a number or have one entry per target ({n_targets}), "
                f"got shape {alphas.shape}"
            )
        return alphas

    def _solve(self, y: np.ndarray, weight: np.ndarray, alphas: np.ndarray, shape: tuple) -> None:
        """Set the dual coefficients and the scale of the residuals, ``alpha / s`` times them."""
        if alphas.ndim == 0:
            dual = self.hessian_.solve(y)
        else:
            columns = [self.hessian_.at(a).solve(y[:, t]) for t, a in enumerate(alphas)]
            dual = np.column_stack(columns)
        self.dual_coef_ = dual.reshape(len(y), *shape)
        rss = alphas**2 * ((dual**2) / weight[:, None]).sum(axis=0)
        n = float(weight.sum()) if self.weight_type == "frequency" else float(len(weight))
        left = np.asarray(self.hessian_.residual_dof(n))
        dof = n - left
        self.effective_dof_ = float(dof) if dof.ndim == 0 else dof
        self._set_initial_scale(rss, left, shape)

    def _leave_out(
        self,
        kernel: np.ndarray,
        y: np.ndarray,
        weight: np.ndarray,
        labels: np.ndarray,
        alphas: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray]:
        function = leave_out_centred if self.center_y else leave_out
        by_alpha = {a: function(kernel, y, weight, labels, a) for a in np.unique(alphas)}
        if alphas.ndim == 0:
            (left,) = by_alpha.values()
            return left.residual, left.quad
        residual = [by_alpha[a].residual[:, t] for t, a in enumerate(alphas)]
        return np.column_stack(residual), np.column_stack([by_alpha[a].quad for a in alphas])

    def _labels(self, X: Any, groups: Any) -> np.ndarray:
        """Return a number per sample, the same for samples that are left out together."""
        if groups is None:
            return np.arange(len(X))
        check_consistent_length(X, groups)
        return np.unique(groups, return_inverse=True)[1]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = not self._precomputed
        tags.input_tags.pairwise = self._precomputed
        return tags
