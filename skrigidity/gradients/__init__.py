"""The gradients of predictions, and everything that follows from them and a Hessian.

A family of models is one file here: a `Gradients` that turns input, a level ("global" or "local")
and a component into rows. `RigidityMixin` does the rest, the same for every family.
"""

from .arrays import check_same_namespace as check_same_namespace
from .arrays import deviation as deviation
from .arrays import device_matrix as device_matrix
from .arrays import follow as follow
from .arrays import same_kind as same_kind
from .base import Gradients, Level
from .components import carried_components, resolve_components
from .curved import CurvedGradients
from .curved import append_column as append_column
from .derivatives import ENERGY as ENERGY
from .derivatives import FORCES as FORCES
from .derivatives import PROPERTIES as PROPERTIES
from .derivatives import STRESS as STRESS
from .derivatives import DerivativeGradients
from .derivatives import DifferentiableFeatures as DifferentiableFeatures
from .derivatives import has_stress as has_stress
from .features import FeatureGradients
from .features import rows_of as rows_of
from .fitted import FittedGradients
from .groups import check_groups as check_groups
from .kernel import KernelGradients
from .kernel import PrecomputedGradients as PrecomputedGradients
from .kernel_sums import KernelSum, Part
from .kernel_training import TrainingKernel as TrainingKernel
from .kernel_training import leave_out_kernel as leave_out_kernel
from .latent import LatentBlock, LatentGradients, LatentSamples, Species
from .losses import ClippedLoss, LogisticLoss, Loss, SquaredLoss, TweedieLoss
from .mixin import RigidityMixin
from .model import check_targets as check_targets
from .model import check_weights as check_weights
from .model import inverse as inverse
from .model import per_target as per_target
from .model import ratio as ratio
from .model import reshaped as reshaped
from .points import Points
from .softmax import SoftmaxGradients

# What writes down a model; the rest of the imports is shared with other packages of ours.
__all__ = [
    "ClippedLoss",
    "CurvedGradients",
    "DerivativeGradients",
    "FeatureGradients",
    "FittedGradients",
    "Gradients",
    "KernelGradients",
    "KernelSum",
    "LatentBlock",
    "LatentGradients",
    "LatentSamples",
    "Level",
    "LogisticLoss",
    "Loss",
    "Part",
    "Points",
    "RigidityMixin",
    "SoftmaxGradients",
    "Species",
    "SquaredLoss",
    "TweedieLoss",
    "carried_components",
    "resolve_components",
]
