"""`WithRigidity`: rigidities for scikit-learn's own estimators.

`curvature_of` knows one `Curvature` per family of estimators: the gradients of its predictions,
the weighted rows that make its Hessian, and its penalty. `WithRigidity` does the rest, by the
methods that all models of this package share.

How to add a family: write a function from a fitted estimator to a `Curvature` and register it for
the estimator's class. For a model that is linear in its parameters the gradients are
`CurvedGradients` of the estimator and a `Loss` (first and second derivative by the linear
predictor), both from `skrigidity.gradients`; the penalty is a number and a diagonal. See
`curvature_of` for an example. Other models subclass `skrigidity.gradients.FittedGradients`.
"""

# Families register themselves.
from . import glm, huber, kernel, least_squares, logistic, network, sgd  # noqa: F401
from .delegating import DelegatingMixin as DelegatingMixin
from .delegating import estimator_has as estimator_has
from .model import WithRigidity
from .registry import Curvature, curvature_of

__all__ = ["Curvature", "WithRigidity", "curvature_of"]
