"""PRSelector under kernel models: the picks of dense Gaussian-process formulas."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.linalg import block_diag
from selection_oracle import assert_greedy, kernel_task
from test_selector import OBJECTIVES, assert_path

from skrigidity import Environments, RigidKernelRidge
from skrigidity.sample_selection import PRSelector

GAMMA = 0.4


def rbf(a, b, columns=slice(None), gamma=GAMMA):
    """Kernel of rows, element by element."""
    return np.exp(-gamma * ((a[:, None, columns] - b[:, columns]) ** 2).sum(axis=-1))


def averages(sizes, aggregate):
    """The matrix that takes means or sums over consecutive rows."""
    out = np.repeat(np.eye(len(sizes)), sizes, axis=1)
    return out / np.array(sizes)[:, None] if aggregate == "mean" else out


class Data:
    """Pool, targets and training rows of different hardness."""

    def __init__(self, kind, seed=0):
        rng = np.random.default_rng([seed, *kind.encode()])
        self.rng = rng
        # (alpha, training rows, spread): the wider the spread, the better conditioned.
        self.alpha, n_train, spread = {
            "well": (0.1, 8, 1.0),
            "firm": (1e-3, 8, 2.0),
            "empty": (1e-2, 0, 1.0),
            "ill": (1e-6, 6, 1.0),
            "duplicates": (1e-2, 4, 1.0),
        }[kind]
        self.train, self.pool, self.targets = (
            spread * rng.standard_normal((n, 3)) for n in (n_train, 24, 5)
        )
        if kind == "duplicates":
            self.pool[12:] = self.pool[rng.permutation(12)]
            self.targets[0] = self.pool[4]

    def select(self, objective, estimator=None, X_target="targets", n=6, fit=None, **arguments):
        estimator = estimator or RigidKernelRidge(self.alpha, kernel="rbf", gamma=GAMMA)
        selector = PRSelector(n, estimator=estimator, objective=objective, **arguments)
        return selector.fit(
            self.pool,
            X_target=self.targets if isinstance(X_target, str) else X_target,
            X_train=self.train if len(self.train) else None,
            **fit or {},
        )

    def task(self, objective, targets=None, **weights):
        targets = self.targets if targets is None else targets
        X = np.vstack([self.train, self.pool, targets])
        n_train, n_pool = len(self.train), len(self.pool)
        return kernel_task(
            rbf(X, X), n_train, n_pool, alpha=self.alpha, objective=objective, **weights
        )


@pytest.mark.parametrize("kind", ["well", "firm", "empty", "ill", "duplicates"])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_picks_are_those_of_a_gaussian_process(kind, objective):
    data = Data(kind)
    selector, task = data.select(objective), data.task(objective)
    assert_path(selector, assert_greedy(task, selector.selected_idx_), rtol=1e-7)
    R = 1 / task.exact_variances(selector.selected_idx_.tolist())
    assert_allclose(selector.target_rigidity_[1], R, rtol=1e-7)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_coverage_of_the_pool_itself(objective):
    data = Data("firm")
    selector = data.select(objective, X_target=None)
    task = data.task(objective, targets=data.pool)
    assert_path(selector, assert_greedy(task, selector.selected_idx_))


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("replace", [False, True])
def test_weights_and_costs(objective, replace):
    data = Data("well")
    rng = data.rng
    weights = {"candidate_weight": 10.0 ** rng.uniform(-2, 2, 24)}
    weights["candidate_weight"][7] = 0.0
    weights["train_weight"] = rng.uniform(0.1, 3, len(data.train))
    if objective != "information":
        weights["target_weight"] = rng.uniform(0.1, 3, 5)
    cost = rng.uniform(0.5, 5, 24)
    selector = data.select(objective, replace=replace, fit={"cost": cost, **weights})
    weights["pool_weight"] = weights.pop("candidate_weight")
    task = data.task(objective, **weights)
    assert_path(selector, assert_greedy(task, selector.selected_idx_, cost=cost, replace=replace))


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_components_as_targets(objective):
    data = Data("well")
    model = RigidKernelRidge(
        data.alpha,
        kernel={"a": "rbf", "b": "rbf"},
        components={"a": [0, 1], "b": [2]},
        gamma={"a": GAMMA, "b": 2 * GAMMA},
    )
    for components in (None, ["b"]):
        selector = data.select(objective, model, level="component", components=components)

        def parts(X):
            return {"a": rbf(X, X, [0, 1]), "b": rbf(X, X, [2], 2 * GAMMA)}

        n, m = len(data.train) + len(data.pool), len(data.targets)
        kernels = parts(np.vstack([data.train, data.pool, data.targets]))
        names = components or ["a", "b"]
        total = kernels["a"] + kernels["b"]
        K = np.zeros((n + m * len(names),) * 2)
        K[:n, :n] = total[:n, :n]
        for i, name in enumerate(names):
            own = slice(n + i * m, n + (i + 1) * m)
            K[own, :n], K[:n, own] = kernels[name][n:, :n], kernels[name][:n, n:]
            K[own, own] = kernels[name][n:, n:]
        task = kernel_task(
            K, len(data.train), len(data.pool), alpha=data.alpha, objective=objective
        )
        assert_path(selector, assert_greedy(task, selector.selected_idx_))
        assert selector.target_rigidity_.shape == (2, m, len(names))


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("aggregate", ["mean", "sum"])
def test_structures_of_environments(objective, aggregate):
    data = Data("well")
    sizes = {"train": [1, 3, 4], "pool": [1, 2, 3] * 4, "targets": [1, 3, 1]}
    parts = {
        name: Environments(getattr(data, name), np.append(0, np.cumsum(n)))
        for name, n in sizes.items()
    }
    model = RigidKernelRidge(data.alpha, kernel="rbf", gamma=GAMMA, aggregate=aggregate)
    X = np.vstack([data.train, data.pool, data.targets])
    for level in ("global", "local"):
        selector = PRSelector(5, estimator=model, level=level, objective=objective)
        selector.fit(parts["pool"], X_target=parts["targets"], X_train=parts["train"])
        S = [averages(n, aggregate) for n in sizes.values()]
        if level == "local":
            S[2] = np.eye(len(data.targets))
        S = block_diag(*S)
        task = kernel_task(S @ rbf(X, X) @ S.T, 3, 12, alpha=data.alpha, objective=objective)
        assert_path(selector, assert_greedy(task, selector.selected_idx_))


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_fitted_model_and_its_unfitted_self_select_the_same(objective):
    data = Data("well")
    fitted = RigidKernelRidge(data.alpha, kernel="rbf", gamma=GAMMA)
    fitted.fit(data.train, data.train[:, 0])
    picks = data.select(objective).selected_idx_
    data.train = data.train[:0]
    assert_array_equal(data.select(objective, fitted).selected_idx_, picks)
