"""One Hessian per target: they share the rows and differ in the regularization strength."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..hessian import Factor, FactorInfo, Solution


class PerTargetHessian:
    """Factors of ``H = sum_i s_i g_i g_i.T + alpha_t * Gamma`` for every target t.

    Attributes
    ----------
    alphas : ndarray of shape (n_targets,)
        The regularization strengths.
    """

    def __init__(self, weakest: Factor, alphas: np.ndarray) -> None:
        self.alphas = alphas
        # What is accurate enough for the weakest regularizer is so for all.
        self._factors = {a: weakest.at(a) for a in np.unique(alphas) if a != alphas.min()}
        self._factors[alphas.min()] = weakest

    def at(self, alpha: float) -> Factor:
        """Return the factor for one alpha."""
        if alpha not in self._factors:
            self._factors[alpha] = self._factors[self.alphas.min()].at(alpha)
        return self._factors[alpha]

    @property
    def source(self) -> Any:
        """Accumulated rows that all factors share."""
        return self._factors[self.alphas.min()].source

    @property
    def info(self) -> FactorInfo:
        """Description of the factor with the weakest regularizer."""
        return self._factors[self.alphas.min()].info

    def per_target(self, function: Callable[[Factor], np.ndarray]) -> np.ndarray:
        """Evaluate once per alpha and stack along a last axis, one entry per target."""
        values = {a: function(self._factors[a]) for a in np.unique(self.alphas)}
        return np.stack([values[a] for a in self.alphas], axis=-1)

    def quad(self, rows: Any) -> np.ndarray:
        """Return q of shape (n_rows, n_targets)."""
        return self.per_target(lambda factor: factor.quad(rows))

    def update(self, rows: Any) -> PerTargetHessian:
        """Return the factors after adding weighted rows."""
        new = object.__new__(PerTargetHessian)
        new.alphas = self.alphas
        new._factors = {a: self._factors[a].update(rows) for a in np.unique(self.alphas)}
        return new

    @property
    def solution(self) -> Solution:
        """The solution of every target at its own alpha."""
        solutions = [self._factors[a].solution for a in self.alphas]
        pick = [s for s in solutions if s is not None]
        rss = None
        if all(s.rss is not None for s in pick):
            rss = np.array([s.rss[t] for t, s in enumerate(pick) if s.rss is not None])
        return Solution(
            coef=np.column_stack([s.coef[:, t] for t, s in enumerate(pick)]),
            intercept=np.array([s.intercept[t] for t, s in enumerate(pick)]),
            rss=rss,
        )

    def residual_dof(self, n: float) -> np.ndarray:
        """Return n minus the effective degrees of freedom, per target."""
        return self.per_target(lambda factor: np.asarray(factor.residual_dof(n)))
