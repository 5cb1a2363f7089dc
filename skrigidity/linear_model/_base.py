"""From validated rows to a fitted model with a Hessian."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.utils import Bunch
from sklearn.utils.validation import (
    _check_sample_weight,
    _check_y,
    check_consistent_length,
    check_is_fitted,
)

from ..environments import Environments
from ..hessian import Prior, Rows, leave_out, residuals
from ._calibrated import inverse
from ._per_target import PerTargetHessian
from ._rigidity import LinearRigidityMixin


class RigidRidgeBase(LinearRigidityMixin, MultiOutputMixin, RegressorMixin, BaseEstimator):
    """What `RigidRidge` and `RigidRidgeCV` share: from validated rows to fitted attributes."""

    def leave_one_out(self, X: Any, y: Any, sample_weight: Any = None, groups: Any = None) -> Bunch:
        """Leave out every sample, or every group, of a training set: exact, without refitting.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or structures of environments
            The training set.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Its targets.
        sample_weight : array-like of shape (n_samples,), default=None
            Its weights; a sample is left out as a whole, whatever its weight.
        groups : array-like of shape (n_samples,), default=None
            Samples of one group are left out together (frames of one trajectory).

        Returns
        -------
        Bunch
            ``prediction`` and ``residual`` (target minus prediction) of the shape of `y`,
            ``rigidity`` of shape (n_samples,) or (n_samples, n_targets), all of a model that
            has not seen the sample, and ``n_excluded``, the number of samples whose rigidity
            is then 0.
        """
        check_is_fitted(self)
        rows, one_target = self._training_rows(X, y, sample_weight, reset=False)
        if groups is not None:
            check_consistent_length(X, groups)
        residual, q = self._leave_out(rows, self._alphas(rows.n_rhs), groups)
        assert rows.rhs is not None
        prediction = rows.rhs - residual
        if one_target:
            residual, prediction = residual[:, 0], prediction[:, 0]
        R = inverse(q)
        lost = R == 0 if R.ndim == 1 else (R == 0).any(axis=1)
        return Bunch(
            prediction=prediction, residual=residual, rigidity=R, n_excluded=int(lost.sum())
        )

    # --- internals -------------------------------------------------------------------------

    def _training_rows(
        self, X: Any, y: Any, sample_weight: Any, *, reset: bool
    ) -> tuple[Rows, bool]:
        if y is None:
            raise ValueError(
                f"This {type(self).__name__} estimator requires y to be passed, but the target y "
                "is None"
            )
        X = self._validated(X, reset=reset)
        y = _check_y(y, multi_output=True, y_numeric=True, estimator=self)
        check_consistent_length(X, y)
        if sample_weight is not None:
            sample_weight = _check_sample_weight(
                sample_weight, X, dtype=np.float64, ensure_non_negative=True
            )
            if not sample_weight.any():
                raise ValueError("sample_weight must not be zero throughout")
        if isinstance(X, Environments):
            X = X.aggregate(self.aggregate)
        if reset:
            Prior(1.0, self.regularizer).check(X.shape[1])
        rows = Rows(X, weight=sample_weight, intercept=self.fit_intercept, rhs=y)
        return rows, y.ndim == 1

    def _alphas(self, n_targets: int) -> np.ndarray:
        alphas = np.asarray(self._alpha, dtype=np.float64)
        if not (np.isfinite(alphas).all() and (alphas >= 0).all()):
            raise ValueError(f"alpha must be finite and not negative, got {self._alpha!r}")
        if alphas.ndim > 1 or (alphas.ndim == 1 and len(alphas) != n_targets):
            raise ValueError(
                f"alpha must be a number or have one entry per target ({n_targets}), "
                f"got shape {alphas.shape}"
            )
        return alphas

    def _adopt(
        self, factor: Any, rows: Rows, alphas: np.ndarray, one_target: bool, groups: Any = None
    ) -> None:
        """Take over a factorization of all training rows, and what follows from it."""
        self._set_hessian(factor, alphas)
        self._set_solution(self.hessian_.solution, one_target, rows)
        self._count(rows)
        if self.calibration == "loo":
            residual, q = self._leave_out(rows, alphas, groups)
            self._set_left_out_scale(residual, q, rows.weight, self.coef_.shape[:-1])

    def _set_hessian(self, factor: Any, alphas: np.ndarray) -> None:
        self.hessian_ = factor if alphas.ndim == 0 else PerTargetHessian(factor, alphas)

    def _set_solution(self, solution: Any, one_target: bool, rows: Rows | None = None) -> None:
        self.coef_ = solution.coef[:, 0].copy() if one_target else solution.coef.T.copy()
        intercept = solution.intercept
        if not self.fit_intercept:
            intercept = np.zeros_like(intercept)
        self.intercept_ = float(intercept[0]) if one_target else intercept
        self._rss = weighted_rss(rows, solution)

    def _count(self, rows: Rows, before: float = 0.0) -> None:
        """Set what depends on the number of samples, in the sense of `weight_type`."""
        if rows.weight is None:
            n = float(len(rows))
        elif self.weight_type == "frequency":
            n = float(rows.weight.sum())
        else:
            n = float((rows.weight > 0).sum())
        self._n_total = before + n
        left = np.asarray(self.hessian_.residual_dof(self._n_total))
        dof = self._n_total - left
        self.effective_dof_ = float(dof) if dof.ndim == 0 else dof
        self._set_initial_scale(self._rss, left, self.coef_.shape[:-1])

    def _leave_out(
        self, rows: Rows, alphas: np.ndarray, groups: Any
    ) -> tuple[np.ndarray, np.ndarray]:
        if alphas.ndim == 0:
            left = leave_out(
                rows, Prior(float(alphas), self.regularizer), groups, method=self.solver
            )
            return left.residual, left.quad
        unique = {
            a: leave_out(rows, Prior(a, self.regularizer), groups, method=self.solver)
            for a in np.unique(alphas)
        }
        residual = np.column_stack([unique[a].residual[:, t] for t, a in enumerate(alphas)])
        return residual, np.column_stack([unique[a].quad for a in alphas])

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


def weighted_rss(rows: Rows | None, solution: Any) -> np.ndarray:
    """Return the residual sums of squares of a solution, from the rows where it lacks them."""
    if solution.rss is not None:
        return solution.rss
    assert rows is not None
    error = residuals(rows, solution)
    if rows.weight is None:
        return np.einsum("ij,ij->j", error, error)
    return np.einsum("i,ij,ij->j", rows.weight, error, error)
