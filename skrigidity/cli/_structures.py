"""Structure files, read one frame at a time, with file and frame number in every error."""

from __future__ import annotations

import io
import lzma
import re
import warnings
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skrigidity._extras import import_extra
from skrigidity.cli._common import InputError

if TYPE_CHECKING:
    from ase import Atoms

_NOT_TEXT = (OSError, EOFError, UnicodeDecodeError, lzma.LZMAError, zlib.error)


def read_frames(path: Path, start: int = 0) -> Iterator[Atoms]:
    """Read the frames of a file, each when it is asked for.

    Parameters
    ----------
    path : Path
        A file in any format that ASE reads. Extended XYZ may be compressed, and is neither read
        ahead nor kept.
    start : int, default=0
        The first frame to read.

    Yields
    ------
    ase.Atoms

    Raises
    ------
    InputError
        If the file is missing, unreadable, incomplete or without frames, or a frame is empty or
        not finite. Frames are counted from 0.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    if path.stat().st_size == 0:
        raise InputError(f"{path}: is empty")
    checked = import_extra("skrigidity.atomistic", extra="atomistic").check_frames
    number = -1
    for number, frame in _numbered(path, start):
        with frame_numbers(path, [number]):
            checked([frame])
        yield frame
    if number < 0 and start == 0:
        raise InputError(f"{path}: contains no structure")


def inspect_frames(path: Path, species: Iterable[int] | None = None) -> int:
    """Read all frames and return their number, so that no surprise is left for later.

    Parameters
    ----------
    path : Path
    species : iterable of int, default=None
        Atomic numbers that a model knows; None where all are welcome.

    Raises
    ------
    InputError
        As `read_frames`, or a frame contains another species.
    """
    data = import_extra("ase.data", extra="atomistic", needed_by="reading structures")
    known = None if species is None else {int(number) for number in species}
    number = -1
    for number, frame in enumerate(read_frames(path)):
        unknown = [] if known is None else sorted(set(frame.numbers.tolist()) - known)
        if known is not None and unknown:
            new, old = (
                ", ".join(data.chemical_symbols[z] for z in some)
                for some in (unknown, sorted(known))
            )
            raise InputError(f"{path}, frame {number}: contains {new}; this model knows {old}")
    return number + 1


@contextmanager
def frame_numbers(path: Path, numbers: Sequence[int]) -> Iterator[None]:
    """Turn what the library says of ``X[3]`` or ``frames[3]`` into file and frame number.

    Parameters become options: ``energy_key`` is ``--energy-key``.

    Parameters
    ----------
    path : Path
        Where the frames come from.
    numbers : sequence of int
        Their numbers in the file.
    """
    try:
        with warnings.catch_warnings(record=True) as caught:
            yield
    except InputError:
        raise
    except (TypeError, ValueError) as error:
        text = re.sub(r"^(X|frames?): ", "", _in_file(one_line(error), numbers))
        if len(numbers) == 1 and not text.startswith("frame "):
            text = f"frame {numbers[0]}: {text}"
        raise InputError(f"{path}{', ' if text.startswith('frame ') else ': '}{text}") from error
    for each in caught:
        warnings.warn(f"{path}: {_in_file(str(each.message), numbers)}", each.category, 3)


def _in_file(text: str, numbers: Sequence[int]) -> str:
    def numbered(found: re.Match[str]) -> str:
        return f"frame {numbers[int(found[1])]}"

    text = re.sub(r"\b(?:X|frames)\[(\d+)\]", numbered, text)
    return re.sub(r"\b(energy|forces?|stress|virial|weight)_(key|error)\b", r"--\1-\2", text)


def one_line(error: BaseException) -> str:
    """Return the message of an error, or its name where it has none, in one line."""
    text = " ".join(str(error).split())
    return re.sub(r"^ase\.io\.\w+: ", "", text) or type(error).__name__


def _numbered(path: Path, start: int) -> Iterator[tuple[int, Atoms]]:
    formats = import_extra("ase.io.formats", extra="atomistic", needed_by="reading structures")
    try:
        kind = formats.filetype(str(path))
        formats.get_ioformat(kind)
    except formats.UnknownFileTypeError as error:
        raise InputError(f"{path}: in no format that ASE knows") from error
    except Exception as error:  # as below
        raise InputError(f"{path}: cannot read it: {one_line(error)}") from error
    is_extxyz = kind == "extxyz"
    frames = _parsed(path, start) if is_extxyz else _by_ase(path)
    number = start if is_extxyz else 0
    while True:
        try:
            frame = next(frames, None)
        except InputError:
            raise
        except Exception as error:  # ASE's readers raise whatever their parsing happens to raise.
            reason = one_line(error)
            raise InputError(f"{path}, frame {number}: cannot read it: {reason}") from error
        if frame is None:
            return
        if number >= start:
            yield number, frame
        number += 1


def _by_ase(path: Path) -> Iterator[Atoms]:
    ase_io: Any = import_extra("ase.io", extra="atomistic", needed_by="reading structures")
    yield from ase_io.iread(path, index=":", do_not_split_by_at_sign=True)


def _parsed(path: Path, start: int) -> Iterator[Atoms]:
    ase_io: Any = import_extra("ase.io", extra="atomistic", needed_by="reading structures")
    for text in islice(_extxyz_texts(path), start, None):
        yield ase_io.read(io.StringIO(text), index=0, format="extxyz")


def _extxyz_texts(path: Path) -> Iterator[str]:
    """Yield the text of every frame.

    ASE goes through the whole file before its first frame, and accepts a file that ends within
    its last number or with an empty line before the end.
    """
    formats = import_extra("ase.io.formats", extra="atomistic", needed_by="reading structures")
    with formats.open_with_compression(str(path)) as file:
        for number in count():
            where = f"{path}, frame {number}"
            try:
                lines = list(islice(file, 1))
                if not "".join(lines).strip() and not any(line.strip() for line in file):
                    return
                yield _one_text(file, lines[0], where)
            except _NOT_TEXT as error:
                raise InputError(f"{where}: cannot read it: {one_line(error)}") from error


def _one_text(file: Iterator[str], first: str, where: str) -> str:
    try:
        n_atoms = int(first)
    except ValueError:
        raise InputError(
            f"{where}: cannot read it: expected the number of its atoms, got {first.strip()[:40]!r}"
        ) from None
    lines = [first, *islice(file, n_atoms + 1)]
    if len(lines) < n_atoms + 2:
        found = max(sum(line.endswith("\n") for line in lines) - 2, 0)
        raise InputError(f"{where}: the file ends after {found} of its {n_atoms} atoms")
    if not lines[-1].endswith("\n"):
        raise InputError(f"{where}: the last line of the file does not end: incomplete?")
    return "".join(lines)
