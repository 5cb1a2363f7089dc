"""Prediction rigidities: how firmly the data pin each prediction of a regression model."""

from typing import Any

from .environments import Environments, PerEnvironment, TotalVarianceScaler
from .kernel_ridge import RigidKernelRidge
from .linear_model import ComponentRidge, RigidRidge, RigidRidgeCV
from .sample_selection import PRSelector, SubsetRegressor
from .with_rigidity import WithRigidity

__version__ = "0.1.0"

__all__ = [
    "ComponentRidge",
    "Environments",
    "LastLayerRigidity",
    "PRSelector",
    "PerEnvironment",
    "RigidKernelRidge",
    "RigidPotential",
    "RigidPotentialCV",
    "RigidRidge",
    "RigidRidgeCV",
    "SubsetRegressor",
    "TotalVarianceScaler",
    "WithRigidity",
]


def __getattr__(name: str) -> Any:
    # Potentials and networks import what scikit-learn's users need not have.
    if name in ("RigidPotential", "RigidPotentialCV"):
        from . import atomistic

        return getattr(atomistic, name)
    if name == "LastLayerRigidity":
        from .last_layer import LastLayerRigidity

        return LastLayerRigidity
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
