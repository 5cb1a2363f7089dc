"""Time and memory of selecting among frames of 64 atoms: with forces, and by energies alone."""

import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from _options import Options, main
from _timing import MIB, PeakMemory, seconds
from derivatives import ACE, crystals
from threadpoolctl import threadpool_limits

from skrigidity import PRSelector, RigidPotential
from skrigidity.atomistic import ACEDescriptor

N, N_TRAIN, N_TARGETS, PICKS = 1000, 60, 100, 4
LIMIT_MIB = {"energy and forces": 2048, "energy": 512}


def run(options: Options) -> bool:
    """Print a row per kind of label; return whether memory stays below the limits."""
    n, met = options.size(N), True
    print(f"{PICKS} picks from {n} frames of 64 atoms, {N_TARGETS} targets")
    for label, limit in LIMIT_MIB.items():
        # A process of its own: no memory that an earlier one has left behind.
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            elapsed, peak, d = pool.submit(_measure, label, n, options.threads).result()
        good = peak <= limit
        met &= good
        print(
            f"selection among frames, {label:<18} d = {d} {elapsed:7.1f} s, peak {peak:6.0f} MiB  "
            f"(<= {limit}: {'met' if good else 'MISSED'})",
            flush=True,
        )
    return met


def _measure(label: str, n: int, threads: int | None) -> tuple[float, float, int]:
    """Return seconds, the peak of anonymous memory in MiB, and the number of features."""
    frames = crystals(n + N_TRAIN)
    pool, train = frames[N_TRAIN:], frames[:N_TRAIN]
    model = RigidPotential(ACEDescriptor(kind="self-interacting", **ACE))
    properties = "energy" if label == "energy" else None
    selector = PRSelector(PICKS, estimator=model, properties=properties)
    with threadpool_limits(limits=threads or 1), PeakMemory() as memory:
        elapsed = seconds(lambda: selector.fit(pool, X_target=pool[:N_TARGETS], X_train=train))
    d = ACEDescriptor(kind="self-interacting", **ACE).fit(train).n_features_out_
    return elapsed, memory.peak / MIB, d


if __name__ == "__main__":
    if not sys.platform.startswith("linux"):
        sys.exit("selection_frames reads /proc, which only Linux has")
    main(run, __doc__)
