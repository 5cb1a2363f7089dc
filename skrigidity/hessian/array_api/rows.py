"""Rows of arrays that are not NumPy's: what `Rows` is for those of the host."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np

from ..rows import block_rows

# 256 MB of float64 a block: enough for the full speed of a GPU, little of its memory.
_BLOCK_ENTRIES = 2**25


class InNamespace:
    """An object that holds an array namespace, which pickle does not take, by its name."""

    xp: Any

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "xp": self.xp.__name__}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, xp=import_module(state["xp"]))


class Block(NamedTuple):
    """Some rows in float64, with their weights, intercept derivatives and right-hand sides."""

    matrix: Any
    weight: Any
    flags: Any
    rhs: Any


class ArrayRows(InNamespace):
    """Gradients ``g = [matrix[i], intercept[i]]``, as `Rows`, in an array namespace.

    Parameters
    ----------
    matrix : array of shape (n_rows, n_features)
        Derivatives with respect to the feature parameters, float32 or float64.
    xp : module
        Its namespace, as of ``array_api_compat.array_namespace``.
    weight : array of shape (n_rows,), default=None
        Weights.
    intercept : bool or array of shape (n_rows,), default=False
        Derivative with respect to the intercept; of training rows, one value for all.
    columns : array-like of int, default=None
        Component mask: all other columns of `matrix` count as zero.
    rhs : array of shape (n_rows,) or (n_rows, n_rhs), default=None
        Right-hand sides.

    Examples
    --------
    >>> import numpy as np
    >>> from skrigidity.hessian.array_api import ArrayRows
    >>> rows = ArrayRows(np.eye(3), xp=np, intercept=True)
    >>> len(rows), rows.n_features, rows.has_intercept
    (3, 3, True)
    """

    def __init__(
        self,
        matrix: Any,
        *,
        xp: Any,
        weight: Any = None,
        intercept: Any = False,
        columns: Any = None,
        rhs: Any = None,
    ) -> None:
        self.xp, self.matrix, self.weight = xp, matrix, weight
        one_for_all = isinstance(intercept, bool | int | float | np.bool_)
        self.intercept = float(intercept) if one_for_all else intercept
        self.columns: Any = None
        if columns is not None:
            mask = np.zeros(matrix.shape[1])
            mask[np.asarray(columns)] = 1.0
            self.columns = like(mask, matrix, xp)
        rhs = xp.zeros((len(self), 0), **float64(matrix, xp)) if rhs is None else rhs
        self.rhs = rhs[:, None] if rhs.ndim == 1 else rhs
        self._sums: Any = None

    def __len__(self) -> int:
        return int(self.matrix.shape[0])

    @property
    def n_features(self) -> int:
        """Number of feature parameters."""
        return int(self.matrix.shape[1])

    @property
    def n_rhs(self) -> int:
        """Number of right-hand sides."""
        return int(self.rhs.shape[1])

    @property
    def has_intercept(self) -> bool:
        """Whether any row has a derivative with respect to the intercept."""
        flags = self.intercept
        return flags != 0 if isinstance(flags, float) else bool(self.xp.any(flags != 0))

    def total(self, *, count: bool = False) -> float:
        """Return the sum of the weights, or the number of those that are not zero.

        Parameters
        ----------
        count : bool, default=False
            Whether to count rows instead.

        Returns
        -------
        float
            The sum.
        """
        if self.weight is None:
            return float(len(self))
        return float(self.xp.sum(self.xp.sign(self.weight) if count else self.weight))

    def seen(self) -> ArrayRows:
        """Return the rows without those of weight zero.

        Returns
        -------
        ArrayRows
            The rows that are left.
        """
        if self.weight is None or bool(self.xp.all(self.weight > 0)):
            return self
        kept, take = self.xp.nonzero(self.weight > 0)[0], self.xp.take
        out = ArrayRows(take(self.matrix, kept, axis=0), xp=self.xp, intercept=self.intercept)
        out.weight, out.rhs = take(self.weight, kept), take(self.rhs, kept, axis=0)
        return out

    def pieces(self, step: int = 0) -> Iterator[Block]:
        """Iterate over blocks of rows in float64, in order.

        Parameters
        ----------
        step : int, default=0
            Rows of a block; 0 is as many as fit its usual size.

        Yields
        ------
        Block
            The next rows.
        """
        step = step or block_rows(self.n_features, _BLOCK_ENTRIES)
        for start in range(0, max(len(self), 1), step):
            piece = slice(start, min(start + step, len(self)))
            matrix = self.xp.astype(self.matrix[piece, :], self.xp.float64, copy=False)
            if self.columns is not None:
                matrix = matrix * self.columns
            flags = self.intercept
            yield Block(
                matrix,
                None if self.weight is None else self.weight[piece],
                flags if isinstance(flags, float) else flags[piece],
                self.rhs[piece, :],
            )

    def whole(self) -> Block:
        """Return all rows as one block.

        Returns
        -------
        Block
            All rows.
        """
        (block,) = self.pieces(len(self))
        return block

    def blocks(self) -> Iterator[ArrayRows]:
        """Iterate over the rows as a whole: who asks for values per row gets them at once.

        Yields
        ------
        ArrayRows
            All rows at once.
        """
        yield self

    def combined(self, weights: Any) -> ArrayRows:
        """Return linear combinations ``weights @ rows``, `weights` of shape (k, n_rows).

        Parameters
        ----------
        weights : array-like of shape (k, n_rows)
            Weights of the rows in every combination.

        Returns
        -------
        ArrayRows
            The combinations.
        """
        matrix, start = 0.0, 0
        for block in self.pieces():
            stop = start + block.matrix.shape[0]
            matrix = matrix + weights[:, start:stop] @ block.matrix
            start = stop
        flags = self.xp.sum(weights * self.intercept, axis=1)
        return ArrayRows(matrix, xp=self.xp, intercept=flags)

    def times(self, coef: Any, intercept: Any = 0.0) -> Any:
        """Return predictions of shape (n_rows, n_rhs).

        Parameters
        ----------
        coef : array of shape (n_features, n_rhs)
            Coefficients.
        intercept : array of shape (n_rhs,), default=0
            Intercepts.

        Returns
        -------
        array of shape (n_rows, n_rhs)
            Predictions.
        """
        parts = [b.matrix @ coef + column(b.flags) * intercept for b in self.pieces()]
        return self.xp.concat(parts, axis=0)

    def sums(self, *, size: bool = False) -> Any:
        """Return weighted sums over rows and right-hand sides, or of their absolute values.

        Parameters
        ----------
        size : bool, default=False
            Whether to add up absolute values.

        Returns
        -------
        array
            The sums.
        """
        if self._sums is not None and not size:
            return self._sums  # a pass over the rows that several ask for
        xp, total, rhs = self.xp, 0.0, 0.0
        for block in self.pieces():
            matrix, y = (xp.abs(part) if size else part for part in (block.matrix, block.rhs))
            share = xp.ones_like(matrix[:, 0]) if block.weight is None else block.weight
            total, rhs = total + share @ matrix, rhs + share @ y
        counts = like(np.array([self.total(count=True), self.total()]), self.matrix, xp)
        found = xp.concat([counts, rhs, total])
        if not size:
            self._sums = found
        return found


def column(flags: Any) -> Any:
    """Return one number per row as a column; a number for all as it is."""
    return flags if isinstance(flags, float) else flags[:, None]


def float64(array: Any, xp: Any) -> dict[str, Any]:
    """Return the keywords that make a new float64 array on the device of another one."""
    device = getattr(array, "device", None)
    return {"dtype": xp.float64} if xp is np else {"dtype": xp.float64, "device": device}


def like(values: Any, array: Any, xp: Any) -> Any:
    """Return numbers of the host as a float64 array on the device of another one.

    Parameters
    ----------
    values : array-like
        Numbers of the host.
    array : array
        One on the device that is meant.
    xp : module
        The array namespace.

    Returns
    -------
    array
        The numbers, in float64.

    Examples
    --------
    >>> import numpy as np
    >>> from skrigidity.hessian.array_api import like
    >>> like([1, 2], np.zeros(3), np)
    array([1., 2.])
    """
    return xp.asarray(np.asarray(values, dtype=np.float64), **float64(array, xp))
