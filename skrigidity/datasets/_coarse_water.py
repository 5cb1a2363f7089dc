"""Loader of the bundled coarse-grained water."""

from typing import Any

import numpy as np
from sklearn.utils import Bunch
from sklearn.utils._param_validation import StrOptions, validate_params

from skrigidity._extras import import_extra
from skrigidity.datasets._arrays import read_bundled, read_description

# The beads are called oxygen, an element that every program knows, with the mass of a molecule.
NUMBER, MASS = 8, 18.015324


@validate_params(
    {"split": [StrOptions({"train", "test"}), None], "return_frames": ["boolean"]},
    prefer_skip_nested_validation=True,
)
def load_coarse_water(*, split: str | None = None, return_frames: bool = False) -> Any:
    """Load coarse-grained liquid water: beads of molecules with mean forces to be learned.

    Frames of a molecular dynamics of 128 SPC/E molecules at 300 K, each molecule a bead at its
    centre of mass, whose force is the sum of the forces on its atoms. There are no energies: a
    model of beads is fitted to these forces alone (force matching), which it can explain in part
    only; what is left is the noise of the orientations that the beads do not have. Read
    ``DESCR`` for how the data were made and what they look like.

    Parameters
    ----------
    split : {"train", "test"}, default=None
        Return only the frames of one part; ``None`` returns both, those for training first.

    return_frames : bool, default=False
        Whether to add ``frames``, the same frames as a list of :class:`ase.Atoms`, which is what
        descriptors and ASE calculators take. It needs the extra ``skrigidity[atomistic]``.

    Returns
    -------
    :class:`~sklearn.utils.Bunch`
        Dictionary-like object, in the order of time. Unlike that of other data sets it has no
        ``energies`` and no ``target``.

        positions : ndarray of shape (n_frames, 128, 3)
            Positions of the beads in Å, within the cell.
        cells : ndarray of shape (n_frames, 3)
            Sides of the cubic cell in Å, the same in all frames.
        pbc : ndarray of shape (3,)
            Periodic in all directions.
        numbers : ndarray of shape (128,)
            Atomic numbers of the beads: all 8, for want of an element of its own.
        masses : ndarray of shape (128,)
            Masses of the beads in g/mol: those of water molecules.
        n_atoms : ndarray of shape (n_frames,)
            Number of beads, 128 in every frame.
        forces : ndarray of shape (n_frames, 128, 3)
            Forces on the beads in eV/Å.
        split : ndarray of shape (n_frames,)
            ``"train"`` (the first 700) or ``"test"`` (the last 200).
        time : ndarray of shape (n_frames,)
            Time of the dynamics in ps. Between the parts 20 frames are left out.
        DESCR : str
            Description of the data set.
        frames : list of ase.Atoms
            Only with ``return_frames=True``. ``arrays`` has ``reference_forces`` (eV/Å), a name
            that ``RigidPotential`` finds by itself, and the masses of the beads, which ASE's
            dynamics use; ``info`` has ``split`` and ``time``.

    Raises
    ------
    ValueError
        If an argument is not one of the values above.
    ImportError
        If ``return_frames=True`` and ASE is not installed.
    OSError
        If the bundled file is damaged.

    Examples
    --------
    >>> from skrigidity.datasets import load_coarse_water
    >>> water = load_coarse_water()
    >>> water.positions.shape
    (900, 128, 3)
    >>> len(load_coarse_water(split="test").time)
    200
    """
    arrays = read_bundled("coarse_water")
    splits = np.where(arrays["test"], "test", "train")
    chosen = (splits == split) | (split is None)

    positions = arrays["positions"][chosen] / float(arrays["positions_per_angstrom"])
    n_frames, n_beads, _ = positions.shape
    data = Bunch(
        positions=positions,
        cells=np.full((n_frames, 3), float(arrays["side"])),
        pbc=np.ones(3, dtype=bool),
        numbers=np.full(n_beads, NUMBER),
        masses=np.full(n_beads, MASS),
        n_atoms=np.full(n_frames, n_beads),
        forces=arrays["forces"][chosen] / float(arrays["forces_per_ev_per_angstrom"]),
        split=splits[chosen],
        time=arrays["time"][chosen],
        DESCR=read_description("coarse_water"),
    )
    if return_frames:
        ase = import_extra(
            "ase", extra="atomistic", needed_by="load_coarse_water(return_frames=True)"
        )
        data.frames = [_frame(ase, data, i) for i in range(n_frames)]
    return data


def _frame(ase: Any, data: Bunch, i: int) -> Any:
    frame = ase.Atoms(
        data.numbers, data.positions[i], cell=data.cells[i], pbc=data.pbc, masses=data.masses
    )
    frame.arrays["reference_forces"] = data.forces[i].copy()
    frame.info.update(split=data.split[i].item(), time=data.time[i].item())
    return frame
