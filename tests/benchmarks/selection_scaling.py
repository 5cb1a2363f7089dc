"""How the time of a selection grows with candidates, targets and features; plots it if asked to.

The path of the picture comes after ``--plot``; without it the exponents are printed only.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from _options import Options, main
from _timing import seconds
from selection import problem, select
from threadpoolctl import threadpool_limits

PICKS = 50
SIZES = {
    "candidates": (2_000, 4_000, 8_000, 16_000, 32_000),
    "targets": (50, 100, 200, 400, 800),
    "features": (50, 100, 200, 400, 800),
}
START = {"candidates": 8_000, "targets": 200, "features": 300}


def run(options: Options, plot: Path | None = None) -> bool:
    """Print times and exponents, and plot them; there is no target to meet."""
    curves = {}
    for name, sizes in SIZES.items():
        sizes = tuple(options.size(n) for n in sizes)
        times = np.array([_times({**_start(options), name: n}, options) for n in sizes])
        curves[name] = sizes, times
        exponents = [_exponent(sizes, column) for column in times.T]
        print(
            f"{name:<12} {sizes[0]:>6} to {sizes[-1]:>6}: set-up {_row(times[:, 0])} "
            f"(exponent {exponents[0]:4.2f}), {PICKS} picks {_row(times[:, 1])} "
            f"({exponents[1]:4.2f})",
            flush=True,
        )
    if plot is not None:
        _plot(curves, plot)
    return True


def _start(options: Options) -> dict[str, int]:
    return {name: options.size(n) for name, n in START.items()}


def _times(sizes: dict[str, int], options: Options) -> tuple[float, float]:
    """Return the least times of the set-up with one pick, and of all further picks."""
    n, n_targets, d = sizes["candidates"], sizes["targets"], sizes["features"]
    data = problem(n, d, n_targets, 2 * d)
    with threadpool_limits(limits=options.threads):
        few, many = (
            min(seconds(lambda k=k: select(*data, picks=k)) for _ in range(options.repeats))
            for k in (1, PICKS + 1)
        )
    return few, max(many - few, 1e-9)


def _exponent(sizes: tuple[int, ...], times: np.ndarray) -> float:
    """Return the slope of the upper half of a curve on log axes."""
    half = len(sizes) // 2
    return float(np.polyfit(np.log(sizes[half:]), np.log(times[half:]), 1)[0])


def _row(times: np.ndarray) -> str:
    return " ".join(f"{t:.3f}" for t in times) + " s"


def _plot(curves: dict[str, tuple[tuple[int, ...], np.ndarray]], path: Path) -> None:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(11, 3.6), sharey=True, layout="constrained")
    for ax, (name, (sizes, times)) in zip(axes, curves.items(), strict=True):
        for column, label, marker in zip(
            times.T, ("set-up and first pick", f"{PICKS} picks more"), "os", strict=True
        ):
            ax.loglog(sizes, column, marker=marker, label=label)
        fixed = ", ".join(f"{n} {other}" for other, n in START.items() if other != name)
        ax.set(xlabel=name, title=fixed)
        ax.set_xticks(sizes, [str(n) for n in sizes])
        ax.minorticks_off()
    axes[0].set_ylabel("seconds")
    axes[0].legend()
    figure.savefig(path, dpi=150)
    plt.close(figure)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--plot", type=Path)
    known, sys.argv[1:] = parser.parse_known_args()
    main(lambda options: run(options, known.plot), __doc__)
