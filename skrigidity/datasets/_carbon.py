"""Loader of the bundled amorphous-carbon structures."""

from typing import Any

import numpy as np
from sklearn.utils import Bunch
from sklearn.utils._param_validation import StrOptions, validate_params

from skrigidity.datasets._arrays import OPTIONS, finish, read_bundled


@validate_params(
    {"kind": [StrOptions({"bulk", "slab"}), None], **OPTIONS},
    prefer_skip_nested_validation=True,
)
def load_carbon(
    *, kind: str | None = None, return_frames: bool = False, return_X_y: bool = False
) -> Any:
    """Load 64-atom amorphous-carbon structures with GFN1-xTB energies and forces.

    Melt-quenched bulk structures between 1.4 and 3.5 g/cm³ and surface slabs cut from some of
    them, for trying out and testing models. The reference is consistent (forces are the
    derivatives of the energies, everything converged alike) but it is a tight-binding method at
    the Gamma point: not of DFT quality, and not meant for production simulations. Read ``DESCR``
    for how the data were made and what they look like.

    Parameters
    ----------
    kind : {"bulk", "slab"}, default=None
        Return only the structures of one kind; ``None`` returns all.

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
        Dictionary-like object. Structures of one trajectory follow one another, in the order in
        which they were taken: first the bulk from hot to cold, then the slab.

        positions : ndarray of shape (n_structures, 64, 3)
            Cartesian positions in Å.
        cells : ndarray of shape (n_structures, 3)
            Sides of the orthorhombic cell in Å. The longest side of a slab's cell is the one
            with the vacuum.
        pbc : ndarray of shape (3,)
            Periodic in all directions, slabs too: so were they computed.
        numbers : ndarray of shape (64,)
            Atomic numbers, the same in every structure: all 6.
        n_atoms : ndarray of shape (n_structures,)
            Number of atoms, 64 in every structure.
        energies : ndarray of shape (n_structures,)
            Total GFN1-xTB energy of the cell in eV (the electronic free energy at 1000 K, whose
            negative derivative the forces are).
        forces : ndarray of shape (n_structures, 64, 3)
            GFN1-xTB forces in eV/Å.
        target : ndarray of shape (n_structures,)
            Energy per atom in eV, ``energies / n_atoms``.
        target_names : list of str
            ``["energy_per_atom"]``.
        atom_energy : float
            GFN1-xTB energy of a free carbon atom in eV, computed in the same way (without spin
            polarization). Subtract it from ``target`` to get the atomization energy with a
            minus sign.
        kind : ndarray of shape (n_structures,)
            ``"bulk"`` or ``"slab"``.
        density : ndarray of shape (n_structures,)
            Density in g/cm³ of the bulk; of a slab: of the bulk from which it was cut.
        temperature : ndarray of shape (n_structures,)
            Temperature of the thermostat in K at the time of the snapshot.
        trajectory : ndarray of shape (n_structures,)
            Number of the melt-quench trajectory. A slab has that of its bulk. Use it as
            ``groups`` in cross-validation: structures of one trajectory are related.
        DESCR : str
            Description of the data set.
        frames : list of ase.Atoms
            Only with ``return_frames=True``. ``info`` has ``energy_gfn1`` (eV), ``kind``,
            ``density``, ``temperature`` and ``trajectory``; ``arrays`` has ``forces_gfn1``
            (eV/Å). The names are not ``energy`` and ``forces`` because ASE moves those into a
            calculator when it reads a file.

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
    >>> from skrigidity.datasets import load_carbon
    >>> carbon = load_carbon()
    >>> carbon.positions.shape
    (336, 64, 3)
    >>> slabs = load_carbon(kind="slab")
    >>> len(slabs.target)
    68
    """
    arrays = read_bundled("carbon")
    names = np.where(arrays["slab"], "slab", "bulk")
    chosen = (names == kind) | (kind is None)

    positions = arrays["positions"][chosen] / float(arrays["positions_per_angstrom"])
    n_structures, n_atoms, _ = positions.shape
    data = Bunch(
        positions=positions,
        cells=arrays["cells"][chosen],
        pbc=np.ones(3, dtype=bool),
        numbers=np.full(n_atoms, 6),
        n_atoms=np.full(n_structures, n_atoms),
        energies=arrays["energies"][chosen],
        forces=arrays["forces"][chosen] / float(arrays["forces_per_ev_per_angstrom"]),
        atom_energy=float(arrays["atom_energy"]),
        kind=names[chosen],
        density=arrays["density"][chosen],
        temperature=arrays["temperature"][chosen].astype(float),
        trajectory=arrays["trajectory"][chosen].astype(np.intp),
    )
    columns = ("energy_gfn1", "kind", "density", "temperature", "trajectory")
    return finish(data, "carbon", columns, return_frames, return_X_y)
