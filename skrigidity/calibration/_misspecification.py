"""Error bars of models that are too simple for their data: spreads of parameters in closed form."""

from __future__ import annotations

from numbers import Real
from typing import Any, NamedTuple, Self

import numpy as np
from scipy.linalg import eigh
from sklearn.base import BaseEstimator, MetaEstimatorMixin, RegressorMixin, _fit_context, clone
from sklearn.utils import _safe_indexing, get_tags
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.metadata_routing import UNUSED
from sklearn.utils.validation import check_is_fitted

METHODS = ("ensemble", "hypercube", "jackknife")
# Directions with less than this share of the largest spread are not among the box's (as in the
# authors' package).
_FLAT = 1e-8


class _Box(NamedTuple):
    """A box of parameters in whitened coordinates, of one target."""

    axes: np.ndarray  # (rank, n_axes)
    low: np.ndarray
    high: np.ndarray


class MisspecifiedRegressor(MetaEstimatorMixin, RegressorMixin, BaseEstimator):
    r"""Error bars where the form of the model, and not noise, makes the errors.

    A model with few parameters, fitted to many targets without noise, is pinned firmly by them
    and errs all the same: no rigidity can tell how much. What tells it is how far the parameters
    must move for the model to agree with single targets. By the smallest increase of the loss,
    it agrees with target i after the step

    .. math:: \delta_i = H^{-1} g_i \, r_i / (g_i^T H^{-1} g_i),

    with its residual r and its gradient g. These steps, taken together, are the spread of the
    parameters (pointwise optimal parameter sets, POPS).

    Parameters
    ----------
    estimator : estimator
        One of this package with one Hessian, such as `RigidRidge`, `RigidRidgeCV`,
        `ComponentRidge` or `RigidKernelRidge`.
    method : {"ensemble", "hypercube", "jackknife"}, default="ensemble"
        "ensemble": the steps themselves, of equal weight. "hypercube": the box about them, along
        their principal axes, filled evenly: wider, the more so the more parameters there are.
        "jackknife": the spread of fits that leave out a sample or a group (the sandwich
        estimator HC3, by groups where there are any), which falls with the number of samples
        as the spread of a committee does, and sigma**2 of the estimator for the rest.
    leverage_quantile : float, default=0.5
        Steps are taken for training samples above this quantile of leverages: those of less
        leverage ask for the largest steps and have the least to say. Not for the jackknife.

    Attributes
    ----------
    estimator_ : estimator
        The fitted estimator.
    spread_ : ndarray of shape (n_targets, rank, rank)
        Second moments of the steps, in coordinates in which H is the identity.
    n_features_in_ : int
        Number of features.

    See Also
    --------
    RigidityCalibrator : The scale of error bars by held-out errors, also group by group.

    Notes
    -----
    The variance of a prediction is :math:`g^T \Sigma g`, with :math:`\Sigma` the second moment of
    the steps, plus :math:`C^2 / R` of the estimator for what too few data leave open. All three
    methods are sandwiches :math:`H^{-1} (\sum_i c_i g_i g_i^T) H^{-1}` with different fillings:
    :math:`c_i = (r_i / q_i)^2 / n` for the ensemble, squared left-out residuals for the jackknife.
    They need no more than the training rows times the factor of H. Unlike the authors' package,
    which samples it, moments and extremes of the box are exact here, and its axes are found in
    coordinates in which H is the identity, so that it does not matter in which units features
    are given.

    Of sample weights the average over steps is taken, so that a weight of 2 is a sample repeated.

    References
    ----------
    Swinburne, Perez, Mach. Learn.: Sci. Technol. 6, 015008 (2025); MacKinnon, White, J. Econom.
    29, 305 (1985).

    Examples
    --------
    >>> import numpy as np
    >>> from skrigidity import RigidRidge
    >>> from skrigidity.calibration import MisspecifiedRegressor
    >>> X = np.linspace(-1, 1, 200)[:, None]
    >>> y = np.sin(4 * X[:, 0])  # no noise, but not a line either
    >>> model = MisspecifiedRegressor(RigidRidge(1e-6)).fit(X, y)
    >>> error = np.abs(y - model.predict(X))
    >>> _, std = model.predict(X, return_std=True)
    >>> _, low, high = model.predict(X, return_bounds=True)
    >>> round(float(np.mean(error <= 2 * std)), 2), bool(np.all((low <= y) & (y <= high)))
    (0.98, True)
    >>> _, std = model.estimator_.set_params(calibration="loo").fit(X, y).predict(X, return_std=True)
    """

    _parameter_constraints: dict = {
        "estimator": [HasMethods(["fit", "predict", "prediction_rigidity"])],
        "method": [StrOptions(set(METHODS))],
        "leverage_quantile": [Interval(Real, 0, 1, closed="left")],
    }

    def __init__(
        self, estimator: Any, *, method: str = "ensemble", leverage_quantile: float = 0.5
    ) -> None:
        self.estimator = estimator
        self.method = method
        self.leverage_quantile = leverage_quantile

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: Any, y: Any, sample_weight: Any = None, groups: Any = None) -> Self:
        est = clone(self.estimator).fit(X, y, sample_weight=sample_weight)
        rows, _ = est._asked(X)
        z = est.hessian_.whiten(rows)
        y = np.asarray(y, dtype=float)
        self.estimator_ = est
        n = len(z)
        w = np.ones(n) if sample_weight is None else np.asarray(sample_weight, float)
        self._shape = y.shape[1:]
        if self.method == "jackknife":
            e = est.leave_one_out(X, y, sample_weight, groups=groups).residual.reshape(n, -1)
            g = np.arange(n) if groups is None else np.unique(groups, return_inverse=True)[1]
            steps = []
            for t in range(e.shape[1]):
                u = np.zeros((g.max() + 1, z.shape[1]))
                np.add.at(u, g, (w * e[:, t])[:, None] * z)
                steps.append(u)
            self.spread_ = np.array([u.T @ u for u in steps])
            return self
        e = (y - est.predict(X)).reshape(n, -1)
        q = np.einsum("ij,ij->i", z, z)
        order = np.argsort(-q, kind="stable")
        before = np.cumsum(w[order]) - w[order]
        taken = order[before < (1 - self.leverage_quantile) * w.sum() * (1 - 1e-12)]
        used = (q >= q[taken].min()) & (q > 0) & (w > 0)
        share = w[used] / w[used].sum()
        steps = [z[used] * (r / q[used])[:, None] for r in e[used].T]
        if self.method == "ensemble":
            self._steps = steps
            self.spread_ = np.array([(s * share[:, None]).T @ s for s in steps])
        else:
            self._boxes = [box(s) for s in steps]
            self.spread_ = np.array([moments(b) for b in self._boxes])
        return self

    def predict(self, X, return_std=False, return_bounds=False):
        est = self.estimator_
        if not return_std and not return_bounds:
            return est.predict(X)
        mean = est.predict(X)
        rows, _ = est._asked(X)
        z = est.hessian_.whiten(rows)
        out = [mean]
        if return_std:
            var = np.stack([np.einsum("ij,jk,ik->i", z, S, z) for S in self.spread_], axis=-1)
            q = np.einsum("ij,ij->i", z, z)
            if self.method == "jackknife":
                extra = np.broadcast_to(est.noise_variance_, var.shape)
            else:
                extra = q[:, None] * est.scale_
            out.append(np.sqrt(var + extra).reshape(mean.shape))
        if return_bounds:
            lo, hi = [], []
            for t in range(len(self.spread_)):
                if self.method == "ensemble":
                    a = z @ self._steps[t].T
                    lo.append(a.min(1)); hi.append(a.max(1))
                else:
                    b = self._boxes[t]
                    a = z @ b.axes
                    lo.append(np.minimum(a * b.low, a * b.high).sum(1))
                    hi.append(np.maximum(a * b.low, a * b.high).sum(1))
            out += [mean + np.stack(lo, -1).reshape(mean.shape), mean + np.stack(hi, -1).reshape(mean.shape)]
        return tuple(out)


def box(s):
    values, axes = eigh(s.T @ s)
    axes = axes[:, values > _FLAT * values[-1]]
    along = s @ axes
    return _Box(axes, along.min(0), along.max(0))


def moments(b):
    m = (b.low + b.high) / 2
    S = np.diag((b.high - b.low) ** 2 / 12) + np.outer(m, m)
    return b.axes @ S @ b.axes.T
