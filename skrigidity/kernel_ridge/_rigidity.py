"""What a fitted kernel model can say of its predictions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from sklearn.utils import check_array
from sklearn.utils.validation import _check_sample_weight, check_is_fitted

from ..environments import Environments, is_environments
from ..hessian import KernelRows
from ..linear_model._calibrated import CalibratedMixin, inverse
from ..linear_model._rigidity import LinearRigidityMixin
from ._kernels import KernelSum
from ._points import Points
from ._queries import KernelQuery, PrecomputedQuery, Query

Level = Literal["global", "local"]


class KernelRigidityMixin(CalibratedMixin):
    """Predictions, rigidities and uncertainties of a fitted kernel model.

    Expects ``dual_coef_``, ``y_mean_``, ``X_fit_``, ``hessian_`` and what `CalibratedMixin` does.
    """

    kernel: Any
    aggregate: str
    dual_coef_: np.ndarray
    y_mean_: Any
    X_fit_: Any
    hessian_: Any
    component_names_: list[str]
    n_features_in_: int
    _kernel: KernelSum
    _kept: np.ndarray  # columns of a precomputed kernel whose samples have weight

    _validated: Any = LinearRigidityMixin._validated
    _factors: Any = LinearRigidityMixin._factors
    _per_factor: Any = LinearRigidityMixin._per_factor

    # --- predictions -----------------------------------------------------------------------

    def predict_local(self, X: Any) -> Any:
        """Predict every environment's contribution to its structure.

        Under mean aggregation a structure's prediction is the mean of these; under sums it is
        their sum plus the mean of y where that was subtracted (`center_y`).

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
        query, structures = self._query_at(X, "local")
        mean = self.y_mean_ if self.aggregate == "mean" else 0.0
        return _split(structures, self._product(query) + mean)

    def predict_components(
        self, X: Any, components: Any = None, *, level: Level = "global"
    ) -> np.ndarray:
        """Predict with the kernel of one component at a time.

        They add up to `predict`, less the mean of y where that was subtracted (`center_y`).

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or structures of environments
            Input as in `predict`.
        components : list of str, default=None
            Names of components; None is all of ``component_names_``.
        level : {"global", "local"}, default="global"
            Per sample, or per environment.

        Returns
        -------
        ndarray of shape (n_samples, n_components) or (n_samples, n_components, n_targets)
            A list of such arrays, one per structure, for structures and ``level="local"``.
        """
        parts, structures = self._component_queries(X, components, level)
        return _split(structures, np.stack([self._product(query) for query in parts], axis=1))

    # --- rigidities ------------------------------------------------------------------------

    def prediction_rigidity(self, X: Any) -> np.ndarray:
        """Prediction rigidity (PR) of every sample.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or structures of environments
            Input as in `predict`.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_targets)
            inf where a prediction cannot move; one column per target only with an array `alpha`.

        References
        ----------
        Chong et al., Faraday Discuss. 256, 322 (2025), section 2.
        """
        check_is_fitted(self)
        return inverse(self._quad(self._global_features(X)))

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
        query, structures = self._query_at(X, "local")
        return _split(structures, inverse(self._quad(query)))

    def component_rigidity(self, X: Any, components: Any = None, *, level: Level = "global") -> Any:
        """Component-wise prediction rigidity (CPR), or its local version.

        That of component c is ``1/R = [k_c(*,*) - k_c.T @ inv(K + alpha/S) @ k_c] / alpha`` with
        its own kernel k_c between predictions and training samples, and the model's K, the sum
        of all.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or structures of environments
            Input as in `predict`.
        components : list of str, default=None
            Names of components; None is all of ``component_names_``.
        level : {"global", "local"}, default="global"
            Per sample, or per environment.

        Returns
        -------
        ndarray of shape (n_samples, n_components) or (n_samples, n_components, n_targets)
            inf where a component vanishes. A list of such arrays, one per structure, for
            structures and ``level="local"``.

        References
        ----------
        Chong et al., Faraday Discuss. 256, 322 (2025), section 2.
        """
        parts, structures = self._component_queries(X, components, level)
        q = [self._quad(query) for query in parts]
        return _split(structures, inverse(np.stack(q, axis=1)))

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
        query = self._global_features(X)
        W = check_array(weights, dtype=np.float64, ensure_2d=False, input_name="weights")
        if W.shape[-1] != len(query) or W.ndim > 2:
            raise ValueError(
                f"weights must have one entry per sample, {len(query)}, got shape {W.shape}"
            )
        R = inverse(self.hessian_.quad(query.combined(np.atleast_2d(W))))
        return R if W.ndim == 2 else R[0]

    def rigidity_with(self, X: Any, X_added: Any, sample_weight: Any = None) -> np.ndarray:
        """Prediction rigidity after adding samples to the training set; no labels needed.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or structures of environments
            Whose rigidity is asked for. With ``kernel="precomputed"``, the columns of the added
            samples follow those of the training samples.
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
        weight = np.ones(len(added))
        if sample_weight is not None:
            weight = _check_sample_weight(
                sample_weight, weight, dtype=np.float64, ensure_non_negative=True
            )
        factor = self.hessian_.update(added.joint(weight))
        query, extra = self._query_with(X, added)

        def quad(piece: slice) -> np.ndarray:
            train = np.hstack([query.train(piece), extra(piece)[:, weight > 0]])
            return factor.quad(KernelRows(train, query.diagonal(piece)))

        return inverse(np.concatenate([quad(piece) for piece in query.pieces()]))

    # --- internals -------------------------------------------------------------------------

    @property
    def _precomputed(self) -> bool:
        return isinstance(self.kernel, str) and self.kernel == "precomputed"

    def _points(self, X: Any) -> Points:
        return Points(X, self.aggregate)

    def _precomputed_query(self, X: Any, n_train: int, name: str) -> PrecomputedQuery:
        if is_environments(X):
            raise ValueError(
                f"{name}: kernel='precomputed' takes the kernel between structures, a matrix"
            )
        return PrecomputedQuery(X, n_train, name)

    def _query(self, X: Any) -> Query:
        return KernelQuery(self._kernel, self._points(X), self._points(self.X_fit_))

    def _global_features(self, X: Any, name: str = "X") -> Query:
        if self._precomputed:
            query = self._precomputed_query(X, self.n_features_in_, name)
            return query.without(self._kept)
        return self._query(self._validated(X, name=name))

    def _query_at(self, X: Any, level: Level) -> tuple[Any, Environments | None]:
        if level not in ("global", "local"):
            raise ValueError(f"level must be 'global' or 'local', got {level!r}")
        if level == "global" or self._precomputed:
            return self._global_features(X), None
        X = self._validated(X)
        if isinstance(X, Environments):
            return self._query(X.values), X
        return self._query(X), None

    def _query_with(self, X: Any, added: Any) -> tuple[Query, Callable[[slice], np.ndarray]]:
        """Return a query, and its kernel with added samples."""
        if not self._precomputed:
            query = self._global_features(X)
            assert isinstance(query, KernelQuery)
            return query, lambda piece: query.kernel.cross(query.points[piece], added.points)
        n = self.n_features_in_
        both, extra = self._precomputed_query(X, n + len(added), "X").split(n)
        return both.without(self._kept), lambda piece: extra[piece]

    def _component_queries(
        self, X: Any, components: Any, level: Level
    ) -> tuple[list[Query], Environments | None]:
        check_is_fitted(self)
        if not self.component_names_:
            raise ValueError(
                f"{type(self).__name__} has no components here: give it a dict of kernels, or "
                "columns as `components`"
            )
        names = self.component_names_ if components is None else components
        unknown = [name for name in names if name not in self.component_names_]
        if isinstance(names, str) or unknown:
            raise ValueError(
                f"components must be a list of names out of {self.component_names_}, "
                f"got {components!r}"
            )
        query, structures = self._query_at(X, level)
        return [query.only(name) for name in names], structures

    def _product(self, query: Query) -> np.ndarray:
        return np.concatenate([query.train(piece) @ self.dual_coef_ for piece in query.pieces()])

    def _predict(self, features: Query) -> np.ndarray:
        return self._product(features) + self.y_mean_

    def _quad(self, features: Query) -> np.ndarray:
        pieces = features.pieces()
        return np.concatenate([self.hessian_.quad(features.rows(piece)) for piece in pieces])

    def _predict_and_quad(self, features: Query) -> tuple[np.ndarray, np.ndarray]:
        predictions, quads = [], []
        for piece in features.pieces():
            rows = features.rows(piece)
            predictions.append(rows.train @ self.dual_coef_)
            quads.append(self.hessian_.quad(rows))
        return np.concatenate(predictions) + self.y_mean_, np.concatenate(quads)

    def _covariance(self, features: Query) -> np.ndarray:
        rows = features.joint()
        return self._per_factor(lambda factor: factor.cross(rows, rows))

    def _half_covariances(self, features: Query, n_targets: int) -> list[np.ndarray]:
        rows = features.joint()
        factors = self._factors(n_targets)
        halves = {factor: _half(factor.cross(rows, rows)) for factor in set(factors)}
        return [halves[factor] for factor in factors]


def _half(covariance: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(covariance)
    return vectors * np.sqrt(np.maximum(values, 0.0))


def _split(structures: Environments | None, values: np.ndarray) -> Any:
    return values if structures is None else structures.split(values)
