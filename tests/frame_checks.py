"""Checks for estimators that take lists of ASE frames, which scikit-learn's own do not reach.

Such estimators declare ``input_tags.two_d_array = False``. A test module parametrizes over
``FRAME_CHECKS`` and calls each with an estimator that can be fitted to ``molecules()`` (periodic,
so that all descriptors take them), with no species fixed.
"""

import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, RegressorMixin, clone, is_regressor
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import Pipeline
from sklearn.utils import estimator_html_repr, get_tags
from sklearn.utils.estimator_checks import check_no_attributes_set_in_init

from skrigidity.environments import Environments, as_environments, is_environments


class StructureRidge(RegressorMixin, BaseEstimator):
    """Ridge on the mean environment of each structure, or on its features."""

    def __init__(self, alpha=1.0):
        self.alpha = alpha

    def _features(self, X):
        return as_environments(X).aggregate("mean") if is_environments(X) else X

    def fit(self, X, y):
        self.ridge_ = Ridge(self.alpha).fit(self._features(X), y)
        return self

    def predict(self, X):
        return self.ridge_.predict(self._features(X))


def molecules(*names, seed=0):
    """Molecules in boxes, a little distorted."""
    from ase.build import molecule

    rng = np.random.default_rng(seed)
    frames = []
    for name in names or ("H2O", "CH3OH", "OH", "CH4", "CO", "H2O", "CH3OH", "CO2"):
        frame = molecule(name, cell=[9.0, 10.0, 11.0], pbc=True)
        frame.positions += 0.02 * rng.normal(size=frame.positions.shape)
        frames.append(frame)
    return frames


def targets(frames):
    return np.array([frame.numbers.sum() for frame in frames], dtype=float)


def result(estimator, frames):
    """What a fitted estimator says about frames, as one array."""
    if is_regressor(estimator):
        return np.asarray(estimator.predict(frames))
    features = estimator.transform(frames)
    return features.values if isinstance(features, Environments) else np.asarray(features)


def assert_same(first, second, frames):
    np.testing.assert_allclose(
        result(first, frames), result(second, frames), rtol=1e-10, atol=1e-12
    )


def check_declares_that_it_takes_no_matrix(estimator):
    assert not get_tags(estimator).input_tags.two_d_array


def check_constructor_only_stores(estimator):
    check_no_attributes_set_in_init(type(estimator).__name__, estimator)
    params = estimator.get_params(deep=False)
    made = type(estimator)(**params)
    assert all(made.get_params(deep=False)[name] is value for name, value in params.items())
    assert estimator_html_repr(estimator)
    assert type(estimator).__name__ in repr(estimator)


def check_clone_forgets_the_fit_and_keeps_parameters(estimator):
    frames = molecules()
    estimator.fit(frames, targets(frames))
    again = clone(estimator)
    assert repr(again.get_params()) == repr(estimator.get_params())
    with pytest.raises(NotFittedError):
        result(again, frames)
    assert_same(again.fit(frames, targets(frames)), estimator, frames)


def check_pickle(estimator):
    frames = molecules()
    unfitted = pickle.loads(pickle.dumps(estimator))
    assert repr(unfitted.get_params()) == repr(estimator.get_params())
    estimator.fit(frames, targets(frames))
    expected = result(estimator, frames)
    np.testing.assert_array_equal(result(pickle.loads(pickle.dumps(estimator)), frames), expected)


def check_fit_returns_itself_and_is_idempotent(estimator):
    frames = molecules()
    assert estimator.fit(frames, targets(frames)) is estimator
    first = result(estimator, frames)
    np.testing.assert_array_equal(result(estimator.fit(frames, targets(frames)), frames), first)


def check_fit_and_use_change_nothing(estimator):
    frames, untouched = molecules(), molecules()
    before = repr(estimator.get_params())
    values = estimator.get_params(deep=False)
    estimator.fit(frames, targets(frames))
    result(estimator, frames)
    after = estimator.get_params(deep=False)
    assert repr(estimator.get_params()) == before
    assert all(after[name] is value for name, value in values.items())
    assert frames == untouched
    for frame, other in zip(frames, untouched, strict=True):
        assert frame.info == other.info
        assert frame.calc is None
        assert frame.arrays.keys() == other.arrays.keys()


def check_not_fitted_error(estimator):
    for method in ("transform", "predict", "get_feature_names_out"):
        if hasattr(estimator, method):
            arguments = [] if method == "get_feature_names_out" else [molecules()]
            with pytest.raises(NotFittedError):
                getattr(estimator, method)(*arguments)


def check_refit_on_other_species(estimator):
    first, second = molecules("H2O", "OH"), molecules("CO", "CO2", "CH4")
    estimator.fit(first, targets(first))
    estimator.fit(second, targets(second))
    fresh = clone(estimator).fit(second, targets(second))
    assert_same(estimator, fresh, second)
    with pytest.raises(ValueError, match=r"X\[1\]: contains N"):
        result(estimator, [*second[:1], *molecules("N2")])


def check_set_params(estimator):
    for name, value in estimator.get_params(deep=True).items():
        assert estimator.set_params(**{name: value}) is estimator
    with pytest.raises(ValueError, match="Invalid parameter"):
        estimator.set_params(no_such_parameter=1)
    frames = molecules()
    estimator.fit(frames, targets(frames))
    for name in ("output", "dtype"):
        if name in estimator.get_params():
            value = {"output": "sum", "dtype": "float32"}[name]
            changed = clone(estimator).set_params(**{name: value}).fit(frames, targets(frames))
            assert getattr(changed, name) == value
            estimator.set_params(**{name: value})
            assert_same(estimator.fit(frames, targets(frames)), changed, frames)


def check_every_frame_by_itself(estimator):
    frames = molecules()
    estimator.fit(frames, targets(frames))
    single = np.concatenate([result(estimator, [frame]) for frame in frames])
    np.testing.assert_allclose(single, result(estimator, frames), rtol=1e-10, atol=1e-12)


def check_bad_frames(estimator):
    frames = molecules("H2O", "OH")
    estimator.fit(frames, targets(frames))
    broken = molecules("H2O")[0]
    broken.positions[0, 0] = np.nan
    for bad, error, message in (
        (frames[0], TypeError, r"X: .*single one; pass \[atoms\]"),
        ([], ValueError, "X: expected at least one frame"),
        ("H2O", TypeError, "X: expected a list of ase.Atoms, got str"),
        (3, TypeError, "X: expected a list of ase.Atoms, got int"),
        ([*frames, "x"], TypeError, r"X\[2\]: expected ase.Atoms, got str"),
        (np.zeros((3, 2)), TypeError, r"X\[0\]: expected ase.Atoms, got ndarray"),
        ([frames[0], frames[0][:0]], ValueError, r"X\[1\]: the frame has no atoms"),
        ([frames[0], broken], ValueError, r"X\[1\]: the positions or the cell contain NaN"),
    ):
        with pytest.raises(error, match=message):
            clone(estimator).fit(bad, np.zeros(1))
        with pytest.raises(error, match=message):
            result(estimator, bad)


def check_searches(estimator):
    frames = molecules() * 3
    y = targets(frames)
    if is_regressor(estimator):
        model = estimator
    else:
        model = Pipeline([("descriptor", estimator), ("ridge", StructureRidge(1e-6))])
    grid = {"descriptor__output": ["mean", "environments"], "ridge__alpha": [1e-6, 1e6]}
    grid = {name: values for name, values in grid.items() if name in model.get_params()}
    assert np.isfinite(cross_val_score(model, frames, y, cv=3, error_score="raise")).all()
    search = GridSearchCV(model, grid, cv=3, error_score="raise").fit(frames, y)
    assert search.predict(frames).shape == (24,)
    if "ridge__alpha" in grid:
        assert search.best_params_["ridge__alpha"] == 1e-6


def check_outputs_and_their_containers(estimator):
    if is_regressor(estimator):
        return
    frames = molecules()
    X = estimator.set_params(output="environments").fit_transform(frames)
    assert isinstance(X, Environments)
    assert X.sizes.tolist() == [len(frame) for frame in frames]
    names = estimator.get_feature_names_out()
    assert len(names) == len(set(names)) == X.shape[1] == estimator.n_features_out_
    columns = np.arange(X.shape[1])
    parts = [columns[chosen] for chosen in estimator.components_.values()]
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), columns)
    assert list(X.components) == list(estimator.components_)
    estimator.set_output(transform="pandas")
    assert isinstance(estimator.transform(frames), Environments)
    for output in ("mean", "sum"):
        table = clone(estimator).set_params(output=output).fit_transform(frames)
        assert isinstance(table, pd.DataFrame)
        assert table.columns.tolist() == names.tolist()
        np.testing.assert_allclose(table.to_numpy(), X.aggregate(output), rtol=1e-10, atol=1e-12)
        attached = table.attrs["components"]
        assert attached == {k: names[c].tolist() for k, c in estimator.components_.items()}
        if "dtype" in estimator.get_params():
            narrow = clone(estimator).set_params(output=output, dtype="float32")
            narrow = narrow.set_output(transform="default").fit_transform(frames)
            assert narrow.dtype == np.float32
            np.testing.assert_allclose(narrow, X.aggregate(output), rtol=1e-5, atol=1e-6)


FRAME_CHECKS = [
    check_declares_that_it_takes_no_matrix,
    check_constructor_only_stores,
    check_clone_forgets_the_fit_and_keeps_parameters,
    check_pickle,
    check_fit_returns_itself_and_is_idempotent,
    check_fit_and_use_change_nothing,
    check_not_fitted_error,
    check_refit_on_other_species,
    check_set_params,
    check_every_frame_by_itself,
    check_bad_frames,
    check_searches,
    check_outputs_and_their_containers,
]
