"""Which frames of a file are for training, and which for validation."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import compress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import GroupShuffleSplit

from skrigidity.cli._common import InputError
from skrigidity.cli._structures import frame_numbers, read_frames

if TYPE_CHECKING:
    from ase import Atoms


@dataclass(frozen=True)
class FrameSet:
    """Frames, and where they are from.

    Attributes
    ----------
    path : Path
        The file.
    frames : list of ase.Atoms
    numbers : list of int
        The number of each in the file.
    """

    path: Path
    frames: list[Atoms]
    numbers: list[int]

    @classmethod
    def read(cls, path: Path) -> FrameSet:
        """Read a whole file."""
        frames = list(read_frames(path))
        return cls(path, frames, list(range(len(frames))))

    def __len__(self) -> int:
        return len(self.frames)

    def where(self) -> AbstractContextManager[None]:
        """Errors of the library that name a frame name file and number in this context."""
        return frame_numbers(self.path, self.numbers)

    def taken(self, mask: NDArray[np.bool_]) -> FrameSet:
        """Return those of the frames that a mask marks."""
        frames, numbers = compress(self.frames, mask), compress(self.numbers, mask)
        return FrameSet(self.path, list(frames), list(numbers))

    def labels(self, key: str) -> np.ndarray:
        """Return what the frames say under a key, as text.

        Raises
        ------
        InputError
            If a frame says nothing.
        """
        for number, frame in zip(self.numbers, self.frames, strict=True):
            if key not in frame.info:
                has = ", ".join(map(str, frame.info)) or "nothing"
                raise InputError(f"{self.path}, frame {number}: has no {key!r}; it has {has}")
        return np.array([str(frame.info[key]) for frame in self.frames])


def divide(
    every: FrameSet, validation: str | None, groups: Any, seed: int
) -> tuple[FrameSet, FrameSet | None]:
    """Divide frames into those for training and those for validation.

    Parameters
    ----------
    every : FrameSet
    validation : str or None
        A share, ``KEY=VALUE``, the name of a file, or None.
    groups : ndarray of shape (n_frames,) or None
        Frames of one label stay together.
    seed : int
        Decides what is drawn.

    Raises
    ------
    InputError
        If nothing would be left on either side, or what is asked for cannot be understood.
    """
    if validation is None:
        return every, None
    share = _number(validation)
    if share is None and "=" in validation and not Path(validation).exists():
        key, _, value = validation.partition("=")
        out = every.labels(key) == value
        chosen = f"frames with {validation}"
    elif share is None:
        return every, FrameSet.read(Path(validation))
    elif not 0 < share < 1:
        raise InputError(f"--validation: expected a share between 0 and 1, got {validation}")
    else:
        labels = np.arange(len(every)) if groups is None else groups
        if len(np.unique(labels)) < 2:
            raise InputError(f"{every.path}: has one group only, which cannot be divided")
        drawn = GroupShuffleSplit(1, test_size=share, random_state=seed)
        out = np.zeros(len(every), dtype=bool)
        out[next(drawn.split(labels, groups=labels))[1]] = True
        chosen = f"a share of {validation}"
    if out.all() or not out.any():
        left = "training" if out.all() else "validation"
        raise InputError(f"{every.path}: {chosen} for validation leaves no frame for {left}")
    return every.taken(~out), every.taken(out)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
