"""Posterior of a kernel model: partial Cholesky decomposition of the pool's covariances."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from sklearn.base import clone
from sklearn.utils.validation import _is_fitted

from ..environments import Environments
from ..hessian._factor import EPS
from ..hessian._rows import block_rows
from ..kernel_ridge import RigidKernelRidge
from ..kernel_ridge._kernels import KernelSum
from ..kernel_ridge._points import Points
from ._linear import _ONE_ALPHA
from ._pool import ArrayPool
from ._state import Posterior, State


class KernelTargets(NamedTuple):
    """Predictions to be pinned: a kernel (of a component, or all of it) at points."""

    kernel: KernelSum
    points: Points


class KernelModel:
    """The kernel under which candidates are selected, and its training data.

    Parameters
    ----------
    estimator : RigidKernelRidge
        Fitted or not.
    sample : array-like of shape (1, n_features)
        Something with the features of the pool.
    X_train : array-like, structures of environments or None
        Training data of an estimator that is not fitted.
    train_weight : ndarray of shape (n_train,) or None
        Its weights.
    """

    unpinned = False

    def __init__(
        self, estimator: RigidKernelRidge, sample: Any, X_train: Any, train_weight: Any
    ) -> None:
        if estimator.kernel == "precomputed":
            raise ValueError(
                "estimator must not have kernel='precomputed': selection evaluates the kernel "
                "between candidates, give the kernel itself"
            )
        if np.ndim(estimator.alpha):
            raise ValueError(_ONE_ALPHA)
        fitted = _is_fitted(estimator)
        if fitted and X_train is not None:
            raise ValueError("X_train must be None where estimator is a fitted RigidKernelRidge")
        self.factor = None
        if not fitted:
            estimator = clone(estimator).set_params(calibration=None)
            if X_train is not None:
                estimator.fit(X_train, np.zeros(len(X_train)), train_weight)
            else:
                estimator._validated(sample, reset=True)
                names = getattr(estimator, "feature_names_in_", None)
                estimator._kernel = estimator._make_kernel(estimator.n_features_in_, names)
                estimator.component_names_ = [name for name in estimator._kernel.parts if name]
        self.estimator = estimator
        self.alpha = float(estimator._alphas(1))
        self.kernel: KernelSum = estimator._kernel
        self.training: Points | None = None
        if hasattr(estimator, "X_fit_"):
            self.factor = estimator.hessian_
            self.training = self.points(estimator.X_fit_)

    @property
    def n_features(self) -> int:
        """Number of features."""
        return int(self.estimator.n_features_in_)

    def points(self, X: Any) -> Points:
        """Return arguments of the kernel."""
        return Points(X, self.estimator.aggregate)

    def targets(self, X: Any, level: str, components: Any) -> list[KernelTargets]:
        """Return what is to be pinned, per structure, environment, or component of a structure."""
        if level == "local" and isinstance(X, Environments):
            X = X.values
        points = self.points(X)
        if level != "component":
            return [KernelTargets(self.kernel, points)]
        known = self.estimator.component_names_
        names = known if components is None else components
        unknown = [name for name in names if name not in known]
        if not known or isinstance(names, str) or unknown:
            raise ValueError(
                f"components must be names of components of the estimator, {known}, "
                f"got {components!r}"
            )
        return [KernelTargets(self.kernel.only(name), points) for name in names]


class KernelPosterior(Posterior):
    """Posterior of a kernel model.

    Every pick p adds a column ``u / sqrt(noise + b)`` of the Cholesky decomposition, u being its
    covariances with the pool under all picks before. Memory: what has been picked and the
    training data, times the pool.

    Parameters
    ----------
    pool : ArrayPool
        Candidates.
    model : KernelModel
        Kernel and training data.
    targets : list of KernelTargets or None
        Predictions to be pinned; None for the pool itself.
    noise : ndarray of shape (n_candidates,)
        One over the weights of the candidates.
    target_weight : ndarray of shape (n_targets,)
        Weights of the targets.
    kind : {"targets", "information"}
        Which ``state.second`` is wanted.
    picks : list of int
        Candidates chosen before.
    """

    fresh = True  # kernels cancel in the same way from scratch

    def __init__(
        self,
        pool: ArrayPool,
        model: KernelModel,
        targets: list[KernelTargets] | None,
        noise: np.ndarray,
        target_weight: np.ndarray,
        *,
        kind: str,
        picks: list[int],
    ) -> None:
        self.model = model
        self.points = model.points(pool.X)
        self.state = State(noise)
        self.picks: list[int] = []
        self._target_weight = target_weight
        self._targets = targets
        self._kind = kind
        self._earlier = list(picks)

    def refresh(self) -> None:
        """Compute the covariances under the training data, then add all earlier picks."""
        state = self.state
        self._half = self._halved(self.model.kernel, self.points)
        diagonal = self.model.kernel.diagonal(self.points)
        state.b = self._reduced(diagonal, self._half)
        self._A: np.ndarray | None = None
        if self._targets is None and self._kind == "information":
            state.v, self.kept = state.b, state.b > 0
        else:
            self._A, state.v = self._with_targets()
        weight = self._target_weight * self.kept
        self.weight = weight / max(weight.sum(), np.finfo(float).tiny)
        if len(state.v) != len(weight):
            self.weight = self.weight[self.kept]
        state.second = self._known()
        state.start()
        # Nothing is gained by starting over: these say that variances never drop.
        state.b_start, state.v_start = np.zeros_like(state.b), np.zeros_like(state.v)
        self._columns = np.empty((0, len(state.b)))
        self._known_columns = np.empty((0, len(state.b)))
        earlier, self._earlier, self.picks = self._earlier + self.picks, [], []
        for p in earlier:
            self._replay(p)

    def _replay(self, p: int) -> None:
        state = self.state
        u, extra = self.condition(p)
        total = state.noise[p] + state.b[p]
        if self._kind == "targets":
            row = state.second[p].copy()
            state.second -= np.outer(u / total, row)
            state.v = np.maximum(state.v - row**2 / total, 0.0)
        elif extra is not None:
            state.second -= extra**2 / (state.noise[p] + state.second[p])
        state.follow(p, u)
        self.picks.append(p)

    def _halved(self, kernel: KernelSum, points: Points) -> np.ndarray:
        """Return ``inv(R).T @ k(train, points)``, whose products the training data take off."""
        if self.model.factor is None:
            return np.empty((0, len(points)))
        training = self.model.training
        assert training is not None
        out = np.empty((len(training), len(points)))
        for piece in _pieces(len(points), len(training)):
            out[:, piece] = self.model.factor._half(kernel.cross(points[piece], training).T)
        return out

    def _reduced(self, diagonal: np.ndarray, half: np.ndarray) -> np.ndarray:
        rest = diagonal - np.einsum("ij,ij->j", half, half)
        # What rounding leaves of a difference of equal numbers is no variance.
        rest[rest < 4 * len(half) * EPS * diagonal] = 0.0
        return rest / self.model.alpha

    def _with_targets(self) -> tuple[np.ndarray, np.ndarray]:
        targets = self._targets
        if targets is None:
            targets = [KernelTargets(self.model.kernel, self.points)]
        A, v = [], []
        for kernel, points in targets:
            half = self._halved(kernel, points)
            block = np.empty((len(self.points), len(points)))
            for piece in _pieces(len(self.points), len(points)):
                block[piece] = kernel.cross(self.points[piece], points)
            A.append((block - self._half.T @ half) / self.model.alpha)
            v.append(self._reduced(kernel.diagonal(points), half))
        covariance, variance = np.hstack(A), np.concatenate(v)
        self.kept = variance > 0
        if self.kept.all():
            return covariance, variance
        return np.ascontiguousarray(covariance[:, self.kept]), variance[self.kept]

    def _known(self) -> np.ndarray:
        """Return covariances with targets, or variances of candidates with these known exactly."""
        state = self.state
        if self._kind == "targets" and self._A is not None:
            return self._A
        if self._A is None:
            self._basis = np.empty((len(state.b), 0))
            return np.zeros_like(state.b)
        values, vectors = np.linalg.eigh(self._among_targets())
        kept = values > 100 * len(values) * EPS * max(values[-1], state.v.max(initial=0.0))
        self._basis = self._A @ (vectors[:, kept] / np.sqrt(values[kept]))
        return np.maximum(state.b - np.einsum("ij,ij->i", self._basis, self._basis), 0.0)

    def _among_targets(self) -> np.ndarray:
        assert self._targets is not None
        # Components are independent of each other before the training data are known.
        parts = [self._halved(kernel, points) for kernel, points in self._targets]
        half = np.hstack(parts)
        out = -half.T @ half
        start = 0
        for kernel, points in self._targets:
            piece = slice(start, start + len(points))
            out[piece, piece] += kernel.gram(points)
            start = piece.stop
        return out[np.ix_(self.kept, self.kept)] / self.model.alpha

    def condition(self, p: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Add candidate p to the data."""
        state, noise = self.state, float(self.state.noise[p])
        own = self.points[slice(p, p + 1)]
        prior = self.model.kernel.cross(own, self.points)[0]
        before = (prior - self._half[:, p] @ self._half) / self.model.alpha
        u = before - self._columns[:, p] @ self._columns
        u[p] = state.b[p]
        self._columns = np.vstack([self._columns, u / np.sqrt(noise + state.b[p])])
        if self._kind == "targets":
            return u, None
        if self._A is None:
            return u, np.zeros_like(u)
        row = self._A[p].copy()
        self._A -= np.outer(u / (noise + state.b[p]), row)
        state.v = np.maximum(state.v - row**2 / (noise + state.b[p]), 0.0)
        known = before - self._basis @ self._basis[p]
        known -= self._known_columns[:, p] @ self._known_columns
        known[p] = state.second[p]
        self._known_columns = np.vstack(
            [self._known_columns, known / np.sqrt(noise + state.second[p])]
        )
        return u, known


def kernel_pool(pool: Any) -> ArrayPool:
    """Return a pool that a kernel model can take: all of it at once."""
    if not isinstance(pool, ArrayPool):
        raise ValueError(
            "X: kernel models need the whole pool at hand, not a function that returns blocks"
        )
    return pool


def _pieces(n: int, width: int) -> list[slice]:
    step = block_rows(width)
    return [slice(start, min(start + step, n)) for start in range(0, n, step)]
