"""Scales of error bars by property: ``var = C**2 * q + sigma**2``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skrigidity.calibration import gaussian_nll, scale_from_quad
from skrigidity.gradients import PROPERTIES

Array = NDArray[np.float64]

# Rows whose q is this much below the usual one cannot move for reasons of symmetry.
_STILL = 1e-6


@dataclass(frozen=True)
class Scales:
    """C**2 (without units) and sigma**2 (squared units of the property), by property.

    Attributes
    ----------
    variance, noise : dict of str to float
        C**2 and sigma**2.
    n_excluded : dict of str to int
        Rows that were left out: those that symmetry or the lack of other data excludes.
    """

    variance: dict[str, float]
    noise: dict[str, float]
    n_excluded: dict[str, int]

    @classmethod
    def unit(cls) -> Scales:
        """Return C = 1, sigma = 0."""
        return cls(dict.fromkeys(PROPERTIES, 1.0), dict.fromkeys(PROPERTIES, 0.0), {})

    @classmethod
    def fitted(
        cls, rows: Mapping[str, tuple[Array, Array, Array]], method: str, noise: bool
    ) -> Scales:
        """Fit to residuals, quadratic forms and weights of each property.

        A property without any usable row has the C of the one before it (or the first there is),
        and no sigma.

        Parameters
        ----------
        rows : dict of str to (ndarray, ndarray, ndarray)
        method : str
            As in `skrigidity.calibration.fit_scale`.
        noise : bool
            Whether to fit sigma.
        """
        out = cls.unit()
        for name, (residual, quad, weight) in rows.items():
            usable = moving(quad) & np.isfinite(quad) & (weight > 0)
            out.n_excluded[name] = int((~usable).sum())
            if usable.any():
                fit = scale_from_quad(
                    residual[usable], quad[usable], weight[usable], method=method, noise=noise
                )
                out.variance[name], out.noise[name] = float(fit.variance), float(fit.noise)
            else:
                out.variance[name] = np.inf
        known = [p for p in PROPERTIES if p in rows]
        for k, name in enumerate(PROPERTIES):
            if name not in known and known:
                before = [p for p in PROPERTIES[:k] if p in known] or known
                out.variance[name] = out.variance[before[-1]]
        return out

    def known(self, name: str) -> tuple[float, float]:
        """Return C**2 and sigma**2 of a property, or raise where no frame pins another."""
        if not np.isfinite(self.variance[name]):
            raise ValueError(
                f"the scale of error bars of {name} is not known: no frame is pinned by others. "
                "Call calibrate() with other frames, or use calibration=None"
            )
        return self.variance[name], self.noise[name]


def moving(quad: Array) -> NDArray[np.bool_]:
    """Return which rows can move at all: their q is not next to nothing, nor infinite."""
    finite = quad[np.isfinite(quad) & (quad > 0)]
    least = _STILL * np.median(finite) if len(finite) else 0.0
    return np.asarray((quad > least) & np.isfinite(quad))


def mean_nll(rows: Mapping[str, tuple[Array, Array, Array]], scales: Scales) -> float:
    """Return the negative log-likelihood of residuals per row, averaged over properties."""
    each = []
    for name, (residual, quad, weight) in rows.items():
        usable = moving(quad) & (weight > 0)
        if not usable.any():
            return np.inf
        variance = scales.variance[name] * quad[usable] + scales.noise[name]
        nll = gaussian_nll(residual[usable], np.maximum(variance, np.finfo(float).tiny))
        each.append(np.average(nll, weights=weight[usable]))
    return float(np.mean(each))


def grouped_weight(weight: Array, labels: Any) -> Array:
    """Return weights by which every group counts as much as any other."""
    _, group = np.unique(np.asarray(labels), return_inverse=True)
    return np.asarray(weight / np.bincount(group, weights=weight)[group])
