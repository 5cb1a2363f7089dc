"""Greedy selection of the samples that make targets' predictions most rigid."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from numbers import Integral, Real
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin, _fit_context
from sklearn.utils._param_validation import Interval, StrOptions

from .._extras import import_extra
from ..distributed import example
from ._candidates import numbered
from ._chosen import ChosenMixin
from ._chunked import ChunkedSelection
from ._device_pool import DevicePool
from ._on_device import DeviceSelection, set_chosen
from ._pool import ChunkPool, Pool, fingerprints
from ._problem import Selection


class PRSelector(  # type: ignore[call-arg]
    ChosenMixin, TransformerMixin, BaseEstimator, auto_wrap_output_keys=None
):
    r"""Select the samples whose labels would pin the predictions of a target most firmly.

    Starting from the Hessian of a training set (which may be empty), the candidate that raises an
    objective of the targets' prediction rigidities most is added, then the next, without any
    label. Adding the row g with weight s changes the variance of a target with gradient h from
    :math:`v = h^T H^{-1} h` to :math:`v - (h^T H^{-1} g)^2 / (1/s + g^T H^{-1} g)`, exactly, so
    that nothing is refactorized: a pick costs one product with the pool.

    Parameters
    ----------
    n_to_select : int, float or None, default=None
        Number of picks, or their share of the pool. None: as many as `threshold` or `budget`
        take, or half the pool without either. With `replace`, a threshold alone is no limit.
    alpha : float, default=None
        Regularization strength of the `RigidRidge` to select under; 1.0 where there is no
        `estimator` either.
    estimator : RigidRidge, RigidKernelRidge, RigidPotential or fitted model, default=None
        The model to select under, instead of `alpha`. A fitted one, of any kind that has
        rigidities, brings its Hessian (wrap it in `sklearn.frozen.FrozenEstimator` wherever the
        selector is cloned), one of these or a `ComponentRidge` its parameters. With a
        `RigidPotential` the pool, targets and training data are frames, see Notes.
    objective : {"mean", "log_mean", "min", "variance", "information"}, default="mean"
        What to improve: the mean rigidity R of the targets, the mean of log R, the least R, the
        mean of 1/R (A-optimal), or the information about the targets' predictions (half the
        logarithm of the determinant of their covariance, in nats, by which it falls).
    level : {"global", "local", "component"}, default="global"
        Whether targets are structures, environments, or components of structures' predictions.
        Candidates are always structures.
    components : list or dict, default=None
        Components for ``level="component"``, as in `RigidRidge.component_rigidity`.
    properties : {"energy", "forces", "stress"} or sequence of these, default=None
        What the label of a frame tells. None: all that `estimator` is fitted to.
    threshold : float, default=None
        Stop as soon as `threshold_on` reaches it.
    threshold_on : {"objective", "targets"}, default="objective"
        The objective, or the rigidity of every single target.
    budget : float, default=None
        Largest total cost; candidates that are too expensive for what is left are passed over.
    replace : bool, default=False
        Whether a candidate may be chosen again (a repeated measurement).
    warm_start : bool, default=False
        Whether `fit` continues after the picks of the last one, on the same pool.
    storage : {"auto", "float64", "float32"} or None, default="auto"
        How the whitened pool is kept. "float32" halves the memory, with some five digits of every
        gain left; where it cannot resolve the noise, the pool is read again. None keeps nothing
        and reads the pool again for every pick. "auto" is None for memory maps, sparse matrices
        and functions that return blocks, else "float64". Candidates of several rows are always
        kept in memory, in float64.
    X_target, target_weight, X_train, train_weight : array-like, default=None
        Defaults for the parameters of `fit` of the same names. Here, a search or
        cross-validation never slices them, whatever their length, and no earlier step of a
        pipeline transforms them. What `fit` is given through metadata routing is sliced where
        it is as long as `X`, and transformed where `transform_input` of the pipeline names it.
    progress_bar : bool, default=False
        Whether to show a progress bar.

    Attributes
    ----------
    selected_idx_ : ndarray of int of shape (n_selected,)
        Chosen candidates, in the order of their choice.
    objective_path_ : ndarray of shape (n_selected + 1,)
        The objective before and after every pick: the mean of R, of log R, least R, mean of 1/R
        (which falls), or the information gained since the beginning (with an intercept that
        nothing determines, -inf before the first pick, 0 after it).
    gains_ : ndarray of shape (n_selected,)
        By how much every pick improved it.
    target_rigidity_ : ndarray of shape (2, n_targets) or (2, n_targets, n_components)
        Rigidity of every target before and after. Environments of all structures follow each
        other; without targets, those of the pool.
    n_unmovable_targets_ : int
        Number of targets whose prediction cannot move (R = inf), which are left out of the
        objective.
    total_cost_ : float
        Cost of all picks.
    n_candidates_ : int
        Number of candidates.
    n_samples_ : int
        Size of the pool, which is the same where there are no groups.
    sample_indices_ : ndarray of int
        Samples of the pool that have been chosen: those of `selected_idx_`, in the same order.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of str of shape (`n_features_in_`,)
        Names of the features, where the pool was a DataFrame.

    See Also
    --------
    SubsetRegressor : A regressor fitted to what a selector selects, inside any pipeline.
    SubsetSampler : A selector as a step of imbalanced-learn's pipelines.

    Notes
    -----
    All objectives but "information" and "variance" on a pool as its own target need the
    covariances of all candidates with all targets: memory for n_candidates times n_targets
    numbers. Where variances fall by more than six orders of magnitude, they have lost too many
    digits: the Hessian is then factorized with the picks so far, and everything whitened anew.

    Ties go to the lowest index. Ties are gains that agree to 1e-10 of the largest; where the
    objective falls ("variance"), to 1e-10 of what is left of it, as far as rounding allows.

    Gains of the mean rigidity need not diminish from pick to pick: candidates may be worth more
    together than alone, which greedy selection cannot foresee.

    A candidate may be several rows of the model: samples of one label in `groups`, or a frame of
    an `estimator` that is fitted to energies, forces and stresses, each with a weight of its own.
    All of its rows are added at once: k rows take the diagonal of
    :math:`A^T (I + B B^T)^{-1} A` off the variances, B being their whitened rows and A their
    covariances with the targets.

    Frames need no labels under a `RigidPotential`. Targets are their energies per atom, atoms or
    components. A candidate is a row for its energy, three for the forces on each atom, and six
    for the stress where the potential is fitted to that. Before it is fitted, a potential counts
    on all properties that its ``fit`` would read, of training frames as well; without any of
    these, its `alpha` is relative to the Hessian of the pool, and energies of species are
    penalized like the rest. Frames of k rows take some ``8 * n_rows * (n_features + 2 * k +
    n_targets)`` bytes: 1.5 GB for 1000 frames of 64 atoms, 500 features and 100 targets. With
    ``properties="energy"`` there are as many rows as frames. What a frame weighs is its
    `candidate_weight` alone, whatever the `weight_key` of the potential.

    References
    ----------
    Chong, Bigi, Grasselli, Loche, Kellner, Ceriotti, Faraday Discuss. 256, 322 (2025), sections
    4.1 and 4.2, appendix B.

    Examples
    --------
    >>> import numpy as np
    >>> from skrigidity.sample_selection import PRSelector
    >>> rng = np.random.default_rng(0)
    >>> X_train, X_pool = rng.standard_normal((20, 5)), rng.standard_normal((100, 5))
    >>> X_target = rng.standard_normal((10, 5)) + [3, 0, 0, 0, 0]
    >>> selector = PRSelector(3, alpha=1e-2).fit(X_pool, X_target=X_target, X_train=X_train)
    >>> selector.selected_idx_
    array([34, 66, 80])
    >>> selector.objective_path_.round(2)
    array([0.79, 1.29, 1.72, 2.05])
    >>> selector.transform(X_pool).shape
    (3, 5)
    """

    _parameter_constraints: dict = {
        "n_to_select": [
            Interval(Integral, 1, None, closed="left"),
            Interval(Real, 0, 1, closed="right"),
            None,
        ],
        "alpha": [Interval(Real, 0, None, closed="left"), None],
        "estimator": "no_validation",
        "objective": [StrOptions({"mean", "log_mean", "min", "variance", "information"})],
        "level": [StrOptions({"global", "local", "component"})],
        "components": "no_validation",
        "properties": [str, list, tuple, None],
        "threshold": [Interval(Real, None, None, closed="neither"), None],
        "threshold_on": [StrOptions({"objective", "targets"})],
        "budget": [Interval(Real, 0, None, closed="neither"), None],
        "replace": ["boolean"],
        "warm_start": ["boolean"],
        "storage": [StrOptions({"auto", "float64", "float32"}), None],
        "X_target": "no_validation",
        "target_weight": ["array-like", None],
        "X_train": "no_validation",
        "train_weight": ["array-like", None],
        "progress_bar": ["boolean"],
    }

    def __init__(
        self,
        n_to_select: Any = None,
        *,
        alpha: float | None = None,
        estimator: Any = None,
        objective: str = "mean",
        level: str = "global",
        components: Any = None,
        properties: Any = None,
        threshold: float | None = None,
        threshold_on: str = "objective",
        budget: float | None = None,
        replace: bool = False,
        warm_start: bool = False,
        storage: str | None = "auto",
        X_target: Any = None,
        target_weight: Any = None,
        X_train: Any = None,
        train_weight: Any = None,
        progress_bar: bool = False,
    ) -> None:
        self.n_to_select = n_to_select
        self.alpha = alpha
        self.estimator = estimator
        self.objective = objective
        self.level = level
        self.components = components
        self.properties = properties
        self.threshold = threshold
        self.threshold_on = threshold_on
        self.budget = budget
        self.replace = replace
        self.warm_start = warm_start
        self.storage = storage
        self.X_target = X_target
        self.target_weight = target_weight
        self.X_train = X_train
        self.train_weight = train_weight
        self.progress_bar = progress_bar

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        groups: Any = None,
        X_target: Any = None,
        target_weight: Any = None,
        X_train: Any = None,
        train_weight: Any = None,
        cost: Any = None,
        candidate_weight: Any = None,
    ) -> Self:
        """Choose among the candidates.

        Parameters
        ----------
        X : array-like of shape (n_candidates, n_features), structures, callable or iterator, \
or list of ase.Atoms
            The pool: a matrix (dense, a memory map, or CSR); a sequence of 2-D arrays, one per
            structure; a function without arguments that returns an iterable of such blocks,
            always the same ones; or an iterator over blocks, which is collected in memory.
            Frames where `estimator` is a potential.
        y : None
            Ignored: labels play no part.
        groups : array-like of shape (n_samples,), default=None
            Samples of one label are one candidate: they are chosen together. Candidates are
            numbered in the order of their first samples. None: every sample is a candidate.
        X_target : array-like of shape (n_targets, n_features), structures or list of ase.Atoms, \
default=None
            What is to be predicted firmly; with ``level="local"`` a matrix is a row per
            environment. None: the pool itself.
        target_weight : array-like of shape (n_targets,), default=None
            Weights of the targets in the objective (of every environment where
            ``level="local"``), positive.
        X_train : array-like of shape (n_train, n_features), structures or list of ase.Atoms, \
default=None
            Training data that there are already; with a fitted `estimator`, those besides its
            own.
        train_weight : array-like of shape (n_train,), default=None
            Their sample weights.
        cost : array-like of shape (n_candidates,), default=None
            What labelling every candidate costs, positive: gains are compared per cost.
        candidate_weight : array-like of shape (n_candidates,), default=None
            Sample weights that the candidates would be fitted with; 0 is never chosen.

        Returns
        -------
        object
            Fitted selector.

        Raises
        ------
        ValueError
            If arguments do not fit each other, or nothing determines some prediction
            (``alpha=0``) for which covariances are needed.

        Examples
        --------
        Frames to compute next, whose energies and forces pin the energy of a strained crystal:

        >>> from ase.build import bulk
        >>> from skrigidity import PRSelector, RigidPotential
        >>> from skrigidity.atomistic import ACEDescriptor
        >>> pool = [bulk("Cu", a=3.5 + 0.01 * i, cubic=True) for i in range(40)]
        >>> for i, frame in enumerate(pool):
        ...     frame.rattle(0.1, seed=i)
        >>> target = bulk("Cu", a=3.8, cubic=True)
        >>> descriptor = ACEDescriptor(cutoff=4.0, max_degree=(6, 4), kind="self-interacting")
        >>> selector = PRSelector(3, estimator=RigidPotential(descriptor, alpha=1e-6))
        >>> selector.fit(pool, X_target=[target]).selected_idx_
        array([30, 29, 31])
        >>> len(selector.transform(pool))
        3
        """
        pool = self._pool(X)
        data = {
            "X_target": self.X_target if X_target is None else X_target,
            "target_weight": self.target_weight if target_weight is None else target_weight,
            "X_train": self.X_train if X_train is None else X_train,
            "train_weight": self.train_weight if train_weight is None else train_weight,
            "cost": cost,
            "candidate_weight": candidate_weight,
            "groups": numbered(groups, len(pool)),
        }
        if isinstance(pool, DevicePool):
            with _progress(self) as tick:
                set_chosen(self, DeviceSelection(self, pool, data).run(tick))
            return self
        with _progress(self) as tick:
            # One sample with the names of its features.
            kind: Any = Selection
            if isinstance(pool, ChunkPool):
                kind, sample = ChunkedSelection, example(X)
            else:
                sample = X[:1] if hasattr(X, "columns") else next(pool.blocks())[1][:1]
            run = kind(self, pool, sample, data, self._earlier(pool)).run(tick)
        self.n_samples_, self.n_candidates_ = len(pool), run.n_candidates
        self.selected_idx_ = np.array(run.path.picks, dtype=np.intp)
        self.sample_indices_ = self.selected_idx_
        if groups is not None:
            members = [np.flatnonzero(data["groups"] == p) for p in run.path.picks]
            self.sample_indices_ = np.concatenate([self.selected_idx_[:0], *members])
        self.objective_path_ = np.array(run.path.objective)
        self.gains_ = np.array(run.path.gains)
        self.target_rigidity_ = run.target_rigidity
        self.n_unmovable_targets_ = run.n_unmovable
        self.total_cost_ = float(run.cost[run.path.picks].sum())
        self._objective = self.objective
        self._fingerprints = fingerprints(pool.take(self.sample_indices_))
        return self

    # --- internals -------------------------------------------------------------------------

    def _summary(self) -> dict[str, Any]:
        before, after = (float(self.objective_path_[i]) for i in (0, -1))
        n = self.selected_idx_.shape[0]
        first = ", ".join(str(int(pick)) for pick in self.selected_idx_[:10])
        return {
            "chosen": f"{n} of {self.n_candidates_} candidates",
            "in the order of their choice": first + (", …" if n > 10 else ""),
            f"objective ({self._objective})": f"{before:.3g} before, {after:.3g} after",
            "targets": self.target_rigidity_.shape[1],
        }

    def _earlier(self, pool: Pool) -> Any:
        """Return what an earlier fit has found, for a warm start."""
        if not (self.warm_start and hasattr(self, "selected_idx_")):
            return None
        if len(pool) != self.n_samples_ or not self._same(pool.take(self.sample_indices_)):
            raise ValueError(
                "X is not the pool of the last fit, which warm_start=True continues: set "
                "warm_start=False to start over"
            )
        return self


@contextmanager
def _progress(selector: PRSelector) -> Iterator[Callable[[], object]]:
    """Give what is to be called after every pick."""
    if not selector.progress_bar:
        yield lambda: None
        return
    tqdm = import_extra("tqdm", extra="progress", needed_by="PRSelector(progress_bar=True)")
    with tqdm.tqdm(desc=type(selector).__name__, unit="pick") as bar:
        yield bar.update
