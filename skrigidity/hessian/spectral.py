"""Spectral factor: singular values of the rows, the regularizer added to their squares.

With the rows ``S^(1/2) X = U diag(s) V.T`` (in standard form),

    q = sum_k (v_k . g)^2 / (s_k^2 + alpha)  +  |g - V V.T g|^2 / alpha.

alpha enters exactly, whatever its size; fewer rows than features need only as many vectors as
rows; and alpha = 0 leaves what the rows determine.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.linalg as sl

from .factor import PROMISED, UNPINNED, Centre, Factor, FactorInfo, Solution, UnpinnedError
from .prior import Prior, StandardForm, standard_form
from .rows import EPS, Array, check_squares, row_squares

# What singular vectors from a Gram matrix must promise.
_PROMISED_GRAM = 1e-11
_SMALLEST = 1e-150


@dataclass
class Spectrum:
    """Singular values and vectors of rows in standard form, independent of alpha.

    Attributes
    ----------
    form : StandardForm
        What the regularizer makes of the rows.
    s, vectors : ndarray of shape (rank,) and (n_penalized, rank)
        Singular values and right vectors.
    rotated, free_rhs : ndarray of shape (rank, n_rhs) and (n_free, n_rhs)
        Right-hand sides along the left vectors, and along the unpenalized directions.
    left_over : ndarray of shape (n_rhs,)
        Squares of what is left of the right-hand sides.
    tolerance : float
        Singular values up to this count as zero where alpha = 0.
    turned : float
        By how much rounding may have turned the vectors out of the row space.
    """

    form: StandardForm
    s: Array
    vectors: Array
    rotated: Array
    free_rhs: Array
    left_over: Array
    tolerance: float
    turned: float = EPS

    def denominators(self, alphas: Array) -> Array:
        """Return ``s_k^2 + alpha`` of shape (rank, n_alphas); inf where alpha = 0 sees nothing."""
        unseen = (self.s <= self.tolerance)[:, None] & (alphas == 0)
        return np.where(unseen, np.inf, self.s[:, None] ** 2 + alphas)


def spectrum_of(rows: Array, rhs: Array, prior: Prior, *, n_rows: int, max_rank: int) -> Spectrum:
    """Decompose centred, weighted rows, or anything with the same Gram matrix.

    `n_rows` sets the rank tolerance, `max_rank` is what `n_rows` centred rows can have.
    """
    check_squares(np.append(row_squares(rows.T), row_squares(rhs.T)), rows.shape[1])
    form, rows, rhs, projected = standard_form(rows, rhs, prior)
    left = max_rank - form.free.shape[1]
    rank = min(len(rows), form.n_penalized, max(0, left))
    u, s, vectors, turned = _decomposed(rows, rank, prior.alpha)
    if form.n_penalized < rows.shape[1]:
        # What has no singular value may lie along free columns, which are zero here.
        kept = s > EPS * s.max(initial=0.0)
        u, s, vectors = u[:, kept], s[kept], vectors[:, kept]
    if prior.alpha == 0 and 0 < s.max(initial=0.0) < _SMALLEST:
        raise ValueError("X holds values below 1e-150 only: their squares vanish")
    tolerance = max(n_rows, len(vectors)) * EPS * float(s.max(initial=form.scale))
    rotated = u.T @ rhs
    # When the rows span everything they can, nothing of the right-hand side is left over.
    rest = 0 * rhs if rank == left else rhs - u @ rotated
    return Spectrum(form, s, vectors, rotated, projected, row_squares(rest.T), tolerance, turned)


def spectrum_of_gram(gram: Array, cross: Array, square: Array, n_rows: int) -> Spectrum:
    """Decompose a Gram matrix, of which the upper triangle counts.

    For the identity regularizer and well-conditioned rows only. By SciPy's library, as what comes
    before and after: the idle threads of two libraries get into each other's way.
    """
    # For a single column SciPy 1.11 gives "evd" too little memory.
    values, vectors = sl.eigh(gram, lower=False, driver="evd" if len(gram) > 1 else None)
    s = np.sqrt(np.maximum(values[::-1], 0.0))
    vectors = np.ascontiguousarray(vectors[:, ::-1])
    rotated = (vectors.T @ cross) / np.where(s > 0, s, np.inf)[:, None]
    tolerance = max(n_rows, len(gram)) * EPS * float(s.max(initial=0.0))
    left_over = np.maximum(square - row_squares(rotated.T), 0.0)
    form, _, _, free_rhs = standard_form(gram[:0], cross[:0], Prior())
    return Spectrum(form, s, vectors, rotated, free_rhs, left_over, tolerance)


@dataclass(eq=False, repr=False)
class SpectralFactor(Factor):
    """A spectrum at one alpha.

    Parameters
    ----------
    spectrum : Spectrum
        Singular values and vectors of the centred rows.
    centre : Centre
        Mean of the training rows.
    prior : Prior
        The regularizer.
    reason : str
        Why this factorization was chosen.
    rounding : callable
        Returns what was lost before the decomposition, for a prior.

    Examples
    --------
    >>> import numpy as np
    >>> from skrigidity.hessian import Prior, choose
    >>> factor = choose(np.array([[3.0, 4.0]]), Prior(1.0), method="spectral")
    >>> factor.quad(np.array([[3.0, 4.0], [-4.0, 3.0]])).round(3)
    array([ 0.962, 25.   ])
    """

    spectrum: Spectrum
    centre: Centre
    prior: Prior
    reason: str
    rounding: Callable[[Prior], float]

    def __post_init__(self) -> None:
        spectrum, form, alpha = self.spectrum, self.spectrum.form, self.prior.alpha
        self.n_features = len(self.centre.mean)
        self._values = spectrum.denominators(np.array([alpha]))[:, 0]
        self._lost = np.isinf(self._values)
        self._shrink = np.where(self._lost, 1.0, alpha / self._values)
        values = self._values[~self._lost]
        pinned = form.n_penalized if alpha > 0 else len(values)
        if len(spectrum.s) < pinned:  # alpha > 0, and the vectors do not span all parameters
            values = np.append(values, alpha)
        condition = float(values.max() / values.min()) if len(values) else 1.0
        rank = form.free.shape[1] + int(self.has_intercept) + pinned
        accuracy = self._accuracy(condition, float(values.min(initial=np.inf)))
        self.info = FactorInfo("spectral", condition, rank, accuracy, self.reason)
        if len(self.centre.rhs):
            # Within the rounding of the rows, a direction is one that they do not have.
            seen = np.where(spectrum.s > spectrum.tolerance, spectrum.s, 0.0)
            filtered = (seen / self._values)[:, None] * spectrum.rotated
            coef = form.back(spectrum.vectors @ filtered) + form.free @ spectrum.free_rhs
            rss = self._shrink**2 @ spectrum.rotated**2 + spectrum.left_over
            self.solution = Solution(coef, self.centre.intercept(coef), rss)

    def at(self, alpha: float) -> Factor:
        """Return the factor of the same rows at another regularization strength.

        Parameters
        ----------
        alpha : float
            The new strength.

        Returns
        -------
        Factor
            The factor at this strength.
        """
        out = replace(self, prior=self.prior.with_alpha(alpha))
        out.source = self.source
        if out.info.accuracy > max(PROMISED, self.info.accuracy) and self.source is not None:
            # A Gram matrix of the rows was enough for the former alpha only.
            return self.source.finish(out.prior)
        return out

    def _accuracy(self, condition: float, least: float) -> float:
        """Estimate the relative error of q, `least` being the smallest eigenvalue of H.

        Rounding turns singular vectors, also out of the row space, and leaves a part outside in
        rows of it, or of the free directions: that counts by 1 / alpha.
        """
        spectrum, form = self.spectrum, self.spectrum.form
        # The first is of scaled columns, the second does without dependent ones.
        before = min(self.rounding(self.prior), EPS * float(np.sqrt(condition)))
        high = spectrum.turned * spectrum.s.max(initial=0.0) + 2 * EPS * form.scale
        estimate = before + 4 * max(16 * EPS, spectrum.turned) + form.error
        return min(1.0, estimate + float(high / np.sqrt(least)))

    def _split(self, block: Array) -> tuple[Array, Array]:
        """Return the coordinates of rows in the row space, and their parts outside of it."""
        vectors = self.spectrum.vectors
        inside = block @ vectors
        if vectors.shape[0] == vectors.shape[1]:
            return inside, block[:, :0]
        outside = block - inside @ vectors.T
        near = row_squares(outside) < 0.49 * row_squares(block)
        outside[near] -= (outside[near] @ vectors) @ vectors.T
        return inside, outside

    def _split_norms(self, block: Array) -> tuple[Array, Array]:
        """Return the same with norms of the parts outside, by Pythagoras where they are large."""
        inside, squares = block @ self.spectrum.vectors, row_squares(block)
        outside = squares - row_squares(inside)
        near = outside < 0.49 * squares
        outside[near] = row_squares(self._split(block[near])[1])
        return inside, np.sqrt(outside)[:, None]

    def _parts(self, block: Array, split: Callable) -> tuple[list[Array], Array, Array]:
        """Return coordinates whose squares add up to q, which rows nothing pins, and a factor.

        Along the singular vectors, outside of them, and along the free directions.
        """
        form, s, alpha = self.spectrum.form, self.spectrum.s, self.prior.alpha
        size = np.ones(1)
        if alpha == 0:
            # What is outside of the row space is so at any size.
            size = np.abs(block).max(axis=1, initial=0.0)
            size[size == 0] = 1.0
            block = block / size[:, None]
        inside, outside = split(form.apply(block))
        lost = form.outside(block)
        if alpha == 0:
            unseen = row_squares(inside[:, self._lost]) + row_squares(outside)
            # Rounding turns the row space by eps times the condition of its directions.
            kept = s[~self._lost]
            turned = kept[0] / kept[-1] if len(kept) else 1.0
            limit = max(100.0, turned) * self.spectrum.tolerance
            limit /= max(s.max(initial=form.scale), _SMALLEST)
            lost |= unseen > limit**2 * row_squares(form.before(block))
            outside = outside[:, :0]
        else:
            outside /= np.sqrt(alpha)
        inside /= np.sqrt(self._values)
        return [inside, outside, block @ form.free], lost, size

    def _quad(self, block: Array) -> Array:
        parts, lost, size = self._parts(block, self._split_norms)
        squares = sum(row_squares(part) for part in parts if part.shape[1])
        return np.where(lost, np.inf, squares * size**2)

    def _whiten(self, block: Array) -> Array:
        (inside, outside, free), lost, size = self._parts(block, self._split)
        if lost.any():
            raise UnpinnedError(UNPINNED)
        if outside.shape[1]:
            # Orthogonal parts: back in feature coordinates they add up to as many columns.
            inside = inside @ self.spectrum.vectors.T + outside
        z = np.hstack([inside, free]) if free.shape[1] else inside
        return z if self.prior.alpha > 0 else z * size[:, None]

    def residual_dof(self, n: float) -> float:
        """Return n minus the effective degrees of freedom, as a sum.

        Parameters
        ----------
        n : float
            Number of samples, or the sum of their weights.

        Returns
        -------
        float
            What is left of n.
        """
        rest = n - int(self.has_intercept) - self.spectrum.form.free.shape[1]
        return float(rest - len(self._shrink) + self._shrink.sum())


def _decomposed(rows: Array, rank: int, alpha: float) -> tuple[Any, Any, Any, float]:
    """Return left vectors, values, right vectors (d, rank), and how far rounding turns them.

    Well-conditioned wide rows: from their Gram matrix, several times as fast.
    """
    if rank and len(rows) < rows.shape[1] and alpha > 0:
        values, u = np.linalg.eigh(rows @ rows.T)
        values, u = values[: -rank - 1 : -1], u[:, : -rank - 1 : -1]
        if values[-1] > 0:
            turned, s = EPS * float(values[0] / values[-1]), np.sqrt(values)
            if turned * max(1.0, s[0] / np.sqrt(alpha)) <= _PROMISED_GRAM:
                return u, s, rows.T @ (u / s), turned
    u, s, vt = np.linalg.svd(rows, full_matrices=False)
    return u[:, :rank], s[:rank], np.ascontiguousarray(vt[:rank].T), EPS
