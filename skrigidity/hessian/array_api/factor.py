"""Cholesky and Cholesky QR factors of rows in an array namespace.

The Gram matrix of the centred rows, in float64 by blocks, has a Cholesky factor. Where its
condition does not promise the digits, that factor preconditions the rows for a second pass
(Cholesky QR; where the matrix is not numerically positive definite, a shifted one: Fukaya et al.,
SIAM J. Sci. Comput. 42, A477 (2020)), and again until what is left is near the identity. The last
factor times those before is as accurate as a QR decomposition of the rows. Products of matrices
are all that is done with the rows.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..direct import DirectFactor, solve_triangular
from ..factor import PROMISED, FactorInfo, Solution, warn_of_error
from ..prior import Prior
from ..rows import EPS
from .rows import ArrayRows, InNamespace, column, float64, like

# What a first factorization must promise to be the last, as on the host.
_PROMISED_GRAM = 2e-9
_PASSES, _POWER_STEPS = 5, 12
# Roundings of the unit diagonal that a shift is above, and shifts that are tried.
_SHIFT, _SHIFTS = 64.0, 8
# Means that rounding has left behind count above this share of the spread.
_NEGLIGIBLE = 1e-30


class SingularError(ValueError):
    """The Hessian is singular to working precision, which needs the routes of the host.

    Parameters
    ----------
    condition : float
        Its condition number.

    Examples
    --------
    >>> from skrigidity.hessian.array_api import SingularError
    >>> issubclass(SingularError, ValueError)
    True
    """

    def __init__(self, condition: float) -> None:
        super().__init__(
            f"the Hessian is singular to working precision (condition {condition:.0e}): use "
            "alpha > 0, or NumPy arrays, for which singular problems are solved"
        )


class Centre(NamedTuple):
    """Weighted mean of the training rows, as ``mean + low``, their weight, and that of targets."""

    mean: Any
    low: Any  # None where it is nothing
    weight: float
    rhs: Any

    def subtract(self, block: Any, flags: Any) -> Any:
        """Return rows ``x - f * mean``, f being their intercept derivative."""
        f = column(flags)
        block = block - f * self.mean
        return block if self.low is None else block - f * self.low

    def intercept(self, coef: Any) -> Any:
        """Return the intercepts that go with coefficients of shape (n_features, n_rhs)."""
        out = self.rhs - self.mean @ coef
        return out if self.low is None else out - self.low @ coef


class ArrayFactor(InNamespace):
    """A triangular factor ``R.T @ R`` of the Hessian of centred rows, on their device.

    It answers `quad`, `whiten`, `cross`, `update`, `at` and `residual_dof` as every `Factor`.

    Parameters
    ----------
    root : array of shape (n_features, n_features)
        R, upper triangular.
    centre : Centre
        Weighted mean of the training rows, and their weight.
    prior : Prior
        The regularizer.
    info : FactorInfo
        What is known of the factorization.
    n_rows : int
        Number of training rows.
    xp : module
        The array namespace.

    Attributes
    ----------
    inverse : array or None
        The inverse of R, where conditioning allows it.
    solution : Solution or None
        Coefficients for the right-hand sides.

    Examples
    --------
    >>> import torch  # doctest: +SKIP
    >>> X = torch.ones((3, 1), device="cuda")  # doctest: +SKIP
    >>> factorize(ArrayRows(X, xp=xp), Prior(1.0)).quad(ArrayRows(X, xp=xp))  # doctest: +SKIP
    tensor([0.2500, 0.2500, 0.2500], device='cuda:0', dtype=torch.float64)
    """

    source = None

    def __init__(
        self, root: Any, centre: Centre, prior: Prior, info: FactorInfo, n_rows: int, xp: Any
    ) -> None:
        self.root, self.centre, self.prior, self.info, self.xp = root, centre, prior, info, xp
        self.n_features, self.n_rows = int(root.shape[0]), n_rows
        self.inverse: Any = None
        self.solution: Solution | None = None
        self.thin: Any = None

    @property
    def has_intercept(self) -> bool:
        """Whether the training rows have the intercept."""
        return self.centre.weight > 0

    def _white(self, block: Any, flags: Any) -> Any:
        block = self.centre.subtract(block, flags) if self.has_intercept else block
        return divided(block, self.root, self.xp) if self.inverse is None else block @ self.inverse

    def quad(self, rows: ArrayRows) -> Any:
        """Return ``g.T @ inv(H) @ g`` per row.

        Parameters
        ----------
        rows : ArrayRows
            Rows of predictions.

        Returns
        -------
        array of shape (n_rows,)
            Reciprocals of the rigidities.
        """
        parts = []
        for block in rows.pieces():
            q = self.xp.sum(self._white(block.matrix, block.flags) ** 2, axis=1)
            parts.append(q + block.flags**2 / self.centre.weight if self.has_intercept else q)
        return self.xp.concat(parts, axis=0)

    def whiten(self, rows: ArrayRows) -> Any:
        """Return Z with ``Z @ Z.T = G @ inv(H) @ G.T``.

        Parameters
        ----------
        rows : ArrayRows
            Rows of predictions.

        Returns
        -------
        array of shape (n_rows, k)
            Z.
        """
        parts = []
        for block in rows.pieces():
            z = self._white(block.matrix, block.flags)
            if self.has_intercept:
                last = column(block.flags) / self.centre.weight**0.5
                z = self.xp.concat([z, last * self.xp.ones_like(z[:, :1])], axis=1)
            parts.append(z)
        return self.xp.concat(parts, axis=0)

    def cross(self, a: ArrayRows, b: ArrayRows) -> Any:
        """Return ``A @ inv(H) @ B.T`` for the rows of `a` and `b`.

        Parameters
        ----------
        a : ArrayRows
            Rows of some predictions.
        b : ArrayRows
            Rows of others.

        Returns
        -------
        array of shape (n_a, n_b)
            Covariances.
        """
        return self.whiten(a) @ self.whiten(b).T

    def update(self, rows: ArrayRows) -> ArrayFactor:
        """Return the factor after adding weighted rows, without a solution.

        Parameters
        ----------
        rows : ArrayRows
            Rows to add, with their weights.

        Returns
        -------
        ArrayFactor
            The new factor.
        """
        xp, before = self.xp, self.centre
        block = rows.whole()
        matrix, centre = block.matrix, before
        root = xp.sqrt(block.weight)[:, None] if block.weight is not None else 1.0
        if self.has_intercept:
            added = ArrayRows(before.subtract(matrix, 1.0), xp=xp, weight=rows.weight)
            weight = added.total()
            step = added.sums()[2:] / weight
            share = weight / (before.weight + weight)
            low = share * step if before.low is None else before.low + share * step
            centre = Centre(before.mean, low, before.weight + weight, before.rhs)
            matrix = root * centre.subtract(matrix, 1.0)
            between = before.weight**0.5 * share * step
            matrix = xp.concat([matrix, between[None, :]], axis=0)
        else:
            matrix = root * matrix
        return self._grown(matrix, centre, self.prior, self.n_rows + len(rows))

    def at(self, alpha: float) -> ArrayFactor:
        """Return the factor at a larger regularization strength, with its solution.

        Parameters
        ----------
        alpha : float
            The new strength.

        Returns
        -------
        ArrayFactor
            The factor at this strength.
        """
        more = Prior(alpha - self.prior.alpha if alpha >= self.prior.alpha else 0.0)
        if alpha < self.prior.alpha:
            raise ValueError(
                f"alpha must not be below {self.prior.alpha}, with which this factor was made: it "
                "does not hold its rows"
            )
        more.gamma, prior, own = self.prior.gamma, self.prior.with_alpha(alpha), self.solution
        penalty = penalty_of(more, self.root, self.xp)
        factor = self._grown(penalty, self.centre, prior, self.n_rows)
        if own is not None:
            xp, old = self.xp, self.root @ own.coef
            image = divided(self.root, factor.root, xp).T @ old
            coef = solved(factor.root, image, xp)
            root = penalty_of(self.prior, self.root, xp)
            # What the fit loses, and the old regularizer gains.
            gain = xp.sum((root @ own.coef) ** 2 - (root @ coef) ** 2, axis=0)
            rss = own.rss + gain + xp.sum((self.root @ (coef - own.coef)) ** 2, axis=0)
            factor.solution = Solution(coef, self.centre.intercept(coef), rss)
        if self.thin is not None:
            factor.set_thin(self.thin)
        return factor

    def _grown(self, rows: Any, centre: Centre, prior: Prior, n_rows: int) -> ArrayFactor:
        root = self.xp.linalg.qr(self.xp.concat([self.root, rows], axis=0))[1]
        return ArrayFactor(root, centre, prior, self.info, n_rows, self.xp)

    def residual_dof(self, n: float) -> float:
        """Return n minus the effective degrees of freedom, ``trace(inv(H) @ alpha Gamma)`` left.

        For fewer rows than features, where most of that trace counts unseen directions, it is
        summed over the singular values of the rows.

        Parameters
        ----------
        n : float
            Number of samples, or the sum of their weights.

        Returns
        -------
        float
            What is left of n.
        """
        if self.thin is not None:
            return n - self.n_rows + float(self.xp.sum(self._shrink()))
        z = divided(penalty_of(self.prior, self.root, self.xp), self.root, self.xp)
        left = float(self.xp.sum(z**2))
        return n - self.n_features - int(self.has_intercept) + left

    def _shrink(self) -> Any:
        return self.prior.alpha / (self.thin[0] ** 2 + self.prior.alpha)

    def set_thin(self, thin: Any) -> None:
        """Take singular values of fewer rows than features, and the right-hand sides along them.

        What a fit leaves of these is summed, where residuals would have lost their digits.

        Parameters
        ----------
        thin : tuple of two arrays
            The singular values and the right-hand sides.
        """
        self.thin, own = thin, self.solution
        if own is not None:
            rss = self.xp.sum((self._shrink()[:, None] * thin[1]) ** 2, axis=0)
            self.solution = own._replace(rss=rss)


def thin_of(rows: ArrayRows, centre: Centre, prior: Prior) -> tuple[Any, Any]:
    """Return singular values of centred rows, and right-hand sides along their vectors."""
    matrix, y, _ = weighted(rows.whole(), centre, rows.xp)
    unit = standardized(matrix, prior, rows.xp)
    u, s, _ = rows.xp.linalg.svd(unit, full_matrices=False)
    keep = len(rows) - int(rows.has_intercept)
    return s[:keep], u[:, :keep].T @ y


@np.errstate(over="ignore", invalid="ignore")  # where NumPy computes; told of in the end
def factorize(rows: ArrayRows, prior: Prior, *, method: str = "auto") -> ArrayFactor:
    """Factorize the Hessian of `rows` and `prior` where they are, as `choose` does on the host.

    "auto" takes the Cholesky factor of the normal equations where that promises the digits, else
    a Cholesky QR decomposition; "cholesky" allows the first alone; "qr" is one QR decomposition
    of all rows by the array library, `skrigidity.hessian.direct.DirectFactor`.

    Parameters
    ----------
    rows : ArrayRows
        Training rows.
    prior : Prior
        The regularizer.
    method : {"auto", "cholesky", "qr"}, default="auto"
        How to factorize.

    Returns
    -------
    ArrayFactor
        The factor, with a solution where there are right-hand sides.

    Raises
    ------
    SingularError
        If the Hessian is singular to working precision.
    ValueError
        If `method` is one of those that the host alone has.

    Examples
    --------
    >>> import numpy as np
    >>> from skrigidity.hessian import Prior
    >>> from skrigidity.hessian.array_api import ArrayRows, factorize
    >>> rows = ArrayRows(np.eye(3), xp=np, rhs=np.ones((3, 1)))
    >>> factorize(rows, Prior(1.0)).quad(rows)
    array([0.5, 0.5, 0.5])
    """
    if method not in ("auto", "cholesky", "qr"):
        raise ValueError(
            f"solver={method!r} takes NumPy arrays; on a device there are 'auto', 'cholesky', 'qr'"
        )
    prior.check(rows.n_features)
    factor = _direct(rows, prior) if method == "qr" else _from_gram(rows, prior, method)
    penalized = prior.alpha > 0 and (
        prior.gamma is None or prior.gamma.ndim == 2 or prior.gamma.all()
    )
    if len(rows) - int(rows.has_intercept) < rows.n_features and penalized:
        factor.set_thin(thin_of(rows, factor.centre, prior))
    info = factor.info
    cause = f"ill-conditioned Hessian (condition {info.condition:.1e}, method {info.method!r})"
    warn_of_error(cause, info.accuracy, stacklevel=4)
    return factor


def _direct(rows: ArrayRows, prior: Prior) -> ArrayFactor:
    xp, whole, centre = rows.xp, rows.whole(), centre_of(rows)
    matrix, y, root = weighted(whole, centre, xp)
    found = DirectFactor(
        matrix,
        penalty_of(prior, matrix, xp),
        weight=xp.ones_like(root),
        flags=xp.zeros_like(root),
        rhs=y,
        xp=xp,
    )
    return _made(rows, prior, centre, found.root, found.coef, "qr", "as asked for")


def centre_of(rows: ArrayRows) -> Centre:
    """Return the weighted mean of rows and right-hand sides, in two numbers."""
    return _moments(rows, _mean(rows), None)[2]


def _from_gram(rows: ArrayRows, prior: Prior, method: str) -> ArrayFactor:
    xp, centre = rows.xp, _mean(rows)
    precondition, kind, reason = None, "cholesky", "well conditioned"
    for _ in range(_PASSES):
        gram, cross, centre = _moments(rows, centre, precondition)
        penalty = penalty_of(prior, gram, xp)
        if precondition is not None:
            penalty = divided(penalty, precondition, xp)
        gram = gram + penalty.T @ penalty
        scale = _scale(gram, xp)
        root, exact = _cholesky(gram / scale / scale[:, None], xp)
        least, largest = extremes(root, xp)
        accuracy = EPS * (16 + 2 * largest / least) if exact else 1.0
        root = root * scale
        total = root if precondition is None else root @ precondition
        enough = _PROMISED_GRAM if precondition is None else PROMISED / 10
        if accuracy <= enough or (method == "cholesky" and exact):
            break
        if method == "cholesky":
            raise SingularError(1 / EPS)
        kind, precondition = "qr", total
        precondition = total
        reason = f"normal equations too ill-conditioned ({largest / least:.0e}): Cholesky QR"
    else:
        raise SingularError(1 / EPS**2)
    coef = solved(total, solved_transposed(root, cross, xp), xp)
    return _made(rows, prior, centre, total, coef, kind, reason)


def _made(
    rows: ArrayRows, prior: Prior, centre: Centre, root: Any, coef: Any, kind: str, reason: str
) -> ArrayFactor:
    """Return the factor with its solution and what is known of its accuracy."""
    xp = rows.xp
    scale = xp.sqrt(xp.sum(root**2, axis=0))
    least, largest = extremes(root / xp.where(scale > 0, scale, xp.ones_like(scale)), xp)
    condition = largest / least if least > 0 else np.inf
    if not condition < 1 / EPS**2 / 100:
        raise SingularError(condition)
    accuracy = EPS * (16 + 2 * condition) if kind == "cholesky" else EPS * (16 + condition**0.5)
    rank = rows.n_features + int(rows.has_intercept)
    info = FactorInfo(kind, condition, rank, min(accuracy, 1.0), reason)
    factor = ArrayFactor(root, centre, prior, info, len(rows), xp)
    if kind == "cholesky" and accuracy <= PROMISED:
        factor.inverse = divided(xp.eye(rows.n_features, **float64(root, xp)), root, xp)
    if rows.n_rhs:
        intercept = centre.intercept(coef)
        factor.solution = Solution(coef, intercept, _residual_squares(rows, coef, intercept))
    return factor


def _residual_squares(rows: ArrayRows, coef: Any, intercept: Any) -> Any:
    error = (rows.rhs - rows.times(coef, intercept)) ** 2
    return rows.xp.sum(error, axis=0) if rows.weight is None else rows.weight @ error


def _mean(rows: ArrayRows) -> Centre:
    sums, t = rows.sums()[2:], rows.n_rhs
    total = rows.total() if rows.has_intercept else 0.0
    mean = sums / total if total else 0 * sums
    return Centre(mean[t:], None, total, mean[:t])


def _moments(rows: ArrayRows, centre: Centre, precondition: Any) -> tuple[Any, Any, Centre]:
    """Return products of the centred rows with themselves and right-hand sides, and the mean.

    What rounding has left of the mean is taken off the products, and kept beside it.
    """
    gram: Any = 0.0
    xp, cross, low, rhs_low = rows.xp, gram, gram, gram
    for block in rows.pieces():
        a, y, share = weighted(block, centre, xp)
        if centre.weight and precondition is None:
            low, rhs_low = low + share @ a, rhs_low + share @ y
        if precondition is not None:
            a = divided(a, precondition, xp)
        gram, cross = gram + a.T @ a, cross + a.T @ y
    if centre.weight and precondition is None:
        low, rhs_low, W = low / centre.weight, rhs_low / centre.weight, centre.weight
        diagonal = xp.linalg.diagonal(gram)
        if bool(xp.any(low**2 * W > _NEGLIGIBLE * diagonal)):
            gram = gram - W * (low[:, None] * low)
            cross = cross - W * (low[:, None] * rhs_low)
            centre = Centre(centre.mean, low, W, centre.rhs + rhs_low)
    if not bool(xp.all(xp.isfinite(xp.linalg.diagonal(gram)))):
        raise ValueError(
            "X holds values that are not finite or beyond 1e150 (with their weights): their "
            "squares overflow. Use other units"
        )
    return gram, cross, centre


def weighted(block: Any, centre: Centre, xp: Any) -> tuple[Any, Any, Any]:
    """Return centred rows and right-hand sides times the roots of weights, and these roots."""
    a, y = block.matrix, block.rhs
    if centre.weight:
        a, y = centre.subtract(a, block.flags), y - column(block.flags) * centre.rhs
    if block.weight is None:
        return a, y, xp.ones_like(y[:, 0]) if y.shape[1] else xp.ones_like(a[:, 0])
    root = xp.sqrt(block.weight)
    return root[:, None] * a, root[:, None] * y, root


def penalty_of(prior: Prior, array: Any, xp: Any) -> Any:
    """Return L with ``L.T @ L = alpha * Gamma``, on the device of an array of as many columns."""
    d = array.shape[1]
    if prior.gamma is not None:
        return like(prior.root(d), array, xp)
    return prior.alpha**0.5 * xp.eye(d, **float64(array, xp))


def is_definite(gamma: Any) -> bool:
    """Whether a regularizer penalizes every direction."""
    if gamma is None:
        return True
    values = gamma if gamma.ndim == 1 else np.linalg.eigvalsh(gamma)
    return bool(values.min() > (0 if gamma.ndim == 1 else len(gamma) * EPS * values.max()))


def standardized(rows: Any, prior: Prior, xp: Any) -> Any:
    """Return rows in coordinates in which Gamma, which must be definite, is the identity."""
    if prior.gamma is None:
        return rows
    if prior.gamma.ndim == 1:
        return rows / like(np.sqrt(prior.gamma), rows, xp)
    return divided(rows, like(np.linalg.cholesky(prior.gamma).T, rows, xp), xp)


def divided(block: Any, root: Any, xp: Any) -> Any:
    """Return ``block @ inv(root)`` of an upper triangular matrix."""
    if hasattr(xp.linalg, "solve_triangular"):  # the standard has none, torch has
        return xp.linalg.solve_triangular(root, block, upper=True, left=False)
    if "cupy" in xp.__name__:
        from cupyx.scipy.linalg import solve_triangular as solve

        return solve(root, block.T, trans="T").T
    return solve_triangular(root.T, block.T, xp, lower=True).T


def solved(root: Any, b: Any, xp: Any) -> Any:
    """Return ``inv(root) @ b`` of an upper triangular matrix."""
    return solve_triangular(root, b, xp, lower=False)


def solved_transposed(root: Any, b: Any, xp: Any) -> Any:
    """Return ``inv(root.T) @ b`` of an upper triangular matrix."""
    return solve_triangular(root.T, b, xp, lower=True)


def _scale(gram: Any, xp: Any) -> Any:
    diagonal = xp.linalg.diagonal(gram)
    return xp.sqrt(xp.where(diagonal > 0, diagonal, xp.ones_like(diagonal)))


def _cholesky(matrix: Any, xp: Any) -> tuple[Any, bool]:
    """Return the upper factor of a matrix of unit diagonal, shifted where it must be; whether not.

    Libraries differ in what they do with a matrix that is not positive definite (CuPy returns
    something), so that the product of the factor is compared with it.
    """
    eye, shift = xp.eye(matrix.shape[0], **float64(matrix, xp)), 0.0
    for _ in range(_SHIFTS):
        try:
            root = xp.linalg.cholesky(matrix + shift * eye).T
        except (ValueError, RuntimeError):  # of NumPy, torch
            root = None
        if root is not None:
            error = xp.max(xp.abs(root.T @ root - shift * eye - matrix))
            if bool(error < 1e-8):
                return root, shift == 0
        shift = 16 * shift if shift else _SHIFT * EPS
    raise SingularError(1 / EPS)


def extremes(root: Any, xp: Any) -> tuple[float, float]:
    """Return estimates of the smallest and largest eigenvalue of ``root.T @ root``."""
    if float(xp.min(xp.abs(xp.linalg.diagonal(root)))) == 0:
        return 0.0, 1.0
    inverse = divided(xp.eye(root.shape[0], **float64(root, xp)), root, xp)
    return 1 / _largest(inverse, xp), _largest(root, xp)


def _largest(matrix: Any, xp: Any) -> float:
    """Return the square of the largest singular value, by power iteration."""
    v = matrix[int(xp.argmax(xp.sum(matrix**2, axis=1))), :]
    for _ in range(_POWER_STEPS):
        v = matrix.T @ (matrix @ (v / xp.sqrt(xp.sum(v**2))))
    return float(xp.sqrt(xp.sum(v**2)))
