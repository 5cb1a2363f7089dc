"""One file for each kind of network; each is imported without the package that it is about."""

from .._registry import register_adapter
from .chgnet import CHGNetAdapter
from .mace import MACEAdapter
from .metatomic import MetatomicAdapter
from .schnetpack import SchNetPackAdapter
from .sevennet import SevenNetAdapter
from .skorch import SkorchAdapter
from .skorch import SkorchLogits as SkorchLogits
from .torch import TorchAdapter

_ADAPTERS = (
    TorchAdapter,  # any module: asked last
    CHGNetAdapter,
    MACEAdapter,
    MetatomicAdapter,
    SchNetPackAdapter,
    SevenNetAdapter,
    SkorchAdapter,
)
for _adapter in _ADAPTERS:
    register_adapter(_adapter)

__all__ = [
    "CHGNetAdapter",
    "MACEAdapter",
    "MetatomicAdapter",
    "SchNetPackAdapter",
    "SevenNetAdapter",
    "SkorchAdapter",
    "TorchAdapter",
]
