"""Structure files as the command line reads them: frame by frame, and what is wrong with them."""

import lzma

import numpy as np
import pytest

from skrigidity.cli._common import InputError
from skrigidity.cli._structures import frame_numbers, inspect_frames, read_frames


@pytest.fixture(autouse=True, scope="module")
def _extras():
    pytest.importorskip("ase", reason='pip install "skrigidity[atomistic]"')


def frames():
    from ase.build import bulk, molecule

    out = [bulk("Si", cubic=True), bulk("Si"), molecule("SiH4")]
    for i, frame in enumerate(out):
        frame.info["name"] = f"frame {i}"
        frame.new_array("forces_dft", np.full((len(frame), 3), i + 0.5))
    return out


@pytest.fixture
def path(tmp_path):
    import ase.io

    ase.io.write(tmp_path / "pool.extxyz", frames())
    return tmp_path / "pool.extxyz"


def same(found, expected):
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        assert a.info == b.info
        np.testing.assert_array_equal(a.numbers, b.numbers)
        np.testing.assert_array_equal(a.arrays["forces_dft"], b.arrays["forces_dft"])
        np.testing.assert_allclose(a.positions, b.positions, atol=1e-7)
        np.testing.assert_allclose(a.cell, b.cell)


def test_extxyz(path):
    same(list(read_frames(path)), frames())
    same(list(read_frames(path, 1)), frames()[1:])
    assert list(read_frames(path, 3)) == []
    assert inspect_frames(path) == 3


@pytest.mark.parametrize("suffix", ["xz", "gz"])
def test_compressed(path, suffix):
    from ase.io.formats import open_with_compression

    packed = path.with_name(f"pool.extxyz.{suffix}")
    with open_with_compression(str(packed), "w") as file:
        file.write(path.read_text())
    same(list(read_frames(packed)), frames())


def test_compressed_and_cut(path):
    packed = path.with_name("pool.extxyz.xz")
    packed.write_bytes(lzma.compress(path.read_bytes())[:-40])
    with pytest.raises(InputError, match=r"pool\.extxyz\.xz.*cannot read it"):
        list(read_frames(packed))


def test_other_formats(tmp_path):
    import ase.io

    ase.io.write(tmp_path / "pool.traj", frames())
    assert [f.info["name"] for f in read_frames(tmp_path / "pool.traj")] == [
        "frame 0",
        "frame 1",
        "frame 2",
    ]
    assert [f.info["name"] for f in read_frames(tmp_path / "pool.traj", 2)] == ["frame 2"]


def test_frames_before_a_defect_are_there(path):
    """Nothing is read ahead."""
    path.write_text(path.read_text()[:-30])
    reader = read_frames(path)
    assert [len(next(reader)) for _ in range(2)] == [8, 2]
    with pytest.raises(InputError):
        next(reader)


def cut_line(text):
    return "".join(text.splitlines(keepends=True)[:-2])


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        pytest.param(cut_line, "frame 2: the file ends after 3 of its 5 atoms", id="lines"),
        pytest.param(lambda t: t[:-4], "frame 2: the last line of the file does not", id="number"),
        pytest.param(lambda t: t + "3\n", "frame 3: the file ends after 0 of its 3", id="count"),
        pytest.param(lambda t: t + "\n\n", None, id="empty lines at the end"),
        pytest.param(lambda t: "\n" + t, "frame 0: .* number of its atoms, got ''", id="blank"),
        pytest.param(lambda t: "hello\n", "frame 0: .* number of its atoms, got 'hello'", id="no"),
        pytest.param(lambda t: "", "is empty", id="empty"),
        pytest.param(lambda t: "\n\n", "no structure", id="blank only"),
        pytest.param(lambda t: t + "-1\n\n", "frame 3: ", id="negative"),
        pytest.param(lambda t: t + "0\n\n", "frame 3: the frame has no atoms", id="no atoms"),
        pytest.param(lambda t: t.replace(" 1.5", " one"), "frame 1: cannot read it: .*one", id="s"),
        pytest.param(
            lambda t: t.replace("4.07", "nan "), "frame 0: the positions .* NaN", id="not finite"
        ),
        pytest.param(lambda t: t.replace("pos:R:3", "pos:R:4"), "frame 0: cannot read", id="cols"),
    ],
)
def test_defects(path, damage, says):
    text = damage(path.read_text())
    path.write_text(text)
    if says is None:
        assert inspect_frames(path) == 3
        return
    with pytest.raises(InputError, match=rf"^\S*pool\.extxyz(, |: ).*{says}") as error:
        inspect_frames(path)
    assert "\n" not in str(error.value)


def test_not_text(path):
    path.write_bytes(b"2\n\xff\xfe\x00\n" * 5)
    with pytest.raises(InputError, match="frame 0: cannot read it"):
        inspect_frames(path)


def test_missing(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        next(read_frames(tmp_path / "missing.xyz"))
    with pytest.raises(InputError, match="no such file"):
        next(read_frames(tmp_path))


def test_unknown_format(tmp_path):
    (tmp_path / "notes.txt").write_text("nothing that ASE knows")
    with pytest.raises(InputError, match=r"notes\.txt: in no format that ASE knows"):
        next(read_frames(tmp_path / "notes.txt"))


def test_unknown_species(path):
    assert inspect_frames(path, [1, 14]) == 3
    with pytest.raises(
        InputError, match=r"pool\.extxyz, frame 2: contains H; this model knows C, Si$"
    ):
        inspect_frames(path, [14, 6])


def test_frame_numbers(tmp_path):
    """What the library counts is translated to the numbers in the file."""
    path = tmp_path / "pool.extxyz"

    def message(text, numbers=(4, 7, 9)):
        with pytest.raises(InputError) as error, frame_numbers(path, numbers):
            raise ValueError(text)
        return str(error.value)

    assert message("X[1]: has no volume") == f"{path}, frame 7: has no volume"
    assert message("frames[2]: odd\n  shape") == f"{path}, frame 9: odd shape"
    assert message("X: expected more") == f"{path}: expected more"
    assert message("the same as X[0]") == f"{path}: the same as frame 4"
    with pytest.raises(InputError, match=r"^as it is$"), frame_numbers(path, [0]):
        raise InputError("as it is")
