"""Errors against their estimated uncertainties."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Self

import numpy as np
from scipy.special import ndtri

from . import _data as data
from ._density import density as density_of
from ._display import (
    GUIDE,
    Display,
    legend_label,
    log_axis,
    mark,
    merged,
    next_styles,
    ordered,
    showable,
    with_unit,
)

# Shares of Gaussian errors below the isolines: the median, and bands with 68 % and 95 % of them.
_SHARES = (0.025, 0.16, 0.5, 0.84, 0.975)
_ISOLINES = {0.5: "-", 0.16: "--", 0.84: "--"}
# No Gaussian error in 400 is smaller, in units of its standard deviation.
_SMALLEST = 0.003


class ErrorUncertaintyDisplay(Display):
    r"""Errors against their estimated uncertainties, with the isolines of Gaussian errors.

    Every sample is a point. For errors of the estimated uncertainties, a given share of the
    points lies below each isoline :math:`|e| = \sigma\, q_p`, with :math:`q_p` the quantiles of
    :math:`|N(0, 1)|`, whatever :math:`\sigma` is: the median (solid), and the bands with 68 %
    (dashed) and 95 % (dotted) of all errors.

    Make one with `from_estimator` or `from_predictions`; the constructor stores and does not
    check.

    Parameters
    ----------
    y_true, y_pred, y_std : ndarray of shape (n_samples,)
        Targets, predictions and standard deviations of the errors.
    groups : ndarray of shape (n_samples,), default=None
        Labels that tell points apart.
    unit : str, default=None
        Unit of the target, for the axes.
    name : str, default=None
        Name of the model, for the legend.

    Attributes
    ----------
    residual : ndarray of shape (n_samples,)
        ``y_true - y_pred``.
    ax_, figure_ : matplotlib axes and figure
        After `plot`.
    scatters_ : list of PathCollection
        The points, group by group.
    isolines_ : list of Line2D
        The isolines, in the order of their shares.
    density_ : QuadContourSet or None
        Contours of the density that enclose 10, 30, 50, 70 and 90 % of the points.
    dropped_ : dict of str to int
        How many samples logarithmic axes cannot show, by reason.

    References
    ----------
    Chong et al., Faraday Discuss. 256, 322 (2025), Fig. 1.

    Examples
    --------
    >>> import numpy as np
    >>> from skrigidity.plotting import ErrorUncertaintyDisplay
    >>> rng = np.random.default_rng(0)
    >>> y_std = rng.uniform(0.1, 1.0, 200)
    >>> y_true = rng.standard_normal(200)
    >>> y_pred = y_true + y_std * rng.standard_normal(200)
    >>> display = ErrorUncertaintyDisplay.from_predictions(y_true, y_pred, y_std, unit="eV")
    >>> display.ax_.get_xlabel()
    'estimated uncertainty (eV)'
    """

    def __init__(
        self,
        *,
        y_true: Any,
        y_pred: Any,
        y_std: Any,
        groups: Any = None,
        unit: str | None = None,
        name: str | None = None,
    ) -> None:
        self.y_true = y_true
        self.y_pred = y_pred
        self.y_std = y_std
        self.groups = groups
        self.unit = unit
        self.name = name

    @property
    def residual(self) -> np.ndarray:
        """Targets minus predictions."""
        return self.y_true - self.y_pred

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any,
        *,
        target: int | None = None,
        groups: Any = None,
        unit: str | None = None,
        name: str | None = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> Self:
        """Draw the errors of an estimator, best on samples that it was not fitted to.

        Parameters
        ----------
        estimator : object
            Fitted estimator with error bars, or a pipeline or search with one at its end.
        X : array-like, structures, or whatever the estimator predicts from
            Samples.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Their targets.
        target : int, default=None
            Which target; needed where there are several.
        groups : array-like of shape (n_samples,), default=None
            Labels that tell points apart.
        unit : str, default=None
            Unit of the target.
        name : str, default=None
            Name for the legend.
        ax : matplotlib axes, default=None
            Where to draw; None makes a figure.
        **kwargs : dict
            Further keywords of `plot`.

        Returns
        -------
        ErrorUncertaintyDisplay
        """
        y_pred, y_std = data.predictions_of(estimator, X)
        labels = {"groups": groups, "unit": unit, "name": name}
        return cls.from_predictions(y, y_pred, y_std, target=target, ax=ax, **labels, **kwargs)

    @classmethod
    def from_predictions(
        cls,
        y_true: Any,
        y_pred: Any,
        y_std: Any,
        *,
        target: int | None = None,
        groups: Any = None,
        unit: str | None = None,
        name: str | None = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> Self:
        """Draw errors, given predictions and their standard deviations.

        Parameters
        ----------
        y_true, y_pred : array-like of shape (n_samples,) or (n_samples, n_targets)
            Targets and predictions.
        y_std : array-like of the same shape
            Standard deviations; infinite (nothing is known) and 0 are left out and counted.
        target : int, default=None
            Which target; needed where there are several.
        groups : array-like of shape (n_samples,), default=None
            Labels that tell points apart.
        unit : str, default=None
            Unit of the target.
        name : str, default=None
            Name for the legend.
        ax : matplotlib axes, default=None
            Where to draw; None makes a figure.
        **kwargs : dict
            Further keywords of `plot`.

        Returns
        -------
        ErrorUncertaintyDisplay

        Raises
        ------
        ValueError
            If shapes differ, values are not finite, or a standard deviation is negative or NaN.
        """
        checked = data.predictions(y_true, y_pred, y_std, target)
        labels = data.labels_of(groups, checked.y_true)
        display = cls(**checked._asdict(), groups=labels, unit=unit, name=name)
        return display.plot(ax, **kwargs)

    def plot(
        self,
        ax: Any = None,
        *,
        kind: Literal["absolute", "signed"] = "absolute",
        isolines: Sequence[float] = _SHARES,
        density: bool = True,
        scatter_kwargs: dict | None = None,
        line_kwargs: dict | None = None,
    ) -> Self:
        """Draw.

        Parameters
        ----------
        ax : matplotlib axes, default=None
            Where to draw; None makes a figure.
        kind : {"absolute", "signed"}, default="absolute"
            Absolute errors on a logarithmic axis, or errors with their sign on a linear one.
        isolines : sequence of float, default=(0.025, 0.16, 0.5, 0.84, 0.975)
            Shares of Gaussian errors below the isolines: of absolute errors, or of errors.
        density : bool, default=True
            Whether to draw contours of the density of points; there are none for fewer than 20.
        scatter_kwargs, line_kwargs : dict, default=None
            Keywords of the points and of the isolines.

        Returns
        -------
        self : object
            The display.

        Raises
        ------
        ValueError
            If `kind` is unknown or a share is not between 0 and 1.
        """
        if kind not in ("absolute", "signed"):
            raise ValueError(f"kind must be 'absolute' or 'signed', got {kind!r}")
        if not all(0 < share < 1 for share in isolines):
            raise ValueError(f"isolines must be shares between 0 and 1, got {isolines!r}")
        ax = self._begin(ax)
        absolute = kind == "absolute"
        error = np.abs(self.residual) if absolute else self.residual
        quantities = {"uncertainty": self.y_std, **({"error": error} if absolute else {})}
        kept, dropped = showable(quantities)
        if absolute and kept.any():
            floor = _SMALLEST * self.y_std[kept].min()
            below = kept & (error < floor)
            dropped[f"error < {floor:.1g}"] = int(below.sum())
            kept &= ~below
        x, y = self.y_std[kept], error[kept]
        self._points(x, y, None if self.groups is None else self.groups[kept], scatter_kwargs)
        self.density_ = self._contours(x, y, absolute) if density else None
        factors = {p: ndtri((1 + p) / 2 if absolute else p) for p in sorted(isolines)}
        self._axes(x, y, absolute, max(factors.values(), default=2.0))
        self._lines(factors, line_kwargs)
        self._end(dropped)
        return self

    def _points(self, x: Any, y: Any, groups: Any, kwargs: dict | None) -> None:
        self.scatters_ = []
        groups = ordered(groups, len(x))
        size = float(np.clip(4000 / max(len(x), 1), 4, 22))
        for look, (label, mask) in zip(next_styles(self.ax_, len(groups)), groups, strict=True):
            default = {
                "color": look.color,
                "marker": look.marker,
                "s": size,
                "alpha": 0.6,
                "linewidths": 0,
                "label": legend_label(self.name, label),
            }
            scatter = self.ax_.scatter(x[mask], y[mask], **merged(default, kwargs, "scatter"))
            mark(scatter)
            self.scatters_.append(scatter)

    def _contours(self, x: np.ndarray, y: np.ndarray, absolute: bool) -> Any:
        estimate = density_of(np.log10(x), np.log10(y) if absolute else y)
        if estimate is None:
            return None
        return self.ax_.contour(
            10**estimate.x,
            10**estimate.y if absolute else estimate.y,
            estimate.values.T,
            levels=estimate.levels(),
            cmap="Greys",
            linewidths=0.9,
            vmin=-estimate.values.max() / 3,
            vmax=estimate.values.max() / 2,
        )

    def _axes(self, x: np.ndarray, y: np.ndarray, absolute: bool, highest: float) -> None:
        what = "|error|" if absolute else "error (true − predicted)"
        self.ax_.set_xlabel(with_unit("estimated uncertainty", self.unit))
        self.ax_.set_ylabel(with_unit(what, self.unit))
        if len(x):
            self.ax_.set_xlim(x.min() / 1.25, x.max() * 1.25)
            if absolute:
                top = max(y.max(), 1.25 * highest * x.max())
                self.ax_.set_ylim(min(y.min(), x.min() / 20) / 1.3, top * 1.1)
        log_axis(self.ax_.xaxis)
        if absolute:
            log_axis(self.ax_.yaxis)

    def _lines(self, factors: dict[float, float], kwargs: dict | None) -> None:
        low, high = self.ax_.get_xlim()
        x = np.geomspace(low, high, 100)
        self.isolines_ = []
        for share, factor in factors.items():
            default = {**GUIDE, "linestyle": _ISOLINES.get(share, ":")}
            (line,) = self.ax_.plot(x, factor * x, **merged(default, kwargs, "line"))
            self.isolines_.append(line)
            place = {"xycoords": "data", "textcoords": "offset points", "va": "center"}
            text = f"{100 * share:g} %"
            self.ax_.annotate(
                text, (x[-1], factor * x[-1]), (3, 0), size="x-small", color="0.25", **place
            )
