"""Fits to frames in Dask bags or delayed lists: rows are made and reduced where the frames are."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from skrigidity.atomistic.potential._baseline import projection
from skrigidity.atomistic.potential._leave_out import LeftRows, joined, leave_frames_out
from skrigidity.atomistic.potential._rows import Reduced, TrainingRows
from skrigidity.atomistic.potential._solve import Problem, Solved, regularizer_of
from skrigidity.atomistic.potential._support import Reservoir
from skrigidity.distributed import merged_in_tree, without_hessian
from skrigidity.environments import is_chunked
from skrigidity.frames import Atoms, check_frames, names_of, read_targets
from skrigidity.gradients import PROPERTIES

Array = NDArray[np.float64]

# So many frames of every partition are looked at where the columns are made, and those with a
# species or a name of a property that is not among them.
_LOOKED_AT = 16
# Left-out rows of each property that scales of error bars are fitted to.
_LEFT_ROWS = 10**6


def is_partitioned(X: Any) -> bool:
    """Tell whether X is a Dask bag, or a list of delayed frames."""
    first = X[0] if isinstance(X, list | tuple) and len(X) else X
    return is_chunked(first)


class Census(NamedTuple):
    """What has to be known of all frames before rows are made: some of them, and their number."""

    frames: list[Atoms]
    n_frames: int


class Sums(NamedTuple):
    """What the rows of some partitions leave."""

    reduced: Reduced
    reservoir: Reservoir
    counts: dict[str, int]


class Partitions:
    """Frames in partitions.

    Parameters
    ----------
    X : dask.bag.Bag or list of dask.delayed.Delayed
        Of frames, or of lists of frames.

    Attributes
    ----------
    sample : list of ase.Atoms
        Some frames of every partition, all species and names of properties among them.
    n_frames : int
        Number of all frames.
    """

    def __init__(self, X: Any) -> None:
        self.parts = list(X.to_delayed() if hasattr(X, "to_delayed") else X)
        census = self._over(_census, "frames-census", _joined_census)
        self.sample, self.n_frames = check_frames(census.frames), census.n_frames

    def _over(
        self,
        function: Callable[..., Any],
        name: str,
        merge: Callable[[list[Any]], Any],
        *arguments: Any,
    ) -> Any:
        """Return what a function says of the frames of every partition, merged in a tree."""
        from dask.base import tokenize
        from dask.delayed import delayed

        make, token = delayed(partial(_called, function), pure=False), tokenize(self.parts)
        sent = delayed(arguments, pure=False, traverse=False)
        tasks = [
            make(part, number, sent, dask_key_name=f"{name}-{token}-{id(sent)}-{number}")
            for number, part in enumerate(self.parts)
        ]
        return merged_in_tree(tasks, merge, f"{name}-merge")

    def known(self, maker: RowsOfFrames) -> Array:
        """Return the projection on what all compositions tell, see `PotentialColumns`."""
        return projection(self._over(_known, "frames-compositions", _stacked, maker))

    def reduce(self, maker: RowsOfFrames) -> Sums:
        """Make all rows once, and reduce them."""
        return self._over(_reduced, "frames-rows", _joined_sums, maker)

    def left_out(self, maker: RowsOfFrames, solved: Sequence[Solved]) -> list[LeftRows]:
        """Leave out every frame; a share of all rows where there are very many."""
        most = -(-_LEFT_ROWS // len(self.parts))
        arguments = maker, list(solved), most
        return self._over(_left_out, "frames-left-out", _joined_left, *arguments)


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


def _called(function: Callable[..., Any], part: Any, number: int, arguments: Any) -> Any:
    frames = [part] if hasattr(part, "numbers") else list(part)
    if frames:
        check_frames(frames, f"partition {number} of X")
    return function(frames, number, *arguments)


def _census(frames: list[Atoms], number: int) -> Census:
    regular = frames[:: max(1, len(frames) // _LOOKED_AT)][:_LOOKED_AT]
    return Census(_novel(frames, regular), len(frames))


def _novel(frames: list[Atoms], kept: list[Atoms]) -> list[Atoms]:
    """Return frames kept, and those with a species or a name that none of them has."""
    seen = {each for frame in kept for each in _traits(frame)}
    out = list(kept)
    for frame in frames:
        if not _traits(frame) <= seen:
            seen |= _traits(frame)
            out.append(frame)
    return out


def _traits(frame: Atoms) -> set[Any]:
    return {*np.unique(frame.numbers).tolist(), *names_of(frame)}


def _joined_census(parts: list[Census]) -> Census:
    frames = [frame for part in parts for frame in part.frames]
    step = max(1, len(frames) // (4 * _LOOKED_AT * 16))
    return Census(_novel(frames, frames[::step]), sum(part.n_frames for part in parts))


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
