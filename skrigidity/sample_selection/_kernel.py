"""Posterior of a kernel model: partial Cholesky decomposition of the pool's covariances."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg as sl

from ..gradients import KernelGradients, KernelSum, Points
from ..hessian import EPS, DualFactor, block_rows
from ._state import Posterior, State, Step


@dataclass
class KernelModel:
    """The kernel under which candidates are selected, and its training data.

    Parameters
    ----------
    gradients : KernelGradients
        The kernel, and where it was trained.
    factor : DualFactor or None
        Its factor; None where nothing is known yet, whatever the gradients were made for.
    alpha : float
        Regularization strength.
    n_features : int
        Number of features.
    """

    gradients: KernelGradients
    factor: DualFactor | None
    alpha: float
    n_features: int

    def updated(self, X: Any, weight: np.ndarray) -> KernelModel:
        """Return the model with more training data."""
        old = self.gradients
        if self.factor is None:
            gram = old.kernel.gram(old.points(X))
            factor: Any = DualFactor(gram, self.alpha, weight)
            gradients: Any = KernelGradients(old.kernel, [X], old.aggregate, old.feature_names)
        else:
            more, gradients = old.joined(X, weight)
            factor = self.factor.update(more)
        return KernelModel(gradients, factor, self.alpha, self.n_features)

    def halved(self, kernel: KernelSum, points: Points) -> np.ndarray:
        """Return B such that ``B.T @ B`` is what the training data take off covariances."""
        if self.factor is None:
            return np.empty((0, len(points)))
        training = [self.gradients.points(part) for part in self.gradients.training]
        out = np.empty((len(self.factor.root), len(points)))
        for piece in pieces(len(points), len(out)):
            cross = np.hstack([kernel.cross(points[piece], part) for part in training]).T
            out[:, piece] = sl.solve_triangular(self.factor.root, cross, trans="T")
        return out


class KernelPosterior(Posterior):
    """Posterior of a kernel model.

    Every pick p adds a column ``u / sqrt(noise + b)`` of the Cholesky decomposition, u being its
    covariances with the pool under all picks before. Memory: what has been picked and the
    training data, times the pool.

    Parameters
    ----------
    X : array-like
        Candidates.
    model : KernelModel
        Kernel and training data.
    noise : ndarray of shape (n_candidates,)
        One over the weights of the candidates.
    *arguments : tuple
        As of `Posterior`; kind is "targets" or "information".
    """

    fresh = True  # kernels cancel in the same way from scratch

    def __init__(self, X: Any, model: KernelModel, noise: np.ndarray, *arguments: Any) -> None:
        super().__init__(State(noise), *arguments)
        self.X = X
        self.model = self._start = model
        self.points = model.gradients.points(X)

    def refresh(self) -> None:
        """Compute the covariances under the training data and all picks."""
        state = self.state
        if self.picks:
            picks = np.array(self.picks)
            self.model = self._start.updated(self.X[picks], 1 / state.noise[picks])
        with np.errstate(over="ignore", invalid="ignore"):  # told of in the end
            self._half = self.model.halved(self.model.gradients.kernel, self.points)
            state.b = self._reduced(self.model.gradients.kernel.diagonal(self.points), self._half)
            self._A: np.ndarray | None = None
            if self._targets is None and self._kind == "information":
                state.v = state.b
                self._keep(state.b)
            else:
                self._A, state.v = self._with_targets()
            self._set_weight()
            state.second = self._known()
            state.start()
        # Nothing is gained by starting over: these say that variances never drop.
        state.b_start, state.v_start = np.zeros_like(state.b), np.zeros_like(state.v)
        self._columns = np.empty((0, len(state.b)))
        self._known_columns = np.empty((0, len(state.b)))

    def _reduced(self, diagonal: np.ndarray, half: np.ndarray) -> np.ndarray:
        rest = diagonal - np.einsum("ij,ij->j", half, half)
        # What rounding leaves of a difference of equal numbers is no variance.
        rest[rest < 4 * len(half) * EPS * diagonal] = 0.0
        return rest / self.model.alpha

    def _with_targets(self) -> tuple[np.ndarray, np.ndarray]:
        targets = self._targets
        if targets is None:
            targets = [self.model.gradients.rows(self.X)]
        A, v = [], []
        for target in targets:
            kernel, points = target.kernel, target.points
            half = self.model.halved(kernel, points)
            block = np.empty((len(self.points), len(points)))
            for piece in pieces(len(self.points), len(points)):
                block[piece] = kernel.cross(self.points[piece], points)
            A.append((block - self._half.T @ half) / self.model.alpha)
            v.append(self._reduced(kernel.diagonal(points), half))
        covariance, variance = np.hstack(A), np.concatenate(v)
        self._keep(variance)
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
        half = np.hstack([self.model.halved(t.kernel, t.points) for t in self._targets])
        out = -half.T @ half
        start = 0
        for target in self._targets:
            piece = slice(start, start + len(target))
            out[piece, piece] += target.kernel.gram(target.points)
            start = piece.stop
        return out[np.ix_(self.kept, self.kept)] / self.model.alpha

    def step(self, p: int) -> Step:
        """Add candidate p to the data; return what that does to everything before."""
        state, noise = self.state, self.state.noise[[p]]
        own = self.points[slice(p, p + 1)]
        prior = self.model.gradients.kernel.cross(own, self.points)[0]
        before = (prior - self._half[:, p] @ self._half) / self.model.alpha
        u = before - self._columns[:, p] @ self._columns
        u[p] = state.b[p]
        step = Step(p, noise, state.b[[p]], u[None])
        self._columns = np.vstack([self._columns, u / np.sqrt(step.total[0])])
        if self._kind == "targets":
            step.targets = state.second[[p]]
            return step
        known = np.zeros_like(u)
        if self._A is not None:
            step.targets = self._A[[p]]
            self._A -= np.outer(u / step.total[0], step.targets)
            known = before - self._basis @ self._basis[p]
            known -= self._known_columns[:, p] @ self._known_columns
            known[p] = state.second[p]
        step.extra, step.extra_b = known[None], known[[p]]
        column = known / np.sqrt(noise[0] + known[p])
        self._known_columns = np.vstack([self._known_columns, column])
        return step


def pieces(n: int, width: int) -> list[slice]:
    """Return slices whose products with `width` columns have a bounded size."""
    step = block_rows(width)
    return [slice(start, min(start + step, n)) for start in range(0, n, step)]
