"""Which column each block of a featomic result goes to, fixed once and for all in fit."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skrigidity.atomistic._frames import voigt
from skrigidity.frames import require, symbol

_NEIGHBOR = re.compile(r"neighbor(_\d+)?_type")
_RENAMED = {"o3_lambda": "l", "o3_mu": "m", "o3_sigma": "sigma"}


@dataclass(frozen=True)
class Group:
    """Adjacent columns that blocks of one kind fill."""

    key: dict[str, int]  # of the block, without the center type where centers share columns
    properties: NDArray[np.int32]  # of the block, where all species are present
    labels: list[dict[str, int]]  # one per column
    source: NDArray[np.intp]  # the block's entry behind each column
    scale: NDArray[np.float64] | None
    columns: slice

    @property
    def center(self) -> int | None:
        """Atomic number of the centers, None where all kinds share the columns."""
        return self.key.get("center_type")

    def names(self) -> list[str]:
        """Return one readable name per column."""
        prefix = "" if self.center is None else f"{symbol(self.center)}:"
        whole = [self.key | label for label in self.labels]
        parts = ([prefix + _neighbors(label), *_describe(label)] for label in whole)
        return [" ".join(filter(None, part)) for part in parts]

    def align(self, block: Any, axes: int = 1) -> NDArray[Any]:
        """Return a block's values in the group's columns, from fewer properties if need be.

        Its first `axes` axes stay as they are: the samples, and in gradients what these are by.
        """
        shape, inner = block.values.shape[:axes], block.values.shape[axes:-1]
        values = block.values.reshape(prod(shape), prod(inner), len(block.properties))
        if not np.array_equal(block.properties.values, self.properties):
            place = {tuple(p): i for i, p in enumerate(self.properties.tolist())}
            try:
                found = [place[tuple(p)] for p in block.properties.values.tolist()]
            except KeyError as error:
                raise ValueError(
                    f"calculator: made the property {error}, which it did not make in fit"
                ) from None
            fewer = values
            values = np.zeros((*fewer.shape[:2], len(self.properties)), dtype=fewer.dtype)
            values[:, :, found] = fewer
        width = values.shape[1] * values.shape[2]
        values = values.reshape(len(values), width)[:, self.source].reshape(
            *shape, len(self.source)
        )
        return values if self.scale is None else values * self.scale


class Layout:
    """Columns for every key that frames of the given species can produce.

    Parameters
    ----------
    calculator : object with compute(systems)
    species : array of int
    shared : bool
        Whether atoms of all kinds share columns.
    merge : bool
        Whether of two columns that are equal by symmetry one is kept, times the square root of 2.
    fill : float
        Value of what the calculator leaves out.
    """

    def __init__(
        self, calculator: Any, species: NDArray[np.int64], *, shared: bool, merge: bool, fill: float
    ) -> None:
        self.shared, self.fill = shared, fill
        tensor = calculator.compute([_probe(species, calculator)])
        samples = set(tensor.block(0).samples.names)
        if not {"system", "atom"} <= samples <= {"system", "atom", "center_type"}:
            listed = ", ".join(tensor.block(0).samples.names)
            raise ValueError(f"calculator: expected one row per atom, got one per {listed}")
        self.groups: dict[tuple[int, ...], Group] = {}
        blocks = {self._group_key(key): block for key, block in tensor.items()}
        names = [name for name in tensor.keys.names if not (shared and name == "center_type")]
        order = sorted(names, key=lambda name: (name != "center_type", "neighbor" not in name))
        start = 0
        for key in sorted(blocks, key=lambda key: [key[names.index(name)] for name in order]):
            group = _make_group(dict(zip(names, key, strict=True)), blocks[key], start, merge)
            self.groups[key] = group
            start = group.columns.stop
        self.n_columns = start

    def _group_key(self, key: Any) -> tuple[int, ...]:
        pairs = zip(key.names, key.values, strict=True)
        return tuple(int(v) for name, v in pairs if not (self.shared and name == "center_type"))

    def dense(self, tensor: Any, numbers: list[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
        """Return one row per atom, frame after frame, in the frames' order."""
        offsets = np.concatenate([[0], np.cumsum([len(n) for n in numbers])])
        out = np.zeros((offsets[-1], self.n_columns), dtype=dtype)
        for group in self.groups.values() if self.fill else ():
            rows = slice(None) if group.center is None else np.concatenate(numbers) == group.center
            out[rows, group.columns] = self.fill
        for key, block in tensor.items():
            group = self.groups[self._group_key(key)]
            rows = offsets[block.samples.column("system")] + block.samples.column("atom")
            out[rows, group.columns] = group.align(block)
        return out

    def add_derivatives(
        self, tensor: Any, features: Any, positions: NDArray[Any], strain: NDArray[Any]
    ) -> None:
        """Add what a calculator makes of one frame, with gradients, to `FrameDerivatives`."""
        for key, block in tensor.items():
            group = self.groups[self._group_key(key)]
            columns = group.columns
            features[block.samples.column("atom"), columns] += group.align(block)
            gradient = block.gradient("positions")
            by_position = group.align(gradient, 2)
            atoms = gradient.samples.column("atom")
            for atom in np.unique(atoms):
                positions[atom, :, columns] += by_position[atoms == atom].sum(axis=0)
            by_strain = group.align(block.gradient("strain"), 3)
            strain[:, columns] += voigt(by_strain.sum(axis=0))

    def names(self) -> list[str]:
        """Return one name per column."""
        return [name for group in self.groups.values() for name in group.names()]

    def components(self, by: str | None) -> dict[str, slice | NDArray[np.intp]]:
        """Group the columns by neighbors, centers or angular channel; None: neighbors if any."""
        found: dict[str, list[int]] = {}
        for group in self.groups.values():
            for column, label in enumerate(group.labels, start=group.columns.start):
                name = _component(group, label, by or "neighbors")
                found.setdefault(name, []).append(column)
        if by is None and not all(found):
            return {"all": slice(0, self.n_columns)}
        if not all(found):
            raise ValueError(f"components_by: the columns of this descriptor have no {by}")
        return {name: _as_slice(np.array(columns)) for name, columns in found.items()}


def _component(group: Group, label: dict[str, int], by: str) -> str:
    whole = group.key | label
    if by == "neighbors":
        return _neighbors(whole)
    if by == "centers":
        return "" if group.center is None else symbol(group.center)
    angular = whole.get("o3_lambda", whole.get("l"))
    return "" if angular is None else f"l={angular}"


def _as_slice(columns: NDArray[np.intp]) -> slice | NDArray[np.intp]:
    if columns[-1] - columns[0] + 1 == len(columns):
        return slice(int(columns[0]), int(columns[-1]) + 1)
    return columns


def _probe(species: NDArray[np.int64], calculator: Any) -> Any:
    """Make a cluster in which every kind of atom sees every kind, twice."""
    numbers = np.tile(species, 2)
    reach = min(getattr(calculator, "cutoffs", None) or [2.0])
    positions = np.random.default_rng(0).uniform(0, reach / 4, size=(len(numbers), 3))
    return require("ase").Atoms(numbers, positions, cell=[10.0, 10.0, 10.0], pbc=True)


def _make_group(key: dict[str, int], block: Any, start: int, merge: bool) -> Group:
    axes = [*block.components, block.properties]
    names = [name for axis in axes for name in axis.names]
    rows = itertools.product(*(axis.values.tolist() for axis in axes))
    labels = [dict(zip(names, itertools.chain(*row), strict=True)) for row in rows]
    source, scale = np.arange(len(labels)), None
    if merge and key.get("neighbor_1_type") == key.get("neighbor_2_type") and "n_2" in names:
        source = np.array([i for i, v in enumerate(labels) if v["n_1"] <= v["n_2"]])
        labels = [labels[i] for i in source]
        scale = np.array([1.0 if v["n_1"] == v["n_2"] else np.sqrt(2) for v in labels])
    columns = slice(start, start + len(labels))
    return Group(key, block.properties.values.copy(), labels, source, scale, columns)


def _neighbors(label: dict[str, int]) -> str:
    return "-".join(symbol(v) for name, v in label.items() if _NEIGHBOR.fullmatch(name))


def _describe(label: dict[str, int]) -> list[str]:
    parts: dict[str, list[str]] = {}
    for name, value in label.items():
        if name.endswith("_type") or (name == "o3_sigma" and value == 1):
            continue
        stem = re.sub(r"_\d+$", "", _RENAMED.get(name, name))
        parts.setdefault(stem, []).append(str(value))
    return [f"{stem}={','.join(values)}" for stem, values in parts.items()]
