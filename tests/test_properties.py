"""What holds exactly for rigidities (design, section 2), as properties of the fitted estimator."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.kernel_ridge import KernelRidge

from skrigidity import Environments, RigidRidge

SOLVERS = st.sampled_from(["auto", "cholesky", "qr", "spectral"])
SEEDS = st.integers(0, 2**32 - 1)
FEW = settings(max_examples=25)
# Every problem below has a condition of H under 1e8 or so; monotony holds up to rounding.
RTOL = 1e-7
SLACK = 1 - 1e-8

# An explicit solver says so where it loses digits; the tolerances allow for it.
pytestmark = pytest.mark.filterwarnings("ignore::scipy.linalg.LinAlgWarning")


@dataclass
class Problem:
    """Training data in one of their forms, and an estimator to fit to them."""

    X: Any
    y: np.ndarray
    weight: np.ndarray | None
    new: Any
    parameters: dict[str, Any]
    components: list[int]

    def __repr__(self):
        n, d = self.rows(self.X).shape
        form = type(self.X).__name__
        weights = "no" if self.weight is None else "with"
        return f"Problem({n} x {d}, {form}, {weights} weights, {self.parameters})"

    @property
    def s(self):
        return np.ones(len(self.y)) if self.weight is None else self.weight

    @property
    def intercept(self):
        return self.parameters["fit_intercept"]

    def rows(self, X):
        """Feature rows of samples."""
        if isinstance(X, np.ndarray):
            return X
        return np.array([getattr(x, self.parameters["aggregate"])(axis=0) for x in X])

    def model(self, **changes):
        return RigidRidge(**{**self.parameters, **changes})

    def unregularized(self):
        """Cholesky, asked for on a singular Hessian, warns where the others know the rank."""
        solver = self.parameters["solver"]
        return self.model(alpha=0.0, solver="auto" if solver == "cholesky" else solver)

    def fit(self, **changes):
        return self.model(**changes).fit(self.X, self.y, self.weight)

    def with_rows(self, added, weight, **changes):
        """Fit with more samples, given as feature rows."""
        X = np.vstack([self.rows(self.X), added])
        s = np.concatenate([self.s, np.broadcast_to(weight, len(added))])
        return self.model(**changes).fit(X, np.append(self.y, np.zeros(len(added))), s)

    def rigidities(self, model):
        """Every kind of rigidity of the new samples, flat."""
        parts = [
            model.prediction_rigidity(self.new),
            *np.atleast_2d(joined(model.local_rigidity(self.new))),
            model.component_rigidity(self.new, self.components).ravel(),
            joined(model.component_rigidity(self.new, self.components, level="local")).ravel(),
        ]
        return np.concatenate(parts)


def joined(local):
    return local if isinstance(local, np.ndarray) else np.concatenate(local)


@st.composite
def problems(draw, form=None, intercept=None, prior=None):
    rng = np.random.default_rng(draw(SEEDS))
    n, d = draw(st.integers(2, 25)), draw(st.integers(2, 9))
    form = form or draw(st.sampled_from(["matrix", "list", "container"]))
    prior = prior or draw(st.sampled_from(["none", "diagonal", "matrix"]))
    A = rng.standard_normal((d, d))
    gamma = {"none": None, "diagonal": rng.uniform(0.3, 3, d), "matrix": A @ A.T + np.eye(d)}
    weight = {
        "none": None,
        "real": rng.uniform(0.1, 3, n),
        "zeros": np.append(rng.integers(0, 3, n - 1), 1.0),
    }[draw(st.sampled_from(["none", "real", "zeros"]))]
    shift = draw(st.sampled_from([0.0, 2.0]))

    def samples(n):
        if form == "matrix":
            return rng.standard_normal((n, d)) + shift
        arrays = [rng.standard_normal((rng.integers(1, 5), d)) + shift for _ in range(n)]
        return Environments.from_arrays(arrays) if form == "container" else arrays

    first = draw(st.integers(1, d - 1))
    return Problem(
        X=samples(n),
        y=rng.standard_normal(n),
        weight=weight,
        new=samples(5),
        parameters={
            "alpha": 10.0 ** draw(st.integers(-4, 2)),
            "regularizer": gamma[prior],
            "fit_intercept": draw(st.booleans()) if intercept is None else intercept,
            "aggregate": draw(st.sampled_from(["mean", "sum"])),
            "solver": draw(SOLVERS),
        },
        components=[first, d - first],
    )


weights = st.floats(1e-3, 1e3)


# -- 1: a row raises its own rigidity by exactly its weight ------------------------------------


@FEW
@given(problems(), weights)
def test_a_row_raises_its_own_rigidity_by_its_weight(problem, s):
    model = problem.fit()
    before = model.prediction_rigidity(problem.new)
    for i, row in enumerate(problem.rows(problem.new)):
        after = problem.with_rows(row[None], s).prediction_rigidity(row[None])
        assert_allclose(after, before[i] + s, rtol=RTOL)
        one = problem.new[i : i + 1]
        assert_allclose(model.rigidity_with(one, one, [s]), before[i] + s, rtol=RTOL)


@FEW
@given(problems(), weights)
def test_a_batch_raises_a_rows_rigidity_by_its_weight(problem, s):
    model = problem.fit()
    one = problem.new[:1]
    before = model.prediction_rigidity(one)
    after = model.partial_fit(one, [0.5], [s]).prediction_rigidity(one)
    assert_allclose(after, before + s, rtol=RTOL)


@FEW
@given(problems(form="list"), weights)
def test_an_environment_alone_raises_its_local_rigidity(problem, s):
    """A structure of one environment is that environment, where structures are means."""
    problem.parameters["aggregate"] = "mean"
    environment = problem.new[0][:1]
    before = problem.fit().local_rigidity([environment])[0]
    after = problem.with_rows(environment, s).local_rigidity([environment])[0]
    assert_allclose(after, before + s, rtol=RTOL)


@FEW
@given(problems(intercept=False), weights)
def test_a_component_alone_raises_its_own_rigidity(problem, s):
    row = problem.rows(problem.new)[:1].copy()
    before = problem.fit().component_rigidity(row, problem.components)[:, 0]
    row[:, problem.components[0] :] = 0.0
    after = problem.with_rows(row, s)
    assert_allclose(after.component_rigidity(row, problem.components)[:, 0], before + s, rtol=RTOL)


# -- 2: nothing that is added lowers a rigidity ------------------------------------------------


@FEW
@given(problems(), SEEDS, weights)
def test_no_row_lowers_any_rigidity(problem, seed, s):
    rng = np.random.default_rng(seed)
    added = rng.standard_normal((2, problem.rows(problem.X).shape[1])) * 10.0 ** rng.integers(-2, 2)
    before = problem.rigidities(problem.fit())
    assert (problem.rigidities(problem.with_rows(added, s)) >= before * SLACK).all()
    after = problem.fit().rigidity_with(problem.new, added, [s, s])
    assert (after >= before[: len(after)] * SLACK).all()


@FEW
@given(problems(), st.floats(1, 1e4), SEEDS)
def test_more_regularization_lowers_no_rigidity(problem, factor, seed):
    before = problem.rigidities(problem.fit())
    alpha = problem.parameters["alpha"]
    assert (problem.rigidities(problem.fit(alpha=factor * alpha)) >= before * SLACK).all()
    d = sum(problem.components)
    gamma = problem.parameters["regularizer"]
    gamma = np.eye(d) if gamma is None else gamma
    more = np.random.default_rng(seed).standard_normal(d)
    gamma = gamma + (more**2 if gamma.ndim == 1 else np.outer(more, more))
    assert (problem.rigidities(problem.fit(regularizer=gamma)) >= before * SLACK).all()


@FEW
@given(problems(), st.floats(1, 100))
def test_more_weight_lowers_no_rigidity(problem, factor):
    before = problem.rigidities(problem.fit())
    s = problem.s.copy()
    s[0] *= factor
    problem.weight = s
    assert (problem.rigidities(problem.fit()) >= before * SLACK).all()


# -- 3: leverages -----------------------------------------------------------------------------


@FEW
@given(problems())
def test_leverages_are_fractions_that_sum_to_the_degrees_of_freedom(problem):
    model = problem.fit()
    leverage = problem.s / model.prediction_rigidity(problem.X)
    assert (leverage >= 0).all()
    assert (leverage <= 1 + 1e-10).all()
    assert_allclose(leverage.sum(), model.effective_dof_, rtol=RTOL, atol=1e-9)
    assert model.effective_dof_ <= min(np.sum(problem.s > 0), sum(problem.components) + 1) + 1e-9


# -- 4: changes of scale and of basis ----------------------------------------------------------


@FEW
@given(problems(), st.floats(1e-3, 1e3), st.booleans())
def test_rigidity_scales_with_the_inverse_square(problem, c, negative):
    c = -c if negative else c
    model, n = problem.fit(), len(problem.new)
    R = model.prediction_rigidity(problem.new)
    assert_allclose(model.combination_rigidity(problem.new, c * np.eye(n)), R / c**2, rtol=RTOL)
    F = problem.rows(problem.new)
    parts = model.component_rigidity(F, problem.components)
    assert_allclose(model.component_rigidity(c * F, problem.components), parts / c**2, rtol=RTOL)
    if not problem.intercept:
        assert_allclose(model.prediction_rigidity(c * F), R / c**2, rtol=RTOL)


@FEW
@given(problems(prior="none"), SEEDS)
def test_rotations_change_nothing(problem, seed):
    d = sum(problem.components)
    Q = np.linalg.qr(np.random.default_rng(seed).standard_normal((d, d)))[0]
    F, G = problem.rows(problem.X), problem.rows(problem.new)
    turned = problem.model().fit(F @ Q, problem.y, problem.weight)
    model = problem.fit()
    assert_allclose(turned.prediction_rigidity(G @ Q), model.prediction_rigidity(G), rtol=RTOL)
    assert_allclose(turned.local_rigidity(G @ Q), model.local_rigidity(G), rtol=RTOL)
    assert_allclose(turned.effective_dof_, model.effective_dof_, rtol=RTOL)


@FEW
@given(problems(), SEEDS)
def test_invertible_maps_change_nothing_with_their_regularizer(problem, seed):
    """Rows x A go with coefficients inv(A) w, penalized by A' Gamma A."""
    d = sum(problem.components)
    rng = np.random.default_rng(seed)
    Q, P = (np.linalg.qr(rng.standard_normal((d, d)))[0] for _ in range(2))
    A = (Q * rng.uniform(0.5, 2, d)) @ P
    gamma = problem.parameters["regularizer"]
    gamma = np.eye(d) if gamma is None else np.diag(gamma) if gamma.ndim == 1 else gamma
    mapped = A.T @ gamma @ A
    F, G = problem.rows(problem.X), problem.rows(problem.new)
    model = problem.fit()
    other = problem.model(regularizer=(mapped + mapped.T) / 2)
    other.fit(F @ A, problem.y, problem.weight)
    assert_allclose(other.prediction_rigidity(G @ A), model.prediction_rigidity(G), rtol=10 * RTOL)
    assert_allclose(other.predict(G @ A), model.predict(G), rtol=1e-6, atol=1e-6)


@FEW
@given(problems(), st.floats(-50, 50))
def test_shifts_change_nothing_with_an_intercept(problem, shift):
    problem.parameters.update(fit_intercept=True, aggregate="mean")
    moved = Problem(
        X=[x + shift for x in problem.X],
        new=[x + shift for x in problem.new],
        **{k: getattr(problem, k) for k in ("y", "weight", "parameters", "components")},
    )
    if isinstance(problem.X, np.ndarray):
        moved.X, moved.new = problem.X + shift, problem.new + shift
    a, b = problem.fit(), moved.fit()
    assert_allclose(b.prediction_rigidity(moved.new), a.prediction_rigidity(problem.new), rtol=1e-6)
    assert_allclose(
        joined(b.local_rigidity(moved.new)), joined(a.local_rigidity(problem.new)), rtol=1e-6
    )


# -- 5: repetition, order, batches -------------------------------------------------------------


@FEW
@given(problems(), SEEDS)
def test_repetition_order_and_batches_do_not_matter(problem, seed):
    rng = np.random.default_rng(seed)
    n = len(problem.y)
    F, counts = problem.rows(problem.X), rng.integers(0, 3, n)
    counts[0] = 2
    problem.weight = counts.astype(float)
    expected = problem.rigidities(problem.fit())
    dof = problem.fit().effective_dof_
    # repeated, in any order, in any batches
    index = rng.permutation(np.repeat(np.arange(n), counts))
    repeated = problem.model().fit(F[index], problem.y[index])
    assert_allclose(problem.rigidities(repeated), expected, rtol=RTOL)
    assert_allclose(repeated.effective_dof_, dof, rtol=RTOL)
    stream = problem.model()
    for piece in np.array_split(index, min(3, len(index))):
        stream.partial_fit(F[piece], problem.y[piece])
    assert_allclose(problem.rigidities(stream), expected, rtol=RTOL)
    assert_allclose(stream.effective_dof_, dof, rtol=RTOL)


@FEW
@given(problems())
def test_forms_of_input_do_not_matter(problem):
    F, G = problem.rows(problem.X), problem.rows(problem.new)
    model, flat = problem.fit(), problem.model().fit(F, problem.y, problem.weight)
    assert_allclose(model.prediction_rigidity(problem.new), flat.prediction_rigidity(G), rtol=RTOL)
    assert_allclose(
        model.component_rigidity(problem.new, problem.components),
        flat.component_rigidity(G, problem.components),
        rtol=RTOL,
    )
    if isinstance(problem.new, list):
        local = flat.local_rigidity(np.vstack(problem.new))
        assert_allclose(joined(model.local_rigidity(problem.new)), local, rtol=RTOL)
        container = Environments.from_arrays(problem.new)
        assert_allclose(problem.rigidities(model)[:5], model.prediction_rigidity(container))


@FEW
@given(problems())
def test_solvers_agree(problem):
    expected = problem.rigidities(problem.fit(solver="auto"))
    assert (expected > 0).all()
    for solver in ("cholesky", "qr", "spectral"):
        assert_allclose(problem.rigidities(problem.fit(solver=solver)), expected, rtol=RTOL)


# -- 6: primal and dual -----------------------------------------------------------------------


@FEW
@given(problems(intercept=False, prior="none"))
def test_primal_equals_dual(problem):
    """The posterior variance of a Gaussian process with a linear kernel is alpha / R."""
    alpha, seen = problem.parameters["alpha"], problem.s > 0
    F, G, s = problem.rows(problem.X)[seen], problem.rows(problem.new), problem.s[seen]
    model = problem.fit()
    K = F @ F.T + alpha * np.diag(1 / s)
    variance = np.sum(G**2, axis=1) - np.sum((G @ F.T) * np.linalg.solve(K, F @ G.T).T, axis=1)
    assert_allclose(
        alpha / model.prediction_rigidity(problem.new),
        variance,
        rtol=1e-7,
        atol=1e-9 * np.sum(G**2),
    )
    kernel = KernelRidge(alpha=alpha).fit(F, problem.y[seen], s)
    assert_allclose(model.predict(problem.new), kernel.predict(G), rtol=1e-6, atol=1e-6)


# -- 7, 8: nothing pins it; it cannot move ------------------------------------------------------


@FEW
@given(problems(form="matrix", prior="none"), st.floats(1e-3, 1e3))
def test_a_direction_that_no_data_has_seen(problem, size):
    X = np.column_stack([problem.X, np.full(len(problem.y), 2.0 if problem.intercept else 0.0)])
    alpha, d = problem.parameters["alpha"], X.shape[1]
    model = problem.model().fit(X, problem.y, problem.weight)
    mean = np.average(X, axis=0, weights=problem.weight) if problem.intercept else np.zeros(d)
    row = mean.copy()
    row[-1] += size
    expected = size**2 / alpha + (1 / problem.s.sum() if problem.intercept else 0.0)
    assert_allclose(model.prediction_rigidity([row]), 1 / expected, rtol=1e-9)


@FEW
@given(problems(form="matrix", prior="none", intercept=False), st.floats(1e-3, 1e3))
def test_without_a_regularizer_nothing_pins_it(problem, size):
    """Rigidity 0, exactly, and no warning."""
    X = np.column_stack([problem.X, np.zeros(len(problem.y))])
    d = X.shape[1]
    row = np.append(problem.X[0], size)
    free = problem.unregularized().fit(X, problem.y, problem.weight)
    assert_array_equal(free.prediction_rigidity([row]), 0.0)
    assert_array_equal(free.local_rigidity([row]), 0.0)
    assert_array_equal(free.component_rigidity([row], {"last": [d - 1]}), 0.0)
    assert_allclose(free.coef_[-1], 0.0, atol=1e-9)


@pytest.mark.parametrize("solver", ["auto", "qr", "spectral"])
@pytest.mark.parametrize("n", [6, 30])
def test_a_constant_column_beside_an_intercept_is_not_pinned(solver, n):
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.standard_normal((n, 3)), np.full(n, 2.0)])
    weight = rng.uniform(0.1, 3, n)
    model = RigidRidge(0.0, solver=solver).fit(X, rng.standard_normal(n), weight)
    assert_array_equal(model.prediction_rigidity(X + np.eye(4)[3]), 0.0)
    assert (model.prediction_rigidity(X) > 0).all()


@FEW
@given(problems())
def test_what_cannot_move_is_infinitely_rigid(problem):
    d, k = sum(problem.components), problem.components[0]
    model = problem.fit()
    row = problem.rows(problem.new)[:1].copy()
    row[:, :k] = 0.0
    R = model.component_rigidity(row, problem.components)
    assert np.isinf(R[0, 0])
    assert np.isfinite(R[0, 1])
    for plain in (problem.model(), problem.unregularized()):
        plain.set_params(fit_intercept=False).fit(problem.X, problem.y, problem.weight)
        assert_array_equal(plain.prediction_rigidity(np.zeros((1, d))), np.inf)
        assert_array_equal(plain.local_rigidity([np.zeros((2, d))])[0], np.inf)
        assert_array_equal(plain.predict(np.zeros((1, d))), 0.0)
    with_intercept = problem.fit(fit_intercept=True)
    assert np.isfinite(with_intercept.prediction_rigidity(np.zeros((1, d)))).all()
    summed = problem.fit(fit_intercept=True, aggregate="sum")
    assert_array_equal(summed.local_rigidity([np.zeros((2, d))])[0], np.inf)


# -- 9: leave one out -------------------------------------------------------------------------


@FEW
@given(problems())
def test_leaving_one_out_takes_its_weight_from_its_rigidity(problem):
    model = problem.fit()
    R, s = model.prediction_rigidity(problem.X), problem.s
    left = model.leave_one_out(problem.X, problem.y, problem.weight)
    assert_allclose(left.rigidity, R - s, rtol=RTOL, atol=1e-9 * s.max())
    residual = problem.y - model.predict(problem.X)
    # 1 - h by subtraction is what it is; where it has digits it must agree.
    spare = 1 - s / R
    good = spare > 1e-4
    assert_allclose(left.residual[good], residual[good] / spare[good], rtol=1e-6, atol=1e-6)
    assert_allclose(left.prediction + left.residual, problem.y, rtol=1e-12, atol=1e-12)


@settings(max_examples=20)
@given(problems())
@example(
    Problem(
        X=np.eye(3)[:, :2],
        y=np.arange(3.0),
        weight=None,
        new=np.ones((5, 2)),
        parameters={
            "alpha": 0.1,
            "regularizer": None,
            "fit_intercept": False,
            "aggregate": "mean",
            "solver": "auto",
        },
        components=[1, 1],
    )
)
def test_leaving_one_out_is_a_refit(problem):
    F, left = (
        problem.rows(problem.X),
        problem.fit().leave_one_out(problem.X, problem.y, problem.weight),
    )
    for i in range(min(3, len(F))):
        s = problem.s.copy()
        s[i] = 0.0
        if not s.any():
            continue
        refit = problem.model().fit(F, problem.y, s)
        assert_allclose(left.rigidity[i], refit.prediction_rigidity(F[i : i + 1])[0], rtol=RTOL)
        error = problem.y[i] - refit.predict(F[i : i + 1])[0]
        assert_allclose(left.residual[i], error, rtol=1e-6, atol=1e-8)


@settings(max_examples=20)
@given(problems(), SEEDS)
def test_leaving_out_groups_is_a_refit(problem, seed):
    F = problem.rows(problem.X)
    groups = np.random.default_rng(seed).integers(0, 3, len(F))
    left = problem.fit().leave_one_out(problem.X, problem.y, problem.weight, groups=groups)
    for group in np.unique(groups):
        members = groups == group
        s = np.where(members, 0.0, problem.s)
        if not s.any():
            continue
        refit = problem.model().fit(F, problem.y, s)
        assert_allclose(left.rigidity[members], refit.prediction_rigidity(F[members]), rtol=RTOL)
        error = problem.y[members] - refit.predict(F[members])
        assert_allclose(left.residual[members], error, rtol=1e-6, atol=1e-8)


# -- what follows for uncertainties -------------------------------------------------------------


@FEW
@given(problems())
def test_uncertainty_follows_rigidity(problem):
    model = problem.fit(calibration=None)
    R = model.prediction_rigidity(problem.new)
    assert_allclose(model.predict(problem.new, return_std=True)[1] ** -2, R, rtol=RTOL)
    covariance = model.predict(problem.new, return_cov=True)[1]
    assert_allclose(1 / np.diag(covariance), R, rtol=RTOL)
    combination = np.array([1.0, -2.0, 0.5, 0.0, 1.0])
    expected = 1 / (combination @ covariance @ combination)
    found = model.combination_rigidity(problem.new, combination)
    assert_allclose(found, expected, rtol=1e-5)
