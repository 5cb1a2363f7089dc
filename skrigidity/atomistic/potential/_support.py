"""Support: how far an atom lies inside what was seen."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_SIZE = 500  # training environments that are kept


class Reservoir:
    """A sample of training environments, the same for the same frames.

    Parameters
    ----------
    before : Support, default=None
        What an earlier one has returned, to go on from.
    seed : int, default=0
        Of the draws that decide.

    Attributes
    ----------
    features : ndarray of shape (n_kept, n_features)
    norms, distances : ndarray of shape (n_kept,)
        Norms, and distances to the nearest environment of another frame, sorted.
    """

    def __init__(self, before: Support | None = None, seed: int = 0) -> None:
        self._rng = np.random.default_rng(seed)
        self._keys: list[float] = []
        self._rows: list[tuple[int, Array]] = []
        self.n_seen = 0
        if before is not None:
            # The same keys as before: the smallest of as many draws, in this order.
            self.n_seen = before.n_seen
            self._keys = np.sort(self._rng.random(self.n_seen))[: len(before.features)].tolist()
            self._rows = list(zip(before.frames.tolist(), before.features, strict=True))

    def add(self, frame: int, features: Array) -> None:
        """Show the environments of a frame: all have the same chance to stay."""
        keys = self._rng.random(len(features))
        self.n_seen += len(features)
        bar = np.sort(self._keys)[_SIZE - 1] if len(self._keys) >= _SIZE else np.inf
        for atom in np.flatnonzero(keys < bar):
            self._keys.append(float(keys[atom]))
            self._rows.append((frame, features[atom].copy()))
        if len(self._keys) > 2 * _SIZE:
            self._shrink()

    def merge(self, other: Reservoir) -> None:
        """Add what another one has seen."""
        self._keys += other._keys
        self._rows += other._rows
        self.n_seen += other.n_seen
        self._shrink()

    def _shrink(self) -> None:
        order = np.argsort(self._keys)[:_SIZE]
        self._keys = [self._keys[i] for i in order]
        self._rows = [self._rows[i] for i in order]

    def finish(self) -> Support:
        """Return what compares other environments with those that were kept."""
        self._shrink()
        frames = np.array([frame for frame, _ in self._rows])
        features = np.array([row for _, row in self._rows])
        apart = _distances(features, features)
        others = frames[:, None] != frames
        if others.any():
            apart[~others] = np.inf
        else:  # a single frame has nothing but itself
            np.fill_diagonal(apart, np.inf)
        norms, nearest = np.linalg.norm(features, axis=1), apart.min(axis=1)
        return Support(features, norms, nearest, frames, self.n_seen)


class Support:
    """Environments that were seen, by which others are judged.

    Parameters
    ----------
    features : ndarray of shape (n_kept, n_features)
    norms, distances : ndarray of shape (n_kept,)
        Their norms, and their distances to the nearest one of another frame.
    frames : ndarray of int of shape (n_kept,), default=None
        Which frame each is of; None is another one each.
    n_seen : int, default=None
        Of how many environments these are a sample; None is that they are all.
    """

    def __init__(
        self,
        features: Array,
        norms: Array,
        distances: Array,
        frames: NDArray[np.intp] | None = None,
        n_seen: int | None = None,
    ) -> None:
        self.features, self.norms, self.distances = features, norms, distances
        self.frames = np.arange(len(features)) if frames is None else frames
        self.n_seen = len(features) if n_seen is None else n_seen

    def of(self, features: Array) -> Array:
        """Return the support of environments, between 0 (unlike all that was seen) and 1.

        The smaller one of two shares of training environments: those that are at least as far
        from their nearest neighbor, and twice those whose norm is at least as small, or as large.
        """
        norms = np.linalg.norm(features, axis=1)
        return self._shares(norms, _distances(features, self.features).min(axis=1))

    def _shares(self, norms: Array, nearest: Array) -> Array:
        n, sizes, distances = len(self.norms), np.sort(self.norms), np.sort(self.distances)
        below = np.searchsorted(sizes, norms * (1 + 1e-9), side="right")
        above = n - np.searchsorted(sizes, norms * (1 - 1e-9), side="left")
        inside = np.minimum(1.0, 2 * np.minimum(below, above) / n)
        near = 1 - np.searchsorted(distances, nearest, side="left") / n
        return np.minimum(inside, near)


def _distances(a: Array, b: Array) -> Array:
    squares = np.einsum("ij,ij->i", a, a)[:, None] + np.einsum("ij,ij->i", b, b)
    return np.sqrt(np.maximum(squares - 2 * a @ b.T, 0.0))
