"""The factor protocol: what the rest of the package may ask of a Hessian."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.linalg import LinAlgWarning

from ._centre import Centre
from ._prior import Prior
from ._rows import Rows, as_rows

EPS = float(np.finfo(np.float64).eps)
ACCURACY_WARNING = 1e-6


@dataclass(frozen=True)
class FactorInfo:
    """What is known of a factorization.

    Attributes
    ----------
    method : str
        "cholesky", "qr", "spectral", "extended" (normal equations in twice the working
        precision) or "dual".
    condition : float
        Estimated condition number of the Hessian (its columns scaled to equal norm where the
        factorization does not depend on their scale).
    rank : int
        Number of parameters that the data and the regularizer determine, intercept included.
    accuracy : float
        Estimated largest relative error of a rigidity.
    reason : str
        Why this factorization was chosen.
    """

    method: str
    condition: float
    rank: int
    accuracy: float
    reason: str


@dataclass(frozen=True)
class Solution:
    """Least-squares solution for the right-hand sides that came with the rows.

    Attributes
    ----------
    coef : ndarray of shape (n_features, n_rhs)
        Coefficients; where the Hessian is singular, the smallest ones.
    intercept : ndarray of shape (n_rhs,)
        Intercepts.
    rss : ndarray of shape (n_rhs,) or None
        Weighted residual sums of squares; None: take them from the rows.
    """

    coef: np.ndarray
    intercept: np.ndarray
    rss: np.ndarray | None


class UnpinnedError(ValueError):
    """A covariance was asked for with a prediction that nothing pins (R = 0)."""


class Factor(ABC):
    """A factorized Hessian ``H = sum_i s_i g_i g_i.T + alpha * Gamma``.

    `centre` is the weighted mean of the training rows that have an intercept.
    """

    info: FactorInfo
    centre: Centre
    prior: Prior
    n_features: int
    has_intercept: bool
    solution: Solution | None = None
    source: Any = None

    def quad(self, rows: Any) -> np.ndarray:
        """Return ``g.T @ inv(H) @ g`` per row: inf where nothing pins the prediction.

        Examples
        --------
        >>> import numpy as np
        >>> from skrigidity.hessian import Prior, Rows, choose
        >>> factor = choose(Rows(np.eye(2)), Prior(1.0))
        >>> factor.quad(np.eye(2))
        array([0.5, 0.5])
        """
        rows = self._as_rows(rows)
        out = np.empty(len(rows))
        for piece in self._pieces(rows):
            out[piece] = self._quad_rows(*self._block(rows, piece))
        return out

    def whiten(self, rows: Any) -> np.ndarray:
        """Return Z with ``Z @ Z.T = G @ inv(H) @ G.T``.

        Raises
        ------
        UnpinnedError
            If a row has R = 0: its covariances are not defined.
        """
        rows = self._as_rows(rows)
        pieces = [self._whiten_rows(*self._block(rows, piece)) for piece in self._pieces(rows)]
        if len(pieces) == 1:
            return pieces[0]
        return np.concatenate(pieces) if pieces else np.empty((0, self.n_features))

    def cross(self, a: Any, b: Any) -> np.ndarray:
        """Return ``A @ inv(H) @ B.T`` for the rows of `a` and `b`."""
        return self.whiten(a) @ self.whiten(b).T

    @abstractmethod
    def solve(self, b: np.ndarray) -> np.ndarray:
        """Return ``inv(H) @ b``; the last entry belongs to the intercept where there is one."""

    @abstractmethod
    def logdet(self) -> float:
        """Return ``log(det(H))``, -inf if H is singular."""

    def at(self, alpha: float) -> Factor:
        """Return the factor of the same rows at another regularization strength."""
        if self.source is None:
            raise ValueError("this factor does not hold its rows: factorize them again")
        return self.source.finish(self.prior.with_alpha(alpha))

    @abstractmethod
    def update(self, rows: Any) -> Factor:
        """Return the factor after adding weighted rows."""

    @abstractmethod
    def penalty_trace(self) -> float:
        """Return ``alpha * trace(inv(H) @ Gamma)`` as a sum of non-negative terms."""

    @abstractmethod
    def residual_dof(self, n: float) -> float:
        """Return n minus the effective degrees of freedom, without subtracting them."""

    @abstractmethod
    def _quad_rows(self, block: np.ndarray, flags: np.ndarray) -> np.ndarray:
        """Return q of feature rows and their intercept derivatives; may overwrite the rows."""

    @abstractmethod
    def _whiten_rows(self, block: np.ndarray, flags: np.ndarray) -> np.ndarray:
        """Return whitened rows; may overwrite the rows."""

    def _as_rows(self, rows: Any) -> Rows:
        rows = as_rows(rows, intercept=self.has_intercept)
        if rows.n_features != self.n_features:
            raise ValueError(
                f"rows have {rows.n_features} features, the factor has {self.n_features}"
            )
        if not self.has_intercept and rows.intercept.any():
            raise ValueError("rows have an intercept derivative, the factor has no intercept")
        return rows

    def _pieces(self, rows: Rows) -> Iterator[slice]:
        return rows.blocks()

    def _block(self, rows: Rows, piece: slice) -> tuple[np.ndarray, np.ndarray]:
        block = np.empty((piece.stop - piece.start, self.n_features))
        rows.fill(block, piece)
        return block, rows.intercept[piece]


class CentredFactor(Factor):
    """A factor of the centred rows, which make H block diagonal.

    ``q = (x - f m).T H_c^-1 (x - f m) + f**2 / W`` for a row with intercept derivative f, m and W
    being the weighted mean and the total weight of the training rows that have an intercept.
    """

    def _quad_rows(self, block: np.ndarray, flags: np.ndarray) -> np.ndarray:
        self.centre.subtract(block, flags)
        return self._quad(block) + self._intercept_quad(flags)

    def _whiten_rows(self, block: np.ndarray, flags: np.ndarray) -> np.ndarray:
        self.centre.subtract(block, flags)
        z = self._whiten(block)
        if not self.has_intercept:
            return z
        if self.centre.weight == 0 and flags.any():
            raise UnpinnedError(_UNPINNED)
        root = np.sqrt(self.centre.weight) if self.centre.weight else 1.0
        return np.column_stack([z, flags / root])

    def solve(self, b: np.ndarray) -> np.ndarray:
        """Return ``inv(H) @ b``; the last entry belongs to the intercept where there is one."""
        b = np.asarray(b, dtype=np.float64)
        flat = b.reshape(len(b), -1)
        if not self.has_intercept:
            return self._solve(flat).reshape(b.shape)
        mean = self.centre.mean
        if self.centre.low is not None:
            mean = mean + self.centre.low
        w = self._solve(flat[:-1] - np.outer(mean, flat[-1]))
        scale = 1 / self.centre.weight if self.centre.weight else 0.0
        return np.vstack([w, flat[-1] * scale - mean @ w]).reshape(b.shape)

    def logdet(self) -> float:
        """Return ``log(det(H))``, -inf if H is singular."""
        value = self._logdet()
        if self.has_intercept:
            value += np.log(self.centre.weight) if self.centre.weight else -np.inf
        return float(value)

    def _intercept_quad(self, flags: np.ndarray) -> Any:
        if not flags.any():
            return 0.0
        if self.centre.weight == 0:
            return np.where(flags != 0, np.inf, 0.0)
        return flags**2 / self.centre.weight

    @abstractmethod
    def _quad(self, block: np.ndarray) -> np.ndarray: ...

    @abstractmethod
    def _whiten(self, block: np.ndarray) -> np.ndarray: ...

    @abstractmethod
    def _solve(self, b: np.ndarray) -> np.ndarray: ...

    @abstractmethod
    def _logdet(self) -> float: ...


_UNPINNED = (
    "some predictions are not pinned by the data (rigidity 0, infinite variance), so their "
    "covariances are not defined: use alpha > 0, or leave these rows out"
)


def warn_if_inaccurate(factor: Factor) -> Factor:
    """Warn where the estimated accuracy of the rigidities is poor; return the factor."""
    if factor.info.accuracy > ACCURACY_WARNING:
        warnings.warn(
            f"ill-conditioned Hessian (condition {factor.info.condition:.1e}, method "
            f"{factor.info.method!r}): rigidities may be off by a relative "
            f"{factor.info.accuracy:.0e}. Try a larger alpha.",
            LinAlgWarning,
            stacklevel=3,
        )
    return factor
