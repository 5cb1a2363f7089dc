"""Dask across processes: only accumulators come back, and a worker that is lost is no loss."""

from __future__ import annotations

import os
import pickle
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext

import numpy as np
import pytest

from skrigidity import PRSelector, RigidRidge
from skrigidity.sample_selection import _selector

dask = pytest.importorskip("dask", reason='needs dask: pip install "skrigidity[scale]"')
da = pytest.importorskip("dask.array")
distributed = pytest.importorskip("distributed")

pytestmark = pytest.mark.slow
SIZES, D = (400,) * 12, 8


def rows_of(number, seconds=0.0):
    """The rows of one chunk with their targets as the last column, made wherever it is needed."""
    time.sleep(seconds)
    rng = np.random.default_rng(number)
    X = rng.standard_normal((SIZES[number], D)) + 1
    return np.column_stack([X, X @ np.arange(D) + 0.1 * rng.standard_normal(len(X))])


def lazy_problem(seconds=0.0):
    def block(_, block_info=None):
        return rows_of(block_info[None]["chunk-location"][0], seconds)

    start = da.zeros((sum(SIZES), 1), chunks=(SIZES, 1))
    table = start.map_blocks(block, chunks=(SIZES, D + 1), dtype=float, meta=np.empty((0, 0)))
    return table[:, :D], table[:, D]


def problem():
    table = np.concatenate([rows_of(number) for number in range(len(SIZES))])
    return table[:, :D], table[:, D]


def assert_same(model, here, X):
    np.testing.assert_allclose(model.coef_, here.coef_, rtol=1e-10)
    R = here.prediction_rigidity(X)
    np.testing.assert_allclose(model.prediction_rigidity(X), R, rtol=1e-10)


@pytest.fixture(scope="module")
def client():
    options = {"processes": True, "threads_per_worker": 1, "dashboard_address": None}
    settings = {"distributed.worker.daemon": False, "distributed.comm.retry.count": 3}
    with (
        dask.config.set(settings),
        distributed.LocalCluster(n_workers=2, **options) as cluster,
        distributed.Client(cluster) as one,
    ):
        yield one


def worker_pids(client):
    return list(client.run(os.getpid).values())


def test_scheduler_of_processes():
    X, y = problem()
    with dask.config.set(scheduler="processes", num_workers=2):
        model = RigidRidge().fit(*lazy_problem())
    assert_same(model, RigidRidge().fit(X, y), X)


def test_cluster(client):
    X, y = problem()
    here, lazy = RigidRidge().fit(X, y), lazy_problem()
    model = RigidRidge().fit(*lazy)
    assert_same(model, here, X)
    R = model.prediction_rigidity(lazy[0])
    np.testing.assert_allclose(R.compute(), here.prediction_rigidity(X), rtol=1e-10)


def test_a_worker_is_killed_in_mid_fit(client):
    X, y = problem()
    victim = worker_pids(client)[0]
    with ThreadPoolExecutor(1) as pool:
        fit = pool.submit(RigidRidge().fit, *lazy_problem(seconds=0.3))
        time.sleep(1.0)
        assert not fit.done()
        os.kill(victim, signal.SIGKILL)
        model = fit.result(timeout=60)
    assert_same(model, RigidRidge().fit(X, y), X)
    client.wait_for_workers(2, timeout=60)
    assert victim not in worker_pids(client)


def test_a_worker_is_killed_in_mid_selection(client, monkeypatch):
    X, _ = problem()
    rng = np.random.default_rng(0)
    away = {"X_target": rng.standard_normal((20, D)) + 3, "X_train": rng.standard_normal((3, D))}
    here = PRSelector(8).fit(X, **away)
    client.wait_for_workers(2, timeout=60)
    victims = worker_pids(client)[:1]

    def tick():
        if victims:
            os.kill(victims.pop(), signal.SIGKILL)

    monkeypatch.setattr(_selector, "_progress", lambda _: nullcontext(tick))
    selector = PRSelector(8).fit(lazy_problem()[0], **away)
    assert not victims
    np.testing.assert_array_equal(selector.selected_idx_, here.selected_idx_)
    np.testing.assert_allclose(selector.objective_path_, here.objective_path_, rtol=1e-8)


def test_what_comes_back(client, monkeypatch):
    """Far fewer bytes than the rows have: accumulators of d x d numbers, and sums."""
    lazy = lazy_problem()
    gathered = []
    original = type(client)._gather

    async def counting(self, futures, *args, **kwargs):
        out = await original(self, futures, *args, **kwargs)
        gathered.append(len(pickle.dumps(out)))
        return out

    monkeypatch.setattr(type(client), "_gather", counting)
    RigidRidge().fit(*lazy)
    assert gathered
    assert sum(gathered) < sum(SIZES) * D * 8 / 4
