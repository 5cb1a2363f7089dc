"""Descriptors that take time: chunks, threads, a progress bar, and what was computed before."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np
from joblib import effective_n_jobs
from numpy.typing import NDArray
from sklearn.utils._param_validation import HasMethods, Interval

import skrigidity
from skrigidity._extras import import_extra
from skrigidity.atomistic._base import FrameDescriptor
from skrigidity.atomistic._cache import FEATURES, Store
from skrigidity.atomistic._frames import digest

if TYPE_CHECKING:
    from ase import Atoms


class ComputedDescriptor(FrameDescriptor):
    """Rows computed a chunk of frames at a time, unless they are remembered.

    A subclass computes a chunk in `_environments` and says in `_settings` on what, besides the
    frame, its numbers depend.
    """

    _parameter_constraints: dict[str, list[Any]] = {
        **FrameDescriptor._parameter_constraints,
        "chunk_size": [Interval(Integral, 1, None, closed="left")],
        "n_jobs": [Integral, None],
        "cache_size": [Interval(Integral, 0, None, closed="left")],
        "memory": [str, HasMethods(["cache"]), None],
        "progress_bar": ["boolean"],
    }

    chunk_size: int
    n_jobs: int | None
    cache_size: int
    memory: Any
    progress_bar: bool

    def _environments(
        self, frames: list[Atoms], chunk: list[int], dtype: np.dtype[Any]
    ) -> NDArray[Any]:
        """Return one row per atom of the chosen frames, frame after frame."""
        raise NotImplementedError

    def _settings(self) -> tuple[Any, ...] | None:
        """Return what the rows of a frame depend on, None if that cannot be told."""
        raise NotImplementedError

    def _rows(self, frames: list[Atoms]) -> Iterator[tuple[int, NDArray[Any]]]:
        keys = self._cache_keys(frames)
        store = Store(self.memory)
        missing = []
        for i in range(len(frames)):
            rows = FEATURES.get(keys[i]) if keys else None
            if keys and rows is None:
                rows = store.get(keys[i])
            if rows is None:
                missing.append(i)
            else:
                yield i, rows
        row_bytes = self.n_features_out_ * np.dtype(self.dtype).itemsize
        remember = bool(keys) and self.cache_size >= row_bytes * sum(
            len(frames[i]) if self.output == "environments" else 1 for i in missing
        )
        for i, rows in self._computed(frames, missing):
            if remember:
                FEATURES.put(keys[i], rows, self.cache_size)
            if keys:
                store.put(keys[i], rows)
            yield i, rows

    def _computed(self, frames: list[Atoms], chosen: list[int]) -> Iterator[tuple[int, Any]]:
        if self.progress_bar:
            tqdm = import_extra("tqdm", extra="atomistic", needed_by="progress_bar=True")
            bar = tqdm.tqdm(total=len(chosen), unit="frame", desc="descriptor")
        else:
            bar = nullcontext()
        chunks = list(_chunks(chosen, [len(frames[i]) for i in chosen], self.chunk_size))
        n_threads = min(effective_n_jobs(self.n_jobs), max(len(chunks), 1))
        with bar as progress, ThreadPoolExecutor(n_threads) as pool:
            # One round of chunks at a time: results never pile up.
            for start in range(0, len(chunks), n_threads):
                todo = chunks[start : start + n_threads]
                compute = pool.map if n_threads > 1 else map
                for chunk, rows in zip(
                    todo, compute(lambda c: self._compute(frames, c), todo), strict=True
                ):
                    yield from zip(chunk, rows, strict=True)
                    if progress is not None:
                        progress.update(len(chunk))

    def _compute(self, frames: list[Atoms], chunk: list[int]) -> list[NDArray[Any]]:
        # Sums are taken in float64 even where the output is float32.
        dtype = np.dtype(self.dtype if self.output == "environments" else "float64")
        flat = self._environments(frames, chunk, dtype)
        return self._of_frames(flat, [len(frames[i]) for i in chunk])

    def _cache_keys(self, frames: list[Atoms]) -> list[bytes]:
        settings = self._settings()
        if settings is None or (self.cache_size == 0 and self.memory is None):
            return []
        state = (type(self).__name__, skrigidity.__version__, *settings)
        state += (self.species_.tolist(), self.n_features_out_, self.output, self.dtype)
        prefix = hashlib.blake2b(repr(state).encode(), digest_size=16).digest()
        return [prefix + digest(frame) for frame in frames]


def _chunks(items: list[int], sizes: list[int], limit: int) -> Iterator[list[int]]:
    chunk: list[int] = []
    total = 0
    for item, size in zip(items, sizes, strict=True):
        if chunk and total + size > limit:
            yield chunk
            chunk, total = [], 0
        chunk.append(item)
        total += size
    if chunk:
        yield chunk
