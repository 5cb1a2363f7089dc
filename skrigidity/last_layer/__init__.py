"""Rigidities of trained networks, by the features that enter their last layer."""

from ._adapter import Adapter, FramesAdapter, Latent
from ._model import LastLayerRigidity
from ._registry import adapter_of, register_adapter
from .adapters import MetatomicAdapter, SchNetPackAdapter, TorchAdapter

__all__ = [
    "Adapter",
    "FramesAdapter",
    "LastLayerRigidity",
    "Latent",
    "MetatomicAdapter",
    "SchNetPackAdapter",
    "TorchAdapter",
    "adapter_of",
    "register_adapter",
]
