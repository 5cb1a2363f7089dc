"""Leave-one-out and leave-group-out, exactly, from one factorization.

With the hat matrix P of the weighted rows, leaving out the rows of a group G turns their
residuals into ``(I - P_GG)^-1 e_G`` and the quadratic forms of their own predictions into
``P_GG (I - P_GG)^-1``. Where a group determines a direction nearly alone, I - P_GG nearly
vanishes: it is summed from squares here, never subtracted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ._centre import RunningCentre
from ._choose import choose
from ._factor import EPS, Solution
from ._prior import Prior
from ._rows import Rows
from ._standard_form import standard_form

# An eigenvalue of P_GG above this is subtracted from 1 by way of squares.
_CLOSE_TO_ONE = 0.9
# Up to this h / (1 - h) the squares that make up 1 - h are the better choice (tests: 1e-12).
_NEARLY_LOST = 1e15


@dataclass(frozen=True)
class LeftOut:
    """What every row looks like to a model that has not seen it.

    Attributes
    ----------
    residual : ndarray of shape (n_rows, n_rhs)
        Right-hand side minus its prediction.
    quad : ndarray of shape (n_rows,)
        ``g.T @ inv(H) @ g``, H without the row (or its group); inf where nothing else pins it.
    """

    residual: np.ndarray
    quad: np.ndarray


def leave_out(
    rows: Rows, prior: Prior, groups: np.ndarray | None = None, *, method: str = "auto"
) -> LeftOut:
    """Leave out every row in turn, or every group of rows.

    Parameters
    ----------
    rows : Rows
        Training rows with their right-hand sides.
    prior : Prior
        The regularizer.
    groups : ndarray of shape (n_rows,), default=None
        Labels; rows of the same label are left out together.
    method : str, default="auto"
        Factorization, as in `choose`.

    Returns
    -------
    LeftOut

    Examples
    --------
    >>> import numpy as np
    >>> from skrigidity.hessian import Prior, Rows, leave_out
    >>> rows = Rows(np.ones((3, 1)), rhs=np.array([[0.0], [3.0], [6.0]]))
    >>> leave_out(rows, Prior(0.0)).residual[[0, 2]].ravel()
    array([-4.5,  4.5])
    """
    n = len(rows)
    labels = np.arange(n) if groups is None else np.unique(groups, return_inverse=True)[1]
    seen = np.ones(n, bool) if rows.weight is None else rows.weight > 0
    used = rows if seen.all() else rows[np.flatnonzero(seen)]
    few = few_rows(used)
    hat = _FewRows(used, prior) if few else _ManyRows(used, prior, method)
    assert rows.rhs is not None
    residual, quad = np.empty(rows.rhs.shape), np.empty(n)
    inside = np.flatnonzero(seen)
    residual[inside], quad[inside] = _solve_groups(hat, labels[inside])
    if few and len(used) > rows.n_features:
        # A basis of the rows is only as good as their condition, the factor is better; but the
        # few rows' residuals, and what they leave of a leverage close to 1, have no other source.
        other = _solve_groups(_ManyRows(used, prior, method), labels[inside])[1]
        scaled = other if used.weight is None else other * used.weight
        quad[inside] = np.where(scaled < _NEARLY_LOST, other, quad[inside])
    _never_seen(rows, prior, method, labels, seen, residual, quad)
    _refit_lost(rows, prior, method, labels, residual, quad)
    return LeftOut(residual, quad)


def few_rows(rows: Rows) -> bool:
    """Whether an explicit orthonormal basis of all rows costs about as much as the features."""
    return len(rows) <= 2 * rows.n_features + 2


class _Hat:
    """Hat matrix of weighted rows: its blocks, and what is left of the identity."""

    root_weight: np.ndarray
    residual: np.ndarray  # weighted, (n, n_rhs)
    negligible: float

    def leverages(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the diagonal h of P and, without cancellation, 1 - h."""
        raise NotImplementedError

    def block(self, members: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return eigenvalues p and vectors of P_GG, 1 - p, and the residuals along them.

        Neither of the last two is a difference of larger numbers.
        """
        raise NotImplementedError


class LeftBasis:
    """Orthonormal left vectors of weighted rows: of penalized, of free and of no directions.

    Attributes
    ----------
    left, s : ndarray of shape (n, rank) and (rank,)
        Left singular vectors and singular values of the penalized part.
    fixed : ndarray of shape (n, n_fixed)
        Basis of the unpenalized columns and the intercept.
    rest : ndarray of shape (n, n - rank - n_fixed)
        Basis of everything that the model cannot fit.
    rotated, rest_rhs : ndarray of shape (rank, n_rhs) and (n - rank - n_fixed, n_rhs)
        The weighted right-hand sides along `left` and `rest`.
    """

    def __init__(self, rows: Rows, prior: Prior) -> None:
        n, d = len(rows), rows.n_features
        running = RunningCentre(d + rows.n_rhs)
        block = running.block(rows, slice(0, n))[:n]
        features, rhs = block[:, :d], block[:, d:]
        form, penalized, _, _ = standard_form(features, rhs, prior)
        parts = [] if form.free is None else [features @ form.free]
        self.total = running.weight
        if running.weight:
            weight = np.ones(n) if rows.weight is None else rows.weight
            constant = np.where(rows.intercept > 0, np.sqrt(weight / running.weight), 0.0)
            parts.append(constant[:, None])
        self.n_free = form.n_free
        self.fixed = np.hstack(parts) if parts else np.zeros((n, 0))
        # Inside the complement of `fixed`, so that also vectors of tiny s stay orthogonal to it.
        complement = np.linalg.qr(self.fixed, mode="complete")[0][:, self.fixed.shape[1] :]
        left, self.s, _ = np.linalg.svd(complement.T @ penalized, full_matrices=True)
        left, rank = complement @ left, len(self.s)
        self.left, self.rest = left[:, :rank], left[:, rank:]
        self.rotated, self.rest_rhs = self.left.T @ rhs, self.rest.T @ rhs


class _FewRows(_Hat):
    """An explicit root of I - P."""

    def __init__(self, rows: Rows, prior: Prior) -> None:
        n, d = len(rows), rows.n_features
        weight = np.ones(n) if rows.weight is None else rows.weight
        self.root_weight = np.sqrt(weight)
        basis = LeftBasis(rows, prior)
        unseen = basis.s <= max(n, d) * EPS * basis.s.max(initial=0.0)
        if prior.alpha:
            squares = basis.s**2
            total = squares + prior.alpha
            shrink, kept = prior.alpha / total, squares / total
        else:
            shrink, kept = unseen.astype(float), (~unseen).astype(float)
        self.hat_root = np.hstack([basis.left * np.sqrt(kept), basis.fixed])
        self.rest_root = np.hstack([basis.left * np.sqrt(shrink), basis.rest])
        rotated = np.sqrt(shrink)[:, None] * basis.rotated
        self.rest_rhs = np.vstack([rotated, basis.rest_rhs])
        self.residual = self.rest_root @ self.rest_rhs
        self.negligible = (10 * max(n, d) * EPS) ** 2

    def leverages(self) -> tuple[np.ndarray, np.ndarray]:
        return _row_squares(self.hat_root), _row_squares(self.rest_root)

    def block(self, members: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        vectors, s, vt = np.linalg.svd(self.rest_root[members], full_matrices=False)
        vectors = _completed(vectors)
        rest = np.zeros(len(members))
        rest[: len(s)] = s**2
        turned = np.zeros((len(members), self.rest_rhs.shape[1]))
        turned[: len(s)] = s[:, None] * (vt @ self.rest_rhs)
        return _row_squares(vectors.T @ self.hat_root[members]), vectors, rest, turned


class _ManyRows(_Hat):
    """Many rows: whitened rows Z, P = Z Z.T, and P - P^2 from squares where P is close to 1."""

    def __init__(self, rows: Rows, prior: Prior, method: str) -> None:
        factor = choose(rows, prior, method=method)
        weight = np.ones(len(rows)) if rows.weight is None else rows.weight
        self.root_weight = np.sqrt(weight)
        self.z = factor.whiten(rows) * self.root_weight[:, None]
        root = prior.root(rows.n_features)
        self.prior_z = factor.whiten(Rows(root)) if len(root) else self.z[:0]
        self.residual = residuals(rows, factor.solution) * self.root_weight[:, None]
        self.negligible = (10 * len(rows) * EPS) ** 2

    def leverages(self) -> tuple[np.ndarray, np.ndarray]:
        h = _row_squares(self.z)
        rest = 1 - h
        for i in np.flatnonzero(h > _CLOSE_TO_ONE):
            rest[i] = self._rest(np.array([i]), self.z[i]) / h[i]
        return h, rest

    def block(self, members: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        vectors, s, vt = np.linalg.svd(self.z[members], full_matrices=False)
        vectors = _completed(vectors)
        p = np.zeros(len(members))
        p[: len(s)] = s**2
        rest = 1 - p
        close = p > _CLOSE_TO_ONE
        if close.any():
            # Eigenvalues that agree to the last digit may differ in what they leave of 1: the
            # squares of what stays behind tell their directions apart.
            inside = vt[close[: len(s)]].T
            others = self.z @ inside
            others[members] = 0.0
            stays = np.vstack([others, self.prior_z @ inside])
            _, left, turn = np.linalg.svd(stays, full_matrices=False)
            rest[close] = 0.0
            rest[np.flatnonzero(close)[: len(left)]] = left**2
            p[close] = 1 - rest[close]
            vectors[:, close] = vectors[:, close] @ turn.T
        return p, vectors, rest, vectors.T @ self.residual[members]

    def _rest(self, members: np.ndarray, direction: np.ndarray) -> float:
        """Return the squared norm of a whitened direction in all rows but these."""
        others = self.z @ direction
        others[members] = 0.0
        prior = self.prior_z @ direction
        return float(others @ others + prior @ prior)


def residuals(rows: Rows, solution: Solution | None) -> np.ndarray:
    """Return right-hand sides minus the predictions of a solution, unweighted.

    Parameters
    ----------
    rows : Rows
        Rows with right-hand sides.
    solution : Solution
        What they are predicted with.

    Returns
    -------
    ndarray of shape (n_rows, n_rhs)

    Examples
    --------
    >>> import numpy as np
    >>> from skrigidity.hessian import Prior, Rows, choose, residuals
    >>> rows = Rows(np.ones((2, 1)), rhs=np.array([1.0, 3.0]))
    >>> residuals(rows, choose(rows, Prior(0.0)).solution).ravel()
    array([-1.,  1.])
    """
    assert rows.rhs is not None
    assert solution is not None
    out = np.empty_like(rows.rhs)
    for piece in rows.blocks():
        out[piece] = rows.rhs[piece] - rows.dense(piece) @ solution.coef
        out[piece] -= rows.intercept[piece][:, None] * solution.intercept
    return out


def _solve_groups(hat: _Hat, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    residual = np.empty_like(hat.residual)
    quad = np.empty(len(labels))
    sizes = np.bincount(labels)
    alone = sizes[labels] == 1
    if alone.any():
        h, rest = hat.leverages()
        residual[alone], quad[alone] = _expand(
            h[alone], rest[alone], hat.residual[alone], hat.negligible
        )
    for label in np.flatnonzero(sizes > 1):
        members = np.flatnonzero(labels == label)
        p, vectors, rest, turned = hat.block(members)
        lost = rest <= hat.negligible
        inverse = np.where(lost, 0.0, 1 / np.where(lost, 1.0, rest))
        residual[members] = vectors @ (inverse[:, None] * turned)
        quad[members] = vectors**2 @ (p * inverse)
        touched = (vectors[:, lost] ** 2).sum(axis=1) > hat.negligible
        quad[members[touched]] = np.inf
    return residual / hat.root_weight[:, None], quad / hat.root_weight**2


def _expand(
    h: np.ndarray, rest: np.ndarray, residual: np.ndarray, negligible: float
) -> tuple[np.ndarray, np.ndarray]:
    lost = rest <= negligible
    safe = np.where(lost, 1.0, rest)
    return residual / safe[:, None], np.where(lost, np.inf, h / safe)


def _never_seen(
    rows: Rows,
    prior: Prior,
    method: str,
    labels: np.ndarray,
    seen: np.ndarray,
    residual: np.ndarray,
    quad: np.ndarray,
) -> None:
    """Rows of weight zero are predicted by all others, but for those of their own group."""
    shared = ~seen & np.isin(labels, labels[seen])
    alone = ~seen & ~shared
    todo = [(labels == label, (labels == label) & ~seen) for label in np.unique(labels[shared])]
    if alone.any():
        todo.append((alone, alone))
    for out, unseen in todo:
        rest = rows[np.flatnonzero(seen & ~out)]
        members = rows[np.flatnonzero(unseen)]
        if len(rest) == 0:
            # Refitted with the other groups that nothing is left of.
            quad[unseen] = np.inf
            continue
        factor = choose(rest, prior, method=method)
        residual[unseen] = residuals(members, factor.solution)
        quad[unseen] = factor.quad(Rows(members.matrix, intercept=members.intercept))


def _refit_lost(
    rows: Rows,
    prior: Prior,
    method: str,
    labels: np.ndarray,
    residual: np.ndarray,
    quad: np.ndarray,
) -> None:
    """Fit without a group that alone determines some direction: minimum norm, R = 0."""
    for label in np.unique(labels[np.isinf(quad)]):
        members = labels == label
        rest = rows[np.flatnonzero(~members)]
        if len(rest) == 0 or (rest.weight is not None and not rest.weight.any()):
            assert rows.rhs is not None
            residual[members] = rows.rhs[members]
            continue
        factor = choose(rest, prior, method=method)
        residual[members] = residuals(rows[np.flatnonzero(members)], factor.solution)


def _completed(vectors: np.ndarray) -> np.ndarray:
    """Return orthonormal columns extended to a basis of the whole space."""
    n, k = vectors.shape
    if k == n:
        return vectors
    return np.hstack([vectors, np.linalg.qr(vectors, mode="complete")[0][:, k:]])


def _row_squares(matrix: np.ndarray) -> np.ndarray:
    return np.einsum("ij,ij->i", matrix, matrix)
