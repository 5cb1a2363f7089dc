"""Parameters by component: one alpha each, names in grids, names on results."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator

from ..environments import OutputMixin

_NESTED = "alpha__"


class ComponentParametersMixin(OutputMixin, BaseEstimator):
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
            Parameters by their names.
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
        object
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

    def _named(self, values: Any, X: Any, names: list[str]) -> Any:
        if getattr(values, "ndim", 0) != 2:
            return values
        return self._in_container(
            values, np.array(names, object), X if hasattr(X, "iloc") else None
        )


def _checked(alphas: np.ndarray, given: Any) -> np.ndarray:
    if alphas.dtype.kind not in "fiu":
        raise ValueError(f"alpha must be made of numbers, got {given!r}")
    if not (np.isfinite(alphas).all() and (alphas >= 0).all()):
        raise ValueError(f"alpha must be finite and not negative, got {given!r}")
    return alphas.astype(np.float64)
