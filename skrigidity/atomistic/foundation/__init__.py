"""What last-layer rigidities of a foundation model tell on data of one's own, and what not."""

from ._choice import fine_tuning_choice
from ._features import NetworkFeatures, network_features
from ._precision import compare_precisions
from ._result import FoundationStudy
from ._stretching import stretching_scan
from ._study import foundation_study

__all__ = [
    "FoundationStudy",
    "NetworkFeatures",
    "compare_precisions",
    "fine_tuning_choice",
    "foundation_study",
    "network_features",
    "stretching_scan",
]
