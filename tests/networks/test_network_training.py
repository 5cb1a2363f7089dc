"""Fig. 3 of the paper for networks: local rigidities along training, and with more data."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("featomic", reason='needs featomic: pip install "skrigidity[atomistic]"')

import networks_data
import networks_training
from network_recipes import GRAPHS, available
from qm7_data import qm7_path


@pytest.mark.slow
def test_training_on_qm7():
    """Rigidities settle before the training ends, and their order before their values do."""
    structures = networks_data.load_structures(qm7_path(), small=True)
    training, sizes = networks_training.tables_of(networks_training.study(structures))
    print(training.round(3).to_string(), sizes.round(3).to_string(), sep="\n")
    change = training["relative_change"]
    assert change.loc[[0, 1, 5, 10, 20, 30, 40]].is_monotonic_decreasing
    assert 0.4 < change[0] < 0.95
    assert change[10] < 0.3
    assert change[20] < 0.15
    assert (training["rank_correlation"] > 0.7).all()
    assert (training["rank_correlation"].loc[5:] > 0.93).all()
    assert (sizes["median"].iloc[1:].to_numpy() > 2 * sizes["median"].iloc[:-1].to_numpy()).all()
    assert (sizes["n_falling_fixed"] == 0).all()


@pytest.fixture(scope="module")
def silicon():
    return networks_training.study(networks_data.silicon(), epochs=(0, 5, 10, 20))


def test_training_on_silicon_clusters(silicon):
    training, sizes = networks_training.tables_of(silicon)
    assert training.index.tolist() == [0, 5, 10, 20]
    assert training["relative_change"].is_monotonic_decreasing
    assert training["relative_change"][20] == 0
    assert training["relative_change"][0] > 0.05
    assert (training["rank_correlation"] > 0.9).all()
    assert sizes.index.tolist() == [56, 112, 225, 450]
    assert sizes["median"].is_monotonic_increasing


def test_more_data_never_lower_a_rigidity(silicon):
    """With fixed features and sets that contain one another this is a theorem: for every atom."""
    rigidity = silicon["fixed features"].rigidity
    assert rigidity.shape[1] > 1000
    assert (np.diff(rigidity, axis=0) >= -1e-9 * rigidity[:-1]).all()
    # Of networks that were trained on these sets, features of their own, it is true of most atoms.
    trained = silicon["sizes"].rigidity
    assert (np.diff(trained, axis=0) > 0).mean() > 0.9


@pytest.mark.parametrize("network", GRAPHS)
def test_training_of_graph_networks(network):
    """That they run, that training shows, and the theorem; scores are measured."""
    if network not in available():
        pytest.skip(f"{network}: its package is not installed")
    structures = replace(networks_data.silicon(), sizes=(80, 0, 40))
    found = networks_training.study(structures, network=network, epochs=(0, 1, 3), width=4)
    n_atoms = sum(len(frame) for frame in structures.split(0)[2])
    assert found["training"].rigidity.shape == (3, n_atoms)
    assert found["sizes"].rigidity.shape == found["fixed features"].rigidity.shape == (4, n_atoms)
    training, sizes = networks_training.tables_of(found)
    assert list(training.columns) == ["relative_change", "rank_correlation", "median"]
    assert training.index.tolist() == [0, 1, 3]
    assert training["relative_change"][0] > 0.01
    assert training["relative_change"][3] == 0
    assert list(sizes.columns) == ["median", "median_fixed", "n_falling_fixed"]
    assert sizes.index.tolist() == [10, 20, 40, 80]
    assert (sizes["n_falling_fixed"] == 0).all()
    assert (training.notna() & np.isfinite(training)).all(axis=None)


def test_script(tmp_path, capsys, monkeypatch):
    pytest.importorskip("matplotlib", reason='needs matplotlib: pip install "skrigidity[plot]"')
    monkeypatch.delenv("SKRIGIDITY_TEST_DATA", raising=False)
    monkeypatch.setattr(networks_training, "EPOCHS", (0, 1, 2))
    networks_training.main(["--figures", str(tmp_path / "figures")])
    assert "relative_change" in capsys.readouterr().out
    names = sorted(path.name for path in (tmp_path / "figures").iterdir())
    assert names == [
        f"silicon-species-{name}.png" for name in ("fixed-features", "sizes", "training")
    ]
