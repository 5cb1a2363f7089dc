"""ACE: environments per second against the number of neighbors, one thread, all 953 features."""

import statistics

import numpy as np
from _options import Options, main
from _timing import seconds
from ase import Atoms
from threadpoolctl import threadpool_limits

from skrigidity.atomistic import ACEDescriptor

NEIGHBORS = (4, 8, 16, 32, 60)
TARGET = 1000  # environments per second, purified, with 8 neighbors


def neighborhoods(n: int, count: int) -> np.ndarray:
    """Vectors to `count` neighbors in random directions, 2 to 5.4 Å away, for n environments."""
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(n * count, 3))
    vectors *= rng.uniform(2.0, 5.4, size=(len(vectors), 1)) / np.linalg.norm(
        vectors, axis=1, keepdims=True
    )
    return vectors


def clusters(n: int) -> list[Atoms]:
    """Clusters of 9 atoms, so that each sees 8 neighbors."""
    rng = np.random.default_rng(0)
    grid = 2.2 * np.argwhere(np.ones((3, 3, 1)))
    return [Atoms("Si9", grid + rng.normal(0, 0.1, grid.shape)) for _ in range(n)]


def run(options: Options) -> bool:
    """Print a row per number of neighbors; return whether the target is met."""
    n = options.size(1000)
    descriptors = {
        kind: ACEDescriptor(kind=kind, drop=[((2, 0), (18, 0))], cache_size=0).fit(clusters(1))
        for kind in ("self-interacting", "purified")
    }
    print(f"{'ACE, environments / s':<32}{'self-interacting':>18}{'purified':>12}")
    speeds = {}
    with threadpool_limits(limits=options.threads or 1):
        for count in NEIGHBORS:
            vectors, species = neighborhoods(n, count), np.zeros(n * count, dtype=int)
            for kind, descriptor in descriptors.items():
                arguments = np.full(n, count), vectors, species, np.zeros(n, dtype=int)
                times = [
                    seconds(lambda d=descriptor, a=arguments: d.basis_.evaluate(*a))
                    for _ in range(options.repeats)
                ]
                speeds[kind, count] = n / statistics.median(times)
            _row(f"{count} neighbors", speeds["self-interacting", count], speeds["purified", count])
        frames = clusters(max(n // 9, 1))
        whole = []
        for descriptor in descriptors.values():
            times = [
                seconds(lambda d=descriptor: d.transform(frames)) for _ in range(options.repeats)
            ]
            whole.append(9 * len(frames) / statistics.median(times))
        _row("frames of 9 atoms (8 neighbors)", *whole)
    slowest = min(speeds["purified", 8], whole[1])
    met = slowest >= TARGET
    print(f"purified, 8 neighbors: {slowest:.0f} / s  (>= {TARGET}: {'met' if met else 'MISSED'})")
    return met


def _row(what: str, self_interacting: float, purified: float) -> None:
    print(f"{what:<32}{self_interacting:>18.0f}{purified:>12.0f}", flush=True)


if __name__ == "__main__":
    main(run, __doc__)
