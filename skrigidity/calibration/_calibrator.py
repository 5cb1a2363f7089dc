"""RigidityCalibrator: error bars for any model, from pairs of residuals and rigidities."""

from __future__ import annotations

import warnings
from functools import partial
from numbers import Integral
from typing import Any, NamedTuple, Self

import numpy as np
from sklearn.base import BaseEstimator, _fit_context
from sklearn.utils import check_array
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.metadata_routing import UNUSED
from sklearn.utils.validation import _check_sample_weight, check_consistent_length, check_is_fitted

from ._isotonic import IsotonicMap, fit_isotonic
from ._scale import METHODS, Scale, quad_of, scale_from_quad


class _Pairs(NamedTuple):
    """Validated input of `fit`, a column per target."""

    residual: np.ndarray
    quad: np.ndarray  # 1 / R
    weight: np.ndarray

    def usable(self) -> np.ndarray:
        known = (self.quad > 0) & np.isfinite(self.quad)
        return known & (self.weight > 0)[:, None]

    def count(self, rows: Any) -> int:
        """Return the number of usable rows, of the target that has fewest."""
        return int(self.usable()[rows].sum(axis=0).min())


class RigidityCalibrator(BaseEstimator):
    r"""Turn rigidities into error bars: fit ``var = C**2 / R + sigma**2`` to held-out residuals.

    Knows nothing of the model behind the numbers: any pairs of residuals and rigidities will do,
    those of a neural network's last layer as well as leave-one-out pairs of a linear model. (The
    estimators of this package have a method `calibrate`, which does this for one global C.)

    Parameters
    ----------
    method : str, default="squared_residuals"
        How C is determined, as in `fit_scale`: "squared_residuals", "absolute_residuals", "crps"
        or "nll". Squared residuals are the Gaussian maximum
        likelihood; absolute residuals and the CRPS heed large errors less.
    noise : bool, default=False
        Fit sigma as well: what of the error is there however firmly a prediction is pinned.
        Otherwise it is 0.
    isotonic : bool, default=False
        Replace 1 / R by a non-decreasing function of it, the same for all groups, where errors
        do not grow in proportion to it. It has a floor of its own, so that `noise` must be False.
    min_samples : int, default=50
        Fewest rows that a group needs for a C of its own, and every step of the isotonic map. C²
        from n rows of Gaussian errors has a relative standard error of ``sqrt(2 / n)``: 0.2 for
        50 rows, 0.1 for 200. Rows count as one each, whatever their weight. `fit` warns of groups
        that have fewer. Eight to sixteen labelled structures of a new kind were enough for error
        bars that hold what they should, where C of the training set was up to four times too
        small: see the page on predictions out of distribution in the documentation.
    handle_unknown : {"error", "pooled"}, default="error"
        What a group that `fit` has not seen gets: a ValueError, or the C of all rows together.

    Attributes
    ----------
    scale_ : float or ndarray
        C**2, in squared units of the target times units of the rigidity (with `isotonic`, a
        factor of the map). One per target where residuals have several, of shape (n_targets,);
        with groups one row per group, of shape (n_groups,) or (n_groups, n_targets).
    noise_variance_ : float or ndarray of the shape of `scale_`
        sigma**2.
    pooled_scale_, pooled_noise_variance_ : float or ndarray of shape (n_targets,)
        The same of all rows together: what groups below `min_samples` get.
    groups_ : ndarray of shape (n_groups,) or None
        Labels of the groups, sorted; None where there are none.
    n_samples_ : int or ndarray of shape (n_groups,)
        Number of rows that C was fitted to; groups with fewer than `min_samples` share the
        pooled one.
    n_excluded_ : int
        Number of rows that were left out because a rigidity is 0 (nothing pins the prediction)
        or infinite (it cannot move).
    isotonic_ : list of IsotonicMap, or None
        The map of every target.

    See Also
    --------
    fit_scale : The same for one set of pairs, as a function.

    Notes
    -----
    Residuals must be held-out: of samples that the model has not been fitted to, or, for linear
    and kernel models, of `leave_one_out`. Training residuals of a neural network are too small,
    and so would be the error bars: C² came out at 0.13 to 0.26 of the right one on QM7, and
    leave-one-out of the last layer does not help, as its features were fitted to the same
    samples. Take at least 200 validation samples, from other trajectories than the training set
    where there are trajectories.

    This is not an estimator of (X, y): `fit` takes residuals and rigidities. Parameters, cloning
    and pickling are scikit-learn's.

    References
    ----------
    Chong, Bigi, Grasselli, Loche, Kellner, Ceriotti, Faraday Discuss. 256, 322 (2025), section 3;
    Bigi, Chong, Ceriotti, Grasselli, Mach. Learn.: Sci. Technol. 5, 045018 (2024); Barlow, Brunk,
    J. Am. Stat. Assoc. 67, 140 (1972).

    Examples
    --------
    >>> import numpy as np
    >>> from skrigidity.calibration import RigidityCalibrator
    >>> rng = np.random.default_rng(0)
    >>> rigidity = 10 ** rng.uniform(-1, 3, 2000)
    >>> element = np.where(np.arange(2000) < 1000, "C", "H")
    >>> residual = np.where(element == "C", 3.0, 1.0) / np.sqrt(rigidity)
    >>> residual *= rng.standard_normal(2000)
    >>> calibrator = RigidityCalibrator().fit(residual, rigidity, groups=element)
    >>> dict(zip(calibrator.groups_.tolist(), calibrator.scale_.round(1).tolist()))
    {'C': 8.6, 'H': 1.0}
    >>> calibrator.predict_std([9.0, 9.0, 0.0], groups=["C", "H", "H"]).round(2)
    array([0.98, 0.34,  inf])
    """

    _parameter_constraints: dict = {
        "method": [StrOptions(set(METHODS))],
        "noise": ["boolean"],
        "isotonic": ["boolean"],
        "min_samples": [Interval(Integral, 1, None, closed="left")],
        "handle_unknown": [StrOptions({"error", "pooled"})],
    }

    # Neither is metadata: they are what `fit` fits.
    __metadata_request__fit = {"residual": UNUSED, "rigidity": UNUSED}

    def __init__(
        self,
        method: str = "squared_residuals",
        *,
        noise: bool = False,
        isotonic: bool = False,
        min_samples: int = 50,
        handle_unknown: str = "error",
    ) -> None:
        self.method = method
        self.noise = noise
        self.isotonic = isotonic
        self.min_samples = min_samples
        self.handle_unknown = handle_unknown

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(
        self, residual: Any, rigidity: Any, sample_weight: Any = None, groups: Any = None
    ) -> Self:
        """Fit C, and sigma or a monotone map where asked for.

        Parameters
        ----------
        residual : array-like of shape (n_rows,) or (n_rows, n_targets)
            Target minus prediction, of held-out samples.
        rigidity : array-like of shape (n_rows,) or (n_rows, n_targets)
            Rigidities of the same predictions; one column serves all targets.
        sample_weight : array-like of shape (n_rows,), default=None
            Weights of the rows.
        groups : array-like of shape (n_rows,), default=None
            Labels, such as chemical elements or phases: one C for each of them.

        Returns
        -------
        object
            Fitted calibrator.

        Raises
        ------
        ValueError
            If lengths differ, a rigidity is negative or nan, no row has a positive, finite one,
            or a residual of such a row is not finite; if `isotonic` goes with `noise`, or finds
            too few rows.

        Examples
        --------
        >>> from skrigidity.calibration import RigidityCalibrator
        >>> float(RigidityCalibrator().fit([1.0, -1.0], [4.0, 4.0]).scale_)
        4.0
        """
        if self.noise and self.isotonic:
            raise ValueError("isotonic=True has a floor of its own: noise must be False")
        residual = _checked(residual, "residual")
        quad = quad_of(_checked(rigidity, "rigidity"))
        check_consistent_length(residual, quad)
        shape = residual.shape[1:]
        residual = residual.reshape(len(residual), -1)
        quad = _per_target(quad, residual.shape[1])
        weight = np.ones(len(residual))
        if sample_weight is not None:
            weight = _check_sample_weight(
                sample_weight, residual, dtype=np.float64, ensure_non_negative=True
            )
        pairs = _Pairs(residual, quad, weight)
        self.groups_, code = None, np.full(len(residual), -1)
        if groups is not None:
            self.groups_, code = np.unique(_labels(groups, len(residual)), return_inverse=True)
        self._several, self.isotonic_ = bool(shape), None
        if self.isotonic:
            scale = np.array([fit.variance for fit in self._scales(pairs, code)])
            self.isotonic_ = self._maps(pairs, scale[code])
            # What cannot move stays out, though the map has a floor.
            pairs = pairs._replace(quad=np.where(quad > 0, self._mapped(quad), 0.0))
        *own, pooled = self._scales(pairs, code)
        self.pooled_scale_, self.pooled_noise_variance_ = (
            v if shape else float(v[0]) for v in pooled[:2]
        )
        self.scale_, self.noise_variance_ = self.pooled_scale_, self.pooled_noise_variance_
        self.n_samples_: Any
        self.n_excluded_, self.n_samples_ = pooled.n_excluded, pairs.count(slice(None))
        if self.groups_ is not None:
            both = np.array([fit[:2] for fit in own]).reshape(-1, 2, *shape)
            self.scale_, self.noise_variance_ = both[:, 0], both[:, 1]
            self.n_samples_ = np.array([pairs.count(code == g) for g in range(len(own))])
            few = self.groups_[self.n_samples_ < self.min_samples]
            if len(few):
                warnings.warn(
                    f"groups with fewer than min_samples={self.min_samples} usable rows get the C "
                    f"of all rows together: {_listed(few)}. C of 10 rows of their own is off by a "
                    "fifth, that of another kind by any factor: consider a smaller min_samples",
                    UserWarning,
                    stacklevel=2,
                )
        return self

    def predict_variance(self, rigidity: Any, groups: Any = None) -> np.ndarray:
        """Return the variance of the error, ``C**2 / R + sigma**2``.

        Parameters
        ----------
        rigidity : array-like of shape (n_rows,) or (n_rows, n_targets)
            Rigidities of predictions.
        groups : array-like of shape (n_rows,), default=None
            Their labels, where `fit` had any.

        Returns
        -------
        ndarray of shape (n_rows,) or (n_rows, n_targets)
            Variances, a column per target where residuals had several: infinite where R = 0.

        Raises
        ------
        ValueError
            If a rigidity is negative or nan, labels are missing or not asked for, or a label is
            new and ``handle_unknown="error"``.

        Examples
        --------
        >>> from skrigidity.calibration import RigidityCalibrator
        >>> RigidityCalibrator().fit([1.0, -1.0], [4.0, 4.0]).predict_variance([2.0])
        array([2.])
        """
        check_is_fitted(self)
        quad = quad_of(_checked(rigidity, "rigidity"))
        quad = self._mapped(_per_target(quad, np.size(self.pooled_scale_)))
        code = self._code(groups, len(quad))
        # An infinite q stays infinite, whatever it is scaled with.
        with np.errstate(invalid="ignore"):
            variance = self._by_row("scale_", code) * quad + self._by_row("noise_variance_", code)
        variance = np.where(np.isinf(quad), np.inf, variance)
        return variance if self._several else variance[:, 0]

    def predict_std(self, rigidity: Any, groups: Any = None) -> np.ndarray:
        """Return the standard deviation of the error.

        Parameters
        ----------
        rigidity : array-like of shape (n_rows,) or (n_rows, n_targets)
            Rigidities of predictions.
        groups : array-like of shape (n_rows,), default=None
            Their labels, where `fit` had any.

        Returns
        -------
        ndarray of shape (n_rows,) or (n_rows, n_targets)
            Standard deviations, in units of the target: the root of `predict_variance`.

        Examples
        --------
        >>> from skrigidity.calibration import RigidityCalibrator
        >>> RigidityCalibrator().fit([1.0, -1.0], [4.0, 4.0]).predict_std([1.0])
        array([2.])
        """
        return np.sqrt(self.predict_variance(rigidity, groups))

    # --- internals -------------------------------------------------------------------------

    def _scales(self, pairs: _Pairs, code: np.ndarray) -> list[Scale]:
        """Return the scales of every group; the last are those of all rows."""
        fit = partial(scale_from_quad, method=self.method, noise=self.noise)
        pooled = fit(*pairs)
        members = [code == g for g in range(code.max() + 1)]
        own = [
            fit(*(v[rows] for v in pairs)) if pairs.count(rows) >= self.min_samples else pooled
            for rows in members
        ]
        return [*own, pooled]

    def _maps(self, pairs: _Pairs, scale: np.ndarray) -> list[IsotonicMap]:
        """Fit a map per target to residuals in units of their group's C."""
        square = (pairs.residual / np.sqrt(np.where(scale > 0, scale, 1.0))) ** 2
        usable = pairs.usable()
        return [
            fit_isotonic(square[u, t], pairs.quad[u, t], pairs.weight[u], int(self.min_samples))
            for t, u in enumerate(usable.T)
        ]

    def _mapped(self, quad: np.ndarray) -> np.ndarray:
        if self.isotonic_ is None:
            return quad
        return np.column_stack([f(quad[:, t]) for t, f in enumerate(self.isotonic_)])

    def _code(self, groups: Any, n: int) -> np.ndarray:
        """Return the number of every row's group, -1 for the scale of all rows together."""
        if self.groups_ is None:
            if groups is not None:
                raise ValueError("groups must be None: this calibrator was fitted without")
            return np.full(n, -1)
        if groups is None:
            raise ValueError(f"groups must be given: fitted with {_listed(self.groups_)}")
        place = {label: i for i, label in enumerate(self.groups_.tolist())}
        labels = _labels(groups, n).tolist()
        code = np.array([place.get(label, -1) for label in labels], dtype=int)
        if (code < 0).any() and self.handle_unknown == "error":
            first = labels[int(np.argmax(code < 0))]
            raise ValueError(
                f"groups has {first!r}, which is not among those fitted: {_listed(self.groups_)}; "
                "handle_unknown='pooled' gives it the scale of all rows together"
            )
        return code

    def _by_row(self, name: str, code: np.ndarray) -> np.ndarray:
        own, pooled = getattr(self, name), np.atleast_1d(getattr(self, f"pooled_{name}"))
        rows = pooled[None]
        if self.groups_ is not None:
            rows = np.vstack([own.reshape(-1, len(pooled)), rows])
        return rows[code]


def _checked(values: Any, name: str) -> np.ndarray:
    return check_array(
        values, dtype=np.float64, ensure_2d=False, ensure_all_finite=False, input_name=name
    )


def _per_target(quad: np.ndarray, n_targets: int) -> np.ndarray:
    if quad.ndim == 2 and quad.shape[1] not in {1, n_targets}:
        raise ValueError(
            f"rigidity must have one column or one per target, {n_targets}, got shape {quad.shape}"
        )
    return np.broadcast_to(quad.reshape(len(quad), -1), (len(quad), n_targets))


def _labels(groups: Any, n: int) -> np.ndarray:
    labels = np.asarray(groups)
    if labels.shape != (n,):
        raise ValueError(f"groups must have one label per row, shape ({n},), got {labels.shape}")
    if any(label is None or label != label for label in labels.tolist()):
        raise ValueError("groups must have no missing label")
    if len({isinstance(label, str) for label in labels.tolist()}) > 1:
        raise ValueError("groups must be labels of one type, either strings or numbers")
    return labels


def _listed(labels: np.ndarray) -> str:
    shown = ", ".join(map(repr, labels[:10].tolist()))
    return shown if len(labels) <= 10 else f"{shown}, ... ({len(labels)} groups)"
