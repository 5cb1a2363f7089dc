"""Atomistic structures: descriptors of atomic environments.

Needs the extra ``atomistic`` (``pip install "skrigidity[atomistic]"``), but can be imported
without it: what needs ASE, featomic or sphericart says so when it is used.
"""

from skrigidity.atomistic._ace import ACEDescriptor
from skrigidity.atomistic._base import FrameBackward, FrameDerivatives
from skrigidity.atomistic._cache import clear_cache
from skrigidity.atomistic._composition import CompositionDescriptor
from skrigidity.atomistic._featomic import FeatomicDescriptor
from skrigidity.atomistic._frames import as_system
from skrigidity.atomistic._range_separated import RangeSeparatedDescriptor
from skrigidity.atomistic._union import DescriptorUnion, make_descriptor_union
from skrigidity.atomistic.embedding import (
    RankedAtom,
    carve_cluster,
    embed_high_symmetry,
    embed_periodic,
    least_rigid,
)
from skrigidity.atomistic.foundation import (
    FoundationStudy,
    NetworkFeatures,
    compare_precisions,
    fine_tuning_choice,
    foundation_study,
    network_features,
    stretching_scan,
)
from skrigidity.atomistic.potential import (
    RigidPotential,
    RigidPotentialCV,
    default_descriptor,
    elastic_constant_weights,
    force_constant_weights,
    neg_mae_energy,
    neg_mae_forces,
)
from skrigidity.frames import check_frames

__all__ = [
    "ACEDescriptor",
    "CompositionDescriptor",
    "DescriptorUnion",
    "FeatomicDescriptor",
    "FoundationStudy",
    "FrameBackward",
    "FrameDerivatives",
    "NetworkFeatures",
    "RangeSeparatedDescriptor",
    "RankedAtom",
    "RigidPotential",
    "RigidPotentialCV",
    "as_system",
    "carve_cluster",
    "check_frames",
    "clear_cache",
    "compare_precisions",
    "default_descriptor",
    "elastic_constant_weights",
    "embed_high_symmetry",
    "embed_periodic",
    "fine_tuning_choice",
    "force_constant_weights",
    "foundation_study",
    "least_rigid",
    "make_descriptor_union",
    "neg_mae_energy",
    "neg_mae_forces",
    "network_features",
    "stretching_scan",
]
