"""The examples of learning on the fly run, and what their page says of them holds."""

import numpy as np
import pytest

pytest.importorskip("ase", reason='needs ASE: pip install "skrigidity[atomistic]"')
pytest.importorskip("sphericart", reason='needs sphericart: pip install "skrigidity[atomistic]"')

import active_learning_copper
import learning_study


def test_copper_that_melts(tmp_path, capsys):
    found = active_learning_copper.main([str(tmp_path / "copper")])
    learner = found["learner"]
    assert learner.reason_ == "quiet"
    assert 3 <= len(learner.labelled_) <= 25
    assert found["after"] < 0.2 * found["before"]
    assert "it ended: quiet" in capsys.readouterr().out


def test_study(monkeypatch, capsys):
    monkeypatch.setattr(learning_study.Copper, "trajectory_time", 120.0)
    training = learning_study.Copper.training
    monkeypatch.setattr(learning_study.Copper, "training", lambda self: training(self, 5))
    monkeypatch.setattr(learning_study.Copper, "held_out", lambda self: training(self, 2))
    rows = learning_study.main(
        ["copper", "--seeds", "0", "--degrees", "8", "6", "--threshold", "1x"]
    )
    assert rows[0]["labels"] >= 1
    assert np.isfinite([rows[0]["random_ratio"], rows[0]["regular_ratio"]]).all()
    assert "random: labels of the loop" in capsys.readouterr().out


def test_labels_needed():
    curve = [(10, 1.0), (20, 0.1), (30, 0.2), (40, 0.01)]
    assert learning_study.needed(curve, 0.5) == pytest.approx(10 + 10 * np.log(2) / np.log(5))
    # What has been reached and left again does not count.
    assert 30 < learning_study.needed(curve, 0.1) < 40
    assert learning_study.needed(curve, 0.001) == 40
    assert learning_study.needed(curve, 2.0) == 10
