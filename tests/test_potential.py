"""RigidPotential: rows, frames left out, error bars, rigidities, files."""

import pickle
import warnings

import numpy as np
import pytest
from ase import Atoms
from pairs import PairDescriptor, frames_with_references, truth
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, GroupKFold

import skrigidity
from skrigidity.atomistic import (
    RigidPotential,
    RigidPotentialCV,
    neg_mae_energy,
    neg_mae_forces,
)
from skrigidity.atomistic.potential._leave_out import left_out
from skrigidity.metrics import get_scorers

ERRORS = {"energy": 0.01, "forces": 0.1, "stress": 0.05}


def potential(**changes):
    parameters = {
        "energy_error": ERRORS["energy"],
        "force_error": ERRORS["forces"],
        "virial_error": ERRORS["stress"],
        "stress_key": "stress",
        "alpha": 1e-6,
    }
    return RigidPotential(PairDescriptor(), **(parameters | changes))


@pytest.fixture(scope="module")
def frames():
    return frames_with_references(14)


@pytest.fixture(scope="module")
def model(frames):
    return potential().fit(frames)


def dense_rows(frame, descriptor, species):
    """Rows of a frame by property, from their definition."""
    features, positions, strain = descriptor.derivatives(frame)
    counts = np.array([(frame.numbers == z).mean() for z in species])
    pad = np.zeros((1, len(species)))
    n = len(frame)
    return {
        "energy": np.hstack([features.mean(axis=0), counts])[None],
        "forces": -np.hstack([positions.reshape(3 * n, -1), np.repeat(pad, 3 * n, axis=0)]),
        "stress": np.hstack([strain, np.repeat(pad, 6, axis=0)]) / n,
    }


def dense_hessian(frames, model, weight=None):
    """H, right-hand sides of its normal equations, and alpha."""
    weight = np.ones(len(frames)) if weight is None else weight
    d = model.coef_.size
    H, b = np.zeros((d, d)), np.zeros(d)
    for frame, s in zip(frames, weight, strict=True):
        rows = dense_rows(frame, model.descriptor_, model.species_)
        results, n = frame.calc.results, len(frame)
        values = {
            "energy": [results["energy"] / n],
            "forces": results["forces"].ravel(),
            "stress": results.get("stress", np.zeros(6)) * frame.get_volume() / n,
        }
        for name, error in model.errors_.items():
            if name in results:
                g = rows[name] / error
                H += s * g.T @ g
                b += s * g.T @ (np.asarray(values[name]) / error)
    own = model.descriptor_.n_features_out_
    alpha = model.alpha_ * np.diag(H)[:own].mean()
    H[np.diag_indices(own)] += alpha
    return H, b, alpha


def test_streamed_hessian_and_solution_equal_stacked_ones(frames, model):
    H, b, _ = dense_hessian(frames, model)
    root = np.triu(model.hessian_.root)
    np.testing.assert_allclose(root.T @ root, H, rtol=1e-12, atol=1e-12 * np.abs(H).max())
    np.testing.assert_allclose(model.coef_, np.linalg.solve(H, b), rtol=1e-7)
    q = model.prediction_rigidity(frames)
    rows = [dense_rows(f, model.descriptor_, model.species_)["energy"][0] for f in frames]
    expected = [ERRORS["energy"] ** 2 / (g @ np.linalg.solve(H, g)) for g in rows]
    np.testing.assert_allclose(q, expected, rtol=1e-8)


def test_rigidities_of_forces_and_stress(frames, model):
    H, _, _ = dense_hessian(frames, model)
    frame = frames[0]
    rows = dense_rows(frame, model.descriptor_, model.species_)
    for name, found in (
        ("forces", model.force_rigidity([frame])[0]),
        ("stress", model.stress_rigidity([frame])[0]),
    ):
        q = np.einsum("ij,ij->i", rows[name], np.linalg.solve(H, rows[name].T).T)
        np.testing.assert_allclose(found.ravel(), ERRORS[name] ** 2 / q, rtol=1e-8)


def test_a_row_more_raises_its_rigidity_by_one(frames, model):
    new = frames_with_references(1, seed=5)[0]
    rows = dense_rows(new, model.descriptor_, model.species_)
    for name, number in (("energy", 0), ("forces", 4), ("stress", 3)):
        g = rows[name][number] / ERRORS[name]
        more = model.hessian_.update(g[None])
        before, after = 1 / model.hessian_.quad(g[None])[0], 1 / more.quad(g[None])[0]
        np.testing.assert_allclose(after - before, 1.0, rtol=1e-7)
    weights = {"forces": [np.zeros((len(new), 3))]}
    weights["forces"][0][1, 1] = 1.0
    R = model.combination_rigidity([new], weights)
    np.testing.assert_allclose(R, 1 / model.hessian_.quad(rows["forces"][4:5] / 0.1)[0], rtol=1e-9)


def test_rigidity_with_adds_all_rows_of_a_frame(frames, model):
    added = frames_with_references(2, seed=5)
    # alpha stays what it was
    H, _, _ = dense_hessian(frames, model)
    for frame in added:
        for name, g in dense_rows(frame, model.descriptor_, model.species_).items():
            H += g.T @ g / ERRORS[name] ** 2
    g = dense_rows(frames[0], model.descriptor_, model.species_)["energy"][0]
    expected = ERRORS["energy"] ** 2 / (g @ np.linalg.solve(H, g))
    np.testing.assert_allclose(model.rigidity_with(frames[:1], added), [expected], rtol=1e-8)
    before = model.prediction_rigidity(frames)
    assert (model.rigidity_with(frames, added, [1.0, 3.0]) > before).all()
    dimer = Atoms("Si2", [[0, 0, 0], [0, 0, 2.0]])  # without a cell, so without a stress
    assert (model.rigidity_with(frames, [dimer]) > before).all()


@pytest.mark.parametrize("groups", [None, "group"])
def test_leave_one_out_equals_refits(frames, model, groups):
    """Also with refits where a group determines a direction nearly alone."""
    left = model.leave_one_out(frames, groups=groups)
    labels = (
        np.arange(len(frames)) if groups is None else np.array([f.info["group"] for f in frames])
    )
    for label in np.unique(labels)[:4]:
        rest = [f for f, own in zip(frames, labels, strict=True) if own != label]
        _, _, alpha = dense_hessian(frames, model)
        _, _, fewer = dense_hessian(rest, model)
        again = potential(alpha=model.alpha_ * alpha / fewer, calibration=None).fit(rest)
        again.alpha_ = model.alpha_
        for i in np.flatnonzero(labels == label):
            found = again.predict([frames[i]], properties=("energy", "forces", "stress"))
            scale = np.abs(left.forces[i]).max()
            np.testing.assert_allclose(left.prediction[i], found.energy[0], rtol=1e-8)
            np.testing.assert_allclose(left.forces[i], found.forces[0], atol=1e-8 * scale)
            np.testing.assert_allclose(
                left.stress[i], found.stress[0], atol=1e-8 * np.abs(found.stress).max()
            )
            np.testing.assert_allclose(
                left.rigidity[i], again.prediction_rigidity([frames[i]])[0], rtol=1e-7
            )
            np.testing.assert_allclose(
                left.forces_rigidity[i], again.force_rigidity([frames[i]])[0], rtol=1e-7
            )
            np.testing.assert_allclose(
                left.stress_rigidity[i], again.stress_rigidity([frames[i]])[0], rtol=1e-7
            )
    assert left.n_excluded == 0
    results = [f.calc.results for f in frames]
    np.testing.assert_allclose(
        left.prediction + left.residual, [r["energy"] for r in results], rtol=1e-12
    )


@pytest.mark.parametrize("k", [3, 20])
def test_whitened_rows_left_out(k):
    """By whichever product is smaller, of more or of fewer rows than columns."""
    rng = np.random.default_rng(k)
    z = rng.standard_normal((k, 8)) / 10
    error = rng.standard_normal(k)
    P = z @ z.T
    residual, quad = left_out(z, error)
    np.testing.assert_allclose(residual, np.linalg.solve(np.eye(k) - P, error), rtol=1e-12)
    np.testing.assert_allclose(quad, np.diag(np.linalg.solve(np.eye(k) - P, P)), rtol=1e-12)
    # A group that determines a direction all alone has no answer here.
    alone = np.linalg.qr(z if k > 8 else z.T)[0]
    assert left_out(alone if k > 8 else alone.T, error) is None


def test_leave_one_out_refits_what_a_frame_determines_alone(frames):
    """One frame has the only atom of its species."""
    odd = frames_with_references(1, ["Si4Ge"], seed=9)
    model = potential(alpha=1e-9).fit([*frames, *odd])
    left = model.leave_one_out([*frames, *odd])
    assert left.n_excluded == 1
    assert left.rigidity[-1] == 0
    assert np.isfinite(left.residual).all()
    assert (left.rigidity[:-1] > 0).all()


def test_one_composition():
    """Energies of atoms are known but for their split among species, other compositions not."""
    frames = frames_with_references(14, ["Si4C2"])
    model = potential().fit(frames)
    other = frames_with_references(1, ["Si3C3"], seed=7)
    assert model.prediction_rigidity(other)[0] == 0
    assert (model.prediction_rigidity(frames) > 0).all()
    found = model.single_point(frames[0], ("energy", "local"))
    assert (found["local_rigidity"] > 0).all()
    assert np.isfinite(found["energies_std"]).all()
    np.testing.assert_allclose(found["energies"].sum(), model.predict(frames[:1])[0])
    np.testing.assert_allclose(model.predict_local(frames[:1])[0], found["energies"])
    np.testing.assert_allclose(model.local_rigidity(frames[:1])[0], found["local_rigidity"])


def test_a_single_group_has_no_error_bars(frames):
    model = potential().fit(frames, groups=np.zeros(len(frames)))
    assert model.predict(frames[:1]).shape == (1,)
    assert (model.prediction_rigidity(frames) > 0).all()
    with pytest.raises(ValueError, match="the scale of error bars of energy is not known"):
        model.predict(frames, return_std=True)
    with pytest.raises(ValueError, match="the scale of error bars of forces is not known"):
        model.single_point(frames[0], ["forces"])


def test_frames_are_not_remembered(frames):
    pytest.importorskip("sphericart")
    from skrigidity.atomistic import ACEDescriptor, make_descriptor_union

    small = ACEDescriptor(cutoff=3.0, max_degree=(3,), dtype="float32", output="sum")
    for descriptor in (small, make_descriptor_union(small, small)):
        fitted = RigidPotential(descriptor, calibration=None).fit(frames).descriptor_
        parameters = fitted.get_params()
        assert {v for k, v in parameters.items() if k.endswith("cache_size")} == {0}
        assert {v for k, v in parameters.items() if k.endswith("dtype")} == {"float64"}
        assert fitted.transform(frames).dtype == np.float64


def test_other_frames_cannot_be_left_out(frames, model):
    with pytest.raises(ValueError, match="must be the training set"):
        model.leave_one_out(frames[1:])
    with pytest.raises(ValueError, match="must be the training set"):
        model.leave_one_out(frames, sample_weight=np.full(len(frames), 2.0))


def test_weights_of_frames(frames):
    weight = np.linspace(0, 2, len(frames))
    weighted = potential().fit(frames, sample_weight=weight)
    H, _, _ = dense_hessian(frames, weighted, weight)
    root = weighted.hessian_.root
    np.testing.assert_allclose(np.triu(root).T @ np.triu(root), H, atol=1e-12 * np.abs(H).max())
    for frame, s in zip(frames, weight, strict=True):
        frame.info["trust"] = s
    named = potential(weight_key="trust").fit(frames)
    np.testing.assert_array_equal(named.coef_, weighted.coef_)
    by_group = potential(calibration=None).fit(frames, groups="group", sample_weight={"a": 0.5})
    each = [0.5 if f.info["group"] == "a" else 1.0 for f in frames]
    plain = potential(calibration=None).fit(frames, sample_weight=each)
    np.testing.assert_array_equal(by_group.coef_, plain.coef_)
    twice = potential(calibration=None).fit([*frames, *frames[:3]])
    double = potential(calibration=None).fit(frames, sample_weight=[2.0] * 3 + [1.0] * 11)
    np.testing.assert_allclose(twice.coef_, double.coef_, rtol=1e-6)
    left = weighted.leave_one_out(frames, sample_weight=weight)
    assert np.isnan(left.residual[0])  # of weight zero
    without = weight.copy()
    without[5] = 0.0
    _, _, alpha = dense_hessian(frames, weighted, weight)
    _, _, fewer = dense_hessian(frames, weighted, without)
    again = potential(alpha=weighted.alpha_ * alpha / fewer).fit(frames, sample_weight=without)
    assert left.prediction[5] == pytest.approx(again.predict(frames[5:6])[0], rel=1e-9)
    assert left.rigidity[5] == pytest.approx(again.prediction_rigidity(frames[5:6])[0], rel=1e-7)
    with pytest.raises(ValueError, match="no frame is in group 'x'"):
        potential().fit(frames, groups="group", sample_weight={"x": 1.0})
    frames[3].info["trust"] = -1.0
    with pytest.raises(ValueError, match="egative values in data"):
        potential(weight_key="trust").fit(frames)
    with pytest.raises(ValueError, match="give groups as well"):
        potential().fit(frames, sample_weight={"a": 1.0})
    with pytest.raises(ValueError, match=r"sample_weight|[Nn]egative"):
        potential().fit(frames, sample_weight=-weight)


@pytest.mark.parametrize("core", [None, "zbl"])
def test_forces_and_stress_are_derivatives_of_the_energy(frames, core):
    model = potential(core=core, calibration=None).fit(frames)
    frame = frames[0].copy()
    frame.positions[1] = frame.positions[0] + [0.9, 0.5, -0.3]  # near enough for a core
    found = model.single_point(frame)

    def energy(positions, strain):
        moved = frame.copy()
        moved.positions = positions
        moved.set_cell(moved.cell.array @ strain, scale_atoms=False)
        moved.positions = moved.positions @ strain
        return model.single_point(moved)["energy"]

    h, x = 1e-5, frame.positions
    if core:
        bare = potential(calibration=None).fit(frames).single_point(frame)
        assert found["energy"] - bare["energy"] > 1.0
    for atom, k in ((0, 0), (1, 1), (3, 2)):
        step = np.zeros_like(x)
        step[atom, k] = h
        slope = (energy(x + step, np.eye(3)) - energy(x - step, np.eye(3))) / (2 * h)
        assert slope == pytest.approx(-found["forces"][atom, k], rel=1e-6, abs=1e-7)
    for number, (a, b) in enumerate(((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))):
        step = np.zeros((3, 3))
        step[a, b] += h / 2
        step[b, a] += h / 2
        slope = (energy(x, np.eye(3) + step) - energy(x, np.eye(3) - step)) / (2 * h)
        assert slope / frame.get_volume() == pytest.approx(
            found["stress"][number], rel=1e-6, abs=1e-8
        )
    assert found["free_energy"] == found["energy"] == pytest.approx(found["energies"].sum())


def test_single_point_agrees_with_everything_else(frames, model):
    frame = frames[3]
    found = model.single_point(frame, ("energy", "forces", "stress", "local"))
    plain = model.single_point(frame)
    assert {key for key in found if key not in plain} == {
        "energy_std", "forces_std", "stress_std", "energies_std", "local_rigidity", "support"
    }  # fmt: skip
    for key, value in plain.items():
        np.testing.assert_allclose(found[key], value, rtol=1e-10, atol=1e-12)
    names = ("energy", "forces", "stress")
    several = model.predict([frame], return_std=True, properties=names)
    for name in names:
        value, std = model.predict([frame], return_std=True, properties=name)
        for one, key in ((value, name), (std, name + "_std")):
            np.testing.assert_allclose(one[0], found[key], rtol=1e-10)
            np.testing.assert_allclose(several[key][0], found[key], rtol=1e-10)
    local, local_std = model.predict_local([frame], return_std=True)
    np.testing.assert_allclose(local[0], found["energies"], rtol=1e-10)
    np.testing.assert_allclose(local_std[0], found["energies_std"], rtol=1e-10)
    np.testing.assert_allclose(model.local_rigidity([frame])[0], found["local_rigidity"])
    assert ((found["support"] >= 0) & (found["support"] <= 1)).all()
    parts = model.predict_components([frame])
    assert parts.sum() == pytest.approx(found["energy"])
    assert model.component_rigidity([frame], ["Si", "composition"]).shape == (1, 2)
    local_parts = model.predict_components([frame], level="local")[0]
    np.testing.assert_allclose(local_parts.sum(axis=1), found["energies"])
    with pytest.raises(ValueError, match="uncertainty must be among"):
        model.single_point(frame, ("pressure",))
    with pytest.raises(ValueError, match="properties must be among"):
        model.predict([frame], properties="dipole")


def test_covariances(frames, model):
    some = frames[:3]
    _, std = model.predict(some, return_std=True)
    _, cov = model.predict(some, return_cov=True)
    np.testing.assert_allclose(np.sqrt(np.diag(cov)), std)
    for name in ("forces", "stress"):
        _, std = model.predict(some, return_std=True, properties=name)
        _, cov = model.predict(some, return_cov=True, properties=name)
        np.testing.assert_allclose(np.sqrt(np.diag(cov[1])), np.ravel(std[1]))
    draws = model.sample_y(some, 4000, random_state=0, noise=True)
    energy, std = model.predict(some, return_std=True)
    np.testing.assert_allclose(draws.mean(axis=1), energy, atol=5 * std.max() / 60)
    np.testing.assert_allclose(draws.std(axis=1), std, rtol=0.1)


def test_calibration_modes(frames, model):
    assert set(model.scale_) == {"energy", "forces", "stress"}
    plain = potential(calibration=None).fit(frames)
    assert plain.scale_ == dict.fromkeys(plain.scale_, 1.0)
    only_scale = potential(calibration="loo").fit(frames)
    assert only_scale.noise_variance_ == dict.fromkeys(only_scale.scale_, 0.0)
    left = only_scale.leave_one_out(frames)
    z2 = (left.residual / 6) ** 2 * left.rigidity / ERRORS["energy"] ** 2
    assert only_scale.scale_["energy"] == pytest.approx(z2.mean())
    new = frames_with_references(6, seed=3)
    calibrated = clone(plain).fit(frames).calibrate(new, noise=False)
    R, error = calibrated.prediction_rigidity(new), calibrated.predict(new)
    error = (error - [f.calc.results["energy"] for f in new]) / 6
    assert calibrated.scale_["energy"] == pytest.approx(
        np.mean(error**2 * R) / ERRORS["energy"] ** 2
    )
    by_group = clone(plain).fit(frames).calibrate(new, by=["a", "b", "b", "b", "b", "b"])
    assert by_group.scale_ != calibrated.scale_
    with pytest.raises(ValueError, match="method must be one of"):
        model.calibrate(new, method="guess")


def test_rows_made_twice_give_the_same(frames, model):
    streamed = potential(cache_size=0).fit(frames)
    np.testing.assert_array_equal(streamed.coef_, model.coef_)
    assert streamed.scale_ == model.scale_


@pytest.mark.parametrize("solver", ["cholesky", "spectral"])
def test_other_factorizations(frames, model, solver):
    other = potential(solver=solver).fit(frames)
    np.testing.assert_allclose(other.coef_, model.coef_, rtol=1e-5)
    np.testing.assert_allclose(
        other.prediction_rigidity(frames), model.prediction_rigidity(frames), rtol=1e-6
    )


def test_alpha_by_leaving_out(frames):
    chosen = potential(alpha="loo").fit(frames)
    scores = chosen.cv_results_["mean_neg_log_likelihood"]
    assert chosen.alpha_ == chosen.cv_results_["alpha"][np.argmin(scores)]
    again = potential(alpha=chosen.alpha_).fit(frames)
    np.testing.assert_array_equal(again.coef_, chosen.coef_)
    assert again.scale_ == chosen.scale_


def test_cross_validated_errors(frames):
    grid = {"energy_errors": (0.002, 0.05), "virial_errors": (0.02, 0.5), "alphas": (1e-8, 1e-2)}
    with pytest.warns(UserWarning, match="best alpha, 1e-08, is at the edge of what was tried"):
        chosen = RigidPotentialCV(PairDescriptor(), stress_key="stress", **grid).fit(frames)
    assert len(chosen.cv_results_["alpha"]) == 8
    one = RigidPotential(
        PairDescriptor(),
        energy_error=chosen.errors_["energy"],
        virial_error=chosen.errors_["stress"],
        alpha=chosen.alpha_,
        stress_key="stress",
    ).fit(frames)
    np.testing.assert_array_equal(one.coef_, chosen.coef_)
    assert chosen.alpha_ == 1e-8
    uncached = clone(chosen).set_params(cache_size=0).fit(frames)
    assert uncached.errors_ == chosen.errors_
    with pytest.raises(ValueError, match="alphas must be positive"):
        RigidPotentialCV(PairDescriptor(), alphas=(-1.0,)).fit(frames)


def test_combinations_against_brute_force(frames, model):
    some = frames[:3]
    rng = np.random.default_rng(2)
    weights = {
        "energy": [1.0, -2.0, 0.0],
        "forces": [rng.standard_normal((6, 3)), np.zeros((6, 3)), np.zeros((6, 3))],
        "stress": rng.standard_normal((3, 6)),
    }
    H, _, _ = dense_hessian(frames, model)
    gradient, reference, parts = 0, 0.0, dict.fromkeys(weights, 0)
    for i, frame in enumerate(some):
        rows = dense_rows(frame, model.descriptor_, model.species_)
        n, volume = len(frame), frame.get_volume()
        for name, unit in (("energy", n), ("forces", 1), ("stress", n / volume)):
            c = np.ravel(weights[name][i])
            gradient = gradient + unit * c @ rows[name]
            parts[name] = parts[name] + unit * c @ rows[name]
            reference += ERRORS[name] ** 2 * unit**2 * (c @ c)
    R = model.combination_rigidity(some, weights)
    assert reference / (gradient @ np.linalg.solve(H, gradient)) == pytest.approx(R, rel=1e-8)
    value, std = model.predict_combination(some, weights, return_std=True)
    found = model.predict(some, properties=("energy", "forces", "stress"))
    expected = found.energy @ weights["energy"] + np.sum(found.stress * weights["stress"])
    assert value == pytest.approx(expected + np.sum(found.forces[0] * weights["forces"][0]))
    mixed = sum(np.sqrt(model.scale_[name]) * g for name, g in parts.items())
    assert std**2 == pytest.approx(mixed @ np.linalg.solve(H, mixed), rel=1e-8)
    assert model.predict_combination(some, weights, True, noise=True)[1] > std
    # One energy, force or stress alone has the rigidity that it has by itself.
    single = model.combination_rigidity(some, np.eye(3))
    np.testing.assert_allclose(single, model.prediction_rigidity(some), rtol=1e-10)
    several = model.combination_rigidity(some, [weights, {"energy": [1.0, 0.0, 0.0]}])
    np.testing.assert_allclose(several, [R, single[0]], rtol=1e-10)
    with pytest.raises(ValueError, match="zero throughout"):
        model.combination_rigidity(some, [0.0, 0.0, 0.0])
    with pytest.raises(ValueError, match="one entry per frame"):
        model.combination_rigidity(some, [1.0, 0.0])
    with pytest.raises(ValueError, match=r"of shape \(6, 3\) for frame 0"):
        model.combination_rigidity(some, {"forces": np.zeros((3, 2, 3))})
    with pytest.raises(ValueError, match="weights must be those of"):
        model.combination_rigidity(some, {"dipole": np.zeros(3)})


def test_error_bars_of_combinations_are_those_of_resampled_data():
    """Refits to references with other noise spread as 1 / R says, in units of that noise."""
    clean = frames_with_references(10, noise=0.0, stress=False)
    errors = {"energy_error": 0.01, "force_error": 0.05}
    model = RigidPotential(PairDescriptor(), alpha=1e-10, calibration=None, **errors).fit(clean)
    rng = np.random.default_rng(0)
    pair = clean[:2]
    weights = {"energy": [1.0, -1.0], "forces": [np.eye(6, 3), np.zeros((6, 3))]}
    values = []
    for _ in range(200):
        noisy = [frame.copy() for frame in clean]
        for frame, original in zip(noisy, clean, strict=True):
            results = original.calc.results
            frame.info["energy"] = results["energy"] + 0.01 * 6 * rng.standard_normal()
            frame.arrays["forces"] = results["forces"] + 0.05 * rng.standard_normal((6, 3))
        refit = clone(model).fit(noisy)
        values.append(refit.predict_combination(pair, weights))
    _, std = model.predict_combination(pair, weights, return_std=True)
    assert np.std(values) == pytest.approx(std, rel=0.15)


def test_save_and_load(tmp_path):
    pytest.importorskip("sphericart")
    from skrigidity.atomistic import ACEDescriptor

    frames = frames_with_references(6, seed=1)
    descriptor = ACEDescriptor(
        cutoff=3.5, max_degree=(5, 4), kind="self-interacting", r0="covalent"
    )
    for model in (
        RigidPotential(descriptor, core="zbl", virial_error=0.1, stress_key="stress"),
        RigidPotentialCV(descriptor, baseline={"Si": -14.0, "C": -6.0}, regularizer="smooth"),
    ):
        model.fit(frames)
        path = tmp_path / "model.npz"
        model.save(path)
        assert list(tmp_path.iterdir()) == [path]
        again = type(model).load(path)
        everything = ("energy", "forces", "stress", "local")
        first, second = (m.single_point(frames[0], everything) for m in (model, again))
        for key, value in first.items():
            np.testing.assert_allclose(second[key], value, rtol=1e-13, atol=0, err_msg=key)
        np.testing.assert_array_equal(again.coef_, model.coef_)
        assert repr(again.get_params()) == repr(model.get_params())
        np.testing.assert_allclose(
            again.leave_one_out(frames).rigidity, model.leave_one_out(frames).rigidity, rtol=1e-9
        )
        np.testing.assert_allclose(
            again.rigidity_with(frames, frames[:1]), model.rigidity_with(frames, frames[:1])
        )
        for name in ("energy_std", "forces_std", "local_rigidity", "support"):
            assert again.training_quantile(name, 0.9) == pytest.approx(
                model.training_quantile(name, 0.9)
            )
        other = RigidPotentialCV if type(model) is RigidPotential else RigidPotential
        with pytest.raises(ValueError, match=f"use {type(model).__name__}.load"):
            other.load(path)


def test_save_and_load_other_descriptors(tmp_path):
    pytest.importorskip("featomic")
    from skrigidity.atomistic import (
        CompositionDescriptor,
        FeatomicDescriptor,
        make_descriptor_union,
    )

    frames = frames_with_references(4, seed=1)
    soap = FeatomicDescriptor(cutoff=3.5, max_radial=2, max_angular=1)
    for descriptor in (soap, make_descriptor_union(CompositionDescriptor(), soap)):
        model = RigidPotential(descriptor, baseline=None).fit(frames)
        model.save(tmp_path / "model.npz")
        again = RigidPotential.load(tmp_path / "model.npz")
        everything = ("energy", "forces", "stress", "local")
        first, second = (m.single_point(frames[0], everything) for m in (model, again))
        for key, value in first.items():
            np.testing.assert_allclose(second[key], value, rtol=1e-10, atol=1e-13, err_msg=key)


def test_what_cannot_be_saved_or_loaded(model, tmp_path):
    with pytest.raises(ValueError, match="PairDescriptor cannot be saved without pickle"):
        model.save(tmp_path / "model.npz")
    assert not any(tmp_path.iterdir())
    text = tmp_path / "text.npz"
    text.write_text("nothing")
    with pytest.raises(ValueError, match="is not a saved potential"):
        RigidPotential.load(text)
    np.savez(tmp_path / "arrays.npz", x=np.ones(3))
    with pytest.raises(ValueError, match="is not a saved potential"):
        RigidPotential.load(tmp_path / "arrays.npz")
    with pytest.raises(FileNotFoundError):
        RigidPotential.load(tmp_path / "no.npz")
    with pytest.raises(NotFittedError):
        potential().save(tmp_path / "model.npz")


def test_clone_and_pickle(frames, model):
    assert skrigidity.RigidPotential is RigidPotential
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict(frames), model.predict(frames))
    with pytest.raises(NotFittedError):
        clone(model).predict(frames)
    with pytest.raises(NotFittedError):
        clone(model).single_point(frames[0])


def test_searches(frames):
    groups = [frame.info["group"] for frame in frames]
    grid = {"force_error": [0.05, 0.5], "descriptor__cutoff": [3.0, 4.0]}
    scoring = {"energy": neg_mae_energy, "forces": neg_mae_forces}
    search = GridSearchCV(
        potential(calibration=None), grid, cv=GroupKFold(3), scoring=scoring, refit="forces"
    ).fit(frames, groups=groups)
    assert search.best_params_["descriptor__cutoff"] == 4.0
    assert (search.cv_results_["mean_test_energy"] < 0).all()
    named = get_scorers(["neg_mae_energy", "neg_mae_forces"])
    assert named == {"neg_mae_energy": neg_mae_energy, "neg_mae_forces": neg_mae_forces}
    default = GridSearchCV(potential(calibration=None), grid, cv=GroupKFold(3))
    assert default.fit(frames, groups=groups).best_score_ > 0.9


def test_score(frames, model):
    new = frames_with_references(4, seed=8)
    predicted = np.concatenate(model.predict(new, properties="forces"))
    true = np.concatenate([f.calc.results["forces"] for f in new])
    R2 = 1 - np.sum((true - predicted) ** 2) / np.sum((true - true.mean()) ** 2)
    assert model.score(new) == pytest.approx(R2)
    for frame in new:
        del frame.calc.results["forces"]
    energies = [f.calc.results["energy"] / 6 for f in new]
    error = np.array(energies) - model.predict(new) / 6
    assert model.score(new) == pytest.approx(1 - np.sum(error**2) / np.var(energies) / 4)
    assert neg_mae_energy(model, new) == pytest.approx(-np.abs(error).mean())
    y = model.predict(new)
    assert model.score(new, y) == 1.0
    with pytest.raises(ValueError, match="no forces found"):
        neg_mae_forces(model, new)


def test_error_table(frames, model):
    new = frames_with_references(9, seed=4)
    table = model.error_table(new, by="group")
    assert table.index.names == ["group", "property"]
    assert len(table) == 12
    error = np.concatenate(model.predict(new, properties="forces"))
    error = error - np.concatenate([f.calc.results["forces"] for f in new])
    forces = table.loc[("all", "forces")]
    assert forces["mae"] == pytest.approx(np.abs(error).mean())
    assert forces["rmse"] == pytest.approx(np.sqrt(np.mean(error**2)))
    assert forces["n"] == error.size
    _, std = model.predict(new, True, properties="forces")
    inside = np.abs(error) <= 2 * np.concatenate(std)
    assert forces["coverage_2"] == pytest.approx(inside.mean())
    assert table.loc[("a", "energy"), "n"] == 3
    assert len(model.error_table(new)) == 3


def test_rows_that_symmetry_makes_zero_are_left_out(model, frames):
    from ase.build import bulk

    crystal = bulk("Si", "sc", a=2.6)
    crystal.info |= {"energy": truth(crystal)[0]}
    crystal.arrays["forces"] = np.zeros((1, 3))
    R = model.force_rigidity([crystal])[0]
    assert (R > 1e12).all()
    table = model.error_table([*frames_with_references(3, seed=2), crystal])
    assert table.loc[("all", "forces"), "n_still"] == 3
    assert table.loc[("all", "forces"), "mae_moving"] > table.loc[("all", "forces"), "mae"]
    fitted = potential().fit([*frames, crystal])
    assert fitted.n_excluded_["forces"] == 3
    assert all(np.isfinite(fitted.scale_[p]) for p in fitted.scale_)


def test_support_falls_outside_of_what_was_seen(frames, model):
    inside = model.single_point(frames[0], ["local"])["support"]
    frame = Atoms("Si2", [[0, 0, 0], [0, 0, 3.9]])
    outside = model.single_point(frame, ["local"])["support"]
    assert outside.max() == 0
    assert inside.mean() > 0.1


def test_regularizers(frames):
    d = 10
    smooth = potential(regularizer="smooth", alpha=0.1, calibration=None).fit(frames)
    gamma = np.tile(np.arange(1, 6) ** 4.0, 2)
    diagonal = potential(regularizer=gamma / gamma.mean(), alpha=0.1, calibration=None).fit(frames)
    matrix = potential(regularizer=np.diag(gamma / gamma.mean()), alpha=0.1, calibration=None).fit(
        frames
    )
    np.testing.assert_allclose(smooth.coef_, diagonal.coef_, rtol=1e-12)
    np.testing.assert_allclose(smooth.coef_, matrix.coef_, rtol=1e-8)
    with pytest.raises(ValueError, match=f"regularizer must have {d} entries"):
        potential(regularizer=np.ones(3)).fit(frames)


def test_fit_leaves_nothing_behind_on_frames(frames):
    before = [(f.info.copy(), sorted(f.arrays), dict(f.calc.results)) for f in frames]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        potential().fit(frames, groups="group")
    for (info, arrays, results), frame in zip(before, frames, strict=True):
        assert info == frame.info
        assert arrays == sorted(frame.arrays)
        assert results.keys() == frame.calc.results.keys()
