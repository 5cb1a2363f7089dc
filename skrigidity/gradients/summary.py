"""What notebooks show of a fitted model with a Hessian."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._html import SummaryMixin, number, on_host


class ModelSummary(SummaryMixin):
    """The numbers by which one judges a model; what it does not have is left out."""

    hessian_: Any
    scale_: Any
    noise_variance_: Any

    def _training_set(self) -> dict[str, Any]:
        """Return to how much the model was fitted."""
        return {
            "training samples": getattr(self, "_n_samples", None),
            "features": getattr(self, "n_features_in_", None),
            "parameters": getattr(self, "n_parameters_", None),
        }

    def _summary(self) -> dict[str, Any]:
        lines = dict(self._training_set())
        lines["alpha"] = getattr(self, "alpha_", getattr(self, "alpha", None))
        lines["effective degrees of freedom"] = getattr(self, "effective_dof_", None)
        info = getattr(self.hessian_, "info", None)
        if info is not None:
            lines["condition number of H"] = f"{info.condition:.1e}"
            lines["factorization"] = f"{info.method}: {info.reason}"
            lines["relative error of rigidities"] = f"{info.accuracy:.0e} (estimated)"
        lines["scale C of error bars"] = _root(self.scale_)
        lines["noise σ of error bars"] = _root(self.noise_variance_)
        return {name: value for name, value in lines.items() if value is not None}


def _root(variance: Any) -> str:
    """Return standard deviations as text; those that nobody has fitted yet are NaN."""
    if isinstance(variance, dict):
        return number({name: np.sqrt(value) for name, value in variance.items()})
    variance = on_host(variance)
    if np.isnan(variance).any():
        return "unknown before calibrate()"
    return number(np.sqrt(variance))
