"""SOAP and LODE side by side: the descriptor, and what separating the ranges does to a model."""

import pickle
import sys

import numpy as np
import pytest
from oracle import exact_quad
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from skrigidity import ComponentRidge
from skrigidity.atomistic import RangeSeparatedDescriptor, clear_cache
from skrigidity.datasets import load_water
from skrigidity.metrics import component_learning_curve

SMALL = {"max_radial": 1, "max_angular": 1}
KINDS = ("k-space", "range-separated")


@pytest.fixture
def extra():
    for module in ("ase", "featomic"):
        pytest.importorskip(module, reason='pip install "skrigidity[atomistic]"')
    clear_cache()


def boxed(frame, length=15.0):
    frame = frame.copy()
    frame.set_cell(np.diag(np.broadcast_to(length, 3)))
    frame.pbc = True
    return frame


def molecules(*names, length=15.0):
    from ase.build import molecule

    return [boxed(molecule(name), length) for name in names]


def dimers(n=4, length=15.0):
    frames = load_water(kind="dimer", return_frames=True).frames
    return [boxed(frame, length) for frame in frames[:: len(frames) // n][:n]]


# --- what the numbers are ------------------------------------------------------------------------


@pytest.mark.usefixtures("extra")
def test_the_sizes_of_the_paper():
    frames = dimers(2, length=10.0)
    full = RangeSeparatedDescriptor(merge_duplicates=False).fit(frames)
    assert full.components_ == {"short": slice(0, 384), "long": slice(384, 896)}
    merged = RangeSeparatedDescriptor().fit(frames)
    assert merged.components_ == {"short": slice(0, 288), "long": slice(288, 576)}
    for name in ("short", "long"):
        a, b = (d.transform(frames).values[:, d.components_[name]] for d in (full, merged))
        np.testing.assert_allclose(b @ b.T, a @ a.T, rtol=1e-12, atol=1e-12 * np.abs(a @ a.T).max())
        assert len(np.unique(np.round(a, 10), axis=1).T) <= 288 + 1


@pytest.mark.usefixtures("extra")
@pytest.mark.parametrize("kind", KINDS)
def test_equals_featomics_clebsch_gordan_products(kind):
    """The slow route: featomic's splines in k-space, its density correlations."""
    pytest.importorskip("metatensor.operations")
    import featomic
    import metatensor
    from featomic.basis import Explicit, Monomials
    from featomic.clebsch_gordan import DensityCorrelations
    from featomic.density import SmearedPowerLaw

    from skrigidity.atomistic._radial_tables import lode_hypers

    frames = dimers(3)
    by_angular = {
        angular: Monomials(angular_channel=angular, max_radial=1, radius=2.8)
        for angular in range(2)
    }
    spliner = featomic.splines.LodeSpliner(
        density=SmearedPowerLaw(smearing=1.2, exponent=3),
        basis=Explicit(by_angular=by_angular, spline_accuracy=1e-10),
        k_cutoff=np.pi,
    )
    expansion = featomic.LodeSphericalExpansion(**spliner.get_hypers()).compute(frames)
    if kind == "range-separated":
        import json

        inside = json.loads(lode_hypers(2.8, 1.2, 3, np.pi, 1, 1)[1])
        local = featomic.SphericalExpansion(**inside).compute(frames)
        expansion = metatensor.subtract(expansion, local)
    spectrum = DensityCorrelations(n_correlations=1, max_angular=2, skip_redundant=True).compute(
        expansion.keys_to_properties("neighbor_type"),
        selected_keys=metatensor.Labels(["o3_lambda", "o3_sigma"], np.array([[0, 1]], np.int32)),
    )
    descriptor = RangeSeparatedDescriptor(kind=kind, **SMALL, merge_duplicates=False).fit(frames)
    ours = descriptor.transform(frames).values
    column = {name: i for i, name in enumerate(descriptor.get_feature_names_out())}
    symbols = {1: "H", 8: "O"}
    n_seen = 0
    for key, block in spectrum.items():
        rows = 6 * block.samples.column("system") + block.samples.column("atom")
        for j, label in enumerate(block.properties.values.tolist()):
            p = dict(zip(block.properties.names, label, strict=True))
            pair = f"{symbols[p['neighbor_1_type']]}-{symbols[p['neighbor_2_type']]}"
            name = (
                f"{symbols[int(key['center_type'])]}:{pair} l={key['l_1']} n={p['n_1']},{p['n_2']}"
            )
            mine, theirs = ours[rows, column[f"long__{name}"]], block.values[:, 0, j]
            sign = (-1) ** int(key["l_1"])
            np.testing.assert_allclose(mine, sign * theirs, rtol=0, atol=1e-9 * np.abs(ours).max())
            n_seen += 1
    assert n_seen == descriptor.n_features_out_ - descriptor.components_["long"].start


@pytest.mark.usefixtures("extra")
@pytest.mark.parametrize("angular", [0, 1, 3])
@pytest.mark.parametrize("derivative", [False, True])
def test_tables_equal_featomics_adaptive_quadrature(angular, derivative):
    import json

    from featomic.basis import Explicit, Monomials
    from featomic.cutoff import Cutoff
    from featomic.density import SmearedPowerLaw
    from featomic.splines import SoapSpliner

    from skrigidity.atomistic._radial_tables import lode_hypers

    radial = Monomials(angular_channel=angular, max_radial=1, radius=2.8)
    spliner = SoapSpliner(
        cutoff=Cutoff(2.8, None),
        density=SmearedPowerLaw(smearing=1.2, exponent=3),
        basis=Explicit(by_angular={angular: radial}),
    )
    inside = json.loads(lode_hypers(2.8, 1.2, 3, np.pi, 1, 3)[1])
    table = inside["basis"]["by_angular"][str(angular)]["points"]
    chosen = [table[i] for i in (0, len(table) // 3, -1)]
    positions = np.array([point["position"] for point in chosen])
    integrals = np.stack(
        [spliner._radial_integral(n, angular, positions, derivative) for n in range(2)]
    )
    expected = (radial._get_orthonormalization_matrix() @ integrals).T
    ours = [point["derivatives" if derivative else "values"] for point in chosen]
    np.testing.assert_allclose(ours, expected, rtol=0, atol=3e-11)


@pytest.mark.usefixtures("extra")
def test_what_is_inside_is_subtracted():
    """An atom that moves inside the cutoff is news in k-space, and nearly none range-separated."""
    from ase import Atoms

    def pair(distance):
        return boxed(Atoms("OH", [[0, 0, 0], [0, 0, distance]]), 20.0)

    changes = {}
    for kind in KINDS:
        descriptor = RangeSeparatedDescriptor(kind=kind, k_cutoff=5.0).fit([pair(1.0)])
        long = descriptor.components_["long"]
        near, far, outside = (descriptor.transform([pair(d)])[0][:1, long] for d in (0.8, 1.6, 3.4))
        changes[kind] = np.linalg.norm(near - far), np.linalg.norm(near - outside)
    assert changes["range-separated"][0] < 1e-3 * changes["k-space"][0]
    assert changes["range-separated"][1] > 100 * changes["range-separated"][0]


@pytest.mark.usefixtures("extra")
@pytest.mark.parametrize("kind", KINDS)
def test_invariances(kind):
    from scipy.spatial.transform import Rotation

    (frame,) = dimers(1)
    descriptor = RangeSeparatedDescriptor(kind=kind).fit([frame])
    (expected,) = descriptor.transform([frame])
    rotation = Rotation.random(random_state=0).as_matrix()
    rotated, mirrored, moved = frame.copy(), frame.copy(), frame.copy()
    rotated.set_cell(frame.cell.array @ rotation.T)
    rotated.positions = frame.positions @ rotation.T
    mirrored.positions *= -1
    moved.positions += [40.3, -7.1, 0.4]
    order = np.random.default_rng(0).permutation(len(frame))
    tolerance = 1e-10 * np.abs(expected).max()
    for other, rows in (
        (rotated, expected),
        (mirrored, expected),
        (moved, expected),
        (frame[order], expected[order]),
    ):
        np.testing.assert_allclose(descriptor.transform([other])[0], rows, rtol=0, atol=tolerance)


# --- columns, containers, caches -----------------------------------------------------------------


@pytest.mark.usefixtures("extra")
@pytest.mark.parametrize("center_types", ["blocks", "shared"])
@pytest.mark.parametrize("merge", [True, False])
def test_columns_have_names(center_types, merge):
    frames = molecules("H2O", "CH3OH")
    descriptor = RangeSeparatedDescriptor(
        **SMALL, center_types=center_types, merge_duplicates=merge
    ).fit(frames)
    X, names = descriptor.transform(frames), descriptor.get_feature_names_out()
    assert len(names) == len(set(names)) == X.shape[1] == descriptor.n_features_out_
    for component, columns in descriptor.components_.items():
        assert all(name.startswith(f"{component}__") for name in names[columns])
    prefix = "O:" if center_types == "blocks" else ""
    column = {name: i for i, name in enumerate(names)}
    (water, _) = X
    both = water[0, column[f"long__{prefix}H-O l=0 n=0,1"]]
    assert both != 0
    if not merge:
        assert both == water[0, column[f"long__{prefix}O-H l=0 n=1,0"]]
    if center_types == "blocks":
        assert water[0, column["long__H:H-O l=0 n=0,1"]] == 0
    absent = [i for name, i in column.items() if ":C" in name or "-C" in name or "C-" in name]
    assert absent
    assert not water[:, absent].any()


@pytest.mark.usefixtures("extra")
def test_species_given_or_unknown():
    water, methanol = molecules("H2O", "CH3OH")
    whole = RangeSeparatedDescriptor(**SMALL).fit([water, methanol]).transform([water])
    given = RangeSeparatedDescriptor(**SMALL, species=["O", 6, "H"]).fit([water])
    np.testing.assert_array_equal(given.transform([water]).values, whole.values)
    with pytest.raises(ValueError, match=r"X\[1\]: contains C; this descriptor knows H, O"):
        RangeSeparatedDescriptor(**SMALL).fit([water]).transform([water, methanol])


@pytest.mark.usefixtures("extra")
@pytest.mark.parametrize("kind", KINDS)
def test_lone_atoms_and_neighbors_far_away(kind):
    from ase import Atoms

    lone, pair = Atoms("O"), Atoms("OH", [[0, 0, 0], [0, 0, 5.0]])
    frames = [boxed(lone, 12.0), boxed(pair, 12.0), *molecules("H2O", length=12.0)]
    descriptor = RangeSeparatedDescriptor(kind=kind, **SMALL).fit(frames)
    X = descriptor.transform(frames)
    short, long = descriptor.components_["short"], descriptor.components_["long"]
    assert X.sizes.tolist() == [1, 2, 3]
    assert np.isfinite(X.values).all()
    np.testing.assert_allclose(X[1][0, short], X[0][0, short], atol=1e-14)
    assert X[0][0, short].any()
    # The long component sees what the short one does not.
    assert np.abs(X[1][0, long] - X[0][0, long]).max() > 1e-4 * np.abs(X.values[:, long]).max()


@pytest.mark.usefixtures("extra")
def test_frames_with_cells_of_their_own():
    from ase.build import bulk

    frames = [*molecules("H2O", length=9.0), *molecules("H2O", length=[12.0, 14.0, 9.0])]
    frames.append(bulk("NaCl", "rocksalt", a=5.64))
    descriptor = RangeSeparatedDescriptor(**SMALL).fit(frames)
    X = descriptor.transform(frames)
    for frame, rows in zip(frames, X, strict=True):
        np.testing.assert_array_equal(descriptor.transform([frame])[0], rows)
    short, long = descriptor.components_["short"], descriptor.components_["long"]
    np.testing.assert_allclose(X[0][:, short], X[1][:, short], atol=1e-12)
    assert not np.allclose(X[0][:, long], X[1][:, long], rtol=1e-2)


@pytest.mark.usefixtures("extra")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("pbc", [False, (True, True, False)])
def test_frames_that_are_not_periodic(kind, pbc):
    good, bad = molecules("H2O", "H2O")
    bad.pbc = pbc
    descriptor = RangeSeparatedDescriptor(kind=kind, **SMALL).fit([good, bad])
    with pytest.raises(ValueError, match=r"X\[1\]: LODE needs a frame that is periodic in all"):
        descriptor.transform([good, bad])
    bad.pbc = True
    bad.cell[2] = 0.0
    with pytest.raises(ValueError, match=r"X\[1\]: periodic, but its cell has no volume"):
        descriptor.transform([good, bad])


@pytest.mark.usefixtures("extra")
def test_threads_chunks_and_caches_change_nothing(tmp_path):
    frames = dimers(5)
    reference = RangeSeparatedDescriptor(**SMALL, cache_size=0).fit(frames)
    expected = reference.transform(frames)
    for parameters in (
        {"n_jobs": 2, "chunk_size": 5},
        {"cache_size": 2**28},
        {"cache_size": 2**28, "chunk_size": 7},
        {"memory": str(tmp_path)},
        {"memory": str(tmp_path), "n_jobs": 2},
    ):
        other = clone(reference).set_params(**parameters).fit(frames)
        np.testing.assert_allclose(other.transform(frames).values, expected.values, atol=1e-14)
    again = pickle.loads(pickle.dumps(reference)).transform(frames)
    np.testing.assert_array_equal(again.values, expected.values)
    single = clone(reference).set_params(dtype="float32").fit_transform(frames)
    assert single.dtype == np.float32
    scale = np.abs(expected.values).max()
    np.testing.assert_allclose(single.values, expected.values, rtol=0, atol=1e-6 * scale)
    mean = clone(reference).set_params(output="mean").fit_transform(frames)
    np.testing.assert_allclose(mean, expected.aggregate("mean"), atol=1e-14 * scale)


@pytest.mark.usefixtures("extra")
def test_every_parameter_counts_in_the_cache(monkeypatch):
    computed = []
    original = RangeSeparatedDescriptor._environments
    monkeypatch.setattr(
        RangeSeparatedDescriptor,
        "_environments",
        lambda self, frames, dtype: computed.append(len(frames)) or original(self, frames, dtype),
    )
    frames = molecules("H2O", length=8.0)

    def count(**params):
        computed.clear()
        RangeSeparatedDescriptor(**(SMALL | params)).fit_transform(frames)
        return len(computed)

    for changes in (
        {},
        {"kind": "k-space"},
        {"cutoff": 2.7},
        {"smoothing_width": 0.2},
        {"density_width": 0.35},
        {"smearing": 1.3},
        {"exponent": 2},
        {"k_cutoff": 2.0},
        {"max_radial": 0},
        {"max_angular": 0},
        {"species": ["H", "O", "C"]},
        {"center_types": "shared"},
        {"merge_duplicates": False},
        {"output": "sum"},
        {"dtype": "float32"},
    ):
        assert count(**changes) == 1
        assert count(**changes) == 0


@pytest.mark.usefixtures("extra")
@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"kind": "both"}, "'kind' parameter"),
        ({"cutoff": 0.0}, "'cutoff' parameter"),
        ({"smearing": 0.0}, "'smearing' parameter"),
        ({"exponent": 1.5}, "'exponent' parameter"),
        ({"exponent": 40}, "hypers: LodeSphericalExpansion does not accept them"),
        ({"smoothing_width": 3.0}, "smoothing_width: expected at most cutoff = 2.8, got 3.0"),
        ({"max_radial": 30}, "max_radial: the 31 monomials of l = 0 depend linearly"),
    ],
)
def test_bad_parameters(parameters, message):
    with pytest.raises(ValueError, match=message):
        RangeSeparatedDescriptor(**(SMALL | parameters)).fit(molecules("H2O"))


@pytest.mark.parametrize("module", ["featomic", "ase"])
def test_without_the_extra(monkeypatch, module):
    if module == "ase":
        pytest.importorskip("featomic", reason="where both are missing, featomic is named")
    monkeypatch.setitem(sys.modules, module, None)
    message = rf'RangeSeparatedDescriptor needs {module}: pip install "skrigidity\[atomistic\]"'
    with pytest.raises(ImportError, match=message):
        RangeSeparatedDescriptor().fit([object()])


@pytest.mark.usefixtures("extra")
def test_components_come_along_into_a_model():
    frames = dimers(8)
    y = np.arange(8.0)
    descriptor = RangeSeparatedDescriptor(**SMALL)
    settings = {"alpha": 0.1, "fit_intercept": False, "solver": "spectral"}
    by_hand = ComponentRidge(descriptor.fit(frames).components_, **settings)
    by_hand.fit(descriptor.transform(frames), y)
    model = make_pipeline(descriptor, ComponentRidge("auto", **settings)).fit(frames, y)
    assert model[-1].component_names_.tolist() == ["short", "long"]
    np.testing.assert_array_equal(model[-1].coef_, by_hand.coef_)
    tables = clone(descriptor).set_params(output="mean")
    pipeline = make_pipeline(tables, ComponentRidge("auto", **settings))
    with pytest.raises(ValueError, match="components='auto' needs data that know"):
        pipeline.fit(frames, y)
    tables.set_output(transform="pandas")
    np.testing.assert_allclose(pipeline.fit(frames, y)[-1].coef_, by_hand.coef_, rtol=1e-5)
    grid = {
        "rangeseparateddescriptor__kind": list(KINDS),
        "componentridge__alpha": [{"short": 0.1, "long": 1.0}, 1.0],
    }
    search = GridSearchCV(model, grid, cv=2, error_score="raise").fit(frames, y)
    assert search.best_estimator_[-1].component_names_.tolist() == ["short", "long"]


# --- Fig. 7 --------------------------------------------------------------------------------------


def range_study(length, sizes, kinds=KINDS, orthogonalize=None):
    """Fig. 7: train on the nearest n dimers, judge the components on dimers and monomers."""
    water = load_water(return_frames=True)
    y = water.target - water.monomer_energy / 3
    frames = [boxed(frame, length) for frame in water.frames]
    near, lone = (np.flatnonzero(water.kind == kind) for kind in ("dimer", "monomer"))
    curves = {}
    for kind in kinds:
        descriptor = RangeSeparatedDescriptor(kind=kind, output="mean")
        X = descriptor.fit_transform(frames)
        model = ComponentRidge(
            descriptor.components_, alpha=1e-11, fit_intercept=False, orthogonalize=orthogonalize
        )
        curves[kind] = component_learning_curve(
            model,
            X[near],
            y[near],
            sizes,
            {"dimers": X[near], "monomers": X[lone]},
            {"dimers": y[near], "monomers": y[lone]},
        )
    return curves


def of(curve, evaluation, component, column, subset=100):
    table = curve.set_index(["evaluation", "component", "subset"])
    return float(table.loc[(evaluation, component, subset), column])


@pytest.mark.slow
@pytest.mark.usefixtures("extra")
def test_separating_the_ranges_pins_the_components():
    """Chong et al., Faraday Discuss. 256, 322 (2025), Fig. 7, on the bundled dimers."""
    curves = range_study(30.0, [20, 80, 100])
    mixed, separated = curves["k-space"], curves["range-separated"]
    for component in ("short", "long"):
        firmer = of(separated, "dimers", component, "rigidity")
        assert firmer >= 1e5 * of(mixed, "dimers", component, "rigidity")
    # The nearest dimers: the atoms outside are near, and news; little tells what is inside.
    assert of(separated, "dimers", "long", "rigidity", 20) > 100 * of(
        separated, "dimers", "short", "rigidity", 20
    )
    for n in (80, 100):
        mixed_error, error = (
            of(curve, "monomers", "short", "rmse", n) for curve in (mixed, separated)
        )
        assert mixed_error >= 20 * error
        assert error < 2e-3
    # The whole is good either way: rigidity of parts is not accuracy of the sum.
    for curve in (mixed, separated):
        assert of(curve, "monomers", "total", "rmse") < 3e-3


@pytest.mark.slow
@pytest.mark.usefixtures("extra")
def test_statistics_do_not_separate_the_ranges():
    """With fewer dimers than columns, regression explains the long component away, and no more."""
    curves = range_study(20.0, [60, 100], ["k-space"], "sequential")
    curve = curves["k-space"]
    assert of(curve, "dimers", "long", "vanishing", 60) == 0.6
    assert of(curve, "dimers", "long", "vanishing") == 1
    assert of(curve, "dimers", "short", "rigidity") > 1
    assert of(curve, "monomers", "total", "rigidity") < 1e-7
    physical = range_study(20.0, [100])
    ratio = of(physical["range-separated"], "dimers", "short", "rigidity") / of(
        physical["k-space"], "dimers", "short", "rigidity"
    )
    assert ratio >= 1e3
    assert of(curve, "monomers", "short", "rmse") > 1.5 * of(
        physical["range-separated"], "monomers", "short", "rmse"
    )


def masked(X, columns):
    out = np.zeros_like(X)
    out[:, columns] = X[:, columns]
    return out


def rigidities_by_svd(X, G, alpha):
    s, V = np.linalg.svd(X, full_matrices=False)[1:]
    along = G @ V.T
    across = G - along @ V
    return 1 / (np.sum(along**2 / (s**2 + alpha), axis=1) + np.sum(across**2, axis=1) / alpha)


def rigidities_by_inverse(X, G, alpha):
    inverse = np.linalg.inv(X.T @ X + alpha * np.eye(X.shape[1]))
    return 1 / np.einsum("ij,jk,ik->i", G, inverse, G)


def worst(values, reference):
    return np.abs(values / reference - 1).max()


@pytest.mark.usefixtures("extra")
def test_rigidities_against_extended_precision():
    descriptor = RangeSeparatedDescriptor(
        kind="k-space", max_radial=1, max_angular=1, output="mean"
    )
    X = descriptor.fit_transform(dimers(50, length=20.0))
    X, Z = X[::2], X[1:6:2]
    model = ComponentRidge(descriptor.components_, alpha=1e-11, fit_intercept=False)
    R = model.fit(X, X[:, 0]).component_rigidity(Z)
    for i, columns in enumerate(descriptor.components_.values()):
        exact = 1 / exact_quad(X, masked(Z, columns), alpha=1e-11)
        assert worst(R[:, i], exact) <= 1e-8
        assert worst(rigidities_by_svd(X, masked(Z, columns), 1e-11), exact) <= 1e-8


@pytest.mark.slow
@pytest.mark.usefixtures("extra")
def test_an_explicit_inverse_loses_what_is_asked_for():
    """At alpha = 1e-11, all 100 dimers: ours is the SVD's, an inverse is off by about 1e-4."""
    descriptor = RangeSeparatedDescriptor(kind="k-space", output="mean")
    X = descriptor.fit_transform(dimers(100, length=20.0))
    model = ComponentRidge(descriptor.components_, alpha=1e-11, fit_intercept=False)
    R = model.fit(X, X[:, 0]).component_rigidity(X)
    errors = []
    for i, columns in enumerate(descriptor.components_.values()):
        reference = rigidities_by_svd(X, masked(X, columns), 1e-11)
        assert worst(R[:, i], reference) <= 1e-8
        errors.append(worst(rigidities_by_inverse(X, masked(X, columns), 1e-11), reference))
    assert max(errors) > 1e-5
