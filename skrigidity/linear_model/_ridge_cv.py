"""Ridge regression with alpha chosen in closed form."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn.base import _fit_context
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.validation import check_consistent_length

from ..hessian import AlphaPath, Prior, Rows, choose
from ._base import RigidRidgeBase
from ._ridge import RigidRidge


class RigidRidgeCV(RigidRidgeBase):
    r"""`RigidRidge` with alpha chosen by leave-one-out errors or by evidence.

    All alphas come from one decomposition of the training rows, nothing is refitted.

    Parameters
    ----------
    alphas : array-like of shape (n_alphas,), default=None
        Regularization strengths to choose from, not negative (positive for the evidence).
        None is 21 values from 1e-10 to 1e10 times the mean square of a feature.
    scoring : {"neg_mean_squared_error", "log_likelihood", "evidence"}, \
            default="neg_mean_squared_error"
        What is maximized: the leave-one-out mean squared error (negative), the leave-one-out
        predictive log-likelihood per sample with ``var = sigma**2 (1 + 1 / R)`` and sigma at its
        optimum, or the log marginal likelihood, intercept integrated out. One unit of sample
        weight is left out at a time (rows as a whole with ``weight_type="precision"``).
    alpha_per_target : bool, default=False
        Choose an alpha for every target by itself.
    regularizer : array-like of shape (n_features,) or (n_features, n_features), default=None
        As in `RigidRidge`.
    fit_intercept : bool, default=True
        Whether to fit an intercept.
    aggregate : {"mean", "sum"}, default="mean"
        How the environments of a structure make up its features.
    solver : {"auto", "cholesky", "qr", "spectral"}, default="auto"
        Factorization of the final Hessian.
    calibration : {"bayesian", "loo"} or None, default="bayesian"
        Scale of the error bars, as in `RigidRidge`.
    weight_type : {"frequency", "precision"}, default="frequency"
        Whether a sample weight counts repetitions of a sample, or is its inverse variance.

    Attributes
    ----------
    alpha_ : float or ndarray of shape (n_targets,)
        The chosen strength.
    best_score_ : float or ndarray of shape (n_targets,)
        Its score.
    alphas_ : ndarray of shape (n_alphas,)
        The strengths that were compared.
    scores_ : ndarray of shape (n_alphas,) or (n_alphas, n_targets)
        Their scores.
    n_excluded_per_alpha_ : ndarray of shape (n_alphas,)
        Number of samples left out of each score because they alone determine a direction.
    coef_, intercept_, hessian_, scale_, noise_variance_, effective_dof_ :
        As in `RigidRidge`.

    References
    ----------
    Rasmussen, Williams, Gaussian Processes for Machine Learning, sections 2.7, 5.4 (2006).

    Examples
    --------
    >>> import numpy as np
    >>> from skrigidity.linear_model import RigidRidgeCV
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((50, 5))
    >>> y = X @ np.ones(5) + 0.1 * rng.standard_normal(50)
    >>> model = RigidRidgeCV(alphas=[1e-3, 1e-1, 1e1]).fit(X, y)
    >>> model.alpha_
    0.001
    """

    _parameter_constraints: dict = {
        **RigidRidge._parameter_constraints,
        "alphas": ["array-like", None],
        "scoring": [StrOptions({"neg_mean_squared_error", "log_likelihood", "evidence"})],
        "alpha_per_target": ["boolean"],
    }
    _parameter_constraints.pop("alpha")

    def __init__(
        self,
        alphas: Any = None,
        *,
        scoring: str = "neg_mean_squared_error",
        alpha_per_target: bool = False,
        regularizer: Any = None,
        fit_intercept: bool = True,
        aggregate: str = "mean",
        solver: str = "auto",
        calibration: str | None = "bayesian",
        weight_type: str = "frequency",
    ) -> None:
        self.alphas = alphas
        self.scoring = scoring
        self.alpha_per_target = alpha_per_target
        self.regularizer = regularizer
        self.fit_intercept = fit_intercept
        self.aggregate = aggregate
        self.solver = solver
        self.calibration = calibration
        self.weight_type = weight_type

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any, sample_weight: Any = None, groups: Any = None) -> Self:
        """Choose alpha and fit.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or structures of environments
            A row per sample (dense or CSR), or a sequence of 2-D arrays, one per structure.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Targets.
        sample_weight : array-like of shape (n_samples,), default=None
            Sample weights.
        groups : array-like of shape (n_samples,), default=None
            Samples of one group (frames of one trajectory) are left out together; exact, at
            the cost of a factorization per alpha. Not for the evidence.

        Returns
        -------
        self : object
            Fitted estimator.

        Raises
        ------
        ValueError
            If `alphas` or other input is invalid.
        """
        rows, one_target = self._training_rows(X, y, sample_weight, reset=True)
        if groups is not None:
            check_consistent_length(X, groups)
            if self.scoring == "evidence":
                raise ValueError("groups cannot be left out with scoring='evidence'")
        rows = rows.seen() if groups is None else rows
        self.alphas_ = self._checked_alphas(rows)
        path = None
        if groups is None:
            gamma = Prior(1.0, self.regularizer).gamma
            path = AlphaPath(rows, gamma, self.alphas_.min())
            scores, excluded = self._path_scores(path, rows)
        else:
            scores, excluded = self._group_scores(rows, groups)
        self.n_excluded_per_alpha_ = excluded
        self._pick(scores, one_target)
        alphas = self._alphas(rows.n_rhs)
        prior = Prior(alphas.min(), self.regularizer)
        if path is not None and path.stream is not None and self.solver == "auto":
            factor = path.stream.finish(prior)
        else:
            factor = choose(rows, prior, method=self.solver)
        self._adopt(factor, rows, alphas, one_target)
        return self

    @property
    def _alpha(self) -> Any:
        return self.alpha_

    def _checked_alphas(self, rows: Rows) -> np.ndarray:
        if self.alphas is None:
            return np.logspace(-10, 10, 21) * _mean_square(rows)
        alphas = np.asarray(self.alphas, dtype=np.float64).ravel()
        lowest = alphas.min(initial=np.inf)
        positive = self.scoring == "evidence"
        if not len(alphas) or not np.isfinite(alphas).all() or lowest < 0:
            raise ValueError(
                f"alphas must be a non-empty list of finite numbers >= 0, got {self.alphas!r}"
            )
        if positive and lowest == 0:
            raise ValueError("alphas must be positive with scoring='evidence'")
        return alphas

    def _path_scores(self, path: AlphaPath, rows: Rows) -> tuple[np.ndarray, np.ndarray]:
        frequency = self.weight_type == "frequency"
        weight = np.ones(len(rows)) if rows.weight is None else rows.weight
        if self.scoring == "evidence":
            n = weight.sum() if frequency else float(len(rows))
            logs = 0.0 if frequency else float(np.log(weight).sum())
            scores = path.evidence(self.alphas_, n, logs)
            return scores, np.zeros(len(scores), dtype=int)
        sums = path.leave_one_out(self.alphas_, units=frequency)
        total = np.where(sums.weight > 0, sums.weight, np.nan)[:, None]
        if self.scoring == "log_likelihood":
            scores = _log_likelihood(
                sums.scaled_squares / total, sums.log_variance[:, None] / total
            )
        else:
            scores = -sums.squares / total
        return np.where(np.isnan(scores), -np.inf, scores), sums.n_excluded

    def _group_scores(self, rows: Rows, groups: Any) -> tuple[np.ndarray, np.ndarray]:
        weight = np.ones(len(rows)) if rows.weight is None else rows.weight
        noise = np.ones(len(rows))
        if self.weight_type == "precision":
            noise = 1 / np.where(weight > 0, weight, np.inf)
        scores, excluded = [], []
        for alpha in self.alphas_:
            residual, q = self._leave_out(rows, np.asarray(alpha), groups)
            kept = np.isfinite(q)
            excluded.append(int((~kept & (weight > 0)).sum()))
            share = weight[kept] / max(weight[kept].sum(), np.finfo(float).tiny)
            variance = noise[kept] + q[kept]
            if not share.any():
                scores.append(np.full(rows.n_rhs, -np.inf))
            elif self.scoring == "log_likelihood":
                squares = share @ (residual[kept] ** 2 / variance[:, None])
                scores.append(_log_likelihood(squares, share @ np.log(variance)))
            else:
                scores.append(-(share @ residual[kept] ** 2))
        return np.array(scores), np.array(excluded)

    def _pick(self, scores: np.ndarray, one_target: bool) -> None:
        if self.alpha_per_target and not one_target:
            best = scores.argmax(axis=0)
            self.scores_ = scores
            self.alpha_ = self.alphas_[best]
            self.best_score_ = scores[best, np.arange(scores.shape[1])]
            return
        mean = scores.mean(axis=1)
        self.scores_ = scores[:, 0] if one_target else scores
        self.alpha_ = float(self.alphas_[mean.argmax()])
        self.best_score_ = float(mean.max())


def _log_likelihood(mean_square: np.ndarray, mean_log: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return -0.5 * (np.log(2 * np.pi * mean_square) + 1 + mean_log)


def _mean_square(rows: Rows) -> float:
    total = 0.0
    weight = np.ones(len(rows)) if rows.weight is None else rows.weight
    for piece in rows.blocks():
        block = np.empty((piece.stop - piece.start, rows.n_features))
        rows.fill(block, piece)
        total += float(np.einsum("i,ij,ij->", weight[piece], block, block))
    mean = total / (weight.sum() * rows.n_features)
    return mean if mean > 0 else 1.0
