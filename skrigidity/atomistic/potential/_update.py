"""New frames after a fit: their rows alone are made, and the others are not looked at again."""

from __future__ import annotations

from typing import Any, Self

from sklearn.utils.validation import check_is_fitted

from skrigidity.atomistic.potential._fit import BasePotential
from skrigidity.atomistic.potential._held_out import fingerprint
from skrigidity.atomistic.potential._rows import Reduced, TrainingRows
from skrigidity.atomistic.potential._solve import Problem
from skrigidity.atomistic.potential._support import Reservoir
from skrigidity.frames import check_found, read_targets


class UpdatedPotential(BasePotential):
    """A potential that goes on learning after `fit`."""

    def update(self, X: Any, y: Any = None, *, sample_weight: Any = None) -> Self:
        """Add frames to the training set, by their rows alone.

        Coefficients, Hessian and all that follows from them are those of a fit to all frames with
        the same descriptor, errors and alpha; the frames before are not needed. Scales of error
        bars and quantiles of the training set stay what they were: `recalibrate` renews them.

        Parameters
        ----------
        X : list of ase.Atoms
            New frames, of species that the potential knows, with references under the names
            in ``keys_``. Properties that were not fitted are not read.
        y : array-like of shape (n_frames,), default=None
            Total energies in eV (NaN where there is none), in place of those in the frames.
        sample_weight : array-like of shape (n_frames,), default=None
            Weights of frames.

        Returns
        -------
        object
            Itself.

        Raises
        ------
        ValueError
            If a species is unknown, or no frame has a property that was fitted.

        See Also
        --------
        recalibrate : Leave frames out again.

        Examples
        --------
        >>> import numpy as np
        >>> from ase import Atoms
        >>> from skrigidity.atomistic import ACEDescriptor, RigidPotential
        >>> def pair(r):
        ...     info = {"energy": (r - 2.5) ** 2}
        ...     return Atoms("Cu2", [[0, 0, 0], [0, 0, r]], info=info)
        >>> ace = ACEDescriptor(cutoff=4.0, max_degree=(4,), kind="self-interacting", r0=2.5)
        >>> model = RigidPotential(ace, calibration=None)
        >>> model = model.fit([pair(r) for r in (2.2, 2.4, 2.6, 2.8)])
        >>> new = pair(3.2)
        >>> before = model.prediction_rigidity([new])
        >>> after = model.update([new]).prediction_rigidity([new])
        >>> (after - before).round(6)
        array([1.])
        """
        check_is_fitted(self, "coef_")
        frames = self._validated(X)
        targets = read_targets(frames, self.keys_, y)
        weight = self._weights(frames, sample_weight, None)
        fitted = self.gradients_.fitted
        check_found(targets, frames, fitted)
        rows = TrainingRows(self.gradients_, frames, targets, weight, self.fixed_, fitted)
        old = self._problem
        reduced = Reduced(self.gradients_.n_features, old.reduced, old.squares)
        reservoir = Reservoir(self.support_)
        first = 1 + int(self.support_.frames.max())
        for i in rows.used:
            block = rows.block(i)
            reduced.add(block)
            reservoir.add(first + i, block.features)
        self.support_ = reservoir.finish()
        if len(self._columns.species):
            energies = [i for i in rows.used if targets[i].energy is not None]
            self._columns.add_known([frames[i] for i in energies])
        problem = Problem(reduced.finish(), reduced.squares, old.gamma, old.method)
        self._adopt(problem, problem.solve(self.errors_, self.alpha_))
        self._fingerprint = fingerprint(frames, targets, weight, self._fingerprint)
        self.n_training_ = {k: self.n_training_[k] + n for k, n in rows.count().items()}
        return self

    def recalibrate(
        self, X: Any, y: Any = None, *, groups: Any = None, sample_weight: Any = None
    ) -> Self:
        """Leave frames of the training set out again, as `fit` does, after updates.

        Scales of error bars and quantiles of the training set become those of a fit to all
        frames; coefficients and Hessian stay. It needs one pass over the rows of all frames.

        Parameters
        ----------
        X : list of ase.Atoms
            The whole training set in the order in which it was fitted to and added.
        y : array-like of shape (n_frames,), default=None
            Total energies in eV (NaN where there is none), in place of those in the frames.
        groups : array-like of shape (n_frames,) or str, default=None
            What is left out together; a str is a key of ``frame.info``. None: every frame for
            itself.
        sample_weight : array-like of shape (n_frames,) or dict, default=None
            Weights of frames; a dict has those of `groups`, 1 where it has none.

        Returns
        -------
        object
            Itself.

        Raises
        ------
        ValueError
            If these are other frames than those of the training set, or ``calibration`` is None.
        """
        if self.calibration is None:
            raise ValueError("calibration=None has no scales: there is nothing to recalibrate")
        left, rows = self._left_out(X, y, sample_weight, groups)
        self._quantiles = self._quantiles_of(left, rows)
        self._set_scales(self._scales_of(self._by_property(left)))
        return self
