"""Arrays that are not NumPy's, on devices; `test_array_api.py` runs this in a process of its own.

SciPy looks at SCIPY_ARRAY_API when it is imported. The device "device1" of array-api-strict refuses
every conversion to NumPy, and so do torch's tensors here: nothing may be copied to the host.
"""

import pickle
import warnings

import numpy as np
import pytest
from scipy.linalg import LinAlgWarning
from sklearn import clone, config_context
from sklearn.linear_model import Ridge
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import (
    _yield_array_api_checks,
    check_array_api_input_and_values,
)

from skrigidity import (
    ComponentRidge,
    PRSelector,
    RigidKernelRidge,
    RigidRidge,
    RigidRidgeCV,
    WithRigidity,
)
from skrigidity.hessian import AlphaPath, Prior, Rows, choose
from skrigidity.hessian.array_api import ArrayPath, ArrayRows, SingularError, factorize

strict = pytest.importorskip("array_api_strict")


class Strict:
    """Arrays on a device that refuses conversions."""

    name = "array_api_strict"
    device = strict.Device("device1")
    xp = strict

    def put(self, values):
        return strict.asarray(values, device=self.device)

    def get(self, array):
        assert array.device == self.device
        return np.asarray(strict.asarray(array, device=strict.Device("CPU_DEVICE")))


class Torch:
    """Tensors that refuse conversions."""

    name = "torch"

    def __init__(self, monkeypatch):
        self.torch = pytest.importorskip("torch")
        from array_api_compat import torch as xp

        self.xp = xp

        def refuse(*args, **kwargs):
            raise TypeError("a copy to the host")

        for name in ("__array__", "numpy", "cpu", "__dlpack__"):
            monkeypatch.setattr(self.torch.Tensor, name, refuse)

    def put(self, values):
        return self.torch.tensor(np.asarray(values).tolist(), dtype=self._dtype(values))

    def _dtype(self, values):
        return getattr(self.torch, str(np.asarray(values).dtype))

    def get(self, array):
        assert isinstance(array, self.torch.Tensor)
        return np.array(array.tolist())


@pytest.fixture(params=["array_api_strict", "torch"])
def kind(request, monkeypatch):
    with config_context(array_api_dispatch=True):
        made = Strict() if request.param == "array_api_strict" else Torch(monkeypatch)
        with pytest.raises((TypeError, RuntimeError)):
            np.asarray(made.put(np.ones(2)))
        yield made


def data(n=40, d=6, n_targets=0, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d)) + 2
    coef = rng.standard_normal((d, n_targets) if n_targets else d)
    y = X @ coef + 0.3 * rng.standard_normal((n, n_targets) if n_targets else n)
    return X, y, rng.uniform(0.5, 3, n), rng.standard_normal((7, d))


def parts(values):
    if isinstance(values, dict):
        values = [values[key] for key in sorted(values)]
    return [p for v in values for p in parts(v)] if isinstance(values, (list, tuple)) else [values]


def same(kind, expected, found, tolerance=1e-10, name=""):
    for a, b in zip(parts(expected), parts(found), strict=True):
        b = b if isinstance(b, (int, float)) else kind.get(b)
        assert np.shape(a) == np.shape(b), name
        np.testing.assert_allclose(
            b, a, rtol=tolerance, atol=tolerance * np.abs(a).max(), err_msg=name
        )


def put_all(kind, arguments):
    return {k: v if v is None else kind.put(v) for k, v in arguments.items()}


# -- linear models ------------------------------------------------------------------------------


def asked(model, put, Z, X, y, weight, components):
    """Everything that a model of targets can be asked, by name."""
    d, several = Z.shape[1], np.ndim(y) == 2
    yield "dof", model.effective_dof_
    yield "scale", (model.scale_, model.noise_variance_)
    yield "predict", model.predict(put(Z))
    yield "std", model.predict(put(Z), return_std=True)
    yield "cov", model.predict(put(Z), return_cov=True)
    yield "local", model.predict_local(put(Z), return_std=True)
    yield "rigidity", model.prediction_rigidity(put(Z))
    yield "local rigidity", model.local_rigidity(put(Z))
    yield "combination", model.combination_rigidity(put(Z), put(np.linspace(-1, 1, len(Z))))
    added = model.rigidity_with(put(Z), put(X[:3]), put(np.array([1.0, 2.0, 3.0])))
    yield "with", added
    yield "score", model.score(put(X), put(y))
    yield "left out", dict(model.leave_one_out(put(X), put(y), put(weight)))
    if components:
        blocks = [d // 2, d - d // 2]
        yield "components", model.predict_components(put(Z), blocks)
        yield "component rigidity", model.component_rigidity(put(Z), blocks, level="local")
    for method in ("squared_residuals", "absolute_residuals"):
        ones = np.ones((len(Z), y.shape[1]) if several else len(Z))
        model.calibrate(put(Z), put(ones), method=method)
        yield method, (model.scale_, model.noise_variance_)


def compare(kind, make, X, y, weight, Z, components=True, tolerance=1e-10):
    host = make().fit(X, y, weight)
    device = make().fit(kind.put(X), kind.put(y), kind.put(weight))
    theirs = asked(device, kind.put, Z, X, y, weight, components)
    for (name, a), (_, b) in zip(
        asked(host, np.asarray, Z, X, y, weight, components), theirs, strict=True
    ):
        same(kind, a, b, tolerance, name)
    draws = device.sample_y(kind.put(Z), 2, random_state=0)
    assert draws.shape == host.sample_y(Z, 2, random_state=0).shape


@pytest.mark.parametrize("shape", [(40, 6), (15, 30)])
@pytest.mark.parametrize(
    ("n_targets", "options"),
    [
        (0, {"alpha": 0.3}),
        (0, {"alpha": 0.3, "fit_intercept": False, "calibration": None}),
        (2, {"alpha": 0.3, "calibration": "loo", "weight_type": "precision"}),
        (2, {"alpha": [0.3, 2.0]}),
    ],
)
def test_ridge_equals_numpy(kind, shape, n_targets, options):
    X, y, weight, Z = data(*shape, n_targets)
    compare(kind, lambda: RigidRidge(**options), X, y, weight, Z)


@pytest.mark.parametrize("matrix", [False, True])
def test_regularizer(kind, matrix):
    X, y, weight, Z = data(15, 20)
    gamma = np.linspace(1, 2, 20)
    gamma = np.diag(gamma) + 0.1 if matrix else gamma
    compare(kind, lambda: RigidRidge(0.3, regularizer=gamma), X, y, weight, Z)


def test_qr_of_the_library(kind):
    X, y, weight, Z = data()
    compare(kind, lambda: RigidRidge(0.3, solver="qr"), X, y, weight, Z)


def test_float32_is_accumulated_in_float64(kind):
    X, y, _, _ = data(50, 6)
    X, y = X.astype(np.float32), y.astype(np.float32)
    host, device = RigidRidge(1e-3).fit(X, y), RigidRidge(1e-3).fit(kind.put(X), kind.put(y))
    same(kind, host.coef_, device.coef_)
    same(kind, host.prediction_rigidity(X), device.prediction_rigidity(kind.put(X)))
    assert "float64" in str(device.prediction_rigidity(kind.put(X)).dtype)


@pytest.mark.parametrize("shape", [(40, 6), (15, 30)])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"scoring": "log_likelihood", "alpha_per_target": True},
        {"scoring": "evidence", "weight_type": "precision", "regularizer": "ramp"},
    ],
)
@pytest.mark.filterwarnings("ignore:scores do not tell:UserWarning")
@pytest.mark.filterwarnings("ignore:the best alpha:UserWarning")
def test_ridge_cv_equals_numpy(kind, shape, options):
    X, y, weight, _ = data(*shape, n_targets=2)
    weight[3] = 0
    if "regularizer" in options:
        options = {**options, "regularizer": np.linspace(1, 2, shape[1])}
    host = RigidRidgeCV(np.logspace(-3, 3, 5), **options).fit(X, y, weight)
    device = clone(host).fit(*map(kind.put, (X, y, weight)))
    np.testing.assert_array_equal(device.alpha_, host.alpha_)
    for name in ("coef_", "scores_", "alphas_", "n_excluded_per_alpha_", "scale_"):
        same(kind, getattr(host, name), getattr(device, name), name=name)


@pytest.mark.parametrize(
    "options",
    [
        {"kernel": "rbf", "gamma": 0.1},
        {"kernel": "linear", "calibration": "loo"},
        {"kernel": "polynomial", "alpha": [0.3, 2.0]},
    ],
)
def test_kernel_ridge_equals_numpy(kind, options):
    X, y, weight, Z = data(n_targets=2)
    compare(kind, lambda: RigidKernelRidge(**{"alpha": 0.3, **options}), X, y, weight, Z, False)


# -- selection ----------------------------------------------------------------------------------


@pytest.mark.parametrize("objective", ["mean", "log_mean", "min", "variance", "information"])
@pytest.mark.parametrize("trained", [False, True])
def test_picks_are_those_of_numpy(kind, objective, trained):
    X, _, weight, T = data(60, 6)
    X[7] = X[3]
    given = {"X_target": T, "cost": weight, "candidate_weight": weight[::-1].copy()}
    if trained:
        given["X_train"] = X[:5] + 1
    options = {"n_to_select": 10, "objective": objective, "alpha": 1e-4}
    if objective == "information" and not trained:
        options |= {"alpha": None, "estimator": RigidRidge(1e-4, fit_intercept=False)}
    host = PRSelector(**options).fit(X, **given)
    device = PRSelector(**options).fit(kind.put(X), **put_all(kind, given))
    np.testing.assert_array_equal(kind.get(device.selected_idx_), host.selected_idx_)
    for name in ("objective_path_", "gains_", "target_rigidity_"):
        a, b = getattr(host, name), kind.get(getattr(device, name))
        np.testing.assert_allclose(b, a, rtol=1e-9, err_msg=name)
    same(kind, host.transform(X), device.transform(kind.put(X)), 0)
    np.testing.assert_array_equal(kind.get(device.get_support()), host.get_support())
    with pytest.raises(ValueError, match="not the pool"):
        device.transform(kind.put(X + 1))


def test_selection_of_a_fitted_model_for_components(kind):
    X, y, _, T = data(60, 6)
    options = {"n_to_select": 8, "level": "component", "components": [2, 4], "objective": "min"}
    host = PRSelector(**options, estimator=RigidRidge(1e-3).fit(X[:9], y[:9])).fit(X, X_target=T)
    fitted = RigidRidge(1e-3).fit(kind.put(X[:9]), kind.put(y[:9]))
    device = PRSelector(**options, estimator=fitted).fit(kind.put(X), X_target=kind.put(T))
    np.testing.assert_array_equal(kind.get(device.selected_idx_), host.selected_idx_)
    same(kind, host.target_rigidity_, device.target_rigidity_, 1e-9)


def test_selection_until_a_threshold_and_again(kind):
    X, _, _, T = data(30, 6)
    options = {"threshold": 1.0, "replace": True, "n_to_select": 40, "alpha": 1e-2}
    host = PRSelector(**options).fit(X, X_target=T)
    device = PRSelector(**options).fit(kind.put(X), X_target=kind.put(T))
    np.testing.assert_array_equal(kind.get(device.selected_idx_), host.selected_idx_)


# -- accuracy -----------------------------------------------------------------------------------


def rows_of(kind, X, y):
    return ArrayRows(kind.put(X), xp=kind.xp, intercept=True, rhs=kind.put(y))


@pytest.mark.parametrize(("power", "bar"), [(4, 1e-11), (6, 1e-9), (8, 1e-8), (10, 1e-6)])
@pytest.mark.parametrize("method", ["auto", "qr"])
def test_accuracy(kind, power, bar, method):
    """Design, section 5: 1e-8 up to a condition of H of 1e16, 1e-6 up to 1e20."""
    rng = np.random.default_rng(power)
    left, right = (np.linalg.qr(rng.standard_normal((n, 12)))[0] for n in (80, 12))
    X = left * np.logspace(0, -power, 12) @ right.T + 3.0
    prior, y = Prior(10.0 ** (-2 * power)), rng.standard_normal((80, 1))
    exact = choose(Rows(X, intercept=True, rhs=y), prior, method="extended")
    with warnings.catch_warnings():
        warnings.simplefilter("error" if power < 10 else "ignore", LinAlgWarning)
        factor = factorize(rows_of(kind, X, y), prior, method=method)
    q = kind.get(factor.quad(ArrayRows(kind.put(X), xp=kind.xp, intercept=True)))
    error = np.abs(q / exact.quad(Rows(X, intercept=True)) - 1).max()
    assert error <= bar
    assert error <= factor.info.accuracy
    assert factor.info.condition > 10.0 ** (2 * power - 2)


def test_beyond_what_is_accurate(kind):
    X, y, _, _ = data(60, 6)
    X = X * np.logspace(0, 0, 6)
    X[:, 5] = X[:, 0] + 1e-11 * X[:, 1]
    with pytest.warns(LinAlgWarning, match="rigidities may be off"):
        RigidRidge(1e-23).fit(kind.put(X), kind.put(y))
    X[:, 5] = X[:, 0]
    with pytest.raises(SingularError, match="alpha > 0, or NumPy"):
        RigidRidge(0.0).fit(kind.put(X), kind.put(y))
    with pytest.raises(ValueError, match="singular"):
        RigidRidge(1e-20, solver="cholesky").fit(kind.put(X), kind.put(y))


def test_leverage_next_to_one(kind):
    """What 1 minus a leverage loses is summed: against a fit without the sample."""
    X, y, _, _ = data(40, 4)
    X[3] *= 1e4
    X[5, 3], X[np.arange(40) != 5, 3] = 1.0, 0.0  # alone in its direction
    rows = ArrayRows(kind.put(X), xp=kind.xp, intercept=True, rhs=kind.put(y))
    left = ArrayPath(rows, None).leave_out([1e-3], units=False)
    expected = AlphaPath(Rows(X, intercept=True, rhs=y), None, 1e-3)
    expected = expected.leave_out(np.array([1e-3]), units=False)
    for i in (0, 3, 5):
        others = np.arange(40) != i
        fit = choose(Rows(X[others], intercept=True, rhs=y[others]), Prior(1e-3))
        residual = y[i] - X[i] @ fit.solution.coef[:, 0] - fit.solution.intercept[0]
        np.testing.assert_allclose(kind.get(left.residual)[i, 0, 0], residual, rtol=1e-8)
        q = fit.quad(Rows(X[i : i + 1], intercept=True))[0]
        np.testing.assert_allclose(kind.get(left.quad)[i, 0], q, rtol=1e-9)


def test_alpha_of_a_factor(kind):
    X, y, _, _ = data()
    host = choose(Rows(X, intercept=True, rhs=y), Prior(0.1)).at(2.0)
    device = factorize(rows_of(kind, X, y), Prior(0.1)).at(2.0)
    same(kind, host.solution.coef, device.solution.coef)
    same(kind, host.solution.rss, device.solution.rss)
    with pytest.raises(ValueError, match="not be below"):
        device.at(0.1)


# -- scikit-learn -------------------------------------------------------------------------------

ESTIMATORS = [RigidRidge(), RigidRidgeCV(), RigidKernelRidge(kernel="rbf"), PRSelector()]


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda each: type(each).__name__)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_scikit_learns_checks(estimator):
    assert get_tags(estimator).array_api_support
    name, done = type(estimator).__name__, 0
    for check in _yield_array_api_checks(estimator):
        namespace = check.keywords.get("array_namespace", "torch")
        if namespace in ("array_api_strict", "torch", "numpy"):
            try:
                check(name, estimator)
                done += 1
            except pytest.skip.Exception:  # of a namespace, or a device, that is not here
                pass
            except Exception as error:
                if type(error).__name__ != "SkipTest":
                    raise
    assert done >= 3
    for device in ("CPU_DEVICE", "device1"):
        for weights in (False, True):
            options = {"device_name": device, "check_sample_weight": weights}
            check_array_api_input_and_values(name, estimator, "array_api_strict", **options)


def test_pickled(kind):
    if kind.name == "torch":
        pytest.skip("torch pickles by way of NumPy")
    X, y, _, Z = data()
    model = RigidRidge().fit(kind.put(X), kind.put(y))
    again = pickle.loads(pickle.dumps(model))
    same(
        kind,
        kind.get(model.prediction_rigidity(kind.put(Z))),
        again.prediction_rigidity(kind.put(Z)),
    )


# -- errors -------------------------------------------------------------------------------------


def test_device_without_float64():
    X, y, _, _ = data()
    X, y = (strict.asarray(v.astype("f4"), device=strict.Device("no_float64")) for v in (X, y))
    with config_context(array_api_dispatch=True):
        for estimator in (RigidRidge(), RigidRidgeCV(), RigidKernelRidge(), PRSelector()):
            with pytest.raises(ValueError, match="without float64"):
                estimator.fit(X, y)


def test_arrays_of_another_kind(kind):
    X, y, _, _ = data()
    for model in (RigidRidge(), RigidKernelRidge(), PRSelector(3)):
        fitted = clone(model).fit(kind.put(X), kind.put(y))
        method = "transform" if isinstance(model, PRSelector) else "predict"
        with pytest.raises(ValueError, match="same namespace"):
            getattr(fitted, method)(X)
        fitted = clone(model).fit(X, y)
        with pytest.raises(ValueError, match="same namespace"):
            getattr(fitted, method)(kind.put(X))
    device = RigidRidge().fit(kind.put(X), kind.put(y))
    with config_context(array_api_dispatch=False), pytest.raises(ValueError, match="is off"):
        device.predict(kind.put(X))


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_what_takes_numpy_alone(kind):
    X, y, weight, _ = data()
    A, b = kind.put(X), kind.put(y)
    groups = np.arange(40) % 4
    for model, kwargs, words in [
        (RigidRidge(solver="spectral"), {}, "takes NumPy arrays"),
        (RigidRidge(calibration="loo"), {"groups": groups}, "groups"),
        (RigidRidgeCV(), {"groups": groups}, "groups"),
        (RigidRidgeCV(scoring="r2"), {}, "on a device there are"),
        (RigidRidgeCV(regularizer=np.r_[0, np.ones(5)]), {}, "definite"),
        (RigidKernelRidge(kernel="laplacian"), {}, "takes NumPy arrays"),
        (PRSelector(storage="float32"), {}, "storage"),
        (PRSelector(), {"groups": groups}, "groups"),
        (PRSelector(objective="information"), {}, "needs X_train"),
        (PRSelector(estimator=RigidKernelRidge()), {}, "must be a RigidRidge"),
    ]:
        with pytest.raises(ValueError, match=words):
            model.fit(A, b, **kwargs)
    for model in (
        ComponentRidge([2, 4]),
        WithRigidity(Ridge()),
        RigidKernelRidge(kernel="precomputed"),
    ):
        assert not get_tags(model).array_api_support
        with pytest.raises(ValueError, match="takes NumPy arrays"):
            model.fit(A, b)
    model = RigidRidge().fit(A, b)
    with pytest.raises(ValueError, match="partial_fit takes NumPy"):
        model.partial_fit(A, b)
    with pytest.raises(ValueError, match="on a device, scales"):
        model.calibrate(A, b, method="crps")
    with pytest.raises(TypeError, match="structures of environments take NumPy"):
        RigidRidge().fit([A, A], kind.put(y[:2]))
    with pytest.raises(ValueError, match="NaN"):
        RigidRidge().fit(kind.put(np.where(X > 3, np.nan, X)), b)
    with pytest.raises(ValueError, match="overflow"):
        RigidRidge().fit(kind.put(1e200 * X), b)
    with pytest.raises(ValueError, match="one target"):
        RigidRidge().fit(A, kind.put(y[:-1]))
    with pytest.raises(ValueError, match="finite target"):
        RigidRidge().fit(A, kind.put(np.full(40, np.inf)))
    for wrong in (-weight, 0 * weight):
        with pytest.raises(ValueError, match="sample_weight"):
            RigidRidge().fit(A, b, kind.put(wrong))
