"""What every linear model with a Hessian can say of its predictions."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import scipy.sparse as sp
from sklearn.utils import check_array
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from ..environments import Environments, as_environments, is_environments
from ..hessian import Rows
from ._calibrated import CalibratedMixin, inverse
from ._components import resolve_components
from ._per_target import PerTargetHessian

Level = Literal["global", "local"]


class LinearRigidityMixin(CalibratedMixin):
    """Predictions, rigidities and uncertainties of a fitted linear model.

    Expects ``coef_``, ``intercept_``, ``hessian_`` and what `CalibratedMixin` does, and the
    parameters `fit_intercept` and `aggregate`.
    """

    coef_: np.ndarray
    intercept_: Any
    hessian_: Any
    fit_intercept: bool
    aggregate: Any

    # --- predictions -----------------------------------------------------------------------

    def predict_local(self, X: Any) -> Any:
        """Predict every environment's contribution to its structure.

        Under mean aggregation a structure's prediction is the mean of these; under sums it is
        their sum plus the intercept.

        Parameters
        ----------
        X : structures of environments, or array-like of shape (n_environments, n_features)
            A sequence of 2-D arrays; a plain matrix is one row per environment.

        Returns
        -------
        list of ndarray of shape (n_environments,) or (n_environments, n_targets)
            One array per structure; a single array for a plain matrix.
        """
        check_is_fitted(self)
        values, structures = self._local_features(X)
        intercept = self.intercept_ if self.aggregate == "mean" else 0.0
        return _split(structures, values @ self.coef_.T + intercept)

    def predict_components(self, X: Any, components: Any = None, *, level: Level = "global") -> Any:
        """Predict with the columns of one component at a time, without the intercept.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or structures of environments
            Input as in `predict`.
        components : list of int, list of slice, or dict of columns, default=None
            Block sizes, column specifications, or columns by name; None only where the
            estimator has components of its own.
        level : {"global", "local"}, default="global"
            Per sample, or per environment.

        Returns
        -------
        ndarray of shape (n_samples, n_components) or (n_samples, n_components, n_targets)
            A list of such arrays, one per structure, for structures and ``level="local"``.
        """
        check_is_fitted(self)
        columns = self._component_columns(components)
        features, structures = self._features_at(X, level)
        parts = [features[:, c] @ self.coef_[..., c].T for c in columns.values()]
        return self._named(_split(structures, np.stack(parts, axis=1)), X, columns)

    # --- rigidities ------------------------------------------------------------------------

    def prediction_rigidity(self, X: Any) -> Any:
        """Prediction rigidity (PR) of every sample, ``R = 1 / (g.T @ inv(H) @ g)``.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or structures of environments
            Input as in `predict`.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_targets)
            0 where nothing pins a prediction, inf where it cannot move; one column per target
            only with an array `alpha`.

        References
        ----------
        Chong et al., Faraday Discuss. 256, 322 (2025), section 2.
        """
        check_is_fitted(self)
        return inverse(self.hessian_.quad(self._global_rows(X)))

    def local_rigidity(self, X: Any) -> Any:
        """Local prediction rigidity (LPR) of every environment.

        Parameters
        ----------
        X : structures of environments, or array-like of shape (n_environments, n_features)
            A sequence of 2-D arrays; a plain matrix is one row per environment.

        Returns
        -------
        list of ndarray of shape (n_environments,)
            One array per structure; a single array for a plain matrix.

        References
        ----------
        Chong et al., J. Chem. Theory Comput. 19, 8020 (2023).
        """
        check_is_fitted(self)
        values, structures = self._local_features(X)
        rows = Rows(values, intercept=self._local_intercept)
        return _split(structures, inverse(self.hessian_.quad(rows)))

    def component_rigidity(self, X: Any, components: Any = None, *, level: Level = "global") -> Any:
        """Component-wise prediction rigidity (CPR), or its local version.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or structures of environments
            Input as in `predict`.
        components : list of int, list of slice, or dict of columns, default=None
            Block sizes, column specifications, or columns by name; None only where the
            estimator has components of its own.
        level : {"global", "local"}, default="global"
            Per sample, or per environment.

        Returns
        -------
        ndarray of shape (n_samples, n_components)
            inf where a component vanishes. A list of such arrays, one per structure, for
            structures and ``level="local"``.

        References
        ----------
        Chong et al., Faraday Discuss. 256, 322 (2025), section 2.
        """
        check_is_fitted(self)
        columns = self._component_columns(components)
        features, structures = self._features_at(X, level)
        rows = Rows(features)
        q = [self.hessian_.quad(rows.masked(c)) for c in columns.values()]
        return self._named(_split(structures, inverse(np.stack(q, axis=1))), X, columns)

    def combination_rigidity(self, X: Any, weights: Any) -> Any:
        """Rigidity of linear combinations of predictions: differences, reaction energies.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or structures of environments
            Input as in `predict`.
        weights : array-like of shape (n_samples,) or (n_combinations, n_samples)
            Coefficients of the predictions.

        Returns
        -------
        float or ndarray of shape (n_combinations,)
            Rigidities; with an array `alpha` one more axis, over targets.
        """
        check_is_fitted(self)
        F = self._global_features(X)
        W = check_array(weights, dtype=np.float64, ensure_2d=False, input_name="weights")
        if W.shape[-1] != F.shape[0] or W.ndim > 2:
            raise ValueError(
                f"weights must have one entry per sample, {F.shape[0]}, got shape {W.shape}"
            )
        flat = np.atleast_2d(W)
        rows = Rows(flat @ F, intercept=flat.sum(axis=1) if self.fit_intercept else False)
        R = inverse(self.hessian_.quad(rows))
        return R if W.ndim == 2 else R[0]

    def rigidity_with(self, X: Any, X_added: Any, sample_weight: Any = None) -> Any:
        """Prediction rigidity after adding samples to the training set; no labels needed.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or structures of environments
            Whose rigidity is asked for.
        X_added : array-like of shape (n_added, n_features) or structures of environments
            What is added.
        sample_weight : array-like of shape (n_added,), default=None
            Weights of the added samples.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_targets)
            Rigidities, never below those of `prediction_rigidity`.
        """
        check_is_fitted(self)
        added = self._global_features(X_added, name="X_added")
        if sample_weight is not None:
            sample_weight = _check_sample_weight(
                sample_weight, added, dtype=np.float64, ensure_non_negative=True
            )
        rows = Rows(added, weight=sample_weight, intercept=self.fit_intercept)
        return inverse(self.hessian_.update(rows).quad(self._global_rows(X)))

    # --- internals -------------------------------------------------------------------------

    @property
    def _local_intercept(self) -> bool:
        return bool(self.fit_intercept and self.aggregate == "mean")

    def _validated(self, X: Any, *, reset: bool = False, name: str = "X") -> Any:
        """Return a matrix (dense or CSR) or Environments, checked against the fitted ones."""
        if not is_environments(X):
            X = validate_data(
                self, X, reset=reset, accept_sparse="csr", dtype=[np.float64, np.float32]
            )
            if sp.issparse(X) and X.dtype == np.float32:
                X = X.astype(np.float64)
            return X
        X = as_environments(X, name=name)
        if reset:
            self.n_features_in_ = X.shape[1]
            if hasattr(self, "feature_names_in_"):
                del self.feature_names_in_
        elif X.shape[1] != self.n_features_in_:
            raise ValueError(
                f"{name} has {X.shape[1]} features, but {type(self).__name__} is expecting "
                f"{self.n_features_in_} features as input"
            )
        return X

    def _global_features(self, X: Any, name: str = "X") -> Any:
        X = self._validated(X, name=name)
        return X.aggregate(self.aggregate) if isinstance(X, Environments) else X

    def _local_features(self, X: Any) -> tuple[Any, Environments | None]:
        X = self._validated(X)
        return (X.values, X) if isinstance(X, Environments) else (X, None)

    def _features_at(self, X: Any, level: Level) -> tuple[Any, Environments | None]:
        if level not in ("global", "local"):
            raise ValueError(f"level must be 'global' or 'local', got {level!r}")
        return self._local_features(X) if level == "local" else (self._global_features(X), None)

    def _global_rows(self, X: Any) -> Rows:
        return Rows(self._global_features(X), intercept=self.fit_intercept)

    def _component_columns(self, components: Any) -> dict[str, np.ndarray]:
        if components is None:
            raise ValueError(
                f"components must be given: {type(self).__name__} has no components of its own"
            )
        names = getattr(self, "feature_names_in_", None)
        return resolve_components(components, self.n_features_in_, names)

    def _named(self, values: Any, X: Any, columns: dict[str, np.ndarray]) -> Any:
        """Give values by component their names, where the estimator has a container for that."""
        return values

    def _factors(self, n_targets: int) -> list[Any]:
        if isinstance(self.hessian_, PerTargetHessian):
            return [self.hessian_.at(a) for a in self.hessian_.alphas]
        return [self.hessian_] * n_targets

    def _per_factor(self, function: Any) -> np.ndarray:
        if isinstance(self.hessian_, PerTargetHessian):
            return self.hessian_.per_target(function)
        return function(self.hessian_)

    def _predict(self, features: Any) -> np.ndarray:
        return features @ self.coef_.T + self.intercept_

    def _quad(self, features: Any) -> np.ndarray:
        return self.hessian_.quad(Rows(features, intercept=self.fit_intercept))

    def _covariance(self, features: Any) -> np.ndarray:
        rows = Rows(features, intercept=self.fit_intercept)
        return self._per_factor(lambda factor: factor.cross(rows, rows))

    def _half_covariances(self, features: Any, n_targets: int) -> list[np.ndarray]:
        rows = Rows(features, intercept=self.fit_intercept)
        factors = self._factors(n_targets)
        whitened = {factor: factor.whiten(rows) for factor in set(factors)}
        return [whitened[factor] for factor in factors]


def _split(structures: Environments | None, values: np.ndarray) -> Any:
    return values if structures is None else structures.split(values)
