"""Files that are downloaded once, verified and kept in a folder of the user's."""

import hashlib
import os
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.utils._param_validation import Interval

from skrigidity._extras import import_extra
from skrigidity.datasets._arrays import (
    OPTIONS,
    DamagedFileError,
    complete_or_absent,
    read_arrays,
    write_arrays,
)

DATA_HOME_VARIABLE = "SKRIGIDITY_DATA"
CONNECTION_TIMEOUT = 30.0  # s
LARGEST = 2**30  # bytes, of a download or of what it unpacks to: three times the largest there is

# Constraints of the parameters that all fetchers share.
PARAMETERS: dict[str, list[Any]] = {
    "data_home": [str, os.PathLike, None],
    "download_if_missing": ["boolean"],
    **OPTIONS,
    "progress": ["boolean"],
    "n_retries": [Interval(Integral, 0, None, closed="left")],
    "delay": [Interval(Real, 0.0, None, closed="left")],
}


class Bounded:
    """A binary file that passes on so many bytes, in either direction, and then an OSError.

    It asks for no more than one byte beyond the bound, so that what expands without end, such as
    a maliciously compressed stream, is not expanded first and measured then.
    """

    def __init__(self, file: Any, name: str, n_bytes: int | None = None) -> None:
        self.file, self.name = file, name
        self.left = LARGEST if n_bytes is None else n_bytes

    def _count(self, data: bytes) -> bytes:
        self.left -= len(data)
        if self.left < 0:
            raise OSError(f"{self.name} is far larger than it should be: given up")
        return data

    def read(self, size: int = -1) -> bytes:
        """Read up to a number of bytes."""
        most = self.left + 1
        return self._count(self.file.read(most if size < 0 else min(size, most)))

    def write(self, data: bytes) -> int:
        """Write bytes."""
        return int(self.file.write(self._count(data)))

    def flush(self) -> None:
        """Write what is buffered."""
        self.file.flush()


@dataclass(frozen=True)
class RemoteFile:
    """A file on a server that is not ours, and how to know that it is the one we mean.

    Parameters
    ----------
    name : str
        Name of the local copy.

    url : str
        Where it is.

    checksum : str
        ``algorithm:digest``, where the algorithm is one of :mod:`hashlib`'s or ``git-blob``, the
        name under which git keeps the content of a file (SHA-1 of its size and content).
    """

    name: str
    url: str
    checksum: str

    def digest(self, path: Path) -> str:
        """Digest of a local file, in the form of ``checksum``."""
        algorithm = self.checksum.partition(":")[0]

        def start() -> "hashlib._Hash":
            if algorithm == "git-blob":
                header = b"blob %d\0" % path.stat().st_size
                return hashlib.sha1(header, usedforsecurity=False)
            return hashlib.new(algorithm)

        with path.open("rb") as file:
            return f"{algorithm}:{hashlib.file_digest(file, start).hexdigest()}"


@dataclass(frozen=True)
class Download:
    """What a ``fetch_…`` function was told about downloading."""

    data_home: str | os.PathLike | None
    download_if_missing: bool
    n_retries: int
    delay: float
    progress: bool
    needed_by: str

    @property
    def folder(self) -> Path:
        """Folder of the local copies, made if it is not there."""
        home = self.data_home or os.environ.get(DATA_HOME_VARIABLE) or "~/skrigidity_data"
        folder = Path(home).expanduser()
        folder.mkdir(parents=True, exist_ok=True)
        return folder


def fetch_file(remote: RemoteFile, options: Download) -> Path:
    """Path of the verified local copy of a file, downloaded if there is none.

    Raises
    ------
    OSError
        There is no local copy and ``download_if_missing`` is false, or what the server sent has
        another checksum. A :class:`ConnectionError`, if the server did not send the file.
    """
    path = options.folder / remote.name
    if path.exists():
        found = remote.digest(path)
        if found == remote.checksum:
            return path
        problem = f"{path} is not the expected file: it has {found} instead of {remote.checksum}"
        if options.download_if_missing:
            warnings.warn(f"{problem}; downloading it again", UserWarning, stacklevel=2)
    else:
        problem = f"{path} does not exist"
    if not options.download_if_missing:
        raise OSError(f"{problem}, and download_if_missing=False. {_by_hand(remote, path)}")

    with complete_or_absent(path) as partial:
        _download(remote, partial, path, options)
        found = remote.digest(partial)
        if found != remote.checksum:
            raise OSError(
                f"{remote.url} sent a file with {found} instead of {remote.checksum}: it was "
                f"damaged on the way, or it has changed. {_by_hand(remote, path)}"
            )
    return path


def _by_hand(remote: RemoteFile, path: Path) -> str:
    return (
        f"To place the file by hand, download {remote.url} where there is a network and save it as "
        f"{path} (another folder: data_home, or the environment variable {DATA_HOME_VARIABLE})."
    )


def _download(remote: RemoteFile, partial: Path, path: Path, options: Download) -> None:
    pooch = import_extra("pooch", extra="datasets", needed_by=options.needed_by)
    if options.progress:
        import_extra("tqdm", extra="datasets", needed_by=f"{options.needed_by}(progress=True)")
    failures = import_module("requests").RequestException  # what pooch downloads with
    downloader = pooch.HTTPDownloader(progressbar=options.progress, timeout=CONNECTION_TIMEOUT)
    for attempt in range(options.n_retries + 1):
        if attempt:
            time.sleep(options.delay)
        try:
            with partial.open("wb") as file:
                downloader(remote.url, Bounded(file, remote.url), None)
            return
        except failures as error:
            last = error
    raise ConnectionError(
        f"{options.needed_by} could not download {remote.url}: {last}. {_by_hand(remote, path)}"
    ) from last


def kept_arrays(
    name: str, options: Download, read: Callable[[], dict[str, np.ndarray]]
) -> dict[str, np.ndarray]:
    """Arrays from ``data_home``, or from ``read`` and then kept there for the next call."""
    path = options.folder / name
    if path.exists():
        try:
            return read_arrays(path, "it is made again from the download")
        except DamagedFileError as error:
            warnings.warn(str(error), UserWarning, stacklevel=2)
    arrays = read()
    write_arrays(path, compressed=False, **arrays)
    return arrays
