"""Linear combinations of energies, forces and stress over frames."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skrigidity.atomistic.potential._deviations import EnergyDeviations
from skrigidity.atomistic.potential._predictions import volume_of
from skrigidity.frames import Atoms
from skrigidity.gradients import ENERGY, FORCES, PROPERTIES, STRESS, inverse

Array = NDArray[np.float64]


class FrameCombinations(EnergyDeviations):
    """Rigidities and error bars of whatever is linear in energies, forces and stress."""

    def combination_rigidity(self, X: Any, weights: Any) -> Any:
        r"""Rigidity of linear combinations of energies, forces and stress over frames.

        Formation and vacancy energies, barriers, elastic constants (differences of stress),
        phonon force constants (differences of forces).

        Parameters
        ----------
        X : list of ase.Atoms
            Frames.
        weights : dict, array-like of shape (n_frames,) or (n_combinations, n_frames), or list
            For each property its coefficients: "energy" (n_frames,), of total energies; "forces",
            a list of arrays (n_atoms, 3); "stress" (n_frames, 6). Plain arrays are coefficients
            of energies. A list of dicts has one for each combination.

        Returns
        -------
        float or ndarray of shape (n_combinations,)
            :math:`\sum_i c_i^2 s_i^2 / (g^T H^{-1} g)`: how many reference calculations of the
            same combination would pin it equally, s being the errors of the energies (the error
            per atom times the number of atoms), forces and stresses in it.
        """
        each = self._combined(X, weights)
        quad = self._quad_of(np.array([sum(c.rows.values()) for c in each]))
        with np.errstate(invalid="ignore"):
            R = np.array([c.reference for c in each]) * inverse(quad)
        return R if _several(weights) else float(R[0])

    def predict_combination(
        self, X: Any, weights: Any, return_std: bool = False, noise: bool = False
    ) -> Any:
        """Predict linear combinations of energies, forces and stress over frames.

        Parameters
        ----------
        X : list of ase.Atoms
            Frames.
        weights : dict, array-like of shape (n_frames,) or (n_combinations, n_frames), or list
            For each property its coefficients: "energy" (n_frames,), of total energies; "forces",
            a list of arrays (n_atoms, 3); "stress" (n_frames, 6). Plain arrays are coefficients
            of energies. A list of dicts has one for each combination.
        return_std : bool, default=False
            Return standard deviations as well, each property's rows with the C of its own.
        noise : bool, default=False
            Add sigma of every prediction: for a comparison with reference calculations.

        Returns
        -------
        float or ndarray of shape (n_combinations,)
            Values; with `return_std` a second one of the same shape.

        Warns
        -----
        UserWarning
            If C is 0, so that nothing is left of an error bar without noise: left-out errors did
            not depend on rigidities. ``calibration="loo"`` or `calibrate` without noise mend it.
        """
        each = self._combined(X, weights)
        value, std = np.array([c.value for c in each]), np.zeros(len(each))
        if return_std:
            rows, variance = [], np.zeros(len(each))
            for k, c in enumerate(each):
                known = {name: self._scales.known(name) for name in c.rows}
                if not noise:
                    _warn_without_scale({name: scale for name, (scale, _) in known.items()})
                rows.append(sum(np.sqrt(known[name][0]) * part for name, part in c.rows.items()))
                if noise:
                    variance[k] = sum(known[name][1] * c.squares[name] for name in c.rows)
            std = np.sqrt(self._quad_of(np.array(rows)) + variance)
        out = (value, std) if _several(weights) else (float(value[0]), float(std[0]))
        return out if return_std else out[0]

    def _combined(self, X: Any, weights: Any) -> list[Combination]:
        frames, _ = self._checked(X)
        each = [checked_weights(frames, w) for w in _combinations(weights)]
        out = [Combination() for _ in each]
        for i, frame in enumerate(frames):
            used = {name for w in each for name in w if w[name][i].any()}
            if not used:
                continue
            rows, fixed = self.gradients_.of_frame(frame, used), self.fixed_.of(frame)
            volume = (volume_of(frame) or np.nan) if STRESS in used else 1.0
            unit = {ENERGY: len(frame), FORCES: 1.0, STRESS: len(frame) / volume}
            known = {ENERGY: fixed.energies.sum(), FORCES: fixed.forces.ravel()}
            known[STRESS] = fixed.strain / volume
            for combination, w in zip(out, each, strict=True):
                for name in (name for name in w if w[name][i].any()):
                    c = w[name][i].ravel()
                    row = unit[name] * (c @ rows[name])
                    combination.add(name, row, float(row @ self.coef_ + np.sum(c * known[name])))
                    size = float(unit[name] ** 2 * (c @ c))
                    combination.squares[name] = combination.squares.get(name, 0.0) + size
                    combination.reference += self.errors_[name] ** 2 * size
        if not all(combination.rows for combination in out):
            raise ValueError("weights must not be zero throughout")
        return out


class Combination:
    """A linear combination of predictions.

    Attributes
    ----------
    rows : dict of str to ndarray of shape (n_features,)
        What each property adds to its gradient.
    value : float
    squares : dict of str to float
        Sums of squared coefficients, in units of the property's rows.
    reference : float
        Variance of the same combination of reference calculations.
    """

    def __init__(self) -> None:
        self.rows: dict[str, Array] = {}
        self.squares: dict[str, float] = {}
        self.value = self.reference = 0.0

    def add(self, name: str, row: Array, value: float) -> None:
        """Add what one frame contributes."""
        self.rows[name] = self.rows[name] + row if name in self.rows else row
        self.value += value


def checked_weights(frames: list[Atoms], weights: Any) -> dict[str, Any]:
    if not isinstance(weights, Mapping):
        weights = {ENERGY: weights}
    if set(weights) - set(PROPERTIES):
        raise ValueError(f"weights must be those of {PROPERTIES}, got {list(weights)}")
    out = {}
    for name, each in weights.items():
        if len(each) != len(frames):
            raise ValueError(
                f"weights of {name} must have one entry per frame, {len(frames)}, got {len(each)}"
            )
        out[name] = [np.asarray(c, dtype=np.float64) for c in each]
        for i, (frame, c) in enumerate(zip(frames, out[name], strict=True)):
            shape = {ENERGY: (), FORCES: (len(frame), 3), STRESS: (6,)}[name]
            if c.shape != shape or not np.isfinite(c).all():
                raise ValueError(
                    f"weights of {name} must be finite, of shape {shape} for frame {i}, got shape "
                    f"{c.shape}"
                )
    return out


def _warn_without_scale(scales: Mapping[str, float]) -> None:
    if still := [name for name, scale in scales.items() if scale == 0]:
        warnings.warn(
            f"C of {', '.join(still)} is 0, all of its errors being taken for noise: error bars of "
            'combinations lack it. Use calibration="loo", or calibrate(noise=False)',
            UserWarning,
            stacklevel=3,
        )


def _several(weights: Any) -> bool:
    """Whether weights are those of several combinations."""
    if isinstance(weights, Mapping):
        return False
    return isinstance(weights[0], Mapping) or np.ndim(weights[0]) > 0


def _combinations(weights: Any) -> list[Any]:
    return list(weights) if _several(weights) else [weights]
