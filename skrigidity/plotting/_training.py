"""Rigidities along training, or along the growth of the training set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Self

import numpy as np
from scipy.stats import spearmanr

from . import _data as data
from ._curves import Curve, add, check_quantiles, curve, draw, line_style
from ._display import Display, legend_label, log_axis, merged, next_styles, ordered, with_unit
from ._growth import SIZES, grow


class RigidityTrainingDisplay(Display):
    """Rigidities of the same samples or environments along training, group by group.

    Along the epochs of a network the rigidities of its last layer settle before its errors do;
    along a training set that grows, with features that do not change, no rigidity ever falls.

    Make one with `from_estimator` (a training set that grows) or `from_rigidities` (epochs, or
    anything else); the constructor stores and does not check.

    Parameters
    ----------
    steps : ndarray of shape (n_steps,)
        Epochs, numbers of training samples, ...
    rigidity : ndarray of shape (n_steps, n)
        Rigidities at every step.
    groups : ndarray of shape (n,), default=None
        Labels of the columns.
    xlabel : str, default="epoch"
        What the steps are.
    label : str, default="prediction rigidity"
        What the rigidities are.
    unit : str, default=None
        Unit of the rigidities. None for unit weights: they are then pure numbers.
    name : str, default=None
        Name of the model, for the legend.

    Attributes
    ----------
    relative_change : ndarray of shape (n_steps,)
        Mean of ``|R - R_final| / R_final`` over the columns whose R is positive and finite.
    rank_correlation : ndarray of shape (n_steps,)
        Spearman's correlation with the rigidities of the last step.
    ax_, figure_ : matplotlib axes and figure
        After `plot`.
    lines_ : list of Line2D
        Medians, group by group.
    dropped_ : dict of str to int
        How many medians are 0 or infinite, which a logarithmic axis cannot show.

    References
    ----------
    Chong et al., Faraday Discuss. 256, 322 (2025), Fig. 3.

    Examples
    --------
    >>> import numpy as np
    >>> from skrigidity.linear_model import RigidRidge
    >>> from skrigidity.plotting import RigidityTrainingDisplay
    >>> X = np.random.default_rng(0).standard_normal((100, 5))
    >>> display = RigidityTrainingDisplay.from_estimator(
    ...     RigidRidge(),
    ...     X[:80],
    ...     X[:80, 0],
    ...     X_test=X[80:],
    ...     train_sizes=[20, 40, 80],
    ...     shuffle=False,
    ... )
    >>> np.median(display.rigidity, axis=1).round(1)
    array([ 1.9,  5.1, 10.9])
    """

    def __init__(
        self,
        *,
        steps: Any,
        rigidity: Any,
        groups: Any = None,
        xlabel: str = "epoch",
        label: str = data.LABELS["global"],
        unit: str | None = None,
        name: str | None = None,
    ) -> None:
        self.steps = steps
        self.rigidity = rigidity
        self.groups = groups
        self.xlabel = xlabel
        self.label = label
        self.unit = unit
        self.name = name

    @property
    def relative_change(self) -> np.ndarray:
        """Mean distance from the last step, relative to it."""
        R = self._movable()
        return np.mean(np.abs(R - R[-1]) / R[-1], axis=1)

    @property
    def rank_correlation(self) -> np.ndarray:
        """Rank correlation with the last step."""
        R = self._movable()
        return np.array([1.0 if (r == R[-1]).all() else spearmanr(r, R[-1])[0] for r in R])

    def _movable(self) -> np.ndarray:
        return self.rigidity[:, (np.isfinite(self.rigidity) & (self.rigidity > 0)).all(axis=0)]

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any,
        *,
        X_test: Any = None,
        train_sizes: Sequence[float] | np.ndarray = SIZES,
        level: Literal["global", "local"] = "global",
        groups: Any = None,
        target: int | None = None,
        shuffle: bool = True,
        random_state: Any = None,
        unit: str | None = None,
        name: str | None = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> Self:
        """Fit to growing parts of the data, each with all samples of those before it.

        Parameters
        ----------
        estimator : object
            Estimator with rigidities, or a pipeline or search with one at its end; cloned.
        X, y : array-likes, structures, or whatever the estimator is fitted to
            Training samples.
        X_test : of the kind of X, default=None
            Samples whose rigidities are asked for; None stands for `X`.
        train_sizes : sequence of float or int, default=(0.1, 0.2, 0.4, 0.7, 1.0)
            Shares of the training samples, or their numbers.
        level : {"global", "local"}, default="global"
            Rigidities of samples or of environments.
        groups : array-like, default=None
            A label for each sample of `X_test` or, with ``level="local"``, each environment.
        target : int, default=None
            Which target; needed where rigidities depend on it (an alpha for each).
        shuffle : bool, default=True
            Whether to take the samples in random order, not as they come.
        random_state : int, RandomState instance or None, default=None
            Seed of that order.
        unit : str, default=None
            Unit of the rigidities.
        name : str, default=None
            Name for the legend.
        ax : matplotlib axes, default=None
            Where to draw; None makes a figure.
        **kwargs : dict
            Further keywords of `plot`; the default of `xscale` is "log" here.

        Returns
        -------
        RigidityTrainingDisplay

        Raises
        ------
        ValueError
            If `level` or `train_sizes` make no sense.
        """
        data.check_level(level, ("global", "local"))
        X_test = X if X_test is None else X_test
        sizes, R = grow(
            estimator,
            X,
            y,
            lambda fitted: data.rigidity_of(fitted, X_test, level),
            train_sizes=train_sizes,
            shuffle=shuffle,
            random_state=random_state,
        )
        labels = {"xlabel": "training samples", "label": data.LABELS[level], "unit": unit}
        kwargs = {"xscale": "log", "ax": ax, "name": name, **labels, **kwargs}
        return cls.from_rigidities(sizes, R, groups=groups, target=target, **kwargs)

    @classmethod
    def from_rigidities(
        cls,
        steps: Any,
        rigidity: Sequence[Any],
        *,
        groups: Any = None,
        target: int | None = None,
        xlabel: str = "epoch",
        label: str = data.LABELS["global"],
        unit: str | None = None,
        name: str | None = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> Self:
        """Draw rigidities of every step.

        Parameters
        ----------
        steps : array-like of shape (n_steps,)
            Epochs, sizes, ...; increasing.
        rigidity : sequence of n_steps array-likes of shape (n,), or lists of such
            Rigidities of the same samples, or of the same environments, at every step.
        groups : array-like, default=None
            A label for each rigidity, or for each structure.
        target : int, default=None
            Which target; needed where there are several.
        xlabel : str, default="epoch"
            What the steps are.
        label : str, default="prediction rigidity"
            What the rigidities are.
        unit : str, default=None
            Unit of the rigidities.
        name : str, default=None
            Name for the legend.
        ax : matplotlib axes, default=None
            Where to draw; None makes a figure.
        **kwargs : dict
            Further keywords of `plot`.

        Returns
        -------
        RigidityTrainingDisplay

        Raises
        ------
        ValueError
            If lengths differ, steps do not increase, or a rigidity is negative or NaN.
        """
        x = data.steps(steps, len(rigidity))
        labels = data.labels_of(groups, rigidity[0])
        values = [data.rigidities(R, target=target) for R in rigidity]
        if len({len(R) for R in values}) > 1:
            raise ValueError("rigidity must have as many values at every step")
        display = cls(
            steps=x,
            rigidity=np.array(values),
            groups=labels,
            xlabel=xlabel,
            label=label,
            unit=unit,
            name=name,
        )
        return display.plot(ax, **kwargs)

    def plot(
        self,
        ax: Any = None,
        *,
        kind: Literal["rigidity", "change"] = "rigidity",
        quantiles: tuple[float, float] = (0.05, 0.95),
        xscale: Literal["linear", "log"] = "linear",
        line_kwargs: dict | None = None,
    ) -> Self:
        """Draw.

        Parameters
        ----------
        ax : matplotlib axes, default=None
            Where to draw; None makes a figure.
        kind : {"rigidity", "change"}, default="rigidity"
            Medians of the rigidities and their bands on a logarithmic axis, or the mean relative
            distance from the last step.
        quantiles : tuple of float, default=(0.05, 0.95)
            Ends of the bands.
        xscale : {"linear", "log"}, default="linear"
            Axis of the steps.
        line_kwargs : dict, default=None
            Keywords of the lines.

        Returns
        -------
        self : object
            The display.

        Raises
        ------
        ValueError
            If `kind` is unknown, or the quantiles do not increase.
        """
        if kind not in ("rigidity", "change"):
            raise ValueError(f"kind must be 'rigidity' or 'change', got {kind!r}")
        quantiles = check_quantiles(quantiles)
        ax = self._begin(ax)
        groups = ordered(self.groups, self.rigidity.shape[1])
        self.lines_: list[Any] = []
        totals: dict[str, int] = {}
        for look, (label, mask) in zip(next_styles(ax, len(groups)), groups, strict=True):
            default = line_style(look, legend_label(self.name, label))
            keywords = merged(default, line_kwargs, "line")
            if kind == "change":
                part = type(self)(steps=self.steps, rigidity=self.rigidity[:, mask])
                flat = part.relative_change
                summary = Curve(self.steps, flat, flat, flat)
            else:
                summary = curve(self.steps, self.rigidity[:, mask], quantiles)
            line, dropped = draw(ax, summary, look, keywords)
            self.lines_.append(line)
            # The last step is at distance 0 from itself, by definition.
            totals = totals if kind == "change" else add(totals, dropped)
        change = "mean relative distance from the last step"
        ax.set_xlabel(self.xlabel)
        ax.set_ylabel(with_unit(self.label, self.unit) if kind == "rigidity" else change)
        if xscale == "log":
            log_axis(ax.xaxis)
        log_axis(ax.yaxis)
        self._end(totals)
        return self
