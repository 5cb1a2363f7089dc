"""Last layers of networks of frames: forces, stress, calculators, and rows of forces in H."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
ase = pytest.importorskip("ase")

from ase.calculators.singlepoint import SinglePointCalculator  # noqa: E402
from pair_network import PairAdapter, PairNetwork  # noqa: E402

from skrigidity import PRSelector  # noqa: E402
from skrigidity.calculators import RigidityCalculator, RigidityObserver  # noqa: E402
from skrigidity.hessian import Prior, Rows, choose  # noqa: E402
from skrigidity.last_layer import LastLayerRigidity  # noqa: E402


def frames(n=12, seed=0, *, labelled=True):
    """Clusters and cells of different sizes, labelled by another network."""
    rng, teacher = np.random.default_rng(seed), PairAdapter(PairNetwork(seed=1))
    out = []
    for i in range(n):
        size = 3 + i % 4
        grid = np.array([[x, y, 0] for x in range(2) for y in range(3)])[:size] * 1.4
        frame = ase.Atoms("HOHCHO"[:size], grid + 0.15 * rng.standard_normal((size, 3)))
        if i % 2:
            frame.set_cell([7.0, 7.5, 8.0])
            frame.pbc = True
        out.append(frame)
    if labelled:
        model = LastLayerRigidity(teacher).fit(out)
        for frame in out:
            found = model.single_point(frame)
            energy = found["energy"] + 0.01 * rng.standard_normal()
            forces = found["forces"] + 0.01 * rng.standard_normal(found["forces"].shape)
            frame.calc = SinglePointCalculator(frame, energy=energy, forces=forces)
    return out


@pytest.fixture(scope="module")
def data():
    return frames()


@pytest.fixture
def network():
    return PairAdapter(PairNetwork())


def flat(arrays):
    return np.concatenate([array.ravel() for array in arrays])


def energy_of(model, frame):
    return float(model.predict([frame])[0])


def strained(frame, eps):
    out = frame.copy()
    out.set_cell(frame.cell.array @ (np.eye(3) + eps), scale_atoms=True)
    return out


@pytest.mark.parametrize("refit", [False, True])
@pytest.mark.parametrize("reduce", ["sum", "per_atom"])
def test_forces_and_stress_are_derivatives(data, network, refit, reduce):
    model = LastLayerRigidity(network, refit=refit, reduce=reduce, alpha=1e-6).fit(data)
    frame, h = data[1], 1e-5
    found = model.predict([frame], properties=("energy", "forces", "stress"))
    unit = len(frame) if reduce == "per_atom" else 1
    for atom, axis in ((0, 0), (2, 1)):
        both = []
        for step in (h, -h):
            moved = frame.copy()
            moved.positions[atom, axis] += step
            both.append(unit * energy_of(model, moved))
        np.testing.assert_allclose(
            found.forces[0][atom, axis], (both[1] - both[0]) / (2 * h), rtol=1e-6, atol=1e-8
        )
    for k, (i, j) in enumerate([(0, 0), (1, 1)]):
        eps = np.zeros((3, 3))
        eps[i, j] = h
        plus, minus = (unit * energy_of(model, strained(frame, s * eps)) for s in (1, -1))
        slope = (plus - minus) / (2 * h) / frame.get_volume()
        np.testing.assert_allclose(found.stress[0][k], slope, rtol=1e-6, atol=1e-9)
    single = model.single_point(frame)
    np.testing.assert_allclose(single["energy"], unit * found.energy[0])
    np.testing.assert_allclose(single["forces"], found.forces[0])


def test_exact_force_rows_are_gradients_of_the_weighted_sum(data, network):
    """q of forces by rows of all features equals that by autograd of the layer's weights."""
    model = LastLayerRigidity(network, calibration=None).fit(data)
    frame = data[3]
    std = model.predict([frame], True, properties="forces")[1][0]
    adapter, rows = model.adapter_, []
    (batch,) = adapter.batches([frame], 1)
    latent = adapter.latent(batch, derivatives=True)
    for k in range(latent.features.shape[1]):
        weights = torch.zeros(latent.features.shape[1], dtype=torch.float64)
        weights[k] = 1.0
        (g,) = torch.autograd.grad(
            (latent.features @ weights).sum(), latent.positions, retain_graph=True
        )
        rows.append(-g.numpy().ravel())
    rows = np.column_stack([*rows, np.zeros(3 * len(frame))])
    np.testing.assert_allclose(std.ravel() ** 2, model.hessian_.quad(Rows(rows)), rtol=1e-9)
    forces = rows @ model.coef_
    np.testing.assert_allclose(forces, model.predict([frame], properties="forces")[0].ravel())


def test_draws_converge_to_the_exact_error_bars(data):
    wide = PairAdapter(PairNetwork(width=40))  # beyond what is exact
    frame = data[2]
    model = LastLayerRigidity(wide, calibration=None, n_draws=2000).fit(data)
    std = model.predict([frame], True, properties="forces")[1][0]
    from skrigidity.last_layer._forces import Derivatives

    rows = Derivatives(model.adapter_, frame).rows(41)["forces"]
    exact = np.sqrt(model.hessian_.quad(Rows(rows))).reshape(-1, 3)
    np.testing.assert_allclose(std, exact, rtol=0.08, atol=1e-6 * exact.max())
    again = model.predict([frame], True, properties="forces")[1][0]
    np.testing.assert_array_equal(std, again)  # draws have a seed
    few = LastLayerRigidity(wide, calibration=None, n_draws=10).fit(data)
    ratio = few.predict([frame], True, properties="forces")[1][0] / np.where(exact > 0, exact, 1)
    assert 0.5 < np.median(ratio[exact > 1e-6 * exact.max()]) < 1.5


@pytest.mark.parametrize("refit", [False, True])
def test_rows_of_forces_in_the_hessian(data, network, refit):
    model = LastLayerRigidity(network, refit=refit, alpha=1e-5, force_weight=0.3).fit(data)
    from skrigidity.last_layer._forces import Derivatives

    matrix, rhs, weight, groups = [], [], [], []
    for i, frame in enumerate(data):
        found = Derivatives(model.adapter_, frame)
        own = -frame.numbers.sum() / 10.0
        energy = np.append(found.block.features.sum(axis=0), len(frame))
        matrix += [energy, *found.rows(9)["forces"]]
        rhs += [frame.get_potential_energy() - own, *frame.get_forces().ravel()]
        weight += [1.0] + [0.3] * (3 * len(frame))
        groups += [i] * (1 + 3 * len(frame))
    matrix, weight, rhs = np.array(matrix), np.array(weight), np.array(rhs)
    unit = weight @ (matrix**2).sum(axis=1) / 9
    factor = choose(Rows(matrix, weight=weight, rhs=rhs), Prior(1e-5 * unit))
    energies = matrix[np.flatnonzero(weight == 1)]
    np.testing.assert_allclose(
        model.prediction_rigidity(data), 1 / factor.quad(energies), rtol=1e-7
    )
    if refit:
        np.testing.assert_allclose(model.coef_, factor.solution.coef[:, 0], rtol=1e-7)
        left = model.leave_one_out(data)
        rest = np.array(groups) != 4
        again = choose(Rows(matrix[rest], weight=weight[rest], rhs=rhs[rest]), factor.prior)
        own = data[4].get_potential_energy() - (-data[4].numbers.sum() / 10.0)
        residual = own - energies[4] @ again.solution.coef[:, 0]
        np.testing.assert_allclose(left.residual[4], residual, rtol=1e-6)
        np.testing.assert_allclose(left.rigidity[4], 1 / again.quad(energies[4:5])[0], rtol=1e-6)
        np.testing.assert_allclose(model.scale_, (left.residual**2 * left.rigidity).mean())


def test_forces_learnt_are_better(data, network):
    test = frames(20, seed=5)
    errors = []
    for weight in (None, 10.0):
        model = LastLayerRigidity(network, refit=True, alpha=1e-8, force_weight=weight).fit(data)
        found = model.predict(test, properties="forces")
        errors.append(
            np.mean([np.abs(f - t.get_forces()).mean() for f, t in zip(found, test, strict=True)])
        )
    assert errors[1] < errors[0]


def test_energies_per_atom(data, network):
    """Rows, labels and predictions are means over atoms; the calculator has totals."""
    total = LastLayerRigidity(network, refit=True, alpha=1e-5).fit(data)
    model = LastLayerRigidity(network, refit=True, alpha=1e-5, reduce="per_atom").fit(data)
    sizes = np.array([len(frame) for frame in data])
    energies = np.array([frame.get_potential_energy() for frame in data])
    given = LastLayerRigidity(network, refit=True, alpha=1e-5, reduce="per_atom")
    given.fit(data, energies / sizes)
    np.testing.assert_allclose(given.predict(data), model.predict(data))
    assert np.abs(model.predict(data) - energies / sizes).max() < 0.1
    weighted = LastLayerRigidity(network, refit=True, alpha=1e-5)
    weighted.fit(data, sample_weight=1.0 / sizes**2)
    weighted._set_alpha(model.alpha_ / weighted._unit)
    np.testing.assert_allclose(weighted.predict(data) / sizes, model.predict(data), rtol=1e-6)
    std = model.predict(data, return_std=True)[1]
    point = model.single_point(data[2], ("energy",))
    np.testing.assert_allclose(point["energy_std"], sizes[2] * std[2])
    np.testing.assert_allclose(point["energy"], sizes[2] * model.predict(data)[2])
    assert not np.allclose(total.predict(data) / sizes, model.predict(data), rtol=1e-6)


def test_calibration_of_forces(data, network):
    test = frames(20, seed=5)
    model = LastLayerRigidity(network).fit(data)
    model.calibrate(test)
    with_energies = model.predict(test, True, properties="forces")[1]
    model.calibrate(test, forces=True)
    found, std = model.predict(test, True, properties="forces")
    assert not np.allclose(std[0], with_energies[0])
    errors = np.concatenate(
        [(f - t.get_forces()).ravel() for f, t in zip(found, test, strict=True)]
    )
    spread = np.concatenate([s.ravel() for s in std])
    q = spread**2 / model.force_scale_
    floored = np.maximum(q, 1e-2 * np.median(q[q > 0]))
    np.testing.assert_allclose((errors**2 / floored).mean(), model.force_scale_, rtol=1e-6)


@pytest.mark.parametrize("refit", [False, True])
def test_calculator(data, network, refit):
    model = LastLayerRigidity(network, refit=refit).fit(data).calibrate(frames(20, seed=5))
    calculator = model.calculator(uncertainty=("energy", "forces", "stress", "local"))
    assert isinstance(calculator, RigidityCalculator)
    for frame in data[:2]:
        atoms = frame.copy()
        atoms.calc = calculator
        expected, std = model.predict([frame], return_std=True)
        np.testing.assert_allclose(atoms.get_potential_energy(), expected[0])
        forces, forces_std = model.predict([frame], True, properties="forces")
        np.testing.assert_allclose(atoms.get_forces(), forces[0])
        np.testing.assert_allclose(calculator.results["energy_std"], std[0])
        np.testing.assert_allclose(calculator.results["forces_std"], forces_std[0])
        np.testing.assert_allclose(
            calculator.results["local_rigidity"], model.local_rigidity([frame])[0]
        )
        assert ("stress_std" in calculator.results) == frame.pbc.all()
    observer = RigidityObserver(atoms, properties=("energy", "forces"), force_std=1e-9)
    observer()
    assert observer.latest["tripped"] == "force_std"


def test_components_are_species(data, network):
    model = LastLayerRigidity(network).fit(data)
    assert list(model.gradients_.components) == ["H", "C", "O"]
    parts = model.predict_components(data)
    own = np.array([-frame.numbers.sum() / 10.0 for frame in data])
    np.testing.assert_allclose(parts.sum(axis=1) + own, model.predict(data), rtol=1e-10)
    without = [i for i, frame in enumerate(data) if 6 not in frame.numbers]
    assert np.isinf(model.component_rigidity(data)[without, 1]).all()


def test_labels_that_frames_lack(data, network):
    bare = [frame.copy() for frame in data]
    with pytest.raises(ValueError, match=r"X\[0\]: has no energy"):
        LastLayerRigidity(network, refit=True).fit(bare)
    some = [*data[:3], bare[3]]
    with pytest.raises(ValueError, match=r"X\[3\]: has no energy"):
        LastLayerRigidity(network, refit=True).fit(some)
    assert LastLayerRigidity(network, refit=True).latent(some).targets is None
    for frame in bare:
        frame.info["energy_dft"] = 1.0
    with pytest.raises(ValueError, match=r"X\[0\]: has no forces"):
        LastLayerRigidity(network, refit=True, force_weight=1.0).fit(bare)
    with pytest.raises(ValueError, match="X: expected at least one frame"):
        LastLayerRigidity(network).fit([])
    with pytest.raises(TypeError, match=r"pass \[atoms\]"):
        LastLayerRigidity(network).fit(data[0])
    with pytest.raises(ValueError, match="energy_key: no frame has 'E'"):
        LastLayerRigidity(network, refit=True, energy_key="E").fit(data)


@pytest.mark.parametrize("as_latent", [False, True])
def test_choosing_frames(network, as_latent):
    """Picks are those of brute force: the least mean of 1 / R over the targets."""
    data = frames(30, seed=3)
    model = LastLayerRigidity(network, refit=True, alpha=1e-6).fit(data[:10])
    X = model.latent(data) if as_latent else data
    selector = PRSelector(2, estimator=model, objective="variance")
    selector.fit(X[10:20], X_target=X[20:])
    chosen: list[int] = []
    for _ in range(2):
        values = [
            (1 / model.rigidity_with(data[20:], [data[10 + i] for i in [*chosen, j]])).mean()
            for j in range(10)
        ]
        chosen.append(int(np.argmin(values)))
    assert list(selector.selected_idx_) == chosen


def test_an_added_frame_brings_its_forces(data, network, tmp_path):
    """With forces in H, adding and choosing a frame mean all of its rows."""
    model = LastLayerRigidity(network, alpha=1e-5, force_weight=0.3).fit(data[:6])
    model.save(tmp_path / "layer.npz")
    more = LastLayerRigidity(network, alpha=1e-5, force_weight=0.3).fit(data[:8])
    H = choose(more.hessian_.source.stream.rows()[0], Prior(model.alpha_))
    expected = 1 / H.quad(model.gradients_.rows(data).matrix)
    for each in (model, LastLayerRigidity.load(tmp_path / "layer.npz", network)):
        np.testing.assert_allclose(each.rigidity_with(data, data[6:8]), expected, rtol=1e-7)
    selector = PRSelector(1, estimator=model, objective="variance")
    selector.fit(data[6:], X_target=data[:6])
    values = [(1 / model.rigidity_with(data[:6], [frame])).mean() for frame in data[6:]]
    assert selector.selected_idx_[0] == np.argmin(values)
