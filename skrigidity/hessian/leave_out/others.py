"""Quadratic forms of any rows, each without the training row, or the group, that it goes with."""

from __future__ import annotations

from typing import Any, cast

import numpy as np

from ..choose import choose
from ..prior import Prior
from ..rows import Array, Rows
from ..spectral import SpectralFactor
from .hat import LeftBatch, LeftOut
from .products import Coordinates
from .refit import Refit, form_of, refitted

# Shares of a quadratic form below this are rounding.
_NOTHING = 1e-20
# One over what a fit leaves of a row: above this its products with other rows have lost digits.
_LARGE = 1e6
# Entries of an array of products of rows with groups.
_ENTRIES = 2**21


class OtherRows:
    """Quadratic forms of any rows, each without the training row that it goes with, or its group.

    Leaving out a group adds ``|V.T c|_k**2 / r_k`` to the form of a row, c being its products with
    the group and r_k what remains along the eigenvectors V.

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
    >>> from skrigidity.hessian import AlphaPath, OtherRows, Rows
    >>> rows, alphas = Rows(np.array([[1.0], [2.0]]), rhs=np.zeros(2)), np.array([1.0, 4.0])
    >>> left = AlphaPath(rows, None, 1.0).leave_out(alphas, units=True)
    >>> others = OtherRows(rows, None, alphas)
    >>> others.without(left, Rows(np.ones((2, 1))), np.arange(2))
    array([[0.2  , 0.125],
           [0.5  , 0.2  ]])
    """

    def __init__(self, rows: Rows, gamma: Any, alphas: Array) -> None:
        self.rows, self.alphas = rows, alphas
        self.prior = Prior(float(alphas.min()), gamma)
        factor = cast(SpectralFactor, choose(rows, self.prior, method="spectral"))
        self.factors = [factor.at(alpha) for alpha in alphas]
        self.coordinates = Coordinates(factor.spectrum, factor.centre, factor.rhs_mean)
        self.inverse = self.coordinates.shrinkage(alphas)[1]
        # Training rows have no part outside of the row space.
        self.inside = np.concatenate([self.coordinates(block) for block in rows.blocks()])

    def without(self, left: LeftOut, others: Rows, sample: Array) -> Array:
        """Leave out what `left` leaves out of the row that each other row goes with.

        Parameters
        ----------
        left : LeftOut
            What `AlphaPath.leave_out` returns for the training rows.
        others : Rows
            Rows whose forms are asked for: environments, components.
        sample : ndarray of int of shape (n_others,)
            The training row that each goes with.

        Returns
        -------
        ndarray of shape (n_others, n_alphas)
            ``g.T @ inv(H) @ g``; inf where nothing else pins the prediction.
        """
        place = np.empty((2, len(self.rows)), dtype=int)
        for b, batch in enumerate(left.batches):
            place[0, batch.members] = b
            place[1, batch.members] = np.arange(len(batch.members))[:, None]
        number, group = place[:, sample]
        out = np.empty((len(others), len(self.alphas)))
        for piece, rows in others.numbered():
            z = self.coordinates(rows)
            out[piece] = np.stack([factor.quad(rows) for factor in self.factors], axis=1)
            for b, batch in enumerate(left.batches):
                here = np.flatnonzero(number[piece] == b)
                step = max(1, _ENTRIES // max(1, batch.members.shape[1] * z.shape[1]))
                for start in range(0, len(here), step):
                    part = here[start : start + step]
                    self._grow(out, part + piece.start, z[part], batch, group[piece][part])
        self._fit_again(out, left, others, number, group)
        return out

    def _grow(self, out: Array, where: Array, z: Array, batch: LeftBatch, group: Array) -> None:
        """Add to forms what they gain by their group being left out."""
        members, inverse = batch.members[group], batch.inverse[group]
        c = (z[:, None] * self.inside[members]) @ self.inverse
        c *= np.sqrt(batch.out[group])[:, :, None]
        turned = np.einsum("makj,mka->maj", batch.vectors[group], c)
        lost = (turned**2 * (inverse == 0)).sum(axis=2) > _NOTHING * out[where]
        out[where] = np.where(lost, np.inf, out[where] + (turned**2 * inverse).sum(axis=2))

    def _fit_again(
        self, out: Array, left: LeftOut, others: Rows, number: Array, group: Array
    ) -> None:
        """Replace forms next to a leverage of 1, where most digits have cancelled."""
        asked, chosen = [], []
        for b, batch in enumerate(left.batches):
            for g, a in np.argwhere((batch.inverse > _LARGE).any(axis=2)):
                mine = np.flatnonzero((number == b) & (group == g) & np.isfinite(out[:, a]))
                if len(mine):
                    asked.append(Refit(batch.members[g], batch.out[g], a))
                    chosen.append(mine)
        fits = refitted(self.rows, self.prior, self.alphas, asked)
        for fit, mine, factor in zip(asked, chosen, fits, strict=False):
            out[mine, fit.a] = form_of(factor, others[mine])
