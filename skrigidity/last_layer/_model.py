"""`LastLayerRigidity`: rigidities and error bars of a trained network."""

from __future__ import annotations

from collections.abc import Iterator
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, _fit_context
from sklearn.utils import Bunch
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from ..frames import is_partitioned, symbol
from ..gradients import LatentGradients, LatentSamples, Species, check_groups, check_weights
from ..hessian import Prior, Rows
from ._alpha import CHOICES, TRAINED, best_alpha
from ._blocks import checked_weights, in_memory
from ._device import on_device, reduced_rows
from ._fit import Labels, TrainingRows, energy_rows, frame_rows
from ._held_out import HeldOut
from ._partitions import fit_partitions
from ._save import load, save


class LastLayerRigidity(HeldOut, BaseEstimator):
    r"""Rigidities and error bars for a trained network, by its last layer.

    A network whose predictions are linear in the features :math:`\varphi` that enter its last
    layer is a linear model of these. Their Hessian :math:`H = \sum_i g_i g_i^T + \alpha I` over a
    data set, with :math:`g_i` the features summed over the atoms of a structure (and a bias), gives
    every prediction a rigidity :math:`R = 1 / (g^T H^{-1} g)`, and, once calibrated, an error bar.
    The network is not changed.

    With ``refit=True`` the last layer is replaced by a linear readout of the inputs of one or
    several layers, solved in closed form on labelled data: predictions, leave-one-out and error
    bars are then those of this readout. For foundation models this is the mode to use: their own
    last layer was trained on other data than those H is made of, and its rigidities then rank
    force errors no better than chance.

    Parameters
    ----------
    model : torch.nn.Module, network that an adapter knows, or Adapter
        The trained network. Clones of this estimator share it.
    readout : "auto", str or list of str, default="auto"
        The layers whose inputs are the features, by their names in ``model.named_modules()``.
        "auto" is the network's own readout: that which its adapter knows, else the last linear
        layer that is called and gives the output. Several layers together need ``refit=True``.
    refit : bool, default=False
        Solve for a linear readout on the labelled data that `fit` is given.
    bias : bool, default=True
        Whether the readout has a bias, 1 per atom. It is penalized like the other weights.
    alpha : float or {"auto", "loo", "evidence", "validation"}, default="auto"
        Regularization, in units of the mean eigenvalue of the data's Hessian. "auto" is 1e-4 for
        a trained layer, "loo" with `refit`. "loo" and "evidence" choose among 1e-10 to 1e-2 by
        leave-one-out errors or the marginal likelihood of labelled data; "validation" leaves it to
        `calibrate`, by the likelihood of the held-out data.
    reduce : {"sum", "per_atom"}, default="sum"
        What a prediction is: the sum over the atoms of a structure, or their mean.
    calibration : {"auto", "loo", "bayesian"} or None, default="auto"
        Scale of the error bars: "loo" takes it from leave-one-out, "bayesian" from the training
        residuals, both with `refit` alone; None is C = 1. "auto" is "loo" with `refit`; without,
        error bars are not known until `calibrate` is called.
    batch_size : int, default=32
        Samples that the network is given at once.
    force_weight : float, default=None
        Weight of a force component in H, relative to that of a prediction of a structure (in Å²);
        None: forces are not used. The features are differentiated one by one, which is for small
        layers.
    n_draws : int, default=10
        Number of draws from the posterior that error bars of forces and stress are estimated from,
        each of which costs one backward pass. Layers of up to 32 weights are treated exactly.
    random_state : int, RandomState instance or None, default=0
        Seed of these draws.
    energy_key, forces_key : str, default="auto"
        Under which names frames have their labels; ``energy_key=None`` leaves energies alone, so
        that they have to be given as y.

    Attributes
    ----------
    adapter_ : Adapter
        What knows the network.
    coef_ : ndarray of shape (n_features,) or (n_features, n_outputs)
        Weights of the readout, the bias last.
    alpha_, relative_alpha_ : float
        Regularization: of H, and in units of its mean eigenvalue.
    hessian_ : skrigidity.hessian.Factor
        Factorized Hessian.
    scale_ : float or ndarray of shape (n_outputs,)
        C**2 of the error bars ``C**2 / R``.
    noise_variance_ : float or ndarray of shape (n_outputs,)
        sigma**2 that is added to them.
    effective_dof_ : float
        Effective number of parameters.
    info_ : Bunch
        The layers, how alpha was chosen, and ``hessian_.info``.

    See Also
    --------
    skrigidity.with_rigidity.WithRigidity : The same for networks of scikit-learn and skorch.
    skrigidity.calculators.RigidityCalculator : An ASE calculator; see `calculator`.

    Notes
    -----
    The gradients of the layer's parameters alone stand for those of the whole network (Bigi et
    al.). Rigidities of a network before and after training differ little where its features do.
    The weights are those that multiply the inputs of the layer, everything that scales them later
    folded in: alpha penalizes these.

    References
    ----------
    Bigi, Chong, Ceriotti, Grasselli, Mach. Learn.: Sci. Technol. 5, 045018 (2024).
    Chong et al., Faraday Discuss. 256, 322 (2025), section 3.

    Examples
    --------
    >>> import numpy as np
    >>> import torch
    >>> from skrigidity.last_layer import LastLayerRigidity
    >>> _ = torch.manual_seed(0)
    >>> network = torch.nn.Sequential(
    ...     torch.nn.Linear(1, 20), torch.nn.Tanh(), torch.nn.Linear(20, 1)
    ... )
    >>> X = np.linspace(-1.0, 1.0, 50)[:, None]
    >>> model = LastLayerRigidity(network).fit(X)
    >>> inside, outside = model.prediction_rigidity([[0.0], [4.0]])
    >>> bool(inside > outside)
    True
    """

    _parameter_constraints: dict = {
        "readout": [str, list, tuple],
        "refit": ["boolean"],
        "bias": ["boolean"],
        "alpha": [Interval(Real, 0, None, closed="neither"), StrOptions(set(CHOICES))],
        "reduce": [StrOptions({"sum", "per_atom"})],
        "calibration": [StrOptions({"auto", "loo", "bayesian"}), None],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "force_weight": [Interval(Real, 0, None, closed="neither"), None],
        "n_draws": [Interval(Integral, 1, None, closed="left")],
        "random_state": ["random_state"],
        "energy_key": [str, None],
        "forces_key": [str],
    }

    def __init__(
        self,
        model: Any,
        *,
        readout: Any = "auto",
        refit: bool = False,
        bias: bool = True,
        alpha: Any = "auto",
        reduce: str = "sum",
        calibration: str | None = "auto",
        batch_size: int = 32,
        force_weight: float | None = None,
        n_draws: int = 10,
        random_state: Any = 0,
        energy_key: str | None = "auto",
        forces_key: str = "auto",
    ) -> None:
        self.model = model
        self.readout = readout
        self.refit = refit
        self.bias = bias
        self.alpha = alpha
        self.reduce = reduce
        self.calibration = calibration
        self.batch_size = batch_size
        self.force_weight = force_weight
        self.n_draws = n_draws
        self.random_state = random_state
        self.energy_key = energy_key
        self.forces_key = forces_key

    def __sklearn_clone__(self) -> Self:
        """Return an unfitted estimator around the same network: weights are never copied."""
        return type(self)(**self.get_params(deep=False))

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any = None, sample_weight: Any = None, groups: Any = None) -> Self:
        """Run the network over a data set, and factorize the Hessian of its last layer.

        Parameters
        ----------
        X : list of ase.Atoms, array-like, Dataset, DataLoader or LatentSamples
            What the network's adapter takes; or a Dask array of inputs, a bag of frames, or a list
            of delayed frames: the network then runs where these are.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs), default=None
            Labels, of what predictions are (see `reduce`); None: those that `X` brings along, where
            they are needed at all.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples.
        groups : array-like of shape (n_samples,), default=None
            Samples of one group (frames of one trajectory) are left out together where alpha or
            C are chosen by leave-one-out.

        Returns
        -------
        object
            Fitted estimator.

        Raises
        ------
        TypeError
            If no adapter takes the model, or the data are of the wrong kind.
        ValueError
            If there are no data, labels are missing, a layer is not there or called twice, the
            readout does not reproduce the predictions, or latent features are not finite.
        """
        self._check_parameters()
        self.adapter_ = self._make_adapter()
        if is_partitioned(X):
            return fit_partitions(self, X, y, sample_weight, groups)
        X = self._validated(X, reset=True)
        weight = check_weights(sample_weight, len(X))
        labels = self._labels(X, y) if self._needs_labels else Labels()
        self._look(X)
        found = TrainingRows(keep=self._needs_labels)
        for rows in self._rows_of(X, labels, weight):
            found.add(rows)
        kept = Rows.joined(found.parts) if found.keep else None
        groups = check_groups(groups, len(X))
        self._choose_alpha(found, kept, groups)
        assert found.stream is not None
        self._n_samples, self._unit = len(X), found.unit
        self._adopt(found.stream.finish(Prior(self.alpha_)))
        self._set_dof(float(self._n_samples))
        self._initial_scale(kept, groups)
        if kept is not None:
            self._remember(kept)
        return self

    def save(self, path: str | Path) -> None:
        """Write everything but the network to a file of numbers and texts, without pickle.

        Parameters
        ----------
        path : str or Path
            The file: ``.npz`` by custom.
        """
        check_is_fitted(self)
        save(self, path)

    @classmethod
    def load(cls, path: str | Path, model: Any) -> Self:
        """Read what `save` has written.

        Parameters
        ----------
        path : str or Path
            The file.
        model : torch.nn.Module, network that an adapter knows, or Adapter
            The network that it belongs to.

        Returns
        -------
        LastLayerRigidity
            As it was saved.

        Raises
        ------
        ValueError
            If the file is another one, or the network has other weights.
        """
        return load(cls, path, model)

    # --- steps of fit ------------------------------------------------------------------------

    @property
    def _needs_labels(self) -> bool:
        return self.refit or self.alpha in ("loo", "evidence")

    def _check_parameters(self) -> None:
        if not self.refit and self.calibration in ("loo", "bayesian"):
            raise ValueError(
                f"calibration={self.calibration!r} needs refit=True: the training residuals of a "
                "network say nothing of its errors. Use 'auto', and calibrate() with held-out data"
            )

    def _look(self, X: Any) -> None:
        """Find out what the readout is, on the first samples."""
        self._unfitted_bias = 0.0
        if isinstance(X, LatentSamples):
            if not self.refit:
                raise ValueError("X: latent features alone do not know the readout: use refit=True")
            n_latent, n_outputs, numbers = X.features.shape[1], X.offset.shape[1], X.species
        else:
            batch = next(self.adapter_.batches(X, min(self.batch_size, 4)))
            latent = self.adapter_.latent(batch)
            n_latent, n_outputs = latent.features.shape[1], latent.output.shape[1]
            numbers = None if latent.species is None else _numbers(X, latent)
            if not self.refit:
                weights, biases = checked_weights(self.adapter_, latent)
                self._coef = np.vstack([weights, biases]) if self.bias else weights
                self._unfitted_bias = 0.0 if self.bias else biases
        self._shape = () if n_outputs == 1 else (n_outputs,)
        self.n_features_in_ = n_latent
        self.gradients_ = LatentGradients(
            self._source,
            n_latent,
            bias=self.bias,
            reduce=self.reduce,
            n_targets=n_outputs,
            components=None if numbers is None else _by_species(numbers),
            training_rows=self._more_rows,
        )

    def _rows_of(self, X: Any, labels: Labels, weight: np.ndarray | None) -> Iterator[Rows]:
        if self.force_weight is None:
            if self._needs_labels or isinstance(X, LatentSamples) or not on_device(self.adapter_):
                return energy_rows(self.gradients_, X, labels, weight)
            options: dict[str, Any] = {"bias": self.bias, "reduce": self.reduce, "weight": weight}
            return iter([reduced_rows(self.adapter_, X, self.batch_size, **options)])
        if not self.adapter_.atomistic or isinstance(X, LatentSamples):
            raise ValueError("force_weight: forces need frames")
        return frame_rows(self.gradients_, self.adapter_, X, labels, weight, self.force_weight)

    def _choose_alpha(self, found: TrainingRows, rows: Rows | None, groups: Any) -> None:
        how = ("loo" if self.refit else "default") if self.alpha == "auto" else self.alpha
        self._alpha_from = how if isinstance(how, str) else "given"
        if how in ("loo", "evidence"):
            assert rows is not None
            self.relative_alpha_ = best_alpha(how, rows, self._together(rows, groups), found.unit)
        else:
            self.relative_alpha_ = TRAINED if isinstance(how, str) else float(how)
        self.alpha_ = self.relative_alpha_ * found.unit

    def _adopt(self, factor: Any) -> None:
        """Take over a factor, and with `refit` the solution that comes with it."""
        self._set_hessians(factor, np.array(self.alpha_))
        if self.refit:
            self._coef = factor.solution.coef
        self.coef_ = self._coef if self._shape else self._coef[:, 0]
        self.info_ = Bunch(
            layers=getattr(self.adapter_, "layers", ()),
            alpha=f"{self.relative_alpha_:.0e} of the mean eigenvalue ({self._alpha_from})",
            hessian=factor.info,
        )

    def _initial_scale(self, rows: Rows | None, groups: Any) -> None:
        """Set the scale of the error bars by the training set, where that says something."""
        ones = np.ones(self._shape) if self._shape else 1.0
        self.scale_, self.noise_variance_ = ones, 0.0 * ones
        self.force_scale_ = None
        if self._calibration == "held out":
            self.scale_ = np.nan * ones
        elif self._calibration == "loo":
            assert rows is not None
            residual, q, weight = self._left_out(rows, groups)
            usable = (q > 0) & np.isfinite(q) & (weight > 0)
            self.scale_ = np.inf * ones
            if usable.any():
                self._set_scale(residual.reshape(len(q), *self._shape), q, weight)
        elif self._calibration == "bayesian":
            rss = self.hessian_.solution.rss
            left = self._n_samples - self.effective_dof_
            variance = rss / left if left > 0 else np.full(rss.shape, np.inf)
            self.scale_ = variance if self._shape else float(variance[0])
            self.noise_variance_ = self.scale_

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.target_tags.required = False
        return tags


def _numbers(X: Any, latent: Any) -> np.ndarray:
    """Return the species of all frames; of the first batch where data are not frames."""
    if isinstance(X, list):
        return np.concatenate([frame.numbers for frame in X])
    return in_memory(latent.species)


def _by_species(numbers: np.ndarray) -> dict[str, Species]:
    return {symbol(number): Species((number,)) for number in np.unique(numbers).tolist()}
