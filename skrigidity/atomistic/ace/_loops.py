"""Whether the loops of derivatives are compiled."""

from __future__ import annotations

from functools import cache
from types import ModuleType


@cache
def compiled() -> ModuleType | None:
    """Return the compiled loops, None where numba is not installed."""
    try:
        from skrigidity.atomistic.ace import _compiled
    except ImportError:
        return None
    return _compiled
