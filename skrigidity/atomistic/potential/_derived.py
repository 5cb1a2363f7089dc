"""Second derivatives of the energy as linear combinations of forces and stress."""

from __future__ import annotations

from typing import Any

import numpy as np

from skrigidity.frames import Atoms, check_frames
from skrigidity.gradients import FORCES, STRESS, has_stress

Combinations = tuple[list[Atoms], list[dict[str, Any]]]

_VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))


def elastic_constant_weights(frame: Atoms, strain: float = 0.002) -> Combinations:
    r"""Write elastic constants as linear combinations of stress.

    Central differences :math:`C_{ij} = (\partial \sigma_i / \partial \epsilon_j +
    \partial \sigma_j / \partial \epsilon_i) / 2`, with shear strains that count twice, as Voigt's
    order has it.

    Parameters
    ----------
    frame : ase.Atoms
        A periodic frame, best without stress: under stress, these are not the second derivatives
        of its energy.
    strain : float, default=0.002
        Size of the strains.

    Returns
    -------
    frames : list of 12 ase.Atoms
        Strained ones. Atoms move along with the cell and stay there: where symmetry does not hold
        them in place, these are constants of clamped ions.
    weights : list of 36 dict
        Those of C11, C12, ..., C66, in eV/Å³, for `RigidPotential.combination_rigidity` and
        `RigidPotential.predict_combination`: their results have shape (36,).

    Raises
    ------
    ValueError
        If the frame has no periodic cell with a volume, or the strain is not positive.

    See Also
    --------
    force_constant_weights : The same for pairs of atoms.

    Examples
    --------
    >>> import numpy as np
    >>> from ase import units
    >>> from ase.build import bulk
    >>> from ase.calculators.emt import EMT
    >>> from skrigidity.atomistic import elastic_constant_weights
    >>> frames, weights = elastic_constant_weights(bulk("Cu", a=3.59))
    >>> for frame in frames:
    ...     frame.calc = EMT()
    >>> stress = np.array([frame.get_stress() for frame in frames])
    >>> C = np.array([np.sum(w["stress"] * stress) for w in weights]).reshape(6, 6)
    >>> (C[[0, 0, 3], [0, 1, 3]] / units.GPa).round()  # C11, C12, C44
    array([172., 115.,  90.])
    """
    (frame,) = check_frames([frame], "frame")
    _check_step(strain, "strain")
    if not has_stress(frame):
        raise ValueError("frame must have a periodic cell with a volume")
    frames = []
    for i, j in _VOIGT:
        for sign in (1, -1):
            deformation = np.eye(3)
            deformation[i, j] += sign * strain / 2
            deformation[j, i] += sign * strain / 2
            strained = _bare(frame)
            strained.set_cell(frame.cell.array @ deformation, scale_atoms=True)
            frames.append(strained)
    weights = []
    for i, j in np.ndindex(6, 6):
        stress = np.zeros((6, 2, 6))  # strain, its sign, component
        stress[j, :, i] += np.array([1, -1]) / (4 * strain)
        stress[i, :, j] += np.array([1, -1]) / (4 * strain)
        weights.append({STRESS: stress.reshape(12, 6)})
    return frames, weights


def force_constant_weights(frame: Atoms, atom: int, displacement: float = 0.01) -> Combinations:
    r"""Write the force constants of an atom as linear combinations of forces.

    Central differences :math:`\Phi_{ab} = -\partial F_b / \partial r_a`.

    Parameters
    ----------
    frame : ase.Atoms
        A frame, best one without forces.
    atom : int
        Number of the atom that is displaced.
    displacement : float, default=0.01
        In Å.

    Returns
    -------
    frames : list of 6 ase.Atoms
        With the atom displaced by plus and minus x, y and z.
    weights : list of 9 n_atoms dict
        Those of the force constants in eV/Å², for `RigidPotential.combination_rigidity` and
        `RigidPotential.predict_combination`. Reshaped to (3, n_atoms, 3), their results have
        the direction of the displacement, the atom that feels it, and the direction of its force.

    Raises
    ------
    ValueError
        If there is no such atom, or the displacement is not positive.

    See Also
    --------
    elastic_constant_weights : The same for strains of the cell.

    Examples
    --------
    >>> import numpy as np
    >>> from ase import Atoms
    >>> from ase.calculators.emt import EMT
    >>> from skrigidity.atomistic import force_constant_weights
    >>> frames, weights = force_constant_weights(Atoms("Cu2", [[0, 0, 0], [0, 0, 2.3]]), atom=0)
    >>> for frame in frames:
    ...     frame.calc = EMT()
    >>> forces = np.array([frame.get_forces() for frame in frames])
    >>> constants = np.array([np.sum(w["forces"] * forces) for w in weights]).reshape(3, 2, 3)
    >>> constants[2, :, 2].round(1)  # along the bond, of the atom itself and of its neighbor
    array([ 9.1, -9.1])
    """
    (frame,) = check_frames([frame], "frame")
    _check_step(displacement, "displacement")
    n = len(frame)
    if not 0 <= atom < n:
        raise ValueError(f"atom must be one of 0 to {n - 1}, got {atom}")
    frames = []
    for direction in range(3):
        for sign in (1, -1):
            displaced = _bare(frame)
            displaced.positions[atom, direction] += sign * displacement
            frames.append(displaced)
    weights = []
    for direction, other, component in np.ndindex(3, n, 3):
        forces = np.zeros((3, 2, n, 3))  # direction, its sign, atom, component
        forces[direction, :, other, component] = np.array([-1, 1]) / (2 * displacement)
        weights.append({FORCES: forces.reshape(6, n, 3)})
    return frames, weights


def _bare(frame: Atoms) -> Atoms:
    """Return a copy without constraints, which would hold atoms back."""
    copy = frame.copy()
    copy.set_constraint()
    return copy


def _check_step(step: float, name: str) -> None:
    if not 0 < step < np.inf:
        raise ValueError(f"{name} must be positive, got {step}")
