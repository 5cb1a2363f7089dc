"""From validated training samples to a fitted kernel model."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.utils import check_array
from sklearn.utils.validation import validate_data

from ..environments import DISPATCHES, array_namespace, is_environments
from ..gradients import (
    RigidityMixin,
    TrainingKernel,
    check_targets,
    check_weights,
    leave_out_kernel,
)
from ..hessian import KernelRows
from ._leave_out import leave_out_centred
from ._on_device import KERNELS, DeviceTraining, training_samples
from ._parameters import ComponentParametersMixin


class RigidKernelRidgeBase(
    RigidityMixin,
    ComponentParametersMixin,
    MultiOutputMixin,
    RegressorMixin,
    BaseEstimator,
):
    """What `RigidKernelRidge` is made of, but for its parameters and its fit."""

    alpha: Any
    center_y: bool
    weight_type: str
    dual_coef_: np.ndarray
    y_mean_: Any
    gradients_: Any

    def _parameters(self) -> tuple[np.ndarray, np.ndarray, tuple[int, ...]]:
        dual = self.dual_coef_
        if array_namespace(dual) is not None:
            coef = dual[:, None] if dual.ndim == 1 else dual
            return coef, self.y_mean_, tuple(dual.shape[1:])
        return dual.reshape(len(dual), -1), np.ravel(self.y_mean_), dual.shape[1:]

    @property
    def _precomputed(self) -> bool:
        return isinstance(self.kernel, str) and self.kernel == "precomputed"

    def _validated(self, X: Any, *, reset: bool = False, name: str = "X") -> Any:
        if not self._precomputed or array_namespace(X) is not None:
            return super()._validated(X, reset=reset, name=name)
        return X if hasattr(X, "shape") or isinstance(X, KernelRows) else np.asarray(X)

    def _training_samples(
        self, X: Any, y: Any, sample_weight: Any, *, reset: bool
    ) -> tuple[Any, np.ndarray, np.ndarray, tuple[int, ...]]:
        """Return validated samples (or their kernel), targets, weights and the target's shape."""
        X = self._square(X, reset) if self._precomputed else self._validated(X, reset=reset)
        y = check_targets(self, X, y)
        weight = check_weights(sample_weight, len(y))
        weight = np.ones(len(y)) if weight is None else weight
        return X, y.reshape(len(y), -1).astype(np.float64), weight, y.shape[1:]

    def _training_rows(
        self, X: Any, y: Any, sample_weight: Any, *, reset: bool
    ) -> tuple[Any, tuple[int, ...]]:
        if array_namespace(X) is not None:
            X, y, weight, shape = training_samples(self, X, y, sample_weight, reset=reset)
            return DeviceTraining(self.gradients_.kernel(X), weight, y), shape
        X, y, weight, shape = self._training_samples(X, y, sample_weight, reset=reset)
        kernel = X if self._precomputed else self._kernel.gram(self.gradients_.points(X))
        return TrainingKernel(kernel, weight, y), shape

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
        if self._one_hessian:
            dual = self.hessian_.solve(y)
        else:
            dual = np.column_stack([f.solve(y[:, t]) for t, f in enumerate(self._hessians)])
        self.dual_coef_ = dual.reshape(len(y), *shape)
        rss = alphas**2 * ((dual**2) / weight[:, None]).sum(axis=0)
        n = float(weight.sum()) if self.weight_type == "frequency" else float(len(weight))
        self._set_initial_scale(rss, self._set_dof(n), shape)

    def _leave_out_of(self, rows: Any, groups: Any, factor: Any) -> Any:
        if isinstance(rows, DeviceTraining):
            return rows.leave_out(self, groups, factor)
        labels = np.arange(len(rows)) if groups is None else groups
        function = leave_out_centred if self.center_y else leave_out_kernel
        return function(rows.train, rows.rhs, rows.weight, labels, factor)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = not self._precomputed
        tags.input_tags.pairwise = self._precomputed
        named = isinstance(self.kernel, str) and self.kernel in KERNELS
        tags.array_api_support = named and DISPATCHES
        return tags
