"""Scores of error bars, and the scorers of rigidities and error bars in scikit-learn's tools."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import norm, spearmanr
from sklearn import config_context
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.exceptions import UnsetMetadataPassedError
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import get_scorer
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    cross_val_score,
    cross_validate,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skrigidity import (
    ComponentRidge,
    Environments,
    PerEnvironment,
    RigidKernelRidge,
    RigidRidge,
    WithRigidity,
)
from skrigidity.calibration import gaussian_crps
from skrigidity.datasets import load_carbon
from skrigidity.metrics import (
    crps,
    error_uncertainty_correlation,
    get_scorer_names,
    get_scorers,
    is_rigidity_scorer,
    make_rigidity_scorer,
    make_uncertainty_scorer,
    miscalibration_area,
    neg_log_likelihood,
    prediction_rigidity,
    prediction_std,
    sharpness,
)

SCORES = {
    "mean_log_likelihood": (neg_log_likelihood, -1),
    "neg_crps": (crps, -1),
    "neg_miscalibration_area": (miscalibration_area, -1),
    "error_uncertainty_correlation": (error_uncertainty_correlation, 1),
    "neg_sharpness": (sharpness, -1),
}
FUNCTIONS = [function for function, _ in SCORES.values()]
every_function = pytest.mark.parametrize("function", FUNCTIONS)
STATISTICS = ("mean", "log_mean", "min", "quantile")


@pytest.fixture
def forecast():
    rng = np.random.default_rng(0)
    std = rng.uniform(0.1, 3, 80).round(1)  # with ties
    mean = rng.standard_normal(80)
    return mean + 1.3 * std * rng.standard_normal(80), mean, std


@pytest.fixture
def data():
    rng = np.random.default_rng(1)
    X = rng.standard_normal((60, 4)) * [1.0, 3.0, 0.3, 1.0] + 2.0
    return X, X @ [0.3, -0.2, 1.0, 0.5] + 0.2 * rng.standard_normal(60)


@pytest.fixture
def structures():
    rng = np.random.default_rng(2)
    X = [rng.standard_normal((rng.integers(1, 6), 4)) + 1.0 for _ in range(40)]
    y = np.array([x.mean(axis=0) @ [1.0, -1.0, 0.5, 0.2] for x in X])
    return X, y + 0.1 * rng.standard_normal(40)


# -- scores of error bars ---------------------------------------------------------------------


def test_scores_by_their_definitions(forecast):
    y, mean, std = forecast
    assert_allclose(neg_log_likelihood(*forecast), -norm.logpdf(y, mean, std).mean())
    assert_allclose(crps(*forecast), gaussian_crps(y - mean, std).mean())
    assert_allclose(sharpness(*forecast), np.sqrt(np.mean(std**2)))
    rank = spearmanr(np.abs(y - mean), std)[0]
    assert_allclose(error_uncertainty_correlation(*forecast), rank)
    p = (np.arange(100_000) + 0.5) / 100_000
    half = norm.ppf((1 + p) / 2)
    inside = np.searchsorted(np.sort(np.abs(y - mean) / std), half) / 80
    assert_allclose(miscalibration_area(*forecast), np.abs(inside - p).mean(), rtol=1e-5)


@every_function
def test_weights_repeat_samples(forecast, function):
    counts = np.arange(80) % 4
    repeated = [np.repeat(values, counts) for values in forecast]
    expected = function(*repeated)
    assert_allclose(function(*forecast, sample_weight=counts), expected, rtol=1e-10)
    assert_allclose(function(*forecast, sample_weight=0.01 * counts), expected, rtol=1e-10)


@every_function
def test_samples_without_weight_do_not_count_whatever_they_are(forecast, function):
    y, mean, std = forecast
    weight = np.append(np.ones(80), [0, 0])
    more = [np.append(y, [1.0, 2.0]), np.append(mean, [9.0, 2.0]), np.append(std, [np.inf, 0.0])]
    assert_allclose(function(*more, sample_weight=weight), function(*forecast), rtol=1e-12)


@every_function
def test_targets_are_averaged(forecast, function):
    pair = [np.column_stack([values, 2 * values[::-1]]) for values in forecast]
    each = function(*pair, multioutput="raw_values")
    assert_allclose(each, [function(*(v[:, t] for v in pair)) for t in range(2)])
    assert_allclose(function(*pair), each.mean())
    assert isinstance(function(*pair), float)
    with pytest.raises(ValueError, match="multioutput must be"):
        function(*pair, multioutput="variance_weighted")


def test_units(forecast):
    y, mean, std = forecast
    milli = [1000 * values for values in forecast]
    assert_allclose(crps(*milli), 1000 * crps(*forecast))
    assert_allclose(sharpness(*milli), 1000 * sharpness(*forecast))
    assert_allclose(neg_log_likelihood(*milli), neg_log_likelihood(*forecast) + np.log(1000))
    for function in (miscalibration_area, error_uncertainty_correlation):
        assert_allclose(function(*milli), function(*forecast), rtol=1e-9)
    scaled = error_uncertainty_correlation(y, mean, 7 * std**3)
    assert_allclose(scaled, error_uncertainty_correlation(*forecast))


def test_proper_scores_prefer_the_truth():
    rng = np.random.default_rng(3)
    std = rng.uniform(0.5, 2, 20_000)
    y = std * rng.standard_normal(20_000)
    mean = np.zeros(20_000)
    for function in (neg_log_likelihood, crps, miscalibration_area):
        best = function(y, mean, std)
        wrong = (0.7 * std, 1.4 * std, np.full(20_000, np.sqrt(np.mean(std**2))))
        assert all(best < function(y, mean, other) for other in wrong)
    assert_allclose(crps(y, mean, std), std.mean() / np.sqrt(np.pi), rtol=0.02)
    assert neg_log_likelihood(y, mean + 0.3, std) > neg_log_likelihood(y, mean, std)


def test_miscalibration_area_of_perfect_and_of_hopeless_error_bars():
    rng = np.random.default_rng(4)
    draws = rng.standard_normal((200, 400))
    areas = [miscalibration_area(z, np.zeros(400), np.ones(400)) for z in draws]
    # E of the integral of |Brownian bridge|: sqrt(2 / pi) * pi / 8.
    assert_allclose(np.mean(areas) * np.sqrt(400), np.sqrt(np.pi / 32), rtol=0.1)
    far = np.full(10, 1e6)
    assert_allclose(miscalibration_area(far, np.zeros(10), np.ones(10)), 0.5)
    assert_allclose(miscalibration_area(np.zeros(10), np.zeros(10), np.ones(10)), 0.5)


def test_infinite_and_vanishing_error_bars():
    y, mean = np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.5, 3.0])

    def all_of(*std):
        return [float(function(y, mean, std)) for function in FUNCTIONS[:3]]

    # Nothing is known of the first: infinitely wide.
    nll, score, area = all_of(np.inf, 1.0, 1.0)
    assert (nll, score) == (np.inf, np.inf)
    # It holds in every interval, as the exact third one does.
    assert_allclose(area, miscalibration_area(y, [1.0, 2.5, 3.0], [1.0, 1.0, 1.0]))
    # Certain, and right; certain, and wrong.
    assert all_of(0.0, 1.0, 1.0)[0] == -np.inf
    nll, score, area = all_of(1.0, 0.0, 1.0)
    assert nll == np.inf
    assert_allclose(score, (0.5 + 2 * gaussian_crps(np.zeros(1), np.ones(1))[0]) / 3)
    assert all_of(0.0, 0.0, np.inf)[0] == np.inf
    assert sharpness(y, mean, [np.inf, 1.0, 1.0]) == np.inf
    assert error_uncertainty_correlation(y, mean, [0.0, np.inf, 1.0]) > 0.5
    # Nothing to rank.
    assert error_uncertainty_correlation(y, mean, np.ones(3)) == 0
    assert error_uncertainty_correlation(y, y, [1.0, 2.0, 3.0]) == 0
    # One target for each kind of infinity.
    std = np.array([[0.0, np.inf], [1.0, 1.0], [1.0, 1.0]])
    pair = np.column_stack([y, y]), np.column_stack([mean, mean])
    assert neg_log_likelihood(*pair, std) == np.inf
    each = neg_log_likelihood(*pair, std, multioutput="raw_values")
    assert_array_equal(each, [-np.inf, np.inf])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1.0, 2.0], [1.0], [1.0, 1.0]), "y_true, y_pred and y_std must have the same shape"),
        (([1.0, 2.0], [1.0, 2.0], [1.0]), "must have the same shape"),
        (([1.0, np.nan], [1.0, 2.0], [1.0, 1.0]), "y_true contains NaN"),
        (([1.0, 2.0], [np.inf, 2.0], [1.0, 1.0]), "y_pred contains infinity"),
        (([1.0, 2.0], [1.0, 2.0], [-1.0, 1.0]), "y_std must have no negative"),
        (([1.0, 2.0], [1.0, 2.0], [np.nan, 1.0]), "y_std must have no negative"),
        (([], [], []), "minimum of 1 is required"),
    ],
)
def test_bad_forecasts(arguments, message):
    with pytest.raises(ValueError, match=message):
        crps(*arguments)


BAD_WEIGHTS = {
    "too few": ([1.0], "sample_weight.shape"),
    "negative": ([-1.0, 1.0], "Negative values in data passed to `sample_weight`"),
    "zero throughout": ([0.0, 0.0], "zero"),  # in the words of some version of scikit-learn
    "nan": ([np.nan, 1.0], "sample_weight contains NaN"),
    "inf": ([np.inf, 1.0], "sample_weight contains infinity"),
    "None": ([None, 1.0], "sample_weight contains NaN"),
}


@pytest.mark.parametrize(("weight", "message"), BAD_WEIGHTS.values(), ids=list(BAD_WEIGHTS))
def test_bad_weights(weight, message):
    with pytest.raises(ValueError, match=message):
        crps([1.0, 2.0], [1.0, 2.0], [1.0, 1.0], sample_weight=weight)
    model = RigidRidge().fit([[1.0], [2.0]], [1.0, 2.0])
    with pytest.raises(ValueError, match=message):
        make_rigidity_scorer()(model, [[1.0], [2.0]], sample_weight=weight)


@every_function
def test_every_score_checks_its_input(function):
    with pytest.raises(ValueError, match="y_true contains NaN"):
        function([1.0, np.nan], [1.0, 2.0], [1.0, 1.0])
    with pytest.raises(ValueError, match="sample_weight contains infinity"):
        function([1.0, 2.0], [1.0, 2.0], [1.0, 1.0], sample_weight=[np.inf, 1.0])


# -- scorers of error bars --------------------------------------------------------------------


@pytest.mark.parametrize("name", list(SCORES))
def test_scorers_are_functions_with_a_sign(data, name):
    X, y = data
    function, sign = SCORES[name]
    scorer = get_scorers(name)[name]
    model = RigidRidge(0.3, calibration="loo").fit(X[:40], y[:40])
    mean, std = model.predict(X[40:], return_std=True)
    assert_allclose(scorer(model, X[40:], y[40:]), sign * function(y[40:], mean, std))
    weight = np.arange(20) % 3
    assert_allclose(
        scorer(model, X[40:], y[40:], sample_weight=weight),
        sign * function(y[40:], mean, std, sample_weight=weight),
    )
    assert pickle.loads(pickle.dumps(scorer))(model, X, y) == scorer(model, X, y)


def test_scorers_see_through_composites(data):
    X, y = data
    inner = make_pipeline(StandardScaler(), RigidRidge(0.3))
    model = GridSearchCV(
        TransformedTargetRegressor(inner, transformer=StandardScaler()),
        {"regressor__rigidridge__alpha": [0.3]},
        cv=2,
    ).fit(X, y)
    forecast = y, model.predict(X), prediction_std(model, X)
    for name, scorer in get_scorers(SCORES).items():
        function, sign = SCORES[name]
        assert_allclose(scorer(model, X, y), sign * function(*forecast))


def test_scorers_of_several_targets(data):
    X, y = data
    Y = np.column_stack([y, y**2])
    model = RigidRidge([0.1, 3.0]).fit(X, Y)
    mean, std = model.predict(X, return_std=True)
    for name, scorer in get_scorers(SCORES).items():
        function, sign = SCORES[name]
        assert_allclose(scorer(model, X, Y), sign * function(Y, mean, std))


def test_own_scores(data):
    X, y = data

    def coverage(y_true, y_pred, y_std, *, times=1.0):
        return np.mean(np.abs(y_true - y_pred) <= times * y_std)

    model = RigidRidge().fit(X, y)
    assert make_uncertainty_scorer(coverage, times=50.0)(model, X, y) == 1
    loss = make_uncertainty_scorer(coverage, greater_is_better=False, times=50.0)
    assert loss(model, X, y) == -1
    assert repr(loss) == "make_uncertainty_scorer(coverage, greater_is_better=False, times=50.0)"
    with pytest.raises(ValueError, match="score_func"):
        make_uncertainty_scorer("crps")


def test_models_without_error_bars(data):
    X, y = data
    scorer = get_scorers("neg_crps")["neg_crps"]
    with pytest.raises(TypeError, match="LinearRegression has not"):
        scorer(LinearRegression().fit(X, y), X, y)
    classifier = WithRigidity(LogisticRegression()).fit(X, y > y.mean())
    with pytest.raises(ValueError, match="probability_std"):
        scorer(classifier, X, y > y.mean())
    # What cannot tell the scale of its errors says so; a search makes a nan of it, and a warning.
    few = RigidRidge(0.0).fit(X[:5], y[:5])
    with pytest.raises(ValueError, match="calibration='bayesian' cannot tell"):
        scorer(few, X, y)


# -- scorers of rigidities --------------------------------------------------------------------


@pytest.mark.parametrize("weighted", [False, True])
def test_rigidity_statistics(data, weighted):
    X, y = data
    model = RigidRidge(0.3).fit(X[:40], y[:40])
    R = model.prediction_rigidity(X[40:])
    weight = np.arange(20) % 3 if weighted else None
    repeated = np.repeat(R, weight) if weighted else R
    expected = {
        "mean": repeated.mean(),
        "log_mean": np.log(repeated).mean(),
        "min": repeated.min(),
        "quantile": np.quantile(repeated, 0.3, method="inverted_cdf"),
    }
    for statistic, value in expected.items():
        scorer = make_rigidity_scorer("global", statistic, quantile=0.3)
        assert_allclose(scorer(model, X[40:], sample_weight=weight), value)
    for q in (0.0, 0.05, 0.5, 1.0):
        scorer = make_rigidity_scorer("global", "quantile", quantile=q)
        exact = np.quantile(repeated, q, method="inverted_cdf")
        assert_allclose(scorer(model, X[40:], y[40:], sample_weight=weight), exact)
    default = get_scorers("rigidity_quantile")["rigidity_quantile"]
    assert_allclose(
        default(model, X), np.quantile(model.prediction_rigidity(X), 0.05, method="inverted_cdf")
    )


def test_levels(structures):
    X, y = structures
    model = make_pipeline(PerEnvironment(StandardScaler()), RigidRidge(0.3)).fit(X, y)
    inner, Z = model[-1], model[0].transform(X)
    weight = np.arange(40) % 3
    local = [np.repeat(R, w) for R, w in zip(inner.local_rigidity(Z), weight, strict=True)]
    scorer = make_rigidity_scorer("local", "log_mean")
    for data in (X, Environments.from_arrays(X)):
        expected = np.log(np.concatenate(local)).mean()
        assert_allclose(scorer(model, data, sample_weight=weight), expected)
    scorer = make_rigidity_scorer("component", "mean", components=[1, 3])
    assert_allclose(scorer(model, X), inner.component_rigidity(Z, [1, 3]).mean())
    parts = ComponentRidge([1, 3]).set_output(transform="pandas").fit(Z, y)
    own = get_scorers("component_rigidity_min")["component_rigidity_min"]
    assert_allclose(own(parts, Z), np.asarray(parts.component_rigidity(Z)).min())
    with pytest.raises(ValueError, match="components must be given"):
        own(model, X)


def test_levels_of_kernels_and_classifiers(data, structures):
    X, y = structures
    model = RigidKernelRidge(0.1, kernel="rbf", gamma=0.5).fit(X, y)
    expected = np.log(np.concatenate(model.local_rigidity(X))).mean()
    assert_allclose(make_rigidity_scorer("local", "log_mean")(model, X), expected)
    X, y = data
    model = WithRigidity(LogisticRegression()).fit(X, np.digitize(y, np.quantile(y, [0.3, 0.6])))
    R = model.prediction_rigidity(X)
    assert R.shape == (60, 3)
    weight = np.arange(60) % 2
    assert_allclose(
        make_rigidity_scorer("global", "mean")(model, X, sample_weight=weight), R[1::2].mean()
    )


def test_rigidities_without_bounds():
    X = np.array([[1.0, 0.0], [2.0, 0.0], [3.0, 0.0]])
    model = RigidRidge(0.0, fit_intercept=False).fit(X, [1.0, 2.0, 3.0])
    # Nothing pins the first, nothing moves the second.
    Z = np.array([[1.0, 1.0], [0.0, 0.0], [1.0, 0.0]])
    assert_array_equal(prediction_rigidity(model, Z)[:2], [0, np.inf])
    scores = {s: make_rigidity_scorer("global", s)(model, Z) for s in STATISTICS}
    assert_allclose(scores["mean"], 7.0)
    assert scores["log_mean"] == -np.inf
    assert scores["min"] == scores["quantile"] == 0
    for statistic in STATISTICS:
        scorer = make_rigidity_scorer("global", statistic)
        assert_allclose(scorer(model, Z[1:]), scorer(model, Z[2:]))
        assert scorer(model, Z[1:2]) == np.inf


@pytest.mark.parametrize("level", ["global", "local", "component"])
def test_rigidity_grows_with_alpha_so_that_a_search_picks_the_stiffest(structures, level):
    """Why rigidity scores are for looking, never for choosing."""
    X, y = structures
    scorers = {s: make_rigidity_scorer(level, s, components=[2, 2]) for s in STATISTICS}
    search = GridSearchCV(
        RigidRidge(),
        {"alpha": [1e-3, 1e-1, 10.0, 1e3]},
        scoring={**scorers, "r2": "r2"},
        refit="log_mean",
        cv=3,
    ).fit(X, y)
    for statistic in STATISTICS:
        assert (np.diff(search.cv_results_[f"mean_test_{statistic}"]) > 0).all()
    assert search.best_params_ == {"alpha": 1e3}
    r2 = search.cv_results_["mean_test_r2"]
    assert r2[-1] < r2[1] - 0.3


def test_which_scorers_are_of_rigidities():
    rigidities = [name for name in get_scorer_names() if "rigidity" in name]
    assert len(rigidities) == 12
    for name, scorer in get_scorers([*get_scorer_names(), "r2"]).items():
        assert is_rigidity_scorer(name) == is_rigidity_scorer(scorer) == (name in rigidities)
        assert is_rigidity_scorer(clone(scorer, safe=False)) == (name in rigidities)
    for other in (None, ["rigidity_min"], {"rigidity_min": 1}, len):
        assert not is_rigidity_scorer(other)


@pytest.mark.parametrize(
    ("arguments", "parameters", "message"),
    [
        (("atomic",), {}, "'level'"),
        (("global", "median"), {}, "'statistic'"),
        (("global", "quantile"), {"quantile": 1.5}, "'quantile'"),
    ],
)
def test_bad_rigidity_scorers(arguments, parameters, message):
    with pytest.raises(ValueError, match=message):
        make_rigidity_scorer(*arguments, **parameters)


# -- names ------------------------------------------------------------------------------------


def test_names():
    names = get_scorer_names()
    assert len(names) == 5 + 3 * 4 + 2
    assert list(get_scorers(names)) == names
    assert set(SCORES) < set(names)
    assert list(get_scorers("rigidity_min")) == ["rigidity_min"]
    mixed = get_scorers(["neg_crps", "r2"])
    assert repr(mixed["r2"]) == repr(get_scorer("r2"))
    assert repr(mixed["neg_crps"]) == "make_uncertainty_scorer(crps, greater_is_better=False)"
    parts = make_rigidity_scorer("component", "quantile", components=[1, 2])
    assert repr(parts) == (
        "make_rigidity_scorer('component', 'quantile', quantile=0.05, components=[1, 2])"
    )


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("crps", "did you mean 'neg_crps'"),
        ("neg_log_likelihood", "did you mean 'mean_log_likelihood'"),
        ("local_rigidity_men", "did you mean 'local_rigidity_m"),
        ("nonsense", "'nonsense' is not the name of a scorer"),
    ],
)
def test_unknown_names(name, message):
    with pytest.raises(ValueError, match=message):
        get_scorers([name])


# -- in scikit-learn's tools ------------------------------------------------------------------


def test_search_over_descriptor_and_alpha():
    pytest.importorskip("featomic", reason='needs featomic: pip install "skrigidity[atomistic]"')
    from skrigidity.atomistic import FeatomicDescriptor

    carbon = load_carbon(kind="slab", return_frames=True)
    frames, y = carbon.frames[::2], carbon.target[::2]
    small = {"max_radial": 2, "max_angular": 2}

    pipeline = make_pipeline(FeatomicDescriptor(**small), RigidRidge())
    grid = {"featomicdescriptor__cutoff": [2.5, 3.5], "rigidridge__alpha": [1e-6, 1e-4, 1.0]}
    names = ["mean_log_likelihood", "neg_crps", "local_rigidity_log_mean", "r2"]
    search = GridSearchCV(pipeline, grid, scoring=get_scorers(names), refit=names[0], cv=3)
    search.fit(frames, y)

    for name in names:
        scores = search.cv_results_[f"mean_test_{name}"]
        assert np.isfinite(scores).all()
        assert len(np.unique(scores)) == 6
    best = search.cv_results_["mean_test_mean_log_likelihood"].argmax()
    assert search.best_index_ == best
    assert search.best_params_["rigidridge__alpha"] < 1
    # By hand.
    train, test = next(KFold(3).split(frames))
    model = clone(pipeline).set_params(**search.cv_results_["params"][0])
    model.fit([frames[i] for i in train], y[train])
    held_out = [frames[i] for i in test]
    expected = -crps(y[test], model.predict(held_out), prediction_std(model, held_out))
    assert_allclose(search.cv_results_["split0_test_neg_crps"][0], expected, rtol=1e-6)


@pytest.mark.parametrize("model", [RigidRidge(0.1), RigidKernelRidge(0.1), ComponentRidge([2, 2])])
def test_cross_validate_with_environments(structures, model):
    X, y = structures
    names = ["neg_crps", "local_rigidity_quantile", "error_uncertainty_correlation", "r2"]
    model = clone(model).set_params(calibration="loo")
    found = [
        cross_validate(
            model, data, y, scoring=get_scorers(names), cv=GroupKFold(4), groups=np.arange(40) // 2
        )
        for data in (X, Environments.from_arrays(X))
    ]
    for name in names:
        assert np.isfinite(found[0][f"test_{name}"]).all()
        assert_allclose(found[0][f"test_{name}"], found[1][f"test_{name}"], rtol=1e-8)


def test_weights_are_routed(data):
    X, y = data
    weight = np.arange(60) % 3 + 0.5
    fold = KFold(3)
    with config_context(enable_metadata_routing=True):
        scorers = {
            name: scorer.set_score_request(sample_weight=True)
            for name, scorer in get_scorers(["neg_crps", "rigidity_mean"]).items()
        }
        model = RigidRidge(0.2).set_fit_request(sample_weight=True)
        params = {"sample_weight": weight}
        found = cross_validate(model, X, y, scoring=scorers, cv=fold, params=params)
        single = cross_val_score(model, X, y, scoring=scorers["neg_crps"], cv=fold, params=params)
        ignored = get_scorers("neg_crps")["neg_crps"].set_score_request(sample_weight=False)
        plain = cross_val_score(model, X, y, scoring=ignored, cv=fold, params=params)
        unset = get_scorers("neg_crps")["neg_crps"]
        with pytest.raises(UnsetMetadataPassedError, match="sample_weight"):
            cross_val_score(model, X, y, scoring=unset, cv=fold, params=params)
    for i, (train, test) in enumerate(fold.split(X)):
        fitted = RigidRidge(0.2).fit(X[train], y[train], weight[train])
        forecast = y[test], *fitted.predict(X[test], return_std=True)
        expected = -crps(*forecast, sample_weight=weight[test])
        assert_allclose([found["test_neg_crps"][i], single[i]], expected)
        assert_allclose(plain[i], -crps(*forecast))
        R = np.average(fitted.prediction_rigidity(X[test]), weights=weight[test])
        assert_allclose(found["test_rigidity_mean"][i], R)


def test_search_scores_with_weights(data):
    """`score` of a search hands weights to all scorers at once, without routing."""
    X, y = data
    search = GridSearchCV(
        RigidRidge(), {"alpha": [0.1]}, scoring=get_scorers(["neg_crps", "r2"]), refit="neg_crps"
    ).fit(X, y)
    expected = -crps(y, *search.best_estimator_.predict(X, return_std=True))
    assert_allclose(search.score(X, y), expected)


def test_interpolating_models_do_not_stop_a_search():
    """Without regularization 12 samples of 20 features leave no residual to tell a scale by."""
    rng = np.random.default_rng(5)
    X, y = rng.standard_normal((12, 20)), rng.standard_normal(12)
    scorer = get_scorers("neg_crps")["neg_crps"]
    search = GridSearchCV(RigidRidge(), {"alpha": [0.0, 1.0]}, scoring=scorer, cv=3)
    with pytest.warns(UserWarning, match="nan|non-finite"):
        search.fit(X, y)
    assert np.isnan(search.cv_results_["mean_test_score"][0])
    assert search.best_params_ == {"alpha": 1.0}
