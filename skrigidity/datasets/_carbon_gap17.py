"""Loader of the C-GAP-17 data set, which is downloaded."""

import os
from typing import Any

import numpy as np
from sklearn.utils import Bunch
from sklearn.utils._param_validation import StrOptions, validate_params

from skrigidity._extras import import_extra
from skrigidity.datasets._arrays import finish, pick
from skrigidity.datasets._fetch import PARAMETERS, Download, RemoteFile, fetch_file, kept_arrays

# The copy in the database of load-atoms, at a fixed revision. load-atoms records the first twelve
# digits of the SHA-256 sum of the same file (8dd037b59c88); the name of the git blob is complete.
FILE = RemoteFile(
    name="C-GAP-17.extxyz",
    url="https://github.com/jla-gardner/load-atoms/raw/"
    "8677ad5cdc8dd02e130e4c8fbd1035c62bdb93ae/database/C-GAP-17/C-GAP-17.extxyz",
    checksum="git-blob:9c1d381bd38f234bba3a4f0f892607aabc2d2c97",
)
KEPT = "carbon_gap17-v1.npz"
NAME = "fetch_carbon_gap17"


def _read(options: Download) -> dict[str, np.ndarray]:
    io = import_extra("ase.io", extra="datasets", needed_by=NAME)
    frames = io.read(fetch_file(FILE, options), index=":", format="extxyz")
    return {
        "positions": np.concatenate([atoms.positions for atoms in frames]),
        "forces": np.concatenate([atoms.get_forces() for atoms in frames]),
        "numbers": np.concatenate([atoms.numbers for atoms in frames]),
        "n_atoms": np.array([len(atoms) for atoms in frames]),
        "cells": np.array([atoms.cell.array for atoms in frames]),
        "pbc": np.array([atoms.pbc for atoms in frames]),
        "energies": np.array([atoms.get_potential_energy() for atoms in frames]),
        "kind": np.array([str(atoms.info["config_type"]) for atoms in frames]),
        "split": np.array([str(atoms.info["split"]) for atoms in frames]),
    }


@validate_params(
    {"split": [StrOptions({"train", "test"}), None], **PARAMETERS},
    prefer_skip_nested_validation=True,
)
def fetch_carbon_gap17(
    *,
    split: str | None = None,
    data_home: str | os.PathLike | None = None,
    download_if_missing: bool = True,
    return_frames: bool = False,
    return_X_y: bool = False,
    progress: bool = False,
    n_retries: int = 3,
    delay: float = 1.0,
) -> Any:
    """Load the data behind the carbon potential GAP-17 (DFT), downloading them if necessary.

    4530 structures of liquid, amorphous and crystalline carbon, surfaces and dimers with DFT
    energies and forces: the set of the amorphous-carbon studies in the paper on prediction
    rigidities [1]_, collected by Deringer and Csányi [2]_. Its licence (CC BY-NC-SA 4.0) does not
    permit to bundle it here; ``load_carbon`` is the bundled substitute. The file comes from the
    database of the package load-atoms.

    Parameters
    ----------
    split : {"train", "test"}, default=None
        Return only the structures of one part of the original split; ``None`` returns both.

    data_home : str or path-like, default=None
        Folder for the download and its converted form. By default the environment variable
        ``SKRIGIDITY_DATA`` or, if that is not set, ``~/skrigidity_data``.

    download_if_missing : bool, default=True
        If False, raise an OSError instead of downloading what is not in ``data_home``.

    return_frames : bool, default=False
        Whether to add ``frames``, the same structures as a list of :class:`ase.Atoms`.

    return_X_y : bool, default=False
        Whether to return ``(frames, target)`` instead: X are the frames, which descriptors take.

    progress : bool, default=False
        Whether to show a progress bar while downloading.

    n_retries : int, default=3
        How often to try again when the server fails.

    delay : float, default=1.0
        Seconds between the tries.

    Returns
    -------
    :class:`~sklearn.utils.Bunch`, or (list of ase.Atoms, ndarray) with ``return_X_y=True``
        Dictionary-like object, in the order of the file.

        positions, forces : lists of n_structures ndarrays of shape (n_atoms, 3)
            Cartesian positions in Å and DFT forces in eV/Å.
        numbers : list of n_structures ndarrays of shape (n_atoms,)
            Atomic numbers.
        n_atoms : ndarray of shape (n_structures,)
            Number of atoms.
        cells : ndarray of shape (n_structures, 3, 3)
            Cell vectors in Å, one per row.
        pbc : ndarray of shape (n_structures, 3)
            Whether a direction is periodic.
        energies : ndarray of shape (n_structures,)
            Total DFT energy in eV.
        target : ndarray of shape (n_structures,)
            Energy per atom in eV, ``energies / n_atoms``.
        target_names : list of str
            ``["energy_per_atom"]``.
        kind : ndarray of shape (n_structures,)
            Category of the structure: ``config_type`` in the file.
        split : ndarray of shape (n_structures,)
            ``"train"`` or ``"test"``.
        DESCR : str
            Description of the data set.
        frames : list of ase.Atoms
            Only with ``return_frames=True``. ``info`` has ``energy_dft`` (eV), ``kind`` and
            ``split``; ``arrays`` has ``forces_dft`` (eV/Å).

    Raises
    ------
    ValueError
        If an argument is not one of the values above.
    ImportError
        If the extra ``skrigidity[datasets]`` is not installed but needed.
    OSError
        If the data are neither there nor to be downloaded, or if what the server sent is not the
        expected file. A :class:`ConnectionError` (an OSError as well), if the server did not send
        it. The message says how to place the file by hand.

    References
    ----------
    .. [1] S. Chong, F. Bigi, F. Grasselli, P. Loche, M. Kellner, M. Ceriotti, Faraday Discuss. 256,
       322 (2025), section 4.
    .. [2] V. L. Deringer, G. Csányi, Phys. Rev. B 95, 094203 (2017).

    Examples
    --------
    >>> from skrigidity.datasets import fetch_carbon_gap17
    >>> carbon = fetch_carbon_gap17(split="train")  # doctest: +SKIP
    """
    options = Download(data_home, download_if_missing, n_retries, delay, progress, NAME)
    arrays = kept_arrays(KEPT, options, lambda: _read(options))
    chosen = (arrays["split"] == split) | (split is None)
    of_atoms, others = pick(arrays, chosen, "positions", "forces", "numbers")
    data = Bunch(**of_atoms, **others)
    columns = ("energy_dft", "kind", "split")
    return finish(data, "carbon_gap17", columns, return_frames, return_X_y, extra="datasets")
