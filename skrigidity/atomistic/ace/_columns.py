"""Where the features of an atom go: blocks of orders, and in these of center species."""

from __future__ import annotations

from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skrigidity.atomistic.ace._basis import Function


class Columns:
    """Columns of a matrix of features: order by order, within an order center by center.

    Parameters
    ----------
    symbols : list of str
        The species.
    functions : list of Function
        Order by order.
    shared : bool
        Whether centers of all species share columns.
    composition : bool
        Whether there is an order 0: a column for each species of centers.

    Attributes
    ----------
    of : ndarray of int of shape (n_species, n_functions)
        Column of each function, by the species of the center.

    Examples
    --------
    >>> from skrigidity.atomistic.ace._basis import Function
    >>> from skrigidity.atomistic.ace._columns import Columns
    >>> functions = [Function(1, (0,), (1,), (0,), None), Function(1, (1,), (1,), (0,), None)]
    >>> columns = Columns(["H", "O"], functions, shared=False, composition=True)
    >>> columns.components()
    {'nu=0': slice(0, 2, None), 'nu=1': slice(2, 6, None)}
    >>> columns.names()[:4].tolist()
    ['nu=0 H', 'nu=0 O', 'nu=1 H:H n=1 l=0', 'nu=1 H:O n=1 l=0']
    """

    def __init__(
        self, symbols: list[str], functions: list[Function], *, shared: bool, composition: bool
    ) -> None:
        self.symbols, self.functions, self.shared = symbols, functions, shared
        self.n_composition = len(symbols) if composition else 0
        n_blocks = 1 if shared else len(symbols)
        self.of = np.empty((len(symbols), len(functions)), dtype=np.intp)
        self._orders: dict[int, slice] = {0: slice(0, len(symbols))} if composition else {}
        start = self.n_composition
        for order, group in groupby(enumerate(functions), key=lambda item: item[1].order):
            which = np.array([i for i, _ in group])
            for z in range(len(symbols)):
                block = 0 if shared else z
                self.of[z, which] = start + block * len(which) + np.arange(len(which))
            self._orders[order] = slice(start, start + n_blocks * len(which))
            start += n_blocks * len(which)
        self.n_columns = start

    def components(self) -> dict[str, slice]:
        """Return the columns of each order."""
        return {f"nu={order}": columns for order, columns in self._orders.items()}

    def place(
        self, features: NDArray[np.float64], centers: NDArray[np.intp], dtype: np.dtype[Any]
    ) -> NDArray[Any]:
        """Return features of environments in their columns, 0 in those of other centers.

        Parameters
        ----------
        features : ndarray of shape (n_environments, n_functions)
        centers : ndarray of int of shape (n_environments,)
            Numbers of the centers' species.
        dtype : dtype

        Returns
        -------
        ndarray of shape (n_environments, n_columns)
        """
        if self.n_columns == features.shape[1] and not self.n_composition:
            return features.astype(dtype, copy=False)  # one block, in the order of the functions
        out = np.zeros((len(features), self.n_columns), dtype=dtype)
        for z in range(len(self.symbols)):
            rows = np.flatnonzero(centers == z)
            out[np.ix_(rows, self.of[z])] = features[rows]
            if self.n_composition:
                out[rows, z] = 1.0
        return out

    def names(self) -> NDArray[np.object_]:
        """Return one name per column."""
        names = np.empty(self.n_columns, dtype=object)
        for z, symbol in enumerate(self.symbols):
            if self.n_composition:
                names[z] = f"nu=0 {symbol}"
            center = "" if self.shared else f"{symbol}:"
            names[self.of[z]] = [self._name(center, function) for function in self.functions]
        return names

    def _name(self, center: str, function: Function) -> str:
        neighbors = "-".join(self.symbols[z] for z in function.species)
        parts = [f"nu={function.order}", center + neighbors]
        parts += [] if function.degrees else ["pair"]
        parts.append(f"n={','.join(map(str, function.radial))}")
        if function.degrees:
            parts.append(f"l={','.join(map(str, function.degrees))}")
        if function.coupling is not None:
            parts.append(f"c={function.coupling}")
        return " ".join(parts)
