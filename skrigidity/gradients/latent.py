"""Last layers of networks: gradients are what the layer is given, its latent features."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..hessian import Rows
from .base import Gradients, Level
from .components import resolve_components
from .features import are_names


@dataclass
class LatentBlock:
    """Latent features of some samples, in memory.

    Parameters
    ----------
    features : ndarray of shape (n_units, n_features)
        Features of units: atoms, or whatever a sample's prediction is a sum over.
    sample : ndarray of int of shape (n_units,)
        Which sample of the block a unit belongs to, in ascending order.
    n_samples : int
        Number of samples of the block.
    offset : ndarray of shape (n_samples, n_outputs)
        What predictions have beside the last layer.
    species : ndarray of int of shape (n_units,) or None
        Which kind a unit is of, by which predictions can be divided: atomic numbers.

    Examples
    --------
    >>> import numpy as np
    >>> from skrigidity.gradients import LatentBlock
    >>> block = LatentBlock(np.eye(2), np.zeros(2, int), 1, np.zeros((1, 1)))
    >>> block.summed("sum", bias=True)
    array([[1., 1., 2.]])
    """

    features: np.ndarray
    sample: np.ndarray
    n_samples: int
    offset: np.ndarray
    species: np.ndarray | None = None

    def summed(self, reduce: str, bias: bool, kept: np.ndarray | None = None) -> np.ndarray:
        """Return the rows of samples, in float64: sums over their units, or means.

        `kept` is a mask of the units that count; a mean is over all of them nevertheless.

        Parameters
        ----------
        reduce : {"sum", "mean"}
            How units make a sample.
        bias : bool
            Whether a column of ones stands for the bias.
        kept : ndarray of bool of shape (n_units,), default=None
            Units that count; None is all of them.

        Returns
        -------
        ndarray of shape (n_samples, n_features) or (n_samples, n_features + 1)
            A row per sample.
        """
        out = np.zeros((self.n_samples, self.features.shape[1] + bias))
        sizes = np.bincount(self.sample, minlength=self.n_samples)
        features, sample = self.features, self.sample
        if kept is not None:
            features, sample = features[kept], sample[kept]
        counts = np.bincount(sample, minlength=self.n_samples)
        some = np.flatnonzero(counts)
        if some.size:
            starts = np.cumsum(counts)[some] - counts[some]
            wide = np.asarray(features, dtype=np.float64)
            out[some, : features.shape[1]] = np.add.reduceat(wide, starts, axis=0)
        if bias:
            out[:, -1] = counts
        return out / np.maximum(sizes, 1)[:, None] if reduce == "per_atom" else out


class LatentSamples:
    """Latent features of samples, kept so that a network need not run again.

    What methods take in place of data; indexing with integers, slices and masks gives some of the
    samples.

    Parameters
    ----------
    features : ndarray of shape (n_units, n_features)
        Features of all units, those of a sample one after the other.
    sizes : ndarray of int of shape (n_samples,)
        Number of units of every sample.
    offset : ndarray of shape (n_samples, n_outputs)
        What predictions have beside the last layer, summed over units.
    species : ndarray of int of shape (n_units,), default=None
        Which kind a unit is of.
    targets : ndarray of shape (n_samples,) or (n_samples, n_outputs), default=None
        Labels that came with the data, sums over units.

    Examples
    --------
    >>> import numpy as np
    >>> from skrigidity.gradients import LatentSamples
    >>> samples = LatentSamples(np.arange(6.0).reshape(3, 2), np.array([2, 1]), np.zeros((2, 1)))
    >>> len(samples), samples[[1]].features
    (2, array([[4., 5.]]))
    """

    def __init__(
        self,
        features: np.ndarray,
        sizes: np.ndarray,
        offset: np.ndarray,
        species: np.ndarray | None = None,
        targets: np.ndarray | None = None,
    ) -> None:
        self.features, self.sizes, self.offset = features, np.asarray(sizes), offset
        self.species, self.targets = species, targets

    @staticmethod
    def of(blocks: Iterable[LatentBlock], targets: np.ndarray | None = None) -> LatentSamples:
        """Return all samples of blocks.

        Parameters
        ----------
        blocks : iterable of LatentBlock
            Blocks, in the order of the samples.
        targets : ndarray, default=None
            Labels of all samples.

        Returns
        -------
        LatentSamples
            The samples.
        """
        blocks = list(blocks)
        sizes = [np.bincount(b.sample, minlength=b.n_samples) for b in blocks]
        species: list[Any] = [b.species for b in blocks]
        return LatentSamples(
            np.concatenate([b.features for b in blocks]),
            np.concatenate(sizes),
            np.concatenate([b.offset for b in blocks]),
            None if any(s is None for s in species) else np.concatenate(species),
            targets,
        )

    def __len__(self) -> int:
        return len(self.sizes)

    def __getitem__(self, key: Any) -> LatentSamples:
        chosen = np.atleast_1d(np.arange(len(self))[key])
        ends = np.cumsum(self.sizes)
        units = [np.arange(ends[i] - self.sizes[i], ends[i]) for i in chosen]
        place = np.concatenate(units) if units else np.zeros(0, int)
        return LatentSamples(
            self.features[place],
            self.sizes[chosen],
            self.offset[chosen],
            None if self.species is None else self.species[place],
            None if self.targets is None else self.targets[chosen],
        )

    def blocks(self, size: int = 1024) -> Iterator[LatentBlock]:
        """Iterate over blocks of at most `size` samples.

        Parameters
        ----------
        size : int, default=1024
            Largest number of samples of a block.

        Yields
        ------
        LatentBlock
            The next samples.
        """
        ends = np.concatenate([[0], np.cumsum(self.sizes)])
        for start in range(0, len(self), size):
            sizes = self.sizes[start : start + size]
            units = slice(ends[start], ends[start + len(sizes)])
            yield LatentBlock(
                self.features[units],
                np.repeat(np.arange(len(sizes)), sizes),
                len(sizes),
                self.offset[start : start + size],
                None if self.species is None else self.species[units],
            )

    def split(self, values: np.ndarray) -> list[np.ndarray]:
        """Return one array per sample of values that units have.

        Parameters
        ----------
        values : ndarray of shape (n_units, ...)
            Values of all units.

        Returns
        -------
        list of ndarray
            Values by sample.
        """
        return np.split(values, np.cumsum(self.sizes)[:-1])


class LatentGradients(Gradients):
    """Rows of latent features: sums or means over a sample's units, or a row per unit.

    The bias is one more feature, 1 for every unit, and penalized like the others. What
    predictions have beside the last layer comes with the rows, as their right-hand sides.

    Parameters
    ----------
    source : callable
        From data to an iterator of `LatentBlock`; `LatentSamples` need none.
    n_features : int
        Number of latent features.
    bias : bool
        Whether there is a bias.
    reduce : {"sum", "per_atom"}
        What a prediction is: a sum over units, or a mean.
    n_targets : int, default=1
        Number of predictions per sample.
    components : dict of str to object, default=None
        The model's own components: atomic numbers, or columns.
    training_rows : callable, default=None
        From data and weights to an iterator of all rows that samples have in H, where these are
        more than those of their predictions.

    Examples
    --------
    >>> import numpy as np
    >>> from skrigidity.gradients import LatentBlock, LatentGradients
    >>> def molecules(data):
    ...     for features in data:
    ...         n = len(features)
    ...         yield LatentBlock(np.asarray(features), np.zeros(n, int), 1, np.zeros((1, 1)))
    >>> g = LatentGradients(molecules, 2, bias=True, reduce="sum")
    >>> g.rows([[[1.0, 2.0], [3.0, 4.0]], [[1.0, 0.0]]]).matrix
    array([[4., 6., 2.],
           [1., 0., 1.]])
    """

    def __init__(
        self,
        source: Callable[[Any], Iterable[LatentBlock]],
        n_features: int,
        *,
        bias: bool,
        reduce: str,
        n_targets: int = 1,
        components: Mapping[str, Any] | None = None,
        training_rows: Callable[[Any, np.ndarray | None], Iterable[Rows]] | None = None,
    ) -> None:
        self.source = source
        self.training_rows = training_rows
        self.bias = bool(bias)
        self.reduce = reduce
        self.n_targets = n_targets
        self.n_features = n_features + self.bias
        self.components = {} if components is None else components

    def rows(self, X: Any, level: Level = "global", component: Any = None) -> Rows:
        """Return the gradients of all predictions; right-hand sides are their offsets.

        Parameters
        ----------
        X : object
            Data, as the network's adapter takes them, or `LatentSamples`.
        level : {"global", "local"}, default="global"
            Rows of samples, or of their environments.
        component : object, default=None
            What `resolve` gives for one component; None is the whole model.

        Returns
        -------
        Rows
            A row per prediction.
        """
        blocks = self.blocks(X, level, component)
        return Rows.joined(blocks, self.n_features, self.n_targets)

    def blocks(self, X: Any, level: Level = "global", component: Any = None) -> Iterator[Rows]:
        """Iterate over the same rows, as the network makes them.

        Parameters
        ----------
        X : object
            Data, as the network's adapter takes them, or `LatentSamples`.
        level : {"global", "local"}, default="global"
            Rows of samples, or of their environments.
        component : object, default=None
            What `resolve` gives for one component; None is the whole model.

        Yields
        ------
        Rows
            The rows of one block.
        """
        for block in X.blocks() if isinstance(X, LatentSamples) else self.source(X):
            yield self.of_block(block, level, component)

    def of_block(self, block: LatentBlock, level: Level = "global", component: Any = None) -> Rows:
        """Return the rows of one block.

        Parameters
        ----------
        block : LatentBlock
            Latent features of some samples.
        level : {"global", "local"}, default="global"
            Rows of samples, or of their environments.
        component : object, default=None
            What `resolve` gives for one component; None is the whole model.

        Returns
        -------
        Rows
            A row per prediction.
        """
        columns = component if isinstance(component, np.ndarray) else None
        species = component if isinstance(component, Species) else None
        kept = None if species is None else species.among(block)
        if level == "global":
            matrix = block.summed(self.reduce, self.bias, kept)
            offset = np.zeros_like(block.offset)
            if component is None:
                sizes = np.bincount(block.sample, minlength=block.n_samples)
                offset = (
                    block.offset / sizes[:, None] if self.reduce == "per_atom" else block.offset
                )
            return Rows(matrix, columns=columns, rhs=offset)
        matrix = block.features
        if self.bias:
            matrix = np.column_stack([matrix, np.ones(len(matrix), matrix.dtype)])
        if kept is not None:
            matrix = matrix * kept[:, None]
        return Rows(matrix, columns=columns, rhs=np.zeros((len(matrix), self.n_targets)))

    def resolve(self, components: Any) -> dict[str, Any]:
        """Return the species or columns of every component.

        Parameters
        ----------
        components : object
            Components, in any of the ways of `resolve_components`.

        Returns
        -------
        dict of str to object
            `Species` or columns by the names of the components.
        """
        own = self.components
        if components is None:
            if not own:
                raise ValueError("components must be given: this model has none of its own")
            return dict(own)
        if are_names(components, own):
            return {str(name): own[str(name)] for name in components}
        return dict(resolve_components(components, self.n_features, None))

    def joined(self, X: Any, sample_weight: np.ndarray | None) -> tuple[Rows, Gradients]:
        """Return samples as weighted rows: all that they have in H.

        Parameters
        ----------
        X : object
            Data, as the network's adapter takes them, or `LatentSamples`.
        sample_weight : ndarray of shape (n_samples,) or None
            Weights of the samples; None is 1 for each.

        Returns
        -------
        tuple of Rows and Gradients
            The rows, and the gradients of a model that knows them.
        """
        if self.training_rows is not None:
            return Rows.joined(self.training_rows(X, sample_weight)), self
        rows = self.rows(X)
        return Rows(rows.matrix, weight=sample_weight, rhs=rows.rhs), self


@dataclass(frozen=True)
class Species:
    """A component: the part of a prediction that is owed to units of some species.

    Parameters
    ----------
    numbers : tuple of int
        Atomic numbers.

    Examples
    --------
    >>> import numpy as np
    >>> from skrigidity.gradients import LatentBlock, Species
    >>> water = LatentBlock(np.eye(3), np.zeros(3, int), 1, np.zeros((1, 1)), np.array([8, 1, 1]))
    >>> Species((1,)).among(water)
    array([False,  True,  True])
    """

    numbers: tuple[int, ...]

    def among(self, block: LatentBlock) -> np.ndarray:
        """Return which units are of these species.

        Parameters
        ----------
        block : LatentBlock
            Latent features of some samples.

        Returns
        -------
        ndarray of bool of shape (n_units,)
            True for these species.
        """
        if block.species is None:
            raise ValueError("components by species: the network does not say what its units are")
        return np.isin(block.species, self.numbers)
