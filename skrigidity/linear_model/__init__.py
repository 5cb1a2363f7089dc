"""Linear models with prediction rigidities."""

from ._component_ridge import ComponentRidge
from ._ridge import RigidRidge
from ._ridge_cv import RigidRidgeCV
from ._with_rigidity import WithRigidity

__all__ = ["ComponentRidge", "RigidRidge", "RigidRidgeCV", "WithRigidity"]
