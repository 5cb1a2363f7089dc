"""Equal to scikit-matter where that is accurate, right where it is not."""

import importlib.util

import numpy as np
import pytest
from numpy.testing import assert_allclose
from oracle import exact_quad

from skrigidity import Environments, RigidRidge
from skrigidity.metrics import (
    componentwise_prediction_rigidity,
    local_prediction_rigidity,
    prediction_rigidity,
)

pytestmark = pytest.mark.peers("skmatter")

if importlib.util.find_spec("skmatter") is not None:
    import skmatter.metrics as peer


def random_structures(seed, n, d, sizes=(1, 7)):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal((rng.integers(*sizes), d)) + 0.3 for _ in range(n)]


def grouped(X, size=5):
    """Environments in the order of the data set, as structures of `size`."""
    return [X[i : i + size] for i in range(0, len(X), size)]


def csd():
    from skmatter.datasets import load_csd_1000r

    return grouped(load_csd_1000r().data.X)


def methane(key):
    from skmatter.datasets import load_degenerate_CH4_manifold

    return grouped(load_degenerate_CH4_manifold().data[key][:200])


DATA = {
    "more structures than features": lambda: random_structures(0, 40, 9),
    "fewer structures than features": lambda: random_structures(1, 12, 30),
    "one environment each": lambda: random_structures(2, 20, 6, sizes=(1, 2)),
    "CSD-1000r": csd,
    "methane, power spectrum": lambda: methane("SOAP_power_spectrum"),
    "methane, bispectrum": lambda: methane("SOAP_bispectrum"),
}


@pytest.fixture(params=list(DATA))
def train_and_test(request):
    X = DATA[request.param]()
    return X[::2], X[1::2]


def scale(X):
    """What scikit-matter divides all features by."""
    return np.sqrt((np.vstack(X) ** 2).mean(axis=0).sum())


def exact(X_train, rows, alpha):
    """R of environments, from the oracle."""
    unit = scale(X_train)
    means = np.array([x.mean(axis=0) for x in X_train]) / unit
    with np.errstate(divide="ignore"):
        return 1 / exact_quad(means, np.atleast_2d(rows) / unit, alpha=alpha)


# -- equal where scikit-matter is accurate -----------------------------------------------------


@pytest.mark.parametrize(("alpha", "rtol"), [(1.0, 1e-10), (1e-2, 1e-9), (1e-5, 1e-7)])
def test_local_rigidity_equals_scikit_matter(train_and_test, alpha, rtol):
    X_train, X_test = train_and_test
    theirs, their_rank = peer.local_prediction_rigidity(X_train, X_test, alpha)
    ours, rank = local_prediction_rigidity(X_train, X_test, alpha)
    assert type(ours) is type(theirs) is list
    assert len(ours) == len(theirs) == len(X_test)
    for a, b, x in zip(ours, theirs, X_test, strict=True):
        assert a.shape == b.shape == (len(x),)
        assert a.dtype == b.dtype
        assert_allclose(a, b, rtol=rtol)
    assert rank == their_rank
    assert isinstance(rank, int)


@pytest.mark.parametrize(("alpha", "rtol"), [(1.0, 1e-10), (1e-2, 1e-9), (1e-5, 1e-7)])
def test_component_rigidity_equals_scikit_matter(train_and_test, alpha, rtol):
    X_train, X_test = train_and_test
    d = X_train[0].shape[1]
    comp_dims = np.array([1, d // 2, d - 1 - d // 2])
    theirs = peer.componentwise_prediction_rigidity(X_train, X_test, alpha, comp_dims)
    ours = componentwise_prediction_rigidity(X_train, X_test, alpha, comp_dims)
    assert ours[0].shape == theirs[0].shape == (len(X_test), 3)
    assert_allclose(ours[0], theirs[0], rtol=rtol)
    assert type(ours[1]) is type(theirs[1]) is list
    for a, b, x in zip(ours[1], theirs[1], X_test, strict=True):
        assert a.shape == b.shape == (len(x), 3)
        assert_allclose(a, b, rtol=rtol)
    assert ours[2] == theirs[2]
    assert isinstance(ours[2], int)


@pytest.mark.parametrize("solver", ["auto", "cholesky", "qr", "spectral"])
def test_RigidRidge_equals_scikit_matter(train_and_test, solver):
    """Without intercept, on means, with the features scaled likewise."""
    X_train, X_test = train_and_test
    alpha, unit = 1e-2, scale(X_train)
    model = RigidRidge(alpha, fit_intercept=False, solver=solver)
    model.fit([x / unit for x in X_train], np.arange(len(X_train)))
    scaled = [x / unit for x in X_test]
    theirs, _ = peer.local_prediction_rigidity(X_train, X_test, alpha)
    assert_allclose(np.concatenate(model.local_rigidity(scaled)), np.concatenate(theirs), rtol=1e-9)

    d = X_train[0].shape[1]
    sizes = [d - 2, 2]
    CPR, LCPR, _ = peer.componentwise_prediction_rigidity(X_train, X_test, alpha, np.array(sizes))
    assert_allclose(model.component_rigidity(scaled, sizes), CPR, rtol=1e-9)
    local = model.component_rigidity(scaled, sizes, level="local")
    assert_allclose(np.vstack(local), np.vstack(LCPR), rtol=1e-9)

    whole, _, _ = peer.componentwise_prediction_rigidity(X_train, X_test, alpha, np.array([d]))
    assert_allclose(prediction_rigidity(model, scaled), whole[:, 0], rtol=1e-9)


@pytest.mark.parametrize("alpha", [1e-2, 1e-8, 1e-20])
def test_rank_deficit_equals_scikit_matter(alpha):
    X = random_structures(3, 6, 10)
    for x in X:
        x[:, [1, 4]] = 0.0
    _, theirs = peer.local_prediction_rigidity(X, X, alpha)
    _, ours = local_prediction_rigidity(X, X, alpha)
    assert ours == theirs == (4 if alpha == 1e-20 else 0)


def test_other_containers_give_the_same():
    X = list(np.random.default_rng(4).standard_normal((8, 3, 5)))
    expected, _ = peer.local_prediction_rigidity(X, X, 0.1)
    for same in (tuple(X), np.array(X), Environments.from_arrays(X)):
        ours, _ = local_prediction_rigidity(same, same, 0.1)
        assert_allclose(ours, expected, rtol=1e-10)
    single = [x.astype(np.float32) for x in X]
    assert_allclose(local_prediction_rigidity(single, single, 0.1)[0], expected, rtol=1e-5)


# -- right where scikit-matter is not ----------------------------------------------------------


def unseen_direction():
    """Structures in a subspace, and an environment with a part outside of it."""
    rng = np.random.default_rng(0)
    basis = rng.standard_normal((3, 40))
    X_train = [rng.standard_normal((4, 3)) @ basis for _ in range(30)]
    return X_train, rng.standard_normal((2, 40))


def test_direction_unseen():
    X_train, new = unseen_direction()
    alpha = 1e-12
    expected = exact(X_train, new, alpha)
    assert (expected < 1e-10).all()
    ours, _ = local_prediction_rigidity(X_train, [new], alpha)
    assert_allclose(ours[0], expected, rtol=1e-8)
    unit = scale(X_train)
    model = RigidRidge(alpha, fit_intercept=False)
    model.fit([x / unit for x in X_train], np.zeros(len(X_train)))
    assert_allclose(model.local_rigidity([new / unit])[0], expected, rtol=1e-8)


@pytest.mark.parametrize("alpha", [1e-15, 1e-16, 1e-20])
def test_tiny_regularizer(alpha):
    """scikit-matter's pseudo-inverse drops what only the regularizer pins."""
    X_train, new = unseen_direction()
    expected = exact(X_train, new, alpha)
    theirs, _ = peer.local_prediction_rigidity(X_train, [new], alpha)
    ours, _ = local_prediction_rigidity(X_train, [new], alpha)
    assert (np.abs(theirs[0] / expected - 1) > 1e-3).all()
    assert_allclose(ours[0], expected, rtol=1e-8)


def test_unseen_beside_many_structures():
    """The pseudo-inverse cuts off at 1e-15 of the largest eigenvalue, here above alpha."""
    rng = np.random.default_rng(7)
    X_train = [np.append(1.0, 1e-2 * rng.standard_normal(3))[None] for _ in range(2000)]
    X_train = [np.hstack([x, [[0.0]]]) for x in X_train]
    new, alpha = np.eye(5)[-1:], 1e-12
    expected = exact(X_train, new, alpha)
    assert expected < 2e-12
    theirs, _ = peer.local_prediction_rigidity(X_train, [new + 1e-9], alpha)
    ours, _ = local_prediction_rigidity(X_train, [new], alpha)
    assert theirs[0] > 1
    assert_allclose(ours[0], expected, rtol=1e-10)


def test_direction_unseen_by_design():
    """Structures whose means miss a direction that their environments have."""
    X_train = [np.array([[1.0, 1.0], [1.0, -1.0]]), np.array([[2.0, 3.0], [2.0, -3.0]])]
    new = np.array([[0.0, 1.0]])
    alpha = 1e-12
    unit = scale(X_train)
    ours, _ = local_prediction_rigidity(X_train, [new], alpha)
    assert_allclose(ours[0], [alpha * unit**2], rtol=1e-14)
    assert_allclose(ours[0], exact(X_train, new, alpha), rtol=1e-14)


def test_zero_row():
    X = random_structures(5, 10, 4)
    X[0][0] = 0.0
    with pytest.raises(ZeroDivisionError):
        peer.local_prediction_rigidity(X, X[:1], 0.1)
    ours, _ = local_prediction_rigidity(X, X[:1], 0.1)
    assert ours[0][0] == np.inf
    assert_allclose(ours[0][1:], exact(X, X[0][1:], 0.1), rtol=1e-10)


def test_vanishing_component():
    X = random_structures(6, 10, 4)
    X[0][:, :2] = 0.0
    CPR, LCPR, _ = componentwise_prediction_rigidity(X, X[:1], 0.1, np.array([2, 2]))
    assert (CPR[:, 0] == np.inf).all()
    assert (LCPR[0][:, 0] == np.inf).all()
    assert np.isfinite(CPR[:, 1]).all()
    assert np.isfinite(LCPR[0][:, 1]).all()


def test_components_with_tiny_regularizer():
    X_train, new = unseen_direction()
    alpha, sizes = 1e-16, np.array([15, 25])
    CPR, LCPR, _ = componentwise_prediction_rigidity(X_train, [new], alpha, sizes)
    theirs, _, _ = peer.componentwise_prediction_rigidity(X_train, [new], alpha, sizes)
    for k, columns in enumerate((slice(0, 15), slice(15, 40))):
        masked = np.zeros((3, 40))
        masked[:, columns] = np.vstack([new.mean(axis=0), new])[:, columns]
        expected = exact(X_train, masked, alpha)
        assert_allclose(CPR[0, k], expected[0], rtol=1e-8)
        assert_allclose(LCPR[0][:, k], expected[1:], rtol=1e-8)
        assert abs(theirs[0, k] / expected[0] - 1) > 1e-3
