"""The study of error bars away from the training set, and what its page says."""

import warnings

import numpy as np
import pytest

pytest.importorskip("ase", reason='needs ASE: pip install "skrigidity[atomistic]"')
pytest.importorskip("sphericart", reason='needs sphericart: pip install "skrigidity[atomistic]"')

import misspecification
import out_of_distribution as study_of
from structures_to_predict import SCENARIOS, split

from skrigidity.calibration import RigidityCalibrator

pytestmark = pytest.mark.filterwarnings("ignore:the best alpha:UserWarning")
NEW = [name for name in SCENARIOS if "control" not in name]


def medians(scores, column):
    return scores.groupby(["method", "scenario"])[column].median().unstack()


@pytest.mark.parametrize("name", SCENARIOS)
def test_nothing_that_is_predicted_has_been_learned_from(name):
    train, labelled, test, rest = split(SCENARIOS[name], seed=3)
    assert len(labelled.y) >= study_of.N_LABELLED
    assert len(test.y) >= 10
    for part in (labelled, test, rest):
        assert not np.isin(part.groups, train.groups).any()
    assert not np.isin(test.groups, labelled.groups).any()
    if "control" not in name:
        scenario = SCENARIOS[name]
        assert scenario.known(train.about).all()
        assert scenario.new(test.about).all()
        assert not scenario.known(test.about).any()


def test_one_scale_fails_for_larger_clusters_and_their_own_does_not():
    methods = ["constant", "rigidity, bayesian", "rigidity, loo", "rigidity, own C"]
    scores = study_of.study(["silicon: control", "silicon: larger"], methods, n_splits=3)
    inside = medians(scores, "inside_2")["silicon: larger"]
    assert inside["constant"] < 0.3
    assert inside["rigidity, bayesian"] < 0.6
    assert inside["rigidity, bayesian"] + 0.15 < inside["rigidity, loo"] < 0.87
    assert inside["rigidity, own C"] > 0.87
    # What rigidities know: that the clusters are new, and not which of them are predicted worse.
    larger = scores[scores.scenario == "silicon: larger"]
    assert larger.groupby("method")["found"].median()["rigidity, bayesian"] > 0.95
    assert abs(medians(scores, "spearman").loc["rigidity, loo", "silicon: larger"]) < 0.3
    assert medians(scores, "spearman").loc["rigidity, loo", "silicon: control"] > 0.7


def test_warns_of_groups_that_get_the_scale_of_others():
    rng = np.random.default_rng(0)
    residual, rigidity = rng.standard_normal(112), np.ones(112)
    residual[100:] *= 5
    kind = np.repeat(["bulk", "slab"], [100, 12])
    with pytest.warns(UserWarning, match="min_samples=50 .* get the C of all .* 'slab'"):
        shared = RigidityCalibrator().fit(residual, rigidity, groups=kind)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        own = RigidityCalibrator(min_samples=12).fit(residual, rigidity, groups=kind)
    assert own.predict_std([1.0], ["slab"]) > 2 * shared.predict_std([1.0], ["slab"])


def test_misspecified_pairs():
    scores, limits = misspecification.study(["silicon: pairs"], n_splits=2)
    ranks, dnll = medians(scores, "spearman"), medians(scores, "dnll")
    jackknife = "jackknife, loo_noise"
    assert ranks.loc[jackknife].item() > 0.35
    assert abs(ranks.loc["rigidity, loo_noise"].item()) < 0.15
    assert dnll.loc[jackknife].item() < dnll.loc["rigidity, loo_noise"].item() - 0.1
    assert 0.62 < medians(scores, "inside_1").loc[jackknife].item() < 0.75
    assert medians(scores, "inside_1").loc["POPS ensemble"].item() < 0.4
    assert limits.groupby("method")["inside"].median()["hypercube"] > 0.98


def test_tables(capsys):
    water = ["--splits", "1", "--scenarios", "water: far"]
    study_of.main(water)
    misspecification.main(["--splits", "1", "--cases", "polynomial"])
    study_of.main([*water, "--labelled", "4"])
    study_of.report_cost([(2000, 250)])
    out = capsys.readouterr().out
    assert out.count("Share of errors inside two standard deviations") == 3
    assert "| constant; rigidity, bayesian; " in out  # of one ridge regression
    assert "| hypercube | " in out
    assert "| 2000 × 250 | " in out


@pytest.mark.slow
def test_claims_of_the_page():
    scores = study_of.study(n_splits=7)
    inside, spearman = medians(scores, "inside_2"), medians(scores, "spearman")
    controls = [name for name in SCENARIOS if "control" in name and "silicon" not in name]

    assert (inside.loc[["rigidity, bayesian", "conformal"], controls] > 0.8).all(axis=None)
    # Where one C does, and where it does not.
    assert inside.loc["rigidity, bayesian", ["carbon: low density", "water: far"]].min() > 0.88
    assert inside.loc["rigidity, bayesian", "carbon: surfaces"] < 0.8
    assert inside.loc["rigidity, bayesian", "silicon: larger"] < 0.55
    assert inside.loc["rigidity, own C", NEW].min() > 0.87
    assert inside.loc["constant of the new", NEW].min() > 0.85
    assert inside.loc["Gaussian process", "carbon: surfaces"] < 0.5
    assert (inside.loc["constant", NEW] < 0.8).sum() >= 5

    new = scores[scores.scenario.isin(NEW)]
    found = medians(new, "found")
    assert found.loc["rigidity, bayesian", [n for n in NEW if n != "water: far"]].min() > 0.6
    others = found.loc[["committee", "nearest neighbour", "Gaussian process"]]
    for name in ("carbon: surfaces", "carbon: hot"):
        assert found.loc["rigidity, bayesian", name] > others[name].max() - 0.02
    assert spearman.loc["rigidity, bayesian", NEW].max() < 0.45

    rmse = medians(scores, "rmse")
    learned = rmse.loc["learned as well, loo", NEW] / rmse.loc["constant", NEW]
    assert learned.max() < 0.95
    # The default: leaving out is better for silicon and hardly elsewhere.
    dnll = scores.pivot(index=["scenario", "seed"], columns="method", values="dnll")
    change = (dnll["rigidity, loo"] - dnll["rigidity, bayesian"]).groupby("scenario").median()
    silicon = change.index.str.startswith("silicon")
    assert change[silicon].max() < -0.5
    assert change[~silicon].min() > -0.4
    assert change["water: near"] > 0


@pytest.mark.slow
def test_claims_of_the_page_on_misspecification():
    scores, limits = misspecification.study(n_splits=3)
    dnll, inside = medians(scores, "dnll"), medians(scores, "inside_2")
    jackknife, rigidity = dnll.loc["jackknife, loo_noise"], dnll.loc["rigidity, loo_noise"]
    assert (jackknife < rigidity + 0.02).all()
    informative = ["silicon: pairs", "silicon: triples", "copper: pairs", "copper: triples"]
    assert (jackknife < rigidity - 0.05)[informative].all()
    assert inside.loc["jackknife, loo_noise"].min() > 0.9
    assert inside.loc["POPS ensemble"].max() < 0.9
    assert (inside.loc["POPS hypercube, loo_noise"] > inside.loc["POPS hypercube"]).all()
    assert limits[limits.method == "hypercube"].groupby("scenario")["inside"].median().min() > 0.85
    assert abs(jackknife[["carbon: pairs", "water: molecules"]]).max() < 0.05
