"""component_learning_curve: subsets of a training set against rigidities of components."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skrigidity import ComponentRidge, Environments, PRSelector, RigidRidge
from skrigidity.metrics import component_learning_curve
from skrigidity.sample_selection import SubsetRegressor


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((40, 4))
    return X, X @ [1.0, 2.0, 0.1, 0.1] + 3.0


MODEL = ComponentRidge({"short": [0, 1], "long": [2, 3]}, alpha=0.1)


def test_numbers_are_those_of_the_fitted_models(data):
    X, y = data
    X[30:35, :2] = 0
    curve = component_learning_curve(
        MODEL, X[:30], y[:30], {"few": [1, 2, 5, 7], "all": 30}, X[30:], y[30:]
    )
    assert curve["subset"].tolist() == ["few"] * 3 + ["all"] * 3
    assert curve["n_train"].tolist() == [4] * 3 + [30] * 3
    assert curve["component"].tolist() == ["short", "long", "total"] * 2
    for name, rows in {"few": [1, 2, 5, 7], "all": slice(30)}.items():
        model = ComponentRidge(**MODEL.get_params(deep=False)).fit(X[rows], y[rows])
        part = curve[curve["subset"] == name].set_index("component")
        R = model.component_rigidity(X[30:])
        assert_allclose(part.loc["short", "rigidity"], R[5:, 0].mean())
        assert_allclose(part.loc["long", "rigidity"], R[:, 1].mean())
        assert_allclose(part.loc["total", "rigidity"], model.prediction_rigidity(X[30:]).mean())
        assert part["vanishing"].tolist() == [0.5, 0, 0]
        predicted = [
            *(model.predict_components(X[30:]).T + model.intercept_),
            model.predict(X[30:]),
        ]
        errors = [np.sqrt(np.mean((p - y[30:]) ** 2)) for p in predicted]
        assert_allclose(part["rmse"], errors)


def test_forms_of_subsets(data):
    X, y = data
    mask = np.arange(40) < 10
    curves = [
        component_learning_curve(MODEL, X, y, subsets, X)
        for subsets in ([10, 20], [range(10), np.arange(20)], [mask, 20])
    ]
    assert curves[0]["subset"].tolist() == [10] * 3 + [20] * 3
    assert curves[0]["rmse"].isna().all()
    for curve in curves[1:]:
        pd.testing.assert_frame_equal(curve, curves[0])


def test_a_component_that_vanishes_everywhere(data):
    X, y = data
    new = X.copy()
    new[:, 2:] = 0
    curve = component_learning_curve(MODEL, X, y, [40], new, y).set_index("component")
    assert curve.loc["long", "rigidity"] == np.inf
    assert curve.loc["long", "vanishing"] == 1


def test_several_evaluation_sets_and_containers(data):
    X, y = data
    frame = pd.DataFrame(X, columns=list("abcd"))
    structures = Environments(X, np.arange(0, 41, 2))
    targets = y.reshape(20, 2).mean(axis=1)
    curve = component_learning_curve(
        MODEL, frame, pd.Series(y), [20], {"new": frame[20:], "old": frame[:20]}, {"old": y[:20]}
    )
    assert curve["evaluation"].tolist() == ["new"] * 3 + ["old"] * 3
    assert curve["rmse"].isna().tolist() == [True] * 3 + [False] * 3
    of_structures = component_learning_curve(
        MODEL, structures, targets, [[0, 3, 4, 5, 9]], structures
    )
    assert (of_structures["rigidity"] > 0).all()


def test_composite_estimators(data):
    X, y = data
    pipeline = make_pipeline(StandardScaler(), RigidRidge())
    search = GridSearchCV(pipeline, {"rigidridge__alpha": [0.1, 1.0]}, cv=3)
    curve = component_learning_curve(search, X, y, [20, 40], X, y, components=[1, 3])
    best = search.fit(X, y).best_estimator_
    R = best[-1].component_rigidity(best[:-1].transform(X), [1, 3])
    assert_allclose(curve["rigidity"].iloc[3:5], R.mean(axis=0))
    several = component_learning_curve(
        RigidRidge([0.1, 1.0]), X, np.column_stack([y, -y]), [40], X, np.column_stack([y, -y]),
        components=[1, 3],
    )  # fmt: skip
    assert several["rmse"].notna().all()


@pytest.mark.parametrize(
    ("components", "names"),
    [
        ([1, 3], ["component0", "component1"]),
        ([slice(0, 1), [1, 2, 3]], ["component0", "component1"]),
        ({"first": [0], 2: [1, 2]}, ["first", "2"]),
        (["a", "c"], ["a", "c"]),
        (["a", [1, 2]], ["a", "component1"]),
        (SimpleNamespace(components_={"all": slice(None)}), ["all"]),
    ],
)
def test_names_of_components(data, components, names):
    X, y = data
    X = pd.DataFrame(X, columns=list("abcd"))
    model = SubsetRegressor(RigidRidge(), PRSelector(10))
    curve = component_learning_curve(model, X, y, [40], X, components=components)
    assert curve["component"].tolist() == [*names, "total"]


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"estimator": Ridge()}, TypeError, "estimator must have component_rigidity"),
        ({"subsets": 5}, ValueError, "subsets must be a dict or a sequence"),
        ({"subsets": [0]}, ValueError, "subsets must be a number of samples"),
        ({"subsets": {"a": [0.5]}}, ValueError, r"subsets\['a'\] must be a number of samples"),
        ({"subsets": [41]}, ValueError, "has samples up to 40, but there are 40"),
        ({"subsets": [[3, -41]]}, ValueError, "but there are 40"),
        ({"y_eval": [1.0]}, ValueError, "as many entries as X_eval, 40, got 1"),
        ({"y_eval": {"a": [1.0]}, "X_eval": {"b": [[1.0] * 4]}}, ValueError, "its keys among"),
        ({"X_eval": {"b": [[1.0] * 4]}, "y_eval": [1.0]}, ValueError, "y_eval must"),
    ],
)
def test_bad_input(data, changes, error, message):
    X, y = data
    arguments = {"estimator": MODEL, "X": X, "y": y, "subsets": [10], "X_eval": X} | changes
    with pytest.raises(error, match=message):
        component_learning_curve(**arguments)
