"""Dual factors on a device: predictions seen through kernels only, as `DualFactor`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..factor import FactorInfo, warn_of_error
from ..rows import EPS
from .factor import divided, extremes, solved, solved_transposed
from .path import ArrayLeftOut
from .rows import InNamespace


class ArrayKernelRows(InNamespace):
    """Predictions of a kernel model, as `KernelRows`, in an array namespace.

    Parameters
    ----------
    train : array of shape (n_rows, n_train)
        Kernel of each prediction with the training rows.
    diagonal : array of shape (n_rows,)
        Kernel of each prediction with itself.
    among : array of shape (n_rows, n_rows) or None
        Kernel of the predictions among themselves; covariances and updates need it.
    xp : module
        Namespace of all of them.
    weight : array of shape (n_rows,), default=None
        Weights, for rows that are added to a Hessian.

    Examples
    --------
    >>> import numpy as np
    >>> from skrigidity.hessian.array_api import ArrayKernelRows
    >>> len(ArrayKernelRows(np.eye(3), np.ones(3), xp=np))
    3
    """

    intercept = 1.0

    def __init__(
        self, train: Any, diagonal: Any, among: Any = None, *, xp: Any, weight: Any = None
    ) -> None:
        self.train, self.diagonal, self.among, self.xp = train, diagonal, among, xp
        self.weight = weight

    def __len__(self) -> int:
        return int(self.train.shape[0])

    def blocks(self) -> Iterator[ArrayKernelRows]:
        """Iterate over the predictions in blocks, in order.

        Yields
        ------
        ArrayKernelRows
            The next predictions.
        """
        yield self

    def times(self, coef: Any, intercept: Any = 0.0) -> Any:
        """Return predictions of shape (n_rows, n_rhs).

        Parameters
        ----------
        coef : array of shape (n_features, n_rhs)
            Coefficients.
        intercept : array of shape (n_rhs,), default=0
            Intercepts.

        Returns
        -------
        array of shape (n_rows, n_rhs)
            Predictions.
        """
        return self.train @ coef + self.intercept * intercept


class ArrayDualFactor(InNamespace):
    """Cholesky factor of ``A = K + alpha S^-1`` on the device of the kernel.

    Parameters
    ----------
    kernel : array of shape (n, n)
        Kernel of the training rows among themselves.
    alpha : float
        Regularization strength, positive.
    weight : array of shape (n,)
        Weights of the training rows, positive.
    xp : module
        Their namespace.

    Raises
    ------
    ValueError
        If ``K + alpha S^-1`` is not positive definite.

    Examples
    --------
    >>> import numpy as np
    >>> from skrigidity.hessian.array_api import ArrayDualFactor, ArrayKernelRows
    >>> factor = ArrayDualFactor(np.eye(3), 1.0, np.ones(3), np)
    >>> factor.quad(ArrayKernelRows(np.eye(3), np.ones(3), xp=np))
    array([0.5, 0.5, 0.5])
    """

    def __init__(self, kernel: Any, alpha: float, weight: Any, xp: Any) -> None:
        self.kernel, self.alpha, self.weight, self.xp = kernel, float(alpha), weight, xp
        self.noise = self.alpha / weight
        matrix = kernel + xp.where(_eye(kernel, xp) > 0, self.noise[:, None], 0.0)
        try:
            root = xp.linalg.cholesky(matrix).T
            size = float(xp.max(xp.abs(matrix)))
            failed = not float(xp.max(xp.abs(root.T @ root - matrix))) < 1e-8 * size
        except (ValueError, RuntimeError):  # of NumPy, torch
            failed = True
        if failed:
            raise ValueError(
                f"kernel + alpha / weight is not positive definite (alpha={alpha}): the kernel "
                "is not positive semi-definite to rounding; try a larger alpha"
            )
        self.root = root
        inverse = divided(_eye(kernel, xp), root, xp)
        self.remainder = self.noise * xp.sum(inverse**2, axis=1)  # 1 - leverage

    @property
    def info(self) -> FactorInfo:
        """Description of the factorization, with an estimate for training rows."""
        least, largest = extremes(self.root, self.xp)
        variance = self.noise * self._leverage()
        worst = _accuracy(self.xp.linalg.diagonal(self.kernel), variance, self.xp)
        n = int(self.root.shape[0])
        return FactorInfo("dual", largest / least, n, worst, "only kernels are known")

    def _leverage(self) -> Any:
        xp, kernel = self.xp, self.xp.linalg.diagonal(self.kernel)
        # Small ones: 1 - remainder has lost them, but kernels are small against the noise.
        weak = (kernel - xp.sum(self.half(self.kernel) ** 2, axis=0)) / self.noise
        h = xp.where(kernel < self.noise, weak, 1 - self.remainder)
        return xp.where(h > 0, h, 0.0)

    def quad(self, rows: Any) -> Any:
        """Return q per row, never negative.

        Parameters
        ----------
        rows : ArrayKernelRows
            Predictions.

        Returns
        -------
        array of shape (n_rows,)
            Reciprocals of the rigidities.
        """
        return self.xp.concat([self._quad(block) for block in rows.blocks()], axis=0)

    def _quad(self, rows: Any) -> Any:
        xp, half = self.xp, self.half(rows.train.T)
        explained, diagonal = xp.sum(half**2, axis=0), rows.diagonal
        variance, size = diagonal - explained, xp.where(diagonal > explained, diagonal, explained)
        bound = 100 * EPS * self.root.shape[0] * size
        if bool(xp.any(variance < -bound * self.info.condition)):
            raise ValueError("the kernel is not positive semi-definite: a variance is negative")
        if bool(xp.any(variance <= bound / 10)):
            # Two squares that a variance is at least, as in `DualFactor`.
            b = solved(self.root, half, xp)
            image = self.noise[:, None] * b
            least = xp.sum(b * image + self.half(image) ** 2, axis=0)
            lost = variance <= bound / 10
            variance = xp.where(lost & (least > variance), least, variance)
        worst = _accuracy(diagonal, variance, xp)
        warn_of_error("a difference of kernels cancels", worst, stacklevel=5)
        return variance / self.alpha

    def cross(self, a: Any, b: Any) -> Any:
        """Return the covariances of rows (twice the same ones).

        Parameters
        ----------
        a : ArrayKernelRows
            Some predictions.
        b : ArrayKernelRows
            The same predictions.

        Returns
        -------
        array of shape (n_a, n_b)
            Covariances.
        """
        if a is not b:
            raise ValueError("covariances are those of the same predictions, given twice")
        half = self.half(a.train.T)
        return (a.among - half.T @ half) / self.alpha

    def whiten(self, rows: Any) -> Any:
        """Return Z with ``Z @ Z.T`` the covariance of the rows.

        Parameters
        ----------
        rows : ArrayKernelRows
            Predictions.

        Returns
        -------
        array of shape (n_rows, k)
            Z.
        """
        values, vectors = self.xp.linalg.eigh(self.cross(rows, rows))
        return (vectors * self.xp.sqrt(self.xp.where(values > 0, values, 0.0))) @ vectors.T

    def solve(self, b: Any) -> Any:
        """Return ``(K + alpha S^-1)^-1 @ b``: the dual coefficients for targets b.

        Parameters
        ----------
        b : array of shape (n, n_rhs)
            Right-hand sides.

        Returns
        -------
        array of shape (n, n_rhs)
            Dual coefficients.
        """
        return solved(self.root, self.half(b), self.xp)

    def half(self, b: Any) -> Any:
        """Return ``inv(R).T @ b``, R being the triangular factor of A.

        Parameters
        ----------
        b : array of shape (n, n_rhs)
            Right-hand sides.

        Returns
        -------
        array of shape (n, n_rhs)
            The whitened right-hand sides.
        """
        return solved_transposed(self.root, b, self.xp)

    def at(self, alpha: float) -> ArrayDualFactor:
        """Return the factor of the same rows at another regularization strength.

        Parameters
        ----------
        alpha : float
            The new strength.

        Returns
        -------
        ArrayDualFactor
            The factor at this strength.
        """
        return ArrayDualFactor(self.kernel, alpha, self.weight, self.xp)

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
        return float(n - self.root.shape[0] + float(self.xp.sum(self.remainder)))

    def update(self, rows: Any) -> ArrayDualFactor:
        """Return the factor after adding weighted rows.

        Parameters
        ----------
        rows : ArrayKernelRows
            Rows to add, with their weights.

        Returns
        -------
        ArrayDualFactor
            The new factor.
        """
        concat, train = self.xp.concat, rows.train
        upper = concat([self.kernel, train.T], axis=1)
        kernel = concat([upper, concat([train, rows.among], axis=1)], axis=0)
        added = self.xp.ones_like(rows.diagonal) if rows.weight is None else rows.weight
        return ArrayDualFactor(kernel, self.alpha, concat([self.weight, added]), self.xp)

    def leave_out(self, rhs: Any) -> ArrayLeftOut:
        """Leave out every training row in turn; return residuals and quadratic forms.

        Parameters
        ----------
        rhs : array of shape (n, n_rhs)
            Targets.

        Returns
        -------
        ArrayLeftOut
            Residuals and quadratic forms.
        """
        left = self.remainder / self.noise
        quad = self._leverage() / (self.remainder * self.weight)
        return ArrayLeftOut(self.solve(rhs) / left[:, None], quad)


def _eye(matrix: Any, xp: Any) -> Any:
    return xp.eye(matrix.shape[0], dtype=xp.float64, device=matrix.device)


def _accuracy(kernel: Any, variance: Any, xp: Any) -> float:
    """Estimate the digits that ``k(*,*) - k inv(A) k`` has lost, of the worst row."""
    positive = (kernel > 0) & (variance > 0)
    ratio = xp.where(positive, kernel / xp.where(positive, variance, 1.0), 1.0)
    lost = bool(xp.any((kernel > 0) & (variance <= 0)))
    return 1.0 if lost else min(1.0, 10 * EPS * max(1.0, float(xp.max(ratio))))
