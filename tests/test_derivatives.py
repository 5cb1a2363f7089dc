"""Derivatives of descriptors by positions and strain, against differences and symmetries."""

import pickle
import subprocess
import sys

import numpy as np
import pytest

from skrigidity.atomistic import (
    ACEDescriptor,
    CompositionDescriptor,
    DescriptorUnion,
    FeatomicDescriptor,
    RangeSeparatedDescriptor,
)
from skrigidity.atomistic.ace import _loops

KINDS = ["self-interacting", "purified"]


@pytest.fixture(autouse=True)
def _extra():
    for module in ("ase", "featomic", "sphericart"):
        pytest.importorskip(module, reason='pip install "skrigidity[atomistic]"')


@pytest.fixture(params=["compiled", "NumPy"])
def loops(request, monkeypatch):
    """Either way of summing over pairs of atoms."""
    if request.param == "compiled":
        pytest.importorskip("numba", reason='pip install "skrigidity[fast]"')
    else:
        without_loops(monkeypatch)


def without_loops(monkeypatch):
    monkeypatch.setattr(_loops, "compiled", lambda: None)


def cluster(symbols="Si4", seed=0):
    from ase import Atoms

    rng = np.random.default_rng(seed)
    frame = Atoms(symbols)
    grid = 2.3 * np.argwhere(np.ones((3, 3, 3)))[: len(frame)]
    frame.positions = grid + rng.normal(0, 0.15, grid.shape)
    return frame


def crystal(symbols="Si2", pbc=True, seed=0):
    """A cell smaller than the cutoff: atoms are neighbors of their own images."""
    from ase import Atoms

    rng = np.random.default_rng(seed)
    cell = np.diag([3.3, 3.6, 3.9]) + rng.normal(0, 0.2, (3, 3))
    n = len(Atoms(symbols))
    return Atoms(symbols, scaled_positions=_apart(n, rng), cell=cell, pbc=pbc)


def _apart(n, rng):
    return np.array([[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0, 0.5]])[:n] + rng.normal(0, 0.03, (n, 3))


def ace(kind="self-interacting", **parameters):
    settings = {"cutoff": 4.2, "max_degree": (5, 5, 5, 4), "angular_weight": 1.0, "r0": 2.3}
    return ACEDescriptor(kind=kind, **{**settings, **parameters})


def summed(descriptor, frame):
    """Features summed over atoms."""
    return np.asarray(descriptor.transform([frame])[0]).sum(axis=0)


def differences(descriptor, frame, moved, h, points):
    """Central differences of the summed features along `moved(frame, step)`."""
    if points == 2:
        return (summed(descriptor, moved(frame, h)) - summed(descriptor, moved(frame, -h))) / (
            2 * h
        )
    near = summed(descriptor, moved(frame, h)) - summed(descriptor, moved(frame, -h))
    far = summed(descriptor, moved(frame, 2 * h)) - summed(descriptor, moved(frame, -2 * h))
    return (8 * near - far) / (12 * h)


def shifted(atom, axis):
    def move(frame, step):
        other = frame.copy()
        other.positions[atom, axis] += step
        return other

    return move


VOIGT = [(0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)]


def strained(component):
    first, second = VOIGT[component]

    def move(frame, step):
        other = frame.copy()
        deformation = np.eye(3)
        deformation[first, second] += step / 2
        deformation[second, first] += step / 2
        other.set_cell(frame.cell.array @ deformation)
        other.positions = frame.positions @ deformation
        return other

    return move


def assert_differences(descriptor, frame, h=1e-5, points=2, tolerance=1e-8):
    result = descriptor.derivatives(frame)
    # An atom whose images are its only neighbors cannot be moved against them.
    scale = abs(result.positions).max() or abs(result.strain).max()
    worst = 0.0
    for atom in range(len(frame)):
        for axis in range(3):
            expected = differences(descriptor, frame, shifted(atom, axis), h, points)
            worst = max(worst, abs(result.positions[atom, axis] - expected).max())
    assert worst <= tolerance * scale
    scale = abs(result.strain).max()
    for component in range(6):
        expected = differences(descriptor, frame, strained(component), h, points)
        assert abs(result.strain[component] - expected).max() <= tolerance * scale


FRAMES = {
    "cluster": lambda: cluster("Si5"),
    "two species": lambda: cluster("SiO2HO"),
    "crystal": lambda: crystal("Si2"),
    "crystal of two species": lambda: crystal("SiOH"),
    "one atom and its images": lambda: crystal("Si"),
    "wire": lambda: crystal("Si2", pbc=(True, False, False)),
    "slab": lambda: crystal("SiO", pbc=(True, True, False)),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", FRAMES)
@pytest.mark.usefixtures("loops")
def test_ace_equals_differences(kind, name):
    frame = FRAMES[name]()
    assert_differences(ace(kind).fit([frame]), frame)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "parameters",
    [
        {"composition": True, "center_types": "blocks"},
        {"composition": True, "center_types": "shared"},
        {"pair_basis": False},
        {"max_degree": (5,)},
        {"max_degree": (0, 5)},
        {"max_degree": (3, 0, 5), "r0": "covalent", "agnesi": (1.5, 2.5)},
    ],
    ids=str,
)
def test_parameters_of_ace(kind, parameters):
    frame = crystal("SiO")
    assert_differences(ace(kind, **parameters).fit([frame, cluster("H")]), frame)


def test_pairs_alone():
    drop = [((n, 0),) for n in range(1, 6)]
    frame = cluster("SiO2")
    assert_differences(ace(max_degree=(5,), drop=drop).fit([frame]), frame)


def largest(result):
    return max(abs(result.positions).max(), abs(result.strain).max())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", FRAMES)
@pytest.mark.parametrize("center_types", ["blocks", "shared"])
@pytest.mark.usefixtures("loops")
def test_backward_is_rows_times_weights(kind, name, center_types):
    frame = FRAMES[name]()
    descriptor = ace(kind, composition=True, center_types=center_types).fit([frame])
    assert_backward(descriptor, frame)


def assert_backward(descriptor, frame):
    weights = np.random.default_rng(0).normal(size=(descriptor.n_features_out_, 3))
    rows = descriptor.derivatives(frame)
    result = descriptor.backward(frame, weights)
    for name, found in result._asdict().items():
        expected = getattr(rows, "features" if name == "local" else name) @ weights
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12 * abs(expected).max())
        alone = getattr(descriptor.backward(frame, weights[:, 1]), name)
        np.testing.assert_allclose(
            alone, expected[..., 1], rtol=0, atol=1e-12 * abs(expected).max()
        )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", FRAMES)
@pytest.mark.usefixtures("loops")
def test_moving_and_turning_the_frame(kind, name):
    from scipy.spatial.transform import Rotation

    frame = FRAMES[name]()
    descriptor = ace(kind).fit([frame])
    result = descriptor.derivatives(frame)
    assert abs(result.positions.sum(axis=0)).max() <= 1e-12 * largest(result)
    rotation = Rotation.random(random_state=1).as_matrix()
    turned = frame.copy()
    turned.set_cell(frame.cell.array @ rotation.T)
    turned.positions = (frame.positions + 0.7) @ rotation.T
    other = descriptor.derivatives(turned)
    expected = np.einsum("ab,nbd->nad", rotation, result.positions)
    assert abs(other.positions - expected).max() <= 1e-12 * largest(result)
    expected = rotation @ matrices(result.strain) @ rotation.T
    assert abs(matrices(other.strain) - expected).max() <= 1e-12 * largest(result)


def matrices(strain):
    xx, yy, zz, yz, xz, xy = strain
    return np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]]).transpose(2, 0, 1)


@pytest.mark.usefixtures("loops")
def test_exactly_zero_where_neighbors_are_too_few():
    descriptor = ace("purified").fit([cluster("Si3")])
    result = descriptor.derivatives(cluster("Si3"))
    first = descriptor.components_["nu=3"].start
    assert result.positions[..., :first].any(axis=(0, 1)).all()
    for part in result:
        assert not part[..., first:].any()


@pytest.mark.usefixtures("loops")
def test_an_atom_does_not_move_against_its_images():
    frame = crystal("Si")
    result = ace().fit([frame]).derivatives(frame)
    assert not result.positions.any()
    assert result.strain.any(axis=0).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("composition", [False, True])
@pytest.mark.usefixtures("loops")
def test_lone_atoms(kind, composition):
    from ase import Atoms

    pair = cluster("SiO")
    descriptor = ace(kind, composition=composition).fit([pair])
    for frame in (Atoms("Si"), Atoms("SiO", [[0, 0, 0], [0, 0, 9.0]])):
        result = descriptor.derivatives(frame)
        assert not result.positions.any()
        assert not result.strain.any()
        assert result.features.sum() == (len(frame) if composition else 0)
        assert_backward(descriptor, frame)


@pytest.mark.usefixtures("loops")
def test_batches_of_environments_change_nothing(monkeypatch):
    frame = cluster("SiO2Si3OH2")
    descriptor = ace("purified").fit([frame])
    whole = descriptor.derivatives(frame)
    monkeypatch.setattr("skrigidity.atomistic.ace._basis._BATCH", 2)
    for part, expected in zip(descriptor.derivatives(frame), whole, strict=True):
        np.testing.assert_allclose(part, expected, rtol=0, atol=1e-14 * abs(expected).max())
    assert_backward(descriptor, frame)


def test_pickled_after_differentiating():
    frame = crystal("SiO")
    descriptor = ace().fit([frame])
    expected = descriptor.derivatives(frame)
    restored = pickle.loads(pickle.dumps(descriptor))
    np.testing.assert_array_equal(restored.derivatives(frame).positions, expected.positions)


def test_features_are_rows_of_atoms():
    frame = crystal("SiO")
    descriptor = ace("purified", composition=True).fit([frame])
    expected = descriptor.transform([frame])[0]
    result = descriptor.set_params(output="mean", dtype="float32").derivatives(frame)
    np.testing.assert_allclose(result.features, expected, rtol=0, atol=1e-13 * abs(expected).max())
    assert {part.dtype.name for part in result} == {"float64"}


def test_derivatives_of_composition():
    frame = crystal("SiO")
    descriptor = CompositionDescriptor().fit([frame])
    result = descriptor.derivatives(frame)
    assert result.features.tolist() == [[0, 1], [1, 0]]
    assert result.positions.shape == (2, 3, 2)
    assert result.strain.shape == (6, 2)
    assert not result.positions.any()
    assert not result.strain.any()
    assert_backward(descriptor, frame)


def test_what_is_no_frame_and_no_weights():
    from ase import Atoms
    from sklearn.exceptions import NotFittedError

    frame = cluster("SiO")
    descriptor = ace().fit([frame])
    with pytest.raises(NotFittedError):
        ace().derivatives(frame)
    with pytest.raises(TypeError, match=r"frame: expected ase\.Atoms, got list"):
        descriptor.derivatives([frame])
    with pytest.raises(ValueError, match="contains H; this descriptor knows O, Si"):
        descriptor.derivatives(Atoms("H"))
    with pytest.raises(ValueError, match="no atoms"):
        descriptor.derivatives(Atoms())
    for weights in (np.ones(3), np.ones((1, descriptor.n_features_out_)), 1.0):
        with pytest.raises(ValueError, match="weights: expected shape"):
            descriptor.backward(frame, weights)


# --- compiled loops ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", [*FRAMES, "lone atom"])
def test_numba_and_numpy_agree(monkeypatch, kind, name):
    pytest.importorskip("numba", reason='pip install "skrigidity[fast]"')
    frame = FRAMES[name]() if name in FRAMES else cluster("Si")
    descriptor = ace(kind, composition=True).fit([frame, cluster("SiO")])
    weights = np.random.default_rng(0).normal(size=(descriptor.n_features_out_, 2))
    compiled = descriptor.derivatives(frame), descriptor.backward(frame, weights)
    assert _loops.compiled().__name__.endswith("_compiled")
    without_loops(monkeypatch)
    plain = descriptor.derivatives(frame), descriptor.backward(frame, weights)
    for fast, slow in zip(compiled, plain, strict=True):
        for part, expected in zip(fast, slow, strict=True):
            np.testing.assert_allclose(part, expected, rtol=0, atol=1e-12 * abs(expected).max())


def test_numba_is_imported_where_it_is_needed_only():
    code = (
        "import sys, ase, skrigidity, skrigidity.atomistic as a\n"
        "frame = ase.Atoms('Si2', [[0, 0, 0], [0, 0, 2.2]])\n"
        "descriptor = a.ACEDescriptor(max_degree=(3, 3)).fit([frame])\n"
        "descriptor.transform([frame])\n"
        "assert 'numba' not in sys.modules\n"
        "sys.modules['numba'] = None\n"
        "assert descriptor.derivatives(frame).positions.any()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# --- featomic ------------------------------------------------------------------------------------

SMALL = {"cutoff": 3.5, "max_radial": 2, "max_angular": 2}
FEATOMIC = {
    "power spectrum": {},
    "duplicates": {"merge_duplicates": False},
    "center blocks": {"center_types": "blocks"},
    "Laplacian eigenstates": {"radial_basis": "laplacian_eigenstate", "max_angular": None},
    "radial spectrum": {"calculator": "SoapRadialSpectrum"},
    "expansion": {"calculator": "SphericalExpansion", "max_radial": 1},
}


def soap(**parameters):
    return FeatomicDescriptor(**{**SMALL, **parameters})


@pytest.mark.parametrize("parameters", FEATOMIC.values(), ids=FEATOMIC)
@pytest.mark.parametrize("name", ["two species", "crystal of two species", "slab"])
def test_featomic_equals_differences(parameters, name):
    frame = FRAMES[name]()
    descriptor = soap(**parameters).fit([frame, cluster("H")])
    assert_differences(descriptor, frame, h=1e-4, points=4)
    assert_backward(descriptor, frame)


def test_featomic_of_what_does_not_depend_on_positions():
    frame = crystal("SiO")
    descriptor = soap(calculator="AtomicComposition", center_types="blocks").fit([frame])
    result = descriptor.derivatives(frame)
    assert result.features.tolist() == [[0, 1], [1, 0]]
    assert not result.positions.any()
    assert not result.strain.any()


def test_features_of_featomic_are_rows_of_atoms():
    frame = crystal("SiO")
    descriptor = soap(center_types="blocks").fit([frame, cluster("H")])
    expected = descriptor.transform([frame])[0]
    result = descriptor.set_params(output="mean", dtype="float32").derivatives(frame)
    np.testing.assert_allclose(result.features, expected, rtol=0, atol=1e-13)
    assert abs(result.positions.sum(axis=0)).max() <= 1e-12 * largest(result)


def test_chunks_of_centers_change_nothing(monkeypatch):
    frame = crystal("SiOH")
    descriptor = soap().fit([frame])
    whole = descriptor.derivatives(frame)
    monkeypatch.setattr("skrigidity.atomistic._featomic._CENTERS", 2)
    for part, expected in zip(descriptor.derivatives(frame), whole, strict=True):
        np.testing.assert_allclose(part, expected, rtol=0, atol=1e-14 * abs(expected).max())


@pytest.mark.parametrize(
    "calculator", ["LodeSphericalExpansion", "SortedDistances", "DensityCorrelations"]
)
def test_calculators_without_derivatives(calculator):
    frame = crystal("SiO")
    descriptor = soap(calculator=calculator, max_radial=1, max_angular=1).fit([frame])
    with pytest.raises(NotImplementedError, match=f"calculator: {calculator} has no derivatives"):
        descriptor.derivatives(frame)
    with pytest.raises(NotImplementedError, match="those that do: SoapPowerSpectrum"):
        descriptor.backward(frame, np.ones(descriptor.n_features_out_))


def test_a_calculator_of_ones_own_has_no_derivatives():
    import featomic

    frame = crystal("SiO")

    def calculator():
        return featomic.AtomicComposition(per_system=False)

    descriptor = FeatomicDescriptor(calculator).fit([frame])
    with pytest.raises(NotImplementedError, match=r"calculator.* has no derivatives"):
        descriptor.derivatives(frame)


def test_range_separated_has_no_derivatives():
    frame = crystal("Si2")
    descriptor = RangeSeparatedDescriptor(max_radial=1, max_angular=0).fit([frame])
    with pytest.raises(NotImplementedError, match="none of LODE by strain"):
        descriptor.derivatives(frame)


# --- unions --------------------------------------------------------------------------------------


def union(**parameters):
    parts = [("atoms", CompositionDescriptor()), ("ace", ace(max_degree=(4, 4))), ("soap", soap())]
    return DescriptorUnion(parts, **parameters)


@pytest.mark.parametrize("output", [None, "mean"])
def test_union_is_side_by_side(output):
    frame = crystal("SiO")
    together = union(output=output).fit([frame])
    alone = [d.derivatives(frame) for _, d in together.descriptors_]
    result = together.derivatives(frame)
    for name, part in result._asdict().items():
        expected = np.concatenate([getattr(a, name) for a in alone], axis=-1)
        np.testing.assert_array_equal(part, expected)
    assert_backward(together, frame)


def test_union_names_who_has_no_derivatives():
    from sklearn.pipeline import make_pipeline

    frame = crystal("SiO")
    pipeline = make_pipeline(CompositionDescriptor())
    together = DescriptorUnion([("ace", ace(max_degree=(4,))), ("other", pipeline)]).fit([frame])
    with pytest.raises(NotImplementedError, match="'other', Pipeline, has no derivatives"):
        together.derivatives(frame)
    with pytest.raises(NotImplementedError, match="'other', Pipeline, has no derivatives"):
        together.backward(frame, np.ones(together.n_features_out_))
