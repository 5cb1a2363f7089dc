"""An ASE calculator with error bars and rigidities."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .._extras import import_extra
from ._protocol import UNCERTAINTIES, Atoms, check_uncertainty

if TYPE_CHECKING:
    from ._protocol import SinglePoint

_ase: Any = import_extra(
    "ase.calculators.calculator", extra="atomistic", needed_by="RigidityCalculator"
)
_outputs: Any = import_extra("ase.outputs", extra="atomistic", needed_by="RigidityCalculator")
_singlepoint: Any = import_extra(
    "ase.calculators.singlepoint", extra="atomistic", needed_by="RigidityCalculator"
)
_PER_ATOM = ("forces_std", "energies_std", "local_rigidity", "support")
_PER_FRAME = ("energy_std", "stress_std", "bias_energy")


class RigidityCalculator(_ase.Calculator):
    """ASE calculator of a model that knows how firmly its data pin each prediction.

    Energy, forces and stress are ASE's own properties. The uncertainties asked for stand beside
    them in ``results``, under names that ASE does not know: "energy_std", "forces_std",
    "stress_std", "energies_std", "local_rigidity" and "support". With a bias there is
    "bias_energy" (eV) as well, which the energy contains.

    Parameters
    ----------
    model : SinglePoint
        A fitted model, for instance a ``RigidPotential``.
    uncertainty : sequence of {"energy", "forces", "stress", "local"}, default=all of them
        What every calculation brings along. Error bars of forces cost several times the forces;
        with ``()`` uncertainties cost nothing until `uncertainty` is called, which is how to run
        dynamics. ``calculator.set(uncertainty=...)`` changes it later.
    bias : float, default=0.0
        Towards the unknown: ``-bias`` times the error bar of the whole structure's energy is added
        to the energy, and its derivatives to forces and stress. Needs a model with
        ``energy_std_gradient``, such as a ``RigidPotential``.

    Attributes
    ----------
    results : dict
        What is known of the atoms of the last calculation.
    parameters : dict
        The uncertainties that every calculation brings along.

    See Also
    --------
    RigidityObserver : Logs, collects or stops by these uncertainties during dynamics.

    Notes
    -----
    As any calculator of ASE, an instance remembers the atoms of its last calculation: each thread
    needs its own. They can share one model, ``RigidityCalculator(calculator.model)``.

    ``SinglePointCalculator`` and the file formats of ASE take nothing but ASE's own properties.
    `snapshot` gives a structure that keeps everything when it is written to an extxyz file.

    A bias drives dynamics to structures that the model knows less (hyperactive learning); it costs
    two more passes over the features. Where it is too small, nothing happens: its forces should
    be a tenth of the others. Where it is too large, atoms fly apart. Energies of atoms ("energies")
    are those without it. Dynamics conserve the biased energy.

    References
    ----------
    van der Oord, Sachs, Kovács, Ortner, Csányi, npj Comput. Mater. 9, 168 (2023).

    Examples
    --------
    A spring between two atoms whose force constant k = 2 ± 0.1 eV/Å² was fitted:

    >>> import numpy as np
    >>> from ase import Atoms
    >>> from skrigidity.calculators import RigidityCalculator
    >>> class Spring:
    ...     def single_point(self, frame, uncertainty=()):
    ...         bond = frame.positions[1] - frame.positions[0]
    ...         length = np.linalg.norm(bond)
    ...         slope = (length - 1.0) * np.array([bond, -bond]) / length
    ...         energy = (length - 1.0) ** 2
    ...         found = {"energy": energy, "free_energy": energy, "forces": 2.0 * slope}
    ...         if "forces" in uncertainty:
    ...             found["forces_std"] = 0.1 * abs(slope)
    ...         return found
    >>> atoms = Atoms("H2", [[0, 0, 0], [0, 0, 1.5]])
    >>> atoms.calc = RigidityCalculator(Spring(), uncertainty=["forces"])
    >>> atoms.get_forces()[0]
    array([0., 0., 1.])
    >>> atoms.calc.results["forces_std"][0]
    array([0.  , 0.  , 0.05])
    """

    implemented_properties = ["energy", "free_energy", "energies", "forces", "stress"]
    discard_results_on_any_change = True

    def __init__(
        self,
        model: SinglePoint,
        uncertainty: Sequence[str] = ("energy", "forces", "stress", "local"),
        bias: float = 0.0,
    ) -> None:
        self.model = model
        super().__init__(uncertainty=uncertainty, **({"bias": bias} if bias else {}))

    def set(self, **kwargs: Any) -> dict[str, Any]:
        """Change parameters, as any calculator of ASE: ``set(uncertainty=...)``.

        Parameters
        ----------
        **kwargs
            New values.

        Returns
        -------
        dict
            Those that differ from what they were; if there are any, results are forgotten.

        Raises
        ------
        ValueError
            If an uncertainty is unknown, or the bias is no number of at least 0.
        TypeError
            If there is a bias, and the model has no ``energy_std_gradient``.
        """
        if "uncertainty" in kwargs:
            kwargs["uncertainty"] = check_uncertainty(kwargs["uncertainty"])
        if "bias" in kwargs:
            kwargs["bias"] = self._check_bias(kwargs["bias"])
        changed: dict[str, Any] = super().set(**kwargs)
        return changed

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = tuple(_ase.all_changes),
    ) -> None:
        """Fill ``results``; ASE calls this when something is not known yet.

        Parameters
        ----------
        atoms : ase.Atoms, default=None
            The structure; that of the last calculation where None.
        properties : sequence of str, default=("energy",)
            What is needed. Everything but uncertainties is calculated anyway.
        system_changes : sequence of str
            What differs from the last calculation.

        Raises
        ------
        PropertyNotImplementedError
            If the stress is needed of a cell without volume.
        """
        structure = self.atoms if atoms is None else atoms
        if "stress" in properties:
            _check_volume(structure)
        super().calculate(atoms, properties, system_changes)
        self.results: dict[str, Any] = {}
        self._add(self.parameters["uncertainty"])

    def uncertainty(
        self, atoms: Atoms | None = None, properties: str | Iterable[str] | None = None
    ) -> dict[str, Any]:
        """Return uncertainties of a structure, whether or not calculations bring them along.

        What is known of these atoms already is not calculated again.

        Parameters
        ----------
        atoms : ase.Atoms, default=None
            The structure; that of the last calculation where None.
        properties : some of {"energy", "forces", "stress", "local"}, default=None
            What to give; None is all that there is, which leaves out the stress of a cell
            without volume and what the model does not have.

        Returns
        -------
        dict
            For "energy": "energy_std". For "forces": "forces_std". For "stress": "stress_std".
            For "local": those of "energies_std", "local_rigidity" and "support" that the model
            has.

        Raises
        ------
        PropertyNotImplementedError
            If the model has no such uncertainty, or the cell has no volume.
        ValueError
            If a property is unknown, or there has been no calculation and no atoms are given.

        Examples
        --------
        >>> from ase import Atoms
        >>> from skrigidity.calculators import RigidityCalculator
        >>> class Free:
        ...     def single_point(self, frame, uncertainty=()):
        ...         found = {"energy": 0.0, "free_energy": 0.0, "forces": 0 * frame.positions}
        ...         return {**found, **{f"{name}_std": 0.1 for name in uncertainty}}
        >>> RigidityCalculator(Free(), uncertainty=()).uncertainty(Atoms("H"), "energy")
        {'energy_std': 0.1}
        """
        structure = self.get_atoms() if atoms is None else atoms
        names = check_uncertainty(UNCERTAINTIES if properties is None else properties)
        if properties is not None and "stress" in names:
            _check_volume(structure)
        carried: tuple[str, ...] = ()
        if self.check_state(structure):
            self.atoms, self.results = structure.copy(), {}
            carried = self.parameters["uncertainty"]
        self._add((*names, *carried))
        for name in names:
            if properties is not None and not self._knows(name):
                raise _ase.PropertyNotImplementedError(
                    f"{type(self.model).__name__} has no uncertainty of the property {name!r}"
                )
        keys = [key for name in names for key in UNCERTAINTIES[name]]
        return {key: np.copy(self.results[key])[()] for key in keys if key in self.results}

    def export_properties(self) -> Any:
        """Give what is known under names of ASE, without uncertainties.

        Returns
        -------
        ase.outputs.Properties
            Energy, forces and so on, with the number of atoms.
        """
        return _outputs.Properties(self._results_of_ase())

    def snapshot(self, atoms: Atoms | None = None) -> Atoms:
        """Copy a structure, with all results where files of ASE keep them.

        Parameters
        ----------
        atoms : ase.Atoms, default=None
            The structure; that of the last calculation where None.

        Returns
        -------
        ase.Atoms
            With a ``SinglePointCalculator`` of ASE's own properties, uncertainties of atoms in
            ``arrays``, and those of the whole structure in ``info``.

        Raises
        ------
        ValueError
            If there has been no calculation and no atoms are given.
        """
        structure = self.get_atoms() if atoms is None else atoms
        self.get_property("energy", structure)
        frame = structure.copy()
        for key in _PER_ATOM:
            if key in self.results:
                frame.arrays[key] = np.array(self.results[key], dtype=np.float64)
        for key in _PER_FRAME:
            if key in self.results:
                frame.info[key] = np.array(self.results[key], dtype=np.float64)[()]
        frame.calc = _singlepoint.SinglePointCalculator(frame, **self._results_of_ase())
        return frame

    def _results_of_ase(self) -> dict[str, Any]:
        return {k: v for k, v in self.results.items() if k in self.implemented_properties}

    def _knows(self, name: str) -> bool:
        return any(key in self.results for key in UNCERTAINTIES[name])

    def _add(self, names: Iterable[str]) -> None:
        """Add uncertainties of the current atoms to the results, and all else if there is none."""
        meaningful = _meaningful(dict.fromkeys(names), self.atoms)
        missing = tuple(name for name in meaningful if not self._knows(name))
        if missing or not self.results:
            # What is known stays as it is, to the last bit: asking does not change the dynamics.
            found = dict(self.model.single_point(self.atoms, missing))
            if self.parameters.get("bias") and not self.results:
                self._add_bias(found)
            self.results = {**found, **self.results}

    def _add_bias(self, results: dict[str, Any]) -> None:
        model: Any = self.model
        gradient, bias = model.energy_std_gradient(self.atoms), self.parameters["bias"]
        results["bias_energy"] = -bias * gradient.std
        for name in ("energy", "free_energy"):
            results[name] = results[name] + results["bias_energy"]
        results["forces"] = results["forces"] + bias * gradient.positions
        if "stress" in results:
            results["stress"] = results["stress"] - bias * gradient.strain / self.atoms.get_volume()

    def _check_bias(self, bias: float) -> float:
        value = float(bias)
        if not 0.0 <= value < np.inf:
            raise ValueError(f"bias: expected a number of at least 0, got {bias!r}")
        if value and not hasattr(self.model, "energy_std_gradient"):
            raise TypeError(f"bias: {type(self.model).__name__} has no energy_std_gradient")
        return value


def _has_volume(atoms: Atoms) -> bool:
    return bool(atoms.cell.rank == 3)


def _meaningful(names: Iterable[str], atoms: Atoms) -> tuple[str, ...]:
    return tuple(name for name in names if name != "stress" or _has_volume(atoms))


def _check_volume(atoms: Atoms) -> None:
    if not _has_volume(atoms):
        raise _ase.PropertyNotImplementedError("stress: the cell has no volume")
