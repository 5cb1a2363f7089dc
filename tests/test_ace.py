"""ACE and composition descriptors of ASE frames."""

import sys
from itertools import product

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from skrigidity import ComponentRidge, RigidRidge
from skrigidity.atomistic import (
    ACEDescriptor,
    CompositionDescriptor,
    FeatomicDescriptor,
    clear_cache,
)
from skrigidity.atomistic._neighbors import find_neighbors
from skrigidity.atomistic.ace import ACEBasis
from skrigidity.environments import Environments

LOST = ((2, 0), (18, 0))
SMALL = {"max_degree": (6, 6, 5, 4)}
KINDS = ["purified", "self-interacting"]


@pytest.fixture(autouse=True)
def _fresh_cache():
    clear_cache()


@pytest.fixture
def extra():
    for module in ("ase", "sphericart"):
        pytest.importorskip(module, reason='pip install "skrigidity[atomistic]"')


def random_rotation(seed=0):
    from scipy.spatial.transform import Rotation

    return Rotation.random(random_state=seed).as_matrix()


# --- frames --------------------------------------------------------------------------------------


def cluster(n, seed=0, symbols=None):
    from ase import Atoms

    rng = np.random.default_rng(seed)
    positions = [np.zeros(3)]
    while len(positions) < n:
        step = rng.normal(size=3)
        candidate = positions[rng.integers(len(positions))]
        candidate = candidate + step * rng.uniform(2.0, 2.5) / np.linalg.norm(step)
        if np.linalg.norm(np.array(positions) - candidate, axis=1).min() >= 2.0:
            positions.append(candidate)
    return Atoms(symbols or f"Si{n}", positions)


def crystal(seed=0, repeat=1, **kwargs):
    from ase.build import bulk

    frame = bulk("Si", cubic=True, **kwargs) * repeat
    frame.positions += np.random.default_rng(seed).normal(0, 0.1, frame.positions.shape)
    return frame


def frames_of_all_kinds():
    """Clusters, a crystal, a lone atom, and one that is out of reach of the others."""
    broken = cluster(4, seed=3)
    broken.positions[0] += 50.0
    return [cluster(5), crystal(), cluster(1), broken, cluster(2)]


def water(n=1):
    from ase.build import molecule

    return [molecule("H2O"), molecule("CH3CH2OH"), molecule("O2")] * n


@pytest.mark.usefixtures("extra")
@pytest.mark.parametrize("kind", KINDS)
def test_purified_orders_are_exactly_zero_on_small_clusters(kind):
    descriptor = ACEDescriptor(kind=kind).fit([cluster(2)])
    for n in range(1, 7):
        (rows,) = descriptor.transform([cluster(n, seed=n)])
        for order in range(1, 5):
            empty = n <= order if kind == "purified" else n == 1
            assert rows[:, descriptor.components_[f"nu={order}"]].any() != empty


@pytest.mark.usefixtures("extra")
def test_purified_features_need_neighbors_of_their_species():
    descriptor = ACEDescriptor(**SMALL, r0="covalent").fit(water())
    (rows,) = descriptor.transform(water()[:1])  # oxygen has two H, hydrogen one H and one O
    names = descriptor.get_feature_names_out()
    for row, allowed in zip(rows, ("O:H", "H:H", "H:H"), strict=True):
        second = names[descriptor.components_["nu=2"]][row[descriptor.components_["nu=2"]] != 0]
        assert {name.split()[1] for name in second} == {"O:H-H" if allowed == "O:H" else "H:H-O"}
        assert not row[descriptor.components_["nu=3"]].any()


@pytest.mark.usefixtures("extra")
@pytest.mark.parametrize("kind", KINDS)
def test_invariances_of_frames(kind):
    frames = [*frames_of_all_kinds(), *water()]
    descriptor = ACEDescriptor(kind=kind, max_degree=(9, 8, 7, 6), r0="covalent").fit(frames)
    reference = descriptor.transform(frames)
    scale = np.maximum(abs(reference.values).max(axis=0), 0.01)
    rotation = random_rotation()
    for frame, rows in zip(frames, reference, strict=True):
        rotated = frame.copy()
        rotated.set_cell(frame.cell.array @ rotation.T)
        rotated.positions = frame.positions @ rotation.T
        inverted = frame.copy()
        inverted.set_cell(-frame.cell.array)
        inverted.positions = -frame.positions
        moved = frame.copy()
        moved.positions += [20.3, -7.1, 0.4]
        order = np.random.default_rng(0).permutation(len(frame))
        pairs = [(rotated, rows), (inverted, rows), (moved, rows), (frame[order], rows[order])]
        for other, expected in pairs:
            (result,) = descriptor.transform([other])
            assert (abs(result - expected) / scale).max() < 1e-12


@pytest.mark.usefixtures("extra")
@pytest.mark.parametrize("kind", KINDS)
def test_lone_atoms_and_empty_neighborhoods_are_zero(kind):
    frames = frames_of_all_kinds()
    X = ACEDescriptor(kind=kind, composition=True).fit_transform(frames)
    assert X.sizes.tolist() == [5, 8, 1, 4, 2]
    for lonely in (X[2][0], X[3][0]):
        assert lonely[0] == 1.0
        assert not lonely[1:].any()
    assert all(row[1:].any() for row in X[3][1:])


@pytest.mark.usefixtures("extra")
def test_small_cells_see_images():
    from ase.build import bulk

    descriptor = ACEDescriptor(max_degree=(10, 8, 6, 5)).fit([crystal()])
    primitive = bulk("Si")
    primitive.positions += 0.01 * np.random.default_rng(0).normal(size=(2, 3))
    large = primitive * (3, 3, 3)
    (small_rows,), (large_rows,) = descriptor.transform([primitive]), descriptor.transform([large])
    expected = np.tile(small_rows, (27, 1))
    np.testing.assert_allclose(large_rows, expected, rtol=1e-9, atol=1e-9 * abs(expected).max())
    # A cluster cut out of the crystal: the atom in its middle has the same neighbors.
    cut = primitive * (7, 7, 7)
    middle = 2 * (3 * 49 + 3 * 7 + 3)
    near = np.linalg.norm(cut.positions - cut.positions[middle], axis=1) < 5.5
    cut.pbc = False
    (cut_rows,) = descriptor.transform([cut[near]])
    row = cut_rows[np.flatnonzero(near).tolist().index(middle)]
    np.testing.assert_allclose(row, small_rows[0], rtol=1e-9, atol=1e-9 * abs(expected).max())


@pytest.mark.usefixtures("extra")
def test_partly_periodic_frames_and_cells_of_no_meaning():
    descriptor = ACEDescriptor(**SMALL)
    slab = crystal()
    slab.center(vacuum=6.0, axis=2)
    slab.pbc = True
    (expected,) = descriptor.fit([slab]).transform([slab])
    slab.pbc = (True, True, False)
    for third in (0.0, 0.5, 100.0):  # zero, or of no meaning
        slab.cell[2] = [0.0, 0.0, third]
        (rows,) = descriptor.transform([slab])
        np.testing.assert_allclose(rows, expected, rtol=1e-10, atol=1e-10)
    boxed, free = cluster(4), cluster(4)
    boxed.cell = [1.0, 1.0, 1.0]
    np.testing.assert_array_equal(*descriptor.transform([boxed, free]))


@pytest.mark.usefixtures("extra")
@pytest.mark.parametrize("cutoff", [1.0, 3.1, 7.0])
def test_neighbors_are_those_of_ase(cutoff):
    from ase import Atoms
    from ase.neighborlist import neighbor_list

    rng = np.random.default_rng(0)
    skewed = np.array([[3.0, 0, 0], [2.0, 2.5, 0.1], [-1.0, 0.7, 4.0]])
    frames = [
        Atoms("H6", rng.uniform(-9, 9, (6, 3)), cell=cell, pbc=pbc)
        for cell in (skewed, skewed[[1, 0, 2]])
        for pbc in product((False, True), repeat=3)
    ]
    for frame in frames:
        found = find_neighbors(frame, cutoff)
        i, j, vectors = neighbor_list("ijD", frame, cutoff)
        np.testing.assert_array_equal(found.counts, np.bincount(i, minlength=6))
        ours = np.column_stack([np.repeat(np.arange(6), found.counts), found.atoms, found.vectors])
        theirs = np.column_stack([i, j, vectors])
        ours, theirs = (a[np.lexsort(a.round(8).T)] for a in (ours, theirs))
        np.testing.assert_allclose(ours, theirs, atol=1e-10)


# --- columns and containers ----------------------------------------------------------------------


@pytest.mark.usefixtures("extra")
@pytest.mark.parametrize("center_types", ["blocks", "shared"])
@pytest.mark.parametrize("composition", [False, True])
def test_components_divide_the_columns(center_types, composition):
    frames = water()
    descriptor = ACEDescriptor(**SMALL, center_types=center_types, composition=composition)
    X = descriptor.fit_transform(frames)
    first = [] if not composition else ["nu=0"]
    assert list(descriptor.components_) == [*first, "nu=1", "nu=2", "nu=3", "nu=4"]
    columns = np.arange(descriptor.n_features_out_)
    parts = [columns[c] for c in descriptor.components_.values()]
    np.testing.assert_array_equal(np.concatenate(parts), columns)
    names = descriptor.get_feature_names_out()
    assert len(set(names)) == len(names) == X.shape[1]
    for component, chosen in descriptor.components_.items():
        assert all(name.startswith(f"{component} ") for name in names[chosen])
    if center_types == "blocks":
        centers = [s for frame in frames for s in frame.get_chemical_symbols()]
        blocks = np.array([name.split()[1].partition(":")[0] for name in names])
        for symbol, row in zip(centers, X.values, strict=True):
            assert not row[blocks != symbol].any()
            assert row[blocks == symbol].any()


@pytest.mark.usefixtures("extra")
def test_centers_in_blocks_and_shared_hold_the_same_numbers():
    frames = water()
    shared = ACEDescriptor(**SMALL, center_types="shared").fit(frames)
    blocks = ACEDescriptor(**SMALL).fit(frames)
    x, names = blocks.transform(frames).values, blocks.get_feature_names_out()
    summed = pd.DataFrame(x.T, index=[n.replace("C:", "").replace("O:", "") for n in names])
    summed.index = [name.replace("H:", "") for name in summed.index]
    summed = summed.groupby(level=0).sum().loc[shared.get_feature_names_out()]
    np.testing.assert_array_equal(summed.to_numpy().T, shared.transform(frames).values)


@pytest.mark.usefixtures("extra")
def test_first_order_does_not_care_which_species_if_all_are_summed():
    frames = [cluster(5, seed, symbols) for seed, symbols in enumerate(["CO4", "C2O3", "C5"])]
    plain = [cluster(5, seed) for seed in range(3)]
    apart = ACEDescriptor(max_degree=(5,), center_types="shared").fit_transform(frames).values
    whole = ACEDescriptor(max_degree=(5,)).fit_transform(plain).values
    pair, many = apart[:, :10].reshape(15, 2, 5), apart[:, 10:].reshape(15, 2, 5)
    np.testing.assert_allclose(np.hstack([pair.sum(1), many.sum(1)]), whole, atol=1e-14)


@pytest.mark.usefixtures("extra")
def test_covalent_radii_set_the_scale():
    from ase import Atoms
    from ase.data import covalent_radii

    pairs = {"Si2": 2 * covalent_radii[14], "SiC": covalent_radii[14] + covalent_radii[6]}
    for symbols, r0 in pairs.items():
        frame = Atoms(symbols, [[0, 0, 0], [0, 0, 2.0]])
        by_name = ACEDescriptor(**SMALL, r0="covalent").fit_transform([frame])
        by_value = ACEDescriptor(**SMALL, r0=r0).fit_transform([frame])
        np.testing.assert_array_equal(by_name.values, by_value.values)


@pytest.mark.usefixtures("extra")
def test_drop_leaves_out_one_product():
    frames = [cluster(4)]
    whole = ACEDescriptor().fit(frames)
    fewer = ACEDescriptor(drop=[LOST]).fit(frames)
    assert [c.stop - c.start for c in fewer.components_.values()] == [48, 273, 505, 127]
    names, left = whole.get_feature_names_out(), fewer.get_feature_names_out()
    keep = np.isin(names, left)
    assert names[~keep].tolist() == ["nu=2 Si:Si-Si n=2,18 l=0,0"]
    np.testing.assert_array_equal(
        whole.transform(frames).values[:, keep], fewer.transform(frames).values
    )


# --- as an estimator -----------------------------------------------------------------------------


@pytest.mark.usefixtures("extra")
def test_environments_and_components_go_into_the_models():
    frames = [cluster(5, seed) for seed in range(20)] + [cluster(2, seed) for seed in range(5)]
    descriptor = ACEDescriptor(**SMALL, composition=True)
    X = descriptor.fit_transform(frames)
    y = X.aggregate("mean")[:, 3] + 1.0
    RigidRidge(alpha=1e-6).fit(X, y).local_rigidity(X)
    model = ComponentRidge(descriptor, alpha=1e-6).fit(X, y)
    assert list(model.component_names_) == ["nu=0", "nu=1", "nu=2", "nu=3", "nu=4"]
    parts = model.predict_components(X)
    np.testing.assert_allclose(parts.sum(axis=1) + model.intercept_, model.predict(X), atol=1e-10)
    rigidity = model.component_rigidity(X)
    assert np.isinf(rigidity[20:, 2:]).all()  # nothing can move what is exactly 0
    assert np.isfinite(rigidity[:20, :3]).all()
    pipeline = make_pipeline(
        ACEDescriptor(**SMALL),
        ComponentRidge(
            FrozenEstimator(ACEDescriptor(**SMALL).fit(frames)),
            alpha={f"nu={k}": 10.0**-k for k in range(1, 5)},
        ),
    )
    search = GridSearchCV(pipeline, {"acedescriptor__kind": KINDS}, cv=2, error_score="raise").fit(
        frames, y
    )
    assert search.predict(frames).shape == (25,)


@pytest.mark.usefixtures("extra")
@pytest.mark.parametrize(
    "changes", [{"chunk_size": 1}, {"chunk_size": 7, "n_jobs": 2}, {"n_jobs": 2}, {"cache_size": 0}]
)
def test_how_it_is_computed_changes_nothing(changes):
    frames = (frames_of_all_kinds() + water()) * 3
    params = {"max_degree": (7, 6, 5, 4)}
    expected = ACEDescriptor(**params, cache_size=0).fit_transform(frames)
    for _ in range(2):
        result = ACEDescriptor(**params, **changes).fit_transform(frames)
        np.testing.assert_allclose(result.values, expected.values, rtol=1e-12, atol=1e-13)


def count_computed(monkeypatch, computed):
    evaluate = ACEBasis.evaluate

    def counting(self, counts, *args):
        computed.append(len(counts))
        return evaluate(self, counts, *args)

    monkeypatch.setattr(ACEBasis, "evaluate", counting)


@pytest.mark.usefixtures("extra")
def test_cache(monkeypatch):
    computed = []
    count_computed(monkeypatch, computed)

    def count(**params):
        computed.clear()
        ACEDescriptor(**({**SMALL, "species": ["Si"]} | params)).fit_transform(frames)
        return sum(computed)

    frames = [cluster(3), cluster(4)]
    assert count() == 7
    assert count() == 0
    frames[0].positions[0, 0] += 1e-9
    assert count() == 3
    for changes in (
        {"kind": "self-interacting"},
        {"cutoff": 5.0},
        {"r0": 2.3},
        {"max_degree": (6, 6, 5)},
        {"drop": [((1, 0), (1, 0))]},
        {"agnesi": (2, 3)},
        {"pair_agnesi": (1, 4)},
        {"angular_weight": 1.4},
        {"pair_basis": False},
        {"species": ["Si", "O"]},
        {"center_types": "shared"},
        {"composition": True},
        {"output": "sum"},
        {"dtype": "float32"},
    ):
        assert count(**changes) == 7
        assert count(**changes) == 0


@pytest.mark.usefixtures("extra")
@pytest.mark.parametrize("as_object", [False, True])
def test_memory_on_disk(monkeypatch, tmp_path, as_object):
    import joblib

    computed = []
    count_computed(monkeypatch, computed)
    memory = joblib.Memory(tmp_path, verbose=0) if as_object else str(tmp_path)
    frames = [cluster(3), cluster(4), cluster(5)]
    descriptor = ACEDescriptor(**SMALL, memory=memory, cache_size=0).fit(frames)
    expected = descriptor.transform(frames[:2]).values
    assert computed == [7]
    again = clone(descriptor).fit(frames).transform(frames)
    assert computed == [7, 5]
    np.testing.assert_array_equal(again.values[:7], expected)
    clone(descriptor).set_params(kind="self-interacting").fit_transform(frames)
    assert computed == [7, 5, 12]
    for file in tmp_path.rglob("output.pkl"):
        file.write_bytes(b"not what joblib wrote")
    repaired = descriptor.transform(frames)
    assert computed == [7, 5, 12, 12]
    np.testing.assert_array_equal(repaired.values, again.values)
    descriptor.transform(frames)
    assert computed == [7, 5, 12, 12]


@pytest.mark.usefixtures("extra")
def test_memory_serves_featomic_too(tmp_path):
    pytest.importorskip("featomic")
    descriptor = FeatomicDescriptor(cutoff=3.0, memory=str(tmp_path), cache_size=0)
    first = descriptor.fit_transform([cluster(3)])
    assert list(tmp_path.rglob("output.pkl"))
    np.testing.assert_array_equal(descriptor.fit_transform([cluster(3)]).values, first.values)


# --- bad input -----------------------------------------------------------------------------------


@pytest.mark.usefixtures("extra")
@pytest.mark.parametrize("descriptor", [ACEDescriptor(**SMALL), CompositionDescriptor()])
def test_unknown_species(descriptor):
    descriptor.set_params(species=["Si"])
    with pytest.raises(ValueError, match=r"X\[1\]: contains H, O; this descriptor knows Si"):
        descriptor.fit([cluster(2), *water()])
    descriptor.fit([cluster(2)])
    with pytest.raises(ValueError, match=r"X\[0\]: contains H, O; this descriptor knows Si"):
        descriptor.transform(water())


@pytest.mark.usefixtures("extra")
def test_frames_that_cannot_be():
    descriptor = ACEDescriptor(**SMALL).fit([cluster(3)])
    flat, twice = cluster(3), cluster(3)
    flat.pbc = True
    with pytest.raises(ValueError, match=r"X\[1\]: periodic, but its cell has no volume"):
        descriptor.transform([cluster(3), flat])
    twice.positions[2] = twice.positions[0]
    with pytest.raises(ValueError, match=r"X\[0\]: atoms 0 and 2 are at the same place"):
        descriptor.transform([twice])


@pytest.mark.usefixtures("extra")
@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"cutoff": 0.0}, "'cutoff' parameter"),
        ({"kind": "pure"}, "'kind' parameter"),
        ({"r0": "ionic"}, "'r0' parameter"),
        ({"r0": -1.0}, "'r0' parameter"),
        ({"memory": 3}, "'memory' parameter"),
        ({"max_degree": 12}, "'max_degree' parameter"),
        ({"max_degree": ()}, "max_degree: expected a sequence of numbers"),
        ({"max_degree": (12, "x")}, "max_degree: expected a sequence of numbers"),
        ({"max_degree": (12, -1)}, "max_degree: expected finite numbers, not negative"),
        ({"max_degree": (12, np.inf)}, "max_degree: expected finite numbers, not negative"),
        ({"max_degree": (12, 1)}, "max_degree: no product of 2 functions has a degree of at most"),
        ({"max_degree": (0, 0)}, "max_degree: expected an order of at least 1"),
        ({"agnesi": (4, 2)}, "agnesi: expected exponents p, q with 0 < p <= q"),
        ({"agnesi": (2,)}, "agnesi: expected exponents p, q with 0 < p <= q"),
        ({"pair_agnesi": (1, 1)}, "pair_agnesi: expected exponents"),
        ({"drop": [(1, 2)]}, r"drop: expected products of \(n, l\)"),
        ({"drop": [((2, 0), (30, 0))]}, r"drop: the basis has no product of these .*\(30, 0\)"),
        ({"species": ["Xx"]}, "species: 'Xx' is neither"),
    ],
)
def test_bad_parameters(params, message):
    with pytest.raises(ValueError, match=message):
        ACEDescriptor(**params).fit([cluster(2)])


@pytest.mark.parametrize("module", ["sphericart", "ase"])
def test_without_the_extra(monkeypatch, module):
    pytest.importorskip("ase")
    monkeypatch.setitem(sys.modules, module, None)
    message = rf'ACEDescriptor needs {module}: pip install "skrigidity\[atomistic\]"'
    with pytest.raises(ImportError, match=message):
        ACEDescriptor().fit([object()])


def test_composition_without_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "ase", None)
    with pytest.raises(ImportError, match="CompositionDescriptor needs ase: pip install"):
        CompositionDescriptor().fit([object()])


@pytest.mark.usefixtures("extra")
def test_progress_bar(capsys):
    pytest.importorskip("tqdm")
    descriptor = ACEDescriptor(**SMALL, progress_bar=True, cache_size=0)
    descriptor.fit_transform([cluster(2)] * 3)
    assert "3/3" in capsys.readouterr().err


# --- composition ---------------------------------------------------------------------------------


@pytest.mark.usefixtures("extra")
def test_composition():
    frames = water()
    descriptor = CompositionDescriptor()
    X = descriptor.fit_transform(frames)
    assert isinstance(X, Environments)
    for frame, rows in zip(frames, X, strict=True):
        np.testing.assert_array_equal(descriptor.species_[rows.argmax(axis=1)], frame.numbers)
    counts = descriptor.set_params(output="sum", dtype="float32").fit_transform(frames)
    assert counts.dtype == np.float32
    assert counts.tolist() == [[2, 0, 1], [6, 2, 1], [0, 0, 2]]
    fractions = descriptor.set_params(output="mean").fit_transform(frames)
    np.testing.assert_allclose(fractions.sum(axis=1), 1, rtol=1e-6)
    assert descriptor.get_feature_names_out().tolist() == ["H", "C", "O"]
    assert descriptor.components_ == {"H": slice(0, 1), "C": slice(1, 2), "O": slice(2, 3)}
    given = CompositionDescriptor(species=["O", "N", "H", "C"], output="sum").fit(frames)
    assert given.transform(frames)[0].tolist() == [2, 0, 0, 1]


@pytest.mark.usefixtures("extra")
def test_composition_is_order_zero_of_ace():
    frames = water()
    X = ACEDescriptor(**SMALL, composition=True).fit_transform(frames).values
    np.testing.assert_array_equal(X[:, :3], CompositionDescriptor().fit_transform(frames).values)


@pytest.mark.usefixtures("extra")
def test_composition_gives_components():
    frames = water(4)
    descriptor = CompositionDescriptor(output="sum")
    X = descriptor.fit_transform(frames)
    energies = X @ [-0.5, -37.8, -75.0]
    model = ComponentRidge(descriptor, alpha=1e-12, fit_intercept=False).fit(X, energies)
    np.testing.assert_allclose(model.coef_, [-0.5, -37.8, -75.0], rtol=1e-8)
    assert list(model.component_names_) == ["H", "C", "O"]
