"""Scorers of potentials, for searches."""

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

    Returns
    -------
    float
        Greater is better.
    """
    true, predicted, _ = estimator.compared(X, y, "forces")
    return -float(np.mean(np.abs(true - predicted)))
