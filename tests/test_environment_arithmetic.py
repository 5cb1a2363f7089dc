"""Arithmetic and joining of Environments, and what refuses them, frames and ragged rows."""

import operator

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge
from sklearn.model_selection import KFold, train_test_split
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.utils import resample, shuffle

from skrigidity.environments import (
    Environments,
    PerEnvironment,
    as_environments,
    check_features,
    check_targets,
    hstack,
    join_components,
    vstack,
)

COMPONENTS = {"a": slice(0, 1), "b": np.array([1, 2])}


def make(seed=0, sizes=(3, 1, 4), n_features=3, components=None, dtype=float):
    values = np.random.default_rng(seed).uniform(1, 2, size=(sum(sizes), n_features))
    return Environments(values.astype(dtype), np.cumsum([0, *sizes]), components)


# --- arithmetic ----------------------------------------------------------------------------------

OPERATORS = [operator.add, operator.sub, operator.mul, operator.truediv]


@given(
    st.sampled_from(OPERATORS),
    st.sampled_from([2, 2.5, np.float64(3), np.float32(2), np.int64(2), np.array(2.0), [1, 2, 3]])
    | st.sampled_from(
        [np.arange(1.0, 4), np.ones((1, 3)), np.arange(1.0, 9)[:, None], np.full((8, 3), 2.0)]
    ),
    st.booleans(),
)
def test_operators_apply_to_all_environments(function, other, swapped):
    X = make(components=COMPONENTS)
    plain = np.asarray(other) if isinstance(other, list) else other
    before = X.values.copy()
    result = function(other, X) if swapped else function(X, other)
    expected = function(plain, X.values) if swapped else function(X.values, plain)
    assert isinstance(result, Environments)
    np.testing.assert_array_equal(result.values, expected)
    np.testing.assert_array_equal(result.offsets, X.offsets)
    np.testing.assert_array_equal(X.values, before)
    assert list(result.components) == ["a", "b"]


@pytest.mark.parametrize("function", OPERATORS)
def test_operators_between_environments(function):
    X, Y = make(0, components=COMPONENTS), make(1, components={"a": [0], "b": slice(1, 3)})
    np.testing.assert_array_equal(function(X, Y).values, function(X.values, Y.values))
    assert list(function(X, Y).components) == ["a", "b"]
    assert function(X, make(1)).components is None
    assert function(make(1), X).components is None
    assert function(X, make(1, components={"a": [1], "b": [0, 2]})).components is None
    with pytest.raises(ValueError, match="the same structures and sizes"):
        function(X, make(sizes=(4, 4)))
    with pytest.raises(ValueError, match="one entry per feature"):
        function(X, make(n_features=2))


def test_negation_powers_and_precision():
    X = make(components=COMPONENTS, dtype=np.float32)
    np.testing.assert_array_equal((-X).values, -X.values)
    np.testing.assert_array_equal((X**2).values, X.values**2)
    assert (X * 2).dtype == (X / 2.0).dtype == (X - X.values.mean(axis=0)).dtype == np.float32
    Y = X
    Y += 1
    assert Y is not X
    np.testing.assert_allclose((Y - 1).values, X.values, rtol=1e-6)


def test_standardized_by_hand():
    X = make()
    by_hand = (X - X.values.mean(axis=0)) / X.values.std(axis=0)
    expected = PerEnvironment(StandardScaler()).fit_transform(X)
    np.testing.assert_allclose(by_hand.values, expected.values, atol=1e-14)


@pytest.mark.parametrize(
    ("other", "error"),
    [
        (np.ones(2), ValueError),
        (np.ones(8), ValueError),
        (np.ones((3, 3)), ValueError),
        (np.ones((8, 3, 1)), ValueError),
        ("a", TypeError),
        (None, TypeError),
        ({}, TypeError),
    ],
)
def test_operands_that_do_not_fit(other, error):
    for function in OPERATORS:
        with pytest.raises(error):
            function(make(), other)
        with pytest.raises(error):
            function(other, make())


# --- joining -------------------------------------------------------------------------------------


def test_hstack_is_the_hstack_of_every_structure():
    X, Y = make(0, components=COMPONENTS), make(1, n_features=2)
    both = hstack([X, list(Y)])
    for joined, x, y in zip(both, X, Y, strict=True):
        np.testing.assert_array_equal(joined, np.hstack([x, y]))
    assert both.components is None
    named = hstack([X, Y], names=["first", "second"]).components
    assert list(named) == ["first__a", "first__b", "second"]
    assert named["first__a"] == slice(0, 1)
    np.testing.assert_array_equal(named["first__b"], [1, 2])
    assert named["second"] == slice(3, 5)
    apart = hstack([X, Y.with_values(Y.values, {"c": slice(-1, None)})]).components
    assert apart["c"] == slice(4, 5)
    assert hstack([X, X]).components is None
    assert hstack([X]).components.keys() == COMPONENTS.keys()
    with pytest.raises(ValueError, match=r"parts\[1\]: expected the structures and sizes"):
        hstack([X, make(sizes=(4, 4))])
    with pytest.raises(ValueError, match="parts: expected at least one"):
        hstack([])


def test_components_of_masks_and_steps_are_joined_by_column():
    masked = {"x": np.array([True, False, True]), "y": slice(1, 2)}
    joined = join_components([masked, {"z": slice(None, None, 2)}], [3, 4])
    assert joined["x"].tolist() == [0, 2]
    assert joined["y"] == slice(1, 2)
    assert joined["z"].tolist() == [3, 5]


def test_vstack_puts_structures_one_after_another():
    X, Y = make(0, components=COMPONENTS), make(1, sizes=(2, 5))
    both = vstack([X, Y, list(Y)])
    assert both.sizes.tolist() == [3, 1, 4, 2, 5, 2, 5]
    for joined, part in zip(both, [*X, *Y, *Y], strict=True):
        np.testing.assert_array_equal(joined, part)
    assert both.components.keys() == COMPONENTS.keys()
    with pytest.raises(ValueError, match="parts: structure 3 has 2 features, expected 3"):
        vstack([X, make(n_features=2)])
    with pytest.raises(ValueError, match="parts: expected at least one"):
        vstack([])


# --- what is no matrix ---------------------------------------------------------------------------


@pytest.mark.parametrize("equal", [True, False])
@pytest.mark.parametrize(
    "use",
    [
        lambda X: StandardScaler().fit(X),
        lambda X: PCA(1).fit_transform(X),
        lambda X: Ridge().fit(X, np.zeros(len(X))),
        lambda X: KMeans(1).fit(X),
        lambda X: KNeighborsRegressor(1).fit(X, np.zeros(len(X))),
        lambda X: make_pipeline(FunctionTransformer(), Ridge()).fit(X, np.zeros(len(X))),
        np.asarray,
        lambda X: np.array([X, X]),
        pd.DataFrame,
    ],
)
def test_a_matrix_is_refused_with_the_cure(use, equal):
    with pytest.raises(TypeError, match=r"PerEnvironment.*aggregate"):
        use(make(sizes=(2, 2, 2) if equal else (3, 1, 4)))


@pytest.mark.parametrize("equal", [True, False])
def test_joining_by_numpy_is_refused_with_the_cure(equal):
    X = make(sizes=(2, 2, 2) if equal else (3, 1, 4))
    for join in (np.hstack, np.vstack, np.concatenate, np.column_stack, np.stack):
        for parts in ([X, X], [X, np.ones((3, 2))], [np.ones((3, 2)), X]):
            with pytest.raises(TypeError, match="DescriptorUnion or make_descriptor_union"):
                join(parts)
    union = make_union(PerEnvironment(StandardScaler()), PerEnvironment(PCA(1)))
    with pytest.raises(TypeError, match="DescriptorUnion or make_descriptor_union"):
        union.fit_transform(X)
    for function in (np.mean, np.sum, np.unique):
        with pytest.raises(TypeError, match="does not take Environments"):
            function(X)
    with pytest.raises(TypeError):
        np.sqrt(X)
    assert np.shape(X) == (3, 3)
    assert np.ndim(X) == 2


def test_tools_that_index_keep_structures_whole():
    X, y = make(sizes=(1, 2, 3, 4, 5, 6)), np.arange(1, 7)
    for parts in (train_test_split(X, y, random_state=0), resample(X, y), shuffle(X, y)):
        sizes, targets = parts[:: len(parts) // 2]
        np.testing.assert_array_equal(sizes.sizes, targets)
    for train, _ in KFold(3).split(X):
        assert X[train].sizes.tolist() == y[train].tolist()


class Frame:
    """What an ASE frame looks like."""

    positions = np.zeros((2, 3))

    def get_chemical_symbols(self):
        return ["H", "H"]

    def __len__(self):
        return 2


@pytest.mark.parametrize(
    "X",
    [
        Frame(),
        [Frame()],
        (Frame(), Frame()),
        np.array([Frame(), None])[:1],
        [1.0, Frame()],
        pd.Series([Frame(), Frame()]),
    ],
)
def test_frames_are_no_features(X):
    for use in (check_features, as_environments, PerEnvironment(StandardScaler()).fit):
        with pytest.raises(TypeError, match=r"got ase.Atoms; a descriptor .*output="):
            use(X)


def test_frames_of_ase_are_recognized():
    atoms = pytest.importorskip("ase").Atoms
    with pytest.raises(TypeError, match=r"train: expected features, got ase\.Atoms"):
        check_features([atoms("H2")], name="train")


@pytest.mark.parametrize(
    ("X", "message"),
    [
        ([np.ones(3), np.ones(3), np.ones(2)], "row 2 has 2 entries, expected 3 as in row 0"),
        ([[1.0, 2.0], [1.0]], "row 1 has 1 entries, expected 2"),
        ((pd.Series([1.0]), pd.Series([1.0, 2.0])), "row 1 has 2 entries, expected 1"),
        (np.array([np.ones(3), np.ones(2)], dtype=object), "row 1 has 2 entries"),
        ([np.ones(2), np.ones((2, 2))], "rows or 2-D arrays, one per structure, got both"),
    ],
)
def test_ragged_rows_are_named(X, message):
    with pytest.raises(ValueError, match=f"train: .*{message}"):
        check_features(X, name="train")


@pytest.mark.parametrize(
    "X",
    [
        make(),
        list(make()),
        np.ones((2, 3)),
        np.ones((2, 3, 4)),
        pd.DataFrame(np.ones((2, 3))),
        sparse.csr_array(np.eye(3)),
        [[1.0, 2.0], [3.0, 4.0]],
        [np.ones(2), np.zeros(2)],
        [1.0, 2.0],
        np.array([[1, "a"]], dtype=object),
        [],
        "text",
        None,
    ],
)
def test_what_may_be_features_passes(X):
    check_features(X)


@pytest.mark.parametrize("wrap", [lambda X: X, list, tuple])
def test_targets_of_atoms_are_named(wrap):
    X = make()
    flat = np.arange(8.0)
    for y in (flat, flat.tolist(), X.split(flat), [part.tolist() for part in X.split(flat)]):
        with pytest.raises(ValueError, match="energies: expected one target per structure"):
            check_targets(y, wrap(X), name="energies")
        with pytest.raises(ValueError, match="y: expected one target per structure"):
            PerEnvironment(StandardScaler()).fit(wrap(X), y)
    with pytest.raises(ValueError, match="expected one target per structure"):
        check_targets(X.split(flat), X.aggregate())
    for y in (np.arange(3.0), [1, 2, 3], np.ones((3, 2)), [[1, 2]] * 3, ["a", "b", "c"], None):
        check_targets(y, wrap(X))
    check_targets(np.arange(3.0), make(sizes=(1, 1, 1)))
    with pytest.raises(ValueError, match="y: expected one entry for each of 3 structures, got 4"):
        check_targets(np.arange(4.0), wrap(X))
