"""What all descriptors of ASE frames share: species, columns, rows, containers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, _fit_context
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.validation import check_is_fitted

from skrigidity.atomistic._frames import (
    Atoms,
    check_frames,
    parse_species,
    reject_unknown_species,
    require,
)
from skrigidity.environments import Environments, EnvironmentTransformerMixin


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

        Returns
        -------
        ndarray of str of shape (n_features_out_,)
        """
        check_is_fitted(self, "components_")
        return np.array(list(self._names()), dtype=object)

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

    def _rows(self, frames: list[Atoms]) -> Iterator[tuple[int, NDArray[Any]]]:
        """Yield the index and the rows of each frame, in any order: one row with "mean", "sum"."""
        raise NotImplementedError

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Iterable[Atoms], y: Any = None) -> Self:
        """Fix the species and the columns.

        Parameters
        ----------
        X : list of ase.Atoms
        y : ignored

        Returns
        -------
        self : object
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

        Returns
        -------
        Environments of shape (n_frames, n_features_out_), or with ``output="mean"`` or ``"sum"``
        an array of that shape. Environments and DataFrames know the ``components_``, for
        ``ComponentRidge(components="auto")``.

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
