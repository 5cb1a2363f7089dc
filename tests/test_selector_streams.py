"""PRSelector on pools in pieces and at low precision, and what must hold for any pool."""

from itertools import pairwise

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from skrigidity import Environments, RigidRidge
from skrigidity.sample_selection import PRSelector

OBJECTIVES = ("mean", "log_mean", "min", "variance", "information")


def problem(seed, n=60, d=6, n_targets=4, n_train=3):
    """Pool, targets and training rows."""
    rng = np.random.default_rng(seed)
    pool, targets, train = (rng.standard_normal((m, d)) for m in (n, n_targets, n_train))
    return pool, targets + 0.5, train


def select(pool, targets, train, n_to_select=8, alpha=1e-3, **parameters):
    fit = {k: parameters.pop(k) for k in ("candidate_weight", "cost") if k in parameters}
    selector = PRSelector(n_to_select, alpha=alpha, **parameters)
    return selector.fit(pool, X_target=targets, X_train=train, **fit)


# -- pools in pieces --------------------------------------------------------------------------


def blocks(pool, sizes=(1, 30, 500)):
    """A function that returns the pool in blocks of unequal sizes."""
    bounds = [0, *np.cumsum(sizes), len(pool)]
    return lambda: (pool[a:b] for a, b in pairwise(bounds))


@pytest.fixture(scope="module")
def on_disk(tmp_path_factory):
    """A pool in single precision, as a memory map and in memory."""
    pool = problem(0, n=3000, d=20)[0].astype(np.float32)
    path = tmp_path_factory.mktemp("pool") / "pool.npy"
    np.save(path, pool)
    return np.load(path, mmap_mode="r"), pool.astype(np.float64)


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("alpha", [1e-2, 1e-11])
def test_storage_and_containers_change_nothing(on_disk, objective, alpha):
    mapped, pool = on_disk
    _, targets, train = problem(1, d=20, n_targets=12, n_train=10)
    arguments = {"n_to_select": 40, "alpha": alpha, "objective": objective}
    expected = select(pool, targets, train, **arguments)
    for X, storage in (
        (mapped, "auto"),
        (mapped, "float32"),
        (pool, None),
        (pool, "float32"),
        (blocks(pool), "auto"),
        (blocks(mapped), "float64"),
        (sp.csr_array(pool), "auto"),
    ):
        selector = select(X, targets, train, storage=storage, **arguments)
        assert_array_equal(selector.selected_idx_, expected.selected_idx_)
        assert_allclose(selector.objective_path_, expected.objective_path_, rtol=1e-8, atol=1e-8)
        assert_allclose(selector.target_rigidity_, expected.target_rigidity_, rtol=1e-8)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_coverage_of_a_pool_on_disk(on_disk, objective):
    mapped, pool = on_disk[0][:400], on_disk[1][:400]
    expected = select(pool, None, None, objective=objective, n_to_select=20)
    for storage in (None, "float32"):
        selector = select(mapped, None, None, objective=objective, n_to_select=20, storage=storage)
        assert_array_equal(selector.selected_idx_, expected.selected_idx_)
        # The pool's own variances follow products in the precision of the storage.
        rtol = 1e-8 if storage is None else 1e-5
        assert_allclose(selector.objective_path_, expected.objective_path_, rtol=rtol)


def test_structures_on_disk(on_disk):
    offsets = np.arange(0, 3001, 3)
    mapped, pool = (Environments(X, offsets) for X in on_disk)
    _, targets, train = problem(1, d=20)
    arguments = {"level": "local", "n_to_select": 30, "alpha": 1e-8}
    expected = select(pool, targets, train[:, None], **arguments)
    for X in (mapped, lambda: (mapped[a : a + 300] for a in range(0, 1000, 300))):
        selector = select(X, targets, train[:, None], **arguments)
        assert_array_equal(selector.selected_idx_, expected.selected_idx_)
        assert_allclose(selector.target_rigidity_, expected.target_rigidity_, rtol=1e-8)


# -- what must hold for any pool --------------------------------------------------------------

seeds = st.integers(0, 2**32 - 1)
alphas = st.sampled_from([1e-11, 1e-6, 1e-2, 1.0, 100.0])
objectives = st.sampled_from(OBJECTIVES)
shapes = st.fixed_dictionaries(
    {
        "n": st.integers(5, 30),
        "d": st.integers(1, 8),
        "n_targets": st.integers(1, 6),
        "n_train": st.sampled_from([1, 3, 20]),
    }
)
few = settings(max_examples=40)


@few
@given(seeds, shapes, alphas, st.floats(1e-3, 1e3))
def test_a_pick_raises_its_own_rigidity_by_its_weight(seed, shape, alpha, weight):
    pool, _, train = problem(seed, **shape)
    weights = {
        "candidate_weight": np.full(len(pool), weight),
        "target_weight": np.arange(1.0, len(pool) + 1),
    }
    selector = select(pool, pool, train, 1, alpha, **weights)
    before, after = selector.target_rigidity_[:, selector.selected_idx_[0]]
    assert_allclose(after, before + weight, rtol=1e-8)


@few
@given(seeds, shapes, alphas, objectives)
def test_the_objective_never_gets_worse(seed, shape, alpha, objective):
    pool, targets, train = problem(seed, **shape)
    selector = select(pool, targets, train, len(pool), alpha, objective=objective)
    sign = -1 if objective == "variance" else 1
    steps = sign * np.diff(selector.objective_path_)
    assert (steps >= -1e-9 * np.abs(selector.objective_path_[1:])).all()
    assert (selector.gains_ >= 0).all()
    assert sorted(selector.selected_idx_) == list(range(len(pool)))
    first, last = selector.target_rigidity_
    assert (last >= first * (1 - 1e-9)).all()


@few
@given(seeds, shapes, alphas, objectives)
def test_the_order_of_the_pool_does_not_matter(seed, shape, alpha, objective):
    pool, targets, train = problem(seed, **shape)
    order = np.random.default_rng(seed).permutation(len(pool))
    n = min(6, len(pool))
    picks = select(pool, targets, train, n, alpha, objective=objective)
    again = select(pool[order], targets, train, n, alpha, objective=objective)
    path = picks.objective_path_
    assert_allclose(again.objective_path_, path, rtol=1e-7, atol=1e-7)
    gaps = np.abs(picks.gains_) > 1e-9 * np.abs(path[1:])
    n = n if gaps.all() else int(np.argmin(gaps))
    assert_array_equal(order[again.selected_idx_[:n]], picks.selected_idx_[:n])


@few
@given(seeds, shapes, alphas, objectives)
def test_weight_two_is_a_repeated_row(seed, shape, alpha, objective):
    pool, targets, train = problem(seed, **shape)
    doubled = PRSelector(3, alpha=alpha, objective=objective).fit(
        pool, X_target=targets, X_train=train, train_weight=np.full(len(train), 2.0)
    )
    repeated = select(pool, targets, np.vstack([train, train]), 3, alpha, objective=objective)
    assert_allclose(doubled.objective_path_, repeated.objective_path_, rtol=1e-7, atol=1e-9)

    p = doubled.selected_idx_[0]
    twice = np.ones(len(pool))
    twice[p] = 2.0
    cost = np.where(np.arange(len(pool)) == p, 1e-6, 1.0)
    once = select(
        pool, targets, train, 1, alpha, objective=objective, candidate_weight=twice, cost=cost
    )
    both = PRSelector(2, alpha=alpha, objective=objective, replace=True, budget=2e-6)
    both.fit(pool, X_target=targets, X_train=train, cost=cost)
    assert_array_equal(both.selected_idx_, [p, p])
    assert_allclose(both.objective_path_[-1], once.objective_path_[-1], rtol=1e-7, atol=1e-9)


@few
@given(seeds, shapes, alphas, objectives, st.floats(0.1, 10))
def test_scales_of_features_and_rotations_do_not_matter(seed, shape, alpha, objective, scale):
    pool, targets, train = problem(seed, **shape)
    d = pool.shape[1]
    turn, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((d, d)))
    n = min(4, len(pool))
    plain = select(pool, targets, train, n, alpha, objective=objective)
    pool, targets, train = (scale * X @ turn for X in (pool, targets, train))
    turned = select(pool, targets, train, n, alpha * scale**2, objective=objective)
    assert_allclose(turned.objective_path_, plain.objective_path_, rtol=1e-6, atol=1e-6)


@few
@given(seeds, shapes, alphas, objectives)
def test_ties_go_to_the_lowest_index(seed, shape, alpha, objective):
    pool, targets, train = problem(seed, **shape)
    n = len(pool)
    picks = select(np.vstack([pool, pool]), targets, train, 3, alpha, objective=objective)
    assert picks.selected_idx_[0] < n
    assert all(p < n or p - n in picks.selected_idx_[:k] for k, p in enumerate(picks.selected_idx_))


@few
@given(seeds, shapes, st.sampled_from([1e-6, 1e-2, 1.0]), objectives)
def test_warm_starts_continue_as_if_nothing_had_happened(seed, shape, alpha, objective):
    pool, targets, train = problem(seed, **shape)
    whole = select(pool, targets, train, 5, alpha, objective=objective)
    selector = PRSelector(2, alpha=alpha, objective=objective, warm_start=True)
    selector.fit(pool, X_target=targets, X_train=train)
    selector.set_params(n_to_select=5).fit(pool, X_target=targets, X_train=train)
    assert_allclose(selector.objective_path_, whole.objective_path_, rtol=1e-7, atol=1e-8)
    assert_allclose(selector.target_rigidity_, whole.target_rigidity_, rtol=1e-7)


@few
@given(seeds, shapes, alphas)
def test_rigidities_are_those_of_a_fit(seed, shape, alpha):
    pool, targets, train = problem(seed, **shape)
    selector = select(pool, targets, train, len(pool) // 2, alpha)
    X = np.vstack([train, pool[selector.selected_idx_]])
    for R, n in zip(selector.target_rigidity_, (len(train), len(X)), strict=True):
        model = RigidRidge(alpha).fit(X[:n], np.arange(n))
        assert_allclose(R, model.prediction_rigidity(targets), rtol=1e-7)
