"""Result files that are either all complete or all as they were."""

import os
import shutil
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from skrigidity.cli._common import InputError

FIT_FILES = ("potential.npz", "errors.csv", "errors.png")
STUDY_FILES = ("energies.csv", "foreign.csv", "forces.csv", "controls.csv", "summary.txt")
DEMO_FILES = (
    "train.extxyz",
    "new.extxyz",
    *FIT_FILES,
    *("structures.extxyz", "structures.csv", "structures.png"),
    *("next.extxyz", "next.csv", "next.png"),
    "dynamics.csv",
    "rigidity.png",
)


def structures_names(output: Path) -> list[str]:
    """Return the names of structures, table, picture and page that belong together.

    Raises
    ------
    InputError
        If the first, given, is no name for extended XYZ.
    """
    if output.suffix not in (".extxyz", ".xyz"):
        raise InputError(f"{output}: expected a name that ends in .extxyz or .xyz")
    return [output.name, *(output.stem + end for end in (".csv", ".png", ".html"))]


def check_output(folder: Path, names: Collection[str], *, force: bool) -> None:
    """Raise InputError if files of these names could not, or must not, be written later on."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is not a folder")
    found = [name for name in names if (folder / name).exists()]
    if found and not force:
        raise InputError(f"{folder}: contains {', '.join(found)} already; --force replaces them")
    for name in found:
        if not (folder / name).is_file():
            raise InputError(f"{folder / name}: is not a file and cannot be replaced")
    nearest = next(p for p in (folder.resolve(), *folder.resolve().parents) if p.exists())
    try:
        # Permissions alone do not tell: it may be a read-only or a virtual file system.
        tempfile.TemporaryFile(dir=nearest).close()
    except OSError as error:
        raise InputError(f"{folder}: {nearest} cannot be written to") from error


@contextmanager
def replaced_together(folder: Path, names: Collection[str]) -> Iterator[Path]:
    """Give a hidden folder to write files to, which move to ``folder`` at the end.

    Those of these names that the block does not write are removed from ``folder``: files of an
    earlier run would not belong to the new ones. If the block or a move fails, or is interrupted,
    everything is as it was before.
    """
    made = [p for p in (folder, *folder.parents) if not p.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    hidden: dict[str, Any] = {"prefix": ".skrigidity-", "ignore_cleanup_errors": True}
    try:
        with tempfile.TemporaryDirectory(dir=folder, **hidden) as staged:
            yield Path(staged)
            _move(Path(staged), folder, names)
    except BaseException:
        for p in made:
            p.rmdir()
        raise


def _move(staged: Path, folder: Path, names: Collection[str]) -> None:
    earlier = Path(tempfile.mkdtemp(dir=staged))
    for name in names:
        if (folder / name).exists():
            shutil.copy2(folder / name, earlier / name)
    try:
        _replace_all(staged, folder, names)
    except BaseException:
        _replace_all(earlier, folder, names)
        raise


def _replace_all(source: Path, folder: Path, names: Collection[str]) -> None:
    for name in names:
        if (source / name).exists():
            os.replace(source / name, folder / name)
        else:
            (folder / name).unlink(missing_ok=True)
