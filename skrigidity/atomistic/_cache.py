"""Features of frames already seen, so that a grid search computes each descriptor once."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any

from numpy.typing import NDArray
from sklearn.utils.validation import check_memory


class FeatureCache:
    """Least recently used arrays, up to a number of bytes."""

    def __init__(self) -> None:
        self._arrays: OrderedDict[bytes, NDArray[Any]] = OrderedDict()
        self._lock = threading.Lock()
        self.nbytes = 0

    def __len__(self) -> int:
        return len(self._arrays)

    def get(self, key: bytes) -> NDArray[Any] | None:
        """Return the array stored under a key, if it is still there."""
        with self._lock:
            if key not in self._arrays:
                return None
            self._arrays.move_to_end(key)
            return self._arrays[key]

    def put(self, key: bytes, array: NDArray[Any], limit: int) -> None:
        """Store a copy, dropping the least recently used arrays beyond ``limit`` bytes."""
        with self._lock:
            if key in self._arrays:
                return
            self._arrays[key] = array.copy()
            self.nbytes += array.nbytes
            while self.nbytes > limit:
                _, dropped = self._arrays.popitem(last=False)
                self.nbytes -= dropped.nbytes

    def clear(self) -> None:
        """Drop everything."""
        with self._lock:
            self._arrays.clear()
            self.nbytes = 0


FEATURES = FeatureCache()


class Store:
    """Arrays in this process and in a joblib memory, one small file each.

    Parameters
    ----------
    memory : str, object with the joblib.Memory interface, or None
        None keeps nothing on disk.
    """

    def __init__(self, memory: Any) -> None:
        self._cached = check_memory(memory).cache(_hand_over, ignore=["rows"]) if memory else None

    def get(self, key: bytes | None) -> NDArray[Any] | None:
        """Return the array stored under a key, if it is there and can be read."""
        found = None if key is None else FEATURES.get(key)
        if found is not None or key is None or self._cached is None:
            return found
        try:
            return self._cached(key, None) if self._cached.check_call_in_cache(key, None) else None
        except LookupError:
            return None

    def put(self, key: bytes | None, array: NDArray[Any], limit: int) -> None:
        """Store an array: in the process where that keeps any bytes, and on disk."""
        if key is not None and limit:
            FEATURES.put(key, array, limit)
        if key is not None and self._cached is not None:
            self._cached(key, array)


def _hand_over(key: bytes, rows: NDArray[Any] | None) -> NDArray[Any]:
    # joblib calls this where it finds nothing, or a file that it cannot read.
    if rows is None:
        raise LookupError(key)
    return rows


def clear_cache() -> None:
    """Free the memory of the features that descriptors keep in this process.

    Examples
    --------
    >>> from skrigidity.atomistic import clear_cache
    >>> clear_cache()
    """
    FEATURES.clear()
