"""Rigidities along training, or along the growth of the training set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
from scipy.stats import spearmanr

from . import _data as data
from ._curves import SIZES, Curve, CurvesDisplay, curve, nested_fits
from ._display import ordered, with_unit


@dataclass(kw_only=True, eq=False, repr=False)
class RigidityTrainingDisplay(CurvesDisplay):
    """Rigidities of the same samples or environments along training, group by group.

    Along the epochs of a network, the rigidities of its last layer settle before its errors do.
    Along a training set that grows, no rigidity ever falls, if the features do not change.

    Make one with `from_estimator` (a training set that grows) or `from_rigidities` (epochs, or
    anything else); the constructor stores and does not check.

    Parameters
    ----------
    name : str, default=None
        Name of the model, for the legend.
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

    Attributes
    ----------
    relative_change : ndarray of shape (n_steps,)
        Mean of ``|R - R_final| / R_final`` over the columns whose R is positive and finite.
    rank_correlation : ndarray of shape (n_steps,)
        Spearman's correlation with the rigidities of the last step.
    ax_, figure_ : matplotlib axes and figure
        Where it was drawn.
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
    ...     RigidRidge(), X[:80], X[:80, 0], X_test=X[80:], train_sizes=[20, 40, 80], shuffle=False
    ... )
    >>> np.median(display.rigidity, axis=1).round(1)
    array([ 1.9,  5.1, 10.9])
    """

    steps: np.ndarray
    rigidity: np.ndarray
    groups: np.ndarray | None = None
    xlabel: str = "epoch"
    label: str = data.LABELS["global"]
    unit: str | None = None

    @property
    def relative_change(self) -> np.ndarray:
        """Mean distance from the last step, relative to it."""
        return _relative_change(self.rigidity)

    @property
    def rank_correlation(self) -> np.ndarray:
        """Rank correlation with the last step."""
        R = _movable(self.rigidity)
        return np.array([1.0 if (r == R[-1]).all() else spearmanr(r, R[-1])[0] for r in R])

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
        **kwargs : dict
            Further keywords of `from_rigidities`; the default of `xscale` is "log" here.

        Returns
        -------
        RigidityTrainingDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            If `level` is unknown, or `train_sizes` are not shares or numbers of samples.
        """
        data.one_of("level", level, ("global", "local"))
        X_test = X if X_test is None else X_test
        fits = nested_fits(estimator, X, y, train_sizes, shuffle, random_state)
        R = {n: data.rigidity_of(fitted, X_test, level) for n, fitted in fits}
        labels = {"xlabel": "training samples", "label": data.LABELS[level], "xscale": "log"}
        options = {"groups": groups, "target": target, **labels, **kwargs}
        return cls.from_rigidities(list(R), list(R.values()), **options)

    @classmethod
    def from_rigidities(
        cls,
        steps: Any,
        rigidity: Sequence[Any],
        *,
        groups: Any = None,
        target: int | None = None,
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
        **kwargs : dict
            Labels (`xlabel`, `label`, `unit`, `name`) and keywords of `plot`, such as `ax`.

        Returns
        -------
        RigidityTrainingDisplay
            The display, drawn.

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
        return cls._drawn(kwargs, steps=x, rigidity=np.array(values), groups=labels)

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
        object
            The display.

        Raises
        ------
        ValueError
            If `kind` is unknown, or the quantiles do not increase.
        """
        data.one_of("kind", kind, ("rigidity", "change"))
        R = self.rigidity
        labels, masks = zip(*ordered(self.groups, R.shape[1]), strict=True)
        curves = [curve(self.steps, R[:, mask], quantiles) for mask in masks]
        y_label = with_unit(self.label, self.unit)
        if kind == "change":
            curves = [Curve(self.steps, *3 * [_relative_change(R[:, mask])]) for mask in masks]
            y_label = "mean relative distance from the last step"
        self._begin(ax)
        dropped = self._curves(labels, curves, line_kwargs)
        # The last step is at distance 0 from itself, which is nothing to be counted.
        dropped = {} if kind == "change" else dropped
        return self._end(dropped, x=self.xlabel, y=y_label, log="xy" if xscale == "log" else "y")


def _movable(rigidity: np.ndarray) -> np.ndarray:
    return rigidity[:, (np.isfinite(rigidity) & (rigidity > 0)).all(axis=0)]


def _relative_change(rigidity: np.ndarray) -> np.ndarray:
    R = _movable(rigidity)
    return np.mean(np.abs(R - R[-1]) / R[-1], axis=1)
