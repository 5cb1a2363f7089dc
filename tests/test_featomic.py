"""Descriptors of ASE frames."""

import pickle
import sys
import warnings

import numpy as np
import pytest
from frame_checks import StructureRidge
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from skrigidity.atomistic import FeatomicDescriptor, _cache, clear_cache
from skrigidity.atomistic._layout import Layout
from skrigidity.environments import PerEnvironment

SMALL = {"cutoff": 3.0, "max_radial": 2, "max_angular": 2}


@pytest.fixture(autouse=True)
def _extra(request):
    if not request.node.name.startswith("test_without"):
        for module in ("ase", "featomic"):
            pytest.importorskip(module, reason='pip install "skrigidity[atomistic]"')
    clear_cache()


def molecule(name):
    from ase.build import molecule

    return molecule(name)


def diamond(seed=0, a=3.57, repeat=1, **kwargs):
    from ase.build import bulk

    frame = bulk("C", "diamond", a=a, cubic=True, **kwargs) * repeat
    frame.positions += np.random.default_rng(seed).normal(0, 0.1, frame.positions.shape)
    return frame


def mixed_frames():
    """Molecules, a crystal, and a lone atom."""
    return [molecule("CH3CH2OH"), diamond(), molecule("H2O"), molecule("O")]


def environments(descriptor, frames):
    return descriptor.transform(frames).values


# --- what the numbers are ------------------------------------------------------------------------


def test_equals_featomic_for_one_species():
    import featomic

    frames = [diamond(seed) for seed in range(3)]
    descriptor = FeatomicDescriptor(**SMALL, merge_duplicates=False).fit(frames)
    direct = featomic.SoapPowerSpectrum(
        cutoff={"radius": 3.0, "smoothing": {"type": "ShiftedCosine", "width": 0.5}},
        density={"type": "Gaussian", "width": 0.4},
        basis={
            "type": "TensorProduct",
            "max_angular": 2,
            "radial": {"type": "Gto", "max_radial": 2},
        },
    ).compute(frames)
    np.testing.assert_array_equal(environments(descriptor, frames), direct.block(0).values)
    again = featomic.SoapPowerSpectrum(**descriptor.hypers_).compute(frames)
    np.testing.assert_array_equal(again.block(0).values, direct.block(0).values)


@pytest.mark.parametrize("center_types", ["shared", "blocks"])
def test_equals_featomic_for_several_species(center_types):
    import featomic
    from ase.data import chemical_symbols

    frames = mixed_frames()
    descriptor = FeatomicDescriptor(**SMALL, merge_duplicates=False, center_types=center_types)
    values = environments(descriptor.fit(frames), frames)
    column = {name: i for i, name in enumerate(descriptor.get_feature_names_out())}
    offsets = np.cumsum([0, *map(len, frames)])
    seen = np.zeros(values.shape, dtype=bool)
    tensor = featomic.SoapPowerSpectrum(**descriptor.hypers_).compute(frames)
    for key, block in tensor.items():
        center, first, second = (chemical_symbols[i] for i in key.values)
        prefix = f"{center}:" if center_types == "blocks" else ""
        rows = offsets[block.samples.column("system")] + block.samples.column("atom")
        for j, (angular, n1, n2) in enumerate(block.properties.values):
            i = column[f"{prefix}{first}-{second} l={angular} n={n1},{n2}"]
            np.testing.assert_array_equal(values[rows, i], block.values[:, j])
            seen[rows, i] = True
    assert not values[~seen].any()


def test_merged_duplicates_keep_inner_products():
    frames = mixed_frames()
    full = environments(FeatomicDescriptor(**SMALL, merge_duplicates=False).fit(frames), frames)
    merged = environments(FeatomicDescriptor(**SMALL).fit(frames), frames)
    assert merged.shape[1] < full.shape[1]
    np.testing.assert_allclose(merged @ merged.T, full @ full.T, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("basis", ["gto", "laplacian_eigenstate"])
def test_invariances(basis):
    from scipy.spatial.transform import Rotation

    frames = mixed_frames()
    descriptor = FeatomicDescriptor(**SMALL, radial_basis=basis, center_types="blocks").fit(frames)
    reference = descriptor.transform(frames)
    rng = np.random.default_rng(0)
    rotation = Rotation.random(random_state=0).as_matrix()
    for frame, rows in zip(frames, reference, strict=True):
        rotated = frame.copy()
        rotated.set_cell(frame.cell.array @ rotation.T)
        rotated.positions = frame.positions @ rotation.T
        moved = frame.copy()
        moved.positions += [20.3, -7.1, 0.4]
        order = rng.permutation(len(frame))
        for other, expected in [(rotated, rows), (moved, rows), (frame[order], rows[order])]:
            (result,) = descriptor.transform([other])
            np.testing.assert_allclose(result, expected, rtol=0, atol=1e-10)


def test_rows_follow_the_atoms_of_shuffled_frames():
    frame = molecule("CH3CH2OH")
    order = np.random.default_rng(1).permutation(len(frame))
    descriptor = FeatomicDescriptor("AtomicComposition", center_types="blocks").fit([frame])
    (one_hot,) = descriptor.transform([frame[order]])
    np.testing.assert_array_equal(descriptor.species_[one_hot.argmax(axis=1)], frame.numbers[order])


def test_lone_atoms_have_rows():
    frames = [molecule("O"), molecule("H2O")]
    values = FeatomicDescriptor(**SMALL).fit_transform(frames)
    assert values.sizes.tolist() == [1, 3]
    assert values[0].any()
    hollow = FeatomicDescriptor(**SMALL, center_atom_weight=0).fit_transform(frames)
    assert hollow.sizes.tolist() == [1, 3]
    assert not hollow[0].any()
    far = molecule("H2O")
    far.positions[1] += 50.0
    assert FeatomicDescriptor(**SMALL, center_atom_weight=0).fit_transform([far])[0][1:].any()


def test_partly_periodic_frames():
    descriptor = FeatomicDescriptor(**SMALL)
    slab = diamond(repeat=(2, 2, 1))
    slab.center(vacuum=6.0, axis=2)
    slab.pbc = True
    expected = environments(descriptor.fit([slab]), [slab])
    slab.pbc = (True, True, False)
    slab.cell[2] = 0.0
    np.testing.assert_allclose(environments(descriptor, [slab]), expected, atol=1e-10)
    slab.cell[2] = [0.0, 0.0, 0.5]  # shorter than the slab is thick, and of no meaning
    np.testing.assert_allclose(environments(descriptor, [slab]), expected, atol=1e-10)

    chain = diamond()
    chain.set_cell(np.diag(chain.cell.lengths() + np.array([0, 9, 9])))
    chain.pbc = True
    expected = environments(descriptor, [chain])
    chain.pbc = (True, False, False)
    np.testing.assert_allclose(environments(descriptor, [chain]), expected, atol=1e-10)


def test_cell_of_a_frame_that_is_not_periodic_does_not_matter():
    frame, boxed = molecule("H2O"), molecule("H2O")
    boxed.cell = [1.0, 1.0, 1.0]
    descriptor = FeatomicDescriptor(**SMALL)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        values = descriptor.fit_transform([frame, boxed])
    np.testing.assert_array_equal(values[0], values[1])


@pytest.mark.parametrize("width", [0.4, 0.0])
@pytest.mark.parametrize("max_angular", [None, 1])
def test_laplacian_eigenstates_equal_featomics_spliner(width, max_angular):
    import featomic
    from featomic.cutoff import Cutoff, ShiftedCosine
    from featomic.density import DiracDelta, Gaussian

    basis = featomic.basis.LaplacianEigenstate(radius=3.0, max_radial=1, max_angular=max_angular)
    spliner = featomic.splines.SoapSpliner(
        cutoff=Cutoff(3.0, ShiftedCosine(width=0.5)),
        density=Gaussian(width=width, center_atom_weight=0.5)
        if width
        else DiracDelta(center_atom_weight=0.5),
        basis=basis,
    )
    frames = [diamond()]
    direct = featomic.SoapPowerSpectrum(**spliner.get_hypers()).compute(frames)
    descriptor = FeatomicDescriptor(
        cutoff=3.0,
        density_width=width,
        max_radial=1,
        max_angular=max_angular,
        radial_basis="laplacian_eigenstate",
        center_atom_weight=0.5,
        merge_duplicates=False,
    )
    ours = environments(descriptor.fit(frames), frames)
    theirs = direct.block(0).values
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-7 * abs(theirs).max())


# --- other calculators and hyperparameters -------------------------------------------------------


@pytest.mark.parametrize(
    ("calculator", "hypers", "example", "n_columns"),
    [
        ("SoapRadialSpectrum", None, "O n=2", 6),
        ("SphericalExpansion", None, "H l=1 m=-1 n=0", 54),
        ("SortedDistances", {"max_neighbors": 3}, "O neighbor=2", 6),
        ("AtomicComposition", None, "count=0", 1),
    ],
)
def test_other_calculators(calculator, hypers, example, n_columns):
    import featomic

    frames = [molecule("H2O"), molecule("OH")]
    descriptor = FeatomicDescriptor(calculator, **SMALL, hypers=hypers).fit(frames)
    names = descriptor.get_feature_names_out().tolist()
    assert example in names
    assert len(set(names)) == len(names) == n_columns
    values = environments(descriptor, frames)
    by_class = FeatomicDescriptor(getattr(featomic, calculator), **SMALL, hypers=hypers)
    np.testing.assert_array_equal(environments(by_class.fit(frames), frames), values)


@pytest.mark.parametrize("calculator", ["SoapRadialSpectrum", "SphericalExpansion"])
def test_laplacian_eigenstates_with_other_calculators(calculator):
    descriptor = FeatomicDescriptor(calculator, max_radial=2, radial_basis="laplacian_eigenstate")
    assert environments(descriptor.fit([diamond()]), [diamond()]).any()


def test_missing_neighbors_of_sorted_distances_are_at_the_cutoff():
    descriptor = FeatomicDescriptor("SortedDistances", cutoff=3.0, hypers={"max_neighbors": 2})
    (oxygen,) = descriptor.fit([molecule("H2O")]).transform([molecule("O")])
    np.testing.assert_array_equal(oxygen, np.full((1, 4), 3.0))


def test_lode_needs_periodic_frames():
    frame = molecule("H2O")
    descriptor = FeatomicDescriptor("LodeSphericalExpansion", **SMALL, hypers={"k_cutoff": 2.0})
    with pytest.raises(ValueError, match=r"featomic says: .*periodic"):
        descriptor.fit([frame]).transform([frame])
    frame.center(vacuum=4.0)
    frame.pbc = (True, True, False)
    with pytest.raises(ValueError, match=r"X\[0\]: periodic in some directions only"):
        descriptor.transform([frame])
    frame.pbc = True
    assert descriptor.transform([frame]).shape == (1, 2 * 3 * 9)


def test_hypers_are_merged_over_the_parameters():
    import featomic

    scaling = {"type": "Willatt2018", "scale": 2.0, "rate": 1.0, "exponent": 4}
    descriptor = FeatomicDescriptor(**SMALL, hypers={"density": {"scaling": scaling}})
    hypers = descriptor.fit([diamond()]).hypers_
    assert hypers["density"]["scaling"] == scaling
    assert hypers["density"]["width"] == 0.4
    descriptor.set_params(
        hypers={"density": featomic.density.SmearedPowerLaw(smearing=1, exponent=3)}
    )
    with pytest.raises(ValueError, match="SoapPowerSpectrum does not accept them"):
        clone(descriptor).fit([diamond()])
    descriptor.set_params(hypers={"basis": {"max_angular": 0}})
    assert descriptor.fit([diamond()]).hypers_["basis"]["max_angular"] == 0
    descriptor.set_params(hypers={"typo": 1})
    with pytest.raises(ValueError, match="SoapPowerSpectrum does not accept them"):
        descriptor.fit([diamond()])


def cross_spectrum(cutoffs, neighbor_types=None):
    from featomic import SphericalExpansion
    from featomic.clebsch_gordan import PowerSpectrum

    basis = {"type": "TensorProduct", "max_angular": 1, "radial": {"type": "Gto", "max_radial": 1}}
    return PowerSpectrum(
        *(
            SphericalExpansion(
                cutoff={"radius": radius, "smoothing": {"type": "Step"}},
                density={"type": "Gaussian", "width": 0.4},
                basis=basis,
            )
            for radius in cutoffs
        ),
        neighbor_types=neighbor_types,
    )


def test_callables_make_calculators():
    pytest.importorskip("metatensor.operations")
    frames = mixed_frames()
    descriptor = FeatomicDescriptor(cross_spectrum, hypers={"cutoffs": [2.0, 4.0]}).fit(frames)
    values = descriptor.transform(frames)
    assert values.sizes.tolist() == [len(f) for f in frames]
    assert "C-H l=1 n=0,1" in descriptor.get_feature_names_out()
    assert set(descriptor.components_) == {f"{a}-{b}" for a in "CHO" for b in "CHO"}
    for frame, rows in zip(frames, values, strict=True):
        np.testing.assert_array_equal(descriptor.transform([frame])[0], rows)
    fixed = {"cutoffs": [2.0, 4.0], "neighbor_types": [1, 6, 8]}
    descriptor.set_params(hypers=fixed)
    np.testing.assert_array_equal(clone(descriptor).fit_transform(frames).values, values.values)
    again = pickle.loads(pickle.dumps(descriptor)).transform(frames)
    np.testing.assert_array_equal(again.values, values.values)


def test_equivariant_calculators_and_columns_that_vary():
    pytest.importorskip("metatensor.operations")
    from featomic import SphericalExpansion
    from featomic.clebsch_gordan import EquivariantPowerSpectrum

    class Equivariant:
        def __init__(self):
            hypers = FeatomicDescriptor("SphericalExpansion", **SMALL).fit([diamond()]).hypers_
            self.inner = EquivariantPowerSpectrum(SphericalExpansion(**hypers))

        def compute(self, systems):
            return self.inner.compute(systems, neighbors_to_properties=True)

    frames = [molecule("H2O"), molecule("O")]
    descriptor = FeatomicDescriptor(Equivariant, components_by="angular").fit(frames)
    assert set(descriptor.components_) == {f"l={i}" for i in range(5)}
    names = descriptor.get_feature_names_out()
    assert len(set(names)) == len(names)
    values = descriptor.transform(frames)
    np.testing.assert_array_equal(descriptor.transform(frames[1:])[0], values[1])
    descriptor.species_ = np.array([1, 6, 8])
    with pytest.raises(ValueError, match="made the property"):
        descriptor.transform([molecule("CO")])


@pytest.mark.parametrize(
    ("calculator", "error", "message"),
    [
        ("NeighborList", ValueError, "pairs of atoms"),
        ("SphericalExpansionByPair", ValueError, "pairs of atoms"),
        ("Soap", ValueError, "expected one of SoapPowerSpectrum"),
        (lambda: None, AttributeError, "compute"),
    ],
)
def test_calculators_that_make_no_sense(calculator, error, message):
    with pytest.raises(error, match=message):
        FeatomicDescriptor(calculator).fit([molecule("H2O")])


def test_a_result_without_a_row_per_atom_is_rejected():
    from featomic import AtomicComposition

    with pytest.raises(ValueError, match="one row per atom, got one per system"):
        FeatomicDescriptor(lambda: AtomicComposition(per_system=True)).fit([molecule("H2O")])


# --- columns -------------------------------------------------------------------------------------


def test_columns_are_fixed_in_fit():
    frames = mixed_frames()
    descriptor = FeatomicDescriptor(**SMALL).fit(frames)
    assert descriptor.species_.tolist() == [1, 6, 8]
    whole = descriptor.transform(frames)
    assert whole.shape == (4, descriptor.n_features_out_)
    for frame, rows in zip(frames, whole, strict=True):
        np.testing.assert_array_equal(descriptor.transform([frame])[0], rows)
    given = FeatomicDescriptor(**SMALL, species=["O", "C", 1]).fit(frames[2:3])
    np.testing.assert_array_equal(given.transform(frames).values, whole.values)


@pytest.mark.parametrize("center_types", ["shared", "blocks"])
@pytest.mark.parametrize("by", ["neighbors", "centers", "angular"])
def test_components_divide_the_columns(by, center_types):
    descriptor = FeatomicDescriptor(**SMALL, center_types=center_types, components_by=by)
    if by == "centers" and center_types == "shared":
        with pytest.raises(ValueError, match=r"components_by: .* no centers"):
            descriptor.fit(mixed_frames())
        return
    descriptor.fit(mixed_frames())
    columns = np.arange(descriptor.n_features_out_)
    parts = [columns[c] for c in descriptor.components_.values()]
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), columns)
    names = descriptor.get_feature_names_out()
    assert len(set(names)) == len(names) == len(columns)
    for component, chosen in descriptor.components_.items():
        assert all(component in name for name in names[chosen])
    expected = {"neighbors": 6, "centers": 3, "angular": 3}
    assert len(descriptor.components_) == expected[by]


# --- as an estimator -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes", [{"chunk_size": 1}, {"chunk_size": 5, "n_jobs": 2}, {"n_jobs": 2}, {"cache_size": 0}]
)
def test_how_it_is_computed_changes_nothing(changes):
    frames = mixed_frames() * 3
    expected = FeatomicDescriptor(**SMALL, cache_size=0).fit_transform(frames)
    for _ in range(2):
        result = FeatomicDescriptor(**SMALL, **changes).fit_transform(frames)
        np.testing.assert_array_equal(result.values, expected.values)


def test_cache(monkeypatch):
    computed = []
    dense = Layout.dense
    monkeypatch.setattr(
        Layout, "dense", lambda self, t, n, d: computed.append(len(n)) or dense(self, t, n, d)
    )

    def count(frames, **params):
        computed.clear()
        FeatomicDescriptor(**(SMALL | params), species=["H", "C", "O"]).fit_transform(frames)
        return sum(computed)

    frames = mixed_frames()
    assert count(frames) == 4
    assert count(frames[::-1]) == 0
    frames[0].positions[0, 0] += 1e-9
    assert count(frames) == 1
    assert count(frames, max_angular=1) == 4
    assert count(frames, output="mean") == 4
    assert count(frames, dtype="float32") == 4
    assert count(frames, center_types="blocks") == 4
    assert count(frames) == 0
    clear_cache()
    assert _cache.FEATURES.nbytes == len(_cache.FEATURES) == 0
    assert count(frames, cache_size=0) == count(frames, cache_size=0) == 4
    assert count(frames, cache_size=100) == count(frames, cache_size=100) == 4
    assert len(_cache.FEATURES) == 0


def test_cache_drops_the_least_recently_used():
    cache, array = _cache.FeatureCache(), np.zeros(10)
    for key in (b"a", b"b"):
        cache.put(key, array, 160)
    assert cache.get(b"a") is not None
    cache.put(b"c", array, 160)
    assert cache.get(b"b") is None
    assert len(cache) == 2
    assert cache.nbytes == 160


def test_changing_what_was_returned_does_not_change_what_is_remembered():
    frames = [molecule("H2O")]
    descriptor = FeatomicDescriptor(**SMALL).fit(frames)
    first = descriptor.transform(frames)
    expected = first.values.copy()
    first.values[:] = 0
    second = descriptor.transform(frames)
    np.testing.assert_array_equal(second.values, expected)
    second.values[:] = 0
    np.testing.assert_array_equal(descriptor.transform(frames).values, expected)


def test_grid_search_over_hyperparameters():
    frames = [diamond(seed, a) for seed, a in enumerate(np.linspace(3.3, 4.2, 24))]
    y = np.array([1 / frame.get_volume() for frame in frames])
    pipeline = Pipeline(
        [
            ("descriptor", FeatomicDescriptor(max_radial=3, max_angular=2)),
            ("scale", PerEnvironment(StandardScaler())),
            ("ridge", StructureRidge()),
        ]
    )
    grid = {
        "descriptor__cutoff": [2.0, 4.0],
        "descriptor__radial_basis": ["gto", "laplacian_eigenstate"],
        "ridge__alpha": [1e-3, 1e3],
    }
    search = GridSearchCV(pipeline, grid, cv=3, error_score="raise").fit(frames, y)
    assert search.best_params_["ridge__alpha"] == 1e-3
    assert search.best_score_ > 0.9
    assert search.predict(frames).shape == (24,)
    assert cross_val_score(search.best_estimator_, frames, y, cv=3).min() > 0.8


# --- bad input -----------------------------------------------------------------------------------


def test_periodic_frames_without_a_volume():
    frames = [molecule("H2O"), molecule("H2O")]
    descriptor = FeatomicDescriptor(**SMALL).fit(frames)
    frames[1].pbc = True
    with pytest.raises(ValueError, match=r"X\[1\]: periodic, but its cell has no volume"):
        descriptor.transform(frames)
    frames[1].pbc = (True, False, True)
    with pytest.raises(ValueError, match=r"X\[1\]: its periodic cell vectors are zero or parallel"):
        descriptor.transform(frames)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"cutoff": -1.0}, "'cutoff' parameter"),
        ({"max_radial": 1.5}, "'max_radial' parameter"),
        ({"radial_basis": "bessel"}, "'radial_basis' parameter"),
        ({"output": "median"}, "'output' parameter"),
        ({"calculator": 3}, "'calculator' parameter"),
        ({"smoothing_width": 5.0}, r"smoothing_width: expected at most cutoff = 4\.5"),
        ({"density_width": 0.0}, "density_width: expected more than 0"),
        ({"species": ["Xx"]}, "species: 'Xx' is neither"),
        ({"species": []}, "species: expected at least one"),
        (
            {"calculator": "LodeSphericalExpansion", "radial_basis": "laplacian_eigenstate"},
            'radial_basis: LodeSphericalExpansion knows "gto" only',
        ),
    ],
)
def test_bad_parameters(params, message):
    with pytest.raises(ValueError, match=message):
        FeatomicDescriptor(**params).fit([molecule("H2O")])


@pytest.mark.parametrize("module", ["featomic", "ase"])
def test_without_the_extra(monkeypatch, module):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=r'pip install "skrigidity\[atomistic\]"'):
        FeatomicDescriptor().fit([object()])


def test_progress_bar(monkeypatch):
    frames = [molecule("H2O")] * 3
    descriptor = FeatomicDescriptor(**SMALL, progress_bar=True, cache_size=0).fit(frames)
    monkeypatch.setitem(sys.modules, "tqdm", None)
    with pytest.raises(ImportError, match=r"tqdm.*skrigidity"):
        descriptor.transform(frames)
    monkeypatch.undo()
    pytest.importorskip("tqdm")
    assert len(descriptor.transform(frames)) == 3
