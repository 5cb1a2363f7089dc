"""Scorers of `RigidRidgeCV`: which are asked for, and what they say of samples left out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from inspect import signature
from typing import Any, NamedTuple

import numpy as np
from sklearn.metrics import get_scorer

from ..hessian import AlphaPath, Rows
from ._left_out_model import LeftOutModel, LeftOutSet, Samples

# Scores that need no scorer: sums over a decomposition of the rows.
BUILT_IN = ("neg_mean_squared_error", "log_likelihood", "evidence")
# What finds a scorer by its name; `skrigidity.metrics` brings its own.
_look_up: Callable[[str], Callable] = get_scorer
# Numbers per array of left-out rows, above which alphas are taken in turn.
_AT_A_TIME = 2**24


class Scoring(NamedTuple):
    """What to score by.

    Attributes
    ----------
    scorers : dict of str to str or callable
        One of `BUILT_IN`, or a scorer, by the names they have in ``cv_results_``.
    chosen : str
        The name of the one that chooses alpha.
    """

    scorers: dict[str, Any]
    chosen: str


def resolve(scoring: Any, refit: Any) -> Scoring:
    """Look up scorers by name, and which of them decides."""
    if isinstance(scoring, str) or callable(scoring):
        if refit is not None:
            raise ValueError(f"refit must be None where scoring is a single one, got {refit!r}")
        return _judged(Scoring({"score": _scorer(scoring)}, "score"))
    if not isinstance(scoring, dict):
        names = list(scoring)
        if not all(isinstance(name, str) for name in names):
            raise ValueError(
                f"scoring must be a list of names, or a dict where there are callables: {names!r}"
            )
        scoring = {name: name for name in names}
    if refit not in scoring:
        raise ValueError(
            f"refit must name the score that chooses alpha, one of {list(scoring)}, got {refit!r}"
        )
    return _judged(Scoring({name: _scorer(value) for name, value in scoring.items()}, refit))


def _judged(scoring: Scoring) -> Scoring:
    if getattr(scoring.scorers[scoring.chosen], "grows_with_alpha", False):
        raise ValueError(
            "scoring: a score of rigidities must not choose alpha, with which all rigidities grow; "
            "give it beside others, scoring=[..., 'neg_crps'], and refit='neg_crps'"
        )
    return scoring


def set_scorers(look_up: Callable[[str], Callable]) -> None:
    """Let `RigidRidgeCV(scoring=...)` know more scorers by name than scikit-learn's.

    Parameters
    ----------
    look_up : callable
        Returns the scorer of a name; raises ValueError, with a hint, where there is none.
    """
    global _look_up
    _look_up = look_up


def _scorer(scoring: Any) -> Any:
    if callable(scoring) or scoring in BUILT_IN:
        return scoring
    if not isinstance(scoring, str):
        raise ValueError(f"scoring must be made of names and callables, got {scoring!r}")
    try:
        return _look_up(scoring)
    except ValueError as error:
        raise ValueError(f"scoring: {error}, and {', '.join(BUILT_IN)}") from None


def left_out_scores(
    owner: Any,
    scorers: dict[str, Callable],
    samples: Samples,
    rows: Rows,
    alphas: np.ndarray,
    path: AlphaPath,
    groups: np.ndarray | None,
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Score every alpha and target by predictions of samples, or groups, that were left out.

    Parameters
    ----------
    owner : RigidRidgeCV
        The estimator.
    scorers : dict of str to callable
        Scorers by name.
    samples : Samples
        What `rows` were made from.
    rows : Rows
        Training rows.
    alphas : ndarray of shape (n_alphas,)
        Regularization strengths.
    path : AlphaPath
        Decomposition of the rows.
    groups : ndarray of int of shape (n_rows,) or None
        Rows with the same number are left out together.

    Returns
    -------
    scores : dict of str to ndarray of shape (n_alphas, n_targets)
        Greater is better; -inf where nothing is left to score.
    n_excluded : ndarray of shape (n_alphas,)
        Number of samples without which some direction is not determined.
    """
    scores = {name: np.full((len(alphas), rows.n_rhs), -np.inf) for name in scorers}
    excluded = np.zeros(len(alphas), dtype=int)
    for piece in _pieces(max(len(rows) * rows.n_rhs, _entries(groups)), len(alphas)):
        data = LeftOutSet(owner, samples, rows, alphas[piece], path, groups)
        for a, q in enumerate(data.left.quad.T, start=piece.start):
            kept = np.flatnonzero(np.isfinite(q))
            excluded[a] = len(q) - len(kept)
            if not len(kept):
                continue
            X = samples.take(kept)
            weight = None if rows.weight is None else data.weight[kept]
            for t in range(rows.n_rhs):
                model = LeftOutModel(data, a - piece.start, t, kept)
                for name, scorer in scorers.items():
                    score = _call(scorer, model, X, rows.rhs[kept, t], weight)
                    scores[name][a, t] = -np.inf if np.isnan(score) else score
    return scores, excluded


def error_scores(
    path: AlphaPath, alphas: np.ndarray, groups: np.ndarray | None, *, units: bool
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Sum up what samples that were left out say, batch by batch.

    Parameters
    ----------
    path : AlphaPath
        Decomposition of the rows.
    alphas : ndarray of shape (n_alphas,)
        Regularization strengths.
    groups : ndarray of int of shape (n_rows,) or None
        Rows with the same number are left out together.
    units : bool
        Weights count repetitions; else they are inverse variances.

    Returns
    -------
    scores : dict of str to ndarray of shape (n_alphas, n_targets)
        By the names of the two scores; -inf where nothing is left to score.
    n_excluded : ndarray of int of shape (n_alphas,)
        Number of rows without which some direction is not determined.
    """
    found = [
        _error_sums(path, alphas[piece], groups, units).scores()
        for piece in _pieces(_entries(groups), len(alphas))
    ]
    scores = {name: np.concatenate([each[name] for each, _ in found]) for name in found[0][0]}
    return scores, np.concatenate([excluded for _, excluded in found])


class ErrorSums(NamedTuple):
    """Sums over left-out rows, at every alpha.

    Attributes
    ----------
    squares, scaled : ndarray of shape (n_alphas, n_rhs)
        Weighted squares of residuals, as they are and over their variances.
    logs, total : ndarray of shape (n_alphas,)
        Weighted logarithms of variances, and weights.
    excluded : ndarray of int of shape (n_alphas,)
        Number of rows without which some direction is not determined.
    """

    squares: np.ndarray
    scaled: np.ndarray
    logs: np.ndarray
    total: np.ndarray
    excluded: np.ndarray

    @classmethod
    def nothing(cls, shape: tuple[int, int]) -> ErrorSums:
        """Return sums over no rows, for so many alphas and right-hand sides."""
        n = shape[0]
        return cls(np.zeros(shape), np.zeros(shape), np.zeros(n), np.zeros(n), np.zeros(n, int))

    @classmethod
    def of(cls, residual: np.ndarray, quad: np.ndarray, weight: Any, units: bool) -> ErrorSums:
        """Return sums over rows with residuals (n, n_alphas, n_rhs) and forms (n, n_alphas)."""
        weight = weight[:, None]
        lost = ~np.isfinite(quad)
        counted = np.where(lost, 0.0, weight)
        variance = (1.0 if units else 1 / weight) + np.where(lost, 1.0, quad)
        return cls(
            np.einsum("ia,iat->at", counted, residual**2),
            np.einsum("ia,iat->at", counted / variance, residual**2),
            (counted * np.log(variance)).sum(axis=0),
            counted.sum(axis=0),
            lost.sum(axis=0),
        )

    def plus(self, other: ErrorSums) -> ErrorSums:
        """Return the sums over the rows of both."""
        return ErrorSums(*(a + b for a, b in zip(self, other, strict=True)))

    def scores(self) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Return the scores, and the number of rows that are excluded."""
        each = self.total[:, None]
        with np.errstate(divide="ignore", invalid="ignore"):
            likelihood = np.log(2 * np.pi * self.scaled / each) + 1 + self.logs[:, None] / each
            scores = {
                "neg_mean_squared_error": -self.squares / each,
                "log_likelihood": -0.5 * likelihood,
            }
        return {n: np.where(np.isnan(v), -np.inf, v) for n, v in scores.items()}, self.excluded


def _error_sums(
    path: AlphaPath, alphas: np.ndarray, groups: np.ndarray | None, units: bool
) -> ErrorSums:
    rows, n_alphas = path.rows, len(alphas)
    sums = ErrorSums.nothing((n_alphas, rows.n_rhs))
    for batch in path.left_out(alphas, groups, units=units):
        members, quad = batch.members.ravel(), batch.quad.reshape(-1, n_alphas)
        weight = np.ones(len(quad)) if rows.weight is None else rows.weight[members]
        residual = batch.residual.reshape(len(quad), n_alphas, -1)
        sums = sums.plus(ErrorSums.of(residual, quad, weight, units))
    return sums


def results(scores: dict[str, np.ndarray], alphas: np.ndarray) -> dict[str, Any]:
    """Return scores as the ``cv_results_`` of a search."""
    out: dict[str, Any] = {
        "params": [{"alpha": float(alpha)} for alpha in alphas],
        "param_alpha": alphas.copy(),
    }
    for name, values in scores.items():
        mean = values.mean(axis=1)
        out[f"mean_test_{name}"] = mean
        out[f"rank_test_{name}"] = (mean[:, None] < mean).sum(axis=1).astype(np.int32) + 1
    return out


def _entries(groups: np.ndarray | None) -> int:
    """Return how many entries the blocks of all groups have."""
    return 0 if groups is None else int((np.bincount(groups) ** 2).sum())


def _pieces(size: int, n_alphas: int) -> Iterator[slice]:
    step = max(1, _AT_A_TIME // max(1, size))
    for start in range(0, n_alphas, step):
        yield slice(start, min(start + step, n_alphas))


def _call(scorer: Callable, model: Any, X: Any, y: np.ndarray, weight: np.ndarray | None) -> float:
    if weight is None or not _takes_weights(scorer):
        return float(scorer(model, X, y))
    return float(scorer(model, X, y, sample_weight=weight))


def _takes_weights(scorer: Callable) -> bool:
    function = getattr(scorer, "_score_func", scorer)
    return "sample_weight" in signature(function).parameters
