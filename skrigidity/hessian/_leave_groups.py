"""How well models that have not seen a group of rows fit the rest, at many strengths.

With M the identity minus the hat matrix of the weighted rows, tau the weighted leave-out residuals
of a group G, and V, r the eigenvectors and eigenvalues of M_GG, the residuals of all other rows
become ``M (y - E_G tau)``, and the residual degrees of freedom drop by
``tr(M_GG^-1 (M @ M)_GG)``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ._leave_out import _FewRows, _ManyRows, few_rows
from ._prior import Prior
from ._rows import Rows


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
        that the group alone determines.
    """

    rss: np.ndarray
    dof: np.ndarray
    members: list[np.ndarray]
    blocks: list[list[tuple[np.ndarray, np.ndarray]]]


def leave_groups(
    rows: Rows,
    gamma: Any,
    alphas: np.ndarray,
    groups: np.ndarray,
    residual: np.ndarray,
    *,
    method: str = "auto",
) -> LeftGroups:
    """Leave out every group of rows at every alpha.

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
    members = [np.flatnonzero(groups == g) for g in range(groups.max() + 1)]
    rss = np.empty((len(members), *residual.shape[1:]))
    dof = np.empty(rss.shape[:2])
    blocks: list[list[tuple[np.ndarray, np.ndarray]]] = []
    for a, alpha in enumerate(alphas):
        prior = Prior(float(alpha), gamma)
        hat = _FewRows(rows, prior) if few_rows(rows) else _ManyRows(rows, prior, method)
        without = _without_few if isinstance(hat, _FewRows) else _without_many
        blocks.append([])
        for g, group in enumerate(members):
            _, vectors, values, _ = hat.block(group)
            values = np.where(values <= hat.negligible, 0.0, values)
            tau = hat.root_weight[group, None] * residual[group, a]
            rss[g, a], dof[g, a] = without(hat, group, tau, vectors, values)
            blocks[-1].append((vectors, values))
    return LeftGroups(rss, dof, members, blocks)


def _without_few(
    hat: Any, group: np.ndarray, tau: np.ndarray, vectors: np.ndarray, values: np.ndarray
) -> tuple[np.ndarray, float]:
    """Return rss and degrees of freedom from ``M = B @ B.T``, the columns of B being orthogonal."""
    root = hat.rest_root
    rest = root @ (hat.rest_rhs - root[group].T @ tau)
    rest[group] = 0.0
    norms = np.einsum("ij,ij->j", root, root)
    taken = (vectors.T @ root[group]) ** 2 @ norms
    kept = values > 0
    drop = (taken[kept] / values[kept]).sum()
    return np.einsum("ij,ij->j", rest, rest), float(norms.sum() - drop)


def _without_many(
    hat: Any, group: np.ndarray, tau: np.ndarray, vectors: np.ndarray, values: np.ndarray
) -> tuple[np.ndarray, float]:
    """Return the same from ``P = Z @ Z.T``, of which ``P - P @ P = Z @ Q.T @ Q @ Z.T``."""
    rest = hat.residual + hat.z @ (hat.z[group].T @ tau)
    rest[group] = 0.0
    kept = values > 0
    image = hat.prior_z @ (hat.z[group].T @ vectors[:, kept])
    drop = kept.sum() - (np.einsum("ij,ij->j", image, image) / values[kept]).sum()
    trace = len(hat.z) - np.einsum("ij,ij->", hat.z, hat.z)
    return np.einsum("ij,ij->j", rest, rest), float(trace - drop)
