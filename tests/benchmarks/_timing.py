"""Ratios of running times measured side by side, and peaks of anonymous memory."""

import os
import statistics
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from threadpoolctl import threadpool_limits

MIB = 2**20


class Ratio(NamedTuple):
    """Medians in seconds of two callables that ran in turn, and their ratio."""

    ours: float
    theirs: float
    ratio: float


def seconds(function: Callable[[], object]) -> float:
    """Wall time of one call."""
    begin = time.perf_counter()
    function()
    return time.perf_counter() - begin


def ratio(
    ours: Callable[[], object],
    theirs: Callable[[], object],
    repeats: int = 7,
    *,
    warmup: int = 1,
    threads: int | None = None,
) -> Ratio:
    """Time two callables in turn, in this process, with the same number of BLAS threads.

    Taking turns spreads whatever else the machine does over both; who goes first alternates.
    The ratio is ours over theirs; exchange the arguments for a speed-up.
    """
    limit = threads if threads is not None else len(os.sched_getaffinity(0))
    times: tuple[list[float], list[float]] = ([], [])
    with threadpool_limits(limits=limit):
        for _ in range(warmup):
            ours()
            theirs()
        for turn in range(repeats):
            for which in (0, 1) if turn % 2 == 0 else (1, 0):
                times[which].append(seconds((ours, theirs)[which]))
    medians = [statistics.median(column) for column in times]
    return Ratio(medians[0], medians[1], medians[0] / medians[1])


def report(what: str, result: Ratio, target: float, *, at_least: bool = False) -> bool:
    """Print one row: what was compared, both medians, the ratio and its target; True if met."""
    met = result.ratio >= target if at_least else result.ratio <= target
    print(
        f"{what:<52} {result.ours:9.4f} s {result.theirs:9.4f} s  ratio {result.ratio:9.3g}  "
        f"({'>=' if at_least else '<='} {target:g}: {'met' if met else 'MISSED'})",
        flush=True,
    )
    return met


def rss_anon() -> int:
    """Anonymous resident memory of this process in bytes; mapped files do not count (Linux)."""
    status = Path("/proc/self/status").read_text("ascii")
    line = next(line for line in status.splitlines() if line.startswith("RssAnon:"))
    return int(line.split()[1]) * 1024


class PeakMemory:
    """Watch anonymous memory from a thread while the block runs.

    Attributes ``before``, ``peak`` and ``growth`` (their difference) are in bytes. The thread sees
    what lasts longer than ``interval`` seconds while the block lets go of the GIL, as BLAS does.
    """

    def __init__(self, interval: float = 0.002):
        self.interval = interval

    def __enter__(self) -> "PeakMemory":
        self.before = self.peak = rss_anon()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._stop.wait(self.interval):
            self.peak = max(self.peak, rss_anon())

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        self._thread.join()
        self.peak = max(self.peak, rss_anon())

    @property
    def growth(self) -> int:
        return self.peak - self.before
