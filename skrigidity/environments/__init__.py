"""Structures made of environments: a flat container, and transformers lifted to it.

A structure (a molecule, a crystal cell, a bag) is described by one row of features for each of
its environments (atoms, instances). :class:`Environments` stores the rows of all structures in one
matrix, next to the offsets at which the structures begin, so that everything that treats rows alike
is one matrix operation. Wherever the package takes such input it also takes plain lists of 2-D
arrays and 3-D arrays.
"""

from skrigidity.environments._container import Environments, consecutive
from skrigidity.environments._joining import hstack, join_components, vstack
from skrigidity.environments._output import EnvironmentTransformerMixin
from skrigidity.environments._output import OutputMixin as OutputMixin
from skrigidity.environments._per_environment import PerEnvironment
from skrigidity.environments._scaler import TotalVarianceScaler
from skrigidity.environments._validation import DISPATCHES as DISPATCHES
from skrigidity.environments._validation import array_namespace as array_namespace
from skrigidity.environments._validation import (
    as_environments,
    check_features,
    check_targets,
    is_chunked,
    is_environments,
)
from skrigidity.environments._validation import namespace as namespace

__all__ = [
    "EnvironmentTransformerMixin",
    "Environments",
    "PerEnvironment",
    "TotalVarianceScaler",
    "as_environments",
    "check_features",
    "check_targets",
    "consecutive",
    "hstack",
    "is_chunked",
    "is_environments",
    "join_components",
    "vstack",
]
