"""Make the bundled silicon clusters (see ``descr/silicon.rst`` for what they are).

Run it where the package is installed together with PySCF, which is not a dependency of it::

    pip install pyscf

    python docs/recipes/make_silicon.py --work silicon-work --output silicon.npz
    python docs/recipes/make_silicon.py --describe

The first command grows the clusters and computes their energies, one work file per cluster. It
takes about an hour on one core; when it is stopped, the same command goes on where it was. The
second prints the numbers quoted in the description from the bundled file and needs only the
package. ``OMP_NUM_THREADS=1`` is advisable: the clusters are too small for threads to help.
"""

from __future__ import annotations

from typing import Any

import making
import numpy as np
from making import Molecule, Reference, spread, to_fixed_point

SILICON = 14
N_CLUSTERS = {2: 100, 3: 100, 4: 100, 5: 600}
N_CURVE = 40
DIMER_RANGE = (2.0, 5.0)  # angstrom
TEST_EVERY = 6  # every sixth pentamer is a test structure

SHORTEST, LONGEST_BOND = 2.0, 2.5  # angstrom, of a new atom to the member it is attached to
COORDINATION_RADIUS, MAX_COORDINATION = 2.75, 6
DIMER_DIAMETER = 4.121  # angstrom, sets the volume that an atom may take
CANDIDATES_PER_CLUSTER = 10

SMEARING = 0.01  # hartree, Fermi-Dirac
SMEARING_TO_START = 0.04  # hartree, for the density from which failed calculations start again


# --------------------------------------------------------------------------------------------------
# Structures


def largest_diameter(n_atoms: int) -> float:
    """Diameter (angstrom) of a sphere with half a dimer's volume for every atom."""
    return DIMER_DIAMETER * (n_atoms / 2) ** (1 / 3)


def distances(positions: np.ndarray) -> np.ndarray:
    """Sorted distances between the atoms of one cluster."""
    i, j = np.triu_indices(len(positions), k=1)
    return np.sort(np.linalg.norm(positions[i] - positions[j], axis=1))


def grow(n_atoms: int, rng: np.random.Generator) -> np.ndarray:
    """Grow one cluster atom by atom, starting over where no atom fits."""
    while True:
        cluster = np.zeros((1, 3))
        for _ in range(1000):
            direction = rng.normal(size=3)
            direction *= rng.uniform(SHORTEST, LONGEST_BOND) / np.linalg.norm(direction)
            enlarged = np.vstack([cluster, cluster[rng.integers(len(cluster))] + direction])
            pairs = np.linalg.norm(enlarged[:, None] - enlarged, axis=-1)
            coordination = (pairs < COORDINATION_RADIUS).sum(axis=1) - 1
            if (
                pairs[-1, :-1].min() >= SHORTEST
                and pairs.max() <= largest_diameter(n_atoms)
                and coordination.max() <= MAX_COORDINATION
            ):
                cluster = enlarged
            if len(cluster) == n_atoms:
                return cluster


def farthest_points(features: np.ndarray, n_points: int) -> np.ndarray:
    """Indices of points that are far from each other, starting from the first."""
    chosen = np.zeros(n_points, dtype=np.intp)
    nearest = np.full(len(features), np.inf)
    for i in range(1, n_points):
        np.minimum(nearest, ((features - features[chosen[i - 1]]) ** 2).sum(axis=1), out=nearest)
        chosen[i] = nearest.argmax()
    return chosen


def dimer(distance: float) -> np.ndarray:
    """Two atoms along x."""
    return np.array([[0.0, 0.0, 0.0], [distance, 0.0, 0.0]])


def clusters(n_atoms: int, n_clusters: int, seed: int) -> list[np.ndarray]:
    """Clusters of one size in random order; dimers fill their range of distances evenly."""
    rng = np.random.default_rng([seed, n_atoms])
    if n_atoms == 2:
        low, high = DIMER_RANGE
        places = (np.arange(n_clusters) + rng.uniform(size=n_clusters)) / n_clusters
        found = [dimer(low + (high - low) * place) for place in places]
    else:
        candidates = [grow(n_atoms, rng) for _ in range(CANDIDATES_PER_CLUSTER * n_clusters)]
        features = np.array([distances(positions) for positions in candidates])
        found = [candidates[i] for i in farthest_points(features, n_clusters)]
    return [found[i] for i in rng.permutation(n_clusters)]


def make_molecules(seed: int) -> list[Molecule]:
    """All structures in the order of the file, the free atom last."""
    molecules = [
        Molecule(f"Si{n}-{i:03d}", (SILICON,) * n, to_fixed_point(positions))
        for n, n_clusters in N_CLUSTERS.items()
        for i, positions in enumerate(clusters(n, n_clusters, seed))
    ]
    molecules += [
        Molecule(f"curve-{i:03d}", (SILICON,) * 2, to_fixed_point(dimer(distance)))
        for i, distance in enumerate(np.linspace(*DIMER_RANGE, N_CURVE))
    ]
    return [*molecules, Molecule("atom", (SILICON,), np.zeros((1, 3), dtype=np.int32))]


def is_test(name: str) -> bool:
    """Whether a structure belongs to the test part."""
    kind, _, number = name.partition("-")
    return kind == "curve" or (kind == "Si5" and int(number) % TEST_EVERY == TEST_EVERY - 1)


# --------------------------------------------------------------------------------------------------
# Reference energies


def pbe(molecule: Molecule) -> Reference:
    """Electronic free energy: spin-restricted PBE, GTH-DZVP, GTH-PBE, Fermi smearing."""
    from pyscf import scf

    mol = molecule.pyscf(basis="gth-dzvp", pseudo="gth-pbe")

    def solve(sigma: float, start: Any = None) -> Any:
        method = mol.RKS(xc="pbe").density_fit()
        method.grids.level = 2
        method.conv_tol = 1e-8
        method.max_cycle, method.diis_space = 100, 14
        method = scf.addons.smearing(method, sigma=sigma, method="fermi")
        method.kernel(dm0=start)
        return method

    result, attempts = solve(SMEARING), 1
    if not result.converged:
        result, attempts = solve(SMEARING, solve(SMEARING_TO_START).make_rdm1()), 2
    return Reference(
        float(result.e_free) * making.EV_PER_HARTREE if result.converged else None, attempts
    )


# --------------------------------------------------------------------------------------------------
# The bundled file


def arrays(molecules: list[Molecule]) -> dict[str, Any]:
    """What the file has of the structures, besides their energies."""
    return {
        "positions": np.concatenate([molecule.positions for molecule in molecules]),
        "n_atoms": np.array([len(molecule.numbers) for molecule in molecules], dtype=np.int8),
        "curve": np.array([molecule.name.startswith("curve") for molecule in molecules]),
        "test": np.array([is_test(molecule.name) for molecule in molecules]),
    }


# --------------------------------------------------------------------------------------------------
# The numbers of the description


def describe(data: Any) -> str:
    """Numbers quoted in the description, as text; ``data`` is what ``load_silicon`` returns."""
    energies = data.target - data.atom_energy
    rows = []
    for kind, split in dict.fromkeys(zip(data.kind, data.split, strict=True)):
        mask = (data.kind == kind) & (data.split == split)
        pairs = [distances(x) for x, m in zip(data.positions, mask, strict=True) if m]
        rows.append(
            f"{kind:<11}  {split:<5}  {mask.sum():>3}  {min(r[0] for r in pairs):7.3f}"
            f"  {max(r[-1] for r in pairs):8.3f}  {spread(energies[mask], '7.3f')}"
        )
    curve = np.flatnonzero(data.kind == "dimer_curve")
    lowest = curve[energies[curve].argmin()]
    lines = [
        *making.table(
            "===========  =====  ===  =======  ========  =======  =======  =======",
            "kind         split    n  closest  farthest  minimum     mean  maximum",
            rows,
        ),
        "",
        f"{len(data.target)} structures, {data.n_atoms.sum()} atoms",
        f"energy per atom {data.target.min():.3f} to {data.target.max():.3f} eV, "
        f"free atom {data.atom_energy:.3f} eV",
        f"lowest point of the dimer curve {energies[lowest]:.3f} eV per atom at "
        f"{data.distance[lowest]:.3f} angstrom, last point {energies[curve[-1]]:.3f} eV per atom",
    ]
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> None:
    """Command line: see ``--help``."""
    from skrigidity.datasets import load_silicon

    making.make_molecular_data(
        "silicon",
        "silicon clusters",
        argv,
        make=make_molecules,
        reference=pbe,
        arrays=arrays,
        zero="atom_energy",
        describe=lambda: describe(load_silicon()),
    )


if __name__ == "__main__":
    main()
