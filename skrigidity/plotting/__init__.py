"""Displays of errors, their estimated uncertainties, and rigidities.

Displays need the extra ``plot`` (``pip install "skrigidity[plot]"``), colored structures the
extra ``atomistic``; both can be imported without: matplotlib and chemiscope are imported when
something is drawn.
"""

from ._binned_error import BinnedErrorDisplay
from ._calibration_curve import UncertaintyCalibrationDisplay
from ._chemiscope import show_rigidity, write_rigidity
from ._committee import CommitteeDisplay
from ._component import ComponentRigidityDisplay
from ._distribution import RigidityDistributionDisplay
from ._error_uncertainty import ErrorUncertaintyDisplay
from ._selection_path import SelectionPathDisplay
from ._training import RigidityTrainingDisplay
from ._trajectory import TrajectoryRigidityDisplay

__all__ = [
    "BinnedErrorDisplay",
    "CommitteeDisplay",
    "ComponentRigidityDisplay",
    "ErrorUncertaintyDisplay",
    "RigidityDistributionDisplay",
    "RigidityTrainingDisplay",
    "SelectionPathDisplay",
    "TrajectoryRigidityDisplay",
    "UncertaintyCalibrationDisplay",
    "show_rigidity",
    "write_rigidity",
]
