"""Models that are linear in the features of samples, structures and environments."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..environments import Environments, array_namespace
from ..hessian import Rows
from ..hessian.array_api import ArrayRows
from .base import Gradients, Level
from .components import resolve_components


class FeatureGradients(Gradients):
    """Rows ``g = [x, 1]``, the intercept entry only where there is an intercept.

    A structure's row is the mean or the sum of those of its environments. The row of one
    environment has the intercept entry under means, and not under sums, where the intercept
    belongs to the structure. That of a component never has it.

    Parameters
    ----------
    n_features : int
        Number of columns of X.
    fit_intercept : bool
        Whether the model has an intercept.
    aggregate : {"mean", "sum"}
        How environments make up a structure.
    feature_names : array-like of str, default=None
        Names of the columns.
    components : dict of str to ndarray of int, default=None
        The model's own components.
    transform : callable, default=None
        Linear map that features go through, of structures and environments alike.

    Examples
    --------
    >>> import numpy as np
    >>> from skrigidity.environments import Environments
    >>> from skrigidity.gradients import FeatureGradients
    >>> g = FeatureGradients(2, fit_intercept=True, aggregate="sum")
    >>> X = Environments.from_arrays([np.eye(2), np.ones((1, 2))])
    >>> g.rows(X).matrix, g.rows(X).intercept
    (array([[1., 1.],
           [1., 1.]]), array([1., 1.]))
    >>> g.rows(X, "local").intercept
    array([0., 0., 0.])
    """

    def __init__(
        self,
        n_features: int,
        *,
        fit_intercept: bool,
        aggregate: str,
        feature_names: Any = None,
        components: Mapping[str, np.ndarray] | None = None,
        transform: Callable[[Any], Any] | None = None,
    ) -> None:
        self.n_features = n_features
        self.fit_intercept = bool(fit_intercept)
        self.aggregate = aggregate
        self.feature_names = feature_names
        self.components = {} if components is None else components
        self.transform = transform

    def rows(self, X: Any, level: Level = "global", component: Any = None) -> Any:
        """Return the gradients of all predictions.

        Parameters
        ----------
        X : ndarray, sparse matrix or Environments
            Validated samples, or environments by structure.
        level : {"global", "local"}, default="global"
            Rows of samples, or of their environments.
        component : object, default=None
            What `resolve` gives for one component; None is the whole model.

        Returns
        -------
        Rows or ArrayRows
            A row per prediction.
        """
        features = self.features(X, level)
        if component is not None:
            return rows_of(features, columns=component)
        local = level == "local" and self.aggregate != "mean"
        return rows_of(features, intercept=self.fit_intercept and not local)

    def features(self, X: Any, level: Level = "global") -> Any:
        """Return the features of samples or environments, as they enter the model.

        Parameters
        ----------
        X : ndarray, sparse matrix or Environments
            Validated samples, or environments by structure.
        level : {"global", "local"}, default="global"
            Rows of samples, or of their environments.

        Returns
        -------
        ndarray, sparse matrix or Environments
            The features.
        """
        if isinstance(X, Environments):
            X = X.values if level == "local" else X.aggregate(self.aggregate)  # type: ignore[arg-type]
        return X if self.transform is None else self.transform(X)

    def resolve(self, components: Any) -> dict[str, np.ndarray]:
        """Return the columns of every component.

        Parameters
        ----------
        components : object
            Components, in any of the ways of `resolve_components`.

        Returns
        -------
        dict of str to ndarray of int
            Columns by the names of the components.
        """
        own = self.components
        if components is None:
            if not own:
                raise ValueError(
                    "components must be given: this model has no components of its own"
                )
            return dict(own)
        if are_names(components, own):
            return {str(name): own[str(name)] for name in components}
        return resolve_components(components, self.n_features, self.feature_names)

    def joined(self, X: Any, sample_weight: Any) -> tuple[Any, Gradients]:
        """Return samples as weighted rows.

        Parameters
        ----------
        X : ndarray, sparse matrix or Environments
            Validated samples, or environments by structure.
        sample_weight : ndarray of shape (n_samples,) or None
            Weights of the samples; None is 1 for each.

        Returns
        -------
        tuple of Rows (or ArrayRows) and Gradients
            The rows, and the gradients of a model that knows them.
        """
        rows = rows_of(self.features(X), weight=sample_weight, intercept=self.fit_intercept)
        return rows, self


def rows_of(matrix: Any, **parts: Any) -> Any:
    """Return `Rows`, or `ArrayRows` of an array that is not NumPy's."""
    xp = array_namespace(matrix)
    return Rows(matrix, **parts) if xp is None else ArrayRows(matrix, xp=xp, **parts)


def are_names(components: Any, own: Mapping[str, Any]) -> bool:
    """Whether components are a list of names of the model's own."""
    if isinstance(components, (str, Mapping)) or not hasattr(components, "__len__"):
        return False
    return len(components) > 0 and all(isinstance(name, str) and name in own for name in components)
