"""Looking into a network in torch while it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from .._extras import import_extra


def require_torch(needed_by: str = "LastLayerRigidity") -> Any:
    """Import torch, which comes with the extra of this name."""
    return import_extra("torch", extra="torch", needed_by=needed_by)


def is_a(model: Any, package: str, *names: str) -> bool:
    """Whether a class of these names, defined in a package, is among the bases of a model.

    Nothing is imported for it.
    """
    bases = type(model).__mro__
    return any(c.__name__ in names and c.__module__.split(".")[0] == package for c in bases)


def place_of(model: Any) -> tuple[Any, Any]:
    """Return the device and the floating-point type of a network's parameters."""
    torch = require_torch()
    parameters = [p for p in (*model.parameters(), *model.buffers()) if p.is_floating_point()]
    if not parameters:
        return torch.device("cpu"), torch.get_default_dtype()
    return parameters[0].device, parameters[0].dtype


def layer_of(model: Any, name: str) -> Any:
    """Return the layer of a name, or raise ValueError with the linear layers that there are."""
    layers = dict(model.named_modules())
    if name in layers:
        return layers[name]
    linear = require_torch().nn.Linear
    known = [repr(key) for key, layer in layers.items() if isinstance(layer, linear)]
    listed = ", ".join(known[-10:]) or "none"
    raise ValueError(
        f"readout: {type(model).__name__} has no layer {name!r}; its last linear layers are "
        f"{listed}"
    )


class Inputs:
    """What layers are given while a network runs, within a ``with`` statement.

    Parameters
    ----------
    model : torch.nn.Module
        The network.
    names : sequence of str
        Layers, by their names in ``named_modules()``.

    Examples
    --------
    >>> import torch
    >>> from skrigidity.last_layer import Inputs
    >>> network = torch.nn.Sequential(torch.nn.ReLU(), torch.nn.Linear(2, 1))
    >>> with Inputs(network, ["1"]) as inputs:
    ...     _ = network(torch.tensor([[1.0, -1.0]]))
    >>> inputs.joined()
    tensor([[1., 0.]])
    """

    def __init__(self, model: Any, names: Sequence[str]) -> None:
        self._layers = {name: layer_of(model, name) for name in names}
        self._seen: dict[str, Any] = {}
        self._handles: list[Any] = []

    def __enter__(self) -> Inputs:
        for name, layer in self._layers.items():
            self._handles.append(layer.register_forward_pre_hook(self._hook(name)))
        return self

    def __exit__(self, *_: Any) -> None:
        while self._handles:
            self._handles.pop().remove()

    def _hook(self, name: str) -> Callable[[Any, tuple], None]:
        def keep(_: Any, given: tuple) -> None:
            if name in self._seen:
                raise ValueError(
                    f"readout: the layer {name!r} is called more than once in one pass, so that "
                    "predictions are not linear in its input"
                )
            self._seen[name] = given[0]

        return keep

    def __getitem__(self, name: str) -> Any:
        if name not in self._seen:
            raise ValueError(f"readout: the layer {name!r} was not called")
        return self._seen[name]

    def joined(self) -> Any:
        """Return the inputs of all layers, side by side along the last axis.

        Returns
        -------
        Tensor
            The inputs, a row per unit.

        Raises
        ------
        ValueError
            If a layer was not called, or they have not one row per unit each.
        """
        found = [self[name] for name in self._layers]
        sizes = {tuple(x.shape[:-1]) for x in found}
        if len(sizes) > 1:
            raise ValueError(
                "readout: inputs of the layers must have one row per unit each, got shapes "
                f"{[tuple(x.shape) for x in found]}"
            )
        return found[0] if len(found) == 1 else require_torch().cat(found, dim=-1)


@contextmanager
def evaluating(model: Any, *, derivatives: bool = False) -> Iterator[None]:
    """Put a network into evaluation mode within a ``with`` statement.

    Parameters
    ----------
    model : torch.nn.Module
        The network.
    derivatives : bool, default=False
        Whether a graph is made.

    Yields
    ------
    None

    Examples
    --------
    >>> import torch
    >>> from skrigidity.last_layer import evaluating
    >>> network = torch.nn.Dropout()
    >>> with evaluating(network):
    ...     network(torch.ones(3))
    tensor([1., 1., 1.])
    >>> network.training
    True
    """
    torch = require_torch()
    training = [layer for layer in model.modules() if layer.training]
    model.eval()
    try:
        with torch.enable_grad() if derivatives else torch.no_grad():
            yield
    finally:
        for layer in training:
            layer.training = True


def scalars_of(layer: Any, x: Any) -> Any:
    """Return the scalar columns of what an equivariant layer takes; all of any other."""
    irreps = getattr(layer, "irreps_in", None)
    if irreps is None:
        return x
    kept = [p for (_, ir), p in zip(irreps, irreps.slices(), strict=True) if str(ir) == "0e"]
    return require_torch().cat([x[:, part] for part in kept], dim=1)


def trace_readout(model: Any, call: Callable[[], Any], gives: Any = None) -> str:
    """Return the name of the last linear layer that is called and gives the network's output.

    Parameters
    ----------
    model : torch.nn.Module
        The network.
    call : callable
        Runs the network once and returns its output.
    gives : callable, default=None
        Whether what a layer returns is this output; None is that it equals it, or sums up to it.

    Raises
    ------
    ValueError
        If no linear layer gives the output.
    """
    torch = require_torch()
    called: list[tuple[str, Any]] = []
    handles = []
    for name, layer in model.named_modules():
        if isinstance(layer, torch.nn.Linear):

            def keep(_: Any, __: Any, output: Any, name: str = name) -> None:
                called.append((name, output))

            handles.append(layer.register_forward_hook(keep))
    try:
        output = call()
    finally:
        for handle in handles:
            handle.remove()
    if not torch.isfinite(output).all():
        raise ValueError(
            f"predictions are not finite: the network overflows in {output.dtype}, or its input "
            "is not finite. Use it in float64: model.double()"
        )
    for name, found in reversed(called):
        if (gives or _gives)(found, output):
            return name
    layers = ", ".join(repr(name) for name, _ in called) or "none"
    raise ValueError(
        f"readout: the output of {type(model).__name__} is not that of a linear layer (called were "
        f"{layers}). Name the layer, write an adapter, or use refit=True with the layers whose "
        "inputs are to be the features"
    )


def _gives(found: Any, output: Any) -> bool:
    """Whether a layer's output is the network's: as it is, or summed over units in between."""
    if found.shape[0] != output.shape[0]:
        return False
    flat = output.reshape(len(output), -1)
    if found.ndim == 1:
        found = found[:, None]
    summed = found.reshape(len(found), -1, found.shape[-1]).sum(dim=1)
    if summed.shape != flat.shape:
        return False
    size = flat.abs().max() + summed.abs().max()
    return bool(((summed - flat).abs() <= 1e-5 * size).all())
