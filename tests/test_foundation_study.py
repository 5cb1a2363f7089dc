"""The study of a foundation model's last layer, on a network small enough to know all of it."""

import subprocess
import sys

import numpy as np
import pytest
from scipy.stats import rankdata, spearmanr

torch = pytest.importorskip("torch")
torch.set_num_threads(1)
ase = pytest.importorskip("ase")

from ase.build import bulk  # noqa: E402
from pair_network import PairAdapter, PairNetwork  # noqa: E402

from skrigidity.atomistic import (  # noqa: E402
    fine_tuning_choice,
    foundation_study,
    network_features,
    stretching_scan,
)
from skrigidity.atomistic.foundation import _scores  # noqa: E402

ESTIMATES = ["std", "|F|", "|J|", "shuffled"]


class WideAdapter(PairAdapter):
    """Counts how often the network runs; knows its hidden layer as well."""

    runs = 0

    def __init__(self, model, readout="auto"):
        super().__init__(model, readout)
        self.layers = ("readout",) if readout == "auto" else tuple(readout)

    def latent(self, batch, *, derivatives=False):
        WideAdapter.runs += 1
        return super().latent(batch, derivatives=derivatives)

    def weights(self):
        return super().weights() if self.layers == ("readout",) else None


def network(seed=0):
    return WideAdapter(PairNetwork(seed=seed), ["hidden", "readout"])


def crystals(n, seed=0, *, symbol="Al", noise=0.003):
    """Cells with labels that are linear in the hidden features, but for noise."""
    rng, adapter = np.random.default_rng(seed), network()
    w = torch.as_tensor(np.random.default_rng(7).standard_normal(14))
    frames = []
    for i in range(n):
        frame = bulk(symbol, "sc", a=2.2) * (3, 3, 3)
        frame.set_cell(frame.cell * rng.uniform(0.97, 1.05), scale_atoms=True)
        frame.rattle(rng.choice([0.02, 0.2]), rng=rng)
        latent = adapter.latent(adapter.batch([frame]), derivatives=True)
        energy = (latent.features @ w).sum()
        (slope,) = torch.autograd.grad(energy, [latent.positions])
        error = noise * len(frame) * rng.standard_normal()
        frame.info["energy_dft"] = energy.item() + latent.offset.item() + error
        frame.arrays["forces_dft"] = -slope.numpy() + 0.01 * rng.standard_normal((len(frame), 3))
        frame.info["split"] = "test" if i % 4 == 0 else "training"
        frames.append(frame)
    return frames


@pytest.fixture(scope="module")
def sets():
    return {"hot": crystals(40), "other": crystals(30, seed=1, symbol="Cu")}


@pytest.fixture(scope="module")
def known(sets):
    return network_features(sets, model=network())


@pytest.fixture(scope="module")
def study(known, sets):
    dense = [frame.copy() for frame in sets["hot"][:6]]
    for frame in dense:
        frame.set_cell(frame.cell * 0.7, scale_atoms=True)
        frame.info["energy_pbe"] = 0.0  # two names of energies, which do not matter here
    return foundation_study(known, foreign={"dense": dense}, n_splits=3, n_force_frames=3)


# --- scores ----------------------------------------------------------------------------------


def test_rank_correlations():
    rng = np.random.default_rng(0)
    a, b, c = rng.integers(0, 5, (3, 200)).astype(float)
    b += a
    c += a
    assert _scores.rank_correlation(a, b) == pytest.approx(spearmanr(a, b).statistic)
    # What is left of the ranks once those of c are fitted.
    ranks = np.column_stack([rankdata(c), np.ones(200)])
    left = [
        rankdata(x) - ranks @ np.linalg.lstsq(ranks, rankdata(x), rcond=None)[0] for x in (a, b)
    ]
    expected = np.corrcoef(*left)[0, 1]
    assert _scores.partial_correlation(a, b, c) == pytest.approx(expected)
    assert np.isnan(_scores.partial_correlation(a, b, b))
    assert np.isnan(_scores.rank_correlation(a, np.ones(200)))


def test_likelihood_knows_good_error_bars():
    rng = np.random.default_rng(0)
    std = np.exp(rng.standard_normal(4000))
    error = 3 * std * rng.standard_normal(4000)
    halves = [(error[i::2], std[i::2] ** 2) for i in (0, 1)]
    good = _scores.likelihood(*halves[0], halves[1])
    assert good["dnll"] < -0.4
    assert good["coverage_1"] == pytest.approx(0.683, abs=0.03)
    assert good["coverage_2"] == pytest.approx(0.954, abs=0.02)
    mixed = [(e, rng.permutation(q)) for e, q in halves]
    assert _scores.likelihood(*mixed[0], mixed[1])["dnll"] > 0.4
    constant = [(e, np.ones_like(q)) for e, q in halves]
    assert _scores.likelihood(*constant[0], constant[1])["dnll"] == pytest.approx(0, abs=1e-12)


def test_likelihood_of_nothing():
    none = np.zeros(9)
    found = _scores.likelihood(none + 1, none, (none + 1, none))
    assert np.isnan(list(found.values())).all()


def test_auc_of_the_worst_tenth():
    error = np.arange(100.0)
    assert _scores.auc_of_worst(error, error) == 1
    assert _scores.auc_of_worst(error, -error) == 0
    assert np.isnan(_scores.auc(np.zeros(3, bool), error[:3]))


# --- the study ---------------------------------------------------------------------------------


def test_features(known, sets):
    assert known.names == ["hot", "other"]
    assert known.wide.features.shape == (70 * 27, 14)
    assert known.own.features.shape == (70 * 27, 8)
    np.testing.assert_allclose(known.wide.features[:, 6:], known.own.features, atol=1e-12)
    weight, bias = known.own_adapter.weights()
    local = known.own.features @ weight + bias
    energies = [x.sum() for x in known.own.split(local[:, 0])] + known.own.offset[:, 0]
    np.testing.assert_allclose(known.own_energies, energies / 27, rtol=1e-12)
    frame = sets["other"][2]
    moved = frame.copy()
    moved.positions[1, 0] += 1e-5
    low, high = network_features({"x": [frame, moved]}, model=network()).own_energies * 27
    assert known.own_forces[42][1, 0] == pytest.approx((low - high) / 1e-5, abs=1e-4)
    assert known.energies[0] == pytest.approx(sets["hot"][0].info["energy_dft"] / 27)


def test_own_features_without_and_with_a_pass(known, sets):
    other = WideAdapter(PairNetwork(), ["readout", "hidden"])  # the own layer is not the last
    found = network_features(sets, model=other)
    np.testing.assert_allclose(found.own.features, known.own.features, atol=1e-12)
    assert found.own.features.shape == known.own.features.shape
    np.testing.assert_array_equal(found.own.offset, known.own.offset)


def test_tables(study):
    variants = ["wide, refit", "own, refit", "own, pretrained"]
    energies = study.energies.groupby(["variant", "score"], sort=False).size()
    assert energies.index.tolist() == [(v, s) for v in variants for s in ESTIMATES]
    assert (energies == 3).all()
    foreign = study.foreign
    assert set(foreign["foreign"]) == {"dense", "hot (left out)", "other (left out)"}
    assert set(foreign["score"]) == set(ESTIMATES)
    assert foreign.groupby("level")["n"].max().to_dict() == {"frame": 40, "atom": 40 * 27}
    forces = study.forces.groupby(["variant", "set"], sort=False)["score"].agg(list)
    assert forces.index.tolist() == [(v, s) for v in variants for s in ("hot", "other")]
    assert all(set(scores) == {*ESTIMATES[1:], "draws", "local R"} for scores in forces)
    assert (study.forces["n_atoms"] == 3 * 27).all()
    assert study.settings["frames"] == {"hot": 40, "other": 30}


def test_refit_is_what_the_labels_are(study):
    table = study.energies.groupby(["variant", "score"]).mean(numeric_only=True)
    # Labels are linear in the wide features: what is left is their noise.
    assert table.loc[("wide, refit", "std"), "mae_meV"] < 5
    assert table.loc[("own, pretrained", "std"), "mae_meV"] > 20
    assert 0.4 < table.loc[("wide, refit", "std"), "coverage_1"] < 0.95
    strange = study.foreign.set_index(["variant", "foreign", "level", "score"])["auc"]
    assert strange["wide", "dense", "frame", "std"] > 0.95
    assert 0.2 < strange["wide", "dense", "atom", "shuffled"] < 0.8
    forces = study.forces.groupby(["variant", "score"])["mae"].mean()
    assert forces["wide, refit", "draws"] < 0.2 * forces["own, pretrained", "draws"]


def test_controls_and_words(study):
    controls = study.controls.set_index(["table", "variant", "score", "measure"])
    assert set(controls.index.get_level_values("table")) == {"energies", "foreign", "forces"}
    for score in ("draws", "local R"):
        row = controls.loc[("forces", "wide, refit", score, "spearman")]
        own = study.forces[study.forces["variant"] == "wide, refit"].groupby("score")["spearman"]
        assert row["value"] == pytest.approx(own.mean()[score])
        for other in ("|F|", "|J|", "shuffled"):
            assert row[other] == pytest.approx(own.mean()[other])
        assert row["force_is_as_good"] == (row["|F|"] > row["value"] - 0.02)
    row = controls.loc[("energies", "own, refit", "std", "dnll")]
    assert row["norm_is_as_good"] == (row["|J|"] < row["value"] + 0.02)
    assert len(study.statements()) == len(controls)
    text = str(study)
    assert "hot" in text
    assert all(line in text for line in study.statements())
    summary = study.summary().set_index(["table", "variant", "number"])
    mae = study.energies.query("variant == 'wide, refit' and score == 'std'")["mae_meV"]
    found = summary.loc[("energies", "wide, refit", "mae_meV")]
    assert found.tolist() == pytest.approx([mae.mean(), mae.min(), mae.max()])


def test_words_say_where_the_force_is_as_good():
    from skrigidity.atomistic.foundation._result import told

    row = {"measure": "auc", "value": 0.8, "|F|": 0.79, "|J|": 0.6, "shuffled": 0.5}
    row |= {"force_is_as_good": True, "norm_is_as_good": False}
    assert told(row) == "|F| alone (0.79) is as good"
    assert (
        told(row | {"norm_is_as_good": True}) == "|F| alone (0.79) and |J| alone (0.60) are as good"
    )
    assert told(row | {"force_is_as_good": False}) == "neither |F| nor |J| alone is as good"
    assert told(row | {"value": 0.55}) == "hardly better than chance"
    assert told(row | {"value": np.nan}) == "not known, there are too few frames"
    row |= {"measure": "dnll", "value": 0.3}
    assert told(row) == "hardly better than a constant error bar"


def test_network_runs_once_for_all_splits(known):
    before = WideAdapter.runs
    foundation_study(known, n_splits=3, n_force_frames=0)
    assert WideAdapter.runs == before


def test_same_seed_same_study(known):
    options = {"n_splits": 2, "n_force_frames": 1, "n_draws": 2}
    one, two = (foundation_study(known, **options) for _ in range(2))
    for name in ("energies", "foreign", "forces", "controls"):
        assert getattr(one, name).equals(getattr(two, name))
    other = foundation_study(known, **options, random_state=1)
    assert not one.energies.equals(other.energies)


def test_splits_by_the_frames_themselves(known, monkeypatch):
    from skrigidity.atomistic.foundation import _study

    seen = []
    kept = _study.energy_rows
    monkeypatch.setattr(_study, "energy_rows", lambda *a: (seen.append(a[1]), kept(*a))[1])
    foundation_study(known, n_splits=2, split_key="split", n_force_frames=0)
    for division in seen:
        assert all(known.frames[i].info["split"] == "test" for i in division.test)
        assert len(division.test) == 10 + 8
        others = np.concatenate([division.train, division.calibration])
        assert all(known.frames[i].info["split"] == "training" for i in others)
        assert sorted([*others, *division.test]) == list(range(70))
    assert not np.array_equal(seen[0].train, seen[1].train)


def test_only_one_layer(sets):
    model = WideAdapter(PairNetwork(), "auto")
    study = foundation_study({"hot": sets["hot"]}, model=model, n_splits=1, n_force_frames=2)
    assert set(study.energies["variant"]) == {"own, refit", "own, pretrained"}
    assert len(study.foreign) == 0  # nothing is foreign to a single set
    assert set(study.forces["variant"]) == {"own, refit", "own, pretrained"}
    assert str(study)


def test_frames_without_forces(sets):
    frames = [frame.copy() for frame in sets["hot"]]
    for frame in frames:
        del frame.arrays["forces_dft"]
    study = foundation_study({"hot": frames}, model=network(), n_splits=1)
    assert len(study.forces) == 0
    assert "forces" not in set(study.controls["table"])
    assert str(study)


def test_names_of_labels_are_those_of_a_set(sets, known):
    other = [frame.copy() for frame in sets["other"]]
    for frame in other:
        frame.info["energy"] = frame.info.pop("energy_dft")
    found = network_features({"hot": sets["hot"], "other": other}, model=network())
    np.testing.assert_array_equal(found.energies, known.energies)


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (lambda frames: frames[:4], {}, "hot: expected at least 5 frames, got 4"),
        (lambda frames: frames, {"split_key": "part"}, "hot: a frame has no 'part' in its info"),
        (lambda frames: frames[1:4] + frames[5:8], {"split_key": "split"}, "hot: no frames to"),
        (lambda frames: [frames[0].__class__("H"), *frames], {}, "hot: a frame has no energy"),
        (lambda frames: [], {}, "hot: expected at least one frame"),
        (lambda frames: frames, {"n_splits": 0}, "n_splits: expected at least 1, got 0"),
    ],
)
def test_bad_sets(sets, change, options, message):
    before = WideAdapter.runs
    with pytest.raises(ValueError, match=message):
        foundation_study({"hot": change(sets["hot"])}, model=network(), **options)
    assert WideAdapter.runs == before  # said before the network runs


# --- further questions -----------------------------------------------------------------------


def test_stretching(known):
    table = stretching_scan(known, factors=(1.0, 1.3))
    assert table["factor"].tolist() == [1.0, 1.3, np.inf] * 4
    assert table["layers"].tolist() == ["wide"] * 6 + ["own"] * 6
    far = table[(table["layers"] == "wide") & (table["factor"] == 1.3)]
    assert (far["relative"] < 1).all()


def test_choice_of_frames(known):
    table = fine_tuning_choice(known, sizes=[6, 40], n_splits=4)
    assert table.groupby("size").size().to_dict() == {6: 8, 40: 8}
    mean = table.groupby(["size", "choice"])["rmse_meV"].mean()
    assert mean[6, "rigidity"] < mean[6, "random"]
    with pytest.raises(ValueError, match="sizes: expected at most 56"):
        fine_tuning_choice(known, sizes=[57], n_splits=1)


def test_importing_needs_no_torch():
    code = "import sys, skrigidity.atomistic; print({'torch', 'ase', 'chgnet'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
