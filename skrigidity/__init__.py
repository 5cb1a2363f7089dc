"""Prediction rigidities: how firmly the data pin each prediction of a regression model."""

from .environments import Environments, PerEnvironment, TotalVarianceScaler
from .kernel_ridge import RigidKernelRidge
from .linear_model import ComponentRidge, RigidRidge, RigidRidgeCV
from .sample_selection import PRSelector, SubsetRegressor
from .with_rigidity import WithRigidity

__version__ = "0.1.0.dev0"

__all__ = [
    "ComponentRidge",
    "Environments",
    "PRSelector",
    "PerEnvironment",
    "RigidKernelRidge",
    "RigidRidge",
    "RigidRidgeCV",
    "SubsetRegressor",
    "TotalVarianceScaler",
    "WithRigidity",
]
