"""Factors with a triangular root: ``H_c = R.T @ R``, from Cholesky or from QR."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import InitVar, dataclass
from typing import Any

import numpy as np
from scipy.linalg.blas import dtrmm, dtrsm
from scipy.linalg.lapack import dtpqrt, dtrtri

from .factor import Centre, Factor, FactorInfo, RunningCentre, Solution
from .prior import Prior
from .rows import EPS, Array, Rows

# The inverse of R loses kappa(R) * eps: harmless below this, and a product is faster than a solve.
_INVERT_BELOW = 1e4
_PANEL = 32
_POWER_STEPS = 4


@dataclass(eq=False, repr=False)
class TriangularFactor(Factor):
    """Upper triangular R of the centred, augmented rows.

    Made by `choose` and the accumulators. R is either multiplied with as an inverse (where its
    condition allows it) or solved with.

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
    condition : float, default=None
        Condition of R where it is known, its columns scaled to equal norm.
    gram_accuracy : float, default=0
        Relative error that went into R through normal equations.
    solution : Solution, default=None
        Solution for the right-hand sides that came with the rows.

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
    method: InitVar[str]
    reason: InitVar[str]
    condition: InitVar[float | None] = None
    gram_accuracy: InitVar[float] = 0.0
    solution: Solution | None = None

    def __post_init__(self, method: str, reason: str, condition: Any, gram_accuracy: float) -> None:
        self.root = np.asfortranarray(self.root)
        self.n_features = len(self.root)
        scaled = scaled_condition(self.root) if condition is None else condition
        invertible = method == "cholesky" and scaled < _INVERT_BELOW
        self.inverse = dtrtri(self.root)[0] if invertible else None
        rank = self.n_features + int(self.has_intercept)
        accuracy = gram_accuracy + min(1.0, EPS * (16 + scaled))
        self.info = FactorInfo(method, scaled**2, rank, accuracy, reason)

    def _whiten(self, block: Array) -> Array:
        # block.T is a Fortran-ordered view: both calls work in place on the block.
        if self.inverse is not None:
            return dtrmm(1.0, self.inverse, block.T, trans_a=1, overwrite_b=1).T
        return dtrsm(1.0, self.root, block.T, trans_a=1, overwrite_b=1).T

    def residual_dof(self, n: float) -> float:
        """Return n minus the effective degrees of freedom."""
        # alpha * trace(inv(H) @ Gamma) is the squared norm of L @ inv(R).
        if self.inverse is not None and self.prior.gamma is None:
            trace = self.prior.alpha * np.einsum("ij,ij->", self.inverse, self.inverse)
        else:
            trace = self.quad(Rows(self.prior.root(self.n_features))).sum()
        return float(n - self.info.rank + trace)

    def update(self, rows: Any) -> TriangularFactor:
        """Return the factor after adding weighted rows: a rank-k update by QR, O(k d^2)."""
        rows = self._as_rows(rows)
        running, centre = RunningCentre(self.n_features), self.centre
        running.shift, running.mean, running.weight = centre.mean, centre.low, centre.weight
        root = self.root.copy(order="F")
        for block in rows.blocks():
            root = add_rows(root, running.centred(block.seen()))
        centre = running.finish(np.linalg.norm(root, axis=0))
        reason = f"{self.info.method} factor updated by {len(rows)} rows"
        before = self.info.accuracy if self.info.method == "cholesky" else 0.0
        return TriangularFactor(root, centre, self.prior, "qr", reason, gram_accuracy=before)


def add_rows(root: Array, block: Array, trapezoidal: int = 0) -> Array:
    """Return the upper triangular factor of ``[root; block]`` (LAPACK's tpqrt).

    `root` is overwritten. The last `trapezoidal` rows of `block` are upper trapezoidal.
    """
    if len(block) == 0:
        return root
    panel, block = min(_PANEL, root.shape[1]), np.array(block, order="F")
    return dtpqrt(trapezoidal, panel, root, block, overwrite_a=1, overwrite_b=1)[0]


def scaled_condition(root: Array) -> float:
    """Estimate the condition of R with its columns scaled to equal norm (van der Sluis)."""
    norms = np.linalg.norm(root, axis=0)
    if not (norms > 0).all() or not root.diagonal().all():
        return np.inf
    if len(root) == 0:
        return 1.0
    # Powers of two scale without rounding.
    scaled = np.asfortranarray(root * np.exp2(-np.round(np.log2(norms))))
    with np.errstate(all="ignore"):
        condition = _norm(dtrmm, scaled) * _norm(dtrsm, scaled)
    return max(1.0, condition) if np.isfinite(condition) else np.inf


def _norm(times: Callable[..., Array], matrix: Array) -> float:
    """Estimate a 2-norm by power iterations on two vectors: of a matrix, or of its inverse."""
    rng = np.random.default_rng(0)
    x = np.asfortranarray(rng.standard_normal((len(matrix), 2)))
    for _ in range(_POWER_STEPS):
        x = times(1.0, matrix, x / np.linalg.norm(x, axis=0), trans_a=1, overwrite_b=1)
        x = times(1.0, matrix, x, overwrite_b=1)
    return float(np.sqrt(np.linalg.norm(x, axis=0).max()))
