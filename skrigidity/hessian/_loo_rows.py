"""Leave-one-out of every row at many regularization strengths: not only sums over rows.

With M the identity minus the hat matrix of the weighted rows, leaving out u units of a row's weight
s moves its weighted target by tau = u e / sqrt(s), e being its leave-one-out residual, and leaves
the residuals M (y - tau 1_i) to all others: their squares add up to a sum of squares again.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ._alpha_path import AlphaPath
from ._blas import times


@dataclass(frozen=True)
class LooRows:
    """What every row looks like to a model that has not seen it, or not one unit of it.

    Attributes
    ----------
    residual : ndarray of shape (n_rows, n_alphas, n_rhs)
        Right-hand side minus its prediction; of no meaning where `quad` is infinite.
    quad : ndarray of shape (n_rows, n_alphas)
        ``g.T @ inv(H) @ g``, H without the row; inf where nothing else pins it.
    out : ndarray of shape (n_rows, 1)
        The weight that is left out: all of a row's, or at most one unit.
    h, rest : ndarray of shape (n_rows, n_alphas)
        Leverages and, without cancellation, what they leave of 1.
    remains : ndarray of shape (n_rows, n_alphas)
        The same without what is left out: 1 minus its share of the leverage.
    """

    residual: np.ndarray
    quad: np.ndarray
    out: np.ndarray
    h: np.ndarray
    rest: np.ndarray
    remains: np.ndarray


def loo_rows(path: AlphaPath, alphas: np.ndarray, *, units: bool) -> LooRows:
    """Leave out every row in turn, or one unit of its weight, at every alpha.

    Parameters
    ----------
    path : AlphaPath
        The decomposed rows.
    alphas : ndarray of shape (n_alphas,)
        Regularization strengths.
    units : bool
        Leave out one unit of weight (of rows that have less, all), not a row.

    Returns
    -------
    LooRows

    Examples
    --------
    >>> import numpy as np
    >>> from skrigidity.hessian import AlphaPath, Rows, loo_rows
    >>> rows = Rows(np.ones((3, 1)), rhs=np.array([0.0, 3.0, 6.0]))
    >>> left = loo_rows(AlphaPath(rows, None, 0.0), np.zeros(1), units=True)
    >>> left.residual[[0, 2], 0, 0], left.quad[:, 0]
    (array([-4.5,  4.5]), array([0.5, 0.5, 0.5]))
    """
    n, n_alphas, n_rhs = len(path.rows), len(alphas), path.rotated.shape[1]
    residual, quad = np.empty((n, n_alphas, n_rhs)), np.empty((n, n_alphas))
    h, rest, remains = np.empty((3, n, n_alphas))
    for block in path.blocks(alphas):
        left, lost = path.after(block, units)
        i = block.members
        residual[i] = block.residual / left[:, :, None]
        quad[i] = np.where(lost, np.inf, block.h / block.weight[:, None] / left)
        h[i], rest[i], remains[i] = block.h, block.rest, left
    out = path.weight[:, None]
    return LooRows(residual, quad, np.minimum(out, 1.0) if units else out, h, rest, remains)


def loo_variance(
    path: AlphaPath, alphas: np.ndarray, left: LooRows, *, units: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return how well every model that has not seen a row fits all others.

    Parameters
    ----------
    path : AlphaPath
        The decomposed rows.
    alphas : ndarray of shape (n_alphas,)
        Regularization strengths.
    left : LooRows
        What `loo_rows` returns for them.
    units : bool
        As there; n is then the total weight, else the number of rows.

    Returns
    -------
    rss : ndarray of shape (n_rows, n_alphas, n_rhs)
        Weighted residual sum of squares of what stays.
    dof : ndarray of shape (n_rows, n_alphas)
        Its residual degrees of freedom.

    Examples
    --------
    >>> import numpy as np
    >>> from skrigidity.hessian import AlphaPath, Rows, loo_rows, loo_variance
    >>> rows = Rows(np.ones((3, 1)), rhs=np.array([0.0, 3.0, 6.0]))
    >>> path, alphas = AlphaPath(rows, None, 0.0), np.zeros(1)
    >>> left = loo_rows(path, alphas, units=True)
    >>> rss, dof = loo_variance(path, alphas, left, units=True)
    >>> rss[:, 0, 0], dof[:, 0]
    (array([ 4.5, 18. ,  4.5]), array([1., 1., 1.]))
    """
    s, u = path.weight[:, None], left.out
    moved = left.residual * (u / np.sqrt(s))[:, :, None]
    if path.basis is not None:
        square, rss = _few(path, alphas, moved)
    else:
        fitted = left.residual * (left.remains * np.sqrt(s))[:, :, None]
        square, rss = _many(path, alphas, moved, left.rest, fitted)
    # What stays of a row that is left out in part has its leave-one-out residual.
    rss += (u * (s - u) / s)[:, :, None] * left.residual**2
    taken = square / left.remains
    if units:
        parts = left.rest * (1 - 1 / s) + left.h * (1 - u / s) + square / s
        taken = u / left.remains * parts
    n = path.weight.sum() if units else len(s)
    fixed = path.n_free + int(path.total > 0) + len(path.s)
    return rss, n - fixed + path.shrink(alphas).sum(axis=0) - taken


def _few(path: AlphaPath, alphas: np.ndarray, moved: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the diagonal of M @ M and ``|M (y - tau 1_i)|**2``, which loses no digit."""
    basis = path.basis
    assert basis is not None
    shrink = path.shrink(alphas)
    outside = np.einsum("ij,ij->i", basis.rest, basis.rest)[:, None]
    square = basis.left**2 @ shrink**2 + outside
    rss = np.empty(moved.shape)
    for a, t in np.ndindex(moved.shape[1:]):
        tau = moved[:, a, t, None]
        inside = (basis.rotated[:, t] - basis.left * tau) * shrink[:, a]
        beyond = basis.rest_rhs[:, t] - basis.rest * tau
        rss[:, a, t] = np.einsum("ij,ij->i", inside, inside)
        rss[:, a, t] += np.einsum("ij,ij->i", beyond, beyond)
    return square, rss


def _many(
    path: AlphaPath, alphas: np.ndarray, moved: np.ndarray, rest: np.ndarray, fitted: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the same from products: of many rows, one does not make up the sum of squares.

    `rest` is the diagonal of M and `fitted` is M y; M @ M takes from both what the hat matrix
    makes of them.
    """
    shrink = path.shrink(alphas)
    inverse = shrink / path.spectrum.denominators(alphas)
    filtered = path.s[:, None, None] * inverse[:, :, None] * path.rotated[:, None, :]
    square, twice = np.empty(rest.shape), np.empty(moved.shape)
    for piece in path.rows.blocks():
        z = path.coordinates(piece)[0]
        z *= np.sqrt(path.weight[piece, None])
        twice[piece] = fitted[piece] - times(z, filtered.reshape(len(z.T), -1)).reshape(
            twice[piece].shape
        )
        square[piece] = rest[piece] - times(np.square(z, out=z), inverse)
    whole = np.einsum("ka,kt->at", shrink**2, path.rotated**2) + path.left_over
    rss = whole - 2 * moved * twice + moved**2 * square[:, :, None]
    return square, np.maximum(rss, 0.0)
