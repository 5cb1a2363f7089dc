"""`GaussNewtonRigidity`: rigidities by all parameters of a network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from numbers import Integral, Real
from typing import Any, NoReturn, Self

import numpy as np
from sklearn.base import BaseEstimator, _fit_context
from sklearn.utils import Bunch
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from ..gradients import Gradients, Level, RigidityMixin, check_weights
from ..hessian import AutoAccumulator, LazyRows, Prior, Rows, choose
from ._alpha import TRAINED
from ._blocks import in_memory
from ._jacobian import Jacobian
from ._matrix_free import MatrixFree
from ._registry import adapter_of

_UNKNOWN = (
    "error bars are not known: the training residuals of a network say nothing of its errors. Call "
    "calibrate() with data that it was not trained on"
)


class NetworkGradients(Gradients):
    """Rows of derivatives by all parameters, `n_outputs` per sample; right-hand sides are outputs.

    Parameters
    ----------
    jacobian : Jacobian
        Derivatives of the network.
    batch_size : int
        Samples that are treated at once.
    n_outputs : int
        Outputs per sample.
    """

    def __init__(self, jacobian: Jacobian, batch_size: int, n_outputs: int) -> None:
        self.jacobian, self.batch_size, self.n_outputs = jacobian, batch_size, n_outputs

    def blocks(self, X: Any, weight: np.ndarray | None = None) -> Iterator[Rows]:
        """Iterate over rows in memory, those of whole samples."""
        for batch, s in self.batches(X, weight):
            matrix = in_memory(self.jacobian.rows(batch).double())
            output = in_memory(self.jacobian.output(batch).double())
            if not (np.isfinite(matrix).all() and np.isfinite(output).all()):
                raise ValueError(
                    "derivatives or predictions are not finite: the network overflows, or its "
                    "input is not finite. Use it in float64: model.double()"
                )
            flat = matrix.reshape(-1, matrix.shape[-1])
            own = None if s is None else np.repeat(s, self.n_outputs)
            yield Rows(flat, weight=own, rhs=output.reshape(-1, 1))

    def batches(
        self, X: Any, weight: np.ndarray | None = None
    ) -> Iterator[tuple[Any, np.ndarray | None]]:
        """Iterate over batches, and the weights of their samples."""
        size = self.batch_size
        for i, batch in enumerate(self.jacobian.adapter.batches(X, size)):
            yield batch, None if weight is None else weight[i * size : (i + 1) * size]

    def rows(self, X: Any, level: Level = "global", component: Any = None) -> Rows:
        """Return the gradients of all predictions, made when they are needed."""
        return self._made(X)

    def resolve(self, components: Any) -> NoReturn:
        """Raise TypeError: predictions are no sums over parts of the parameters."""
        raise TypeError("a network's predictions are no sums over components of its parameters")

    def combined(self, X: Any, weights: np.ndarray) -> Rows:
        """Return the gradients of linear combinations of predictions."""
        return self.rows(X).combined(np.kron(weights, np.eye(self.n_outputs)))

    def joined(self, X: Any, sample_weight: np.ndarray | None) -> tuple[Rows, Gradients]:
        """Return samples as weighted rows."""
        rows = self._made(X, sample_weight)
        return Rows.joined(rows.blocks(), rows.n_features, 1), self

    def check_leave_out(self) -> NoReturn:
        """Raise TypeError: one step of Newton does not train a network again."""
        raise TypeError(
            "leave_one_out: a network is not linear in its parameters; use held-out data and "
            "calibrate()"
        )

    def _made(self, X: Any, weight: np.ndarray | None = None) -> LazyRows:
        n, d = len(X) * self.n_outputs, self.jacobian.n_parameters
        return LazyRows(lambda: self.blocks(X, weight), n, d, 1)


class GaussNewtonRigidity(RigidityMixin, BaseEstimator):
    r"""Rigidities of a network by all of its parameters: generalized Gauss-Newton.

    Around trained parameters, predictions are taken for linear in them: :math:`H = \sum_i s_i J_i^T
    J_i + \alpha I`, J the derivatives of a sample's outputs by all parameters that require a
    gradient, and :math:`R = 1 / (g^T H^{-1} g)` with g one of their rows. For small networks: to
    see how good it is to look at the last layer alone, which `LastLayerRigidity` does.

    Parameters
    ----------
    model : torch.nn.Module, network of skorch, or TorchAdapter
        The trained network. Clones of this estimator share it. A subclass of `TorchAdapter` tells
        how to run others.
    alpha : float or "auto", default="auto"
        Regularization, in units of the mean eigenvalue of the data's Hessian; "auto" is 1e-4.
    solver : {"exact", "cg"}, default="exact"
        "exact" factorizes H, or with fewer rows than parameters their Gram matrix. "cg" solves
        for every prediction by conjugate gradients, and needs neither.
    batch_size : int, default=64
        Samples that are differentiated at once.
    tol : float, default=1e-6
        Of "cg": residual relative to the right-hand side. Rigidities are closer by far, and never
        below the exact ones.
    max_iter : int, default=1000
        Of "cg": iterations.

    Attributes
    ----------
    adapter_ : TorchAdapter
        What runs the network.
    n_parameters_ : int
        Number of parameters.
    alpha_, relative_alpha_ : float
        Regularization: of H, and in units of its mean eigenvalue.
    hessian_ : object
        Factorized Hessian, or what multiplies with it.
    scale_, noise_variance_ : float or ndarray of shape (n_outputs,)
        C**2 and sigma**2 of error bars ``C**2 / R + sigma**2``; NaN before `calibrate`.
    effective_dof_ : float
        Effective number of parameters; only with ``solver="exact"``.
    info_ : Bunch
        How H was solved, and with which alpha.

    See Also
    --------
    LastLayerRigidity : The last layer alone; for networks of any size.

    References
    ----------
    Chong et al., Faraday Discuss. 256, 322 (2025), appendix A.

    Examples
    --------
    >>> import numpy as np
    >>> import torch
    >>> from skrigidity.last_layer import GaussNewtonRigidity
    >>> _ = torch.manual_seed(0)
    >>> network = torch.nn.Sequential(
    ...     torch.nn.Linear(1, 20), torch.nn.Tanh(), torch.nn.Linear(20, 1)
    ... )
    >>> X = np.linspace(-1.0, 1.0, 50)[:, None]
    >>> model = GaussNewtonRigidity(network).fit(X)
    >>> inside, outside = model.prediction_rigidity([[0.0], [4.0]])
    >>> model.n_parameters_, bool(inside > outside)
    (61, True)
    """

    gradients_: NetworkGradients
    calibration = None  # the mixin's: nothing is left out
    _parameter_constraints: dict = {
        "alpha": [Interval(Real, 0, None, closed="neither"), StrOptions({"auto"})],
        "solver": [StrOptions({"exact", "cg"})],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="neither")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
    }

    def __init__(
        self,
        model: Any,
        *,
        alpha: Any = "auto",
        solver: str = "exact",
        batch_size: int = 64,
        tol: float = 1e-6,
        max_iter: int = 1000,
    ) -> None:
        self.model = model
        self.alpha = alpha
        self.solver = solver
        self.batch_size = batch_size
        self.tol = tol
        self.max_iter = max_iter

    def __sklearn_clone__(self) -> Self:
        """Return an unfitted estimator around the same network: weights are never copied."""
        return type(self)(**self.get_params(deep=False))

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Differentiate the network over a data set, and factorize the Hessian.

        Parameters
        ----------
        X : array-like, Dataset or DataLoader
            What the network was trained on.
        y : object, default=None
            Not needed.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples.

        Returns
        -------
        object
            Fitted estimator.

        Raises
        ------
        TypeError
            If no adapter takes the model, or its adapter has no `call`.
        ValueError
            If there are no data, all parameters are frozen, or derivatives are not finite.
        """
        self.adapter_ = adapter_of(self.model)
        if not hasattr(self.adapter_, "call"):
            name = type(self.adapter_).__name__
            raise TypeError(
                f"model: {name} cannot run the network as a function of its parameters. "
                "GaussNewtonRigidity needs a TorchAdapter, whose `call` does"
            )
        X = self._validated(X, reset=True)
        self._n_samples = len(X)
        weight = check_weights(sample_weight, len(X))
        jacobian = Jacobian(self.adapter_)
        output = jacobian.output(next(self.adapter_.batches(X, 1)))
        n_outputs = output.shape[1]
        self._shape = () if n_outputs == 1 else (n_outputs,)
        self.gradients_ = gradients = NetworkGradients(jacobian, self.batch_size, n_outputs)
        self.n_parameters_ = jacobian.n_parameters
        self.relative_alpha_ = TRAINED if self.alpha == "auto" else float(self.alpha)
        if self.solver == "cg":
            hessian = self._matrix_free(X, weight)
        else:
            hessian = self._factorized(gradients.blocks(X, weight), len(X) * n_outputs)
        self._set_hessians(hessian, np.array(self.alpha_))
        if self.solver == "exact":
            self._set_dof(float(len(X) * n_outputs))
        info = getattr(hessian, "info", "conjugate gradients")
        how = f"{self.relative_alpha_:.0e} of the mean eigenvalue"
        self.info_ = Bunch(hessian=info, alpha=how, vectorized=jacobian.by_sample)
        self.scale_ = np.full(self._shape, np.nan) if self._shape else np.nan
        self.noise_variance_ = np.zeros(self._shape) if self._shape else 0.0
        return self

    def predict(self, X: Any, return_std: bool = False, return_cov: bool = False) -> Any:
        """Predict by the network, with the standard deviation of the error if asked for.

        Parameters
        ----------
        X : array-like, Dataset or DataLoader
            Input as in `fit`.
        return_std : bool, default=False
            Return standard deviations as well.
        return_cov : bool, default=False
            Return covariances as well; of networks with one output.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_outputs)
            Predictions; with `return_std` a second array of the same shape, with `return_cov` one
            of shape (n_samples, n_samples).

        Raises
        ------
        ValueError
            If both are asked for, or `calibrate` was not called.
        TypeError
            If covariances are asked for of several outputs.
        """
        check_is_fitted(self)
        if return_cov and self._shape:
            raise TypeError("return_cov: covariances are those of networks with one output")
        return super().predict(X, return_std, return_cov)

    # --- steps of fit ------------------------------------------------------------------------

    def _factorized(self, blocks: Iterator[Rows], n_rows: int) -> Any:
        """Return the factor, of all rows in memory where these are fewer than parameters."""
        squares, parts, d = 0.0, [], self.n_parameters_
        stream = AutoAccumulator(d) if n_rows >= d else None
        for with_outputs in blocks:
            rows = with_outputs.replaced(rhs=np.zeros((len(with_outputs), 0)))
            squares += _trace(rows)
            if stream is None:
                parts.append(rows)
            else:
                stream.add(rows)
        self._set_alpha(squares)
        prior = Prior(self.alpha_)
        return choose(Rows.joined(parts), prior) if stream is None else stream.finish(prior)

    def _matrix_free(self, X: Any, weight: np.ndarray | None) -> MatrixFree:
        """Return what multiplies with H; one pass for its diagonal."""
        diagonal = np.zeros(self.n_parameters_)
        for rows in self.gradients_.blocks(X, weight):
            s = np.ones(len(rows)) if rows.weight is None else rows.weight
            diagonal += np.einsum("i,ij,ij->j", s, rows.matrix, rows.matrix)
        self._set_alpha(float(diagonal.sum()))
        return MatrixFree(
            self.gradients_.jacobian,
            lambda: self.gradients_.batches(X, weight),
            diagonal,
            self.alpha_,
            tol=self.tol,
            max_iter=self.max_iter,
        )

    def _set_alpha(self, trace: float) -> None:
        if not trace > 0:
            raise ValueError("derivatives vanish for all samples: the data pin no parameter")
        self.alpha_ = self.relative_alpha_ * trace / self.n_parameters_

    # --- what the mixin asks for -------------------------------------------------------------

    def _validated(self, X: Any, *, reset: bool = False, name: str = "X") -> Any:
        return self.adapter_.check(X, name)

    def _checked(
        self, X: Any, level: Any = "global", name: str = "X"
    ) -> tuple[Any, Callable[[Any], Any]]:
        if level == "local":
            raise TypeError(
                "a network's predictions have no parts by which all parameters could be "
                "differentiated: LastLayerRigidity has local rigidities"
            )
        return super()._checked(X, level, name)

    def _times(self, rows: Any) -> np.ndarray:
        return rows.rhs.reshape(-1, *self._shape)

    def _predict(self, X: Any) -> np.ndarray:
        batches = self.gradients_.batches(self._validated(X))
        found = [in_memory(self.gradients_.jacobian.output(batch)) for batch, _ in batches]
        return np.concatenate(found).reshape(-1, *self._shape)

    def _mean_and_quad(self, X: Any) -> tuple[np.ndarray, np.ndarray]:
        blocks = self.gradients_.blocks(self._validated(X))
        pairs = [(self._times(rows), self._quad(rows)) for rows in blocks]
        mean, q = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
        return mean, q

    def _check_has(self, what: str) -> None:
        if self._shape and what == "draws":
            raise TypeError("draws of several outputs, which share parameters, are not offered")

    def _known_scale(self) -> tuple[Any, Any]:
        if np.isnan(self.scale_).any():
            raise ValueError(_UNKNOWN)
        return self.scale_, self.noise_variance_

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.target_tags.required = False
        return tags


def _trace(rows: Rows) -> float:
    squares = np.einsum("ij,ij->i", rows.matrix, rows.matrix)
    return float(squares.sum() if rows.weight is None else squares @ rows.weight)
