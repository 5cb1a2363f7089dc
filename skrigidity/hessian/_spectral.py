"""Spectral factor: singular values of the rows, the regularizer added to their squares.

With the rows ``S^(1/2) X = U diag(s) V.T`` (in standard form, `_standard_form`),

    q = sum_k (v_k . g)^2 / (s_k^2 + alpha)  +  |g - V V.T g|^2 / alpha.

alpha enters exactly, whatever its size; fewer rows than features need only as many vectors as
rows; and alpha = 0 leaves what the rows determine.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.linalg as sl

from ._accuracy import spectral_accuracy
from ._centre import Centre
from ._factor import _UNPINNED, EPS, CentredFactor, Factor, FactorInfo, Solution, UnpinnedError
from ._prior import Prior
from ._rows import Rows
from ._standard_form import StandardForm, standard_form


class Spectrum:
    """Singular values and vectors of rows in standard form, independent of alpha.

    Parameters
    ----------
    rows : ndarray of shape (k, n_features)
        Centred, weighted rows, or anything with the same Gram matrix.
    rhs : ndarray of shape (k, n_rhs)
        Right-hand sides that go with them.
    prior : Prior
        Its `gamma` defines the standard form.
    n_rows : int
        Number of data rows (for the rank tolerance).
    max_rank : int
        Largest rank that the rows can have: rows centred at their mean have one less.
    """

    def __init__(
        self, rows: np.ndarray, rhs: np.ndarray, prior: Prior, *, n_rows: int, max_rank: int
    ) -> None:
        original = rows
        self.form, rows, rhs, projected = standard_form(rows, rhs, prior)
        self.n_features = rows.shape[1]
        u, s, vt = _svd(rows)
        rank = min(len(s), max(0, max_rank - self.form.n_free))
        # When the rows span everything they can, nothing of the right-hand side is left over.
        self.spans_all = rank == max_rank - self.form.n_free
        self.s, self.vectors = s[:rank], np.ascontiguousarray(vt[:rank].T)
        self._set_rhs(u[:, :rank], rhs, projected)
        self.relative_tolerance = max(n_rows, self.n_features) * EPS
        self._set_defects(original, prior)

    def _set_defects(self, rows: np.ndarray, prior: Prior) -> None:
        """Measure how far rows and regularizer are from diagonal in these coordinates."""
        image = self.form.apply(rows) @ self.vectors
        squares = self.s**2
        if self.form.free is not None:
            image = np.hstack([image, rows @ self.form.free])
            squares = np.append(squares, np.ones(self.form.n_free))
        self.defect = image.T @ image - np.diag(squares)
        self.prior_defect = np.zeros_like(self.defect)
        back, r = self.form.back(self.vectors), len(self.s)
        self.prior_defect[:r, :r] = back.T @ prior.times(back) - np.eye(r)

    def accuracy(self, alpha: float) -> float:
        """Estimate the relative error of q at one alpha."""
        values = np.append(self.denominators(np.array([alpha]))[:, 0], np.ones(self.form.n_free))
        kept = np.isfinite(values) & (values > 0)
        defect = (self.defect + alpha * self.prior_defect)[np.ix_(kept, kept)]
        estimate = spectral_accuracy(defect, values[kept])
        if alpha > 0 and not self.complete:
            # Rounding moves rows out of the row space, which counts by 1 / alpha.
            high, low = (self.s[0], self.s[-1]) if len(self.s) else (0.0, 0.0)
            out = EPS / np.sqrt(alpha)
            estimate += float((4 * low + np.sqrt(low * high)) * out + 4 * (high * out) ** 2)
        return min(1.0, estimate)

    @property
    def tolerance(self) -> float:
        """Singular values up to this count as zero where alpha = 0."""
        return self.relative_tolerance * float(self.s.max(initial=0.0))

    def _set_rhs(self, u: np.ndarray, rhs: np.ndarray, projected: np.ndarray) -> None:
        self.rotated = u.T @ rhs
        self.free_rhs = projected
        if self.spans_all:
            self.left_over = np.zeros(rhs.shape[1])
        else:
            rest = rhs - u @ self.rotated
            self.left_over = np.einsum("ij,ij->j", rest, rest)

    @classmethod
    def from_gram(
        cls, gram: np.ndarray, cross: np.ndarray, square: np.ndarray, n_rows: int
    ) -> Spectrum:
        """Take the spectrum from a Gram matrix (identity regularizer, well conditioned only)."""
        self = cls.__new__(cls)
        values, vectors = sl.eigh(gram, check_finite=False)
        self.form = StandardForm()
        self.n_features = len(gram)
        self.s = np.sqrt(np.maximum(values[::-1], 0.0))
        self.vectors = np.ascontiguousarray(vectors[:, ::-1])
        with np.errstate(divide="ignore"):
            scale = np.where(self.s > 0, 1 / self.s, 0.0)
        self.rotated = scale[:, None] * (self.vectors.T @ cross)
        self.free_rhs = np.zeros((0, cross.shape[1]))
        self.spans_all = False
        self.defect = np.diag(np.full(len(gram), EPS * float(values.max(initial=0.0))))
        self.prior_defect = np.zeros_like(gram)
        self.left_over = np.maximum(square - np.einsum("ij,ij->j", self.rotated, self.rotated), 0)
        self.relative_tolerance = max(n_rows, self.n_features) * EPS
        return self

    @property
    def complete(self) -> bool:
        """Whether the vectors span all penalized parameters."""
        return len(self.s) == self.n_features

    def denominators(self, alphas: np.ndarray) -> np.ndarray:
        """Return ``s_k^2 + alpha`` of shape (rank, n_alphas); inf where alpha = 0 sees nothing."""
        out = self.s[:, None] ** 2 + alphas
        unseen = self.s <= self.tolerance
        if unseen.any():
            out[np.ix_(unseen, alphas == 0)] = np.inf
        return out

    def shrinkage(self, alphas: np.ndarray) -> np.ndarray:
        """Return ``alpha / (s_k^2 + alpha)``; 1 for what the data do not determine at alpha 0."""
        out = alphas / np.where(np.isinf(d := self.denominators(alphas)), 1.0, d)
        out[np.isinf(d)] = 1.0
        return out

    def split(self, block: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the coordinates of rows in the row space, and their parts outside of it."""
        inside = block @ self.vectors
        if self.complete:
            return inside, None
        outside = block - inside @ self.vectors.T
        near = np.einsum("ij,ij->i", outside, outside) < 0.49 * np.einsum("ij,ij->i", block, block)
        again = outside[near]
        outside[near] = again - (again @ self.vectors) @ self.vectors.T
        return inside, outside

    def outside_norms(self, block: np.ndarray, inside: np.ndarray) -> np.ndarray:
        """Return the squared norms of the parts outside, projecting only where they cancel."""
        total = np.einsum("ij,ij->i", block, block)
        within = np.einsum("ij,ij->i", inside, inside)
        out = total - within
        near = np.flatnonzero(within > 0.5 * total)
        if len(near):
            rest = self.split(block[near])[1]
            assert rest is not None
            out[near] = np.einsum("ij,ij->i", rest, rest)
        return out

    def quad(self, block: np.ndarray, alphas: np.ndarray) -> np.ndarray:
        """Return q of centred rows at every alpha, shape (n_rows, n_alphas)."""
        lost = self.form.outside(block)
        free = None if self.form.free is None else block @ self.form.free
        block = self.form.apply(block)
        inside = block @ self.vectors
        squares = inside**2
        out = squares @ (1 / self.denominators(alphas))
        if free is not None:
            out += np.einsum("ij,ij->i", free, free)[:, None]
        outside = np.zeros(len(block))
        if not self.complete:
            outside = self.outside_norms(block, inside)
        for k, alpha in enumerate(alphas):
            if alpha > 0:
                out[:, k] += outside / alpha
            else:
                lost_directions = self.s <= self.tolerance
                unseen = squares[:, lost_directions].sum(axis=1) + outside
                # Rounding turns the row space by eps times the condition of its directions.
                kept = self.s[~lost_directions]
                turned = kept[0] / kept[-1] if len(kept) else 1.0
                limit = (max(100.0, turned) * self.relative_tolerance) ** 2
                out[unseen > limit * np.einsum("ij,ij->i", block, block), k] = np.inf
        out[lost] = np.inf
        return out

    def coef(self, alphas: np.ndarray) -> np.ndarray:
        """Return coefficients, right-hand side t at ``alphas[t]``: shape (n_features, n_rhs)."""
        filtered = self.s[:, None] / self.denominators(alphas) * self.rotated
        w = self.form.back(self.vectors @ filtered)
        return w if self.form.free is None else w + self.form.free @ self.free_rhs

    def rss(self, alphas: np.ndarray) -> np.ndarray:
        """Return the weighted residual sums of squares, without subtracting anything."""
        return (self.shrinkage(alphas) ** 2 * self.rotated**2).sum(axis=0) + self.left_over


class SpectralFactor(CentredFactor):
    """A spectrum at one alpha.

    Parameters
    ----------
    spectrum : Spectrum
        Singular values and vectors of the centred rows.
    centre : Centre
        Mean of the training rows.
    prior : Prior
        The regularizer.
    n_features : int
        Number of feature parameters.
    has_intercept : bool
        Whether any training row has the intercept.
    reason : str
        Why this factorization was chosen.
    source : TSQRAccumulator, default=None
        The rows, for updates.

    Examples
    --------
    >>> import numpy as np
    >>> from skrigidity.hessian import Prior, choose
    >>> factor = choose(np.array([[3.0, 4.0]]), Prior(1.0), method="spectral")
    >>> factor.quad(np.array([[3.0, 4.0], [-4.0, 3.0]])).round(3)
    array([ 0.962, 25.   ])
    """

    def __init__(
        self,
        spectrum: Spectrum,
        centre: Centre,
        prior: Prior,
        *,
        n_features: int,
        has_intercept: bool,
        reason: str,
        source: Any = None,
    ) -> None:
        self.spectrum = spectrum
        self.centre = centre
        self.prior = prior
        self.n_features = n_features
        self.has_intercept = has_intercept
        self.source = source
        self._alphas = np.array([prior.alpha])
        self._values = spectrum.denominators(self._alphas)[:, 0]
        self.info = self._describe(reason)

    def _describe(self, reason: str) -> FactorInfo:
        form, alpha = self.spectrum.form, self.prior.alpha
        pinned = np.isfinite(self._values)
        rank = form.n_free + int(self.has_intercept and self.centre.weight > 0)
        values = self._values[pinned]
        if alpha > 0:
            rank += self.spectrum.n_features
            if not self.spectrum.complete:
                values = np.append(values, alpha)
        else:
            rank += int(pinned.sum())
        high, low = (values.max(), values.min()) if len(values) else (1.0, 1.0)
        return FactorInfo(
            method="spectral",
            condition=float(high / low),
            rank=rank,
            accuracy=self._accuracy(float(high / low)),
            reason=reason,
        )

    def _accuracy(self, condition: float) -> float:
        before = 0.0 if self.source is None else self.source.rounding(self.prior)
        # The first is of scaled columns, the second does without dependent ones.
        before = min(before, EPS * float(np.sqrt(condition)))
        return min(1.0, before + self.spectrum.accuracy(self.prior.alpha))

    def at(self, alpha: float) -> SpectralFactor:
        """Return the factor of the same rows at another regularization strength."""
        return SpectralFactor(
            self.spectrum,
            self.centre,
            self.prior.with_alpha(alpha),
            n_features=self.n_features,
            has_intercept=self.has_intercept,
            reason=self.info.reason,
            source=self.source,
        )

    def update(self, rows: Any) -> Factor:
        """Return the factor after adding weighted rows."""
        if self.source is None:
            raise ValueError("this factor does not hold its rows: factorize them again")
        rows = self._as_rows(rows)
        added = Rows(rows.matrix, weight=rows.weight, intercept=rows.intercept)
        return self.source.features_only().add(added).finish(self.prior)

    def _quad(self, block: np.ndarray) -> np.ndarray:
        return self.spectrum.quad(block, self._alphas)[:, 0]

    def _whiten(self, block: np.ndarray) -> np.ndarray:
        if np.isinf(self._quad(block)).any():
            raise UnpinnedError(_UNPINNED)
        form = self.spectrum.form
        free = None if form.free is None else block @ form.free
        inside, outside = self.spectrum.split(form.apply(block))
        z = inside / np.sqrt(self._values)
        if outside is not None and self.prior.alpha > 0:
            # Orthogonal parts: back in feature coordinates they add up to as many columns.
            z = z @ self.spectrum.vectors.T + outside / np.sqrt(self.prior.alpha)
        return z if free is None else np.hstack([z, free])

    def _solve(self, b: np.ndarray) -> np.ndarray:
        form = self.spectrum.form
        inside, outside = self.spectrum.split(form.apply(b.T))
        z = (inside / self._values) @ self.spectrum.vectors.T
        if outside is not None and self.prior.alpha > 0:
            z += outside / self.prior.alpha
        w = form.back(z.T)
        return w if form.free is None else w + form.free @ (form.free.T @ b)

    def _logdet(self) -> float:
        spectrum, alpha = self.spectrum, self.prior.alpha
        if np.isinf(self._values).any() or (alpha == 0 and not spectrum.complete):
            return -np.inf
        value = float(np.log(self._values).sum())
        if not spectrum.complete:
            value += (spectrum.n_features - len(spectrum.s)) * np.log(alpha)
        return value - 2.0 * spectrum.form.logdet()

    def penalty_trace(self) -> float:
        """Return ``alpha * trace(inv(H) @ Gamma)``, 0 without a regularizer."""
        if self.prior.alpha == 0:
            return 0.0
        unseen = self.spectrum.n_features - len(self.spectrum.s)
        return float(self.spectrum.shrinkage(self._alphas).sum()) + unseen

    def residual_dof(self, n: float) -> float:
        """Return n minus the effective degrees of freedom."""
        return residual_dof(self, n, self._alphas)[0]


def residual_dof(factor: SpectralFactor, n: float, alphas: np.ndarray) -> np.ndarray:
    """Return n minus the effective degrees of freedom at every alpha, as a sum."""
    spectrum = factor.spectrum
    centred = int(factor.has_intercept and factor.centre.weight > 0)
    rest = n - centred - spectrum.form.n_free - len(spectrum.s)
    return rest + spectrum.shrinkage(alphas).sum(axis=0)


def spectral_solution(
    spectrum: Spectrum, centre: Centre, rhs_mean: np.ndarray, alphas: np.ndarray
) -> Solution:
    """Solve for every right-hand side at its own alpha."""
    coef = spectrum.coef(alphas)
    return Solution(coef, centre.intercept(rhs_mean, coef), spectrum.rss(alphas))


def _svd(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    k, d = rows.shape
    if min(k, d) == 0:
        return np.zeros((k, 0)), np.zeros(0), np.zeros((0, d))
    return np.linalg.svd(rows, full_matrices=False)
