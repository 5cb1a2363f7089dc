"""Streaming accumulators: blocks, order and merging do not matter."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import exact_coef, exact_quad
from sweep import relative_error

from skrigidity.hessian import (
    METHODS,
    AutoAccumulator,
    ExtendedGramAccumulator,
    GramAccumulator,
    Prior,
    Rows,
    TSQRAccumulator,
    choose,
)

KINDS = (ExtendedGramAccumulator, GramAccumulator, TSQRAccumulator)
exact = pytest.mark.parametrize("kind", [ExtendedGramAccumulator, TSQRAccumulator])
every = pytest.mark.parametrize("kind", KINDS)


def rows_of(seed, n=40, d=5, **options):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d)) + 3
    options = {
        "weight": rng.uniform(0.1, 3, n) * (np.arange(n) % 7 > 0),
        "intercept": np.arange(n) % 3 > 0,
        "rhs": rng.normal(size=(n, 2)),
    } | options
    return Rows(X, **options)


def pieces(seed, n, most=6):
    rng = np.random.default_rng(seed)
    cuts = np.sort(rng.integers(0, n + 1, rng.integers(0, most)))
    return np.split(rng.permutation(n), cuts)


def assert_same(factor, other, rtol=1e-10):
    G = np.random.default_rng(9).normal(size=(7, factor.n_features))
    rows = Rows(G, intercept=(np.arange(7) % 2) * factor.has_intercept)
    np.testing.assert_allclose(factor.quad(rows), other.quad(rows), rtol=rtol)
    if factor.solution is not None:
        np.testing.assert_allclose(factor.solution.coef, other.solution.coef, rtol=1e-8)
        np.testing.assert_allclose(factor.solution.intercept, other.solution.intercept, rtol=1e-8)


@every
@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_blocks_order_and_merging_do_not_matter(kind, seed):
    rows = rows_of(seed)
    whole = kind(5, 2).add(rows)
    streams = [kind(5, 2) for _ in range(3)]
    for i, part in enumerate(pieces(seed, len(rows))):
        streams[i % 3].add(rows[part])
    merged = streams[2].merge(streams[0]).merge(streams[1])
    assert merged.n_rows == whole.n_rows == np.count_nonzero(rows.weight)
    assert merged.has_intercept
    assert_same(merged.finish(Prior(0.1)), whole.finish(Prior(0.1)))
    assert_same(merged.finish(Prior(0.1)), choose(rows, Prior(0.1)))


@exact
def test_streams_of_ill_conditioned_rows_keep_the_accuracy(kind):
    rng = np.random.default_rng(4)
    X = rng.normal(size=(60, 6)) * np.logspace(0, -6, 6) @ np.linalg.qr(rng.normal(size=(6, 6)))[0]
    rows = Rows(X + 1.0, intercept=True)
    streams = [kind(6), kind(6)]
    for i, part in enumerate(pieces(1, 60)):
        streams[i % 2].add(rows[part])
    q = streams[0].merge(streams[1]).finish(Prior(1e-13)).quad(rows)
    error = relative_error(q, exact_quad(rows.matrix, rows.matrix, alpha=1e-13, intercept=True))
    assert error.max() < (1e-12 if kind is ExtendedGramAccumulator else 1e-8)


@every
@pytest.mark.parametrize("convert", [scipy.sparse.csr_array, np.float32, np.int64])
def test_storage_does_not_matter(kind, convert):
    X = np.random.default_rng(0).integers(-9, 10, (30, 5)).astype(float)
    other = (
        X.astype(convert)
        if isinstance(convert, type) and convert in (np.float32, np.int64)
        else convert(X)
    )
    dense = kind(5).add(Rows(X, intercept=True)).finish(Prior(1.0))
    assert_same(kind(5).add(Rows(other, intercept=True)).finish(Prior(1.0)), dense, rtol=1e-14)


@every
def test_flagged_rows_may_come_late(kind):
    rows = rows_of(1, intercept=np.arange(40) >= 25)
    stream = kind(5, 2)
    for part in np.split(np.arange(40), 4):
        stream.add(rows[part])
    assert_same(stream.finish(Prior(0.1)), kind(5, 2).add(rows).finish(Prior(0.1)))


@every
def test_single_rows(kind):
    rows = rows_of(2, weight=None)
    stream = kind(5, 2)
    for i in range(len(rows)):
        stream.add(rows[[i]])
    assert_same(stream.finish(Prior(0.1)), kind(5, 2).add(rows).finish(Prior(0.1)))


@every
@pytest.mark.parametrize("gamma", [None, np.arange(1.0, 6), np.diag(np.arange(1.0, 6)) + 0.1])
def test_the_regularizer_comes_at_the_end(kind, gamma):
    rows = rows_of(3)
    stream = kind(5, 2).add(rows)
    for alpha in (0.0, 0.1, 10.0):
        assert_same(stream.finish(Prior(alpha, gamma)), choose(rows, Prior(alpha, gamma)))


@every
def test_copies_are_independent_and_streams_go_on(kind):
    rows = rows_of(4)
    stream = kind(5, 2).add(rows[:20])
    before = stream.copy()
    stream.add(rows[20:])
    assert before.n_rows == 17
    assert_same(before.add(rows[20:]).finish(Prior(0.1)), stream.finish(Prior(0.1)))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("first", [4, 25])
def test_continuing_after_a_fit(method, first):
    rows = rows_of(5)
    factor = choose(rows[:first], Prior(0.1), method=method)
    again = factor.source.copy().add(rows[first:]).finish(Prior(0.1))
    assert_same(again, choose(rows, Prior(0.1)))


@pytest.mark.parametrize("n", [0, 1, 3, 5])
@exact
def test_few_rows(kind, n):
    rng = np.random.default_rng(6)
    X, y = rng.normal(size=(n, 5)), rng.normal(size=(n, 1))
    factor = kind(5, 1).add(Rows(X, intercept=n > 0, rhs=y)).finish(Prior(0.1))
    G = rng.normal(size=(4, 5))
    q = exact_quad(X, G, alpha=0.1, intercept=n > 0)
    np.testing.assert_allclose(factor.quad(Rows(G, intercept=n > 0)), q, rtol=1e-12)
    coef, offset = exact_coef(X, y, alpha=0.1, intercept=n > 0)
    np.testing.assert_allclose(factor.solution.coef, coef, atol=1e-12)
    np.testing.assert_allclose(factor.solution.intercept, offset, atol=1e-12)


def test_extended_sums_are_exact_to_two_doubles():
    """The Gram matrix of rows far from their mean, with weights, against rationals."""
    from fractions import Fraction

    rng = np.random.default_rng(7)
    X, weight = rng.normal(size=(30, 2)) + 1e6, rng.integers(1, 9, 30) ** 2.0
    stream = ExtendedGramAccumulator(2).add(Rows(X, weight=weight, intercept=True))
    shift, scale = stream.shift, stream.scale
    for i in range(2):
        for j in range(2):
            exact_sum = (
                sum(
                    Fraction(w)
                    * (Fraction(a[i]) - Fraction(shift[i]))
                    * (Fraction(a[j]) - Fraction(shift[j]))
                    for a, w in zip(X, weight, strict=True)
                )
                * Fraction(scale[i])
                * Fraction(scale[j])
            )
            found = Fraction(stream.gram.high[i + 1, j + 1]) + Fraction(
                stream.gram.low[i + 1, j + 1]
            )
            size = np.sqrt(stream.gram.high[i + 1, i + 1] * stream.gram.high[j + 1, j + 1])
            assert abs(found - exact_sum) < Fraction(size) / 2**100


def test_what_comes_decides():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 5))
    stream = AutoAccumulator(5).add(X[:3])
    assert stream.stream is None
    stream.add(X)
    assert isinstance(stream.stream, GramAccumulator)
    dependent = X @ np.diag([1, 1, 1, 1, 0]) + 1e-7 * X[:, :1]
    early = AutoAccumulator(5).add(dependent)
    assert isinstance(early.stream, ExtendedGramAccumulator)
    assert isinstance(AutoAccumulator(5, prior=Prior(1.0)).add(dependent).stream, GramAccumulator)
    stream.add(1e9 * X[:, :1] * np.ones(5))
    assert isinstance(stream.stream, ExtendedGramAccumulator)


def test_a_small_batch_far_from_the_origin_does_not_spoil_the_estimate():
    X = np.random.default_rng(0).normal(size=(200, 4)) + 2.0
    stream = AutoAccumulator(4).add(Rows(X, intercept=True))
    before = stream.finish(Prior(1.0)).info.accuracy
    # Two rows with a mean far beyond their spread, which is small against that of all.
    stream.add(Rows(X[:2] * [[1.0], [1.0]] * 0.1 + 1.9, intercept=True))
    factor = stream.finish(Prior(1.0))
    assert isinstance(stream.stream, GramAccumulator)
    assert before <= factor.info.accuracy < 1.5 * before


@every
def test_errors_name_their_cause(kind):
    stream = kind(3, 1)
    with pytest.raises(ValueError, match="3 features and 1 right-hand sides, got 2 and 0"):
        stream.add(np.eye(2))
    with pytest.raises(ValueError, match="cannot merge"):
        stream.merge(kind(3))
    with pytest.raises(ValueError, match="must be 0 or 1"):
        stream.add(Rows(np.eye(3), rhs=np.ones(3), intercept=0.5))
    assert "n_features=3, n_rhs=1, n_rows=0" in repr(stream)


def test_preconditioned_gram_merges_with_its_like_only():
    P = np.triu(np.ones((3, 3)))
    with pytest.raises(ValueError, match="preconditioners"):
        GramAccumulator(3, precondition=P).merge(GramAccumulator(3))
    X = np.random.default_rng(0).normal(size=(9, 3))
    stream = GramAccumulator(3, precondition=P).add(X)
    np.testing.assert_allclose(
        stream.finish(Prior(0.1)).quad(X), choose(X, Prior(0.1)).quad(X), rtol=1e-12
    )


@pytest.mark.parametrize("kappa", [1e2, 1e4, 1e6, 3e6, 1e7, 1e8])
@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("intercept", [True, False])
def test_batches_equal_the_whole(kappa, known, intercept):
    rng = np.random.default_rng(int(kappa))
    n, d = 300, 12
    U, V = (np.linalg.qr(rng.normal(size=(k, d)))[0] for k in (n, d))
    rows = Rows(10 * U * np.geomspace(1, kappa**-0.5, d) @ V.T + 5 * intercept, intercept=intercept)
    prior = Prior(10 / kappa)
    stream = AutoAccumulator(d, prior=prior if known else None)
    for part in np.array_split(np.arange(n), 7):
        stream.add(rows[part])
    q, expected = stream.finish(prior).quad(rows), choose(rows, prior).quad(rows)
    np.testing.assert_allclose(q, expected, rtol=1e-10)


@pytest.mark.parametrize("noise", [1.0, 1e-3, 0.0])
def test_residuals_of_batches(noise):
    """Nearly exact fits lose the residuals in the squares of the targets, but not their digits."""
    rng = np.random.default_rng(8)
    X = rng.normal(size=(500, 4))
    rows = Rows(X, intercept=True, rhs=X @ np.ones((4, 2)) + noise * rng.normal(size=(500, 2)))
    stream = AutoAccumulator(4, 2, prior=Prior(1e-3))
    for part in np.array_split(np.arange(500), 5):
        stream.add(rows[part])
    rss = stream.finish(Prior(1e-3)).solution.rss
    expected = choose(rows, Prior(1e-3)).solution.rss
    np.testing.assert_allclose(rss, expected, rtol=1e-6, atol=1e-22 * np.sum(rows.rhs**2))
    exact = leave_nothing_out(rows, 1e-3)
    np.testing.assert_allclose(expected, exact, rtol=1e-6, atol=1e-22 * np.sum(rows.rhs**2))


def leave_nothing_out(rows, alpha):
    """Residual sums of squares of the exact coefficients."""
    coef, offset = exact_coef(rows.matrix, rows.rhs, alpha=alpha, intercept=True)
    return np.sum((rows.rhs - rows.matrix @ coef - offset) ** 2, axis=0)


@pytest.mark.parametrize("methods", [("auto", "auto"), ("qr", "qr"), ("cholesky", "cholesky")])
@pytest.mark.parametrize("sizes", [(3, 4), (3, 200), (200, 3), (200, 200)])
@pytest.mark.parametrize("hard", [(False, False), (True, False), (False, True), (True, True)])
def test_merging_whatever_the_streams_have_become(methods, sizes, hard):
    parts = [rows_of(9 + i, n=n) for i, n in enumerate(sizes)]
    if methods == ("auto", "auto"):
        for part, narrow in zip(parts, hard, strict=True):
            if narrow:
                part.matrix[:, 1:] = part.matrix[:, :1] + 1e-5 * part.matrix[:, 1:]
    streams = [AutoAccumulator(5, 2, method=m).add(p) for m, p in zip(methods, parts, strict=True)]
    merged = streams[0].merge(streams[1]).finish(Prior(0.1))
    whole = choose(Rows.joined(parts), Prior(0.1))
    G = np.random.default_rng(1).normal(size=(5, 5))
    np.testing.assert_allclose(merged.quad(G), whole.quad(G), rtol=1e-8)
    np.testing.assert_allclose(merged.solution.coef, whole.solution.coef, atol=1e-7)


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0), (4, 3)])
@pytest.mark.parametrize("n_rhs", [0, 2])
def test_blas_is_not_asked_for_products_of_nothing(shape, n_rhs, capfd):
    rows = Rows(np.ones(shape), rhs=np.ones((shape[0], n_rhs)))
    choose(rows, Prior(1.0))
    GramAccumulator(shape[1], n_rhs).add(rows).finish(Prior(1.0))
    assert capfd.readouterr() == ("", "")
