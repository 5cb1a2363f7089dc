"""Kernel models: ``1/R = [k(*,*) - k_* (K + alpha S^-1)^-1 k_*] / alpha``."""

from __future__ import annotations

from copy import copy
from typing import Any, NoReturn

import numpy as np
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.kernel_ridge import KernelRidge

from ..gradients import (
    FittedGradients,
    Gradients,
    KernelGradients,
    KernelSum,
    Level,
    Part,
    Points,
    PrecomputedGradients,
    TrainingKernel,
    leave_out_kernel,
    ratio,
)
from ..hessian import DualFactor, KernelRows, LeftOut
from .registry import Curvature, curvature_of


class KernelModel(KernelGradients, FittedGradients):
    """Least squares in the space of a kernel, with penalty ``alpha * norm(f)**2``.

    Parameters
    ----------
    estimator : KernelRidge or GaussianProcessRegressor
        Fitted.
    kernel : KernelSum
        Its kernel.
    X_fit : ndarray or CSR matrix
        What it was fitted to.
    dual : ndarray of shape (n_samples,) or (n_samples, n_targets)
        Its dual coefficients.
    intercept : float or ndarray of shape (n_targets,), default=0.0
        What is added to the predictions.
    """

    def __init__(
        self, estimator: Any, kernel: KernelSum, X_fit: Any, dual: np.ndarray, intercept: Any = 0.0
    ) -> None:
        super().__init__(kernel, [X_fit], "mean")
        self.estimator, self.X_fit = estimator, X_fit
        self.shape, self.dual = dual.shape[1:], dual.reshape(len(dual), -1)
        self.intercept = np.broadcast_to(np.ravel(intercept), self.dual.shape[1:])
        self.components = {}

    def bind(self, X: Any, sample_weight: np.ndarray) -> None:
        """Keep the samples that have weight: they are the training set of the kernel."""
        X = self.points(X).values
        if X.shape != self.X_fit.shape or abs(X - self.X_fit).max() > 1e-6 * abs(X).max():
            raise ValueError(
                f"X must be what the frozen {type(self.estimator).__name__} was fitted to: its "
                "predictions are made of these samples"
            )
        self.seen = np.flatnonzero(sample_weight)
        every = len(self.seen) == X.shape[0]
        self.training, self.coef = [X if every else X[self.seen]], self.dual[self.seen]

    def points(self, X: Any) -> Points:
        """Return arguments of the kernel: features of samples, or aggregated ones."""
        return super().points(X).aggregated

    def rows(self, X: Any, level: Level = "global", component: Any = None) -> Any:
        """Return the kernels of all predictions."""
        if level == "local":
            self._refuse("environments")
        return super().rows(X)

    def resolve(self, components: Any) -> NoReturn:
        """Raise TypeError: the predictions are no sums over columns."""
        self._refuse("components")

    def training_rows(self, X: Any, y: np.ndarray, sample_weight: np.ndarray) -> TrainingKernel:
        """Return the kernel of all samples, with their targets."""
        weight = self.strength()[1] * sample_weight
        targets = self.targets(y).reshape(len(y), -1)
        return TrainingKernel(self.gram(X), weight, targets, self.points(X).values)

    def gram(self, X: Any) -> np.ndarray:
        """Return the kernel of the training samples among themselves."""
        return self.kernel.gram(self.points(X))

    def factorize(self, rows: Any, alpha: float, gamma: Any) -> Any:
        """Return the factor of ``K + alpha S^-1``."""
        every = len(self.seen) == len(rows)
        kernel = rows.train if every else rows.train[np.ix_(self.seen, self.seen)]
        return DualFactor(kernel, alpha, rows.weight[self.seen])

    def joined(self, X: Any, sample_weight: np.ndarray | None) -> tuple[KernelRows, Gradients]:
        """Return samples to add to the training set."""
        more, after = super().joined(X, sample_weight)
        larger = copy(self)
        larger.training = after.training  # type: ignore[attr-defined]
        return more, larger

    def leave_out(self, rows: Any, groups: Any, factor: Any) -> LeftOut:
        """Leave out every sample, or every group: the kernel stays as it is."""
        labels = np.arange(len(rows)) if groups is None else groups
        rhs = rows.rhs - self.intercept
        return leave_out_kernel(rows.train, rhs, rows.weight, labels, factor)

    def strength(self) -> tuple[np.ndarray, Any]:
        """Return alpha, a number or one per target, and what sample weights are multiplied by."""
        return np.asarray(self.estimator.alpha, dtype=np.float64), 1.0

    def dispersion(
        self, X: Any, y: np.ndarray, sample_weight: np.ndarray, residual_dof: Any
    ) -> tuple[Any, Any]:
        """Return the residual variance, twice: residuals are ``alpha / s`` times the dual."""
        alpha, weight = self.strength()[0], sample_weight[self.seen]
        squares = (self.coef**2 / weight[:, None]).sum(axis=0).reshape(self.shape)
        return (ratio(alpha**2 * squares, residual_dof),) * 2

    def _refuse(self, parts: str) -> NoReturn:
        raise TypeError(
            f"{type(self.estimator).__name__} is not linear in the features: its predictions have "
            f"no parts that belong to {parts}. RigidKernelRidge has"
        )


class PrecomputedModel(KernelModel):
    """`KernelRidge` of a kernel that the user evaluates."""

    def bind(self, X: Any, sample_weight: np.ndarray) -> None:
        """Keep the columns of samples that have weight."""
        self.seen = np.flatnonzero(sample_weight)
        self.coef = self.dual[self.seen]

    def rows(self, X: Any, level: Level = "global", component: Any = None) -> Any:
        """Return the kernels of all predictions; rigidities need `KernelRows`."""
        if level == "local":
            self._refuse("environments")
        return PrecomputedGradients(len(self.dual), self.seen).rows(X)

    def gram(self, X: Any) -> np.ndarray:
        """Return the training set, which is the kernel."""
        return np.asarray(X, dtype=np.float64)

    def joined(self, X: Any, sample_weight: np.ndarray | None) -> tuple[KernelRows, Gradients]:
        """Return samples to add, whose columns follow those of the training samples."""
        return PrecomputedGradients(len(self.dual), self.seen).joined(X, sample_weight)


class ProcessPart(Part):
    """The kernel of a Gaussian process, which knows noise: between a point and itself alone."""

    def __call__(self, a: Any, b: Any = None) -> np.ndarray:
        """Return the kernel of two sets of rows, or of one with itself."""
        return np.asarray(self.kernel(a, b))


class GaussianProcess(KernelModel):
    """`GaussianProcessRegressor`: alpha / R is the posterior variance.

    An array alpha, one noise variance per sample, enters as weights 1 / alpha_i under a strength
    of 1. With ``normalize_y`` R is that of the normalized prediction.
    """

    def __init__(self, estimator: GaussianProcessRegressor) -> None:
        mean, self.spread = estimator._y_train_mean, estimator._y_train_std
        dual = self.spread * estimator.alpha_
        if dual.ndim == 2 and dual.shape[1] == 1:
            dual = dual[:, 0]
        kernel = KernelSum({"": ProcessPart(estimator.kernel_)})
        super().__init__(estimator, kernel, estimator.X_train_, dual, mean)

    def combined(self, X: Any, weights: np.ndarray) -> KernelRows:
        """Return the gradients of linear combinations, the noise of a `WhiteKernel` included."""
        rows = self.rows(X)
        among = weights @ self.gram(X)
        return KernelRows(weights @ rows.train, np.einsum("ij,ij->i", among, weights))

    def strength(self) -> tuple[np.ndarray, Any]:
        """Return one alpha, or weights for noise that differs between samples."""
        alpha = np.asarray(self.estimator.alpha, dtype=np.float64)
        return (alpha.reshape(()), 1.0) if alpha.size == 1 else (np.ones(()), 1 / alpha)

    def dispersion(
        self, X: Any, y: np.ndarray, sample_weight: np.ndarray, residual_dof: Any
    ) -> tuple[Any, Any]:
        """Return alpha in units of the target, twice; for an array the noise is not a number."""
        alpha, weight = self.strength()
        scale = np.broadcast_to(np.ravel(self.spread**2 * alpha), self.dual.shape[1:])
        scale = scale.reshape(self.shape)
        return scale, scale if np.ndim(weight) == 0 else None


@curvature_of.register(KernelRidge)
def _(estimator: KernelRidge) -> Curvature:
    precomputed = isinstance(estimator.kernel, str) and estimator.kernel == "precomputed"
    if callable(estimator.kernel):
        params = estimator.kernel_params or {}
    else:
        params = {name: getattr(estimator, name) for name in ("gamma", "degree", "coef0")}
    model = PrecomputedModel if precomputed else KernelModel
    kernel = KernelSum({"": Part(estimator.kernel, params)})
    gradients = model(estimator, kernel, estimator.X_fit_, estimator.dual_coef_)
    return Curvature(gradients, gradients.strength()[0], loss_factor=2.0)


@curvature_of.register(GaussianProcessRegressor)
def _(estimator: GaussianProcessRegressor) -> Curvature:
    gradients = GaussianProcess(estimator)
    return Curvature(gradients, gradients.strength()[0], loss_factor=2.0)
