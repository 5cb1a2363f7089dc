"""Leave-one-out errors and evidence at many regularization strengths, from one decomposition."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import numpy as np

from ..choose import choose
from ..gram import GramAccumulator, gram_of
from ..prior import Prior
from ..rows import EPS, Array, Rows
from ..spectral import SpectralFactor, spectrum_of_gram
from ..triangular import TSQRAccumulator
from .basis import BasisHat
from .hat import ENTRIES, LeftBatch, LeftOut, form_of
from .products import SpectralHat

# Eigenvalues of the normal equations, and what they say of the data, are good to this.
_PROMISED = 2e-8
# Residual sums of squares below this share of the total have lost their digits in moments.
_FIRM = 1e-9
# Shares of a quadratic form below this are rounding.
_NOTHING = 1e-20
# One over what a fit leaves of a row: above this its products with other rows have lost digits.
_LARGE = 1e6


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
        self.stream: GramAccumulator | None = None
        # An explicit basis of all rows costs about as much as the features.
        few = len(rows) <= 2 * rows.n_features + 2
        self.hat: BasisHat | SpectralHat
        self.hat = BasisHat(rows[:], self.prior, lowest) if few else self._many(lowest)

    def _many(self, lowest: float) -> SpectralHat:
        rows, stream = self.rows, gram_of(self.rows)
        if self.prior.gamma is None:
            found = spectrum_of_gram(stream.gram, stream.cross, stream.square, len(rows))
            squares = found.s**2 + lowest
            firm = (found.left_over >= _FIRM * stream.square).all()
            if firm and EPS * stream.loss * squares.max() <= _PROMISED * squares.min():
                self.stream = stream
                centre = stream.running.finish(np.diag(stream.gram))
                factor = SpectralFactor(
                    found, centre, self.prior, "one for all alphas", lambda prior: 0.0
                )
                # Means that were subtracted from the moments may be so from products as well.
                return SpectralHat(rows, factor, small_mean=stream.loss != 1)
        exact = TSQRAccumulator(rows.n_features, rows.n_rhs).add(rows)
        return SpectralHat(rows, exact.spectral(self.prior, "one for all alphas"))

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

        Returns
        -------
        ndarray of shape (n_alphas,)
            Logarithms of the likelihood.
        """
        hat = self.hat.at(alphas)
        loss = hat.loss
        # Fewer samples than unpenalized parameters tell as little as exactly as many.
        left = max(n - hat.n_fixed, 0.0)
        logs = np.zeros_like(loss)
        if left > 0:
            with np.errstate(divide="ignore"):
                logs = left * (np.log(2 * np.pi * loss / left) + 1)
        determinant = -np.log(np.where(hat.shrink > 0, hat.shrink, 1.0)).sum(axis=0)
        if hat.total > 0:
            determinant = determinant + np.log(hat.total)
        return -0.5 * (logs + (determinant - log_weights)[:, None])

    def left_out(
        self, alphas: Array, groups: Array | None = None, *, units: bool
    ) -> Iterator[LeftBatch]:
        """Iterate over batches of what `leave_out` returns.

        Parameters
        ----------
        alphas : ndarray of shape (n_alphas,)
            Strengths of the regularizer.
        groups : ndarray of int of shape (n_rows,), default=None
            Rows of one group are left out together; None leaves out each alone.
        units : bool
            Whether one unit of a row's weight is left out, not all of it.

        Returns
        -------
        iterator of LeftBatch
            Batches of groups of equal size.
        """
        return self.hat.at(alphas, units=units and groups is None).left_out(groups)

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
        return self.hat.at(alphas, units=units and groups is None).leave_out(groups)

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
        hat = self.hat.at(alphas)
        dof = hat.n_beyond + hat.shrink.sum(axis=0)
        if units:
            dof = dof + hat.weight.sum() - len(self.rows)
        all_rss, all_dof = np.empty_like(left.residual), np.empty_like(left.quad)
        for batch in left.batches:
            share = batch.out / hat.weight[batch.members]
            square, rss = hat.others(batch, share)
            # What stays of a row that is left out in part has its leave-one-out residual.
            rss += np.einsum("mk,mkat->mat", batch.out * (1 - share), batch.residual**2)
            taken = (share[:, None] * batch.inverse * square).sum(axis=2)
            if units:
                whole = np.where(batch.inverse > 0, batch.remainder * batch.inverse, 1.0)
                taken += batch.out.sum(axis=1)[:, None] - (share[:, None] * whole).sum(axis=2)
            all_rss[batch.members], all_dof[batch.members] = rss[:, None], (dof - taken)[:, None]
        return all_rss, all_dof


class OtherRows:
    """Quadratic forms of any rows, each without the training row that it goes with, or its group.

    Leaving out a group adds ``sum_k (V.T c)_k**2 / r_k`` to the form of a row, c being its products
    with the group and r_k what remains along the eigenvectors V.

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
        prior = Prior(float(alphas.min()), gamma)
        factor = cast(SpectralFactor, choose(rows, prior, method="spectral"))
        self.factors = [factor.at(alpha) for alpha in alphas]
        self.hat = SpectralHat(rows, factor).at(alphas)
        # Training rows have no part outside of the row space.
        self.inside = np.concatenate([self.hat.coordinates(block) for block in rows.blocks()])

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
        out = np.empty((len(others), len(self.factors)))
        asked, chosen = [], []
        for batch in left.batches:
            place = np.full(len(self.inside), -1)
            place[batch.members] = np.arange(len(batch.members))[:, None]
            group = place[sample]
            mine = np.flatnonzero(group >= 0)
            step = max(1, ENTRIES // (batch.members.shape[1] * max(1, self.inside.shape[1])))
            for start in range(0, len(mine), step):
                part = mine[start : start + step]
                out[part] = self._grown(others[part], batch, group[part])
            # Next to a leverage of 1 most digits have cancelled.
            for g, a in np.argwhere((batch.inverse > _LARGE).any(axis=2)):
                own = mine[(group[mine] == g) & np.isfinite(out[mine, a])]
                if len(own):
                    asked.append((batch.members[g], batch.out[g], a))
                    chosen.append(own)
        fits = self.hat.fitted_without(asked)
        for (*_, a), own, factor in zip(asked, chosen, fits, strict=False):
            out[own, a] = form_of(factor, others[own])
        return out

    def _grown(self, others: Rows, batch: LeftBatch, group: Array) -> Array:
        """Return forms with what they gain by their group being left out."""
        z, inverse = self.hat.coordinates(others), batch.inverse[group]
        c = (z[:, None] * self.inside[batch.members[group]]) @ self.hat.inverse
        c *= np.sqrt(batch.out[group])[:, :, None]
        squares = np.einsum("makj,mka->maj", batch.vectors[group], c) ** 2
        quad = np.stack([factor.quad(others) for factor in self.factors], axis=1)
        lost = (squares * (inverse == 0)).sum(axis=2) > _NOTHING * quad
        return np.where(lost, np.inf, quad + (squares * inverse).sum(axis=2))
