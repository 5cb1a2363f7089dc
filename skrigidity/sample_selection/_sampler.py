"""Selectors as steps of imbalanced-learn's pipelines."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, MetaEstimatorMixin, _fit_context
from sklearn.utils import _safe_indexing, get_tags, indexable
from sklearn.utils._param_validation import HasMethods
from sklearn.utils.metadata_routing import (
    MetadataRouter,
    MethodMapping,
    _routing_enabled,
    process_routing,
)

from ._any_selector import fit_selector, selection_method


class SubsetSampler(MetaEstimatorMixin, BaseEstimator):
    """Make a selector a step of imbalanced-learn's pipelines.

    These let samplers remove samples (and their labels) between transformers and the final
    estimator, in `fit` alone. They refuse steps that have both `fit_resample` and `transform`, as
    a `PRSelector` has, which is also a transformer at the end of scikit-learn's pipelines. This
    has `fit_resample` alone.

    Parameters
    ----------
    selector : selector or Pipeline
        Chooses among samples: a `PRSelector`, one of scikit-matter's selectors of samples, or
        another one as in `SubsetRegressor`. It is cloned.

    Attributes
    ----------
    selector_ : selector
        The fitted clone.
    sample_indices_ : ndarray of int of shape (n_selected,)
        Chosen samples, in the order of their choice.
    n_features_in_ : int
        Number of features, where the selector knows it.
    feature_names_in_ : ndarray of str of shape (`n_features_in_`,)
        Names of the features, where it was fitted on a DataFrame.

    See Also
    --------
    SubsetRegressor : The same without imbalanced-learn, for the last step of a pipeline.

    Notes
    -----
    imbalanced-learn's pipelines give nothing to the `fit` of a sampler unless scikit-learn's
    metadata routing is enabled, and they transform nothing of that, whatever their
    `transform_input` says: the targets of a `PRSelector` go into its constructor, as features of
    the kind that reach it.

    Examples
    --------
    >>> import numpy as np
    >>> from skrigidity.sample_selection import PRSelector, SubsetSampler
    >>> rng = np.random.default_rng(0)
    >>> X, y = rng.standard_normal((100, 5)), np.arange(100)
    >>> sampler = SubsetSampler(PRSelector(3, alpha=0.1))
    >>> X_chosen, y_chosen = sampler.fit_resample(X, y)
    >>> X_chosen.shape, y_chosen
    ((3, 5), array([61, 49, 42]))

    As a step, ``imblearn.pipeline.make_pipeline(StandardScaler(), sampler, RigidRidge())``.
    """

    _parameter_constraints: dict = {
        "selector": [HasMethods(["fit"]), HasMethods(["fit_resample"])],
    }

    def __init__(self, selector: Any) -> None:
        self.selector = selector

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: Any, y: Any = None, **fit_params: Any) -> Self:
        """Select samples.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), structures, or what the selector takes
            Candidates.
        y : array-like of shape (n_samples,) or (n_samples, n_targets), default=None
            Their labels, for selectors that look at them.
        **fit_params : dict
            For the selector.

        Returns
        -------
        object
            Fitted sampler.

        Raises
        ------
        TypeError
            If the selector does not tell which samples it has chosen.
        ValueError
            If it chose among something else than the samples of `X`, or none of them.

        Examples
        --------
        >>> import numpy as np
        >>> from skrigidity import PRSelector
        >>> from skrigidity.sample_selection import SubsetSampler
        >>> X = np.random.default_rng(0).standard_normal((20, 3))
        >>> len(SubsetSampler(PRSelector(5)).fit(X, X[:, 0]).sample_indices_)
        5
        """
        if _routing_enabled():
            routed = process_routing(self, "fit", **fit_params)
            fit_params = routed.selector[selection_method(self.selector)]
        X, y = indexable(X, y)
        self.selector_, self.sample_indices_ = fit_selector(self.selector, X, y, fit_params)
        return self

    def fit_resample(self, X: Any, y: Any = None, **fit_params: Any) -> tuple[Any, Any]:
        """Select samples and return them with their labels.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), structures, or what the selector takes
            Candidates.
        y : array-like of shape (n_samples,) or (n_samples, n_targets), default=None
            Their labels.
        **fit_params : dict
            For the selector.

        Returns
        -------
        X_resampled : array-like or structures
            The chosen samples in the container of `X`, in the order of their choice.
        y_resampled : array-like of shape (n_selected,) or (n_selected, n_targets)
            Their labels.

        Examples
        --------
        >>> import numpy as np
        >>> from skrigidity import PRSelector
        >>> from skrigidity.sample_selection import SubsetSampler
        >>> X = np.random.default_rng(0).standard_normal((20, 3))
        >>> X_chosen, y_chosen = SubsetSampler(PRSelector(5)).fit_resample(X, X[:, 0])
        >>> X_chosen.shape, y_chosen.shape
        ((5, 3), (5,))
        """
        self.fit(X, y, **fit_params)
        X, y = indexable(X, y)
        chosen = self.sample_indices_
        return _safe_indexing(X, chosen), None if y is None else _safe_indexing(y, chosen)

    @property
    def n_features_in_(self) -> int:
        """Number of features that the selector was fitted on."""
        return self.selector_.n_features_in_

    @property
    def feature_names_in_(self) -> np.ndarray:
        """Names of the features that the selector was fitted on."""
        return self.selector_.feature_names_in_

    def get_metadata_routing(self) -> MetadataRouter:
        """Return who receives which metadata: the selector, in `fit` and `fit_resample`.

        Returns
        -------
        MetadataRouter
            The routes.
        """
        method = selection_method(self.selector)
        mapping = MethodMapping().add(caller="fit", callee=method)
        # scikit-learn knows this method only once imbalanced-learn is imported.
        with suppress(ValueError):
            mapping.add(caller="fit_resample", callee=method)
        return MetadataRouter(owner=self).add(selector=self.selector, method_mapping=mapping)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        if hasattr(self.selector, "__sklearn_tags__"):
            of_selector = get_tags(self.selector)
            tags.input_tags = of_selector.input_tags
            tags.target_tags = of_selector.target_tags
            tags.non_deterministic = of_selector.non_deterministic
        return tags
