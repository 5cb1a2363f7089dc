"""Rigidities of components along the growth of the training set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np

from . import _data as data
from ._curves import SIZES, CurvesDisplay, curve, nested_fits
from ._display import with_unit


@dataclass(kw_only=True, eq=False, repr=False)
class ComponentRigidityDisplay(CurvesDisplay):
    """Component-wise prediction rigidities (CPR) over training sets of growing size.

    This shows whether data pin a body order, a length scale or any other part of a model. If the
    rigidity of a component stays low however many samples are added, these samples cannot tell
    the component from the others.

    Make one with `from_estimator` or `from_rigidities`; the constructor stores and does not
    check. Models to be compared can share axes.

    Parameters
    ----------
    name : str, default=None
        Name of the model, for the legend.
    train_sizes : ndarray of shape (n_steps,)
        Sizes of the training sets, or any other increasing numbers.
    rigidity : ndarray of shape (n_steps, n_samples, n_components)
        Component rigidities of the same samples.
    component_names : list of str
        Names of the components.
    xlabel : str, default="training samples"
        What the sizes are.
    unit : str, default=None
        Unit of the rigidities. None for unit weights: they are then pure numbers.

    Attributes
    ----------
    ax_, figure_ : matplotlib axes and figure
        Where it was drawn.
    lines_ : list of Line2D
        Medians over the samples, component by component.
    dropped_ : dict of str to int
        How many medians are 0 or infinite (the component vanishes), which a logarithmic axis
        cannot show.

    References
    ----------
    Chong et al., Faraday Discuss. 256, 322 (2025), Figs. 6 and 7.

    Examples
    --------
    >>> import numpy as np
    >>> from skrigidity.linear_model import ComponentRidge
    >>> from skrigidity.plotting import ComponentRigidityDisplay
    >>> X = np.random.default_rng(0).standard_normal((60, 5))
    >>> model = ComponentRidge({"short": [0, 1], "long": [2, 3, 4]})
    >>> display = ComponentRigidityDisplay.from_estimator(
    ...     model, X, X[:, 0], train_sizes=[15, 30, 60], random_state=0
    ... )
    >>> [line.get_label() for line in display.lines_]
    ['short', 'long']
    >>> np.median(display.rigidity, axis=1).round(1)
    array([[ 5. ,  4.4],
           [17.6, 11.3],
           [38.6, 24.1]])
    """

    train_sizes: np.ndarray
    rigidity: np.ndarray
    component_names: list[str]
    xlabel: str = "training samples"
    unit: str | None = None

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any,
        *,
        X_test: Any = None,
        components: Any = None,
        level: Literal["global", "local"] = "global",
        target: int | None = None,
        train_sizes: Sequence[float] | np.ndarray = SIZES,
        shuffle: bool = True,
        random_state: Any = None,
        **kwargs: Any,
    ) -> Self:
        """Fit to growing parts of the data, each with all samples of those before it.

        Parameters
        ----------
        estimator : object
            Estimator with component rigidities, or a pipeline or search with one at its end;
            cloned.
        X, y : array-likes, structures, or whatever the estimator is fitted to
            Training samples.
        X_test : of the kind of X, default=None
            Samples whose rigidities are asked for; None stands for `X`.
        components : list or dict, default=None
            Components of the features that enter the last step; None where that has its own.
        level : {"global", "local"}, default="global"
            Rigidities of samples or of environments.
        target : int, default=None
            Which target; needed where rigidities depend on it (an alpha for each).
        train_sizes : sequence of float or int, default=(0.1, 0.2, 0.4, 0.7, 1.0)
            Shares of the training samples, or their numbers.
        shuffle : bool, default=True
            Whether to take the samples in random order, not as they come.
        random_state : int, RandomState instance or None, default=None
            Seed of that order.
        **kwargs : dict
            Further keywords of `from_rigidities`.

        Returns
        -------
        ComponentRigidityDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            If `level` is unknown, or `train_sizes` are not shares or numbers of samples.
        """
        data.one_of("level", level, ("global", "local"))
        X_test = X if X_test is None else X_test
        fits = nested_fits(estimator, X, y, train_sizes, shuffle, random_state)
        found = [
            (n, *data.component_rigidity_of(fitted, X_test, components, level, target))
            for n, fitted in fits
        ]
        sizes, rigidity, names = zip(*found, strict=True)
        return cls.from_rigidities(sizes, rigidity, **{"component_names": names[0], **kwargs})

    @classmethod
    def from_rigidities(
        cls,
        train_sizes: Any,
        rigidity: Any,
        *,
        component_names: Sequence[str] | None = None,
        **kwargs: Any,
    ) -> Self:
        """Draw rigidities of every training set.

        Parameters
        ----------
        train_sizes : array-like of shape (n_steps,)
            Sizes of the training sets; increasing.
        rigidity : array-like of shape (n_steps, n_samples, n_components)
            Component rigidities of the same samples.
        component_names : list of str, default=None
            Names of the components.
        **kwargs : dict
            Labels (`xlabel`, `unit`, `name`) and keywords of `plot`, such as `ax`.

        Returns
        -------
        ComponentRigidityDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            If shapes do not fit, sizes do not increase, or a rigidity is negative or NaN.
        """
        R = np.asarray(rigidity, dtype=np.float64)
        if R.ndim != 3:
            raise ValueError(
                f"rigidity must have shape (n_steps, n_samples, n_components), got {R.shape}"
            )
        data.not_negative(R, "rigidity")
        sizes = data.steps(train_sizes, len(R), "train_sizes")
        if component_names is None:
            component_names = data.numbered(R.shape[2])
        if len(component_names) != R.shape[2]:
            raise ValueError(
                f"component_names must have {R.shape[2]} entries, got {len(component_names)}"
            )
        names = list(component_names)
        return cls._drawn(kwargs, train_sizes=sizes, rigidity=R, component_names=names)

    def plot(
        self,
        ax: Any = None,
        *,
        quantiles: tuple[float, float] = (0.05, 0.95),
        line_kwargs: dict | None = None,
    ) -> Self:
        """Draw.

        Parameters
        ----------
        ax : matplotlib axes, default=None
            Where to draw; None makes a figure.
        quantiles : tuple of float, default=(0.05, 0.95)
            Ends of the bands around the medians over samples.
        line_kwargs : dict, default=None
            Keywords of the lines.

        Returns
        -------
        object
            The display.

        Raises
        ------
        ValueError
            If the quantiles do not increase.
        """
        R = np.moveaxis(self.rigidity, 2, 0)
        curves = [curve(self.train_sizes, values, quantiles) for values in R]
        self._begin(ax)
        dropped = self._curves(self.component_names, curves, line_kwargs)
        y_label = with_unit(data.LABELS["component"], self.unit)
        return self._end(dropped, x=self.xlabel, y=y_label, log="xy")
