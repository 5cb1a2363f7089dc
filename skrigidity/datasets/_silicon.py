"""Loader of the bundled silicon clusters."""

from typing import Any

import numpy as np
from sklearn.utils import Bunch
from sklearn.utils._param_validation import StrOptions, validate_params

from skrigidity.datasets._arrays import OPTIONS, by_structure, finish, read_bundled

KINDS = ("Si2", "Si3", "Si4", "Si5", "dimer_curve")


@validate_params(
    {
        "kind": [StrOptions(set(KINDS)), None],
        "split": [StrOptions({"train", "test"}), None],
        **OPTIONS,
    },
    prefer_skip_nested_validation=True,
)
def load_silicon(
    *,
    kind: str | None = None,
    split: str | None = None,
    return_frames: bool = False,
    return_X_y: bool = False,
) -> Any:
    """Load small silicon clusters with DFT energies.

    Clusters of two to five atoms grown at random, and a curve of dimer energies over the
    distance: data on which a model can be asked how firmly each body order is pinned. The
    reference (PBE with pseudopotentials and smeared occupations) is smooth and consistent over
    all structures, but these are not the spin ground states of the clusters. Read ``DESCR`` for
    how the data were made and what they look like.

    Parameters
    ----------
    kind : {"Si2", "Si3", "Si4", "Si5", "dimer_curve"}, default=None
        Return only the structures of one kind; ``None`` returns all.

    split : {"train", "test"}, default=None
        Return only the structures of one part: the test part has 100 pentamers and the whole
        dimer curve, the training part all others. ``None`` returns both.

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
        Dictionary-like object. Structures are ordered by kind, as listed above; those of one kind
        are in random order, except the dimer curve, which is sorted by distance.

        positions : list of n_structures ndarrays of shape (n_atoms, 3)
            Cartesian positions in Å, without a cell.
        numbers : list of n_structures ndarrays of shape (n_atoms,)
            Atomic numbers, all 14.
        n_atoms : ndarray of shape (n_structures,)
            Size of each cluster.
        energies : ndarray of shape (n_structures,)
            Total energy of the valence electrons in eV (the electronic free energy, see
            ``DESCR``).
        target : ndarray of shape (n_structures,)
            Energy per atom in eV, ``energies / n_atoms``.
        target_names : list of str
            ``["energy_per_atom"]``.
        atom_energy : float
            Energy of a free silicon atom in eV, computed in the same way (without spin
            polarization). Subtract it from ``target`` to get the atomization energy per atom
            with a minus sign.
        kind : ndarray of shape (n_structures,)
            ``"Si2"``, ``"Si3"``, ``"Si4"``, ``"Si5"`` or ``"dimer_curve"``.
        split : ndarray of shape (n_structures,)
            ``"train"`` or ``"test"``.
        distance : ndarray of shape (n_structures,)
            Distance of the two atoms of a dimer in Å, NaN for larger clusters.
        DESCR : str
            Description of the data set.
        frames : list of ase.Atoms
            Only with ``return_frames=True``. ``info`` has ``energy_pbe`` (eV), ``kind``,
            ``split`` and, for dimers, ``distance``. The name is not ``energy`` because ASE moves
            that into a calculator when it reads a file.

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
    >>> from skrigidity.datasets import load_silicon
    >>> pentamers = load_silicon(kind="Si5", split="train")
    >>> pentamers.positions[0].shape
    (5, 3)
    >>> curve = load_silicon(kind="dimer_curve")
    >>> len(curve.target), float(curve.distance[0]), float(curve.distance[-1])
    (40, 2.0, 5.0)
    """
    arrays = read_bundled("silicon")
    sizes = arrays["n_atoms"].astype(np.intp)
    kinds = np.where(arrays["curve"], "dimer_curve", np.char.add("Si", sizes.astype(str)))
    splits = np.where(arrays["test"], "test", "train")
    chosen = ((kinds == kind) | (kind is None)) & ((splits == split) | (split is None))

    every = by_structure(arrays["positions"] / float(arrays["positions_per_angstrom"]), sizes)
    positions = [every[i] for i in np.flatnonzero(chosen)]
    n_atoms = sizes[chosen]
    data = Bunch(
        positions=positions,
        numbers=[np.full(n, 14) for n in n_atoms],
        n_atoms=n_atoms,
        energies=arrays["energies"][chosen],
        atom_energy=float(arrays["atom_energy"]),
        kind=kinds[chosen],
        split=splits[chosen],
        distance=np.array(
            [np.linalg.norm(x[1] - x[0]) if len(x) == 2 else np.nan for x in positions]
        ),
    )
    columns = ("energy_pbe", "kind", "split", "distance")
    return finish(data, "silicon", columns, return_frames, return_X_y)
