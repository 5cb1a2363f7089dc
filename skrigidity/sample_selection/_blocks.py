"""The gain of every candidate of several rows: a frame with its forces, a group of samples.

A candidate with covariances B among its rows (of unit noise) and A with the targets takes the
diagonal of ``A.T @ inv(I + B) @ A`` off the variances of these.
"""

from __future__ import annotations

import numpy as np

from ..hessian import EPS
from ._members import Members
from ._scores import InformationScores, TargetScores
from ._state import Step


class BlockTargetScores(TargetScores):
    """Gains of blocks from their covariances with every target, ``state.second``."""

    def gains(self) -> np.ndarray:
        """Return all gains."""
        v, A = self.state.v, self.state.second
        for piece in self._blocks():
            self._follow(piece, A[piece])
        self._pending = None
        out = np.empty(len(self.members))
        for i, some in self.members.parts(A.shape[1]):
            candidates, rows = self.members.each[i]
            a = _inverse_root(self.state.gram[i][some]) @ A[rows[some]]
            x = np.einsum("mkt,mkt->mt", a, a)
            rest = np.maximum(v - x, EPS * v)
            out[candidates[some]] = self.objective.gain(x, rest, np.ones(len(x)), v, self.weight)
        return np.maximum(out, 0.0, out=out)

    def picked(self, step: Step) -> None:
        """Follow a pick."""
        assert step.targets is not None
        self._pending = (step.u, step.targets / step.total[:, None])
        _lower(self.state.gram, step.u, step.total, self.members)


class BlockInformationScores(InformationScores):
    """Mutual information of blocks and targets, `second` being covariances if these are known."""

    def gains(self) -> np.ndarray:
        """Return all gains."""
        out = np.empty(len(self.members))
        parts = zip(self.members.each, self.state.gram, self.state.second, strict=True)
        for (candidates, _), gram, known in parts:
            out[candidates] = 0.5 * (_logdet(gram) - _logdet(known))
        return np.maximum(out, 0.0, out=out)

    def picked(self, step: Step) -> None:
        """Follow a pick."""
        assert step.extra is not None
        gained = 0.5 * (np.log1p(step.b).sum() - np.log1p(step.extra_b).sum())
        self.total += max(float(gained), 0.0)
        _lower(self.state.gram, step.u, step.total, self.members)
        _lower(self.state.second, step.extra, 1 + step.extra_b, self.members)


def _lower(gram: list[np.ndarray], u: np.ndarray, total: np.ndarray, members: Members) -> None:
    for i, some in members.parts(len(u)):
        w = (u[:, members.each[i][1][some]] / np.sqrt(total)[:, None, None]).transpose(1, 2, 0)
        gram[i][some] -= w @ w.transpose(0, 2, 1)


def _inverse_root(gram: np.ndarray) -> np.ndarray:
    """Return P with ``P @ (I + gram) @ P.T = I``."""
    eye = np.eye(gram.shape[1])
    try:
        return np.linalg.inv(np.linalg.cholesky(gram + eye))
    except np.linalg.LinAlgError:  # rounding has made it indefinite
        values, vectors = np.linalg.eigh(gram)
        return vectors.transpose(0, 2, 1) / np.sqrt(1 + np.maximum(values, 0.0))[..., None]


def _logdet(gram: np.ndarray) -> np.ndarray:
    """Return the logarithm of the determinant of ``I + gram``."""
    return np.log1p(np.maximum(np.linalg.eigvalsh(gram), 0.0)).sum(axis=1)
