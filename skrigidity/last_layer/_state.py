"""What every part of `LastLayerRigidity` works with: data, features, scales, labels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from ..frames import find_keys, read_targets
from ..gradients import LatentGradients, LatentSamples, Level, RigidityMixin
from ..hessian import Rows, leave_out
from ._adapter import Adapter
from ._blocks import blocks_of
from ._fit import Labels, read_labels
from ._registry import adapter_of

_UNKNOWN = (
    "error bars are not known: the training residuals of a network say nothing of its errors. Call "
    "calibrate() with data that it was not trained on, or use refit=True"
)


class NetworkState(RigidityMixin):
    """A network, the features of its last layer, and what has been fitted to them."""

    model: Any
    readout: Any
    refit: bool
    bias: bool
    alpha: Any
    reduce: str
    batch_size: int
    force_weight: float | None
    n_draws: int
    random_state: Any
    energy_key: str | None
    forces_key: str
    gradients_: LatentGradients
    adapter_: Adapter
    coef_: np.ndarray
    alpha_: float
    relative_alpha_: float
    force_scale_: float | None
    _coef: np.ndarray
    _shape: tuple[int, ...]
    _unfitted_bias: Any  # what the network adds per unit, where the model has no bias
    _n_samples: int
    _unit: float
    # What `LastLayerRigidity` has: the training rows, and how it takes over a factor.
    _rows_of: Callable[..., Iterator[Rows]]
    _adopt: Callable[[Any], None]

    def latent(self, X: Any) -> LatentSamples:
        """Run the network, and keep the features that enter its readout.

        Every method takes what is returned in place of the data, but for derivatives, so that the
        network runs once for many fits.

        Parameters
        ----------
        X : list of ase.Atoms, array-like, Dataset or DataLoader
            Input as in `fit`.

        Returns
        -------
        LatentSamples
            Features, offsets, and the labels that the data bring along.
        """
        if not hasattr(self, "adapter_"):
            if not (self.refit or self.bias):
                check_is_fitted(self)
            self.adapter_, self._unfitted_bias = self._make_adapter(), 0.0
        X = self._validated(X)
        if isinstance(X, LatentSamples):
            return X
        return LatentSamples.of(self._source(X), self._known_targets(X))

    def _make_adapter(self) -> Adapter:
        return adapter_of(self.model, self.readout)

    @property
    def _more_rows(self) -> Callable[..., Iterator[Rows]] | None:
        """What makes the rows of samples, where they have more than one."""
        return None if self.force_weight is None else self._unlabelled_rows

    def _unlabelled_rows(self, X: Any, weight: np.ndarray | None) -> Iterator[Rows]:
        return self._rows_of(X, Labels(), weight)

    # --- what the mixin asks for -------------------------------------------------------------

    def _parameters(self) -> tuple[np.ndarray, np.ndarray, tuple[int, ...]]:
        return self._coef, np.zeros(self._coef.shape[1]), self._shape

    def _times(self, rows: Any) -> np.ndarray:
        return super()._times(rows) + rows.rhs.reshape(-1, *self._shape)

    def _by_component(
        self, given: Any, components: Any, level: Level, function: Callable[[Any], np.ndarray]
    ) -> Any:
        return super()._by_component(self.latent(given), components, level, function)

    def _check_has(self, what: str) -> None:
        if np.isnan(self.scale_).any() and what in ("error bars", "draws"):
            raise ValueError(_UNKNOWN)

    def _known_scale(self) -> tuple[Any, Any]:
        if np.isnan(self.scale_).any():
            raise ValueError(_UNKNOWN)
        if not np.isfinite(self.scale_).all():
            raise ValueError(
                f"calibration={self._calibration!r} cannot tell the scale of the errors: no sample "
                "is pinned by the others. Call calibrate() with held-out data"
            )
        return self.scale_, self.noise_variance_

    def _validated(self, X: Any, *, reset: bool = False, name: str = "X") -> Any:
        if not isinstance(X, LatentSamples):
            return self.adapter_.check(X, name)
        if not reset and X.features.shape[1] != self.n_features_in_:
            raise ValueError(
                f"{name} has {X.features.shape[1]} latent features, expected {self.n_features_in_}"
            )
        return X

    def _checked(
        self, X: Any, level: Any = "global", name: str = "X"
    ) -> tuple[Any, Callable[[Any], Any]]:
        X, as_it_is = super()._checked(X, level, name)
        if level == "global":
            return X, as_it_is
        X = self.latent(X)
        return X, X.split

    def _source(self, X: Any) -> Any:
        return blocks_of(self.adapter_, X, self.batch_size, self._unfitted_bias)

    # --- labels and scales -------------------------------------------------------------------

    @property
    def _calibration(self) -> str | None:
        if self.calibration == "auto":
            return "loo" if self.refit else "held out"
        return self.calibration

    def _labels(self, X: Any, y: Any) -> Labels:
        keys: dict[str, str | None] = {"energy": self.energy_key, "forces": self.forces_key}
        forces = self.force_weight is not None
        return read_labels(self.adapter_, X, y, reduce=self.reduce, keys=keys, forces=forces)

    def _known_targets(self, X: Any) -> np.ndarray | None:
        """Return the labels that data bring along, summed over units; None where one is missing."""
        if not self.adapter_.atomistic:
            return self.adapter_.targets(X)
        found = find_keys(X, {"energy": self.energy_key})
        energies = [target.energy for target in read_targets(X, found)]
        return None if any(e is None for e in energies) else np.array(energies)

    def _frames(self, X: Any) -> list[Any]:
        if isinstance(X, LatentSamples) or not self.adapter_.atomistic:
            raise ValueError("properties: forces and stress need frames, and a network of these")
        return list(self._validated(X))

    def _together(self, rows: Rows, groups: Any) -> Any:
        """Return which rows are left out together: those of a frame, or of a group of samples."""
        if groups is not None:
            return groups[rows.groups]
        return None if self.force_weight is None else rows.groups

    def _left_out(self, rows: Rows, groups: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return residuals, q and weights of the samples' own predictions, each left out."""
        labels = self._together(rows, groups)
        left = leave_out(
            rows.replaced(groups=None), self.hessian_.prior, labels, factor=self.hessian_
        )
        own = np.flatnonzero(np.diff(np.asarray(rows.groups), prepend=-1))
        weight = np.ones(len(rows)) if rows.weight is None else rows.weight
        return left.residual[own], left.quad[own], weight[own]
