"""What a fitted selector of samples makes of its choice: rows, masks, resampled data."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import (
    _check_feature_names_in,
    _num_samples,
    check_is_fitted,
    validate_data,
)

from .._html import SummaryMixin
from ..distributed import example
from ..environments import (
    DISPATCHES,
    Environments,
    OutputMixin,
    array_namespace,
    as_environments,
    check_features,
    is_chunked,
    is_environments,
)
from ..gradients import check_same_namespace
from ._device_pool import DevicePool, device_pool, device_support
from ._pool import (
    ArrayPool,
    BlockPool,
    ChunkPool,
    ObjectPool,
    Pool,
    collected,
    fingerprints,
    takes_objects,
    unfrozen,
)


class ChosenMixin(SummaryMixin, OutputMixin):
    """Pools in, chosen members out, in the container they came in.

    Expects `fit`, which sets `sample_indices_`, `n_samples_` and `_fingerprints`.
    """

    sample_indices_: np.ndarray
    n_samples_: int
    n_features_in_: int | None
    _fingerprints: Any

    def fit_transform(self, X: Any, y: Any = None, **fit_params: Any) -> Any:
        """Choose among the candidates and return the chosen ones.

        Parameters
        ----------
        X : array-like of shape (n_candidates, n_features), structures, callable or iterator
            The pool.
        y : None
            Ignored. A warning says so where labels are given and fewer samples than these come
            out: nothing that follows in a pipeline of scikit-learn could be fitted to both.
        **fit_params : dict
            As in `fit`.

        Returns
        -------
        object
            The chosen candidates in the container of `X`, in the order of their choice.

        Examples
        --------
        >>> import numpy as np
        >>> from skrigidity import PRSelector
        >>> pool = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 2.0]])
        >>> PRSelector(2).fit_transform(pool).shape
        (2, 2)
        """
        rows = self._fit_transform(X, y, fit_params)
        n_chosen = int(self.sample_indices_.shape[0])
        if y is not None and n_chosen != self.n_samples_:
            name = type(self).__name__
            warnings.warn(
                f"{name} has chosen {n_chosen} of {self.n_samples_} samples and "
                "leaves y as it is: a later step of the pipeline gets fewer samples than targets. "
                f"Fit an estimator to the chosen ones by SubsetRegressor(estimator, {name}(...)) "
                "as the last step, or take their targets as well by fit_resample",
                UserWarning,
                stacklevel=2,
            )
        return rows

    def _fit_transform(self, X: Any, y: Any, fit_params: dict[str, Any]) -> Any:
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
        X_resampled : ndarray, CSR matrix, DataFrame, Environments, list of ndarray or ase.Atoms
            The chosen candidates in the container of `X`, in the order of their choice.
        y_resampled : array-like of shape (n_selected,) or (n_selected, n_targets)
            Their labels.

        Raises
        ------
        ValueError
            If there is not one label per candidate.

        Examples
        --------
        >>> import numpy as np
        >>> from skrigidity import PRSelector
        >>> pool = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 2.0]])
        >>> X, y = PRSelector(1).fit_resample(pool, np.arange(3))
        >>> y
        array([1])
        """
        rows = self._fit_transform(X, y, fit_params)
        if y is None:
            return rows, None
        if _num_samples(y) != self.n_samples_:
            raise ValueError(
                f"y must have one entry per candidate, {self.n_samples_}, got {_num_samples(y)}"
            )
        return rows, _safe_indexing(y, self.sample_indices_)

    def transform(self, X: Any) -> Any:
        """Return the chosen candidates out of the pool that the selector was fitted on.

        Parameters
        ----------
        X : array-like of shape (n_candidates, n_features), structures, callable or iterator
            The same pool.

        Returns
        -------
        ndarray, CSR matrix, DataFrame, list of ndarray, Environments or list of ase.Atoms
            The chosen candidates in the container of `X`, in the order of their choice.

        Raises
        ------
        ValueError
            If this is not that pool. Its shape and its chosen members are compared.

        Examples
        --------
        >>> import numpy as np
        >>> from skrigidity import PRSelector
        >>> pool = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 2.0]])
        >>> PRSelector(1).fit(pool).transform(pool)
        array([[0., 1.]])
        """
        check_is_fitted(self)
        check_same_namespace(self, X, self.sample_indices_, "transform")
        pool, chosen = self._pool(X, reset=False), self.sample_indices_
        if len(pool) != self.n_samples_:
            raise ValueError(
                f"X has {len(pool)} samples, but this {type(self).__name__} was fitted on a pool "
                f"of {self.n_samples_}: transform returns the chosen members of that pool, and "
                "nothing else (SubsetRegressor fits an estimator on them)"
            )
        rows = pool.take(chosen)
        if not self._same(rows):
            raise ValueError(
                f"X is not the pool that this {type(self).__name__} was fitted on: the chosen "
                "samples differ"
            )
        if isinstance(rows, list) or isinstance(pool, DevicePool):
            return rows
        if isinstance(rows, Environments):
            return rows if isinstance(X, Environments) or callable(X) else list(rows)
        rows = _safe_indexing(X, chosen) if hasattr(X, "iloc") and not is_chunked(X) else rows
        # A frame knows its columns, also where scikit-learn does not read their names.
        names = list(rows.columns) if hasattr(rows, "columns") else self.get_feature_names_out()
        return self._in_container(rows, names)

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
            A mask, or positions.

        Examples
        --------
        >>> import numpy as np
        >>> from skrigidity import PRSelector
        >>> pool = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 2.0]])
        >>> PRSelector(1).fit(pool).get_support()
        array([False,  True, False])
        """
        check_is_fitted(self)
        xp = array_namespace(self.sample_indices_)
        if xp is not None:
            return device_support(self, xp, indices, ordered)
        if indices:
            return self.sample_indices_.copy() if ordered else np.unique(self.sample_indices_)
        mask = np.zeros(self.n_samples_, dtype=bool)
        mask[self.sample_indices_] = True
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
            Names of the features.

        Examples
        --------
        >>> import numpy as np
        >>> from skrigidity import PRSelector
        >>> pool = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 2.0]])
        >>> PRSelector(1).fit(pool).get_feature_names_out()
        array(['x0', 'x1'], dtype=object)
        """
        check_is_fitted(self)
        return _check_feature_names_in(self, input_features)

    # --- internals -------------------------------------------------------------------------

    def _same(self, rows: Any) -> bool:
        xp = array_namespace(rows)
        if xp is not None:
            return bool(xp.all(rows == self._fingerprints))
        return bool(fingerprints(rows) == self._fingerprints)

    def _pool(self, X: Any, reset: bool = True) -> Any:
        if array_namespace(X) is not None:
            return device_pool(self, X, reset=reset)
        estimator = getattr(self, "estimator", None)
        if takes_objects(estimator):
            pool: Pool = ObjectPool(unfrozen(estimator)._validated(X))
        elif callable(X):
            pool = BlockPool(X)
        elif hasattr(X, "__next__"):
            pool = ArrayPool(collected(X))
        elif is_chunked(X):
            pool = ChunkPool(X)
            validate_data(self, example(X), reset=reset)
            return pool
        elif is_environments(X):
            pool = ArrayPool(as_environments(X, name="X"))
        else:
            check_features(X)
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

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()  # type: ignore[misc]
        tags.input_tags.two_d_array = not takes_objects(getattr(self, "estimator", None))
        tags.input_tags.sparse = tags.input_tags.two_d_array
        tags.array_api_support = tags.input_tags.two_d_array and DISPATCHES
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
