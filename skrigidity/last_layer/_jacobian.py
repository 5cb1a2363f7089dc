"""Derivatives of a network's outputs by its parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ._hooks import evaluating, require_torch

# How well derivatives that are taken sample by sample have to agree with those of a batch.
_SAME = 1e-4


class Jacobian:
    """Derivatives of the outputs by all parameters that are trained, by ``torch.func``.

    Parameters
    ----------
    adapter : TorchAdapter
        Runs the network. Parameters that require no gradient are kept as they are.

    Attributes
    ----------
    n_parameters : int
        Number of parameters, in the order of ``named_parameters()``.
    by_sample : bool or None
        Whether samples can be treated apart from each other, all at once; None before the first.

    Raises
    ------
    ValueError
        If no parameter requires a gradient.
    """

    def __init__(self, adapter: Any) -> None:
        self.adapter = adapter
        self.n_parameters = sum(p.numel() for p in self._parameters().values())
        self.by_sample: bool | None = None
        if self.n_parameters == 0:
            name = type(adapter.model).__name__
            raise ValueError(f"model: no parameter of {name} requires a gradient: all are frozen")

    def output(self, batch: Any) -> Any:
        """Return the network's outputs, of shape (n_samples, n_outputs)."""
        with evaluating(self.adapter.model):
            return _flat(self.adapter.call(batch))

    def rows(self, batch: Any) -> Any:
        """Return the derivatives of all outputs, of shape (n_samples, n_outputs, n_parameters)."""
        with evaluating(self.adapter.model, derivatives=True):
            if self.by_sample is None:
                self.by_sample = self._agree(batch)
            return self._each(batch) if self.by_sample else self._one_by_one(batch)

    def times(self, batch: Any, vectors: Any) -> Any:
        """Return derivatives along `vectors` (k, n_parameters), shape (k, n_samples, n_outputs)."""
        func, run = require_torch().func, self._run()

        def along(vector: Any) -> Any:
            return func.jvp(lambda p: run(p, batch), (self._detached(),), (self._split(vector),))[1]

        with evaluating(self.adapter.model, derivatives=True):
            return func.vmap(along)(vectors)

    def transposed(self, batch: Any, outputs: Any) -> Any:
        """Return sums of derivatives, weighted by `outputs` (k, n_samples, n_outputs)."""
        func, run = require_torch().func, self._run()
        with evaluating(self.adapter.model, derivatives=True):
            _, pull = func.vjp(lambda p: run(p, batch), self._detached())
            return self._joined(func.vmap(pull)(outputs)[0])

    # --- parameters --------------------------------------------------------------------------

    def _parameters(self) -> dict[str, Any]:
        named = self.adapter.model.named_parameters()
        return {name: p for name, p in named if p.requires_grad}

    def _detached(self) -> dict[str, Any]:
        return {name: p.detach() for name, p in self._parameters().items()}

    def _split(self, vector: Any) -> dict[str, Any]:
        parameters = self._parameters()
        parts = vector.split([p.numel() for p in parameters.values()])
        known = zip(parameters.items(), parts, strict=True)
        return {name: part.view(p.shape) for (name, p), part in known}

    def _joined(self, parts: dict[str, Any], n_axes: int = 1) -> Any:
        flat = [parts[name].flatten(n_axes) for name in self._parameters()]
        flat = [part if part.ndim > n_axes else part.unsqueeze(-1) for part in flat]
        return require_torch().cat(flat, dim=-1)

    def _run(self) -> Callable[[dict[str, Any], Any], Any]:
        """Return the outputs as a function of parameters and a batch."""
        torch, adapter = require_torch(), self.adapter

        class Called(torch.nn.Module):  # type: ignore[name-defined]
            def __init__(self) -> None:
                super().__init__()
                self.network = adapter.model

            def forward(self, batch: Any) -> Any:
                return _flat(adapter.call(batch))

        module = Called()
        call = torch.func.functional_call
        return lambda parameters, batch: call(
            module, {f"network.{name}": p for name, p in parameters.items()}, (batch,)
        )

    # --- derivatives by parameters -----------------------------------------------------------

    def _each(self, batch: Any) -> Any:
        """Return the rows of samples apart from each other, vectorized."""
        func, run = require_torch().func, self._run()

        def one(parameters: dict[str, Any], *sample: Any) -> Any:
            return run(parameters, tuple(_alone(x) for x in sample))[0]

        axes = (None, *(0 for _ in batch))
        return self._joined(func.vmap(func.jacrev(one), axes)(self._detached(), *batch), 2)

    def _one_by_one(self, batch: Any) -> Any:
        """Return the same by one backward pass per output: for any network."""
        torch, parameters = require_torch(), self._parameters()
        output = _flat(self.adapter.call(batch))
        rows = []
        for value in output.flatten():
            slopes = torch.autograd.grad(
                value, list(parameters.values()), retain_graph=True, materialize_grads=True
            )
            rows.append(torch.cat([slope.flatten() for slope in slopes]))
        return torch.stack(rows).reshape(*output.shape, -1)

    def _agree(self, batch: Any) -> bool:
        """Whether samples are rows of all inputs, and the network treats them one by one."""
        expected = self._one_by_one(batch)
        try:
            found = self._each(batch)
        except (RuntimeError, ValueError, IndexError, TypeError):  # whatever such a network says
            return False
        size = expected.abs().max()
        return found.shape == expected.shape and bool(
            ((found - expected).abs() <= _SAME * size).all()
        )


def _flat(output: Any) -> Any:
    return output.reshape(len(output), -1)


def _alone(x: Any) -> Any:
    """Return a batch of one sample."""
    return {key: _alone(value) for key, value in x.items()} if isinstance(x, dict) else x[None]
