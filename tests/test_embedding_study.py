"""Fig. 5 of the paper: what pins an uncertain atom, and what does not."""

import os
from pathlib import Path

import pytest

pytest.importorskip("ase", reason='needs ASE: pip install "skrigidity[atomistic]"')
pytest.importorskip("featomic", reason='needs featomic: pip install "skrigidity[atomistic]"')

import embedding

_BESIDE = Path(__file__).parents[2] / "shared" / "data"


def liquid_path():
    """The file, where it is at hand."""
    name = "liquid_carbon_13824.extxyz.xz"
    path = Path(os.environ.get("SKRIGIDITY_TEST_DATA", _BESIDE)) / name
    if not path.exists():
        pytest.skip(f"{path} is not at hand")
    return path


def test_example(tmp_path, capsys, monkeypatch):
    pytest.importorskip("matplotlib", reason='needs matplotlib: pip install "skrigidity[plot]"')
    monkeypatch.setenv("SKRIGIDITY_TEST_DATA", str(tmp_path))
    embedding.main(["--quick", "--figures", str(tmp_path / "figures")])
    out = capsys.readouterr().out
    assert "2 atoms of liquid carbon (64 atoms a frame)" in out
    assert "those that PRSelector chooses" in out
    assert [path.name for path in (tmp_path / "figures").iterdir()] == ["embedding.png"]


@pytest.mark.slow
@pytest.mark.parametrize("where", ["bundled", "paper"])
def test_embedding_pins_what_carving_does_not(where):
    path, n_sets = (liquid_path(), 4) if where == "paper" else (None, 2)
    found = embedding.study(path, counts=(1, 10), n_sets=n_sets)
    medians, cases, choice = found["medians"][10], found["cases"], found["choice"]
    assert len(cases) == 3 * n_sets
    assert found["n_liquid"] == (13824 if where == "paper" else 64)

    for kind in ("periodic", "high-symmetry"):
        assert medians[kind] >= 3 * medians["carved"]
        assert medians[kind] >= 3 * medians["original"]
        assert (cases[(kind, 10)] > cases[("carved", 10)]).mean() >= 0.8
        assert medians[kind] >= 5 * found["medians"].loc[kind, 1]
        assert choice["chosen"] >= 2 * choice[kind]
    # Repeating a structure adds next to nothing.
    for kind in ("original", "carved"):
        assert medians[kind] <= 1.2 * found["medians"].loc[kind, 1]
