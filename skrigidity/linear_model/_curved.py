"""Rigidities of any model whose loss has a known curvature."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import scipy.sparse as sp
from sklearn.utils import check_array
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from ..environments import Environments, as_environments, is_environments
from ._calibrated import CalibratedMixin, inverse
from ._components import resolve_components
from .curvature._losses import rescaled

Level = Literal["global", "local"]


class CurvedRigidityMixin(CalibratedMixin):
    """Rigidities from ``hessian_`` and ``curvature_``; expects the parameter `aggregate`."""

    aggregate: Any
    estimator_: Any
    curvature_: Any
    hessian_: Any
    n_features_in_: int

    def prediction_rigidity(self, X: Any) -> np.ndarray:
        """Prediction rigidity (PR) of every sample, ``R = 1 / (g.T @ inv(H) @ g)``.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or structures of environments
            Input as in `predict`.

        Returns
        -------
        ndarray of shape (n_samples,), (n_samples, n_targets) or (n_samples, n_classes)
            Of the linear predictor (the prediction itself for an identity link); of the logit
            for two classes; of the centred logits, one per class, for more. Per target only
            where their regularization strengths differ. 0 where nothing pins a prediction, inf
            where it cannot move.

        References
        ----------
        Chong et al., Faraday Discuss. 256, 322 (2025), equation 1 and appendix A.
        """
        check_is_fitted(self)
        return inverse(self.curvature_.quad(self.hessian_, self._global_features(X)))

    def local_rigidity(self, X: Any) -> Any:
        """Local prediction rigidity (LPR) of every environment.

        Parameters
        ----------
        X : structures of environments, or array-like of shape (n_environments, n_features)
            A sequence of 2-D arrays; a plain matrix is one row per environment.

        Returns
        -------
        list of ndarray of shape (n_environments,) or (n_environments, n_classes)
            One array per structure; a single array for a plain matrix.

        Raises
        ------
        TypeError
            If predictions are not linear in the features (kernel models).

        References
        ----------
        Chong et al., J. Chem. Theory Comput. 19, 8020 (2023).
        """
        check_is_fitted(self)
        self._check_additive("environments")
        values, structures = self._features_at(X, "local")
        q = self.curvature_.quad(self.hessian_, values, self.aggregate == "mean")
        return _split(structures, inverse(q))

    def component_rigidity(self, X: Any, components: Any = None, *, level: Level = "global") -> Any:
        """Component-wise prediction rigidity (CPR), or its local version.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or structures of environments
            Input as in `predict`.
        components : list of int, list of slice, or dict of columns
            Block sizes, column specifications, or columns by name.
        level : {"global", "local"}, default="global"
            Per sample, or per environment.

        Returns
        -------
        ndarray of shape (n_samples, n_components) or (n_samples, n_components, n_classes)
            inf where a component vanishes. A list of such arrays, one per structure, for
            structures and ``level="local"``.

        Raises
        ------
        TypeError
            If predictions are not linear in the features (kernel models).

        References
        ----------
        Chong et al., Faraday Discuss. 256, 322 (2025), section 2.
        """
        check_is_fitted(self)
        self._check_additive("blocks of columns")
        if components is None:
            raise ValueError(
                f"components must be given: {type(self).__name__} has no components of its own"
            )
        names = getattr(self, "feature_names_in_", None)
        columns = resolve_components(components, self.n_features_in_, names)
        features, structures = self._features_at(X, level)
        q = [
            self.curvature_.quad(self.hessian_, _masked(features, c), False)
            for c in columns.values()
        ]
        return _split(structures, inverse(np.stack(q, axis=1)))

    def combination_rigidity(self, X: Any, weights: Any) -> Any:
        """Rigidity of linear combinations of predictions (of linear predictors, of logits).

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or structures of environments
            Input as in `predict`.
        weights : array-like of shape (n_samples,) or (n_combinations, n_samples)
            Coefficients of the predictions.

        Returns
        -------
        float or ndarray of shape (n_combinations,)
            Rigidities; one more axis where `prediction_rigidity` has one.
        """
        check_is_fitted(self)
        features = self._global_features(X)
        W = check_array(weights, dtype=np.float64, ensure_2d=False, input_name="weights")
        if W.shape[-1] != features.shape[0] or W.ndim > 2:
            raise ValueError(
                f"weights must have one entry per sample, {features.shape[0]}, got shape {W.shape}"
            )
        R = inverse(self.curvature_.quad_of_sums(self.hessian_, features, np.atleast_2d(W)))
        return R if W.ndim == 2 else R[0]

    def rigidity_with(self, X: Any, X_added: Any, sample_weight: Any = None) -> np.ndarray:
        """Prediction rigidity after adding samples to the training set; no labels needed.

        They enter with the curvature to expect of them (the Fisher information) at the fitted
        parameters, which stay as they are.

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
        ndarray of the shape of `prediction_rigidity`
            Rigidities, never below those of `prediction_rigidity`.
        """
        check_is_fitted(self)
        added = self._global_features(X_added, name="X_added")
        weight = _check_sample_weight(
            sample_weight, added, dtype=np.float64, ensure_non_negative=True
        )
        features = self._global_features(X)
        return inverse(self.curvature_.quad_with(self.hessian_, features, added, weight))

    # --- internals -------------------------------------------------------------------------

    def _check_additive(self, parts: str) -> None:
        if not self.curvature_.additive:
            raise TypeError(
                f"{type(self.estimator_).__name__} is not linear in the features: its predictions "
                f"have no parts that belong to {parts}. RigidKernelRidge has"
            )

    def _aggregated(self, X: Any, name: str = "X") -> Any:
        if not is_environments(X):
            return X
        return as_environments(X, name=name).aggregate(self.aggregate)

    def _global_features(self, X: Any, name: str = "X", *, reset: bool = False) -> Any:
        """Return a matrix, dense or CSR, checked against the one that was fitted."""
        X = validate_data(
            self,
            self._aggregated(X, name),
            reset=reset,
            accept_sparse="csr",
            dtype=[np.float64, np.float32],
        )
        return X.astype(np.float64) if sp.issparse(X) and X.dtype == np.float32 else X

    def _features_at(self, X: Any, level: Level) -> tuple[Any, Environments | None]:
        if level not in ("global", "local"):
            raise ValueError(f"level must be 'global' or 'local', got {level!r}")
        if level == "global" or not is_environments(X):
            return self._global_features(X), None
        structures = as_environments(X)
        return validate_data(self, structures.values, reset=False), structures

    def _predict(self, features: Any) -> np.ndarray:
        return self.curvature_.mean(features)

    def _quad(self, features: Any) -> np.ndarray:
        q = self.curvature_.quad(self.hessian_, features)
        slope = self.curvature_.slope(features)
        return q if slope is None else rescaled(q, slope)

    def _covariance(self, features: Any) -> np.ndarray:
        cov = self.curvature_.covariance(self.hessian_, features)
        slope = self.curvature_.slope(features)
        return cov if slope is None else slope[:, None] * cov * slope

    def _half_covariances(self, features: Any, n_targets: int) -> list[np.ndarray]:
        return self.curvature_.halves(self.hessian_, features, n_targets)


def _masked(X: Any, columns: np.ndarray) -> Any:
    """Return X with every other column zero."""
    if sp.issparse(X):
        kept = np.zeros(X.shape[1])
        kept[columns] = 1.0
        return (X @ sp.diags(kept)).tocsr()
    out = np.zeros_like(X)
    out[:, columns] = X[:, columns]
    return out


def _split(structures: Environments | None, values: np.ndarray) -> Any:
    return values if structures is None else structures.split(values)
