"""Dask collections: the same answers as in memory, whatever the chunks; chunks stay where they are.

The synchronous and threaded schedulers; those with processes are in test_distributed_processes.py.
"""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.frozen import FrozenEstimator
from sweep import relative_error

from skrigidity import (
    ComponentRidge,
    PRSelector,
    RigidKernelRidge,
    RigidPotential,
    RigidRidge,
    RigidRidgeCV,
)
from skrigidity.environments import is_chunked

dask = pytest.importorskip("dask", reason='needs dask: pip install "skrigidity[scale]"')
da = pytest.importorskip("dask.array")
dd = pytest.importorskip("dask.dataframe")

N, D = 120, 6
# One row a chunk, uneven chunks with an empty one, all at once.
CHUNKS = [1, (50, 0, 3, 67), N]


@pytest.fixture(autouse=True)
def _scheduler():
    with dask.config.set(scheduler="synchronous"):
        yield


def problem(kappa=1.0, seed=0, n_targets=None):
    """Rows of condition about `kappa`, with means and weights, some of them 0."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((N, D)) + 3
    X[:, 1] = X[:, 0] + X[:, 1] / kappa
    shape = (D,) if n_targets is None else (D, n_targets)
    y = X @ rng.standard_normal(shape)
    y += 0.1 * rng.standard_normal(y.shape)
    weight = rng.uniform(0.2, 3, N) * (np.arange(N) > 10)
    return X, y, weight


def chunked(X, chunks):
    return da.from_array(X, chunks=(chunks, *X.shape[1:]))


def assert_same(model, other, X, rtol=1e-10):
    np.testing.assert_allclose(model.coef_, other.coef_, rtol=rtol)
    np.testing.assert_allclose(model.intercept_, other.intercept_, rtol=rtol)
    R = model.prediction_rigidity(X)
    np.testing.assert_allclose(R, other.prediction_rigidity(X), rtol=rtol)
    np.testing.assert_allclose(model.scale_, other.scale_, rtol=1e-8)
    np.testing.assert_allclose(model.effective_dof_, other.effective_dof_, rtol=rtol)


# -- fits ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunks", CHUNKS)
@pytest.mark.parametrize("options", [{}, {"fit_intercept": False, "weight_type": "precision"}])
def test_ridge(chunks, options):
    X, y, weight = problem(n_targets=2)
    lazy = [chunked(part, chunks) for part in (X, y, weight)]
    here = RigidRidge(**options).fit(X, y, weight)
    assert_same(RigidRidge(**options).fit(*lazy), here, X)


@pytest.mark.parametrize("kappa", [1e4, 1e7, 1e8])
@pytest.mark.parametrize("chunks", CHUNKS)
def test_condition(kappa, chunks):
    """Beyond what normal equations allow, at up to 1e16 of the Hessian."""
    X, y, _ = problem(kappa)
    here = RigidRidge(1e-11, solver="extended").fit(X, y)
    for solver in ("auto", "qr"):
        model = RigidRidge(1e-11, solver=solver).fit(chunked(X, chunks), chunked(y, chunks))
        error = relative_error(model.prediction_rigidity(X), here.prediction_rigidity(X))
        assert np.max(error) < 1e-8, model.hessian_.info


def test_many_features_take_preconditioned_passes():
    """Where twice the working precision is too much work, rows are read again."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((300, 150)) @ np.diag(np.logspace(0, -7, 150))
    X = X @ np.linalg.qr(rng.standard_normal((150, 150)))[0]
    model = RigidRidge(1e-14).fit(chunked(X, 40), X[:, 0])
    here = RigidRidge(1e-14).fit(X, X[:, 0])
    assert model.hessian_.info.method == here.hessian_.info.method == "qr"
    error = relative_error(model.prediction_rigidity(X), here.prediction_rigidity(X))
    assert np.max(error) < 1e-8


def test_fewer_rows_than_features():
    X = np.random.default_rng(0).standard_normal((15, 40))
    here, model = RigidRidge(1e-10).fit(X, X[:, 0]), RigidRidge(1e-10).fit(chunked(X, 4), X[:, 0])
    assert model.hessian_.info.method == "spectral"
    assert_same(model, here, X, rtol=1e-8)


def test_chunks_of_different_dtype():
    X, y, _ = problem()
    X = X.astype(np.float32)
    single, double = da.from_array(X[:50]), da.from_array(X[50:].astype(np.float64))
    mixed = da.concatenate([single, double], allow_unknown_chunksizes=False)
    # What a file of single precision looks like: the array says one dtype, a chunk has another.
    odd = da.map_blocks(lambda block: block.astype("f4"), chunked(X, 40), dtype=float)
    for lazy in (mixed, odd, chunked(X, 40)):
        model = RigidRidge().fit(lazy, chunked(y, lazy.chunks[0]))
        assert_same(model, RigidRidge().fit(X.astype(float), y), X)


def test_partial_fit_and_updates_go_on():
    X, y, weight = problem()
    here = RigidRidge().fit(X, y, weight)
    first, second = slice(0, 70), slice(70, N)
    model = RigidRidge().fit(*(chunked(part[first], 30) for part in (X, y, weight)))
    model.partial_fit(*(chunked(part[second], 30) for part in (X, y, weight)))
    assert_same(model, here, X)
    more = X[:5] * 2
    expected = here.rigidity_with(X, more)
    np.testing.assert_allclose(model.rigidity_with(X, more), expected, rtol=1e-10)


def test_alpha_per_target():
    X, y, _ = problem(n_targets=2)
    here = RigidRidge([0.1, 10.0]).fit(X, y)
    lazy = RigidRidge([0.1, 10.0]).fit(chunked(X, 50), chunked(y, 50))
    assert_same(lazy, here, X)
    R = lazy.prediction_rigidity(chunked(X, 50))
    assert R.shape == (N, 2)
    np.testing.assert_allclose(R, here.prediction_rigidity(X), rtol=1e-10)


@pytest.mark.parametrize("scoring", ["neg_mean_squared_error", "log_likelihood", "evidence"])
@pytest.mark.parametrize("options", [{}, {"weight_type": "precision", "fit_intercept": False}])
def test_ridge_cv(scoring, options):
    X, y, weight = problem(n_targets=2)
    # A row that alone determines a direction, and one that nearly does.
    X[:, 5], X[20, 5], X[30] = 0.0, 2.0, 50 * X[30]
    here = RigidRidgeCV(scoring=scoring, **options).fit(X, y, weight)
    for chunks in (7, N):
        lazy = (chunked(part, chunks) for part in (X, y, weight))
        model = RigidRidgeCV(scoring=scoring, **options).fit(*lazy)
        np.testing.assert_allclose(model.scores_, here.scores_, rtol=1e-6)
        assert model.alpha_ == pytest.approx(here.alpha_, rel=1e-12)
        assert_same(model, here, X, rtol=1e-8)


def test_ridge_cv_of_few_rows():
    X, y, _ = problem()
    model = RigidRidgeCV().fit(chunked(X[:10], 3), chunked(y[:10], 3))
    here = RigidRidgeCV().fit(X[:10], y[:10])
    np.testing.assert_allclose(model.scores_, here.scores_, rtol=1e-8)


@pytest.mark.parametrize("orthogonalize", [None, "sequential"])
def test_components(orthogonalize):
    X, y, weight = problem()
    options = {"alpha": [1e-2, 1.0], "orthogonalize": orthogonalize}
    here = ComponentRidge([2, 4], **options).fit(X, y, weight)
    model = ComponentRidge([2, 4], **options).fit(chunked(X, 50), y, weight)
    assert_same(model, here, X)
    lazy = chunked(X, 50)
    for name in ("component_rigidity", "predict_components"):
        answer = getattr(model, name)(lazy)
        assert answer.shape == (N, 2)
        np.testing.assert_allclose(answer, getattr(here, name)(X), rtol=1e-8)


# -- lazy answers --------------------------------------------------------------------------------


@pytest.mark.parametrize("chunks", CHUNKS)
def test_answers_are_lazy(chunks):
    X, y, _ = problem(n_targets=2)
    model, lazy = RigidRidge().fit(X, y), chunked(X, chunks)
    mean, std = model.predict(lazy, return_std=True)
    answers = {
        "predict": model.predict(lazy),
        "prediction_rigidity": model.prediction_rigidity(lazy),
        "local_rigidity": model.local_rigidity(lazy),
    }
    for name, answer in answers.items():
        assert is_chunked(answer)
        assert answer.chunks[0] == lazy.chunks[0]
        np.testing.assert_allclose(answer.compute(), getattr(model, name)(X), rtol=1e-12)
    expected = model.predict(X, return_std=True)
    for answer, here in zip((mean, std), expected, strict=True):
        assert answer.shape == here.shape
        np.testing.assert_allclose(answer.compute(), here, rtol=1e-12)


def test_answers_keep_to_the_model_that_was_asked():
    X, y, _ = problem()
    model = RigidRidge().fit(X, y)
    before, lazy = model.predict(X), model.predict(chunked(X, 40))
    model.fit(X, -y)
    np.testing.assert_allclose(lazy, before, rtol=1e-12)


def test_errors_come_early():
    X, y, _ = problem()
    model = RigidRidge().fit(X, y)
    with pytest.raises(ValueError, match="5 features"):
        model.predict(chunked(X[:, :5], 40))
    with pytest.raises(ValueError, match="row by row"):
        model.predict(chunked(X, 40), return_cov=True)


def test_data_frames():
    X, y, weight = problem()
    table = pd.DataFrame(X, columns=list("abcdef"))
    here = RigidRidge().fit(table, y, weight)
    lazy = dd.from_pandas(table, npartitions=4)
    target, weights = (dd.from_pandas(pd.Series(part), npartitions=4) for part in (y, weight))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = RigidRidge().fit(lazy, target, weights)
        R = model.prediction_rigidity(lazy).compute()
    assert model.feature_names_in_.tolist() == list("abcdef")
    assert_same(model, here, table)
    np.testing.assert_allclose(R, here.prediction_rigidity(table), rtol=1e-10)
    with pytest.raises(ValueError, match="feature names"):
        model.predict(lazy.rename(columns={"a": "z"}))
    assert_same(RigidRidgeCV().fit(lazy, target), RigidRidgeCV().fit(table, y), table, rtol=1e-8)


# -- selection ------------------------------------------------------------------------------------


def selection_problem():
    rng = np.random.default_rng(1)
    X = rng.standard_normal((N, D))
    X[90:100] = X[20:30]  # ties: the lowest number wins, in whatever chunk
    away = {"X_target": rng.standard_normal((25, D)) + 2, "X_train": rng.standard_normal((4, D))}
    each = {"cost": rng.uniform(0.5, 1.5, N), "candidate_weight": rng.uniform(0, 2, N).round()}
    return X, away, each


def assert_same_picks(selector, here, X, **options):
    for chunks in (40, (0, 50, 70)):
        found = clone(selector).fit(chunked(X, chunks), **options)
        np.testing.assert_array_equal(found.selected_idx_, here.selected_idx_)
        path = found.objective_path_
        np.testing.assert_allclose(path, here.objective_path_, rtol=1e-8, atol=1e-14)
        np.testing.assert_allclose(found.target_rigidity_, here.target_rigidity_, rtol=1e-8)
        np.testing.assert_allclose(found.gains_, here.gains_, rtol=1e-6)
        np.testing.assert_array_equal(found.transform(chunked(X, chunks)), X[found.selected_idx_])


@pytest.mark.parametrize("objective", ["mean", "log_mean", "min", "variance", "information"])
@pytest.mark.parametrize("alpha", [1.0, 1e-10])
def test_picks(objective, alpha):
    X, away, _ = selection_problem()
    selector = PRSelector(8, alpha=alpha, objective=objective)
    assert_same_picks(selector, clone(selector).fit(X, **away), X, **away)


@pytest.mark.parametrize("options", [{"replace": True}, {"threshold": 3.0}, {"budget": 7.0}])
def test_picks_with_costs_and_weights(options):
    X, away, each = selection_problem()
    selector = PRSelector(None if "budget" in options else 10, objective="log_mean", **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        here = clone(selector).fit(X, **away, **each)
        assert_same_picks(selector, here, X, **away, **each)


def test_picks_under_a_fitted_model():
    """And variances that fall so far that all is computed from scratch in between."""
    X, away, _ = selection_problem()
    model = RigidRidge(1e-9, fit_intercept=False).fit(X[:3] * 1e-3, np.zeros(3))
    selector = PRSelector(10, estimator=FrozenEstimator(model))
    away = {"X_target": away["X_target"]}
    assert_same_picks(selector, clone(selector).fit(X, **away), X, **away)


def test_picks_from_data_frames():
    X, away, _ = selection_problem()
    table, names = pd.DataFrame(X, columns=list("abcdef")), list("abcdef")
    lazy = dd.from_pandas(table, npartitions=3)
    away = {name: pd.DataFrame(part, columns=names) for name, part in away.items()}
    selector, here = PRSelector(5).fit(lazy, **away), PRSelector(5).fit(table, **away)
    assert selector.feature_names_in_.tolist() == names
    np.testing.assert_array_equal(selector.selected_idx_, here.selected_idx_)


def test_selections_that_need_the_whole_pool():
    X, away, _ = selection_problem()
    lazy = chunked(X, 50)
    with pytest.raises(ValueError, match="X_target must be given"):
        PRSelector(2).fit(lazy)
    with pytest.raises(ValueError, match="groups cannot be used"):
        PRSelector(2).fit(lazy, groups=np.arange(N) // 2, **away)
    with pytest.raises(ValueError, match="nothing determines the intercept"):
        PRSelector(2).fit(lazy, X_target=away["X_target"])
    with pytest.raises(ValueError, match="kernel model"):
        PRSelector(2, estimator=RigidKernelRidge()).fit(lazy, **away)


# -- potentials -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def alloy():
    """Frames of two species with energies, forces and stress, and a cheap descriptor."""
    pytest.importorskip(
        "sphericart", reason='needs sphericart: pip install "skrigidity[atomistic]"'
    )
    from ase.build import bulk
    from ase.calculators.emt import EMT
    from ase.calculators.singlepoint import SinglePointCalculator

    from skrigidity.atomistic import ACEDescriptor

    frames = []
    for seed in range(20):
        frame = bulk("Cu" if seed % 3 else "Ni", cubic=True)
        frame.rattle(0.1, seed=seed)
        frame.calc = EMT()
        names = {"energy": frame.get_potential_energy(), "forces": frame.get_forces()}
        frame.calc = SinglePointCalculator(frame, **names, stress=frame.get_stress())
        frame.info["weight"] = 1.0 + seed % 2
        frames.append(frame)
    descriptor = ACEDescriptor(
        cutoff=3.5, max_degree=(4, 2), kind="self-interacting", r0=2.5, species=["Cu", "Ni"]
    )
    return frames, descriptor


@pytest.mark.parametrize(
    "options",
    [{"weight_key": "weight"}, {"virial_error": 0.02, "stress_key": "auto", "alpha": "loo"}],
)
def test_potential(alloy, options):
    bag = pytest.importorskip("dask.bag")
    frames, descriptor = alloy
    model = RigidPotential(descriptor, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        here = clone(model).fit(frames)
        delayed = [dask.delayed(part) for part in (frames[:9], frames[9], frames[10:], [])]
        for X in (bag.from_sequence(frames, npartitions=3), delayed):
            found = clone(model).fit(X)
            assert found.alpha_ == here.alpha_
            assert found.n_training_ == here.n_training_
            for name in ("prediction_rigidity", "predict"):
                expected = getattr(here, name)(frames)
                np.testing.assert_allclose(getattr(found, name)(frames), expected, rtol=1e-8)
            for name, scale in here.scale_.items():
                assert found.scale_[name] == pytest.approx(scale, rel=1e-6)
            median = here.training_quantile("forces_std", 0.5)
            assert found.training_quantile("forces_std", 0.5) == pytest.approx(median, rel=1e-6)
    with pytest.raises(ValueError, match="sample_weight must be None"):
        model.fit(delayed, sample_weight=np.ones(20))
    with pytest.raises(TypeError, match=r"partition 0 of X"):
        model.fit([dask.delayed([1, 2])])
    with pytest.raises(ValueError, match="training set"):
        found.leave_one_out(frames)


# -- networks -------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"refit": True, "alpha": 1e-6, "calibration": "bayesian"}])
def test_last_layer(options):
    torch = pytest.importorskip("torch", reason='needs torch: pip install "skrigidity[torch]"')
    from skrigidity.last_layer import LastLayerRigidity

    torch.manual_seed(0)
    layers = torch.nn.Linear(D, 10), torch.nn.Tanh(), torch.nn.Linear(10, 1)
    network = torch.nn.Sequential(*layers).double()
    X, y, weight = problem()
    lazy, here = chunked(X, 50), LastLayerRigidity(network, **options).fit(X, y, weight)
    with dask.config.set(scheduler="threads"):
        model = LastLayerRigidity(network, **options).fit(lazy, y, weight)
        R, predicted = model.prediction_rigidity(lazy).compute(), model.predict(lazy).compute()
    np.testing.assert_allclose(R, here.prediction_rigidity(X), rtol=1e-9)
    np.testing.assert_allclose(predicted, here.predict(X), rtol=1e-8)
    np.testing.assert_allclose(model.scale_, here.scale_, rtol=1e-8)
    with pytest.raises(ValueError, match="alpha='auto' needs the rows of all samples"):
        LastLayerRigidity(network, refit=True).fit(lazy, y)
    with pytest.raises(ValueError, match="groups must be None"):
        LastLayerRigidity(network).fit(lazy, y, groups=np.arange(N))


def test_last_layer_of_frames(alloy):
    pytest.importorskip("torch", reason='needs torch: pip install "skrigidity[torch]"')
    from pair_network import PairAdapter, PairNetwork

    from skrigidity.last_layer import LastLayerRigidity

    frames, _ = alloy
    adapter = PairAdapter(PairNetwork())
    delayed = [dask.delayed(part) for part in (frames[:9], frames[9], frames[10:], [])]
    for options in ({}, {"refit": True, "alpha": 1e-4, "calibration": None}):
        here = LastLayerRigidity(adapter, **options).fit(frames)
        model = LastLayerRigidity(adapter, **options).fit(delayed)
        expected = here.component_rigidity(frames)
        np.testing.assert_allclose(model.component_rigidity(frames), expected, rtol=1e-8)
        np.testing.assert_allclose(model.coef_, here.coef_, rtol=1e-8)


# -- nothing is brought together -----------------------------------------------------------------


def test_one_pass_where_conditioning_allows():
    X, y, _ = problem()
    passes = np.zeros(3, dtype=int)

    def read(block, block_info=None):
        passes[block_info[0]["chunk-location"][0]] += 1
        return block

    lazy = chunked(X, 40).map_blocks(read, dtype=float, meta=np.empty((0, 0)))
    RigidRidge().fit(lazy, chunked(y, 40))
    assert passes.tolist() == [1, 1, 1]
    RigidRidgeCV().fit(lazy, chunked(y, 40))
    assert passes.tolist() == [3, 3, 3]


# -- bad input -----------------------------------------------------------------------------------


def test_messages():
    X, y, weight = problem()
    lazy, target = chunked(X, 40), chunked(y, 40)
    model = RigidRidge()
    unknown = lazy[lazy[:, 0] > 3]
    with pytest.raises(ValueError, match=r"X has chunks of unknown sizes.*X.compute_chunk_sizes()"):
        model.fit(unknown, target)
    with pytest.raises(ValueError, match=r"X is divided along its features.*rechunk\({1: -1}\)"):
        model.fit(lazy.rechunk({1: 2}), target)
    with pytest.raises(ValueError, match=r"y is divided in other chunks than X.*rechunk\({0: X"):
        model.fit(lazy, target.rechunk(30))
    with pytest.raises(ValueError, match=r"sample_weight is divided in other chunks"):
        model.fit(lazy, target, chunked(weight, 30))
    with pytest.raises(ValueError, match="X and y have inconsistent numbers of samples"):
        model.fit(lazy, target[:-1])
    with pytest.raises(ValueError, match=r"y has chunks of unknown sizes"):
        model.fit(lazy, target[target > 0])
    with pytest.raises(ValueError, match="y must be given"):
        model.fit(lazy, None)
    with pytest.raises(ValueError, match="sample_weight must not be zero throughout"):
        model.fit(lazy, target, 0 * target)
    with pytest.raises(TypeError, match="Dask array or a Dask data frame, got a Delayed"):
        model.fit(dask.delayed(X), target)
    with pytest.raises(ValueError, match="2-D"):
        model.fit(target, target)
    table = dd.from_pandas(pd.DataFrame(X, columns=list("abcdef")), npartitions=3)
    two = dd.from_pandas(pd.Series(y), npartitions=2)
    with pytest.raises(ValueError, match="as many partitions as X, 3, got 2"):
        model.fit(table, two)
    with pytest.raises(ValueError, match="scoring must be among"):
        RigidRidgeCV(scoring="r2").fit(lazy, target)
    with pytest.raises(ValueError, match="calibration"):
        RigidRidge(calibration="loo").fit(lazy, target)
    broken = X.copy()
    broken[50, 2] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        model.fit(chunked(broken, 40), target)
    with pytest.raises(ValueError, match="X must be in memory here"):
        model.fit(lazy, target).calibrate(lazy, y)
    with pytest.raises(ValueError, match="X must be in memory here"):
        RigidKernelRidge().fit(lazy, y)
    with pytest.raises(ValueError, match="X must be in memory"):
        model.fit(lazy, target).leave_one_out(lazy, target)
