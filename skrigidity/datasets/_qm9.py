"""Loader of the QM9 data set, which is downloaded."""

import bz2
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.utils import Bunch
from sklearn.utils._param_validation import validate_params

from skrigidity._extras import import_extra
from skrigidity.datasets._arrays import finish, pick
from skrigidity.datasets._fetch import (
    PARAMETERS,
    Bounded,
    Download,
    RemoteFile,
    fetch_file,
    kept_arrays,
)

# The deposit at figshare. load-atoms records the first twelve digits of the first checksum.
MOLECULES = RemoteFile(
    name="dsgdb9nsd.xyz.tar.bz2",
    url="https://ndownloader.figshare.com/files/3195389",
    checksum="sha256:3a63848ac80691bdb8d41834b575afad345b9300d7a2db0c38adb7f6eaa8360c",
)
UNCHARACTERIZED = RemoteFile(
    name="uncharacterized.txt",
    url="https://ndownloader.figshare.com/files/3195404",
    checksum="sha256:3aa5115d540b356de94791d4a74c3bf1ed91c469ecf52a4f5d7cc0506fe02e24",
)
HEADER_LINES, FOOTER_LINES = 9, 1  # of the list of uncharacterized molecules
KEPT = "qm9-v1.npz"
NAME = "fetch_qm9"

EV_PER_HARTREE = 27.211386245988
NUMBER = {"H": 1, "C": 6, "N": 7, "O": 8, "F": 9}
ATOM_U0 = {1: -0.500273, 6: -37.846772, 7: -54.583861, 8: -75.064579, 9: -99.718730}  # hartree
PROPERTIES = {
    "A": "GHz",
    "B": "GHz",
    "C": "GHz",
    "mu": "D",
    "alpha": "bohr^3",
    "homo": "hartree",
    "lumo": "hartree",
    "gap": "hartree",
    "r2": "bohr^2",
    "zpve": "hartree",
    "U0": "hartree",
    "U": "hartree",
    "H": "hartree",
    "G": "hartree",
    "Cv": "cal/(mol K)",
}


def _parse(text: str) -> dict[str, Any]:
    """One molecule of the deposit; its numbers may have ``*^`` for ``e``."""
    lines = text.replace("*^", "e").splitlines()
    n_atoms = int(lines[0])
    _, index, *values = lines[1].split()
    atoms = [line.split() for line in lines[2 : 2 + n_atoms]]
    return {
        "index": int(index),
        "properties": [float(value) for value in values],
        "numbers": np.array([NUMBER[atom[0]] for atom in atoms], dtype=np.int8),
        "positions": np.array([[float(x) for x in atom[1:4]] for atom in atoms]),
        "smiles": lines[3 + n_atoms].split()[-1],
    }


def _molecules(path: Path) -> Iterator[dict[str, Any]]:
    with bz2.open(path) as content:
        stream: Any = Bounded(content, f"the content of {path}")
        with tarfile.open(fileobj=stream, mode="r|") as archive:
            for member in archive:
                file = archive.extractfile(member) if member.name.endswith(".xyz") else None
                if file is not None:
                    yield _parse(file.read().decode())


def _read(options: Download) -> dict[str, np.ndarray]:
    listed = fetch_file(UNCHARACTERIZED, options).read_text(encoding="utf-8").splitlines()
    failed = [int(line.split()[0]) for line in listed[HEADER_LINES:-FOOTER_LINES]]
    source = _molecules(fetch_file(MOLECULES, options))
    if options.progress:
        tqdm = import_extra("tqdm", extra="datasets", needed_by=f"{NAME}(progress=True)")
        source = tqdm.tqdm(source, desc="reading molecules", unit="")
    molecules = sorted(source, key=lambda molecule: molecule["index"])
    index = np.array([molecule["index"] for molecule in molecules])
    return {
        "positions": np.concatenate([molecule["positions"] for molecule in molecules]),
        "numbers": np.concatenate([molecule["numbers"] for molecule in molecules]),
        "n_atoms": np.array([len(molecule["numbers"]) for molecule in molecules]),
        "index": index,
        "properties": np.array([molecule["properties"] for molecule in molecules]),
        "smiles": np.array([molecule["smiles"] for molecule in molecules]),
        "characterized": ~np.isin(index, failed),
    }


@validate_params(
    {"drop_uncharacterized": ["boolean"], **PARAMETERS},
    prefer_skip_nested_validation=True,
)
def fetch_qm9(
    *,
    drop_uncharacterized: bool = True,
    data_home: str | os.PathLike | None = None,
    download_if_missing: bool = True,
    return_frames: bool = False,
    return_X_y: bool = False,
    progress: bool = False,
    n_retries: int = 3,
    delay: float = 1.0,
) -> Any:
    """Load the organic molecules of QM9 (DFT), downloading them if necessary.

    133885 molecules of up to nine C, N, O and F atoms, relaxed with DFT, with 15 computed
    properties [1]_. The download has 86 MB; reading it for the first time takes about a minute,
    after which the converted arrays in ``data_home`` are used.

    Parameters
    ----------
    drop_uncharacterized : bool, default=True
        Whether to leave out the 3054 molecules that changed their structure when they were
        relaxed, according to the authors' consistency check. It is common to leave them out.

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
        Whether to show progress bars while downloading and reading.

    n_retries : int, default=3
        How often to try again when the server fails.

    delay : float, default=1.0
        Seconds between the tries.

    Returns
    -------
    :class:`~sklearn.utils.Bunch`, or (list of ase.Atoms, ndarray) with ``return_X_y=True``
        Dictionary-like object, sorted by ``index``.

        positions : list of n_structures ndarrays of shape (n_atoms, 3)
            Cartesian positions in Å, without a cell.
        numbers : list of n_structures ndarrays of shape (n_atoms,)
            Atomic numbers.
        n_atoms : ndarray of shape (n_structures,)
            Number of atoms.
        energies : ndarray of shape (n_structures,)
            Internal energy at 0 K (U0) in eV, the target that is used most.
        target : ndarray of shape (n_structures,)
            Energy per atom in eV, ``energies / n_atoms``.
        target_names : list of str
            ``["energy_per_atom"]``.
        atom_energies : dict of int to float
            U0 in eV of the free atoms by atomic number. The sum over the atoms, subtracted from
            ``energies``, leaves the atomization energy with a minus sign.
        properties : ndarray of shape (n_structures, 15)
            All properties, in the units of the deposit.
        property_names, property_units : list of str
            Their names and units.
        smiles : ndarray of shape (n_structures,)
            SMILES string of the relaxed structure.
        index : ndarray of shape (n_structures,)
            Number of the molecule in the deposit, from 1.
        characterized : ndarray of shape (n_structures,)
            Whether a molecule passed the consistency check.
        DESCR : str
            Description of the data set.
        frames : list of ase.Atoms
            Only with ``return_frames=True``. ``info`` has ``energy_u0`` (eV), ``index`` and
            ``smiles``.

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
    .. [1] R. Ramakrishnan, P. O. Dral, M. Rupp, O. A. von Lilienfeld, Sci. Data 1, 140022 (2014).

    Examples
    --------
    >>> from skrigidity.datasets import fetch_qm9
    >>> molecules = fetch_qm9(progress=True)  # doctest: +SKIP
    """
    options = Download(data_home, download_if_missing, n_retries, delay, progress, NAME)
    arrays = kept_arrays(KEPT, options, lambda: _read(options))
    arrays["numbers"] = arrays["numbers"].astype(np.intp)
    chosen = arrays["characterized"] | (not drop_uncharacterized)
    of_atoms, others = pick(arrays, chosen, "positions", "numbers")
    data = Bunch(
        **of_atoms,
        **others,
        energies=others["properties"][:, list(PROPERTIES).index("U0")] * EV_PER_HARTREE,
        atom_energies={number: u0 * EV_PER_HARTREE for number, u0 in ATOM_U0.items()},
        property_names=list(PROPERTIES),
        property_units=list(PROPERTIES.values()),
    )
    columns = ("energy_u0", "index", "smiles")
    return finish(data, "qm9", columns, return_frames, return_X_y, extra="datasets")
