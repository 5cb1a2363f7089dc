"""What a meta-estimator hands on to the estimator inside."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.utils import Bunch
from sklearn.utils.metadata_routing import (
    MetadataRouter,
    MethodMapping,
    _routing_enabled,
    process_routing,
)
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted


def estimator_has(name: str) -> Callable[[Any], bool]:
    """Return a check for `available_if`: whether the estimator inside has an attribute."""

    def check(self: Any) -> bool:
        getattr(getattr(self, "estimator_", self.estimator), name)
        return True

    return check


class DelegatingMixin:
    """Methods that `estimator_` answers; expects `estimator` and `_aggregated`."""

    estimator: Any
    estimator_: Any
    _aggregated: Callable[[Any], Any]

    @available_if(estimator_has("predict_proba"))
    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the estimator's `predict_proba`."""
        check_is_fitted(self)
        return self.estimator_.predict_proba(self._aggregated(X))

    @available_if(estimator_has("predict_log_proba"))
    def predict_log_proba(self, X: Any) -> np.ndarray:
        """Return the estimator's `predict_log_proba`."""
        check_is_fitted(self)
        return self.estimator_.predict_log_proba(self._aggregated(X))

    @available_if(estimator_has("decision_function"))
    def decision_function(self, X: Any) -> np.ndarray:
        """Return the estimator's `decision_function`."""
        check_is_fitted(self)
        return self.estimator_.decision_function(self._aggregated(X))

    @available_if(estimator_has("score"))
    def score(self, X: Any, y: Any = None, **score_params: Any) -> float:
        """Return the estimator's `score`; `score_params` are for it."""
        check_is_fitted(self)
        routed = self._routed("score", score_params)
        return self.estimator_.score(self._aggregated(X), y, **routed)

    def get_metadata_routing(self) -> MetadataRouter:
        """Return who receives which metadata: the estimator, in `fit` and `score`.

        Returns
        -------
        MetadataRouter
            The routes.
        """
        mapping = MethodMapping().add(caller="fit", callee="fit")
        mapping.add(caller="score", callee="score")
        return MetadataRouter(owner=self).add(estimator=self.estimator, method_mapping=mapping)

    def _routed(self, method: str, params: dict[str, Any]) -> Any:
        if not _routing_enabled():
            return params
        routed: Bunch = process_routing(self, method, **params)
        return routed.estimator[method]
