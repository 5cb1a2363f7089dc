"""The folder of a run: everything that has happened, and where to go on.

One file says what counts, ``state.npz``; it is replaced all at once, last of all. What others have
more than it knows of comes from a run that was killed, and is cut off.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from skrigidity import _store
from skrigidity.active_learning._labels import extxyz, from_extxyz, write_whole
from skrigidity.frames import Atoms

_WHAT = "skrigidity active learning"
COLUMNS = (
    *("trajectory", "step", "time_fs", "energy_eV"),
    *("energy_std_eV", "force_std_eV_per_A", "local_std_eV", "min_rigidity", "tripped"),
)


class RunFolder:
    """Files of a run.

    Parameters
    ----------
    path : Path
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True, exist_ok=True)
        self.labels = path / "labels"
        self.potential = path / "potential.npz"
        self.training = path / "training.extxyz"
        self.labelled = path / "labelled.extxyz"
        self.pending = path / "pending.extxyz"
        self.picture = path / "rigidity.png"
        self.log, self.watch = path / "log.jsonl", path / "watch.csv"

    # --- where to go on ---------------------------------------------------------------------

    def load_state(self) -> dict[str, Any] | None:
        """Return the state, None of a new run; cut off what is beyond it."""
        if not (self.path / "state.npz").exists():
            return None
        state = _store.read_file(self.path / "state.npz", _WHAT)
        for path, size in ((self.log, state["log_bytes"]), (self.watch, state["watch_bytes"])):
            if path.exists() and path.stat().st_size > size:
                os.truncate(path, size)
        return state

    def save_state(self, state: dict[str, Any]) -> None:
        """Replace the state."""
        sizes = {"log_bytes": _size(self.log), "watch_bytes": _size(self.watch)}
        _store.write_file(self.path / "state.npz", {**state, **sizes}, _WHAT)

    # --- frames -----------------------------------------------------------------------------

    def write_frames(self, path: Path, frames: list[Atoms]) -> None:
        """Replace a file of frames."""
        write_whole(path, extxyz(frames) if frames else "")

    def read_frames(self, path: Path) -> list[Atoms]:
        """Return the frames of a file; none where there is no file."""
        text = path.read_text("utf-8") if path.exists() else ""
        return from_extxyz(text) if text else []

    # --- records ----------------------------------------------------------------------------

    def record(self, event: str, **facts: Any) -> None:
        """Append a line to the log."""
        line = {"event": event, "at": time.strftime("%Y-%m-%dT%H:%M:%S%z"), **facts}
        _append(self.log, json.dumps(line, allow_nan=True) + "\n")

    def look(self, row: dict[str, Any]) -> None:
        """Append a line to the table of looks."""
        if _size(self.watch) == 0:
            _append(self.watch, ",".join(COLUMNS) + "\n")
        _append(self.watch, ",".join(_text(row.get(name)) for name in COLUMNS) + "\n")


def _text(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.8g}" if isinstance(value, float) else str(value)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _append(path: Path, text: str) -> None:
    with path.open("ab", buffering=0) as file:
        file.write(text.encode("utf-8"))
