"""Leave-one-out and leave-group-out, exactly, from one factorization."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..choose import choose
from ..factor import Factor
from ..prior import Prior
from ..rows import Rows
from .basis import BasisHat
from .hat import Hat, LeftOut, fit_without, predicted
from .products import FactorHat


def leave_out(
    rows: Rows, prior: Prior, groups: Any = None, *, factor: Factor | None = None
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
    factor : Factor, default=None
        The factor of these rows with this regularizer, where it has been made before.

    Returns
    -------
    LeftOut
        Residuals and q = 1 / R of rows that a model has not seen.

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
    labels = rows.groups if groups is None else np.asarray(groups)
    labels = np.arange(len(rows)) if labels is None else labels
    if labels.dtype.kind == "f" and np.isnan(labels).any():
        raise ValueError("groups must not be nan")
    labels = np.unique(labels, return_inverse=True)[1]
    seen = np.ones(len(rows), bool) if rows.weight is None else rows.weight > 0
    used = rows if seen.all() else rows[np.flatnonzero(seen)]
    if factor is None:
        factor = choose(used, prior)
    out = LeftOut(np.zeros(rows.rhs.shape), np.zeros(len(rows)))
    if seen.any():
        # Rows that the parameters can follow exactly leave nothing but the regularizer.
        few = len(used) - int(used.has_intercept) <= used.n_features
        hat: Hat = (
            BasisHat(used, prior).at(np.array([prior.alpha])) if few else FactorHat(used, factor)
        )
        left = hat.leave_out(np.unique(labels[seen], return_inverse=True)[1])
        out.residual[seen], out.quad[seen] = left.residual[:, 0], left.quad[:, 0]
    # Rows of weight zero are predicted by all others, but for those of their own group.
    alone = ~seen & ~np.isin(labels, labels[seen])
    if alone.any():
        out.residual[alone], out.quad[alone] = predicted(factor, rows[np.flatnonzero(alone)])
    lost = np.isinf(out.quad) & seen
    for label in np.unique(labels[lost | (~seen & ~alone)]):
        members = labels == label
        chosen = rows[np.flatnonzero(members)]
        again = fit_without(rows, prior, members, np.inf)
        out.residual[members], quad = predicted(again, chosen)
        # What a group alone determines stays lost (minimum norm, R = 0): without a regularizer,
        # leverages of 1 decide on a rank more sharply than rows do.
        pinned = np.isfinite(out.quad[members]) | (prior.alpha > 0)
        out.quad[members] = np.where(pinned, quad, np.inf)
    return out
