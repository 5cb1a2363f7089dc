"""PRSelector on candidates of several rows: groups of samples, frames with their forces."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from selection_oracle import assert_greedy
from sklearn import config_context
from test_selector import KINDS, OBJECTIVES, Data, assert_path, rows

from skrigidity import PRSelector, RigidKernelRidge, RigidRidge
from skrigidity.gradients import FeatureGradients
from skrigidity.hessian import Rows
from skrigidity.sample_selection import SubsetRegressor

SIZES = (1, 3, 2, 8, 1, 4, 3, 2)  # more rows than parameters, too


class Groups(Data):
    """Rows of one kind of conditioning, in candidates of several rows, out of order."""

    def __init__(self, kind, seed=0):
        super().__init__(kind, seed)
        labels = np.repeat(np.arange(len(SIZES)), SIZES)
        self.labels = labels[self.rng.permutation(len(labels))] * 7 % 11
        names = list(dict.fromkeys(self.labels.tolist()))
        self.members = [np.flatnonzero(self.labels == name) for name in names]

    def select(self, objective, n_to_select=4, **arguments):
        intercept = arguments.pop("fit_intercept", True)
        prior = RigidRidge(self.alpha, regularizer=self.gamma, fit_intercept=intercept)
        names = ("cost", "candidate_weight", "target_weight", "train_weight")
        fit = {name: arguments.pop(name) for name in names if name in arguments}
        X_target = arguments.pop("X_target", self.targets)
        X_train = self.train if len(self.train) else None
        selector = PRSelector(n_to_select, estimator=prior, objective=objective, **arguments)
        return selector.fit(
            self.pool, groups=self.labels, X_target=X_target, X_train=X_train, **fit
        )

    def task(self, objective, intercept=True, targets=None, **weights):
        return super().task(objective, intercept, targets, members=self.members, **weights)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_picks_are_those_of_brute_force(kind, objective):
    data = Groups(kind)
    for intercept in (True, False):
        selector = data.select(objective, fit_intercept=intercept)
        task = data.task(objective, intercept)
        assert_path(selector, assert_greedy(task, selector.selected_idx_))
        moves = data.targets.any(axis=1) | intercept
        R = 1 / task.exact_variances(selector.selected_idx_)
        assert_allclose(selector.target_rigidity_[1, moves], R, rtol=1e-8)
    chosen = np.concatenate([data.members[p] for p in selector.selected_idx_])
    assert_array_equal(selector.sample_indices_, chosen)
    assert_array_equal(selector.transform(data.pool), data.pool[chosen])
    assert_array_equal(np.flatnonzero(selector.get_support()), np.sort(chosen))
    assert selector.n_candidates_ == len(SIZES)
    assert selector.n_samples_ == len(data.pool)


@pytest.mark.parametrize("kind", ["well", "empty, firm", "ill"])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_weights_costs_and_repetitions(kind, objective):
    data = Groups(kind)
    weight = 10.0 ** data.rng.uniform(-2, 2, len(SIZES))
    weight[2] = 0.0
    cost = data.rng.uniform(0.5, 5, len(SIZES))
    row_weight = np.empty(len(data.pool))
    for members, w in zip(data.members, weight, strict=True):
        row_weight[members] = w
    task = data.task(objective, pool_weight=row_weight)
    for replace in (False, True):
        selector = data.select(objective, cost=cost, candidate_weight=weight, replace=replace)
        path = assert_greedy(task, selector.selected_idx_, cost=cost, replace=replace)
        assert_path(selector, path)
        assert_allclose(selector.total_cost_, cost[selector.selected_idx_].sum())


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_coverage_of_the_pool_itself(objective):
    data = Groups("well")
    selector = data.select(objective, X_target=None)
    task = data.task(objective, targets=rows(data.pool))
    assert_path(selector, assert_greedy(task, selector.selected_idx_))
    assert selector.target_rigidity_.shape == (2, len(data.pool))


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_groups_of_one_sample_are_samples(objective):
    data = Data("well")
    selector = data.select(objective, 10)
    X_train = data.train
    groups = PRSelector(10, alpha=data.alpha, objective=objective)
    groups.fit(data.pool, groups=np.arange(24)[::-1], X_target=data.targets, X_train=X_train)
    assert_array_equal(groups.selected_idx_, selector.selected_idx_)
    assert_allclose(groups.objective_path_, selector.objective_path_, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_warm_start_is_going_on(objective):
    data = Groups("few")
    at_once = data.select(objective, 5)
    arguments = {"groups": data.labels, "X_target": data.targets, "X_train": data.train}
    selector = PRSelector(2, alpha=data.alpha, objective=objective, warm_start=True)
    selector.fit(data.pool, **arguments).set_params(n_to_select=5).fit(data.pool, **arguments)
    assert_array_equal(selector.selected_idx_, at_once.selected_idx_)
    assert_allclose(selector.objective_path_, at_once.objective_path_, rtol=1e-7)


# -- frames: an energy, forces, a stress --------------------------------------------------------


class Frame:
    """A structure with an energy, forces and a stress: what one candidate of a potential is."""

    def __init__(self, rows):
        self.rows = rows  # of the energy, of the forces, of the stress


class PotentialGradients(FeatureGradients):
    """Frames: the energy is the prediction, everything is data."""

    weight = (1.0, 0.04, 9.0)

    def features(self, X, level="global"):
        return np.stack([frame.rows[0] for frame in X]) if isinstance(X, list) else X

    def joined(self, X, sample_weight):
        sizes = [len(frame.rows) for frame in X]
        weight, flags = ([], [])
        for n in sizes:
            weight += [self.weight[0], *([self.weight[1]] * (n - 2)), self.weight[2]]
            flags += [1.0] + [0.0] * (n - 1)
        groups = np.repeat(np.arange(len(X)), sizes)
        weight = np.array(weight)
        if sample_weight is not None:
            weight *= np.asarray(sample_weight)[groups]
        rows = np.concatenate([frame.rows for frame in X])
        return Rows(rows, weight=weight, intercept=flags, groups=groups), self


class Potential(RigidRidge):
    """A fitted model of frames; labels are of no interest here."""

    def _validated(self, X, *, reset=False, name="X"):
        return list(X) if isinstance(X, list) else super()._validated(X, reset=reset, name=name)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        return tags


@pytest.mark.parametrize("kind", ["well", "few", "ill"])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_gradients_say_which_rows_a_candidate_has(kind, objective):
    data = Data(kind)
    model = Potential(data.alpha).fit(data.train, data.train[:, 0])
    model.gradients_ = PotentialGradients(5, fit_intercept=True, aggregate="mean")
    members = np.split(np.arange(24), np.cumsum([3, 4, 2, 5, 7]))
    frames = [Frame(data.pool[own]) for own in members]
    targets = [Frame(row[None]) for row in data.targets]
    selector = PRSelector(4, estimator=model, objective=objective)
    selector.fit(frames, X_target=targets)
    weight, flags = np.full(24, 0.04), np.zeros(24)
    for own in members:
        weight[own[-1]], weight[own[0]], flags[own[0]] = 9.0, 1.0, 1.0
    task = data.task(objective, members=members, pool_weight=weight)
    task.pool = np.column_stack([data.pool, flags])
    path = assert_greedy(task, selector.selected_idx_)
    assert_path(selector, path)
    chosen = selector.transform(frames)
    pairs = zip(chosen, selector.selected_idx_, strict=True)
    assert all(frame is frames[p] for frame, p in pairs)
    more = PRSelector(4, estimator=model, objective=objective, X_train=frames[:1])
    more.fit(frames[1:], X_target=targets)
    assert np.all(more.target_rigidity_[0] >= selector.target_rigidity_[0])
    with pytest.raises(ValueError, match="fitted on a pool of 6"):
        selector.transform(frames[:-1])


# -- with estimators, and what is refused -------------------------------------------------------


def test_subset_regressor_fits_all_rows_of_the_chosen():
    data = Groups("well")
    y = data.rng.standard_normal(len(data.pool))
    with config_context(enable_metadata_routing=True):
        selector = PRSelector(3, alpha=1.0).set_fit_request(groups=True)
        ridge = RigidRidge().set_fit_request(groups=False)
        model = SubsetRegressor(ridge, selector).fit(data.pool, y, groups=data.labels)
    chosen = model.selector_.sample_indices_
    assert len(chosen) > 3
    assert_array_equal(model.selected_idx_, chosen)
    reference = RigidRidge().fit(data.pool[chosen], y[chosen])
    assert_allclose(model.predict(data.pool), reference.predict(data.pool))


def test_groups_that_do_not_fit():
    data = Groups("well")
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        PRSelector(2).fit(data.pool, groups=data.labels[:-1])
    with pytest.raises(ValueError, match="groups must have a label for every sample, sample 3"):
        PRSelector(2).fit(data.pool, groups=np.where(np.arange(24) == 3, np.nan, data.labels))
    with pytest.raises(ValueError, match=r"cost must have shape \(8,\), got \(24,\)"):
        PRSelector(2).fit(data.pool, groups=data.labels, cost=np.ones(24))
    with pytest.raises(ValueError, match=r"n_to_select=9 exceeds the number of candidates .*, 8"):
        PRSelector(9).fit(data.pool, groups=data.labels)
    with pytest.raises(ValueError, match="groups must be None where estimator is a kernel model"):
        PRSelector(2, estimator=RigidKernelRidge()).fit(data.pool, groups=data.labels)
