r"""Softmax: one row per sample and class, in coordinates that the data can pin.

A sample adds :math:`s \sum_k p_k (e_k - p)(e_k - p)^T \otimes g g^T` to the Hessian, g = [x, 1]:
rows :math:`(e_k - p) \otimes g` of weight :math:`s p_k`. Adding the same vector to the parameters
of all classes changes no probability, so these rows say nothing about the mean over classes, and
centred logits, of gradient :math:`(e_k - 1/K) \otimes g`, do not depend on it. With an
orthonormal basis Q of the K - 1 contrasts between classes both become rows of (K - 1) blocks,
:math:`Q^T (e_k - p) \otimes g` and :math:`Q^T e_k \otimes g`. The penalty keeps its form.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy.linalg as sl
import scipy.sparse as sp
from scipy.special import softmax

from ..hessian import EPS, LazyRows, LeftOut, Prior, Rows, block_rows, choose
from .base import Gradients, Level
from .features import FeatureGradients
from .fitted import FittedGradients


class SoftmaxGradients(FeatureGradients, FittedGradients):
    """Rows of centred logits, and of a multinomial likelihood.

    Parameters
    ----------
    coef : ndarray of shape (n_classes, n_features)
        Coefficients of the logits.
    intercept : ndarray of shape (n_classes,)
        Their intercepts.
    fit_intercept : bool
        Whether the intercepts are parameters, not penalized.

    Examples
    --------
    >>> import numpy as np
    >>> from skrigidity.gradients import SoftmaxGradients
    >>> g = SoftmaxGradients(np.zeros((3, 2)), np.zeros(3), fit_intercept=False)
    >>> len(g.rows(np.eye(2))), g.rows(np.eye(2)).n_features  # 3 per sample, 2 contrasts
    (6, 4)
    """

    def __init__(self, coef: Any, intercept: Any, *, fit_intercept: bool) -> None:
        self.logits = np.asarray(coef, dtype=np.float64)
        self.offsets = np.asarray(intercept, dtype=np.float64)
        self.n_outputs, n_features = self.logits.shape
        super().__init__(n_features, fit_intercept=fit_intercept, aggregate="mean")
        self.shape = (self.n_outputs,)
        # Helmert's contrasts without the constant row.
        self.contrasts = sl.helmert(self.n_outputs).T
        self._set_centre(np.zeros(n_features))

    def bind(self, X: Any, sample_weight: np.ndarray) -> None:
        """Centre the features: the design of intercepts as columns is then best conditioned.

        Parameters
        ----------
        X : ndarray, sparse matrix or Environments
            Validated samples, or environments by structure.
        sample_weight : ndarray of shape (n_samples,)
            Weights of the samples.
        """
        if self.fit_intercept:
            features = self.features(X)
            self._set_centre(np.asarray(sample_weight @ features).ravel() / sample_weight.sum())

    def targets(self, y: np.ndarray) -> np.ndarray:
        """Return a column per class, 1 for the label (its index) and 0 for the others.

        Parameters
        ----------
        y : ndarray of shape (n_samples,) or (n_samples, n_targets)
            Targets.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Ones and zeros.
        """
        return np.asarray(y[:, None] == np.arange(self.n_outputs), dtype=np.float64)

    def rows(self, X: Any, level: Level = "global", component: Any = None) -> Rows:
        """Return the gradients of centred logits.

        Parameters
        ----------
        X : ndarray, sparse matrix or Environments
            Validated samples, or environments by structure.
        level : {"global", "local"}, default="global"
            Rows of samples, or of their environments.
        component : object, default=None
            What `resolve` gives for one component; None is the whole model.

        Returns
        -------
        Rows
            A row per prediction.
        """
        features = self.features(X, level)
        if component is not None:
            kept = np.zeros(self.n_features)
            kept[component] = 1.0
            features = features @ sp.diags(kept) if sp.issparse(features) else features * kept
        flag = component is None and (level == "global" or self.aggregate == "mean")
        return SoftmaxRows(self, features, np.full(features.shape[0], float(flag)))

    def combined(self, X: Any, weights: np.ndarray) -> Rows:
        """Return the gradients of linear combinations of centred logits.

        Parameters
        ----------
        X : ndarray, sparse matrix or Environments
            Validated samples, or environments by structure.
        weights : ndarray of shape (n_combinations, n_samples)
            Weights of the predictions in every combination.

        Returns
        -------
        Rows
            A row per combination, or one per class and combination.
        """
        return SoftmaxRows(self, weights @ self.features(X), weights.sum(axis=1))

    def probability_rows(self, X: Any) -> Rows:
        """Return the gradients of the predicted probabilities, by the delta method.

        Parameters
        ----------
        X : ndarray, sparse matrix or Environments
            Validated samples, or environments by structure.

        Returns
        -------
        Rows
            A row per sample and class.
        """
        features = self.features(X)
        return SoftmaxRows(self, features, p=self._probabilities(features), scaled=True)

    def training_rows(self, X: Any, y: np.ndarray, sample_weight: np.ndarray) -> SoftmaxRows:
        """Return a row per sample and class, made when they are needed.

        Parameters
        ----------
        X : ndarray, sparse matrix or Environments
            Validated samples, or environments by structure.
        y : ndarray of shape (n_samples,) or (n_samples, n_targets)
            Targets.
        sample_weight : ndarray of shape (n_samples,)
            Weights of the samples.

        Returns
        -------
        SoftmaxRows
            The rows, with their weights.
        """
        return self._data(self.features(X), sample_weight, self.targets(y))

    def joined(self, X: Any, sample_weight: np.ndarray | None) -> tuple[Rows, Gradients]:
        """Return samples as weighted rows; the curvature does not depend on labels.

        Parameters
        ----------
        X : ndarray, sparse matrix or Environments
            Validated samples, or environments by structure.
        sample_weight : ndarray of shape (n_samples,) or None
            Weights of the samples; None is 1 for each.

        Returns
        -------
        tuple of Rows and Gradients
            The rows, and the gradients of a model that knows them.
        """
        weight = np.ones(X.shape[0]) if sample_weight is None else sample_weight
        return self._data(self.features(X), weight), self

    def factorize(self, rows: Any, alpha: float, gamma: Any) -> Any:
        """Return the factorized Hessian of the contrasts; intercepts are not penalized.

        Parameters
        ----------
        rows : Rows or KernelRows
            Training rows, as `training_rows` makes them.
        alpha : float
            Strength of the regularizer.
        gamma : float or ndarray
            The regularizer without its strength, as `skrigidity.hessian.Prior` takes it.

        Returns
        -------
        Factor
            The factor.
        """
        penalized = np.ones(self.n_features + int(self.fit_intercept))
        penalized[self.n_features :] = 0.0
        return choose(rows, Prior(alpha, np.tile(penalized, self.n_outputs - 1)))

    def mean(self, linear: np.ndarray) -> np.ndarray:
        """Return the probabilities of all classes.

        Parameters
        ----------
        linear : ndarray
            Linear predictors.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Probabilities.
        """
        return softmax(linear, axis=1)

    def leave_out(self, rows: Any, groups: Any, factor: Any) -> LeftOut:
        """Leave out samples, all rows of each: residuals of all rows, quad of centred logits.

        Parameters
        ----------
        rows : SoftmaxRows
            Training rows.
        groups : ndarray of int of shape (n_samples,) or None
            Samples of one group are left out together; None leaves out each alone.
        factor : Factor
            The factor of the training rows.

        Returns
        -------
        LeftOut
            What every row looks like to a model that has not seen its sample.
        """
        n, K = len(rows) // self.n_outputs, self.n_outputs
        labels = np.arange(n) if groups is None else groups
        residual, quad = np.empty((n, K)), np.empty((n, K))
        order, sizes = np.argsort(labels, kind="stable"), np.bincount(labels)
        for members in np.split(order, np.cumsum(sizes[sizes > 0])[:-1]):
            some = rows.of(members)
            residual[members], quad[members] = _left_out(some, factor, K)
        return LeftOut(residual.reshape(-1, 1), quad)

    # --- rows ------------------------------------------------------------------------------

    def _set_centre(self, centre: np.ndarray) -> None:
        self.centre = centre
        parameters = self.contrasts.T @ self.logits
        if self.fit_intercept:
            constant = self.contrasts.T @ (self.logits @ centre + self.offsets)
            parameters = np.column_stack([parameters, constant])
        self.coef, self.intercept = parameters.reshape(-1, 1), np.zeros(1)

    def _probabilities(self, features: Any) -> np.ndarray:
        return softmax(features @ self.logits.T + self.offsets, axis=1)

    def _data(self, features: Any, weight: np.ndarray, targets: Any = None) -> SoftmaxRows:
        p = self._probabilities(features)
        rows = SoftmaxRows(self, features, p=p)
        rows.weights = weight[:, None] * p
        if targets is not None:
            logits = features @ self.logits.T + self.offsets
            # The score is sum_k p_k c_k (e_k - p) with c_k = 1 / p_k for the label, else 0.
            tiny = np.finfo(np.float64).tiny
            rows.responses = logits - (p * logits).sum(axis=1, keepdims=True)
            rows.responses += targets / np.maximum(p, tiny)
            rows.labels = weight[:, None] * targets
        return rows


class SoftmaxRows(LazyRows):
    """A row per sample and class, made block by block: together they may not fit into memory.

    Parameters
    ----------
    gradients : SoftmaxGradients
        What makes them.
    features : ndarray or CSR matrix of shape (n_samples, n_features)
        Samples.
    flags : ndarray of shape (n_samples,), default=None
        What samples have of the intercept; None is 1.
    p : ndarray of shape (n_samples, n_classes), default=None
        Probabilities, for the rows ``(e_k - p)``; None is centred logits.
    scaled : bool, default=False
        Multiply rows by their probability: the gradients of probabilities.
    """

    weights: Any = None
    responses: Any = None
    labels: Any = None

    def __init__(
        self,
        gradients: SoftmaxGradients,
        features: Any,
        flags: Any = None,
        p: Any = None,
        *,
        scaled: bool = False,
    ) -> None:
        self.gradients, self.features = gradients, features
        self.p, self.scaled = p, scaled
        self.flags = np.ones(features.shape[0]) if flags is None else flags
        n, K = features.shape[0], gradients.n_outputs
        super().__init__(self._made, n * K, len(gradients.coef), 0, False)

    @property
    def n_rhs(self) -> int:
        """Number of right-hand sides carried along."""
        return 0 if self.responses is None else 1

    def of(self, samples: Any) -> Rows:
        """Return all rows of some samples."""
        g = self.gradients
        dense = self.features[samples]
        dense = dense.toarray() if sp.issparse(dense) else np.asarray(dense, dtype=np.float64)
        flags = self.flags[samples][:, None]
        if g.fit_intercept:
            dense = np.hstack([dense - flags * g.centre, flags])
        # What every class has of every contrast.
        factors = np.broadcast_to(g.contrasts, (len(dense), *g.contrasts.shape))
        if self.p is not None:
            p = self.p[samples]
            factors = factors - (p @ g.contrasts)[:, None]
            factors = p[:, :, None] * factors if self.scaled else factors
        matrix = (factors[..., None] * dense[:, None, None, :]).reshape(-1, self.n_features)
        numbers = np.arange(len(self.flags))[samples]
        return Rows(
            matrix,
            weight=None if self.weights is None else self.weights[samples].ravel(),
            rhs=None if self.responses is None else self.responses[samples].reshape(-1, 1),
            groups=np.repeat(numbers, g.n_outputs),
        )

    def sums(self, *, size: bool = False) -> np.ndarray:
        """Return what tells training sets apart, or the size of its terms."""
        features = np.abs(self.features) if size else self.features
        total = np.concatenate([(features.T @ self.labels).ravel(), self.labels.sum(axis=0)])
        return np.append(total, len(self.flags))

    def _made(self) -> Iterator[Rows]:
        n, K = len(self.flags), self.gradients.n_outputs
        step = max(1, block_rows(self.n_features) // K)
        return (self.of(slice(i, min(i + step, n))) for i in range(0, n, step))


def _left_out(rows: Rows, factor: Any, n_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return residuals and the quadratic forms of centred logits, without all of these rows."""
    assert rows.weight is not None
    half, root = factor.whiten(rows), np.sqrt(rows.weight)[:, None]
    solution = factor.solution
    fitted = rows.times(solution.coef, solution.intercept)
    # Leaving the rows out adds (c @ v)^2 h / (1 - h) to a form, v the directions that they pin.
    left, singular, right = np.linalg.svd(root * half, full_matrices=False)
    rest = 1 - singular**2
    lost = rest <= 100 * len(rows) * EPS
    grown = np.where(lost, 0.0, singular / np.where(lost, 1.0, rest))
    pull = grown * (left.T @ (root * (rows.rhs - fitted)))[:, 0]
    residual = rows.rhs[:, 0] - fitted[:, 0] + half @ right.T @ pull
    by_sample = half.reshape(-1, n_classes, half.shape[1])
    centred = (by_sample - by_sample.mean(axis=1, keepdims=True)).reshape(half.shape)
    shares = (centred @ right.T) ** 2
    quad = (centred**2).sum(axis=1) + shares @ (grown * singular)
    quad[(shares[:, lost] > EPS * quad[:, None]).any(axis=1)] = np.inf
    return residual.reshape(-1, n_classes), quad.reshape(-1, n_classes)
