"""Bundled coarse-grained water: what is in the file, what the loader gives, how it was made."""

import hashlib
import sys
from pathlib import Path

import make_coarse_water
import numpy as np
import pytest

import skrigidity.datasets
from skrigidity.datasets import _arrays, load_coarse_water

FILE = Path(skrigidity.datasets.__file__).parent / "data" / "coarse_water.npz"
SHA256 = "7334646069807e22577e625c573720c5507be8a616f104d024d77083224af54f"
SIDE = 15.66


@pytest.fixture(scope="module")
def water():
    return load_coarse_water()


# ---------------------------------------------------------------------------- the bundled file


def test_file_is_the_published_one():
    assert hashlib.sha256(FILE.read_bytes()).hexdigest() == SHA256


def test_file_is_small():
    assert FILE.stat().st_size <= 1.4e6


def test_shapes(water):
    assert water.positions.shape == water.forces.shape == (900, 128, 3)
    assert water.cells.shape == (900, 3)
    assert water.split.shape == water.time.shape == water.n_atoms.shape == (900,)
    assert water.numbers.tolist() == [8] * 128
    assert water.masses.tolist() == pytest.approx([18.015] * 128, abs=0.01)
    assert water.pbc.tolist() == [True] * 3
    assert (water.cells == SIDE).all()


def test_parts_follow_each_other_with_a_gap(water):
    assert water.split.tolist() == ["train"] * 700 + ["test"] * 200
    steps = np.diff(water.time)
    np.testing.assert_allclose(np.delete(steps, 699), 1.0)
    assert steps[699] == pytest.approx(21.0)


def test_values_are_finite_and_rounded_as_the_description_says(water):
    assert (water.positions >= 0).all()
    assert (water.positions <= SIDE).all()
    for values in (water.positions, water.forces):
        assert np.isfinite(values).all()
        np.testing.assert_allclose(values, np.round(values, 3), rtol=0, atol=1e-12)


def test_density_is_that_of_water(water):
    grams_per_mol_per_a3 = water.masses.sum() / SIDE**3
    assert grams_per_mol_per_a3 / 0.602214076 == pytest.approx(0.997, abs=0.001)


def test_forces_add_up_to_zero_and_are_as_large_as_known(water):
    """The force field conserves momentum, to what rounding leaves: 128 times at most 0.0005."""
    assert np.abs(water.forces.sum(axis=1)).max() < 0.03
    assert 0.24 < water.forces.std() < 0.28  # eV/Å


def test_frames_are_decorrelated(water):
    forces = water.forces[:700]
    assert abs(np.mean(forces[1:] * forces[:-1]) / np.mean(forces**2)) < 0.05


def test_structure_is_that_of_the_liquid(water):
    """SPC/E: g(r) of the molecules peaks near 2.75 Å at about 3, and has a minimum near 3.3 Å."""
    pairs = np.array([make_coarse_water.distances(x, SIDE) for x in water.positions])
    counts, edges = np.histogram(pairs, bins=np.arange(2.0, SIDE / 2, 0.05))
    middles = (edges[1:] + edges[:-1]) / 2
    g = counts / (900 * 128 * 127 / 2 * 4 / 3 * np.pi * np.diff(edges**3) / SIDE**3)
    assert middles[np.argmax(g)] == pytest.approx(2.75, abs=0.06)
    assert 2.8 < g.max() < 3.3
    assert 0.7 < g[(middles > 3.1) & (middles < 3.6)].min() < 0.95
    assert g[middles > 7].mean() == pytest.approx(1.0, abs=0.03)
    assert pairs.min() > 2.3


def test_parts_have_the_same_distribution(water):
    train, test = (water.forces[water.split == part] for part in ("train", "test"))
    assert train.std() == pytest.approx(test.std(), rel=0.02)


def test_no_frame_occurs_twice(water):
    assert len({positions.tobytes() for positions in water.positions}) == 900


def test_description_quotes_the_data(water, capsys):
    make_coarse_water.main(["--describe"])
    printed = capsys.readouterr().out
    description = [line.strip() for line in water.DESCR.splitlines()]
    assert len(printed.splitlines()) >= 5
    assert all(line.strip() in description for line in printed.splitlines())


def test_damaged_file_is_named(monkeypatch, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / FILE.name).write_bytes(FILE.read_bytes()[:-1000])
    monkeypatch.setattr(_arrays, "files", lambda package: tmp_path)
    with pytest.raises(OSError, match=r"coarse_water.npz is damaged .*install skrigidity again"):
        load_coarse_water()


# ------------------------------------------------------------------------------------ the loader


@pytest.mark.parametrize(("split", "n"), [("train", 700), ("test", 200)])
def test_split_selects(water, split, n):
    part = load_coarse_water(split=split)
    mask = water.split == split
    assert len(part.time) == n
    for name in ("positions", "forces", "cells", "split", "time", "n_atoms"):
        np.testing.assert_array_equal(part[name], water[name][mask])


def test_frames_hold_the_same_data(water, tmp_path):
    io = pytest.importorskip("ase.io")
    frames = load_coarse_water(split="test", return_frames=True).frames
    assert len(frames) == 200
    for i in (0, 199):
        atoms = frames[i]
        np.testing.assert_array_equal(atoms.positions, water.positions[700 + i])
        np.testing.assert_array_equal(atoms.arrays["reference_forces"], water.forces[700 + i])
        np.testing.assert_array_equal(atoms.get_masses(), water.masses)
        np.testing.assert_array_equal(atoms.cell.lengths(), [SIDE] * 3)
        assert atoms.pbc.all()
        assert atoms.info == {"split": "test", "time": water.time[700 + i]}
    io.write(tmp_path / "frames.xyz", frames[:2], format="extxyz")
    back = io.read(tmp_path / "frames.xyz", 1)
    assert back.info == pytest.approx(frames[1].info)
    for name, values in frames[1].arrays.items():
        np.testing.assert_allclose(back.arrays[name], values, atol=1e-7)


def test_arrays_belong_to_the_caller(water):
    mine = load_coarse_water(return_frames=True)
    mine.positions[:] = mine.forces[:] = 1
    mine.frames[0].arrays["reference_forces"][:] = 2
    assert (mine.forces == 1).all()
    np.testing.assert_array_equal(load_coarse_water().positions, water.positions)


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match="'split' parameter of load_coarse_water"):
        load_coarse_water(split="training")
    with pytest.raises(TypeError):
        load_coarse_water("train")


def test_frames_need_ase(monkeypatch):
    monkeypatch.setitem(sys.modules, "ase", None)
    assert "frames" not in load_coarse_water()
    with pytest.raises(ImportError, match=r"load_coarse_water\(return_frames=True\) needs ase"):
        load_coarse_water(return_frames=True)


# ------------------------------------------------------------------------------------ the recipe


def test_beads_are_centres_of_mass_and_sums_of_forces():
    atoms = make_coarse_water.starting_positions(np.random.default_rng(0))
    forces = np.random.default_rng(1).normal(size=atoms.shape)
    beads, sums = make_coarse_water.to_beads(atoms, forces)
    masses = np.array([15.999, 1.008, 1.008])
    first = (masses[:, None] * atoms[:3]).sum(axis=0) / masses.sum()
    np.testing.assert_allclose(beads[0] / 1000, first % SIDE, atol=6e-4)
    np.testing.assert_allclose(sums[0] / 1000, forces[:3].sum(axis=0), atol=6e-4)
    molecules = atoms.reshape(128, 3, 3)
    np.testing.assert_allclose(np.linalg.norm(molecules[:, 1] - molecules[:, 0], axis=1), 1.0)
    np.testing.assert_allclose(
        np.linalg.norm(molecules[:, 1] - molecules[:, 2], axis=1), 1.633, atol=1e-3
    )


def test_blocks_are_joined_in_order_with_the_gap_left_out(tmp_path, capsys):
    paths, n = [], make_coarse_water.FRAMES_PER_BLOCK
    for block in range(5):
        paths.append(tmp_path / f"block-{block}.npz")
        number = np.arange(block * n, (block + 1) * n, dtype=np.int16)[:, None, None]
        np.savez(paths[-1], positions=number, forces=-number, spacing=2.0)
    make_coarse_water.assemble(paths, 210, tmp_path / "out.npz")
    with np.load(tmp_path / "out.npz") as file:
        expected = np.r_[:10, 30:230]
        np.testing.assert_array_equal(file["positions"].ravel(), expected)
        np.testing.assert_array_equal(file["forces"].ravel(), -expected)
        np.testing.assert_array_equal(file["time"], 2.0 * (expected + 1))
        np.testing.assert_array_equal(file["test"], np.arange(210) >= 10)
    with pytest.raises(SystemExit):
        make_coarse_water.main(["--frames", "200"])


def test_finished_blocks_are_not_made_again(tmp_path, monkeypatch):
    monkeypatch.setattr(make_coarse_water, "Dynamics", dict)

    def make(dynamics, index, seed, spacing, work):
        made.append(index)
        (work / f"block-{index:04d}.npz").touch()

    monkeypatch.setattr(make_coarse_water, "make_block", make)
    made = []
    (tmp_path / "block-0001.npz").touch()
    assert len(make_coarse_water.generate(tmp_path, 100, 0, 1.0)) == 3
    assert made == [0, 2]
