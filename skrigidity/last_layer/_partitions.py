"""Hessians of a last layer over Dask collections: the network runs where the data are."""

from __future__ import annotations

import copy
from typing import Any

from ..distributed import Chunks, example, is_array, merged_in_tree
from ..frames import FramePartitions
from ..gradients import check_weights
from ..hessian import Prior
from ._fit import Labels, TrainingRows


def fit_partitions(model: Any, X: Any, y: Any, sample_weight: Any, groups: Any) -> Any:
    """Fit to a Dask array with `y` beside it, or to a bag or a delayed list of frames.

    Raises
    ------
    ValueError
        For what needs the rows of all samples at once.
    """
    _check_at_once(model, groups)
    if is_array(X):
        model._look(model._validated(example(X), reset=True))
        chunks = Chunks.aligned(X, y, sample_weight)
        tasks = chunks.tasks(_of_chunk, "last-layer", model=_delayed(model))
        found = merged_in_tree(tasks, _merged, "last-layer-merge")
    else:
        for name, value in {"y": y, "sample_weight": sample_weight}.items():
            if value is not None:
                raise ValueError(f"{name} must be None where X is a bag or list of delayed frames")
        parts = FramePartitions(X)
        model._look(model._validated(parts.sample, reset=True))
        found = parts.over(_of_frames, "last-layer", _merged, model)
    model._choose_alpha(found, None, None)
    model._n_samples, model._unit = found.n_samples, found.unit
    model._adopt(found.stream.finish(Prior(model.alpha_)))
    model._set_dof(float(found.n_samples))
    model._initial_scale(None, None)
    return model


def _check_at_once(model: Any, groups: Any) -> None:
    if groups is not None:
        raise ValueError("groups must be None where X is a Dask collection")
    chosen = ("auto", "loo", "evidence") if model.refit else ("loo", "evidence")
    if model.alpha in chosen:
        raise ValueError(
            f"alpha={model.alpha!r} needs the rows of all samples at once: give a number where X "
            "is a Dask collection"
        )
    if model._calibration == "loo":
        raise ValueError(
            f"calibration={model.calibration!r} needs the rows of all samples at once: use "
            "'bayesian' or None where X is a Dask collection"
        )


def _delayed(model: Any) -> Any:
    from dask.delayed import delayed

    return delayed(model, pure=False, traverse=False)


def _of_chunk(X: Any, y: Any, weight: Any, *, model: Any) -> TrainingRows:
    """Return what the rows of some samples add up to."""
    found = TrainingRows(keep=False, n_samples=len(X))
    if len(X):
        X = model._validated(X)
        labels = model._labels(X, y) if model._needs_labels else Labels()
        for rows in model._rows_of(X, labels, check_weights(weight, len(X))):
            found.add(rows)
    return found


def _of_frames(frames: list[Any], number: int, model: Any) -> TrainingRows:
    return _of_chunk(frames, None, None, model=model)


def _merged(parts: list[TrainingRows]) -> TrainingRows:
    total = TrainingRows(keep=False)
    for part in parts:
        total.squares += part.squares
        total.n_samples += part.n_samples
        if total.stream is None:
            total.stream = copy.deepcopy(part.stream)
        elif part.stream is not None:
            total.stream.merge(part.stream)
    return total
