"""Rigidities of trained networks, by the features that enter their last layer."""

from ._adapter import Adapter, FramesAdapter, Latent
from ._model import LastLayerRigidity
from ._registry import adapter_of, register_adapter
from .adapters import CHGNetAdapter, TorchAdapter

__all__ = [
    "Adapter",
    "CHGNetAdapter",
    "FramesAdapter",
    "LastLayerRigidity",
    "Latent",
    "TorchAdapter",
    "adapter_of",
    "register_adapter",
]
