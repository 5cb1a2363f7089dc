"""Scorers for scikit-learn's searches and cross-validation: of rigidities and of error bars."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from numbers import Real
from typing import Any, Literal, Self

import numpy as np
from sklearn.metrics import get_scorer
from sklearn.metrics import get_scorer_names as get_scikit_learn_names
from sklearn.utils._param_validation import Interval, StrOptions, validate_params
from sklearn.utils.metadata_routing import MetadataRequest

from ._potentials import neg_mae_energy, neg_mae_forces
from ._uncertainty import (
    checked_weight,
    crps,
    error_uncertainty_correlation,
    miscalibration_area,
    neg_log_likelihood,
    sharpness,
)
from ._unwrap import _mean_and_std, component_rigidity, local_rigidity, prediction_rigidity

Level = Literal["global", "local", "component"]
Statistic = Literal["mean", "log_mean", "min", "quantile"]
# And what the names of their scorers begin with.
LEVELS: dict[Level, str] = {"global": "", "local": "local_", "component": "component_"}
STATISTICS: tuple[Statistic, ...] = ("mean", "log_mean", "min", "quantile")


class RigidityAwareScorer:
    """What both kinds of scorers are to scikit-learn: a callable that may request weights."""

    _requested: bool | str | None = None

    def set_score_request(self, *, sample_weight: bool | str | None = None) -> Self:
        """Say whether to pass sample weights, where metadata routing is enabled.

        Parameters
        ----------
        sample_weight : bool, str or None
            True, False, the name under which they come, or None: an error if there are any.

        Returns
        -------
        object
            The same scorer.
        """
        self._requested = sample_weight
        return self

    def get_metadata_routing(self) -> MetadataRequest:
        """Return what metadata this scorer requests.

        Returns
        -------
        MetadataRequest
            The request.
        """
        request = MetadataRequest(owner=self)
        request.score.add_request(param="sample_weight", alias=self._requested)
        return request

    def _accept_sample_weight(self) -> bool:
        # Searches ask this of their scorers where metadata routing is off.
        return True

    def _routing_repr(self) -> str:
        return repr(self)


@dataclass(repr=False, eq=False)
class UncertaintyScorer(RigidityAwareScorer):
    """See `make_uncertainty_scorer`."""

    _score_func: Callable
    _sign: int
    _kwargs: dict[str, Any]

    def __call__(
        self, estimator: Any, X: Any, y: Any = None, *, sample_weight: Any = None
    ) -> float:
        """Score a fitted regressor; greater is better."""
        mean, std = _mean_and_std(estimator, X)
        weight = {} if sample_weight is None else {"sample_weight": sample_weight}
        return self._sign * self._score_func(y, mean, std, **weight, **self._kwargs)

    def __repr__(self) -> str:
        sign = "" if self._sign > 0 else ", greater_is_better=False"
        extra = "".join(f", {name}={value!r}" for name, value in self._kwargs.items())
        return f"make_uncertainty_scorer({self._score_func.__name__}{sign}{extra})"


@dataclass(repr=False, eq=False)
class RigidityScorer(RigidityAwareScorer):
    """See `make_rigidity_scorer`."""

    grows_with_alpha = True  # so that it must not choose alpha

    _level: Level
    _statistic: Statistic
    _quantile: float
    _components: Any

    def __call__(
        self, estimator: Any, X: Any, y: Any = None, *, sample_weight: Any = None
    ) -> float:
        """Score a fitted estimator; greater is firmer. The targets are not used."""
        if self._level == "local":
            R = local_rigidity(estimator, X)
        elif self._level == "component":
            R = component_rigidity(estimator, X, self._components)
        else:
            R = prediction_rigidity(estimator, X)
        R, weight = _flat(R, sample_weight)
        return _summary(R, weight, self._statistic, self._quantile)

    def __repr__(self) -> str:
        extra = f", quantile={self._quantile}" if self._statistic == "quantile" else ""
        if self._components is not None:
            extra += f", components={self._components!r}"
        return f"make_rigidity_scorer({self._level!r}, {self._statistic!r}{extra})"


@validate_params(
    {
        "level": [StrOptions(set(LEVELS))],
        "statistic": [StrOptions(set(STATISTICS))],
        "quantile": [Interval(Real, 0, 1, closed="both")],
        "components": "no_validation",
    },
    prefer_skip_nested_validation=True,
)
def make_rigidity_scorer(
    level: Level = "global",
    statistic: Statistic = "log_mean",
    *,
    quantile: float = 0.05,
    components: Any = None,
) -> RigidityScorer:
    r"""Make a scorer of how firmly the training data pin predictions of the scored samples.

    It needs no targets. **It is for looking, never for choosing:** all rigidities grow with the
    regularization strength, so that maximizing them chooses the stiffest model, not a good one.
    Watch it next to a score of the errors, and let that one choose (``refit=`` of a search).

    Parameters
    ----------
    level : {"global", "local", "component"}, default="global"
        Rigidity of whole samples, of environments, or of component predictions.
    statistic : {"mean", "log_mean", "min", "quantile"}, default="log_mean"
        Over all samples, environments, components and (where rigidities differ between them)
        targets or classes together. "log_mean" is the mean of :math:`\ln R`: rigidities span
        decades, and their plain mean is that of the largest.
    quantile : float, default=0.05
        Which one, for "quantile": the smallest rigidity that at least this share do not exceed.
    components : list of int, list of slice, or dict of columns, default=None
        For "component": of the features that enter the last step; None where that has its own.

    Returns
    -------
    RigidityScorer
        A callable ``scorer(estimator, X, y=None, sample_weight=None)`` for `GridSearchCV`,
        `cross_validate` and the like, greater being firmer. It sees through pipelines, searches
        and target transforms.

    Notes
    -----
    Predictions that cannot move (R = inf: a component that vanishes) are left out, there being
    nothing to pin; the score is inf if there are no others. One that nothing pins (R = 0) counts:
    "min" is then 0 and "log_mean" -inf. A structure's weight is that of each of its environments.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.model_selection import cross_validate
    >>> from skrigidity.linear_model import RigidRidge
    >>> from skrigidity.metrics import make_rigidity_scorer
    >>> X = np.random.default_rng(0).standard_normal((60, 4))
    >>> scoring = {"firmness": make_rigidity_scorer("global", "min"), "r2": "r2"}
    >>> scores = cross_validate(RigidRidge(0.1), X, X.sum(axis=1), scoring=scoring, cv=3)
    >>> scores["test_firmness"].round(1)
    array([3.4, 2.5, 2.6])
    """
    return RigidityScorer(level, statistic, float(quantile), components)


def is_rigidity_scorer(scoring: Any) -> bool:
    """Tell whether a scorer is of rigidities, which no search must maximize.

    Parameters
    ----------
    scoring : str or callable
        A scorer or its name, as for ``scoring=``.

    Returns
    -------
    bool
        True for what `make_rigidity_scorer` makes and for its names in `get_scorer_names`.

    Examples
    --------
    >>> from skrigidity.metrics import is_rigidity_scorer, make_rigidity_scorer
    >>> is_rigidity_scorer(make_rigidity_scorer()), is_rigidity_scorer("neg_crps")
    (True, False)
    """
    return isinstance(scoring, RigidityScorer) or (
        isinstance(scoring, str) and scoring in _RIGIDITY
    )


@validate_params(
    {"score_func": [callable], "greater_is_better": ["boolean"]},
    prefer_skip_nested_validation=True,
)
def make_uncertainty_scorer(
    score_func: Callable, *, greater_is_better: bool = True, **kwargs: Any
) -> UncertaintyScorer:
    """Make a scorer of predictions and their error bars.

    The error bars are those that the fitted estimator has by itself: in cross-validation, its own
    calibration to the training folds (``calibration="loo"`` or "bayesian"), never to the samples
    that are scored.

    Parameters
    ----------
    score_func : callable
        ``score_func(y_true, y_pred, y_std, *, sample_weight=..., **kwargs)``; such as `crps`.
    greater_is_better : bool, default=True
        Whether it is a score; a loss changes its sign.
    **kwargs : dict
        Further arguments of `score_func`.

    Returns
    -------
    UncertaintyScorer
        A callable ``scorer(estimator, X, y, sample_weight=None)`` for `GridSearchCV`,
        `cross_validate` and the like. It sees through pipelines, searches and target transforms.

    Examples
    --------
    Coverage of intervals of two standard deviations:

    >>> import numpy as np
    >>> from sklearn.model_selection import cross_val_score
    >>> from skrigidity.linear_model import RigidRidge
    >>> from skrigidity.metrics import make_uncertainty_scorer
    >>> def coverage(y_true, y_pred, y_std):
    ...     return np.mean(np.abs(y_true - y_pred) <= 2 * y_std)
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((90, 4))
    >>> y = X.sum(axis=1) + rng.standard_normal(90)
    >>> model = RigidRidge(calibration="loo")
    >>> cross_val_score(model, X, y, scoring=make_uncertainty_scorer(coverage), cv=3).round(2)
    array([0.97, 0.97, 0.83])
    """
    return UncertaintyScorer(score_func, 1 if greater_is_better else -1, kwargs)


def get_scorer_names() -> list[str]:
    """Return the names that `get_scorers` knows besides those of scikit-learn.

    As in scikit-learn, a score whose name begins with "neg" is a loss with its sign changed:
    greater is better for all of them.

    Returns
    -------
    list of str
        ======================================  ===================================================
        name                                    score
        ======================================  ===================================================
        ``mean_log_likelihood``                 minus `neg_log_likelihood`
        ``neg_crps``                            minus `crps`
        ``neg_miscalibration_area``             minus `miscalibration_area`
        ``error_uncertainty_correlation``       `error_uncertainty_correlation`
        ``neg_mae_energy``                      minus errors of energies per atom, of potentials
        ``neg_mae_forces``                      minus errors of force components, of potentials
        ``neg_sharpness``                       minus `sharpness`
        ``rigidity_<statistic>``                `make_rigidity_scorer`, of whole samples
        ``local_rigidity_<statistic>``          of environments
        ``component_rigidity_<statistic>``      of the components that the estimator has
        ======================================  ===================================================

        The statistics are mean, log_mean, min and quantile (the 5 % quantile).

    Examples
    --------
    >>> from skrigidity.metrics import get_scorer_names
    >>> get_scorer_names()[-3:]
    ['rigidity_mean', 'rigidity_min', 'rigidity_quantile']
    """
    return sorted([*_UNCERTAINTY, *_RIGIDITY, *_POTENTIALS])


def get_scorers(names: str | Iterable[str]) -> dict[str, Callable]:
    """Return scorers by name, ready for ``scoring=``.

    Parameters
    ----------
    names : str or list of str
        Names from `get_scorer_names`, or of scikit-learn's own scorers.

    Returns
    -------
    dict of str to callable
        The scorers, by their names.

    Raises
    ------
    ValueError
        If there is none of a name.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.model_selection import GridSearchCV
    >>> from skrigidity.linear_model import RigidRidge
    >>> from skrigidity.metrics import get_scorers
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((60, 4))
    >>> y = X.sum(axis=1) + 0.1 * rng.standard_normal(60)
    >>> scoring = get_scorers(["mean_log_likelihood", "neg_crps", "rigidity_log_mean", "r2"])
    >>> search = GridSearchCV(
    ...     RigidRidge(), {"alpha": [0.1, 1.0, 10.0]}, scoring=scoring, refit="neg_crps"
    ... ).fit(X, y)
    >>> search.best_params_
    {'alpha': 0.1}
    >>> search.cv_results_["mean_test_rigidity_log_mean"].round(2)
    array([2.31, 2.32, 2.47])
    """
    names = [names] if isinstance(names, str) else list(names)
    return {name: _scorer(name) for name in names}


_UNCERTAINTY: dict[str, tuple[Callable, bool]] = {  # the function, and whether more is better
    "mean_log_likelihood": (neg_log_likelihood, False),
    "neg_crps": (crps, False),
    "neg_miscalibration_area": (miscalibration_area, False),
    "error_uncertainty_correlation": (error_uncertainty_correlation, True),
    "neg_sharpness": (sharpness, False),
}

_POTENTIALS = {f.__name__: f for f in (neg_mae_energy, neg_mae_forces)}

_RIGIDITY = {
    f"{prefix}rigidity_{statistic}": (level, statistic)
    for level, prefix in LEVELS.items()
    for statistic in STATISTICS
}


def _scorer(name: str) -> Callable:
    if name in _POTENTIALS:
        return _POTENTIALS[name]
    if name in _UNCERTAINTY:
        function, greater = _UNCERTAINTY[name]
        return make_uncertainty_scorer(function, greater_is_better=greater)
    if name in _RIGIDITY:
        return make_rigidity_scorer(*_RIGIDITY[name])
    if name in get_scikit_learn_names():
        return get_scorer(name)
    message = f"{name!r} is not the name of a scorer"
    # "crps" is a loss: as a score it is called "neg_crps".
    named = [known for known, (function, _) in _UNCERTAINTY.items() if function.__name__ == name]
    if close := named or get_close_matches(str(name), get_scorer_names(), n=1):
        message += f", did you mean {close[0]!r}?"
    raise ValueError(f"{message}; see get_scorer_names() here and in sklearn.metrics")


def _flat(R: Any, sample_weight: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return all rigidities in a row, and the weight of the sample that each belongs to."""
    weight = checked_weight(sample_weight, len(R))
    if isinstance(R, list):  # an array for each structure
        sizes = [np.size(part) for part in R]
        return np.concatenate([np.ravel(part) for part in R]), np.repeat(weight, sizes)
    values = np.asarray(R)
    return values.ravel(), np.repeat(weight, values.size // len(values))


def _summary(R: np.ndarray, weight: np.ndarray, statistic: str, quantile: float) -> float:
    kept = (weight > 0) & np.isfinite(R)
    R, weight = R[kept], weight[kept]
    if not len(R):
        return np.inf
    if statistic == "mean":
        return float(np.average(R, weights=weight))
    if statistic == "log_mean":
        with np.errstate(divide="ignore"):
            return float(np.average(np.log(R), weights=weight))
    if statistic == "min":
        return float(R.min())
    order = np.argsort(R)
    share = np.cumsum(weight[order])
    # Rounding must not move on to the next one.
    place = np.searchsorted(share, quantile * share[-1] * (1 - 1e-12))
    return float(R[order][place])
