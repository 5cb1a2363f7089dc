"""Rows: blocks, lazy rows, samples of several rows, linear combinations."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from oracle import exact_group_loo

from skrigidity.hessian import (
    METHODS,
    AlphaPath,
    AutoAccumulator,
    DualFactor,
    KernelRows,
    LazyRows,
    Prior,
    Rows,
    choose,
    leave_out,
)


def stacked(seed=0, n=60, d=5, groups=True):
    """Rows of several kinds: weights, half of them zero-free, mixed flags, three a sample."""
    rng = np.random.default_rng(seed)
    return Rows(
        rng.normal(size=(n, d)) + 1,
        weight=rng.uniform(0.2, 2, n) * (np.arange(n) % 11 > 0),
        intercept=np.arange(n) % 3 == 0,
        rhs=rng.normal(size=(n, 2)),
        groups=np.arange(n) // 3 if groups else None,
    )


def lazy(rows, step=7):
    """The same rows, made in blocks of a few; counts how often they were."""

    def blocks():
        calls.append(1)
        for start in range(0, len(rows), step):
            yield rows[start : start + step]

    calls: list[int] = []
    out = LazyRows(
        blocks,
        n_rows=len(rows),
        n_features=rows.n_features,
        n_rhs=rows.n_rhs,
        has_intercept=rows.has_intercept,
    )
    return out, calls


def queries(rows, seed=9):
    G = np.random.default_rng(seed).normal(size=(8, rows.n_features))
    return Rows(G, intercept=(np.arange(8) % 2) * rows.has_intercept)


# -- blocks -------------------------------------------------------------------------------------


@pytest.mark.parametrize("convert", [np.asarray, sp.csr_array, np.float32])
@pytest.mark.parametrize("columns", [None, [0, 3]])
def test_blocks_are_rows_in_order(convert, columns):
    X = np.random.default_rng(0).integers(-5, 6, (300, 4)).astype(float)
    rows = Rows(convert(X), intercept=np.arange(300) % 2, rhs=X[:, 0], columns=columns)
    blocks = list(rows.blocks(entries=400))
    assert [len(block) for block in blocks] == [100, 100, 100]
    expected = X.copy()
    if columns:
        expected[:, [1, 2]] = 0.0
    assert_array_equal(np.vstack([block.dense() for block in blocks]), expected)
    copied = blocks[1].dense(copy=True)
    assert_array_equal(copied, expected[100:200])
    assert not np.shares_memory(copied, rows.matrix)
    again = Rows.joined(blocks)
    assert_array_equal(again.dense(), expected)
    assert_array_equal(again.intercept, rows.intercept)
    assert_array_equal(again.rhs, rows.rhs)


def test_blocks_of_dense_rows_are_views():
    rows = Rows(np.zeros((300, 4)))
    for block in rows.blocks(entries=400):
        assert np.shares_memory(block.dense(), rows.matrix)


def test_joined_rows_keep_weights_and_drop_groups_that_some_lack():
    joined = Rows.joined([Rows(np.eye(2), weight=2.0, groups=[0, 1]), Rows(np.ones((1, 2)))])
    assert_array_equal(joined.weight, [2, 2, 1])
    assert joined.groups is None
    different = Rows.joined([Rows(np.ones((1, 2)), columns=[0]), Rows(np.ones((1, 2)))])
    assert_array_equal(different.dense(), [[1, 0], [1, 1]])


@pytest.mark.parametrize("make", [lambda rows: rows, lambda rows: lazy(rows)[0]])
def test_combinations_and_predictions(make):
    rows = stacked()
    W = np.random.default_rng(1).normal(size=(3, len(rows)))
    combined = make(rows).combined(W)
    assert_allclose(combined.matrix, W @ rows.matrix)
    assert_allclose(combined.intercept, W @ rows.intercept)
    coef, offset = np.ones((5, 2)), np.array([1.0, 2.0])
    expected = rows.matrix @ coef + np.outer(rows.intercept, offset)
    assert_allclose(make(rows).times(coef, offset), expected)


# -- lazy rows ----------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shape", [(60, 5), (12, 30)])
def test_lazy_rows_are_stacked_rows(method, shape):
    rows = stacked(1, *shape)
    late, calls = lazy(rows)
    factor, other = choose(rows, Prior(0.3), method=method), choose(late, Prior(0.3), method=method)
    assert len(calls) == 1
    asked = queries(rows)
    assert_allclose(other.quad(asked), factor.quad(asked), rtol=1e-11)
    assert_allclose(other.solution.coef, factor.solution.coef, atol=1e-11)
    assert_allclose(other.solution.intercept, factor.solution.intercept, atol=1e-11)
    stream = AutoAccumulator(rows.n_features, 2, method=method).add(late).finish(Prior(0.3))
    assert_allclose(stream.quad(asked), factor.quad(asked), rtol=1e-11)
    assert_allclose(factor.quad(late), factor.quad(rows), rtol=1e-12)
    assert_allclose(factor.whiten(late), factor.whiten(rows), atol=1e-12)
    assert_allclose(factor.cross(late, asked), factor.cross(rows, asked), atol=1e-12)
    after, expected = factor.update(late), factor.update(rows)
    assert after.solution is None
    assert_allclose(after.quad(asked), expected.quad(asked), rtol=1e-10)
    twice = choose(Rows.joined([rows, rows]), Prior(0.3), method=method)
    assert_allclose(after.quad(asked), twice.quad(asked), rtol=1e-10)


@pytest.mark.parametrize("shape", [(60, 5), (12, 30)])
def test_lazy_rows_are_left_out_like_stacked_rows(shape):
    rows = stacked(2, *shape)
    left, expected = leave_out(lazy(rows)[0], Prior(0.3)), leave_out(rows, Prior(0.3))
    assert_allclose(left.quad, expected.quad, rtol=1e-10)
    assert_allclose(left.residual, expected.residual, atol=1e-10)


@pytest.mark.parametrize("shape", [(60, 5), (12, 30)])
def test_paths_of_lazy_rows(shape):
    rows = stacked(3, *shape, groups=False).seen()
    alphas = np.array([0.1, 10.0])
    left, expected = (
        AlphaPath(r, None, 0.1).leave_out(alphas, units=False) for r in (lazy(rows)[0], rows)
    )
    assert_allclose(left.quad, expected.quad, rtol=1e-10)
    assert_allclose(left.residual, expected.residual, atol=1e-10)


def test_interleaved_groups_of_lazy_rows():
    """Lazy rows come in ascending order, whatever the order they are asked for in."""
    rows, labels, alphas = stacked(5, groups=False).seen(), np.arange(60) % 7, np.array([0.1, 10.0])
    labels = labels[: len(rows)]
    found = [leave_out(r, Prior(0.3), labels) for r in (lazy(rows)[0], rows)]
    found += [
        AlphaPath(r, None, 0.1).leave_out(alphas, labels, units=False)
        for r in (lazy(rows)[0], rows)
    ]
    for left, expected in (found[:2], found[2:]):
        assert_allclose(left.quad, expected.quad, rtol=1e-10)
        assert_allclose(left.residual, expected.residual, atol=1e-10)


def test_lazy_rows_come_in_the_order_asked_for():
    matrix = np.arange(12.0).reshape(6, 2)
    rows = LazyRows(lambda: (Rows(part) for part in np.split(matrix, 3)), n_rows=6, n_features=2)
    for key in ([4, 0, 3], [5, 5], slice(1, 4), matrix[:, 0] > 5):
        assert_array_equal(rows[key].matrix, matrix[key])


def test_lazy_rows_know_what_is_small_and_masks():
    rows = stacked(4)
    late, calls = lazy(rows)
    assert (len(late), late.n_features, late.n_rhs, late.has_intercept) == (60, 5, 2, True)
    assert not calls
    for name in ("weight", "intercept", "rhs", "groups"):
        assert_array_equal(getattr(late, name), getattr(rows, name))
    assert len(calls) == 1
    assert not hasattr(late, "matrix")
    mask = np.arange(60) % 5 == 0
    for part in (late.kept(mask), late[mask], late[np.flatnonzero(mask)]):
        assert_array_equal(Rows.joined(part.blocks()).dense(), rows.matrix[mask])
    assert late.seen() is late


def test_lazy_rows_that_break_their_promise():
    good = Rows(np.eye(3))
    short = LazyRows(lambda: iter([good]), n_rows=4, n_features=3)
    with pytest.raises(ValueError, match="add up to 4 rows, got 3"):
        choose(short, Prior(1.0), method="qr")
    wide = LazyRows(lambda: iter([good]), n_rows=3, n_features=2)
    with pytest.raises(ValueError, match="2 features"):
        choose(wide, Prior(1.0), method="qr")


# -- samples of several rows --------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(60, 5), (13, 5), (12, 30)])
@pytest.mark.parametrize("alpha", [0.3, 1e-8])
def test_samples_are_left_out_whole(shape, alpha):
    """Against refits without each sample; labels of a call override the rows' own."""
    rows = stacked(5, *shape)
    rows = rows.seen()
    left = leave_out(rows, Prior(alpha))
    problem = {"alpha": alpha, "weight": rows.weight, "intercept": rows.intercept}
    residual, rigidity = exact_group_loo(rows.matrix, rows.rhs, rows.groups, **problem)
    with np.errstate(divide="ignore"):
        assert_allclose(left.quad, 1 / rigidity, rtol=1e-7)
    assert_allclose(left.residual, residual, rtol=1e-6, atol=1e-7)
    other = leave_out(rows, Prior(alpha), np.arange(len(rows)))
    alone = leave_out(
        Rows(rows.matrix, weight=rows.weight, intercept=rows.intercept, rhs=rows.rhs), Prior(alpha)
    )
    assert_array_equal(other.quad, alone.quad)


# -- kernels ------------------------------------------------------------------------------------


class LazyKernelRows(KernelRows):
    """Made two at a time."""

    def blocks(self):
        for start in range(0, len(self), 2):
            part = slice(start, start + 2)
            yield KernelRows(self.train[part], self.diagonal[part])


def test_kernel_rows():
    rng = np.random.default_rng(7)
    X, G = rng.normal(size=(9, 4)), rng.normal(size=(5, 4))
    dual, primal = DualFactor(X @ X.T, 0.5), choose(X, Prior(0.5))
    rows = KernelRows(G @ X.T, np.sum(G**2, axis=1), among=G @ G.T)
    z = dual.whiten(rows)
    assert_allclose(z, z.T)
    assert_allclose(z @ z.T, primal.cross(G, G), atol=1e-12)
    late = LazyKernelRows(rows.train, rows.diagonal)
    assert_allclose(dual.quad(late), primal.quad(G), rtol=1e-9)
    y = rng.normal(size=(9, 2))
    coef = choose(Rows(X, rhs=y), Prior(0.5)).solution.coef
    assert_allclose(rows.train @ dual.solve(y), G @ coef, atol=1e-12)
    with pytest.raises(ValueError, match="among"):
        dual.whiten(late)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Rows(np.eye(2), groups=[0]), "groups must have shape"),
        (lambda: Rows(np.eye(2, dtype=complex)), "real numbers"),
        (lambda: Rows(np.eye(2), weight=[1.0, np.inf]), "finite"),
        (lambda: AutoAccumulator(2, method="lu"), "method must be one of"),
    ],
)
def test_errors_name_their_cause(call, message):
    with pytest.raises(ValueError, match=message):
        call()
