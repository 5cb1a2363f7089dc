"""The command ``skrigidity learn``."""

import json
import sys

import pytest

pytest.importorskip("ase", reason='needs ASE: pip install "skrigidity[atomistic]"')
pytest.importorskip("sphericart", reason='needs sphericart: pip install "skrigidity[atomistic]"')
pytest.importorskip("typer", reason='needs typer: pip install "skrigidity[cli]"')

from ase.io import read, write
from command_line import call
from learning_copper import potential, rattled, start, training

from skrigidity.atomistic import RigidPotential


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("learn")
    write(folder / "train.extxyz", training())
    write(folder / "start.extxyz", [start(), rattled(3)])
    potential().fit(training()).save(folder / "potential.npz")
    return [folder / name for name in ("potential.npz", "train.extxyz", "start.extxyz")]


def options(folder, *more):
    given = {"--label": "emt", "--temperature": 900, "--time-step": 4, "--interval": 5}
    given |= {"--force-std": "80%", "--quiet-time": 200, "--max-time": 300, "-o": folder / "out"}
    return [part for pair in given.items() for part in pair] + list(more)


def test_learn(files, tmp_path):
    code, out, err = call("learn", *files, *options(tmp_path))
    assert (code, err) == (0, "")
    assert "events in" in out
    assert "labelled.extxyz" in out
    frames = read(tmp_path / "out" / "labelled.extxyz", ":")
    model = RigidPotential.load(tmp_path / "out" / "potential.npz")
    assert model.n_training_["frames"] == 6 + len(frames) > 6
    # The same command goes on where it was.
    arguments = ("--max-time", 400, "--trajectory-time", 100, "--json")
    code, out, err = call("learn", *files, *options(tmp_path, *arguments))
    found = json.loads(out)
    assert code == 0
    assert found["labels"] >= len(frames)
    assert found["reason"] in ("quiet", "max_time")
    code, _, _ = call("info", tmp_path / "out" / "potential.npz")
    assert code == 0


def test_a_factory_of_ones_own(files, tmp_path, monkeypatch):
    (tmp_path / "my_reference.py").write_text("from ase.calculators.emt import EMT as make\n")
    monkeypatch.chdir(tmp_path)
    code, _, _ = call(
        "learn", *files, *options(tmp_path, "--label", "my_reference:make", "--max-time", 50)
    )
    assert code == 0
    sys.modules.pop("my_reference")


def test_refused(files, tmp_path):
    def refused(*more):
        code, _, err = call("learn", *files, *options(tmp_path, *more))
        assert code == 2
        assert err.count("\n") == 1
        return err

    assert "is no calculator of ASE" in refused("--label", "gaussian98")
    assert "--label: No module named 'nothing'" in refused("--label", "nothing:make")
    assert "expected a number or a quantile" in refused("--force-std", "many")
    assert "so many times the most" in refused("--min-rigidity", "0x")
    call("learn", *files, *options(tmp_path, "--max-time", 30))
    code, _, err = call("learn", files[0], files[1], files[1], *options(tmp_path))
    assert code == 2
    assert "another training set or start" in err


def test_periodic_tight_binding(files, tmp_path):
    pytest.importorskip("tblite", reason='needs tblite: pip install "skrigidity[learn]"')
    from skrigidity.cli._learn import labeller_of

    pair = rattled(0)
    pair.calc = labeller_of("gfn1-xtb")()
    assert pair.get_forces().shape == (4, 3)
