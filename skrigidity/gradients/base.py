"""The protocol between a model and its rigidities: from input to rows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

Level = Literal["global", "local"]


class Gradients(ABC):
    """The gradients of a fitted model's predictions, as rows of `skrigidity.hessian`.

    A family of models is one subclass. What it is asked about is validated input: a matrix, dense
    or CSR, or `skrigidity.environments.Environments`. Everything else (rigidities, error bars,
    combinations, updates) follows from the rows, in `RigidityMixin`.

    Attributes
    ----------
    components : dict of str to object
        The model's own components by name; empty where there are none.
    n_outputs : int
        Rows per prediction: the number of classes of a softmax, else 1.

    Examples
    --------
    >>> import numpy as np
    >>> from skrigidity.gradients import FeatureGradients, Gradients
    >>> gradients = FeatureGradients(2, fit_intercept=False, aggregate="mean")
    >>> isinstance(gradients, Gradients)
    True
    >>> gradients.rows(np.eye(2)).dense()
    array([[1., 0.],
           [0., 1.]])
    """

    components: Mapping[str, Any] = {}
    n_outputs: int = 1

    @abstractmethod
    def rows(self, X: Any, level: Level = "global", component: Any = None) -> Any:
        """Return the gradients of all predictions.

        Parameters
        ----------
        X : matrix or Environments
            Validated input.
        level : {"global", "local"}, default="global"
            A row per sample, or per environment.
        component : object, default=None
            One of the values that `resolve` returns; None is the whole prediction.

        Returns
        -------
        Rows or KernelRows
            A row per prediction.
        """

    @abstractmethod
    def resolve(self, components: Any) -> dict[str, Any]:
        """Return what `rows` takes for every component; None means the model's own.

        Parameters
        ----------
        components : object
            Components, in any of the ways of `resolve_components`.
        """

    @abstractmethod
    def joined(self, X: Any, sample_weight: np.ndarray | None) -> tuple[Any, Gradients]:
        """Return samples as weighted rows to add to H, and the gradients that go with the sum.

        Parameters
        ----------
        X : ndarray, sparse matrix or Environments
            Validated samples, or environments by structure.
        sample_weight : ndarray of shape (n_samples,) or None
            Weights of the samples; None is 1 for each.
        """

    def combined(self, X: Any, weights: np.ndarray) -> Any:
        """Return the gradients of linear combinations of predictions, `n_outputs` per row.

        Parameters
        ----------
        X : ndarray, sparse matrix or Environments
            Validated samples, or environments by structure.
        weights : ndarray of shape (n_combinations, n_samples)
            Weights of the predictions in every combination.

        Returns
        -------
        Rows
            A row per combination, or one per class and combination.
        """
        return self.rows(X).combined(weights)

    def slope(self, linear: np.ndarray) -> np.ndarray | None:
        """Return the derivative of predictions by what is linear in the parameters.

        None where that is the prediction itself.

        Parameters
        ----------
        linear : ndarray
            Linear predictors.
        """
        return None

    def mean(self, linear: np.ndarray) -> np.ndarray:
        """Return the predictions for what is linear in the parameters: the inverse link.

        Parameters
        ----------
        linear : ndarray
            Linear predictors.

        Returns
        -------
        ndarray
            Predictions, an entry per linear predictor.
        """
        return linear

    def check_leave_out(self) -> None:  # noqa: B027  (most can)
        """Raise TypeError where no closed form for leaving samples out is known."""
