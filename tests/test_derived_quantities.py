"""Error bars of what is derived from energies, forces and stress over several frames.

Against covariances, refits to resampled frames, and errors themselves where the reference is known
everywhere: copper with effective-medium theory, `docs/examples/copper_reference.py`.
"""

import importlib.util

import numpy as np
import pytest
from ase import units
from ase.build import bulk, molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS
from copper_reference import (
    GENEROUS,
    LATTICE,
    NARROW,
    copper_potential,
    quantities,
    standardized_errors,
    training_frames,
    with_reference,
)
from mlearn import silicon
from pairs import PairDescriptor, frames_with_references
from sklearn.base import clone

from skrigidity.atomistic import (
    RigidPotential,
    elastic_constant_weights,
    force_constant_weights,
)

ERRORS = {"energy_error": 0.002, "force_error": 0.05, "virial_error": 0.02}


def crystal():
    """A crystal of two species that the pair functions hold together a little."""
    return bulk("SiC", "zincblende", a=4.4, cubic=True)


def population(n, seed):
    """Strained and rattled crystals; in some, atoms of the other species."""
    rng = np.random.default_rng(seed)
    frames = []
    for i in range(n):
        frame = crystal()
        frame.numbers[: i % 3] = 14 if i % 2 else 6
        deformation = np.eye(3) + 0.05 * rng.standard_normal((3, 3))
        frame.set_cell(frame.cell.array @ deformation, scale_atoms=True)
        frame.positions += 0.2 * rng.standard_normal(frame.positions.shape)
        frames.append(frame)
    return frames


def relabelled(frames, model, rng):
    """The same frames, with references that the model predicts, and noise of its errors."""
    found = model.predict(frames, properties=("energy", "forces", "stress"))
    out = []
    for i, frame in enumerate(frames):
        n, error = len(frame), model.errors_
        frame = frame.copy()
        results = {
            "energy": found.energy[i] + n * error["energy"] * rng.standard_normal(),
            "forces": found.forces[i] + error["forces"] * rng.standard_normal((n, 3)),
            "stress": found.stress[i]
            + n / frame.get_volume() * error["stress"] * rng.standard_normal(6),
        }
        frame.calc = SinglePointCalculator(frame, **results)
        out.append(frame)
    return out


def potential():
    return RigidPotential(
        PairDescriptor(), **ERRORS, stress_key="stress", calibration=None, alpha=1e-8
    )


def derived():
    """One quantity of each kind: frames and weights."""
    perfect = crystal() * (2, 1, 1)
    vacancy, antisite, between = perfect.copy(), perfect.copy(), perfect.copy()
    del vacancy[0]
    antisite.numbers[0] = 6
    between.positions[0] = (perfect.positions[0] + perfect.positions[2]) / 2
    del between[2]
    n = len(perfect)
    out = {
        "formation": ([antisite, perfect], {"energy": [1.0, -1.0]}),
        "vacancy": ([perfect, vacancy], {"energy": [-(n - 1) / n, 1.0]}),
        "barrier": ([vacancy, between], {"energy": [-1.0, 1.0]}),
    }
    frames, weights = elastic_constant_weights(crystal())
    out |= {"C11": (frames, weights[0]), "C44": (frames, weights[21])}
    frames, weights = force_constant_weights(perfect, atom=1)
    out |= {"own": (frames, weights[3]), "neighbor": (frames, weights[3 * n + 5])}
    return out


@pytest.fixture(scope="module")
def refits():
    """A model of noisy references in its reach, and 100 refits to frames drawn with repetition."""
    rng = np.random.default_rng(0)
    plain = frames_with_references(30, ["Si4C2", "Si3C3"], seed=3)
    truth = potential().fit(plain)
    frames = relabelled(population(60, seed=1), truth, rng)
    model = potential().fit(frames)
    refitted = []
    for _ in range(100):
        repeated = rng.multinomial(len(frames), np.full(len(frames), 1 / len(frames)))
        again = potential().fit(frames, sample_weight=repeated.astype(float))
        refitted.append(again.predict_combination)
    return model, refitted


def alone(model, frames, weights):
    """The error bar without correlations between predictions."""
    variance = 0.0
    for name, each in weights.items():
        _, std = model.predict(frames, return_std=True, properties=name)
        variance += sum(
            np.sum(np.square(np.multiply(c, s))) for c, s in zip(each, std, strict=True)
        )
    return np.sqrt(variance)


def test_error_bars_are_the_spread_of_refits_to_resampled_frames(refits):
    model, each = refits
    ratio, uncorrelated = {}, {}
    for name, (frames, weights) in derived().items():
        _, std = model.predict_combination(frames, weights, return_std=True)
        spread = np.std([predict(frames, weights) for predict in each], ddof=1)
        ratio[name], uncorrelated[name] = std / spread, alone(model, frames, weights) / spread
    # A hundred refits know a spread to 7 %, sixty frames how frames differ somewhat worse.
    assert max(abs(np.log(list(ratio.values())))) < np.log(1.5), ratio
    assert abs(np.mean(np.log(list(ratio.values())))) < np.log(1.25), ratio
    # The control: error bars that know no correlations are wrong, most of them by far.
    wrong = abs(np.log(list(uncorrelated.values())))
    assert np.median(wrong) > np.log(2), uncorrelated
    assert max(wrong) > np.log(10), uncorrelated


def test_error_bars_by_brute_force(refits):
    """Covariances of energies of several frames, of forces and of stress within one."""
    frames = frames_with_references(12, seed=2)
    model = RigidPotential(PairDescriptor(), **ERRORS, stress_key="stress").fit(frames)
    rng = np.random.default_rng(1)
    some = frames[:3]
    sizes = np.array([len(frame) for frame in some])
    c = rng.standard_normal(3)
    _, cov = model.predict(some, return_cov=True)
    _, std = model.predict_combination(some, c, return_std=True, noise=True)
    assert std**2 == pytest.approx(c @ cov @ c)
    cov -= model.noise_variance_["energy"] * np.diag(sizes**2)
    _, std = model.predict_combination(some, c, return_std=True)
    assert std**2 == pytest.approx(c @ cov @ c)
    assert std**2 != pytest.approx(c**2 @ np.diag(cov), rel=0.1)  # the control
    for name, shape in (("forces", (6, 3)), ("stress", (6,))):
        one = rng.standard_normal(shape)
        _, cov = model.predict(some[:1], return_cov=True, properties=name)
        _, std = model.predict_combination(some[:1], {name: [one]}, return_std=True, noise=True)
        assert std**2 == pytest.approx(one.ravel() @ cov[0] @ one.ravel())


def test_elastic_constants_are_second_derivatives_of_the_energy():
    """Of a crystal without stress, in an orientation in which none of them is zero."""
    crystal = bulk("Cu", a=3.5902)
    crystal.rotate(40, [1, 2, 3], rotate_cell=True)
    frames, weights = elastic_constant_weights(crystal)
    results = [with_reference(frame).calc.results for frame in frames]
    stress = np.array([one["stress"] for one in results])
    assert np.abs(stress[0] + stress[1]).max() < 1e-3
    found = [np.sum(w["stress"] * stress) for w in weights]

    def energy(strain):
        frame = crystal.copy()
        matrix = np.diag(strain[:3])
        for (i, j), value in zip(((1, 2), (0, 2), (0, 1)), strain[3:], strict=True):
            matrix[i, j] = matrix[j, i] = value / 2
        frame.set_cell(frame.cell.array @ (np.eye(3) + matrix), scale_atoms=True)
        return with_reference(frame).calc.results["energy"]

    h, expected = 0.002 * np.eye(6), np.empty((6, 6))
    for i, j in np.ndindex(6, 6):
        bent = energy(h[i] + h[j]) - energy(h[i] - h[j]) - energy(h[j] - h[i])
        bent += energy(-h[i] - h[j])
        expected[i, j] = bent / (4 * 0.002**2) / crystal.get_volume()
    scale = np.abs(expected).max()
    np.testing.assert_allclose(np.reshape(found, (6, 6)), expected, atol=2e-3 * scale)
    assert (np.abs(expected) > 5e-3 * scale).all()


def test_force_constants_are_second_derivatives_of_the_energy():
    frame = bulk("Cu", cubic=True)
    frame.rattle(0.1, seed=0)
    frame.set_constraint(FixAtoms([1]))
    frames, weights = force_constant_weights(frame, atom=1)
    forces = np.array([with_reference(frame).calc.results["forces"] for frame in frames])
    found = np.reshape([np.sum(w["forces"] * forces) for w in weights], (3, 4, 3))
    for a, b in ((0, 1), (2, 2)):
        expected = 0.0
        for s, t in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
            moved = frame.copy()
            moved.set_constraint()
            moved.positions[1, a] += 0.01 * s
            moved.positions[3, b] += 0.01 * t
            expected += s * t * with_reference(moved).calc.results["energy"] / (4 * 0.01**2)
        assert found[a, 3, b] == pytest.approx(expected, rel=1e-2)
    np.testing.assert_allclose(found.sum(axis=1), 0, atol=1e-8)  # nothing feels a translation


def test_sums_that_vanish_have_no_error_bars(refits):
    """Force constants of all atoms add up to zero: what correlations are for."""
    model, _ = refits
    frames, weights = force_constant_weights(crystal(), atom=0)
    total = [sum(np.asarray(w["forces"]) for w in weights[: 3 * 8 : 3])]
    value, std = model.predict_combination(frames, {"forces": total[0]}, return_std=True)
    _, each = model.predict_combination(frames, weights[: 3 * 8 : 3], return_std=True)
    assert abs(value) < 1e-8
    assert std < 1e-6 * np.linalg.norm(each)


@pytest.mark.parametrize(
    ("function", "frame", "changes", "message"),
    [
        (elastic_constant_weights, bulk("Cu"), {"strain": 0.0}, "strain must be positive"),
        (elastic_constant_weights, molecule("H2O"), {}, "must have a periodic cell"),
        (force_constant_weights, bulk("Cu"), {"atom": 1}, "atom must be one of 0 to 0, got 1"),
        (
            force_constant_weights,
            bulk("Cu"),
            {"atom": 0, "displacement": np.inf},
            "displacement must be positive",
        ),
    ],
)
def test_bad_arguments(function, frame, changes, message):
    with pytest.raises(ValueError, match=message):
        function(frame, **changes)


def test_no_scale_no_error_bar_without_noise():
    frames = frames_with_references(12, seed=2)
    model = RigidPotential(PairDescriptor(), **ERRORS, calibration=None).fit(frames)
    model.scale_["energy"] = 0.0
    with pytest.warns(UserWarning, match="C of energy is 0"):
        model.predict_combination(frames[:1], [1.0], return_std=True)


needs_sphericart = pytest.mark.skipif(
    importlib.util.find_spec("sphericart") is None,
    reason='needs sphericart: pip install "skrigidity[atomistic]"',
)


@needs_sphericart
def test_error_bars_cover_true_errors():
    """Where the form of the model allows for the truth, and not where it does not."""
    z = np.abs(standardized_errors(GENEROUS, range(6)))
    assert np.mean(z < 1) > 0.7
    assert np.mean(z < 2) > 0.95
    barrier = list(quantities()).index("barrier")
    narrow = np.abs(standardized_errors(NARROW, range(6)))[:, barrier]
    assert np.sqrt(np.mean(narrow**2)) > 1.5 > np.sqrt(np.mean(z[:, barrier] ** 2))


@needs_sphericart
def test_relaxed_energies_have_the_error_bars_of_the_relaxed_structure():
    """Energies do not change to first order where forces vanish: refits relax by themselves."""
    frames = training_frames(0)
    model = copper_potential(NARROW).set_params(calibration=None).fit(frames)

    def vacancy(model):
        perfect = bulk("Cu", a=LATTICE, cubic=True) * (2, 2, 2)
        relaxed = perfect.copy()
        del relaxed[0]
        relaxed.calc = model.calculator(uncertainty=())
        BFGS(relaxed, logfile=None).run(fmax=1e-3, steps=50)
        relaxed.calc = None
        return [perfect, relaxed], {"energy": [-31 / 32, 1.0]}

    fixed = vacancy(model)
    rng, values = np.random.default_rng(0), []
    for _ in range(12):
        count = rng.multinomial(len(frames), np.full(len(frames), 1 / len(frames)))
        again = clone(model).fit(frames, sample_weight=count.astype(float))
        values.append(
            [again.predict_combination(*fixed), again.predict_combination(*vacancy(again))]
        )
    still, relaxed = np.std(values, axis=0)
    assert relaxed == pytest.approx(still, rel=0.1)


@needs_sphericart
@pytest.mark.slow
def test_silicon():
    """Error bars come from left-out errors, mostly misfit: several times the spread of refits."""
    training, _ = silicon()
    model = RigidPotential().fit(training)
    cell = bulk("Si", a=5.46, cubic=True)
    cell.calc = model.calculator(uncertainty=())
    BFGS(FrechetCellFilter(cell), logfile=None).run(fmax=1e-4, steps=50)
    cell.calc = None
    perfect = cell * (2, 2, 2)
    vacancy = perfect.copy()
    del vacancy[0]
    strained, elastic = elastic_constant_weights(cell)
    displaced, constants = force_constant_weights(perfect, atom=0)
    asked = {"vacancy (eV)": ([perfect, vacancy], {"energy": [-63 / 64, 1.0]})}
    for name, number in (("C11", 0), ("C12", 1)):
        stress = elastic[number]["stress"] / units.GPa
        asked[f"{name} (GPa)"] = (strained, {"stress": stress})
    asked["force constant (eV/Å²)"] = (displaced, constants[0])

    coef = resampled(model, training, 40)
    for name, (frames, weights) in asked.items():
        value, std = model.predict_combination(frames, weights, return_std=True)
        gradient = np.zeros(model.coef_.size)
        for i, frame in enumerate(frames):
            (key,) = weights
            rows = model.gradients_.of_frame(frame, (key,))[key]
            size = {"energy": len(frame), "forces": 1, "stress": len(frame) / frame.get_volume()}
            gradient += size[key] * np.ravel(weights[key][i]) @ rows
        spread = np.std(coef @ gradient, ddof=1)
        print(f"{name:24s}{value:8.3f} ± {std:.3f}, spread of refits {spread:.3f}")
        assert 2 < std / spread < 10


def resampled(model, frames, n):
    """Parameters of refits to frames drawn with repetition, by normal equations."""
    gram, right = [], []
    for frame in frames:
        rows = model.gradients_.of_frame(frame, ("energy", "forces"))
        y = {"energy": frame.info["energy_dft"] / len(frame), "forces": frame.arrays["forces_dft"]}
        X = np.vstack([rows[name] / model.errors_[name] for name in y])
        gram.append(X.T @ X)
        right.append(X.T @ np.concatenate([np.ravel(y[k]) / model.errors_[k] for k in y]))
    rng, own = np.random.default_rng(0), model.descriptor_.n_features_out_
    out = []
    for _ in range(n):
        count = rng.multinomial(len(frames), np.full(len(frames), 1 / len(frames)))
        drawn = np.flatnonzero(count)
        H = sum(count[i] * gram[i] for i in drawn)
        H[np.diag_indices(own)] += model.alpha_ * np.diag(H)[:own].mean()
        out.append(np.linalg.solve(H, sum(count[i] * right[i] for i in drawn)))
    return np.array(out)
