"""Atomistic structures: descriptors of atomic environments.

Needs the extra ``atomistic`` (``pip install "skrigidity[atomistic]"``), but can be imported
without it: what needs ASE or featomic says so when it is used.
"""

from skrigidity.atomistic._cache import clear_cache
from skrigidity.atomistic._featomic import FeatomicDescriptor

__all__ = ["FeatomicDescriptor", "clear_cache"]
