r"""Softmax: one row per sample and class, in coordinates that the data can pin.

A sample adds :math:`s \sum_k p_k (e_k - p)(e_k - p)^T \otimes g g^T` to the Hessian, g = [x, 1]:
rows :math:`(e_k - p) \otimes g` of weight :math:`s p_k`. Adding the same vector to the parameters
of all classes changes no probability, so these rows say nothing about the mean over classes, and
centred logits, of gradient :math:`(e_k - 1/K) \otimes g`, do not depend on it. With an
orthonormal basis Q of the K - 1 contrasts between classes both become rows of (K - 1) blocks,
:math:`Q^T (e_k - p) \otimes g` and :math:`Q^T e_k \otimes g`. The penalty keeps its form.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy.linalg as sl
import scipy.sparse as sp
from scipy.special import softmax

from ...hessian import Prior, Rows, choose
from ._base import Curvature

# Rows of predictions are made in blocks of this many entries (32 MB).
_BLOCK_ENTRIES = 2**22


class SoftmaxCurvature(Curvature):
    """Curvature of a multinomial likelihood with penalty ``alpha / 2 * sum(coef**2)``.

    Parameters
    ----------
    coef : ndarray of shape (n_classes, n_features)
        Coefficients of the logits.
    intercept : ndarray of shape (n_classes,)
        Their intercepts.
    alpha : float
        Strength of the penalty, the loss being the sum over samples.
    fit_intercept : bool
        Whether the intercepts are parameters, not penalized.
    """

    def __init__(self, coef: Any, intercept: Any, *, alpha: float, fit_intercept: bool) -> None:
        self.coef = np.asarray(coef, dtype=np.float64)
        self.intercept = np.asarray(intercept, dtype=np.float64)
        self.alpha = alpha
        self.fit_intercept = fit_intercept
        n_classes = len(self.coef)
        # Helmert's contrasts without the constant row.
        self.contrasts = sl.helmert(n_classes).T
        # The design of intercepts as columns is best conditioned for centred features.
        self.centre = np.zeros(self.coef.shape[1])

    def row_weights(self, y: Any, sample_weight: np.ndarray) -> np.ndarray:
        """Return the weights of the samples' rows."""
        return sample_weight

    def probabilities(self, X: Any) -> np.ndarray:
        """Return the predicted probabilities."""
        return softmax(X @ self.coef.T + self.intercept, axis=1)

    def factorize(self, X: Any, y: Any, sample_weight: np.ndarray) -> Any:
        """Return the factorized Hessian of the contrasts."""
        s = self.row_weights(y, sample_weight)
        if self.fit_intercept:
            self.centre = np.asarray(s @ X).ravel() / s.sum()
        penalized = np.ones(self.coef.shape[1] + int(self.fit_intercept))
        penalized[self.coef.shape[1] :] = 0.0
        gamma = np.tile(penalized, self.contrasts.shape[1])
        return choose(SoftmaxRows(self, X, s), Prior(self.alpha, gamma))

    def quad(self, hessian: Any, X: Any, intercept: bool = True) -> np.ndarray:
        """Return ``1 / R`` of the centred logits, shape (n_samples, n_classes)."""
        return self._quad_of(hessian, X, intercept)

    def quad_of_sums(self, hessian: Any, X: Any, weights: np.ndarray) -> np.ndarray:
        """Return ``1 / R`` of weighted sums of centred logits."""
        return self._quad_of(hessian, weights @ X, weights.sum(axis=1))

    def quad_with(self, hessian: Any, X: Any, added: Any, sample_weight: np.ndarray) -> np.ndarray:
        """Return ``1 / R`` after adding samples; the curvature does not depend on labels."""
        p = self.probabilities(added)
        rows = Rows(self.data_block(added, p), weight=(sample_weight[:, None] * p).ravel())
        return self.quad(hessian.update(rows), X)

    def probability_quad(self, hessian: Any, X: Any) -> np.ndarray:
        """Return the variances of the predicted probabilities, by the delta method."""
        return self._quad_of(hessian, X, True, self.probabilities(X))

    # --- rows ------------------------------------------------------------------------------

    def data_block(self, X: Any, p: np.ndarray) -> np.ndarray:
        """Return the rows of the Hessian, one per sample and class, for probabilities p."""
        factors = self.contrasts - (p @ self.contrasts)[:, None]
        return self._outer(factors, self._design(X, True))

    def _quad_of(
        self, hessian: Any, X: Any, intercept: Any, p: np.ndarray | None = None
    ) -> np.ndarray:
        """Return quadratic forms of the centred logits, or of probabilities p."""
        flags = np.broadcast_to(np.asarray(intercept, dtype=np.float64), (X.shape[0],))
        out = np.empty((X.shape[0], len(self.coef)))
        for piece in self._pieces(X.shape[0]):
            factors = np.broadcast_to(self.contrasts, (len(flags[piece]), *self.contrasts.shape))
            if p is not None:
                block = p[piece]
                factors = block[:, :, None] * (factors - (block @ self.contrasts)[:, None])
            rows = Rows(self._outer(factors, self._design(X[piece], flags[piece])))
            out[piece] = hessian.quad(rows).reshape(-1, len(self.coef))
        return out

    def _design(self, X: Any, intercept: Any) -> np.ndarray:
        dense = X.toarray() if sp.issparse(X) else np.asarray(X, dtype=np.float64)
        if not self.fit_intercept:
            return dense
        flags = np.broadcast_to(np.asarray(intercept, dtype=np.float64), (len(dense),))[:, None]
        return np.hstack([dense - flags * self.centre, flags])

    @staticmethod
    def _outer(factors: np.ndarray, design: np.ndarray) -> np.ndarray:
        rows = factors[..., None] * design[:, None, None, :]
        return rows.reshape(-1, rows.shape[2] * rows.shape[3])

    def _pieces(self, n: int) -> Iterator[slice]:
        per_sample = self.contrasts.size * (self.coef.shape[1] + 1)
        step = max(1, _BLOCK_ENTRIES // per_sample)
        return (slice(start, min(start + step, n)) for start in range(0, n, step))


class SoftmaxRows(Rows):
    """All training rows, made block by block: together they may not fit into memory.

    Parameters
    ----------
    curvature : SoftmaxCurvature
        Its probabilities and contrasts.
    X : ndarray or CSR matrix of shape (n_samples, n_features)
        Training samples.
    sample_weight : ndarray of shape (n_samples,)
        Their weights.
    """

    def __init__(self, curvature: SoftmaxCurvature, X: Any, sample_weight: np.ndarray) -> None:
        self.curvature = curvature
        self.X = X
        self.p = curvature.probabilities(X)
        super().__init__(curvature.data_block(X[:0], self.p[:0]))
        self.weight = (sample_weight[:, None] * self.p).ravel()
        self.intercept = np.zeros(len(self))

    def __len__(self) -> int:
        return self.p.size

    def seen(self) -> Rows:
        """Return all rows; those of weight zero do no harm."""
        return self

    def fill(self, out: np.ndarray, rows: slice) -> None:
        """Write the rows of a slice into `out`."""
        n_classes = self.p.shape[1]
        first, last = rows.start // n_classes, -(-rows.stop // n_classes)
        block = self.curvature.data_block(self.X[first:last], self.p[first:last])
        out[...] = block[rows.start - first * n_classes : rows.stop - first * n_classes]
