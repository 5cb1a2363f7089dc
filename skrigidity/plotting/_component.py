"""Rigidities of components along the growth of the training set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Self

import numpy as np

from . import _data as data
from ._curves import add, check_quantiles, curve, draw, line_style
from ._display import Display, legend_label, log_axis, merged, next_styles, with_unit
from ._growth import SIZES, grow


class ComponentRigidityDisplay(Display):
    """Component-wise prediction rigidities (CPR) over training sets of growing size.

    Whether data pin a body order, a length scale or any other part of a model: a component whose
    rigidity stays low however many samples are added is one that these samples cannot tell from
    the others.

    Make one with `from_estimator` or `from_rigidities`; the constructor stores and does not
    check. Models to be compared can share axes.

    Parameters
    ----------
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
    name : str, default=None
        Name of the model, for the legend.

    Attributes
    ----------
    ax_, figure_ : matplotlib axes and figure
        After `plot`.
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

    def __init__(
        self,
        *,
        train_sizes: Any,
        rigidity: Any,
        component_names: Any,
        xlabel: str = "training samples",
        unit: str | None = None,
        name: str | None = None,
    ) -> None:
        self.train_sizes = train_sizes
        self.rigidity = rigidity
        self.component_names = component_names
        self.xlabel = xlabel
        self.unit = unit
        self.name = name

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
        unit: str | None = None,
        name: str | None = None,
        ax: Any = None,
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
        ComponentRigidityDisplay

        Raises
        ------
        ValueError
            If `level` or `train_sizes` make no sense.
        """
        data.check_level(level, ("global", "local"))
        X_test = X if X_test is None else X_test
        sizes, fits = grow(
            estimator,
            X,
            y,
            lambda fitted: data.component_rigidity_of(fitted, X_test, components, level, target),
            train_sizes=train_sizes,
            shuffle=shuffle,
            random_state=random_state,
        )
        names = {"component_names": fits[0][1], "unit": unit, "name": name}
        return cls.from_rigidities(sizes, [R for R, _ in fits], ax=ax, **names, **kwargs)

    @classmethod
    def from_rigidities(
        cls,
        train_sizes: Any,
        rigidity: Any,
        *,
        component_names: Sequence[str] | None = None,
        xlabel: str = "training samples",
        unit: str | None = None,
        name: str | None = None,
        ax: Any = None,
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
        xlabel : str, default="training samples"
            What the sizes are.
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
        ComponentRigidityDisplay

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
            component_names = [f"component {i}" for i in range(R.shape[2])]
        if len(component_names) != R.shape[2]:
            raise ValueError(
                f"component_names must have {R.shape[2]} entries, got {len(component_names)}"
            )
        display = cls(
            train_sizes=sizes,
            rigidity=R,
            component_names=list(component_names),
            xlabel=xlabel,
            unit=unit,
            name=name,
        )
        return display.plot(ax, **kwargs)

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
        self : object
            The display.

        Raises
        ------
        ValueError
            If the quantiles do not increase.
        """
        quantiles = check_quantiles(quantiles)
        ax = self._begin(ax)
        self.lines_: list[Any] = []
        totals: dict[str, int] = {}
        looks = next_styles(ax, len(self.component_names))
        for i, (look, component) in enumerate(zip(looks, self.component_names, strict=True)):
            summary = curve(self.train_sizes, self.rigidity[:, :, i], quantiles)
            default = line_style(look, legend_label(self.name, component))
            line, dropped = draw(ax, summary, look, merged(default, line_kwargs, "line"))
            self.lines_.append(line)
            totals = add(totals, dropped)
        ax.set_xlabel(self.xlabel)
        ax.set_ylabel(with_unit(data.LABELS["component"], self.unit))
        log_axis(ax.xaxis)
        log_axis(ax.yaxis)
        self._end(totals)
        return self
