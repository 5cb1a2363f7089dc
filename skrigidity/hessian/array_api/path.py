"""What rows look like to fits that have not seen them, at many alphas, on their device.

With the singular value decomposition ``U S V.T`` of the weighted, centred rows in coordinates in
which Gamma is the identity, what a fit leaves of a row, one minus its leverage, is

    1 - s_i / W - sum_k u_ik**2 + sum_k u_ik**2 alpha / (s_k**2 + alpha)

The first three terms do not depend on alpha. Where they cancel they are summed from the squares
of the part of a unit vector outside of the columns of U.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..prior import Prior
from ..rows import EPS, block_rows
from .factor import centre_of, is_definite, standardized, weighted
from .rows import ArrayRows

# What remains outside of the columns of U is subtracted from 1 above this, summed below.
_SUMMED_BELOW = 1e-2


class ArrayLeftOut(NamedTuple):
    """Residuals (n_rows, n_alphas, n_rhs) and quadratic forms (n_rows, n_alphas), left out."""

    residual: Any
    quad: Any


class ArrayPath:
    """One decomposition of the rows for all alphas; keeps two copies of the rows in float64.

    Parameters
    ----------
    rows : ArrayRows
        Training rows with right-hand sides, none of weight zero.
    gamma : ndarray or None
        The regularizer's matrix or diagonal, definite.

    Raises
    ------
    ValueError
        If the regularizer leaves directions free.

    Examples
    --------
    >>> import numpy as np
    >>> from skrigidity.hessian.array_api import ArrayPath, ArrayRows
    >>> path = ArrayPath(ArrayRows(np.eye(3), xp=np, rhs=np.ones((3, 1))), None)
    >>> path.leave_out([1.0], units=True).residual.shape
    (3, 1, 1)
    """

    def __init__(self, rows: ArrayRows, gamma: Any) -> None:
        xp, self.rows, self.xp = rows.xp, rows, rows.xp
        prior = Prior(1.0)
        prior.gamma = gamma
        if not is_definite(gamma):
            raise ValueError(
                "regularizer must be definite for leaving samples out on a device: NumPy arrays "
                "take any"
            )
        centre, whole = centre_of(rows), rows.whole()
        matrix, self.y, self.root = weighted(whole, centre, xp)
        q, r = xp.linalg.qr(standardized(matrix, prior, xp))
        u, s, _ = xp.linalg.svd(r, full_matrices=False)
        keep = min(len(rows) - int(rows.has_intercept), rows.n_features)
        self.u, self.s = q @ u[:, :keep], s[:keep]
        self.image = self.u.T @ self.y
        self.rest = self.y - self.u @ self.image  # outside of the rows
        self.share = self.root**2 / centre.weight if centre.weight else 0 * self.root
        self.total = centre.weight
        self._sum_outside()

    def _sum_outside(self) -> None:
        """Set what is left of every row outside of the columns of U and the mean."""
        xp, inside = self.xp, self.xp.sum(self.u**2, axis=1)
        self.outside = 1 - self.share - inside
        near = xp.nonzero(self.outside < _SUMMED_BELOW)[0]
        n, mean = len(self.rows), self.root / max(self.total, 1e-300) ** 0.5
        negligible = (10 * max(n, self.rows.n_features) * EPS) ** 2
        n_near, step = int(near.shape[0]), block_rows(n)
        for start in range(0, n_near, step):
            some = near[start : min(start + step, n_near)]
            part = -(self.u @ xp.take(self.u, some, axis=0).T)
            if self.total:
                part = part - mean[:, None] * xp.take(mean, some)
            own = xp.arange(n, device=near.device)[:, None] == some
            squares = xp.sum(xp.where(own, part + 1, part) ** 2, axis=0)
            squares = xp.where(squares > negligible, squares, xp.zeros_like(squares))
            mine, back = xp.any(own, axis=1), xp.astype(own, xp.float64)
            self.outside = xp.where(mine, back @ squares, self.outside)
            # Residuals of these rows cancel likewise.
            rest = xp.where(own, squares, xp.where(squares > 0, part, 0.0)).T @ self.y
            self.rest = xp.where(mine[:, None], back @ rest, self.rest)

    def leave_out(self, alphas: Any, *, units: bool) -> ArrayLeftOut:
        """Leave out every row, or one unit of its weight, at every alpha (numbers of the host).

        Parameters
        ----------
        alphas : array-like of shape (n_alphas,)
            Strengths of the regularizer.
        units : bool
            Whether one unit of a row's weight is left out, not all of it.

        Returns
        -------
        ArrayLeftOut
            Residuals and quadratic forms.
        """
        parts = [self._at(float(alpha), units) for alpha in alphas]
        stack = self.xp.stack
        return ArrayLeftOut(*(stack(list(part), axis=1) for part in zip(*parts, strict=True)))

    def _at(self, alpha: float, units: bool) -> tuple[Any, Any]:
        xp, weight = self.xp, self.root**2
        shrink = self._shrink(alpha)
        out = xp.where(weight > 1, xp.ones_like(weight), weight) if units else weight
        inside = self.share + self.u**2 @ (1 - shrink)  # the leverage
        remainder = self.outside + self.u**2 @ shrink
        left = remainder + inside * (1 - out / weight)
        lost = left <= 0
        safe = xp.where(lost, xp.ones_like(left), left)
        error = (self.rest + self.u @ (shrink[:, None] * self.image)) / self.root[:, None]
        quad = inside / weight / safe
        return error / safe[:, None], xp.where(lost, xp.full_like(quad, xp.inf), quad)

    def _shrink(self, alpha: float) -> Any:
        squares = self.s**2
        both = squares + alpha
        return alpha / self.xp.where(both > 0, both, self.xp.ones_like(both))

    def evidence(self, alphas: Any, n: float, log_weights: float) -> np.ndarray:
        """Return the log marginal likelihood, as `AlphaPath.evidence`: numbers of the host.

        Parameters
        ----------
        alphas : array-like of shape (n_alphas,)
            Positive strengths.
        n : float
            Number of samples.
        log_weights : float
            Sum of the logarithms of the weights, where these are inverse variances.

        Returns
        -------
        ndarray of shape (n_alphas,)
            Logarithms of the likelihood.
        """
        xp, n_fixed, out = self.xp, int(self.total > 0), []
        for alpha in alphas:
            shrink = self._shrink(float(alpha))
            loss = xp.sum(self.rest**2, axis=0) + shrink @ self.image**2
            left = max(n - n_fixed, 0.0)
            logs = left * (xp.log(2 * np.pi * loss / left) + 1) if left else 0 * loss
            determinant = -float(xp.sum(xp.log(shrink))) + (
                float(np.log(self.total)) if n_fixed else 0.0
            )
            out.append(numbers(-0.5 * (logs + (determinant - log_weights))))
        return np.array(out)


def mean_square(rows: ArrayRows) -> float:
    """Return the mean square of a feature, about its mean where rows have an intercept.

    Parameters
    ----------
    rows : ArrayRows
        The rows.

    Returns
    -------
    float
        The mean, 1 where it is 0.

    Examples
    --------
    >>> import numpy as np
    >>> from skrigidity.hessian.array_api import ArrayRows, mean_square
    >>> round(mean_square(ArrayRows(2.0 * np.ones((3, 2)), xp=np, rhs=np.ones((3, 1)))), 6)
    4.0
    """
    xp, centre = rows.xp, centre_of(rows)
    blocks = (weighted(block, centre, xp)[0] for block in rows.pieces())
    total = sum(float(xp.sum(block**2)) for block in blocks)
    mean = total / (rows.total() * rows.n_features)
    return mean if mean > 0 else 1.0


def numbers(values: Any) -> list[float]:
    """Return a few numbers, read one by one.

    Parameters
    ----------
    values : array of shape (n,)
        A few numbers on a device.

    Returns
    -------
    list of float
        The numbers.

    Examples
    --------
    >>> import numpy as np
    >>> from skrigidity.hessian.array_api import numbers
    >>> numbers(np.array([1.0, 2.0]))
    [1.0, 2.0]
    """
    return [float(values[i]) for i in range(int(values.shape[0]))]
