"""Kernel models: ``1/R = [k(*,*) - k_* (K + alpha S^-1)^-1 k_*] / alpha``."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.kernel_ridge import KernelRidge
from sklearn.metrics.pairwise import pairwise_kernels

from ...hessian import DualFactor, KernelRows
from ...hessian._factor import warn_if_inaccurate
from .._calibrated import per_target
from .._per_target import PerTargetHessian
from ._base import RegressionCurvature
from ._registry import curvature_of

_DIAGONAL_BLOCK = 128


class KernelCurvature(RegressionCurvature):
    """Least squares in the space of a kernel, with penalty ``alpha * norm(f)**2``."""

    loss_factor = 2.0
    additive = False
    X_train: Any

    @abstractmethod
    def kernel(self, A: Any, B: Any = None) -> np.ndarray:
        """Return the kernel of two sets of samples, or of one with itself."""

    @abstractmethod
    def diagonal(self, X: Any) -> np.ndarray:
        """Return the kernel of every sample with itself."""

    @abstractmethod
    def strength(self, sample_weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return alpha, a number or one per target, and the weights of the rows."""

    def factorize(self, X: Any, y: Any, sample_weight: np.ndarray) -> Any:
        """Return the factor of ``K + alpha S^-1``, one for every alpha."""
        alphas, weight = self.strength(sample_weight)
        seen = np.flatnonzero(weight)
        self.X_train = X if len(seen) == X.shape[0] else X[seen]
        gram = self._gram(X, seen)
        factor: Any = DualFactor(gram, alphas.min(), weight[seen])
        warn_if_inaccurate(factor)
        return PerTargetHessian(factor, alphas.ravel()) if alphas.size > 1 else factor

    def rows(self, X: Any, *, among: bool = False) -> KernelRows:
        """Return predictions as their kernels."""
        train = self.kernel(X, self.X_train)
        return KernelRows(train, self.diagonal(X), self.kernel(X) if among else None)

    def quad(self, hessian: Any, X: Any, intercept: bool = True) -> np.ndarray:
        """Return ``1 / R`` per sample."""
        return hessian.quad(self.rows(X))

    def quad_of_sums(self, hessian: Any, X: Any, weights: np.ndarray) -> np.ndarray:
        """Return ``1 / R`` of weighted sums of predictions."""
        train = weights @ self.kernel(X, self.X_train)
        diagonal = np.einsum("ij,ij->i", weights @ self.kernel(X), weights)
        return hessian.quad(KernelRows(train, diagonal))

    def quad_with(self, hessian: Any, X: Any, added: Any, sample_weight: np.ndarray) -> np.ndarray:
        """Return ``1 / R`` after adding samples."""
        seen = np.flatnonzero(sample_weight)
        added = added[seen]
        rows = KernelRows(
            self.kernel(added, self.X_train),
            self.diagonal(added),
            self.kernel(added),
            sample_weight[seen],
        )
        train = np.hstack([self.kernel(X, self.X_train), self.kernel(X, added)])
        return hessian.update(rows).quad(KernelRows(train, self.diagonal(X)))

    def covariance(self, hessian: Any, X: Any) -> np.ndarray:
        """Return the posterior covariances, divided by alpha."""
        rows = self.rows(X, among=True)
        if isinstance(hessian, PerTargetHessian):
            return hessian.per_target(lambda factor: factor.cross(rows, rows))
        return hessian.cross(rows, rows)

    def halves(self, hessian: Any, X: Any, n_targets: int) -> list[np.ndarray]:
        """Return symmetric roots of the covariances."""
        covariance = self.covariance(hessian, X)
        if covariance.ndim == 2:
            return [_root(covariance)] * n_targets
        return [_root(covariance[..., t]) for t in range(n_targets)]

    def _gram(self, X: Any, seen: np.ndarray) -> np.ndarray:
        return self.kernel(self.X_train)


class KernelRidgeCurvature(KernelCurvature):
    """`KernelRidge`: any kernel, one alpha for all targets or one per target."""

    def __init__(self, estimator: KernelRidge) -> None:
        self.estimator = estimator
        self.precomputed = estimator.kernel == "precomputed"

    def kernel(self, A: Any, B: Any = None) -> np.ndarray:
        """Return the kernel of two sets of samples; a precomputed one cannot be asked."""
        e = self.estimator
        if self.precomputed:
            raise ValueError(
                "kernel='precomputed' leaves k(x, x) of new samples unknown, and with it their "
                "rigidity: use a callable kernel"
            )
        if callable(e.kernel):
            params = e.kernel_params or {}
        else:
            params = {"gamma": e.gamma, "degree": e.degree, "coef0": e.coef0}
        return np.asarray(pairwise_kernels(A, B, metric=e.kernel, filter_params=True, **params))

    def diagonal(self, X: Any) -> np.ndarray:
        """Return the kernel of every sample with itself, from small blocks."""
        n = X.shape[0]
        starts = range(0, n, _DIAGONAL_BLOCK)
        blocks = [np.diag(self.kernel(X[i : min(i + _DIAGONAL_BLOCK, n)])) for i in starts]
        return np.concatenate(blocks)

    def strength(self, sample_weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return alpha and the sample weights."""
        return np.asarray(self.estimator.alpha, dtype=np.float64), sample_weight

    def mean(self, X: Any) -> np.ndarray:
        """Return the predictions."""
        K = X if self.precomputed else self.kernel(X, self.estimator.X_fit_)
        return np.asarray(K @ self.estimator.dual_coef_)

    def dispersion(
        self, hessian: Any, X: Any, y: Any, sample_weight: np.ndarray
    ) -> tuple[Any, Any]:
        """Return the residual variance, twice."""
        fitted = self.mean(X)
        squares = np.tensordot(sample_weight, (np.reshape(y, fitted.shape) - fitted) ** 2, axes=1)
        n = float(sample_weight.sum())
        left = np.asarray(hessian.residual_dof(n))
        variance = np.where(left > 0, squares / np.where(left > 0, left, 1.0), np.inf)
        return (per_target(variance, fitted.shape[1:]),) * 2

    def _gram(self, X: Any, seen: np.ndarray) -> np.ndarray:
        return np.asarray(X)[np.ix_(seen, seen)] if self.precomputed else super()._gram(X, seen)


class GaussianProcessCurvature(KernelCurvature):
    """`GaussianProcessRegressor`: alpha / R is the posterior variance.

    An array alpha, one noise variance per sample, enters as weights 1 / alpha_i under a strength
    of 1. With ``normalize_y`` R is that of the normalized prediction.
    """

    def __init__(self, estimator: GaussianProcessRegressor) -> None:
        self.estimator = estimator
        self.kernel_ = estimator.kernel_

    def kernel(self, A: Any, B: Any = None) -> np.ndarray:
        """Return the fitted kernel."""
        return np.asarray(self.kernel_(A) if B is None else self.kernel_(A, B))

    def diagonal(self, X: Any) -> np.ndarray:
        """Return the variance a priori."""
        return np.asarray(self.kernel_.diag(X))

    def strength(self, sample_weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return one alpha, and weights for noise that differs between samples."""
        alpha = np.asarray(self.estimator.alpha, dtype=np.float64)
        if alpha.size == 1:
            return alpha.reshape(()), sample_weight
        return np.ones(()), sample_weight / alpha

    def mean(self, X: Any) -> np.ndarray:
        """Return the posterior mean."""
        e = self.estimator
        mean = e._y_train_std * (self.kernel(X, e.X_train_) @ e.alpha_) + e._y_train_mean
        return mean[:, 0] if mean.ndim == 2 and mean.shape[1] == 1 else mean

    def dispersion(
        self, hessian: Any, X: Any, y: Any, sample_weight: np.ndarray
    ) -> tuple[Any, Any]:
        """Return alpha in units of the target: the posterior variance, without the noise."""
        alpha, _ = self.strength(sample_weight)
        scale = np.asarray(self.estimator._y_train_std) ** 2 * alpha
        shape = () if scale.size == 1 else scale.shape
        return per_target(scale, shape), per_target(np.zeros_like(scale), shape)


def _root(covariance: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(covariance)
    return vectors * np.sqrt(np.maximum(values, 0.0))


@curvature_of.register(KernelRidge)
def _(estimator: KernelRidge) -> KernelCurvature:
    return KernelRidgeCurvature(estimator)


@curvature_of.register(GaussianProcessRegressor)
def _(estimator: GaussianProcessRegressor) -> KernelCurvature:
    return GaussianProcessCurvature(estimator)
