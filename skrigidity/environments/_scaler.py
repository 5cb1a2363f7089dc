"""A scaler that divides all features by one number."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, _fit_context
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_array
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from skrigidity.environments._container import Environments
from skrigidity.environments._output import EnvironmentTransformerMixin
from skrigidity.environments._validation import as_environments, check_features, is_environments

_FLOATS = (np.float64, np.float32)


class TotalVarianceScaler(OneToOneFeatureMixin, EnvironmentTransformerMixin, BaseEstimator):
    """Divide all features by one number, so that their variances add up to 1.

    The relative sizes of features stay as they are, unlike with ``StandardScaler``: a descriptor
    keeps its metric, and a regularization strength becomes comparable between descriptors.

    Parameters
    ----------
    with_mean : bool, default=True
        Whether to subtract the mean of each feature first. Zeros that mean something, such as
        those of purified features of atoms with few neighbors, do not survive it.
    over : {"environments", "structures"}, default="environments"
        Whether structures made of environments have their mean and variance taken over all
        environments, or over the mean environments of the structures. Plain rows are rows
        either way.

    Attributes
    ----------
    mean_ : ndarray of shape (`n_features_in_`,), or None
        What is subtracted; None without it.
    scale_ : float
        Square root of the total variance; 1 where all features are constant.
    n_features_in_ : int
        Number of features seen in fit.
    feature_names_in_ : ndarray of str
        Column names, where ``X`` was a DataFrame.

    See Also
    --------
    PerEnvironment : Any other transformer, applied to environments.

    Notes
    -----
    ``set_output`` applies to matrices; structures come out as :class:`Environments` always, with
    their components.

    Examples
    --------
    >>> import numpy as np
    >>> from skrigidity.environments import TotalVarianceScaler
    >>> X = np.array([[0.0, 0.0], [6.0, 8.0]])
    >>> scaler = TotalVarianceScaler().fit(X)
    >>> scaler.scale_
    5.0
    >>> scaler.transform(X)
    array([[-0.6, -0.8],
           [ 0.6,  0.8]])
    >>> scaler.transform([X, X[:1]])
    Environments(2 structures, 3 environments, 2 features, float64)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "with_mean": ["boolean"],
        "over": [StrOptions({"environments", "structures"})],
    }

    def __init__(self, *, with_mean: bool = True, over: str = "environments") -> None:
        self.with_mean = with_mean
        self.over = over

    def _validated(self, X: Any, *, reset: bool = False) -> Any:
        check_features(X)
        if not is_environments(X):
            return validate_data(self, X, reset=reset, dtype=_FLOATS)
        structures = as_environments(X)
        validate_data(self, structures.values[:1], reset=reset)
        return structures

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> TotalVarianceScaler:
        """Compute the mean and the scale.

        Parameters
        ----------
        X : Environments, sequence of 2-D arrays, 3-D array, or 2-D array
            Structures, or rows of a matrix.
        y : ignored
            Not used.
        sample_weight : array of shape (n_samples,), default=None
            Weights of rows or of structures; that of a structure counts for each of its
            environments.

        Returns
        -------
        TotalVarianceScaler
            Itself.

        Raises
        ------
        ValueError
            For bad input, and for weights that are negative or all zero.

        Examples
        --------
        >>> import numpy as np
        >>> from skrigidity import TotalVarianceScaler
        >>> X = np.array([[0.0, 1.0], [2.0, 1.0]])
        >>> TotalVarianceScaler().fit(X).n_features_in_
        2
        """
        X = self._validated(X, reset=True)
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, X)
            if (sample_weight < 0).any() or not sample_weight.any():
                raise ValueError("sample_weight: expected positive weights, some may be 0")
        if isinstance(X, Environments):
            whole = self.over == "structures"
            if not whole and sample_weight is not None:
                sample_weight = np.repeat(sample_weight, X.sizes)
            X = X.aggregate("mean") if whole else X.values
        # It sums in float64, and finds out which columns are constant up to rounding.
        columns = StandardScaler().fit(X, sample_weight=sample_weight)
        varies = np.isclose(columns.var_, columns.scale_**2, rtol=1e-6, atol=0)
        self.mean_ = columns.mean_ if self.with_mean else None
        self.scale_ = float(np.sqrt(columns.var_[varies].sum())) or 1.0
        return self

    def transform(self, X: Any) -> Any:
        """Subtract the mean and divide by the scale.

        Parameters
        ----------
        X : Environments, sequence of 2-D arrays, 3-D array, or 2-D array
            Structures, or rows of a matrix.

        Returns
        -------
        Environments, or for 2-D input an array or DataFrame of that shape
            The scaled features.

        Raises
        ------
        ValueError
            For bad input, or another number of features than in ``fit``.

        Examples
        --------
        >>> import numpy as np
        >>> from skrigidity import TotalVarianceScaler
        >>> X = np.array([[0.0, 1.0], [2.0, 1.0]])
        >>> float(TotalVarianceScaler().fit(X).transform(X).var(axis=0).sum().round(6))
        1.0
        """
        check_is_fitted(self)
        features = self._validated(X)
        if self.mean_ is not None:
            features = features - self.mean_.astype(features.dtype)
        features = features / features.dtype.type(self.scale_)
        return features if isinstance(features, Environments) else self._wrap_output(features, X)

    def inverse_transform(self, X: Any) -> Any:
        """Undo :meth:`transform`.

        Parameters
        ----------
        X : Environments, sequence of 2-D arrays, 3-D array, or 2-D array
            Structures, or rows of a matrix.

        Returns
        -------
        Environments, or for 2-D input an array of that shape
            The features as they were.

        Examples
        --------
        >>> import numpy as np
        >>> from skrigidity import TotalVarianceScaler
        >>> X = np.array([[0.0, 1.0], [2.0, 1.0]])
        >>> scaler = TotalVarianceScaler().fit(X)
        >>> bool(np.allclose(scaler.inverse_transform(scaler.transform(X)), X))
        True
        """
        check_is_fitted(self)
        check_features(X)
        features = as_environments(X) if is_environments(X) else check_array(X, dtype=_FLOATS)
        features = features * features.dtype.type(self.scale_)
        return features if self.mean_ is None else features + self.mean_.astype(features.dtype)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
