"""Numbers quoted in the description of the bundled amorphous carbon."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from making import spread, table

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
    return f"{label:<11}  {kind:<4}  {len(pairs):>3}  {cells}  {close:5.2f}"


def describe(data: Any) -> str:
    """Numbers quoted in the description, as text; ``data`` is what ``load_carbon`` returns."""
    density, temperature = data.density, data.temperature
    cold, slab = temperature == 300, data.kind == "slab"
    pairs = [distances(x, cell) for x, cell in zip(data.positions, data.cells, strict=True)]

    def bonds(label: str, kind: str, mask: np.ndarray) -> str:
        picked = [r for r, m in zip(pairs, mask, strict=True) if m]
        return _hybridization_line(label, kind, picked)

    rows = [
        bonds(f"{low}-{high}", kind, cold & (density >= low) & (density < high) & are)
        for kind, are in (("bulk", ~slab), ("slab", slab))
        for low, high in pairwise(DENSITY_EDGES)
    ]
    rows += [bonds(f"{t} K", "bulk", ~slab & (temperature == t)) for t in (2500, 4500, 8000)]
    lines = table(
        "===========  ====  ===  =====  =====  =====  =====  =====",
        "g/cm3 or K   kind    n     sp    sp2    sp3  other  close",
        [*rows, bonds("hot", "slab", slab & ~cold)],
    )
    masks = {f"bulk  {t:<6}": ~slab & (temperature == t) for t in (300, 2500, 4500, 8000)}
    masks |= {"slab  300   ": slab & cold, "slab  hot   ": slab & ~cold}
    rows = []
    for label, mask in masks.items():
        force = data.forces[mask]
        rows.append(
            f"{label}  {mask.sum():>3}  {spread(data.target[mask] - data.atom_energy, '7.3f')}"
            f"  {force.std():8.2f}  {np.linalg.norm(force, axis=-1).max():8.2f}"
        )
    lines += [
        "",
        *table(
            "====  ======  ===  =======  =======  =======  ========  ========",
            "kind  K         n  minimum     mean  maximum  std of F  max of F",
            rows,
        ),
    ]
    shortest = [r.min() for r in pairs]
    vacuum = [vacuum_width(data.positions[i], data.cells[i]) for i in np.flatnonzero(slab)]
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
