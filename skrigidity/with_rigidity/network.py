"""Networks of scikit-learn: a linear model of what enters the last layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np
from scipy.special import expit
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.utils.extmath import safe_sparse_dot

from ..gradients import CurvedGradients, FittedGradients, Level, Loss, TweedieLoss, append_column
from .logistic import BinaryLogistic, SoftmaxLogistic
from .registry import Curvature, curvature_of

# Strength of the penalty, in units of the mean eigenvalue of the data's part of H.
ALPHA = 1e-4


class OfLastLayer(FittedGradients):
    """What the last layer of a network differs in from a linear model.

    The layers before it were fitted to the same data: neither training residuals nor leaving
    samples out of the last layer tell how large errors are.
    """

    name: str
    no_scale = "training residuals of a network say nothing of its errors"

    def rows(self, X: Any, level: Level = "global", component: Any = None) -> Any:
        """Return the gradients of all predictions."""
        if level == "local":
            self._refuse("environments")
        return super().rows(X, level, component)  # type: ignore[safe-super]

    def resolve(self, components: Any) -> NoReturn:
        """Raise TypeError: the predictions are no sums over columns."""
        self._refuse("components")

    def check_leave_out(self) -> None:
        """Raise TypeError: what enters the last layer depends on all samples."""
        raise TypeError(
            f"leave_one_out: {self.name} is not linear in its parameters. Leaving a sample out of "
            "the last layer does not leave it out of the layers before, which were fitted to it "
            "as well. Use held-out data and calibrate()"
        )

    def dispersion(
        self, X: Any, y: np.ndarray, sample_weight: np.ndarray, residual_dof: Any
    ) -> tuple[Any, Any]:
        """Return NaN, twice: nothing is known before `calibrate`."""
        return (np.full(self.shape, np.nan),) * 2

    def _refuse(self, parts: str) -> NoReturn:
        raise TypeError(
            f"{self.name} is not linear in the features: its predictions have no parts that "
            f"belong to {parts}. LastLayerRigidity has, of networks that sum over atoms"
        )


class RegressionLayer(OfLastLayer, CurvedGradients):
    """One linear predictor per target."""


class BinaryLayer(OfLastLayer, BinaryLogistic):
    """Two classes: one logit."""


class SoftmaxLayer(OfLastLayer, SoftmaxLogistic):
    """Two classes or more, a logit for each."""


def last_layer(
    name: str,
    transform: Callable[[Any], np.ndarray],
    weights: np.ndarray,
    *,
    shape: tuple[int, ...] = (),
    classes: Any = None,
    class_weight: Any = None,
    loss: Loss | None = None,
) -> Curvature:
    """Return the curvature of the last layer of a trained network.

    Parameters
    ----------
    name : str
        The network's, for messages.
    transform : callable
        From X to what enters the layer, with a column of ones for its bias: that is penalized
        like the rest.
    weights : ndarray of shape (n_latent, n_outputs)
        Weights of the layer, biases among them.
    shape : tuple of int, default=()
        Shape of one prediction of a regressor.
    classes : ndarray of shape (n_classes,), default=None
        Classes; one logit is that of the second of two. None: a regressor.
    class_weight : dict, default=None
        Their weights.
    loss : Loss, default=None
        The regressor's loss; None is the squared error.

    Returns
    -------
    Curvature
        Gradients, strength and regularizer of the objective.
    """
    # The linear model that the layer is, of what enters it.
    layer = LinearRegression() if classes is None else LogisticRegression(class_weight=class_weight)
    layer.set_params(fit_intercept=False)
    layer.coef_ = np.asarray(weights, dtype=np.float64).T
    layer.intercept_ = np.zeros(len(layer.coef_))
    gradients: Any
    if classes is None:
        layer.coef_ = layer.coef_.reshape(*shape, -1)
        gradients = RegressionLayer(layer, loss)
    else:
        layer.classes_ = classes
        gradients = (BinaryLayer if len(layer.coef_) == 1 else SoftmaxLayer)(layer)
    gradients.name, gradients.transform = name, transform
    return Curvature(gradients, ALPHA, "eigenvalue")


class Activations:
    """What enters the last layer of a multi-layer perceptron, and 1 for its bias."""

    functions: dict[str, Callable[[Any], Any]] = {
        "identity": np.asarray,
        "logistic": expit,
        "tanh": np.tanh,
        "relu": lambda z: np.maximum(z, 0.0),
    }

    def __init__(self, estimator: MLPRegressor | MLPClassifier) -> None:
        self.estimator = estimator

    def __call__(self, X: Any) -> Any:
        """Return the activations, shape (n_samples, n_latent + 1)."""
        function = self.functions[self.estimator.activation]
        hidden = zip(self.estimator.coefs_[:-1], self.estimator.intercepts_[:-1], strict=True)
        for weights, biases in hidden:
            X = function(safe_sparse_dot(X, weights.astype(np.float64)) + biases)
        return append_column(X, 1.0)


@curvature_of.register(MLPRegressor)
@curvature_of.register(MLPClassifier)
def _(estimator: MLPRegressor | MLPClassifier) -> Curvature:
    name, n_outputs = type(estimator).__name__, estimator.n_outputs_
    known: dict[str, Any] = {"shape": () if n_outputs == 1 else (n_outputs,)}
    activation = estimator.out_activation_
    if isinstance(estimator, MLPClassifier):
        if len(estimator.classes_) < 2:
            raise ValueError(f"{name} has no rigidities of 1 class: y must have two at least")
        if activation == "logistic" and n_outputs > 1:
            raise ValueError(
                f"{name} of several labels has no rigidities: every label has a Hessian of its "
                f"own. Use MultiOutputClassifier(WithRigidity({name}()))"
            )
        known = {"classes": estimator.classes_}
    elif activation == "exp" and n_outputs == 1:
        known["loss"] = TweedieLoss(1, "log")
    elif activation != "identity":
        raise ValueError(
            f"{name} with {n_outputs} outputs of {activation!r} has no rigidities: the curvature "
            "of its loss is not known, or differs between outputs"
        )
    weights = np.vstack([estimator.coefs_[-1], estimator.intercepts_[-1]])
    return last_layer(name, Activations(estimator), weights, **known)
