"""The ACE descriptor of ASE frames."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils._param_validation import Interval, StrOptions

from skrigidity.atomistic._base import FrameBackward, FrameDerivatives
from skrigidity.atomistic._computed import ComputedDescriptor
from skrigidity.atomistic._neighbors import find_neighbors
from skrigidity.atomistic.ace import ACEBasis
from skrigidity.atomistic.ace._columns import Columns
from skrigidity.frames import Atoms, require, symbol


class ACEDescriptor(ComputedDescriptor):
    r"""Turn ASE frames into features of the atomic cluster expansion (ACE), by body order.

    Features of order :math:`\nu` describe an atom and :math:`\nu` of its neighbors at a time
    (body order :math:`\nu + 1`): products of :math:`\nu` functions
    :math:`R_n(r) Y_{lm}(\hat r)`, summed over neighbors and coupled so that neither rotation nor
    inversion changes them. Every order is a component. The defaults are the settings for silicon
    clusters of [1]_: 48, 274, 505 and 127 features.

    Parameters
    ----------
    cutoff : float, default=5.5
        Radius of an environment in Å.
    max_degree : sequence of float, default=(24, 20, 16, 12)
        Largest total degree of the products of 1, 2, ... functions: the sum of
        ``n + angular_weight * l`` over the factors, with n from 1 on. As many orders as entries;
        0 leaves an order out.
    kind : {"purified", "self-interacting"}, default="purified"
        Whether the factors of a product belong to distinct neighbors, so that it holds no terms
        of lower order (and is exactly 0 where an atom has fewer neighbors than factors), or run
        over all neighbors independently.
    species : list of str or int, default=None
        Symbols or atomic numbers. None stands for those seen in ``fit``.
    r0 : float, array-like of shape (n_species, n_species) or "covalent", default=2.4
        Nearest-neighbor distance in Å, where the radial functions resolve distances best. The
        default suits silicon; a symmetric matrix has one for each pair of the sorted species,
        "covalent" is the sum of the covalent radii of either species.
    pair_basis : bool, default=True
        Whether order 1 begins with ``max_degree[0]`` functions of pairs alone that go like 1/r² at
        short distances, for each neighbor species.
    drop : list of products, default=None
        Products to leave out, each given by the (n, l) of its factors:
        ``[((2, 0), (18, 0))]`` gives the 273 features of order 2 of [1]_.
    angular_weight : float, default=1.5
        How much l counts in the degree of a function.
    agnesi : (p, q), default=(2, 4)
        Exponents of the Agnesi transform of distances: short ones flatten out like r^q, long ones
        like r^-p.
    pair_agnesi : (p, q), default=(1, 3)
        The same in the pair basis.
    center_types : {"blocks", "shared"}, default="blocks"
        Whether each species of central atoms has columns of its own (a linear model then has
        weights of its own for each), or all share them.
    composition : bool, default=False
        Whether to begin with a component ``"nu=0"`` of order 0: one column for each species, 1 for
        atoms of it.
    output : {"environments", "mean", "sum"}, default="environments"
        A row per environment, or one per frame.
    dtype : {"float64", "float32"}, default="float64"
        Data type of the output.
    chunk_size : int, default=500
        About this many environments are computed at a time; bounds the temporary memory.
    n_jobs : int, default=None
        Number of threads, as in joblib.
    cache_size : int, default=268435456
        Bytes of features that all descriptors of this process keep for frames they have seen; 0
        keeps none. See :func:`clear_cache`.
    memory : str or object with the joblib.Memory interface, default=None
        Where to keep the features of frames on disk, a small file for each, so that later
        processes find them; None keeps none there. Reading takes about as long as computing a
        frame of ten atoms: it pays for larger ones, and for many species.
    progress_bar : bool, default=False
        Show a bar over frames; needs tqdm.

    Attributes
    ----------
    species_ : ndarray of int
        Atomic numbers, sorted.
    basis_ : ACEBasis
        The functions, of vectors to neighbors.
    n_features_out_ : int
        Number of columns. They are named by order, center, neighbors and indices, such as
        ``"nu=2 Si:O-O n=1,3 l=2,2"``; without the center where centers share columns. Products
        that can be coupled in several ways end in ``c=0``, ``c=1``, ...
    components_ : dict of str to slice
        Columns of each order, ``"nu=1"``, ``"nu=2"``, ..., for component-wise rigidities.

    See Also
    --------
    CompositionDescriptor : Counts of atoms only.
    FeatomicDescriptor : SOAP and its relatives.

    Notes
    -----
    Neighbors of different species are different: a factor has a species next to its n and l, and
    every combination of these makes a product. Periodic images of an atom, also of the central
    one, are neighbors like all others. An atom without neighbors has features 0 but for the
    composition. Atoms at the same place are an error.

    Of coupled products that depend linearly on each other only independent ones are kept [2]_.
    Purified products are computed from sums over neighbors by inclusion and exclusion, as in [3]_:
    the cost is linear in the number of neighbors.

    `derivatives` and `backward` differentiate by positions and strain. Where numba is installed
    (``pip install "skrigidity[fast]"``), it compiles their loops, once for all, on the first call:
    the same numbers to rounding, several times as fast.

    References
    ----------
    .. [1] Chong, Bigi, Grasselli, Loche, Kellner, Ceriotti, Faraday Discuss. 256, 322 (2025),
       section 5.1. There rounding had lost one of the 274.
    .. [2] Dusson et al., J. Comput. Phys. 454, 110946 (2022).
    .. [3] Ho, Gutleb, Ortner, J. Comput. Phys. 515, 113267 (2024).

    Examples
    --------
    >>> from ase import Atoms
    >>> from skrigidity.atomistic import ACEDescriptor
    >>> dimer = Atoms("Si2", [[0, 0, 0], [0, 0, 2.2]])
    >>> trimer = Atoms("Si3", [[0, 0, 0], [0, 0, 2.2], [0, 2.2, 0]])
    >>> descriptor = ACEDescriptor(max_degree=(6, 5, 4))
    >>> X = descriptor.fit_transform([dimer, trimer])
    >>> X
    Environments(2 structures, 5 environments, 21 features, float64)
    >>> descriptor.components_
    {'nu=1': slice(0, 12, None), 'nu=2': slice(12, 19, None), 'nu=3': slice(19, 21, None)}
    >>> [bool(X[i][:, 12:19].any()) for i in (0, 1)]  # a dimer has no triples of atoms
    [False, True]
    >>> descriptor.get_feature_names_out()[[0, 6, 18]].tolist()
    ['nu=1 Si:Si pair n=1', 'nu=1 Si:Si n=1 l=0', 'nu=2 Si:Si-Si n=1,1 l=1,1']
    """

    _modules = ("ase", "sphericart")
    _parameter_constraints: dict[str, list[Any]] = {
        **ComputedDescriptor._parameter_constraints,
        "max_degree": ["array-like"],
        "kind": [StrOptions({"purified", "self-interacting"})],
        "r0": [Interval(Real, 0, None, closed="neither"), StrOptions({"covalent"}), "array-like"],
        "pair_basis": ["boolean"],
        "drop": ["array-like", None],
        "angular_weight": [Interval(Real, 0, None, closed="neither")],
        "agnesi": ["array-like"],
        "pair_agnesi": ["array-like"],
        "composition": ["boolean"],
    }

    def __init__(
        self,
        *,
        cutoff: float = 5.5,
        max_degree: Sequence[float] = (24, 20, 16, 12),
        kind: str = "purified",
        species: Iterable[str | int] | None = None,
        r0: float | str | Sequence[Sequence[float]] = 2.4,
        pair_basis: bool = True,
        drop: Iterable[Iterable[tuple[int, int]]] | None = None,
        angular_weight: float = 1.5,
        agnesi: tuple[float, float] = (2, 4),
        pair_agnesi: tuple[float, float] = (1, 3),
        center_types: str = "blocks",
        composition: bool = False,
        output: str = "environments",
        dtype: str = "float64",
        chunk_size: int = 500,
        n_jobs: int | None = None,
        cache_size: int = 2**28,
        memory: Any = None,
        progress_bar: bool = False,
    ) -> None:
        super().__init__(
            species, output, dtype, chunk_size, n_jobs, cache_size, memory, progress_bar
        )
        self.cutoff = cutoff
        self.max_degree = max_degree
        self.kind = kind
        self.r0 = r0
        self.pair_basis = pair_basis
        self.drop = drop
        self.angular_weight = angular_weight
        self.agnesi = agnesi
        self.pair_agnesi = pair_agnesi
        self.center_types = center_types
        self.composition = composition

    def _prepare(self) -> None:
        self.basis_ = ACEBasis(
            len(self.species_),
            float(self.cutoff),
            _numbers("max_degree", self.max_degree),
            self.kind == "purified",
            r0=self._distances(),
            angular_weight=float(self.angular_weight),
            agnesi=_exponents("agnesi", self.agnesi),
            pair_basis=self.pair_basis,
            pair_agnesi=_exponents("pair_agnesi", self.pair_agnesi),
            drop=_products(self.drop),
        )
        self._layout = Columns(
            [*map(symbol, self.species_)],
            self.basis_.functions,
            shared=self.center_types == "shared",
            composition=self.composition,
        )
        self.n_features_out_ = self._layout.n_columns
        self.components_ = {**self._layout.components()}

    @property
    def receptive_field_(self) -> float:
        """How far away atoms can be that change an atom's features, in Å."""
        return self.basis_.cutoff

    def _distances(self) -> NDArray[np.float64]:
        if self.r0 == "covalent":
            radii = require("ase.data").covalent_radii[self.species_]
            return np.asarray(radii[:, None] + radii)
        shape, r0 = (len(self.species_),) * 2, np.asarray(self.r0, dtype=np.float64)
        if r0.shape not in ((), shape) or not (np.isfinite(r0) & (r0 > 0) & (r0 == r0.T)).all():
            raise ValueError(
                f"r0: expected a positive number or a symmetric matrix of these of shape {shape}, "
                f"got {self.r0!r}"
            )
        return np.broadcast_to(r0, shape).copy()

    def _environments(self, frames: dict[int, Atoms], dtype: np.dtype[Any]) -> NDArray[Any]:
        numbers = [np.searchsorted(self.species_, frame.numbers) for frame in frames.values()]
        cutoff = self.basis_.cutoff
        found = [find_neighbors(frame, cutoff, f"X[{i}]") for i, frame in frames.items()]
        centers = np.concatenate(numbers)
        features = self.basis_.evaluate(
            np.concatenate([neighbors.counts for neighbors in found]),
            np.concatenate([neighbors.vectors for neighbors in found]),
            np.concatenate([z[n.atoms] for z, n in zip(numbers, found, strict=True)]),
            centers,
        )
        return self._layout.place(features, centers, dtype)

    def _derivatives(self, frame: Atoms) -> FrameDerivatives:
        species, layout = np.searchsorted(self.species_, frame.numbers), self._layout
        neighbors = find_neighbors(frame, self.basis_.cutoff)
        features, positions, strain = self.basis_.derivatives(
            neighbors, species, layout.of, layout.n_columns
        )
        rows = layout.place(features, species, features.dtype)
        return FrameDerivatives(rows, positions, strain)

    def _backward(self, frame: Atoms, weights: NDArray[np.float64]) -> FrameBackward:
        species, layout = np.searchsorted(self.species_, frame.numbers), self._layout
        neighbors = find_neighbors(frame, self.basis_.cutoff)
        result = FrameBackward(*self.basis_.backward(neighbors, species, weights[layout.of]))
        if layout.n_composition:
            result.local[:] += weights[species]
        return result

    def _settings(self) -> tuple[Any, ...]:
        # Those of fit, not today's parameters, which may have been set since.
        return (*self.basis_.settings, self._layout.shared, self._layout.n_composition)

    def _names(self) -> Iterable[str]:
        return self._layout.names()


def _numbers(name: str, values: Any) -> list[float]:
    """Return finite numbers, not negative, or say which parameter is no list of them."""
    array = np.asarray(values)
    if array.ndim != 1 or not array.size or array.dtype.kind not in "fiu":
        raise ValueError(f"{name}: expected a sequence of numbers, got {values!r}")
    if not (np.isfinite(array).all() and (array >= 0).all()):
        raise ValueError(f"{name}: expected finite numbers, not negative, got {values!r}")
    return [float(value) for value in array]


def _exponents(name: str, values: Any) -> tuple[float, float]:
    p, q = _numbers(name, values) if len(values) == 2 else (0.0, 0.0)
    if not (0 < p <= q and 2 * p * q > p + q):
        raise ValueError(
            f"{name}: expected exponents p, q with 0 < p <= q and 2 p q > p + q, got {values!r}"
        )
    return p, q


def _products(drop: Any) -> list[tuple[tuple[int, int], ...]]:
    try:
        return [tuple((int(n), int(degree)) for n, degree in factors) for factors in drop or ()]
    except (TypeError, ValueError):
        raise ValueError(
            f"drop: expected products of (n, l), such as [((2, 0), (18, 0))], got {drop!r}"
        ) from None
