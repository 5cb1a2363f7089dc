"""Containers of transformed features: tables for matrices, Environments as they are."""

from __future__ import annotations

from typing import Any, Self

from sklearn.base import TransformerMixin
from sklearn.preprocessing import FunctionTransformer


class OutputMixin:
    """``set_output``, for results that are put into a container by hand."""

    def set_output(self, *, transform: str | None = None) -> Self:
        """Choose the container for results that are matrices, as in scikit-learn.

        Arrays per structure and Environments are never put into another container.

        Parameters
        ----------
        transform : {"default", "pandas", "polars"}, default=None
            None leaves the choice as it is.

        Returns
        -------
        object
            Itself.
        """
        if transform not in (None, "default", "pandas", "polars"):
            raise ValueError(
                f"transform must be 'default', 'pandas' or 'polars', got {transform!r}"
            )
        if transform is not None:
            self._sklearn_output_config = {"transform": transform}
        return self

    def _in_container(self, values: Any, names: Any, X: Any = None) -> Any:
        """Return a matrix, made of ``X``, in the container that was asked for."""
        # Public scikit-learn machinery: a transformer whose function has its result already.
        wrapper = FunctionTransformer(
            lambda _: values, feature_names_out=lambda *_: names, accept_sparse=True
        )
        if hasattr(self, "_sklearn_output_config"):
            wrapper.set_output(**self._sklearn_output_config)
        return wrapper.fit_transform(values if X is None else X)


class EnvironmentTransformerMixin(OutputMixin, TransformerMixin, auto_wrap_output_keys=None):  # type: ignore[call-arg]
    """``set_output`` for transformers that return a matrix, or Environments.

    scikit-learn would wrap whatever ``transform`` returns into a DataFrame. A subclass calls
    ``_wrap_output`` where it returns a matrix.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.base import BaseEstimator
    >>> from skrigidity.environments import EnvironmentTransformerMixin, is_environments
    >>> class Doubled(EnvironmentTransformerMixin, BaseEstimator):
    ...     def fit(self, X, y=None):
    ...         return self
    ...
    ...     def transform(self, X):
    ...         return X * 2 if is_environments(X) else self._wrap_output(np.asarray(X) * 2)
    ...
    ...     def get_feature_names_out(self, input_features=None):
    ...         return np.array(["twice"], dtype=object)
    >>> Doubled().set_output(transform="pandas").fit_transform([[1.0], [2.0]])
       twice
    0    2.0
    1    4.0
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(auto_wrap_output_keys=None, **kwargs)

    def _wrap_output(self, features: Any, X: Any = None) -> Any:
        """Return features, made of ``X``, in the container that was asked for."""
        return self._in_container(features, self.get_feature_names_out(), X)
