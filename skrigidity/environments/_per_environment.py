"""Transformers lifted to structures made of environments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn import get_config
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin, _fit_context, clone
from sklearn.utils import get_tags
from sklearn.utils._param_validation import HasMethods
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping, process_routing
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from skrigidity.environments._container import Environments
from skrigidity.environments._validation import (
    as_environments,
    check_features,
    check_targets,
    is_environments,
)


def _transformer_has(method: str) -> Callable[[Any], bool]:
    def check(self: Any) -> bool:
        getattr(getattr(self, "transformer_", self.transformer), method)
        return True

    return check


class PerEnvironment(TransformerMixin, BaseEstimator, auto_wrap_output_keys=None):  # type: ignore[call-arg]
    """Apply a transformer to every environment of every structure.

    The transformer is fitted on the environments of all training structures, stacked, and its
    output is put back into the same structures. 2-D input goes straight through it, so that a
    pipeline works on both.

    Parameters
    ----------
    transformer : transformer
        Any scikit-learn transformer that keeps the number of rows. It is cloned.

    Attributes
    ----------
    transformer_ : transformer
        The fitted clone.
    n_features_in_ : int
        Number of features seen in fit.
    feature_names_in_ : ndarray of str
        Column names, where ``X`` was a DataFrame.

    Notes
    -----
    A supervised transformer, and one that takes sample weights, sees the target and the weight of
    a structure at each of its environments. With metadata routing enabled, the transformer's own
    requests count: ``PerEnvironment(StandardScaler().set_fit_request(sample_weight=True))``.
    ``set_output`` applies to 2-D input only: structures
    come out as :class:`Environments` always.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skrigidity.environments import PerEnvironment
    >>> X = [np.array([[0.0], [2.0]]), np.array([[4.0]])]
    >>> scaled = PerEnvironment(StandardScaler()).fit_transform(X)
    >>> scaled
    Environments(2 structures, 3 environments, 1 features, float64)
    >>> scaled.values.mean().round(12)
    np.float64(0.0)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "transformer": [HasMethods(["fit", "transform"])]
    }

    def __init__(self, transformer: Any) -> None:
        self.transformer = transformer

    def _flatten(self, X: Any) -> tuple[Any, Environments | None]:
        check_features(X)
        if not is_environments(X):
            return X, None
        allow_nan = get_tags(self.transformer).input_tags.allow_nan
        structures = as_environments(X, ensure_all_finite=not allow_nan)
        return structures.values, structures

    def _wrap(self, flat: Any, structures: Environments | None) -> Any:
        if structures is None:
            return flat
        values = flat.toarray() if sparse.issparse(flat) else np.asarray(flat)
        if values.ndim != 2 or len(values) != structures.n_environments:
            raise ValueError(
                f"transformer: {type(self.transformer).__name__} turned "
                f"{structures.n_environments} rows into an array of shape {values.shape}; "
                "PerEnvironment needs one that keeps the number of rows"
            )
        same_columns = isinstance(self.transformer_, OneToOneFeatureMixin)
        return structures.with_values(values, structures.components if same_columns else None)

    def _fit_args(
        self, method: str, X: Any, y: Any, params: dict[str, Any]
    ) -> tuple[Any, Any, dict[str, Any], Environments | None]:
        if get_config()["enable_metadata_routing"]:
            params = process_routing(self, method, **params).transformer[method]
        flat, structures = self._flatten(X)
        if structures is not None:
            params = {name: _repeat_metadata(v, structures) for name, v in params.items()}
            y = _repeat_target(y, structures)
        return flat, y, params, structures

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: Any, y: Any = None, **params: Any) -> PerEnvironment:
        """Fit the transformer on all environments.

        Parameters
        ----------
        X : Environments, sequence of 2-D arrays, 3-D array, or 2-D array
            Structures, or rows of a matrix.
        y : array of shape (n_structures, ...), default=None
            Repeated for the environments of each structure.
        **params : dict
            Handed on to the transformer, for example ``sample_weight`` of shape
            (n_structures,), which is repeated likewise.

        Returns
        -------
        PerEnvironment
            Itself.

        Raises
        ------
        ValueError
            For bad input, as :func:`as_environments`.

        Examples
        --------
        >>> import numpy as np
        >>> from sklearn.preprocessing import StandardScaler
        >>> from skrigidity import PerEnvironment
        >>> structures = [np.eye(2), np.ones((1, 2))]
        >>> PerEnvironment(StandardScaler()).fit(structures).n_features_in_
        2
        """
        flat, y, params, _ = self._fit_args("fit", X, y, params)
        self.transformer_ = clone(self.transformer).fit(flat, y, **params)
        return self

    @_fit_context(prefer_skip_nested_validation=False)
    def fit_transform(self, X: Any, y: Any = None, **params: Any) -> Any:
        """Fit, then transform the same structures.

        Parameters
        ----------
        X : Environments, sequence of 2-D arrays, 3-D array, or 2-D array
            Structures, or rows of a matrix.
        y : array of shape (n_structures, ...), default=None
            As in :meth:`fit`.
        **params : dict
            As in :meth:`fit`.

        Returns
        -------
        Environments, or for 2-D input whatever the transformer returns
            The transformed environments.

        Raises
        ------
        ValueError
            For bad input, and if the transformer changes the number of rows.

        Examples
        --------
        >>> import numpy as np
        >>> from sklearn.preprocessing import StandardScaler
        >>> from skrigidity import PerEnvironment
        >>> structures = [np.eye(2), np.ones((1, 2))]
        >>> PerEnvironment(StandardScaler()).fit_transform(structures).shape
        (2, 2)
        """
        flat, y, params, structures = self._fit_args("fit_transform", X, y, params)
        transformer = clone(self.transformer)
        if hasattr(transformer, "fit_transform"):
            out = transformer.fit_transform(flat, y, **params)
        else:
            out = transformer.fit(flat, y, **params).transform(flat)
        self.transformer_ = transformer
        return self._wrap(out, structures)

    @available_if(_transformer_has("partial_fit"))
    @_fit_context(prefer_skip_nested_validation=False)
    def partial_fit(self, X: Any, y: Any = None, **params: Any) -> PerEnvironment:
        """Go on fitting the transformer with more structures.

        Parameters
        ----------
        X : Environments, sequence of 2-D arrays, 3-D array, or 2-D array
            Structures, or rows of a matrix.
        y : array of shape (n_structures, ...), default=None
            As in :meth:`fit`.
        **params : dict
            As in :meth:`fit`.

        Returns
        -------
        PerEnvironment
            Itself.
        """
        flat, y, params, _ = self._fit_args("partial_fit", X, y, params)
        if not hasattr(self, "transformer_"):
            self.transformer_ = clone(self.transformer)
        self.transformer_.partial_fit(flat, y, **params)
        return self

    def transform(self, X: Any) -> Any:
        """Transform every environment.

        Parameters
        ----------
        X : Environments, sequence of 2-D arrays, 3-D array, or 2-D array
            Structures, or rows of a matrix.

        Returns
        -------
        Environments, or for 2-D input whatever the transformer returns
            The transformed environments.

        Raises
        ------
        ValueError
            For bad input, and if the transformer changes the number of rows.

        Examples
        --------
        >>> import numpy as np
        >>> from sklearn.preprocessing import StandardScaler
        >>> from skrigidity import PerEnvironment
        >>> structures = [np.eye(2), np.ones((1, 2))]
        >>> PerEnvironment(StandardScaler()).fit(structures).transform(structures).shape
        (2, 2)
        """
        check_is_fitted(self, "transformer_")
        flat, structures = self._flatten(X)
        return self._wrap(self.transformer_.transform(flat), structures)

    @available_if(_transformer_has("inverse_transform"))
    def inverse_transform(self, X: Any) -> Any:
        """Undo :meth:`transform`.

        Parameters
        ----------
        X : Environments, sequence of 2-D arrays, 3-D array, or 2-D array
            Structures, or rows of a matrix.

        Returns
        -------
        Environments, or for 2-D input whatever the transformer returns
            The transformed environments.
        """
        check_is_fitted(self, "transformer_")
        flat, structures = self._flatten(X)
        return self._wrap(self.transformer_.inverse_transform(flat), structures)

    @available_if(_transformer_has("get_feature_names_out"))
    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """Names of the output features, as the transformer gives them.

        Parameters
        ----------
        input_features : array of str, default=None
            Handed on to the transformer.

        Returns
        -------
        ndarray of str
            Names of the features.
        """
        check_is_fitted(self, "transformer_")
        return self.transformer_.get_feature_names_out(input_features)

    @available_if(_transformer_has("set_output"))
    def set_output(self, *, transform: Any = None) -> PerEnvironment:
        """Choose the container for transformed 2-D input, as in scikit-learn.

        Parameters
        ----------
        transform : {"default", "pandas", "polars"}, default=None
            Which container; None leaves it as it is.

        Returns
        -------
        PerEnvironment
            Itself.
        """
        for transformer in (self.transformer, getattr(self, "transformer_", None)):
            if transformer is not None:
                transformer.set_output(transform=transform)
        return self

    @property
    def n_features_in_(self) -> int:
        """Number of features seen in fit."""
        return self.transformer_.n_features_in_

    @property
    def feature_names_in_(self) -> NDArray[np.object_]:
        """Column names seen in fit, where there were any."""
        return self.transformer_.feature_names_in_

    def get_metadata_routing(self) -> MetadataRouter:
        """Route fit parameters to the transformer.

        Returns
        -------
        MetadataRouter
            What is asked of whom.
        """
        mapping = MethodMapping()
        for method in ("fit", "fit_transform", "partial_fit"):
            mapping.add(caller=method, callee=method)
        return MetadataRouter(owner=self).add(transformer=self.transformer, method_mapping=mapping)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        inner = get_tags(self.transformer)
        for name in ("input_tags", "target_tags", "transformer_tags", "non_deterministic"):
            if getattr(inner, name) is not None:
                setattr(tags, name, getattr(inner, name))
        return tags


def _repeat_target(y: Any, structures: Environments) -> Any:
    if y is None:
        return None
    check_targets(y, structures)
    return np.repeat(np.asarray(y), structures.sizes, axis=0)


def _repeat_metadata(value: Any, structures: Environments) -> Any:
    # What has one entry per structure becomes one entry per environment; the rest is left alone.
    if isinstance(value, str) or not hasattr(value, "__len__") or len(value) != len(structures):
        return value
    return np.repeat(np.asarray(value), structures.sizes, axis=0)
