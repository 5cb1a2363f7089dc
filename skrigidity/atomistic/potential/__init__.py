"""Linear potentials: energies, forces and stress with error bars and rigidities."""

from skrigidity.atomistic.potential._cv import RigidPotentialCV
from skrigidity.atomistic.potential._defaults import default_descriptor
from skrigidity.atomistic.potential._derived import (
    elastic_constant_weights,
    force_constant_weights,
)
from skrigidity.atomistic.potential._model import RigidPotential
from skrigidity.metrics import neg_mae_energy, neg_mae_forces

__all__ = [
    "RigidPotential",
    "RigidPotentialCV",
    "default_descriptor",
    "elastic_constant_weights",
    "force_constant_weights",
    "neg_mae_energy",
    "neg_mae_forces",
]
