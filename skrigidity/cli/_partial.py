"""Output that grows frame by frame, and that a later run can continue after this one was killed."""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from itertools import accumulate, islice
from pathlib import Path
from typing import Any

from skrigidity.cli._common import InputError


class PartialOutput:
    """Structures and rows of a table that grow together, and a note of what they are made from.

    A killed process leaves at most one frame that is not complete in both: it is cut off and made
    again.

    Parameters
    ----------
    output : Path
        The final name of the structures, which the names of the three files begin with.
    header : bytes
        What the table begins with.
    made_from : dict
        What the output depends on: only output made from the same is continued.

    Attributes
    ----------
    frames, rows, note : Path
        The files.
    n_done : int
        Number of frames that are complete.
    """

    def __init__(self, output: Path, header: bytes, made_from: dict[str, Any]) -> None:
        ends = (output.suffix, ".csv", ".json")
        self.frames, self.rows, self.note = (
            output.with_name(f"{output.stem}.partial{end}") for end in ends
        )
        self.header, self.made_from = header, made_from
        self.n_done = 0
        self._made: list[Path] = []

    def start(self, *, resume: bool, force: bool) -> None:
        """Begin, or continue where an earlier run has stopped, if there was one.

        Raises
        ------
        InputError
            If there is output of an earlier run that must not be thrown away, or that cannot be
            continued.
        """
        if resume and self.note.exists():
            self._resume()
            return
        if self.note.exists() and not force:
            raise InputError(
                f"{self.note}: an earlier run has stopped; --resume continues it, --force starts "
                "over"
            )
        self.remove()
        folder = self.frames.parent
        self._made = [p for p in (folder, *folder.parents) if not p.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        self.frames.touch()
        self.rows.write_bytes(self.header)
        self.note.write_text(json.dumps(self.made_from), "utf-8")

    def add(self, frame: bytes, row: bytes) -> None:
        """Append a frame to both files."""
        for path, content in ((self.frames, frame), (self.rows, row)):
            with path.open("ab") as file:
                file.write(content)
        self.n_done += 1

    def remove(self) -> None:
        """Remove all three files, and the folders made for them unless there is more in these."""
        for path in (self.note, self.frames, self.rows):
            path.unlink(missing_ok=True)
        with suppress(OSError):
            for folder in self._made:
                folder.rmdir()

    def _resume(self) -> None:
        remedy = "--force without --resume starts over"
        try:
            made_from = dict(json.loads(self.note.read_text("utf-8")))
            frames, rows = _ends_of_frames(self.frames), _ends_of_lines(self.rows)
            with self.rows.open("rb") as file:
                complete = file.readline() == self.header
        except (OSError, ValueError, TypeError) as error:
            raise InputError(f"{self.note}: cannot be continued; {remedy}") from error
        if not complete:
            raise InputError(f"{self.rows}: is not what belongs to {self.note}; {remedy}")
        differing = [name for name in self.made_from if made_from.get(name) != self.made_from[name]]
        if differing:
            raise InputError(
                f"{self.note}: was made with other {' and '.join(differing)}; {remedy}"
            )
        self.n_done = min(len(frames), len(rows) - 1)
        os.truncate(self.frames, [0, *frames][self.n_done])
        os.truncate(self.rows, rows[self.n_done])


def _ends_of_frames(path: Path) -> list[int]:
    """Return where every complete frame of an extended XYZ file ends."""
    ends, end = [], 0
    with path.open("rb") as file:
        while first := file.readline():
            n_lines = int(first) + 2
            lines = [first, *islice(file, n_lines - 1)]
            if len(lines) < n_lines or not lines[-1].endswith(b"\n"):
                break
            end += sum(map(len, lines))
            ends.append(end)
    return ends


def _ends_of_lines(path: Path) -> list[int]:
    with path.open("rb") as file:
        return list(accumulate(len(line) for line in file if line.endswith(b"\n")))


def fingerprint(path: Path) -> str:
    """Return a hash of the content of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()[:32]
