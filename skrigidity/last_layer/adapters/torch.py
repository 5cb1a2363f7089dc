"""Any network in torch, on arrays, data sets or loaders."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from .._adapter import Adapter, Latent
from .._hooks import Inputs, evaluating, layer_of, place_of, require_torch, trace_readout
from .._samples import Samples, placed


class TorchAdapter(Adapter):
    """Any `torch.nn.Module` whose predictions are those of a linear layer, or sums of them.

    Data are an array or a tensor with a row per sample, a map-style ``Dataset`` or a
    ``DataLoader``. What a data set yields is ``(input, ..., target)``, or an input alone. For
    networks that are called in another way, override `call`.

    Parameters
    ----------
    model : object
        The trained network.
    readout : "auto", str or list of str, default="auto"
        Layers whose inputs are the features; see `Adapter`.

    Examples
    --------
    >>> import torch
    >>> from skrigidity.last_layer import TorchAdapter
    >>> adapter = TorchAdapter(torch.nn.Sequential(torch.nn.ReLU(), torch.nn.Linear(2, 1)))
    >>> (batch,) = adapter.batches(adapter.check([[1.0, -1.0]]), 8)
    >>> adapter.latent(batch).features, adapter.layers
    (tensor([[1., 0.]]), ('1',))
    """

    @staticmethod
    def takes(model: Any) -> bool:
        """Whether it is a module of torch.

        Parameters
        ----------
        model : object
            What may be a model of this kind.

        Returns
        -------
        bool
            True for such a model.
        """
        return any(c.__module__.split(".")[0] == "torch" for c in type(model).__mro__)

    def check(self, data: Any, name: str = "X") -> Any:
        """Return a tensor, or a data set with what puts its samples together.

        Parameters
        ----------
        data : object
            Data of the kind that this adapter is for.
        name : str, default="X"
            What messages call the data.

        Returns
        -------
        object
            The data.
        """
        torch = require_torch()
        if isinstance(data, Samples):
            return data
        if isinstance(data, torch.utils.data.DataLoader):
            data = Samples(data.dataset, data.collate_fn)
        elif isinstance(data, torch.utils.data.Dataset):
            data = Samples(data, torch.utils.data.default_collate)
        elif isinstance(data, (list, tuple)) or hasattr(data, "__array__"):
            data = torch.as_tensor(np.asarray(data) if isinstance(data, (list, tuple)) else data)
        if not hasattr(data, "__len__"):
            raise TypeError(
                f"{name}: expected an array, a tensor, a Dataset with a length or a DataLoader, "
                f"got {type(data).__name__}"
            )
        if len(data) == 0:
            raise ValueError(f"{name}: expected at least one sample, got none")
        return data

    def batches(self, data: Any, size: int, *, derivatives: bool = False) -> Iterator[Any]:
        """Iterate over tuples of inputs on the network's device.

        Parameters
        ----------
        data : object
            Data of the kind that this adapter is for.
        size : int
            Number of samples of a batch.
        derivatives : bool, default=False
            Whether derivatives by positions and strain are asked for.

        Yields
        ------
        object
            The next batch of the network's own input.
        """
        device, dtype = place_of(self.model)
        for start in range(0, len(data), size):
            part = data[start : start + size]
            given = part if isinstance(data, Samples) else (part, None)
            yield tuple(placed(x, device, dtype) for x in given[:-1])

    def targets(self, data: Any) -> np.ndarray | None:
        """Return the targets of a data set, which come last.

        Parameters
        ----------
        data : object
            Data of the kind that this adapter is for.

        Returns
        -------
        ndarray or None
            Labels; None where the data have none.
        """
        if not isinstance(data, Samples):
            return None
        found = [data[start : start + 256][-1] for start in range(0, len(data), 256)]
        return None if found[0] is None else np.concatenate([np.asarray(y) for y in found])

    def call(self, batch: Any) -> Any:
        """Run the network on one batch; return its output.

        Parameters
        ----------
        batch : object
            One batch of the network's input.

        Returns
        -------
        Tensor
            Predictions of the batch.
        """
        return self.model(*batch)

    def latent(self, batch: Any, *, derivatives: bool = False) -> Latent:
        """Run the network on one batch.

        Parameters
        ----------
        batch : object
            One batch of the network's input.
        derivatives : bool, default=False
            Whether derivatives by positions and strain are asked for.

        Returns
        -------
        Latent
            Features, predictions and offsets of the batch.
        """
        torch = require_torch()
        if derivatives:
            raise NotImplementedError("derivatives need an adapter that knows positions")
        with evaluating(self.model):
            if not hasattr(self, "layers"):
                self.layers = self._found(batch)
            with Inputs(self.model, self.layers) as inputs:
                output = self.call(batch)
            features = inputs.joined()
        n = len(output)
        if len(features) != n:
            raise ValueError(
                f"readout: the network gives {n} predictions for {len(features)} inputs of the "
                "readout; an adapter has to say which belong together"
            )
        features = features.reshape(n, -1, features.shape[-1])
        sample = torch.arange(n, device=features.device).repeat_interleave(features.shape[1])
        return Latent(features.flatten(0, 1), sample, output.reshape(n, -1))

    def weights(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Return those of the one layer; None for several.

        Returns
        -------
        tuple of two ndarrays, or None
            Weights by the features, and the bias.
        """
        if len(self.layers) > 1:
            return None
        layer = layer_of(self.model, self.layers[0])
        if not isinstance(layer, require_torch().nn.Linear):
            return None
        weight = layer.weight.detach().double().cpu().numpy().T
        bias = np.zeros(weight.shape[1])
        if layer.bias is not None:
            bias = layer.bias.detach().double().cpu().numpy()
        return weight, bias

    def _found(self, batch: Any) -> tuple[str, ...]:
        traced = self.readout == "auto" and trace_readout(self.model, lambda: self.call(batch))
        return self._named([traced] if traced else [])
