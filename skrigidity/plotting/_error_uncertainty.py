"""Errors against their estimated uncertainties."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Self

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.special import ndtri

from . import _data as data
from ._display import PredictionDisplay, joined, log_axis, showable, with_unit

# Shares of Gaussian errors below the isolines: the median, and bands with 68 % and 95 % of them.
_SHARES = (0.025, 0.16, 0.5, 0.84, 0.975)
_ISOLINES = {0.5: "-", 0.16: "--", 0.84: "--"}
# No Gaussian error in 400 is smaller, in units of its standard deviation.
_SMALLEST = 0.003
# The grid of densities, and how many points are too few for one.
_CELLS, _MARGIN = 96, 3.0
_FEWEST_POINTS = 20


@dataclass(kw_only=True, eq=False, repr=False)
class ErrorUncertaintyDisplay(PredictionDisplay):
    r"""Errors against their estimated uncertainties, with the isolines of Gaussian errors.

    Every sample is a point. For errors of the estimated uncertainties, a given share of the
    points lies below each isoline :math:`|e| = \sigma\, q_p`, with :math:`q_p` the quantiles of
    :math:`|N(0, 1)|`, whatever :math:`\sigma` is: the median (solid), and the bands with 68 %
    (dashed) and 95 % (dotted) of all errors.

    Make one with `from_estimator` or `from_predictions`; the constructor stores and does not
    check.

    Parameters
    ----------
    name : str, default=None
        Name of the model, for the legend.
    y_true, y_pred, y_std : ndarray of shape (n_samples,)
        Targets, predictions and standard deviations of the errors.
    groups : ndarray of shape (n_samples,), default=None
        Labels that tell points apart.
    unit : str, default=None
        Unit of the target, for the axes.

    Attributes
    ----------
    residual : ndarray of shape (n_samples,)
        ``y_true - y_pred``.
    ax_, figure_ : matplotlib axes and figure
        Where it was drawn.
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

    y_true: np.ndarray
    y_pred: np.ndarray
    y_std: np.ndarray
    groups: np.ndarray | None = None
    unit: str | None = None

    @property
    def residual(self) -> np.ndarray:
        """Targets minus predictions."""
        return self.y_true - self.y_pred

    @classmethod
    def from_predictions(
        cls,
        y_true: Any,
        y_pred: Any,
        y_std: Any,
        *,
        target: int | None = None,
        groups: Any = None,
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
        **kwargs : dict
            Labels (`unit`, `name`) and keywords of `plot`, such as `ax`.

        Returns
        -------
        ErrorUncertaintyDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            If shapes differ, values are not finite, or a standard deviation is negative or NaN.
        """
        y, mean, std = data.predictions(y_true, y_pred, y_std, target)
        labels = data.labels_of(groups, y)
        return cls._drawn(kwargs, y_true=y, y_pred=mean, y_std=std, groups=labels)

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
        object
            The display.

        Raises
        ------
        ValueError
            If `kind` is unknown or a share is not between 0 and 1.
        """
        data.one_of("kind", kind, ("absolute", "signed"))
        if not all(0 < share < 1 for share in isolines):
            raise ValueError(f"isolines must be shares between 0 and 1, got {isolines!r}")
        self._begin(ax)
        absolute = kind == "absolute"
        error = np.abs(self.residual) if absolute else self.residual
        logarithmic = {"uncertainty": self.y_std} | ({"error": error} if absolute else {})
        kept, dropped = showable(logarithmic)
        if absolute and kept.any():
            floor = _SMALLEST * self.y_std[kept].min()
            below = kept & (error < floor)
            dropped[f"error < {floor:.1g}"] = int(below.sum())
            kept &= ~below
        size = float(np.clip(4000 / max(kept.sum(), 1), 4, 22))
        self.scatters_ = []
        for look, label, mask in self._groups(self.groups, len(kept)):
            x, y = self.y_std[mask & kept], error[mask & kept]
            default = {"s": size, "alpha": 0.6, "label": joined(self.name, label)}
            self.scatters_.append(self._scatter(x, y, look, scatter_kwargs, **default))
        x, y = self.y_std[kept], error[kept]
        self.density_ = self._contours(x, y, absolute) if density else None
        factors = {p: ndtri((1 + p) / 2 if absolute else p) for p in sorted(isolines)}
        self._limits(x, y, absolute, max(factors.values(), default=2.0))
        self.isolines_ = [self._isoline(*pair, line_kwargs) for pair in factors.items()]
        x_label = with_unit("estimated uncertainty", self.unit)
        y_label = with_unit("|error|" if absolute else "error (true − predicted)", self.unit)
        return self._end(dropped, x=x_label, y=y_label, log="y" if absolute else "")

    def _contours(self, x: np.ndarray, y: np.ndarray, absolute: bool) -> Any:
        estimate = density_of(np.log10(x), np.log10(y) if absolute else y)
        if estimate is None:
            return None
        highest = estimate.values.max()
        return self.ax_.contour(
            10**estimate.x,
            10**estimate.y if absolute else estimate.y,
            estimate.values.T,
            levels=estimate.levels(),
            cmap="Greys",
            linewidths=0.9,
            vmin=-highest / 3,
            vmax=highest / 2,
        )

    def _limits(self, x: np.ndarray, y: np.ndarray, absolute: bool, highest: float) -> None:
        if len(x):
            self.ax_.set_xlim(x.min() / 1.25, x.max() * 1.25)
            if absolute:
                top = max(y.max(), 1.25 * highest * x.max())
                self.ax_.set_ylim(min(y.min(), x.min() / 20) / 1.3, top * 1.1)
        # It starts above 0 also where there is nothing to show, so that isolines have two ends.
        log_axis(self.ax_.xaxis)

    def _isoline(self, share: float, factor: float, kwargs: dict | None) -> Any:
        low, high = self.ax_.get_xlim()
        x = np.geomspace(low, high, 100)
        end, dash = (x[-1], factor * x[-1]), _ISOLINES.get(share, ":")
        place = {"xycoords": "data", "textcoords": "offset points", "va": "center"}
        text = f"{100 * share:g} %"
        self.ax_.annotate(text, end, (3, 0), size="x-small", color="0.25", **place)
        return self._guide(x, factor * x, kwargs, linestyle=dash)


class Density(NamedTuple):
    """Density on a grid, and the levels that enclose shares of all points."""

    x: np.ndarray
    y: np.ndarray
    values: np.ndarray

    def levels(self, shares: tuple[float, ...] = (0.9, 0.7, 0.5, 0.3, 0.1)) -> np.ndarray:
        """Return the densities whose contours enclose these shares, in increasing order."""
        heights = np.sort(self.values.ravel())[::-1]
        enclosed = np.cumsum(heights) / heights.sum()
        return np.unique(heights[np.searchsorted(enclosed, sorted(shares, reverse=True))])


def density_of(x: np.ndarray, y: np.ndarray) -> Density | None:
    """Estimate a density with a Gaussian kernel of Scott's width, from a fine histogram.

    Parameters
    ----------
    x, y : ndarray of shape (n_samples,)
        Points.

    Returns
    -------
    Density or None
        None for fewer than 20 points, or where all lie on one line along an axis.
    """
    if len(x) < _FEWEST_POINTS:
        return None
    widths = np.array([x.std(), y.std()]) * len(x) ** (-1 / 6)
    if not (widths > 0).all():
        return None
    edges = [
        np.linspace(v.min() - _MARGIN * w, v.max() + _MARGIN * w, _CELLS + 1)
        for v, w in zip((x, y), widths, strict=True)
    ]
    counts, *_ = np.histogram2d(x, y, bins=edges)
    cells = np.array([edge[1] - edge[0] for edge in edges])
    smooth = gaussian_filter(counts, widths / cells, mode="constant")
    x_centres, y_centres = ((edge[1:] + edge[:-1]) / 2 for edge in edges)
    return Density(x_centres, y_centres, smooth / (smooth.sum() * cells.prod()))
