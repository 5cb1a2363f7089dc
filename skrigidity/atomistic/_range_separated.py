"""Short- and long-range descriptors side by side: SOAP and LODE."""

from __future__ import annotations

from collections.abc import Iterable
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils._param_validation import Interval, StrOptions

from skrigidity.atomistic._base import FrameDerivatives
from skrigidity.atomistic._computed import ComputedDescriptor
from skrigidity.atomistic._featomic import FeatomicDescriptor
from skrigidity.atomistic._frames import as_system
from skrigidity.atomistic._hypers import compute, make_native
from skrigidity.atomistic._radial_tables import lode_hypers
from skrigidity.atomistic._spectrum import SpectrumColumns
from skrigidity.frames import Atoms, require


class RangeSeparatedDescriptor(ComputedDescriptor):
    r"""Turn periodic ASE frames into short-range (SOAP) and long-range (LODE) features.

    The component ``"short"`` is the SOAP power spectrum of the atoms inside the cutoff. The
    component ``"long"`` is the power spectrum of a long-distance equivariant (LODE): the
    potential :math:`1/r^p` of *all* atoms, smeared out, as it is inside the cutoff. In reciprocal
    space that includes the potential of the atoms inside, of which the short component knows
    already; subtracting it in real space separates the ranges physically [1]_. The defaults are
    the settings for water dimers of [1]_.

    Parameters
    ----------
    kind : {"range-separated", "k-space"}, default="range-separated"
        Whether the long component is made of the potential of the atoms outside of the cutoff
        only (k-space minus real space), or of all atoms.
    cutoff : float, default=2.8
        Radius of an environment, of both components, in Å.
    smoothing_width : float, default=0.25
        Neighbors fade out of the short component over this last stretch before the cutoff, in Å.
        The long component cuts sharply: an atom is inside or outside.
    density_width : float, default=0.3
        Width of the Gaussian on each neighbor in the short component, in Å.
    smearing : float, default=1.2
        Width of the Gaussian that smears out the potential of each atom, in Å.
    exponent : int, default=3
        The exponent p of the potential.
    k_cutoff : float, default=None
        Largest wave number of the long component, in 1/Å. None is ``1.2 * pi / smearing``.
    max_radial : int, default=3
        Largest radial index: there are ``max_radial + 1`` radial functions for each l.
    max_angular : int, default=3
        Largest angular channel.
    species : list of str or int, default=None
        Symbols or atomic numbers. None stands for those seen in ``fit``.
    center_types : {"blocks", "shared"}, default="blocks"
        Whether each species of central atoms has columns of its own (a linear model then has
        weights of its own for each), or all share them.
    merge_duplicates : bool, default=True
        Products of coefficients come twice, in either order. Of two equal columns keep one, times
        the square root of 2: nearly half as many columns with the same inner products, so that
        linear models and rigidities do not change. False gives the 384 and 512 columns of [1]_
        for water (of which 288 each are distinct).
    output : {"environments", "mean", "sum"}, default="environments"
        A row per environment, or one per frame.
    dtype : {"float64", "float32"}, default="float64"
        Data type of the output.
    chunk_size : int, default=2000
        About this many environments are computed at a time; bounds the temporary memory.
    n_jobs : int, default=None
        Number of threads, as in joblib.
    cache_size : int, default=268435456
        Bytes of features that all descriptors of this process keep for frames they have seen; 0
        keeps none. See :func:`clear_cache`.
    memory : str or object with the joblib.Memory interface, default=None
        Where to keep the features of frames on disk, a small file for each, so that later
        processes find them; None keeps none there.
    progress_bar : bool, default=False
        Show a bar over frames; needs tqdm.

    Attributes
    ----------
    species_ : ndarray of int
        Atomic numbers, sorted.
    n_features_out_ : int
        Number of columns. They are named by component, center, neighbors and basis indices, such
        as ``"long__O:H-O l=1 n=0,2"``; without the center where centers share columns.
    components_ : dict of str to slice
        Columns of ``"short"`` and ``"long"``, for component-wise rigidities.

    See Also
    --------
    FeatomicDescriptor : SOAP, or the coefficients of LODE, alone.

    Notes
    -----
    All lengths are in Å. Sums in reciprocal space need frames that are periodic in all directions.
    An isolated molecule needs a box, and the long component depends on it: on its images, and on
    the mean potential, which is set to zero. Use the same box for all frames that are to be
    compared; frames with different cells are computed each in its own.

    The radial functions of the short component are Gaussian type orbitals, those of the long one
    the orthonormalized monomials :math:`r^{l + 2n}`, in which a potential whose sources are outside
    has few terms. An atom belongs to its own environment, so that a lone atom has features; the
    reciprocal sum ends at ``k_cutoff``, and what it leaves out of the potential of an atom inside
    remains after the subtraction.

    References
    ----------
    .. [1] Chong, Bigi, Grasselli, Loche, Kellner, Ceriotti, Faraday Discuss. 256, 322 (2025),
       section 5.2.
    .. [2] Huguenin-Dumittan, Loche, Haoran, Ceriotti, J. Phys. Chem. Lett. 14, 9612 (2023): LODE
       with any exponent.

    Examples
    --------
    >>> from ase.build import molecule
    >>> from skrigidity.atomistic import RangeSeparatedDescriptor
    >>> water = molecule("H2O", cell=[20, 20, 20], pbc=True)
    >>> descriptor = RangeSeparatedDescriptor(max_radial=1, max_angular=1)
    >>> descriptor.fit_transform([water])
    Environments(1 structures, 3 environments, 80 features, float64)
    >>> descriptor.components_
    {'short': slice(0, 40, None), 'long': slice(40, 80, None)}
    >>> descriptor.get_feature_names_out()[[0, -1]].tolist()
    ['short__H:H-H l=0 n=0,0', 'long__O:O-O l=1 n=1,1']
    """

    _modules = ("featomic", "ase")
    _parameter_constraints: dict[str, list[Any]] = {
        **ComputedDescriptor._parameter_constraints,
        "kind": [StrOptions({"range-separated", "k-space"})],
        "smoothing_width": [Interval(Real, 0, None, closed="left")],
        "density_width": [Interval(Real, 0, None, closed="neither")],
        "smearing": [Interval(Real, 0, None, closed="neither")],
        "exponent": [Interval(Integral, 0, None, closed="left")],
        "k_cutoff": [Interval(Real, 0, None, closed="neither"), None],
        "max_radial": [Interval(Integral, 0, None, closed="left")],
        "max_angular": [Interval(Integral, 0, None, closed="left")],
        "merge_duplicates": ["boolean"],
    }

    def __init__(
        self,
        *,
        kind: str = "range-separated",
        cutoff: float = 2.8,
        smoothing_width: float = 0.25,
        density_width: float = 0.3,
        smearing: float = 1.2,
        exponent: int = 3,
        k_cutoff: float | None = None,
        max_radial: int = 3,
        max_angular: int = 3,
        species: Iterable[str | int] | None = None,
        center_types: str = "blocks",
        merge_duplicates: bool = True,
        output: str = "environments",
        dtype: str = "float64",
        chunk_size: int = 2000,
        n_jobs: int | None = None,
        cache_size: int = 2**28,
        memory: Any = None,
        progress_bar: bool = False,
    ) -> None:
        super().__init__(
            species, output, dtype, chunk_size, n_jobs, cache_size, memory, progress_bar
        )
        self.kind = kind
        self.cutoff = cutoff
        self.smoothing_width = smoothing_width
        self.density_width = density_width
        self.smearing = smearing
        self.exponent = exponent
        self.k_cutoff = k_cutoff
        self.max_radial = max_radial
        self.max_angular = max_angular
        self.center_types = center_types
        self.merge_duplicates = merge_duplicates

    def _prepare(self) -> None:
        self._lode = (
            float(self.cutoff),
            float(self.smearing),
            int(self.exponent),
            float(1.2 * np.pi / self.smearing if self.k_cutoff is None else self.k_cutoff),
            int(self.max_radial),
            int(self.max_angular),
        )
        self._separated = self.kind == "range-separated"
        self._columns = SpectrumColumns(
            self.species_,
            int(self.max_radial),
            int(self.max_angular),
            shared=self.center_types == "shared",
            merge=self.merge_duplicates,
        )
        for calculator, hypers in self._calculators():
            make_native(calculator, hypers)  # says now what it does not accept
        self._short = self._soap()
        n_short = self._short.n_features_out_
        self.n_features_out_ = n_short + self._columns.n_columns
        self.components_ = {
            "short": slice(0, n_short),
            "long": slice(n_short, self.n_features_out_),
        }

    def _soap(self) -> FeatomicDescriptor:
        probe = require("ase").Atoms(self.species_)
        # Not the output, nor how to compute it: rows are asked of `_environments`.
        names = ["cutoff", "smoothing_width", "density_width", "max_radial", "max_angular"]
        names += ["center_types", "merge_duplicates"]
        same = {name: getattr(self, name) for name in names}
        return FeatomicDescriptor(species=self.species_, **same).fit([probe])

    def _calculators(self) -> list[tuple[str, str]]:
        """Return names and hyperparameters of what is added and of what is subtracted."""
        k_space, real_space = lode_hypers(*self._lode)
        added = ("LodeSphericalExpansion", k_space)
        return [added, ("SphericalExpansion", real_space)] if self._separated else [added]

    def _environments(self, frames: dict[int, Atoms], dtype: np.dtype[Any]) -> NDArray[Any]:
        systems = [_periodic(frame, f"X[{i}]") for i, frame in frames.items()]
        calculators = [make_native(*calculator) for calculator in self._calculators()]
        where = f"X[{min(frames)}] to X[{max(frames)}]"
        tensors = [compute(calculator, systems, where) for calculator in calculators]
        numbers = [frame.numbers for frame in frames.values()]
        short = self._short._environments(frames, dtype)
        return np.hstack([short, self._columns.dense(tensors, numbers, dtype)])

    def _derivatives(self, frame: Atoms) -> FrameDerivatives:
        raise NotImplementedError(
            "RangeSeparatedDescriptor has no derivatives: featomic has none of LODE by strain"
        )

    def _settings(self) -> tuple[Any, ...] | None:
        # Those of fit, not today's parameters, which may have been set since.
        short = self._short._settings()
        columns = (self._columns.shared, self._columns.merge)
        return None if short is None else (*short, self._lode, self._separated, *columns)

    def _names(self) -> list[str]:
        short = [f"short__{name}" for name in self._short.get_feature_names_out()]
        return short + [f"long__{name}" for name in self._columns.names()]


def _periodic(frame: Atoms, where: str) -> Atoms:
    if not frame.pbc.all():
        raise ValueError(
            f"{where}: LODE needs a frame that is periodic in all directions, got "
            f"pbc={frame.pbc.tolist()}; put a molecule into a box, the same for all frames"
        )
    return as_system(frame, None, where)
