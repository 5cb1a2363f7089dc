"""Rigidities of any fitted estimator, and straight from features."""

from ._environments import componentwise_prediction_rigidity, local_prediction_rigidity
from ._see_through import (
    component_rigidity,
    local_rigidity,
    prediction_rigidity,
    prediction_std,
)

__all__ = [
    "component_rigidity",
    "componentwise_prediction_rigidity",
    "local_prediction_rigidity",
    "local_rigidity",
    "prediction_rigidity",
    "prediction_std",
]
