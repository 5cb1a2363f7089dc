"""What the losses of scikit-learn's estimators look like at their optimum.

`curvature_of` knows one `Curvature` per family of estimators: which rows and weights make its
Hessian, which regularizer, and which rows are the gradients of its predictions. `WithRigidity`
does the rest.

How to add a family: write a function from a fitted estimator to a `Curvature` and register it
for the estimator's class. For a model that is linear in its parameters that is a `LinearCurvature`
with a `Loss` (first and second derivative with respect to the linear predictor) and the strength
of the penalty; see `curvature_of` for an example.
"""

# Families register themselves.
from . import _glm, _huber, _kernel, _least_squares, _logistic, _sgd  # noqa: F401
from ._base import Curvature
from ._linear import LinearCurvature
from ._losses import Loss, SquaredLoss, TweedieLoss
from ._registry import curvature_of

__all__ = ["Curvature", "LinearCurvature", "Loss", "SquaredLoss", "TweedieLoss", "curvature_of"]
