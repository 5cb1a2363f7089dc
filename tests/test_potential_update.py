"""New frames after a fit: equal to a fit to all of them, by their own rows alone."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from pairs import PairDescriptor, frames_with_references

from skrigidity.atomistic import ACEDescriptor, RigidPotential, RigidPotentialCV

FRAMES = frames_with_references(16)
NEW = frames_with_references(3, seed=5)


def ace(**changes):
    parameters = {"cutoff": 4.0, "max_degree": (6, 4), "kind": "self-interacting", "r0": 2.0}
    return ACEDescriptor(**(parameters | changes))


def potential(descriptor=None, **changes):
    parameters = {"energy_error": 0.01, "virial_error": 0.05, "stress_key": "stress", "alpha": 1e-6}
    return RigidPotential(descriptor or PairDescriptor(), **(parameters | changes))


def everything(model, frames):
    names = ("energy", "forces", "stress")
    predicted = model.predict(frames, return_std=True, properties=names)
    rigidities = [model.prediction_rigidity(frames), model.stress_rigidity(frames)]
    rigidities += [*model.local_rigidity(frames), *model.force_rigidity(frames)]
    supports = [model.single_point(frame, ["local"])["support"] for frame in frames]
    each = [*rigidities, *supports]
    deviations = []
    for out, end in ((each, ""), (deviations, "_std")):
        for name in names:
            values = predicted[name + end]
            out += [*values] if isinstance(values, list) else [values]
    return tuple(np.concatenate([np.ravel(v) for v in out]) for out in (each, deviations))


def assert_equal_models(model, other):
    (values, deviations), (expected, others) = (everything(m, NEW) for m in (model, other))
    assert_allclose(values, expected, rtol=1e-9, atol=1e-11)
    # Scales are where a likelihood is largest, to the tolerance of its maximization.
    assert_allclose(deviations, others, rtol=1e-7)


@pytest.mark.filterwarnings("ignore:stress")  # without a baseline the model is a poor one
@pytest.mark.parametrize("descriptor", [PairDescriptor(), ace(species=["C", "Si"])])
@pytest.mark.parametrize("alpha", [1e-9, 1e-4])
@pytest.mark.parametrize("baseline", ["composition", None])
def test_update_is_refit(descriptor, alpha, baseline):
    options = {"alpha": alpha, "baseline": baseline}
    whole = potential(descriptor, **options).fit(FRAMES)
    model = potential(descriptor, **options).fit(FRAMES[:6])
    before = everything(model, NEW)[0]
    model.update(FRAMES[6:9]).update(FRAMES[9:]).recalibrate(FRAMES)
    assert_equal_models(model, whole)
    assert_allclose(model.coef_, whole.coef_, rtol=1e-6, atol=1e-9 * np.abs(whole.coef_).max())
    assert not np.allclose(before, everything(whole, NEW)[0], rtol=1e-3)
    assert model.n_training_ == whole.n_training_
    assert model.n_excluded_ == whole.n_excluded_
    for name in ("forces_std", "local_rigidity", "support"):
        found, expected = (m.training_quantile(name, 0.3) for m in (model, whole))
        assert found == pytest.approx(expected, rel=1e-8)


def test_scales_stay_until_recalibrated():
    model = potential().fit(FRAMES[:8])
    scales, quantile = dict(model.scale_), model.training_quantile("local_rigidity", 0.5)
    model.update(FRAMES[8:])
    assert model.scale_ == scales
    assert model.training_quantile("local_rigidity", 0.5) == quantile
    model.recalibrate(FRAMES)
    assert model.scale_ != scales


def test_frames_before_are_not_looked_at(monkeypatch):
    model, seen = potential().fit(FRAMES[:8]), []
    made = type(model.gradients_).of_frame
    monkeypatch.setattr(
        type(model.gradients_), "of_frame", lambda self, f, p: seen.append(f) or made(self, f, p)
    )
    model.update(FRAMES[8:10])
    assert len(seen) == 2
    assert all(any(frame is new for new in FRAMES[8:10]) for frame in seen)


def test_weights_and_missing_properties():
    frames = [frame.copy() for frame in FRAMES]
    for frame, old in zip(frames, FRAMES, strict=True):
        frame.calc = old.calc
    del frames[9].calc.results["energy"], frames[10].calc.results["stress"]
    weight = np.linspace(0.5, 2.0, len(frames))
    weight[[4, 12]] = 0.0
    whole = potential().fit(frames, sample_weight=weight)
    model = potential().fit(frames[:8], sample_weight=weight[:8])
    model.update(frames[8:], sample_weight=weight[8:]).recalibrate(frames, sample_weight=weight)
    assert_equal_models(model, whole)
    for frame, old in zip(frames, FRAMES, strict=True):
        assert frame.calc is old.calc


def test_saved_between(tmp_path):
    descriptor = ace(species=["C", "Si"])
    whole = potential(descriptor).fit(FRAMES)
    model = potential(descriptor).fit(FRAMES[:8])
    for start in (8, 12):
        model.update(FRAMES[start : start + 4]).save(tmp_path / "model.npz")
        model = RigidPotential.load(tmp_path / "model.npz")
    model.recalibrate(FRAMES)
    assert_equal_models(model, whole)
    left, expected = model.leave_one_out(FRAMES), whole.leave_one_out(FRAMES)
    assert_allclose(left.residual, expected.residual, rtol=1e-7)


def test_support_remembers_the_same_atoms():
    many = frames_with_references(150, seed=3)  # more atoms than are kept
    model = potential(calibration=None).fit(many[:90]).update(many[90:])
    whole = potential(calibration=None).fit(many)
    assert sum(map(len, many)) > len(whole.support_.features) == 500
    assert_allclose(model.support_.features, whole.support_.features)
    assert_allclose(model.support_.distances, whole.support_.distances)


def test_compositions_that_were_not_known():
    one = frames_with_references(6, symbols=("Si2C2",))
    other = frames_with_references(6, seed=8, symbols=("Si4C2",))
    model = potential().fit(one).update(other)
    whole = potential().fit([*one, *other])
    assert_allclose(model._columns.known, whole._columns.known, atol=1e-12)
    assert not np.allclose(potential().fit(one)._columns.known, whole._columns.known)


@pytest.mark.filterwarnings("ignore:the best")
def test_chosen_alpha_and_errors_stay():
    model = RigidPotentialCV(PairDescriptor(), alphas=[1e-8, 1e-6])
    model.fit(FRAMES[:8])
    errors, alpha = dict(model.errors_), model.alpha_
    model.update(FRAMES[8:])
    assert (model.errors_, model.alpha_) == (errors, alpha)


def test_what_cannot_be_added():
    model = potential().fit(FRAMES[:8])
    germanium = FRAMES[8].copy()
    germanium.numbers[0] = 32
    with pytest.raises(ValueError, match="Ge"):
        model.update([germanium])
    with pytest.raises(ValueError, match="no energy, forces"):
        model.update([FRAMES[8].copy()])
    with pytest.raises(ValueError, match="must be the training set"):
        model.recalibrate(FRAMES[:7])
    with pytest.raises(ValueError, match="nothing to recalibrate"):
        potential(calibration=None).fit(FRAMES).recalibrate(FRAMES)
