"""Arrays of other libraries than NumPy, in models: what is checked, and what is made of them.

With ``sklearn.set_config(array_api_dispatch=True)`` a model computes where its input is. These
functions are all that tells such input from that of the host.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from sklearn import get_config
from sklearn.utils import _array_api, get_tags
from sklearn.utils.validation import validate_data

from ..calibration import Scale
from ..environments import array_namespace, namespace
from ..hessian.array_api import ArrayPath, ArrayRows, like


def same_kind(values: Any, array: Any) -> Any:
    """Return numbers of the host, or an array, as an array of the kind of another one."""
    xp = array_namespace(array)
    if array_namespace(values) is not None:
        return values
    return np.asarray(values) if xp is None else like(values, array, xp)


def follow(values: Any, X: Any, name: str) -> Any:
    """Return values of any kind in float64 where X is, as scikit-learn does: all follow X."""
    xp = array_namespace(X)
    if array_namespace(values) is None and xp is None:
        return values
    if not hasattr(values, "dtype"):
        values = np.asarray(values, dtype=np.float64)
    if not hasattr(_array_api, "move_to"):
        if namespace(values) is not namespace(X):
            raise ValueError(f"{name} must be an array of the same kind as X")
        return values if xp is None else xp.astype(values, xp.float64)
    target = np if xp is None else xp
    moved = _array_api.move_to(
        values, xp=_array_api.get_namespace(X)[0], device=_array_api.device(X)
    )
    return moved if xp is None else target.astype(moved, target.float64)


def deviation(scale: Any, q: Any, noise: Any) -> Any:
    """Return ``sqrt(scale * q + noise)``: infinite where nothing pins the prediction."""
    xp = namespace(q)
    # An infinite q stays infinite, whatever it is scaled with.
    with np.errstate(invalid="ignore"):
        variance = xp.where(xp.isinf(q), np.inf, scale * q + noise)
    zero = xp.any(xp.reshape(variance == 0, (variance.shape[0], -1)), axis=1)
    fixed = int(xp.count_nonzero(zero))
    if fixed and bool(xp.any(xp.asarray(scale) > 0)):
        warnings.warn(
            f"gradients are 0 for {fixed} of the predictions: they cannot move (R = inf), and "
            "their error bars are 0 whatever their error. A composition column or an intercept "
            "gives them one",
            UserWarning,
            stacklevel=4,
        )
    return xp.sqrt(variance)


def expand(values: np.ndarray, ndim: int) -> np.ndarray:
    """Give target-independent values an axis to broadcast over targets with."""
    return values if values.ndim == ndim else values[..., None]


def device_matrix(estimator: Any, X: Any, xp: Any, *, reset: bool) -> Any:
    """Return a checked matrix where it is.

    Raises
    ------
    ValueError
        If the estimator takes NumPy arrays alone, or the device has no float64 numbers, in which
        Hessians are formed and factorized.
    """
    if not get_tags(estimator).array_api_support:
        raise ValueError(f"{type(estimator).__name__} takes NumPy arrays, got {type(X)}")
    check_float64(X, xp)
    return validate_data(estimator, X, reset=reset, dtype=[xp.float64, xp.float32])


def check_float64(X: Any, xp: Any) -> None:
    """Raise ValueError unless the device of an array has float64."""
    try:
        xp.zeros(1, dtype=xp.float64, device=X.device)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"X is on a device without float64 ({X.device}), in which Hessians are formed and "
            "factorized: move it to another device, or to the CPU"
        ) from error


def device_targets(X: Any, y: Any, xp: Any) -> Any:
    """Return finite float64 targets on the device of X, (n_samples,) or (n_samples, n_targets)."""
    y = follow(y, X, "y")
    if y.ndim not in (1, 2) or y.shape[0] != X.shape[0]:
        raise ValueError(
            f"y must have one target or one row of targets for each of the {X.shape[0]} samples, "
            f"got shape {tuple(y.shape)}"
        )
    if not bool(xp.all(xp.isfinite(y))):
        raise ValueError(
            "y must have a finite target for every sample: it contains NaN or infinity"
        )
    return y


def device_weights(sample_weight: Any, X: Any, xp: Any, name: str = "sample_weight") -> Any:
    """Return finite float64 weights on the device of X, none negative, not all zero; or None."""
    if sample_weight is None:
        return None
    if isinstance(sample_weight, int | float):
        return xp.full((X.shape[0],), float(sample_weight), dtype=xp.float64, device=X.device)
    weight = follow(sample_weight, X, name)
    if weight.shape != (X.shape[0],):
        raise ValueError(f"{name} must have shape ({X.shape[0]},), got {tuple(weight.shape)}")
    if not bool(xp.all(xp.isfinite(weight) & (weight >= 0))):
        raise ValueError(f"{name} must be finite, with no negative entry")
    if not bool(xp.any(weight > 0)):
        raise ValueError(f"{name} must not be zero throughout")
    return weight


def check_same_namespace(estimator: Any, X: Any, fitted: Any, method: str) -> None:
    """Raise ValueError unless X is an array of the kind, and on the device, of a fitted one.

    Parameters
    ----------
    estimator : estimator
        For its name.
    X : array-like
        What a method was given.
    fitted : array
        An array that `fit` has made.
    method : str
        The method.
    """
    xp, fitted_xp = array_namespace(X), _kind(fitted)
    if xp is None and fitted_xp is None:
        return
    if xp is not None and _kind(X) == fitted_xp and X.device == fitted.device:
        return
    name, dispatch = type(estimator).__name__, get_config()["array_api_dispatch"]
    raise ValueError(
        f"Inputs passed to {name}.{method}() and other methods must use the same namespace and the "
        f"same device as those passed to fit(). It was fitted to {type(fitted)}, got {type(X)}"
        + ("" if dispatch else " while scikit-learn's array_api_dispatch is off")
    )


def _kind(array: Any) -> Any:
    return None if isinstance(array, np.ndarray | np.generic) else type(array)


def device_leave_out(rows: ArrayRows, prior: Any, groups: Any) -> Any:
    """Return residuals and quadratic forms of rows that are left out one by one."""
    if groups is not None:
        raise ValueError("groups are left out of NumPy arrays alone, not on a device")
    if rows.seen() is not rows:
        raise ValueError("sample_weight must be positive for leaving samples out on a device")
    left = ArrayPath(rows, prior.gamma).leave_out([prior.alpha], units=False)
    return left._replace(residual=left.residual[:, 0, :], quad=left.quad[:, 0])


def device_scale(residual: Any, q: Any, sample_weight: Any, *, method: str, noise: bool) -> Scale:
    """Return the scale of errors by moments, as `skrigidity.calibration.scale_from_quad`."""
    if noise or method == "crps":
        raise ValueError(
            f"method={method!r} with noise={noise}: on a device, scales are fitted by "
            "'squared_residuals', 'absolute_residuals' or 'nll' without noise"
        )
    xp, one = namespace(residual), residual.ndim == 1
    e = residual[:, None] if one else residual
    q = xp.broadcast_to(q[:, None] if q.ndim == 1 else q, e.shape)
    usable = xp.isfinite(q) & (q > 0)
    weight = xp.ones_like(e) if sample_weight is None else sample_weight[:, None] * xp.ones_like(e)
    weight = xp.where(usable, weight, xp.zeros_like(e))
    total = xp.sum(weight, axis=0)
    if not bool(xp.all(total > 0)):
        raise ValueError("rigidity must be positive and finite in at least one row with weight")
    z = xp.where(usable, xp.abs(e) / xp.sqrt(xp.where(usable, q, xp.ones_like(q))), 0.0)
    if method == "absolute_residuals":
        variance = np.pi / 2 * (xp.sum(weight * z, axis=0) / total) ** 2
    else:
        variance = xp.sum(weight * z**2, axis=0) / total
    lost = int(xp.count_nonzero(~xp.all(usable, axis=1)))
    if one:
        return Scale(float(variance[0]), 0.0, lost)
    return Scale(variance, xp.zeros_like(variance), lost)
