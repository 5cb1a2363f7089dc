"""From reduced rows, errors and a regularizer to a factorized Hessian."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import scipy.linalg as sl
from numpy.typing import NDArray

from skrigidity.hessian import Factor, Prior, Rows, choose

Array = NDArray[np.float64]
_RADIAL, _ANGULAR = re.compile(r"\bn=([\d,]+)"), re.compile(r"\bl=([\d,]+)")


class Solved(NamedTuple):
    """A factorized Hessian and what it was made with.

    Attributes
    ----------
    factor : skrigidity.hessian.Factor
    errors : dict of str to float
        Error of each property.
    alpha : float
        Strength of the regularizer, relative to the mean diagonal of the Hessian.
    """

    factor: Factor
    errors: dict[str, float]
    alpha: float

    @property
    def coef(self) -> Array:
        """Parameters, of the descriptor's columns and of those behind them."""
        assert self.factor.solution is not None
        return self.factor.solution.coef[:, 0]


class Problem(NamedTuple):
    """A least-squares problem, reduced to a triangle for each property.

    Attributes
    ----------
    reduced : dict of str to (ndarray, ndarray)
        Rows and right-hand sides, in units of each property.
    squares : dict of str to ndarray of shape (n_features,)
        Sums of squares of the rows.
    gamma : ndarray
        The regularizer of the descriptor's columns, the first ones.
    method : str
        Factorization.
    """

    reduced: dict[str, tuple[Array, Array]]
    squares: dict[str, Array]
    gamma: Array
    method: str

    def solve(self, errors: Mapping[str, float], alpha: float) -> Solved:
        """Return the solution for errors and a relative alpha."""
        rows = [matrix / errors[p] for p, (matrix, _) in self.reduced.items()]
        rhs = [values / errors[p] for p, (_, values) in self.reduced.items()]
        diagonal: Any = sum(self.squares[p] / errors[p] ** 2 for p in self.reduced)
        prior, method = prior_of(self.gamma, diagonal, alpha), method_of(self.method)
        data = Rows(np.concatenate(rows), rhs=np.concatenate(rhs))
        return Solved(choose(data, prior, method=method), dict(errors), alpha)


def method_of(solver: str) -> str:
    """Return the factorization: rows are rarely so firm that normal equations would do."""
    return "qr" if solver == "auto" else solver


def prior_of(gamma: Array, diagonal: Array, alpha: float, behind: Array | None = None) -> Prior:
    """Return the regularizer of all columns, alpha being relative to the Hessian.

    Parameters
    ----------
    gamma : ndarray of shape (n_own,) or (n_own, n_own)
        The regularizer of the descriptor's columns, the first ones.
    diagonal : ndarray of shape (n_features,)
        The diagonal of the Hessian, which alpha is relative to the mean of.
    alpha : float
    behind : ndarray of shape (n_behind, n_behind), default=None
        The regularizer of the columns behind them; None is none.

    Returns
    -------
    Prior
    """
    own, n_behind = len(gamma), len(diagonal) - len(gamma)
    behind = np.zeros((n_behind, n_behind)) if behind is None else behind
    unit = float(np.mean(diagonal[:own])) or 1.0
    if gamma.ndim == 1 and not (behind - np.diag(np.diag(behind))).any():
        return Prior(alpha * unit, np.append(gamma, np.diag(behind)))
    whole = gamma if gamma.ndim == 2 else np.diag(gamma)
    return Prior(alpha * unit, sl.block_diag(whole, behind))


def regularizer_of(regularizer: Any, names: Any) -> Array:
    """Return the regularizer of a descriptor's columns, as a diagonal or a matrix.

    Parameters
    ----------
    regularizer : None, "smooth" or array-like
        "smooth" is the sum of n**4 + l**4 over the functions in a product, with mean 1.
    names : sequence of str
        The columns.

    Returns
    -------
    ndarray of shape (n_columns,) or (n_columns, n_columns)

    Raises
    ------
    ValueError
        If it does not fit, or columns do not say what n and l they have.

    Examples
    --------
    >>> from skrigidity.atomistic.potential._solve import regularizer_of
    >>> regularizer_of("smooth", ["nu=1 Si:Si n=1 l=0", "nu=2 Si:Si-Si n=1,2 l=1,1"]).round(3)
    array([0.1, 1.9])
    """
    if regularizer is None:
        return np.ones(len(names))
    if isinstance(regularizer, str):
        return _smooth(names)
    gamma = np.asarray(regularizer, dtype=np.float64)
    Prior(1.0, gamma).check(len(names))
    return gamma


def _smooth(names: Any) -> Array:
    out = np.empty(len(names))
    for i, name in enumerate(names):
        radial, angular = _RADIAL.search(name), _ANGULAR.search(name)
        if radial is None:
            raise ValueError(
                'regularizer="smooth" needs columns that say their n and l, as those of '
                f"ACEDescriptor do; column {name!r} has none"
            )
        numbers = radial[1].split(",") + (angular[1].split(",") if angular else [])
        out[i] = sum(int(number) ** 4 for number in numbers)
    return out / out.mean()
