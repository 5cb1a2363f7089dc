"""Losses of a linear predictor: first and second derivative, link, expected curvature."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from scipy.special import expit


class Loss(ABC):
    """Loss of one sample as a function of its linear predictor ``eta``.

    Attributes
    ----------
    constant_noise : bool
        Whether the targets scatter equally everywhere, so that sigma can be a number.
    identity_link : bool
        Whether the linear predictor is the prediction.
    """

    constant_noise: bool = False
    identity_link: bool = True

    @abstractmethod
    def score(self, eta: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return the first derivative of the loss with respect to `eta`."""

    @abstractmethod
    def curvature(self, eta: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return the second derivative, shape (n_samples,)."""

    def expected_curvature(self, eta: np.ndarray) -> np.ndarray:
        """Return the curvature to expect of a sample whose target is not known."""
        return np.ones(len(eta))

    def mean(self, eta: np.ndarray) -> np.ndarray:
        """Return the prediction for a linear predictor: the inverse link."""
        return eta

    def slope(self, eta: np.ndarray) -> np.ndarray | None:
        """Return the derivative of `mean`, None for the identity."""
        return None


class SquaredLoss(Loss):
    """Half the squared error.

    Examples
    --------
    >>> import numpy as np
    >>> from skrigidity.linear_model.curvature import SquaredLoss
    >>> SquaredLoss().score(np.array([1.0]), np.array([3.0]))
    array([-2.])
    """

    constant_noise = True

    def score(self, eta: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return the residual."""
        return eta - y

    def curvature(self, eta: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return ones."""
        return np.ones(len(eta))


class ClippedLoss(Loss):
    """Huber's loss at a fixed `epsilon`: half the squared error near 0, linear beyond."""

    def __init__(self, epsilon: float) -> None:
        self.epsilon = epsilon

    def score(self, eta: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return the clipped residual."""
        return np.clip(eta - y, -self.epsilon, self.epsilon)

    def curvature(self, eta: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return 1 for inliers, 0 for outliers."""
        return (np.abs(eta - y) <= self.epsilon).astype(float)


class TweedieLoss(Loss):
    """Half the deviance of a Tweedie distribution: normal 0, Poisson 1, gamma 2.

    Parameters
    ----------
    power : float
        The variance is proportional to ``mean**power``.
    link : {"log", "identity"}
        What the linear predictor is of the mean.

    Examples
    --------
    >>> import numpy as np
    >>> from skrigidity.linear_model.curvature import TweedieLoss
    >>> TweedieLoss(1, "log").curvature(np.log([4.0]), np.array([7.0]))  # Poisson: the mean
    array([4.])
    """

    def __init__(self, power: float, link: str) -> None:
        self.power = float(power)
        self.identity_link = link == "identity"
        self.constant_noise = self.power == 0

    def score(self, eta: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return ``(mean - y) / variance * slope``."""
        mu = self.mean(eta)
        slope = 1.0 if self.identity_link else mu
        return (mu - y) * mu**-self.power * slope

    def curvature(self, eta: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return the observed curvature, negative where the loss is not convex."""
        mu, p = self.mean(eta), self.power
        if self.identity_link:
            return (1 - p) * mu**-p + (p * y * mu ** (-p - 1) if p else 0.0)
        # The mean taken out: nothing cancels for Poisson and gamma.
        return mu ** (1 - p) * ((2 - p) * mu - (1 - p) * y)

    def expected_curvature(self, eta: np.ndarray) -> np.ndarray:
        """Return ``slope**2 / variance``, the Fisher information."""
        return self.mean(eta) ** ((0 if self.identity_link else 2) - self.power)

    def mean(self, eta: np.ndarray) -> np.ndarray:
        """Return the mean."""
        return eta if self.identity_link else np.exp(eta)

    def slope(self, eta: np.ndarray) -> np.ndarray | None:
        """Return the derivative of the mean."""
        return None if self.identity_link else np.exp(eta)


class LogisticLoss(Loss):
    """Negative log-likelihood of a binary label, 0 or 1."""

    identity_link = False

    def score(self, eta: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return probability minus label."""
        return expit(eta) - y

    def curvature(self, eta: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return ``p (1 - p)``."""
        return self.expected_curvature(eta)

    def expected_curvature(self, eta: np.ndarray) -> np.ndarray:
        """Return ``p (1 - p)``, without the cancellation near 1."""
        return expit(eta) * expit(-eta)

    def mean(self, eta: np.ndarray) -> np.ndarray:
        """Return the probability of label 1."""
        return expit(eta)

    def slope(self, eta: np.ndarray) -> np.ndarray | None:
        """Return ``p (1 - p)``."""
        return self.expected_curvature(eta)


def rescaled(q: np.ndarray, slope: np.ndarray) -> np.ndarray:
    """Return ``slope**2 * q``, the delta method; 0 where the slope is, whatever q."""
    return np.where(slope == 0, 0.0, slope**2 * np.where(slope == 0, 0.0, q))


def check_convex(curvature: np.ndarray, loss: Any) -> None:
    """Raise ValueError where an observed curvature is negative: H would not be one."""
    negative = curvature < 0
    if negative.any():
        name = type(loss).__name__
        if isinstance(loss, TweedieLoss):
            name += f" (power={loss.power:g}, link={'identity' if loss.identity_link else 'log'})"
        raise ValueError(
            f"{name} has negative curvature in {int(negative.sum())} of {len(curvature)} training "
            "rows, so that their Hessian pins nothing there: rigidities need a loss that is "
            "convex at its optimum"
        )
