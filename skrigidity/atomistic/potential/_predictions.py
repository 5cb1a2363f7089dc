"""What a fitted potential predicts, with error bars and rigidities."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import Bunch
from sklearn.utils.validation import check_is_fitted

from skrigidity.atomistic.potential._baseline import FixedPart, PotentialColumns
from skrigidity.atomistic.potential._calibration import Scales
from skrigidity.atomistic.potential._support import Support
from skrigidity.frames import Atoms, check_frames, reject_unknown_species
from skrigidity.gradients import (
    ENERGY,
    FORCES,
    PROPERTIES,
    STRESS,
    DerivativeGradients,
    Level,
    RigidityMixin,
    deviation,
    inverse,
)
from skrigidity.hessian import Rows

Array = NDArray[np.float64]
_UNCERTAIN = (*PROPERTIES, "local")


class FramePredictions(RigidityMixin):
    """Energies, forces and stress of frames; `RigidityMixin` for what is said of energies."""

    descriptor_: Any
    species_: NDArray[np.int64]
    errors_: dict[str, float]
    fixed_: FixedPart
    gradients_: DerivativeGradients
    coef_: Array
    _scales: Scales
    support_: Support
    n_excluded_: Any

    # --- what the mixin asks for -----------------------------------------------------------

    def _validated(self, X: Any, *, reset: bool = False, name: str = "X") -> list[Atoms]:
        frames = check_frames(X, name)
        if hasattr(self, "species_"):
            reject_unknown_species(frames, self.species_, name)
        return frames

    def _checked(
        self, X: Any, level: Level = "global", name: str = "X"
    ) -> tuple[Any, Callable[[Any], Any]]:
        frames, _ = super()._checked(X, level, name)
        ends = np.cumsum([len(frame) for frame in frames])[:-1]
        return frames, lambda values: np.split(values, ends) if level == "local" else values

    def _parameters(self) -> tuple[Array, Array, tuple[int, ...]]:
        return self.coef_[:, None], np.zeros(1), ()

    def _known_scale(self) -> tuple[float, float]:
        """Return C**2 and sigma**2 of energies, in units of their error, as rows are."""
        scale, noise = self._scales.known(ENERGY)
        return scale, noise / self.errors_[ENERGY] ** 2

    def _set_scales(self, scales: Scales) -> None:
        self._scales = scales
        self.scale_, self.noise_variance_ = scales.variance, scales.noise
        self.n_excluded_ = scales.n_excluded

    # --- predictions -----------------------------------------------------------------------

    def predict(
        self,
        X: Any,
        return_std: bool = False,
        return_cov: bool = False,
        *,
        properties: str | Sequence[str] = ENERGY,
    ) -> Any:
        """Predict properties of frames, with the standard deviation of the error if asked for.

        Parameters
        ----------
        X : list of ase.Atoms
            Frames.
        return_std : bool, default=False
            Return standard deviations of prediction minus reference as well.
        return_cov : bool, default=False
            Return covariances as well; of one property only.
        properties : {"energy", "forces", "stress"} or sequence of these, default="energy"
            What to predict.

        Returns
        -------
        ndarray of shape (n_frames,), list of ndarray of shape (n_atoms, 3), \
or ndarray of shape (n_frames, 6)
            Total energies in eV, forces in eV/Å, or stress in eV/Å³ (ASE's sign and Voigt order;
            NaN where the cell has no volume). With `return_std` a second value of the same form.
            With `return_cov` covariances of shape (n_frames, n_frames), per frame (3 n_atoms,
            3 n_atoms), or (n_frames, 6, 6).
        Bunch
            For several properties: each by its name, its standard deviations as ``name_std``.

        Raises
        ------
        ValueError
            If a property is unknown, both are asked for, or the scale of error bars is not known.
        """
        if return_std and return_cov:
            raise ValueError("return_std and return_cov: at most one of them can be asked for")
        names = (properties,) if isinstance(properties, str) else tuple(properties)
        if not names or set(names) - set(PROPERTIES):
            raise ValueError(f"properties must be among {PROPERTIES}, got {properties!r}")
        if return_cov and not isinstance(properties, str):
            raise ValueError("return_cov: covariances are those of one property")
        frames, _ = self._checked(X)
        if ENERGY in names:
            self._warn_of_undefined()
        if return_cov:
            return self._with_covariances(frames, names[0])
        if names == (ENERGY,):
            values = self._energies(frames, return_std)
        else:
            std = names if return_std else ()
            each = [self._of_frame(frame, names, std) for frame in frames]
            values = {key: _collected(key, [one[key] for one in each]) for key in each[0]}
        if not isinstance(properties, str):
            return Bunch(**{key: value for key, value in values.items() if _base(key) in names})
        return (
            (values[properties], values[properties + "_std"]) if return_std else values[properties]
        )

    def single_point(self, frame: Atoms, uncertainty: Iterable[str] = ()) -> dict[str, Any]:
        """Return everything that a calculator wants to know of one frame.

        Parameters
        ----------
        frame : ase.Atoms
            The frame.
        uncertainty : sequence of {"energy", "forces", "stress", "local"}, default=()
            What to give error bars to. Without any, one backward pass is all it costs.

        Returns
        -------
        dict
            "energy" and "free_energy" (eV), "energies" (n_atoms,), "forces" (n_atoms, 3) in eV/Å,
            and for cells with a volume "stress" (6,) in eV/Å³. As asked for: "energy_std",
            "forces_std", "stress_std"; "energies_std", "local_rigidity" and "support", all of
            shape (n_atoms,), for "local".

        Raises
        ------
        ValueError
            If an uncertainty is unknown, or its scale.
        """
        asked = set(uncertainty)
        if asked - set(_UNCERTAIN):
            raise ValueError(f"uncertainty must be among {_UNCERTAIN}, got {uncertainty!r}")
        check_is_fitted(self, "coef_")
        frames = self._validated([frame], name="frame")
        out = self._of_frame(frames[0], PROPERTIES, asked)
        out["free_energy"] = out["energy"]
        if frames[0].cell.rank < 3:
            out = {key: value for key, value in out.items() if _base(key) != STRESS}
        return out

    def predict_local(self, X: Any, return_std: bool = False) -> Any:
        """Predict the energies of atoms, whose sum is a frame's energy.

        Parameters
        ----------
        X : list of ase.Atoms
            Frames.
        return_std : bool, default=False
            Return ``sqrt(C**2 / R)`` as well: no sigma, for nobody computes such an energy.

        Returns
        -------
        list of ndarray of shape (n_atoms,)
            Energies in eV; with `return_std` a second list.
        """
        found = super().predict_local(X, return_std)
        unit, local = self.errors_[ENERGY], found[0] if return_std else found
        fixed = [self.fixed_.of(frame).energies for frame in X]
        energies = [unit * part + more for part, more in zip(local, fixed, strict=True)]
        return (energies, [unit * part for part in found[1]]) if return_std else energies

    def predict_components(self, X: Any, components: Any = None, *, level: Level = "global") -> Any:
        """Predict energies with one component at a time, in eV.

        Parameters
        ----------
        X : list of ase.Atoms
            Frames.
        components : list of str, list of int, list of slice or dict of columns, default=None
            Names of the descriptor's components, and "composition"; block sizes or columns. None
            is all of them.
        level : {"global", "local"}, default="global"
            Per frame, or per atom.

        Returns
        -------
        ndarray of shape (n_frames, n_components)
            A list of arrays of shape (n_atoms, n_components) for ``level="local"``.
        """
        found = super().predict_components(X, components, level=level)
        if level == "local":
            return [self.errors_[ENERGY] * part for part in found]
        return found * self._energy_units(X)[:, None]

    def sample_y(
        self, X: Any, n_samples: int = 1, random_state: Any = None, noise: bool = False
    ) -> NDArray[np.float64]:
        """Draw energies of frames from the posterior, correlations included.

        Parameters
        ----------
        X : list of ase.Atoms
            Frames.
        n_samples : int, default=1
            Number of draws.
        random_state : int, RandomState instance or None, default=None
            Seed of the draws.
        noise : bool, default=False
            Add sigma, independently to every energy per atom.

        Returns
        -------
        ndarray of shape (n_frames, n_samples)
            Energies in eV.
        """
        draws = super().sample_y(X, n_samples, random_state, noise)
        return draws * self._energy_units(X)[:, None] + self._fixed_energies(X)[:, None]

    # --- rigidities ------------------------------------------------------------------------

    def force_rigidity(self, X: Any) -> list[Array]:
        """Rigidity of every force component, in reference calculations.

        Parameters
        ----------
        X : list of ase.Atoms
            Frames.

        Returns
        -------
        list of ndarray of shape (n_atoms, 3)
            Infinite where symmetry makes a force zero.
        """
        frames, _ = self._checked(X)
        return [inverse(self._scaled_quad(frame, FORCES)).reshape(-1, 3) for frame in frames]

    def stress_rigidity(self, X: Any) -> Array:
        """Rigidity of every stress component, in reference calculations.

        Parameters
        ----------
        X : list of ase.Atoms
            Frames.

        Returns
        -------
        ndarray of shape (n_frames, 6)
            Rigidities, in the order of ASE's stress.
        """
        frames, _ = self._checked(X)
        return np.array([inverse(self._scaled_quad(frame, STRESS)) for frame in frames])

    # --- inside ----------------------------------------------------------------------------

    @property
    def _columns(self) -> PotentialColumns:
        columns = self.gradients_.source
        assert isinstance(columns, PotentialColumns)
        return columns

    def _of_frame(self, frame: Atoms, names: Iterable[str], std: Iterable[str]) -> dict[str, Any]:
        """Return properties of one frame, and standard deviations of some."""
        rows, std = None, set(std)
        fixed = self.fixed_.of(frame)
        if {FORCES, STRESS} & std:
            rows = self.gradients_.of_frame(frame, (FORCES, STRESS))
            local = rows.features @ self.coef_
            forces = (rows[FORCES] @ self.coef_).reshape(-1, 3)
            strain = rows[STRESS] @ self.coef_ * len(frame)
        else:
            local, positions, strain = self._columns.backward(frame, self.coef_)
            forces = -positions
            if std:
                rows = self.gradients_.of_frame(frame, (ENERGY,))
        local, stress = local + fixed.energies, np.full(6, np.nan)
        if volume := volume_of(frame):
            stress = (strain + fixed.strain) / volume
        out = {"energy": float(local.sum()), "energies": local, "forces": forces + fixed.forces}
        out["stress"] = stress
        return out | (self._deviations(frame, rows, std) if std else {})

    def _deviations(self, frame: Atoms, rows: Any, std: set[str]) -> dict[str, Array | float]:
        out: dict[str, Array | float] = {}
        if ENERGY in std:
            quad = self._quad_of(rows[ENERGY])
            out["energy_std"] = float(self._deviation(ENERGY, quad)[0]) * len(frame)
        if FORCES in std:
            out["forces_std"] = self._deviation(FORCES, self._quad_of(rows[FORCES])).reshape(-1, 3)
        if STRESS in std:
            volume, each = volume_of(frame), self._deviation(STRESS, self._quad_of(rows[STRESS]))
            out["stress_std"] = each * len(frame) / volume if volume else np.full(6, np.nan)
        if "local" in std:
            quad = self._quad_of(self._columns.local(rows.features))
            out["energies_std"] = np.sqrt(self._scales.known(ENERGY)[0] * quad)
            out["local_rigidity"] = self.errors_[ENERGY] ** 2 * inverse(quad)
            out["support"] = self.support_.of(rows.features)
        return out

    def _deviation(self, name: str, quad: Array) -> Array:
        scale, noise = self._scales.known(name)
        if name == ENERGY:
            return np.asarray(deviation(scale, quad, noise))
        return np.sqrt(np.where(np.isinf(quad), np.inf, scale * quad + noise))

    def _quad_of(self, rows: Any) -> Array:
        """Return ``g.T @ inv(H) @ g`` of rows in units of their properties, or of one."""
        matrix = np.atleast_2d(rows)
        quad = self.hessian_.quad(Rows(matrix))
        return quad if np.ndim(rows) > 1 else quad[0]

    def _scaled_quad(self, frame: Atoms, name: str) -> Array:
        rows = self.gradients_.of_frame(frame, (name,))[name]
        return self._quad_of(rows / self.errors_[name])

    def _energies(self, frames: list[Atoms], return_std: bool) -> dict[str, Array]:
        rows, units = self.gradients_.rows(frames), self._energy_units(frames)
        out = {ENERGY: self._times(rows) * units + self._fixed_energies(frames)}
        if return_std:
            scale, noise = self._known_scale()
            out["energy_std"] = units * deviation(scale, self._quad(rows), noise)
        return out

    def _energy_units(self, frames: list[Atoms]) -> Array:
        """Return the units of rows of energies: the error of each frame's energy."""
        return self.errors_[ENERGY] * np.array([len(frame) for frame in frames], dtype=float)

    def _fixed_energies(self, frames: list[Atoms]) -> Array:
        return np.array([self.fixed_.of(frame).energies.sum() for frame in frames])

    def _with_covariances(self, frames: list[Atoms], name: str) -> tuple[Any, Any]:
        scale, noise = self._scales.known(name)
        if name == ENERGY:
            values = self._energies(frames, False)[ENERGY]
            sizes = np.array([len(frame) for frame in frames], dtype=float)
            z = self.hessian_.whiten(self.gradients_.rows(frames))
            z *= self._energy_units(frames)[:, None]
            return values, scale * (z @ z.T) + noise * np.diag(sizes**2)
        found, each = [], []
        for frame in frames:
            unit = 1.0
            if name == STRESS:
                unit = len(frame) / (volume_of(frame) or np.nan)
            z = self.hessian_.whiten(Rows(self.gradients_.of_frame(frame, (name,))[name]))
            found.append(self._of_frame(frame, (name,), ())[name])
            each.append(unit**2 * (scale * (z @ z.T) + noise * np.eye(len(z))))
        return _collected(name, found), _collected(name, each)

    def _warn_of_undefined(self) -> None:
        if ENERGY not in self.gradients_.fitted:
            warnings.warn(
                "fitted without energies: energies are defined up to a constant per atom",
                UserWarning,
                stacklevel=3,
            )


def volume_of(frame: Atoms) -> float:
    """Return the volume of a cell, 0 where it has none."""
    return float(frame.get_volume()) if frame.cell.rank == 3 else 0.0


def _base(key: str) -> str:
    return key.removesuffix("_std")


def _collected(key: str, values: list[Any]) -> Any:
    return values if _base(key) == FORCES or key.startswith("energies") else np.array(values)
