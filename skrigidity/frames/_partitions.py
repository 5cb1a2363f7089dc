"""Frames in Dask bags and delayed lists: what is done with them is done where they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..distributed import merged_in_tree
from ..environments import is_chunked
from ._frames import Atoms, check_frames
from ._labels import names_of

# So many frames of every partition are brought here, and at most so many at regular distances.
_OF_EACH, _MOST = 16, 1024


def is_partitioned(X: Any) -> bool:
    """Tell whether X is a Dask bag, or a list of delayed frames or lists of frames.

    Examples
    --------
    >>> from skrigidity.frames import is_partitioned
    >>> is_partitioned([])
    False
    """
    return is_chunked(X[0] if isinstance(X, list | tuple) and len(X) else X)


class _Census(NamedTuple):
    frames: list[Atoms]
    n_frames: int


class FramePartitions:
    """Frames in partitions.

    Parameters
    ----------
    X : dask.bag.Bag or list of dask.delayed.Delayed
        Of frames, or of lists of frames.

    Attributes
    ----------
    sample : list of ase.Atoms
        Some frames of every partition, all species and names of properties among them.
    n_frames : int
        Number of all frames.
    """

    def __init__(self, X: Any) -> None:
        self.parts = list(X.to_delayed() if hasattr(X, "to_delayed") else X)
        census = self.over(_census, "frames-census", _joined)
        self.sample, self.n_frames = check_frames(census.frames), census.n_frames

    def over(
        self,
        function: Callable[..., Any],
        name: str,
        merge: Callable[[list[Any]], Any],
        *arguments: Any,
    ) -> Any:
        """Return what a function says of the frames of every partition, merged in a tree.

        Parameters
        ----------
        function : callable
            Takes a list of frames, the number of the partition, and `arguments`.
        name : str
            What the dashboard calls it.
        merge : callable
            Merges a list of results, none of which it changes.
        *arguments : tuple
            Sent once, not per partition.
        """
        from uuid import uuid4

        from dask.delayed import delayed

        call, token = delayed(_called, pure=False), uuid4().hex
        sent = delayed((function, arguments), pure=False, traverse=False)
        tasks = [
            call(part, number, sent, dask_key_name=f"{name}-{token}-{number}")
            for number, part in enumerate(self.parts)
        ]
        return merged_in_tree(tasks, merge, f"{name}-merge")


def _called(part: Any, number: int, sent: tuple[Callable[..., Any], tuple[Any, ...]]) -> Any:
    function, arguments = sent
    frames = [part] if hasattr(part, "numbers") else list(part)
    if frames:
        check_frames(frames, f"partition {number} of X")
    return function(frames, number, *arguments)


def _census(frames: list[Atoms], number: int) -> _Census:
    regular = frames[:: max(1, len(frames) // _OF_EACH)][:_OF_EACH]
    return _Census(_with_novel(frames, regular), len(frames))


def _joined(parts: list[_Census]) -> _Census:
    frames = [frame for part in parts for frame in part.frames]
    step = max(1, len(frames) // _MOST)
    return _Census(_with_novel(frames, frames[::step]), sum(part.n_frames for part in parts))


def _with_novel(frames: list[Atoms], kept: list[Atoms]) -> list[Atoms]:
    """Return frames kept, and those with a species or a name that none of them has."""
    seen = {each for frame in kept for each in _traits(frame)}
    out = list(kept)
    for frame in frames:
        traits = _traits(frame)
        if not traits <= seen:
            seen |= traits
            out.append(frame)
    return out


def _traits(frame: Atoms) -> set[Any]:
    return {*np.unique(frame.numbers).tolist(), *names_of(frame)}
