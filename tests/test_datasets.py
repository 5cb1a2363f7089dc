"""Bundled amorphous carbon: what is in the file, what the loader gives, how it was made."""

import describe_carbon
import make_carbon
import numpy as np
import pytest

from skrigidity.datasets import load_carbon

COLUMNS = (
    "positions",
    "cells",
    "energies",
    "forces",
    "target",
    "kind",
    "density",
    "temperature",
    "trajectory",
)


@pytest.fixture(scope="module")
def carbon():
    return load_carbon()


# ---------------------------------------------------------------------------- the bundled file


def test_shapes(carbon):
    n = len(carbon.target)
    assert n >= 300
    assert carbon.positions.shape == carbon.forces.shape == (n, 64, 3)
    assert carbon.cells.shape == (n, 3)
    for name in ("energies", "target", "kind", "density", "temperature", "trajectory"):
        assert carbon[name].shape == (n,), name
    assert carbon.numbers.tolist() == [6] * 64
    assert carbon.pbc.tolist() == [True] * 3
    assert carbon.target_names == ["energy_per_atom"]


def test_values_are_finite(carbon):
    for name in COLUMNS:
        if name != "kind":
            assert carbon[name].dtype == (np.intp if name == "trajectory" else np.float64), name
            assert np.isfinite(carbon[name]).all(), name
    assert np.isfinite(carbon.atom_energy)


def test_positions_lie_in_their_cells(carbon):
    assert (carbon.positions >= 0).all()
    assert (carbon.positions <= carbon.cells[:, None]).all()


def test_density_follows_from_the_cell(carbon):
    sides = np.sort(carbon.cells, axis=1)
    cube = sides[:, 0]
    np.testing.assert_allclose(sides[:, 1], cube)
    extra = np.where(carbon.kind == "slab", make_carbon.VACUUM, 0.0)
    np.testing.assert_allclose(sides[:, 2], cube + extra)
    grams_per_mol_per_a3 = 64 * 12.011 / cube**3
    np.testing.assert_allclose(grams_per_mol_per_a3 / 0.602214076, carbon.density, rtol=1e-6)
    assert carbon.density.min() >= 1.4
    assert carbon.density.max() <= 3.5


def test_atoms_keep_their_distance(carbon):
    shortest = [
        describe_carbon.distances(x, cell).min()
        for x, cell in zip(carbon.positions, carbon.cells, strict=True)
    ]
    assert min(shortest) > 1.0
    assert max(shortest) < 1.6


def test_slabs_have_vacuum(carbon):
    widths = np.array(
        [
            describe_carbon.vacuum_width(x, cell)
            for x, cell in zip(carbon.positions, carbon.cells, strict=True)
        ]
    )
    assert widths[carbon.kind == "slab"].min() > 10
    assert widths[carbon.kind == "bulk"].max() < 2


def test_forces_add_up_to_zero(carbon):
    np.testing.assert_allclose(carbon.forces.sum(axis=1), 0, atol=1e-4)
    assert 1 < carbon.forces.std() < 10


def test_energies_are_bound_and_rise_with_temperature(carbon):
    np.testing.assert_allclose(carbon.target * 64, carbon.energies)
    atomization = carbon.target - carbon.atom_energy
    assert -10 < atomization.min() < atomization.max() < -6
    bulk = carbon.kind == "bulk"
    means = [
        carbon.target[bulk & (carbon.temperature == t)].mean() for t in (300, 2500, 4500, 8000)
    ]
    assert np.all(np.diff(means) > 0.1)


def test_trajectories_group_a_slab_with_its_bulk(carbon):
    assert (np.diff(carbon.trajectory) >= 0).all()
    for number in np.unique(carbon.trajectory):
        own = carbon.trajectory == number
        assert len(np.unique(carbon.density[own])) == 1
        assert carbon.density[own][0] == pytest.approx(make_carbon.density_of(number))
        bulk = own & (carbon.kind == "bulk")
        slab = own & (carbon.kind == "slab")
        assert carbon.temperature[bulk].tolist() == [8000, 4500, 2500, 300]
        assert slab.sum() == (2 if number % 2 == 0 else 0)
        if slab.any():
            hot, cold = carbon.temperature[slab]
            assert 1000 <= hot <= 3500
            assert cold == 300
    assert len(np.unique(carbon.density)) == len(np.unique(carbon.trajectory))


# ------------------------------------------------------------------------------------ the loader


@pytest.mark.parametrize("kind", ["bulk", "slab"])
def test_kind_selects(carbon, kind):
    part = load_carbon(kind=kind)
    mask = carbon.kind == kind
    assert 0 < mask.sum() < len(mask)
    for name in COLUMNS:
        np.testing.assert_array_equal(part[name], carbon[name][mask])


def test_frames_hold_the_same_data(carbon):
    pytest.importorskip("ase")
    frames = load_carbon(return_frames=True).frames
    assert len(frames) == len(carbon.target)
    for i, atoms in enumerate(frames):
        np.testing.assert_array_equal(atoms.positions, carbon.positions[i])
        np.testing.assert_array_equal(atoms.numbers, carbon.numbers)
        np.testing.assert_array_equal(atoms.cell, np.diag(carbon.cells[i]))
        np.testing.assert_array_equal(atoms.arrays["forces_gfn1"], carbon.forces[i])
        assert atoms.pbc.all()
        assert atoms.info == {
            "energy_gfn1": carbon.energies[i],
            "kind": carbon.kind[i],
            "density": carbon.density[i],
            "temperature": carbon.temperature[i],
            "trajectory": carbon.trajectory[i],
        }


# ------------------------------------------------------------------------------------ the making


@pytest.mark.parametrize("kind", ["bulk", "slab"])
def test_reference_is_reproduced(kind):
    pytest.importorskip("tblite.ase")
    data = load_carbon(kind=kind)
    energy, forces = make_carbon.gfn1(data.positions[-1], data.cells[-1])
    assert energy == pytest.approx(data.energies[-1], abs=1e-4)
    np.testing.assert_allclose(forces, data.forces[-1], atol=1e-3)


def test_forces_are_derivatives_of_the_energies():
    pytest.importorskip("tblite.ase")
    data = load_carbon(kind="bulk")
    step = 1e-3 * np.random.default_rng(0).normal(size=(64, 3))
    high, low = (
        make_carbon.gfn1(data.positions[0] + sign * step, data.cells[0])[0] for sign in (1, -1)
    )
    assert (high - low) / 2 == pytest.approx(-np.sum(data.forces[0] * step), rel=1e-3)


def test_script_goes_on_and_leaves_out_failures(monkeypatch, tmp_path, capsys):
    ran = []

    def melt_quench(index, seed):
        ran.append(index)
        positions = np.random.default_rng(index).uniform(-5, 15, size=(64, 3))
        return [
            make_carbon.snapshot(positions, np.full(3, 8.0), slab=False, temperature=temperature)
            for temperature in (8000, 300)
        ]

    def gfn1(positions, cell=None):
        assert (positions >= 0).all()
        if len(ran) == 2 and cell is not None and not failed:
            failed.append(True)
            raise RuntimeError("SCF not converged")
        return -50.0 * len(positions), np.zeros_like(positions)

    failed = []
    monkeypatch.setattr(make_carbon, "melt_quench", melt_quench)
    monkeypatch.setattr(make_carbon, "gfn1", gfn1)
    arguments = ["--work", str(tmp_path / "work"), "--output", str(tmp_path / "out.npz")]
    make_carbon.main([*arguments, "--trajectories", "2"])
    make_carbon.main([*arguments, "--trajectories", "3"])

    assert ran == [0, 1, 2]
    assert "trajectory 1: FAILED snapshot 0: SCF not converged" in capsys.readouterr().out
    with np.load(tmp_path / "out.npz") as result:
        assert result["trajectory"].tolist() == [0, 0, 1, 2, 2]
        assert result["temperature"].tolist() == [8000, 300, 300, 8000, 300]
        assert result["positions"].shape == (5, 64, 3)
        assert result["positions"].dtype == np.int32
        assert result["energies"].tolist() == [-3200.0] * 5
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.npz", "work"]
    assert len(list((tmp_path / "work").iterdir())) == 3


def test_assembling_nothing_is_an_error(tmp_path):
    with pytest.raises(SystemExit, match="no work files"):
        make_carbon.main(["--assemble-only", "--work", str(tmp_path)])
