"""Dual factor: predictions seen through kernels only.

``q = [k(*,*) - k_*.T (K + alpha S^-1)^-1 k_*] / alpha``, alpha times which is the posterior
variance of a Gaussian process. The difference cancels where the prediction is firmly pinned:
feature rows, where they exist, do better in a primal factor.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import scipy.linalg as sl
from scipy.linalg.blas import dtrsm
from scipy.linalg.lapack import dpotrf, dtrtri

from ._accuracy import EPS, dual_accuracy
from ._factor import FactorInfo
from ._leave_out import LeftOut, _Hat, _solve_groups
from ._rows import KernelRows
from ._triangular import scaled_condition


class DualFactor:
    """Cholesky factor of ``A = K + alpha S^-1``.

    Parameters
    ----------
    kernel : ndarray of shape (n, n)
        Kernel of the training rows among themselves.
    alpha : float
        Regularization strength, positive.
    weight : ndarray of shape (n,), default=None
        Weights of the training rows, positive.

    Raises
    ------
    ValueError
        If alpha is not positive or ``K + alpha S^-1`` is not positive definite.

    Examples
    --------
    >>> import numpy as np
    >>> from skrigidity.hessian import DualFactor, KernelRows
    >>> X = np.array([[1.0, 0.0], [0.0, 2.0]])
    >>> factor = DualFactor(X @ X.T, alpha=1.0)
    >>> factor.quad(KernelRows(X @ X.T, np.array([1.0, 4.0])))
    array([0.5, 0.8])
    """

    def __init__(self, kernel: Any, alpha: float, weight: Any = None) -> None:
        self.kernel = np.asarray(kernel, dtype=np.float64)
        n = len(self.kernel)
        if self.kernel.shape != (n, n):
            raise ValueError(f"kernel must be square, got shape {self.kernel.shape}")
        if not alpha > 0:
            raise ValueError(f"alpha must be positive in the dual, got {alpha}")
        self.alpha = float(alpha)
        self.weight = np.broadcast_to(1.0 if weight is None else np.asarray(weight, float), (n,))
        if not (self.weight > 0).all():
            raise ValueError("weight must be positive in the dual: leave out rows of weight 0")
        self.root = _cholesky(self.kernel, self.noise, self.alpha)

    @property
    def noise(self) -> np.ndarray:
        """The diagonal ``alpha / s`` that regularizes the kernel."""
        return self.alpha / self.weight

    @cached_property
    def info(self) -> FactorInfo:
        """Description of the factorization, with an estimate of its accuracy."""
        diagonal = np.diag(self.kernel)
        # alpha q = noise * leverage at the training rows, without a difference of kernels.
        left = self.noise * np.maximum(1 - self.noise * self.inverse_diagonal, EPS)
        positive = diagonal > 0
        ratio = float(np.max(diagonal[positive] / left[positive], initial=1.0))
        return FactorInfo(
            method="dual",
            condition=scaled_condition(self.root) ** 2,
            rank=len(self.kernel),
            # Against extended precision the digits that cancel are all that is lost, for any
            # condition: Cholesky's backward error is small in every entry of A.
            accuracy=dual_accuracy(1.0, ratio),
            reason="only kernels are known",
        )

    @cached_property
    def inverse_diagonal(self) -> np.ndarray:
        """The diagonal of inv(A), from a sum of squares."""
        inverse = _inverse(self.root)
        return np.einsum("ij,ij->i", inverse, inverse)

    def quad(self, rows: KernelRows) -> np.ndarray:
        """Return q per row, never negative.

        Raises
        ------
        ValueError
            If a prediction has a negative variance beyond rounding.
        """
        half = self._half(self._checked(rows).train.T)
        explained = np.einsum("ij,ij->j", half, half)
        rest = rows.diagonal - explained
        bound = 100 * EPS * len(self.kernel) * np.maximum(rows.diagonal, explained)
        if (rest < -bound).any() and (rest < -bound * self.info.condition).any():
            raise ValueError(
                "the kernel is not positive semi-definite: a prediction has a negative variance, "
                "so it has no rigidity"
            )
        return np.maximum(rest, 0.0) / self.alpha

    def cross(self, a: KernelRows, b: KernelRows, kernel: Any = None) -> np.ndarray:
        """Return the covariances of two sets of rows; `kernel` is k(a, b), or ``a.among``."""
        if kernel is None:
            kernel = a.among if a is b else None
        if kernel is None:
            raise ValueError("kernel between the two sets of rows is needed for covariances")
        left = self._half(self._checked(a).train.T)
        right = left if a is b else self._half(self._checked(b).train.T)
        return (np.asarray(kernel, float) - left.T @ right) / self.alpha

    def solve(self, b: np.ndarray) -> np.ndarray:
        """Return ``(K + alpha S^-1)^-1 @ b``: the dual coefficients for targets b."""
        return sl.solve_triangular(self.root, self._half(b), check_finite=False)

    def logdet(self) -> float:
        """Return ``log(det(K + alpha S^-1))``."""
        return 2.0 * float(np.log(np.diag(self.root)).sum())

    def at(self, alpha: float) -> DualFactor:
        """Return the factor of the same rows at another regularization strength."""
        return DualFactor(self.kernel, alpha, self.weight)

    def residual_dof(self, n: float) -> float:
        """Return n minus the effective degrees of freedom: ``trace(inv(A) @ noise)``, a sum."""
        return float(n - len(self.kernel)) + float(self.noise @ self.inverse_diagonal)

    def leave_out(self, rhs: np.ndarray, labels: np.ndarray) -> LeftOut:
        """Leave out every group of training rows in turn.

        Parameters
        ----------
        rhs : ndarray of shape (n, n_rhs)
            Targets.
        labels : ndarray of int of shape (n,)
            Group of every row, numbers from 0.

        Returns
        -------
        LeftOut
        """
        return LeftOut(*_solve_groups(_KernelHat(self, rhs), labels))

    def update(self, rows: KernelRows) -> DualFactor:
        """Return the factor after adding m weighted rows, O(n^2 m); needs their `among`."""
        self._checked(rows)
        if rows.among is None:
            raise ValueError("rows.among, the kernel of the added rows, is needed for an update")
        added = np.ones(len(rows)) if rows.weight is None else rows.weight
        keep = added > 0
        train, among = rows.train[keep], rows.among[np.ix_(keep, keep)]
        half = self._half(train.T)
        corner = _cholesky(among - half.T @ half, self.alpha / added[keep], self.alpha)
        new = object.__new__(DualFactor)
        new.alpha = self.alpha
        new.weight = np.concatenate([self.weight, added[keep]])
        new.kernel = np.block([[self.kernel, train.T], [train, among]])
        new.root = np.asfortranarray(np.block([[self.root, half], [np.zeros(train.shape), corner]]))
        return new

    def _half(self, b: np.ndarray) -> np.ndarray:
        flat = dtrsm(1.0, self.root, np.reshape(b, (len(b), -1)), trans_a=1)
        return flat.reshape(b.shape)

    def _checked(self, rows: KernelRows) -> KernelRows:
        if rows.train.shape[1] != len(self.kernel):
            raise ValueError(
                f"rows have kernels with {rows.train.shape[1]} training rows, "
                f"the factor has {len(self.kernel)}"
            )
        return rows


class _KernelHat(_Hat):
    """``I - P = noise^1/2 inv(A) noise^1/2``: a square, without any difference."""

    def __init__(self, factor: DualFactor, rhs: np.ndarray) -> None:
        self.factor = factor
        self.root_weight = np.sqrt(factor.weight)
        self.root_noise = np.sqrt(factor.noise)
        self.rest_root = self.root_noise[:, None] * _inverse(factor.root)
        self.rest_rhs = np.sqrt(factor.alpha) * factor._half(rhs)
        self.residual = self.rest_root @ self.rest_rhs
        self.negligible = 0.0

    def leverages(self) -> tuple[np.ndarray, np.ndarray]:
        rest = np.einsum("ij,ij->i", self.rest_root, self.rest_root)
        h = 1 - rest
        # Small leverages: here 1 - h has lost them, but kernels are small against the noise.
        kernel = np.diag(self.factor.kernel)
        weak = np.flatnonzero(kernel < self.factor.noise)
        half = self.factor._half(self.factor.kernel[:, weak])
        h[weak] = (kernel[weak] - np.einsum("ij,ij->j", half, half)) / self.factor.noise[weak]
        return np.maximum(h, 0.0), rest

    def block(self, members: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        kernel, noise = self.factor.kernel[:, members], self.factor.noise[members]
        if (np.diag(kernel[members]) < noise).all():
            half = self.factor._half(kernel)
            root = self.root_noise[members]
            hat = (kernel[members] - half.T @ half) / (root * root[:, None])
            p, vectors = np.linalg.eigh(hat)
            return np.maximum(p, 0.0), vectors, 1 - p, vectors.T @ self.residual[members]
        vectors, s, vt = np.linalg.svd(self.rest_root[members], full_matrices=False)
        return np.maximum(1 - s**2, 0.0), vectors, s**2, s[:, None] * (vt @ self.rest_rhs)


def _cholesky(kernel: np.ndarray, noise: np.ndarray, alpha: float) -> np.ndarray:
    matrix = np.array(kernel, order="F")
    matrix[np.diag_indices(len(matrix))] += noise
    root, failed = dpotrf(matrix, lower=0, clean=1, overwrite_a=1)
    if failed:
        raise ValueError(
            f"kernel + alpha / weight is not positive definite (alpha={alpha}): the kernel "
            "is not positive semi-definite to rounding; try a larger alpha"
        )
    return root


def _inverse(root: np.ndarray) -> np.ndarray:
    return dtrtri(root)[0]
