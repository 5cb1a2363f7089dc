"""A Hessian that is only multiplied with: conjugate gradients."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from ..hessian import Rows
from ._blocks import in_memory
from ._hooks import place_of, require_torch


class MatrixFree:
    r"""``H = sum_i s_i g_i g_i.T + alpha I`` by products ``J v`` and ``J.T u``, never formed.

    Conjugate gradients with a diagonal preconditioner, many right-hand sides at once. Quadratic
    forms are ``2 g.T @ x - x.T @ H @ x`` of a solution x: never above ``g.T @ inv(H) @ g``, and as
    close to it as the square of the error of x.

    Parameters
    ----------
    jacobian : Jacobian
        Derivatives of the network.
    batches : callable
        From nothing to an iterator of batches and weights of their samples.
    diagonal : ndarray of shape (n_parameters,)
        That of the data's part of H.
    alpha : float
        The regularizer.
    tol : float
        Largest residual, relative to the right-hand side.
    max_iter : int
        Largest number of iterations; a warning tells when they did not suffice.
    extra : ndarray of shape (n_rows, n_parameters), default=None
        Weighted rows that are added to H.

    Attributes
    ----------
    n_iter : int
        Iterations of the last solution.
    """

    n_iter = 0

    def __init__(
        self,
        jacobian: Any,
        batches: Callable[[], Any],
        diagonal: np.ndarray,
        alpha: float,
        *,
        tol: float,
        max_iter: int,
        extra: np.ndarray | None = None,
    ) -> None:
        self.jacobian, self.batches = jacobian, batches
        self.diagonal, self.alpha = diagonal, alpha
        self.tol, self.max_iter, self.extra = tol, max_iter, extra

    def quad(self, rows: Rows) -> np.ndarray:
        """Return ``g.T @ inv(H) @ g`` per row."""
        return np.concatenate([self._quad(block) for _, block in rows.numbered()] or [np.empty(0)])

    def cross(self, a: Rows, b: Rows) -> np.ndarray:
        """Return ``A @ inv(H) @ B.T``."""
        left, right = self._tensor(a[:].dense()), self._tensor(b[:].dense())
        found = self._solve(right)
        other = found if a is b else self._solve(left)
        # Quadratic in the errors, too.
        return in_memory((left @ found.T + other @ (right - self._product(found)).T).double())

    def update(self, rows: Rows) -> MatrixFree:
        """Return the same with weighted rows added."""
        matrix = rows.dense()
        if rows.weight is not None:
            matrix = np.sqrt(rows.weight)[:, None] * matrix
        extra = matrix if self.extra is None else np.vstack([self.extra, matrix])
        diagonal = self.diagonal + np.einsum("ij,ij->j", matrix, matrix)
        return MatrixFree(
            self.jacobian,
            self.batches,
            diagonal,
            self.alpha,
            tol=self.tol,
            max_iter=self.max_iter,
            extra=extra,
        )

    def whiten(self, rows: Rows) -> np.ndarray:
        """Raise TypeError: there is no root of H."""
        raise TypeError("draws need a factorized Hessian: solver='exact'")

    def _quad(self, block: Rows) -> np.ndarray:
        given = self._tensor(block.dense())
        solution = self._solve(given)
        twice = 2 * given - self._product(solution)
        return in_memory((solution * twice).double().sum(dim=1))

    def _tensor(self, matrix: np.ndarray) -> Any:
        device, dtype = place_of(self.jacobian.adapter.model)
        return require_torch().as_tensor(matrix, device=device, dtype=dtype)

    def _product(self, vectors: Any) -> Any:
        """Return H times vectors, which are rows."""
        out = self.alpha * vectors
        for batch, weight in self.batches():
            along = self.jacobian.times(batch, vectors)
            if weight is not None:
                along = along * self._tensor(weight)[:, None]
            out = out + self.jacobian.transposed(batch, along)
        if self.extra is not None:
            extra = self._tensor(self.extra)
            out = out + (vectors @ extra.T) @ extra
        return out

    def _solve(self, given: Any) -> Any:
        """Return inv(H) times vectors, which are rows."""
        scale = self._tensor(self.diagonal) + self.alpha
        solution, rest = 0 * given, given.clone()
        enough = self.tol * given.norm(dim=1)
        better = rest / scale
        direction, size = better, (rest * better).sum(dim=1)
        self.n_iter = 0
        # Solved ones rest: their directions vanish.
        while bool((open_ := rest.norm(dim=1) > enough).any()):
            if self.n_iter == self.max_iter:
                warnings.warn(
                    f"conjugate gradients: {int(open_.sum())} of {len(given)} solutions are not "
                    f"within tol={self.tol:g} after {self.max_iter} iterations. Increase max_iter "
                    "or alpha",
                    ConvergenceWarning,
                    stacklevel=2,
                )
                break
            self.n_iter += 1
            product = self._product(direction)
            curvature = (direction * product).sum(dim=1)
            step = _ratio(size, curvature, open_)[:, None]
            solution, rest = solution + step * direction, rest - step * product
            better = rest / scale
            before, size = size, (rest * better).sum(dim=1)
            direction = better + _ratio(size, before, open_)[:, None] * direction
        return solution


def _ratio(a: Any, b: Any, where: Any) -> Any:
    """Return a / b where that is asked for, else 0."""
    torch = require_torch()
    return torch.where(where, a / torch.where(where, b, torch.ones_like(b)), torch.zeros_like(a))
