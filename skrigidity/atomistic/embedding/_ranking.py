"""The atoms of frames that a model knows least."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any, NamedTuple

import numpy as np
from sklearn.utils._param_validation import Interval, validate_params

from skrigidity.frames import check_frames
from skrigidity.metrics import local_rigidity

_SHARES = np.linspace(0, 1, 1001)


class RankedAtom(NamedTuple):
    """An atom, and how its rigidity ranks.

    Parameters
    ----------
    frame, atom : int
        Which atom of which frame.
    rigidity : float
        Its local prediction rigidity (LPR).
    share : float
        Share of the atoms of all frames that are no more rigid, the atom itself among them.
    training_share : float
        The same among the atoms of the training set; 0 where all of these are more rigid, NaN
        where the model does not know.

    Examples
    --------
    >>> from skrigidity.atomistic import RankedAtom
    >>> RankedAtom(frame=0, atom=7, rigidity=0.5, share=0.01, training_share=0.0).atom
    7
    """

    frame: int
    atom: int
    rigidity: float
    share: float
    training_share: float


@validate_params(
    {
        "n": [Interval(Integral, 1, None, closed="left")],
        "apart": [Interval(Real, 0, None, closed="left")],
    },
    prefer_skip_nested_validation=True,
)
def least_rigid(model: Any, frames: Any, n: int = 1, *, apart: float = 0.0) -> list[RankedAtom]:
    """Find the atoms whose energies the data of a model pin least.

    Parameters
    ----------
    model : fitted estimator
        A potential, or a pipeline from a descriptor to a model with local rigidities.
    frames : list of ase.Atoms
        Where to look.
    n : int, default=1
        How many atoms to return.
    apart : float, default=0.0
        Least distance between any two of them in one frame, in Å. Neighbors share most of what
        surrounds them: one label serves them all.

    Returns
    -------
    list of RankedAtom
        From the least rigid on; fewer than `n` where there are no more so far apart. Of equal
        ones the first comes first.

    Raises
    ------
    TypeError
        If the model has no local rigidities.
    ValueError
        If it has several for each atom.

    See Also
    --------
    embed_periodic : A small structure around one of them, to be computed.

    Examples
    --------
    >>> from skrigidity import RigidRidge
    >>> from skrigidity.atomistic import ACEDescriptor, least_rigid
    >>> from skrigidity.datasets import load_carbon
    >>> from sklearn.pipeline import make_pipeline
    >>> carbon = load_carbon(return_frames=True)
    >>> ace = ACEDescriptor(cutoff=3.7, max_degree=(8, 6), kind="self-interacting", r0=1.45)
    >>> model = make_pipeline(ace, RigidRidge(alpha=1e-6))
    >>> model = model.fit(carbon.frames[:20], carbon.target[:20])
    >>> for found in least_rigid(model, carbon.frames[20:23], 2, apart=4.0):
    ...     print(found.frame, found.atom, round(found.share, 4))
    1 28 0.0052
    0 8 0.0104
    """
    frames = check_frames(frames, "frames")
    each = local_rigidity(model, frames)
    if any(np.ndim(values) != 1 for values in each):
        raise ValueError("model must have one rigidity for each atom, not one for each target")
    rigidity = np.concatenate(each)
    ends = np.cumsum([len(values) for values in each])
    found: list[tuple[int, int, float, float]] = []
    for place, position in enumerate(np.argsort(rigidity, kind="stable").tolist()):
        k = int(np.searchsorted(ends, position, side="right"))
        atom = position - int(ends[k]) + len(each[k])
        near = [a for frame, a, *_ in found if frame == k]
        if apart and near and frames[k].get_distances(atom, near, mic=True).min() < apart:
            continue
        found.append((k, atom, float(rigidity[position]), (place + 1) / len(rigidity)))
        if len(found) == n:
            break
    quantiles = _training_quantiles(model)
    return [RankedAtom(*each, _share_below(each[2], quantiles)) for each in found]


def _training_quantiles(model: Any) -> Any:
    """Return quantiles of the rigidities of a training set, None where they are not known."""
    if not hasattr(model, "training_quantile"):
        return None
    try:
        return np.array([model.training_quantile("local_rigidity", q) for q in _SHARES])
    except ValueError:  # fitted without leaving frames out
        return None


def _share_below(rigidity: float, quantiles: Any) -> float:
    if quantiles is None:
        return np.nan
    return float(np.searchsorted(quantiles, rigidity, side="right") / len(quantiles))
