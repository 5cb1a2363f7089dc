"""Dual factor: predictions seen through kernels only.

``q = [k(*,*) - k_*.T (K + alpha S^-1)^-1 k_*] / alpha``, alpha times which is the posterior
variance of a Gaussian process. The difference cancels where the prediction is firmly pinned:
feature rows, where they exist, do better in a primal factor.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np
import scipy.linalg as sl
from scipy.linalg.blas import dtrsm
from scipy.linalg.lapack import dpotrf, dtrtri

from .factor import FactorInfo, warn_of_error
from .leave_out import LeftBatch, LeftOut
from .leave_out.hat import Hat
from .rows import EPS, Array, per_row, row_squares
from .triangular import scaled_condition


class KernelRows:
    """Predictions of a kernel model, seen through the kernel only.

    Parameters
    ----------
    train : ndarray of shape (n_rows, n_train)
        Kernel of each prediction with the training rows.
    diagonal : ndarray of shape (n_rows,)
        Kernel of each prediction with itself.
    among : ndarray of shape (n_rows, n_rows), default=None
        Kernel of the predictions among themselves; only covariances and updates need it.
    weight : float or array-like of shape (n_rows,), default=None
        Weights, for rows that are added to a Hessian.

    Examples
    --------
    >>> import numpy as np
    >>> from skrigidity.hessian import KernelRows
    >>> len(KernelRows(np.ones((2, 5)), np.ones(2)))
    2
    """

    def __init__(self, train: Any, diagonal: Any, among: Any = None, weight: Any = None) -> None:
        self.train = np.asarray(train, float)
        self.diagonal = np.asarray(diagonal, float)
        self.among = None if among is None else np.asarray(among, float)
        n = len(self.train)
        if self.train.ndim != 2 or self.diagonal.shape != (n,):
            found = f"{self.train.shape} and {self.diagonal.shape}"
            raise ValueError(f"train and diagonal have shapes {found}, not (n, n_train) and (n,)")
        self.weight = per_row(1.0 if weight is None else weight, n)

    def __len__(self) -> int:
        return len(self.train)

    def blocks(self) -> Iterator[KernelRows]:
        """Iterate over the predictions in blocks, in order; subclasses may make them lazily.

        Yields
        ------
        KernelRows
            The next predictions.
        """
        yield self


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
    root : ndarray of shape (n, n), default=None
        Upper triangular factor of A, where it is known.

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

    def __init__(self, kernel: Any, alpha: float, weight: Any = None, root: Any = None) -> None:
        self.kernel = np.asarray(kernel, float)
        n = len(self.kernel)
        if self.kernel.shape != (n, n):
            raise ValueError(f"kernel must be square, got shape {self.kernel.shape}")
        if not alpha > 0:
            raise ValueError(f"alpha must be positive in the dual, got {alpha}")
        self.alpha = float(alpha)
        self.weight = per_row(1.0 if weight is None else weight, n)
        if not (self.weight > 0).all():
            raise ValueError("weight must be positive in the dual: leave out rows of weight 0")
        self.noise = self.alpha / self.weight
        self.root = _cholesky(self.kernel, self.noise, self.alpha) if root is None else root

    @cached_property
    def info(self) -> FactorInfo:
        """Description of the factorization, with an estimate for predictions of training rows."""
        # alpha q = noise * leverage there, without a difference of kernels.
        accuracy = _accuracy(np.diag(self.kernel), self.noise * self._leverages[0])
        condition, worst = scaled_condition(self.root) ** 2, float(accuracy.max(initial=EPS))
        return FactorInfo("dual", condition, len(self.kernel), worst, "only kernels are known")

    @cached_property
    def _leverages(self) -> tuple[Array, Array]:
        return _KernelHat(self, np.zeros((len(self.kernel), 0))).leverages()

    def quad(self, rows: KernelRows) -> Array:
        """Return q per row, never negative.

        Parameters
        ----------
        rows : KernelRows
            Predictions as combinations of kernels with the training rows.

        Returns
        -------
        ndarray of shape (n_rows,)
            Reciprocals of the rigidities.

        Raises
        ------
        ValueError
            If a prediction has a negative variance beyond rounding.
        """
        parts = [self._quad(block) for block in rows.blocks()]
        return np.concatenate(parts or [np.empty(0)])

    def _quad(self, rows: KernelRows) -> Array:
        half = self.half(self._train(rows).T)
        explained = row_squares(half.T)
        variance = rows.diagonal - explained
        bound = 100 * EPS * len(self.kernel) * np.maximum(rows.diagonal, explained)
        if (variance < -bound).any() and (variance < -bound * self.info.condition).any():
            raise ValueError("the kernel is not positive semi-definite: a variance is negative")
        lost = np.flatnonzero(variance <= bound / 10)
        if len(lost):
            # With b = inv(A) k, a variance is b.T N b and the square of what the training rows do
            # not explain, which is at least (N b).T inv(A) (N b): sums of squares.
            b = sl.solve_triangular(self.root, half[:, lost], check_finite=False)
            image = self.noise[:, None] * b
            least = np.einsum("ij,ij->j", b, image) + row_squares(self.half(image).T)
            variance[lost] = np.maximum(variance[lost], least)
        worst = float(_accuracy(rows.diagonal, variance).max(initial=0.0))
        warn_of_error("a difference of kernels cancels", worst, stacklevel=5)
        return variance / self.alpha

    def whiten(self, rows: KernelRows) -> Array:
        """Return Z with Z @ Z.T the covariance of the rows, which need their `among`.

        Parameters
        ----------
        rows : KernelRows
            Predictions as combinations of kernels with the training rows.

        Returns
        -------
        ndarray of shape (n_rows, k)
            Z.
        """
        values, vectors = np.linalg.eigh(self.cross(rows, rows))
        return np.asarray(vectors * np.sqrt(np.maximum(values, 0.0)) @ vectors.T)

    def cross(self, a: KernelRows, b: KernelRows) -> Array:
        """Return the covariances of rows (twice the same ones), which need their `among`.

        Parameters
        ----------
        a : KernelRows
            Some predictions.
        b : KernelRows
            The same predictions.

        Returns
        -------
        ndarray of shape (n_a, n_b)
            Covariances.
        """
        among = a.among if a is b else None
        if among is None:
            raise ValueError("among, the kernel of the same predictions, is needed for covariances")
        half = self.half(self._train(a).T)
        return np.asarray(among - half.T @ half) / self.alpha

    def solve(self, b: Array) -> Array:
        """Return ``(K + alpha S^-1)^-1 @ b``: the dual coefficients for targets b.

        Parameters
        ----------
        b : ndarray of shape (n, n_rhs)
            Right-hand sides.

        Returns
        -------
        ndarray of shape (n, n_rhs)
            Dual coefficients.
        """
        return sl.solve_triangular(self.root, self.half(b), check_finite=False)

    def at(self, alpha: float) -> DualFactor:
        """Return the factor of the same rows at another regularization strength.

        Parameters
        ----------
        alpha : float
            The new strength.

        Returns
        -------
        Factor
            The factor at this strength.
        """
        return DualFactor(self.kernel, alpha, self.weight)

    def residual_dof(self, n: float) -> float:
        """Return n minus the effective degrees of freedom: ``trace(inv(A) @ noise)``, a sum.

        Parameters
        ----------
        n : float
            Number of samples, or the sum of their weights.

        Returns
        -------
        float
            What is left of n.
        """
        return float(n - len(self.kernel) + self._leverages[1].sum())

    def leave_out(self, rhs: Array, labels: Array) -> LeftOut:
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
            Residuals and q = 1 / R of rows that a model has not seen.
        """
        left = _KernelHat(self, rhs).leave_out(labels)
        return LeftOut(left.residual[:, 0], left.quad[:, 0])

    def update(self, rows: KernelRows) -> DualFactor:
        """Return the factor after adding m weighted rows, O(n^2 m); needs their `among`.

        Parameters
        ----------
        rows : KernelRows
            Rows to add, with their weights.

        Returns
        -------
        Factor
            The new factor.
        """
        if rows.among is None:
            raise ValueError("rows.among, the kernel of the added rows, is needed for an update")
        keep = rows.weight > 0
        added = rows.weight[keep]
        train, among = self._train(rows)[keep], rows.among[np.ix_(keep, keep)]
        half = self.half(train.T)
        corner = _cholesky(among - half.T @ half, self.alpha / added, self.alpha)
        kernel = np.block([[self.kernel, train.T], [train, among]])
        root = np.asfortranarray(np.block([[self.root, half], [np.zeros(train.shape), corner]]))
        return DualFactor(kernel, self.alpha, np.concatenate([self.weight, added]), root)

    def half(self, b: Array) -> Array:
        """Return ``inv(R).T @ b``, R being the triangular factor of A.

        Parameters
        ----------
        b : ndarray of shape (n, n_rhs)
            Right-hand sides.

        Returns
        -------
        ndarray of shape (n, n_rhs)
            The whitened right-hand sides.
        """
        flat = dtrsm(1.0, self.root, np.reshape(b, (len(b), -1)), trans_a=1)
        return flat.reshape(b.shape)

    def _train(self, rows: KernelRows) -> Array:
        train, n = rows.train, len(self.kernel)
        if train.shape[1] != n:
            found = f"{train.shape[1]} training rows"
            raise ValueError(f"rows have kernels with {found}, the factor has {n}")
        return train


class _KernelHat(Hat):
    """``I - P = noise^1/2 inv(A) noise^1/2``: a square, without any difference."""

    def __init__(self, factor: DualFactor, rhs: Array) -> None:
        self.factor = factor
        self.weight = self.out = factor.weight
        self.root_noise = np.sqrt(factor.noise)
        self.root = self.root_noise[:, None] * dtrtri(factor.root)[0]
        self.turned_rhs = np.sqrt(factor.alpha) * factor.half(rhs)
        self.residual = self.root @ self.turned_rhs
        self.negligible, self.width, self.error = 0.0, len(rhs), np.zeros((1, 1))

    def rows_alone(self) -> Iterator[LeftBatch]:
        columns = (part[:, None] for part in (*self.leverages(), self.residual))
        yield self.rows_left(np.arange(len(self.residual)), *columns)

    def leverages(self) -> tuple[Array, Array]:
        remainder = row_squares(self.root)
        h = 1 - remainder
        # Small leverages: here 1 - h has lost them, but kernels are small against the noise.
        kernel = np.diag(self.factor.kernel)
        weak = np.flatnonzero(kernel < self.factor.noise)
        half = self.factor.half(self.factor.kernel[:, weak])
        h[weak] = (kernel[weak] - row_squares(half.T)) / self.factor.noise[weak]
        return np.maximum(h, 0.0), remainder

    def batch(self, members: Array) -> LeftBatch:
        parts = zip(*(self._block(group) for group in members), strict=True)
        p, vectors, remainder, turned = (np.stack(part)[:, None] for part in parts)
        return self.left(members, p, vectors, remainder, turned, np.zeros(members.shape, bool))

    def _block(self, members: Array) -> tuple[Array, Array, Array, Array]:
        kernel, noise = self.factor.kernel[:, members], self.factor.noise[members]
        if (np.diag(kernel[members]) < noise).all():
            half = self.factor.half(kernel)
            root = self.root_noise[members]
            hat = (kernel[members] - half.T @ half) / (root * root[:, None])
            p, vectors = np.linalg.eigh(hat)
            return np.maximum(p, 0.0), vectors, 1 - p, vectors.T @ self.residual[members]
        vectors, s, vt = np.linalg.svd(self.root[members], full_matrices=False)
        return np.maximum(1 - s**2, 0.0), vectors, s**2, s[:, None] * (vt @ self.turned_rhs)


def _cholesky(kernel: Array, noise: Array, alpha: float) -> Array:
    matrix = np.array(kernel, order="F")
    matrix[np.diag_indices(len(matrix))] += noise
    root, failed = dpotrf(matrix, lower=0, clean=1, overwrite_a=1)
    if failed:
        raise ValueError(
            f"kernel + alpha / weight is not positive definite (alpha={alpha}): the kernel "
            "is not positive semi-definite to rounding; try a larger alpha"
        )
    return root


def _accuracy(kernel: Array, variance: Array) -> Array:
    """Estimate what is left of ``k(*,*) - k inv(A) k``: the digits that cancel, for any A."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(kernel > 0, kernel / variance, 1.0)
    return np.asarray(np.minimum(1.0, 10 * EPS * np.maximum(1.0, ratio)))
