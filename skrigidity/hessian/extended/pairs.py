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
        return two_sum(high, low)

    def times(self, other: Pair) -> Pair:
        """Return the product with another pair, entry by entry."""
        high, low = two_product(self.high, other.high)
        return two_sum(high, low + (self.high * other.low + self.low * other.high))


def two_sum(a: Any, b: Any) -> Pair:
    """Return ``a + b`` rounded, and the rounding error (Knuth)."""
    total = a + b
    part = total - a
    return Pair(total, (a - (total - part)) + (b - part))


def two_product(a: Any, b: Any) -> Pair:
    """Return ``a * b`` rounded, and the rounding error (Dekker, Veltkamp)."""
    product = a * b
    (a_high, a_low), (b_high, b_low) = _halves(a), _halves(b)
    error = ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low
    return Pair(product, error)


def _halves(a: Any) -> tuple[Array, Array]:
    spread = 134217729.0 * a  # 2^27 + 1
    high = spread - (spread - a)
    return high, a - high


def exact(values: Array) -> Pair:
    """Return arrays of doubles as a pair."""
    return Pair(values, np.zeros_like(values))


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
    number of rows. What integers and numbers of few digits do not have is not multiplied.
    """
    first, second, third, rest = cut(block, axis=0, count=3, bits=_GRAM_BITS)
    terms = [first.T @ first]
    if second.any():
        terms += [_twice(first.T @ second), second.T @ second]
    tail = third + rest
    if tail.any():
        terms.append(_twice(first.T @ third))
        terms.append(_twice(first.T @ rest + second.T @ tail) + tail.T @ tail)
    return terms


def _twice(product: Array) -> Array:
    return product + product.T


class SlicedMatrix:
    """Matrix whose entries are rounded to two slices: an exact factor in extended products."""

    def __init__(self, matrix: Array) -> None:
        self.bits = (55 - int(np.ceil(np.log2(max(len(matrix), 2))))) // 2
        slices = cut(exact(matrix), axis=0, count=2, bits=self.bits)[:2]
        self.matrix = slices[0] + slices[1]
        self.both = np.hstack(slices)

    def after(self, pair: Pair, count: int) -> Pair:
        """Return ``pair @ matrix``; `count` slices of the pair enter without rounding error.

        The error is about ``2^-(22 count + 53)`` of a row's largest entry times a column's.
        """
        *slices, rest = cut(pair, axis=1, count=count, bits=self.bits)
        tail, total = rest @ self.matrix, exact(np.zeros((len(rest), self.matrix.shape[1])))
        for k, piece in enumerate(slices, 1):
            first, second = np.hsplit(piece @ self.both, 2)
            total = total.plus(first, second + tail if k == count else second)
        return total

    def conjugate(self, symmetric: Pair) -> Array:
        """Return ``matrix.T @ symmetric @ matrix`` in one double."""
        half = self.after(symmetric, 3)
        product = self.after(half.mT, 2).rounded
        return (product + product.T) / 2
