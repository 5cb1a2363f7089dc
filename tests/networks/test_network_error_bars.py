"""Fig. 1 of the paper for networks: last-layer rigidities tell how large errors are.

Thresholds have a margin around other seeds; controls are shuffled rigidities, and those of the
network before its training.
"""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("featomic", reason='needs featomic: pip install "skrigidity[atomistic]"')

import networks_data
import networks_error_bars
import networks_on_gpu
from network_recipes import NETWORKS, Effort, available
from qm7_data import qm7_path

SEEDS = (0, 1, 2)
# What scores must lie between on QM7: 4000 training, 1000 validation, 2000 test molecules.
QM7 = {
    "species": {
        "mae": (0, 1.5),
        "spearman": (0.28, 1),
        "slope": (0.9, 2.6),
        "mald": (0, 0.75),
        "dnll": (-np.inf, -0.10),
        "inside_1": (0.68, 0.85),
        "inside_2": (0.93, 0.975),
    },
    "mlp": {
        "mae": (0, 2.2),
        "spearman": (0.12, 1),
        "slope": (0.6, 1.6),
        "mald": (0, 0.45),
        "dnll": (-np.inf, -0.02),
        "inside_1": (0.66, 0.81),
        "inside_2": (0.92, 0.975),
    },
}


@pytest.fixture(scope="module")
def qm7():
    return networks_data.load_structures(qm7_path(), small=False)


@pytest.mark.slow
@pytest.mark.parametrize("network", QM7)
def test_error_bars_on_qm7(qm7, network):
    if network not in available():
        pytest.skip(f"{network}: its package is not installed")
    found = {(network, seed): networks_error_bars.study(network, qm7, seed) for seed in SEEDS}
    table = networks_error_bars.table_of(found)
    print(table.round(3).to_string())
    trained, shuffled, untrained = (
        table.xs(kind, level="rigidities") for kind in ("trained", "shuffled", "untrained")
    )
    for name, (low, high) in QM7[network].items():
        assert trained[name].between(low, high).all(), trained[name]
    assert (shuffled["dnll"] > 0).all()
    assert (shuffled["spearman"].abs() < 0.1).all()
    assert (shuffled["slope"] < 0.5).all()
    assert (trained["dnll"] < untrained["dnll"]).all()
    assert (trained["spearman"] > untrained["spearman"]).all()


def test_error_bars_of_silicon_clusters(capsys):
    """250 test structures are few, so six splits are taken together."""
    structures = networks_data.silicon()
    found = {("species", s): networks_error_bars.study("species", structures, s) for s in range(6)}
    table = networks_error_bars.table_of(found).groupby("rigidities").mean()
    assert table.loc["trained", "mae"] < 0.2
    assert table.loc["trained", "spearman"] > 0.12
    assert 0.5 < table.loc["trained", "slope"] < 1.2
    assert table.loc["trained", "dnll"] < -0.03
    assert 0.64 < table.loc["trained", "inside_1"] < 0.8
    assert 0.92 < table.loc["trained", "inside_2"] < 0.98
    assert abs(table.loc["shuffled", "spearman"]) < 0.1
    assert table.loc["shuffled", "dnll"] > 0.04


@pytest.mark.parametrize("network", NETWORKS)
def test_every_recipe(network):
    """That they run: their predictions are reproduced by latent features, or `fit` would raise."""
    if network not in available():
        pytest.skip(f"{network}: its package is not installed")
    structures = replace(networks_data.silicon(), sizes=(80, 60, 60))
    bars = networks_error_bars.study(network, structures, 0, Effort(epochs=3, width=4))
    assert np.isfinite([bars.error, bars.std, bars.shuffled, bars.untrained]).all()
    assert not np.allclose(bars.std, bars.untrained)


def test_script(tmp_path, capsys, monkeypatch):
    pytest.importorskip("matplotlib", reason='needs matplotlib: pip install "skrigidity[plot]"')
    monkeypatch.delenv("SKRIGIDITY_TEST_DATA", raising=False)
    arguments = ["--networks", "species", "--figures", str(tmp_path / "figures")]
    networks_error_bars.main(arguments)
    assert "untrained" in capsys.readouterr().out
    assert (tmp_path / "figures" / "silicon-error-bars-species-0.png").exists()


def test_script_for_a_gpu(tmp_path, capsys, monkeypatch):
    """Without one; what is finished is not done again."""
    monkeypatch.delenv("SKRIGIDITY_TEST_DATA", raising=False)
    small = "--device cpu --epochs 1 --width 8 --sizes 80 40 60 --members 2 --seeds 0"
    arguments = [*small.split(), "--networks", "species", "--out", str(tmp_path)]
    networks_on_gpu.main(arguments)
    names = {path.name for path in tmp_path.iterdir()}
    kinds = ("error-bars-species-0", "committee-species-0", "training-species-0")
    assert names == {f"silicon-{kind}.txt" for kind in kinds}
    monkeypatch.setattr(networks_error_bars, "study", None)
    networks_on_gpu.main(arguments)
    assert capsys.readouterr().out.count("untrained") == 4


def test_script_for_a_gpu_needs_one(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(SystemExit):
        networks_on_gpu.main(["--out", str(tmp_path)])
    assert "there is no GPU" in capsys.readouterr().err
