"""Frames left out, in one pass over their rows.

With Z the whitened rows of a group of frames and e their residuals, a model that has not seen the
group has the residuals ``(I - Z Z^T)^-1 e`` and the covariances ``(I - Z Z^T)^-1 Z Z^T`` (Cook,
Technometrics 19, 15 (1977)).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import scipy.linalg as sl
from numpy.typing import NDArray
from scipy.linalg.blas import dsyrk, dtrsm
from scipy.linalg.lapack import dpotrf

from skrigidity.atomistic.potential._rows import Block, TrainingRows
from skrigidity.atomistic.potential._solve import Solved
from skrigidity.gradients import PROPERTIES
from skrigidity.hessian import LazyRows, Rows, choose

Array = NDArray[np.float64]

# Below this, an eigenvalue of I - Z Z^T has lost too many digits: the group is left out by another
# fit, as long as these are few; later ones count as not pinned by anything else.
_NEAR_ZERO = 1e-6
_REFITS = 20


class LeftRows(NamedTuple):
    """What models that have not seen a frame make of its rows.

    Attributes
    ----------
    residual : ndarray of shape (n_rows,)
        Target minus prediction, in units of the property.
    quad : ndarray of shape (n_rows,)
        ``g.T @ inv(H) @ g``, in squared units; inf where nothing else pins the row.
    own : ndarray of shape (n_rows,)
        The same of a model that has seen the row.
    kind : ndarray of int of shape (n_rows,)
        Which property.
    weight : ndarray of shape (n_rows,)
    frame : ndarray of int of shape (n_rows,)
        Which frame.
    """

    residual: Array
    quad: Array
    own: Array
    kind: NDArray[np.intp]
    weight: Array
    frame: NDArray[np.intp]

    def of(self, name: str) -> tuple[Array, Array, Array]:
        """Return residuals, quadratic forms and weights of one property."""
        rows = self.kind == PROPERTIES.index(name)
        return self.residual[rows], self.quad[rows], self.weight[rows]


def leave_frames_out(
    rows: TrainingRows,
    groups: NDArray[np.intp],
    candidates: Sequence[Solved],
    max_refits: int = _REFITS,
) -> list[LeftRows]:
    """Leave out every frame, or group of frames, by every solution.

    Parameters
    ----------
    rows : TrainingRows
    groups : ndarray of int of shape (n_frames,)
        Frames of one number are left out together.
    candidates : sequence of Solved
        Solutions of all rows.
    max_refits : int, default=20
        How often to fit again where a group alone determines a direction.

    Returns
    -------
    list of LeftRows
        One for each candidate; rows in the order of frames.
    """
    used = np.array(rows.used, dtype=np.intp)
    parts: list[list[LeftRows]] = [[] for _ in candidates]
    refits = [max_refits] * len(candidates)
    for group in np.unique(groups[used]):
        members = used[groups[used] == group]
        blocks = [rows.block(i) for i in members]
        block = Block.joined(blocks)
        frame = np.repeat(members, [len(b.target) for b in blocks])
        for c, solved in enumerate(candidates):
            left, own = _without(block, solved)
            if left is None and refits[c]:
                refits[c] -= 1
                left = _refitted(rows, members, block, solved)
            if left is None:
                left = block.target - block.matrix @ solved.coef, np.full(len(frame), np.inf)
            parts[c].append(LeftRows(*left, own, block.kind, block.weight, frame))
    return [joined(part) for part in parts]


def left_out(z: Array, error: Array) -> tuple[Array, Array] | None:
    """Return residuals and diagonal covariances of whitened rows left out together.

    Parameters
    ----------
    z : ndarray of shape (k, r)
        Whitened rows.
    error : ndarray of shape (k,)
        Their residuals.

    Returns
    -------
    residual, quad : ndarray of shape (k,)
        None in place of both where I - Z Z^T is numerically singular.

    Examples
    --------
    >>> import numpy as np
    >>> from skrigidity.atomistic.potential._leave_out import left_out
    >>> left_out(np.array([[0.6, 0.0]]), np.array([1.6]))
    (array([2.5]), array([0.5625]))
    """
    few = len(z) <= z.shape[1]
    # Whichever product is smaller: I - Z Z^T or I - Z^T Z. Nothing is subtracted in what follows.
    product = dsyrk(1.0, z.T, trans=int(few))
    root, failed = dpotrf(np.eye(len(product)) - product, lower=0, clean=1)
    if failed or (len(root) and np.diag(root).min() ** 2 < _NEAR_ZERO):
        return None
    if few:
        whole = np.triu(product) + np.triu(product, 1).T
        half = dtrsm(1.0, root, whole, trans_a=1)
        quad = np.diag(product) + np.einsum("ij,ij->j", half, half)
        return sl.cho_solve((root, False), error, check_finite=False), quad
    half = dtrsm(1.0, root, z.T, trans_a=1)
    return error + (half @ error) @ half, np.einsum("ij,ij->j", half, half)


def _without(block: Block, solved: Solved) -> tuple[tuple[Array, Array] | None, Array]:
    """Return residuals and quadratic forms without a block, and the latter with it."""
    scale = block.scale(solved.errors)
    z = np.ascontiguousarray(solved.factor.whiten(Rows(block.matrix)))
    own = np.einsum("ij,ij->i", z, z)
    z *= scale[:, None]
    found = left_out(z, scale * (block.target - block.matrix @ solved.coef))
    return None if found is None else (found[0] / scale, found[1] / scale**2), own


def _refitted(
    rows: TrainingRows, members: NDArray[np.intp], block: Block, solved: Solved
) -> tuple[Array, Array]:
    """Fit without some frames."""
    kept = [i for i in rows.used if i not in set(members.tolist())]
    if not kept:
        return block.target, np.full(len(block.target), np.inf)

    def scaled(i: int) -> Rows:
        other = rows.block(i)
        scale = other.scale(solved.errors)
        return Rows(other.matrix * scale[:, None], rhs=scale * other.target)

    others = LazyRows(
        lambda: map(scaled, kept),
        sum(len(rows.block(i).target) for i in kept),
        block.matrix.shape[1],
        n_rhs=1,
    )
    factor = choose(others, solved.factor.prior, method="qr")
    assert factor.solution is not None
    residual = block.target - block.matrix @ factor.solution.coef[:, 0]
    return residual, factor.quad(Rows(block.matrix))


def joined(parts: list[LeftRows]) -> LeftRows:
    """Return the rows of several parts, in the order of frames."""
    columns: list[Any] = [np.concatenate(column) for column in zip(*parts, strict=True)]
    order = np.argsort(columns[-1], kind="stable")
    return LeftRows(*(values[order] for values in columns))
