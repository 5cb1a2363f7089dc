"""Ridge regression made of components."""

from __future__ import annotations

from numbers import Real
from typing import Any

import numpy as np
from sklearn.utils._param_validation import Interval, StrOptions

from ..environments import is_chunked
from ..gradients import FeatureGradients, carried_components, resolve_components
from ..hessian import Rows
from ._component_parameters import ComponentParametersMixin
from ._component_summary import ComponentSummaryMixin
from ._orthogonalize import Residualizer, sequential
from ._ridge import RigidRidge


class ComponentRidge(ComponentParametersMixin, ComponentSummaryMixin, RigidRidge):
    r"""Ridge regression whose features are divided into components.

    A component is a group of columns: a length scale, a body order, a pair of species. Each may
    have a regularization strength of its own and contributes a prediction
    :math:`w_c^T x_c` with a rigidity :math:`R_c = 1 / (x_c^T (H^{-1})_{cc} x_c)` (CPR).
    All else is as in `RigidRidge`, with the regularizer
    :math:`\alpha \Gamma = \mathrm{diag}(\alpha_{c(j)})`.

    Parameters
    ----------
    components : list, dict, descriptor or "auto", default=None
        Block sizes ``[20, 30]``; a list of column specifications; or a dict of them by name. A
        specification is a slice, column numbers, a boolean mask, or, for DataFrames, column
        names, shell-style patterns of names (``"short_*"``) or regular expressions
        (``re.compile("^short")``, searched for), or a list of such. A fitted descriptor stands
        for its ``components_``; give these instead, or ``FrozenEstimator(descriptor)``,
        wherever the estimator is cloned. "auto" takes the components that the training data
        bring along: those that a descriptor attached to its `Environments` or DataFrames, or the
        part of column names before ``"__"``. None is one component ``"all"``.
    alpha : float, dict or array-like of shape (n_components,), default=1.0
        Regularization strength, not negative: one for all, ``{name: alpha}``, or one per
        component in their order. 0 leaves a component unpenalized. Entries of a dict are
        parameters of their own, ``set_params(alpha__short=0.1)``, also in a grid.
    orthogonalize : {"sequential"} or None, default=None
        "sequential" replaces every component by its residuals of a least-squares regression on
        all earlier components over the (weighted) training set, see Notes.
    order : list of component names, default=None
        Order of orthogonalization, those of most physical weight first; None is the order of
        `components`.
    remainder : str, default=None
        Name of one more component made of the columns that are in no other. None: every column
        must be in a component.
    fit_intercept : bool, default=True
        Whether to fit an intercept.
    aggregate : {"mean", "sum"}, default="mean"
        How the environments of a structure make up its features.
    solver : {"auto", "cholesky", "qr", "spectral"}, default="auto"
        Factorization of the Hessian.
    calibration : {"bayesian", "loo"} or None, default="bayesian"
        Scale of the error bars, as in `RigidRidge`.
    weight_type : {"frequency", "precision"}, default="frequency"
        Whether a sample weight counts repetitions of a sample, or is its inverse variance.

    Attributes
    ----------
    component_names_ : ndarray of str of shape (n_components,)
        Names of the components; ``"component0"``, ... where they were given without.
    components_ : dict of str to ndarray of int
        Columns of every component.
    projection_, offset_ : ndarrays of shape (n_features, n_features) and (n_features,), or None
        ``X @ projection_ - offset_`` are the residualized features; None without
        orthogonalization.
    coef_ : ndarray of shape (n_features,) or (n_targets, n_features)
        Coefficients, of the residualized features if there are any: ``projection_ @ coef_`` is
        what multiplies a row of X itself.
    intercept_, hessian_, scale_, noise_variance_, effective_dof_ :
        As in `RigidRidge`.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the features, where the model was fitted on a DataFrame.

    See Also
    --------
    RigidRidge : One alpha, components only where they are asked for.

    Notes
    -----
    ``predict_components(X).sum(axis=1) + intercept_`` is ``predict(X)``: the intercept belongs
    to no component. A component is not centred, so that shifting its columns changes its
    prediction and its rigidity.

    Where components overlap, the data determine their sum better than any of them, and their
    rigidities fall, at worst to the level of the regularizer. With ``orthogonalize="sequential"``
    component c predicts *what the earlier ones (and a constant) cannot*: whatever could be
    attributed to either is attributed to the earlier one, and the answer depends on the order.
    Nothing undoes this: ``coef_``, predictions, rigidities, `component_summary` and components
    handed to methods all refer to residualized columns. The first component stays as it is.

    The map is that of the training set, applied to new samples, and to every environment as it
    is to structures. With ``aggregate="sum"`` it has no offset, as a constant per structure is of
    no environment: later components then keep one. Columns that repeat earlier ones leave
    exactly 0: such a component predicts 0 with R = inf, except for new rows in which the
    repetition fails; there only the regularizer pins it. With fewer samples than earlier columns
    these explain everything, and later components vanish likewise.

    The penalty acts on residualized features: predictions change, unless alpha is 0.
    `leave_one_out` keeps the map, which has seen the features of all samples, never their
    targets. Residualized features are dense and in float64, also those of sparse input.

    References
    ----------
    Chong, Bigi, Grasselli, Loche, Kellner, Ceriotti, Faraday Discuss. 256, 322 (2025), section 2:
    component-wise prediction rigidity. Frisch, Waugh, Econometrica 1, 387 (1933) and Lovell,
    J. Am. Stat. Assoc. 58, 993 (1963): regression on residuals.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from skrigidity.linear_model import ComponentRidge
    >>> rng = np.random.default_rng(0)
    >>> X = pd.DataFrame(rng.standard_normal((50, 4)), columns=["s1", "s2", "l1", "l2"])
    >>> X["l1"] += 3 * X["s1"]
    >>> y = X @ [1.0, 2.0, 0.5, 0.0]
    >>> model = ComponentRidge(
    ...     {"short": "s*", "long": "l*"},
    ...     alpha={"short": 1e-3, "long": 1e-2},
    ...     orthogonalize="sequential",
    ... )
    >>> _ = model.set_output(transform="pandas").fit(X, y)
    >>> model.predict_components(X).head(2).round(3)
       short   long
    0  0.058  0.382
    1 -0.649  0.756
    >>> model.component_summary(X)[["alpha", "overlap", "verdict"]].round(3)
           alpha  overlap  verdict
    short  0.001      0.0  trusted
    long   0.010      0.0  trusted
    """

    _parameter_constraints: dict = {
        **RigidRidge._parameter_constraints,
        "components": "no_validation",
        "alpha": [Interval(Real, 0, None, closed="left"), dict, "array-like"],
        "orthogonalize": [StrOptions({"sequential"}), None],
        "order": ["array-like", None],
        "remainder": [str, None],
    }
    _parameter_constraints.pop("regularizer")

    def __init__(
        self,
        components: Any = None,
        alpha: Any = 1.0,
        *,
        orthogonalize: str | None = None,
        order: Any = None,
        remainder: str | None = None,
        fit_intercept: bool = True,
        aggregate: str = "mean",
        solver: str = "auto",
        calibration: str | None = "bayesian",
        weight_type: str = "frequency",
    ) -> None:
        self.components = components
        self.alpha = alpha
        self.orthogonalize = orthogonalize
        self.order = order
        self.remainder = remainder
        self.fit_intercept = fit_intercept
        self.aggregate = aggregate
        self.solver = solver
        self.calibration = calibration
        self.weight_type = weight_type

    # --- internals -------------------------------------------------------------------------

    _on_devices = False

    def _validated(self, X: Any, *, reset: bool = False, name: str = "X") -> Any:
        given = X
        X = super()._validated(X, reset=reset, name=name)
        if reset:
            components = self.components
            if components is None:
                components = {"all": slice(None)}
            elif isinstance(components, str) and components == "auto":
                components = carried_components(given)
            self.components_ = resolve_components(
                components,
                self.n_features_in_,
                getattr(self, "feature_names_in_", None),
                cover=True,
                remainder=self.remainder,
            )
            self.component_names_ = np.array(list(self.components_), dtype=object)
            self._check_order()
        return X

    def _make_gradients(self, X: Any, sample_weight: Any) -> FeatureGradients:
        gradients = super()._make_gradients(X, sample_weight)
        gradients.components = self.components_
        self._residualizer: Residualizer | None = None
        if self.orthogonalize is not None:
            rows = Rows(gradients.features(X), weight=sample_weight, intercept=self.fit_intercept)
            self._residualize(rows, gradients)
        return gradients

    def _residualize(self, rows: Rows, gradients: FeatureGradients) -> None:
        """Let features go through the map to what the earlier components leave of these rows."""
        blocks = [self.components_[str(name)] for name in self._order()]
        offset = self.fit_intercept and self.aggregate == "mean"
        self._residualizer = sequential(rows, blocks, offset=offset)
        gradients.transform = self._residualizer.apply

    def _training_rows(
        self, X: Any, y: Any, sample_weight: Any, *, reset: bool
    ) -> tuple[Any, tuple[int, ...]]:
        rows, shape = super()._training_rows(X, y, sample_weight, reset=reset)
        if not (reset and is_chunked(X) and self.orthogonalize is not None):
            return rows, shape
        self.gradients_.transform = None  # the map of a single row
        self._residualize(rows, self.gradients_)
        return super()._training_rows(X, y, sample_weight, reset=False)

    def _check_batches(self) -> None:
        super()._check_batches()
        if self.orthogonalize is not None:
            raise AttributeError("orthogonalize='sequential' needs all samples at once: use fit")

    @property
    def projection_(self) -> np.ndarray | None:
        """``X @ projection_ - offset_`` are residualized features; None if there are none."""
        return None if self._residualizer is None else self._residualizer.projection

    @property
    def offset_(self) -> np.ndarray | None:
        """See `projection_`."""
        return None if self._residualizer is None else self._residualizer.offset

    def _order(self) -> list[Any]:
        return list(self.components_) if self.order is None else list(self.order)

    def _check_order(self) -> None:
        order = [str(name) for name in self._order()]
        if sorted(order) != sorted(self.components_):
            raise ValueError(
                f"order must name every component once, {list(self.components_)}, got {order}"
            )
