"""Training rows of a potential: made frame by frame, kept as long as there is room."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from skrigidity.atomistic.potential._baseline import FixedPart
from skrigidity.frames import Atoms, Targets
from skrigidity.gradients import ENERGY, FORCES, PROPERTIES, STRESS, DerivativeGradients
from skrigidity.hessian import Rows, TSQRAccumulator

Array = NDArray[np.float64]
# A QR step of fewer rows is mostly overhead.
_ROWS_AT_ONCE = 1000


class Block(NamedTuple):
    """Rows of frames with what they should predict, in units of their properties.

    Attributes
    ----------
    matrix : ndarray of shape (n_rows, n_features)
    target : ndarray of shape (n_rows,)
        Energies per atom (eV), force components (eV/Å), strain derivatives per atom (eV), fixed
        parts subtracted.
    kind : ndarray of int of shape (n_rows,)
        Which property: a place in `PROPERTIES`.
    weight : ndarray of shape (n_rows,)
    features : ndarray of shape (n_atoms, n_features)
        Of the atoms of the (last) frame.
    """

    matrix: Array
    target: Array
    kind: NDArray[np.intp]
    weight: Array
    features: Array

    @staticmethod
    def joined(blocks: list[Block]) -> Block:
        """Return several blocks as one."""
        if len(blocks) == 1:
            return blocks[0]
        return Block(
            np.concatenate([block.matrix for block in blocks]),
            np.concatenate([block.target for block in blocks]),
            np.concatenate([block.kind for block in blocks]),
            np.concatenate([block.weight for block in blocks]),
            blocks[-1].features,
        )

    def scale(self, errors: Any) -> Array:
        """Return what every row is multiplied by in a fit with these errors."""
        each = np.array([errors[name] for name in PROPERTIES])
        return np.sqrt(self.weight) / each[self.kind]


class TrainingRows:
    """The rows of all frames with a weight.

    Parameters
    ----------
    gradients : DerivativeGradients
        Makes rows.
    frames : list of ase.Atoms
    targets : list of Targets
    weight : ndarray of shape (n_frames,)
        Frames of weight zero have no rows.
    fixed : FixedPart
        What is subtracted from targets.
    fitted : sequence of str
        Which properties have rows.
    cache_size : int
        Bytes of rows to keep; all others are made again when they are needed again.
    """

    def __init__(
        self,
        gradients: DerivativeGradients,
        frames: list[Atoms],
        targets: list[Targets],
        weight: Array,
        fixed: FixedPart,
        fitted: Iterable[str],
        cache_size: int = 0,
    ) -> None:
        self.gradients, self.frames, self.targets = gradients, frames, targets
        self.weight, self.fixed = weight, fixed
        self.properties = [
            [p for p in fitted if w > 0 and getattr(target, p) is not None]
            for target, w in zip(targets, weight, strict=True)
        ]
        self.used = [i for i, properties in enumerate(self.properties) if properties]
        self._room, self._kept = cache_size, dict[int, Block]()

    def block(self, i: int) -> Block:
        """Return the rows of a frame."""
        if i in self._kept:
            return self._kept[i]
        properties, target = self.properties[i], self.targets[i]
        rows = self.gradients.of_frame(self.frames[i], properties)
        values = target_rows(self.frames[i], target, self.fixed)
        sizes = [len(rows[p]) for p in properties]
        block = Block(
            np.concatenate([rows[p] for p in properties]),
            np.concatenate([values[p] for p in properties]),
            np.repeat([PROPERTIES.index(p) for p in properties], sizes),
            np.full(sum(sizes), self.weight[i]),
            rows.features,
        )
        if block.matrix.nbytes <= self._room:
            self._room -= block.matrix.nbytes
            self._kept[i] = block
        return block

    def count(self) -> dict[str, int]:
        """Return numbers of frames and atoms, and of frames that have each property."""
        used = [self.properties[i] for i in self.used]
        counts = {"frames": len(used), "atoms": sum(len(self.frames[i]) for i in self.used)}
        return counts | {p: sum(p in each for each in used) for p in PROPERTIES}


def target_rows(frame: Atoms, target: Targets, fixed: FixedPart) -> dict[str, Array]:
    """Return what the rows of a frame should predict, by property."""
    offset, out = fixed.of(frame), {}
    if target.energy is not None:
        out[ENERGY] = np.array([target.energy - offset.energies.sum()]) / len(frame)
    if target.forces is not None:
        out[FORCES] = (target.forces - offset.forces).ravel()
    if target.stress is not None:
        out[STRESS] = (target.stress * frame.get_volume() - offset.strain) / len(frame)
    return out


class Reduced:
    """Rows reduced to triangles, one for each property, so that errors can be chosen later.

    Parameters
    ----------
    n_features : int
        Number of columns.
    reduced : dict of str to (ndarray, ndarray), default=None
        Rows and right-hand sides that `finish` has returned before, to go on from.
    squares : dict of str to ndarray, default=None
        Sums of squares of the rows that these were made from.
    """

    def __init__(
        self,
        n_features: int,
        reduced: Mapping[str, tuple[Array, Array]] | None = None,
        squares: Mapping[str, Array] | None = None,
    ) -> None:
        self.n_features = n_features
        self.streams = {p: TSQRAccumulator(n_features, 1) for p in PROPERTIES}
        self.squares = {p: np.zeros(n_features) for p in PROPERTIES}
        self._waiting: dict[str, list[Rows]] = {p: [] for p in PROPERTIES}
        for name, (matrix, rhs) in (reduced or {}).items():
            self.streams[name].add(Rows(matrix, rhs=rhs))
        for name, values in (squares or {}).items():
            self.squares[name] = values.copy()

    def add(self, block: Block) -> None:
        """Add the rows of a block."""
        ends = np.searchsorted(block.kind, np.arange(len(PROPERTIES) + 1))
        for k, name in enumerate(PROPERTIES):
            part = slice(ends[k], ends[k + 1])
            rows = Rows(block.matrix[part], weight=block.weight[part], rhs=block.target[part])
            if len(rows):
                matrix = block.matrix[part]
                self.squares[name] += np.einsum("i,ij,ij->j", block.weight[part], matrix, matrix)
                self._waiting[name].append(rows)
                if sum(map(len, self._waiting[name])) >= _ROWS_AT_ONCE:
                    self._flush(name)

    def merge(self, other: Reduced) -> None:
        """Add everything that another one has seen, both being finished."""
        for name, stream in self.streams.items():
            stream.merge(other.streams[name])
            self.squares[name] += other.squares[name]

    def _flush(self, name: str) -> None:
        self.streams[name].add(Rows.joined(self._waiting[name]))
        self._waiting[name] = []

    def finish(self) -> dict[str, tuple[Array, Array]]:
        """Return the reduced rows and right-hand sides of properties that have any."""
        for name, waiting in self._waiting.items():
            if waiting:
                self._flush(name)
        return {p: s.rows() for p, s in self.streams.items() if s.n_rows}
