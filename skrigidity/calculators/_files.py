"""Files that grow by whole records, so that a run that is killed leaves them readable."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any


def append_text(path: Path, text: str) -> None:
    """Append in one write."""
    data = text.encode("utf-8")
    with path.open("ab", buffering=0) as file:
        if file.write(data) != len(data):
            raise OSError(f"{path}: could not be written to the end")


def append_line(path: Path, values: Iterable[Any]) -> None:
    """Append a line of a CSV table; None leaves a field empty."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(values)
    append_text(path, text.getvalue())


def start_table(path: Path, columns: Sequence[str]) -> None:
    """Write the names of the columns, or check those of a table that goes on."""
    if not path.exists() or path.stat().st_size == 0:
        append_line(path, columns)
        return
    text = path.read_bytes()
    first = text.partition(b"\n")[0].decode("utf-8", errors="replace").strip()
    if first != ",".join(columns):
        raise ValueError(f"{path}: is no log of these columns: {', '.join(columns)}")
    if not text.endswith(b"\n"):
        append_text(path, "\n")
