"""What all descriptors of ASE frames share: species, columns, rows, containers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, _fit_context
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.validation import check_is_fitted

from skrigidity.environments import Environments, EnvironmentTransformerMixin
from skrigidity.frames import Atoms, check_frames, parse_species, reject_unknown_species, require


class FrameDerivatives(NamedTuple):
    """Features of a frame's atoms, and the derivatives of their sum.

    Parameters
    ----------
    features : ndarray of shape (n_atoms, n_features)
        Features of every atom.
    positions : ndarray of shape (n_atoms, 3, n_features)
        By the position of each atom, per Å.
    strain : ndarray of shape (6, n_features)
        By a symmetric strain of all vectors between atoms, in Voigt order: xx, yy, zz, yz, xz, xy.
        Those by yz, xz and xy are the means of both derivatives, by yz and by zy. Not divided by a
        volume or the number of atoms.

    Examples
    --------
    >>> from ase import Atoms
    >>> from skrigidity.atomistic import CompositionDescriptor, FrameDerivatives
    >>> pair = Atoms("H2", [[0, 0, 0], [0, 0, 1]])
    >>> found = CompositionDescriptor().fit([pair]).derivatives(pair)
    >>> isinstance(found, FrameDerivatives), found.positions.shape
    (True, (2, 3, 1))
    """

    features: NDArray[np.float64]
    positions: NDArray[np.float64]
    strain: NDArray[np.float64]


class FrameBackward(NamedTuple):
    """Linear functions of the features of a frame's atoms, and the derivatives of their sums.

    Parameters
    ----------
    local : ndarray of shape (n_atoms,) or (n_atoms, n_outputs)
        Values of the functions of every atom.
    positions : ndarray of shape (n_atoms, 3) or (n_atoms, 3, n_outputs)
        Derivatives of their sums by the positions of the atoms.
    strain : ndarray of shape (6,) or (6, n_outputs)
        In the order of :class:`FrameDerivatives`.

    Examples
    --------
    >>> from ase import Atoms
    >>> from skrigidity.atomistic import CompositionDescriptor, FrameBackward
    >>> pair = Atoms("H2", [[0, 0, 0], [0, 0, 1]])
    >>> found = CompositionDescriptor().fit([pair]).backward(pair, [2.0])
    >>> isinstance(found, FrameBackward), found.local.tolist()
    (True, [2.0, 2.0])
    """

    local: NDArray[np.float64]
    positions: NDArray[np.float64]
    strain: NDArray[np.float64]


class FrameTransformer(EnvironmentTransformerMixin, BaseEstimator):
    """Turn frames into Environments, or into tables of frames, that know their components."""

    n_features_out_: int
    components_: dict[str, slice | NDArray[np.intp]]

    def _names(self) -> Iterable[str]:
        raise NotImplementedError

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """Name the columns.

        Parameters
        ----------
        input_features : ignored
            Not used.

        Returns
        -------
        ndarray of str of shape (n_features_out,)
            Names of the columns.
        """
        check_is_fitted(self, "components_")
        return np.array(list(self._names()), dtype=object)

    def derivatives(self, frame: Atoms) -> FrameDerivatives:
        """Differentiate the features of a frame, summed over its atoms.

        Always of sums and in float64, whatever the parameters ``output`` and ``dtype``.

        Parameters
        ----------
        frame : ase.Atoms
            The frame.

        Returns
        -------
        FrameDerivatives
            With ``w`` the weights of a linear model of energies (sums over atoms),
            ``-positions @ w`` are forces, and ``strain @ w`` divided by the volume is the stress
            in the sign and order of ASE.

        Raises
        ------
        TypeError
            If ``frame`` is not ase.Atoms.
        ValueError
            If it is not finite, or contains a species not seen in ``fit``.
        NotImplementedError
            If derivatives of these features are not known.

        Examples
        --------
        >>> from ase import Atoms
        >>> from skrigidity.atomistic import ACEDescriptor
        >>> dimer = Atoms("Si2", [[0, 0, 0], [0, 0, 2.2]])
        >>> descriptor = ACEDescriptor(max_degree=(6, 5)).fit([dimer])
        >>> features, positions, strain = descriptor.derivatives(dimer)
        >>> features.shape, positions.shape, strain.shape
        ((2, 19), (2, 3, 19), (6, 19))
        >>> bool(abs(positions.sum(axis=0)).max() < 1e-12)  # moving all atoms changes nothing
        True
        """
        return self._derivatives(self._checked(frame))

    def backward(self, frame: Atoms, weights: ArrayLike) -> FrameBackward:
        """Evaluate linear functions of the features of a frame, with their derivatives.

        The same as `derivatives` times the weights, but cheaper.

        Parameters
        ----------
        frame : ase.Atoms
            The frame.
        weights : array-like of shape (n_features_out,) or (n_features_out, n_outputs)
            Weights of the features, a column per function.

        Returns
        -------
        FrameBackward
            Values of the functions and their derivatives.

        Raises
        ------
        TypeError
            If ``frame`` is not ase.Atoms.
        ValueError
            If it is not finite, or contains a species not seen in ``fit``; if there are more or
            fewer weights than features.
        NotImplementedError
            If derivatives of these features are not known.

        Examples
        --------
        >>> import numpy as np
        >>> from ase import Atoms
        >>> from skrigidity.atomistic import ACEDescriptor
        >>> dimer = Atoms("Si2", [[0, 0, 0], [0, 0, 2.2]])
        >>> descriptor = ACEDescriptor(max_degree=(6, 5)).fit([dimer])
        >>> local, positions, strain = descriptor.backward(dimer, np.ones(19))
        >>> local.shape, positions.shape, strain.shape
        ((2,), (2, 3), (6,))
        """
        checked = self._checked(frame)
        array = np.asarray(weights, dtype=np.float64)
        if array.ndim not in (1, 2) or len(array) != self.n_features_out_:
            raise ValueError(
                f"weights: expected shape ({self.n_features_out_},) or "
                f"({self.n_features_out_}, n_outputs), got {array.shape}"
            )
        if array.ndim == 2:
            return self._backward(checked, array)
        return FrameBackward(*(a[..., 0] for a in self._backward(checked, array[:, None])))

    @property
    def receptive_field_(self) -> float:
        """How far away atoms can be that change an atom's features, in Å; inf without a limit."""
        return np.inf

    def _checked(self, frame: Any) -> Atoms:
        check_is_fitted(self, "components_")
        atoms_class = require("ase").Atoms
        if not isinstance(frame, atoms_class):
            raise TypeError(f"frame: expected ase.Atoms, got {type(frame).__name__}")
        return check_frames([frame], "frame")[0]

    def _derivatives(self, frame: Atoms) -> FrameDerivatives:
        raise NotImplementedError(f"{type(self).__name__} does not know its derivatives")

    def _backward(self, frame: Atoms, weights: NDArray[np.float64]) -> FrameBackward:
        """Contract with weights of shape (n_features, n_outputs)."""
        return FrameBackward(*(rows @ weights for rows in self._derivatives(frame)))

    def _wrap_output(self, features: Any, X: Any = None) -> Any:
        wrapped = super()._wrap_output(features, X)
        if hasattr(wrapped, "attrs"):  # pandas: what ComponentRidge(components="auto") looks for
            names = self.get_feature_names_out()
            wrapped.attrs["components"] = {
                name: names[columns].tolist() for name, columns in self.components_.items()
            }
        return wrapped

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.transformer_tags.preserves_dtype = []
        return tags


class FrameDescriptor(FrameTransformer):
    """Rows per environment, or one per frame, in columns that the species fix.

    A subclass names the modules that it needs, sets ``n_features_out_`` and ``components_`` in
    `_prepare`, and makes rows and names.
    """

    _modules: tuple[str, ...] = ("ase",)
    _parameter_constraints: dict[str, list[Any]] = {
        "species": ["array-like", None],
        "output": [StrOptions({"environments", "mean", "sum"})],
        "dtype": [StrOptions({"float64", "float32"})],
    }

    species: Iterable[str | int] | None
    output: str
    dtype: str
    species_: NDArray[np.int64]

    def _prepare(self) -> None:
        """Fix the columns for ``species_``."""
        raise NotImplementedError

    def _checked(self, frame: Any) -> Atoms:
        checked = super()._checked(frame)
        reject_unknown_species([checked], self.species_, "frame")
        return checked

    def _rows(self, frames: list[Atoms]) -> Iterator[tuple[int, NDArray[Any]]]:
        """Yield the index and the rows of each frame, in any order: one row with "mean", "sum"."""
        raise NotImplementedError

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Iterable[Atoms], y: Any = None) -> Self:
        """Fix the species and the columns.

        Parameters
        ----------
        X : list of ase.Atoms
            The frames.
        y : ignored
            Not used.

        Returns
        -------
        object
            Itself.

        Raises
        ------
        ImportError
            If the extra ``atomistic`` is not installed.
        TypeError
            If ``X`` is not a list of frames; the message names the first that is none.
        ValueError
            If a frame is empty or not finite, contains a species that ``species`` does not, or
            the parameters do not go together.
        """
        for module in self._modules:
            require(module, type(self).__name__)
        frames = check_frames(X)
        if self.species is None:
            self.species_ = parse_species(np.unique(np.concatenate([f.numbers for f in frames])))
        else:
            self.species_ = parse_species(self.species)
            reject_unknown_species(frames, self.species_)
        self._prepare()
        return self

    def transform(self, X: Iterable[Atoms]) -> Any:
        """Compute the features of every atom, or of every frame.

        Parameters
        ----------
        X : list of ase.Atoms
            The frames.

        Returns
        -------
        Environments or ndarray of shape (n_frames, n_features_out)
            An array with ``output="mean"`` or ``"sum"``. Environments and DataFrames know the
            ``components_``, for ``ComponentRidge(components="auto")``.

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
        return Environments(out, offsets, self.components_) if whole else self._wrap_output(out)

    def _of_frames(self, flat: NDArray[Any], sizes: list[int]) -> list[NDArray[Any]]:
        """Split rows of atoms into the rows that each frame gives, aggregated if asked for."""
        environments = Environments(flat, np.concatenate([[0], np.cumsum(sizes)]))
        if self.output == "environments":
            return list(environments)
        return list(environments.aggregate(self.output)[:, None])  # type: ignore[arg-type]
