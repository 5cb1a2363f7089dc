"""Kernel models of arrays that are not NumPy's, on the device where they are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from sklearn.metrics.pairwise import pairwise_kernels

from ..environments import array_namespace
from ..gradients import Gradients, Level, check_targets, check_weights, per_target, reshaped
from ..hessian import block_rows
from ..hessian.array_api import ArrayDualFactor, ArrayKernelRows

# What scikit-learn evaluates in an array's own namespace.
KERNELS = ("linear", "rbf", "polynomial", "poly", "sigmoid", "cosine")
_BLOCK_ENTRIES, _DIAGONAL_ROWS = 2**24, 256


class DeviceKernel:
    """A kernel that scikit-learn evaluates on the device of its arguments, in float64.

    Raises
    ------
    ValueError
        If the model has a kernel, or components, that need NumPy arrays.
    """

    def __init__(self, model: Any) -> None:
        if model.components is not None or model.kernel not in KERNELS:
            raise ValueError(
                f"kernel={model.kernel!r} with components={model.components!r} takes NumPy arrays; "
                f"on a device kernels are one of {KERNELS}, without components"
            )
        self.kernel = model.kernel
        self.params = {"gamma": model.gamma, "degree": model.degree, "coef0": model.coef0}

    def __call__(self, a: Any, b: Any = None) -> Any:
        """Return the kernel of two sets of rows, or of one with itself."""
        xp = array_namespace(a)
        a, b = (x if x is None else xp.astype(x, xp.float64, copy=False) for x in (a, b))
        return pairwise_kernels(a, b, metric=self.kernel, filter_params=True, **self.params)

    def diagonal(self, a: Any) -> Any:
        """Return the kernel of every row with itself."""
        xp, n = array_namespace(a), a.shape[0]
        starts = range(0, n, _DIAGONAL_ROWS)
        blocks = (self(a[i : min(i + _DIAGONAL_ROWS, n), :]) for i in starts)
        return xp.concat([xp.linalg.diagonal(block) for block in blocks])


class DeviceQuery(ArrayKernelRows):
    """Predictions at points, their kernels evaluated in blocks of bounded size."""

    def __init__(self, kernel: DeviceKernel, X: Any, training: Any, weight: Any = None) -> None:
        self.kernel, self.X, self.training = kernel, X, training
        self.xp, self.weight = array_namespace(X), weight

    def __len__(self) -> int:
        return int(self.X.shape[0])

    @property
    def train(self) -> Any:
        """The kernel of all predictions with the training samples."""
        return self.kernel(self.X, self.training)

    @property
    def diagonal(self) -> Any:
        """The kernel of all predictions with themselves."""
        return self.kernel.diagonal(self.X)

    @property
    def among(self) -> Any:
        """The kernel of all predictions among themselves."""
        return self.kernel(self.X)

    def blocks(self) -> Iterator[ArrayKernelRows]:
        """Iterate over the predictions in blocks, in order."""
        step, n = block_rows(int(self.training.shape[0]), _BLOCK_ENTRIES), len(self)
        for start in range(0, n, step):
            some = self.X[start : min(start + step, n), :]
            train, diagonal = self.kernel(some, self.training), self.kernel.diagonal(some)
            yield ArrayKernelRows(train, diagonal, xp=self.xp)

    def combined(self, weights: Any) -> ArrayKernelRows:
        """Return linear combinations of the predictions, one per row of `weights`."""
        diagonal = self.xp.sum((weights @ self.among) * weights, axis=1)
        return ArrayKernelRows(weights @ self.train, diagonal, xp=self.xp)


class DeviceKernelGradients(Gradients):
    """Rows of a kernel model on a device.

    Parameters
    ----------
    kernel : DeviceKernel
        The kernel.
    training : array of shape (n_train, n_features)
        Training samples, those of weight zero left out.
    """

    def __init__(self, kernel: DeviceKernel, training: Any) -> None:
        self.kernel, self.training = kernel, training

    def rows(self, X: Any, level: Level = "global", component: Any = None) -> DeviceQuery:
        """Return the kernels of all predictions."""
        return DeviceQuery(self.kernel, X, self.training)

    def resolve(self, components: Any) -> dict[str, Any]:
        """Raise ValueError: there are no components on a device."""
        raise ValueError("components of kernel models take NumPy arrays")

    def joined(self, X: Any, sample_weight: Any) -> tuple[DeviceQuery, Gradients]:
        """Return samples to add to the training set."""
        xp = array_namespace(X)
        more = DeviceQuery(self.kernel, X, self.training, sample_weight)
        if sample_weight is not None and not bool(xp.all(sample_weight > 0)):
            raise ValueError("sample_weight of added samples must be positive on a device")
        training = xp.concat([self.training, xp.astype(X, self.training.dtype)], axis=0)
        return more, DeviceKernelGradients(self.kernel, training)


class DeviceTraining:
    """Training samples of a kernel model on a device."""

    def __init__(self, kernel: Any, weight: Any, rhs: Any) -> None:
        self.kernel, self.weight, self.rhs = kernel, weight, rhs

    def __len__(self) -> int:
        return int(self.rhs.shape[0])

    def sums(self, *, size: bool = False) -> Any:
        """Return what tells training sets apart, or the size of its terms."""
        xp, kernel, y, s = array_namespace(self.rhs), self.kernel, self.rhs, self.weight
        if size:
            kernel, y = xp.abs(kernel), xp.abs(y)
        own = xp.linalg.diagonal(kernel)
        ones = xp.ones_like(s)
        numbers = xp.stack([xp.sum(ones), xp.sum(s), s @ own, s @ (kernel @ s)])
        return xp.concat([numbers, s @ y, (own * s) @ y])

    def leave_out(self, model: Any, groups: Any, factor: ArrayDualFactor) -> Any:
        """Return residuals and quadratic forms of rows that are left out one by one."""
        if groups is not None or model.center_y:
            raise ValueError("groups and center_y=True: leaving out takes NumPy arrays")
        return factor.leave_out(self.rhs)


def training_samples(model: Any, X: Any, y: Any, sample_weight: Any, *, reset: bool) -> Any:
    """Return validated samples of positive weight, targets, weights and the target's shape."""
    X = model._validated(X, reset=reset)
    y = check_targets(model, X, y)
    xp, shape = array_namespace(X), tuple(y.shape[1:])
    weight = check_weights(sample_weight, X.shape[0], X=X)
    y = y[:, None] if y.ndim == 1 else y
    weight = xp.ones_like(y[:, 0]) if weight is None else weight
    if bool(xp.all(weight > 0)):
        return X, y, weight, shape
    kept = xp.nonzero(weight > 0)[0]
    return *(xp.take(part, kept, axis=0) for part in (X, y, weight)), shape


def fit_on_device(model: Any, X: Any, y: Any, sample_weight: Any, groups: Any) -> None:
    """Fit a `RigidKernelRidge`."""
    kernel = DeviceKernel(model)
    X, y, weight, shape = training_samples(model, X, y, sample_weight, reset=True)
    labels = model._check_groups(groups, X.shape[0])
    alphas, xp = model._alphas(y.shape[1]), array_namespace(X)
    model.X_fit_, model.component_names_ = X, []
    model.gradients_ = DeviceKernelGradients(kernel, X)
    gram = kernel(X)
    model._set_hessians(ArrayDualFactor(gram, alphas.min(), weight, xp), alphas)
    mean = (weight @ y) / xp.sum(weight) if model.center_y else 0 * y[0, :]
    model.y_mean_ = per_target(mean, shape)
    hessians = model._hessians if alphas.ndim else [model.hessian_] * y.shape[1]
    centred, strengths = y - mean, np.broadcast_to(alphas, (y.shape[1],))
    columns = [f.solve(centred[:, t][:, None]) for t, f in enumerate(hessians)]
    dual = xp.concat(columns, axis=1)
    model.dual_coef_ = reshaped(dual, shape)
    squares = xp.sum(dual**2 / weight[:, None], axis=0)
    rss = squares * xp.stack([0 * squares[0] + float(a) ** 2 for a in strengths])
    n = float(xp.sum(weight)) if model.weight_type == "frequency" else float(X.shape[0])
    model._set_initial_scale(rss, model._set_dof(n), shape)
    rows = DeviceTraining(gram, weight, y)
    model._remember(rows)
    model._n_samples = int(X.shape[0])
    model._set_left_out_scale(rows, labels, shape)
