"""What held-out data say of a last layer: the scale of its errors, its regularization."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn.utils import Bunch
from sklearn.utils.validation import check_is_fitted

from ..calibration import gaussian_nll, scale_from_quad
from ..frames import find_keys, read_targets
from ..gradients import FORCES, check_groups, check_weights, inverse
from ..hessian import Rows
from ._alpha import GRID_REFITTED, GRID_TRAINED, best_of
from ._forces import Derivatives
from ._predictions import NetworkPredictions

# Variances of force components below this share of the usual one are those of symmetry.
_STILL = 1e-2


class HeldOut(NetworkPredictions):
    """Calibration and leave-one-out of `LastLayerRigidity`."""

    info_: Bunch

    def _training_set(self) -> dict[str, Any]:
        readout = ", ".join(map(str, self.info_.layers))
        size = super()._training_set()
        return {"readout": readout, **size, "choice of alpha": self.info_.alpha}

    def calibrate(
        self,
        X: Any,
        y: Any = None,
        sample_weight: Any = None,
        method: str = "squared_residuals",
        noise: bool = False,
        *,
        forces: bool = False,
    ) -> Self:
        """Fit the scale of the error bars to data that the network was not trained on.

        At least 200 samples are needed for a scale that is good to ten per cent or so. With
        ``alpha="validation"`` the regularization is chosen as well, by their likelihood.

        Parameters
        ----------
        X : list of ase.Atoms, array-like, Dataset, DataLoader or LatentSamples
            Validation data.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs), default=None
            Labels, of what predictions are; None: those that come with `X`.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights.
        method : {"squared_residuals", "absolute_residuals", "crps", "nll"}
            How C is determined, see `skrigidity.calibration.fit_scale`.
        noise : bool, default=False
            Fit sigma as well; otherwise it is set to 0.
        forces : bool, default=False
            Fit a C of forces to those of the frames as well. Without, that of energies is theirs.

        Returns
        -------
        object
            The same estimator.

        Raises
        ------
        ValueError
            If there are no labels.
        """
        check_is_fitted(self)
        frames = X
        X = self._validated(X)
        y = np.asarray(self._labels(X, y).targets)
        if self.alpha == "validation":
            X = self.latent(X)
            self._choose_by_likelihood(X, y, sample_weight, method, noise)
        super().calibrate(X, y.reshape(len(y), *self._shape), sample_weight, method, noise)
        self.force_scale_ = None
        if forces:
            self._calibrate_forces(self._frames(frames), method)
        return self

    def _choose_by_likelihood(
        self, X: Any, y: np.ndarray, sample_weight: Any, method: str, noise: bool
    ) -> None:
        weight = check_weights(sample_weight, len(y))
        y = y.reshape(len(y), *self._shape)
        grid = GRID_REFITTED if self.refit else GRID_TRAINED
        losses = []
        for relative in grid:
            self._set_alpha(relative)
            mean, q = self._mean_and_quad(X)
            q = q if q.ndim == mean.ndim else q[:, None]
            fit = scale_from_quad(y - mean, q, weight, method=method, noise=noise)
            loss = gaussian_nll(y - mean, fit.variance * q + fit.noise)
            losses.append(np.average(loss.reshape(len(y), -1).sum(axis=1), weights=weight))
        self._set_alpha(best_of(grid, np.array(losses), "validation"))

    def _set_alpha(self, relative: float) -> None:
        self.relative_alpha_, self.alpha_ = float(relative), float(relative * self._unit)
        self._adopt(self.hessian_.at(self.alpha_))
        self._set_dof(float(self._n_samples))

    def _calibrate_forces(self, frames: list[Any], method: str) -> None:
        residuals, quads = [], []
        for frame, known in zip(frames, self._force_labels(frames), strict=True):
            derivatives = Derivatives(self.adapter_, frame)
            forces = self._derivatives(derivatives)[FORCES]
            residuals.append((known - forces).ravel())
            quads.append(self._quads_of(derivatives)[FORCES].ravel())
        residual, q = np.concatenate(residuals), np.concatenate(quads)
        floor = _STILL * np.median(q[q > 0])
        fit = scale_from_quad(residual, np.maximum(q, floor), None, method=method, noise=False)
        self.force_scale_ = float(fit.variance)

    def leave_one_out(
        self, X: Any, y: Any = None, sample_weight: Any = None, groups: Any = None
    ) -> Bunch:
        """Leave out every sample, or every group, of the set that a readout was fitted to.

        Parameters
        ----------
        X : list of ase.Atoms, array-like, Dataset, DataLoader or LatentSamples
            The training set, as in `fit`.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs), default=None
            Its labels; None: those that come with `X`.
        sample_weight : array-like of shape (n_samples,), default=None
            Its weights.
        groups : array-like of shape (n_samples,), default=None
            Samples of one group are left out together.

        Returns
        -------
        Bunch
            ``prediction``, ``residual`` (label minus prediction), ``rigidity`` and ``n_excluded``,
            of readouts that have not seen the sample.

        Raises
        ------
        TypeError
            If the readout was not refitted: the network has seen all samples.
        ValueError
            If these are other data than the readout was fitted to.
        """
        check_is_fitted(self)
        if not self.refit:
            raise TypeError(
                "leave_one_out needs refit=True: the layers below were trained on all samples, and "
                "leaving one out of the last layer does not tell what becomes of them"
            )
        X = self._validated(X)
        weight = check_weights(sample_weight, len(X))
        labels = self._labels(X, y)
        rows = Rows.joined(self._rows_of(X, labels, weight))
        self._check_same_data(rows)
        residual, q, _ = self._left_out(rows, check_groups(groups, len(X)))
        target = np.asarray(labels.targets).reshape(len(q), *self._shape)
        residual = residual.reshape(target.shape)
        R = inverse(q)
        return Bunch(
            prediction=target - residual,
            residual=residual,
            rigidity=R,
            n_excluded=int((R == 0).sum()),
        )

    def _force_labels(self, frames: list[Any]) -> list[np.ndarray]:
        found = find_keys(frames, {"forces": self.forces_key})
        targets = read_targets(frames, found)
        for i, target in enumerate(targets):
            if target.forces is None:
                raise ValueError(f"X[{i}]: has no forces; name forces_key")
        return [np.asarray(target.forces) for target in targets]
