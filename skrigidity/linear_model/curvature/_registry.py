"""Which estimators are known, and why others are not."""

from __future__ import annotations

from functools import singledispatch
from typing import Any

from sklearn.frozen import FrozenEstimator

from ._base import Curvature

_KINK = "the L1 penalty has a kink where coefficients are 0, and no curvature there"
_HINGE = "its loss is flat or linear: support vectors pin it at its kinks, not by a curvature"
_CONSTANT = "its predictions are piecewise constant and have no gradient in any parameters"
_INSIDE = "wrap the estimator inside of it instead"

# By the name of a class or of one of its bases, so that nothing needs to be imported.
_REASONS = {
    "BaseDecisionTree": _CONSTANT,
    "BaseForest": _CONSTANT,
    "BaseGradientBoosting": _CONSTANT,
    "BaseHistGradientBoosting": _CONSTANT,
    "KNeighborsMixin": _CONSTANT,
    "RadiusNeighborsMixin": _CONSTANT,
    "BaseLibSVM": _HINGE,
    "LinearSVC": _HINGE,
    "LinearSVR": _HINGE,
    "QuantileRegressor": "the pinball loss is piecewise linear, its curvature is 0 everywhere",
    "LinearModelCV": _KINK,
    "LassoLars": _KINK,
    "BaseMultilayerPerceptron": "it is not linear in its parameters: see LastLayerRigidity",
    "Pipeline": "make WithRigidity(estimator) the last step of the pipeline instead",
    "BaseSearchCV": _INSIDE,
    "TransformedTargetRegressor": _INSIDE,
}


@singledispatch
def curvature_of(estimator: Any) -> Curvature:
    """Return the curvature of a fitted estimator's loss.

    New families are added with ``curvature_of.register``; a subclass of a known estimator is
    taken for one of its family.

    Parameters
    ----------
    estimator : object
        A fitted estimator of a known family.

    Returns
    -------
    Curvature

    Raises
    ------
    TypeError
        If the family is not known, with the reason where there is one.
    ValueError
        If the family is, but parameters of the estimator leave no quadratic penalty.

    Examples
    --------
    >>> from sklearn.linear_model import LinearRegression
    >>> from skrigidity.linear_model.curvature import LinearCurvature, curvature_of
    >>> class MyRidge(LinearRegression):
    ...     '''An estimator that minimizes ``sum(s * residual**2) / 2 + 5 * norm(coef)**2``.'''
    >>> @curvature_of.register
    ... def _(estimator: MyRidge):
    ...     return LinearCurvature(estimator, alpha=10.0)
    >>> curvature_of(MyRidge().fit([[0.0], [1.0]], [0.0, 1.0])).alpha
    10.0
    """
    raise TypeError(why_not(estimator))


def why_not(estimator: Any) -> str:
    """Return why an estimator has no rigidities."""
    name = type(estimator).__name__
    reasons = (
        _REASONS[base.__name__] for base in type(estimator).__mro__ if base.__name__ in _REASONS
    )
    reason = next(
        reasons,
        "the curvature of its loss is not known. skrigidity.linear_model.curvature says how to "
        "add one",
    )
    return f"{name} has no rigidities: {reason}"


def unfrozen(estimator: Any) -> Any:
    """Return what a `FrozenEstimator` wraps, any other estimator as it is."""
    while isinstance(estimator, FrozenEstimator):
        estimator = estimator.estimator
    return estimator


def check_known(estimator: Any) -> None:
    """Raise TypeError unless the family of an estimator, fitted or not, is known."""
    estimator = unfrozen(estimator)
    if curvature_of.dispatch(type(estimator)) is curvature_of.dispatch(object):
        raise TypeError(why_not(estimator))


def reject_positive(estimator: Any) -> None:
    """Raise ValueError for coefficients that are constrained to be positive."""
    if getattr(estimator, "positive", False):
        raise ValueError(
            f"{type(estimator).__name__}(positive=True) has no rigidities: coefficients at "
            "their bound are pinned by it, not by the data"
        )


def reject_l1(estimator: Any, share: Any) -> None:
    """Raise ValueError where a `share` of the penalty is L1."""
    if share:
        raise ValueError(
            f"{type(estimator).__name__} with an L1 penalty (l1_ratio={share}) has no rigidities: "
            f"{_KINK}. Use an L2 penalty"
        )
