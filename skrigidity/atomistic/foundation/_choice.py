"""Which frames to fit a readout to: those that pin the others, or any."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ...sample_selection import PRSelector
from ._energies import fitted
from ._features import NetworkFeatures, network_features
from ._splits import divided

CHOICES = ("rigidity", "random")


def fine_tuning_choice(
    frames_by_element: Mapping[str, Iterable[Any]] | NetworkFeatures,
    *,
    sizes: Sequence[int] = (10, 20, 40, 80),
    n_splits: int = 5,
    model: Any = None,
    readout: Any = None,
    alpha: float = 1e-8,
    selection_alpha: float = 1e-6,
    energy_key: str = "auto",
    random_state: int = 0,
) -> pd.DataFrame:
    """Fit readouts to frames chosen by rigidity, and at random; compare held-out errors.

    No label is used to choose. `PRSelector` takes, one after another, the frame of the pool that
    makes the energies of the whole pool most rigid, with the features of the wide layers.

    Parameters
    ----------
    frames_by_element : dict of str to list of ase.Atoms, or NetworkFeatures
        Labelled frames. 80 % of every set are the pool, 20 % are held out.
    sizes : sequence of int, default=(10, 20, 40, 80)
        How many frames are chosen.
    n_splits : int, default=5
        Random divisions.
    model : network, Adapter or {"0.3.0", "0.2.0", "r2scan"}, default=None
        The trained network: anything that `skrigidity.last_layer.LastLayerRigidity` takes. None is
        CHGNet with the weights that its package ships ("0.3.0"); the names are those of the others.
    readout : "auto", str or list of str, default=None
        Layers whose inputs the readout is fitted to. None: all linear layers of CHGNet's readout;
        the network's own last layer ("auto") for others.
    alpha : float, default=1e-8
        Regularization of the readouts, relative to the mean eigenvalue of H.
    selection_alpha : float, default=1e-6
        The same for the Hessian of the choice, relative to that of the whole pool.
    energy_key : str, default="auto"
        Under which name frames have their energies.
    random_state : int, default=0
        Seed of the divisions and of the random choice.

    Returns
    -------
    DataFrame
        A row per split, size and choice ("rigidity", "random"): ``mae_meV`` and ``rmse_meV`` per
        atom of held-out frames, and ``worst_meV``, the largest error.

    Raises
    ------
    ValueError
        If a size is larger than the pool.

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
    >>> from skrigidity.atomistic import fine_tuning_choice
    >>> table = fine_tuning_choice({"Cu": copper}, sizes=[5, 10], n_splits=2)
    >>> table.groupby("size")["choice"].nunique().tolist()
    [2, 2]
    """
    known = network_features(frames_by_element, model=model, readout=readout, energy_key=energy_key)
    kind = known.kinds[0]
    rows: list[dict[str, Any]] = []
    for split in range(n_splits):
        division = divided(known, None, (random_state, split))
        pool = np.concatenate([division.train, division.calibration])
        if max(sizes) > len(pool):
            raise ValueError(f"sizes: expected at most {len(pool)}, the pool, got {max(sizes)}")
        rng = np.random.default_rng((random_state, split, 1))
        order = {
            "rigidity": pool[_picked(known, kind, pool, max(sizes), selection_alpha)],
            "random": rng.permutation(pool),
        }
        for size in sizes:
            for choice, of in order.items():
                error = _held_out(known, kind, of[:size], division.test, alpha)
                rows.append(
                    {"split": split, "size": size, "choice": choice}
                    | {"mae_meV": 1000 * np.abs(error).mean()}
                    | {"rmse_meV": 1000 * np.sqrt((error**2).mean())}
                    | {"worst_meV": 1000 * np.abs(error).max()}
                )
    return pd.DataFrame(rows)


def _picked(
    known: NetworkFeatures, kind: str, pool: np.ndarray, n: int, alpha: float
) -> np.ndarray:
    """Return numbers within the pool, in the order of their choice."""
    model = known.model(kind, alpha).fit(known.latent(kind)[pool], np.zeros(len(pool)))
    rows = model.gradients_.rows(known.latent(kind)[pool]).matrix
    selector = PRSelector(n, alpha=model.alpha_, objective="variance")
    return np.asarray(selector.fit(rows, X_target=rows).selected_idx_)


def _held_out(
    known: NetworkFeatures, kind: str, train: np.ndarray, test: np.ndarray, alpha: float
) -> np.ndarray:
    model = fitted(known, kind, train, alpha)
    return known.energies[test] - model.predict(known.latent(kind)[test])
