"""Conformal prediction intervals as wide as rigidities say, through MAPIE."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._extras import import_extra
from ._unwrap import prediction_std

_Base: Any = import_extra(
    "mapie.conformity_scores", extra="conformal", needed_by="RigidityConformityScore"
).BaseRegressionScore

__all__ = ["RigidityConformityScore"]


class RigidityConformityScore(_Base):
    r"""Conformity score for MAPIE: the residual in units of its standard deviation.

    Intervals ``prediction ± quantile * std(x)`` cover a new sample with at least the probability
    that was asked for, whatever the distribution of errors and however wrong the error bars, as
    long as the conformalization set and the new samples are exchangeable: this is a guarantee on
    average over samples, not for each of them. The better the error bars, the closer the coverage
    of any subset of samples comes to that of all.

    Parameters
    ----------
    estimator : object
        Fitted estimator whose standard deviations `prediction_std` finds: one of this package, or
        a pipeline, a search or a target transform around one. Neither it nor its calibration may
        have seen the conformalization set.
    sym : bool, default=True
        Whether intervals are symmetric about the prediction.

    See Also
    --------
    skrigidity.metrics.prediction_std : The standard deviations.

    Notes
    -----
    A common factor of all error bars drops out, the quantile replaces it. The ratio of C to sigma
    does not: where part of the error has other causes than too little data, intervals without
    sigma are too wide for loosely and too narrow for firmly pinned predictions. On the bundled
    carbon set, at 90 %, the loosest and firmest quarters were covered by 91 % and 89 % with
    ``calibration="bayesian"``, by 97 % and 82 % without sigma.

    Where a prediction is pinned by nothing (R = 0, an infinite standard deviation) the interval
    is the whole line, and its score is 0; where the standard deviation is 0, any error has an
    infinite score, and the interval is the prediction itself. Both keep the guarantee.

    For ``SplitConformalRegressor(prefit=True)``: the score must know the fitted estimator, so
    that one which MAPIE fits (cross-conformal, jackknife) does not go with it. MAPIE's own
    ``ResidualNormalisedScore`` estimates a scale from X instead, which costs part of the data.

    References
    ----------
    Lei, G'Sell, Rinaldo, Tibshirani, Wasserman, J. Am. Stat. Assoc. 113, 1094 (2018), section
    5.2.

    Examples
    --------
    >>> import numpy as np
    >>> from mapie.regression import SplitConformalRegressor
    >>> from skrigidity.linear_model import RigidRidge
    >>> from skrigidity.metrics.conformal import RigidityConformityScore
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((300, 3))
    >>> y = X.sum(axis=1) + rng.standard_normal(300)
    >>> model = RigidRidge(calibration=None).fit(X[:100], y[:100])
    >>> conformal = SplitConformalRegressor(
    ...     model, confidence_level=0.9, conformity_score=RigidityConformityScore(model)
    ... )
    >>> _ = conformal.conformalize(X[100:200], y[100:200])
    >>> y_pred, interval = conformal.predict_interval(X[200:])
    >>> inside = (interval[:, 0, 0] <= y[200:]) & (y[200:] <= interval[:, 1, 0])
    >>> round(float(inside.mean()), 2)
    0.96
    """

    def __init__(self, estimator: Any, sym: bool = True) -> None:
        # Scores of 0 and inf do not determine the target: no consistency to check.
        super().__init__(sym=sym, consistency_check=False)
        self.estimator = estimator

    def get_signed_conformity_scores(
        self, y: Any, y_pred: Any, X: Any = None, **kwargs: Any
    ) -> np.ndarray:
        """Return residuals in units of their standard deviations.

        Parameters
        ----------
        y : array-like of shape (n_samples,)
            Targets.
        y_pred : array-like of shape (n_samples,)
            Predictions.
        X : array-like, structures, or whatever the estimator predicts from
            Samples.
        **kwargs : dict
            Not used.

        Returns
        -------
        ndarray of shape (n_samples,)
            Scores.
        """
        e = np.subtract(y, y_pred)
        std = self._std(X)
        certain = np.where(e == 0, 0.0, np.copysign(np.inf, e))
        return np.divide(e, std, out=certain, where=std > 0)

    def get_estimation_distribution(
        self, y_pred: Any, conformity_scores: Any, X: Any = None, **kwargs: Any
    ) -> np.ndarray:
        """Return the targets that have given scores.

        Parameters
        ----------
        y_pred : array-like of shape (n_samples, n_predictions)
            Predictions.
        conformity_scores : array-like of shape (1, n_scores)
            Scores, such as quantiles of them.
        X : array-like, structures, or whatever the estimator predicts from
            Samples.
        **kwargs : dict
            Not used.

        Returns
        -------
        ndarray of shape (n_samples, n_scores)
            Predictions plus scores times standard deviations.
        """
        scores = np.asarray(conformity_scores, dtype=np.float64)
        std = self._std(X)[:, None]
        with np.errstate(invalid="ignore"):
            width = scores * std
        # A prediction that nothing pins may be anywhere, an infinite score allows anything.
        unbounded = np.isinf(std) | np.isinf(scores)
        return np.asarray(y_pred) + np.where(unbounded, np.copysign(np.inf, scores), width)

    def _std(self, X: Any) -> np.ndarray:
        if X is None:
            raise ValueError("X must be given: this score depends on the sample")
        return prediction_std(self.estimator, X)
