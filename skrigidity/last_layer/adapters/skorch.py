"""Networks of skorch: what it wraps, run as it runs it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .._hooks import is_a, require_torch, trace_readout
from .._samples import Samples
from .torch import TorchAdapter


class SkorchAdapter(TorchAdapter):
    """A fitted ``NeuralNet`` or ``NeuralNetRegressor`` of skorch.

    Data are an array, a dict or a DataFrame of the network's inputs, a ``Dataset`` or a
    ``DataLoader``. Classifiers are for `skrigidity.WithRigidity`, which knows their likelihood.

    Parameters
    ----------
    model : skorch.NeuralNet
        Fitted, or initialized with the parameters of a fitted one.
    readout : "auto", str or list of str, default="auto"
        As in `Adapter`; names are those of ``model.module_``.

    Raises
    ------
    TypeError
        If it is a classifier.
    ValueError
        If it was not fitted.

    Examples
    --------
    >>> import torch
    >>> from skorch import NeuralNetRegressor
    >>> from skrigidity.last_layer import LastLayerRigidity
    >>> net = NeuralNetRegressor(torch.nn.Linear(2, 1), verbose=0).initialize()
    >>> LastLayerRigidity(net).fit([[1.0, 0.0], [0.0, 1.0]]).prediction_rigidity([[1.0, 0.0]]) > 0
    array([ True])
    """

    def __init__(self, model: Any, readout: str | Sequence[str] = "auto") -> None:
        if not hasattr(model, "module_"):
            raise ValueError(f"model: {type(model).__name__} has no module yet: fit it first")
        if is_classifier(model) and not isinstance(self, SkorchLogits):
            name = type(model).__name__
            raise TypeError(
                f"model: {name} has a likelihood of classes, which LastLayerRigidity does not "
                f"know. Use WithRigidity(FrozenEstimator({name}(...)))"
            )
        super().__init__(model, readout)

    @property
    def model(self) -> Any:
        """The module; pickled, a network of skorch makes another one."""
        return self.net.module_

    @model.setter
    def model(self, net: Any) -> None:
        self.net = net

    @staticmethod
    def takes(model: Any) -> bool:
        """Whether it is a network of skorch.

        Parameters
        ----------
        model : object
            What may be a model of this kind.

        Returns
        -------
        bool
            True for such a model.
        """
        return is_a(model, "skorch", "NeuralNet")

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
        if hasattr(data, "keys"):
            collate = require_torch().utils.data.default_collate
            return _Inputs(self.net.get_dataset(data), collate)
        return super().check(data, name)

    def call(self, batch: Any) -> Any:
        """Run the network on one batch; return its (first) output.

        Parameters
        ----------
        batch : object
            One batch of the network's input.

        Returns
        -------
        Tensor
            Predictions of the batch.
        """
        output = self.net.infer(*batch)
        return output[0] if isinstance(output, tuple) else output


class SkorchLogits(SkorchAdapter):
    """A classifier of skorch, for what its probabilities are made of: logits of a linear layer."""

    def latent(self, batch: Any, *, derivatives: bool = False) -> Any:
        """Run the network on one batch; what is returned as output are logits."""
        found = super().latent(batch, derivatives=derivatives)
        layer = self.model.get_submodule(self.layers[0])
        with require_torch().no_grad():
            found.output = layer(found.features)
        return found

    def _found(self, batch: Any) -> tuple[str, ...]:
        def probabilities() -> Any:
            return self.net._get_predict_nonlinearity()(self.call(batch))

        return (trace_readout(self.model, probabilities, _probabilities_of),)


class _Inputs(Samples):
    """A data set of skorch whose targets are placeholders."""

    def __getitem__(self, part: slice) -> tuple[Any, ...]:
        return (*super().__getitem__(part)[:-1], None)


def is_classifier(net: Any) -> bool:
    """Whether a network of skorch predicts classes."""
    return is_a(net, "skorch", "NeuralNetClassifier", "NeuralNetBinaryClassifier")


def _probabilities_of(found: Any, output: Any) -> bool:
    """Whether the probabilities are those of logits that a layer returns."""
    torch = require_torch()
    if found.ndim != 2 or output.ndim != 2:
        return False
    if found.shape[1] == 1:
        found = torch.cat([0 * found, found], dim=1)  # one logit: that of the second class
    expected = torch.softmax(found, dim=-1)
    return expected.shape == output.shape and bool((expected - output).abs().max() <= 1e-5)
