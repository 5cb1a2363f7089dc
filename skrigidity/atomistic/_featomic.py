"""Descriptors of atomic environments, computed by featomic."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils._param_validation import Interval, StrOptions

from skrigidity.atomistic._base import FrameDerivatives
from skrigidity.atomistic._computed import ComputedDescriptor
from skrigidity.atomistic._frames import as_system
from skrigidity.atomistic._hypers import compute, make_native, native_hypers, native_name
from skrigidity.atomistic._layout import Layout
from skrigidity.frames import Atoms, require

_DIFFERENTIABLE = (
    "SoapPowerSpectrum",
    "SoapRadialSpectrum",
    "SphericalExpansion",
    "AtomicComposition",
)
_LONG_RANGE = ("LodeSphericalExpansion",)
# Atoms whose derivatives by their neighbors are computed at a time.
_CENTERS = 128


class FeatomicDescriptor(ComputedDescriptor):
    """Turn ASE frames into features of their atomic environments.

    Rows follow the order of the atoms in their frame, whatever the calculator's. The columns are
    fixed in ``fit`` by the chemical species alone: what a frame does not contain is zero.

    Parameters
    ----------
    calculator : str or callable, default="SoapPowerSpectrum"
        Name (or class) of a featomic calculator with one row per atom: ``"SoapPowerSpectrum"``,
        ``"SoapRadialSpectrum"``, ``"DensityCorrelations"`` (the bispectrum and higher orders),
        ``"SphericalExpansion"``, ``"LodeSphericalExpansion"`` (these two are not rotation
        invariant), ``"SortedDistances"``, ``"AtomicComposition"``. Any other callable
        is called with ``hypers`` as keyword arguments, ignoring the parameters from ``cutoff`` to
        ``n_correlations``, and returns an object whose ``compute(systems)`` gives
        a metatensor ``TensorMap`` with samples ``system`` and ``atom``; this is how
        Clebsch-Gordan products and combined densities come in.
    cutoff : float, default=4.5
        Radius of an environment in Å.
    smoothing_width : float, default=0.5
        Neighbors fade out over this last stretch before the cutoff, in Å (shifted cosine).
    density_width : float, default=0.4
        Width of the Gaussian on each neighbor in Å. With the Laplacian eigenstate basis 0 stands
        for delta functions. LODE's smearing.
    max_radial : int, default=5
        Largest radial index: there are ``max_radial + 1`` radial functions (for l = 0).
    max_angular : int or None, default=None
        Largest angular channel. None is 4 for ``"gto"``; for ``"laplacian_eigenstate"`` it is
        every function whose eigenvalue is not above that of l = 0, n = ``max_radial``.
    radial_basis : {"gto", "laplacian_eigenstate"}, default="gto"
        Gaussian type orbitals, equally many in each angular channel, or the eigenstates of the
        Laplacian in the sphere, fewer in higher channels.
    center_atom_weight : float, default=1.0
        Weight of the central atom in its own density.
    n_correlations : int, default=2
        How many times ``"DensityCorrelations"`` multiplies the neighbor density with itself: 1 for
        the power spectrum, 2 for the bispectrum (products of an atom and three neighbors), and so
        on. The number of columns is about the power ``n_correlations + 1`` of that of the radial
        functions times the species.
    hypers : dict, default=None
        Hyperparameters merged over those that the parameters above make, level by level:
        ``{"density": {"scaling": {...}}}`` adds a scaling. A nested dictionary with another
        ``"type"`` replaces what was there. Values may be featomic's own hyperparameter objects.
    species : list of str or int, default=None
        Symbols or atomic numbers. None stands for those seen in ``fit``.
    center_types : {"shared", "blocks"}, default="shared"
        Whether atoms of all species share columns, or each species has a block of its own (a
        linear model then has weights of its own for each).
    merge_duplicates : bool, default=True
        SOAP power spectra are symmetric in their two radial indices where the neighbor species
        are equal. Of two equal columns keep one, times the square root of 2: nearly half as many
        columns with the same inner products, so that linear models and rigidities do not change.
    output : {"environments", "mean", "sum"}, default="environments"
        A row per environment, or one per frame.
    components_by : {"neighbors", "centers", "angular"}, default=None
        What divides the columns into ``components_``. None stands for the species of the
        neighbors, or one component ``"all"`` where the calculator does not tell them apart.
    dtype : {"float64", "float32"}, default="float64"
        Data type of the output.
    chunk_size : int, default=2000
        About this many environments are computed at a time; bounds the temporary memory.
    n_jobs : int, default=None
        Number of threads, as in joblib.
    cache_size : int, default=268435456
        Bytes of features that all descriptors of this process keep for frames they have seen, so
        that a search over other steps of a pipeline computes them once; 0 keeps none. See
        :func:`clear_cache`. Not used with callables.
    memory : str or object with the joblib.Memory interface, default=None
        Where to keep the features of frames on disk, a small file for each, so that later
        processes find them; None keeps none there. Not used with callables.
    progress_bar : bool, default=False
        Show a bar over frames; needs tqdm.

    Attributes
    ----------
    species_ : ndarray of int
        Atomic numbers, sorted.
    hypers_ : dict
        The complete hyperparameters of the calculator.
    n_features_out_ : int
        Number of columns. They are named by neighbor species and basis indices, such as
        ``"C-H l=1 n=0,2"``; with ``center_types="blocks"`` the center comes first:
        ``"O:C-H l=1 n=0,2"``.
    components_ : dict of str to slice or ndarray of int
        Columns of each component, for component-wise rigidities.

    Notes
    -----
    Frames that are periodic in one or two directions get a cell so long in the others that no atom
    sees an image. ``set_output`` applies to ``"mean"`` and ``"sum"``; environments come as
    :class:`~skrigidity.environments.Environments` always. A progress bar, threads and the cache
    never change a number.

    `derivatives` and `backward` know the calculators of which featomic has gradients by positions
    and strain: power and radial spectra, in any radial basis, and the spherical expansion.

    Examples
    --------
    >>> from ase.build import molecule
    >>> from skrigidity.atomistic import FeatomicDescriptor
    >>> frames = [molecule("H2O"), molecule("CH3CH2OH")]
    >>> descriptor = FeatomicDescriptor(cutoff=3.0, max_radial=2, max_angular=1)
    >>> descriptor.fit_transform(frames)
    Environments(2 structures, 12 environments, 90 features, float64)
    >>> descriptor.get_feature_names_out()[:3].tolist()
    ['H-H l=0 n=0,0', 'H-H l=0 n=0,1', 'H-H l=0 n=0,2']
    >>> descriptor.components_["H-O"]
    slice(30, 48, None)
    >>> descriptor.set_params(output="mean").fit_transform(frames).shape
    (2, 90)
    """

    _modules = ("featomic", "ase")
    _parameter_constraints: dict[str, list[Any]] = {
        **ComputedDescriptor._parameter_constraints,
        "calculator": [str, callable],
        "smoothing_width": [Interval(Real, 0, None, closed="left")],
        "density_width": [Interval(Real, 0, None, closed="left")],
        "max_radial": [Interval(Integral, 0, None, closed="left")],
        "max_angular": [Interval(Integral, 0, None, closed="left"), None],
        "radial_basis": [StrOptions({"gto", "laplacian_eigenstate"})],
        "center_atom_weight": [Interval(Real, 0, None, closed="left")],
        "n_correlations": [Interval(Integral, 1, None, closed="left")],
        "hypers": [dict, None],
        "merge_duplicates": ["boolean"],
        "components_by": [StrOptions({"neighbors", "centers", "angular"}), None],
    }

    def __init__(
        self,
        calculator: str | Callable[..., Any] = "SoapPowerSpectrum",
        *,
        cutoff: float = 4.5,
        smoothing_width: float = 0.5,
        density_width: float = 0.4,
        max_radial: int = 5,
        max_angular: int | None = None,
        radial_basis: str = "gto",
        center_atom_weight: float = 1.0,
        n_correlations: int = 2,
        hypers: dict[str, Any] | None = None,
        species: Iterable[str | int] | None = None,
        center_types: str = "shared",
        merge_duplicates: bool = True,
        output: str = "environments",
        components_by: str | None = None,
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
        self.calculator = calculator
        self.cutoff = cutoff
        self.smoothing_width = smoothing_width
        self.density_width = density_width
        self.max_radial = max_radial
        self.max_angular = max_angular
        self.radial_basis = radial_basis
        self.center_atom_weight = center_atom_weight
        self.n_correlations = n_correlations
        self.hypers = hypers
        self.center_types = center_types
        self.merge_duplicates = merge_duplicates
        self.components_by = components_by

    def _prepare(self) -> None:
        self._name = native_name(self.calculator)
        if self._name is not None:
            self._hypers_json = json.dumps(
                require("featomic").hypers_to_json(native_hypers(self._name, self)), sort_keys=True
            )
        self._layout = Layout(
            self._make_calculator(),
            self.species_,
            shared=self.center_types == "shared",
            merge=self.merge_duplicates and self._name == "SoapPowerSpectrum",
            fill=self.hypers_["cutoff"] if self._name == "SortedDistances" else 0.0,
        )
        self.n_features_out_ = self._layout.n_columns
        self.components_ = self._layout.components(self.components_by)

    def _environments(self, frames: dict[int, Atoms], dtype: np.dtype[Any]) -> NDArray[Any]:
        calculator = self._make_calculator()
        cutoff = max(getattr(calculator, "cutoffs", None) or [0.0]) or None
        systems = [as_system(frame, cutoff, f"X[{i}]") for i, frame in frames.items()]
        tensor = compute(calculator, systems, f"X[{min(frames)}] to X[{max(frames)}]")
        return self._layout.dense(tensor, [frame.numbers for frame in frames.values()], dtype)

    @property
    def receptive_field_(self) -> float:
        """How far away atoms can be that change an atom's features, in Å; inf for LODE.

        Of a calculator that is no native one: the largest of its ``cutoffs``, inf without any.
        """
        if self._name == "AtomicComposition":
            return 0.0
        cutoffs = getattr(self._make_calculator(), "cutoffs", None)
        return np.inf if self._name in _LONG_RANGE or not cutoffs else float(max(cutoffs))

    def _derivatives(self, frame: Atoms) -> FrameDerivatives:
        if self._name not in _DIFFERENTIABLE:
            raise NotImplementedError(
                f"calculator: {self._name or self.calculator} has no derivatives by positions and "
                f"strain; those that do: {', '.join(_DIFFERENTIABLE)}"
            )
        calculator = self._make_calculator()
        system = as_system(frame, max(calculator.cutoffs or [0.0]) or None, "frame")
        n, d = len(frame), self.n_features_out_
        result = FrameDerivatives(np.zeros((n, d)), np.zeros((n, 3, d)), np.zeros((6, d)))
        for start in range(0, n, _CENTERS):
            atoms = np.arange(start, min(start + _CENTERS, n))
            labels = require("metatensor").Labels(["atom"], atoms[:, None].astype(np.int32))
            tensor = compute(
                calculator,
                [system],
                "frame",
                gradients=["positions", "strain"],
                selected_samples=labels,
            )
            self._layout.add_derivatives(tensor, *result)
        return result

    def _make_calculator(self) -> Any:
        if self._name is not None:
            return make_native(self._name, self._hypers_json)
        return self.calculator(**(self.hypers or {}))  # type: ignore[operator]

    def _settings(self) -> tuple[Any, ...] | None:
        if self._name is None:
            return None
        # Layout's own settings, not today's parameters: those may have been set after fit.
        return self._name, self._hypers_json, self._layout.shared, require("featomic").__version__

    def _names(self) -> list[str]:
        return self._layout.names()

    @property
    def hypers_(self) -> dict[str, Any]:
        """The complete hyperparameters of the calculator."""
        if self._name is None:
            return dict(self.hypers or {})
        return dict(json.loads(self._hypers_json))
