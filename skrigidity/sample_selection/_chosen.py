"""What a fitted selector of samples makes of its choice: rows, masks, resampled data."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import _num_samples, check_is_fitted, validate_data

from ..environments import Environments, as_environments, is_environments
from ._pool import ArrayPool, BlockPool, Pool, collected, fingerprints


class ChosenMixin:
    """Pools in, chosen members out, in the container they came in.

    Expects `fit`, which sets `selected_idx_`, `n_candidates_` and `_fingerprints`.
    """

    selected_idx_: np.ndarray
    n_candidates_: int
    n_features_in_: int
    _fingerprints: np.ndarray

    def fit_transform(self, X: Any, y: Any = None, **fit_params: Any) -> Any:
        """Choose among the candidates and return the chosen ones.

        Parameters
        ----------
        X : array-like of shape (n_candidates, n_features), structures, callable or iterator
            The pool.
        y : None
            Ignored.
        **fit_params : dict
            As in `fit`.

        Returns
        -------
        The chosen candidates in the container of `X`, in the order of their choice.
        """
        if hasattr(X, "__next__"):
            X = collected(X)
        return self.fit(X, y, **fit_params).transform(X)  # type: ignore[attr-defined]

    def fit_resample(self, X: Any, y: Any = None, **fit_params: Any) -> tuple[Any, Any]:
        """Choose among the candidates and return the chosen ones with their labels.

        imbalanced-learn's name for it. As a step before others, its pipelines take either
        transformers or samplers, and nothing that is both: see `SubsetSampler`.

        Parameters
        ----------
        X : array-like of shape (n_candidates, n_features), structures, callable or iterator
            The pool.
        y : array-like of shape (n_candidates,) or (n_candidates, n_targets), default=None
            Labels. They play no part in the choice.
        **fit_params : dict
            As in `fit`.

        Returns
        -------
        X_resampled : ndarray, CSR matrix, DataFrame, list of ndarray or Environments
            The chosen candidates in the container of `X`, in the order of their choice.
        y_resampled : array-like of shape (n_selected,) or (n_selected, n_targets)
            Their labels.

        Raises
        ------
        ValueError
            If there is not one label per candidate.
        """
        rows = self.fit_transform(X, y, **fit_params)
        if y is None:
            return rows, None
        if _num_samples(y) != self.n_candidates_:
            raise ValueError(
                f"y must have one entry per candidate, {self.n_candidates_}, got {_num_samples(y)}"
            )
        return rows, _safe_indexing(y, self.selected_idx_)

    def transform(self, X: Any) -> Any:
        """Return the chosen candidates out of the pool that the selector was fitted on.

        Parameters
        ----------
        X : array-like of shape (n_candidates, n_features), structures, callable or iterator
            The same pool.

        Returns
        -------
        ndarray, CSR matrix, DataFrame, list of ndarray or Environments
            The chosen candidates in the container of `X`, in the order of their choice.

        Raises
        ------
        ValueError
            If this is not that pool. Its chosen members and its shape are compared.
        """
        check_is_fitted(self)
        pool, chosen = self._pool(X, reset=False), self.selected_idx_
        if len(pool) != self.n_candidates_:
            raise ValueError(
                f"X has {len(pool)} samples, but this {type(self).__name__} was fitted on a pool "
                f"of {self.n_candidates_}: transform returns the chosen members of that pool, and "
                "nothing else (SubsetRegressor fits an estimator on them)"
            )
        rows = pool.take(chosen)
        if not np.array_equal(fingerprints(rows), self._fingerprints):
            raise ValueError(
                f"X is not the pool that this {type(self).__name__} was fitted on: the chosen "
                "samples differ"
            )
        if isinstance(rows, Environments):
            return rows if isinstance(X, Environments) or callable(X) else list(rows)
        return self._wrap(_safe_indexing(X, chosen) if hasattr(X, "columns") else rows)

    def get_support(self, indices: bool = False, ordered: bool = False) -> np.ndarray:
        """Return which candidates were chosen.

        Parameters
        ----------
        indices : bool, default=False
            Whether to return positions instead of a mask.
        ordered : bool, default=False
            Whether positions are in the order of choice (repetitions included), or rising.

        Returns
        -------
        ndarray of bool of shape (n_candidates,), or of int
        """
        check_is_fitted(self)
        if indices:
            return self.selected_idx_.copy() if ordered else np.unique(self.selected_idx_)
        mask = np.zeros(self.n_candidates_, dtype=bool)
        mask[self.selected_idx_] = True
        return mask

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return the names of the features, which are those of the pool.

        Parameters
        ----------
        input_features : array-like of str, default=None
            Names, if the pool had none.

        Returns
        -------
        ndarray of str
        """
        check_is_fitted(self)
        names = FunctionTransformer(feature_names_out="one-to-one")
        names.n_features_in_ = self.n_features_in_
        if hasattr(self, "feature_names_in_"):
            names.feature_names_in_ = self.feature_names_in_
        return names.get_feature_names_out(input_features)

    def set_output(self, *, transform: str | None = None) -> Self:
        """Choose the container of the chosen rows of a matrix, as in scikit-learn.

        Rows of a DataFrame stay one, with their index, unless something else is asked for;
        structures are never put into a frame.

        Parameters
        ----------
        transform : {"default", "pandas", "polars"}, default=None
            None leaves the choice as it is.

        Returns
        -------
        self : object
            The selector.
        """
        if transform not in (None, "default", "pandas", "polars"):
            raise ValueError(
                f"transform must be 'default', 'pandas' or 'polars', got {transform!r}"
            )
        if transform is not None:
            self._sklearn_output_config = {"transform": transform}
        return self

    # --- internals -------------------------------------------------------------------------

    def _pool(self, X: Any, reset: bool = True) -> Pool:
        if callable(X):
            pool: Pool = BlockPool(X)
        elif hasattr(X, "__next__"):
            pool = ArrayPool(collected(X))
        elif is_environments(X):
            pool = ArrayPool(as_environments(X, name="X"))
        else:
            return ArrayPool(
                validate_data(
                    self, X, reset=reset, accept_sparse="csr", dtype=[np.float64, np.float32]
                )
            )
        if reset:
            self.n_features_in_ = pool.n_features
            if hasattr(self, "feature_names_in_"):
                del self.feature_names_in_
        elif pool.n_features != self.n_features_in_:
            raise ValueError(
                f"X has {pool.n_features} features, but {type(self).__name__} is expecting "
                f"{self.n_features_in_} features as input"
            )
        return pool

    def _wrap(self, rows: Any) -> Any:
        # A transformer that does nothing: scikit-learn's own way to wrap an array.
        identity = FunctionTransformer(
            feature_names_out=lambda *_: self.get_feature_names_out(), accept_sparse=True
        )
        if hasattr(self, "_sklearn_output_config"):
            identity.set_output(**self._sklearn_output_config)
        return identity.fit_transform(rows)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()  # type: ignore[misc]
        tags.input_tags.sparse = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
