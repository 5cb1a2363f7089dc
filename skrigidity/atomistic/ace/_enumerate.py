"""Which products of one-particle functions make up an ACE basis."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import product as cartesian

from skrigidity.atomistic.ace._invariants import symmetric_invariants

Indices = tuple[int, ...]
Factor = tuple[int, int, int]  # (l, species, n)
Product = tuple[tuple[int, int], ...]  # (n, l) of each factor


@dataclass(frozen=True)
class Family:
    """Functions that differ in their radial indices only.

    Attributes
    ----------
    degrees : tuple of int
        l of each factor, sorted.
    species : tuple of int
        Neighbor species of each factor, by number in the list of species.
    labels : tuple of int
        Factors with the same label are equal.
    radial : list of tuples of int
        The radial indices n, counted from 1, of each member.
    """

    degrees: tuple[int, ...]
    species: tuple[int, ...]
    labels: tuple[int, ...]
    radial: list[tuple[int, ...]]

    @property
    def n_couplings(self) -> int:
        """Number of independent invariants of each member."""
        return len(symmetric_invariants(self.degrees, self.labels))


def enumerate_families(
    order: int, max_degree: float, angular_weight: float, n_species: int
) -> list[Family]:
    """List all invariant products of so many factors within a total degree.

    Parameters
    ----------
    order : int
        Number of factors.
    max_degree : float
        Largest sum of n + angular_weight * l over the factors.
    angular_weight : float
    n_species : int

    Returns
    -------
    list of Family

    Examples
    --------
    >>> from skrigidity.atomistic.ace._enumerate import enumerate_families
    >>> families = enumerate_families(2, 5, 1.5, 1)
    >>> [(family.degrees, family.radial) for family in families]
    [((0, 0), [(1, 1), (2, 2)]), ((0, 0), [(1, 2), (1, 3), (1, 4), (2, 3)]), ((1, 1), [(1, 1)])]
    """
    members: dict[tuple[Indices, Indices, Indices], list[Indices]] = {}
    for factors in sorted(_all_factors(order, max_degree, angular_weight, n_species)):
        degrees, species, radial = zip(*factors, strict=True)
        labels = tuple(factors.index(factor) for factor in factors)
        members.setdefault((degrees, species, labels), []).append(radial)
    families = [Family(*key, radial) for key, radial in sorted(members.items())]
    return [family for family in families if family.n_couplings]


def _all_factors(
    order: int, max_degree: float, angular_weight: float, n_species: int
) -> set[tuple[Factor, ...]]:
    found = set()
    for pairs in _multisets(order, max_degree, angular_weight, (0, 1)):
        degrees = [degree for degree, _ in pairs]
        # Odd sums change sign under inversion; a too long degree cannot be coupled to L = 0.
        if sum(degrees) % 2 or 2 * max(degrees) > sum(degrees):
            continue
        for species in cartesian(range(n_species), repeat=order):
            factors = ((l, z, n) for (l, n), z in zip(pairs, species, strict=True))  # noqa: E741
            found.add(tuple(sorted(factors)))
    return found


def _multisets(
    order: int, budget: float, weight: float, least: tuple[int, int]
) -> Iterator[tuple[tuple[int, int], ...]]:
    """Iterate over sorted tuples of (l, n) from `least` on within a total degree."""
    if order == 0:
        yield ()
        return
    # The factors still to come have at least n = 1 and this one's l.
    degree, first = least
    while order * (1 + weight * degree) <= budget + 1e-9:
        rest = (order - 1) * (1 + weight * degree)
        n = first
        while n + weight * degree + rest <= budget + 1e-9:
            left = budget - n - weight * degree
            for others in _multisets(order - 1, left, weight, (degree, n)):
                yield ((degree, n), *others)
            n += 1
        degree, first = degree + 1, 1


def without(families: list[Family], drop: Iterable[Product]) -> list[Family]:
    """Leave products out.

    Parameters
    ----------
    families : list of Family
    drop : iterable of tuples of (n, l)
        Products to leave out, whatever the species of their factors.

    Returns
    -------
    list of Family

    Raises
    ------
    ValueError
        If a product is not there.

    Examples
    --------
    >>> from skrigidity.atomistic.ace._enumerate import enumerate_families, without
    >>> families = without(enumerate_families(2, 5, 1.5, 1), [((1, 1), (1, 1)), ((2, 0), (1, 0))])
    >>> [(family.degrees, family.radial) for family in families]
    [((0, 0), [(1, 1), (2, 2)]), ((0, 0), [(1, 3), (1, 4), (2, 3)])]
    """
    unwanted = {tuple(sorted(map(tuple, product))) for product in drop}
    left, found = [], set()
    for family in families:
        products = [tuple(sorted(zip(n, family.degrees, strict=True))) for n in family.radial]
        found.update(unwanted.intersection(products))
        radial = [
            n for n, product in zip(family.radial, products, strict=True) if product not in unwanted
        ]
        if radial:
            left.append(replace(family, radial=radial))
    if unwanted != found:
        raise ValueError(
            f"drop: the basis has no product of these (n, l): {sorted(unwanted - found)}"
        )
    return left
