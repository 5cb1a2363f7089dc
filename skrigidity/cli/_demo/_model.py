"""The model of the demo: a descriptor and a ridge in a pipeline, its search and its calibration."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import Pipeline
from threadpoolctl import threadpool_limits

from skrigidity.atomistic import FeatomicDescriptor
from skrigidity.linear_model import RigidRidge

if TYPE_CHECKING:
    from ase import Atoms

_N_FOLDS = 5


class Fitted(NamedTuple):
    """The best pipeline of the search, calibrated, and its cross-validation error."""

    model: Pipeline
    cutoff: float
    alpha: float
    cv_rmse: float


def fit_model(
    frames: list[Atoms],
    y: NDArray[np.float64],
    groups: NDArray[Any],
    *,
    cutoffs: Sequence[float],
    alphas: Sequence[float],
    n_jobs: int | None,
    on_progress: Callable[[float], None],
) -> Fitted:
    """Search cutoff and alpha with whole trajectories left out, refit and calibrate.

    Energies in eV/atom, cutoffs in Å. ``on_progress`` is told the share of the fits that are done.
    """
    pipeline = Pipeline(
        [("descriptor", FeatomicDescriptor(species=["C"], n_jobs=n_jobs)), ("ridge", RigidRidge())]
    )
    grid = {"descriptor__cutoff": list(cutoffs), "ridge__alpha": list(alphas)}
    n_fits = len(cutoffs) * len(alphas) * _N_FOLDS
    done = 0

    def negative_mse(model: Any, X: Any, y: NDArray[np.float64]) -> float:
        nonlocal done
        done += 1
        on_progress(done / n_fits)
        return -float(np.mean((y - model.predict(X)) ** 2))

    # One process: the descriptor remembers the features of every frame there.
    search = GridSearchCV(
        pipeline, grid, scoring=negative_mse, cv=GroupKFold(_N_FOLDS), refit=False
    )
    # Many small factorizations: more threads only get in each other's way.
    with threadpool_limits(1, user_api="blas"):
        search.fit(frames, y, groups=groups)
    # Frames of one trajectory are alike: leaving them out one by one would flatter the model.
    model = clone(pipeline).set_params(**search.best_params_, ridge__calibration="loo")
    model.fit(frames, y, ridge__groups=groups)
    return Fitted(
        model,
        search.best_params_["descriptor__cutoff"],
        search.best_params_["ridge__alpha"],
        float(np.sqrt(-search.best_score_)),
    )
