"""Anonymous memory of fits to rows on disk, beyond one matrix of n_features squared."""

import shutil
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from _options import Options, main
from _timing import MIB, PeakMemory
from threadpoolctl import threadpool_limits

from skrigidity import RigidRidge

N_FEATURES = 500
BLOCK = 10_000
LIMIT_MIB = 100


def run(options: Options) -> bool:
    """Print a row for `partial_fit` and one for `fit`; return whether both targets are met."""
    n = options.size(options.rows)
    size = 8 * n * N_FEATURES
    with tempfile.TemporaryDirectory(prefix="skrigidity-") as folder:
        if shutil.disk_usage(folder).free < 1.2 * size:
            print(f"streaming fit: skipped, {folder} has not {size / 1e9:.1f} GB left: use --rows")
            return True
        path = Path(folder) / "X.npy"
        _write(path, n)
        met = True
        for fit in (_partial_fit, _fit):
            # A process of its own: no memory that an earlier fit has left behind.
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                beyond = pool.submit(_measure, fit, path, options.threads).result()
            met &= beyond <= LIMIT_MIB
            what = f"memory of {fit.__name__[1:]}, {n} x {N_FEATURES}"
            verdict = "met" if beyond <= LIMIT_MIB else "MISSED"
            print(f"{what:<52} {beyond:9.1f} MiB  (<= {LIMIT_MIB}: {verdict})", flush=True)
    return met


def _write(path: Path, n: int) -> None:
    rng = np.random.default_rng(0)
    block = rng.standard_normal((BLOCK, N_FEATURES))
    X = np.lib.format.open_memmap(path, mode="w+", dtype=np.float64, shape=(n, N_FEATURES))
    for start in range(0, n, BLOCK):
        # New columns from the old ones, much faster than new random numbers.
        piece = X[start : start + BLOCK]
        piece[:] = np.roll(block, start // BLOCK, axis=1)[: len(piece)]
    X.flush()


def _measure(fit, path: Path, threads: int | None) -> float:
    X = np.load(path, mmap_mode="r")
    y = np.random.default_rng(1).standard_normal(len(X))
    with threadpool_limits(limits=threads):
        RigidRidge().fit(X[:1000], y[:1000])  # BLAS has its buffers now
        with PeakMemory() as memory:
            fit(X, y)
    return (memory.growth - 8 * N_FEATURES**2) / MIB


def _partial_fit(X: np.ndarray, y: np.ndarray) -> RigidRidge:
    model = RigidRidge()
    for start in range(0, len(X), BLOCK):
        model.partial_fit(X[start : start + BLOCK], y[start : start + BLOCK])
    return model


def _fit(X: np.ndarray, y: np.ndarray) -> RigidRidge:
    return RigidRidge().fit(X, y)


if __name__ == "__main__":
    if not sys.platform.startswith("linux"):
        sys.exit("streaming_memory reads /proc, which only Linux has")
    main(run, __doc__)
