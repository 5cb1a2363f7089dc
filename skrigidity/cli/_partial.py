"""Output that grows frame by frame, and that a later run can continue after this one was killed."""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from skrigidity.cli._common import InputError


class PartialOutput:
    """Two files that grow together, and a note beside them of how far both are complete.

    A killed process leaves at most one entry that the note does not know: it is cut off and made
    again.

    Parameters
    ----------
    output : Path
        The final name, which the names of the three files begin with.
    made_from : dict
        What the output depends on: only output made from the same is continued.

    Attributes
    ----------
    frames, rows, note : Path
        The files.
    n_done : int
        Number of entries that are complete.
    """

    def __init__(self, output: Path, made_from: dict[str, Any]) -> None:
        ends = (output.suffix, ".csv", ".json")
        self.frames, self.rows, self.note = (
            output.with_name(f"{output.stem}.partial{end}") for end in ends
        )
        self.made_from = made_from
        self.n_done = 0
        self._made: list[Path] = []

    def start(self, header: bytes, *, resume: bool, force: bool) -> None:
        """Begin, or continue where an earlier run has stopped, if there was one.

        Parameters
        ----------
        header : bytes
            What the file of rows begins with.
        resume, force : bool
            Whether output of an earlier run may be continued, or thrown away.

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
        self.rows.write_bytes(header)
        self._write_note()

    def add(self, frame: bytes, row: bytes) -> None:
        """Append an entry to both files."""
        for path, content in ((self.frames, frame), (self.rows, row)):
            with path.open("ab") as file:
                file.write(content)
        self.n_done += 1
        self._write_note()

    def remove(self) -> None:
        """Remove all three files, and the folders made for them unless there is more in these."""
        for path in (self.note, self.frames, self.rows):
            path.unlink(missing_ok=True)
        with suppress(OSError):
            for folder in self._made:
                folder.rmdir()

    def _write_note(self) -> None:
        sizes = [path.stat().st_size for path in (self.frames, self.rows)]
        content = {"made_from": self.made_from, "n_done": self.n_done, "sizes": sizes}
        partial = self.note.with_name(f"{self.note.name}.{os.getpid()}")
        partial.write_text(json.dumps(content), "utf-8")
        os.replace(partial, self.note)

    def _resume(self) -> None:
        remedy = "--force without --resume starts over"
        try:
            content = json.loads(self.note.read_text("utf-8"))
            made_from, self.n_done = content["made_from"], int(content["n_done"])
            sizes = list(zip((self.frames, self.rows), content["sizes"], strict=True))
            complete = all(path.stat().st_size >= size for path, size in sizes)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{self.note}: cannot be continued; {remedy}") from error
        if not complete:
            raise InputError(f"{self.note}: the files beside it are too short; {remedy}")
        differing = [name for name in self.made_from if made_from.get(name) != self.made_from[name]]
        if differing:
            raise InputError(
                f"{self.note}: was made with other {' and '.join(differing)}; {remedy}"
            )
        for path, size in sizes:
            os.truncate(path, size)


def fingerprint(path: Path) -> str:
    """Return a hash of the content of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()[:32]
