"""Reference energies, forces and stress of frames, and what a potential makes of odd ones."""

import warnings

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from frame_checks import FRAME_CHECKS, molecules
from pairs import PairDescriptor, add_references, frames_with_references, truth

from skrigidity.atomistic import RigidPotential


def potential(**changes):
    return RigidPotential(PairDescriptor(), **({"calibration": None} | changes))


@pytest.fixture
def frames():
    return frames_with_references(8)


def renamed(frames, energy="energy", forces="forces", stress=None, form="voigt"):
    """The same frames, with their references in `info` and `arrays`."""
    out = []
    for frame in frames:
        copy, results = frame.copy(), frame.calc.results
        copy.info[energy] = results["energy"]
        copy.arrays[forces] = results["forces"]
        if stress is not None:
            xx, yy, zz, yz, xz, xy = results["stress"]
            matrix = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
            forms = {"voigt": results["stress"], "9": matrix.ravel(), "3x3": matrix}
            copy.info[stress] = forms[form]
        out.append(copy)
    return out


@pytest.mark.parametrize(
    ("energy", "forces"),
    [("energy", "forces"), ("REF_energy", "REF_forces"), ("energy_dft", "forces_dft"),
     ("dft_energy", "force"), ("Energy", "DFT_Forces")],
)  # fmt: skip
def test_names_that_are_found(frames, energy, forces):
    expected = potential().fit(frames)
    found = potential().fit(renamed(frames, energy, forces))
    np.testing.assert_array_equal(found.coef_, expected.coef_)
    assert found.keys_ == {"energy": energy, "forces": forces}


def test_names_that_are_given(frames):
    named = renamed(frames, "U", "gradient")
    with pytest.raises(ValueError, match=r"no energy, forces found .* 'U', 'group', 'gradient'|no"):
        potential().fit(named)
    found = potential(energy_key="U", forces_key="gradient").fit(named)
    np.testing.assert_array_equal(found.coef_, potential().fit(frames).coef_)
    with pytest.raises(ValueError, match=r"energy_key: no frame has 'E'; they have .*'U'"):
        potential(energy_key="E").fit(named)


def test_nothing_but_what_is_a_reference_is_read(frames):
    for frame in (named := renamed(frames)):
        frame.info |= {"energy_std": 1.0, "free_energy": 2.0, "energy_per_atom": 3.0}
        frame.arrays["forces_std"] = np.ones((len(frame), 3))
        frame.info["virial_stress_raw"] = np.ones(6)
    np.testing.assert_array_equal(potential().fit(named).coef_, potential().fit(frames).coef_)


def test_several_candidates(frames):
    named = renamed(frames)
    named[2].info["energy_dft"] = 1.0
    with pytest.raises(ValueError, match="energy_key: 'energy' and 'energy_dft' may be meant"):
        potential().fit(named)
    potential(energy_key="energy").fit(named)
    for frame in (mixed := renamed(frames, "REF_energy")):
        frame.calc = SinglePointCalculator(frame, energy=1.0)
    with pytest.raises(ValueError, match="'energy' and 'REF_energy' may be meant"):
        potential().fit(mixed)


def test_calculators_are_not_run(frames):
    from ase.calculators.emt import EMT

    bare = [frame.copy() for frame in frames]
    for frame in bare:
        frame.calc = EMT()
    with pytest.raises(ValueError, match="no energy, forces found"):
        potential().fit(bare)


def test_energies_given_as_y(frames):
    y = np.array([frame.calc.results["energy"] for frame in frames])
    np.testing.assert_array_equal(potential().fit(frames, y).coef_, potential().fit(frames).coef_)
    y[:3] = np.nan
    fewer = potential().fit(frames, y)
    for frame in frames[:3]:
        del frame.calc.results["energy"]
    np.testing.assert_array_equal(fewer.coef_, potential().fit(frames).coef_)
    with pytest.raises(ValueError, match=r"y must be total energies of shape \(8,\)"):
        potential().fit(frames, y[:3])
    with pytest.raises(ValueError, match="y must be finite"):
        potential().fit(frames, np.full(8, np.inf))


def test_frames_without_some_properties(frames):
    """Each is used for what it has; nothing is invented."""
    del frames[0].calc.results["forces"]
    del frames[1].calc.results["energy"]
    frames[2].calc = None
    model = potential(calibration="loo_noise").fit(frames)
    left = model.leave_one_out(frames)
    assert np.isnan(left.residual[[1, 2]]).all()
    assert np.isfinite(left.residual[[0, 3]]).all()
    assert np.isnan(left.forces_residual[0]).all()
    assert np.isfinite(left.forces_residual[1]).all()
    without = potential(calibration="loo_noise").fit([*frames[:2], *frames[3:]])
    np.testing.assert_array_equal(without.coef_, model.coef_)


def test_no_energies_at_all(frames):
    for frame in frames:
        del frame.calc.results["energy"]
    model = potential(calibration="loo_noise").fit(frames)
    assert model.coef_.size == model.descriptor_.n_features_out_
    with pytest.warns(UserWarning, match="defined up to a constant"):
        model.predict(frames)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.predict(frames, properties="forces")
        model.single_point(frames[0], ("energy", "forces", "stress", "local"))


def test_energies_only(frames):
    for frame in frames:
        del frame.calc.results["forces"]
    model = potential(alpha=1e-6).fit(frames)
    assert model.gradients_.fitted == ("energy",)
    assert model.predict(frames, properties="forces")[0].shape == (6, 3)
    assert model.scale_["forces"] == model.scale_["energy"]


@pytest.mark.parametrize("form", ["voigt", "9", "3x3"])
def test_forms_of_stress_and_virial(frames, form):
    expected = potential(virial_error=0.02, stress_key="stress").fit(frames)
    named = renamed(frames, stress="tensor", form=form)
    found = potential(virial_error=0.02, stress_key="tensor").fit(named)
    np.testing.assert_allclose(found.coef_, expected.coef_, rtol=1e-10)
    for frame in named:
        frame.info["virial"] = -frame.info.pop("tensor") * frame.get_volume()
    found = potential(virial_error=0.02, virial_key="auto").fit(named)
    np.testing.assert_allclose(found.coef_, expected.coef_, rtol=1e-8)


def test_stress_is_fitted_only_with_an_error(frames):
    plain = potential().fit(frames)
    np.testing.assert_array_equal(potential(stress_key="stress").fit(frames).coef_, plain.coef_)
    assert "stress" in potential(stress_key="stress").fit(frames).keys_
    compared = potential(stress_key="stress").fit(frames).error_table(frames_with_references(4))
    assert "stress" in compared.index.get_level_values("property")


def test_refusals_of_stress(frames):
    model = potential(virial_error=0.02, stress_key="tensor")
    mixed = renamed(frames, stress="tensor")
    mixed[3].info["tensor"] = np.eye(3)
    with pytest.raises(ValueError, match=r"one shape, got \(6,\) in X\[0\], \(3, 3\) in X\[3\]"):
        model.fit(mixed)
    crooked = renamed(frames, stress="tensor", form="3x3")
    crooked[1].info["tensor"] = np.arange(9.0).reshape(3, 3)
    with pytest.raises(ValueError, match=r"X\[1\]: stress must be a symmetric matrix"):
        model.fit(crooked)
    free = renamed(frames, stress="tensor")
    free[2].pbc = False
    with pytest.raises(ValueError, match=r"X\[2\]: has a stress, but no periodic cell"):
        model.fit(free)
    short = renamed(frames, stress="tensor")
    short[0].info["tensor"] = np.ones(4)
    with pytest.raises(ValueError, match=r"X\[0\]: stress must have shape .* got shape \(4,\)"):
        model.fit(short)
    with pytest.raises(ValueError, match="at most one of them"):
        potential(stress_key="tensor", virial_key="virial").fit(short)


def test_refusals_of_energies_and_forces(frames):
    named = renamed(frames)
    named[1].arrays["forces"] = np.ones((len(named[1]), 2))
    with pytest.raises(ValueError, match=r"X\[1\]: forces must have shape \(6, 3\)"):
        potential().fit(named)
    named[1].arrays["forces"] = np.full((len(named[1]), 3), np.nan)
    with pytest.raises(ValueError, match=r"X\[1\]: forces must be finite"):
        potential().fit(named)
    named = renamed(frames)
    named[4].info["energy"] = "low"
    with pytest.raises(ValueError, match=r"X\[4\]: the energy must be numbers, got 'low'"):
        potential().fit(named)
    named[4].info["energy"] = np.ones(6)
    with pytest.raises(ValueError, match=r"X\[4\]: the energy must be one number"):
        potential().fit(named)


@pytest.mark.parametrize("which", [slice(0, 2), slice(2, None)])
def test_energies_per_atom_among_totals(which):
    frames = renamed(frames_with_references(8, ["Si6"]))
    for frame in frames[which]:
        frame.info["energy"] /= len(frame)
    with pytest.raises(ValueError, match="energies must all be totals"):
        potential().fit(frames)


def test_energies_around_zero_are_no_mixture():
    frames = renamed(frames_with_references(8, ["Si6", "Si3"]))
    rng = np.random.default_rng(0)
    for frame in frames:
        frame.info["energy"] = rng.normal()
    potential(alpha=1e-3).fit(frames)


def test_large_energies_warn(frames):
    named = renamed(frames)
    for frame in named:
        frame.info["energy"] -= 2000.0 * len(frame)
    with pytest.warns(UserWarning, match="eV per atom; energies must be in eV"):
        potential().fit(named)


def test_duplicates_across_groups_warn(frames):
    groups = [*range(7), 7, 8]
    with pytest.warns(UserWarning, match=r"X\[0\] and X\[8\] are the same frame"):
        potential().fit([*frames, frames[0]], groups=groups)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        potential().fit([*frames, frames[0]], groups=[*range(8), 0])
    frames[0].info["batch"] = frames[1].info["batch"] = 0
    with pytest.raises(ValueError, match=r"X\[2\] has no 'batch' in its info"):
        potential().fit(frames, groups="batch")


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        (lambda s: -s, "xx, yy, zz, yz, xz, xy do not go along"),
        (lambda s: s[[0, 1, 2, 5, 3, 4]], "do not go along"),
    ],
)
def test_stress_of_wrong_sign_or_order_warns(mistake, message):
    frames = frames_with_references(20)
    model = potential(virial_error=0.02, stress_key="stress")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.fit(frames)
    for frame in frames:
        frame.calc.results["stress"] = mistake(frame.calc.results["stress"])
    with pytest.warns(UserWarning, match=message):
        model.fit(frames)
    with pytest.warns(UserWarning, match=message):
        model.set_params(cache_size=0).fit(frames)


def test_baselines(frames):
    isolated = {"Si": -14.0, 6: -6.0}
    model = potential(baseline=isolated, alpha=1e-4).fit(frames)
    assert model.coef_.size == model.descriptor_.n_features_out_
    shifted = renamed(frames)
    for frame in shifted:
        frame.info["energy"] += frame.numbers.sum()
    bare = potential(baseline=None, alpha=1e-4).fit(shifted)
    np.testing.assert_allclose(bare.coef_, model.coef_, rtol=1e-8)
    np.testing.assert_allclose(
        model.predict(frames), bare.predict(frames) - [f.numbers.sum() for f in frames]
    )
    alone = model.single_point(Atoms("Si"))
    assert alone["energy"] == -14.0
    with pytest.raises(ValueError, match="baseline has no energy of C"):
        potential(baseline={"Si": 1.0}).fit(frames)


@pytest.mark.parametrize("name", ["energy_error", "force_error", "virial_error"])
def test_errors_are_positive(frames, name):
    for value in (0.0, -1.0):
        with pytest.raises(ValueError, match=f"The '{name}' parameter"):
            potential(**{name: value}).fit(frames)


def test_columns_without_names_cannot_be_smooth(frames):
    class Nameless(PairDescriptor):
        def _names(self):
            return [f"column {i}" for i in range(self.n_features_out_)]

    with pytest.raises(ValueError, match="columns that say their n and l"):
        RigidPotential(Nameless(), regularizer="smooth").fit(frames)


def test_descriptors_without_derivatives(frames):
    from skrigidity.environments import Environments

    class Rows(PairDescriptor):
        def _derivatives(self, frame):
            raise NotImplementedError("Rows does not know its derivatives")

        def transform(self, X):
            arrays = [PairDescriptor._derivatives(self, frame).features for frame in X]
            return Environments.from_arrays(arrays)

    with pytest.raises(NotImplementedError, match="does not know its derivatives"):
        RigidPotential(Rows()).fit(frames)
    model = RigidPotential(Rows(), forces_key=None, calibration=None).fit(frames)
    assert model.predict(frames).shape == (8,)


# -- odd frames -----------------------------------------------------------------------------------


def test_odd_frames(frames):
    model = potential(calibration="loo_noise").fit(frames)
    everything = ("energy", "forces", "stress", "local")
    lone = model.single_point(Atoms("Si"), everything)
    assert "stress" not in lone
    assert "stress_std" not in lone
    np.testing.assert_array_equal(lone["forces"], np.zeros((1, 3)))
    assert lone["energy_std"] > 0
    assert lone["support"][0] == 0
    two = model.single_point(Atoms("SiC", [[0, 0, 0], [0, 0, 1.9]]), everything)
    np.testing.assert_allclose(two["forces"].sum(axis=0), 0, atol=1e-12)
    assert two["forces_std"][0, 2] > two["forces_std"][0, 0]
    thin = Atoms("Si", cell=[1.9, 2.0, 2.1], pbc=True)  # thinner than the cutoff
    _, forces, _ = truth(thin)
    found = model.single_point(thin, everything)
    wide = model.single_point(thin.repeat((2, 1, 1)))
    assert wide["energy"] == pytest.approx(2 * found["energy"])
    np.testing.assert_allclose(wide["stress"], found["stress"], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(found["forces"], forces, atol=1e-12)
    with pytest.raises(ValueError, match=r"frame\[0\]: contains Ge"):
        model.single_point(Atoms("Ge"))
    with pytest.raises(ValueError, match=r"X\[1\]: contains Ge"):
        model.predict([frames[0], Atoms("Ge")])
    assert np.isnan(model.predict([Atoms("Si")], properties="stress")).all()


def test_fit_to_odd_frames():
    rng = np.random.default_rng(0)
    frames = [Atoms("Si"), Atoms("Si2", [[0, 0, 0], [0, 0, 2.2]])]
    frames += [Atoms("Si", cell=[a, a, a], pbc=True) for a in (2.0, 2.2, 2.5)]
    for frame in frames:
        add_references(frame, rng, noise=0.0)
    for frame in frames[:2]:
        frame.calc.results.pop("stress", None)
    model = potential(virial_error=0.02, stress_key="stress", alpha=1e-8).fit(frames)
    np.testing.assert_allclose(
        model.predict(frames), [f.calc.results["energy"] for f in frames], atol=0.05
    )


@pytest.mark.parametrize("check", FRAME_CHECKS, ids=[check.__name__ for check in FRAME_CHECKS])
def test_every_estimator_of_frames(check):
    check(RigidPotential(PairDescriptor(n=3), baseline=None, alpha=1e-3, calibration=None))


def test_default_descriptor():
    pytest.importorskip("sphericart")
    frames = molecules("H2O", "OH", "H2O")
    model = RigidPotential(calibration=None).fit(frames, [-10.0, -5.0, -10.1])
    assert model.descriptor is None
    assert model.descriptor_.kind == "self-interacting"
    r0 = np.array(model.descriptor_.r0)
    assert r0[0, 1] == r0[1, 0] == pytest.approx(0.97, abs=0.05)
