"""The examples run, and what the documentation says of their numbers holds."""

import pytest

pytest.importorskip("ase", reason='needs ASE: pip install "skrigidity[atomistic]"')
pytest.importorskip("sphericart", reason='needs sphericart: pip install "skrigidity[atomistic]"')

import copper_reference
import silicon_potential
from mlearn import silicon_path


def test_silicon_potential(tmp_path, capsys):
    found = silicon_potential.study(silicon_path())
    table, log = found["table"], found["log"]
    solid, liquid = (table.loc[(part, "forces")] for part in ("solid", "liquid"))

    # Inside of what it was fitted to, error bars of forces are right.
    assert 0.64 <= solid["coverage_1"] <= 0.75
    assert 0.92 <= solid["coverage_2"] <= 0.97
    assert solid["coverage_3"] >= 0.98
    assert solid["spearman"] > 0.7 > 0.2 > solid["spearman_of_force"]

    # Outside, errors are ten times as large, error bars follow (and are too wide), the LPR falls.
    assert liquid["mae"] > 8 * solid["mae"]
    assert liquid["coverage_2"] > 0.97
    assert liquid["median_rigidity"] < 0.02 * solid["median_rigidity"]
    # There, they rank errors hardly better than the size of the force does.
    assert abs(liquid["spearman"] - liquid["spearman_of_force"]) < 0.15

    # Hotter and hotter: less and less rigid, and the observer says so. (Trajectories are chaotic:
    # this holds for other seeds as well.)
    stages = log.groupby("temperature")[["force_std", "min_rigidity"]].median()
    assert stages.loc[[300, 1000, 2000, 3000], "min_rigidity"].is_monotonic_decreasing
    assert stages.loc[[300, 1000, 2000, 3000], "force_std"].is_monotonic_increasing
    tripped = log["tripped"].notna().groupby(log["temperature"]).mean()
    assert tripped.loc[:600].max() <= 0.2
    assert tripped.loc[3000:].min() >= 0.8
    assert len(found["collected"]) == log["tripped"].notna().sum()

    silicon_potential.report(found)
    assert "151 training frames, 75 parameters" in capsys.readouterr().out


def test_silicon_potential_without_its_frames(tmp_path, capsys, monkeypatch):
    pytest.importorskip("matplotlib", reason='needs matplotlib: pip install "skrigidity[plot]"')
    monkeypatch.setenv("SKRIGIDITY_TEST_DATA", str(tmp_path))
    silicon_potential.main(["--figures", str(tmp_path / "figures")])
    out = capsys.readouterr().out
    assert "carbon: 100 training frames" in out
    assert "below it were collected" in out
    figures = sorted(path.name for path in (tmp_path / "figures").iterdir())
    assert figures == ["carbon-dynamics.png", "carbon-errors.png"]


def test_poor_potential_knows_that_it_is():
    """Of carbon, this is a poor potential: forces err by .8 eV/Å, and error bars say so."""
    material = silicon_potential.carbon()
    potential = silicon_potential.fitted(material, full=False)
    table = silicon_potential.held_out_errors(potential, material)
    solid, liquid = (table.loc[(part, "forces")] for part in ("solid", "liquid"))
    assert solid["mae"] > 0.5
    assert 0.6 < liquid["coverage_1"] < solid["coverage_1"] < 0.75
    assert min(solid["coverage_2"], liquid["coverage_2"]) > 0.9
    assert liquid["median_rigidity"] < 0.6 * solid["median_rigidity"]


def test_copper_reference(capsys):
    copper_reference.main(["--sets", "1"])
    out = capsys.readouterr().out
    assert out.count("barrier") == 2
    assert "within 1, 2, 3 standard deviations" in out
