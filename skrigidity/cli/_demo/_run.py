"""The computation of the demo, from the bundled structures to tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from skrigidity.cli._demo._data import split_carbon
from skrigidity.cli._demo._model import Fitted, fit_model
from skrigidity.cli._demo._tables import atom_table, structure_table, summarize
from skrigidity.datasets import load_carbon

if TYPE_CHECKING:
    from ase import Atoms

# Å. Below 2.5 the error doubles.
CUTOFFS = (2.5, 3.0, 3.5, 4.5)
ALPHAS = tuple(10.0 ** (n / 2) for n in range(-12, -3))


@dataclass(frozen=True)
class DemoResult:
    """What the demo found.

    Attributes
    ----------
    fit : Fitted
        The calibrated pipeline, its chosen hyperparameters and cross-validation error (eV/atom).
    n_training : int
        Number of structures it was trained on.
    n_trajectories : int
        Number of trajectories these come from.
    baseline_rmse : float
        Error on held-out bulk, in meV/atom, of predicting the mean of the training set.
    structures : DataFrame
        A row per predicted structure; column names end in their units. Rigidities have none, for
        unit weights. Structures are counted from 0, in `load_carbon` or in the user's file.
    atoms : DataFrame
        A row per atom of these, in the same order.
    summary : DataFrame
        A row per kind of structure.
    frames : list of ase.Atoms
        The predicted structures, with per-atom arrays ``local_rigidity`` and ``coordination``.
    """

    fit: Fitted
    n_training: int
    n_trajectories: int
    baseline_rmse: float
    structures: pd.DataFrame
    atoms: pd.DataFrame
    summary: pd.DataFrame
    frames: list[Atoms]


def run_demo(
    *,
    seed: int = 0,
    targets: list[Atoms] | None = None,
    cutoffs: Sequence[float] = CUTOFFS,
    alphas: Sequence[float] = ALPHAS,
    n_jobs: int | None = None,
    on_progress: Callable[[float], None] = lambda share: None,
) -> DemoResult:
    """Fit dense bulk carbon and predict held-out bulk, surfaces and the user's structures.

    Parameters
    ----------
    seed : int, default=0
        Decides which trajectories are held out.
    targets : list of ase.Atoms, default=None
        More structures of carbon to predict; their energies are not used.
    cutoffs : sequence of float
        Radii of an environment to choose from, in Å.
    alphas : sequence of float
        Regularization strengths to choose from.
    n_jobs : int, default=None
        Threads for the descriptor, as in joblib.
    on_progress : callable, default does nothing
        Called with the share of the work that is done, in [0, 1].

    Returns
    -------
    DemoResult

    Raises
    ------
    ImportError
        If the extra ``atomistic`` is not installed.

    Examples
    --------
    >>> from skrigidity.cli._demo import run_demo
    >>> result = run_demo(cutoffs=[3.0], alphas=[1e-4])
    >>> result.summary.index.tolist()
    ['bulk', 'slab']
    """
    carbon = load_carbon(return_frames=True)
    split = split_carbon(carbon, seed)
    trajectories = carbon.trajectory[split.training]
    fit = fit_model(
        [carbon.frames[i] for i in split.training],
        carbon.target[split.training],
        trajectories,
        cutoffs=cutoffs,
        alphas=alphas,
        n_jobs=n_jobs,
        # The fits of the search take most of the time.
        on_progress=lambda share: on_progress(0.9 * share),
    )
    frames = [carbon.frames[i].copy() for i in (*split.bulk, *split.slab)]
    known = _known_columns(carbon, np.concatenate([split.bulk, split.slab]))
    if targets:
        frames += [frame.copy() for frame in targets]
        more = pd.DataFrame({"kind": "target", "structure": np.arange(len(targets))})
        known = pd.concat([known, more], ignore_index=True)
    structures, lpr = structure_table(fit.model, frames, known)
    atoms = atom_table(frames, structures, lpr)
    off = carbon.target[split.bulk] - carbon.target[split.training].mean()
    on_progress(1.0)
    return DemoResult(
        fit=fit,
        n_training=len(split.training),
        n_trajectories=len(np.unique(trajectories)),
        baseline_rmse=1000 * float(np.sqrt(np.mean(off**2))),
        structures=structures,
        atoms=atoms,
        summary=summarize(structures),
        frames=frames,
    )


def _known_columns(carbon: Any, chosen: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "kind": carbon.kind[chosen],
            "structure": chosen,
            "trajectory": pd.array(carbon.trajectory[chosen], dtype="Int64"),
            "density_g_per_cm3": carbon.density[chosen],
            "temperature_K": carbon.temperature[chosen],
            "energy_eV_per_atom": carbon.target[chosen],
        }
    )
