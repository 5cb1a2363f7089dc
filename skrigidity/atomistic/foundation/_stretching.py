"""What becomes of rigidities where atoms leave each other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ._energies import fitted
from ._features import NetworkFeatures, network_features

FREE = np.inf  # the factor of a free atom
_BOX = 30.0  # Å


def stretching_scan(
    frames_by_element: Mapping[str, Iterable[Any]] | NetworkFeatures,
    *,
    factors: Sequence[float] = (1.0, 1.1, 1.2, 1.3, 1.4),
    model: Any = None,
    readout: Any = None,
    alpha: float = 1e-10,
    own_alpha: float = 1e-6,
    energy_key: str = "auto",
) -> pd.DataFrame:
    """Stretch the frame of the lowest energy of every set, and free its atoms.

    Where features vanish, rigidities rise without limit, whatever the model knows. This scan says
    whether those of a network do: the rigidity of a stretched crystal, or of a free atom, should be
    far below that of the crystal.

    Parameters
    ----------
    frames_by_element : dict of str to list of ase.Atoms, or NetworkFeatures
        Labelled frames; H is made of all of them.
    factors : sequence of float, default=(1.0, 1.1, 1.2, 1.3, 1.4)
        By what cells and positions are multiplied.
    model : network, Adapter or {"0.3.0", "0.2.0", "r2scan"}, default=None
        The trained network: anything that `skrigidity.last_layer.LastLayerRigidity` takes. None is
        CHGNet with the weights that its package ships ("0.3.0"); the names are those of the others.
    readout : "auto", str or list of str, default=None
        Layers whose inputs the readout is fitted to. None: all linear layers of CHGNet's readout;
        the network's own last layer ("auto") for others.
    alpha : float, default=1e-10
        Regularization of the wide readout for energies, relative to the mean eigenvalue of H.
    own_alpha : float, default=1e-6
        The same for the network's own last layer, for energies and forces.
    energy_key : str, default="auto"
        Under which names frames have their labels.

    Returns
    -------
    DataFrame
        A row per kind of features ("wide", "own"), set and factor (inf is a free atom):
        ``rigidity``, the least of any atom; ``relative``, to the median of the atoms of all frames
        of the set; ``norm`` of the features of that atom, relative to their median.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from ase.calculators.emt import EMT
    >>> copper = [bulk("Cu", cubic=True) for _ in range(30)]
    >>> for seed, frame in enumerate(copper):
    ...     frame.rattle(0.01 * (1 + seed % 10), seed=seed)
    ...     frame.calc = EMT()
    ...     energy, forces = frame.get_potential_energy(), frame.get_forces()
    ...     frame.calc = None
    ...     frame.info["energy"], frame.arrays["forces"] = energy, forces
    >>> from skrigidity.atomistic import stretching_scan
    >>> table = stretching_scan({"Cu": copper}, factors=(1.0, 1.4))
    >>> wide = table[table["layers"] == "wide"].set_index("factor")["relative"]
    >>> bool(wide[float("inf")] < 0.1 * wide[1.0])
    True
    """
    known = network_features(frames_by_element, model=model, readout=readout, energy_key=energy_key)
    every = np.arange(len(known))
    moved = {
        name: [*(_stretched(frame, factor) for factor in factors), *_free(frame)]
        for name, frame in _lowest(known).items()
    }
    scanned = network_features(moved, model=known.wide_adapter, labelled=False)
    rows = []
    for kind in known.kinds:
        rigid = fitted(known, kind, every, alpha if kind == "wide" else own_alpha)
        for name in known.names:
            usual = known.latent(kind)[known.sets == name]
            bulk = np.median(np.concatenate(rigid.local_rigidity(usual)))
            length = np.median(np.linalg.norm(usual.features, axis=1))
            frames = np.flatnonzero(scanned.sets == name)
            all_factors = [*factors, *[FREE] * (len(frames) - len(factors))]
            for factor, i in zip(all_factors, frames, strict=True):
                latent = scanned.latent(kind)[[i]]
                R = rigid.local_rigidity(latent)[0]
                atom = int(np.argmin(R))
                norm = np.linalg.norm(latent.features[atom]) / length
                rows.append(
                    {"layers": kind, "set": name, "factor": factor, "rigidity": R[atom]}
                    | {"relative": R[atom] / bulk, "norm": norm}
                )
    return pd.DataFrame(rows)


def _lowest(known: NetworkFeatures) -> dict[str, Any]:
    """Return the frame of the lowest energy per atom of every set."""
    out = {}
    for name in known.names:
        (own,) = np.nonzero(known.sets == name)
        out[name] = known.frames[own[np.argmin(known.energies[own])]]
    return out


def _stretched(frame: Any, factor: float) -> Any:
    out = frame.copy()
    if out.cell.rank:
        out.set_cell(frame.cell * factor, scale_atoms=True)
    out.positions = frame.positions * factor
    return out


def _free(frame: Any) -> list[Any]:
    """Return one free atom of every species."""
    kind = type(frame)
    return [
        kind([number], positions=[[_BOX / 2] * 3], cell=[_BOX] * 3, pbc=frame.pbc)
        for number in np.unique(frame.numbers)
    ]
