"""SubsetRegressor and SubsetSampler: an estimator fitted to what any selector selects."""

import pickle

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context
from sklearn.base import BaseEstimator, clone, is_classifier, is_regressor
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.exceptions import NotFittedError
from sklearn.feature_selection import SelectKBest, f_regression
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import parametrize_with_checks

from skrigidity import (
    ComponentRidge,
    Environments,
    PerEnvironment,
    PRSelector,
    RigidKernelRidge,
    RigidRidge,
    RigidRidgeCV,
    WithRigidity,
)
from skrigidity.metrics import (
    component_rigidity,
    local_rigidity,
    prediction_rigidity,
    prediction_std,
)
from skrigidity.sample_selection import SubsetRegressor, SubsetSampler


@parametrize_with_checks(
    [SubsetRegressor(RigidRidge(), PRSelector(0.5)), SubsetSampler(PRSelector(0.5))]
)
def test_check_estimator(estimator, check):
    check(estimator)


# A threshold that is reached before the first pick.
NOTHING = PRSelector(threshold=-5.0, estimator=RigidRidge(fit_intercept=False))


class Chooses(BaseEstimator):
    """A selector that chooses what it is told to, and says so in one way."""

    def __init__(self, picks, how="selected_idx_"):
        self.picks = picks
        self.how = how

    def fit(self, X, y=None):
        if self.how != "get_support":
            setattr(self, self.how, self.picks)
        self.n_ = len(X)
        return self

    def __getattr__(self, name):
        if name != "get_support" or self.how != "get_support":
            raise AttributeError(name)
        return lambda indices=False: (
            self.picks if indices else np.isin(np.arange(self.n_), self.picks)
        )


class Sampler(BaseEstimator):
    """A sampler as imbalanced-learn's: `fit` does nothing."""

    def __init__(self, picks):
        self.picks = picks

    def fit(self, X, y):
        return self

    def fit_resample(self, X, y):
        self.sample_indices_ = np.asarray(self.picks)
        return X[self.picks], y[self.picks]


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def X(rng):
    return rng.standard_normal((40, 5)) * [1, 1, 1, 1, 30]


@pytest.fixture
def y(X, rng):
    return X @ [1, 2, 0, -1, 0.1] + 0.1 * rng.standard_normal(40)


@pytest.fixture
def structures(rng):
    return [rng.standard_normal((1 + i % 3, 5)) for i in range(40)]


# -- what is fitted ----------------------------------------------------------------------------

CONTAINERS = {
    "array": lambda X: X,
    "DataFrame": lambda X: pd.DataFrame(X, columns=list("abcde"), index=np.arange(100, 140)),
    "CSR": sp.csr_matrix,
    "structures": lambda X: [row[None] for row in X],
    "tuple": lambda X: tuple(row[None] for row in X),
    "3-D array": lambda X: X[:, None],
    "Environments": lambda X: Environments.from_arrays([row[None] for row in X]),
}


@pytest.mark.parametrize("container", CONTAINERS)
def test_fits_what_is_selected(container, X, y):
    picks = PRSelector(8).fit(X).selected_idx_
    reference = RigidRidge().fit(X[picks], y[picks])
    samples = CONTAINERS[container](X)
    labels = pd.Series(y, index=np.arange(100, 140)) if container == "DataFrame" else y
    model = SubsetRegressor(RigidRidge(), PRSelector(8)).fit(samples, labels)
    assert_array_equal(model.selected_idx_, picks)
    assert_array_equal(model.selector_.selected_idx_, picks)
    assert_allclose(model.estimator_.coef_, reference.coef_)
    assert_allclose(model.predict(samples), reference.predict(X))
    assert_allclose(model.prediction_rigidity(samples), reference.prediction_rigidity(X))
    assert_allclose(model.score(samples, y), reference.score(X, y))
    assert model.n_features_in_ == 5
    assert hasattr(model, "feature_names_in_") == (container == "DataFrame")


def test_several_targets(X, y):
    Y = np.column_stack([y, X[:, 0]])
    model = SubsetRegressor(RigidRidge(), PRSelector(8)).fit(X, Y)
    assert model.predict(X).shape == (40, 2)
    assert_allclose(model.estimator_.coef_[0], clone(model).fit(X, y).estimator_.coef_)


def test_only_chosen_samples_need_labels(X, y):
    picks = PRSelector(8).fit(X).selected_idx_
    known = np.full(40, np.nan)
    known[picks] = y[picks]
    model = SubsetRegressor(RigidRidge(), PRSelector(8)).fit(X, known)
    assert_allclose(model.predict(X), clone(model).fit(X, y).predict(X))


def test_what_is_chosen_twice_is_fitted_twice(X, y):
    model = SubsetRegressor(RigidRidge(), PRSelector(30, replace=True, X_target=X[:2])).fit(X, y)
    unique, counts = np.unique(model.selected_idx_, return_counts=True)
    assert counts.max() > 1
    reference = RigidRidge().fit(X[unique], y[unique], counts)
    assert_allclose(model.estimator_.coef_, reference.coef_)
    assert_allclose(model.prediction_rigidity(X), reference.prediction_rigidity(X))


def test_weights_are_those_of_the_chosen(X, y):
    weight = np.linspace(0.1, 3, 40)
    model = SubsetRegressor(RigidRidge(), PRSelector(8)).fit(X, y, sample_weight=weight)
    picks = PRSelector(8).fit(X).selected_idx_
    assert_array_equal(model.selected_idx_, picks)
    reference = RigidRidge().fit(X[picks], y[picks], weight[picks])
    assert_allclose(model.estimator_.coef_, reference.coef_)
    assert_allclose(model.score(X, y, sample_weight=weight), reference.score(X, y, weight))


def test_steps_before_a_selector_serve_the_selection(X, y):
    selector = make_pipeline(StandardScaler(), PRSelector(8))
    model = SubsetRegressor(RigidRidge(), selector).fit(X, y)
    picks = PRSelector(8).fit(StandardScaler().fit_transform(X)).selected_idx_
    assert not np.array_equal(picks, PRSelector(8).fit(X).selected_idx_)
    assert_array_equal(model.selected_idx_, picks)
    assert_allclose(model.estimator_.coef_, RigidRidge().fit(X[picks], y[picks]).coef_)
    nested = SubsetRegressor(RigidRidge(), Pipeline([("inner", selector)])).fit(X, y)
    assert_array_equal(nested.selected_idx_, picks)


def test_selection_and_model_may_see_other_features(structures, rng):
    y = rng.standard_normal(40)
    scaled = PerEnvironment(StandardScaler())
    model = SubsetRegressor(
        make_pipeline(scaled, RigidRidge()), make_pipeline(scaled, PRSelector(9))
    )
    model.fit(structures, y)
    picks = PRSelector(9).fit(clone(scaled).fit_transform(structures)).selected_idx_
    assert_array_equal(model.selected_idx_, picks)
    chosen = [structures[i] for i in picks]
    reference = make_pipeline(clone(scaled), RigidRidge()).fit(chosen, y[picks])
    assert_allclose(model.predict(structures), reference.predict(structures))


@pytest.mark.parametrize(
    ("estimator", "handed_on"),
    [
        (RigidRidge(1e-4, fit_intercept=False), True),
        (ComponentRidge([2, 3], alpha={"component0": 1e-4, "component1": 10.0}), True),
        (RigidKernelRidge(1e-3, kernel="rbf", gamma=0.01), True),
        (RigidRidgeCV([1e-4, 1e-3]), False),
        (Ridge(1e-4), False),
        (make_pipeline(StandardScaler(), RigidRidge(1e-4)), False),
    ],
)
def test_the_choice_is_made_under_the_estimator(estimator, handed_on, X, y):
    subset = SubsetRegressor(estimator, PRSelector(8)).fit(X, y)
    under = {"estimator": estimator} if handed_on else {"alpha": 1.0}
    expected = PRSelector(8, **under).fit(X)
    assert_array_equal(subset.selected_idx_, expected.selected_idx_)
    assert_allclose(subset.selector_.objective_path_, expected.objective_path_)
    if handed_on:
        assert not np.array_equal(expected.selected_idx_, PRSelector(8).fit(X).selected_idx_)
    for own in ({"alpha": 3.0}, {"estimator": RigidRidge(3.0)}):
        subset = SubsetRegressor(estimator, PRSelector(8, **own)).fit(X, y)
        assert_array_equal(subset.selected_idx_, PRSelector(8, alpha=3.0).fit(X).selected_idx_)
    subset = SubsetRegressor(estimator, make_pipeline(StandardScaler(), PRSelector(8))).fit(X, y)
    expected = PRSelector(8).fit(StandardScaler().fit_transform(X))
    assert_array_equal(subset.selected_idx_, expected.selected_idx_)


def test_several_alphas_need_a_selector_with_one(X, y):
    Y = np.column_stack([y, y])
    with pytest.raises(ValueError, match="estimator has one alpha per target"):
        SubsetRegressor(RigidRidge([1.0, 2.0]), PRSelector(8)).fit(X, Y)
    assert len(SubsetRegressor(RigidRidge([1, 2]), PRSelector(8, alpha=1.0)).fit(X, Y).predict(X))


def test_predictions_are_routed(X, y):
    model = SubsetRegressor(RigidRidge(), PRSelector(8)).fit(X, y)
    with config_context(enable_metadata_routing=True):
        assert model.predict(X).shape == (40,)
        with pytest.raises(ValueError, match="return_cov"):
            model.predict(X, return_cov=True)  # nobody asked for it
        ridge = RigidRidge().set_predict_request(return_std=True)
        model = SubsetRegressor(ridge, PRSelector(8)).fit(X, y)
        assert len(model.predict(X, return_std=True)) == 2


def test_nothing_given_is_changed(X, y):
    estimator, selector = RigidRidge(), PRSelector(8)
    model = SubsetRegressor(estimator, selector).fit(X, y)
    for given, fitted in ((estimator, model.estimator_), (selector, model.selector_)):
        assert fitted is not given
        assert not [name for name in vars(given) if name.endswith("_")]
    again = pickle.loads(pickle.dumps(model))
    assert_array_equal(again.predict(X), model.predict(X))


def test_a_frozen_selector_stays(X, y):
    frozen = FrozenEstimator(PRSelector(8).fit(X))
    model = SubsetRegressor(RigidRidge(), frozen).fit(X, y)
    assert_array_equal(model.selected_idx_, frozen.selected_idx_)
    with pytest.raises(ValueError, match="among the 39 samples of X, but PRSelector has chosen am"):
        model.fit(X[:-1], y[:-1])


# -- methods of the estimator ------------------------------------------------------------------


def test_methods_are_passed_on(structures, rng):
    y = rng.standard_normal(40)
    model = SubsetRegressor(RigidRidge(), PRSelector(9)).fit(structures, y)
    inner, parts, two = model.estimator_, [2, 3], np.eye(2, 40)
    assert_array_equal(model.predict_local(structures)[3], inner.predict_local(structures)[3])
    assert_array_equal(model.local_rigidity(structures)[3], inner.local_rigidity(structures)[3])
    calls = {
        "prediction_rigidity": (),
        "component_rigidity": (parts,),
        "predict_components": (parts,),
        "combination_rigidity": (two,),
        "rigidity_with": (structures[:3],),
        "sample_y": (3, 0),
    }
    for name, arguments in calls.items():
        found = getattr(model, name)(structures, *arguments)
        assert_array_equal(found, getattr(inner, name)(structures, *arguments), err_msg=name)
    for options in ({"return_std": True}, {"return_cov": True}):
        for found, expected in zip(
            model.predict(structures, **options), inner.predict(structures, **options), strict=True
        ):
            assert_array_equal(found, expected)
    assert model.calibrate(structures, y, method="absolute_residuals") is model
    assert inner.noise_variance_ == 0
    assert_array_equal(prediction_std(model, structures), inner.predict(structures, True)[1])


def test_methods_that_the_estimator_lacks(X, y):
    model = SubsetRegressor(Ridge(), PRSelector(8))
    for fitted in (model, clone(model).fit(X, y)):
        for name in ("prediction_rigidity", "sample_y", "calibrate", "predict_proba"):
            assert not hasattr(fitted, name)
        assert hasattr(fitted, "score")
    for method in ("predict", "prediction_rigidity", "local_rigidity"):
        with pytest.raises(NotFittedError):
            getattr(SubsetRegressor(RigidRidge(), PRSelector()), method)(X)


def test_metrics_see_through(X, y):
    subset = SubsetRegressor(RigidRidge(), PRSelector(8))
    model = make_pipeline(StandardScaler(), subset).fit(X, y)
    scaled, inner = model[:-1].transform(X), model[-1].estimator_
    assert_array_equal(prediction_rigidity(model, X), inner.prediction_rigidity(scaled))
    assert_array_equal(local_rigidity(model, X), inner.local_rigidity(scaled))
    assert_array_equal(
        component_rigidity(model, X, [2, 3]), inner.component_rigidity(scaled, [2, 3])
    )
    assert_array_equal(prediction_std(model, X), inner.predict(scaled, return_std=True)[1])


def test_classifiers(X, y):
    label = np.where(y > 0, "above", "below")
    model = SubsetRegressor(WithRigidity(LogisticRegression()), PRSelector(20)).fit(X, label)
    assert is_classifier(model)
    assert not is_regressor(model)
    assert_array_equal(model.classes_, ["above", "below"])
    assert model.score(X, label) > 0.8
    assert_array_equal(model.predict_proba(X), model.estimator_.predict_proba(X))
    assert_array_equal(model.probability_std(X), model.estimator_.probability_std(X))


def test_tags_are_those_of_both():
    assert is_regressor(SubsetRegressor(RigidRidge(), PRSelector()))
    tags = get_tags(SubsetRegressor(HistGradientBoostingRegressor(), PRSelector())).input_tags
    assert not tags.allow_nan
    assert not tags.sparse
    assert get_tags(SubsetRegressor(RigidRidge(), PRSelector())).input_tags.sparse
    assert not get_tags(SubsetRegressor(RigidRidge(), StandardScaler())).input_tags.allow_nan


# -- searches and routing ----------------------------------------------------------------------


def test_search_over_the_number_of_samples(X, y):
    model = make_pipeline(StandardScaler(), SubsetRegressor(RigidRidge(0.1), PRSelector()))
    grid = {"subsetregressor__selector__n_to_select": [2, 6, 20]}
    search = GridSearchCV(model, grid, cv=3).fit(X, y)
    score = search.cv_results_["mean_test_score"]
    assert score[0] < 0.5 < 0.9 < score[2]
    best = search.best_estimator_[-1]
    assert len(best.selected_idx_) == best.selector_.n_to_select
    assert prediction_rigidity(search, X).shape == prediction_std(search, X).shape == (40,)
    # By hand, for the first split.
    train, test = np.arange(14, 40), np.arange(14)
    scaler = StandardScaler().fit(X[train])
    selector = PRSelector(6, alpha=0.1).fit(scaler.transform(X[train]))
    picks = train[selector.selected_idx_]
    ridge = RigidRidge(0.1).fit(scaler.transform(X[picks]), y[picks])
    by_hand = ridge.score(scaler.transform(X[test]), y[test])
    assert_allclose(search.cv_results_["split0_test_score"][1], by_hand)


def test_structures_are_cross_validated(structures, rng):
    y = np.array([s.mean(axis=0)[0] for s in structures])
    model = SubsetRegressor(RigidRidge(0.01), PRSelector(20))
    for X in (structures, Environments.from_arrays(structures)):
        assert cross_validate(model, X, y, cv=4)["test_score"].min() > 0.9


def test_both_get_what_they_ask_for(X, y):
    weight = np.linspace(0.1, 3, 40)
    cost = np.linspace(2, 1, 40)
    with config_context(enable_metadata_routing=True):
        selector = PRSelector(8).set_fit_request(cost=True, candidate_weight="sample_weight")
        ridge = RigidRidge().set_fit_request(sample_weight=True)
        ridge.set_score_request(sample_weight=True)
        model = SubsetRegressor(ridge, selector).fit(X, y, sample_weight=weight, cost=cost)
        picks = PRSelector(8).fit(X, cost=cost, candidate_weight=weight).selected_idx_
        assert_array_equal(model.selected_idx_, picks)
        reference = RigidRidge().fit(X[picks], y[picks], weight[picks])
        assert_allclose(model.estimator_.coef_, reference.coef_)
        folds = cross_validate(
            model, X, y, cv=2, params={"cost": cost, "sample_weight": weight}, return_estimator=True
        )
        picks = PRSelector(8).fit(X[20:], cost=cost[20:], candidate_weight=weight[20:])
        assert_array_equal(folds["estimator"][0].selected_idx_, picks.selected_idx_)
        with pytest.raises(TypeError, match="price"):
            model.fit(X, y, price=cost)
        std = make_pipeline(model.set_params(estimator=ridge.set_predict_request(return_std=True)))
        assert len(std.fit(X, y).predict(X, return_std=True)) == 2


def test_targets_are_routed_through_a_pipeline(X, y, rng):
    X_target = X[:6] + 1
    scaler = StandardScaler().fit(X)
    reference = PRSelector(8).fit(scaler.transform(X), X_target=scaler.transform(X_target))
    with config_context(enable_metadata_routing=True):
        selector = PRSelector(8).set_fit_request(X_target=True)
        outside = make_pipeline(
            StandardScaler(),
            SubsetRegressor(RigidRidge(), selector),
            transform_input=["X_target"],
        )
        inside = SubsetRegressor(
            RigidRidge(), make_pipeline(StandardScaler(), selector, transform_input=["X_target"])
        )
        for model in (outside, inside):
            model.fit(X, y, X_target=X_target)
            subset = model[-1] if isinstance(model, Pipeline) else model
            assert_array_equal(subset.selected_idx_, reference.selected_idx_)


# -- other selectors ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "selector",
    [
        Chooses([7, 3, 3, 11]),
        Chooses(np.array([7, 3, 3, 11]), "sample_indices_"),
        Chooses([3, 7, 11], "get_support"),
        Sampler([7, 3, 3, 11]),
        SubsetSampler(Chooses([7, 3, 3, 11])),
        make_pipeline(StandardScaler(), Chooses([7, 3, 3, 11])),
    ],
    ids=lambda selector: type(selector).__name__,
)
def test_other_selectors(selector, X, y):
    model = SubsetRegressor(RigidRidge(), selector).fit(X, y)
    picks = np.asarray(getattr(selector, "picks", [7, 3, 3, 11]))
    assert_array_equal(model.selected_idx_, picks)
    assert_allclose(model.estimator_.coef_, RigidRidge().fit(X[picks], y[picks]).coef_)
    sampler = SubsetSampler(selector)
    chosen, labels = sampler.fit_resample(X, y)
    assert_array_equal(sampler.sample_indices_, picks)
    assert_array_equal(chosen, X[picks])
    assert_array_equal(labels, y[picks])


@pytest.mark.parametrize(
    ("selector", "error", "message"),
    [
        (StandardScaler(), TypeError, "selector must tell which samples .* StandardScaler does n"),
        (make_pipeline(PRSelector(), StandardScaler()), ValueError, "'prselector' .* chooses as w"),
        (Chooses([]), ValueError, "at least one sample, but Chooses has chosen none"),
        (Chooses([3, 40]), ValueError, "selector: Chooses has chosen samples beyond the 40 of X"),
        (Chooses([-1]), ValueError, "selector: Chooses has chosen samples beyond the 40 of X"),
        (SelectKBest(f_regression, k=2), ValueError, "chosen among 5 features"),
        (FrozenEstimator(PRSelector(3).fit(np.eye(7))), ValueError, "chosen among 7"),
        (NOTHING, ValueError, "PRSelector has chosen none"),
        (3, ValueError, "The 'selector' parameter of Subset.* must"),
    ],
)
@pytest.mark.parametrize("wrap", [lambda s: SubsetRegressor(RigidRidge(), s), SubsetSampler])
def test_selectors_that_do_not_select_samples(selector, error, message, wrap, X, y):
    with pytest.raises(error, match=message):
        wrap(selector).fit(X, y)


def test_features_are_no_samples_even_if_as_many(rng):
    X = rng.standard_normal((5, 5))
    model = SubsetRegressor(RigidRidge(), SelectKBest(f_regression, k=2))
    with pytest.raises(ValueError, match="but SelectKBest has chosen among 5 features"):
        model.fit(X, X[:, 0])


def test_bad_input(X, y):
    model = SubsetRegressor(RigidRidge(), PRSelector(8))
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        model.fit(X, y[:-1])
    with pytest.raises(ValueError, match="y is None"):
        model.fit(X, None)
    with pytest.raises(ValueError, match="estimator must take features, not a precomputed kernel"):
        SubsetRegressor(RigidKernelRidge(kernel="precomputed"), PRSelector()).fit(X @ X.T, y)
    with pytest.raises(ValueError, match="The 'estimator' parameter of SubsetRegressor"):
        SubsetRegressor(StandardScaler(), PRSelector()).fit(X, y)


# -- scikit-matter -----------------------------------------------------------------------------


@pytest.mark.peers("skmatter")
@pytest.mark.parametrize("kind", ["FPS", "CUR", "PCovFPS", "PCovCUR"])
def test_selectors_of_scikit_matter(kind, X, y):
    import skmatter.sample_selection as peer

    selector = getattr(peer, kind)(n_to_select=4)
    picks = clone(selector).fit(X, y).selected_idx_
    model = SubsetRegressor(RigidRidge(), selector).fit(X, y)
    assert_array_equal(model.selected_idx_, picks)
    assert len(np.unique(picks)) == 4
    assert_allclose(model.estimator_.coef_, RigidRidge().fit(X[picks], y[picks]).coef_)
    grid = {"subsetregressor__selector__n_to_select": [1, 5]}
    search = GridSearchCV(make_pipeline(StandardScaler(), model), grid, cv=3).fit(X, y)
    assert len(search.best_estimator_[-1].selected_idx_) == 5
    assert_array_equal(SubsetSampler(selector).fit_resample(X, y)[1], y[picks])


@pytest.mark.peers("skmatter")
def test_selectors_of_features_of_scikit_matter(X, y):
    from skmatter.feature_selection import FPS

    with pytest.raises(ValueError, match="but FPS has chosen among 5 features"):
        SubsetRegressor(RigidRidge(), FPS(n_to_select=2)).fit(X[:5], y[:5])


# -- imbalanced-learn --------------------------------------------------------------------------


@pytest.mark.peers("imblearn")
def test_step_of_a_pipeline_of_imbalanced_learn(X, y):
    from imblearn.pipeline import make_pipeline as make_resampling

    model = make_resampling(StandardScaler(), SubsetSampler(PRSelector(8)), RigidRidge()).fit(X, y)
    scaled = StandardScaler().fit_transform(X)
    picks = PRSelector(8).fit(scaled).selected_idx_
    assert_array_equal(model[1].sample_indices_, picks)
    reference = RigidRidge().fit(scaled[picks], y[picks])
    assert_allclose(model.predict(X), reference.predict(scaled))  # of all samples
    assert_allclose(prediction_rigidity(model[-1], scaled), reference.prediction_rigidity(scaled))
    grid = {"subsetsampler__selector__n_to_select": [2, 20]}
    search = GridSearchCV(model, grid, cv=3).fit(X, y)
    assert len(search.best_estimator_[1].sample_indices_) == 20
    subset = make_pipeline(StandardScaler(), SubsetRegressor(RigidRidge(), PRSelector()))
    grid = {"subsetregressor__selector__n_to_select": [2, 20]}
    same = GridSearchCV(subset, grid, cv=3).fit(X, y)
    for name in ("mean_test_score", "std_test_score"):
        assert_allclose(search.cv_results_[name], same.cv_results_[name])


@pytest.mark.peers("imblearn")
def test_structures_in_a_pipeline_of_imbalanced_learn(structures, rng):
    from imblearn.pipeline import make_pipeline as make_resampling

    y = rng.standard_normal(40)
    scaler = PerEnvironment(StandardScaler())
    model = make_resampling(scaler, SubsetSampler(PRSelector(8)), RigidRidge())
    model.fit(structures, y)
    reference = make_pipeline(clone(scaler), SubsetRegressor(RigidRidge(), PRSelector(8)))
    reference.fit(structures, y)
    assert_allclose(model.predict(structures), reference.predict(structures))


@pytest.mark.peers("imblearn")
def test_last_step_of_a_pipeline_of_imbalanced_learn(X, y):
    from imblearn.pipeline import make_pipeline as make_resampling

    chosen, labels = make_resampling(StandardScaler(), PRSelector(8)).fit_resample(X, y)
    scaled = StandardScaler().fit_transform(X)
    picks = PRSelector(8).fit(scaled).selected_idx_
    assert_array_equal(chosen, scaled[picks])
    assert_array_equal(labels, y[picks])
    # Why there is SubsetSampler:
    with pytest.raises(TypeError, match="implements both"):
        make_resampling(PRSelector(8), RigidRidge()).fit(X, y)


@pytest.mark.peers("imblearn")
def test_targets_are_routed_to_a_sampler(X, y):
    from imblearn.pipeline import make_pipeline as make_resampling

    X_target = X[:6] + 1
    with config_context(enable_metadata_routing=True):
        selector = PRSelector(8).set_fit_request(X_target=True)
        inner = make_pipeline(StandardScaler(), selector, transform_input=["X_target"])
        scaler = StandardScaler().fit(X)
        expected = {
            selector: PRSelector(8).fit(X, X_target=X_target),
            inner: PRSelector(8).fit(scaler.transform(X), X_target=scaler.transform(X_target)),
        }
        for given, reference in expected.items():
            model = make_resampling(SubsetSampler(given), RigidRidge())
            model.fit(X, y, X_target=X_target)
            assert_array_equal(model[0].sample_indices_, reference.selected_idx_)
            subset = SubsetRegressor(RigidRidge(), SubsetSampler(given))
            subset.fit(X, y, X_target=X_target)
            assert_array_equal(subset.selected_idx_, reference.selected_idx_)


@pytest.mark.peers("imblearn")
def test_samplers_of_imbalanced_learn(X, y):
    from imblearn.over_sampling import SMOTE, RandomOverSampler
    from imblearn.pipeline import make_pipeline as make_resampling
    from imblearn.under_sampling import RandomUnderSampler

    label = np.where(y > 2, "rare", "common")
    n_rare = int((label == "rare").sum())
    assert 6 < n_rare < 18
    estimator = WithRigidity(LogisticRegression())
    under = RandomUnderSampler(random_state=0)
    for selector in (under, make_resampling(StandardScaler(), under)):
        model = SubsetRegressor(estimator, selector).fit(X, label)
        picks = model.selected_idx_
        assert len(np.unique(picks)) == len(picks) == 2 * n_rare
        reference = LogisticRegression().fit(X[picks], label[picks])
        assert_allclose(model.estimator_.estimator_.coef_, reference.coef_)
    over = SubsetRegressor(estimator, RandomOverSampler(random_state=0)).fit(X, label)
    assert len(over.selected_idx_) == 2 * (40 - n_rare) > len(np.unique(over.selected_idx_))
    with pytest.raises(TypeError, match="which SMOTE does not"):
        SubsetRegressor(estimator, SMOTE()).fit(X, label)
    with pytest.raises(ValueError, match="'randomundersampler' of the pipeline chooses as well"):
        SubsetRegressor(estimator, make_resampling(under, RandomOverSampler())).fit(X, label)


@pytest.mark.parametrize(
    "inner",
    [
        make_pipeline(StandardScaler(), RigidRidge()),
        GridSearchCV(RigidRidge(), {"alpha": [0.1, 1.0]}, cv=2),
    ],
    ids=["pipeline", "search"],
)
def test_rigidities_of_composite_estimators_inside(inner):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((30, 3))
    subset = SubsetRegressor(inner, PRSelector(12)).fit(X, X[:, 0])
    ours = prediction_rigidity(subset, X)
    np.testing.assert_array_equal(ours, prediction_rigidity(subset.estimator_, X))
    assert prediction_std(subset, X).shape == (30,)
