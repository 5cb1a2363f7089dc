"""Labels: reference calculations, each in a file of its own as soon as it is there."""

from __future__ import annotations

import io
import json
import os
import time
from collections.abc import Callable, Iterable
from concurrent.futures import BrokenExecutor, CancelledError
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from skrigidity.frames import Atoms, digest, require
from skrigidity.gradients import ENERGY, FORCES, STRESS


class Future(Protocol):
    """What an executor returns for a label.

    Examples
    --------
    >>> from skrigidity.active_learning import SerialExecutor
    >>> SerialExecutor().submit(max, 1, 2).result()
    2
    """

    def result(self, timeout: float | None = None) -> Any:
        """Wait for the label, raise `TimeoutError` where that takes longer.

        `timeout` is given only where there is one. A future that has a method ``cancel`` is asked
        to stop after that time.

        Parameters
        ----------
        timeout : float, default=None
            Seconds to wait; None waits as long as it takes.
        """
        ...


class Executor(Protocol):
    """Where labels are computed: anything that has this one method.

    Executors of ``concurrent.futures``, clients of Dask (``dask.distributed.Client``) and their
    ``get_executor()``, and executors of submitit have it. `function` and `arguments` are what
    pickle can take, as long as the factory of calculators is. The function writes the label into
    the folder of the run itself, all at once, so that nothing is lost where nobody waits for it
    any more: the folder has to be one that workers see under the same name.

    Examples
    --------
    >>> from concurrent.futures import ThreadPoolExecutor
    >>> from skrigidity.active_learning import SerialExecutor
    >>> SerialExecutor().submit(max, 1, 2).result()
    2
    >>> with ThreadPoolExecutor() as executor:
    ...     executor.submit(max, 1, 2).result()
    2
    """

    def submit(self, function: Callable[..., Any], /, *arguments: Any) -> Future:
        """Start to call a function, and return at once.

        Parameters
        ----------
        function : callable
            What to call.
        *arguments : object
            Its arguments.
        """
        ...


class _Done:
    """What has been computed already."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def result(self, timeout: float | None = None) -> Any:
        return self._value


class SerialExecutor:
    """Compute at once, in this process.

    Examples
    --------
    >>> from skrigidity.active_learning import SerialExecutor
    >>> SerialExecutor().submit(abs, -3.0).result()
    3.0
    """

    def submit(self, function: Callable[..., Any], /, *arguments: Any) -> Future:
        """Call a function and return its value, as a future.

        Parameters
        ----------
        function : callable
            What to call.
        *arguments : object
            Its arguments.

        Returns
        -------
        Future
            It has the value already.
        """
        return _Done(function(*arguments))


class Label(NamedTuple):
    """The outcome of a reference calculation.

    Parameters
    ----------
    frame : ase.Atoms or None
        With energy, forces and, if asked for, stress as results; None where it has failed.
    failure : str
        Why there is none.
    seconds : float
        How long it took.

    Examples
    --------
    >>> from skrigidity.active_learning import Label
    >>> Label(frame=None, failure="not converged", seconds=1.5).failure
    'not converged'
    """

    frame: Atoms | None
    failure: str
    seconds: float


def compute_label(
    frame: Atoms, labeller: Callable[[], Any], properties: Iterable[str], path: str
) -> str:
    """Compute a label and write it to a file: what an executor's workers call.

    Parameters
    ----------
    frame : ase.Atoms
        The frame.
    labeller : callable
        Returns a calculator of ASE.
    properties : sequence of str
        "energy", "forces", "stress".
    path : str
        Extended XYZ if all goes well, else ``path + ".failed"``, JSON that says why. Where there
        is one of them, nothing is computed.

    Returns
    -------
    str
        `path`.

    Examples
    --------
    >>> from ase import Atoms
    >>> from ase.calculators.emt import EMT
    >>> from skrigidity.active_learning import compute_label
    >>> pair = Atoms("Cu2", [[0, 0, 0], [0, 0, 2.3]])
    >>> name = compute_label(pair, EMT, ["energy", "forces"], "pair.extxyz")
    >>> from ase.io import read
    >>> round(float(read(name).get_potential_energy()), 3)
    3.301
    """
    start = time.monotonic()
    if found_label(path) is not None:
        return path
    try:
        results = _results(frame, labeller, tuple(properties))
        static = require("ase.calculators.singlepoint").SinglePointCalculator
        done = bare(frame)
        done.info["label_seconds"] = time.monotonic() - start
        done.calc = static(done, **results)
        write_whole(Path(path), extxyz([done]))
    except Exception as error:  # whatever a reference code happens to raise
        reason = f"{type(error).__name__}: {error}"
        content = {"failure": reason, "label_seconds": time.monotonic() - start}
        write_whole(Path(f"{path}.failed"), json.dumps(content))
    return path


def _results(
    frame: Atoms, labeller: Callable[[], Any], properties: tuple[str, ...]
) -> dict[str, Any]:
    atoms = bare(frame)
    atoms.calc = labeller()
    results: dict[str, Any] = {}
    if ENERGY in properties:
        results[ENERGY] = float(atoms.get_potential_energy())
    if FORCES in properties:
        results[FORCES] = np.array(atoms.get_forces(), dtype=np.float64)
    if STRESS in properties and atoms.cell.rank == 3:
        results[STRESS] = np.array(atoms.get_stress(), dtype=np.float64)
    for name, values in results.items():
        if not np.isfinite(values).all():
            raise ValueError(f"{name} is not finite")
    return results


def found_label(path: str) -> Label | None:
    """Return a label that has been computed, or has failed; None where there is none."""
    if os.path.exists(path):
        frame = require("ase.io").read(path, format="extxyz")
        return Label(frame, "", float(frame.info["label_seconds"]))
    if os.path.exists(f"{path}.failed"):
        content = json.loads(Path(f"{path}.failed").read_text("utf-8"))
        return Label(None, content["failure"], float(content["label_seconds"]))
    return None


class LabelStore:
    """Labels in a folder, one file each, by what the frame is.

    Parameters
    ----------
    folder : Path
    labeller : callable
        Returns a calculator of ASE.
    properties : sequence of str
        What is computed.
    executor : Executor
    timeout : float or None
        Seconds to wait for a label.
    """

    def __init__(
        self,
        folder: Path,
        labeller: Callable[[], Any],
        properties: Iterable[str],
        executor: Executor,
        timeout: float | None,
    ) -> None:
        self.folder, self.labeller = folder, labeller
        self.properties, self.executor, self.timeout = tuple(properties), executor, timeout

    def path(self, frame: Atoms) -> str:
        """Return the file of a frame's label."""
        return str(self.folder.absolute() / f"{digest(frame).hex()}.extxyz")

    def has(self, frame: Atoms) -> bool:
        """Whether there is a label, or it has failed."""
        path = self.path(frame)
        return os.path.exists(path) or os.path.exists(f"{path}.failed")

    def compute(self, frames: list[Atoms]) -> list[Label]:
        """Return labels of all frames, after computing those that there are not."""
        self.folder.mkdir(exist_ok=True)
        paths = [self.path(frame) for frame in frames]
        waiting = {}
        for path, frame in zip(paths, frames, strict=True):
            if path not in waiting and found_label(path) is None:
                arguments = (bare(frame), self.labeller, self.properties, path)
                waiting[path] = self.executor.submit(compute_label, *arguments)
        for path, future in waiting.items():
            failure = self._wait(future)
            if failure and found_label(path) is None:
                content = {"failure": failure, "label_seconds": self.timeout or 0.0}
                write_whole(Path(f"{path}.failed"), json.dumps(content))
        found = [found_label(path) for path in paths]
        missing = [path for path, label in zip(paths, found, strict=True) if label is None]
        if missing:
            raise FileNotFoundError(
                f"{missing[0]}: the executor is done with it, but the file is not there; do its "
                "workers see the same folder?"
            )
        return [label for label in found if label is not None]

    def _wait(self, future: Future) -> str:
        """Wait for the end of a job; return why there is no label if it has come to none."""
        try:
            # Jobs of submitit take no timeout: the queue has one.
            future.result() if self.timeout is None else future.result(timeout=self.timeout)
        except TimeoutError:
            if self.timeout is None:
                raise
            if hasattr(future, "cancel"):
                future.cancel()
            return f"no label within {self.timeout:g} s"
        except (BrokenExecutor, CancelledError):
            raise
        except Exception as error:  # a job that was killed; `compute_label` raises nothing
            if not any(self.folder.glob("*.extxyz")):
                raise  # where no job has ended well, it is the executor that does not work
            return f"{type(error).__name__}: {error}"
        return ""


def bare(frame: Atoms) -> Atoms:
    """Return species, positions, cell and periodicity, and magnetic moments if there are any."""
    atoms = require("ase").Atoms
    copy = atoms(frame.numbers, frame.positions, cell=frame.cell, pbc=frame.pbc)
    for name in ("initial_magmoms", "initial_charges"):
        if name in frame.arrays:
            copy.set_array(name, frame.arrays[name])
    return copy


def extxyz(frames: list[Atoms]) -> str:
    """Return frames as extended XYZ, in which stress and virials are matrices."""
    text = io.StringIO()
    require("ase.io").write(text, [_readable(frame) for frame in frames], format="extxyz")
    return text.getvalue()


def _readable(frame: Atoms) -> Atoms:
    """Return a frame that ASE can read again: it takes some names for those of matrices."""
    names = [key for key in ("stress", "virial") if key in frame.info]
    voigt = [key for key in names if np.shape(frame.info[key]) == (6,)]
    if not voigt:
        return frame
    copy = frame.copy()
    copy.calc = frame.calc
    for key in voigt:
        xx, yy, zz, yz, xz, xy = frame.info[key]
        copy.info[key] = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
    return copy


def from_extxyz(text: str) -> list[Atoms]:
    """Return the frames of extended XYZ."""
    return list(require("ase.io").read(io.StringIO(text), index=":", format="extxyz"))


def write_whole(path: Path, text: str) -> None:
    """Write a file, all of it or nothing, also if the machine goes down."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.part")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
