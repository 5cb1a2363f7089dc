"""Make the bundled water monomers and dimers (see ``descr/water.rst`` for what they are).

Run it where the package is installed together with PySCF, which is not a dependency of it::

    pip install pyscf

    python docs/recipes/make_water.py --work water-work --output water.npz
    python docs/recipes/make_water.py --describe

The first command draws the structures and computes their energies, one work file per structure. It
takes about ten minutes on one core; when it is stopped, the same command goes on where it was. The
second prints the numbers quoted in the description from the bundled file and needs only the
package. ``OMP_NUM_THREADS=1`` is advisable: the molecules are too small for threads to help.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import making
import numpy as np
from making import Molecule, Reference, spread, to_fixed_point
from scipy.spatial.transform import Rotation

NUMBERS = (8, 1, 1)
N_MONOMERS = N_DIMERS = 100
DISTANCE_RANGE = (3.0, 10.0)  # angstrom, between the oxygen atoms of a dimer

BOND, ANGLE = 0.9572, 104.52  # angstrom and degrees, of the free molecule
BOND_SPREAD, ANGLE_SPREAD = 0.04, 4.0  # standard deviations
SHORTEST_OH, SHORTEST_HH = 1.65, 1.9  # angstrom, between molecules


# --------------------------------------------------------------------------------------------------
# Structures


def make_monomer(bonds: np.ndarray, angle: float) -> np.ndarray:
    """Oxygen at the origin, the hydrogen atoms at bond lengths (angstrom) and angle (degrees)."""
    half = np.deg2rad(angle) / 2
    directions = np.array([[np.cos(half), np.sin(half), 0.0], [np.cos(half), -np.sin(half), 0.0]])
    return np.vstack([np.zeros(3), np.asarray(bonds)[:, None] * directions])


def rotation(rng: np.random.Generator) -> np.ndarray:
    """Rotation matrix, uniform over all rotations (of a random unit quaternion)."""
    w, x, y, z = rng.normal(size=4)
    return Rotation.from_quat([x, y, z, w]).as_matrix()


def random_monomer(rng: np.random.Generator) -> np.ndarray:
    """Monomer with random bond lengths, angle and orientation, oxygen at the origin."""
    bonds = rng.normal(BOND, BOND_SPREAD, size=2)
    return make_monomer(bonds, rng.normal(ANGLE, ANGLE_SPREAD)) @ rotation(rng).T


def random_dimer(distance: float, rng: np.random.Generator) -> np.ndarray:
    """Two random monomers, the oxygen atoms ``distance`` apart, drawn until none are too close."""
    while True:
        first = random_monomer(rng)
        second = random_monomer(rng) + np.array([distance, 0.0, 0.0])
        pairs = np.linalg.norm(first[:, None] - second, axis=-1)
        closest_oh = min(pairs[0, 1:].min(), pairs[1:, 0].min())
        if closest_oh >= SHORTEST_OH and pairs[1:, 1:].min() >= SHORTEST_HH:
            return np.vstack([first, second])


def make_molecules(seed: int) -> list[Molecule]:
    """All structures in the order of the file, the free molecule at rest last."""
    made = [
        (f"monomer-{i:03d}", random_monomer(np.random.default_rng([seed, 1, i])))
        for i in range(N_MONOMERS)
    ]
    made += [
        (f"dimer-{i:03d}", random_dimer(distance, np.random.default_rng([seed, 2, i])))
        for i, distance in enumerate(np.linspace(*DISTANCE_RANGE, N_DIMERS))
    ]
    made.append(("at-rest", make_monomer(np.full(2, BOND), ANGLE)))
    return [Molecule(name, NUMBERS * (len(x) // 3), to_fixed_point(x)) for name, x in made]


# --------------------------------------------------------------------------------------------------
# Reference energies


def b3lyp(molecule: Molecule) -> Reference:
    """Energy: spin-restricted B3LYP, def2-TZVP, density fitting."""
    mol = molecule.pyscf(basis="def2-tzvp")
    method = mol.RKS(xc="b3lyp").density_fit()
    method.kernel()
    attempts = 1
    if not method.converged:
        method, attempts = method.newton(), 2
        method.kernel(dm0=method.make_rdm1())
    return Reference(
        float(method.e_tot) * making.EV_PER_HARTREE if method.converged else None, attempts
    )


# --------------------------------------------------------------------------------------------------
# The bundled file


def arrays(molecules: list[Molecule]) -> dict[str, Any]:
    """What the file has of the structures, besides their energies."""

    def of_size(n: int) -> np.ndarray:
        found = [molecule.positions for molecule in molecules if len(molecule.numbers) == n]
        return np.array(found, dtype=np.int32).reshape(-1, n, 3)

    return {"monomers": of_size(3), "dimers": of_size(6)}


# --------------------------------------------------------------------------------------------------
# The numbers of the description

DISTANCE_EDGES = (3.0, 4.0, 5.0, 7.0, 10.0)


def describe(data: Any) -> str:
    """Numbers quoted in the description, as text; ``data`` is what ``load_water`` returns."""
    energies = 1000 * (data.target - data.monomer_energy / 3)
    masks = {"monomer  -": data.kind == "monomer"}
    for low, high in pairwise(DISTANCE_EDGES):
        below = data.distance <= high if high == DISTANCE_EDGES[-1] else data.distance < high
        masks[f"dimer    {low}-{high}"] = (data.distance >= low) & below
    molecules = np.concatenate([x.reshape(-1, 3, 3) for x in data.positions])
    arms = molecules[:, 1:] - molecules[:, :1]
    bonds = np.linalg.norm(arms, axis=-1)
    angles = np.rad2deg(np.arccos((arms[:, 0] * arms[:, 1]).sum(axis=-1) / bonds.prod(axis=-1)))
    lines = [
        *making.table(
            "=======  ===========  ===  =======  =======  =======",
            "kind     O-O (A)        n  minimum     mean  maximum",
            (f"{k:<20}  {m.sum():>3}  {spread(energies[m], '7.1f')}" for k, m in masks.items()),
        ),
        "",
        f"{len(data.target)} structures, {data.n_atoms.sum()} atoms",
        f"energy per atom {data.target.min():.3f} to {data.target.max():.3f} eV, "
        f"molecule at rest {data.monomer_energy:.3f} eV",
        f"O-H bonds {bonds.min():.3f} to {bonds.max():.3f} angstrom, "
        f"angles {angles.min():.1f} to {angles.max():.1f} degrees",
    ]
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> None:
    """Command line: see ``--help``."""
    from skrigidity.datasets import load_water

    making.make_molecular_data(
        "water",
        "water monomers and dimers",
        argv,
        make=make_molecules,
        reference=b3lyp,
        arrays=arrays,
        zero="monomer_energy",
        describe=lambda: describe(load_water()),
    )


if __name__ == "__main__":
    main()
