"""``skrigidity study``: last-layer rigidities of a network on sets of frames."""

import json

import pandas as pd
import pytest
from command_line import call, copper, listing, write

from skrigidity.cli._output import STUDY_FILES


@pytest.fixture(autouse=True, scope="module")
def _extras():
    for module in ("typer", "rich", "ase"):
        pytest.importorskip(module, reason='pip install "skrigidity[atomistic,cli]"')


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("frames")
    pairs = (("Cu.extxyz", copper(15)), ("Ag.extxyz", copper(10, seed=1, symbol="Ag")))
    return [write(folder / name, frames) for name, frames in pairs]


@pytest.fixture
def small_network(monkeypatch):
    """Spare CHGNet: what is tested is around it."""
    pytest.importorskip("torch", reason='pip install "skrigidity[torch]"')
    from pair_network import PairAdapter, PairNetwork

    from skrigidity.atomistic.foundation import _features

    asked = []

    def network(name):
        asked.append(name)
        return PairAdapter(PairNetwork())

    monkeypatch.setattr(_features, "chgnet", network)
    return asked


SMALL = ("--splits", 2, "--force-frames", 1, "--draws", 2)


def test_files(files, tmp_path, small_network):
    output = tmp_path / "new"
    code, out, err = call("study", *files, *SMALL, "-o", output)
    assert (code, err) == (0, "")
    assert small_network == ["0.3.0"]
    assert listing(output) == set(STUDY_FILES)
    assert out.splitlines()[-5:] == [f"  {output / name}" for name in STUDY_FILES]
    energies = pd.read_csv(output / "energies.csv")
    assert sorted(energies["split"].unique()) == [0, 1]
    foreign = pd.read_csv(output / "foreign.csv")
    assert set(foreign["foreign"]) == {"Cu (left out)", "Ag (left out)"}
    assert set(pd.read_csv(output / "forces.csv")["set"]) == {"Cu", "Ag"}
    text = (output / "summary.txt").read_text("utf-8")
    assert out.startswith(text.strip())
    assert "frames: {'Cu': 15, 'Ag': 10}" in text


def test_foreign_and_json(files, tmp_path, small_network):
    arguments = (files[0], "--foreign", files[1], "--weights", "r2scan", "--split-key", "split")
    code, out, err = call("study", *arguments, *SMALL, "-o", tmp_path, "--json")
    assert (code, err) == (0, "")
    assert small_network == ["r2scan"]
    found = json.loads(out)
    assert found["settings"]["frames"] == {"Cu": 15}
    numbers = {(row["table"], row["number"]): row["mean"] for row in found["summary"]}
    table = pd.read_csv(tmp_path / "energies.csv").query("variant == 'own, pretrained'")
    expected = table[table["score"] == "std"]["mae_meV"].mean()
    assert numbers["energies", "mae_meV"] == pytest.approx(expected)
    assert {"value", "|F|", "|J|", "shuffled"} < set(found["controls"][0])
    assert set(pd.read_csv(tmp_path / "foreign.csv")["foreign"]) == {"Ag"}


def test_refusals(files, tmp_path, small_network):
    def refused(*arguments):
        code, out, err = call("study", *arguments, "-o", tmp_path / "out")
        assert (code, out) == (2, ""), err
        assert err.count("\n") == 1
        assert not (tmp_path / "out").exists()
        return err.removeprefix("skrigidity: ").strip()

    twice = tmp_path / "Cu.extxyz"
    write(twice, copper(5))
    assert refused(files[0], twice).endswith(
        "another file is called Cu, too; sets need other names"
    )
    assert refused(files[0], "--alpha", 0) == "--alpha: expected a positive number, got 0.0"
    assert refused(files[0], "--weights", "x").startswith("--weights: expected one of 0.3.0")
    few = write(tmp_path / "few.extxyz", copper(3))
    assert refused(few) == "few: expected at least 5 frames, got 3"
    assert refused(files[0], "--split-key", "x") == "Cu: a frame has no 'x' in its info"
    assert refused(tmp_path / "none.extxyz").endswith("no such file")


def test_files_are_not_replaced(files, tmp_path, small_network):
    (tmp_path / "energies.csv").write_text("mine")
    code, _, err = call("study", files[0], *SMALL, "-o", tmp_path)
    assert code == 2
    assert "contains energies.csv already; --force replaces them" in err
    assert (tmp_path / "energies.csv").read_text() == "mine"
    code, _, err = call("study", files[0], *SMALL, "-o", tmp_path, "--force", "--quiet")
    assert (code, err) == (0, "")
    assert listing(tmp_path) == set(STUDY_FILES)


def test_without_chgnet(files, tmp_path):
    import importlib.util

    if importlib.util.find_spec("chgnet"):
        pytest.skip("chgnet is installed")
    code, out, err = call("study", files[0], "-o", tmp_path / "out")
    assert (code, out) == (2, "")
    assert err.strip().endswith('foundation_study needs chgnet: pip install "skrigidity[chgnet]"')
