"""Sums over distinct neighbors from sums over all neighbors."""

from __future__ import annotations

from collections.abc import Iterator
from math import factorial, prod

Partition = tuple[tuple[int, ...], ...]


def set_partitions(n: int) -> Iterator[Partition]:
    """Iterate over the partitions of 0, ..., n - 1 into blocks.

    Parameters
    ----------
    n : int

    Yields
    ------
    tuple of tuples of int
        First the partition into single elements.

    Examples
    --------
    >>> from skrigidity.atomistic.ace._partitions import set_partitions
    >>> list(set_partitions(3))
    [((0,), (1,), (2,)), ((0, 2), (1,)), ((0,), (1, 2)), ((0, 1), (2,)), ((0, 1, 2),)]
    """
    if n == 0:
        yield ()
        return
    for smaller in set_partitions(n - 1):
        yield (*smaller, (n - 1,))
        for i, block in enumerate(smaller):
            yield (*smaller[:i], (*block, n - 1), *smaller[i + 1 :])


def distinct_weight(partition: Partition) -> int:
    r"""Return the weight of a partition in the sum over distinct indices.

    The sum of :math:`\prod_i f_i(j_i)` over distinct j is the sum over all set partitions of
    :math:`\prod_B (-1)^{|B| - 1} (|B| - 1)!\ \sum_j \prod_{i \in B} f_i(j)`: Möbius inversion on
    the lattice of partitions.

    Parameters
    ----------
    partition : tuple of tuples of int

    Returns
    -------
    int

    Examples
    --------
    >>> from skrigidity.atomistic.ace._partitions import distinct_weight
    >>> distinct_weight(((0, 1, 2), (3,)))
    2
    """
    return prod((-1) ** (len(block) - 1) * factorial(len(block) - 1) for block in partition)
