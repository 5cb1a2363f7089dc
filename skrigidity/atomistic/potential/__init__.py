"""Linear potentials: energies, forces and stress with error bars and rigidities."""

from skrigidity.atomistic.potential._cv import RigidPotentialCV
from skrigidity.atomistic.potential._defaults import default_descriptor
from skrigidity.atomistic.potential._model import RigidPotential
from skrigidity.metrics import neg_mae_energy, neg_mae_forces

__all__ = [
    "RigidPotential",
    "RigidPotentialCV",
    "default_descriptor",
    "neg_mae_energy",
    "neg_mae_forces",
]
