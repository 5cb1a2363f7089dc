"""Derivatives: ACE by positions and strain beside featomic's SOAP features, one thread."""

import importlib.util
import os

import numpy as np
from _options import Options, main
from _timing import Ratio, ratio, report
from ase import Atoms
from ase.build import bulk

from skrigidity.atomistic import ACEDescriptor, FeatomicDescriptor

SOAP = {"max_radial": 9, "max_angular": 8, "cutoff": 5.0}  # 495 features
ACE = {"max_degree": (20, 16, 12), "cutoff": 5.0, "r0": 2.4, "angular_weight": 1.0}  # 488 features
ROWS, PREDICTION = 3.5, 1.3  # self-interacting, compiled by numba


def crystals(n: int) -> list[Atoms]:
    """Silicon, 64 atoms a cell, displaced by .1 Å."""
    rng = np.random.default_rng(0)
    frames = [bulk("Si", "diamond", a=5.43, cubic=True) * (2, 2, 2) for _ in range(n)]
    for frame in frames:
        frame.positions += rng.normal(0, 0.1, frame.positions.shape)
    return frames


def run(options: Options) -> bool:
    """Print times per frame of 64 atoms; return whether the targets are met."""
    # featomic has threads of its own, and counts them when it computes for the first time.
    os.environ["RAYON_NUM_THREADS"] = str(options.threads or 1)
    frames = crystals(options.size(12))
    soap = FeatomicDescriptor(**SOAP, cache_size=0).fit(frames)
    compiled = importlib.util.find_spec("numba") is not None
    print(
        f"beside SOAP features, a frame of 64 atoms, {'numba' if compiled else 'NumPy alone'}, "
        f"RAYON_NUM_THREADS={os.environ['RAYON_NUM_THREADS']}"
    )
    met = True
    for kind in ("self-interacting", "purified"):
        ace = ACEDescriptor(kind=kind, **ACE, cache_size=0).fit(frames)
        weights = np.random.default_rng(0).normal(size=ace.n_features_out_)
        for what, function, target in (
            ("features", lambda f, d=ace: d.transform([f]), None),
            ("all rows of derivatives", lambda f, d=ace: d.derivatives(f), ROWS),
            ("energy, forces, strain", lambda f, d=ace, w=weights: d.backward(f, w), PREDICTION),
        ):
            result = _compare(function, soap, frames, options)
            name = f"ACE {kind}: {what}"
            if target is None or kind == "purified" or not compiled:
                print(f"{name:<52} {result.ours:9.4f} s {result.theirs:9.4f} s", end="  ")
                print(f"ratio {result.ratio:9.3g}", flush=True)
            else:
                met &= report(name, result, target)
    return met


def _compare(function, soap, frames, options: Options) -> Ratio:
    """Time a function of a frame against SOAP features, frame by frame; seconds per frame."""
    result = ratio(
        lambda: [function(frame) for frame in frames],
        lambda: [soap.transform([frame]) for frame in frames],
        options.repeats,
        threads=options.threads or 1,
    )
    return Ratio(result.ours / len(frames), result.theirs / len(frames), result.ratio)


if __name__ == "__main__":
    main(run, __doc__)
