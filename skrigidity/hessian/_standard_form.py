"""Standard form: turn any regularizer into the identity (Elden, BIT 17, 134 (1977)).

With ``N`` a basis of the directions that the regularizer leaves free and ``L.T @ L = Gamma`` on
the others, the free directions are projected out of the rows, as centring does for the
intercept, and the rest is measured in units of L. Then
``q = |x N'|^2 + (x T).T (S^2 + alpha)^-1 (x T)`` with the two maps kept here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ._prior import Prior, penalized_eigenpairs

EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class StandardForm:
    """Linear maps to coordinates in which the regularizer is ``alpha * I``.

    Attributes
    ----------
    penalized : None, ndarray of shape (d,) or (d, d_penalized)
        T, applied from the right; None is the identity, a vector is diagonal.
    free : None or ndarray of shape (d, n_free)
        N', the whitened basis of the unpenalized directions that the rows have seen.
    unseen : None or ndarray of shape (d, n_unseen)
        Unpenalized directions that no row has seen: no prediction that has any is pinned.
    """

    penalized: np.ndarray | None = None
    free: np.ndarray | None = None
    unseen: np.ndarray | None = None

    @property
    def n_free(self) -> int:
        """Number of unpenalized directions that the rows have seen."""
        return 0 if self.free is None else self.free.shape[1]

    def apply(self, block: np.ndarray) -> np.ndarray:
        """Return ``block @ T``."""
        if self.penalized is None:
            return block
        return block * self.penalized if self.penalized.ndim == 1 else block @ self.penalized

    def back(self, w: np.ndarray) -> np.ndarray:
        """Return ``T @ w``."""
        if self.penalized is None:
            return w
        return self.penalized[:, None] * w if self.penalized.ndim == 1 else self.penalized @ w

    def logdet(self) -> float:
        """Return ``log(abs(det([T N'])))``."""
        if self.unseen is not None:
            return np.inf
        if self.penalized is None:
            return 0.0
        if self.penalized.ndim == 1:
            return float(np.log(self.penalized).sum())
        whole = self.penalized if self.free is None else np.hstack([self.penalized, self.free])
        return float(np.linalg.slogdet(whole)[1])

    def outside(self, block: np.ndarray) -> np.ndarray:
        """Return which rows have a part along an unseen, unpenalized direction."""
        if self.unseen is None:
            return np.zeros(len(block), dtype=bool)
        part = np.linalg.norm(block @ self.unseen, axis=1)
        size = np.linalg.norm(block, axis=1)
        return part > 100 * max(self.unseen.shape) * EPS * size


def standard_form(
    rows: np.ndarray, rhs: np.ndarray, prior: Prior
) -> tuple[StandardForm, np.ndarray, np.ndarray, np.ndarray]:
    """Transform centred, weighted rows (k, d) and right-hand sides (k, t).

    Returns
    -------
    form : StandardForm
    rows, rhs : ndarray
        The penalized rows and the right-hand sides, free directions projected out.
    projected : ndarray of shape (n_free, t)
        The right-hand sides along the free directions.
    """
    none = np.zeros((0, rhs.shape[1]))
    gamma = prior.gamma
    if gamma is None:
        return StandardForm(), rows, rhs, none
    if gamma.ndim == 1:
        if gamma.all():
            scale = 1 / np.sqrt(gamma)
            return StandardForm(penalized=scale), rows * scale, rhs, none
        identity = np.eye(len(gamma))
        basis = identity[:, gamma > 0] / np.sqrt(gamma[gamma > 0])
        null = identity[:, gamma == 0]
    else:
        values, vectors = penalized_eigenpairs(gamma)
        basis = vectors / np.sqrt(values)
        null = _complement(vectors)
    return _eliminate(rows, rhs, basis, null)


def _eliminate(
    rows: np.ndarray, rhs: np.ndarray, basis: np.ndarray, null: np.ndarray
) -> tuple[StandardForm, np.ndarray, np.ndarray, np.ndarray]:
    penalized = rows @ basis
    if null.shape[1] == 0:
        return StandardForm(penalized=basis), penalized, rhs, np.zeros((0, rhs.shape[1]))
    u, s, vt = np.linalg.svd(rows @ null, full_matrices=False)
    seen = s > max(rows.shape) * EPS * (s[0] if len(s) else 0.0)
    u, v = u[:, seen], vt[seen].T
    free = null @ (v / s[seen])
    unseen = null @ _complement(v) if v.shape[1] < null.shape[1] else None
    coupling = u.T @ penalized
    projected = u.T @ rhs
    penalized = penalized - u @ coupling
    penalized -= u @ (u.T @ penalized)
    form = StandardForm(penalized=basis - free @ coupling, free=free, unseen=unseen)
    return form, penalized, rhs - u @ projected, projected


def _complement(vectors: np.ndarray) -> np.ndarray:
    """Return an orthonormal basis of what is orthogonal to orthonormal columns."""
    return np.linalg.qr(vectors, mode="complete")[0][:, vectors.shape[1] :]
