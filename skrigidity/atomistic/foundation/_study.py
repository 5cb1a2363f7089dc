"""The study of a foundation model's last layer on data of one's own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from ._energies import energy_rows
from ._features import LabelledFrames, NetworkFeatures, labelled_frames, network_features
from ._forces import force_rows
from ._foreign import foreign_rows
from ._result import FoundationStudy, control_table
from ._splits import divided


def foundation_study(
    frames_by_element: Mapping[str, Iterable[Any]] | NetworkFeatures,
    *,
    foreign: Mapping[str, Iterable[Any]] | NetworkFeatures | None = None,
    model: Any = None,
    readout: Any = None,
    n_splits: int = 12,
    split_key: str | None = None,
    alpha: float = 1e-10,
    own_alpha: float = 1e-6,
    force_alpha: float = 1e-4,
    n_force_frames: int = 12,
    n_draws: int = 10,
    energy_key: str = "auto",
    forces_key: str = "auto",
    random_state: int = 0,
    batch_size: int = 16,
    on_progress: Callable[[float, str], None] | None = None,
) -> FoundationStudy:
    r"""Ask what last-layer rigidities of a network are worth on labelled frames of one's own.

    The network is left as it is. A linear readout of the inputs of several of its layers ("wide"),
    or of its own last layer, is solved in closed form on 60 % of the frames; its error bars are
    calibrated on 20 % and tested on 20 %. The same is asked of the network as it is. Beside every
    score stand those of what costs nothing: the size of the forces, the norm of the gradients
    without a Hessian, and the error bars in random order.

    Parameters
    ----------
    frames_by_element : dict of str to list of ase.Atoms, or NetworkFeatures
        Labelled frames of every set (of an element, say), five at least.
    foreign : dict of str to list of ase.Atoms, or NetworkFeatures, default=None
        Frames that should stand out, such as those of another element; no labels are needed.
    model : network, Adapter or {"0.3.0", "0.2.0", "r2scan"}, default=None
        The trained network: anything that `skrigidity.last_layer.LastLayerRigidity` takes. None is
        CHGNet with the weights that its package ships ("0.3.0"); the names are those of the others.
    readout : "auto", str or list of str, default=None
        Layers whose inputs the readout is fitted to. None: all linear layers of CHGNet's readout;
        the network's own last layer ("auto") for others.
    n_splits : int, default=12
        Random divisions for the scores of energies.
    split_key : str, default=None
        Name in the frames' info that says which of them are for the test ("test"); the others are
        divided at random. None: all are.
    alpha : float, default=1e-10
        Regularization of the wide readout for energies, relative to the mean eigenvalue of H.
    own_alpha : float, default=1e-6
        The same for the network's own last layer, for energies and forces.
    force_alpha : float, default=1e-4
        The same for the wide readout whose forces are looked at: directions that energies do not
        pin move forces.
    n_force_frames : int, default=12
        Test frames of every set whose forces are looked at; 0: none.
    n_draws : int, default=10
        Draws from the posterior of the readout for error bars of forces, each of which costs a
        backward pass per frame.
    energy_key, forces_key : str, default="auto"
        Under which names frames have their labels.
    random_state : int, default=0
        Seed of the divisions.
    batch_size : int, default=16
        Frames that the network is given at once.
    on_progress : callable, default=None
        Called with the share of the work that is done, and what is being done.

    Returns
    -------
    FoundationStudy
        Tables of scores.

    Raises
    ------
    ValueError
        If a set has fewer than five frames, a frame has no energy, or there are no splits.

    See Also
    --------
    network_features : What can be given in place of frames, so that the network runs once.
    compare_precisions, stretching_scan, fine_tuning_choice : More questions of this kind.

    Notes
    -----
    What to expect, measured with CHGNet on Si, Ge, Mo and Li of the mlearn data (12 splits;
    Spearman correlations within an element / AUC of the worst tenth):

    - A wide readout has errors of 5 meV/atom, the network (shifted) 84. Its error bars rank errors
      of energies (.48; \|F\| .33, \|J\| 0) and describe them (``dnll`` -.6, in random order +.2).
    - Foreign elements stand out: AUC 1.00, by the network's own layer .5 to 1.
    - The rigidity of an atom by the network's own layer ranks the network's force errors no better
      than chance (.0 / .5); \|F\| alone ranks them well (.6 / .8), and so do draws of that layer,
      which tell nothing more.
    - Draws of the wide readout rank the errors of its own forces (.75 / .9), and know more of them
      than \|F\| (partial correlation .5). For the worst tenth, \|F\| alone is about as good
      (.8 to .9).

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
    >>> from skrigidity.atomistic import foundation_study
    >>> study = foundation_study(
    ...     {"Cu": copper}, n_splits=2, n_force_frames=2, foreign={"Au": [bulk("Au", cubic=True)]}
    ... )
    >>> found = study.energies.groupby(["variant", "score"])["mae_meV"].mean()
    >>> bool(found["wide, refit", "std"] < 0.5 * found["own, pretrained", "std"])
    True
    >>> bool((study.foreign["auc"][study.foreign["score"] == "std"] > 0.9).all())
    True
    """

    def report(share: float, what: str) -> None:
        if on_progress is not None:
            on_progress(share, what)

    if n_splits < 1:
        raise ValueError(f"n_splits: expected at least 1, got {n_splits}")
    labels: LabelledFrames
    if isinstance(frames_by_element, NetworkFeatures):
        labels = frames_by_element
    else:  # what is wrong with them is said before the network runs
        frames_by_element = {name: list(frames) for name, frames in frames_by_element.items()}
        labels = labelled_frames(frames_by_element, energy_key, forces_key)
    divisions = [divided(labels, split_key, (random_state, i)) for i in range(n_splits)]
    known = network_features(
        frames_by_element,
        model=model,
        readout=readout,
        energy_key=energy_key,
        forces_key=forces_key,
        batch_size=batch_size,
        on_progress=lambda x: report(0.4 * x, "features"),
    )
    other = None
    if foreign:
        other = network_features(
            foreign, model=known.wide_adapter, labelled=False, batch_size=batch_size
        )
    alphas = {"wide": alpha, "own": own_alpha}
    energies = []
    for i, division in enumerate(divisions):
        energies += energy_rows(known, division, alphas, i)
        report(0.4 + 0.1 * (i + 1) / len(divisions), "energies")
    strange = foreign_rows(known, other, divisions[0], alphas)
    forces = force_rows(
        known,
        divisions[0],
        alphas | {"wide": force_alpha},
        n_force_frames,
        n_draws,
        lambda x: report(0.5 + 0.5 * x, "forces"),
    )
    tables = {
        "energies": pd.DataFrame(energies),
        "foreign": pd.DataFrame(strange),
        "forces": pd.DataFrame(forces),
    }
    settings = {
        "network": type(known.wide_adapter.model).__name__,
        "layers": ", ".join(known.wide_adapter.layers),
        "frames": {name: int(np.sum(known.sets == name)) for name in known.names},
        "splits": len(divisions),
        "alpha": {**alphas, "forces": force_alpha},
        "force frames per set": n_force_frames,
        "draws": n_draws,
    }
    return FoundationStudy(**tables, controls=control_table(tables), settings=settings)
