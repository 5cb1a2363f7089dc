"""PRSelector's numbers: the picks of brute force, and rigidities as accurate as refitting."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from selection_oracle import assert_greedy, linear_task

from skrigidity import ComponentRidge, Environments, RigidRidge
from skrigidity.sample_selection import PRSelector

OBJECTIVES = ("mean", "log_mean", "min", "variance", "information")
KINDS = ("well", "few", "empty", "empty, firm", "ill", "graded", "shifted", "duplicates")
COMPONENTS = {"a": slice(0, 2), "b": slice(2, 4), "c": slice(4, 5)}


class Data:
    """Rows of one kind of conditioning, and the regularizer that goes with them."""

    def __init__(self, kind, seed=0, d=5, n=24):
        rng = np.random.default_rng([seed, *kind.encode()])
        self.alpha, self.gamma, n_train = 0.1, np.eye(d), 2 * d
        mix, shift = np.eye(d), 0.0
        if kind == "few":  # fewer training rows than features
            self.alpha, n_train = 1e-11, d // 2
        elif kind == "empty":
            self.alpha, n_train = 1e-11, 0
        elif kind == "empty, firm":
            n_train = 0
        elif kind == "ill":  # the condition number of the Hessian is 1e16
            self.alpha = 1e-20
            left, right = (np.linalg.qr(rng.standard_normal((d, d)))[0] for _ in range(2))
            mix = left * np.geomspace(1, 1e-8, d) @ right.T
        elif kind == "graded":
            mix = np.diag(np.geomspace(1e3, 1e-5, d)[rng.permutation(d)])
            self.alpha, n_train = 1e-9, d // 2
            self.gamma = np.diag(rng.uniform(0.5, 2.0, d))
        elif kind == "shifted":
            shift, self.alpha = 1e3, 1e-3
            root = rng.standard_normal((d, d))
            self.gamma = root @ root.T + np.eye(d)
        else:
            assert kind in ("well", "duplicates"), kind
        self.rng = rng
        self.train = rng.standard_normal((n_train, d)) @ mix + shift
        self.pool = rng.standard_normal((n, d)) @ mix + shift
        self.targets = rng.standard_normal((5, d)) @ mix + shift
        if kind == "duplicates":
            self.pool = rng.integers(-2, 3, (n, d)).astype(float)
            self.pool[-(n // 2) :] = self.pool[rng.permutation(n // 2)]
            self.pool[3] = self.targets[2] = 0.0
            self.targets[4] = self.pool[5]

    def select(self, objective, n_to_select=6, *, X_target="targets", **arguments):
        """Fit a selector to these data."""
        names = ("cost", "candidate_weight", "target_weight", "train_weight")
        fit = {name: arguments.pop(name) for name in names if name in arguments}
        intercept = arguments.pop("fit_intercept", True)
        prior = RigidRidge(self.alpha, regularizer=self.gamma, fit_intercept=intercept)
        arguments = {"estimator": prior, **arguments}
        selector = PRSelector(n_to_select, objective=objective, **arguments)
        X_target = getattr(self, X_target) if isinstance(X_target, str) else X_target
        X_train = self.train if len(self.train) else None
        return selector.fit(self.pool, X_target=X_target, X_train=X_train, **fit)

    def task(self, objective, intercept=True, targets=None, **weights):
        """Return the same for the oracle; `targets` are gradients."""
        return linear_task(
            rows(self.pool, intercept),
            rows(self.targets, intercept) if targets is None else targets,
            rows(self.train, intercept),
            alpha=self.alpha,
            gamma=self.gamma,
            objective=objective,
            **weights,
        )


def rows(X, intercept=True):
    """Gradients with the derivative by the intercept as their last entry."""
    return np.column_stack([X, np.full(len(X), float(intercept))])


def masked(X, columns):
    """Gradients of a component."""
    out = np.zeros((len(X), X.shape[1] + 1))
    out[:, columns] = X[:, columns]
    return out


def assert_path(selector, path, rtol=1e-8):
    """Assert that the path of the objective is the oracle's, in which larger is better."""
    # What targets leave unknown is a distance between subspaces, less firm than a rigidity.
    rtol = max(rtol, 1e-7) if selector.objective == "information" else rtol
    ours = selector.objective_path_ * (-1 if selector.objective == "variance" else 1)
    logs = selector.objective in ("log_mean", "information")
    finite = np.isfinite(ours)
    assert finite[1:].all()
    assert_allclose(ours[finite], np.array(path)[finite], rtol=rtol, atol=rtol if logs else 0)
    assert np.isposinf(selector.gains_[~finite[:-1]]).all()
    gains = np.diff(ours[finite])
    assert_allclose(
        selector.gains_[finite[:-1]], gains, rtol=rtol, atol=rtol * np.abs(ours[finite][1:]).max()
    )


# -- the picks of brute force -----------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_picks_are_those_of_brute_force(kind, objective):
    data = Data(kind)
    for intercept in (True, False):
        selector = data.select(objective, fit_intercept=intercept)
        task = data.task(objective, intercept)
        assert_path(selector, assert_greedy(task, selector.selected_idx_))
        moves = data.targets.any(axis=1) | intercept
        assert selector.n_unmovable_targets_ == (~moves).sum()
        assert np.isposinf(selector.target_rigidity_[:, ~moves]).all()
        R = 1 / task.exact_variances(selector.selected_idx_)
        assert_allclose(selector.target_rigidity_[1, moves], R, rtol=1e-8)


@pytest.mark.parametrize("kind", ["well", "empty", "ill", "duplicates"])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_coverage_of_the_pool_itself(kind, objective):
    data = Data(kind)
    # Below, every candidate would add little but its own rigidity, the same for all.
    data.alpha = max(data.alpha, 1e-8) if kind == "empty" else data.alpha
    selector = data.select(objective, X_target=None)
    task = data.task(objective, targets=rows(data.pool))
    assert_path(selector, assert_greedy(task, selector.selected_idx_))


@pytest.mark.parametrize("kind", ["well", "few", "ill"])
@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("aggregate", ["mean", "sum"])
def test_environments_as_targets(kind, objective, aggregate):
    data = Data(kind)
    sizes = np.array([1, 3, 2, 2] * (len(data.pool) // 8))
    structures = Environments(data.pool, np.append(0, np.cumsum(sizes)))
    model = RigidRidge(data.alpha, aggregate=aggregate)
    selector = PRSelector(5, estimator=model, level="local", objective=objective).fit(
        list(structures), X_target=data.targets, X_train=[x[None] for x in data.train]
    )
    data.pool = structures.aggregate(aggregate)
    task = data.task(objective, targets=rows(data.targets, aggregate == "mean"))
    assert_path(selector, assert_greedy(task, selector.selected_idx_))


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_structures_and_their_environments_as_targets(objective):
    data = Data("few")
    structures = Environments(data.pool, np.arange(0, len(data.pool) + 1, 2))
    targets = Environments(data.targets, [0, 1, 3, 5])
    data.pool = structures.aggregate("mean")
    for level, gradients in (("global", targets.aggregate("mean")), ("local", targets.values)):
        selector = PRSelector(4, alpha=data.alpha, level=level, objective=objective)
        selector.fit(structures, X_target=targets, X_train=data.train[:, None])
        task = data.task(objective, targets=rows(gradients))
        assert_path(selector, assert_greedy(task, selector.selected_idx_))
        assert selector.target_rigidity_.shape == (2, len(gradients))


@pytest.mark.parametrize("kind", ["well", "few", "empty", "ill"])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_components_as_targets(kind, objective):
    data = Data(kind)
    selector = data.select(objective, level="component", components=COMPONENTS)
    gradients = np.concatenate([masked(data.targets, c) for c in COMPONENTS.values()])
    task = data.task(objective, targets=gradients)
    assert_path(selector, assert_greedy(task, selector.selected_idx_))
    R = 1 / task.exact_variances(selector.selected_idx_)
    assert_allclose(selector.target_rigidity_[1].T.ravel(), R, rtol=1e-8)

    weight = np.arange(len(data.pool)) % 3.0
    selector = data.select(
        objective, level="component", components=COMPONENTS, candidate_weight=weight
    )
    task = data.task(objective, targets=gradients, pool_weight=weight)
    assert_path(selector, assert_greedy(task, selector.selected_idx_))


@pytest.mark.parametrize("kind", ["well", "empty", "ill"])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_weights_and_costs(kind, objective):
    data = Data(kind)
    rng = data.rng
    weights = {"candidate_weight": 10.0 ** rng.uniform(-2, 2, len(data.pool))}
    weights["candidate_weight"][7] = 0.0
    if objective != "information":
        weights["target_weight"] = rng.uniform(0.1, 3, len(data.targets))
    if len(data.train):
        weights["train_weight"] = rng.uniform(0.1, 3, len(data.train))
    cost = rng.uniform(0.5, 5, len(data.pool))
    for replace in (False, True):
        selector = data.select(objective, cost=cost, replace=replace, **weights)
        names = {"candidate_weight": "pool_weight"}
        task = data.task(objective, **{names.get(k, k): w for k, w in weights.items()})
        path = assert_greedy(task, selector.selected_idx_, cost=cost, replace=replace)
        assert_path(selector, path)
        assert_allclose(selector.total_cost_, cost[selector.selected_idx_].sum())


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_models_that_are_fitted_already(objective):
    data = Data("few")
    y = data.rng.standard_normal(len(data.train))
    alphas = {"a": 1e-3, "b": 1.0, "c": 10.0}
    model = ComponentRidge(COMPONENTS, alpha=alphas).fit(data.train, y)
    data.alpha, data.gamma = 1.0, np.diag([1e-3, 1e-3, 1.0, 1.0, 10.0])
    gradients = np.concatenate([masked(data.targets, c) for c in COMPONENTS.values()])
    for estimator, level in ((model, "component"), (model, "global"), (RigidRidge(), "global")):
        if estimator is not model:
            data = Data("well")
            estimator.set_params(alpha=data.alpha)
            estimator.fit(data.train, data.rng.standard_normal(len(data.train)))
        X_train = data.train
        data.train = data.train[:0]  # the model has seen it
        selector = data.select(objective, 4, estimator=estimator, level=level)
        data.train = X_train
        task = data.task(objective, targets=gradients if level == "component" else None)
        assert_path(selector, assert_greedy(task, selector.selected_idx_))


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_no_regularizer(objective):
    data = Data("well")
    data.alpha = 0.0
    selector = data.select(objective)
    assert_path(selector, assert_greedy(data.task(objective), selector.selected_idx_))
    data.train = data.train[:3]
    with pytest.raises(ValueError, match="alpha must be positive"):
        data.select(objective)


# -- long paths ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["empty", "ill", "graded"])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_rigidity_after_100_picks_equals_refitting(kind, objective):
    data = Data(kind, d=20, n=200)
    selector = data.select(objective, 100)
    picks, sign = selector.selected_idx_, -1 if objective == "variance" else 1
    task = data.task(objective)
    if objective != "information":
        for k in (1, 19, 20, 21, 22, 30, 60, 100):
            value = sign * task.exact_value(picks[:k].tolist())
            assert_allclose(selector.objective_path_[k], value, rtol=1e-8)
    R = 1 / task.exact_variances(picks.tolist())
    assert_allclose(selector.target_rigidity_[1], R, rtol=1e-8)
    X = np.vstack([data.train, data.pool[picks]])
    refitted = RigidRidge(data.alpha, regularizer=data.gamma).fit(X, np.arange(len(X)))
    assert_allclose(
        selector.target_rigidity_[1], refitted.prediction_rigidity(data.targets), rtol=2e-8
    )


def test_frames_are_told_what_they_need():
    atoms = pytest.importorskip("ase.build")
    with pytest.raises(TypeError, match="FeatomicDescriptor"):
        PRSelector(1).fit([atoms.molecule("H2O"), atoms.molecule("CH4")])
    with pytest.raises(ValueError, match="row 1 has 3 entries"):
        PRSelector(1).fit([[1.0, 2.0], [1.0, 2.0, 3.0]])
