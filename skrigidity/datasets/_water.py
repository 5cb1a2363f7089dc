"""Loader of the bundled water monomers and dimers."""

from typing import Any

import numpy as np
from sklearn.utils import Bunch
from sklearn.utils._param_validation import StrOptions, validate_params

from skrigidity.datasets._arrays import OPTIONS, finish, read_bundled

NUMBERS = (8, 1, 1)


@validate_params(
    {"kind": [StrOptions({"monomer", "dimer"}), None], **OPTIONS},
    prefer_skip_nested_validation=True,
)
def load_water(
    *, kind: str | None = None, return_frames: bool = False, return_X_y: bool = False
) -> Any:
    """Load water monomers and dimers with DFT energies.

    Distorted molecules, alone and in pairs whose oxygen atoms are 3 to 10 Å apart: data on which
    a model with short- and long-range components can be asked which of them carries what. Read
    ``DESCR`` for how the data were made and what they look like.

    Parameters
    ----------
    kind : {"monomer", "dimer"}, default=None
        Return only the structures of one kind; ``None`` returns all, monomers first.

    return_frames : bool, default=False
        Whether to add ``frames``, the same structures as a list of :class:`ase.Atoms`, which is
        what descriptors and ASE calculators take. Off by default, because everything else works
        without ASE; it needs the extra ``skrigidity[atomistic]``.

    return_X_y : bool, default=False
        Whether to return ``(frames, target)`` instead, as scikit-learn's loaders return
        ``(data, target)``: X are the frames, which descriptors take. It needs ASE as well.

    Returns
    -------
    :class:`~sklearn.utils.Bunch`, or (list of ase.Atoms, ndarray) with ``return_X_y=True``
        Dictionary-like object. Dimers are sorted by ``distance``, evenly spaced.

        positions : list of n_structures ndarrays of shape (n_atoms, 3)
            Cartesian positions in Å, without a cell: O, H, H of one molecule, then of the other.
            The first oxygen atom is at the origin.
        numbers : list of n_structures ndarrays of shape (n_atoms,)
            Atomic numbers.
        n_atoms : ndarray of shape (n_structures,)
            Number of atoms: 3 or 6.
        energies : ndarray of shape (n_structures,)
            Total energy in eV.
        target : ndarray of shape (n_structures,)
            Energy per atom in eV, ``energies / n_atoms``.
        target_names : list of str
            ``["energy_per_atom"]``.
        monomer_energy : float
            Total energy in eV of one molecule in the experimental equilibrium geometry, computed
            in the same way. ``target - monomer_energy / 3`` is the energy of distortion and
            interaction per atom.
        kind : ndarray of shape (n_structures,)
            ``"monomer"`` or ``"dimer"``.
        distance : ndarray of shape (n_structures,)
            Distance of the two oxygen atoms of a dimer in Å, NaN for monomers.
        DESCR : str
            Description of the data set.
        frames : list of ase.Atoms
            Only with ``return_frames=True``. ``info`` has ``energy_b3lyp`` (eV), ``kind`` and, for
            dimers, ``distance``. The name is not ``energy`` because ASE moves that into a
            calculator when it reads a file. The frames have no cell; descriptors in reciprocal
            space need one, the same for all frames and large enough: 20 Å and more.

    Raises
    ------
    ValueError
        If an argument is not one of the values above.
    ImportError
        If ``return_frames=True`` or ``return_X_y=True`` and ASE is not installed.
    OSError
        If the bundled file is damaged.

    Examples
    --------
    >>> from skrigidity.datasets import load_water
    >>> water = load_water()
    >>> len(water.target)
    200
    >>> dimers = load_water(kind="dimer")
    >>> float(dimers.distance[0]), float(dimers.distance[-1])
    (3.0, 10.0)
    """
    arrays = read_bundled("water")
    per_angstrom = float(arrays["positions_per_angstrom"])
    every = [*(arrays["monomers"] / per_angstrom), *(arrays["dimers"] / per_angstrom)]
    sizes = np.array([len(positions) for positions in every])
    kinds = np.where(sizes == 3, "monomer", "dimer")
    chosen = (kinds == kind) | (kind is None)

    positions = [every[i] for i in np.flatnonzero(chosen)]
    n_atoms = sizes[chosen]
    data = Bunch(
        positions=positions,
        numbers=[np.array(NUMBERS * (n // 3)) for n in n_atoms],
        n_atoms=n_atoms,
        energies=arrays["energies"][chosen],
        monomer_energy=float(arrays["monomer_energy"]),
        kind=kinds[chosen],
        distance=np.array(
            [np.linalg.norm(x[3] - x[0]) if len(x) == 6 else np.nan for x in positions]
        ),
    )
    columns = ("energy_b3lyp", "kind", "distance")
    return finish(data, "water", columns, return_frames, return_X_y)
