"""Predictions with error bars: ``var = C**2 / R + sigma**2``."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Self

import numpy as np
from sklearn.utils import check_array, check_random_state
from sklearn.utils.validation import (
    _check_sample_weight,
    check_consistent_length,
    check_is_fitted,
)

from ..calibration import METHODS, RigidityCalibrator


class CalibratedMixin:
    """Predictions, their uncertainties and their calibration, for any model with a Hessian.

    Expects ``scale_`` (C**2) and ``noise_variance_`` (sigma**2), numbers or one per target, and
    the parameter `calibration`. Where quadratic forms do not depend on the target they have
    shape (n_samples,), else (n_samples, n_targets).
    """

    calibration: str | None
    scale_: Any
    noise_variance_: Any

    @abstractmethod
    def _global_features(self, X: Any) -> Any:
        """Return what the other hooks take, one row per sample."""

    @abstractmethod
    def _predict(self, features: Any) -> np.ndarray:
        """Return the predictions."""

    @abstractmethod
    def _quad(self, features: Any) -> np.ndarray:
        """Return ``1 / R``."""

    @abstractmethod
    def _covariance(self, features: Any) -> np.ndarray:
        """Return ``G @ inv(H) @ G.T``, a last axis over targets where it depends on them."""

    @abstractmethod
    def _half_covariances(self, features: Any, n_targets: int) -> list[np.ndarray]:
        """Return for every target a matrix Z with ``Z @ Z.T = G @ inv(H) @ G.T``."""

    def predict(self, X: Any, return_std: bool = False, return_cov: bool = False) -> Any:
        """Predict, with the standard deviation or the covariances of the error if asked for.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or structures of environments
            A row per sample, or a sequence of 2-D arrays, one per structure.
        return_std : bool, default=False
            Return the standard deviations as well, ``sqrt(C**2 / R + sigma**2)``.
        return_cov : bool, default=False
            Return the covariances as well.

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_targets)
            Predictions, in units of the target.
        y_std : ndarray of the shape of y
            Only with `return_std`; infinite where nothing pins the prediction.
        y_cov : ndarray of shape (n_samples, n_samples) or (n_samples, n_samples, n_targets)
            Only with `return_cov`.

        Raises
        ------
        ValueError
            If both are asked for, or the scale of the errors is unknown (see `calibration`).
        """
        if return_std and return_cov:
            raise ValueError("return_std and return_cov: at most one of them can be asked for")
        check_is_fitted(self)
        features = self._global_features(X)
        if return_std:
            scale, noise = self._known_scale()
            y, q = self._predict_and_quad(features)
            q = _expand(q, y.ndim)
            # An infinite q stays infinite, whatever it is scaled with.
            with np.errstate(invalid="ignore"):
                variance = np.where(np.isinf(q), np.inf, scale * q + noise)
            return y, np.sqrt(variance)
        y = self._predict(features)
        if not return_cov:
            return y
        scale, noise = self._known_scale()
        cov = _expand(self._covariance(features), y.ndim + 1)
        eye = _expand(np.eye(len(y)), y.ndim + 1)
        return y, scale * cov + noise * eye

    def calibrate(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        method: str = "squared_residuals",
        noise: bool = False,
    ) -> Self:
        r"""Fit the scale of the error bars, ``var = C**2 / R + sigma**2``, to held-out data.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or structures of environments
            Validation samples: not those that the model was fitted to.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Their targets.
        sample_weight : array-like of shape (n_samples,), default=None
            Their weights.
        method : {"squared_residuals", "absolute_residuals", "crps", "nll"}
            How C is determined, see `skrigidity.calibration.fit_scale`.
        noise : bool, default=False
            Fit sigma as well; otherwise it is set to 0.

        Returns
        -------
        self : object
            The same estimator, `scale_` and `noise_variance_` set.
        """
        check_is_fitted(self)
        if method not in METHODS:
            raise ValueError(f"method must be one of {METHODS}, got {method!r}")
        expected, q = self._predict_and_quad(self._global_features(X))
        y = check_array(y, dtype=np.float64, ensure_2d=False, input_name="y")
        if y.shape != expected.shape:
            raise ValueError(f"y must have shape {expected.shape}, got {y.shape}")
        if sample_weight is not None:
            sample_weight = _check_sample_weight(
                sample_weight, y, dtype=np.float64, ensure_non_negative=True
            )
        self._set_scale(y - expected, inverse(q), sample_weight, method, noise)
        return self

    def sample_y(
        self,
        X: Any,
        n_samples: int = 1,
        random_state: Any = None,
        noise: bool = False,
    ) -> np.ndarray:
        """Draw predictions from the posterior: an ensemble of models, correlations included.

        Parameters
        ----------
        X : array-like of shape (n_samples_X, n_features) or structures of environments
            Input as in `predict`.
        n_samples : int, default=1
            Number of draws.
        random_state : int, RandomState instance or None, default=None
            Seed of the draws.
        noise : bool, default=False
            Add sigma, independently to every prediction.

        Returns
        -------
        ndarray of shape (n_samples_X, n_samples) or (n_samples_X, n_targets, n_samples)
            Draws of the predictions.

        Raises
        ------
        ValueError
            If a prediction is not pinned by the data (R = 0): it has no finite spread.
        """
        check_is_fitted(self)
        rng = check_random_state(random_state)
        features = self._global_features(X)
        mean = self._predict(features)
        scale, sigma2 = (np.atleast_1d(v) for v in self._known_scale())
        flat = mean.reshape(len(mean), -1)
        out = np.empty((*flat.shape, n_samples))
        for t, half in enumerate(self._half_covariances(features, flat.shape[1])):
            draws = rng.standard_normal((half.shape[1], n_samples))
            out[:, t] = flat[:, t, None] + np.sqrt(scale[t]) * (half @ draws)
            if noise:
                out[:, t] += np.sqrt(sigma2[t]) * rng.standard_normal((len(flat), n_samples))
        return out[:, 0] if mean.ndim == 1 else out

    def _predict_and_quad(self, features: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return predictions and ``1 / R``; models that can do both at once override this."""
        return self._predict(features), self._quad(features)

    def _set_initial_scale(self, rss: np.ndarray, residual_dof: Any, shape: tuple) -> None:
        """Set C**2 and sigma**2 from a weighted residual sum of squares, as `calibration` says."""
        # Fewer units of weight than parameters tell as little as exactly as many.
        positive = np.asarray(residual_dof) > 0
        variance = np.where(positive, rss / np.where(positive, residual_dof, 1.0), np.inf)
        if self.calibration == "bayesian":
            self.scale_ = self.noise_variance_ = per_target(variance, shape)
        else:
            self.scale_ = per_target(np.ones_like(variance), shape)
            self.noise_variance_ = per_target(np.zeros_like(variance), shape)

    def _known_scale(self) -> tuple[Any, Any]:
        if not (np.isfinite(self.scale_).all() and np.isfinite(self.noise_variance_).all()):
            raise ValueError(
                f"calibration={self.calibration!r} cannot tell the scale of the errors: as many "
                "effective parameters as samples. Call calibrate() with held-out data, or use "
                "calibration='loo' or None"
            )
        return self.scale_, self.noise_variance_

    def _set_scale(
        self,
        residual: np.ndarray,
        rigidity: np.ndarray,
        sample_weight: Any,
        method: str = "squared_residuals",
        noise: bool = False,
    ) -> None:
        fit = RigidityCalibrator(method, noise=noise).fit(residual, rigidity, sample_weight)
        self.scale_, self.noise_variance_ = fit.scale_, fit.noise_variance_
        self.n_excluded_ = fit.n_excluded_

    def _set_left_out_scale(
        self, residual: np.ndarray, q: np.ndarray, sample_weight: Any, shape: tuple[int, ...]
    ) -> None:
        """Set C**2 from rows that were left out: inf where nothing is pinned without them."""
        pinned = np.isfinite(q) & (q > 0)
        if sample_weight is not None:
            pinned = pinned[sample_weight > 0]
        if pinned.any(axis=0).all():
            self._set_scale(residual.reshape(len(q), *shape), inverse(q), sample_weight)
        else:
            self.scale_ = per_target(np.full(residual.shape[1], np.inf), shape)

    def _check_groups(self, X: Any, groups: Any) -> None:
        """Raise where groups do not match the samples, or would do nothing."""
        if groups is None:
            return
        check_consistent_length(X, groups)
        if self.calibration != "loo":
            raise ValueError(
                "groups are left out together by calibration='loo'; they change nothing with "
                f"calibration={self.calibration!r}"
            )


def inverse(q: np.ndarray) -> np.ndarray:
    """Return 1 / q: inf for a prediction that cannot move, 0 for one that nothing pins."""
    with np.errstate(divide="ignore"):
        return 1.0 / q


def per_target(values: Any, shape: tuple[int, ...]) -> Any:
    """Return one number for a single target (`shape` is empty), else an array."""
    values = np.asarray(values, dtype=np.float64)
    return values.reshape(shape) if shape else float(values.ravel()[0])


def _expand(values: np.ndarray, ndim: int) -> np.ndarray:
    """Give target-independent values an axis to broadcast over targets with."""
    return values if values.ndim == ndim else values[..., None]
