"""What becomes of other predictions' rigidities when training rows are left out.

Leaving out u units of the row g adds ``u c**2 / (1 - u q)`` to the quadratic form of any other row,
c being its product with g and q that of g with itself. A group adds ``sum_k (V.T c)_k**2 / r_k``,
see `leave_groups`. One spectrum serves all strengths and all rows.
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np

from ._choose import choose
from ._leave_groups import LeftGroups
from ._loo_rows import LooRows
from ._prior import Prior
from ._rows import Rows
from ._spectral import SpectralFactor

# Shares of a quadratic form below this are rounding.
_NOTHING = 1e-20


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

    def __init__(self, rows: Rows, gamma: Any, alphas: np.ndarray) -> None:
        self.alphas = alphas
        features = Rows(rows.matrix, weight=rows.weight, intercept=rows.intercept)
        prior = Prior(float(alphas.min()), gamma)
        self.factor = cast(SpectralFactor, choose(features, prior, method="spectral"))
        self.inverse = 1 / self.factor.spectrum.denominators(alphas)
        pieces = [self._coordinates(features, piece)[:2] for piece in features.blocks()]
        # Training rows have no part outside of the row space.
        self.inside, self.fixed = (np.concatenate(part) for part in zip(*pieces, strict=True))
        self.root = np.ones(len(rows)) if rows.weight is None else np.sqrt(rows.weight)

    def without_row(self, left: LooRows, others: Rows, sample: np.ndarray) -> np.ndarray:
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
        for piece in others.blocks():
            i = sample[piece]
            z, f, q = self._coordinates(others, piece)
            c = (z * self.inside[i]) @ self.inverse
            c += np.einsum("ij,ij->i", f, self.fixed[i])[:, None]
            out[piece] = q + c**2 * grown[i]
        out[lost[sample]] = np.inf
        return out

    def without_group(self, left: LeftGroups, others: Rows, sample: np.ndarray) -> np.ndarray:
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
            for piece in rows.blocks():
                z, f, q = self._coordinates(rows, piece)
                for a, block in enumerate(left.blocks):
                    vectors, values = block[g]
                    c = (z * self.inverse[:, a]) @ self.inside[group].T + f @ self.fixed[group].T
                    squares = (c * self.root[group] @ vectors) ** 2
                    kept = values > 0
                    lost = squares[:, ~kept].sum(axis=1) > _NOTHING * q[:, a]
                    q[:, a] += squares[:, kept] @ (1 / values[kept])
                    q[lost, a] = np.inf
                out[asked[piece]] = q
        return out

    def _coordinates(self, rows: Rows, piece: slice) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return rows along singular vectors, along what is not penalized, and their forms."""
        factor, form = self.factor, self.factor.spectrum.form
        block, flags = factor._block(rows, piece)
        factor.centre.subtract(block, flags)
        fixed = [] if form.free is None else [block @ form.free]
        if factor.has_intercept and factor.centre.weight > 0:
            fixed.append((flags / np.sqrt(factor.centre.weight))[:, None])
        z = form.apply(block) @ factor.spectrum.vectors
        q = factor.spectrum.quad(block, self.alphas)
        q += np.broadcast_to(factor._intercept_quad(flags), len(block))[:, None]
        return z, np.hstack(fixed) if fixed else np.zeros((len(block), 0)), q
