"""Sums of kernels, one per component, between points: in blocks of bounded size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn.metrics.pairwise import pairwise_kernels

from .points import Piece, Points, as_float64

# Rows of the two sides whose kernel is held at once, where sums of it are wanted: 16 MB.
_HEIGHT, _WIDTH = 1024, 2048
# Diagonals come from square blocks: small next to the kernel with the training rows.
_DIAGONAL_ROWS = 64
_ONE_ON_THE_DIAGONAL = ("rbf", "laplacian", "chi2")


@dataclass(frozen=True)
class Part:
    """The kernel of one component: a scikit-learn kernel on some of the columns.

    Parameters
    ----------
    kernel : str or callable
        As `sklearn.metrics.pairwise.pairwise_kernels` takes it.
    params : dict
        Its parameters.
    columns : ndarray of int or None
        Columns that it sees; None for all.

    Examples
    --------
    >>> import numpy as np
    >>> from skrigidity.gradients import Part, Points
    >>> part = Part("rbf", {"gamma": 0.5}, columns=[0])
    >>> part.diagonal(Points(np.array([[2.0, 7.0]]), "mean"))
    array([1.])
    """

    kernel: Any
    params: dict[str, Any] = field(default_factory=dict)
    columns: Any = None

    def __call__(self, a: Any, b: Any = None) -> np.ndarray:
        """Return the kernel of two sets of rows, or of one with itself."""
        if self.columns is not None:
            a, b = a[:, self.columns], None if b is None else b[:, self.columns]
        if _of_gaussian_process(self.kernel):
            a, b = (x.toarray() if sp.issparse(x) else x for x in (a, b))
        return pairwise_kernels(a, b, metric=self.kernel, filter_params=True, **self.params)

    def add_cross(self, a: Points, b: Points, out: np.ndarray) -> None:
        """Add the kernel of two sets of points to `out`.

        Parameters
        ----------
        a : Points
            Arguments of the kernel.
        b : Points
            Its other arguments.
        out : ndarray of shape (n_a, n_b)
            Where to add it, in place.
        """
        if self._is("linear"):
            a, b = a.aggregated, b.aggregated
        if a.structured or b.structured:
            for left in a.pieces(_HEIGHT):
                for right in b.pieces(_WIDTH):
                    out[left.points, right.points] += _added_up(
                        left, right, self(left.rows, right.rows)
                    )
        else:
            out += self(as_float64(a.values), as_float64(b.values))

    def add_gram(self, a: Points, out: np.ndarray) -> None:
        """Add the kernel of points among themselves to `out`, every pair of rows once.

        Parameters
        ----------
        a : Points
            Arguments of the kernel.
        out : ndarray of shape (n_points, n_points)
            Where to add it, in place.
        """
        if self._is("linear"):
            a = a.aggregated
        if not a.structured:
            out += self(as_float64(a.values))
            return
        for i, left in enumerate(a.pieces(_HEIGHT)):
            for j, right in enumerate(a.pieces(_HEIGHT)):
                if j < i:
                    continue
                K = self(left.rows) if i == j else self(left.rows, right.rows)
                block = _added_up(left, right, K)
                out[left.points, right.points] += block
                if i != j:
                    out[right.points, left.points] += block.T

    def diagonal(self, a: Points) -> np.ndarray:
        """Return the kernel of every point with itself.

        Parameters
        ----------
        a : Points
            Arguments of the kernel.

        Returns
        -------
        ndarray of shape (n_points,)
            Diagonal of the kernel matrix.
        """
        if self._is("linear"):
            a = a.aggregated
        if not a.structured and self._is(*_ONE_ON_THE_DIAGONAL):
            return np.ones(len(a))
        # Other callables loop over pairs in Python: none that is not needed.
        pairwise = callable(self.kernel) and not _of_gaussian_process(self.kernel)
        out = np.empty(len(a))
        for piece in a.spans(1 if pairwise else _DIAGONAL_ROWS):
            points = a[piece]
            block = np.zeros((len(points), len(points)))
            self.add_gram(points, block)
            out[piece] = np.diag(block)
        return out

    def _is(self, *names: str) -> bool:
        return isinstance(self.kernel, str) and self.kernel in names


class KernelSum:
    """A model's kernel: the sum of those of its components.

    Parameters
    ----------
    parts : dict of str to Part
        The kernel of every component; of a model without components, the only one.

    Examples
    --------
    >>> import numpy as np
    >>> from skrigidity.gradients import KernelSum, Part, Points
    >>> kernel = KernelSum({"a": Part("linear", columns=[0]), "b": Part("rbf", columns=[1])})
    >>> kernel.diagonal(Points(np.array([[2.0, 0.0]]), "mean"))
    array([5.])
    """

    def __init__(self, parts: Mapping[str, Part]) -> None:
        self.parts = dict(parts)

    def only(self, name: str) -> KernelSum:
        """Return the kernel of one component.

        Parameters
        ----------
        name : str
            Name of the component.

        Returns
        -------
        KernelSum
            The kernel with this part alone.
        """
        return KernelSum({name: self.parts[name]})

    def on_columns(self, name: str, columns: np.ndarray) -> KernelSum:
        """Return the kernel of some columns, where the kernel is a sum over columns.

        Parameters
        ----------
        name : str
            Name of the component.
        columns : ndarray of int
            Columns that the kernel is to see.

        Returns
        -------
        KernelSum
            The kernel of these columns.

        Raises
        ------
        ValueError
            If it is not: the columns are no component's, and the kernel is not linear.
        """
        for part in self.parts.values():
            if part.columns is not None and np.array_equal(np.sort(part.columns), np.sort(columns)):
                return KernelSum({name: part})
        if not all(part.kernel == "linear" for part in self.parts.values()):
            raise ValueError(
                f"components: the kernel has no part that sees just the columns of {name!r}. Only "
                "a linear kernel is a sum over columns; give the model a dict of kernels, or these "
                "columns as its `components`"
            )
        own = {}
        for each, part in self.parts.items():
            shared = columns if part.columns is None else np.intersect1d(columns, part.columns)
            if len(shared):
                own[each] = Part("linear", {}, shared)
        return KernelSum(own)

    def cross(self, a: Points, b: Points) -> np.ndarray:
        """Return the kernel between two sets of points.

        Parameters
        ----------
        a : Points
            Arguments of the kernel.
        b : Points
            Its other arguments.

        Returns
        -------
        ndarray of shape (n_a, n_b)
            The kernel matrix.
        """
        out = np.zeros((len(a), len(b)))
        for part in self.parts.values():
            part.add_cross(a, b, out)
        return out

    def gram(self, a: Points) -> np.ndarray:
        """Return the kernel of points among themselves.

        Parameters
        ----------
        a : Points
            Arguments of the kernel.

        Returns
        -------
        ndarray of shape (n_points, n_points)
            The kernel matrix.
        """
        out = np.zeros((len(a), len(a)))
        for part in self.parts.values():
            part.add_gram(a, out)
        return out

    def diagonal(self, a: Points) -> np.ndarray:
        """Return the kernel of every point with itself.

        Parameters
        ----------
        a : Points
            Arguments of the kernel.

        Returns
        -------
        ndarray of shape (n_points,)
            Diagonal of the kernel matrix.
        """
        return np.sum([part.diagonal(a) for part in self.parts.values()], axis=0)


def _of_gaussian_process(kernel: Any) -> bool:
    # Imported here, as scikit-learn's pairwise_kernels does: few need it, all would wait for it.
    from sklearn.gaussian_process.kernels import Kernel

    return isinstance(kernel, Kernel)


def _added_up(left: Piece, right: Piece, kernel: np.ndarray) -> np.ndarray:
    return right.add_up(left.add_up(kernel).T).T
