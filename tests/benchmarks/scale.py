"""Fits to rows that Dask generates lazily: memory of every process, efficiency of 1, 2, 4 workers.

The rows are never anywhere as a whole. Efficiency is the time that one process takes for the same
tasks one after the other, over that of n workers times their number, but no more than there are
cores; that of processor time, less what idle processes take, does not depend on what else the
machine does.
"""

import importlib.util
import math
import os
import time
from pathlib import Path

import numpy as np
from _options import Options, main
from _timing import MIB
from threadpoolctl import threadpool_limits

from skrigidity import PRSelector, RigidRidge

N_FEATURES = 100
CHUNK = 50_000
LIMIT_MIB = 500
EFFICIENCY = 0.8
BILLION, NETWORK = 10**9, 1.25e9  # rows, and bytes per second of a 10 Gbit/s link
IDLE = 3.0
PICKS, TARGETS = 10, 100


def run(options: Options) -> bool:
    """Print memory and efficiencies; return whether both targets are met on two workers."""
    if importlib.util.find_spec("distributed") is None:
        print('scale: skipped, needs pip install "skrigidity[scale]"')
        return True
    import dask

    n = 10 * options.size(options.rows) // (5 if options.quick else 1)
    part, cores = max(n // 10, 8 * CHUNK), len(os.sched_getaffinity(0))
    met = True
    with threadpool_limits(limits=1), dask.config.set(scheduler="synchronous"):
        _fitted(CHUNK)
        alone = _fitted(part)
    for n_workers in (1, 2, 4):
        with _cluster(n_workers) as client:
            _fitted(CHUNK * n_workers)
            took, used = _watched(client, part)
        efficiency = alone[0] / took / min(n_workers, cores)
        print(
            f"{f'fit, {part} x {N_FEATURES}, {n_workers} workers on {cores} cores':<52} "
            f"{took:9.2f} s {alone[0]:9.2f} s  efficiency {efficiency:5.2f}  "
            f"of processor time {alone[1] / used:5.2f}",
            flush=True,
        )
        if n_workers == 2:
            _plan(alone[1] / part, max(used - alone[1], 0.0) * CHUNK / part)
            met = efficiency >= EFFICIENCY
            print(f"{'':<52} (>= {EFFICIENCY}: {'met' if met else 'MISSED'})", flush=True)
    with _cluster(2) as client:
        took, used = _watched(client, n)
        share = alone[1] * (n / part) / used
        own, others = _peak(), list(client.run(_peak).values())
        what = f"fit, {n} x {N_FEATURES}, 2 workers"
        print(f"{what:<52} {took:9.2f} s  efficiency of processor time {share:5.2f}", flush=True)
        for name, peak in zip(("client", "worker", "worker"), (own, *others), strict=True):
            fits = peak <= LIMIT_MIB
            met &= fits
            verdict = "met" if fits else "MISSED"
            print(
                f"{f'peak memory of the {name}':<52} {peak:9.1f} MiB  (<= {LIMIT_MIB}: {verdict})"
            )
        _selection(part // 2)
    return met


def _cluster(n_workers: int):
    from distributed import Client

    return Client(n_workers=n_workers, threads_per_worker=1, dashboard_address=None)


def _lazy(n: int):
    import dask.array as da

    rng = da.random.default_rng(0)
    X = rng.standard_normal((n, N_FEATURES), chunks=(CHUNK, N_FEATURES))
    return X, X @ np.ones(N_FEATURES) + rng.standard_normal(n, chunks=CHUNK)


def _fitted(n: int) -> tuple[float, float]:
    """Fit; return seconds on the clock, and of this processor."""
    begin, used = time.perf_counter(), time.process_time()
    RigidRidge().fit(*_lazy(n))
    return time.perf_counter() - begin, time.process_time() - used


def _watched(client, n: int) -> tuple[float, float]:
    """Fit; return seconds on the clock, and of all processors, without what idle processes take."""
    start = _used(client)
    time.sleep(IDLE)
    begin = _used(client)
    took, _ = _fitted(n)
    return took, _used(client) - begin - (begin - start) * took / IDLE


def _plan(row: float, overhead: float) -> None:
    """Print what a billion rows would take, by seconds per row and per chunk beside its rows."""
    n_chunks = BILLION // CHUNK
    depth = math.ceil(math.log(n_chunks, 8))
    accumulator = 8 * (N_FEATURES + 1) ** 2
    for n_workers in (16, 64, 256):
        work = n_chunks * (row * CHUNK + overhead) / n_workers
        # If every accumulator went to another worker; those of a tree's last levels do.
        sent = n_chunks * accumulator / n_workers + 8 * depth * accumulator
        took = work + sent / NETWORK
        print(
            f"{f'plan: {BILLION:.0e} x {N_FEATURES}, {n_workers} workers':<52} {took:9.1f} s  "
            f"{n_chunks} chunks, tree of depth {depth}, {sent / NETWORK:.2f} s of network",
            flush=True,
        )


def _used(client) -> float:
    """Return seconds of processor time that all processes have taken."""
    return time.process_time() + sum(client.run(time.process_time).values())


def _selection(n: int) -> None:
    """Print how long picks take, beside whitening the pool."""
    rng, (pool, _) = np.random.default_rng(0), _lazy(n)
    away = {"X_target": rng.standard_normal((TARGETS, N_FEATURES)), "X_train": np.eye(N_FEATURES)}
    times = []
    for picks in (1, 1 + PICKS):
        begin = time.perf_counter()
        PRSelector(picks).fit(pool, **away)
        times.append(time.perf_counter() - begin)
    each = (times[1] - times[0]) / PICKS
    what = f"pick from {n} x {N_FEATURES}, {TARGETS} targets, 2 workers"
    print(f"{what:<52} {each:9.2f} s {times[0] - each:9.2f} s  (to whiten)", flush=True)


def _peak() -> float:
    """Return the largest resident memory that this process has had, in MiB."""
    status = Path("/proc/self/status").read_text("ascii")
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024 / MIB


if __name__ == "__main__":
    main(run, __doc__)
