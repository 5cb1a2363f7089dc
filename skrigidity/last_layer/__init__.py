"""Rigidities of trained networks, by the features that enter their last layer."""

from ._adapter import Adapter, FramesAdapter, Latent
from ._blocks import blocks_of as blocks_of
from ._gauss_newton import GaussNewtonRigidity
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
    SevenNetAdapter,
    SkorchAdapter,
    TorchAdapter,
)
from .adapters import SkorchLogits as SkorchLogits

__all__ = [
    "Adapter",
    "CHGNetAdapter",
    "FramesAdapter",
    "GaussNewtonRigidity",
    "Inputs",
    "LastLayerRigidity",
    "Latent",
    "MACEAdapter",
    "MetatomicAdapter",
    "SchNetPackAdapter",
    "SevenNetAdapter",
    "SkorchAdapter",
    "TorchAdapter",
    "adapter_of",
    "evaluating",
    "register_adapter",
]
