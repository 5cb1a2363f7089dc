"""Rows: the gradients of predictions, and the data rows that make the Hessian."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from typing import Any

import numpy as np
import scipy.sparse as sp

Array = np.ndarray
EPS = float(np.finfo(np.float64).eps)
# 16 MB of float64 a block: large enough for BLAS-3, small enough to stay near the cache.
_BLOCK_ENTRIES = 2**21
_MIN_BLOCK_ROWS = 64
# What every row has beside its entries in the matrix.
_BESIDE = ("weight", "intercept", "rhs", "groups")


def block_rows(n_columns: int, entries: int = _BLOCK_ENTRIES) -> int:
    """Return how many rows of `n_columns` columns make one block.

    Parameters
    ----------
    n_columns : int
        Number of columns.
    entries : int, default=2**21
        Largest number of entries of a block, of at least 64 rows.

    Returns
    -------
    int
        Number of rows.

    Examples
    --------
    >>> from skrigidity.hessian import block_rows
    >>> block_rows(1000), block_rows(10**6)
    (2097, 64)
    """
    return max(_MIN_BLOCK_ROWS, entries // max(n_columns, 1))


class Rows:
    """Gradients ``g = [matrix[i], intercept[i]]`` of scalar predictions.

    The same object describes training rows (then `weight` and `rhs` count) and the predictions
    whose rigidity is asked for (then they do not).

    Parameters
    ----------
    matrix : ndarray or CSR matrix of shape (n_rows, n_features)
        Derivatives with respect to the feature parameters. float32 and sparse input is
        converted to dense float64 block by block, never whole.
    weight : float or array-like of shape (n_rows,), default=None
        Sample weight times curvature of the loss; a row enters the Hessian scaled by its root.
    intercept : bool, float or array-like of shape (n_rows,), default=False
        Derivative with respect to the intercept. Training rows take 0 or 1, predictions any
        number (a difference of two energies has 0).
    columns : array-like of int, default=None
        Component mask: all other columns of `matrix` count as zero.
    rhs : ndarray of shape (n_rows, n_rhs), default=None
        Right-hand sides of the least-squares problem, carried along as extra columns.
    groups : array-like of int of shape (n_rows,), default=None
        Which sample a row belongs to; None: every row is a sample.

    Raises
    ------
    ValueError
        If the matrix is not 2-D and real, a weight is negative or not finite, or a shape does
        not fit.

    Examples
    --------
    >>> import numpy as np
    >>> from skrigidity.hessian import Rows
    >>> rows = Rows(np.eye(3), intercept=True)
    >>> len(rows), [len(block) for block in rows.blocks()]
    (3, [3])
    """

    def __init__(
        self,
        matrix: Any,
        *,
        weight: Any = None,
        intercept: Any = False,
        columns: Any = None,
        rhs: Any = None,
        groups: Any = None,
    ) -> None:
        matrix = matrix.tocsr() if sp.issparse(matrix) else np.asanyarray(matrix)
        if matrix.ndim != 2:
            raise ValueError(f"matrix must be 2-D, got {matrix.ndim}-D")
        if matrix.dtype.kind not in "fiub":
            raise ValueError(f"matrix must hold real numbers, got dtype {matrix.dtype}")
        n = matrix.shape[0]
        self.matrix = matrix
        self.weight = None if weight is None else per_row(weight, n)
        if self.weight is not None and not ((self.weight >= 0) & (self.weight < np.inf)).all():
            raise ValueError("weight must be non-negative and finite")
        self.intercept = per_row(intercept, n)
        self.columns = None if columns is None else np.asarray(columns)
        rhs = np.zeros((n, 0)) if rhs is None else np.asarray(rhs, dtype=np.float64)
        self.rhs = rhs[:, None] if rhs.ndim == 1 else rhs
        self.groups = None if groups is None else np.asarray(groups)
        if self.groups is not None and self.groups.shape != (n,):
            raise ValueError(f"groups must have shape ({n},), got {self.groups.shape}")

    @staticmethod
    def joined(parts: Iterable[Rows], n_features: int = 0, n_rhs: int = 0) -> Rows:
        """Return rows in memory stacked below each other; None counts as weight 1.

        Groups are kept where every part has them. `n_features` and `n_rhs` count where there is
        no part.

        Parameters
        ----------
        parts : iterable of Rows
            Rows in memory.
        n_features : int, default=0
            Number of features where there is no part.
        n_rhs : int, default=0
            Number of right-hand sides where there is no part.

        Returns
        -------
        Rows
            All rows.
        """
        parts = list(parts) or [Rows(np.zeros((0, n_features)), rhs=np.zeros((0, n_rhs)))]
        if len(parts) == 1:
            return parts[0]
        matrices = [part.matrix if part.columns is None else part.dense() for part in parts]
        stack = sp.vstack if any(map(sp.issparse, matrices)) else np.vstack
        weights = [np.ones(len(part)) if part.weight is None else part.weight for part in parts]
        groups: Any = [part.groups for part in parts]
        return Rows(
            stack(matrices),
            weight=np.concatenate(weights) if any(p.weight is not None for p in parts) else None,
            intercept=np.concatenate([part.intercept for part in parts]),
            rhs=np.concatenate([part.rhs for part in parts]),
            groups=None if any(own is None for own in groups) else np.concatenate(groups),
        )

    def __len__(self) -> int:
        return int(self.matrix.shape[0])

    @property
    def n_features(self) -> int:
        """Number of feature parameters."""
        return int(self.matrix.shape[1])

    @property
    def n_rhs(self) -> int:
        """Number of right-hand sides carried along."""
        return int(self.rhs.shape[1])

    @property
    def has_intercept(self) -> bool:
        """Whether any row has a derivative with respect to the intercept."""
        return bool(self.intercept.any())

    def replaced(self, **parts: Any) -> Rows:
        """Return the same rows in memory with other attributes, which are not checked.

        Parameters
        ----------
        **parts : object
            The other attributes by their names.

        Returns
        -------
        Rows
            The rows.
        """
        out = object.__new__(Rows)
        out.__dict__ = self.__dict__ | parts
        return out

    def seen(self) -> Rows:
        """Return the rows without those of weight zero.

        Returns
        -------
        Rows
            The rows.
        """
        if self.weight is None or self.weight.all():
            return self
        return self.kept(self.weight)

    def kept(self, mask: Array) -> Rows:
        """Return the rows of a mask, lazy ones still lazy.

        Parameters
        ----------
        mask : ndarray of bool of shape (n_rows,)
            Which rows to keep.

        Returns
        -------
        Rows
            The rows that are kept.
        """
        return self[np.flatnonzero(mask)]

    def __getitem__(self, key: Any) -> Rows:
        parts = {name: getattr(self, name) for name in ("matrix", *_BESIDE)}
        taken = {name: part[key] for name, part in parts.items() if part is not None}
        return self.replaced(**taken)

    def dense(self, *, copy: bool = False) -> Array:
        """Return the rows, dense and in float64; where they are so already, a view or a copy.

        Parameters
        ----------
        copy : bool, default=False
            Whether the result may not be a view.

        Returns
        -------
        ndarray of shape (n_rows, n_features)
            The matrix of the rows.
        """
        piece = self.matrix if self.columns is None else self.matrix[:, self.columns]
        made = piece.toarray() if sp.issparse(piece) else piece
        if self.columns is None:
            copy = copy and made is self.matrix
            return np.array(made, np.float64, order="C") if copy else np.asarray(made, np.float64)
        out = np.zeros(self.matrix.shape)
        out[:, self.columns] = made
        return out

    def blocks(self, entries: int = _BLOCK_ENTRIES) -> Iterator[Rows]:
        """Iterate over blocks of rows in memory, in order, each of a size that BLAS likes.

        Parameters
        ----------
        entries : int, default=2**21
            Largest number of entries of a block.

        Yields
        ------
        Rows
            The next rows.
        """
        n, step = len(self), block_rows(self.n_features, entries)
        if 0 < n <= step:
            yield self
        else:
            yield from (self[start : start + step] for start in range(0, n, step))

    def numbered(self) -> Iterator[tuple[slice, Rows]]:
        """Iterate over blocks of rows and where they are.

        Yields
        ------
        tuple of slice and Rows
            Where a block is, and its rows.
        """
        start = 0
        for block in self.blocks():
            yield slice(start, start + len(block)), block
            start += len(block)

    def combined(self, weights: Any) -> Rows:
        """Return linear combinations ``weights @ rows``, `weights` of shape (k, n_rows).

        Parameters
        ----------
        weights : array-like of shape (k, n_rows)
            Weights of the rows in every combination.

        Returns
        -------
        Rows
            The combinations.
        """
        matrix = np.zeros((weights.shape[0], self.n_features))
        flags = np.zeros(weights.shape[0])
        for piece, block in self.numbered():
            matrix += weights[:, piece] @ block.dense()
            flags += weights[:, piece] @ block.intercept
        return Rows(matrix, intercept=flags)

    def times(self, coef: Array, intercept: Any = 0.0) -> Array:
        """Return predictions of shape (n_rows, n_rhs).

        Parameters
        ----------
        coef : ndarray of shape (n_features, n_rhs)
            Coefficients.
        intercept : ndarray of shape (n_rhs,), default=0
            Intercepts.

        Returns
        -------
        ndarray of shape (n_rows, n_rhs)
            Predictions.
        """
        out = np.empty((len(self), *coef.shape[1:]))
        offset = np.broadcast_to(intercept, coef.shape[1:])
        for piece, block in self.numbered():
            out[piece] = block.dense() @ coef + np.multiply.outer(block.intercept, offset)
        return out

    def rss(self, coef: Array, intercept: Any = 0.0) -> Array:
        """Return weighted sums of squares, (n_rhs,), of right-hand sides minus predictions.

        Parameters
        ----------
        coef : ndarray of shape (n_features, n_rhs)
            Coefficients.
        intercept : ndarray of shape (n_rhs,)
            Intercepts.

        Returns
        -------
        ndarray of shape (n_rhs,)
            Weighted sums.
        """
        error = self.rhs - self.times(coef, intercept)
        weight = per_row(1.0 if self.weight is None else self.weight, len(self))
        return np.asarray(np.einsum("i,ij,ij->j", weight, error, error))


class LazyRows(Rows):
    """Rows made block by block, whenever they are needed.

    Parameters
    ----------
    blocks : callable
        Returns a fresh iterator of `Rows` in memory, the same ones at every call.
    n_rows, n_features, n_rhs : int
        What the blocks add up to.
    has_intercept : bool
        Whether any of them has an intercept.

    Examples
    --------
    >>> import numpy as np
    >>> from skrigidity.hessian import LazyRows, Prior, Rows, choose
    >>> rows = LazyRows(lambda: (Rows(np.eye(2)) for _ in range(3)), n_rows=6, n_features=2)
    >>> choose(rows, Prior(1.0)).quad(np.eye(2))
    array([0.25, 0.25])
    """

    def __init__(
        self,
        blocks: Callable[[], Iterable[Rows]],
        n_rows: int,
        n_features: int,
        n_rhs: int = 0,
        has_intercept: bool = False,
    ) -> None:
        self._blocks, self._n_rows = blocks, int(n_rows)
        self._widths = int(n_features), int(n_rhs), bool(has_intercept)

    def __len__(self) -> int:
        return self._n_rows

    @cached_property
    def _small(self) -> Rows:
        """What is small, collected in one pass; the matrix never is."""
        parts = [b.replaced(matrix=b.matrix[:, :0], columns=None) for b in self._blocks()]
        return Rows.joined(parts, n_rhs=self.n_rhs)

    def __getattr__(self, name: str) -> Any:
        if name not in _BESIDE:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return getattr(self._small, name)

    n_features = property(lambda self: self._widths[0])
    n_rhs = property(lambda self: self._widths[1])
    has_intercept = property(lambda self: self._widths[2])

    def blocks(self, entries: int = _BLOCK_ENTRIES) -> Iterator[Rows]:
        """Iterate over blocks of rows in memory, in order, each of a size that BLAS likes.

        Parameters
        ----------
        entries : int, default=2**21
            Largest number of entries of a block.

        Yields
        ------
        Rows
            The next rows.
        """
        count, d, t = 0, self.n_features, self.n_rhs
        for block in self._blocks():
            found = block.n_features, block.n_rhs
            if found != (d, t):
                raise ValueError(f"blocks must have {d} features and {t} targets, got {found}")
            count += len(block)
            yield from block.blocks(entries)
        if count != len(self):
            raise ValueError(f"blocks must add up to {len(self)} rows, got {count}")

    def seen(self) -> Rows:
        """Return the rows; whoever takes the blocks leaves out those of weight zero.

        Returns
        -------
        Rows
            The rows.
        """
        return self

    def kept(self, mask: Array) -> Rows:
        """Return the rows of a mask, lazy ones still lazy.

        Parameters
        ----------
        mask : ndarray of bool of shape (n_rows,)
            Which rows to keep.

        Returns
        -------
        Rows
            The rows that are kept.
        """

        def made() -> Iterator[Rows]:
            return (block.kept(mask[i]) for i, block in self.numbered())

        return LazyRows(made, int(mask.sum()), self.n_features, self.n_rhs, self.has_intercept)

    def __getitem__(self, key: Any) -> Rows:
        """Return some rows in memory, in the order asked for."""
        numbers, place = np.unique(np.arange(len(self))[key], return_inverse=True)
        kept = self.kept(np.isin(np.arange(len(self)), numbers))
        return Rows.joined(kept.blocks(), self.n_features, self.n_rhs)[place]


def as_rows(rows: Any, *, intercept: Any = False) -> Rows:
    """Return `rows` as `Rows`; a plain matrix gets the given intercept derivative."""
    return rows if isinstance(rows, Rows) else Rows(rows, intercept=intercept)


def row_squares(matrix: Array) -> Array:
    """Return the squared norm of every row."""
    return np.asarray(np.einsum("ij,ij->i", matrix, matrix))


def check_squares(squares: Array, n_features: int) -> None:
    """Raise ValueError where sums of squares overflow, of features or right-hand sides."""
    finite = np.isfinite(squares)
    if not finite.all():
        raise ValueError(
            f"{'y' if finite[:n_features].all() else 'X'} holds values that are not finite or "
            "beyond 1e150 (with their weights): their squares overflow. Use other units"
        )


def per_row(values: Any, n: int) -> Array:
    """Return one float64 a row, from one or all of them."""
    return np.broadcast_to(np.asarray(values, dtype=np.float64), (n,))
