"""Leave-one-out and leave-group-out, exactly, from one factorization."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..choose import choose
from ..factor import Factor
from ..prior import Prior
from ..rows import Array, Rows
from .hat import BasisHat, FactorHat, Hat, members_of, residuals

# Rows whose estimated errors are larger than this are predicted by a fit without their group, as
# long as all such fits together cost no more operations than this.
DOUBTFUL, WORK = 1e-9, 2e10


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

    residual: Array
    quad: Array


def leave_out(
    rows: Rows,
    prior: Prior,
    groups: Any = None,
    *,
    method: str = "auto",
    factor: Factor | None = None,
) -> LeftOut:
    """Leave out every sample in turn, or every group of rows.

    Parameters
    ----------
    rows : Rows
        Training rows with their right-hand sides.
    prior : Prior
        The regularizer.
    groups : ndarray of shape (n_rows,), default=None
        Labels; rows of the same label are left out together. None: ``rows.groups``, and without
        those every row for itself.
    method : str, default="auto"
        Factorization, as in `choose`.
    factor : Factor, default=None
        The factor of these rows with this regularizer, where it has been made before.

    Returns
    -------
    LeftOut

    Raises
    ------
    ValueError
        If a label is nan.

    Examples
    --------
    >>> import numpy as np
    >>> from skrigidity.hessian import Prior, Rows, leave_out
    >>> rows = Rows(np.ones((3, 1)), rhs=np.array([[0.0], [3.0], [6.0]]))
    >>> leave_out(rows, Prior(0.0)).residual[[0, 2]].ravel()
    array([-4.5,  4.5])
    """
    labels, weight = checked_labels(rows, groups), rows.weight
    seen = np.ones(len(rows), bool) if weight is None else weight > 0
    used = rows if seen.all() else rows[np.flatnonzero(seen)]
    if factor is None:
        factor = choose(used, prior, method=method)
    hat = hat_of(used, prior, factor)
    out = LeftOut(np.empty(rows.rhs.shape), np.empty(len(rows)))
    inside, again = np.flatnonzero(seen), np.zeros(len(rows), dtype=bool)
    within = np.unique(labels[inside], return_inverse=True)[1]
    groups_inside = members_of(within) if len(within) else []
    out.residual[inside], out.quad[inside], least = hat.solve(groups_inside)
    again[inside] = _doubtful(used, hat, factor, out.residual[inside], least)
    # Rows of weight zero are predicted by all others, but for those of their own group.
    alone = ~seen & ~np.isin(labels, labels[seen])
    if alone.any():
        out.residual[alone], out.quad[alone] = predicted(factor, rows[np.flatnonzero(alone)])
    lost = np.isinf(out.quad) & seen
    for label in np.unique(labels[lost | again | (~seen & ~alone)]):
        members = labels == label
        chosen = rows[np.flatnonzero(members)]
        if not (seen & ~members).any():
            out.residual[members], out.quad[members] = chosen.rhs, np.inf
            continue
        again_factor = fit_without(rows, prior, members, method=method)
        out.residual[members], quad = predicted(again_factor, chosen)
        # What a group alone determines stays lost (minimum norm, R = 0): without a regularizer,
        # leverages of 1 decide on a rank more sharply than rows do.
        pinned = np.isfinite(out.quad[members]) | (prior.alpha > 0)
        out.quad[members] = np.where(pinned, quad, np.inf)
    return out


def checked_labels(rows: Rows, groups: Any) -> Array:
    """Return the number of every row's group, from 0."""
    groups = rows.groups if groups is None else np.asarray(groups)
    if groups is None:
        return np.arange(len(rows))
    if groups.dtype.kind == "f" and np.isnan(groups).any():
        raise ValueError("groups must not be nan")
    return np.unique(groups, return_inverse=True)[1]


def few_rows(rows: Rows) -> bool:
    """Whether an explicit orthonormal basis of all rows costs about as much as the features."""
    return len(rows) <= 2 * rows.n_features + 2


def hat_of(rows: Rows, prior: Prior, factor: Factor) -> Hat:
    """Return the hat matrix of rows and their factor."""
    # Rows that the parameters can follow exactly leave nothing but the regularizer.
    if len(rows) - int(rows.has_intercept) <= rows.n_features:
        return BasisHat(rows, prior)
    return FactorHat(rows, factor)


def _doubtful(rows: Rows, hat: Hat, factor: Factor, residual: Array, least: Array) -> Array:
    """Return which rows had better be predicted by a fit without them."""
    found = residual * hat.root_weight[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        error = hat.residual_error() / least[:, None]
        size = np.abs(found).max(axis=0, initial=0.0, where=np.isfinite(found))
        doubtful = (error > DOUBTFUL * np.maximum(np.abs(found), size)).any(axis=1)
        if isinstance(hat, FactorHat):
            doubtful |= factor.info.accuracy / np.sqrt(least) > DOUBTFUL
    return np.asarray(doubtful & affordable(rows, int(doubtful.sum())))


def predicted(factor: Factor, rows: Rows) -> tuple[Array, Array]:
    """Return residuals and forms of rows that a factor has not seen."""
    return residuals(rows, factor.solution), form_of(factor, rows)


def form_of(factor: Factor, rows: Rows) -> Array:
    """Return quadratic forms of rows, inf where no row of the factor has their intercept."""
    unknown = (rows.intercept != 0) & (not factor.has_intercept)
    quad = factor.quad(Rows(rows.dense(), intercept=np.where(unknown, 0.0, rows.intercept)))
    return np.where(unknown, np.inf, quad)


def fit_without(
    rows: Rows, prior: Prior, members: Array, out: Any = np.inf, *, method: str = "auto"
) -> Factor:
    """Fit again with `out` less of the weight of some rows, a mask or their numbers."""
    weight = np.ones(len(rows)) if rows.weight is None else np.array(rows.weight)
    weight[members] -= np.minimum(weight[members], out)
    if np.isinf(out).all():
        return choose(rows.kept(weight > 0), prior, method=method)
    remaining = rows[np.flatnonzero(weight)]
    remaining.weight = weight[weight > 0]
    return choose(remaining, prior, method=method)


def affordable(rows: Rows, n_fits: int) -> bool:
    """Whether so many fits may be made to mend what cancels."""
    n, d = len(rows), rows.n_features
    return n_fits * n * d * min(n, d) <= WORK


@dataclass(frozen=True)
class LeftGroups:
    """Every group of rows left out, at every alpha.

    Attributes
    ----------
    rss : ndarray of shape (n_groups, n_alphas, n_rhs)
        Weighted residual sum of squares of the rows that stay.
    dof : ndarray of shape (n_groups, n_alphas)
        Their residual degrees of freedom, n being their number.
    members : list of ndarray of int
        Rows of every group.
    blocks : list of list of (ndarray, ndarray)
        For every alpha and group the eigenvectors of M_GG and its eigenvalues, 0 along directions
        that the group alone determines; M is the identity minus the hat matrix.
    """

    rss: Array
    dof: Array
    members: list[Array]
    blocks: list[list[tuple[Array, Array]]]


def leave_groups(
    rows: Rows, gamma: Any, alphas: Array, groups: Array, residual: Array, *, method: str = "auto"
) -> LeftGroups:
    """Return how well models that have not seen a group fit the rest, at many strengths.

    With M the identity minus the hat matrix, tau the weighted leave-out residuals of a group G,
    and V, r the eigenvectors and eigenvalues of M_GG, the residuals of all other rows become
    ``M (y - E_G tau)``, and the residual degrees of freedom drop by
    ``tr(M_GG^-1 (M @ M)_GG)``.

    Parameters
    ----------
    rows : Rows
        Training rows, none of weight zero.
    gamma : ndarray or None
        The regularizer's matrix or diagonal.
    alphas : ndarray of shape (n_alphas,)
        Regularization strengths.
    groups : ndarray of int of shape (n_rows,)
        Number of every row's group, from 0.
    residual : ndarray of shape (n_rows, n_alphas, n_rhs)
        The rows' leave-group-out residuals, see `leave_out`.
    method : str, default="auto"
        Factorization, as in `choose`.

    Returns
    -------
    LeftGroups

    Examples
    --------
    >>> import numpy as np
    >>> from skrigidity.hessian import Prior, Rows, leave_groups, leave_out
    >>> rows, groups = Rows(np.ones((3, 1)), rhs=np.array([0.0, 3.0, 6.0])), np.array([0, 0, 1])
    >>> residual = leave_out(rows, Prior(0.0), groups).residual[:, None]
    >>> left = leave_groups(rows, None, np.zeros(1), groups, residual)
    >>> left.rss.ravel().round(6), left.dof.ravel().round(6)
    (array([0. , 4.5]), array([0., 1.]))
    """
    members = members_of(groups)
    rss = np.empty((len(members), *residual.shape[1:]))
    dof = np.empty(rss.shape[:2])
    blocks: list[list[tuple[Array, Array]]] = []
    for a, alpha in enumerate(alphas):
        prior = Prior(float(alpha), gamma)
        hat: BasisHat | FactorHat
        if few_rows(rows):
            hat = BasisHat(rows, prior)
        else:
            hat = FactorHat(rows, choose(rows, prior, method=method))
        blocks.append([])
        for g, group in enumerate(members):
            _, vectors, values, _ = hat.block(group)
            values = np.where(values <= hat.negligible, 0.0, values)
            tau = hat.root_weight[group, None] * residual[group, a]
            remainder, dof[g, a] = hat.without(group, tau, vectors, values)
            remainder[group] = 0.0
            rss[g, a] = np.einsum("ij,ij->j", remainder, remainder)
            blocks[-1].append((vectors, values))
    return LeftGroups(rss, dof, members, blocks)
