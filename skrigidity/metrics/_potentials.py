"""Scorers of potentials: of anything that compares frames with their references."""

from __future__ import annotations

from typing import Any

import numpy as np


def neg_mae_energy(estimator: Any, X: Any, y: Any = None) -> float:
    """Return minus the mean absolute error of energies per atom, in eV.

    Parameters
    ----------
    estimator : RigidPotential or RigidPotentialCV
        Fitted.
    X : list of ase.Atoms
        Frames with energies.
    y : array-like of shape (n_frames,), default=None
        Total energies in place of those in the frames.

    Returns
    -------
    float
        Greater is better.

    Examples
    --------
    >>> import numpy as np
    >>> from ase import Atoms
    >>> from skrigidity.atomistic import ACEDescriptor, RigidPotential, neg_mae_energy
    >>> frames = [Atoms("Si2", [[0, 0, 0], [0, 0, r]]) for r in np.linspace(2.0, 3.0, 12)]
    >>> for frame in frames:
    ...     frame.info["energy"] = (frame.get_distance(0, 1) - 2.4) ** 2
    ...     frame.arrays["forces"] = 0.0 * frame.positions
    ...     frame.arrays["forces"][1, 2] = -2 * (frame.get_distance(0, 1) - 2.4)
    ...     frame.arrays["forces"][0] = -frame.arrays["forces"][1]
    >>> descriptor = ACEDescriptor(cutoff=4.0, max_degree=(6,), kind="self-interacting")
    >>> model = RigidPotential(descriptor).fit(frames[::2])
    >>> bool(neg_mae_energy(model, frames[1::2]) > -0.1)
    True
    """
    true, predicted, _ = estimator.compared(X, y, "energy")
    return -float(np.mean(np.abs(true - predicted)))


def neg_mae_forces(estimator: Any, X: Any, y: Any = None) -> float:
    """Return minus the mean absolute error of force components, in eV/Å.

    Parameters
    ----------
    estimator : RigidPotential or RigidPotentialCV
        Fitted.
    X : list of ase.Atoms
        Frames with forces.
    y : ignored
        Not used.

    Returns
    -------
    float
        Greater is better.

    Examples
    --------
    >>> import numpy as np
    >>> from ase import Atoms
    >>> from skrigidity.atomistic import ACEDescriptor, RigidPotential, neg_mae_forces
    >>> frames = [Atoms("Si2", [[0, 0, 0], [0, 0, r]]) for r in np.linspace(2.0, 3.0, 12)]
    >>> for frame in frames:
    ...     frame.info["energy"] = (frame.get_distance(0, 1) - 2.4) ** 2
    ...     frame.arrays["forces"] = 0.0 * frame.positions
    ...     frame.arrays["forces"][1, 2] = -2 * (frame.get_distance(0, 1) - 2.4)
    ...     frame.arrays["forces"][0] = -frame.arrays["forces"][1]
    >>> descriptor = ACEDescriptor(cutoff=4.0, max_degree=(6,), kind="self-interacting")
    >>> model = RigidPotential(descriptor).fit(frames[::2])
    >>> bool(neg_mae_forces(model, frames[1::2]) > -0.1)
    True
    """
    true, predicted, _ = estimator.compared(X, y, "forces")
    return -float(np.mean(np.abs(true - predicted)))
