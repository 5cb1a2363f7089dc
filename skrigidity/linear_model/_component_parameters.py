"""Parameters by component: one alpha each, names in grids, names on results."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.preprocessing import FunctionTransformer

_NESTED = "alpha__"


class ComponentParametersMixin(BaseEstimator):
    """Alphas by component, their nested parameters, and results that carry names.

    Expects ``alpha``, ``n_features_in_`` and ``components_``.
    """

    alpha: Any
    components_: dict[str, np.ndarray]
    n_features_in_: int

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters; the entries of a dict `alpha` as ``alpha__<name>`` as well.

        Parameters
        ----------
        deep : bool, default=True
            Whether to include nested parameters.

        Returns
        -------
        dict
        """
        params = super().get_params(deep=deep)
        if deep and isinstance(self.alpha, Mapping):
            params |= {f"{_NESTED}{name}": value for name, value in self.alpha.items()}
        return params

    def set_params(self, **params: Any) -> Self:
        """Set parameters; ``alpha__<name>`` is an entry of a dict `alpha`.

        Parameters
        ----------
        **params : dict
            Parameters.

        Returns
        -------
        self : object
            The estimator.

        Raises
        ------
        ValueError
            If there is no such parameter.
        """
        nested = {k.removeprefix(_NESTED): v for k, v in params.items() if k.startswith(_NESTED)}
        super().set_params(**{k: v for k, v in params.items() if not k.startswith(_NESTED)})
        if not nested:
            return self
        if not (isinstance(self.alpha, Mapping) and nested.keys() <= self.alpha.keys()):
            raise ValueError(
                f"{_NESTED}<name> sets entries of a dict alpha: {list(nested)} are not all in "
                f"alpha={self.alpha!r}"
            )
        # A new dict: the old one may be shared with other estimators.
        self.alpha = {**self.alpha, **nested}
        return self

    def set_output(self, *, transform: str | None = None) -> Self:
        """Choose the container for results by component, as in scikit-learn.

        Applies to `predict_components` and `component_rigidity` where the result is a matrix:
        not with several targets, nor with arrays per structure.

        Parameters
        ----------
        transform : {"default", "pandas", "polars"}, default=None
            "pandas" gives DataFrames with the components' names as columns and the index of X;
            None leaves the choice as it is.

        Returns
        -------
        self : object
            The estimator.
        """
        if transform not in (None, "default", "pandas", "polars"):
            raise ValueError(
                f"transform must be 'default', 'pandas' or 'polars', got {transform!r}"
            )
        if transform is not None:
            self._sklearn_output_config = {"transform": transform}
        return self

    @property
    def regularizer(self) -> np.ndarray | None:
        """Diagonal of the regularizer, as `alpha` says; None where one alpha is for all."""
        alphas = self._component_alphas()
        if (alphas == alphas[0]).all():
            return None
        diagonal = np.empty(self.n_features_in_)
        for columns, alpha in zip(self.components_.values(), alphas, strict=True):
            diagonal[columns] = alpha
        return diagonal

    # --- internals -------------------------------------------------------------------------

    @property
    def _alpha(self) -> float:
        # Equal strengths make the very problem that RigidRidge solves.
        alphas = self._component_alphas()
        return float(alphas[0]) if (alphas == alphas[0]).all() else 1.0

    def _component_alphas(self) -> np.ndarray:
        names = list(self.components_)
        if not isinstance(self.alpha, Mapping):
            values = np.asarray(self.alpha)
            if values.ndim > 1 or (values.ndim == 1 and len(values) != len(names)):
                raise ValueError(
                    f"alpha must be a number, a dict, or have one entry per component "
                    f"({len(names)}: {names}), got shape {values.shape}"
                )
            return _checked(np.broadcast_to(values, len(names)), self.alpha)
        given = {str(name): value for name, value in self.alpha.items()}
        missing = [name for name in names if name not in given]
        unknown = [name for name in given if name not in names]
        if missing or unknown:
            raise ValueError(
                f"alpha must name every component, {names}: missing {missing}, unknown {unknown}"
            )
        return _checked(np.array([given[name] for name in names]), self.alpha)

    def _named(self, values: Any, X: Any, columns: dict[str, np.ndarray]) -> Any:
        if getattr(values, "ndim", 0) != 2:
            return values
        # A transformer that does nothing: scikit-learn's own way to wrap an array.
        identity = FunctionTransformer(feature_names_out=lambda *_: np.array([*columns], object))
        if hasattr(self, "_sklearn_output_config"):
            identity.set_output(**self._sklearn_output_config)
        named = identity.fit_transform(values)
        if hasattr(X, "iloc") and hasattr(named, "iloc"):
            named.index = X.index
        return named


def _checked(alphas: np.ndarray, given: Any) -> np.ndarray:
    if alphas.dtype.kind not in "fiu":
        raise ValueError(f"alpha must be made of numbers, got {given!r}")
    if not (np.isfinite(alphas).all() and (alphas >= 0).all()):
        raise ValueError(f"alpha must be finite and not negative, got {given!r}")
    return alphas.astype(np.float64)
