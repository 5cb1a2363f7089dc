"""What a potential knows of frames before anything is computed: which rows their labels bring."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from skrigidity.atomistic.potential._solve import method_of, prior_of, regularizer_of
from skrigidity.atomistic.potential._update import UpdatedPotential
from skrigidity.frames import Atoms, parse_species, reject_unknown_species
from skrigidity.gradients import ENERGY, FORCES, PROPERTIES, STRESS
from skrigidity.hessian import Prior, Rows, choose

# Entries of projections that are zero but for this.
_ROUNDING = 1e-12
Array = NDArray[np.float64]


class Unlabelled(UpdatedPotential):
    """A potential that samples can be selected under before it is fitted."""

    def _without_labels(
        self, X: list[Atoms], X_train: list[Atoms] | None, sample_weight: Array | None
    ) -> tuple[Any, Any, Prior, str]:
        """Return what follows from frames alone, with all properties that `fit` would read.

        Parameters
        ----------
        X : list of ase.Atoms
            Candidates. Where there is no training data, alpha is relative to their Hessian.
        X_train : list of ase.Atoms or None
            Training data.
        sample_weight : ndarray of shape (n_train,) or None
            Their weights.

        Returns
        -------
        model : RigidPotential
            A clone with columns and gradients.
        base : Factor or None
            The Hessian of the training data.
        prior : Prior
            Energies of species that no training data tell are penalized as well.
        method : str
            Factorization.
        """
        fitted, method = self._readable(), method_of(self.solver)
        tried = self._tried(fitted)
        if len(tried) > 1:
            raise ValueError(
                f"estimator={self!r} must be fitted: it chooses alpha or errors by labels"
            )
        model, train = clone(self), X if X_train is None else X_train
        model._set_known_columns(X, X_train)
        model._set_gradients(fitted, tried[0][0])
        columns, unknown = model._columns, None
        if len(columns.species):
            unknown = np.eye(len(columns.species))
            if X_train is not None:
                columns.set_known(X_train)
                unknown -= columns.known
                unknown[np.abs(unknown) < _ROUNDING] = 0.0
            columns.set_known([*X, *(X_train or [])])
        rows = model.gradients_.joined(train, sample_weight)[0]
        gamma = regularizer_of(self.regularizer, model.descriptor_.get_feature_names_out())
        prior = prior_of(gamma, _squares(rows), tried[0][1], unknown)
        base = None if X_train is None else choose(rows, prior, method=method)
        return model, base, prior, method

    def _set_known_columns(self, X: list[Atoms], X_train: list[Atoms] | None) -> None:
        """Fit the descriptor to all frames; of species that it does not know, name the frame."""
        if getattr(self.descriptor, "species", None) is not None:
            known = parse_species(self.descriptor.species)
            reject_unknown_species(X, known)
            reject_unknown_species(X_train or [], known, "X_train")
        self._set_columns([*X, *(X_train or [])])

    def _readable(self) -> tuple[str, ...]:
        """Return which properties `fit` would read of frames that have all of them."""
        stress = self._fits_stress() and not (self.stress_key is None and self.virial_key is None)
        read = {ENERGY: self.energy_key is not None, FORCES: self.forces_key is not None}
        found = tuple(name for name in PROPERTIES if (read | {STRESS: stress})[name])
        if not found:
            raise ValueError("estimator must read a property: energy_key and forces_key are None")
        return found


def _squares(rows: Rows) -> Array:
    """Return the diagonal of the Hessian of rows."""
    out = np.zeros(rows.n_features)
    for block in rows.blocks():
        weight = np.ones(len(block)) if block.weight is None else block.weight
        out += weight @ block.dense() ** 2
    return out
