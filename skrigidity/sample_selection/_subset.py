"""Estimators and samplers of what a selector selects, inside pipelines and searches."""

from __future__ import annotations

from copy import deepcopy
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, MetaEstimatorMixin, _fit_context, clone
from sklearn.utils import _safe_indexing, get_tags, indexable
from sklearn.utils._param_validation import HasMethods
from sklearn.utils.metadata_routing import (
    MetadataRouter,
    MethodMapping,
    _routing_enabled,
    process_routing,
)
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import _check_method_params, check_is_fitted

from .._html import SummaryMixin
from ..kernel_ridge import RigidKernelRidge
from ..linear_model import RigidRidge
from ..with_rigidity import DelegatingMixin, estimator_has
from ._any_selector import fit_selector, selection_method
from ._selector import PRSelector


def _of_estimator(name: str) -> Any:
    """Return a method that the fitted estimator answers, where it has it."""

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        check_is_fitted(self)
        return getattr(self.estimator_, name)(*args, **kwargs)

    method.__name__ = method.__qualname__ = name
    method.__doc__ = f"Return what `{name}` of the fitted estimator returns; same parameters."
    return available_if(estimator_has(name))(method)


class SubsetRegressor(SummaryMixin, DelegatingMixin, MetaEstimatorMixin, BaseEstimator):
    """Fit an estimator to the samples that a selector selects.

    A step of a scikit-learn pipeline cannot remove samples; this can, as the last one. Selection
    happens in `fit` alone, so that a search or a cross-validation selects among the training
    samples of every split, and predictions are made for all samples.

    Parameters
    ----------
    estimator : estimator
        Regressor (or classifier), fitted to the chosen rows of `X` and `y`. It is cloned.
    selector : selector, sampler or Pipeline
        Chooses among the rows of `X`: a `PRSelector` (one that has neither `alpha` nor
        `estimator` selects under the estimator here, see Notes), one of scikit-matter's selectors
        of samples (FPS, CUR, …), one of imbalanced-learn's samplers that pick samples, or another
        object with `sample_indices_`, `selected_idx_` or ``get_support(indices=True)``. At the
        end of a
        `Pipeline`, its earlier steps serve the selection alone: the estimator is fitted to the
        rows of `X` as they are. It is cloned.

    Attributes
    ----------
    estimator_ : estimator
        The fitted clone.
    selector_ : selector
        The fitted clone.
    selected_idx_ : ndarray of int of shape (n_selected,)
        Chosen samples, in the order of their choice. One that was chosen twice is fitted twice.
    classes_ : ndarray of shape (n_classes,)
        Classes; only for classifiers.
    n_features_in_ : int
        Number of features, where the estimator knows it.
    feature_names_in_ : ndarray of str of shape (`n_features_in_`,)
        Names of the features, where the estimator was fitted on a DataFrame.

    See Also
    --------
    PRSelector : The samples that make targets' predictions most rigid.
    SubsetSampler : A selector as a step of imbalanced-learn's pipelines.

    Notes
    -----
    Where both shall see scaled features, the scaler comes first,
    ``make_pipeline(StandardScaler(), SubsetRegressor(RigidRidge(), PRSelector()))``; it then
    learns from all samples. Features for the selection alone belong into the selector,
    ``SubsetRegressor(ridge, make_pipeline(descriptor, PRSelector()))``, a scaler that knows the
    chosen samples alone into the estimator, ``SubsetRegressor(make_pipeline(StandardScaler(),
    ridge), selector)``. Targets given to the constructor of a `PRSelector`,
    ``PRSelector(X_target=...)``, are never transformed: they are features of the kind that reach
    it.

    A `PRSelector` without `alpha` and `estimator` is given the estimator that its choice is for,
    where it can select under that before it is fitted and both see the same samples: a
    `RigidRidge`, `ComponentRidge`, `RigidKernelRidge` or `RigidPotential` (which takes frames),
    neither of the two inside a pipeline.
    Elsewhere it keeps its default, a `RigidRidge` with alpha 1: give it an `alpha` or an
    `estimator` of its own.

    The labels of samples that are not chosen are not looked at, unless by the selector: NaN for
    those that are yet to be computed is fine with a `PRSelector`.

    Parameters of `fit` go to the estimator, those with one entry per sample with the chosen
    entries only. With metadata routing enabled, both get what they ask for, the selector all of
    it: ``PRSelector().set_fit_request(cost=True, candidate_weight="sample_weight")``.

    The estimator's methods for predictions, rigidities and uncertainties are passed on, where it
    has them: `prediction_rigidity`, `local_rigidity`, `component_rigidity`,
    `combination_rigidity`, `rigidity_with`, `force_rigidity`, `stress_rigidity`,
    `predict_local`, `predict_components`, `sample_y`, `probability_std`, `single_point`,
    `calculator`, `calibrate`, `score`, `predict_proba`, `decision_function`.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.model_selection import GridSearchCV
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skrigidity import RigidRidge
    >>> from skrigidity.sample_selection import PRSelector, SubsetRegressor
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((60, 4))
    >>> y = X @ [1.0, 2.0, 0.0, -1.0] + 0.1 * rng.standard_normal(60)
    >>> subset = SubsetRegressor(RigidRidge(alpha=0.1), PRSelector(10))
    >>> subset.fit(X, y).selected_idx_
    array([ 8, 47, 18, 42, 54, 27, 58, 10, 17, 59])
    >>> subset.prediction_rigidity(X[:3]).round(2)
    array([6.45, 3.3 , 3.78])

    How many samples does it take?

    >>> model = make_pipeline(StandardScaler(), subset)
    >>> grid = {"subsetregressor__selector__n_to_select": [2, 10, 20]}
    >>> search = GridSearchCV(model, grid, cv=3).fit(X, y)
    >>> search.cv_results_["mean_test_score"].round(3)
    array([0.112, 0.997, 0.997])
    """

    _parameter_constraints: dict = {
        "estimator": [HasMethods(["fit", "predict"])],
        "selector": [HasMethods(["fit"]), HasMethods(["fit_resample"])],
    }

    def __init__(self, estimator: Any, selector: Any) -> None:
        self.estimator = estimator
        self.selector = selector

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: Any, y: Any = None, **fit_params: Any) -> Self:
        """Select samples and fit the estimator to them.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), structures, or what the two take
            Candidates.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Their labels.
        **fit_params : dict
            For the estimator, such as ``sample_weight``; with metadata routing enabled for the
            selector as well.

        Returns
        -------
        object
            Fitted estimator.

        Raises
        ------
        TypeError
            If the selector does not tell which samples it has chosen.
        ValueError
            If it chose among something else than the samples of `X`, or none of them, or the
            estimator takes a precomputed kernel.

        Examples
        --------
        >>> import numpy as np
        >>> from sklearn.linear_model import Ridge
        >>> from skrigidity import PRSelector, SubsetRegressor
        >>> X = np.random.default_rng(0).standard_normal((20, 3))
        >>> model = SubsetRegressor(Ridge(), PRSelector(5)).fit(X, X[:, 0])
        >>> len(model.selector_.selected_idx_)
        5
        """
        if get_tags(self.estimator).input_tags.pairwise:
            raise ValueError(
                "estimator must take features, not a precomputed kernel, whose columns are the "
                "samples that are to be selected"
            )
        for_estimator, for_selector = fit_params, {}
        if _routing_enabled():
            routed = process_routing(self, "fit", **fit_params)
            for_estimator = routed.estimator.fit
            for_selector = routed.selector[selection_method(self.selector)]
        X, y = indexable(X, y)
        self.selector_, self.selected_idx_ = fit_selector(self._selector(), X, y, for_selector)
        self.estimator_ = clone(self.estimator).fit(
            _safe_indexing(X, self.selected_idx_),
            None if y is None else _safe_indexing(y, self.selected_idx_),
            **_check_method_params(X, for_estimator, self.selected_idx_),
        )
        return self

    def _summary(self) -> dict[str, Any]:
        lines: dict[str, Any] = {"fitted to": f"{len(self.selected_idx_)} chosen samples"}
        for inner in (self.selector_, self.estimator_):
            if isinstance(inner, SummaryMixin):
                lines.update(inner._summary())
        return lines

    def _selector(self) -> Any:
        """Return the selector, with the estimator to select under where it has none."""
        selector = self.selector
        own = isinstance(selector, PRSelector) and (selector.alpha, selector.estimator)
        can = isinstance(self.estimator, RigidRidge | RigidKernelRidge)
        if own != (None, None) or not (can or hasattr(self.estimator, "_without_labels")):
            return selector
        return clone(selector).set_params(estimator=clone(self.estimator))

    def predict(self, X: Any, **predict_params: Any) -> Any:
        """Predict with the fitted estimator.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), structures, or what the estimator takes
            Samples.
        **predict_params : dict
            For its `predict`: ``return_std=True``, for example.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_targets)
            What the estimator returns: a tuple, if its uncertainties are asked for.

        Examples
        --------
        >>> import numpy as np
        >>> from sklearn.linear_model import Ridge
        >>> from skrigidity import PRSelector, SubsetRegressor
        >>> X = np.random.default_rng(0).standard_normal((20, 3))
        >>> model = SubsetRegressor(Ridge(), PRSelector(5)).fit(X, X[:, 0])
        >>> model.predict(X).shape
        (20,)
        """
        check_is_fitted(self)
        return self.estimator_.predict(X, **self._routed("predict", predict_params))

    predict_local = _of_estimator("predict_local")
    predict_components = _of_estimator("predict_components")
    prediction_rigidity = _of_estimator("prediction_rigidity")
    local_rigidity = _of_estimator("local_rigidity")
    component_rigidity = _of_estimator("component_rigidity")
    combination_rigidity = _of_estimator("combination_rigidity")
    rigidity_with = _of_estimator("rigidity_with")
    probability_std = _of_estimator("probability_std")
    sample_y = _of_estimator("sample_y")
    force_rigidity = _of_estimator("force_rigidity")
    stress_rigidity = _of_estimator("stress_rigidity")
    single_point = _of_estimator("single_point")
    calculator = _of_estimator("calculator")

    @available_if(estimator_has("calibrate"))
    def calibrate(self, X: Any, y: Any, *args: Any, **kwargs: Any) -> Self:
        """Fit the scale of the error bars to held-out data.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), structures, or what the estimator takes
            Validation samples.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Their targets.
        *args, **kwargs
            As in the estimator's `calibrate`.

        Returns
        -------
        object
            The same estimator, the scale of `estimator_` set.
        """
        check_is_fitted(self)
        self.estimator_.calibrate(X, y, *args, **kwargs)
        return self

    @property
    def n_features_in_(self) -> int:
        """Number of features that the estimator was fitted on."""
        return self.estimator_.n_features_in_

    @property
    def feature_names_in_(self) -> np.ndarray:
        """Names of the features that the estimator was fitted on."""
        return self.estimator_.feature_names_in_

    @property
    def classes_(self) -> np.ndarray:
        """Classes that a classifier was fitted on."""
        return self.estimator_.classes_

    def get_metadata_routing(self) -> MetadataRouter:
        """Return who receives which metadata: both in `fit`, the estimator for predictions.

        Returns
        -------
        MetadataRouter
            The routes.
        """
        predicts = MethodMapping()
        for method in _METHODS:
            predicts.add(caller=method, callee=method)
        selects = MethodMapping().add(caller="fit", callee=selection_method(self.selector))
        router = MetadataRouter(owner=self)
        router.add(estimator=self.estimator, method_mapping=predicts)
        return router.add(selector=self.selector, method_mapping=selects)

    def __sklearn_tags__(self) -> Any:
        tags = deepcopy(get_tags(self.estimator))
        tags.array_api_support = False
        if hasattr(self.selector, "__sklearn_tags__"):
            of_selector = get_tags(self.selector)
            tags.input_tags.sparse &= of_selector.input_tags.sparse
            tags.input_tags.allow_nan &= of_selector.input_tags.allow_nan
            tags.non_deterministic |= of_selector.non_deterministic
        return tags

    @staticmethod
    def _aggregated(X: Any) -> Any:
        return X  # nothing to do before the estimator sees it


_METHODS = ("fit", "score", "predict", "predict_proba", "predict_log_proba", "decision_function")
