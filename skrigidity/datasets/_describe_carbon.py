"""Numbers quoted in the description of the bundled amorphous carbon."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from skrigidity.datasets._make_carbon import N_ATOMS, Dynamics, gfn1

BOND = 1.85  # angstrom, neighbours closer than this count as bonded
CONTACT = 2.2  # angstrom, neighbours between BOND and this are close but not bonded
DENSITY_EDGES = (1.4, 1.9, 2.4, 2.9, 3.5)


def distances(positions: np.ndarray, cell: np.ndarray) -> np.ndarray:
    """Minimum-image distances between atoms (angstrom), infinite on the diagonal."""
    vectors = positions[:, None] - positions[None]
    vectors -= np.round(vectors / cell) * cell
    lengths = np.linalg.norm(vectors, axis=-1)
    np.fill_diagonal(lengths, np.inf)
    return lengths


def vacuum_width(positions: np.ndarray, cell: np.ndarray) -> float:
    """Widest layer without atoms along the longest side of the cell (angstrom)."""
    axis = int(np.argmax(cell))
    height = np.sort(positions[:, axis] % cell[axis])
    return float(np.diff(height, append=height[0] + cell[axis]).max())


def _hybridization_line(label: str, kind: str, pairs: list[np.ndarray]) -> str:
    lengths = np.concatenate(pairs)
    coordination = (lengths < BOND).sum(axis=1)
    shares = [100 * np.mean(coordination == n) for n in (2, 3, 4)]
    cells = "  ".join(f"{share:5.1f}" for share in [*shares, max(0.0, 100 - sum(shares))])
    close = np.mean((lengths < CONTACT).sum(axis=1) - coordination)
    return f"{label:<11}  {kind:<4}  {len(lengths) // N_ATOMS:>3}  {cells}  {close:5.2f}"


def describe(data: Any) -> str:
    """Numbers quoted in the description, as text; ``data`` is what ``load_carbon`` returns."""
    cold = data.temperature == 300
    slab = data.kind == "slab"
    pairs = [distances(x, cell) for x, cell in zip(data.positions, data.cells, strict=True)]

    def pick(mask: np.ndarray) -> list[np.ndarray]:
        return [r for r, m in zip(pairs, mask, strict=True) if m]

    rule = "===========  ====  ===  =====  =====  =====  =====  ====="
    lines = [rule, "g/cm3 or K   kind    n     sp    sp2    sp3  other  close", rule]
    for is_slab, kind in ((False, "bulk"), (True, "slab")):
        for low, high in pairwise(DENSITY_EDGES):
            within = (data.density >= low) & (data.density < high)
            mask = cold & within & (slab == is_slab)
            lines.append(_hybridization_line(f"{low}-{high}", kind, pick(mask)))
    for temperature in (2500, 4500, 8000):
        mask = ~slab & (data.temperature == temperature)
        lines.append(_hybridization_line(f"{temperature} K", "bulk", pick(mask)))
    lines.append(_hybridization_line("hot", "slab", pick(slab & ~cold)))
    lines.append(rule)

    rule = "====  ======  ===  =======  =======  =======  ========  ========"
    lines += [
        "",
        rule,
        "kind  K         n  minimum     mean  maximum  std of F  max of F",
        rule,
    ]
    for is_slab, kind in ((False, "bulk"), (True, "slab")):
        for label, at in (
            [(str(t), data.temperature == t) for t in (300, 2500, 4500, 8000)]
            if not is_slab
            else [("300", cold), ("hot", ~cold)]
        ):
            mask = at & (slab == is_slab)
            energy, force = data.target[mask] - data.atom_energy, data.forces[mask]
            lines.append(
                f"{kind:<4}  {label:<6}  {mask.sum():>3}  {energy.min():7.3f}  {energy.mean():7.3f}"
                f"  {energy.max():7.3f}  {force.std():8.2f}"
                f"  {np.linalg.norm(force, axis=-1).max():8.2f}"
            )
    lines.append(rule)

    shortest = [r.min() for r in pairs]
    vacuum = [
        vacuum_width(x, cell)
        for x, cell, m in zip(data.positions, data.cells, slab, strict=True)
        if m
    ]
    lonely = sum(int((r.min(axis=1) > BOND).sum()) for r in pairs)
    lines += [
        "",
        f"{len(data.target)} structures ({(~slab).sum()} bulk, {slab.sum()} slabs) from "
        f"{len(np.unique(data.trajectory))} trajectories, densities "
        f"{data.density.min():.2f} to {data.density.max():.2f} g/cm3",
        f"energy per atom {data.target.min():.3f} to {data.target.max():.3f} eV, "
        f"free atom {data.atom_energy:.3f} eV",
        f"shortest distance {min(shortest):.3f} angstrom",
        f"narrowest vacuum {min(vacuum):.1f}, median {np.median(vacuum):.1f} angstrom",
        f"atoms without a neighbour within {BOND} angstrom: {lonely}",
    ]
    return "\n".join(lines)


def _crystals() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Positions and cells of diamond and graphite at experimental lattice constants."""

    def repeat(
        scaled: list[tuple[float, float, float]], sides: np.ndarray, times: tuple[int, int, int]
    ) -> tuple[np.ndarray, np.ndarray]:
        shifts = np.array(list(np.ndindex(*times)))
        scaled_positions = (np.array(scaled)[None] + shifts[:, None]).reshape(-1, 3)
        return scaled_positions * sides, sides * np.array(times)

    face_centred = [(0, 0, 0), (0, 1 / 2, 1 / 2), (1 / 2, 0, 1 / 2), (1 / 2, 1 / 2, 0)]
    diamond = [tuple(np.add(site, d)) for site in face_centred for d in (0, 1 / 4)]
    layer = [(0, 0, 0), (0, 1 / 3, 0), (1 / 2, 1 / 2, 0), (1 / 2, 5 / 6, 0)]
    graphite = layer + [(x, y + 1 / 3, 1 / 2) for x, y, _ in layer]
    cube = np.full(3, 3.567)
    slab = np.array([2.461, 2.461 * 3**0.5, 6.71])
    return {
        "diamond, 64 atoms": repeat(diamond, cube, (2, 2, 2)),
        "diamond, 216 atoms": repeat(diamond, cube, (3, 3, 3)),
        "graphite, 192 atoms": repeat(graphite, slab, (6, 4, 1)),
    }


def compare(data: Any) -> str:
    """How the two methods behind the data differ, as text; needs LAMMPS and tblite."""
    cold = np.flatnonzero((data.kind == "bulk") & (data.temperature == 300))
    rng = np.random.default_rng(0)
    rebo = []
    for i in cold:
        dynamics = Dynamics(data.positions[i], data.cells[i], 300, rng)
        rebo.append(dynamics.forces())
        dynamics.close()
    theirs, ours = np.ravel(rebo), data.forces[cold].ravel()
    lines = [
        f"force components at 300 K, bulk: std {theirs.std():.2f} (REBO), {ours.std():.2f} "
        f"(GFN1-xTB) eV/angstrom, correlation {np.corrcoef(theirs, ours)[0, 1]:.2f}"
    ]
    for name, (positions, cell) in _crystals().items():
        energy = gfn1(positions, cell)[0] / len(positions)
        lines.append(f"GFN1-xTB, {name}: {energy:.3f} eV/atom")
    return "\n".join(lines)
