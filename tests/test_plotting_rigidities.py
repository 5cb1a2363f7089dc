"""Displays of rigidities: their data, and what they drop and count. No picture is compared."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import make_regression
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skrigidity import ComponentRidge, Environments, PRSelector, RigidKernelRidge, RigidRidge
from skrigidity.metrics import committee_variance, local_rigidity
from skrigidity.plotting import (
    CommitteeDisplay,
    ComponentRigidityDisplay,
    RigidityDistributionDisplay,
    RigidityTrainingDisplay,
    SelectionPathDisplay,
    TrajectoryRigidityDisplay,
)
from skrigidity.sample_selection import SubsetRegressor, augmentation_study

plt = pytest.importorskip("matplotlib.pyplot", reason='needs pip install "skrigidity[plot]"')


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def regression():
    X, y = make_regression(120, 6, noise=5.0, random_state=0)
    return X, y


@pytest.fixture(scope="module")
def structures():
    rng = np.random.default_rng(0)
    X = Environments.from_arrays([rng.standard_normal((n, 4)) for n in rng.integers(1, 6, 60)])
    return X, X.aggregate().sum(axis=1) + 0.3 * rng.standard_normal(60)


def xy(line):
    return np.array(line.get_data())


# -- distributions ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["histogram", "cumulative", "box"])
def test_distribution(kind):
    R = np.array([1.0, 10.0, 100.0, np.inf, 0.0, 7.0])
    groups = ["a", "a", "a", "a", "b", "b"]
    display = RigidityDistributionDisplay.from_rigidities(R, groups=groups, kind=kind, unit="1/eV²")
    assert display.medians == {"a": 10.0, "b": 0.0}
    assert display.dropped_ == {"R = ∞": 1, "R = 0": 1}
    assert len(display.artists_) == 2
    ax = display.ax_
    label = ax.get_ylabel() if kind == "box" else ax.get_xlabel()
    assert label == "prediction rigidity (1/eV²)"
    if kind == "histogram":
        values = display.artists_[0].get_data().values
        assert values.sum() == pytest.approx(75)
    if kind == "cumulative":
        x, share = xy(display.artists_[1])
        assert (x.tolist(), share.tolist()) == ([7.0], [100.0])


def test_keywords_of_lines_reach_boxes():
    display = RigidityDistributionDisplay.from_rigidities(
        np.arange(1.0, 9.0), kind="box", line_kwargs={"lw": 7}
    )
    assert 7 in {line.get_linewidth() for line in display.ax_.lines}


def test_distribution_of_levels(structures):
    X, y = structures
    model = ComponentRidge({"first": [0, 1], "second": [2, 3]}).fit(X, y)
    kind = np.array(["small", "large"])[(X.sizes > 2).astype(int)]
    whole = RigidityDistributionDisplay.from_estimator(model, X, groups=kind)
    np.testing.assert_allclose(whole.rigidity, model.prediction_rigidity(X))
    local = RigidityDistributionDisplay.from_estimator(model, X, level="local", groups=kind)
    np.testing.assert_allclose(local.rigidity, np.concatenate(model.local_rigidity(X)))
    assert local.groups.tolist() == np.repeat(kind, X.sizes).tolist()
    parts = RigidityDistributionDisplay.from_estimator(model, X, level="component")
    assert list(parts.medians) == ["first", "second"]
    expected = np.sort(model.component_rigidity(X)[:, 1])[29]
    assert parts.medians["second"] == pytest.approx(expected)
    assert parts.ax_.get_xlabel() == "component prediction rigidity"
    with pytest.raises(ValueError, match="level must be one of"):
        RigidityDistributionDisplay.from_estimator(model, X, level="atom")
    with pytest.raises(ValueError, match="groups must be None"):
        RigidityDistributionDisplay.from_estimator(model, X, level="component", groups=kind)


def test_distribution_of_one_target_of_several(regression):
    X, y = regression
    model = RigidRidge(alpha=[0.1, 10.0]).fit(X, np.stack([y, y], axis=1))
    with pytest.raises(ValueError, match="target must say which"):
        RigidityDistributionDisplay.from_estimator(model, X)
    display = RigidityDistributionDisplay.from_estimator(model, X, target=1)
    np.testing.assert_allclose(display.rigidity, model.prediction_rigidity(X)[:, 1])
    parts = {"components": [2, 4], "target": 1}
    expected = model.component_rigidity(X, [2, 4])[:, :, 1]
    display = RigidityDistributionDisplay.from_estimator(model, X, level="component", **parts)
    np.testing.assert_allclose(display.rigidity, expected.ravel())
    targets = np.stack([y, y], axis=1)
    options = {"train_sizes": [120], "shuffle": False}
    display = ComponentRigidityDisplay.from_estimator(model, X, targets, **parts, **options)
    np.testing.assert_allclose(display.rigidity[0], expected)
    display = RigidityTrainingDisplay.from_estimator(model, X, targets, target=1, **options)
    np.testing.assert_allclose(display.rigidity[0], model.prediction_rigidity(X)[:, 1])


# -- committees ------------------------------------------------------------------------------------


def test_committee_display(structures):
    X, y = structures
    committee = committee_variance(RigidRidge(0.1), X, y, random_state=0)
    model = RigidRidge(0.1).fit(X, y)
    kind = np.where(X.sizes > 2, "large", "small")
    display = CommitteeDisplay.from_estimator(model, X, committee, groups=kind, unit="eV")
    np.testing.assert_allclose(display.rigidity, np.concatenate(local_rigidity(model, X)))
    np.testing.assert_allclose(display.variance, np.concatenate(committee.local_variance))
    assert display.ax_.get_ylabel() == "committee variance (eV²)"
    for label, correlation in display.spearman.items():
        rows = np.repeat(kind, X.sizes) == label
        ranks = [pd.Series(v[rows]).rank() for v in (display.rigidity, display.variance)]
        assert correlation == pytest.approx(np.corrcoef(*ranks)[0, 1])
    with pytest.raises(ValueError, match="no local variances"):
        CommitteeDisplay.from_estimator(model, X, SimpleNamespace(local_variance=None))
    with pytest.raises(ValueError, match="same length, got"):
        CommitteeDisplay.from_predictions(display.rigidity[1:], display.variance)


def test_committee_display_drops_and_counts():
    R, V = np.array([1.0, np.inf, 0.0, 3.0]), np.array([1.0, 1.0, 2.0, 0.0])
    display = CommitteeDisplay.from_predictions(R, V)
    assert display.dropped_ == {"R = ∞": 1, "R = 0": 1, "variance = 0": 1}
    x, y = xy(display.medians_[0])
    assert (x.tolist(), y.tolist()) == ([1.0], [1.0])
    assert np.isnan(CommitteeDisplay.from_predictions(np.ones(3), np.arange(3.0)).spearman[None])


# -- along training --------------------------------------------------------------------------------


def test_training_sets_are_nested(structures):
    """With features that stay the same, no rigidity falls when samples are added."""
    X, y = structures
    display = RigidityTrainingDisplay.from_estimator(
        RigidRidge(0.1),
        X[:50],
        y[:50],
        X_test=X[50:],
        level="local",
        train_sizes=[5, 20, 0 + 50],
        random_state=0,
    )
    assert display.steps.tolist() == [5, 20, 50]
    assert display.rigidity.shape == (3, X[50:].n_environments)
    assert (np.diff(display.rigidity, axis=0) >= 0).all()
    full = RigidRidge(0.1).fit(X[:50], y[:50])
    np.testing.assert_allclose(display.rigidity[-1], np.concatenate(full.local_rigidity(X[50:])))
    line = xy(display.lines_[0])
    expected = np.quantile(display.rigidity, 0.5, axis=1, method="lower")
    np.testing.assert_allclose(line, [display.steps, expected])
    assert display.ax_.get_xlabel() == "training samples"


def test_training_shares_and_order(regression):
    X, y = regression
    display = RigidityTrainingDisplay.from_estimator(
        RigidRidge(), X, y, train_sizes=[0.25, 1.0], shuffle=False
    )
    assert display.steps.tolist() == [30, 120]
    first = RigidRidge().fit(X[:30], y[:30])
    np.testing.assert_allclose(display.rigidity[0], first.prediction_rigidity(X))
    for sizes in ([0], [121], [0.0], [1.5], [], "abc"):
        with pytest.raises(ValueError, match="train_sizes"):
            RigidityTrainingDisplay.from_estimator(RigidRidge(), X, y, train_sizes=sizes)


def test_settling_along_epochs():
    final = np.array([1.0, 2.0, 4.0, 8.0])
    epochs = [final * 1.5, final * 1.1, final]
    display = RigidityTrainingDisplay.from_rigidities([0, 10, 20], epochs, kind="change")
    np.testing.assert_allclose(display.relative_change, [0.5, 0.1, 0.0])
    np.testing.assert_allclose(display.rank_correlation, [1.0, 1.0, 1.0])
    np.testing.assert_allclose(xy(display.lines_[0]), [[0, 10], [0.5, 0.1]])
    assert display.dropped_ == {}
    assert display.ax_.get_xlabel() == "epoch"
    unmovable = [np.append(R, [np.inf, 0.0]) for R in epochs]
    more = RigidityTrainingDisplay.from_rigidities([0, 10, 20], unmovable)
    np.testing.assert_allclose(more.relative_change, display.relative_change)


@pytest.mark.parametrize(
    ("steps", "R", "message"),
    [
        ([0, 0], [[1.0], [2.0]], "steps must increase"),
        ([0, 1, 2], [[1.0], [2.0]], r"steps must have shape \(2,\)"),
        ([0, np.nan], [[1.0], [2.0]], "steps contains NaN"),
        ([0, 1], [[1.0], [2.0, 3.0]], "as many values at every step"),
    ],
)
def test_bad_steps(steps, R, message):
    with pytest.raises(ValueError, match=message):
        RigidityTrainingDisplay.from_rigidities(steps, [np.array(r) for r in R])


def test_medians_off_the_axes_are_counted():
    R = [np.zeros(3), np.array([0.0, 1.0, 2.0]), np.full(3, np.inf)]
    display = RigidityTrainingDisplay.from_rigidities([1, 2, 3], R)
    assert display.dropped_ == {"median R = 0": 1, "median R = ∞": 1}
    np.testing.assert_array_equal(xy(display.lines_[0]), [[2], [1]])


def test_component_display(regression):
    X, y = regression
    components = {"first": [0, 1], "rest": [2, 3, 4, 5]}
    display = ComponentRigidityDisplay.from_estimator(
        RigidRidge(), X, y, components=components, train_sizes=[30, 120], shuffle=False
    )
    assert display.component_names == ["first", "rest"]
    expected = [RigidRidge().fit(X[:n], y[:n]).component_rigidity(X, components) for n in (30, 120)]
    np.testing.assert_allclose(display.rigidity, expected)
    own = ComponentRigidityDisplay.from_estimator(
        make_pipeline(StandardScaler(), ComponentRidge(components)), X, y, train_sizes=[120]
    )
    assert own.component_names == ["first", "rest"]
    sizes = ComponentRigidityDisplay.from_estimator(
        RigidRidge(), X, y, components=[2, 4], train_sizes=[120]
    )
    assert sizes.component_names == ["component 0", "component 1"]


def subset(model):
    return SubsetRegressor(model, PRSelector(20))


@pytest.mark.parametrize(
    "wrap",
    [
        subset,
        lambda model: make_pipeline(StandardScaler(), subset(model)),
        lambda model: subset(make_pipeline(StandardScaler(), model)),
        lambda model: GridSearchCV(subset(model), {"estimator__alpha": [1.0]}, cv=2),
        lambda model: TransformedTargetRegressor(
            FrozenEstimator(model), transformer=StandardScaler()
        ),
    ],
    ids=["subset", "in a pipeline", "of a pipeline", "in a search", "frozen, of another target"],
)
def test_components_keep_their_names_inside_of_other_estimators(wrap, regression):
    X, y = regression
    model = ComponentRidge({"first": [0, 1], "rest": [2, 3, 4, 5]}).fit(X, y)
    fitted = wrap(model).fit(X, y)
    display = RigidityDistributionDisplay.from_estimator(fitted, X, level="component")
    assert list(display.medians) == ["first", "rest"]
    growing = ComponentRigidityDisplay.from_estimator(wrap(model), X, y, train_sizes=[120])
    assert growing.component_names == ["first", "rest"]


def test_components_that_are_given_are_not_called_by_the_models_names(regression):
    X, y = regression
    model = ComponentRidge({"first": [0, 1], "rest": [2, 3, 4, 5]}).fit(X, y)
    of_descriptor = SimpleNamespace(components_={"a": slice(0, 3), "b": slice(3, 6)})
    for components, names in (
        ([1, 2, 3], ["component 0", "component 1", "component 2"]),
        ([4, 2], ["component 0", "component 1"]),
        (of_descriptor, ["a", "b"]),
    ):
        display = RigidityDistributionDisplay.from_estimator(
            model, X, level="component", components=components
        )
        assert list(display.medians) == names


def test_kernel_components_that_are_given_keep_their_names(regression):
    X, y = regression
    components = {"first": [0, 1], "rest": [2, 3, 4, 5]}
    kernel = {"first": "rbf", "rest": "linear"}
    model = RigidKernelRidge(kernel=kernel, components=components).fit(X, y)
    display = RigidityDistributionDisplay.from_estimator(
        model, X, level="component", components=["rest"]
    )
    assert list(display.medians) == ["rest"]


def test_component_display_counts_components_that_vanish():
    R = np.full((2, 3, 2), 5.0)
    R[:, :, 1] = np.inf
    display = ComponentRigidityDisplay.from_rigidities([10, 20], R, component_names=["a", "b"])
    assert display.dropped_ == {"median R = ∞": 2}
    for arguments, message in (
        (([10], R), "train_sizes must have shape"),
        (([10, 20], R[0]), r"\(n_steps, n_samples, n_components\)"),
    ):
        with pytest.raises(ValueError, match=message):
            ComponentRigidityDisplay.from_rigidities(*arguments)
    with pytest.raises(ValueError, match="component_names must have 2 entries, got 1"):
        ComponentRigidityDisplay.from_rigidities([10, 20], R, component_names=["a"])


# -- selections ------------------------------------------------------------------------------------


def test_selection_paths_of_selectors():
    X = np.random.default_rng(0).standard_normal((60, 4))
    known = {"X_target": X[:20], "X_train": X[20:30]}
    seeds = [PRSelector(5).fit(X[30 + s :], **known) for s in range(3)]
    display = SelectionPathDisplay.from_selector({"greedy": seeds, "one": seeds[0]})
    paths = display.paths
    np.testing.assert_array_equal(paths["greedy"].values, [s.objective_path_ for s in seeds])
    np.testing.assert_array_equal(paths["greedy"].picks, np.arange(6))
    np.testing.assert_allclose(xy(display.lines_[0])[1], paths["greedy"].values.mean(axis=0))
    np.testing.assert_allclose(xy(display.lines_[1])[1], seeds[0].objective_path_)
    alone = SelectionPathDisplay.from_selector(seeds[0], name="data")
    assert alone.lines_[0].get_label() == "data, PRSelector"
    with pytest.raises(TypeError, match="selector must have objective_path_, RigidRidge has not"):
        SelectionPathDisplay.from_selector(RigidRidge())
    unknown = SelectionPathDisplay.from_selector(PRSelector(5).fit(X))
    assert unknown.dropped_ == {"value ≤ 0": 1}
    other = PRSelector(5, objective="variance").fit(X)
    with pytest.raises(ValueError, match="the same objective"):
        SelectionPathDisplay.from_selector({"a": seeds[0], "b": other})
    with pytest.raises(ValueError, match="differ in their numbers of picks"):
        SelectionPathDisplay.from_selector({"a": [seeds[0], PRSelector(3).fit(X)]})


def test_selection_path_inside_of_other_estimators(regression):
    X, y = regression
    model = make_pipeline(StandardScaler(), SubsetRegressor(RigidRidge(), PRSelector(5)))
    display = SelectionPathDisplay.from_selector({"greedy": model.fit(X, y)})
    expected = model[-1].selector_.objective_path_
    np.testing.assert_array_equal(display.paths["greedy"].values, [expected])


def tidy(values):
    """A table of strategies by name, each (n_seeds, n_picks)."""
    return pd.DataFrame(
        [
            (strategy, seed, pick, value)
            for strategy, rows in values.items()
            for seed, row in enumerate(rows)
            for pick, value in enumerate(row)
        ],
        columns=["strategy", "seed", "n_picks", "target_rigidity"],
    )


def test_selection_paths_of_a_table():
    values = {"random": [[1.0, 2.0, 3.0], [3.0, 4.0, 5.0]], "greedy": [[1.0, 5.0, 9.0]]}
    table = tidy(values).sample(frac=1, random_state=0)
    display = SelectionPathDisplay.from_frame(table, label="rigidity of surfaces")
    assert display.paths.keys() == values.keys()
    for strategy, path in display.paths.items():
        np.testing.assert_array_equal(path.values, values[strategy])
    assert display.ax_.get_ylabel() == "rigidity of surfaces"
    renamed = table.set_axis(["how", "run", "n", "R"], axis=1)
    again = SelectionPathDisplay.from_frame(
        renamed, strategy="how", seed="run", pick="n", value="R"
    )
    np.testing.assert_array_equal(again.paths["random"].values, values["random"])
    with pytest.raises(ValueError, match="frame has no column 'n_picks'"):
        SelectionPathDisplay.from_frame(renamed, strategy="how", seed="run", value="R")
    with pytest.raises(ValueError, match="differ in their picks, or have NaN"):
        SelectionPathDisplay.from_frame(tidy({"a": [[1.0, 2.0], [1.0]]}))


def test_selection_paths_of_an_augmentation_study(regression):
    X, y = regression
    strategies = {"greedy": PRSelector(), "random": "random"}
    parts = X[:30], y[:30], X[30:80], y[30:80], X[80:], y[80:]
    paths = augmentation_study(*parts, n_picks=3, strategies=strategies, n_random=4, random_state=0)
    display = SelectionPathDisplay.from_frame(paths, label=None)
    assert {k: path.values.shape for k, path in display.paths.items()} == {
        "greedy": (1, 4),
        "random": (4, 4),
    }
    last = paths.query("strategy == 'random' and n_picks == 3").target_rigidity
    assert xy(display.lines_[1])[1, -1] == pytest.approx(last.mean())
    assert display.ax_.get_ylabel() == "mean rigidity of the targets"
    errors = SelectionPathDisplay.from_frame(paths, value="target_rmse", unit="eV")
    assert errors.ax_.get_ylabel() == "RMSE of the targets (eV)"


@pytest.mark.parametrize("spread", ["range", "std", None])
def test_selection_paths_that_have_no_logarithm(spread):
    table = tidy({"a": [[0.0, 1.0], [2.0, 3.0]], "b": [[1.0, np.inf]]})
    display = SelectionPathDisplay.from_frame(table, spread=spread)
    assert display.dropped_ == {"value ≤ 0": 1, "value infinite": 1}
    assert display.ax_.get_yscale() == "log"
    negative = SelectionPathDisplay.from_frame(tidy({"a": [[-1.0, 0.0]]}), spread=spread)
    assert negative.ax_.get_yscale() == "linear"
    assert negative.dropped_ == {}


# -- trajectories ----------------------------------------------------------------------------------


def test_trajectory(structures):
    X, y = structures
    model = RigidRidge(0.1).fit(X[:40], y[:40])
    time = np.arange(20) / 4
    display = TrajectoryRigidityDisplay.from_estimator(
        model, X[40:], X_train=X[:40], time=time, time_unit="ps", window=3
    )
    R, reference = model.prediction_rigidity(X[40:]), np.sort(model.prediction_rigidity(X[:40]))
    np.testing.assert_allclose(xy(display.line_), [time, R])
    assert display.band == (reference[1], reference[37])
    np.testing.assert_array_equal(display.below, reference[1] > R)
    median = [np.median(R[i - 1 : i + 2]) for i in range(1, 19)]
    np.testing.assert_allclose(xy(display.average_)[1][1:-1], median)
    assert display.ax_.get_xlabel() == "time (ps)"
    bare = TrajectoryRigidityDisplay.from_estimator(model, X[40:])
    assert bare.band is None
    assert not bare.below.any()
    assert bare.ax_.get_xlabel() == "frame"


@pytest.mark.parametrize(("statistic", "function"), [("min", np.min), ("median", np.median)])
def test_trajectory_of_environments(statistic, function, structures):
    X, y = structures
    X = X[np.flatnonzero(X.sizes % 2)]
    model = RigidRidge(0.1).fit(X, y[: len(X)])
    display = TrajectoryRigidityDisplay.from_estimator(model, X, level="local", statistic=statistic)
    np.testing.assert_allclose(display.rigidity, [function(R) for R in model.local_rigidity(X)])
    with pytest.raises(ValueError, match="statistic must be one of"):
        TrajectoryRigidityDisplay.from_estimator(model, X, level="local", statistic="max")


def test_trajectory_shows_gaps():
    R = np.array([1.0, np.inf, 0.0, 2.0])
    display = TrajectoryRigidityDisplay.from_rigidities(R, reference=[1.5, 3.0])
    assert display.dropped_ == {"R = ∞": 1, "R = 0": 1}
    np.testing.assert_array_equal(np.isnan(xy(display.line_)[1]), [False, True, True, False])
    assert display.below.tolist() == [True, False, True, False]
    with pytest.raises(ValueError, match="time must increase"):
        TrajectoryRigidityDisplay.from_rigidities(R, time=[0, 1, 1, 2])
    with pytest.raises(ValueError, match="window must be at least 1"):
        TrajectoryRigidityDisplay.from_rigidities(R, window=-1)


@pytest.mark.parametrize("option", ["spread", "yscale"])
def test_unknown_choices_of_paths(option):
    table = {"strategy": ["a", "a"], "seed": [0, 0], "n_picks": [0, 1]}
    frame = pd.DataFrame({**table, "target_rigidity": [1.0, 2.0]})
    with pytest.raises(ValueError, match=rf"{option} must be one of \(.*\), got 'none'"):
        SelectionPathDisplay.from_frame(frame, **{option: "none"})


@pytest.mark.parametrize("display", [RigidityDistributionDisplay, RigidityTrainingDisplay])
def test_unknown_kinds(display):
    data = ([1.0, 2.0],) if display is RigidityDistributionDisplay else ([0], [[1.0, 2.0]])
    with pytest.raises(ValueError, match=r"kind must be one of \(.*\), got 'none'"):
        display.from_rigidities(*data, kind="none")
