"""What all bundled data sets have in common: their files, loaders, frames and descriptions."""

import hashlib
import sys
from pathlib import Path

import describe_carbon
import make_carbon
import make_silicon
import make_water
import numpy as np
import pytest

import skrigidity.datasets
from skrigidity.datasets import (
    _arrays,
    load_carbon,
    load_silicon,
    load_water,
)

FOLDER = Path(skrigidity.datasets.__file__).parent
LOADERS = {"carbon": load_carbon, "silicon": load_silicon, "water": load_water}
MAIN = {"carbon": make_carbon.main, "silicon": make_silicon.main, "water": make_water.main}
DESCRIBE = {
    "carbon": describe_carbon.describe,
    "silicon": make_silicon.describe,
    "water": make_water.describe,
}
SHA256 = {
    "carbon": "86118e9ec5aa4f7e63c167e1b6b905403a37ebccf8defb605037781382ce053d",
    "silicon": "a04ddb67b33360710e510bee50c41c94ad7892a1cbd1db3c4c39c68449f40482",
    "water": "cffe1bdc52092eba0a4624efa1aa3620de03d44707e1a2c88dcd872e644cf503",
}


@pytest.fixture(params=list(LOADERS))
def name(request):
    return request.param


@pytest.fixture
def data(name):
    return LOADERS[name]()


# ---------------------------------------------------------------------------------- the files


def test_file_is_the_published_one(name):
    content = (FOLDER / "data" / f"{name}.npz").read_bytes()
    assert hashlib.sha256(content).hexdigest() == SHA256[name]


def test_files_are_small():
    assert sum(path.stat().st_size for path in (FOLDER / "data").iterdir()) <= 1.75e6


def test_no_structure_occurs_twice(data):
    assert len({positions.tobytes() for positions in data.positions}) == len(data.target)


def test_description_quotes_the_data(name, data, capsys):
    """Every number in it is what the script prints from the bundled file."""
    MAIN[name](["--describe"])
    printed = capsys.readouterr().out
    assert printed.strip() == DESCRIBE[name](data)
    description = [line.strip() for line in data.DESCR.splitlines()]
    assert all(line.strip() in description for line in printed.splitlines())


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "bomb"])
def test_damaged_file_is_named(name, damage, monkeypatch, tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    path = folder / f"{name}.npz"
    content = bytearray((FOLDER / "data" / path.name).read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes({"cut": content[:-1000], "flipped": content}.get(damage, b""))
    if damage == "bomb":
        np.savez_compressed(path, positions=np.zeros(10**6))
        # It is found out before anything is unpacked.
        monkeypatch.setattr(_arrays.np, "load", None)
    monkeypatch.setattr(_arrays, "files", lambda package: tmp_path)
    with pytest.raises(OSError, match=f"{name}.npz is damaged .*install skrigidity again"):
        LOADERS[name]()


# -------------------------------------------------------------------------------- the loaders


def test_target_is_the_energy_per_atom(data):
    np.testing.assert_array_equal(data.target, data.energies / data.n_atoms)
    assert data.target_names == ["energy_per_atom"]
    assert np.isfinite(data.target).all()
    assert data.n_atoms.tolist() == [len(positions) for positions in data.positions]


def test_arrays_belong_to_the_caller(name, data):
    for values in data.values():
        if isinstance(values, np.ndarray) and values.ndim:
            values[:] = values[::-1].copy()
    data.positions[0][:] = 1
    data.numbers[0] = 1
    again, first = LOADERS[name](), LOADERS[name]()
    for key, values in again.items():
        if isinstance(values, np.ndarray):
            np.testing.assert_array_equal(values, first[key])
    assert not np.array_equal(again.positions[0], data.positions[0])
    assert not np.array_equal(again.energies, data.energies)


@pytest.mark.parametrize(
    "argument", [{"kind": "surface"}, {"kind": 3}, {"return_frames": "yes"}, {"return_X_y": 2}]
)
def test_wrong_argument_is_named(name, argument):
    (parameter,) = argument
    with pytest.raises(ValueError, match=f"'{parameter}' parameter of load_{name}"):
        LOADERS[name](**argument)


def test_arguments_are_keyword_only(name):
    with pytest.raises(TypeError):
        LOADERS[name]("bulk")


@pytest.mark.parametrize("option", ["return_frames", "return_X_y"])
def test_frames_need_ase(name, option, monkeypatch):
    monkeypatch.setitem(sys.modules, "ase", None)
    assert "frames" not in LOADERS[name]()
    message = rf'load_{name}\({option}=True\) needs ase: pip install "skrigidity\[atomistic\]"'
    with pytest.raises(ImportError, match=message):
        LOADERS[name](**{option: True})


def test_X_y_are_frames_and_targets(name, data):
    """What `fit` of a pipeline that begins with a descriptor takes."""
    pytest.importorskip("ase")
    X, y = LOADERS[name](return_X_y=True)
    np.testing.assert_array_equal(y, data.target)
    assert LOADERS[name](return_frames=True).frames == X
    for atoms, positions in zip(X, data.positions, strict=True):
        np.testing.assert_array_equal(atoms.positions, positions)
    kind = data.kind[-1]
    X, y = LOADERS[name](return_X_y=True, kind=kind)
    assert len(X) == len(y) == (data.kind == kind).sum()


def test_frames_survive_a_file(name, tmp_path):
    io = pytest.importorskip("ase.io")
    frames = LOADERS[name](return_frames=True).frames[::50]
    io.write(tmp_path / "frames.xyz", frames, format="extxyz")
    for atoms, back in zip(frames, io.read(tmp_path / "frames.xyz", ":"), strict=True):
        assert back.calc is None
        assert back.info == pytest.approx(atoms.info)
        np.testing.assert_allclose(back.positions, atoms.positions, atol=1e-7)
        for key, values in atoms.arrays.items():
            np.testing.assert_allclose(back.arrays[key], values, atol=1e-7)
