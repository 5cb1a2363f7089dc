"""What follows from gradients and a Hessian: rigidities, error bars, what is left out."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn.utils import Bunch, check_array, check_random_state
from sklearn.utils.validation import _num_samples, check_is_fitted

from ..calibration import METHODS
from ..environments import namespace
from .arrays import deviation, expand, follow, same_kind
from .base import Level
from .groups import check_groups
from .model import HessianModel, check_weights, chunkwise, inverse, reshaped
from .summary import ModelSummary


class RigidityMixin(ModelSummary, HessianModel):
    """Rigidities and uncertainties of a model with a Hessian, the same for every family.

    A model sets in `fit`: ``gradients_`` (`Gradients`), its Hessians (`_set_hessians`), and
    ``scale_`` (C**2) and ``noise_variance_`` (sigma**2), numbers or one per target. It defines
    `_parameters` and `_training_rows`. Where its predictions have another form than ``g.T @ w``,
    ``gradients_`` knows the link.

    Examples
    --------
    A model of a single number, the mean of its targets:

    >>> import numpy as np
    >>> from sklearn.base import BaseEstimator
    >>> from skrigidity.gradients import FeatureGradients, RigidityMixin
    >>> from skrigidity.hessian import Rows, choose
    >>> class Mean(RigidityMixin, BaseEstimator):
    ...     def fit(self, X, y):
    ...         X = self._validated(X, reset=True)
    ...         self.gradients_ = FeatureGradients(X.shape[1], fit_intercept=True, aggregate="mean")
    ...         constant = Rows(0 * X, intercept=True, rhs=y)
    ...         self._set_hessians(choose(constant), np.array(0.0))
    ...         return self
    >>> X, y = np.array([[1.0], [2.0], [3.0]]), np.array([1.0, 2.0, 6.0])
    >>> Mean().fit(X, y).prediction_rigidity(0 * X)
    array([3., 3., 3.])
    """

    # --- predictions -----------------------------------------------------------------------

    @chunkwise
    def predict(self, X: Any, return_std: bool = False, return_cov: bool = False) -> Any:
        """Predict, with the standard deviation or the covariances of the error if asked for.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or structures of environments
            A row per sample, or a sequence of 2-D arrays, one per structure.
        return_std : bool, default=False
            Return ``sqrt(C**2 / R + sigma**2)`` as well, times the slope of a link for C.
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

        Examples
        --------
        >>> import numpy as np
        >>> from skrigidity import RigidRidge
        >>> model = RigidRidge().fit(np.eye(3), np.arange(3.0))
        >>> mean, std = model.predict(np.eye(3), return_std=True)
        >>> mean.shape, std.shape
        ((3,), (3,))
        """
        if return_std and return_cov:
            raise ValueError("return_std and return_cov: at most one of them can be asked for")
        check_is_fitted(self)
        if not (return_std or return_cov):
            return self._predict(X)
        self._check_has("error bars")
        scale, noise = self._known_scale()
        if return_std:
            mean, q = self._mean_and_quad(X)
            return mean, deviation(scale, expand(q, mean.ndim), noise)
        rows = self.gradients_.rows(self._validated(X))
        linear = self._times(rows)
        cov = expand(self._per_hessian(lambda factor: factor.cross(rows, rows)), linear.ndim + 1)
        slope = self.gradients_.slope(linear)
        if slope is not None:
            cov = slope[:, None] * cov * slope
        eye = expand(same_kind(np.eye(linear.shape[0]), linear), linear.ndim + 1)
        return self.gradients_.mean(linear), scale * cov + noise * eye

    @chunkwise
    def predict_local(self, X: Any, return_std: bool = False) -> Any:
        """Predict every environment's contribution to its structure.

        Under mean aggregation a structure's prediction is the mean of these; under sums it is
        their sum plus the intercept. Where there is a link, they add up to the linear predictor.

        Parameters
        ----------
        X : structures of environments, or array-like of shape (n_environments, n_features)
            A sequence of 2-D arrays; a plain matrix is one row per environment.
        return_std : bool, default=False
            Return ``sqrt(C**2 / R)`` as well: no sigma, for nobody measures a contribution.

        Returns
        -------
        list of ndarray of shape (n_environments,) or (n_environments, n_targets)
            One array per structure; a single array for a plain matrix. With `return_std` a
            second one of the same shape.

        Examples
        --------
        >>> import numpy as np
        >>> from skrigidity import RigidRidge
        >>> structures = [np.eye(3), np.ones((2, 3)), np.eye(3)[:2]]
        >>> model = RigidRidge().fit(structures, np.arange(3.0))
        >>> [len(share) for share in model.predict_local(structures)]
        [3, 2, 2]
        """
        rows, split = self._asked(X, "local")
        linear = self._times(rows)
        if not return_std:
            return split(linear)
        scale, _ = self._known_scale()
        return split(linear), split(deviation(scale, expand(self._quad(rows), linear.ndim), 0.0))

    @chunkwise
    def predict_components(self, X: Any, components: Any = None, *, level: Level = "global") -> Any:
        """Predict with one component at a time, without the intercept.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or structures of environments
            Input as in `predict`.
        components : list of str, list of int, list of slice or dict of columns, default=None
            Names of the model's own components; block sizes, column specifications, or columns
            by name. None is all components of the model.
        level : {"global", "local"}, default="global"
            Per sample, or per environment.

        Returns
        -------
        ndarray of shape (n_samples, n_components) or (n_samples, n_components, n_targets)
            A list of such arrays, one per structure, for structures and ``level="local"``.

        Examples
        --------
        >>> import numpy as np
        >>> from skrigidity import ComponentRidge
        >>> X = np.random.default_rng(0).standard_normal((20, 3))
        >>> model = ComponentRidge({"a": [0, 1], "b": [2]}).fit(X, X.sum(axis=1))
        >>> model.predict_components(X).shape
        (20, 2)
        """
        return self._by_component(X, components, level, self._times)

    def sample_y(
        self, X: Any, n_samples: int = 1, random_state: Any = None, noise: bool = False
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

        Examples
        --------
        >>> import numpy as np
        >>> from skrigidity import RigidRidge
        >>> model = RigidRidge().fit(np.eye(3), np.arange(3.0))
        >>> model.sample_y(np.eye(3), n_samples=5, random_state=0).shape
        (3, 5)
        """
        rows, _ = self._asked(X)
        self._check_has("draws")
        rng = check_random_state(random_state)
        mean = self._times(rows)
        flat = mean[:, None] if mean.ndim == 1 else mean
        scale, sigma2 = (v if flat is mean else [v] for v in self._known_scale())
        halves = {id(factor): factor.whiten(rows) for factor in self._hessians}
        out = []
        for t in range(flat.shape[1]):
            half = halves[id(self._hessians[0 if self._one_hessian else t])]
            draws = same_kind(rng.standard_normal((half.shape[1], n_samples)), half)
            drawn = flat[:, t][:, None] + scale[t] ** 0.5 * (half @ draws)
            if noise:
                more = same_kind(rng.standard_normal((len(rows), n_samples)), half)
                drawn = drawn + sigma2[t] ** 0.5 * more
            out.append(drawn)
        return out[0] if mean.ndim == 1 else namespace(mean).stack(out, axis=1)

    # --- rigidities ------------------------------------------------------------------------

    @chunkwise
    def prediction_rigidity(self, X: Any) -> Any:
        """Prediction rigidity (PR) of every sample, ``R = 1 / (g.T @ inv(H) @ g)``.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or structures of environments
            Input as in `predict`.

        Returns
        -------
        ndarray of shape (n_samples,), (n_samples, n_targets) or (n_samples, n_classes)
            0 where nothing pins a prediction, inf where it cannot move; one column per target
            only where their regularization differs. Where there is a link, of the linear
            predictor; of centred logits for more than two classes.

        References
        ----------
        Chong et al., Faraday Discuss. 256, 322 (2025), equation 1.
        """
        rows, _ = self._asked(X)
        return inverse(self._quad(rows))

    @chunkwise
    def local_rigidity(self, X: Any) -> Any:
        """Local prediction rigidity (LPR) of every environment.

        Parameters
        ----------
        X : structures of environments, or array-like of shape (n_environments, n_features)
            A sequence of 2-D arrays; a plain matrix is one row per environment.

        Returns
        -------
        list of ndarray of shape (n_environments,)
            One array per structure; a single array for a plain matrix.

        References
        ----------
        Chong et al., J. Chem. Theory Comput. 19, 8020 (2023).
        """
        rows, split = self._asked(X, "local")
        return split(inverse(self._quad(rows)))

    @chunkwise
    def component_rigidity(self, X: Any, components: Any = None, *, level: Level = "global") -> Any:
        """Component-wise prediction rigidity (CPR), or its local version.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or structures of environments
            Input as in `predict`.
        components : list of str, list of int, list of slice or dict of columns, default=None
            Names of the model's own components; block sizes, column specifications, or columns
            by name. None is all components of the model.
        level : {"global", "local"}, default="global"
            Per sample, or per environment.

        Returns
        -------
        ndarray of shape (n_samples, n_components)
            Infinite where a component vanishes. A list of such arrays, one per structure, for
            structures and ``level="local"``.

        References
        ----------
        Chong et al., Faraday Discuss. 256, 322 (2025), section 2.
        """
        return self._by_component(X, components, level, lambda rows: inverse(self._quad(rows)))

    def combination_rigidity(self, X: Any, weights: Any) -> Any:
        """Rigidity of linear combinations of predictions: differences, reaction energies.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or structures of environments
            Input as in `predict`.
        weights : array-like of shape (n_samples,) or (n_combinations, n_samples)
            Coefficients of the predictions.

        Returns
        -------
        float or ndarray of shape (n_combinations,)
            Rigidities; one more axis where `prediction_rigidity` has one.

        Examples
        --------
        >>> import numpy as np
        >>> from skrigidity import RigidRidge
        >>> model = RigidRidge().fit(np.eye(3), np.arange(3.0))
        >>> difference = model.combination_rigidity(np.eye(3)[:2], [1.0, -1.0])
        >>> bool(difference < min(model.prediction_rigidity(np.eye(3)[:2])))
        True
        """
        X, _ = self._checked(X)
        n = _num_samples(X)
        W = follow(weights, X, "weights")
        if W is weights:
            W = check_array(W, dtype=np.float64, ensure_2d=False, input_name="weights")
        if W.shape[-1] != n or W.ndim > 2:
            raise ValueError(f"weights must have one entry per sample, {n}, got shape {W.shape}")
        R = inverse(self._quad(self.gradients_.combined(X, W if W.ndim == 2 else W[None, :])))
        if W.ndim == 2:
            return R
        return R[0] if R.ndim == 1 else R[0, :]

    def rigidity_with(
        self, X: Any, X_added: Any, sample_weight: Any = None, *, level: Level = "global"
    ) -> Any:
        """Return rigidities after adding samples to the training set; no labels needed.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or structures of environments
            Whose rigidity is asked for.
        X_added : array-like of shape (n_added, n_features) or structures of environments
            What is added. Where the curvature of the loss depends on the target, it is the one
            to expect (the Fisher information) at the fitted parameters.
        sample_weight : array-like of shape (n_added,), default=None
            Weights of the added samples.
        level : {"global", "local"}, default="global"
            Rigidities of samples, or of environments.

        Returns
        -------
        ndarray or list of ndarray, as of `prediction_rigidity` or `local_rigidity`
            Rigidities, never below those before.
        """
        added, _ = self._checked(X_added, name="X_added")
        weight = check_weights(sample_weight, _num_samples(added), X=added)
        more, gradients = self.gradients_.joined(added, weight)
        X, split = self._checked(X, level)
        updated = {id(factor): factor.update(more) for factor in self._hessians}
        return split(inverse(self._quad(gradients.rows(X, level), updated)))

    # --- what is known of errors -----------------------------------------------------------

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
        object
            The same estimator, `scale_` and `noise_variance_` set.

        Examples
        --------
        >>> import numpy as np
        >>> from skrigidity import RigidRidge
        >>> X = np.random.default_rng(0).standard_normal((60, 3))
        >>> y = X[:, 0] + 0.1 * np.random.default_rng(1).standard_normal(60)
        >>> model = RigidRidge().fit(X[:30], y[:30]).calibrate(X[30:], y[30:])
        >>> bool(model.scale_ > 0)
        True
        """
        check_is_fitted(self)
        self._check_has("a scale of errors")
        if method not in METHODS:
            raise ValueError(f"method must be one of {METHODS}, got {method!r}")
        expected, q = self._mean_and_quad(X)
        y = follow(y, expected, "y")
        y = check_array(y, dtype=namespace(expected).float64, ensure_2d=False, input_name="y")
        if y.shape != expected.shape:
            raise ValueError(f"y must have shape {expected.shape}, got {y.shape}")
        weight = check_weights(sample_weight, y.shape[0], X=y)
        self._set_scale(y - expected, q, weight, method, noise)
        return self

    def leave_one_out(self, X: Any, y: Any, sample_weight: Any = None, groups: Any = None) -> Bunch:
        """Leave out every sample, or every group, of the training set, without refitting.

        Exact for squared losses. For others it is one Newton step from the optimum (approximate
        leave-one-out: Rad and Maleki, J. R. Stat. Soc. B 82, 965 (2020)).

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or structures of environments
            The training set, as in `fit`. A sample is left out as a whole, whatever its weight.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Its targets.
        sample_weight : array-like of shape (n_samples,), default=None
            Its weights.
        groups : array-like of shape (n_samples,), default=None
            Samples of one group are left out together (frames of one trajectory).

        Returns
        -------
        Bunch
            ``prediction`` and ``residual`` (target minus prediction) of the shape of `y`,
            ``rigidity`` as of `prediction_rigidity`, all of a model that has not seen the sample,
            and ``n_excluded``, the number of samples whose rigidity is then 0.

        Raises
        ------
        ValueError
            If these are other data than the model was fitted to.
        TypeError
            If no closed form is known for the model.

        Examples
        --------
        >>> import numpy as np
        >>> from skrigidity import RigidRidge
        >>> model = RigidRidge().fit(np.eye(3), np.arange(3.0))
        >>> left = model.leave_one_out(np.eye(3), np.arange(3.0))
        >>> left.prediction.shape, left.rigidity.shape
        ((3,), (3,))
        """
        check_is_fitted(self)
        self.gradients_.check_leave_out()
        rows, shape = self._training_rows(X, y, sample_weight, reset=False)
        self._check_same_data(rows)
        n = len(rows) // self.gradients_.n_outputs
        residual, q = self._leave_out(rows, check_groups(groups, n))
        prediction = self.gradients_.mean(reshaped(rows.rhs - residual, shape))
        R, xp = inverse(q), namespace(q)
        lost = R == 0 if R.ndim == 1 else xp.any(R == 0, axis=1)
        target = self._observed(y, rows, shape)
        return Bunch(
            prediction=prediction,
            residual=target - prediction,
            rigidity=R,
            n_excluded=int(xp.count_nonzero(lost)),
        )
