"""Time and memory of selecting from a pool on disk, larger than what is kept of it."""

import resource
import shutil
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from _options import Options, main
from _timing import MIB, PeakMemory, seconds
from threadpoolctl import threadpool_limits

from skrigidity.sample_selection import PRSelector

N, N_FEATURES, N_TARGETS, PICKS = 200_000, 500, 200, 50
LIMIT_MIB = 3 * 1024


def run(options: Options) -> bool:
    """Print a row per way to store the whitened pool; return whether all stay below the limit."""
    n, met, picks = options.size(N), True, []
    print(f"{PICKS} picks from {n} x {N_FEATURES} in float32, {N_TARGETS} targets")
    with tempfile.TemporaryDirectory(prefix="skrigidity-") as folder:
        if shutil.disk_usage(folder).free < 2 * 4 * n * N_FEATURES:
            print(f"selection from disk: skipped, not enough space in {folder}")
            return True
        path = Path(folder) / "pool.npy"
        _write(path, n)
        for storage in (None, "float32", "float64"):
            # A process of its own: no memory that an earlier one has left behind.
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                result = pool.submit(_measure, storage, path, options.threads).result()
            elapsed, anonymous, resident, chosen = result
            picks.append(chosen)
            good = resident <= LIMIT_MIB
            met &= good
            print(
                f"selection from disk, storage={storage!s:<8} {elapsed:7.1f} s, peak "
                f"{anonymous:6.0f} MiB anonymous, {resident:6.0f} MiB resident  "
                f"(<= {LIMIT_MIB}: {'met' if good else 'MISSED'})",
                flush=True,
            )
    same = all(np.array_equal(picks[0], other) for other in picks[1:])
    print(f"    the same picks: {same}")
    return met and same


def _write(path: Path, n: int) -> None:
    rng = np.random.default_rng(0)
    pool = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(n, N_FEATURES))
    scales = np.geomspace(1, 1e-2, N_FEATURES)
    for start in range(0, n, 10_000):
        piece = pool[start : start + 10_000]
        piece[:] = rng.standard_normal(piece.shape) * scales
    pool.flush()


def _measure(storage: str | None, path: Path, threads: int | None) -> tuple:
    """Return seconds, peaks of anonymous and of all resident memory in MiB, and the picks."""
    pool = np.load(path, mmap_mode="r")
    rng = np.random.default_rng(1)
    scales = np.geomspace(1, 1e-2, N_FEATURES)
    targets, train = (rng.standard_normal((m, N_FEATURES)) * scales for m in (N_TARGETS, 1000))
    selector = PRSelector(PICKS, alpha=1e-4, storage=storage)
    with threadpool_limits(limits=threads), PeakMemory() as memory:
        elapsed = seconds(lambda: selector.fit(pool, X_target=targets, X_train=train))
    # Linux counts in KiB, and the pages of the file that are in memory as well.
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return elapsed, memory.peak / MIB, resident, selector.selected_idx_


if __name__ == "__main__":
    if not sys.platform.startswith("linux"):
        sys.exit("selection_memory reads /proc, which only Linux has")
    main(run, __doc__)
