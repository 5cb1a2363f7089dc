"""Fits to frames in Dask bags or delayed lists: rows are made and reduced where the frames are."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from skrigidity.atomistic.potential._baseline import projection
from skrigidity.atomistic.potential._leave_out import LeftRows, joined, leave_frames_out
from skrigidity.atomistic.potential._rows import Reduced, TrainingRows
from skrigidity.atomistic.potential._solve import Problem, Solved, regularizer_of
from skrigidity.atomistic.potential._support import Reservoir
from skrigidity.distributed import without_hessian
from skrigidity.frames import Atoms, FramePartitions, read_targets
from skrigidity.gradients import PROPERTIES

Array = NDArray[np.float64]

# Left-out rows of each property that scales of error bars are fitted to.
_LEFT_ROWS = 10**6


class Sums(NamedTuple):
    """What the rows of some partitions leave."""

    reduced: Reduced
    reservoir: Reservoir
    counts: dict[str, int]


class Partitions(FramePartitions):
    """Training frames in partitions."""

    def known(self, maker: RowsOfFrames) -> Array:
        """Return the projection on what all compositions tell, see `PotentialColumns`."""
        return projection(self.over(_known, "frames-compositions", _stacked, maker))

    def reduce(self, maker: RowsOfFrames) -> Sums:
        """Make all rows once, and reduce them."""
        return self.over(_reduced, "frames-rows", _joined_sums, maker)

    def left_out(self, maker: RowsOfFrames, solved: Sequence[Solved]) -> list[LeftRows]:
        """Leave out every frame; a share of all rows where there are very many."""
        most = -(-_LEFT_ROWS // len(self.parts))
        arguments = maker, list(solved), most
        return self.over(_left_out, "frames-left-out", _joined_left, *arguments)


class RowsOfFrames:
    """Makes the training rows of any frames, as a potential does of a whole training set."""

    def __init__(self, potential: Any, fitted: tuple[str, ...]) -> None:
        self.potential, self.fitted = without_hessian(potential), fitted
        self.potential.__dict__.pop("_problem", None)

    def __call__(self, frames: list[Atoms], cache_size: int = 0) -> TrainingRows:
        """Return the rows of a partition."""
        potential = self.potential
        targets = read_targets(frames, potential.keys_)
        weight = potential._weights(frames, None, None) if frames else np.zeros(0)
        gradients, fixed = potential.gradients_, potential.fixed_
        return TrainingRows(gradients, frames, targets, weight, fixed, self.fitted, cache_size)


def _known(frames: list[Atoms], number: int, maker: RowsOfFrames) -> Array:
    rows = maker(frames)
    chosen = [frames[i] for i in rows.used if rows.targets[i].energy is not None]
    return maker.potential._columns.compositions(chosen)


def _stacked(parts: list[Array]) -> Array:
    """Return rows that span the same, no more than there are columns."""
    return np.asarray(np.linalg.qr(np.concatenate(parts), mode="r"))


def _reduced(frames: list[Atoms], number: int, maker: RowsOfFrames) -> Sums:
    rows = maker(frames)
    reduced = Reduced(maker.potential.gradients_.n_features)
    reservoir = Reservoir(seed=number)
    for i in rows.used:
        block = rows.block(i)
        reduced.add(block)
        reservoir.add(number * 2**32 + i, block.features)
    reduced.finish()
    return Sums(reduced, reservoir, rows.count())


def _joined_sums(parts: list[Sums]) -> Sums:
    first = parts[0]
    total = Sums(copy.deepcopy(first.reduced), copy.deepcopy(first.reservoir), dict(first.counts))
    for part in parts[1:]:
        total.reduced.merge(part.reduced)
        total.reservoir.merge(part.reservoir)
        for name, count in part.counts.items():
            total.counts[name] += count
    return total


def _left_out(
    frames: list[Atoms], number: int, maker: RowsOfFrames, solved: list[Solved], most: int
) -> list[LeftRows]:
    rows = maker(frames)
    if not rows.used:
        return []
    # The rows of other partitions are not here to fit again without a frame.
    found = leave_frames_out(rows, np.arange(len(frames)), solved, max_refits=0)
    return [_thinned(left, number, most) for left in found]


def _thinned(left: LeftRows, number: int, most: int) -> LeftRows:
    """Return some rows of each property, evenly spaced."""
    kept = []
    for kind in range(len(PROPERTIES)):
        rows = np.flatnonzero(left.kind == kind)
        kept.append(rows[:: max(1, -(-len(rows) // most))])
    chosen = np.concatenate(kept)
    columns: list[Any] = [values[chosen] for values in left]
    part = LeftRows(*columns)
    return part._replace(frame=part.frame + number * 2**32)


def _joined_left(parts: list[list[LeftRows]]) -> list[LeftRows]:
    """Join the rows of each solution."""
    given = [part for part in parts if part]
    if not given:
        return []
    return [joined(list(each)) for each in zip(*given, strict=True)]


def fit_partitions(potential: Any, X: Any, **given: Any) -> Any:
    """Fit a potential to frames in partitions, as its `fit` does to frames in memory."""
    for name, value in given.items():
        if value is not None:
            raise ValueError(
                f"{name} must be None where X is a Dask bag or a list of delayed frames: energies "
                "and weights (weight_key) come with the frames"
            )
    parts = Partitions(X)
    _, fitted, tried = potential._prepare(parts.sample, None)
    maker, columns = RowsOfFrames(potential, fitted), potential._columns
    if len(columns.species):
        columns.known = parts.known(maker)
    sums = parts.reduce(maker)
    if not sums.counts["frames"]:
        raise ValueError("weight_key: must not be zero for all frames with references")
    potential.support_ = sums.reservoir.finish()
    names = potential.descriptor_.get_feature_names_out()
    gamma = regularizer_of(potential.regularizer, names)
    problem = Problem(sums.reduced.finish(), sums.reduced.squares, gamma, potential.solver)
    potential._choose(problem, tried, partial(parts.left_out, maker), None)
    potential._fingerprint = b""  # no list of frames is known to be this training set
    potential.n_training_ = sums.counts
    return potential
