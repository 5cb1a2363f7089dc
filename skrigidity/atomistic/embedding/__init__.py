"""Small structures around one atom of a large one, to be computed in its place.

`least_rigid` names the atoms that a model knows least; `carve_cluster`, `embed_periodic` and
`embed_high_symmetry` make structures small enough for a reference calculation, in which all that
such an atom's features depend on is held exactly as it was.
"""

from skrigidity.atomistic.embedding._ranking import RankedAtom, least_rigid
from skrigidity.atomistic.embedding._structures import (
    carve_cluster,
    embed_high_symmetry,
    embed_periodic,
)

__all__ = ["RankedAtom", "carve_cluster", "embed_high_symmetry", "embed_periodic", "least_rigid"]
