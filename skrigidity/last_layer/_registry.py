"""Which adapter goes with a network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from ._adapter import Adapter

_Class = TypeVar("_Class", bound=type[Adapter])
# Later ones are asked first: what is registered by users, then special ones, then any module.
_ADAPTERS: list[type[Adapter]] = []


def register_adapter(adapter: _Class) -> _Class:
    """Let `LastLayerRigidity` find an adapter by the model; usable as a decorator.

    Parameters
    ----------
    adapter : type
        Subclass of `Adapter`; asked before those that are registered already.

    Returns
    -------
    type
        The same class.

    Examples
    --------
    >>> from skrigidity.last_layer import TorchAdapter, register_adapter
    >>> @register_adapter
    ... class MyAdapter(TorchAdapter):
    ...     @staticmethod
    ...     def takes(model):
    ...         return type(model).__name__ == "MyNetwork"
    """
    _ADAPTERS.insert(0, adapter)
    return adapter


def adapter_of(model: Any, readout: str | Sequence[str] = "auto") -> Adapter:
    """Return the adapter for a model; an adapter is returned as it is.

    Parameters
    ----------
    model : object
        A trained network, or an `Adapter` around one.
    readout : "auto", str or list of str, default="auto"
        As in `LastLayerRigidity`.

    Returns
    -------
    Adapter
        The adapter.

    Raises
    ------
    TypeError
        If no adapter takes the model.
    ValueError
        If an adapter is given together with a readout.

    Examples
    --------
    >>> import torch
    >>> from skrigidity.last_layer import adapter_of
    >>> type(adapter_of(torch.nn.Linear(2, 1))).__name__
    'TorchAdapter'
    """
    if isinstance(model, Adapter):
        if readout != "auto":
            raise ValueError("readout: give it to the adapter, which is given already")
        return model
    for adapter in _ADAPTERS:
        if adapter.takes(model):
            return adapter(model, readout)
    raise TypeError(
        f"model: expected a network in torch or one that an adapter takes, got "
        f"{type(model).__name__}. skrigidity.last_layer says how to write an adapter"
    )
