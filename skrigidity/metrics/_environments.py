"""Rigidities straight from features, with the signatures of scikit-matter."""

from __future__ import annotations

from itertools import pairwise
from numbers import Real
from typing import Any

import numpy as np

from ..environments import Environments, as_environments
from ..hessian import Factor, Prior, Rows, choose


def local_prediction_rigidity(
    X_train: Any, X_test: Any, alpha: float
) -> tuple[list[np.ndarray], int]:
    """Local prediction rigidity (LPR) of environments, for a ridge model on structure means.

    Same signature, scaling and return values as scikit-matter's function, computed without
    a pseudo-inverse: exact also for tiny `alpha`, inf for a row of zeros.

    Parameters
    ----------
    X_train : list of ndarray of shape (n_environments, n_features)
        Training structures, or anything that `Environments` takes.
    X_test : list of ndarray of shape (n_environments, n_features)
        Structures whose environments' rigidities are asked for.
    alpha : float
        Regularization strength, for features scaled by one number such that the mean square
        norm of a training environment is 1.

    Returns
    -------
    LPR : list of ndarray of shape (n_environments,)
        Rigidities, one array per test structure.
    rank_diff : int
        Number of features minus the numerical rank of the regularized covariance.

    Raises
    ------
    ValueError
        If the input is not finite, ragged or empty, or `alpha` is negative.

    References
    ----------
    Chong et al., J. Chem. Theory Comput. 19, 8020 (2023).

    Examples
    --------
    >>> import numpy as np
    >>> from skrigidity.metrics import local_prediction_rigidity
    >>> LPR, rank_diff = local_prediction_rigidity([np.eye(2)], [np.eye(2)], alpha=1.0)
    >>> LPR[0].round(3), rank_diff
    (array([1.2, 1.2]), 0)
    """
    factor, scale, rank_diff, X_test = _factorize(X_train, X_test, alpha)
    return X_test.split(_rigidity(factor, Rows(X_test.values), scale)), rank_diff


def componentwise_prediction_rigidity(
    X_train: Any, X_test: Any, alpha: float, comp_dims: Any
) -> tuple[np.ndarray, list[np.ndarray], int]:
    """Component-wise prediction rigidity of structures (CPR) and of environments (LCPR).

    Same signature, scaling and return values as scikit-matter's function, computed without a
    pseudo-inverse.

    Parameters
    ----------
    X_train : list of ndarray of shape (n_environments, n_features)
        Training structures, or anything that `Environments` takes.
    X_test : list of ndarray of shape (n_environments, n_features)
        Structures whose rigidities are asked for.
    alpha : float
        Regularization strength, as in `local_prediction_rigidity`.
    comp_dims : array-like of int of shape (n_components,)
        Number of features of each component, in their order.

    Returns
    -------
    CPR : ndarray of shape (n_structures, n_components)
        Rigidities of the structures' component predictions, inf where a component vanishes.
    LCPR : list of ndarray of shape (n_environments, n_components)
        Those of the environments, one array per test structure.
    rank_diff : int
        Number of features minus the numerical rank of the regularized covariance.

    Raises
    ------
    ValueError
        If `comp_dims` do not add up to the number of features, or as in
        `local_prediction_rigidity`.

    References
    ----------
    Chong et al., Faraday Discuss. 256, 322 (2025), section 2.

    Examples
    --------
    >>> import numpy as np
    >>> from skrigidity.metrics import componentwise_prediction_rigidity
    >>> CPR, LCPR, _ = componentwise_prediction_rigidity([np.eye(2)], [np.eye(2)], 1.0, [1, 1])
    >>> CPR.round(3), LCPR[0].round(3)
    (array([[4.8, 4.8]]), array([[1.2, inf],
           [inf, 1.2]]))
    """
    factor, scale, rank_diff, X_test = _factorize(X_train, X_test, alpha)
    sizes = np.asarray(comp_dims)
    n_features = X_test.shape[1]
    integers = sizes.ndim == 1 and sizes.dtype.kind in "iu" and (sizes >= 0).all()
    if not integers or sizes.sum() != n_features:
        raise ValueError(
            "comp_dims must be non-negative integers that add up to "
            f"{n_features}, the number of features, got {comp_dims!r}"
        )
    ends = np.cumsum([0, *sizes.tolist()])
    columns = [np.arange(a, b) for a, b in pairwise(ends)]
    structures = X_test.aggregate("mean")
    CPR, LCPR = (
        np.stack([_rigidity(factor, Rows(values, columns=c), scale) for c in columns], axis=1)
        for values in (structures, X_test.values)
    )
    return CPR, X_test.split(LCPR), rank_diff


def _factorize(X_train: Any, X_test: Any, alpha: float) -> tuple[Factor, float, int, Environments]:
    same = X_test is X_train
    X_train = as_environments(X_train, name="X_train")
    X_test = X_train if same else as_environments(X_test, name="X_test")
    if X_test.shape[1] != X_train.shape[1]:
        raise ValueError(
            f"X_test must have as many features as X_train, {X_train.shape[1]}, "
            f"got {X_test.shape[1]}"
        )
    values = X_train.values
    square = float(np.einsum("ij,ij->", values, values, dtype=np.float64)) / len(values)
    if square == 0:
        raise ValueError("X_train must not be zero throughout")
    if not isinstance(alpha, Real):
        raise ValueError(f"alpha must be a number >= 0, got {alpha!r}")
    prior = Prior(float(alpha))
    means = X_train.aggregate("mean") / np.sqrt(square)
    return choose(Rows(means), prior), square, _rank_diff(means, prior.alpha), X_test


def _rigidity(factor: Factor, rows: Rows, scale: float) -> np.ndarray:
    # Features are scaled by 1 / sqrt(scale) in training: rather scale the results than the rows.
    with np.errstate(divide="ignore"):
        return scale / factor.quad(rows)


def _rank_diff(means: np.ndarray, alpha: float) -> int:
    """Deficit of the rank that `numpy.linalg.matrix_rank` gives ``means.T @ means + alpha``."""
    d = means.shape[1]
    tolerance = d * np.finfo(float).eps
    if alpha > tolerance * (np.einsum("ij,ij->", means, means) + alpha):
        return 0
    values = np.linalg.svd(means, compute_uv=False) ** 2 + alpha
    values = np.append(values, np.full(d - len(values), alpha))
    return int((values <= tolerance * values.max()).sum())
