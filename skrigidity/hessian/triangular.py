"""Factors with a triangular root: ``H_c = R.T @ R``, from Cholesky or from sequential QR."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import scipy.linalg as sl
from scipy.linalg.blas import dnrm2, dtrmm, dtrmv, dtrsm, dtrsv
from scipy.linalg.lapack import dtpqrt, dtrtri

from .factor import Centre, CentredAccumulator, Factor, FactorInfo, RunningCentre, Solution
from .prior import Prior
from .rows import EPS, Array, Rows, check_squares, row_squares
from .spectral import SpectralFactor, spectrum_of

# The inverse of R loses kappa(R) * eps: harmless below this, and a product is faster than a solve.
_INVERT_BELOW = 1e4
# So many times as many rows as features save more than the inverse costs.
_INVERT_FOR = 2
_PANEL = 32
# Beyond this condition of the augmented rows the singular values decide, alpha added exactly.
SINGULAR_BEYOND = 1e9
_POWER_STEPS = 4


@dataclass(eq=False, repr=False)
class TriangularFactor(Factor):
    """Upper triangular R of the centred, augmented rows.

    Made by `choose` and the accumulators. R is either multiplied with as an inverse (where its
    condition allows it, for many rows) or solved with.

    Parameters
    ----------
    root : ndarray of shape (n_features, n_features)
        R.
    centre : Centre
        Mean of the training rows.
    prior : Prior
        The regularizer that R contains.
    method : {"cholesky", "qr"}
        How R was found.
    reason : str
        Why this factorization was chosen.
    condition : float
        Condition of R, its columns scaled to equal norm.
    gram_accuracy : float, default=0
        Relative error that went into R through normal equations.

    Examples
    --------
    >>> import numpy as np
    >>> from skrigidity.hessian import Prior, choose
    >>> abs(choose(np.vstack([np.eye(2)] * 3), Prior(1.0), method="qr").root)
    array([[2., 0.],
           [0., 2.]])
    """

    root: Array
    centre: Centre
    prior: Prior
    method: str
    reason: str
    condition: float
    gram_accuracy: float = 0.0

    def __post_init__(self) -> None:
        self.root = np.asfortranarray(self.root)
        self.n_features = len(self.root)
        self.invertible = self.method == "cholesky" and self.condition < _INVERT_BELOW
        rank = self.n_features + int(self.has_intercept)
        accuracy = self.gram_accuracy + min(1.0, EPS * (16 + self.condition))
        self.info = FactorInfo(self.method, self.condition**2, rank, accuracy, self.reason)

    @cached_property
    def inverse(self) -> Array:
        """The inverse of R."""
        return np.asarray(dtrtri(self.root)[0])

    def _whiten(self, block: Array) -> Array:
        # block.T is a Fortran-ordered view: both calls work in place on the block.
        if self.invertible and len(block) > _INVERT_FOR * self.n_features:
            return dtrmm(1.0, self.inverse, block.T, trans_a=1, overwrite_b=1).T
        return dtrsm(1.0, self.root, block.T, trans_a=1, overwrite_b=1).T

    def residual_dof(self, n: float) -> float:
        """Return n minus the effective degrees of freedom.

        Parameters
        ----------
        n : float
            Number of samples, or the sum of their weights.

        Returns
        -------
        float
            What is left of n.
        """
        # alpha * trace(inv(H) @ Gamma) is the squared norm of L @ inv(R).
        if self.invertible and self.prior.gamma is None:
            trace = self.prior.alpha * np.einsum("ij,ij->", self.inverse, self.inverse)
        else:
            trace = self.quad(Rows(self.prior.root(self.n_features))).sum()
        return float(n - self.info.rank + trace)

    def update(self, rows: Any) -> TriangularFactor:
        """Return the factor after adding weighted rows: a rank-k update by QR, O(k d^2).

        Parameters
        ----------
        rows : Rows
            Rows to add, with their weights.

        Returns
        -------
        Factor
            The new factor.
        """
        rows = self._as_rows(rows)
        running = RunningCentre(self.centre.mean, self.centre.low, self.centre.weight)
        root = self.root.copy(order="F")
        for block in rows.blocks():
            root = add_rows(root, running.centred(block.seen()))
        reason = f"{self.info.method} factor updated by {len(rows)} rows"
        before = self.info.accuracy if self.info.method == "cholesky" else 0.0
        centre = running.finish(row_squares(root.T))
        condition = scaled_condition(root)
        return TriangularFactor(root, centre, self.prior, "qr", reason, condition, before)


class TSQRAccumulator(CentredAccumulator):
    """Sequential QR of the rows: accurate to the first power of their condition.

    Fewer rows than columns are kept as they are, more are reduced to one triangle, the
    right-hand sides as extra columns. The regularizer is added at `finish`.

    Parameters
    ----------
    n_features, n_rhs : int
        Numbers of columns, as in `Accumulator`.

    Examples
    --------
    >>> import numpy as np
    >>> from skrigidity.hessian import Prior, TSQRAccumulator
    >>> stream = TSQRAccumulator(n_features=2)
    >>> for block in (np.eye(2), np.ones((3, 2))):
    ...     stream = stream.add(block)
    >>> stream.finish(Prior(1.0)).quad(np.eye(2)).round(2)
    array([0.31, 0.31])
    """

    def __init__(self, n_features: int, n_rhs: int = 0) -> None:
        super().__init__(n_features, n_rhs)
        self._rows = np.zeros((0, n_features + n_rhs))
        self.reduced = False  # to a triangle
        self.inherited = 0.0  # relative error of what the rows were when they came

    def to_tsqr(self) -> TSQRAccumulator:
        """Return this accumulator.

        Returns
        -------
        TSQRAccumulator
            An accumulator by sequential QR.
        """
        return self

    def add_centred(self, block: Array) -> None:
        """Add centred, weighted rows, right-hand sides behind the features.

        Parameters
        ----------
        block : ndarray of shape (n_rows, n_features + n_rhs)
            The rows.
        """
        width = block.shape[1]
        if not self.reduced:
            block = np.vstack([self._rows, block]) if len(self._rows) else block
            self.reduced = len(block) > width
            self._rows = np.zeros((width, width), order="F") if self.reduced else block
        if self.reduced:
            self._rows = add_rows(self._rows, block)

    def _merge(self, other: Any) -> None:
        super()._merge(other)
        self.inherited = max(self.inherited, other.inherited)
        self.add_centred(other._rows)

    def rows(self) -> tuple[Array, Array]:
        """Return the reduced rows: features (k, n_features) and right-hand sides (k, n_rhs).

        Returns
        -------
        tuple of two ndarrays
            Features and right-hand sides of the reduced rows.
        """
        return self._rows[:, : self.n_features], self._rows[:, self.n_features :]

    def factor(self, prior: Prior) -> Factor:
        """Return the QR factor, or the spectral one for few rows or a singular Hessian.

        Parameters
        ----------
        prior : Prior
            The regularizer.

        Returns
        -------
        Factor
            The factor.
        """
        d, (data, rhs) = self.n_features, self.rows()
        check_squares(row_squares(self._rows.T), d)
        triangle, condition = self._augmented(prior)
        if not condition < SINGULAR_BEYOND:
            few = self.max_rank < d
            return self.spectral(prior, "fewer rows than features" if few else "singular rows")
        root, centre, reason = triangle[:d, :d], self._centre(), "QR of the rows"
        factor = TriangularFactor(root, centre, prior, "qr", reason, condition, self.inherited)
        if self.n_rhs:
            coef = sl.solve_triangular(root, triangle[:d, d:], check_finite=False)
            rss = row_squares((rhs - data @ coef).T)
            factor.solution = Solution(coef, centre.intercept(coef), rss)
        return factor

    def _augmented(self, prior: Prior) -> tuple[Array, float]:
        """Return the triangular factor of reduced rows and regularizer, and its condition.

        Right-hand sides stand behind the features, which the condition is of.
        """
        if not self.reduced:
            return self._rows, np.inf
        d, below = self.n_features, prior.root(self.n_features)
        upper = len(below) == d and not np.tril(below, -1).any()
        block = np.pad(below, ((0, 0), (0, self.n_rhs)))
        triangle = add_rows(self._rows.copy(order="F"), block, d if upper else 0)
        return triangle, scaled_condition(triangle[:d, :d])

    def _centre(self) -> Centre:
        return self.running.finish(row_squares(self.rows()[0].T))

    def rounding(self, prior: Prior) -> float:
        """Estimate what reducing the rows has cost in relative accuracy, inf if H is singular.

        Parameters
        ----------
        prior : Prior
            The regularizer.

        Returns
        -------
        float
            Relative error of rigidities.
        """
        return self.inherited + (EPS * self._augmented(prior)[1] if self.reduced else 0.0)

    def spectral(self, prior: Prior, reason: str) -> SpectralFactor:
        """Return the spectral factor.

        Parameters
        ----------
        prior : Prior
            The regularizer.
        reason : str
            What `info.reason` is to say.

        Returns
        -------
        SpectralFactor
            The factor.
        """
        max_rank = min(self.max_rank, len(self._rows))
        spectrum = spectrum_of(*self.rows(), prior, n_rows=self.n_rows, max_rank=max_rank)
        return SpectralFactor(spectrum, self._centre(), prior, reason, self.rounding)


def add_rows(root: Array, block: Array, trapezoidal: int = 0) -> Array:
    """Return the upper triangular factor of ``[root; block]`` (LAPACK's tpqrt).

    `root` is overwritten. The last `trapezoidal` rows of `block` are upper trapezoidal.
    """
    if len(block) == 0:
        return root
    panel, block = min(_PANEL, root.shape[1]), np.array(block, order="F")
    return dtpqrt(trapezoidal, panel, root, block, overwrite_a=1, overwrite_b=1)[0]


def equilibrate(diagonal: Array) -> Array:
    """Return powers of two, exact factors, that scale a symmetric matrix to a diagonal near 1."""
    return np.exp2(-np.round(np.log2(np.where(diagonal > 0, diagonal, 1.0)) / 2))


def scaled_condition(root: Array) -> float:
    """Estimate the condition of R with its columns scaled to equal norm (van der Sluis)."""
    if len(root) == 0:
        return 1.0
    squares = row_squares(root.T)
    if not (squares > 0).all() or not root.diagonal().all():
        return np.inf
    root, scale = np.asfortranarray(root), equilibrate(squares)
    with np.errstate(all="ignore"):
        condition = _norm(dtrmv, root, scale, 1) * _norm(dtrsv, root, 1 / scale, 0)
    return max(1.0, condition) if np.isfinite(condition) else np.inf


def _norm(times: Callable[..., Array], root: Array, scale: Array, trans: int) -> float:
    """Estimate the 2-norm of ``R @ diag(scale)``, or of its inverse, by power iterations."""
    x = np.random.default_rng(0).standard_normal(len(root))
    for _ in range(_POWER_STEPS):
        x = scale * times(root, x / dnrm2(x), trans=trans, overwrite_x=1)
        x = times(root, scale * x, trans=1 - trans, overwrite_x=1)
    return float(np.sqrt(dnrm2(x)))
