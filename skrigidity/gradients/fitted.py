"""Gradients of an estimator that somebody else has fitted, by the objective it minimizes."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np

from ..hessian import Prior, choose
from .base import Gradients


class FittedGradients(Gradients):
    """What the Hessian of a fitted estimator's objective needs besides rows of predictions.

    Samples `X` are validated input; targets `y` and weights `sample_weight` are arrays. Where a
    sample is left out in another way than its rows, a family defines
    ``leave_out(rows, groups, factor)``, which returns a `skrigidity.hessian.LeftOut`.

    Attributes
    ----------
    coef : ndarray of shape (n_parameters, n_targets)
        Parameters by which rows are multiplied for predictions.
    intercept : ndarray of shape (n_targets,)
        Their intercepts.
    shape : tuple of int
        Shape of one prediction: empty, or the number of targets or classes.
    no_scale : str
        Why `dispersion` is not finite, where it is not.

    Examples
    --------
    >>> from skrigidity.gradients import CurvedGradients, FittedGradients, SoftmaxGradients
    >>> issubclass(CurvedGradients, FittedGradients), issubclass(SoftmaxGradients, FittedGradients)
    (True, True)
    """

    coef: np.ndarray
    intercept: np.ndarray
    shape: tuple[int, ...] = ()
    no_scale: str = "as many effective parameters as samples"
    aggregate: Any
    feature_names: Any

    def bind(self, X: Any, sample_weight: np.ndarray) -> None:
        """Take what rows of predictions need to know of the training set.

        Parameters
        ----------
        X : ndarray, sparse matrix or Environments
            Validated samples, or environments by structure.
        sample_weight : ndarray of shape (n_samples,)
            Weights of the samples.
        """

    def targets(self, y: np.ndarray) -> np.ndarray:
        """Return the targets as numbers, an array of shape ``(n_samples, *shape)``.

        Parameters
        ----------
        y : ndarray of shape (n_samples,) or (n_samples, n_targets)
            Targets.

        Returns
        -------
        ndarray
            The targets.
        """
        return np.reshape(y, (len(y), *self.shape))

    def weights(self, y: np.ndarray, sample_weight: np.ndarray) -> np.ndarray:
        """Return the weights of the samples' losses, those of classes included.

        Parameters
        ----------
        y : ndarray of shape (n_samples,) or (n_samples, n_targets)
            Targets.
        sample_weight : ndarray of shape (n_samples,)
            Weights of the samples.

        Returns
        -------
        ndarray of shape (n_samples,)
            The weights.
        """
        return sample_weight

    @abstractmethod
    def training_rows(self, X: Any, y: np.ndarray, sample_weight: np.ndarray) -> Any:
        """Return the rows whose weighted sum is the data's part of H, with right-hand sides.

        Parameters
        ----------
        X : ndarray, sparse matrix or Environments
            Validated samples, or environments by structure.
        y : ndarray of shape (n_samples,) or (n_samples, n_targets)
            Targets.
        sample_weight : ndarray of shape (n_samples,)
            Weights of the samples.
        """

    def factorize(self, rows: Any, alpha: float, gamma: Any) -> Any:
        """Return the factorized Hessian of training rows.

        Parameters
        ----------
        rows : Rows or KernelRows
            Training rows, as `training_rows` makes them.
        alpha : float
            Strength of the regularizer.
        gamma : float or ndarray
            The regularizer without its strength, as `skrigidity.hessian.Prior` takes it.

        Returns
        -------
        Factor
            The factor.
        """
        return choose(rows, Prior(alpha, gamma))

    def dispersion(
        self, X: Any, y: np.ndarray, sample_weight: np.ndarray, residual_dof: Any
    ) -> tuple[Any, Any]:
        """Return C**2 and sigma**2 of ``var = C**2 / R + sigma**2``, by the training set.

        sigma**2 is None where the noise is not a number: error bars are those of the mean.

        Parameters
        ----------
        X : ndarray, sparse matrix or Environments
            Validated samples, or environments by structure.
        y : ndarray of shape (n_samples,) or (n_samples, n_targets)
            Targets.
        sample_weight : ndarray of shape (n_samples,)
            Weights of the samples.
        residual_dof : float or ndarray of shape (n_targets,)
            Samples minus the effective degrees of freedom.

        Returns
        -------
        tuple of two floats, or two ndarrays of shape (n_targets,)
            C**2 and sigma**2.
        """
        return 1.0, 0.0
