"""Descriptors of atomic environments, computed by featomic."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

import numpy as np
from joblib import effective_n_jobs
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin, _fit_context
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from skrigidity._extras import import_extra
from skrigidity.atomistic._cache import FEATURES
from skrigidity.atomistic._frames import (
    as_system,
    check_frames,
    digest,
    parse_species,
    reject_unknown_species,
    require,
)
from skrigidity.atomistic._hypers import make_native, native_hypers, native_name
from skrigidity.atomistic._layout import Layout
from skrigidity.environments import Environments

if TYPE_CHECKING:
    from ase import Atoms


class FeatomicDescriptor(TransformerMixin, BaseEstimator, auto_wrap_output_keys=None):  # type: ignore[call-arg]
    """Turn ASE frames into features of their atomic environments.

    Rows follow the order of the atoms in their frame, whatever the calculator's. The columns are
    fixed in ``fit`` by the chemical species alone: what a frame does not contain is zero.

    Parameters
    ----------
    calculator : str or callable, default="SoapPowerSpectrum"
        Name (or class) of a featomic calculator with one row per atom: ``"SoapPowerSpectrum"``,
        ``"SoapRadialSpectrum"``, ``"SphericalExpansion"``, ``"LodeSphericalExpansion"`` (these
        two are not rotation invariant), ``"SortedDistances"``, ``"AtomicComposition"``. Any other
        callable is called with ``hypers`` as keyword arguments, ignoring the parameters from
        ``cutoff`` to ``center_atom_weight``, and returns an object whose ``compute(systems)`` gives
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
    hypers : dict, default=None
        featomic hyperparameters merged over those that the parameters above make, level by level:
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
    progress_bar : bool, default=False
        Show a bar over frames; needs tqdm.

    Attributes
    ----------
    species_ : ndarray of int
        Atomic numbers, sorted.
    hypers_ : dict
        The complete hyperparameters of the calculator.
    n_features_out_ : int
        Number of columns.
    components_ : dict of str to slice or ndarray of int
        Columns of each component, for component-wise rigidities.

    Notes
    -----
    Frames that are periodic in one or two directions get a cell so long in the others that no atom
    sees an image. ``set_output`` applies to ``"mean"`` and ``"sum"``; environments come as
    :class:`~skrigidity.environments.Environments` always. A progress bar, threads and the cache
    never change a number.

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

    _parameter_constraints: dict[str, list[Any]] = {
        "calculator": [str, callable],
        "cutoff": [Interval(Real, 0, None, closed="neither")],
        "smoothing_width": [Interval(Real, 0, None, closed="left")],
        "density_width": [Interval(Real, 0, None, closed="left")],
        "max_radial": [Interval(Integral, 0, None, closed="left")],
        "max_angular": [Interval(Integral, 0, None, closed="left"), None],
        "radial_basis": [StrOptions({"gto", "laplacian_eigenstate"})],
        "center_atom_weight": [Interval(Real, 0, None, closed="left")],
        "hypers": [dict, None],
        "species": ["array-like", None],
        "center_types": [StrOptions({"shared", "blocks"})],
        "merge_duplicates": ["boolean"],
        "output": [StrOptions({"environments", "mean", "sum"})],
        "components_by": [StrOptions({"neighbors", "centers", "angular"}), None],
        "dtype": [StrOptions({"float64", "float32"})],
        "chunk_size": [Interval(Integral, 1, None, closed="left")],
        "n_jobs": [Integral, None],
        "cache_size": [Interval(Integral, 0, None, closed="left")],
        "progress_bar": ["boolean"],
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
        progress_bar: bool = False,
    ) -> None:
        self.calculator = calculator
        self.cutoff = cutoff
        self.smoothing_width = smoothing_width
        self.density_width = density_width
        self.max_radial = max_radial
        self.max_angular = max_angular
        self.radial_basis = radial_basis
        self.center_atom_weight = center_atom_weight
        self.hypers = hypers
        self.species = species
        self.center_types = center_types
        self.merge_duplicates = merge_duplicates
        self.output = output
        self.components_by = components_by
        self.dtype = dtype
        self.chunk_size = chunk_size
        self.n_jobs = n_jobs
        self.cache_size = cache_size
        self.progress_bar = progress_bar

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Iterable[Atoms], y: Any = None) -> FeatomicDescriptor:
        """Fix the species and the columns.

        Parameters
        ----------
        X : list of ase.Atoms
        y : ignored

        Returns
        -------
        FeatomicDescriptor
            Itself.

        Raises
        ------
        ImportError
            If the extra ``atomistic`` is not installed.
        TypeError
            If ``X`` is not a list of frames; the message names the first that is none.
        ValueError
            If a frame is empty or not finite, contains a species that ``species`` does not, or
            featomic rejects the hyperparameters.
        """
        require("featomic")
        frames = check_frames(X)
        if self.species is None:
            self.species_ = parse_species(np.unique(np.concatenate([f.numbers for f in frames])))
        else:
            self.species_ = parse_species(self.species)
            reject_unknown_species(frames, self.species_)
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
        return self

    def transform(self, X: Iterable[Atoms]) -> Any:
        """Compute the features of every atom, or of every frame.

        Parameters
        ----------
        X : list of ase.Atoms

        Returns
        -------
        Environments of shape (n_frames, n_features_out_), or with ``output="mean"`` or ``"sum"``
        an array of that shape

        Raises
        ------
        TypeError
            If ``X`` is not a list of frames; the message names the first that is none.
        ValueError
            If a frame is empty, not finite or contains a species not seen in ``fit``; the message
            names the frame and the species.
        """
        check_is_fitted(self, "components_")
        frames = check_frames(X)
        reject_unknown_species(frames, self.species_)
        whole = self.output == "environments"
        sizes = [len(frame) if whole else 1 for frame in frames]
        offsets = np.concatenate([[0], np.cumsum(sizes)])
        out = np.empty((offsets[-1], self.n_features_out_), dtype=self.dtype)
        for i, rows in self._rows(frames):
            out[offsets[i] : offsets[i + 1]] = rows
        return Environments(out, offsets) if whole else self._wrap(out)

    def _rows(self, frames: list[Atoms]) -> Iterator[tuple[int, NDArray[Any]]]:
        """Yield the index and the rows of each frame, remembered or computed, in any order."""
        keys = self._cache_keys(frames)
        missing = []
        for i, key in enumerate(keys):
            if (rows := FEATURES.get(key)) is None:
                missing.append(i)
            else:
                yield i, rows
        if not keys:
            missing = list(range(len(frames)))
        row_bytes = self.n_features_out_ * np.dtype(self.dtype).itemsize
        remember = bool(keys) and self.cache_size >= row_bytes * sum(
            len(frames[i]) if self.output == "environments" else 1 for i in missing
        )
        for i, rows in self._computed(frames, missing):
            if remember:
                FEATURES.put(keys[i], rows, self.cache_size)
            yield i, rows

    def _computed(self, frames: list[Atoms], chosen: list[int]) -> Iterator[tuple[int, Any]]:
        if self.progress_bar:
            tqdm = import_extra("tqdm", extra="atomistic", needed_by="progress_bar=True")
            bar = tqdm.tqdm(total=len(chosen), unit="frame", desc="descriptor")
        else:
            bar = nullcontext()
        chunks = list(_chunks(chosen, [len(frames[i]) for i in chosen], self.chunk_size))
        n_threads = min(effective_n_jobs(self.n_jobs), max(len(chunks), 1))
        with bar as progress, ThreadPoolExecutor(n_threads) as pool:
            # One round of chunks at a time: results never pile up.
            for start in range(0, len(chunks), n_threads):
                todo = chunks[start : start + n_threads]
                compute = pool.map if n_threads > 1 else map
                for chunk, rows in zip(
                    todo, compute(lambda c: self._compute(frames, c), todo), strict=True
                ):
                    yield from zip(chunk, rows, strict=True)
                    if progress is not None:
                        progress.update(len(chunk))

    def _compute(self, frames: list[Atoms], chunk: list[int]) -> list[NDArray[Any]]:
        calculator = self._make_calculator()
        cutoff = max(getattr(calculator, "cutoffs", None) or [0.0]) or None
        systems = [as_system(frames[i], cutoff, f"X[{i}]") for i in chunk]
        numbers = [frames[i].numbers for i in chunk]
        try:
            tensor = calculator.compute(systems)
        except require("featomic").FeatomicError as error:
            raise ValueError(f"X[{chunk[0]}] to X[{chunk[-1]}]: featomic says: {error}") from error
        # Sums are taken in float64 even where the output is float32.
        whole = self.output == "environments"
        dense = self._layout.dense(tensor, numbers, np.dtype(self.dtype if whole else "float64"))
        environments = Environments(dense, np.concatenate([[0], np.cumsum([*map(len, numbers)])]))
        if whole:
            return list(environments)
        return list(environments.aggregate(self.output)[:, None])  # type: ignore[arg-type]

    def _make_calculator(self) -> Any:
        if self._name is not None:
            return make_native(self._name, self._hypers_json)
        return self.calculator(**(self.hypers or {}))  # type: ignore[operator]

    def _cache_keys(self, frames: list[Atoms]) -> list[bytes]:
        if self.cache_size == 0 or self._name is None:
            return []
        # Layout's own settings, not today's parameters: those may have been set after fit.
        settings = (
            self._name,
            self._hypers_json,
            self.species_.tolist(),
            self._layout.shared,
            self.n_features_out_,
            self.output,
            self.dtype,
        )
        prefix = hashlib.blake2b(repr(settings).encode(), digest_size=16).digest()
        return [prefix + digest(frame) for frame in frames]

    @property
    def hypers_(self) -> dict[str, Any]:
        """The complete hyperparameters of the calculator."""
        if self._name is None:
            return dict(self.hypers or {})
        return dict(json.loads(self._hypers_json))

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """Name the columns by neighbor species and basis indices, such as ``"C-H l=1 n=0,2"``.

        Parameters
        ----------
        input_features : ignored

        Returns
        -------
        ndarray of str of shape (n_features_out_,)
            With ``center_types="blocks"`` the center comes first: ``"O:C-H l=1 n=0,2"``.
        """
        check_is_fitted(self, "components_")
        return self._layout.names()

    def set_output(self, *, transform: str | None = None) -> FeatomicDescriptor:
        """Choose the container for features of frames, as in scikit-learn.

        Parameters
        ----------
        transform : {"default", "pandas", "polars"}, default=None

        Returns
        -------
        FeatomicDescriptor
            Itself.
        """
        if transform is not None:
            self._sklearn_output_config = {"transform": transform}
        return self

    def _wrap(self, features: NDArray[Any]) -> Any:
        # Public scikit-learn machinery that wraps an array: a transformer that does nothing else.
        names = self.get_feature_names_out()
        identity = FunctionTransformer(feature_names_out=lambda *_: names)
        if hasattr(self, "_sklearn_output_config"):
            identity.set_output(**self._sklearn_output_config)
        return identity.fit_transform(features)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.transformer_tags.preserves_dtype = []
        return tags


def _chunks(items: list[int], sizes: list[int], limit: int) -> Iterator[list[int]]:
    chunk: list[int] = []
    total = 0
    for item, size in zip(items, sizes, strict=True):
        if chunk and total + size > limit:
            yield chunk
            chunk, total = [], 0
        chunk.append(item)
        total += size
    if chunk:
        yield chunk
