"""Writes the structures that pages show in a chemiscope viewer."""

from pathlib import Path

import numpy as np

from skrigidity import RigidRidge
from skrigidity.atomistic import FeatomicDescriptor
from skrigidity.datasets import load_carbon
from skrigidity.plotting import write_rigidity


def write(folder: Path) -> None:
    """Write carbon that was fitted and carbon that is hotter, colored by local rigidity."""
    path = folder / "carbon.json.gz"
    if path.exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    carbon = load_carbon(return_frames=True)
    soap = FeatomicDescriptor(cutoff=3.7, max_radial=3, max_angular=3)
    X = soap.fit_transform(carbon.frames)
    cold = np.flatnonzero(carbon.temperature <= 2500)
    hot = np.flatnonzero(carbon.temperature == 8000)
    model = RigidRidge(1e-4).fit(X[cold], carbon.target[cold])
    shown = np.r_[cold[:6], hot[:6]]
    frames = [carbon.frames[i] for i in shown]
    temperature = {"temperature / K": carbon.temperature[shown].astype(float)}
    rigidity = model.local_rigidity(X[shown])
    write_rigidity(path, frames, rigidity, properties=temperature, name="carbon, cold and hot")
