"""Whether single precision is good enough for rigidities of a network."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from ...frames import check_frames
from ...last_layer import LastLayerRigidity
from ._features import adapters
from ._scores import rank_correlation

PRECISIONS = ("float32", "float64")


def compare_precisions(
    frames: Iterable[Any],
    *,
    model: Any = None,
    readout: Any = None,
    alphas: Iterable[float] = (1e-4, 1e-6, 1e-8, 1e-10),
    batch_size: int = 16,
) -> pd.DataFrame:
    """Compare rigidities by a network in single precision with those by it in double precision.

    Copies of the network are made; H is accumulated in double precision in both cases.

    Parameters
    ----------
    frames : list of ase.Atoms
        Frames that H is made of and that are predicted.
    model : network, Adapter or {"0.3.0", "0.2.0", "r2scan"}, default=None
        The trained network: anything that `skrigidity.last_layer.LastLayerRigidity` takes. None is
        CHGNet with the weights that its package ships ("0.3.0"); the names are those of the others.
    readout : "auto", str or list of str, default=None
        Layers whose inputs the readout is fitted to. None: all linear layers of CHGNet's readout;
        the network's own last layer ("auto") for others.
    alphas : sequence of float, default=(1e-4, 1e-6, 1e-8, 1e-10)
        Regularizations, relative to the mean eigenvalue of H.
    batch_size : int, default=16
        Frames that the network is given at once.

    Returns
    -------
    DataFrame
        A row per alpha and level (frame, atom): ``median_change`` and ``largest_change``, relative
        to the rigidity in double precision, and the ``spearman`` correlation of both.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from skrigidity.atomistic import compare_precisions
    >>> crystals = [bulk(symbol) for symbol in ("Cu", "Al", "Mo", "Si")]
    >>> table = compare_precisions(crystals, alphas=[1e-4])
    >>> bool((table["largest_change"] < 0.01).all())
    True
    """
    frames = check_frames(list(frames), "frames")
    adapter, _ = adapters(model, readout)
    kind: Any = type(adapter)
    latents = {}
    for name in PRECISIONS:
        network = copy.deepcopy(adapter.model)
        network = network.float() if name == "float32" else network.double()
        one = kind(network, adapter.readout)
        options: dict[str, Any] = {"energy_key": None, "batch_size": batch_size}
        latents[name] = LastLayerRigidity(one, refit=True, **options).latent(frames)
    zero = np.zeros(len(frames))  # rigidities do not depend on labels
    rows = []
    for alpha in alphas:
        found: dict[str, list[np.ndarray]] = {"frame": [], "atom": []}
        for latent in latents.values():
            fitted = LastLayerRigidity(
                adapter, refit=True, reduce="per_atom", alpha=alpha, calibration=None
            ).fit(latent, zero)
            found["frame"].append(fitted.prediction_rigidity(latent))
            found["atom"].append(np.concatenate(fitted.local_rigidity(latent)))
        for level, (single, double) in found.items():
            change = np.abs(single / double - 1)
            rows.append(
                {"alpha": alpha, "level": level}
                | {"median_change": np.median(change), "largest_change": change.max()}
                | {"spearman": rank_correlation(single, double)}
            )
    return pd.DataFrame(rows)
