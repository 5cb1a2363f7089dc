"""Operators of the container, and what it answers to NumPy, which knows plain arrays only."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, Self

import numpy as np
from numpy.typing import NDArray

Components = Mapping[str, slice | NDArray[np.intp]]


def _operator(function: Callable[..., Any], *, swapped: bool = False) -> Callable[..., Any]:
    return lambda self, other: self._operate(function, other, swapped)


class EnvironmentArithmetic:
    """Arithmetic on rows of environments that stay in their structures.

    The other operand is a number, an array of shape ``(n_features,)`` (the same for every
    environment), of shape ``(n_environments, n_features)`` or ``(n_environments, 1)``, or
    Environments with the same structures.
    """

    values: NDArray[Any]
    offsets: NDArray[np.int64]
    components: Components | None

    # Arrays and NumPy's numbers on the left leave the operation to the methods below.
    __array_ufunc__ = None

    __add__ = _operator(operator.add)
    __radd__ = _operator(operator.add, swapped=True)
    __sub__ = _operator(operator.sub)
    __rsub__ = _operator(operator.sub, swapped=True)
    __mul__ = _operator(operator.mul)
    __rmul__ = _operator(operator.mul, swapped=True)
    __truediv__ = _operator(operator.truediv)
    __rtruediv__ = _operator(operator.truediv, swapped=True)
    __pow__ = _operator(operator.pow)

    def with_values(self, values: NDArray[Any], components: Components | None = None) -> Self:
        """Return the same structures with other features."""
        raise NotImplementedError

    def __neg__(self) -> Self:
        return self.with_values(-self.values, self.components)

    def _operate(self, function: Callable[..., Any], other: Any, swapped: bool) -> Self:
        components = self.components
        n, d = self.values.shape
        if isinstance(other, EnvironmentArithmetic):
            if not np.array_equal(self.offsets, other.offsets):
                raise ValueError("expected Environments with the same structures and sizes")
            if not _same_columns(components, other.components, d):
                components = None
            other = other.values
        if np.shape(other) not in {(), (1,), (d,), (1, d), (n, 1), (n, d)}:
            raise ValueError(
                f"expected a number or an array of shape ({d},), one entry per feature, or "
                f"({n}, {d}), one row per environment; got shape {np.shape(other)}"
            )
        first, second = (other, self.values) if swapped else (self.values, other)
        return self.with_values(np.asarray(function(first, second)), components)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NoReturn:
        raise TypeError(
            "expected a matrix with one row per sample, got Environments, which have one row per "
            "environment: wrap a transformer in skrigidity.environments.PerEnvironment, make one "
            'row per structure with aggregate("mean") or a descriptor\'s output="mean", or take '
            "the rows of all environments, values"
        )

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if func in (np.shape, np.ndim):
            return getattr(self, func.__name__)
        raise TypeError(
            f"numpy.{func.__name__} does not take Environments. Where FeatureUnion or make_union "
            "called it, it would stack atoms instead of features: unite descriptors with "
            "skrigidity.atomistic.DescriptorUnion or make_descriptor_union, features with "
            "skrigidity.environments.hstack. Else use the rows of all environments, values, or "
            'one row per structure, aggregate("mean")'
        )


def _same_columns(ours: Components | None, theirs: Components | None, n_features: int) -> bool:
    if ours is None or theirs is None:
        return ours is theirs
    columns = np.arange(n_features)
    return list(ours) == list(theirs) and all(
        np.array_equal(columns[ours[name]], columns[theirs[name]]) for name in ours
    )
