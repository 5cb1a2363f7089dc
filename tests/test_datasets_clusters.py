"""Bundled silicon clusters and water: what is in the files, what the loaders give, the making."""

import functools
import json
from collections import Counter

import make_silicon
import make_water
import making
import numpy as np
import pytest
from scipy.interpolate import CubicSpline

from skrigidity.datasets import load_silicon, load_water

LOADERS = {"silicon": load_silicon, "water": load_water}
MAKERS = {"silicon": make_silicon, "water": make_water}
REFERENCES = {"silicon": "pbe", "water": "b3lyp"}
COLUMNS = {
    "silicon": ("n_atoms", "energies", "target", "kind", "split", "distance"),
    "water": ("n_atoms", "energies", "target", "kind", "distance"),
}


@pytest.fixture(scope="module")
def silicon():
    return load_silicon()


@pytest.fixture(scope="module")
def water():
    return load_water()


@pytest.fixture(params=["silicon", "water"])
def name(request):
    return request.param


# --------------------------------------------------------------------------- the bundled files


def test_columns_agree(name):
    data = LOADERS[name]()
    n = len(data.target)
    assert len(data.positions) == len(data.numbers) == n
    for column in COLUMNS[name]:
        assert data[column].shape == (n,), column
    for positions, numbers, n_atoms in zip(data.positions, data.numbers, data.n_atoms, strict=True):
        assert positions.shape == (n_atoms, 3)
        assert numbers.shape == (n_atoms,)
        assert np.isfinite(positions).all()


@functools.cache
def recipe(name):
    return MAKERS[name].make_molecules(seed=0)


def test_structures_follow_from_the_recipe(name):
    *molecules, _ = recipe(name)
    data = LOADERS[name]()
    assert len(molecules) == len(data.positions)
    for molecule, positions, numbers in zip(molecules, data.positions, data.numbers, strict=True):
        np.testing.assert_allclose(molecule.positions / 1e6, positions, atol=1e-9)
        assert molecule.numbers == tuple(numbers)


def test_silicon_counts(silicon):
    assert Counter(zip(silicon.kind, silicon.split, strict=True)) == {
        ("Si2", "train"): 100,
        ("Si3", "train"): 100,
        ("Si4", "train"): 100,
        ("Si5", "train"): 500,
        ("Si5", "test"): 100,
        ("dimer_curve", "test"): 40,
    }
    assert all((numbers == 14).all() for numbers in silicon.numbers)


def test_silicon_clusters_are_grown_as_described(silicon):
    for positions, kind in zip(silicon.positions, silicon.kind, strict=True):
        pairs = np.linalg.norm(positions[:, None] - positions, axis=-1)
        n_atoms = len(positions)
        assert pairs[np.triu_indices(n_atoms, 1)].min() >= 2.0 - 3e-6
        if n_atoms > 2:
            assert kind == f"Si{n_atoms}"
            assert pairs.max() <= 4.121 * (n_atoms / 2) ** (1 / 3) + 3e-6
            assert np.partition(pairs, 1, axis=1)[:, 1].max() <= 2.5 + 3e-6


def test_silicon_dimers_cover_their_range(silicon):
    np.testing.assert_allclose(
        silicon.distance[silicon.kind == "dimer_curve"], np.linspace(2, 5, 40), atol=1e-6
    )
    places = (silicon.distance[silicon.kind == "Si2"] - 2) / 3 * 100
    assert sorted(np.floor(places).astype(int)) == list(range(100))
    assert np.isnan(silicon.distance[silicon.n_atoms > 2]).all()


def test_silicon_dimers_lie_on_a_smooth_curve(silicon):
    """Energies of the dimers follow from those of the curve: the reference does not jump."""
    curve, dimers = (silicon.kind == kind for kind in ("dimer_curve", "Si2"))
    spline = CubicSpline(silicon.distance[curve], silicon.target[curve])
    np.testing.assert_allclose(
        spline(silicon.distance[dimers]), silicon.target[dimers], rtol=0, atol=1e-3
    )
    lowest = silicon.distance[curve][silicon.target[curve].argmin()]
    assert lowest == pytest.approx(2.25, abs=0.1)
    assert silicon.target[curve][-1] == pytest.approx(silicon.atom_energy, abs=0.1)


def test_silicon_binds_more_in_larger_clusters(silicon):
    assert silicon.target.max() < silicon.atom_energy
    means = [silicon.target[silicon.kind == f"Si{n}"].mean() for n in (2, 3, 4, 5)]
    assert (np.diff(means) < 0).all()
    parts = [
        silicon.target[(silicon.kind == "Si5") & (silicon.split == split)]
        for split in ("train", "test")
    ]
    assert parts[0].mean() == pytest.approx(parts[1].mean(), abs=0.5 * parts[0].std())


def internal_coordinates(positions):
    """Distortions of the molecules, and the columns of a quadratic form in them."""
    arms = positions.reshape(-1, 3, 3)[:, 1:] - positions.reshape(-1, 3, 3)[:, :1]
    bonds = np.linalg.norm(arms, axis=-1)
    angles = np.arccos((arms[:, 0] * arms[:, 1]).sum(axis=-1) / bonds.prod(axis=-1))
    stretch = bonds.sum(axis=1) - 2 * make_water.BOND
    asymmetry = bonds[:, 1] - bonds[:, 0]
    bend = angles - np.deg2rad(make_water.ANGLE)
    one = np.ones_like(bend)
    columns = [one, stretch, bend, stretch**2, bend**2, stretch * bend, asymmetry**2]
    return np.column_stack([*columns, stretch**3, stretch * asymmetry**2])


def test_water_structures(water):
    assert Counter(water.kind) == {"monomer": 100, "dimer": 100}
    np.testing.assert_allclose(
        water.distance[water.kind == "dimer"], np.linspace(3, 10, 100), atol=1e-6
    )
    assert np.isnan(water.distance[water.kind == "monomer"]).all()
    for positions, numbers in zip(water.positions, water.numbers, strict=True):
        assert numbers.tolist() == [8, 1, 1] * (len(numbers) // 3)
        assert not positions[0].any()
        if len(positions) == 6:
            pairs = np.linalg.norm(positions[:3, None] - positions[None, 3:], axis=-1)
            assert min(pairs[0, 1:].min(), pairs[1:, 0].min()) >= 1.65 - 3e-6
            assert pairs[1:, 1:].min() >= 1.9 - 3e-6


def test_water_energies_are_those_of_distorted_molecules(water):
    """A force field for the monomer explains the monomers, and distant dimers up to dipoles."""
    monomers = water.kind == "monomer"
    assert water.energies[monomers].min() > water.monomer_energy - 0.01
    rows = internal_coordinates(np.array([x for x in water.positions if len(x) == 3]))
    energies = water.energies[monomers] - water.monomer_energy
    field, *_ = np.linalg.lstsq(rows, energies, rcond=None)
    assert (energies - rows @ field).std() < 0.02 * energies.std()

    far = np.flatnonzero(water.distance > 7)
    sums = [(internal_coordinates(water.positions[i]) @ field).sum() for i in far]
    interaction = water.energies[far] - 2 * water.monomer_energy - sums
    assert np.abs(interaction).max() < 0.05


# ------------------------------------------------------------------------------------ the loaders


def assert_is_part(part, data, mask, columns):
    assert 0 < mask.sum() < len(mask)
    for column in columns:
        np.testing.assert_array_equal(part[column], data[column][mask])
    for found, i in zip(part.positions, np.flatnonzero(mask), strict=True):
        np.testing.assert_array_equal(found, data.positions[i])


@pytest.mark.parametrize("kind", ["Si2", "Si5", "dimer_curve"])
def test_silicon_kind_selects(silicon, kind):
    assert_is_part(load_silicon(kind=kind), silicon, silicon.kind == kind, COLUMNS["silicon"])


@pytest.mark.parametrize("split", ["train", "test"])
def test_silicon_split_selects(silicon, split):
    assert_is_part(load_silicon(split=split), silicon, silicon.split == split, COLUMNS["silicon"])


def test_silicon_kind_and_split_select_together():
    assert len(load_silicon(kind="Si5", split="test").target) == 100
    empty = load_silicon(kind="Si2", split="test", return_frames=False)
    assert len(empty.target) == len(empty.positions) == 0


@pytest.mark.parametrize("kind", ["monomer", "dimer"])
def test_water_kind_selects(water, kind):
    assert_is_part(load_water(kind=kind), water, water.kind == kind, COLUMNS["water"])


def test_frames_hold_the_same_data(name):
    pytest.importorskip("ase")
    data = LOADERS[name](return_frames=True)
    energy = f"energy_{REFERENCES[name]}"
    assert len(data.frames) == len(data.target)
    for i, atoms in enumerate(data.frames):
        np.testing.assert_array_equal(atoms.positions, data.positions[i])
        np.testing.assert_array_equal(atoms.numbers, data.numbers[i])
        assert not atoms.pbc.any()
        expected = {energy: data.energies[i], "kind": data.kind[i]}
        if "split" in data:
            expected["split"] = data.split[i]
        if data.kind[i] in ("Si2", "dimer_curve", "dimer"):
            expected["distance"] = data.distance[i]
        assert atoms.info == expected


# ------------------------------------------------------------------------------------ the making


@pytest.mark.parametrize(("name", "index"), [("silicon", 0), ("silicon", -1), ("water", 0)])
def test_reference_is_reproduced(name, index):
    pytest.importorskip("pyscf")
    data = LOADERS[name]()
    molecule = making.Molecule(
        "again", tuple(data.numbers[index]), making.to_fixed_point(data.positions[index])
    )
    result = getattr(MAKERS[name], REFERENCES[name])(molecule)
    assert result.attempts == 1
    assert result.energy == pytest.approx(data.energies[index], abs=1e-4)


def few_molecules(name):
    """Two structures of every kind, and the last, to which energies refer."""
    molecules = recipe(name)
    kinds = Counter()
    few = []
    for molecule in molecules[:-1]:
        kind = molecule.name.partition("-")[0]
        kinds[kind] += 1
        if kinds[kind] <= 2:
            few.append(molecule)
    return [*few, molecules[-1]]


def test_script_goes_on_and_leaves_out_failures(name, monkeypatch, tmp_path, capsys):
    few = few_molecules(name)
    failing = few[1].name
    computed = []

    def reference(molecule):
        if len(computed) == 3 and "interrupt" not in computed:
            computed.append("interrupt")
            raise KeyboardInterrupt
        computed.append(molecule.name)
        failed = molecule.name == failing
        return making.Reference(None if failed else -10.0 * len(molecule.numbers), 1 + failed)

    monkeypatch.setattr(MAKERS[name], REFERENCES[name], reference)
    monkeypatch.setattr(MAKERS[name], "make_molecules", lambda seed: few)
    arguments = ["--work", str(tmp_path / "work"), "--output", str(tmp_path / "out.npz")]
    with pytest.raises(KeyboardInterrupt):
        MAKERS[name].main(arguments)
    MAKERS[name].main(arguments)
    MAKERS[name].main([*arguments, "--assemble-only"])

    computed.remove("interrupt")
    assert sorted(computed) == sorted(molecule.name for molecule in few)
    output = capsys.readouterr().out
    assert f"{failing}: 2 attempts" in output
    assert f"{failing}: left out, did not converge" in output
    kept = [molecule for molecule in few[:-1] if molecule.name != failing]
    with np.load(tmp_path / "out.npz") as result:
        assert result["energies"].tolist() == [-10.0 * len(m.numbers) for m in kept]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.npz", "work"]
    assert len(list((tmp_path / "work").iterdir())) == len(few)


def test_work_files_of_another_recipe_are_an_error(name, monkeypatch, tmp_path):
    few = few_molecules(name)
    monkeypatch.setattr(MAKERS[name], "make_molecules", lambda seed: few)
    arguments = ["--assemble-only", "--work", str(tmp_path), "--output", str(tmp_path / "out.npz")]
    with pytest.raises(SystemExit, match="no work files"):
        MAKERS[name].main(arguments)

    def write(molecule, positions):
        record = {"positions": positions, "energy": -1.0, "attempts": 1}
        (tmp_path / f"{molecule.name}.json").write_text(json.dumps(record))

    write(few[0], few[0].positions.tolist())
    with pytest.raises(SystemExit, match=r"has not been computed"):
        MAKERS[name].main(arguments)
    write(few[0], (few[0].positions + 1).tolist())
    with pytest.raises(SystemExit, match="another structure"):
        MAKERS[name].main(arguments)
