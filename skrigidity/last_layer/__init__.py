"""Rigidities of trained networks, by the features that enter their last layer."""

from ._adapter import Adapter, FramesAdapter, Latent
from ._hooks import Inputs, evaluating
from ._hooks import is_a as is_a
from ._hooks import place_of as place_of
from ._model import LastLayerRigidity
from ._registry import adapter_of, register_adapter
from .adapters import (
    CHGNetAdapter,
    MACEAdapter,
    MetatomicAdapter,
    SchNetPackAdapter,
    TorchAdapter,
)

__all__ = [
    "Adapter",
    "CHGNetAdapter",
    "FramesAdapter",
    "Inputs",
    "LastLayerRigidity",
    "Latent",
    "MACEAdapter",
    "MetatomicAdapter",
    "SchNetPackAdapter",
    "TorchAdapter",
    "adapter_of",
    "evaluating",
    "register_adapter",
]
