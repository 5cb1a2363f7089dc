"""Every row left out, at many strengths: not only sums over rows, and other rows' forms.

With M the identity minus the hat matrix of the weighted rows, leaving out u units of a row's weight
s moves its weighted target by tau = u e / sqrt(s), e being its leave-one-out residual, and leaves
the residuals M (y - tau 1_i) to all others: their squares add up to a sum of squares again. To the
quadratic form of any other row it adds ``u c**2 / (1 - u q)``, c being its product with g and q
that of g with itself; a group adds ``sum_k (V.T c)_k**2 / r_k``, see `leave_groups`.
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np

from ..choose import choose
from ..prior import Prior
from ..rows import Array, Rows, row_squares
from ..spectral import SpectralFactor
from .groups import LeftGroups, affordable, fit_without, form_of
from .hat import coordinates, times
from .path import AlphaPath, LooRows

# Shares of a quadratic form below this are rounding.
_NOTHING = 1e-20
# What a fit leaves of a row: below this its products with other rows have lost their digits.
_NEXT_TO_NOTHING = 1e-6


def loo_rows(path: AlphaPath, alphas: Array, *, units: bool) -> LooRows:
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
    blocks = list(path.left_out(alphas, units=units))
    order = np.argsort(np.concatenate([block.members for block in blocks]))
    parts = zip(*(vars(block).values() for block in blocks), strict=True)
    return LooRows(*(np.concatenate(part)[order] for part in parts))


def loo_variance(
    path: AlphaPath, alphas: Array, left: LooRows, *, units: bool
) -> tuple[Array, Array]:
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
        square, rss = _many(path, alphas, moved, left.remainder, fitted)
    # What stays of a row that is left out in part has its leave-one-out residual.
    rss += (u * (s - u) / s)[:, :, None] * left.residual**2
    taken = square / left.remains
    if units:
        parts = left.remainder * (1 - 1 / s) + left.h * (1 - u / s) + square / s
        taken = u / left.remains * parts
    n = path.weight.sum() if units else len(s)
    fixed = path.n_free + int(path.total > 0) + len(path.s)
    return rss, n - fixed + path.shrink(alphas).sum(axis=0) - taken


def _few(path: AlphaPath, alphas: Array, moved: Array) -> tuple[Array, Array]:
    """Return the diagonal of M @ M and ``|M (y - tau 1_i)|**2``, which loses no digit."""
    basis = path.basis
    assert basis is not None
    shrink = path.shrink(alphas)
    square = basis.left**2 @ shrink**2 + row_squares(basis.remainder)[:, None]
    rss = np.empty(moved.shape)
    for a, t in np.ndindex(moved.shape[1:]):
        tau = moved[:, a, t, None]
        inside = (basis.rotated[:, t] - basis.left * tau) * shrink[:, a]
        beyond = basis.remainder_rhs[:, t] - basis.remainder * tau
        rss[:, a, t] = np.einsum("ij,ij->i", inside, inside)
        rss[:, a, t] += np.einsum("ij,ij->i", beyond, beyond)
    return square, rss


def _many(
    path: AlphaPath, alphas: Array, moved: Array, remainder: Array, fitted: Array
) -> tuple[Array, Array]:
    """Return the same from products: of many rows, one does not make up the sum of squares.

    `remainder` is the diagonal of M and `fitted` is M y; M @ M takes from both what the hat matrix
    makes of them.
    """
    shrink = path.shrink(alphas)
    inverse = shrink / path.spectrum.denominators(alphas)
    filtered = path.s[:, None, None] * inverse[:, :, None] * path.rotated[:, None, :]
    square, twice = np.empty(remainder.shape), np.empty(moved.shape)
    for piece, block in path.rows.numbered():
        z = path.coordinates(block)[0]
        z *= np.sqrt(path.weight[piece, None])
        twice[piece] = fitted[piece] - times(
            z, filtered.reshape(z.shape[1], moved[0].size)
        ).reshape(twice[piece].shape)
        square[piece] = remainder[piece] - times(np.square(z, out=z), inverse)
    whole = np.einsum("ka,kt->at", shrink**2, path.rotated**2) + path.left_over
    rss = whole - 2 * moved * twice + moved**2 * square[:, :, None]
    return square, np.maximum(rss, 0.0)


class OtherRows:
    """Quadratic forms of any rows, each without the training row that it goes with, or its group.

    Parameters
    ----------
    rows : Rows
        Training rows, none of weight zero.
    gamma : ndarray or None
        The regularizer's matrix or diagonal.
    alphas : ndarray of shape (n_alphas,)
        Regularization strengths.

    Examples
    --------
    >>> import numpy as np
    >>> from skrigidity.hessian import AlphaPath, OtherRows, Rows, loo_rows
    >>> rows, alphas = Rows(np.array([[1.0], [2.0]]), rhs=np.zeros(2)), np.array([1.0, 4.0])
    >>> left = loo_rows(AlphaPath(rows, None, 1.0), alphas, units=True)
    >>> others = OtherRows(rows, None, alphas)
    >>> others.without_row(left, Rows(np.ones((2, 1))), np.arange(2))
    array([[0.2  , 0.125],
           [0.5  , 0.2  ]])
    """

    def __init__(self, rows: Rows, gamma: Any, alphas: Array) -> None:
        self.rows, self.gamma, self.alphas = rows, gamma, alphas
        prior = Prior(float(alphas.min()), gamma)
        factor = cast(SpectralFactor, choose(rows, prior, method="spectral"))
        self.spectrum, self.centre = factor.spectrum, factor.centre
        self.factors = [factor.at(alpha) for alpha in alphas]
        self.inverse = 1 / factor.spectrum.denominators(alphas)
        pieces = [self._coordinates(block)[:2] for block in rows.blocks()]
        # Training rows have no part outside of the row space.
        self.inside, self.fixed = (np.concatenate(part) for part in zip(*pieces, strict=True))
        self.root = np.ones(len(rows)) if rows.weight is None else np.sqrt(rows.weight)

    def without_row(self, left: LooRows, others: Rows, sample: Array) -> Array:
        """Leave out one row of each other row, or a unit of it.

        Parameters
        ----------
        left : LooRows
            What `loo_rows` returns for the training rows.
        others : Rows
            Rows whose forms are asked for: environments, components.
        sample : ndarray of int of shape (n_others,)
            The training row that each goes with.

        Returns
        -------
        ndarray of shape (n_others, n_alphas)
            ``g.T @ inv(H) @ g``; inf where nothing else pins the prediction.
        """
        lost = np.isinf(left.quad)
        # 1 / (1 - u q) = 1 + u q', q' being the form of the row without itself: no difference.
        grown = left.out * (1 + left.out * np.where(lost, 0.0, left.quad))
        out = np.empty((len(others), len(self.alphas)))
        for piece, block in others.numbered():
            i = sample[piece]
            z, f, q = self._coordinates(block)
            c = (z * self.inside[i]) @ self.inverse
            c += np.einsum("ij,ij->i", f, self.fixed[i])[:, None]
            out[piece] = q + c**2 * grown[i]
        out[lost[sample]] = np.inf
        few = (left.remains < _NEXT_TO_NOTHING) & ~lost
        self._fit_again(out, few, np.arange(len(lost)), left.out[:, 0], others, sample)
        return out

    def without_group(self, left: LeftGroups, others: Rows, sample: Array) -> Array:
        """Leave out the whole group that the row of each other row is in.

        Parameters
        ----------
        left : LeftGroups
            What `leave_groups` returns for the training rows.
        others : Rows
            Rows whose forms are asked for.
        sample : ndarray of int of shape (n_others,)
            The training row that each goes with.

        Returns
        -------
        ndarray of shape (n_others, n_alphas)
            ``g.T @ inv(H) @ g``; inf where nothing else pins the prediction.
        """
        out = np.empty((len(others), len(self.alphas)))
        for g, group in enumerate(left.members):
            asked = np.flatnonzero(np.isin(sample, group))
            rows = others[asked]
            for piece, part in rows.numbered():
                z, f, q = self._coordinates(part)
                for a, block in enumerate(left.blocks):
                    vectors, values = block[g]
                    c = (z * self.inverse[:, a]) @ self.inside[group].T + f @ self.fixed[group].T
                    squares = (c * self.root[group] @ vectors) ** 2
                    kept = values > 0
                    lost = squares[:, ~kept].sum(axis=1) > _NOTHING * q[:, a]
                    q[:, a] += squares[:, kept] @ (1 / values[kept])
                    q[lost, a] = np.inf
                out[asked[piece]] = q
        few = np.array([[(v < _NEXT_TO_NOTHING).any() for _, v in b] for b in left.blocks]).T
        number = np.empty(len(self.root), dtype=int)
        for g, group in enumerate(left.members):
            number[group] = g
        self._fit_again(out, few, number, np.full(len(self.root), np.inf), others, sample)
        return out

    def _fit_again(
        self, out: Array, few: Array, number: Array, less: Array, others: Rows, sample: Array
    ) -> None:
        """Replace forms next to a leverage of 1, where most digits have cancelled."""
        asked = few[number[sample]] & np.isfinite(out)
        fits = sorted({(number[sample[k]], a) for k, a in np.argwhere(asked)})
        if not affordable(self.rows, len(fits)):
            return
        for g, a in fits:
            members, chosen = np.flatnonzero(number == g), np.flatnonzero(number[sample] == g)
            prior = Prior(float(self.alphas[a]), self.gamma)
            factor = fit_without(self.rows, prior, members, less[members])
            out[chosen, a] = form_of(factor, others[chosen])

    def _coordinates(self, rows: Rows) -> tuple[Array, Array, Array]:
        """Return rows along singular vectors, along what is not penalized, and their forms."""
        z, fixed = coordinates(rows, self.spectrum, self.centre)
        return z, fixed, np.stack([factor.quad(rows) for factor in self.factors], axis=1)
