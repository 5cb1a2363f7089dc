"""ASE calculators and observers that know how firmly the data pin what they predict.

Needs ASE, which comes with the extra ``atomistic``. They serve any model with a method
``single_point`` (`SinglePoint`): a linear potential as well as a wrapped network.
"""

from ._calculator import RigidityCalculator
from ._observer import RigidityObserver, SimulationStopped
from ._protocol import SinglePoint

__all__ = ["RigidityCalculator", "RigidityObserver", "SimulationStopped", "SinglePoint"]
