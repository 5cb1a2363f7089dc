"""Expected against observed coverage of intervals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from scipy.special import erf

from ..metrics import miscalibration_area
from . import _data as data
from ._display import PredictionDisplay, next_styles


@dataclass(kw_only=True, eq=False, repr=False)
class UncertaintyCalibrationDisplay(PredictionDisplay):
    r"""Calibration curve of error bars: observed against expected coverage.

    For every p from 0 to 1, the curve is the share of samples inside the central interval that
    should hold a share p of them, :math:`|e| \le \sigma\, \Phi^{-1}((1 + p) / 2)`. Below the
    diagonal error bars are too small, above it they are too large. The curve is exact, with a
    step for each sample.

    Make one with `from_estimator` or `from_predictions`; the constructor stores and does not
    check.

    Parameters
    ----------
    name : str, default=None
        Name of the model, for the legend.
    expected_coverage, observed_coverage : ndarray of shape (n_samples + 2,)
        The curve, from (0, 0) to (1, 1).
    miscalibration_area : float
        Area between the curve and the diagonal.

    Attributes
    ----------
    ax_, figure_ : matplotlib axes and figure
        Where it was drawn.
    line_ : Line2D
        The curve.
    diagonal_ : Line2D
        The diagonal.
    band_ : artist or None
        Where a perfect curve of as many samples is at a given p with 95 % probability.
    dropped_ : dict
        Empty: infinite standard deviations count as inside every interval, those of 0 as inside
        none (unless the prediction is exact).

    References
    ----------
    Kuleshov, Fenner, Ermon, ICML (2018).

    Examples
    --------
    >>> import numpy as np
    >>> from skrigidity.plotting import UncertaintyCalibrationDisplay
    >>> error = np.random.default_rng(0).standard_normal(500)
    >>> y_true, y_std = np.zeros(500), np.full(500, 0.5)
    >>> display = UncertaintyCalibrationDisplay.from_predictions(y_true, error, y_std)
    >>> round(display.miscalibration_area, 3)
    0.216
    """

    expected_coverage: np.ndarray
    observed_coverage: np.ndarray
    miscalibration_area: float

    @classmethod
    def from_predictions(
        cls, y_true: Any, y_pred: Any, y_std: Any, *, target: int | None = None, **kwargs: Any
    ) -> Self:
        """Draw the calibration of predictions and their standard deviations.

        Parameters
        ----------
        y_true, y_pred : array-like of shape (n_samples,) or (n_samples, n_targets)
            Targets and predictions.
        y_std : array-like of the same shape
            Standard deviations, 0 and infinite ones included.
        target : int, default=None
            Which target; needed where there are several.
        **kwargs : dict
            `name`, and keywords of `plot`, such as `ax`.

        Returns
        -------
        UncertaintyCalibrationDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            If shapes differ, values are not finite, or a standard deviation is negative or NaN.
        """
        y, mean, std = data.predictions(y_true, y_pred, y_std, target)
        error = np.abs(y - mean)
        z = np.divide(error, std, out=np.where(error > 0, np.inf, 0.0), where=std > 0)
        level = np.sort(erf(z / np.sqrt(2)))
        return cls._drawn(
            kwargs,
            expected_coverage=np.concatenate([[0.0], level, [1.0]]),
            observed_coverage=np.concatenate([np.linspace(0, 1, len(y) + 1), [1.0]]),
            miscalibration_area=miscalibration_area(y, mean, std),
        )

    def plot(
        self,
        ax: Any = None,
        *,
        band: bool = True,
        shade: bool = True,
        line_kwargs: dict | None = None,
    ) -> Self:
        """Draw; several displays can share axes.

        Parameters
        ----------
        ax : matplotlib axes, default=None
            Where to draw; None makes a figure.
        band : bool, default=True
            Whether to draw where perfect curves are: 95 % of them at every p.
        shade : bool, default=True
            Whether to shade the miscalibration area.
        line_kwargs : dict, default=None
            Keywords of the curve.

        Returns
        -------
        object
            The display.
        """
        ax = self._begin(ax)
        (look,) = next_styles(ax, 1)
        p = np.linspace(0, 1, 201)
        self.diagonal_ = self._guide(p, p)
        self.band_ = None
        if band:
            # Below the first sample and above the last there are the two ends of the curve.
            width = 1.96 * np.sqrt(p * (1 - p) / (len(self.expected_coverage) - 2))
            low, high = np.maximum(p - width, 0), np.minimum(p + width, 1)
            self.band_ = ax.fill_between(p, low, high, color="0.9", linewidth=0, zorder=0)
        area = f"area = {self.miscalibration_area:.3f}"
        label = f"{self.name} ({area})" if self.name else area
        x, y = self.expected_coverage, self.observed_coverage
        default = {"linewidth": 1.8, "drawstyle": "steps-post", "label": label}
        self.line_ = self._line(x, y, look, line_kwargs, **default)
        if shade:
            self._band(self.line_, x, y, step="post")
        ticks = np.linspace(0, 1, 6)
        ax.set(xlim=(0, 1), ylim=(0, 1), xticks=ticks, yticks=ticks, aspect="equal")
        return self._end({}, x="expected coverage", y="observed coverage")
