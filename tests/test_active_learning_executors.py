"""Labels as jobs: the same labels wherever they are computed, and none lost with its worker."""

import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import numpy as np
import pytest

pytest.importorskip("ase", reason='needs ASE: pip install "skrigidity[atomistic]"')
pytest.importorskip("sphericart", reason='needs sphericart: pip install "skrigidity[atomistic]"')

from ase.calculators.emt import EMT
from learning_copper import learner, rattle, start, training
from numpy.testing import assert_array_equal
from test_active_learning import assert_consistent, events, killed_again_and_again

from skrigidity.active_learning import SerialExecutor

SEVERAL = {"embed": rattle, "n_labels": 3}


@pytest.fixture(scope="module")
def one_by_one(tmp_path_factory):
    """What all executors have to arrive at, three labels at a time."""
    folder = tmp_path_factory.mktemp("learning") / "run"
    return learner(folder, **SEVERAL).run(training(), start())


@pytest.fixture(scope="module")
def client():
    distributed = pytest.importorskip("distributed", reason="needs dask.distributed")
    options = {"processes": False, "dashboard_address": None, "n_workers": 1}
    with distributed.Client(threads_per_worker=2, **options) as made:
        yield made


@pytest.mark.parametrize("kind", ["client", "executor"])
def test_dask(kind, client, one_by_one, tmp_path):
    executor = client if kind == "client" else client.get_executor()
    found = learner(tmp_path, executor=executor, **SEVERAL).run(training(), start())
    assert found.n_events_ > 1
    assert len(found.labelled_) == 3 * found.n_events_
    assert_array_equal(found.potential_.coef_, one_by_one.potential_.coef_)
    assert_consistent(tmp_path)


class SlowEMT(EMT):
    def calculate(self, *arguments, **options):
        time.sleep(0.5)
        super().calculate(*arguments, **options)


def test_dask_cancels_what_takes_too_long(client, tmp_path):
    options = {"executor": client, "label_timeout": 0.1, "max_time": 40.0}
    learner(tmp_path, SlowEMT, thresholds={"force_std": 1e-9}, **options).run(training(), start())
    assert events(tmp_path, "failed label")[0]["reason"] == "no label within 0.1 s"


@pytest.mark.slow
def test_submitit(one_by_one, tmp_path):
    """Its local jobs have the interface of those in a queue of Slurm."""
    submitit = pytest.importorskip("submitit", reason="needs submitit")
    executor = submitit.AutoExecutor(folder=tmp_path / "jobs", cluster="local")
    executor.update_parameters(timeout_min=2)
    options = {"executor": executor, "max_labels": 3}
    found = learner(tmp_path / "run", **SEVERAL, **options).run(training(), start())
    assert len(list((tmp_path / "jobs").glob("*_result.pkl"))) == 3
    for one, other in zip(found.labelled_, one_by_one.labelled_, strict=False):
        assert_array_equal(one.positions, other.positions)
        assert_array_equal(one.get_forces(), other.get_forces())


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
@pytest.mark.parametrize("kind", ["processes", "dask executor"])
def test_killed_with_workers(kind, one_by_one, tmp_path):
    if kind != "processes":
        pytest.importorskip("distributed", reason="needs dask.distributed")
    moments = np.random.default_rng(0).uniform(0.0, 0.5, 3)
    _, n_killed = killed_again_and_again(tmp_path, moments, kind)
    assert n_killed >= 2
    frames, model = assert_consistent(tmp_path)
    assert_array_equal(model.coef_, one_by_one.potential_.coef_)
    calls = [line.split() for line in (tmp_path / "calls").read_text().splitlines()]
    assert {there for _, there in calls} == {"False"}
    assert len(calls) - len(frames) <= 3 * n_killed


# -- jobs that come to nothing --------------------------------------------------------------------


class Deadly(EMT):
    """Takes its process with it."""

    def calculate(self, *arguments, **options):
        os._exit(1)


def test_workers_that_die_stop_the_run(tmp_path):
    with (
        ProcessPoolExecutor(max_workers=1) as executor,
        pytest.raises(BrokenProcessPool),
    ):
        learner(tmp_path, Deadly, executor=executor).run(training(), start())
    # Nothing has been written off: another try computes it.
    found = learner(tmp_path).run(training(), start())
    assert found.n_failed_ == 0
    assert_consistent(tmp_path)


class Queue(SerialExecutor):
    """Jobs are killed now and then, as a queue does where time is up."""

    def __init__(self, lost):
        self.lost, self.n_jobs = lost, 0

    def submit(self, function, /, *arguments):
        job = self.n_jobs
        self.n_jobs += 1
        return Killed() if job in self.lost else super().submit(function, *arguments)


class Killed:
    def result(self):
        raise RuntimeError("job has reached its time limit")


def test_jobs_that_are_killed_are_failed_labels(tmp_path):
    found = learner(tmp_path, executor=Queue({1})).run(training(), start())
    failed = events(tmp_path, "failed label")
    assert [line["reason"] for line in failed] == ["RuntimeError: job has reached its time limit"]
    assert found.n_failed_ == 1
    assert len(found.labelled_) > 1
    assert_consistent(tmp_path)


def test_executors_that_never_work_stop_the_run(tmp_path):
    with pytest.raises(RuntimeError, match="time limit"):
        learner(tmp_path, executor=Queue(range(9))).run(training(), start())
    assert not list((tmp_path / "labels").iterdir())
