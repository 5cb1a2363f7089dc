"""From frames to a fitted potential: columns, rows, solutions, scales of error bars."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from functools import partial
from numbers import Integral
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, RegressorMixin, _fit_context, clone
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from skrigidity.atomistic.potential._baseline import FixedPart, PotentialColumns
from skrigidity.atomistic.potential._calibration import Scales, mean_nll
from skrigidity.atomistic.potential._check_stress import warn_of_wrong_stress
from skrigidity.atomistic.potential._defaults import default_descriptor
from skrigidity.atomistic.potential._held_out import HeldOutFrames, fingerprint
from skrigidity.atomistic.potential._leave_out import LeftRows, leave_frames_out
from skrigidity.atomistic.potential._partitions import fit_partitions
from skrigidity.atomistic.potential._quantiles import TrainingQuantiles
from skrigidity.atomistic.potential._rows import Reduced, TrainingRows
from skrigidity.atomistic.potential._solve import Problem, Solved, regularizer_of
from skrigidity.atomistic.potential._store import read_file, refitted, write_file
from skrigidity.atomistic.potential._support import Reservoir, Support
from skrigidity.frames import (
    VIRIAL,
    Atoms,
    check_found,
    check_frames,
    find_keys,
    is_partitioned,
    named_groups,
    parse_species,
    present,
    read_targets,
    warn_of_duplicates,
)
from skrigidity.gradients import (
    ENERGY,
    FORCES,
    STRESS,
    DerivativeGradients,
    check_groups,
    check_weights,
)
from skrigidity.hessian import METHODS

Array = NDArray[np.float64]


class BasePotential(HeldOutFrames, RegressorMixin, BaseEstimator):
    """What `RigidPotential` and `RigidPotentialCV` share: everything but what is tried in fit."""

    _parameter_constraints: dict[str, list[Any]] = {
        "descriptor": [HasMethods(["fit", "transform"]), None],
        "baseline": [StrOptions({"composition"}), dict, None],
        "core": [StrOptions({"zbl"}), None],
        "regularizer": [StrOptions({"smooth"}), "array-like", None],
        "calibration": [StrOptions({"loo", "loo_noise"}), None],
        "energy_key": [str, None],
        "forces_key": [str, None],
        "stress_key": [str, None],
        "virial_key": [str, None],
        "weight_key": [str, None],
        "solver": [StrOptions(set(METHODS))],
        "cache_size": [Interval(Integral, 0, None, closed="left")],
    }

    def _tried(self, fitted: tuple[str, ...]) -> list[tuple[dict[str, float], float]]:
        """Return errors of properties and relative alphas to choose from."""
        raise NotImplementedError

    def _fits_stress(self) -> bool:
        """Whether virials are fitted, not only compared with."""
        raise NotImplementedError

    # --- fitting ---------------------------------------------------------------------------

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: Any, y: Any = None, *, groups: Any = None, sample_weight: Any = None) -> Self:
        """Fit to energies, forces and stress of frames, as far as each frame has them.

        Parameters
        ----------
        X : list of ase.Atoms, dask.bag.Bag of these, or list of dask.delayed.Delayed
            Frames. Where Dask has them, rows are made in the processes in which they are.
        y : array-like of shape (n_frames,), default=None
            Total energies in eV (NaN where there is none), in place of those in the frames.
        groups : array-like of shape (n_frames,) or str, default=None
            What is left out together; a str is a key of ``frame.info``. None: every frame for
            itself.
        sample_weight : array-like of shape (n_frames,) or dict, default=None
            Weights of frames; a dict has those of `groups`, 1 where it has none.

        Returns
        -------
        object
            Itself.

        Raises
        ------
        TypeError
            If `X` is not a list of frames.
        ValueError
            If no property is found, several may be meant, or one cannot be what it should be.
        """
        if is_partitioned(X):
            return fit_partitions(self, X, y=y, groups=groups, sample_weight=sample_weight)
        frames = check_frames(X)
        targets, fitted, tried = self._prepare(frames, y)
        labels, weight = self._labels(frames, groups), self._weights(frames, sample_weight, groups)
        if len(self._columns.species):
            energies = [i for i, target in enumerate(targets) if target.energy is not None]
            self._columns.set_known([frames[i] for i in energies if weight[i] > 0])
        gamma = regularizer_of(self.regularizer, self.descriptor_.get_feature_names_out())
        again = len(tried) > 1 or self.calibration is not None or STRESS in fitted
        room = self.cache_size if again else 0
        rows = TrainingRows(self.gradients_, frames, targets, weight, self.fixed_, fitted, room)
        if not rows.used:
            raise ValueError("sample_weight must not be zero for all frames with references")
        problem = self._reduce(rows, gamma)
        self._choose(problem, tried, partial(leave_frames_out, rows, labels), rows)
        if STRESS in fitted:
            warn_of_wrong_stress(problem, self.errors_, self.alpha_, rows)
        self._fingerprint = fingerprint(frames, targets, weight)
        self.n_training_ = rows.count()
        return self

    def _prepare(self, frames: list[Atoms], y: Any) -> tuple[Any, tuple[str, ...], list[Any]]:
        """Set columns and where references are; return these, what is fitted and what is tried."""
        self._set_columns(frames)
        asked = {ENERGY: self.energy_key if y is None else None, FORCES: self.forces_key}
        asked |= {STRESS: self.stress_key, VIRIAL: self.virial_key}
        self.keys_ = find_keys(frames, asked)
        targets = read_targets(frames, self.keys_, y)
        wanted = [p for p in (ENERGY, FORCES, STRESS) if p != STRESS or self._fits_stress()]
        check_found(targets, frames, wanted)
        fitted = tuple(p for p in present(targets) if p in wanted)
        tried = self._tried(fitted)
        self._set_gradients(fitted, tried[0][0])
        return targets, fitted, tried

    def _set_columns(self, frames: list[Atoms]) -> None:
        self.species_ = parse_species(np.unique(np.concatenate([f.numbers for f in frames])))
        if self.descriptor is None:
            descriptor = default_descriptor(frames, self.species_)
        else:
            descriptor = clone(self.descriptor)
        # Rows of atoms, and no memory of frames: those of a simulation do not come again.
        wanted: dict[str, Any] = {"output": "environments", "dtype": "float64", "cache_size": 0}
        known = {name: name.rpartition("__")[2] for name in descriptor.get_params()}
        descriptor.set_params(**{n: wanted[end] for n, end in known.items() if end in wanted})
        descriptor.fit(frames)
        self.species_ = np.asarray(getattr(descriptor, "species_", self.species_))
        self._set_descriptor(descriptor)

    def _set_descriptor(self, descriptor: Any) -> None:
        self.descriptor_ = descriptor
        self.fixed_ = FixedPart(self.baseline, self.core, self.species_)

    def _set_gradients(self, fitted: tuple[str, ...], errors: dict[str, float]) -> None:
        with_columns = self.baseline == "composition" and ENERGY in fitted
        species = self.species_ if with_columns else self.species_[:0]
        columns = PotentialColumns(self.descriptor_, species)
        self.gradients_ = DerivativeGradients(
            columns, errors=errors, fitted=fitted, components=_components(columns)
        )

    def _reduce(self, rows: TrainingRows, gamma: Array) -> Problem:
        """Make all rows once, and reduce them."""
        reduced, reservoir = Reduced(self.gradients_.n_features), Reservoir()
        for i in rows.used:
            block = rows.block(i)
            reduced.add(block)
            reservoir.add(i, block.features)
        self.support_ = reservoir.finish()
        return Problem(reduced.finish(), reduced.squares, gamma, self.solver)

    def _choose(
        self, problem: Problem, tried: list[Any], leave_out: Any, rows: TrainingRows | None
    ) -> None:
        """Solve for everything that is tried, and keep what predicts left-out frames best."""
        solved = [problem.solve(errors, alpha) for errors, alpha in tried]
        best, left = 0, []
        if len(solved) > 1 or self.calibration is not None:
            left = leave_out(solved)
        if len(solved) > 1:
            parts = [self._by_property(one) for one in left]
            scores = [mean_nll(part, self._scales_of(part)) for part in parts]
            # Where scores are equal, the larger alpha.
            ranks = [(round(score, 9), -s.alpha) for score, s in zip(scores, solved, strict=True)]
            best = min(range(len(solved)), key=ranks.__getitem__)
            _warn_of_edges(solved, best)
            self.cv_results_ = {
                "errors": [s.errors for s in solved],
                "alpha": np.array([s.alpha for s in solved]),
                "mean_neg_log_likelihood": np.array(scores),
            }
        self._adopt(problem, solved[best])
        scales, self._quantiles = Scales.unit(), TrainingQuantiles({})
        if self.calibration is not None:
            scales = self._scales_of(self._by_property(left[best]))
            self._quantiles = self._quantiles_of(left[best], rows)
        self._set_scales(scales)

    def _quantiles_of(self, left: LeftRows, rows: TrainingRows | None) -> TrainingQuantiles:
        atoms = self.support_.features
        local = self._quad_of(self._columns.local(atoms))
        return TrainingQuantiles.of_rows(left, rows, local, self.support_.of(atoms))

    def _adopt(self, problem: Problem, solved: Solved) -> None:
        self.errors_, self.alpha_ = solved.errors, solved.alpha
        self.gradients_.errors = solved.errors
        self.coef_ = self._columns.local(solved.coef[None])[0]
        self._problem = problem
        self._set_hessians(solved.factor, np.array(0.0))
        self._set_dof(float(self.gradients_.n_features))

    def _by_property(self, left: LeftRows) -> dict[str, tuple[Array, Array, Array]]:
        return {name: left.of(name) for name in self.gradients_.fitted}

    def _scales_of(self, rows: Mapping[str, Any]) -> Scales:
        noise = self.calibration != "loo"
        return Scales.fitted(rows, "nll" if noise else "squared_residuals", noise)

    # --- afterwards --------------------------------------------------------------------------

    def calculator(
        self, uncertainty: Any = ("energy", "forces", "stress", "local"), bias: float = 0.0
    ) -> Any:
        """Return an ASE calculator of this potential.

        Parameters
        ----------
        uncertainty : sequence of str, default=("energy", "forces", "stress", "local")
            What has error bars among its results; () costs nothing.
        bias : float, default=0.0
            ``-bias`` times the energy's error bar is added to the energy.

        Returns
        -------
        skrigidity.calculators.RigidityCalculator
            The calculator.
        """
        from skrigidity.calculators import RigidityCalculator

        check_is_fitted(self, "coef_")
        return RigidityCalculator(self, uncertainty=uncertainty, bias=bias)

    def training_quantile(self, name: str, q: float) -> float:
        """Return a quantile over the training set of what `single_point` says of its frames.

        Parameters
        ----------
        name : {"energy_std", "forces_std", "stress_std", "energies_std", "local_rigidity", \
"support"}
            "energy_std" is that per atom (eV), of forces (eV/Å) and stress (eV/Å³) it is of single
            components, all others are of single atoms.
        q : float
            A share between 0 and 1.

        Returns
        -------
        float
            Within 1001 quantiles interpolated. They are kept of what was fitted, where ``fit``
            leaves frames out: not with ``calibration=None``. Those of atoms are over the 500
            that are kept at most, to compare others with.

        Raises
        ------
        ValueError
            If there is no such result, or it is not known of the training set.
        """
        check_is_fitted(self, "coef_")
        return self._quantiles.result(name, q, self._scales, self.errors_[ENERGY])

    def save(self, path: str | Path) -> None:
        """Write the fitted potential to a file, without pickle.

        Parameters
        ----------
        path : str or Path
            Usually ends in ``.npz``.

        Raises
        ------
        ValueError
            If the descriptor is not one of this package.
        """
        check_is_fitted(self, "coef_")
        names = ("species_", "keys_", "alpha_", "errors_", "coef_", "n_training_", "_fingerprint")
        write_file(
            path,
            {
                "class": type(self).__name__,
                "params": self.get_params(deep=False),
                "descriptor": self.descriptor_,
                "fitted": self.gradients_.fitted,
                "known": self._columns.known,
                "attributes": {name: getattr(self, name) for name in names},
                "scales": vars(self._scales),
                "support": vars(self.support_),
                "quantiles": self._quantiles.of,
                "problem": self._problem._asdict(),
            },
        )

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a fitted potential.

        Parameters
        ----------
        path : str or Path
            The file.

        Returns
        -------
        RigidPotential or RigidPotentialCV
            Of the class that it is asked of.

        Raises
        ------
        ValueError
            If the file is another one, or has a potential of another class.
        """
        state = read_file(path)
        if state["class"] != cls.__name__:
            raise ValueError(f"{path} has a {state['class']}: use {state['class']}.load")
        potential = cls(**state["params"])
        for name, value in state["attributes"].items():
            setattr(potential, name, value)
        potential._set_descriptor(refitted(state["descriptor"], potential.species_))
        potential._set_gradients(state["fitted"], potential.errors_)
        potential._columns.known = state["known"]
        potential.support_ = Support(**state["support"])
        potential._quantiles = TrainingQuantiles(state["quantiles"])
        problem = Problem(**state["problem"])
        potential._adopt(problem, problem.solve(potential.errors_, potential.alpha_))
        potential.coef_ = state["attributes"]["coef_"]
        potential._set_scales(Scales(**state["scales"]))
        return potential

    # --- what is given beside frames -------------------------------------------------------

    def _labels(self, frames: list[Atoms], groups: Any) -> NDArray[np.intp]:
        """Return the number of every frame's group."""
        if groups is None:
            return np.arange(len(frames))
        labels = check_groups(named_groups(frames, groups), len(frames))
        assert labels is not None
        warn_of_duplicates(frames, labels)
        return labels

    def _weights(self, frames: list[Atoms], given: Any, groups: Any) -> Array:
        """Return the weights of frames: those in the frames times those that are given."""
        weight = np.ones(len(frames))
        if self.weight_key is not None:
            weight = np.array([frame.info.get(self.weight_key, 1.0) for frame in frames], float)
            check_weights(weight, len(frames), "weight_key")
        if isinstance(given, Mapping):
            if groups is None:
                raise ValueError("sample_weight: a dict has weights of groups; give groups as well")
            names = np.asarray(named_groups(frames, groups)).tolist()
            if unknown := [name for name in given if name not in names]:
                raise ValueError(f"sample_weight: no frame is in group {unknown[0]!r}")
            given = [float(given.get(name, 1.0)) for name in names]
        checked = check_weights(given, len(frames))
        return weight if checked is None else weight * checked

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.target_tags.required = False
        return tags


def _warn_of_edges(solved: list[Solved], best: int) -> None:
    """Warn where something better may lie outside of what was tried."""
    tried = {f"error of {p}": [s.errors[p] for s in solved] for p in solved[0].errors}
    for name, values in (tried | {"alpha": [s.alpha for s in solved]}).items():
        low, high, value = min(values), max(values), values[best]
        if low < high and value in (low, high):
            warnings.warn(
                f"the best {name}, {value:g}, is at the edge of what was tried ({low:g} to "
                f"{high:g}): try others, or look at the data again",
                UserWarning,
                stacklevel=5,
            )


def _components(columns: PotentialColumns) -> dict[str, NDArray[np.intp]]:
    """Return the descriptor's components, and that of the composition."""
    every = np.arange(columns.n_features)
    own = getattr(columns.descriptor, "components_", None) or {"all": slice(columns.n_own)}
    out = {str(name): every[: columns.n_own][part] for name, part in own.items()}
    return out | ({"composition": every[columns.n_own :]} if len(columns.species) else {})
