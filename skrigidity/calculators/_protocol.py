"""What a calculator asks of a model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from ase import Atoms as Atoms
else:
    Atoms = Any

# What can be asked for, and the results that answer.
UNCERTAINTIES = {
    "energy": ("energy_std",),
    "forces": ("forces_std",),
    "stress": ("stress_std",),
    "local": ("energies_std", "local_rigidity", "support"),
}


@runtime_checkable
class SinglePoint(Protocol):
    """A model that predicts one structure at a time, as `RigidityCalculator` needs it.

    Anything with this one method will do, for instance a few lines around a network. Two threads
    may call it at once where one model serves calculators in several threads.

    For thresholds that are quantiles of the training set, `RigidityObserver` also needs a method
    ``training_quantile(name, q)``: the quantile ``q`` of the result ``name`` over the training
    set: per atom for "energy_std" (eV per atom), of single components for "forces_std" (eV/Å) and
    "stress_std" (eV/Å³), of single atoms for "energies_std" (eV), "local_rigidity" and
    "support".

    Examples
    --------
    >>> from skrigidity.calculators import SinglePoint
    >>> class Free:
    ...     "Atoms that do not feel each other."
    ...
    ...     def single_point(self, frame, uncertainty=()):
    ...         return {"energy": 0.0, "free_energy": 0.0, "forces": 0 * frame.positions}
    >>> isinstance(Free(), SinglePoint)
    True
    """

    def single_point(self, frame: Atoms, uncertainty: Sequence[str] = ()) -> Mapping[str, Any]:
        """Predict one structure.

        Parameters
        ----------
        frame : ase.Atoms
            The structure. It has no calculator, and is to be left as it is.
        uncertainty : sequence of {"energy", "forces", "stress", "local"}, default=()
            The uncertainties to add. "stress" is asked for only where the cell has a volume.

        Returns
        -------
        dict
            Always "energy" (eV), "free_energy" (the same, where there is no entropy of electrons)
            and "forces" (n_atoms, 3) in eV/Å. Where the model has them, "energies" (n_atoms,) in
            eV and, if the cell has a volume, "stress" (6,) in eV/Å³, in the sign and the Voigt
            order of ASE (xx, yy, zz, yz, xz, xy).

            With "energy": "energy_std" (eV, of the whole structure). With "forces": "forces_std"
            (n_atoms, 3). With "stress": "stress_std" (6,). With "local", what the model has of
            "energies_std", "local_rigidity" and "support", each (n_atoms,).
        """
        ...


def check_uncertainty(names: str | Iterable[str]) -> tuple[str, ...]:
    """Return the names of uncertainties as a tuple, or say which of them is unknown."""
    found = (names,) if isinstance(names, str) else tuple(names)
    unknown = [name for name in found if name not in UNCERTAINTIES]
    if unknown:
        raise ValueError(
            f"uncertainty: expected some of {', '.join(UNCERTAINTIES)}; got {unknown[0]!r}"
        )
    return found
