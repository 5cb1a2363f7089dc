"""Linear models with prediction rigidities."""

from ._component_ridge import ComponentRidge
from ._cv_scoring import set_scorers as set_scorers
from ._ridge import RigidRidge
from ._ridge_cv import RigidRidgeCV

__all__ = ["ComponentRidge", "RigidRidge", "RigidRidgeCV"]
