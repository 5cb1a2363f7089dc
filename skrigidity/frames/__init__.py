"""ASE frames: what is one, and the energies, forces and stress that come with it.

ASE, which comes with the extra ``atomistic``, is imported where frames are.
"""

from ._frames import Atoms as Atoms
from ._frames import check_frames
from ._frames import digest as digest
from ._frames import parse_species as parse_species
from ._frames import reject_unknown_species as reject_unknown_species
from ._frames import require as require
from ._frames import symbol as symbol
from ._labels import VIRIAL as VIRIAL
from ._labels import Targets, find_keys, read_targets
from ._labels import check_found as check_found
from ._labels import named_groups as named_groups
from ._labels import present as present
from ._labels import warn_of_duplicates as warn_of_duplicates
from ._partitions import FramePartitions as FramePartitions
from ._partitions import is_partitioned as is_partitioned

__all__ = ["Targets", "check_frames", "find_keys", "read_targets"]
