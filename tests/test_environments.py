"""The container for structures made of environments, and transformers lifted to it."""

import pickle

import numpy as np
import pandas as pd
import pytest
from frame_checks import StructureRidge
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn import config_context
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.feature_selection import SelectKBest, f_regression
from sklearn.impute import SimpleImputer
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    cross_val_predict,
    cross_val_score,
    train_test_split,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.utils import get_tags
from sklearn.utils._indexing import _safe_indexing
from sklearn.utils.estimator_checks import parametrize_with_checks

from skrigidity.environments import (
    Environments,
    PerEnvironment,
    as_environments,
    consecutive,
    is_environments,
)


def make_arrays(seed=0, n_structures=12, n_features=3, *, equal=False, dtype=np.float64):
    rng = np.random.default_rng(seed)
    sizes = np.full(n_structures, 4) if equal else rng.integers(1, 7, n_structures)
    return [rng.normal(size=(size, n_features)).astype(dtype) for size in sizes]


@st.composite
def array_lists(draw):
    return make_arrays(
        draw(st.integers(0, 2**16)),
        draw(st.integers(1, 9)),
        draw(st.integers(1, 5)),
        equal=draw(st.booleans()),
        dtype=draw(st.sampled_from([np.float32, np.float64])),
    )


def assert_same(environments, arrays):
    assert isinstance(environments, Environments)
    assert len(environments) == len(arrays)
    for ours, theirs in zip(environments, arrays, strict=True):
        np.testing.assert_array_equal(ours, theirs)


# --- the container -------------------------------------------------------------------------------


def test_looks_like_an_array_of_structures():
    arrays = make_arrays()
    X = Environments.from_arrays(arrays)
    assert X.shape == (12, 3)
    assert X.ndim == 2
    assert X.dtype == np.float64
    assert X.n_environments == sum(map(len, arrays))
    assert X.sizes.tolist() == [len(a) for a in arrays]
    assert X.offsets.dtype == np.int64
    assert repr(X).startswith("Environments(12 structures")
    assert_same(X, arrays)


@settings(deadline=None)
@given(array_lists(), st.sampled_from(["mean", "sum"]))
def test_aggregate_is_the_loop(arrays, how):
    expected = np.array([getattr(a.astype(np.float64), how)(axis=0) for a in arrays])
    result = Environments.from_arrays(arrays).aggregate(how)
    assert result.dtype == np.float64
    np.testing.assert_allclose(result, expected, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("equal", [True, False])
def test_aggregate_crosses_blocks_and_accumulates_in_float64(equal):
    rng = np.random.default_rng(0)
    sizes = np.full(40, 5000) if equal else rng.integers(1, 10_000, 40)
    values = rng.uniform(1, 2, size=(sizes.sum(), 3)).astype(np.float32)
    X = Environments(values, np.r_[0, np.cumsum(sizes)])
    exact = np.array([x.astype(np.float64).sum(axis=0) for x in X])
    np.testing.assert_allclose(X.aggregate("sum"), exact, rtol=1e-13)
    np.testing.assert_allclose(X[::-1].aggregate("mean"), (exact / sizes[:, None])[::-1])


def test_aggregate_of_integers_and_of_fortran_order():
    X = Environments(np.arange(12).reshape(6, 2), [0, 3, 6])
    np.testing.assert_array_equal(X.aggregate("sum"), [[6, 9], [24, 27]])
    X = Environments(np.asfortranarray(X.values, dtype=float), [0, 3, 6])
    np.testing.assert_array_equal(X.aggregate("sum"), [[6, 9], [24, 27]])


def test_aggregate_rejects_other_names():
    with pytest.raises(ValueError, match=r'how: expected "mean" or "sum"'):
        Environments.from_arrays(make_arrays()).aggregate("max")


@settings(deadline=None)
@given(array_lists(), st.data())
def test_indexing_is_list_indexing(arrays, data):
    X, n = Environments.from_arrays(arrays), len(arrays)
    i = data.draw(st.integers(-n, n - 1))
    np.testing.assert_array_equal(X[i], arrays[i])
    np.testing.assert_array_equal(X[np.int32(i)], arrays[i])
    key = data.draw(st.slices(n))
    assert_same(X[key], arrays[key])
    assert_same(X[key, ...], arrays[key])
    chosen = data.draw(st.lists(st.integers(-n, n - 1), max_size=6))
    for index in (chosen, np.array(chosen, dtype=np.int32), (chosen, ...)):
        assert_same(X[index], [arrays[j] for j in chosen])
    mask = np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    assert_same(X[mask], [a for a, keep in zip(arrays, mask, strict=True) if keep])
    assert_same(X[mask.tolist()], [a for a, keep in zip(arrays, mask, strict=True) if keep])


def test_column_indexing():
    arrays = make_arrays()
    X = Environments.from_arrays(arrays)
    assert_same(X[2:5, [0, 2]], [a[:, [0, 2]] for a in arrays[2:5]])
    assert_same(X[..., 1:], [a[:, 1:] for a in arrays])
    np.testing.assert_array_equal(X[3, :2], arrays[3][:, :2])
    assert_same(_safe_indexing(X, [0, 1], axis=1), [a[:, :2] for a in arrays])


@pytest.mark.parametrize("key", [12, -13, [0, 12], [True], [[0]], "a", [0.5], (0, 1), (0, [0], 0)])
def test_bad_index(key):
    with pytest.raises((IndexError, TypeError)):
        Environments.from_arrays(make_arrays())[key]


def test_slices_split_and_blocks_are_views():
    X = Environments.from_arrays(make_arrays())
    assert np.shares_memory(X[2:7].values, X.values)
    assert all(np.shares_memory(part, X.values) for part in X)
    flat = np.arange(X.n_environments)
    parts = X.split(flat)
    assert [len(p) for p in parts] == X.sizes.tolist()
    np.testing.assert_array_equal(np.concatenate(parts), flat)
    with pytest.raises(ValueError, match="flat: expected"):
        X.split(flat[:-1])
    cube = np.zeros((4, 3, 2))
    assert np.shares_memory(Environments.from_arrays(cube).values, cube)


@settings(deadline=None)
@given(array_lists(), st.integers(1, 30))
def test_blocks_cover_everything_without_splitting(arrays, max_rows):
    X = Environments.from_arrays(arrays)
    pieces = list(X.blocks(max_rows))
    assert_same(X, [a for piece in pieces for a in piece])
    for piece in pieces:
        assert piece.n_environments <= max_rows or len(piece) == 1


def test_pickle_and_memory_maps(tmp_path):
    X = Environments.from_arrays(make_arrays())
    assert_same(pickle.loads(pickle.dumps(X)), list(X))
    np.save(tmp_path / "x.npy", X.values)
    mapped = Environments(np.load(tmp_path / "x.npy", mmap_mode="r"), X.offsets)
    assert isinstance(mapped.values, np.memmap)
    assert isinstance(mapped[2:4].values, np.memmap)
    assert as_environments(mapped) is mapped
    np.testing.assert_array_equal(mapped.aggregate(), X.aggregate())


@pytest.mark.parametrize(
    ("values", "offsets", "message"),
    [
        (np.zeros(3), [0, 3], "values: expected a 2-D array"),
        (np.zeros((3, 2)), [0, 2], r"from 0 to len\(values\) = 3"),
        (np.zeros((3, 2)), [1, 3], r"from 0 to len\(values\) = 3"),
        (np.zeros((3, 2)), [0, 2, 2, 3], "structure 1 has no environments"),
        (np.zeros((3, 2)), [0, 3, 2, 3], "structure 1 ends before it begins"),
        (np.zeros((3, 2)), [0.0, 3.0], "integers"),
        (np.zeros((3, 2)), [[0, 3]], "1-D array"),
    ],
)
def test_constructor_rejects(values, offsets, message):
    with pytest.raises(ValueError, match=message):
        Environments(values, offsets)


# --- recognizing and validating ------------------------------------------------------------------


@pytest.mark.parametrize(
    "X",
    [
        Environments(np.zeros((3, 2)), [0, 3]),
        [np.zeros((3, 2))],
        (np.zeros((3, 2)), np.zeros((1, 2))),
        np.zeros((2, 3, 4)),
        np.array([np.zeros((3, 2)), np.zeros((1, 2)), None], dtype=object)[:2],
        [pd.DataFrame(np.zeros((3, 2)))],
    ],
)
def test_is_environments(X):
    assert is_environments(X)
    assert isinstance(as_environments(X), Environments)


@pytest.mark.parametrize(
    "X",
    [
        np.zeros((3, 2)),
        np.zeros(3),
        [[1.0, 2.0], [3.0, 4.0]],
        [[[1.0, 2.0]]],
        [],
        pd.DataFrame(np.zeros((3, 2))),
        sparse.csr_array(np.eye(3)),
        np.zeros((3, 2), dtype=object),
        "abc",
        None,
    ],
)
def test_is_not_environments(X):
    assert not is_environments(X)


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [(np.float32, np.float32), (np.float64, np.float64), (int, np.float64), (bool, np.float64)],
)
def test_dtypes(dtype, expected):
    X = as_environments([np.ones((2, 3), dtype=dtype)])
    assert X.dtype == expected
    assert as_environments(X) is X
    assert as_environments(X, dtype=np.float64).dtype == np.float64


def with_value(value, dtype=np.float64):
    bad = np.ones((3, 2), dtype=dtype)
    bad[1, 1] = value
    return [np.ones((2, 2)), bad, np.ones((1, 2))]


@pytest.mark.parametrize(
    ("X", "message"),
    [
        ([np.ones((2, 2)), np.ones((2, 2)), np.ones((2, 3))], "train: structure 2 has 3 features"),
        ([np.ones((2, 2)), np.ones((0, 2))], "train: structure 1 has no environments"),
        (np.ones((2, 0, 3)), "train: structure 0 has no environments"),
        (with_value(np.nan), "train: expected finite numbers, structure 1 contains NaN"),
        (with_value(-np.inf), "train: expected finite numbers, structure 1 contains infinity"),
        (with_value(1j, complex), "train: expected real numbers, got complex"),
        ([], "train: expected at least one structure"),
        (np.ones((0, 2, 3)), "train: expected at least one structure"),
        ([np.ones((2, 0))], "train: expected at least one feature"),
        ([np.ones((2, 2)), np.ones(2)], "train: expected a 2-D array .* structure 1"),
        (np.ones((2, 2)), "train: expected a 2-D array"),
        ([[[1.0], [1.0, 2.0]]], "train: structure 0 is not a rectangular array"),
    ],
)
def test_bad_values(X, message):
    with pytest.raises(ValueError, match=message):
        as_environments(X, name="train")


@pytest.mark.parametrize(
    ("X", "message"),
    [
        ([np.array([["a", "b"]])], "train: expected numbers"),
        ([np.array([[{}, 1]], dtype=object)], "train: expected numbers, got objects"),
        ([np.array([["2020-01-01"]], dtype="datetime64[D]")], "train: expected numbers"),
        ([sparse.csr_array(np.eye(2))], "train: structure 0 is a sparse matrix"),
        (pd.DataFrame(np.ones((2, 2))), "train: expected Environments"),
        (3, "train: expected Environments"),
    ],
)
def test_bad_types(X, message):
    with pytest.raises(TypeError, match=message):
        as_environments(X, name="train")


def test_huge_but_finite_values_pass():
    X = [np.full((3, 2), 3e38, dtype=np.float32), np.full((3, 2), np.float32(-3e38))]
    assert as_environments(X).dtype == np.float32
    assert as_environments([np.full((3, 2), 1e308)]).n_environments == 3
    assert len(as_environments(with_value(np.nan), ensure_all_finite=False)) == 3


# --- PerEnvironment ------------------------------------------------------------------------------


@parametrize_with_checks([PerEnvironment(StandardScaler())])
def test_check_estimator(estimator, check):
    check(estimator)


@pytest.mark.parametrize("wrap", [list, tuple, Environments.from_arrays])
def test_scales_all_environments(wrap):
    arrays = make_arrays()
    flat = np.concatenate(arrays)
    reference = StandardScaler().fit(flat)
    scaler = PerEnvironment(StandardScaler()).fit(wrap(arrays))
    scaled = scaler.transform(wrap(arrays))
    np.testing.assert_array_equal(scaled.values, reference.transform(flat))
    assert scaled.sizes.tolist() == [len(a) for a in arrays]
    np.testing.assert_allclose(scaler.inverse_transform(scaled).values, flat, atol=1e-14)
    np.testing.assert_array_equal(
        PerEnvironment(StandardScaler()).fit_transform(wrap(arrays)).values, scaled.values
    )
    np.testing.assert_array_equal(scaler.transform(flat), scaled.values)
    assert scaler.n_features_in_ == 3
    assert scaler.get_feature_names_out().tolist() == ["x0", "x1", "x2"]


def test_two_dimensional_input_is_left_to_the_transformer():
    frame = pd.DataFrame(make_arrays()[0], columns=list("abc"))
    scaler = PerEnvironment(StandardScaler()).set_output(transform="pandas").fit(frame)
    assert list(scaler.transform(frame).columns) == ["a", "b", "c"]
    assert scaler.feature_names_in_.tolist() == ["a", "b", "c"]
    assert list(clone(scaler).fit_transform(frame).columns) == ["a", "b", "c"]


def test_ragged_output_is_never_wrapped():
    arrays = make_arrays()
    scaler = PerEnvironment(StandardScaler()).set_output(transform="pandas").fit(arrays)
    assert isinstance(scaler.transform(arrays), Environments)
    with config_context(transform_output="pandas"):
        assert isinstance(PerEnvironment(PCA(1)).fit_transform(arrays), Environments)


def test_target_and_weights_are_repeated():
    arrays = make_arrays()
    sizes = [len(a) for a in arrays]
    y, weight = np.arange(12.0), np.linspace(0.1, 2, 12)
    chosen = PerEnvironment(SelectKBest(f_regression, k=1)).fit(arrays, y)
    expected = SelectKBest(f_regression, k=1).fit(np.concatenate(arrays), np.repeat(y, sizes))
    np.testing.assert_allclose(chosen.transformer_.scores_, expected.scores_)

    scaler = PerEnvironment(StandardScaler()).fit(arrays, sample_weight=weight)
    expected = StandardScaler().fit(np.concatenate(arrays), sample_weight=np.repeat(weight, sizes))
    np.testing.assert_array_equal(scaler.transformer_.mean_, expected.mean_)
    with config_context(enable_metadata_routing=True):
        routed = PerEnvironment(StandardScaler().set_fit_request(sample_weight=True))
        pipeline = make_pipeline(routed, StructureRidge()).fit(arrays, y, sample_weight=weight)
        np.testing.assert_array_equal(pipeline[0].transformer_.mean_, expected.mean_)
    with pytest.raises(ValueError, match="y: expected one entry for each of 12 structures, got 11"):
        PerEnvironment(StandardScaler()).fit(arrays, y[:-1])


def test_partial_fit_where_the_transformer_has_it():
    arrays = make_arrays()
    scaler = PerEnvironment(StandardScaler()).partial_fit(arrays[:5]).partial_fit(arrays[5:])
    np.testing.assert_allclose(scaler.transformer_.mean_, np.concatenate(arrays).mean(axis=0))
    assert not hasattr(PerEnvironment(PCA()), "partial_fit")


def test_what_the_transformer_allows_is_allowed():
    filled = PerEnvironment(SimpleImputer()).fit_transform(with_value(np.nan))
    assert np.isfinite(filled.values).all()
    assert get_tags(PerEnvironment(SimpleImputer())).input_tags.allow_nan
    with pytest.raises(ValueError, match="structure 1 contains NaN"):
        PerEnvironment(PCA(1)).fit(with_value(np.nan))


def test_transformers_that_change_the_number_of_rows_are_named():
    with pytest.raises(ValueError, match=r"FunctionTransformer turned .* number of rows"):
        PerEnvironment(FunctionTransformer(lambda x: x[:-1])).fit_transform(make_arrays())


def test_pickle_and_clone():
    arrays = make_arrays()
    scaler = PerEnvironment(StandardScaler()).fit(arrays)
    again = pickle.loads(pickle.dumps(scaler))
    np.testing.assert_array_equal(again.transform(arrays).values, scaler.transform(arrays).values)
    assert not hasattr(clone(scaler), "transformer_")


# --- inside scikit-learn's tools -----------------------------------------------------------------


@pytest.fixture(params=["environments", "list", "3-D array"])
def structures(request):
    arrays = make_arrays(n_structures=40, equal=request.param == "3-D array")
    y = np.array([a.mean(axis=0) @ [1.0, -2.0, 0.5] for a in arrays])
    wrap = {"environments": Environments.from_arrays, "list": list, "3-D array": np.array}
    return wrap[request.param](arrays), y


def test_splitters_keep_structures_whole(structures):
    X, y = structures
    X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
    assert len(X_train) == len(y_train) == 30
    assert len(X_test) == len(y_test) == 10
    assert type(X_train) is type(X)
    for x, value in zip(X_test, y_test, strict=True):
        assert x.mean(axis=0) @ [1.0, -2.0, 0.5] == pytest.approx(value)
    groups = np.arange(40) // 4
    for train, test in GroupKFold(5).split(X, y, groups):
        assert len(as_environments(_safe_indexing(X, train))) == 32
        assert len(as_environments(_safe_indexing(X, test))) == 8


def test_cross_validation_and_search(structures):
    X, y = structures
    pipeline = make_pipeline(PerEnvironment(StandardScaler()), StructureRidge(alpha=1e-6))
    assert cross_val_score(pipeline, X, y, cv=KFold(4)).min() > 0.999
    assert np.corrcoef(cross_val_predict(pipeline, X, y), y)[0, 1] > 0.999
    search = GridSearchCV(pipeline, {"structureridge__alpha": [1e-6, 1e3]}, cv=3).fit(X, y)
    assert search.best_params_ == {"structureridge__alpha": 1e-6}
    assert search.predict(X).shape == (40,)
    assert search.score(X, y) > 0.999
    scaled = pipeline[:-1].fit(X, y).transform(X)
    assert isinstance(scaled, Environments)


def test_per_environment_keeps_components_of_columns_that_stay_columns():
    X = Environments(np.arange(12.0).reshape(6, 2), [0, 2, 6]).with_values(
        np.arange(12.0).reshape(6, 2) ** 2, {"a": np.array([0]), "b": np.array([1])}
    )
    scaled = PerEnvironment(StandardScaler()).fit_transform(X)
    assert list(scaled.components) == ["a", "b"]
    assert getattr(PerEnvironment(PCA(1)).fit_transform(X), "components", None) is None


@given(
    sizes=st.lists(st.integers(0, 9), max_size=20),
    most=st.integers(1, 12),
    structures=st.none() | st.integers(1, 4),
)
def test_spans_are_consecutive_and_as_long_as_allowed(sizes, most, structures):
    offsets = np.cumsum([0, *sizes])
    spans = list(consecutive(offsets, most, structures))
    assert [i for a, b in spans for i in range(a, b)] == list(range(len(sizes)))
    for a, b in spans:
        assert sum(sizes[a:b]) <= most or b == a + 1
        assert structures is None or b - a <= structures
        full = b == len(sizes) or sum(sizes[a : b + 1]) > most
        assert full or b - a == structures
