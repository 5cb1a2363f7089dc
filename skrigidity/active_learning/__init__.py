"""Learning on the fly: simulate, watch, label what is not known, update, go on.

Needs ASE, which comes with the extra ``atomistic``.
"""

from skrigidity.active_learning._labels import (
    Executor,
    Future,
    Label,
    SerialExecutor,
    compute_label,
)
from skrigidity.active_learning._learner import ActiveLearner

__all__ = ["ActiveLearner", "Executor", "Future", "Label", "SerialExecutor", "compute_label"]
