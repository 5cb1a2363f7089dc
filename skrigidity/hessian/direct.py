"""The whole mathematics once more, dense and on one page: what the fast routes are tested against.

Rows ``g_i = [x_i, f_i]`` of weight s_i and the regularizer ``alpha * Gamma = L.T @ L`` make

    H = sum_i s_i g_i g_i.T + L.T @ L        (the intercept is not penalized)

and everything follows from ``g.T @ inv(H) @ g``. The intercept is eliminated by centring: with the
weighted mean m and the total weight W of the rows that have one, H is block diagonal in
``x - f m`` and f. The triangular factor R of the centred rows with L below them has
``R.T @ R = H_c``, so that ``q = |(x - f m) @ inv(R)|^2 + f^2 / W``.

Arrays may come from any library of the array-API standard, on any device: `xp` is its namespace.
"""

from __future__ import annotations

from typing import Any


class DirectFactor:
    """QR factor of weighted, centred rows and a regularizer; H must not be singular.

    Parameters
    ----------
    matrix : array of shape (n_rows, n_features)
        Derivatives with respect to the features.
    penalty : array of shape (k, n_features)
        L, see `Prior.root`.
    weight : array of shape (n_rows,), default=None
        Weights; None is 1.
    intercept : array of shape (n_rows,), default=None
        1 for rows that have an intercept, 0 for others; None is 0.
    rhs : array of shape (n_rows, n_rhs), default=None
        Right-hand sides.
    xp : module
        Array namespace of all of them.

    Examples
    --------
    >>> import numpy as np
    >>> from skrigidity.hessian.direct import DirectFactor
    >>> X = np.array([[1.0], [3.0]])
    >>> factor = DirectFactor(X, np.ones((1, 1)), intercept=np.ones(2), rhs=X, xp=np)
    >>> factor.quad(X, np.ones(2)).round(6), factor.coef.round(6), factor.intercept.round(6)
    (array([0.833333, 0.833333]), array([[0.666667]]), array([0.666667]))
    """

    def __init__(
        self,
        matrix: Any,
        penalty: Any,
        *,
        weight: Any = None,
        intercept: Any = None,
        rhs: Any = None,
        xp: Any,
    ) -> None:
        self.xp, d = xp, matrix.shape[1]
        flags = xp.zeros_like(matrix[:, 0]) if intercept is None else intercept
        weight = xp.ones_like(flags) if weight is None else weight
        rhs = matrix[:, :0] if rhs is None else rhs
        self.total = xp.sum(weight * flags)
        self.has_intercept = bool(self.total > 0)
        share = weight * flags / self.total if self.has_intercept else 0 * flags
        self.mean, rhs_mean = share @ matrix, share @ rhs
        root = xp.sqrt(weight)[:, None]
        rows = root * (matrix - flags[:, None] * self.mean)
        targets = root * (rhs - flags[:, None] * rhs_mean)
        zeros = xp.zeros_like(penalty[:, :1] @ targets[:1, :])
        whole = [concat([rows, targets], 1, xp), concat([penalty, zeros], 1, xp)]
        triangle = xp.linalg.qr(concat(whole, 0, xp))[1]
        self.root, self.penalty, self.n_features = triangle[:d, :d], penalty, d
        self.coef = solve_triangular(self.root, triangle[:d, d:], xp, lower=False)
        self.intercept = rhs_mean - self.mean @ self.coef

    def whiten(self, matrix: Any, intercept: Any = None) -> Any:
        """Return Z with ``Z @ Z.T = G @ inv(H) @ G.T``."""
        flags = self.xp.zeros_like(matrix[:, 0]) if intercept is None else intercept
        z = self._half((matrix - flags[:, None] * self.mean).T).T
        if not self.has_intercept:
            return z
        return concat([z, flags[:, None] / self.xp.sqrt(self.total)], 1, self.xp)

    def quad(self, matrix: Any, intercept: Any = None) -> Any:
        """Return ``g.T @ inv(H) @ g``, the inverse of the rigidity, per row."""
        return self.xp.sum(self.whiten(matrix, intercept) ** 2, axis=1)

    def residual_dof(self, n: float) -> Any:
        """Return n minus the effective degrees of freedom: ``trace(inv(H) @ L.T @ L)`` is left."""
        z = self._half(self.penalty.T)
        return n - self.n_features - int(self.has_intercept) + self.xp.sum(z**2)

    def _half(self, b: Any) -> Any:
        return solve_triangular(self.root.T, b, self.xp, lower=True)


def solve_triangular(matrix: Any, b: Any, xp: Any, *, lower: bool) -> Any:
    """Return ``inv(matrix) @ b``, which the standard lacks, by halves."""
    n, k = matrix.shape[0], matrix.shape[0] // 2
    if n == 1:
        return b / matrix[0, 0]
    one, two = slice(k), slice(k, n)
    first, last = (one, two) if lower else (two, one)
    x = solve_triangular(matrix[first, first], b[first, :], xp, lower=lower)
    rest = b[last, :] - matrix[last, first] @ x
    y = solve_triangular(matrix[last, last], rest, xp, lower=lower)
    return concat([x, y] if lower else [y, x], 0, xp)


def concat(arrays: list[Any], axis: int, xp: Any) -> Any:
    """Return joined arrays; NumPy has the standard's name for it since 2.0 only."""
    return (xp.concat if hasattr(xp, "concat") else xp.concatenate)(arrays, axis=axis)
