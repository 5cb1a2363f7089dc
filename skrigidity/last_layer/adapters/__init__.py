"""One file for each kind of network; each is imported without the package that it is about."""

from .._registry import register_adapter
from .metatomic import MetatomicAdapter
from .schnetpack import SchNetPackAdapter
from .torch import TorchAdapter

# Special ones come last: they are asked first.
for _adapter in (TorchAdapter, MetatomicAdapter, SchNetPackAdapter):
    register_adapter(_adapter)

__all__ = ["MetatomicAdapter", "SchNetPackAdapter", "TorchAdapter"]
