"""The scale of error bars, from residuals and rigidities: ``var = C**2 / R + sigma**2``."""

from ._calibrator import RigidityCalibrator
from ._misspecification import MisspecifiedRegressor
from ._scale import METHODS, Scale, fit_scale, scale_from_quad
from ._scores import gaussian_crps, gaussian_nll

__all__ = [
    "METHODS",
    "MisspecifiedRegressor",
    "RigidityCalibrator",
    "Scale",
    "fit_scale",
    "gaussian_crps",
    "gaussian_nll",
    "scale_from_quad",
]
