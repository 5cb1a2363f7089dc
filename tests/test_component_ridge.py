"""ComponentRidge: reductions to RigidRidge, component identities, orthogonalization, names."""

import pickle
import re

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from oracle import exact_quad
from sklearn import config_context
from sklearn.base import BaseEstimator, clone
from sklearn.compose import ColumnTransformer
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from skrigidity import Environments
from skrigidity.linear_model import ComponentRidge, RigidRidge

FIRST = {"first": slice(0, 1)}


@parametrize_with_checks([ComponentRidge()])
def test_check_estimator(estimator, check):
    check(estimator)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def data(rng):
    """Two components that share directions: 3 and 4 columns."""
    X = rng.standard_normal((60, 7)) + 1.0
    X[:, 3:5] += 2 * X[:, :2]
    y = X @ rng.standard_normal(7) + 0.3 * rng.standard_normal(60)
    return X, y


@pytest.fixture
def structures(rng):
    X = [rng.standard_normal((rng.integers(1, 6), 5)) + 0.5 for _ in range(30)]
    for x in X:
        x[:, 3:] += x[:, :2]
    return X, np.array([x.mean(axis=0) @ [1.0, -2.0, 0.5, 0.0, 1.0] for x in X])


def own_rigidity(X, y, columns, X_new, **parameters):
    """Component rigidity of a model made of these columns only."""
    block = RigidRidge(**parameters).fit(X[:, columns], y)
    return block.component_rigidity(X_new[:, columns], [len(columns)])[:, 0]


# -- reductions -------------------------------------------------------------------------------


def test_one_component_is_rigid_ridge(data):
    X, y = data
    ours, plain = ComponentRidge(alpha=0.3).fit(X, y), RigidRidge(0.3).fit(X, y)
    assert list(ours.component_names_) == ["all"]
    for name in ("coef_", "intercept_", "noise_variance_", "effective_dof_"):
        assert_array_equal(getattr(ours, name), getattr(plain, name))
    assert_array_equal(ours.prediction_rigidity(X), plain.prediction_rigidity(X))
    assert_array_equal(ours.component_rigidity(X), plain.component_rigidity(X, [7]))


@pytest.mark.parametrize("alpha", [[0.1, 5.0], [0.0, 1.0], [1e-11, 1.0]])
@pytest.mark.parametrize("solver", ["auto", "cholesky", "qr", "spectral"])
def test_alphas_are_a_diagonal_regularizer(data, rng, alpha, solver):
    X, y = data
    y = np.column_stack([y, y**2])
    weight = rng.uniform(0.2, 2, len(X))
    ours = ComponentRidge([3, 4], alpha, solver=solver).fit(X, y, weight)
    diagonal = np.repeat(alpha, [3, 4])
    plain = RigidRidge(1.0, regularizer=diagonal, solver=solver).fit(X, y, weight)
    assert_allclose(ours.coef_, plain.coef_)
    assert_allclose(ours.prediction_rigidity(X), plain.prediction_rigidity(X))
    assert_allclose(ours.component_rigidity(X), plain.component_rigidity(X, [3, 4]))
    assert_allclose(ours.predict(X, True)[1], plain.predict(X, True)[1])
    assert_allclose(
        ours.leave_one_out(X, y, weight).residual, plain.leave_one_out(X, y, weight).residual
    )
    mixed = ComponentRidge([3, 4], alpha, solver=solver).fit(X[:20], y[:20], weight[:20])
    mixed.partial_fit(X[20:], y[20:], weight[20:])
    assert_allclose(mixed.coef_, ours.coef_, rtol=1e-7)


def test_forms_of_alpha(data):
    X, y = data
    blocks = {"a": slice(3), "b": slice(3, None)}
    models = [
        ComponentRidge(blocks, alpha).fit(X, y)
        for alpha in ({"a": 0.1, "b": 2.0}, {"b": 2.0, "a": 0.1}, [0.1, 2.0], np.array([0.1, 2.0]))
    ]
    for model in models[1:]:
        assert_array_equal(model.coef_, models[0].coef_)
    assert_array_equal(models[0].regularizer, [0.1] * 3 + [2.0] * 4)
    assert ComponentRidge(blocks, [0.5, 0.5]).fit(X, y).regularizer is None


def test_unpenalized_component(data):
    """A free column of ones is an intercept."""
    X, y = data
    ones = np.column_stack([X, np.ones(60)])
    free = ComponentRidge([7, 1], [0.5, 0.0], fit_intercept=False).fit(ones, y)
    usual = RigidRidge(0.5).fit(X, y)
    assert_allclose(free.predict(ones), usual.predict(X))
    assert_allclose(free.prediction_rigidity(ones), usual.prediction_rigidity(X), rtol=1e-9)


@pytest.mark.parametrize("alpha", [1e-11, (1e-11, 1e-3), (1e-6, 1e-11)])
@pytest.mark.parametrize("near", [1e-2, 1e-6])
@pytest.mark.parametrize("intercept", [True, False])
def test_component_rigidity_against_the_oracle(rng, alpha, near, intercept):
    """Nearly repeated blocks, graded columns far from zero: condition numbers of H up to 1e15."""
    first = rng.standard_normal((30, 4)) * np.geomspace(1, 1e-2, 4) + 10
    X = np.hstack([first, first + near * rng.standard_normal((30, 4))])
    model = ComponentRidge([4, 4], alpha, fit_intercept=intercept).fit(X, X[:, 0])
    R = model.component_rigidity(X[:6])
    gamma = np.repeat(np.broadcast_to(alpha, 2), 4)
    flags = np.zeros(6) if intercept else None
    for c, columns in enumerate((slice(0, 4), slice(4, 8))):
        masked = np.zeros((6, 8))
        masked[:, columns] = X[:6, columns]
        q = exact_quad(
            X, masked, alpha=1.0, gamma=gamma, intercept=intercept or None, g_intercept=flags
        )
        assert_allclose(R[:, c], 1 / q, rtol=1e-8)


# -- identities -------------------------------------------------------------------------------


def test_parts_sum_to_the_prediction(data, structures):
    X, y = data
    for orthogonalize in (None, "sequential"):
        model = ComponentRidge([3, 4], 0.2, orthogonalize=orthogonalize).fit(X, y)
        parts = model.predict_components(X)
        assert_allclose(parts.sum(axis=1) + model.intercept_, model.predict(X))
        several = model.fit(X, np.column_stack([y, 2 * y]))
        parts = several.predict_components(X)
        assert parts.shape == (60, 2, 2)
        assert_allclose(parts.sum(axis=1) + several.intercept_, several.predict(X))


def test_orthogonal_blocks_have_their_own_rigidity(rng):
    Q = np.linalg.qr(rng.standard_normal((40, 6)))[0]
    Q = np.linalg.qr(Q - Q.mean(axis=0))[0] * np.geomspace(1, 10, 6)
    y, new = rng.standard_normal(40), rng.standard_normal((5, 6))
    model = ComponentRidge([2, 4], [0.3, 0.7]).fit(Q, y)
    R = model.component_rigidity(new)
    assert_allclose(R[:, 0], own_rigidity(Q, y, range(2), new, alpha=0.3), rtol=1e-10)
    assert_allclose(R[:, 1], own_rigidity(Q, y, range(2, 6), new, alpha=0.7), rtol=1e-10)
    summary = model.component_summary(Q)
    assert_allclose(summary["kept"], 1)
    assert_allclose(summary["overlap"], 0, atol=1e-10)
    assert set(summary["verdict"]) == {"trusted"}


@pytest.mark.parametrize("alpha", [1e-3, 1e-7, 1e-11])
def test_repeated_block(rng, alpha):
    """CPR falls to the regularizer's level, PR does not; orthogonalization brings it back."""
    block = rng.standard_normal((50, 4))
    X, y = np.hstack([block, block]), rng.standard_normal(50)
    model = ComponentRidge([4, 4], alpha).fit(X, y)
    own = own_rigidity(X, y, range(4), X, alpha=alpha)
    # Against w_1 = -w_2 there is only the penalty, on both: R = 2 alpha / |x|^2, from above.
    level = 2 * alpha / np.sum(block**2, axis=1)
    assert_allclose(model.component_rigidity(X), np.column_stack([level, level]), rtol=1e-2)
    alone = RigidRidge(alpha).fit(block, y)
    assert_allclose(model.prediction_rigidity(X), alone.prediction_rigidity(block), rtol=1e-3)
    assert list(model.component_summary(X)["verdict"]) == ["entangled", "entangled"]

    apart = ComponentRidge([4, 4], alpha, orthogonalize="sequential").fit(X, y)
    assert_allclose(apart.component_rigidity(X)[:, 0], own, rtol=1e-9)
    assert_array_equal(apart.component_rigidity(X)[:, 1], np.inf)
    assert_array_equal(apart.predict_components(X)[:, 1], 0)
    assert list(apart.component_summary(X)["verdict"]) == ["trusted", "vanishes"]
    # New rows in which the repetition fails are pinned by the regularizer only.
    broken = X[:5].copy()
    broken[:, 4:] += 3.0
    expected = alpha / np.sum(broken[:, 4:] - broken[:, :4], axis=1) ** 2 * 4
    assert_allclose(apart.component_rigidity(broken)[:, 1], expected, rtol=1e-6)


@pytest.mark.parametrize("near", [1.0, 1e-2, 1e-5])
@pytest.mark.parametrize("shift", [0.0, 5.0])
def test_nearly_repeated_blocks_recover(rng, near, shift):
    first = rng.standard_normal((200, 5)) + shift
    X = np.hstack([first, first + shift + near * rng.standard_normal((200, 5))])
    y = rng.standard_normal(200)
    apart = ComponentRidge([5, 5], 1e-12, orthogonalize="sequential").fit(X, y)
    R = apart.component_rigidity(X)
    for c, columns in enumerate((range(5), range(5, 10))):
        own = own_rigidity(X, y, columns, X, alpha=1e-12)
        assert np.median(R[:, c] / own) >= 0.5
        assert np.mean(1 / R[:, c]) <= 2 * np.mean(1 / own)
    together = ComponentRidge([5, 5], 1e-12).fit(X, y)
    kept = together.component_summary(X)["kept"]
    assert (kept < 0.8).all()
    assert (kept > 0.01 * near**2).all()


def test_kept_is_the_rigidity_over_the_own_one(data):
    X, y = data
    model = ComponentRidge([3, 4], [0.1, 0.4]).fit(X, y)
    R, summary = model.component_rigidity(X), model.component_summary(X)
    for c, (columns, alpha) in enumerate(((range(3), 0.1), (range(3, 7), 0.4))):
        ratio = R[:, c] / own_rigidity(X, y, columns, X, alpha=alpha)
        assert_allclose(summary["kept"].iloc[c], np.median(ratio), rtol=1e-9)
        prior = alpha / np.sum(X[:, columns] ** 2, axis=1) / R[:, c]
        assert_allclose(summary["prior"].iloc[c], np.median(prior), rtol=1e-9)


# -- orthogonalization ------------------------------------------------------------------------


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("weighted", [False, True])
def test_residuals_of_a_regression(data, rng, fit_intercept, weighted):
    X, y = data
    weight = rng.integers(0, 3, 60).astype(float) if weighted else None
    model = ComponentRidge(
        [2, 2, 3], 0.1, orthogonalize="sequential", fit_intercept=fit_intercept
    ).fit(X, y, weight)
    seen = np.ones(60) if weight is None else weight
    mean = np.average(X, axis=0, weights=seen) * fit_intercept
    centred = X - mean
    root = np.sqrt(seen)[:, None]
    expected = X.copy()
    for columns in (slice(2, 4), slice(4, 7)):
        earlier = slice(0, columns.start)
        B = np.linalg.lstsq(root * centred[:, earlier], root * centred[:, columns], rcond=None)[0]
        expected[:, columns] = centred[:, columns] - centred[:, earlier] @ B
    assert_allclose(X @ model.projection_ - model.offset_, expected, atol=1e-12)
    moments = (expected - np.average(expected, axis=0, weights=seen) * fit_intercept) * root
    assert_allclose((moments.T @ moments)[:2, 2:], 0, atol=1e-11)
    assert_allclose((moments.T @ moments)[2:4, 4:], 0, atol=1e-11)
    # Everything else is the same model on residualized columns.
    plain = RigidRidge(0.1, fit_intercept=fit_intercept).fit(expected, y, weight)
    assert_allclose(model.coef_, plain.coef_)
    assert_allclose(model.predict(X), plain.predict(expected))
    intercept = model.intercept_ - model.offset_ @ model.coef_
    assert_allclose(model.predict(X), X @ model.projection_ @ model.coef_ + intercept)
    assert_allclose(model.prediction_rigidity(X), plain.prediction_rigidity(expected))
    assert_allclose(model.component_rigidity(X), plain.component_rigidity(expected, [2, 2, 3]))
    assert_allclose(model.rigidity_with(X, X[:3]), plain.rigidity_with(expected, expected[:3]))
    ours, theirs = (m.leave_one_out(a, y, weight) for m, a in ((model, X), (plain, expected)))
    assert_allclose(ours.rigidity, theirs.rigidity)
    w = np.arange(60.0)
    assert_allclose(model.combination_rigidity(X, w), plain.combination_rigidity(expected, w))
    assert_allclose(
        model.sample_y(X, 3, random_state=0), plain.sample_y(expected, 3, random_state=0)
    )


def test_without_penalty_only_the_attribution_changes(data):
    X, y = data
    models = [
        ComponentRidge([3, 4], 0.0, orthogonalize=how, order=order).fit(X, y)
        for how, order in (
            (None, None),
            ("sequential", None),
            ("sequential", ["component1", "component0"]),
        )
    ]
    for model in models[1:]:
        assert_allclose(model.predict(X), models[0].predict(X), rtol=1e-8)
        assert_allclose(model.prediction_rigidity(X), models[0].prediction_rigidity(X), rtol=1e-8)
    parts = [model.predict_components(X) for model in models]
    assert not np.allclose(parts[1], parts[2], rtol=1e-2)
    # The first in order is what a model of its columns alone predicts, up to the intercept.
    alone = RigidRidge(0.0).fit(X[:, 3:], y)
    assert_allclose(parts[2][:, 1], X[:, 3:] @ alone.coef_, rtol=1e-8)
    assert_allclose(models[2].coef_[3:], alone.coef_, rtol=1e-8)


def test_orthogonalization_does_not_depend_on_units(data):
    X, y = data
    other = X * [1e-9, 1, 1e6, 1, 1e-7, 1e3, 1]
    shifted = X + 50 * (np.arange(7) > 2)
    models = [
        ComponentRidge([3, 4], 0.0, orthogonalize="sequential").fit(Z, y)
        for Z in (X, other, shifted)
    ]
    expected = models[0].component_rigidity(X)
    assert_allclose(models[1].component_rigidity(other), expected, rtol=1e-7)
    assert_allclose(models[2].component_rigidity(shifted), expected, rtol=1e-7)


def test_constant_zero_and_partly_repeated_columns(data):
    X, y = data
    X = np.column_stack([X[:, :3], np.full(60, 0.1), np.zeros(60), X[:, 1], X[:, 3:]])
    for alpha in (0.0, 1e-3):
        model = ComponentRidge([4, 6], alpha, orthogonalize="sequential").fit(X, y)
        assert np.isfinite(model.projection_).all()
        assert_array_equal(model.projection_[:4, 4], 0)
        residualized = model._residualizer.apply(X)
        assert_array_equal(residualized[:, 5], 0)
        assert_allclose(model.score(X, y), RigidRidge(alpha).fit(X, y).score(X, y), rtol=1e-5)
        assert np.isfinite(model.predict_components(X)).all()
        R = model.component_rigidity(X)
        assert not np.isnan(R).any()
        assert (R > 0).all() == (alpha > 0)  # a constant column is not told from the intercept


def test_few_samples_leave_nothing_for_later_components(rng):
    X, y = rng.standard_normal((8, 30)), rng.standard_normal(8)
    model = ComponentRidge([20, 10], 1e-6, orthogonalize="sequential").fit(X, y)
    assert_array_equal(model.component_rigidity(X)[:, 1], np.inf)
    assert np.isfinite(model.component_rigidity(rng.standard_normal((3, 30)))).all()


def test_vanishing_component_without_penalty(rng):
    block = rng.standard_normal((50, 4))
    X = np.hstack([block, block])
    apart = ComponentRidge([4, 4], 0.0, orthogonalize="sequential").fit(X, block[:, 0])
    summary = apart.component_summary(X)
    assert list(summary["verdict"]) == ["trusted", "vanishes"]
    assert_allclose(summary["kept"].iloc[0], 1)
    assert_array_equal(apart.component_rigidity(X + np.eye(8)[7])[:, 1], 0)
    singular = ComponentRidge([4, 4], 0.0).fit(X, block[:, 0]).component_summary(X)
    assert list(singular["verdict"]) == ["unpinned", "unpinned"]
    partly = np.hstack([X, rng.standard_normal((50, 2))])
    model = ComponentRidge([4, 4, 2], 0.0).fit(partly, block[:, 0])
    assert list(model.component_summary(partly)["verdict"]) == ["unpinned", "unpinned", "unknown"]


@pytest.mark.parametrize("orthogonalize", [None, "sequential"])
def test_sparse_and_float32(data, orthogonalize):
    X, y = data
    X = np.where(np.abs(X) > 1, X, 0.0)
    dense = ComponentRidge([3, 4], [0.3, 0.1], orthogonalize=orthogonalize).fit(X, y)
    sparse = clone(dense).fit(sp.csr_array(X), y)
    assert_allclose(sparse.coef_, dense.coef_, rtol=1e-9)
    for method in ("predict_components", "component_rigidity", "component_overlap"):
        assert_allclose(getattr(sparse, method)(sp.csr_matrix(X)), getattr(dense, method)(X))
    assert_allclose(
        sparse.component_summary(sp.csr_matrix(X))["kept"], dense.component_summary(X)["kept"]
    )
    single, double = (
        clone(dense).fit(Z, y) for Z in (X.astype("f4"), X.astype("f4").astype(float))
    )
    assert_allclose(single.coef_, double.coef_, rtol=1e-10)


# -- environments -----------------------------------------------------------------------------


@pytest.mark.parametrize("aggregate", ["mean", "sum"])
@pytest.mark.parametrize("orthogonalize", [None, "sequential"])
def test_environments(structures, aggregate, orthogonalize):
    """Every environment sees the map of the structures, so that parts add up locally as well."""
    X, y = structures
    model = ComponentRidge(
        [3, 2], [0.1, 0.2], aggregate=aggregate, orthogonalize=orthogonalize
    ).fit(X, y)
    join = np.mean if aggregate == "mean" else np.sum
    F = np.array([join(x, axis=0) for x in X])
    flat = clone(model).fit(F, y)
    assert_allclose(model.predict(X), flat.predict(F))
    assert_allclose(model.prediction_rigidity(X), flat.prediction_rigidity(F))
    assert_allclose(model.component_rigidity(X), flat.component_rigidity(F))

    once = 0.0 if aggregate == "mean" else model.intercept_
    whole = [join(v) + once for v in model.predict_local(X)]
    assert_allclose(whole, model.predict(X))
    local = model.predict_components(X, level="local")
    assert_allclose([join(v, axis=0) for v in local], model.predict_components(X), atol=1e-14)

    M, offset = np.eye(5), 0.0
    if orthogonalize is not None:
        M, offset = model.projection_, model.offset_
        assert offset.any() == (aggregate == "mean")
    masked = X[3] @ M - offset
    masked[:, :3] = 0
    q = exact_quad(
        F @ M,
        masked,
        alpha=1.0,
        gamma=[0.1] * 3 + [0.2] * 2,
        intercept=True,
        g_intercept=np.zeros(len(masked)),
    )
    R = model.component_rigidity(X, level="local")
    assert [r.shape for r in R] == [(len(x), 2) for x in X]
    assert_allclose(R[3][:, 1], 1 / q, rtol=1e-9)
    assert_allclose(model.component_rigidity(X[3], level="local"), R[3])
    summary = model.component_summary(X, level="local")
    assert_allclose(summary["rigidity_50%"], np.median(np.concatenate(R), axis=0), rtol=0.2)


def test_ragged_results_are_never_wrapped(structures):
    X, y = structures
    for data in (X, Environments.from_arrays(X)):
        model = ComponentRidge([3, 2]).set_output(transform="pandas").fit(data, y)
        assert isinstance(model.component_rigidity(data), pd.DataFrame)
        local = model.component_rigidity(data, level="local")
        assert isinstance(local, list)
        assert all(isinstance(r, np.ndarray) for r in local)
        assert isinstance(model.predict_components(data, level="local")[0], np.ndarray)


# -- naming the columns -----------------------------------------------------------------------


@pytest.fixture
def frame(data):
    X, y = data
    names = ["s1", "s2", "s3", "l1", "l2", "l3", "odd[1]"]
    return pd.DataFrame(X, columns=names, index=np.arange(60) + 100), y


@pytest.mark.parametrize(
    "components",
    [
        [3, 4],
        np.array([3, 4]),
        [slice(0, 3), slice(3, None)],
        [[0, 1, 2], [3, 4, 5, -1]],
        [["s1", "s2", "s3"], ["l?", "odd[1]"]],
        {"a": "s*", "b": ["l[123]", "odd[1]"]},
        {"a": re.compile(r"^s\d$"), "b": [re.compile("^l"), "odd*", "l1"]},
        {"a": np.arange(7) < 3, "b": np.arange(7) >= 3},
        {"a": pd.Index(["s1", "s2", "s3"]), "b": range(3, 7)},
    ],
)
def test_forms_of_components(frame, components):
    X, y = frame
    model = ComponentRidge(components, [0.1, 1.0]).fit(X, y)
    columns = [sorted(c.tolist()) for c in model.components_.values()]
    assert columns == [[0, 1, 2], [3, 4, 5, 6]]
    named = isinstance(components, dict)
    assert list(model.component_names_) == (["a", "b"] if named else ["component0", "component1"])
    plain = ComponentRidge([3, 4], [0.1, 1.0]).fit(X, y)
    assert_allclose(model.component_rigidity(X), plain.component_rigidity(X))
    assert_allclose(clone(model).fit(X, y).coef_, model.coef_)
    assert_allclose(pickle.loads(pickle.dumps(model)).predict(X), model.predict(X))
    # A fitted model stands for its components wherever components are asked for.
    assert_allclose(
        RigidRidge(0.1).fit(X, y).component_rigidity(X, model),
        RigidRidge(0.1).fit(X, y).component_rigidity(X, components),
    )


def test_patterns_in_a_list_name_themselves(frame):
    X, y = frame
    model = ComponentRidge(["s*", "l*"], remainder="rest").fit(X, y)
    assert list(model.component_names_) == ["s*", "l*", "rest"]
    assert_array_equal(model.components_["rest"], [6])
    # A remainder of no columns is a component nevertheless: alphas by name do not break.
    empty = ComponentRidge(["s*", "[lo]*"], [1, 1, 2], remainder="rest").fit(X, y)
    assert_array_equal(empty.component_rigidity(X)[:, 2], np.inf)
    assert empty.component_summary(X)["verdict"].iloc[2] == "vanishes"


class Descriptor(BaseEstimator):
    """Like FeatomicDescriptor: knows its components once it is fitted."""

    def fit(self, X, y=None):
        self.components_ = {"a": slice(0, 3), "b": np.arange(3, 7)}
        return self


def test_descriptor(data):
    X, y = data
    descriptor = Descriptor().fit(X)
    models = [ComponentRidge(c) for c in (descriptor.components_, FrozenEstimator(descriptor))]
    for model in models:
        assert list(clone(model).fit(X, y).component_names_) == ["a", "b"]
    model = ComponentRidge(descriptor)
    assert list(model.fit(X, y).component_names_) == ["a", "b"]
    with pytest.raises(ValueError, match="pass its components_ instead"):
        clone(model).fit(X, y)


def test_featomic_descriptor():
    pytest.importorskip("featomic")
    from ase.build import molecule

    from skrigidity.atomistic import FeatomicDescriptor

    frames = [molecule(name) for name in ("H2O", "CH4", "CH3OH", "C2H6", "H2", "CO2", "CO", "O2")]
    y = [len(frame) for frame in frames]
    descriptor = FeatomicDescriptor(max_radial=2, max_angular=1).fit(frames)
    X = descriptor.transform(frames)
    model = ComponentRidge(descriptor, orthogonalize="sequential", aggregate="sum").fit(X, y)
    assert list(model.component_names_) == list(descriptor.components_)
    parts = model.predict_components(X)
    assert_allclose(parts.sum(axis=1) + model.intercept_, model.predict(X))
    assert model.component_summary(X).shape[0] == len(descriptor.components_)


def test_names_on_results(frame):
    X, y = frame
    blocks = {"short": "s*", "long": "l*"}
    model = ComponentRidge(blocks, remainder="rest").fit(X, y)
    assert isinstance(model.component_rigidity(X), np.ndarray)
    with config_context(transform_output="pandas"):
        assert list(model.component_rigidity(X).columns) == ["short", "long", "rest"]
    named = clone(model.set_output(transform="pandas")).fit(X, y)
    for method in ("component_rigidity", "predict_components"):
        table = getattr(named, method)(X)
        assert list(table.columns) == list(named.component_names_)
        assert_array_equal(table.index, X.index)
        assert list(getattr(named, method)(X, {"all": slice(None)}).columns) == ["all"]
        assert getattr(named, method)(X, level="local").shape == (60, 3)
    assert list(named.component_rigidity(X.iloc[:4]).index) == [100, 101, 102, 103]
    assert isinstance(named.predict(X), np.ndarray)
    several = clone(named).fit(X, np.column_stack([y, y]))
    assert isinstance(several.predict_components(X), np.ndarray)
    assert isinstance(named.set_output(transform="default").component_rigidity(X), np.ndarray)
    with pytest.raises(ValueError, match="transform must be"):
        model.set_output(transform="xarray")


# -- grids ------------------------------------------------------------------------------------


def test_nested_alphas(data):
    given = {"a": 0.1, "b": 1.0}
    model = ComponentRidge([3, 4], given)
    assert model.get_params()["alpha__b"] == 1.0
    assert "alpha__b" not in model.get_params(deep=False)
    model.set_params(alpha__b=3.0, solver="qr")
    assert model.alpha == {"a": 0.1, "b": 3.0}
    assert given == {"a": 0.1, "b": 1.0}
    assert model.set_params(alpha={"x": 1.0}, alpha__x=2.0).alpha == {"x": 2.0}
    with pytest.raises(ValueError, match=r"\['c'\] are not all in"):
        model.set_params(alpha__c=1.0)
    with pytest.raises(ValueError, match="entries of a dict alpha"):
        ComponentRidge([3, 4], 1.0).set_params(alpha__a=1.0)
    with pytest.raises(ValueError, match="Invalid parameter"):
        model.set_params(beta__a=1.0)


def test_grid_search(rng):
    """Strong signal in a few columns, none in many: the search tells them apart."""
    X = rng.standard_normal((60, 34))
    y = X[:, :4] @ np.ones(4) + 0.1 * rng.standard_normal(60)
    blocks = {"few": slice(0, 4), "many": slice(4, None)}
    grid = [1e-3, 1e3]
    dicts = [{"few": a, "many": b} for a in grid for b in grid]
    search = GridSearchCV(ComponentRidge(blocks), {"alpha": dicts}).fit(X, y)
    assert search.best_params_ == {"alpha": {"few": 1e-3, "many": 1e3}}
    nested = GridSearchCV(
        make_pipeline(StandardScaler(), ComponentRidge(blocks, dict.fromkeys(blocks, 1.0))),
        {"componentridge__alpha__few": grid, "componentridge__alpha__many": grid},
    ).fit(X, y)
    assert list(nested.best_params_.values()) == [1e-3, 1e3]
    assert nested.best_estimator_[-1].alpha == {"few": 1e-3, "many": 1e3}
    assert nested.best_score_ > 0.98
    how = {"orthogonalize": [None, "sequential"], "order": [None, ["many", "few"]]}
    assert GridSearchCV(ComponentRidge(blocks), how).fit(X, y).best_score_ > 0.5


# -- summary ----------------------------------------------------------------------------------


def test_overlap_is_the_canonical_correlation(data):
    X, y = data
    third = np.column_stack([X, np.random.default_rng(1).standard_normal(60)])
    overlap = ComponentRidge([3, 4, 1]).fit(third, y).component_overlap(third)
    centred = third - third.mean(axis=0)
    a, b, c = (np.linalg.qr(centred[:, s])[0] for s in (slice(3), slice(3, 7), slice(7, 8)))
    assert_allclose(overlap.iloc[0, 1], np.linalg.norm(a.T @ b, 2))
    assert_allclose(overlap.loc["component1", "component2"], np.linalg.norm(b.T @ c, 2))
    assert_allclose(overlap, overlap.T)
    assert_array_equal(np.diag(overlap), 1)
    apart = ComponentRidge([3, 4, 1], orthogonalize="sequential").fit(third, y)
    assert_allclose(apart.component_overlap(third), np.eye(3), atol=1e-12)
    # A shift of one column, units and repeated columns change nothing.
    moved = np.column_stack([third[:, :3] * 1e6 + 3, third[:, 1], third[:, 3:]])
    again = ComponentRidge([4, 4, 1]).fit(moved, y).component_overlap(moved)
    assert_allclose(again, overlap, rtol=1e-7)


def test_summary(frame):
    X, y = frame
    alpha = {"short": 0.1, "long": 0.2, "odd": 3.0}
    model = ComponentRidge({"short": "s*", "long": "l*"}, alpha, remainder="odd").fit(X, y)
    summary = model.component_summary(X, quantiles=[0, 0.5, 1])
    assert list(summary.index) == ["short", "long", "odd"]
    assert list(summary["n_columns"]) == [3, 3, 1]
    assert list(summary["alpha"]) == [0.1, 0.2, 3.0]
    R = model.component_rigidity(X)
    assert_allclose(summary["rigidity_0%"], R.min(axis=0))
    assert_allclose(summary["rigidity_100%"], R.max(axis=0))
    assert (np.sort(R, axis=0)[28:32] == summary["rigidity_50%"].to_numpy()).any(axis=0).all()
    parts = model.predict_components(X)
    whole = model.predict(X)
    assert_allclose(summary["share"], [np.cov(p, whole)[0, 1] / whole.var(ddof=1) for p in parts.T])
    assert_allclose(summary["share"].sum(), 1)
    overlap = model.component_overlap(X)
    assert summary.loc["short", "overlap"] == overlap.loc["short", "long"]
    assert summary.loc["short", "overlap_with"] == "long"
    assert ((summary["kept"] > 0) & (summary["kept"] <= 1)).all()
    assert list(summary["verdict"]) == ["entangled", "entangled", "trusted"]
    one = ComponentRidge().fit(X, y).component_summary(X)
    assert (one.loc["all", "overlap"], one.loc["all", "overlap_with"]) == (0, "")
    assert_allclose(one.loc["all", ["kept", "share"]].astype(float), 1)
    several = model.fit(X, np.column_stack([y, 3 * y])).component_summary(X)
    assert_allclose(several["share"], summary["share"])


def test_verdict_of_a_component_that_the_data_do_not_reach(data):
    X, y = data
    weak = np.column_stack([X, 1e-3 * np.random.default_rng(0).standard_normal(60)])
    summary = ComponentRidge([7, 1], 1.0).fit(weak, y).component_summary(weak)
    assert list(summary["verdict"]) == ["trusted", "regularized"]
    assert summary["prior"].iloc[1] > 0.99
    flat = ComponentRidge([3, 4]).fit(X, np.ones(60)).component_summary(X)
    assert flat["share"].isna().all()


def test_trusted_parts_are_found_again():
    """What the verdict is about: over draws of the noise, entangled parts scatter widely."""
    rng = np.random.default_rng(3)
    scatter = {}
    for name, mixing in (("apart", 0.0), ("mixed", 5.0)):
        X = rng.standard_normal((80, 6))
        X[:, 3:] += mixing * X[:, :3]
        X /= X.std(axis=0)
        draws = [
            ComponentRidge([3, 3], 1e-8)
            .fit(X, X @ np.ones(6) + rng.standard_normal(80))
            .predict_components(X)
            for _ in range(60)
        ]
        scatter[name] = np.var(draws, axis=0).mean(axis=0)
        model = ComponentRidge([3, 3], 1e-8, calibration=None).fit(X, X @ np.ones(6))
        assert_allclose(scatter[name], np.mean(1 / model.component_rigidity(X), axis=0), rtol=0.2)
        verdict = "trusted" if name == "apart" else "entangled"
        assert set(model.component_summary(X)["verdict"]) == {verdict}
    assert (scatter["mixed"] > 10 * scatter["apart"]).all()


# -- bad input --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"components": [3, 3]}, "add up to 6, expected 7"),
        ({"components": {"a": [0, 1], "b": [1, 2]}}, "column 1 is in 'a' and 'b'"),
        ({"components": {"a": [0, 1, 2]}}, r"columns \['l1', .*'odd\[1\]'\] are in no component"),
        ({"components": {"a": ["nope"]}}, r"unknown columns \['nope'\]"),
        ({"components": {"a": "x*"}}, r"unknown columns \['x\*'\]"),
        ({"components": {"a": re.compile("^x")}}, r"unknown columns \['\^x'\]"),
        ({"components": {"a": [9]}}, r"columns \[9\], expected 0 to 6"),
        ({"components": {"a": slice(0, 9)}}, "there are 7 columns"),
        ({"components": ["s1", "s1"]}, "components overlap"),
        ({"components": {1: [0], "1": [1]}}, "distinct names"),
        ({"components": {}}, "at least one component"),
        ({"components": "s*"}, "components must be"),
        ({"components": {"a": "s*"}, "remainder": "a"}, "name of another component"),
        ({"components": [3, 4], "alpha": [1.0]}, "one entry per component"),
        ({"components": [3, 4], "alpha": [1.0, 2.0, 3.0]}, "one entry per component"),
        ({"components": [3, 4], "alpha": [1.0, -2.0]}, "not negative"),
        ({"components": [3, 4], "alpha": [1.0, np.nan]}, "finite"),
        ({"components": [3, 4], "alpha": {"component0": 1.0}}, r"missing \['component1'\]"),
        (
            {"components": ["s*", "[lo]*"], "alpha": {"s*": 1.0, "[lo]*": 1.0, "x": 1.0}},
            r"unknown \['x'\]",
        ),
        ({"alpha": {"all": "much"}}, "made of numbers"),
        ({"alpha": {"all": -1.0}}, "not negative"),
        ({"alpha": -1.0}, "alpha"),
        ({"orthogonalize": "symmetric"}, "orthogonalize"),
        ({"components": [3, 4], "order": ["component1"]}, "every component once"),
        ({"components": [3, 4], "order": ["component1"] * 2}, "every component once"),
        ({"components": [3, 4], "order": ["component1", "b"]}, "every component once"),
        ({"remainder": 3}, "remainder"),
    ],
)
def test_bad_parameters(frame, parameters, message):
    X, y = frame
    with pytest.raises(ValueError, match=message):
        ComponentRidge(**parameters).fit(X, y)


def test_wrong_use(data):
    X, y = data
    model = ComponentRidge([3, 4], orthogonalize="sequential")
    with pytest.raises(NotFittedError):
        model.component_summary(X)
    with pytest.raises(AttributeError, match="partial_fit") as error:
        model.partial_fit(X, y)
    assert "needs all samples at once" in str(error.value.__cause__)
    with pytest.raises(ValueError, match="by column names"):
        ComponentRidge({"a": "s*"}).fit(X, y)
    model.fit(X, y)
    with pytest.raises(ValueError, match="7 features"):
        model.component_rigidity(X[:, :3])
    with pytest.raises(ValueError, match="level"):
        model.component_summary(X, level="atomic")


# -- components that come with the data -------------------------------------------------------


def test_environments_carry_components(rng, tmp_path):
    parts = {"a": slice(0, 2), "b": np.array([2, 3, 4])}
    X = Environments(rng.standard_normal((12, 5)), [0, 3, 5, 6, 9, 12], parts)
    for kept in (X[1:], X[::2], X[[3, 0, 1]], X[np.arange(5) > 1], X[[0, 1], ...]):
        assert kept.components is X.components
        assert pickle.loads(pickle.dumps(kept)).components.keys() == parts.keys()
    assert X[:, :2].components is None
    assert X.with_values(X.values).components is None
    assert X.with_values(X.values, parts).components == parts
    y = np.arange(5.0)
    auto = ComponentRidge("auto", alpha=[0.1, 2.0]).fit(X, y)
    by_hand = ComponentRidge(parts, alpha=[0.1, 2.0]).fit(X, y)
    assert auto.component_names_.tolist() == ["a", "b"]
    assert_array_equal(auto.coef_, by_hand.coef_)
    assert_array_equal(auto.component_rigidity(X), by_hand.component_rigidity(X))
    # What is predicted needs no components of its own.
    assert_array_equal(auto.predict_components(list(X)), by_hand.predict_components(X))
    search = GridSearchCV(
        ComponentRidge("auto", {"a": 1.0, "b": 1.0}), {"alpha__a": [0.1, 1.0]}, cv=2
    ).fit(X, y)
    assert search.best_estimator_.component_names_.tolist() == ["a", "b"]
    with pytest.raises(ValueError, match="columns \\[4\\] are in no component"):
        ComponentRidge("auto").fit(Environments(X.values, X.offsets, {"a": slice(0, 4)}), y)


def test_column_names_carry_components(rng):
    X = pd.DataFrame(
        rng.standard_normal((20, 4)), columns=["long__x", "short__x", "short__y__z", "long__y"]
    )
    y = rng.standard_normal(20)
    auto = ComponentRidge("auto", {"short": 0.1, "long": 1.0}).fit(X, y)
    by_hand = ComponentRidge({"long": ["long__x", "long__y"], "short": [1, 2]}, [1.0, 0.1])
    assert auto.component_names_.tolist() == ["long", "short"]
    assert_array_equal(auto.coef_, by_hand.fit(X, y).coef_)
    X.columns = ["x0", "x1", "x2", "x3"]
    squares = FunctionTransformer(np.square, feature_names_out="one-to-one")
    both = ColumnTransformer([("all", "passthrough", [0, 1]), ("squares", squares, [2, 3])])
    both.set_output(transform="pandas")
    pipeline = make_pipeline(both, ComponentRidge("auto", alpha=0.1)).fit(X, y)
    assert pipeline[-1].component_names_.tolist() == ["all", "squares"]


def test_attached_components_win_over_names(rng):
    X = pd.DataFrame(rng.standard_normal((20, 3)), columns=["p__1", "p__2", "q"])
    X.attrs["components"] = {"first": ["p__1"], "rest": ["p__2", "q", "gone"]}
    for table in (X, X.iloc[::2], X.take([0, 3, 5])):
        model = ComponentRidge("auto").fit(table, np.arange(float(len(table))))
        assert {name: c.tolist() for name, c in model.components_.items()} == {
            "first": [0],
            "rest": [1, 2],
        }


@pytest.mark.parametrize(
    ("make", "seen"),
    [
        (np.asarray, "ndarray without any"),
        (pd.DataFrame, r"columns \[0, 1, 2\], \.\.\."),
        (lambda X: pd.DataFrame(X, columns=["a__x", "b", "a__y", "a__z"]), r"columns \['b'\]:"),
        (lambda X: Environments(X, np.arange(11)), "Environments without any"),
    ],
)
def test_data_without_components(rng, make, seen):
    X = make(rng.standard_normal((10, 4)))
    with pytest.raises(ValueError, match=f"components='auto' needs data that know.*{seen}"):
        ComponentRidge("auto").fit(X, np.arange(10.0))
