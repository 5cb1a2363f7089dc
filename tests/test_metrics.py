"""`skrigidity.metrics`: through composite estimators, and straight from features."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from oracle import exact_quad
from sklearn.compose import TransformedTargetRegressor
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV
from sklearn.multioutput import MultiOutputRegressor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MinMaxScaler,
    PowerTransformer,
    StandardScaler,
)

from skrigidity import Environments, PerEnvironment, RigidRidge, RigidRidgeCV
from skrigidity.metrics import (
    binned_calibration,
    component_rigidity,
    componentwise_prediction_rigidity,
    local_prediction_rigidity,
    local_rigidity,
    prediction_rigidity,
    prediction_std,
)

FUNCTIONS = {
    "prediction_rigidity": prediction_rigidity,
    "local_rigidity": local_rigidity,
    "component_rigidity": lambda model, X: component_rigidity(model, X, [1, 2, 1]),
    "prediction_std": prediction_std,
}
# What each asks of the innermost model.
OWN = {
    "prediction_rigidity": lambda model, X: model.prediction_rigidity(X),
    "local_rigidity": lambda model, X: model.local_rigidity(X),
    "component_rigidity": lambda model, X: model.component_rigidity(X, [1, 2, 1]),
    "prediction_std": lambda model, X: model.predict(X, return_std=True)[1],
}

every_function = pytest.mark.parametrize("name", list(FUNCTIONS))


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((60, 4)) * [1.0, 3.0, 0.1, 10.0] + [5.0, 0.0, 1.0, -2.0]
    y = (X - 1.0) @ [0.3, -0.2, 1.0, 0.05] + 0.2 * rng.standard_normal(60)
    return X, y


@pytest.fixture
def structures():
    rng = np.random.default_rng(1)
    X = [rng.standard_normal((rng.integers(1, 6), 4)) * 3.0 + 1.0 for _ in range(30)]
    y = np.array([x.mean(axis=0) @ [1.0, -1.0, 0.5, 0.2] for x in X])
    return X, y + 0.1 * rng.standard_normal(30)


def search(model, name="alpha"):
    return GridSearchCV(model, {name: [0.1, 1.0, 10.0]}, cv=3)


# -- through composite estimators --------------------------------------------------------------


@every_function
def test_plain_estimator(data, name):
    X, y = data
    model = RigidRidge(0.3).fit(X, y)
    assert_array_equal(FUNCTIONS[name](model, X), OWN[name](model, X))


@every_function
def test_pipeline(data, name):
    X, y = data
    model = make_pipeline(StandardScaler(), PCA(), RigidRidge(0.3)).fit(X, y)
    inner = model[1].transform(model[0].transform(X))
    assert_array_equal(FUNCTIONS[name](model, X), OWN[name](model[2], inner))


@every_function
def test_nested_pipeline(data, name):
    X, y = data
    nested = make_pipeline(StandardScaler(), make_pipeline(PCA(), "passthrough", RigidRidge(0.3)))
    flat = make_pipeline(StandardScaler(), PCA(), RigidRidge(0.3))
    assert_array_equal(FUNCTIONS[name](nested.fit(X, y), X), FUNCTIONS[name](flat.fit(X, y), X))


@every_function
def test_pipeline_of_one_step(data, name):
    X, y = data
    model = make_pipeline(RigidRidge(0.3)).fit(X, y)
    assert_array_equal(FUNCTIONS[name](model, X), OWN[name](model[0], X))


@every_function
def test_searches(data, name):
    X, y = data
    pipeline = make_pipeline(StandardScaler(), RigidRidge())
    grid = search(pipeline, "rigidridge__alpha").fit(X, y)
    random = RandomizedSearchCV(
        pipeline, {"rigidridge__alpha": [0.1, 1.0, 10.0]}, n_iter=3, cv=3, random_state=0
    ).fit(X, y)
    expected = FUNCTIONS[name](grid.best_estimator_, X)
    assert_array_equal(FUNCTIONS[name](grid, X), expected)
    assert_array_equal(FUNCTIONS[name](random, X), expected)


@every_function
def test_search_inside_a_pipeline(data, name):
    X, y = data
    model = make_pipeline(StandardScaler(), search(RigidRidge())).fit(X, y)
    inner = model[0].transform(X)
    assert_array_equal(FUNCTIONS[name](model, X), OWN[name](model[1].best_estimator_, inner))


@every_function
def test_frozen_estimator(data, name):
    X, y = data
    model = make_pipeline(StandardScaler(), RigidRidge(0.3)).fit(X, y)
    expected = FUNCTIONS[name](model, X)
    frozen = FrozenEstimator(model)
    assert_array_equal(FUNCTIONS[name](frozen, X), expected)
    assert_array_equal(FUNCTIONS[name](FrozenEstimator(frozen), X), expected)
    steps = [("scale", FrozenEstimator(model[0])), ("ridge", FrozenEstimator(model[1]))]
    assert_array_equal(FUNCTIONS[name](Pipeline(steps), X), expected)


@every_function
def test_cross_validated_ridge(data, name):
    X, y = data
    model = make_pipeline(StandardScaler(), RigidRidgeCV([0.1, 1.0])).fit(X, y)
    inner = model[0].transform(X)
    assert_array_equal(FUNCTIONS[name](model, X), OWN[name](model[1], inner))


def test_data_frames(data):
    X, y = data
    frame = pd.DataFrame(X, columns=list("abcd"))
    model = make_pipeline(StandardScaler().set_output(transform="pandas"), RigidRidge())
    model.fit(frame, y)
    plain = make_pipeline(StandardScaler(), RigidRidge()).fit(X, y)
    assert_allclose(prediction_rigidity(model, frame), prediction_rigidity(plain, X), rtol=1e-12)
    parts = {"left": ["a", "b"], "right": ["d"]}
    expected = component_rigidity(plain, X, {"left": [0, 1], "right": [3]})
    assert_allclose(component_rigidity(model, frame, parts), expected, rtol=1e-12)


# -- structures of environments ----------------------------------------------------------------


@every_function
@pytest.mark.parametrize("container", [list, Environments.from_arrays])
def test_environments_through_everything(structures, name, container):
    X, y = structures
    X = container(X)
    pipeline = make_pipeline(PerEnvironment(StandardScaler()), RigidRidge())
    model = search(pipeline, "rigidridge__alpha").fit(X, y)
    inner = model.best_estimator_[0].transform(X)
    expected = OWN[name](model.best_estimator_[1], inner)
    got = FUNCTIONS[name](model, X)
    assert len(got) == len(X)
    for a, b in zip(got, expected, strict=True):
        assert_array_equal(a, b)


def test_local_components_of_environments(structures):
    X, y = structures
    model = make_pipeline(PerEnvironment(StandardScaler()), RigidRidge(0.2)).fit(X, y)
    got = component_rigidity(model, X, {"a": [0], "rest": slice(1, 4)}, level="local")
    scaled = model[0].transform(X)
    means = scaled.aggregate("mean")
    for r, x in zip(got, scaled, strict=True):
        assert r.shape == (len(x), 2)
        masked = x * [0.0, 1.0, 1.0, 1.0]
        q = exact_quad(means, masked, alpha=0.2, intercept=True, g_intercept=False)
        assert_allclose(r[:, 1], 1 / q, rtol=1e-9)


# -- transformed targets -----------------------------------------------------------------------


@every_function
def test_rigidity_does_not_change_with_units_of_the_target(data, name):
    X, y = data
    if name == "prediction_std":
        pytest.skip("that one does")
    inner = make_pipeline(StandardScaler(), RigidRidge())
    model = TransformedTargetRegressor(inner, transformer=StandardScaler()).fit(X, y)
    assert_array_equal(FUNCTIONS[name](model, X), FUNCTIONS[name](inner.fit(X, y), X))


@pytest.mark.parametrize("transformer", [StandardScaler(), MinMaxScaler((-3, 7))])
@pytest.mark.parametrize("outputs", [1, 3])
def test_affine_transform_scales_the_deviation(data, transformer, outputs):
    """An unpenalized intercept makes ridge regression equivariant under affine maps of y."""
    X, y = data
    y = 1e3 * y + 70.0
    if outputs > 1:
        y = np.column_stack([y, 0.1 * y[::-1], y**2])
    model = TransformedTargetRegressor(RigidRidge(), transformer=transformer).fit(X, y)
    mean, expected = RigidRidge().fit(X, y).predict(X, return_std=True)
    assert_allclose(model.predict(X), mean, rtol=1e-8)
    std = prediction_std(model, X)
    assert std.shape == y.shape
    assert_allclose(std, expected, rtol=1e-9)


def test_affine_transform_far_from_zero(data):
    """Total energies: an offset a million times the spread costs only its own digits."""
    X, y = data
    y = y + 1e6
    model = TransformedTargetRegressor(RigidRidge(), transformer=StandardScaler()).fit(X, y)
    _, expected = RigidRidge().fit(X, y).predict(X, return_std=True)
    assert_allclose(prediction_std(model, X), expected, rtol=1e-7)


def test_affine_function_that_decreases(data):
    X, y = data
    model = TransformedTargetRegressor(
        RigidRidge(), func=lambda y: 3.0 - 2.0 * y, inverse_func=lambda z: (3.0 - z) / 2.0
    ).fit(X, y)
    _, expected = RigidRidge().fit(X, y).predict(X, return_std=True)
    assert_allclose(prediction_std(model, X), expected, rtol=1e-9)


def wrappings(transformed):
    """The same regressor inside of pipelines and searches, and both inside of it."""
    inner = make_pipeline(StandardScaler(), RigidRidge(0.1))
    one = {"regressor__rigidridge__alpha": [0.1]}
    return {
        "alone": transformed(inner),
        "of a search": transformed(GridSearchCV(inner, {"rigidridge__alpha": [0.1]}, cv=3)),
        "in a search": GridSearchCV(transformed(inner), one, cv=3),
        "in a pipeline": make_pipeline(StandardScaler(), transformed(RigidRidge(0.1))),
        "in a search in a pipeline": make_pipeline(
            "passthrough", GridSearchCV(transformed(inner), one, cv=3)
        ),
    }


def log_target(regressor):
    return TransformedTargetRegressor(regressor, func=np.log, inverse_func=np.exp)


@pytest.mark.parametrize("where", list(wrappings(log_target)))
def test_logarithm_by_the_delta_method(data, where):
    X, log_y = data
    log_y = 0.1 * log_y + 1.0
    model = wrappings(log_target)[where].fit(X, np.exp(log_y))
    inner = make_pipeline(StandardScaler(), RigidRidge(0.1)).fit(X, log_y)
    mean, std = inner.predict(X, return_std=True)
    got = prediction_std(model, X)
    assert_allclose(got, np.exp(mean) * std, rtol=1e-8)
    draws = np.exp(mean + std * np.random.default_rng(2).standard_normal((100_000, 1)))
    assert std.max() < 0.1
    assert_allclose(got, draws.std(axis=0), rtol=0.02)


def test_nested_transforms(data):
    X, y = data
    y = np.exp(0.1 * y)
    scaled = TransformedTargetRegressor(RigidRidge(), transformer=StandardScaler())
    nested = log_target(scaled).fit(X, y)
    assert_allclose(
        prediction_std(nested, X), prediction_std(log_target(RigidRidge()).fit(X, y), X), rtol=1e-8
    )


def test_power_transform(data):
    """A transformer without a formula of its own: against finite sampling."""
    X, y = data
    y = np.exp(0.1 * y)
    model = TransformedTargetRegressor(RigidRidge(), transformer=PowerTransformer()).fit(X, y)
    mean, std = model.regressor_.predict(X, return_std=True)
    small = 1e-3 * std * np.random.default_rng(3).standard_normal((20_000, 1))
    draws = model.transformer_.inverse_transform((mean + small).reshape(-1, 1))
    sampled = 1e3 * draws.reshape(small.shape).std(axis=0)
    assert_allclose(prediction_std(model, X), sampled, rtol=0.02)


def test_logarithm_near_zero_with_tiny_deviations():
    """Predictions at y = 1, where the logarithm has no magnitude to take a step from."""
    rng = np.random.default_rng(4)
    X = rng.standard_normal((50, 2))
    log_y = 1e-9 * rng.standard_normal(50)
    model = log_target(RigidRidge()).fit(X, np.exp(log_y))
    _, std = model.regressor_.predict(X, return_std=True)
    assert_allclose(prediction_std(model, X), std, rtol=1e-5)


def test_nonlinear_transform_of_a_large_deviation():
    """exp(mean + std) would overflow; the derivative at the mean does not."""
    X = np.array([[0.0], [1.0], [1e4]])
    model = log_target(RigidRidge(1e-6, fit_intercept=False, calibration=None))
    model.fit(X[:2] * 1e-3, np.ones(2))
    mean, std = model.regressor_.predict(X, return_std=True)
    assert_allclose(mean, 0.0, atol=1e-12)
    assert std.max() > 1e3
    assert_allclose(prediction_std(model, X), std, rtol=1e-5)


def test_unpinned_prediction_is_infinitely_uncertain():
    X = np.array([[1.0, 0.0], [2.0, 0.0], [3.0, 0.0]])
    y = np.array([1.0, 2.1, 2.9])
    new = np.array([[1.5, 0.0], [0.0, 1.0]])
    for transformer in (StandardScaler(), FunctionTransformer(np.log, np.exp)):
        model = TransformedTargetRegressor(RigidRidge(0.0), transformer=transformer).fit(X, y)
        std = prediction_std(model, new)
        assert np.isfinite(std[0])
        assert std[1] == np.inf
        assert prediction_rigidity(model, new)[1] == 0


# -- shapes ------------------------------------------------------------------------------------


def test_shapes_with_several_targets(data, structures):
    X, y = data
    Y = np.column_stack([y, y**2, -y])
    model = make_pipeline(StandardScaler(), RigidRidge()).fit(X, Y)
    assert prediction_rigidity(model, X).shape == (60,)
    assert component_rigidity(model, X, [2, 2]).shape == (60, 2)
    assert prediction_std(model, X).shape == (60, 3)

    model = make_pipeline(StandardScaler(), RigidRidge([0.1, 1.0, 10.0])).fit(X, Y)
    assert prediction_rigidity(model, X).shape == (60, 3)
    assert component_rigidity(model, X, [2, 2]).shape == (60, 2, 3)
    assert prediction_std(model, X).shape == (60, 3)

    X, y = structures
    model = RigidRidge([0.1, 1.0]).fit(X, np.column_stack([y, y]))
    assert prediction_rigidity(model, X).shape == (30, 2)
    assert [r.shape for r in local_rigidity(model, X)] == [(len(x), 2) for x in X]
    local = component_rigidity(model, X, [2, 2], level="local")
    assert [r.shape for r in local] == [(len(x), 2, 2) for x in X]
    assert prediction_std(model, X).shape == (30, 2)


# -- what cannot be answered -------------------------------------------------------------------


@every_function
@pytest.mark.parametrize(
    "model",
    [
        RigidRidge(),
        make_pipeline(StandardScaler(), RigidRidge()),
        make_pipeline(RigidRidge()),
        search(RigidRidge()),
        make_pipeline(StandardScaler(), search(RigidRidge())),
        TransformedTargetRegressor(RigidRidge(), transformer=StandardScaler()),
        log_target(search(RigidRidge())),
        FrozenEstimator(RigidRidge()),
    ],
    ids=lambda model: repr(model)[:60].replace("\n", ""),
)
def test_not_fitted(data, name, model):
    with pytest.raises(NotFittedError):
        FUNCTIONS[name](model, data[0])


def test_search_without_refit_is_not_fitted(data):
    model = search(RigidRidge()).set_params(refit=False).fit(*data)
    with pytest.raises(NotFittedError):
        prediction_rigidity(model, data[0])


@every_function
@pytest.mark.parametrize(
    ("wrap", "named"),
    [
        (lambda: Ridge(), ["Ridge"]),
        (lambda: make_pipeline(StandardScaler(), Ridge()), ["Ridge", "Pipeline"]),
        (lambda: search(Ridge()), ["Ridge", "GridSearchCV"]),
        (
            lambda: TransformedTargetRegressor(LinearRegression(), transformer=StandardScaler()),
            ["LinearRegression", "TransformedTargetRegressor"],
        ),
        (lambda: FrozenEstimator(Ridge().fit([[0.0], [1.0]], [0, 1])), ["Ridge"]),
        (lambda: MultiOutputRegressor(RigidRidge()), ["MultiOutputRegressor"]),
    ],
)
def test_estimator_without_rigidities(data, name, wrap, named):
    X, y = data
    model = wrap().fit(X, y[:, None] if "MultiOutputRegressor" in named else y)
    with pytest.raises(TypeError, match=r"estimator must have .*") as caught:
        FUNCTIONS[name](model, X)
    for part in named:
        assert part in str(caught.value)


def test_errors_of_the_model_come_through(data):
    X, y = data
    model = make_pipeline(StandardScaler(), RigidRidge()).fit(X, y)
    with pytest.raises(ValueError, match="components must be given"):
        component_rigidity(model, X)
    with pytest.raises(ValueError, match="level must be"):
        component_rigidity(model, X, [2, 2], level="atomic")
    with pytest.raises(ValueError, match="3 features"):
        prediction_rigidity(model, X[:, :3])
    few = RigidRidge(0.0).fit(X[:3], y[:3])
    with pytest.raises(ValueError, match="calibration"):
        prediction_std(few, X)


# -- straight from features --------------------------------------------------------------------

ALPHA = 0.1


def local(X_train, X_test=None, alpha=ALPHA):
    return local_prediction_rigidity(X_train, X_train if X_test is None else X_test, alpha)


def components(X_train, X_test=None, alpha=ALPHA, comp_dims=(1, 3)):
    X_test = X_train if X_test is None else X_test
    return componentwise_prediction_rigidity(X_train, X_test, alpha, comp_dims)


both = pytest.mark.parametrize("function", [local, components])


def test_straight_from_features_against_the_oracle(structures):
    X, _ = structures
    unit = np.sqrt((np.vstack(X) ** 2).mean(axis=0).sum())
    means = np.array([x.mean(axis=0) for x in X]) / unit
    LPR, rank_diff = local(X, X[:4])
    assert rank_diff == 0
    for r, x in zip(LPR, X[:4], strict=True):
        assert_allclose(r, 1 / exact_quad(means, x / unit, alpha=ALPHA), rtol=1e-10)
    CPR, LCPR, rank_diff = components(X, X[:4])
    assert rank_diff == 0
    for k, mask in enumerate(([1, 0, 0, 0], [0, 1, 1, 1])):
        q = exact_quad(means, means[:4] * mask, alpha=ALPHA)
        assert_allclose(CPR[:, k], 1 / q, rtol=1e-10)
        for r, x in zip(LCPR, X[:4], strict=True):
            q = exact_quad(means, x / unit * mask, alpha=ALPHA)
            assert_allclose(r[:, k], 1 / q, rtol=1e-10)


@pytest.mark.parametrize("alpha", [1e-6, 1e-12, 1e-16, 1e-20])
def test_unseen_environment_is_pinned_by_the_regularizer_alone(alpha):
    X = [np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]), np.array([[1.0, 2.0, 0.0]])]
    new = [np.array([[0.0, 0.0, 2.0]])]
    scale = np.vstack(X).ravel() @ np.vstack(X).ravel() / 3
    LPR, rank_diff = local(X, new, alpha)
    assert_allclose(LPR[0], [alpha * scale / 4], rtol=1e-12)
    assert rank_diff == (1 if alpha < 1e-15 else 0)


def test_no_regularizer_and_zero_rows():
    X = [np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]), np.array([[1.0, 2.0, 0.0]])]
    LPR, rank_diff = local(X, [np.array([[0.0, 0.0, 1.0], [0.0, 0.0, 0.0]])], 0.0)
    assert_array_equal(LPR[0], [0.0, np.inf])
    assert rank_diff == 1
    CPR, LCPR, _ = componentwise_prediction_rigidity(X, X, 0.0, [2, 1])
    assert_array_equal(CPR[:, 1], np.inf)
    assert_array_equal(np.vstack(LCPR)[:, 1], np.inf)
    assert np.isfinite(CPR[:, 0]).all()


@both
@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("name", ["X_train", "X_test"])
def test_input_must_be_finite(structures, function, bad, name):
    X, _ = structures
    broken = [x.copy() for x in X]
    broken[3][0, 1] = bad
    arguments = (broken, X) if name == "X_train" else (X, broken)
    with pytest.raises(ValueError, match=rf"{name}.*structure 3"):
        function(*arguments)


@both
@pytest.mark.parametrize("name", ["X_train", "X_test"])
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda X: [], "at least one structure"),
        (lambda X: [*X[:2], X[2][:, :3], *X[3:]], "structure 2"),
        (lambda X: [X[0], X[1][:0]], "structure 1"),
        (lambda X: [x + 0j for x in X], "real"),
        (lambda X: X[0], "2-D"),
        (lambda X: [x[0] for x in X], "2-D"),
    ],
    ids=["empty", "ragged", "empty structure", "complex", "matrix", "rows"],
)
def test_input_must_be_structures(structures, function, name, spoil, message):
    X, _ = structures
    arguments = (spoil(X), X) if name == "X_train" else (X, spoil(X))
    with pytest.raises(ValueError, match=rf"{name}.*{message}"):
        function(*arguments)


@both
@pytest.mark.parametrize("name", ["X_train", "X_test"])
def test_input_must_be_arrays(structures, function, name):
    X, _ = structures
    arguments = ("abc", X) if name == "X_train" else (X, "abc")
    with pytest.raises(TypeError, match=name):
        function(*arguments)


@both
def test_features_must_agree(structures, function):
    X, _ = structures
    with pytest.raises(ValueError, match=r"X_test must have as many features as X_train, 4, got 3"):
        function(X, [x[:, :3] for x in X])


@both
@pytest.mark.parametrize("alpha", [-1.0, np.nan, np.inf, [1.0, 2.0], None])
def test_alpha_must_be_a_number(structures, function, alpha):
    with pytest.raises((ValueError, TypeError), match="alpha"):
        function(structures[0], alpha=alpha)


@both
def test_features_must_not_vanish(function):
    with pytest.raises(ValueError, match="X_train must not be zero"):
        function([np.zeros((2, 4))], [np.ones((1, 4))])


@pytest.mark.parametrize(
    "comp_dims", [[1, 2], [4, 1], [5, -1], [1.0, 3.0], [[1, 3]], 4, [], None, [True, True]]
)
def test_comp_dims_must_add_up(structures, comp_dims):
    with pytest.raises(ValueError, match=r"comp_dims must be .* 4"):
        components(structures[0], comp_dims=comp_dims)


def test_single_precision(structures):
    X, _ = structures
    single = [x.astype(np.float32) for x in X]
    LPR, _ = local(single)
    double, _ = local([x.astype(np.float64) for x in single])
    assert_allclose(np.concatenate(LPR), np.concatenate(double), rtol=1e-12)


# -- bins -----------------------------------------------------------------------------------------


def test_binned_calibration_of_gaussian_errors():
    rng = np.random.default_rng(0)
    std = 10 ** rng.uniform(-2, 0, 20_000)
    error = std * rng.standard_normal(20_000)
    bins = binned_calibration(error, np.zeros(20_000), std, bin_size=500)
    assert len(bins.squared_error) == 40
    assert bins.slope == pytest.approx(1.0, abs=0.02)
    assert bins.mean_log_deviation < 0.1
    # Error bars three times as wide: the same slope, all bins off by log 9.
    wide = binned_calibration(error, np.zeros(20_000), 3 * std, bin_size=500)
    assert wide.slope == pytest.approx(bins.slope)
    assert wide.mean_log_deviation == pytest.approx(np.log(9), abs=0.1)
    shuffled = binned_calibration(error, np.zeros(20_000), rng.permutation(std), bin_size=500)
    assert abs(shuffled.slope) < 0.1


def test_binned_calibration_by_hand():
    error, std = [1.0, 2.0, 4.0, 4.0, 9.0], [1.0, 1.0, 2.0, 4.0, np.inf]
    bins = binned_calibration(error, np.zeros(5), std, bin_size=2)
    np.testing.assert_allclose(bins.predicted_variance, [1, 10])
    np.testing.assert_allclose(bins.squared_error, [2.5, 16])
    assert bins.slope == pytest.approx(np.log(6.4) / np.log(10))
    assert bins.mean_log_deviation == pytest.approx((np.log(2.5) + np.log(1.6)) / 2)
    assert np.isnan(binned_calibration(error, np.zeros(5), std, bin_size=9).slope)


@pytest.mark.parametrize(
    ("std", "bin_size", "message"),
    [
        ([1.0, -1.0], 1, "no negative entry"),
        ([1.0, np.nan], 1, "no negative entry and no nan"),
        ([1.0, 1.0], 0, "at least 1"),
        ([0.0, np.inf], 1, "neither 0 nor infinite"),
        ([1.0], 1, "same shape"),
    ],
)
def test_binned_calibration_refuses(std, bin_size, message):
    with pytest.raises(ValueError, match=message):
        binned_calibration([1.0, 2.0], [0.0, 0.0], std, bin_size=bin_size)
