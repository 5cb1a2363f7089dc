"""Rigidities of any fitted estimator, scores of its error bars, and scorers of both."""

from ..linear_model import set_scorers
from ._binned import binned_calibration
from ._binned import logarithmic_slope as logarithmic_slope
from ._committee import committee_variance
from ._component_curve import component_learning_curve
from ._environments import componentwise_prediction_rigidity, local_prediction_rigidity
from ._potentials import neg_mae_energy, neg_mae_forces
from ._scorers import (
    get_scorer_names,
    get_scorers,
    is_rigidity_scorer,
    make_rigidity_scorer,
    make_uncertainty_scorer,
)
from ._uncertainty import (
    crps,
    error_uncertainty_correlation,
    miscalibration_area,
    neg_log_likelihood,
    sharpness,
)
from ._unwrap import (
    component_rigidity,
    local_rigidity,
    prediction_rigidity,
    prediction_std,
    probability_std,
    rigidity_with,
    unwrap,
)

__all__ = [
    "binned_calibration",
    "committee_variance",
    "component_learning_curve",
    "component_rigidity",
    "componentwise_prediction_rigidity",
    "crps",
    "error_uncertainty_correlation",
    "get_scorer_names",
    "get_scorers",
    "is_rigidity_scorer",
    "local_prediction_rigidity",
    "local_rigidity",
    "make_rigidity_scorer",
    "make_uncertainty_scorer",
    "miscalibration_area",
    "neg_log_likelihood",
    "neg_mae_energy",
    "neg_mae_forces",
    "prediction_rigidity",
    "prediction_std",
    "probability_std",
    "rigidity_with",
    "sharpness",
    "unwrap",
]

set_scorers(lambda name: get_scorers(name)[name])
