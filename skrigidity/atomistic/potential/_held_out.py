"""Held-out frames: scores, tables of errors, scales of error bars, training frames left out."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import r2_score
from sklearn.utils import Bunch

from skrigidity.atomistic.potential._calibration import Scales, grouped_weight
from skrigidity.atomistic.potential._combination import FrameCombinations
from skrigidity.atomistic.potential._leave_out import LeftRows, joined, leave_frames_out
from skrigidity.atomistic.potential._rows import TrainingRows
from skrigidity.atomistic.potential._solve import Solved
from skrigidity.atomistic.potential._table import table_of_errors
from skrigidity.calibration import METHODS
from skrigidity.frames import (
    Atoms,
    Targets,
    check_found,
    digest,
    named_groups,
    present,
    read_targets,
    symbol,
)
from skrigidity.gradients import ENERGY, FORCES, PROPERTIES, STRESS, check_weights, inverse

Array = NDArray[np.float64]


class HeldOutFrames(FrameCombinations):
    """What a fitted potential says of frames whose references are known."""

    keys_: dict[str, str]
    alpha_: float
    n_training_: dict[str, int]
    _fingerprint: bytes

    def _training_set(self) -> dict[str, Any]:
        named = {"energy": "energies", FORCES: "frames with forces", STRESS: "frames with stress"}
        given = {named.get(name, name): n for name, n in self.n_training_.items() if n}
        return {
            "trained on": ", ".join(f"{n} {name}" for name, n in given.items()),
            "species": ", ".join(symbol(z) for z in self.species_),
            "errors granted": {k: v for k, v in self.errors_.items() if self.n_training_[k]},
            "features": len(self.coef_),
        }

    def _labels(self, frames: list[Atoms], groups: Any) -> NDArray[np.intp]:
        raise NotImplementedError

    def _weights(self, frames: list[Atoms], given: Any, groups: Any) -> Array:
        raise NotImplementedError

    def _rows_of(self, frames: list[Atoms], y: Any, sample_weight: Any = None) -> TrainingRows:
        """Return the rows of other frames, with all references that they have."""
        targets = read_targets(frames, self.keys_, y)
        found = present(targets)
        if not found:
            check_found(targets, frames, (ENERGY, FORCES, STRESS))
        weight = check_weights(sample_weight, len(frames))
        weight = np.ones(len(frames)) if weight is None else weight
        return TrainingRows(self.gradients_, frames, targets, weight, self.fixed_, found)

    def _errors_of(self, rows: TrainingRows) -> tuple[LeftRows, Array]:
        """Return residuals and quadratic forms of frames that are not in the training set."""
        parts, predicted = [], []
        for i in rows.used:
            block = rows.block(i)
            predicted.append(block.matrix @ self.coef_)
            quad, frame = self._quad_of(block.matrix), np.full(len(block.target), i)
            residual = block.target - predicted[-1]
            parts.append(LeftRows(residual, quad, quad, block.kind, block.weight, frame))
        return joined(parts), np.concatenate(predicted)

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """Return R² of force components; of energies per atom where there are no forces.

        Parameters
        ----------
        X : list of ase.Atoms
            Frames.
        y : array-like of shape (n_frames,), default=None
            Total energies in place of those in the frames.
        sample_weight : array-like of shape (n_frames,), default=None
            Weights of frames.

        Returns
        -------
        float
            The score.
        """
        true, predicted, sizes = self.compared(X, y)
        weight = check_weights(sample_weight, len(sizes))
        weight = np.ones(len(sizes)) if weight is None else weight
        return float(r2_score(true, predicted, sample_weight=np.repeat(weight, sizes)))

    def compared(self, X: Any, y: Any = None, name: str | None = None) -> tuple[Any, Any, Any]:
        """Return references and predictions of force components, or of energies per atom.

        Parameters
        ----------
        X : list of ase.Atoms
            Frames.
        y : array-like of shape (n_frames,), default=None
            Total energies in place of those in the frames.
        name : {"energy", "forces"}, default=None
            None is forces where any frame has them.

        Returns
        -------
        true, predicted : ndarray of shape (n_rows,)
            References and predictions.
        sizes : ndarray of int of shape (n_frames,)
            Rows of each frame.
        """
        frames, _ = self._checked(X)
        targets = read_targets(frames, self.keys_, y)
        name = name or (FORCES if FORCES in present(targets) else ENERGY)
        has = [i for i, target in enumerate(targets) if getattr(target, name) is not None]
        if not has:
            check_found(targets, frames, (name,))
        sizes = np.zeros(len(frames), dtype=np.intp)
        predicted = self.predict([frames[i] for i in has], properties=name)
        if name == FORCES:
            sizes[has] = [3 * len(frames[i]) for i in has]
            true = np.concatenate([np.ravel(np.asarray(targets[i].forces)) for i in has])
            return true, np.concatenate([np.ravel(part) for part in predicted]), sizes
        sizes[has] = 1
        n_atoms = np.array([len(frames[i]) for i in has])
        true = np.array([targets[i].energy for i in has], dtype=np.float64)
        return true / n_atoms, predicted / n_atoms, sizes

    def error_table(self, X: Any, y: Any = None, *, by: Any = None) -> Any:
        """Return errors of frames and scores of their error bars, by property and group.

        Energies are per atom (eV), forces by component (eV/Å), stress as strain derivatives per
        atom (eV). Rows that symmetry makes zero count for `mae` and `rmse` only.

        Parameters
        ----------
        X : list of ase.Atoms
            Frames with references, not those of the training set.
        y : array-like of shape (n_frames,), default=None
            Total energies in place of those in the frames.
        by : array-like of shape (n_frames,) or str, default=None
            Groups of frames; a str is a key of ``frame.info``.

        Returns
        -------
        pandas.DataFrame
            With an index of group ("all" first) and property, and columns: ``n``, ``mae``,
            ``rmse``; ``n_still`` rows that cannot move, ``mae_moving`` without them;
            ``coverage_1``, ``_2``, ``_3``: shares within so many standard deviations; ``dnll``:
            negative log-likelihood per row, less that of one standard deviation for all rows (the
            best one, of these very errors), and ``dnll_shuffled`` for error bars in random order,
            which should be above 0; ``spearman`` of errors and error bars (of forces: per atom,
            over all frames), ``spearman_within`` frames on average, and the same with the
            predicted size of a force in place of its error bar, ``spearman_of_force`` and
            ``spearman_of_force_within``: what error bars have to beat.
        """
        frames, _ = self._checked(X)
        labels = None if by is None else named_groups(frames, by)
        rows, predicted = self._errors_of(self._rows_of(frames, y))
        return table_of_errors(rows, predicted, self._scales, labels)

    def calibrate(
        self,
        X: Any,
        y: Any = None,
        sample_weight: Any = None,
        method: str = "nll",
        noise: bool = True,
        *,
        by: Any = None,
    ) -> Self:
        """Fit the scales of error bars, ``var = C**2 * q + sigma**2``, to held-out frames.

        Parameters
        ----------
        X : list of ase.Atoms
            Frames with references: not those of the training set.
        y : array-like of shape (n_frames,), default=None
            Total energies in place of those in the frames.
        sample_weight : array-like of shape (n_frames,), default=None
            Weights of frames.
        method : {"squared_residuals", "absolute_residuals", "crps", "nll"}, default="nll"
            How C is determined, see `skrigidity.calibration.fit_scale`.
        noise : bool, default=True
            Fit sigma as well; otherwise it is 0.
        by : array-like of shape (n_frames,) or str, default=None
            Groups of frames (a str is a key of ``frame.info``), each of which counts as much as
            any other, however many frames it has.

        Returns
        -------
        object
            Itself.
        """
        frames, _ = self._checked(X)
        if method not in METHODS:
            raise ValueError(f"method must be one of {METHODS}, got {method!r}")
        left, _ = self._errors_of(self._rows_of(frames, y, sample_weight))
        labels = None if by is None else np.asarray(named_groups(frames, by))
        rows = {}
        for k, name in enumerate(PROPERTIES):
            here = left.kind == k
            if here.any():
                residual, quad, weight = left.of(name)
                if labels is not None:
                    weight = grouped_weight(weight, labels[left.frame[here]])
                rows[name] = residual, quad, weight
        self._set_scales(Scales.fitted(rows, method, noise))
        return self

    def leave_one_out(
        self, X: Any, y: Any = None, sample_weight: Any = None, groups: Any = None
    ) -> Bunch:
        """Leave out every frame, or every group, of the training set, without refitting.

        Parameters
        ----------
        X : list of ase.Atoms
            The training set.
        y : array-like of shape (n_frames,), default=None
            Total energies in eV (NaN where there is none), in place of those in the frames.
        sample_weight : array-like of shape (n_frames,) or dict, default=None
            Weights of frames; a dict has those of `groups`, 1 where it has none.
        groups : array-like of shape (n_frames,) or str, default=None
            What is left out together; a str is a key of ``frame.info``. None: every frame for
            itself.

        Returns
        -------
        Bunch
            ``prediction``, ``residual`` (reference minus prediction) and ``rigidity`` of total
            energies, NaN for frames without one; ``forces``, ``forces_residual`` and
            ``forces_rigidity``: lists of arrays (n_atoms, 3); ``stress``, ``stress_residual`` and
            ``stress_rigidity`` of shape (n_frames, 6); all of a model that has not seen the frame.
            ``n_excluded``: the number of frames with anything that no other frame pins.

        Raises
        ------
        ValueError
            If these are other frames than the model was fitted to.
        """
        left, rows = self._left_out(X, y, sample_weight, groups)
        return _by_frame(left, rows.frames, rows.targets, self.errors_)

    def _left_out(
        self, X: Any, y: Any, sample_weight: Any, groups: Any
    ) -> tuple[LeftRows, TrainingRows]:
        """Leave every frame, or group, of the training set out."""
        frames, _ = self._checked(X)
        targets, labels = read_targets(frames, self.keys_, y), self._labels(frames, groups)
        weight = self._weights(frames, sample_weight, groups)
        if fingerprint(frames, targets, weight) != self._fingerprint:
            raise ValueError(
                "X, y and sample_weight must be the training set: other frames than this "
                f"{type(self).__name__} was fitted to cannot be left out of it"
            )
        rows = TrainingRows(
            self.gradients_, frames, targets, weight, self.fixed_, self.gradients_.fitted
        )
        solved = Solved(self.hessian_, self.errors_, self.alpha_)
        (left,) = leave_frames_out(rows, labels, [solved])
        return left, rows


def fingerprint(
    frames: list[Atoms], targets: list[Targets], weight: Array, before: bytes = b""
) -> bytes:
    """Return what tells training sets apart, that of the frames before being known."""
    for frame, target, each in zip(frames, targets, weight, strict=True):
        found = blake2b(before, digest_size=16)
        found.update(each.tobytes() + digest(frame))
        for value in target:
            found.update(b"-" if value is None else np.asarray(value, dtype=np.float64).tobytes())
        before = found.digest()
    return before


def _by_frame(
    left: LeftRows, frames: list[Atoms], targets: list[Targets], errors: dict[str, float]
) -> Bunch:
    """Return what is left out, frame by frame, in units of public properties."""
    n = len(frames)
    sizes = np.array([len(frame) for frame in frames], dtype=float)
    volumes = np.array([f.get_volume() if f.cell.rank == 3 else np.nan for f in frames])
    units = {ENERGY: sizes, FORCES: np.ones(n), STRESS: sizes / volumes}
    out: dict[str, dict[str, list[Array]]] = {}
    for k, name in enumerate(PROPERTIES):
        residual = [np.full({0: 1, 1: 3 * len(f), 2: 6}[k], np.nan) for f in frames]
        rigidity = [part.copy() for part in residual]
        true = [part.copy() for part in residual]
        here = np.flatnonzero(left.kind == k)
        for i in np.unique(left.frame[here]):
            rows = here[left.frame[here] == i]
            residual[i] = left.residual[rows] * units[name][i]
            rigidity[i] = inverse(left.quad[rows] / errors[name] ** 2)
            true[i] = np.ravel(getattr(targets[i], name))
        prediction = [a - b for a, b in zip(true, residual, strict=True)]
        out[name] = {"prediction": prediction, "residual": residual, "rigidity": rigidity}
    found = Bunch(n_excluded=len(np.unique(left.frame[np.isinf(left.quad)])))
    for part in ("prediction", "residual", "rigidity"):
        found[part] = np.concatenate(out[ENERGY][part])
        end = "" if part == "prediction" else f"_{part}"
        found["forces" + end] = [values.reshape(-1, 3) for values in out[FORCES][part]]
        found["stress" + end] = np.array(out[STRESS][part])
    return found
