"""Twice the working precision at the speed of BLAS: sums of two doubles, products without error.

A matrix is cut into slices of so few bits that products of slices are exact in a plain matrix
product, whatever the order of its sums (Ozaki, Ogita, Oishi, Rump, Numer. Algorithms 59, 95
(2012)). Their sum is kept as an unevaluated pair of doubles (Dekker, Numer. Math. 18, 224 (1971)).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..rows import Array

# Relative rounding error of sums kept in pairs, against the largest term.
PAIR_EPS = 2.0**-104
# Rows per Gram block: with 22 bits a slice, sums of this many products are exact, and twice that.
GRAM_ROWS = 1024
_GRAM_BITS = 22


class Pair(NamedTuple):
    """Unevaluated sum of two arrays, `low` at the level of rounding of `high`."""

    high: Array
    low: Array

    @property
    def rounded(self) -> Array:
        """The sum in one double."""
        return self.high + self.low

    @property
    def mT(self) -> Pair:
        """The transposed matrix."""
        return Pair(self.high.T, self.low.T)

    def part(self, key: Any) -> Pair:
        """Return the entries at an index."""
        return Pair(self.high[key], self.low[key])

    def scaled(self, scale: Any) -> Pair:
        """Return the product with powers of two, which is exact."""
        return Pair(self.high * scale, self.low * scale)

    def plus(self, *terms: Array) -> Pair:
        """Return the sum with arrays; large ones first."""
        high, low = self
        for term in terms:
            high, rest = two_sum(high, term)
            low = low + rest
        return Pair(*two_sum(high, low))

    def times(self, other: Pair) -> Pair:
        """Return the product with another pair, entry by entry."""
        high, low = two_product(self.high, other.high)
        low = low + (self.high * other.low + self.low * other.high)
        return Pair(*two_sum(high, low))


def two_sum(a: Any, b: Any) -> tuple[Array, Array]:
    """Return ``a + b`` rounded, and the rounding error (Knuth)."""
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


def two_product(a: Any, b: Any) -> tuple[Array, Array]:
    """Return ``a * b`` rounded, and the rounding error (Dekker, Veltkamp)."""
    product = a * b
    a_high, a_low = _halves(a)
    b_high, b_low = _halves(b)
    error = ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low
    return product, error


def _halves(a: Any) -> tuple[Array, Array]:
    spread = 134217729.0 * a  # 2^27 + 1
    high = spread - (spread - a)
    return high, a - high


def zeros(*shape: int) -> Pair:
    """Return a pair of zero arrays."""
    return Pair(np.zeros(shape), np.zeros(shape))


def cut(pair: Pair, *, axis: int, count: int, bits: int) -> list[Array]:
    """Cut a matrix into `count` slices of `bits` bits, and the rest in one double.

    Bits count from the largest entry along `axis`: the index that a product sums over.
    """
    high, low = pair
    top = np.frexp(np.abs(high).max(axis=axis, keepdims=True, initial=0.0))[1]
    slices = []
    for k in range(1, count + 1):
        if k == 3:
            # Two slices in, the low part is as large as what is left of the high one.
            high, low = two_sum(high, low)
        # Adding 1.5 * 2^52 units rounds to a multiple of the unit.
        magic = np.ldexp(1.5, top + 53 - k * bits)
        piece = high + magic
        piece -= magic
        slices.append(piece)
        high = high - piece
    return [*slices, high + low]


def gram(block: Pair) -> list[Array]:
    """Return symmetric matrices that add up to ``A.T @ A`` for at most `GRAM_ROWS` rows.

    Their sum is off by less than 2^-105 of the product of the columns' largest entries, times the
    number of rows. What integers and short numbers do not have is not multiplied.
    """
    first, second, third, rest = cut(block, axis=0, count=3, bits=_GRAM_BITS)
    terms = [first.T @ first]
    if not second.any():  # third and rest may still hold something, if entries differ in size
        tail = third + rest
        return [*terms, *_with_tail(first, tail)] if tail.any() else terms
    terms.append(_twice(first.T @ second))
    tail = third + rest
    if not tail.any():
        return [*terms, second.T @ second]
    terms += [_twice(first.T @ third), second.T @ second]
    terms.append(_twice(first.T @ rest + second.T @ tail) + tail.T @ tail)
    return terms


def _with_tail(first: Array, tail: Array) -> list[Array]:
    return [_twice(first.T @ tail), tail.T @ tail]


def _twice(product: Array) -> Array:
    return product + product.T


class Short:
    """Matrix whose entries are rounded to two slices: an exact factor in extended products."""

    def __init__(self, matrix: Array) -> None:
        self.bits = (55 - int(np.ceil(np.log2(max(len(matrix), 2))))) // 2
        first, second, _ = cut(Pair(matrix, np.zeros_like(matrix)), axis=0, count=2, bits=self.bits)
        self.matrix = first + second
        self.first = first
        self.both = np.hstack([first, second])

    def after(self, pair: Pair, count: int) -> Pair:
        """Return ``pair @ matrix``; `count` slices of the pair enter without rounding error.

        The error is about ``2^-(22 count + 53)`` of a row's largest entry times a column's.
        """
        width = self.matrix.shape[1]
        *slices, rest = cut(pair, axis=1, count=count, bits=self.bits)
        total, tail = zeros(len(rest), width), rest @ self.matrix
        for piece in slices[:-1]:
            both = piece @ self.both
            total = total.plus(both[:, :width], both[:, width:])
        both = slices[-1] @ self.both
        return total.plus(both[:, :width], both[:, width:] + tail)

    def conjugate(self, symmetric: Pair) -> Array:
        """Return ``matrix.T @ symmetric @ matrix`` in one double."""
        half = self.after(symmetric, 3)
        product = self.after(half.mT, 2).rounded
        return (product + product.T) / 2
