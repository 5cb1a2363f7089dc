"""Descriptors that take time: chunks, threads, a progress bar, and what was computed before."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from numbers import Integral, Real
from typing import Any

import numpy as np
from joblib import effective_n_jobs
from numpy.typing import NDArray
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions

import skrigidity
from skrigidity._extras import import_extra
from skrigidity.atomistic._base import FrameDescriptor
from skrigidity.atomistic._cache import Store
from skrigidity.environments import consecutive
from skrigidity.frames import Atoms, digest


class ComputedDescriptor(FrameDescriptor):
    """Rows computed a chunk of frames at a time, unless they are remembered.

    A subclass computes a chunk in `_environments` and says in `_settings` on what, besides the
    frame, its numbers depend.
    """

    _parameter_constraints: dict[str, list[Any]] = {
        **FrameDescriptor._parameter_constraints,
        "cutoff": [Interval(Real, 0, None, closed="neither")],
        "center_types": [StrOptions({"blocks", "shared"})],
        "chunk_size": [Interval(Integral, 1, None, closed="left")],
        "n_jobs": [Integral, None],
        "cache_size": [Interval(Integral, 0, None, closed="left")],
        "memory": [str, HasMethods(["cache"]), None],
        "progress_bar": ["boolean"],
    }

    def __init__(
        self,
        species: Iterable[str | int] | None,
        output: str,
        dtype: str,
        chunk_size: int,
        n_jobs: int | None,
        cache_size: int,
        memory: Any,
        progress_bar: bool,
    ) -> None:
        self.species = species
        self.output = output
        self.dtype = dtype
        self.chunk_size = chunk_size
        self.n_jobs = n_jobs
        self.cache_size = cache_size
        self.memory = memory
        self.progress_bar = progress_bar

    def _environments(self, frames: dict[int, Atoms], dtype: np.dtype[Any]) -> NDArray[Any]:
        """Return one row per atom, frame after frame; the keys number the frames for messages."""
        raise NotImplementedError

    def _settings(self) -> tuple[Any, ...] | None:
        """Return what the rows of a frame depend on, None if that cannot be told."""
        raise NotImplementedError

    def _rows(self, frames: list[Atoms]) -> Iterator[tuple[int, NDArray[Any]]]:
        keys, store, missing = self._cache_keys(frames), Store(self.memory), []
        for i, key in enumerate(keys):
            if (rows := store.get(key)) is None:
                missing.append(i)
            else:
                yield i, rows
        n_rows = sum(len(frames[i]) if self.output == "environments" else 1 for i in missing)
        fit_in = n_rows * self.n_features_out_ * np.dtype(self.dtype).itemsize <= self.cache_size
        for i, rows in self._computed(frames, missing):
            store.put(keys[i], rows, self.cache_size if fit_in else 0)
            yield i, rows

    def _computed(self, frames: list[Atoms], chosen: list[int]) -> Iterator[tuple[int, Any]]:
        if self.progress_bar:
            tqdm = import_extra("tqdm", extra="atomistic", needed_by="progress_bar=True")
            bar = tqdm.tqdm(total=len(chosen), unit="frame", desc="descriptor")
        else:
            bar = nullcontext()
        offsets = np.cumsum([0, *(len(frames[i]) for i in chosen)])
        chunks = [chosen[a:b] for a, b in consecutive(offsets, self.chunk_size)]
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
        flat = self._environments({i: frames[i] for i in chunk}, dtype)
        return self._of_frames(flat, [len(frames[i]) for i in chunk])

    def _cache_keys(self, frames: list[Atoms]) -> list[bytes] | list[None]:
        settings = self._settings()
        if settings is None or (self.cache_size == 0 and self.memory is None):
            return [None] * len(frames)
        state = (type(self).__name__, skrigidity.__version__, *settings)
        state += (self.species_.tolist(), self.n_features_out_, self.output, self.dtype)
        prefix = hashlib.blake2b(repr(state).encode(), digest_size=16).digest()
        return [prefix + digest(frame) for frame in frames]
