"""Fig. 2 of the paper for networks: where they differ, their local rigidity is small.

Within an element, since elements differ in both; the control is the network before its training.
"""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("featomic", reason='needs featomic: pip install "skrigidity[atomistic]"')

import networks_committee
import networks_data
from network_recipes import GRAPHS, available
from networks_committee import Committee, correlations
from qm7_data import qm7_path


@pytest.mark.slow
def test_committee_on_qm7():
    structures = networks_data.load_structures(qm7_path(), small=False)
    table = networks_committee.table_of({("species", 0): networks_committee.study(structures)}).loc[
        "species", 0
    ]
    print(table.round(3).to_string())
    trained, untrained = table.loc["trained"], table.loc["untrained"]
    assert list(table.columns) == ["C", "H", "N", "O", "within", "over all"]  # too few of sulfur
    assert trained["C"] <= -0.30
    assert trained["H"] <= -0.30
    assert trained["within"] <= -0.35
    assert trained["C"] - untrained["C"] <= -0.10
    assert trained["within"] - untrained["within"] <= -0.10
    assert trained["over all"] <= -0.6
    assert untrained["over all"] <= -0.6  # which says nothing of the training


def test_committee_of_silicon_clusters():
    """Atoms differ by the size of their cluster above all, which is seen before any training."""
    found = networks_committee.study(networks_data.silicon(), n_members=6, epochs=20)
    assert len(found.element) == len(found.variance) == len(found.rigidity) > 1000
    assert correlations(found, found.rigidity)["Si"] < -0.5
    shuffled = np.random.default_rng(0).permutation(found.rigidity)
    assert abs(correlations(found, shuffled)["Si"]) < 0.1


@pytest.mark.parametrize("network", GRAPHS)
def test_committee_of_graph_networks(network):
    """That they run, and that training and the halves of the data show; scores are measured."""
    if network not in available():
        pytest.skip(f"{network}: its package is not installed")
    structures = replace(networks_data.silicon(), sizes=(80, 0, 80))
    small = {"network": network, "n_members": 2, "epochs": 3, "width": 4}
    found = networks_committee.study(structures, **small)
    n_atoms = sum(len(frame) for frame in structures.split(0)[2])
    assert {part.shape for part in found} == {(n_atoms,)}
    assert np.isfinite(found[1:]).all()
    assert (found.variance > 0).all()
    assert (found.rigidity > 0).all()
    assert not np.allclose(found.rigidity, found.untrained, rtol=0.01)
    table = networks_committee.table_of({(network, 0): found})
    assert list(table.columns) == ["Si", "within", "over all"]
    assert table.index.tolist() == [(network, 0, kind) for kind in ("trained", "untrained")]
    assert table.notna().all(axis=None)


def test_correlation_within_elements_is_not_that_of_the_elements():
    rng = np.random.default_rng(0)
    element = np.repeat(["C", "H", "S"], [400, 600, 50])
    level = np.where(element == "H", 100.0, 1.0)
    noise = rng.uniform(1, 2, (2, 1050))
    unrelated = Committee(element, 1 / level / noise[0], level * noise[1], level)
    found = correlations(unrelated, unrelated.rigidity)
    assert list(found) == ["C", "H", "within", "over all"]
    assert found["over all"] < -0.6
    assert abs(found["within"]) < 0.1
    inverse = unrelated._replace(rigidity=1 / unrelated.variance)
    assert correlations(inverse, inverse.rigidity)["within"] == pytest.approx(-1)


def test_script(tmp_path, capsys, monkeypatch):
    pytest.importorskip("matplotlib", reason='needs matplotlib: pip install "skrigidity[plot]"')
    monkeypatch.delenv("SKRIGIDITY_TEST_DATA", raising=False)
    networks_committee.main(["--figures", str(tmp_path / "figures")])
    assert "untrained" in capsys.readouterr().out
    assert (tmp_path / "figures" / "silicon-committee-species-0.png").exists()
