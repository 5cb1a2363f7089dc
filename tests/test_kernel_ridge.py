"""RigidKernelRidge: conventions, reductions to scikit-learn and to features, structures, LOO."""

import pickle

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from oracle import exact_quad
from scipy.linalg import LinAlgWarning
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import (
    RBF,
    ConstantKernel,
    DotProduct,
    ExpSineSquared,
    Matern,
    PairwiseKernel,
    RationalQuadratic,
    WhiteKernel,
)
from sklearn.kernel_approximation import Nystroem
from sklearn.kernel_ridge import KernelRidge
from sklearn.metrics.pairwise import PAIRWISE_KERNEL_FUNCTIONS, pairwise_kernels
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_predict, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from skrigidity import Environments, PerEnvironment, RigidRidge
from skrigidity.gradients import kernel_sums
from skrigidity.gradients.kernel import PointQuery
from skrigidity.kernel_ridge import KernelRows, RigidKernelRidge


@parametrize_with_checks([RigidKernelRidge()])
def test_check_estimator(estimator, check):
    check(estimator)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def data(rng):
    X = rng.standard_normal((40, 4))
    y = np.sin(X @ rng.standard_normal((4, 3))) + 0.1 * rng.standard_normal((40, 3))
    return X, y


@pytest.fixture
def structures(rng):
    X = [rng.standard_normal((rng.integers(1, 6), 4)) for _ in range(30)]
    y = np.array([np.sin(x).mean(axis=0) @ [1.0, -2.0, 0.5, 0.0] for x in X])
    return X, y + 0.05 * rng.standard_normal(30)


def rbf(a, b, gamma=0.3):
    return np.exp(-gamma * ((a - b) ** 2).sum())


def explicit_kernel(function, X, Z, aggregate):
    """The kernel of structures, pair by pair."""
    reduce = getattr(np, aggregate)
    return np.array([[reduce([[function(a, b) for b in z] for a in x]) for z in Z] for x in X])


def quadratic_features(X):
    """Features whose dot product is ``(x.T y + 1)**2``."""
    d = X.shape[1]
    pairs = [
        (1.0 if i == j else np.sqrt(2)) * X[:, i] * X[:, j] for i in range(d) for j in range(i, d)
    ]
    return np.column_stack([np.ones(len(X)), np.sqrt(2) * X, *pairs])


# -- reductions -------------------------------------------------------------------------------


@pytest.mark.parametrize("kernel", sorted(PAIRWISE_KERNEL_FUNCTIONS))
def test_predictions_equal_kernel_ridge(data, rng, kernel):
    X, y = np.abs(data[0]), data[1]
    weight = rng.uniform(0.3, 2, 40)
    # Not all are positive semi-definite: a large alpha makes up for it.
    alpha = 200.0 if kernel in ("additive_chi2", "sigmoid") else 0.2
    params = {"kernel": kernel, "gamma": 0.3, "degree": 2, "coef0": 0.5}
    ours = RigidKernelRidge(alpha, calibration=None, **params).fit(X[:30], y[:30], weight[:30])
    theirs = KernelRidge(alpha=alpha, **params).fit(X[:30], y[:30], weight[:30])
    assert_allclose(ours.predict(X), theirs.predict(X), rtol=1e-9, atol=1e-10)
    assert_allclose(ours.dual_coef_, theirs.dual_coef_, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("kernel", [rbf, Matern(0.7, nu=2.5), RBF(1.3) + WhiteKernel(0.2)])
def test_callable_kernels(data, kernel):
    X, y = data
    params = {"kernel": kernel, "kernel_params": {"gamma": 0.5} if kernel is rbf else None}
    ours = RigidKernelRidge(0.1, **params).fit(X[:30], y[:30, 0])
    theirs = KernelRidge(alpha=0.1, **params).fit(X[:30], y[:30, 0])
    assert_allclose(ours.predict(X), theirs.predict(X), rtol=1e-9)
    if kernel is rbf:
        named = RigidKernelRidge(0.1, kernel="rbf", gamma=0.5).fit(X[:30], y[:30, 0])
        assert_allclose(ours.prediction_rigidity(X), named.prediction_rigidity(X))


GP_KERNELS = [
    RBF(1.5),
    Matern(0.8, nu=0.5),
    Matern(2.0, nu=1.5),
    RationalQuadratic(1.2, 0.7),
    ExpSineSquared(3.0, 2.0),
    DotProduct(0.7),
    DotProduct(1.0) ** 2,
    2.5 * RBF(0.8) + ConstantKernel(0.3) * DotProduct(0.5),
    PairwiseKernel(gamma=0.4, metric="laplacian"),
]


@pytest.mark.parametrize("alpha", [1e-2, 1e-5])
@pytest.mark.parametrize("kernel", GP_KERNELS, ids=str)
def test_rigidity_is_the_posterior_variance_of_a_gaussian_process(data, kernel, alpha):
    X, y = data
    if isinstance(kernel, ExpSineSquared):  # positive definite in one dimension only
        X = X[:, :1]
    process = GaussianProcessRegressor(kernel, alpha=alpha, optimizer=None).fit(X[:25], y[:25, 0])
    model = RigidKernelRidge(alpha, kernel=kernel).fit(X[:25], y[:25, 0])
    mean, std = process.predict(X, return_std=True)
    cov = process.predict(X, return_cov=True)[1]
    assert_allclose(model.predict(X), mean, rtol=1e-6, atol=1e-8)
    largest = kernel.diag(X).max()
    assert_allclose(alpha / model.prediction_rigidity(X), std**2, rtol=0, atol=1e-8 * largest)
    model.scale_, model.noise_variance_ = alpha, 0.0
    assert_allclose(model.predict(X, return_cov=True)[1], cov, atol=1e-8 * largest)


@pytest.mark.parametrize(
    ("name", "params", "kernel"),
    [
        ("rbf", {"gamma": 0.5}, RBF(1.0)),
        ("laplacian", {"gamma": 0.4}, PairwiseKernel(gamma=0.4, metric="laplacian")),
        ("poly", {"gamma": 1.0, "degree": 2, "coef0": 1.0}, DotProduct(1.0) ** 2),
        ("linear", {}, DotProduct(0.0, "fixed")),
    ],
)
def test_named_kernels_against_the_gaussian_process(data, name, params, kernel):
    X, y = data
    weight = np.linspace(0.5, 2, 25)
    process = GaussianProcessRegressor(kernel, alpha=0.1 / weight, optimizer=None)
    process.fit(X[:25], y[:25, 0])
    model = RigidKernelRidge(0.1, kernel=name, **params).fit(X[:25], y[:25, 0], weight)
    variance = process.predict(X, return_std=True)[1] ** 2
    assert_allclose(0.1 / model.prediction_rigidity(X), variance, atol=1e-8 * kernel.diag(X).max())
    assert_allclose(np.abs(model.hessian_.root), np.abs(process.L_.T))


@pytest.mark.parametrize("alpha", [1.0, 1e-3, [0.1, 1.0, 10.0]])
@pytest.mark.parametrize("shape", [(40, 4), (15, 40)])
def test_linear_kernel_is_ridge(rng, alpha, shape):
    """Primal = dual, to the digits that a difference of kernels leaves."""
    X, y = rng.standard_normal(shape), rng.standard_normal((shape[0], 3))
    weight, new = rng.uniform(0.5, 2, shape[0]), rng.standard_normal((12, shape[1]))
    primal = RigidRidge(alpha, fit_intercept=False).fit(X, y, weight)
    dual = RigidKernelRidge(alpha, components=[2, shape[1] - 2]).fit(X, y, weight)
    rtol = max(1e-9, dual.hessian_.info.accuracy)
    assert rtol < 1e-8
    assert_allclose(dual.predict(new), primal.predict(new), rtol=1e-8, atol=1e-10)
    for name in ("noise_variance_", "effective_dof_", "scale_"):
        assert_allclose(getattr(dual, name), getattr(primal, name), rtol=1e-8)
    for points in (new, X):
        assert_allclose(
            dual.prediction_rigidity(points), primal.prediction_rigidity(points), rtol=rtol
        )
    columns = [2, shape[1] - 2]
    assert_allclose(
        dual.component_rigidity(new), primal.component_rigidity(new, columns), rtol=rtol
    )
    assert_allclose(dual.predict_components(new), primal.predict_components(new, columns))
    W = rng.standard_normal((2, 12))
    assert_allclose(
        dual.combination_rigidity(new, W), primal.combination_rigidity(new, W), rtol=rtol
    )
    extra = rng.uniform(0, 2, 12) * (np.arange(12) > 1)
    assert_allclose(
        dual.rigidity_with(X, new, extra), primal.rigidity_with(X, new, extra), rtol=rtol
    )
    assert_allclose(
        dual.predict(new, return_cov=True)[1], primal.predict(new, return_cov=True)[1], atol=1e-9
    )


@pytest.mark.parametrize("aggregate", ["mean", "sum"])
@pytest.mark.parametrize("kernel", ["linear", DotProduct(0.0, "fixed")], ids=str)
def test_linear_kernel_of_structures_is_ridge(structures, aggregate, kernel):
    X, y = structures
    primal = RigidRidge(0.2, fit_intercept=False, aggregate=aggregate).fit(X, y)
    dual = RigidKernelRidge(0.2, kernel=kernel, aggregate=aggregate).fit(X, y)
    for method in ("predict", "prediction_rigidity"):
        assert_allclose(getattr(dual, method)(X), getattr(primal, method)(X), rtol=1e-9, atol=1e-12)
    for method in ("predict_local", "local_rigidity"):
        ours, theirs = getattr(dual, method)(X), getattr(primal, method)(X)
        assert [len(v) for v in ours] == [len(x) for x in X]
        assert_allclose(np.concatenate(ours), np.concatenate(theirs), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("aggregate", ["mean", "sum"])
def test_polynomial_kernel_is_its_feature_space(structures, aggregate):
    """Global, local and leave-one-out rigidities are those of the explicit features."""
    X, y = structures
    explicit = [quadratic_features(x) for x in X]
    primal = RigidRidge(0.3, fit_intercept=False, aggregate=aggregate).fit(explicit, y)
    model = RigidKernelRidge(0.3, kernel="poly", degree=2, gamma=1.0, aggregate=aggregate)
    model.fit(X, y)
    assert model.hessian_.info.accuracy < 1e-10
    local = np.concatenate(model.local_rigidity(X))
    assert_allclose(local, np.concatenate(primal.local_rigidity(explicit)), rtol=1e-9)
    F = np.array([getattr(x, aggregate)(axis=0) for x in explicit])
    assert_allclose(local[:9], 1 / exact_quad(F, np.vstack(explicit)[:9], alpha=0.3), rtol=1e-9)
    assert_allclose(model.prediction_rigidity(X), primal.prediction_rigidity(explicit), rtol=1e-9)
    ours, theirs = model.leave_one_out(X, y), primal.leave_one_out(explicit, y)
    assert_allclose(ours.residual, theirs.residual, rtol=1e-8)
    assert_allclose(ours.rigidity, theirs.rigidity, rtol=1e-8)


def test_nystroem_and_ridge_converge_to_the_full_kernel(structures):
    """The recipe for large sets."""
    X, y = structures
    new, n = X[:5], sum(len(x) for x in X)
    full = RigidKernelRidge(0.1, kernel="rbf", gamma=0.2).fit(X, y)
    errors = []
    for n_components in (5, 20, 60, n):
        nystroem = Nystroem(kernel="rbf", gamma=0.2, n_components=n_components, random_state=0)
        model = make_pipeline(
            PerEnvironment(nystroem), RigidRidge(0.1, fit_intercept=False, solver="spectral")
        ).fit(X, y)
        features = model[:-1].transform(new)
        R = model[-1].prediction_rigidity(features)
        local = np.concatenate(model[-1].local_rigidity(features))
        errors.append(
            [
                np.abs(model.predict(new) - full.predict(new)).max(),
                np.abs(R / full.prediction_rigidity(new) - 1).max(),
                np.abs(local / np.concatenate(full.local_rigidity(new)) - 1).max(),
            ]
        )
    errors = np.array(errors)
    assert (np.diff(errors, axis=0) < 0).all()
    assert (errors[2, :2] < 0.05).all()
    assert (errors[-1] < 1e-6).all()


# -- structures -------------------------------------------------------------------------------


@pytest.mark.parametrize("aggregate", ["mean", "sum"])
@pytest.mark.parametrize(
    "kernel",
    ["rbf", "laplacian", "poly", "cosine", rbf, RBF(1.2)],
    ids=lambda kernel: getattr(kernel, "__name__", str(kernel)),
)
def test_kernel_of_structures(structures, aggregate, kernel):
    X, y = structures

    def function(a, b):
        return pairwise_kernels(a[None], b[None], metric=kernel)[0, 0]

    model = RigidKernelRidge(0.1, kernel=kernel, aggregate=aggregate).fit(X[:12], y[:12])
    K = explicit_kernel(function, X[:16], X[:12], aggregate)
    rows = model.gradients_.rows(Environments.from_arrays(X[:16]))
    assert_allclose(model.hessian_.kernel, K[:12], rtol=1e-12)
    assert_allclose(rows.train, K, rtol=1e-12)
    whole = explicit_kernel(function, X[:16], X[:16], aggregate)
    assert_allclose(rows.diagonal, np.diag(whole), rtol=1e-12)
    assert_allclose(rows.among_of(slice(2, 5)), whole[2:5], rtol=1e-12)
    local = model.gradients_.rows(Environments.from_arrays(X[:2]), "local")
    rows = [[x] for x in np.vstack(X[:2])]
    expected = explicit_kernel(function, rows, X[:12], aggregate)
    assert_allclose(local.train, expected, rtol=1e-12)
    summed = getattr(np, aggregate)(model.predict_local(X)[3])
    assert_allclose(summed, model.predict(X)[3])


@pytest.mark.parametrize("large", [False, True])
def test_blocks_are_bounded(rng, monkeypatch, large):
    """Never all pairs of environments at once, not even of one structure."""
    sizes = [700, 3] if large else [7] * 90
    X = [rng.standard_normal((m, 2)) for m in sizes]
    y = rng.standard_normal(len(X))
    plain = RigidKernelRidge(0.1, kernel="rbf", calibration=None).fit(X, y)
    expected = plain.prediction_rigidity(X), plain.local_rigidity(X), plain.predict(X)
    shapes = []
    original = kernel_sums.pairwise_kernels

    def recording(a, b=None, **kwargs):
        K = original(a, b, **kwargs)
        shapes.append(K.shape)
        return K

    monkeypatch.setattr(kernel_sums, "pairwise_kernels", recording)
    monkeypatch.setattr(kernel_sums, "_HEIGHT", 50)
    monkeypatch.setattr(kernel_sums, "_WIDTH", 80)
    model = RigidKernelRidge(0.1, kernel="rbf", calibration=None).fit(X, y)
    found = model.prediction_rigidity(X), model.local_rigidity(X), model.predict(X)
    assert max(a for a, _ in shapes) <= 64
    assert max(b for _, b in shapes) <= 80
    for ours, theirs in zip(found, expected, strict=True):
        assert_allclose(np.hstack(ours), np.hstack(theirs), rtol=1e-9)


def test_rows_in_blocks(rng, monkeypatch):
    """Many rows are seen a block at a time, whatever is asked of them."""
    X, y = rng.standard_normal((30, 3)), rng.standard_normal(30)
    new = rng.standard_normal((500, 3))
    model = RigidKernelRidge(0.1, kernel="rbf").fit(X, y)
    mean, std = model.predict(new, return_std=True)
    R = model.prediction_rigidity(new)
    combined = model.combination_rigidity(new, np.ones(500))
    monkeypatch.setattr("skrigidity.gradients.kernel.block_rows", lambda n, entries: 64)
    shapes = []
    original = PointQuery.train_of

    def train_of(self, piece):
        K = original(self, piece)
        shapes.append(K.shape)
        return K

    monkeypatch.setattr(PointQuery, "train_of", train_of)
    assert_allclose(model.predict(new, return_std=True), (mean, std), rtol=1e-12)
    assert_allclose(model.prediction_rigidity(new), R, rtol=1e-12)
    assert_allclose(model.combination_rigidity(new, np.ones(500)), combined, rtol=1e-9)
    assert set(shapes) == {(64, 30), (500 % 64, 30)}


@pytest.mark.parametrize("kind", ["list", "container", "array", "float32"])
def test_forms_of_structures(rng, kind):
    stack = rng.standard_normal((12, 3, 4))
    if kind == "float32":
        stack = stack.astype(np.float32).astype(float)
    forms = {"list": list, "container": Environments.from_arrays, "array": np.asarray}
    X = stack.astype(np.float32) if kind == "float32" else forms[kind](stack)
    y = stack.mean(axis=(1, 2))
    model = RigidKernelRidge(1e-4, kernel="rbf").fit(X, y)
    expected = RigidKernelRidge(1e-4, kernel="rbf").fit(list(stack), y)
    assert_allclose(model.prediction_rigidity(X), expected.prediction_rigidity(X), rtol=1e-9)
    assert len(model.local_rigidity(X)) == 12
    # A structure of a single environment is a row.
    assert_allclose(model.predict(stack[0, :1]), model.predict(stack[:1, :1]))


# -- components -------------------------------------------------------------------------------


@pytest.mark.parametrize("level", ["global", "local"])
def test_components(structures, level):
    X, y = structures
    parameters = {
        "kernel": {"short": "rbf", "long": DotProduct(1.0) ** 2},
        "components": {"short": [0, 1], "long": [1, 2, 3]},
        "gamma": {"short": 0.4},
    }
    model = RigidKernelRidge(0.2, **parameters).fit(X, y)
    assert model.component_names_ == ["short", "long"]

    def kernel(name):
        if name == "short":
            return lambda a, b: rbf(a[:2], b[:2], 0.4)
        return lambda a, b: (a[1:] @ b[1:] + 1) ** 2

    points = X[:5] if level == "global" else [[x] for x in np.vstack(X[:5])]
    inverse = np.linalg.inv(model.hessian_.kernel + 0.2 * np.eye(30))
    total = sum(explicit_kernel(kernel(name), X, X, "mean") for name in ("short", "long"))
    assert_allclose(model.hessian_.kernel, total, rtol=1e-10)
    R = model.component_rigidity(X[:5], level=level)
    parts = model.predict_components(X[:5], level=level)
    if level == "local":
        assert [r.shape for r in R] == [(len(x), 2) for x in X[:5]]
        R, parts = np.concatenate(R), np.concatenate(parts)
        assert_allclose(parts.sum(axis=1), np.concatenate(model.predict_local(X[:5])))
    else:
        assert_allclose(parts.sum(axis=1), model.predict(X[:5]))
    for c, name in enumerate(("short", "long")):
        k = explicit_kernel(kernel(name), points, X, "mean")
        own = np.diag(explicit_kernel(kernel(name), points, points, "mean"))
        variance = own - np.einsum("ij,jk,ik->i", k, inverse, k)
        assert_allclose(0.2 / R[:, c], variance, rtol=1e-9)
        assert_allclose(parts[:, c], k @ model.dual_coef_, rtol=1e-9)
    one = model.component_rigidity(X[:5], ["long"], level=level)
    assert_allclose(np.concatenate(one) if level == "local" else one, R[:, 1:])


def test_components_of_all_columns_and_shared_kernel(data):
    X, y = data
    both = RigidKernelRidge(0.1, kernel={"a": "rbf", "b": "linear"}, gamma=0.3).fit(X, y[:, 0])
    K = pairwise_kernels(X, metric="rbf", gamma=0.3) + X @ X.T
    assert_allclose(both.hessian_.kernel, K)
    shared = RigidKernelRidge(0.1, kernel="rbf", components=[1, 3]).fit(X, y)
    assert shared.component_names_ == ["component0", "component1"]
    K = pairwise_kernels(X[:, :1], metric="rbf") + pairwise_kernels(X[:, 1:], metric="rbf")
    assert_allclose(shared.hessian_.kernel, K)
    assert shared.predict_components(X).shape == (40, 2, 3)
    assert shared.component_rigidity(X).shape == (40, 2)
    linear = RigidKernelRidge(0.1, components=[1, 3]).fit(X, y)
    zero = X * [0, 1, 1, 1]
    assert np.isinf(linear.component_rigidity(zero)[:, 0]).all()


def test_components_by_column_name(data):
    pd = pytest.importorskip("pandas")
    X, y = data
    frame = pd.DataFrame(X, columns=list("abcd"))
    names = {"left": ["a", "b"], "right": ["d"]}
    model = RigidKernelRidge(kernel="rbf", components=names).fit(frame, y)
    by_number = RigidKernelRidge(kernel="rbf", components={"left": [0, 1], "right": [3]}).fit(X, y)
    assert_allclose(model.component_rigidity(frame), by_number.component_rigidity(X))


def test_parameters_by_component(data):
    X, y = data
    model = RigidKernelRidge(kernel={"short": "rbf", "long": RBF(2.0)}, calibration=None)
    params = model.get_params()
    assert params["gamma__short"] is None
    assert params["kernel__long__length_scale"] == 2.0
    copy = clone(model).set_params(
        gamma__short=0.7, kernel__long__length_scale=3.0, degree=2, alpha=0.5
    )
    assert copy.gamma == {"short": 0.7, "long": None}
    assert (copy.kernel["long"].length_scale, model.kernel["long"].length_scale) == (3.0, 2.0)
    assert (copy.alpha, copy.degree) == (0.5, 2)
    by_hand = RigidKernelRidge(0.5, kernel={"short": "rbf", "long": RBF(3.0)}, gamma={"short": 0.7})
    assert_allclose(copy.fit(X, y).predict(X), by_hand.fit(X, y).predict(X))
    # One that replaces the dict and one that reaches into the new one.
    copy.set_params(kernel__deep__nu=0.5, kernel={"deep": Matern()}, gamma=None)
    assert copy.kernel["deep"].nu == 0.5
    with pytest.raises(ValueError, match="Invalid parameter"):
        copy.set_params(gamma__short=1.0)
    callables = RigidKernelRidge(kernel={"a": rbf, "b": rbf}, kernel_params={"a": {"gamma": 2.0}})
    expected = pairwise_kernels(X, metric="rbf", gamma=2.0)
    expected += pairwise_kernels(X, metric="rbf", gamma=0.3)
    assert_allclose(callables.fit(X, y).hessian_.kernel, expected)
    single = RigidKernelRidge(kernel=Matern(1.0)).set_params(kernel__length_scale=2.0)
    assert single.kernel.length_scale == 2.0


def test_grid_search(structures):
    X, y = structures
    model = make_pipeline(
        PerEnvironment(StandardScaler()), RigidKernelRidge(1e-2, kernel={"a": "rbf", "b": "poly"})
    )
    grid = {
        "rigidkernelridge__gamma__a": [0.1, 100.0],
        "rigidkernelridge__kernel__b": ["linear", Matern()],
        "rigidkernelridge__alpha": [1e-2, 1e3],
    }
    for form in (X, Environments.from_arrays(X)):
        search = GridSearchCV(model, grid, cv=3).fit(form, y)
        assert search.best_params_["rigidkernelridge__alpha"] == 1e-2
        assert np.isfinite(search.cv_results_["mean_test_score"]).all()
        inner = search.best_estimator_[-1]
        assert inner.component_rigidity(search.best_estimator_[:-1].transform(X)).shape == (30, 2)
        groups = np.arange(30) // 5
        assert np.isfinite(cross_val_score(model, form, y, groups=groups, cv=GroupKFold(3))).all()


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"components": [2, 3]}, "add up to 5, expected 4"),
        ({"components": {"a": [7]}}, r"columns \[7\]"),
        ({"components": {"a": []}}, "have no columns"),
        ({"components": {"a": [0]}, "kernel": {"b": "rbf"}}, "must name the same components"),
        ({"kernel": {}}, "at least one component"),
        ({"kernel": {"a": "rbf"}, "gamma": {"b": 1.0}}, r"gamma names unknown components \['b'\]"),
        ({"kernel": {"a": "precomputed"}}, "kernel of component 'a' must be"),
        ({"kernel": {"a__b": "rbf"}}, "must not contain '__'"),
        ({"kernel": "precomputed", "components": [4]}, "components must be None"),
        ({"kernel": "gauss"}, "kernel"),
    ],
)
def test_bad_components(data, parameters, message):
    X, y = data
    with pytest.raises(ValueError, match=message):
        RigidKernelRidge(**parameters).fit(X, y)


def test_wrong_component_names(data):
    X, y = data
    with pytest.raises(ValueError, match="this one has no components"):
        RigidKernelRidge().fit(X, y).component_rigidity(X)
    model = RigidKernelRidge(components=[2, 2]).fit(X, y)
    for wrong in (["nope"], "component0"):
        with pytest.raises(ValueError, match="components must be a list of names"):
            model.component_rigidity(X, wrong)
    with pytest.raises(ValueError, match="level"):
        model.component_rigidity(X, level="atomic")


# -- precomputed kernels ----------------------------------------------------------------------


def test_precomputed(data):
    X, y = data
    K = pairwise_kernels(X, metric="rbf", gamma=0.3)
    weight = np.arange(25.0) % 4
    usual = RigidKernelRidge(0.1, kernel="rbf", gamma=0.3).fit(X[:25], y[:25], weight)
    model = RigidKernelRidge(0.1, kernel="precomputed").fit(K[:25, :25], y[:25], weight)
    train, test, new = slice(0, 25), slice(25, 35), slice(35, 40)
    rows = KernelRows(K[test, train], np.ones(10), K[test, test])
    assert_allclose(model.predict(K[test, train]), usual.predict(X[test]))
    for asked in ({"return_std": True}, {"return_cov": True}):
        assert_allclose(model.predict(rows, **asked)[1], usual.predict(X[test], **asked)[1])
    R = usual.prediction_rigidity(X[test])
    assert_allclose(model.prediction_rigidity(rows), R)
    assert_allclose(model.local_rigidity(rows), R)
    assert_allclose(model.predict_local(K[test, train]), usual.predict(X[test]))
    W = np.ones((1, 10))
    assert_allclose(model.combination_rigidity(rows, W), usual.combination_rigidity(X[test], W))
    draws = (m.sample_y(x, 3, random_state=0) for m, x in ((model, rows), (usual, X[test])))
    assert_allclose(*draws, rtol=1e-6)
    left = (
        m.leave_one_out(x, y[train], weight) for m, x in ((model, K[:25, :25]), (usual, X[:25]))
    )
    assert_allclose(*(bunch.rigidity for bunch in left))
    both = KernelRows(np.hstack([K[test, train], K[test, new]]), np.ones(10))
    added = KernelRows(K[new, train], np.ones(5), K[new, new])
    counts = [1.0, 0.0, 2.0, 1.0, 1.0]
    assert_allclose(
        model.rigidity_with(both, added, counts), usual.rigidity_with(X[test], X[new], counts)
    )
    scale = model.calibrate(rows, y[test]).scale_
    assert_allclose(scale, usual.calibrate(X[test], y[test]).scale_)


def test_precomputed_in_cross_validation(data):
    X, y = data
    K = pairwise_kernels(X, metric="rbf", gamma=0.3)
    ours = cross_val_predict(RigidKernelRidge(0.1, kernel="precomputed"), K, y[:, 0], cv=4)
    usual = cross_val_predict(RigidKernelRidge(0.1, kernel="rbf", gamma=0.3), X, y[:, 0], cv=4)
    assert_allclose(ours, usual)


def test_precomputed_errors(data):
    X, y = data
    K = X @ X.T
    model = RigidKernelRidge(kernel="precomputed").fit(K, y)
    assert model.n_features_in_ == 40
    for call in (model.prediction_rigidity, model.local_rigidity):
        with pytest.raises(ValueError, match=r"KernelRows\(X, diagonal\)"):
            call(K)
    with pytest.raises(ValueError, match=r"KernelRows\(X, diagonal\)"):
        model.predict(K, return_std=True)
    rows = KernelRows(K, np.diag(K))
    for call in (model.sample_y, lambda X: model.combination_rigidity(X, np.ones(40))):
        with pytest.raises(ValueError, match=r"KernelRows\(X, diagonal, among\)"):
            call(rows)
    with pytest.raises(ValueError, match="X has 39 features"):
        model.predict(K[:, 1:])
    with pytest.raises(ValueError, match="NaN"):
        model.prediction_rigidity(KernelRows(K, np.full(40, np.nan)))
    with pytest.raises(ValueError, match="among must have shape"):
        model.sample_y(KernelRows(K, np.diag(K), K[:3]))
    with pytest.raises(ValueError, match="between structures"):
        model.predict([X, X])
    for wrong, message in ((K[:, :30], "square"), (K + np.arange(40), "symmetric")):
        with pytest.raises(ValueError, match=message):
            RigidKernelRidge(kernel="precomputed").fit(wrong, y)


# -- uncertainty ------------------------------------------------------------------------------


def test_bayesian_calibration(data, rng):
    """sigma**2 = weighted RSS / (n - dof), by hand."""
    X, y = data
    weight = rng.uniform(0.5, 2, 40)
    for weight_type, n in (("frequency", weight.sum()), ("precision", 40)):
        model = RigidKernelRidge(0.3, kernel="rbf", weight_type=weight_type).fit(X, y, weight)
        leverages = weight / model.prediction_rigidity(X)
        assert_allclose(model.effective_dof_, leverages.sum())
        rss = weight @ (y - model.predict(X)) ** 2
        assert_allclose(model.noise_variance_, rss / (n - leverages.sum()))
        assert_allclose(model.scale_, model.noise_variance_)
        std = model.predict(X, return_std=True)[1]
        assert_allclose(std**2, model.scale_ * (1 + leverages / weight)[:, None])


def test_interpolating_model(rng):
    """Neither residuals nor n - dof cancel, however small alpha is."""
    X, y = rng.standard_normal((10, 40)), rng.standard_normal(10)
    model = RigidKernelRidge(1e-11).fit(X, y)
    with pytest.warns(LinAlgWarning, match="Try a larger alpha"):
        model.prediction_rigidity(X)
    s, c = np.linalg.svd(X, full_matrices=False)[1], np.linalg.svd(X)[0].T @ y
    shrink = 1e-11 / (s**2 + 1e-11)
    assert_allclose(model.noise_variance_, np.sum((shrink * c) ** 2) / shrink.sum(), rtol=1e-9)
    left = model.leave_one_out(X, y)
    exact = RigidRidge(1e-11, fit_intercept=False).fit(X, y).leave_one_out(X, y)
    assert_allclose(left.rigidity, exact.rigidity, rtol=1e-9)
    assert_allclose(left.residual, exact.residual, rtol=1e-9)


def test_sample_y_and_covariance(data):
    X, y = data
    model = RigidKernelRidge(0.3, kernel="rbf").fit(X[:20], y[:20, 0])
    mean, std = model.predict(X[18:23], return_std=True)
    cov = model.predict(X[18:23], return_cov=True)[1]
    assert_allclose(np.diag(cov), std**2)
    draws = model.sample_y(X[18:23], 200_000, random_state=0, noise=True)
    assert_allclose(draws.mean(axis=1), mean, atol=5 * std.max() / np.sqrt(200_000))
    assert_allclose(np.cov(draws), cov, atol=0.02 * cov.max())
    weights = np.array([1.0, -1.0, 0, 0, 0])
    spread = np.var(weights @ model.sample_y(X[18:23], 200_000, random_state=1))
    expected = model.scale_ / model.combination_rigidity(X[18:23], weights)
    assert_allclose(spread, expected, rtol=0.02)
    several = RigidKernelRidge([0.1, 1.0, 3.0], kernel="rbf").fit(X, y)
    assert several.sample_y(X[:5], 7, random_state=0).shape == (5, 3, 7)
    assert several.predict(X[:5], return_cov=True)[1].shape == (5, 5, 3)


def test_calibrations(data):
    X, y = data
    plain = RigidKernelRidge(0.3, kernel="rbf", calibration=None).fit(X[:30], y[:30, 0])
    assert_allclose(plain.predict(X, return_std=True)[1] ** -2, plain.prediction_rigidity(X))
    R, error = plain.prediction_rigidity(X[30:]), y[30:, 0] - plain.predict(X[30:])
    assert plain.calibrate(X[30:], y[30:, 0]) is plain
    assert_allclose(plain.scale_, np.mean(error**2 * R))
    for center_y in (False, True):
        loo = RigidKernelRidge(0.3, kernel="rbf", calibration="loo", center_y=center_y).fit(X, y)
        left = loo.leave_one_out(X, y)
        assert_allclose(loo.scale_, np.mean(left.residual**2 * left.rigidity[:, None], axis=0))
        assert not loo.noise_variance_.any()


def test_coverage():
    """Draws of a Gaussian process fall inside of its intervals as often as they should."""
    rng = np.random.default_rng(1)
    inside = []
    for _ in range(40):
        X = rng.uniform(-3, 3, (120, 2))
        K = pairwise_kernels(X, metric="rbf", gamma=0.5)
        f = np.linalg.cholesky(K + 1e-10 * np.eye(120)) @ rng.standard_normal(120)
        y = f + 0.3 * rng.standard_normal(120)
        model = RigidKernelRidge(0.09, kernel="rbf", gamma=0.5).fit(X[:60], y[:60])
        mean, std = model.predict(X[60:], return_std=True)
        inside.append(np.mean(np.abs(y[60:] - mean) < 1.96 * std))
    assert_allclose(np.mean(inside), 0.95, atol=0.025)


# -- leave one out ----------------------------------------------------------------------------


@pytest.mark.parametrize("center_y", [False, True])
@pytest.mark.parametrize("kernel", ["rbf", "linear"])
@pytest.mark.parametrize("alpha", [0.3, [1e-3, 0.1, 1e4]])
@pytest.mark.parametrize("zeros", [False, True])
def test_leave_one_out_equals_refits(data, rng, center_y, kernel, alpha, zeros):
    X, y = data
    weight = rng.uniform(0.2, 2, 40)
    if zeros:
        weight[[3, 4, 20]] = 0.0
    model = RigidKernelRidge(alpha, kernel=kernel, center_y=center_y).fit(X, y, weight)
    groups = np.arange(40) % 7
    groups[[4, 5]] = 100
    groups[20] = 101
    for labels in (None, groups):
        left = model.leave_one_out(X, y, weight, groups=labels)
        assert left.n_excluded == 0
        assert_allclose(left.prediction + left.residual, y)
        labels = np.arange(40) if labels is None else labels
        for label in np.unique(labels):
            out = labels == label
            refit = clone(model).fit(X[~out], y[~out], weight[~out])
            prediction = refit.predict(X[out])
            assert_allclose(left.prediction[out], prediction, rtol=1e-7, atol=1e-9)
            assert_allclose(left.rigidity[out], refit.prediction_rigidity(X[out]), rtol=1e-8)


def test_leaving_out_everything(data):
    X, y = data
    for center_y in (False, True):
        model = RigidKernelRidge(2.0, kernel="rbf", center_y=center_y).fit(X, y[:, 0])
        left = model.leave_one_out(X, y[:, 0], groups=np.zeros(40))
        assert_allclose(left.prediction, 0.0, atol=1e-9)
        assert_allclose(left.rigidity, 2.0, rtol=1e-9)


def test_small_leverages(rng):
    """Tiny weights next to large ones keep their digits."""
    X, y = rng.standard_normal((30, 3)), rng.standard_normal(30)
    weight = np.where(np.arange(30) < 10, 1e-9, 1.0)
    left = RigidKernelRidge(1.0).fit(X, y, weight).leave_one_out(X, y, weight)
    features = RigidRidge(1.0, fit_intercept=False).fit(X, y, weight).leave_one_out(X, y, weight)
    assert_allclose(left.rigidity, features.rigidity, rtol=1e-10)
    pairs = np.arange(30) // 2
    left = RigidKernelRidge(1.0).fit(X, y, weight).leave_one_out(X, y, weight, pairs)
    model = RigidRidge(1.0, fit_intercept=False).fit(X, y, weight)
    assert_allclose(left.rigidity, model.leave_one_out(X, y, weight, pairs).rigidity, rtol=1e-10)


# -- weights, targets, input ------------------------------------------------------------------


def test_weights_repeat_samples(data):
    X, y = data
    counts = np.arange(40) % 3
    repeated = RigidKernelRidge(0.3, kernel="rbf", gamma=0.2, center_y=True)
    repeated.fit(np.repeat(X, counts, axis=0), np.repeat(y, counts, axis=0))
    weighted = clone(repeated).fit(X, y, counts)
    assert len(weighted.X_fit_) == len(weighted.dual_coef_) == (counts > 0).sum()
    for name in ("noise_variance_", "effective_dof_", "y_mean_"):
        assert_allclose(getattr(weighted, name), getattr(repeated, name), rtol=1e-9)
    for method in ("predict", "prediction_rigidity"):
        assert_allclose(getattr(weighted, method)(X), getattr(repeated, method)(X), rtol=1e-9)


def test_alpha_per_target(data):
    X, y = data
    alphas = [0.1, 5.0, 0.1]
    model = RigidKernelRidge(alphas, kernel="rbf").fit(X[:30], y[:30])
    theirs = KernelRidge(alpha=alphas, kernel="rbf").fit(X[:30], y[:30])
    assert_allclose(model.predict(X), theirs.predict(X))
    for t, alpha in enumerate(alphas):
        single = RigidKernelRidge(alpha, kernel="rbf").fit(X[:30], y[:30, t])
        assert_allclose(model.prediction_rigidity(X)[:, t], single.prediction_rigidity(X))
        assert_allclose(model.noise_variance_[t], single.noise_variance_)
        assert_allclose(model.effective_dof_[t], single.effective_dof_)
        assert_allclose(model.predict(X, True)[1][:, t], single.predict(X, True)[1])
        assert_allclose(model.dual_coef_[:, t], single.dual_coef_)
        assert model.hessian_.at(alpha).alpha == alpha


def test_center_y(data):
    X, y = data
    weight = np.linspace(0.5, 2, 40)
    mean = np.average(y, axis=0, weights=weight)
    model = RigidKernelRidge(0.3, kernel="rbf", center_y=True).fit(X, y + 100.0, weight)
    plain = RigidKernelRidge(0.3, kernel="rbf").fit(X, y - mean, weight)
    assert_allclose(model.y_mean_, mean + 100.0)
    assert_allclose(model.predict(X), plain.predict(X) + mean + 100.0)
    assert_allclose(model.noise_variance_, plain.noise_variance_)
    assert_array_equal(model.prediction_rigidity(X), plain.prediction_rigidity(X))
    assert_allclose(model.predict([X[:3], X[3:4]])[1], model.predict(X[3:4])[0])
    assert_allclose(np.mean(model.predict_local([X[:3]])[0], axis=0), model.predict([X[:3]])[0])


def test_sparse_and_float32(data):
    X, y = data
    X = np.where(np.abs(X) > 0.5, X, 0.0)
    for kernel in ("rbf", "linear"):
        dense = RigidKernelRidge(0.3, kernel=kernel, components=[2, 2]).fit(X, y)
        sparse = RigidKernelRidge(0.3, kernel=kernel, components=[2, 2]).fit(sp.csr_matrix(X), y)
        for method in ("predict", "prediction_rigidity", "component_rigidity"):
            assert_allclose(getattr(sparse, method)(sp.csr_array(X)), getattr(dense, method)(X))
    single = RigidKernelRidge(0.3, kernel="rbf").fit(X.astype(np.float32), y)
    double = RigidKernelRidge(0.3, kernel="rbf").fit(X.astype(np.float32).astype(float), y)
    assert_allclose(single.dual_coef_, double.dual_coef_, rtol=1e-12)


def test_clone_and_pickle(structures):
    X, y = structures
    model = RigidKernelRidge(kernel={"a": "rbf", "b": Matern()}, gamma={"a": 0.2}).fit(X, y)
    copy = pickle.loads(pickle.dumps(model))
    for method in ("predict", "prediction_rigidity", "component_rigidity"):
        assert_array_equal(getattr(copy, method)(X), getattr(model, method)(X))
    assert clone(model).get_params()["gamma"] == {"a": 0.2}


def test_rigidity_grows_with_data(data):
    X, y = data
    model = RigidKernelRidge(0.3, kernel="rbf").fit(X[:25], y[:25])
    refit = RigidKernelRidge(0.3, kernel="rbf").fit(X, y)
    after = model.rigidity_with(X, X[25:])
    assert_allclose(after, refit.prediction_rigidity(X), rtol=1e-9)
    assert (after >= model.prediction_rigidity(X) * (1 - 1e-12)).all()
    # Adding a sample of weight s raises its own rigidity by s.
    for s in (0.2, 5.0):
        R = model.rigidity_with(X[30:31], X[30:31], [s])
        assert_allclose(R, model.prediction_rigidity(X[30:31]) + s, rtol=1e-9)


@pytest.mark.parametrize("alpha", [1e-10, 1e-6, 1e-2, 1e2])
@pytest.mark.filterwarnings("ignore:a difference of kernels")
def test_estimated_accuracy(rng, alpha):
    """The estimate covers the true error, and is no more than 1000 times as large."""
    X, new = rng.standard_normal((50, 4)) + 0.5, rng.standard_normal((30, 4))
    model = RigidKernelRidge(alpha).fit(X, X[:, 0])
    exact = exact_quad(X, np.vstack([X, new]), alpha=alpha)
    error = np.abs(model.prediction_rigidity(np.vstack([X, new])) * exact - 1).max()
    assert error <= model.hessian_.info.accuracy <= max(1000 * error, 1e-13)


def test_kernels_that_are_not_positive(rng):
    X, y = np.abs(rng.standard_normal((20, 3))), rng.standard_normal(20)
    with pytest.raises(ValueError, match="not positive semi-definite"):
        RigidKernelRidge(0.1, kernel="additive_chi2").fit(X, y)
    model = RigidKernelRidge(100.0, kernel="additive_chi2", calibration=None).fit(X, y)
    with pytest.raises(ValueError, match="not positive semi-definite"):
        model.prediction_rigidity(X)


@pytest.mark.parametrize(
    ("parameters", "X", "y", "weight", "message"),
    [
        ({"alpha": -1.0}, None, None, None, "alpha"),
        ({"alpha": 0.0}, None, None, None, "alpha must be finite and positive"),
        ({"alpha": [1.0, 0.0, 1.0]}, None, None, None, "alpha must be finite and positive"),
        ({"alpha": [1.0, 2.0]}, None, None, None, "alpha must be a number or have one entry"),
        ({"alpha": np.nan}, None, None, None, "alpha"),
        ({"kernel": "rbf", "gamma": -1.0}, None, None, None, "gamma"),
        ({"aggregate": "max"}, None, None, None, "aggregate"),
        ({"center_y": "yes"}, None, None, None, "center_y"),
        ({}, np.full((4, 2), np.nan), np.ones(4), None, "NaN"),
        ({}, np.full((4, 2), np.inf), np.ones(4), None, "infinity"),
        ({}, np.ones((4, 2), dtype=complex), np.ones(4), None, "[Cc]omplex"),
        ({}, np.ones((0, 2)), np.ones(0), None, "0 sample"),
        ({}, np.ones(4), np.ones(4), None, "2D array"),
        ({}, np.ones((4, 2)), np.ones(3), None, "inconsistent numbers of samples"),
        ({}, np.ones((4, 2)), [1, 2, np.nan, 3], None, "NaN"),
        ({}, np.ones((4, 2)), np.ones(4), -np.ones(4), "[Nn]egative"),
        ({}, np.ones((4, 2)), np.ones(4), np.zeros(4), "non-zero|not be zero"),
        ({}, np.ones((4, 2)), np.ones(4), np.ones(3), "sample_weight"),
        ({}, [np.ones((2, 3)), np.ones((2, 4))], np.ones(2), None, r"X.*1"),
        ({}, [np.ones((2, 3)), np.ones((0, 3))], np.ones(2), None, r"X.*1"),
    ],
)
def test_bad_input(data, parameters, X, y, weight, message):
    if X is None:
        X, y = data
    with pytest.raises(ValueError, match=message):
        RigidKernelRidge(**parameters).fit(X, y, weight)


def test_wrong_use_after_fit(data, structures):
    X, y = data
    with pytest.raises(NotFittedError):
        RigidKernelRidge().prediction_rigidity(X)
    model = RigidKernelRidge().fit(X, y)
    for call in (model.prediction_rigidity, model.local_rigidity, model.predict):
        with pytest.raises(ValueError, match="4 features"):
            call(X[:, :3])
    with pytest.raises(ValueError, match="4 features"):
        model.local_rigidity([x[:, :2] for x in structures[0]])
    with pytest.raises(ValueError, match="at most one"):
        model.predict(X, return_std=True, return_cov=True)
    with pytest.raises(ValueError, match="weights must have one entry per sample"):
        model.combination_rigidity(X, np.ones(3))
    with pytest.raises(TypeError):
        RigidKernelRidge().fit(np.array([[object()], [object()]]), [1.0, 2.0])


def test_zero_kernel():
    """A prediction that cannot move has an infinite rigidity; there is no scale of errors."""
    for calibration in ("bayesian", "loo"):
        model = RigidKernelRidge(calibration=calibration).fit(np.zeros((3, 2)), [1.0, 2.0, 3.0])
        assert np.isinf(model.prediction_rigidity(np.zeros((2, 2)))).all()
        assert_allclose(model.prediction_rigidity([[3.0, 4.0]]), 1 / 25)


def test_feature_map_in_a_pipeline(structures):
    """Structures through a transformer of environments, as descriptors do."""
    X, y = structures
    square = PerEnvironment(FunctionTransformer(quadratic_features))
    model = make_pipeline(square, PerEnvironment(StandardScaler()), RigidKernelRidge(0.1)).fit(X, y)
    assert model.predict(X).shape == (30,)
    R = model[-1].local_rigidity(model[:-1].transform(X))
    assert [len(r) for r in R] == [len(x) for x in X]
