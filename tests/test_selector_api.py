"""PRSelector as a scikit-learn transformer: containers, pipelines, stopping rules, bad input."""

import pickle
import sys
import tracemalloc
import warnings
from itertools import product

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import (
    BayesianRidge,
    HuberRegressor,
    LogisticRegression,
    PoissonRegressor,
    Ridge,
)
from sklearn.model_selection import cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from skrigidity import (
    ComponentRidge,
    Environments,
    PRSelector,
    RigidKernelRidge,
    RigidRidge,
    RigidRidgeCV,
    WithRigidity,
)
from skrigidity.sample_selection import SubsetRegressor
from skrigidity.sample_selection._pool import on_disk

OBJECTIVES = ("mean", "log_mean", "min", "variance", "information")

SHRINKS = "transform returns the chosen samples, not one row per sample of X"
NOT_ITS_POOL = "transform takes the pool of fit, neither a part of it nor other samples"
EXPECTED_FAILURES = {
    "check_transformer_general": SHRINKS,
    "check_transformer_data_not_an_array": SHRINKS,
    "check_methods_subset_invariance": NOT_ITS_POOL,
    "check_methods_sample_order_invariance": NOT_ITS_POOL,
    "check_fit_idempotent": NOT_ITS_POOL,
}


# xfail_strict in pyproject.toml: each of them has to fail.
@pytest.mark.filterwarnings("ignore:PRSelector has chosen:UserWarning")
@parametrize_with_checks([PRSelector()], expected_failed_checks=lambda _: EXPECTED_FAILURES)
def test_check_estimator(estimator, check):
    check(estimator)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def X(rng):
    """A pool whose numbers are the same in single precision."""
    return rng.standard_normal((40, 5)).astype(np.float32).astype(np.float64)


@pytest.fixture
def X_target(rng):
    return rng.standard_normal((6, 5)) + np.array([2, 0, 0, 0, 0])


@pytest.fixture
def X_train(rng):
    return rng.standard_normal((8, 5))


@pytest.fixture
def structures(rng):
    return [rng.standard_normal((1 + i % 3, 5)) for i in range(40)]


# -- containers --------------------------------------------------------------------------------


def memory_map(X, tmp_path, dtype):
    path = tmp_path / "pool.npy"
    np.save(path, X.astype(dtype))
    return np.load(path, mmap_mode="r")


CONTAINERS = {
    "list of rows": lambda X, tmp: X.tolist(),
    "single precision": lambda X, tmp: X.astype(np.float32),
    "Fortran order": lambda X, tmp: np.asfortranarray(X),
    "DataFrame": lambda X, tmp: pd.DataFrame(X, columns=list("abcde")),
    "CSR": lambda X, tmp: sp.csr_matrix(X),
    "CSC array": lambda X, tmp: sp.csc_array(X),
    "memory map": lambda X, tmp: memory_map(X, tmp, np.float64),
    "memory map, single precision": lambda X, tmp: memory_map(X, tmp, np.float32),
    "structures": lambda X, tmp: [row[None] for row in X],
    "3-D array": lambda X, tmp: X[:, None],
    "Environments": lambda X, tmp: Environments.from_arrays([row[None] for row in X]),
    "function": lambda X, tmp: lambda: (X[i : i + 7] for i in range(0, len(X), 7)),
    "function, list": lambda X, tmp: lambda: [X[:25], X[25:].astype(np.float32)],
    "function, CSR": lambda X, tmp: lambda: [sp.csr_matrix(X[:25]), sp.csr_matrix(X[25:])],
    "function, structures": lambda X, tmp: lambda: [[row[None] for row in X[:9]], X[9:, None]],
    "iterator": lambda X, tmp: iter([X[:9], X[9:]]),
    "iterator, structures": lambda X, tmp: iter([[row[None] for row in X[:9]], X[9:, None]]),
}


@pytest.mark.parametrize("container", CONTAINERS)
def test_every_container_gives_the_same_picks(container, X, X_target, X_train, tmp_path):
    reference = PRSelector(10).fit(X, X_target=X_target, X_train=X_train)
    pool = CONTAINERS[container](X, tmp_path)
    selector = PRSelector(10)
    chosen = selector.fit_transform(pool, X_target=X_target, X_train=X_train)
    assert_array_equal(selector.selected_idx_, reference.selected_idx_)
    assert_allclose(selector.objective_path_, reference.objective_path_, rtol=1e-10)
    assert_allclose(selector.target_rigidity_, reference.target_rigidity_, rtol=1e-10)
    if isinstance(chosen, list | Environments):
        chosen = np.concatenate(list(chosen))
    elif sp.issparse(chosen):
        chosen = chosen.toarray()
    assert_array_equal(chosen, X[reference.selected_idx_])


def test_what_lies_on_disk_stays_there(X, tmp_path):
    pool = memory_map(X, tmp_path, np.float32)
    for stored in (pool, pool[3:], Environments(pool, np.arange(41)), np.asarray(pool)):
        assert on_disk(stored)
    for in_memory in (X, X[3:], Environments(X, np.arange(41)), np.array(pool), sp.csr_array(X)):
        assert not on_disk(in_memory)


@pytest.mark.parametrize("wrap", [list, Environments.from_arrays])
@pytest.mark.parametrize("aggregate", ["mean", "sum"])
def test_structures_are_aggregated(wrap, aggregate, structures, X_target):
    model = RigidRidge(aggregate=aggregate)
    selector = PRSelector(6, estimator=model).fit(wrap(structures), X_target=X_target)
    X = Environments.from_arrays(structures).aggregate(aggregate)
    rows = PRSelector(6).fit(X, X_target=X_target)
    assert_array_equal(selector.selected_idx_, rows.selected_idx_)
    chosen = selector.transform(wrap(structures))
    assert type(chosen) is (list if wrap is list else Environments)
    for found, i in zip(chosen, selector.selected_idx_, strict=True):
        assert_array_equal(found, structures[i])


def test_transform_keeps_the_container(X):
    frame = pd.DataFrame(X, columns=list("abcde"), index=np.arange(100, 140))
    selector = PRSelector(4).fit(frame)
    pd.testing.assert_frame_equal(selector.transform(frame), frame.iloc[selector.selected_idx_])
    assert_array_equal(selector.feature_names_in_, list("abcde"))
    assert_array_equal(selector.get_feature_names_out(), list("abcde"))
    sparse = PRSelector(4).fit(X).transform(sp.csr_matrix(X))
    assert sparse.format == "csr"
    assert PRSelector(4).fit_transform(X.astype(np.float32)).dtype == np.float32
    named = PRSelector(4).fit(X).get_feature_names_out()
    assert_array_equal(named, [f"x{i}" for i in range(5)])


def test_set_output(X):
    selector = PRSelector(4).set_output(transform="pandas").fit(X)
    frame = selector.transform(X)
    assert_array_equal(frame.columns, [f"x{i}" for i in range(5)])
    assert_array_equal(frame, X[selector.selected_idx_])
    assert isinstance(clone(selector).fit(X).transform(X), pd.DataFrame)
    assert isinstance(selector.set_output(transform="default").transform(X), np.ndarray)
    with config_context(transform_output="pandas"):
        assert isinstance(PRSelector(4).fit_transform(X), pd.DataFrame)
    pool = [row[None] for row in X]
    chosen = PRSelector(4).set_output(transform="pandas").fit_transform(pool)
    assert isinstance(chosen, list)
    with pytest.raises(ValueError, match="transform must be"):
        selector.set_output(transform="arrow")


def test_polars(X):
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame(X, schema=list("abcde"))
    selector = PRSelector(4).fit(frame)
    chosen = selector.transform(frame)
    assert isinstance(chosen, polars.DataFrame)
    assert_array_equal(chosen.to_numpy(), X[selector.selected_idx_])
    out = PRSelector(4).set_output(transform="polars").fit_transform(X)
    assert isinstance(out, polars.DataFrame)


def test_another_pool_is_refused(X, structures):
    selector = PRSelector(4).fit(X)
    with pytest.raises(ValueError, match="fitted on a pool of 40"):
        selector.transform(X[:-1])
    with pytest.raises(ValueError, match="X is not the pool"):
        selector.transform(X[::-1])
    with pytest.raises(ValueError, match="expecting 5 features"):
        selector.transform(X[:, :4])
    with pytest.raises(ValueError, match="expecting 5 features"):
        selector.transform([row[None, :4] for row in X])
    with pytest.raises(ValueError, match="X is not the pool"):
        PRSelector(4).fit(structures).transform(structures[::-1])
    with pytest.raises(NotFittedError):
        PRSelector().transform(X)
    with pytest.raises(NotFittedError):
        PRSelector().get_support()


def test_get_support(X, X_target):
    selector = PRSelector(6, replace=True).fit(X, X_target=X_target)
    picks = selector.selected_idx_
    assert len(np.unique(picks)) < len(picks)
    mask = selector.get_support()
    assert mask.dtype == bool
    assert_array_equal(np.flatnonzero(mask), np.unique(picks))
    assert_array_equal(selector.get_support(indices=True), np.unique(picks))
    ordered = selector.get_support(indices=True, ordered=True)
    assert_array_equal(ordered, picks)
    ordered[:] = -1
    assert (selector.selected_idx_ >= 0).all()


def test_clone_pickle_and_params(X, X_target):
    selector = PRSelector(0.2, objective="log_mean", X_target=X_target)
    copy = clone(selector)
    assert copy.get_params().keys() == selector.get_params().keys()
    assert_array_equal(copy.get_params()["X_target"], X_target)
    assert copy.set_params(n_to_select=3).n_to_select == 3
    selector.fit(X)
    again = pickle.loads(pickle.dumps(selector))
    assert_array_equal(again.transform(X), selector.transform(X))
    assert_array_equal(clone(selector).fit(X).selected_idx_, selector.selected_idx_)


def test_the_pool_is_not_kept(rng):
    X = rng.standard_normal((2000, 20))
    selector = PRSelector(5).fit(X, X_target=X[:10])
    assert len(pickle.dumps(selector)) < X.nbytes / 50


def test_resampling(X, rng):
    y = pd.Series(rng.standard_normal(40), index=np.arange(100, 140))
    chosen, labels = PRSelector(4).fit_resample(X, y)
    picks = PRSelector(4).fit(X).selected_idx_
    assert_array_equal(chosen, X[picks])
    pd.testing.assert_series_equal(labels, y.iloc[picks])
    chosen, labels = PRSelector(4).fit_resample(iter([X[:5], X[5:]]), np.arange(80).reshape(40, 2))
    assert_array_equal(chosen, X[picks])
    assert_array_equal(labels[:, 0], 2 * picks)
    assert PRSelector(4).fit_resample(X)[1] is None
    with pytest.raises(ValueError, match="y must have one entry per candidate, 40, got 39"):
        PRSelector(4).fit_resample(X, y[:-1])


def test_progress_bar(X, capsys, monkeypatch):
    pytest.importorskip("tqdm")
    PRSelector(7, progress_bar=True).fit(X)
    assert "PRSelector: 7pick" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "tqdm", None)
    with pytest.raises(ImportError, match=r"PRSelector\(progress_bar=True\) needs tqdm: pip"):
        PRSelector(7, progress_bar=True).fit(X)


# -- how many ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n_to_select", "n"), [(None, 20), (1, 1), (7, 7), (1.0, 40), (0.1, 4), (0.001, 1)]
)
def test_n_to_select(n_to_select, n, X):
    selector = PRSelector(n_to_select).fit(X)
    assert len(np.unique(selector.selected_idx_)) == len(selector.selected_idx_) == n
    assert selector.objective_path_.shape == (n + 1,)
    assert selector.gains_.shape == (n,)
    assert selector.n_candidates_ == 40
    assert selector.total_cost_ == n


def test_paths_and_rigidities_fit_together(X, X_target, X_train):
    data = {"X_target": X_target, "X_train": X_train}
    for objective in OBJECTIVES:
        selector = PRSelector(6, objective=objective).fit(X, **data)
        gains = np.diff(selector.objective_path_)
        assert_allclose(selector.gains_, -gains if objective == "variance" else gains, rtol=1e-9)
        assert (selector.gains_ >= 0).all()
        model = RigidRidge().fit(X_train, np.zeros(8))
        chosen = X[selector.selected_idx_]
        R = [model.prediction_rigidity(X_target), model.rigidity_with(X_target, chosen)]
        assert_allclose(selector.target_rigidity_, R, rtol=1e-9)
    mean = PRSelector(6).fit(X, **data)
    assert_allclose(mean.objective_path_[[0, -1]], mean.target_rigidity_.mean(axis=1))


@pytest.mark.parametrize("objective", ["mean", "log_mean", "variance", "information"])
def test_stops_at_the_threshold(objective, X, X_target, X_train):
    data = {"X_target": X_target, "X_train": X_train}
    path = PRSelector(20, objective=objective).fit(X, **data).objective_path_
    threshold = (path[8] + path[9]) / 2
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        selector = PRSelector(objective=objective, threshold=threshold).fit(X, **data)
    assert len(selector.selected_idx_) == 9
    assert_allclose(selector.objective_path_, path[:10])


def test_stops_when_every_target_is_firm(X, X_target, X_train):
    data = {"X_target": X_target, "X_train": X_train}
    path = PRSelector(20, objective="min").fit(X, **data).objective_path_
    threshold = (path[8] + path[9]) / 2
    options = {"objective": "min", "threshold": threshold}
    selector = PRSelector(threshold_on="targets", **options).fit(X, **data)
    assert len(selector.selected_idx_) == len(PRSelector(**options).fit(X, **data).selected_idx_)
    selector.set_params(objective="variance").fit(X, **data)
    k = len(selector.selected_idx_)
    assert 0 < k < 40
    assert selector.target_rigidity_[1].min() >= threshold
    selector.set_params(n_to_select=k - 1, threshold=None).fit(X, **data)
    assert selector.target_rigidity_[1].min() < threshold


@pytest.mark.parametrize("limits", [{"n_to_select": 5}, {"budget": 5.5}, {}])
def test_warns_where_the_threshold_is_not_reached(limits, X, X_target):
    message = "threshold=1000000.0 is not reached with the"
    with pytest.warns(ConvergenceWarning, match=message) as caught:
        selector = PRSelector(threshold=1e6, **limits).fit(X, X_target=X_target)
    assert len(selector.selected_idx_) == (5 if limits else 40)
    assert caught[0].filename == __file__


def test_a_threshold_may_be_reached_already(X, X_target, X_train):
    for pool in (X, lambda: [X]):
        selector = PRSelector(threshold=1e-3).fit(pool, X_target=X_target, X_train=X_train)
        assert selector.selected_idx_.shape == selector.gains_.shape == (0,)
        assert selector.objective_path_.shape == (1,)
        assert_array_equal(*selector.target_rigidity_)
        assert selector.transform(pool).shape == (0, 5)
        assert not selector.get_support().any()


def test_repeats_until_the_threshold_is_reached(X, X_target):
    options = {"threshold": 5.0, "replace": True}
    selector = PRSelector(1000, **options).fit(X[:6], X_target=X[:6] + 0.1)
    assert 6 < len(selector.selected_idx_) < 1000
    assert selector.objective_path_[-1] >= 5.0 > selector.objective_path_[-2]
    with pytest.raises(ValueError, match="n_to_select or budget must be given where replace=True"):
        PRSelector(**options).fit(X, X_target=X_target)
    assert len(PRSelector(budget=50.5, replace=True).fit(X[:6]).selected_idx_) == 50


def test_repeating_is_choosing_among_copies(X, X_target, X_train):
    data = {"X_target": X_target, "X_train": X_train}
    for objective in OBJECTIVES:
        repeated = PRSelector(6, objective=objective, replace=True).fit(X, **data)
        copies = PRSelector(6, objective=objective).fit(np.tile(X, (6, 1)), **data)
        assert_array_equal(repeated.selected_idx_, copies.selected_idx_ % 40)
        assert_allclose(repeated.objective_path_, copies.objective_path_, rtol=1e-9)
    assert PRSelector(50, replace=True).fit(X, **data).selected_idx_.shape == (50,)


# -- what is chosen ----------------------------------------------------------------------------


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_ties_go_to_the_lowest_index(objective, X, X_target, X_train):
    once = PRSelector(1, objective=objective).fit(X, X_target=X_target, X_train=X_train)
    for seed, storage in enumerate(["float64", "float64", "float32", None]):
        order = np.random.default_rng(seed).permutation(120)
        pool = np.tile(X, (3, 1))[order]
        selector = PRSelector(1, objective=objective, storage=storage)
        selector.fit(pool, X_target=X_target, X_train=X_train)
        assert_array_equal(
            selector.selected_idx_, np.flatnonzero(order % 40 == once.selected_idx_)[0]
        )
    model = RigidRidge(fit_intercept=False)
    nothing = PRSelector(2, estimator=model, objective=objective, storage=storage)
    nothing.fit(np.eye(3)[[0, 0, 1, 1]], X_target=[[0.0, 0.0, 1.0]])
    assert_array_equal(nothing.selected_idx_, [0, 1])


def test_all_first_picks_tell_the_same_of_targets_that_leave_nothing_open(X, rng):
    for shift in (0.0, 3.0):
        selector = PRSelector(1, objective="information").fit(
            X + shift, X_target=rng.standard_normal((30, 5))
        )
        assert_array_equal(selector.selected_idx_, [0])


def test_gains_are_per_cost(X, X_target, X_train, rng):
    data = {"X_target": X_target, "X_train": X_train}
    cost = rng.uniform(0.5, 3.0, 40)
    model = RigidRidge().fit(X_train, np.zeros(8))
    before = model.prediction_rigidity(X_target).mean()
    gain = [model.rigidity_with(X_target, row[None]).mean() - before for row in X]
    selector = PRSelector(1).fit(X, cost=cost, **data)
    assert selector.selected_idx_[0] == np.argmax(gain / cost) != np.argmax(gain)
    assert_allclose(selector.gains_[0], gain[selector.selected_idx_[0]])
    assert_array_equal(
        PRSelector(9).fit(X, cost=np.full(40, 2.5), **data).selected_idx_,
        PRSelector(9).fit(X, **data).selected_idx_,
    )


def test_budget(X, X_target, X_train, rng):
    data = {"X_target": X_target, "X_train": X_train}
    assert len(PRSelector(budget=7.5).fit(X, **data).selected_idx_) == 7
    cost = rng.uniform(0.5, 3.0, 40)
    selector = PRSelector(budget=10.0).fit(X, cost=cost, **data)
    assert_allclose(selector.total_cost_, cost[selector.selected_idx_].sum())
    left = 10.0 - selector.total_cost_
    assert 0 <= left < np.delete(cost, selector.selected_idx_).min()
    # What is too expensive is passed over.
    first = PRSelector(1).fit(X, **data).selected_idx_[0]
    cost = np.ones(40)
    cost[first] = 5.5
    assert first not in PRSelector(budget=5.0).fit(X, cost=cost, **data).selected_idx_
    with pytest.raises(ValueError, match=r"budget=0.5 is less than what any candidate costs, 1\.0"):
        PRSelector(budget=0.5).fit(X, **data)


def test_weights_of_candidates(X, X_target, X_train):
    data = {"X_target": X_target, "X_train": X_train}
    weight = np.ones(40)
    best = PRSelector(3).fit(X, **data).selected_idx_
    weight[best] = 0.0
    selector = PRSelector(37).fit(X, candidate_weight=weight, **data)
    assert not set(best) & set(selector.selected_idx_)
    for options in ({"n_to_select": 1.0}, {"budget": 50.0}):
        selector = PRSelector(**options).fit(X, candidate_weight=weight, **data)
        assert len(selector.selected_idx_) == 37
    # A row of weight w raises its own rigidity by w.
    weight = np.linspace(0.1, 2.0, 40)
    own = PRSelector(1).fit(X[:1], X_target=X[:1], X_train=X_train, candidate_weight=[2.5])
    assert_allclose(np.diff(own.target_rigidity_, axis=0), 2.5)
    selector = PRSelector(5).fit(X, candidate_weight=weight, **data)
    picks = selector.selected_idx_
    model = RigidRidge().fit(X_train, np.zeros(8))
    R = model.rigidity_with(X_target, X[picks], weight[picks])
    assert_allclose(selector.target_rigidity_[1], R)


def test_weights_of_targets_repeat_them(X, X_target, X_train):
    weighted = PRSelector(5).fit(
        X, X_target=X_target, target_weight=[1, 3, 1, 2, 1, 1], X_train=X_train
    )
    repeated = PRSelector(5).fit(X, X_target=X_target[[0, 1, 1, 1, 2, 3, 3, 4, 5]], X_train=X_train)
    assert_array_equal(weighted.selected_idx_, repeated.selected_idx_)
    assert_allclose(weighted.objective_path_, repeated.objective_path_)


def test_training_weights_repeat_samples(X, X_target, X_train):
    data = {"X_target": X_target}
    weighted = PRSelector(5).fit(X, X_train=X_train[:3], train_weight=[1, 2, 1], **data)
    repeated = PRSelector(5).fit(X, X_train=X_train[[0, 1, 1, 2]], **data)
    assert_array_equal(weighted.selected_idx_, repeated.selected_idx_)
    assert_allclose(weighted.objective_path_, repeated.objective_path_)


def test_constructor_and_fit_take_the_same_data(X, X_target, X_train):
    data = {
        "X_target": X_target,
        "target_weight": np.arange(1.0, 7.0),
        "X_train": X_train,
        "train_weight": np.arange(1.0, 9.0),
    }
    at_fit, before = PRSelector(5).fit(X, **data), PRSelector(5, **data).fit(X)
    assert_array_equal(at_fit.objective_path_, before.objective_path_)
    # What fit is given goes first.
    other = PRSelector(5, X_target=X[:3]).fit(X, X_target=X_target)
    assert_array_equal(other.selected_idx_, PRSelector(5).fit(X, X_target=X_target).selected_idx_)


def test_targets_that_cannot_move_are_counted(X, X_train):
    targets = np.vstack([X[:3], np.zeros((2, 5)), X[3:5]])
    for objective in OBJECTIVES:
        options = {"estimator": RigidRidge(fit_intercept=False), "objective": objective}
        selector = PRSelector(4, **options).fit(X, X_target=targets, X_train=X_train)
        assert selector.n_unmovable_targets_ == 2
        assert (selector.target_rigidity_[:, 3:5] == np.inf).all()
        others = PRSelector(4, **options).fit(X, X_target=X[:5], X_train=X_train)
        assert others.n_unmovable_targets_ == 0
        assert_array_equal(selector.selected_idx_, others.selected_idx_)
        assert_allclose(selector.objective_path_, others.objective_path_)
    with pytest.raises(ValueError, match="X_target has no prediction that can move"):
        PRSelector(4, **options).fit(X, X_target=np.zeros((2, 5)))


# -- levels and estimators ---------------------------------------------------------------------


def test_local_targets_are_environments(X, structures, X_train):
    selector = PRSelector(4, level="local").fit(X, X_target=structures[:5], X_train=X_train)
    model = RigidRidge().fit(np.vstack([X_train, X[selector.selected_idx_]]), np.zeros(12))
    R = np.concatenate(model.local_rigidity(structures[:5]))
    assert_allclose(selector.target_rigidity_[1], R)
    flat = np.concatenate(structures[:5])
    rows = PRSelector(4, level="local").fit(X, X_target=flat, X_train=X_train)
    assert_array_equal(rows.selected_idx_, selector.selected_idx_)
    own = PRSelector(4, level="local").fit(structures, X_train=X_train)
    assert own.target_rigidity_.shape == (2, sum(len(s) for s in structures))


def test_component_targets(X, X_target, X_train):
    components = {"a": slice(0, 2), "b": slice(2, 5)}
    selector = PRSelector(4, level="component", components=components)
    selector.fit(X, X_target=X_target, X_train=X_train)
    assert selector.target_rigidity_.shape == (2, 6, 2)
    model = RigidRidge().fit(np.vstack([X_train, X[selector.selected_idx_]]), np.zeros(12))
    R = model.component_rigidity(X_target, components)
    assert_allclose(selector.target_rigidity_[1], R)
    assert_allclose(selector.objective_path_[-1], R.mean())
    named = PRSelector(4, estimator=ComponentRidge(components), level="component")
    named.fit(X, X_target=X_target, X_train=X_train)
    assert_array_equal(named.selected_idx_, selector.selected_idx_)


def test_component_targets_by_column_names(X, X_target, X_train):
    names = list("abcde")
    components = {"first": ["b", "a"], "rest": ["c", "d", "e"]}
    selector = PRSelector(4, level="component", components=components)
    frames = [pd.DataFrame(data, columns=names) for data in (X, X_target, X_train)]
    selector.fit(frames[0], X_target=frames[1], X_train=frames[2])
    columns = {"first": [1, 0], "rest": [2, 3, 4]}
    by_number = PRSelector(4, level="component", components=columns)
    by_number.fit(X, X_target=X_target, X_train=X_train)
    assert_array_equal(selector.selected_idx_, by_number.selected_idx_)


def test_alpha_or_estimator(X, X_target, X_train):
    data = {"X_target": X_target, "X_train": X_train}
    for alpha, same in ((0.3, RigidRidge(0.3)), (None, RigidRidge(1.0))):
        own = PRSelector(5, alpha=alpha).fit(X, **data)
        for estimator in (same, FrozenEstimator(same)):
            selector = PRSelector(5, estimator=estimator).fit(X, **data)
            assert_array_equal(selector.objective_path_, own.objective_path_)
    with pytest.raises(ValueError, match=r"alpha=0.3 and estimator=RigidRidge\(\): give one"):
        PRSelector(5, alpha=0.3, estimator=RigidRidge()).fit(X, **data)


@pytest.mark.parametrize(
    "estimator",
    [
        RigidRidge(0.3),
        RigidRidge(1e-6, fit_intercept=False, solver="qr"),
        RigidRidgeCV([0.1, 1.0]),
        ComponentRidge({"a": slice(0, 2), "b": slice(2, 5)}, {"a": 0.1, "b": 2.0}),
        ComponentRidge({"a": slice(0, 2), "b": slice(2, 5)}, orthogonalize="sequential"),
        RigidKernelRidge(0.3, kernel="rbf", gamma=0.1),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_fitted_estimators_bring_their_hessian(estimator, X, X_target, X_train, rng):
    estimator = clone(estimator).fit(X_train, rng.standard_normal(8))
    plain = PRSelector(5, estimator=estimator).fit(X, X_target=X_target)
    frozen = clone(PRSelector(5, estimator=FrozenEstimator(estimator))).fit(X, X_target=X_target)
    assert_array_equal(plain.objective_path_, frozen.objective_path_)
    R = estimator.prediction_rigidity(X_target)
    assert_allclose(plain.target_rigidity_[0], R, rtol=1e-7)
    if isinstance(estimator, RigidRidge):
        unfitted = PRSelector(5, estimator=clone(estimator))
        unfitted.fit(X, X_target=X_target, X_train=X_train)
        assert_array_equal(plain.selected_idx_, unfitted.selected_idx_)
        assert_allclose(plain.objective_path_, unfitted.objective_path_, rtol=1e-7)
        more = PRSelector(5, estimator=estimator).fit(X, X_target=X_target, X_train=X[:2])
        assert_allclose(
            more.target_rigidity_[0], estimator.rigidity_with(X_target, X[:2]), rtol=1e-7
        )


def test_kernels_of_structures(structures, X_train):
    data = {"X_target": structures[:4], "X_train": structures[30:]}
    estimator = RigidKernelRidge(0.3, kernel="linear")
    selector = PRSelector(5, estimator=estimator).fit(structures[:30], **data)
    ridge = RigidRidge(0.3, fit_intercept=False)
    linear = PRSelector(5, estimator=ridge).fit(structures[:30], **data)
    assert_array_equal(selector.selected_idx_, linear.selected_idx_)
    assert_allclose(selector.objective_path_, linear.objective_path_, rtol=1e-7)
    with pytest.raises(ValueError, match="whole pool at hand"):
        selector.fit(lambda: [structures[:30]], **data)


@pytest.mark.parametrize(
    "estimator",
    [
        BayesianRidge(),
        HuberRegressor(),
        PoissonRegressor(alpha=0.1),
        LogisticRegression(),
        KernelRidge(kernel="rbf"),
        GaussianProcessRegressor(RBF(), alpha=0.1),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_any_fitted_model_with_rigidities(estimator, X, X_target):
    y = np.abs(X.sum(axis=1))
    label = y > 1 if hasattr(estimator, "decision_function") else y
    model = WithRigidity(estimator).fit(X[:20], label[:20])
    selector = PRSelector(3, estimator=model).fit(X[20:], X_target=X_target)
    chosen = X[20:][selector.selected_idx_]
    R = [model.prediction_rigidity(X_target), model.rigidity_with(X_target, chosen)]
    assert_allclose(selector.target_rigidity_, R, rtol=1e-7)
    each = [model.rigidity_with(X_target, x[None]).mean() for x in X[20:]]
    assert selector.selected_idx_[0] == np.argmax(each)


def test_a_rigidity_per_class_is_no_objective(X):
    label = np.digitize(X[:, 0], [-0.5, 0.5])
    model = WithRigidity(LogisticRegression()).fit(X, label)
    with pytest.raises(ValueError, match="estimator must have one output per sample"):
        PRSelector(3, estimator=model).fit(X)


# -- warm start --------------------------------------------------------------------------------

WARM = {
    **{objective: {"objective": objective} for objective in OBJECTIVES},
    "read again": {"storage": None},
    "local": {"level": "local"},
    "component": {"level": "component", "components": [2, 3]},
    "kernel": {"estimator": RigidKernelRidge(0.5, kernel="rbf")},
    "kernel, information": {
        "estimator": RigidKernelRidge(0.5, kernel="rbf"),
        "objective": "information",
    },
}


@pytest.mark.parametrize("trained", [True, False])
@pytest.mark.parametrize("kind", WARM)
def test_warm_start_is_going_on(kind, trained, X, X_target, X_train):
    data = {"X_target": X_target, "X_train": X_train if trained else None}
    cost = np.linspace(1.0, 2.0, 40)
    at_once = PRSelector(9, **WARM[kind]).fit(X, cost=cost, **data)
    selector = PRSelector(2, warm_start=True, **WARM[kind]).fit(X, cost=cost, **data)
    for n_to_select in (3, 3, 9):
        selector.set_params(n_to_select=n_to_select).fit(X, cost=cost, **data)
        assert_array_equal(selector.selected_idx_, at_once.selected_idx_[:n_to_select])
    for name in ("objective_path_", "gains_", "target_rigidity_", "total_cost_"):
        assert_allclose(getattr(selector, name), getattr(at_once, name), rtol=1e-7, err_msg=name)
    selector.set_params(warm_start=False, n_to_select=2).fit(X, cost=cost, **data)
    assert_array_equal(selector.selected_idx_, at_once.selected_idx_[:2])


def test_warm_start_continues_nothing_else(X, X_target, X_train):
    data = {"X_target": X_target, "X_train": X_train}
    selector = PRSelector(3, warm_start=True).fit(X, **data)
    for pool in (X[::-1], X[:-1]):
        with pytest.raises(ValueError, match="X is not the pool of the last fit"):
            selector.fit(pool, **data)
    changed = "warm_start=True continues the last fit: X_target, X_train"
    for other in (
        {"X_target": X_target[:4]},
        {"X_target": X_target + 1},
        {"X_target": X_target, "X_train": X_train[:4]},
        {"target_weight": np.arange(1, 7), **data},
    ):
        with pytest.raises(ValueError, match=changed):
            clone(selector).fit(X, **data).fit(X, **other)
    for parameter in ({"objective": "information"}, {"alpha": 3.0}):
        with pytest.raises(ValueError, match=changed):
            clone(selector).fit(X, **data).set_params(**parameter).fit(X, **data)
    with pytest.raises(ValueError, match="n_to_select=2 is less than the 3"):
        selector.set_params(n_to_select=2).fit(X, **data)


# -- pipelines and searches --------------------------------------------------------------------


def test_last_step_of_a_pipeline(X, X_target):
    pipe = make_pipeline(StandardScaler(), PRSelector(4))
    chosen = pipe.fit_transform(X)
    scaled = StandardScaler().fit_transform(X)
    assert_array_equal(chosen, PRSelector(4).fit_transform(scaled))
    assert_array_equal(pipe.transform(X), chosen)
    assert_array_equal(pipe.get_feature_names_out(), [f"x{i}" for i in range(5)])
    pipe.fit(X, prselector__X_target=X_target)
    reference = PRSelector(4).fit(scaled, X_target=X_target)  # as it is
    assert_array_equal(pipe[-1].selected_idx_, reference.selected_idx_)


def test_a_step_that_gets_fewer_samples_than_targets_is_told_of_the_alternative(X):
    y = X.sum(axis=1)
    pipe = make_pipeline(PRSelector(4), RigidRidge())
    with (
        pytest.warns(UserWarning, match=r"4 of 40 samples .* SubsetRegressor\(estimator, PRSel"),
        pytest.raises(ValueError, match="inconsistent numbers of samples"),
    ):
        pipe.fit(X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        PRSelector(40).fit_transform(X, y)
        PRSelector(4).fit_transform(X)
        PRSelector(4).fit_resample(X, y)


def test_routed_data_go_through_the_steps_before(X, X_target, X_train):
    scaler = StandardScaler().fit(X)
    reference = PRSelector(4).fit(
        scaler.transform(X),
        X_target=scaler.transform(X_target),
        X_train=scaler.transform(X_train),
        cost=np.linspace(1, 2, 40),
    )
    as_is = PRSelector(4).fit(scaler.transform(X), X_target=X_target, X_train=X_train)
    assert not np.array_equal(reference.selected_idx_, as_is.selected_idx_)
    with config_context(enable_metadata_routing=True):
        selector = PRSelector(4).set_fit_request(X_target=True, X_train=True, cost="price")
        pipe = make_pipeline(StandardScaler(), selector, transform_input=["X_target", "X_train"])
        data = {"X_target": X_target, "X_train": X_train, "price": np.linspace(1, 2, 40)}
        pipe.fit(X, **data)
        assert_array_equal(pipe[-1].selected_idx_, reference.selected_idx_)
        assert_allclose(pipe[-1].objective_path_, reference.objective_path_)
        chosen = pipe.fit_transform(X, **data)
        assert_array_equal(chosen, scaler.transform(X)[reference.selected_idx_])


def test_constructor_data_are_never_sliced(X, rng):
    """Cross-validation slices whatever is as long as X: where routed, not in the constructor."""
    X_target, y = rng.standard_normal((40, 5)) + 1, X.sum(axis=1)
    data = {"X_target": X_target, "X_train": X_target[:, ::-1]}
    safe = SubsetRegressor(RigidRidge(), PRSelector(4, **data))
    folds = cross_validate(safe, X, y, cv=2, return_estimator=True, return_indices=True)
    for model, train in zip(folds["estimator"], folds["indices"]["train"], strict=True):
        assert model.selector_.target_rigidity_.shape == (2, 40)
        reference = PRSelector(4).fit(X[train], **data)
        assert_allclose(model.selector_.objective_path_, reference.objective_path_)
    with config_context(enable_metadata_routing=True):
        selector = PRSelector(4).set_fit_request(X_target=True, X_train=True)
        routed = SubsetRegressor(RigidRidge(), selector)
        folds = cross_validate(routed, X, y, cv=2, return_estimator=True, params=data)
        assert folds["estimator"][0].selector_.target_rigidity_.shape == (2, 20)


# -- bad input ---------------------------------------------------------------------------------

T = np.ones((3, 5)) + np.arange(5)

BAD_PARAMETERS = {
    "n_to_select": [0, -1, 1.5, "all", np.nan, 41],
    "alpha": [-1.0, np.nan, np.inf, "small", [1.0]],
    "estimator": [
        Ridge(),
        "ridge",
        RigidRidge([1.0, 2.0]),
        RigidRidgeCV(),
        RigidKernelRidge(kernel="precomputed"),
        ComponentRidge([2, 3], orthogonalize="sequential"),
        RigidRidge().fit(np.eye(3), np.ones(3)),
        RigidRidge([1.0, 2.0]).fit(T, np.ones((3, 2))),
    ],
    "objective": ["median", None],
    "level": ["atom", None],
    "components": [[2, 3], {"a": [0]}],
    "threshold": [np.nan, np.inf, "high"],
    "threshold_on": ["atoms"],
    "budget": [0, -1.0, np.nan, "low"],
    "replace": ["no"],
    "warm_start": ["no"],
    "storage": ["float16", 8],
    "X_target": [T[:, :4], T[0], T * np.nan, T * 1j, [], "T", T[:0], [T[:, :3]], 5.0, lambda: [T]],
    "X_train": [T[:, :4], T[0], T * np.nan, T * 1j, [], "T", T[:0], [T[:, :3]], 5.0, lambda: [T]],
    "progress_bar": ["yes"],
}
BAD_DATA = {
    "target_weight": [np.ones(2), -np.ones(3), np.zeros(3), np.full(3, np.nan), np.ones((3, 1))],
    "train_weight": [np.ones(2), -np.ones(3), np.zeros(3), np.full(3, np.nan), np.ones((3, 1))],
    "cost": [np.ones(2), -np.ones(40), np.zeros(40), np.full(40, np.nan), np.ones((40, 1)), 2.0],
    "candidate_weight": [np.ones(2), -np.ones(40), np.zeros(40), np.full(40, np.nan), 2.0, "all"],
}


@pytest.mark.parametrize("name", BAD_PARAMETERS)
def test_bad_parameters_are_named(name, X):
    for value in BAD_PARAMETERS[name]:
        with pytest.raises((ValueError, TypeError), match=rf"\b{name}\b"):
            PRSelector(**{"n_to_select": 2, name: value}).fit(X)


@pytest.mark.parametrize("gamma", [np.ones(4), -np.ones(5), np.zeros(5)])
def test_bad_regularizers_of_the_estimator_are_named(gamma, X):
    with pytest.raises(ValueError, match="regularizer"):
        PRSelector(2, estimator=RigidRidge(regularizer=gamma)).fit(X)


@pytest.mark.parametrize("name", BAD_DATA)
def test_bad_data_are_named(name, X):
    for value in BAD_DATA[name]:
        with pytest.raises((ValueError, TypeError), match=rf"\b{name}\b"):
            PRSelector(2).fit(X, **{"X_target": T, "X_train": T, name: value})


BAD_POOLS = {
    "1-D": (lambda X: X[0], "Expected 2D array"),
    "NaN": (lambda X: X * np.nan, "Input X contains NaN"),
    "complex": (lambda X: X * 1j, "Complex data"),
    "empty": (lambda X: X[:0], "Found array with 0 sample"),
    "frames": (lambda X: ["a", "b"], "could not convert"),
    "ragged": (lambda X: [X[:2], X[:3, :4]], "X: structure 1 has 4 features, expected 5"),
    "empty structure": (lambda X: [X[:2], X[:0]], "X: structure 1 has no environments"),
    "NaN in a structure": (lambda X: [X[:2], X[:3] * np.nan], "X: expected finite.* structure 1"),
    "no block": (lambda X: iter([]), "X: the iterator returned no block"),
    "1-D block": (lambda X: iter(X), "block 0 of X: Expected 2D array"),
    "NaN in a block": (lambda X: iter([X, X * np.nan]), "Input block 1 of X contains NaN"),
    "width": (lambda X: iter([X, X[:, :3]]), "block 1 of X has 3 features, expected 5"),
    "function, None": (lambda X: lambda: None, "X: the function must return an iterable"),
    "function, array": (lambda X: lambda: X, "block 0 of X: Expected 2D array"),
    "function, no block": (lambda X: lambda: [], "X: the function returned no block"),
    "function, width": (lambda X: lambda: [X, X[:, :3]], "block 1 of X has 3 features, expected 5"),
}


@pytest.mark.parametrize("kind", BAD_POOLS)
def test_bad_pools(kind, X):
    make, message = BAD_POOLS[kind]
    with pytest.raises((ValueError, TypeError), match=message):
        PRSelector(1).fit(make(X))


@pytest.mark.parametrize("scale", [1e160, 1e-160])
@pytest.mark.parametrize("name", ["X", "X_target", "X_train"])
def test_numbers_too_large_or_small_give_errors_rather_than_nan(name, scale, X, X_target, X_train):
    data = {"X": X, "X_target": X_target, "X_train": X_train}
    data[name] = scale * data[name]
    pool = data.pop("X")
    for estimator, objective in product([RigidRidge(), RigidKernelRidge()], OBJECTIVES):
        selector = PRSelector(2, estimator=estimator, objective=objective)
        try:
            selector.fit(pool, **data)
        except ValueError as error:
            assert name in str(error)  # noqa: PT017
        else:
            assert scale < 1
            assert np.isfinite(selector.objective_path_).all()
            assert not np.isnan(selector.target_rigidity_).any()


@pytest.mark.parametrize("objective", ["variance", "information"])
def test_the_first_pick_needs_memory_for_the_pool_not_for_its_square(objective, rng):
    X = rng.standard_normal((5000, 10))
    PRSelector(1, objective=objective).fit(X[:50])
    tracemalloc.start()
    PRSelector(2, objective=objective).fit(X)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * len(X) ** 2 / 3


def test_functions_start_over(X, X_target):
    once = iter([X[:9], X[9:]])
    with pytest.raises(ValueError, match="it must start over at every call"):
        PRSelector(2).fit(lambda: once, X_target=X_target)


def test_arguments_that_do_not_go_together(X, X_target):
    cases = [
        ({}, {"target_weight": np.ones(40)}, "target_weight must be None where there is no X_tar"),
        (
            {"objective": "information"},
            {"target_weight": np.ones(6), "X_target": X_target},
            "target_weight must be None where objective='information'",
        ),
        ({}, {"train_weight": [1.0]}, "train_weight must be None where there is no X_train"),
        ({"level": "component"}, {}, "components must be given"),
        ({"alpha": 0.0}, {}, "alpha must be positive"),
        ({"alpha": 0.0}, {"X_train": X[:2]}, "alpha must be positive, or X_train large enough"),
    ]
    for parameters, data, message in cases:
        with pytest.raises(ValueError, match=message):
            PRSelector(2, **parameters).fit(X, **data)
    with pytest.raises(ValueError, match="X_target must be given where level='local'"):
        PRSelector(2, level="local").fit(lambda: [X])
    fitted = RigidKernelRidge(kernel="rbf").fit(X, X[:, 0])
    with pytest.raises(ValueError, match="X_train must be None where estimator is a fitted"):
        PRSelector(2, estimator=fitted).fit(X, X_train=X)
    weight = np.r_[np.zeros(30), np.ones(10)]
    with pytest.raises(ValueError, match=r"n_to_select=11 exceeds .* 10, and replace=False"):
        PRSelector(11).fit(X, candidate_weight=weight)


def test_columns_must_be_those_of_the_pool(X, X_target):
    names = list("abcde")
    pool = pd.DataFrame(X, columns=names)
    moved = pd.DataFrame(X_target, columns=list("abced"))
    message = " must have the columns of X in the same order: its column 3 is 'e', that of X 'd'"
    with pytest.raises(ValueError, match="X_target" + message):
        PRSelector(2).fit(pool, X_target=moved)
    with pytest.raises(ValueError, match="X_train" + message):
        PRSelector(2).fit(pool, X_train=moved)
    with pytest.raises(ValueError, match="estimator" + message):
        PRSelector(2, estimator=RigidRidge().fit(moved, X_target[:, 0])).fit(pool)
    PRSelector(2).fit(pool, X_target=X_target, X_train=moved[names])
