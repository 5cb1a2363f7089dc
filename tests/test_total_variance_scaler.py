"""The scaler that divides all features by one number."""

import numpy as np
import pandas as pd
import pytest
from sklearn import config_context
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from skrigidity import RigidRidge
from skrigidity.environments import Environments, PerEnvironment, TotalVarianceScaler


def make(seed=0, sizes=(3, 1, 4, 2), dtype=float):
    values = np.random.default_rng(seed).normal(5, [1, 2, 3], size=(sum(sizes), 3))
    return Environments(values.astype(dtype), np.cumsum([0, *sizes]), {"a": slice(0, 3)})


@parametrize_with_checks([TotalVarianceScaler()])
def test_check_estimator(estimator, check):
    check(estimator)


@pytest.mark.parametrize("with_mean", [True, False])
def test_the_total_variance_is_one_and_shapes_stay(with_mean):
    X = make().values
    scaled = TotalVarianceScaler(with_mean=with_mean).fit_transform(X)
    assert scaled.var(axis=0).sum() == pytest.approx(1, rel=1e-14)
    ratios = scaled.std(axis=0) / X.std(axis=0)
    np.testing.assert_allclose(ratios, ratios[0], rtol=1e-13)
    if with_mean:
        np.testing.assert_allclose(scaled.mean(axis=0), 0, atol=1e-14)
    else:
        np.testing.assert_allclose(scaled / X, ratios[0], rtol=1e-13)


@pytest.mark.parametrize("over", ["environments", "structures"])
@pytest.mark.parametrize("wrap", [lambda X: X, list, tuple])
def test_environments_or_the_means_of_structures(over, wrap):
    X = make()
    scaler = TotalVarianceScaler(over=over).fit(wrap(X))
    scaled = scaler.transform(wrap(X))
    assert isinstance(scaled, Environments)
    rows = scaled.values if over == "environments" else scaled.aggregate("mean")
    assert rows.var(axis=0).sum() == pytest.approx(1, rel=1e-13)
    np.testing.assert_allclose(rows.mean(axis=0), 0, atol=1e-14)
    np.testing.assert_allclose(scaler.inverse_transform(scaled).values, X.values, rtol=1e-13)
    reference = X.values if over == "environments" else X.aggregate("mean")
    same = TotalVarianceScaler().fit(reference)
    assert scaler.scale_ == pytest.approx(same.scale_, rel=1e-14)
    np.testing.assert_allclose(scaler.transform(X.values), scaled.values, rtol=1e-14)
    assert scaler.n_features_in_ == 3


def test_components_and_precision_are_kept():
    scaler = TotalVarianceScaler().fit(make())
    assert scaler.transform(make()).components == {"a": slice(0, 3)}
    assert TotalVarianceScaler(with_mean=False).fit_transform(make()).components is not None
    for X in (make(dtype=np.float32), make(dtype=np.float32).values):
        assert scaler.transform(X).dtype == np.float32
        assert scaler.inverse_transform(X).dtype == np.float32


@pytest.mark.parametrize("over", ["environments", "structures"])
def test_weights_repeat_structures(over):
    X, weights = make(), np.array([2, 0, 1, 3])
    weighted = TotalVarianceScaler(over=over).fit(X, sample_weight=weights)
    repeated = TotalVarianceScaler(over=over).fit(X[np.repeat(np.arange(4), weights)])
    assert weighted.scale_ == pytest.approx(repeated.scale_, rel=1e-13)
    np.testing.assert_allclose(weighted.mean_, repeated.mean_, rtol=1e-13)


@pytest.mark.parametrize(
    ("weights", "message"),
    [([0, 0, 0, 0], "positive|non-zero"), ([1, 1, 1, -1], "sample_weight: .* positive")],
)
def test_bad_weights(weights, message):
    with pytest.raises(ValueError, match=message):
        TotalVarianceScaler().fit(make(), sample_weight=weights)


def test_constant_features_do_not_count():
    X = make().values
    padded = np.column_stack([X, np.full(len(X), 1e9 / 3), np.zeros(len(X))])
    assert TotalVarianceScaler().fit(padded).scale_ == TotalVarianceScaler().fit(X).scale_
    constant = np.full((4, 2), 0.1)
    scaler = TotalVarianceScaler().fit(constant)
    assert scaler.scale_ == 1.0
    np.testing.assert_allclose(scaler.transform(constant), 0, atol=1e-16)


def test_large_offsets_do_not_spoil_the_scale():
    X = make().values
    shifted = TotalVarianceScaler().fit(X + 2.0**30)
    assert shifted.scale_ == pytest.approx(TotalVarianceScaler().fit(X).scale_, rel=1e-6)
    narrow = TotalVarianceScaler().fit((X + 100).astype(np.float32))
    assert narrow.scale_ == pytest.approx(TotalVarianceScaler().fit(X).scale_, rel=1e-4)


def test_set_output_wraps_matrices_only():
    table = pd.DataFrame(make().values, columns=list("abc"), index=np.arange(10) + 7)
    scaler = TotalVarianceScaler().set_output(transform="pandas").fit(table)
    wrapped = clone(scaler).fit_transform(table)
    assert wrapped.columns.tolist() == list("abc")
    assert wrapped.index.tolist() == table.index.tolist()
    assert isinstance(scaler.fit_transform(make()), Environments)
    with config_context(transform_output="pandas"):
        assert isinstance(TotalVarianceScaler().fit_transform(make()), Environments)
        assert isinstance(TotalVarianceScaler().fit_transform(make().values), pd.DataFrame)


def test_bad_input():
    scaler = TotalVarianceScaler().fit(make())
    with pytest.raises(ValueError, match="X has 2 features"):
        scaler.transform(make()[..., :2])
    with pytest.raises(ValueError, match="X has 2 features"):
        scaler.transform(make().values[:, :2])
    with pytest.raises(ValueError, match="row 1 has 2 entries"):
        scaler.transform([np.ones(3), np.ones(2)])
    with pytest.raises(ValueError, match="structure 1 contains NaN"):
        scaler.fit([np.ones((2, 2)), np.full((1, 2), np.nan)])


def test_in_a_pipeline_alpha_has_one_meaning_for_any_unit():
    X, y = make(sizes=(3,) * 12), np.arange(12.0)
    models = [
        make_pipeline(TotalVarianceScaler(over="structures"), RigidRidge(1e-3)).fit(data, y)
        for data in (X, 1e3 * X)
    ]
    R, scaled = (
        m[-1].prediction_rigidity(m[:-1].transform(d))
        for m, d in zip(models, (X, 1e3 * X), strict=True)
    )
    np.testing.assert_allclose(R, scaled, rtol=1e-9)
    same = PerEnvironment(TotalVarianceScaler()).fit_transform(X)
    np.testing.assert_allclose(same.values, TotalVarianceScaler().fit_transform(X).values)
