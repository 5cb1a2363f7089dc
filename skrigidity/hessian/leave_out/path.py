"""Leave-one-out errors and evidence at many regularization strengths, from one decomposition."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..gram import GramAccumulator, gram_of
from ..prior import Prior
from ..rows import EPS, Array, Rows, block_rows
from ..spectral import spectrum_of_gram
from ..tsqr import TSQRAccumulator
from .basis import BasisHat, LeftBasis
from .hat import LeftBatch, LeftOut, collected, members_of
from .products import Coordinates, SpectralHat
from .refit import left_out

# Eigenvalues of the normal equations, and what they say of the data, are good to this.
_PROMISED = 2e-8
# Residual sums of squares below this share of the total have lost their digits in moments.
_FIRM = 1e-9
# Numbers per array of left-out groups, above which groups are taken in turn.
_AT_A_TIME = 2**23


class AlphaPath:
    """One decomposition of the rows for every alpha.

    Parameters
    ----------
    rows : Rows
        Training rows with right-hand sides, none of weight zero.
    gamma : ndarray, default=None
        The regularizer's matrix or diagonal.
    lowest : float
        The smallest alpha that will be asked for.

    Examples
    --------
    >>> import numpy as np
    >>> from skrigidity.hessian import AlphaPath, Rows
    >>> rows = Rows(np.arange(6.0)[:, None], intercept=True, rhs=np.arange(6.0) % 2)
    >>> path = AlphaPath(rows, None, lowest=1.0)
    >>> left = path.leave_out(np.array([1.0, 10.0]), units=True)
    >>> (left.residual[:, :, 0] ** 2).sum(axis=0).round(2)
    array([2.87, 2.58])
    """

    def __init__(self, rows: Rows, gamma: Any, lowest: float) -> None:
        self.rows = rows
        self.prior = Prior(1.0)
        self.prior.gamma = gamma
        self.weight = np.ones(len(rows)) if rows.weight is None else rows.weight
        self.stream: GramAccumulator | None = None
        # An explicit basis of all rows costs about as much as the features.
        few = len(rows) <= 2 * rows.n_features + 2
        self.of = LeftBasis(rows[:], self.prior, lowest) if few else self._decomposed(lowest)

    def _decomposed(self, lowest: float) -> Coordinates:
        rows, stream = self.rows, gram_of(self.rows)
        centre = stream.running.finish(stream.spread())
        rhs_mean = stream.running_rhs.rounded()
        if self.prior.gamma is None:
            found = spectrum_of_gram(stream.gram, stream.cross, stream.square, len(rows))
            squares = found.s**2 + lowest
            firm = (found.left_over >= _FIRM * stream.square).all()
            if firm and EPS * stream.loss * squares.max() <= _PROMISED * squares.min():
                self.stream = stream
                # Means that were subtracted from the moments may be so from products as well.
                return Coordinates(found, centre, rhs_mean, small_mean=stream.loss != 1)
        exact = TSQRAccumulator(rows.n_features, rows.n_rhs).add(rows)
        return Coordinates(exact.spectrum(self.prior), centre, rhs_mean)

    def _hat(self, alphas: Array) -> BasisHat | SpectralHat:
        if isinstance(self.of, LeftBasis):
            return BasisHat(self.of, alphas)
        return SpectralHat(self.rows, self.of, alphas)

    def evidence(self, alphas: Array, n: float, log_weights: float) -> Array:
        """Return the log marginal likelihood, intercept integrated out, noise at its optimum.

        Parameters
        ----------
        alphas : ndarray of shape (n_alphas,)
            Positive strengths.
        n : float
            Number of samples.
        log_weights : float
            Sum of the logarithms of the weights, where these are inverse variances.
        """
        shrink, total = self.of.shrinkage(alphas)[0], self.of.total
        loss = np.einsum("ka,kt->at", shrink, self.of.rotated**2) + self.of.left_over
        # Fewer samples than unpenalized parameters tell as little as exactly as many.
        left = max(n - self.of.n_fixed, 0.0)
        logs = np.zeros_like(loss)
        if left > 0:
            with np.errstate(divide="ignore"):
                logs = left * (np.log(2 * np.pi * loss / left) + 1)
        determinant = -np.log(np.where(shrink > 0, shrink, 1.0)).sum(axis=0)
        if total > 0:
            determinant = determinant + np.log(total)
        return -0.5 * (logs + (determinant - log_weights)[:, None])

    def left_out(
        self, alphas: Array, groups: Array | None = None, *, units: bool
    ) -> Iterator[LeftBatch]:
        """Iterate over batches of what `leave_out` returns."""
        own = units and groups is None
        out = np.minimum(self.weight, 1.0) if own else self.weight
        members = members_of(np.arange(len(self.rows)) if groups is None else groups)
        return left_out(self._hat(alphas), members, out, self.rows, self.prior, alphas)

    def leave_out(self, alphas: Array, groups: Array | None = None, *, units: bool) -> LeftOut:
        """Leave out every row, one unit of its weight or its group, at every alpha.

        Parameters
        ----------
        alphas : ndarray of shape (n_alphas,)
            Regularization strengths.
        groups : ndarray of int of shape (n_rows,), default=None
            Number of every row's group, from 0.
        units : bool
            Weights count repetitions: leave out one unit of weight (of rows that have less, all),
            not a row. Groups are left out whole.

        Returns
        -------
        LeftOut
            Residuals of shape (n_rows, n_alphas, n_rhs), forms of shape (n_rows, n_alphas).

        Examples
        --------
        >>> import numpy as np
        >>> from skrigidity.hessian import AlphaPath, Rows
        >>> rows = Rows(np.ones((3, 1)), rhs=np.array([0.0, 3.0, 6.0]))
        >>> left = AlphaPath(rows, None, 0.0).leave_out(np.zeros(1), units=True)
        >>> left.residual[[0, 2], 0, 0], left.quad[:, 0]
        (array([-4.5,  4.5]), array([0.5, 0.5, 0.5]))
        """
        return collected(self.left_out(alphas, groups, units=units), len(self.rows))

    def variance(self, alphas: Array, left: LeftOut, *, units: bool) -> tuple[Array, Array]:
        """Return how well every model that has not seen a row, or its group, fits all others.

        With M the identity minus the hat matrix, leaving out a weight u of rows of weight s moves
        their weighted targets by ``tau = u e / sqrt(s)``, e being their leave-out residuals. That
        leaves ``M @ (y - E_G tau)`` to all others, and their degrees of freedom drop by the trace
        of ``inv(M_GG) @ (M @ M)_GG``.

        Parameters
        ----------
        alphas : ndarray of shape (n_alphas,)
            Regularization strengths.
        left : LeftOut
            What `leave_out` returns for them.
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
        >>> from skrigidity.hessian import AlphaPath, Rows
        >>> rows = Rows(np.ones((3, 1)), rhs=np.array([0.0, 3.0, 6.0]))
        >>> path, alphas = AlphaPath(rows, None, 0.0), np.zeros(1)
        >>> left = path.leave_out(alphas, units=True)
        >>> rss, dof = path.variance(alphas, left, units=True)
        >>> rss[:, 0, 0], dof[:, 0]
        (array([ 4.5, 18. ,  4.5]), array([1., 1., 1.]))
        """
        hat = self._hat(alphas)
        dof = len(self.rows) - len(hat.shrink) + hat.shrink.sum(axis=0)
        if isinstance(hat, BasisHat):
            dof = hat.shrink.sum(axis=0)
        if units:
            dof = dof + self.weight.sum() - len(self.rows)
        all_rss, all_dof = np.empty_like(left.residual), np.empty_like(left.quad)
        for batch in self._pieces(left, hat.width):
            s = self.weight[batch.members]
            share = batch.out / s
            moved = batch.residual * (share * np.sqrt(s))[..., None, None]
            square, rss = hat.others(batch, moved)
            # What stays of a row that is left out in part has its leave-one-out residual.
            rss += np.einsum("mk,mkat->mat", batch.out * (1 - share), batch.residual**2)
            taken = (share[:, None] * batch.inverse * square).sum(axis=2)
            if units:
                whole = np.where(batch.inverse > 0, batch.remainder * batch.inverse, 1.0)
                taken += batch.out.sum(axis=1)[:, None] - (share[:, None] * whole).sum(axis=2)
            all_rss[batch.members], all_dof[batch.members] = rss[:, None], (dof - taken)[:, None]
        return all_rss, all_dof

    def _pieces(self, left: LeftOut, width: int) -> Iterator[LeftBatch]:
        """Iterate over all rows, or over groups, at most as many at a time as fit in memory."""
        n, size = len(self.rows), left.residual[0].size
        beside = size * min(n, block_rows(self.rows.n_features))
        for batch in left.batches:
            step = max(1, _AT_A_TIME // max(1, beside, batch.members.shape[1] * width))
            step = n if len(batch.members) == n else step
            for start in range(0, len(batch.members), step):
                yield LeftBatch(*(part[start : start + step] for part in batch))
