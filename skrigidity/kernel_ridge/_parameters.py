"""Parameters by component: dicts that `set_params`, and so a grid search, reaches into."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from sklearn.metrics.pairwise import PAIRWISE_KERNEL_FUNCTIONS

from ..gradients import KernelSum, Part, resolve_components

# What may be a dict by component, and what a component missing from it gets.
_DEFAULTS: dict[str, Any] = {
    "kernel": "linear",
    "gamma": None,
    "degree": 3,
    "coef0": 1,
    "kernel_params": None,
}


class ComponentParametersMixin:
    """Reads and writes ``gamma__<component>`` and the like, and makes a kernel of them all.

    Where `kernel` or `components` is a dict, every parameter of the kernel may be one as well;
    what is none counts for all components.
    """

    kernel: Any
    components: Any

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Get the parameters of this estimator.

        Parameters
        ----------
        deep : bool, default=True
            Those of components (``gamma__short``) and of kernel objects as well.

        Returns
        -------
        dict of str to object
            Parameters by their names.
        """
        params = super().get_params(deep=deep)  # type: ignore[misc]
        if deep:
            for head in _DEFAULTS:
                for name in self._addressable(head):
                    value = self._of(head, name)
                    params[f"{head}__{name}"] = value
                    if hasattr(value, "get_params") and not isinstance(value, type):
                        for key, inner in value.get_params().items():
                            params[f"{head}__{name}__{key}"] = inner
        return params

    def set_params(self, **params: Any) -> Self:
        """Set parameters of this estimator.

        Parameters
        ----------
        **params : dict
            As `get_params` names them.

        Returns
        -------
        object
            The same estimator.
        """
        # The dict itself first, then its entries, then what is inside of them.
        for key in sorted(params, key=lambda key: key.count("__")):
            head, _, rest = key.partition("__")
            name, _, inner = rest.partition("__")
            if head not in _DEFAULTS or name not in self._addressable(head):
                if rest and not hasattr(getattr(self, head, None), "set_params"):
                    raise ValueError(
                        f"Invalid parameter {key!r} for estimator {type(self).__name__}: its "
                        f"components are {self._names()}"
                    )
                super().set_params(**{key: params[key]})  # type: ignore[misc]
                continue
            entries = {each: self._of(head, each) for each in self._addressable(head)}
            if inner:
                entries[name].set_params(**{inner: params[key]})
            else:
                entries[name] = params[key]
            setattr(self, head, entries)
        return self

    def _names(self) -> list[str]:
        for spec in (self.kernel, self.components):
            if isinstance(spec, Mapping):
                return [str(name) for name in spec]
        return []

    def _addressable(self, head: str) -> list[str]:
        # A dict of the parameters of one callable is not a dict by component.
        if head == "kernel_params" and not isinstance(self.kernel, Mapping):
            return []
        return self._names()

    def _of(self, head: str, name: str) -> Any:
        """Return the parameter of one component."""
        value = getattr(self, head)
        shared = head == "kernel_params" and not isinstance(self.kernel, Mapping)
        if not isinstance(value, Mapping) or shared:
            return value
        return {str(key): entry for key, entry in value.items()}.get(name, _DEFAULTS[head])

    def _make_kernel(self, n_features: int, feature_names: Any) -> KernelSum:
        columns = self._component_columns(n_features, feature_names)
        for head in _DEFAULTS:
            self._check_names(head, list(columns))
        return KernelSum({name: self._part(name, spec) for name, spec in columns.items()})

    def _part(self, name: str, columns: Any) -> Part:
        kernel = self._of("kernel", name)
        known = isinstance(kernel, str) and kernel in PAIRWISE_KERNEL_FUNCTIONS
        if not known and not callable(kernel):
            raise ValueError(
                f"kernel of component {name!r} must be a callable or one of "
                f"{sorted(PAIRWISE_KERNEL_FUNCTIONS)}, got {kernel!r}"
            )
        if callable(kernel):
            return Part(kernel, dict(self._of("kernel_params", name) or {}), columns)
        params = {head: self._of(head, name) for head in ("gamma", "degree", "coef0")}
        # Each kernel has its own default of gamma.
        return Part(kernel, {k: v for k, v in params.items() if v is not None}, columns)

    def _component_columns(self, n_features: int, feature_names: Any) -> dict[str, Any]:
        if self.components is None:
            names = self._names()
            if isinstance(self.kernel, Mapping) and not names:
                raise ValueError("kernel must name at least one component, got an empty dict")
            return dict.fromkeys(names or [""])
        components = getattr(self.components, "components_", self.components)
        columns: dict[str, Any]
        if isinstance(components, Mapping) and components:
            # One by one: a sum of kernels may well share columns between them.
            columns = {}
            for name, spec in components.items():
                columns |= resolve_components({name: spec}, n_features, feature_names)
        else:
            columns = dict(resolve_components(components, n_features, feature_names))
        empty = [name for name, spec in columns.items() if len(spec) == 0]
        if empty:
            raise ValueError(f"components {empty} have no columns, so they have no kernel")
        if isinstance(self.kernel, Mapping) and set(self._names()) != set(columns):
            raise ValueError(
                f"kernel and components must name the same components, got {self._names()} and "
                f"{list(columns)}"
            )
        return columns

    def _check_names(self, head: str, names: list[str]) -> None:
        value = getattr(self, head)
        if head == "kernel_params" and not isinstance(self.kernel, Mapping):
            return
        if not isinstance(value, Mapping):
            return
        unknown = sorted({str(key) for key in value} - set(names))
        if unknown:
            raise ValueError(f"{head} names unknown components {unknown}; known: {names}")
        wrong = [name for name in names if "__" in name]
        if wrong:
            raise ValueError(f"component names must not contain '__', got {wrong}")
