"""Losses of a linear predictor: first and second derivative, link, expected curvature."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from scipy.special import expit

# Below this a curvature says nothing: steps of a Newton iteration would overflow.
_NO_CURVATURE = 1e-150


class Loss(ABC):
    """Loss of one sample as a function of its linear predictor ``eta``.

    Attributes
    ----------
    constant_noise : bool
        Whether the targets scatter equally everywhere, so that sigma can be a number.
    curved : bool
        Whether the curvature is positive wherever there is a slope: one Newton step then tells
        what becomes of a sample that is left out.

    Examples
    --------
    >>> import numpy as np
    >>> from skrigidity.gradients import LogisticLoss, Loss
    >>> isinstance(LogisticLoss(), Loss), LogisticLoss().mean(np.zeros(1))
    (True, array([0.5]))
    """

    constant_noise: bool = False
    curved: bool = True

    @abstractmethod
    def score(self, eta: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return the first derivative of the loss with respect to `eta`.

        Parameters
        ----------
        eta : ndarray of shape (n_samples,)
            Linear predictors.
        y : ndarray of shape (n_samples,)
            Targets.
        """

    @abstractmethod
    def curvature(self, eta: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return the second derivative, shape (n_samples,).

        Parameters
        ----------
        eta : ndarray of shape (n_samples,)
            Linear predictors.
        y : ndarray of shape (n_samples,)
            Targets.
        """

    def response(self, eta: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return ``eta - l' / l''``, the target of iteratively reweighted least squares.

        Parameters
        ----------
        eta : ndarray of shape (n_samples,)
            Linear predictors.
        y : ndarray of shape (n_samples,)
            Targets.

        Returns
        -------
        ndarray of shape (n_samples,)
            Targets of a linear model.
        """
        curvature = self.curvature(eta, y)
        known = curvature > _NO_CURVATURE
        step = np.divide(self.score(eta, y), curvature, out=np.zeros_like(eta), where=known)
        return eta - step

    def expected_curvature(self, eta: np.ndarray) -> np.ndarray:
        """Return the curvature to expect of a sample whose target is not known.

        Parameters
        ----------
        eta : ndarray of shape (n_samples,)
            Linear predictors.

        Returns
        -------
        ndarray of shape (n_samples,)
            Expected curvatures.
        """
        return np.ones(len(eta))

    def mean(self, eta: np.ndarray) -> np.ndarray:
        """Return the prediction for a linear predictor: the inverse link.

        Parameters
        ----------
        eta : ndarray of shape (n_samples,)
            Linear predictors.

        Returns
        -------
        ndarray of shape (n_samples,)
            Predictions.
        """
        return eta

    def slope(self, eta: np.ndarray) -> np.ndarray | None:
        """Return the derivative of `mean`, None for the identity.

        Parameters
        ----------
        eta : ndarray of shape (n_samples,)
            Linear predictors.
        """
        return None


class SquaredLoss(Loss):
    """Half the squared error.

    Examples
    --------
    >>> import numpy as np
    >>> from skrigidity.gradients import SquaredLoss
    >>> SquaredLoss().score(np.array([1.0]), np.array([3.0]))
    array([-2.])
    """

    constant_noise = True

    def score(self, eta: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return the residual.

        Parameters
        ----------
        eta : ndarray of shape (n_samples,)
            Linear predictors.
        y : ndarray of shape (n_samples,)
            Targets.

        Returns
        -------
        ndarray of shape (n_samples,)
            Derivatives of the losses by the linear predictors.
        """
        return eta - y

    def curvature(self, eta: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return ones.

        Parameters
        ----------
        eta : ndarray of shape (n_samples,)
            Linear predictors.
        y : ndarray of shape (n_samples,)
            Targets.

        Returns
        -------
        ndarray of shape (n_samples,)
            Second derivatives of the losses by the linear predictors.
        """
        return np.ones(len(eta))

    def response(self, eta: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return the targets.

        Parameters
        ----------
        eta : ndarray of shape (n_samples,)
            Linear predictors.
        y : ndarray of shape (n_samples,)
            Targets.

        Returns
        -------
        ndarray of shape (n_samples,)
            Targets of a linear model.
        """
        return y


class ClippedLoss(Loss):
    """Huber's loss: half the squared error near 0, linear beyond.

    Parameters
    ----------
    epsilon : float
        Where it becomes linear.

    Examples
    --------
    >>> import numpy as np
    >>> from skrigidity.gradients import ClippedLoss
    >>> ClippedLoss(1.5).score(np.array([1.0, 5.0]), np.zeros(2))
    array([1. , 1.5])
    """

    constant_noise = True
    curved = False

    def __init__(self, epsilon: float) -> None:
        self.epsilon = epsilon

    def score(self, eta: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return the clipped residual.

        Parameters
        ----------
        eta : ndarray of shape (n_samples,)
            Linear predictors.
        y : ndarray of shape (n_samples,)
            Targets.

        Returns
        -------
        ndarray of shape (n_samples,)
            Derivatives of the losses by the linear predictors.
        """
        return np.clip(eta - y, -self.epsilon, self.epsilon)

    def curvature(self, eta: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return 1 for inliers, 0 for outliers.

        Parameters
        ----------
        eta : ndarray of shape (n_samples,)
            Linear predictors.
        y : ndarray of shape (n_samples,)
            Targets.

        Returns
        -------
        ndarray of shape (n_samples,)
            Second derivatives of the losses by the linear predictors.
        """
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
    >>> from skrigidity.gradients import TweedieLoss
    >>> TweedieLoss(1, "log").curvature(np.log([4.0]), np.array([7.0]))  # Poisson: the mean
    array([4.])
    """

    def __init__(self, power: float, link: str) -> None:
        self.power = float(power)
        self.identity_link = link == "identity"
        self.constant_noise = self.power == 0

    def score(self, eta: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return ``(mean - y) / variance * slope``.

        Parameters
        ----------
        eta : ndarray of shape (n_samples,)
            Linear predictors.
        y : ndarray of shape (n_samples,)
            Targets.

        Returns
        -------
        ndarray of shape (n_samples,)
            Derivatives of the losses by the linear predictors.
        """
        mu = self.mean(eta)
        slope = 1.0 if self.identity_link else mu
        return (mu - y) * mu**-self.power * slope

    def curvature(self, eta: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return the observed curvature, negative where the loss is not convex.

        Parameters
        ----------
        eta : ndarray of shape (n_samples,)
            Linear predictors.
        y : ndarray of shape (n_samples,)
            Targets.

        Returns
        -------
        ndarray of shape (n_samples,)
            Second derivatives of the losses by the linear predictors.
        """
        mu, p = self.mean(eta), self.power
        if self.identity_link:
            return (1 - p) * mu**-p + (p * y * mu ** (-p - 1) if p else 0.0)
        # The mean taken out: nothing cancels for Poisson and gamma.
        return mu ** (1 - p) * ((2 - p) * mu - (1 - p) * y)

    def expected_curvature(self, eta: np.ndarray) -> np.ndarray:
        """Return ``slope**2 / variance``, the Fisher information.

        Parameters
        ----------
        eta : ndarray of shape (n_samples,)
            Linear predictors.

        Returns
        -------
        ndarray of shape (n_samples,)
            Expected curvatures.
        """
        return self.mean(eta) ** ((0 if self.identity_link else 2) - self.power)

    def mean(self, eta: np.ndarray) -> np.ndarray:
        """Return the mean.

        Parameters
        ----------
        eta : ndarray of shape (n_samples,)
            Linear predictors.

        Returns
        -------
        ndarray of shape (n_samples,)
            Predictions.
        """
        return eta if self.identity_link else np.exp(eta)

    def slope(self, eta: np.ndarray) -> np.ndarray | None:
        """Return the derivative of the mean.

        Parameters
        ----------
        eta : ndarray of shape (n_samples,)
            Linear predictors.

        Returns
        -------
        ndarray of shape (n_samples,) or None
            Derivatives, None where they are all 1.
        """
        return None if self.identity_link else np.exp(eta)


class LogisticLoss(Loss):
    """Negative log-likelihood of a binary label, 0 or 1.

    Examples
    --------
    >>> import numpy as np
    >>> from skrigidity.gradients import LogisticLoss
    >>> LogisticLoss().curvature(np.zeros(1), np.ones(1))
    array([0.25])
    """

    def score(self, eta: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return probability minus label, without cancellation.

        Parameters
        ----------
        eta : ndarray of shape (n_samples,)
            Linear predictors.
        y : ndarray of shape (n_samples,)
            Targets.

        Returns
        -------
        ndarray of shape (n_samples,)
            Derivatives of the losses by the linear predictors.
        """
        return np.where(y > 0.5, -expit(-eta), expit(eta))

    def curvature(self, eta: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return ``p (1 - p)``.

        Parameters
        ----------
        eta : ndarray of shape (n_samples,)
            Linear predictors.
        y : ndarray of shape (n_samples,)
            Targets.

        Returns
        -------
        ndarray of shape (n_samples,)
            Second derivatives of the losses by the linear predictors.
        """
        return self.expected_curvature(eta)

    def expected_curvature(self, eta: np.ndarray) -> np.ndarray:
        """Return ``p (1 - p)``, without the cancellation near 1.

        Parameters
        ----------
        eta : ndarray of shape (n_samples,)
            Linear predictors.

        Returns
        -------
        ndarray of shape (n_samples,)
            Expected curvatures.
        """
        return expit(eta) * expit(-eta)

    def mean(self, eta: np.ndarray) -> np.ndarray:
        """Return the probability of label 1.

        Parameters
        ----------
        eta : ndarray of shape (n_samples,)
            Linear predictors.

        Returns
        -------
        ndarray of shape (n_samples,)
            Probabilities.
        """
        return expit(eta)

    def slope(self, eta: np.ndarray) -> np.ndarray | None:
        """Return ``p (1 - p)``.

        Parameters
        ----------
        eta : ndarray of shape (n_samples,)
            Linear predictors.

        Returns
        -------
        ndarray of shape (n_samples,)
            Derivatives.
        """
        return self.expected_curvature(eta)


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
