"""The scale of the error bars: every method at its defining optimum, and what it leaves out."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.integrate import quad
from scipy.stats import norm

from skrigidity.calibration import (
    METHODS,
    RigidityCalibrator,
    _scale,
    fit_scale,
    gaussian_crps,
    gaussian_nll,
    scale_from_quad,
)


@pytest.fixture
def rows():
    """Residuals of the assumed form with some spread in R, and weights."""
    rng = np.random.default_rng(0)
    rigidity = 10.0 ** rng.uniform(-2, 2, 200)
    residual = rng.standard_normal(200) * np.sqrt(3 / rigidity + 0.5)
    return residual, rigidity, rng.uniform(0.1, 3, 200)


def mean_loss(method, residual, rigidity, weight, variance, noise):
    """What a method minimizes, as its documentation says."""
    total = variance / rigidity + noise
    if method == "crps":
        loss = gaussian_crps(residual, np.sqrt(total))
    elif method == "absolute_residuals":
        # Laplace's likelihood at the mean absolute residual of a Gaussian.
        loss = np.log(total) / 2 + np.sqrt(np.pi / 2 / total) * np.abs(residual)
    else:
        loss = gaussian_nll(residual, total)
    return np.average(loss, weights=weight)


# -- scores -----------------------------------------------------------------------------------


@pytest.mark.parametrize("residual", [0.0, 0.3, -2.0, 7.0])
@pytest.mark.parametrize("std", [0.05, 1.0, 4.0])
def test_crps_is_the_integral_that_defines_it(residual, std):
    def integrand(x):
        return (norm.cdf(x, scale=std) - (x >= residual)) ** 2

    width = 12 * std + abs(residual)
    exact = sum(
        quad(integrand, *ends, epsabs=1e-13, limit=200)[0]
        for ends in ((-width, residual), (residual, width))
    )
    score = gaussian_crps(np.array([residual]), np.array([std]))
    assert_allclose(score, exact, rtol=1e-7, atol=1e-10)


def test_crps_without_spread_is_the_absolute_residual():
    score = gaussian_crps(np.array([-2.0, 0.0, 3.0]), np.zeros(3))
    assert_allclose(score, [2, 0, 3])
    almost = gaussian_crps(np.array([-2.0, 0.0, 3.0]), np.full(3, 1e-12))
    assert_allclose(score, almost, atol=1e-11)


def test_nll_is_that_of_scipy(rows):
    residual, rigidity, _ = rows
    ours = gaussian_nll(residual, 1 / rigidity)
    assert_allclose(ours, -norm.logpdf(residual, scale=rigidity**-0.5), rtol=1e-12)


# -- optima -----------------------------------------------------------------------------------


@pytest.mark.parametrize("weighted", [False, True])
def test_scale_alone_has_the_documented_value(rows, weighted):
    residual, rigidity, weight = rows
    weight = weight if weighted else None
    squared = np.average(residual**2 * rigidity, weights=weight)
    absolute = np.average(np.abs(residual) * np.sqrt(rigidity), weights=weight)
    expected = {
        "squared_residuals": squared,
        "nll": squared,
        "absolute_residuals": np.pi / 2 * absolute**2,
    }
    for method, value in expected.items():
        fit = fit_scale(residual, rigidity, weight, method=method)
        assert_allclose(fit.variance, value, rtol=1e-12)
        assert (fit.noise, fit.n_excluded) == (0.0, 0)


@pytest.mark.parametrize("method", ["nll", "crps"])
def test_scale_alone_is_optimal(rows, method):
    best = fit_scale(*rows, method=method).variance
    lowest = mean_loss(method, *rows, best, 0.0)
    for factor in (0.5, 0.99, 0.9999, 1.0001, 1.01, 2.0):
        assert mean_loss(method, *rows, factor * best, 0.0) > lowest
    step = 1e-4
    slope = np.diff([mean_loss(method, *rows, best * (1 + s), 0.0) for s in (-step, step)])
    assert abs(slope[0]) / (2 * step) < 1e-8


@pytest.mark.parametrize("method", METHODS)
def test_scale_and_noise_are_optimal(rows, method):
    fit = fit_scale(*rows, method=method, noise=True)
    assert fit.variance > 0
    assert fit.noise > 0
    lowest = mean_loss(method, *rows, fit.variance, fit.noise)
    for a in (0.99, 1.0, 1.01):
        for b in (0.99, 1.0, 1.01):
            if (a, b) != (1, 1):
                assert mean_loss(method, *rows, a * fit.variance, b * fit.noise) > lowest
    alone = fit_scale(*rows, method=method).variance
    assert lowest <= mean_loss(method, *rows, alone, 0.0)


def test_squared_residuals_with_noise_solve_their_moment_equations(rows):
    """The weighted mean of ``e**2 - var`` vanishes along both parameters of the variance."""
    residual, rigidity, weight = rows
    fit = fit_scale(*rows, noise=True)
    total = fit.variance / rigidity + fit.noise
    surplus = weight * (residual**2 - total) / total**2
    for direction in (1 / rigidity, np.ones(200)):
        assert abs(surplus @ direction) < 1e-7 * (np.abs(surplus) @ direction)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("variance", "noise"), [(4.0, 0.5), (0.3, 2.0), (9.0, 0.0), (0.0, 1.5)])
def test_recovers_known_scales(method, variance, noise):
    rng = np.random.default_rng(1)
    rigidity = 10.0 ** rng.uniform(-3, 3, 40_000)
    residual = rng.standard_normal(40_000) * np.sqrt(variance / rigidity + noise)
    fit = fit_scale(residual, rigidity, method=method, noise=True)
    assert_allclose(fit.variance, variance, rtol=0.05, atol=0.01)
    assert_allclose(fit.noise, noise, rtol=0.05, atol=0.02)
    if noise == 0:
        alone = fit_scale(residual, rigidity, method=method)
        assert_allclose(alone.variance, variance, rtol=0.05)
        assert alone.noise == 0


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("noise", [False, True])
@pytest.mark.parametrize("unit", [1e-100, 1e6, 2.0**332])
def test_units(rows, method, noise, unit, monkeypatch):
    """No unit matters, that of the target, of the rigidity or of the weights, nor does it cost."""
    steps = []

    def counted(*args, _minimize=_scale.minimize, **options):
        best = _minimize(*args, **options)
        steps.append(best.nfev)
        return best

    monkeypatch.setattr(_scale, "minimize", counted)
    residual, rigidity, weight = rows
    fit = fit_scale(residual, rigidity, weight, method=method, noise=noise)
    scaled = fit_scale(unit * residual, rigidity, weight, method=method, noise=noise)
    rigid = fit_scale(residual, unit * rigidity, weight, method=method, noise=noise)
    heavy = fit_scale(residual, rigidity, unit * weight, method=method, noise=noise)
    # Units that are powers of two leave every digit, and every step of the search, as it was.
    exact = np.frexp(unit)[0] == 0.5
    rtol = 0 if exact else 1e-7
    assert_allclose(scaled[:2], np.multiply(fit[:2], unit) * unit, rtol=rtol)
    assert_allclose([rigid.variance / unit, rigid.noise], fit[:2], rtol=rtol)
    assert_allclose(heavy[:2], fit[:2], rtol=rtol)
    assert len(steps) == (4 if noise and method != "squared_residuals" else 0)
    assert max(steps, default=0) <= (steps[0] if exact and steps else 100)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("noise", [False, True])
def test_numbers_whose_squares_are_out_of_range(rows, method, noise):
    residual, rigidity, weight = rows
    # Intermediate squares are, the result is not.
    extreme = fit_scale(1e200 * residual, rigidity * 1e-200 * 1e-100, weight * 1e300, method=method)
    alone = fit_scale(*rows, method=method)
    assert_allclose(extreme.variance, alone.variance * 1e100, rtol=1e-10)
    for unit in (1e-200, 1e155, 1e300):
        for estimator in (fit_scale, RigidityCalibrator(method, noise=noise).fit):
            options = {"method": method, "noise": noise} if estimator is fit_scale else {}
            with pytest.raises(ValueError, match=r"residual\*\*2 .* beyond the range"):
                estimator(unit * residual, rigidity, weight, **options)


def test_scores_of_numbers_whose_squares_are_out_of_range():
    residual, std = np.array([1e200, 1e200, 1e-200]), np.array([1e200, 1e-200, 1e200])
    unit = gaussian_crps(np.array([1.0, 0.0]), np.ones(2))
    assert_allclose(gaussian_crps(residual, std), [1e200 * unit[0], 1e200, 1e200 * unit[1]])
    nll = gaussian_nll(np.array([1e160, 1e-160]), np.array([1e300, 1e-300]))
    assert_allclose(nll, -norm.logpdf(np.array([1e10, 1e-10]), scale=1.0) + np.log([1e150, 1e-150]))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("noise", [False, True])
def test_weights_repeat_rows(rows, method, noise):
    residual, rigidity, _ = rows
    counts = np.arange(200) % 3
    weighted = fit_scale(residual, rigidity, counts, method=method, noise=noise)
    repeated = fit_scale(
        np.repeat(residual, counts), np.repeat(rigidity, counts), method=method, noise=noise
    )
    assert_allclose(weighted, repeated, rtol=1e-5)


@pytest.mark.parametrize("noise", [False, True])
def test_quadratic_forms_and_several_targets(rows, noise):
    """`scale_from_quad` takes q = 1 / R, and columns of targets."""
    residual, rigidity, weight = rows
    q = np.column_stack([1 / rigidity, 2 / rigidity[::-1]])
    q[:2, 0], q[2, 1] = (0, np.inf), np.inf
    both = np.column_stack([residual, residual[::-1]])
    fit = scale_from_quad(both, q, weight, noise=noise)
    assert fit.n_excluded == 3
    for t in range(2):
        with np.errstate(divide="ignore"):
            column = fit_scale(both[:, t], 1 / q[:, t], weight, noise=noise)
        assert_allclose([fit.variance[t], fit.noise[t]], column[:2], rtol=1e-12)
    shared = scale_from_quad(both, q[:, 0], weight, noise=noise)
    assert shared.n_excluded == 2
    assert shared.variance[0] == fit.variance[0]
    assert_allclose(scale_from_quad(both, q[:, :1], weight, noise=noise)[:2], shared[:2])
    with pytest.raises(ValueError, match="one column or one per target"):
        scale_from_quad(both, q[:, [0, 1, 1]])


# -- limits -----------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("noise", [False, True])
def test_rows_without_a_scale_are_excluded_and_counted(rows, method, noise):
    residual, rigidity, weight = rows
    clean = fit_scale(*rows, method=method, noise=noise)
    more = fit_scale(
        np.concatenate([[1e9, np.nan, 5.0], residual]),
        np.concatenate([[0.0, 0.0, np.inf], rigidity]),
        np.concatenate([[1.0, 2.0, 3.0], weight]),
        method=method,
        noise=noise,
    )
    assert more == clean._replace(n_excluded=3)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("noise", [False, True])
def test_residuals_that_vanish(method, noise):
    assert fit_scale(np.zeros(4), np.ones(4), method=method, noise=noise) == (0.0, 0.0, 0)
    # One row of five that does not: every method has an answer, none warns.
    fit = fit_scale([0, 0, 0, 0, 1.0], [1, 2, 3, 4, 2.0], method=method, noise=noise)
    assert np.isfinite(fit).all()
    assert min(fit) >= 0


def test_crps_of_mostly_exact_predictions_is_best_without_spread():
    residual, rigidity = np.array([0.0] * 9 + [1.0]), np.ones(10)
    fit = fit_scale(residual, rigidity, method="crps")
    assert fit.variance == 0
    for variance in (1e-12, 1e-6, 1e-2, 1.0):
        assert mean_loss("crps", residual, rigidity, None, variance, 0.0) > 0.1
    half = fit_scale([0.0, 1.0], [1.0, 1.0], method="crps")
    assert 0 < half.variance < 1


def test_one_row():
    for method in METHODS:
        fit = fit_scale([2.0], [4.0], method=method)
        assert np.isfinite(fit.variance)
        assert fit.variance > 0
    assert fit_scale([2.0], [4.0]).variance == 16


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1.0], [1.0], None, "mse"), "method must be one of"),
        (([1.0, 2.0], [1.0]), "same length"),
        (([1.0], [1.0], [1.0, 2.0], METHODS[0]), "same length"),
        (([1.0, 2.0], [0.0, np.inf]), "rigidity must be positive and finite"),
        (([1.0, 2.0], [0.0, 1.0], [1.0, 0.0], METHODS[0]), "rigidity must be positive and finite"),
        (([], []), "rigidity must be positive and finite"),
        (([1.0], [-1.0]), "rigidity must have no negative"),
        (([1.0], [np.nan]), "rigidity must have no negative"),
        (([1.0, 2.0], [1.0, 1.0], [-1.0, 2.0], METHODS[0]), "sample_weight must be finite"),
        (([1.0, 2.0], [1.0, 1.0], [np.nan, 2.0], METHODS[0]), "sample_weight must be finite"),
        (([1.0, 2.0], [1.0, 1.0], [np.inf, 2.0], METHODS[0]), "sample_weight must be finite"),
        (([np.nan, 2.0], [1.0, 1.0]), "residual must be finite"),
        (([np.inf, 2.0], [1.0, 1.0]), "residual must be finite"),
    ],
)
def test_bad_input(arguments, message):
    residual, rigidity, weight, method = (*arguments, None, METHODS[0])[:4]
    with pytest.raises(ValueError, match=message):
        fit_scale(residual, rigidity, weight, method=method)
