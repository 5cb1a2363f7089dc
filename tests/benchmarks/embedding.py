"""Least rigid atom of 13 824, ten embeddings, update, and LPR of all atoms again; against SOAP.

The liquid is the paper's where SKRIGIDITY_TEST_DATA names the folder that has it, else bundled
liquid carbon, repeated and shaken.
"""

import io
import lzma
import os
from pathlib import Path

import ase.io
from _options import Options, main
from _timing import ratio, report
from ase.build import bulk
from sklearn.base import clone

from skrigidity import RigidPotential
from skrigidity.atomistic import (
    FeatomicDescriptor,
    embed_high_symmetry,
    embed_periodic,
    least_rigid,
)
from skrigidity.datasets import load_carbon

LIMIT, N_EMBEDDINGS = 6.0, 10
DIAMOND = bulk("C", a=3.567, cubic=True)
# 105, 203 and 336 features; nothing is remembered, so that features are computed every time.
SOAPS = [
    {"max_radial": n, "max_angular": m, "density_width": 0.3, "cutoff": 3.7, "cache_size": 0}
    for n, m in ((5, 4), (6, 6), (7, 8))
]


def liquid() -> ase.Atoms:
    """13 824 atoms."""
    path = Path(os.environ.get("SKRIGIDITY_TEST_DATA", "")) / "liquid_carbon_13824.extxyz.xz"
    if path.exists():
        text = lzma.decompress(path.read_bytes()).decode()
        return ase.io.read(io.StringIO(text), format="extxyz")
    data = load_carbon(return_frames=True)
    hot = next(f for f in data.frames if f.info["temperature"] == 8000)
    frame = hot * (6, 6, 6)
    frame.rattle(0.05, seed=0)
    return frame


def run(options: Options) -> bool:
    """Print a row per descriptor, label and kind; return whether all are below the limit."""
    frame, met = liquid(), True
    if options.quick:
        frame = frame[: len(frame) // 4]
        frame.pbc = False
    training = load_carbon(kind="bulk", return_frames=True).frames[:100]
    for hypers in SOAPS[: 1 if options.quick else None]:
        for forces_key in (None, "forces_gfn1"):
            descriptor = FeatomicDescriptor(**hypers).fit([frame])
            potential = RigidPotential(
                clone(descriptor), energy_key="energy_gfn1", forces_key=forces_key, alpha=1e-9
            ).fit(training)
            label = "energy" if forces_key is None else "energy, forces"
            for kind in ("periodic", "high-symmetry"):
                took = ratio(
                    lambda model=potential, kind=kind: step(model, frame, kind),
                    lambda soap=descriptor: soap.transform([frame]),
                    min(options.repeats, 3),
                    warmup=0,
                    threads=options.threads or 1,
                )
                what = f"embedding, {kind}, {label}, d = {descriptor.n_features_out_}"
                met &= report(what, took, LIMIT)
    return met


def step(potential: RigidPotential, frame: ase.Atoms, kind: str) -> None:
    """One step of active learning but for the labels, which rigidities do not need."""
    (found,) = least_rigid(potential, [frame])
    if kind == "periodic":
        new = embed_periodic(potential, frame, found.atom, N_EMBEDDINGS, random_state=0)
    else:
        new = embed_high_symmetry(
            potential, frame, found.atom, DIAMOND, N_EMBEDDINGS - 1, random_state=0
        )
    (after,) = potential.rigidity_with([frame], new, level="local")
    assert after[found.atom] > found.rigidity


if __name__ == "__main__":
    main(run, __doc__)
