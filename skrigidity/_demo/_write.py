"""Result files that are either complete or absent."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from skrigidity._demo._data import InputError
from skrigidity._demo._figure import draw
from skrigidity._extras import import_extra

if TYPE_CHECKING:
    from skrigidity._demo._run import DemoResult

TABLE, PICTURE, FRAMES = "structures.csv", "rigidity.png", "structures.extxyz"
NAMES = (TABLE, PICTURE, FRAMES)


def check_output(folder: Path, *, force: bool) -> None:
    """Raise InputError if results could not, or must not, be written to a folder later on."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is not a folder")
    found = [name for name in NAMES if (folder / name).exists()]
    if found and not force:
        raise InputError(f"{folder}: contains {', '.join(found)} already; --force replaces them")
    nearest = next(p for p in (folder.resolve(), *folder.resolve().parents) if p.exists())
    if not (nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)):
        raise InputError(f"{folder}: {nearest} cannot be written to")


def write(result: DemoResult, folder: Path, *, plot: bool = True) -> list[Path]:
    """Write the table, the picture and the frames; on failure leave everything as it was.

    Parameters
    ----------
    result : DemoResult
    folder : Path
        Made if it does not exist. Results of an earlier run are replaced, other files are kept.
    plot : bool, default=True
        Whether to draw the picture.

    Returns
    -------
    list of Path
        The files.
    """
    final = folder.resolve()
    with _staging(final) as staged:
        result.structures.to_csv(staged / TABLE, index=False, float_format="%.8g")
        if plot:
            draw(result).savefig(staged / PICTURE, dpi=150)
        io = import_extra("ase.io", extra="atomistic", needed_by="skrigidity demo")
        io.write(staged / FRAMES, result.frames, format="extxyz")
        written = [name for name in NAMES if (staged / name).exists()]
        if staged.parent != final:
            staged.rename(final)
        else:
            for name in written:
                os.replace(staged / name, final / name)
            # A picture of an earlier run would not belong to the new table.
            for name in set(NAMES) - set(written):
                (final / name).unlink(missing_ok=True)
    return [folder / name for name in written]


@contextmanager
def _staging(final: Path) -> Iterator[Path]:
    """Give an empty hidden folder on the same disk, which is gone at the end if not renamed."""
    parent = final if final.exists() else final.parent
    made = [p for p in (parent, *parent.parents) if not p.exists()]
    parent.mkdir(parents=True, exist_ok=True)
    staged = parent / f".{final.name}.{os.getpid()}.partial"
    staged.mkdir()
    try:
        yield staged
    finally:
        shutil.rmtree(staged, ignore_errors=True)
        if not final.exists():
            for p in made:
                p.rmdir()
