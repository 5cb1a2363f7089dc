"""Displays: their data, what they drop and count, and what they refuse. No picture is compared."""

import pickle
import subprocess
import sys

import numpy as np
import pytest
from scipy.special import ndtri
from sklearn.datasets import make_regression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skrigidity import Environments, RigidRidge
from skrigidity.metrics import miscalibration_area
from skrigidity.plotting import (
    BinnedErrorDisplay,
    CommitteeDisplay,
    ComponentRigidityDisplay,
    ErrorUncertaintyDisplay,
    RigidityDistributionDisplay,
    RigidityTrainingDisplay,
    TrajectoryRigidityDisplay,
    UncertaintyCalibrationDisplay,
)

plt = pytest.importorskip("matplotlib.pyplot", reason='needs pip install "skrigidity[plot]"')

OF_PREDICTIONS = [ErrorUncertaintyDisplay, BinnedErrorDisplay, UncertaintyCalibrationDisplay]


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


@pytest.fixture
def forecast():
    """Targets, predictions and standard deviations of Gaussian errors, spread over a decade."""
    rng = np.random.default_rng(0)
    y_std = 10 ** rng.uniform(-1, 0, 1000)
    y_true = rng.standard_normal(1000)
    return y_true, y_true + y_std * rng.standard_normal(1000), y_std


@pytest.fixture(scope="module")
def regression():
    X, y = make_regression(120, 6, noise=5.0, random_state=0)
    return X, y


@pytest.fixture(scope="module")
def structures():
    rng = np.random.default_rng(0)
    X = Environments.from_arrays([rng.standard_normal((n, 4)) for n in rng.integers(1, 6, 60)])
    return X, X.aggregate().sum(axis=1) + 0.3 * rng.standard_normal(60)


def xy(line):
    return np.array(line.get_data())


# -- all of them -------------------------------------------------------------------------------


def test_importing_brings_no_matplotlib():
    code = (
        "import sys, skrigidity.plotting; "
        "print([m for m in sys.modules if m.split('.')[0] in ('matplotlib', 'chemiscope', 'ase')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_without_matplotlib_the_extra_is_named(monkeypatch, forecast):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r'ErrorUncertaintyDisplay needs.*"skrigidity\[plot\]"'):
        ErrorUncertaintyDisplay.from_predictions(*forecast)


@pytest.mark.parametrize("display", OF_PREDICTIONS)
def test_estimator_and_predictions_agree(display, regression):
    """Directly, in a pipeline, and in a search over one; in axes that are given."""
    X, y = regression
    direct = RigidRidge(alpha=2.0).fit(X[:80], y[:80])
    _, ax = plt.subplots()
    expected = display.from_predictions(y[80:], *direct.predict(X[80:], return_std=True))
    ours = display.from_estimator(direct, X[80:], y[80:], ax=ax)
    assert ours.ax_ is ax
    assert ours.figure_ is ax.figure
    pipeline = make_pipeline(StandardScaler(with_mean=False, with_std=False), RigidRidge())
    search = GridSearchCV(pipeline, {"rigidridge__alpha": [2.0]}, cv=2).fit(X[:80], y[:80])
    composite = display.from_estimator(search, X[80:], y[80:])
    for other in (ours, composite):
        for name, values in vars(expected).items():
            if isinstance(values, np.ndarray) and values.dtype == float:
                np.testing.assert_allclose(getattr(other, name), values, rtol=1e-9)


@pytest.mark.parametrize("display", OF_PREDICTIONS)
def test_target_chooses_a_column(display, forecast):
    several = [np.stack([values + 1, values], axis=1) for values in forecast]
    one, two = display.from_predictions(*forecast), display.from_predictions(*several, target=1)
    for name, values in vars(one).items():
        if isinstance(values, np.ndarray) and values.dtype == float:
            np.testing.assert_array_equal(getattr(two, name), values)
    column = [values[:, None] for values in forecast]
    display.from_predictions(*column)
    with pytest.raises(ValueError, match="target must say which, from 0 to 1"):
        display.from_predictions(*several)
    with pytest.raises(ValueError, match="target must be at most 1"):
        display.from_predictions(*several, target=2)


@pytest.mark.parametrize(
    ("which", "value", "message"),
    [
        (0, np.nan, "y_true contains NaN"),
        (1, np.inf, "y_pred contains infinity"),
        (2, np.nan, "y_std must have no negative entry and no NaN"),
        (2, -0.1, "y_std must have no negative entry and no NaN, got -0.1"),
    ],
)
def test_bad_predictions(which, value, message, forecast):
    bad = [values.copy() for values in forecast]
    bad[which][3] = value
    with pytest.raises(ValueError, match=message):
        ErrorUncertaintyDisplay.from_predictions(*bad)


@pytest.mark.parametrize("display", OF_PREDICTIONS)
def test_predictions_of_different_lengths(display, forecast):
    with pytest.raises(ValueError, match="must have the same shape"):
        display.from_predictions(forecast[0], forecast[1], forecast[2][:-1])


@pytest.mark.parametrize("display", OF_PREDICTIONS)
def test_unknown_keywords(display, forecast):
    with pytest.raises(TypeError, match="colour"):
        display.from_predictions(*forecast, colour="red")


@pytest.mark.parametrize(
    "draw",
    [
        lambda R: RigidityDistributionDisplay.from_rigidities(R),
        lambda R: TrajectoryRigidityDisplay.from_rigidities(R),
        lambda R: TrajectoryRigidityDisplay.from_rigidities(np.ones(3), reference=R),
        lambda R: RigidityTrainingDisplay.from_rigidities([1, 2], [np.ones(3), R]),
        lambda R: ComponentRigidityDisplay.from_rigidities([1], R[None, :, None]),
        lambda R: CommitteeDisplay.from_predictions(R, np.ones(3)),
        lambda R: CommitteeDisplay.from_predictions(np.ones(3), R),
    ],
)
def test_bad_rigidities(draw):
    with pytest.raises(ValueError, match="must have no negative entry and no NaN, got -1"):
        draw(np.array([1.0, -1.0, 2.0]))
    with pytest.raises(ValueError, match="must have no negative entry and no NaN, got NaN"):
        draw(np.array([1.0, np.nan, 2.0]))


def test_groups_must_match(forecast, structures):
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        ErrorUncertaintyDisplay.from_predictions(*forecast, groups=["a"])
    with pytest.raises(ValueError, match="for each of 2 structures or of 3 environments, got 1"):
        RigidityDistributionDisplay.from_rigidities([np.ones(1), np.ones(2)], groups=["a"])


def test_groups_differ_by_more_than_color(forecast):
    groups = np.arange(1000) % 4
    display = ErrorUncertaintyDisplay.from_predictions(*forecast, groups=groups)
    assert [s.get_label() for s in display.scatters_] == ["0", "1", "2", "3"]
    assert len({tuple(s.get_facecolor()[0]) for s in display.scatters_}) == 4
    shapes = [s.get_paths()[0].vertices for s in display.scatters_]
    assert len({(v.shape, v.round(6).tobytes()) for v in shapes}) == 4
    steps = RigidityTrainingDisplay.from_rigidities(
        [1, 2], [groups + 1.0, groups + 2.0], groups=groups
    )
    assert len({line.get_marker() for line in steps.lines_}) == 4
    assert len({line.get_linestyle() for line in steps.lines_}) == 4


def test_displays_share_axes_with_different_styles(forecast):
    _, ax = plt.subplots()
    lines = [
        UncertaintyCalibrationDisplay.from_predictions(*forecast, name=name, ax=ax).line_
        for name in ("a", "b", "c")
    ]
    assert len({line.get_color() for line in lines}) == 3
    assert len({line.get_linestyle() for line in lines}) == 3


def test_keywords_reach_the_artists(forecast):
    display = ErrorUncertaintyDisplay.from_predictions(
        *forecast, scatter_kwargs={"c": "red", "s": 3}, line_kwargs={"lw": 4, "c": "green"}
    )
    assert display.scatters_[0].get_facecolor()[0].tolist()[:3] == [1.0, 0.0, 0.0]
    assert {line.get_linewidth() for line in display.isolines_} == {4}


def test_a_display_can_be_drawn_again(forecast):
    display = ErrorUncertaintyDisplay.from_predictions(*forecast)
    first = display.ax_
    assert display.plot(kind="signed") is display
    assert display.ax_ is not first


def test_drawn_displays_can_be_pickled(forecast):
    display = ErrorUncertaintyDisplay.from_predictions(*forecast)
    copy = pickle.loads(pickle.dumps(display))
    np.testing.assert_array_equal(copy.residual, display.residual)
    ticks = [[text.get_text() for text in d.ax_.get_xticklabels()] for d in (display, copy)]
    assert ticks[0] == ticks[1]
    assert "0.5" in ticks[0]


# -- errors against uncertainties -----------------------------------------------------------------


def test_isolines_hold_their_shares(forecast):
    display = ErrorUncertaintyDisplay.from_predictions(*forecast, unit="eV/atom")
    shares = []
    for line in display.isolines_:
        x, y = xy(line)
        np.testing.assert_allclose(y / x, y[0] / x[0])
        shares.append(np.mean(np.abs(display.residual) <= y[0] / x[0] * display.y_std))
    np.testing.assert_allclose(shares, [0.025, 0.16, 0.5, 0.84, 0.975], atol=0.04)
    assert display.ax_.get_xlabel() == "estimated uncertainty (eV/atom)"
    assert display.ax_.get_ylabel() == "|error| (eV/atom)"
    assert display.ax_.get_xscale() == display.ax_.get_yscale() == "log"


def test_signed_errors(forecast):
    display = ErrorUncertaintyDisplay.from_predictions(*forecast, kind="signed", isolines=[0.16])
    (line,) = display.isolines_
    x, y = xy(line)
    np.testing.assert_allclose(y, ndtri(0.16) * x)
    offsets = display.scatters_[0].get_offsets()
    np.testing.assert_allclose(offsets[:, 1], display.y_true - display.y_pred)
    assert display.ax_.get_yscale() == "linear"


def test_uncertainties_off_the_axes_are_counted(forecast):
    y_true, y_pred, y_std = (values.copy() for values in forecast)
    y_std[:3], y_std[3], y_pred[4] = np.inf, 0.0, y_true[4]
    y_pred[5] = y_true[5] + 1e-9
    display = ErrorUncertaintyDisplay.from_predictions(y_true, y_pred, y_std)
    reasons = {"uncertainty = ∞": 3, "uncertainty = 0": 1, "error = 0": 1}
    assert reasons.items() <= display.dropped_.items()
    (tiny,) = display.dropped_.keys() - reasons.keys()
    assert tiny.startswith("error < ")
    shown = sum(len(s.get_offsets()) for s in display.scatters_)
    assert shown == 1000 - sum(display.dropped_.values())
    (text,) = [t.get_text() for t in display.ax_.texts if "not shown" in t.get_text()]
    assert "3 with uncertainty = ∞" in text
    low, high = display.ax_.get_ylim()
    offsets = np.concatenate([s.get_offsets() for s in display.scatters_])
    assert low < offsets[:, 1].min() < offsets[:, 1].max() < high


def test_contours_enclose_their_shares(forecast):
    from skrigidity.plotting._error_uncertainty import density_of

    x, y = np.random.default_rng(0).standard_normal((2, 5000))
    estimate = density_of(x, y)
    area = (estimate.x[1] - estimate.x[0]) * (estimate.y[1] - estimate.y[0])
    np.testing.assert_allclose(estimate.values.sum() * area, 1)
    # Of a standard Gaussian in two dimensions: exp(-r^2 / 2) of the points are outside of r.
    shares = np.array([0.9, 0.5, 0.1])
    expected = (1 - shares) / (2 * np.pi)
    np.testing.assert_allclose(estimate.levels(tuple(shares)), expected, rtol=0.25)
    assert density_of(x[:19], y[:19]) is None
    assert density_of(np.ones(50), y[:50]) is None
    assert ErrorUncertaintyDisplay.from_predictions(*forecast).density_ is not None


def test_nothing_to_show():
    zeros = np.zeros(5)
    display = ErrorUncertaintyDisplay.from_predictions(zeros, zeros, zeros)
    assert display.dropped_ == {"uncertainty = 0": 5}


# -- bins ------------------------------------------------------------------------------------------


def test_bins_are_means_of_sorted_samples(forecast):
    y_true, y_pred, y_std = forecast
    display = BinnedErrorDisplay.from_predictions(*forecast, bin_size=50, unit="eV")
    parts = np.array_split(np.argsort(y_std), 20)
    np.testing.assert_array_equal(display.count, [50] * 20)
    np.testing.assert_allclose(display.predicted_variance, [np.mean(y_std[p] ** 2) for p in parts])
    errors = [np.mean((y_true - y_pred)[p] ** 2) for p in parts]
    np.testing.assert_allclose(display.squared_error, errors)
    x, y = np.log(display.predicted_variance), np.log(errors)
    np.testing.assert_allclose(display.slope, np.polyfit(x, y, 1)[0])
    np.testing.assert_allclose(display.mean_log_deviation, np.mean(np.abs(y - x)))
    assert abs(display.slope - 1) < 0.15
    assert display.ax_.get_xlabel() == "predicted variance (eV²)"


def test_intervals_of_bins_cover():
    """Of bins of Gaussian errors with unequal variances, 95 % contain their own variance."""
    from skrigidity.plotting._binned_error import _bin

    rng = np.random.default_rng(0)
    y_std = 10 ** rng.uniform(-0.3, 0.3, (2000, 20))
    errors = y_std * rng.standard_normal(y_std.shape)
    bins = [_bin(e**2, std**2) for e, std in zip(errors, y_std, strict=True)]
    variance, _, _, low, high = np.transpose(bins)
    assert abs(np.mean((low < variance) & (variance < high)) - 0.95) < 0.02


def test_bins_leave_out_what_has_no_logarithm(forecast):
    y_true, y_pred, y_std = (values.copy() for values in forecast)
    y_std[:2], y_std[2] = np.inf, 0.0
    display = BinnedErrorDisplay.from_predictions(y_true, y_pred, y_std)
    assert display.dropped_ == {"uncertainty = ∞": 2, "uncertainty = 0": 1}
    assert display.count.sum() == 997
    exact = BinnedErrorDisplay.from_predictions(y_true[5:9], y_true[5:9], y_std[5:9], bin_size=2)
    assert exact.dropped_ == {"mean squared error = 0": 2}
    with pytest.raises(ValueError, match="neither 0 nor infinite"):
        BinnedErrorDisplay.from_predictions(y_true[:2], y_pred[:2], y_std[:2])
    with pytest.raises(ValueError, match="bin_size must be at least 1"):
        BinnedErrorDisplay.from_predictions(*forecast, bin_size=0)


def test_bins_by_group(forecast):
    groups = np.repeat(["a", "b"], [100, 900])
    display = BinnedErrorDisplay.from_predictions(*forecast, groups=groups)
    assert display.groups.tolist() == ["a"] * 2 + ["b"] * 18
    assert display.count.sum() == 1000


# -- calibration -----------------------------------------------------------------------------------


def test_calibration_curve(forecast):
    y_true, y_pred, y_std = forecast
    display = UncertaintyCalibrationDisplay.from_predictions(*forecast, name="model")
    for p in (0.2, 0.68, 0.95):
        inside = np.mean(np.abs(y_true - y_pred) <= ndtri((1 + p) / 2) * y_std)
        at = np.searchsorted(display.expected_coverage, p, side="right") - 1
        assert display.observed_coverage[at] == pytest.approx(inside)
    area = miscalibration_area(*forecast)
    assert display.miscalibration_area == area
    # The curve is a staircase: its distance from the diagonal, summed on a fine grid.
    p = np.linspace(0, 1, 100_001)
    at = np.searchsorted(display.expected_coverage, p, side="right") - 1
    curve = display.observed_coverage[at]
    assert np.mean(np.abs(curve - p)) == pytest.approx(area, abs=1e-4)
    assert display.line_.get_label() == f"model (area = {area:.3f})"
    assert display.dropped_ == {}


def test_calibration_curve_of_infinite_and_zero_uncertainties():
    display = UncertaintyCalibrationDisplay.from_predictions(
        np.zeros(3), np.array([1.0, 1.0, 0.0]), np.array([np.inf, 0.0, 0.0])
    )
    np.testing.assert_array_equal(display.expected_coverage, [0, 0, 0, 1, 1])
    np.testing.assert_allclose(display.observed_coverage, [0, 1 / 3, 2 / 3, 1, 1])
