"""Ridge regression with alpha chosen in closed form."""

from __future__ import annotations

import warnings
from typing import Any, Self

import numpy as np
from sklearn.base import _fit_context

from ..distributed import ChunkedRows
from ..gradients import check_groups
from ..hessian import AlphaPath, Prior, Rows, choose
from ..hessian.array_api import ArrayRows
from ..hessian.array_api import mean_square as square_on_device
from ._cv_chunks import ChunkedPath, check_scoring, mean_square
from ._cv_scoring import BUILT_IN, error_scores, left_out_scores, resolve, results
from ._left_out_model import Samples
from ._on_device import fit_on_device
from ._ridge import RigidRidge, RigidRidgeBase

# Scores that differ by less, relatively, are equal; ties over more than a factor of ten count.
_EQUAL, _DECADE = 1e-10, 9.99


class RigidRidgeCV(RigidRidgeBase):
    r"""`RigidRidge` with alpha chosen by leave-one-out scores or by evidence.

    All alphas come from one decomposition of the training rows, nothing is refitted.

    Parameters
    ----------
    alphas : array-like of shape (n_alphas,), default=None
        Regularization strengths to choose from, not negative (positive for the evidence).
        None is 21 values from 1e-10 to 1e10 times the mean square of a feature.
    scoring : str, callable, list of str or dict, default="neg_mean_squared_error"
        What is maximized: "neg_mean_squared_error", the leave-one-out mean squared error
        (negative); "log_likelihood", the leave-one-out predictive log-likelihood per sample with
        ``var = sigma**2 (1 + 1 / R)`` and sigma at its optimum; "evidence", the log marginal
        likelihood, intercept integrated out; the name of a scorer in
        `skrigidity.metrics.get_scorer_names` or of scikit-learn, or a scorer, see Notes. Several,
        as a list of names or a dict of names and scorers, are compared in ``cv_results_``.
    refit : str, default=None
        Where there are several scores: which of them chooses alpha.
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
        Their scores, by the score that chose.
    cv_results_ : dict
        As of scikit-learn's searches: "params", "param_alpha" and, for every score,
        "mean_test_<name>" and "rank_test_<name>" (the name of a single one being "score"),
        averaged over targets.
    n_excluded_per_alpha_ : ndarray of shape (n_alphas,)
        Number of samples left out of each score because they alone determine a direction.
    coef_, intercept_, hessian_, scale_, noise_variance_, effective_dof_ :
        As in `RigidRidge`.

    Notes
    -----
    One unit of sample weight is left out at a time (rows as a whole with
    ``weight_type="precision"``), or a group. Scorers are applied once per alpha (and target) to
    the predictions of all left-out samples together, to their error bars and rigidities, local
    and component ones included, all of them of models that have not seen the sample. Error bars
    are those of `calibration`: "bayesian", as every one of these models would have them; "loo",
    with C from the residuals of all other samples; None, as they are. So "mean_log_likelihood"
    differs from "log_likelihood", whose scale is at its optimum for the left-out samples.

    Scores of rigidities grow with alpha. Look at them, but do not let them choose.

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

    Several scores:

    >>> scores = ["neg_crps", "rigidity_log_mean", "r2"]
    >>> model.set_params(scoring=scores, refit="neg_crps").fit(X, y).alpha_
    0.1
    >>> model.cv_results_["mean_test_rigidity_log_mean"].round(2)
    array([2.1 , 2.11, 2.28])
    """

    _parameter_constraints: dict = {
        **RigidRidge._parameter_constraints,
        "alphas": ["array-like", None],
        "scoring": [str, callable, list, tuple, dict],
        "refit": [str, None],
        "alpha_per_target": ["boolean"],
    }
    _parameter_constraints.pop("alpha")

    def __init__(
        self,
        alphas: Any = None,
        *,
        scoring: Any = "neg_mean_squared_error",
        refit: str | None = None,
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
        self.refit = refit
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
            Samples of one group (frames of one trajectory) are left out together, also by
            ``calibration="loo"``; exact. Not for the evidence.

        Returns
        -------
        object
            Fitted estimator.

        Raises
        ------
        ValueError
            If `alphas`, `scoring`, `refit` or other input is invalid.

        Examples
        --------
        >>> import numpy as np
        >>> from skrigidity import RigidRidgeCV
        >>> X = np.random.default_rng(0).standard_normal((20, 3))
        >>> float(RigidRidgeCV([0.1, 10.0]).fit(X, X[:, 0]).alpha_)
        0.1
        """
        rows, shape = self._training_rows(X, y, sample_weight, reset=True)
        scorers, chosen = resolve(self.scoring, self.refit)
        if isinstance(rows, ArrayRows):
            fit_on_device(self, rows.seen(), shape, (scorers, chosen), groups)
            return self
        if isinstance(rows, ChunkedRows):
            check_scoring(scorers, groups)
            if len(rows) > 2 * rows.n_features + 2:
                return self._fit_chunks(rows, scorers, chosen, shape)
            rows = rows.collected()  # no larger than two Hessians
        labels = check_groups(groups, len(rows))
        if labels is not None and "evidence" in scorers.values():
            raise ValueError("groups cannot be left out with scoring='evidence'")
        seen = np.arange(len(rows))
        if rows.weight is not None and not rows.weight.all():
            seen = np.flatnonzero(rows.weight)
            rows = rows[seen]
            labels = None if labels is None else np.unique(labels[seen], return_inverse=True)[1]
        self.alphas_ = self._checked_alphas(rows, "evidence" in scorers.values())
        path = AlphaPath(rows, Prior(1.0, self.regularizer).gamma, self.alphas_.min())
        scores = self._scores(scorers, Samples(X, seen), rows, path, labels)
        self.cv_results_ = results(scores, self.alphas_)
        self._pick(scores[chosen], one_target=not shape)
        alphas = self._alphas(rows.n_rhs)
        prior = Prior(alphas.min(), self.regularizer)
        if path.stream is not None and self.solver == "auto":
            factor = path.stream.finish(prior)
        else:
            factor = choose(rows, prior, method=self.solver)
        self._adopt(factor, rows, alphas, shape, labels)
        return self

    def _fit_chunks(self, rows: Any, scorers: dict[str, Any], chosen: str, shape: Any) -> Self:
        """Choose alpha and fit where rows stay in their chunks."""
        names = set(scorers.values())
        self.alphas_ = self._checked_alphas(rows, "evidence" in names)
        path = ChunkedPath(rows, Prior(1.0, self.regularizer).gamma, self.alphas_)
        found: dict[str, np.ndarray] = {}
        units, counts = self.weight_type == "frequency", rows.sums()
        self.n_excluded_per_alpha_ = np.zeros(len(self.alphas_), dtype=int)
        if names - {"evidence"}:
            found, self.n_excluded_per_alpha_ = path.error_sums(units=units).scores()
        if "evidence" in names:
            n, logs = (counts[1], 0.0) if units else (counts[0], path.log_weights())
            found["evidence"] = path.evidence(self.alphas_, float(n), logs)
        scores = {name: found[scorer] for name, scorer in scorers.items()}
        self.cv_results_ = results(scores, self.alphas_)
        self._pick(scores[chosen], one_target=not shape)
        alphas = self._alphas(rows.n_rhs)
        prior = Prior(alphas.min(), self.regularizer)
        self._adopt(choose(rows, prior, method=self.solver), rows, alphas, shape)
        return self

    @property
    def _alpha(self) -> Any:
        return self.alpha_

    def _checked_alphas(self, rows: Any, positive: bool) -> np.ndarray:
        if self.alphas is None:
            square = square_on_device if isinstance(rows, ArrayRows) else _variance
            return np.logspace(-10, 10, 21) * square(rows)
        alphas = np.asarray(self.alphas, dtype=np.float64).ravel()
        lowest = alphas.min(initial=np.inf)
        if not len(alphas) or not np.isfinite(alphas).all() or lowest < 0:
            raise ValueError(
                f"alphas must be a non-empty list of finite numbers >= 0, got {self.alphas!r}"
            )
        if positive and lowest == 0:
            raise ValueError("alphas must be positive with scoring='evidence'")
        return alphas

    def _scores(
        self,
        scorers: dict[str, Any],
        samples: Samples,
        rows: Rows,
        path: AlphaPath,
        labels: np.ndarray | None,
    ) -> dict[str, np.ndarray]:
        """Return every score, of shape (n_alphas, n_targets), and count what is left out."""
        others = {name: scorer for name, scorer in scorers.items() if scorer not in BUILT_IN}
        names = {scorer for name, scorer in scorers.items() if name not in others}
        excluded = np.zeros(len(self.alphas_), dtype=int)
        scores: dict[str, np.ndarray] = {}
        found: dict[str, np.ndarray] = {}
        if "evidence" in names:
            found["evidence"] = self._evidence(rows, path)
        if names - {"evidence"}:
            units = self.weight_type == "frequency"
            errors, excluded = error_scores(path, self.alphas_, labels, units=units)
            found.update(errors)
        if others:
            scores, excluded = left_out_scores(
                self, others, samples, rows, self.alphas_, path, labels
            )
        self.n_excluded_per_alpha_ = excluded
        return {n: scores[n] if n in scores else found[s] for n, s in scorers.items()}

    def _evidence(self, rows: Rows, path: AlphaPath) -> np.ndarray:
        weight = np.ones(len(rows)) if rows.weight is None else rows.weight
        if self.weight_type == "frequency":
            return path.evidence(self.alphas_, weight.sum(), 0.0)
        return path.evidence(self.alphas_, float(len(rows)), float(np.log(weight).sum()))

    def _pick(self, scores: np.ndarray, *, one_target: bool) -> None:
        several = self.alpha_per_target and not one_target
        judged = scores if several else scores.mean(axis=1, keepdims=True)
        best = _largest_of_best(judged, self.alphas_)
        self.scores_ = scores[:, 0] if one_target else scores
        alpha, score = self.alphas_[best], judged[best, np.arange(len(best))]
        self.alpha_, self.best_score_ = (alpha, score) if several else (alpha[0], score[0])


def _largest_of_best(scores: np.ndarray, alphas: np.ndarray) -> np.ndarray:
    """Return the best alpha of every column, the largest where scores are equal; warn of doubt."""
    top = scores.max(axis=0)
    with np.errstate(invalid="ignore"):
        equal = scores >= top - _EQUAL * np.abs(top)
    equal |= scores == top
    best = np.array([np.flatnonzero(e)[np.argmax(alphas[e])] for e in equal.T])
    tied = [alphas[e] for e in equal.T]
    if any(values.max() > _DECADE * values.min() for values in tied):
        warnings.warn(
            "scores do not tell between alphas from "
            f"{min(v.min() for v in tied):.3g} to {max(v.max() for v in tied):.3g}: the largest of "
            "the best was taken",
            UserWarning,
            stacklevel=5,
        )
    elif alphas.min() < alphas.max() and np.isin(alphas[best], (alphas.min(), alphas.max())).any():
        warnings.warn(
            f"the best alpha, {alphas[best].tolist()}, is at the edge of the grid from "
            f"{alphas.min():.3g} to {alphas.max():.3g}: extend alphas, or look at the data again",
            UserWarning,
            stacklevel=5,
        )
    return best


def _variance(rows: Rows) -> float:
    """Return the mean square of a feature, about its mean where rows have an intercept."""
    if isinstance(rows, ChunkedRows):
        return mean_square(rows) or 1.0
    weight = np.ones(len(rows)) if rows.weight is None else rows.weight
    centre, total = np.zeros(rows.n_features), 0.0
    for piece, block in rows.numbered():
        centre += weight[piece] @ block.dense()
    centre *= rows.has_intercept / weight.sum()
    for piece, block in rows.numbered():
        total += float(weight[piece] @ np.square(block.dense() - centre).sum(axis=1))
    mean = total / (weight.sum() * rows.n_features)
    return mean if mean > 0 else 1.0
