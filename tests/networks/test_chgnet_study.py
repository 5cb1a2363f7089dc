"""CHGNet with shipped weights on silicon: what docs/examples/foundation_study.py claims."""

import numpy as np
import pytest
from mlearn import silicon_path

torch = pytest.importorskip("torch")
pytest.importorskip("chgnet.model")
pytest.importorskip("ase")

import foundation_study as example  # noqa: E402

from skrigidity.atomistic import (  # noqa: E402
    compare_precisions,
    fine_tuning_choice,
    foundation_study,
    network_features,
    stretching_scan,
)

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def known():
    return network_features({"Si": example.silicon(silicon_path())})


@pytest.fixture(scope="module")
def study(known):
    foreign = {name: frames[::2] for name, frames in example.foreign_frames().items()}
    return foundation_study(known, foreign=foreign, n_splits=6, n_force_frames=8)


def test_energies(study):
    assert study.settings["layers"].count("mlp.layers.") == 4
    table = study.energies.groupby(["variant", "score"]).mean(numeric_only=True)
    wide, control = table.loc[("wide, refit", "std")], table.loc[("wide, refit", "shuffled")]
    assert wide["mae_meV"] < 8 < 50 < table.loc[("own, pretrained", "std"), "mae_meV"]
    assert wide["within"] > 0.4
    assert wide["dnll"] < -0.2
    assert 0.55 < wide["coverage_1"] < 0.85
    assert wide["coverage_2"] > 0.84
    assert abs(control["within"]) < 0.2
    assert control["dnll"] > 0
    # The size of the predicted forces describes errors of energies worse than a constant does.
    assert table.loc[("wide, refit", "|F|"), "dnll"] > 0
    # The network's own last layer, refitted, knows nothing of its errors.
    assert table.loc[("own, refit", "std"), "within"] < 0.25
    assert table.loc[("own, refit", "std"), "mae_meV"] > 1.5 * wide["mae_meV"]


def test_foreign(study):
    table = study.foreign.set_index(["variant", "foreign", "level", "score"])["auc"]
    for name in ("carbon", "water"):
        for level in ("frame", "atom"):
            assert table["wide", name, level, "std"] > 0.95


def test_forces(study):
    table = study.forces.groupby(["variant", "score"]).mean(numeric_only=True)
    draws = table.loc[("wide, refit", "draws")]
    assert draws["spearman"] > 0.5
    assert draws["auc"] > 0.75
    assert draws["partial"] > 0.2
    assert abs(table.loc[("wide, refit", "shuffled"), "spearman"]) < 0.15
    # Of the network as it is, rigidities of atoms say far less than the size of the force.
    local, force = (
        table.loc[("own, pretrained", score), "spearman"] for score in ("local R", "|F|")
    )
    assert local < force - 0.15
    told = study.controls.set_index(["table", "variant", "score", "measure"])["force_is_as_good"]
    assert told["forces", "own, pretrained", "draws", "spearman"]


def test_own_layer_ranks_no_force_errors_in_words(study):
    lines = [line for line in study.statements() if line.startswith("forces, own, pretrained")]
    assert any("|F| alone" in line for line in lines)


def test_stretching(known):
    table = stretching_scan(known).set_index(["layers", "factor"])["relative"]
    assert table["own", np.inf] < 0.1
    assert table["own", 1.4] < 0.56
    assert table["wide", np.inf] < 1e-3
    assert table["wide", 1.4] < 1e-3


def test_choice(known):
    table = fine_tuning_choice(known, sizes=[20, 40])
    rmse = table.groupby(["size", "choice"])["rmse_meV"].mean()
    for size in (20, 40):
        assert rmse[size, "rigidity"] < 0.8 * rmse[size, "random"]


def test_precision(known):
    table = compare_precisions(known.frames[::24])
    assert (table["largest_change"] < 5e-3).all()
    assert (table["median_change"] < 2e-4 * 5).all()
    assert (table["spearman"] > 0.98).all()


def test_example(capsys, monkeypatch, tmp_path):
    """The example runs without its frames, on small clusters; here on few of them."""
    monkeypatch.setenv("SKRIGIDITY_TEST_DATA", str(tmp_path))
    clusters = example.silicon(None)[::5]
    monkeypatch.setattr(example, "silicon", lambda path: clusters)
    carbon = {"carbon": example.foreign_frames()["carbon"][:1]}
    monkeypatch.setattr(example, "foreign_frames", lambda: carbon)
    monkeypatch.setattr(
        example,
        "fine_tuning_choice",
        lambda known: fine_tuning_choice(known, sizes=[5, 10], n_splits=2),
    )
    example.main(["--tables", str(tmp_path)])
    out = capsys.readouterr().out
    assert f"frames: {{'Si': {len(clusters)}}}" in out
    assert (tmp_path / "precision.csv").exists()
