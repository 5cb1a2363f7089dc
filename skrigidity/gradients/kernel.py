"""Kernel models: gradients in the space of the kernel, seen through the kernel only."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from sklearn.utils import check_array

from ..environments import Environments, is_environments
from ..hessian import KernelRows, block_rows
from .base import Gradients, Level
from .components import resolve_components
from .features import are_names
from .kernel_sums import KernelSum
from .points import Points


class KernelBlock(KernelRows):
    """Some predictions of a kernel model, with the share that they have in its intercept."""

    intercept: float = 1.0

    def times(self, coef: np.ndarray, intercept: Any = 0.0) -> np.ndarray:
        """Return predictions."""
        return self.train @ coef + self.intercept * np.asarray(intercept)


class KernelQuery(KernelRows):
    """Predictions of a kernel model, evaluated in blocks of bounded size.

    Parameters
    ----------
    n, n_train : int
        Number of predictions, and of training samples.
    intercept : float
        What the predictions have of the constant that is added to them.
    """

    def __init__(self, n: int, n_train: int, intercept: float = 1.0) -> None:
        self.n = n
        self.n_train = n_train
        self.intercept = intercept

    def __len__(self) -> int:
        return self.n

    @abstractmethod
    def train_of(self, piece: slice) -> np.ndarray:
        """Return the kernel of some predictions with the training samples."""

    @abstractmethod
    def diagonal_of(self, piece: slice) -> np.ndarray:
        """Return the kernel of some predictions with themselves."""

    @abstractmethod
    def among_of(self, piece: slice) -> np.ndarray:
        """Return the kernel of some predictions with all."""

    @property
    def train(self) -> np.ndarray:  # type: ignore[override]
        """The kernel of all predictions with the training samples."""
        return self.train_of(slice(0, self.n))

    @property
    def diagonal(self) -> np.ndarray:  # type: ignore[override]
        """The kernel of all predictions with themselves."""
        return self.diagonal_of(slice(0, self.n))

    @property
    def among(self) -> np.ndarray:  # type: ignore[override]
        """The kernel of all predictions among themselves."""
        return self.among_of(slice(0, self.n))

    def blocks(self, entries: int = 2**21) -> Iterator[KernelBlock]:
        """Iterate over all predictions, with their kernels evaluated."""
        for piece in self._pieces(entries):
            block = KernelBlock(self.train_of(piece), self.diagonal_of(piece))
            block.intercept = self.intercept
            yield block

    def times(self, coef: np.ndarray, intercept: Any = 0.0) -> np.ndarray:
        """Return predictions; they need no kernel of a sample with itself."""
        parts = [self.train_of(piece) @ coef for piece in self._pieces()]
        return np.concatenate(parts) + self.intercept * np.asarray(intercept)

    def combined(self, weights: np.ndarray) -> KernelRows:
        """Return linear combinations of the predictions, one per row of `weights`."""
        train = np.zeros((len(weights), self.n_train))
        diagonal = np.zeros(len(weights))
        for piece in self._pieces():
            train += weights[:, piece] @ self.train_of(piece)
            diagonal += ((weights[:, piece] @ self.among_of(piece)) * weights).sum(axis=1)
        return KernelRows(train, diagonal)

    def _pieces(self, entries: int = 2**21) -> Iterator[slice]:
        step = block_rows(self.n_train, entries)
        return (slice(i, min(i + step, self.n)) for i in range(0, self.n, step))


class PointQuery(KernelQuery):
    """Predictions at points whose kernel can be evaluated.

    Parameters
    ----------
    kernel : KernelSum
        The kernel.
    points : Points
        Where to predict.
    training : list of Points
        Where the model was trained.
    intercept : float
        What the predictions have of the constant that is added to them.
    """

    def __init__(
        self, kernel: KernelSum, points: Points, training: list[Points], intercept: float
    ) -> None:
        super().__init__(len(points), sum(map(len, training)), intercept)
        self.kernel = kernel
        self.points = points
        self.training = training

    def train_of(self, piece: slice) -> np.ndarray:
        """Return the kernel of some predictions with the training samples."""
        some = self.points[piece]
        parts = [self.kernel.cross(some, training) for training in self.training]
        return parts[0] if len(parts) == 1 else np.hstack(parts)

    def diagonal_of(self, piece: slice) -> np.ndarray:
        """Return the kernel of some predictions with themselves."""
        return self.kernel.diagonal(self.points[piece])

    def among_of(self, piece: slice) -> np.ndarray:
        """Return the kernel of some predictions with all."""
        if piece == slice(0, self.n):
            return self.kernel.gram(self.points)
        return self.kernel.cross(self.points[piece], self.points)


class KernelGradients(Gradients):
    """Rows of a model whose kernel can be evaluated, between points or structures of them.

    Parameters
    ----------
    kernel : KernelSum
        The kernel, a sum over components where there are any.
    training : list of matrices or Environments
        Training samples, those of weight zero left out.
    aggregate : {"mean", "sum"}
        How environments make up a structure.
    feature_names : array-like of str, default=None
        Names of the columns.

    Examples
    --------
    >>> import numpy as np
    >>> from skrigidity.gradients import KernelGradients, KernelSum, Part
    >>> X = np.array([[1.0, 0.0], [0.0, 2.0]])
    >>> g = KernelGradients(KernelSum({"": Part("linear")}), [X], "mean")
    >>> g.rows(X[:1]).train, g.rows(X[:1]).diagonal
    (array([[1., 0.]]), array([1.]))
    """

    def __init__(
        self, kernel: KernelSum, training: list[Any], aggregate: str, feature_names: Any = None
    ) -> None:
        self.kernel = kernel
        self.training = training
        self.aggregate = aggregate
        self.feature_names = feature_names
        self.components = {name: kernel.only(name) for name in kernel.parts if name}

    def rows(self, X: Any, level: Level = "global", component: Any = None) -> PointQuery:
        """Return the kernels of all predictions.

        Parameters
        ----------
        X : ndarray, sparse matrix or Environments
            Validated samples, or environments by structure.
        level : {"global", "local"}, default="global"
            Rows of samples, or of their environments.
        component : object, default=None
            What `resolve` gives for one component; None is the whole model.

        Returns
        -------
        PointQuery
            A row per prediction.
        """
        local = level == "local"
        points = X.values if local and isinstance(X, Environments) else X
        whole = component is None and not (local and self.aggregate == "sum")
        kernel = self.kernel if component is None else component
        training = [self.points(part) for part in self.training]
        return PointQuery(kernel, self.points(points), training, float(whole))

    def points(self, X: Any) -> Points:
        """Return arguments of the kernel.

        Parameters
        ----------
        X : ndarray, sparse matrix or Environments
            Validated samples, or environments by structure.

        Returns
        -------
        Points
            The arguments.
        """
        return Points(X, self.aggregate)

    def resolve(self, components: Any) -> dict[str, KernelSum]:
        """Return the kernel of every component.

        Parameters
        ----------
        components : object
            Components, in any of the ways of `resolve_components`.

        Returns
        -------
        dict of str to KernelSum
            Kernels by the names of the components.
        """
        own = self.components
        if components is None or are_names(components, own):
            if not own:
                raise ValueError(
                    "components must be those of the model, but this one has no components: give "
                    "it a dict of kernels, or columns as `components`"
                )
            return {str(name): own[str(name)] for name in (components or own)}
        if isinstance(components, str) or (
            not isinstance(components, Mapping)
            and all(isinstance(name, str) for name in components)
        ):
            raise ValueError(
                f"components must be a list of names out of {list(own)}, got {components!r}"
            )
        d = self.training[0].shape[1]
        columns = resolve_components(components, d, self.feature_names)
        return {name: self.kernel.on_columns(name, own) for name, own in columns.items()}

    def joined(self, X: Any, sample_weight: np.ndarray | None) -> tuple[KernelRows, Gradients]:
        """Return samples to add to the training set.

        Parameters
        ----------
        X : ndarray, sparse matrix or Environments
            Validated samples, or environments by structure.
        sample_weight : ndarray of shape (n_samples,) or None
            Weights of the samples; None is 1 for each.

        Returns
        -------
        tuple of KernelRows and Gradients
            The rows, and the gradients of a model that knows them.
        """
        if sample_weight is not None and not sample_weight.all():
            kept = np.flatnonzero(sample_weight)
            X, sample_weight = X[kept], sample_weight[kept]
        added = self.rows(X)
        more = KernelRows(added.train, added.diagonal, added.among, sample_weight)
        after = KernelGradients(
            self.kernel, [*self.training, X], self.aggregate, self.feature_names
        )
        return more, after


class PrecomputedQuery(KernelQuery):
    """Predictions whose kernel the user has evaluated.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_train) or KernelRows
        Kernel with the training samples; `KernelRows` has that with the samples as well.
    n_train : int
        Expected number of columns.
    kept : ndarray of int
        Columns of training samples that have weight.
    name : str
        What error messages call X.
    """

    def __init__(self, X: Any, n_train: int, kept: np.ndarray, name: str = "X") -> None:
        if is_environments(X):
            raise ValueError(
                f"{name}: kernel='precomputed' takes the kernel between structures, a matrix"
            )
        rows = X if isinstance(X, KernelRows) else None
        matrix = X if rows is None else rows.train
        matrix = check_array(matrix, dtype=np.float64, input_name=name)
        if matrix.shape[1] != n_train:
            raise ValueError(
                f"{name} has {matrix.shape[1]} features, but RigidKernelRidge is expecting "
                f"{n_train} features as input: the kernel with every training sample"
            )
        n = len(matrix)
        super().__init__(n, len(kept))
        self.matrix = matrix if len(kept) == n_train else matrix[:, kept]
        self.name = name
        self._diagonal = None if rows is None else rows.diagonal
        self._among = None if rows is None else rows.among
        for part in (self._diagonal, self._among):
            if part is not None:
                check_array(np.atleast_2d(part), dtype=np.float64, input_name=name)
        if self._among is not None and self._among.shape != (n, n):
            raise ValueError(f"{name}.among must have shape ({n}, {n}), got {self._among.shape}")

    def train_of(self, piece: slice) -> np.ndarray:
        """Return the kernel of some predictions with the training samples."""
        return self.matrix[piece]

    def diagonal_of(self, piece: slice) -> np.ndarray:
        """Return the kernel of some predictions with themselves."""
        if self._diagonal is None:
            raise ValueError(
                f"kernel='precomputed': rigidities need the kernel of every sample with itself. "
                f"Pass KernelRows({self.name}, diagonal) instead of {self.name}"
            )
        return self._diagonal[piece]

    def among_of(self, piece: slice) -> np.ndarray:
        """Return the kernel of some predictions with all."""
        if self._among is None:
            raise ValueError(
                f"kernel='precomputed': covariances need the kernel of all samples with each "
                f"other. Pass KernelRows({self.name}, diagonal, among) instead of {self.name}"
            )
        return self._among[piece]


class PrecomputedGradients(Gradients):
    """Rows of a model that is given kernels instead of samples.

    Parameters
    ----------
    n_train : int
        Number of training samples.
    kept : ndarray of int
        Those that have weight.
    """

    def __init__(self, n_train: int, kept: np.ndarray) -> None:
        self.n_train = n_train
        self.kept = kept

    def rows(self, X: Any, level: Level = "global", component: Any = None) -> PrecomputedQuery:
        """Return the kernels of all predictions."""
        return PrecomputedQuery(X, self.n_train, self.kept)

    def resolve(self, components: Any) -> dict[str, Any]:
        """Raise ValueError: of a kernel that is given, no component is known."""
        raise ValueError(
            "components must be None where kernel='precomputed': the model has no components, "
            "give it a dict of kernels"
        )

    def joined(self, X: Any, sample_weight: np.ndarray | None) -> tuple[KernelRows, Gradients]:
        """Return samples to add, whose columns follow those of the training samples."""
        added = PrecomputedQuery(X, self.n_train, self.kept, "X_added")
        weight = np.ones(len(added)) if sample_weight is None else sample_weight
        more = KernelRows(added.train, added.diagonal, added.among, weight)
        kept = np.concatenate([self.kept, self.n_train + np.flatnonzero(weight)])
        return more, PrecomputedGradients(self.n_train + len(added), kept)
