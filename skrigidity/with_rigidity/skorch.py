"""Networks of skorch: a linear model of what enters the last layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import is_classifier

from ..last_layer import SkorchAdapter, SkorchLogits, blocks_of, is_a
from .network import last_layer
from .registry import BY_DATA, Curvature, curvature_of

LOSSES = ("MSELoss", "NLLLoss", "CrossEntropyLoss", "BCELoss", "BCEWithLogitsLoss")


@dataclass
class LookedAt:
    """A network whose readout has been found, by running it.

    Attributes
    ----------
    net : skorch.NeuralNet
    adapter : SkorchAdapter
        What knows its readout.
    shape : tuple of int
        Shape of one prediction.
    """

    net: Any
    adapter: SkorchAdapter
    shape: tuple[int, ...]

    def __call__(self, X: Any) -> np.ndarray:
        """Return what enters the readout, and 1 where that has a bias, summed by sample."""
        size = self.net.batch_size if self.net.batch_size > 0 else len(X)
        blocks = blocks_of(self.adapter, self.adapter.check(X), size)
        return np.concatenate([block.summed("sum", self.bias) for block in blocks])

    @property
    def bias(self) -> bool:
        """Whether the readout has a bias."""
        return self.adapter.model.get_submodule(self.adapter.layers[0]).bias is not None


def looked_at(estimator: Any, X: Any) -> Any:
    """Return what `curvature_of` takes: a network's readout is found by running it on data."""
    if not is_a(estimator, *BY_DATA):
        return estimator
    adapter = (SkorchLogits if is_classifier(estimator) else SkorchAdapter)(estimator)
    adapter.latent(next(adapter.batches(adapter.check(X), 4)))
    return LookedAt(estimator, adapter, np.shape(estimator.predict(X[:1]))[1:])


@curvature_of.register
def _(looked: LookedAt) -> Curvature:
    net, name = looked.net, type(looked.net).__name__
    criterion = net.criterion_
    if not is_a(criterion, "torch", *LOSSES):
        raise ValueError(
            f"{name}(criterion={type(criterion).__name__}) has no rigidities: the curvature of its "
            f"loss is not known. Those of {', '.join(LOSSES)} are"
        )
    found = looked.adapter.weights()
    assert found is not None  # those of a layer that gives the output
    weights = np.vstack(found) if looked.bias else found[0]
    if not is_classifier(net):
        return last_layer(name, looked, weights, shape=looked.shape)
    classes = np.asarray(net.classes_)
    of_class = getattr(criterion, "weight", None)
    if getattr(criterion, "pos_weight", None) is not None:
        of_class = [1.0, float(criterion.pos_weight)]
    elif is_a(criterion, "torch", "BCELoss", "BCEWithLogitsLoss"):
        of_class = None  # that of samples of a batch
    if of_class is not None:
        of_class = dict(zip(classes.tolist(), map(float, of_class), strict=True))
    return last_layer(name, looked, weights, classes=classes, class_weight=of_class)
