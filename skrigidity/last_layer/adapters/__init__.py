"""One file for each kind of network; each is imported without the package that it is about."""

from .._registry import register_adapter
from .chgnet import CHGNetAdapter
from .schnetpack import SchNetPackAdapter
from .torch import TorchAdapter

_ADAPTERS = (
    TorchAdapter,  # any module: asked last
    CHGNetAdapter,
    SchNetPackAdapter,
)
for _adapter in _ADAPTERS:
    register_adapter(_adapter)

__all__ = [
    "CHGNetAdapter",
    "SchNetPackAdapter",
    "TorchAdapter",
]
