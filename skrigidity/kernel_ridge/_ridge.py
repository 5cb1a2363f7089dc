"""RigidKernelRidge: kernel ridge regression that knows how firmly it is pinned."""

from __future__ import annotations

from numbers import Real
from typing import Any, Self

import numpy as np
from sklearn.base import _fit_context
from sklearn.metrics.pairwise import PAIRWISE_KERNEL_FUNCTIONS
from sklearn.utils._param_validation import Interval, StrOptions

from ..environments import array_namespace
from ..gradients import KernelGradients, PrecomputedGradients, TrainingKernel, per_target
from ..hessian import DualFactor
from ._base import RigidKernelRidgeBase
from ._on_device import fit_on_device


class RigidKernelRidge(RigidKernelRidgeBase):
    r"""Kernel ridge regression with prediction rigidities and calibrated uncertainties.

    Predicts what scikit-learn's `KernelRidge` predicts, and how firmly the training samples pin
    it. With K the kernel of the training samples and S the diagonal matrix of their weights,

    .. math::

        1/R = [k(*,*) - k_*^T (K + \alpha S^{-1})^{-1} k_*] / \alpha,

    so that the posterior variance of a Gaussian process with the same kernel is
    :math:`\alpha / R`. The targets may be those of structures made of environments: their kernel
    is the mean or the sum of the kernel over all pairs of environments, evaluated in blocks.

    Parameters
    ----------
    alpha : float or array-like of shape (n_targets,), default=1.0
        Regularization strength, positive.
    kernel : str, callable or dict, default="linear"
        As in scikit-learn's `KernelRidge`: the name of a kernel, a function of two rows, an
        object from `sklearn.gaussian_process.kernels`, or "precomputed". A dict of such kernels
        by name makes a model of components: its kernel is their sum.
    gamma, degree, coef0 : float or dict, default=None, 3, 1
        Parameters of the named kernels, as in `sklearn.metrics.pairwise`. Where the model has
        components, dicts by their names are understood; `set_params` and grids reach their
        entries as ``gamma__<name>``.
    kernel_params : dict, default=None
        Parameters of a callable; of callables by component, where `kernel` is a dict.
    components : dict of columns, list of int, list of slice, default=None
        Columns that the kernel of each component sees: by name, or as block sizes. None, with a
        dict of kernels: each sees all columns. With a single kernel, it is used for each block.
        Components may share columns if given by name.
    aggregate : {"mean", "sum"}, default="mean"
        How the environments of a structure make up its kernel.
    center_y : bool, default=False
        Subtract the weighted mean of y before the fit and add it back to predictions. The mean
        counts as known: no rigidity depends on it. scikit-learn's `KernelRidge` does not center.
    calibration : {"bayesian", "loo"} or None, default="bayesian"
        Scale of the error bars, ``var = C**2 / R + sigma**2``, as in `RigidRidge`.
    weight_type : {"frequency", "precision"}, default="frequency"
        Whether a sample weight counts repetitions of a sample, or is its inverse variance.

    Attributes
    ----------
    dual_coef_ : ndarray of shape (n_samples,) or (n_samples, n_targets)
        Weights of the training samples in kernel space. Samples of weight zero are left out.
    X_fit_ : ndarray, CSR matrix or Environments
        The training samples; with ``kernel="precomputed"`` their kernel.
    hessian_ : skrigidity.hessian.DualFactor
        Factorized ``K + alpha / S``; with an array `alpha`, ``hessian_.at(alpha)`` is the one
        for one alpha.
    component_names_ : list of str
        Names of the components; empty where there are none.
    y_mean_ : float or ndarray of shape (n_targets,)
        What is added to every prediction; 0 without `center_y`.
    scale_ : float or ndarray of shape (n_targets,)
        C**2.
    noise_variance_ : float or ndarray of shape (n_targets,)
        sigma**2.
    effective_dof_ : float or ndarray of shape (n_targets,)
        Effective number of parameters.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the features, where the model was fitted on a DataFrame.

    See Also
    --------
    skrigidity.linear_model.RigidRidge : The model to take where features are at hand.

    Notes
    -----
    Memory and time grow as the square and the cube of the number of training samples. For large
    sets, map environments to features that approximate the kernel, and fit a linear model::

        make_pipeline(
            PerEnvironment(Nystroem(kernel="rbf", gamma=0.1, n_components=1000)),
            RigidRidge(alpha=1.0, fit_intercept=False),
        )

    With as many components as training environments both agree; with fewer, rigidities come out
    too high far from the environments that were drawn, where the features vanish.

    The difference in 1/R cancels where predictions are pinned firmly: ``hessian_.info.accuracy``
    estimates the relative error, and a warning tells where it exceeds 1e-6. With the linear
    kernel, `RigidRidge` is not only faster but keeps its digits.

    With ``kernel="precomputed"``, X holds the kernel with the training samples, which is all that
    `predict` needs. Rigidities need the kernel of each sample with itself as well, covariances
    that of all samples with each other: pass ``KernelRows(X, diagonal, among)`` in place of X.

    A `WhiteKernel` counts as zero, as in `KernelRidge`: noise is what `alpha` stands for.

    References
    ----------
    Chong, Bigi, Grasselli, Loche, Kellner, Ceriotti, Faraday Discuss. 256, 322 (2025), section 2;
    Rasmussen, Williams, *Gaussian Processes for Machine Learning* (2006), equations 2.25 and 2.26
    (posterior), 5.10 to 5.12 (leave-one-out).

    Examples
    --------
    >>> import numpy as np
    >>> from skrigidity.kernel_ridge import RigidKernelRidge
    >>> X = np.array([[0.0], [1.0], [2.0], [3.0]])
    >>> model = RigidKernelRidge(alpha=0.1, kernel="rbf", gamma=0.5)
    >>> model.fit(X, [0.0, 0.8, 0.9, 0.1]).prediction_rigidity([[1.5], [10.0]]).round(2)
    array([1.27, 0.1 ])

    One kernel per component, and the rigidity of each of them:

    >>> X = np.array([[0.0, 1.0], [1.0, 0.0], [2.0, 2.0], [3.0, 1.0]])
    >>> model = RigidKernelRidge(
    ...     kernel={"short": "rbf", "long": "linear"},
    ...     components={"short": [0], "long": [1]},
    ...     gamma={"short": 0.5},
    ... )
    >>> model.set_params(gamma__short=2.0).fit(X, [0.0, 0.8, 0.9, 0.1]).component_names_
    ['short', 'long']
    >>> model.component_rigidity(X[:2]).round(2)
    array([[1.79, 3.9 ],
           [2.01,  inf]])
    """

    _parameter_constraints: dict = {
        "alpha": [Interval(Real, 0, None, closed="left"), "array-like"],
        "kernel": [StrOptions(set(PAIRWISE_KERNEL_FUNCTIONS) | {"precomputed"}), callable, dict],
        "gamma": [Interval(Real, 0, None, closed="left"), None, dict],
        "degree": [Interval(Real, 0, None, closed="left"), dict],
        "coef0": [Interval(Real, None, None, closed="neither"), dict],
        "kernel_params": [dict, None],
        "components": "no_validation",
        "aggregate": [StrOptions({"mean", "sum"})],
        "center_y": ["boolean"],
        "calibration": [StrOptions({"bayesian", "loo", "loo_noise"}), None],
        "weight_type": [StrOptions({"frequency", "precision"})],
    }

    def __init__(
        self,
        alpha: Any = 1.0,
        *,
        kernel: Any = "linear",
        gamma: Any = None,
        degree: Any = 3,
        coef0: Any = 1,
        kernel_params: Any = None,
        components: Any = None,
        aggregate: str = "mean",
        center_y: bool = False,
        calibration: str | None = "bayesian",
        weight_type: str = "frequency",
    ) -> None:
        self.alpha = alpha
        self.kernel = kernel
        self.gamma = gamma
        self.degree = degree
        self.coef0 = coef0
        self.kernel_params = kernel_params
        self.components = components
        self.aggregate = aggregate
        self.center_y = center_y
        self.calibration = calibration
        self.weight_type = weight_type

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any, sample_weight: Any = None, groups: Any = None) -> Self:
        """Fit the model and factorize its Hessian.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or structures of environments
            A row per sample (dense or CSR), or a sequence of 2-D arrays, one per structure, a
            row per environment; with ``kernel="precomputed"``, the kernel of the samples.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Targets.
        sample_weight : array-like of shape (n_samples,), default=None
            Sample weights.
        groups : array-like of shape (n_samples,), default=None
            With ``calibration="loo"``: samples of one group (frames of one trajectory) are left
            out together, so that the scale of the error bars is that of a new group.

        Returns
        -------
        object
            Fitted estimator.

        Raises
        ------
        ValueError
            If input is not finite, lengths differ, `alpha` is not positive, the kernel is not
            positive semi-definite, or there are groups without ``calibration="loo"``.

        Examples
        --------
        >>> import numpy as np
        >>> from skrigidity import RigidKernelRidge
        >>> model = RigidKernelRidge(kernel="rbf").fit(np.eye(3), np.arange(3.0))
        >>> model.prediction_rigidity(np.eye(3)).shape
        (3,)
        """
        if array_namespace(X) is not None:
            fit_on_device(self, X, y, sample_weight, groups)
            return self
        X, y, weight, shape = self._training_samples(X, y, sample_weight, reset=True)
        labels = self._check_groups(groups, len(y))
        alphas = self._alphas(y.shape[1])
        kept = np.flatnonzero(weight > 0)
        if self._precomputed:
            self.X_fit_ = kernel = X[np.ix_(kept, kept)]
            self.component_names_: list[str] = []
            self.gradients_ = PrecomputedGradients(self.n_features_in_, kept)
        else:
            names = getattr(self, "feature_names_in_", None)
            self._kernel = self._make_kernel(self.n_features_in_, names)
            self.component_names_ = [name for name in self._kernel.parts if name]
            self.X_fit_ = X if len(kept) == len(y) else X[kept]
            self.gradients_ = KernelGradients(self._kernel, [self.X_fit_], self.aggregate, names)
            kernel = self._kernel.gram(self.gradients_.points(self.X_fit_))
        weight, y = weight[kept], y[kept]
        factor = DualFactor(kernel, alphas.min(), weight)
        self._set_hessians(factor, alphas)
        mean = np.average(y, axis=0, weights=weight) if self.center_y else np.zeros(y.shape[1])
        self.y_mean_ = per_target(mean, shape)
        self._solve(y - mean, weight, alphas, shape)
        rows = TrainingKernel(kernel, weight, y)
        self._remember(rows)
        self._n_samples = len(y)
        self._set_left_out_scale(rows, None if labels is None else labels[kept], shape)
        return self
