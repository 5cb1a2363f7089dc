"""One file for each kind of network; each is imported without the package that it is about."""

from .._registry import register_adapter
from .skorch import SkorchAdapter
from .skorch import SkorchLogits as SkorchLogits
from .torch import TorchAdapter

for _adapter in (TorchAdapter, SkorchAdapter):  # special ones come last: they are asked first
    register_adapter(_adapter)

__all__ = ["SkorchAdapter", "TorchAdapter"]
