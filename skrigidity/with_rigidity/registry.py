"""Which estimators are known, and why others are not."""

from __future__ import annotations

from dataclasses import dataclass
from functools import singledispatch
from typing import Any, Literal

import numpy as np
from sklearn.frozen import FrozenEstimator

from ..gradients import FittedGradients
from ..last_layer import is_a

_KINK = "the L1 penalty has a kink where coefficients are 0, and no curvature there"
_HINGE = "its loss is flat or linear: support vectors pin it at its kinks, not by a curvature"
_CONSTANT = "its predictions are piecewise constant and have no gradient in any parameters"
_INSIDE = "wrap the estimator inside of it instead"
_EACH = (
    "it has several models of its own, and no Hessian. Wrap the estimator inside of it, "
    "{name}(WithRigidity(estimator)), and ask each of its `estimators_`"
)
_THRESHOLD = (
    "a threshold changes no rigidity. Wrap the estimator inside of it, "
    "{name}(WithRigidity(estimator)), and ask its `estimator_`"
)

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
    "Pipeline": "make WithRigidity(estimator) the last step of the pipeline instead",
    "BaseSearchCV": _INSIDE,
    "TransformedTargetRegressor": _INSIDE,
    "BaseEnsemble": _EACH,
    "_BaseHeterogeneousEnsemble": _EACH,
    "_MultiOutputEstimator": _EACH,
    "_BaseChain": _EACH,
    "OneVsRestClassifier": _EACH,
    "OneVsOneClassifier": _EACH,
    "OutputCodeClassifier": _EACH,
    "BaseThresholdClassifier": _THRESHOLD,
    "CalibratedClassifierCV": _INSIDE,
    "RANSACRegressor": _INSIDE,
}

# A package, and its classes that are known once they have been run on data.
BY_DATA = ("skorch", "NeuralNetRegressor", "NeuralNetClassifier", "NeuralNetBinaryClassifier")


@dataclass
class Curvature:
    """The objective that one fitted estimator minimizes, as far as its Hessian goes.

    Parameters
    ----------
    gradients : FittedGradients
        Its training rows, weighted by the curvature of the loss, and the rows of predictions.
    alpha : float or ndarray of shape (n_targets,), default=0.0
        Strength of the penalty ``alpha * w.T @ Gamma @ w``, halved where the loss is.
    times : {"one", "weight", "samples", "eigenvalue"}, default="one"
        What to multiply alpha with: the sum of the sample weights or the number of samples,
        for objectives that are means of losses; the mean eigenvalue of the data's part of H.
    gamma : ndarray of shape (n_parameters,), default=None
        Diagonal of Gamma, None is the identity.
    loss_factor : float, default=1.0
        2 where H is half the Hessian of the estimator's objective (least squares), else 1:
        pulling one prediction by eps and refitting raises the objective by
        ``loss_factor * R * eps**2 / 2``.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import ElasticNet
    >>> from skrigidity.with_rigidity import curvature_of
    >>> model = ElasticNet(alpha=0.1, l1_ratio=0.0).fit([[0.0], [1.0]], [0.0, 1.0])
    >>> float(curvature_of(model).alphas(np.ones(2)))  # its objective is a mean over samples
    0.2
    """

    gradients: FittedGradients
    alpha: Any = 0.0
    times: Literal["one", "weight", "samples", "eigenvalue"] = "one"
    gamma: Any = None
    loss_factor: float = 1.0

    def alphas(self, sample_weight: np.ndarray, rows: Any = None) -> np.ndarray:
        """Return the strengths that go with a training set: one, or one per target.

        Parameters
        ----------
        sample_weight : ndarray of shape (n_samples,)
            Weights of the samples.
        rows : Rows, default=None
            Training rows, where the strength depends on them.

        Returns
        -------
        ndarray
            Strengths of the regularizer.
        """
        if self.times == "eigenvalue":
            factor = mean_eigenvalue(rows)
        else:
            known = {"one": 1.0, "weight": sample_weight.sum(), "samples": len(sample_weight)}
            factor = float(known[self.times])
        return np.asarray(self.alpha, dtype=np.float64) * factor


def mean_eigenvalue(rows: Any) -> float:
    """Return the mean eigenvalue of the sum of weighted rows, by its trace."""
    trace = 0.0
    for block in rows.blocks():
        squares = np.einsum("ij,ij->i", block.dense(), block.dense())
        trace += float(squares.sum() if block.weight is None else block.weight @ squares)
    return trace / rows.n_features


@singledispatch
def curvature_of(estimator: Any) -> Curvature:
    """Return the curvature of a fitted estimator's objective.

    New families are added with ``curvature_of.register``; a subclass of a known estimator is
    taken for one of its family.

    Parameters
    ----------
    estimator : object
        A fitted estimator of a known family.

    Returns
    -------
    Curvature
        Gradients, strength and regularizer of the objective.

    Raises
    ------
    TypeError
        If the family is not known, with the reason where there is one.
    ValueError
        If the family is, but parameters of the estimator leave no quadratic penalty.

    Examples
    --------
    >>> from sklearn.linear_model import LinearRegression
    >>> from skrigidity.gradients import CurvedGradients
    >>> from skrigidity.with_rigidity import Curvature, curvature_of
    >>> class MyRidge(LinearRegression):
    ...     '''An estimator that minimizes ``sum(s * residual**2) / 2 + 5 * norm(coef)**2``.'''
    >>> @curvature_of.register
    ... def _(estimator: MyRidge):
    ...     return Curvature(CurvedGradients(estimator), alpha=10.0)
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
        "the curvature of its loss is not known. skrigidity.with_rigidity says how to add one",
    )
    return f"{name} has no rigidities: {reason.format(name=name)}"


def unfrozen(estimator: Any) -> Any:
    """Return what a `FrozenEstimator` wraps, any other estimator as it is."""
    while isinstance(estimator, FrozenEstimator):
        estimator = estimator.estimator
    return estimator


def check_known(estimator: Any) -> None:
    """Raise TypeError unless the family of an estimator, fitted or not, is known."""
    estimator = unfrozen(estimator)
    if isinstance(estimator, type):
        name = estimator.__name__
        raise TypeError(
            f"estimator must be an instance, got the class {name}: WithRigidity({name}())"
        )
    known = curvature_of.dispatch(type(estimator)) is not curvature_of.dispatch(object)
    if not (known or is_a(estimator, *BY_DATA)):
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
