"""What models that have not seen a sample say of it, in the guise of one fitted estimator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import _num_samples

from ..environments import Environments
from ..gradients import inverse, ratio
from ..hessian import (
    AlphaPath,
    LeftGroups,
    OtherRows,
    Prior,
    Rows,
    leave_groups,
    leave_out,
    loo_rows,
    loo_variance,
)


class Samples(NamedTuple):
    """Input as it came, and which of its samples the training rows are.

    Attributes
    ----------
    X : array-like or structures of environments
        All samples.
    rows : ndarray of int
        Those that are among the rows.
    """

    X: Any
    rows: np.ndarray

    def take(self, kept: np.ndarray) -> Any:
        """Return the samples of some rows."""
        chosen = self.rows[kept]
        return self.X if len(chosen) == _num_samples(self.X) else _safe_indexing(self.X, chosen)


class Parts(NamedTuple):
    """Quadratic forms of the parts of samples: environments, components.

    Attributes
    ----------
    quad : ndarray of shape (n_parts, n_components, n_alphas)
        ``1 / R`` to models without the sample.
    sample : ndarray of int of shape (n_parts,)
        Row of the sample.
    several : bool
        Whether samples are structures, of several parts each.
    """

    quad: np.ndarray
    sample: np.ndarray
    several: bool


@dataclass
class LeftOutSet:
    """The training set of a `RigidRidgeCV`, every sample or group left out at some alphas.

    Attributes
    ----------
    owner : RigidRidgeCV
        The estimator, for its parameters and its view of X.
    samples : Samples
        Where they come from.
    rows : Rows
        Training rows.
    alphas : ndarray of shape (n_alphas,)
        Regularization strengths.
    path : AlphaPath or None
        Their decomposition; None where groups are left out.
    groups : ndarray of int of shape (n_rows,) or None
        Number of every row's group.
    """

    owner: Any
    samples: Samples
    rows: Rows
    alphas: np.ndarray
    path: AlphaPath | None
    groups: np.ndarray | None

    @property
    def units(self) -> bool:
        """Whether one unit of weight is left out at a time."""
        return self.groups is None and self.owner.weight_type == "frequency"

    @property
    def weight(self) -> np.ndarray:
        """Weights of the rows."""
        return np.ones(len(self.rows)) if self.rows.weight is None else self.rows.weight

    @cached_property
    def left(self) -> tuple[np.ndarray, np.ndarray]:
        """Residuals and 1 / R of shapes (n_rows, n_alphas, n_targets) and (n_rows, n_alphas)."""
        if self.path is not None:
            return self._loo.residual, self._loo.quad
        left = [
            leave_out(self.rows, Prior(a, self._gamma), self.groups, method=self.owner.solver)
            for a in self.alphas
        ]
        residual, quad = ([getattr(each, part) for each in left] for part in ("residual", "quad"))
        return np.stack(residual, axis=1), np.stack(quad, axis=1)

    @property
    def out(self) -> np.ndarray:
        """Weight of a row that is left out with it."""
        return self.weight if self.path is None else self._loo.out[:, 0]

    @cached_property
    def _loo(self) -> Any:
        assert self.path is not None
        return loo_rows(self.path, self.alphas, units=self.units)

    @cached_property
    def scale(self) -> np.ndarray:
        """C**2 of models without each row, of the shape of the residuals."""
        residual, quad = self.left
        if self.owner.calibration is None:
            return np.ones_like(residual)
        if self.owner.calibration == "loo":
            return self._from_others(residual, quad)
        if self.path is not None:
            rss, dof = loo_variance(self.path, self.alphas, self._loo, units=self.units)
            return ratio(rss, dof[:, :, None])
        left, weight = self._left_groups, self.weight
        dof = left.dof
        if self.owner.weight_type == "frequency":
            # There n is the sum of the weights that stay, not their number.
            surplus = np.array([(weight[m] - 1).sum() for m in left.members])
            dof = dof + (weight - 1).sum() - surplus[:, None]
        return ratio(left.rss, dof[:, :, None])[self.groups]

    def _from_others(self, residual: np.ndarray, quad: np.ndarray) -> np.ndarray:
        """Average e**2 R over all rows but the one, or the group, whose C**2 it is."""
        usable = (quad > 0) & np.isfinite(quad)
        share = np.where(usable, self.weight[:, None], 0.0)[:, :, None]
        square = residual**2 / np.where(usable, quad, 1.0)[:, :, None]
        if self.groups is None:
            own = np.where(usable, self.out[:, None], 0.0)[:, :, None]
            own_square = own * square
        else:
            own, own_square = (self._over_groups(v) for v in (share, share * square))
        total = (share * square).sum(axis=0) - own_square
        return ratio(np.maximum(total, 0.0), share.sum(axis=0) - own)

    def _over_groups(self, values: np.ndarray) -> np.ndarray:
        assert self.groups is not None
        sums = np.zeros((self.groups.max() + 1, *values.shape[1:]))
        np.add.at(sums, self.groups, values)
        return sums[self.groups]

    @cached_property
    def _left_groups(self) -> LeftGroups:
        assert self.groups is not None
        return leave_groups(
            self.rows,
            self._gamma,
            self.alphas,
            self.groups,
            self.left[0],
            method=self.owner.solver,
        )

    @property
    def _gamma(self) -> Any:
        return Prior(1.0, self.owner.regularizer).gamma

    # --- rigidities of other predictions ---------------------------------------------------

    def parts(self, level: Any, components: Any = None, *, whole: bool = False) -> Parts:
        """Return what environments or components are like to models without their sample.

        `whole` asks for predictions instead of components.
        """
        # A scorer asks again at the next alpha. What it asked for is kept, and so is its identity.
        key = (level, whole, id(components))
        if key not in self._known_parts:
            X, _ = self.owner._checked(self.samples.take(np.arange(len(self.rows))), level)
            gradients = self.owner.gradients_
            asked = [None] if whole else gradients.resolve(components).values()
            several = isinstance(X, Environments) and level == "local"
            sample = np.arange(len(self.rows))
            if several:
                sample = np.repeat(sample, X.sizes)
            values = [self._quad(gradients.rows(X, level, part), sample) for part in asked]
            self._known_parts[key] = Parts(np.stack(values, axis=1), sample, several)
            self._asked.append(components)
        return self._known_parts[key]

    @cached_property
    def _asked(self) -> list[Any]:
        return []

    @cached_property
    def _known_parts(self) -> dict[tuple, Parts]:
        return {}

    @cached_property
    def _others(self) -> OtherRows:
        return OtherRows(self.rows, self._gamma, self.alphas)

    def _quad(self, others: Rows, sample: np.ndarray) -> np.ndarray:
        if self.groups is None:
            return self._others.without_row(self._loo, others, sample)
        return self._others.without_group(self._left_groups, others, sample)


class LeftOutModel(RegressorMixin, BaseEstimator):
    """An estimator, to a scorer, that predicts each training sample without having seen it.

    Parameters
    ----------
    data : LeftOutSet
        The training set.
    a, target : int
        Which alpha, which target.
    kept : ndarray of int
        The training rows that X consists of, whatever is passed as X.
    """

    def __init__(self, data: LeftOutSet, a: int, target: int, kept: np.ndarray) -> None:
        self.data = data
        self.a = a
        self.target = target
        self.kept = kept

    def predict(self, X: Any, return_std: bool = False) -> Any:
        """Return the targets minus leave-one-out residuals."""
        rhs, (residual, quad) = self.data.rows.rhs, self.data.left
        y = rhs[self.kept, self.target] - residual[self.kept, self.a, self.target]
        if not return_std:
            return y
        scale, q = self.data.scale[self.kept, self.a, self.target], quad[self.kept, self.a]
        noise = scale if self.data.owner.calibration == "bayesian" else 0.0
        # A scale that is not known leaves nothing known, also of what cannot move.
        with np.errstate(invalid="ignore"):
            return y, np.sqrt(np.where(np.isinf(scale), np.inf, scale * q + noise))

    def prediction_rigidity(self, X: Any) -> np.ndarray:
        """Return the rigidity of every sample."""
        return inverse(self.data.left[1][self.kept, self.a])

    def local_rigidity(self, X: Any) -> Any:
        """Return the rigidities of every sample's environments."""
        return self._rigidity(self.data.parts("local", whole=True), lambda R: R[:, 0])

    def component_rigidity(self, X: Any, components: Any = None, *, level: Any = "global") -> Any:
        """Return the rigidities of every sample's components."""
        return self._rigidity(self.data.parts(level, components), lambda R: R)

    def _rigidity(self, parts: Parts, shaped: Callable) -> Any:
        chosen = np.isin(parts.sample, self.kept)
        R = shaped(inverse(parts.quad[chosen, :, self.a]))
        if not parts.several:
            return R
        sizes = np.bincount(parts.sample, minlength=len(self.data.rows))[self.kept]
        return np.split(R, np.cumsum(sizes)[:-1])
